import itertools
import subprocess
import sys

import numpy as np
import pytest

from ray_eval.driver.simulators import installed_suites
from ray_eval.envs.libero import suites
from ray_eval.envs.libero import suites as catalogue
from ray_eval.envs.registry import simulator_for, simulator_of_suite
from ray_eval.errors import ConfigError
from ray_eval.sections import SimulatorSection

STANDARD = {"libero_spatial": 10, "libero_object": 10, "libero_goal": 10, "libero_10": 10, "libero_90": 90}


def test_the_standard_suites_are_there_with_their_tasks():
    assert {name: len(catalogue.tasks(name)) for name in STANDARD} == STANDARD


def test_every_suite_named_has_tasks_whose_files_exist():
    for name in catalogue.suites():
        assert all(task.bddl_path.is_file() for task in suites.tasks(name))


def test_a_registered_suite_without_tasks_is_not_listed_and_says_why():
    assert "libero_100" not in catalogue.suites()
    with pytest.raises(ConfigError, match=r"libero_100: .*no tasks"):
        catalogue.tasks("libero_100")


def test_a_suite_whose_objects_are_not_installed_is_not_listed():
    assert "libero_goal_with_red_box" not in catalogue.suites()
    with pytest.raises(ConfigError, match="no assets for red_box"):
        catalogue.tasks("libero_goal_with_red_box")


def test_a_suite_that_changes_the_goal_gives_the_scenes_own_instruction():
    assert "cream cheese" in catalogue.task("libero_object_task", 0).instruction


def test_a_misspelt_suite_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'libero_object'"):
        catalogue.tasks("libero_objct")


def test_a_task_out_of_range_names_the_range():
    with pytest.raises(ConfigError, match="0 to 9 in libero_goal, got 10"):
        catalogue.task("libero_goal", 10)


def test_the_order_is_liberos_own():
    first = catalogue.task("libero_object", 0)
    assert first.name == "pick_up_the_alphabet_soup_and_place_it_in_the_basket"
    assert first.instruction == "pick up the alphabet soup and place it in the basket"


def test_stored_init_states_are_fifty_rows_of_float64():
    states = suites.init_states("libero_object", 0)
    assert len(states) == catalogue.init_state_count("libero_object", 0) == 50
    assert states.dtype == np.float64


def test_init_states_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        suites.init_states("libero_object", 0)[0, 0] = 1.0


def test_the_fake_suite_is_there_but_not_listed():
    fake = simulator_for(SimulatorSection(), "fake")
    assert "fake" not in itertools.chain(*installed_suites().values())
    assert len(fake.tasks("fake")) == 3
    assert fake.start_state_count("fake", 2) == 5


def test_a_suite_that_nobody_claims_is_asked_of_libero():
    assert simulator_of_suite("libero_objct") == simulator_of_suite("nobodys") == "libero"


def test_listing_prints_nothing_and_loads_no_simulator():
    code = (
        "import sys; from ray_eval.envs.libero import suites as catalogue;"
        "catalogue.tasks('libero_object'); catalogue.init_state_count('libero_object', 0);"
        "assert not {'mujoco', 'robosuite', 'numba', 'torch'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
