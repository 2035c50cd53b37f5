"""Point in time: a past bar's number computed again is the same number, and here is how anybody checks it.

```
inputs   SHA-256 over the rule (canonical JSON) and every value up to the bar (little-endian float64, NaN as one NaN)
output   SHA-256 over the value at the bar
```
Two who hold equal inputs must hold equal outputs. `first_look_ahead` computes a series again from what was known at a
bar: a number that changes when the future is cut off has looked ahead.

Guarantees: equal bytes for equal values on every machine of one floating-point standard. Does NOT guarantee: equal last
bits between different builds of the numerical libraries; an auditor with another build compares to 1e-9 instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from hansa.errors import ModelError
from hansa.model.lsi import stress_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from jaxtyping import Float, Int

    from hansa.model.lsi import IndexRule

    Series = Callable[[Float[np.ndarray, "time measure"]], Float[np.ndarray, " time"]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a number was made of.

    Attributes:
        inputs: SHA-256 of the rule and every input up to the bar, hexadecimal.
        output: SHA-256 of the value, hexadecimal.
        value: The value; NaN where there is none.
    """

    inputs: str
    output: str
    value: float


def index_evidence(
    state: Float[np.ndarray, "time measure"],
    slot: Int[np.ndarray, " time"],
    rule: IndexRule,
    bar: int,
    *,
    value: float | None = None,
) -> Evidence:
    """Return the evidence of the index at a bar.

    Args:
        state: Published log measures, at least up to the bar.
        slot: Slot of the day of each bar.
        rule: The published rule.
        bar: Number of the bar.
        value: The value that was published; computed again from the inputs where it is not given.

    Raises:
        ModelError: There is no such bar, or the rule does not fit.
    """
    if not 0 <= bar < state.shape[0]:
        raise ModelError(f"expected a bar of the {state.shape[0]} there are; got {bar}")
    known, slots = state[: bar + 1], slot[: bar + 1]
    found = float(stress_index(known, slots, rule)[bar]) if value is None else value
    return Evidence(inputs_digest(known, slots, rule), value_digest(found), found)


def inputs_digest(state: Float[np.ndarray, "time measure"], slot: Int[np.ndarray, " time"], rule: IndexRule) -> str:
    """Return SHA-256 of a rule and the values that it is applied to."""
    digest = hashlib.sha256(b"hansa/index/1")
    digest.update(rule_text(rule).encode())
    digest.update(np.asarray(state.shape, dtype="<i8").tobytes())
    digest.update(_bytes(state))
    digest.update(np.asarray(slot, dtype="<i8").tobytes())
    return digest.hexdigest()


def rule_text(rule: IndexRule) -> str:
    """Return a rule as one line that is the same for everybody: fields by name, numbers as Python writes them."""
    return ";".join(f"{name}={value!r}" for name, value in sorted(asdict(rule).items()))


def value_digest(value: float) -> str:
    """Return SHA-256 of a value, hexadecimal."""
    return hashlib.sha256(b"hansa/value/1" + _bytes(np.array([value]))).hexdigest()


def first_look_ahead(series: Series, state: Float[np.ndarray, "time measure"], bars: Iterable[int]) -> int | None:
    """Return the first bar whose value changes when the future is not there yet; None where none does.

    Args:
        series: Computes one value a bar from measures.
        state: Measures, shape (time, measure).
        bars: Bars to look at.
    """
    whole = series(state)
    for bar in bars:
        then = series(state[: bar + 1])[bar]
        if not (then == whole[bar] or (np.isnan(then) and np.isnan(whole[bar]))):
            return int(bar)
    return None


def _bytes(values: Float[np.ndarray, " *shape"]) -> bytes:
    plain = np.ascontiguousarray(values, dtype="<f8").copy()
    plain[np.isnan(plain)] = np.nan  # there are many NaNs: one stands for all
    return (plain + 0.0).tobytes()  # and minus zero is zero
