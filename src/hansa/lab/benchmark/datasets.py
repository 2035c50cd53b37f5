"""The benchmark's data sets: real files where the folder of the data has them, and a simulated market.

| name | members | forecast of | traps that the loader minds |
|---|---|---|---|
| `stablecoins` | four series of three venues | impact of the basket | absent minutes are absent rows; one false print |
| `stablecoin_venues` | three venues | likewise | |
| `bitcoin` | three venues | likewise | |
| `china_futures` | seven groups of futures | each future's impact | locked days, stale rows, unequal histories, rolls |
| `fx_hourly` | three desks | each pair's range | scaled integers, a broker's clock, counts of quotes |
| `djia_daily` | five groups of stocks | each stock's impact | rows without prices |
| `simulated` | ten brokers | true cost of three markets | |

A bar that is stale (no volume), has no price, or prices outside its range is left out and counted: it is absent, never
calm. On a day locked at its limit the range measures are null (`market.measures`), so it is no label; what is known of
it, its volume, is a regressor. Prices of futures jump where a contract rolls: no measure here looks across bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from hansa.errors import ConfigurationError, DataError
from hansa.lab.benchmark.panel import Panel
from hansa.lab.benchmark.shared import simulated, venues
from hansa.market import schema
from hansa.market.calendar import NS_PER_DAY, NS_PER_HOUR
from hansa.market.features import carry_forward
from hansa.market.measures import compute
from hansa.market.readers.bars import load_table, read_bars, start_ns
from hansa.model.evaluation import walk_forward

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

DAILY_LAGS: Final = (1, 2, 5, 10, 20)
HOURLY_LAGS: Final = (1, 3, 6, 24, 120)
STABLECOINS: Final = ("USDC-USD", "USDT-USD", "USDC-USDT")
BITCOIN: Final = ("BTC-USD", "BTC-USDT", "BTC-USDC")
NEWCOMER_DAYS: Final = 120
_SEP: Final = "usdc_depeg_2023-03"

FUTURES: Final[Mapping[str, tuple[str, ...]]] = {
    "base-metals": ("CU_copper", "ZN_zinc", "PB_lead", "NI_nickel", "SN_tin", "AL_aluminium"),
    "precious-metals": ("AU_gold", "AG_silver"),
    "ferrous": (
        "RB_rebar", "HC_hotcoil", "I_ironore", "J_coke", "JM_cokingcoal", "SF_ferrosilicon", "SM_silicomanganese",
        "SS_stainless",
    ),
    "oilseeds": ("A_soybean1", "B_soybean2", "M_soymeal", "Y_soyoil", "OI_rapeoil", "RM_rapemeal", "P_palmoil"),
    "farm-goods": (
        "C_corn", "CS_cornstarch", "CF_cotton", "CY_yarn", "SR_sugar", "AP_apple", "CJ_jujube", "JD_egg", "LH_hog",
        "PK_peanut",
    ),
    "chemicals": (
        "L_lldpe", "V_pvc", "PP", "TA_pta", "MA_methanol", "EG_meg", "EB_styrene", "UR_urea", "SA_sodaash",
        "FG_glass", "PF_psf",
    ),
    "energy-and-rubber": (
        "FU_fueloil", "SC_crude", "LU_lsfo", "BU_bitumen", "PG_lpg", "RU_rubber", "NR_rubber20", "SP_pulp",
    ),
}  # fmt: skip
STOCKS: Final[Mapping[str, tuple[str, ...]]] = {
    "technology": ("AABA", "AAPL", "AMZN", "CSCO", "GOOGL", "IBM", "INTC", "MSFT"),
    "finance": ("AXP", "GS", "JPM", "TRV"),
    "health": ("JNJ", "MRK", "PFE", "UNH"),
    "industry": ("BA", "CAT", "CVX", "GE", "MMM", "UTX", "XOM"),
    "consumers": ("DIS", "HD", "KO", "MCD", "NKE", "PG", "VZ", "WMT"),
}
#: Divisor of the prices of the FX files by pair; yen crosses and gold have fewer decimals.
PAIRS: Final[Mapping[str, Mapping[str, float]]] = {
    "dollar-desk": {"AUDUSD": 1e5, "GBPUSD": 1e5, "USDCAD": 1e5, "USDCHF": 1e5, "USDJPY": 1e3},
    "yen-desk": {"AUDJPY": 1e3, "EURJPY": 1e3, "GBPJPY": 1e3},
    "europe-and-gold-desk": {"EURGBP": 1e5, "XAUUSD": 1e2},
}
#: Half of the futures began after 2011: the first test stretch begins where some histories are long and most short.
FIRST_SHARES: Final = {"china_futures": 1 / 3}
FX_CLOCK: Final = "America/New_York+07:00"


@dataclass(frozen=True, slots=True)
class Dataset:
    """One data set of the benchmark.

    Attributes:
        name: As the command and the tables have it.
        folder: Below the folder of the data; empty for the simulated market.
        folds: Test stretches of the full run.
        unit: What the yearly budget protects.
    """

    name: str
    folder: str
    folds: int
    unit: str = "one day of a member's raw data"

    def is_there(self, data: Path | None) -> bool:
        """Return whether its files are there."""
        return not self.folder or (data is not None and (data / self.folder).is_dir())


DATASETS: Final[Mapping[str, Dataset]] = {
    one.name: one
    for one in (
        Dataset("simulated", "", 1),
        Dataset("stablecoins", _SEP, 2),
        Dataset("stablecoin_venues", _SEP, 2),
        Dataset("bitcoin", _SEP, 2),
        Dataset("china_futures", "china_futures_daily", 6),
        Dataset("fx_hourly", "fx_hourly", 3),
        Dataset("djia_daily", "djia_daily_2006_2017", 4),
    )
}


@lru_cache(maxsize=4)
def panel(
    name: str, data: Path | None, fold: int, folds: int, *, seed: int = 1, newcomer: str = "", noise_factor: float = 1.0
) -> Panel:
    """Load one fold of a data set; remembered within the process.

    Args:
        name: Of `DATASETS`.
        data: Folder of the real data.
        fold: Which test stretch, from 0.
        folds: Of so many.
        seed: Of the simulated market.
        newcomer: Own panels: a member that has only the last `NEWCOMER_DAYS` bars of history.
        noise_factor: View noise of the simulated market, as a multiple of the calibrated one.

    Raises:
        ConfigurationError: The name is unknown, or the data set needs a folder.
        DataError: A file is absent or malformed.
    """
    if name not in DATASETS:
        raise ConfigurationError(f"expected a data set of {', '.join(DATASETS)}; got {name}")
    if name == "simulated":
        return simulated(seed, noise_factor=noise_factor)
    if data is None:
        raise ConfigurationError(f"data set {name} needs the folder of the data; give --data DIR")
    folder = data / DATASETS[name].folder
    if name in {"stablecoins", "stablecoin_venues", "bitcoin"}:
        markets = BITCOIN if name == "bitcoin" else STABLECOINS
        return venues(name, folder, markets, by="series" if name == "stablecoins" else "venue", fold=fold, folds=folds)
    loaders = {"china_futures": futures_table, "djia_daily": stocks_table, "fx_hourly": fx_table}
    table, left_out = loaders[name](folder)
    return own_panel(name, table, left_out, fold=fold, folds=folds, newcomer=newcomer)


@lru_cache(maxsize=1)
def futures_table(folder: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read the daily bars of the futures, `venue` naming the group, and count the rows left out."""
    frames = [load_table(folder / f"china_futures_{span}.parquet") for span in ("2005_2016", "2017_2021")]
    table = pl.concat(frames, how="diagonal_relaxed").with_columns(pl.col("asset").cast(pl.String))
    return _daily(table, "asset", "date", FUTURES, folder)


@lru_cache(maxsize=1)
def stocks_table(folder: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read the daily bars of the stocks, `venue` naming the group, and count the rows left out."""
    return _daily(load_table(folder / "djia30_daily.parquet"), "name", "date", STOCKS, folder)


@lru_cache(maxsize=1)
def fx_table(folder: Path) -> tuple[pl.DataFrame, dict[str, int]]:
    """Read the hourly bars of the pairs; a count of quotes is a number of trades here, never a volume."""
    frames = [
        read_bars(
            folder / f"{pair}_h1.parquet", market=pair, venue=desk, bar_ns=NS_PER_HOUR, clock=FX_CLOCK,
            price_scale=scale, tick_volume_as="trades",
        )
        for desk, pairs in PAIRS.items()
        for pair, scale in pairs.items()
    ]  # fmt: skip
    return pl.concat(frames), {}


def own_panel(
    name: str, table: pl.DataFrame, left_out: Mapping[str, int], *, fold: int, folds: int, newcomer: str = ""
) -> Panel:
    """Put bars of markets that each belong to one member on the grid of their common stamps.

    Args:
        name: Of the data set.
        table: Bars; `venue` is the member.
        left_out: Rows left out before, by reason.
        fold: Which test stretch.
        folds: Of so many.
        newcomer: A member whose history is cut to `NEWCOMER_DAYS` bars before the test stretch.
    """
    is_daily = name != "fx_hourly"
    lags = DAILY_LAGS if is_daily else HOURLY_LAGS
    measures = ("log_volume", "log_range", "log_impact") if is_daily else ("log_range", "log_quotes")
    found = compute(table, [one for one in measures if one != "log_quotes"])
    if not is_daily:
        counts = table.select(
            "ts_ns", "market", "venue", (pl.col("trades") + 1).cast(pl.Float64).log().alias("log_quotes")
        )
        found = found.join(counts, on=["ts_ns", "market", "venue"], how="left")
    stamps = found["ts_ns"].unique().sort().to_numpy()
    first = FIRST_SHARES.get(name, 0.6)
    split = walk_forward(stamps.size, folds=folds, lookback_bars=lags[-1], first_share=first)[fold]
    keys = found.select("venue", "market").unique().sort("venue", "market").rows()
    if newcomer and newcomer not in {member for member, _ in keys}:
        raise ConfigurationError(f"expected a member of {name} as newcomer; got {newcomer}")
    own = np.full((len(keys), stamps.size, len(measures)), np.nan)
    cost = len(measures) - 1 if is_daily else 0
    label = np.full((len(keys), stamps.size), np.nan)
    for place, (member, market) in enumerate(keys):
        rows = found.filter((pl.col("venue") == member) & (pl.col("market") == market))
        at = np.searchsorted(stamps, rows["ts_ns"].to_numpy())
        own[place, at] = rows.select(measures).to_numpy().astype(np.float64)
        if member == newcomer:
            own[place, : int(split.train[-1]) - NEWCOMER_DAYS - lags[-1] + 2] = np.nan
        label[place] = own[place, :, cost]
        own[place] = carry_forward(own[place])
    slot, slots = _season(stamps, is_daily=is_daily)
    return Panel(
        name=name,
        members=tuple(member for member, _ in keys),
        markets=tuple(market for _, market in keys),
        measures=measures,
        cost=cost,
        own=own,
        label=label,
        outcome=label,
        slot=slot,
        slots=slots,
        season_bars=slots,
        blocks=np.arange(stamps.size) // lags[-1],
        lags=lags,
        split=split,
        left_out=left_out,
    )


def _season(stamps: np.ndarray, *, is_daily: bool) -> tuple[np.ndarray, int]:
    """Return the weekday of daily bars, the hour of hourly ones (stamps are ends of bars)."""
    if is_daily:
        weekday = (stamps // NS_PER_DAY + 2) % 7  # the bar of 1970-01-01, a Thursday, ends on day 1
        return np.minimum(weekday, 4), 5
    return (stamps // NS_PER_HOUR - 1) % 24, 24


def _daily(
    table: pl.DataFrame, asset: str, date: str, groups: Mapping[str, Sequence[str]], folder: Path
) -> tuple[pl.DataFrame, dict[str, int]]:
    prices = ("open", "high", "low", "close")
    table = table.with_columns(pl.col(name).cast(pl.Float64) for name in prices)
    stamps = start_ns(table, date, "UTC", folder) + NS_PER_DAY
    group = {name: member for member, names in groups.items() for name in names}
    table = table.with_columns(
        stamps.alias("ts_ns"),
        pl.col(asset).alias("market"),
        pl.col(asset).replace_strict(group, default=None, return_dtype=pl.String).alias("venue"),
        pl.col("volume").cast(pl.Float64),
    )
    reasons = {
        "of no group": pl.col("venue").is_null(),
        "without a price": pl.any_horizontal(pl.col(name).is_null() | (pl.col(name) <= 0) for name in prices),
        "stale, without volume": pl.col("volume").fill_null(0.0) <= 0,
        "a price outside its range": ~pl.all_horizontal(
            pl.col(name).is_between(pl.col("low"), pl.col("high")) for name in ("open", "close")
        ),
    }
    left_out: dict[str, int] = {}
    for reason, is_bad in reasons.items():
        kept = table.filter(~is_bad)
        if kept.height < table.height:
            left_out[reason] = table.height - kept.height
        table = kept
    if table.is_empty():
        raise DataError(f"{folder}: no row is usable; expected assets such as {next(iter(group))}")
    return schema.conform(table.select("ts_ns", "market", "venue", *prices, "volume"), source=str(folder)), left_out
