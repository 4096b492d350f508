"""What steps of LeRobot's pipelines keep from call to call: carried with its row, or refused by name."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ray_eval.errors import SetupError
from ray_eval.policies.lerobot.checkpoint import Checkpoint
from ray_eval.policies.lerobot.memory import CarriedMemory, Watch


class RelativeActionsProcessorStep:
    """As LeRobot's: it keeps the state of the last observation for the step behind the policy."""

    def __init__(self):
        self._last_state = None

    def __call__(self, state):
        self._last_state = state
        return state


class AbsoluteStep:
    def __init__(self, relative_step, enabled=True):
        self.relative_step, self.enabled = relative_step, enabled

    def __call__(self, action):
        return action + self.relative_step._last_state if self.enabled else action


class Pipeline:
    def __init__(self, *steps):
        self.steps = steps

    def __call__(self, value):
        for step in self.steps:
            value = step(value)
        return value


def relative(enabled=True):
    before = Pipeline(RelativeActionsProcessorStep())
    return before, Pipeline(AbsoluteStep(before.steps[0], enabled))


def test_each_rows_state_comes_back_with_it_however_many_were_staged_since():
    before, behind = relative()
    memory = CarriedMemory(before, behind)
    kept = []
    for state in (1.0, 10.0, 100.0):
        before(torch.tensor(state))
        kept.append(memory.take_off())
    for state, row in zip((1.0, 10.0, 100.0), kept, strict=True):
        memory.put_down(row)
        before(torch.tensor(-5.0))  # another is staged meanwhile
        assert float(behind(torch.tensor(0.5))) == state + 0.5


def test_pipelines_without_a_memory_have_nothing_to_carry():
    memory = CarriedMemory(Pipeline(AbsoluteStep(None)), Pipeline(AbsoluteStep(None)))
    assert memory.take_off() == ()
    memory.put_down(())


def test_a_reader_is_told_that_lerobots_own_evaluation_does_otherwise():
    assert "lerobot-eval adds the state of each later step" in CarriedMemory(*relative()).remarks()[0]
    assert CarriedMemory(*relative(enabled=False)).remarks() == []


class Keeping:
    """A step that does something to itself when it is called."""

    def __init__(self, act, **parts):
        self.act = act
        self.__dict__.update(parts)

    def __call__(self, value):
        self.act(self, value)
        return value


class Own:
    total = 0


def loads_once(step, _):
    step.tokenizer = step.tokenizer or np.random.Generator(np.random.Philox(1))


def sets_first(step, value):
    step.first = value if step.first is None else step.first


def adds_to_own(step, value):
    step.own.total = step.own.total + 1


REMEMBERING = {
    "a tensor": (lambda step, value: setattr(step, "mean", value), {"mean": torch.zeros(1)}, "mean"),
    "a counter": (lambda step, _: setattr(step, "calls", step.calls + 1), {"calls": 0}, "calls"),
    "a list": (lambda step, value: step.seen.append(float(value)), {"seen": []}, "seen"),
    "a dictionary": (lambda step, value: step.seen.update({float(value): 1}), {"seen": {}}, "seen"),
    "the first of all": (sets_first, {"first": None}, "first"),
    "an attribute of its own": (lambda step, value: setattr(step, "last", value), {}, "last"),
    "an object of its own package": (adds_to_own, {"own": Own()}, "own"),
    "a tensor that is written into": (lambda step, value: step.mean.copy_(value), {"mean": torch.zeros(1)}, "mean"),
}
FORGETTING = {
    "nothing": (lambda *_: None, {"scale": torch.ones(3)}),
    "a part that is loaded once": (loads_once, {"tokenizer": None}),
    "the transition of the present call": (lambda s, v: setattr(s, "_current_transition", v), {}),
}


def watched(act, parts):
    before, behind = Pipeline(Keeping(act, **parts)), Pipeline()
    watch = Watch(before, behind)
    for value in (1.0, 2.0):
        before(torch.tensor([value]))
        watch.look()
    checkpoint = Checkpoint("me/mine", SimpleNamespace(), {"type": "x"})
    watch.refuse(checkpoint)


@pytest.mark.parametrize("what", REMEMBERING)
def test_a_step_that_remembers_is_refused_by_name(what):
    act, parts, name = REMEMBERING[what]
    said = rf"policy\.path=me/mine: expected processor steps that keep nothing .* got Keeping\.{name}, which changed"
    with pytest.raises(SetupError, match=said):
        watched(act, parts)


@pytest.mark.parametrize("what", FORGETTING)
def test_a_step_that_only_loads_a_part_or_notes_the_present_call_passes(what):
    watched(*FORGETTING[what])


def test_relative_actions_are_known_and_no_reason_to_refuse():
    before, behind = relative()
    memory, watch = CarriedMemory(before, behind), Watch(before, behind)
    for state in (1.0, 2.0):
        before(torch.tensor(state))
        memory.put_down(memory.take_off())
        behind(torch.tensor(0.0))
        watch.look()
    watch.refuse(Checkpoint("c", SimpleNamespace(), {"type": "x"}))
