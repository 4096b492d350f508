"""`MetaworldSimulator`: Meta-World behind the Simulator seam; imports Meta-World only when an env is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from ray_eval.envs.canary import canary_of_env
from ray_eval.envs.metaworld import tasks as catalogue
from ray_eval.envs.metaworld.settings import MetaworldSettings
from ray_eval.envs.packaged import PackagedSimulator
from ray_eval.envs.task_ids import check_task_id
from ray_eval.errors import ConfigError, did_you_mean
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import (
    IMAGE_PREFIX,
    SINGLE_IMAGE,
    STATE,
    ActionSpec,
    CameraSpec,
    Canary,
    EnvSpec,
    EpisodeSpec,
    TaskEntry,
    VectorSpec,
)

CAMERAS: Final = ("topview", "corner", "corner2", "corner3", "corner4", "behindGripper", "gripperPOV")
"""Meta-World's cameras, the same in every task. Source: metaworld@3.1.1 assets."""
SIZE_PX: Final = 480
"""Height and width of Meta-World's own images."""


class MetaworldSimulator(PackagedSimulator):
    """Meta-World with settings of its own."""

    name: ClassVar[str] = "metaworld"
    settings_type: ClassVar[type] = MetaworldSettings
    default_protocol: ClassVar[str] = "metaworld"
    gl: ClassVar[str | None] = "mujoco"
    control_hz: ClassVar[float] = 80.0
    """Control steps per second of simulated time: 5 substeps of 2.5 ms."""
    distributions: ClassVar[tuple[str, ...]] = ("metaworld", "mujoco", "gymnasium", "numpy", "scipy")
    modules: ClassVar[tuple[str, ...]] = ("metaworld", "mujoco")
    imported: ClassVar[str] = "metaworld"
    install: ClassVar[str] = "ray-eval install metaworld"
    """What installs it, in an environment of its own: here it would put its MuJoCo in the place of LIBERO's."""
    reference: ClassVar[Mapping[str, str]] = {"metaworld": "3.1.1", "mujoco": "3.3.0"}
    """Versions that the figures of docs/simulators.md are of; metaworld 3.1.1 asks for exactly this MuJoCo itself."""
    consequences: ClassVar[Mapping[str, str]] = {
        "metaworld": "tasks, goals and experts differ between releases",
        "mujoco": "every trajectory differs: 21 of 2,500 verdicts of the packaged experts between 3.3.0 and 3.16.0",
    }

    def __init__(self, settings: MetaworldSettings) -> None:
        self._settings = settings

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether the name begins as Meta-World's do."""
        return suite.startswith(catalogue.PREFIX)

    def suites(self) -> tuple[str, ...]:
        """MT10, MT50 and the test tasks of ML10 and ML45; a single task is the suite `metaworld_<its name>`."""
        return tuple(catalogue.SUITES)

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """The suite's tasks, in Meta-World's order.

        Raises:
            ConfigError: the suite is unknown.
        """
        names = catalogue.tasks_of(suite)
        if names is None:
            known = (*catalogue.SUITES, *(f"{catalogue.PREFIX}{name}" for name in catalogue.INSTRUCTIONS))
            raise ConfigError(
                f"suite: expected one of {', '.join(catalogue.SUITES)} or {catalogue.PREFIX}<task>, got {suite!r}."
                f"{did_you_mean(suite, known)}"
            )
        return tuple(TaskEntry(suite, i, name, catalogue.INSTRUCTIONS[name]) for i, name in enumerate(names))

    def start_state_count(self, suite: str, task_id: int) -> int:
        """Fifty goals.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        self._task(suite, task_id)
        return catalogue.GOAL_COUNT

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """Seven cameras and the one called `observation.image`, four numbers of state and four of action.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        self._task(suite, task_id)
        keys = {SINGLE_IMAGE: self._settings.camera, **{f"{IMAGE_PREFIX}{name}": name for name in CAMERAS}}
        return EnvSpec(
            simulator=self.name,
            cameras=tuple(
                CameraSpec(key, name, SIZE_PX, SIZE_PX, self._orientation(name), is_usual=key == SINGLE_IMAGE)
                for key, name in keys.items()
            ),
            state=VectorSpec(("hand_x", "hand_y", "hand_z", "gripper_open"), "m; 0 closed to 1 open"),
            action=ActionSpec(
                names=("x", "y", "z", "gripper"),
                low=(-1.0,) * 4,
                high=(1.0,) * 4,
                control="delta_position",
                is_clipped=True,
                noop="no displacement and the gripper's last effort, open at the start",
            ),
            control_hz=self.control_hz,
            success=_SUCCESS[self._settings.success],
            seeds=_SEEDS[self._settings.route],
            environment_state=True,
            max_steps=catalogue.MAX_STEPS,
            most_steps=catalogue.MAX_STEPS,
        )

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:
        """SHA-256 of each task's 50 goal vectors, by `goals/<task>/<seed>`; nothing where the reset draws the goals.

        Raises:
            SetupError: Meta-World is not installed, or cannot be imported.
        """
        if self._settings.route == "seeded":
            return {}
        self.check_importable()
        from ray_eval.envs.metaworld import goals

        wanted = {(self._task(each.suite, each.task_id), each.env_seed) for each in episodes}
        folder = goals.default_folder()
        return {f"goals/{task}/{seed}": goals.digest(goals.goals(task, seed, folder)) for task, seed in sorted(wanted)}

    def canary(self, *, has_pixels: bool) -> Canary:
        """What this machine makes of 20 steps of `reach-v3` at its first goal.

        Raises:
            SetupError: Meta-World is not installed, or cannot be imported.
        """
        suite = f"{catalogue.PREFIX}reach-v3"
        recipe = ObservationRecipe(
            (SINGLE_IMAGE,) if has_pixels else (STATE,), images=ImageRecipe(128, image_size_px=128)
        )
        env = self.make_env(suite, 0, EnvSettings(recipe))
        episode = EpisodeSpec(suite, 0, 0, env_seed=42, max_steps=catalogue.MAX_STEPS)
        return canary_of_env(env, episode, self.spec(suite, 0).action, has_pixels=has_pixels)

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The env of one task, in about 0.1 s.

        Raises:
            ConfigError: the suite or the task is unknown.
            SetupError: Meta-World is not installed, or cannot be imported.
        """
        task = self._task(suite, task_id)
        self.check_importable()
        from ray_eval.envs.metaworld.env import MetaworldEnv

        chosen = self._settings.goal
        is_hidden = catalogue.is_goal_hidden(suite) if chosen == "suite" else chosen == "hidden"
        return MetaworldEnv(task, self._settings, settings, is_goal_hidden=is_hidden)

    def _task(self, suite: str, task_id: int) -> str:
        known = self.tasks(suite)
        check_task_id(suite, task_id, len(known))
        return known[task_id].name

    def _orientation(self, camera: str) -> str:
        if camera != "corner2":
            return "upright"
        return "rotated by 180 degrees, upright" if self._settings.is_corner2_turned else "upside down, as drawn"


_SUCCESS: Final = {
    "any": "the task holds after a step; the episode ends there",
    "last": "the task holds after the last step of the budget",
}
_SEEDS: Final = {
    "set_task": "env_seed: which 50 goals; start state: one of them",
    "seeded": "env_seed: the goal, drawn while resetting; start state: nothing besides",
}
