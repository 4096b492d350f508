"""LeRobot's own code, in the environment that scripts/install_lerobot.sh makes. Without it these tests fail: they are
the proof that its policies are evaluated as it would evaluate them, and a proof that did not run is none."""

import pytest
from lerobot_environment import PYTHON, run_in_lerobot


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
