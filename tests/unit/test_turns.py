import fcntl

import pytest

from ray_eval import places
from ray_eval.driver import turns


@pytest.fixture
def another(tmp_path, monkeypatch):
    """The file that another process may hold; a lock of a file that was opened once more is another's."""
    monkeypatch.setattr(places, "private_folder", lambda: tmp_path)
    with (tmp_path / turns.LOCK_NAME).open("w") as file:
        yield file


def test_one_starts_at_a_time(another):
    with turns.start(), pytest.raises(BlockingIOError):
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_start_that_never_ends_holds_nobody_up(another):
    fcntl.flock(another, fcntl.LOCK_EX)
    begun = []
    with turns.start(patience_s=0.3):
        begun.append(True)
    assert begun
