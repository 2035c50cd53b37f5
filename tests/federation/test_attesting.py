"""Claims about members that look at the coordinator's machine before they send.

The quotes are synthesised (`synthetic_tpm`): a recorded one is bound to another epoch, which is one of the claims.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest

from hansa.federation.attesting import Attesting, attest_label
from hansa.federation.records import Records
from hansa.federation.transport import Channel, Message, Subject
from hansa.identity.attestation.binding import Binding
from hansa.protocol.messages import Attested
from players import from_coordinator, from_member
from recorded_quotes import INTEL_DATES, software_tpm, tpm_key_digest, tpm_registers
from recorded_quotes import intel as recorded_intel
from simulator import SECOND, Simulation, inject, limits, request, signing_key
from synthetic_tpm import CODE, REGISTERS, clause, evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hansa.identity.attestation.clause import AttestationClause, Policy
    from hansa.identity.attestation.evidence import Evidence

LIMITS = limits()


def binding(simulation: Simulation, epoch_id: bytes, **changes: str) -> Binding:
    plain = Binding(
        federation=LIMITS.federation,
        epoch=simulation.epoch,
        nonce=epoch_id.hex(),
        identity_key=LIMITS.keys["coordinator"],
        tls_key="33" * 32,
        log_key="",
        code=CODE,
    )
    return msgspec.structs.replace(plain, **changes)


class Federations:
    """Simulations that are closed at the end of the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.made: list[Simulation] = []

    def __call__(
        self,
        policy: Policy,
        made: Callable[[Simulation, bytes], bytes | None],
        *,
        rules: AttestationClause | None = None,
    ) -> Simulation:
        simulation = Simulation(
            self._directory,
            clause=rules or clause(policy),
            evidence=lambda epoch_id: made(simulation, epoch_id),
            programme=[request()],
        )
        self.made.append(simulation)
        return simulation


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federations]:
    found = Federations(tmp_path)
    yield found
    for simulation in found.made:
        for store in simulation.stores.values():
            store.close()


def good(simulation: Simulation, epoch_id: bytes) -> bytes:
    return evidence(binding(simulation, epoch_id)).to_bytes()


def nothing(_simulation: Simulation, _epoch_id: bytes) -> None:
    return None


def of_another_machine(simulation: Simulation, epoch_id: bytes) -> bytes:
    return evidence(binding(simulation, epoch_id), REGISTERS | {"pcr7": "00" * 32}).to_bytes()


def of_other_code(simulation: Simulation, epoch_id: bytes) -> bytes:
    return evidence(binding(simulation, epoch_id, code="55" * 32)).to_bytes()


def of_another_epoch(simulation: Simulation, epoch_id: bytes) -> bytes:
    return evidence(binding(simulation, bytes(len(epoch_id)))).to_bytes()


def of_another_key(simulation: Simulation, epoch_id: bytes) -> bytes:
    return evidence(binding(simulation, epoch_id, identity_key=signing_key("mallory").public)).to_bytes()


def tampered(simulation: Simulation, epoch_id: bytes) -> bytes:
    made = evidence(binding(simulation, epoch_id))
    other = evidence(binding(simulation, epoch_id, nonce="00"))
    return msgspec.structs.replace(made, collateral=other.collateral).to_bytes()


BAD = {
    of_another_machine: "registers pcr0, pcr7 do not have the constitution's values",
    of_other_code: "code: 5555",
    of_another_epoch: "nonce: expected",
    of_another_key: "identity_key: expected",
    tampered: "the signature is not the attestation key's",
}


def notes(simulation: Simulation, name: str = "m0") -> list[str]:
    return [str(row["reason"]) for row in simulation.nodes[name]._records.rows("SELECT reason FROM note")]


def uploads(simulation: Simulation) -> int:
    return sum(step == "upload" for _, step, _ in simulation.sent)


@pytest.mark.parametrize("policy", ["require", "warn"])
def test_with_a_valid_quote_the_sum_is_made(federation: Federations, policy: Policy) -> None:
    simulation = federation(policy, good)
    simulation.run()

    assert len(simulation.opened()) == 1
    assert notes(simulation) == []
    assert [step for _, step, _ in simulation.sent].count("attest") == 1
    fact = simulation.nodes["m0"]._records.rows("SELECT value FROM fact WHERE name = 'attestation'")[0]["value"]
    found = json.loads(str(fact))
    assert (found["valid"], found["technology"], found["code"]) == (True, "tpm", CODE)


@pytest.mark.parametrize("made", BAD, ids=lambda one: one.__name__)
def test_required_a_bad_quote_keeps_every_member_from_sending(federation: Federations, made: object) -> None:
    simulation = federation("require", made)
    simulation.run(rounds=60)

    assert uploads(simulation) == 0
    assert simulation.opened() == []
    assert all(store.charged_periods() == [] for store in simulation.stores.values())
    for name in LIMITS.members:
        assert any(note.startswith("AttestationError: ") and BAD[made] in note for note in notes(simulation, name))


@pytest.mark.parametrize("made", BAD, ids=lambda one: one.__name__)
def test_warned_a_bad_quote_is_noted_and_the_sum_is_made(federation: Federations, made: object) -> None:
    simulation = federation("warn", made)
    simulation.run()

    assert len(simulation.opened()) == 1
    assert [BAD[made] in note for note in notes(simulation)] == [True]


@pytest.mark.parametrize("made", [nothing, *BAD], ids=lambda one: one.__name__)
def test_off_nobody_looks(federation: Federations, made: object) -> None:
    simulation = federation("off", made)
    simulation.run()

    assert len(simulation.opened()) == 1
    assert notes(simulation) == []
    assert "attest" not in {step for _, step, _ in simulation.sent}


def test_required_the_coordinator_announces_nothing_before_it_has_a_quote(federation: Federations) -> None:
    ready: list[bool] = []
    simulation = federation("require", lambda one, epoch_id: good(one, epoch_id) if ready else None)
    simulation.run(rounds=40)
    assert "announce" not in {step for _, step, _ in simulation.sent}
    assert any("no quote for this epoch yet" in note for note in coordinator_notes(simulation))

    ready.append(True)
    simulation.run()
    assert len(simulation.opened()) == 1


def test_warned_no_quote_at_all_is_noted(federation: Federations) -> None:
    simulation = federation("warn", nothing)
    simulation.run()

    assert len(simulation.opened()) == 1
    assert ["published no quote" in note for note in notes(simulation)] == [True]


def test_a_quote_that_comes_later_lets_members_send_again(federation: Federations) -> None:
    made = [of_another_machine]

    def newest(one: Simulation, epoch_id: bytes) -> bytes:
        return made[-1](one, epoch_id)

    simulation = federation("require", newest)
    simulation.run(until=lambda: any("constitution's values" in note for note in notes(simulation)))
    made.append(good)
    simulation.run()

    assert len(simulation.opened()) == 1
    assert next(aggregate.manifest.attempt for aggregate in simulation.opened()) > 1


def test_after_a_restart_of_everybody_the_same_quote_counts(federation: Federations) -> None:
    simulation = federation("require", good)
    simulation.run(until=lambda: uploads(simulation) > 0)
    for name in LIMITS.members:
        simulation.start(name)
    simulation.start_coordinator()
    simulation.run()

    assert len(simulation.opened()) == 1
    assert [step for _, step, _ in simulation.sent].count("attest") == 1


def test_a_member_without_a_valid_quote_still_takes_in_what_the_others_sum(federation: Federations) -> None:
    simulation = federation("require", good)
    strict = msgspec.structs.replace(clause("require"), code=("66" * 32,))
    simulation.run(until=lambda: uploads(simulation) == 0 and simulation.coordinator._epoch.epoch_id is not None)
    simulation.nodes["m0"]._attesting._clause = strict
    simulation.run()

    assert [aggregate.cohort for aggregate in simulation.opened("m0")] == [("m1", "m2", "m3", "m4")]


def test_evidence_that_the_coordinator_did_not_sign_is_not_taken(federation: Federations) -> None:
    simulation = federation("warn", good)
    simulation.run(until=lambda: simulation.coordinator._epoch.epoch_id is not None)
    epoch_id = simulation.coordinator._epoch.epoch_id
    forged = from_member("coordinator", Attested(epoch_id, good(simulation, epoch_id)), signer="m1")
    subject = Subject(simulation.epoch, "attest-forged", "attest", "coordinator")

    assert inject(simulation, Message(subject, forged, 10_000, simulation.now_ns)) == []
    assert any("SignatureError" in note for note in notes(simulation))


class Looking:
    """A member's view alone, with a clock."""

    def __init__(self, rules: AttestationClause, *, now_ns: int, tls_key: str | None = None) -> None:
        self.now_ns = now_ns
        self.records = Records(":memory:")
        self.attesting = Attesting(
            rules,
            limits=LIMITS,
            epoch="e1-0123456789abcdef",
            records=self.records,
            clock=lambda: self.now_ns,
            tls_key=lambda: tls_key,
        )

    def sees(self, found: Evidence, epoch_id: bytes) -> bool:
        self.attesting.take(from_coordinator(Attested(epoch_id, found.to_bytes())))
        return self.attesting.may_send("r1-0-gram-a1", epoch_id)

    def reasons(self) -> list[str]:
        return [str(row["reason"]) for row in self.records.rows("SELECT reason FROM note")]


def test_a_quote_recorded_elsewhere_is_a_replay() -> None:
    rules = msgspec.structs.replace(
        clause("require"), images=(msgspec.structs.replace(clause("require").images[0], registers=tpm_registers()),),
        roots=(tpm_key_digest(),),
    )  # fmt: skip
    looking = Looking(rules, now_ns=0)

    assert not looking.sees(software_tpm(), b"\x22" * 32)
    assert "AttestationError: attestation: federation: expected" in looking.reasons()[0]


def test_the_key_of_the_connection_has_to_be_the_quotes() -> None:
    words = Binding(
        federation=LIMITS.federation, epoch="e1-0123456789abcdef", nonce="11" * 32,
        identity_key=LIMITS.keys["coordinator"], tls_key="33" * 32, log_key="", code=CODE,
    )  # fmt: skip

    assert Looking(clause("require"), now_ns=0, tls_key="33" * 32).sees(evidence(words), b"\x11" * 32)
    other = Looking(clause("require"), now_ns=0, tls_key="77" * 32)
    assert not other.sees(evidence(words), b"\x11" * 32)
    assert "tls_key: expected 7777" in other.reasons()[0]


def test_evidence_for_another_epoch_than_the_members_is_refused() -> None:
    looking = Looking(clause("require"), now_ns=0)
    looking.attesting.take(from_coordinator(Attested(b"\1" * 32, b"{}")))

    assert not looking.attesting.may_send("r1-0-gram-a1", b"\2" * 32)
    assert "expected a quote for the epoch 0202" in looking.reasons()[0]


def test_what_is_no_evidence_is_refused_by_name() -> None:
    looking = Looking(clause("require"), now_ns=0)
    looking.attesting.take(from_coordinator(Attested(b"\2" * 32, b"{}")))

    assert not looking.attesting.may_send("r1-0-gram-a1", b"\2" * 32)
    assert "missing required field" in looking.reasons()[0]


def test_a_verdict_ends_with_its_collateral(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Intel's real quote, with the binding's hash replaced by what the quote carries."""
    from hansa.identity.attestation import intel  # noqa: PLC0415

    at = INTEL_DATES["tdx_quote"]
    claims = intel.verify(recorded_intel("tdx_quote"), at=at)
    monkeypatch.setattr(Binding, "carried_by", lambda _self, _technology: claims.report_data)
    words = Binding(
        federation=LIMITS.federation, epoch="e1-0123456789abcdef", nonce="11" * 32,
        identity_key=LIMITS.keys["coordinator"], tls_key="33" * 32, log_key="", code=CODE,
    )  # fmt: skip
    rules = msgspec.structs.replace(
        clause("require"), images=(type(clause("require").images[0])("tdx", {"mrtd": claims.registers["mrtd"]}),)
    )
    looking = Looking(rules, now_ns=int(at.timestamp()) * SECOND)

    assert looking.sees(msgspec.structs.replace(recorded_intel("tdx_quote"), binding=words), b"\x11" * 32)
    looking.now_ns = int(claims.valid_until.timestamp() + 1) * SECOND
    assert not looking.attesting.may_send("r1-1-gram-a1", b"\x11" * 32)
    assert looking.reasons()[0].startswith("AttestationError: attestation: tdx: ")


def coordinator_notes(simulation: Simulation) -> list[str]:
    return [str(row["reason"]) for row in simulation.coordinator._records.rows("SELECT reason FROM note")]


def test_a_label_names_the_evidence() -> None:
    assert attest_label(b"one") != attest_label(b"two")
    assert len(attest_label(b"one")) <= 40
    assert Subject("e1-0123456789abcdef", attest_label(b"one"), "attest", "coordinator").channel is Channel.BOARD
