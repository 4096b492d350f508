"""Rows on their way to a device arrive whole, and a device whose memory is full answers by smaller forwards."""

import dataclasses

import numpy as np
import pytest

from ray_eval.policies.contract import trial_observation
from ray_eval.policies.staging import Stager
from ray_eval.sections import BatchingSection
from ray_eval.serving import check
from ray_eval.serving.determinism import largest_proved_batch, largest_useful_batch
from ray_eval.serving.forward import answer_rows
from ray_eval.serving.sizes import BatchSizes

torch = pytest.importorskip("torch")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda])]
ROUNDS, ROWS = 100, 16
BUSY_CYCLES = 3_000_000
"""Of the device's clock, so about 2 ms: what a forward takes while the next rows come."""


def row_of(round_, index):
    generator = np.random.default_rng([round_, index])
    image = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return [image, generator.normal(size=8).astype(np.float32), generator.normal(size=(2, 3))[:, ::2], np.array(index)]


@pytest.mark.parametrize("device", DEVICES)
def test_rows_arrive_bit_for_bit_while_earlier_forwards_run(device):
    stager, stacked = Stager(torch, torch.device(device)), []
    for round_ in range(ROUNDS):
        if device == "cuda":
            torch.cuda._sleep(BUSY_CYCLES)  # what waits for it is copied meanwhile, into memory that others gave back
        rows = [stager.put(row_of(round_, index), index) for index in range(ROWS)]
        del rows[-1]  # one that nobody waits for any more
        stacked.append([column.clone() for column in stager.stack([*rows, rows[0]])])
        del rows
    for round_, columns in enumerate(stacked):
        expected = zip(*(row_of(round_, index) for index in [*range(ROWS - 1), 0]), strict=True)
        for column, arrays in zip(columns, expected, strict=True):
            assert column.device.type == device
            np.testing.assert_array_equal(column.cpu().numpy(), np.stack(arrays))


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_staged_ahead_gives_the_bytes_of_one_that_was_not(device):
    policy = check.TorchPolicy(torch, device, check.SIZES["cpu"])
    rows = [trial_observation(policy.spec, seed) for seed in range(8)]
    ahead = policy.infer_staged([policy.stage(row) for row in rows])
    for first, second in zip(ahead, policy.infer_batch(rows), strict=True):
        np.testing.assert_array_equal(first.actions, second.actions)


@pytest.fixture
def hungry():
    """A policy ten of whose rows the device's free memory holds."""
    torch.cuda.empty_cache()
    policy = check.HungryPolicy(torch, int(torch.cuda.mem_get_info()[0] / 10.5))
    yield policy
    torch.cuda.empty_cache()


@pytest.mark.gpu
@needs_cuda
def test_more_rows_than_the_device_holds_are_answered_by_halves_and_none_is_lost(hungry):
    sizes = BatchSizes(BatchingSection(determinism="throughput"), hungry.spec)
    answers = answer_rows(hungry, hungry.spec, [trial_observation(hungry.spec, seed) for seed in range(60)], sizes)
    assert [answer.actions[0, 0] for answer in answers] == list(range(60))
    assert sizes.limit == 8


@pytest.mark.gpu
@needs_cuda
def test_the_largest_batch_is_one_that_the_device_holds(hungry):
    class Ticks:
        """Of a clock by which a forward takes as long whatever its size."""

        now = 0

        def __call__(self):
            self.now += 1
            return self.now

    batching = BatchingSection(determinism="throughput")
    assert largest_useful_batch(hungry, batching, Ticks()) == 8
    hungry.spec = dataclasses.replace(hungry.spec, batch_invariant=True)
    assert largest_proved_batch(hungry, batching, lambda: 0.0) == 8
