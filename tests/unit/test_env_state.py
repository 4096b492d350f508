import math

import numpy as np

from ray_eval.envs.libero.state import RobotReading, axis_angle, state_vector

HALF = math.sqrt(0.5)


def reading(quaternion):
    return RobotReading(
        eef_pos=np.array([0.1, 0.2, 0.3]),
        eef_quat=np.array(quaternion),
        joint_pos=np.arange(7.0),
        gripper_qpos=np.array([0.04, -0.04]),
        controller_pos=np.array([1.0, 2.0, 3.0]),
        controller_rotation=np.eye(3),
    )


def test_a_quarter_turn_about_z_is_its_angle_along_z():
    assert np.allclose(axis_angle(np.array([0, 0, HALF, HALF])), [0, 0, math.pi / 2])


def test_a_negative_w_gives_an_angle_beyond_pi():
    assert np.allclose(axis_angle(np.array([0, 0, HALF, -HALF])), [0, 0, 3 * math.pi / 2])


def test_no_rotation_is_zeros_whatever_the_sign_of_w():
    for w in (1.0, -1.0, 1.0 + 1e-12):
        assert axis_angle(np.array([0.0, 0.0, 0.0, w])).tolist() == [0, 0, 0]


def test_the_8d_state_is_position_rotation_and_fingers():
    expected = np.array([0.1, 0.2, 0.3, 0, 0, math.pi / 2, 0.04, -0.04], np.float32)
    state = state_vector(reading([0, 0, HALF, HALF]), "libero_8d")
    assert state.dtype == np.float32
    assert np.allclose(state, expected, atol=1e-7)


def test_with_w_below_zero_the_8d_state_keeps_the_long_way_round():
    state = state_vector(reading([0, 0, HALF, -HALF]), "libero_8d")
    assert np.allclose(state[3:6], [0, 0, 3 * math.pi / 2])


def test_the_canonical_state_takes_the_short_way_round():
    state = state_vector(reading([0, 0, HALF, -HALF]), "libero_8d_canonical")
    assert np.allclose(state[3:6], [0, 0, -math.pi / 2])


def test_joints_and_fingers_make_nine_numbers():
    state = state_vector(reading([0, 0, 0, 1]), "joints_gripper")
    assert np.allclose(state, [0, 1, 2, 3, 4, 5, 6, 0.04, -0.04])
