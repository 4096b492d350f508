"""What the adapters of all remote protocols share: the spec, who answers, the answers row by row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ray_eval.errors import EpisodeError, PolicyChanged, SetupError
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.remote.answers import actions_of
from ray_eval.policies.remote.identity import Path as KeyPath
from ray_eval.policies.remote.identity import difference, plain, told, unsteady
from ray_eval.policies.remote.pool import Patience, Pool
from ray_eval.sections import RemoteSection
from ray_eval.types import ActionChunk, Observation, PolicySpec

Answer = TypeVar("Answer")


class RemotePolicy:
    """A policy on the other end of a pool of connections; each observation is a request of its own.

    What an adapter adds is `_ask`, which sends one observation over one link and reads the answer.
    """

    _pool: Pool[Any]
    _spec: PolicySpec
    _section: RemoteSection

    @property
    def spec(self) -> PolicySpec:
        """What the server reads and answers; `batch_invariant`, because requests do not share a message."""
        return self._spec

    @property
    def is_proved(self) -> bool:
        """Whether the server is one of ours, which serves nothing that it has not tried out."""
        return False

    @property
    def lanes(self) -> int:
        """As many requests as there may be connections."""
        return self._section.connections * len(self._section.addresses)

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One chunk per observation.

        Raises:
            EpisodeError: a server answered that it cannot, or something that is no answer, or not in time.
        """
        outcomes = self.infer_rows(observations)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, ActionChunk)]

    def infer_rows(self, observations: Sequence[Observation]) -> list[ActionChunk | Exception]:
        """One chunk per observation, or what was raised in its place."""
        if len(observations) == 1:
            return [self._outcome(observations[0])]
        return self._pool.ask_all([self._asking(observation) for observation in observations])

    def _outcome(self, observation: Observation) -> ActionChunk | Exception:
        try:
            chunk: ActionChunk = self._pool.ask(self._asking(observation))
        except (EpisodeError, PolicyChanged) as error:
            return error
        return chunk

    def _asking(self, observation: Observation) -> Any:
        return lambda link, timeout_s: self._chunk(self._ask(link, observation, timeout_s), observation, link.address)

    def _ask(self, link: Any, observation: Observation, timeout_s: float) -> Any:
        """The server's actions for the observation, as it sent them."""
        raise NotImplementedError

    def _chunk(self, actions: Any, observation: Observation, address: str) -> ActionChunk:
        del observation
        return ActionChunk(actions_of(actions, (self._spec.chunk_len, self._spec.action_dim), address))


class Greeting:
    """What each server of a policy said of itself at the start, held against what it says when it is met again.

    Args:
        section: The addresses, and the keys that the user takes for nothing.
        link_to: A connection to an address within a time; its `metadata` is what the server says of itself.
    """

    def __init__(self, section: RemoteSection, link_to: Callable[[str, float], Any]) -> None:
        self._section = section
        self._link_to = link_to
        self._dropped: set[KeyPath] = set()
        self._known: str | None = None
        self.first: Any = None
        """What the first server says of itself, in JSON's types."""

    @property
    def known(self) -> str:
        """What all servers say of their policy, as JSON; empty before they were asked."""
        return self._known or ""

    @property
    def says_nothing(self) -> bool:
        """Whether nothing that a server says could tell one policy from another."""
        return self._known in (None, "{}", "null", "[]", '""')

    def ask(self, pool: Pool[Any]) -> None:
        """Asks every server twice, over connections of their own.

        Raises:
            SetupError: a server is not there, or they say different things of their policy.
        """
        try:
            firsts = pool.ask_each(lambda link, _: plain(link.metadata), is_answer=False)
            pool.hang_up()  # a server may take one client at a time
            seconds = pool.ask_each(lambda link, _: plain(link.metadata), is_answer=False)
        except EpisodeError as error:
            raise SetupError(str(error)) from error
        for address, first in firsts.items():
            self._dropped |= unsteady(first, seconds[address])
        self.first = firsts[self._section.addresses[0]]
        self._known = the_same({address: self._told(each) for address, each in firsts.items()}, "the metadata")

    def opened(self, address: str, timeout_s: float) -> Any:
        """A connection to a server that says of its policy what was said at the start.

        Raises:
            PolicyChanged: it says something else.
        """
        link = self._link_to(address, timeout_s)
        if self._known is None:
            return link
        try:
            got = self._told(plain(link.metadata))
        except BaseException:
            link.close()
            raise
        if got != self._known:
            link.close()
            key, expected, got = difference(self._known, got) or ("", self._known, got)
            raise changed(address, expected, got, key)
        return link

    def _told(self, value: Any) -> str:
        return told(value, self._dropped, self._section.ignore_metadata)


def unasked_spec(
    name: str,
    section: RemoteSection,
    keys: tuple[str, ...],
    runtime: Mapping[str, str],
    remarks: tuple[str, ...],
    *,
    n_obs_steps: int = 1,
) -> PolicySpec:
    """What is known of a policy on another server before it is asked for an answer, whose shape is not.

    Requests share no message, so that a row's answer is its own; the server draws its own noise, or remembers.
    """
    return PolicySpec(
        name,
        keys,
        chunk_len=1,
        n_obs_steps=n_obs_steps,
        image_size_px=section.image_size_px,
        state_dim=section.state_dim,
        batch_invariant=True,
        is_reproducible=False,
        runtime=runtime,
        remarks=remarks,
    )


def spec_by_asking(policy: RemotePolicy, spec: PolicySpec, section: RemoteSection) -> PolicySpec:
    """The spec with the answer's shape: what the section says, else what each server answers to a made-up observation.

    Raises:
        SetupError: a server is not there, or answers something that is no action chunk, or another one than the others.
    """
    if section.chunk_len is not None:
        return dataclasses.replace(spec, chunk_len=section.chunk_len, action_dim=section.action_dim)
    row = trial_observation(spec, 0)
    try:
        answers = policy._pool.ask_each(  # noqa: SLF001 - the policy is being made
            lambda link, timeout_s: actions_of(policy._ask(link, row, timeout_s), None, link.address).shape,  # noqa: SLF001
            is_answer=True,
        )
    except EpisodeError as error:
        raise SetupError(str(error)) from error
    chunk_len, action_dim = the_same(answers, "actions of shape")
    return dataclasses.replace(spec, chunk_len=chunk_len, action_dim=action_dim)


def patience_of(section: RemoteSection) -> Patience:
    """How long the section's servers are waited for."""
    return Patience(section.timeout_s, max(section.timeout_s, section.first_timeout_s))


def the_same(answers: Mapping[str, Answer], what: str) -> Answer:
    """What every address answered.

    Raises:
        SetupError: two do not answer alike.
    """
    (first, expected), *others = answers.items()
    for address, got in others:
        if got != expected:
            raise SetupError(
                f"policy.addresses: expected servers that answer alike, got {what} {expected} at {first} and {got} at "
                f"{address}; serve the same policy everywhere, or leave one out"
            )
    return expected


def changed(address: str, expected: object, got: object, key: str = "") -> PolicyChanged:
    """The error of a server that tells something else of itself than at the run's start.

    Args:
        address: Of the server.
        expected: What it said at the start.
        got: What it says now.
        key: Where in its metadata that is, if it is known.
    """
    place = f"{key}: " if key else ""
    aside = f" (policy.ignore_metadata=[{key.rsplit('.', 1)[-1]}] if it is not the policy's)" if key else ""
    return PolicyChanged(
        f"policy server at {address}: expected what the run began with, {place}{expected}, got {got}{aside}; start the "
        "same server again and go on with --resume, or start another run"
    )


def unnoticed(name: str) -> str:
    """The remark of a server whose checkpoint could be exchanged unnoticed."""
    return (
        f"policy {name}: its server says nothing of its checkpoint: another one of the same shape in its place is not "
        "noticed"
    )


def token_of(section: RemoteSection) -> str | None:
    """The token in the section's file.

    Raises:
        SetupError: the file cannot be read.
    """
    if section.token_file is None:
        return None
    try:
        return Path(section.token_file).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SetupError(f"policy.token_file {section.token_file}: expected a readable file, got {error}") from error
