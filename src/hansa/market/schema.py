"""The bars contract: one row for one market on one venue over one time span.

`ts_ns` is the END of the bar, int64 nanoseconds UTC. A column that a source cannot know is null, never zero.
A missing bar is a missing row. Rows are sorted by (market, venue, ts_ns) and unique in it.

| column | type | unit |
|---|---|---|
| ts_ns | Int64 | ns since 1970-01-01 UTC, end of the bar |
| market, venue | String | `USDC-USD`, `kraken` |
| open, high, low, close | Float64 | quote currency |
| volume, signed_volume | Float64 | base units; signed = buyer-initiated minus seller-initiated |
| spread_bps | Float64 | time-weighted quoted spread over mid, basis points |
| depth_quote | Float64 | sum of the best 5 levels, both sides, quote currency |
| impact_bps_per_mio | Float64 | price move per million of quote currency traded |
| trades | Int64 | count |
| capped_volume | Float64 | quote currency: a public reference plus clients' volumes, each cut (`influence`) |
| capped_range | Float64 | log price: likewise |
| influence | String | the rule by which one client's influence was capped; null: not capped |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from hansa.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

BARS_SCHEMA: Final[Mapping[str, pl.DataType]] = {
    "ts_ns": pl.Int64(),
    "market": pl.String(),
    "venue": pl.String(),
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "signed_volume": pl.Float64(),
    "spread_bps": pl.Float64(),
    "depth_quote": pl.Float64(),
    "impact_bps_per_mio": pl.Float64(),
    "trades": pl.Int64(),
    "capped_volume": pl.Float64(),
    "capped_range": pl.Float64(),
    "influence": pl.String(),
}
KEY: Final = ("market", "venue", "ts_ns")
REQUIRED: Final = ("ts_ns", "market", "venue", "open", "high", "low", "close")


def conform(frame: pl.DataFrame, *, source: str) -> pl.DataFrame:
    """Return `frame` in the exact column order and types of the contract, sorted by key.

    Args:
        frame: Any frame that has at least the required columns; absent optional columns become null.
        source: File or origin named in an error.

    Raises:
        DataError: A required column is absent or null, a value is not of its column's type, a price is not finite and
            positive, high < low, open or close lie outside [low, high], a volume is negative or not finite, a signed
            volume or an impact is not finite, or a key repeats; the message names source, row (0-based, in the given
            order) and reason.
    """
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise DataError(f"{source}: expected columns {', '.join(REQUIRED)}; missing {', '.join(missing)}")
    try:
        full = frame.select(
            (pl.col(name) if name in frame.columns else pl.lit(None, dtype=kind)).cast(kind).alias(name)
            for name, kind in BARS_SCHEMA.items()
        )
    except pl.exceptions.PolarsError as error:
        raise _misfit(frame, source) from error
    _refuse_faulty(full, source)
    return full.sort(KEY)


def _misfit(frame: pl.DataFrame, source: str) -> DataError:
    """Say which column, and from which row on, is not of the contract's type."""
    for name, kind in BARS_SCHEMA.items():
        if name not in frame.columns:
            continue
        try:
            lost = (frame[name].cast(kind, strict=False).is_null() & frame[name].is_not_null()).arg_true()
        except pl.exceptions.PolarsError:
            return DataError(f"{source}: row 0: column {name} is not {kind}; convert it and read again")
        if len(lost):
            return DataError(f"{source}: row {lost[0]}: column {name} is not {kind}; correct or drop the row")
    return DataError(f"{source}: a column is not of the type of the bars contract")


def _refuse_faulty(frame: pl.DataFrame, source: str) -> None:
    price = [pl.col(name) for name in ("open", "high", "low", "close")]
    size = [pl.col(name) for name in ("volume", "spread_bps", "depth_quote", "trades")]
    capped = [pl.col(name) for name in ("capped_volume", "capped_range")]
    checks: dict[str, pl.Expr] = {
        "a required column is null": pl.any_horizontal(pl.col(name).is_null() for name in REQUIRED),
        "a price is not finite and positive": pl.any_horizontal(~(p.is_finite() & (p > 0)) for p in price),
        "high < low": pl.col("high") < pl.col("low"),
        "open or close outside [low, high]": pl.any_horizontal(
            (p < pl.col("low")) | (p > pl.col("high")) for p in (price[0], price[3])
        ),
        "a volume, spread, depth or count is negative or not finite": pl.any_horizontal(
            (s.cast(pl.Float64) < 0) | ~s.cast(pl.Float64).is_finite() for s in size
        ),
        "a signed volume or an impact is not finite": pl.any_horizontal(
            ~pl.col(name).is_finite() for name in ("signed_volume", "impact_bps_per_mio")
        ),
        "a capped value is not finite and positive, or there without its rule": pl.any_horizontal(
            ~(c.is_finite() & (c > 0)) | (c.is_not_null() & pl.col("influence").is_null()) for c in capped
        )
        | (pl.col("influence").is_not_null() & pl.any_horizontal(c.is_null() for c in capped)),
        "a second row for the same (market, venue, ts_ns)": pl.struct(KEY).is_duplicated(),
    }
    for reason, expression in checks.items():
        bad = frame.select(expression.fill_null(value=False).arg_true().first()).item()
        if bad is not None:
            raise DataError(f"{source}: row {bad}: {reason}; correct or drop the row and read again")
