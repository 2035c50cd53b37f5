"""Disks that fail, die or forget, for the log's tests; as a script, a log killed at every point of its writes.

A point is before an operation, and in the middle of a write. `python tests/audit_disks.py DIRECTORY SCENARIO...` forks
a child for each point in turn, which kills itself there with SIGKILL, opens what is left, and prints what was wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from audit_keys import EdwardsKey
from hansa.audit.disk import Disk
from hansa.audit.note import cosign
from hansa.audit.store import LogStore

if TYPE_CHECKING:
    from collections.abc import Callable

ORIGIN = "hansa.example/demo"
KEY = EdwardsKey("log")
WITNESS = EdwardsKey("north")
Step = tuple[str, int]
SCENARIOS: dict[str, list[Step]] = {
    "from nothing": [("append", 3), ("publish", 0), ("append", 1)],
    "across a tile": [("append", 250), ("publish", 0), ("append", 10), ("publish", 0), ("append", 2)],
    "many tiles": [("append", 100), ("append", 900), ("publish", 0), ("append", 0), ("append", 40)],
}


def entries(count: int, *, first: int = 0) -> list[bytes]:
    return [b"entry %d " % k + bytes(k % 7) for k in range(first, first + count)]


def open_log(directory: Path, disk: Disk | None = None) -> LogStore:
    return LogStore(directory, origin=ORIGIN, signer=KEY, disk=disk)


class PointedDisk(Disk):
    """Calls `at` with the number of each point; an error that it raises is what the disk says."""

    def __init__(self, at: Callable[[int], None]) -> None:
        self._at = at
        self.points = 0

    def _point(self) -> None:
        self.points += 1
        self._at(self.points - 1)

    def write(self, path: Path, data: bytes) -> None:
        self._point()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[: len(data) // 2])
        self._point()
        super().write(path, data)

    def overwrite(self, path: Path, start: int, data: bytes) -> None:
        self._point()
        Disk().overwrite(path, start, data[: len(data) // 2])
        self._point()
        super().overwrite(path, start, data)

    def rename(self, path: Path, target: Path) -> None:
        self._point()
        super().rename(path, target)

    def sync(self, directory: Path) -> None:
        self._point()
        super().sync(directory)

    def remove(self, path: Path) -> None:
        self._point()
        super().remove(path)


@dataclass
class ForgetfulDisk(Disk):
    """Remembers operations, to make the directory that a loss of power after the first of them may leave."""

    operations: list[tuple[str, Path, Path | bytes | None]] = field(default_factory=list)

    def write(self, path: Path, data: bytes) -> None:
        self.operations.append(("write", path, data))
        super().write(path, data)

    def rename(self, path: Path, target: Path) -> None:
        self.operations.append(("rename", path, target))
        super().rename(path, target)

    def sync(self, directory: Path) -> None:
        self.operations.append(("sync", directory, None))
        super().sync(directory)

    def remove(self, path: Path) -> None:
        self.operations.append(("remove", path, None))
        super().remove(path)

    def left_after(self, count: int, *, root: Path, target: Path, keeps: Callable[[int], bool]) -> None:
        """Make in `target` what is left of `root` after `count` operations.

        A rename or a removal that no later sync of all its folders made durable is there if `keeps` says so.
        """
        done = self.operations[:count]
        contents: dict[Path, bytes] = {}
        for place, (kind, path, extra) in enumerate(done):
            synced = {one for name, one, _ in done[place:] if name == "sync"}
            named = extra if kind == "rename" else path
            assert isinstance(named, Path)
            folders = {parent for parent in named.parents if parent == root or root in parent.parents}
            is_durable = folders <= synced or keeps(place)
            if kind == "write":
                assert isinstance(extra, bytes)
                contents[path] = extra
            elif kind == "rename" and is_durable:
                kept = target / named.relative_to(root)
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_bytes(contents[path])
            elif kind == "remove" and is_durable:
                (target / path.relative_to(root)).unlink(missing_ok=True)


def run(directory: Path, steps: list[Step], *, disk: Disk | None = None, done: Callable[[int], object]) -> None:
    """Take the steps of a scenario that a log has not taken; call `done` with the number of steps after each."""
    with open_log(directory, disk) as log:
        total = 0
        for number, (kind, count) in enumerate(steps):
            total += count
            if kind == "append" and log.size < total:
                log.append_once(entries(count, first=total - count))
            if kind == "publish" and log.published_size < total == log.size:
                line = cosign(log.head.text, WITNESS, name="north", seconds=5)
                log.publish(log.head.with_signatures([line]))
            done(number + 1)


def faults(directory: Path, acknowledged: int, steps: list[Step]) -> list[str]:
    """Return what is wrong with a log that was stopped after so many acknowledged steps; empty if nothing is."""
    found = []
    sizes = [sum(count for _, count in steps[:number]) for number in range(len(steps) + 1)]
    with open_log(directory) as log:
        log.check()
        if log.size not in sizes[acknowledged : acknowledged + 2]:
            found.append(f"{log.size} entries, {sizes[acknowledged]} acknowledged")
        if list(log.entries()) != entries(log.size):
            found.append("entries that nobody appended")
        promised = max([sizes[k] for k in range(acknowledged) if steps[k][0] == "publish"], default=0)
        if log.published_size < promised:
            found.append(f"published {log.published_size}, acknowledged {promised}")
        if log.published_size and log.published(log.published_size) is None:
            found.append("no published checkpoint of the size that was published")
    return found


def killed_at(point: int, directory: Path, steps: list[Step]) -> tuple[bool, int]:
    """Run a scenario in a child that kills itself at a point; return whether it did, and the steps it acknowledged."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)

        def at(number: int) -> None:
            if number == point:
                os.kill(os.getpid(), signal.SIGKILL)

        run(directory, steps, disk=PointedDisk(at), done=lambda _: os.write(writer, b"."))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        acknowledged = len(pipe.read())
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, acknowledged


def main(base: Path, names: list[str]) -> None:
    """Kill at every point of some scenarios; print the number of points and what was wrong."""
    report = {}
    for name in names:
        steps = SCENARIOS[name]
        reference = base / "reference" / name
        run(reference, steps, done=lambda _: None)
        with open_log(reference) as log:
            root = log.tree.root()
        wrong: list[str] = []
        point = 0
        while True:
            directory = base / name / str(point)
            is_killed, said = killed_at(point, directory, steps)
            wrong += [f"point {point}: {fault}" for fault in faults(directory, said, steps)]
            run(directory, steps, done=lambda _: None)
            with open_log(directory) as log:
                log.check()
                if log.tree.root() != root:
                    wrong.append(f"point {point}: another log than without the kill")
            shutil.rmtree(directory)
            if not is_killed:
                break
            point += 1
        report[name] = {"points": point, "wrong": wrong}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
