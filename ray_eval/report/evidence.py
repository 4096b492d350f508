"""Which episodes of the runs that are compared are evidence: the same ones, and no episode twice; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ray_eval.report.metrics import PERTURBED_KEY, without_controls
from ray_eval.report.question import Arm
from ray_eval.types import EpisodeResult


def about(arm: Arm) -> Arm:
    """The run without its controls: its perturbed episodes are held against them, and no test is about them."""
    kept = without_controls(arm.results.values(), arm.identity.get(PERTURBED_KEY, {}))
    return _only(arm, [result.spec.episode_id for result in kept])


def on_shared(arms: Sequence[Arm]) -> list[Arm]:
    """The runs, each with only the episodes that all of them ended: every test and figure is of the same ones."""
    ended = [arm.ended for arm in arms]
    ids = [key for key in ended[0] if all(key in results for results in ended)]
    return [_only(arm, ids) for arm in arms]


def once(arms: Sequence[Arm]) -> tuple[list[Arm], str]:
    """The runs without repeats that only say again what one did, and a remark about it, empty where there are none.

    Where every repeat of an init state has the same trajectory, under each of the runs, the first one counts alone.
    Which these are does not depend on who won, so that each pair is as likely to go either way as before.

    Args:
        arms: runs with the same episodes, or one run of which episodes are counted.
    """
    states: dict[tuple[str, int, int], list[str]] = {}
    for key, result in arms[0].ended.items():
        states.setdefault((result.spec.suite, result.spec.task_id, result.spec.init_state_id), []).append(key)
    repeated = [keys for keys in states.values() if len(keys) > 1]
    same = [keys for keys in repeated if all(_is_same([arm.ended[key] for key in keys]) for arm in arms)]
    if not same:
        return list(arms), ""
    again = {key for keys in same for key in keys[1:]}
    said = f"{len(same)} of {len(repeated)} init states have the same trajectory in every repeat, and count once"
    return [_only(arm, [key for key in arm.ended if key not in again]) for arm in arms], said


def _only(arm: Arm, ids: Sequence[str]) -> Arm:
    return replace(arm, results={key: arm.results[key] for key in ids})


def _is_same(results: Sequence[EpisodeResult]) -> bool:
    """Whether all have one trajectory, which is known."""
    return bool(results[0].trajectory_sha256) and len({result.trajectory_sha256 for result in results}) == 1


def has_repeats(arm: Arm) -> bool:
    """Whether an init state is among the episodes that ended more than once."""
    specs = [result.spec for result in arm.ended.values()]
    return len({(spec.suite, spec.task_id, spec.init_state_id) for spec in specs}) < len(specs)
