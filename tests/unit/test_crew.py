"""Workers that have nothing to do any more: they go where others have a use for their place, and stay elsewhere."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from ray_eval.config import load_config
from ray_eval.driver.context import Context
from ray_eval.driver.crew import Crew, Newcomer
from ray_eval.report.progress import ProgressView

JOINED = ("ray.address=127.0.0.1:6379",)


@pytest.mark.parametrize(
    ("words", "leaving"),
    [(JOINED, ["idle", "late"]), ((*JOINED, "workers=3"), []), ((), [])],
    ids=["a joined cluster", "so many were asked for", "a Ray of its own"],
)
def test_idle_workers_leave_a_joined_cluster_unless_their_number_was_said(words, leaving):
    config, ended = load_config(None, ["suite=fake", "policy=noop", *words]), []
    crew = Crew(Context(config, SimpleNamespace(end=ended.append), Path(), ProgressView(Console(quiet=True)), 3))
    crew.workers = {name: name for name in ("busy", "idle", "late")}
    crew.newcomers = {"answer": Newcomer("coming", "coming", 1, 0.0)}
    assert crew.shrink({"busy"}) == leaving
    assert ended == [*leaving, *(["coming"] if leaving else [])]
    assert list(crew.workers) == [name for name in ("busy", "idle", "late") if name not in leaving]
    assert bool(crew.newcomers) is not bool(leaving)
