"""X-VLA's rotations, held against robosuite's own arithmetic, which X-VLA's client uses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.policies.remote.rotations import columns_of, rotation_vectors_of

angle = st.floats(-2.5, 2.5, allow_subnormal=False)


@given(st.tuples(angle, angle, angle))
def test_a_rotation_there_and_back_is_the_same_rotation(vector):
    columns = columns_of(np.array(vector))
    assert np.allclose(columns_of(rotation_vectors_of(columns[None])[0]), columns, atol=5e-6)


@pytest.mark.parametrize("vector", [(0.0, 0.0, 0.0), (np.pi, 0.0, 0.0), (3.14, 0.01, -0.09), (0.0, 1e-9, 0.0)])
def test_half_turns_and_none_are_exact(vector):
    columns = columns_of(np.array(vector))
    assert np.allclose(columns_of(rotation_vectors_of(columns[None])[0]), columns, atol=5e-6)


def test_it_is_what_robosuite_makes_of_the_same_columns():
    transform_utils = pytest.importorskip("robosuite.utils.transform_utils")
    draw = np.random.default_rng(0)
    for _ in range(50):
        vector = draw.normal(0, 1, 3)
        vector *= draw.uniform(0.1, 3.0) / np.linalg.norm(vector)
        matrix = transform_utils.quat2mat(transform_utils.axisangle2quat(vector))
        assert np.allclose(columns_of(vector), np.concatenate([matrix[:, 0], matrix[:, 1]]), atol=1e-6)
        ours = rotation_vectors_of(np.concatenate([matrix[:, 0], matrix[:, 1]])[None])[0]
        theirs = transform_utils.quat2axisangle(transform_utils.mat2quat(matrix))
        assert np.allclose(ours, theirs, atol=1e-5)
