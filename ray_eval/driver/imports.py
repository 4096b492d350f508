"""In which order Ray's workers look for modules: the driver's, and what is installed before the working folder.

Ray puts the driver's script folder and its working folder in front of a worker's `sys.path`, where a `numpy.py` or a
clone of LIBERO that happens to lie there stands in for the installed one. What is given to Ray here as the set-up of
its workers runs before that, and takes the two back to the end, where they give what is found nowhere else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any


def driver_path() -> tuple[str, ...]:
    """The folders that this process looks for modules in, in order, each absolute."""
    return tuple(os.path.abspath(folder) for folder in sys.path)  # noqa: PTH100 -- links stay as they are


def added_by_ray() -> tuple[str, ...]:
    """The folders that Ray will put in front. Source: ray 2.60.0 `_private/worker.py`, `connect`."""
    script = os.path.dirname(os.path.realpath(sys.argv[0]))  # noqa: PTH120 -- as Ray has it
    return (script, os.path.abspath(os.path.curdir))  # noqa: PTH100


def keep_order(added: Sequence[str], first: Sequence[str] = ()) -> Callable[[], None]:
    """A function for a worker's start, after which the folders that Ray adds come last.

    It is pickled by value: a worker that runs it imports nothing of ours. What a package puts into `sys.path` itself
    while it is imported stays where that puts it.

    Args:
        added: What Ray puts in front, once, before the worker's first task.
        first: The driver's folders, which then come first, where the worker is on the same machine; none where it has
            an installation of its own.
    """
    in_front, folders = tuple(added), tuple(first)

    def set_up() -> None:
        import sys

        sys.path[:] = [*folders, *(folder for folder in sys.path if folder not in folders)]
        order = list(sys.path)

        class TakesBack:
            """Asked first at every import: takes back what Ray added once it has, and finds nothing."""

            @staticmethod
            def find_spec(_name: str, _path: Any = None, _target: Any = None) -> None:
                """None, always."""
                count = 0
                while count < len(sys.path) and sys.path[count] in in_front:
                    count += 1
                if count and len(sys.path) > len(order):
                    late = [folder for folder in sys.path[:count] if folder not in order]
                    sys.path[:] = [*order, *dict.fromkeys(late)]
                    sys.meta_path.remove(TakesBack)

        sys.meta_path.insert(0, TakesBack)

    return set_up
