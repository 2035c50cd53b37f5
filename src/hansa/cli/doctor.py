"""`hansa doctor`: look at a node, sign the report, check another's.

Exit codes: 0 nothing failed (warnings included), 1 a probe failed or the checked report has faults, 2 a refusal.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hansa import __version__
from hansa.errors import ConfigurationError

if TYPE_CHECKING:
    from hansa.federation.doctor.patient import Patient
    from hansa.federation.doctor.report import Probe


def doctor(
    directory: Annotated[Path, typer.Argument(help="The node's kit folder, a member's or the coordinator's.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    oscal: Annotated[bool, typer.Option("--oscal", help="Print OSCAL assessment results (JSON).")] = False,
    sign: Annotated[Path | None, typer.Option(help="Write the report, signed by the node's identity key.")] = None,
    check: Annotated[Path | None, typer.Option(help="Check this signed report of another node instead.")] = None,
    out: Annotated[Path | None, typer.Option(help="With --check: write the check, signed.")] = None,
) -> None:
    """Probe a node: clock, keys, TLS, disk, constitution, budget, data, log, attestation, code; say what to do."""
    from hansa.federation.doctor.patient import admit
    from hansa.federation.doctor.probes import examine

    if out is not None and check is None:
        raise ConfigurationError("--out: only with --check; a report of this node is written by --sign")
    patient = admit(directory, at=datetime.fromtimestamp(time.time(), tz=UTC), software=__version__)
    if check is not None:
        _check(patient, check, out, as_json=as_json)
        return
    probes = examine(patient)
    if sign is not None or oscal:
        _sign(patient, probes, sign, oscal=oscal)
    if as_json:
        sys.stdout.write(json.dumps(_document(patient, probes), indent=1) + "\n")
    elif not oscal:
        for probe in probes:
            todo = f"\n{'':21}{probe.todo}" if probe.todo else ""
            sys.stdout.write(f"{probe.status:5} {probe.name:14} {probe.seen}{todo}\n")
    raise typer.Exit(int(any(probe.status == "fail" for probe in probes)))


def _document(patient: Patient, probes: tuple[Probe, ...]) -> dict[str, object]:
    import msgspec

    counts = {status: sum(probe.status == status for probe in probes) for status in ("pass", "warn", "fail", "skip")}
    return {
        "node": patient.node.kit.name if patient.node else None,
        "at": patient.at.isoformat(timespec="seconds"),
        "counts": counts,
        "probes": msgspec.to_builtins(probes),
    }


def _sign(patient: Patient, probes: tuple[Probe, ...], path: Path | None, *, oscal: bool) -> None:
    from hansa.federation.doctor.oscal import assessment_results
    from hansa.federation.doctor.probes import report_of
    from hansa.federation.doctor.report import report_digest, sign_report

    report = report_of(patient, probes)
    assert patient.node is not None  # noqa: S101 - `report_of` has refused it
    signed = sign_report(report, patient.node.kit.signing_key)
    if path is not None:
        _write(path, signed)
        sys.stderr.write(f"{path}: {report.quarter}, sha256 {report_digest(signed)}\n")
    if oscal:
        sys.stdout.write(json.dumps(assessment_results(report, report_digest(signed)), indent=1) + "\n")


def _check(patient: Patient, path: Path, out: Path | None, *, as_json: bool) -> None:
    from hansa.federation.doctor.report import NodeCheck, faults_of, open_report, report_digest, sign_check
    from hansa.identity.attestation.measurement import measure_package

    node = patient.node
    if node is None:
        raise ConfigurationError(f"{patient.directory}: {patient.trouble}")
    data = _read(path)
    report = open_report(data, node.constitution)
    faults = faults_of(report, node.constitution, at=patient.at, software=__version__, code=measure_package())
    made = NodeCheck(
        federation=report.federation,
        auditor=node.kit.name,
        node=report.node,
        quarter=report.quarter,
        report=report_digest(data),
        at=patient.at.isoformat(timespec="seconds"),
        faults=tuple(faults),
    )
    if out is not None:
        _write(out, sign_check(made, node.kit.signing_key))
    failed = list(report.failed)
    if as_json:
        sys.stdout.write(json.dumps({"node": report.node, "faults": faults, "failed": failed}) + "\n")
    else:
        lines = [*(f"fault: {fault}" for fault in faults), *(f"failed: {name}" for name in failed)]
        fine = f"{report.node}, {report.quarter}: signed, complete, as we see it too"
        sys.stdout.write("\n".join(lines or [fine]) + "\n")
    raise typer.Exit(int(bool(faults)))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; give the file that `hansa doctor --sign` wrote") from error


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; name another file") from error
