"""From a checkpoint to LeRobot's policy and its two processor pipelines, by LeRobot's own factory."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ray_eval.errors import ConfigError, SetupError
from ray_eval.policies.lerobot.adapters import put_in
from ray_eval.policies.lerobot.checkpoint import (
    Checkpoint,
    first_lines,
)
from ray_eval.policies.lerobot.chunking import set_rtc
from ray_eval.policies.lerobot.compiling import compile_made, set_compile
from ray_eval.policies.lerobot.kinds import REFUSED, is_of_the_hub, missing_modules, needs_of
from ray_eval.policies.lerobot.missing import check_late_files, check_saved_by, lacks, unknown_type, unreachable
from ray_eval.policies.lerobot.pipelines import missing_statistics, pipelines_of, statistics_of
from ray_eval.policies.lerobot.plugins import known_types
from ray_eval.policies.lerobot.runtime import lerobot_version
from ray_eval.policies.lerobot.weights import Handed, check_taken_over, old_statistics_of, with_weights
from ray_eval.policies.torch_module import import_torch, pick_device
from ray_eval.sections import LeRobotPolicySection

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy of LeRobot's, ready to be asked."""

    policy: Any
    """`lerobot.policies.pretrained.PreTrainedPolicy`, in evaluation mode on its device."""
    preprocess: Any
    """Pipeline from an observation to the policy's batch."""
    postprocess: Any
    """Pipeline from the policy's action to the robot's."""
    device: str
    """`cpu` or `cuda`."""
    statistics: Mapping[str, Mapping[str, Any]]
    """Statistics by the checkpoint's key and by name (`mean`, `std`, `min`, `max`, ...), as arrays."""
    remarks: tuple[str, ...] = ()
    """What a reader of the result should know."""

    @property
    def config(self) -> Any:
        """The policy's configuration, `lerobot.configs.policies.PreTrainedConfig`."""
        return self.policy.config


def load(checkpoint: Checkpoint, section: LeRobotPolicySection, *, may_autotune: bool = False) -> Loaded:
    """The checkpoint's policy and pipelines.

    Args:
        checkpoint: Its files.
        section: The user's wishes.
        may_autotune: Whether a compiled policy's kernels may be chosen by timing.

    Raises:
        SetupError: LeRobot or one of the policy's own dependencies is not here, the type cannot be evaluated in
            chunks, or the files do not make a policy.
    """
    refuse_kind(checkpoint)
    _require_lerobot()
    check_saved_by(checkpoint, lerobot_version())
    with _quiet():
        policy_class = _policy_class(checkpoint)
        config, remarks = _config(checkpoint, policy_class, section, may_autotune=may_autotune)
        device = str(config.device)
        weights = checkpoint.base or checkpoint
        old_statistics = old_statistics_of(weights, config)
        # Before the weights: that a tokenizer is not to be had is known in a second, and a large policy takes long.
        pipelines = pipelines_of(checkpoint, config, old_statistics)
        check_late_files(checkpoint, config)
        policy = _with_weights(weights, policy_class, config, is_old=bool(old_statistics))
        if checkpoint.base is not None:
            _adapt(checkpoint, policy)
    if old_statistics:
        remarks.append("the checkpoint is of LeRobot's older format; its statistics were taken from the weights")
    statistics = statistics_of(pipelines[0])
    remarks += missing_statistics(pipelines[0])
    if section.dtype == "float32" and not hasattr(config, "dtype"):
        policy.float()
    compile_made(policy, section)
    return Loaded(policy.to(device).eval(), *pipelines, device, statistics, tuple(remarks))


def refuse_kind(checkpoint: Checkpoint) -> None:
    """Passes for a type that can be evaluated in chunks, as far as its name tells.

    Raises:
        SetupError: it cannot, and why.
    """
    if checkpoint.type in REFUSED:
        raise checkpoint.fail(
            "a policy that can be evaluated in chunks", f"type {checkpoint.type!r}", REFUSED[checkpoint.type]
        )


def _require_lerobot() -> None:
    try:
        importlib.import_module("lerobot.policies.factory")
    except ImportError as error:
        raise SetupError(
            f"policy.type=lerobot: expected LeRobot in {sys.executable}, got {error}; make an environment for it (see "
            "docs/policies.md) and write policy.python=ENVIRONMENT/bin/python"
        ) from error


def _config(
    checkpoint: Checkpoint, policy_class: Any, section: LeRobotPolicySection, *, may_autotune: bool
) -> tuple[Any, list[str]]:
    """LeRobot's configuration with the user's wishes in it, and what a reader should know of that."""
    config = _parsed(checkpoint)
    if not config.input_features or not config.output_features:
        raise checkpoint.fail("input_features and output_features in config.json", "none", "copy the whole checkpoint")
    if section.temporal_ensemble == "off" and getattr(config, "temporal_ensemble_coeff", None) is not None:
        config.temporal_ensemble_coeff = None
        config.n_action_steps = config.chunk_size
    set_rtc(checkpoint, policy_class, config, section.rtc)
    config.device = pick_device(import_torch(), section.device)
    config.pretrained_path = (checkpoint.base or checkpoint).folder
    if getattr(config, "pretrained_backbone_weights", None) is not None:
        # The weights of a backbone come with the checkpoint's; nothing is downloaded to be overwritten.
        config.pretrained_backbone_weights = None
    if section.dtype != "checkpoint" and hasattr(config, "dtype"):
        config.dtype = section.dtype
    remarks = set_compile(config, section, may_autotune=may_autotune)
    if getattr(config, "per_episode_seed", False):
        # MolmoAct2 would draw from a generator that counts the resets before, as requests have none.
        config.per_episode_seed = False
        remarks.append("per_episode_seed of config.json is not obeyed: noise comes from each request's seed")
    return config, remarks


def _parsed(checkpoint: Checkpoint) -> Any:
    from lerobot.configs.policies import PreTrainedConfig

    try:
        return PreTrainedConfig.from_pretrained(checkpoint.folder)
    except ImportError as error:
        raise lacks(checkpoint, first_lines(error)) from error
    except Exception as error:
        if is_of_the_hub(error):
            raise unreachable(checkpoint, checkpoint.config, error) from error
        raise checkpoint.fail(
            f"a config.json that LeRobot {lerobot_version()} reads",
            first_lines(error),
            "it was saved by a newer or older LeRobot, or is damaged; use the LeRobot that saved it, by policy.python",
        ) from error


def _policy_class(checkpoint: Checkpoint) -> Any:
    from lerobot.policies.factory import get_policy_class

    known = known_types()
    if checkpoint.type not in known:
        raise unknown_type(checkpoint, known)
    # Before anything is made: a pi0 would fill 12 GB and then say that its transformers is the wrong one.
    if missing := missing_modules(needs_of(checkpoint.type, lerobot_version())):
        raise lacks(checkpoint, f"no {' and no '.join(missing)}")
    try:
        return get_policy_class(checkpoint.type)
    except Exception as error:
        raise lacks(checkpoint, first_lines(error.__cause__ or error)) from error


def _adapt(checkpoint: Checkpoint, policy: Any) -> None:
    try:
        put_in(checkpoint, policy)
    except ImportError as error:
        what = f"PEFT, which the adapter is of, in {sys.executable}"
        raise checkpoint.fail(what, first_lines(error), "pip install 'lerobot[peft]' there") from error


def _with_weights(checkpoint: Checkpoint, policy_class: Any, config: Any, *, is_old: bool) -> Any:
    """The policy with its weights on its device; every weight comes from the checkpoint, or it is an error."""
    handed = Handed()
    try:
        policy = with_weights(checkpoint, policy_class, config, handed, is_old=is_old).to(config.device)
        check_taken_over(checkpoint, policy, handed)
    except ImportError as error:
        raise lacks(checkpoint, first_lines(error)) from error
    except (ConfigError, SetupError):
        raise
    except Exception as error:
        if is_of_the_hub(error):
            raise unreachable(checkpoint, config, error) from error
        raise checkpoint.fail(
            f"weights that fit config.json as LeRobot {lerobot_version()} reads it",
            _told_sizes(error) or first_lines(error),
            "the checkpoint is damaged, or was saved by another LeRobot; use that one by policy.python",
        ) from error
    return policy


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what LeRobot prints while loading out of the output, and in the log."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    finally:
        for line in said.getvalue().splitlines():
            logger.info("lerobot: %s", line)


def _told_sizes(error: Exception) -> str | None:
    """Which weights have other sizes than their layers, of the text that torch has a line of for each; None if none."""
    found = _OTHER_SIZE.findall(str(error))
    if not found:
        return None
    name, has, wants = found[0]
    more = f", and {len(found) - 1} more like it" if len(found) > 1 else ""
    return f"{name} of ({has}) for a layer of ({wants}){more}"


_OTHER_SIZE = re.compile(
    r"size mismatch for (\S+): copying a param with shape torch\.Size\(\[([^\]]*)\]\) from checkpoint, "
    r"the shape in current model is torch\.Size\(\[([^\]]*)\]\)"
)
