"""Makers of what people look at: a film of an episode, and its first, middle and last frame."""

from __future__ import annotations

from dataclasses import dataclass

from ray_eval.rollout.replaying import Looks, Retraced, Sight
from ray_eval.watch.frames import Caption, as_jpeg, frame
from ray_eval.watch.video import VideoBytes

STILLS = 3
"""Frames of an episode on a contact sheet."""


@dataclass(frozen=True, slots=True)
class Filmed:
    """What there is to look at of an episode."""

    video: bytes | None
    """An .mp4 file; None where only stills were asked for."""
    stills: tuple[bytes, ...]
    """The first, the middle and the last frame as JPEG."""


class FilmMaker:
    """Films an episode that is run again.

    Args:
        caption: What stands above the cameras.
        control_hz: Control steps per second: a film runs as fast as the world did.
        every: Steps between two frames; 0 films nothing and takes the stills alone.
    """

    def __init__(self, caption: Caption, control_hz: float, every: int = 1) -> None:
        self._caption = caption
        self._every = every
        self._fps = control_hz / max(1, every)
        self._video: VideoBytes | None = None
        self._stills: list[bytes] = []

    @property
    def looks(self) -> Looks:
        """Pictures, as often as there are frames."""
        return Looks(picture_every=self._every)

    def see(self, sight: Sight) -> None:
        """Draws the step's frame."""
        if not sight.pictures:
            return
        steps, step = self._caption.steps, sight.step
        image = frame(sight.pictures, self._caption, step, sight.action)
        # The first, middle and last step, which may be one.
        self._stills += [as_jpeg(image)] * [0, steps // 2, steps].count(step)
        if self._every:
            self._video = self._video or VideoBytes(self._fps)
            self._video.append(image)

    def made(self, retraced: Retraced) -> Filmed:  # noqa: ARG002 -- a maker's signature
        """The film and the stills."""
        return Filmed(self._video.taken() if self._video else None, tuple(self._stills))
