"""Claims about a witness: what it cosigns, what it refuses by name, and what a kill or a full disk leaves of it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_disks import PointedDisk
from audit_keys import EdwardsKey, P256Key
from hansa.audit.checkpoint import Checkpoint, open_checkpoint, signed_checkpoint
from hansa.audit.merkle import HASH_BYTES, Frontier, Tile, leaf_hash
from hansa.audit.note import NoteKey
from hansa.audit.witness import Fault, FileMemory, Witness
from hansa.errors import LogError, MessageError, SignatureError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "hansa.example/demo"
KEY = EdwardsKey("log")
LOG = NoteKey.of(ORIGIN, KEY.public, is_cosignature=False)


class Shown:
    """A log as it shows itself: any entries, signed."""

    def __init__(self, entries: list[bytes]) -> None:
        frontier, tiles = Frontier().extended([leaf_hash(entry) for entry in entries])
        self.tiles: dict[tuple[int, int], Tile] = {(tile.level, tile.number): tile for tile in tiles}
        self.root = frontier.root()
        self.size = len(entries)

    def tile(self, level: int, number: int, width: int) -> bytes:
        return self.tiles[level, number].hashes[: HASH_BYTES * width]

    @property
    def note(self) -> bytes:
        return signed_checkpoint(Checkpoint(ORIGIN, self.size, self.root), KEY).to_bytes()


def entries(count: int, *, first: int = 0) -> list[bytes]:
    return [b"entry %d" % k for k in range(first, first + count)]


def witness(directory: Path, *, disk: PointedDisk | None = None, key: EdwardsKey | P256Key | None = None) -> Witness:
    signer = key or EdwardsKey("north")
    return Witness(
        "north", signer=signer, log=LOG, memory=FileMemory(directory, disk=disk), clock=lambda: 1_700_000_000
    )


def observe(who: Witness, shown: list[bytes]) -> None:
    log = Shown(shown)
    who.observe(log.note, log)


@pytest.mark.parametrize("key", [EdwardsKey("north"), P256Key(11)], ids=["ed25519", "p256"])
def test_what_continues_is_cosigned_and_counts(tmp_path: Path, key: EdwardsKey | P256Key) -> None:
    who = witness(tmp_path, key=key)
    own = NoteKey.of("north", key.public, is_cosignature=True)
    for size in (0, 3, 3, 255, 256, 257, 1000):
        log = Shown(entries(size))
        line = who.observe(log.note, log)
        note = signed_checkpoint(Checkpoint(ORIGIN, size, log.root), KEY).with_signatures([line])
        assert open_checkpoint(note.to_bytes(), log=LOG, witnesses=[own], quorum=1).witnesses == {
            "north": 1_700_000_000
        }
        assert who.size == size


def test_a_restarted_witness_goes_on_where_it_was(tmp_path: Path) -> None:
    observe(witness(tmp_path), entries(300))
    again = witness(tmp_path)
    assert again.size == 300
    observe(again, entries(600))
    with pytest.raises(LogError, match="rewind"):
        observe(witness(tmp_path), entries(599))


@pytest.mark.parametrize(
    ("fault", "shown"),
    [
        (Fault.REWIND, entries(299)),
        (Fault.REWIND, []),
        (Fault.REORDERING, [*entries(10), *entries(1, first=11), *entries(1, first=10), *entries(400, first=12)]),
        (Fault.REORDERING, [*entries(300)[::-1], *entries(5, first=300)]),
        (Fault.OMISSION, [*entries(7), *entries(400, first=8)]),
        (Fault.OMISSION, [*entries(7), *entries(400, first=9)]),
        (Fault.REWRITING, [*entries(7), b"other", *entries(400, first=8)]),
        (Fault.REWRITING, entries(400, first=1000)),
        (Fault.SPLIT_VIEW, [*entries(299), b"other"]),
        (Fault.SPLIT_VIEW, entries(300)[::-1]),
    ],
)
def test_what_does_not_continue_is_refused_by_its_name(tmp_path: Path, fault: Fault, shown: list[bytes]) -> None:
    who = witness(tmp_path)
    observe(who, entries(300))
    log = Shown(shown)
    with pytest.raises(LogError, match=fault) as caught:
        who.observe(log.note, log)
    assert caught.value.fault is fault
    assert who.size == 300
    assert (tmp_path / f"disputed-{log.size}").read_bytes() == log.note
    observe(who, entries(301))


def test_a_checkpoint_that_is_not_of_the_tiles_served_is_a_split_view(tmp_path: Path) -> None:
    who = witness(tmp_path)
    observe(who, entries(300))
    with pytest.raises(LogError, match=r"split view: the root of 400 entries is not that of the tiles"):
        who.observe(Shown([*entries(399), b"other"]).note, Shown(entries(400)))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.data())
def test_no_two_trees_are_cosigned_of_which_one_does_not_begin_the_other(
    tmp_path_factory: pytest.TempPathFactory, size: int, data: st.DataObject
) -> None:
    first = entries(size)
    shown = data.draw(st.permutations(first)) + entries(data.draw(st.integers(0, 4)), first=size)
    cut = data.draw(st.integers(0, 2))
    shown = shown[cut:]
    who = witness(tmp_path_factory.mktemp("witness"))
    observe(who, first)
    if shown[:size] == first:
        observe(who, shown)
    else:
        with pytest.raises(LogError) as caught:
            observe(who, shown)
        assert caught.value.fault


def test_two_members_who_were_shown_two_logs_find_out_by_comparing(tmp_path: Path) -> None:
    north, south = witness(tmp_path / "north"), witness(tmp_path / "south")
    observe(north, entries(300))
    other = Shown([*entries(200), b"other", *entries(20, first=201)])
    south.observe(other.note, other)
    with pytest.raises(LogError, match="split view") as caught:
        north.compare(other.note)
    assert caught.value.fault is Fault.SPLIT_VIEW
    assert (tmp_path / "north" / "disputed-221").exists()
    north.compare(Shown(entries(120)).note)
    north.compare(Shown([b"other"] * 400).note)


def test_an_entry_that_a_member_knows_of_must_be_there(tmp_path: Path) -> None:
    who = witness(tmp_path)
    observe(who, entries(700))
    assert [who.require(b"entry %d" % k, what="the manifest") for k in (0, 255, 256, 699)] == [0, 255, 256, 699]
    with pytest.raises(LogError, match=r"the manifest of r7 is not among the 700 entries") as caught:
        who.require(b"entry 700", what="the manifest of r7")
    assert caught.value.fault is Fault.OMISSION


def test_an_entry_is_found_by_its_whole_hash_only(tmp_path: Path) -> None:
    wanted = leaf_hash(b"entry")
    crossing = [bytes(7) + wanted[:25], wanted[25:] + bytes(25)]
    memory = FileMemory(tmp_path)
    frontier, tiles = Frontier().extended([*crossing, wanted])
    note = signed_checkpoint(Checkpoint(ORIGIN, 3, frontier.root()), KEY).to_bytes()
    memory.remember(note, tiles)
    assert witness(tmp_path).find(b"entry") == 2


def test_a_checkpoint_of_another_log_or_key_is_not_looked_at(tmp_path: Path) -> None:
    who, log = witness(tmp_path), Shown(entries(3))
    with pytest.raises(MessageError):
        who.observe(signed_checkpoint(Checkpoint("other", 3, log.root), KEY).to_bytes(), log)
    with pytest.raises(SignatureError):
        who.observe(signed_checkpoint(Checkpoint(ORIGIN, 3, log.root), EdwardsKey("other")).to_bytes(), log)
    assert not list(tmp_path.iterdir())


def test_tiles_of_another_length_are_refused(tmp_path: Path) -> None:
    log = Shown(entries(3))
    log.tiles[0, 0] = Tile(0, 0, log.tiles[0, 0].hashes[:-1])
    with pytest.raises(LogError, match="expected 3 hashes"):
        witness(tmp_path).observe(log.note, log)


def test_a_cosignature_leaves_only_after_it_is_remembered(tmp_path: Path) -> None:
    """At each point of the writes a kill leaves a witness that goes on from the checkpoint before or from this one."""
    counting = PointedDisk(lambda _: None)
    observe(witness(tmp_path / "counted", disk=counting), entries(250))
    before = counting.points
    observe(witness(tmp_path / "counted", disk=counting), entries(600))
    for point in range(before, counting.points):

        def at(number: int, point: int = point) -> None:
            if number == point:
                raise KeyboardInterrupt  # what a kill would leave: nothing after this is written

        directory = tmp_path / str(point)
        disk = PointedDisk(at)
        observe(witness(directory, disk=disk), entries(250))
        with pytest.raises(KeyboardInterrupt):
            observe(witness(directory, disk=disk), entries(600))
        again = witness(directory)
        assert again.size in {250, 600}
        with pytest.raises(LogError):
            observe(again, [*entries(249), b"other", *entries(500, first=250)])
        observe(again, entries(700))


def test_a_full_disk_leaves_nothing_cosigned(tmp_path: Path) -> None:
    full = [False]

    def at(_: int) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")

    who = witness(tmp_path, disk=PointedDisk(at))
    observe(who, entries(3))
    full[0] = True
    with pytest.raises(StoreError, match="nothing is cosigned"):
        observe(who, entries(5))
    with pytest.raises(StoreError, match="in dispute could not be kept"):
        observe(who, entries(2))
    full[0] = False
    assert who.size == 3
    observe(who, entries(5))


def test_damaged_memory_is_found_when_it_is_opened(tmp_path: Path) -> None:
    observe(witness(tmp_path), entries(300))
    data = (tmp_path / "level-0").read_bytes()
    (tmp_path / "level-0").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(StoreError, match="do not make the root"):
        witness(tmp_path)
    (tmp_path / "level-0").write_bytes(data[:-1])
    with pytest.raises(StoreError, match="too short"):
        witness(tmp_path)
    (tmp_path / "level-0").unlink()
    with pytest.raises(StoreError, match="cannot read"):
        witness(tmp_path)
    (tmp_path / "cosigned").unlink()
    (tmp_path / "cosigned").mkdir()
    with pytest.raises(StoreError, match="cannot read"):
        witness(tmp_path)
