"""Files that grow in an object store, which has no append: numbered objects, each made once and never changed.

`episodes.jsonl.d/00000007` is what was written at the eighth time; the file is all of them in order. A number can be
taken once, by whoever is first, so that of two writers one finds out at its next line that it is not alone, and stops.
An object is there whole or not at all; of one that is not, as a store that is no object store may leave it, the torn
line is cut off like a file's.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from ray_eval.errors import LedgerError

SUFFIX = ".d"
"""Behind a file's name: the folder of its segments."""
PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Between the tries of what a store refuses or loses."""
_DIGITS = 8
T = TypeVar("T")


class ObjectStore(Protocol):
    """What is asked of a store below one place in it; names are relative to that."""

    def create(self, name: str, content: bytes) -> bool:
        """Makes an object, whole and durable on return; False where there is one of that name.

        Raises:
            OSError: it is not known whether it was made.
        """
        ...

    def put(self, name: str, content: bytes) -> None:
        """Makes an object, or replaces it."""
        ...

    def get(self, name: str) -> bytes:
        """An object's content.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def names(self, below: str = "") -> list[str]:
        """Names of all objects, or of those whose name begins so, in order."""
        ...

    def remove(self, name: str) -> None:
        """Removes an object, if it is there."""
        ...


def patiently(
    action: Callable[[], T], where: str, remedy: str = "resume the run", sleep: Callable[[float], None] = time.sleep
) -> T:
    """What an action gives, tried again for half a minute where the store does not answer.

    Raises:
        LedgerError: it goes on so, or is refused for good.
    """
    for pause_s in (*PAUSES_S, None):
        try:
            return action()
        except (FileNotFoundError, PermissionError) as error:
            said = f"expected to be let in and to find it, got {error}"
            raise LedgerError(f"{where}: {said}; mend that and {remedy}") from error
        except OSError as error:
            if pause_s is None:
                said = f"expected the store to answer, got {error}"
                raise LedgerError(f"{where}: {said}; mend that and {remedy}") from error
            sleep(pause_s)
    raise AssertionError(where)


class Segments:
    """One file of a store, read whole and written at its end."""

    def __init__(self, store: ObjectStore, name: str, where: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store, self._name, self._sleep = store, name, sleep
        self._where = f"{where}/{name}"
        self._next = 0

    def read(self, *, is_writer: bool) -> bytes:
        """All that was written; a writer cuts the torn end off where it stands.

        Raises:
            LedgerError: a segment in the middle is gone, or the store does not answer.
        """
        numbers = list(self._numbers())
        if numbers != list(range(len(numbers))):
            gone = sorted(set(range(len(numbers))) - set(numbers))[:1]
            raise LedgerError(f"{self._where}: expected all segments up to {numbers[-1]}, got none of number {gone[0]}")
        self._next = len(numbers)
        contents = [self._asked(functools.partial(self._store.get, self._key(number))) for number in numbers]
        if is_writer and contents and contents[-1] and not contents[-1].endswith(b"\n"):
            contents[-1] = contents[-1][: contents[-1].rfind(b"\n") + 1]
            self._asked(lambda: self._store.put(self._key(numbers[-1]), contents[-1]))
        return b"".join(contents)

    def append(self, content: bytes) -> None:
        """Writes at the end; durable on return.

        Raises:
            LedgerError: somebody else has written there since it was read, or the store does not answer.
        """
        key = self._key(self._next)

        def make() -> None:
            # A try that got no answer may have been the one that made it.
            if not self._store.create(key, content) and self._store.get(key) != content:
                raise LedgerError(
                    f"{self._where}: expected nobody else to write there, got segment {self._next} of another run; "
                    "that one goes on, and this one ends here: what it has not written is run again by the other"
                )

        self._asked(make)
        self._next += 1

    def _numbers(self) -> Iterator[int]:
        folder = f"{self._name}{SUFFIX}/"
        for name in self._asked(lambda: self._store.names(folder)):
            if name.removeprefix(folder).isdecimal():
                yield int(name.removeprefix(folder))

    def _key(self, number: int) -> str:
        return f"{self._name}{SUFFIX}/{number:0{_DIGITS}d}"

    def _asked(self, action: Callable[[], T]) -> T:
        return patiently(action, self._where, sleep=self._sleep)
