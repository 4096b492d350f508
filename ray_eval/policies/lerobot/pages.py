"""Memory of a mapped file, given back to the system as soon as what is in it was copied."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ray_eval.heap import page_out


@contextlib.contextmanager
def given_back_as_copied(module: Any, state: Mapping[str, Any]) -> Iterator[None]:
    """Within, `module.load_state_dict(state)` keeps in memory one module's part of a mapped file, not all of it.

    Without it a loader has twice the weights in memory at its end: its own, and every page of the file.
    """
    parts: dict[str, list[Any]] = defaultdict(list)
    for name, tensor in state.items():
        parts[name.rpartition(".")[0]].append(tensor)
    handles = [
        part.register_load_state_dict_post_hook(_giving_back(parts[name]))
        for name, part in module.named_modules()
        if name in parts
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _giving_back(tensors: Sequence[Any]) -> Any:
    def give_back(_module: Any, _keys: Any) -> None:
        for tensor in tensors:
            if tensor.device.type == "cpu":
                page_out(tensor.data_ptr(), tensor.nbytes)

    return give_back
