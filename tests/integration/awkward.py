"""Processes in awkward places: as another user, in a control group, on a terminal that goes away."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
NEEDED = (Path(sys.base_prefix), Path(sys.prefix), PACKAGE)
"""What a process of another user has to reach to run this Python."""
_IN_A_NAMESPACE = """
set -e
kept=$1; blocked=$2; uid=$3; shift 3
mount --make-rprivate /
if [ -n "$blocked" ]; then
    for place in $NEEDED; do mkdir -p "$kept$place"; mount --rbind "$place" "$kept$place"; done
    mount -t tmpfs -o mode=755 tmpfs "$blocked"
    for place in $NEEDED; do mkdir -p "$place"; mount --rbind "$kept$place" "$place"; done
fi
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
"""


def blocked_folder() -> Path | None:
    """The folder above what is needed that lets nobody but its owner through, as root's home; None where none does."""
    above = {parent for place in NEEDED for parent in place.parents}
    closed = [folder for folder in sorted(above) if not folder.stat().st_mode & 0o001]
    return closed[0] if closed else None


def as_user(uid: int, command: list[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess:
    """What a command answers that another user runs, with no more of this environment than is given."""
    blocked = blocked_folder()
    needed = [str(place) for place in NEEDED if blocked is not None and place.is_relative_to(blocked)]
    env = {"PATH": os.environ["PATH"], "NEEDED": " ".join(needed), **environment}
    with tempfile.TemporaryDirectory() as kept:
        words = ["unshare", "--mount", "bash", "-c", _IN_A_NAMESPACE, "bash", kept, str(blocked or ""), str(uid)]
        return subprocess.run(
            [*words, *map(str, command)], env=env, cwd=folder, capture_output=True, text=True, timeout=900, check=False
        )


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path]:
    """A group within a group of that much memory, below this process's own, of whichever version there is."""
    from ray_eval.driver.limits import PROC, control_groups

    own = next(group for group in control_groups(PROC, "memory") if (group / "cgroup.procs").exists())
    outer = own / f"ray-eval-test-{os.getpid()}"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    try:
        first = outer / "memory.limit_in_bytes"
        (first if first.exists() else outer / "memory.max").write_text(str(limit_bytes))
        yield inner
    finally:
        inner.rmdir()
        outer.rmdir()
