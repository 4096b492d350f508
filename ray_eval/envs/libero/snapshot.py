"""What one observation is made of, copied from MuJoCo at the instant at which plain LIBERO samples it.

robosuite does not sample at the end of a control step but when its observables' timers say so: after substep 24
of 25 once an init state has been set, with every pose still as of the beginning of that substep. An observable
of our own has the same history as LIBERO's camera observables and so fires at the same instant; it copies what
images and states are made of and leaves the rendering to whoever asks for it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from ray_eval.types import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class SceneSnapshot:
    """Copies of the mjData and mjModel fields, under MuJoCo's names, that a camera and a state vector read."""

    qpos: FloatArray
    """(nq,) joint positions, already integrated by the sampled substep."""
    xpos: FloatArray
    """(nbody, 3) body positions, m, as of the beginning of the sampled substep, like every pose here."""
    xquat: FloatArray
    """(nbody, 4) body orientations, w x y z."""
    geom_xpos: FloatArray
    """(ngeom, 3)"""
    geom_xmat: FloatArray
    """(ngeom, 9)"""
    site_xpos: FloatArray
    """(nsite, 3)"""
    site_xmat: FloatArray
    """(nsite, 9)"""
    cam_xpos: FloatArray
    """(ncam, 3)"""
    cam_xmat: FloatArray
    """(ncam, 9)"""
    light_xpos: FloatArray
    """(nlight, 3)"""
    light_xdir: FloatArray
    """(nlight, 3)"""
    site_rgba: FloatArray
    """(nsite, 4) float32 of mjModel: LIBERO shows a burning stove by a site's alpha."""


MODEL_FIELDS = ("site_rgba",)
"""Fields of mjModel that LIBERO changes while an episode runs and that a camera sees."""
DATA_FIELDS = tuple(field.name for field in dataclasses.fields(SceneSnapshot) if field.name not in MODEL_FIELDS)
"""Fields of mjData in a snapshot."""
POSE_FIELDS = tuple(name for name in DATA_FIELDS if name != "qpos")
"""Fields of mjData that a camera reads."""


def take_snapshot(model: Any, data: Any) -> SceneSnapshot:
    """The present of an mjModel and its mjData, copied."""
    return _Sources(model, data).copied()


class _Sources:
    """Views of what a snapshot copies; looking them up takes longer than copying."""

    def __init__(self, model: Any, data: Any) -> None:
        self.data = data
        """The mjData that they are of."""
        views = {name: getattr(data, name) for name in DATA_FIELDS}
        views |= {name: getattr(model, name) for name in MODEL_FIELDS}
        self._views = [views[field.name] for field in dataclasses.fields(SceneSnapshot)]

    def copied(self) -> SceneSnapshot:
        return SceneSnapshot(*[view.copy() for view in self._views])


class SnapshotRecorder:
    """Keeps the latest snapshot of a robosuite env, taken by an observable of that env or when it is told to."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._latest: SceneSnapshot
        self._sources: _Sources | None = None
        self._observable = self._make_observable(env.control_freq)
        env.add_observable(self._observable)

    @property
    def latest(self) -> SceneSnapshot:
        """The snapshot behind what plain LIBERO returned last."""
        return self._latest

    def take(self) -> None:
        """Takes a snapshot of the present."""
        sim = self._env.sim
        data = sim.data._data  # noqa: SLF001 -- there is no public way
        if self._sources is None or self._sources.data is not data:
            self._sources = _Sources(sim.model._model, data)  # noqa: SLF001
        self._latest = self._sources.copied()

    def release(self) -> None:
        """Lets go of the simulation, whose memory views of it would keep."""
        self._sources = None

    def instants(self, timestep: float, substep_count: int) -> list[int]:
        """Substeps of the next control step, counted from 1, after which robosuite would take a snapshot.

        The observable's timer runs on as `Observable.update` would let it in that step, so that control steps with
        and without updates of observables may alternate. It samples at its first update after the period's end.
        """
        observable, instants = self._observable, []
        elapsed, is_sampled = observable._time_since_last_sample, observable._sampled  # noqa: SLF001 -- kept privately
        for substep in range(1, substep_count + 1):
            elapsed += timestep
            if not is_sampled:
                instants.append(substep)
            is_sampled = elapsed < observable._sampling_timestep  # noqa: SLF001
            if not is_sampled:
                elapsed %= observable._sampling_timestep  # noqa: SLF001
        observable._time_since_last_sample, observable._sampled = elapsed, is_sampled  # noqa: SLF001
        return instants

    def _make_observable(self, control_freq: float) -> Any:
        """An observable whose timer runs like a camera's and whose value nobody collects."""
        from robosuite.utils.observables import Observable, sensor

        def record(_obs_cache: dict[str, Any]) -> float:
            self.take()
            return 0.0

        return Observable(
            "ray_eval_snapshot", sensor(modality="ray_eval")(record), sampling_rate=control_freq, active=False
        )
