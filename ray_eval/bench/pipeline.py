"""`bench pipeline`: what is between simulator and policy, without the cost of either; where an episode's time goes."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import numpy as np

from ray_eval.bench.policies import CHUNK_LEN, TimedPolicy, observation_of, served
from ray_eval.bench.rows import Row, interleaved, median_ms, timed
from ray_eval.bench.tasks import BenchTask
from ray_eval.envs import make_env
from ray_eval.interfaces import Env
from ray_eval.rollout.client import Pending, PolicyClient
from ray_eval.rollout.episode import Episode
from ray_eval.rollout.latency import FixedLatency
from ray_eval.sections import ConnectSection, EnvSettings, ObservationRecipe, QueueRules
from ray_eval.types import IMAGE_KEYS, ActionChunk, Array, EpisodeSpec, FloatArray, Observation, StepResult
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb

T = TypeVar("T")

RULES: Final = QueueRules(horizon=CHUNK_LEN, chunk_len=CHUNK_LEN, action_dim=7)
"""sync, whole chunks."""


def bench_pipeline(task: BenchTask, step_count: int, repeats: int) -> list[Row]:
    """The codec's four parts, then the parts of episodes of so many steps.

    Args:
        task: Where the episodes run; the fake suite costs next to nothing.
        step_count: Steps of an episode; a request every 10.
        repeats: Requests that are encoded, and episodes.
    """
    return [*_codec_rows(repeats), *_episode_rows(task, step_count, repeats)]


def _codec_rows(repeats: int) -> list[Row]:
    spec, observation = TimedPolicy(0, 0).spec, observation_of(1)
    chunk = ActionChunk(np.zeros((CHUNK_LEN, spec.action_dim), np.float32))
    request = codec.encode_request([observation], spec, "id")
    response = codec.encode_response([chunk], spec, "id")
    wire = request.SerializeToString()
    parts: dict[str, Callable[[], object]] = {
        "observation -> request": lambda: codec.encode_request_bytes([observation], spec, "id"),
        "request -> observation": lambda: codec.decode_request(pb.ModelInferRequest.FromString(wire), spec),
        "chunk -> response": lambda: codec.encode_response([chunk], spec, "id").SerializeToString(),
        "response -> chunk": lambda: codec.decode_response(response, spec),
    }
    calls = {**parts, "copy": lambda: bytes(bytearray(wire))}
    measured = {name: functools.partial(timed, call) for name, call in calls.items()}
    found = {name: median_ms(values) for name, values in interleaved(measured, repeats, warmups=3).items()}
    subject, reference = f"codec, {len(wire) // 1000} kB", "copying the request twice"
    return [Row(subject, name, found[name], "ms", repeats, reference, found["copy"]) for name in parts]


def _episode_rows(task: BenchTask, step_count: int, repeats: int) -> list[Row]:
    clock = _Clock()
    env = make_env(task.suite, task.task_id, EnvSettings(ObservationRecipe(IMAGE_KEYS)))
    with served(0, 0) as server, contextlib.closing(env):
        client = PolicyClient(lambda: ConnectSection(server.address))
        with contextlib.closing(client):
            on_clock = _TimedEnv(env, clock), _TimedClient(client, clock)
            whole = [_episode_s(*on_clock, task, step_count) for _ in range(repeats)]
    total_ms = sum(whole) * 1000 / repeats
    parts = {name: seconds * 1000 / repeats for name, seconds in clock.seconds.items()}
    parts["the rest: queue, hashes, loop"] = total_ms - sum(parts.values())
    subject = f"{task}, {step_count} steps"
    return [
        *(Row(subject, name, value, "ms", repeats, "whole episode", total_ms) for name, value in parts.items()),
        Row(subject, "steps", step_count / total_ms * 1000, "1/s", repeats),
    ]


def _episode_s(env: Any, client: Any, task: BenchTask, step_count: int) -> float:
    spec = task.spec(max_steps=step_count)
    episode = Episode(env, client, spec, RULES, FixedLatency(0), request_prefix=f"bench/{time.perf_counter_ns()}")
    return timed(episode.run)


class _Clock:
    """Seconds by part, added up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, part: str, function: Callable[[], T]) -> T:
        started = time.perf_counter()
        try:
            return function()
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started


class _TimedEnv:
    """An env whose calls are on the clock, and whose episodes last their whole budget."""

    def __init__(self, env: Env, clock: _Clock) -> None:
        self._env, self._clock = env, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def reset(self, episode: EpisodeSpec) -> None:
        self._clock.run("env.reset", lambda: self._env.reset(episode))

    def observe(self) -> Mapping[str, Array]:
        return self._clock.run("env.observe", self._env.observe)

    def step(self, action: FloatArray) -> StepResult:
        result = self._clock.run("env.step", lambda: self._env.step(action))
        return StepResult(result.reward, is_success=False)

    def simulator_state(self) -> FloatArray:
        return self._clock.run("env.simulator_state", self._env.simulator_state)


class _TimedClient:
    """A client whose calls are on the clock."""

    def __init__(self, client: PolicyClient, clock: _Clock) -> None:
        self._client, self._clock = client, clock

    def infer(self, observation: Observation, request_id: str, *, is_awaited: bool) -> Any:
        ask = functools.partial(self._client.infer, observation, request_id, is_awaited=is_awaited)
        return _TimedPending(self._clock.run("client.infer: encode", ask), self._clock)


class _TimedPending:
    """An answer under way, the wait for which is on the clock."""

    def __init__(self, pending: Pending[ActionChunk], clock: _Clock) -> None:
        self._pending, self._clock = pending, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pending, name)

    def result(self) -> ActionChunk:
        return self._clock.run("pending.result: send, server, decode", self._pending.result)
