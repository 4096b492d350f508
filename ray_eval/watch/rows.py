"""An episode as rows of a training data set: what was seen, what was done then, what came of it; runs in workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ray_eval.rollout.replaying import Looks, Retraced, Sight
from ray_eval.types import Array, FloatArray, is_image
from ray_eval.watch.video import FINE, VideoBytes

QUANTILES: Final = (0.01, 0.10, 0.50, 0.90, 0.99)
"""Quantiles of the statistics. Source: lerobot@0.4.4 datasets/compute_stats.py."""
MOST_SAMPLED: Final = 100
"""Images of an episode from which its statistics are made, evenly spread."""
SAMPLE_PX: Final = 64
"""Height or width, about, to which images are thinned out for that."""

Stats = Mapping[str, FloatArray]
"""`min`, `max`, `mean`, `std`, `count` and `q01` to `q99` of each component."""


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeRows:
    """One row per control step: the observation before it, its action, and its reward."""

    arrays: Mapping[str, Array]
    """By key, (T, D) float32; `action` among them."""
    videos: Mapping[str, bytes]
    """By camera's key, an .mp4 file of T frames."""
    sizes: Mapping[str, tuple[int, int]]
    """By camera's key, height and width."""
    rewards: FloatArray
    """(T,)."""
    successes: tuple[bool, ...]
    """Whether the goal held after each step."""
    instruction: str
    """The task in words."""
    image_stats: Mapping[str, Stats]
    """By camera's key, of each channel in [0, 1]."""


class RowsMaker:
    """Gathers an episode's rows.

    Args:
        fps: Frames per second of the videos.
    """

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self._before: Sight | None = None
        self._arrays: dict[str, list[Array]] = {}
        self._videos: dict[str, VideoBytes] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._samples: dict[str, list[Array]] = {}
        self._rewards: list[float] = []
        self._successes: list[bool] = []

    @property
    def looks(self) -> Looks:
        """The recipe's arrays."""
        return Looks(has_observations=True)

    def see(self, sight: Sight) -> None:
        """Takes the next step: its action goes with what was seen before it."""
        before, self._before = self._before, sight
        if before is None or sight.action is None:
            return
        for key, array in before.observation.items():
            if is_image(key):
                self._take_image(key, array)
            else:
                self._arrays.setdefault(key, []).append(np.asarray(array, np.float32))
        self._arrays.setdefault("action", []).append(np.asarray(sight.action, np.float32))
        self._rewards.append(sight.reward)
        self._successes.append(sight.is_success)

    def made(self, retraced: Retraced) -> EpisodeRows:
        """The rows."""
        return EpisodeRows(
            arrays={key: np.stack(rows) for key, rows in self._arrays.items()},
            videos={key: video.taken() for key, video in self._videos.items()},
            sizes=self._sizes,
            rewards=np.array(self._rewards),
            successes=tuple(self._successes),
            instruction=retraced.instruction,
            image_stats={key: _image_stats(images) for key, images in self._samples.items()},
        )

    def _take_image(self, key: str, image: Array) -> None:
        if key not in self._videos:
            self._videos[key] = VideoBytes(self._fps, FINE)
        self._videos[key].append(image)
        height, width = image.shape[:2]
        self._sizes[key] = (height, width)
        step = max(1, min(height, width) // SAMPLE_PX)
        self._samples.setdefault(key, []).append(image[::step, ::step].copy())


def _image_stats(images: Sequence[Array]) -> Stats:
    """(3, 1, 1) statistics of each channel in [0, 1], over evenly spread images."""
    chosen = np.linspace(0, len(images) - 1, min(len(images), MOST_SAMPLED)).round().astype(int)
    values = np.stack([images[index] for index in chosen]).reshape(-1, 3) / 255.0
    found = {name: each.reshape(3, 1, 1) for name, each in array_stats(values).items() if name != "count"}
    return {**found, "count": np.array([len(chosen)])}


def array_stats(values: Array) -> Stats:
    """Statistics of each column of (N, D) numbers."""
    rows = np.asarray(values, np.float64)
    quantiles = np.quantile(rows, QUANTILES, axis=0)
    named = {f"q{round(100 * share):02d}": row for share, row in zip(QUANTILES, quantiles, strict=True)}
    moments = {"min": rows.min(axis=0), "max": rows.max(axis=0), "mean": rows.mean(axis=0), "std": rows.std(axis=0)}
    return {**moments, "count": np.array([len(rows)]), **named}


def pooled(parts: Sequence[Stats]) -> Stats:
    """Statistics of several sets taken together; quantiles are weighted means, as LeRobot has them."""
    weights = np.array([float(part["count"][0]) for part in parts])
    shares = weights / weights.sum()
    mean = sum(share * part["mean"] for share, part in zip(shares, parts, strict=True))
    spread = [part["std"] ** 2 + (part["mean"] - mean) ** 2 for part in parts]
    variance = sum(share * each for share, each in zip(shares, spread, strict=True))
    weighted = {
        name: np.asarray(sum(share * part[name] for share, part in zip(shares, parts, strict=True)))
        for name in parts[0]
        if name.startswith("q")
    }
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": np.asarray(mean),
        "std": np.sqrt(np.asarray(variance)),
        "count": np.array([int(weights.sum())]),
        **weighted,
    }
