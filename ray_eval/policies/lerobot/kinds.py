"""What is known of LeRobot's policy types before one is loaded: which are evaluated, and what each needs.

Source: huggingface/lerobot@v0.4.4, src/lerobot/policies/*/ and pyproject.toml.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

REFUSED: Mapping[str, str] = {
    "sac": "it answers one action at a time and has no chunks",
    "tdmpc": "its planner goes on from the plan of the step before, which no request carries",
    "reward_classifier": "it judges states and does not act",
    "sarm": "it judges states and does not act",
}
"""Types that cannot be evaluated in chunks, and why."""
RTC_KINDS = ("smolvla", "pi0", "pi05")
"""Types whose `predict_action_chunk` goes on from the rest of a chunk; pi0_fast has the setting and ignores it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a type needs that `pip install lerobot` does not bring."""

    modules: tuple[str, ...]
    """Modules that it imports."""
    remedy: str
    """What to type."""


_PATCHED = (
    "install LeRobot's own branch of transformers into an environment for these policies alone (pip install "
    "'transformers @ git+https://github.com/huggingface/transformers.git@fix/lerobot_openpi' scipy; the others want a "
    "later transformers), and name it by policy.python"
)
_NEEDS: Mapping[str, Needs] = {
    "smolvla": Needs(("transformers", "num2words"), "pip install 'lerobot[smolvla]'"),
    "xvla": Needs(("transformers",), "pip install 'lerobot[xvla]'"),
    "pi0": Needs(("transformers.models.siglip.check",), _PATCHED),
    "pi05": Needs(("transformers.models.siglip.check",), _PATCHED),
    "pi0_fast": Needs(("transformers.models.siglip.check", "scipy"), _PATCHED),
    "groot": Needs(("transformers", "peft", "tree"), "pip install 'lerobot[groot]'"),
    "wall_x": Needs(("transformers", "peft", "scipy", "torchdiffeq", "qwen_vl_utils"), "pip install 'lerobot[wallx]'"),
}


_HUB_KEYS = (
    "vlm_model_name",
    "base_model_path",
    "tokenizer_name",
    "text_tokenizer_name",
    "action_tokenizer_name",
    "tokenizer_assets_repo",
    "pretrained_name_or_path",
)


def remedy_for(kind: str) -> str:
    """What to do where a module is missing."""
    return _NEEDS[kind].remedy if kind in _NEEDS else f"pip install 'lerobot[{kind}]'"


def missing_modules(kind: str) -> list[str]:
    """Modules that a type needs and that are not here; nothing is imported but their packages."""
    return [name for name in (_NEEDS[kind].modules if kind in _NEEDS else ()) if not _is_here(name)]


def hub_names(config: Any) -> list[str]:
    """What a policy's configuration names that LeRobot fetches from the hub: `vlm_model_name='x/y'` and the like."""
    named = {key: getattr(config, key, None) for key in _HUB_KEYS}
    return [f"{key}={value!r}" for key, value in named.items() if isinstance(value, str) and value]


def is_of_the_hub(error: BaseException | None) -> bool:
    """Whether an exception, or what it was raised from, says that the hub's files could not be had."""
    while error is not None:
        if type(error).__name__ in ("LocalEntryNotFoundError", "OfflineModeIsEnabled", "RepositoryNotFoundError"):
            return True
        if isinstance(error, OSError) and "huggingface.co" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_here(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
