"""`ray-eval doctor`: whether this machine can evaluate, and what to mend where it cannot.

What a run looks at before it starts is looked at here, by the same functions. At last a run is rehearsed, by the code
of runs: Ray, policy actor, worker, simulator and one image, as this user and in this place.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.text import Text

from ray_eval.config import EvalConfig, load_config
from ray_eval.driver.simulators import simulator_named, simulator_of, versions_of
from ray_eval.envs.gl import choose_backend, probe
from ray_eval.envs.registry import simulator_names
from ray_eval.errors import RayEvalError, SetupError, require_eval_extra
from ray_eval.foreign import told_with_traceback
from ray_eval.report.progress import ProgressView
from ray_eval.scratch import scratch_folder
from ray_eval.types import Outcome

Verdict = Literal["ok", "unused", "warning", "failure"]
_STYLES = {"ok": "green", "unused": "dim", "warning": "yellow", "failure": "bold red"}
SUITE = "suite=libero_object"
"""The suite of the rehearsed run unless words name a simulator."""
REHEARSAL = (
    "policy=noop",
    "tasks=[0]",
    "init_states=[0]",
    "protocol.max_steps=1",
    "workers=1",
    "ray.dashboard=false",
)
"""The rest of the run that is rehearsed: whatever ends it at its start ends any other."""


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


Check = Callable[[EvalConfig], Iterator[Finding]]
"""Looks at one thing, for a run of a configuration."""


def examine(console: Console, words: Sequence[str] = ()) -> int:
    """Prints every finding; 1 if one of them is a failure, else 0.

    Args:
        console: Where.
        words: `suite=NAME` or `simulator=NAME`, and keys of that simulator, where it is not LIBERO that is looked at.

    Raises:
        ConfigError: the words name no simulator.
    """
    config = load_config(None, [*(words or (SUITE,)), *REHEARSAL])
    findings: list[Finding] = []
    for check in CHECKS:
        found = list(_guarded(check, config))
        findings += found
        for finding in found:
            verdict = (f"{finding.verdict:>8}", _STYLES[finding.verdict])
            console.print(Text.assemble(verdict, f"  {finding.what}: {finding.detail}"), soft_wrap=True)
        if any(finding.verdict == "failure" for finding in found) and check in (_installation, _folders):
            # Without these the other checks would say the same in other words.
            break
    else:
        findings.append(_show_rehearsal(console, config, findings))
    _print_remedies(console, [finding for finding in findings if finding.remedy])
    return int(any(finding.verdict == "failure" for finding in findings))


def _guarded(check: Check, config: EvalConfig) -> Iterator[Finding]:
    what = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(config)
    except Exception as error:  # noqa: BLE001 - what nobody foresaw is a finding too
        yield failure(NAMES.get(what, what), error)


def failure(what: str, error: Exception) -> Finding:
    """The finding that an exception is; of ours, what stands behind the last semicolon is the remedy."""
    if not isinstance(error, RayEvalError):
        return Finding(
            what, "failure", told_with_traceback(error), "make setup in a checkout; then ray-eval doctor again"
        )
    detail, _, remedy = str(error).rpartition("; ")
    return Finding(what, "failure", detail or remedy, remedy)


def _print_remedies(console: Console, findings: list[Finding]) -> None:
    if not findings:
        console.print("nothing to mend", style="green")
        return
    console.print("to mend:")
    for finding in findings:
        # In one line, however long, so that a command can be taken as it stands.
        line = Text.assemble((f"  {finding.what}: ", _STYLES[finding.verdict]), finding.remedy)
        console.print(line, soft_wrap=True)


def _python(_config: EvalConfig) -> Iterator[Finding]:
    yield Finding("Python", "ok", f"{platform.python_version()}, {sys.executable}")


def _installation(_config: EvalConfig) -> Iterator[Finding]:
    require_eval_extra()
    yield Finding("installation", "ok", f"ray-eval {importlib.metadata.version('ray-eval')} with the evaluator")


def _folders(_config: EvalConfig) -> Iterator[Finding]:
    from ray_eval.driver.readiness import folders

    yield Finding("folders", "ok", folders())


def _versions(config: EvalConfig) -> Iterator[Finding]:
    simulator = simulator_of(config)
    simulator.check()
    warning = simulator.version_warning()
    if warning:
        *lines, remedy = warning.splitlines()
        yield Finding(NAMES["versions"], "warning", "; ".join(lines), remedy.removeprefix("Remedy: "))
    else:
        there = versions_of(config)
        detail = ", ".join(f"{name} {there[name]}" for name in simulator.distributions if name in there)
        yield Finding(NAMES["versions"], "ok", detail)


def _simulator(config: EvalConfig) -> Iterator[Finding]:
    simulator, suite = simulator_of(config), config.suite[0]
    name = "LIBERO" if simulator.name == "libero" else f"simulator {simulator.name}"
    states = simulator.start_state_count(suite, 0)
    yield Finding(name, "ok", f"{len(simulator.suites())} suites; {suite} task 0 has {states} start states")


def _others(config: EvalConfig) -> Iterator[Finding]:
    """The other simulators: none of them need be here."""
    for name in simulator_names():
        if name in ("fake", simulator_of(config).name):
            continue
        try:
            simulator = simulator_named(name)
            simulator.check()
            suites = simulator.suites()
        except RayEvalError as error:
            yield Finding(f"simulator {name}", "unused", f"needed only for its own suites; {error}")
        else:
            warning = simulator.version_warning()
            verdict: Verdict = "warning" if warning else "ok"
            yield Finding(f"simulator {name}", verdict, warning or f"{len(suites)} suites: {', '.join(suites)}")


def _gl(config: EvalConfig) -> Iterator[Finding]:
    if simulator_of(config).gl is None:
        yield Finding(NAMES["gl"], "unused", f"{simulator_of(config).name} draws without")
        return
    python = config.simulator.python
    chosen = choose_backend("auto", python=python)
    yield Finding(NAMES["gl"], "ok", f"{chosen.backend}: {chosen.renderer}")
    for backend in ("egl", "osmesa"):
        if backend != chosen.backend:
            yield from _other_backend(backend, python)


def _other_backend(backend: Literal["egl", "osmesa"], python: str | None) -> Iterator[Finding]:
    try:
        found = probe(backend, python=python)
    except RayEvalError as error:
        yield Finding(f"GL by {backend}", "unused", f"not usable, and not needed ({error})")
    else:
        yield Finding(f"GL by {backend}", "ok", f"also renders: {found.renderer}")


def _gpu(_config: EvalConfig) -> Iterator[Finding]:
    if shutil.which("nvidia-smi") is None:
        yield Finding("GPU", "ok", "none; policies run on the CPU")
        return
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    names = "; ".join(found.stdout.strip().splitlines()) or "nvidia-smi finds none"
    yield Finding("GPU", "ok" if found.returncode == 0 else "warning", names)
    if importlib.util.find_spec("torch") is None:
        yield Finding("torch", "ok", "not installed; scripted policies and remote servers do without")


def _memory(_config: EvalConfig) -> Iterator[Finding]:
    from ray_eval.driver.readiness import memory, memory_warning

    warning = memory_warning()
    if warning is None:
        yield Finding("memory", "ok", memory())
    else:
        yield Finding("memory", "warning", memory(), warning.rpartition("; ")[2])


def _shared_memory(_config: EvalConfig) -> Iterator[Finding]:
    from ray_eval.driver.readiness import shared_memory

    yield Finding("shared memory", "ok", shared_memory())


def _show_rehearsal(console: Console, config: EvalConfig, before: list[Finding]) -> Finding:
    if any(finding.verdict == "failure" for finding in before):
        return Finding(NAMES["rehearsal"], "warning", "not tried", "mend the above, then ray-eval doctor again")
    with console.status("rehearsing a run") if console.is_terminal else contextlib.nullcontext():
        finding = next(_guarded(_rehearsal, config))
    verdict = (f"{finding.verdict:>8}", _STYLES[finding.verdict])
    console.print(Text.assemble(verdict, f"  {finding.what}: {finding.detail}"), soft_wrap=True)
    return finding


def _rehearsal(config: EvalConfig) -> Iterator[Finding]:
    from ray_eval.driver.folder import RunFolder
    from ray_eval.driver.part import Part
    from ray_eval.driver.plan import plan_of
    from ray_eval.driver.session import open_session

    with scratch_folder() as scratch, contextlib.ExitStack() as stack:
        folder = stack.enter_context(contextlib.closing(RunFolder(scratch / "run", is_resume=False)))
        part = Part(config, plan_of(config), folder)
        with open_session(config, 1, ProgressView(Console(quiet=True))) as session:
            session.execute([part])
            session.check_rendering()
        (result,) = part.evaluation(is_interrupted=False).results
    if result.outcome is Outcome.ERROR:
        raise SetupError(f"rehearsal of {result.spec.episode_id}: expected an episode, got {result.error}")
    detail = (
        f"Ray {importlib.metadata.version('ray')}, a policy actor and a worker started; {result.spec.episode_id} ran"
    )
    yield Finding(NAMES["rehearsal"], "ok", f"{detail} and was drawn")


NAMES = {
    "versions": "versions that change numbers",
    "gl": "GL renders",
    "simulator": "simulator",
    "others": "other simulators",
    "rehearsal": "a rehearsed run",
}
"""What checks are called where their functions' names do not say it well."""
CHECKS: tuple[Check, ...] = (
    _python,
    _installation,
    _folders,
    _versions,
    _simulator,
    _others,
    _memory,
    _shared_memory,
    _gpu,
    _gl,
)
"""Every check, in the order shown; a rehearsed run comes behind them."""
