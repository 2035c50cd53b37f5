"""The constitution's clause on attestation: what members ask of the coordinator's machine before they send.

| policy | without a valid quote a member |
|---|---|
| off | does not look |
| warn | notes it in its records and takes part |
| require | refuses every sum of the epoch |

`images` are the machines that are allowed: a technology and registers that must have exactly these values (lower-case
hexadecimal, but `vmpl`, which is decimal). A quote has to fit one of them.

| technology | registers that may be named | at least |
|---|---|---|
| tdx | mrtd, rtmr0, rtmr1, rtmr2, rtmr3, mrseam, mrconfigid, mrowner, mrownerconfig | mrtd |
| sgx | mrenclave, mrsigner, isvprodid, isvsvn | mrenclave or mrsigner |
| sev-snp | measurement, hostdata, idkeydigest, vmpl | measurement |
| tpm | pcr0 to pcr23, of the SHA-256 bank: exactly the quoted ones | one |

An image of SEV-SNP that does not name `vmpl` wants 0. Debug mode is never allowed.
`code` are the allowed measurements of the package; empty: any. `statuses` are the states of Intel's trusted computing
base that are accepted. `roots` are SHA-256 digests, hexadecimal: of further AMD root certificates (DER) and of a TPM's
attestation keys (SubjectPublicKeyInfo, DER), without which no TPM is believed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Policy = Literal["require", "warn", "off"]
Technology = Literal["tdx", "sgx", "sev-snp", "tpm"]

REGISTERS: Final[Mapping[str, Mapping[str, int]]] = {
    "tdx": {
        "mrtd": 48, "rtmr0": 48, "rtmr1": 48, "rtmr2": 48, "rtmr3": 48, "mrseam": 48,
        "mrconfigid": 48, "mrowner": 48, "mrownerconfig": 48,
    },
    "sgx": {"mrenclave": 32, "mrsigner": 32, "isvprodid": 2, "isvsvn": 2},
    "sev-snp": {"measurement": 48, "hostdata": 32, "idkeydigest": 48, "vmpl": 0},
    "tpm": {f"pcr{number}": 32 for number in range(24)},
}  # fmt: skip
"""Length of each register in bytes; 0: a decimal number."""
_NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "tdx": frozenset({"mrtd"}),
    "sgx": frozenset({"mrenclave", "mrsigner"}),
    "sev-snp": frozenset({"measurement"}),
    "tpm": frozenset(REGISTERS["tpm"]),
}
STATUSES: Final = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Image(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine that is allowed: registers by name."""

    technology: Technology
    registers: dict[str, str]

    def faults(self) -> list[str]:
        """Return what is wrong with it."""
        known = REGISTERS[self.technology]
        faults = []
        if not _NEEDED[self.technology] & set(self.registers):
            faults.append(f"{self.technology}: at least one of {', '.join(sorted(_NEEDED[self.technology]))[:60]}")
        for name, value in self.registers.items():
            if name not in known:
                faults.append(f"{self.technology}: no register {name[:40]!r}; there are {', '.join(known)[:200]}")
            elif known[name] and not re.fullmatch(f"[0-9a-f]{{{2 * known[name]}}}", value):
                faults.append(f"{name}: {2 * known[name]} of 0-9, a-f")
            elif not known[name] and value not in {"0", "1", "2", "3"}:
                faults.append(f"{name}: 0 to 3")
        return faults


class AttestationClause(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module's docstring."""

    policy: Policy
    images: tuple[Image, ...] = ()
    code: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ("UpToDate",)
    roots: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse a clause that no quote could satisfy, or that any could.

        Raises:
            ConfigurationError: Names the field and what it must satisfy.
        """
        faults = [fault for image in self.images for fault in image.faults()]
        if self.policy == "require" and not self.images:
            faults.append("images: at least one, or `require` would refuse everybody")
        if not all(_DIGEST.fullmatch(digest) for digest in (*self.code, *self.roots)):
            faults.append("code and roots: digests of 64 of 0-9, a-f")
        if any(image.technology == "tpm" for image in self.images) and not self.roots:
            faults.append("roots: the SHA-256 of the TPM's attestation key; without it no TPM is believed")
        unknown = set(self.statuses) - set(STATUSES)
        if unknown or not self.statuses:
            faults.append(f"statuses: some of {', '.join(STATUSES)}")
        if faults:
            raise ConfigurationError(f"constitution: attestation: {'; '.join(faults)}")
