"""In which order Ray's workers look for modules: the driver's, and what is installed before the working folder.

Ray puts the driver's script folder and its working folder in front of a worker's `sys.path`, where a `numpy.py` or a
clone of LIBERO that happens to lie there stands in for the installed one. What is given to Ray here as the set-up of
its workers runs before that and keeps the order: those two folders come last, and give what is found nowhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def driver_path() -> tuple[str, ...]:
    """The folders that this process looks for modules in, in order, each absolute."""
    return tuple(os.path.abspath(folder) for folder in sys.path)  # noqa: PTH100 -- links stay as they are


def keep_order(first: Sequence[str] = ()) -> Callable[[], None]:
    """A function for a worker's start, after which a top-level module is looked for in `first`, then where it was.

    What is put in front of `sys.path` later is looked into last. The function is pickled by value: a worker that runs
    it imports nothing of ours.

    Args:
        first: The driver's folders, where the worker is on the same machine; none where it has an installation of its
            own.
    """
    folders = tuple(first)

    def set_up() -> None:
        import sys
        from importlib.machinery import PathFinder

        order = [*folders, *(folder for folder in sys.path if folder not in folders)]

        class KeptOrder:
            """Finds top-level modules in the order of the worker's start."""

            @staticmethod
            def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
                """What the kept order has; None leaves it to `sys.path`.

                So it does a folder that is no package, but for one of those that installed distributions share; and a
                package that has put a folder of its own in front, as OpenCV does for the binary of its own name.
                """
                spec = PathFinder.find_spec(name, order, target) if path is None else None
                if spec is None:
                    return None
                places = list(spec.submodule_search_locations or ())
                if any(folder not in order and folder.startswith(tuple(places)) for folder in sys.path if places):
                    return None
                if spec.loader is not None:
                    return spec
                return (
                    spec if any(f"{kind}-packages" in place for place in places for kind in ("site", "dist")) else None
                )

        sys.meta_path.insert(sys.meta_path.index(PathFinder), KeptOrder)

    return set_up
