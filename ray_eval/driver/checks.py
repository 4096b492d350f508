"""What a configuration takes on trust, looked up before anything is started."""

from __future__ import annotations

from ray_eval.config import EvalConfig
from ray_eval.driver.filming import check_can_film
from ray_eval.driver.latency import check_latency
from ray_eval.driver.simulators import simulator_of
from ray_eval.rollout.chunk_queue import load_aggregation
from ray_eval.serving.interpreter import check_interpreter
from ray_eval.track import check_trackers

TRUSTED_KEYS = frozenset({"execution.aggregate", "execution.latency.trace"})
"""The keys that are meant: an import string and a file."""


def check_execution(config: EvalConfig) -> None:
    """Passes when the aggregation and the latency's trace are there, and the simulator's versions can work together.

    Where the policy will run on this machine, its interpreter is asked whether it can, too.

    Raises:
        ConfigError: there is no such aggregation, or the trace cannot be read.
        SetupError: no episode can be simulated with what is installed, or the policy not be loaded.
    """
    if config.ray.address is None:
        check_interpreter(config.policy)
    check_trackers(config.track)
    if config.execution.aggregate is not None:
        load_aggregation(config.execution.aggregate)
    if config.video is not None:
        check_can_film()
    check_latency(config.execution.latency)
    simulator_of(config).check()
