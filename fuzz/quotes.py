"""Targets that judge a coordinator's evidence: its JSON, and the quotes of each technology inside it."""

from __future__ import annotations

import base64
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hansa.identity.attestation import intel, sev_snp, tpm
from hansa.identity.attestation.binding import Binding
from hansa.identity.attestation.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from targets import Target

VECTORS = Path(__file__).resolve().parents[1] / "tests" / "vectors" / "attestation"
AT = dt.datetime(2025, 6, 20, tzinfo=dt.UTC)
BINDING = Binding("fuzz", "e1-0123456789ab", "11" * 32, "ed25519:x", "33" * 32, "", "44" * 32)
REGISTERS = json.loads((VECTORS / "tpm_software.json").read_text())["registers"]


def evidence(data: bytes) -> None:
    """Read the input as the whole evidence and verify the quote in it."""
    found = Evidence.from_bytes(data)
    if found.technology == "tpm":
        tpm.verify(found, values=REGISTERS)
    elif found.technology == "sev-snp":
        sev_snp.verify(found, at=AT)
    else:
        intel.verify(found, at=AT)


def quote_in(sample: Evidence) -> Callable[[bytes], None]:
    """Return a function that judges its input as the quote of otherwise good evidence."""

    def judge(data: bytes) -> None:
        evidence(msgspec.structs.replace(sample, quote=base64.b64encode(data).decode()).to_bytes())

    return judge


def quote_targets(make: Callable[..., Target]) -> Iterable[Target]:
    """Return the targets of this module, made by the `Target` of the caller."""
    for technology, name in (("tdx", "tdx_quote"), ("sgx", "sgx_quote"), ("sev-snp", "sev_snp_genoa")):
        found = json.loads((VECTORS / f"{name}.json").read_text())
        collateral = found["collateral"] if technology == "sev-snp" else {"intel": json.dumps(found["collateral"])}
        sample = Evidence(technology, found["quote"], collateral, BINDING)
        yield make(
            f"quote-{technology}", quote_in(sample), (sample.raw_quote(),), max_bytes=8192, floor=1 << 22, weight=1
        )
        yield make(
            f"evidence-{technology}", evidence, (sample.to_bytes(),), "json", max_bytes=1 << 16, floor=1 << 22, weight=1
        )
    found = json.loads((VECTORS / "tpm_software.json").read_text())["quotes"]["ecdsa"]
    parts = {"key": found["key"], "signature": found["signature"]}
    sample = Evidence("tpm", found["quote"], parts, BINDING)
    yield make("quote-tpm", quote_in(sample), (sample.raw_quote(),))
    yield make("evidence-tpm", evidence, (sample.to_bytes(),), "json", weight=1)
