"""What makes a policy's bytes depend on its request alone, and the proof of it before the policy is served."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from ray_eval.errors import ContractError, RayEvalError, SetupError
from ray_eval.foreign import told_with_traceback
from ray_eval.interfaces import Policy, StagedPolicy
from ray_eval.policies import make_policy
from ray_eval.policies.contract import check_answers, check_spec, continued, trial_observation
from ray_eval.sections import BatchingSection, PolicySection, ScriptedPolicy
from ray_eval.serving.forward import free_cached_memory, is_out_of_memory, padded_forward
from ray_eval.serving.sizes import BatchSizes
from ray_eval.types import ActionChunk, Observation

logger = logging.getLogger(__name__)

TRIAL_TASKS = (
    "pick up the black bowl on the stove and place it on the plate",
    "open the drawer",
    "put both the alphabet soup and the cream cheese box in the basket, then close the top drawer of the cabinet",
)
"""Instructions of the proof's observations, of different lengths, because a tokenizer pads to the longest."""
SEVERAL = 3
"""Rows that stand for all where a policy may have any number of them."""
LEAST_GAIN = 1.05
"""How many times more rows per second twice the batch must give to be worth it."""
TIMED_FORWARDS = 3


def thread_variables(count: int) -> Mapping[str, str]:
    """Environment variables under which numerical libraries use so many threads and CUDA repeatable kernels.

    They count when they are set before those libraries are loaded.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(count))
    return {**threads, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def load_policy(
    section: PolicySection, batching: BatchingSection, clock: Callable[[], float] = time.perf_counter
) -> tuple[Policy, BatchingSection]:
    """The policy of a section, tried out; in throughput mode `max_batch_size` becomes the largest useful batch.

    What ray-eval brings along is arithmetic of its own, and is not tried.

    Raises:
        SetupError: the policy cannot be loaded, breaks its contract, or its bytes depend on more than the request.
    """
    os.environ.update(thread_variables(batching.threads))
    try:
        policy = make_policy(section)
    except RayEvalError:
        raise
    except (Exception, SystemExit) as error:
        raise SetupError(f"policy: expected one that can be loaded, got {told_with_traceback(error)}") from error
    if isinstance(section, ScriptedPolicy):
        return policy, batching
    _settle_torch(batching)
    if batching.determinism == "reproducible":
        prove(policy, batching)
        return policy, batching
    largest = largest_useful_batch(policy, batching, clock)
    logger.info("policy %r: the largest useful batch is %d", policy.spec.name, largest)
    return policy, dataclasses.replace(batching, max_batch_size=largest)


def _settle_torch(batching: BatchingSection) -> None:
    """torch, where the policy has loaded it, uses the threads said, and repeats its choice of kernels."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.set_num_threads(batching.threads)
    is_reproducible = batching.determinism == "reproducible"
    torch.backends.cudnn.benchmark = not is_reproducible
    torch.backends.cudnn.deterministic = is_reproducible


def prove(policy: Policy, batching: BatchingSection) -> None:
    """Asks about made-up observations with other neighbours, at other positions, with other fill, and again.

    A policy that goes on from its last chunk is asked once more with the rest of that, at several lengths and delays.
    One that says it is not `is_reproducible` is only tried.

    Raises:
        SetupError: an answer breaks the contract, or its bytes change.
    """
    count = SEVERAL if policy.spec.batch_invariant else batching.batch_size
    rows = _trial_rows(policy, max(count, SEVERAL))
    answers = _proved(policy, rows, count, batching)
    if policy.spec.takes_prefix and policy.spec.is_reproducible:
        rests = [continued(rows[i], answers[i], 1 + i % 2, delay_steps=i % SEVERAL) for i in sorted(answers)]
        _proved(policy, rests, count, batching)


def _proved(
    policy: Policy, rows: Sequence[Observation], count: int, batching: BatchingSection
) -> Mapping[int, ActionChunk]:
    """The answer to each row that was asked about, the same in every order."""
    sizes = BatchSizes(batching, policy.spec)
    known: dict[int, ActionChunk] = {}
    for how, order in _orders(count, len(rows), policy.spec.is_reproducible):
        answers = _answers(policy, [rows[i] for i in order], sizes.rows(len(order)))
        for i, answer in zip(order, answers, strict=True):
            _expect_same(policy.spec.name, known.setdefault(i, answer), answer, how, batching)
    return known


def largest_useful_batch(policy: Policy, batching: BatchingSection, clock: Callable[[], float]) -> int:
    """The largest power of two up to `max_batch_size` that memory holds and that is faster per row than its half.

    Every size up to it has run once, so that what is compiled by size has been.

    Raises:
        SetupError: not even one row can be answered.
    """
    rows = _trial_rows(policy, batching.max_batch_size)
    best, best_row_s, size = 1, float("inf"), 1
    while size <= batching.max_batch_size:
        try:
            row_s = min(_timed(policy, rows[:size], clock) for _ in range(TIMED_FORWARDS)) / size
        except Exception as error:
            if size > 1 and is_out_of_memory(error):
                logger.warning("policy %r: out of memory at %d rows", policy.spec.name, size)
                free_cached_memory()
                break
            raise _refusal(policy, error) from error
        if best_row_s < LEAST_GAIN * row_s:
            break
        best, best_row_s, size = size, row_s, 2 * size
    return best


def _timed(policy: Policy, rows: Sequence[Observation], clock: Callable[[], float]) -> float:
    started = clock()
    check_answers(policy.spec, policy.infer_batch(rows), len(rows))
    return clock() - started


def _trial_rows(policy: Policy, count: int) -> list[Observation]:
    try:
        check_spec(policy.spec)
        trial = [trial_observation(policy.spec, i) for i in range(count)]
    except ContractError as error:
        raise SetupError(f"policy {policy.spec.name!r}: {error}") from error
    return [dataclasses.replace(row, task=TRIAL_TASKS[i % len(TRIAL_TASKS)]) for i, row in enumerate(trial)]


def _orders(count: int, row_count: int, is_reproducible: bool) -> list[tuple[str, list[int]]]:
    """Which rows each trial forward has, in which order; padding follows them."""
    together = list(range(count))
    if not is_reproducible:
        return [("asked for the first time", together[:1])]
    orders = [("asked for the first time", together), ("asked again", together)]
    if count > 1:
        orders += [
            ("it stands at another position", together[::-1]),
            ("it stands at another position", together[1:] + together[:1]),
            ("it stands at another position", together[count // 2 :] + together[: count // 2]),
        ]
    # Alone, each is followed by copies of itself; in pairs, the first is the padding of both.
    orders += [("the batch is filled up otherwise", [i]) for i in {0, 1 % row_count, count - 1}]
    if count > 2:
        orders += [("its neighbours are others", [1, 0]), ("its neighbours are others", [count - 1, 0])]
    return [*orders, ("asked after others", together)]


def _answers(policy: Policy, rows: Sequence[Observation], row_count: int) -> Sequence[ActionChunk]:
    try:
        staged = [policy.stage(row) for row in rows] if isinstance(policy, StagedPolicy) else rows
        answers = padded_forward(policy, staged, row_count)
        check_answers(policy.spec, answers, len(rows))
    except Exception as error:
        raise _refusal(policy, error, row_count) from error
    return answers


def _refusal(policy: Policy, error: Exception, row_count: int = 1) -> SetupError:
    if isinstance(error, SetupError):
        return error
    if is_out_of_memory(error):
        return SetupError(
            f"policy {policy.spec.name!r}: expected memory for a forward of {row_count} rows, got "
            f"{type(error).__name__}; lower serving.batch_size, or free the device"
        )
    got = str(error) if isinstance(error, ContractError) else told_with_traceback(error)
    return SetupError(f"policy {policy.spec.name!r}: expected an answer to a made-up observation, got {got}")


def _bytes_of(chunk: ActionChunk) -> tuple[bytes, bytes, bytes]:
    return chunk.actions.tobytes(), chunk.policy_state, b"" if chunk.action_raw is None else chunk.action_raw.tobytes()


def _difference(first: ActionChunk, second: ActionChunk) -> str:
    """Which part of two answers differs: the actions by how much, else the actions handed back or the memory."""
    actions, memory, _ = (a == b for a, b in zip(_bytes_of(first), _bytes_of(second), strict=True))
    if not actions:
        return f"answers {float(abs(first.actions.astype(float) - second.actions).max()):g} apart"
    return "the same actions with another action_raw" if memory else "the same actions with another policy_state"


def _expect_same(name: str, first: ActionChunk, second: ActionChunk, how: str, batching: BatchingSection) -> None:
    if _bytes_of(first) == _bytes_of(second):
        return
    remedy = (
        "draw noise from each observation's noise_seed and keep nothing between requests"
        if how.startswith("asked")
        else "write serving.batch_size=1"
    )
    raise SetupError(
        f"policy {name!r}: expected the same bytes whenever an observation is asked about, got "
        f"{_difference(first, second)} in forwards of {batching.batch_size} when {how}; {remedy}, or write "
        "serving.determinism=throughput, which promises no bytes"
    )
