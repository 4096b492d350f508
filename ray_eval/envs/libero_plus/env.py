"""`LiberoPlusEnv`: a LIBERO env whose camera, arm, image noise, wording or layout is another; owned by one thread."""

from __future__ import annotations

import gc
import hashlib
import re
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.random import RandomState

from ray_eval.envs.libero import suites
from ray_eval.envs.libero.env import CAMERAS, Frame, LiberoEnv
from ray_eval.envs.libero.preprocessing import Resize
from ray_eval.envs.libero.rendering import SceneRenderer
from ray_eval.envs.libero.simulation import Simulation
from ray_eval.envs.libero_plus import catalogue
from ray_eval.envs.libero_plus.camera import seen_from
from ray_eval.envs.libero_plus.noise import SIZE_PX, ImageNoise
from ray_eval.envs.libero_plus.settings import LiberoPlusSettings
from ray_eval.sections import EnvSettings
from ray_eval.types import IMAGE, EpisodeSpec, FloatArray, StepResult

CAMERA: Final = CAMERAS[IMAGE]
"""The camera that is moved, and whose images get the noise."""

Draw = Callable[[], RandomState]
"""Gives the generator of one image's noise, in the state in which it is drawn from."""


Scene = tuple[str, int]
"""The text of a BDDL file without its sentence, and the thread that built its simulation."""
_parked: dict[Scene, tuple[Simulation, SceneRenderer]] = {}
"""The simulation of the env that was closed last, for another perturbation of the same scene; one at most."""


class LiberoPlusEnv(LiberoEnv):
    """One perturbed task. Its states and images are those of LIBERO-Plus' own env, with its mistakes or without.

    Most tasks are one scene seen otherwise, so a closed env leaves its simulation to the next one of that scene.
    """

    def __init__(self, suite: str, task_id: int, settings: EnvSettings) -> None:
        self._plus = catalogue.task(suite, task_id)
        own = settings.simulator.own
        self._rules: LiberoPlusSettings = LiberoPlusSettings() if own is None else own
        self._noise = ImageNoise(self._plus.says.noise) if self._plus.says.noise else None
        self._stream: NoiseStream | None = None
        self._is_sound = True
        super().__init__(suite, task_id, settings)

    @property
    def instruction(self) -> str:
        """The sentence that the settings choose, or their `task_text`."""
        if self._settings.task_text is not None:
            return self._settings.task_text
        return catalogue.sentence(self._plus, self._rules.prompt, self._rules.instruction)

    def reset(self, episode: EpisodeSpec) -> None:
        """Brings the env to step 0: camera and arm in their places, seeded, hard reset, at its init state, settled.

        Raises:
            EpisodeError: the init state does not exist or does not fit, or no placement was found.
        """
        self._is_sound = False
        self._perturb()
        self._episode, self._step, self._stream = episode, -1, None
        super().reset(episode)
        self._is_sound = True

    def step(self, action: FloatArray) -> StepResult:
        """Executes one native action for one control step.

        Raises:
            EpisodeError: the simulation diverged.
        """
        self._is_sound = False
        result = super().step(action)
        self._is_sound = True
        return result

    def close(self) -> None:
        """Leaves the simulation to the next env of this scene, or frees it where an episode broke in it."""
        if not self._is_sound:
            super().close()
            return
        self._history.clear()
        self._reader = None
        release_parked()
        _parked[self._scene] = self._simulation, self._renderer

    def _opened(self) -> tuple[Simulation, SceneRenderer]:
        text = re.sub(r"\(:language[^)]*\)", "", self._plus.bddl_path.read_text(encoding="utf-8"))
        self._scene = text, threading.get_ident()
        kept = _parked.pop(self._scene, None)
        release_parked()
        return super()._opened() if kept is None else kept

    def _found(self, suite: str, task_id: int) -> suites.Task:  # noqa: ARG002 -- found already
        return suites.Task(task_id, self._plus.name, self._plus.base.instruction, self._plus.bddl_path)

    def _states(self) -> FloatArray:
        return catalogue.init_states(self._plus)

    @property
    def _arm(self) -> Any:
        return self._simulation.env.robots[0]

    def _perturb(self) -> None:
        """Has the next reset begin with this task's camera and arm."""
        env = self._simulation.env
        usual = env.model.mujoco_arena.worldbody.find(f"./camera[@name='{CAMERA}']")
        position, quaternion = (np.array(usual.get(name).split(), dtype=np.float64) for name in ("pos", "quat"))
        env.place_camera(CAMERA, *seen_from(position, quaternion, self._plus.says.view))
        posture = catalogue.posture(self._plus)
        self._arm.init_qpos = np.array(self._arm.robot_model.init_qpos if posture is None else posture)

    def _init_state(self, init_state_id: int) -> FloatArray | None:
        state, posture = super()._init_state(init_state_id), catalogue.posture(self._plus)
        if state is None or posture is None or self._rules.arm == "init_state":
            return state
        begun = state.copy()
        begun[1 + np.array(self._arm._ref_joint_pos_indexes)] = posture  # noqa: SLF001 -- robosuite has no public way
        return begun

    def _frame(self) -> Frame:
        frame = super()._frame()
        self._step += 1
        draw = None if self._noise is None else self._draw(self._noise)
        if self._noise is not None and draw is not None:
            noise, size_px = self._noise, self._settings.recipe.images.render_size_px or SIZE_PX
            resized = (lambda image: image) if size_px == SIZE_PX else Resize(size_px, "bilinear")
            frame.noise = lambda image: resized(noise.apply(image, draw()))
        return frame

    def _draw(self, noise: ImageNoise) -> Draw | None:
        """What this step's noise is drawn from; None where the image is clean."""
        if self._rules.noise == "by_step":
            seed = noise_seed(self._episode, self._plus.name, self._step)
            return lambda: RandomState(seed)
        if self._stream is None:
            # LIBERO-Plus draws for the reset's image and for each settle step's; not for that of the init state.
            settled, is_stored = self._own.settle_steps, self._own.init_states == "stored"
            self._stream = NoiseStream(noise, max(settled, int(is_stored)))
            if not settled and is_stored:
                return None
        return self._stream.next()


def release_parked() -> None:
    """Frees the simulation that waits for another env of its scene."""
    while _parked:
        _, (simulation, renderer) = _parked.popitem()
        renderer.close()
        simulation.close()
        del simulation, renderer
        gc.collect()  # robosuite's objects refer to one another in circles


class NoiseStream:
    """The global generator's numbers from the present on, image after image, whether one is looked at or not."""

    def __init__(self, noise: ImageNoise, images: int) -> None:
        """Leaves out the numbers of some images before the first that is asked for."""
        self._noise = noise
        self._generator = RandomState(0)
        self._generator.set_state(np.random.get_state())  # noqa: NPY002 -- LIBERO's, after its seeded reset
        for _ in range(images):
            noise.skip(self._generator)

    def next(self) -> Draw:
        """The next image's numbers."""
        state = self._generator.get_state()
        self._noise.skip(self._generator)

        def drawn() -> RandomState:
            generator = RandomState(0)
            generator.set_state(state)
            return generator

        return drawn


def noise_seed(episode: EpisodeSpec, task: str, step: int) -> int:
    """Seed of one image's noise, in [0, 2**32): of the episode, the task's name and the step, 0 after settling."""
    where = f"{task}|{episode.env_seed}|{episode.init_state_id}|{episode.repeat}|{step}"
    return int.from_bytes(hashlib.sha256(f"image noise|{where}".encode()).digest()[:4], "little")
