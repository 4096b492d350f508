"""Three hosts whose cables are slow, lose packets, are cut for a while and reset connections; a real Ray, real gRPC."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ray_eval.chaos.rules import violations
from ray_eval.config import load_config
from ray_eval.driver.plan import plan_of
from ray_eval.report.ledger import LEDGER_NAME

PORT = 50078
SCRIPT = Path(__file__).with_name("three_hosts.sh")
# A request for each step, so that an episode on the slow cable takes as long as it takes to disturb it.
WORDS = ("suite=fake", "policy=random", "protocol.max_steps=40", "protocol.replan_steps=1", "report=false")
SLOW = {"delay_s": 0.1, "loss": 0.01, "is_cut": False, "resets": 0, "port": PORT}
CUT_S = 20
RESETS = 3
POLL_S = 0.1


class Disturbed:
    """A run over three hosts, and the cables between them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "disturbed"
        inside = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", SCRIPT, folder]
        words = ["run", *WORDS, "workers=2", "serving.infer_timeout_s=8", f"out={self.out}"]
        with (folder / "script.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*inside, sys.executable, str(PORT), *words], env={**os.environ, "WIRE": "1"}, stdout=log, stderr=log
            )

    def lines(self) -> list[dict]:
        path = self.out / LEDGER_NAME
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def finished(self) -> int:
        return sum(line["kind"] == "episode" for line in self.lines())

    def await_episodes(self, more: int) -> None:
        enough = self.finished() + more
        while self.finished() < enough:
            assert self.process.poll() is None, (self.folder / "driver.log").read_text()[-2000:]
            time.sleep(POLL_S)

    def cable(self, **changes: object) -> None:
        partial = self.folder / "wire.partial"
        partial.write_text(json.dumps({**SLOW, **changes}))
        partial.replace(self.folder / "wire.json")

    def carried(self) -> list[dict]:
        """What the cables did to the packets, at each of their changes."""
        told = [self.folder / f"cable{host}.jsonl" for host in (2, 3)]
        return [json.loads(line) for path in told for line in path.read_text().splitlines()]


@pytest.mark.nightly
@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or not Path("/dev/net/tun").exists(),
    reason="network namespaces and their cables need root and /dev/net/tun",
)
def test_a_bad_network_gives_the_same_bytes_and_costs_no_attempt(tmp_path):
    disturbed = Disturbed(tmp_path)
    try:
        disturbed.await_episodes(1)
        disturbed.cable()
        disturbed.await_episodes(2)
        disturbed.cable(is_cut=True)
        time.sleep(CUT_S)
        disturbed.cable()
        disturbed.await_episodes(2)
        disturbed.cable(resets=RESETS)
        disturbed.await_episodes(2)
        disturbed.cable(delay_s=0.0, loss=0.0)
        assert disturbed.process.wait() == 0, (tmp_path / "driver.log").read_text()[-2000:]
    finally:
        disturbed.process.kill()
        disturbed.process.wait()

    cables = disturbed.carried()
    assert sum(told["carried"] for told in cables if told["delay_s"] > 0 and not told["is_cut"]) > 100
    assert sum(told["lost"] for told in cables) > 0
    assert sum(told["cut"] for told in cables if told["is_cut"]) > 0
    assert sum(told["reset"] for told in cables) == 2 * RESETS

    subprocess.run(
        [sys.executable, "-m", "ray_eval", "run", *WORDS, f"out={tmp_path / 'quiet'}"], capture_output=True, check=True
    )
    assert (disturbed.out / "summary.json").read_bytes() == (tmp_path / "quiet" / "summary.json").read_bytes()
    plan = [spec.episode_id for spec in plan_of(load_config(disturbed.out / "config.yaml", []))]
    # What broke, broke of the policy's silence, which is nobody's attempt.
    assert violations(disturbed.lines(), plan, max_attempts=1) == []
