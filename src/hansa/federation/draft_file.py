"""The draft file: what the founders of a federation choose, in TOML, with the meaning beside each choice.

Guarantees: an unknown key, a missing one or another type is refused with its place; what `to_toml` writes reads back
as the same draft.
Does NOT hold: members and keys (they come from the roster), or anything that follows from the choices (`drafting`).
"""

from __future__ import annotations

import json
import tomllib
from typing import Final, Self

import msgspec

from hansa.errors import ConfigurationError
from hansa.governance.constitution import Deadlines, Market, Schedule
from hansa.governance.node_audit import NodeAuditClause  # noqa: TC001 - msgspec reads it at run time
from hansa.identity.attestation.clause import AttestationClause  # noqa: TC001 - msgspec reads it at run time


class Budgets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Epsilon of each purpose for its period, all at one `delta`; the yearly ones pay for `rounds_a_year` rounds.

    `ripple` pays for `ripple_queries` queries a year; 0: none can be asked.
    """

    census: float = 4.0
    state: float = 8.0
    gram: float = 8.0
    clip: float = 2.0
    weights: float = 8.0
    delta: float = 1e-6
    rounds_a_year: int = 1
    ripple: float = 0.0
    ripple_queries: int = 20


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Steps of the residual network in a round (0: none), and the L2 bounds of a day's part of Gram and gradient."""

    steps: int = 12
    gram_clip: float = 12.0
    gradient_clip: float = 0.5


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What founders choose; without `colluders` the most that are below n / 3, without `minimum_cohort` the least."""

    market: Market
    budgets: Budgets = Budgets()
    training: Training = Training()
    schedule: Schedule = Schedule("0 2 * * 3", "UTC")
    deadlines: Deadlines = Deadlines(60.0, 30.0, 30.0, 30.0)
    colluders: int | None = None
    minimum_cohort: int | None = None
    attempts: int = 3
    reopenings: int = 2
    cosignatures: int | None = None
    attestation: AttestationClause | None = None
    node_audit: NodeAuditClause | None = None

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """Parse a draft file.

        Raises:
            ConfigurationError: It is not TOML, or a key is unknown, missing or of another type.
        """
        try:
            return msgspec.convert(tomllib.loads(text), type=cls)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
            raise ConfigurationError(
                f"draft: {error}; `hansa constitution new --template` writes a file to begin with"
            ) from error

    def to_toml(self) -> str:
        """Return the file's text, commented."""
        market, budgets, training = self.market, self.budgets, self.training
        return _TEMPLATE.format(
            colluders=_optional("colluders", self.colluders, 1),
            minimum_cohort=_optional("minimum_cohort", self.minimum_cohort, 4),
            cosignatures=_optional("cosignatures", self.cosignatures, 4),
            attempts=self.attempts,
            reopenings=self.reopenings,
            bar_seconds=market.bar_seconds,
            measures=_texts(market.measures),
            cost=_text(market.cost),
            volume_unit=float(market.volume_unit),
            weight_cap=float(market.weight_cap),
            influence_cap=float(market.influence_cap),
            history_days=market.history_days,
            codes="\n".join(
                f"{_text(name)} = {{isin = {_text(one.isin)}, mic = {_text(one.mic)}}}"
                for name, one in market.codes.items()
            ),
            baskets="\n".join(f"{_text(name)} = {_texts(markets)}" for name, markets in market.baskets.items()),
            **{name: float(getattr(budgets, name)) for name in _EPSILONS},
            rounds_a_year=budgets.rounds_a_year,
            ripple_queries=budgets.ripple_queries,
            steps=training.steps,
            gram_clip=float(training.gram_clip),
            gradient_clip=float(training.gradient_clip),
            cron=_text(self.schedule.cron),
            time_zone=_text(self.schedule.time_zone),
            **{name: float(getattr(self.deadlines, name)) for name in Deadlines.__struct_fields__},
            attestation=_NO_ATTESTATION if self.attestation is None else _attestation(self.attestation),
            node_audit=_NO_NODE_AUDIT if self.node_audit is None else _node_audit(self.node_audit),
        )


EXAMPLE: Final = Draft(
    Market(
        bar_seconds=300,
        baskets={"EUR-USD": ("EUR-USD",), "XAU-USD": ("XAU-USD",)},
        measures=("log_spread", "log_depth", "log_impact"),
        cost="log_spread",
        volume_unit=1e7,
        weight_cap=0.25,
        influence_cap=0.02,
        history_days=60,
    ),
    Budgets(rounds_a_year=52),  # as many as its schedule begins
)
"""Choices to begin with; markets and the volume unit are to be replaced by the federation's own."""

_EPSILONS: Final = ("census", "state", "gram", "clip", "weights", "ripple", "delta")
_TEMPLATE: Final = """\
# Draft of a constitution: the choices. Members and keys come from the roster; `hansa constitution new` derives vector
# lengths, sensitivities and noise from these choices and refuses what contradicts itself.

{colluders}  # c < n / 3: members that may collude with the coordinator; left out: the most that n allows
{minimum_cohort}  # fewest members in an opened sum, at least the quorum; left out: the least that c allows
attempts = {attempts}  # times that one sum may be tried; each try is charged to the budget
reopenings = {reopenings}  # times that members answer again for the same cohort
{cosignatures}  # members that must have cosigned the log before a sum is opened; 0: none; left out: the quorum

[market]
bar_seconds = {bar_seconds}  # length of a bar, s; divides a day
measures = {measures}  # log measures of a bar
cost = {cost}  # the measure that is forecast
volume_unit = {volume_unit}  # quote volume a bar that counts as 1 in the census
weight_cap = {weight_cap}  # largest share of one member in a basket, 0 to 1; the state's noise grows with it
influence_cap = {influence_cap}  # largest change, in log units, that one client makes to a member's measure of a bar
history_days = {history_days}  # days that a round looks back

[market.baskets]  # markets that are measured together, by the basket's name
{baskets}

[market.codes]  # of a market, where there are any: "BAY" = {{isin = "DE000BAY0017", mic = "XETR"}}
{codes}

[budgets]  # epsilon: the smaller, the less a sum tells and the noisier it is; 1 is strong, 8 is weak
census = {census}  # a year, for one client in a basket
state = {state}  # a DAY, for one client in a basket
gram = {gram}  # a year, for one day of a member's data
clip = {clip}  # a year, for one day of a member's data: to which norm the steps clip; 0: always to gradient_clip
weights = {weights}  # a year, for one day of a member's data
ripple = {ripple}  # a year, for one day of a member's data: queries of `hansa ripple`; 0: none can be asked
ripple_queries = {ripple_queries}  # queries a year that `ripple` pays for; noise grows with its square root
delta = {delta}  # probability that epsilon does not hold
rounds_a_year = {rounds_a_year}  # rounds that the yearly budgets pay for; noise grows with its square root

[training]
steps = {steps}  # of the residual network in a round; 0 trains none
gram_clip = {gram_clip}  # L2 bound of a day's part of the Gram matrices
gradient_clip = {gradient_clip}  # largest L2 bound of a day's gradient

[schedule]
cron = {cron}  # when rounds begin: minute, hour, day, month, weekday
time_zone = {time_zone}  # IANA name

[deadlines]  # how long a step waits for those who are missing, s
setup_seconds = {setup_seconds}
upload_seconds = {upload_seconds}
agree_seconds = {agree_seconds}
open_seconds = {open_seconds}

{attestation}
{node_audit}"""
_NO_NODE_AUDIT: Final = """\
# [node_audit]  # what members ask of each other's nodes every quarter; left out: nothing
# must_pass = ["kit", "keys", "tls", "constitution", "acknowledged", "facts"]
# grace_days = 30  # after the quarter's end
# suspend = true
"""
_NO_ATTESTATION: Final = """\
# [attestation]  # what members ask of the coordinator's machine; left out: nothing
# policy = "require"  # or "warn", "off"
# [[attestation.images]]  # a machine that is allowed: tdx, sgx, sev-snp or tpm, and the values of its registers
# technology = "tdx"
# registers = { mrtd = "96 hexadecimal digits" }}
"""


def _attestation(clause: AttestationClause) -> str:
    lines = [
        "[attestation]  # what members ask of the coordinator's machine",
        f"policy = {_text(clause.policy)}  # require, warn or off",
        f"code = {_texts(clause.code)}  # measurements of the package that are allowed; empty: any",
        f"statuses = {_texts(clause.statuses)}  # of Intel's trusted computing base that are accepted",
        f"roots = {_texts(clause.roots)}  # SHA-256 of further AMD roots and of TPMs' attestation keys",
    ]
    for image in clause.images:
        registers = ", ".join(f"{name} = {_text(value)}" for name, value in image.registers.items())
        lines += ["", "[[attestation.images]]", f"technology = {_text(image.technology)}"]
        lines.append(f"registers = {{ {registers} }}")
    return "\n".join(lines) + "\n"


def _node_audit(clause: NodeAuditClause) -> str:
    return (
        "[node_audit]  # what members ask of each other's nodes every quarter\n"
        f"must_pass = {_texts(clause.must_pass)}  # probes of `hansa doctor`\n"
        f"grace_days = {clause.grace_days}  # after the quarter's end\n"
        f"suspend = {str(clause.suspend).lower()}  # whoever fails then\n"
        f"code = {_texts(clause.code)}  # measurements of the package that members may run; empty: any\n"
    )


def _optional(name: str, value: int | None, example: int) -> str:
    return f"# {name} = {example}" if value is None else f"{name} = {value}"


def _texts(values: tuple[str, ...]) -> str:
    return f"[{', '.join(map(_text, values))}]"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # a TOML basic string, for text without control characters
