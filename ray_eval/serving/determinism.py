"""What makes a policy's bytes depend on its request alone, and the proof of it before the policy is served."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from ray_eval.errors import ContractError, RayEvalError, SetupError
from ray_eval.foreign import told, told_with_traceback
from ray_eval.interfaces import Policy, RowwisePolicy, ServedPolicy, StagedPolicy
from ray_eval.policies import make_policy
from ray_eval.policies.contract import check_answers, check_spec, continued, trial_observation
from ray_eval.sections import BatchingSection, PolicySection, ScriptedPolicy
from ray_eval.serving.forward import free_cached_memory, is_out_of_memory, padded_forward
from ray_eval.serving.sizes import BatchSizes
from ray_eval.types import ActionChunk, Observation, PolicySpec, is_observation_key

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
PROOF_S = 5.0
"""How long the larger batches of a `batch_invariant` policy may take to be proved; what is not proved is not served."""

_FREE = "or write serving.determinism=throughput, which promises no bytes"
_NOISE = f"draw noise from each observation's noise_seed and keep nothing between requests, {_FREE}"
_MEMORY = f"keep nothing between requests: what is to be remembered goes into the chunk's policy_state, {_FREE}"
_AHEAD = f"let stage keep nothing: what infer_staged needs of a row belongs into what stage returns, {_FREE}"
_INVARIANT = "let its spec not say batch_invariant, or write serving.max_batch_size=1"


def thread_variables(count: int) -> Mapping[str, str]:
    """Environment variables under which numerical libraries use so many threads and CUDA repeatable kernels.

    They count when they are set before those libraries are loaded.
    """
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(count))
    return {**threads, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def load_policy(
    section: PolicySection, batching: BatchingSection, clock: Callable[[], float] = time.perf_counter
) -> tuple[Policy, BatchingSection]:
    """The policy of a section, tried out, and the sizes in which it is served.

    `max_batch_size` becomes the largest batch that was proved where the policy is `batch_invariant`, and the largest
    useful one in throughput mode. What ray-eval brings along is arithmetic of its own, and is not tried.

    Raises:
        SetupError: the policy cannot be loaded, breaks its contract, or its bytes depend on more than the request.
    """
    os.environ.update(thread_variables(batching.threads))
    try:
        policy = make_policy(section, may_autotune=batching.determinism == "throughput")
    except RayEvalError:
        raise
    except (Exception, SystemExit) as error:
        raise SetupError(f"policy: expected one that can be loaded, got {told_with_traceback(error)}") from error
    if isinstance(section, ScriptedPolicy):
        return policy, batching
    settle_torch(batching)
    return policy, tried(policy, batching, clock)


def tried(policy: Policy, batching: BatchingSection, clock: Callable[[], float] = time.perf_counter) -> BatchingSection:
    """The sizes in which a policy is served, once it was tried out, here or by the server that it is asked of.

    Raises:
        SetupError: the policy breaks its contract, or its bytes depend on more than the request.
    """
    if isinstance(policy, ServedPolicy) and policy.is_proved:
        return batching
    if batching.determinism == "reproducible" or policy.spec.batch_invariant:
        prove(policy, batching)
    if policy.spec.batch_invariant and policy.spec.is_reproducible and not isinstance(policy, RowwisePolicy):
        proved = largest_proved_batch(policy, batching, clock)
        logger.info("policy %r: batches of up to %d rows give the bytes of one", policy.spec.name, proved)
        batching = dataclasses.replace(batching, max_batch_size=proved)
    if batching.determinism == "reproducible":
        return batching
    largest = largest_useful_batch(policy, batching, clock)
    logger.info("policy %r: the largest useful batch is %d", policy.spec.name, largest)
    return dataclasses.replace(batching, max_batch_size=largest)


@contextlib.contextmanager
def borrowed_torch(batching: BatchingSection) -> Iterator[None]:
    """Within, torch is settled for serving; afterwards it is as the program that it belongs to had it."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    flags = cudnn.benchmark, cudnn.deterministic
    settle_torch(batching)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cudnn.benchmark, cudnn.deterministic = flags


def settle_torch(batching: BatchingSection) -> None:
    """Has torch, where it is loaded, use the threads said, and in reproducible mode repeat its choice of kernels."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    torch.set_num_threads(batching.threads)
    is_reproducible = batching.determinism == "reproducible"
    torch.backends.cudnn.benchmark = not is_reproducible
    torch.backends.cudnn.deterministic = is_reproducible


def prove(policy: Policy, batching: BatchingSection) -> None:
    """Asks about made-up observations with other neighbours, at other positions, with other fill, and again.

    A policy that stages its rows has the next one staged before a forward, as when it is served. Then episodes go on to
    a later step, in turns and alone, with the memory that was handed back. A policy that goes on from its last chunk is
    asked once more with the rest of that, at several lengths and delays. One that says it is not `is_reproducible` is
    only tried.

    Raises:
        SetupError: an answer breaks the contract, or its bytes change.
    """
    count = min(SEVERAL, batching.max_batch_size) if policy.spec.batch_invariant else batching.batch_size
    rows = _trial_rows(policy, max(count, SEVERAL))
    answers = _proved(policy, rows, count, batching)
    if policy.spec.takes_prefix and policy.spec.is_reproducible:
        rests = [continued(rows[i], answers[i], 1 + i % 2, delay_steps=i % SEVERAL) for i in sorted(answers)]
        _proved(policy, rests, count, batching)
    if policy.spec.is_reproducible:
        if isinstance(policy, StagedPolicy):
            _prove_staged_ahead(policy, rows, answers, batching)
        _prove_in_turns(policy, rows, batching)


def _prove_staged_ahead(
    policy: StagedPolicy, rows: Sequence[Observation], known: Mapping[int, ActionChunk], batching: BatchingSection
) -> None:
    """Two rows of known answers, both staged before either is answered, the first staged first and last.

    A thread of its own stages them, as one does where the policy is served.
    """
    row_count = BatchSizes(batching, policy.spec).rows(1)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="staging") as staging:
        for order in ((0, 1), (1, 0)):
            staged = {i: _staged(policy, staging, rows[i]) for i in (0, 1)}
            for i in order:
                (answer,) = _checked_forward(policy, [staged[i]], row_count)
                _expect_same(policy.spec, known[i], answer, "another is staged before it is answered", _AHEAD)


def _staged(policy: StagedPolicy, staging: Executor, row: Observation) -> Any:
    try:
        return staging.submit(policy.stage, row).result()
    except Exception as error:
        raise _refusal(policy, error) from error


def _prove_in_turns(policy: Policy, rows: Sequence[Observation], batching: BatchingSection) -> None:
    """Two episodes' later steps, asked about right after their own first step, after the other's, and again.

    What a policy kept between requests, if only from a first step on, would come from the other episode. The third has
    the first one's identity: two points of a sweep may run the same episode at the same time.
    """
    row_count = BatchSizes(batching, policy.spec).rows(1)

    def ask(row: Observation) -> ActionChunk:
        return _answers(policy, [row], row_count)[0]

    first, other = rows[0], rows[1]
    double = dataclasses.replace(
        other,
        suite=first.suite,
        task_id=first.task_id,
        init_state_id=first.init_state_id,
        repeat=first.repeat,
        noise_seed=first.noise_seed,
        task=first.task,
    )
    # It sees something else than at first, so that the first frame told apart from it is something kept.
    later = dataclasses.replace(continued(first, ask(first)), arrays=rows[2].arrays)
    expected = ask(later)
    later_other = continued(other, ask(other))
    for row, how in (
        (later, "another episode began before its later step"),
        (later_other, ""),
        (later, "another episode went on before its later step"),
        (later, "its later step is asked again"),
        (double, ""),
        (later, "the same episode began once more before its later step"),
    ):
        answer = ask(row)
        if how:
            _expect_same(policy.spec, expected, answer, how, _MEMORY)


def largest_proved_batch(policy: Policy, batching: BatchingSection, clock: Callable[[], float]) -> int:
    """The largest batch of a `batch_invariant` policy, up to `max_batch_size`, that gives each row the bytes of one.

    Sizes double, and of each the next smaller one is tried as well, for `PROOF_S` or until memory runs out.

    Raises:
        SetupError: the bytes of a row change with the size.
    """
    rows = _trial_rows(policy, SEVERAL)
    known = [_answers(policy, [row], 1)[0] for row in rows]
    best, deadline = 1, clock() + PROOF_S
    while best < batching.max_batch_size:
        started, size = clock(), min(2 * best, batching.max_batch_size)
        if not all(_holds(policy, rows, known, count) for count in sorted({max(best + 1, size - 1), size})):
            free_cached_memory()
            break
        best = size
        if clock() + 2 * (clock() - started) > deadline:
            break
    return best


def _holds(policy: Policy, rows: Sequence[Observation], known: Sequence[ActionChunk], count: int) -> bool:
    """Whether memory holds a forward of so many rows, each of which gives the bytes known of it."""
    order = [i % SEVERAL for i in range(count)]
    try:
        answers = _answers(policy, [rows[i] for i in order], count)
    except SetupError as error:
        if count > 2 and error.__cause__ is not None and is_out_of_memory(error.__cause__):
            logger.warning("policy %r: out of memory at %d rows", policy.spec.name, count)
            return False
        raise
    for i, answer in zip(order, answers, strict=True):
        _expect_same(policy.spec, known[i], answer, f"it shares a forward of {count} rows", _INVARIANT)
    return True


def _proved(
    policy: Policy, rows: Sequence[Observation], count: int, batching: BatchingSection
) -> Mapping[int, ActionChunk]:
    """The answer to each row that was asked about, the same in every order."""
    sizes = BatchSizes(batching, policy.spec)
    size_remedy = _INVARIANT if policy.spec.batch_invariant else f"write serving.batch_size=1, {_FREE}"
    known: dict[int, ActionChunk] = {}
    for how, order in _orders(count, len(rows), policy.spec.is_reproducible):
        answers = _answers(policy, [rows[i] for i in order], sizes.rows(len(order)))
        for i, answer in zip(order, answers, strict=True):
            remedy = _NOISE if how.startswith("asked") else size_remedy
            said = f"{how}, in forwards of {sizes.rows(len(order))}"
            _expect_same(policy.spec, known.setdefault(i, answer), answer, said, remedy)
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
        row_s = _row_s(policy, rows[:size], clock)
        if row_s is None:
            free_cached_memory()
            break
        if best_row_s < LEAST_GAIN * row_s:
            break
        best, best_row_s, size = size, row_s, 2 * size
    return best


def _row_s(policy: Policy, rows: Sequence[Observation], clock: Callable[[], float]) -> float | None:
    """The time of a forward by its rows; None where memory does not hold so many."""
    try:
        return min(_timed(policy, rows, clock) for _ in range(TIMED_FORWARDS)) / len(rows)
    except Exception as error:
        if len(rows) > 1 and is_out_of_memory(error):
            logger.warning("policy %r: out of memory at %d rows", policy.spec.name, len(rows))
            return None
        raise _refusal(policy, error) from error


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
    except Exception as error:
        raise _refusal(policy, error, row_count) from error
    return _checked_forward(policy, staged, row_count)


def _checked_forward(policy: Policy, rows: Sequence[Any], row_count: int) -> Sequence[ActionChunk]:
    try:
        answers = padded_forward(policy, rows, row_count)
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
    if isinstance(error, KeyError) and error.args and is_observation_key(str(error.args[0])):
        got = f"{told(error)}; it is not among spec.keys ({', '.join(policy.spec.keys)}): add it there"
    return SetupError(f"policy {policy.spec.name!r}: expected an answer to a made-up observation, got {got}")


def _bytes_of(chunk: ActionChunk) -> tuple[bytes, bytes, bytes]:
    return chunk.actions.tobytes(), chunk.policy_state, b"" if chunk.action_raw is None else chunk.action_raw.tobytes()


def _difference(first: ActionChunk, second: ActionChunk) -> str:
    """Which part of two answers differs: the actions by how much, else the actions handed back or the memory."""
    actions, memory, _ = (a == b for a, b in zip(_bytes_of(first), _bytes_of(second), strict=True))
    if not actions:
        return f"answers {float(abs(first.actions.astype(float) - second.actions).max()):g} apart"
    return "the same actions with another action_raw" if memory else "the same actions with another policy_state"


def _expect_same(spec: PolicySpec, first: ActionChunk, second: ActionChunk, how: str, remedy: str) -> None:
    if _bytes_of(first) != _bytes_of(second):
        raise SetupError(
            f"policy {spec.name!r}: expected the same bytes whenever an observation is asked about, got "
            f"{_difference(first, second)} when {how}; {remedy}"
        )
