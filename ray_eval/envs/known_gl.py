"""What the proof of the renderer has shown on this machine (see `remembered`).

A proof starts processes that import MuJoCo, 1 to 2 s of CPU each. A renderer on a GPU is proved each time.
"""

from __future__ import annotations

import contextlib
import dataclasses

from ray_eval.envs.gl import MOST_PROCESSES, Backend, GlProbe, gl_environment
from ray_eval.envs.remembered import SOFTWARE, forget, recall, remember
from ray_eval.sections import GlBackend

_KIND = "renderer"
_BACKENDS: tuple[Backend, ...] = ("egl", "osmesa")


def known_backend(wanted: GlBackend, processes: int, python: str | None = None) -> GlProbe | None:
    """What was found here before with at least as many processes; None where that must be found anew."""
    for backend in _BACKENDS:
        with contextlib.suppress(TypeError, KeyError):
            entry = recall(_KIND, _asked(wanted, python), gl_environment(backend))
            if entry and entry["probe"]["backend"] == backend and entry["processes"] >= min(processes, MOST_PROCESSES):
                return GlProbe(**{**entry["probe"], "passed_over": (), "files": ()})
    return None


def remember_backend(found: GlProbe, wanted: GlBackend, processes: int, python: str | None = None) -> None:
    """Keeps what `gl.choose_backend` has found on this machine, where it draws in software by the preferred backend."""
    if found.renderer.startswith(SOFTWARE) and not found.passed_over:
        probe = {**dataclasses.asdict(found), "files": None}
        value = {"probe": probe, "processes": min(processes, MOST_PROCESSES)}
        remember(_KIND, _asked(wanted, python), value, found.files, gl_environment(found.backend))


def forget_backends() -> None:
    """Has the next run prove the renderer anew, and what depends on it."""
    for kind in (_KIND, "canary", "background"):
        forget(kind)


def _asked(wanted: GlBackend, python: str | None) -> str:
    return f"{wanted}|{python}"
