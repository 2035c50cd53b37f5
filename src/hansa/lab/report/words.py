"""What the report says in words: the finding in one sentence, what stands out, and what the page does not prove.

Every sentence follows from the document; a gain is called one only where its interval lies below 1, and what went
badly is said beside what went well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hansa.lab.report.error_picture import shown
from hansa.lab.report.reading import mapping, number, rows

if TYPE_CHECKING:
    from hansa.lab.report.reading import Estimate, Reading

DAY_NS: Final = 86_400_000_000_000
FEW_DAYS: Final = 30


def headline(reading: Reading) -> str:
    """Return the finding in one plain sentence."""
    state, local = reading.arm("federated_state"), reading.arm("local")
    count = len(reading.members)
    who = f"{count} members" if count else "The members"
    if state is None or local is None or "mape" not in state.errors or "mape" not in local.errors:
        return f"{who} added up what they saw without showing it; this document compares no errors."
    ratio = state.ratios.get("mape")
    ends = f"{shown(local.errors['mape'], 'mape')} to {shown(state.errors['mape'], 'mape')}"
    if ratio is None:
        return f"{who} shared sums, not data: the mean error of the next bar's liquidity cost went from {ends}."
    verdict = _verdict(ratio)
    if verdict == "lower":
        fall = 100 * (1 - ratio.value)
        return (
            f"{who} shared sums, not data, and forecast the next bar's liquidity cost with {fall:.0f} % less error "
            f"than alone; the mean error fell from {ends}."
        )
    if verdict == "higher":
        return f"{who} shared sums, not data, and forecast the next bar's liquidity cost worse than alone: {ends}."
    return f"{who} shared sums, not data; whether their forecasts gained by it is not clear from these data: {ends}."


def findings(reading: Reading) -> list[str]:
    """Return what stands out in the errors, good and bad."""
    found = [*_members(reading), *_arms(reading), *_gates(reading), *_other_outcomes(reading)]
    if len(mapping(reading.document.get("lsi"))) == 2 and len(reading.indices) == 1:
        found.append("There is one basket, so the system's stress index is the basket's.")
    return found


def warnings_in_words(reading: Reading) -> list[str]:
    """Return how the alerts did against the known onsets, both rules in one sentence each."""
    found = []
    for name in dict.fromkeys(rule.name for rule in reading.rules):
        own = [rule for rule in reading.rules if rule.name == name and rule.hits is not None]
        hits = sum(rule.hits or 0 for rule in own)
        onsets = hits + sum(rule.misses or 0 for rule in own)
        leads = [lead for rule in own for lead in rule.lead_minutes]
        rates = [rule.false_alarms_per_day for rule in own if rule.false_alarms_per_day is not None]
        if not own:
            continue
        words = f"{name.capitalize()}: {hits} of {onsets} onsets after training met"
        if leads and max(leads) < 0 and max(leads) == min(leads):
            words += f", {-leads[0]:.0f} minutes after the onset"
        elif leads and max(leads) < 0:
            words += f", all of them {-max(leads):.0f} to {-min(leads):.0f} minutes after the onset"
        elif leads:
            words += f", lead {min(leads):.0f} to {max(leads):.0f} minutes (below 0: after the onset)"
        if rates:
            words += f"; {sum(rates) / len(rates):.2f} false alarms a day and market"
        found.append(words + ".")
    if found:
        found.append("That many onsets are too few to rank the rules; the table shows what chance alone would meet.")
    return found


def limits(reading: Reading) -> list[str]:
    """Return what the page does not show or prove."""
    seen = "all members' bars and the true cost" if reading.is_simulated else "all members' bars"
    found = [
        (
            f"The errors were computed by an observer that sees everything: {seen}. No member, and not the "
            "coordinator, could make this page; a member sees its own errors only."
        ),
        "All processes ran on one machine. Keys, certificates and folders were apart; hosts and operators were not.",
        (
            "Three layers stand against a lying coordinator (noise, masks, encryption); all of them trust that at most "
            "the constitution's number of members collude with it, and that no member's disk is rolled back."
        ),
    ]
    if any(one.unit.startswith("client") for one in reading.budgets):
        found.append(
            "Budgets about clients hold for clients' own records: bars were made so that no client moves a measure by "
            "more than the constitution's influence cap. What a client does to the market, and so to quotes, is not "
            "bounded."
        )
    if any(one.unit.startswith(("a change", "a share")) for one in reading.budgets):
        found.append(
            "These bars came without trades, so the influence cap could not be enforced: the budgets of census and "
            "state bound a change of the measures, and no client."
        )
    dear = [one for one in reading.budgets if (one.allowed or 0.0) >= 4.0]
    if dear:
        most = max(one.allowed or 0.0 for one in dear)
        daily = (
            " The budget per day starts anew every day, so days add up." if any(x.period == "day" for x in dear) else ""
        )
        found.append(f"An epsilon of {most:g} is a weak guarantee by itself, and budgets of purposes add up.{daily}")
    found.append("Nothing here keeps a member from lying about its own data; bounds limit what a lie can move.")
    found.extend(_data_limits(reading))
    return found


def days_tested(reading: Reading) -> float | None:
    """Return the days after training on which errors were measured."""
    stamps = [index.ts_ns[-1] for index in reading.indices if index.ts_ns]
    if reading.train_ns is None or not stamps:
        return None
    return max(stamps[0] - reading.train_ns[1], 0) / DAY_NS


def _data_limits(reading: Reading) -> list[str]:
    found = []
    days = days_tested(reading)
    if days is not None and days < FEW_DAYS:
        found.append(
            f"Errors were measured on {days:.1f} days. A bootstrap over so few days is rough, and its intervals do not "
            "hold what another month or another market would change."
        )
    if reading.is_simulated:
        found.append(
            "The market is simulated. How noisy a broker's view is was measured on real venues, but the size and shape "
            "of stress, the spillovers and the link of cost to volatility are assumptions; markets never close, no bar "
            "is missing, nobody reacts, and all views are equally noisy."
        )
    else:
        found.append(
            "These books are public: reading everybody's files (local + everybody's data) needs no federation. The run "
            "shows what sums keep of that, not what brokers' private books would bring."
        )
    return found


def _verdict(ratio: Estimate) -> str:
    low = ratio.value if ratio.low is None else ratio.low
    high = ratio.value if ratio.high is None else ratio.high
    return "lower" if high < 1 else "higher" if low > 1 else "unclear"


def _members(reading: Reading) -> list[str]:
    state, local = reading.arm("federated_state"), reading.arm("local")
    if state is None or local is None:
        return []
    pairs = {
        name: (own["mape"], local.by_member[name]["mape"])
        for name, own in state.by_member.items()
        if "mape" in own and "mape" in local.by_member.get(name, {})
    }
    worse = [name for name, (joined, alone) in pairs.items() if joined > alone]
    if not pairs:
        return []
    if not worse:
        return [f"Every one of the {len(pairs)} members has a smaller MAPE with the state than alone."]
    return [
        (
            f"{len(pairs) - len(worse)} of {len(pairs)} members have a smaller MAPE with the state than alone; "
            f"{', '.join(worse)} {'has' if len(worse) == 1 else 'have'} not."
        ),
    ]


def _arms(reading: Reading) -> list[str]:
    weights, best = reading.arm("federated_weights"), reading.arm("centralised")
    found = _yardstick(reading)
    if weights is not None and (ratio := weights.ratios.get("mape")) is not None:
        words = {"higher": "does worse than local", "lower": "does better than local", "unclear": "is no clear gain"}
        found.append(f"Sharing weights without the state {words[_verdict(ratio)]}: {ratio.value:.2f} times its MAPE.")
    if best is not None and (ratio := best.ratios.get("mape")) is not None:
        found.append(f"One party with everybody's data and no noise would reach {ratio.value:.2f} times local.")
    return found


def _yardstick(reading: Reading) -> list[str]:
    """Say so where a member's own model is no better than to repeat the last bar."""
    errors = [arm.errors.get("mape") for arm in map(reading.arm, ("persistence", "local", "federated_state")) if arm]
    if len(errors) < 3 or errors[0] is None or errors[1] is None or errors[2] is None:
        return []
    if errors[0].value >= errors[1].value:
        return []
    return [
        (
            "Local is a weak yardstick here: persistence has a smaller MAPE; "
            f"with the state it is {errors[2].value / errors[0].value:.2f} times that of persistence."
        ),
    ]


def _gates(reading: Reading) -> list[str]:
    chosen = mapping(reading.document.get("choices"))
    gates = [
        one
        for own in chosen.values()
        for raw in mapping(mapping(own).get("gates")).values()
        if (one := number(raw)) is not None
    ]
    if not gates:
        return []
    if max(gates) == 0:
        return [
            (
                "The residual network passed no member's own test (every gate is 0): the budget of its weights bought "
                "nothing here."
            ),
        ]
    return [f"{sum(gate > 0 for gate in gates)} of {len(gates)} gates let the residual network in."]


def _other_outcomes(reading: Reading) -> list[str]:
    other = mapping(reading.document.get("other_outcomes"))
    level = number(mapping(other.get("truth_at_its_own_level")).get("mape"))
    exact = number(mapping(other.get("members_exact_state")).get("mape"))
    found = []
    if level is not None:
        found.append(f"Where the members' common error of level counts too, the ratio to local is {level:.3f}.")
    if exact is not None:
        found.append(f"Against the members' own exact next state it is {exact:.3f}.")
    return found


def settings(reading: Reading) -> list[tuple[str, str]]:
    """Return the alliance's facts: what they are called and what they are."""
    document = reading.document
    found = [("members", ", ".join(reading.members))]
    names = {
        "minimum_cohort": "smallest cohort",
        "quorum": "signatures for a cohort",
        "colluders": "colluders allowed for",
        "rounds": "sums opened",
    }
    found += [(title, f"{document[key]}") for key, title in names.items() if document.get(key) is not None]
    baskets = mapping(document.get("baskets"))
    words = ", ".join(
        f"{name} ({', '.join(str(one) for one in rows(markets))})" if [name] != list(rows(markets)) else str(name)
        for name, markets in baskets.items()
    )
    found.append(("baskets", words))
    steps = {name: one for name, raw in mapping(document.get("steps")).items() if (one := number(raw)) is not None}
    found.append(("median sum", ", ".join(f"{name} {1e3 * one:.0f} ms" for name, one in steps.items())))
    found.append(("seconds in all", f"{one:.1f}" if (one := number(document.get("seconds"))) is not None else ""))
    found.append(("constitution, SHA-256", str(document.get("constitution_sha256") or "")))
    found.append(("all opened sums, SHA-256", str(document.get("aggregate_sha256") or "")))
    found.append(("the same with kills", str(document.get("aggregate_sha256_with_kills") or "")))
    found.append(("files not used", ", ".join(str(one) for one in rows(document.get("series_not_used")))))
    return [(title, words) for title, words in found if words]


def tiles(reading: Reading) -> list[tuple[str, str]]:
    """Return the main numbers: each with what it is."""
    found: list[tuple[str, str]] = []
    state = reading.arm("federated_state")
    if state is not None and (ratio := state.ratios.get("mape")) is not None:
        found.append(
            (f"{ratio.value:.3f}", "times the error (MAPE) of working alone, mean of ratios" + _between(ratio))
        )
    if reading.seeds is not None:
        mean = reading.seeds.mean
        found.append((f"{mean.value:.3f}", f"the same over {len(reading.seeds.ratios)} seeds" + _between(mean)))
    elif (days := days_tested(reading)) is not None:
        found.append((f"{days:.0f} days", "on which errors were measured, after training"))
    published = sum(one.is_published for one in reading.sums)
    if reading.sums:
        died = sum(one.is_dead for one in reading.sums)
        found.append((f"{published}", "secure sums opened" + (f"; {died} more died" if died else "; no attempt died")))
    whole = number(mapping(reading.document.get("steps")).get("whole"))
    if whole is not None:
        found.append((f"{1e3 * whole:.0f} ms", "for the median sum, from announcement to result"))
    if reading.budgets:
        dear = max(reading.budgets, key=lambda one: (one.period == "day", one.epsilon))
        allowed = "" if dear.allowed is None else f" of {dear.allowed:g}"
        found.append(
            (
                f"{dear.epsilon:.1f}{allowed}",
                f"epsilon spent each {dear.period} on {dear.purpose}, the dearest purpose",
            )
        )
    if reading.sent_bytes:
        mean_bytes = sum(reading.sent_bytes.values()) / len(reading.sent_bytes)
        found.append((f"{mean_bytes / 1e6:.2f} MB", "left a member in all"))
    if "restarts" in reading.document:
        is_same = reading.document.get("is_same_aggregate") is True
        words = "processes killed and restarted: " + ("same sums, byte for byte" if is_same else "DIFFERENT sums")
        found.append((f"{reading.document['restarts']}", words))
    return found


def _between(one: Estimate) -> str:
    return "" if one.low is None or one.high is None else f" (90 %: {one.low:.3f} to {one.high:.3f})"
