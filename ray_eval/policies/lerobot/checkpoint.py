"""A checkpoint's files: where they are, what config.json says, and their digest; knows neither torch nor LeRobot."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval.errors import SetupError
from ray_eval.foreign import text_of
from ray_eval.sections import HUB

CONFIG_NAME = "config.json"
"""The policy's own configuration."""
WEIGHTS_NAME = "model.safetensors"
"""The policy's weights."""
PREPROCESSOR_NAME = "policy_preprocessor.json"
"""LeRobot's pipeline before the policy."""
POSTPROCESSOR_NAME = "policy_postprocessor.json"
"""LeRobot's pipeline behind it."""
ADAPTER_NAME = "adapter_config.json"
"""What PEFT knows an adapter by."""
_UNREAD = ("train_config.json",)
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine's disk."""

    name: str
    """What the user calls it: a folder, or an id on the hub."""
    folder: Path
    """Where its files are."""
    config: Mapping[str, Any]
    """What config.json says."""
    commit: str | None = None
    """The hub's commit that `revision` stood for; None for a folder."""

    @property
    def type(self) -> str:
        """The policy's type, for instance `act`."""
        return str(self.config["type"])

    def fail(self, expected: str, got: object, remedy: str) -> SetupError:
        """The error of a checkpoint that cannot be evaluated."""
        return SetupError(f"policy.path={self.name}: expected {expected}, got {got}; {remedy}")

    def digest(self) -> str:
        """SHA-256 over names, sizes and contents of everything that is loaded."""
        digest = hashlib.sha256()
        for path in self._loaded_files():
            digest.update(f"{path.relative_to(self.folder).as_posix()}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as file:
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
        return digest.hexdigest()

    def _loaded_files(self) -> Iterator[Path]:
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".json", ".safetensors") and path.name not in _UNREAD:
                yield path


def open_checkpoint(name: str, revision: str | None) -> Checkpoint:
    """The checkpoint in a folder, or the one that the hub's files are fetched for.

    Args:
        name: The folder, or `hub:` and the id; a folder that is not here is never looked for on the hub.
        revision: The hub's branch, tag or commit.

    Raises:
        SetupError: it is not there, incomplete, or not a policy of LeRobot's.
    """
    is_on_hub, name = name.startswith(HUB), name.removeprefix(HUB)
    if is_on_hub:
        folder, commit = _fetched(name, revision)
    else:
        folder, commit = _found(name, revision), None
    _refuse_adapter(name, folder)
    checkpoint = Checkpoint(name, folder, _read_config(name, folder), commit)
    if checkpoint.config.get("use_peft"):
        raise _adapter(name, "a base that its config.json does not name")
    if not (folder / WEIGHTS_NAME).is_file():
        raise checkpoint.fail(f"the weights in {WEIGHTS_NAME}", "no such file", "copy the whole checkpoint")
    return checkpoint


def _refuse_adapter(name: str, folder: Path) -> None:
    """LeRobot saves what it trained by PEFT as an adapter beside the name of the policy that it belongs to."""
    path = folder / ADAPTER_NAME
    if not path.is_file():
        return
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        base = None
    raise _adapter(name, base or f"a base that its {ADAPTER_NAME} does not name")


def _adapter(name: str, base: str) -> SetupError:
    return SetupError(
        f"policy.path={name}: expected a checkpoint with whole weights, got a PEFT adapter of {base}; load both with "
        "LeRobot, save PeftModel.merge_and_unload() with its save_pretrained, and copy the adapter's policy_*.json and "
        "policy_*.safetensors beside it"
    )


def _found(name: str, revision: str | None) -> Path:
    folder = Path(name)
    if not folder.is_dir():
        raise SetupError(
            f"policy.path={name}: expected a checkpoint's folder, found none on {platform.node()}; check the path, or "
            "write an id on the hub as policy.path=hub:lerobot/act"
        )
    if revision is not None:
        raise SetupError(
            f"policy.revision={revision}: expected nothing beside a folder, which has one content; drop it"
        )
    return folder


def _fetched(name: str, revision: str | None) -> tuple[Path, str]:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise SetupError(
            f"policy.path={name}: expected a folder, which is not there, or the package huggingface_hub to fetch that "
            "id from the hub; check the path, or write policy.python=PYTHON, the interpreter that LeRobot is in"
        ) from error

    try:
        # A snapshot's folder is called by its commit.
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise SetupError(
            f"policy.path={name}: expected a folder, or a checkpoint that the hub gives out"
            f"{f' at revision {revision}' if revision else ''}, got {what}; check the path, or fetch it where there is"
            " a network and give the folder"
        ) from error
    return folder, folder.name


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        inner = folder / "pretrained_model"
        remedy = f"write policy.path={inner}" if (inner / CONFIG_NAME).is_file() else "name the checkpoint's own folder"
        raise SetupError(f"policy.path={name}: expected a LeRobot checkpoint with {CONFIG_NAME}, found none; {remedy}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: expected readable JSON, got {error}; copy the checkpoint again") from error
    if not isinstance(config, dict) or not isinstance(config.get("type"), str):
        raise SetupError(
            f"{path}: expected a policy's configuration with `type`, got none; a checkpoint from before LeRobot 0.2 is"
            " to be saved anew by a LeRobot that reads it"
        )
    return config


def first_lines(error: BaseException, count: int = 3) -> str:
    """An exception in one line: its type, and the first lines of what it says."""
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    text = " ".join(lines[:count])
    return f"{type(error).__name__}: {text[:400]}{' ...' if len(lines) > count or len(text) > 400 else ''}"
