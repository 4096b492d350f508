"""What every test shares."""

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine outlasts any deadline of an example; what an example costs is nobody's claim.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Ray forks to start its processes. What gRPC does at a fork is for children that go on without another program, and may
# hang where a server of an earlier test is still putting itself away. Read when gRPC is first used.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


def _collect_quietly(process: subprocess.Popen) -> None:
    subprocess.Popen.__del__(process, _warn=lambda *_, **__: None)


# Serving and its tests need no Ray. Ray waits one second for a process that it killed and then drops the handle. On a
# busy machine that is too short, and the handle's collection would fail whichever test runs then. Processes of our own
# still have to be waited for.
if importlib.util.find_spec("ray"):
    from ray._private import services

    services.ConsolePopen.__del__ = _collect_quietly


@pytest.fixture(autouse=True, scope="module")
def _no_ray_for_the_next_module(request):
    """Ray is one for a process, and which module had it before depends on how files are dealt out."""
    yield
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        sys.modules["ray"].shutdown()
        pytest.fail(f"{request.module.__name__} leaves its Ray to the next module; end it there")


@functools.cache
def _simulator_python(name: str) -> Path:
    """The interpreter that `RAY_EVAL_<NAME>_PYTHON` names, else that of `.venv-<name>`, made by `ray-eval install`."""
    if given := os.environ.get(f"RAY_EVAL_{name.upper()}_PYTHON"):
        return Path(given)
    folder = Path(__file__).resolve().parents[1] / f".venv-{name}"
    if not (folder / ".installed").exists():
        command = [sys.executable, "-m", "ray_eval", "install", name, "--into", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / ".installed").touch()
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def simulator_python():
    """Gives a simulator's own interpreter by its name, None for one that lives in this one."""
    return lambda name: None if name == "pusht" else _simulator_python(name)
