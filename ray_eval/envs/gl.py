"""How a worker renders without a display: its environment variables, and a proof that the renderer works.

`python -m ray_eval.envs.gl` is the proof's subprocess: it draws one small image and prints a JSON line.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import dataclasses
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ray_eval import interpreters
from ray_eval.envs.arithmetic import arithmetic_environment
from ray_eval.errors import SetupError
from ray_eval.foreign import first_line
from ray_eval.scratch import scratch_folder
from ray_eval.sections import GlBackend

Backend = Literal["egl", "osmesa"]

APT_COMMANDS: Final[dict[Backend, str]] = {
    "egl": "apt-get install -y libegl1 libgl1-mesa-dri libgl1 libglib2.0-0",
    "osmesa": "apt-get install -y libosmesa6 libgl1 libglib2.0-0",
}
"""What a bare Debian or Ubuntu lacks; libgl1 and libglib2.0-0 are for OpenCV, which robosuite imports."""

_LIBRARIES: Final[dict[Backend, str]] = {"egl": "EGL", "osmesa": "OSMesa"}
OVERRIDES: Final = ("MESA_", "GALLIUM_", "LIBGL_", "EGL_", "__EGL_", "__GLX_")
"""Begin the names of environment variables by which a user has Mesa and GLVND do otherwise than by themselves."""

MOST_PROCESSES: Final = 16
"""Processes of one probe at most; 0.7 s of CPU each, and what hangs with more workers hangs with these."""

_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_SCENE: Final = """
<mujoco>
  <worldbody>
    <light pos="0 0 3"/>
    <camera name="top" pos="0 -1 1" xyaxes="1 0 0 0 .7 .7"/>
    <geom type="plane" size="1 1 .1" rgba=".2 .3 .4 1"/>
    <geom type="sphere" size=".2" pos="0 0 .2" rgba=".9 .4 .1 1"/>
  </worldbody>
</mujoco>
"""


@dataclass(frozen=True, slots=True)
class GlProbe:
    """What a renderer that works has shown."""

    backend: Backend
    """The backend that was asked for."""
    renderer: str
    """OpenGL's renderer string, for instance `llvmpipe (LLVM 15.0.6, 256 bits)`."""
    pixels_sha256: str
    """SHA-256 of the drawn image."""
    wall_s: float
    """Time until the last process had answered."""
    passed_over: tuple[str, ...] = ()
    """Why the backends that would have been preferred do not render."""
    files: tuple[str, ...] = ()
    """What the first process had loaded: libraries, drivers and modules."""


def gl_environment(backend: Backend, egl_device_id: int = 0, render_threads: int = 0) -> dict[str, str]:
    """The environment variables of a worker with one core, to be set before anything is imported.

    No CUDA device is visible, because EGL and CUDA in one process abort; then robosuite must be told its EGL
    device, as it fails on an empty `CUDA_VISIBLE_DEVICES`. With `render_threads` 0 llvmpipe draws in the calling
    thread. What else the variables fix is said in `arithmetic_environment`.
    """
    return {
        "MUJOCO_GL": backend,
        "PYOPENGL_PLATFORM": backend,
        "CUDA_VISIBLE_DEVICES": "",
        "MUJOCO_EGL_DEVICE_ID": str(egl_device_id),
        "LP_NUM_THREADS": str(render_threads),
        **dict.fromkeys(_THREAD_VARIABLES, "1"),
        **arithmetic_environment(),
    }


def probe(
    backend: Backend,
    processes: int = 1,
    timeout_s: float = 60.0,
    egl_device_id: int = 0,
    python: str | None = None,
) -> GlProbe:
    """Renders one small image in each of several processes at once.

    Several at once because EGL on some GPUs hangs only then (mujoco#3444); at most `MOST_PROCESSES`.

    Raises:
        SetupError: a process failed, did not answer in time, or drew another image than the others.
    """
    variables = gl_environment(backend, egl_device_id)
    started = time.monotonic()
    with scratch_folder() as folder:
        other = {} if python is None else interpreters.environment(Path(folder))
        command = [python or sys.executable, "-m", __spec__.name]
        running = [_start(command, {**os.environ, **other, **variables}) for _ in range(min(processes, MOST_PROCESSES))]
        try:
            answers = [_answer(process, backend, started + timeout_s) for process in running]
        finally:
            for process in running:
                _kill(process)
    drawn = [(answer["renderer"], answer["pixels_sha256"]) for answer in answers]
    if any(image != drawn[0] for image in drawn):
        raise SetupError(f"GL backend {backend}: expected the same image from {len(drawn)} processes, got {drawn}")
    renderer, pixels_sha256 = drawn[0]
    return GlProbe(backend, renderer, pixels_sha256, time.monotonic() - started, files=tuple(answers[0]["files"]))


def choose_backend(
    wanted: GlBackend,
    processes: int = 1,
    timeout_s: float = 60.0,
    egl_device_id: int = 0,
    python: str | None = None,
) -> GlProbe:
    """The first backend that renders: the wanted one, or EGL before OSMesa where that is `auto`.

    Both draw the same pixels at the same speed on a machine without GPU; EGL also knows GPUs.

    Raises:
        SetupError: none renders.
    """
    backends: tuple[Backend, ...] = ("egl", "osmesa") if wanted == "auto" else (wanted,)
    failures: list[str] = []
    for backend in backends:
        try:
            found = probe(backend, processes, timeout_s, egl_device_id, python)
        except SetupError as error:
            failures.append(str(error))
        else:
            return dataclasses.replace(found, passed_over=tuple(failures))
    raise SetupError("; ".join([*failures, _remedy("osmesa" if wanted == "auto" else backends[0], backends)]))


def _remedy(easiest: Backend, tried: Sequence[Backend]) -> str:
    """What makes one of them render: to leave Mesa alone where its libraries are there, else to install them."""
    overrides = sorted(name for name in os.environ if name.startswith(OVERRIDES))
    if overrides and all(ctypes.util.find_library(_LIBRARIES[backend]) for backend in tried):
        return f"unset {' '.join(overrides)}"
    return f"on Debian or Ubuntu: {APT_COMMANDS[easiest]}"


def _start(command: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _answer(process: subprocess.Popen[str], backend: Backend, deadline: float) -> dict[str, Any]:
    """Renderer string, pixel hash and loaded files of one process."""
    try:
        out, err = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise SetupError(f"GL backend {backend}: expected an image, got none in time; it hangs here") from error
    if process.returncode != 0:
        # Its own words, if it had any: behind them come those of what it leaves in ruins.
        words = out.strip() or err.strip()
        reason = words.splitlines()[-1] if words else f"exit code {process.returncode}"
        raise SetupError(f"GL backend {backend}: expected an image, got {reason}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def _kill(process: subprocess.Popen[str]) -> None:
    """Ends the process group, if it is still there, and reaps its leader."""
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _draw() -> dict[str, Any]:
    """The renderer's name, the hash of one image drawn by it, and the files behind both."""
    import mujoco
    from OpenGL import GL  # type: ignore[import-untyped]

    with contextlib.suppress(ModuleNotFoundError):
        # Where it is, robosuite imports it, and it wants shared libraries of its own.
        importlib.import_module("cv2")
    model = mujoco.MjModel.from_xml_string(_SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 64, 64) as renderer:
        renderer.update_scene(data, camera="top")
        pixels = renderer.render()
        name = GL.glGetString(GL.GL_RENDERER).decode()
        files = loaded_files()
    return {"renderer": name, "pixels_sha256": hashlib.sha256(pixels.tobytes()).hexdigest(), "files": files}


def loaded_files() -> list[str]:
    """Libraries that this process has mapped, and the files of its modules."""
    mapped = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    modules = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    return sorted(path for path in mapped | modules if path.startswith("/") and Path(path).is_file())


def _main() -> None:
    try:
        answer = json.dumps(_draw())
    except Exception as error:  # noqa: BLE001 - whatever a renderer raises is why it does not render
        answer = f"{type(error).__name__}: {first_line(error)}"
        print(answer, flush=True)
        # Without what the renderer's half-made objects would say of their own end.
        os._exit(1)
    print(answer, flush=True)


if __name__ == "__main__":
    _main()
