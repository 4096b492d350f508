import pytest

from ray_eval.config import load_config
from ray_eval.driver.resolve import told_section
from ray_eval.driver.simulators import simulator_named
from ray_eval.errors import ConfigError, SetupError
from ray_eval.policies import make_policy
from ray_eval.sections import ExpertPolicy


def test_experts_run_where_the_simulator_does_unless_told_otherwise():
    said = ["policy=expert", "suite=metaworld_mt10", "simulator.python=/opt/metaworld/bin/python"]
    env = simulator_named("metaworld").spec("metaworld_mt10", 0)
    section = told_section(load_config(None, said), env)
    assert (section.simulator, section.python) == ("metaworld", "/opt/metaworld/bin/python")
    other = told_section(load_config(None, [*said, "policy.python=/opt/other/bin/python"]), env)
    assert other.python == "/opt/other/bin/python"


def test_a_simulator_without_experts_is_refused():
    with pytest.raises(ConfigError, match=r"brings experts along \(metaworld\), got pusht; LIBERO's is policy=oracle"):
        make_policy(ExpertPolicy(simulator="pusht"))


def test_experts_without_their_package_say_where_to_run_them():
    with pytest.raises(SetupError, match=r"expected metaworld in this interpreter.*policy.python=PATH"):
        make_policy(ExpertPolicy(simulator="metaworld"))


def test_an_expert_looks_at_every_step():
    with pytest.raises(ConfigError, match=r"policy\.chunk_len: expected 1"):
        load_config(None, ["policy=expert", "suite=metaworld_mt10", "policy.chunk_len=5"])
