"""Are ripple responses right? Simulated markets with known responses, against a VAR and local projections.

    python benchmarks/ripple.py [--replications 100] [--bars 2500] [--federated 10]

First table: the estimator on exact histories. `error`: root mean squared distance from the truth over the lags, over
the truth's own size, mean over edges with a response; below it the share of edges with the right sign at the true
peak, the correlation with the true curve, the share of peaks within one bar, how often the 90 % band holds the truth
(ours alone has a band) and how often an edge without any response is called one (placebo).

Second table: what comes through the door. Members see each market with private noise of the calibrated ratio; the
answer is the mean of their bounded answers with the noise of the stated budget, or without it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hansa.lab.ripple_markets import NAMES, known_market
from hansa.lab.ripple_trials import federated_trial, score, trial

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=100)
    parser.add_argument("--bars", type=int, default=2500)
    parser.add_argument("--federated", type=int, default=10)
    chosen = parser.parse_args(arguments)
    print(f"{chosen.replications} histories of {chosen.bars} bars a market; a shock of 3 deviations, 24 bars")
    print(f"{'market':<10}{'estimator':<20}{'error':>7}{'sign':>7}{'corr':>7}{'peak+-1':>9}{'cover':>7}{'placebo':>9}")
    for name in NAMES:
        market = known_market(name)
        trials = [trial(market, seed, bars=chosen.bars) for seed in range(chosen.replications)]
        for estimator in trials[0]:
            found = score(market, [one[estimator] for one in trials])
            cells = "".join(
                f"{'':>{width}}" if value is None else f"{value:>{width}.3f}"
                for value, width in zip(found.row(), (7, 7, 7, 9, 7, 9), strict=True)
            )
            print(f"{name:<10}{estimator:<20}{cells}")
    if not chosen.federated:
        return
    print(f"\nthrough the door: {chosen.federated} histories of 12 x {chosen.bars // 4} bars, noisy views")
    print(f"{'market':<10}{'members':>8}  {'answer':<26}{'error':>7}{'sign':>7}{'corr':>7}{'peak+-1':>9}{'cover':>7}")
    for name in NAMES:
        market = known_market(name)
        for members in (3, 5, 10):
            trials = [
                federated_trial(market, seed, members=members, bars=12 * (chosen.bars // 4))
                for seed in range(chosen.federated)
            ]
            for answer in trials[0]:
                found = score(market, [one[answer] for one in trials])
                cells = "".join(
                    f"{'':>{width}}" if value is None else f"{value:>{width}.3f}"
                    for value, width in zip(found.row()[:5], (7, 7, 7, 9, 7), strict=True)
                )
                print(f"{name:<10}{members:>8}  {answer:<26}{cells}")


if __name__ == "__main__":
    main()
