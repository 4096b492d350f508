"""Runs that were begun before an identity said what its episodes were made of go on under today's."""

import json
import shutil
from pathlib import Path

import pytest
import ray

import ray_eval
from ray_eval.envs.gl import choose_backend
from ray_eval.report.ledger import LEDGER_NAME

LEDGERS = Path(__file__).parents[1] / "ledgers" / "c91e115"
HERE = ["workers=1", "ray.dashboard=false", "limits.allow_mixed=true"]


@pytest.fixture(scope="module", autouse=True)
def _nothing_is_kept():
    yield
    ray_eval.release()


def taken_up(name: str, tmp_path: Path, episodes: int) -> tuple[Path, list[dict]]:
    """A copy of a run of two episodes with so many of them finished, and the whole run's records."""
    out = shutil.copytree(LEDGERS / name, tmp_path / name)
    lines = (out / LEDGER_NAME).read_text().splitlines(keepends=True)
    assert "identity_version" not in json.loads(lines[0])
    (out / LEDGER_NAME).write_text("".join(lines[: 1 + episodes]))
    return out, [json.loads(line) for line in lines[1:]]


def resumed(out: Path, *words: str):
    return ray_eval.evaluate(out / "config.yaml", [*HERE, *words], resume=out)


@pytest.mark.parametrize("name", ["fake", "libero"])
def test_a_finished_run_is_read_and_summed_up_again(tmp_path, name):
    out, records = taken_up(name, tmp_path, 2)
    evaluation = resumed(out)
    assert evaluation.is_complete
    assert [result.trajectory_sha256 for result in evaluation.results] == [
        record["trajectory_sha256"] for record in records
    ]
    assert "disturbed_episodes" not in json.loads((out / "summary.json").read_text())["overall"]


def test_a_run_of_the_fake_suite_goes_on(tmp_path):
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    try:
        goes_on("fake", tmp_path)
    finally:
        ray.shutdown()


@pytest.mark.nightly
def test_a_run_on_libero_goes_on(tmp_path):
    # As if it had been drawn by the renderer of this machine, which is part of an identity and not what is asked here.
    goes_on("libero", tmp_path, **{"environment.renderer": choose_backend("auto").renderer})


def goes_on(name: str, tmp_path: Path, **here: str) -> None:
    out, records = taken_up(name, tmp_path, 1)
    first, *others = (out / LEDGER_NAME).read_text().splitlines(keepends=True)
    begun = json.loads(first)
    begun["identity"] |= here
    (out / LEDGER_NAME).write_text("".join([json.dumps(begun) + "\n", *others]))
    evaluation = resumed(out)
    assert evaluation.is_complete
    assert [result.actions_sha256 for result in evaluation.results] == [record["actions_sha256"] for record in records]
    header, _, session, *rest = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()]
    assert session["kind"] == "session"
    assert [line["kind"] for line in rest] == ["episode", "served"]
    assert header == begun


def test_a_finished_run_whose_sentence_would_be_another_is_refused(tmp_path):
    out, _ = taken_up("libero", tmp_path, 2)
    with pytest.raises(ray_eval.ConfigError, match=r"protocol\.instruction"):
        resumed(out, "protocol.instruction=bddl")
