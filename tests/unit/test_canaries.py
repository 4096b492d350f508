"""Machines that compute other bits: refused by name, or marked."""

import dataclasses
import json

import pytest

from ray_eval.config import load_config
from ray_eval.driver.canaries import canary_identity, differing_parts, unlike
from ray_eval.driver.folder import Entry, RunFolder, make_header
from ray_eval.driver.plan import make_plan
from ray_eval.envs.arithmetic import arithmetic_environment
from ray_eval.envs.gl import gl_environment
from ray_eval.errors import ConfigError
from ray_eval.report.ledger import Attempt, episode_record
from ray_eval.types import Canary, EpisodeResult, Outcome

HERE = Canary("p", "l", "x")
THERE = dataclasses.replace(HERE, pixels="y")
CONFIG = load_config(None, ["suite=fake", "policy=oracle", "episodes_per_task=1"])
MIXED = load_config(None, ["suite=fake", "policy=oracle", "episodes_per_task=1", "limits.allow_mixed=true"])
PLAN = make_plan(CONFIG, lambda _suite: 2, lambda _suite, _task: 5)


def header(config, *canaries):
    return make_header(config, canary_identity(canaries), {})


def run_one(path, index, config, canary, *, is_resume=False):
    """One episode of the plan, run on the machine of a canary; the summary."""
    folder = RunFolder(path, is_resume=is_resume)
    try:
        folder.open_ledger(config, header(config, canary))
        result = EpisodeResult(PLAN[index], Outcome.SUCCESS, canary=canary.digest)
        folder.append(Entry(episode_record(result, Attempt(1, "worker-0", "now"))))
        folder.write_summary(folder.recorded_header or header(config, canary), PLAN)
    finally:
        folder.close()
    return json.loads((path / "summary.json").read_text())


def test_the_part_that_differs_is_named_with_the_hosts():
    assert differing_parts([HERE, HERE]) == []
    assert differing_parts([HERE, THERE]) == ["pixels"]
    hosts = {"worker-0": "a", "worker-1": "b", "worker-2": "a"}
    message = unlike({"worker-0": HERE, "worker-1": THERE, "worker-2": HERE}, hosts)
    assert "different pixels" in message
    assert f"{HERE.digest} on a" in message
    assert f"{THERE.digest} on b" in message
    assert "limits.allow_mixed=true" in message


def test_the_identity_has_one_hash_per_part_or_all_of_a_mixed_run():
    assert canary_identity([]) == dict.fromkeys(("canary_physics", "canary_linear_algebra", "canary_pixels"))
    assert canary_identity([HERE, HERE])["canary_pixels"] == "x"
    assert canary_identity([THERE, HERE])["canary_pixels"] == ["x", "y"]


def test_a_resume_on_another_machine_is_refused_naming_the_part(tmp_path):
    run_one(tmp_path / "run", 0, CONFIG, HERE)
    with pytest.raises(ConfigError, match="canary_pixels: 'x' there, 'y' now") as error:
        run_one(tmp_path / "run", 1, CONFIG, THERE, is_resume=True)
    assert "canary_physics" not in str(error.value)
    assert "limits.allow_mixed=true" in str(error.value)


def test_where_machines_may_differ_the_summary_says_so_and_keeps_its_first_name(tmp_path):
    first = run_one(tmp_path / "run", 0, MIXED, HERE)
    both = run_one(tmp_path / "run", 1, MIXED, THERE, is_resume=True)
    assert not first["is_mixed"]
    assert both["is_mixed"]
    assert both["identity_sha256"] == first["identity_sha256"]


def test_the_same_machine_again_is_not_mixed(tmp_path):
    run_one(tmp_path / "run", 0, CONFIG, HERE)
    assert not run_one(tmp_path / "run", 1, CONFIG, HERE, is_resume=True)["is_mixed"]


def test_allowing_other_machines_does_not_allow_another_seed(tmp_path):
    run_one(tmp_path / "run", 0, MIXED, HERE)
    other = load_config(None, ["suite=fake", "policy=oracle", "seed=5", "limits.allow_mixed=true"])
    with pytest.raises(ConfigError, match="seed"):
        run_one(tmp_path / "run", 1, other, THERE, is_resume=True)


def test_workers_are_kept_to_what_every_avx2_machine_has():
    fixed = arithmetic_environment()
    assert fixed.items() <= gl_environment("egl").items()
    if fixed:
        assert fixed["OPENBLAS_CORETYPE"] == "Haswell"
        assert not any("AVX2" in name or "V3" in name for name in fixed["NPY_DISABLE_CPU_FEATURES"].split())
