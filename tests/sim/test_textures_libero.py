"""LIBERO's scenes compiled apart from their textures: nothing else of mjModel changes."""

import dataclasses

import mujoco
import numpy as np
import pytest

from ray_eval.bench.exactness import SUITES
from ray_eval.envs.libero import suites
from ray_eval.envs.libero.model_cache import ModelCache, default_folder
from ray_eval.envs.libero.textures import split

SAMPLE = ("libero_10", 2)
EVERY = [(suite, task.task_id) for suite in SUITES for task in suites.tasks(suite) if (suite, task.task_id) != SAMPLE]
PIXELS = {"nbuffer", "npaths", "ntexdata", "paths", "tex_adr", "tex_data", "tex_height", "tex_pathadr", "tex_width"}
"""What says how large textures are, where they begin, and what files they are of."""


def values(thing, names=None):
    """Everything that a struct of MuJoCo's has, as bytes by dotted name."""
    found = {}
    for name in names or dir(thing):
        value = None if name.startswith("_") else getattr(thing, name)
        if isinstance(value, np.ndarray):
            found[name] = (value.shape, value.tobytes())
        elif isinstance(value, (int, float, bytes, str)):
            found[name] = value
        elif type(value).__module__.startswith("mujoco") and not callable(value):
            found |= {f"{name}.{inner}": each for inner, each in values(value).items()}
    return found


@pytest.mark.parametrize(
    ("suite", "task_id"),
    [SAMPLE, *(pytest.param(*each, marks=pytest.mark.nightly) for each in EVERY)],
)
def test_only_pixels_come_of_a_texture(simulator, suite, task_id):
    from ray_eval.envs.libero.simulation import Simulation

    simulation = Simulation(suites.task(suite, task_id).bddl_path, ModelCache(default_folder(), 2**33))
    mjcf, ours = simulation.env.mjcf, simulation.env.sim.model._model
    assert simulation.textures is not None
    whole, bare = mujoco.MjModel.from_xml_string(mjcf), mujoco.MjModel.from_xml_string(split(mjcf).mjcf)
    assert ours.tex_data.size == bare.tex_data.size < 1000 < whole.tex_data.size
    expected, found = values(whole), values(bare)
    assert expected.keys() == found.keys()
    assert "opt.timestep" in expected
    assert {name for name in expected if expected[name] != found[name]} <= PIXELS
    for index, texture in enumerate(split(mjcf).textures):
        alone = mujoco.MjModel.from_xml_string(texture.mjcf)
        numbers = [
            name for name in dir(whole) if name.startswith("tex_") and name not in PIXELS - {"tex_width", "tex_height"}
        ]
        assert [getattr(alone, name)[0] for name in numbers] == [getattr(whole, name)[index] for name in numbers]
        start = whole.tex_adr[index]
        assert np.array_equal(alone.tex_data, whole.tex_data[start : start + alone.tex_data.size])
        assert whole.texture(index).name == texture.name
    simulation.close()


def test_where_textures_cannot_be_apart_the_scene_has_them_itself(simulator, monkeypatch):
    from ray_eval.envs.libero import simulation
    from ray_eval.envs.libero.env import LiberoEnv
    from ray_eval.envs.libero.settings import libero
    from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
    from ray_eval.types import IMAGE, EpisodeSpec

    recipe = ObservationRecipe((IMAGE,), images=ImageRecipe(render_size_px=64, image_size_px=64))

    def image(**settings):
        env = LiberoEnv("libero_goal", 0, EnvSettings(recipe, libero(settle_steps=0), **settings))
        env.reset(EpisodeSpec("libero_goal", 0, 0, env_seed=7, max_steps=1))
        found = env.observe()[IMAGE].tobytes()
        is_apart = env._simulation.textures is not None
        env.close()
        return found, is_apart

    expected, is_apart = image()
    assert is_apart
    assert image(model_cache_bytes=0) == (expected, False)
    original = simulation.split
    misnamed = lambda mjcf: dataclasses.replace(original(mjcf), textures=original(mjcf).textures[1:])  # noqa: E731
    for instead in (lambda _mjcf: None, misnamed):
        monkeypatch.setattr(simulation, "split", instead)
        assert image() == (expected, False)
