"""Episodes as other evaluators run them: one environment per task, both cameras at every step, images preprocessed.

`python -m ray_eval.bench.reference_loop FOLDER SUITE/TASK/INIT_STATE ...` executes the recorded actions of FOLDER and
prints one line per finished episode. Source of the loop: openpi@15a9616 examples/libero/main.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ray_eval.bench.tasks import ENV_SEED
from ray_eval.envs.libero import suites
from ray_eval.envs.libero.preprocessing import image_steps, preprocess
from ray_eval.envs.libero.reference import PlainEpisode, PlainLibero, PlainStep, plain_state_vector, play
from ray_eval.sections import ImageRecipe

_RECIPE = ImageRecipe(render_size_px=256, resize="pad_bilinear", image_size_px=224)
_STEPS = image_steps(_RECIPE, is_rotated=True)


def run_all(folder: Path, names: Sequence[str]) -> None:
    """Runs the episodes in order; consecutive ones of a task share its environment."""
    plain, current = None, ""
    for name in names:
        task, _, init_state_id = name.rpartition("/")
        if plain is None or task != current:
            if plain is not None:
                plain.close()
            suite, _, task_id = task.rpartition("/")
            plain, current = PlainLibero(suite, int(task_id)), task
        _run(plain, folder, task, int(init_state_id))
        print(f"finished {name}", flush=True)


def _run(plain: PlainLibero, folder: Path, task: str, init_state_id: int) -> None:
    suite, _, task_id = task.rpartition("/")
    state = suites.init_states(suite, int(task_id))[init_state_id]
    actions = np.load(folder / task / f"{init_state_id}.npy")
    for step in play(plain, PlainEpisode(ENV_SEED, state, actions)):
        _look(step)


def _look(step: PlainStep) -> None:
    """What a policy would be given at this step."""
    for camera in ("agentview_image", "robot0_eye_in_hand_image"):
        preprocess(step.observation[camera], _STEPS)
    plain_state_vector(step.observation)


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), sys.argv[2:])
