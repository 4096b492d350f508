"""`PackagedSimulator`: what simulators have in common whose whole world is a package that pip installs."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ray_eval.envs.digests import FileDigests, memory_file
from ray_eval.envs.installed import check_importable, check_installed, version_differences
from ray_eval.envs.origins import origins
from ray_eval.types import EpisodeSpec, Origin


class PackagedSimulator:
    """Whether the package is here, of which version and from where; what is left is its tasks, their specs and envs."""

    modules: ClassVar[tuple[str, ...]]
    """Top-level modules that make the numbers; the first is the simulator's own."""
    imported: ClassVar[str]
    """Dotted name of the module that an env is made of; it imports whatever else is needed."""
    install: ClassVar[str]
    """Command that installs it."""
    reference: ClassVar[Mapping[str, str]]
    """Versions that the figures of docs/simulators.md are of, by distribution."""
    consequences: ClassVar[Mapping[str, str]]
    """What another version changes, by distribution."""

    def identity(self, episodes: Sequence[EpisodeSpec]) -> Mapping[str, Any]:  # noqa: ARG002 -- there are no files
        """Nothing beyond versions, settings and spec."""
        return {}

    def origins(self) -> Mapping[str, Origin]:
        """Where the packages are imported from, and what is in them."""
        return origins(self.modules, FileDigests(memory_file()))

    def check(self) -> None:
        """Passes when the package is installed, without importing it.

        Raises:
            SetupError: it is not; what it needs besides is said when it is imported.
        """
        check_installed(self.modules[0], self.install)

    def check_importable(self) -> None:
        """Passes once the package is imported, with what it needs.

        Raises:
            SetupError: it is not installed, or something that it imports is missing or broken.
        """
        check_importable(self.imported, self.install)

    def version_warning(self) -> str | None:
        """What differs from the versions that the documented figures are of."""
        return version_differences(self.reference, self.consequences, self.install)

    def prepare(self) -> None:
        """Imports the package with what it needs; what is missing is said by `make_env`."""
        with contextlib.suppress(ImportError):
            importlib.import_module(self.imported)
