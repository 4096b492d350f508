"""A user's own torch policy: her factory, or a TorchScript or `torch.export` file that needs no code of hers.

Nothing that can execute is unpickled unless the section says `trust`. torch is imported when a policy is loaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib
import importlib.util
import inspect
import os
import platform
import typing
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ray_eval.errors import ContractError, SetupError
from ray_eval.foreign import look_in_working_folder, text_of, told, told_with_traceback
from ray_eval.interfaces import Policy
from ray_eval.policies.contract import check_spec
from ray_eval.policies.staging import StagedRow, Stager
from ray_eval.sections import TorchPolicySection
from ray_eval.types import ActionChunk, Array, Observation, PolicySpec, is_image

_FORCE_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_BOOLS = {"true": True, "false": False}

NO_TORCH = (
    "policy: expected the package torch, which policy=torch needs for whatever policy, got none; in a clone type: pip "
    "install --constraint constraints.txt torch safetensors; elsewhere: pip install 'ray-eval[torch]'"
)


def load_torch(section: TorchPolicySection) -> Policy:
    """The policy that the section describes.

    Raises:
        SetupError: torch, the factory's module or the file is missing or broken, or the policy's spec is not one.
    """
    torch = import_torch()
    device = pick_device(torch, section.device)
    path = None if section.path is None else _existing(section.path)
    if section.entrypoint is None:
        if path is None:  # the section's own check forbids it
            raise SetupError("policy.path: expected a .pt or .pt2 module, got none")
        return ModulePolicy(torch, _load_module(torch, path, device, section), device, section, _sha256(path))
    return _made(torch, section, path, device)


def import_torch() -> Any:
    """The package torch.

    Raises:
        SetupError: it is not installed here.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise SetupError(NO_TORCH) from error


def pick_device(torch: Any, wanted: str) -> str:
    """`cuda` or `cpu`.

    Raises:
        SetupError: CUDA is asked for and not there.
    """
    has_cuda = bool(torch.cuda.is_available())
    if wanted == "cuda" and not has_cuda:
        raise SetupError("policy.device=cuda: expected a CUDA device, got none; write policy.device=cpu or auto")
    return ("cuda" if has_cuda else "cpu") if wanted == "auto" else wanted


def runtime_of(torch: Any, device: str) -> dict[str, str]:
    """What computes the answers and may change them."""
    return {"torch": str(torch.__version__), "device": torch.cuda.get_device_name() if device == "cuda" else device}


def load_weights(path: str | Path, *, trust: bool = False) -> dict[str, Any]:
    """The tensors of a safetensors file, or of a checkpoint of `torch.save`, by name, on the CPU.

    Args:
        path: The file.
        trust: Whether a checkpoint may be unpickled as a whole, which runs whatever code it carries.

    Raises:
        SetupError: the file is missing or damaged, or holds more than tensors and may not be trusted.
    """
    path = _existing(str(path))
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    torch = import_torch()
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:
        raise SetupError(
            f"{path}: expected a file of tensors alone, got {_first_line(error)}; save a state_dict or safetensors, "
            "or say policy.trust=true if you would run a program from whoever made the file"
        ) from error
    if not isinstance(loaded, Mapping):
        raise SetupError(f"{path}: expected a state_dict, got {type(loaded).__name__}")
    return dict(loaded)


def _load_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise SetupError(f"{path}: expected the package safetensors, got none; pip install safetensors") from error
    try:
        return dict(load_file(path))
    except Exception as error:
        raise SetupError(f"{path}: expected a safetensors file, got {_first_line(error)}") from error


# --- a factory ---


def _made(torch: Any, section: TorchPolicySection, path: Path | None, device: str) -> Policy:
    factory = _factory(str(section.entrypoint))
    arguments = _typed(factory, dict(section.kwargs), str(section.entrypoint))
    parameters = inspect.signature(factory).parameters
    if path is not None:
        arguments["state_dict"] = load_weights(path, trust=section.trust)
    if "device" in parameters:
        arguments.setdefault("device", torch.device(device))
    try:
        policy = factory(**arguments)
    except (Exception, SystemExit) as error:
        raise SetupError(
            f"policy.entrypoint {section.entrypoint}: expected a policy, got {told_with_traceback(error)}"
        ) from error
    spec = _checked_spec(policy, f"policy.entrypoint {section.entrypoint}")
    digest = spec.digest or _sha256(_source_of(factory), path)
    runtime, state_dim = spec.runtime or runtime_of(torch, device), spec.state_dim or section.state_dim
    return _Wrapped(policy, dataclasses.replace(spec, digest=digest, runtime=runtime, state_dim=state_dim))


def check_torch() -> None:
    """Passes where torch can be found; it is not imported, which takes a second.

    Raises:
        SetupError: it cannot.
    """
    if importlib.util.find_spec("torch") is None:
        raise SetupError(NO_TORCH)


def check_entrypoint(entrypoint: str) -> None:
    """Passes when the module of a factory is found; nothing of it is imported.

    Raises:
        SetupError: it is not.
    """
    look_in_working_folder()
    name = entrypoint.partition(":")[0].partition(".")[0]
    with contextlib.suppress(ValueError):  # of a name that no module can have
        if importlib.util.find_spec(name) is not None:
            return
    raise _unfound(entrypoint, f"no module {name!r} in {Path.cwd()} or on the path")


def _unfound(entrypoint: str, got: str) -> SetupError:
    return SetupError(
        f"policy.entrypoint {entrypoint!r}: expected a module that can be imported, got {got}; "
        "install it, put its folder on PYTHONPATH or start ray-eval there"
    )


def _factory(entrypoint: str) -> Callable[..., Any]:
    where = f"policy.entrypoint {entrypoint!r}"
    name, _, attribute = entrypoint.partition(":")
    look_in_working_folder()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise _unfound(entrypoint, told(error)) from error
    except (Exception, SystemExit) as error:
        raise SetupError(
            f"{where}: expected a module that can be imported, got {told_with_traceback(error)}"
        ) from error
    factory: Any = module
    for part in attribute.split("."):
        factory = getattr(factory, part, None)
    if not callable(factory):
        known = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise SetupError(f"{where}: expected a callable {attribute}, got none; the module has {known or 'none at all'}")
    return typing.cast("Callable[..., Any]", factory)


def _typed(factory: Callable[..., Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The arguments, texts read by the annotation of their parameter, or else by the type of its default."""
    parameters = inspect.signature(factory).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in given:
        if name not in parameters and not takes_any:
            raise SetupError(
                f"policy.kwargs.{name}: expected one of {', '.join(parameters)}, the parameters of {where}"
            )
    try:
        hints = typing.get_type_hints(factory if inspect.isfunction(factory) else factory.__init__)
    except Exception:  # noqa: BLE001 - hints that cannot be resolved are as good as none
        hints = {}
    return {name: _typed_value(parameters.get(name), hints.get(name), value, name) for name, value in given.items()}


def _typed_value(parameter: inspect.Parameter | None, hint: Any, value: Any, name: str) -> Any:
    if not isinstance(value, str) or parameter is None:
        return value
    kind = hint if isinstance(hint, type) else type(parameter.default)
    try:
        if kind is bool:
            return _BOOLS[value]
        return kind(value) if kind in (int, float) else value
    except (KeyError, ValueError):
        raise SetupError(f"policy.kwargs.{name}: expected {kind.__name__}, got {value!r}") from None


def _source_of(factory: Callable[..., Any]) -> Path | None:
    try:
        source = inspect.getsourcefile(factory)
    except TypeError:
        return None
    return Path(source) if source else None


def _checked_spec(policy: Any, where: str) -> PolicySpec:
    try:
        spec = getattr(policy, "spec", None)
    except Exception as error:
        raise SetupError(f"{where}: expected its `spec`, got {told_with_traceback(error)}") from error
    if not isinstance(spec, PolicySpec) or not callable(getattr(policy, "infer_batch", None)):
        raise SetupError(
            f"{where}: expected an object with `spec` (a PolicySpec) and `infer_batch`, got {type(policy).__name__}; "
            "ray_eval.testing.check_policy tells what is missing"
        )
    try:
        check_spec(spec)
    except ContractError as error:
        raise SetupError(f"{where}: {error}") from error
    return spec


class _Wrapped:
    """A factory's policy under its completed spec; what else it offers, such as staging, stays its own."""

    def __init__(self, policy: Policy, spec: PolicySpec) -> None:
        self._policy = policy
        self._spec = spec

    @property
    def spec(self) -> PolicySpec:
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        return self._policy.infer_batch(observations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


# --- a file ---


def _load_module(torch: Any, path: Path, device: str, section: TorchPolicySection) -> Callable[..., Any]:
    """The module in a file, on the device, for inference alone."""
    try:
        if path.suffix == ".pt2":
            return _load_exported(torch, path, device, trust=section.trust)
        module = torch.jit.load(str(path), map_location=device)
        return typing.cast("Callable[..., Any]", module.eval())
    except SetupError:
        raise
    except Exception as error:
        kind = "torch.export program" if path.suffix == ".pt2" else "TorchScript module"
        raise SetupError(
            f"policy.path {path}: expected a {kind}, got {_first_line(error)}; a state_dict needs policy.entrypoint"
        ) from error


def _load_exported(torch: Any, path: Path, device: str, *, trust: bool) -> Callable[..., Any]:
    if trust:
        return typing.cast("Callable[..., Any]", torch.export.load(str(path)).module().to(device))
    _refuse_opaque_objects(path)
    with _weights_only():
        return typing.cast("Callable[..., Any]", torch.export.load(str(path)).module().to(device))


def _refuse_opaque_objects(path: Path) -> None:
    """`torch.export.load` unpickles objects of other packages as they are."""
    with zipfile.ZipFile(path) as archive:
        opaque = [name for name in archive.namelist() if "opaque_obj" in name.rsplit("/", 1)[-1]]
    if opaque:
        raise SetupError(
            f"policy.path {path}: expected tensors alone, got a pickled object {opaque[0]!r}, which runs code when it "
            "is loaded; say policy.trust=true if you would run a program from whoever made the file"
        )


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Within, by a switch of torch's own, `torch.load`, wherever it is called, unpickles nothing but tensors."""
    before = os.environ.get(_FORCE_WEIGHTS_ONLY)
    os.environ[_FORCE_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCE_WEIGHTS_ONLY]
        else:
            os.environ[_FORCE_WEIGHTS_ONLY] = before


class ModulePolicy:
    """A module without code, called with one tensor per key.

    Images come as (B, 3, H, W) float32 in [0, 1], other keys as (B, D) float32, with `n_obs_steps` > 1 behind B;
    with `noise_shape` there is one more, standard normal, each row drawn on the CPU from its request's seed. The
    answer is (B, chunk_len, action_dim).
    """

    def __init__(
        self, torch: Any, module: Callable[..., Any], device: str, section: TorchPolicySection, digest: str
    ) -> None:
        self._torch = torch
        self._module = module
        self._device = device
        self._noise_shape = section.noise_shape
        self._stager = Stager(torch, device)
        self._spec = PolicySpec(
            name=Path(section.path or "module").stem,
            keys=section.keys,
            chunk_len=section.chunk_len,
            action_dim=section.action_dim,
            n_obs_steps=section.n_obs_steps,
            image_size_px=section.image_size_px,
            state_dim=section.state_dim,
            digest=digest,
            runtime=runtime_of(torch, device),
        )

    @property
    def spec(self) -> PolicySpec:
        """What the section says of the module."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation, in one call of the module."""
        return self.infer_staged([self.stage(observation) for observation in observations])

    def stage(self, observation: Observation) -> StagedRow:
        """The observation's arrays, on their way to the device."""
        return self._stager.put([observation.arrays[key] for key in self._spec.keys], observation.noise_seed)

    def infer_staged(self, rows: Sequence[StagedRow]) -> list[ActionChunk]:
        """One chunk per row.

        Raises:
            ContractError: the module's answer is not a tensor (B, chunk_len, action_dim).
        """
        torch = self._torch
        with torch.inference_mode():
            stacked = self._stager.stack(rows)
            inputs = [self._input(key, tensor) for key, tensor in zip(self._spec.keys, stacked, strict=True)]
            if self._noise_shape:
                inputs.append(torch.stack([self._noise(row.noise_seed) for row in rows]).to(self._device))
            answer = self._module(*inputs)
        return [ActionChunk(actions) for actions in self._checked(answer, len(rows))]

    def _input(self, key: str, tensor: Any) -> Any:
        return tensor.movedim(-1, -3).float() / 255 if is_image(key) else tensor.float()

    def _noise(self, seed: int) -> Any:
        return self._torch.randn(self._noise_shape, generator=self._torch.Generator().manual_seed(seed))

    def _checked(self, answer: Any, count: int) -> Array:
        shape = (count, self._spec.chunk_len, self._spec.action_dim)
        got = tuple(answer.shape) if isinstance(answer, self._torch.Tensor) else type(answer).__name__
        if got != shape:
            raise ContractError(
                f"policy {self._spec.name!r}: expected a tensor {shape} from the module, got {got}; "
                "mend policy.chunk_len and policy.action_dim"
            )
        return np.ascontiguousarray(answer.float().cpu().numpy(), dtype=np.float32)


def _existing(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise SetupError(
            f"policy.path: expected a file, got {text!r}, which is none on {platform.node()}; check the path, or copy "
            "it to that host"
        )
    return path


def _sha256(*files: Path | None) -> str:
    """SHA-256 over the files' contents, in order; those that are not known are left out."""
    digest = hashlib.sha256()
    for path in files:
        if path is not None:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {next(iter(text_of(error).splitlines()), '')}"
