"""The policy actors of a run, one or several that answer alike; workers are spread over them. Runs in the driver."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.actor import ActorHandle

from ray_eval.awake import AwakeClock
from ray_eval.config import EvalConfig
from ray_eval.driver.cluster import Cluster
from ray_eval.errors import PolicyGone, PolicyUnavailable, RayEvalError, SetupError
from ray_eval.foreign import first_line
from ray_eval.sections import (
    ConnectSection,
    ListenSection,
    LivePolicySection,
    PolicySection,
    RemoteSection,
    ScriptedPolicy,
)
from ray_eval.types import PolicySpec

SOLE_TIMEOUT_S = 10.0
"""How long the only policy actor is given to say where it is."""
COUNT_TIMEOUT_S = 2.0
"""How long the actors are given to say what they counted."""
FAILOVER_TIMEOUT_S = 2.0
"""How long one of several is given before the next is asked."""
METRICS_INTERVAL_S = 0.5
"""Least time between two questions for figures that only the progress view shows."""


def policy_cpus(config: EvalConfig) -> int:
    """CPUs kept free for the policy actors; none for policies that only do arithmetic or ask another server."""
    if isinstance(config.policy, LivePolicySection):
        return config.serving.threads
    is_light = isinstance(config.policy, (ScriptedPolicy, RemoteSection))
    return 0 if is_light else config.serving.replicas * config.serving.threads


def fewer_words(config: EvalConfig, count: int, waiting_count: int, fitting: int) -> str:
    """Why a run starts fewer workers than `ray-eval doctor` says fit; empty where it does not, or was told how many."""
    if count >= fitting or config.workers != "auto" or config.ray.address is not None:
        return ""
    if count == waiting_count:
        return "as no more episodes wait"
    kept = policy_cpus(config)
    return f"as the policy takes {kept} CPU{'s'[: kept > 1]}" if kept else ""


def actor_cpus(config: EvalConfig) -> int:
    """CPUs that Ray must have for the policy actors to be placed; none for a policy of the calling program."""
    if isinstance(config.policy, LivePolicySection):
        return 0
    return config.serving.replicas * config.serving.threads


def gpu_share(section: PolicySection, replicas: int, gpu_count: float) -> float:
    """GPUs of each policy actor: one, a share of one where they are fewer than the actors, none where none is used."""
    wants_gpu = not isinstance(section, RemoteSection) and getattr(section, "device", "cpu") != "cpu"
    # Ray counts in ten-thousandths.
    return min(1.0, int(10_000 * gpu_count / replicas) / 10_000) if wants_gpu else 0.0


class Replicas:
    """Policy actors that load the same policy.

    Args:
        cluster: Where they run.
        config: Says how many there are and how they serve.
        section: The policy, with what it is told of the env.
        names: One name per actor, as the dashboard shows it.
        listen: Where an actor listens, by its name.
    """

    def __init__(
        self,
        cluster: Cluster,
        config: EvalConfig,
        section: PolicySection,
        names: Sequence[str],
        listen: Callable[[str], ListenSection],
    ) -> None:
        self._cluster = cluster
        self._infer_timeout_s = config.serving.infer_timeout_s
        self._load_timeout_s = _load_timeout_s(config)
        self._longest_return_s = self._load_timeout_s or config.ray.placement_timeout_s
        self._remote = config.policy if isinstance(config.policy, RemoteSection) else None
        gpus = gpu_share(config.policy, len(names), ray.cluster_resources().get("GPU", 0.0))
        self._actors: dict[str, ActorHandle[Any]] = {
            name: cluster.start_policy(name, section, listen(name), config.serving.batching(), gpus) for name in names
        }
        self._spec: PolicySpec | None = None
        self._return: _Return | None = None
        self._asked: list[ray.ObjectRef[Any]] = []
        self._asked_at = -math.inf
        self._latest: Mapping[str, Any] = {}

    @property
    def names(self) -> str:
        """The actors' names, for a person."""
        return ", ".join(self._actors)

    @property
    def loading(self) -> str:
        """What is waited for until the spec is known, for a person."""
        text = f"loading {self.names}"
        if self._remote is None:
            return text
        longest_s = self._remote.first_timeout_s
        return f"{text}: a first answer of {', '.join(self._remote.addresses)}, which may take up to {longest_s:g} s"

    def spec(self) -> PolicySpec:
        """What the policy needs and answers, asked once: an actor that is started again is to load the same.

        Raises:
            SetupError: an actor cannot be placed or cannot load the policy, or two have loaded different ones.
        """
        if self._spec is None:
            self._spec = self._asked_spec()
        return self._spec

    def _asked_spec(self) -> PolicySpec:
        questions = {name: actor.spec.remote() for name, actor in self._actors.items()}
        specs = self._cluster.ask_all(questions, self._load_timeout_s)
        first: PolicySpec
        (first_name, first), *others = specs.items()
        for name, spec in others:
            if spec.version != first.version:
                raise SetupError(f"{name}: expected the policy of {first_name}, {first}, got {spec}")
        return first

    def describe(self) -> dict[str, Any]:
        """What the first actor says of where it runs, and of its versions."""
        name, actor = next(iter(self._actors.items()))
        return dict(self._cluster.ask(name, actor.describe.remote()))

    def calibrated_ms(self, rows: int = 1) -> float:
        """How long the policy takes for so many rows, ms, measured by the first actor."""
        name, actor = next(iter(self._actors.items()))
        return float(self._cluster.ask(f"calibration of {name}", actor.calibrate.remote(rows)))

    def totals(self) -> Mapping[str, Any]:
        """The sums of the actors' figures, waited for."""
        return summed(
            list(self._cluster.ask_all({n: each.metrics.remote() for n, each in self._actors.items()}).values())
        )

    def resident_bytes(self) -> int:
        """Resident memory of the largest actor and what it started."""
        asked = {name: actor.resident_bytes.remote() for name, actor in self._actors.items()}
        return int(max(self._cluster.ask_all(asked).values()))

    def address_for(self, worker_index: int) -> PolicyAddress:
        """Where the worker of that index is to ask."""
        return PolicyAddress(list(self._actors.values()), worker_index, self._infer_timeout_s)

    def metrics(self) -> Mapping[str, Any]:
        """The newest sums of the actors' figures that are here; never waits."""
        if time.monotonic() - self._asked_at < METRICS_INTERVAL_S:
            return self._latest
        done, _ = ray.wait(self._asked, num_returns=len(self._asked), timeout=0) if self._asked else ([], [])
        if len(done) == len(self._asked):
            if done:
                with contextlib.suppress(ray.exceptions.RayError):
                    self._latest = summed(ray.get(done))
            self._asked, self._asked_at = [actor.metrics.remote() for actor in self._actors.values()], time.monotonic()
        return self._latest

    def counted(self) -> Mapping[str, Any]:
        """The sums of the actors' figures as they are now; the newest known where one does not answer soon."""
        try:
            return summed(ray.get([actor.metrics.remote() for actor in self._actors.values()], timeout=COUNT_TIMEOUT_S))
        except ray.exceptions.RayError:
            return self._latest

    def look(self) -> None:
        """Has it found out whether the actors still serve, as an attempt was left without an answer."""
        if self._return is None:
            self._return = _Return(list(self._actors.values()), self._longest_return_s)

    def is_away(self) -> bool:
        """Whether that is not known yet, as they are being started again; never waits.

        Raises:
            PolicyGone: they cannot load the policy again, or take too long.
        """
        if self._return is not None and self._return.is_over():
            self._return = None
        return self._return is not None

    def end(self) -> None:
        """Ends the actors at once."""
        for actor in self._actors.values():
            self._cluster.end(actor)


class _Return:
    """The wait for one of several actors to serve again."""

    def __init__(self, actors: Sequence[ActorHandle[Any]], longest_s: float) -> None:
        self._actors = actors
        self._longest_s = longest_s
        self._clock = AwakeClock(time.monotonic)
        self._asked = [actor.connection.remote() for actor in actors]

    def is_over(self) -> bool:
        """Whether one serves.

        Raises:
            PolicyGone: none can, or none did in time.
        """
        waited_s = self._clock()
        done, waiting = ray.wait(self._asked, num_returns=len(self._asked), timeout=0)
        errors = [error for answer in done if (error := _error_of(answer)) is not None]
        if len(errors) < len(done):
            return True
        known = [cause for error in errors if isinstance(cause := getattr(error, "cause", None), RayEvalError)]
        if not waiting and len(known) == len(errors):
            raise PolicyGone(str(known[0])) from known[0]
        if waited_s > self._longest_s:
            last = f"; {first_line(errors[0])}" if errors else ""
            raise PolicyGone(f"policy: expected it to serve again within {self._longest_s:g} s, got silence{last}")
        if not waiting:
            # A call to an actor that is being started again is refused at once.
            self._asked = [actor.connection.remote() for actor in self._actors]
        return False


def _error_of(answer: ray.ObjectRef[Any]) -> ray.exceptions.RayError | None:
    try:
        ray.get(answer)
    except ray.exceptions.RayError as error:
        return error
    return None


def _load_timeout_s(config: EvalConfig) -> float | None:
    """How long a policy may take to be there; None for what is there at once and is only placed."""
    if isinstance(config.policy, RemoteSection):
        firsts_s = config.policy.first_timeout_s * len(config.policy.addresses)
        return max(firsts_s, config.policy.timeout_s) + config.ray.placement_timeout_s
    return config.serving.load_timeout_s if hasattr(config.policy, "path") else None


def summed(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of several policy servers as those of one."""
    total: dict[str, Any] = {}
    for each in metrics:
        for key, value in each.items():
            if isinstance(value, Mapping):
                total[key] = Counter(total.get(key, {})) + Counter(value)
            else:
                total[key] = total.get(key, 0) + value
    return total


def since(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What was counted between two looks; of an actor that was started again in between, what it counted since."""
    return {
        key: dict(Counter(value) - Counter(before.get(key, {})))
        if isinstance(value, Mapping)
        else max(0, value - before.get(key, 0))
        for key, value in now.items()
    }


class PolicyAddress:
    """Resolves, in a worker, where a policy actor serves now; asked again at each reconnect.

    The worker stays with one actor, the one of its index, until that one does not say where it is; then it turns to
    the next. All answer alike, so that it does not matter which.
    """

    def __init__(self, actors: Sequence[ActorHandle[Any]], worker_index: int, infer_timeout_s: float) -> None:
        self._actors = list(actors)
        self._at = worker_index % len(self._actors)
        self._infer_timeout_s = infer_timeout_s

    def __call__(self) -> ConnectSection:
        """The connection.

        Raises:
            PolicyUnavailable: the policy actors are being restarted; to be asked again.
            PolicyGone: they were restarted and could not load their policy again, so that asking again is no use.
        """
        timeout_s = SOLE_TIMEOUT_S if len(self._actors) == 1 else FAILOVER_TIMEOUT_S
        errors = []
        for _ in self._actors:
            try:
                answer: ConnectSection = ray.get(self._actors[self._at].connection.remote(), timeout=timeout_s)
            except ray.exceptions.RayError as error:
                errors.append(error)
                self._at = (self._at + 1) % len(self._actors)
                continue
            return dataclasses.replace(answer, infer_timeout_s=self._infer_timeout_s)
        causes = [error.cause for error in errors if isinstance(error, ray.exceptions.RayTaskError)]
        known = [cause for cause in causes if isinstance(cause, RayEvalError)]
        if len(known) == len(errors):
            raise PolicyGone(str(known[0])) from known[0]
        raise PolicyUnavailable(f"policy actor: expected its address, got {errors[0]}") from errors[0]
