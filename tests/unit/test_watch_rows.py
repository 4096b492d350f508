"""Rows of a data set and their statistics."""

import numpy as np

from ray_eval.rollout.replaying import Retraced, Sight
from ray_eval.types import IMAGE, STATE
from ray_eval.watch.rows import RowsMaker, array_stats, pooled
from ray_eval.watch.video import frames_of


def test_a_row_is_what_was_seen_and_the_action_then():
    maker = RowsMaker(20)
    for step in range(4):
        seen = {IMAGE: np.full((32, 48, 3), 60 * step, np.uint8), STATE: np.full(8, step, np.float32)}
        maker.see(Sight(step, np.full(7, step) if step else None, float(step), step == 3, observation=seen))
    rows = maker.made(Retraced("", is_success=True, task="t", instruction="do it"))
    assert rows.arrays[STATE][:, 0].tolist() == [0, 1, 2]
    assert rows.arrays["action"][:, 0].tolist() == [1, 2, 3]
    assert (rows.rewards.tolist(), rows.successes) == ([1, 2, 3], (False, False, True))
    assert (rows.sizes, rows.instruction) == ({IMAGE: (32, 48)}, "do it")
    levels = [round(float(frame.mean()) / 60) for frame in frames_of(rows.videos[IMAGE])]
    assert levels == [0, 1, 2]
    assert rows.image_stats[IMAGE]["max"].ravel().tolist() == [120 / 255] * 3


def test_pooled_statistics_are_those_of_all_rows():
    generator = np.random.default_rng(0)
    parts = [generator.normal(shift, 1 + shift, (40 + 10 * shift, 3)) for shift in range(3)]
    together, expected = pooled([array_stats(part) for part in parts]), array_stats(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        np.testing.assert_allclose(together[name], expected[name], rtol=1e-12)
    assert np.all(np.abs(together["q50"] - expected["q50"]) < 1)
