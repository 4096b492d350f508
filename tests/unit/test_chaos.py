"""The order of faults, what must hold of a ledger, and an env that does what it is told."""

import itertools
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.chaos.injecting import KINDS
from ray_eval.chaos.rules import violations
from ray_eval.chaos.schedule import counts_of, rounds
from ray_eval.cli import EXIT_USER_ERROR, main
from ray_eval.errors import ConfigError
from ray_eval.orders import VARIABLE, Orders, ToldToBreak, obeying

HEADER = {"kind": "header"}
SESSION = {"kind": "session"}
HASHES = {"steps": 3, "actions_sha256": "a", "trajectory_sha256": "t", "final_state_sha256": "f"}


def line(episode_id, outcome="success", kind="episode", **changes):
    return {"kind": kind, "episode_id": episode_id, "outcome": outcome, **HASHES, **changes}


def broke(episode_id, error="EpisodeError: broke"):
    return line(episode_id, "error", "attempt", error=error)


@given(st.integers(), st.integers(1, 3))
def test_a_seed_gives_one_order_and_every_round_has_every_kind_as_often_as_asked(seed, count):
    counts = {"worker_killed": count, "torn_tail": 1, "policy_slow": 2}
    made, again = (list(itertools.islice(rounds(seed, counts, 2.0), 4)) for _ in range(2))
    assert made == again
    for each in made:
        assert sorted(fault.kind for fault in each) == sorted(
            ["worker_killed"] * count + ["torn_tail"] + ["policy_slow"] * 2
        )
    assert [fault.number for each in made for fault in each] == list(range(1, 4 * (count + 3) + 1))
    assert all(0 <= fault.delay_s <= 2.0 for each in made for fault in each)


def test_other_seeds_give_other_orders():
    assert (
        len({tuple(fault.kind for fault in next(rounds(seed, dict.fromkeys(KINDS, 1), 0))) for seed in range(9)}) == 9
    )


def test_faults_are_asked_for_by_name_and_number():
    assert counts_of("worker_killed:20, torn_tail", KINDS) == {"worker_killed": 20, "torn_tail": 1}
    assert counts_of(None, KINDS) == dict.fromkeys(KINDS, 1)
    with pytest.raises(ConfigError, match=r"got 'worker_kiled'\. Did you mean 'worker_killed'"):
        counts_of("worker_kiled", KINDS)
    with pytest.raises(ConfigError, match="expected torn_tail:1 to"):
        counts_of("torn_tail:0", KINDS)


def test_a_ledger_of_attempts_sessions_and_one_outcome_each_holds():
    lines = [HEADER, broke("a"), broke("a"), SESSION, broke("a"), line("a"), line("b", "failure"), {"kind": "served"}]
    assert violations(lines, ["a", "b"], max_attempts=3) == []


@pytest.mark.parametrize("error", ["PolicyUnavailable: nothing", "Preempted: its node's end"])
def test_silence_of_the_policy_and_a_machine_that_is_taken_back_are_no_attempt(error):
    lines = [HEADER, *[broke("a", error)] * 3, broke("a"), broke("a"), line("a")]
    assert violations(lines, ["a"], max_attempts=3) == []


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([line("a")], "expected a header"),
        ([HEADER], "a: planned, expected a success or failure, got none"),
        ([HEADER, line("a", "error")], "a: planned, expected a success or failure, got none"),
        ([HEADER, line("a"), line("b")], "b: not planned"),
        ([HEADER, line("a"), line("a")], "expected one final record, got 2, the same"),
        ([HEADER, line("a"), line("a", trajectory_sha256="u")], "determinism broke"),
        ([HEADER, broke("a"), broke("a"), line("a")], "at most 2 attempts"),
        ([HEADER, line("a"), line("a", "error")], "expected nothing behind its success"),
    ],
)
def test_what_does_not_hold_is_said(lines, said):
    found = violations(lines, ["a"], max_attempts=2)
    assert any(said in each for each in found), found


class Env:
    """Counts its steps."""

    count = 0

    def step(self, action):
        self.count += 1
        return action


@pytest.fixture
def orders(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "orders"))
    return Orders(tmp_path / "orders")


def step_in_thread(env):
    said = []

    def step():
        try:
            said.append(env.step("up"))
        except ToldToBreak as error:
            said.append(error)

    thread = threading.Thread(target=step)
    thread.start()
    return thread, said


def test_an_env_is_left_alone_where_nobody_disturbs(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    env = Env()
    assert "step" not in vars(obeying(env))


@pytest.mark.parametrize("verb", ["go", "raise"])
def test_a_worker_that_takes_an_order_says_who_it_is_and_waits_for_an_answer(orders, verb):
    env = obeying(Env())
    env.step("down")
    orders.hold(1)
    thread, said = step_in_thread(env)
    while (taken := orders.taken(1)) is None:
        assert thread.is_alive()
    assert (taken.pid, taken.step, env.count, said) == (os.getpid(), 2, 1, [])
    assert not orders.withdraw(1)
    orders.answer(1, verb)
    thread.join()
    assert (str(said[0]), env.count) == (("up", 2) if verb == "go" else ("fault 1: the env was told to raise", 1))


def test_an_order_that_was_taken_back_holds_nobody(orders):
    orders.hold(1)
    assert orders.withdraw(1)
    assert obeying(Env()).step("up") == "up"


@pytest.mark.parametrize("words", [["out={}"], ["--out", "{}"]])
def test_the_folder_of_what_is_left_is_named_in_either_way(tmp_path, capsys, words):
    said = [word.format(tmp_path) for word in words]
    assert main(["chaos", "suite=fake", "policy=random", *said]) == EXIT_USER_ERROR
    assert f"--out {tmp_path}: expected a new folder, got one that is there" in capsys.readouterr().err


def test_a_folder_that_is_named_twice_or_in_the_configuration_is_refused(tmp_path, capsys):
    assert main(["chaos", "suite=fake", "policy=random", "out=a", "--out", "b"]) == EXIT_USER_ERROR
    assert "expected one folder of the results" in capsys.readouterr().err
    (tmp_path / "eval.yaml").write_text("suite: fake\npolicy: random\nout: a\n")
    assert main(["chaos", str(tmp_path / "eval.yaml")]) == EXIT_USER_ERROR
    assert "out: expected none in the configuration; write out=DIR on the command line" in capsys.readouterr().err
