"""What is known of LeRobot's policy types before one is loaded: which are evaluated, and what each needs.

Source: huggingface/lerobot@v0.4.4 and @v0.6.1, src/lerobot/policies/*/ and pyproject.toml.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ONE_ACTION = "it answers one action at a time and has no chunks"
_JUDGES = "it judges states and does not act"
REFUSED: Mapping[str, str] = {
    "sac": _ONE_ACTION,
    "gaussian_actor": _ONE_ACTION,
    "tdmpc": "its planner goes on from the plan of the step before, which no request carries",
    "lingbot_va": "it feeds the frames and actions since its last chunk back into its cache, which no request carries",
    "reward_classifier": _JUDGES,
    "robometer": _JUDGES,
    "sarm": _JUDGES,
    "topreward": _JUDGES,
}
"""Types that cannot be evaluated in chunks, and why; LeRobot 0.6 calls `gaussian_actor` what was `sac`."""
RTC_KINDS = ("smolvla", "pi0", "pi05")
"""Types of LeRobot 0.4 whose `predict_action_chunk` goes on from the rest of a chunk; 0.6 has `supports_rtc` for it.
pi0_fast has the setting and ignores it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a type needs that `pip install lerobot` does not bring."""

    modules: tuple[str, ...]
    """Modules that it imports."""
    extra: str
    """The extra of LeRobot that brings them."""
    remedy: str | None = None
    """What to type where an extra is not enough."""

    @property
    def typed(self) -> str:
        """What to do where one is missing."""
        return self.remedy or f"pip install 'lerobot[{self.extra}]' there"


_PATCHED = (
    "use LeRobot 0.6, which runs it with stock transformers (ray-eval install lerobot pi), or install 0.4's own branch "
    "there (pip install 'transformers @ git+https://github.com/huggingface/transformers.git@fix/lerobot_openpi' scipy)"
)
_BRANCH = "transformers.models.siglip.check"
_PI = Needs(("transformers",), "pi")
_NEEDS: Mapping[str, Needs] = {
    "diffusion": Needs(("diffusers",), "diffusion"),
    "eo1": Needs(("transformers",), "eo1"),
    "evo1": Needs(("transformers",), "evo1"),
    "fastwam": Needs(("transformers", "diffusers"), "fastwam"),
    "groot": Needs(("transformers", "diffusers", "tree", "datasets"), "groot"),
    "molmoact2": Needs(("transformers", "peft", "scipy"), "molmoact2"),
    "multi_task_dit": Needs(("transformers", "diffusers"), "multi-task-dit"),
    "pi0": _PI,
    "pi05": _PI,
    "pi0_fast": Needs(("transformers", "scipy"), "pi"),
    "smolvla": Needs(("transformers", "num2words", "accelerate"), "smolvla"),
    "vla_jepa": Needs(("transformers", "diffusers"), "vla-jepa"),
    "wall_x": Needs(("transformers", "peft", "scipy", "torchdiffeq", "qwen_vl_utils"), "wallx"),
    "xvla": Needs(("transformers",), "xvla"),
}
_NEEDS_04: Mapping[str, Needs] = {
    **_NEEDS,
    "groot": Needs(("transformers", "peft", "tree"), "groot"),
    "pi0": Needs((_BRANCH,), "pi", _PATCHED),
    "pi05": Needs((_BRANCH,), "pi", _PATCHED),
    "pi0_fast": Needs((_BRANCH, "scipy"), "pi", _PATCHED),
    "smolvla": Needs(("transformers", "num2words"), "smolvla"),
}
"""In LeRobot 0.4, whose pi0 family wants a transformers that no package index has."""

_HUB_KEYS = (
    "vlm_model_name",
    "vlm_base",
    "base_model_path",
    "checkpoint_path",
    "qwen_model_name",
    "jepa_encoder_name",
    "vision_encoder_name",
    "text_encoder_name",
    "tokenizer_name",
    "text_tokenizer_name",
    "action_tokenizer_name",
    "action_tokenizer_path",
    "discrete_action_tokenizer",
    "tokenizer_assets_repo",
    "tokenizer_model_id",
    "text_encoder_model_id",
    "model_id",
    "pretrained_name_or_path",
    "wan_pretrained_path",
)
_LATE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "fastwam": (("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "vae/config.json"),),
}
_WRITTEN_SINCE_06 = "pretrained_revision"
"""A field of every config.json that LeRobot 0.6 writes; no class of 0.4 takes it, not even as null."""
_VERSION = re.compile(r"(\d+)\.(\d+)")


def is_04(version: str) -> bool:
    """Whether a version of LeRobot is 0.4 or older."""
    found = _VERSION.match(version)
    return found is not None and (int(found[1]), int(found[2])) < (0, 5)


def is_too_new(config: Mapping[str, Any], version: str) -> bool:
    """Whether LeRobot 0.6 or later saved what config.json says, which the version given does not read."""
    return _WRITTEN_SINCE_06 in config and is_04(version)


def is_known(kind: str) -> bool:
    """Whether it is said here what a type needs, or that it needs nothing."""
    return kind in _NEEDS or kind in ("act", "vqbet")


def needs_of(kind: str, version: str) -> Needs:
    """What a type needs in a version of LeRobot; of a type that is not known, nothing but an extra of its name."""
    known = _NEEDS_04 if is_04(version) else _NEEDS
    return known.get(kind, Needs((), kind.replace("_", "-")))


def all_modules() -> tuple[str, ...]:
    """Every module that a type of any version needs."""
    tables = (*_NEEDS.values(), *_NEEDS_04.values())
    return tuple(sorted({name for needs in tables for name in needs.modules}))


def missing_modules(needs: Needs) -> list[str]:
    """Modules that are not here; nothing is imported but their packages."""
    return [name for name in needs.modules if not _is_here(name)]


def hub_names(config: Any) -> list[str]:
    """What a policy's configuration names that LeRobot fetches from the hub: `vlm_model_name='x/y'` and the like.

    Args:
        config: LeRobot's configuration, or what config.json says.
    """
    values = config if isinstance(config, Mapping) else vars(config)
    named = {key: value for key in _HUB_KEYS if isinstance(value := values.get(key), str) and value}
    return [f"{key}={value!r}" for key, value in named.items() if not Path(value).is_dir()]


def late_files(kind: str) -> tuple[tuple[str, str], ...]:
    """Repositories and files of the hub that LeRobot asks for by names in its code, once it has built a large network.

    FastWAM builds Wan's five billion parameters before it looks for the VAE that belongs to them.
    """
    return _LATE.get(kind, ())


def is_of_the_hub(error: BaseException | None) -> bool:
    """Whether an exception, or what it was raised from, says that the hub's files could not be had."""
    while error is not None:
        if type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "RepositoryNotFoundError"):
            return True
        if isinstance(error, OSError) and ("huggingface.co" in str(error) or "cached files" in str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
