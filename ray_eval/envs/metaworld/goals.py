"""The 50 goals of a task and seed as Meta-World draws them, made once on a machine and kept on its disk.

Drawing them takes Meta-World 0.6 s of CPU: it builds the task and resets it fifty times. An entry is an .npy file
whose name ends in the SHA-256 of its bytes; what does not match its name is made anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import pickle
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np

from ray_eval.envs.metaworld.tasks import GOAL_COUNT
from ray_eval.types import FloatArray


def default_folder() -> Path:
    """`$RAY_EVAL_CACHE`, else `ray-eval` in the user's cache folder; there `metaworld`."""
    if chosen := os.environ.get("RAY_EVAL_CACHE"):
        return Path(chosen) / "metaworld"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ray-eval" / "metaworld"


@functools.cache
def goals(task: str, seed: int, folder: Path) -> FloatArray:
    """The (50, K) goal vectors of `metaworld.MT1(task, seed)`, K from 3 to 6.

    Args:
        task: Meta-World's name.
        seed: Its seed.
        folder: Of the entries, which several processes may use at once; made when it is first written to.
    """
    stem = f"{task}-{seed}-metaworld-{metadata.version('metaworld')}"
    found = _found(folder, stem)
    if found is None:
        found = drawn(task, seed)
        with contextlib.suppress(OSError):  # a disk that is full or not ours to write costs time only
            _store(folder, stem, found)
    found.setflags(write=False)
    return found


def drawn(task: str, seed: int) -> FloatArray:
    """The (50, K) goal vectors as `metaworld.MT1(task, seed)` draws them now."""
    import metaworld

    tasks = metaworld.MT1(task, seed=seed).train_tasks
    return np.stack([np.asarray(pickle.loads(each.data)["rand_vec"], np.float64) for each in tasks])  # noqa: S301


def digest(vectors: FloatArray) -> str:
    """SHA-256 of goal vectors, as the run's identity has it."""
    return hashlib.sha256(np.ascontiguousarray(vectors, dtype="<f8").tobytes()).hexdigest()


def _found(folder: Path, stem: str) -> FloatArray | None:
    for path in sorted(folder.glob(f"{stem}-*.npy")):
        with contextlib.suppress(OSError, ValueError):
            content = path.read_bytes()
            if path.stem == f"{stem}-{hashlib.sha256(content).hexdigest()}":
                vectors: FloatArray = np.load(io.BytesIO(content), allow_pickle=False)
                if len(vectors) == GOAL_COUNT:
                    return vectors
        with contextlib.suppress(OSError):
            path.unlink()
    return None


def _store(folder: Path, stem: str, vectors: FloatArray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    content = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(content)
    os.replace(file.name, folder / f"{stem}-{hashlib.sha256(content).hexdigest()}.npy")  # noqa: PTH105
