"""The seams of ray-eval: a policy answers observations, an env acts and observes, a simulator makes envs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from ray_eval.scene import SceneReading
from ray_eval.sections import EnvSettings
from ray_eval.types import (
    ActionChunk,
    Array,
    Canary,
    Disturbed,
    EnvSpec,
    EpisodeSpec,
    FloatArray,
    Observation,
    Origin,
    PolicySpec,
    StepResult,
    TaskEntry,
)


@runtime_checkable
class Policy(Protocol):
    """Something that answers observations with action chunks and remembers nothing in between."""

    @property
    def spec(self) -> PolicySpec:
        """What the policy needs and what it answers; constant."""
        ...

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, in order.

        A pure function of each observation (its `noise_seed` and `policy_state` included): the same
        observation gives the same chunk in any order and on any replica.

        Raises:
            ContractError: an observation lacks what the spec asks for.
        """
        ...


@runtime_checkable
class StagedPolicy(Policy, Protocol):
    """A policy whose rows are brought to its device while an earlier forward runs there."""

    def stage(self, observation: Observation) -> Any:
        """The observation as `infer_staged` takes it; called from another thread than the forwards."""
        ...

    def infer_staged(self, rows: Sequence[Any]) -> list[ActionChunk]:
        """As `infer_batch`, bit for bit; a row may come several times."""
        ...


@runtime_checkable
class RowwisePolicy(Policy, Protocol):
    """A policy whose rows are computed by themselves, several at a time, and fail one by one."""

    @property
    def lanes(self) -> int:
        """Most rows that are computed at a time; each is asked for alone, in a thread of its own."""
        ...

    def infer_rows(self, observations: Sequence[Observation]) -> list[ActionChunk | Exception]:
        """As `infer_batch`, with what was raised in the place of a chunk; an EpisodeError or a ContractError."""
        ...


@runtime_checkable
class ServedPolicy(Policy, Protocol):
    """A policy on a server that may have proved it already."""

    @property
    def is_proved(self) -> bool:
        """Whether its server tried it out before it served it, as is done with every policy here."""
        ...


@runtime_checkable
class Env(Protocol):
    """One simulated task, owned by one thread; observations are made only when asked for."""

    @property
    def task(self) -> str:
        """The task's name."""
        ...

    @property
    def instruction(self) -> str:
        """The task in words, as a policy is given it."""
        ...

    @property
    def environment_names(self) -> tuple[str, ...]:
        """Names beside `observation.environment_state`; empty where that is not in the recipe."""
        ...

    @property
    def render_count(self) -> int:
        """Camera images rendered for observations since the last `reset`."""
        ...

    def reset(self, episode: EpisodeSpec) -> None:
        """Brings the env to step 0 of the episode: seeded, reset, at its init state, settled.

        Raises:
            EpisodeError: the simulator could not be brought there.
        """
        ...

    def observe(self) -> Mapping[str, Array]:
        """The arrays of the recipe at the present step; asking twice renders once."""
        ...

    def native_action(self, action: Array) -> FloatArray:
        """The (A,) action that the simulator executes for a policy's (A,) action."""
        ...

    def noop_action(self) -> FloatArray:
        """The (A,) native action that keeps the robot where it is."""
        ...

    def step(self, action: FloatArray) -> StepResult:
        """Executes one native action for one control step.

        Raises:
            EpisodeError: the simulator diverged.
        """
        ...

    def simulator_state(self) -> FloatArray:
        """(N,) float64, a copy: what the env defines as its state, for instance [time, qpos, qvel].

        The trajectory's hash is made of it after each control step: it holds all that decides how the episode goes on
        and nothing that differs between two runs of the same episode. N is constant within an episode.
        """
        ...

    def picture(self) -> Array:
        """What a person should see of the present step: (H, W, 3) uint8 RGB, upright.

        Where the spec has several usual cameras it takes the key of one: `picture(key)`.
        """
        ...

    def close(self) -> None:
        """Frees the simulator and its GL context; the env is not used again."""
        ...


@runtime_checkable
class KnowsStart(Protocol):
    """An env that can say what its start state did not hold."""

    @property
    def disturbed(self) -> tuple[Disturbed, ...] | None:
        """Objects that were moved, toppled or thrown while the scene settled; None where nothing was settled."""
        ...


@runtime_checkable
class TellsScene(Protocol):
    """An env that can say what is where at the present step, exactly, for whoever judges an episode afterwards."""

    def scene(self) -> SceneReading:
        """The scene as the present step left it; reading it changes nothing."""
        ...


@runtime_checkable
class Simulator(Protocol):
    """A simulated world: its suites, its tasks, and their envs.

    A class made of its own settings, `Metaworld(MetaworldSettings())`: it stands in a folder of `ray_eval/envs/` and in
    the table of `envs.registry`, or in a package of its own behind the entry point `ray_eval.simulators`. The module
    that holds it imports no engine. Everything but `prepare`, `canary` and `make_env` is cheap and asked in the
    driver's process, or with `simulator.python` in a child of that interpreter; where a package that it needs is not
    installed it raises SetupError, with what to type.
    """

    name: ClassVar[str]
    """Its name: of the folder, of the entry point, in `simulator=NAME` and in the header."""
    settings_type: ClassVar[type]
    """Frozen dataclass of what a user may choose, every field with a default, a docstring and an exact type. A field
    that `protocol` has by the same name (LIBERO's `settle_steps`) is taken from there, the others from the
    configuration's section `simulator`; all are part of the run's identity. Hashable, and free of the engine."""
    default_protocol: ClassVar[str]
    """Preset under `configs/protocols/` of a run that names none. A preset may hold a mapping `simulator`, which goes
    under the user's own section."""
    gl: ClassVar[str | None]
    """`mujoco` where MuJoCo's renderer draws its cameras, so that a worker needs a GL backend; else None."""
    distributions: ClassVar[tuple[str, ...]]
    """Packages whose version changes numbers; those installed are part of the run's identity."""

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether a suite's name is this simulator's, by the look of it; asked without anything being installed."""
        ...

    def suites(self) -> tuple[str, ...]:
        """Every suite that can be run, in order."""
        ...

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """The suite's tasks, in order.

        Raises:
            ConfigError: the suite is unknown, or not completely installed.
        """
        ...

    def start_state_count(self, suite: str, task_id: int) -> int:
        """How many start states a task has: stored states, goals or seeds; `init_state_id` is an index into them.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        ...

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """What the task's env delivers and executes under these settings.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        ...

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:
        """What else decides the numbers of these episodes, JSON values by key: digests of files, goal vectors.

        Part of the run's identity as `environment.<key>`. Versions, settings and `EnvSpec` are there already.
        """
        ...

    def origins(self) -> Mapping[str, Origin]:
        """Where the packages behind an episode are imported from and what is in them, as this process finds them.

        Asked in the driver and in workers, which have to agree by content; part of the run's identity as
        `environment.code_<name>`, by content alone. One without a digest (a folder of data) is only shown, where
        `identity` differs. `envs.origins.origins` makes them of modules' names.
        """
        ...

    def check(self) -> None:
        """Passes when what is installed can run: all that is needed, of versions that go together.

        Raises:
            SetupError: it cannot; the message says what to type.
        """
        ...

    def version_warning(self) -> str | None:
        """What differs from the versions behind published numbers, and what it changes; None where nothing does."""
        ...

    def prepare(self) -> None:
        """Imports the engine, some seconds' work, in a worker before its first env; what is missing `make_env` says."""
        ...

    def canary(self, *, has_pixels: bool) -> Canary | None:
        """What this machine makes of fixed inputs, in a second or two; the same wherever results are interchangeable.

        None where nothing is simulated.

        `envs.canary.canary_of_env` makes one of an env that is run for 20 steps.
        """
        ...

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The env of one task, built; `settings.recipe.keys` are among the `keys` of its spec.

        Raises:
            ConfigError: the suite or the task is unknown.
            SetupError: a package is not installed, or of a version that cannot be run.
        """
        ...
