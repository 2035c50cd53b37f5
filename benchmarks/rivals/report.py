"""The comparison as tables: seconds and ratios, bytes, what protects, and what a figure does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FIGURES = ("seconds", "member_seconds", "upload_bytes_per_value")

PROTECTIONS = (
    (
        "hansa",
        (
            "noise, masks (AES-256-CTR under keys of X25519 and ML-KEM-768) and ring-LWE that a threshold of members "
            "opens together; the threat model has every layer and against whom it holds"
        ),
        "mutual TLS 1.3; messages signed; a quorum signs the cohort before anything is opened",
        "a member counts once its upload is in, while a quorum answers",
    ),
    (
        "Flower SecAgg+",
        (
            "pairwise masks, at most {pairwise} bits of seed, and private masks, at most {private}, both from MT19937; "
            "no noise here (Flower has it apart)"
        ),
        "TLS with a server certificate; members' requests signed by registered EC keys; mask keys relayed unsigned",
        "all members but a threshold (3 of 5 here) may vanish between stages",
    ),
    (
        "TenSEAL BFV, one key",
        "ring-LWE, the library's default moduli; who has the key opens every upload",
        "none: arithmetic alone",
        "nobody is needed after the upload",
    ),
)
NOT_SHOWN = (
    "networks: everything is on this machine and shares its cores; latency adds to every exchange",
    "drop-outs: every member answers; each system has further work and waiting when one does not",
    (
        "what the clock covers: hansa's sum ends when the last member has checked the result, with noise, a certified "
        "cohort and synced disks in it; Flower's ends when the server has the aggregate"
    ),
    "key agreement: hansa's is once an epoch and outside its figure; Flower's is in every round and in its figure",
    "Flower on many machines: each message starts a ClientApp process, here five at once on the same cores",
    "Flower in process and TenSEAL: arithmetic alone, no network, no agreement, no disk",
)


def least(values: list[float]) -> float:
    """Return the least but the first, which warms up."""
    return min(values[1:] or values)


@dataclass(frozen=True, slots=True)
class Row:
    """One party's figures; None where there is none."""

    what: str
    seconds: float
    member_seconds: float | None
    upload_bytes_per_value: float

    def with_ratios(self, ours: Row) -> dict[str, Any]:
        """Return the figures, each followed by its ratio to `ours`."""
        figures: dict[str, Any] = {"what": self.what}
        for name in FIGURES:
            value, reference = getattr(self, name), getattr(ours, name)
            figures[name] = value
            figures[f"{name}_to_hansa"] = None if value is None or reference is None else value / reference
        return figures


def rows(size: dict[str, Any]) -> list[Row]:
    """Return the figures of every party that was measured, hansa's first."""
    ours, length = size["hansa"], size["length"]
    our_bytes = ours["upload_bytes_per_value"]
    table = [Row("hansa, deployed", ours["seconds"], ours.get("member_seconds"), our_bytes)]
    if "flower" in size:
        deployed, in_process = size["flower"]["deployed"], size["flower"]["in_process"]
        weight, member = in_process["bytes"]["reply"] / length, least(in_process["member_seconds"])
        table += [
            Row("Flower SecAgg+, deployed", least(deployed["seconds"]), None, weight),
            Row("Flower SecAgg+, in process, members in turn", least(in_process["seconds"]), member, weight),
            Row("the same, as if side by side", least(in_process["critical_path_seconds"]), member, weight),
        ]
    for degree, figures in size.get("tenseal", {}).items():
        member, weight = min(figures["encrypt_seconds"]), figures["upload_bytes"] / length
        whole = member + figures["add_seconds"] + figures["decrypt_seconds"]
        table.append(Row(f"TenSEAL BFV {degree}, one key, as if side by side", whole, member, weight))
    table.append(Row("bare exchange over hansa's transport", size["floor_seconds"], None, our_bytes))
    return table


def print_size(size: dict[str, Any]) -> None:
    print(f"\n{size['members']} members, {size['length']} values of 16 bits, the same for all\n")
    print("| what | a sum, s | to hansa | a member's work, s | to hansa | upload, B a value | to hansa |")
    print("|---|---|---|---|---|---|---|")
    for row in size["table"]:
        what, *figures = row.values()
        digits = (3, 1, 4, 1, 2, 1)
        cells = ["" if value is None else f"{value:.{n}f}" for value, n in zip(figures, digits, strict=True)]
        print(f"| {what} | {' | '.join(cells)} |")
    before, after = size["hansa_seconds"]
    print(f"\nhansa's median before the others {before:.3f} s, after them {after:.3f} s; load then {size['load']:.1f}")
    for rival, reason in size["skipped"].items():
        print(f"\n{rival} is left out: {reason}")
    for rival, reason in size["failed"].items():
        print(f"\n{rival} has FAILED: {reason}")
    if "flower" in size:
        print_flower(size["flower"]["deployed"])


def print_flower(deployed: dict[str, Any]) -> None:
    rounds = ", ".join(f"{seconds:.1f}" for seconds in deployed["seconds"])
    best = deployed["stages"][deployed["seconds"].index(least(deployed["seconds"]))]
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in best.items())
    print(
        f"\nFlower deployed: rounds of {rounds} s; the best: {stages} s. From `flwr run` to the last aggregate "
        f"{deployed['whole_run_seconds']:.1f} s, set-up of SuperLink and SuperNodes before it "
        f"{deployed['set_up_seconds']:.1f} s. Largest error of a sum: {max(deployed['errors']):.1g}."
    )


def print_report(machine: dict[str, Any], sizes: list[dict[str, Any]]) -> None:
    """Print every size's table, then what protects, versions and what is not shown."""
    for size in sizes:
        print_size(size)
    versions = {"python": machine["python"]}
    here = {"hansa"}
    bits = {}
    for size in sizes:
        if "flower" in size:
            here.add("Flower SecAgg+")
            versions["flwr"], bits = size["flower"]["deployed"]["version"], size["flower"]["in_process"]["seed_bits"]
        if "tenseal" in size:
            here.add("TenSEAL BFV, one key")
            versions["tenseal"] = next(iter(size["tenseal"].values()))["version"]
    print("\n| what | protects a member's vector by | connections | drop-outs |\n|---|---|---|---|")
    for row in PROTECTIONS:
        if row[0] in here:
            print("| " + " | ".join(cell.format(**bits) for cell in row) + " |")
    print(f"\n{machine['cores']} cores, load {machine['load']:.1f} at the start; {versions}")
    for line in NOT_SHOWN:
        print(f"not shown: {line}")
