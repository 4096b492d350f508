"""Which simulators a worker keeps."""

from ray_eval.envs.libero.settings import libero
from ray_eval.rollout.built_envs import BuiltEnvs
from ray_eval.sections import EnvSettings, ObservationRecipe

SETTINGS = EnvSettings(ObservationRecipe(()))
GB = 10**9


class Memory:
    """A process of so many GB in which every open env takes another one."""

    def __init__(self, base_gb=1):
        self.base_gb = base_gb
        self.built, self.closed, self.open = [], [], 0

    def resident(self):
        return GB * (self.base_gb + self.open)

    def build(self, suite, task_id, settings):
        self.built.append((suite, task_id))
        self.open += 1
        return OpenEnv(self, task_id)


class OpenEnv:
    def __init__(self, memory, task_id):
        self.memory, self.task_id = memory, task_id

    def close(self):
        self.memory.closed.append(self.task_id)
        self.memory.open -= 1


def kept(budget_gb, task_ids):
    memory = Memory()
    envs = BuiltEnvs(memory.build, memory.resident)
    for task_id in task_ids:
        assert envs.env_of("suite", task_id, SETTINGS, budget_gb * GB).task_id == task_id
    return envs, memory


def test_an_env_that_fits_is_built_once():
    envs, memory = kept(10, (0, 1, 0, 1, 0))
    assert (len(envs), len(memory.built), memory.closed) == (2, 2, [])


def test_the_one_unused_for_longest_makes_room():
    _, memory = kept(3.6, (0, 1, 0, 2))
    assert memory.closed == [1]


def test_the_budget_is_not_exceeded_even_for_a_while():
    # With a base as large as an env, an average that counts it in would be right by chance.
    memory = Memory(base_gb=5)
    most = []
    memory.note = lambda: most.append(memory.resident())
    envs = BuiltEnvs(lambda *key: (memory.build(*key), memory.note())[0], memory.resident)
    for task_id in range(10):
        envs.env_of("suite", task_id, SETTINGS, round(8.5 * GB))
    assert max(most) == 8 * GB


def test_a_budget_too_small_for_any_still_has_the_one_in_use():
    envs, memory = kept(0.1, (0, 1, 2))
    assert (len(envs), memory.closed) == (1, [0, 1])


def test_other_settings_are_another_env():
    memory = Memory()
    envs = BuiltEnvs(memory.build, memory.resident)
    envs.env_of("suite", 0, SETTINGS, 10 * GB)
    envs.env_of("suite", 0, EnvSettings(ObservationRecipe(()), libero(settle_steps=3)), 10 * GB)
    assert len(memory.built) == 2


def test_a_discarded_env_is_closed_and_built_anew():
    envs, memory = kept(10, (0,))
    envs.discard("suite", 0, SETTINGS)
    envs.discard("suite", 0, SETTINGS)
    envs.env_of("suite", 0, SETTINGS, 10 * GB)
    assert (memory.closed, len(memory.built)) == ([0], 2)


def test_closing_closes_every_env():
    envs, memory = kept(10, (0, 1))
    envs.close()
    assert sorted(memory.closed) == [0, 1]
