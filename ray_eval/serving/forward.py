"""One forward of a policy: padded, checked row by row, repeated where a row or the memory is at fault; pure."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ray_eval.errors import ContractError, EpisodeError, PolicyChanged, SetupError
from ray_eval.foreign import told
from ray_eval.interfaces import Policy, RowwisePolicy, StagedPolicy
from ray_eval.serving.sizes import BatchSizes
from ray_eval.types import POLICY_STATE_LIMIT_BYTES, ActionChunk, PolicySpec

logger = logging.getLogger(__name__)

_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""What errors of torch, JAX, cuBLAS and cuDNN say, in lower case, where memory ran out."""

Answers = list[ActionChunk | Exception]


def answer_rows(policy: Policy, spec: PolicySpec, rows: Sequence[Any], sizes: BatchSizes) -> Answers:
    """One chunk or exception per row.

    A batch that raises is repeated row by row, to find the row at fault; one that memory does not hold, in halves
    where the sizes allow it. The exceptions are ContractError, SetupError where the memory is too small,
    PolicyChanged where the policy is on a server that came to serve another one, or EpisodeError for whatever else the
    policy raises.

    Args:
        policy: Asked in this thread.
        spec: Its spec.
        rows: Observations; what `stage` made of them where the policy is a StagedPolicy.
        sizes: Rows of a forward.
    """
    if isinstance(policy, RowwisePolicy):
        return [each if isinstance(each, Exception) else _checked(each, spec) for each in policy.infer_rows(rows)]
    try:
        chunks = padded_forward(policy, rows, sizes.rows(len(rows)))
        _check_count(chunks, len(rows), spec)
    except Exception as error:  # noqa: BLE001 - a policy may raise anything, and only its own request fails of it
        no_memory = type(error).__name__ if is_out_of_memory(error) else None
        if no_memory is None and len(rows) == 1:
            return [_as_ours(error, spec)]
    else:
        return [_checked(chunk, spec) for chunk in chunks]
    # Out of the handler, because while the exception lives, its frames keep what the failed forward had on the device.
    if no_memory is not None:
        return _answer_smaller(policy, spec, rows, sizes, no_memory)
    return [answer_rows(policy, spec, [row], sizes)[0] for row in rows]


def padded_forward(policy: Policy, rows: Sequence[Any], row_count: int) -> Sequence[ActionChunk]:
    """The policy's answer to the rows, followed by copies of the first up to `row_count`, whose answers are dropped.

    Raises:
        ContractError: as many rows went in as did not come out.
    """
    padded = [*rows, *([rows[0]] * (row_count - len(rows)))]
    chunks = policy.infer_staged(padded) if isinstance(policy, StagedPolicy) else policy.infer_batch(padded)
    is_whole = isinstance(chunks, Sequence) and len(chunks) == len(padded)
    return chunks[: len(rows)] if is_whole else chunks


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on whatever device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _NO_MEMORY)


def _answer_smaller(
    policy: Policy, spec: PolicySpec, rows: Sequence[Any], sizes: BatchSizes, no_memory: str
) -> Answers:
    free_cached_memory()
    count = sizes.rows(len(rows))
    if not sizes.halve(count):
        too_large = SetupError(
            f"policy {spec.name!r}: expected memory for a forward of {count} rows, got {no_memory}; lower "
            "serving.batch_size, free the device, or write serving.determinism=throughput"
        )
        return [too_large] * len(rows)
    answers: Answers = []
    while len(answers) < len(rows):  # the limit may fall further on the way
        answers += answer_rows(policy, spec, rows[len(answers) : len(answers) + sizes.limit], sizes)
    return answers


def free_cached_memory() -> None:
    """Gives back what torch keeps of a device's memory for later, so that a smaller forward finds it in one piece.

    To be called where the exception that told of it is gone.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _as_ours(error: Exception, spec: PolicySpec) -> Exception:
    if isinstance(error, (ContractError, EpisodeError, PolicyChanged)):
        return error
    logger.error("policy %r raised", spec.name, exc_info=error)
    return EpisodeError(f"policy {spec.name!r}: infer_batch raised {told(error)}")


def _check_count(chunks: Sequence[ActionChunk], count: int, spec: PolicySpec) -> None:
    if not isinstance(chunks, Sequence):
        raise ContractError(
            f"policy {spec.name!r}: infer_batch: expected a list of ActionChunk, got {type(chunks).__name__}"
        )
    if len(chunks) != count:
        raise ContractError(
            f"policy {spec.name!r}: expected {count} chunks for {count} observations, got {len(chunks)}"
        )


def _checked(chunk: ActionChunk, spec: PolicySpec) -> ActionChunk | Exception:
    """The chunk, or what is wrong with it."""
    where, shape = f"policy {spec.name!r}", (spec.chunk_len, spec.action_dim)
    if not isinstance(chunk, ActionChunk):
        return ContractError(f"{where}: expected an ActionChunk, got {type(chunk).__name__}")
    actions = chunk.actions
    if not isinstance(actions, np.ndarray) or actions.shape != shape or actions.dtype != np.float32:
        got = f"{getattr(actions, 'dtype', type(actions).__name__)} {getattr(actions, 'shape', '')}".rstrip()
        return ContractError(f"{where}: expected actions float32 {shape}, got {got}")
    if not np.isfinite(actions).all():
        row, column = np.argwhere(~np.isfinite(actions))[0]
        return ContractError(f"{where}: expected finite actions, got {actions[row, column]} at [{row}, {column}]")
    if not isinstance(chunk.policy_state, bytes) or len(chunk.policy_state) > POLICY_STATE_LIMIT_BYTES:
        got = f"{len(chunk.policy_state)} {type(chunk.policy_state).__name__}"
        return ContractError(f"{where}: expected policy_state of at most {POLICY_STATE_LIMIT_BYTES} bytes, got {got}")
    return chunk
