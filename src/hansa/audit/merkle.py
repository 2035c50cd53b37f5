"""Merkle tree hashing over tiles: roots, inclusion proofs, consistency proofs, and the right edge that grows.

```
leaf hash       SHA-256(0x00 || entry)
node hash       SHA-256(0x01 || left || right)
tile (L, N)     node hashes 256 N to 256 N + 255 of height 8 L, 32 bytes each; the last tile of a level may be shorter
```

A tree of any size up to `tree.size` is a prefix of what the tiles hold, so one set of tiles proves every past size.

Guarantees: `verify_inclusion` and `verify_consistency` accept a proof only if it recomputes the roots given, up to
collisions of SHA-256. Does NOT guarantee: that the roots are the log's own; a signed and cosigned checkpoint says so.

Source: RFC 9162 sections 2.1.1 (hashing), 2.1.3 (inclusion) and 2.1.4 (consistency); C2SP tlog-tiles (tiles).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from hansa.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = HASH_BYTES * TILE_WIDTH
EMPTY_ROOT: Final = sha256(b"").digest()
MAX_SIZE: Final = 2**63 - 1
_CACHED_TILES: Final = 512


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a log entry.

    >>> leaf_hash(b"").hex()[:16]
    '6e340b9cffb37a98'
    """
    return sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """Return the hashes of many entries."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class TileReader(Protocol):
    """Whoever has the tiles: a directory, a server, the memory."""

    def tile(self, level: int, number: int, width: int) -> bytes:
        """Return the first `width` hashes of a tile, 32 bytes each."""
        ...


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile or the beginning of one: `len(hashes) / 32` hashes."""

    level: int
    number: int
    hashes: bytes

    @property
    def width(self) -> int:
        """How many hashes it holds, 1 to 256."""
        return len(self.hashes) // HASH_BYTES


def tile_width(level: int, number: int, size: int) -> int:
    """Return how many hashes a tile has in a tree of `size` entries; 0 if there is no such tile."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - TILE_WIDTH * number))


def partial_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """Give level, number and width of the right edge's shorter tiles in a tree of `size` entries."""
    level = 0
    while size >> (TILE_HEIGHT * level):
        full, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
        if width:
            yield level, full, width
        level += 1


class Frontier:
    """The right edge of a tree: what is needed to append to it. Immutable: `extended` returns another.

    Args:
        size: Entries.
        edge: For each level the hashes of its last, shorter tile; `b""` where the level has whole tiles only.
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        self.size = size
        self._edge = tuple(edge)

    @classmethod
    def of(cls, reader: TileReader, size: int) -> Frontier:
        """Read the right edge of a tree of `size` entries."""
        edge: list[bytes] = []
        for level, number, width in partial_tiles(size):
            edge.extend([b""] * (level - len(edge)))
            edge.append(reader.tile(level, number, width))
        return cls(size, edge)

    def extended(self, leaf_hashes: Sequence[bytes]) -> tuple[Frontier, list[Tile]]:
        """Return the edge after appending leaves, and every tile that is new or longer, whole ones first a level."""
        edge = list(self._edge)
        tiles: list[Tile] = []
        level, added = 0, b"".join(leaf_hashes)
        while added:
            if level == len(edge):
                edge.append(b"")
            before = self.size >> (TILE_HEIGHT * level)
            hashes, number = edge[level] + added, before // TILE_WIDTH
            roots: list[bytes] = []
            for start in range(0, len(hashes) - TILE_BYTES + 1, TILE_BYTES):
                tiles.append(Tile(level, number, hashes[start : start + TILE_BYTES]))
                roots.append(tile_root(tiles[-1].hashes))
                number += 1
            edge[level] = hashes[len(roots) * TILE_BYTES :]
            if edge[level]:
                tiles.append(Tile(level, number, edge[level]))
            level, added = level + 1, b"".join(roots)
        return Frontier(self.size + len(leaf_hashes), edge), tiles

    def root(self) -> bytes:
        """Return the root hash of the tree."""
        found: bytes | None = None
        for hashes in self._edge:  # from the right: lower levels are smaller subtrees, further right
            for peak in _peaks(hashes):
                found = peak if found is None else node_hash(peak, found)
        return EMPTY_ROOT if found is None else found


def tile_root(hashes: bytes) -> bytes:
    """Return the root over a power of two of hashes."""
    while len(hashes) > HASH_BYTES:
        hashes = _parents(hashes)
    return hashes


def _parents(hashes: bytes) -> bytes:
    """Return the hashes one level up; an odd last one has no parent yet."""
    pairs = range(0, len(hashes) - 2 * HASH_BYTES + 1, 2 * HASH_BYTES)
    return b"".join([sha256(b"\x01" + hashes[start : start + 2 * HASH_BYTES]).digest() for start in pairs])


def _peaks(hashes: bytes) -> Iterator[bytes]:
    """Give the roots of the perfect subtrees that a tile's hashes make, the rightmost first."""
    while hashes:
        if len(hashes) // HASH_BYTES % 2:
            yield hashes[-HASH_BYTES:]
        hashes = _parents(hashes)


class TileTree:
    """Roots and proofs of a tree whose tiles somebody has.

    Args:
        reader: The tiles of a tree of at least `size` entries.
        size: Entries.
    """

    def __init__(self, reader: TileReader, size: int) -> None:
        self.size = size
        self._reader = reader
        self._nodes: OrderedDict[tuple[int, int, int], list[bytes]] = OrderedDict()

    def grow(self, size: int) -> None:
        """Note that the reader now has the tiles of `size` entries."""
        self.size = size

    def leaf(self, index: int) -> bytes:
        """Return the leaf hash at `index`.

        Raises:
            LogError: There is no such entry.
        """
        self._require(0 <= index < self.size, f"an index below {self.size}", index)
        return self._node(0, index)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` entries, of all by default.

        Raises:
            LogError: The tree is smaller.
        """
        size = self.size if size is None else size
        self._require(0 <= size <= self.size, f"a size of at most {self.size}", size)
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the audit path of entry `index` in the tree of the first `size` entries, leaf's sibling first.

        Raises:
            LogError: There is no such entry, or the tree is smaller.
        """
        size = self.size if size is None else size
        self._require(0 <= size <= self.size, f"a size of at most {self.size}", size)
        self._require(0 <= index < size, f"an index below {size}", index)
        path: list[bytes] = []
        low, high = 0, size
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        return path[::-1]

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Return the proof that the first `old` entries begin the first `new`; empty for 0 or equal sizes.

        Raises:
            LogError: The sizes are not in order, or the tree is smaller.
        """
        new = self.size if new is None else new
        self._require(0 <= new <= self.size, f"a size of at most {self.size}", new)
        self._require(0 <= old <= new, f"an old size of at most {new}", old)
        if old in {0, new}:
            return []
        path: list[bytes] = []
        low, high = 0, new
        while old != high:
            middle = low + _split(high - low)
            if old <= middle:
                path.append(self._subtree(middle, high))
                high = middle
            else:
                path.append(self._subtree(low, middle))
                low = middle
        if low:
            path.append(self._subtree(low, high))
        return path[::-1]

    def _subtree(self, low: int, high: int) -> bytes:
        """Return the hash over entries `low` to `high - 1`, `low` a multiple of the power of two that covers them."""
        size = high - low
        height = size.bit_length() - 1
        if size == 1 << height:
            return self._node(height, low >> height)
        middle = low + (1 << height)
        return node_hash(self._node(height, low >> height), self._subtree(middle, high))

    def _node(self, height: int, index: int) -> bytes:
        """Return a perfect subtree's hash: one of a tile's own, or one that its hashes make."""
        level, above = divmod(height, TILE_HEIGHT)
        number, place = divmod(index << above, TILE_WIDTH)
        start = HASH_BYTES * (place >> above)
        return self._rows(level, number)[above][start : start + HASH_BYTES]

    def _rows(self, level: int, number: int) -> list[bytes]:
        """Return a tile's hashes and the rows of nodes above them, from the cache if it was used lately."""
        width = tile_width(level, number, self.size)
        key = (level, number, width)
        rows = self._nodes.get(key)
        if rows is None:
            rows = [self._reader.tile(level, number, width)]
            if len(rows[0]) != HASH_BYTES * width:
                raise LogError(f"tile {level}/{number}: expected {width} hashes, got {len(rows[0])} bytes; restore it")
            while len(rows) < TILE_HEIGHT:
                rows.append(_parents(rows[-1]))
            self._nodes[key] = rows
            if len(self._nodes) > _CACHED_TILES:
                self._nodes.popitem(last=False)
        else:
            self._nodes.move_to_end(key)
        return rows

    @staticmethod
    def _require(holds: bool, expected: str, got: int) -> None:  # noqa: FBT001 - the condition itself
        if not holds:
            raise LogError(f"log: expected {expected}, got {got}")


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def verify_inclusion(index: int, size: int, *, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Return if the leaf hash stands at `index` in the tree of `size` entries with this root.

    Raises:
        LogError: It does not, or the proof is of another length than the place asks for.
    """
    if not 0 <= index < size or not _are_hashes([leaf, root, *proof]):
        raise LogError(f"inclusion of entry {index} in {size}: expected an entry of the tree and hashes of 32 bytes")
    found = leaf
    for sibling, is_left in _turns(index, size - 1, proof, what=f"inclusion of entry {index} in {size}"):
        found = node_hash(sibling, found) if is_left else node_hash(found, sibling)
    if found != root:
        raise LogError(f"inclusion of entry {index} in {size}: the proof does not lead to the root; refuse the entry")


def verify_consistency(old: int, new: int, *, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Return if the tree of `old` entries is the beginning of the tree of `new` entries.

    Raises:
        LogError: It is not, or the proof is of another length than the sizes ask for.
    """
    what = f"consistency of {old} and {new}"
    if not 0 <= old <= new or not _are_hashes([old_root, new_root, *proof]):
        raise LogError(f"{what}: expected sizes in order and hashes of 32 bytes")
    if old in {0, new}:
        _verify_without_proof(old_root, EMPTY_ROOT if old == 0 else new_root, proof, what=what)
        return
    # A perfect tree is itself the first node of the path.
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        raise LogError(f"{what}: expected a proof, got none")
    place, last = old - 1, new - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    first = second = path[0]
    for sibling, is_left in _turns(place, last, path[1:], what=what):
        if is_left:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
        else:
            second = node_hash(second, sibling)
    if first != old_root or second != new_root:
        raise LogError(f"{what}: the proof does not join the roots; the history was rewritten or the proof is wrong")


def _verify_without_proof(root: bytes, expected: bytes, proof: Sequence[bytes], *, what: str) -> None:
    if proof:
        raise LogError(f"{what}: expected no proof, got {len(proof)} hashes")
    if root != expected:
        raise LogError(f"{what}: two roots of one size")


def _turns(place: int, last: int, path: Sequence[bytes], *, what: str) -> Iterator[tuple[bytes, bool]]:
    """Give each node of a path up from `place` in a row that ends at `last`, and whether it stands to the left."""
    for sibling in path:
        if last == 0:
            raise LogError(f"{what}: the proof is too long")
        is_left = bool(place & 1) or place == last
        yield sibling, is_left
        while is_left and place and not place & 1:
            place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
    if last:
        raise LogError(f"{what}: the proof is too short")


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
