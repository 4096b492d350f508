"""LIBERO's exact scene after a control step, read from MuJoCo's state as `mj_step` left it; changes nothing.

The goal's conditions are asked of LIBERO itself. Asking twice is as asking once: what they change, the visibility of a
burner, they set to what it is already. Contacts and forces are those of the step's last substep.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ray_eval.envs.libero.settling import FreeBodies
from ray_eval.scene import Conjunct, ItemReading, SceneReading
from ray_eval.types import Array, FloatArray

LIMIT_MARGIN_RAD: Final = 0.05
"""Distance from the end of a joint's range within which the joint is at its limit."""
_FINGERS: Final = (("left_finger", "left_fingerpad"), ("right_finger", "right_fingerpad"))
"""robosuite's names of the geom groups of each finger."""
_LEFT, _RIGHT, _PALM, _NO_HAND = 0, 1, 2, -1


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """Where an object, or a part of the goal, is in MuJoCo's arrays."""

    name: str
    body: int
    joint: int | None
    """Index into qpos of a part's joint; None for an object."""


class SceneReader:
    """Reads the scenes of one LIBERO environment; made anew after every reset."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._model, self._data = env.sim.model._model, env.sim.data._data  # noqa: SLF001 -- robosuite has no public way
        self._goal = [tuple(condition) for condition in env.parsed_problem["goal_state"]]
        self._conjuncts = tuple(
            Conjunct(" ".join(words), words[1], words[2] if len(words) == 3 else None) for words in self._goal
        )
        self._items = tuple(self._found_items())
        below = [_below(self._model, item.body) for item in self._items]
        # A part's geoms belong to its fixture's bodies as well; the part, being later, wins.
        self._geoms = [_collision_geoms(self._model, bodies) for bodies in below]
        self._owner = np.full(self._model.ngeom, -1)
        for index, geoms in enumerate(self._geoms):
            self._owner[geoms] = index
        self._hand = self._hand_of_geoms()
        robot = env.robots[0]
        self._site = robot.eef_site_id
        self._angles = np.array(robot._ref_joint_pos_indexes)  # noqa: SLF001 -- robosuite's own sensors read these
        self._ranges = self._model.jnt_range[np.array(robot._ref_joint_indexes)]  # noqa: SLF001

    def read(self) -> SceneReading:
        """The present step's scene."""
        data, hand = self._data, np.array(self._data.site_xpos[self._site])
        touched, grip_n = self._touches()
        return SceneReading(
            hand=hand,
            holds=tuple(bool(self._env._eval_predicate(condition)) for condition in self._goal),  # noqa: SLF001
            gaps_m=tuple(self._gap(conjunct) for conjunct in self._conjuncts),
            items={
                item.name: ItemReading(
                    position=np.array(data.xpos[item.body]),
                    quaternion=np.array(data.xquat[item.body]),
                    distance_m=self._distance(hand, self._geoms[index]),
                    is_touched=bool(touched[index].any()),
                    is_held=bool(touched[index, _LEFT] and touched[index, _RIGHT]),
                    joint=None if item.joint is None else float(data.qpos[item.joint]),
                )
                for index, item in enumerate(self._items)
            },
            grip_n=grip_n,
            is_at_limit=self._is_at_limit(),
            conjuncts=self._conjuncts,
        )

    def _found_items(self) -> Iterator[_Item]:
        """Every free object, then the parts that the goal is about."""
        bodies = self._env.obj_body_id
        for name in FreeBodies.of(self._env).names:
            yield _Item(name, bodies[name], None)
        for name in dict.fromkeys(conjunct.item for conjunct in self._conjuncts if conjunct.place is None):
            owner = self._env.object_sites_dict.get(name) or self._env.get_object(name)
            joint = self._env.sim.model.joint_name2id(owner.joints[0])
            yield _Item(name, int(self._model.jnt_bodyid[joint]), int(self._model.jnt_qposadr[joint]))

    def _hand_of_geoms(self) -> Array:
        """(ngeom,) which finger a geom is of, or the palm; -1 for all others."""
        gripper, model = self._env.robots[0].gripper, self._env.sim.model
        found = np.full(self._model.ngeom, _NO_HAND)
        for name in gripper.contact_geoms:
            found[model.geom_name2id(name)] = _PALM
        for finger, groups in enumerate(_FINGERS):
            for name in (name for group in groups for name in gripper.important_geoms[group]):
                found[model.geom_name2id(name)] = finger
        return found

    def _touches(self) -> tuple[Array, float]:
        """(items, 3) whether the left finger, the right one and the palm touch it, and the hand's normal forces, N."""
        import mujoco

        touched, total, force = np.zeros((len(self._items), 3), bool), 0.0, np.zeros(6)
        pairs = np.array(self._data.contact.geom).reshape(-1, 2)
        for index, (one, other) in enumerate(pairs):
            if (self._hand[one] == _NO_HAND) == (self._hand[other] == _NO_HAND):
                continue
            mine, its = (one, other) if self._hand[one] != _NO_HAND else (other, one)
            mujoco.mj_contactForce(self._model, self._data, index, force)
            total += abs(float(force[0]))
            if self._owner[its] >= 0:
                touched[self._owner[its], self._hand[mine]] = True
        return touched, total

    def _distance(self, point: FloatArray, geoms: Array) -> float:
        """From a point to the nearest of some geoms' bounding spheres, m; 0 within one."""
        if not len(geoms):
            return float("inf")
        away = np.linalg.norm(self._data.geom_xpos[geoms] - point, axis=1) - self._model.geom_rbound[geoms]
        return max(0.0, float(away.min()))

    def _gap(self, conjunct: Conjunct) -> float:
        if conjunct.place is None:
            return 0.0
        here, there = (self._place(name)[:2] for name in (conjunct.item, conjunct.place))
        return float(np.linalg.norm(here - there))

    def _place(self, name: str) -> FloatArray:
        """(3,) where an object, a fixture or a region is, m."""
        bodies = self._env.obj_body_id
        if name in bodies:
            place: FloatArray = self._data.xpos[bodies[name]]
            return place
        site: FloatArray = self._data.site_xpos[self._env.sim.model.site_name2id(name)]
        return site

    def _is_at_limit(self) -> bool:
        angles = self._data.qpos[self._angles]
        margin = np.minimum(angles - self._ranges[:, 0], self._ranges[:, 1] - angles)
        return bool((margin < LIMIT_MARGIN_RAD).any())


def _below(model: Any, root: int) -> Array:
    """Indices of a body and of all that it carries."""
    found = {root}
    for body in range(root + 1, model.nbody):  # MuJoCo numbers parents before their children
        if int(model.body_parentid[body]) in found:
            found.add(body)
    return np.array(sorted(found))


def _collision_geoms(model: Any, bodies: Array) -> Array:
    """Indices of the geoms of some bodies that something can touch."""
    is_solid = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    return np.flatnonzero(is_solid & np.isin(model.geom_bodyid, bodies))
