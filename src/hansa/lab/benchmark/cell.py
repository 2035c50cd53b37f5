"""A cell: one piece of the benchmark's work, its key, its checkpoint file.

A cell is one group of forecasts on one fold of one data set at one budget and seed. Its key is a hash of these, of the
source of the modules that make it, and of the names, sizes and times of the data files. A finished cell is written to a
temporary file and renamed, so that a benchmark that is killed at any instant has whole cells or none, and
`--resume` goes on where it stopped; a cell of other code or other data is not taken.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import time
import zipfile
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from hansa.errors import ConfigurationError, StoreError
from hansa.lab.benchmark import own_arms, rivals, shared_arms
from hansa.lab.benchmark.datasets import DATASETS, panel
from hansa.lab.benchmark.epsilons import BY_NAME

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from hansa.lab.benchmark.panel import Panel

Kind = Literal["alone", "federated", "rivals", "newcomer", "coverage"]
_COMMON: Final = (
    "hansa.lab.benchmark.cell", "hansa.lab.benchmark.panel", "hansa.lab.benchmark.datasets",
    "hansa.lab.benchmark.shared", "hansa.lab.benchmark.own_arms", "hansa.lab.twins", "hansa.lab.segments",
    "hansa.lab.demo", "hansa.lab.venues", "hansa.market.measures", "hansa.market.features", "hansa.market.calendar",
    "hansa.model.core", "hansa.model.design", "hansa.model.evaluation", "hansa.model.reference_forecasts",
)  # fmt: skip
_FEDERATED: Final = (
    "hansa.lab.benchmark.shared_arms", "hansa.lab.benchmark.epsilons", "hansa.lab.rehearsal", "hansa.lab.assessment",
    "hansa.federation.forecasting", "hansa.federation.liquidity", "hansa.federation.published",
    "hansa.federation.views", "hansa.federation.drafting", "hansa.protocol.privacy", "hansa.protocol.encoding",
    "hansa.model.baselines",
)  # fmt: skip
#: Modules whose source is part of the key of each kind of cell.
SOURCES: Final[dict[Kind, tuple[str, ...]]] = {
    "alone": (*_COMMON, "hansa.lab.benchmark.shared_arms", "hansa.lab.assessment", "hansa.model.baselines"),
    "federated": (*_COMMON, *_FEDERATED),
    "newcomer": (*_COMMON, *_FEDERATED),
    "coverage": (
        *_COMMON,
        *_FEDERATED,
        "hansa.lab.benchmark.coverage",
        "hansa.model.artefact",
        "hansa.model.conformal",
    ),
    "rivals": (*_COMMON, "hansa.lab.benchmark.rivals", "hansa.lab.benchmark.trees", "hansa.model.rival_networks"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One piece of work.

    Attributes:
        kind: What is forecast.
        dataset: Name of the data set.
        fold: Which test stretch.
        folds: Of so many.
        seed: Of noise, of a model's start, or of the simulated market.
        name: Budget of a federated cell, group of a rivals' cell.
        newcomer: Member with a short history.
        noise_factor: View noise of the simulated market.
    """

    kind: Kind
    dataset: str
    fold: int
    folds: int
    seed: int
    name: str = ""
    newcomer: str = ""
    noise_factor: float = 1.0

    def key(self, data: Path | None) -> str:
        """Return the hash of parameters, code and data that names the cell's checkpoint."""
        folder = DATASETS[self.dataset].folder
        parts = {
            "cell": asdict(self),
            "code": code_version(self.kind),
            "data": _fingerprint(data / folder) if folder and data is not None else "",
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a cell found: forecast minus outcome by arm, and what the rows and columns are.

    Attributes:
        errors: By arm, log units, NaN where nothing is scored, (series, bar).
        blocks: Block of each bar, for the bootstrap.
        members: Member of each series.
        markets: Market of each series.
        left_out: Rows of the files that were left out, by reason.
        seconds: Processor time that it took.
    """

    errors: dict[str, Float[np.ndarray, "series bar"]] = field(repr=False)
    blocks: Int[np.ndarray, " bar"] = field(repr=False)
    members: tuple[str, ...]
    markets: tuple[str, ...]
    left_out: dict[str, int]
    seconds: float = 0.0


def work(cell: Cell, data: Path | None) -> Outcome:
    """Do a cell's work in this process."""
    began = time.process_time()
    on = panel(
        cell.dataset, data, cell.fold, cell.folds,
        seed=cell.seed if cell.dataset == "simulated" else 1, newcomer=cell.newcomer, noise_factor=cell.noise_factor,
    )  # fmt: skip
    made = _forecasts(cell, on)
    bars = slice(None)
    if cell.kind == "newcomer":
        bars = slice(0, own_arms.NEWCOMER_SCORED_BARS)
        others = [one for one in on.series if on.members[one] != cell.newcomer]
        for forecast in made.values():
            forecast[others] = np.nan
    errors = {arm: on.errors(forecast)[:, bars].astype(np.float32) for arm, forecast in made.items()}
    return Outcome(
        errors, on.blocks[on.split.test][bars], on.members, on.markets, dict(on.left_out), time.process_time() - began
    )


def write(path: Path, outcome: Outcome) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        StoreError: The folder cannot be written to.
    """
    names = list(outcome.errors)
    facts = {
        "arms": names,
        "members": outcome.members,
        "markets": outcome.markets,
        "left_out": outcome.left_out,
        "seconds": outcome.seconds,
    }
    arrays = {f"arm_{place}": outcome.errors[name] for place, name in enumerate(names)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, facts=np.array(json.dumps(facts)), blocks=outcome.blocks, **arrays)  # type: ignore[arg-type] # numpy's own stub
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(buffer.getvalue())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); give --resume another folder") from error


def read(path: Path) -> Outcome | None:
    """Read a checkpoint; None where there is none, or where it is not whole."""
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            errors = {name: stored[f"arm_{place}"] for place, name in enumerate(facts["arms"])}
            blocks = stored["blocks"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None
    names = tuple(facts["members"]), tuple(facts["markets"])
    return Outcome(errors, blocks, *names, facts["left_out"], facts.get("seconds", 0.0))


@lru_cache
def code_version(kind: Kind) -> str:
    """Return the hash of the sources that make cells of a kind."""
    digest = hashlib.sha256()
    for name in SOURCES[kind]:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ConfigurationError(f"the source of {name} is not there; install hansa with its sources")
        digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()


def _forecasts(cell: Cell, on: Panel) -> dict[str, Float[np.ndarray, "series test"]]:
    arms: Any = own_arms if on.venues is None else shared_arms
    if cell.kind == "alone":
        return dict(arms.alone(on))
    if cell.kind == "federated":
        return dict(arms.federated(on, BY_NAME[cell.name], seed=cell.seed))
    if cell.kind == "coverage":
        return dict(arms.quantiles(on, BY_NAME[cell.name], seed=cell.seed))
    if cell.kind == "newcomer":
        return own_arms.newcomer(on, cell.newcomer, BY_NAME[cell.name], seed=cell.seed)
    return rivals.GROUPS[cell.name](on, cell.seed)


@lru_cache
def _fingerprint(folder: Path) -> str:
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
