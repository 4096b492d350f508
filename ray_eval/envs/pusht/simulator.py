"""`PushtSimulator`: gym-pusht behind the Simulator seam; imports gym-pusht only when an env is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from ray_eval.envs.canary import canary_of_env
from ray_eval.envs.packaged import PackagedSimulator
from ray_eval.envs.pusht.settings import PushtSettings
from ray_eval.errors import ConfigError
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import (
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

SUITE: Final = "pusht"
"""Name of the one suite, and of its one task."""
INSTRUCTION: Final = "Push the T-shaped block onto the T-shaped target."
"""The task in words, those of LeRobot's data set pusht."""
ARENA_PX: Final = 512.0
"""Height and width of the arena, in whose pixels positions are told."""
IMAGE_SIZE_PX: Final = 96
"""Height and width of gym-pusht's observation."""
MAX_STEPS: Final = 300
"""Budget of gym-pusht's registration and of lerobot-eval."""


class PushtSimulator(PackagedSimulator):
    """PushT with settings of its own."""

    name: ClassVar[str] = "pusht"
    settings_type: ClassVar[type] = PushtSettings
    default_protocol: ClassVar[str] = "lerobot"
    gl: ClassVar[str | None] = None
    control_hz: ClassVar[float] = 10.0
    distributions: ClassVar[tuple[str, ...]] = ("gym-pusht", "pymunk", "pygame", "opencv-python", "numpy")
    modules: ClassVar[tuple[str, ...]] = ("gym_pusht", "pymunk")
    imported: ClassVar[str] = "gym_pusht.envs.pusht"
    install: ClassVar[str] = "pip install gym-pusht==0.1.8"
    reference: ClassVar[Mapping[str, str]] = {"gym-pusht": "0.1.8", "pymunk": "6.11.1"}
    consequences: ClassVar[Mapping[str, str]] = {
        "gym-pusht": "physics, reward and drawing may differ between releases",
        "pymunk": "trajectories may differ (6.6.2 to 6.11.1 gave the same states to the bit)",
    }

    def __init__(self, settings: PushtSettings) -> None:
        self._settings = settings

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether it is the one suite."""
        return suite == SUITE

    def suites(self) -> tuple[str, ...]:
        """The one suite."""
        return (SUITE,)

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """The one task.

        Raises:
            ConfigError: the suite is unknown.
        """
        if suite != SUITE:
            raise ConfigError(f"suite: expected {SUITE}, got {suite!r}")
        return (TaskEntry(SUITE, 0, SUITE, INSTRUCTION),)

    def start_state_count(self, suite: str, task_id: int) -> int:
        """`simulator.start_states`.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        self._check_task(suite, task_id)
        return self._settings.start_states

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """One camera, the agent's place as the state, and where it is to go as the action.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        self._check_task(suite, task_id)
        return EnvSpec(
            simulator=self.name,
            cameras=(CameraSpec(SINGLE_IMAGE, "above", IMAGE_SIZE_PX, IMAGE_SIZE_PX),),
            state=VectorSpec(("agent_x", "agent_y"), "px of 512"),
            action=ActionSpec(
                names=("x", "y"),
                low=(0.0, 0.0),
                high=(ARENA_PX, ARENA_PX),
                control="absolute_position",
                is_clipped=False,
                noop="where the agent is",
            ),
            control_hz=self.control_hz,
            success="the block covers more than 95 % of the goal after a step; the episode ends there",
            seeds="env_seed plus the start state: where agent and block begin",
            environment_state=True,
            max_steps=MAX_STEPS,
        )

    def canary(self, *, has_pixels: bool) -> Canary:
        """What this machine makes of 20 steps of the start with seed 0.

        Raises:
            SetupError: gym-pusht is not installed, or cannot be imported.
        """
        images = ImageRecipe(IMAGE_SIZE_PX, image_size_px=IMAGE_SIZE_PX)
        recipe = ObservationRecipe((SINGLE_IMAGE,) if has_pixels else (STATE,), images=images)
        env = self.make_env(SUITE, 0, EnvSettings(recipe))
        episode = EpisodeSpec(SUITE, 0, 0, env_seed=0, max_steps=MAX_STEPS)
        return canary_of_env(env, episode, self.spec(SUITE, 0).action, has_pixels=has_pixels)

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The env of the one task.

        Raises:
            ConfigError: the suite or the task is unknown.
            SetupError: gym-pusht is not installed, or cannot be imported.
        """
        self._check_task(suite, task_id)
        self.check_importable()
        from ray_eval.envs.pusht.env import PushtEnv

        return PushtEnv(self._settings, settings)

    def _check_task(self, suite: str, task_id: int) -> None:
        known = self.tasks(suite)
        if not 0 <= task_id < len(known):
            raise ConfigError(f"tasks: expected 0 in {suite}, got {task_id}")
