"""An env that plays recorded observations and notes the actions; and one that records those of another."""

import numpy as np

from ray_eval.envs.history import FrameHistory
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, StepResult

TASK = "put the wine bottle on top of the cabinet"
NAMES = {IMAGE: "image", WRIST_IMAGE: "image2", STATE: "state"}


def drifting(seed, length, size_px):
    """A recording of LIBERO's shapes: two camera images and a state, each step a little different from the last."""
    generator = np.random.Generator(np.random.Philox(seed))
    shape = (length, size_px, size_px, 3)
    base = generator.integers(0, 200, (2, *shape[1:]))
    drift = generator.integers(0, 56, (2, *shape))
    centre = np.array([-0.05, 0.03, 0.76, 2.97, -0.22, -0.13, 0.03, -0.03])
    state = centre + np.cumsum(generator.normal(0, 0.02, (length, 8)), axis=0)
    images = (base[:, None] + drift).astype(np.uint8)
    return {"image": images[0], "image2": images[1], "state": state.astype(np.float32)}


class RecordedEnv:
    """Plays a recording, whatever it is told to do."""

    task, instruction, environment_names, render_count = "recorded", TASK, (), 0

    def __init__(self, recording, spec):
        self.recording = recording
        self.history = FrameHistory(spec.keys, spec.n_obs_steps, lambda step, key: recording[NAMES[key]][step])
        self.actions = []

    def reset(self, episode):
        self.history.clear()
        self.history.append(0)

    def observe(self):
        return self.history.observe()

    def native_action(self, action):
        return np.asarray(action, np.float64)

    def noop_action(self):
        return np.zeros(7)

    def step(self, action):
        self.actions.append(action)
        self.history.append(min(len(self.actions), len(self.recording["state"]) - 1))
        return StepResult(0.0, is_success=False)

    def simulator_state(self):
        return np.zeros(3)

    def picture(self):
        return self.recording["image"][0]

    def close(self):
        pass


class RecordingEnv:
    """Another env, with the frame before each of its steps kept."""

    def __init__(self, env, n_obs_steps, keys=tuple(NAMES)):
        self.env = env
        self.n_obs_steps = n_obs_steps
        self.keys = keys
        self.frames, self.actions = [], []

    def __getattr__(self, name):
        return getattr(self.env, name)

    def step(self, action):
        present = {key: value for key, value in self.env.observe().items() if key in self.keys}
        self.frames.append({NAMES[k]: (v if self.n_obs_steps == 1 else v[-1]).copy() for k, v in present.items()})
        self.actions.append(action)
        return self.env.step(action)

    def recording(self):
        return {name: np.stack([frame[name] for frame in self.frames]) for name in self.frames[0]}
