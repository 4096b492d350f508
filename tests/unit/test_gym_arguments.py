"""What the Gymnasium env is told is read as strictly as a configuration."""

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from ray_eval.envs.gym import LiberoGym, _init_state_id
from ray_eval.errors import ConfigError


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"suite": 3}, "suite: expected a suite's name, got 3"),
        ({"task_id": "0"}, "task_id: expected an integer from 0 upwards, got '0'"),
        ({"task_id": True}, "task_id: expected an integer from 0 upwards, got True"),
        ({"task_id": 1.0}, "task_id: expected an integer from 0 upwards, got 1.0"),
        ({"task_id": -1}, "task_id: expected an integer from 0 upwards, got -1"),
        ({"task_id": np.zeros((40, 40))}, r"task_id: .* got ndarray float64 of shape \(40, 40\)"),
        ({"max_steps": 0}, "max_steps: expected an integer from 1 upwards, got 0"),
        ({"settings": {"settle_steps": 3}}, "settings: expected EnvSettings, got"),
        ({"render_mode": "human"}, "render_mode: expected None or 'rgb_array', got 'human'"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_refused_before_anything_is_built(arguments, said):
    with pytest.raises(ConfigError, match=said):
        LiberoGym(**{"suite": "libero_object", "task_id": 0, **arguments})


def test_options_name_an_init_state_and_nothing_else():
    assert _init_state_id(None) is None
    assert _init_state_id({}) is None
    assert _init_state_id({"init_state_id": np.int64(3)}) == 3
    with pytest.raises(ConfigError, match=r"got 'Init_State'\. Did you mean 'init_state_id'\?"):
        _init_state_id({"Init_State": 3})
    for wrong in ("3", True, 1.5, -1):
        with pytest.raises(ConfigError, match="init_state_id: expected an integer"):
            _init_state_id({"init_state_id": wrong})
    with pytest.raises(ConfigError, match="options: expected a mapping or None"):
        _init_state_id([3])
