"""An attempt that hangs in a phase ends its process, which says where; waiting for the policy is nobody's fault."""

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from ray_eval.driver.recycling import Recycling
from ray_eval.rollout import watchdog
from ray_eval.rollout.watchdog import EXIT_CODE, Deadlines, Watchdog

LIMITS = Deadlines(build=1000, reset=1000, step=0.01, render=1000)
HANGING = """
import faulthandler, sys, time
from ray_eval.rollout import watchdog
from ray_eval.rollout.watchdog import Deadlines, Watchdog
watchdog.POLL_S = 0.05

def in_the_engine():
    %s

phases = Watchdog(say=lambda words: print("said", words)).begin(Deadlines(9, 9, 0.1, 9))
with phases.step:
    in_the_engine()
"""


def hung(how):
    return subprocess.run(
        [sys.executable, "-c", HANGING % how], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_step_that_hangs_leaves_its_stack_and_its_words_and_ends_the_process():
    done = hung("time.sleep(1000)")
    assert done.returncode == EXIT_CODE
    assert "in in_the_engine" in done.stderr
    assert "said step: expected its end within limits.step_timeout_s=0.1 s" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("EpisodeError: step: expected its end")


@pytest.mark.nightly
def test_native_code_that_never_lets_go_of_the_interpreter_is_ended_all_the_same():
    done = hung("import re; re.match('(a+)+$', 'a' * 60 + 'b')")
    assert done.returncode == 1
    assert "in in_the_engine" in done.stderr


class Ended(Exception):
    """In place of the process's end."""


class Led(Watchdog):
    """Looks when it is told to."""

    def _watch(self):
        pass


@pytest.fixture
def watched():
    """A watchdog, what it said, what it told of waiting."""
    said, waited = [], []

    def end(code):
        raise Ended(code)

    return Led(said.append, waited.append, end), said, waited


@pytest.mark.parametrize("phase", ["build", "reset", "step", "render"])
def test_each_phase_has_its_limit_by_its_name(watched, phase):
    dog, said, _ = watched
    phases = dog.begin(Deadlines(**{phase: 0.0}))
    with getattr(phases, phase), pytest.raises(Ended):
        dog.look()
    assert f"limits.{phase}_timeout_s=0 s" in said[0]


def test_a_phase_within_its_limit_and_the_time_between_phases_end_nothing(watched):
    dog, said, _ = watched
    phases = dog.begin(LIMITS)
    with phases.render:
        dog.look()
    time.sleep(0.02)
    dog.look()
    dog.finish()
    dog.look()
    assert said == []


def test_a_phase_in_which_all_stood_still_is_past_its_limit_by_what_it_took_itself(watched, monkeypatch):
    dog, said, _ = watched
    now = [0.0]
    monkeypatch.setattr(watchdog, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with dog.begin(Deadlines(step=60)).step:
        dog.look()
        now[0] += 3600
        dog.look()
        assert said == []
        for _ in range(50):
            now[0] += 1
            dog.look()
        now[0] += 1
        with pytest.raises(Ended):
            dog.look()


def test_what_is_waited_for_the_policy_is_told_and_taken_back_at_the_end(watched, monkeypatch):
    dog, _, waited = watched
    dog.begin(LIMITS)
    dog.look()
    assert waited == []
    monkeypatch.setattr(watchdog, "TELL_S", 0.0)
    dog.look()
    dog.finish()
    assert len(waited) == 2
    assert waited[0] > 0 == waited[1]


def test_a_worker_that_grows_beyond_the_limit_is_due_and_one_that_began_so_is_not():
    recycling = Recycling(100)
    assert not recycling.is_due("grows", 60)
    assert not recycling.is_due("grows", 100)
    assert recycling.is_due("grows", 101)
    assert not recycling.is_due("large", 150)
    assert not recycling.is_due("large", 900)
