"""How often the statistics are right, measured. Anyone can repeat it:

python benchmarks/rates.py coverage   # of each interval, enumerated over every count
python benchmarks/rates.py oracles    # against scipy, statsmodels and robostats, over every table of some sizes
python benchmarks/rates.py duels      # 20,000 simulated duels where there is no difference, and some where there is
"""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

import numpy as np

from ray_eval.stats.intervals import METHODS
from ray_eval.stats.paired import PairedCounts, exact_mcnemar, tango
from ray_eval.stats.power import mcnemar_power, pairs_needed
from ray_eval.stats.sequential import log_e_value
from ray_eval.stats.unpaired import UnpairedCounts, miettinen_nurminen

DUELS = 20_000


def coverage() -> None:
    """Worst and mean coverage over rates from 0.5 to 0.99, and mean width from 0.9 to 0.99."""
    from scipy.stats import binom

    rates = np.round(np.linspace(0.5, 0.99, 4901), 4)
    print("n     method           worst (at)       mean    width   " + "".join(f"  p={p:<5}" for p in POINTS))
    for n in (10, 50, 500):
        weights = binom.pmf(np.arange(n + 1)[:, None], n, rates[None, :])
        for name, method in METHODS.items():
            bounds = np.array([method(k, n, 0.95) for k in range(n + 1)])
            inside = (bounds[:, :1] <= rates) & (rates <= bounds[:, 1:])
            found = (weights * inside).sum(axis=0)
            width = (weights * (bounds[:, 1] - bounds[:, 0])[:, None]).sum(axis=0)[rates >= 0.9].mean()
            at = "".join(f"  {found[np.argmin(abs(rates - p))]:.4f} " for p in POINTS)
            worst = f"{found.min():.4f} ({rates[found.argmin()]:.4f})"
            print(f"{n:<5} {name:<16} {worst}  {found.mean():.4f}  {width:.4f}  {at}")


POINTS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)


def oracles() -> None:
    """Largest difference to each library."""
    import robostats
    from scipy.stats import binomtest
    from statsmodels.stats.contingency_tables import mcnemar
    from statsmodels.stats.proportion import proportion_confint

    for ours, theirs in (("clopper_pearson", "beta"), ("wilson", "wilson"), ("agresti_coull", "agresti_coull")):
        gaps = []
        for n in range(1, 201):
            low, high = proportion_confint(np.arange(n + 1), n, 0.05, method=theirs)
            found = np.array([METHODS[ours](k, n, 0.95) for k in range(n + 1)])
            gaps.append(np.abs(found - np.clip(np.column_stack([low, high]), 0, 1)).max())
        print(f"{ours} against statsmodels: {sum(n + 1 for n in range(1, 201))} counts, largest {max(gaps):.1e}")
    pairs = list(itertools.product(range(41), range(41)))
    gaps = [abs(exact_mcnemar(PairedCounts(0, c, b, 0)).p_value - _mcnemar(mcnemar, b, c)) for b, c in pairs]
    print(f"exact McNemar against statsmodels: {len(pairs)} tables, largest {max(gaps):.1e}")
    gaps = [
        abs(exact_mcnemar(PairedCounts(0, c, b, 0)).p_value - binomtest(b, b + c).pvalue) for b, c in pairs if b + c
    ]
    print(f"exact McNemar against scipy: {len(gaps)} tables, largest {max(gaps):.1e}")
    gaps = [_tango_gap(robostats, n, b, c) for n in (1, 5, 12, 20, 50) for b in range(n + 1) for c in range(n + 1 - b)]
    print(f"Tango against robostats: {len(gaps)} tables, largest {max(gaps):.1e}")
    gaps = [
        _nurminen_gap(robostats, x1, n1, x2, n2)
        for n1, n2 in ((1, 1), (5, 8), (10, 10), (20, 20), (50, 30))
        for x1 in range(n1 + 1)
        for x2 in range(n2 + 1)
    ]
    print(f"Miettinen-Nurminen against robostats: {len(gaps)} tables, largest {max(gaps):.1e}")


def _mcnemar(function: Any, b: int, c: int) -> float:
    return float(function([[0, b], [c, 0]], exact=True).pvalue)


def _tango_gap(robostats: Any, n: int, b: int, c: int) -> float:
    cells = (n - b - c, b, c, 0)
    table = robostats.PairedResult("b", "a", *cells, tuple(map(str, range(n))), 0, 0, (), (), None)
    found, other = tango(PairedCounts(n - b - c, c, b, 0)), robostats.paired_difference(table)
    return max(abs(found.low - other.lower), abs(found.high - other.upper))


def _nurminen_gap(robostats: Any, x1: int, n1: int, x2: int, n2: int) -> float:
    found, other = miettinen_nurminen(UnpairedCounts(x1, n1, x2, n2)), robostats.unpaired_difference(x2, n2, x1, n1)
    return max(abs(found.low - other.lower), abs(found.high - other.upper))


def duels() -> None:
    """False positives with a look after every pair, and pairs until the decision against McNemar's fixed number."""
    draw = np.random.default_rng(7)
    for discordant, planned in ((0.1, 500), (0.3, 500), (0.2, 5000)):
        _, decided, _ = _play(draw, planned, discordant, 0.0)
        print(
            f"no difference, {discordant:.0%} of {planned} pairs differ: {decided.mean():.2%} of {DUELS} name a winner"
        )
    print("difference  differ  fixed pairs (power)  planned  power  mean pairs  median")
    for difference, discordant in ((0.05, 0.1), (0.05, 0.15), (0.1, 0.2), (0.1, 0.3), (0.2, 0.25), (0.2, 0.4)):
        fixed = pairs_needed(discordant, difference)
        power = mcnemar_power(fixed, discordant, difference)
        pairs, decided, won = _play(draw, 3 * fixed, discordant, difference)
        when = np.where(won, pairs, 3 * fixed + 1)
        planned = int(np.sort(when)[int(np.ceil(power * DUELS)) - 1])
        used = np.minimum(np.where(decided, pairs, planned), planned)
        print(
            f"{difference:<11.0%} {discordant:<7.0%} {fixed:<5} ({power:.3f})        {planned:<8} "
            f"{(when <= planned).mean():.3f}  {used.mean():<10.0f} {np.median(used):.0f}"
        )


def _play(draw: np.random.Generator, planned: int, discordant: float, difference: float) -> tuple[Any, Any, Any]:
    """Pairs until the decision, whether there is one, and whether it is the right one, of many duels at once."""
    p_second, p_first = (discordant + difference) / 2, (discordant - difference) / 2
    counts = np.arange(planned + 1)
    table = _reach(planned, discordant)
    ahead, won, seen = np.zeros(DUELS, int), np.zeros(DUELS, int), np.full(DUELS, planned)
    lead = np.zeros(DUELS, int)
    alive = np.ones(DUELS, bool)
    for pair in counts[1:]:
        u = draw.random(DUELS)
        ahead += alive & (u < p_second)
        won += alive & (u >= p_second) & (u < p_second + p_first)
        m = np.minimum(ahead + won, len(table) - 1)
        hit = alive & (np.maximum(ahead, won) >= table[m])
        seen[hit], lead[hit] = pair, np.sign(ahead - won)[hit]
        alive &= ~hit
    return seen, ~alive, lead > 0


def _reach(planned: int, discordant: float) -> Any:
    """By number of discordant pairs: how many must have gone one way for the wealth to be 20."""
    most = int(planned * discordant + 12 * (planned * discordant) ** 0.5 + 20)
    mark = np.log(20)
    return np.array(
        [next((k for k in range((m + 1) // 2, m + 1) if log_e_value(k, m - k) >= mark), m + 1) for m in range(most)]
    )


if __name__ == "__main__":
    started = time.monotonic()
    {"coverage": coverage, "oracles": oracles, "duels": duels}[sys.argv[1]]()
    print(f"{time.monotonic() - started:.0f} s")
