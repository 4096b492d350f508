"""A run's episodes in the formats that other tools read; pure: texts by file name.

In every format an error is no outcome: it is left out, and counted beside where there is a place for it. A success is a
strict boolean. The seed that tools pair by is unique over a run and the same for the same episode in every run.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray_eval.errors import ContractError
from ray_eval.report.evidence import about
from ray_eval.report.metrics import by_suite, by_task, rate_of
from ray_eval.report.question import Arm
from ray_eval.stats.intervals import interval_of
from ray_eval.types import EpisodeResult, Outcome

Files = Mapping[str, str]
"""Texts by file name, relative to the folder of the export."""


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A run and what is told of it besides its episodes."""

    arm: Arm
    """The run."""
    versions: Mapping[str, Any]
    """Versions of the packages that it was run with."""
    wall_s: float
    """Seconds that its episodes took, one after the other."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.arm.name

    @property
    def ended(self) -> list[EpisodeResult]:
        """Episodes that are a success or a failure, in plan order."""
        return list(self.arm.ended.values())

    @property
    def error_count(self) -> int:
        """Episodes that broke."""
        return len(self.arm.results) - len(self.arm.ended)


def episode_seed(episode_id: str) -> int:
    """A number below 2^48 that stands for an episode in every run: of SHA-256 over its id.

    verdikt and arisole pair by the seed alone, and an env seed is that of many episodes.
    """
    return int.from_bytes(hashlib.sha256(episode_id.encode()).digest()[:6], "little")


def seeds_of(results: Iterable[EpisodeResult]) -> dict[str, int]:
    """Every episode's number.

    Raises:
        ContractError: two episodes have the same, which happens to one in a million runs of 10,000.
    """
    seeds = {result.spec.episode_id: episode_seed(result.spec.episode_id) for result in results}
    if len(set(seeds.values())) < len(seeds):
        raise ContractError("export: expected a number for each episode, got one twice; export fewer episodes")
    return seeds


def success(result: EpisodeResult) -> bool:
    """Whether the env called it a success."""
    return result.outcome is Outcome.SUCCESS


# --- flat tables ---


def rows(run: ExportedRun) -> list[dict[str, Any]]:
    """A row per episode, errors included; `success` is null in theirs."""
    seeds = seeds_of(run.arm.results.values())
    return [
        {
            "policy_id": run.name,
            "suite": result.spec.suite,
            "task_id": result.spec.task_id,
            "task": result.task,
            "init_state_id": result.spec.init_state_id,
            "repeat": result.spec.repeat,
            "episode_id": result.spec.episode_id,
            "episode_idx": index,
            "seed": seeds[result.spec.episode_id],
            "env_seed": result.spec.env_seed,
            "success": None if result.outcome is Outcome.ERROR else success(result),
            "outcome": str(result.outcome),
            "steps": result.steps,
            "max_steps": result.spec.max_steps,
            "reward_sum": result.reward_sum,
            "trajectory_sha256": result.trajectory_sha256,
            "error": result.error,
        }
        for index, result in enumerate(run.arm.results.values())
    ]


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(table[0]) if table else ["policy_id"], lineterminator="\n")
    writer.writeheader()
    # Lower case, as JSON has it: some readers take `False`, being a text, for true.
    writer.writerows({key: str(v).lower() if isinstance(v, bool) else v for key, v in row.items()} for row in table)
    return buffer.getvalue()


def csv_files(runs: Sequence[ExportedRun]) -> Files:
    """`episodes.csv`: every episode of every run; `success` is empty where an episode broke."""
    return {"episodes.csv": _csv([row for run in runs for row in rows(run)])}


# --- lerobot-eval, and arisole beside it ---


def eval_info_files(runs: Sequence[ExportedRun]) -> Files:
    """`eval_info.json` as lerobot-eval writes it, with each episode's seed, counts and an interval beside its keys."""
    folders = _folders(runs)
    return {f"{folder}eval_info.json": _json(eval_info(run)) for folder, run in zip(folders, runs, strict=True)}


def _folders(runs: Sequence[ExportedRun]) -> list[str]:
    """A folder for each run, with its slash; none where there is but one."""
    return [""] if len(runs) == 1 else [f"{name}/" for name in file_names([run.name for run in runs])]


def file_names(names: Sequence[str]) -> list[str]:
    """Names as files are called, below the folder of the export whatever they are, and each another."""
    return distinct(["".join("-" if c in "/\\\0" else c for c in name).lstrip(".") or "run" for name in names])


def distinct(words: Sequence[str]) -> list[str]:
    """The words, numbered where one was there before, in capitals or not."""
    found: list[str] = []
    for word in words:
        taken = {other.lower() for other in (*found, *words[len(found) + 1 :])}
        numbered = (f"{word}-{number}" for number in range(2, len(taken) + 3))
        is_first = word.lower() not in {other.lower() for other in found}
        found.append(word if is_first else next(name for name in numbered if name.lower() not in taken))
    return found


def eval_info(run: ExportedRun) -> dict[str, Any]:
    """lerobot-eval's keys: per_task, per_group, overall. Source: lerobot 0.4.4 scripts/lerobot_eval.py."""
    ended = run.ended
    seconds = {"eval_s": round(run.wall_s, 3), "eval_ep_s": round(run.wall_s / len(ended), 3) if ended else None}
    seeds = seeds_of(ended)
    return {
        "per_task": [_task_info(key, group, seeds) for key, group in by_task(ended).items()],
        "per_group": {suite: _aggregate(group) for suite, group in by_suite(ended).items()},
        "overall": {**_aggregate(list(about(run.arm).ended.values())), **seconds, "n_errors": run.error_count},
    }


def _task_info(key: tuple[str, int], group: Sequence[EpisodeResult], seeds: Mapping[str, int]) -> dict[str, Any]:
    suite, task_id = key
    return {
        "task_group": suite,
        "task_id": task_id,
        "metrics": {
            "sum_rewards": [result.reward_sum for result in group],
            "max_rewards": [1.0 if success(result) else 0.0 for result in group],
            "successes": [success(result) for result in group],
            "video_paths": [],
        },
        "per_episode": [
            {
                "episode_ix": index,
                "seed": seeds[result.spec.episode_id],
                "success": success(result),
                "sum_reward": result.reward_sum,
                "max_reward": 1.0 if success(result) else 0.0,
                "episode_id": result.spec.episode_id,
            }
            for index, result in enumerate(group)
        ],
    }


def _aggregate(group: Sequence[EpisodeResult]) -> dict[str, Any]:
    rate = rate_of(group)
    interval = interval_of(rate.successes, rate.n)
    value = rate.value
    return {
        "avg_sum_reward": sum(result.reward_sum for result in group) / rate.n if rate.n else None,
        "avg_max_reward": value,
        "pc_success": None if value is None else 100 * value,
        "n_episodes": rate.n,
        "n_success": rate.successes,
        "pc_success_ci95": None if interval is None else [100 * interval.low, 100 * interval.high],
        "video_paths": [],
    }


def arisole_files(runs: Sequence[ExportedRun]) -> Files:
    """A folder per run with `eval_info.json` and the `run_meta.json` that arisole compares runs by."""
    files: dict[str, str] = {}
    for folder, run in zip(_folders(runs), runs, strict=True):
        files[f"{folder}eval_info.json"] = _json(eval_info(run))
        files[f"{folder}run_meta.json"] = _json(_run_meta(run))
    return files


def _run_meta(run: ExportedRun) -> dict[str, Any]:
    identity = run.arm.identity
    suites = list(by_suite(run.arm.results.values()))
    return {
        "task": "+".join(suites),
        "environment": "+".join(suites),
        "environment_version": " ".join(f"{k} {v}" for k, v in run.versions.items() if k in ("mujoco", "robosuite")),
        "embodiment": "franka_panda",
        "checkpoint_id": str(identity.get("environment.policy_sha256") or run.name),
        "policy_family": str(identity.get("policy.type", "unknown")),
        "evaluation_seed": identity.get("seed", 0),
    }


# --- robostats ---


def robostats_files(runs: Sequence[ExportedRun]) -> Files:
    """A JSON Lines file per run; the scenario is suite, task, init state and repeat, as one text."""
    names = file_names([run.name for run in runs])
    return {f"{name}.jsonl": "".join(map(_line, _robostats_rows(run))) for name, run in zip(names, runs, strict=True)}


def _robostats_rows(run: ExportedRun) -> list[dict[str, Any]]:
    return [
        {
            "policy_id": run.name,
            "task_id": f"{result.spec.suite}/{result.spec.task_id}",
            "scenario_id": result.spec.episode_id,
            "success": success(result),
            "episode_idx": index,
            "seed": result.spec.env_seed,
            "max_steps": result.spec.max_steps,
        }
        for index, result in enumerate(run.ended)
    ]


# --- verdikt ---


def verdikt_files(runs: Sequence[ExportedRun]) -> Files:
    """One CSV with every run as an arm, without the episodes that broke: verdikt takes any text for a success."""
    table = [
        {
            "policy_id": run.name,
            "suite": result.spec.suite,
            "task": f"{result.spec.suite}/{result.spec.task_id}",
            "episode_idx": index,
            "seed": seeds[result.spec.episode_id],
            "success": success(result),
            "steps": result.steps,
        }
        for run in runs
        for seeds in (seeds_of(run.arm.results.values()),)
        for index, result in enumerate(run.ended)
    ]
    return {"verdikt.csv": _csv(table)}


# --- fieldtrial ---


def fieldtrial_files(runs: Sequence[ExportedRun]) -> Files:
    """A study of fieldtrial's and the CSV that it imports once it is locked; conditions are the episodes."""
    ids = list(dict.fromkeys(key for run in runs for key in run.arm.results))
    names = distinct([_word(run.name) for run in runs])
    table = [
        {
            "condition": f"episode={_word(result.spec.episode_id)}",
            "arm": name,
            **(
                {"success": "", "status": "invalid", "invalid_reason": "error"}
                if result.outcome is Outcome.ERROR
                else {"success": "true" if success(result) else "false", "status": "completed", "invalid_reason": ""}
            ),
        }
        for name, run in zip(names, runs, strict=True)
        for result in run.arm.results.values()
    ]
    return {"study.yaml": _study(names, [_word(key) for key in ids]), "trials.csv": _csv(table)}


def _word(text: str) -> str:
    """A name that fieldtrial takes: letters, digits, `-` and `_`."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text).strip("-") or "run"


def _study(names: Sequence[str], ids: Sequence[str]) -> str:
    """A two-arm study has a paired comparison; of more arms each is compared with the first."""
    # JSON is YAML.
    study = {
        "fieldtrial": 1,
        "name": "ray-eval",
        "title": f"{' and '.join(names)}, by ray-eval",
        "task": {"instruction": "each condition has its own"},
        "rubric": {"stages": [{"id": "success", "label": "the env says so"}], "success": "success"},
        "arms": [{"id": name, "runner": "manual"} for name in names],
        "conditions": {"factors": {"episode": {"values": list(ids)}}, "replicates": 1},
        "design": {"type": "randomized_block", "order": "random", "blinding": "none", "seed": 0},
        "analysis": {
            "primary": {
                "metric": "success",
                "comparison": {"treatment": names[-1], "control": names[0]},
                "alternative": "two-sided",
                "alpha": 0.05,
            }
        },
    }
    return _json(study)


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(values, allow_nan=False) + "\n"


TEXT_FORMATS: Mapping[str, Callable[[Sequence[ExportedRun]], Files]] = {
    "eval_info": eval_info_files,
    "robostats": robostats_files,
    "verdikt": verdikt_files,
    "fieldtrial": fieldtrial_files,
    "arisole": arisole_files,
    "csv": csv_files,
}
"""Every format of texts by its name; `parquet` has the rows of `csv`."""
