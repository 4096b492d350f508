"""`LiberoPlusSimulator`: LIBERO-Plus behind the Simulator seam, as perturbations of the installed LIBERO's tasks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from ray_eval.envs.digests import FileDigests, combined, memory_file
from ray_eval.envs.libero.content import content_identity, content_of
from ray_eval.envs.libero.simulator import LiberoSimulator
from ray_eval.envs.libero_plus import catalogue, package
from ray_eval.envs.libero_plus.catalogue import PlusTask
from ray_eval.envs.libero_plus.names import CONTROL, PREFIX
from ray_eval.envs.libero_plus.settings import LiberoPlusSettings
from ray_eval.errors import SetupError
from ray_eval.interfaces import Env
from ray_eval.sections import EnvSettings
from ray_eval.types import IMAGE, EnvSpec, EpisodeSpec, Origin, Perturbed, TaskEntry

_SEEDS: Final = {"by_step": "; image noise: the episode and the step", "stream": "; image noise: all since the reset"}
CONTROLS: Final = f"{PREFIX}{CONTROL}"
"""Suite of the unperturbed tasks."""


class LiberoPlusSimulator(LiberoSimulator):
    """LIBERO-Plus with the settings of a protocol."""

    name: ClassVar[str] = "libero_plus"
    settings_type: ClassVar[type] = LiberoPlusSettings
    distributions: ClassVar[tuple[str, ...]] = (*LiberoSimulator.distributions, package.DISTRIBUTION, "scipy")

    def __init__(self, settings: LiberoPlusSettings) -> None:
        super().__init__(settings)
        self._rules = settings
        self._entries: dict[str, tuple[TaskEntry, ...]] = {}

    @classmethod
    def has_suite(cls, suite: str) -> bool:
        """Whether the name begins as LIBERO-Plus' do."""
        return suite.startswith(PREFIX)

    def suites(self) -> tuple[str, ...]:
        """The axes that can be run, whole and by level, and the controls; each may be one of LIBERO's suites alone.

        Raises:
            SetupError: LIBERO-Plus is not installed.
        """
        return catalogue.suites()

    def tasks(self, suite: str) -> tuple[TaskEntry, ...]:
        """The suite's tasks, LIBERO's suites one after the other.

        Raises:
            ConfigError: the suite is unknown, or needs files that no package brings.
            SetupError: LIBERO-Plus or LIBERO is not installed.
        """
        if suite not in self._entries:
            self._entries[suite] = tuple(self._entry(suite, found) for found in catalogue.tasks(suite))
        return self._entries[suite]

    def start_state_count(self, suite: str, task_id: int) -> int:
        """LIBERO's 50 init states; one in the layout axis.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        return catalogue.init_state_count(catalogue.task(suite, task_id))

    def spec(self, suite: str, task_id: int) -> EnvSpec:
        """As LIBERO's, with what a perturbation draws.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        found = catalogue.task(suite, task_id)
        spec = super().spec(suite, task_id)
        if not found.says.noise:
            return spec
        # Its functions are written for images of 256 px.
        cameras = tuple(dataclasses.replace(camera, is_resizable=camera.key != IMAGE) for camera in spec.cameras)
        return dataclasses.replace(spec, cameras=cameras, seeds=spec.seeds + _SEEDS[self._rules.noise])

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:
        """LIBERO's digests of what these episodes are made of, one of what is done, and which axis each task is of.

        Raises:
            ConfigError: a suite or a task is unknown, or its files are not installed.
            SetupError: a file cannot be read.
        """
        tasks = sorted({(episode.suite, episode.task_id) for episode in episodes})
        found = {f"{suite}/{task_id}": catalogue.task(suite, task_id) for suite, task_id in tasks}
        digests = FileDigests(memory_file())
        # Hundreds of tasks are one scene seen otherwise.
        scenes = {task.bddl_path: task for task in found.values()}
        try:
            known = {path: content_of(path, catalogue.init_states(task), digests) for path, task in scenes.items()}
        except OSError as error:
            raise SetupError(f"libero_plus: expected files that can be read, got {error}; {package.INSTALL}") from error
        digests.save()
        return {
            **content_identity({name: known[task.bddl_path] for name, task in found.items()}),
            "content_perturbation": combined({name: _perturbation(task) for name, task in found.items()}),
            "perturbed": {name: self._told(task) for name, task in found.items() if task.says.axis != CONTROL},
        }

    def origins(self) -> Mapping[str, Origin]:
        """LIBERO's packages and folders, and the folder of LIBERO-Plus' files."""
        return {**super().origins(), "libero_plus": Origin(str(package.folder()))}

    def check(self) -> None:
        """Passes when LIBERO can run and LIBERO-Plus' files are there.

        Raises:
            SetupError: they are not.
        """
        super().check()
        package.task_names()

    def make_env(self, suite: str, task_id: int, settings: EnvSettings) -> Env:
        """The env of one task.

        Raises:
            ConfigError: the suite or the task is unknown.
        """
        from ray_eval.envs.libero_plus.env import LiberoPlusEnv

        return LiberoPlusEnv(suite, task_id, settings)

    def _entry(self, suite: str, found: PlusTask) -> TaskEntry:
        sentence = catalogue.sentence(found, self._rules.prompt, self._rules.instruction)
        axis = "" if found.says.axis == CONTROL else found.says.axis
        control = (CONTROLS, catalogue.control_id(found)) if axis and self._rules.controls else None
        perturbed = Perturbed(found.base_suite, axis, found.level, control)
        return TaskEntry(suite, found.task_id, found.name, sentence, perturbed)

    def _told(self, found: PlusTask) -> dict[str, Any]:
        return {"axis": found.says.axis, "level": found.level, "control": f"{CONTROLS}/{catalogue.control_id(found)}"}


def _perturbation(found: PlusTask) -> str:
    """SHA-256 of what is done to a task beyond its files: camera, arm, noise and what its sentence may be."""
    said = (found.name, dataclasses.astuple(found.says), catalogue.posture(found), found.level, found.base_suite)
    return hashlib.sha256(repr(said).encode()).hexdigest()
