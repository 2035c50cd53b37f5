"""How an index warned: its alerts after training against known onsets, beside a rule that sees volatility only.

Both rules get the same training bars, the same rate of false alarms there (`model.warning_rules`) and the same windows;
known episodes are left out of training, which no live rule can do. `scored` scores what a member has written down. A
lead is positive before the onset and negative after it; an alert up to `GRACE_NS` late still counts, with its negative
lead.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.errors import ModelError
from hansa.model.early_warning import alerts, score, threshold_at_rate
from hansa.model.lsi import trailing_rank
from hansa.model.warning_rules import Pace

if TYPE_CHECKING:
    from jaxtyping import Float, Int

HORIZON_NS: Final = 7_200_000_000_000
GRACE_NS: Final = 7_200_000_000_000
RANK_DAYS: Final = 20


def volatility_index(log_range: Float[np.ndarray, " time"], bars_per_day: int) -> Float[np.ndarray, " time"]:
    """Return the rival index: the trailing rank, 0 to 100, of the mean log range of the last hour (or bar)."""
    filled = np.nan_to_num(log_range, nan=float(np.nanmean(log_range)))
    total = np.cumsum(np.insert(filled, 0, 0.0))
    ends = np.arange(1, filled.size + 1)
    starts = np.maximum(ends - max(bars_per_day // 24, 1), 0)
    smooth = (total[ends] - total[starts]) / (ends - starts)
    return 100.0 * trailing_rank(smooth, window_bars=RANK_DAYS * bars_per_day, minimum=bars_per_day)


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
    pace = Pace.usual(int(stamps[1] - stamps[0]), train_bars)
    calm = np.ones(train_bars, dtype=bool)
    for onset, end in zip(onsets_ns, ends_ns, strict=True):
        calm &= (stamps[:train_bars] < onset - HORIZON_NS) | (stamps[:train_bars] > end)
    try:
        threshold = threshold_at_rate(
            index[:train_bars],
            alarms_per_day=pace.rate,
            bars_per_day=pace.bars_per_day,
            refractory_bars=pace.refractory_bars,
            calm=calm,
        )
    except ModelError as error:
        return {"reason": str(error)}
    found = alerts(index, threshold, refractory_bars=pace.refractory_bars)
    fired = stamps[found[found >= train_bars]]
    return {"threshold": threshold, **scored(fired, stamps[train_bars:], onsets_ns=onsets_ns, ends_ns=ends_ns)}


def scored(
    fired: Int[np.ndarray, " alert"],
    stamps: Int[np.ndarray, " time"],
    *,
    onsets_ns: Int[np.ndarray, " onset"],
    ends_ns: Int[np.ndarray, " onset"],
) -> dict[str, object]:
    """Score alerts against known onsets.

    Args:
        fired: Stamps of the alerts, ascending, ns UTC.
        stamps: Stamps of the bars that were watched.
        onsets_ns: Known onsets.
        ends_ns: Their ends.

    Returns:
        `alerts` (stamps) and the fields of `AlertScore`.
    """
    found = score(
        fired,
        onsets_ns,
        horizon_ns=HORIZON_NS,
        grace_ns=GRACE_NS,
        span_ns=(int(stamps[0]), int(stamps[-1])),
        ends_ns=ends_ns,
    )
    return {"alerts": fired.tolist(), **asdict(found)}
