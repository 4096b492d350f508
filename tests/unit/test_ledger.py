"""The ledger on disk: torn lines, ranks, full disks, and a summary that is a pure function of it."""

import contextlib
import dataclasses
import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_eval.cli.run import _recorded_config
from ray_eval.config import load_config
from ray_eval.driver.folder import Entry, RunFolder, make_header
from ray_eval.driver.part import Part
from ray_eval.driver.plan import make_plan, plan_of
from ray_eval.errors import ConfigError, EpisodeError, LedgerError
from ray_eval.report.ledger import (
    LEDGER_NAME,
    Attempt,
    LedgerWriter,
    episode_record,
    has_header,
    read_ledger,
    result_of,
    sync_names,
    write_atomically,
)
from ray_eval.report.metrics import csv_text, rate_of, summary_text
from ray_eval.rollout.episode import error_result
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome

WORDS = ("suite=fake", "policy=oracle", "episodes_per_task=2")
CONFIG = load_config(None, WORDS)
PLAN = make_plan(CONFIG, lambda _suite: 3, lambda _suite, _task: 5)
HEADER = make_header(CONFIG, {"mujoco": "3.2.3", "renderer": None}, {"started_at": "now"})
FIRST = Attempt(1, "worker-0", "2026-01-01T00:00:00+00:00")


def result(spec: EpisodeSpec, outcome: Outcome = Outcome.SUCCESS, steps: int = 7) -> EpisodeResult:
    return EpisodeResult(spec, outcome, task="t", steps=steps, reward_sum=1.0, infer_ms=(1.0, 3.0), wall_s=0.5)


def broken(spec: EpisodeSpec) -> EpisodeResult:
    return error_result(spec, EpisodeError("policy: expected an answer, got none"))


def write(folder, *results, attempt=FIRST):
    writer = LedgerWriter(folder)
    writer.append(HEADER)
    for one in results:
        writer.append(episode_record(one, attempt))
    writer.close()


def test_a_record_reads_back_as_its_result(tmp_path):
    write(tmp_path, result(PLAN[0]))
    assert result_of(read_ledger(tmp_path).episodes[PLAN[0].episode_id]) == result(PLAN[0])


def test_a_torn_last_line_is_cut_off(tmp_path):
    write(tmp_path, result(PLAN[0]))
    whole = (tmp_path / LEDGER_NAME).read_bytes()
    for cut in range(1, 40):
        (tmp_path / LEDGER_NAME).write_bytes(whole + whole.splitlines()[1][:cut])
        content = read_ledger(tmp_path)
        assert content.whole_bytes == len(whole)
        writer = LedgerWriter(tmp_path, keep_bytes=content.whole_bytes)
        writer.append(episode_record(result(PLAN[1]), FIRST))
        writer.close()
        assert set(read_ledger(tmp_path).episodes) == {PLAN[0].episode_id, PLAN[1].episode_id}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "a header in line 1"),
        (b'{"kind": "episode"}\n', "a header"),
        (b"nonsense\n", "line 1"),
        (b"[1]\n", "object"),
    ],
)
def test_a_ledger_without_its_header_is_refused(tmp_path, text, message):
    (tmp_path / LEDGER_NAME).write_bytes(text)
    with pytest.raises(LedgerError, match=message):
        read_ledger(tmp_path)


def test_another_schema_version_is_refused(tmp_path):
    (tmp_path / LEDGER_NAME).write_text(json.dumps({**HEADER, "schema_version": 99}) + "\n")
    with pytest.raises(LedgerError, match="schema version 1, got 99"):
        read_ledger(tmp_path)


def test_a_success_outranks_an_error_and_the_first_of_a_rank_wins(tmp_path):
    spec = PLAN[0]
    write(tmp_path, broken(spec), result(spec, Outcome.FAILURE, 9), result(spec, Outcome.SUCCESS, 3), broken(spec))
    record = read_ledger(tmp_path).episodes[spec.episode_id]
    assert (record["outcome"], record["steps"]) == ("failure", 9)


def test_a_full_disk_is_a_clear_error():
    from pathlib import Path

    class Full(LedgerWriter):
        """Writes to the kernel's always-full device."""

        def __init__(self):
            self._path = Path("/dev/full")
            self._file = self._path.open("ab", buffering=0)
            self._length_bytes = 0

    writer = Full()
    with pytest.raises(LedgerError, match="free some space"):
        writer.append(HEADER)
    writer.close()


@pytest.mark.parametrize("torn_bytes", [0, 300])
def test_a_first_line_that_a_full_disk_cuts_leaves_nothing_of_itself(tmp_path, torn_bytes):
    class Cutting(LedgerWriter):
        """Writes half a line, and then finds the disk full."""

        def _write_whole(self, line: bytes) -> None:
            self._file.write(line[: len(line) // 2])
            raise OSError(errno.ENOSPC, "full")

    write(tmp_path, result(PLAN[0]))
    ledger = tmp_path / LEDGER_NAME
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b"x" * torn_bytes)
    writer = Cutting(tmp_path, keep_bytes=read_ledger(tmp_path).whole_bytes)
    with pytest.raises(LedgerError, match="free some space"):
        writer.append(episode_record(result(PLAN[1]), FIRST))
    writer.close()
    assert ledger.read_bytes() == whole


def test_a_file_that_cannot_be_written_leaves_nothing_beside_it(tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(LedgerError, match="expected to write"):
        write_atomically(tmp_path / "summary.json", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_half_a_character_in_an_errors_text_is_written_escaped(tmp_path):
    one = error_result(PLAN[0], OSError("cannot open \udcff.npy"))
    assert "cannot open \\udcff.npy" in str(one.error)
    folder_with(tmp_path / "run", dataclasses.replace(one, traceback="at \udcff.py"))
    resumed = RunFolder(tmp_path / "run", is_resume=True)
    resumed.write_summary(HEADER, PLAN)
    resumed.close()
    write_atomically(tmp_path / "text", "half \udcff")
    assert (tmp_path / "text").read_text() == "half \\udcff"


def test_a_task_whose_first_episode_broke_has_its_name_from_another():
    same_task = [spec for spec in PLAN if spec.task_id == PLAN[0].task_id]
    results = {spec.episode_id: result(spec) for spec in same_task} | {PLAN[0].episode_id: broken(PLAN[0])}
    assert json.loads(summary_text(HEADER, PLAN, results))["tasks"]["fake/0"]["task"] == "t"


@given(st.permutations(range(len(PLAN))), st.integers(1, 3), st.sampled_from(["worker-0", "worker-9"]))
def test_the_summary_knows_neither_order_nor_worker_nor_attempt(order, attempt, worker):
    results = {
        PLAN[i].episode_id: result_of(
            episode_record(
                result(PLAN[i], Outcome.FAILURE if i % 2 else Outcome.SUCCESS), Attempt(attempt, worker, "x")
            )
        )
        for i in order
    }
    straight = {spec.episode_id: results[spec.episode_id] for spec in PLAN}
    other = {**HEADER, "provenance": {"started_at": "another day", "workers": attempt}}
    assert summary_text(HEADER, PLAN, straight) == summary_text(other, PLAN, results)


def test_errors_stand_beside_the_rate_and_make_the_run_incomplete():
    results = {spec.episode_id: result(spec) for spec in PLAN[1:]} | {PLAN[0].episode_id: broken(PLAN[0])}
    summary = json.loads(summary_text(HEADER, PLAN, results))
    assert summary["is_complete"] is False
    assert summary["overall"]["success_rate"] == 1.0
    assert (summary["overall"]["n"], summary["overall"]["errors"]) == (len(PLAN) - 1, 1)


def test_a_group_of_errors_alone_has_no_rate():
    summary = json.loads(summary_text(HEADER, PLAN[:1], {PLAN[0].episode_id: broken(PLAN[0])}))
    assert summary["overall"]["success_rate"] is None
    assert summary["overall"]["interval_low"] is None


def test_a_summary_says_which_interval_it_has_and_another_one_may_be_chosen():
    results = {spec.episode_id: result(spec) for spec in PLAN}
    default = json.loads(summary_text(HEADER, PLAN, results))
    other = json.loads(summary_text(HEADER, PLAN, results, interval="wilson"))
    assert (default["interval"], other["interval"]) == ("clopper_pearson", "wilson")
    assert default["overall"]["interval_low"] < other["overall"]["interval_low"]


def test_wilsons_interval():
    # Source: Brown, Cai, DasGupta (2001), the closed form at z = 1.959964.
    rate = rate_of([result(PLAN[0])] * 8 + [result(PLAN[0], Outcome.FAILURE)] * 2, "wilson")
    n, p, z = 10, 0.8, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * ((p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5) / (1 + z * z / n)
    assert rate.interval == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_the_table_has_a_row_per_episode_in_plan_order():
    records = {spec.episode_id: episode_record(result(spec), FIRST) for spec in reversed(PLAN)}
    rows = csv_text(PLAN, records).splitlines()
    assert rows[0].startswith("episode_id,suite,task_id")
    assert [row.split(",")[0] for row in rows[1:]] == [spec.episode_id for spec in PLAN]


def folder_with(path, *results):
    folder = RunFolder(path, is_resume=False)
    folder.open_ledger(CONFIG, HEADER)
    for one in results:
        folder.append(Entry(episode_record(one, FIRST)))
    folder.close()


def test_results_that_are_written_down_together_make_the_ledger_of_those_that_are_not(tmp_path):
    one_by_one, together = tmp_path / "one", tmp_path / "together"
    folder_with(one_by_one, *map(result, PLAN))
    folder = RunFolder(together, is_resume=False)
    folder.open_ledger(CONFIG, HEADER)
    folder.append(*(Entry(episode_record(result(spec), FIRST)) for spec in PLAN))
    assert set(folder.finished) == {spec.episode_id for spec in PLAN}
    folder.close()
    assert (together / LEDGER_NAME).read_bytes() == (one_by_one / LEDGER_NAME).read_bytes()


def test_a_folder_that_exists_is_refused_and_untouched(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ConfigError, match=r"found something that is no run; choose another --out$"):
        RunFolder(tmp_path, is_resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], r"found a run; go on with it by --resume .*run, or choose another --out$"),
        (
            ["seed=5"],
            r"a run of another configuration \(seed: 0 there, 5 now\); choose another --out, or go on with that",
        ),
    ],
)
def test_a_run_that_is_in_a_new_ones_way_is_compared_with_it(words, said, tmp_path):
    folder_with(tmp_path / "run", result(PLAN[0]))
    with pytest.raises(ConfigError, match=said):
        RunFolder(tmp_path / "run", is_resume=False, config=load_config(None, [*WORDS, *words]))


def test_a_folder_that_is_missing_cannot_be_resumed(tmp_path):
    with pytest.raises(ConfigError, match="found none"):
        RunFolder(tmp_path / "nowhere", is_resume=True)


def test_two_runs_cannot_write_one_folder(tmp_path):
    held = RunFolder(tmp_path / "run", is_resume=False)
    for beginning in (
        lambda: RunFolder(tmp_path / "run", is_resume=True),
        lambda: RunFolder(tmp_path / "run", is_resume=False),
        lambda: _recorded_config(tmp_path / "run"),
    ):
        with pytest.raises(LedgerError, match="still going on; wait for its end, or choose another --out"):
            beginning()
    held.close()


def test_a_run_that_never_began_leaves_no_folder(tmp_path):
    RunFolder(tmp_path / "run", is_resume=False).close()
    assert list(tmp_path.iterdir()) == []


def test_a_resume_keeps_what_is_finished_and_runs_errors_again(tmp_path):
    folder_with(tmp_path / "run", result(PLAN[0]), broken(PLAN[1]))
    resumed = RunFolder(tmp_path / "run", is_resume=True)
    assert set(resumed.finished) == {PLAN[0].episode_id}
    # Asked once for each planned episode: not to be built each time.
    assert resumed.finished is resumed.finished
    resumed.open_ledger(CONFIG, {**HEADER, "provenance": {"started_at": "later"}})
    resumed.append(Entry(episode_record(broken(PLAN[1]), FIRST)))
    assert set(resumed.finished) == {PLAN[0].episode_id}
    resumed.append(Entry(episode_record(result(PLAN[1]), FIRST)))
    assert set(resumed.finished) == {PLAN[0].episode_id, PLAN[1].episode_id}
    resumed.close()
    assert {r["outcome"] for r in read_ledger(tmp_path / "run").episodes.values()} == {"success"}


@pytest.mark.parametrize("is_finished", [True, False])
def test_only_a_run_that_is_not_finished_needs_its_aggregation(is_finished, tmp_path):
    words = ["suite=fake", "policy=oracle", "execution.mode=async", "execution.aggregate=gone_since:aggregate"]
    config = load_config(None, words)
    plan = plan_of(config)
    folder = RunFolder(tmp_path / "run", is_resume=False)
    folder.open_ledger(config, make_header(config, {}, {}))
    for spec in plan[: None if is_finished else -1]:
        folder.append(Entry(episode_record(result(spec), FIRST)))
    folder.close()
    resumed = RunFolder(tmp_path / "run", is_resume=True)
    with (
        contextlib.closing(resumed),
        contextlib.nullcontext() if is_finished else pytest.raises(ConfigError, match="gone_since"),
    ):
        assert Part(config, plan, resumed).is_finished


def test_a_header_that_was_never_whole_is_begun_again(tmp_path):
    folder_with(tmp_path / "run")
    ledger = tmp_path / "run" / LEDGER_NAME
    ledger.write_bytes(ledger.read_bytes()[:20])
    assert not has_header(tmp_path / "run")
    resumed = RunFolder(tmp_path / "run", is_resume=True)
    resumed.open_ledger(CONFIG, HEADER)
    resumed.close()
    assert read_ledger(tmp_path / "run").header["identity"] == HEADER["identity"]


def test_another_identity_is_refused_naming_the_keys(tmp_path):
    folder_with(tmp_path / "run", result(PLAN[0]))
    other = load_config(None, ["suite=fake", "policy=oracle", "episodes_per_task=2", "seed=5", "workers=7"])
    resumed = RunFolder(tmp_path / "run", is_resume=True)
    with pytest.raises(ConfigError, match="seed: 0 there, 5 now") as error:
        resumed.open_ledger(other, make_header(other, {"mujoco": "3.3.0", "renderer": None}, {}))
    assert "environment.mujoco: '3.2.3' there, '3.3.0' now" in str(error.value)
    assert "workers" not in str(error.value)
    resumed.close()


def session(**versions: str) -> dict:
    return {"ray": "2", "versions": {"ray-eval": "0.1.0", **versions}, "policy": {"versions": {"torch": "2.13.0"}}}


def header_of(provenance: dict) -> dict:
    return make_header(CONFIG, {"mujoco": "3.2.3", "renderer": None}, provenance)


def run_session(path, spec: EpisodeSpec, provenance: dict, *, is_resume: bool = True) -> tuple[list[str], dict]:
    """One session that runs one episode: what it says of versions at its start, and the summary at its end."""
    with contextlib.closing(RunFolder(path, is_resume=is_resume)) as folder:
        folder.open_ledger(CONFIG, header_of(provenance))
        said = folder.version_changes
        folder.append(Entry(episode_record(result(spec), FIRST)))
        folder.write_summary(header_of(provenance), PLAN)
    return said, json.loads((path / "summary.json").read_text())


def test_a_resume_under_another_version_is_told_and_one_under_the_same_changes_nothing(tmp_path):
    _, first = run_session(tmp_path / "run", PLAN[0], session(numpy="1"), is_resume=False)
    said, same = run_session(tmp_path / "run", PLAN[1], session(numpy="1"))
    assert (first["version_changes"], said, same["version_changes"]) == ([], [], [])
    newer = {**session(numpy="2"), "policy": {"versions": {"torch": "2.14.0"}}}
    said, last = run_session(tmp_path / "run", PLAN[2], newer)
    assert said == last["version_changes"] == ["numpy: 1, then 2", "the policy's torch: 2.13.0, then 2.14.0"]
    # One who goes on later is told as well.
    assert RunFolder(tmp_path / "run", is_resume=True).version_changes == said


def test_a_session_in_which_nothing_was_run_leaves_nothing(tmp_path):
    run_session(tmp_path / "run", PLAN[0], session(numpy="1"), is_resume=False)
    before = (tmp_path / "run" / LEDGER_NAME).read_bytes()
    with contextlib.closing(RunFolder(tmp_path / "run", is_resume=True)) as folder:
        folder.open_ledger(CONFIG, header_of(session(numpy="2")))
        folder.write_summary(HEADER, PLAN)
    assert (tmp_path / "run" / LEDGER_NAME).read_bytes() == before
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["version_changes"] == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_sync_folders_is_good_enough(code, tmp_path):
    def fsync(_descriptor):
        raise OSError(code, "not here")

    sync_names(0, fsync)


def test_a_folder_that_is_lost_while_it_is_synced_is_said():
    def fsync(_descriptor):
        raise OSError(errno.EIO, "gone")

    with pytest.raises(OSError, match="gone"):
        sync_names(0, fsync)


def test_where_nothing_had_begun_it_is_the_start_that_is_to_be_tried_again(tmp_path):
    with pytest.raises(LedgerError, match="mend that and start the run again"):
        write_atomically(tmp_path / "nowhere" / "config.yaml", "", retry="start the run again")
    with pytest.raises(LedgerError, match="mend that and resume the run"):
        write_atomically(tmp_path / "nowhere" / "summary.json", "")
