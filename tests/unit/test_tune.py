"""Tuning: what it may search, and that no init state that is reported on is tuned on."""

import pytest

from ray_eval.config import load_config
from ray_eval.driver.plan import plan_of
from ray_eval.driver.tune import (
    DEFAULT_SPACE,
    SYNC_SPACE,
    apart,
    check_space,
    default_space,
    drawn_settings,
    figures_of,
    tuning_plan,
)
from ray_eval.errors import ConfigError
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

BASE = ["suite=fake", "policy=random", "execution.mode=async"]


def config(*overrides: str):
    return load_config(None, [*BASE, *overrides])


@pytest.mark.parametrize("reported", ["episodes_per_task=2", "init_states=[4,0]", "tasks=[1]", "protocol=lerobot"])
def test_no_reported_init_state_is_tuned_on(reported):
    others = () if reported.startswith(("episodes", "init")) else ("episodes_per_task=2",)
    base = config(reported, *others)
    rungs = tuning_plan(base, 3)
    assert [len(rung) for rung in rungs] == [len({spec.task_id for spec in plan_of(base)})] * 3
    tuned = {(spec.task_id, spec.init_state_id) for rung in rungs for spec in rung}
    assert not tuned & {(spec.task_id, spec.init_state_id) for spec in plan_of(base)}
    assert len(tuned) == sum(len(rung) for rung in rungs)


def test_an_episode_to_tune_on_is_the_one_that_a_run_would_have():
    base = config("episodes_per_task=2", "protocol=lerobot", "repeats=2", "seed=5")
    same = plan_of(config("init_states=[4]", "protocol=lerobot", "seed=5"))
    assert set(tuning_plan(base, 1)[0]) == set(same)


def test_too_few_init_states_to_keep_apart_are_said():
    with pytest.raises(ConfigError, match="got 1 of 5; set episodes_per_task lower"):
        tuning_plan(config("episodes_per_task=4"), 2)


def test_a_small_space_is_tried_whole_and_of_a_large_one_no_setting_twice():
    small = {"execution.chunk_size_threshold": ("0", "1"), "execution.underrun": ("hold", "noop")}
    assert [tuple(settings.values()) for settings in drawn_settings(small, 4, seed=7)] == [
        ("0", "hold"),
        ("0", "noop"),
        ("1", "hold"),
        ("1", "noop"),
    ]
    drawn = [tuple(settings.items()) for settings in drawn_settings(DEFAULT_SPACE, 79, seed=7)]
    assert len(set(drawn)) == len(drawn) == 79
    assert drawn == [tuple(settings.items()) for settings in drawn_settings(DEFAULT_SPACE, 79, seed=7)]
    assert drawn != [tuple(settings.items()) for settings in drawn_settings(DEFAULT_SPACE, 79, seed=8)]


def test_it_is_said_which_init_states_are_tuned_on():
    base = config("init_states=[0,2,3]")
    assert apart(tuning_plan(base, 2), plan_of(base)) == (
        "tuning on init states 1, 4 of each task; the result is that of 0, 2-3"
    )


def test_the_default_space_can_be_run():
    late, waited_for = config("execution.latency.steps=4"), load_config(None, BASE[:2])
    assert (default_space(late), default_space(waited_for)) == (DEFAULT_SPACE, SYNC_SPACE)
    check_space(DEFAULT_SPACE, late)
    check_space(SYNC_SPACE, waited_for)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"execution.latency.steps": ("0", "4")}, "other than the latency"),
        ({"policy.chunk_len": ("4", "8")}, "expected a key of execution"),
        ({"protocol.max_steps": ("4", "8")}, "expected a key of execution"),
        ({"execution.aggregate": ("avrage",)}, "Did you mean 'average'"),
        ({"execution.underrun": ("hold", "wiat")}, "Did you mean 'wait'"),
    ],
)
def test_what_cannot_be_searched_is_said(space, message):
    with pytest.raises(ConfigError, match=message):
        check_space(space, config())


def test_a_quicker_success_is_better_and_never_worth_an_episode():
    def figures(*outcomes: tuple[Outcome, int]):
        spec = EpisodeSpec("fake", 0, 0, env_seed=0, max_steps=100)
        return figures_of([EpisodeResult(spec, outcome, steps=steps) for outcome, steps in outcomes])

    slow = figures(*[(Outcome.SUCCESS, 99)] * 10)
    quick = figures(*[(Outcome.SUCCESS, 10)] * 10)
    one_less = figures(*[(Outcome.SUCCESS, 1)] * 9, (Outcome.FAILURE, 100))
    assert quick["score"] > slow["score"] > one_less["score"]
    assert (slow["success_rate"], one_less["success_rate"]) == (1.0, 0.9)
