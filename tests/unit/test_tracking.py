"""Trackers: told from a thread of their own, by one id over resumes, and no run waits for one or ends with one."""

import json
import threading

import pytest
from made_runs import made_run

from ray_eval.config import load_config
from ray_eval.driver import tracking
from ray_eval.driver.reporting import shown_run
from ray_eval.driver.tracking import Tracking
from ray_eval.errors import ConfigError
from ray_eval.report.tracked import tracked_figures
from ray_eval.track import PLACES, check_trackers


class Told:
    """A tracker that keeps what it is told."""

    def __init__(self, broken: str = ""):
        self.broken = broken
        self.opened = None
        self.logged = []
        self.closed = None

    def _break(self, where):
        if self.broken == where:
            raise ConnectionError("nobody\nanswers")

    def open(self, run):
        self._break("open")
        self.opened = run
        return {"run_id": run.known.get("run_id", "first")}

    def log(self, figures, step):
        self._break("log")
        self.logged.append((dict(figures), step))

    def close(self, summary, *, is_complete):
        self._break("close")
        self.closed = (dict(summary), is_complete)


@pytest.fixture
def results(tmp_path):
    return shown_run(made_run(tmp_path / "made", "ssfse", "tasks=[0]")).results


def told(folder, results, trackers, *, names=("wandb", "mlflow"), is_complete=True):
    """What was said while the trackers were told of a run."""
    folder.mkdir(exist_ok=True)
    said = []
    config = load_config(None, ["policy=random", "suite=fake", f"track=[{','.join(names)}]"])
    found = Tracking(config, folder, said.append, dict(zip(names, trackers, strict=False)).__getitem__)
    found.open()
    found.tick({str(index): result for index, result in enumerate(results[:2])}, {})
    found.close(results, "ab12", is_complete=is_complete)
    return said


def test_every_rate_comes_with_its_interval_and_its_number(tmp_path, results):
    tracker = Told()
    assert told(tmp_path / "run", results, [tracker], names=("wandb",)) == []
    (first, after_two), (last, after_all) = tracker.logged
    assert (after_two, after_all) == (2, 5)
    assert (first["n"], first["success_rate"]) == (2, 1.0)
    assert (last["n"], last["errors"], last["success_rate"]) == (4, 1, 0.75)
    assert last["success_rate_low"] == pytest.approx(0.1941, abs=1e-4)
    assert last["success_rate_high"] == pytest.approx(0.9937, abs=1e-4)
    assert tracker.closed == ({**last, "identity_sha256": "ab12", "interval": "clopper_pearson"}, True)
    assert tracker.opened.config["policy.type"] == "random"


def test_a_run_has_one_id_over_resumes_and_what_a_tracker_asked_to_keep(tmp_path, results):
    first, again = Told(), Told()
    told(tmp_path / "run", results, [first], names=("mlflow",), is_complete=False)
    told(tmp_path / "run", results, [again], names=("mlflow",))
    assert first.opened.id == again.opened.id
    assert dict(again.opened.known) == {"run_id": "first"}
    assert (first.closed[1], again.closed[1]) == (False, True)
    assert json.loads((tmp_path / "run" / "track.json").read_text())["mlflow"] == {"run_id": "first"}


@pytest.mark.parametrize("where", ["open", "log", "close"])
def test_one_that_is_down_is_said_once_and_the_others_are_told_everything(tmp_path, results, where):
    down, up = Told(where), Told()
    (said,) = told(tmp_path / "run", results, [down, up])
    assert said == (
        "WARNING: track=[wandb]: expected it to take what it is told, got ConnectionError: nobody answers; "
        "the run goes on without it"
    )
    assert len(up.logged) == 2
    assert up.closed is not None


def test_one_that_never_answers_keeps_a_run_for_a_while_only(tmp_path, results, monkeypatch):
    released = threading.Event()

    class Hanging(Told):
        def log(self, figures, step):
            released.wait()

    monkeypatch.setattr(tracking, "CLOSE_S", 0.05)
    (said,) = told(tmp_path / "run", results, [Hanging()], names=("wandb",))
    released.set()
    assert "expected it to take the result within 0.05 s" in said


def test_nothing_is_started_or_written_where_none_is_named(tmp_path, results):
    before = threading.active_count()
    assert told(tmp_path / "run", results, [], names=()) == []
    assert list((tmp_path / "run").iterdir()) == []
    assert threading.active_count() == before


def test_several_suites_have_figures_of_their_own(results):
    assert {name for name in tracked_figures(results, "wilson") if "/" in name} == set()
    from dataclasses import replace

    others = [replace(result, spec=replace(result.spec, suite="other")) for result in results]
    figures = tracked_figures([*results, *others], "wilson")
    assert (figures["n"], figures["fake/n"], figures["other/success_rate"]) == (8, 4, 0.75)


def test_an_unknown_tracker_is_a_mistake_and_one_without_its_package_says_what_to_install(monkeypatch):
    with pytest.raises(ConfigError, match=r"track: expected some of tensorboard, wandb, .* got 'wandbb'.*wandb"):
        check_trackers(["wandbb"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"track=\[trackio\]: .* pip install trackio"):
        check_trackers(["trackio"])
    check_trackers([])
    assert set(PLACES) == {"tensorboard", "wandb", "mlflow", "trackio"}
