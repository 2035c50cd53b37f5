"""What the verifier of evidence computes: bytes, signatures, proofs, sums and budgets. Knows nothing of hansa.

Source: RFC 9162 (proofs); C2SP signed-note, tlog-cosignature (key ids); DSSE 1.0.2; Balle, Wang, Improving the
Gaussian mechanism (ICML 2018), theorem 8 (budgets); docs/explanation/protocol.md (sums).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from array import array
from functools import lru_cache
from operator import mul
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Sequence

PRIMES = (536690689, 536641537, 536608769, 536543233, 536494081)
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class RefusedError(Exception):
    """A check does not hold."""


def demand(holds: object, reason: str) -> None:
    """Refuse unless something holds."""
    if not holds:
        raise RefusedError(reason)


def framed(data: bytes, width: int) -> list[bytes]:
    """Return the pieces of which each stands after its length."""
    found, place = [], 0
    while place < len(data):
        end = place + width + int.from_bytes(data[place : place + width], "big")
        found.append(data[place + width : end])
        place = end
    demand(place == len(data), "a length points beyond the end")
    return found


def parse(data: bytes | str) -> Any:  # noqa: ANN401 - JSON is anything
    """Return a JSON value in which no object has a key twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        demand(len(dict(pairs)) == len(pairs), "an object has a key twice")
        return dict(pairs)

    return json.loads(data, object_pairs_hook=unique)


def compact(value: object) -> str:
    """Return JSON with sorted keys and no white space."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def unbase64(text: str) -> bytes:
    """Return what base64 says, in its one form."""
    demand(base64.b64encode(base64.b64decode(text)).decode() == text, "base64 in another form than its own")
    return base64.b64decode(text)


def unpack(data: bytes) -> Any:  # noqa: ANN401 - MessagePack is anything
    """Return what MessagePack bytes hold: the maps, arrays, texts, bytes and whole numbers that messages have."""
    place = 0

    def take(length: int) -> bytes:
        nonlocal place
        place += length
        demand(place <= len(data), "a message ends early")
        return data[place - length : place]

    def value() -> Any:  # noqa: ANN401 - as above
        tag = take(1)[0]
        if tag < 0x80:
            return tag
        kind = tag & 0xF0 if tag < 0xA0 else 0xA0 if tag < 0xC0 else tag
        width = {0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4, 0xC4: 1, 0xC5: 2, 0xC6: 4}.get(kind)
        width = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}.get(kind, width)
        number = int.from_bytes(take(width), "big") if width else tag & (31 if kind == 0xA0 else 15)
        if kind in {0x80, 0xDE, 0xDF}:
            return {value(): value() for _ in range(number)}
        if kind in {0x90, 0xDC, 0xDD}:
            return [value() for _ in range(number)]
        if 0xCC <= kind <= 0xCF:
            return number
        demand(width or kind == 0xA0, f"a message has the unknown tag {tag:#x}")
        return take(number) if 0xC4 <= kind <= 0xC6 else take(number).decode()

    found = value()
    demand(place == len(data), "a message has bytes after its end")
    return found


@lru_cache(maxsize=1024)
def load(text: str) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    """Return the public key that `ed25519:...` or `p256:...` stands for."""
    kind, _, code = text.partition(":")
    raw = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4))
    if kind == "ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)


def is_signed(text: str, message: bytes, signature: bytes, *, is_der: bool = False) -> bool:
    """Return whether a signature over bare bytes is by a key; of P-256 it is `r || s` with a small s, or DER."""
    key, s = load(text), int.from_bytes(signature[32:], "big")
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            demand(is_der or (len(signature) == 64 and s <= ORDER // 2), "an ECDSA signature in another form")
            der = signature if is_der else encode_dss_signature(int.from_bytes(signature[:32], "big"), s)
            key.verify(der, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def note_key_id(name: str, text: str, *, is_cosigner: bool) -> bytes:
    """Return the 4 bytes by which a note's signature names its key (C2SP signed-note, tlog-cosignature)."""
    key = load(text)
    if isinstance(key, ed25519.Ed25519PublicKey):
        named = name.encode() + (b"\n\4" if is_cosigner else b"\n\1") + key.public_bytes_raw()
    else:
        named = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        named = name.encode() + b"\n\xffhansa/cosignature-p256/v1\n" + named if is_cosigner else named
    return hashlib.sha256(named).digest()[:4]


def pae(kind: str, body: bytes) -> bytes:
    """Return the DSSE pre-authentication encoding."""
    return b"DSSEv1 %d %b %d %b" % (len(kind.encode()), kind.encode(), len(body), body)


def climb(place: int, last: int, path: Sequence[bytes], start: bytes) -> tuple[bytes, bytes]:
    """Return the roots of the smaller and the larger tree that a proof leads to (RFC 9162, 2.1.3.2 and 2.1.4.2)."""
    old = new = start
    for node in path:
        demand(last and len(node) == 32, "a proof is too long")
        if place & 1 or place == last:
            old, new = (hashlib.sha256(b"\1" + node + below).digest() for below in (old, new))
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            new = hashlib.sha256(b"\1" + new + node).digest()
        place, last = place >> 1, last >> 1
    demand(not last, "a proof is too short")
    return old, new


def add_again(vectors: Sequence[bytes], masks: Sequence[tuple[bytes, int]], *, is_wide: bool) -> tuple[bytes, float]:
    """Return the steps that ciphertexts and partial decryptions add up to, as published, and their decoding noise.

    A vector holds block by block (8192 coefficients, or the rest), prime by prime, 29 rows of 32-bit words; one below
    the other, a column's words are 32 residues of 29 bits. A sum is `round(2^138 x / Q')`, less the masks of dropped
    members: seeds with a sign.
    """
    total, rows = len(vectors[0]) * 8 // 145, [list[int]() for _ in PRIMES]
    demand(all(8 * len(vector) == 145 * total and total % 32 == 0 for vector in vectors), "vectors of unequal lengths")
    for block in range(0, total, 8192):
        width = min(8192, total - block) // 32
        for k, prime in enumerate(PRIMES):
            start, sums = 145 * block // 8 + k * 116 * width, [0] * (32 * width)
            for vector in vectors:
                words = array("I", vector[start : start + 116 * width])
                columns = [int.from_bytes(words[column::width], "little") for column in range(width)]
                residues = [column >> 29 * row & 0x1FFFFFFF for row in range(32) for column in columns]
                demand(max(residues) < prime, "a residue is not below its prime")
                sums = list(map(int.__add__, sums, residues))
            rows[k] += sums
    modulus = math.prod(PRIMES)
    units = [modulus // prime * pow(modulus // prime, -1, prime) for prime in PRIMES]
    opened = [
        divmod((sum(map(mul, units, x)) % modulus << 138) + modulus // 2, modulus) for x in zip(*rows, strict=True)
    ]
    noise = math.sqrt(sum((2 * rest / modulus - 1) ** 2 for _, rest in opened) / total)
    values = [value for value, _ in opened]
    for seed, sign in masks:
        words = array("Q", Cipher(algorithms.AES(seed), modes.CTR(bytes(16))).encryptor().update(bytes(24 * total)))
        mask = ([word & (1 << 46) - 1 for word in words[place : place + total]] for place in range(0, 3 * total, total))
        values = [v + sign * (a | b << 46 | c << 92) for v, a, b, c in zip(values, *mask, strict=True)]
    bits, code = (46, "q") if is_wide else (23, "i")
    half, places = 1 << (bits - 1), range(0, 138, bits)
    values = [value + sum(half << place for place in places) for value in values]
    return b"".join(array(code, [(v >> place & 2 * half - 1) - half for v in values]) for place in places), noise


def delta_of(epsilon: float, count: int, noise_multiplier: float, noise: tuple[float, int, int]) -> float:
    """Return the delta at which `count` sums keep to `epsilon`, what discrete noise adds included.

    The noise is (scale of a share, shares, values): together the shares are within a factor `exp(+-ratio)` of a
    Gaussian that keeps `kept` of the variance; a sample's table is within 2^-110 of its law.
    """
    share, shares, values = noise
    tau = 10 * sum(math.exp(-2 * math.pi**2 * share**2 * k / (k + 1)) for k in range(1, shares))
    rounding = min(4.0, shares * share**2 / 4)
    ratio = count * values * (tau + 5 * math.exp(-2 * math.pi**2 * rounding))
    kept, inner = 1 - rounding / (shares * share**2), epsilon - 2 * ratio
    mu = math.sqrt(count / (noise_multiplier**2 * kept)) or 1e-9
    low, high = (math.erfc((inner / mu + side * mu / 2) / math.sqrt(2)) / 2 for side in (-1, 1))
    gaussian = low - math.exp(min(inner, 700)) * high
    return gaussian * math.exp(ratio) + (1 + math.exp(min(epsilon, 700))) * count * values * shares * 2.0**-110
