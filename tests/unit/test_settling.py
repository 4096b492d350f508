import dataclasses

import numpy as np
import pytest

from ray_eval.driver.folder import check_identity
from ray_eval.envs.libero import suites
from ray_eval.envs.libero.settling import disturbed, tilt_rad
from ray_eval.errors import ConfigError
from ray_eval.report.ledger import Attempt, episode_record, result_of
from ray_eval.report.metrics import group_values
from ray_eval.types import Disturbed, EpisodeResult, EpisodeSpec, Outcome

UPRIGHT = (1.0, 0.0, 0.0, 0.0)
STANDARD = ("libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90")


def turned(axis, degrees):
    half = np.deg2rad(degrees) / 2
    return (np.cos(half), *(np.sin(half) * np.asarray(axis, dtype=float)))


def seen(*, way_m=0.0, drop_m=0.0, before=UPRIGHT, after=UPRIGHT, speed_m_s=0.0):
    start, end = np.array([[0.0, 0.0, 1.0, *before]]), np.array([[way_m, 0.0, 1.0 - drop_m, *after]])
    return [each.how for each in disturbed(("bottle",), start, end, np.array([speed_m_s]))]


@pytest.mark.parametrize("drop_m", [0.0, 0.06, 0.16])
def test_an_object_that_drops_straight_down_is_where_its_state_put_it(drop_m):
    assert seen(drop_m=drop_m, way_m=0.019) == []


@pytest.mark.parametrize(
    ("figures", "how"),
    [
        ({"way_m": 0.051}, "moved"),
        ({"speed_m_s": 0.06}, "moving"),
        ({"drop_m": 0.4, "way_m": 0.9, "speed_m_s": 3.0}, "fell"),
        ({"after": turned((1, 0, 0), 85), "way_m": 0.45}, "toppled"),
    ],
)
def test_the_gravest_of_what_came_to_an_object_is_told(figures, how):
    assert seen(**figures) == [how]


@pytest.mark.parametrize("lying", [UPRIGHT, turned((1, 0, 0), 90), turned((0, 1, 0), 90)])
@pytest.mark.parametrize("degrees", [-170, 20, 90])
def test_a_turn_about_the_vertical_is_no_tilt_whatever_the_objects_own_axes(lying, degrees):
    w, x, y, z = lying
    a, _, _, d = turned((0, 0, 1), degrees)
    about_vertical = (a * w - d * z, a * x - d * y, a * y + d * x, a * z + d * w)
    assert tilt_rad(np.array([lying]), np.array([about_vertical])) == pytest.approx([0.0], abs=1e-6)
    assert seen(before=lying, after=about_vertical) == []


@pytest.mark.parametrize("degrees", [1, 29, 31, 179])
def test_a_tilt_is_the_angle_from_what_was_up(degrees):
    after = np.array([turned((0.6, 0.8, 0), degrees)])
    assert np.rad2deg(tilt_rad(np.array([UPRIGHT]), after)) == pytest.approx([degrees])


SPEC = EpisodeSpec("libero_90", 4, 5, env_seed=7, max_steps=400)
THROWN = Disturbed("akita_black_bowl_1", "fell", 0.911, 0.388, 1.01, 2.9554)


def result(told):
    return EpisodeResult(SPEC, Outcome.FAILURE, steps=1, disturbed=told)


@pytest.mark.parametrize("told", [None, (), (THROWN,)])
def test_a_ledger_gives_back_what_was_told(told):
    record = episode_record(result(told), Attempt(1, "worker-0", "2026-01-01T00:00:00+00:00"))
    assert result_of(record).disturbed == told


def test_a_ledger_from_before_tells_nothing_and_its_summary_has_no_such_key():
    record = episode_record(result(()), Attempt(1, "worker-0", "2026-01-01T00:00:00+00:00"))
    del record["disturbed"]
    older = result_of(record)
    assert older.disturbed is None
    assert "disturbed_episodes" not in group_values([older, result((THROWN,))])


def test_a_summary_counts_episodes_and_not_objects():
    two = (THROWN, dataclasses.replace(THROWN, name="chocolate_pudding_1"))
    assert group_values([result(two), result(())])["disturbed_episodes"] == 1


# --- the sentence that a policy is told ---


def test_the_two_sentences_differ_in_29_of_the_130_tasks():
    tasks = [(name, task) for name in STANDARD for task in suites.tasks(name)]
    differing = [
        name
        for name, task in tasks
        if suites.sentence(task, "bddl").lower() != suites.sentence(task, "filename").lower()
    ]
    assert len(tasks) == 130
    assert {name: differing.count(name) for name in STANDARD} == {
        "libero_spatial": 10,
        "libero_object": 10,
        "libero_goal": 5,
        "libero_10": 0,
        "libero_90": 4,
    }


def test_a_ledger_that_says_nothing_of_the_sentence_told_the_file_names():
    check_identity({"seed": 0}, {"seed": 0, "protocol.instruction": "filename"}, "run", version=1)
    with pytest.raises(ConfigError, match=r"protocol\.instruction"):
        check_identity({"seed": 0}, {"seed": 0, "protocol.instruction": "bddl"}, "run", version=1)
