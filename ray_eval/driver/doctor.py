"""`ray-eval doctor`: whether this machine can evaluate, and what to mend where it cannot."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ray_eval.driver.simulators import simulator_named
from ray_eval.envs.gl import choose_backend, probe
from ray_eval.envs.registry import simulator_names
from ray_eval.errors import RayEvalError, SetupError, require_eval_extra

Verdict = Literal["ok", "warning", "failure"]
_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}
_RAY_TIMEOUT_S = 90
_RAY_CHECK = """
import ray
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
         object_store_memory=100 * 1024**2, _node_ip_address="127.0.0.1")
assert ray.get(ray.remote(lambda: 1).remote()) == 1
ray.shutdown()
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination."""

    what: str
    """What was looked at."""
    verdict: Verdict
    """How it stands."""
    detail: str
    """What was found."""
    remedy: str = ""
    """What to do about it; empty where nothing is to be done."""


def examine(console: Console) -> int:
    """Prints every finding; 1 if one of them is a failure, else 0."""
    findings: list[Finding] = []
    # Without the evaluator's packages the other checks would say the same in other words.
    checks = CHECKS if all(finding.verdict == "ok" for finding in _installation()) else (_python, _installation)
    for check in checks:
        for finding in _guarded(check):
            findings.append(finding)
            verdict = (f"{finding.verdict:>8}", _STYLES[finding.verdict])
            console.print(Text.assemble(verdict, f"  {finding.what}: {finding.detail}"), soft_wrap=True)
    _print_remedies(console, [finding for finding in findings if finding.remedy])
    return int(any(finding.verdict == "failure" for finding in findings))


def _guarded(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from check()
    except (RayEvalError, OSError, ImportError, subprocess.SubprocessError) as error:
        what = check.__name__.strip("_").replace("_", " ")
        yield Finding(what, "failure", str(error), "make setup; then ray-eval doctor again")


def _print_remedies(console: Console, findings: list[Finding]) -> None:
    if not findings:
        console.print("nothing to mend", style="green")
        return
    table = Table("what", "remedy", title="to mend", title_justify="left")
    for finding in findings:
        table.add_row(finding.what, Text(finding.remedy), style=_STYLES[finding.verdict])
    console.print(table)


def _python() -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def _installation() -> Iterator[Finding]:
    try:
        require_eval_extra()
    except SetupError as error:
        detail = str(error).removeprefix("installation: ")
        yield Finding("installation", "failure", detail, "pip install 'ray-eval[eval]', or make setup in a checkout")
    else:
        yield Finding("installation", "ok", f"ray-eval {importlib.metadata.version('ray-eval')} with the evaluator")


def _versions() -> Iterator[Finding]:
    warning = simulator_named("libero").version_warning()
    detail = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("mujoco", "robosuite"))
    if warning:
        yield Finding("versions that change numbers", "warning", warning, "make setup installs the pinned versions")
    else:
        yield Finding("versions that change numbers", "ok", detail)


def _libero() -> Iterator[Finding]:
    libero = simulator_named("libero")
    states = libero.start_state_count("libero_object", 0)
    yield Finding("LIBERO", "ok", f"{len(libero.suites())} suites; libero_object task 0 has {states} init states")


def _simulators() -> Iterator[Finding]:
    """The other simulators: none of them need be here."""
    for name in simulator_names():
        if name in ("libero", "fake"):
            continue
        try:
            simulator = simulator_named(name)
            simulator.check()
            suites = simulator.suites()
        except RayEvalError as error:
            yield Finding(f"simulator {name}", "ok", f"not usable here, and needed only for its own suites ({error})")
        else:
            warning = simulator.version_warning()
            verdict: Verdict = "warning" if warning else "ok"
            yield Finding(f"simulator {name}", verdict, warning or f"{len(suites)} suites: {', '.join(suites)}")


def _gl() -> Iterator[Finding]:
    try:
        chosen = choose_backend("auto")
    except SetupError as error:
        *reasons, remedy = str(error).splitlines()
        yield Finding("GL renders", "failure", "; ".join(reasons), f"make setup, or: {remedy.rpartition(': ')[2]}")
        return
    yield Finding("GL renders", "ok", f"{chosen.backend}: {chosen.renderer}")
    for backend in ("egl", "osmesa"):
        if backend != chosen.backend:
            yield from _other_backend(backend)


def _other_backend(backend: Literal["egl", "osmesa"]) -> Iterator[Finding]:
    try:
        found = probe(backend)
    except RayEvalError as error:
        first_line = str(error).splitlines()[0]
        yield Finding(f"GL by {backend}", "ok", f"not usable, and not needed ({first_line})")
    else:
        yield Finding(f"GL by {backend}", "ok", f"also renders: {found.renderer}")


def _ray() -> Iterator[Finding]:
    command = [sys.executable, "-c", _RAY_CHECK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RAY_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("Ray starts", "failure", f"no answer in {_RAY_TIMEOUT_S} s", "see /tmp/ray/session_latest/logs")
        return
    if done.returncode:
        last_line = done.stderr.strip().splitlines()[-1]
        yield Finding("Ray starts", "failure", last_line, "see /tmp/ray/session_latest/logs")
    else:
        yield Finding("Ray starts", "ok", f"ray {importlib.metadata.version('ray')}, one task came back")


def _gpu() -> Iterator[Finding]:
    if shutil.which("nvidia-smi") is None:
        yield Finding("GPU", "ok", "none; policies run on the CPU")
        return
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    names = "; ".join(found.stdout.strip().splitlines()) or "nvidia-smi finds none"
    yield Finding("GPU", "ok" if found.returncode == 0 else "warning", names)
    if importlib.util.find_spec("torch") is None:
        yield Finding("torch", "ok", "not installed; scripted policies and remote servers do without")


def _memory() -> Iterator[Finding]:
    from ray_eval.driver.cluster import WORKER_MEMORY_BYTES, auto_workers
    from ray_eval.driver.limits import cpu_limit, memory_limit

    cpus, memory = cpu_limit(), memory_limit()
    free = memory.available_bytes
    workers = auto_workers(cpus.count, free, 0)
    found = f"{free / 1e9:.1f} GB free by {memory.source}, {cpus.count} CPUs by {cpus.source}"
    detail = f"{found}: workers=auto starts {workers}"
    if free < WORKER_MEMORY_BYTES:
        remedy = f"free memory: one LIBERO simulator takes up to {WORKER_MEMORY_BYTES / 1e9:.1f} GB"
        yield Finding("memory", "failure", detail, remedy)
    else:
        yield Finding("memory", "ok", detail)


def _shared_memory() -> Iterator[Finding]:
    from ray_eval.driver.cluster import SMALLEST_OBJECT_STORE_BYTES

    free = shutil.disk_usage("/dev/shm").free  # noqa: S108 - where Ray keeps its objects
    detail = f"{free / 1024**2:.0f} MB free in /dev/shm"
    if free * 0.9 < SMALLEST_OBJECT_STORE_BYTES:
        yield Finding("shared memory", "failure", detail, "start the container with --shm-size=1g, or free some")
    else:
        yield Finding("shared memory", "ok", detail)


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _installation,
    _versions,
    _libero,
    _simulators,
    _memory,
    _shared_memory,
    _gpu,
    _gl,
    _ray,
)
"""Every check, in the order shown."""
