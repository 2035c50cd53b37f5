"""The results page: what the benchmark found, written by the command, misses and losses included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hansa.lab.benchmark.targets import CUT_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

COMMAND: Final = "hansa benchmark liquidity"
TITLES: Final[Mapping[str, str]] = {
    "simulated": "Simulated market, ten brokers, known truth",
    "stablecoins": "Stablecoins in March 2023, four series of three venues",
    "stablecoin_venues": "Stablecoins in March 2023, three venues",
    "bitcoin": "Bitcoin in March 2023, three venues",
    "china_futures": "Chinese futures, daily, 2005 to 2021, seven groups",
    "fx_hourly": "FX and gold, hourly, 2012 to 2022, three desks",
    "djia_daily": "US stocks, daily, 2006 to 2017, five groups",
}
NOTES: Final[Mapping[str, str]] = {
    "simulated": "Outcome: the true log cost of the next bar at the members' level. View noise is the calibrated one. "
    "Every book is private here; what public data would give is what it would give if all were public.",
    "stablecoins": "Each of the four plain series is a member. These are public books.",
    "stablecoin_venues": "The same files with one member a venue: one of them sees two series. These are public books.",
    "bitcoin": "A market on which venues see nearly the same. These are public books.",
    "china_futures": "The local rival is a ridge whose strength and scaling are tuned on each market's own rows.",
    "fx_hourly": "One broker's quotes: the range stands for the cost, a count of quotes for activity.",
    "djia_daily": "Everything is public: the state channel can add nothing that a reader of all files lacks.",
}


HOW: Final = """\
* Forecasts are of the next bar's log liquidity cost; errors are means over series, on the same bars for all.
* Walk-forward: training parts grow; between training and test lies an embargo of the longest lag and the horizon, so
  that no bar is in both. Choices (ridge, window, pull, early stopping) are made on the last quarter of the training
  rows.
* Intervals are 90 % block bootstraps (days; 20 days or 120 hours where bars are daily or hourly), the same blocks for
  all. Tests are Diebold-Mariano with a Newey-West variance and the small-sample factor, on squared errors.
* Models of random start and noised arms are means of the losses of {seeds} seeds.
* Federated arms on shared baskets are the product, rehearsed in one process with the limits, rounding and noise of a
  constitution at that epsilon, without the residual network. Where members trade different markets the same statistics
  are summed in memory: the product has no such federation yet. There the arms without the state come from a
  federation of their own, whose matrices hold own columns only.
* `|none`: no noise, no clipping. `|8`, `|4`, `|1`: yearly budgets and the state channel's at that epsilon, delta
  {delta:g}. `|4 a year`: yearly budgets at 4, the state at 8. `|4 a client-day`: the state at 4, the rest at 8.
* `local` is a ridge on all of a member's own measures. It learns the exact label, which a broker without a federation
  has not where baskets are shared: this favours it, as it does every simple rival. `har_rolling` is refitted through
  the test part, nothing else is.
* `ghar` sees the costs of the member's own other markets. `local_public` sees everybody's exact measures side by side,
  `local_public_state` the exact state; `centralised`, `lightgbm_pooled` and `graph_network_pooled` are fitted on
  everybody's rows. None of these can be run where books are private.
* *In set*: the 90 % model confidence set (p-value) of what a member can run; *of all*: of every row that has one.
"""


COVERED: Final = """\
Wanted are 90 +- 2 %, out of sample. The band is that of `federated_state` at epsilon 8, as its spread on validation
rows has it and as calibrated bar by bar with outcomes known by then. Where baskets are shared the outcome is the
published cost, which is what members forecast; it carries the channel's noise, so the true cost lies in the band more
often (*truth in it*). Widths are in log units. A mean over a test part says nothing about its worst hours:
[Models](models.md) has the depeg apart.
"""


WEIGHTS_ARM: Final = "federated_personal|8"
LEAST_VENUE_RATIO: Final = 0.75
BOUND_OF_VENUES: Final = """\
* Stablecoins by venue: the same forecaster with the exact state, everybody's rows and no noise (`centralised`) does not
  reach the RMSE ratio either, so no budget would. One of three venues sees two of the four series and forecasts well
  alone. With each series a member the ratio is lower.
"""
LONG_HISTORIES: Final = """\
* Futures: the targets' counts by bars scored and the arms without noise say where pooled weights help: in markets of
  short histories. One of many years learns from its own rows nearly as well; the error is a hair lower and a test
  does not tell. Tried on validation rows and left out, for they did not lower the error: shorter training windows,
  scaling by recent rows, weights of the published state's own dynamics as a prior.
"""
ADDED: Final = """\
How much lower the RMSE is than `local`'s: for `federated_personal|8` (weights, no state), for `federated_state|8`, and
for the better of the two forecasts from everybody's exact data by one member's own rows (`local_public`,
`local_public_state`). A share near or above 100 % says: who can read everybody's data needs no state channel. Where
books are private, as in the simulated market, nobody can. Where *with the state* is no better than *weights alone*, the
state channel adds nothing to what the pooled weights bring.
"""
OFFERED: Final = """\
`hansa` does not choose by data set: a member's node publishes, and `hansa.load_model` loads, `federated_state` at the
constitution's budgets. Beside it the member's `forecasts.npz` has `persistence` (`published_last` here), `local` and
`federated_weights` (`federated_personal` here). Where the table names another default, that one is to be used, and no
command of `hansa` runs it live: the code of HAR and its like is in `hansa.model.reference_forecasts`, of the networks
in `hansa.model.rival_networks`. Where members trade different markets the product has no federation yet: the table
says which model would be the default of one.
"""


def results_page(found: Mapping[str, Any]) -> str:
    """Return the page in Markdown.

    Args:
        found: The benchmark's document.
    """
    return "\n".join(_lines(found)) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return ["| " + " | ".join(line) + " |" for line in escaped] + [""]


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    quick = " --quick" if found["is_quick"] else ""
    yield "# Results: what joining brings\n"
    yield (
        f"Written by `{COMMAND}{quick} --data DIR --page PATH`; every figure comes from one run of it, losses included."
    )
    took = f"It took {found['seconds']:.0f} s with {found['jobs']} processes"
    if found["cells_read"]:
        took = f"{found['cells_read']} of {found['cells']} cells were read from checkpoints"
    yield f"{took}; its {found['cells']} cells needed {found['cell_seconds']:.0f} s of processor time.\n"
    yield from _how(found)
    yield "## Targets\n"
    rows = [
        [row["dataset"], row["target"], row["wanted"], row["found"], f"**{row['verdict']}**"]
        for row in found["targets"]
    ]
    yield from table(["data set", "target", "wanted", "found", "verdict"], rows)
    yield from _missed(found)
    yield "## Which model is the default where\n"
    yield (
        "The shipped model is the default where it is in the 90 % model confidence set of what a member can "
        "run; elsewhere "
        "the simplest model of that set is.\n"
    )
    yield OFFERED
    rows = [
        [name, f"`{one['default']['model']}`", one["default"]["reason"], ", ".join(one["default"]["in_the_set"])]
        for name, one in found["datasets"].items()
    ]
    yield from table(["data set", "default", "why", "in the set"], rows)
    yield from _coverage(found)
    yield "## What the state channel adds, and how much of it public data alone would\n"
    yield ADDED
    rows = [_added(name, one) for name, one in found["datasets"].items()]
    header = ["data set", "weights alone", "with the state", "public data alone", "public data's share of the gain"]
    yield from table(header, rows)
    for name, one in found["datasets"].items():
        yield from _dataset(name, one)
    yield from _extras(found)


def _how(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## How it is measured\n"
    yield HOW.format(seeds=found["seeds"], delta=found["delta"])


def _added(name: str, one: Mapping[str, Any]) -> list[str]:
    share, errors = one["state_channel"], one["errors"]
    weights = 1 - errors[WEIGHTS_ARM]["rmse"]["estimate"] / errors["local"]["rmse"]["estimate"]
    if share["public_share"] is None:
        part = "no gain"
    else:
        part = f"{share['public_share']:.0%}" if share["public_gain"] > 0 else "none: public data alone lose"
    return [name, f"{weights:.1%}", f"{share['gain']:.1%}", f"{share['public_gain']:.1%}", part]


def _missed(found: Mapping[str, Any]) -> Iterator[str]:
    """Say why targets are missed, where the run itself shows it."""
    missed = {row["dataset"] for row in found["targets"] if row["verdict"] == "MISSED"}
    venues, said = found["datasets"].get("stablecoin_venues"), []
    if "stablecoin_venues" in missed and venues["ratios"]["centralised"]["rmse"]["estimate"] > LEAST_VENUE_RATIO:
        said.append(BOUND_OF_VENUES)
    if "china_futures" in missed:
        said.append(LONG_HISTORIES)
    if said:
        yield "### Misses\n"
        yield "".join(said)


def _coverage(found: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for name, one in found["datasets"].items():
        band = one["coverage"]
        if band is None:
            continue
        low, high = band["by_series"]
        rows.append(
            [
                name,
                f"{band['forecasts']:,}",
                f"{band['own']:.1%}",
                f"**{band['calibrated']:.1%}**",
                f"{low:.1%} to {high:.1%}",
                " ".join(f"{100 * share:.1f}" for share in band["below"]),
                "" if band["truth"] is None else f"{band['truth']:.1%}",
                f"{band['width_own']:.2f}",
                f"{band['width']:.2f}",
            ]
        )
    if rows:
        yield "## How often outcomes lie in the 5 to 95 % band\n"
        yield COVERED
        header = [
            "data set", "forecasts", "model's own band", "calibrated", "by series", "below q05 q25 q50 q75 q95, %",
            "truth in it", "width before", "after",
        ]  # fmt: skip
        yield from table(header, rows)


def _dataset(name: str, one: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {TITLES.get(name, name)}\n"
    yield f"{NOTES.get(name, '')}\n"
    run = one["folds"]
    yield (
        f"{one['series']} of {one['series_in_all']} series scored, {one['bars']} bars, {one['blocks']} blocks, "
        f"{len(run['run'])} of {run['of']} folds. Privacy unit: {one['privacy_unit']}."
    )
    if one["left_out"]:
        yield "Rows left out: " + ", ".join(f"{count} {reason}" for reason, count in one["left_out"].items()) + "."
    yield ""
    rows = []
    for arm in sorted(one["errors"], key=lambda arm: float(one["errors"][arm]["rmse"]["estimate"])):
        errors, ratio, relative = one["errors"][arm], one["ratios"][arm]["rmse"], one["ratios"][arm]["mape"]
        tests, gap = one["diebold_mariano"].get(arm), one["gap_closure"].get(arm, {}).get("rmse")
        in_set = one["confidence_set"].get(arm)
        in_all = one["confidence_set_of_all"].get(arm)
        closed = (
            ""
            if gap is None or gap["estimate"] is None
            else f"{gap['estimate']:.2f} ({gap['low']:.2f} to {gap['high']:.2f})"
        )
        rows.append(
            [
                f"`{arm}`",
                f"{errors['rmse']['estimate']:.4f}",
                _interval(ratio, 3),
                f"{relative['estimate']:.3f}",
                f"{errors['qlike']['estimate']:.4f}",
                ""
                if tests is None
                else f"{tests['significantly_better']}, {tests['significantly_worse']} of {tests['of']}",
                closed,
                _yes(in_set),
                _yes(in_all),
            ]
        )
    header = [
        "arm",
        "RMSE",
        "to local",
        "MAPE to local",
        "QLIKE",
        "DM better, worse",
        "gap closure",
        "in set",
        "of all",
    ]
    yield from table(header, rows)
    members = one["per_member"][max(one["per_member"], key=lambda arm: arm == "federated_state|8")]
    yield "`federated_state|8` to local by member (RMSE): " + ", ".join(
        f"{member} {row['rmse']:.3f}" for member, row in members.items()
    )
    yield ""


def _extras(found: Mapping[str, Any]) -> Iterator[str]:
    fresh = found["newcomer"]
    if fresh is not None:
        yield "## A newcomer\n"
        yield (
            f"Each group of futures in its turn has only {fresh['history_bars']} days of history and is scored "
            "on as many "
            f"days after the embargo; {fresh['series']} series. RMSE to its own tuned ridge:\n"
        )
        rows = [
            [
                f"`{arm}`",
                f"{one['rmse']['estimate']:.3f}",
                f"{one['rmse']['low']:.3f} to {one['rmse']['high']:.3f}",
            ]
            for arm, one in fresh["ratios"].items()
        ]
        yield from table(["arm", "to local", "interval"], rows)
    if found["view_noise"]["rows"]:
        yield "## View noise\n"
        yield (
            "Error cut (MAPE, shipped model against local) by the noise of a member's view, in multiples of "
            "the calibrated:\n"
        )
        kept = [key for key in CUT_KEYS if any(key in row for row in found["view_noise"]["rows"])]
        rows = [
            [f"{row['factor']:g}", *(f"{row[key]:.1%}" if key in row else "" for key in kept)]
            for row in found["view_noise"]["rows"]
        ]
        yield from table(["view noise", "cut at epsilon 8", "cut without noise"][: 1 + len(kept)], rows)
        yield (
            "A clean view leaves little to add; a noisy one makes the state noisy too. "
            "Simulated markets of the sweep: " + f"{found['sweep_seeds']} a row.\n"
        )
    if found["missing"]:
        yield f"Not run, files not there: {', '.join(found['missing'])}.\n"


def _interval(value: Mapping[str, float], digits: int) -> str:
    return f"{value['estimate']:.{digits}f} ({value['low']:.{digits}f} to {value['high']:.{digits}f})"


def _yes(p_value: float | None) -> str:
    return "" if p_value is None else f"{'yes' if p_value >= 0.1 else 'no'} ({p_value:.2f})"
