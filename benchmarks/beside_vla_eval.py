"""ray-eval beside vla-eval 0.8: the same LIBERO episodes and actions, two simulators and a policy each, from the start.

pip install --constraint constraints.txt vla-eval torch
python benchmarks/beside_vla_eval.py [--tasks 8] [--episodes 4] [--steps 280] [--replan 10] [--turns 1]

Both draw two cameras of 256 px and execute chunks of recorded actions, so no episode depends on what is seen. vla-eval
runs without containers, in two shards beside its own model server. Its shards ask at every step, and the server keeps
the chunk. ray-eval has two workers and asks when a chunk is used up. It is an error if the two did not execute the
same actions. Figures are seconds from the first process's start to the last one's end, divided by the number of
episodes; start-up is in them.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ray_eval.bench.e2e import WORKERS, Workload
from ray_eval.bench.tasks import ENV_SEED, BenchTask
from ray_eval.report.ledger import read_ledger
from ray_eval.scratch import scratch_folder

SUITE = "libero_object"
TIMEOUT_S = 7200


def serve(actions: Path, chunk_len: int, port: int) -> None:
    """vla-eval's own model server, with a model that has learnt the recorded actions by heart."""
    from vla_eval.model_servers.predict import PredictModelServer
    from vla_eval.model_servers.serve import serve as serve_model

    class Recorded(PredictModelServer):
        """Answers each session with the chunk that is due in its episode."""

        async def on_episode_start(self, config: dict[str, Any], ctx: Any) -> None:
            await super().on_episode_start(config, ctx)
            task = config["task"]
            rows = np.load(actions / str(task["suite"]) / str(task["task_id"]) / f"{task['episode_idx']}.npy")
            self.rows = {**getattr(self, "rows", {}), ctx.session_id: rows}

        def predict(self, obs: Any, ctx: Any) -> dict[str, Any]:  # noqa: ARG002 - as its base class has it
            return {"actions": self.rows[ctx.session_id][ctx.step : ctx.step + chunk_len]}

    serve_model(Recorded(chunk_size=chunk_len), "127.0.0.1", port)


def theirs(arguments: argparse.Namespace, actions: Path, scratch: Path) -> tuple[float, dict[str, str]]:
    """Seconds of vla-eval, its model server and two shards, and what each episode executed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    params = {"suite": SUITE, "seed": ENV_SEED, "send_wrist_image": True, "send_state": True}
    entry = {
        "benchmark": "vla_eval.benchmarks.libero:LIBEROBenchmark", "subname": SUITE, "max_tasks": arguments.tasks,
        "episodes_per_task": arguments.episodes, "max_steps": arguments.steps, "params": params,
    }  # fmt: skip
    config, out = scratch / "vla_eval.yaml", scratch / "theirs"
    config.write_text(yaml.safe_dump({"output_dir": str(out), "benchmarks": [entry]}))
    server = [
        sys.executable,
        __file__,
        "--serve",
        str(port),
        "--actions",
        str(actions),
        "--replan",
        str(arguments.replan),
    ]
    shard = [sys.executable, "-m", "vla_eval.cli.main", "run", "-c", str(config), "--no-docker", "--eval-id", "bench"]
    shard += ["--server-url", f"ws://127.0.0.1:{port}", "--num-shards", str(WORKERS)]
    environment = {**os.environ, "LIBERO_CONFIG_PATH": str(scratch), "MUJOCO_GL": arguments.gl}
    environment["PYOPENGL_PLATFORM"] = arguments.gl
    # LIBERO asks once where its data sets are.
    subprocess.run(
        [sys.executable, "-c", "import libero.libero"], input=b"n\n", env=environment, check=True, capture_output=True
    )
    started = time.perf_counter()
    with (scratch / "theirs.log").open("w") as log, subprocess.Popen(server, stdout=log, stderr=log) as model:
        try:
            _wait_for(port, model)
            shards = [
                subprocess.Popen([*shard, "--shard-id", str(index)], stdout=log, stderr=log, env=environment)
                for index in range(WORKERS)
            ]
            codes = [each.wait(TIMEOUT_S) for each in shards]
        finally:
            model.terminate()
    seconds = time.perf_counter() - started
    if any(codes):
        raise SystemExit(
            f"vla-eval: expected exit codes 0, got {codes}\n{(scratch / 'theirs.log').read_text()[-3000:]}"
        )
    return seconds, _executed(out / "recording-bench.sqlite")


def _executed(recording: Path) -> dict[str, str]:
    """By episode, the SHA-256 of the actions that vla-eval recorded as executed, as our ledger has it."""
    with contextlib.closing(sqlite3.connect(recording)) as opened:
        episodes = opened.execute("SELECT eid, context FROM episode_results").fetchall()
        found = {}
        for eid, context in episodes:
            rows = opened.execute("SELECT fields FROM step_rows WHERE eid = ? ORDER BY step_id", (eid,)).fetchall()
            actions = np.array([json.loads(fields)["action"] for (fields,) in rows], "<f8")
            task = json.loads(context)
            name = f"{task['suite']}/{task['task_id']}/{task['episode_idx']}"
            found[name] = hashlib.sha256(actions.tobytes()).hexdigest()
    return found


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"vla-eval's model server: expected it at port {port}, got nothing there")


def ours(arguments: argparse.Namespace, actions: Path, scratch: Path) -> tuple[float, dict[str, str]]:
    """Seconds of ray-eval, a run with two workers, and what each episode executed."""
    out = scratch / "ours"
    words = [
        "policy=replay", f"policy.path={actions}", f"policy.chunk_len={arguments.replan}", "policy.images=true",
        f"suite={SUITE}", f"tasks=[{','.join(map(str, range(arguments.tasks)))}]", "protocol=vla_eval",
        f"episodes_per_task={arguments.episodes}", f"protocol.max_steps={arguments.steps}", f"workers={WORKERS}",
        f"render.gl={arguments.gl}", "ray.dashboard=false", "report=false", f"out={out}",
    ]  # fmt: skip
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "ray_eval", "run", *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return seconds, {name: record["actions_sha256"] for name, record in read_ledger(out).episodes.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tasks", 8), ("episodes", 4), ("steps", 280), ("replan", 10), ("turns", 1), ("serve", None)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--gl", default="egl", choices=("egl", "osmesa"))
    parser.add_argument("--actions", type=Path)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.actions, arguments.replan, arguments.serve)
        return
    count = arguments.tasks * arguments.episodes
    tasks = tuple(BenchTask(SUITE, index) for index in range(arguments.tasks))
    found: dict[str, list[float]] = {"ray-eval": [], "vla-eval": []}
    for _ in range(arguments.turns):
        executed = []
        for name, side in (("ray-eval", ours), ("vla-eval", theirs)):
            with scratch_folder() as scratch:
                actions = Path(scratch) / "actions"
                Workload(tasks, arguments.episodes, arguments.steps).record(actions)
                seconds, shown = side(arguments, actions, Path(scratch))
            executed.append(shown)
            found[name].append(seconds / count)
            print(f"{name}: {found[name][-1]:.2f} s an episode", flush=True)
        if executed[0] != executed[1] or len(executed[0]) != count:
            raise SystemExit(f"expected {count} episodes of the same actions on both sides, got {executed}")
    one, other = (statistics.median(found[name]) for name in found)
    print(
        f"{count} episodes of {arguments.steps} steps, replan {arguments.replan}: ray-eval {one:.2f} s an episode, ",
        end="",
    )
    print(f"vla-eval {other:.2f} s, {other / one:.1f} times as long")


if __name__ == "__main__":
    main()
