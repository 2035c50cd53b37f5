"""A member's view of the coordinator's machine: its evidence, judged before the member's first contribution.

The coordinator publishes evidence on the board, under `attest-<head of its digest>`, once the epoch is set up; a newer
one replaces an older one. A member looks at it when a sum is announced, by its own clock, and again when the collateral
has run out.

Guarantees: under the policy `require` no upload leaves without a valid quote of this epoch; under `warn` the reason is
in the member's records.
Does NOT guarantee: that sums which others sent to are hidden from the coordinator; or, where members reach the
coordinator through a message server with a certificate of its own, which machine ends the TLS connection: the quote
binds the coordinator's identity key, by which every message is signed.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Final

from hansa.errors import AttestationError, ConfigurationError
from hansa.identity.attestation.evidence import MAX_BYTES, Evidence
from hansa.identity.attestation.verification import Known, Verdict, attest
from hansa.protocol.messages import Attested, open_envelope

if TYPE_CHECKING:
    from collections.abc import Callable

    from hansa.federation.records import Records
    from hansa.identity.attestation.clause import AttestationClause
    from hansa.protocol.limits import Limits

STEP: Final = "attest"
_LIMIT: Final = MAX_BYTES + 1024


def attest_label(evidence: bytes) -> str:
    """Return the session part of the subject under which evidence is published."""
    return f"attest-{hashlib.sha256(evidence).hexdigest()[:16]}"


class Attesting:
    """What a member knows of the coordinator's machine.

    Args:
        clause: The constitution's, or None.
        limits: The constitution's limits.
        epoch: Label of the epoch.
        records: Published records of this node.
        clock: Returns ns UTC.
        tls_key: Returns the SHA-256 of the coordinator's TLS key as the connection shows it, or None.
    """

    def __init__(
        self,
        clause: AttestationClause | None,
        *,
        limits: Limits,
        epoch: str,
        records: Records,
        clock: Callable[[], int],
        tls_key: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._clause = None if clause is None or clause.policy == "off" else clause
        self._limits = limits
        self._epoch = epoch
        self._records = records
        self._clock = clock
        self._tls_key = tls_key
        self._newest: Attested | None = None
        self._verdict: Verdict | None = None

    def take(self, body: bytes) -> None:
        """Take in evidence from the board.

        Raises:
            MessageError: It is malformed or too large.
            SignatureError: The coordinator did not sign it.
        """
        name = self._limits.coordinator
        self._newest = open_envelope(body, Attested, sender=name, key=self._limits.keys[name], limit=_LIMIT)
        self._verdict = None

    def may_send(self, session: str, epoch_id: bytes) -> bool:
        """Return whether this member contributes to a sum; what is wrong with the machine goes into the records.

        Args:
            session: The sum.
            epoch_id: Of the epoch, as this member computed it.
        """
        if self._clause is None:
            return True
        try:
            verdict = self._judged(self._clause, epoch_id)
        except (AttestationError, ConfigurationError) as error:
            refusing = self._clause.policy == "require"
            reason = f"{type(error).__name__}: {error}"
            self._records.note(self._clock(), session if refusing else "", STEP, reason)
            self._records.put("attestation", {"policy": self._clause.policy, "valid": False, "reason": str(error)})
            return not refusing
        self._records.put("attestation", _in_words(self._clause, verdict))
        return True

    def _judged(self, clause: AttestationClause, epoch_id: bytes) -> Verdict:
        now = dt.datetime.fromtimestamp(self._clock() / 1e9, tz=dt.UTC)
        if self._verdict is not None and now <= self._verdict.valid_until:
            return self._verdict
        if self._newest is None:
            raise AttestationError(
                "attestation: the coordinator has published no quote; it makes one with `hansa coordinator attest`"
            )
        if self._newest.epoch_id != epoch_id:
            raise AttestationError(
                f"attestation: expected a quote for the epoch {epoch_id.hex()[:16]}, got one for "
                f"{self._newest.epoch_id.hex()[:16]}"
            )
        known = Known(
            federation=self._limits.federation,
            epoch=self._epoch,
            nonce=epoch_id.hex(),
            identity_key=self._limits.keys[self._limits.coordinator],
            tls_key=self._tls_key(),
        )
        evidence = Evidence.from_bytes(self._newest.evidence)
        self._verdict = attest(evidence, clause=clause, known=known, at=now)
        return self._verdict


def _in_words(clause: AttestationClause, verdict: Verdict) -> dict[str, object]:
    return {
        "policy": clause.policy,
        "valid": True,
        "technology": verdict.technology,
        "code": verdict.code,
        "status": verdict.status,
        "advisories": list(verdict.advisories),
        "valid_until": verdict.valid_until.isoformat(),
    }
