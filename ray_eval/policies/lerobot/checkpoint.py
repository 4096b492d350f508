"""A checkpoint's files: where they are, what config.json says, and their digest; knows neither torch nor LeRobot."""

from __future__ import annotations

import hashlib
import json
import platform
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_eval.errors import SetupError
from ray_eval.foreign import text_of
from ray_eval.messages import one_line
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
ADAPTER_WEIGHTS_NAME = "adapter_model.safetensors"
"""Its weights."""
_UNREAD = ("train_config.json",)
_BLOCK_BYTES = 1 << 20
_HUB_PARTS = 2
"""Parts of an id on the hub: the owner and the name."""
_MOST_OF_THE_HUB = 120
"""Characters of what the hub's client says that a message has."""


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
    base: Checkpoint | None = None
    """The checkpoint that has the weights, where this one is an adapter of PEFT's."""

    @property
    def base_name(self) -> str:
        """What the adapter's base is called; the empty string where there is none."""
        return "" if self.base is None else self.base.name

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
        if self.base is not None:
            digest.update(self.base.digest().encode())
        return digest.hexdigest()

    def _loaded_files(self) -> Iterator[Path]:
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".json", ".safetensors") and path.name not in _UNREAD:
                yield path


class Digesting:
    """A checkpoint's digest, made in a thread of its own while the weights are loaded, which takes as long."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._digest = ""
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._make, name="digest", daemon=True)
        self._thread.start()

    def _make(self) -> None:
        try:
            self._digest = self._checkpoint.digest()
        except OSError as error:
            self._error = error

    def result(self) -> str:
        """The digest, waited for.

        Raises:
            SetupError: a file could not be read.
        """
        self._thread.join()
        if self._error is not None:
            raise self._checkpoint.fail("readable files", str(self._error), "copy it again") from self._error
        return self._digest


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
    if (folder / ADAPTER_NAME).is_file():
        return _open_adapter(name, folder, commit)
    checkpoint = Checkpoint(name, folder, _read_config(name, folder), commit)
    if checkpoint.config.get("use_peft"):
        raise checkpoint.fail(f"{ADAPTER_NAME} beside use_peft in {CONFIG_NAME}", "none", "copy the whole adapter")
    if not (folder / WEIGHTS_NAME).is_file():
        raise checkpoint.fail(f"the weights in {WEIGHTS_NAME}", _other_weights(folder), "copy the whole checkpoint")
    return checkpoint


def local_checkpoint(name: str, revision: str | None) -> Checkpoint | None:
    """The checkpoint where its folder is on this machine; None where it would come from the hub.

    Raises:
        SetupError: it is incomplete, or not a policy of LeRobot's.
    """
    return None if name.startswith(HUB) else open_checkpoint(name, revision)


def _folder_of(name: str) -> Path:
    """The folder that a path names, by itself or by one of the checkpoint's files."""
    path = Path(name).expanduser()
    return path.parent if path.is_file() and path.name in (CONFIG_NAME, WEIGHTS_NAME, ADAPTER_NAME) else path


def _other_weights(folder: Path) -> str:
    """What is there in place of one file of weights."""
    others = sorted(path.name for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", ".pt", ".index"))
    weights = [name for name in others if not name.startswith("policy_")]
    return ", ".join(weights[:3]) + (" ..." if len(weights) > 3 else "") if weights else "no such file"


def _open_adapter(name: str, folder: Path, commit: str | None) -> Checkpoint:
    """An adapter with the checkpoint that its adapter_config.json names.

    Raises:
        SetupError: one of them is incomplete.
    """
    path = folder / ADAPTER_NAME
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        base, revision = said.get("base_model_name_or_path"), said.get("revision")
    except (OSError, ValueError, AttributeError) as error:
        raise SetupError(f"{path}: expected readable JSON, got {error}; copy the adapter again") from error
    if not isinstance(base, str) or not base:
        raise SetupError(
            f"policy.path={name}: expected the base of a PEFT adapter in base_model_name_or_path of {ADAPTER_NAME}, "
            "got none; write the folder of the checkpoint that it was trained on there"
        )
    for needed in (CONFIG_NAME, ADAPTER_WEIGHTS_NAME):
        if not (folder / needed).is_file():
            raise SetupError(f"policy.path={name}: expected a PEFT adapter with {needed}, found none; copy all of it")
    config = _read_config(name, folder)
    return Checkpoint(name, folder, config, commit, _open_base(name, base, revision))


def _open_base(name: str, base: str, revision: Any) -> Checkpoint:
    is_folder = Path(base).expanduser().is_dir()
    is_id = not is_folder and len(Path(base).parts) == _HUB_PARTS and not Path(base).is_absolute()
    try:
        opened = open_checkpoint(f"{HUB}{base}" if is_id else base, revision if is_id else None)
    except SetupError as error:
        raise SetupError(
            f"policy.path={name}: expected the base of this PEFT adapter, as its {ADAPTER_NAME} names it; {error}"
        ) from error
    if opened.base is not None:
        raise SetupError(
            f"policy.path={name}: expected an adapter of whole weights, got one of the adapter {base}; merge it"
        )
    return opened


def _found(name: str, revision: str | None) -> Path:
    folder = _folder_of(name)
    if not folder.is_dir():
        raise SetupError(
            f"policy.path={name}: expected a checkpoint's folder, found none on {platform.node()}; check the path, "
            "copy it to that host, or write an id on the hub as policy.path=hub:lerobot/act"
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
        what = one_line(f"{type(error).__name__}: {error}", _MOST_OF_THE_HUB)
        raise SetupError(
            f"policy.path={name}: expected a folder, or a checkpoint that the hub gives out"
            f"{f' at revision {revision}' if revision else ''}, got no such folder in {Path.cwd()}, and of the hub "
            f"{what}; check the path, or fetch it where there is a network and give the folder"
        ) from error
    return folder, folder.name


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise SetupError(
            f"policy.path={name}: expected a LeRobot checkpoint with {CONFIG_NAME}, found none; {_remedy_below(folder)}"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: expected readable JSON, got {error}; copy the checkpoint again") from error
    if isinstance(config, dict) and isinstance(config.get("type"), str):
        return config
    raise _no_policy(path, config if isinstance(config, dict) else {})


def _remedy_below(folder: Path) -> str:
    """The checkpoint that is below a folder, as a line to write: the last one of a training, or the one step's."""
    for inner in ("pretrained_model", "last/pretrained_model", "checkpoints/last/pretrained_model"):
        if (folder / inner / CONFIG_NAME).is_file():
            return f"write policy.path={folder / inner}"
    found = sorted(folder.glob("*/pretrained_model")) or sorted(folder.glob("checkpoints/*/pretrained_model"))
    return f"write policy.path={found[-1]}" if found else "name the checkpoint's own folder"


def _no_policy(path: Path, config: Mapping[str, Any]) -> SetupError:
    """What a config.json is that has no policy's `type`."""
    if isinstance(config.get("model_type"), str):
        made = ", ".join(map(str, config.get("architectures") or ())) or "no architecture named"
        return SetupError(
            f"{path}: expected LeRobot's configuration of a policy, got a model of transformers "
            f"({config['model_type']}: {made}); LeRobot cannot run it: serve it by its own project (policy=vla_eval, "
            "openpi, kserve), or load it in a factory of yours (policy=torch)"
        )
    return SetupError(
        f"{path}: expected a policy's configuration with `type`, got none; a checkpoint from before LeRobot 0.2 is to"
        " be saved anew by a LeRobot that reads it"
    )


def first_lines(error: BaseException, count: int = 3) -> str:
    """An exception in one line: its type, and the first lines of what it says."""
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    text = " ".join(lines[:count])
    return f"{type(error).__name__}: {text[:400]}{' ...' if len(lines) > count or len(text) > 400 else ''}"
