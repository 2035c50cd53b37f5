r"""What a quote is bound to: the keys, the code and the epoch that its report data commit to.

```
words        = canonical JSON of a Binding: keys sorted, no white space, ASCII
report data  = SHA-512("hansa/attestation/1\\n" + words)    64 bytes: TDX, SGX and SEV-SNP
qualifying   = SHA-256("hansa/attestation/1\\n" + words)    32 bytes: what a TPM signs, whose field is shorter
```

| field | is |
|---|---|
| federation, epoch | name of the federation, label of the epoch (it holds the constitution's digest) |
| nonce | id of the epoch, hexadecimal: it depends on fresh randomness of every member, so no quote can be older |
| identity_key | key by which the coordinator signs every message, as in the constitution |
| tls_key | SHA-256 of the SubjectPublicKeyInfo of its TLS certificate, hexadecimal |
| log_key | key that signs the checkpoints of its log; empty where it keeps none |
| code | measurement of the installed package (`measurement.measure_package`), hexadecimal |

Guarantees: two different bindings have different report data, up to collisions of SHA-2.
Does NOT guarantee: that the code is what it says: the package measures itself, so `code` means something only where the
platform's own registers cover the disk from which it was read (docs/how-to/run-a-confidential-coordinator.md).
"""

from __future__ import annotations

import hashlib
from typing import Final, Self

import msgspec

from hansa.errors import AttestationError

CONTEXT: Final = b"hansa/attestation/1\n"


class Binding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module's table."""

    federation: str
    epoch: str
    nonce: str
    identity_key: str
    tls_key: str
    log_key: str
    code: str

    def to_bytes(self) -> bytes:
        """Return the canonical words; every field is ASCII by its own rules."""
        return msgspec.json.encode(self, order="sorted")

    def report_data(self) -> bytes:
        """Return what a quote of TDX, SGX or SEV-SNP carries, 64 bytes."""
        return hashlib.sha512(CONTEXT + self.to_bytes()).digest()

    def qualifying_data(self) -> bytes:
        """Return what a TPM's quote carries, 32 bytes."""
        return hashlib.sha256(CONTEXT + self.to_bytes()).digest()

    def carried_by(self, technology: str) -> bytes:
        """Return the bytes that a quote of `technology` has to carry."""
        return self.qualifying_data() if technology == "tpm" else self.report_data()

    @classmethod
    def from_bytes(cls, words: bytes) -> Self:
        """Parse the words.

        Raises:
            AttestationError: They are no binding.
        """
        try:
            return msgspec.json.decode(words, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AttestationError(f"attestation: the binding: {error}") from error
