"""Whether workers make episodes of what the driver planned with: the same packages and files, by content."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray_eval.envs.contents import OWN, look
from ray_eval.envs.origins import CONFIGURATION
from ray_eval.errors import SetupError
from ray_eval.interfaces import Simulator
from ray_eval.sections import SimulatorSection
from ray_eval.types import Contents, EpisodeSpec

CODE_PREFIX = "code_"
"""Begins the names of packages' digests in a run's environment."""
_REMEDY = (
    "install the same on every machine, and keep other copies out of the working folder, PYTHONPATH and LIBERO's path "
    "configuration"
)


class OwnContents:
    """What the driver itself finds for a plan, looked up in the background while Ray starts.

    Parts of a sweep that run the same episodes share one.
    """

    def __init__(self, plan: Sequence[EpisodeSpec], simulator: Simulator) -> None:
        self._plan, self._simulator = plan, simulator
        self._found: Contents
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._look, name="contents", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, plan: tuple[EpisodeSpec, ...], section: SimulatorSection, simulator: Simulator) -> OwnContents:
        """Those of a plan under a simulator's settings; the ones that somebody else holds already, if anybody does."""
        key = (plan, section)
        found = _HELD.get(key)
        if found is None:
            found = _HELD[key] = cls(plan, simulator)
        return found

    def get(self) -> Contents:
        """What was found, waited for.

        Raises:
            ConfigError: a suite or a task is unknown.
            SetupError: a package or a file is missing, or cannot be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found

    def _look(self) -> None:
        try:
            self._found = look(self._simulator, self._plan)
        except Exception as error:  # noqa: BLE001 -- raised by `get`, in the thread that asks
            self._error = error


_Key = tuple[tuple[EpisodeSpec, ...], SimulatorSection]
_HELD: weakref.WeakValueDictionary[_Key, OwnContents] = weakref.WeakValueDictionary()


def content_identity(contents: Contents) -> dict[str, Any]:
    """The part of a run's environment that says what it was made of, without ray-eval's own code."""
    packages = {name: origin.digest for name, origin in contents.origins.items() if origin.digest and name != OWN}
    return {**{f"{CODE_PREFIX}{name}": digest for name, digest in packages.items()}, **contents.identity}


def where_from(contents: Contents) -> dict[str, str]:
    """The place of each package and folder: what a reader of the results may want to know."""
    return {name: origin.place for name, origin in contents.origins.items()}


def redirection(contents: Contents) -> str | None:
    """What is to be said where a user's file names the folders that data are taken from; None where none does."""
    named = contents.origins.get(CONFIGURATION)
    if named is None:
        return None
    folders = {name: origin.place for name, origin in contents.origins.items() if not origin.digest and origin != named}
    told = ", ".join(f"{name} from {place}" for name, place in folders.items() if place)
    return f"files are taken from where {named.place} says: {told}"


def check_contents(own: Contents, others: Mapping[str, Contents], hosts: Mapping[str, str]) -> None:
    """Passes when every worker would make episodes of what the driver planned with.

    Args:
        own: what the driver found.
        others: what each worker found, by its name.
        hosts: the host of each worker.

    Raises:
        SetupError: one would not; the message names both places.
    """
    for name, found in others.items():
        differing = list(_differing(own, found))
        if differing:
            what, here, there = differing[0]
            if here == there and len(set(hosts.values())) == 1:
                raise SetupError(
                    f"{name}: expected {what} as the driver read it, got files in {here} that were changed since; "
                    "start the run again"
                )
            more = f" (and {', '.join(what for what, _, _ in differing[1:4])})" if differing[1:] else ""
            raise SetupError(
                f"{name} on {hosts[name]}: expected {what} as the driver planned with, from {here}, "
                f"got another one from {there}{more}; {_REMEDY}"
            )


def _differing(own: Contents, found: Contents) -> Iterable[tuple[str, str, str]]:
    """Name and both places of what is not the same by content."""
    for name, origin in own.origins.items():
        other = found.origins.get(name)
        if other is None or other.digest != origin.digest:
            yield f"the package {name}", origin.place or "nowhere", (other.place if other else "") or "nowhere"
    parts = [
        key for key in own.identity.keys() | found.identity.keys() if own.identity.get(key) != found.identity.get(key)
    ]
    folders = [name for name, origin in own.origins.items() if not origin.digest and origin.place]
    for part in sorted(parts):
        # `content_init_states` is of the folder `init_states`; what is of none is of them all.
        named = [name for name in folders if name.partition("_")[0] in part] or folders
        yield part, _places(own, named), _places(found, named)


def _places(contents: Contents, names: Sequence[str]) -> str:
    return " and ".join(contents.origins[name].place for name in names if name in contents.origins) or "its files"
