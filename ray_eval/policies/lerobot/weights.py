"""A checkpoint's weights where LeRobot's own loader is not enough: its older format, and whether they are taken."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray_eval.policies.lerobot.checkpoint import WEIGHTS_NAME, Checkpoint, first_lines
from ray_eval.policies.lerobot.pages import given_back_as_copied

COMPARED_NUMBERS = 4096
"""Numbers of each tensor that are compared with the file's."""
NAMED = 3
"""Weights that an error names before it counts the others."""
_DRAWING = (
    *("uniform_", "normal_", "trunc_normal_", "orthogonal_", "sparse_"),
    *(f"{who}_{how}_" for who in ("xavier", "kaiming") for how in ("uniform", "normal")),
)
"""Functions of `torch.nn.init` that draw random numbers."""
_OLD_STATISTICS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
_LONGEST_HEADER = 100_000_000
"""Bytes of a header of safetensors, as its own reader takes them."""
_COMPILED = "_orig_mod."
_LEFT_OUT = (*_OLD_STATISTICS, "action_preprocessor.normalizer")
"""What LeRobot's loaders leave out of the weights, because its pipelines normalise; the last is Wall-X's."""


def old_statistics_of(checkpoint: Checkpoint, config: Any) -> dict[str, dict[str, Any]]:
    """Statistics that older versions of LeRobot kept among the weights, by feature; empty in today's format."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, dict[str, Any]] = {}
    try:
        with safe_open(checkpoint.folder / WEIGHTS_NAME, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(_OLD_STATISTICS)]  # noqa: SIM118 - no mapping
            for key in {**config.input_features, **config.output_features}:
                buffer = f".buffer_{key.replace('.', '_')}."
                for name in names:
                    if buffer in f".{name.partition('.')[2]}":
                        found.setdefault(key, {})[name.rpartition(".")[2]] = file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise checkpoint.fail(f"readable weights in {WEIGHTS_NAME}", first_lines(error), "copy it again") from error
    return found


def may_hold_old_statistics(checkpoint: Checkpoint) -> bool | None:
    """Whether the weights' names are of the older format; None where they cannot be read. Reads the header alone."""
    try:
        with (checkpoint.folder / WEIGHTS_NAME).open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            names = json.loads(file.read(length)) if length <= _LONGEST_HEADER else None
            return None if names is None else any(str(name).startswith(_OLD_STATISTICS) for name in names)
    except (OSError, ValueError, TypeError):
        return None


class Handed:
    """What a loader of LeRobot's hands to the policy, whatever it renames, transposes or leaves out on the way."""

    def __init__(self) -> None:
        self.tensors: Mapping[str, Any] = {}
        """The weights by the policy's names; empty where the loader handed over none."""
        self.error: Exception | None = None
        """What the policy said to them; some loaders go on with random weights then."""

    def to(self, policy_class: Any) -> Any:
        """The class, with a `load_state_dict` that notes what it is given, and keeps no file in memory."""
        handed = self

        class Noting(policy_class):  # type: ignore[misc]
            def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
                handed.tensors = _called_as_in(self, state_dict)
                try:
                    with given_back_as_copied(self, handed.tensors):
                        return super().load_state_dict(handed.tensors, *args, **kwargs)
                except Exception as error:
                    handed.error = error
                    raise

        Noting.__name__ = Noting.__qualname__ = policy_class.__name__
        return Noting


def _called_as_in(policy: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """The weights without the part of a name that `torch.compile` adds, where the policy's names have none."""
    if not any(_COMPILED in name for name in state):
        return dict(state)
    own = policy.state_dict().keys()
    return {name if name in own else name.replace(_COMPILED, ""): tensor for name, tensor in state.items()}


@contextlib.contextmanager
def nothing_drawn() -> Iterator[None]:
    """Within, torch's layers are made without first values, of which none is left once the weights are taken over.

    Drawing them is most of the time of loading. What is drawn in other ways is drawn: it may be no weight.
    """
    from torch.nn import init
    from torch.nn.modules import activation

    found = [(module, name) for module in (init, activation) for name in _DRAWING if hasattr(module, name)]
    functions = [getattr(module, name) for module, name in found]
    try:
        for module, name in found:
            setattr(module, name, _left_as_it_is)
        yield
    finally:
        for (module, name), function in zip(found, functions, strict=True):
            setattr(module, name, function)


def _left_as_it_is(tensor: Any, *_arguments: Any, **_words: Any) -> Any:
    return tensor


def with_weights(checkpoint: Checkpoint, policy_class: Any, config: Any, handed: Handed, *, is_old: bool) -> Any:
    """The policy with its weights, by LeRobot's own loader; `is_old` where statistics are among them."""
    noting = handed.to(policy_class)
    if is_old:
        from safetensors.torch import load_file

        weights = load_file(checkpoint.folder / WEIGHTS_NAME, device=str(config.device))
        with nothing_drawn():
            policy = noting(config).to(config.device)
        policy.load_state_dict({key: value for key, value in weights.items() if not key.startswith(_OLD_STATISTICS)})
    else:
        with nothing_drawn():
            policy = noting.from_pretrained(checkpoint.folder, config=config, strict=True)
    policy.__class__ = policy_class
    return policy


def check_taken_over(checkpoint: Checkpoint, policy: Any, handed: Handed) -> None:
    """Passes when the policy's weights are those of the checkpoint: some loaders go on with random ones when they fail.

    What the loader handed to the policy is the truth, as only it knows what it renames and leaves out. Every parameter
    and persistent buffer must be among that, itself or as another name of one that is, and all of that must have its
    place in the policy. The first numbers of each are compared.

    Raises:
        SetupError: a weight differs, or was not handed over, or has no place in the policy.
    """
    remedy = "copy the checkpoint again, or use the LeRobot that saved it, by policy.python"
    if handed.error is not None:
        raise checkpoint.fail(f"weights that fit the policy in {WEIGHTS_NAME}", first_lines(handed.error), remedy)
    weights = policy.state_dict()
    taken = {name: tensor for name, tensor in handed.tensors.items() if name in weights}
    if not taken:
        raise checkpoint.fail(f"weights named as in a policy of type {checkpoint.type!r}", "none of them", remedy)
    if missing := _not_handed(weights, taken):
        raise checkpoint.fail(f"every weight of the policy in {WEIGHTS_NAME}", f"none for {_few(missing)}", remedy)
    if foreign := [name for name in handed.tensors if name not in weights and not name.startswith(_LEFT_OUT)]:
        raise checkpoint.fail(f"a place in the policy for all of {WEIGHTS_NAME}", f"none for {_few(foreign)}", remedy)
    for name, tensor in taken.items():
        if not begins_alike(weights[name], tensor):
            raise checkpoint.fail(f"the weights of {WEIGHTS_NAME} in the policy", f"others in {name}", remedy)


def _not_handed(weights: Mapping[str, Any], taken: Mapping[str, Any]) -> list[str]:
    """Weights that are neither handed over nor another name of one that is; a file has tied weights once."""
    tied = {_memory(weights[place]) for place in taken}
    return [name for name, tensor in weights.items() if name not in taken and _memory(tensor) not in tied]


def _memory(tensor: Any) -> tuple[Any, ...]:
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def _few(names: Sequence[str]) -> str:
    others = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {others} other{'s'[: others > 1]}" if others > 0 else "")


def begins_alike(loaded: Any, handed: Any) -> bool:
    """Whether the first numbers of a weight are those that were to be loaded, in its own number format."""
    if handed.shape != loaded.shape:
        return False
    if loaded.ndim == 0:
        return bool(handed.to(loaded.dtype).cpu() == loaded.cpu())
    rows = max(1, COMPARED_NUMBERS * len(loaded) // max(1, loaded.numel()))
    return bool((handed[:rows].to(loaded.dtype).cpu() == loaded[:rows].cpu()).all())
