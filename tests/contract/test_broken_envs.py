"""Twelve envs that a user might write, each with one fault, and what the contract check says of each."""

import numpy as np
import pytest

from ray_eval.envs.libero.settings import LiberoSettings
from ray_eval.errors import ContractError
from ray_eval.sections import EnvSettings, ImageRecipe, ObservationRecipe
from ray_eval.testing import FakeEnv, FakeSimulator, check_env_contract, check_simulator_contract
from ray_eval.types import IMAGE, OBSERVATION_KEYS, STATE, EpisodeSpec, StepResult

EPISODE = EpisodeSpec("fake", 1, 2, env_seed=7, max_steps=50)
SETTINGS = EnvSettings(ObservationRecipe(OBSERVATION_KEYS, images=ImageRecipe(16, image_size_px=16)))
SPEC = FakeSimulator(LiberoSettings()).spec("fake", 1)


class Changed(FakeEnv):
    """Observes as the fake env does, but for one array."""

    key, change = STATE, staticmethod(lambda array: array)

    def observe(self):
        observed = dict(super().observe())
        return {**observed, self.key: self.change(observed[self.key])}


class FloatImages(Changed):
    key, change = IMAGE, staticmethod(lambda array: (array / 255).astype(np.float32))


class ChannelsFirst(Changed):
    key, change = IMAGE, staticmethod(lambda array: np.moveaxis(array, -1, 0))


class DoubleState(Changed):
    change = staticmethod(lambda array: array.astype(np.float64))


class ShortState(Changed):
    change = staticmethod(lambda array: array[:6])


class Diverged(Changed):
    change = staticmethod(lambda array: np.where(np.arange(len(array)) == 2, np.nan, array).astype(np.float32))


class Forgetful(FakeEnv):
    """Its point goes on from where the last episode left it."""

    def reset(self, episode):
        drift = getattr(self, "_drift", 0.0)
        super().reset(episode)
        self._moment.position[0] += drift
        self._drift = drift + 1e-12


class Shared(FakeEnv):
    """Draws its start from the global generator, seeded by nobody."""

    def reset(self, episode):
        super().reset(episode)
        self._moment.position[0] = np.random.mtrand._rand.__getstate__()["state"]["key"][0]


class Watched(FakeEnv):
    """Moves a little whenever it is looked at."""

    def observe(self):
        seen = super().observe()
        self._moment.position[0] += 1e-9
        return seen


class Wasteful(FakeEnv):
    """Renders at every question."""

    def observe(self):
        self._render_count += 1
        return super().observe()


class Lending(FakeEnv):
    """Hands out its own memory."""

    def reset(self, episode):
        super().reset(episode)
        self._kept = super().simulator_state()

    def step(self, action):
        result = super().step(action)
        self._kept = super().simulator_state()
        return result

    def simulator_state(self):
        return self._kept


class Lenient(FakeEnv):
    """Takes any action."""

    def native_action(self, action):
        return np.asarray(action, np.float64)


class NumpysBool(FakeEnv):
    """Answers with NumPy's own truth."""

    def step(self, action):
        result = super().step(action)
        return StepResult(result.reward, np.bool_(result.is_success))


BROKEN = {
    FloatImages: r"observation\.images\.image: expected dtype uint8, 0 to 255, got 'float32'; images are no floats",
    ChannelsFirst: r"observation\.images\.image: expected \(height, width, 3\).*got \(3, 16, 16\); move channels",
    DoubleState: r"observation\.state: expected dtype float32, got 'float64'; \.astype\(np\.float32\)",
    ShortState: r"observation\.state: expected 8 numbers, one for each name of the spec, got \(6,\)",
    Diverged: r"observation\.state: expected finite numbers",
    Forgetful: r"reset: expected the same trajectory again, got 'another one'; draw from a generator of the env's own",
    Shared: r"reset: expected the same trajectory after another episode and another state of np\.random",
    Watched: r"observe: expected the same trajectory whether it is looked at or not, got 'another one'; compute",
    Wasteful: r"render_count: expected 4 after asking twice, got 5; keep what was drawn until the next step",
    Lending: r"simulator_state: expected a copy, got \"the simulator's own memory\"; \.copy\(\)",
    Lenient: r"native_action: expected ContractError for .*; envs\.actions\.checked_action raises it",
    NumpysBool: r"step: is_success: expected a plain bool, got np\.False_; bool\(\.\.\.\)",
}


def test_the_fake_env_and_its_simulator_keep_the_contract():
    check_env_contract(FakeEnv("fake", 1, SETTINGS), EPISODE, SPEC)
    check_simulator_contract(FakeSimulator(LiberoSettings()))


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_each_fault_has_a_message_of_its_own(broken):
    with pytest.raises(ContractError, match=BROKEN[broken]):
        check_env_contract(broken("fake", 1, SETTINGS), EPISODE, SPEC)


def test_there_are_twelve_faults_and_twelve_messages():
    assert len(BROKEN) == len(set(BROKEN.values())) == 12


class Half:
    """A simulator with hardly anything in it."""

    name = "half"

    def suites(self):
        return ("half",)


def test_a_simulator_that_lacks_something_is_told_what():
    with pytest.raises(ContractError, match=r"Half without .*canary.*make_env.*spec"):
        check_simulator_contract(Half())
