"""A node's report as OSCAL assessment results, for tools of governance and supervision.

Each probe is an observation (method TEST) and, unless it was skipped, a finding on the objective `hansa-<probe>`:
satisfied, or not. A warning is satisfied, with the state beside it as a property. Identifiers are UUIDs of version 5
over the report's digest: the same report gives the same document.

Guarantees: the required fields of the assessment-results model of OSCAL 1.1.3, and none that it does not have.
Does NOT provide: a catalogue of controls or an assessment plan; the plan is the constitution, named by its digest.

Source: NIST OSCAL 1.1.3, assessment results model (JSON).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hansa.federation.doctor.report import NodeReport, Probe

OSCAL_VERSION: Final = "1.1.3"
NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://hansa.invalid/ns/oscal")
_PROPERTY_NAMESPACE: Final = "https://hansa.invalid/ns/oscal"


def assessment_results(report: NodeReport, digest: str) -> dict[str, Any]:
    """Return the OSCAL document of a report, as JSON values.

    Args:
        report: The report.
        digest: SHA-256 of its signed bytes, hexadecimal.
    """

    def identifier(name: str) -> str:
        return str(uuid.uuid5(NAMESPACE, f"{digest}/{name}"))

    plan = identifier("plan")
    component = identifier("node")
    return {
        "assessment-results": {
            "uuid": identifier("document"),
            "metadata": {
                "title": f"Node audit of {report.node}, {report.quarter}",
                "last-modified": report.at,
                "version": report.quarter,
                "oscal-version": OSCAL_VERSION,
                "props": [_property("report-sha256", digest), _property("constitution-sha256", report.constitution)],
            },
            "import-ap": {"href": f"#{plan}"},
            "results": [
                {
                    "uuid": identifier("result"),
                    "title": f"Probes of {report.node}",
                    "description": f"What `hansa doctor` {report.software} saw on the {report.role} {report.node}.",
                    "start": report.at,
                    "end": report.at,
                    "local-definitions": {"components": [_component(report, component)]},
                    "reviewed-controls": {"control-selections": [{"include-all": {}}]},
                    "observations": [_observation(probe, report, identifier, component) for probe in report.probes],
                    "findings": [_finding(probe, identifier) for probe in report.probes if probe.status != "skip"],
                }
            ],
            "back-matter": {
                "resources": [
                    {
                        "uuid": plan,
                        "title": f"Constitution of {report.federation}, epoch {report.epoch}",
                        "description": "Its clause on node audits is the assessment plan.",
                        "rlinks": [
                            {
                                "href": "constitution.json",
                                "hashes": [{"algorithm": "SHA-256", "value": report.constitution}],
                            }
                        ],
                    }
                ]
            },
        }
    }


def _component(report: NodeReport, component: str) -> dict[str, Any]:
    return {
        "uuid": component,
        "type": "software",
        "title": f"{report.role} {report.node}",
        "description": f"Node of the federation {report.federation}.",
        "status": {"state": "operational"},
        "props": [_property("software-version", report.software), _property("code-sha256", report.code)],
    }


def _observation(probe: Probe, report: NodeReport, identifier: Any, component: str) -> dict[str, Any]:  # noqa: ANN401
    found = {
        "uuid": identifier(f"observation/{probe.name}"),
        "title": probe.name,
        "description": probe.seen,
        "methods": ["TEST"],
        "subjects": [{"subject-uuid": component, "type": "component"}],
        "collected": report.at,
        "props": [_property("status", probe.status)],
    }
    return found | ({"remarks": probe.todo} if probe.todo else {})


def _finding(probe: Probe, identifier: Any) -> dict[str, Any]:  # noqa: ANN401
    is_satisfied = probe.status in {"pass", "warn"}
    return {
        "uuid": identifier(f"finding/{probe.name}"),
        "title": probe.name,
        "description": probe.seen,
        "target": {
            "type": "objective-id",
            "target-id": f"hansa-{probe.name}",
            "status": {"state": "satisfied" if is_satisfied else "not-satisfied", "reason": probe.status},
        },
        "related-observations": [{"observation-uuid": identifier(f"observation/{probe.name}")}],
    }


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value, "ns": _PROPERTY_NAMESPACE}
