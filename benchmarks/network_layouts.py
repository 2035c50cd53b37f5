"""Ways to lay out a local epoch of the residual network in JAX on a processor; the shipped one is the last.

    python benchmarks/network_layouts.py [--cores 1] [--rounds 3] [--steps 10]

| part | ways |
|---|---|
| days | `at once`: vmap over days; `in turn`: scan, the clipped gradient added up |
| graph | `einsum`: a contraction over baskets; `sum`: products summed over baskets in one pass |
| convolution | `lax`: grouped `conv_general_dilated`; `shifts`: three shifted products |

The arrays are those of `network_step.py`. Each way runs in a process of its own, all in turn; the figure is the median
of the rounds' medians. Every way must give the shipped sum, to single precision.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import jax
import jax.numpy as jnp
import numpy as np

from hansa.model import network, training
from hansa.model.network import NetworkShape, initial_parameters
from hansa.model.training import block_updates
from network_round import BASKETS, FEATURES, batch

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPE: Final = NetworkShape(BASKETS, FEATURES)
CLIP: Final = 0.05
WAYS: Final = tuple(itertools.product(("at once", "in turn"), ("einsum", "sum"), ("lax", "shifts")))


def mix_by_einsum(weights: dict[str, jax.Array], hidden: jax.Array, spillover: jax.Array) -> jax.Array:
    share = jax.nn.sigmoid(weights["graph_gate"])
    learned = jax.nn.softmax(jax.nn.softplus(weights["graph_source"] @ weights["graph_sink"].T), axis=1)
    around = jnp.einsum("ij,tjw->tiw", (1 - share) * spillover + share * learned, hidden)
    joined = jnp.concatenate([hidden, around], axis=2)
    return network._glu(joined @ weights["graph_glu"] + weights["graph_glu_bias"])  # noqa: SLF001 - the measured code


def convolve_by_lax(weights: dict[str, jax.Array], hidden: jax.Array, dilation: int) -> jax.Array:
    name, width = f"conv_{dilation}", hidden.shape[2]
    taps = weights[f"{name}_taps"]
    mixed = jax.lax.conv_general_dilated(
        hidden.transpose(1, 0, 2),
        taps[:, None, :],
        (1,),
        [((taps.shape[0] - 1) * dilation, 0)],
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
        feature_group_count=width,
    ).transpose(1, 0, 2)
    gated = network._glu(mixed @ weights[f"{name}_glu"] + weights[f"{name}_glu_bias"])  # noqa: SLF001 - likewise
    centred = gated - gated.mean(axis=-1, keepdims=True)
    normed = centred * jax.lax.rsqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-3)
    return hidden + normed * weights[f"{name}_norm_gain"] + weights[f"{name}_norm_bias"]


@partial(jax.jit, static_argnums=4)
def sum_at_once(
    vector: jax.Array, days: tuple[jax.Array, ...], spillover: jax.Array, clip: jax.Array, shape: NetworkShape
) -> tuple[jax.Array, jax.Array]:
    one = jax.grad(training._day_loss)  # noqa: SLF001 - likewise
    gradients = jax.vmap(lambda day: one(vector, day, spillover, shape))(days)
    norms = jnp.linalg.norm(gradients, axis=1)
    return jnp.minimum(1.0, clip / jnp.maximum(norms, 1e-30)) @ gradients, norms


def measure(way: Sequence[str], steps: int) -> None:
    """Measure one way in this process."""
    blocks = batch()
    noise = np.random.default_rng(2).standard_normal(initial_parameters(SHAPE, 1).size)
    parameters = initial_parameters(SHAPE, 1) + 0.05 * noise
    shipped = block_updates(SHAPE, parameters, blocks, clip=CLIP)
    jax.clear_caches()
    days, graph, convolution = way
    if graph == "einsum":
        network._mix = mix_by_einsum  # noqa: SLF001 - likewise
    if convolution == "lax":
        network._convolve = convolve_by_lax  # noqa: SLF001 - likewise
    if days == "at once":
        training._clipped_sum = sum_at_once  # type: ignore[assignment] # noqa: SLF001 - likewise
    found = block_updates(SHAPE, parameters, blocks, clip=CLIP)
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        found = block_updates(SHAPE, parameters, blocks, clip=CLIP)
        seconds.append(time.perf_counter() - begin)
    error = float(np.linalg.norm(found - shipped) / np.linalg.norm(shipped))
    print(json.dumps({"seconds": statistics.median(seconds), "error": error}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--way", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        measure(asked.way, asked.steps)
        return
    cores = sorted(os.sched_getaffinity(0))[: asked.cores]
    found: dict[tuple[str, ...], list[float]] = {way: [] for way in WAYS}
    for _, way in itertools.product(range(asked.rounds), WAYS):
        command = [sys.executable, __file__, "--steps", str(asked.steps), "--way", *way]
        done = subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(len(cores))},
            preexec_fn=partial(os.sched_setaffinity, 0, cores),
        )
        one = json.loads(done.stdout)
        if one["error"] > 1e-5:
            raise SystemExit(f"{', '.join(way)}: differs from the shipped sum by {one['error']:.1e} of its norm")
        found[way].append(one["seconds"])
    print(f"{len(cores)} cores\n\n| days | graph | convolution | seconds an epoch |\n|---|---|---|---|")
    for way, seconds in found.items():
        print(f"| {' | '.join(way)} | {statistics.median(seconds):.3f} |")


if __name__ == "__main__":
    main()
