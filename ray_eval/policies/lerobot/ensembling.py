"""ACT's temporal ensembling, by LeRobot's own ensembler, with its average in the request instead of the policy."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ray_eval.errors import ContractError
from ray_eval.types import Array

_SHAPE = struct.Struct("<II")


def temporal_ensemble(policy: Any) -> TemporalEnsemble | None:
    """The ensemble of a policy that averages over chunks; None for one that executes them."""
    ensembler = getattr(policy, "temporal_ensembler", None)
    return None if ensembler is None else TemporalEnsemble(ensembler)


class TemporalEnsemble:
    """A running average of the chunks so far, for every step that they speak of.

    Args:
        ensembler: `lerobot.policies.act.modeling_act.ACTTemporalEnsembler`.
    """

    def __init__(self, ensembler: Any) -> None:
        self._ensembler = ensembler

    def step(self, chunk: Any, memory: bytes) -> tuple[Any, bytes]:
        """The (1, A) action of the present step from the step's (H, A) chunk, and the memory for the next step.

        Raises:
            ContractError: the memory is not one that this ensemble handed back.
        """
        import torch

        ensembler = self._ensembler
        ensembler.reset()
        if memory:
            actions, counts = _unpacked(memory, len(chunk) - 1, chunk.shape[1])
            ensembler.ensembled_actions = torch.from_numpy(actions)[None].to(chunk.device)
            ensembler.ensembled_actions_count = torch.from_numpy(counts)[:, None].to(chunk.device)
        action = ensembler.update(chunk[None].float())
        actions, counts = ensembler.ensembled_actions[0], ensembler.ensembled_actions_count[:, 0]
        return action, _packed(actions.cpu().numpy(), counts.cpu().numpy())


def _packed(actions: Array, counts: Array) -> bytes:
    """The average as bytes: its shape, float32 actions, int64 counts, little-endian."""
    return _SHAPE.pack(*actions.shape) + actions.astype("<f4").tobytes() + counts.astype("<i8").tobytes()


def _unpacked(memory: bytes, length: int, width: int) -> tuple[Array, Array]:
    size = _SHAPE.size + length * width * 4 + length * 8
    if len(memory) != size or _SHAPE.unpack_from(memory) != (length, width):
        raise ContractError(f"policy_state: expected the {size} bytes of an ensemble, got {len(memory)} others")
    actions = np.frombuffer(memory, "<f4", length * width, _SHAPE.size).reshape(length, width)
    return actions.copy(), np.frombuffer(memory, "<i8", length, _SHAPE.size + actions.nbytes).copy()
