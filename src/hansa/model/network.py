"""GHAR-Res: a small convolutional residual on top of the linear core, one flat vector of parameters.

    h   = [inputs | node embedding | time of day] enter                     (bar, basket, width)
    3 x   h <- h + LayerNorm( GLU( depthwise causal conv_k3(h) ) ),         dilations 1, 4, 16: 43 bars of past
    A   = (1 - g) W + g softmax(softplus(E1 E2ᵀ)),   h <- GLU([h, A h])     one hop over baskets
    r   = out( silu(head h) ),   out zero at round 0
    q   = linear + r_median -+ cumulative softplus steps                    (.05, .25, .5, .75, .95), never crossing

All values are in scaled units of the label. At round 0 the median is the linear core exactly, and the other quantiles
stand where those of a normal error of deviation `START_DEVIATION` do. A vector of parameters holds the arrays of
`layout` one after another, each row by row; `schema_hash` binds the layout, so that no member trains another network.

Guarantees: causal: the output at a bar depends on inputs at bars <= it. Activations are smooth and no layer normalises
over examples: a day's gradient depends on that day's window alone.

Does NOT guarantee: that the residual helps; see `training.choose_gate`.

Source: HARNet, arXiv:2205.07719 (zero-initialised residual); Wu et al., Graph WaveNet, IJCAI 2019 (learned graph);
Dauphin et al., ICML 2017 (GLU); Fowl et al., ICLR 2022 (why no first layer of ReLU).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import jax
import jax.numpy as jnp
import numpy as np

from hansa.errors import ModelError
from hansa.model.design import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float

WARM_UP_BARS: Final = 72
CLOCK_FEATURES: Final = 4
DILATIONS: Final = (1, 4, 16)
START_DEVIATION: Final = 0.6
HEAD: Final = ("head", "head_bias", "out", "out_bias")
"""The last arrays of the layout, which turn hidden states into quantiles; a member may have its own."""
_TAPS: Final = 3
_WINDOWS_AT_ONCE: Final = 4
# Distances between neighbouring quantiles of a normal distribution: .5 to .75, and .75 to .95.
_NORMAL_STEPS: Final = (0.67449, 0.97036)


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """Sizes that fix the layout.

    Attributes:
        baskets: Baskets forecast together.
        features: Inputs of a basket at a bar, see `stack_inputs`.
        width: Channels.
        embedding: Length of the vectors that identify a basket.
    """

    baskets: int
    features: int
    width: int = 32
    embedding: int = 8


def layout(shape: NetworkShape) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return name and shape of each array, in the order of the flat vector."""
    width, node = shape.width, (shape.baskets, shape.embedding)
    entering = shape.features + shape.embedding + CLOCK_FEATURES
    rows: list[tuple[str, tuple[int, ...]]] = [("node", node), ("enter", (entering, width)), ("enter_bias", (width,))]
    for dilation in DILATIONS:
        rows += [
            (f"conv_{dilation}_taps", (_TAPS, width)),
            (f"conv_{dilation}_glu", (width, 2 * width)),
            (f"conv_{dilation}_glu_bias", (2 * width,)),
            (f"conv_{dilation}_norm_gain", (width,)),
            (f"conv_{dilation}_norm_bias", (width,)),
        ]
    rows += [
        ("graph_source", node),
        ("graph_sink", node),
        ("graph_gate", (1,)),
        ("graph_glu", (2 * width, 2 * width)),
        ("graph_glu_bias", (2 * width,)),
        ("head", (width, width)),
        ("head_bias", (width,)),
        ("out", (width, len(QUANTILES))),
        ("out_bias", (len(QUANTILES),)),
    ]
    return tuple(rows)


def parameter_count(shape: NetworkShape) -> int:
    """Return the length of the flat vector."""
    return sum(int(np.prod(size)) for _, size in layout(shape))


def head_length(shape: NetworkShape) -> int:
    """Return the length of the head, the end of the flat vector."""
    return sum(int(np.prod(size)) for name, size in layout(shape) if name in HEAD)


def schema_hash(shape: NetworkShape) -> str:
    """Return the SHA-256 (hex) of sizes, layout, quantiles and dilations: equal hashes, equal networks."""
    described = {"shape": asdict(shape), "layout": layout(shape), "quantiles": QUANTILES, "dilations": DILATIONS}
    return hashlib.sha256(json.dumps(described, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def initial_parameters(shape: NetworkShape, seed: int) -> Float[np.ndarray, " param"]:
    """Draw the parameters of round 0: everybody with the same seed has the same bytes.

    Matrices are normal with deviation 1 / sqrt(rows); gains are 1; biases and the last layer are 0.
    """
    generator = np.random.default_rng(seed)
    parts = []
    for name, size in layout(shape):
        if name.endswith("gain"):
            parts.append(np.ones(size))
        elif len(size) == 1 or name == "out":
            parts.append(np.zeros(size))
        else:
            parts.append(generator.standard_normal(size) / np.sqrt(size[0]))
    return np.concatenate([part.ravel() for part in parts])


def ravel(arrays: dict[str, Float[np.ndarray, ...]], shape: NetworkShape) -> Float[np.ndarray, " param"]:
    """Join named arrays into the flat vector.

    Raises:
        ModelError: A name is missing or an array has another shape.
    """
    for name, size in layout(shape):
        if name not in arrays or arrays[name].shape != size:
            got = arrays[name].shape if name in arrays else "nothing"
            raise ModelError(f"expected parameter {name} of shape {size}, got {got}")
    return np.concatenate([np.asarray(arrays[name], dtype=np.float64).ravel() for name, _ in layout(shape)])


def unravel(vector: Float[np.ndarray, " param"], shape: NetworkShape) -> dict[str, Float[np.ndarray, ...]]:
    """Split the flat vector into named arrays.

    Raises:
        ModelError: The length is wrong.
    """
    if vector.shape != (parameter_count(shape),):
        raise ModelError(f"expected {parameter_count(shape)} parameters, got shape {vector.shape}")
    parts, start = {}, 0
    for name, size in layout(shape):
        length = int(np.prod(size))
        parts[name] = vector[start : start + length].reshape(size)
        start += length
    return parts


def stack_inputs(
    current: Float[np.ndarray, "time basket column"], linear: Float[np.ndarray, "time basket"]
) -> Float[np.ndarray, "time basket feature"]:
    """Join the scaled measures of the bar itself (`design.current_columns`) and the linear forecast, clipped to 8."""
    return np.asarray(np.clip(np.concatenate([current, linear[:, :, None]], axis=2), -8.0, 8.0))


def quantile_offsets(
    vector: Float[jax.Array, " param"],
    inputs: Float[jax.Array, "bar basket feature"],
    clock: Float[jax.Array, "bar clock"],
    spillover: Float[jax.Array, "basket basket"],
    shape: NetworkShape,
) -> Float[jax.Array, "bar basket quantile"]:
    """Compute the quantiles minus the linear forecast over one window; traceable by JAX.

    Args:
        vector: Flat parameters.
        inputs: From `stack_inputs`, one window.
        clock: Harmonics of the time of day.
        spillover: W, rows sum to 1 or 0.
        shape: Sizes.

    Returns:
        Ascending offsets at each bar and basket, scaled units.
    """
    hidden = hidden_states(vector, inputs, clock, spillover, shape)
    return head_offsets(vector[vector.shape[0] - head_length(shape) :], hidden, shape)


def hidden_states(
    vector: Float[jax.Array, " param"],
    inputs: Float[jax.Array, "bar basket feature"],
    clock: Float[jax.Array, "bar clock"],
    spillover: Float[jax.Array, "basket basket"],
    shape: NetworkShape,
) -> Float[jax.Array, "bar basket width"]:
    """Compute what the head reads: everything before it; traceable by JAX. Arguments as `quantile_offsets` has them."""
    weights = _split(vector, layout(shape))
    hidden = _enter(weights, inputs, clock)
    for dilation in DILATIONS:
        hidden = _convolve(weights, hidden, dilation)
    return _mix(weights, hidden, spillover)


def head_offsets(
    head: Float[jax.Array, " value"], hidden: Float[jax.Array, "*axes width"], shape: NetworkShape
) -> Float[jax.Array, "*axes quantile"]:
    """Compute the quantiles minus the linear forecast from hidden states; traceable by JAX.

    Args:
        head: The end of a flat vector, `head_length` values.
        hidden: From `hidden_states`, any leading axes.
        shape: Sizes.
    """
    weights = _split(head, [row for row in layout(shape) if row[0] in HEAD])
    read = jax.nn.silu(hidden @ weights["head"] + weights["head_bias"])
    return _ascend(read @ weights["out"] + weights["out_bias"])


def predict_offsets(
    shape: NetworkShape,
    vector: Float[np.ndarray, " param"],
    inputs: Float[np.ndarray, "time basket feature"],
    clock: Float[np.ndarray, "time clock"],
    spillover: Float[np.ndarray, "basket basket"],
    *,
    window_bars: int = 288,
) -> Float[np.ndarray, "time basket quantile"]:
    """Compute the offsets at every bar of a series, window by window with warm-up; compiled once for all lengths.

    Args:
        shape: Sizes.
        vector: Flat parameters.
        inputs: From `stack_inputs`.
        clock: Harmonics of the time of day.
        spillover: W.
        window_bars: Bars of a window without its warm-up.

    Raises:
        ModelError: Shapes disagree with `shape`.
    """
    bars = inputs.shape[0]
    if vector.shape != (parameter_count(shape),) or inputs.shape[1:] != (shape.baskets, shape.features):
        raise ModelError(
            f"expected {parameter_count(shape)} parameters and inputs (time, {shape.baskets}, {shape.features}), "
            f"got {vector.shape} and {inputs.shape}"
        )
    full = window_bars * _WINDOWS_AT_ONCE
    after = -bars % full
    padded = np.pad(inputs, ((WARM_UP_BARS, after), (0, 0), (0, 0))).astype(np.float32)
    times = np.pad(clock, ((WARM_UP_BARS, after), (0, 0))).astype(np.float32)
    length = WARM_UP_BARS + window_bars
    parts = []
    for begin in range(0, bars + after, full):
        starts = range(begin, begin + full, window_bars)
        parts.append(
            _windows(
                vector.astype(np.float32),
                np.stack([padded[start : start + length] for start in starts]),
                np.stack([times[start : start + length] for start in starts]),
                spillover.astype(np.float32),
                shape,
            )
        )
    joined = np.concatenate([np.asarray(part)[:, WARM_UP_BARS:] for part in parts])
    return joined.reshape(-1, shape.baskets, len(QUANTILES))[:bars].astype(np.float64)


def enable_compilation_cache(directory: Path) -> None:
    """Keep compiled programs in a directory, so that the next process need not compile.

    Args:
        directory: Created if absent; trust it as you trust the code.
    """
    settings = {
        "jax_compilation_cache_dir": str(directory),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)  # type: ignore[no-untyped-call]


@partial(jax.jit, static_argnums=4)
def _windows(
    vector: Float[jax.Array, " param"],
    inputs: Float[jax.Array, "window bar basket feature"],
    clock: Float[jax.Array, "window bar clock"],
    spillover: Float[jax.Array, "basket basket"],
    shape: NetworkShape,
) -> Float[jax.Array, "window bar basket quantile"]:
    return jax.vmap(lambda one, time: quantile_offsets(vector, one, time, spillover, shape))(inputs, clock)


def _split(vector: Float[jax.Array, " param"], rows: Sequence[tuple[str, tuple[int, ...]]]) -> dict[str, jax.Array]:
    edges = np.cumsum([int(np.prod(size)) for _, size in rows])[:-1].tolist()
    return {name: part.reshape(size) for (name, size), part in zip(rows, jnp.split(vector, edges), strict=True)}


def _enter(
    weights: dict[str, jax.Array], inputs: Float[jax.Array, "bar basket feature"], clock: Float[jax.Array, "bar clock"]
) -> Float[jax.Array, "bar basket width"]:
    bars, baskets, _ = inputs.shape
    nodes = jnp.broadcast_to(weights["node"], (bars, *weights["node"].shape))
    times = jnp.broadcast_to(clock[:, None, :], (bars, baskets, CLOCK_FEATURES))
    return jnp.concatenate([inputs, nodes, times], axis=2) @ weights["enter"] + weights["enter_bias"]


def _convolve(
    weights: dict[str, jax.Array], hidden: Float[jax.Array, "bar basket width"], dilation: int
) -> Float[jax.Array, "bar basket width"]:
    taps = weights[f"conv_{dilation}_taps"]
    past = (_TAPS - 1) * dilation
    padded = jnp.pad(hidden, ((past, 0), (0, 0), (0, 0)))
    bars = hidden.shape[0]
    mixed = sum(padded[tap * dilation : tap * dilation + bars] * taps[tap] for tap in range(_TAPS))
    gated = _glu(mixed @ weights[f"conv_{dilation}_glu"] + weights[f"conv_{dilation}_glu_bias"])
    centred = gated - gated.mean(axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3)
    return hidden + normed * weights[f"conv_{dilation}_norm_gain"] + weights[f"conv_{dilation}_norm_bias"]


def _mix(
    weights: dict[str, jax.Array],
    hidden: Float[jax.Array, "bar basket width"],
    spillover: Float[jax.Array, "basket basket"],
) -> Float[jax.Array, "bar basket width"]:
    share = jax.nn.sigmoid(weights["graph_gate"])
    learned = jax.nn.softmax(jax.nn.softplus(weights["graph_source"] @ weights["graph_sink"].T), axis=1)
    graph = (1 - share) * spillover + share * learned
    around = (graph[None, :, :, None] * hidden[:, None]).sum(axis=2)  # one fused pass; einsum transposes first
    return _glu(jnp.concatenate([hidden, around], axis=2) @ weights["graph_glu"] + weights["graph_glu_bias"])


def _glu(doubled: Float[jax.Array, "*axes double"]) -> Float[jax.Array, "*axes single"]:
    value, gate = jnp.split(doubled, 2, axis=-1)
    return value * jax.nn.sigmoid(gate)


def _ascend(raw: Float[jax.Array, "*axes quantile"]) -> Float[jax.Array, "*axes quantile"]:
    near, far = (float(np.log(np.expm1(START_DEVIATION * step))) for step in _NORMAL_STEPS)
    median = raw[..., 2]
    low = median - jax.nn.softplus(raw[..., 1] + near)
    high = median + jax.nn.softplus(raw[..., 3] + near)
    lowest = low - jax.nn.softplus(raw[..., 0] + far)
    highest = high + jax.nn.softplus(raw[..., 4] + far)
    return jnp.stack([lowest, low, median, high, highest], axis=-1)
