"""A frame as a person sees it: cameras side by side, and what is to be read above them; pure, by Pillow."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ray_eval.types import Array, Outcome

PANEL_PX: Final = 256
"""Width of one camera of several; a single one has twice that."""
TEXT_PX: Final = 15
"""Height of the letters: legible at 512 px."""
LINE_PX: Final = 20
"""Distance of two lines."""
MARGIN_PX: Final = 6
"""Free edge around the text, and around the stills of a contact sheet."""
MOST_LINES: Final = 2
"""Lines of an instruction; what is longer is cut."""
JPEG_QUALITY: Final = 85

_GROUND, _INK, _QUIET = (18, 18, 22), (240, 240, 240), (165, 165, 175)
_COLOURS: Final[Mapping[str, tuple[int, int, int]]] = {
    Outcome.SUCCESS: (110, 220, 120),
    Outcome.FAILURE: (255, 120, 105),
}


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands above the cameras of an episode: a player's controls cover what is below."""

    title: str
    """The run and the episode."""
    instruction: str
    """The task in words."""
    outcome: str
    """How it ended."""
    steps: int
    """Control steps of the episode."""
    max_steps: int
    """Its budget."""
    queue_lengths: tuple[int, ...] = ()
    """Actions queued when each step's action was taken; empty where that is not known."""
    gripper: int | None = None
    """Component of the action that is the gripper's; None where none is."""

    def lines(self, step: int, action: Array | None) -> tuple[str, str, str]:
        """The instruction, the figures of a step and the title.

        Args:
            step: control steps executed so far.
            action: what led here; None at the start.
        """
        figures = [f"step {step}/{self.max_steps}"]
        if step and step <= len(self.queue_lengths):
            figures.append(f"queue {self.queue_lengths[step - 1]}")
        if action is not None and self.gripper is not None:
            figures.append(f"gripper {action[self.gripper]:+.2f}")
        return self.instruction, "   ".join(figures), self.title


def frame(pictures: Mapping[str, Array], caption: Caption, step: int, action: Array | None) -> Array:
    """(H, W, 3) uint8: the cameras side by side, and above them the caption's lines."""
    cameras = beside(list(pictures.values()))
    width = cameras.shape[1]
    room = width - 2 * MARGIN_PX
    instruction, figures, title = caption.lines(step, action)
    said = wrapped(instruction, room)
    band = Image.new("RGB", (width, (len(said) + 2) * LINE_PX + 2 * MARGIN_PX), _GROUND)
    draw, font = ImageDraw.Draw(band), _font()
    is_last = step == caption.steps
    outcome = f"{caption.outcome} after {caption.steps} steps" if is_last else caption.outcome
    ends = font.getlength(outcome)
    lines = [(line, _INK) for line in said] + [(figures, _INK), (fitted(title, room - ends - 2 * MARGIN_PX), _QUIET)]
    for row, (text, colour) in enumerate(lines):
        draw.text((MARGIN_PX, MARGIN_PX + row * LINE_PX), fitted(text, room), fill=colour, font=font)
    place = (width - MARGIN_PX - ends, MARGIN_PX + (len(lines) - 1) * LINE_PX)
    draw.text(place, outcome, fill=_COLOURS.get(caption.outcome, _INK), font=font)
    return np.concatenate([np.asarray(band), cameras], axis=0)


def beside(images: Sequence[Array]) -> Array:
    """Images side by side, each brought to one width and padded below; a single one twice as wide."""
    width = PANEL_PX if len(images) > 1 else 2 * PANEL_PX
    panels = [_as_wide(image, width) for image in images]
    height = max(len(panel) for panel in panels)
    return np.concatenate([np.pad(each, ((0, height - len(each)), (0, 0), (0, 0))) for each in panels], axis=1)


def _as_wide(image: Array, width: int) -> Array:
    if image.shape[1] == width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    way = Image.Resampling.NEAREST if width > 4 * image.shape[1] else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image).resize((width, height), way))


def wrapped(text: str, limit: float) -> list[str]:
    """The text in lines of at most so many pixels, broken between words, the last one cut where there are too many."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if _font().getlength(longer) <= limit or not lines[-1] or len(lines) == MOST_LINES:
            lines[-1] = longer
        else:
            lines.append(word)
    return [fitted(line, limit) for line in lines]


def fitted(text: str, limit: float) -> str:
    """The text, cut where it is longer than so many pixels."""
    font = _font()
    if font.getlength(text) <= limit:
        return text
    while text and font.getlength(f"{text}...") > limit:
        text = text[:-1]
    return f"{text}..."


@functools.cache
def _font() -> Any:
    # Pillow's own letters: the same on every machine.
    return ImageFont.load_default(TEXT_PX)


def as_jpeg(image: Array) -> bytes:
    """An image as JPEG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def contact_sheet(rows: Sequence[Sequence[bytes]]) -> bytes:
    """A JPEG of a task's episodes below one another, the stills of each beside one another.

    Args:
        rows: of each episode, its stills as JPEG.
    """
    stills = [[_as_wide(np.asarray(Image.open(io.BytesIO(each))), 512) for each in row] for row in rows]
    height = max(len(each) for row in stills for each in row) + MARGIN_PX
    padded = [[_framed(each, height) for each in row] for row in stills]
    return as_jpeg(np.concatenate([np.concatenate(row, axis=1) for row in padded], axis=0))


def _framed(image: Array, height: int) -> Array:
    """The image with a light edge at its right and below, so that it ends where the next one begins."""
    edge = ((0, height - len(image)), (0, MARGIN_PX), (0, 0))
    return np.pad(image, edge, constant_values=255)
