"""What must hold of a ledger whatever happened to its run: pure, from the ledger's lines and the plan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

_ERROR = "error"
_HASHES = ("outcome", "steps", "actions_sha256", "trajectory_sha256", "final_state_sha256")
_EXCUSED = ("PolicyUnavailable", "WorkerUnreachable", "Preempted")
"""Begin the error of an attempt that counts as none: its policy was silent, its network broke, its machine left."""


def violations(lines: Sequence[Mapping[str, Any]], plan: Sequence[str], max_attempts: int) -> list[str]:
    """What does not hold of a run that says that it is complete; a line each, none where all holds.

    - Every planned episode has exactly one success or failure, and nothing else has one.
    - An error stands before the success or failure of a later session alone, for a resume runs it again.
    - Within a session an episode has at most so many attempts that count.
    - Where an episode was finished twice after all, both say the same.

    Args:
        lines: the ledger's records, in order.
        plan: ids of the planned episodes.
        max_attempts: attempts at one episode in a session.
    """
    final: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    found = [] if lines and lines[0].get("kind") == "header" else ["expected a header in line 1"]
    attempts: Counter[str] = Counter()
    for line in lines[1:]:
        kind, episode_id = line.get("kind"), str(line.get("episode_id"))
        if kind == "session":
            attempts.clear()
        if kind not in ("attempt", "episode"):
            continue
        if not str(line.get("error") or "").startswith(_EXCUSED):
            attempts[episode_id] += 1
        if attempts[episode_id] > max_attempts:
            found.append(f"{episode_id}: expected at most {max_attempts} attempts in a session, got another")
        if kind == "episode" and line["outcome"] != _ERROR:
            final[episode_id].append(line)
        elif kind == "episode" and final[episode_id]:
            found.append(f"{episode_id}: expected nothing behind its {final[episode_id][0]['outcome']}, got an error")
    found += [f"{name}: planned, expected a success or failure, got none" for name in plan if not final[name]]
    found += [f"{name}: not planned, expected nothing, got an outcome" for name in final if name not in set(plan)]
    for episode_id, records in final.items():
        if len(records) > 1:
            told = [{key: record.get(key) for key in _HASHES} for record in records]
            same = "the same" if all(each == told[0] for each in told) else f"determinism broke: {told}"
            found.append(f"{episode_id}: expected one final record, got {len(records)}, {same}")
    return found
