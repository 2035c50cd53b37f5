"""LightGBM on the same regressors, of one series alone or of the pooled rows of all.

Source: Ke et al., NeurIPS 2017. The package is optional: `pip install hansa[benchmark]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from jaxtyping import Float, Int

    from hansa.model.core import Rows

    Parts = tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"], Int[np.ndarray, " row"]]

SETTINGS: Final[Mapping[str, Any]] = {
    "objective": "regression",
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
}
ROUNDS: Final = 200
PATIENCE: Final = 20
MOST_ROWS: Final = 60_000


def library() -> ModuleType:
    """Return the package.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        import lightgbm  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigurationError("LightGBM is not installed; install it with `pip install hansa[benchmark]`") from error
    return lightgbm


def is_there() -> bool:
    """Return whether the package is installed."""
    try:
        library()
    except ConfigurationError:
        return False
    return True


def boosted(
    rows: Mapping[int, Rows], parts: Mapping[int, Parts], *, seed: int
) -> dict[int, Float[np.ndarray, " time"]]:
    """Fit one model on the rows of all given series and forecast each at every row, scaled units.

    Args:
        rows: Scaled rows of every bar, by series.
        parts: Fit, validation and training rows, by series.
        seed: Of bagging and of the choice of features.
    """
    package = library()
    rng = np.random.default_rng(seed)

    def joined(place: int) -> tuple[np.ndarray, np.ndarray]:
        columns = np.concatenate([one.take(parts[series][place]).regressors for series, one in rows.items()])
        target = np.concatenate([one.take(parts[series][place]).target for series, one in rows.items()])
        if target.size > MOST_ROWS:
            kept = np.sort(rng.choice(target.size, MOST_ROWS, replace=False))
            return columns[kept], target[kept]
        return columns, target

    settings = {**SETTINGS, "seed": seed}
    fit = package.Dataset(*joined(0))
    later = package.Dataset(*joined(1), reference=fit)
    stop = package.early_stopping(PATIENCE, verbose=False)
    model = package.train(settings, fit, ROUNDS, valid_sets=[later], callbacks=[stop])
    return {series: np.asarray(model.predict(one.regressors, num_threads=1)) for series, one in rows.items()}
