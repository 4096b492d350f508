"""PEFT adapters: a few weights beside those of a base checkpoint, put into its policy as LeRobot itself does."""

from __future__ import annotations

from typing import Any

from ray_eval.policies.lerobot.checkpoint import ADAPTER_WEIGHTS_NAME, Checkpoint, first_lines
from ray_eval.policies.lerobot.weights import begins_alike


def put_in(checkpoint: Checkpoint, policy: Any) -> None:
    """Changes a base's policy into the adapted one: its layers become PEFT's, unmerged, as `lerobot-eval` runs them.

    Merging would round otherwise than LeRobot does.

    Raises:
        ImportError: PEFT is not installed.
        SetupError: the adapter does not fit the base, or is of a kind that works on texts.
    """
    from peft import PeftConfig, PeftModel

    folder = str(checkpoint.folder)
    try:
        config = PeftConfig.from_pretrained(folder)
        if config.is_prompt_learning:
            raise checkpoint.fail("an adapter of a policy's layers, such as LoRA", f"{config.peft_type}", "merge it")
        adapted = PeftModel.from_pretrained(policy, folder, config=config)
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise checkpoint.fail(
            f"an adapter that fits {checkpoint.base_name}",
            first_lines(error),
            "name the base that it was trained on in its adapter_config.json",
        ) from error
    _check_taken_over(checkpoint, adapted)


def _check_taken_over(checkpoint: Checkpoint, adapted: Any) -> None:
    """PEFT goes on with its first values where a weight of the adapter has no place, or a place no weight.

    Raises:
        SetupError: so it is here.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    saved = load_file(checkpoint.folder / ADAPTER_WEIGHTS_NAME)
    weights = get_peft_model_state_dict(adapted)
    for name in sorted(saved.keys() ^ weights.keys()) or sorted(saved):
        if name not in saved or name not in weights or not begins_alike(weights[name], saved[name]):
            raise checkpoint.fail(
                f"the weights of {ADAPTER_WEIGHTS_NAME} in the policy",
                f"others in {name}",
                "copy the adapter again, or use the PEFT and the LeRobot that saved it",
            )
