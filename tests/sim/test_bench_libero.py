"""The benches that run LIBERO, on the smallest counts: structure and ratios, never a clock."""

from pathlib import Path

import pytest

from ray_eval.bench.build import bench_build
from ray_eval.bench.checkouts import Checkout
from ray_eval.bench.e2e import Workload, bench_e2e
from ray_eval.bench.memory import bench_shared_memory
from ray_eval.bench.simulator import bench_render, bench_reset, bench_step
from ray_eval.bench.startup import bench_startup
from ray_eval.bench.tasks import BenchTask

TASK = BenchTask("libero_object", 0)


def check(rows, references):
    assert [row.reference for row in rows] == references
    assert all(row.ratio > 0 for row in rows)


@pytest.mark.nightly
def test_a_step_is_compared_with_bare_physics_and_with_liberos():
    check(bench_step([TASK], repeats=2), ["25 x mj_step", "LIBERO's, cameras off", "25 x mj_step"])


@pytest.mark.nightly
def test_an_image_is_compared_with_robosuites():
    rows = bench_render([TASK], repeats=2, strides=[3])
    check(rows, ["robosuite's", "robosuite's"])
    what = "image, one in 3 steps, mean"
    assert [row.what for row in rows] == [f"agentview {what}", f"robot0_eye_in_hand {what}"]


@pytest.mark.nightly
def test_a_reset_is_compared_with_liberos():
    check(bench_reset([TASK], repeats=1), ["LIBERO's hard reset, cameras off", "LIBERO's hard reset, both cameras"])


@pytest.mark.nightly
def test_a_build_is_compared_with_one_without_the_cache():
    check(bench_build([TASK], repeats=1), ["build without", "LIBERO's", "LIBERO's"])


@pytest.mark.nightly
def test_whole_runs_are_compared_with_loops_over_libero():
    rows = bench_e2e(Workload((TASK,), episodes_per_task=2, step_count=10), [10])
    check(rows, ["2 loops over LIBERO", "2 loops over LIBERO"])


@pytest.fixture
def two():
    here = Checkout.here()
    return [here, Checkout("another", here.python, Path(__file__).parents[2])]


@pytest.mark.nightly
@pytest.mark.parametrize("is_cold", [False, True])
def test_starts_of_two_checkouts_are_compared(two, is_cold):
    rows = bench_startup(two, repeats=1, is_cold=is_cold)
    check(rows, ["another", "another"])
    first, whole = rows
    assert first.value < whole.value


@pytest.mark.nightly
def test_memory_of_two_checkouts_is_compared(two):
    (row,) = bench_shared_memory([TASK], two, beside=2, repeats=1)
    check([row], ["another"])
    assert 0.3 < row.value < 3
