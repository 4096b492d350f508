"""A network with pi0.5's layer sizes and random weights, as a policy; needs torch and nothing of LeRobot or openpi.

Its work is pi0.5's: an image encoder (SigLIP So400m), a language model over images and text (Gemma, 2 B), and a smaller
expert (Gemma, 300 M) that attends to it and turns noise into actions in several steps. What takes no time is left out:
rotary positions, masks, and time as an input of the norms. Source of the sizes: openpi@15a9616
src/openpi/models/gemma.py (`gemma_2b`, `gemma_300m`), siglip.py (`So400m/14`) and pi0_config.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ray_eval.policies.staging import StagedRow, Stager
from ray_eval.policies.torch_module import import_torch, runtime_of
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, ActionChunk, Array, Observation, PolicySpec

_PATCH_PX: Final = 14
_EYE_HEADS: Final = 16
_HEADS, _HEAD_SIZE = 8, 256
_ACTION_SIZE: Final = 32
ACTION_DIM: Final = 7
"""Numbers of an action that are LIBERO's, of the 32 that the network makes."""


@dataclass(frozen=True, slots=True)
class Pi05Size:
    """How much of pi0.5 there is."""

    eye_layers: int
    """Layers of the image encoder; pi0.5 has 27."""
    layers: int
    """Layers of the language model and of the expert; pi0.5 has 18."""
    image_size_px: int
    """Height and width of both images; pi0.5 has 224."""
    text_tokens: int
    """Tokens of the instruction; pi0.5 pads to 200."""
    horizon: int
    """Actions of a chunk; pi0.5 has 10 for LIBERO."""
    steps: int
    """Denoising steps; pi0.5 has 10."""
    dtype: str
    """Number format, as torch calls it."""
    eye: tuple[int, int] = (1152, 4304)
    """Numbers of an image token, and of the hidden layer between."""
    mind: tuple[int, int] = (2048, 16_384)
    """The same of the language model."""
    hand: tuple[int, int] = (1024, 4096)
    """The same of the expert."""


WHOLE = Pi05Size(27, 18, 224, 200, 10, 10, "bfloat16")
"""3.3 billion parameters less the word embeddings, which are looked up and not computed with."""
CPU = Pi05Size(1, 1, 56, 8, 10, 2, "float32")
"""One layer of each, small images: the same matrices, fewer of them, fewer tokens."""


class Pi05Policy:
    """Answers each observation with a chunk whose first number is the observation's noise seed."""

    def __init__(self, size: Pi05Size, device: str) -> None:
        self._torch = import_torch()
        self._size, self._device = size, device
        self._stager = Stager(self._torch, device)
        self._torch.manual_seed(0)
        with self._torch.device(device):
            self._network = _network(self._torch, size).to(getattr(self._torch, size.dtype)).eval()
        self.spec = PolicySpec(
            "pi05_sized",
            (IMAGE, WRIST_IMAGE, STATE),
            size.horizon,
            ACTION_DIM,
            image_size_px=size.image_size_px,
            runtime=runtime_of(self._torch, device),
        )

    @property
    def parameters(self) -> int:
        """How many numbers the network has."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    def stage(self, observation: Observation) -> StagedRow:
        """The images and the state on their way to the device."""
        return self._stager.put([observation.arrays[key] for key in self.spec.keys], observation.noise_seed)

    def infer_staged(self, rows: Sequence[StagedRow]) -> list[ActionChunk]:
        """One chunk per row, in one forward."""
        return self._chunks(self._stager.stack(rows), [row.noise_seed for row in rows])

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation; each is staged by itself."""
        return self.infer_staged([self.stage(observation) for observation in observations])

    def predict_action_chunk(self, arrays: Sequence[Array], seeds: Sequence[int]) -> list[ActionChunk]:
        """The same of a batch that is there already, one array per key: what a loop of one's own does."""
        tensors = [self._torch.from_numpy(array).to(self._device) for array in arrays]
        return self._chunks(tensors, seeds)

    def _chunks(self, tensors: Sequence[Any], seeds: Sequence[int]) -> list[ActionChunk]:
        torch = self._torch
        shape = (self._size.horizon, _ACTION_SIZE)
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        with torch.inference_mode():
            actions = self._network(*tensors, noise.to(self._device)).float().cpu().numpy()
        chunks = [ActionChunk(np.ascontiguousarray(row[:, :ACTION_DIM])) for row in actions]
        for chunk, seed in zip(chunks, seeds, strict=True):
            chunk.actions[0, 0] = seed
        return chunks


def _network(torch: Any, size: Pi05Size) -> Any:
    """The module: two (B, H, W, 3) uint8 images, a (B, D) state and noise to (B, horizon, 32) actions."""
    nn, functional = torch.nn, torch.nn.functional

    class Attention(nn.Module):  # type: ignore[misc, name-defined]
        """Grouped attention with one head for keys and values, as Gemma has it; over what is handed in as well."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.query = nn.Linear(width, _HEADS * _HEAD_SIZE, bias=False)
            self.pair = nn.Linear(width, 2 * _HEAD_SIZE, bias=False)
            self.out = nn.Linear(_HEADS * _HEAD_SIZE, width, bias=False)

        def forward(self, tokens: Any, before: Any = None) -> tuple[Any, Any]:
            pair = self.pair(tokens)[:, None]
            seen = pair if before is None else torch.cat([before, pair], 2)
            query = self.query(tokens).unflatten(-1, (_HEADS, _HEAD_SIZE)).transpose(1, 2)
            keys, values = (part.expand(-1, _HEADS, -1, -1) for part in seen.chunk(2, -1))
            mixed = functional.scaled_dot_product_attention(query, keys, values)
            return self.out(mixed.transpose(1, 2).flatten(2)), pair

    class Layer(nn.Module):  # type: ignore[misc, name-defined]
        """Attention and a gated network, each behind a norm."""

        def __init__(self, width: int, hidden: int) -> None:
            super().__init__()
            self.first, self.second = nn.RMSNorm(width), nn.RMSNorm(width)
            self.attention = Attention(width)
            self.gate, self.up = (nn.Linear(width, hidden, bias=False) for _ in range(2))
            self.down = nn.Linear(hidden, width, bias=False)

        def forward(self, tokens: Any, before: Any = None) -> tuple[Any, Any]:
            mixed, pair = self.attention(self.first(tokens), before)
            tokens = tokens + mixed
            normed = self.second(tokens)
            gated = functional.gelu(self.gate(normed), approximate="tanh") * self.up(normed)
            return tokens + self.down(gated), pair

    class Network(nn.Module):  # type: ignore[misc, name-defined]
        """Eye, mind and hand."""

        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, size.eye[0], _PATCH_PX, _PATCH_PX)
            layer = nn.TransformerEncoderLayer(
                size.eye[0], _EYE_HEADS, size.eye[1], 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.eye = nn.TransformerEncoder(layer, size.eye_layers, enable_nested_tensor=False)
            self.bridge = nn.Linear(size.eye[0], size.mind[0])
            self.text = nn.Parameter(torch.randn(1, size.text_tokens, size.mind[0]))
            self.mind = nn.ModuleList(Layer(*size.mind) for _ in range(size.layers))
            self.hand = nn.ModuleList(Layer(*size.hand) for _ in range(size.layers))
            self.actions_in = nn.Linear(_ACTION_SIZE, size.hand[0])
            self.actions_out = nn.Linear(size.hand[0], _ACTION_SIZE)

        def forward(self, image: Any, wrist: Any, state: Any, noise: Any) -> Any:
            dtype = self.text.dtype
            pixels = torch.cat([image, wrist]).permute(0, 3, 1, 2).to(dtype) / 127.5 - 1
            seen = self.bridge(self.eye(self.patches(pixels).flatten(2).transpose(1, 2)))
            tokens = torch.cat([*seen.chunk(2), self.text.expand(len(image), -1, -1)], 1)
            pairs = []
            for layer in self.mind:
                tokens, pair = layer(tokens)
                pairs.append(pair)
            actions = noise.to(dtype) + state.to(dtype).mean()
            for _ in range(size.steps):
                hands = self.actions_in(actions)
                for layer, before in zip(self.hand, pairs, strict=True):
                    hands, _ = layer(hands, before)
                actions = actions - self.actions_out(hands) / size.steps
            return actions

    return Network()
