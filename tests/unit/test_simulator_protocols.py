import pytest

from ray_eval.config import load_config, protocol_names, simulator_section
from ray_eval.errors import ConfigError


@pytest.mark.parametrize("suite", ["metaworld_mt10", "aloha", "pusht"])
def test_each_of_a_simulators_protocols_can_be_read_as_it_stands(suite):
    simulator = suite.partition("_")[0]
    for name in protocol_names(simulator):
        config = load_config(None, ["policy=random", f"suite={suite}", f"protocol={name}"])
        assert config.protocol.name == name
        assert config.protocol.settle_steps is None


def test_lerobots_protocol_is_another_one_for_each_simulator():
    said = ["policy=random", "protocol=lerobot"]
    told = {suite: load_config(None, [*said, f"suite={suite}"]).protocol for suite in SUITES}
    budgets = {suite: protocol.max_steps.of(suite) for suite, protocol in told.items()}
    assert budgets == {"libero_goal": 300, "metaworld_mt50": 500, "aloha": 400, "pusht": 300}
    assert {protocol.env_seed for protocol in told.values()} == {1000}


SUITES = ("libero_goal", "metaworld_mt50", "aloha", "pusht")


def test_a_protocol_chooses_of_its_simulator_and_the_user_has_the_last_word():
    lerobot = ["policy=random", "suite=metaworld_mt10", "protocol=lerobot"]
    assert simulator_section(load_config(None, lerobot)).own.route == "seeded"
    said = simulator_section(load_config(None, [*lerobot, "simulator.corner2=package"])).own
    assert (said.route, said.corner2, said.success) == ("seeded", "package", "any")


def test_a_protocol_of_another_simulator_is_refused_with_what_there_is():
    with pytest.raises(ConfigError, match="expected one of lerobot for the simulator pusht, got 'openpi'"):
        load_config(None, ["policy=random", "suite=pusht", "protocol=openpi"])
    with pytest.raises(ConfigError, match=r"got 'metaworld'"):
        load_config(None, ["policy=random", "suite=libero_goal", "protocol=metaworld"])


def test_success_at_the_last_step_is_a_protocol():
    config = load_config(None, ["policy=random", "suite=metaworld_mt10", "protocol=metaworld_last"])
    assert simulator_section(config).own.success == "last"
    assert config.identity()["simulator.success"] == "last"
