"""A simulator of one's own with the bookkeeping done: what is left to write is the world, its spec and its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from ray_eval.envs import actions
from ray_eval.envs.canary import canary_of_env
from ray_eval.envs.digests import FileDigests, memory_file
from ray_eval.envs.history import FrameHistory
from ray_eval.envs.libero.preprocessing import image_steps, preprocess
from ray_eval.envs.origins import origins
from ray_eval.envs.start_states import check_start_state
from ray_eval.envs.task_ids import check_task_id
from ray_eval.errors import ConfigError, EpisodeError
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import Array, Canary, EnvSpec, EpisodeSpec, FloatArray, Origin, StepResult, TaskEntry, is_image


@dataclass(frozen=True, slots=True)
class NoSettings:
    """The settings of a simulator that has none."""


class PlainEnv:
    """An env whose world is five methods: `begin`, `move`, `state`, `array` and, where there are cameras, `image`.

    Observations are made of `state` alone, so that they can be made when they are asked for, of any step that is kept.
    """

    def __init__(self, simulator: PlainSimulator, suite: str, task_id: int, settings: EnvSettings) -> None:
        self.simulator, self.task_id = simulator, task_id
        self._suite, self._settings = suite, settings
        self._spec = simulator.spec(suite, task_id)
        self._instruction = simulator.tasks(suite)[task_id].instruction
        self._steps = image_steps(settings.recipe.images, is_rotated=False)
        self._history = FrameHistory[FloatArray](settings.recipe.keys, settings.recipe.n_obs_steps, self._made)
        self._render_count = 0

    def begin(self, generator: np.random.Generator) -> None:
        """Brings the world to an episode's start; everything that is drawn comes from the generator."""
        raise NotImplementedError

    def move(self, action: FloatArray) -> StepResult:
        """Executes one native action for one control step."""
        raise NotImplementedError

    def state(self) -> FloatArray:
        """Everything that decides how the world goes on, with its time, as float64."""
        raise NotImplementedError

    def array(self, state: FloatArray, key: str) -> Array:
        """What an observation has under a key that is no camera's, of a state."""
        raise NotImplementedError

    def image(self, state: FloatArray, key: str, size_px: int) -> Array:
        """(size_px, size_px, 3) uint8 RGB: what a camera sees of a state."""
        raise NotImplementedError

    def noop_action(self) -> FloatArray:
        """Zeros, unless the world has another no-op."""
        return np.zeros(self._spec.action.dim)

    @property
    def task(self) -> str:
        """`<suite>_<task id>`."""
        return f"{self._suite}_{self.task_id}"

    @property
    def instruction(self) -> str:
        """The task in words, or the settings' `task_text`."""
        return self._instruction if self._settings.task_text is None else self._settings.task_text

    @property
    def environment_names(self) -> tuple[str, ...]:
        """None: a plain env has no privileged state."""
        return ()

    @property
    def render_count(self) -> int:
        """Images made for observations since the last `reset`."""
        return self._render_count

    def reset(self, episode: EpisodeSpec) -> None:
        """Begins the episode with a generator that its seed, task and start state make.

        Raises:
            EpisodeError: the start state does not exist.
        """
        count = self.simulator.start_state_count(self._suite, self.task_id)
        check_start_state(self.task, episode.init_state_id, count)
        self._history.clear()
        self._render_count = 0
        self.begin(np.random.default_rng([episode.env_seed, self.task_id, episode.init_state_id]))
        self._history.append(self.simulator_state())

    def observe(self) -> Mapping[str, Array]:
        """The recipe's arrays at the present step."""
        return self._history.observe()

    def native_action(self, action: Array) -> FloatArray:
        """The action as float64, unchanged.

        Raises:
            ContractError: the shape is another, or a number is not finite.
        """
        return actions.checked_action(action, self._spec.action.dim)

    def step(self, action: FloatArray) -> StepResult:
        """Executes one native action."""
        result = self.move(action)
        self._history.append(self.simulator_state())
        return result

    def simulator_state(self) -> FloatArray:
        """`state`, a copy."""
        return np.array(self.state(), np.float64)

    def picture(self, key: str = "") -> Array:
        """What a camera sees, the first one unless another's key is given; not counted.

        Raises:
            EpisodeError: there is no camera.
        """
        if not self._spec.cameras:
            raise EpisodeError(f"{self.task}: expected a camera, got none")
        camera = next((each for each in self._spec.cameras if each.key == key), self._spec.cameras[0])
        return self.image(self._history.present, camera.key, camera.height_px)

    def close(self) -> None:
        """Nothing to free, unless the world holds something."""

    def _made(self, state: FloatArray, key: str) -> Array:
        if not is_image(key):
            return np.array(self.array(state, key), np.float32)
        self._render_count += 1
        native = next(camera.height_px for camera in self._spec.cameras if camera.key == key)
        return preprocess(self.image(state, key, self._settings.recipe.images.render_size_px or native), self._steps)


class PlainSimulator:
    """A simulator without files or an engine: its class attributes and `spec` say all of it."""

    name: ClassVar[str]
    settings_type: ClassVar[type] = NoSettings
    default_protocol: ClassVar[str] = "custom"
    gl: ClassVar[str | None] = None
    control_hz: ClassVar[float | None] = None
    """Control steps per second, for realtime runs that name no `execution.fps`."""
    distributions: ClassVar[tuple[str, ...]] = ()
    instructions: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    """The tasks in words, by suite."""
    start_states: ClassVar[int] = 50
    """Start states of each task."""
    env_type: ClassVar[type[PlainEnv]]
    """The world."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether it is among `instructions`."""
        return suite in cls.instructions

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """What the task's env delivers and executes."""
        raise NotImplementedError

    def suites(self) -> tuple[str, ...]:
        """The keys of `instructions`."""
        return tuple(self.instructions)

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """The suite's tasks, named by their number.

        Raises:
            ConfigError: the suite is unknown.
        """
        if suite not in self.instructions:
            raise ConfigError(f"suite: expected one of {', '.join(self.instructions)}, got {suite!r}")
        return tuple(TaskEntry(suite, i, f"{suite}_{i}", words) for i, words in enumerate(self.instructions[suite]))

    def start_state_count(self, suite: str, task_id: int) -> int:
        """`start_states`.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        check_task_id(suite, task_id, len(self.tasks(suite)))
        return self.start_states

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:  # noqa: ARG002 -- there are no files
        """Nothing beyond its code."""
        return {}

    def origins(self) -> Mapping[str, Origin]:
        """The package that the class is in."""
        digests = FileDigests(memory_file())
        found = origins((type(self).__module__.partition(".")[0],), digests)
        digests.save()
        return found

    def check(self) -> None:
        """Passes."""

    def version_warning(self) -> str | None:
        """None."""
        return None

    def prepare(self) -> None:
        """Nothing to import."""

    def canary(self, *, has_pixels: bool) -> Canary | None:
        """What this machine makes of the first episode's first steps."""
        suite = self.suites()[0]
        spec = self.spec(suite, 0)
        keys = spec.keys if has_pixels else ()
        env = self.make_env(
            suite, 0, EnvSettings(ObservationRecipe(keys, images=ImageRecipe(None, image_size_px=None)))
        )
        episode = EpisodeSpec(suite, 0, 0, env_seed=0, max_steps=1)
        return canary_of_env(env, episode, spec.action, has_pixels=has_pixels and bool(spec.cameras))

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The world of one task.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        self.start_state_count(suite, task_id)
        return self.env_type(self, suite, task_id, settings)
