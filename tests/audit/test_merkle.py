"""Claims about the Merkle tree: published vectors, an independent implementation, and every small change refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tamperlog
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.audit.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    TILE_WIDTH,
    Frontier,
    TileTree,
    leaf_hash,
    partial_tiles,
    tile_width,
    verify_consistency,
    verify_inclusion,
)
from hansa.errors import LogError

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "merkle.json").read_text())
ENTRIES = [bytes.fromhex(text) for text in VECTORS["entries"]]
ROOTS = [bytes.fromhex(text) for text in VECTORS["roots"]]
OTHER = bytes(range(32))


class Memory:
    """Tiles in memory, as appending made them."""

    def __init__(self) -> None:
        self.tiles: dict[tuple[int, int], bytes] = {}
        self.frontier = Frontier()

    def append(self, leaves: list[bytes]) -> None:
        self.frontier, tiles = self.frontier.extended(leaves)
        for tile in tiles:
            assert 1 <= tile.width <= TILE_WIDTH
            self.tiles[tile.level, tile.number] = tile.hashes

    def tile(self, level: int, number: int, width: int) -> bytes:
        return self.tiles[level, number][: HASH_BYTES * width]

    def tree(self) -> TileTree:
        return TileTree(self, self.frontier.size)


def grown(leaves: list[bytes]) -> Memory:
    memory = Memory()
    memory.append(leaves)
    return memory


def proof_of(vector: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(text) for text in vector["proof"]]


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_published_vectors(size: int) -> None:
    memory = grown([leaf_hash(entry) for entry in ENTRIES[:size]])
    assert memory.frontier.root() == memory.tree().root() == ROOTS[size]


def test_root_of_a_past_size_needs_no_past_tiles() -> None:
    tree = grown([leaf_hash(entry) for entry in ENTRIES]).tree()
    assert [tree.root(size) for size in range(9)] == ROOTS


@pytest.mark.parametrize("vector", VECTORS["inclusion"])
def test_inclusion_proofs_are_the_published_ones(vector: dict[str, Any]) -> None:
    tree = grown([leaf_hash(entry) for entry in ENTRIES]).tree()
    index, size, proof = vector["index"], vector["size"], proof_of(vector)
    assert tree.inclusion_proof(index, size) == proof
    verify_inclusion(index, size, leaf=leaf_hash(ENTRIES[index]), proof=proof, root=ROOTS[size])


@pytest.mark.parametrize("vector", VECTORS["consistency"])
def test_consistency_proofs_are_the_published_ones(vector: dict[str, Any]) -> None:
    tree = grown([leaf_hash(entry) for entry in ENTRIES]).tree()
    old, new, proof = vector["old"], vector["new"], proof_of(vector)
    assert tree.consistency_proof(old, new) == proof
    verify_consistency(old, new, old_root=ROOTS[old], new_root=ROOTS[new], proof=proof)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 64, 70])
def test_another_implementation_finds_the_same_roots_and_proofs(size: int) -> None:
    leaves = [leaf_hash(bytes([k])) for k in range(size)]
    tree = grown(leaves).tree()
    assert tree.root() == tamperlog.merkle_root(leaves)
    for index in range(size):
        proof = tree.inclusion_proof(index)
        assert proof == tamperlog.inclusion_proof(index, leaves)
        tamperlog.verify_inclusion(index, size, leaves[index], proof, tree.root())
    for old in range(1, size):
        proof = tree.consistency_proof(old)
        assert proof == tamperlog.consistency_proof(old, leaves)
        tamperlog.verify_consistency(old, tree.root(old), size, tree.root(), proof)


@pytest.mark.parametrize("size", [255, 256, 257, 512, 65_535, 65_536, 65_537, 70_000])
def test_another_implementation_agrees_across_tiles(size: int) -> None:
    leaves = [leaf_hash(k.to_bytes(4, "big")) for k in range(size)]
    tree = grown(leaves).tree()
    root = tree.root()
    assert root == grown(leaves).frontier.root() == tamperlog.merkle_root(leaves)
    for index in {0, 1, 200, size // 2, size - 2, size - 1}:
        tamperlog.verify_inclusion(index, size, leaves[index], tree.inclusion_proof(index), root)
        verify_inclusion(index, size, leaf=tree.leaf(index), proof=tree.inclusion_proof(index), root=root)
        if index:
            tamperlog.verify_consistency(index, tree.root(index), size, root, tree.consistency_proof(index))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=6))
def test_tiles_do_not_depend_on_the_batches(batches: list[int]) -> None:
    leaves = [leaf_hash(k.to_bytes(4, "big")) for k in range(sum(batches))]
    whole, pieces, start = grown(leaves), Memory(), 0
    for count in batches:
        pieces.append(leaves[start : start + count])
        start += count
        assert pieces.frontier.root() == tamperlog.merkle_root(leaves[:start])
    assert pieces.tiles == whole.tiles
    again = Frontier.of(whole, len(leaves))
    assert again.root() == whole.frontier.root()
    (more, tiles), (expected, others) = again.extended([OTHER] * 300), whole.frontier.extended([OTHER] * 300)
    assert (more.root(), tiles) == (expected.root(), others)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 600), st.data())
def test_every_change_of_an_inclusion_proof_is_refused(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    tree = grown([leaf_hash(k.to_bytes(4, "big")) for k in range(size)]).tree()
    proof, leaf, root = tree.inclusion_proof(index), tree.leaf(index), tree.root()
    verify_inclusion(index, size, leaf=leaf, proof=proof, root=root)
    changed = [
        (index, size, OTHER, proof, root),
        (index, size, leaf, proof, OTHER),
        (index, size, leaf, [*proof, OTHER], root),
        (index, size, leaf, [*proof, b""], root),
        (index, size, leaf, [OTHER, *proof], root),
        (size, size, leaf, proof, root),
        (-1, size, leaf, proof, root),
        (index, size, leaf[:31], proof, root),
    ]
    changed += [(index, size, leaf, [*proof[:k], OTHER, *proof[k + 1 :]], root) for k in range(len(proof))]
    changed += [(other, size, leaf, proof, root) for other in {index - 1, index + 1, index ^ 2} if 0 <= other < size]
    if proof:
        changed += [(index, size, leaf, proof[:-1], root), (index, size, leaf, proof[1:], root)]
    for place, total, hashed, path, top in changed:
        with pytest.raises(LogError, match="inclusion of entry"):
            verify_inclusion(place, total, leaf=hashed, proof=path, root=top)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 600), st.data())
def test_every_change_of_a_consistency_proof_is_refused(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    tree = grown([leaf_hash(k.to_bytes(4, "big")) for k in range(size)]).tree()
    proof, before, after = tree.consistency_proof(old), tree.root(old), tree.root()
    verify_consistency(old, size, old_root=before, new_root=after, proof=proof)
    changed = [
        (old, size, OTHER, after, proof),
        (old, size, before, OTHER, proof),
        (old, size, before, after, [*proof, OTHER]),
        (old, size, before, after, [OTHER, *proof]),
        (size + 1, size, before, after, proof),
        (old, size, before[:31], after, proof),
    ]
    changed += [(old, size, before, after, [*proof[:k], OTHER, *proof[k + 1 :]]) for k in range(len(proof))]
    if old != size:
        changed += [(old, size, after, before, proof), (old, size, before, after, proof[:-1])]
        changed += [(old, size, before, after, [])]
    for first, second, one, other, path in changed:
        with pytest.raises(LogError, match="consistency of"):
            verify_consistency(first, second, old_root=one, new_root=other, proof=path)


def test_an_empty_tree_is_the_beginning_of_any() -> None:
    verify_consistency(0, 0, old_root=EMPTY_ROOT, new_root=EMPTY_ROOT, proof=[])
    verify_consistency(0, 8, old_root=EMPTY_ROOT, new_root=ROOTS[8], proof=[])
    with pytest.raises(LogError, match="two roots"):
        verify_consistency(0, 8, old_root=OTHER, new_root=ROOTS[8], proof=[])
    with pytest.raises(LogError, match="expected no proof"):
        verify_consistency(0, 8, old_root=EMPTY_ROOT, new_root=ROOTS[8], proof=[OTHER])


def test_what_is_outside_the_tree_is_refused() -> None:
    tree = grown([leaf_hash(entry) for entry in ENTRIES]).tree()
    asked = [
        lambda: tree.leaf(8),
        lambda: tree.root(9),
        lambda: tree.inclusion_proof(8),
        lambda: tree.inclusion_proof(3, 9),
        lambda: tree.consistency_proof(9),
        lambda: tree.consistency_proof(3, 9),
    ]
    for ask in asked:
        with pytest.raises(LogError, match="expected"):
            ask()
    assert tree.consistency_proof(0) == tree.consistency_proof(8) == []


def test_a_tile_that_was_cut_is_refused() -> None:
    memory = grown([leaf_hash(entry) for entry in ENTRIES])
    memory.tiles[0, 0] = memory.tiles[0, 0][:-1]
    with pytest.raises(LogError, match=r"tile 0/0: expected 8 hashes"):
        memory.tree().root()


def test_a_tree_of_70000_has_the_tiles_of_the_specification() -> None:
    # C2SP tlog-tiles, "Partial Tiles": 273 whole tiles and one of 112; one whole and one of 17; one of 1.
    memory = grown([leaf_hash(k.to_bytes(4, "big")) for k in range(70_000)])
    assert list(partial_tiles(70_000)) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]
    widths = {key: len(hashes) // HASH_BYTES for key, hashes in memory.tiles.items()}
    assert widths == {key: tile_width(*key, 70_000) for key in memory.tiles}
    assert sum(level == 0 for level, _ in widths) == 274
    assert list(partial_tiles(256)) == [(1, 0, 1)]
    assert tile_width(0, 274, 70_000) == 0


def test_the_cache_of_tiles_is_bounded_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = [leaf_hash(k.to_bytes(4, "big")) for k in range(2000)]
    memory = grown(leaves)
    monkeypatch.setattr("hansa.audit.merkle._CACHED_TILES", 2)
    tree = memory.tree()
    for index in (0, 600, 1999, 0, 0):
        verify_inclusion(index, 2000, leaf=leaves[index], proof=tree.inclusion_proof(index), root=tree.root())
    assert len(tree._nodes) == 2
    memory.append([OTHER])
    tree.grow(2001)
    assert tree.root() == tamperlog.merkle_root([*leaves, OTHER])
