"""A small folder of data in the form of the real daily stocks: twelve stocks of three groups, persistent ranges."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from hansa.lab.benchmark.datasets import STOCKS

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "djia_daily_2006_2017"


def stocks(days: int = 700, seed: int = 3) -> pl.DataFrame:
    """Return bars with the columns of the real file; ranges hang together over days and stocks."""
    rng = np.random.default_rng(seed)
    stamps = pl.date_range(date(2010, 1, 4), date(2016, 12, 30), "1d", eager=True).cast(pl.Datetime("us"))
    stamps = stamps.filter(stamps.dt.weekday() <= 5)[:days]
    common = persistent(rng, days)
    frames = []
    for group in ("finance", "health", "technology"):
        for name in STOCKS[group][:4]:
            size = 0.01 * np.exp(0.4 * common + 0.3 * persistent(rng, days) + 0.2 * rng.standard_normal(days))
            close = 50 * np.exp(np.cumsum(0.3 * size * rng.standard_normal(days)))
            share = rng.uniform(0.2, 0.8, days)
            frames.append(
                pl.DataFrame(
                    {
                        "Date": stamps,
                        "Open": close * np.exp(size * (rng.uniform(0, 1, days) - share)),
                        "High": close * np.exp(size * (1 - share)),
                        "Low": close * np.exp(-size * share),
                        "Close": close,
                        "Volume": np.exp(15 + 0.3 * rng.standard_normal(days)).astype(np.int64),
                        "Name": [name] * days,
                    }
                )
            )
    return pl.concat(frames)


def write_stocks(data: Path, frame: pl.DataFrame | None = None) -> Path:
    """Write the file where the benchmark looks for it; return the folder of the data."""
    folder = data / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (stocks() if frame is None else frame).write_parquet(folder / "djia30_daily.parquet")
    return data


def persistent(rng: np.random.Generator, days: int) -> np.ndarray:
    """Return an AR(1) of unit variance with a half-life of a month."""
    path, decay = np.zeros(days), 0.97
    for day in range(days):
        before = path[day - 1] if day else rng.standard_normal()
        path[day] = decay * before + np.sqrt(1 - decay**2) * rng.standard_normal()
    return path
