"""How many CPUs and how much memory this process may use: the machine's, cut by control groups and by Slurm.

A control group's limit holds for the groups below it, so the smallest of a group and all of its ancestors counts, of
version 1 and of version 2 alike.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PROC = Path("/proc/self")
"""What the kernel says of this process."""
MACHINE = "the machine"
_MEGABYTE = 1024**2
_PAGE_COUNTER_MAX = 2**62
"""Version 1 writes a limit about this large where there is none."""


@dataclass(frozen=True, slots=True)
class CpuLimit:
    """CPUs that a process may keep busy."""

    count: int
    """At least 1; a quota of one CPU and a half is one."""
    source: str
    """What sets it, for a person."""


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """Memory that is left for a process."""

    available_bytes: int
    """What can be taken without swapping and without reaching the limit; never negative."""
    total_bytes: int
    """The limit itself."""
    source: str
    """What sets it, for a person."""


def cpu_limit(proc: Path = PROC, environment: Mapping[str, str] = os.environ) -> CpuLimit:
    """The smallest of this process's affinity, its control groups' quotas and Slurm's share of the node."""
    found = [CpuLimit(len(os.sched_getaffinity(0)), MACHINE)]
    found += [limit for group in control_groups(proc, "cpu") if (limit := _quota(group))]
    if slurm := _number(environment.get("SLURM_CPUS_ON_NODE")):
        found.append(CpuLimit(slurm, f"Slurm (SLURM_CPUS_ON_NODE={slurm})"))
    return min(found, key=lambda limit: limit.count)


def memory_limit(proc: Path = PROC, environment: Mapping[str, str] = os.environ) -> MemoryLimit:
    """What is left of the machine's memory, of each control group's and of Slurm's: the least of them."""
    machine = psutil.virtual_memory()
    found = [MemoryLimit(machine.available, machine.total, MACHINE)]
    found += [limit for group in control_groups(proc, "memory") if (limit := _memory_of(group))]
    found += _slurm_memory(environment)
    return min(found, key=lambda limit: limit.available_bytes)


def control_groups(proc: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups that hold this process, innermost first, up to the outermost that can be seen here.

    Args:
        proc: folder of a process below /proc.
        controller: `cpu` or `memory`.
    """
    groups = _groups(_lines(proc / "cgroup"), controller)
    for kind, root, mount in _mounts(_lines(proc / "mountinfo"), controller):
        if kind in groups:
            yield from _up_to(mount, _below(groups[kind], root))


def _groups(lines: Sequence[str], controller: str) -> dict[str, str]:
    """Path of the group by the file system's type, of `hierarchy:controllers:path` lines."""
    found = {}
    for number, names, path in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if number == "0" and not names:
            found["cgroup2"] = path
        elif controller in names.split(","):
            found["cgroup"] = path
    return found


def _mounts(lines: Sequence[str], controller: str) -> Iterator[tuple[str, str, Path]]:
    """Type, root and mount point of each mounted hierarchy that may have the controller."""
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, about = before.split(), after.split()
        if len(fields) < 5 or len(about) < 3:
            continue
        kind, options = about[0], about[2].split(",")
        if kind == "cgroup2" or (kind == "cgroup" and controller in options):
            yield kind, fields[3], Path(fields[4])


def _below(group: str, root: str) -> tuple[str, ...]:
    """Names from a mount's root down to a group; none where the group is outside of what is mounted."""
    path = Path(group)
    return path.relative_to(root).parts if path.is_relative_to(root) else ()


def _up_to(mount: Path, names: tuple[str, ...]) -> Iterator[Path]:
    for length in range(len(names), -1, -1):
        yield mount.joinpath(*names[:length])


def _quota(group: Path) -> CpuLimit | None:
    second, first = _words(group / "cpu.max"), _words(group / "cpu.cfs_quota_us")
    words = second or first + _words(group / "cpu.cfs_period_us")
    if len(words) < 2:
        return None
    quota, period = _number(words[0]), _number(words[1])
    return CpuLimit(max(1, quota // period), f"the control group {group}") if quota and period else None


def _memory_of(group: Path) -> MemoryLimit | None:
    """What a group has left; file pages that nobody needs at present are free."""
    for limits, usage, inactive in (
        (("memory.max", "memory.high"), "memory.current", "inactive_file"),
        (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
    ):
        set_here = [value for name in limits if (value := _number(*_words(group / name)))]
        if set_here and min(set_here) < _PAGE_COUNTER_MAX:
            total = min(set_here)
            free = total - (_number(*_words(group / usage)) or 0) + _stat(group / "memory.stat", inactive)
            return MemoryLimit(min(total, max(0, free)), total, f"the control group {group}")
    return None


def _slurm_memory(environment: Mapping[str, str]) -> Iterator[MemoryLimit]:
    if per_node := _number(environment.get("SLURM_MEM_PER_NODE")):
        name, megabytes = f"SLURM_MEM_PER_NODE={per_node}", per_node
    elif per_cpu := _number(environment.get("SLURM_MEM_PER_CPU")):
        cpus = _number(environment.get("SLURM_CPUS_ON_NODE")) or 1
        name, megabytes = f"SLURM_MEM_PER_CPU={per_cpu}", per_cpu * cpus
    else:
        return
    yield MemoryLimit(megabytes * _MEGABYTE, megabytes * _MEGABYTE, f"Slurm ({name})")


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().splitlines()
    return []


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _number(text: str | None = None, *_others: str) -> int | None:
    """A positive whole number; None for anything else, as for `max`, -1 and what is not there."""
    return int(text) if text is not None and text.isdecimal() and int(text) > 0 else None


def _stat(path: Path, key: str) -> int:
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[:1] == [key]), 0)
