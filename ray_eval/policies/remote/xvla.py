"""X-VLA's HTTP server as it stands: JSON by POST to /act, arrays as texts of json-numpy, the answer as plain lists.

Source: X-VLA's models/modeling_xvla.py (`_build_app`), deploy.py and evaluation/libero/libero_client.py.

| what | in a request |
|---|---|
| the agentview, the wrist camera | `image0`, `image1`: (H, W, 3) uint8 |
| the instruction | `language_instruction` |
| the pose | `proprio`, (20,) float64: position (m), two columns of the rotation, zeros |
| `policy.domain_id`, `policy.denoising_steps` | `domain_id`, `steps` |

The answer's `action` is (H, 20): positions, two columns of each rotation, the gripper in [0, 1] with above 0.5 for
closed, the rest unused. It is made absolute poses of LIBERO's here: (H, 7) with rotation vectors. X-VLA's own client
sends, after the first request of an episode, not the pose that is seen but the one last commanded; so the last chunk
travels as the chunk's `policy_state`. Commands and pose fit the protocol `xvla`.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ray_eval.errors import EpisodeError
from ray_eval.messages import parsed_json
from ray_eval.policies.remote.answers import actions_in, actions_of, failure_in
from ray_eval.policies.remote.endpoint import KEEP_ALIVE_OPTIONS, connect_tcp, import_from_extra, speaks_first
from ray_eval.policies.remote.packing import MESSAGE_LIMIT_BYTES, json_text
from ray_eval.policies.remote.policy import RemotePolicy, patience_of, spec_by_asking, token_of, unasked_spec, unnoticed
from ray_eval.policies.remote.pool import DEAD_S, BadAnswerError, LinkBrokenError, NoAnswerError, Pool, WrongServerError
from ray_eval.policies.remote.rotations import columns_of, rotation_vectors_of
from ray_eval.sections import XvlaServerSection
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, ActionChunk, Array, FloatArray, Observation

PATH = "/act"
"""Where the server answers, if the address has no path of its own."""
POSE_SIZE = 9
"""Numbers of a pose: position and two columns of the rotation."""
GREETING_S = 0.2
"""How long somebody is listened to who may be no HTTP server."""
PROPRIO_SIZE = 20
"""Numbers of `proprio`: two arms with a pose and a gripper each, of which LIBERO has one arm."""
_NOT_FOUND = (404, 405, 426, 501)
_NOT_UP_YET = (502, 503, 504)
"""Statuses of a proxy whose server is not up yet."""


class XvlaLink:
    """One HTTP connection that is kept open."""

    def __init__(self, address: str, timeout_s: float, token: str | None) -> None:
        """Sees whether anybody listens there.

        Raises:
            LinkBrokenError: nobody does.
        """
        self.address = address
        self._httpx = import_from_extra("httpx", "httpx", "xvla")
        url = address if address.startswith(("http://", "https://")) else f"http://{address}"
        if speaks_first(connect_tcp(url, 443 if url.startswith("https:") else 80, timeout_s), GREETING_S):
            raise self._wrong("it speaks first")
        bare = url.rstrip("/")
        self._url = f"{bare}{PATH}" if bare.count("/") == len("//") else bare
        self._client = self._httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            # No proxy of the environment stands between an evaluation and its server.
            transport=self._httpx.HTTPTransport(socket_options=KEEP_ALIVE_OPTIONS, trust_env=False),
            trust_env=False,
        )

    def act(self, payload: dict[str, Any], timeout_s: float) -> Any:
        """The server's answer to a request, as JSON.

        Raises:
            LinkBrokenError: the connection broke, or nothing came in time.
            EpisodeError: the server says that it failed, or is another.
        """
        deadline = time.monotonic() + timeout_s
        limits = self._httpx.Timeout(timeout_s, connect=min(timeout_s, DEAD_S))
        try:
            with self._client.stream("POST", self._url, json=payload, timeout=limits) as response:
                return self._read(response.status_code, self._body(response, deadline))
        except (self._httpx.ReadTimeout, self._httpx.WriteTimeout) as error:
            raise NoAnswerError(f"no answer within {timeout_s:.1f} s") from error
        except self._httpx.RemoteProtocolError as error:
            if "disconnected" in str(error):
                raise LinkBrokenError(f"the connection broke: {error.args[0]} Is it an HTTP server?") from error
            raise self._wrong(str(error)) from error
        except self._httpx.TransportError as error:
            raise LinkBrokenError(f"the connection broke: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Hangs up."""
        self._client.close()

    def _body(self, response: Any, deadline: float) -> bytes:
        body = bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > MESSAGE_LIMIT_BYTES:
                raise BadAnswerError(
                    f"policy server at {self.address}: expected at most {MESSAGE_LIMIT_BYTES} bytes, got more"
                )
            if time.monotonic() > deadline:
                raise NoAnswerError("an answer that does not end")
        return bytes(body)

    def _read(self, status: int, body: bytes) -> Any:
        where = f"policy server at {self.address}"
        if status in _NOT_FOUND:
            raise self._wrong(f"HTTP status {status}")
        try:
            answer = parsed_json(body)
        except ValueError as error:
            if status in _NOT_UP_YET:
                raise LinkBrokenError(f"HTTP status {status}") from error
            raise BadAnswerError(f"{where}: expected JSON, got HTTP status {status} and {body[:100]!r}") from error
        failure = failure_in(answer) if isinstance(answer, dict) else None
        if failure is not None or status != 200:
            said = failure or f"{answer!r}"[:200]
            raise EpisodeError(
                f"{where}: expected actions, got HTTP status {status}: {said}; the server's log says why"
            )
        return answer

    def _wrong(self, got: str) -> WrongServerError:
        return WrongServerError(
            f"policy server at {self.address}: expected X-VLA's HTTP server, got another one ({got[:100]}); mend "
            "policy.addresses, or name the policy type that it speaks"
        )


class XvlaPolicy(RemotePolicy):
    """A policy behind X-VLA's server."""

    def __init__(self, section: XvlaServerSection) -> None:
        """Connects, and learns the chunk's length.

        Raises:
            SetupError: no server answers, or not as X-VLA's does.
        """
        self._section: XvlaServerSection = section
        token = token_of(section)
        self._pool = Pool(
            section.addresses,
            lambda address, timeout_s: XvlaLink(address, timeout_s, token),
            section.connections,
            patience_of(section),
        )
        spec = unasked_spec(
            "xvla_server",
            section,
            (IMAGE, WRIST_IMAGE, STATE),
            {"server": "xvla"},
            ("policy xvla_server: the server draws its own noise", unnoticed("xvla_server")),
        )
        with self._pool.closed_on_failure():
            self._spec = spec_by_asking(self, spec, section)

    def _ask(self, link: XvlaLink, observation: Observation, timeout_s: float) -> Any:
        payload = {
            "proprio": json_text(proprio_of(observation)),
            "language_instruction": observation.task,
            "image0": json_text(observation.arrays[IMAGE]),
            "image1": json_text(observation.arrays[WRIST_IMAGE]),
            "domain_id": self._section.domain_id,
            "steps": self._section.denoising_steps,
        }
        raw = actions_of(actions_in(link.act(payload, timeout_s), None, link.address), None, link.address)
        if raw.shape[1] <= POSE_SIZE:
            raise BadAnswerError(
                f"policy server at {link.address}: expected poses of {POSE_SIZE} numbers and a gripper, got {raw.shape}"
            )
        return _Poses(raw)

    def _chunk(self, actions: Any, observation: Observation, address: str) -> ActionChunk:
        poses: _Poses = actions
        chunk = super()._chunk(poses, observation, address)
        return ActionChunk(chunk.actions, policy_state=remembered(observation.step, poses.raw[:, :POSE_SIZE]))


class _Poses:
    """A chunk as the server sent it, and as LIBERO's absolute poses where an array of actions is asked for."""

    def __init__(self, raw: Array) -> None:
        self.raw = raw

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        del copy
        return libero_actions(self.raw.astype(np.float64)).astype(dtype or np.float32)


def libero_actions(raw: FloatArray) -> FloatArray:
    """(H, 7) absolute poses with rotation vectors, and the gripper as it came, of (H, 10) or more."""
    return np.concatenate([raw[:, :3], rotation_vectors_of(raw[:, 3:POSE_SIZE]), raw[:, POSE_SIZE : POSE_SIZE + 1]], 1)


def proprio_of(observation: Observation) -> FloatArray:
    """The pose that a request carries: the one last commanded, at an episode's first request the one that is seen."""
    proprio = np.zeros(PROPRIO_SIZE)
    if observation.policy_state:
        proprio[:POSE_SIZE] = commanded(observation.policy_state, observation.step)
    else:
        state = observation.arrays[STATE].astype(np.float64)
        proprio[:POSE_SIZE] = np.concatenate([state[:3], columns_of(state[3:6])])
    return proprio


def remembered(step: int, poses: Array) -> bytes:
    """A chunk's poses and the step that they begin at, as a `policy_state`."""
    return step.to_bytes(8, "little") + np.ascontiguousarray(poses, "<f4").tobytes()


def commanded(memory: bytes, step: int) -> Array:
    """The pose that was commanded for the control step before `step`, of such a memory."""
    poses = np.frombuffer(memory[8:], "<f4").reshape(-1, POSE_SIZE)
    executed = step - int.from_bytes(memory[:8], "little")
    row: Array = poses[min(max(executed, 1), len(poses)) - 1]
    return row
