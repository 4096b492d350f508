"""The episode loop: one env, one queue, one policy; runs in each worker, or in a process without Ray."""

from __future__ import annotations

import hashlib
import time
import traceback
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ray_eval.errors import ContractError, PolicyUnavailable, WorkerUnreachable
from ray_eval.foreign import text_of
from ray_eval.interfaces import Env, KnowsStart
from ray_eval.messages import one_line
from ray_eval.rollout.chunk_queue import ObservationFilter, Pending, Planned, make_queue
from ray_eval.rollout.inside import InsideRecorder, TraceListener
from ray_eval.rollout.latency import LatencyModel
from ray_eval.rollout.pacing import Pacer
from ray_eval.rollout.seeds import request_seed
from ray_eval.rollout.watchdog import UNWATCHED, Phases
from ray_eval.sections import QueueRules
from ray_eval.types import (
    STATE,
    Array,
    EpisodeResult,
    EpisodeSpec,
    FloatArray,
    Observation,
    Outcome,
    RecordedActions,
    StepRecord,
    StepResult,
    Timing,
)


class PendingAnswer(Pending, Protocol):
    """An answer under way that knows how long it took."""

    @property
    def elapsed_ms(self) -> float:
        """Round-trip time in milliseconds; NaN while the answer is not there."""
        ...


class PolicyCaller(Protocol):
    """The client's one verb."""

    def infer(self, observation: Observation, request_id: str, *, is_awaited: bool = False) -> PendingAnswer:
        """Sends the observation without waiting; at the latest in `result`, which follows at once, if it is awaited."""
        ...


MOST_ACTION_BYTES = 16 * 2**20
"""Longest recording of one episode's actions, before compression; a longer one is not kept."""


class Episode:
    """One attempt of one episode."""

    def __init__(
        self,
        env: Env,
        policy: PolicyCaller,
        spec: EpisodeSpec,
        rules: QueueRules,
        latency: LatencyModel,
        *,
        request_prefix: str,
        control: str = "delta_pose",
        is_noop: bool = False,
        pacer: Pacer | None = None,
        keeps_actions: bool = False,
        on_record: TraceListener | None = None,
        phases: Phases = UNWATCHED,
    ) -> None:
        self._env = env
        self._policy = policy
        self._spec = spec
        self._latency = latency
        self._rules = rules
        self._request_prefix = request_prefix
        self._is_noop = is_noop
        self._pacer = pacer
        self._keeps_actions = keeps_actions
        self._on_record = on_record or (lambda _record: None)
        self._phases = phases
        self._queue = make_queue(rules)
        self._filter = None if rules.similarity_atol is None else ObservationFilter(rules.similarity_atol)
        self._inside = InsideRecorder(control)
        self._answers: list[PendingAnswer] = []
        self._actions_hash = hashlib.sha256()
        self._executed: list[bytes] = []
        self._trajectory_hash = hashlib.sha256()
        self._last_action: FloatArray | None = None
        self._steps = 0
        self._reward_sum = 0.0
        self._reset_s = self._step_s = self._observe_s = 0.0

    def first_answer(self) -> tuple[Observation, Array]:
        """The observation of step 0 and the (H, A) answer to it, executed by nobody.

        Raises:
            EpisodeError: the env or the policy server broke.
            ContractError: the env or the policy broke its contract.
        """
        self._env.reset(self._spec)
        observation = self._observation(0, 0, delay_steps=0)
        return observation, self._policy.infer(
            observation, f"{self._request_prefix}/0", is_awaited=True
        ).result().actions

    def run(self) -> EpisodeResult:
        """The episode's result: a success or a failure.

        Raises:
            EpisodeError: the env or the policy server broke; another attempt may do better.
            ContractError: the env or the policy broke its contract.
        """
        started = time.perf_counter()
        try:
            with self._phases.reset:
                self._env.reset(self._spec)
            self._reset_s = time.perf_counter() - started
            is_success = self._run_steps()
        finally:
            self._queue.cancel()
        return self._result(is_success, time.perf_counter() - started)

    def _run_steps(self) -> bool:
        for step in range(self._spec.max_steps):
            self._arrive(step)
            is_wanted = self._queue.wants_chunk()
            is_captured = is_wanted and self._request(step)
            queue_length = len(self._queue)
            planned = self._queue.pop(step)
            action = self._action(planned)
            result = self._execute(action)
            self._note(
                StepRecord(
                    step=step,
                    queue_length=queue_length,
                    action=action,
                    source=planned.source if planned else None,
                    label=planned.step if planned else None,
                    is_aggregated=planned is not None and planned.is_aggregated,
                    is_captured=is_captured,
                    is_filtered=is_wanted and not is_captured,
                )
            )
            if result.is_success or result.is_over:
                return result.is_success
        return False

    def _arrive(self, step: int) -> None:
        if self._pacer is None:
            self._queue.arrive(step)
        else:
            self._pacer.tick()
            self._queue.arrive_by_itself(step)

    def _request(self, step: int) -> bool:
        """Captures an observation and sends it, unless the filter leaves it out."""
        index = self._queue.counts.requests
        latency_steps = self._latency.draw(self._spec, index)
        # By the clock nobody knows; the last one is as good a guess as a robot has.
        delay_steps = latency_steps if self._pacer is None else self._queue.last_delay_steps
        observation = self._observation(step, index, delay_steps)
        if self._filter is not None:
            state, must_go = observation.arrays[STATE], len(self._queue) == 0
            if not self._filter.takes(self._queue.label(step), state, must_go=must_go):
                return False
        pending = self._policy.infer(observation, f"{self._request_prefix}/{index}", is_awaited=latency_steps == 0)
        self._answers.append(pending)
        self._queue.expect(pending, step, latency_steps)
        return True

    def _observation(self, step: int, request_index: int, delay_steps: int) -> Observation:
        spec = self._spec
        return Observation(
            arrays=self._observed(),
            task=self._env.instruction,
            suite=spec.suite,
            task_id=spec.task_id,
            init_state_id=spec.init_state_id,
            repeat=spec.repeat,
            step=step,
            noise_seed=request_seed("noise", spec, request_index),
            environment_names=self._env.environment_names,
            policy_state=self._queue.policy_state,
            action_raw=self._queue.prefix(step),
            delay_steps=delay_steps,
        )

    def _observed(self) -> Mapping[str, Array]:
        started = time.perf_counter()
        with self._phases.render:
            arrays = self._env.observe()
        self._observe_s += time.perf_counter() - started
        return arrays

    def _action(self, planned: Planned | None) -> FloatArray:
        """The native action to execute: the queue's, or what the underrun rule says."""
        if planned is not None and not self._is_noop:
            return self._env.native_action(planned.action)
        if planned is None and self._rules.underrun == "hold" and self._last_action is not None:
            return self._last_action
        return self._env.noop_action()

    def _note(self, record: StepRecord) -> None:
        self._inside.note(record)
        self._on_record(record)

    def _execute(self, action: FloatArray) -> StepResult:
        started = time.perf_counter()
        with self._phases.step:
            result = self._env.step(action)
        self._step_s += time.perf_counter() - started
        self._last_action = action
        self._steps += 1
        self._reward_sum += result.reward
        executed = little_endian(action)
        self._actions_hash.update(executed)
        if self._keeps_actions:
            self._executed.append(executed)
        self._trajectory_hash.update(little_endian(self._env.simulator_state()))
        return result

    def _result(self, is_success: bool, wall_s: float) -> EpisodeResult:
        counts = self._queue.counts
        return EpisodeResult(
            spec=self._spec,
            outcome=Outcome.SUCCESS if is_success else Outcome.FAILURE,
            task=self._env.task,
            steps=self._steps,
            reward_sum=self._reward_sum,
            requests=counts.requests,
            renders=self._env.render_count,
            underrun_steps=counts.underrun_steps,
            waited_steps=counts.waited_steps,
            stale_actions=counts.stale_actions,
            aggregated_actions=counts.aggregated_actions,
            actions_sha256=self._actions_hash.hexdigest(),
            trajectory_sha256=self._trajectory_hash.hexdigest(),
            final_state_sha256=hashlib.sha256(little_endian(self._env.simulator_state())).hexdigest(),
            inside=self._inside.figures(),
            disturbed=self._env.disturbed if isinstance(self._env, KnowsStart) else None,
            pacing=None if self._pacer is None else self._pacer.pacing(),
            actions=self._recorded(),
            infer_ms=tuple(answer.elapsed_ms for answer in self._answers if not np.isnan(answer.elapsed_ms)),
            wall_s=wall_s,
            timing=Timing(self._reset_s, self._step_s, self._observe_s),
        )

    def _recorded(self) -> RecordedActions | None:
        size = sum(len(row) for row in self._executed)
        return RecordedActions.of(self._executed) if self._keeps_actions and size <= MOST_ACTION_BYTES else None


def error_result(spec: EpisodeSpec, error: BaseException, wall_s: float = 0.0) -> EpisodeResult:
    """The result of an attempt that broke."""
    return EpisodeResult(
        spec=spec,
        outcome=Outcome.ERROR,
        wall_s=wall_s,
        error=one_line(f"{type(error).__name__}: {text_of(error)}"),
        traceback="".join(traceback.format_exception(error)),
        is_retryable=not isinstance(error, ContractError),
        is_excused=isinstance(error, (PolicyUnavailable, WorkerUnreachable)),
    )


def little_endian(values: FloatArray) -> bytes:
    """The values' bytes as hashes are made of them: float64, least significant first."""
    return np.ascontiguousarray(values, dtype="<f8").tobytes()
