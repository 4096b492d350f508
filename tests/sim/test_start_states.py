"""Which of LIBERO's start states do not hold, on real ones."""

import pytest

from ray_eval.envs.libero.env import LiberoEnv
from ray_eval.envs.libero.settings import libero
from ray_eval.sections import EnvSettings, ObservationRecipe
from ray_eval.types import STATE, EpisodeSpec


def told(suite: str, task_id: int, states: list[int], **settings) -> dict[int, list[tuple[str, str]] | None]:
    """Objects and what came to them, by init state, with env seed 7."""
    env = LiberoEnv(suite, task_id, EnvSettings(ObservationRecipe((STATE,)), libero(**settings)))
    found = {}
    for state in states:
        env.reset(EpisodeSpec(suite, task_id, state, env_seed=7, max_steps=1))
        found[state] = None if env.disturbed is None else [(each.name, each.how) for each in env.disturbed]
    env.close()
    return found


@pytest.mark.nightly
def test_a_start_that_throws_a_bowl_is_told_of_and_the_next_one_is_not_for_that():
    assert told("libero_90", 4, [5, 0, 8]) == {
        5: [("akita_black_bowl_1", "fell"), ("chocolate_pudding_1", "toppled")],
        0: [],
        8: [("akita_black_bowl_1", "moved"), ("chocolate_pudding_1", "moved")],
    }


@pytest.mark.nightly
def test_objects_that_hang_in_the_air_and_fall_where_they_belong_are_a_normal_start():
    assert told("libero_spatial", 5, [0, 1, 2]) == {0: [], 1: [], 2: []}


@pytest.mark.nightly
def test_where_nothing_is_settled_nothing_is_told():
    assert told("libero_spatial", 5, [0], settle_steps=0) == {0: None}
