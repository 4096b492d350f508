"""The exceptions ray-eval raises on purpose.

    RayEvalError
    ├── ConfigError      the user's configuration cannot be run as written     exit 2, no traceback
    ├── SetupError       the machine or an installation cannot run it          exit 2, no traceback
    │   └── PolicyGone   the policy that the run began with is not served any more; ends the run
    │       └── PolicyChanged   the server came to serve another one
    ├── LedgerError      a run folder cannot be read, resumed or written       exit 2, no traceback
    ├── EpisodeError     one attempt of one episode broke; it may be retried
    │   ├── PolicyUnavailable   the policy server did not answer in time
    │   ├── WorkerUnreachable   its machine, or the network to it, was lost
    │   └── Preempted           the machine was taken back; it counts as no attempt
    └── ContractError    a policy or an env broke its contract; never retried

Every message reads `where: expected, got, remedy`, in one line of at most 500 characters.
"""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterable

from ray_eval.messages import one_line, without_arrays


class RayEvalError(Exception):
    """Root of every exception that ray-eval raises on purpose; whatever it is given to say becomes one line."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(one_line(without_arrays(said)) if isinstance(said, str) else said for said in arguments))


class ConfigError(RayEvalError):
    """The configuration cannot be run as written; the user can mend it."""


class SetupError(RayEvalError):
    """The machine, an installation or a checkpoint cannot run the evaluation."""


class PolicyGone(SetupError):
    """The policy that the run began with is not served any more and will not be; it ends the run."""


class PolicyChanged(PolicyGone):
    """The server no longer serves the policy that the run began with; no answer of the other one is used."""


class LedgerError(RayEvalError):
    """A run folder cannot be created, read, resumed or written."""


class EpisodeError(RayEvalError):
    """One attempt of one episode broke for a reason that a retry may cure."""


class PolicyUnavailable(EpisodeError):
    """The policy server did not answer within the deadline."""


class WorkerUnreachable(EpisodeError):
    """The worker's machine was lost in mid-attempt, or the network to it: Ray knows of no end of its process alone."""


class Preempted(EpisodeError):
    """The worker's machine was taken back after a notice, in mid-attempt."""


class ContractError(RayEvalError):
    """A policy or an env answered something that its contract forbids; a retry cannot cure it."""


EVAL_MODULES = ("ray", "psutil", "scipy", "libero", "robosuite", "mujoco", "cryptography")
"""What the evaluator needs beyond the policy side."""


def require_linux(system: str = sys.platform) -> None:
    """Passes on Linux, which the evaluator needs.

    Raises:
        SetupError: it is another system.
    """
    if system != "linux":
        raise SetupError(
            f"system: expected Linux, got {system}; run the evaluator in a container or in WSL2, as "
            "examples/quick_start.* do (docs/platforms.md)"
        )


def require_eval_extra() -> None:
    """Passes where the evaluator can run and is installed, and not the policy side alone.

    Raises:
        SetupError: it is another system than Linux, or something of it is missing.
    """
    require_linux()
    missing = [name for name in EVAL_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            f"installation: expected the evaluator, got the policy side alone ({', '.join(missing)} missing); "
            f"{_how_to_install(sys.version_info[:2])}"
        )


def _how_to_install(python: tuple[int, int]) -> str:
    if python >= (3, 13):
        return (
            f"MuJoCo 3.2.3, of which the numbers are, has no build for Python {python[0]}.{python[1]}: make an "
            "environment of Python 3.11 or 3.12"
        )
    return "pip install 'ray-eval[eval]', or make setup in a checkout"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The suffix ` Did you mean 'x'?` for the nearest known word, whatever its capitals, or the empty string."""
    near = nearest(word, known)
    return "" if near is None else f" Did you mean {near!r}?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like another one, whatever its capitals; None where none is like it."""
    words = {other.lower(): other for other in known}
    found = difflib.get_close_matches(str(word).lower(), words, n=1, cutoff=0.6)
    return words[found[0]] if found else None
