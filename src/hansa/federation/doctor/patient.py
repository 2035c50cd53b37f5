"""The node that is looked at: its folder, what could be loaded of it, and the clocks of whoever looks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hansa.errors import HansaError, StoreError
from hansa.federation.doctor.kernel_clock import KernelClock, read_kernel_clock
from hansa.federation.node import Node, load_node
from hansa.federation.records import Records

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Patient:
    """A node's folder at one time.

    Attributes:
        directory: The folder.
        at: The time now, with a time zone.
        node: The node, None where it does not load.
        trouble: Why it does not.
        software: Version of the package that looks.
        ticks_ns: A clock that only goes forward.
        kernel_clock: What the kernel says of its own.
    """

    directory: Path
    at: datetime
    node: Node | None
    trouble: str
    software: str
    ticks_ns: Callable[[], int] = field(default=time.perf_counter_ns)
    kernel_clock: Callable[[], KernelClock | None] = field(default=read_kernel_clock)

    def fact(self, name: str) -> object:
        """Return a published fact, None where the node has published nothing of that name, or cannot be read."""
        if self.node is None or not self.node.records_path.is_file():
            return None
        try:
            records = Records(self.node.records_path, read_only=True)
        except StoreError:
            return None
        try:
            return records.get(name)
        except StoreError:
            return None
        finally:
            records.close()


def admit(directory: Path, *, at: datetime, software: str) -> Patient:
    """Return the patient of a folder, whatever state it is in."""
    try:
        return Patient(directory, at, load_node(directory), "", software)
    except HansaError as error:
        return Patient(directory, at, None, f"{type(error).__name__}: {error}", software)
