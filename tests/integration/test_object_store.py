"""A run's folder in an S3 bucket of a real server: whatever is lost between its writes, a resume makes it whole."""

import socket
import subprocess
import sys
from typing import ClassVar

import pytest
from moto.server import ThreadedMotoServer

import ray_eval
from ray_eval.driver import anywhere
from ray_eval.driver.anywhere import CLAIM_NAME, FsspecStore, RemoteFolder
from ray_eval.driver.folder import Entry, RunFolder, make_header
from ray_eval.driver.plan import plan_of
from ray_eval.errors import ConfigError, LedgerError
from ray_eval.report.ledger import Attempt, episode_record, read_ledger
from ray_eval.types import EpisodeResult, Outcome, RecordedActions

WORDS = ["policy=noop", "suite=fake", "episodes_per_task=1", "tasks=[0,1]"]


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept():
    yield
    ray_eval.release()


@pytest.fixture(autouse=True, scope="module")
def _no_beats_after_a_death():
    """A writer that dies here leaves its thread behind, which is to beat in nobody's later test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(anywhere, "BEAT_S", 1e6)
        yield


@pytest.fixture(scope="module")
def bucket():
    """An address in a bucket of a server of this process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        FsspecStore("s3://runs/x")._files.mkdir("runs")
        yield "s3://runs"
    server.stop()


class Died(BaseException):
    """The process ends here."""


class MemoryStore:
    """Objects in memory."""

    objects: ClassVar[dict[str, bytes]] = {}

    def __init__(self, url):
        self._url = url

    def create(self, name, content):
        return self.objects.setdefault(f"{self._url}/{name}", content) is content

    def put(self, name, content):
        self.objects[f"{self._url}/{name}"] = content

    def get(self, name):
        return self.objects[f"{self._url}/{name}"]

    def names(self, below=""):
        start = f"{self._url}/{below}"
        return sorted(key.removeprefix(f"{self._url}/") for key in self.objects if key.startswith(start))

    def remove(self, name):
        self.objects.pop(f"{self._url}/{name}", None)


class FaultyStore:
    """A store, before a driver that dies at its n-th write: before it, or once it is done."""

    def __init__(self, store, at, is_before):
        self._store = store
        self._left, self._is_before = at, is_before
        self.has_died = False

    def __getattr__(self, name):
        return getattr(self._store, name)

    def _writes(self, write, name, content):
        self._left -= name != CLAIM_NAME
        is_last = self._left == 0 and name != CLAIM_NAME
        self.has_died |= is_last
        if is_last and self._is_before:
            raise Died
        done = write(name, content)
        if is_last:
            raise Died
        return done

    def create(self, name, content):
        return self._writes(self._store.create, name, content)

    def put(self, name, content):
        return self._writes(self._store.put, name, content)


def config_and_plan():
    config = ray_eval.load_config(None, WORDS)
    return config, plan_of(config)


def session(store, url, copy, *, is_resume):
    """What a driver writes in one session, without what its episodes cost; the summary."""
    config, plan = config_and_plan()
    remote = RemoteFolder(store, url, copy)
    remote.open(is_resume=is_resume)
    folder = RunFolder(copy, is_resume=is_resume, remote=remote)
    try:
        try:
            write_all(folder, config, plan)
        finally:
            folder.close()
        remote.close()
    finally:
        # The dead have no beat; what they do not do is write in the store.
        remote._claim._is_over.set()
        remote._claim._thread.join()
    return (copy / "summary.json").read_bytes()


def write_all(folder, config, plan):
    header = folder.recorded_header or make_header(config, {"renderer": "none"}, {"host": "here"})
    folder.open_ledger(config, header)
    for number, spec in enumerate(plan):
        if spec.episode_id not in folder.finished:
            result = EpisodeResult(spec, Outcome.SUCCESS if number % 2 else Outcome.FAILURE, steps=number)
            actions = RecordedActions(1, 1, f"{number}", b"x")
            folder.append(Entry(episode_record(result, Attempt(1, "w", "now"), has_actions=True), actions))
    folder.write_summary(header, plan)


def die_at_every_write(store_at, base, tmp_path):
    """Sessions that die at each write in turn, before and behind it, and are gone on with; how many died."""
    undisturbed = session(store_at(f"{base}/whole"), f"{base}/whole", tmp_path / "whole", is_resume=False)
    number = deaths = 0
    is_going_on = True
    while is_going_on:
        number += 1
        for is_before in (True, False):
            url, copies = f"{base}/died-{number}-{is_before}", tmp_path / f"{number}-{is_before}"
            store = FaultyStore(store_at(url), number, is_before)
            try:
                session(store, url, copies / "first", is_resume=False)
            except Died:
                deaths += 1
            is_going_on = store.has_died
            # As another process of this host finds the claim of a dead one.
            store.remove(CLAIM_NAME)
            again = session(store_at(url), url, copies / "again", is_resume=bool(store.names()))
            assert again == undisturbed, (number, is_before)
            episodes = read_ledger(copies / "again").episodes
            assert list(episodes) == [spec.episode_id for spec in config_and_plan()[1]]
            assert store.get("episodes.jsonl") == b"".join(map(store.get, store.names("episodes.jsonl.d/")))
    return deaths


# config, header; an object for the actions and one for the line of each episode; summary and table; the two as a whole
WRITES = 2 + 2 * 2 + 2 + 2


def test_a_driver_that_dies_at_any_write_loses_nothing_that_counted(tmp_path):
    assert die_at_every_write(MemoryStore, "memory://runs", tmp_path) == 2 * WRITES


@pytest.mark.nightly
def test_a_driver_that_dies_at_any_write_to_a_real_server_loses_nothing_that_counted(bucket, tmp_path):
    assert die_at_every_write(FsspecStore, bucket, tmp_path) == 2 * WRITES


def test_the_second_of_two_drivers_takes_the_ledger_and_the_first_one_stops(bucket, tmp_path):
    url = f"{bucket}/two"
    config, plan = config_and_plan()
    first = RemoteFolder(FsspecStore(url), url, tmp_path / "first")
    first.open(is_resume=False)
    folder = RunFolder(tmp_path / "first", is_resume=False, remote=first)
    folder.open_ledger(config, make_header(config, {"renderer": "none"}, {}))
    # The first one sleeps so long that it is taken for dead.
    FsspecStore(url).remove(CLAIM_NAME)
    session(FsspecStore(url), url, tmp_path / "second", is_resume=True)
    with pytest.raises(LedgerError, match="expected nobody else to write there"):
        folder.append(Entry(episode_record(EpisodeResult(plan[0], Outcome.SUCCESS), Attempt(1, "w", "now"))))
    folder.close()


@pytest.mark.nightly
def test_a_run_in_a_bucket_is_the_run_of_a_folder(bucket, tmp_path):
    words = [*WORDS, "workers=2", "ray.dashboard=false", "protocol.max_steps=20"]
    here = ray_eval.evaluate(None, [*words, f"out={tmp_path / 'here'}"])
    there = ray_eval.evaluate(None, [*words, f"out={bucket}/there"])
    assert there.out == f"{bucket}/there"
    store = FsspecStore(f"{bucket}/there")
    assert store.get("summary.json") == (here.out / "summary.json").read_bytes()
    assert {"config.yaml", "episodes.csv", "episodes.jsonl", "summary.json"} <= set(store.names())
    assert CLAIM_NAME not in store.names()
    whole = b"".join(store.get(name) for name in store.names("episodes.jsonl.d/"))
    assert store.get("episodes.jsonl") == whole
    resume = [sys.executable, "-m", "ray_eval", "run", "--resume", f"{bucket}/there"]
    again = subprocess.run(resume, capture_output=True, text=True, timeout=200, check=False)
    assert again.returncode == 0, again.stderr
    assert "every episode is finished already" in again.stdout
    with pytest.raises(ConfigError, match="--resume s3://runs/there"):
        ray_eval.evaluate(None, [*words, f"out={bucket}/there"])
