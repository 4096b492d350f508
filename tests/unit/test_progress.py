"""What a person sees: the final table in any width, and a status line that says what is provisional."""

import io
import re

import pytest
from rich.console import Console

from ray_eval.report.metrics import ErrorGroup, error_groups
from ray_eval.report.progress import ProgressView, RunView, duration, result_table
from ray_eval.rollout.episode import error_result
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

NAMES = (
    "pick up the alphabet soup and place it in the basket",
    "pick up the chocolate pudding and place it in the basket",
)


def results() -> list[EpisodeResult]:
    specs = [EpisodeSpec(suite, task, 0, 0, 10) for suite in ("libero_object", "libero_goal") for task in (0, 1)]
    succeeded = [EpisodeResult(spec, Outcome.SUCCESS, steps=94) for spec in specs[:3]]
    return [*succeeded, error_result(specs[3], RuntimeError("broke"))]


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_shows_every_figure_in_any_width(width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(result_table("oracle", results(), lambda _suite: NAMES))
    text = console.export_text()
    assert max(len(line) for line in text.splitlines()) <= width
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert rows["all"].split()[1:] == ["3/3", "100.0", "%", "29.2-100.0", "%", "94.0", "1"]
    assert "2/2" in rows["libero_object"]
    assert rows["1"].split()[-5:] == ["0/0", "-", "-", "-", "1"]


def view() -> RunView:
    found = results()
    return RunView([result.spec for result in found], {result.spec.episode_id: result for result in found[:2]})


def test_the_status_says_that_it_is_provisional():
    running = view()
    running.policy = {"batches": 4, "requests": 8, "forward_ms": 20.0}
    running.retries = 1
    status = running.status()
    assert status.startswith("2/4 episodes · 2/2 succeeded (provisional)")
    assert "policy 5.0 ms, batch 2.0" in status
    assert "0 errors, 1 retries" in status


def test_without_a_terminal_there_are_plain_lines():
    stream = io.StringIO()
    progress = ProgressView(Console(file=stream, width=40))
    progress.start(view())
    for result in results()[2:]:
        progress.finished(result)
    progress.stop()
    assert stream.getvalue().splitlines() == [
        "libero_goal/0/0: success (94 steps, 0.0 s)",
        "libero_goal/1/0: error (RuntimeError: broke)",
    ]


def test_a_terminal_gets_the_live_view_and_keeps_its_last_state():
    stream = io.StringIO()
    progress = ProgressView(Console(file=stream, width=100, force_terminal=True))
    progress.start(view())
    progress.tick()
    progress.stop()
    assert "so far (provisional)" in stream.getvalue()
    assert "libero_object/1" in stream.getvalue()


def test_durations_read_like_a_clock():
    assert [duration(s) for s in (0, 59.6, 61, 3723)] == ["0:00", "1:00", "1:01", "1:02:03"]


def test_a_phase_is_a_line_at_its_beginning_and_on_a_terminal_its_time_at_the_end():
    plain, terminal = io.StringIO(), io.StringIO()
    with ProgressView(Console(file=plain, width=40)).phase("starting Ray"):
        assert plain.getvalue() == "starting Ray\n"
    assert plain.getvalue() == "starting Ray\n"
    with ProgressView(Console(file=terminal, width=40, force_terminal=True)).phase("starting Ray"):
        pass
    assert re.search(r"starting Ray: \d+\.\d s", terminal.getvalue())


def test_a_run_that_is_being_stopped_says_so():
    running = view()
    running.is_stopping = True
    assert running.status().endswith("stopping")


def test_errors_are_grouped_by_their_reason_without_its_numbers():
    specs = [EpisodeSpec("fake", 0, i, 0, 10) for i in range(4)]
    broken = [error_result(spec, RuntimeError(f"worker-{spec.init_state_id}: broke\nbadly")) for spec in specs[:2]]
    results = [error_result(specs[2], ValueError("x")), *broken, EpisodeResult(specs[3], Outcome.FAILURE)]
    assert error_groups(results) == [
        ErrorGroup("RuntimeError: worker-0: broke badly", 2, "fake/0/0"),
        ErrorGroup("ValueError: x", 1, "fake/0/2"),
    ]
