"""LIBERO's environment for one task, changed in one respect: its hard reset rebuilds nothing.

Plain LIBERO's hard reset writes the scene's XML, compiles it and allocates new mjData, 1.9 to 4.9 s, to arrive at
what it had before: the XML is the same every time (compared for the 397 tasks that can be built), and no random
number is drawn on the way. Here the same three steps put back what an episode changes, and everything after them is
LIBERO's own, so that every draw and every forward happens as in the first hard reset of a fresh environment, in the
same order. What is put back:

- mjData: `mj_resetData` and the two forwards that plain LIBERO makes (`_initialize_sim`, and the render context
  that it builds there). Each forward moves the solver's warm start, and with it the last bits of a trajectory.
- mjModel: the fixtures' poses that were drawn, the visibility of sites.
- The gripper's `current_action`, which accumulates, and the burners' visibility that LIBERO keeps in its objects.
- `object_property_initializers`: construction appends the doors and drawers that start open, and each hard reset
  appends them again, also one that is repeated because no valid placement was drawn. Each entry draws, so what is
  drawn afterwards depends on how many resets there were; `forget_resets` makes the next one the first.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_eval.envs.libero.versions import check_simulator

Compiler = Callable[[str], Any]
"""Makes an mjModel (the binding's own) of an MJCF text."""

_ASSET_PREFIXES = ("mesh_", "tex_", "skin_", "hfield_", "bvh_", "name", "text_", "plugin_")
"""Arrays of mjModel that only compiling writes: assets, and what is derived from them. They are most of its bytes."""


def make_task_env(bddl_path: Path, compile_model: Compiler) -> Any:
    """The environment of a BDDL file, constructed without cameras; its first reset is as good as any later one.

    What is drawn from NumPy's global generator at construction concerns no episode.

    Raises:
        RandomizationError: (robosuite's) the placement drawn at construction is not valid.
    """
    import_simulator()
    import robosuite
    from libero.libero.envs import TASK_MAPPING, bddl_utils

    problem = TASK_MAPPING[bddl_utils.get_problem_info(str(bddl_path))["problem_name"]]
    # Under the problem's own name, by which LIBERO checks that the BDDL file is meant for it.
    env_class = type(problem.__name__, (_WarmReset, problem), {"_compile": staticmethod(compile_model)})
    return env_class(
        str(bddl_path),
        robots=["Panda"],
        controller_configs=robosuite.load_controller_config(default_controller="OSC_POSE"),
        initialization_noise=None,
        use_camera_obs=False,
        has_offscreen_renderer=False,
        ignore_done=True,
    )


def import_simulator() -> None:
    """Imports robosuite and LIBERO's environments.

    Raises:
        SetupError: their versions cannot work together.
    """
    check_simulator()
    importlib.import_module("libero.libero.envs")


class _WarmReset:
    """Mixed into a LIBERO problem class: the steps of robosuite's hard reset, done once and put back ever after."""

    sim: Any
    mjcf: str
    """The text that the simulation was compiled from."""
    robots: Any
    objects_dict: Mapping[str, Any]
    fixtures_dict: Mapping[str, Any]
    object_property_initializers: list[Any]
    _compile: Compiler
    _fresh: _Fresh | None = None

    def forget_resets(self) -> None:
        """Makes the next reset the first one since construction."""
        if self._fresh is not None:
            self.object_property_initializers[:] = self._fresh.initializers

    def place_camera(self, name: str, position: NDArray[np.float64], quaternion: NDArray[np.float64]) -> None:
        """Moves a fixed camera to where it stands from the next reset on: (3,) m and (4,) w x y z, of unit length."""
        if self._fresh is not None:
            camera = self.sim.model.camera_name2id(name)
            self._fresh.arrays["cam_pos"][camera], self._fresh.arrays["cam_quat"][camera] = position, quaternion

    def _load_model(self) -> None:
        if self._fresh is None:
            super()._load_model()  # type: ignore[misc]
            return
        self.object_property_initializers += self._fresh.initializers
        for name, visibility in self._fresh.visibility.items():
            self._entities()[name].object_properties["vis_site_names"] = dict(visibility)
        for robot in self.robots:
            robot.gripper.current_action = np.zeros(robot.gripper.dof)

    def _destroy_sim(self) -> None:
        """Nothing: the simulation is kept."""

    def _initialize_sim(self, xml_string: str | None = None) -> None:
        env: Any = self
        if self._fresh is None:
            from robosuite.utils.binding_utils import MjSim

            self.mjcf = xml_string or env.model.get_xml()
            self.sim = MjSim(self._compile(self.mjcf))
            self._fresh = self._remembered()
        else:
            for name, values in self._fresh.arrays.items():
                getattr(self.sim.model, name)[...] = values
            self.sim.reset()
        self.sim.forward()
        self.sim.forward()
        env.initialize_time(env.control_freq)

    def _remembered(self) -> _Fresh:
        return _Fresh(
            arrays=_changeable_arrays(self.sim.model._model),  # noqa: SLF001 -- robosuite has no public way
            visibility={
                name: dict(entity.object_properties["vis_site_names"]) for name, entity in self._entities().items()
            },
            initializers=tuple(self.object_property_initializers),
        )

    def _entities(self) -> dict[str, Any]:
        """Objects and fixtures whose sites LIBERO shows and hides."""
        everything = {**self.objects_dict, **self.fixtures_dict}
        return {name: entity for name, entity in everything.items() if hasattr(entity, "object_properties")}


@dataclass(frozen=True, slots=True)
class _Fresh:
    """What a loaded and compiled environment holds before anything is drawn."""

    arrays: Mapping[str, NDArray[Any]]
    """Arrays of mjModel, copied."""
    visibility: Mapping[str, Mapping[str, Any]]
    """By object: whether its sites are shown, as LIBERO keeps it."""
    initializers: tuple[Any, ...]
    """Samplers of doors and drawers that loading appended once."""


def _changeable_arrays(model: Any) -> dict[str, NDArray[Any]]:
    """Copies of all arrays of an mjModel but the assets', by name."""
    names = [name for name in dir(model) if not name.startswith(("_", *_ASSET_PREFIXES))]
    arrays = {name: getattr(model, name) for name in names}
    return {name: array.copy() for name, array in arrays.items() if isinstance(array, np.ndarray) and array.size}
