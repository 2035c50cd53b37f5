"""What is fuzzed: every function that turns bytes of another party, or of a file, into something of ours.

A target is a name, a function of bytes, valid inputs to start from, and the form in which inputs are changed. It holds
if the function returns or raises a `HansaError`, and if what it allocates stays below `floor + factor * len(input)`.
Where a signature, a hash or a seal would stop every changed input, the target makes it afresh over the changed inside.

A new decoder is one line in `TARGETS`; a new `Payload` is found by itself.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import delivery
import files
import logs
import quotes
from hansa.crypto.agreement import EncryptionKey, encrypt, open_sealed
from hansa.crypto.canonical import canonical, strict_json
from hansa.crypto.encryption import add_ciphertext, ciphertext_bytes, empty_total
from hansa.crypto.key_sharing import PROBE_BYTES, agreeing
from hansa.crypto.prg import derive
from hansa.crypto.ring import ELEMENT_BYTES, decode_element
from hansa.crypto.sharing import SHARE_BYTES, Share, combine, split
from hansa.crypto.signature import pae, parse_public, verify
from hansa.errors import HansaError
from hansa.federation.doctor.report import NodeReport, Probe, faults_of, open_check, open_report, sign_report
from hansa.federation.draft_file import EXAMPLE, Draft
from hansa.federation.frames import ChunkStore, Commit
from hansa.federation.transport import Subject, check_identifier
from hansa.governance.constitution import parse
from hansa.governance.signed import SignedConstitution
from hansa.identity.configuration import NodeConfiguration
from hansa.identity.kit import Request
from hansa.identity.roster import Member, Roster
from hansa.protocol.encoding import sum_from_bytes
from hansa.protocol.limits import check_manifest, periods
from hansa.protocol.masking import open_package
from hansa.protocol.messages import (
    Call,
    Cohort,
    Manifest,
    Opening,
    Payload,
    Result,
    Upload,
    claimed_sender,
    encode,
    open_envelope,
    seal_envelope,
)
from hansa.protocol.opening import check_call
from sample_federation import COORDINATOR, EPOCH_ID, LENGTH, NAMES, cohort, key, limits, manifest, payloads, signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hansa.governance.constitution import Constitution

MAX_BODY = 1 << 22


@dataclass(frozen=True)
class Target:
    """One decoder; `form` is bytes, text, json or msgpack; bounds of allocation in bytes; share of the runs."""

    name: str
    decode: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    form: str = "bytes"
    floor: int = 1 << 20
    factor: int = 200
    max_bytes: int = 4096
    weight: int = 4


class RawPayload(msgspec.Struct, frozen=True, array_like=True):
    """The envelope's array, with any bytes as its payload."""

    type: str
    sender: str
    payload: bytes
    signature: bytes


def node_report(constitution: Constitution) -> bytes:
    """Return a signed report of a node."""
    probes = (Probe("kit", "pass", "well"), Probe("tls", "warn", "soon over", "renew"))
    return sign_report(
        NodeReport(
            federation="fuzz", node="m00", role="member", epoch=1, constitution=constitution.digest(), quarter="2026Q4",
            at="2026-11-25T11:00:00+00:00", software="0.1.0", code="ab" * 32, probes=probes,
        ),
        key("m00"),
    )  # fmt: skip


def open_report_of(constitution: Constitution) -> Callable[[bytes], None]:
    """Return a function that reads its input as a report, as it comes, and with the report in it signed afresh."""

    def read(data: bytes) -> None:
        at = datetime(2026, 11, 25, tzinfo=UTC)
        open_check_of(data, constitution)
        report = reported_words(data)
        if report is not None:
            data = sign_report(report, key("m00"))
        faults_of(open_report(data, constitution), constitution, at=at, software="0.1.0", code="ab" * 32)

    return read


def open_check_of(data: bytes, constitution: Constitution) -> None:
    """Read the input as a check."""
    _refused_or_read(lambda raw: open_check(raw, constitution), data)


def reported_words(data: bytes) -> NodeReport | None:
    """Return the report inside the input, whoever signed it."""
    try:
        return msgspec.convert(msgspec.json.decode(data)["report"], NodeReport)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return None


def envelope(data: bytes) -> None:
    """Read an envelope as it comes."""
    for read in (claimed_sender, lambda raw: open_envelope(raw, Upload, sender="m00", key=key("m00").public)):
        _refused_or_read(read, data)


def payload(kind: type[Payload], data: bytes) -> None:
    """Sign the input as a payload of a type, open it, and go on to what a node does with it first."""
    media = kind.media_type()
    body = msgspec.msgpack.encode(
        RawPayload(media, "m00", data, _own_key().sign(pae(media, hashlib.sha256(data).digest())))
    )
    found = open_envelope(body, kind, sender="m00", key=key("m00").public)
    if msgspec.msgpack.decode(encode(found), type=kind) != found:
        raise AssertionError("a payload that was read is not the one that is written again")
    _use(found)


@functools.cache
def _own_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(key("m00").to_bytes())


def _use(found: Payload) -> None:
    if isinstance(found, Manifest):
        found.digest()
        purpose = check_manifest(found, limits(), epoch_id=EPOCH_ID, epoch_members=NAMES)
        periods(found, purpose, limits().bar_ns)
    elif isinstance(found, Cohort):
        found.root()
    elif isinstance(found, Call):
        check_call(found, cohort=cohort(), limits=limits(), exchanges=3)
    elif isinstance(found, Upload):
        add_ciphertext(empty_total(32), found.ciphertext)
    elif isinstance(found, Opening):
        add_ciphertext(empty_total(32), found.partial)
    elif isinstance(found, Result):
        sum_from_bytes(found.steps, LENGTH, is_wide=False)


def ciphertext(data: bytes) -> None:
    """Add the input to a total of as many coefficients as its length has; a refused one leaves the total alone."""
    total = empty_total(32 * max(1, len(data) // ciphertext_bytes(32)))
    try:
        add_ciphertext(total, data)
    except HansaError:
        if total.any():
            raise AssertionError("a refused ciphertext was added in part") from None
        raise


def probes(data: bytes) -> None:
    """Cut the input into probes and look for the holders that agree."""
    cut = [data[start : start + PROBE_BYTES] for start in range(0, len(data), PROBE_BYTES)]
    agreeing(dict(enumerate(cut[:40], start=1)), threshold=3, needed=4)


def commit_frame(data: bytes) -> None:
    """Read a commit and name its chunks."""
    found = Commit.from_bytes(data, max_body_bytes=MAX_BODY)
    found.chunk_subjects("hansa.fuzz.e1.s1.upload.m00")


def chunks(data: bytes) -> None:
    """Cut the input into chunks; commit to what they should be and to what came; put them together."""
    size = 1 + data[0] if data else 1
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    store = ChunkStore(max_bytes=len(data) // 2)
    for place, piece in enumerate(pieces):
        store.keep(f"s.{place % 7}", piece)
    for place in range(7):
        store.take(f"s.{place}")
    if Commit.of(data, chunk_bytes=size).assemble(pieces) != data:
        raise AssertionError("a body is not what its chunks were")
    Commit.from_bytes(data[:45], max_body_bytes=MAX_BODY).assemble(pieces[1:])


def subject(data: bytes) -> None:
    """Read a subject, and its parts alone."""
    text = data.decode(errors="replace")
    _refused_or_read(lambda part: check_identifier(part, what="part"), text)
    found = Subject.from_text(text, federation="fuzz")
    if found.to_text("fuzz") != text:
        raise AssertionError("a subject that was read is not the one that is written again")


def shares(data: bytes) -> None:
    """Read shares one after another and combine them."""
    cut = [data[start : start + SHARE_BYTES] for start in range(0, len(data), SHARE_BYTES)]
    found = [Share.decode(piece) for piece in cut[:8]]
    if any(share.encode() != piece for share, piece in zip(found, cut, strict=False)):
        raise AssertionError("a share that was read is not the one that is written again")
    combine(found, threshold=2)


def package(data: bytes) -> None:
    """Seal the input as a recovery package and open it."""
    digest = manifest().digest()
    sealing = derive(bytes(32), b"hansa/recovery/1" + digest + b"m00|m01")
    sealed = encrypt(sealing, data, associated=digest)
    open_package(sealed, sender="m00", receiver="m01", participants=NAMES, pair_secret=bytes(32), manifest=digest)


def public_key(data: bytes) -> None:
    """Read a public key and hold a signature against it."""
    text = data.decode(errors="replace")
    verify(parse_public(text), "type", b"payload", bytes(64))


def signature(data: bytes) -> None:
    """Hold any signature, and any key, against a payload."""
    verify(key("m00").public_bytes(), "type", b"payload", data)


def raw_key(data: bytes) -> None:
    """Verify under any bytes as a key."""
    verify(data[:32], "type", b"payload", bytes(64))


def json_value(data: bytes) -> None:
    """Read strict JSON; its canonical bytes must be a fixed point."""
    text = canonical(strict_json(data, what="input"))
    if canonical(strict_json(text, what="input")) != text:
        raise AssertionError("canonical bytes are not canonical")


def constitution_file(data: bytes) -> None:
    """Read a constitution's file; only its own bytes may be read as it."""
    found = SignedConstitution.from_bytes(data)
    if found.to_bytes() != data:
        raise AssertionError("two files are the same constitution")
    found.standings()


def configuration(data: bytes) -> None:
    """Read hansa.toml."""
    NodeConfiguration.from_toml(data.decode(errors="replace"))


def draft(data: bytes) -> None:
    """Read a draft of a constitution."""
    Draft.from_toml(data.decode(errors="replace"))


def request(data: bytes) -> None:
    """Read a kit request, as it comes and signed by its own key."""
    _refused_or_read(Request.from_bytes, data)
    try:
        found = msgspec.json.decode(data, type=Request)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    own = msgspec.structs.replace(found, identity_key=key("m00").public)
    hexadecimal = key("m00").sign(files.REQUEST_TYPE, own.signed_part()).hex()
    Request.from_bytes(msgspec.json.encode(msgspec.structs.replace(own, signature=hexadecimal)))


def _refused_or_read(read: Callable[..., object], data: object) -> None:
    try:
        read(data)
    except HansaError:
        return


def payload_targets() -> Iterable[Target]:
    """Return a target for every type of payload; one without an example here starts from an empty map."""
    known = payloads()
    for kind in sorted(Payload.__subclasses__(), key=lambda one: one.__name__):
        example = encode(known[kind]) if kind in known else b"\x80"
        yield Target(f"payload-{kind.__name__.lower()}", functools.partial(payload, kind), (example,), "msgpack")


@functools.cache
def targets() -> dict[str, Target]:
    """Return every target by name."""
    everything = (
        *payload_targets(),
        *_protocol(),
        *_governance(),
        *_identity(),
        *files.file_targets(Target),
        *quotes.quote_targets(Target),
        *delivery.delivery_targets(Target),
        *logs.log_targets(Target),
    )
    return {target.name: target for target in everything}


def _protocol() -> Iterable[Target]:
    sealed = seal_envelope(payloads()[Upload], sender="m00", signer=key("m00"))
    body = bytes(range(200))
    commit = Commit.of(body, chunk_bytes=1024).to_bytes()
    parts = split(bytes(32), threshold=2, holders=[1, 2, 3], entropy=bytes(32))
    inner = b"".join(share.encode() for share in parts)
    opener = EncryptionKey.from_bytes(bytes(range(96)))
    yield Target("envelope", envelope, (sealed,), "msgpack")
    yield Target("commit", commit_frame, (commit,))
    yield Target("chunks", chunks, (b"\x20" + body, commit + body))
    yield Target("subject", subject, (b"hansa.fuzz.e1-0123456789ab.r1-0-gram-a1.upload.m00",), "text")
    yield Target("shares", shares, (inner,))
    yield Target("package", package, (inner,), weight=1)
    yield Target("sealed-half", lambda data: open_sealed(opener, data, b"info"), (bytes(1168),), weight=1)
    yield Target("sum", lambda data: sum_from_bytes(data, len(data) // 8, is_wide=True), (bytes(40),))
    ciphertext(bytes(ciphertext_bytes(32)))  # compiled before anything is measured
    decode_element(bytes(ELEMENT_BYTES))
    yield Target("ciphertext", ciphertext, (bytes(ciphertext_bytes(32)),))
    element = bytes(ELEMENT_BYTES)
    yield Target("ring-element", decode_element, (element,), floor=1 << 22, max_bytes=ELEMENT_BYTES + 64, weight=1)
    yield Target("probes", probes, (bytes(PROBE_BYTES) * 4,))


def _governance() -> Iterable[Target]:
    rules = signed()
    yield Target("json", json_value, (rules.constitution.bytes(), b'{"a":[1e-7,null,"\\u00e9"]}'), "json")
    yield Target("constitution", parse, (rules.constitution.bytes(),), "json", max_bytes=8192)
    yield Target("constitution-file", constitution_file, (rules.to_bytes(),), "json", max_bytes=8192)
    report = open_report_of(rules.constitution)
    yield Target("node-report", report, (node_report(rules.constitution),), "json", max_bytes=8192)
    yield Target("draft", draft, (EXAMPLE.to_toml().encode(),), "text", max_bytes=8192, weight=1)


def _identity() -> Iterable[Target]:
    members = tuple(Member(name, key(name).public, name.upper()) for name in NAMES)
    roster = Roster("fuzz", members, Member(COORDINATOR, key(COORDINATOR).public))
    toml = NodeConfiguration("m00", "fuzz", "member").to_toml().encode()
    text = key("m00").public.encode()
    yield Target("hansa-toml", configuration, (toml,), "text")
    yield Target("roster", Roster.from_bytes, (roster.to_bytes(),), "json")
    yield Target("kit-request", request, (files.request_bytes(),), "json")
    yield Target("public-key", public_key, (text, b"ed25519:" + base64.urlsafe_b64encode(bytes(32)).rstrip(b"=")))
    yield Target("signature", signature, (bytes(64),))
    yield Target("raw-key", raw_key, (bytes(32), key("m00").public_bytes()))
