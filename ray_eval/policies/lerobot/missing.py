"""What a checkpoint needs and this machine has not: a package, a plug-in, files of the hub; each as one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ray_eval.errors import SetupError, did_you_mean
from ray_eval.policies.lerobot.checkpoint import Checkpoint, first_lines
from ray_eval.policies.lerobot.kinds import hub_names, is_of_the_hub, is_too_new, late_files, needs_of
from ray_eval.policies.lerobot.plugins import PREFIX, broken_plugins
from ray_eval.policies.lerobot.runtime import lerobot_version


def unknown_type(checkpoint: Checkpoint, known: Sequence[str]) -> SetupError:
    """A type that neither LeRobot nor a plug-in brings; a plug-in that cannot be imported is the likely cause."""
    broken = "; ".join(f"{name} is installed and does not import: {what}" for name, what in broken_plugins().items())
    return checkpoint.fail(
        f"a policy type that LeRobot {lerobot_version()} in {sys.executable} knows ({', '.join(known)})",
        f"{checkpoint.type!r}",
        broken
        or f"install the plug-in that brings it ({PREFIX}...) there, or name the LeRobot that saved it by "
        f"policy.python.{did_you_mean(checkpoint.type, known)}",
    )


def check_saved_by(checkpoint: Checkpoint, version: str) -> None:
    """Passes for a checkpoint that a version of LeRobot may read, as far as config.json tells.

    Raises:
        SetupError: a later one saved it.
    """
    if is_too_new(checkpoint.config, version):
        raise checkpoint.fail(
            f"a checkpoint that LeRobot {version} reads",
            "one that 0.6 or later saved",
            f"type: ray-eval install lerobot {checkpoint.type}, which says at its end which policy.python to take",
        )


def lacks(checkpoint: Checkpoint, got: str) -> SetupError:
    """A package of the type's is not here, or cannot be imported."""
    what = f"what policies of type {checkpoint.type!r} need, in {sys.executable}"
    return checkpoint.fail(what, got, needs_of(checkpoint.type, lerobot_version()).typed)


def unreachable(checkpoint: Checkpoint, config: Any, error: BaseException) -> SetupError:
    """Files of the hub that the checkpoint names are neither here nor to be had."""
    named = ", ".join(hub_names(config)) or "a tokenizer or a base model"
    return checkpoint.fail(
        f"what it takes from the hub ({named}) on this machine",
        first_lines(error.__cause__ or error, 1),
        "load it once where there is a network, or write the path of a folder with those files into config.json (a "
        "tokenizer's also into policy_preprocessor.json)",
    )


def check_late_files(checkpoint: Checkpoint, config: Any) -> None:
    """Passes where the hub's files that LeRobot reads behind a large network can be had.

    Raises:
        SetupError: they cannot.
    """
    from huggingface_hub import hf_hub_download

    for repository, file in late_files(checkpoint.type):
        try:
            hf_hub_download(repository, file)
        except Exception as error:
            if is_of_the_hub(error):
                raise unreachable(checkpoint, config, error) from error
            raise
