"""Seeds as pure functions of an episode's identity; runs in each worker."""

from __future__ import annotations

import hashlib

from ray_eval.types import EpisodeSpec


def request_seed(purpose: str, episode: EpisodeSpec, request_index: int) -> int:
    """A seed in [0, 2**63): the same for every attempt, worker and order of episodes.

    The first 8 bytes of SHA-256 over `purpose|seed|suite|task_id|init_state_id|repeat|request_index`,
    little-endian, shifted right by one.
    """
    identity = (purpose, episode.seed, episode.suite, episode.task_id, episode.init_state_id, episode.repeat)
    text = "|".join(str(part) for part in (*identity, request_index))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
