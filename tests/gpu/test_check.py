"""The serving check runs on a machine with CUDA and on one without, and finds what it is to find."""

import pytest

from ray_eval.sections import BatchingSection, ListenSection
from ray_eval.serving import check
from ray_eval.serving.load import measure
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import ActionChunk

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_the_check_proves_measures_and_loses_nothing(capsys):
    assert check.main(["--clients", "1", "3", "--requests", "30"]) == 0
    text = capsys.readouterr().out
    assert "determinism proof: passed in forwards of 8 rows" in text
    rows = [line.split() for line in text.splitlines()]
    assert [row[0] for row in rows if len(row) == 3 and row[0].isdigit()] == ["1", "2", "4", "8", "16", "32", "64"]
    assert {tuple(row[:4]) for row in rows if len(row) == 10 and row[0].isdigit()} == {
        ("1", "30", "0", "30"),
        ("3", "30", "0", "30"),
        ("64", "120", "0", "120"),
    }


class Wrong(check.SleepingPolicy):
    """Answers every fifth request with another's number."""

    def infer_batch(self, observations):
        chunks = super().infer_batch(observations)
        return [
            ActionChunk(chunk.actions + 1) if row.noise_seed % 5 == 4 else chunk
            for chunk, row in zip(chunks, observations, strict=True)
        ]


def test_an_answer_that_is_not_the_askers_own_is_counted():
    with serve_in_thread(Wrong(0, 0), ListenSection("127.0.0.1:0"), BatchingSection()) as running:
        load = measure(running, 4, 100, processes=2)
    assert (load.lost, load.computed) == (20, 100)


@pytest.mark.nightly
@pytest.mark.timeout(1200)
def test_of_100_000_requests_none_is_lost_and_none_computed_twice():
    with serve_in_thread(check.SleepingPolicy(0, 0), ListenSection("127.0.0.1:0"), BatchingSection()) as running:
        load = measure(running, 64, 100_000, processes=2)
    assert (load.lost, load.computed) == (0, 100_000)


@pytest.mark.gpu
def test_the_check_takes_cuda_where_it_is():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    report = check.examine([1, 16], 200)
    assert torch.cuda.get_device_name() in report.machine
    assert report.is_good
    assert report.at_once.computed == 200
    assert "64 rows at once, then 8 at most, 64 answered" in "\n".join(check.table(report))
