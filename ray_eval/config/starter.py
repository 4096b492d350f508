"""A first configuration, commented: what a checkpoint says of itself becomes the keys that it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval.config.presets import preset_names, to_yaml
from ray_eval.errors import ConfigError
from ray_eval.sections import POLICY_TYPES, RemoteSection

CAMERA = "observation.images."
"""Begins the name of a camera in a LeRobot checkpoint."""
OURS = ("image", "image2")
"""Our short names of the cameras, as `policy.rename` has them."""
PROTOCOLS = {
    "openpi": "openpi",
    "groot_server": "gr00t",
    "starvla_server": "starvla",
    "vla_eval": "vla_eval",
    "xvla_server": "xvla",
}
"""The protocol that goes with a server."""
ADDRESS = re.compile(r"[A-Za-z0-9_.-]+:\d{1,5}")


@dataclass(frozen=True, slots=True)
class Answers:
    """What the user said."""

    policy: str
    """A checkpoint's folder, `hub:ID`, a file of torch, `package.module:factory`, `type@host:port`, or a preset."""
    suite: str
    """A suite."""
    episodes_per_task: int | str
    """Episodes of each task; a text that is no number is refused where the configuration is read."""
    python: str | None = None
    """Interpreter of the policy."""
    ray_address: str | None = None
    """A cluster to join."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen of a policy."""

    policy: Mapping[str, Any]
    """The section."""
    remarks: tuple[str, ...]
    """What was found, a line each, for the file's comments."""
    is_lerobot: bool = False
    """Whether LeRobot runs it."""


def look_into(policy: str, python: str | None = None) -> Found:
    """What a policy is, by its name and by what its files say.

    Raises:
        ConfigError: nothing is known by that name.
    """
    kind, _, address = policy.partition("@")
    servers = [name for name, section in POLICY_TYPES.items() if issubclass(section, RemoteSection)]
    path = Path(policy).expanduser()
    if kind in servers and ADDRESS.fullmatch(address):
        return Found({"type": kind, "addresses": [address]}, (f"asks the server at {address}",))
    if path.is_dir() or policy.startswith("hub:"):
        return _checkpoint(path, policy, python)
    if path.suffix in (".pt", ".pt2") and path.is_file():
        return Found(
            {"type": "torch", "path": policy}, ("a module without code; its keys: ray-eval keys policy=torch",)
        )
    if re.fullmatch(r"[\w.]+:\w+", policy) and not ADDRESS.fullmatch(policy):
        section = {"type": "torch", "entrypoint": policy, **({"python": python} if python else {})}
        return Found(section, ("made by your own factory; its arguments: policy.kwargs",))
    if policy in preset_names("policies"):
        return Found({"type": policy}, ("comes with ray-eval",))
    raise ConfigError(
        f"{policy}: expected a checkpoint's folder, hub:ID, FILE.pt2, package.module:factory, TYPE@HOST:PORT of a "
        f"server ({', '.join(servers)}), or one of {', '.join(preset_names('policies'))}; found none of these"
    )


def _checkpoint(path: Path, policy: str, python: str | None) -> Found:
    """A LeRobot checkpoint: its type, its chunks, and its cameras where they have other names than LIBERO's."""
    section: dict[str, Any] = {"type": "lerobot", "path": policy}
    if python:
        section["python"] = python
    if policy.startswith("hub:"):
        return Found(section, ("on the hub; looked into when it is run",), is_lerobot=True)
    inner = next((each for each in _folders(path) if (each / "config.json").is_file()), None)
    if inner is None:
        raise ConfigError(f"{policy}: expected a checkpoint's folder with config.json, found none in it")
    if inner != path:
        section["path"] = str(inner)
    config = _config(inner)
    length, steps = config.get("chunk_size") or config.get("horizon"), config.get("n_action_steps")
    remarks = [f"{config.get('type', 'a policy')} of LeRobot"]
    remarks += [f"chunks of {length} actions, of which it executes {steps or length}"] if length else []
    cameras = [key.removeprefix(CAMERA) for key in config.get("input_features") or {} if key.startswith(CAMERA)]
    if cameras and not set(cameras) <= set(OURS):
        section["rename"] = dict(zip(OURS, cameras, strict=False))
        remarks.append(
            f"its cameras are {', '.join(cameras)}: image is the scene's, image2 the wrist's; check which is which"
        )
    return Found(section, tuple(remarks), is_lerobot=True)


def _folders(path: Path) -> Iterator[Path]:
    """Where a checkpoint may be: the folder itself, or the last one of a training."""
    yield from (path, path / "pretrained_model", path / "checkpoints" / "last" / "pretrained_model")


def _config(folder: Path) -> dict[str, Any]:
    try:
        loaded = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / 'config.json'}: expected readable JSON, got {error}") from error
    return loaded if isinstance(loaded, dict) else {}


def starter_values(answers: Answers, found: Found) -> dict[str, Any]:
    """The configuration as a mapping."""
    values: dict[str, Any] = {"suite": answers.suite, "episodes_per_task": answers.episodes_per_task}
    values |= {"policy": dict(found.policy)}
    protocol = "lerobot" if found.is_lerobot else PROTOCOLS.get(str(found.policy["type"]))
    # A server's own protocol is one of LIBERO; LeRobot's is had by most simulators.
    if protocol is not None and (found.is_lerobot or answers.suite.startswith("libero")):
        values["protocol"] = protocol
    values |= {"ray": {"address": answers.ray_address}} if answers.ray_address else {}
    return values


def starter_text(answers: Answers, found: Found, name: str) -> str:
    """The file: every key with what it says, and what is often changed as comments."""
    values = starter_values(answers, found)
    return "\n".join(
        [
            f"# Written by ray-eval init. Try it: ray-eval run {name} --dry-run",
            f"{_yaml(suite=values['suite'])}  # ray-eval list suites",
            f"{_yaml(episodes_per_task=values['episodes_per_task'])}  # the first init states of each task; null: all",
            *(f"# {remark}" for remark in found.remarks),
            _yaml(policy=values["policy"]),
            f"{_yaml(protocol=values['protocol'])}  # budgets, seeds, images, replanning: ray-eval list protocols"
            if "protocol" in values
            else "# protocol: openpi  # budgets, seeds, images, replanning: ray-eval list protocols",
            "# execution: {mode: async, latency: {ms: 190}}  # success while inference takes 190 ms: docs/latency.md",
            *([_yaml(ray=values["ray"])] if "ray" in values else ["# ray: {address: auto}  # joins a cluster"]),
            f"# workers: auto  # {_text_of('workers')}",
            "",
        ]
    )


def _yaml(**value: Any) -> str:
    return to_yaml(value).rstrip("\n")


def _text_of(key: str) -> str:
    from ray_eval.config.keys import keys

    return keys(key)[0].text
