"""A policy that looks back one step and writes down what it was sent."""

from pathlib import Path

import numpy as np

from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, ActionChunk, PolicySpec


class Noting:
    """Moves at random by each request's seed; a line per observation in `path`."""

    spec = PolicySpec("noting", keys=(IMAGE, WRIST_IMAGE, STATE), chunk_len=8, n_obs_steps=2)

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def infer_batch(self, observations):
        with self._path.open("a") as file:
            for o in observations:
                images = {key: o.arrays[key].shape[0] for key in (IMAGE, WRIST_IMAGE)}
                assert images == {IMAGE: 2, WRIST_IMAGE: 2}
                file.write(f"{o.suite} {o.task_id} {o.init_state_id} {o.repeat} {o.step}\n")
        draws = [np.random.default_rng(o.noise_seed).uniform(-1, 1, (8, 7)) for o in observations]
        return [ActionChunk(draw.astype(np.float32)) for draw in draws]
