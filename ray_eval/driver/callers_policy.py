"""A policy object of the calling program, served from this process; the driver asks it what it asks policy actors."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from ray_eval.errors import ConfigError
from ray_eval.interfaces import Policy
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection
from ray_eval.serving.actor import as_called, gpus, on_this_node
from ray_eval.serving.determinism import borrowed_torch, tried
from ray_eval.serving.server import serve_in_thread
from ray_eval.serving.timing import SlowedPolicy, calibrated_ms
from ray_eval.types import STATE, ActionChunk, EnvSpec, Observation, PolicySpec


def checked_policy(policy: object) -> Policy:
    """The object, if it has what a policy has.

    Raises:
        ConfigError: it has not.
    """
    spec = getattr(policy, "spec", None)
    if isinstance(spec, PolicySpec) and callable(getattr(policy, "infer_batch", None)):
        return policy  # type: ignore[return-value]
    raise ConfigError(
        "policy: expected an object with `spec` (a ray_eval.PolicySpec) and `infer_batch(observations)`, got a "
        f"{type(policy).__name__} whose spec is a {type(spec).__name__}; docs/policies.md has one in ten lines"
    )


@dataclass(frozen=True, slots=True)
class FixedAddress:
    """Where a server listens for as long as the run lasts."""

    section: ConnectSection
    """How it is reached."""

    def __call__(self) -> ConnectSection:
        """How it is reached."""
        return self.section


class LivePolicy:
    """One policy object, served from a thread of this process until `end`."""

    names = "the policy of this program"
    loading = "trying the policy of this program"

    def __init__(
        self, policy: Policy, batching: BatchingSection, listen: ListenSection, env: EnvSpec, infer_timeout_s: float
    ) -> None:
        """Tries the policy out, and serves it.

        Raises:
            SetupError: it breaks its contract, or the address cannot be had.
        """
        self._stack = contextlib.ExitStack()
        listen = dataclasses.replace(listen, address=on_this_node(listen.address))
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._stack.close)
            self._stack.enter_context(borrowed_torch(batching))
            self._policy = _told(policy, env)
            sizes = tried(self._policy, batching)
            if batching.slowdown_ms is not None:
                self._policy = SlowedPolicy(self._policy, batching.slowdown_ms)
            self._server = self._stack.enter_context(serve_in_thread(self._policy, listen, sizes))
            on_failure.pop_all()
        self._connect = ConnectSection(
            as_called(self._server.address), listen.token, listen.certificate_pem, infer_timeout_s
        )

    def spec(self) -> PolicySpec:
        """What the policy needs and answers."""
        return self._server.spec

    def describe(self) -> dict[str, Any]:
        """Where it runs, and with which versions."""
        return {"host": platform.node(), "gpus": gpus(), "versions": self._server.versions()}

    def calibrated_ms(self, rows: int = 1) -> float:
        """How long it takes for so many rows, ms."""
        return calibrated_ms(self._policy, rows=rows)

    def resident_bytes(self) -> int:
        """Memory of this process, which has more than the policy in it."""
        return int(psutil.Process().memory_info().rss)

    def address_for(self, _worker_index: int) -> Callable[[], ConnectSection]:
        """Where a worker is to ask."""
        return FixedAddress(self._connect)

    def metrics(self) -> Mapping[str, Any]:
        """The server's totals."""
        return self._server.metrics()

    def totals(self) -> Mapping[str, Any]:
        """The server's totals."""
        return self._server.metrics()

    def counted(self) -> Mapping[str, Any]:
        """The server's totals."""
        return self._server.metrics()

    def look(self) -> None:
        """Nothing: a server of this very process is there as long as the process is."""

    def is_away(self) -> bool:
        """False."""
        return False

    def end(self) -> None:
        """Stops serving; the object is the caller's again, as it was."""
        self._stack.close()


@dataclass(frozen=True, slots=True)
class _Told:
    """A policy that is told how many numbers the simulator's state has."""

    policy: Policy
    spec: PolicySpec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """The policy's own answers."""
        return self.policy.infer_batch(observations)


def _told(policy: Policy, env: EnvSpec) -> Policy:
    """The policy, tried with as many numbers of state as the simulator gives, where it does not say itself."""
    spec = policy.spec
    if STATE not in spec.keys or spec.state_dim is not None or env.state is None:
        return policy
    return _Told(policy, dataclasses.replace(spec, state_dim=len(env.state.names)))
