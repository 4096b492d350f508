"""The file of a run's actions: what was executed comes back to the bit, whatever happened to the file's end."""

import json

import numpy as np
import pytest

from ray_eval.errors import LedgerError
from ray_eval.report.actions import ACTIONS_NAME, ActionsWriter, read_actions
from ray_eval.types import RecordedActions


def actions(seed=0, steps=5):
    rows = np.random.default_rng(seed).normal(size=(steps, 7))
    return rows, RecordedActions.of([row.astype("<f8").tobytes() for row in rows])


def written(folder, **episodes):
    writer = ActionsWriter(folder)
    for name, recorded in episodes.items():
        writer.append((name, recorded))
    writer.close()
    return {name: {"actions_sha256": recorded.sha256} for name, recorded in episodes.items()}


def test_actions_come_back_to_the_bit(tmp_path):
    rows, recorded = actions()
    found = read_actions(tmp_path, written(tmp_path, a=recorded))["a"]
    assert found.array().tobytes() == rows.tobytes()
    assert read_actions(tmp_path, {"b": {"actions_sha256": recorded.sha256}}) == {}
    assert read_actions(tmp_path / "nothing", {"a": {"actions_sha256": recorded.sha256}}) == {}


def test_a_torn_tail_is_not_read_and_is_cut_off_by_the_next_writer(tmp_path):
    one, other = actions(1)[1], actions(2)[1]
    records = written(tmp_path, a=one, b=other)
    path = tmp_path / ACTIONS_NAME
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert set(read_actions(tmp_path, records)) == {"a"}
    written(tmp_path, b=other)
    assert path.read_bytes() == whole


def test_a_line_without_its_ledger_line_does_no_harm(tmp_path):
    """The process died between the two files, and the episode came out otherwise after the resume."""
    stale, counted = actions(1)[1], actions(2)[1]
    written(tmp_path, a=stale)
    records = written(tmp_path, a=counted)
    assert read_actions(tmp_path, records)["a"] == counted


@pytest.mark.parametrize("damage", ["text", "digits", "sha"])
def test_damaged_actions_are_named_and_never_run(tmp_path, damage):
    recorded = actions()[1]
    records = written(tmp_path, a=recorded)
    path = tmp_path / ACTIONS_NAME
    values = json.loads(path.read_text())
    if damage == "sha":
        values["actions_sha256"] = records["a"]["actions_sha256"] = "0" * 64
    if damage == "digits":
        values["actions"] = values["actions"][:40] + "AAAA" + values["actions"][44:]
    path.write_text("{}x\n" if damage == "text" else json.dumps(values) + "\n")
    with pytest.raises(LedgerError, match=r"actions.jsonl, line 1: expected an episode's actions, got damaged ones"):
        read_actions(tmp_path, records)
