"""ray-eval: the success rate of a robot policy on LIBERO, exact, fast and resumable.

>>> import ray_eval
>>> evaluation = ray_eval.evaluate("first_light", ["workers=2"])  # doctest: +SKIP
>>> evaluation.rate.value  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray_eval.whole import require_packages

require_packages()

from ray_eval.errors import (  # noqa: E402 -- not before it is known that these can be imported
    ConfigError,
    ContractError,
    EpisodeError,
    LedgerError,
    RayEvalError,
    SetupError,
    require_eval_extra,
)
from ray_eval.interfaces import Env, Policy  # noqa: E402
from ray_eval.types import ActionChunk, EpisodeResult, EpisodeSpec, Observation, Outcome, PolicySpec  # noqa: E402

if typing.TYPE_CHECKING:
    from ray_eval.config import EvalConfig, load_config
    from ray_eval.driver.evaluation import Evaluation

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
    "Evaluation",
    "LedgerError",
    "Observation",
    "Outcome",
    "Policy",
    "PolicySpec",
    "RayEvalError",
    "SetupError",
    "evaluate",
    "load_config",
    "release",
]


def __getattr__(name: str) -> Any:
    """What a configuration is read by, loaded when it is first asked for: other interpreters need not have it."""
    if name in ("EvalConfig", "load_config"):
        return getattr(importlib.import_module("ray_eval.config"), name)
    if name == "Evaluation":
        return importlib.import_module("ray_eval.driver.evaluation").Evaluation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def evaluate(
    config: EvalConfig | str | Path | Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    policy: Policy | None = None,
    resume: str | Path | None = None,
    progress: bool = False,
    keep: bool = True,
) -> Evaluation:
    """Runs an evaluation and returns its typed results; the same run that `ray-eval run` makes.

    May be called again and again, in a notebook or a thread as well. The Ray that the first call starts is kept for the
    next one and ends with the program, or by `release()`. A Ray of the caller's own is used and left as it is.

    Args:
        config: a resolved configuration, a file, a name under `configs/`, or a mapping; None where the overrides say
            everything.
        overrides: `key=value` texts on top; none with a resolved configuration.
        policy: an object with `spec` and `infer_batch`, for instance around the network that is being trained; it is
            asked in this process, in another thread. The configuration then needs no policy.
        resume: the folder of a run to go on with, or its address in a store.
        progress: whether it is said on the terminal what is done.
        keep: whether the Ray that is started here stays for the next call.

    Raises:
        ConfigError: the configuration cannot be run as written.
        SetupError: the machine, an installation or a checkpoint cannot run it.
        LedgerError: the run's folder cannot be read or written.
    """
    require_eval_extra()
    from ray_eval.config import is_url, user_path
    from ray_eval.driver.callers_policy import checked_policy
    from ray_eval.driver.kept import session_for
    from ray_eval.driver.run import run
    from ray_eval.report.terminal import output_console

    live = None if policy is None else checked_policy(policy)
    resolved = _resolved(config, overrides, live)
    is_address = isinstance(resume, str) and is_url(resume)
    folder = resume if resume is None or is_address else user_path(resume, "resume")
    if folder is not None and live is not None and live.spec.digest is None:
        raise ConfigError(
            "resume: expected a policy whose spec has a digest, by which it is known again, got an object without one; "
            "say it in its PolicySpec, or begin a new run"
        )
    console = output_console() if progress else None
    return run(resolved, resume=folder, console=console, opened=session_for(live, is_kept=keep))


def release() -> None:
    """Ends the Ray that `evaluate` has kept for its next call, with its workers."""
    if "ray_eval.driver.kept" in sys.modules:
        sys.modules["ray_eval.driver.kept"].release()


def _resolved(
    config: EvalConfig | str | Path | Mapping[str, Any] | None, overrides: Sequence[str], live: Policy | None
) -> EvalConfig:
    """The configuration, with the policy object's section where there is one."""
    from ray_eval.config import EvalConfig, load_config
    from ray_eval.sections import LivePolicySection

    if isinstance(config, EvalConfig):
        if overrides:
            raise ConfigError("evaluate: expected no overrides beside a resolved configuration; load_config takes them")
        resolved = config
    else:
        # Before a text is taken apart into letters.
        words = [overrides] if isinstance(overrides, str) else list(overrides)
        resolved = load_config(config, words if live is None else [*words, "policy=live"])
    return resolved if live is None else dataclasses.replace(resolved, policy=LivePolicySection(live.spec.name))
