"""LeRobot's policies behind our seam: many observations in, one chunk each out, nothing kept in between."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ray_eval.errors import ContractError, RayEvalError
from ray_eval.policies.lerobot.batching import StagedObservation, joined, token_padding
from ray_eval.policies.lerobot.checkpoint import Checkpoint, Digesting, first_lines, open_checkpoint
from ray_eval.policies.lerobot.chunking import Reanchor, alike, checked_rest, guidance, is_rtc
from ray_eval.policies.lerobot.compiling import compiled_as
from ray_eval.policies.lerobot.ensembling import temporal_ensemble
from ray_eval.policies.lerobot.features import Feature, full_name, own_names, wire
from ray_eval.policies.lerobot.kinds import is_of_the_hub
from ray_eval.policies.lerobot.loading import load
from ray_eval.policies.lerobot.memory import CarriedMemory, Watch
from ray_eval.policies.lerobot.missing import lacks, unreachable
from ray_eval.policies.lerobot.noise import draw_noise, is_deterministic, noise_shape
from ray_eval.policies.lerobot.ranges import training_ranges
from ray_eval.policies.lerobot.runtime import versions_used
from ray_eval.policies.staging import Stager
from ray_eval.policies.torch_module import runtime_of
from ray_eval.sections import LeRobotPolicySection
from ray_eval.types import ACTION, OBSERVATION_KEYS, ActionChunk, Array, Observation, PolicySpec, is_image

IMAGES = "observation.images"
"""LeRobot's key of all cameras stacked, under which some policies keep their history."""
BLANK_TASK = "pick up the black bowl and place it on the plate"
"""Instruction of the observation that is tried at loading."""


class LeRobotPolicy:
    """A checkpoint, evaluated as LeRobot's own loop would, with every episode's memory in the request.

    LeRobot's loop asks `select_action` at each step; that keeps the last frames and the rest of a chunk in queues. Here
    the queues are filled anew from each request, and the chunk's rest is the caller's.
    """

    def __init__(self, section: LeRobotPolicySection, *, may_autotune: bool = False) -> None:
        checkpoint = open_checkpoint(section.path, section.revision)
        self._digesting = Digesting(checkpoint)
        self._loaded = load(checkpoint, section, may_autotune=may_autotune)
        self._section = section
        config = self._loaded.config
        known = section.keys or OBSERVATION_KEYS
        self._names = own_names(self._loaded.preprocess.steps)
        rename = {**self._names.given(_features(config), known), **_rename(section)}
        self._wiring = wire(_features(config), rename, [full_name(name) for name in section.absent], known)
        self._n_obs_steps = int(config.n_obs_steps)
        self._noise_shape = noise_shape(self._loaded.policy)
        self._is_seeded = self._noise_shape is None and not is_deterministic(self._loaded.policy)
        self._ensemble = temporal_ensemble(self._loaded.policy)
        self._is_rtc = is_rtc(type(self._loaded.policy), config)
        self._padding = token_padding(self._loaded.preprocess)
        self._memory = CarriedMemory(self._loaded.preprocess, self._loaded.postprocess)
        relative_step = self._memory.relative_step()
        self._reanchor = Reanchor(self._loaded.preprocess, relative_step) if self._is_rtc and relative_step else None
        self._raw_width: int | None = None
        self._stager = Stager(self._torch, self._loaded.device)
        self._check_history(checkpoint)
        self._spec = self._described(checkpoint, self._try_blank(checkpoint))

    @property
    def spec(self) -> PolicySpec:
        """What the checkpoint says; `batch_invariant` where every row has a forward of its own."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation.

        Raises:
            ContractError: an observation has another shape than the checkpoint's inputs, or a foreign memory.
        """
        return self.infer_staged([self.stage(observation) for observation in observations])

    def stage(self, observation: Observation) -> StagedObservation:
        """The observation behind LeRobot's own pre-processing: images, normalisation, tokens, device.

        Raises:
            ContractError: it has another shape than the checkpoint's inputs.
        """
        with self._stager.aside():
            frames = tuple(self._preprocessed(observation, index) for index in range(self._n_obs_steps))
            kept = self._memory.take_off()
        return StagedObservation(observation, frames, kept, self._stager.mark())

    def infer_staged(self, rows: Sequence[StagedObservation]) -> list[ActionChunk]:
        """One chunk per row; a policy that draws from torch's own generator gets them one by one.

        Raises:
            ContractError: an observation has a foreign memory.
        """
        for row in rows:
            self._stager.take_over(row.ready, self._tensors(row))
        if self._is_seeded:
            return [chunk for row in rows for chunk in self._infer([row])]
        if self._is_rtc:
            return self._infer_alike(rows)
        return self._infer(rows)

    def _tensors(self, row: StagedObservation) -> list[Any]:
        values = [value for held in (*row.frames, *row.kept) for value in held.values()]
        return [value for value in values if isinstance(value, self._torch.Tensor) and value.is_cuda]

    def _infer_alike(self, rows: Sequence[StagedObservation]) -> list[ActionChunk]:
        """Rows of one delay and one length of prefix share a forward.

        It has as many rows as there are in all, so that a row's bytes do not depend on how many are like it.
        """
        chunks: dict[int, ActionChunk] = {}
        for indices in alike([row.observation for row in rows]):
            filled = [*indices, *[indices[0]] * (len(rows) - len(indices))]
            answers = self._infer([rows[index] for index in filled])
            chunks.update(zip(indices, answers, strict=False))
        return [chunks[index] for index in range(len(rows))]

    def _infer(self, rows: Sequence[StagedObservation]) -> list[ActionChunk]:
        observations = [row.observation for row in rows]
        actions = self._raw_chunks(rows, observations)
        self._raw_width = actions.shape[-1]
        raws = list(actions.float().cpu().numpy()) if self._is_rtc else [None] * len(observations)
        if self._ensemble is None:
            states = [b""] * len(observations)
        else:
            steps = [self._ensemble.step(row, o.policy_state) for row, o in zip(actions, observations, strict=True)]
            actions = self._torch.stack([action for action, _ in steps])
            states = [memory for _, memory in steps]
        executed = [self._postprocessed(chunk, row) for chunk, row in zip(actions, rows, strict=True)]
        raws = list(executed) if self._reanchor else raws
        return [ActionChunk(*answer) for answer in zip(executed, states, raws, strict=True)]

    @property
    def _torch(self) -> Any:
        import torch

        return torch

    def _raw_chunks(self, rows: Sequence[StagedObservation], observations: Sequence[Observation]) -> Any:
        """(B, H, A) as the policy itself gives it, before LeRobot's post-processing."""
        policy, torch = self._loaded.policy, self._torch
        policy.reset()
        if self._is_seeded:
            torch.manual_seed(observations[0].noise_seed)
        keywords = {}
        if self._noise_shape is not None:
            seeds = [observation.noise_seed for observation in observations]
            keywords["noise"] = draw_noise(torch, seeds, self._noise_shape).to(self._loaded.device)
        if self._is_rtc:
            rests = [self._rest(row) for row in rows]
            keywords |= guidance(torch, rests, observations[0].delay_steps, self._loaded.device)
        columns = zip(*(row.frames for row in rows), strict=True)
        batches = [joined(torch, column, self._padding) for column in columns]
        # The guidance of real-time chunking takes gradients, which inference mode has none of.
        with torch.no_grad() if self._is_rtc else torch.inference_mode(), self._autocast():
            self._fill_history(batches)
            return policy.predict_action_chunk(batches[-1], **keywords)

    def _rest(self, row: StagedObservation) -> Any:
        """What is left of the row's last chunk in the policy's own numbers; None where nothing is."""
        rest = row.observation.action_raw
        if rest is None:
            return None
        if self._reanchor is None:
            return checked_rest(self._name, rest, self._raw_width or rest.shape[-1])
        rest = checked_rest(self._name, rest, int(self._loaded.config.output_features[ACTION].shape[0]))
        return self._reanchor(self._torch.from_numpy(rest), self._memory.state_of(row.kept), self._loaded.device)

    def _preprocessed(self, observation: Observation, index: int) -> dict[str, Any]:
        """LeRobot's batch of one row of the frame `index`, oldest first, through its own pre-processing."""
        torch = self._torch
        batch: dict[str, Any] = {"task": [observation.task]}
        for feature in self._wiring.features:
            key = self._wiring.sources[feature.name]
            frame = torch.from_numpy(np.array(self._frame(observation, key, index, feature))[None])
            batch[self._names.before(feature.name)] = _image_tensor(torch, frame) if feature.is_image else frame
        processed: dict[str, Any] = self._loaded.preprocess(batch)
        processed.pop(ACTION, None)  # the pipeline's place for it; `select_action` drops it as well
        return processed

    def _frame(self, observation: Observation, key: str, index: int, feature: Feature) -> Array:
        try:
            array = observation.arrays[key]
        except KeyError:
            raise ContractError(f"policy {self._name}: expected {key} in the observation, got none") from None
        frame = array if self._n_obs_steps == 1 else array[index]
        if not feature.is_image and frame.shape != feature.shape:
            raise ContractError(f"policy {self._name}: {key}: expected {feature.shape}, got {frame.shape}")
        return frame

    @property
    def _name(self) -> str:
        return str(self._loaded.config.type)

    def _fill_history(self, batches: Sequence[dict[str, Any]]) -> None:
        """Puts the frames into the policy's queues as `select_action` would have, step by step."""
        queues = getattr(self._loaded.policy, "_queues", None)
        if not queues:
            return
        from lerobot.policies.utils import populate_queues

        for batch in batches:
            if IMAGES in queues:
                cameras = [batch[key] for key in self._loaded.config.image_features if key in batch]
                batch[IMAGES] = self._torch.stack(cameras, dim=-4)
            populate_queues(queues, batch, exclude_keys=[ACTION])

    def _autocast(self) -> Any:
        torch, config, dtype = self._torch, self._loaded.config, self._section.dtype
        if dtype in ("bfloat16", "float16") and not hasattr(config, "dtype"):
            return torch.autocast(self._loaded.device, dtype=getattr(torch, dtype))
        if dtype == "checkpoint" and config.use_amp:
            return torch.autocast(self._loaded.device)
        return contextlib.nullcontext()

    def _postprocessed(self, chunk: Any, row: StagedObservation) -> Array:
        """(H, A) float32 of a row's (H, A) through LeRobot's post-processing, with what was kept of that row.

        One row at a time: a step may hold one state, and statistics by the chunk's step need the chunk as (1, H, A).
        """
        self._memory.put_down(row.kept)
        (executed,) = self._loaded.postprocess(chunk[None])
        return np.ascontiguousarray(executed.float().cpu().numpy())

    def _try_blank(self, checkpoint: Checkpoint) -> tuple[int, ...]:
        """(H, A) of the answer to a grey observation, then to a darker one: whether the whole way works, and forgets.

        Raises:
            SetupError: it does not.
        """
        watch = Watch(self._loaded.preprocess, self._loaded.postprocess)
        for shade in (0.5, 0.25):
            arrays = {key: self._blank(key, shade) for key in self._wiring.keys}
            chunk = self._tried(checkpoint, Observation(arrays, f"{BLANK_TASK} {'again' * (shade < 0.5)}".strip()))
            watch.look()
        watch.refuse(checkpoint)
        return tuple(chunk.actions.shape)

    def _tried(self, checkpoint: Checkpoint, observation: Observation) -> ActionChunk:
        try:
            (chunk,) = self.infer_batch([observation])
        except RayEvalError:
            raise
        except ImportError as error:
            raise lacks(checkpoint, first_lines(error)) from error
        except Exception as error:
            if is_of_the_hub(error):  # a step that looks for its tokenizer when it is first called
                raise unreachable(checkpoint, self._loaded.config, error) from error
            raise checkpoint.fail(
                "a chunk of actions for a blank observation",
                f"{type(error).__name__}: {error}".splitlines()[0][:400],
                "its configuration does not fit its weights or its processors",
            ) from error
        return chunk

    def _blank(self, key: str, shade: float) -> Array:
        history = () if self._n_obs_steps == 1 else (self._n_obs_steps,)
        shapes = {self._wiring.sources[feature.name]: feature.shape for feature in self._wiring.features}
        if is_image(key):
            _, height, width = shapes[key]
            return np.full((*history, height, width, 3), 256 * shade, dtype=np.uint8)
        return np.full((*history, *shapes[key]), 0.5 - shade, dtype=np.float32)

    def _check_history(self, checkpoint: Checkpoint) -> None:
        queues = getattr(self._loaded.policy, "_queues", None) or {}
        if self._n_obs_steps > 1 and not any(key != ACTION for key in queues):
            raise checkpoint.fail(
                "a policy whose history can be given with each request",
                f"type {self._name!r} with n_obs_steps={self._n_obs_steps}, which keeps it elsewhere",
                "it cannot be evaluated here",
            )

    def _described(self, checkpoint: Checkpoint, shape: tuple[int, ...]) -> PolicySpec:
        config, torch, loaded = self._loaded.config, self._torch, self._loaded
        # GR00T executes no more than its checkpoint's horizons allow.
        executed_steps = getattr(loaded.policy, "_action_queue_steps", None) or getattr(config, "n_action_steps", None)
        commit = {"commit": checkpoint.commit} if checkpoint.commit else {}
        return PolicySpec(
            name=self._name,
            keys=self._wiring.keys,
            chunk_len=shape[0],
            action_dim=shape[1],
            n_obs_steps=self._n_obs_steps,
            image_size_px=self._wiring.image_size_px,
            replan_steps=min(int(executed_steps or shape[0]), shape[0]),
            takes_prefix=self._is_rtc,
            batch_invariant=self._is_seeded,
            digest=self._digesting.result(),
            state_dim=self._wiring.state_dim,
            runtime={
                "type": self._name,
                **versions_used(loaded.policy, loaded.preprocess, is_adapted=checkpoint.base is not None),
                **runtime_of(torch, loaded.device),
                **compiled_as(config, self._section),
                **commit,
            },
            ranges=training_ranges(loaded.statistics, self._wiring),
            remarks=(*loaded.remarks, *self._wiring.remarks, *_remarks(loaded.policy), *self._memory.remarks()),
        )


def _features(config: Any) -> list[Feature]:
    return [
        Feature(name, is_image=feature.type.value == "VISUAL", shape=tuple(feature.shape))
        for name, feature in config.input_features.items()
    ]


def _rename(section: LeRobotPolicySection) -> Mapping[str, str]:
    given = {f"{IMAGES}.image": section.rename.image, f"{IMAGES}.image2": section.rename.image2}
    return {key: full_name(name) for key, name in given.items() if name is not None}


def _image_tensor(torch: Any, images: Any) -> Any:
    """(B, 3, H, W) float32 in [0, 1] of (B, H, W, 3) uint8, computed as LeRobot's `preprocess_observation` does."""
    return images.permute(0, 3, 1, 2).contiguous().type(torch.float32).div_(255)


def _remarks(policy: Any) -> list[str]:
    if policy.config.type == "vqbet" and not bool(policy.vqbet.action_head.vqvae_model.discretized):
        return ["the VQ-VAE of this VQ-BeT was never trained to its end: its actions mean nothing"]
    return []
