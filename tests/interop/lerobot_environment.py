"""LeRobot's environment: where it is, and how a script of this folder runs in it."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("RAY_EVAL_LEROBOT_PYTHON", ROOT / ".venv-lerobot" / "bin" / "python"))
HERE = Path(__file__).parent


def lerobot_environment(path: str = "") -> dict[str, str]:
    """Variables of a process in LeRobot's environment: no hub, one thread, and `path` to import from."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**os.environ, **one_thread, "HF_HUB_OFFLINE": "1", "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}


def run_in_lerobot(script: str, *arguments: object, path: str = "") -> None:
    """Runs one of this folder's scripts in LeRobot's environment."""
    command = [PYTHON, "-P", HERE / script, *arguments]
    done = subprocess.run(
        [str(word) for word in command],
        env=lerobot_environment(path),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
