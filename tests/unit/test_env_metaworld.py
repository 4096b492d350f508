import pytest

from ray_eval.envs.metaworld.settings import MetaworldSettings
from ray_eval.envs.metaworld.simulator import MetaworldSimulator
from ray_eval.envs.metaworld.tasks import INSTRUCTIONS, is_goal_hidden, tasks_of
from ray_eval.envs.registry import simulator_of_suite
from ray_eval.errors import ConfigError, SetupError
from ray_eval.sections import EnvSettings, ObservationRecipe
from ray_eval.types import ENVIRONMENT_STATE, SINGLE_IMAGE, STATE, is_image

SIMULATOR = MetaworldSimulator(MetaworldSettings())


def test_the_suites_have_the_tasks_of_meta_worlds_benchmarks():
    sizes = {suite: len(SIMULATOR.tasks(suite)) for suite in SIMULATOR.suites()}
    assert sizes == {"metaworld_mt10": 10, "metaworld_mt50": 50, "metaworld_ml10": 5, "metaworld_ml45": 5}
    assert all(task.name in INSTRUCTIONS for suite in sizes for task in SIMULATOR.tasks(suite))


def test_each_task_is_a_suite_of_its_own_by_its_name():
    (only,) = SIMULATOR.tasks("metaworld_peg-insert-side-v3")
    assert (only.task_id, only.name, only.instruction) == (0, "peg-insert-side-v3", "Insert a peg sideways")
    assert tasks_of("peg-insert-side-v3") is None


def test_a_suites_name_says_whose_it_is_without_anything_installed():
    assert simulator_of_suite("metaworld_mt10") == "metaworld"
    assert simulator_of_suite("metaworld_reach-v3") == "metaworld"
    assert [simulator_of_suite(suite) for suite in ("aloha", "pusht", "libero_10")] == ["aloha", "pusht", "libero"]


def test_an_unknown_suite_or_task_is_told_with_what_was_meant():
    with pytest.raises(ConfigError, match=r"got 'metaworld_mt5'.*metaworld_mt50"):
        SIMULATOR.tasks("metaworld_mt5")
    with pytest.raises(ConfigError, match=r"reach-v3"):
        SIMULATOR.tasks("metaworld_reach-v2")
    with pytest.raises(ConfigError, match="expected 0 to 9 in metaworld_mt10, got 10"):
        SIMULATOR.start_state_count("metaworld_mt10", 10)


def test_the_goal_is_hidden_in_the_meta_learning_suites_alone():
    assert [suite for suite in SIMULATOR.suites() if is_goal_hidden(suite)] == ["metaworld_ml10", "metaworld_ml45"]


def test_the_spec_has_lerobots_camera_beside_the_packages_seven():
    spec = SIMULATOR.spec("metaworld_mt50", 49)
    assert sum(is_image(key) for key in spec.keys) == 8
    assert {SINGLE_IMAGE, STATE, ENVIRONMENT_STATE, "observation.images.gripperPOV"} < set(spec.keys)
    assert (spec.action.dim, spec.state.names[-1], spec.most_steps) == (4, "gripper_open", 500)


def test_the_success_rule_is_in_the_spec():
    told = [
        MetaworldSimulator(MetaworldSettings(success=rule)).spec("metaworld_mt10", 0).success
        for rule in ("any", "last")
    ]
    assert "ends there" in told[0]
    assert "last step of the budget" in told[1]


def test_where_the_package_is_missing_the_message_says_what_to_type():
    with pytest.raises(SetupError, match=r"ray-eval install metaworld, or name .*simulator.python=PATH"):
        SIMULATOR.make_env("metaworld_mt10", 0, EnvSettings(ObservationRecipe((STATE,))))
    assert "metaworld missing instead of 3.1.1" in SIMULATOR.version_warning()
