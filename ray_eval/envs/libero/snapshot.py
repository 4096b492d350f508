"""What one observation is made of, copied from MuJoCo at the instant at which plain LIBERO samples it.

robosuite does not sample at the end of a control step but when its observables' timers say so: after substep 24
of 25 once an init state has been set, with every pose still as of the beginning of that substep. An observable
of our own has the same history as LIBERO's camera observables and so fires at the same instant; it copies what
images and states are made of and leaves the rendering to whoever asks for it.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from ray_eval.types import Array, FloatArray


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
    return _Layout(model, data).copied().snapshot


class PackedSnapshot:
    """A snapshot as one piece of memory: one is taken in every control step, and few are looked at."""

    def __init__(self, layout: _Layout, memory: Array) -> None:
        self._layout = layout
        self._memory = memory

    @functools.cached_property
    def snapshot(self) -> SceneSnapshot:
        """The fields, as views of the memory."""
        return self._layout.unpacked(self._memory)


class _Layout:
    """Where the fields of a snapshot are in one piece of memory, and where an mjModel and its mjData have them."""

    def __init__(self, model: Any, data: Any) -> None:
        views = {name: getattr(data, name) for name in DATA_FIELDS}
        views |= {name: getattr(model, name) for name in MODEL_FIELDS}
        self.data = data
        """The mjData."""
        self._views = [views[field.name] for field in dataclasses.fields(SceneSnapshot)]
        self.sources: Array = np.array([(view.ctypes.data, view.nbytes) for view in self._views], dtype=np.int64)
        """(fields, 2) address and bytes of each."""
        ends = np.cumsum(self.sources[:, 1]).tolist()
        self._forms = [
            (slice(end - view.nbytes, end), view.dtype, view.shape) for view, end in zip(self._views, ends, strict=True)
        ]
        self.size: int = ends[-1]
        """Bytes of all."""

    def unpacked(self, memory: Array) -> SceneSnapshot:
        return SceneSnapshot(*[memory[part].view(dtype).reshape(shape) for part, dtype, shape in self._forms])

    def copied(self) -> PackedSnapshot:
        memory = np.concatenate([view.ravel().view(np.uint8) for view in self._views])
        return PackedSnapshot(self, memory)


class SnapshotRecorder:
    """Keeps the latest snapshot of a robosuite env, taken by an observable of that env or by the compiled step."""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._latest: PackedSnapshot
        self._found: _Layout | None = None
        self._observable = self._make_observable(env.control_freq)
        env.add_observable(self._observable)

    @property
    def latest(self) -> PackedSnapshot:
        """The snapshot behind what plain LIBERO returned last."""
        return self._latest

    @property
    def sources(self) -> Array:
        """(fields, 2) int64: address and bytes of each field in the present simulation, one after the other."""
        return self._layout().sources

    def memory(self) -> Array:
        """Uninitialised memory for one copy of `sources`."""
        return np.empty(self._layout().size, np.uint8)

    def keep(self, memory: Array) -> None:
        """Takes over a copy of `sources` as the latest snapshot; nobody may write to it afterwards."""
        self._latest = PackedSnapshot(self._layout(), memory)

    def release(self) -> None:
        """Lets go of the simulation, whose memory views of it would keep."""
        self._found = None

    def instant(self, timestep: float, substep_count: int) -> int:
        """The substep of the next control step, counted from 1, after which robosuite would last take a snapshot.

        0 for none. The observable's timer runs on as `Observable.update` would let it in that step, so that control
        steps with and without updates of observables may alternate. It samples at its first update after the
        period's end.
        """
        observable, last = self._observable, 0
        elapsed, is_sampled = observable._time_since_last_sample, observable._sampled  # noqa: SLF001 -- kept privately
        for substep in range(1, substep_count + 1):
            elapsed += timestep
            if not is_sampled:
                last = substep
            is_sampled = elapsed < observable._sampling_timestep  # noqa: SLF001
            if not is_sampled:
                elapsed %= observable._sampling_timestep  # noqa: SLF001
        observable._time_since_last_sample, observable._sampled = elapsed, is_sampled  # noqa: SLF001
        return last

    def _layout(self) -> _Layout:
        sim = self._env.sim
        if self._found is None or self._found.data is not sim.data._data:  # noqa: SLF001 -- there is no public way
            self._found = _Layout(sim.model._model, sim.data._data)  # noqa: SLF001
        return self._found

    def _make_observable(self, control_freq: float) -> Any:
        """An observable whose timer runs like a camera's and whose value nobody collects."""
        from robosuite.utils.observables import Observable, sensor

        def record(_obs_cache: dict[str, Any]) -> float:
            self._latest = self._layout().copied()
            return 0.0

        return Observable(
            "ray_eval_snapshot", sensor(modality="ray_eval")(record), sampling_rate=control_freq, active=False
        )
