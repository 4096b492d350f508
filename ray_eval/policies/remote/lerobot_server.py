"""LeRobot's `async_inference.policy_server`, unchanged: one policy and one observation at a time per server."""

from __future__ import annotations

import dataclasses
import pickle
import time
from typing import Any

import grpc
import numpy as np

from ray_eval.errors import ConfigError, EpisodeError
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.remote.endpoint import host_and_port
from ray_eval.policies.remote.kserve import told_failure
from ray_eval.policies.remote.lerobot_wire import (
    SERVICE,
    actions_data,
    observation_parts,
    policy_setup,
    read_actions,
)
from ray_eval.policies.remote.policy import RemotePolicy, patience_of, spec_by_asking, unasked_spec, unnoticed
from ray_eval.policies.remote.pool import BadAnswerError, Pool
from ray_eval.policies.remote.served_files import ServedFiles
from ray_eval.sections import ConnectSection, LeRobotServerPolicySection
from ray_eval.types import STATE, Array, Observation, PolicySpec, is_image
from ray_eval.wire.channel import open_channel

ANY_CHUNK_LEN = 1000
"""Actions asked for where the section does not say how many; the server cuts it to what the policy has."""


class LeRobotServerLink:
    """A server that has been told which policy to load."""

    def __init__(self, address: str, timeout_s: float, setup: bytes) -> None:
        """Greets the server, which forgets whatever it did before, and has it load the policy."""
        self.address = address
        self._channel = open_channel(ConnectSection(host_and_port(address)))
        self._timestep = 0
        try:
            self._call("Ready", b"", timeout_s)
            self._call("SendPolicyInstructions", setup, timeout_s)
        except BaseException:
            self.close()
            raise

    def chunk(self, observation: dict[str, Any], timeout_s: float) -> Array:
        """The actions for a raw observation in LeRobot's names.

        Raises:
            LinkBrokenError: the server went away.
            EpisodeError: it had no actions, or something that is none.
        """
        self._timestep += 1
        where = f"policy server at {self.address}"
        values = {
            "timestamp": time.time(),
            "timestep": self._timestep,
            "observation": observation,
            # Without it the server leaves out observations that resemble the last one.
            "must_go": True,
        }
        self._stream("SendObservations", list(observation_parts(values)), timeout_s)
        try:
            data = actions_data(self._call("GetActions", b"", timeout_s))
            if not data:
                raise EpisodeError(f"{where}: expected actions, got none; the server's log says why")
            actions = read_actions(data)
        except (pickle.UnpicklingError, ValueError, IndexError) as error:
            raise BadAnswerError(f"{where}: expected pickled actions, got {error}") from error
        if not actions or actions[0].timestep != self._timestep:
            got = actions[0].timestep if actions else "none"
            raise BadAnswerError(f"{where}: expected actions from step {self._timestep}, got {got}")
        return np.stack([np.asarray(each.action.float().numpy()) for each in actions])

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()

    def _call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        return self._answer(self._channel.unary_unary(f"/{SERVICE}/{method}", None, None), body, timeout_s)

    def _stream(self, method: str, parts: list[bytes], timeout_s: float) -> bytes:
        return self._answer(self._channel.stream_unary(f"/{SERVICE}/{method}", None, None), iter(parts), timeout_s)

    def _answer(self, method: Any, request: Any, timeout_s: float) -> bytes:
        try:
            answer: bytes = method(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise told_failure(error, self.address) from error
        return answer


class LeRobotServerPolicy(RemotePolicy):
    """A checkpoint that LeRobot's own policy server loads and runs."""

    def __init__(self, section: LeRobotServerPolicySection) -> None:
        """Has each server load the policy when it is first asked.

        Raises:
            ConfigError: the section does not say `trust`.
            SetupError: no server answers, or it cannot run the policy.
        """
        if not section.trust:
            raise ConfigError(
                "policy.trust: expected true for LeRobot's policy server, which unpickles whatever reaches it and so "
                "runs the code of whoever can; write policy.trust=true where its network is yours alone"
            )
        if section.connections != 1:
            raise ConfigError("policy.connections: expected 1: LeRobot's server has one observation at a time")
        self._section = section
        self._keys = section.keys
        self._names = {key: str(section.rename.get(key, key)) for key in section.keys}
        remark = "policy lerobot_server: the server keeps the policy's state and draws its own noise: no bytes promised"
        self._files = ServedFiles(section.addresses, section.path)
        remarks = (remark,) if self._files.digest else (remark, unnoticed("lerobot_server"))
        runtime = {"server": "lerobot", "checkpoint": section.path}
        spec = unasked_spec("lerobot_server", section, section.keys, runtime, remarks)
        spec = dataclasses.replace(spec, digest=self._files.digest)
        self._setup = policy_setup(self._instructions(section, spec))
        self._pool = Pool(section.addresses, self._opened, 1, patience_of(section))
        with self._pool.closed_on_failure():
            self._spec = spec_by_asking(self, spec, section)

    def _opened(self, address: str, timeout_s: float) -> LeRobotServerLink:
        link = LeRobotServerLink(address, timeout_s, self._setup)
        try:
            self._files.check(address)
        except BaseException:
            link.close()
            raise
        return link

    def _instructions(self, section: LeRobotServerPolicySection, spec: PolicySpec) -> dict[str, Any]:
        row = trial_observation(spec, 0)
        features = {}
        for key in section.keys:
            shape = tuple(row.arrays[key].shape)
            is_camera = is_image(key)
            names = ["height", "width", "channels"] if is_camera else _component_names(key, shape[-1])
            features[self._names[key]] = {
                "dtype": "image" if is_camera else "float32",
                "shape": shape,
                "names": names,
            }
        return {
            "policy_type": section.policy_type,
            "pretrained_name_or_path": section.path,
            "lerobot_features": features,
            "actions_per_chunk": section.chunk_len or ANY_CHUNK_LEN,
            "device": section.device,
            "rename_map": {},
        }

    def _ask(self, link: LeRobotServerLink, observation: Observation, timeout_s: float) -> Any:
        raw: dict[str, Any] = {"task": observation.task}
        for key in self._keys:
            array = observation.arrays[key]
            if is_image(key):
                raw[self._names[key].removeprefix("observation.images.")] = np.array(array)
            else:
                raw.update(zip(_component_names(key, array.shape[-1]), map(float, array), strict=True))
        return link.chunk(raw, timeout_s)


def _component_names(key: str, count: int) -> list[str]:
    """LeRobot's robots name each number of their state; these are names for LIBERO's."""
    prefix = "state" if key == STATE else key.rsplit(".", 1)[-1]
    return [f"{prefix}.{index}" for index in range(count)]
