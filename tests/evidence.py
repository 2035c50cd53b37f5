"""A log and an evidence bundle of a simulated federation: real nodes, messages, sums, witnesses and ledgers."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import msgspec

from audit_keys import EdwardsKey, P256Key
from constitutions import GRAM, constitution, signed
from hansa.audit.bundle import make_bundle
from hansa.audit.entry import seal_entry
from hansa.audit.note import origin_of, witness_name
from hansa.audit.store import LogStore
from hansa.audit.witness import FileMemory, Witness
from hansa.federation.logged import agreed, announced, attested, charged, opened, seeds_of
from hansa.federation.rules import limits_of
from hansa.federation.store import read_ledger
from hansa.federation.transport import Channel
from hansa.protocol.messages import Call, Cohort, Manifest, Result, open_envelope
from hansa.protocol.privacy import epsilon
from simulator import DAY_NS, SECOND, Simulation, request, signing_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hansa.audit.statement import Statement
    from hansa.federation.running_sum import Request
    from hansa.federation.transport import Message
    from hansa.governance.constitution import Constitution

SMALL = msgspec.structs.replace(GRAM, values=20, value_bound=100.0, sensitivity=1.0, noise_multiplier=1.0, epsilon=50.0)
PURPOSES = {
    "gram": SMALL,
    "state": msgspec.structs.replace(SMALL, values=0, values_per_bar=3, period="day", exchanges=2, epsilon=400.0),
    "wide": msgspec.structs.replace(SMALL, values=40, scale=2**14),
}


def rules(members: int = 5, **changes: object) -> Constitution:
    return constitution(members, **({"federation": "demo", "purposes": PURPOSES, "round": ()} | changes))


def bars(position: int, *, count: int) -> Request:
    """Ask for the state of some bars, the last of which begin in the next day."""
    asked = request(position, "state", bars=count)
    shift = DAY_NS - count // 2 * 300 * SECOND
    start, end = asked.span_start_ns + shift, asked.span_end_ns + shift
    return replace(asked, span_start_ns=start, span_end_ns=end)


@dataclass
class Played:
    """A simulated federation that has made its sums.

    Args:
        directory: Where the members' stores are.
        document: The constitution.
        programme: The sums.
        silent: Members who do not take part.
        vanishing: Members who upload and answer no call.
    """

    directory: Path
    document: Constitution = field(default_factory=rules)
    programme: Sequence[Request] = field(default_factory=lambda: [request(0, "gram")])
    silent: tuple[str, ...] = ()
    vanishing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.limits = limits_of(self.document)
        self.simulation = Simulation(
            self.directory, limits=self.limits, programme=list(self.programme),
            withhold=lambda node, subject: node in self.vanishing and subject.step.startswith(("open", "shares")),
        )  # fmt: skip
        self.simulation.run(until=self._is_set_up)
        self.simulation.silent.update(self.silent)
        self.simulation.run(2000)

    def _is_set_up(self) -> bool:
        return any(message.subject.step == "announce" for message in self.simulation.hub.stored(Channel.BOARD))


@dataclass
class Evidence:
    """What a bundle is made of: the log of a federation that has made its sums.

    Args:
        directory: Where log and witnesses are.
        played: The federation.
        log_signer: The log's key; by default the coordinator's own.
        attestation: A quote to log, bound to the log's key: technology and evidence.
        forge: What a crooked coordinator logs instead of a message, by step.
        charge: What a crooked member says instead of a charge; nothing if empty.
    """

    directory: Path
    played: Played
    log_signer: EdwardsKey | P256Key | None = None
    attestation: tuple[str, bytes] | None = None
    forge: Callable[[str, bytes], bytes] = field(default=lambda _step, body: body)
    charge: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda fields: fields)

    def __post_init__(self) -> None:
        self.limits, self.document = self.played.limits, self.played.document
        self.constitution = signed(self.document).to_bytes()
        self.board = self.played.simulation.hub.stored(Channel.BOARD)
        self.inbox = self.played.simulation.hub.stored(Channel.INBOX)
        self.messages: dict[bytes, bytes] = {}
        self.seeds: dict[str, dict[str, dict[str, bytes]]] = {}
        self.numbers: dict[str, list[int]] = {}
        log_signer = self.log_signer or EdwardsKey("coordinator")
        self.log_key = log_signer.public
        self.log = LogStore(self.directory / "log", origin=origin_of("demo"), signer=log_signer)
        self.witnesses = [
            Witness(
                witness_name("demo", name), signer=EdwardsKey(name), log=self.log.key,
                memory=FileMemory(self.directory / name), clock=lambda: 1_700_000_000,
            )
            for name in self.limits.members
        ]  # fmt: skip
        self._log_all()

    def bundle(self, numbers: Sequence[int] | None = None) -> bytes:
        """Return the bundle of some entries, by default of all."""
        return make_bundle(
            self.log,
            numbers=range(self.log.size) if numbers is None else numbers,
            constitution=self.constitution,
            keys=self.limits.keys,
            log_key=self.log_key,
            message=self.messages.get,
            seeds=self.seeds,
        )

    def checkpoint(self) -> None:
        """Have everybody cosign the newest checkpoint, and publish it."""
        lines = [witness.observe(self.log.head.to_bytes(), self.log.files) for witness in self.witnesses]
        self.log.publish(self.log.head.with_signatures(lines))

    def say(self, *statements: Statement, party: str = "coordinator") -> list[int]:
        """Log statements of a party."""
        entries = [seal_entry(one, party=party, signer=signing_key(party)) for one in statements]
        first = self.log.append(entries)
        return list(range(first, first + len(entries)))

    def keep(self, body: bytes) -> bytes:
        self.messages[hashlib.sha256(body).digest()] = body
        return body

    def _log_all(self) -> None:
        self.balances: dict[tuple[str, str, str], tuple[int, int]] = {}
        if self.attestation:
            technology, evidence = self.attestation
            statement = attested(
                self.keep(evidence),
                technology=technology,
                epoch="e1",
                log_key=self.log_key,
                time=self._time(),  # type: ignore[arg-type]
            )
            self.numbers["attestation"] = self.say(statement)
        for message in self.board:
            if message.subject.step == "announce":
                manifest = open_envelope(
                    message.body, Manifest, sender="coordinator", key=self.limits.keys["coordinator"]
                )
                self._log_session(message, manifest)

    def _log_session(self, message: Message, manifest: Manifest) -> None:
        time = self._time()
        body = self.keep(message.body)
        numbers = self.say(announced(body, manifest, coordinator="coordinator", time=time))
        self.checkpoint()
        mine = [
            one for one in self.board if one.subject.session == manifest.session and one.subject.epoch == manifest.epoch
        ]
        said = {
            one.subject.step: self.forge(one.subject.step, one.body)
            for one in mine
            if one.subject.sender == "coordinator"
        }
        cohort = open_envelope(said["cohort"], Cohort, sender="coordinator", key=self.limits.keys["coordinator"])
        numbers += self.say(*agreed(self.keep(said["cohort"]), cohort, manifest, coordinator="coordinator", time=time))
        for name in cohort.members:
            numbers += self._log_charges(name, body, manifest)
        if "result" in said:
            numbers += self._log_result(said, cohort, manifest)
        self.checkpoint()
        self.numbers[manifest.session] = numbers

    def _log_result(self, said: dict[str, bytes], cohort: Cohort, manifest: Manifest) -> list[int]:
        key = self.limits.keys["coordinator"]
        result = open_envelope(said["result"], Result, sender="coordinator", key=key, limit=1 << 24)
        calls = [
            open_envelope(said[step], Call, sender="coordinator", key=key) for step in said if step.startswith("call")
        ]
        bodies = {
            (one.subject.step, one.subject.sender): self.keep(one.body)
            for one in self.inbox
            if one.subject.session == manifest.session and one.subject.sender in cohort.members
            and one.subject.step != "agree"
        }  # fmt: skip
        answers = {address: hashlib.sha256(one).digest() for address, one in bodies.items() if address[0] != "upload"}
        seeds = seeds_of(manifest, cohort, calls, bodies, limits=self.limits)
        if seeds:
            self.seeds[manifest.digest().hex()] = {name: dict(towards) for name, towards in seeds.items()}
        statement = opened(
            self.keep(said["result"]), result, manifest, answers=answers, coordinator="coordinator", time=self._time()
        )
        return self.say(statement)

    def _log_charges(self, name: str, body: bytes, manifest: Manifest) -> list[int]:
        numbers = []
        ledger = read_ledger(self.played.directory / f"{name}.sqlite")
        for row in (row for row in ledger if row.session == f"{manifest.epoch}/{manifest.session}"):
            budget = (name, row.purpose, row.period)
            number, before = self.balances.get(budget, (0, 0))
            after = before + row.charge.count
            spent = epsilon([replace(row.charge, count=after)], delta=self.limits.purposes[row.purpose].delta)
            fields = self.charge({
                "member": name, "period": row.period, "change": "charge", "number": number + 1, "before": before,
                "releases": row.charge.count, "epsilon": spent,
            })  # fmt: skip
            if fields:
                statement = charged(body, manifest, coordinator="coordinator", time=self._time(), **fields)
                numbers += self.say(statement, party=name)
            self.balances[budget] = number + 1, after
        return numbers

    def _time(self) -> int:
        return self.played.simulation.now_ns // SECOND


def quote_for(technology: str, log_key: str, coordinator_key: str, *, place: int) -> bytes:
    """Return evidence whose quote carries its binding at a place, as no machine made it."""
    binding = {
        "federation": "demo", "epoch": "e1", "nonce": "00" * 32, "identity_key": coordinator_key, "tls_key": "11" * 32,
        "log_key": log_key, "code": "22" * 32,
    }  # fmt: skip
    words = b"hansa/attestation/1\n" + json.dumps(binding, sort_keys=True, separators=(",", ":")).encode()
    bound = hashlib.sha256(words).digest() if technology == "tpm" else hashlib.sha512(words).digest()
    quote = bytes(place) + bound + bytes(100)
    document = {"technology": technology, "quote": b64encode(quote).decode(), "collateral": {}, "binding": binding}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
