"""Videos of episodes, for people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from ray_eval.errors import SetupError
from ray_eval.types import Array


@contextlib.contextmanager
def video_writer(path: Path, fps: int) -> Iterator[Callable[[Array], None]]:
    """A function that appends one (H, W, 3) uint8 frame; the file is whole once the context ends.

    Raises:
        SetupError: the video packages are not installed, or the file cannot be written in the format of its ending.
    """
    try:
        import imageio.v2 as imageio
    except ImportError as error:
        raise SetupError("video: expected imageio with ffmpeg, found none; pip install 'ray-eval[video]'") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = imageio.get_writer(path, fps=fps)
    except (OSError, ValueError, ImportError) as error:
        raise SetupError(
            f"{path}: expected a video file that can be written, for instance x.mp4, got {error}"
        ) from error
    with writer:
        yield writer.append_data
