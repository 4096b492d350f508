"""The serving check runs on a machine with CUDA and on one without."""

import pytest

from ray_eval.serving import check


def test_the_check_loses_nothing_and_says_so(capsys):
    assert check.main(["--clients", "1", "3", "--requests", "30"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[2:]] == [["1", "30", "0"], ["3", "30", "0"]]


@pytest.mark.gpu
def test_the_check_takes_cuda_where_it_is():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert check.make_policy().spec.name == "torch"
