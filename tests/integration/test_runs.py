"""Whole runs on a real local Ray with a real gRPC server, on the fake env where LIBERO would add nothing but time."""

import io
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console

import ray_eval
from ray_eval.cli import main
from ray_eval.driver.folder import make_header
from ray_eval.driver.run import run
from ray_eval.driver.sweep import create_sweep, plan_sweep, read_sweep, run_sweep
from ray_eval.driver.tune import tune
from ray_eval.errors import ConfigError, PolicyChanged, PolicyGone, SetupError
from ray_eval.orders import VARIABLE, Orders
from ray_eval.report.ledger import LEDGER_NAME, LedgerWriter, read_ledger

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)

ASYNC = ("execution.mode=async", "execution.latency.steps=4")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A folder in which workers look for packages, empty as long as nobody puts one there."""
    folder = tmp_path_factory.mktemp("packages")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
        yield folder


@pytest.fixture(scope="module")
def ray_session(packages):
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        num_gpus=0,
    )
    yield ray
    ray.shutdown()


SOLVER = {"suite": "fake", "policy": {"type": "fake"}}
RANDOM = {"suite": "fake", "policy": "random"}


def evaluate(out: Path, *overrides: str, base: dict = RANDOM, resume: bool = False):
    return ray_eval.evaluate(base, [f"out={out}", *overrides], resume=out if resume else None)


def records(out: Path, kind: str) -> list[dict]:
    lines = [json.loads(line) for line in (out / LEDGER_NAME).read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.mark.parametrize("mode", [(), ASYNC], ids=["sync", "async"])
def test_the_summary_is_byte_identical_for_one_worker_and_for_three(ray_session, tmp_path, mode):
    one = evaluate(tmp_path / "one", *mode, "episodes_per_task=3", "workers=1")
    three = evaluate(tmp_path / "three", *mode, "episodes_per_task=3", "workers=3")
    assert one.is_complete
    assert len({record["worker"] for record in records(three.out, "episode")}) == 3
    assert (one.out / "summary.json").read_bytes() == (three.out / "summary.json").read_bytes()


def test_results_are_typed_and_in_plan_order(ray_session, tmp_path):
    evaluation = evaluate(tmp_path / "run", "episodes_per_task=2", "repeats=2", "workers=2", base=SOLVER)
    assert [result.spec for result in evaluation.results] == list(evaluation.plan)
    assert len(evaluation.plan) == 12
    assert (evaluation.rate.successes, evaluation.rate.errors, evaluation.is_interrupted) == (12, 0, False)
    assert len((evaluation.out / "episodes.csv").read_text().splitlines()) == 13


def actor_processes(kind: str) -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if f"ray::{kind}" in " ".join(_title(child))]


def has_an_episode(ledger: Path) -> bool:
    return ledger.exists() and len(ledger.read_bytes().splitlines()) >= 2


def kill_one(
    kind: str, is_time: Callable[[], object], killed: list[int], before: Callable[[], object], is_over: threading.Event
) -> None:
    """Kills an actor's process once it is time; begun before the run, so that no earlier run's is taken for its own."""
    earlier = set(actor_processes(kind))
    while not is_time():
        if is_over.wait(0.02):
            return
    before()
    victim = next(process for process in actor_processes(kind) if process not in earlier)
    victim.kill()
    killed.append(victim.pid)


def evaluate_killing(
    kind: str,
    out: Path,
    *overrides: str,
    before: Callable[[], object] = bool,
    is_time: Callable[[], object] | None = None,
):
    """A run in which one actor is killed: once the ledger holds a first episode, or when `is_time` says so."""
    killed: list[int] = []
    is_over = threading.Event()
    when = is_time or (lambda: has_an_episode(out / LEDGER_NAME))
    thread = threading.Thread(target=kill_one, args=(kind, when, killed, before, is_over))
    thread.start()
    config = ray_eval.load_config(RANDOM, [f"out={out}", *overrides])
    try:
        return run(config, console=Console(file=io.StringIO()))
    finally:
        is_over.set()
        thread.join()
        assert killed


def _title(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture(scope="module")
def undisturbed(ray_session, tmp_path_factory) -> bytes:
    evaluation = evaluate(tmp_path_factory.mktemp("undisturbed") / "run", "episodes_per_task=3", "workers=2")
    return (evaluation.out / "summary.json").read_bytes()


def test_a_killed_worker_is_replaced_and_costs_one_attempt(undisturbed, tmp_path):
    # One, so that the rest is the replacement's, however long it takes to start.
    disturbed = evaluate_killing("Worker", tmp_path / "run", "episodes_per_task=3", "workers=1")
    assert [line["attempt"] for line in records(disturbed.out, "attempt")] == [1]
    assert "worker-" in records(disturbed.out, "attempt")[0]["error"]
    assert "worker-1 fake" in {line["worker"] for line in records(disturbed.out, "episode")}
    assert (disturbed.out / "summary.json").read_bytes() == undisturbed


def test_a_worker_that_is_killed_while_the_run_starts_is_replaced(undisturbed, tmp_path):
    words = ("episodes_per_task=3", "workers=2")
    earlier = set(actor_processes("Worker"))

    def is_time() -> bool:
        return bool(set(actor_processes("Worker")) - earlier)

    disturbed = evaluate_killing("Worker", tmp_path / "run", *words, is_time=is_time)
    assert (records(disturbed.out, "attempt"), disturbed.is_complete) == ([], True)
    assert "worker-2 fake" in {line["worker"] for line in records(disturbed.out, "episode")}
    assert (disturbed.out / "summary.json").read_bytes() == undisturbed


def test_a_killed_policy_actor_is_restarted_and_its_episodes_go_on(undisturbed, tmp_path):
    disturbed = evaluate_killing("PolicyActor", tmp_path / "run", "episodes_per_task=3", "workers=2")
    assert {line["attempt"] for line in records(disturbed.out, "episode")} == {1}
    assert (disturbed.out / "summary.json").read_bytes() == undisturbed


@pytest.fixture
def take_all_cpus(ray_session):
    """From its call on nothing that asks for a CPU is placed any more."""

    class Gate:
        """Lets those through who wait at it, once it is opened."""

        def __init__(self):
            self._opened = threading.Event()
            self._waiting = 0

        def wait(self) -> None:
            self._waiting += 1
            self._opened.wait()

        def waiting(self) -> int:
            return self._waiting

        def open(self) -> None:
            self._opened.set()

    def hog(gate) -> None:
        """Takes a CPU when the gate opens, whether one is free or not: Ray gives a task that goes on its CPU back."""
        import ray

        ray.get(gate.wait.remote())
        time.sleep(1000)

    gate = ray_session.remote(Gate).options(num_cpus=0, max_concurrency=10).remote()
    hogs = [ray_session.remote(hog).options(num_cpus=1, max_retries=0).remote(gate) for _ in range(4)]
    while ray_session.get(gate.waiting.remote()) < len(hogs):
        time.sleep(0.1)

    def take() -> None:
        ray_session.get(gate.open.remote())
        while ray_session.available_resources().get("CPU", 0) > 0:
            time.sleep(0.1)

    yield take
    for task in hogs:
        ray_session.cancel(task, force=True)
    ray_session.kill(gate)


@pytest.mark.nightly
def test_a_replacement_that_finds_no_place_holds_no_episode_up(undisturbed, take_all_cpus, tmp_path):
    words = ("episodes_per_task=3", "workers=3", "limits.episode_timeout_s=30")
    slowly = "serving.slowdown_ms=[5,5]"
    evaluate_killing("Worker", tmp_path / "run", *words, slowly, before=take_all_cpus)
    assert [line["attempt"] for line in records(tmp_path / "run", "attempt")] == [1]
    assert "worker-3 fake" not in {line["worker"] for line in records(tmp_path / "run", "episode")}
    assert (tmp_path / "run" / "summary.json").read_bytes() == undisturbed


@pytest.mark.nightly
def test_a_run_whose_last_worker_finds_no_place_again_ends_in_time(take_all_cpus, tmp_path):
    words = ("workers=1", "ray.placement_timeout_s=15", "serving.slowdown_ms=[5,5]")
    with pytest.raises(SetupError, match=r"worker-1 fake to be placed .* within 15 s"):
        evaluate_killing("Worker", tmp_path / "run", *words, before=take_all_cpus)
    assert len(records(tmp_path / "run", "attempt")) == 1


@pytest.mark.nightly
def test_a_replacement_with_other_versions_takes_no_part(undisturbed, packages, tmp_path):
    """A package is put there while the run goes on, and then a worker dies."""
    folder = packages / "rlinf_libero-9.dist-info"

    def install():
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: rlinf-libero\nVersion: 9\n")

    out = tmp_path / "run"
    try:
        with pytest.raises(SetupError, match="expected the same versions everywhere"):
            evaluate_killing("Worker", out, "episodes_per_task=3", "workers=1", before=install)
    finally:
        shutil.rmtree(folder)
    assert {line["worker"] for line in records(out, "episode")} == {"worker-0 fake"}
    evaluate(out, "episodes_per_task=3", "workers=2", resume=True)
    assert (out / "summary.json").read_bytes() == undisturbed


def save_actions(folder: Path, task_id: int, init_state_id: int, actions: np.ndarray) -> None:
    path = folder / "fake" / str(task_id) / f"{init_state_id}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, actions.astype(np.float32))


@pytest.mark.nightly
def test_a_policy_actor_whose_files_changed_ends_the_run_and_adds_nothing_to_its_number(ray_session, tmp_path):
    def save(value: float) -> None:
        for index in range(12):
            save_actions(tmp_path / "actions", index % 3, index // 3, np.full((5, 7), value))

    save(0.1)
    slow = ("workers=2", "episodes_per_task=4", "protocol.max_steps=40", "serving.slowdown_ms=[40,40]")
    replay = (*slow, f"policy.path={tmp_path / 'actions'}")
    killing = threading.Thread(
        target=kill_one,
        args=(
            "PolicyActor",
            lambda: has_an_episode(tmp_path / "run" / LEDGER_NAME),
            [],
            lambda: save(-0.1),
            threading.Event(),
        ),
    )
    killing.start()
    with pytest.raises(PolicyChanged, match=r"policy that the run began with .*got 'replay'.*SHA-256.*--resume"):
        evaluate(tmp_path / "run", *replay, base={**RANDOM, "policy": "replay"})
    killing.join()
    kept = records(tmp_path / "run", "episode")
    assert {line["outcome"] for line in kept} <= {"success", "failure"}
    assert len({line["actions_sha256"] for line in kept}) == 1
    assert not records(tmp_path / "run", "attempt")
    with pytest.raises(ConfigError, match="policy_sha256"):
        evaluate(tmp_path / "run", *replay, base={**RANDOM, "policy": "replay"}, resume=True)
    save(0.1)
    resumed = evaluate(tmp_path / "run", *replay, base={**RANDOM, "policy": "replay"}, resume=True)
    assert resumed.is_complete
    assert len({result.actions_sha256 for result in resumed.results}) == 1


def test_a_policy_whose_files_are_gone_when_its_actor_is_started_again_costs_no_episode_an_attempt(
    ray_session, tmp_path
):
    for index in range(12):
        save_actions(tmp_path / "actions", index % 3, index // 3, np.full((5, 7), 0.1))
    words = ("workers=2", "episodes_per_task=4", "protocol.max_steps=40", "serving.slowdown_ms=[40,40]")
    replay = (*words, "policy=replay", f"policy.path={tmp_path / 'actions'}")
    with pytest.raises(PolicyGone, match="actions"):
        evaluate_killing(
            "PolicyActor", tmp_path / "run", *replay, before=lambda: (tmp_path / "actions").rename(tmp_path / "away")
        )
    assert {line["outcome"] for line in records(tmp_path / "run", "episode")} <= {"success", "failure"}
    (tmp_path / "away").rename(tmp_path / "actions")
    resumed = evaluate(tmp_path / "run", *replay, base={**RANDOM, "policy": "replay"}, resume=True)
    assert resumed.is_complete


@pytest.mark.nightly
@pytest.mark.parametrize("what", ["socket", "folder"])
def test_a_worker_that_comes_after_the_policys_socket_was_cleared_away_works(undisturbed, tmp_path, what):
    def clear() -> None:
        (actor,) = actor_processes("PolicyActor")
        (socket,) = {each.laddr for each in actor.net_connections("unix") if each.laddr.endswith("policy-0.sock")}
        Path(socket).unlink() if what == "socket" else shutil.rmtree(Path(socket).parent)

    disturbed = evaluate_killing("Worker", tmp_path / "run", "episodes_per_task=3", "workers=1", before=clear)
    # The killed one's, and where the policy is not back yet, one that does not count.
    assert len(records(disturbed.out, "attempt")) <= 2
    assert (disturbed.out / "summary.json").read_bytes() == undisturbed


def test_a_poisoned_episode_is_an_error_that_leaves_the_others_alone(ray_session, tmp_path, capsys):
    for task_id in range(3):
        save_actions(tmp_path / "actions", task_id, 0, np.full((5, 7), np.nan if task_id == 1 else 0.1))
    replay = ("episodes_per_task=1", "workers=2", "protocol.max_steps=20", f"policy.path={tmp_path / 'actions'}")
    poisoned = evaluate(tmp_path / "run", *replay, base={**RANDOM, "policy": "replay"})
    assert [str(result.outcome) for result in poisoned.results] == ["failure", "error", "failure"]
    assert "NaN" in (poisoned.results[1].error or "") or "finite" in (poisoned.results[1].error or "")
    assert not poisoned.is_complete
    # A broken contract is not tried again; a resume with the same broken actions says the same.
    assert records(poisoned.out, "attempt") == []
    summary = json.loads((poisoned.out / "summary.json").read_text())
    assert (summary["overall"]["errors"], summary["overall"]["n"], summary["is_complete"]) == (1, 2, False)
    # Once more by the command line: what ended in an error runs again, is one again, and its reason is said.
    capsys.readouterr()
    assert main(["run", "--resume", str(poisoned.out)]) == 1
    assert len(records(poisoned.out, "episode")) == 4
    assert "error in fake/1/0: ContractError: " in capsys.readouterr().out


@pytest.mark.nightly
def test_workers_that_cannot_be_placed_are_an_error_in_time(ray_session, tmp_path):
    started = time.monotonic()
    with pytest.raises(SetupError, match=r"placed and to answer within 8 s, got no free CPU .*set workers lower"):
        evaluate(tmp_path / "run", "workers=9", "ray.placement_timeout_s=8")
    assert time.monotonic() - started < 60
    assert not (tmp_path / "run").exists()


def test_a_policy_that_cannot_be_loaded_is_one_clear_error(ray_session, tmp_path):
    with pytest.raises(SetupError, match=str(tmp_path / "nowhere")):
        evaluate(tmp_path / "run", f"policy.path={tmp_path / 'nowhere'}", base={**RANDOM, "policy": "replay"})
    assert not (tmp_path / "run").exists()


def test_a_resume_with_another_identity_is_refused(ray_session, tmp_path):
    evaluate(tmp_path / "run", "episodes_per_task=1", "tasks=[0]", "protocol.max_steps=20")
    with pytest.raises(ConfigError, match="seed: 0 there, 5 now"):
        evaluate(tmp_path / "run", "episodes_per_task=1", "tasks=[0]", "protocol.max_steps=20", "seed=5", resume=True)


def test_a_resume_of_a_finished_run_runs_nothing(ray_session, tmp_path):
    words = ("episodes_per_task=1", "tasks=[0]", "protocol.max_steps=20")
    first = evaluate(tmp_path / "run", *words)
    before = (first.out / "summary.json").read_bytes()
    evaluate(tmp_path / "run", *words, resume=True)
    assert len(records(first.out, "episode")) == 1
    assert (first.out / "summary.json").read_bytes() == before


def test_nothing_is_left_in_the_session_after_a_run(ray_session, tmp_path):
    evaluate(tmp_path / "run", "episodes_per_task=1", "tasks=[0]", "protocol.max_steps=20")
    deadline = time.monotonic() + 20
    # What Ray says of free CPUs comes a moment after the processes have gone.
    while time.monotonic() < deadline and (
        actor_processes("Worker") or ray_session.available_resources().get("CPU") != 4
    ):
        time.sleep(0.1)
    assert actor_processes("Worker") == []
    assert ray_session.available_resources()["CPU"] == 4
    assert read_ledger(tmp_path / "run").header["provenance"]["workers"] == 1


def test_a_resume_with_another_configuration_is_refused_before_ray_is_there(tmp_path):
    folder = tmp_path / "run"
    config = ray_eval.load_config(RANDOM, ["tasks=[0]", f"out={folder}"])
    folder.mkdir()
    writer = LedgerWriter(folder)
    writer.append(make_header(config, {"renderer": "of another machine"}, {}))
    writer.close()
    # An address that nobody answers at would be found out first, if Ray came first.
    with pytest.raises(ConfigError, match="seed: 0 there, 5 now"):
        ray_eval.evaluate(RANDOM, ["tasks=[0]", "seed=5", "ray.address=127.0.0.1:1"], resume=folder)


def test_an_episode_past_its_time_costs_its_worker_and_becomes_an_error(ray_session, tmp_path):
    limits = ("limits.episode_timeout_s=1", "limits.max_attempts=2", "protocol.max_steps=100000")
    late = evaluate(tmp_path / "run", *limits, "episodes_per_task=1", "tasks=[0]", "workers=1")
    assert [str(result.outcome) for result in late.results] == ["error"]
    assert "expected a result within limits.episode_timeout_s=1 s" in late.results[0].error
    (attempt,), (episode,) = records(late.out, "attempt"), records(late.out, "episode")
    assert (attempt["worker"], episode["worker"], episode["attempt"]) == ("worker-0 fake", "worker-1 fake", 2)


@pytest.mark.parametrize(
    "faults", ["worker_killed", pytest.param("policy_killed,env_exits,socket_removed", marks=pytest.mark.nightly)]
)
def test_chaos_in_a_joined_cluster_disturbs_a_run_and_finds_nothing_wrong(ray_session, tmp_path, capfd, faults):
    address = ray_session.get_runtime_context().gcs_address
    words = ["suite=fake", "policy=random", "tasks=[0]", "episodes_per_task=4", "workers=1", f"ray.address={address}"]
    out = tmp_path / "chaos"
    code = main(["chaos", *words, "protocol.max_steps=20", "--faults", faults, "--delay", "0", "--out", str(out)])
    said = capfd.readouterr().out
    assert code == 0, said
    count = len(faults.split(","))
    assert f"injected: {count} faults of {count} kinds" in said
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    assert sorted(event["kind"] for event in events if event["event"] == "fault") == sorted(faults.split(","))
    assert events[-1] | {"violations": [], "left": []} == events[-1]
    assert (out / "disturbed-1" / "summary.json").read_bytes() == (out / "undisturbed" / "summary.json").read_bytes()
    (killed,) = records(out / "disturbed-1", "attempt")[:1]
    assert killed["outcome"] == "error"


@pytest.mark.nightly
def test_a_step_that_hangs_is_an_error_that_names_its_limit_and_the_log_has_its_stack(
    ray_session, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "orders"))
    orders = Orders(tmp_path / "orders")
    orders.hold(1)
    orders.answer(1, "hang")
    run = evaluate(tmp_path / "run", "episodes_per_task=3", "workers=2", "limits.step_timeout_s=1")
    (broken,) = records(run.out, "attempt")
    assert "step: expected its end within limits.step_timeout_s=1 s" in broken["error"]
    log = Path(re.search(r"at the end of (\S+\.err)", broken["error"]).group(1))
    assert "in _obey" in log.read_text()
    assert (run.out / "summary.json").read_bytes() == undisturbed


LEAKING = """
import numpy as np
from ray_eval.envs.fake import FakeEnv, FakeSimulator

KEPT = []


class LeakingEnv(FakeEnv):
    def reset(self, episode):
        KEPT.append(np.ones(150_000_000, np.uint8))
        super().reset(episode)


class LeakingSimulator(FakeSimulator):
    name = "leaking"

    @classmethod
    def has_suite(cls, suite):
        return suite == "leaking"

    def suites(self):
        return ("leaking",)

    def make_env(self, suite, task_id, settings):
        return LeakingEnv(suite, task_id, settings)
"""


@pytest.mark.nightly
def test_workers_whose_env_leaks_are_replaced_between_episodes_and_cost_no_attempt(
    ray_session, packages, tmp_path, monkeypatch
):
    (packages / "leaking.py").write_text(LEAKING)
    information = packages / "leaking-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: leaking\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[ray_eval.simulators]\nleaking = leaking:LeakingSimulator\n")
    monkeypatch.syspath_prepend(str(packages))
    leaking = ("tasks=[0]", "workers=1", "protocol.max_steps=20")
    base = {"suite": "leaking", "policy": "random"}
    kept = evaluate(tmp_path / "kept", *leaking, "limits.recycle_memory_gb=8", base=base)
    assert len({record["worker"] for record in records(kept.out, "episode")}) == 1
    said = io.StringIO()
    config = ray_eval.load_config(base, [*leaking, "limits.recycle_memory_gb=0.6", f"out={tmp_path / 'recycled'}"])
    recycled = run(config, console=Console(file=said, width=200))
    # A worker holds some 0.2 GB, and 0.15 more after each of its episodes.
    assert len({record["worker"] for record in records(recycled.out, "episode")}) > 1
    assert "after an episode, more than limits.recycle_memory_gb; a new one takes its place" in said.getvalue()
    assert records(recycled.out, "attempt") == []
    assert (recycled.out / "summary.json").read_bytes() == (kept.out / "summary.json").read_bytes()


def test_a_run_whose_every_action_comes_too_late_is_marked(ray_session, tmp_path):
    words = ("execution.mode=async", "execution.latency.steps=10", "episodes_per_task=1", "tasks=[0]")
    starved = evaluate(tmp_path / "run", *words, "protocol.max_steps=20")
    assert starved.is_starved
    assert read_ledger(starved.out).header["is_starved"] is True
    assert json.loads((starved.out / "summary.json").read_text())["is_starved"] is True


def test_the_header_says_where_a_run_came_from(ray_session, tmp_path):
    run = evaluate(tmp_path / "run", "episodes_per_task=1", "tasks=[0]", "protocol.max_steps=20")
    provenance = read_ledger(run.out).header["provenance"]
    assert {"python", "numpy"} <= provenance["policy"]["versions"].keys()
    assert provenance["policy"]["host"] in provenance["hosts"]
    assert "commit" in provenance


SLOW = "serving.slowdown_ms=[0,60]"
FAST_SWEEP = ("execution.mode=async", "execution.latency.steps=0,5", "execution.chunk_size_threshold=0,0.8")
FEW = ("episodes_per_task=1", "protocol.max_steps=40")
MAX_STEPS = "protocol.max_steps=60"


def sweep(out: Path, *words: str):
    plan = plan_sweep(RANDOM, [*FEW, *FAST_SWEEP, *words])
    create_sweep(plan, out)
    return run_sweep(plan, out)


def files(out: Path) -> dict[str, bytes]:
    names = [*sorted(out.glob("points/*/summary.json")), *sorted(out.glob("summary.json")), *sorted(out.glob("*.png"))]
    return {str(path.relative_to(out)): path.read_bytes() for path in names}


@pytest.mark.nightly
def test_a_sweep_gives_the_same_bytes_for_other_workers_and_a_policy_that_answers_when_it_likes(ray_session, tmp_path):
    one = sweep(tmp_path / "one", "workers=1")
    assert one.is_complete
    assert len(files(one.out)) == 7
    for name, words in (("three", ("workers=3",)), ("slow", ("workers=2", SLOW))):
        assert files(sweep(tmp_path / name, *words).out) == files(one.out)
    # A point's summary is that of a run of its own.
    alone = evaluate(tmp_path / "alone", *FEW, *(word.partition(",")[0] for word in FAST_SWEEP), "workers=2")
    first = min(one.out.glob("points/*"))
    assert (first / "summary.json").read_bytes() == (alone.out / "summary.json").read_bytes()
    # One session: every point's episodes were run by the same workers.
    workers = {record["worker"] for path in one.out.glob("points/*") for record in records(path, "episode")}
    assert workers == {"worker-0 fake"}


def test_a_sweep_that_was_stopped_goes_on_to_the_same_bytes(ray_session, tmp_path):
    whole = sweep(tmp_path / "whole", "workers=2")
    plan = plan_sweep(RANDOM, [*FEW, *FAST_SWEEP])
    create_sweep(plan, tmp_path / "stopped")
    # As if it had been killed behind the first point and in the middle of the second.
    for index, kept in ((0, 99), (1, 2)):
        source, target = whole.out / plan.points[index].folder, tmp_path / "stopped" / plan.points[index].folder
        lines = (source / LEDGER_NAME).read_text().splitlines(keepends=True)
        (target / LEDGER_NAME).write_text("".join(lines[: kept + 1]))
    resumed = run_sweep(read_sweep(tmp_path / "stopped", ["workers=1"]), tmp_path / "stopped")
    assert resumed.is_complete
    # A sweep in which nothing waits is drawn again without Ray; a finished point's own summary is the old one's.
    assert (resumed.out / "summary.json").read_bytes() == (whole.out / "summary.json").read_bytes()
    assert run_sweep(plan, resumed.out).is_complete


def test_a_sweep_over_policies_loads_each_once_for_the_same_workers(ray_session, tmp_path):
    base = {"suite": "fake", "policy": {"type": "fake"}}
    plan = plan_sweep(base, [*FEW, "protocol.replan_steps=chunk", "policy.chunk_len=2,3", "seed=0,1", "workers=1"])
    create_sweep(plan, tmp_path / "sweep")
    result = run_sweep(plan, tmp_path / "sweep")
    assert [point.rate.successes for point in result.points] == [3, 3, 3, 3]
    assert [point.results[0].requests for point in result.points][::2] != [0, 0]
    assert result.points[0].results[0].requests > result.points[2].results[0].requests


def test_a_calibrated_latency_is_frozen_into_the_run(ray_session, tmp_path):
    words = (*FEW, "tasks=[0]", "execution.mode=async", "execution.latency.calibrated=true", "policy.images=false")
    slow = evaluate(tmp_path / "slow", *words, "serving.slowdown_ms=[60,60]")
    header = read_ledger(slow.out).header
    latency_ms = header["identity"]["environment.calibrated_latency_ms"]
    assert slow.machine_dependence == f"latency as timed at the run's start, {latency_ms:g} ms"
    assert json.loads((slow.out / "summary.json").read_text())["machine_dependence"] == slow.machine_dependence
    # At least the pause, which is two steps.
    assert latency_ms >= 60
    first_arrival = next(i for i, n in enumerate(slow.results[0].inside.queue_lengths) if n)
    assert first_arrival == -(-latency_ms * 20 // 1000)
    before = (slow.out / "summary.json").read_bytes()
    lines = (slow.out / LEDGER_NAME).read_text().splitlines(keepends=True)
    (slow.out / LEDGER_NAME).write_text(lines[0])
    # The policy is fast now; measured again the latency would be one step.
    evaluate(slow.out, *words, resume=True)
    assert (slow.out / "summary.json").read_bytes() == before


@pytest.mark.nightly
def test_tuning_finds_the_setting_that_works_and_reports_it_on_other_init_states(ray_session, tmp_path):
    # One step late, a chunk of one action never brings it in time.
    words = ("execution.mode=async", "execution.latency.steps=1", "execution.actions_per_chunk=1")
    base = ray_eval.load_config(SOLVER, [*words, "policy.chunk_len=8", "episodes_per_task=2", "workers=2", MAX_STEPS])
    space = {"execution.actions_per_chunk": ("1", "2", "8"), "execution.chunk_size_threshold": ("0", "1")}
    lines = Console(file=io.StringIO(), width=200)
    result = tune(base, space, tmp_path / "tuned", trial_count=6, states_per_task=2, console=lines)
    assert result.best["execution.actions_per_chunk"] in ("2", "8")
    given, best = result.points
    assert (given.is_starved, given.rate.successes) == (True, 0)
    assert best.rate.successes >= 4
    assert len(result.trials) == 6
    # The best one went all the way; those that never act are behind it, wherever they were stopped.
    assert (result.trials[0]["rungs"], result.trials[0]["episodes"]) == (2, 6)
    idle = [trial for trial in result.trials if trial["execution.actions_per_chunk"] == "1"]
    assert [trial["success_rate"] for trial in idle] == [0, 0]
    assert {record["init_state_id"] for record in records(tmp_path / "tuned" / "points" / "1-best", "episode")} == {
        0,
        1,
    }
    assert (tmp_path / "tuned" / "trials.csv").read_text().count("\n") == 7
    told = json.loads((tmp_path / "tuned" / "tuning.json").read_text())
    assert (told["trials"], told["best"]) == (6, result.best)
    assert {episode_id.split("/")[2] for rung in told["rungs"] for episode_id in rung} == {"3", "4"}
    said = lines.file.getvalue()
    assert "tuning on init states 3-4 of each task; the result is that of 0-1" in said
    assert [said.count(f"[{index}/6] actions_per_chunk=") for index in range(1, 7)] == [1] * 6
    assert said.count("loading policy") == 1


@pytest.mark.nightly
def test_a_policy_that_changes_while_settings_are_searched_ends_the_tuning(ray_session, tmp_path):
    def save(value: float) -> None:
        for index in range(15):
            save_actions(tmp_path / "actions", index % 3, index // 3, np.full((5, 7), value))

    save(0.1)
    words = ("execution.mode=async", "execution.latency.steps=1", "episodes_per_task=2", "workers=2", MAX_STEPS)
    replay = ("serving.slowdown_ms=[10,10]", f"policy.path={tmp_path / 'actions'}")
    base = ray_eval.load_config({**RANDOM, "policy": "replay"}, [*words, *replay])
    first = tmp_path / "tuned" / "points" / "0-as-given" / LEDGER_NAME

    def exchange() -> None:
        # The point as given is through: a header and six episodes.
        while len(first.read_bytes().splitlines()) < 7:
            time.sleep(0.02)
        save(-0.1)

    is_over = threading.Event()
    killing = threading.Thread(target=kill_one, args=("PolicyActor", first, [], exchange, is_over))
    killing.start()
    with pytest.raises(PolicyChanged, match="policy that the run began with"):
        tune(base, {"execution.chunk_size_threshold": ("0", "1")}, tmp_path / "tuned", trial_count=2, states_per_task=2)
    is_over.set()
    killing.join()
    assert not (tmp_path / "tuned" / "trials.csv").exists()
