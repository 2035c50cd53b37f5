"""How an index warned: its alerts after training against known onsets, beside a rule that sees volatility only.

Both rules get the same training bars, the same rate of false alarms there and the same windows. A lead is positive
before the onset and negative after it; an alert up to `GRACE_NS` late still counts, with its negative lead.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.federation.watchtower import ALARMS_PER_DAY, REFRACTORY_BARS
from hansa.model.early_warning import alerts, score, threshold_at_rate
from hansa.model.lsi import trailing_rank

if TYPE_CHECKING:
    from jaxtyping import Float, Int

HORIZON_NS: Final = 7_200_000_000_000
GRACE_NS: Final = 7_200_000_000_000
BARS_PER_DAY: Final = 288
SMOOTHING_BARS: Final = 12


def volatility_index(log_range: Float[np.ndarray, " time"]) -> Float[np.ndarray, " time"]:
    """Return the rival index: the trailing rank, 0 to 100, of the mean log range of the last hour."""
    filled = np.nan_to_num(log_range, nan=float(np.nanmean(log_range)))
    total = np.cumsum(np.insert(filled, 0, 0.0))
    ends = np.arange(1, filled.size + 1)
    starts = np.maximum(ends - SMOOTHING_BARS, 0)
    smooth = (total[ends] - total[starts]) / (ends - starts)
    return 100.0 * trailing_rank(smooth, window_bars=20 * BARS_PER_DAY, minimum=BARS_PER_DAY)


def warn(
    index: Float[np.ndarray, " time"],
    stamps: Int[np.ndarray, " time"],
    *,
    train_bars: int,
    onsets_ns: Int[np.ndarray, " onset"],
    ends_ns: Int[np.ndarray, " onset"],
) -> dict[str, object]:
    """Score an index's alerts after training.

    Args:
        index: Index at each bar, NaN while it has none.
        stamps: Stamp of each bar, ns UTC.
        train_bars: Bars on which the threshold is set.
        onsets_ns: Known onsets, all of them.
        ends_ns: Their ends.

    Returns:
        `threshold`, `alerts` (stamps), `hits`, `misses`, `lead_minutes`, `false_alarms_per_day`, `chance_hit_rate`;
        only `reason` where the training bars give no threshold.
    """
    calm = np.ones(train_bars, dtype=bool)
    for onset, end in zip(onsets_ns, ends_ns, strict=True):
        calm &= (stamps[:train_bars] < onset - HORIZON_NS) | (stamps[:train_bars] > end)
    try:
        threshold = threshold_at_rate(
            index[:train_bars],
            alarms_per_day=ALARMS_PER_DAY,
            bars_per_day=BARS_PER_DAY,
            refractory_bars=REFRACTORY_BARS,
            calm=calm,
        )
    except ModelError as error:
        return {"reason": str(error)}
    found = alerts(index, threshold, refractory_bars=REFRACTORY_BARS)
    fired = stamps[found[found >= train_bars]]
    scored = score(
        fired,
        onsets_ns,
        horizon_ns=HORIZON_NS,
        grace_ns=GRACE_NS,
        span_ns=(int(stamps[train_bars]), int(stamps[-1])),
        ends_ns=ends_ns,
    )
    return {"threshold": threshold, "alerts": fired.tolist(), **asdict(scored)}
