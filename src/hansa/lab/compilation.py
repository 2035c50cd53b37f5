"""Compile the residual network once for all processes of an alliance, and keep the programs between runs.

The members' processes read the programs from a cache folder: `$JAX_COMPILATION_CACHE_DIR`, or `hansa/compiled` in the
user's cache folder. Without it each of them would compile the same program, for several seconds, at the same time.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.federation.published import design_of, network_shape
from hansa.model.network import (
    CLOCK_FEATURES,
    WARM_UP_BARS,
    enable_compilation_cache,
    initial_parameters,
    predict_offsets,
)
from hansa.model.personal import head_rows, train_head
from hansa.model.training import Batch, block_updates

if TYPE_CHECKING:
    from rich.progress import Progress

    from hansa.governance.constitution import Constitution

VARIABLE: Final = "JAX_COMPILATION_CACHE_DIR"


def keep_compiled(constitution: Constitution, *, progress: Progress) -> None:
    """Fill the cache for a constitution's network, unless it is filled; later processes of this one will find it.

    Args:
        constitution: Its baskets, measures and days fix the program.
        progress: Where progress is shown.
    """
    folder = Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "hansa" / "compiled")
    os.environ[VARIABLE] = str(folder)
    shape = network_shape(constitution.market)
    blocks = constitution.market.history_days + 1
    mark = folder / f"done-{version('hansa')}-{version('jax')}-{shape.baskets}-{shape.features}-{blocks}-with-heads"
    if mark.exists() or "weights" not in {line.purpose for line in constitution.round}:
        return
    task = progress.add_task("network compiled (first time only)", total=1)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    enable_compilation_cache(folder)
    bars = design_of(constitution.market).slots_per_day
    window = WARM_UP_BARS + bars
    clock = np.zeros((blocks, window, CLOCK_FEATURES), np.float32)
    inputs = np.zeros((blocks, window, shape.baskets, shape.features), np.float32)
    flat = np.zeros((blocks, bars, shape.baskets), np.float32)
    spillover = np.zeros((shape.baskets, shape.baskets), np.float32)
    parameters = initial_parameters(shape, 0)
    ones = np.ones_like(flat)
    batch = Batch(inputs, clock, flat, flat, ones, spillover)
    block_updates(shape, parameters, batch, clip=1.0)
    rows = head_rows(shape, parameters, batch)
    train_head(shape, parameters, fit=rows, validation=rows, train=rows, strengths=(1.0,))
    predict_offsets(shape, parameters, inputs[0], clock[0], spillover)
    mark.touch()
    progress.update(task, completed=1)
