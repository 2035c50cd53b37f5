"""A witness's memory in its member's store: part of the one durable write that a message leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hansa.audit.merkle import HASH_BYTES
from hansa.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hansa.audit.merkle import Tile
    from hansa.federation.store import MemberStore


class StoreMemory:
    """What a member keeps of one log; `hansa.audit.witness.WitnessMemory`.

    Args:
        origin: The log's name.
        store: The member's durable facts.
    """

    def __init__(self, origin: str, store: MemberStore) -> None:
        self._origin = origin
        self._store = store

    def cosigned(self) -> bytes | None:
        """Return the last checkpoint cosigned, or None."""
        return self._store.cosigned(self._origin)

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return the first hashes of a tile.

        Raises:
            StoreError: The store has fewer.
        """
        data = self._store.witness_tile(self._origin, level, number)[: HASH_BYTES * width]
        if len(data) != HASH_BYTES * width:
            raise StoreError(f"witness: tile {level}/{number} is too short in the member's store; restore the file")
        return data

    def remember(self, note: bytes, tiles: Sequence[Tile]) -> None:
        """Keep new or longer tiles, and the checkpoint; all or nothing."""
        rows = [(tile.level, tile.number, tile.hashes) for tile in tiles]
        self._store.keep_cosigned(self._origin, note, rows)

    def dispute(self, note: bytes) -> None:
        """Keep a checkpoint that contradicts what was cosigned."""
        self._store.keep_dispute(self._origin, note)
