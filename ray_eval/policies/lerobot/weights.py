"""A checkpoint's weights where LeRobot's own loader is not enough: its older format, and whether they are taken."""

from __future__ import annotations

from typing import Any

from ray_eval.policies.lerobot.checkpoint import WEIGHTS_NAME, Checkpoint, first_lines

COMPARED_NUMBERS = 4096
"""Numbers of each tensor that are compared with the file's."""
_OLD_STATISTICS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")


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

    The first numbers of each tensor are compared, under the file's name for it, with or without `model.` before it.

    Raises:
        SetupError: a weight differs, or none has a name of the file's.
    """
    from safetensors import safe_open

    remedy = "use the LeRobot that saved the checkpoint, by policy.python"
    weights, compared = policy.state_dict(), 0
    with safe_open(checkpoint.folder / WEIGHTS_NAME, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            loaded = weights.get(name, weights.get(f"model.{name}"))
            if loaded is None:
                continue
            compared += 1
            if not _begins_alike(loaded, file, name):
                raise checkpoint.fail(f"the weights of {WEIGHTS_NAME} in the policy", f"others in {name}", remedy)
    if not compared:
        raise checkpoint.fail(f"weights named as in a policy of type {checkpoint.type!r}", "none of them", remedy)


def _begins_alike(loaded: Any, file: Any, name: str) -> bool:
    if loaded.ndim == 0:
        return bool(file.get_tensor(name).to(loaded.dtype) == loaded.cpu())
    saved = file.get_slice(name)
    if list(saved.get_shape()) != list(loaded.shape):
        return False
    rows = max(1, COMPARED_NUMBERS * len(loaded) // max(1, loaded.numel()))
    return bool((saved[:rows].to(loaded.dtype) == loaded[:rows].cpu()).all())
