"""openpi's `serve_policy.py` as it stands: msgpack over a websocket. Source: openpi-client 0.1.2, its client and codec.

Its pin on numpy (< 2) keeps openpi-client out of the evaluator's environment, so the protocol is spoken here; a test
holds it against that package.
"""

from __future__ import annotations

import json
from typing import Any

from ray_eval.errors import EpisodeError, SetupError
from ray_eval.policies.remote.policy import RemotePolicy, changed, spec_by_asking, the_same, token_of
from ray_eval.policies.remote.pool import BadAnswerError, Pool
from ray_eval.policies.remote.websocket import WebSocketLink, pack, unpack
from ray_eval.sections import OpenpiPolicySection
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, Observation, PolicySpec

NAMES = {
    IMAGE: "observation/image",
    WRIST_IMAGE: "observation/wrist_image",
    STATE: "observation/state",
    "task": "prompt",
}
"""openpi's names for LIBERO, by ours."""


class OpenpiLink(WebSocketLink):
    """A connection past its handshake: the server's first message is its metadata."""

    def __init__(self, address: str, timeout_s: float, token: str | None) -> None:
        """Connects and takes the metadata."""
        super().__init__(address, timeout_s, {"Authorization": f"Api-Key {token}"} if token else None)
        self.metadata = unpack(self.receive(timeout_s), address)
        if not isinstance(self.metadata, dict):
            raise BadAnswerError(
                f"policy server at {address}: expected openpi's metadata, got {type(self.metadata).__name__}"
            )

    @property
    def told(self) -> str:
        """The metadata as JSON."""
        return json.dumps(self.metadata, sort_keys=True, default=str)


class OpenpiPolicy(RemotePolicy):
    """A policy behind openpi's websocket server."""

    def __init__(self, section: OpenpiPolicySection) -> None:
        """Connects, and learns the chunk's length.

        Raises:
            SetupError: no server answers, or not as openpi's does.
        """
        self._section = section
        self._token = token_of(section)
        self._known: str | None = None
        self._names = {**NAMES, **section.rename}
        self._keys = section.keys
        self._pool = Pool(section.addresses, self._opened, section.connections, section.timeout_s)
        self._known = self._metadata()
        remark = "policy openpi: the server draws its own noise: the same run again may give other episodes"
        spec = PolicySpec(
            "openpi",
            section.keys,
            chunk_len=1,
            image_size_px=section.image_size_px,
            state_dim=section.state_dim,
            batch_invariant=True,
            is_reproducible=False,
            runtime={"server": "openpi", "server_metadata": self._known},
            remarks=(remark,),
        )
        self._spec = spec_by_asking(self, spec, section)

    def _opened(self, address: str, timeout_s: float) -> OpenpiLink:
        """A connection to a server that says of itself what it said at the start.

        Raises:
            PolicyChanged: it says something else.
        """
        link = OpenpiLink(address, timeout_s, self._token)
        if self._known not in (None, link.told):
            link.close()
            raise changed(address, self._known, link.told)
        return link

    def _metadata(self) -> str:
        try:
            told = self._pool.ask_each(lambda link, _: str(link.told))
        except EpisodeError as error:
            raise SetupError(str(error)) from error
        return the_same(told, "the metadata")

    def _ask(self, link: Any, observation: Observation, timeout_s: float) -> Any:
        request: dict[str, Any] = {self._names[key]: observation.arrays[key] for key in self._keys}
        request[self._names["task"]] = observation.task
        answer = link.exchange(pack(request, is_key_bytes=True), timeout_s)
        if isinstance(answer, str):  # a traceback, after which openpi's server hangs up
            raise EpisodeError(f"policy server at {link.address}: expected actions, got {_last_line(answer)}")
        unpacked = unpack(answer, link.address)
        if not isinstance(unpacked, dict) or "actions" not in unpacked:
            got = sorted(map(str, unpacked)) if isinstance(unpacked, dict) else type(unpacked).__name__
            raise BadAnswerError(f"policy server at {link.address}: expected a mapping with `actions`, got {got}")
        return unpacked["actions"]


def _last_line(traceback: str) -> str:
    return next((line for line in reversed(traceback.splitlines()) if line.strip()), "an empty text")
