"""Metrics as a real Prometheus scrapes them, and the dashboard as Grafana's own types read it."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from ray_eval.driver.dashboard import write_dashboard
from ray_eval.report.live import LIVE_METRICS, PANELS, RETRIES, dashboard_text

pytestmark = pytest.mark.nightly
EPISODES = 20
RUN = (
    "policy=random",
    "suite=fake",
    "tasks=[0,1]",
    "repeats=2",
    "workers=2",
    "protocol.max_steps=200",
    "execution.mode=async",
    "execution.latency.steps=2",
    "serving.slowdown_ms=[30,50]",
)
LIBERO = (
    "policy=oracle",
    "suite=libero_object",
    "tasks=[0,1]",
    "episodes_per_task=10",
    "policy.images=false",
    "workers=2",
)


@contextlib.contextmanager
def prometheus(folder: Path):
    """The address of a Prometheus that scrapes once a second what the dashboard's files name."""
    config = folder / "prometheus.yml"
    config.write_text(re.sub(r"\b(5|10)s", "1s", config.read_text()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"]
    with subprocess.Popen(["prometheus", *words], stderr=subprocess.DEVNULL) as process:
        try:
            yield address
        finally:
            process.terminate()


def asked(address: str, query: str) -> list[dict]:
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    return json.load(urllib.request.urlopen(url))["data"]["result"]


@pytest.fixture
def short():
    """A folder whose name leaves room for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def ray_that_goes_on(folder: Path, environment: dict[str, str]):
    """The word that joins a Ray of its own, which passes on what a driver told it after the driver has ended."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray = Path(sys.executable).parent / "ray"
    words = ("--head", "--block", f"--port={port}", "--num-cpus=4", "--node-ip-address=127.0.0.1", "--dashboard-port=0")
    command = [ray, "start", *words, f"--temp-dir={folder / 'ray'}"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
        try:
            until = time.monotonic() + 120
            while not (folder / "ray" / "prom_metrics_service_discovery.json").exists() and time.monotonic() < until:
                time.sleep(0.5)
            yield f"ray.address=127.0.0.1:{port}"
        finally:
            head.terminate()


def scraped(short: Path, *run: str, goes_on: bool) -> dict[str, list[dict]]:
    """Every metric of a run of twenty episodes, by name, as Prometheus has it."""
    discovery = short / "ray" / "prom_metrics_service_discovery.json"
    discovery.parent.mkdir()
    write_dashboard(short / "d", discovery)
    subprocess.run(["promtool", "check", "config", short / "d" / "prometheus.yml"], check=True, capture_output=True)
    environment = {**os.environ, "RAY_TMPDIR": str(short)}
    words = ["run", *run, f"out={short / 'x'}"]
    with prometheus(short / "d") as address, contextlib.ExitStack() as stack:
        if goes_on:
            words.append(stack.enter_context(ray_that_goes_on(short, environment)))
        subprocess.run([sys.executable, "-m", "ray_eval", *words], env=environment, check=True, capture_output=True)
        # Ray passes metrics on every 10 s, and Prometheus asks once a second.
        time.sleep(25 if goes_on else 2)
        return {
            metric.exported: asked(address, f'max_over_time({metric.exported}{{run="x"}}[1h])')
            for metric in LIVE_METRICS
        }


def summed(series: list[dict]) -> float:
    return sum(float(each["value"][1]) for each in series)


@pytest.mark.timeout(900)
def test_a_run_of_twenty_episodes_is_seen_by_prometheus(short):
    found = scraped(short, *RUN, goes_on=False)
    # Nothing broke, so nothing was counted there.
    assert {name for name, series in found.items() if not series} == {RETRIES.exported}
    of = {name: summed(series) for name, series in found.items()}
    # The last ones of a run that started its own Ray may be missing; what is there is right.
    assert of["ray_eval_planned_episodes"] == EPISODES
    assert 1 <= of["ray_eval_episodes_total"] <= EPISODES
    assert of["ray_eval_resets_total"] == of["ray_eval_episodes_total"]
    assert of["ray_eval_steps_total"] >= of["ray_eval_episodes_total"]
    assert of["ray_eval_success_rate_low"] <= of["ray_eval_success_rate"] <= of["ray_eval_success_rate_high"]
    assert of["ray_eval_forward_seconds_total"] / of["ray_eval_forwards_total"] >= 0.03
    assert {series["metric"]["state"] for series in found["ray_eval_workers"]} == {"busy", "idle", "starting"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("run", [RUN, LIBERO], ids=["fake", "libero"])
def test_on_a_ray_that_goes_on_every_count_is_that_of_the_results(short, run):
    found = scraped(short, *run, goes_on=True)
    records = [json.loads(line) for line in (short / "x" / "episodes.jsonl").read_text().splitlines()]
    episodes = [record for record in records if record["kind"] == "episode"]
    assert len(episodes) == EPISODES
    (served,) = [record for record in records if record["kind"] == "served"]
    outcomes = {series["metric"]["outcome"]: float(series["value"][1]) for series in found["ray_eval_episodes_total"]}
    assert outcomes == Counter(episode["outcome"] for episode in episodes)
    assert summed(found["ray_eval_steps_total"]) == sum(episode["steps"] for episode in episodes)
    assert summed(found["ray_eval_resets_total"]) == summed(found["ray_eval_done_episodes"]) == len(episodes)
    assert summed(found["ray_eval_forwards_total"]) == served["policy"]["batches"]
    assert summed(found["ray_eval_forward_requests_total"]) == served["policy"]["requests"]


def test_every_query_of_the_dashboard_is_promql(tmp_path):
    queries = [expression for panel in PANELS for expression, _ in panel.queries]
    plain = [text.replace("$run", ".*").replace("$__rate_interval", "1m") for text in queries]
    rules = [{"record": f"query:{index}", "expr": text} for index, text in enumerate(plain)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert f"{len(queries)} rules found" in done.stdout


def test_grafanas_own_types_read_the_dashboard_and_know_every_key_of_it():
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    ours = json.loads(dashboard_text())
    theirs = json.loads(json.dumps(Dashboard.from_json(ours), cls=JSONEncoder))
    assert lost(ours, theirs) == []


def lost(ours, theirs, where="") -> list[str]:
    """Places of ours that are not in theirs, which has defaults besides."""
    if isinstance(ours, dict):
        return [
            place
            for key, value in ours.items()
            for place in (lost(value, theirs[key], f"{where}/{key}") if key in theirs else [f"{where}/{key}"])
        ]
    if isinstance(ours, list):
        pairs = zip(ours, theirs, strict=True)
        return [place for index, (one, other) in enumerate(pairs) for place in lost(one, other, f"{where}/{index}")]
    return [] if ours == theirs else [where]
