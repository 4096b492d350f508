"""`AlohaSimulator`: gym-aloha behind the Simulator seam; imports gym-aloha only when an env is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from ray_eval.envs.aloha.settings import AlohaSettings
from ray_eval.envs.aloha.tasks import CAMERAS, HEIGHT_PX, INSTRUCTIONS, JOINTS, MAX_STEPS, SUITE, WIDTH_PX
from ray_eval.envs.canary import canary_of_env
from ray_eval.envs.packaged import PackagedSimulator
from ray_eval.envs.task_ids import check_task_id
from ray_eval.errors import ConfigError
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ObservationRecipe
from ray_eval.types import (
    IMAGE_PREFIX,
    STATE,
    ActionSpec,
    CameraSpec,
    Canary,
    EnvSpec,
    EpisodeSpec,
    TaskEntry,
    VectorSpec,
)


class AlohaSimulator(PackagedSimulator):
    """Aloha with settings of its own."""

    name: ClassVar[str] = "aloha"
    settings_type: ClassVar[type] = AlohaSettings
    default_protocol: ClassVar[str] = "lerobot"
    gl: ClassVar[str | None] = "mujoco"
    control_hz: ClassVar[float] = 50.0
    distributions: ClassVar[tuple[str, ...]] = ("gym-aloha", "mujoco", "dm-control", "numpy")
    modules: ClassVar[tuple[str, ...]] = ("gym_aloha", "mujoco", "dm_control")
    imported: ClassVar[str] = "gym_aloha.env"
    install: ClassVar[str] = "ray-eval install aloha"
    reference: ClassVar[Mapping[str, str]] = {"gym-aloha": "0.1.5", "mujoco": "3.8.1", "dm-control": "1.0.41"}
    """Versions that the figures of docs/simulators.md are of; what pip resolves gym-aloha 0.1.5 to."""
    consequences: ClassVar[Mapping[str, str]] = {
        "gym-aloha": "scenes and rewards may differ between releases",
        "mujoco": "every trajectory differs: arms by up to 1 rad after 100 pushing steps",
        "dm-control": "each release goes with one MuJoCo",
    }

    def __init__(self, settings: AlohaSettings) -> None:
        self._settings = settings

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether it is the one suite."""
        return suite == SUITE

    def suites(self) -> tuple[str, ...]:
        """The one suite."""
        return (SUITE,)

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """Handing over a cube, and inserting a peg.

        Raises:
            ConfigError: the suite is unknown.
        """
        if suite != SUITE:
            raise ConfigError(f"suite: expected {SUITE}, got {suite!r}")
        return tuple(TaskEntry(SUITE, i, name, sentence) for i, (name, sentence) in enumerate(INSTRUCTIONS.items()))

    def start_state_count(self, suite: str, task_id: int) -> int:
        """`simulator.start_states`.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        self._task(suite, task_id)
        return self._settings.start_states

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """Seven cameras, and fourteen joint positions both as the state and as the action.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        self._task(suite, task_id)
        angle = math.inf
        return EnvSpec(
            simulator=self.name,
            cameras=tuple(
                CameraSpec(
                    f"{IMAGE_PREFIX}{name}", name, HEIGHT_PX, WIDTH_PX, is_resizable=False, is_usual=name == CAMERAS[0]
                )
                for name in CAMERAS
            ),
            state=VectorSpec(JOINTS, "rad; grippers 0 closed to 1 open"),
            action=ActionSpec(
                names=JOINTS,
                low=(*[-angle] * 6, 0.0) * 2,
                high=(*[angle] * 6, 1.0) * 2,
                control="absolute_joints",
                is_clipped=False,
                noop="the last targets; at the start where the joints are",
            ),
            control_hz=self.control_hz,
            success="reward 4 after a step: the cube off the table between the left fingers, or the peg at the pin; "
            "the episode ends there",
            seeds="env_seed plus the start state: where the objects lie",
            environment_state=True,
            max_steps=MAX_STEPS,
        )

    def canary(self, *, has_pixels: bool) -> Canary:
        """What this machine makes of 20 steps of handing over a cube from seed 0.

        Raises:
            SetupError: gym-aloha is not installed, or cannot be imported.
        """
        recipe = ObservationRecipe((f"{IMAGE_PREFIX}top",) if has_pixels else (STATE,))
        env = self.make_env(SUITE, 0, EnvSettings(recipe))
        episode = EpisodeSpec(SUITE, 0, 0, env_seed=0, max_steps=MAX_STEPS)
        return canary_of_env(env, episode, self.spec(SUITE, 0).action, has_pixels=has_pixels)

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The env of one task, in about a second.

        Raises:
            ConfigError: the suite or the task is unknown.
            SetupError: gym-aloha is not installed, or cannot be imported.
        """
        task = self._task(suite, task_id)
        self.check_importable()
        from ray_eval.envs.aloha.env import AlohaEnv

        return AlohaEnv(task, self._settings, settings)

    def _task(self, suite: str, task_id: int) -> str:
        known = self.tasks(suite)
        check_task_id(suite, task_id, len(known))
        return known[task_id].name
