"""`bench startup`: from the command to the first finished episode of `run first_light`, and to its end."""

from __future__ import annotations

import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ray_eval.bench.checkouts import Checkout
from ray_eval.bench.rows import Row
from ray_eval.errors import SetupError
from ray_eval.report.ledger import LEDGER_NAME
from ray_eval.scratch import scratch_folder

POLL_S: Final = 0.02
"""How exactly the end of an episode is seen in the ledger."""
TIMEOUT_S: Final = 900.0
"""After this a run is ended."""


def bench_startup(checkouts: Sequence[Checkout], repeats: int, *, is_cold: bool) -> list[Row]:
    """Seconds of the runs of one or two checkouts, in turn.

    Args:
        checkouts: This one, and what it is compared with.
        repeats: Runs of each that count; one more comes before, which fills the caches.
        is_cold: Each run has an empty cache folder instead.
    """
    durations: dict[str, list[tuple[float, float]]] = {checkout.name: [] for checkout in checkouts}
    for turn in range(repeats + (not is_cold)):
        for checkout in checkouts:
            found = _run(checkout, is_cold=is_cold)
            if is_cold or turn:
                durations[checkout.name].append(found)
    first, whole = ([statistics.median(run[i] for run in runs) for runs in durations.values()] for i in range(2))
    caches = "cold" if is_cold else "warm"
    other = checkouts[1].name if len(checkouts) > 1 else ""
    return [
        Row(f"first_light, {caches}", what, values[0], "s", repeats, other, values[1] if other else None)
        for what, values in (("first finished episode", first), ("whole run", whole))
    ]


def _run(checkout: Checkout, *, is_cold: bool) -> tuple[float, float]:
    """Seconds from the command to the first finished episode in the ledger, and to its end."""
    with scratch_folder() as scratch, tempfile.TemporaryFile("w+") as output:
        out, environment = Path(scratch) / "run", checkout.environment()
        if is_cold:
            environment["RAY_EVAL_CACHE"] = str(Path(scratch) / "cache")
        words = checkout.command("run", "first_light", "--out", str(out))
        started, first = time.perf_counter(), None
        process = subprocess.Popen(words, env=environment, cwd=checkout.folder, stdout=output, stderr=output)
        try:
            while process.poll() is None:
                elapsed_s = time.perf_counter() - started
                if first is None and _has_episode(out):
                    first = elapsed_s
                if elapsed_s > TIMEOUT_S:
                    raise SetupError(f"bench startup: expected first_light to end in {TIMEOUT_S:.0f} s, it did not")
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=60)
        if process.returncode != 0 or first is None:
            output.seek(0)
            raise SetupError(f"bench startup: expected {checkout.name} to finish, got {output.read()[-1000:]}")
        return first, time.perf_counter() - started


def _has_episode(out: Path) -> bool:
    path = out / LEDGER_NAME
    return path.exists() and b'{"kind": "episode"' in path.read_bytes()
