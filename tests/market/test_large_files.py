"""Claims about files of trades that are read in blocks: the same bars, little memory, errors with a row."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from hansa.cli.market import app
from hansa.errors import DataError
from hansa.market.readers.bars import load_table
from hansa.market.readers.batches import batches
from hansa.market.readers.feed import Feed
from hansa.market.readers.runs import in_time_order
from hansa.market.readers.ticks import Caps, Depth, Quotes, Trades, bars_from_ticks
from hansa.market.readers.trades import read_trades

if TYPE_CHECKING:
    from pathlib import Path

SECOND_NS = 1_000_000_000
BAR_NS = 10 * SECOND_NS
CAPS = {"none": None, "clients": Caps(0.02, 1e2, 1e-3, "clients"), "house": Caps(0.02, 1e2, 1e-3, "house")}
WHOLE = 1 << 40
START_NS = 1_700_000_000 * SECOND_NS


def trades(seed: int, rows: int, *, is_ordered: bool = True) -> pl.DataFrame:
    """Rows with repeated times, times on edges, and spans without any."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 1, SECOND_NS, BAR_NS, 7 * BAR_NS + 3], rows, p=[0.2, 0.2, 0.5, 0.07, 0.03])
    ts_ns = START_NS + np.cumsum(steps)
    prices = np.exp(rng.normal(0.0, 0.01, rows))
    frame = pl.DataFrame(
        {
            "ts_ns": ts_ns,
            "price": prices,
            "size": rng.lognormal(0.0, 2.0, rows),
            "side": rng.choice(["buy", "S"], rows),
            "client": rng.choice(["a", "Zoe", 'of "two, words"', "line\nbreak", ""], rows),
            "bid": prices * 0.999,
            "ask": prices * rng.choice([0.999, 1.001], rows),
        }
    ).with_columns(pl.col("client").replace({"": None}))
    return frame if is_ordered else frame[rng.permutation(rows)]


def house_quotes(seed: int, rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    mid = np.exp(rng.normal(0.0, 0.01, rows))
    ts_ns = START_NS - 5 * BAR_NS + np.sort(rng.integers(0, rows * 4 * SECOND_NS, rows))
    depth = rng.lognormal(3.0, 1.0, rows)
    return pl.DataFrame({"ts_ns": ts_ns, "bid": mid - 1e-3, "ask": mid + 1e-3, "depth": depth})


def read(path: Path, *, block_bytes: int, caps: str = "none", quotes: Path | None = None, **more: Any) -> pl.DataFrame:
    return read_trades(
        path, market="A-USD", venue="desk", bar_ns=BAR_NS, caps=CAPS[caps], house_quotes=quotes,
        block_bytes=block_bytes, **more,
    )  # fmt: skip


def in_one_piece(path: Path, caps: str, quotes: Path | None) -> pl.DataFrame:
    """The bars of the whole file at once, without any of the code that cuts it."""
    frame = load_table(path).with_row_index("row")
    kinds = {"ts_ns": pl.Int64, "price": pl.Float64, "size": pl.Float64, "bid": pl.Float64, "ask": pl.Float64}
    frame = frame.with_columns(pl.col(name).cast(kind) for name, kind in kinds.items())
    named = frame["client"].rank("dense").cast(pl.Int64)
    frame = frame.with_columns(
        side=pl.when(pl.col("side") == "buy").then(1).otherwise(-1),
        client=pl.coalesce(named, -1 - pl.col("row").cast(pl.Int64)),
    ).sort("ts_ns", maintain_order=True)
    column = {name: frame[name].to_numpy() for name in frame.columns}
    made = Trades(*(column[name] for name in ("ts_ns", "price", "size", "side", "client")))
    depth = None
    stood = Quotes(column["ts_ns"], column["bid"], column["ask"])
    if quotes is not None:
        other = load_table(quotes).with_columns(pl.exclude("ts_ns").cast(pl.Float64), pl.col("ts_ns").cast(pl.Int64))
        other = other.sort("ts_ns", maintain_order=True)
        stood = Quotes(other["ts_ns"].to_numpy(), other["bid"].to_numpy(), other["ask"].to_numpy())
        depth = Depth(stood.ts_ns, other["depth"].to_numpy())
    return bars_from_ticks(stood, depth, made, market="A-USD", venue="desk", bar_ns=BAR_NS, caps=CAPS[caps])


FORMS = st.sampled_from(["parquet", "csv", "csv.gz"])


def assert_alike_wherever_cut(folder: Path, frame: pl.DataFrame, form: str, caps: str, cut_bytes: int) -> None:
    """Compare reading in blocks with reading one block, and for Parquet with code that knows no blocks."""
    path, quotes = folder / f"t.{form}", folder / "q.parquet"
    if form == "parquet":
        frame.write_parquet(path, row_group_size=max(17, frame.height // 50))
    else:
        # Epoch numbers as text pass through a float64, which no time in ns fits: whole ms do.
        text = frame.with_columns(pl.col("ts_ns") // 1_000_000 * 1_000_000).write_csv().encode()
        path.write_bytes(gzip.compress(text, 1) if form == "csv.gz" else text)
    stood = quotes if quotes.exists() else None
    cut = read(path, block_bytes=cut_bytes, caps=caps, quotes=stood, folder=folder)
    assert cut.equals(read(path, block_bytes=WHOLE, caps=caps, quotes=stood))
    if form == "parquet":
        assert cut.equals(in_one_piece(path, caps, stood))
    assert {p.name for p in folder.iterdir()} <= {path.name, quotes.name}


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(1, 60),
    cut_bytes=st.integers(400, 3000),
    form=FORMS,
    caps=st.sampled_from([*CAPS]),
    is_ordered=st.booleans(),
    has_house=st.booleans(),
)
def test_bars_do_not_depend_on_where_a_file_is_cut_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, *, seed: int, rows: int, cut_bytes: int, form: str, caps: str,
    is_ordered: bool, has_house: bool,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("cut")
    if has_house or caps == "house":
        house_quotes(seed, rows).write_parquet(folder / "q.parquet")
    assert_alike_wherever_cut(folder, trades(seed, rows, is_ordered=is_ordered), form, caps, cut_bytes)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@example(seed=3001, rows=137_262, seconds=3600, cut_bytes=262_143, form="csv", caps="clients", is_ordered=False)
@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(20_000, 200_000),
    seconds=st.sampled_from([1, 60, 3600]),
    cut_bytes=st.integers(100_000, 4_000_000),
    form=FORMS,
    caps=st.sampled_from([*CAPS]),
    is_ordered=st.booleans(),
)
def test_bars_of_thousands_of_trades_do_not_depend_on_the_cuts_either(
    tmp_path_factory: pytest.TempPathFactory, *, seed: int, rows: int, seconds: int, cut_bytes: int, form: str,
    caps: str, is_ordered: bool,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("cut")
    if caps == "house":
        house_quotes(seed, rows // 10).write_parquet(folder / "q.parquet")
    frame = trades(seed, rows, is_ordered=is_ordered)
    # From a bar with a few trades to one with thousands: sums of these are where the order of adding shows.
    squeezed = START_NS + (pl.col("ts_ns") - START_NS) // (4 * seconds)
    assert_alike_wherever_cut(folder, frame.with_columns(squeezed), form, caps, cut_bytes)


@pytest.mark.parametrize("clock", ["America/New_York", "UTC"])
def test_an_hour_that_a_clock_shows_twice_is_read_alike_in_blocks(tmp_path: Path, clock: str) -> None:
    walls = [f"2023-11-05 {hour:02}:{minute:02}:00" for hour in (0, 1, 1, 2) for minute in range(0, 60, 5)]
    path = tmp_path / "t.csv"
    path.write_text("time,price,size\n" + "".join(f"{wall},1,{k + 1}\n" for k, wall in enumerate(walls)))
    whole = read(path, block_bytes=WHOLE, clock=clock)
    assert whole.equals(read(path, block_bytes=64, clock=clock))
    assert whole.height == (48 if clock != "UTC" else 36)


def test_a_unit_that_only_later_times_tell_holds_for_the_first_rows_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    stamps = [8_000_000_000] * 30 + [200_000_000_000] * 30  # ms; the first alone would be s
    path.write_text("time,price,size\n" + "".join(f"{stamp},1,1\n" for stamp in stamps))
    cut, whole = (
        read_trades(path, market="A-USD", venue="desk", bar_ns=8640 * BAR_NS, block_bytes=size) for size in (64, WHOLE)
    )
    assert cut.equals(whole)
    assert cut["ts_ns"].to_list() == [93 * 8640 * BAR_NS, 2315 * 8640 * BAR_NS]


def test_rows_far_out_of_order_are_sorted_on_disk_and_the_runs_go_away(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frame = pl.DataFrame({"ts_ns": rng.integers(0, 90_000, 200_000), "row": np.arange(200_000)})
    shares: list[float] = []
    found = list(in_time_order(iter(frame.iter_slices(9000)), tmp_path, tmp_path, progress=shares.append))
    assert len(found) > 3
    assert max(piece.height for piece in found) < 40_000
    assert pl.concat(found).equals(frame.sort("ts_ns", "row"))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert not list(tmp_path.iterdir())


def test_a_feed_holds_only_the_rows_after_the_last_edge(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({"ts_ns": np.arange(1, 1001)}).write_parquet(path, row_group_size=100)
    feed = Feed(path, {"ts_ns"}, lambda batch, _: batch.frame, block_bytes=6400)
    feed.restart()
    taken = []
    while not feed.is_over:
        taken.append(feed.take(feed.frontier_ns - 5))
        feed.pull()
    assert sum(frame.height for frame in taken) + feed.take(1000).height == 1000
    assert max(frame.height for frame in taken) < 300


@pytest.mark.parametrize("form", ["csv", "csv.gz"])
def test_a_faulty_row_of_a_later_block_is_named(tmp_path: Path, form: str) -> None:
    lines = ["time,price,size", *(f"2024-03-01 00:00:{k % 60:02},1,1" for k in range(500))]

    def refusal(row: int, line: str) -> str:
        path = tmp_path / f"t.{form}"
        text = "\n".join([*lines[: row + 1], line, *lines[row + 1 :]]).encode()
        path.write_bytes(gzip.compress(text) if form == "csv.gz" else text)
        with pytest.raises(DataError) as refused:
            read(path, block_bytes=500)
        return str(refused.value)

    assert "row 321: column price" in refusal(321, "2024-03-01 00:00:01,dear,1")
    assert "row 322: column time is not a time" in refusal(322, "soon,1,1")
    assert "row 323: cannot be read as a table" in refusal(323, "2024-03-01 00:00:01,1,1,1,1")
    assert "row 499: column price" in refusal(499, "2024-03-01 00:00:01")


def test_a_truncated_file_is_refused_with_the_row_it_ends_in(tmp_path: Path) -> None:
    frame = trades(3, 3000).drop("client")
    packed = gzip.compress(frame.write_csv().encode())
    (tmp_path / "t.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match=r"row 1\d\d\d: the compressed file is truncated or damaged"):
        read(tmp_path / "t.csv.gz", block_bytes=5000)
    frame.write_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="row 0: cannot be read as a table"):
        read(tmp_path / "t.parquet", block_bytes=5000)
    (tmp_path / "q.csv").write_text('time,price,size\n1,"1' + "x\n" * 5_000_000)
    with pytest.raises(DataError, match="row 0: a quoted cell is never closed"):
        read(tmp_path / "q.csv", block_bytes=5000)


def test_batches_put_together_are_the_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    text = trades(4, 300).write_csv()
    for content in (text, text.replace("\n", "\r\n"), "\n\n" + text, text.rstrip("\n"), "\ufeff" + text):
        path.write_bytes(content.encode())
        found = list(batches(path, block_bytes=700))
        assert len(found) > 10
        assert pl.concat(batch.frame for batch in found).equals(load_table(path))
        assert [batch.first_row for batch in found][:2] == [0, found[0].frame.height]
        assert found[-1].share == 1.0


MEMORY = """
import sys
from pathlib import Path
from hansa.market.readers.trades import read_trades
def status(name): return int(Path("/proc/self/status").read_text().partition(name + ":")[2].split()[0]) / 1024
def read(path, block):
    return read_trades(Path(path), market="A-USD", venue="d", bar_ns=60_000_000_000, block_bytes=block)
read(sys.argv[2], 1 << 20)  # imports, threads and their arenas
before = status("VmRSS")
cut = read(sys.argv[1], 3 << 17)
in_blocks = status("VmHWM") - before
whole = read(sys.argv[1], 1 << 40)
assert cut.equals(whole)
print(in_blocks, status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "form", ["csv", *(pytest.param(form, marks=pytest.mark.slow) for form in ("csv.gz", "parquet", "shuffled.csv"))]
)
def test_a_file_is_read_in_memory_that_is_to_it_as_1_gib_to_5_gb(tmp_path: Path, form: str) -> None:
    rows = 600_000
    rng = np.random.default_rng(1)
    frame = pl.DataFrame(
        {
            "timestamp": pl.Series(START_NS + np.arange(rows) * 400_000_000).cast(pl.Datetime("ns")),
            "price": np.round(rng.uniform(1.0, 1.1, rows), 6),
            "size": np.round(rng.lognormal(8.0, 1.0, rows), 2),
            "side": np.where(rng.random(rows) < 0.5, "buy", "sell"),
            "client": rng.integers(0, 50, rows),
            "trade_id": pl.Series(np.arange(rows)).cast(pl.String).str.zfill(36),
        }
    )
    if form == "shuffled.csv":
        frame = frame[rng.permutation(rows)]
    limit_mib = len(frame.write_csv()) / 5e9 * 1024
    assert limit_mib > 10.0
    for name, part in (("large", frame), ("small", frame[:20_000])):
        path = tmp_path / f"{name}.{form}"
        if form == "parquet":
            part.write_parquet(path, row_group_size=10_000)
        else:
            text = part.write_csv().encode()
            path.write_bytes(gzip.compress(text, 1) if form == "csv.gz" else text)

    files = [str(tmp_path / f"{name}.{form}") for name in ("large", "small")]
    environment = os.environ | {"POLARS_MAX_THREADS": "2"}
    child = subprocess.run([sys.executable, "-c", MEMORY, *files], capture_output=True, env=environment, check=True)
    in_blocks_mib, whole_mib = map(float, child.stdout.split())
    assert in_blocks_mib < limit_mib < whole_mib / 4, (in_blocks_mib, limit_mib, whole_mib)


KILLED = """
import os, signal, sys
from io import BytesIO
import polars as pl
import hansa.market.readers.trades as trades
def die(): os.kill(os.getpid(), signal.SIGKILL)
take, write = trades.Feed.take, pl.DataFrame.write_parquet
def take_or_die(self, edge_ns): return die() if self.is_over else take(self, edge_ns)
def write_half(self, file, **options):
    whole = BytesIO()
    write(self, whole, **options)
    file.write(whole.getvalue()[: whole.tell() // 2])
    file.flush()
    die()
if sys.argv[1] == "reading":
    trades.Feed.take = take_or_die
else:
    pl.DataFrame.write_parquet = write_half
from hansa.cli.market import app
app(sys.argv[2:])
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
@pytest.mark.parametrize("moment", ["reading", "writing"])
def test_a_killed_import_leaves_the_old_bars_and_no_half_of_the_new(tmp_path: Path, moment: str) -> None:
    path, out = tmp_path / "desk_EUR-USD.csv", tmp_path / "bars"
    command = ["import", str(path), "--format", "trades", "--out", str(out)]
    path.write_text("time,price,size\n1700000000,1,1\n")
    assert CliRunner().invoke(app, command).exit_code == 0
    target = out / "desk_EUR-USD.parquet"
    old = target.read_bytes()
    path.write_text("time,price,size\n1700000070,1,1\n1700000000,1,1\n")
    child = subprocess.run([sys.executable, "-c", KILLED, moment, *command], check=False, capture_output=True)
    assert child.returncode == -signal.SIGKILL
    assert target.read_bytes() == old
    left = {p.name for p in out.iterdir()} - {target.name}
    assert all(name.startswith(".") and name.endswith(".partial") for name in left)  # nobody reads these
    assert len(left) == (moment == "writing")
    assert CliRunner().invoke(app, command).exit_code == 0
    assert {p.name for p in out.iterdir()} == {target.name}
    assert pl.read_parquet(target).height == 2


def test_a_sort_that_is_killed_leaves_nothing_on_disk(tmp_path: Path) -> None:
    frames = (pl.DataFrame({"ts_ns": [k % 7], "row": [k]}) for k in range(100))
    merging = in_time_order(frames, tmp_path, tmp_path)
    next(merging)
    assert not list(tmp_path.iterdir())  # though the runs are on disk: their file has no name
    merging.close()  # type: ignore[attr-defined] # a generator


def test_a_folder_that_cannot_be_sorted_in_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not in order of time and cannot be sorted on disk"):
        list(in_time_order(iter([pl.DataFrame({"ts_ns": [1], "row": [0]})]), tmp_path / "absent", tmp_path))


def test_a_file_without_ends_of_lines_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"time,price,size\r1,1,1\r" * 300_000)
    with pytest.raises(DataError, match="the line of column names never ends"):
        read(path, block_bytes=1 << 18)


def test_one_wrong_time_is_refused_before_the_bars_up_to_it_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("time,price,size\n" + "2024-03-01 00:00:00,1,1\n" * 50 + "1970-01-01 00:00:00,1,1\n")
    for block_bytes in (200, WHOLE):
        with pytest.raises(DataError, match="expected at most 16777216 bars between times"):
            read(path, block_bytes=block_bytes)
