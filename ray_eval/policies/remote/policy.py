"""What the adapters of all remote protocols share: the spec, the reading of actions, the answers row by row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ray_eval.errors import EpisodeError, PolicyChanged, SetupError
from ray_eval.policies.contract import trial_observation
from ray_eval.policies.remote.pool import BadAnswerError, Pool
from ray_eval.sections import RemoteSection
from ray_eval.types import ActionChunk, Array, Observation, PolicySpec

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
        return lambda link, timeout_s: self._chunk(self._ask(link, observation, timeout_s), link.address)

    def _ask(self, link: Any, observation: Observation, timeout_s: float) -> Any:
        """The server's actions for the observation, as it sent them."""
        raise NotImplementedError

    def _chunk(self, actions: Any, address: str) -> ActionChunk:
        return ActionChunk(actions_of(actions, (self._spec.chunk_len, self._spec.action_dim), address))


def actions_of(actions: Any, shape: tuple[int, int] | None, address: str) -> Array:
    """The server's actions as (H, A) float32; one row may come without its leading axis.

    Raises:
        BadAnswerError: they are no finite numbers of that shape.
    """
    where = f"policy server at {address}"
    try:
        array = np.atleast_2d(np.asarray(actions, dtype=np.float32))
    except (TypeError, ValueError) as error:
        raise BadAnswerError(f"{where}: expected actions, got {type(actions).__name__} ({error})") from error
    if array.ndim != 2 or (shape is not None and array.shape != shape):
        expected = shape or "(chunk_len, action_dim)"
        raise BadAnswerError(f"{where}: expected actions of shape {expected}, got {np.shape(actions)}")
    if not np.isfinite(array).all():
        raise BadAnswerError(f"{where}: expected finite actions, got NaN or infinity")
    return np.ascontiguousarray(array)


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
            lambda link, timeout_s: actions_of(policy._ask(link, row, timeout_s), None, link.address).shape  # noqa: SLF001
        )
    except EpisodeError as error:
        raise SetupError(str(error)) from error
    chunk_len, action_dim = the_same(answers, "actions of shape")
    return dataclasses.replace(spec, chunk_len=chunk_len, action_dim=action_dim)


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


def changed(address: str, expected: object, got: object) -> PolicyChanged:
    """The error of a server that tells something else of itself than at the run's start."""
    return PolicyChanged(
        f"policy server at {address}: expected what the run began with, {expected}, got {got}; start the same server "
        "again and go on with --resume, or start another run"
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


def host_and_port(address: str) -> str:
    """The address without a scheme, for sockets that have none."""
    return address.split("://", 1)[-1]
