"""Recorded episodes again on Ray workers, without their policy."""

import json
from dataclasses import replace

import pytest

import ray_eval
from ray_eval.driver.filming import film
from ray_eval.driver.recording import Recording
from ray_eval.driver.replay import judged, replay_run
from ray_eval.errors import ConfigError
from ray_eval.report.actions import ACTIONS_NAME
from ray_eval.report.ledger import LEDGER_NAME, read_ledger
from ray_eval.rollout.replaying import Looks, Replay, Retraced
from ray_eval.types import Canary, Contents
from ray_eval.watch.video import frames_of

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)

RANDOM = {"suite": "fake", "policy": {"type": "random", "images": False}}
SHORT = ("protocol.max_steps=12", "tasks=[0,1]", "episodes_per_task=2", "workers=1")


@pytest.fixture(scope="module")
def ray_session():
    import ray

    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def recorded(ray_session, tmp_path_factory):
    """A run under latency, in which the queue was empty at times and the last action was held."""
    out = tmp_path_factory.mktemp("runs") / "run"
    evaluate(out)
    return out


def evaluate(out, *words, resume=None):
    words = [*SHORT, "execution.mode=async", "execution.latency.steps=4", *words]
    ray_eval.evaluate(RANDOM, [f"out={out}", *words], resume=resume)


def counted(_):
    """A maker that counts what it sees; made here, so that it travels to workers as it is."""

    class Counted:
        looks = Looks(picture_every=5)

        def __init__(self):
            self.pictures, self.steps = [], 0

        def see(self, sight):
            self.steps = sight.step
            if sight.pictures:
                self.pictures.append((sight.step, {name: image.shape for name, image in sight.pictures.items()}))

        def made(self, retraced):
            return self.steps, self.pictures, retraced.instruction

    return {"count": Counted()}


def test_keeping_actions_changes_nothing_and_a_run_without_goes_on_with_keeping_them(ray_session, tmp_path, recorded):
    bare = tmp_path / "bare"
    evaluate(bare, "record.actions=false")
    assert (bare / "summary.json").read_bytes() == (recorded / "summary.json").read_bytes()
    assert read_ledger(bare).header["identity_sha256"] == read_ledger(recorded).header["identity_sha256"]
    assert not (bare / ACTIONS_NAME).exists()
    # As a build that knew of no actions left it, with one episode done.
    lines = (bare / LEDGER_NAME).read_text().splitlines()
    done = {key: value for key, value in json.loads(lines[1]).items() if key != "has_actions"}
    (bare / LEDGER_NAME).write_text("\n".join([lines[0], json.dumps(done)]) + "\n")
    evaluate(bare, resume=bare)
    found = {each.episode_id: each for each in replay_run(bare, makers=counted)}
    assert "no actions were kept; ray-eval episode" in found.pop(done["episode_id"]).error
    assert [each.error for each in found.values()] == [None] * 3
    steps, pictures, instruction = found["fake/1/1"].made["count"]
    size = (256, 256, 3)
    assert (steps, instruction) == (12, "reach goal 1")
    assert pictures == [(s, {"agentview": size, "robot0_eye_in_hand": size}) for s in (0, 5, 6, 10, 12)]


def test_what_becomes_another_episode_is_not_shown(recorded):
    (episode,) = Recording(recorded).recorded(["fake/0/1"]).values()
    same = Retraced(episode.result.trajectory_sha256, is_success=False, task="t", instruction="i")
    assert judged(episode, Replay(same, {"video": b"x"}, 1.0)).made == {"video": b"x"}
    found = judged(episode, Replay(replace(same, trajectory_sha256="0" * 64), {"video": b"x"}, 1.0))
    assert (found.is_same, found.made) == (False, {})
    assert "another trajectory" in found.error
    broken = judged(episode, Replay(None, {}, 1.0, "EpisodeError: it diverged"))
    assert (broken.is_same, broken.error) == (False, "EpisodeError: it diverged")


def test_a_machine_with_another_canary_is_told_of(recorded, tmp_path):
    lines = (recorded / LEDGER_NAME).read_text().splitlines()
    header = json.loads(lines[0])
    header["identity"] |= {"environment.canary_physics": "aa", "environment.mujoco": "3.2.3"}
    (tmp_path / LEDGER_NAME).write_text("\n".join([json.dumps(header), *lines[1:]]) + "\n")
    contents = Contents({}, {})
    recording = Recording(tmp_path)
    assert recording.differences({"mujoco": "3.2.3"}, Canary("aa", "bb", None), contents) == []
    said = recording.differences({"mujoco": "3.3.0"}, Canary("cc", "bb", None), contents)
    assert said == ["canary_physics (aa there, cc here)", "mujoco (3.2.3 there, 3.3.0 here)"]


def test_a_run_is_looked_at_with_as_many_workers_as_fit_here_unless_said(recorded):
    assert read_ledger(recorded).header["config"]["workers"] == 1
    assert Recording(recorded).config.workers == "auto"
    assert Recording(recorded, ["workers=3"]).config.workers == 3
    with pytest.raises(ConfigError, match=r"protocol.max_steps"):
        Recording(recorded, ["protocol.max_steps=13"])


def test_an_episode_of_another_run_is_refused(recorded):
    with pytest.raises(ConfigError, match=r"fake/1/9: expected an episode of the ledger"):
        list(replay_run(recorded, ["fake/1/9"]))


def test_a_run_films_what_it_is_asked_to_at_its_end(ray_session, tmp_path, recorded):
    out = tmp_path / "filmed"
    evaluate(out, "video=first:1")
    assert (out / "summary.json").read_bytes() == (recorded / "summary.json").read_bytes()
    made = sorted(path.relative_to(out).as_posix() for path in out.glob("videos/**/*.*"))
    assert made == [f"videos/fake/{task}/{name}" for task in (0, 1) for name in ("0.jpg", "0.mp4", "contact.jpg")]
    assert len(list(frames_of((out / "videos/fake/1/0.mp4").read_bytes()))) == 13
    films = film(recorded, ["fake/1/1"], other=out)
    (pair,) = films.files
    assert pair == recorded / "videos" / "fake" / "1" / "1-beside-filmed.mp4"
    assert next(frames_of(pair.read_bytes())).shape[1] == 1024


def test_a_video_of_nothing_that_can_be_is_refused_before_anything_runs(recorded):
    with pytest.raises(ConfigError, match=r"video: expected null, failures"):
        ray_eval.load_config(RANDOM, ["video=flops"])
    with pytest.raises(ConfigError, match=r"record.actions: expected true while video is given"):
        ray_eval.load_config(RANDOM, ["video=all", "record.actions=false"])
    with pytest.raises(ConfigError, match="--every: expected 1 or more"):
        film(recorded, ["all"], every=-1)
