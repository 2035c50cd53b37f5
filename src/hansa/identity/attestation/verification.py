"""The member's check: is the coordinator the machine, the code, the key and the epoch that the constitution wants?

In this order, so that an error names the first thing that is wrong:

1. the binding says what the member itself knows: federation, epoch, nonce, keys; the code is one of the clause's;
2. the quote is genuine and its collateral in date (`intel`, `sev_snp`, `tpm`);
3. it is not in debug mode, its chain ends where the clause allows, its status is one that the clause accepts;
4. its registers are those of an image of the clause;
5. its report data are those of the binding.

Guarantees: a verdict means that all five held at `at`.
Does NOT guarantee: that the hardware keeps its promises, or that the image is a good one: somebody has to build it
again and compare. Between set-ups of an epoch the quote can be as old as the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hansa.errors import AttestationError
from hansa.identity.attestation import intel, sev_snp, tpm

if TYPE_CHECKING:
    import datetime as dt

    from hansa.identity.attestation.binding import Binding
    from hansa.identity.attestation.clause import AttestationClause, Image, Technology
    from hansa.identity.attestation.evidence import Claims, Evidence


@dataclass(frozen=True, slots=True)
class Known:
    """What a member knows of the coordinator by itself.

    `tls_key` is None where the member talks to it through a server that is not the coordinator's; `log_key` None where
    it follows no log.
    """

    federation: str
    epoch: str
    nonce: str
    identity_key: str
    tls_key: str | None = None
    log_key: str | None = None

    def check(self, binding: Binding) -> None:
        """Compare with what a quote claims to be bound to.

        Raises:
            AttestationError: Names what differs.
        """
        for name in ("federation", "epoch", "nonce", "identity_key", "tls_key", "log_key"):
            expected, got = getattr(self, name), getattr(binding, name)
            if expected is not None and expected != got:
                raise AttestationError(
                    f"attestation: {name}: expected {expected[:80]}, the quote is bound to {got[:80]}"
                    + ("; it was made for another epoch" if name in {"epoch", "nonce"} else "")
                )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A valid quote: which machine, until when its collateral holds, and what its status warns of."""

    technology: Technology
    image: Image
    code: str
    valid_until: dt.datetime
    status: str
    advisories: tuple[str, ...]


def attest(evidence: Evidence, *, clause: AttestationClause, known: Known, at: dt.datetime) -> Verdict:
    """Check a coordinator's evidence.

    Args:
        evidence: As it came.
        clause: The constitution's.
        known: What the member knows by itself.
        at: The time now, with a time zone.

    Raises:
        AttestationError: Names the first check that failed, what was expected and what came.
        ConfigurationError: A package that this technology needs is not installed.
    """
    binding = evidence.binding
    known.check(binding)
    if clause.code and binding.code not in clause.code:
        raise AttestationError(
            f"attestation: code: {binding.code[:80]} is not in the constitution ({', '.join(clause.code)[:200]})"
        )
    images = [image for image in clause.images if image.technology == evidence.technology]
    if not images:
        raise AttestationError(f"attestation: the constitution allows no image of {evidence.technology}")
    claims, image = _matched(evidence, images, at=at)
    check_claims(claims, clause=clause)
    if claims.report_data != binding.carried_by(evidence.technology):
        raise AttestationError(
            f"attestation: report data: expected {binding.carried_by(evidence.technology).hex()[:32]}..., got "
            f"{claims.report_data.hex()[:32]}...; the quote was made for another key, code or epoch"
        )
    return Verdict(evidence.technology, image, binding.code, claims.valid_until, claims.status, claims.advisories)


def check_claims(claims: Claims, *, clause: AttestationClause) -> None:
    """Check a genuine quote's mode, root and status against the clause.

    Raises:
        AttestationError: Names which is not allowed.
    """
    if claims.is_debug:
        raise AttestationError(f"attestation: {claims.technology}: debug mode: its host can read its memory")
    allowed = {*clause.roots, *(sev_snp.AMD_ROOTS if claims.technology == "sev-snp" else ())}
    if claims.trusted_by and claims.trusted_by not in allowed:
        raise AttestationError(
            f"attestation: {claims.technology}: trust ends in {claims.trusted_by}, which the constitution does not name"
        )
    if claims.status and claims.status not in clause.statuses:
        advisories = f" ({', '.join(claims.advisories)})" if claims.advisories else ""
        raise AttestationError(
            f"attestation: {claims.technology}: status {claims.status}{advisories}; the constitution accepts "
            f"{', '.join(clause.statuses)}"
        )


def _matched(evidence: Evidence, images: list[Image], *, at: dt.datetime) -> tuple[Claims, Image]:
    """Return the claims of a genuine quote and the image that it fits."""
    if evidence.technology == "tpm":
        return _matched_tpm(evidence, images)
    claims = (sev_snp if evidence.technology == "sev-snp" else intel).verify(evidence, at=at)
    differences = []
    for image in images:
        wanted = {"vmpl": "0"} if evidence.technology == "sev-snp" else {}
        wanted |= image.registers
        wrong = {name: value for name, value in wanted.items() if claims.registers.get(name) != value}
        if not wrong:
            return claims, image
        name, value = next(iter(wrong.items()))
        differences.append(f"{name}: expected {value}, got {claims.registers.get(name)}")
    raise AttestationError(f"attestation: {evidence.technology}: no image fits: {'; '.join(differences)[:600]}")


def _matched_tpm(evidence: Evidence, images: list[Image]) -> tuple[Claims, Image]:
    """Try each image: a TPM signs a digest of its registers, not their values."""
    last = AttestationError("attestation: tpm: no image")
    for image in images:
        try:
            return tpm.verify(evidence, values=image.registers), image
        except AttestationError as error:
            last = error
    raise last
