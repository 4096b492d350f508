"""The hosts that a run is planned for, from Ray's own cluster file or from what a person writes; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray_eval.errors import ConfigError
from ray_eval.sections import require


@dataclass(frozen=True, slots=True)
class Hosts:
    """Some hosts that are alike."""

    name: str
    """What they are called: a node type, an instance type."""
    count: int
    """How many."""
    cpus: int
    """CPU cores of each that Ray may use."""
    gpus: int = 0
    """GPUs of each."""
    memory_bytes: int | None = None
    """Memory of each; None where nobody says."""
    price_per_hour: float | None = None
    """Price of each; None where nobody says."""

    def __post_init__(self) -> None:
        require(self.count >= 0, f"{self.name}: count", "0 or more", self.count)
        require(self.cpus >= 0, f"{self.name}: cpus", "0 or more", self.cpus)
        require(self.gpus >= 0, f"{self.name}: gpus", "0 or more", self.gpus)
        price = self.price_per_hour
        require(price is None or price >= 0, f"{self.name}: price_per_hour", "0 or more", price)


_KEYS = {"count", "cpus", "gpus", "memory_gb", "price_per_hour"}


def read_hosts(values: Mapping[str, Any], prices: Mapping[str, Any], where: str) -> tuple[Hosts, ...]:
    """The hosts of a file.

    Args:
        values: of a file of `ray up` (`available_node_types`), or `hosts:` with each one's count, cpus, gpus, memory_gb
            and price_per_hour.
        prices: by instance type or name: an hour's price, or the same keys as of `hosts`.
        where: the file, for messages.

    Raises:
        ConfigError: it says nothing of hosts, or not how many cores they have.
    """
    if isinstance(values.get("available_node_types"), Mapping):
        return tuple(_of_ray(name, kind, prices, where) for name, kind in values["available_node_types"].items())
    if isinstance(values.get("hosts"), Mapping):
        return tuple(_of_a_person(name, kind, prices, where) for name, kind in values["hosts"].items())
    raise ConfigError(
        f"{where}: expected hosts by name, such as hosts: {{sim: {{count: 2, cpus: 96, memory_gb: 384}}}}, or a "
        "cluster file of `ray up` with available_node_types, got neither"
    )


def _priced(name: str, prices: Mapping[str, Any]) -> dict[str, Any]:
    found = prices.get(name, {})
    return dict(found) if isinstance(found, Mapping) else {"price_per_hour": found}


def _of_a_person(name: str, kind: Any, prices: Mapping[str, Any], where: str) -> Hosts:
    said = {**_priced(name, prices), **(kind if isinstance(kind, Mapping) else {})}
    unknown = sorted(said.keys() - _KEYS)
    if unknown or "cpus" not in said:
        raise ConfigError(
            f"{where}: hosts.{name}: expected cpus and maybe {', '.join(sorted(_KEYS))}, got {sorted(said)}"
        )
    return _hosts(name, said, where)


def _of_ray(name: str, kind: Mapping[str, Any], prices: Mapping[str, Any], where: str) -> Hosts:
    node, resources = kind.get("node_config") or {}, kind.get("resources") or {}
    instance = str(node.get("InstanceType") or node.get("machineType") or name)
    said = {**_priced(name, prices), **_priced(instance, prices)}
    given = {"cpus": resources.get("CPU"), "gpus": resources.get("GPU"), "count": kind.get("min_workers")}
    said |= {key: value for key, value in given.items() if value is not None}
    if "cpus" not in said:
        raise ConfigError(
            f"{where}: {name}: expected its cores, got neither resources.CPU nor {instance}'s cpus among the prices"
        )
    return _hosts(name, said, where)


def _hosts(name: str, said: Mapping[str, Any], where: str) -> Hosts:
    try:
        memory_gb, price = said.get("memory_gb"), said.get("price_per_hour")
        return Hosts(
            name,
            int(said.get("count", 1)),
            int(said["cpus"]),
            int(said.get("gpus", 0)),
            None if memory_gb is None else round(float(memory_gb) * 1e9),
            None if price is None else float(price),
        )
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {name}: expected numbers, got {error}") from error
