"""The statistics against libraries that have them too, and their coverage by enumeration over every table."""

import itertools
import math
import random

import numpy as np
import pytest
import robostats
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chi2_contingency
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from ray_eval.stats.gates import episodes_for, gate
from ray_eval.stats.intervals import DEFAULT_METHOD, METHODS, coverage, interval_of, mid_p
from ray_eval.stats.paired import PairedCounts, exact_mcnemar, newcombe_paired, tango, tango_coverage, tango_score
from ray_eval.stats.power import detectable_difference, mcnemar_power, pairs_needed
from ray_eval.stats.sequential import DuelState, duel_outcome, first_narrow, log_e_value, rate_sequence
from ray_eval.stats.several import cochran_q, holm, not_told_from_best, pairs_of, pairwise
from ray_eval.stats.unpaired import UnpairedCounts, miettinen_nurminen, score_test, unpaired_coverage

STATSMODELS = {"clopper_pearson": "beta", "jeffreys": "jeffreys", "agresti_coull": "agresti_coull", "wilson": "wilson"}


@pytest.mark.parametrize(("ours", "theirs"), STATSMODELS.items())
def test_an_interval_is_that_of_statsmodels(ours, theirs):
    for n in (1, 2, 7, 20, 50, 200):
        k = np.arange(n + 1)
        low, high = proportion_confint(k, n, 0.05, method=theirs)
        found = np.array([METHODS[ours](int(count), n, 0.95) for count in k])
        # Jeffreys' interval reaches the end of the range at no success and at no failure, as its authors have it.
        inner = slice(1, -1) if ours == "jeffreys" else slice(None)
        assert found[inner] == pytest.approx(np.clip(np.column_stack([low, high]), 0, 1)[inner], abs=1e-9)


def test_scipys_wilson_and_exact_intervals_are_ours():
    for n in (1, 3, 20, 50, 500):
        for k in range(0, n + 1, max(1, n // 50)):
            for ours, theirs in (("wilson", "wilson"), ("clopper_pearson", "exact")):
                found = binomtest(k, n).proportion_ci(0.95, method=theirs)
                assert METHODS[ours](k, n, 0.95) == pytest.approx((found.low, found.high), abs=1e-9)


def test_the_bounds_of_mid_p_leave_half_a_tail_and_half_of_what_was_seen():
    for n, k in ((10, 0), (10, 3), (50, 49), (50, 50), (300, 120)):
        low, high = mid_p(k, n)
        if k:
            assert binom.sf(k, n, low) + binom.pmf(k, n, low) / 2 == pytest.approx(0.025, abs=1e-9)
        if k < n:
            assert binom.cdf(k - 1, n, high) + binom.pmf(k, n, high) / 2 == pytest.approx(0.025, abs=1e-9)


def test_an_interval_of_nothing_is_none():
    assert interval_of(0, 0) is None


RATES = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)


def test_the_tables_interval_covers_at_least_its_level_and_no_other_one_does():
    least = {
        method: min(coverage(method, n, p) for n, p in itertools.product((10, 50, 200), RATES)) for method in METHODS
    }
    assert [method for method, value in least.items() if value >= 0.95] == [DEFAULT_METHOD]
    assert least["wilson"] < 0.92


def test_coverage_is_that_of_scipys_binomial():
    n, p = 50, 0.95
    inside = [k for k in range(n + 1) if METHODS["wilson"](k, n, 0.95)[0] <= p <= METHODS["wilson"](k, n, 0.95)[1]]
    assert coverage("wilson", n, p) == pytest.approx(binom.pmf(inside, n, p).sum(), abs=1e-12)
    assert coverage("wilson", 50, 0.99) == pytest.approx(0.9106, abs=1e-4)


def tables(n: int):
    return [
        PairedCounts(both, c, b, n - b - c - both)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        for both in {0, (n - b - c) // 2, n - b - c}
    ]


def theirs(counts: PairedCounts) -> robostats.PairedResult:
    cells = (counts.both, counts.only_second, counts.only_first, counts.neither)
    return robostats.PairedResult("second", "first", *cells, tuple(map(str, range(counts.n))), 0, 0, (), (), None)


def test_tangos_interval_is_that_of_robostats():
    for n in (1, 2, 5, 9):
        for counts in tables(n):
            other = robostats.paired_difference(theirs(counts))
            found = tango(counts)
            assert (found.low, found.high) == pytest.approx((other.lower, other.upper), abs=1e-7), counts


def test_tangos_bounds_are_where_its_statistic_is_the_normal_quantile():
    for counts in (PairedCounts(10, 3, 9, 28), PairedCounts(0, 50, 0, 0), PairedCounts(20, 0, 0, 30)):
        found = tango(counts)
        if found.low > -1:
            assert tango_score(counts, found.low) == pytest.approx(1.959964, abs=1e-5)
        if found.high < 1:
            assert tango_score(counts, found.high) == pytest.approx(-1.959964, abs=1e-5)


@pytest.mark.parametrize(("discordant", "difference"), [(0.1, 0.0), (0.2, 0.1), (0.3, 0.05), (0.04, 0.02)])
def test_tangos_coverage_at_twenty_pairs_is_near_its_level(discordant, difference):
    found = tango_coverage(20, (discordant + difference) / 2, (discordant - difference) / 2)
    assert 0.935 <= found <= 1.0


def test_the_unpaired_interval_is_that_of_robostats_where_an_arm_is_at_its_end_too():
    for x1, n1, x2, n2 in [(0, 5, 0, 7), (5, 5, 7, 7), (0, 5, 7, 7), (3, 10, 9, 10), (45, 50, 40, 50), (1, 1, 0, 1)]:
        found = miettinen_nurminen(UnpairedCounts(x1, n1, x2, n2))
        other = robostats.unpaired_difference(x2, n2, x1, n1)
        assert (found.low, found.high) == pytest.approx((other.lower, other.upper), abs=1e-7)


def test_the_score_test_is_pearsons_chi_square_but_for_its_n_minus_1():
    for x1, x2 in ((3, 9), (7, 1), (5, 5), (10, 9)):
        p = score_test(UnpairedCounts(x1, 10, x2, 12)).p_value
        statistic = chi2_contingency([[x1, 10 - x1], [x2, 12 - x2]], correction=False).statistic * 21 / 22
        assert p == pytest.approx(math.erfc(math.sqrt(statistic / 2)), abs=1e-9)
    assert score_test(UnpairedCounts(0, 0, 1, 2)).p_value == 1.0


def test_the_unpaired_interval_covers_where_walds_does_not():
    assert unpaired_coverage(20, 0.95, 20, 0.9) >= 0.94


def test_the_exact_test_is_that_of_statsmodels_and_one_where_no_pair_differs():
    for b, c in itertools.product(range(0, 30, 3), range(0, 30, 4)):
        found = exact_mcnemar(PairedCounts(5, c, b, 5)).p_value
        assert found == pytest.approx(mcnemar([[5, b], [c, 5]], exact=True).pvalue, abs=1e-12)
        if b + c:
            assert found == pytest.approx(binomtest(b, b + c).pvalue, abs=1e-12)
    assert exact_mcnemar(PairedCounts(3, 0, 0, 2)).p_value == 1.0
    assert exact_mcnemar(PairedCounts(0, 0, 100_000, 0)).p_value == pytest.approx(0.0, abs=1e-300)


def test_cochrans_q_and_holm_are_those_of_statsmodels():
    draw = random.Random(3)
    for k in (2, 3, 5):
        rows = [[draw.random() < 0.3 + 0.1 * j for j in range(k)] for _ in range(40)]
        found, other = cochran_q(rows), cochrans_q(np.array(rows, dtype=int))
        assert (found.statistic, found.p_value) == pytest.approx((other.statistic, other.pvalue), abs=1e-9)
    assert cochran_q([[True, True, True], [False, False, False]]).p_value == 1.0
    p_values = [draw.random() ** 3 for _ in range(9)]
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_whoever_is_shown_below_another_is_not_among_the_best():
    tests = pairwise(
        {
            ("a", "b"): PairedCounts(50, 20, 1, 9),
            ("a", "c"): PairedCounts(60, 5, 4, 11),
            ("b", "c"): PairedCounts(50, 2, 18, 10),
        }
    )
    assert not_told_from_best(["a", "b", "c"], tests, 0.05) == ["a", "c"]
    assert [(test.first, test.second) for test in tests] == pairs_of(["a", "b", "c"])


def test_power_is_the_sum_over_every_table_that_the_test_rejects():
    n, p_b, p_c = 30, 0.25, 0.05
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            if b > c and exact_mcnemar(PairedCounts(0, c, b, 0)).p_value <= 0.05:
                rest = n - b - c
                many = math.factorial(n) // (math.factorial(b) * math.factorial(c) * math.factorial(rest))
                total += many * p_b**b * p_c**c * (1 - p_b - p_c) ** rest
    assert mcnemar_power(n, p_b + p_c, p_b - p_c) == pytest.approx(total, abs=1e-9)
    assert mcnemar_power(500, 0.14, 0.06) == pytest.approx(0.945, abs=2e-3)


def test_the_pairs_needed_show_the_difference_and_fewer_do_not():
    n = pairs_needed(0.15, 0.05)
    assert mcnemar_power(n, 0.15, 0.05) >= 0.8 > mcnemar_power(n - 1, 0.15, 0.05)
    assert pairs_needed(0.03, 0.05) is None
    assert 524_288 < pairs_needed(0.1, 0.00104) < 1_000_000
    assert pairs_needed(0.1, 0.0008) is None
    assert pairs_needed(0.2, 0.0) is None
    assert detectable_difference(5, 0.2) is None
    found = detectable_difference(500, 0.1)
    assert mcnemar_power(500, 0.1, found) >= 0.8 > mcnemar_power(500, 0.1, found - 0.001)


def test_a_gate_is_the_exact_one_sided_test():
    for k, n, least in ((58, 60, 0.9), (48, 60, 0.9), (54, 60, 0.9), (0, 0, 0.5), (10, 10, 0.5)):
        found = gate(k, n, least)
        if n:
            assert (found.verdict == "met") == (binomtest(k, n, least, alternative="greater").pvalue <= 0.05)
            assert (found.verdict == "missed") == (binomtest(k, n, least, alternative="less").pvalue < 0.05)
        else:
            assert found.verdict == "cannot_tell"
    assert gate(29, 29, 0.9).verdict == "met"
    assert gate(28, 28, 0.9).verdict == "cannot_tell"
    assert episodes_for(1.0, 0.9) == 29
    assert episodes_for(0.9, 0.9) is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_wealth_is_the_same_in_any_order_and_fair(b, c):
    present = log_e_value(b, c)
    assert present == pytest.approx(log_e_value(c, b))
    grown = (math.exp(log_e_value(b + 1, c) - present) + math.exp(log_e_value(b, c + 1) - present)) / 2
    assert grown == pytest.approx(1.0)


def test_the_chance_that_wealth_ever_reaches_twenty_is_below_five_percent_by_enumeration():
    alive, crossed = {0: 1.0}, 0.0
    for m in range(1, 600):
        after: dict[int, float] = {}
        for b, weight in alive.items():
            for won in (b, b + 1):
                after[won] = after.get(won, 0.0) + weight / 2
        hit = {b for b in after if log_e_value(b, m - b) >= math.log(20)}
        crossed += math.fsum(after[b] for b in hit)
        alive = {b: weight for b, weight in after.items() if b not in hit}
    assert 0.01 < crossed < 0.05


def test_a_duel_is_decided_by_its_prefix_and_ends_where_nothing_can_decide_it():
    one_way = [(False, True)] * 20
    found = duel_outcome(one_way, 100, 0.05)
    assert (found.winner, found.is_over, found.state.pairs) == ("second", True, 9)
    assert duel_outcome(one_way[:8], 100, 0.05).is_over is False
    hopeless = duel_outcome([(True, True)] * 95, 100, 0.05)
    assert (hopeless.winner, hopeless.is_over, hopeless.state.pairs) == (None, True, 92)
    assert duel_outcome([(True, False), (False, True)], 2, 0.05).is_over
    assert DuelState().leader is None


def test_a_confidence_sequence_is_wider_than_the_fixed_interval_and_holds_the_rate():
    for k, n in ((0, 5), (5, 5), (45, 50), (450, 500)):
        found, fixed = rate_sequence(k, n), interval_of(k, n)
        assert found.low <= fixed.low <= k / n <= fixed.high <= found.high
    assert rate_sequence(0, 0).half_width == 0.5
    assert first_narrow([True] * 400, 0.02) == pytest.approx(117, abs=60)
    assert first_narrow([True, False] * 5, 0.02) is None


def test_the_chance_that_a_confidence_sequence_ever_misses_the_rate_is_below_its_level():
    p, alive, missed = 0.9, {0: 1.0}, 0.0
    for n in range(1, 300):
        after: dict[int, float] = {}
        for k, weight in alive.items():
            after[k] = after.get(k, 0.0) + weight * (1 - p)
            after[k + 1] = after.get(k + 1, 0.0) + weight * p
        hit = {k for k in after if log_e_value(k, n - k, p, 0.5) >= math.log(20)}
        missed += math.fsum(after[k] for k in hit)
        alive = {k: weight for k, weight in after.items() if k not in hit}
    assert missed < 0.05


def test_newcombes_paired_interval_is_symmetric():
    one, other = newcombe_paired(PairedCounts(15, 2, 7, 6)), newcombe_paired(PairedCounts(15, 7, 2, 6))
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


TABLE_III = {
    (36, 12, 2, 0): (0.0569, 0.3404),
    (20, 12, 2, 16): (0.0562, 0.3292),
    (36, 14, 0, 0): (0.1528, 0.4167),
    (35, 14, 0, 1): (0.1461, 0.4175),
    (18, 14, 0, 18): (0.1441, 0.3963),
    (1, 97, 1, 1): (0.8736, 0.9850),
    (0, 30, 0, 0): (0.8395, 1.0),
    (54, 0, 0, 0): (-0.0664, 0.0664),
    (30, 0, 0, 24): (-0.0358, 0.0358),
}
"""Both, only one, only the other, neither: limits of the difference. Source: Newcombe 1998, table III, method 10."""


@pytest.mark.parametrize(("table", "limits"), TABLE_III.items())
def test_newcombes_interval_of_a_paired_difference_is_that_of_his_table(table, limits):
    both, only_one, only_other, neither = table
    found = newcombe_paired(PairedCounts(both, only_other, only_one, neither))
    assert (found.low, found.high) == pytest.approx(limits, abs=1e-4)


counts = st.integers(0, 60)


@given(counts, counts, counts, counts)
def test_a_paired_interval_holds_its_difference_and_turns_with_it(both, first, second, neither):
    for method in (tango, newcombe_paired):
        one = method(PairedCounts(both, first, second, neither))
        if not both + first + second + neither:
            assert one is None
            continue
        assert -1 - 1e-9 <= one.low <= PairedCounts(both, first, second, neither).difference <= one.high <= 1 + 1e-9
        other = method(PairedCounts(both, second, first, neither))
        assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-9)
