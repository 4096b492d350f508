"""Episodes of another simulator's package in a plain loop: one environment per task, an image after each step.

`python -m ray_eval.bench.plain_loop SIMULATOR FOLDER SUITE/TASK/START_STATE ...` executes the recorded actions of
FOLDER in the simulator's own interpreter and prints one line per finished episode.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ray_eval.bench.tasks import ENV_SEED

SIMULATORS: Final = ("metaworld", "aloha", "pusht")
"""Simulators whose package has a plain loop here: the module `reference` in their folder."""


def run_all(simulator: str, folder: Path, names: Sequence[str]) -> None:
    """Runs the episodes in order; consecutive ones of a task share its environment."""
    warnings.simplefilter("ignore")  # the package's own
    make: Any = importlib.import_module(f"ray_eval.envs.{simulator}.reference").PlainTask
    for task, episodes in itertools.groupby(names, key=lambda name: name.rpartition("/")[0]):
        suite, _, task_id = task.rpartition("/")
        plain = make(suite, int(task_id), ENV_SEED)
        for name in episodes:
            start_state = name.rpartition("/")[2]
            plain.reset(int(start_state))
            any(plain.step(action) for action in np.load(folder / task / f"{start_state}.npy"))
            print(f"finished {name}", flush=True)
        plain.close()


if __name__ == "__main__":
    run_all(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
