"""Claims about cells: their keys, their checkpoints, a benchmark that is killed and goes on, a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hansa.errors import ConfigurationError, StoreError
from hansa.lab.benchmark import cell as cell_module
from hansa.lab.benchmark.cell import Cell, Outcome, read, work, write
from hansa.lab.benchmark.spread import run_cells
from small_stocks import FOLDER, stocks, write_stocks

if TYPE_CHECKING:
    from pathlib import Path

CELLS = [
    Cell("alone", "djia_daily", 0, 1, 1),
    *(Cell("federated", "djia_daily", 0, 1, seed, "8") for seed in (1, 2)),
    Cell("rivals", "djia_daily", 0, 1, 1, "simple"),
    Cell("newcomer", "djia_daily", 0, 1, 1, "8", newcomer="health"),
]

RUN = """
import sys, time
from pathlib import Path
from hansa.lab.benchmark import cell as module
from hansa.lab.benchmark.cell import Cell
from hansa.lab.benchmark.spread import run_cells
import hansa.lab.benchmark.spread as spread

def slow(cell, data):
    if cell.seed == 2:
        time.sleep(600)
    return module.work(cell, data)

spread.work = slow
cells = [Cell("federated", "djia_daily", 0, 1, seed, "8") for seed in (1, 2)]
spread._results = lambda left, data, jobs: ((one, spread.work(one, data)) for one in left)
run_cells(cells, Path(sys.argv[1]), store=Path(sys.argv[2]), jobs=1)
"""


def same(one: Outcome, other: Outcome) -> None:
    assert one.errors.keys() == other.errors.keys()
    for arm, error in one.errors.items():
        np.testing.assert_array_equal(error, other.errors[arm])
    np.testing.assert_array_equal(one.blocks, other.blocks)
    assert (one.members, one.markets, one.left_out) == (other.members, other.markets, other.left_out)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_checkpoint_reads_back_as_it_was(tmp_path: Path) -> None:
    outcome = Outcome(
        {"local": np.array([[1.0, np.nan]], np.float32), "federated_state": np.zeros((1, 2), np.float32)},
        np.array([3, 4]),
        ("a",),
        ("m",),
        {"stale": 2},
    )
    write(tmp_path / "new" / "c.npz", outcome)
    found = read(tmp_path / "new" / "c.npz")
    assert found is not None
    same(found, outcome)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["c.npz"]


def test_half_a_checkpoint_is_none(tmp_path: Path) -> None:
    write(tmp_path / "c.npz", Outcome({"local": np.zeros((1, 2), np.float32)}, np.arange(2), ("a",), ("m",), {}))
    whole = (tmp_path / "c.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(whole[: len(whole) // 2])
    assert read(tmp_path / "c.npz") is None
    assert read(tmp_path / "absent.npz") is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = Outcome({}, np.arange(2), (), (), {})
    with pytest.raises(StoreError, match="--resume another folder"):
        write(tmp_path / "file" / "c.npz", outcome)


def test_a_key_changes_with_parameters_code_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_stocks(tmp_path)
    one = CELLS[1]
    keys = {one.key(data), replace(one, seed=2).key(data), replace(one, name="4").key(data)}
    assert len(keys) == 3
    assert one.key(data) == replace(one).key(data)
    cell_module._fingerprint.cache_clear()
    write_stocks(tmp_path, stocks(seed=4))
    assert one.key(data) not in keys
    before = one.key(data)
    monkeypatch.setattr(cell_module, "code_version", lambda _kind: "other code")
    assert one.key(data) != before


@pytest.mark.slow
def test_cells_do_the_same_in_other_processes(tmp_path: Path) -> None:
    data = write_stocks(tmp_path)
    there = run_cells(CELLS, data, store=None, jobs=2)
    for one in CELLS:
        same(there[one], work(one, data))
    fresh = there[CELLS[-1]]
    scored = {fresh.members[place] for place in np.flatnonzero(np.isfinite(fresh.errors["local"]).any(axis=1))}
    assert scored == {"health"}


def test_a_benchmark_that_is_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """Cells are kept one by one: what was finished before the break is read, what was not is done."""
    data, store = write_stocks(tmp_path), tmp_path / "store"
    for done in range(1, 3):
        with pytest.raises(KeyboardInterrupt):
            run_cells(CELLS[done - 1 : done], data, store=store, jobs=1, finished=interrupt)
        assert len(list(store.glob("*.npz"))) == done
    seen: list[bool] = []
    found = run_cells(CELLS[:2], data, store=store, jobs=1, finished=lambda _one, is_read: seen.append(is_read))
    assert seen == [True, True]
    same(found[CELLS[0]], work(CELLS[0], data))
    (store / f"{CELLS[0].key(data)}.npz").write_bytes(b"half")
    seen.clear()
    again = run_cells(CELLS[:1], data, store=store, jobs=1, finished=lambda _one, is_read: seen.append(is_read))
    assert seen == [False]
    same(again[CELLS[0]], found[CELLS[0]])


@pytest.mark.slow
def test_a_benchmark_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    data, store = write_stocks(tmp_path), tmp_path / "store"
    process = subprocess.Popen([sys.executable, "-c", RUN, str(data), str(store)], env=dict(os.environ))
    try:
        for _ in range(1200):
            if list(store.glob("*.npz")) or process.poll() is not None:
                break
            time.sleep(0.1)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(store.glob("*.npz"))) == 1
    seen: list[tuple[Cell, bool]] = []
    cells = [Cell("federated", "djia_daily", 0, 1, seed, "8") for seed in (1, 2)]
    found = run_cells(cells, data, store=store, jobs=1, finished=lambda one, is_read: seen.append((one, is_read)))
    assert seen == [(cells[0], True), (cells[1], False)]
    for one in cells:
        same(found[one], work(one, data))
    seen.clear()
    run_cells(cells, data, store=store, jobs=1, finished=lambda one, is_read: seen.append((one, is_read)))
    assert [is_read for _, is_read in seen] == [True, True]


def test_ray_that_is_not_installed_is_refused_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"Ray is not installed.*loky or dask"):
        run_cells(CELLS[:1], write_stocks(tmp_path), store=None, jobs=1, backend="ray")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's own making
def test_a_dask_cluster_of_two_workers_does_the_same(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask absent: pip install hansa[benchmark]")
    data, store = write_stocks(tmp_path), tmp_path / "store"
    found = run_cells(CELLS, data, store=store, jobs=2, backend="dask")
    for one in CELLS:
        same(found[one], work(one, data))
    assert len(list(store.glob("*.npz"))) == len(CELLS)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        again = run_cells(CELLS[:2], data, store=None, jobs=2, backend="dask", scheduler=cluster.scheduler_address)
    same(again[CELLS[0]], found[CELLS[0]])


def test_the_folder_of_the_data_is_part_of_a_cells_work(tmp_path: Path) -> None:
    assert (write_stocks(tmp_path) / FOLDER).is_dir()
    with pytest.raises(ConfigurationError, match="--data"):
        run_cells(CELLS[:1], None, store=None, jobs=1)
