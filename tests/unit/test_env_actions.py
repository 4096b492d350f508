import numpy as np
import pytest

from ray_eval.envs.actions import native_action
from ray_eval.errors import ContractError


def gripper_of(value, transform):
    return native_action(np.array([0.1] * 6 + [value], np.float32), transform)[-1]


@pytest.mark.parametrize(
    ("transform", "value", "expected"),
    [
        ("raw", 0.25, 0.25),
        ("sign", -0.01, -1.0),
        ("sign", 0.0, 1.0),
        ("sign", 0.3, 1.0),
        ("openvla", 0.0, 1.0),
        ("openvla", 1.0, -1.0),
        ("openvla", 0.5, 0.0),
        ("starvla", 0.5, 1.0),
        ("starvla", 0.51, -1.0),
        ("above_half", 0.5, -1.0),
        ("above_half", 0.51, 1.0),
    ],
)
def test_the_gripper_value_becomes_robosuites(transform, value, expected):
    assert gripper_of(value, transform) == expected


def test_the_other_six_numbers_pass_as_float64():
    action = np.linspace(-1, 1, 7, dtype=np.float32)
    native = native_action(action, "sign")
    assert native.dtype == np.float64
    assert np.array_equal(native[:6], action[:6].astype(np.float64))


def test_the_policys_own_array_is_left_alone():
    action = np.full(7, 0.2)
    native_action(action, "sign")
    assert action[-1] == 0.2


@pytest.mark.parametrize("action", [np.zeros(6), np.zeros((1, 7)), np.full(7, np.nan), np.full(7, np.inf)])
def test_a_wrong_shape_or_number_breaks_the_contract(action):
    with pytest.raises(ContractError, match="expected"):
        native_action(action, "raw")
