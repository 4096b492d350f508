"""`ray-eval bench`: its options, its table, its JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from rich.table import Table

from ray_eval.bench.checkouts import Checkout
from ray_eval.bench.rows import Row
from ray_eval.bench.tasks import BenchTask
from ray_eval.config import check_writable, user_path
from ray_eval.envs.gl import choose_backend, gl_environment
from ray_eval.errors import ConfigError
from ray_eval.report.terminal import output_console
from ray_eval.rollout.running import installed_versions
from ray_eval.sections import WORKER_MEMORY_BYTES

_SIMULATING: Final = ("step", "reset", "build", "render", "memory", "e2e")
"""Benches that run LIBERO, whose variables must be there before NumPy is loaded."""
_OF_ANY_SIMULATOR: Final = ("step", "reset", "render", "e2e")
"""Benches that other simulators have too."""


def _measured(
    part: Literal["step", "reset", "render"],
    wanted: argparse.Namespace,
    tasks: Sequence[BenchTask],
    repeats: int,
    beside_plain: Callable[[Sequence[BenchTask], int], list[Row]],
) -> list[Row]:
    """LIBERO's tasks beside plain LIBERO, other simulators' by themselves."""
    from ray_eval.bench.others import bench_other, is_other

    ours = [task for task in tasks if not is_other(task)]
    if ours and wanted.words:
        _refuse_words(wanted, f"the task {ours[0]}")
    others = [task for task in tasks if is_other(task)]
    return [*(beside_plain(ours, repeats) if ours else []), *bench_other(part, others, repeats, wanted.words)]


def _refuse_words(wanted: argparse.Namespace, what: str) -> None:
    raise ConfigError(
        f"bench {wanted.name}: expected no {wanted.words[0]} with {what}; name a task of that simulator by --task, "
        "or leave it out"
    )


def _step(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.simulator import bench_step

    tasks = _tasks(wanted, "libero_object/0", "libero_10/2")
    return _measured("step", wanted, tasks, wanted.repeats or 100, bench_step)


def _reset(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.simulator import bench_reset

    tasks = _tasks(wanted, "libero_object/0", "libero_10/2")
    return _measured("reset", wanted, tasks, wanted.repeats or 5, bench_reset)


def _build(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.build import bench_build

    return bench_build(_tasks(wanted, "libero_object/0"), wanted.repeats or 3)


def _render(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.simulator import bench_render

    scenes = ("libero_10/2", "libero_goal/0", "libero_object/0", "libero_spatial/3", "libero_90/45")

    def beside_plain(tasks: Sequence[BenchTask], _: int) -> list[Row]:
        return bench_render(tasks, wanted.repeats, wanted.every)

    return _measured("render", wanted, _tasks(wanted, *scenes), wanted.repeats or 20, beside_plain)


def _memory(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.memory import bench_memory, bench_shared_memory

    tasks = _tasks(wanted, *(f"libero_object/{task_id}" for task_id in range(10)))
    if wanted.against is not None or wanted.beside > 1:
        return bench_shared_memory(tasks, _checkouts(wanted), wanted.beside, wanted.repeats or 1)
    return bench_memory(tasks, round(wanted.budget_gb * 1e9))


def _startup(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.startup import bench_startup

    return bench_startup(_checkouts(wanted), wanted.repeats or 5, is_cold=wanted.cold)


def _checkouts(wanted: argparse.Namespace) -> list[Checkout]:
    """This one, and the one that it is to be compared with."""
    return [Checkout.here(), *([] if wanted.against is None else [Checkout.at(wanted.against)])]


def _serve(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.serve import bench_crowd, bench_serve

    if wanted.forward_ms is not None:
        return bench_crowd(wanted.clients, wanted.requests, wanted.forward_ms, wanted.row_ms, wanted.think_ms)
    return bench_serve(wanted.clients, wanted.requests, wanted.repeats or 50)


def _policy(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.forward import bench_policy
    from ray_eval.bench.pi05 import CPU, WHOLE
    from ray_eval.policies.torch_module import import_torch, pick_device

    device = pick_device(import_torch(), "auto")
    size = WHOLE if device == "cuda" else CPU
    return list(bench_policy(size, device, wanted.rows, wanted.repeats or 5))


def _pipeline(wanted: argparse.Namespace) -> list[Row]:
    if wanted.fake:
        from ray_eval.bench.driver import bench_driver

        return [
            row
            for workers in wanted.workers
            for row in bench_driver(workers, wanted.repeats or 4, wanted.steps, wanted.step_ms)
        ]
    from ray_eval.bench.pipeline import bench_pipeline

    (task,) = _tasks(wanted, "fake/0")[:1]
    return bench_pipeline(task, wanted.steps, wanted.repeats or 20)


def _e2e(wanted: argparse.Namespace) -> list[Row]:
    from ray_eval.bench.e2e import Workload, bench_e2e, bench_e2e_against

    tasks = _tasks(wanted, "libero_object/0", "libero_object/1")
    workload = Workload(tuple(tasks), wanted.episodes, wanted.steps, tuple(wanted.words))
    if wanted.against is not None:
        return bench_e2e_against(workload, wanted.replan, _checkouts(wanted), wanted.repeats or 3)
    return bench_e2e(workload, wanted.replan)


BENCHES: Final[dict[str, tuple[Callable[[argparse.Namespace], list[Row]], str]]] = {
    "step": (_step, "a control step without rendering, against bare physics and against LIBERO's"),
    "reset": (_reset, "a reset, against LIBERO's hard reset"),
    "build": (_build, "a task's environment in a new process, with the model cache and without"),
    "render": (_render, "the images of an episode, against robosuite's"),
    "memory": (_memory, "a worker's resident memory, task after task; PSS of --beside N processes"),
    "startup": (_startup, "first_light to its first finished episode and to its end"),
    "serve": (_serve, "the server's overhead, and its throughput under many clients"),
    "policy": (_policy, "a network of pi0.5's layer sizes through the server, against its bare loop; needs torch"),
    "pipeline": (_pipeline, "codec, client and queue without a simulator's cost; where an episode's time goes"),
    "e2e": (_e2e, "episodes per hour, against loops over the plain simulator"),
}
"""Every bench and what it measures."""


def _file(text: str) -> Path:
    return user_path(text, "--json")


def bench_parser() -> argparse.ArgumentParser:
    """The options of `ray-eval bench`."""
    says = "\n".join(f"  {name:<9} {says}" for name, (_, says) in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="ray-eval bench",
        description=f"Medians of things measured in turn, and ratios within one run:\n{says}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=tuple(BENCHES))
    parser.add_argument("words", nargs="*", metavar="simulator.KEY=VALUE", help="of the tasks' simulator")
    parser.add_argument("--task", action="append", metavar="SUITE/ID", help="a task; may be repeated")
    parser.add_argument("--repeats", type=int, help="how often each thing is measured (default: by bench)")
    parser.add_argument("--steps", type=int, default=100, help="steps of an episode: pipeline, e2e (default: 100)")
    parser.add_argument("--episodes", type=int, default=3, help="episodes of a task: e2e (default: 3)")
    parser.add_argument("--replan", type=int, nargs="+", default=[5, 10, 50], help="replan_steps: e2e (5 10 50)")
    parser.add_argument("--every", type=int, nargs="+", default=[5, 10], help="steps between images: render (5 10)")
    parser.add_argument(
        "--fake", action="store_true", help="pipeline: the real driver, ledger and server under workers that only sleep"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[64], help="workers: pipeline --fake (default: 64)")
    parser.add_argument("--step-ms", type=float, default=50.0, help="time of a step: pipeline --fake (default: 50)")
    parser.add_argument(
        "--budget-gb", type=float, default=WORKER_MEMORY_BYTES / 1e9, help="limits.worker_memory_gb: memory"
    )
    parser.add_argument("--beside", type=int, default=1, metavar="N", help="processes side by side: memory (1)")
    parser.add_argument("--cold", action="store_true", help="with an empty cache folder each time: startup")
    parser.add_argument(
        "--against",
        type=lambda text: user_path(text, "--against"),
        metavar="DIR",
        help="another checkout of ray-eval, run in turn with this one: startup, memory, e2e",
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64], help="clients: serve (default: 1 16 64)")
    parser.add_argument("--requests", type=int, default=50, help="requests of a client: serve (default: 50)")
    parser.add_argument("--forward-ms", type=float, help="serve: only throughput, of forwards that take so long")
    parser.add_argument("--row-ms", type=float, default=1.0, help="with it: what each row adds (default: 1)")
    parser.add_argument("--think-ms", type=float, default=0.0, help="with it: pause of a client (default: 0)")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32], help="rows of a forward: policy (1 8 32)")
    parser.add_argument(
        "--json",
        type=lambda text: user_path(text, "--json"),
        metavar="FILE",
        help="write rows, versions and machine there",
    )
    return parser


def run_bench(wanted: argparse.Namespace) -> None:
    """Measures, shows the table, and writes the JSON where it is asked for."""
    if wanted.json is not None:
        check_writable(wanted.json, "--json")
    if wanted.words and wanted.name not in _OF_ANY_SIMULATOR:
        _refuse_words(wanted, f"bench {wanted.name}, which is LIBERO's")
    if wanted.name in _SIMULATING or wanted.task:
        _enter_worker_environment()
    rows = BENCHES[wanted.name][0](wanted)
    output_console().print(table_of(wanted.name, rows))
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(report_of(wanted.name, rows), indent=1) + "\n", encoding="utf-8")


def table_of(name: str, rows: Sequence[Row]) -> Table:
    """The rows as a person reads them."""
    table = Table("on", "what", "median", "against", "its median", "ratio", title=f"ray-eval bench {name}")
    for row in rows:
        reference = "" if row.reference_value is None else _figure(row.reference_value, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        table.add_row(row.subject, row.what, _figure(row.value, row.unit), row.reference, reference, ratio)
    return table


def report_of(name: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The rows with what they were measured on."""
    return {
        "bench": name,
        "versions": installed_versions(),
        "machine": {"system": platform.platform(), "cpus": len(os.sched_getaffinity(0)), "load": os.getloadavg()},
        "rows": [row.to_json() for row in rows],
    }


def _figure(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".rstrip()


def _tasks(wanted: argparse.Namespace, *defaults: str) -> list[BenchTask]:
    return [BenchTask.parse(text) for text in wanted.task or defaults]


def _enter_worker_environment() -> None:
    """Starts this program anew with a worker's variables, which count only before NumPy and GL are loaded."""
    variables = gl_environment(choose_backend("auto").backend)
    if any(os.environ.get(name) != value for name, value in variables.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", "ray_eval", *sys.argv[1:]], {**os.environ, **variables})  # noqa: S606
