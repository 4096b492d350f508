"""A checkpoint's weights where LeRobot's own loader is not enough: its older format, and whether they are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray_eval.policies.lerobot.checkpoint import WEIGHTS_NAME, Checkpoint, first_lines

COMPARED_NUMBERS = 4096
"""Numbers of each tensor that are compared with the file's."""
NAMED = 3
"""Weights that an error names before it counts the others."""
_OLD_STATISTICS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
_LEFT_OUT = (*_OLD_STATISTICS, "action_preprocessor.normalizer")
"""What LeRobot's loaders leave out of the weights, because its pipelines normalise; the last is Wall-X's."""


def old_statistics_of(checkpoint: Checkpoint, config: Any) -> dict[str, dict[str, Any]]:
    """Statistics that older versions of LeRobot kept among the weights, by feature; empty in today's format."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, dict[str, Any]] = {}
    try:
        with safe_open(checkpoint.folder / WEIGHTS_NAME, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(_OLD_STATISTICS)]  # noqa: SIM118 - no mapping
            for key in {**config.input_features, **config.output_features}:
                buffer = f".buffer_{key.replace('.', '_')}."
                for name in names:
                    if buffer in f".{name.partition('.')[2]}":
                        found.setdefault(key, {})[name.rpartition(".")[2]] = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise checkpoint.fail(f"readable weights in {WEIGHTS_NAME}", first_lines(error), "copy it again") from error
    return found


def with_old_weights(checkpoint: Checkpoint, policy_class: Any, config: Any) -> Any:
    """The policy with the weights of the older format, whose statistics belong to the pipelines today."""
    from safetensors.torch import load_file

    weights = load_file(checkpoint.folder / WEIGHTS_NAME, device=str(config.device))
    policy = policy_class(config).to(config.device)
    policy.load_state_dict({key: value for key, value in weights.items() if not key.startswith(_OLD_STATISTICS)})
    return policy


def check_taken_over(checkpoint: Checkpoint, policy: Any) -> None:
    """Passes when the policy's weights are the file's: some of LeRobot's loaders go on with random ones when they fail.

    Every parameter and persistent buffer must have its tensor in the file, itself or as another name of one that has,
    and every tensor of the file its place in the policy. The first numbers of each are compared.

    Raises:
        SetupError: a weight differs, or is not in the file, or has no place in the policy.
    """
    from safetensors import safe_open

    remedy = "copy the checkpoint again, or use the LeRobot that saved it, by policy.python"
    weights = policy.state_dict()
    with safe_open(checkpoint.folder / WEIGHTS_NAME, framework="pt") as file:
        places = _places(policy, list(file.keys()))
        taken = {place: name for place, name in places.items() if place in weights}
        if not taken:
            raise checkpoint.fail(f"weights named as in a policy of type {checkpoint.type!r}", "none of them", remedy)
        if missing := _not_in_file(weights, taken):
            raise checkpoint.fail(f"every weight of the policy in {WEIGHTS_NAME}", f"none for {_few(missing)}", remedy)
        if foreign := [name for place, name in places.items() if place not in weights]:
            raise checkpoint.fail(
                f"a place in the policy for all of {WEIGHTS_NAME}", f"none for {_few(foreign)}", remedy
            )
        for place, name in taken.items():
            if not _begins_alike(weights[place], file, name):
                raise checkpoint.fail(f"the weights of {WEIGHTS_NAME} in the policy", f"others in {name}", remedy)


def _places(policy: Any, names: Sequence[str]) -> dict[str, str]:
    """The file's name of each weight, by the policy's: as LeRobot's own loaders rename and leave out."""
    import torch

    numbered = {name: torch.tensor(i) for i, name in enumerate(names) if not name.startswith(_LEFT_OUT)}
    # The pi0 family's, for checkpoints that openpi saved.
    if hasattr(policy, "_fix_pytorch_state_dict_keys"):
        numbered = policy._fix_pytorch_state_dict_keys(numbered, policy.config)  # noqa: SLF001 - there is no other way
    own = policy.state_dict().keys()
    return {place if place in own else f"model.{place}": names[int(number)] for place, number in numbered.items()}


def _not_in_file(weights: Mapping[str, Any], taken: Mapping[str, str]) -> list[str]:
    """Weights that are neither in the file nor another name of one that is; a file has tied weights once."""
    tied = {_memory(weights[place]) for place in taken}
    return [name for name, tensor in weights.items() if name not in taken and _memory(tensor) not in tied]


def _memory(tensor: Any) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _few(names: Sequence[str]) -> str:
    others = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {others} other{'s'[: others > 1]}" if others > 0 else "")


def _begins_alike(loaded: Any, file: Any, name: str) -> bool:
    if loaded.ndim == 0:
        return bool(file.get_tensor(name).to(loaded.dtype) == loaded.cpu())
    saved = file.get_slice(name)
    if list(saved.get_shape()) != list(loaded.shape):
        return False
    rows = max(1, COMPARED_NUMBERS * len(loaded) // max(1, loaded.numel()))
    return bool((saved[:rows].to(loaded.dtype) == loaded[:rows].cpu()).all())
