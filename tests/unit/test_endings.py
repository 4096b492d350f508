"""What came to a process of a Ray session is said in one line, with whose memory it is and which file it died of."""

import pytest
import ray

from ray_eval.driver.endings import KillWatch, broken_by, end_of, last_words, lateness, told_end, told_shortage
from ray_eval.errors import EpisodeError, Preempted, WorkerUnreachable
from ray_eval.rollout import actor

OUT_OF_MEMORY = """1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: ::1, ID: \
cb4d) was 22.50GB used / 23.54GB limit (0.955)
OOM kill reason: Memory usage 24159191040B exceeded threshold of 24012684697B (95.0% of 25276510208B limit)
Selected to kill: (Task: job ID=01000000, task name=f, required resources={}, pid=15105, actual memory used=2.25GB, \
worker ID=4194)
"""
KILL = "[I] (raylet) node_manager.cc:3199: Killing 1 worker(s), kill details: Memory on the node (IP: ::1, ID: c) was \
22.50GB used / 23.54GB limit (0.955)\n"
SHADOWED = """Traceback (most recent call last):
  File "/env/lib/python3.11/site-packages/ray/_private/workers/default_worker.py", line 8, in <module>
    import ray
  File "/home/ada/project/numpy.py", line 3, in <module>
    raise RuntimeError("not the numpy you want")
RuntimeError: not the numpy you want
"""


@pytest.mark.parametrize(
    ("exit_type", "cause"),
    [("NODE_OUT_OF_MEMORY", "too little memory"), ("SYSTEM_ERROR", "a crash in native code"), ("USER_ERROR", None)],
)
def test_the_cause_of_an_actors_end_is_named_only_where_ray_says_so(exit_type, cause):
    ended = ray.exceptions.RayActorError(error_msg=f"The actor died.\nWorker exit type: {exit_type}")
    said = end_of(ended)
    assert said.startswith("(The actor died.)")
    assert said.endswith("on its machine") if cause is None else cause in said


def test_what_rays_memory_monitor_kills_is_one_line_that_says_whose_memory_it_is():
    said = told_end(ray.exceptions.OutOfMemoryError(OUT_OF_MEMORY))
    assert said == (
        "it was killed by Ray: 22.5 of the node's 23.5 GB are used (96%), 20.2 GB of them by others; free memory "
        "there, or take fewer workers (ray-eval doctor says how many fit)"
    )
    assert told_shortage("in other words").startswith("the node is short of memory; free memory there")


def test_a_worker_that_cannot_be_reached_has_not_ended_unless_it_left_words(monkeypatch):
    link = "The actor is temporarily unavailable: RpcError: RPC error: recvmsg:Connection reset by peer rpc_code: 14"
    silent = ray.exceptions.ActorUnavailableError(link, b"0" * 16)
    monkeypatch.setattr(actor, "_internal_kv_get", lambda *_, **__: None)
    assert broken_by(silent) == (
        WorkerUnreachable,
        "no answer, as Ray's connection to its process broke (Connection reset by peer)",
    )
    monkeypatch.setattr(actor, "_internal_kv_get", lambda *_, **__: b"a step took 10 s")
    monkeypatch.setattr(actor, "_internal_kv_del", lambda *_, **__: None)
    assert broken_by(silent) == (EpisodeError, "its process's end (a step took 10 s)")


@pytest.mark.parametrize(
    ("said", "preempted", "kind"),
    [
        ("The actor died because its node has died. Node Id: 1f", False, WorkerUnreachable),
        ("The actor died because its node has died. Node Id: 1f", True, Preempted),
        ("Worker unexpectedly exits with a connection error code 2.", False, EpisodeError),
    ],
)
def test_an_end_is_an_attempt_where_nothing_but_the_process_ended(said, preempted, kind):
    assert broken_by(ray.exceptions.RayActorError(error_msg=said, preempted=preempted))[0] is kind


def test_a_run_that_starts_among_kills_says_so_and_not_that_it_is_slow(tmp_path):
    (tmp_path / "raylet.out").write_text(KILL)
    watch = KillWatch(tmp_path)
    assert watch.kills() == []
    with (tmp_path / "raylet.out").open("a") as log:
        log.write(f"something else\n{KILL}{KILL}")
    assert len(watch.kills()) == 2
    assert KillWatch(None).kills() == []
    assert KillWatch(tmp_path / "elsewhere").kills() == []


def test_the_last_words_of_a_process_name_the_file(tmp_path):
    assert last_words(tmp_path) is None
    (tmp_path / "worker-a-01-7.err").write_text("a warning\n")
    assert last_words(tmp_path) is None
    (tmp_path / "worker-b-01-8.err").write_text(f"a warning\n{SHADOWED}")
    assert last_words(tmp_path) == "RuntimeError: not the numpy you want, in /home/ada/project/numpy.py, line 3"


def test_kills_are_told_of_at_the_start_of_a_run():
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        said = lateness(["policy-0"], 60, [KILL, KILL, KILL])
        assert said.startswith(
            "ray: expected policy-0 to start, got it killed by Ray 3 times: 22.5 of the node's 23.5 GB"
        )
    finally:
        ray.shutdown()
