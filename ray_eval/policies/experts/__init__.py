"""The scripted experts that a simulator's own package brings along, by simulator; they run where that package is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ray_eval.errors import ConfigError, SetupError
from ray_eval.foreign import told
from ray_eval.interfaces import Policy
from ray_eval.sections import ExpertPolicy

EXPERTS: Final[Mapping[str, str]] = MappingProxyType({"metaworld": "ray_eval.policies.experts.metaworld:Experts"})
"""Where the experts of each simulator are; those of LIBERO are `policy=oracle`."""


def make_expert(section: ExpertPolicy) -> Policy:
    """The experts of the section's simulator.

    Raises:
        ConfigError: the simulator has none.
        SetupError: its package is not in this interpreter.
    """
    place = EXPERTS.get(section.simulator or "")
    if place is None:
        raise ConfigError(
            f"policy.type=expert: expected a simulator that brings experts along ({', '.join(EXPERTS)}), got "
            f"{section.simulator}; LIBERO's is policy=oracle"
        )
    module, _, name = place.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise SetupError(
            f"policy.type=expert: expected {section.simulator} in this interpreter, got {told(error)}; name the one "
            "that has it with policy.python=PATH"
        ) from error
    made: Policy = found(section)
    return made
