"""vla-eval's model servers as they stand: msgpack over a websocket, a session per episode, one action per step.

Their servers keep the rest of a chunk themselves and answer each observation with its next action, so that an
episode stays with one connection, and is lost with it. Source: vla-eval 0.8.0, its protocol and its server. Which one
it is travels as the chunk's `policy_state`: two points of a sweep may run the same episode at the same time, and only
the episode itself can tell which of the two it is.
"""

from __future__ import annotations

import dataclasses
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any

from ray_eval.errors import EpisodeError, PolicyChanged, PolicyUnavailable, SetupError
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.remote.answers import actions_in, actions_of
from ray_eval.policies.remote.identity import plain, told
from ray_eval.policies.remote.packing import pack, unpack
from ray_eval.policies.remote.policy import (
    RemotePolicy,
    changed,
    patience_of,
    the_same,
    token_of,
    unasked_spec,
    unnoticed,
)
from ray_eval.policies.remote.pool import FIRST_PAUSE_S, BadAnswerError, LinkBrokenError, NoAnswerError
from ray_eval.policies.remote.websocket import WebSocketLink
from ray_eval.sections import VlaEvalPolicySection
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, ActionChunk, Observation, PolicySpec

PROTOCOL_VERSION = 1
"""Version of vla-eval's protocol that is spoken here."""

SESSION_ID_BYTES = 8
"""Length of a session's name, drawn anew for each episode, so that a restarted actor takes none for another's."""


class VlaEvalLink(WebSocketLink):
    """A session: HELLO both ways, then per episode its start, observations and their actions, and its end."""

    def __init__(self, address: str, timeout_s: float, token: str | None) -> None:
        """Connects and exchanges greetings."""
        super().__init__(address, timeout_s, {"Authorization": f"Bearer {token}"} if token else None)
        self._sequence = 0
        self.lock = threading.Lock()
        hello = {"harness_version": "ray-eval", "protocol_version": PROTOCOL_VERSION, "benchmark": "libero"}
        self.server: dict[str, Any] = self._answer("hello", self.tell("hello", hello), timeout_s)
        version = self.server.get("protocol_version")
        if version != PROTOCOL_VERSION:
            raise SetupError(
                f"policy server at {address}: expected vla-eval's protocol {PROTOCOL_VERSION}, got {version!r}"
            )

    def tell(self, kind: str, payload: dict[str, Any]) -> int:
        """Sends a message and returns its number."""
        self._sequence += 1
        message = {"type": kind, "payload": payload, "seq": self._sequence, "timestamp": time.time()}
        self.send(pack(message, "text_keys"))
        return self._sequence

    @property
    def told(self) -> str:
        """What the server says of itself, as JSON."""
        said = {key: self.server.get(key) for key in ("model_server", "observation_params", "action_spec")}
        return told(plain(said))

    def act(self, payload: dict[str, Any], timeout_s: float) -> Any:
        """The actions for an observation."""
        answer = self._answer("action", self.tell("observation", payload), timeout_s)
        return actions_in(answer, None, self.address)

    def _answer(self, kind: str, number: int, timeout_s: float) -> dict[str, Any]:
        message = unpack(self.receive(timeout_s), self.address)
        where = f"policy server at {self.address}"
        if not isinstance(message, dict) or not isinstance(message.get("payload"), dict):
            raise BadAnswerError(f"{where}: expected a message of vla-eval's, got {type(message).__name__}")
        if message.get("type") == "error":
            raise EpisodeError(f"{where}: expected {kind}, got the error {message['payload'].get('error')}")
        if (message.get("type"), message.get("seq")) != (kind, number):
            raise BadAnswerError(f"{where}: expected {kind} {number}, got {message.get('type')} {message.get('seq')}")
        payload: dict[str, Any] = message["payload"]
        return payload


class VlaEvalPolicy(RemotePolicy):
    """A policy behind a vla-eval model server; an episode's requests go over its own session."""

    def __init__(self, section: VlaEvalPolicySection) -> None:
        """Connects, and learns what the server wants to see.

        Raises:
            SetupError: no server answers, or not as vla-eval's does.
        """
        self._section = section
        self._keys = section.keys
        self._token = token_of(section)
        self._sessions: OrderedDict[bytes, VlaEvalLink] = OrderedDict()
        self._known: str | None = None
        self._patience = patience_of(section)
        self._has_answered = False
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()
        try:
            self._known = the_same(self._greetings(), "the greeting")
            self._spec = self._asked_spec()
        except EpisodeError as error:
            raise SetupError(str(error)) from error

    @property
    def lanes(self) -> int:
        """One per session, so that no session is taken from an episode that waits for its answer."""
        return self._section.connections

    def infer_rows(self, observations: Sequence[Observation]) -> list[ActionChunk | Exception]:
        """One chunk per observation, or what was raised in its place; sessions are asked side by side."""
        outcomes: list[ActionChunk | Exception] = [EpisodeError("not asked")] * len(observations)

        def ask(index: int) -> None:
            outcomes[index] = self._outcome(observations[index])

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(1, len(observations))]
        for thread in threads:
            thread.start()
        ask(0)
        for thread in threads:
            thread.join()
        return outcomes

    def _outcome(self, observation: Observation) -> ActionChunk | Exception:
        # Another attempt at an episode begins again at its first step, and so in another session.
        name = observation.policy_state if observation.step > 0 else secrets.token_bytes(SESSION_ID_BYTES)
        try:
            session = self._session(name, observation)
            try:
                with session.lock:
                    actions = self._acted(session, observation)
                return dataclasses.replace(self._chunk(actions, observation, session.address), policy_state=name)
            except BaseException:
                self._forget(name, session)
                raise
        except LinkBrokenError as error:
            return PolicyUnavailable(f"policy server at {', '.join(self._section.addresses)}: {error}")
        except PolicyChanged as error:
            return error
        except (EpisodeError, SetupError) as error:
            return EpisodeError(str(error))

    def _acted(self, session: VlaEvalLink, observation: Observation) -> Any:
        """The actions for an observation; those of a server that has made none yet are waited for longer."""
        patience = self._patience
        timeout_s = patience.answer_s if self._has_answered else patience.first_answer_s
        actions = session.act(self._payload(observation), timeout_s)
        self._has_answered = True
        return actions

    def _session(self, name: bytes, observation: Observation) -> VlaEvalLink:
        """The episode's session, begun at its first step.

        Raises:
            EpisodeError: the episode's session is gone, and what the server remembered with it.
            LinkBrokenError: no server can be reached.
        """
        with self._lock:
            if name in self._sessions:
                self._sessions.move_to_end(name)
                return self._sessions[name]
            if observation.step > 0:
                raise EpisodeError(
                    f"policy vla_eval: {observation.suite}/{observation.task_id}/{observation.init_state_id}: expected "
                    "its session with the server, got none: it broke, or policy.connections is too small"
                )
            used = None
            if len(self._sessions) >= self._section.connections:
                _, used = self._sessions.popitem(last=False)
        session = self._begun(used, observation)
        with self._lock:
            self._sessions[name] = session
        return session

    def _begun(self, used: VlaEvalLink | None, observation: Observation) -> VlaEvalLink:
        """A session at the beginning of the observation's episode: a used one, or a new one if that one is broken."""
        start = {
            "task": {
                "name": observation.task,
                "suite": observation.suite,
                "task_id": observation.task_id,
                "episode_idx": observation.init_state_id,
            }
        }
        if used is not None:
            try:
                used.tell("episode_end", {})
                used.tell("episode_start", start)
            except LinkBrokenError:
                self._hang_up(used)
            else:
                return used
        session = self._connected()
        session.tell("episode_start", start)
        return session

    def _connected(self, addresses: Sequence[str] = ()) -> VlaEvalLink:
        """A new session with the server that has the fewest, of all or of those; tried again until the time is up.

        Raises:
            PolicyChanged: the server says something else of itself than at the start.
        """
        addresses = addresses or self._section.addresses
        patience, began = self._patience, time.monotonic()
        trying_s = patience.answer_s if self._has_answered else min(patience.dead_s, patience.answer_s)
        greeting_s = patience.answer_s if self._has_answered else patience.first_answer_s
        failed: dict[str, str] = {}
        while True:
            with self._lock:
                left = [address for address in addresses if address not in failed]
                address = min(left, key=lambda each: self._held[each])
                self._held[address] += 1
            try:
                return self._greeted(address, max(0.001, began + greeting_s - time.monotonic()))
            except BaseException as error:
                self._let_go(address)
                if not isinstance(error, LinkBrokenError):
                    raise
                failed[address] = str(error)
                waited_s = greeting_s if isinstance(error, NoAnswerError) else trying_s
            if time.monotonic() >= began + waited_s:
                raise PolicyUnavailable(
                    f"policy server at {address}: expected one within {waited_s:g} s, got {failed[address]}; start it, "
                    "or mend policy.addresses"
                )
            if len(failed) == len(addresses):
                failed.clear()
                time.sleep(FIRST_PAUSE_S)

    def _greeted(self, address: str, timeout_s: float) -> VlaEvalLink:
        session = VlaEvalLink(address, timeout_s, self._token)
        if self._known not in (None, session.told):
            session.close()
            raise changed(address, self._known, session.told)
        return session

    def _greetings(self) -> dict[str, str]:
        """What every server says of itself, by its address."""
        told = {}
        for address in self._section.addresses:
            session = self._connected([address])
            told[address] = session.told
            self._hang_up(session)
        return told

    def _let_go(self, address: str) -> None:
        with self._lock:
            self._held[address] -= 1

    def _hang_up(self, session: VlaEvalLink) -> None:
        self._let_go(session.address)
        session.close()

    def _forget(self, name: bytes, session: VlaEvalLink) -> None:
        with self._lock:
            self._sessions.pop(name, None)
        self._hang_up(session)

    def _payload(self, observation: Observation) -> dict[str, Any]:
        arrays = observation.arrays
        images = {"agentview": arrays[IMAGE], "wrist": arrays.get(WRIST_IMAGE)}
        payload = {
            "images": {name: image for name, image in images.items() if image is not None},
            "task_description": observation.task,
        }
        return {**payload, "states": arrays[STATE]} if STATE in arrays else payload

    def _asked_spec(self) -> PolicySpec:
        """What the server asks for in its greeting, and the shape of its answer to a made-up observation."""
        session = self._connected()
        try:
            wanted = session.server.get("observation_params") or {}
            keys = [IMAGE]
            keys += [WRIST_IMAGE] if wanted.get("send_wrist_image") else []
            keys += [STATE] if wanted.get("send_state") else []
            spec = unasked_spec(
                "vla_eval",
                self._section,
                self._keys or tuple(keys),
                {"server": f"vla-eval {session.server.get('model_server')}"},
                _remarks(wanted),
            )
            row = trial_observation(spec, 0)
            session.tell("episode_start", {"task": {"name": row.task, "suite": row.suite, "task_id": row.task_id}})
            answer = actions_of(self._acted(session, row), None, session.address)
            session.tell("episode_end", {})
        except LinkBrokenError as error:
            raise PolicyUnavailable(f"policy server at {session.address}: {error}") from error
        finally:
            self._hang_up(session)
        return dataclasses.replace(spec, chunk_len=answer.shape[0], action_dim=answer.shape[1])


def _remarks(wanted: dict[str, Any]) -> tuple[str, ...]:
    said = ["policy vla_eval: the server keeps the rest of each chunk, and draws its own noise where it draws any"]
    others = {key: value for key, value in wanted.items() if key not in ("send_wrist_image", "send_state")}
    if others:
        said.append(f"policy vla_eval: the server asks for {others}; see that the protocol does so (protocol.*)")
    return (*said, unnoticed("vla_eval"))
