"""A run's episodes as a LeRobotDataset, made from their actions; runs in the driver."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from ray_eval.driver.filming import check_can_film, written
from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.replay import Job, MakersOf, replay_jobs
from ray_eval.errors import ConfigError, SetupError
from ray_eval.report.lerobot_dataset import DatasetEpisode, DatasetForm, video_file, write_dataset
from ray_eval.report.looking import chosen
from ray_eval.report.progress import ProgressView
from ray_eval.sections import ImageRecipe, ObservationRecipe
from ray_eval.types import ACTION, STATE, EnvSpec
from ray_eval.watch.rows import EpisodeRows, RowsMaker, Stats, array_stats, pooled

LEROBOT = "lerobot"
"""Name of the format."""
ROWS = "rows"
"""Name of the maker of rows."""


@dataclasses.dataclass(frozen=True, slots=True)
class Dataset:
    """What was written."""

    root: Path
    """Its folder."""
    episodes: int
    """Episodes in it."""
    left_out: tuple[str, ...]
    """Why each of the others is not, a line each."""


def export_dataset(
    path: Path,
    words: Sequence[str],
    out: Path | None,
    *,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> Dataset:
    """Writes chosen episodes of a run as a LeRobotDataset v3.

    Args:
        path: the run's folder.
        words: which episodes (see `report.looking.chosen`).
        out: the dataset's folder; None takes `export/lerobot` below the run's.
        overrides: operational `key=value` texts.
        console: takes what is said meanwhile.

    Raises:
        ConfigError: no such episode, the folder is there already, or the simulator's rate is no whole number.
        LedgerError: the folder holds no run.
        SetupError: the machine cannot run it, or nothing could be written.
    """
    check_can_film()
    recording, root = Recording(path, overrides), out or path / "export" / LEROBOT
    spec = recording.env_spec
    fps = _whole_rate(spec)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise ConfigError(f"{root}: expected no such folder, found one; remove it, or choose another --out")
    ids = chosen(recording.records, words)
    found = recording.recorded(ids)
    job = Job(recording, found, _makers(fps), recording.env_settings(_recipe(recording, spec)))
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        episodes, sizes, broken = _replayed(job, partial, ProgressView(console or Console(quiet=True)))
        left_out = [f"{each}: {recording.without_actions(each)}" for each in ids if each not in found] + broken
        if not episodes:
            raise SetupError(f"{path}: expected episodes that can be shown, got none; {'; '.join(left_out[:3])}")
        write_dataset(partial, DatasetForm(spec.simulator, fps, _names(spec), sizes), episodes, _pooled(episodes))
        partial.replace(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Dataset(root, len(episodes), tuple(left_out))


def _replayed(
    job: Job, root: Path, progress: ProgressView
) -> tuple[list[DatasetEpisode], dict[str, tuple[int, int]], list[str]]:
    """Runs the episodes again and writes their videos.

    Returns:
        The episodes in the ledger's order, the cameras' sizes, and what could not be shown, a line each.
    """
    places = {each: place for place, each in enumerate(job.episodes)}
    episodes: dict[int, DatasetEpisode] = {}
    sizes: dict[str, tuple[int, int]] = {}
    broken = []
    with contextlib.closing(replay_jobs([job], progress)) as replays:
        for _, replayed in replays:
            if not replayed.is_same:
                broken.append(f"{replayed.episode_id}: {replayed.error}")
                continue
            rows: EpisodeRows = replayed.made[ROWS]
            place = places[replayed.episode_id]
            for key, video in rows.videos.items():
                written(video_file(root, key, place), video)
            sizes.update(rows.sizes)
            episodes[place] = _episode(replayed.episode_id, place, rows)
            progress.note(f"{replayed.episode_id}: {len(rows.rewards)} rows, {replayed.wall_s:.1f} s")
    return [episodes[place] for place in sorted(episodes)], sizes, broken


def _makers(fps: int) -> MakersOf:
    def makers(_recorded: Recorded) -> dict[str, RowsMaker]:
        return {ROWS: RowsMaker(fps)}

    return makers


def _whole_rate(spec: EnvSpec) -> int:
    if spec.control_hz != round(spec.control_hz):
        raise ConfigError(
            f"--to lerobot: expected a whole number of control steps a second, got {spec.control_hz:g} of "
            f"{spec.simulator}; LeRobot knows no other rate"
        )
    return round(spec.control_hz)


def _recipe(recording: Recording, spec: EnvSpec) -> ObservationRecipe:
    """The usual cameras as the protocol turns and renders them, before any policy's resizing; and the state."""
    images = recording.config.protocol.images
    plain = ImageRecipe(
        images.render_size_px,
        is_agentview_rotated=images.is_agentview_rotated,
        is_wrist_rotated=images.is_wrist_rotated,
        image_size_px=images.render_size_px,
    )
    cameras = tuple(camera.key for camera in spec.cameras if camera.is_usual)
    return ObservationRecipe((*cameras, *((STATE,) if spec.state is not None else ())), images=plain)


def _names(spec: EnvSpec) -> Mapping[str, Sequence[str]]:
    state = {STATE: spec.state.names} if spec.state is not None else {}
    return {**state, ACTION: spec.action.names}


def _episode(episode_id: str, place: int, rows: EpisodeRows) -> DatasetEpisode:
    stats = {**{key: array_stats(array) for key, array in rows.arrays.items()}, **rows.image_stats}
    return DatasetEpisode(episode_id, place, rows.instruction, rows.arrays, rows.rewards, rows.successes, stats)


def _pooled(episodes: Sequence[DatasetEpisode]) -> dict[str, Stats]:
    return {key: pooled([episode.stats[key] for episode in episodes]) for key in episodes[0].stats}
