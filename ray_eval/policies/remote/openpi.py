"""openpi's `serve_policy.py` as it stands, and servers like it: msgpack over a websocket.

Source: openpi@15a9616 src/openpi/serving/websocket_policy_server.py, openpi-client 0.1.2. Its pin on numpy (< 2) keeps
openpi-client out of the evaluator's environment, so the protocol is spoken here; a test holds it against that package.
"""

from __future__ import annotations

from typing import Any

from ray_eval.errors import EpisodeError
from ray_eval.policies.remote.answers import actions_in, last_line
from ray_eval.policies.remote.packing import pack, unpack
from ray_eval.policies.remote.policy import (
    Greeting,
    RemotePolicy,
    patience_of,
    spec_by_asking,
    token_of,
    unasked_spec,
    unnoticed,
)
from ray_eval.policies.remote.pool import Pool, WrongServerError
from ray_eval.policies.remote.websocket import WebSocketLink
from ray_eval.sections import OpenpiPolicySection
from ray_eval.types import ACTION, IMAGE, STATE, WRIST_IMAGE, Observation

NAMES = {
    IMAGE: "observation/image",
    WRIST_IMAGE: "observation/wrist_image",
    STATE: "observation/state",
    "task": "prompt",
}
"""openpi's names for LIBERO, by ours. Source: openpi@15a9616 examples/libero/main.py."""


class OpenpiLink(WebSocketLink):
    """A connection past its handshake: the server's first message is its metadata."""

    def __init__(self, address: str, timeout_s: float, token: str | None) -> None:
        """Connects and takes the metadata."""
        super().__init__(address, timeout_s, {"Authorization": f"Api-Key {token}"} if token else None)
        try:
            self.metadata = _mapping(unpack(self.receive(timeout_s), address), address)
        except BaseException:
            self.close()
            raise

    def answer(self, request: dict[str, Any], timeout_s: float) -> Any:
        """The server's answer to a request.

        Raises:
            EpisodeError: the server sent a traceback, after which it hangs up, or something that is no answer.
        """
        message = self.exchange(pack(request, "bytes_keys"), timeout_s)
        if isinstance(message, str):
            raise EpisodeError(f"policy server at {self.address}: expected actions, got {last_line(message)}")
        return unpack(message, self.address)


class OpenpiPolicy(RemotePolicy):
    """A policy behind openpi's websocket server."""

    def __init__(self, section: OpenpiPolicySection) -> None:
        """Connects, and learns the chunk's length.

        Raises:
            SetupError: no server answers, or not as openpi's does.
        """
        self._section = section
        token = token_of(section)
        self._names = {**NAMES, **section.rename}
        self._action = section.rename.get(ACTION)
        self._keys = section.keys
        greeting = Greeting(section, lambda address, timeout_s: OpenpiLink(address, timeout_s, token))
        self._pool = Pool(section.addresses, greeting.opened, section.connections, patience_of(section))
        with self._pool.closed_on_failure():
            greeting.ask(self._pool)
            remark = "policy openpi: the server draws its own noise: the same run again may give other episodes"
            spec = unasked_spec(
                "openpi",
                section,
                section.keys,
                {"server": "openpi", "server_metadata": greeting.known},
                (remark, unnoticed("openpi")) if greeting.says_nothing else (remark,),
            )
            self._spec = spec_by_asking(self, spec, section)

    def _ask(self, link: OpenpiLink, observation: Observation, timeout_s: float) -> Any:
        request: dict[str, Any] = {self._names[key]: observation.arrays[key] for key in self._keys}
        request[self._names["task"]] = observation.task
        return actions_in(link.answer(request, timeout_s), self._action, link.address)


def _mapping(metadata: Any, address: str) -> dict[Any, Any]:
    if not isinstance(metadata, dict):
        raise WrongServerError(
            f"policy server at {address}: expected openpi's metadata first, got {type(metadata).__name__}"
        )
    return metadata
