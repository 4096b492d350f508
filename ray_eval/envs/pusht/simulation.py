"""gym-pusht's own environment, drawing nothing by itself, and the drawing of what it recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gym_pusht.envs.pusht as package
import numpy as np
import pymunk

from ray_eval.envs.pusht.coverage import Point, coverage
from ray_eval.types import Array, FloatArray, StepResult

Stroke = tuple[str, tuple[Any, ...]]
"""A method of pymunk's drawing options, and what it was called with."""

CONTROL_STEP_S: Final = 0.1
"""Time per control step: 10 Hz, in ten substeps."""


class Simulation:
    """The environment of gym-pusht.

    Its states repeat bit for bit; its coverage and reward do not, so that both are computed here (see `coverage`).
    Nothing is drawn; of a step whose strokes are kept, an image can be drawn later.
    """

    def __init__(self) -> None:
        self._env = _Environment(obs_type="state", render_mode="rgb_array")
        self._steps = 0

    def reset(self, seed: int) -> None:
        """The start that the package draws from the seed."""
        self._env._last_action = None  # noqa: SLF001 -- the package leaves the last episode's cross in its video
        self._env.reset(seed=seed)
        self._steps = 0

    def step(self, action: FloatArray) -> StepResult:
        """One control step towards the (2,) position in px; not limited to the arena."""
        _, reward, _, _, info = self._env.step(action)
        self._steps += 1
        return StepResult(float(reward), is_success=bool(info["is_success"]))

    @property
    def agent(self) -> FloatArray:
        """(2,) position of the agent, px."""
        return np.array(self._env.agent.position)

    def keypoints(self) -> FloatArray:
        """(16,) x and y of the block's eight corners as gym-pusht delivers them, px."""
        env = self._env
        found: FloatArray = env.get_keypoints(env._block_shapes).flatten()  # noqa: SLF001 -- the package's own observation
        return found

    def state(self) -> FloatArray:
        """[time, agent (x, y, vx, vy), block (x, y, angle, vx, vy, angular velocity)] as float64, a copy."""
        agent, block = self._env.agent, self._env.block
        moving = (*block.position, block.angle, *block.velocity, block.angular_velocity)
        return np.array([self._steps * CONTROL_STEP_S, *agent.position, *agent.velocity, *moving], dtype=np.float64)

    def strokes(self) -> tuple[Stroke, ...]:
        """What gym-pusht would draw of the present step, contacts included; 0.15 ms."""
        recorder = _Recorder()
        self._env.space.debug_draw(recorder)
        return tuple(recorder.strokes)


class Drawing:
    """Draws recorded strokes with gym-pusht's own code, over its goal."""

    def __init__(self) -> None:
        self._board = _Environment(obs_type="state", render_mode="rgb_array")
        self._board.reset(seed=0)

    def image(self, strokes: tuple[Stroke, ...], size_px: int, action: FloatArray | None = None) -> Array:
        """A (size_px, size_px, 3) RGB image.

        Args:
            strokes: Of one step.
            size_px: Height and width.
            action: Marked with a cross, as gym-pusht's video has it; None for none.
        """
        board = self._board
        board.space, board._last_action = _Replay(strokes), action  # noqa: SLF001 -- here and below
        screen = board._draw()  # noqa: SLF001
        image: Array = board._get_img(screen, size_px, size_px, render_action=action is not None)  # noqa: SLF001
        return image


class _Environment(package.PushTEnv):  # type: ignore[misc]
    """gym-pusht's environment with our coverage in the place of its own."""

    def _get_coverage(self) -> float:
        goal = self.get_goal_pose_body(self.goal_pose)
        shapes = self._block_shapes  # `block.shapes` is a set, whose order depends on where the shapes lie in memory
        return coverage(_parts(self.block.local_to_world, shapes), _parts(goal.local_to_world, shapes))


class _Recorder(pymunk.SpaceDebugDrawOptions):  # type: ignore[misc]
    """Keeps what it is told to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.strokes: list[Stroke] = []

    def draw_circle(self, *arguments: Any) -> None:
        self.strokes.append(("draw_circle", arguments))

    def draw_segment(self, *arguments: Any) -> None:
        self.strokes.append(("draw_segment", arguments))

    def draw_fat_segment(self, *arguments: Any) -> None:
        self.strokes.append(("draw_fat_segment", arguments))

    def draw_polygon(self, *arguments: Any) -> None:
        self.strokes.append(("draw_polygon", arguments))

    def draw_dot(self, *arguments: Any) -> None:
        self.strokes.append(("draw_dot", arguments))


class _Replay:
    """What gym-pusht takes for a space when it draws."""

    def __init__(self, strokes: tuple[Stroke, ...]) -> None:
        self._strokes = strokes

    def debug_draw(self, options: Any) -> None:
        for method, arguments in self._strokes:
            getattr(options, method)(*arguments)


def _parts(to_world: Callable[[Any], Any], shapes: Any) -> list[list[Point]]:
    return [[tuple(to_world(corner)) for corner in shape.get_vertices()] for shape in shapes]
