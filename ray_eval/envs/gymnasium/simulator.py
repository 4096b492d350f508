"""`GymnasiumSimulator`: any Gymnasium environment behind the Simulator seam; its spec is read off a first reset."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ray_eval.envs.canary import numpy_digest
from ray_eval.envs.digests import FileDigests, memory_file
from ray_eval.envs.gymnasium import opening
from ray_eval.envs.gymnasium.env import GymnasiumEnv
from ray_eval.envs.gymnasium.proving import prove
from ray_eval.envs.gymnasium.settings import GymnasiumSettings, success_rule
from ray_eval.envs.origins import origins
from ray_eval.errors import ConfigError
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import (
    ENVIRONMENT_STATE,
    STATE,
    ActionSpec,
    CameraSpec,
    Canary,
    EnvSpec,
    EpisodeSpec,
    Origin,
    TaskEntry,
    VectorSpec,
    is_image,
)

SUITE = "gymnasium"
"""Name of the one suite; it has one task, the environment that `simulator.id` names."""
_AS_IT_IS = ImageRecipe(None, image_size_px=None)


class GymnasiumSimulator:
    """One environment of Gymnasium's registry, as its user describes it."""

    name: ClassVar[str] = "gymnasium"
    settings_type: ClassVar[type] = GymnasiumSettings
    default_protocol: ClassVar[str] = "gymnasium"
    gl: ClassVar[str | None] = None
    distributions: ClassVar[tuple[str, ...]] = ("gymnasium",)

    def __init__(self, settings: GymnasiumSettings) -> None:
        self._settings = settings
        self._looked = functools.cache(self._look)

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether it is the one suite."""
        return suite == SUITE

    def suites(self) -> tuple[str, ...]:
        """`gymnasium`, once an environment is named."""
        return (SUITE,) if self._settings.id else ()

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """The one task.

        Raises:
            ConfigError: it is another suite.
        """
        if suite != SUITE:
            raise ConfigError(f"suite: expected {SUITE} for simulator=gymnasium, got {suite!r}; leave it out")
        return (TaskEntry(SUITE, 0, self._settings.id, self._settings.instruction or self._settings.id),)

    def start_state_count(self, suite: str, task_id: int) -> int:
        """As many seeds as the settings say.

        Raises:
            ConfigError: there is no such task.
        """
        self._check_task(suite, task_id)
        return self._settings.start_states

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """What the environment shows after a first reset, and the bounds of its action space.

        Raises:
            ConfigError: the settings do not fit the environment.
            SetupError: it cannot be made.
        """
        self._check_task(suite, task_id)
        return self._looked()

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:  # noqa: ARG002 -- the settings say it all
        """Nothing beyond settings and the package's content."""
        return {}

    def origins(self) -> Mapping[str, Origin]:
        """The package that the environment is in."""
        digests = FileDigests(memory_file())
        package = (self._settings.module or self._settings.id.partition(":")[0].partition("/")[0]).partition(".")[0]
        found = origins((package,), digests) if package.isidentifier() else {}
        digests.save()
        return {name: origin for name, origin in found.items() if origin.digest}

    def check(self) -> None:
        """Passes when the environment can be made and there is a rule of success.

        Raises:
            ConfigError: the settings do not fit the environment.
            SetupError: it cannot be made.
        """
        opening.check_named(self._settings)
        success_rule(self._settings.success)
        self._looked()

    def version_warning(self) -> str | None:
        """None: nobody publishes numbers by a version."""
        return None

    def prepare(self) -> None:
        """Nothing: an environment imports what it needs."""

    def canary(self, *, has_pixels: bool) -> Canary | None:
        """What the first episode's first steps come out as here, which has to be the same twice.

        Raises:
            SetupError: the environment does not repeat it, and has to.
        """
        if not self._settings.reproducible:
            return None
        spec = self._looked()
        cameras = tuple(camera.key for camera in spec.cameras) if has_pixels else ()
        recipe = ObservationRecipe(cameras, images=_AS_IT_IS)
        env = GymnasiumEnv(self._settings, EnvSettings(recipe))
        try:
            states = prove(env, _EPISODE, spec.action)
        finally:
            env.close()
        return Canary(states, numpy_digest(), None)

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The environment.

        Raises:
            ConfigError: there is no such task, or the settings do not fit the environment.
            SetupError: it cannot be made.
        """
        self._check_task(suite, task_id)
        return GymnasiumEnv(self._settings, settings)

    def _check_task(self, suite: str, task_id: int) -> None:
        count = len(self.tasks(suite))
        if not 0 <= task_id < count:
            raise ConfigError(f"tasks: expected 0 in {suite}, got {task_id}")

    def _look(self) -> EnvSpec:
        env = opening.opened(self._settings)
        try:
            low, high = opening.bounds_of(env)
            budget, rate = opening.budget_of(env), self._settings.control_hz or env.metadata.get("render_fps")
        finally:
            env.close()
        if rate is None:
            raise ConfigError(f"simulator.control_hz: expected the steps per second of {self._settings.id}, got none")
        first, paths = self._first()
        state = first.get(STATE)
        return EnvSpec(
            simulator=self.name,
            cameras=tuple(
                CameraSpec(key, paths[key], array.shape[0], array.shape[1], is_resizable=False)
                for key, array in first.items()
                if is_image(key)
            ),
            state=None if state is None else VectorSpec(tuple(f"{paths[STATE]}[{i}]" for i in range(state.size))),
            action=ActionSpec(
                names=tuple(f"action[{index}]" for index in range(len(low))),
                low=tuple(map(float, low)),
                high=tuple(map(float, high)),
                control="gymnasium",
                is_clipped=False,
                noop="zeros" if not self._settings.noop else "simulator.noop",
            ),
            control_hz=float(rate),
            success=f"{self._settings.success}, after any step; the episode ends there",
            seeds="env_seed plus the start state is the seed of reset",
            environment_state=ENVIRONMENT_STATE in first,
            max_steps=budget,
            is_reproducible=self._settings.reproducible,
        )

    def _first(self) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        """The first observation by key, and where each was found."""
        env = GymnasiumEnv(self._settings, EnvSettings(ObservationRecipe((), images=_AS_IT_IS)))
        try:
            env.reset(_EPISODE)
            env.draw()
            return dict(env.first), dict(env.paths)
        finally:
            env.close()


_EPISODE = EpisodeSpec(SUITE, 0, 0, env_seed=0, max_steps=1)
