"""Paths of a configuration: relative to the folder that the user typed them in, `~` expanded, settled once for all.

Every field that holds one is marked in the schema, and whatever is read comes through `settled`: the value that the
driver, its actors, other interpreters and other machines see is absolute, and none of them asks where it was typed.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ray_eval.errors import ConfigError
from ray_eval.sections import HUB, PLACE, shown

_Section = TypeVar("_Section")
_SEPARATOR = "/"
_UNIX = "unix:"
_URL = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://.", re.IGNORECASE)
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*")


def settled(section: _Section, where: str = "") -> _Section:
    """The section, a dataclass, with every path in it absolute.

    Args:
        section: Anything; what is no dataclass is given back.
        where: The section's own key.

    Raises:
        ConfigError: a home that is not known, or a working folder that is gone.
    """
    if not dataclasses.is_dataclass(section) or isinstance(section, type):
        return section
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(section):
        value, key = getattr(section, item.name), f"{where}.{item.name}" if where else item.name
        place = item.metadata.get(PLACE)
        found = settled(value, key) if place is None else _settled(_KINDS[place], value, key)
        if found is not value and found != value:
            changes[item.name] = found
    return dataclasses.replace(section, **changes) if changes else section


def absolute(path: str | os.PathLike[str], where: str) -> str:
    """A path as it is meant from anywhere: `~` expanded, relative to the present folder; links are left as they are.

    Raises:
        ConfigError: whose home is meant is not known, or the present folder is gone.
    """
    text = os.path.expanduser(path)  # noqa: PTH111 -- Path.expanduser raises where no home is known
    if text.startswith("~") and not os.path.lexists(text):
        raise ConfigError(f"{where}: expected a home that is known, got {shown(str(path))}; write the whole path")
    try:
        return os.path.abspath(text)  # noqa: PTH100 -- Path.resolve would follow links, as of an environment's python
    except FileNotFoundError:
        raise ConfigError(
            f"{where}: expected a whole path, as the working folder is gone, got {shown(str(path))}; change to another"
        ) from None


def user_path(path: str | os.PathLike[str], where: str) -> Path:
    """`absolute` as a Path, for an option or an argument.

    Raises:
        ConfigError: as of `absolute`, or it is no text at all.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ConfigError(f"{where}: expected a path, got {shown(path)}")
    return Path(absolute(path, where))


def is_url(text: str) -> bool:
    """Whether it is an address in a store, `s3://bucket/run`, and no path on this machine."""
    return _URL.match(text) is not None


def _results(text: str, where: str) -> str:
    """A folder of results, made absolute, or an address in a store as it is."""
    return text if is_url(text) else absolute(text, where)


def _settled(settle: Callable[[str, str], str], value: Any, where: str) -> Any:
    if isinstance(value, tuple):
        return tuple(settle(each, where) for each in value)
    return settle(value, where) if value else value


def _command(text: str, where: str) -> str:
    """A program by its path, or by a bare name that is looked up where it is started."""
    return absolute(text, where) if _SEPARATOR in text or text.startswith("~") else text


def _checkpoint(text: str, where: str) -> str:
    """A checkpoint's folder, made absolute, or its id on the hub with `hub:` in front: nobody decides that again.

    A name of two parts is an id where neither it nor a folder of its first part is here: `outputs/act` beside a folder
    `outputs` is a path, there or not.
    """
    if text.startswith(HUB):
        if _HUB_ID.fullmatch(text.removeprefix(HUB)) is None:
            raise ConfigError(f"{where}: expected an id like hub:lerobot/act, got {shown(text)}")
        return text
    path = absolute(text, where)
    is_id = _HUB_ID.fullmatch(text) is not None and not _is_there(path) and not _is_there(os.path.dirname(path))  # noqa: PTH120
    return f"{HUB}{text}" if is_id else path


def _is_there(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except (OSError, ValueError):
        return False


def _address(text: str, where: str) -> str:
    """An address; a socket's has a path in it."""
    is_socket = text.startswith(_UNIX) and len(text) > len(_UNIX)
    return f"{_UNIX}{absolute(text.removeprefix(_UNIX), where)}" if is_socket else text


_KINDS: Mapping[str, Callable[[str, str], str]] = {
    "path": absolute,
    "results": _results,
    "command": _command,
    "checkpoint": _checkpoint,
    "address": _address,
}
