"""Spreads cells over processes, or a Dask or Ray cluster, and keeps what is finished.

Results travel back to the process that asked, which alone writes checkpoints: workers need the data folder, not the
checkpoints. Cells are handed out one by one, so that a benchmark that is killed loses only those that were running.

Source: joblib's backends (loky, Dask, Ray).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import joblib

from hansa.errors import ConfigurationError
from hansa.lab.benchmark.cell import read, work, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hansa.lab.benchmark.cell import Cell, Outcome

Backend = Literal["loky", "dask", "ray"]


def run_cells(
    cells: Sequence[Cell],
    data: Path | None,
    *,
    store: Path | None,
    jobs: int,
    backend: Backend = "loky",
    scheduler: str | None = None,
    finished: Callable[[Cell, bool], None] = lambda _cell, _is_resumed: None,
) -> dict[Cell, Outcome]:
    """Run cells, those with a checkpoint excepted, and return what each found.

    Args:
        cells: The work.
        data: Folder of the real data, as the workers see it.
        store: Folder of checkpoints, made if absent; None keeps none.
        jobs: Processes.
        backend: Where they run.
        scheduler: Address of a Dask scheduler; a cluster of `jobs` local workers without.
        finished: Called with each finished cell and whether it was read from its checkpoint.

    Raises:
        ConfigurationError: The backend is not installed.
        StoreError: A checkpoint cannot be written.
    """
    outcomes: dict[Cell, Outcome] = {}
    left = []
    for cell in dict.fromkeys(cells):
        found = None if store is None else read(store / f"{cell.key(data)}.npz")
        if found is None:
            left.append(cell)
        else:
            outcomes[cell] = found
            finished(cell, True)  # noqa: FBT003 - the callback's second argument
    if not left:
        return outcomes
    with _backend(backend, jobs, scheduler):
        for cell, outcome in _results(left, data, jobs):
            outcomes[cell] = outcome
            if store is not None:
                write(store / f"{cell.key(data)}.npz", outcome)
            finished(cell, False)  # noqa: FBT003 - likewise
    return outcomes


def _results(cells: Sequence[Cell], data: Path | None, jobs: int) -> Iterator[tuple[Cell, Outcome]]:
    if jobs == 1 and len(cells) == 1:
        yield cells[0], work(cells[0], data)
        return
    call = joblib.delayed(_named_work)
    yield from joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)(
        call(cell, data) for cell in cells
    )


def _named_work(cell: Cell, data: Path | None) -> tuple[Cell, Outcome]:
    return cell, work(cell, data)


@contextmanager
def _backend(backend: Backend, jobs: int, scheduler: str | None) -> Iterator[None]:
    if backend == "loky":
        with joblib.parallel_config(backend="loky", n_jobs=jobs):
            yield
        return
    if backend == "ray":
        try:
            from ray.util.joblib import register_ray  # noqa: PLC0415 - optional
        except ImportError as error:
            raise ConfigurationError(
                "Ray is not installed; `pip install ray`, or use --backend loky or dask"
            ) from error
        register_ray()
        with joblib.parallel_config(backend="ray", n_jobs=jobs):
            yield
        return
    try:
        from dask.distributed import Client, LocalCluster  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigurationError(
            "Dask is not installed; `pip install hansa[benchmark]`, or use --backend loky"
        ) from error
    if scheduler is not None:
        with Client(scheduler), joblib.parallel_config(backend="dask"):  # type: ignore[no-untyped-call]
            yield
        return
    with (
        LocalCluster(n_workers=jobs, threads_per_worker=1, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster),  # type: ignore[no-untyped-call]
        joblib.parallel_config(backend="dask"),
    ):
        yield
