"""Ray and its workers kept from one `evaluate` of a process to its next; runs in the calling program.

Only a Ray that was started here is kept. The policy is let go after each run: what it was loaded from may change.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray

from ray_eval.config import EvalConfig, simulator_section
from ray_eval.driver import turns
from ray_eval.driver.cluster import worker_count
from ray_eval.driver.replicas import actor_cpus
from ray_eval.driver.session import OpenSession, Session, open_session
from ray_eval.interfaces import Policy
from ray_eval.report.progress import ProgressView

_turn = threading.RLock()
"""Held while a kept session is used, opened or ended; a process has one at most."""


@dataclass
class _Kept:
    """A session that waits for the next run."""

    session: Session
    stack: contextlib.ExitStack
    key: tuple[Any, ...]


_kept: _Kept | None = None


def session_for(live: Policy | None, *, is_kept: bool) -> OpenSession:
    """What gives a run its session: the one that was kept if it suits, else a new one.

    Args:
        live: a policy of the calling program, if it is that which is run.
        is_kept: whether it is kept afterwards; never where Ray is the caller's own, or a cluster, whose cores others
            want.
    """

    @contextlib.contextmanager
    def opened(config: EvalConfig, waiting_count: int, progress: ProgressView) -> Iterator[Session]:
        with contextlib.ExitStack() as turn:
            turn.enter_context(_turn)
            if _kept is not None and not _kept.session.is_there:
                # The program has shut Ray down itself, and may have started one of its own.
                release()
            if ray.is_initialized() and _kept is None:
                # The caller's own Ray takes several runs at a time.
                turn.close()
                with open_session(config, waiting_count, progress, live) as session:
                    yield session
                return
            session = _suiting(config, waiting_count, progress, live)
            is_whole = False
            try:
                session.turn_to(config, waiting_count, progress, live)
                yield session
                is_whole = is_kept and config.ray.address is None and session.is_idle
            finally:
                # After an error or an interrupt workers may still be at work for nobody.
                if is_whole:
                    session.let_policy_go()
                else:
                    release()

    return opened


def _suiting(config: EvalConfig, waiting_count: int, progress: ProgressView, live: Policy | None) -> Session:
    """The kept session, if another would be no different; else a new one in its place."""
    global _kept  # noqa: PLW0603 - a process has one Ray
    key = _key(config)
    if _kept is not None and ray.is_initialized() and _kept.key == key:
        most = worker_count(config, waiting_count, _kept.session.fitting)
        if most <= len(_kept.session.workers):
            return _kept.session
    release()
    stack = contextlib.ExitStack()
    with _callers_handler():
        session = stack.enter_context(open_session(config, waiting_count, progress, live))
    _kept = _Kept(session, stack, key)
    return session


def _key(config: EvalConfig) -> tuple[Any, ...]:
    """What a session cannot change once it is open."""
    place = config.ray, config.render, config.limits, config.workers, config.serving.address
    return simulator_section(config), *place, actor_cpus(config)


def release() -> None:
    """Ends the Ray that was kept, with its workers; the next `evaluate` starts one anew."""
    global _kept
    with _turn:
        kept, _kept = _kept, None
        if kept is not None:
            # Whoever listened may be gone.
            kept.session.turn_to_silence()
            with _callers_handler():
                kept.stack.close()


@contextlib.contextmanager
def _callers_handler() -> Iterator[None]:
    """What SIGTERM and SIGHUP do is the caller's own afterwards: Ray and a session take them for themselves."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by no Python, and by none to be set again
                signal.signal(number, handler)


turns.keepers.append(release)
atexit.register(release)
