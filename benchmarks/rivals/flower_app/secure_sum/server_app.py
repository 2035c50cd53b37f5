"""The server's side: rounds of Flower's `SecAggPlusWorkflow`, each from its start to its aggregate under the clock.

The workflow is Flower's own; the subclass reads the clock around its four stages and changes nothing in them. The model
that Flower sends to every client with the third stage is one number here, so that the figure is that of the secure sum.

Encoding: values in [-32768, 32767], clipping range 32768 and Flower's own range of 2^22 make a step of 1/64: integers
are quantised without loss, and five of them stay below the modulus of 2^32.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import ArrayRecord
from flwr.common import ndarrays_to_parameters
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import ServerApp

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid

PARAMETERS = "parameters"
CLIPPING_RANGE = 32768.0
STAGES = ("setup", "share_keys", "collect_masked_vectors", "unmask")


class TimedWorkflow(SecAggPlusWorkflow):
    """Flower's workflow; `stages` has the seconds of each stage of the last round."""

    stages: dict[str, float]

    def _timed(self, stage: str, grid: Grid, context: LegacyContext, state: object) -> bool:
        begin = time.perf_counter()
        going_on = getattr(super(), f"{stage}_stage")(grid, context, state)
        self.stages[stage] = time.perf_counter() - begin
        return going_on

    def setup_stage(self, grid: Grid, context: LegacyContext, state: object) -> bool:
        """Set up, timed."""
        self.stages = {}
        return self._timed("setup", grid, context, state)

    def share_keys_stage(self, grid: Grid, context: LegacyContext, state: object) -> bool:
        """Share keys, timed."""
        return self._timed("share_keys", grid, context, state)

    def collect_masked_vectors_stage(self, grid: Grid, context: LegacyContext, state: object) -> bool:
        """Collect masked vectors, timed."""
        return self._timed("collect_masked_vectors", grid, context, state)

    def unmask_stage(self, grid: Grid, context: LegacyContext, state: object) -> bool:
        """Unmask, timed."""
        return self._timed("unmask", grid, context, state)


class Rounds:
    """A fit workflow that runs the timed secure sum and compares its aggregate with the true sum."""

    def __init__(self, expected: np.ndarray, members: int) -> None:
        self.workflow = TimedWorkflow(
            num_shares=1.0, reconstruction_threshold=0.6, max_weight=1.0, clipping_range=CLIPPING_RANGE
        )
        self.expected, self.members = expected, members
        self.seconds: list[float] = []
        self.stages: list[dict[str, float]] = []
        self.errors: list[float] = []

    def __call__(self, grid: Grid, context: LegacyContext) -> None:
        """Run one round."""
        context.state.array_records[PARAMETERS] = ArrayRecord([np.zeros(1, np.float32)])
        begin = time.perf_counter()
        self.workflow(grid, context)
        self.seconds.append(time.perf_counter() - begin)
        self.stages.append(self.workflow.stages)
        mean = context.state.array_records[PARAMETERS].to_numpy_ndarrays()[0]
        if mean.shape != self.expected.shape:
            message = f"expected an aggregate of shape {self.expected.shape}, got {mean.shape}: the round has failed"
            raise RuntimeError(message)
        self.errors.append(float(np.abs(mean * self.members - self.expected).max()))


def run_rounds(grid: Grid, context: Context, *, expected: np.ndarray, members: int, rounds: int) -> dict[str, object]:
    """Run `rounds` secure sums and return seconds, seconds of the stages and the largest error of each."""
    work = Rounds(expected, members)
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=members,
        min_available_clients=members,
        initial_parameters=ndarrays_to_parameters([np.zeros(1, np.float32)]),
    )
    legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=rounds), strategy=strategy)
    DefaultWorkflow(fit_workflow=work)(grid, legacy)
    return {"seconds": work.seconds, "stages": work.stages, "errors": work.errors}


app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the configured rounds and write the figures to the configured file."""
    config = context.run_config
    figures = run_rounds(
        grid,
        context,
        expected=np.load(str(config["expected"])),
        members=int(config["members"]),
        rounds=int(config["rounds"]),
    )
    result = Path(str(config["result"]))
    unfinished = result.with_suffix(".part")
    unfinished.write_text(json.dumps(figures))
    unfinished.rename(result)
