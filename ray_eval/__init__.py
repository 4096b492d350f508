"""ray-eval: the success rate of a robot policy on LIBERO, exact, fast and resumable.

>>> import ray_eval
>>> evaluation = ray_eval.evaluate("first_light", ["workers=2"])  # doctest: +SKIP
>>> evaluation.rate.value  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_eval.errors import (
    ConfigError,
    ContractError,
    EpisodeError,
    LedgerError,
    RayEvalError,
    SetupError,
    require_eval_extra,
)
from ray_eval.interfaces import Env, Policy
from ray_eval.types import ActionChunk, EpisodeResult, EpisodeSpec, Observation, Outcome, PolicySpec

if typing.TYPE_CHECKING:
    from ray_eval.config import EvalConfig, load_config
    from ray_eval.driver.run import Evaluation

try:
    # Gymnasium looks for no plugins: an environment is there once its package has been imported.
    importlib.import_module("ray_eval.envs.gym")
except ModuleNotFoundError as error:
    if error.name != "gymnasium":
        raise

__version__ = "0.1.0"

__all__ = [
    "ActionChunk",
    "ConfigError",
    "ContractError",
    "Env",
    "EpisodeError",
    "EpisodeResult",
    "EpisodeSpec",
    "EvalConfig",
    "LedgerError",
    "Observation",
    "Outcome",
    "Policy",
    "PolicySpec",
    "RayEvalError",
    "SetupError",
    "evaluate",
    "load_config",
]


def __getattr__(name: str) -> Any:
    """What a configuration is read by, loaded when it is first asked for: other interpreters need not have it."""
    if name in ("EvalConfig", "load_config"):
        return getattr(importlib.import_module("ray_eval.config"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def evaluate(
    config: EvalConfig | str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    *,
    resume: str | Path | None = None,
) -> Evaluation:
    """Runs an evaluation and returns its typed results; the same run that `ray-eval run` makes.

    Args:
        config: a resolved configuration, a file, a name under `configs/`, or a mapping.
        overrides: `key=value` texts on top; none with a resolved configuration.
        resume: the folder of a run to go on with, or its address in a store.

    Raises:
        ConfigError: the configuration cannot be run as written.
        SetupError: the machine, an installation or a checkpoint cannot run it.
        LedgerError: the run's folder cannot be read or written.
    """
    require_eval_extra()
    from ray_eval.config import EvalConfig, is_url, load_config, user_path
    from ray_eval.driver.run import run

    if isinstance(config, EvalConfig):
        if overrides:
            raise ConfigError("evaluate: expected no overrides beside a resolved configuration; load_config takes them")
        resolved = config
    else:
        resolved = load_config(config, overrides)
    if resume is None or (isinstance(resume, str) and is_url(resume)):
        return run(resolved, resume=resume)
    return run(resolved, resume=user_path(resume, "resume"))
