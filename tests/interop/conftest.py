"""LeRobot's own code, in the environments that scripts/install_lerobot.sh and install_lerobot06.sh make. Without them
these tests fail: they are the proof that its policies are evaluated as it would evaluate them, and a proof that did not
run is none."""

import pytest
from lerobot_environment import PYTHON, PYTHON_06, run_in_lerobot


@pytest.fixture(scope="session")
def lerobot_python():
    if not PYTHON.exists():
        pytest.fail(
            f"expected LeRobot's environment at {PYTHON}, found none; type `make lerobot`, or set"
            " RAY_EVAL_LEROBOT_PYTHON to an interpreter that has LeRobot"
        )
    return PYTHON


@pytest.fixture(scope="session")
def checkpoints(lerobot_python, tmp_path_factory):
    """Folder of tiny checkpoints with random weights, saved by LeRobot itself."""
    folder = tmp_path_factory.mktemp("checkpoints")
    run_in_lerobot("make_checkpoints.py", folder)
    return folder


@pytest.fixture(scope="session")
def lerobot06_python():
    if not PYTHON_06.exists():
        pytest.fail(
            f"expected LeRobot 0.6's environment at {PYTHON_06}, found none; type `make lerobot`, or set"
            " RAY_EVAL_LEROBOT06_PYTHON to an interpreter that has LeRobot 0.6"
        )
    return PYTHON_06
