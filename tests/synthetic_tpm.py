"""SYNTHESISED quotes in a TPM's form, signed with a key of the test: for bindings that no recorded quote can have.

They show that evidence travels and is judged; that real quotes verify is shown by `recorded_quotes`.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hansa.identity.attestation.clause import AttestationClause, Image
from hansa.identity.attestation.evidence import Evidence

if TYPE_CHECKING:
    from hansa.identity.attestation.binding import Binding
    from hansa.identity.attestation.clause import Policy

KEY = ec.derive_private_key(7, ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
REGISTERS = {"pcr0": "ab" * 32, "pcr7": "cd" * 32}
CODE = "44" * 32


def clause(policy: Policy) -> AttestationClause:
    return AttestationClause(
        policy, images=(Image("tpm", REGISTERS),), code=(CODE,), roots=(hashlib.sha256(PUBLIC).hexdigest(),)
    )


def quote(qualifying: bytes, registers: dict[str, str] = REGISTERS) -> bytes:
    numbers = [int(name.removeprefix("pcr")) for name in registers]
    mask = sum(1 << number for number in numbers).to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(bytes.fromhex(value) for value in registers.values())).digest()
    return (
        b"\xff\x54\x43\x47\x80\x18" + _sized(b"\0\x0b" + bytes(32)) + _sized(qualifying) + bytes(25)
        + b"\0\0\0\1\0\x0b\3" + mask + _sized(digest)
    )  # fmt: skip


@cache
def signature(raw: bytes) -> bytes:
    r, s = decode_dss_signature(KEY.sign(raw, ec.ECDSA(hashes.SHA256())))
    return b"\0\x18\0\x0b" + _sized(r.to_bytes(32, "big")) + _sized(s.to_bytes(32, "big"))


def evidence(binding: Binding, registers: dict[str, str] = REGISTERS) -> Evidence:
    raw = quote(binding.qualifying_data(), registers)
    parts = {"key": PUBLIC, "signature": signature(raw)}
    return Evidence("tpm", _text(raw), {name: _text(part) for name, part in parts.items()}, binding)


def _sized(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
