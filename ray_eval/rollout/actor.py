"""The rollout worker: a Ray actor with one CPU that owns one simulator at a time and calls the policy over gRPC."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from ray_eval.envs.contents import look
from ray_eval.errors import SetupError
from ray_eval.rollout.hosted import HostedRollout
from ray_eval.rollout.replaying import Maker, Replay, ReplaySettings, replay_and_make
from ray_eval.rollout.running import Rollout, RolloutSettings
from ray_eval.rollout.watchdog import Watchdog
from ray_eval.sections import (
    ConnectSection,
    SimulatorSection,
)
from ray_eval.types import Canary, Contents, EpisodeResult, EpisodeSpec, RecordedActions

LAST_WORDS, WAITED = "last_words", "waited"
"""What a worker leaves at Ray's head, as it cannot answer: why it ends; seconds that it has waited for the policy."""
_NAMESPACE = b"ray-eval"


def leave(words: str, kind: str = LAST_WORDS) -> None:
    """Leaves a text of this actor's for the driver; one of the same kind is replaced."""
    if ray.is_initialized():
        key = f"{kind}/{ray.get_runtime_context().get_actor_id()}".encode()
        with contextlib.suppress(ray.exceptions.RaySystemError, RuntimeError):
            _internal_kv_put(key, words.encode(), overwrite=True, namespace=_NAMESPACE)


def left(actor_id: str, kind: str = LAST_WORDS) -> str | None:
    """What an actor left, which is then gone; None where it left nothing, or Ray's head is gone."""
    key = f"{kind}/{actor_id}".encode()
    with contextlib.suppress(ray.exceptions.RaySystemError, RuntimeError):
        found: bytes | None = _internal_kv_get(key, namespace=_NAMESPACE)
        if found is not None:
            _internal_kv_del(key, namespace=_NAMESPACE)
            return found.decode()
    return None


class Worker:
    """The actor class; its environment variables are set before this module is imported."""

    def __init__(self, name: str, connect: Callable[[], ConnectSection], simulator: SimulatorSection) -> None:
        self._name = name
        self._rollout: Rollout | HostedRollout
        if simulator.python is None:
            watchdog = Watchdog(leave, lambda waited_s: leave(f"{waited_s:.0f}", WAITED))
            self._rollout = Rollout(connect, simulator, watchdog=watchdog)
        else:
            self._rollout = HostedRollout(simulator, connect)
        self._simulator = self._rollout.simulator
        self._canaries: dict[bool, Canary | None] = {}

    def __repr__(self) -> str:
        """What the Ray dashboard shows."""
        return self._name

    def describe(self) -> dict[str, Any]:
        """Where this worker runs, and with which versions."""
        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else None
        return {"pid": os.getpid(), "host": platform.node(), "node": node, "versions": self._rollout.versions()}

    def look(self, episodes: Sequence[EpisodeSpec]) -> Contents:
        """What this worker would make these episodes of.

        Raises:
            ConfigError: a suite or a task is unknown here.
            SetupError: a package or a file is missing here, or cannot be read.
        """
        return look(self._simulator, episodes)

    def prepare(self) -> None:
        """Imports the simulator, so that this is done while others get ready."""
        self._simulator.prepare()

    def canary(self, *, has_pixels: bool) -> Canary | None:
        """What this machine makes of fixed inputs, a second or two the first time; None where nothing is simulated."""
        if has_pixels not in self._canaries:
            self._canaries[has_pixels] = self._simulator.canary(has_pixels=has_pixels)
        return self._canaries[has_pixels]

    def introduce(
        self, *, has_pixels: bool, episodes: Sequence[EpisodeSpec] = ()
    ) -> tuple[dict[str, Any], Canary | None, Contents]:
        """`describe`, `canary` and `look` in one answer."""
        return self.describe(), self.canary(has_pixels=has_pixels), self.look(episodes)

    def preflight(self, spec: EpisodeSpec, settings: RolloutSettings) -> list[str]:
        """What looks wrong when the policy sees its first real observation; none of it stops a run.

        Raises:
            SetupError: the policy cannot answer it.
            EpisodeError: the simulator or the policy server broke.
        """
        return self._rollout.preflight(spec, settings)

    def turn_to(self, connect: Callable[[], ConnectSection]) -> None:
        """Asks another policy from now on."""
        self._rollout.turn_to(connect)

    def run(self, spec: EpisodeSpec, attempt: int, settings: RolloutSettings) -> EpisodeResult:
        """One attempt of one episode.

        Raises:
            SetupError: this machine, found after the run's start, does not compute what the run's machines do.
            PolicyGone: the run's policy is not served any more.
        """
        canary = self.canary(has_pixels=settings.has_images)
        if canary is None:
            return self._rollout.run(spec, attempt, settings)
        digest = canary.digest
        if settings.canaries and digest not in settings.canaries:
            raise SetupError(
                f"{platform.node()}: expected a machine with canary {' or '.join(settings.canaries)}, got {digest}; "
                "take machines alike, or set limits.allow_mixed=true"
            )
        return dataclasses.replace(self._rollout.run(spec, attempt, settings), canary=digest)

    def replay(
        self, spec: EpisodeSpec, actions: RecordedActions, settings: ReplaySettings, makers: Mapping[str, Maker]
    ) -> Replay:
        """A recorded episode again, without a policy, and what the makers make of it; one that breaks is told of."""
        return replay_and_make(self._rollout.replay, spec, actions, settings, makers)

    def close(self) -> None:
        """Frees what the worker holds, before it is ended."""
        self._rollout.close()
