"""A driver that ends at any of its writes: what it said is on disk is there, and a resume ends in the same bytes.

All writes are numbered and each is tried, before, after and, where something is written, in the middle of it.
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import mujoco
import numpy as np
import pytest
from exiting import files_of, run_in_child

from ray_eval.config import load_config
from ray_eval.driver.folder import Entry, RunFolder, make_header
from ray_eval.driver.plan import plan_of
from ray_eval.driver.sweep import MANIFEST_NAME, Point, SweepPlan, create_sweep, read_sweep
from ray_eval.envs.digests import FileDigests
from ray_eval.envs.gl import GlProbe
from ray_eval.envs.known_gl import known_backend, remember_backend
from ray_eval.envs.libero.model_cache import KEPT_FOR_S, ModelCache
from ray_eval.report.actions import ACTIONS_NAME, read_actions
from ray_eval.report.ledger import LEDGER_NAME, Attempt, episode_record, read_ledger, write_atomically
from ray_eval.report.sweep import SweptPoint, sweep_csv_text, sweep_summary_text
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome, RecordedActions

CONFIG = load_config(None, ["suite=fake", "policy=oracle", "tasks=[0]", "episodes_per_task=2"])
ATTEMPT = Attempt(1, "worker-0", "2026-01-01T00:00:00+00:00")
Committed = Callable[[str], None]


def result(spec: EpisodeSpec) -> EpisodeResult:
    actions = RecordedActions.of([np.full(7, spec.init_state_id, "<f8").tobytes()] * 4)
    return EpisodeResult(spec, Outcome.SUCCESS, "t", 4, actions_sha256=actions.sha256, actions=actions)


def run_it(out: Path, committed: Committed, config=CONFIG) -> None:
    """What a driver does to a run's folder, new or resumed; an episode is named once it is counted on."""
    plan, header = plan_of(config), make_header(config, {"mujoco": "3.2.3"}, {"versions": {}})
    folder = RunFolder(out, is_resume=out.exists())
    folder.check_config(config)
    folder.open_ledger(config, header)
    for spec in plan:
        if spec.episode_id not in folder.finished:
            found = result(spec)
            folder.append(Entry(episode_record(found, ATTEMPT, has_actions=True), found.actions))
            committed(f"{out}:{spec.episode_id}")
    folder.write_summary(folder.recorded_header or header, plan)
    folder.close()


def sweep_it(out: Path, committed: Committed) -> None:
    """The same for a sweep of two points."""
    made = [
        Point(f"points/{seed}", {"seed": str(seed)}, load_config(CONFIG.resolved(), [f"seed={seed}"]))
        for seed in (0, 1)
    ]
    if not (out / MANIFEST_NAME).exists():
        create_sweep(SweepPlan({"seed": ("0", "1")}, tuple(made)), out, exist_ok=True)
    plan = read_sweep(out)
    points = []
    for point in plan.points:
        run_it(out / point.folder, committed, point.config)
        results = tuple(map(result, plan_of(point.config)))
        points.append(SweptPoint(point.values, len(results), results))
    write_atomically(out / "summary.json", sweep_summary_text(plan.axes, points))
    write_atomically(out / "points.csv", sweep_csv_text(points))


def digest_it(out: Path, committed: Committed) -> None:
    """The memory of files' digests, which is no more than a memory."""
    out.mkdir(exist_ok=True)
    digests = FileDigests(out / "digests.json")
    assert set(digests.of(sorted(Path(__file__).parent.glob("made*.py"))).values()) == DIGESTS
    digests.save()


DIGESTS = set(FileDigests(None).of(sorted(Path(__file__).parent.glob("made*.py"))).values())


def without_sessions(folder: Path) -> dict[str, bytes]:
    """Its files; of the ledgers the lines that are no note of a resume, of the actions those that count."""
    files = files_of(folder)
    for name in list(files):
        if name.endswith(LEDGER_NAME):
            lines = files[name].splitlines()
            files[name] = b"\n".join(line for line in lines if json.loads(line)["kind"] != "session")
        if name.endswith(ACTIONS_NAME):
            files[name] = b"\n".join(dict.fromkeys(files[name].splitlines()))
    return files


@pytest.mark.parametrize("scenario", [run_it, pytest.param(sweep_it, marks=pytest.mark.nightly)], ids=["run", "sweep"])
def test_a_driver_that_ends_at_any_write_loses_nothing_and_goes_on_to_the_same_files(tmp_path, scenario):
    undisturbed = tmp_path / "undisturbed"
    points, _ = run_in_child(lambda said: scenario(undisturbed, said))
    assert len(points) > 40
    print(f"{scenario.__name__}: {len(points)} points")
    expected = without_sessions(undisturbed)
    for at, when in points:
        out = tmp_path / "run"
        _, committed = run_in_child(lambda said, out=out: scenario(out, said), at, when)
        before = [name.rpartition(":") for name in committed]
        for ledger, _, episode_id in before:
            assert read_ledger(Path(ledger)).episodes[episode_id]["outcome"] == "success", (at, when)
        ran: list[str] = []
        scenario(out, ran.append)
        assert not set(ran) & set(committed), (at, when)
        found = without_sessions(out)
        where = {name: name.replace(str(out), str(undisturbed)) for name in found}
        assert {where[name]: content for name, content in found.items()} == expected, (at, when)
        for ledger in out.rglob(LEDGER_NAME):
            episodes = read_ledger(ledger.parent).episodes
            kinds = Counter(json.loads(line).get("episode_id") for line in ledger.read_text().splitlines())
            assert {kinds[episode_id] for episode_id in episodes} == {1}
            assert set(read_actions(ledger.parent, episodes)) == set(episodes)
        shutil.rmtree(out)


def model_it(out: Path, committed: Committed) -> None:
    """Compiled models, with room for two of them: the third one has an older one evicted."""
    cache = ModelCache(out, 3 * mujoco.mj_sizeModel(MODELS[0]), clock=lambda: time.time() + 2 * KEPT_FOR_S)
    for text, expected in zip(MJCF, MODELS, strict=True):
        for _ in range(2):
            assert bytes_of(cache.compiled(text)) == bytes_of(expected)


MJCF = [f'<mujoco><worldbody><geom size="{size}"/></worldbody></mujoco>' for size in (1, 2, 3, 4)]
MODELS = [mujoco.MjModel.from_xml_string(text) for text in MJCF]


def bytes_of(model: mujoco.MjModel) -> bytes:
    content = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, content)
    return content.tobytes()


def renderer_it(out: Path, committed: Committed) -> None:
    """What a machine's renderer has shown."""
    os.environ["RAY_EVAL_CACHE"] = str(out)
    assert known_backend("osmesa", 2) in (None, DRAWN)
    remember_backend(DRAWN, "osmesa", 2)
    assert known_backend("osmesa", 2) == DRAWN


DRAWN = GlProbe("osmesa", "llvmpipe (LLVM 15.0.6, 256 bits)", "0" * 64, 1.5)


@pytest.mark.parametrize("scenario", [digest_it, model_it, renderer_it])
def test_a_cache_that_a_process_left_in_mid_write_is_as_good_as_none(tmp_path, monkeypatch, scenario):
    monkeypatch.setenv("RAY_EVAL_CACHE", str(tmp_path / "elsewhere"))
    points, _ = run_in_child(lambda said: scenario(tmp_path / "undisturbed", said))
    assert len(points) > 10
    print(f"{scenario.__name__}: {len(points)} points")
    for at, when in points:
        out = tmp_path / "cache"
        run_in_child(lambda said, out=out: scenario(out, said), at, when)
        scenario(out, str)
        shutil.rmtree(out)
