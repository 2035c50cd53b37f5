"""Claims about the log on disk: its layout, what a kill, a loss of power and a full disk leave, what is refused."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import audit_disks
from audit_disks import KEY, ORIGIN, SCENARIOS, ForgetfulDisk, PointedDisk, entries, faults, open_log, run
from audit_keys import EdwardsKey
from hansa.audit.checkpoint import Checkpoint, open_checkpoint, signed_checkpoint
from hansa.audit.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from hansa.audit.store import LogStore
from hansa.audit.tiles import decode_bundle, encode_bundle, tile_path
from hansa.errors import LogError, SignatureError, StoreError


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_files_are_those_of_tlog_tiles(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        assert log.append(entries(600)) == 0
    tiles = {"tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"}
    bundles = {"tile/entries/000", "tile/entries/001", "tile/entries/002.p/88"}
    assert files(tmp_path) == tiles | bundles | {"head", "lock"}
    assert (tmp_path / "tile/0/002.p/88").stat().st_size == 88 * HASH_BYTES
    bundle = decode_bundle((tmp_path / "tile/entries/002.p/88").read_bytes())
    assert bundle == entries(88, first=512)
    hashes = (tmp_path / "tile/0/002.p/88").read_bytes()
    assert [hashes[32 * k : 32 * k + 32] for k in range(88)] == [leaf_hash(entry) for entry in bundle]


@pytest.mark.parametrize(("number", "path"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1234067, "x001/x234/067")])
def test_a_tile_number_is_written_in_groups_of_three_digits(number: int, path: str) -> None:
    assert tile_path(3, number) == f"tile/3/{path}"
    assert tile_path("entries", number, 7) == f"tile/entries/{path}.p/7"


def test_what_was_appended_is_there_when_opened_again(tmp_path: Path) -> None:
    for start, count in ((0, 1), (1, 254), (255, 1), (256, 1), (257, 300)):
        with open_log(tmp_path) as log:
            assert log.append(entries(count, first=start)) == start
    with open_log(tmp_path) as log:
        assert log.size == 557
        assert list(log.entries()) == entries(557)
        assert list(log.entries(250, 260)) == entries(10, first=250)
        assert log.entry(300) == entries(1, first=300)[0]
        log.check()
        checkpoint = open_checkpoint(log.head.to_bytes(), log=log.key).checkpoint
        proof = log.tree.inclusion_proof(300)
        verify_inclusion(300, 557, leaf=leaf_hash(log.entry(300)), proof=proof, root=checkpoint.root)
    assert not [name for name in files(tmp_path) if ".p/" in name and not name.endswith(("/45", "/2"))]


def test_appending_nothing_changes_nothing(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(3))
        before = log.head
        assert log.append([]) == 3
        assert log.head == before


def test_the_same_batch_again_is_not_appended_twice(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append_once(entries(3))
        assert log.append_once(entries(2, first=1)) == 1
        assert log.append_once(entries(3)) == 0
        assert log.append_once(entries(4)) == 3
        assert log.size == 7


def test_an_entry_that_is_too_long_is_refused_and_nothing_is_appended(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append([bytes(65_535)])
        with pytest.raises(LogError, match="65536 bytes; a log takes at most 65535"):
            log.append([b"short", bytes(65_536)])
        assert log.size == 1
        log.check()


def test_a_bundle_that_ends_early_is_refused() -> None:
    data = encode_bundle([b"one", b"two"])
    assert decode_bundle(data) == [b"one", b"two"]
    for end in (1, 4, 6, 9):
        with pytest.raises(LogError, match="ends within entry"):
            decode_bundle(data[:end])


def test_entries_outside_the_log_are_refused(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(3))
        for start, end in ((-1, 2), (2, 1), (0, 4)):
            with pytest.raises(LogError, match="expected entries within 0 to 3"):
                list(log.entries(start, end))


def test_one_process_appends(tmp_path: Path) -> None:
    with open_log(tmp_path), pytest.raises(StoreError, match="open in another process"):
        open_log(tmp_path)
    open_log(tmp_path).close()


def test_a_head_by_another_key_is_refused(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(3))
    with pytest.raises(SignatureError, match="has not signed"):
        LogStore(tmp_path, origin=ORIGIN, signer=EdwardsKey("other"))
    with pytest.raises(StoreError, match="expected one of 'another'"):
        LogStore(tmp_path, origin="another", signer=KEY)
    (tmp_path / "head").write_bytes(b"no note")
    with pytest.raises(StoreError, match="restore the log"):
        open_log(tmp_path)


@pytest.mark.parametrize("name", ["tile/0/002.p/88", "tile/1/000.p/2"])
def test_a_damaged_or_missing_edge_is_found_at_once(tmp_path: Path, name: str) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(600))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(LogError, match="do not make the root"):
        open_log(tmp_path)
    (tmp_path / name).write_bytes(data[:-1])
    with pytest.raises(StoreError, match=r"expected \d+ hashes"):
        open_log(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(StoreError, match="cannot read"):
        open_log(tmp_path)


def test_damage_further_back_is_found_by_a_check(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(600))
    for name in ("tile/0/001", "tile/entries/000"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
        with open_log(tmp_path) as log, pytest.raises(LogError, match="is not made of the entries"):
            log.check()
        (tmp_path / name).write_bytes(data)
    short = encode_bundle(entries(255))
    (tmp_path / "tile/entries/000").write_bytes(short)
    with open_log(tmp_path) as log, pytest.raises(StoreError, match="expected 256 entries, got 255"):
        log.check()


def test_a_log_without_its_head_is_not_begun_again(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(3))
    (tmp_path / "head").unlink()
    with pytest.raises(StoreError, match="has tiles, but no head"):
        open_log(tmp_path)


def test_published_checkpoints_are_kept_by_size(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        heads = []
        for count in (3, 300):
            log.append(entries(count, first=log.size))
            heads.append(log.head)
            log.publish(log.head)
        log.publish(heads[0])
        assert log.published_size == 303
        assert [log.published(size) for size in (3, 303, 4)] == [*(head.to_bytes() for head in heads), None]
    assert (tmp_path / "checkpoint").read_bytes() == heads[1].to_bytes()
    with open_log(tmp_path) as log:
        assert log.published_size == 303


def test_shorter_tiles_stay_while_the_published_checkpoint_ends_in_them(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(5))
        log.publish(log.head)
        log.append(entries(5, first=5))
        log.append(entries(5, first=10))
        assert {"tile/0/000.p/5", "tile/0/000.p/15"} <= files(tmp_path)
        assert "tile/0/000.p/10" not in files(tmp_path)
        log.publish(log.head)
        assert "tile/0/000.p/5" not in files(tmp_path)
        log.append(entries(241, first=15))
        log.publish(log.head)
        assert not (tmp_path / "tile/0/000.p").exists()


def test_a_checkpoint_of_another_tree_is_not_published(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(5))
        for size, root in ((5, bytes(32)), (6, log.tree.root())):
            with pytest.raises(LogError, match="not of this tree"):
                log.publish(signed_checkpoint(Checkpoint(ORIGIN, size, root), KEY))


def test_a_log_that_was_set_back_does_not_open(tmp_path: Path) -> None:
    with open_log(tmp_path) as log:
        log.append(entries(5))
        older = log.head
        log.append(entries(5, first=5))
        log.publish(log.head)
        five = log.tree.leaf(0), log.files.tile(0, 0, 10)
    (tmp_path / "head").write_bytes(older.to_bytes())
    (tmp_path / "tile/0/000.p/5").write_bytes(five[1][: 5 * HASH_BYTES])
    with pytest.raises(StoreError, match="it was set back"):
        open_log(tmp_path)


@pytest.mark.parametrize(
    "name", ["from nothing", *(pytest.param(name, marks=pytest.mark.slow) for name in ("across a tile", "many tiles"))]
)
def test_a_kill_at_any_point_of_any_write_loses_and_forges_nothing(tmp_path: Path, name: str) -> None:
    script = Path(audit_disks.__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parent), *sys.path])}
    command = [sys.executable, script, tmp_path, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    points = points_of(SCENARIOS[name], tmp_path / "counted")
    assert json.loads(done.stdout) == {name: {"points": points, "wrong": []}}


def points_of(steps: list[audit_disks.Step], directory: Path) -> int:
    """Return how many points the writes of a scenario have."""
    disk = PointedDisk(lambda _: None)
    run(directory, steps, disk=disk, done=lambda _: None)
    assert disk.points > 30
    return disk.points


@pytest.fixture
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the disk where the test itself models what is synced."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.mark.usefixtures("_unsynced")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_loss_of_power_at_any_point_loses_nothing(tmp_path: Path, name: str) -> None:
    steps, disk, said = SCENARIOS[name], ForgetfulDisk(), []
    root = tmp_path / "root"
    run(root, steps, disk=disk, done=lambda number: said.append((len(disk.operations), number)))
    for count in range(len(disk.operations) + 1):
        acknowledged = max([number for after, number in said if after <= count], default=0)
        for word, keeps in (
            ("lost", lambda _: False),
            ("kept", lambda _: True),
            ("half", lambda place: place % 2 == 0),
        ):
            target = tmp_path / f"{count}-{word}"
            target.mkdir()
            disk.left_after(count, root=root, target=target, keeps=keeps)
            assert faults(target, acknowledged, steps) == [], (count, word)


@pytest.mark.usefixtures("_unsynced")
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_full_disk_at_any_point_is_said_and_loses_nothing(tmp_path: Path, name: str) -> None:
    steps = SCENARIOS[name]
    refused = 0
    for point in range(points_of(steps, tmp_path / "counted")):

        def at(number: int, point: int = point) -> None:
            if number == point:
                raise OSError(errno.ENOSPC, "No space left on device")

        directory, said = tmp_path / str(point), [0]
        try:
            run(directory, steps, disk=PointedDisk(at), done=said.append)
        except StoreError as error:
            refused += "the disk is full: free space and try again" in str(error)
        else:
            assert said[-1] == len(steps), "only what cleans up may fail in silence"
        assert faults(directory, said[-1], steps) == []
        run(directory, steps, done=lambda _: None)
        assert faults(directory, len(steps), steps) == []
    assert refused > 30


def test_after_a_full_disk_the_same_log_goes_on(tmp_path: Path) -> None:
    full = [False]

    def at(_: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")

    with open_log(tmp_path, PointedDisk(at)) as log:
        log.append(entries(3))
        head, full[0] = log.head, True
        with pytest.raises(StoreError, match="2 entries were not appended: No space left on device; the disk is full"):
            log.append(entries(2, first=3))
        assert (log.size, log.head) == (3, head)
        with pytest.raises(StoreError, match="checkpoint of size 3 was not published"):
            log.publish(head)
        full[0] = False
        assert log.append(entries(2, first=3)) == 3
        log.check()


def test_a_head_that_could_not_be_synced_takes_nothing_more(tmp_path: Path) -> None:
    class Unsure(PointedDisk):
        def sync(self, directory: Path) -> None:
            if (tmp_path / "head.writing").exists() is False and b"\n5\n" in (tmp_path / "head").read_bytes():
                raise OSError(errno.EIO, "Input/output error")
            super().sync(directory)

    with open_log(tmp_path, Unsure(lambda _: None)) as log:
        log.append(entries(3))
        with pytest.raises(StoreError, match="not known whether 2 entries were appended"):
            log.append(entries(2, first=3))
        with pytest.raises(StoreError, match="open the log again"):
            log.append(entries(1))
    with open_log(tmp_path) as log:
        assert log.append_once(entries(2, first=3)) == 3
        assert log.size == 5


def test_what_cannot_be_read_or_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="it was not opened"):
        open_log(tmp_path / "file" / "log")
