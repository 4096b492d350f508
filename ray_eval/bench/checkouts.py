"""Another checkout of ray-eval beside this one, for figures that only whole processes have."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ray_eval.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Checkout:
    """A ray-eval that is run as a program."""

    name: str
    """As tables name it."""
    python: str
    """Its interpreter."""
    folder: Path | None
    """Where it is; None for this one."""

    @classmethod
    def here(cls) -> Self:
        """The ray-eval that is running."""
        return cls("this one", sys.executable, None)

    @classmethod
    def at(cls, folder: Path) -> Self:
        """The one in a folder, by the interpreter in its `.venv`, or else by this one's.

        Raises:
            ConfigError: there is none.
        """
        if not (folder / "ray_eval" / "__init__.py").is_file():
            raise ConfigError(f"--against {folder}: expected a checkout of ray-eval, got no ray_eval folder in it")
        own = folder / ".venv" / "bin" / "python"
        return cls(folder.name, str(own) if own.is_file() else sys.executable, folder)

    def command(self, *words: str) -> list[str]:
        """`ray-eval` with these words."""
        return [self.python, "-m", "ray_eval", *words]

    def environment(self) -> dict[str, str]:
        """Variables with which it, and nobody else, is imported."""
        if self.folder is None:
            return dict(os.environ)
        return {**os.environ, "PYTHONPATH": str(self.folder)}
