"""The files of a LeRobotDataset v3: Parquet, MP4 and JSON; one video file per episode and camera.

Source of the layout: lerobot@0.4.4 datasets/lerobot_dataset.py and datasets/utils.py (codebase version v3.0).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_eval.types import Array, FloatArray

CODEBASE_VERSION: Final = "v3.0"
"""The layout's version."""
FILES_PER_CHUNK: Final = 1000
"""Most files in a folder."""
_DATA: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES: Final = "meta/episodes/chunk-000/file-000.parquet"
_INDICES: Final[Mapping[str, str]] = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every dataset has, with their types."""


@dataclass(frozen=True, slots=True, eq=False)
class DatasetEpisode:
    """One episode as the dataset has it."""

    episode_id: str
    """The run's name of it."""
    video: int
    """Number of its video files."""
    instruction: str
    """The task in words."""
    arrays: Mapping[str, Array]
    """By key, (T, D) float32."""
    rewards: FloatArray
    """(T,)."""
    successes: Sequence[bool]
    """Whether the goal held after each step."""
    stats: Mapping[str, Mapping[str, FloatArray]]
    """By key, cameras included, of this episode."""

    @property
    def length(self) -> int:
        """Rows."""
        return len(self.rewards)


@dataclass(frozen=True, slots=True)
class DatasetForm:
    """What all episodes have in common."""

    simulator: str
    """Its name, in the place of the robot's."""
    fps: int
    """Rows per second."""
    names: Mapping[str, Sequence[str]]
    """By key, the components of a vector."""
    sizes: Mapping[str, tuple[int, int]]
    """By camera's key, height and width."""


def video_file(root: Path, key: str, video: int) -> Path:
    """Where the video of a camera belongs that has this number."""
    chunk, file = divmod(video, FILES_PER_CHUNK)
    return root / _VIDEO.format(video_key=key, chunk_index=chunk, file_index=file)


def write_dataset(
    root: Path, form: DatasetForm, episodes: Sequence[DatasetEpisode], stats: Mapping[str, Mapping[str, FloatArray]]
) -> None:
    """Writes everything but the videos, which are there already.

    Args:
        root: the dataset's folder.
        form: what all episodes have in common.
        episodes: in order; the i-th is `episode_index` i.
        stats: by key, over all episodes.
    """
    tasks = {each: index for index, each in enumerate(dict.fromkeys(episode.instruction for episode in episodes))}
    (root / "meta/episodes/chunk-000").mkdir(parents=True, exist_ok=True)
    data = root / _DATA.format(chunk_index=0, file_index=0)
    data.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(_frames(form, episodes, tasks), data)
    pq.write_table(_episodes(form, episodes), root / _EPISODES)
    pq.write_table(_tasks(tasks), root / "meta/tasks.parquet")
    _write_json(root / "meta/info.json", _info(form, episodes, len(tasks)))
    _write_json(root / "meta/stats.json", {key: _plain(each) for key, each in stats.items()})


def _frames(form: DatasetForm, episodes: Sequence[DatasetEpisode], tasks: Mapping[str, int]) -> Any:
    lengths = [episode.length for episode in episodes]
    steps = np.concatenate([np.arange(length) for length in lengths])
    columns: dict[str, Any] = {}
    for key, names in form.names.items():
        rows = np.concatenate([np.asarray(episode.arrays[key], np.float32) for episode in episodes])
        columns[key] = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), len(names))
    successes = np.concatenate([np.array(episode.successes, bool) for episode in episodes])
    ends = np.concatenate([np.arange(length) == length - 1 for length in lengths])
    rewards = np.concatenate([episode.rewards for episode in episodes])
    columns["next.reward"] = pa.array(rewards.astype(np.float32))
    columns["next.success"], columns["next.done"] = pa.array(successes), pa.array(ends)
    columns["timestamp"] = pa.array((steps / form.fps).astype(np.float32))
    columns["frame_index"] = pa.array(steps)
    columns["episode_index"] = pa.array(np.repeat(np.arange(len(episodes)), lengths))
    columns["index"] = pa.array(np.arange(sum(lengths)))
    columns["task_index"] = pa.array(np.repeat([tasks[episode.instruction] for episode in episodes], lengths))
    return pa.table(columns)


def _episodes(form: DatasetForm, episodes: Sequence[DatasetEpisode]) -> Any:
    rows, start = [], 0
    for index, episode in enumerate(episodes):
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [episode.instruction],
            "length": episode.length,
            "data/chunk_index": 0,
            "data/file_index": 0,
            "dataset_from_index": start,
            "dataset_to_index": start + episode.length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "ray_eval/episode_id": episode.episode_id,
        }
        for key in form.sizes:
            chunk, file = divmod(episode.video, FILES_PER_CHUNK)
            row |= {f"videos/{key}/chunk_index": chunk, f"videos/{key}/file_index": file}
            row |= {f"videos/{key}/from_timestamp": 0.0, f"videos/{key}/to_timestamp": episode.length / form.fps}
        for key, stats in episode.stats.items():
            row |= {f"stats/{key}/{name}": values for name, values in _plain(stats).items()}
        rows.append(row)
        start += episode.length
    return pa.Table.from_pylist(rows)


def _tasks(tasks: Mapping[str, int]) -> Any:
    """The table that pandas reads as a frame with the instructions as its index."""
    index = "__index_level_0__"
    columns: list[dict[str, Any]] = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object"},
    ]
    described = [{**each, "metadata": None} for each in columns]
    about = {"index_columns": [index], "column_indexes": [], "columns": described}
    table = pa.table({"task_index": pa.array(list(tasks.values()), pa.int64()), index: pa.array(list(tasks))})
    return table.replace_schema_metadata({"pandas": json.dumps({**about, "pandas_version": "2.0.0"})})


def _info(form: DatasetForm, episodes: Sequence[DatasetEpisode], task_count: int) -> dict[str, Any]:
    features: dict[str, Any] = {
        key: {"dtype": "float32", "shape": [len(names)], "names": list(names)} for key, names in form.names.items()
    }
    for key, (height, width) in form.sizes.items():
        about = {"video.height": height, "video.width": width, "video.codec": "h264", "video.pix_fmt": "yuv420p"}
        about |= {"video.is_depth_map": False, "video.fps": form.fps, "video.channels": 3, "has_audio": False}
        shape = {"shape": [height, width, 3], "names": ["height", "width", "channels"]}
        features[key] = {"dtype": "video", **shape, "info": about}
    for key, dtype in (("next.reward", "float32"), ("next.success", "bool"), ("next.done", "bool"), *_INDICES.items()):
        features[key] = {"dtype": dtype, "shape": [1], "names": None}
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": form.simulator,
        "total_episodes": len(episodes),
        "total_frames": sum(episode.length for episode in episodes),
        "total_tasks": task_count,
        "chunks_size": FILES_PER_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": form.fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": _DATA,
        "video_path": _VIDEO if form.sizes else None,
        "features": features,
    }


def _plain(stats: Mapping[str, FloatArray]) -> dict[str, Any]:
    return {name: np.asarray(values).tolist() for name, values in stats.items()}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=4) + "\n", encoding="utf-8")
