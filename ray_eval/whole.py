"""Whether a Python that was told `-m ray_eval` has what ray-eval imports: most often the environment is forgotten."""

from __future__ import annotations

import importlib.util
import platform
import sys

NEEDED = ("numpy", "rich")
"""Packages that everything of ray-eval imports, in whatever interpreter."""


def require_packages() -> None:
    """Passes where they are there, or ray-eval is imported by a program of the user's, which sees the ImportError.

    Raises:
        SystemExit: `python -m ray_eval...` was typed, and one is not there; what to type is said.
    """
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    # So it is called while `python -m` looks for what it is to run.
    if lacking and sys.argv[:1] == ["-m"]:
        print(
            f"ray-eval: expected its packages in {sys.executable} (Python {platform.python_version()}), got no "
            f"{' and no '.join(lacking)}; in a clone type: make setup && source .venv/bin/activate; elsewhere take the "
            "interpreter that ray-eval was installed into",
            file=sys.stderr,
        )
        raise SystemExit(2)
