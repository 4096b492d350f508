"""Goals that are certainly not reached, as an object is farther from its place than LIBERO's predicates allow.

LIBERO judges a goal in Python, through names and, of contacts, one after the other: up to 5 % of a control step, most
of them far from the goal. What follows is necessary for its predicates, in horizontal distances; wherever it holds,
and wherever the predicates are not those that are known, LIBERO is asked.

- `In` a region: the object is within a box around the region's site, whose half edges are |R s| for the site's
  rotation R and half size s. The distance is less than the length of s.
- `On` a region: R times the distance is within s and, upwards, s and 0.1 m. It is less than the length of s plus 0.1 m.
- `On` an object: it is less than 0.03 m.

Source: LIBERO@8f1084e envs/predicates, envs/object_states, envs/objects/site_object.py.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ray_eval.types import Array, FloatArray

PURE: Final = frozenset({"in", "on", "open", "close"})
"""Predicates that leave everything as it is; the others light the stove when they are asked."""
ROUNDING_M: Final = 1e-3
"""Far more than what rounding makes of a distance."""
KNOWN_SOURCES: Final = frozenset(
    {
        "c850d0f32833923ac0164ffd31fe979a46f63ded62ae6ed2cfbacf81a80de491",
        "1042c84c3a9aa090fe3260e4d6261058e91c2015d7607a3cd22c58152c48976d",  # with a comment, at a study's table
    }
)
"""SHA-256 of what judges, as LIBERO's problem classes have it: its conclusions hold for no other text."""


def places(env: Any) -> tuple[Array, FloatArray]:
    """What has to be near to what for an environment's goal.

    Returns:
        (n, 3) int64: an object's body, and the body or else the site where it has to be, -1 for the other; and
        (n,) m: beyond which horizontal distance the goal is not reached.
    """
    problem: Any = type(env)
    found = list(_places(env)) if _source(problem) in KNOWN_SOURCES else []
    return (
        np.array([place for place, _ in found], dtype=np.int64).reshape(-1, 3),
        np.array([reach + ROUNDING_M for _, reach in found], dtype=np.float64),
    )


def _places(env: Any) -> Iterator[tuple[tuple[int, int, int], float]]:
    from libero.libero.envs.object_states import ObjectState, SiteObjectState
    from libero.libero.envs.objects.site_object import SiteObject

    goal = env.parsed_problem["goal_state"]
    if not {predicate for predicate, *_ in goal} <= PURE:
        return
    for predicate, name, place in (conjunct for conjunct in goal if len(conjunct) == 3):
        body, kind = env.obj_body_id.get(name, -1), type(env.object_states_dict[place])
        if type(env.object_states_dict[name]) is not ObjectState or body < 0:
            continue
        region = env.object_sites_dict.get(place)
        if kind is SiteObjectState and type(region) is SiteObject:
            site = env.sim.model.site_name2id(place)
            yield (body, -1, site), float(np.linalg.norm(region.size)) + (0.1 if predicate == "on" else 0.0)
        elif kind is ObjectState and predicate == "on":
            yield (body, env.obj_body_id[place], -1), 0.03


@functools.cache
def _source(problem: Any) -> str:
    """SHA-256 of the text of what judges a problem's goal; empty where it cannot be read."""
    from libero.libero.envs import predicates
    from libero.libero.envs.object_states import ObjectState, SiteObjectState
    from libero.libero.envs.objects.site_object import SiteObject

    judges: list[Any] = [
        problem._check_success,  # noqa: SLF001 -- here and below: LIBERO's own
        problem._eval_predicate,  # noqa: SLF001
        predicates.eval_predicate_fn,
        *(type(predicates.VALIDATE_PREDICATE_FN_DICT[name]).__call__ for name in sorted(PURE)),
        ObjectState,
        SiteObjectState,
        SiteObject,
    ]
    try:
        return hashlib.sha256("".join(map(inspect.getsource, judges)).encode()).hexdigest()
    except (OSError, TypeError):
        return ""
