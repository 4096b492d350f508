"""Meta-World through ray-eval against the plain package, bit for bit; runs in the simulator's own interpreter:

    PATH_OF_ITS_PYTHON benchmarks/metaworld_exactness.py                      # 50 tasks x 3 goals x 100 steps: minutes
    PATH_OF_ITS_PYTHON benchmarks/metaworld_exactness.py --tasks reach-v3 --goals 0 1 --images-every 10

The packaged expert of each task acts in a new environment of the package. The same actions go to an env of ours that
was just built, and to one that has run every case before. After every step time, positions, velocities, the mocap
body, the observation, the reward and the success are compared; after the reset and after every so many steps the
480 px images of two cameras as well. Exit code 0: all equal; 1: some not.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np

from ray_eval.envs.metaworld.env import MetaworldEnv
from ray_eval.envs.metaworld.settings import MetaworldSettings
from ray_eval.envs.metaworld.simulator import MetaworldSimulator
from ray_eval.envs.metaworld.tasks import INSTRUCTIONS, MAX_STEPS, PREFIX
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.types import ENVIRONMENT_STATE, IMAGE_PREFIX, Array, EpisodeSpec

SEED = 42
CAMERAS = ("corner2", "gripperPOV")
RECIPE = ObservationRecipe(
    (*(f"{IMAGE_PREFIX}{name}" for name in CAMERAS), ENVIRONMENT_STATE),
    images=ImageRecipe(render_size_px=480, image_size_px=480),
)


@dataclass
class Told:
    """What one episode gave: bytes after the reset and after each step, and the images by step."""

    steps: list[bytes] = field(default_factory=list)
    images: dict[int, list[Array]] = field(default_factory=dict)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compares the chosen cases; the exit code."""
    options = _options(arguments)
    warnings.simplefilter("ignore")  # the package's own, of gymnasium and of its experts' gains
    counts = dict.fromkeys(("cases", "fresh", "used", "images", "fresh images", "used images"), 0)
    images_at = range(0, options.steps + 1, options.images_every) if options.images_every else ()
    for task in options.tasks:
        used = _env(task)
        for goal in options.goals:
            _compare(goal, options.steps, images_at, used, counts)
        used.close()
        print(task, *(f"{value} {name}" for name, value in counts.items()), flush=True)
    equal = counts["fresh"] == counts["used"] == counts["cases"]
    return 0 if equal and counts["fresh images"] == counts["used images"] == counts["images"] else 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(INSTRUCTIONS), choices=list(INSTRUCTIONS), metavar="TASK")
    parser.add_argument("--goals", nargs="+", type=int, default=[0, 7, 49])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images-every", type=int, default=0, metavar="STEPS", help="0: none are compared")
    return parser.parse_args(arguments)


def _compare(goal: int, steps: int, images_at: Collection[int], used: MetaworldEnv, counts: dict[str, int]) -> None:
    task = used.task
    actions, plain = _plain(task, goal, steps, images_at)
    fresh = _env(task)
    counts["cases"] += 1
    counts["images"] += len(images_at) * len(CAMERAS)
    for name, env in (("fresh", fresh), ("used", used)):
        told = _ours(env, goal, actions, images_at)
        differing = [step for step, pair in enumerate(zip(plain.steps, told.steps, strict=True)) if pair[0] != pair[1]]
        counts[name] += not differing
        if differing:
            print(f"{task} goal {goal}, {name}: another state from step {differing[0]} on")
        for step, pairs in _pairs(plain, told):
            pixels = [int((one != other).any(-1).sum()) for one, other in pairs]
            counts[f"{name} images"] += pixels.count(0)
            if any(pixels):
                print(f"{task} goal {goal}, {name}, step {step}: {pixels} pixels differ in {CAMERAS}")
    fresh.close()


def _pairs(plain: Told, told: Told) -> Iterator[tuple[int, list[tuple[Array, Array]]]]:
    for step, images in plain.images.items():
        yield step, list(zip(images, told.images[step], strict=True))


def _plain(task: str, goal: int, steps: int, images_at: Collection[int]) -> tuple[list[Array], Told]:
    """The expert's actions in a new environment of the package, and what it told."""
    import metaworld
    from metaworld.policies import ENV_POLICY_MAP

    benchmark = _benchmarks.setdefault(task, metaworld.MT1(task, seed=SEED))
    env = benchmark.train_classes[task](render_mode="rgb_array", camera_name=CAMERAS[0])
    env.set_task(benchmark.train_tasks[goal])
    expert, told, actions = ENV_POLICY_MAP[task](), Told(), []
    observation, _ = env.reset()
    for step in range(steps + 1):
        if step:
            actions.append(expert.get_action(observation))
            observation, reward, _, _, info = env.step(actions[-1])
        told.steps.append(_bytes(env, observation, *((reward, info["success"]) if step else (0.0, 0.0))))
        if step in images_at:
            told.images[step] = [_plain_image(env, camera) for camera in CAMERAS]
    env.close()
    return actions, told


_benchmarks: dict[str, Any] = {}


def _plain_image(env: Any, camera: str) -> Array:
    env.mujoco_renderer.camera_id = env.model.camera(camera).id
    image = np.array(env.render())
    return image[::-1, ::-1] if camera == "corner2" else image


def _env(task: str) -> MetaworldEnv:
    made = MetaworldSimulator(MetaworldSettings()).make_env(f"{PREFIX}{task}", 0, EnvSettings(RECIPE))
    assert isinstance(made, MetaworldEnv)
    return made


def _ours(env: MetaworldEnv, goal: int, actions: Sequence[Array], images_at: Collection[int]) -> Told:
    told = Told()
    env.reset(EpisodeSpec(f"{PREFIX}{env.task}", 0, goal, SEED, MAX_STEPS))
    inner = env._simulation.env  # noqa: SLF001 -- what is compared is what is inside
    for step in range(len(actions) + 1):
        result = env.step(env.native_action(actions[step - 1])) if step else None
        ended = (result.reward, result.is_success) if result else (0.0, 0.0)
        told.steps.append(_bytes(inner, env._history.present.observation, *ended))  # noqa: SLF001
        if step in images_at:
            seen = env.observe()
            told.images[step] = [seen[f"{IMAGE_PREFIX}{camera}"] for camera in CAMERAS]
    return told


def _bytes(env: Any, observation: Array, reward: float, success: float) -> bytes:
    data = env.data
    parts = ([data.time], data.qpos, data.qvel, data.mocap_pos.ravel(), data.mocap_quat.ravel(), observation)
    return np.concatenate([*parts, [float(reward), float(success)]]).astype("<f8").tobytes()


if __name__ == "__main__":
    raise SystemExit(main())
