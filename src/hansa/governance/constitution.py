"""The constitution: one canonical JSON object from which every limit of a federation comes.

Flags, environment and messages cannot widen what stands here: a member's door compares each manifest with it. Who
has signed it, and its file, are in `signed`; how one follows another is in `amendment`.

* `version` is the schema of the file: which fields there are and what they mean. This program reads version 1 alone.
* `epoch` counts the federation's constitutions. Whatever is amended, the next one has the next epoch, because the
  set-up's keys and masks are bound to the digest: there is no amendment within an epoch.
* `supersedes` is the digest of the constitution before; null in the first. The digests make a chain.
* Clauses that may be left out: `attestation` is what members ask of the coordinator's machine
  (`identity.attestation.clause`), `node_audit` what they ask of each other's nodes (`node_audit`), `cosignatures` how
  many members must have cosigned a checkpoint of the transparency log before a manifest in it is opened. Where there
  is none, the canonical bytes do not have the field, so that constitutions signed before keep their digests.

Derived, never stored: `quorum = floor((n + c) / 2) + 1` (two quorums share an honest member) and the decryption
threshold `max(c + 1, quorum)`.

Guarantees: an unknown field, a missing one, two of one name, or two that contradict each other are refused with the
clause; so are bytes other than the canonical ones, so that one constitution has one digest.
Does NOT guarantee that the limits are wise; it only makes them the same for everybody.

Source: RFC 8785 (JSON Canonicalization Scheme).
"""

from __future__ import annotations

import hashlib
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

from hansa.crypto.canonical import canonical, strict_json
from hansa.crypto.sampling import LARGEST_SIGMA
from hansa.crypto.signature import parse_public
from hansa.errors import ConfigurationError, IdentityError
from hansa.governance.node_audit import NodeAuditClause  # noqa: TC001 - likewise
from hansa.identity.attestation.clause import AttestationClause  # noqa: TC001 - msgspec reads it at run time
from hansa.identity.codes import check_isin, check_lei, check_mic

if TYPE_CHECKING:
    from collections.abc import Mapping

SUM_LIMIT: Final = 2**44
MAX_MEMBERS: Final = 100
OPTIONAL: Final = frozenset({"attestation", "cosignatures", "node_audit"})
"""Clauses that the canonical bytes leave out where there are none."""
SMALLEST_SHARE: Final = 0.5  # of a member's noise, in steps: below, the accounting of discrete noise does not hold
_NAME = re.compile(r"[a-z0-9-]{1,40}")
# The session's label `r<round>-<position>-<purpose>-a<attempt>` has 40 characters: 13, 4 and 2 digits leave these.
_PURPOSE = re.compile(r"[a-z0-9-]{1,16}")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_MAX_SUMS: Final = 10_000
_ANY_SUNDAY: Final = datetime(2024, 1, 7, tzinfo=UTC)  # a schedule that recurs does so from any day on


class Party(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A member or the coordinator: its name, its identity key (`ed25519:...` or `p256:...`).

    Where they are given: its LEI, and a second public key, kept apart, that may revoke or replace a lost identity key.
    """

    name: str
    identity_key: str
    lei: str = ""
    recovery_key: str = ""


class Purpose(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be summed, how finely, with how much noise, and how much of it in all.

    `values` is the vector's length; a purpose about bars has `values_per_bar` values for each bar of its span and
    `values` in front of them. `exchanges` is how often coordinator and members take turns: 3 (upload, agree, open), or
    2 (upload, open: what opens the sum is the vote for its cohort). `sensitivity` is the largest L2 change that one
    `unit` can make to the vector, `noise_multiplier` the ratio sigma / sensitivity of the sum's noise. `epsilon` at
    `delta` is the budget of one period (`year`, or `day` of the data).
    """

    values: int
    values_per_bar: int
    exchanges: int
    value_bound: float
    scale: int
    sensitivity: float
    noise_multiplier: float
    unit: str
    period: str
    epsilon: float
    delta: float


class Sums(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the round: `count` secure sums of `purpose`, one after another."""

    purpose: str
    count: int


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When rounds begin: five cron fields read in an IANA time zone."""

    cron: str
    time_zone: str


class Deadlines(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long each step waits for those who are missing, in seconds from the step's message."""

    setup_seconds: float
    upload_seconds: float
    agree_seconds: float
    open_seconds: float


class Codes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a market is by the codes of finance: the instrument (ISO 6166) and the venue (ISO 10383), where they are."""

    isin: str = ""
    mic: str = ""


class Market(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is measured together: baskets of markets, the log measures of a bar, the one that is the cost.

    `volume_unit` is the quote volume a bar that counts as 1 in the census; `weight_cap` the largest share of a member
    in a basket; `influence_cap` the largest change, in log units or as a share of volume, that one client makes to a
    member's measure of a bar. Baskets stand in the order of their names, as in the file: vectors are laid out by it.
    """

    bar_seconds: int
    baskets: dict[str, tuple[str, ...]]
    measures: tuple[str, ...]
    cost: str
    volume_unit: float
    weight_cap: float
    influence_cap: float
    history_days: int
    codes: dict[str, Codes] = {}  # by market; those of a currency pair or a crypto-asset may be missing

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "baskets", dict(sorted(self.baskets.items())))


class Constitution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every limit of one federation; see the module's docstring."""

    version: int
    epoch: int
    federation: str
    members: tuple[Party, ...]
    coordinator: Party
    colluders: int
    minimum_cohort: int
    attempts: int
    reopenings: int
    market: Market
    purposes: dict[str, Purpose]
    round: tuple[Sums, ...]
    schedule: Schedule
    deadlines: Deadlines
    supersedes: str | None = None
    attestation: AttestationClause | None = None
    cosignatures: int | None = None
    node_audit: NodeAuditClause | None = None

    @property
    def quorum(self) -> int:
        """Signatures that make a cohort binding."""
        return (len(self.members) + self.colluders) // 2 + 1

    @property
    def threshold(self) -> int:
        """Members whose partial decryptions open a sum."""
        return max(self.colluders + 1, self.quorum)

    def bytes(self) -> bytes:
        """Canonical JSON of this constitution."""
        return canonical(self.fields())

    def fields(self) -> dict[str, Any]:
        """Return the JSON object, without the optional clauses that are not there."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {name: value for name, value in found.items() if value is not None or name not in OPTIONAL}

    def digest(self) -> str:
        """SHA-256 of the canonical bytes, in hexadecimal."""
        return hashlib.sha256(self.bytes()).hexdigest()


def parse(data: bytes) -> Constitution:
    """Read and check the canonical bytes of a constitution.

    Raises:
        ConfigurationError: A field is unknown, missing, doubled, of the wrong type or contradicts another (the clause
            is named), or the bytes are not the canonical ones.
    """
    strict_json(data, what="constitution")
    try:
        constitution = msgspec.json.decode(data, type=Constitution)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"constitution: {error}") from error
    check(constitution)
    if constitution.bytes() != data:
        raise ConfigurationError(
            "constitution: the bytes are not canonical (order, white space, form of a number, a field left out); "
            "take the file as `hansa constitution new` wrote it"
        )
    return constitution


def check(constitution: Constitution) -> None:
    """Refuse a constitution that contradicts itself.

    Raises:
        ConfigurationError: Names the clause, what it must satisfy and what it says.
    """
    names = [party.name for party in (*constitution.members, constitution.coordinator)]
    members = len(constitution.members)
    clauses = {
        f"version: expected 1, got {constitution.version}": constitution.version == 1,
        f"epoch: 1 to 9999, got {constitution.epoch}": 1 <= constitution.epoch <= 9999,
        "supersedes: null in epoch 1, later the digest of the constitution before (64 of 0-9, a-f)": (
            constitution.supersedes is None
            if constitution.epoch == 1
            else bool(_DIGEST.fullmatch(constitution.supersedes or ""))
        ),
        "federation: a name is 1-40 of a-z, 0-9, -": bool(_NAME.fullmatch(constitution.federation)),
        "members: names are 1-40 of a-z, 0-9, - and unique, the coordinator's too": len(set(names)) == len(names)
        and all(_NAME.fullmatch(name) for name in names),
        "members: identity keys are valid and no two parties share one, the coordinator neither": len(
            {_key_bytes(party) for party in (*constitution.members, constitution.coordinator)}
        )
        == len(names),
        "members: sorted by name": names[:-1] == sorted(names[:-1]),
        f"members: 3 to {MAX_MEMBERS}, got {members}": 3 <= members <= MAX_MEMBERS,
        f"colluders: 0 <= c < n/3, got c={constitution.colluders}, n={members}": constitution.colluders >= 0
        and 3 * constitution.colluders < members,
        f"minimum_cohort: between max(3, c + 2, quorum {constitution.quorum}) and n={members}, "
        f"got {constitution.minimum_cohort}": max(3, constitution.colluders + 2, constitution.quorum)
        <= constitution.minimum_cohort
        <= members,
        "attempts: 1 to 10": 1 <= constitution.attempts <= 10,
        "reopenings: 0 to 10": 0 <= constitution.reopenings <= 10,
        f"cosignatures: the quorum {constitution.quorum} to n={members}, or left out, "
        f"got {constitution.cosignatures}": constitution.cosignatures is None
        or constitution.quorum <= constitution.cosignatures <= members,
        "round: names a purpose that is not there, or a count below 1": all(
            line.purpose in constitution.purposes and line.count >= 1 for line in constitution.round
        ),
        f"round: at most {_MAX_SUMS} sums": sum(line.count for line in constitution.round) <= _MAX_SUMS,
        "schedule.cron: five fields": len(constitution.schedule.cron.split()) == 5,
        "deadlines: more than 0 s and at most a day": all(
            0 < seconds <= 86_400 for seconds in msgspec.structs.astuple(constitution.deadlines)
        ),
    }
    _refuse(clauses)
    _check_schedule(constitution.schedule)
    _check_market(constitution.market)
    if constitution.attestation is not None:
        constitution.attestation.check()
    _check_codes(constitution)
    if constitution.node_audit is not None:
        constitution.node_audit.check()
    for name, purpose in constitution.purposes.items():
        _check_purpose(name, purpose, constitution)


def _key_bytes(party: Party) -> bytes:
    try:
        return parse_public(party.identity_key)
    except IdentityError as error:
        raise ConfigurationError(f"constitution: {party.name}: {error}") from error


def _check_codes(constitution: Constitution) -> None:
    parties, market = (*constitution.members, constitution.coordinator), constitution.market
    leis = [party.lei for party in parties if party.lei]
    keys = [key for party in parties for key in (party.identity_key, party.recovery_key) if key]
    known = {name for names in market.baskets.values() for name in names}
    _refuse(
        {
            "members: an LEI stands twice": len(set(leis)) == len(leis),
            "members: a recovery key is also an identity key, or another's recovery key": len(set(keys)) == len(keys),
            "market.codes: names a market that is in no basket": market.codes.keys() <= known,
        }
    )
    try:
        for party in parties:
            if party.lei:
                check_lei(party.lei, what=f"{party.name}: lei")
            if party.recovery_key:
                parse_public(party.recovery_key)
        for name, codes in market.codes.items():
            if codes.isin:
                check_isin(codes.isin, what=f"market.codes.{name}.isin")
            if codes.mic:
                check_mic(codes.mic, what=f"market.codes.{name}.mic")
    except IdentityError as error:
        raise ConfigurationError(f"constitution: {error}") from error


def _check_schedule(schedule: Schedule) -> None:
    try:
        ZoneInfo(schedule.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigurationError(
            f"constitution: schedule.time_zone: {schedule.time_zone[:60]!r} is not an IANA time zone"
        ) from error
    try:
        next(CronSim(schedule.cron, _ANY_SUNDAY))
    except (CronSimError, StopIteration) as error:
        raise ConfigurationError(
            f"constitution: schedule.cron: {schedule.cron[:60]!r} is not a cron expression that recurs"
        ) from error


def _check_market(market: Market) -> None:
    members = [name for names in market.baskets.values() for name in names]
    words = (*market.baskets, *members, *market.measures)
    _refuse(
        {
            "market.bar_seconds: divides a day": market.bar_seconds > 0 and 86_400 % market.bar_seconds == 0,
            "market.baskets: at least one, none empty, no market twice": bool(market.baskets)
            and all(market.baskets.values())
            and len(set(members)) == len(members),
            "market: names of baskets, markets and measures are 1-40 of A-Z, a-z, 0-9, '.', '_', '-'": all(
                _WORD.fullmatch(word) for word in words
            ),
            "market.measures: at least one, none twice": bool(market.measures)
            and len(set(market.measures)) == len(market.measures),
            f"market.cost: one of the measures, got {market.cost}": market.cost in market.measures,
            "market.volume_unit: above 0": math.isfinite(market.volume_unit) and market.volume_unit > 0,
            "market.weight_cap: above 0, at most 1": 0 < market.weight_cap <= 1,
            "market.influence_cap: above 0, at most 1": 0 < market.influence_cap <= 1,
            "market.history_days: 1 to 10000": 1 <= market.history_days <= 10_000,
        }
    )


def _check_purpose(name: str, purpose: Purpose, constitution: Constitution) -> None:
    numbers = (
        purpose.value_bound,
        purpose.sensitivity,
        purpose.noise_multiplier,
        purpose.epsilon,
        purpose.delta,
    )
    _refuse(
        {
            f"purposes.{name}: a name is 1-16 of a-z, 0-9, -": bool(_PURPOSE.fullmatch(name)),
            f"purposes.{name}.unit: 1 to 100 printable characters": 1 <= len(purpose.unit) <= 100
            and purpose.unit.isprintable(),
            f"purposes.{name}: numbers are finite and above 0": all(math.isfinite(x) and x > 0 for x in numbers),
            f"purposes.{name}.values: 0 to 10000000, with values_per_bar at least 1 in all": 0
            <= purpose.values
            <= 10_000_000
            and 0 <= purpose.values_per_bar <= 1_000_000
            and purpose.values + purpose.values_per_bar >= 1,
            f"purposes.{name}.exchanges: 2 or 3": purpose.exchanges in {2, 3},
            f"purposes.{name}.scale: 1 to 2^30": 1 <= purpose.scale <= 2**30,
            f"purposes.{name}.delta: at most 1e-3": purpose.delta <= 1e-3,
            f"purposes.{name}.period: year or day": purpose.period in {"year", "day"},
        }
    )
    share, reach = noise_and_reach(purpose, constitution)
    _refuse(
        {
            f"purposes.{name}: n * value_bound * scale + 12 sigma = {reach:.3g} must stay below 2^44": reach
            < SUM_LIMIT,
            f"purposes.{name}: a member's noise of {share:.3g} steps must be {SMALLEST_SHARE} to {LARGEST_SIGMA:g}; "
            "change scale": SMALLEST_SHARE <= share <= LARGEST_SIGMA,
        }
    )


def noise_and_reach(purpose: Purpose, constitution: Constitution) -> tuple[float, float]:
    """Return, in steps, the scale of a member's noise and the largest sum with twelve deviations of all noise.

    As the door makes it: rounding widens the sensitivity, and every member adds the share of an honest minimum.
    """
    members = len(constitution.members)
    touched = purpose.values_per_bar or purpose.values
    steps = purpose.sensitivity * purpose.scale + math.sqrt(touched)
    share = purpose.noise_multiplier * steps / math.sqrt(constitution.minimum_cohort - constitution.colluders)
    return share, members * purpose.value_bound * purpose.scale + 12 * share * math.sqrt(members)


def _refuse(clauses: Mapping[str, bool]) -> None:
    for clause, holds in clauses.items():
        if not holds:
            raise ConfigurationError(f"constitution: {clause}")
