"""What a run needs of its place, each need a function that says what is there; runs in the driver.

A run calls them at its start, and `ray-eval doctor` shows them, so that both say the same of the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ray_eval import places
from ray_eval.driver.cluster import auto_workers, object_store_bytes
from ray_eval.driver.limits import cpu_limit, memory_limit
from ray_eval.driver.starting import ray_folder
from ray_eval.sections import WORKER_MEMORY_BYTES

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray keeps its objects


def folders() -> str:
    """Where files go that are not results.

    Raises:
        SetupError: the working folder was removed, or no temporary folder can be written.
    """
    places.check_working_folder()
    home = places.home()
    is_home_used = home is not None and places.is_writable(home)
    where = (
        f"temporary files in {places.temporary_folder()}, Ray's in {ray_folder()}, caches in {places.cache_folder()}"
    )
    return where if is_home_used else f"{where} (the home cannot be written, and need not)"


def shared_memory() -> str:
    """How much shared memory there is for Ray.

    Raises:
        SetupError: too little.
    """
    free = shutil.disk_usage(SHARED_MEMORY).free
    object_store_bytes(free)
    return f"{free / 1024**2:.0f} MB free in {SHARED_MEMORY}"


def memory() -> str:
    """How many workers fit, and what limits them."""
    cpus, free = cpu_limit(), memory_limit()
    workers = auto_workers(cpus.count, free.available_bytes, 0)
    return (
        f"{free.available_bytes / 1e9:.1f} of {free.total_bytes / 1e9:.1f} GB free by {free.source}, {cpus.count} CPUs "
        f"by {cpus.source}: workers=auto starts {workers}"
    )


def memory_warning(workers: int = 1) -> str | None:
    """What is to be said where the workers' simulators may be too many for this machine; None where they fit."""
    free, needed = memory_limit(), workers * WORKER_MEMORY_BYTES
    if free.available_bytes >= needed:
        return None
    remedy = "take fewer workers, " if workers > 1 else ""
    return (
        f"memory: expected {needed / 1e9:.1f} GB for the simulator{'s'[: workers > 1]} of {workers} "
        f"worker{'s'[: workers > 1]}, got {free.available_bytes / 1e9:.1f} GB free by {free.source}; {remedy}end what "
        "takes the rest, or raise that limit"
    )
