"""Recorded quotes as evidence; where they come from is in vectors/attestation/README.md."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from pathlib import Path

from omne_attest import vectors as milan

from hansa.identity.attestation.binding import Binding
from hansa.identity.attestation.evidence import Evidence
from hansa.identity.attestation.intel import intel_collateral

VECTORS = Path(__file__).parent / "vectors" / "attestation"
BINDING = Binding(
    federation="gold",
    epoch="e1-0123456789abcdef",
    nonce="11" * 32,
    identity_key="ed25519:" + "22" * 32,
    tls_key="33" * 32,
    log_key="",
    code="44" * 32,
)
"""What the software TPM's quotes are bound to."""
INTEL_DATES = {
    "tdx_quote": dt.datetime(2025, 6, 20, tzinfo=dt.UTC),
    "tdx_quote_td15ex": dt.datetime(2026, 10, 9, tzinfo=dt.UTC),
    "tdx_quote_outdated": dt.datetime(2026, 2, 19, tzinfo=dt.UTC),
    "sgx_quote": dt.datetime(2025, 6, 20, tzinfo=dt.UTC),
}
GENOA_DATE = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
MILAN_DATE = dt.datetime(2026, 9, 1, tzinfo=dt.UTC)


def _recorded(name: str) -> dict[str, object]:
    return json.loads((VECTORS / f"{name}.json").read_text())


def intel(name: str) -> Evidence:
    found = _recorded(name)
    technology = "sgx" if name.startswith("sgx") else "tdx"
    return Evidence(technology, found["quote"], intel_collateral(json.dumps(found["collateral"])), BINDING)


def genoa() -> Evidence:
    found = _recorded("sev_snp_genoa")
    return Evidence("sev-snp", found["quote"], found["collateral"], BINDING)


def milan_in_debug_mode() -> Evidence:
    parts = {"vcek": milan.vcek(), "ask": milan.ask(), "ark": milan.ark()}
    return Evidence(
        "sev-snp", _base64(milan.attestation()), {name: _base64(der) for name, der in parts.items()}, BINDING
    )


def software_tpm(scheme: str = "ecdsa") -> Evidence:
    found = _recorded("tpm_software")["quotes"][scheme]
    return Evidence("tpm", found["quote"], {"key": found["key"], "signature": found["signature"]}, BINDING)


def tpm_registers() -> dict[str, str]:
    return _recorded("tpm_software")["registers"]


def tpm_key_digest(scheme: str = "ecdsa") -> str:
    return hashlib.sha256(base64.b64decode(software_tpm(scheme).collateral["key"])).hexdigest()


def with_flipped_bit(text: str, place: int) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[place] ^= 1
    return _base64(bytes(raw))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
