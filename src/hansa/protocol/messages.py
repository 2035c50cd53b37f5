"""Messages of a federation and the signed envelope around each.

Envelope (MessagePack array): `[type, sender, payload, signature]`; the signature covers the DSSE pre-authentication
encoding of (type, SHA-256 of the payload), the payload names its own epoch or manifest, so that no message can be moved
elsewhere. Ed25519 reads what it signs twice: the hash makes a payload of megabytes as cheap to sign as a small one.

Guarantees: what `open_envelope` returns was signed by the key given, has exactly the fields of its type and is no
larger than the limit given; lengths are bounded before anything is built from them.
Does NOT guarantee: freshness or uniqueness; the sessions check those.
Source: DSSE 1.0.2 (pre-authentication encoding); MessagePack.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec

from hansa.crypto.signature import parse_public, verify
from hansa.errors import MessageError

if TYPE_CHECKING:
    from hansa.crypto.signature import Signer

TYPE_PREFIX: Final = "application/vnd.hansa."
ENVELOPE_OVERHEAD_BYTES: Final = 512
SMALL_BYTES: Final = 1 << 20


class Payload(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=False):
    """Root of everything that travels inside an envelope."""

    @classmethod
    def media_type(cls) -> str:
        """Return the type that the envelope's signature covers."""
        return f"{TYPE_PREFIX}{cls.__name__.lower()}+msgpack"


class Setup(Payload, frozen=True):
    """A member's encryption key for the epoch, under the constitution it has checked."""

    epoch: str
    constitution: str
    encryption_key: bytes


class Epoch(Payload, frozen=True):
    """The coordinator's list of who set up: member names and the SHA-256 of their set-up messages.

    `left_out` says of each member that this list or one before it dropped: why.
    """

    epoch: str
    members: tuple[str, ...]
    setups: tuple[bytes, ...]
    left_out: dict[str, str] = {}


class Halves(Payload, frozen=True):
    """What a member deals under the list whose SHA-256 is `listing`.

    `sealed` holds for every other member one half of their pair secret and the seed of its share of the sender's ring
    key; `commitments` the SHA-256 of every seed, the sender's own included; `corrections` the SHA-256 of what the
    holders beyond the first `t - 1` add to the expansion of their seeds.
    """

    epoch: str
    listing: bytes
    sealed: dict[str, bytes]
    commitments: dict[str, bytes]
    corrections: dict[str, bytes]


class Probe(Payload, frozen=True):
    """One random linear function of each share that a holder has, by dealer."""

    epoch_id: bytes
    probes: dict[str, bytes]


class Complaint(Payload, frozen=True):
    """A holder's word that what `dealer` dealt to it does not fit; `about` is `share` or `correction`."""

    listing: bytes
    dealer: str
    about: Literal["share", "correction"]


class Answer(Payload, frozen=True):
    """What a dealer makes public of what it dealt to a holder, whose complaint has the SHA-256 `complaint`.

    About a share: the half, the seed and the correction, if there is one. About a correction: the correction alone.
    """

    complaint: bytes
    holder: str
    half: bytes
    seed: bytes
    correction: bytes


class Reveal(Payload, frozen=True):
    """A holder's share of one dealer's key, made public because the probes of that key disagree."""

    epoch_id: bytes
    dealer: str
    seed: bytes
    correction: bytes


class Manifest(Payload, frozen=True):
    """The description of one secure sum; its digest binds masks, noise and signatures.

    `span_start_ns` and `span_end_ns` say which bars the statistic is about (end-of-bar stamps, both inclusive);
    `position` orders the session in its round, `attempt` counts its repetitions.
    """

    federation: str
    constitution: str
    epoch: str
    epoch_id: bytes
    session: str
    round: int
    position: int
    index: int
    attempt: int
    purpose: str
    length: int
    span_start_ns: int
    span_end_ns: int
    participants: tuple[str, ...]

    def digest(self) -> bytes:
        """SHA-256 of the manifest's own encoding."""
        return hashlib.sha256(b"hansa/manifest/1" + encode(self)).digest()


class Upload(Payload, frozen=True):
    """A noised, masked and encrypted vector; a commitment to each mask seed; recovery packages.

    The commitment to a seed is its SHA-256: an opened seed that does not fit names the member that gave it.
    """

    manifest: bytes
    ciphertext: bytes
    commitments: dict[str, bytes]
    recovery: dict[str, bytes]


class Cohort(Payload, frozen=True):
    """Who is in the sum: names in order, and the SHA-256 of the upload that each one sent."""

    manifest: bytes
    members: tuple[str, ...]
    uploads: tuple[bytes, ...]

    def root(self) -> bytes:
        """SHA-256 of the cohort's own encoding: what a quorum signs."""
        return hashlib.sha256(b"hansa/cohort/1" + encode(self)).digest()


class Agreement(Payload, frozen=True):
    """A member's one signature on a cohort of this manifest."""

    manifest: bytes
    root: bytes


class Call(Payload, frozen=True, omit_defaults=True):
    """A call for the partial decryptions of exactly these decryptors, for the cohort with this root.

    `number` counts the calls of a session from 0. The first call of a session of three exchanges carries the
    certificate: the agreement envelopes of a quorum of the cohort; all other calls carry none. Where the constitution
    asks for cosignatures, the first call carries a cosigned `checkpoint` of a log that holds the manifest.
    """

    manifest: bytes
    root: bytes
    number: int
    decryptors: tuple[str, ...]
    agreements: tuple[bytes, ...]
    checkpoint: bytes = b""


class Opening(Payload, frozen=True):
    """A cohort member's answer to a call: its partial decryption of the sum, and seeds towards dropped peers.

    `partial` is empty from a member that the call does not name. `seeds` are the session's mask seeds that the member
    shares with each dropped peer; only the first call is answered with them.
    """

    manifest: bytes
    root: bytes
    number: int
    seeds: dict[str, bytes]
    partial: bytes


class Recover(Payload, frozen=True):
    """A request for the shares of vanished cohort members, with their packages for each receiver."""

    manifest: bytes
    root: bytes
    packages: dict[str, dict[str, bytes]]


class Shares(Payload, frozen=True):
    """Shares of the mask seeds between vanished cohort members and dropped peers: `{vanished: {dropped: share}}`."""

    manifest: bytes
    root: bytes
    shares: dict[str, dict[str, bytes]]


class Result(Payload, frozen=True):
    """The opened sum of the cohort in integer steps: little-endian int32, or int64 where a lane is wide.

    `number` is the call whose decryptors opened it.
    """

    manifest: bytes
    root: bytes
    number: int
    members: tuple[str, ...]
    steps: bytes


class Died(Payload, frozen=True):
    """A session that ended without opening anything, and why."""

    manifest: bytes
    reason: str


class Logged(Payload, frozen=True):
    """What the coordinator appended to the log: the new checkpoint, and the entries since the size `start`.

    `note` is the checkpoint with the log's signature alone; members add theirs.
    """

    start: int
    entries: tuple[bytes, ...]
    note: bytes


class Attested(Payload, frozen=True):
    """The coordinator's evidence of the machine it runs on, for the epoch that is set up (`identity.attestation`)."""

    epoch_id: bytes
    evidence: bytes


class Closed(Payload, frozen=True):
    """A member's word that it has answered no call of this manifest and never will."""

    manifest: bytes


class _Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    type: str
    sender: str
    payload: bytes
    signature: bytes


PayloadT = TypeVar("PayloadT", bound=Payload)
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_envelopes = msgspec.msgpack.Decoder(_Envelope)
_MALFORMED: Final = (msgspec.DecodeError, UnicodeDecodeError)  # text that is no UTF-8 is raised as the latter


def encode(payload: Payload) -> bytes:
    """Return the deterministic MessagePack bytes of a payload."""
    return _encoder.encode(payload)


def seal_envelope(payload: Payload, *, sender: str, signer: Signer) -> bytes:
    """Sign the SHA-256 of `payload`, as a payload of its type, and return the envelope's bytes."""
    body = encode(payload)
    kind = type(payload).media_type()
    return _encoder.encode(_Envelope(kind, sender, body, signer.sign(kind, hashlib.sha256(body).digest())))


def open_envelope(
    data: bytes, expected: type[PayloadT], *, sender: str, key: str, limit: int = SMALL_BYTES
) -> PayloadT:
    """Check an envelope and return its payload.

    Args:
        data: Bytes as they came.
        expected: Type that this step of the protocol allows.
        sender: Who the subject says it is.
        key: That sender's identity key from the constitution.
        limit: Largest payload, bytes.

    Raises:
        MessageError: Too large, malformed, of another type or sender.
        SignatureError: The signature is not that key's.
    """
    if len(data) > limit + ENVELOPE_OVERHEAD_BYTES:
        raise MessageError(f"{expected.__name__} from {sender}: {len(data)} bytes; at most {limit} are allowed")
    try:
        envelope = _envelopes.decode(data)
    except _MALFORMED as error:
        raise MessageError(f"{expected.__name__} from {sender}: not an envelope: {error}") from error
    if envelope.type != expected.media_type() or envelope.sender != sender:
        raise MessageError(
            f"expected {expected.media_type()} from {sender}; got {envelope.type[:80]!r} from {envelope.sender[:40]!r}"
        )
    verify(parse_public(key), envelope.type, hashlib.sha256(envelope.payload).digest(), envelope.signature)
    try:
        return msgspec.msgpack.decode(envelope.payload, type=expected)
    except _MALFORMED as error:
        raise MessageError(f"{expected.__name__} from {sender}: {error}") from error


def claimed_sender(data: bytes) -> str:
    """Return the sender that an envelope names, before any check of its signature.

    Raises:
        MessageError: The bytes are no envelope.
    """
    if len(data) > SMALL_BYTES:
        raise MessageError(f"an envelope of {len(data)} bytes; at most {SMALL_BYTES} are expected here")
    try:
        return _envelopes.decode(data).sender
    except _MALFORMED as error:
        raise MessageError(f"not an envelope: {error}") from error
