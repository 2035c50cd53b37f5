"""Canonical JSON: one byte string for one value, so that a digest or a signature means the same to everybody.

Guarantees: equal values give equal bytes; object keys sorted by UTF-16 code units; numbers written as ECMAScript
writes them; no whitespace. `strict_json` reads only what every parser reads alike: two equal keys in one object, of
which parsers take the first, the last or neither, are refused, and so are NaN and numbers beyond a double.
Does NOT guarantee anything for integers beyond 2^53, which are refused.
Source: RFC 8785 (JSON Canonicalization Scheme).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

from hansa.errors import ConfigurationError

_EXPECTED = "expected null, bool, number, string, list or object with string keys"
_SAFE_INTEGER = 2**53


def canonical(value: object) -> bytes:
    """Return the canonical UTF-8 bytes of a JSON value.

    Raises:
        ConfigurationError: The value is no JSON value, a number is not finite, an integer is beyond 2^53 or a
            string is not Unicode text.

    >>> canonical({"b": 1e-7, "a": [1.0, True, None]})
    b'{"a":[1,true,null],"b":1e-7}'
    """
    try:
        return _write(value).encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError("a string with half a surrogate pair is no text; correct it") from error
    except RecursionError as error:
        raise ConfigurationError("lists and objects are nested too deeply; make it flatter") from error


def strict_json(data: bytes, *, what: str) -> object:
    """Return the JSON value that bytes hold, if no two parsers can read them differently.

    Args:
        data: UTF-8 text, canonical or not.
        what: What it is, for the message.

    Raises:
        ConfigurationError: It is not JSON, an object has a key twice, a number is not finite or the nesting too deep.
    """

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in pairs:
            if name in found:
                raise ConfigurationError(f"{what}: the field {name[:60]!r} stands twice in one object; remove one")
            found[name] = value
        return found

    def finite(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise ConfigurationError(f"{what}: the number {text[:60]} is not finite; correct it")
        return number

    def integer(text: str) -> int | float:
        number = finite(text)  # first: it bounds the digits that an integer is made of
        return int(text) if abs(number) <= _SAFE_INTEGER else number

    try:
        value: object = json.loads(
            data.decode(), object_pairs_hook=unique, parse_float=finite, parse_int=integer, parse_constant=finite
        )
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{what}: not JSON: {str(error)[:200]}") from error
    return value


def _write(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        if abs(value) > _SAFE_INTEGER:
            raise ConfigurationError(f"integer {value} is beyond 2^53; write it as a string")
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ConfigurationError(f"{_EXPECTED}; got a key that is no string")
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{_write(key)}:{_write(value[key])}" for key in keys) + "}"
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return "[" + ",".join(_write(item) for item in value) + "]"
    raise ConfigurationError(f"{_EXPECTED}; got {type(value).__name__}")


def _number(value: float) -> str:
    """Write a float as ECMAScript's Number::toString does (shortest digits that read back the same)."""
    if not math.isfinite(value):
        raise ConfigurationError("a number must be finite")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    point = len(digits) + int(exponent)  # decimal point's place counted from the first digit
    minus = "-" if sign else ""
    if len(text) <= point <= 21:
        return minus + text + "0" * (point - len(text))
    if 0 < point <= 21:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    fraction = f".{text[1:]}" if len(text) > 1 else ""
    return f"{minus}{text[0]}{fraction}e{'+' if point > 0 else '-'}{abs(point - 1)}"
