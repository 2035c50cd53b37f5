"""The door: the one function through which anything that depends on a member's data leaves it.

`budget -> check -> quantise -> noise -> pack -> mask -> encrypt -> sign -> record`, in this order, and one durable
transaction before the bytes are handed to the transport. Steps, noise and lanes: `protocol.encoding`.

The share's noise follows from noise key, manifest and steps: a restart makes the same bytes, anything else other noise.

Guarantees: a vector that the manifest or the constitution does not name, of another length, with a value that is not
finite or out of bounds, or from a statistic whose influence is larger than the purpose's sensitivity, does not leave;
the charge is on disk before the upload is; a budget that would be exceeded is refused and nothing leaves.
The others can open a sum that this member's upload is in without it, so the charge is made at the upload.
Does NOT guarantee: that the statistic bounds one unit's influence as it declares; that is the statistic's own work.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from hansa.crypto.prg import derive
from hansa.crypto.sampling import GaussianTable, add_sample
from hansa.errors import BudgetError, RefusedError
from hansa.protocol.encoding import noise_seed, quantise, share_sigma, values_touched
from hansa.protocol.kept_signatures import with_kept_signatures
from hansa.protocol.limits import Limits, PurposeLimit, periods
from hansa.protocol.messages import seal_envelope
from hansa.protocol.privacy import Charge, NoiseShares, epsilon
from hansa.protocol.session import build_upload, facts_label

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from jaxtyping import Float

    from hansa.crypto.signature import Signer
    from hansa.federation.store import MemberStore
    from hansa.protocol.epoch import EpochKeys
    from hansa.protocol.messages import Manifest


@dataclass(frozen=True, slots=True)
class Contribution:
    """A statistic on its way to the door.

    Args:
        purpose: The constitution's purpose it is for.
        vector: Values in the statistic's own unit.
        sensitivity: L2 influence that one privacy unit has on `vector` by the way it was computed.
        unit: That unit in words, where the data bound a weaker one than the constitution names; empty: the same.
    """

    purpose: str
    vector: Float[np.ndarray, " value"] = field(repr=False)
    sensitivity: float
    unit: str = ""


class Statistic(Protocol):
    """What a member computes from its data when a manifest asks for it."""

    def contribution(self, manifest: Manifest) -> Contribution:
        """Return the statistic; raise RefusedError or ModelError if this member cannot give it."""


class MemberDoor:
    """One member's door.

    Args:
        name: The member.
        limits: The constitution's limits.
        signer: The member's identity key.
        store: The member's durable facts.
        statistic: Computes what manifests ask for.
        clock: Returns ns UTC.
        measured: Told a session and how many seconds went from its statistic to its signed upload, the disk left out.
        stopwatch: Returns seconds of some clock: by default those that this thread had a core.
    """

    def __init__(
        self,
        name: str,
        *,
        limits: Limits,
        signer: Signer,
        store: MemberStore,
        statistic: Statistic,
        clock: Callable[[], int],
        measured: Callable[[str, float], None] = lambda _session, _seconds: None,
        stopwatch: Callable[[], float] = time.thread_time,
    ) -> None:
        self._name = name
        self._limits = limits
        self._signer = with_kept_signatures(signer, store)
        self._store = store
        self._statistic = statistic
        self._clock = clock
        self._measured = measured
        self._stopwatch = stopwatch
        self.seconds = 0.0  # from the newest statistic to its signed upload, the disk left out

    def upload(self, manifest: Manifest, purpose: PurposeLimit, keys: EpochKeys) -> bytes:
        """Return this member's one upload for a checked manifest, stored, charged and recorded.

        Raises:
            RefusedError: The session is closed, or the statistic is not what the manifest names.
            BudgetError: The constitution's budget would be exceeded; nothing was charged.
            StoreError: The facts could not be written; nothing leaves.
        """
        label = facts_label(keys.epoch, manifest.session)
        if self._store.fact(f"{label}/closed") is not None:
            raise RefusedError(f"{manifest.session}: this session is closed here; nothing more leaves for it")
        stored = self._store.fact(f"{label}/upload")
        if stored is not None:
            return stored
        table = GaussianTable.build(share_sigma(purpose, self._limits, length=manifest.length))
        charges = self._affordable(manifest, purpose, table)
        contribution = self._statistic.contribution(manifest)
        begun = self._stopwatch()
        require_bounded(contribution, manifest, purpose)
        steps = quantise(contribution.vector, purpose)
        digest = manifest.digest()
        add_sample(steps, table, noise_seed(keys.noise_key, digest, steps))
        upload = build_upload(
            steps,
            name=self._name,
            manifest=manifest,
            keys=keys,
            limits=self._limits,
            entropy=derive(keys.noise_key, b"hansa/recovery-entropy/1" + digest),
        )
        body = seal_envelope(upload, sender=self._name, signer=self._signer)
        sha256 = hashlib.sha256(body).digest()
        self.seconds = self._stopwatch() - begun
        now_ns = self._clock()
        self._measured(manifest.session, self.seconds)
        with self._store.transaction():
            for period, charge in charges.items():
                self._store.charge(label, purpose=manifest.purpose, period=period, charge=charge, time_ns=now_ns)
            self._store.remember(f"{label}/upload", body)
            self._store.remember(f"{label}/upload-sha256", sha256)
            budget = ",".join(f"{period}={one.count}@{one.noise_multiplier:.6g}" for period, one in charges.items())
            self._store.record_egress(
                label, "upload", body, time_ns=now_ns, sha256=sha256, purpose=manifest.purpose, budget=budget
            )
        return body

    def _affordable(self, manifest: Manifest, purpose: PurposeLimit, table: GaussianTable) -> dict[str, Charge]:
        honest = self._limits.minimum_cohort - self._limits.colluders
        noise = NoiseShares(table.sigma, honest, values_touched(purpose, manifest.length), table.delta)
        charges = {
            period: Charge(purpose.noise_multiplier, count, noise)
            for period, count in periods(manifest, purpose, self._limits.bar_ns).items()
        }
        for period, charge in charges.items():
            spent = self._store.charges(manifest.purpose, period)
            would_be = epsilon([*spent, charge], delta=purpose.delta)
            if would_be > purpose.epsilon:
                raise BudgetError(
                    f"{manifest.session}: purpose {manifest.purpose}, {period}: epsilon would be {would_be:.3f} "
                    f"at delta {purpose.delta:g}; the constitution allows {purpose.epsilon:g}; "
                    "wait for the next period or amend the constitution"
                )
        return charges


def require_bounded(contribution: Contribution, manifest: Manifest, purpose: PurposeLimit) -> None:
    """Check that a statistic is what its manifest names and is bounded as the purpose says.

    Raises:
        RefusedError: It is not.
    """
    if contribution.purpose != manifest.purpose or contribution.vector.shape != (manifest.length,):
        raise RefusedError(
            f"{manifest.session}: expected {manifest.length} values for {manifest.purpose}; the statistic gave "
            f"{contribution.vector.shape} for {contribution.purpose}"
        )
    if not contribution.sensitivity <= purpose.sensitivity * (1 + 1e-9):
        raise RefusedError(
            f"{manifest.session}: one unit may move the vector by {purpose.sensitivity:g}; "
            f"this statistic lets it move by {contribution.sensitivity:g}"
        )
