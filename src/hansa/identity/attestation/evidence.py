"""A quote as it travels, and what a verified one says.

```
{"binding": {...}, "collateral": {name: text}, "quote": base64, "technology": "tdx" | "sgx" | "sev-snp" | "tpm"}
```

| technology | quote | collateral |
|---|---|---|
| tdx, sgx | DCAP quote, version 3 to 5 | `intel`: the JSON of Intel's provisioning service, as `dcap-qvl` writes it |
| sev-snp | attestation report, 1184 bytes | `vcek`, `ask`, `ark`: DER, base64; `crl`: AMD's list, the same, if given |
| tpm | TPMS_ATTEST | `key`: SubjectPublicKeyInfo, DER, base64; `signature`: TPMT_SIGNATURE, base64 |

The collateral travels with the quote so that a member asks nobody but itself: it needs no way out to Intel or AMD.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import msgspec

from hansa.errors import AttestationError
from hansa.identity.attestation.binding import Binding  # noqa: TC001 - msgspec reads it at run time
from hansa.identity.attestation.clause import Technology  # noqa: TC001 - likewise

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping


MAX_BYTES: Final = 256 * 1024


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quote, what its verification needs, and what it claims to be bound to."""

    technology: Technology
    quote: str  # base64
    collateral: dict[str, str]
    binding: Binding

    def raw_quote(self) -> bytes:
        """Return the quote's bytes.

        Raises:
            AttestationError: It is not base64.
        """
        return from_base64(self.quote, what="quote")

    def part(self, name: str) -> str:
        """Return a part of the collateral.

        Raises:
            AttestationError: It is missing.
        """
        try:
            return self.collateral[name]
        except KeyError:
            raise AttestationError(
                f"attestation: {self.technology}: the collateral has no {name!r}; refresh it with the platform's tool"
            ) from None

    def raw_part(self, name: str) -> bytes:
        """Return a part of the collateral that is base64.

        Raises:
            AttestationError: It is missing or is not base64.
        """
        return from_base64(self.part(name), what=name)

    def to_bytes(self) -> bytes:
        """Return the JSON, the same for the same evidence."""
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def from_bytes(cls, text: bytes) -> Self:
        """Parse JSON.

        Raises:
            AttestationError: It is too large, or a field is unknown, missing or of another type.
        """
        if len(text) > MAX_BYTES:
            raise AttestationError(f"attestation: {len(text)} bytes; at most {MAX_BYTES} are allowed")
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AttestationError(f"attestation: {error}") from error


@dataclass(frozen=True, slots=True)
class Claims:
    """What the hardware vouches for, once signature and chain hold.

    `status` is Intel's state of the trusted computing base, "" elsewhere; `trusted_by` the SHA-256 of the root or key
    that the chain ends in, which the clause has to allow where it is not built in.
    """

    technology: Technology
    registers: Mapping[str, str]
    report_data: bytes
    is_debug: bool
    valid_until: dt.datetime
    status: str = ""
    advisories: tuple[str, ...] = ()
    trusted_by: str = ""


def from_base64(text: str, *, what: str) -> bytes:
    """Decode base64.

    Raises:
        AttestationError: It is not.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AttestationError(f"attestation: {what}: expected base64, got {text[:20]!r}: {error}") from error
