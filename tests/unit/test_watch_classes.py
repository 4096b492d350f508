"""Classes of failures, judged from made-up scenes: one object on a table, a hand, a place to bring it to."""

import numpy as np
import pytest

from ray_eval.rollout.replaying import Retraced, Sight
from ray_eval.scene import Conjunct, ItemReading, SceneReading
from ray_eval.types import ActionSpec
from ray_eval.watch.classes import FailureClass, Stage, Thresholds, judge
from ray_eval.watch.findings import FindingsMaker, figures

PLACE = np.array([0.4, 0.0, 0.0])
GOAL = (Conjunct("in can basket", "can", "basket"),)
UPRIGHT, LYING = np.array([1.0, 0, 0, 0]), np.array([np.sqrt(0.5), np.sqrt(0.5), 0, 0])


class World:
    """A scene per step: the hand moves, what it holds moves along."""

    def __init__(self):
        self.hand, self.can, self.cup = np.array([0.0, 0.3, 0.3]), np.zeros(3), np.array([0.0, -0.3, 0.0])
        self.held = None
        self.scenes, self.closing = [self.scene()], []

    def scene(self):
        items = {
            name: ItemReading(
                place.copy(), UPRIGHT, max(0.0, self.away(place) - 0.02), self.held == name, self.held == name
            )
            for name, place in (("can", self.can), ("cup", self.cup))
        }
        gap_m = float(np.linalg.norm(self.can[:2] - PLACE[:2]))
        return SceneReading(self.hand.copy(), (gap_m < 0.05,), (gap_m,), items, 0.0, False, GOAL)

    def away(self, place):
        return float(np.linalg.norm(self.hand - place))

    def go(self, *place, steps=10):
        """Moves the hand, with what it holds, evenly."""
        start, target = self.hand.copy(), np.array(place)
        for share in np.linspace(0, 1, steps + 1)[1:]:
            self.hand = start + share * (target - start)
            if self.held is not None:
                getattr(self, self.held)[:] = self.hand
            self.tick()
        return self

    def tick(self, steps=1):
        for _ in range(steps):
            self.scenes.append(self.scene())
            self.closing.append(self.held is not None)
        return self

    def take(self, name):
        self.held = name
        return self.tick(4)

    def let_go(self, *, is_slipping=False):
        """The object falls to the table."""
        name, self.held = self.held, None
        getattr(self, name)[2] = 0.0
        self.scenes.append(self.scene())
        self.closing[-1] = is_slipping
        self.closing.append(is_slipping)
        return self.tick(3)

    def judged(self, **limits):
        return judge(self.scenes, self.closing, 20.0, Thresholds(**limits))


def carried(*place):
    return World().go(0, 0, 0.01).take("can").go(0, 0, 0.2).go(*place)


EPISODES = {
    FailureClass.NEVER_REACHED: World().go(0, 0.3, 0.2).tick(25),
    FailureClass.WRONG_OBJECT: World().go(0, -0.3, 0.01).take("cup").go(0.4, 0, 0.2).let_go().tick(25),
    FailureClass.MISSED_GRASP: World().go(0, 0, 0.03).go(0, 0, 0.3).go(0.4, 0, 0.3).tick(25),
    FailureClass.DROPPED: carried(0.2, 0, 0.2).let_go().go(0.4, 0, 0.2),
    FailureClass.WRONG_PLACE: carried(0.2, 0, 0.03).let_go().go(0.2, 0, 0.3),
    FailureClass.UNDONE: carried(0.4, 0, 0.2).tick(5).go(0.1, 0.2, 0.02).let_go(),
    FailureClass.STALLED: carried(0.2, 0, 0.2).tick(25),
    FailureClass.OUT_OF_TIME: carried(0.2, 0, 0.2),
}


@pytest.mark.parametrize("failure", EPISODES)
def test_an_episode_of_each_class_is_told(failure):
    found = EPISODES[failure].judged()
    assert (found.failure, bool(found.why)) == (failure, True)


def test_a_success_has_no_class_and_full_progress():
    found = carried(0.4, 0, 0.02).let_go().judged()
    assert (found.failure, found.why, found.stages) == (None, "", {"can": Stage.PLACED})
    assert (found.progress[0], found.progress[-1]) == (0.0, 1.0)
    assert sorted(set(found.progress)) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_an_object_that_slips_out_of_the_closing_hand_was_dropped_from_however_low():
    episode = carried(0.2, 0, 0.03)
    assert episode.let_go(is_slipping=True).tick(25).judged().failure is FailureClass.DROPPED


def test_a_finger_that_loses_touch_for_a_moment_ends_no_grasp():
    episode = World().go(0, 0, 0.01).take("can").go(0, 0, 0.2)
    item = episode.scenes[-3].items["can"]
    loose = ItemReading(item.position, item.quaternion, item.distance_m, is_touched=True, is_held=False)
    episode.scenes[-3].items["can"] = loose
    assert episode.go(0.2, 0, 0.2).judged().failure is FailureClass.OUT_OF_TIME
    assert episode.judged(loose_steps=0).stages == {"can": Stage.LIFTED}


def test_a_hand_that_is_on_its_way_at_the_end_was_out_of_time():
    assert World().go(0, 0.15, 0.15).judged().failure is FailureClass.OUT_OF_TIME


def part(joints, hands):
    """A drawer whose joint and whose hand's distance are given by step."""
    goal = (Conjunct("open drawer", "drawer", None),)
    return [
        SceneReading(
            np.array([0.0, 0.0, float(away)]),
            (joint < -0.14,),
            (0.0,),
            {"drawer": ItemReading(np.zeros(3), UPRIGHT, away, away == 0, False, joint)},
            0.0,
            False,
            goal,
        )
        for joint, away in zip(joints, hands, strict=True)
    ]


@pytest.mark.parametrize(
    ("joints", "hands", "failure"),
    [
        ([0] * 9, [0.5] * 9, FailureClass.NEVER_REACHED),
        ([0] * 9, [0.5, 0.3, 0, 0, 0, 0.3, 0.5, 0.5, 0.5], FailureClass.MISSED_GRASP),
        (
            [0, 0, 0, -0.04, -0.08, -0.08, -0.08, -0.08, -0.08],
            [0.5, 0.3, 0, 0, 0, 0.3, 0.5, 0.5, 0.5],
            FailureClass.WRONG_PLACE,
        ),
        ([0] * 30, [0.5, *[0] * 29], FailureClass.STALLED),
        ([0, -0.15, -0.15, -0.15, -0.15, 0, 0], [0.3, 0, 0, 0, 0, 0, 0.3], FailureClass.UNDONE),
        ([0, -0.05, -0.15], [0.3, 0, 0], None),
    ],
)
def test_parts_that_are_opened_have_classes_as_well(joints, hands, failure):
    assert judge(part(joints, hands), [False] * (len(joints) - 1), 20.0).failure == failure


def test_figures_are_those_of_the_motion():
    arm = ActionSpec(("x", "y", "gripper"), (-1, -1, -1), (1, 1, 1), "delta_pose", is_clipped=True, noop="")
    episode = World()
    episode.go(0, 0.3, 0.1, steps=4)
    fallen = episode.scenes[-1].items["cup"]
    episode.scenes[-1].items["cup"] = ItemReading(fallen.position, LYING, fallen.distance_m, False, False)
    actions = np.array([[1, 0, 1], [0.5, 0, 1], [0, -1, 1], [0, 0, 1]], dtype=float)
    found = figures(episode.scenes, actions, arm, 20.0)
    assert (found["path_m"], found["knocked_over"], found["saturated_share"]) == (0.2, ["cup"], 0.5)
    assert found["jerk_m_s3"] < 1e-6


def test_a_finding_says_what_held_when_and_an_env_without_scenes_has_none():
    arm = ActionSpec(("x", "gripper"), (-1, -1), (1, 1), "delta_pose", is_clipped=True, noop="")
    maker, retraced = FindingsMaker(arm, 20.0), Retraced("", is_success=False, task="t", instruction="i")
    episode = EPISODES[FailureClass.UNDONE]
    for step, scene in enumerate(episode.scenes):
        action = np.array([0.0, 1.0 if episode.closing[step - 1] else -1.0]) if step else None
        maker.see(Sight(step, action, scene=scene))
    found = maker.made(retraced)
    assert (found["failure_class"], found["goal"]) == ("undid it", ["in can basket"])
    assert len(found["held"][0]) == len(found["progress"]) == len(episode.scenes)
    assert (max(found["held"][0]), found["held"][0][-1]) == (1, 0)
    blind = FindingsMaker(arm, 20.0)
    blind.see(Sight(0))
    assert blind.made(retraced) is None
