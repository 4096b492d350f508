"""What a ledger's header says of the machines and versions behind a run; runs in the driver."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from ray_eval.driver.folder import utc_now
from ray_eval.errors import SetupError
from ray_eval.rollout.chunk_queue import load_aggregation
from ray_eval.sections import ObservationRecipe
from ray_eval.types import PolicySpec, is_image

GIT_TIMEOUT_S = 10


def environment_identity(
    workers: Sequence[Mapping[str, Any]], distributions: Sequence[str], renderer: str | None, spec: PolicySpec
) -> dict[str, Any]:
    """What changes results besides the configuration.

    Args:
        workers: what each worker says of itself.
        distributions: packages whose version changes numbers.
        renderer: OpenGL's name of the renderer; None where nothing is rendered for the policy.
        spec: the policy's.

    Raises:
        SetupError: the workers' machines do not agree.
    """
    versions = check_versions([worker["versions"] for worker in workers])
    relevant = {name: version for name, version in versions.items() if name in distributions}
    runtime = {f"policy_{name}": value for name, value in spec.runtime.items()}
    promise = {"is_reproducible": spec.is_reproducible}
    return {**relevant, "renderer": renderer, "policy_sha256": spec.digest, **promise, **runtime}


def preprocessing_identity(workers: Sequence[Mapping[str, Any]], recipe: ObservationRecipe) -> dict[str, Any]:
    """The version of Pillow, where it makes the pixels that a policy sees of those that are rendered.

    Args:
        workers: what each worker says of itself.
        recipe: how observations are made.
    """
    images = recipe.images
    uses_pillow = images.resize != "none" or images.jpeg_quality is not None or images.centre_crop_area is not None
    if not uses_pillow or not any(is_image(key) for key in recipe.keys):
        return {}
    return {"pillow": workers[0]["versions"].get("pillow")}


def aggregation_identity(name: str) -> dict[str, Any]:
    """SHA-256 of the file that a user's own aggregation is in, by its import string; nothing for one of ours.

    Raises:
        ConfigError: there is no such aggregation.
    """
    if ":" not in name:
        return {}
    try:
        source = inspect.getsourcefile(inspect.unwrap(load_aggregation(name)))
    except TypeError:  # of a built-in, or of an object that can be called
        source = inspect.getsourcefile(importlib.import_module(name.partition(":")[0]))
    return {"aggregate_sha256": hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None}


def check_versions(versions: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    """The versions that all workers have.

    Raises:
        SetupError: they differ.
    """
    for other in versions[1:]:
        if other != versions[0]:
            raise SetupError(f"workers: expected the same versions everywhere, got {versions[0]} and {other}")
    return versions[0]


def provenance(
    workers: Sequence[Mapping[str, Any]], policy: Mapping[str, Any], remarks: Sequence[str], warning: str | None
) -> dict[str, Any]:
    """What is good to know of a run and changes nothing.

    Args:
        workers: what each worker says of itself.
        policy: what the policy actor says of itself.
        remarks: what a reader of the results should know of the policy.
        warning: how the simulator's versions differ from those behind published numbers.
    """
    return {
        "started_at": utc_now(),
        "versions": workers[0]["versions"],
        "ray": ray.__version__,
        "commit": source_commit(Path(__file__).resolve().parents[2]),
        "machine": platform.machine(),
        "system": platform.platform(),
        "hosts": sorted({worker["host"] for worker in workers}),
        "workers": len(workers),
        "policy": dict(policy),
        "version_warning": warning,
        "remarks": list(remarks),
    }


def source_commit(tree: Path) -> str | None:
    """The commit of a checkout, with `+changes` behind it where files differ from it; None where it is none."""
    if not (tree / ".git").exists():
        return None
    try:
        commit = _git(tree, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(tree, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(tree: Path, *words: str) -> str:
    command = ["git", "-C", str(tree), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=True).stdout.strip()
