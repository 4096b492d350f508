"""A wall clock that jumps by hours for every process of a run, Ray's own included, while its episodes run."""

import datetime as dt
import itertools
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ray_eval.chaos.rules import violations
from ray_eval.config import load_config
from ray_eval.driver.plan import plan_of
from ray_eval.report.ledger import LEDGER_NAME

SOURCE = Path(__file__).with_name("jumping_clock.c")
# Between two hosts' addresses there is TLS, whose certificate has times; each jump is longer than any limit of the run.
WORDS = ("suite=fake", "policy=random", "repeats=4", "protocol.max_steps=100", "protocol.replan_steps=1")
WORDS += ("workers=2", "serving.address=0.0.0.0:0", "report=false", "ray.dashboard=false")
HOURS = (3, -5, 0, 20, -20)
PAUSE_S = 0.1
RUN = [sys.executable, "-m", "ray_eval", "run"]
PROCESSES = ("gcs_server", "raylet", "ray::Worker", "ray::PolicyActor", "ray_eval run")


class Clock:
    """What every process that is started with its variables takes for the time of day."""

    def __init__(self, folder: Path) -> None:
        library, self._wrong_by_s = folder / "jumping_clock.so", folder / "wrong_by_s"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE], check=True)
        self.jump(0)
        self._mark = f"JUMPING_CLOCK={self._wrong_by_s}".encode()
        self.variables = {"LD_PRELOAD": str(library), "JUMPING_CLOCK": str(self._wrong_by_s)}
        self._library = str(library)
        self._lacking: set[tuple[int, str]] = set()

    def jump(self, hours: int) -> None:
        self._wrong_by_s.touch()
        with self._wrong_by_s.open("r+b") as file:  # the same file, as it is mapped
            file.write(struct.pack("=q", 3600 * hours))

    def processes(self) -> set[str]:
        """Titles of those that have it; who has its variables and lacks it at two looks is no process of this clock."""
        found, lacking = set(), set()
        for process in psutil.process_iter():
            try:
                if self._mark in Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0"):
                    maps, title = Path(f"/proc/{process.pid}/maps").read_text(), " ".join(process.cmdline())
                    # A process that begins is not linked yet, and one that ends has no memory any more.
                    (found if self._library in maps or not maps else lacking).add((process.pid, title))
            except (OSError, psutil.Error):
                continue
        assert not lacking & self._lacking
        self._lacking = lacking
        return {title for _, title in found}


def lines_of(out: Path, kind: str) -> list[dict]:
    lines = map(json.loads, (out / LEDGER_NAME).read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


def disturbed(clock: Clock, words: list[str], out: Path, *, stop_after: int | None) -> tuple[int, set[str]]:
    """A run whose clock jumps all the time, stopped by SIGTERM after so many episodes; its exit code and processes."""
    driver = subprocess.Popen(words, env={**os.environ, **clock.variables}, stdout=subprocess.DEVNULL)
    seen, hours = set(), itertools.cycle(HOURS)
    try:
        while driver.poll() is None:
            clock.jump(next(hours))
            if (out / LEDGER_NAME).exists():
                seen |= clock.processes()
                if stop_after is not None and len(lines_of(out, "episode")) >= stop_after:
                    driver.send_signal(signal.SIGTERM)
                    stop_after = None
            time.sleep(PAUSE_S)
    finally:
        driver.kill()
    return driver.wait(), seen


@pytest.mark.nightly
@pytest.mark.skipif(shutil.which("cc") is None, reason="the clock is made by a C compiler")
def test_a_clock_that_jumps_by_hours_breaks_no_attempt_and_leaves_the_summary_as_it_is(tmp_path):
    quiet, out = tmp_path / "quiet", tmp_path / "disturbed"
    subprocess.run([*RUN, *WORDS, f"out={quiet}"], stdout=subprocess.DEVNULL, check=True)
    clock = Clock(tmp_path)
    code, first = disturbed(clock, [*RUN, *WORDS, f"out={out}"], out, stop_after=20)
    assert code == 130
    code, second = disturbed(clock, [*RUN, "--resume", str(out)], out, stop_after=None)
    assert code == 0

    for word in PROCESSES:
        assert all(any(word in title for title in seen) for seen in (first, second)), word
    at = [dt.datetime.fromisoformat(line["started_at"]) for line in lines_of(out, "episode")]
    jumps_h = [(later - earlier).total_seconds() / 3600 for earlier, later in itertools.pairwise(at)]
    assert sum(jump > 2 for jump in jumps_h) > 5
    assert sum(jump < -2 for jump in jumps_h) > 5

    assert (out / "summary.json").read_bytes() == (quiet / "summary.json").read_bytes()
    assert lines_of(out, "attempt") == []
    assert [line["late_results"] for line in lines_of(out, "served")] == [0, 0]
    ledger = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()]
    plan = [spec.episode_id for spec in plan_of(load_config(out / "config.yaml", []))]
    assert violations(ledger, plan, max_attempts=1) == []
