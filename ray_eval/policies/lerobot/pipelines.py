"""LeRobot's two processor pipelines of a checkpoint, made by its own factory, and the statistics in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ray_eval.errors import SetupError
from ray_eval.policies.lerobot.checkpoint import POSTPROCESSOR_NAME, PREPROCESSOR_NAME, Checkpoint, first_lines
from ray_eval.policies.lerobot.kinds import is_of_the_hub
from ray_eval.policies.lerobot.missing import lacks, unreachable
from ray_eval.policies.lerobot.runtime import lerobot_version
from ray_eval.policies.lerobot.weights import may_hold_old_statistics


def pipelines_of(checkpoint: Checkpoint, config: Any, old_statistics: Mapping[str, Any]) -> tuple[Any, Any]:
    """The pipelines before and behind the policy.

    Args:
        checkpoint: Its files; an adapter that has no pipelines takes those of its base.
        config: LeRobot's configuration of the policy.
        old_statistics: Statistics from among the weights, by feature, of a checkpoint that has no pipelines.

    Raises:
        SetupError: they are missing or damaged, or want what is not here.
    """
    from lerobot.policies.factory import make_pre_post_processors

    checkpoint, missing = _owner(checkpoint)
    if missing and not old_statistics:
        raise _without_pipelines(checkpoint, missing)
    try:
        if missing:
            return make_pre_post_processors(config, dataset_stats=old_statistics)  # type: ignore[no-any-return]
        overrides = {
            f"{which}_overrides": _overrides(checkpoint, name, device, config)
            for which, name, device in (
                ("preprocessor", PREPROCESSOR_NAME, config.device),
                ("postprocessor", POSTPROCESSOR_NAME, "cpu"),
            )
        }
        return make_pre_post_processors(config, pretrained_path=str(checkpoint.folder), **overrides)  # type: ignore[no-any-return]
    except ImportError as error:
        raise lacks(checkpoint, first_lines(error)) from error
    except Exception as error:
        if is_of_the_hub(error):
            raise unreachable(checkpoint, config, error) from error
        raise checkpoint.fail(
            f"processor pipelines that LeRobot {lerobot_version()} can make",
            first_lines(error),
            "they are damaged, or use the LeRobot that saved them, by policy.python",
        ) from error


def check_pipelines(checkpoint: Checkpoint) -> None:
    """Passes where the pipelines are there, or the weights may hold statistics; nothing of LeRobot's is imported.

    Raises:
        SetupError: nothing would be normalised.
    """
    checkpoint, missing = _owner(checkpoint)
    if missing and may_hold_old_statistics(checkpoint) is False:
        raise _without_pipelines(checkpoint, missing)


def _owner(checkpoint: Checkpoint) -> tuple[Checkpoint, list[str]]:
    """The checkpoint whose pipelines are taken, and which of the two it lacks."""
    if checkpoint.base is not None and not (checkpoint.folder / PREPROCESSOR_NAME).is_file():
        checkpoint = checkpoint.base
    names = (PREPROCESSOR_NAME, POSTPROCESSOR_NAME)
    return checkpoint, [name for name in names if not (checkpoint.folder / name).is_file()]


def _without_pipelines(checkpoint: Checkpoint, missing: Sequence[str]) -> SetupError:
    return checkpoint.fail(
        f"{PREPROCESSOR_NAME} and {POSTPROCESSOR_NAME}, or statistics among the weights",
        f"no {' and no '.join(missing)}",
        "without them nothing is normalised; copy the whole checkpoint",
    )


def _overrides(checkpoint: Checkpoint, name: str, device: str, config: Any) -> dict[str, Any]:
    """What a saved pipeline's steps are told otherwise: their device, and a name that LeRobot does not save.

    pi0-FAST's action tokenizer would fetch the text tokenizer that LeRobot has in its code, whatever config.json says;
    it does nothing where there are no actions to tokenize.
    """
    steps = json.loads((checkpoint.folder / name).read_text(encoding="utf-8")).get("steps", [])
    names = {step.get("registry_name") for step in steps}
    told = {"device_processor": {"device": device}}
    if (words := getattr(config, "text_tokenizer_name", None)) is not None:
        told["action_tokenizer_processor"] = {"paligemma_tokenizer_name": words}
    return {step: values for step, values in told.items() if step in names}


def statistics_of(preprocess: Any) -> dict[str, dict[str, Any]]:
    """What a pipeline normalises by, by feature and by name."""
    found: dict[str, dict[str, Any]] = {}
    for step in preprocess.steps:
        for key, values in (getattr(step, "stats", None) or {}).items():
            found.setdefault(key, {}).update(values)
    return found


def missing_statistics(preprocess: Any) -> list[str]:
    """Inputs that LeRobot passes on as they are although the checkpoint says that they are normalised."""
    return [
        f"{key}: the checkpoint has no statistics for it, though it says {step.norm_map[feature.type].value}; it is "
        "passed on as it is"
        for step in preprocess.steps
        for key, feature in (getattr(step, "features", None) or {}).items()
        if step.norm_map.get(feature.type) not in (None, "IDENTITY") and step.norm_map[feature.type].value != "IDENTITY"
        if not (step.stats or {}).get(key)
    ]
