"""A joined cluster that changes while a run goes on: where CPUs appear, which nodes may go; in the driver."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

LOOK_S = 2.0
"""Time between two looks at the cluster."""
MOST_AT_ONCE = 64
"""Workers that are sent for at a time; when they are there, the next."""


def room(free_cpus: Mapping[str, float], leaving: frozenset[str]) -> int:
    """Workers for which there are whole free CPUs on nodes that stay.

    Args:
        free_cpus: CPUs that nobody holds, by node.
        leaving: nodes that are about to go.
    """
    return sum(int(cpus) for node, cpus in free_cpus.items() if node not in leaving)


def newcomers_wanted(room: int, waiting: int, idle: int, coming: int) -> int:
    """Workers to send for: as many as there is room and work for, once those on their way are there.

    Args:
        room: for how many there are CPUs.
        waiting: episodes that nobody holds.
        idle: workers that hold none.
        coming: workers on their way.
    """
    return 0 if coming else max(0, min(room, waiting - idle, MOST_AT_ONCE))


MARKET = "ray.io/market-type"
"""Ray's own label of a node that says whether it may be taken back: `spot`, or something else, or absent."""


def steady_labels(nodes: Sequence[Mapping[str, Any]], cpus: float, gpus: float) -> dict[str, str]:
    """The label selector that keeps a policy off nodes that may be taken back; empty where no other would hold it.

    Args:
        nodes: as `ray.nodes()` has them.
        cpus: CPUs that the policy takes.
        gpus: GPUs that it takes.
    """
    steady = [node["Resources"] for node in nodes if node["Alive"] and node["Labels"].get(MARKET) != "spot"]
    fits = any(has.get("CPU", 0.0) >= cpus and has.get("GPU", 0.0) >= gpus for has in steady)
    is_mixed = any(node["Labels"].get(MARKET) == "spot" for node in nodes if node["Alive"])
    return {MARKET: "!spot"} if fits and is_mixed else {}


class Nodes:
    """What the cluster says of its nodes, asked every few seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = float("-inf")
        self._leaving: frozenset[str] = frozenset()
        self._room = 0

    @property
    def leaving(self) -> frozenset[str]:
        """Ids of the nodes that are being drained: nothing new goes there."""
        self._look()
        return self._leaving

    @property
    def room(self) -> int:
        """Workers for which there is a place now."""
        self._look()
        return self._room

    def _look(self) -> None:
        if self._clock() - self._looked_at < LOOK_S:
            return
        state = ray._private.state  # noqa: SLF001 - Ray has no public way
        self._leaving = frozenset(state.state.get_draining_nodes())
        free = state.available_resources_per_node()
        self._room = room({node: resources.get("CPU", 0.0) for node, resources in free.items()}, self._leaving)
        self._looked_at = self._clock()
