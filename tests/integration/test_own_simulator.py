"""A simulator of a user's own: the example of docs/simulators.md, as a plug-in of another package."""

import sys
from pathlib import Path

import pytest

from ray_eval.config import load_config
from ray_eval.driver.plan import plan_of
from ray_eval.driver.resolve import env_settings, queue_rules, told_section
from ray_eval.driver.simulators import env_spec_of
from ray_eval.envs.registry import simulator_names, simulator_type
from ray_eval.policies import make_policy
from ray_eval.rollout.hosted import HostedRollout
from ray_eval.rollout.running import Rollout, RolloutSettings
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection, SimulatorSection
from ray_eval.serving.server import serve_in_thread
from ray_eval.testing import check_simulator_contract
from ray_eval.types import Outcome

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "point_simulator.py"
ENTRY_POINT = "[ray_eval.simulators]\npoint = point_simulator:PointSimulator\n"


@pytest.fixture(autouse=True)
def _installed(tmp_path, monkeypatch):
    """The example in a folder of packages, with the entry point that its package would have."""
    (tmp_path / "point_simulator.py").write_text(EXAMPLE.read_text())
    information = tmp_path / "point_simulator-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: point-simulator\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(ENTRY_POINT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    yield
    sys.modules.pop("point_simulator", None)


def test_the_example_has_forty_lines():
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip() and not line.startswith(("#", '"""'))]
    assert len(code) <= 40


def test_it_is_found_by_its_entry_point_and_keeps_the_contract():
    assert "point" in simulator_names()
    check_simulator_contract(simulator_type("point")(None))


def test_its_episodes_are_the_same_here_and_in_another_interpreter(tmp_path):
    config = load_config(None, ["suite=point", "policy=random", "policy.chunk_len=5"])
    plan = plan_of(config)
    assert (len(plan), plan[0].max_steps) == (50, 60)
    env = env_spec_of(config, plan)
    policy = make_policy(told_section(config, env))
    assert policy.spec.action_dim == 2
    rules, address = queue_rules(config, policy.spec), f"unix:{tmp_path}/s"
    settings = RolloutSettings("run", env_settings(config, policy.spec, env), rules, policy=policy.spec)
    with serve_in_thread(policy, ListenSection(address), BatchingSection()):
        here = Rollout(lambda: ConnectSection(address), SimulatorSection("point"))
        there = HostedRollout(SimulatorSection("point", python=sys.executable), lambda: ConnectSection(address))
        expected = [here.run(spec, 1, settings) for spec in plan[:3]]
        assert [there.run(spec, 1, settings) for spec in reversed(plan[:3])] == expected[::-1]
        here.close()
        there.close()
    assert {result.outcome for result in expected} <= {Outcome.SUCCESS, Outcome.FAILURE}
    assert len({result.trajectory_sha256 for result in expected}) == 3
    assert all(result.renders >= 1 for result in expected)
