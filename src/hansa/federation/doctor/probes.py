"""The probes: each looks at one thing, changes nothing that lasts, and says what it saw and what to do.

`pass` well; `warn` works, but somebody should look; `fail` the node should not take part like this; `skip` there is
nothing to look at. A probe that itself goes wrong fails with the error.

Guarantees: one probe a name of `governance.node_audit.PROBES`, in that order, whatever state the folder is in; what was
seen holds no secret, no path and no value of data, since it is signed and published.
Does NOT guarantee: that a node that passes keeps the rules.
"""

from __future__ import annotations

import os
import shutil
import stat
import statistics
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hansa.audit.checkpoint import open_checkpoint
from hansa.audit.merkle import Frontier, leaf_hashes
from hansa.audit.reader import CHECKPOINT, LogReader
from hansa.errors import HansaError
from hansa.federation.budgets import purpose_budgets
from hansa.federation.doctor.report import NodeReport, Probe, Status
from hansa.federation.log_view import log_key, witness_keys
from hansa.federation.quoting import FOLDER
from hansa.federation.rules import limits_of
from hansa.federation.store import MemberStore, read_ledger
from hansa.governance.node_audit import PROBES, quarter_of
from hansa.governance.signed import read
from hansa.identity.attestation.measurement import measure_package
from hansa.identity.certificates import load_certificate
from hansa.market.sources import discover, load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hansa.federation.doctor.patient import Patient
    from hansa.federation.node import Node
    from hansa.protocol.limits import Limits

CERTIFICATE_WARNING: Final = timedelta(days=30)
OFFSET_PASS_SECONDS: Final = 1.0
OFFSET_FAIL_SECONDS: Final = 5.0
FREE_WARN_BYTES: Final = 5 << 30
FREE_FAIL_BYTES: Final = 1 << 30
SYNCS: Final = 9
SYNC_WARN_MILLISECONDS: Final = 20.0
SYNC_FAIL_MILLISECONDS: Final = 200.0
_UNLOADED: Final = "the folder does not load"
_SAFE: Final = 0o077  # bits that a secret must not have


def examine(patient: Patient) -> tuple[Probe, ...]:
    """Return one probe of each name."""
    return tuple(_careful(name, _PROBES[name], patient) for name in PROBES)


def report_of(patient: Patient, probes: tuple[Probe, ...]) -> NodeReport:
    """Return a loaded node's report, unsigned.

    Raises:
        HansaError: The folder does not load; the message says why.
    """
    if patient.node is None:
        raise HansaError(f"no report without a kit and a constitution: {patient.trouble}")
    node = patient.node
    return NodeReport(
        federation=node.constitution.federation,
        node=node.kit.name,
        role=node.kit.configuration.role,
        epoch=node.constitution.epoch,
        constitution=node.constitution.digest(),
        quarter=quarter_of(patient.at),
        at=patient.at.isoformat(timespec="seconds"),
        software=patient.software,
        code=measure_package(),
        probes=probes,
    )


def _careful(name: str, probe: Callable[[Patient], tuple[Status, str, str]], patient: Patient) -> Probe:
    try:
        status, seen, todo = probe(patient)
    except (HansaError, OSError) as error:
        told = str(error).replace(str(patient.directory), "the folder")
        status, seen, todo = "fail", f"{type(error).__name__}: {told[:300]}", "do what the message says"
    return Probe(name, status, seen, todo)


def _kit(patient: Patient) -> tuple[Status, str, str]:
    if patient.node is None:
        told = patient.trouble.replace(str(patient.directory), "the folder")
        return (
            "fail",
            told[:300],
            "do what the message says; `hansa kit show` tells more",
        )
    configuration = patient.node.kit.configuration
    return "pass", f"{configuration.role} {configuration.name} of {configuration.federation}: keys and roster agree", ""


def _keys(patient: Patient) -> tuple[Status, str, str]:
    found = sorted(patient.directory.glob("*.key"))
    if not found:
        return "fail", "no private key in the folder", "restore the kit from your backup, or ask for a new one"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in found}
    work = patient.directory / "node"
    if (work / "facts.sqlite").exists():
        modes["node/facts.sqlite"] = stat.S_IMODE((work / "facts.sqlite").stat().st_mode)
    if work.exists():
        modes["node/"] = stat.S_IMODE(work.stat().st_mode)
    loose = [f"{name} {mode:04o}" for name, mode in modes.items() if mode & _SAFE]
    if loose:
        return "fail", f"others may read {', '.join(loose)}", "chmod 600 each file (700 a folder) and ask who read it"
    return "pass", f"{', '.join(modes)}: for the owner alone", ""


def _tls(patient: Patient) -> tuple[Status, str, str]:
    worst: Status = "pass"
    seen = []
    for name in ("identity.crt", "authority.crt"):  # node.crt lives a week: the node makes it anew by itself
        certificate = load_certificate((patient.directory / name).read_bytes())
        left = certificate.not_valid_after_utc - patient.at
        seen.append(f"{name} until {certificate.not_valid_after_utc:%Y-%m-%d}")
        if left <= timedelta(0) or certificate.not_valid_before_utc > patient.at:
            worst = "fail"
        elif left < CERTIFICATE_WARNING and worst == "pass":
            worst = "warn"
    return worst, ", ".join(seen), "" if worst == "pass" else "renew with `hansa kit request` and `hansa kit issue`"


def _clock(patient: Patient) -> tuple[Status, str, str]:
    kernel = patient.kernel_clock()
    offset = patient.fact("clock_offset_ns")
    seen = ["the kernel says nothing of its clock"]
    if kernel is not None:
        kept = "kept in step" if kernel.is_synchronised else "not kept in step"
        seen = [f"kernel: {kept}, at most {kernel.largest_error_seconds:.3f} s off"]
    todo = "run a time service (chrony, systemd-timesyncd)"
    if isinstance(offset, int):
        seconds = offset / 1e9
        seen.append(f"{seconds:+.3f} s against the message server at best")
        if abs(seconds) > OFFSET_FAIL_SECONDS:
            return "fail", "; ".join(seen), f"{todo}, and ask the coordinator the same: uploads come late by its clock"
        if abs(seconds) > OFFSET_PASS_SECONDS:
            return "warn", "; ".join(seen), todo
    else:
        seen.append("nothing heard of the message server yet")
    is_kept = kernel is not None and kernel.is_synchronised
    return "pass" if is_kept else "warn", "; ".join(seen), "" if is_kept else todo


def _disk(patient: Patient) -> tuple[Status, str, str]:
    work = patient.directory / "node"
    folder = work if work.is_dir() else patient.directory
    free = shutil.disk_usage(folder).free
    milliseconds = _sync_milliseconds(patient, folder / f".doctor-{os.getpid()}")
    seen = f"{free / (1 << 30):.1f} GiB free; {milliseconds:.1f} ms to sync 4 KiB (median of {SYNCS})"
    if free < FREE_FAIL_BYTES or milliseconds > SYNC_FAIL_MILLISECONDS:
        return "fail", seen, "free space, or move the folder to a disk of its own: each message waits for a sync"
    if free < FREE_WARN_BYTES or milliseconds > SYNC_WARN_MILLISECONDS:
        return "warn", seen, "make room, or a faster disk: each message waits for a sync"
    return "pass", seen, ""


def _sync_milliseconds(patient: Patient, path: Path) -> float:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    taken = []
    try:
        for _ in range(SYNCS):
            start = patient.ticks_ns()
            os.write(descriptor, bytes(4096))
            os.fsync(descriptor)
            taken.append((patient.ticks_ns() - start) / 1e6)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(taken)


def _facts(patient: Patient) -> tuple[Status, str, str]:
    path = patient.directory / "node" / "facts.sqlite"
    if not path.is_file():
        return "skip", "no facts yet: the node has not taken part, or keeps none", ""
    store = MemberStore(path)
    try:
        rows = store.egress()
    finally:
        store.close()
    return "pass", f"{len(rows)} messages in the egress record, its chain holds", ""


def _constitution(patient: Patient) -> tuple[Status, str, str]:
    signed = read(patient.directory / "constitution.json")
    found = signed.constitution
    missing = [name for name, standing in signed.standings().items() if standing != "signed"]
    size = len(found.members)
    seen = f"epoch {found.epoch}, digest {found.digest()}, signed by {size - len(missing)} of {size}"
    if missing:
        return "fail", f"{seen}; not by {', '.join(missing)}", "unite the copies with `hansa constitution verify --out`"
    return "pass", seen, ""


def _acknowledged(patient: Patient) -> tuple[Status, str, str]:
    if patient.node is None:
        return "skip", _UNLOADED, ""
    kit, rules = patient.node.kit, patient.node.constitution
    if kit.configuration.role == "coordinator":
        return "pass", f"the constitution names this coordinator's key, epoch {rules.epoch}", ""
    standing = read(patient.directory / "constitution.json").standings().get(kit.name, "missing")
    if standing != "signed":
        return "fail", f"own signature: {standing}", "read it and sign it: `hansa constitution sign`"
    return "pass", f"signed by this node's own key, epoch {rules.epoch}", ""


def _budget(patient: Patient) -> tuple[Status, str, str]:
    node = patient.node
    if node is None:
        return "skip", _UNLOADED, ""
    if node.kit.configuration.role == "coordinator":
        return "skip", "a coordinator spends no budget", ""
    ledger = read_ledger(node.work / "facts.sqlite")
    found = purpose_budgets(node.constitution, ledger, now_ns=int(patient.at.timestamp() * 1e9))
    this_year = f"{patient.at:%Y}"
    short = [
        f"{one.purpose} {this_year}"
        for one in found
        for period in one.periods
        if one.kind == "year" and period.period == this_year and period.left < one.releases_a_round
    ]
    if short:
        todo = "nothing to repair: this member refuses further sums of them; see `hansa privacy show`"
        return "warn", f"less than a round is left of {', '.join(short)}", todo
    return "pass", f"{len(ledger)} charges; every yearly budget pays for another round", ""


def _data(patient: Patient) -> tuple[Status, str, str]:
    node = patient.node
    if node is None:
        return "skip", _UNLOADED, ""
    if node.kit.configuration.role == "coordinator":
        return "skip", "a coordinator has no data", ""
    market = node.constitution.market
    wanted = [name for names in market.baskets.values() for name in names]
    sources = discover(node.bars, wanted)
    for source in sources:
        load(source)
    covered = sum(any(source.market in names for source in sources) for names in market.baskets.values())
    seen = f"bars of {covered} of {len(market.baskets)} baskets have the schema"
    if covered < len(market.baskets):
        return "warn", seen, "bring bars of the others, if this member has any (`hansa market import`)"
    return "pass", seen, ""


def _log(patient: Patient) -> tuple[Status, str, str]:
    node = patient.node
    if node is None:
        return "skip", _UNLOADED, ""
    limits = limits_of(node.constitution)
    if not limits.cosignatures:
        return "skip", "the constitution asks for no log", ""
    return (_kept_log if node.kit.configuration.role == "coordinator" else _witnessed_log)(node, limits)


def _witnessed_log(node: Node, limits: Limits) -> tuple[Status, str, str]:
    path = node.work / "facts.sqlite"
    if not path.is_file():
        return "skip", "no log was read yet", ""
    key, own = log_key(limits), witness_keys(limits)[node.kit.name]
    store = MemberStore(path)
    try:
        note, disputes = store.cosigned(key.name), store.disputes()
    finally:
        store.close()
    if disputes:
        seen = f"{len(disputes)} checkpoints contradict what this member cosigned"
        return "fail", seen, "show them to the other members; take part in nothing more of this coordinator"
    if note is None:
        return "skip", "no log was read yet", ""
    size = open_checkpoint(note, log=key, witnesses=[own], quorum=1).checkpoint.size
    return "pass", f"cosigned up to {size} entries, never contradicted", ""


def _kept_log(node: Node, limits: Limits) -> tuple[Status, str, str]:
    if not (node.log / CHECKPOINT).exists():
        return "skip", "no checkpoint is published yet", ""
    log = LogReader(node.log, key=log_key(limits))
    frontier, _ = Frontier().extended(leaf_hashes([*log.entries()]))
    if frontier.root() != log.tree.root():
        return "fail", "the entries do not make the published checkpoint", "restore the log's folder from a copy"
    return "pass", f"{log.size} entries make the published checkpoint", ""


def _attestation(patient: Patient) -> tuple[Status, str, str]:
    node = patient.node
    if node is None:
        return "skip", _UNLOADED, ""
    clause = node.constitution.attestation
    if clause is None or clause.policy == "off":
        return "skip", "the constitution asks for no quote", ""
    bad: Status = "fail" if clause.policy == "require" else "warn"
    if node.kit.configuration.role == "member":
        return _judged(patient.fact("attestation"), bad)
    if (node.work / FOLDER / "evidence.json").is_file():
        return "pass", "there is evidence; members judge it", ""
    return bad, "no evidence of this machine yet", "make a quote and run `hansa coordinator attest`"


def _judged(verdict: object, bad: Status) -> tuple[Status, str, str]:
    if not isinstance(verdict, dict):
        return "skip", "no sum was announced yet, so nothing was judged", ""
    if verdict.get("valid") is True:
        return "pass", f"{verdict.get('technology')}, collateral good until {str(verdict.get('valid_until'))[:10]}", ""
    return bad, str(verdict.get("reason"))[:300], "ask the coordinator's operator for a valid quote"


def _code(patient: Patient) -> tuple[Status, str, str]:
    code = measure_package()
    seen = f"hansa {patient.software}, measurement {code}"
    allowed = _allowed_code(patient.node)
    if allowed and code not in allowed:
        return "fail", f"{seen}, which the constitution does not name", "install the release that it names"
    return "pass", seen, ""


def _allowed_code(node: Node | None) -> tuple[str, ...]:
    if node is None:
        return ()
    audit, attestation = node.constitution.node_audit, node.constitution.attestation
    if node.kit.configuration.role == "coordinator":
        return () if attestation is None else attestation.code
    return () if audit is None else audit.code


_PROBES: Final[Mapping[str, Callable[[Patient], tuple[Status, str, str]]]] = {
    "kit": _kit,
    "keys": _keys,
    "tls": _tls,
    "clock": _clock,
    "disk": _disk,
    "facts": _facts,
    "constitution": _constitution,
    "acknowledged": _acknowledged,
    "budget": _budget,
    "data": _data,
    "log": _log,
    "attestation": _attestation,
    "code": _code,
}
