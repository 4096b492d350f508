"""A cheap deterministic env for tests: a point that a policy moves to a goal; pure NumPy, no rendering cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from ray_eval.envs import actions
from ray_eval.envs.history import FrameHistory
from ray_eval.envs.libero.settings import IMAGE_SIZE_PX, LiberoSettings, own_settings
from ray_eval.envs.libero.simulator import LiberoSimulator, osc_spec
from ray_eval.envs.start_states import FEWER, check_start_state
from ray_eval.envs.task_ids import check_task_id
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings
from ray_eval.types import (
    ENVIRONMENT_STATE,
    IMAGE,
    IMAGE_KEYS,
    STATE,
    Array,
    Canary,
    EnvSpec,
    EpisodeSpec,
    FloatArray,
    Origin,
    StepResult,
    TaskEntry,
)

FAKE_SUITE: Final = "fake"
"""Name of the suite; not listed."""
FAKE_TASK_COUNT: Final = 3
"""Tasks of the suite."""
FAKE_INIT_STATE_COUNT: Final = 5
"""Init states of each task."""

STEP_SIZE_M: Final = 0.05
"""How far an action component of 1 moves the point in one control step, in delta control."""
GOAL_RADIUS_M: Final = 0.02
"""How near the point must come to the goal."""
CONTROL_STEP_S: Final = 0.05
"""Time per control step: 20 Hz, like LIBERO."""
FINGER_M: Final = 0.04
"""Position of an open finger."""


@dataclass(frozen=True, slots=True, eq=False)
class _Moment:
    """The whole state of the fake world at one step."""

    time_s: float
    position: FloatArray
    velocity: FloatArray
    is_open: bool


class FakeSimulator:
    """The fake suite behind the Simulator seam; it has LIBERO's keys, settings and robot, and needs nothing."""

    name: ClassVar[str] = "fake"
    settings_type: ClassVar[type] = LiberoSettings
    default_protocol: ClassVar[str] = "openpi"
    gl: ClassVar[str | None] = None
    control_hz: ClassVar[float] = LiberoSimulator.control_hz
    distributions: ClassVar[tuple[str, ...]] = LiberoSimulator.distributions

    def __init__(self, settings: LiberoSettings) -> None:
        self._settings = settings

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether it is the one fake suite."""
        return suite == FAKE_SUITE

    def suites(self) -> tuple[str, ...]:
        """The one fake suite."""
        return (FAKE_SUITE,)

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """`reach_goal_0` and so on."""
        return tuple(TaskEntry(suite, i, f"reach_goal_{i}", f"reach goal {i}") for i in range(FAKE_TASK_COUNT))

    def start_state_count(self, suite: str, task_id: int) -> int:
        """Five.

        Raises:
            ConfigError: there is no such task.
        """
        _task(suite, task_id)
        return FAKE_INIT_STATE_COUNT

    def spec(self, suite: str, task_id: int) -> EnvSpec:  # noqa: ARG002 -- every task has the same robot
        """As LIBERO's."""
        return osc_spec(self.name, self._settings)

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:  # noqa: ARG002 -- there are no files
        """Nothing."""
        return {}

    def origins(self) -> Mapping[str, Origin]:
        """Nothing: the env is ray-eval's own."""
        return {}

    def check(self) -> None:
        """Passes: nothing is needed."""

    def version_warning(self) -> str | None:
        """None: nothing is simulated."""
        return None

    def prepare(self) -> None:
        """Nothing to import."""

    def canary(self, *, has_pixels: bool) -> Canary | None:  # noqa: ARG002 -- the seam's signature
        """None: nothing is simulated."""
        return None

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The env of one task.

        Raises:
            ConfigError: there is no such task.
        """
        return FakeEnv(suite, task_id, settings)


class FakeEnv:
    """A gripper point over a table and a goal in reach; success once the point is within 2 cm of the goal.

    Start and goal are drawn from (env_seed, task, init state). Same keys, shapes and names as LIBERO's env:
    `goal_1` is the one pose of the privileged state. A point moved straight to its goal arrives within 15 steps.
    """

    def __init__(self, suite: str, task_id: int, settings: EnvSettings) -> None:
        self._entry = _task(suite, task_id)
        self._settings = settings
        self._own = own_settings(settings)
        self._history = FrameHistory[_Moment](settings.recipe.keys, settings.recipe.n_obs_steps, self._made)
        self._goal = np.zeros(3)
        self._moment = _Moment(0.0, np.zeros(3), np.zeros(3), is_open=True)
        self._render_count = 0

    @property
    def task(self) -> str:
        """`reach_goal_0` and so on."""
        return self._entry.name

    @property
    def instruction(self) -> str:
        """The task in words, or the settings' `task_text`."""
        return self._entry.instruction if self._settings.task_text is None else self._settings.task_text

    @property
    def environment_names(self) -> tuple[str, ...]:
        """`goal_1`; empty where the privileged state is not asked for."""
        return ("goal_1",) if ENVIRONMENT_STATE in self._settings.recipe.keys else ()

    @property
    def render_count(self) -> int:
        """Images made since the last `reset`."""
        return self._render_count

    def reset(self, episode: EpisodeSpec) -> None:
        """Draws start and goal, and lets the settle steps pass.

        Raises:
            EpisodeError: the init state does not exist.
        """
        where = f"fake/{self._entry.task_id}"
        check_start_state(where, episode.init_state_id, FAKE_INIT_STATE_COUNT, FEWER, noun="an init state")
        generator = np.random.default_rng([episode.env_seed, self._entry.task_id, episode.init_state_id])
        start, self._goal = generator.uniform((-0.2, -0.2, 1.0), (0.2, 0.2, 1.2), (2, 3))
        self._moment = _Moment(self._own.settle_steps * CONTROL_STEP_S, start, np.zeros(3), is_open=True)
        self._render_count = 0
        self._history.clear()
        self._history.append(self._moment)

    def observe(self) -> Mapping[str, Array]:
        """The recipe's arrays at the present step."""
        return self._history.observe()

    def native_action(self, action: Array) -> FloatArray:
        """As in LIBERO's env.

        Raises:
            ContractError: the shape is not (7,), or a number is not finite.
        """
        return actions.native_action(action, self._own.gripper)

    def noop_action(self) -> FloatArray:
        """Zeros with the gripper open; in absolute control the present position."""
        position = np.zeros(3) if self._own.control == "delta" else self._moment.position
        return np.concatenate([position, np.zeros(3), [actions.GRIPPER_OPEN]])

    def step(self, action: FloatArray) -> StepResult:
        """Moves the point, by at most `STEP_SIZE_M` along each axis."""
        before = self._moment
        wanted = action[:3] * STEP_SIZE_M if self._own.control == "delta" else action[:3] - before.position
        moved = np.clip(wanted, -STEP_SIZE_M, STEP_SIZE_M)
        time_s, is_open = before.time_s + CONTROL_STEP_S, bool(action[6] <= 0)
        self._moment = _Moment(time_s, before.position + moved, moved / CONTROL_STEP_S, is_open)
        self._history.append(self._moment)
        is_success = bool(np.linalg.norm(self._moment.position - self._goal) < GOAL_RADIUS_M)
        return StepResult(reward=float(is_success), is_success=is_success)

    def simulator_state(self) -> FloatArray:
        """[time, position, gripper, velocity] as float64, a copy."""
        moment = self._moment
        return np.concatenate([[moment.time_s], moment.position, [_finger(moment)], moment.velocity])

    def picture(self, key: str = IMAGE) -> Array:  # noqa: ARG002 -- both cameras see the same
        """The (H, W, 3) image of the table; not counted in `render_count`."""
        return self._picture(self._moment)

    def close(self) -> None:
        """Nothing to free."""

    def _made(self, moment: _Moment, key: str) -> Array:
        if key in IMAGE_KEYS:
            self._render_count += 1
            return self._picture(moment)
        if key == STATE:
            return self._state(moment)
        return np.concatenate([self._goal, [1.0, 0.0, 0.0, 0.0]]).astype(np.float32)

    def _state(self, moment: _Moment) -> Array:
        fingers = [_finger(moment), -_finger(moment)]
        if self._own.state_format == "joints_gripper":
            return np.concatenate([moment.position, np.zeros(4), fingers]).astype(np.float32)
        return np.concatenate([moment.position, np.zeros(3), fingers]).astype(np.float32)

    def _picture(self, moment: _Moment) -> Array:
        """The table from above: the goal's pixel green, the point's red."""
        images = self._settings.recipe.images
        size_px = images.image_size_px or images.render_size_px or IMAGE_SIZE_PX
        image = np.zeros((size_px, size_px, 3), np.uint8)
        for channel, place in ((1, self._goal), (0, moment.position)):
            column, row = np.clip((place[:2] + 0.5) * size_px, 0, size_px - 1).astype(int)
            image[row, column, channel] = 255
        return image


def _finger(moment: _Moment) -> float:
    return FINGER_M if moment.is_open else 0.0


def _task(suite: str, task_id: int) -> TaskEntry:
    check_task_id(suite, task_id, FAKE_TASK_COUNT)
    return TaskEntry(suite, task_id, f"reach_goal_{task_id}", f"reach goal {task_id}")
