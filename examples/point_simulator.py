"""A simulator of one's own, in forty lines: a point on a table that is moved to a place."""

# ruff: noqa: D101, D102, ARG002 -- the names are those of `ray_eval.envs.plain`, which says what each does
import numpy as np

from ray_eval.envs.plain import PlainEnv, PlainSimulator
from ray_eval.types import IMAGE, ActionSpec, CameraSpec, EnvSpec, StepResult, VectorSpec


class PointEnv(PlainEnv):
    def begin(self, generator):
        self.steps, (self.at, self.to) = 0, generator.uniform(-1, 1, (2, 2))

    def move(self, action):
        self.steps, self.at = self.steps + 1, np.clip(self.at + 0.1 * action, -1, 1)
        is_there = bool(np.abs(self.at - self.to).max() < 0.05)
        return StepResult(float(is_there), is_there)

    def state(self):
        return np.array([self.steps, *self.at, *self.to], np.float64)

    def array(self, state, key):
        return state[1:]

    def image(self, state, key, size_px):
        image = np.zeros((size_px, size_px, 3), np.uint8)
        for channel, place in enumerate((state[1:3], state[3:5])):
            column, row = ((place + 1) / 2 * (size_px - 1)).astype(int)
            image[row, column, channel] = 255
        return image


class PointSimulator(PlainSimulator):
    name, env_type, instructions = "point", PointEnv, {"point": ("move the red point onto the green one",)}

    def spec(self, suite, task_id):
        return EnvSpec(
            simulator="point",
            cameras=(CameraSpec(IMAGE, "from above", 64, 64),),
            state=VectorSpec(("x", "y", "goal_x", "goal_y"), "m"),
            action=ActionSpec(("dx", "dy"), (-1.0, -1.0), (1.0, 1.0), "delta_position", is_clipped=False, noop="zeros"),
            control_hz=10,
            success="the point is within 5 cm of the place after a step",
            seeds="env_seed and start state: where the point begins and where it is to go",
            max_steps=60,
        )
