"""The verdict on a run of chaos, from outside: all values and noise keys, the whole transcript, the members' files.

Exact: every sum of the programme was published, and nothing of what follows happened. Died cleanly: some sum died or
never ended, and nothing of it happened either.

* Wrong: an honest member took what is not the sum of its cohort's rounded values and noise shares, and did not find
  that out when it added the sum again (a member that is killed for good has no time to).
* Leaked: t partials of one call are there for a cohort below the minimum, or for two cohorts of one manifest, the
  colluders' own included; or two uploads of one honest member for one manifest.
* Double charged: an honest member's charges are not those of its uploads, each once for each period; or a charge was
  released although the sum can be opened, or was not although the board proves that it cannot.

Does NOT find: a leak by other ways than uploads and partials; a wrong sum that no honest member accepted.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import TYPE_CHECKING, Final

import numpy as np

from hansa.federation.transport import Channel
from hansa.lab.chaos_liars import read
from hansa.protocol.closing import statements_needed
from hansa.protocol.limits import periods
from hansa.protocol.messages import Closed, Opening, Upload
from hansa.protocol.session import facts_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hansa.lab.chaos_federation import ChaosFederation
    from hansa.protocol.messages import Manifest

VERDICTS: Final = ("exact", "died_cleanly", "wrong", "leaked", "double_charged")


def judge(federation: ChaosFederation) -> dict[str, list[str]]:
    """Return what went wrong in a run that was played, by verdict; nothing but empty lists if nothing did."""
    return {
        "wrong": list(wrong_sums(federation)),
        "leaked": list(leaks(federation)),
        "double_charged": [line for name in federation.plan.honest for line in false_charges(federation, name)],
    }


def is_exact(federation: ChaosFederation) -> bool:
    """Return whether every sum of the programme was published."""
    published = {
        (manifest.round, manifest.position)
        for message in federation.hub.stored(Channel.BOARD)
        if message.subject.step == "result"
        for manifest in federation.manifests.values()
        if manifest.session == message.subject.session
    }
    return published == {(asked.round, asked.position) for asked in federation.plan.programme}


def wrong_sums(federation: ChaosFederation) -> Iterator[str]:
    """Yield each sum that an honest member accepted and that is not the sum."""
    uploads = _uploads(federation)
    for name in federation.plan.honest:
        for aggregate in federation.accepted[name]:
            session, digest = aggregate.manifest.session, aggregate.manifest.digest()
            strangers = [member for member in aggregate.cohort if not uploads[member, digest]]
            if strangers:
                yield f"{name}: {session}: {', '.join(strangers)} in the cohort never uploaded for it"
            is_settled = name in federation.gone or federation.distrusts(name, session)
            if not strangers and not is_settled and not np.array_equal(aggregate.steps, federation.expected(aggregate)):
                yield f"{name}: {session}: accepted what is not the sum"


def leaks(federation: ChaosFederation) -> Iterator[str]:
    """Yield each opening that the attacker has beyond the one sum of a manifest."""
    rules = federation.limits
    for (name, digest), bodies in _uploads(federation).items():
        if name in federation.plan.honest and len(bodies) > 1:
            yield f"{name}: {len(bodies)} uploads for {federation.manifests[digest].session}"
    complete = defaultdict(set)
    for (manifest, root, _), givers in _partials(federation).items():
        if len(givers | set(federation.plan.colluders)) >= rules.threshold:
            complete[manifest].add(root)
    for manifest, roots in complete.items():
        session = federation.manifests[manifest].session if manifest in federation.manifests else "unknown"
        if len(roots) > 1:
            yield f"{session}: {len(roots)} cohorts of one manifest can be opened"
        for root in roots:
            if root not in federation.cohorts or len(federation.cohorts[root].members) < rules.minimum_cohort:
                yield f"{session}: a cohort below the minimum can be opened"


def false_charges(federation: ChaosFederation, name: str) -> Iterator[str]:
    """Yield each charge of an honest member that is missing, made twice, or wrongly released or kept."""
    rows = _ledger(federation, name)
    expected: dict[tuple[str, str, str], tuple[int, Manifest]] = {}
    for manifest in _charged_manifests(federation, name):
        label = facts_label(federation.epoch, manifest.session)
        asked = federation.limits.purposes[manifest.purpose]
        for period, releases in periods(manifest, asked, federation.limits.bar_ns).items():
            expected[label, manifest.purpose, period] = (releases, manifest)
    for place in sorted(rows.keys() ^ expected.keys()):
        yield f"{name}: {place[0]}: {'charged without an upload' if place in rows else 'uploaded without a charge'}"
    for place in sorted(rows.keys() & expected.keys()):
        (releases, is_released), (paid, manifest) = rows[place], expected[place]
        if releases != paid:
            yield f"{name}: {place[0]}: charged {releases} releases instead of {paid}"
        if is_released and _is_openable(federation, manifest.digest()):
            yield f"{name}: {place[0]}: its charge was released and the sum can be opened"
        is_settled = name in federation.gone or federation.stores[name].fact("distrust") is not None
        if not is_released and not is_settled and _is_proved_closed(federation, manifest):
            yield f"{name}: {place[0]}: its charge stays although the board proves that nobody can open it"


def _uploads(federation: ChaosFederation) -> dict[tuple[str, bytes], set[bytes]]:
    """Return every body that left as an upload, by member and manifest."""
    found: dict[tuple[str, bytes], set[bytes]] = defaultdict(set)
    for said in federation.transcript:
        if said.step == "upload":
            found[said.sender, read(said.body, Upload, said.sender).manifest].add(said.body)
    return found


def _partials(federation: ChaosFederation) -> dict[tuple[bytes, bytes, int], set[str]]:
    """Return which honest members gave a partial decryption, by manifest, root and call."""
    found = defaultdict(set)
    for said in federation.transcript:
        if said.step.startswith("open") and said.sender in federation.plan.honest:
            opening = read(said.body, Opening, said.sender)
            if opening.partial:
                found[opening.manifest, opening.root, opening.number].add(said.sender)
    return found


def _is_openable(federation: ChaosFederation, manifest: bytes) -> bool:
    return any(
        digest == manifest and len(givers | set(federation.plan.colluders)) >= federation.limits.threshold
        for (digest, _, _), givers in _partials(federation).items()
    )


def _is_proved_closed(federation: ChaosFederation, manifest: Manifest) -> bool:
    """Return whether the board has the session's death and enough statements about this very manifest."""
    board = [one for one in federation.hub.stored(Channel.BOARD) if one.subject.session == manifest.session]
    said = {
        message.subject.sender
        for message in board
        if message.subject.step == "closed"
        and read(message.body, Closed, message.subject.sender).manifest == manifest.digest()
    }
    is_dead = any(message.subject.step == "died" for message in board)
    return is_dead and len(said) >= statements_needed(len(manifest.participants), federation.limits)


def _charged_manifests(federation: ChaosFederation, name: str) -> Iterator[Manifest]:
    """Yield the manifests for which an upload left, or is on disk and may yet leave."""
    left = {digest for (sender, digest) in _uploads(federation) if sender == name}
    for digest, manifest in federation.manifests.items():
        label = facts_label(federation.epoch, manifest.session)
        is_ours = federation.stores[name].fact(f"{label}/manifest") == digest
        is_stored = is_ours and federation.stores[name].fact(f"{label}/upload-sha256") is not None
        if digest in left or is_stored:
            yield manifest


def _ledger(federation: ChaosFederation, name: str) -> dict[tuple[str, str, str], tuple[int, bool]]:
    """Return each charge in a member's file: how many releases, and whether it was released."""
    connection = sqlite3.connect(f"file:{federation.directory / name}.sqlite?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT session, purpose, period, releases, is_released FROM charge").fetchall()
    finally:
        connection.close()
    return {(session, purpose, period): (releases, bool(out)) for session, purpose, period, releases, out in rows}
