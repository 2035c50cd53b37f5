"""Claims about members whose identity key is P-256 in a token, in the real protocol."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from coordination import is_exact, notes
from hansa.crypto.signature import SigningKey, parse_public, verify
from hansa.errors import SignatureError
from hansa.identity.keys import create_signer, open_signer
from hansa.protocol.kept_signatures import KeptSignatures, with_kept_signatures
from hansa.protocol.messages import Agreement, open_envelope
from players import MemoryFacts
from simulator import Simulation, limits, signing_key
from tokens import require_softhsm, token

if TYPE_CHECKING:
    from pathlib import Path

    from hansa.crypto.signature import Signer
    from hansa.federation.transport import Subject

IN_TOKENS = ("m0", "m3", "coordinator")


@pytest.fixture(autouse=True)
def _softhsm() -> None:
    require_softhsm()


@pytest.fixture
def federation(tmp_path: Path) -> Simulation:
    keys = {name: token(tmp_path / name, f"{tmp_path.name[-20:]}-{name}") for name in IN_TOKENS}
    for name, where in keys.items():
        create_signer(tmp_path / name, where).close()  # type: ignore[attr-defined]

    def signer(name: str) -> Signer:  # opened again at every start, as a process does
        return open_signer(tmp_path / name, keys[name]) if name in keys else signing_key(name)

    publics = {name: signer(name).public for name in (*limits().members, "coordinator")}
    return Simulation(tmp_path, limits=replace(limits(), keys=publics), signer=signer)


def test_keys_of_both_kinds_open_the_exact_sum_together(federation: Simulation) -> None:
    assert {key.split(":")[0] for key in federation.limits.keys.values()} == {"ed25519", "p256"}
    federation.run()
    assert federation.coordinator.is_done
    assert notes(federation) == []
    for name in federation.limits.members:
        assert len(federation.opened(name)) == 1
        assert is_exact(federation, name)


def test_a_member_killed_before_its_answer_left_sends_it_after_the_restart(federation: Simulation) -> None:
    """The egress record holds the answer's hash already: other bytes would be withheld for ever."""
    lost: list[Subject] = []

    def withhold(node: str, subject: Subject) -> bool:
        is_lost = node == "m0" and subject.step == "agree" and not lost
        if is_lost:
            lost.append(subject)
        return is_lost

    federation.withhold = withhold
    federation.run(until=lambda: bool(lost))
    recorded = {(row.step, row.sha256) for row in federation.stores["m0"].egress()}
    federation.start("m0")
    federation.start_coordinator()
    federation.run()
    assert recorded <= {(row.step, row.sha256) for row in federation.stores["m0"].egress()}
    assert [body for node, step, body in federation.sent if node == "m0" and step == "agree"]
    assert len(federation.opened("m0")) == 1
    assert is_exact(federation)


def test_a_signature_of_another_algorithm_is_refused(federation: Simulation) -> None:
    federation.run()
    body = next(body for node, step, body in federation.sent if node == "m0" and step == "agree")
    key = federation.limits.keys["m0"]
    assert open_envelope(body, Agreement, sender="m0", key=key)
    with pytest.raises(SignatureError):
        open_envelope(body, Agreement, sender="m0", key=signing_key("m0").public)


def test_a_kept_signature_is_made_once_and_only_where_it_must_be(tmp_path: Path) -> None:
    where = token(tmp_path, f"kept-{tmp_path.name[-20:]}")
    hardware, facts = create_signer(tmp_path, where), MemoryFacts()
    software = SigningKey.from_bytes(bytes(32))
    assert with_kept_signatures(software, facts) is software
    kept = with_kept_signatures(hardware, facts)
    assert isinstance(kept, KeptSignatures)
    assert with_kept_signatures(kept, facts) is kept
    assert (kept.public, kept.algorithm, kept.key_id) == (hardware.public, "p256", hardware.key_id)
    signature = kept.sign("type", b"bytes")
    verify(parse_public(kept.public), "type", b"bytes", signature)
    again = with_kept_signatures(open_signer(tmp_path, where), facts)
    assert again.sign("type", b"bytes") == signature
    assert again.sign("type", b"other") != signature
