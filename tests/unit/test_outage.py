"""When a policy that answers nobody ends a run, and when an episode that it dies of does not."""

import pytest

from ray_eval.driver.outage import Outage
from ray_eval.errors import EpisodeError, PolicyGone, PolicyUnavailable
from ray_eval.rollout.episode import error_result
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome


def episode(index: int) -> EpisodeSpec:
    return EpisodeSpec("fake", 0, index, env_seed=0, max_steps=10)


def unserved(index: int) -> EpisodeResult:
    return error_result(episode(index), PolicyUnavailable("silence"))


def note_all(outage: Outage, results: list[EpisodeResult], workers: int = 1) -> None:
    for result in results:
        outage.note(result, attempts_each=3, workers=workers)


def test_two_episodes_left_without_an_answer_at_every_attempt_end_a_run():
    outage = Outage()
    note_all(outage, [*[unserved(0)] * 3, *[unserved(1)] * 2])
    with pytest.raises(PolicyGone, match=r"one of the last 6 attempts at 2 episodes, got none.*silence"):
        note_all(outage, [unserved(1)])


def test_one_episode_alone_never_does():
    note_all(Outage(), [unserved(0)] * 100)


def test_every_worker_may_be_left_without_an_answer_once():
    outage = Outage()
    note_all(outage, [unserved(index) for index in range(127)], workers=64)
    with pytest.raises(PolicyGone):
        note_all(outage, [unserved(127)], workers=64)


@pytest.mark.parametrize(
    "answered", [EpisodeResult(episode(9), Outcome.FAILURE), error_result(episode(9), EpisodeError("the simulator"))]
)
def test_any_other_result_begins_the_count_anew(answered):
    outage = Outage()
    note_all(outage, [*[unserved(0)] * 3, *[unserved(1)] * 2, answered, *[unserved(0)] * 3, *[unserved(1)] * 2])
