"""Claims about canonical JSON."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.crypto.canonical import canonical, strict_json
from hansa.errors import ConfigurationError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "canonical.json").read_text())
NUMBERS = VECTORS["numbers_of_rfc_8785_appendix_b"]
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize("bits", sorted(NUMBERS))
def test_numbers_are_written_as_ecmascript_writes_them(bits: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(value).decode() == NUMBERS[bits]


@pytest.mark.parametrize("claim", sorted(VECTORS["documents"]))
def test_documents_have_their_published_bytes(claim: str) -> None:
    vector = VECTORS["documents"][claim]
    assert canonical(json.loads(vector["value"])).decode() == vector["canonical"]


@settings(max_examples=50)
@given(values)
def test_canonical_bytes_read_back_as_the_same_value(value: object) -> None:
    again = json.loads(canonical(value), parse_int=float)
    assert again == value
    assert canonical(again) == canonical(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_shortest_digits_read_back_as_the_same_number(value: float) -> None:
    text = canonical(value).decode()
    assert float(text) == value
    assert len(text.lstrip("-")) <= 25


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), st.integers(0, 9), max_size=8))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert canonical(dict(reversed(value.items()))) == canonical(value)


def test_nesting_without_end_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        canonical(value)


@pytest.mark.parametrize("claim", sorted(VECTORS["documents"]))
def test_strict_json_reads_what_canonical_writes(claim: str) -> None:
    text = VECTORS["documents"][claim]["canonical"].encode()
    assert canonical(strict_json(text, what="vector")) == text


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a":1,"b":{"c":1,"c":1}}', "thing: the field 'c' stands twice"),
        (b'{"a":1,"\\u0061":1}', "'a' stands twice"),
        (b"[NaN]", "NaN is not finite"),
        (b"[-1e999]", "-1e999 is not finite"),
        (b"[1" + 5000 * b"0" + b"]", "not finite"),
        (b"\xff", "not JSON"),
        (b"", "not JSON"),
        (100_000 * b"[", "not JSON"),
        (100_000 * b'{"a":', "not JSON"),
    ],
)
def test_what_parsers_read_differently_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        strict_json(data, what="thing")


def test_tuples_are_lists() -> None:
    assert canonical({"a": (1, 2)}) == b'{"a":[1,2]}'


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "finite"),
        (math.inf, "finite"),
        ([-math.inf], "finite"),
        (2**53 + 1, "2\\^53"),
        (-(2**60), "2\\^53"),
        (b"bytes", "bytes"),
        ({1: 2}, "no string"),
        ({"a": {1, 2}}, "set"),
        (object(), "object"),
        ("\ud800", "surrogate"),
        ({"\udc00": 1}, "surrogate"),
    ],
)
def test_what_is_no_json_is_refused(value: object, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        canonical(value)
