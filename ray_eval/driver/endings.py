"""What came to a process of a Ray session, in one line: no room, no memory, its own last words; runs in the driver."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.actor import ActorHandle

from ray_eval.errors import EpisodeError, Preempted, WorkerUnreachable
from ray_eval.foreign import first_line, text_of
from ray_eval.messages import one_line
from ray_eval.rollout.actor import WAITED, left

MOST_KILLS = 3
"""So many times may Ray's memory monitor kill while something is waited for; it would go on for ever."""
ANSWER_TIMEOUT_S = 600.0
"""Longest wait for an answer of an actor that has its place: it imports, and compiles where nothing is cached yet."""
_TAIL_BYTES = 200_000
_USED_OF_LIMIT = re.compile(r"was ([\d.]+)GB used / ([\d.]+)GB limit")
_OF_IT = re.compile(r"actual memory used=([\d.]+)GB")
_PRINT = "print_to_stdstream"
"""Ray's function that prints what its nodes report; looked up anew for each report."""
_KILL = "kill details: Memory on the node"
"""What Ray's own log says where it kills for memory, behind the count."""
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b.*")
_TRACEBACK = "Traceback (most recent call last)"
_NODE_DIED = "its node has died"
"""What Ray says where a machine went, and its workers with it."""
_RPC_ERROR = re.compile(r"RPC [Ee]rror: (?:recvmsg:)?(.*?)(?: rpc_code: \d+)?[.\n]")
_FILE = re.compile(r'File "([^"]+)", line (\d+)')


def told_end(error: ray.exceptions.RayError) -> str:
    """Why a process gave no answer, in one line."""
    return broken_by(error)[1]


def broken_by(error: ray.exceptions.RayError) -> tuple[type[EpisodeError], str]:
    """What an attempt broke by whose worker gave no result, and the same in one line."""
    said = text_of(error)
    if isinstance(error, ray.exceptions.OutOfMemoryError) or "low on memory" in said:
        return EpisodeError, f"it was killed by Ray: {told_shortage(said)}"
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        words = left(error.actor_id)
        if words is None:
            return WorkerUnreachable, f"no answer, as Ray's connection to its process broke ({_broken_link(said)})"
        return EpisodeError, f"its process's end ({words})"
    if isinstance(error, ray.exceptions.RayActorError):
        return _kind_of_end(error), f"its process's end {end_of(error)}"
    return EpisodeError, first_line(error)


def _kind_of_end(error: ray.exceptions.RayActorError) -> type[EpisodeError]:
    if error.preempted:
        return Preempted
    return WorkerUnreachable if _NODE_DIED in text_of(error) else EpisodeError


def _broken_link(said: str) -> str:
    found = _RPC_ERROR.search(said)
    return found.group(1).strip() if found else one_line(said)


def told_shortage(said: str) -> str:
    """Whose memory it is, and what to do, from what Ray says where it kills for memory."""
    found = _USED_OF_LIMIT.search(said)
    if found is None:
        return f"the node is short of memory; {_SHORTAGE_REMEDY}"
    used, limit = float(found.group(1)), float(found.group(2))
    of_it = sum(float(each) for each in _OF_IT.findall(said)) or own_bytes() / 1024**3
    others = max(0.0, used - of_it)
    share = f"{used:.1f} of the node's {limit:.1f} GB are used ({used / limit:.0%}), {others:.1f} GB of them by others"
    return f"{share}; {_SHORTAGE_REMEDY}"


_SHORTAGE_REMEDY = "free memory there, or take fewer workers (ray-eval doctor says how many fit)"


def own_bytes() -> int:
    """Resident memory of this process and of all that it started."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def end_of(error: ray.exceptions.RayActorError) -> str:
    """What came to an actor's process, where its last words are, and why it ended where Ray says so."""
    words = left(error.actor_id) if getattr(error, "actor_id", None) else None
    if words is not None:
        return f"({words})"
    said = str(error)
    if "OUT_OF_MEMORY" in said or "low on memory" in said:
        cause = ": too little memory"
    elif "SYSTEM_ERROR" in said:
        cause = ": a crash in native code, or killed from outside, as the kernel does where memory is short"
    else:
        cause = ""
    folder = logs_folder()
    words = last_words(folder) if folder is not None else None
    if words is not None:
        return f"({words})"
    return f"({first_line(error)}); its last words are in {_logs()} on its machine{cause}"


def waited(actor: ActorHandle[Any]) -> float:
    """Seconds that a worker has told, since this was asked last, to have waited for the policy in its attempt."""
    words = left(actor._actor_id.hex(), WAITED)  # noqa: SLF001 - Ray has no public way
    return float(words) if words else 0.0


def last_words(logs: Path) -> str | None:
    """The exception that ended the newest process of a session that ended by one, with the file it came from."""
    files = [*logs.glob("worker-*.err"), *logs.glob("python-core-worker-*.log")]
    found = (_exception_in(_tail(path)) for path in sorted(files, key=_age_ns, reverse=True))
    return next((words for words in found if words), None)


def _age_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _exception_in(text: str) -> str | None:
    """The last traceback's last line, and the last file that it names."""
    # Ray's own log has a dead process's traceback in one line, its ends of lines escaped.
    _, is_there, traceback = text.replace("\\n", "\n").replace('\\"', '"').rpartition(_TRACEBACK)
    lines = [line for line in traceback.splitlines() if _EXCEPTION.match(line)]
    if not is_there or not lines:
        return None
    places = _FILE.findall(traceback)
    return f"{lines[-1].strip()}, in {places[-1][0]}, line {places[-1][1]}" if places else lines[-1].strip()


class KillWatch:
    """What Ray's memory monitor kills on this node from now on; nothing where its log is on another machine."""

    def __init__(self, logs: Path | None) -> None:
        self._log = logs / "raylet.out" if logs is not None else None
        self._from_bytes = self._log.stat().st_size if self._log is not None and self._log.exists() else 0

    def kills(self) -> list[str]:
        """What Ray said of each time, oldest first."""
        if self._log is None:
            return []
        with contextlib.suppress(OSError), self._log.open("rb") as file:
            file.seek(self._from_bytes)
            return [line for line in file.read().decode("utf-8", "replace").splitlines() if _KILL in line]
        return []


@contextlib.contextmanager
def told_by_us() -> Iterator[None]:
    """Keeps Ray from printing the end of each lost process, with its colours, among a run's own words.

    `told_end` says it where it matters. Ray prints it in every driver, `log_to_driver=False` or not.
    Source: ray 2.60.0 `_private/worker.py`, `listen_error_messages`.
    """
    module = ray._private.worker  # noqa: SLF001 - Ray has no public way
    printed = getattr(module, _PRINT, None)
    if printed is None:
        yield
        return
    setattr(module, _PRINT, lambda *_, **__: None)
    try:
        yield
    finally:
        setattr(module, _PRINT, printed)


def logs_folder() -> Path | None:
    """Where Ray keeps what this node's processes of the session print; None without a session."""
    if not ray.is_initialized():
        return None
    node = getattr(ray._private.worker, "_global_node", None)  # noqa: SLF001 - Ray has no public way
    folder = Path(node.get_logs_dir_path()) if node is not None else None
    return folder if folder is not None and folder.is_dir() else None


def _logs() -> str:
    # Asked without a session, Ray would join any that it finds on this machine.
    if not ray.is_initialized():
        return "the logs of Ray's session"
    return f"logs/ of Ray's session {ray.get_runtime_context().get_session_name()}"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def placed_actors() -> set[str]:
    """Names of the actors that have a place and have begun."""
    # Ray's public list of names has those as well that wait for a place.
    rows = ray._private.state.actors().values()  # noqa: SLF001
    return {str(row["Name"]) for row in rows if row["State"] == "ALIVE"}


def lateness(names: Sequence[str], timeout_s: float, kills: Sequence[str] = ()) -> str:
    """What is to be said of actors and tasks that gave no answer in time: no room, no memory, or slow.

    Args:
        names: theirs.
        timeout_s: how long they were waited for at most.
        kills: what Ray said of processes that it killed for memory meanwhile.
    """
    free, total = (resources.get("CPU", 0) for resources in (ray.available_resources(), ray.cluster_resources()))
    late = f"ray: expected {', '.join(names)} to be placed and to answer within {timeout_s:g} s"
    if kills:
        count = f"{len(kills)} time{'s'[: len(kills) > 1]}"
        return f"ray: expected {', '.join(names)} to start, got it killed by Ray {count}: {told_shortage(kills[-1])}"
    if set(names) <= placed_actors():
        return f"{late}, got silence of processes that are there; see what they do in {_logs()}, and start again"
    if not total:
        return f"{late}, got a Ray without a node: its processes have ended; start again"
    if free < 1:
        return (
            f"{late}, got no free CPU for them ({free:g} of {total:g} CPUs free; each worker takes 1, the policy its "
            "own); set workers lower, add nodes, or start Ray with more CPUs"
        )
    return f"{late}, got no answer yet; if it is only slow, raise ray.placement_timeout_s"
