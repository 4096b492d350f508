"""What the recorder is given comes back written, in order, all that waits at once; a failure comes back as itself."""

import threading

import pytest

from ray_eval.driver.recorder import Recorder


def test_what_waits_meanwhile_is_written_at_once_and_in_order():
    gate, batches = threading.Event(), []

    def write(items):
        batches.append(list(items))
        gate.wait(60)

    recorder = Recorder(write)
    recorder.add(0)
    while not batches:
        pass
    for item in range(1, 5):
        recorder.add(item)
    assert recorder.written() == []
    assert not recorder.is_idle
    gate.set()
    recorder.close()
    assert batches == [[0], [1, 2, 3, 4]]
    assert recorder.written() == [0, 1, 2, 3, 4]
    assert recorder.is_idle


def test_a_failure_is_raised_once_what_was_written_before_it_is_told_and_nothing_is_written_after_it():
    written = []

    def write(items):
        if items == ["bad"]:
            raise OSError("disk full")
        written.extend(items)

    recorder = Recorder(write)
    recorder.add("good")
    assert recorder.written(wait_s=60) == ["good"]
    recorder.add("bad")
    with pytest.raises(OSError, match="disk full"):
        list(iter(lambda: recorder.written(wait_s=0.01), ["never"]))
    recorder.add("late")
    with pytest.raises(OSError, match="disk full"):
        recorder.close()
    assert written == ["good"]
    assert recorder.written() == []
