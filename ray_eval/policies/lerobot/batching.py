"""LeRobot's batches of one row, made ahead of their forward, and put together in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.types import Observation

TOKENS = "observation.language.tokens"
"""LeRobot's key of a tokenised instruction."""
TOKENS_MASK = "observation.language.attention_mask"
"""LeRobot's key of which of its tokens count."""


@dataclass(frozen=True, slots=True)
class StagedObservation:
    """An observation behind LeRobot's own pre-processing, on the policy's device."""

    observation: Observation
    """What it was made of."""
    frames: tuple[dict[str, Any], ...]
    """LeRobot's batch of one row per frame, oldest first."""
    kept: tuple[Mapping[str, Any], ...] = ()
    """What steps of the pipeline kept of it for those behind the policy."""
    ready: Any = None
    """CUDA event after the pre-processing; None on the CPU."""


@dataclass(frozen=True, slots=True)
class TokenPadding:
    """How a tokenizer that pads to the longest of a batch would pad to its greatest length."""

    length: int
    """Tokens of a row."""
    token: int
    """The token that fills up."""
    is_left: bool
    """Whether it stands before the others."""

    def padded(self, torch: Any, row: dict[str, Any]) -> dict[str, Any]:
        """The row with tokens and mask filled up; both are (1, L).

        Raises:
            ContractError: it has more tokens than a row may have.
        """
        missing = self.length - row[TOKENS].shape[1]
        if missing < 0:
            raise ContractError(
                f"{TOKENS}: expected at most {self.length} of a row, got {row[TOKENS].shape[1]}; "
                "let the checkpoint's tokenizer cut at max_length"
            )
        sides = (missing, 0) if self.is_left else (0, missing)
        pad = torch.nn.functional.pad
        return {
            **row,
            TOKENS: pad(row[TOKENS], sides, value=self.token),
            TOKENS_MASK: pad(row[TOKENS_MASK], sides, value=False),
        }


def token_padding(preprocess: Any) -> TokenPadding | None:
    """The padding of a pipeline whose tokenizer pads to the longest of a batch; None for another.

    So padded, a row's bytes would depend on its neighbours' instructions: in a batch it is padded to the greatest
    length instead. Alone, it has no padding, as LeRobot gives it none.
    """
    for step in preprocess.steps:
        tokenizer = getattr(step, "input_tokenizer", None)
        if tokenizer is not None and step.padding not in ("max_length", "do_not_pad", False):
            return TokenPadding(int(step.max_length), int(tokenizer.pad_token_id), step.padding_side == "left")
    return None


def joined(torch: Any, rows: Sequence[dict[str, Any]], padding: TokenPadding | None) -> dict[str, Any]:
    """One batch of several of one row each; a new dictionary, which LeRobot's policies write into.

    Raises:
        ContractError: the rows differ in something that a batch has only once.
    """
    if len(rows) == 1:
        return dict(rows[0])
    if padding is not None:
        rows = [padding.padded(torch, row) for row in rows]
    return {key: _joined(torch, key, [row[key] for row in rows]) for key in rows[0]}


def _joined(torch: Any, key: str, values: Sequence[Any]) -> Any:
    if isinstance(values[0], torch.Tensor) and values[0].ndim:
        return torch.cat(list(values))
    if isinstance(values[0], list):
        return [item for value in values for item in value]
    if any(not _is_equal(torch, values[0], value) for value in values[1:]):
        raise ContractError(
            f"{key}: expected one value in all rows of a batch, which has it once, got several; "
            "write serving.batch_size=1"
        )
    return values[0]


def _is_equal(torch: Any, first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return bool(torch.equal(first, second))
    if isinstance(first, np.ndarray) or isinstance(second, np.ndarray):
        return bool(np.array_equal(first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_is_equal(torch, first[key], second[key]) for key in first)
    return bool(first == second)
