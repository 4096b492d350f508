"""Lets torchvision's Python code run beside a torch for which its compiled library was not built.

PyPI's torchvision belongs to PyPI's CUDA build of torch; beside a CPU build its library does not load, and its import
ends in "operator torchvision::nms does not exist". Models and transforms are Python and need none of those operators:
with their names declared they run, and calling one of the operators is an error still. `install_lerobot.sh` puts this
module into the environment, and a .pth file beside it that imports it at start.
"""

import importlib.abc
import sys
from typing import Any

DECLARATIONS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class _DeclareFirst(importlib.abc.MetaPathFinder):
    """Finds nothing; declares the operators when torchvision is looked for the first time."""

    def find_spec(self, fullname: str, _path: Any = None, _target: Any = None) -> None:
        """None, always."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self._library = torch.library.Library("torchvision", "DEF")
            for declaration in DECLARATIONS:
                self._library.define(declaration)
            _DeclareFirst.kept = self  # the operators live as long as their library object


sys.meta_path.insert(0, _DeclareFirst())
