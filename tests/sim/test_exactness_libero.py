"""The exactness script's parts on real LIBERO: a study scene, recorded sparsely, compared in a fresh and a used env."""

import numpy as np
import pytest

from ray_eval.bench.exactness import Case, Script, compare, record

CASE = Case("libero_10", 5, 0)
SPARSE = Script(action_count=6, settle_steps=2, images_every=3)


@pytest.fixture(scope="module")
def reference():
    return record(CASE, SPARSE)


def test_a_fresh_and_a_used_env_give_what_was_recorded(reference):
    comparison, env = compare(CASE, reference, SPARSE)
    env.close()
    assert comparison.is_equal, comparison.differences
    assert (comparison.step_count, comparison.image_count) == (14, 12)


def test_leaving_images_out_of_a_recording_changes_nothing_else(reference):
    full = record(CASE, Script(action_count=6, settle_steps=2, images_every=1))
    assert full.states.tobytes() == reference.states.tobytes()
    assert full.state_vectors.tobytes() == reference.state_vectors.tobytes()
    assert np.array_equal(full.images_sha256[::3], reference.images_sha256[::3])
    assert (full.images_sha256 != "").all()
    assert (reference.images_sha256[[1, 2, 4, 5]] == "").all()
