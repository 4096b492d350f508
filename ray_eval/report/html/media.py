"""Videos and pictures within a page as long as it stays small, else beside it; reads the files it is told of."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

MOST_BYTES = 18_000_000
"""Bytes of media within a page, before they become text, a third longer: a page stays below 25 MB."""
TYPES = {".mp4": "video/mp4", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
"""What a page takes in."""


@dataclass(frozen=True, slots=True)
class Medium:
    """A video or picture as a page has it."""

    source: str
    """Address: the bytes themselves, or a path relative to the page."""
    is_inside: bool
    """Whether it is within the page."""


class Embedder:
    """Takes files into a page until its size is used up.

    Args:
        page: where the page is to be.
        most_bytes: size of all files together.
    """

    def __init__(self, page: Path, most_bytes: int = MOST_BYTES) -> None:
        self._folder = page.resolve().parent
        self._left = most_bytes
        self._known: dict[Path, Medium] = {}

    def take(self, paths: Iterable[Path | None], times: int = 1) -> None:
        """Gives each a place, those in front first; each stands so many times in the page."""
        for path in paths:
            self.medium(path, times)

    def medium(self, path: Path | None, times: int = 1) -> Medium | None:
        """The file as the page has it; None for one that is not there, or that no browser shows."""
        kind = None if path is None else TYPES.get(path.suffix.lower())
        if path is None or kind is None:
            return None
        if path not in self._known:
            try:
                self._known[path] = self._placed(path, kind, times)
            except OSError:
                return None
        return self._known[path]

    def _placed(self, path: Path, kind: str, times: int) -> Medium:
        size = path.stat().st_size * times
        if size > self._left:
            return Medium(quote(os.path.relpath(path.resolve(), self._folder)), is_inside=False)
        self._left -= size
        text = base64.b64encode(path.read_bytes()).decode()
        return Medium(f"data:{kind};base64,{text}", is_inside=True)
