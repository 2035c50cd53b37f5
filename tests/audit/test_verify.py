"""Claims about the offline verifier, over bundles of simulated federations: honest, broken and crooked ones."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from audit_keys import P256Key
from evidence import Evidence, Played, bars, quote_for, rules
from hansa.audit import arithmetic, mutations, verify
from hansa.audit.bundle import join
from hansa.audit.note import cosign
from hansa.errors import LogError
from hansa.protocol.messages import Opening, Result, open_envelope, seal_envelope
from simulator import request, signing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALONE = ("verify", "arithmetic", "mutations")
SOURCE = Path(verify.__file__).parent
LOG_KEY = P256Key(5)


@pytest.fixture(scope="module", autouse=True)
def _unsynced() -> Iterator[None]:
    """Spare the disk: what is durable is not asked here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Six members, of whom one drops out and one vanishes; three kinds of sums, one of two days; an attested key."""
    quote = quote_for("tdx", LOG_KEY.public, signing_key("coordinator").public, place=568)
    played = Played(
        tmp_path_factory.mktemp("honest-members"),
        document=rules(6),
        programme=[request(0, "gram"), bars(1, count=4), request(2, "wide")],
        silent=("m00",),
        vanishing=("m02",),
    )
    return Evidence(tmp_path_factory.mktemp("honest"), played, log_signer=LOG_KEY, attestation=("tdx", quote))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Five members, all there, and one sum."""
    return Played(tmp_path_factory.mktemp("plain-members"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, played: Played) -> Evidence:
    """The log of those five members."""
    return Evidence(tmp_path_factory.mktemp("plain"), played)


@pytest.fixture
def crooked(tmp_path: Path, played: Played) -> Callable[..., bytes]:
    """Return what makes a bundle of somebody who does not keep the rules."""

    def make(kind: type[Evidence] = Evidence, **how: Any) -> bytes:
        return kind(tmp_path, played, **how).bundle()

    return make


def refusal(data: bytes, **how: Any) -> tuple[str, str]:
    last = verify.verify(data, **how)[-1]
    assert last["verdict"] == "refused"
    return last["check"], last["detail"]


def details(data: bytes, **how: Any) -> dict[str, str]:
    found = verify.verify(data, **how)
    assert {one["verdict"] for one in found} == {"verified"}, found[-1]
    assert all(one["proves"] and one["leaves_open"] for one in found)
    return {one["check"]: one["detail"] for one in found}


def test_an_honest_bundle_verifies_by_every_check(honest: Evidence) -> None:
    found = details(honest.bundle())
    assert list(found) == list(verify.CHECKS)
    assert found["sums"] == "3 sums"
    assert found["rounds"] == "3 sums announced, 3 opened"
    assert found["inclusion"] == f"entries 0 to {honest.log.size - 1}, 0 left out"
    assert found["attestation"] == "1 quotes, their signatures: unchecked"
    assert honest.document.digest() in found["constitution"]
    assert honest.seeds, "masks towards the dropped member were taken out"


def test_a_bundle_of_one_round_verifies_alone(honest: Evidence) -> None:
    numbers = honest.numbers["attestation"] + honest.numbers["r1-1-state-a1"]
    found = details(honest.bundle(numbers))
    assert found["sums"] == "1 sums"
    assert found["inclusion"].endswith(f"{numbers[-1] - numbers[0] + 1 - len(numbers)} left out")


def test_the_digest_of_the_constitution_may_be_given(plain: Evidence) -> None:
    details(plain.bundle(), pinned=plain.document.digest())
    assert refusal(plain.bundle(), pinned="00" * 32)[0] == "constitution"


def test_evidence_that_is_in_no_checkpoint_yet_is_not_exported(plain: Evidence) -> None:
    with pytest.raises(LogError, match="one entry or more"):
        plain.bundle([])
    number = plain.log.append([plain.log.entry(0)])
    with pytest.raises(LogError, match="in no published checkpoint yet"):
        plain.bundle([number])
    plain.checkpoint()


@pytest.mark.parametrize("name", ["honest", "plain"])
def test_every_change_of_a_bundle_is_refused_by_the_right_check(name: str, request: pytest.FixtureRequest) -> None:
    evidence: Evidence = request.getfixturevalue(name)
    made, refused, wrong = mutations.self_test(evidence.bundle(range(sum(map(len, evidence.numbers.values())))))
    assert wrong == []
    assert made == refused >= 100


def test_the_self_test_tells_what_is_not_refused(plain: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    data = plain.bundle(plain.numbers["r1-0-gram-a1"])
    verdict = {"check": "attestation", "verdict": "verified"}
    monkeypatch.setattr(verify, "verify", lambda _: [verdict])
    made, refused, wrong = mutations.self_test(data)
    assert refused == 0
    assert len(wrong) == made
    assert "refused by nobody, expected constitution" in wrong[0]


@pytest.mark.parametrize("seed", range(12))
def test_no_byte_of_a_bundle_may_change(plain: Evidence, seed: int) -> None:
    data = plain.bundle(plain.numbers["r1-0-gram-a1"])
    for place in range(seed * 997 % len(data), len(data), len(data) // 10):
        changed = data[:place] + bytes([data[place] ^ (1 << seed % 8)]) + data[place + 1 :]
        try:
            assert verify.verify(changed)[-1]["verdict"] == "refused", place
        except verify.UnreadableError:
            continue


def reopened(step: str, kind: type[Any], **changes: Callable[[Any], Any]) -> Callable[[str, bytes], bytes]:
    """Return a forger that changes fields of one message and signs it again as the coordinator."""

    def forge(name: str, body: bytes) -> bytes:
        if name != step:
            return body
        key = signing_key("coordinator")
        said = open_envelope(body, kind, sender="coordinator", key=key.public, limit=1 << 24)
        fields = {field: change(getattr(said, field)) for field, change in changes.items()}
        return seal_envelope(msgspec.structs.replace(said, **fields), sender="coordinator", signer=key)

    return forge


def test_a_coordinator_that_signs_another_sum_is_found_out(crooked: Callable[..., bytes]) -> None:
    data = crooked(forge=reopened("result", Result, steps=lambda old: bytes([old[0] ^ 1]) + old[1:]))
    assert refusal(data) == ("sums", refusal(data)[1])
    assert "another sum was published than adds up" in refusal(data)[1]


def test_a_member_that_says_less_than_it_spent_is_found_out(crooked: Callable[..., bytes]) -> None:
    data = crooked(charge=lambda said: said | {"epsilon": said["epsilon"] * 0.99})
    check, reason = refusal(data)
    assert (check, "beyond its budget" in reason) == ("budgets", True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"releases": 2}, "does not add up"),
        ({"period": "1999"}, "does not add up"),
        ({"before": 1}, "another balance"),
        ({"number": 0}, "another balance"),
        ({"change": "release"}, "does not add up"),
        ({"epsilon": 51.0}, "beyond its budget"),
    ],
)
def test_a_charge_that_is_not_what_the_sum_costs_is_refused(
    crooked: Callable[..., bytes], change: Any, reason: str
) -> None:
    check, said = refusal(crooked(charge=lambda fields: fields | change))
    assert (check, reason in said) == ("budgets", True), said


def test_a_cohort_of_which_somebody_was_not_charged_is_refused(crooked: Callable[..., bytes]) -> None:
    data = crooked(charge=lambda fields: fields if fields["member"] != "m03" else {})
    assert "not everybody in the cohort was charged" in refusal(data)[1]


def test_where_nobody_logs_charges_nothing_is_proved_of_budgets(crooked: Callable[..., bytes]) -> None:
    assert details(crooked(charge=lambda _: {}))["budgets"] == verify.NOTHING


class Hasty(Evidence):
    """A coordinator that has nobody cosign a sum's announcement before its cohort."""

    def checkpoint(self) -> None:
        if "result" in str([self.log.entry(self.log.size - 1)]) or self.log.size > 5:
            super().checkpoint()


def test_a_sum_that_nobody_witnessed_before_is_refused(crooked: Callable[..., bytes]) -> None:
    check, reason = refusal(crooked(Hasty))
    assert (check, "no cosigned checkpoint before" in reason) == ("rounds", True)


class Lonely(Evidence):
    """A log that three of five members cosign, where four are a quorum."""

    def checkpoint(self) -> None:
        lines = [witness.observe(self.log.head.to_bytes(), self.log.files) for witness in self.witnesses[:3]]
        self.log.publish(self.log.head.with_signatures(lines))


def test_too_few_cosignatures_are_refused(crooked: Callable[..., bytes]) -> None:
    check, reason = refusal(crooked(Lonely))
    assert (check, "expected cosignatures of 4 members, got 3" in reason) == ("checkpoints", True)


class Stranger(Evidence):
    """A log with a cosignature of the coordinator under a member's form of name."""

    def checkpoint(self) -> None:
        lines = [witness.observe(self.log.head.to_bytes(), self.log.files) for witness in self.witnesses]
        lines.append(cosign(self.log.head.text, P256Key(9), name="hansa/demo/coordinator", seconds=1))
        self.log.publish(self.log.head.with_signatures(lines))


def test_a_signature_of_somebody_who_is_no_member_is_refused(crooked: Callable[..., bytes]) -> None:
    assert refusal(crooked(Stranger))[0] == "checkpoints"


class Speaking(Evidence):
    """A coordinator that says what members have to say."""

    def say(self, *statements: Any, party: str = "coordinator") -> list[int]:
        del party
        return super().say(*statements)


def test_a_charge_that_the_coordinator_signs_is_refused(crooked: Callable[..., bytes]) -> None:
    check, reason = refusal(crooked(Speaking))
    assert (check, "not for coordinator to say" in reason) == ("statements", True)


def test_a_log_key_that_the_coordinator_never_named_is_refused(crooked: Callable[..., bytes]) -> None:
    check, reason = refusal(crooked(log_signer=LOG_KEY))
    assert (check, "none that the coordinator named" in reason) == ("checkpoints", True)


@pytest.mark.parametrize(
    ("technology", "place", "key", "holds"),
    [
        ("tdx", 568, "coordinator", True),
        ("tdx", 574, "coordinator", True),
        ("sgx", 368, "coordinator", True),
        ("sev-snp", 80, "coordinator", True),
        ("tpm", 33, "coordinator", True),
        ("tdx", 560, "coordinator", False),
        ("sgx", 368, "m00", False),
    ],
)
def test_a_quote_is_bound_to_the_coordinators_keys(
    crooked: Callable[..., bytes], technology: str, place: int, key: str, *, holds: bool
) -> None:
    quote = quote_for(technology, LOG_KEY.public, signing_key(key).public, place=place)
    data = crooked(log_signer=LOG_KEY, attestation=(technology, quote))
    if holds:
        assert details(data, quote_check=lambda _: "genuine")["attestation"] == "1 quotes, their signatures: genuine"
    else:
        assert refusal(data)[0] == "attestation"


def test_a_check_of_quotes_that_refuses_refuses_the_bundle(honest: Evidence) -> None:
    def check(_: bytes) -> str:
        raise ValueError("out of date")

    check_name, reason = refusal(honest.bundle(), quote_check=check)
    assert (check_name, "out of date" in reason) == ("attestation", True)


def test_a_coordinator_does_not_count_as_a_decryptor(plain: Evidence) -> None:
    """The step of an opening names who gave it, and only members of the cohort are looked for."""
    session = plain.numbers["r1-0-gram-a1"]
    data = plain.bundle(session)
    pieces = mutations.Pieces.of(data)
    opening = next(body for body in pieces.messages if b"vnd.hansa.opening+" in body[:80])
    key = signing_key("coordinator")
    sender = arithmetic.unpack(opening)[1]
    said = open_envelope(opening, Opening, sender=sender, key=signing_key(sender).public, limit=1 << 20)
    pieces.messages[pieces.messages.index(opening)] = seal_envelope(said, sender="coordinator", signer=key)
    assert refusal(pieces.join())[0] == "statements"


@pytest.mark.parametrize("data", [b"", b"hansa-evidence/2\n", verify.MAGIC, verify.MAGIC + bytes(32), bytes(100)])
def test_what_is_no_bundle_is_unreadable(data: bytes) -> None:
    with pytest.raises(verify.UnreadableError):
        verify.verify(data)


def test_json_that_is_nested_too_deeply_is_refused(plain: Evidence) -> None:
    pieces = mutations.Pieces.of(plain.bundle())
    pieces.constitution = b"[" * 100_000
    assert refusal(pieces.join())[0] == "constitution"


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = verify.main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_says_what_each_check_proves_and_what_not(
    plain: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(plain.bundle(plain.numbers["r1-0-gram-a1"]))
    code, out, _ = run([str(path)], capsys)
    assert code == 0
    assert out.count("verified ") == out.count("proves: ") == out.count("not: ") == len(verify.CHECKS)
    code, out, _ = run([str(path), "--json"], capsys)
    assert (code, json.loads(out)["verified"]) == (0, True)
    code, out, _ = run([str(path), "--constitution", "00", "--json"], capsys)
    assert (code, json.loads(out)["checks"][-1]["verdict"]) == (1, "refused")
    code, out, _ = run([str(path), "--self-test", "--json"], capsys)
    figures = json.loads(out)
    assert code == 0
    assert set(figures) == {"mutations", "refused"}
    assert figures["mutations"] == figures["refused"] >= 40
    path.write_bytes(b"garbage")
    assert run([str(path)], capsys)[0] == 2
    code, _, err = run([str(tmp_path / "absent")], capsys)
    assert (code, "No such file" in err) == (2, True)


def test_the_self_test_of_the_command_fails_where_a_change_is_not_refused(
    plain: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle"
    path.write_bytes(plain.bundle(plain.numbers["r1-0-gram-a1"]))
    monkeypatch.setattr(mutations, "self_test", lambda _: (3, 2, ["one: refused by nobody"]))
    code, out, err = run([str(path), "--self-test"], capsys)
    assert (code, out, err) == (1, "2 of 3 changes refused\n", "one: refused by nobody\n")


def test_the_verifier_needs_cryptography_and_the_standard_library_alone(plain: Evidence, tmp_path: Path) -> None:
    package = tmp_path / "alone" / "hansa_verify"
    package.mkdir(parents=True)
    for name in ALONE:
        shutil.copy(SOURCE / f"{name}.py", package)
    (tmp_path / "bundle").write_bytes(plain.bundle(plain.numbers["r1-0-gram-a1"]))
    program = f"""
import sys
allowed = set(sys.stdlib_module_names) | {{"cryptography", "cffi", "_cffi_backend", "hansa_verify"}}
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ImportError("not alone: " + name)
sys.meta_path.insert(0, Only())
sys.path.insert(0, {str(package.parent)!r})
from hansa_verify.verify import main
code = main([{str(tmp_path / "bundle")!r}, "--json"]) or main([{str(tmp_path / "bundle")!r}, "--self-test"])
print(sorted(set(sys.modules) & {{"numpy", "msgspec", "hansa"}}))
raise SystemExit(code)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("changes refused\n[]\n")


@pytest.mark.parametrize("name", ALONE)
def test_the_verifiers_source_imports_nothing_else(name: str) -> None:
    for node in ast.walk(ast.parse((SOURCE / f"{name}.py").read_text())):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        if isinstance(node, ast.ImportFrom) and node.level:
            assert {node.module or alias.name for alias in node.names} <= set(ALONE)
        assert {module.split(".")[0] for module in modules} <= sys.stdlib_module_names | {"cryptography"}


def test_the_verifier_stays_small_enough_to_read() -> None:
    assert len((SOURCE / "verify.py").read_text().splitlines()) < 400


@pytest.mark.parametrize("index", [b"0", b"[]", b"null", b'"x"', b"{}", b""])
def test_an_index_of_another_kind_is_no_bundle(index: bytes) -> None:
    with pytest.raises(verify.UnreadableError):
        verify.verify(join(index, b"{}", [], []))
