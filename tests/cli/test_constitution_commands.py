"""Claims about `hansa constitution`: what is refused, what is named, and which exit code says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from hansa.cli.constitution import app
from hansa.errors import HansaError
from hansa.governance.signed import SignedConstitution, read, write
from hansa.identity.kit import make_federation
from simulator import signing_key

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

MEMBERS = ("east", "north", "south", "west")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    done = run(*arguments)
    assert isinstance(done.exception, HansaError), done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("federation")
    make_federation(folder, "baltic", MEMBERS, at=datetime.now(tz=UTC))  # noqa: TID251 - kits are valid from now
    assert run("new", folder / "draft.toml", "--template").exit_code == 0
    arguments = ("new", folder / "draft.toml", "--roster", folder / "north" / "roster.json", "--out")
    assert run(*arguments, folder / "plain.json").exit_code == 0
    (folder / "whole.json").write_bytes((folder / "plain.json").read_bytes())
    for name in MEMBERS:
        assert run("sign", folder / "whole.json", "--kit", folder / name).exit_code == 0
    return folder


def copy(made: Path, tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes((made / name).read_bytes())
    return path


def test_a_draft_without_parties_or_over_a_file_is_refused(made: Path, tmp_path: Path) -> None:
    roster = made / "north" / "roster.json"
    assert "expected the parties" in refusal("new", made / "draft.toml", "--out", tmp_path / "c.json")
    assert "exists" in refusal("new", made / "draft.toml", "--roster", roster, "--out", made / "plain.json")
    assert "cannot write" in refusal("new", made / "draft.toml", "--template")
    assert "cannot read" in refusal("new", tmp_path / "none.toml", "--roster", roster, "--out", tmp_path / "c.json")
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    assert "UTF-8" in refusal("new", tmp_path / "binary.toml", "--roster", roster, "--out", tmp_path / "c.json")
    (tmp_path / "large.toml").write_bytes(1_000_001 * b"#")
    assert "1,000,000" in refusal("new", tmp_path / "large.toml", "--roster", roster, "--out", tmp_path / "c.json")


def test_a_choice_that_nothing_knows_is_refused_and_nothing_is_written(made: Path, tmp_path: Path) -> None:
    draft = tmp_path / "draft.toml"
    draft.write_text("quorum = 2\n" + (made / "draft.toml").read_text())
    message = refusal("new", draft, "--roster", made / "north" / "roster.json", "--out", tmp_path / "c.json")
    assert "unknown field `quorum`" in message
    assert not (tmp_path / "c.json").exists()


def test_the_next_one_needs_one_in_force_and_a_quorum_that_stays(made: Path, tmp_path: Path) -> None:
    arguments = ("new", made / "draft.toml", "--out", tmp_path / "next.json", "--from")
    assert "no signature of east" in refusal(*arguments, made / "plain.json")
    make_federation(tmp_path / "other", "baltic", MEMBERS, at=datetime.now(tz=UTC))  # noqa: TID251 - valid from now
    roster = tmp_path / "other" / "north" / "roster.json"
    assert "a quorum of 3" in refusal(*arguments, made / "whole.json", "--roster", roster)
    done = run(*arguments, made / "whole.json")
    assert done.exit_code == 0
    assert "epoch: 1 -> 2" in done.stdout
    assert read(tmp_path / "next.json").constitution.supersedes == read(made / "whole.json").constitution.digest()


def test_what_is_shown_names_members_quorum_budgets_and_signatures(made: Path, tmp_path: Path) -> None:
    half = copy(made, tmp_path, "plain.json")
    run("sign", half, "--kit", made / "west")
    text = run("show", half).stdout
    assert "4 members and the coordinator coordinator; up to 1 members may collude" in text
    assert "signed   west ed25519:" in text
    assert "missing  east ed25519:" in text
    assert "epsilon 8 (delta 1e-06)" in text
    facts = json.loads(run("show", half, "--json").stdout)
    assert (facts["quorum"], facts["threshold"], facts["epoch"], facts["supersedes"]) == (3, 3, 1, None)
    assert facts["signatures"] == {"east": "missing", "north": "missing", "south": "missing", "west": "signed"}
    assert facts["affordable"]["gram"] >= 52
    assert facts["constitution"]["federation"] == "baltic"


def test_a_difference_is_exit_code_1_and_none_is_0(made: Path, tmp_path: Path) -> None:
    same = run("diff", made / "plain.json", made / "whole.json")
    assert (same.exit_code, same.stdout) == (0, "")
    found = read(made / "plain.json").constitution
    write(tmp_path / "other.json", SignedConstitution(replace(found, minimum_cohort=4), {}))
    done = run("diff", made / "plain.json", tmp_path / "other.json", "--json")
    assert done.exit_code == 1
    (change,) = json.loads(done.stdout)
    assert change == {
        "clause": "minimum_cohort", "old": 3, "new": 4, "effect": "privacy stronger: sums over more members",
    }  # fmt: skip
    assert run("diff", made / "plain.json", tmp_path / "other.json").stdout.startswith(
        "minimum_cohort: 3 -> 4  [privacy"
    )


def test_signing_twice_changes_no_byte_and_the_last_signature_is_announced(made: Path, tmp_path: Path) -> None:
    path = copy(made, tmp_path, "plain.json")
    assert "not yet signed by north, south, west" in run("sign", path, "--kit", made / "east").stdout
    once = path.read_bytes()
    assert run("sign", path, "--kit", made / "east").exit_code == 0
    assert path.read_bytes() == once
    assert "signed by every member" in run("sign", copy(made, tmp_path, "whole.json"), "--kit", made / "east").stdout


def test_only_a_members_own_key_signs_and_only_the_digest_that_was_agreed_on(made: Path, tmp_path: Path) -> None:
    path = copy(made, tmp_path, "plain.json")
    assert "is not a member" in refusal("sign", path, "--kit", made / "coordinator")
    make_federation(tmp_path / "others", "baltic", MEMBERS, at=datetime.now(tz=UTC))  # noqa: TID251 - valid from now
    assert "is not a member" in refusal("sign", path, "--kit", tmp_path / "others" / "east")
    make_federation(tmp_path / "far", "adriatic", MEMBERS, at=datetime.now(tz=UTC))  # noqa: TID251 - valid from now
    assert "the kit of adriatic" in refusal("sign", path, "--kit", tmp_path / "far" / "east")
    digest = read(path).constitution.digest()
    assert "nothing was signed" in refusal("sign", path, "--kit", made / "east", "--digest", 64 * "0")
    assert path.read_bytes() == (made / "plain.json").read_bytes()
    assert digest in run("sign", path, "--kit", made / "east", "--digest", digest).stdout


def test_copies_signed_apart_are_united_and_whoever_is_missing_or_wrong_is_named(made: Path, tmp_path: Path) -> None:
    for name in ("east", "north", "south"):
        (tmp_path / f"{name}.json").write_bytes((made / "plain.json").read_bytes())
        run("sign", tmp_path / f"{name}.json", "--kit", made / name)
    copies = [tmp_path / f"{name}.json" for name in ("east", "north", "south")]
    done = run("verify", *copies, "--out", tmp_path / "united.json")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "west: missing"
    assert read(made / "plain.json").constitution.digest() in done.stdout
    assert run("verify", tmp_path / "united.json", made / "whole.json").exit_code == 0
    signed = read(tmp_path / "united.json")
    wrong = signing_key("a stranger").sign("another type", b"")
    write(tmp_path / "united.json", SignedConstitution(signed.constitution, {**signed.signatures, "west": wrong}))
    facts = json.loads(run("verify", tmp_path / "united.json", "--json").stdout)
    assert facts["faults"] == ["west: wrong"]
    assert facts["signatures"]["west"] == "wrong"


def test_keys_names_and_federation_are_compared_with_the_roster(made: Path, tmp_path: Path) -> None:
    assert run("verify", made / "whole.json", "--roster", made / "north" / "roster.json").exit_code == 0
    make_federation(tmp_path, "adriatic", (*MEMBERS[:3], "isle"), at=datetime.now(tz=UTC))  # noqa: TID251 - from now
    done = run("verify", made / "whole.json", "--roster", tmp_path / "north" / "roster.json", "--json")
    assert done.exit_code == 1
    faults = json.loads(done.stdout)["faults"]
    assert faults[0] == "federation: baltic; roster: adriatic"
    assert [fault.split(":")[0] for fault in faults[1:]] == ["coordinator", "east", "isle", "north", "south", "west"]
    assert "roster: absent" in faults[-1]


def test_the_chain_is_checked_against_the_one_before(made: Path, tmp_path: Path) -> None:
    run("new", made / "draft.toml", "--from", made / "whole.json", "--out", tmp_path / "next.json")
    for name in MEMBERS:
        run("sign", tmp_path / "next.json", "--kit", made / name)
    assert run("verify", tmp_path / "next.json", "--previous", made / "whole.json").exit_code == 0
    back = run("verify", made / "whole.json", "--previous", tmp_path / "next.json")
    assert back.exit_code == 1
    assert "epoch: expected 3, got 1" in back.stdout


def test_a_reformatted_file_is_refused_and_names_itself(made: Path, tmp_path: Path) -> None:
    pretty = tmp_path / "pretty.json"
    pretty.write_text(json.dumps(json.loads((made / "whole.json").read_bytes()), indent=2))
    assert "canonical" in refusal("verify", pretty)
    assert "cannot read" in refusal("show", tmp_path / "none.json")
