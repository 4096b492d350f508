"""How long servers are waited for, with a clock that nobody waits for."""

import logging
import threading

import pytest

from ray_eval.errors import PolicyUnavailable
from ray_eval.policies.remote.pool import (
    DEAD_S,
    LinkBrokenError,
    NoAnswerError,
    Patience,
    Pool,
    WrongServerError,
)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += max(seconds, 0.001)


class FakeLink:
    def __init__(self, address):
        self.address = address

    def close(self):
        pass


class Servers:
    """Servers that are there or not, by their address, and how long each takes for an answer."""

    def __init__(self, *addresses):
        self.clock = Clock()
        self.dead, self.seconds, self.breaks = set(), dict.fromkeys(addresses, 1.0), {}
        self.opened = []
        self.pool = Pool(addresses, self.open, 1, Patience(30.0, 600.0), clock=self.clock, sleep=self.clock.sleep)

    def open(self, address, timeout_s):
        self.opened.append(address)
        if address in self.dead:
            raise LinkBrokenError("connection refused")
        return FakeLink(address)

    def ask(self):
        return self.pool.ask(self.answer)

    def answer(self, link, timeout_s):
        seconds = self.seconds[link.address]
        if self.breaks.get(link.address):
            self.clock.now += self.breaks[link.address]
            raise LinkBrokenError("the connection broke")
        self.clock.now += min(seconds, timeout_s)
        if seconds > timeout_s:
            raise NoAnswerError(f"no answer within {timeout_s:g} s")
        return link.address


def test_a_first_answer_may_take_minutes_and_later_ones_keep_the_limit():
    servers = Servers("a")
    servers.seconds["a"] = 300.0
    assert servers.ask() == "a"
    with pytest.raises(PolicyUnavailable, match=r"within 30 s, got no answer within 30 s; .*policy\.timeout_s"):
        servers.ask()
    servers.seconds["a"] = 2.0
    assert servers.ask() == "a"


def test_a_first_answer_is_not_waited_for_for_ever():
    servers = Servers("a")
    servers.seconds["a"] = 601.0
    with pytest.raises(PolicyUnavailable, match=r"within 600 s.*policy\.first_timeout_s"):
        servers.ask()


def test_a_server_that_never_answered_and_is_dead_is_known_within_five_seconds():
    servers = Servers("a")
    servers.dead.add("a")
    with pytest.raises(PolicyUnavailable, match=r"within 5 s, got connection refused; start the server or mend"):
        servers.ask()
    assert servers.clock.now <= DEAD_S + 1.0


def test_a_server_that_dies_while_it_compiles_is_known_five_seconds_later():
    servers = Servers("a")
    servers.breaks["a"] = 120.0
    with pytest.raises(PolicyUnavailable, match="the connection broke"):
        servers.ask()
    assert servers.clock.now < 2 * 120.0 + DEAD_S + 1.0  # it is asked once more, and dies of it once more


def test_a_server_that_answered_before_is_given_the_whole_time_to_come_back_and_to_compile_again():
    servers = Servers("a")
    servers.ask()
    servers.dead.add("a")
    began = servers.clock.now
    servers.pool.hang_up()
    with pytest.raises(PolicyUnavailable, match=r"within 30 s.*raise policy\.timeout_s"):
        servers.ask()
    assert 30.0 <= servers.clock.now - began <= 36.0
    servers.dead.clear()
    servers.seconds["a"] = 200.0
    assert servers.ask() == "a"


def test_a_late_answer_of_a_server_that_is_there_gives_the_next_request_no_more_time():
    servers = Servers("a")
    servers.ask()
    servers.seconds["a"] = 100.0
    began = servers.clock.now
    for _ in range(2):
        with pytest.raises(PolicyUnavailable):
            servers.ask()
    assert servers.clock.now - began < 66.0


def test_whoever_speaks_another_protocol_is_asked_once():
    servers = Servers("a")

    def wrong(link, timeout_s):
        raise WrongServerError("expected a websocket server")

    with pytest.raises(WrongServerError):
        servers.pool.ask(wrong)
    assert servers.opened == ["a"]


def test_of_two_servers_one_that_is_dead_from_the_start_is_passed_over():
    servers = Servers("a", "b")
    servers.dead.add("a")
    assert servers.ask() == "b"


def test_a_long_wait_for_a_first_answer_is_spoken_of():
    spoken, said = threading.Event(), []

    class Listening(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())
            spoken.set()

    logger = logging.getLogger("ray_eval.policies.remote.pool")
    handler = Listening()
    logger.addHandler(handler)
    try:
        pool = Pool(["a"], lambda address, timeout_s: FakeLink(address), 1, Patience(1.0, 60.0, word_s=0.01))
        assert pool.ask(lambda link, timeout_s: spoken.wait(60))
    finally:
        logger.removeHandler(handler)
    assert said == ["policy server at a: no first answer yet, it may be loading or compiling; waiting up to 60 s"]
    assert pool.ask(lambda link, timeout_s: timeout_s) <= 1.0
