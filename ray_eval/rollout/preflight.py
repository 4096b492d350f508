"""What a first observation and its answer say of a policy that is fed wrongly; pure, runs in a worker at the start."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ray_eval.types import ACTION, STATE, Array, Observation, PolicySpec, TrainingRange, is_image

MARGIN = 0.1
"""How far outside the training range a state may be, in widths of that range: every data set is a sample."""
LEAST_MARGIN = 0.01
"""The same for components that hardly moved in training, m or rad."""
SATURATED_SHARE = 0.5
"""Share of arm commands at the limit from which on the scale looks wrong."""
STILL = 1e-3
"""Largest arm command of a chunk that moves nothing: 0.05 mm."""
BLACK = 2.0
"""Mean of an image, of 255, below which nothing was drawn."""
UNIT_RANGE_LIMIT = 1.5
"""Statistics beyond it are of images in [0, 255]."""


def remarks(observation: Observation, actions: Array, spec: PolicySpec, control: str) -> list[str]:
    """Everything that looks wrong, a sentence each.

    Args:
        observation: The first of an episode.
        actions: (H, A), the answer to it.
        spec: The policy's.
        control: `ActionSpec.control`: only deltas are held against their limits of 1 and -1.
    """
    ranges = {each.key: each for each in spec.ranges}
    return [
        *_of_state(observation, ranges.get(STATE), spec),
        *_of_images(observation, ranges),
        *_of_actions(actions, ranges.get(ACTION), control),
    ]


def _of_state(observation: Observation, trained: TrainingRange | None, spec: PolicySpec) -> Iterator[str]:
    if trained is None or STATE not in observation.arrays:
        return
    state = observation.arrays[STATE] if spec.n_obs_steps == 1 else observation.arrays[STATE][-1]
    low, high = np.array(trained.low), np.array(trained.high)
    if low.shape != state.shape:
        yield f"{STATE}: {len(state)} components, while the checkpoint's statistics are of {len(low)}"
        return
    margin = np.maximum(MARGIN * (high - low), LEAST_MARGIN)
    outside = np.flatnonzero((state < low - margin) | (state > high + margin))
    if len(outside):
        named = "; ".join(f"component {i} is {state[i]:.3g}, trained on {low[i]:.3g} to {high[i]:.3g}" for i in outside)
        yield f"{STATE} is outside the training data at an episode's start ({trained.source}): {named}"


def _of_images(observation: Observation, ranges: dict[str, TrainingRange]) -> Iterator[str]:
    for key in filter(is_image, observation.arrays):
        trained = ranges.get(key)
        if trained is not None and max(trained.high) > UNIT_RANGE_LIMIT:
            yield (
                f"{key}: the checkpoint's statistics reach {max(trained.high):.3g}, as of images in [0, 255], while it "
                "is fed images in [0, 1], as LeRobot feeds them"
            )
        if observation.arrays[key].mean() < BLACK:
            yield f"{key} is black at an episode's start"


def _of_actions(actions: Array, trained: TrainingRange | None, control: str) -> Iterator[str]:
    arm = np.abs(actions[:, :-1])
    if control == "delta_pose":
        share = float((arm >= 1).mean())
        if share >= SATURATED_SHARE:
            yield (
                f"{ACTION}: {share:.0%} of the first chunk's arm commands are at their limit or beyond (largest "
                f"{arm.max():.3g}, limit 1): the scale looks wrong"
            )
        elif arm.max() < STILL:
            yield f"{ACTION}: no arm command of the first chunk is above {STILL}: it does not move"
    if trained is not None and len(trained.low) == actions.shape[1]:
        width = np.maximum(np.array(trained.high) - trained.low, LEAST_MARGIN)
        beyond = np.maximum(np.array(trained.low) - actions, actions - trained.high).max(axis=0) / width
        far = np.flatnonzero(beyond > 1)
        if len(far):
            yield (
                f"{ACTION}: components {', '.join(map(str, far))} of the first chunk are farther outside the training "
                "data than that is wide: the statistics look like another data set's"
            )
