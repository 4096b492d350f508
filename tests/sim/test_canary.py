"""The canary on real MuJoCo and robosuite, in processes of their own."""

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from ray_eval.envs.arithmetic import arithmetic_environment
from ray_eval.envs.gl import choose_backend, gl_environment
from ray_eval.errors import SetupError
from ray_eval.rollout.actor import Worker
from ray_eval.rollout.running import RolloutSettings
from ray_eval.sections import ConnectSection, EnvSettings, ObservationRecipe, QueueRules, SimulatorSection
from ray_eval.types import STATE, Canary, EpisodeSpec

PROGRAM = """
import dataclasses, json
from ray_eval.envs.libero.canary import run_canary
print(json.dumps(dataclasses.asdict(run_canary(has_pixels=True))))
"""


REMEMBERED = """
import dataclasses, json
from ray_eval.envs.libero import canary
computed, original = [], canary._computed
canary._computed = lambda **wanted: computed.append(1) or original(**wanted)
found = [dataclasses.asdict(canary.known_canary(has_pixels=has_pixels)) for has_pixels in (True, True, False)]
print(json.dumps([len(computed), found]))
"""


def told(program, **environment):
    """What a program says in a process with a worker's variables, and these on top."""
    variables = {**os.environ, **gl_environment(choose_backend("auto").backend), **environment}
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def canary(**environment):
    return Canary(**told(PROGRAM, **environment))


@pytest.fixture(scope="module")
def here():
    return canary()


def test_two_processes_give_the_same_canary(here):
    assert canary() == here
    assert None not in dataclasses.astuple(here)


def test_another_kernel_of_the_linear_algebra_changes_that_part_alone(here):
    if not arithmetic_environment():
        pytest.skip("this CPU is no x86-64 with AVX2")
    other = canary(OPENBLAS_CORETYPE="Nehalem")
    assert other.linear_algebra != here.linear_algebra
    assert (other.physics, other.pixels) == (here.physics, here.pixels)


def test_it_is_computed_once_on_a_machine_and_anew_where_anything_is_another(here, tmp_path):
    cache = {"RAY_EVAL_CACHE": str(tmp_path)}
    for computed in (2, 0):
        count, found = told(REMEMBERED, **cache)
        assert count == computed
        assert found == [*[dataclasses.asdict(here)] * 2, {**dataclasses.asdict(here), "pixels": None}]
    assert told(REMEMBERED, OPENBLAS_CORETYPE="Nehalem", **cache)[0] == 2
    assert told(REMEMBERED, **cache)[0] == 2  # the last one's word counts
    entries = list(tmp_path.glob("canary-*.json"))
    assert len(entries) == 2
    for entry in entries:
        entry.write_text(entry.read_text().replace("libmujoco", "libanother"))
    assert told(REMEMBERED, **cache)[0] == 2


def test_a_worker_on_another_machine_than_the_runs_refuses_its_episode():
    worker = Worker("worker-9", lambda: ConnectSection("unix:/nowhere"), SimulatorSection("libero"))
    rules = QueueRules(horizon=1, chunk_len=1, action_dim=7)
    settings = RolloutSettings("run", EnvSettings(ObservationRecipe((STATE,))), rules, canaries=("0" * 16,))
    with pytest.raises(SetupError, match="expected a machine with canary 0000000000000000, got"):
        worker.run(EpisodeSpec("libero_object", 0, 0, env_seed=7, max_steps=5), 1, settings)
    worker.close()
