"""Whether a policy that leaves attempts without an answer is still to be waited for: pure; runs in the driver."""

from __future__ import annotations

from ray_eval.errors import PolicyGone
from ray_eval.types import EpisodeResult

ROUNDS = 2
"""So many times in a row may every worker, or an episode's every attempt, be left without an answer."""


class Outage:
    """The attempts in a row that the policy left without an answer."""

    def __init__(self) -> None:
        self._episodes: list[str] = []

    def note(self, result: EpisodeResult, attempts_each: int, workers: int) -> None:
        """Takes the next result; any that does not say that the policy was silent ends the outage.

        One episode may be what the policy dies of, and is then its own error: an outage is one of several episodes.

        Args:
            result: it.
            attempts_each: attempts that an episode has.
            workers: how many ask the policy side by side.

        Raises:
            PolicyGone: nothing was answered for so long that what waits would only break as well.
        """
        if not result.is_excused:
            self._episodes.clear()
            return
        self._episodes.append(result.spec.episode_id)
        count, several = len(self._episodes), len(set(self._episodes))
        if several > 1 and count >= ROUNDS * max(attempts_each, workers):
            raise PolicyGone(
                f"policy: expected an answer to one of the last {count} attempts at {several} episodes, got none; see "
                f"the policy actor's log, and resume the run once it answers; the last said: {result.error}"
            )
