"""What the doctor prints is done as it stands, in environments of their own: afterwards there is nothing to mend."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2]
RENDERING = {"__EGL_VENDOR_LIBRARY_FILENAMES": os.devnull, "GALLIUM_DRIVER": "none-such"}


def doctor(python: Path | str, **environment: str) -> subprocess.CompletedProcess:
    command = [python, "-m", "ray_eval", "doctor"]
    env = {**os.environ, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=900, check=False)


def remedies(said: str) -> dict[str, str]:
    """What is printed below `to mend:`, by what it is for."""
    _, _, mending = said.partition("to mend:\n")
    return {what.strip(): remedy for what, _, remedy in (line.partition(": ") for line in mending.splitlines())}


@pytest.mark.nightly
@pytest.mark.parametrize("version", ["4.0.0", "3.5.0"])
def test_another_mujoco_is_mended_by_what_is_printed(version, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "-c", PACKAGE / "constraints.txt", f"{PACKAGE}[eval]"], check=True)
    subprocess.run([*pip, f"mujoco=={version}"], check=True)
    first = doctor(python)
    remedy = remedies(first.stdout)["versions that change numbers"]
    activated = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", remedy], env=activated, check=True)
    second = doctor(python)
    assert second.returncode == 0, f"{first.stdout}\n{remedy}\n{second.stdout}\n{second.stderr}"
    assert "nothing to mend" in second.stdout


@pytest.mark.nightly
def test_a_renderer_that_was_led_astray_is_mended_by_what_is_printed():
    first = doctor(sys.executable, **RENDERING)
    assert first.returncode == 1, first.stdout + first.stderr
    remedy = remedies(first.stdout)["GL renders"]
    script = f"{remedy} && exec {sys.executable} -m ray_eval doctor"
    second = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, **RENDERING},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert second.returncode == 0, f"{remedy}\n{second.stdout}\n{second.stderr}"
    assert "nothing to mend" in second.stdout
