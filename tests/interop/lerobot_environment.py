"""LeRobot's environments: where they are, and how a script of this folder runs in one."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("RAY_EVAL_LEROBOT_PYTHON", ROOT / ".venv-lerobot" / "bin" / "python"))
PYTHON_06 = Path(os.environ.get("RAY_EVAL_LEROBOT06_PYTHON", ROOT / ".venv-lerobot06" / "bin" / "python"))
"""LeRobot 0.6's interpreter; `PYTHON` is 0.4's."""
HERE = Path(__file__).parent


def lerobot_environment(path: str = "") -> dict[str, str]:
    """Variables of a process in LeRobot's environment: no hub, one thread, this folder and `path` to import from."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {
        **os.environ,
        **one_thread,
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "plugins"), path]),
        "PYTHONWARNINGS": "ignore",
    }


def run_in_lerobot(script: str, *arguments: object, path: str = "", python: Path = PYTHON) -> None:
    """Runs one of this folder's scripts in one of LeRobot's environments."""
    command = [python, "-P", HERE / script, *arguments]
    done = subprocess.run(
        [str(word) for word in command],
        env=lerobot_environment(path),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
