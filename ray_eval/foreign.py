"""Exceptions of a user's own code in one line: what was raised, where in her files, where the whole traceback is."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from ray_eval.errors import RayEvalError, SetupError
from ray_eval.messages import one_line, without_arrays
from ray_eval.scratch import kept_text

MOST_CHARACTERS = 400
MOST_READ_CHARACTERS = 20_000
"""Of an exception's text, what is looked at."""
_OURS = Path(__file__).resolve().parent
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def look_in_working_folder() -> None:
    """Has this process find modules in its working folder too, after all others, as `python -m` would first."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def told(error: BaseException) -> str:
    """The exception's type, its text in one line, and file, line and function of the user's code that it came from."""
    cut = one_line(text_of(error), MOST_CHARACTERS)
    said = f"{type(error).__name__}: {cut}" if cut else type(error).__name__
    places = list(_places(error))
    return f"{said} ({', called from '.join(reversed(places[-2:]))})" if places else said


def told_with_traceback(error: BaseException, whole: BaseException | None = None) -> str:
    """As `told`, with the path of a file that has the whole traceback, where one can be written.

    What was raised on purpose, an exception of ray-eval's own, says enough by itself.

    Args:
        error: what is told of.
        whole: what the traceback is of, where that is not the error itself: Ray's own of a remote one.
    """
    if isinstance(error, RayEvalError):
        return f"{type(error).__name__}: {error}"
    path = _written(whole or error)
    return f"{told(error)}; the whole traceback is in {path}" if path else told(error)


def text_of(error: BaseException) -> str:
    """What the exception says; the empty string where saying it raises, as a user's own may.

    An array that was printed into it is named by its shape. What has no UTF-8, half a character in a file's name for
    instance, is escaped: terminals and files refuse it.
    """
    try:
        text = str(error)[:MOST_READ_CHARACTERS].encode("utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return ""
    return without_arrays(text)


def first_line(error: BaseException) -> str:
    """The first line of what the exception says, or its type."""
    return next(iter(text_of(error).splitlines()), type(error).__name__)


def _places(error: BaseException) -> Iterator[str]:
    """Frames in files that are neither ray-eval's nor installed, outermost first; a syntax error's own place last."""
    for frame in traceback.extract_tb(error.__traceback__):
        if _is_users(frame.filename):
            yield f"{frame.filename}:{frame.lineno} in {frame.name}"
    if isinstance(error, SyntaxError) and error.filename:
        yield f"{error.filename}:{error.lineno}"


def _is_users(name: str) -> bool:
    if name.startswith("<"):
        return False
    path = Path(name).resolve()
    return not path.is_relative_to(_OURS) and not any(path.is_relative_to(folder) for folder in _INSTALLED)


def _written(error: BaseException) -> Path | None:
    try:
        return kept_text("".join(traceback.format_exception(error)))
    except (OSError, SetupError):
        return None
