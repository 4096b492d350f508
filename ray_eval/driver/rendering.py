"""How the workers of a session render; settled once, in the driver."""

from __future__ import annotations

from collections.abc import Mapping

import ray

from ray_eval.driver.cluster import worker_count
from ray_eval.driver.context import Context
from ray_eval.driver.simulators import simulator_of
from ray_eval.envs.gl import GlProbe, choose_backend, gl_environment
from ray_eval.envs.known_gl import known_backend, remember_backend
from ray_eval.sections import GlBackend


class Rendering:
    """The backend of GL that a session's workers take, and what proves it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.backend: GlProbe | None = None
        """What was found; None where the simulator draws without GL, and before it is settled."""

    def environment(self) -> Mapping[str, str]:
        """The workers' environment variables; none of them needs GL where the simulator draws without."""
        context = self._context
        if simulator_of(context.config).gl is None:
            return gl_environment("osmesa")
        if self.backend is None:
            count = worker_count(context.config, context.waiting_count, context.cluster.worker_cpus)
            asked = context.config.render.gl, count, context.config.simulator.python
            # Of other machines nothing is known here.
            is_here = context.config.ray.address is None
            self.backend = (known_backend(*asked) if is_here else None) or self._probed(*asked, is_kept=is_here)
            for reason in self.backend.passed_over:
                context.note(f"warning: {reason}; rendering by {self.backend.backend}")
        return gl_environment(self.backend.backend)

    def _probed(self, wanted: GlBackend, count: int, python: str | None, *, is_kept: bool) -> GlProbe:
        choose = ray.remote(num_cpus=0)(choose_backend)
        with self._context.progress.phase("probing the renderer"):
            found: GlProbe = self._context.cluster.ask("the GL probe", choose.remote(wanted, count, python=python))
        if is_kept:
            remember_backend(found, wanted, count, python)
        return found
