"""Mutations that keep an input's form: of MessagePack and JSON trees, and of the lengths that headers claim.

Plain byte flips seldom get past a parser; these take a valid tree apart and put it together wrong: other types,
numbers at their edges, missing, doubled and unknown fields, deep nesting. Every choice is a function of the seed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec

from hansa.crypto.canonical import canonical
from hansa.errors import HansaError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

Tree = object
SCALARS: tuple[object, ...] = (
    None, True, 0, 1, -1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 0.0, -0.0, 0.1, 1e308, 5e-324,
    "", "a", "m00", "\x00", "a" * 41, "\u00e9", "\U0001f600", "9" * 30, [], {}, [[]], [{}], {"": 0},
)  # fmt: skip
TEXTS = (b"NaN", b"-Infinity", b"1e400", b"1" + 400 * b"0", b'"\\ud800"', b"{", b"[", b'"', b",", b":", b"\\", b"\xff")
LYING_HEADERS = (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff")
DEPTHS = (2, 40, 600, 3000)


def mutate_msgpack(data: bytes, rng: np.random.Generator) -> bytes:
    """Return MessagePack near `data`; as it is where `data` is none."""
    if rng.random() < 0.1:
        return _splice(data, LYING_HEADERS[rng.integers(len(LYING_HEADERS))], rng)
    return _mutate(data, rng, msgspec.msgpack.decode, msgspec.msgpack.encode, opener=b"\x91", binary=True)


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    """Return JSON near `data`, in canonical form where it has one."""
    if rng.random() < 0.15:
        return _splice(data, TEXTS[rng.integers(len(TEXTS))], rng)
    return _mutate(data, rng, json.loads, _json_bytes, opener=b"[", binary=False)


def mutate_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Return text near `data`: lines doubled, dropped or swapped, words spliced in."""
    if rng.random() < 0.5:
        return _splice(data, TEXTS[rng.integers(len(TEXTS))], rng)
    lines = data.splitlines(keepends=True) or [b""]
    one, other = rng.integers(len(lines), size=2)
    choice = rng.integers(3)
    if choice == 0:
        lines.insert(one, lines[other])
    elif choice == 1:
        del lines[one]
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def _mutate(
    data: bytes,
    rng: np.random.Generator,
    read: Callable[[bytes], Tree],
    write: Callable[[Tree], bytes],
    *,
    opener: bytes,
    binary: bool,
) -> bytes:
    if rng.random() < 0.01:
        return opener * int(DEPTHS[rng.integers(len(DEPTHS))]) + data
    try:
        tree = read(data)
        for _ in range(1 + int(rng.integers(3))):
            tree = _changed(tree, rng, binary=binary)
        return write(tree)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError):
        return data


def _changed(tree: Tree, rng: np.random.Generator, *, binary: bool) -> Tree:
    """Change one node: descend with a chance at each level, then replace, drop, double, rename or add."""
    if isinstance(tree, dict) and tree and rng.random() < 0.85:
        return _changed_object(tree, rng, binary=binary)
    if isinstance(tree, list) and tree and rng.random() < 0.85:
        return _changed_list(tree, rng, binary=binary)
    return _other(tree, rng, binary=binary)


def _changed_object(tree: dict[object, Tree], rng: np.random.Generator, *, binary: bool) -> Tree:
    keys = list(tree)
    key, choice = keys[rng.integers(len(keys))], rng.integers(8)
    if choice == 0:
        return {name: value for name, value in tree.items() if name != key}
    if choice == 1:
        return tree | {"unknown": tree[key]}
    if choice == 2:
        return {("m0" if name == key else name): value for name, value in tree.items()}
    return tree | {key: _changed(tree[key], rng, binary=binary)}


def _changed_list(tree: list[Tree], rng: np.random.Generator, *, binary: bool) -> Tree:
    place, choice = int(rng.integers(len(tree))), rng.integers(8)
    if choice == 0:
        return tree[:place] + tree[place + 1 :]
    if choice == 1:
        return tree + tree[place : place + 1]
    if choice == 2:
        return tree[::-1]
    return [*tree[:place], _changed(tree[place], rng, binary=binary), *tree[place + 1 :]]


def _other(value: Tree, rng: np.random.Generator, *, binary: bool) -> Tree:
    choice = rng.integers(4)
    if choice == 0 and isinstance(value, int | float) and not isinstance(value, bool):
        return value + int(rng.integers(-2, 3))
    if choice <= 1 and isinstance(value, bytes):
        return _splice(value, rng.bytes(int(rng.integers(1, 5))), rng)
    if choice <= 1 and isinstance(value, str):
        return value + chr(int(rng.integers(0x20, 0x250)))
    if choice == 2 and binary:
        return rng.bytes(int((0, 1, 31, 32, 33, 64, 400)[rng.integers(7)]))
    return SCALARS[rng.integers(len(SCALARS))]


def _splice(data: bytes, piece: bytes, rng: np.random.Generator) -> bytes:
    start = int(rng.integers(len(data) + 1))
    return data[:start] + piece + data[start + int(rng.integers(len(piece) + 2)) :]


def _json_bytes(tree: Tree) -> bytes:
    try:
        return canonical(tree)
    except HansaError:
        return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode(errors="surrogatepass")
