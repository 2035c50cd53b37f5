"""Claims about the fuzzing of decoders: it would notice a fault, and what it once found stays mended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import decoders
import mutation
from hansa.errors import HansaError, MessageError
from targets import Target, targets

FUZZ = Path(decoders.__file__).parent
REGRESSIONS = sorted((FUZZ / "regressions").glob("*--*"))


@pytest.mark.parametrize("name", sorted(targets()))
def test_valid_inputs_and_their_beginnings_are_read_or_refused_by_name(name: str) -> None:
    target = targets()[name]
    for seed in target.seeds:
        decoders.check(target, seed, is_measured=True)
        for size in (0, 1, len(seed) // 2, len(seed) - 1):
            decoders.check(target, seed[:size], is_measured=False)


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: path.name)
def test_what_once_failed_is_refused_by_name(path: Path) -> None:
    target = targets()[path.name.split("--")[0]]
    decoders.check(target, path.read_bytes(), is_measured=True)


def test_most_targets_read_their_valid_input() -> None:
    read = 0
    for target in targets().values():
        try:
            target.decode(target.seeds[0])
            read += 1
        except HansaError:
            continue
    assert read >= len(targets()) - 7  # keys, signatures, chunks and certificates are made to be refused


def refuse(_data: bytes) -> None:
    raise MessageError("no")


def crash(_data: bytes) -> None:
    raise ValueError("a fault")


def hoard(_data: bytes) -> None:
    bytearray(10_000_000)


def test_a_refusal_passes_and_a_crash_or_a_hoard_does_not() -> None:
    decoders.check(Target("refuse", refuse, ()), b"", is_measured=True)
    with pytest.raises(ValueError, match="a fault"):
        decoders.check(Target("crash", crash, ()), b"", is_measured=False)
    with pytest.raises(MemoryError, match="hoard: 10"):
        decoders.check(Target("hoard", hoard, ()), b"", is_measured=True)


@pytest.mark.parametrize("form", ["msgpack", "json", "text"])
def test_a_mutation_is_a_function_of_its_seed_and_changes_most_inputs(form: str) -> None:
    change = {"msgpack": mutation.mutate_msgpack, "json": mutation.mutate_json, "text": mutation.mutate_text}[form]
    name = {"msgpack": "payload-manifest", "json": "constitution", "text": "hansa-toml"}[form]
    data = targets()[name].seeds[0]
    made = [change(data, np.random.default_rng(seed)) for seed in range(200)]
    assert made == [change(data, np.random.default_rng(seed)) for seed in range(200)]
    assert sum(one != data for one in made) > 150
    assert len(set(made)) > 80


PLANTED = """
import argparse, logging, pathlib, sys
sys.path.insert(0, sys.argv[1])
import decoders
decoders.load()
import atheris
from targets import Target

@atheris.instrument_func
def decode(data):
    if data[:2] == b"XY":
        raise ValueError("planted")

folder = pathlib.Path(sys.argv[2])
options = argparse.Namespace(runs=200000, seed=1, keep=folder, processes=1, json=True)
found = decoders.conduct([Target("planted", decode, (b"AAAA",))], folder, options)
kept = sorted(path.read_bytes()[:2] for path in folder.glob("planted-crash*"))
print(found[0]["passed"], "planted" in found[0]["failure"], kept)
"""


@pytest.mark.slow
def test_a_planted_fault_is_found_and_its_input_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PLANTED, str(FUZZ), str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "False True [b'XY']"


@pytest.mark.slow
def test_two_hundred_thousand_inputs_over_all_decoders_bring_out_no_crash(tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ / "decoders.py"), "--runs", "200000", "--json", "--keep", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    found = json.loads(done.stdout.splitlines()[-1])
    assert [one["failure"] for one in found["targets"] if not one["passed"]] == []
    assert done.returncode == 0
    assert found["runs"] >= 200_000
    assert {one["target"] for one in found["targets"]} == set(targets())
