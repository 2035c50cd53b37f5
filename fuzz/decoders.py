"""Fuzzes every decoder with atheris (libFuzzer): only named errors may come out, and no more memory than input allows.

`--runs` inputs are shared out among the targets (`targets.py`) by weight, each in a forked process, `--processes` at
a time. A target fails if anything but a HansaError comes out, if an input allocates more than the target's bound
(tracemalloc, one input of 64), if the address space grows by more than a gibibyte, or if an input takes 20 seconds.
The input that failed is kept in `--keep`; move it to `fuzz/regressions/<target>--<defect>` and every run of the tests
tries it.

Run: python fuzz/decoders.py --runs 10000000 [--only NAME ...] [--seed 1] [--json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from targets import Target

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"
SAMPLE = 64
SPARE_BYTES = 1 << 30
TIMEOUT_SECONDS = 20


def check(target: Target, data: bytes, *, is_measured: bool) -> None:
    """Decode one input; anything but a HansaError, or too much memory, is raised."""
    from hansa.errors import HansaError  # noqa: PLC0415 - after the modules are instrumented

    if is_measured:
        tracemalloc.start()
    try:
        target.decode(data)
    except HansaError:
        pass
    finally:
        if is_measured:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    if is_measured and peak > target.floor + target.factor * len(data):
        raise MemoryError(f"{target.name}: {peak} bytes for an input of {len(data)}")


def load() -> dict[str, Target]:
    """Import every target under instrumentation, once: the processes are forked from this one."""
    import atheris  # noqa: PLC0415 - tests import this module without it

    # Numba compiles from bytecode and cannot read instrumented code.
    kernels = [".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in SOURCE.rglob("*_kernels.py")]
    with atheris.instrument_imports(include=["hansa", "json", "tomllib"], exclude=kernels):
        from targets import targets  # noqa: PLC0415 - instrumented on import
    logging.disable()  # what a node would note of its refusals
    found = targets()
    for target in found.values():
        for seed in target.seeds:
            check(target, seed, is_measured=False)  # fills what is remembered from call to call
    return found


def fuzz(target: Target, corpus: Path, keep: Path, arguments: list[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    import atheris  # noqa: PLC0415 - as in `load`
    import numpy as np  # noqa: PLC0415 - likewise

    import mutation  # noqa: PLC0415 - likewise

    changers = {"msgpack": mutation.mutate_msgpack, "json": mutation.mutate_json, "text": mutation.mutate_text}
    changer = changers.get(target.form)
    for place, seed in enumerate(target.seeds):
        (corpus / f"seed-{place}").write_bytes(seed)
    _limit_memory()
    count = 0

    def one_input(data: bytes) -> None:
        nonlocal count
        count += 1
        try:
            check(target, data, is_measured=count % SAMPLE == 0)
        except BaseException:  # noqa: BLE001 - whatever came out is the finding
            traceback.print_exc()
            (keep / f"{target.name}-crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            sys.stderr.flush()
            os._exit(77)

    def custom(data: bytes, max_size: int, seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        if changer is None or rng.random() < 0.3:
            return bytes(atheris.Mutate(data, max_size))
        return changer(data, rng)[:max_size]

    atheris.Setup(
        [sys.argv[0], f"-max_len={target.max_bytes}", *arguments, str(corpus)], one_input, custom_mutator=custom
    )
    atheris.Fuzz()


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def begin(target: Target, folder: Path, *, runs: int, seed: int, keep: Path) -> int:
    """Fork a process that fuzzes one target; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        corpus = folder / "corpus"
        corpus.mkdir(parents=True)
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        fuzz(
            target,
            corpus,
            keep,
            [
                f"-runs={runs}",
                f"-seed={seed}",
                f"-timeout={TIMEOUT_SECONDS}",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
                f"-artifact_prefix={keep}/{target.name}-",
            ],
        )
    except BaseException:  # noqa: BLE001 - the forked process must not go on as its parent
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(70)


def outcome(name: str, folder: Path, *, status: int, seconds: float) -> dict[str, object]:
    """Return what came of a target's process."""
    output = (folder / "output").read_text(errors="replace")
    counted = re.search(r"number_of_executed_units: (\d+)", output)
    covered = re.findall(r" cov: (\d+) ", output)
    peak = re.search(r"peak_rss_mb:\s+(\d+)", output)
    lines = [line for line in output.splitlines() if not line.startswith(("#", "INFO", "stat::"))]
    return {
        "target": name,
        "runs": int(counted[1]) if counted else 0,
        "seconds": round(seconds, 1),
        "covered_branches": int(covered[-1]) if covered else None,
        "peak_rss_mib": int(peak[1]) if peak else None,
        "passed": status == 0 and counted is not None,
        "failure": "" if status == 0 else "\n".join(lines[-30:]),
    }


def conduct(wanted: list[Target], scratch: Path, options: argparse.Namespace) -> list[dict[str, object]]:
    """Fuzz the targets, so many at a time as there are processes, and return what came of each."""
    weights = sum(target.weight for target in wanted)
    waiting, running, found = list(wanted), {}, []
    try:
        while waiting or running:
            while waiting and len(running) < options.processes:
                target = waiting.pop(0)
                runs = -(-options.runs * target.weight // weights)
                child = begin(target, scratch / target.name, runs=runs, seed=options.seed, keep=options.keep)
                running[child] = (target.name, time.monotonic())
            child, status = os.wait()
            name, started = running.pop(child)
            found.append(outcome(name, scratch / name, status=status, seconds=time.monotonic() - started))
            if not options.json:
                _show(found[-1])
    finally:
        for child in running:
            os.kill(child, signal.SIGKILL)
    return found


def main() -> int:
    """Share the runs out and report; exit code 1 if a target failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000_000, help="inputs over all targets")
    parser.add_argument("--only", action="append", default=[], help="a target; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--keep", type=Path, default=HERE.parent / "build" / "fuzz", help="where failing inputs go")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    options.keep.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that the forked end as well
    memory = Path("/dev/shm")  # noqa: S108 - a private folder in it
    scratch = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        tempfile.tempdir = str(scratch)
        sys.path.insert(0, str(SOURCE))
        known = load()
        unknown = sorted(set(options.only) - set(known))
        if unknown:
            parser.error(f"--only: expected some of {', '.join(known)}; got {unknown[0]}")
        found = conduct([known[name] for name in options.only or known], scratch, options)
    finally:
        shutil.rmtree(scratch)
    total = sum(int(str(one["runs"])) for one in found)
    is_passed = all(one["passed"] for one in found)
    if options.json:
        print(json.dumps({"runs": total, "passed": is_passed, "targets": found}))
    else:
        print(f"{total} inputs over {len(found)} targets: {'no crash' if is_passed else 'FAILED'}")
    return int(not is_passed)


def _show(one: dict[str, object]) -> None:
    verdict = "ok" if one["passed"] else "FAILED"
    print(
        f"{one['target']:22} {one['runs']:>9} inputs {one['seconds']:>8} s {one['covered_branches'] or 0:>6} branches "
        f"{one['peak_rss_mib'] or 0:>5} MiB {verdict}",
        flush=True,
    )
    if one["failure"]:
        print(one["failure"], flush=True)


if __name__ == "__main__":
    sys.exit(main())
