"""What keeping the executed actions costs: CPU time per episode on the worker and in the driver, the disk, bytes.

    python benchmarks/kept_actions.py runs/first_light

By the actions of a run: what a worker does in each step and at the end, what is pickled on the way, what the driver
writes. The share is of the run's own episode seconds.
"""

from __future__ import annotations

import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ray_eval.driver.recording import Recording
from ray_eval.report.actions import ACTIONS_NAME, ActionsWriter
from ray_eval.rollout.episode import little_endian
from ray_eval.types import RecordedActions

ROUNDS = 200


def cpu_ms(action: Callable[[], object]) -> float:
    """CPU time of one call, mean of many."""
    begun = time.process_time()
    for _ in range(ROUNDS):
        action()
    return 1000 * (time.process_time() - begun) / ROUNDS


def main() -> None:
    """Measures and prints."""
    path = Path(sys.argv[1])
    recording = Recording(path)
    episodes = list(recording.recorded(list(recording.records)).values())
    rows = [[little_endian(row) for row in each.actions.array()] for each in episodes]
    middle = sorted(range(len(rows)), key=lambda index: len(rows[index]))[len(rows) // 2]
    kept, row = rows[middle], rows[middle][0]
    packed = RecordedActions.of(kept)

    def noted() -> None:
        executed: list[bytes] = []
        for _ in kept:
            executed.append(row)  # noqa: PERF401 -- as a worker does it, step by step

    figures = {
        "noting each step": cpu_ms(noted),
        "hash and compress": cpu_ms(lambda: RecordedActions.of(kept)),
        "pickle and unpickle": cpu_ms(lambda: pickle.loads(pickle.dumps(packed))),
    }
    with tempfile.TemporaryDirectory() as folder:
        writer = ActionsWriter(Path(folder))
        clock = time.perf_counter()
        figures["the driver's line"] = cpu_ms(lambda: writer.append(("libero_object/0/0", packed)))
        disk_ms = 1000 * (time.perf_counter() - clock) / ROUNDS
        writer.close()
    for name, value in figures.items():
        print(f"{name}: {value:.3f} ms of CPU")
    seconds = statistics.median(each.result.wall_s for each in episodes)
    total = sum(figures.values())
    print(f"together {total:.2f} ms of {1000 * seconds:.0f} ms ({len(kept)} steps): {total / seconds / 10:.3f} %")
    print(f"a line on disk by the clock, in the recorder's own thread: {disk_ms:.2f} ms")
    print(f"bytes per episode: {(path / ACTIONS_NAME).stat().st_size / len(episodes):.0f}")


if __name__ == "__main__":
    main()
