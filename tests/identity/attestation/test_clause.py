from __future__ import annotations

import pytest

from hansa.errors import ConfigurationError
from hansa.identity.attestation.clause import AttestationClause, Image

TDX = Image("tdx", {"mrtd": "ab" * 48})


@pytest.mark.parametrize(
    "clause",
    [
        AttestationClause("off"),
        AttestationClause("warn"),
        AttestationClause("require", images=(TDX,)),
        AttestationClause("require", images=(Image("sgx", {"mrsigner": "ab" * 32, "isvsvn": "0001"}),)),
        AttestationClause("warn", images=(Image("sev-snp", {"measurement": "ab" * 48, "vmpl": "1"}),)),
        AttestationClause("require", images=(Image("tpm", {"pcr0": "ab" * 32}),), roots=("cd" * 32,)),
    ],
)
def test_a_clause_that_can_be_met_is_accepted(clause: AttestationClause) -> None:
    clause.check()


@pytest.mark.parametrize(
    ("clause", "reason"),
    [
        (AttestationClause("require"), "at least one"),
        (AttestationClause("require", images=(Image("tdx", {}),)), "tdx: at least one of mrtd"),
        (AttestationClause("require", images=(Image("tdx", {"mrtd": "ab" * 32}),)), "mrtd: 96 of"),
        (AttestationClause("require", images=(Image("tdx", {"mrtd": "AB" * 48}),)), "mrtd: 96 of"),
        (AttestationClause("require", images=(Image("tdx", {"mrtd": "ab" * 48, "pcr0": ""}),)), "no register 'pcr0'"),
        (
            AttestationClause("warn", images=(Image("sev-snp", {"measurement": "ab" * 48, "vmpl": "9"}),)),
            "vmpl: 0 to 3",
        ),
        (AttestationClause("require", images=(Image("tpm", {"pcr0": "ab" * 32}),)), "no TPM is believed"),
        (AttestationClause("warn", code=("ab",)), "code and roots"),
        (AttestationClause("warn", statuses=("Revoked",)), "statuses"),
        (AttestationClause("warn", statuses=()), "statuses"),
    ],
)
def test_a_clause_that_nobody_or_anybody_could_meet_is_refused(clause: AttestationClause, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        clause.check()
