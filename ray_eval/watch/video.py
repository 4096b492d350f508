"""H.264 files that every browser plays: frames in, a file out; the same bytes on every machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np

from ray_eval import places
from ray_eval.errors import SetupError
from ray_eval.scratch import Scratch
from ray_eval.types import Array


@dataclass(frozen=True, slots=True)
class Quality:
    """How finely a video is encoded, and how fast one of its frames is found."""

    crf: int
    """The encoder's constant rate factor: lower is finer and larger."""
    keyframe_every: int | None = None
    """Most frames between two that stand for themselves; None leaves it to the encoder."""


FOR_PEOPLE: Final = Quality(23)
FINE: Final = Quality(18, keyframe_every=2)
"""For a policy to be trained on: frames are read one by one, in any order."""
LEAST_SIZE_PX: Final = 16
"""Smallest height and width: what is smaller is padded."""


class VideoWriter:
    """An .mp4 file that frames are appended to; whole once it is closed.

    H.264 in yuv420p with the index in front, one thread: other numbers of threads give other pixels.
    """

    def __init__(self, path: Path, fps: float, quality: Quality = FOR_PEOPLE) -> None:
        """Opens nothing yet: the first frame says the size.

        Raises:
            SetupError: PyAV is not installed, or the name is not one of an .mp4 file.
        """
        self._av = _pyav()
        if path.suffix != ".mp4":
            raise SetupError(f"{path}: expected the name of an .mp4 file, got another ending; write {path.stem}.mp4")
        self._path, self._rate, self._quality = path, Fraction(fps).limit_denominator(1000), quality
        self._container: Any = None
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()

    def append(self, frame: Array) -> None:
        """Takes the next (H, W, 3) uint8 RGB frame, of the size of the first.

        Raises:
            SetupError: the file cannot be written.
        """
        if self._container is None:
            self._open(frame)
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise ValueError(f"frame: expected {self._shape} uint8, got {frame.shape} {frame.dtype}")
        image = self._av.VideoFrame.from_ndarray(_even(frame), format="rgb24")
        self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        """Ends the file; without any frame there is none."""
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            self._container = None

    def _open(self, frame: Array) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._container = self._av.open(str(self._path), "w", options={"movflags": "faststart"})
        except OSError as error:
            raise SetupError(f"{self._path}: expected a file that can be written, got {error}") from error
        stream = self._container.add_stream("libx264", rate=self._rate)
        self._shape = frame.shape
        stream.height, stream.width = _even(frame).shape[:2]
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        every = self._quality.keyframe_every
        options = {"preset": "veryfast", "crf": str(self._quality.crf)}
        stream.options = options if every is None else {**options, "g": str(every), "bf": "0"}
        self._stream = stream


def _even(frame: Array) -> Array:
    """The frame with even sides, as 4:2:0 wants them; its edge is repeated."""
    missing = [max(LEAST_SIZE_PX - side, side % 2) for side in frame.shape[:2]]
    if not any(missing):
        return frame
    return np.pad(frame, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def _pyav() -> Any:
    try:
        import av
    except ImportError as error:
        raise SetupError("video: expected PyAV, found none; pip install 'ray-eval[video]'") from error
    return av


@contextlib.contextmanager
def video_writer(path: Path, fps: float) -> Iterator[VideoWriter]:
    """A writer whose file is whole once the context ends.

    Raises:
        SetupError: PyAV is not installed, or the file cannot be written.
    """
    with contextlib.closing(VideoWriter(path, fps)) as writer:
        yield writer


class VideoBytes:
    """A video as bytes: the index goes to the front of a file only, so one is written and read."""

    def __init__(self, fps: float, quality: Quality = FOR_PEOPLE) -> None:
        # What an episode that breaks leaves here goes with the process, or at the next start.
        self._folder = Scratch(places.temporary_folder())
        self._path = self._folder.path / "video.mp4"
        self._writer = VideoWriter(self._path, fps, quality)

    def append(self, frame: Array) -> None:
        """Takes the next (H, W, 3) uint8 RGB frame."""
        self._writer.append(frame)

    def taken(self) -> bytes:
        """The whole file; nothing is left on disk."""
        self._writer.close()
        content = self._path.read_bytes()
        self._folder.close()
        return content


def frames_of(video: bytes) -> Iterator[Array]:
    """The frames of a video, (H, W, 3) uint8 RGB."""
    import io

    with _pyav().open(io.BytesIO(video)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def side_by_side(videos: Sequence[bytes], fps: float) -> bytes:
    """Videos beside one another; one that ends early shows its last frame until the others have ended."""
    film = VideoBytes(fps)
    sources = [frames_of(video) for video in videos]
    present: list[Array] = [next(source) for source in sources]
    height = max(len(frame) for frame in present)
    is_going = True
    while is_going:
        padded = [np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0))) for frame in present]
        film.append(np.concatenate(padded, axis=1))
        following = [next(source, None) for source in sources]
        is_going = any(frame is not None for frame in following)
        present = [old if new is None else new for old, new in zip(present, following, strict=True)]
    return film.taken()
