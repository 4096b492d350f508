"""The policy of a session: as actors or in the calling program, one at a time, and how late it answers."""

from __future__ import annotations

from collections.abc import Sequence

import ray

from ray_eval.config import AUTO_ADDRESS
from ray_eval.driver.callers_policy import LivePolicy
from ray_eval.driver.context import Context
from ray_eval.driver.latency import ResolvedLatency, resolve_latency
from ray_eval.driver.part import Part
from ray_eval.driver.replicas import Replicas
from ray_eval.driver.resolve import told_section
from ray_eval.errors import ConfigError
from ray_eval.interfaces import Policy
from ray_eval.report.metrics import CALIBRATED_KEY
from ray_eval.sections import BatchingSection, ListenSection, PolicySection, ScriptedPolicy
from ray_eval.serving.actor import NODE_HOST
from ray_eval.serving.credentials import new_token, self_signed_certificate
from ray_eval.serving.listening import is_local


class Served:
    """What serves a session's policy.

    Args:
        context: The session's.
        live: The policy of the calling program, if it is that which is run.
    """

    policies: Replicas | LivePolicy
    """The policy actors, or the calling program's policy, once something was served."""

    def __init__(self, context: Context, live: Policy | None) -> None:
        self.live = live
        self._context = context
        self._served: tuple[PolicySection, BatchingSection] | None = None
        self._calibrated_ms: float | None = None
        self._born = 0

    def let_go(self) -> None:
        """Ends the policy: what it was loaded from may change before the next run; a scripted one may stay."""
        if self._served is not None and not isinstance(self._served[0], ScriptedPolicy):
            self.end()

    def end(self) -> None:
        """Ends the policy, whatever it is."""
        if self._served is not None:
            self.policies.end()
            self._served = None

    def serve(self, part: Part) -> bool:
        """Serves the part's policy in place of the one before; whether it is another one."""
        section, batching = told_section(part.config, part.env), part.config.serving.batching()
        if self._served == (section, batching):
            return False
        self.end()
        self._calibrated_ms = None
        self.policies = self._replicas(part, section) if self.live is None else self._lived(part, self.live)
        self._served = (section, batching)
        return True

    def _lived(self, part: Part, policy: Policy) -> LivePolicy:
        serving = part.config.serving
        if serving.replicas != 1:
            raise ConfigError(f"serving.replicas: expected 1 for a policy of this program, got {serving.replicas}")
        with self._context.progress.phase(LivePolicy.loading):
            listen = self._listen(f"policy-{self._born} live")
            self._born += 1
            return LivePolicy(policy, serving.batching(), listen, part.env, serving.infer_timeout_s)

    def _replicas(self, part: Part, section: PolicySection) -> Replicas:
        config = part.config
        indices = range(self._born, self._born + config.serving.replicas)
        self._born += config.serving.replicas
        names = [f"policy-{index} {config.policy_type}" for index in indices]
        return Replicas(self._context.cluster, config, section, names, self._listen)

    def _listen(self, name: str) -> ListenSection:
        token = new_token()
        address = self._context.config.serving.address
        is_one_host = _is_one_host()
        if address == AUTO_ADDRESS and is_one_host:
            address = f"unix:{self._context.scratch / name.split(maxsplit=1)[0]}.sock"
        if not is_one_host and address != AUTO_ADDRESS and is_local(address):
            raise ConfigError(
                f"serving.address={address}: expected an address that the other hosts of this cluster reach; leave it "
                "out, or write the policy node's own address or 0.0.0.0:PORT"
            )
        if address.startswith("unix:"):
            return ListenSection(address, token)
        certificate, key = self_signed_certificate()
        return ListenSection(f"{NODE_HOST}:0" if address == AUTO_ADDRESS else address, token, certificate, key)

    def latency_of(self, part: Part, parts: Sequence[Part]) -> ResolvedLatency:
        """The part's latency; parts of one session share one calibration, a resumed one's if there is any."""
        headers = [other.folder.recorded_header for other in (part, *parts)]
        identities = [header["identity"] for header in headers if header is not None]
        known = [identity for identity in identities if f"environment.{CALIBRATED_KEY}" in identity]
        known_identity = known[0] if known else None
        return resolve_latency(part.config.execution.latency, known_identity, self._calibrate, part.env.control_hz)

    def _calibrate(self) -> float:
        if self._calibrated_ms is None:
            with self._context.progress.phase("timing the policy"):
                self._calibrated_ms = self.policies.calibrated_ms()
            self._context.note(f"calibrated: inference takes {self._calibrated_ms:.1f} ms at batch 1")
        return self._calibrated_ms


def _is_one_host() -> bool:
    return len([node for node in ray.nodes() if node["Alive"]]) == 1
