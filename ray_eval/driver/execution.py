"""The loop of what a session executes: leases out, results in, each written down; in the driver."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from ray_eval.awake import AwakeClock
from ray_eval.driver.callers_policy import LivePolicy
from ray_eval.driver.context import Context
from ray_eval.driver.crew import Crew
from ray_eval.driver.endings import broken_by, waited
from ray_eval.driver.folder import Entry, utc_now
from ray_eval.driver.interrupt import StopSignal, stop_on_signals
from ray_eval.driver.live import LiveMetrics, session_name
from ray_eval.driver.ordered import OrderedScheduler
from ray_eval.driver.outage import Outage
from ray_eval.driver.part import Part
from ray_eval.driver.recorder import Recorder
from ray_eval.driver.recycling import Recycling
from ray_eval.driver.replicas import Replicas, since
from ray_eval.driver.scheduler import Lease, Scheduler, Verdict
from ray_eval.errors import EpisodeError, PolicyGone, Preempted, WorkerUnreachable
from ray_eval.report.ledger import Attempt, episode_record
from ray_eval.report.progress import RunView
from ray_eval.rollout.episode import error_result
from ray_eval.types import EpisodeResult

POLL_S = 0.5
"""Longest wait for a result before signals, deadlines and the view are looked at."""


class Execution:
    """Parts that have one policy, run by a crew to their summaries.

    Args:
        context: The session's.
        parts: The parts, opened.
        crew: The workers.
        policies: What they ask.
        order: Episode ids in the order in which they are to be run; None: in any.
        is_enough: Asked after every result; what still runs when it says so is let go.
        is_last: Whether nobody needs the workers afterwards.
    """

    def __init__(
        self,
        context: Context,
        parts: Sequence[Part],
        crew: Crew,
        policies: Replicas | LivePolicy,
        *,
        order: Sequence[str] | None,
        is_enough: Callable[[], bool],
        is_last: bool,
    ) -> None:
        limits = context.config.limits
        most = limits.max_attempts
        self._context = context
        self._parts = parts
        self._crew = crew
        self._policies = policies
        self._is_enough = is_enough
        self._is_last = is_last
        self._scheduler = Scheduler(max_attempts=most) if order is None else OrderedScheduler(order, most)
        self._held: dict[ray.ObjectRef[Any], _Held] = {}
        self._given_up: dict[ray.ObjectRef[Any], Lease] = {}
        self._outage = Outage()
        self._clock = AwakeClock(time.monotonic)
        self._recycling = Recycling(round((limits.recycle_memory_gb or 2 * limits.worker_memory_gb) * 1e9))
        self._view = RunView(
            [spec for part in parts for spec in part.plan],
            controls={_view_key(part, key) for part in parts for key in part.controls},
        )
        self._live = LiveMetrics(session_name([part.folder.path for part in parts]))
        self._counted_before: Mapping[str, Any] = {}
        for part in parts:
            self._take_up_finished(part)

    @property
    def is_idle(self) -> bool:
        """Whether no worker holds a lease."""
        return not self._held

    def run(self) -> bool:
        """Runs the parts; whether that was interrupted."""
        self._recorder = Recorder(self._write)
        try:
            # The second signal ends the loop by KeyboardInterrupt; what is finished is kept all the same.
            with stop_on_signals(self._context.config.limits.grace_s) as stop, contextlib.suppress(KeyboardInterrupt):
                self._run_episodes(stop)
                self._recorder.close()
                self._tell_written()
                self._keep_counts()
        finally:
            self._context.progress.stop()
            try:
                self._recorder.close()
            finally:
                self._tell_written()
                for part in self._parts:
                    part.write_summary()
        return not (self._scheduler.is_done or self._is_enough())

    def _take_up_finished(self, part: Part) -> None:
        finished = part.finished_results()
        self._scheduler.add(part.plan, finished)
        self._live.took_up(part.folder.path.name, finished.values())
        self._view.done.update({_view_key(part, key): result for key, result in finished.items()})
        self._view.resumed_count += len(finished)
        if finished:
            self._context.note(f"{part.folder.place}: {len(finished)} episodes are finished already")

    def _run_episodes(self, stop: StopSignal) -> None:
        self._context.progress.start(self._view)
        self._counted_before = self._policies.counted()
        self._live.count_from(self._counted_before)
        while not self._is_over(stop):
            self._context.cluster.check_alive()
            if not (stop.is_set or self._policies.is_away()):
                self._lease_all()
            self._take_all(self._next_answers())
            self._tell_written()
            if not stop.is_set:
                self._resize()
            self._crew.look_out()
            self._announce(stop)
            self._context.tell_dashboard()
            self._view.policy = self._policies.metrics()
            self._tick_metrics()
            self._context.progress.tick()
            for part in self._parts:
                # Of several parts each is told of at its end.
                if part.tracking is not None:
                    part.tracking.tick(self._view.done, part.perturbed)

    def _tick_metrics(self, *, is_last: bool = False) -> None:
        busy, workers, starting = len(self._held), len(self._crew.workers), len(self._crew.newcomers)
        self._live.tick(self._view, busy=busy, workers=workers, starting=starting, is_last=is_last)

    def _keep_counts(self) -> None:
        """What the policy actors counted goes into the ledgers: how large batches were, and how long a device idled."""
        self._view.policy = self._policies.counted()
        self._tick_metrics(is_last=True)
        record = {
            "kind": "served",
            "policy": since(self._counted_before, self._view.policy),
            "replicas": self._context.config.serving.replicas,
            "seconds": round(self._view.elapsed_s, 3),
            "late_results": self._view.late,
            "parts": len(self._parts),
        }
        for part in self._parts:
            part.folder.append_at_end(record)

    def _is_over(self, stop: StopSignal) -> bool:
        is_done = self._scheduler.is_done and self._recorder.is_idle
        return is_done or stop.is_over(holding=bool(self._held)) or self._is_enough()

    def _take_all(self, answers: Sequence[ray.ObjectRef[Any]]) -> None:
        """Takes what has come and what is overdue; the recorder writes it down while the workers go on."""
        for answer in answers:
            if answer in self._crew.newcomers:
                self._crew.welcome(answer)
            else:
                self._take(answer)
        for late in self._overdue():
            self._recorder.add(late)
        self._refuse_late()

    def _announce(self, stop: StopSignal) -> None:
        """Says once that the run is being stopped, and what it still waits for."""
        if stop.is_set and not self._view.is_stopping:
            self._view.is_stopping = True
            count, grace_s = len(self._held), self._context.config.limits.grace_s
            running = f"{count} running episode{'s'[: count != 1]} may finish within {grace_s:g} s"
            self._context.note(f"stopping: {running}; once more, and it ends at once")

    def _lease_all(self) -> None:
        for name in self._crew.idle(self._busy()):
            lease = self._scheduler.lease(name)
            if lease is not None:
                settings = self._parts[lease.part].settings
                answer = self._crew.workers[name].run.remote(lease.spec, lease.attempt, settings)
                answered = self._view.policy.get("requests", 0)
                self._held[answer] = _Held(lease, utc_now(), self._clock(), answered=answered)

    def _resize(self) -> None:
        """More workers while episodes wait, fewer at the tail; one that has none left might get a broken one again."""
        waiting_count = self._scheduler.waiting_count
        if waiting_count or not self._is_last:
            self._crew.grow(self._busy(), waiting_count)
        elif self._held:
            for name in self._crew.shrink(self._busy()):
                self._scheduler.retire(name)

    def _busy(self) -> set[str]:
        return {held.lease.worker for held in self._held.values()}

    def _next_answers(self) -> list[ray.ObjectRef[Any]]:
        asked = [*self._held, *self._crew.newcomers]
        if not asked:
            self._tell_written(POLL_S)
            return []
        done, others = ray.wait(asked, num_returns=1, timeout=POLL_S)
        if done and others:
            done += ray.wait(others, num_returns=len(others), timeout=0)[0]
        return list(done)

    def _take(self, answer: ray.ObjectRef[Any]) -> None:
        held = self._held.pop(answer)
        try:
            result: EpisodeResult = ray.get(answer)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, PolicyGone):
                # Nobody's attempt: the run's policy is gone, and what another one does is not its result.
                raise cause from None
            # The actor is gone, cannot be reached, or answered something that is no result.
            self._replace_worker(held.lease.worker)
            kind, said = broken_by(error)
            broken = kind(f"{held.lease.worker}: expected a result, got {said}")
            result = error_result(held.lease.spec, broken, self._clock() - held.since)
            if kind is Preempted:
                self._give_back(held, result)
                return
            if kind is WorkerUnreachable:
                # It says nothing of the policy: a machine may take many attempts along at once.
                self._recorder.add(self._ended(held, result))
                return
        self._recorder.add(self._ended(held, result))
        self._recycle(held.lease.worker, result.resident_bytes)
        if result.is_excused:
            self._policies.look()
        self._outage.note(result, self._context.config.limits.max_attempts, len(self._crew.workers))

    def _give_back(self, held: _Held, result: EpisodeResult) -> None:
        """The machine was taken back in mid-attempt: noted, and as if it had not been made."""
        lease = held.lease
        self._scheduler.give_back(lease.lease_id)
        record = episode_record(result, Attempt(lease.attempt, lease.worker, held.started_at), "attempt")
        self._recorder.add(_Ended(lease, result, Verdict.LATE, Entry(record)))
        self._context.note(f"{lease.spec.episode_id}: {lease.worker}'s node was taken back; it costs no attempt")

    def _ended(self, held: _Held, result: EpisodeResult) -> _Ended:
        lease = held.lease
        verdict = self._scheduler.finish(lease.lease_id, result)
        is_final = verdict is Verdict.FINAL
        attempt = Attempt(lease.attempt, lease.worker, held.started_at)
        actions = result.actions if is_final else None
        kind = "episode" if is_final else "attempt"
        record = episode_record(result, attempt, kind, has_actions=actions is not None)
        return _Ended(lease, dataclasses.replace(result, actions=None), verdict, Entry(record, actions))

    def _write(self, ended: Sequence[_Ended]) -> None:
        """Writes attempts down; called in the recorder's thread."""
        for index, part in enumerate(self._parts):
            entries = [each.entry for each in ended if each.lease.part == index]
            if entries:
                part.folder.write(*entries)

    def _tell_written(self, wait_s: float = 0.0) -> None:
        """Counts the attempts that are on disk by now, and tells of them."""
        for each in self._recorder.written(wait_s):
            self._parts[each.lease.part].folder.count(each.entry)
            self._tell(each.lease, each.result, each.verdict)

    def _tell(self, lease: Lease, result: EpisodeResult, verdict: Verdict) -> None:
        part = self._parts[lease.part]
        if verdict is Verdict.RETRY:
            self._view.retries += 1
            self._live.retried(part.folder.path.name, result)
            self._context.note(f"{lease.spec.episode_id}: attempt {lease.attempt} broke ({result.error})")
        if verdict is Verdict.FINAL:
            self._view.done[_view_key(part, lease.spec.episode_id)] = result
            self._view.steps_here += result.steps
            self._live.ended(part.folder.path.name, result)
            self._context.progress.finished(result, part.label)

    def _recycle(self, name: str, resident_bytes: int) -> None:
        """Another worker takes the place of one that has grown, before the kernel takes it away in mid-episode."""
        is_needed = name in self._crew.workers and self._scheduler.waiting_count > 0
        if is_needed and self._recycling.is_due(name, resident_bytes):
            self._context.note(
                f"{name}: it holds {resident_bytes / 1e9:.1f} GB after an episode, more than limits.recycle_memory_gb; "
                "a new one takes its place"
            )
            self._replace_worker(name)

    def _overdue(self) -> Iterator[_Ended]:
        """Ends the workers that are past their time, and gives their attempts."""
        limit_s = self._context.config.limits.episode_timeout_s
        now = self._clock()
        for answer, held in [item for item in self._held.items() if now - item[1].since > limit_s + item[1].waited_s]:
            worker = held.lease.worker
            waited_s, answered = waited(self._crew.workers[worker]), self._view.policy.get("requests", 0)
            if waited_s > held.waited_s and answered > held.answered:
                # What a worker waits while the server answers others is nothing that it is to be ended for.
                self._held[answer] = dataclasses.replace(held, waited_s=waited_s, answered=answered)
                continue
            self._given_up[answer] = self._held.pop(answer).lease
            self._replace_worker(worker)
            late = EpisodeError(
                f"{worker}: expected a result within limits.episode_timeout_s={limit_s:g} s, the wait for the policy "
                "not counted, got none; it was ended"
            )
            yield self._ended(held, error_result(held.lease.spec, late, now - held.since))

    def _refuse_late(self) -> None:
        """Counts the results of workers that were given up: they froze, and answered before they were ended."""
        if not self._given_up:
            return
        done, _ = ray.wait(list(self._given_up), num_returns=len(self._given_up), timeout=0)
        for answer in done:
            lease = self._given_up.pop(answer)
            with contextlib.suppress(ray.exceptions.RayError):
                verdict = self._scheduler.finish(lease.lease_id, ray.get(answer))
                self._view.late += verdict is Verdict.LATE
                self._context.note(f"{lease.spec.episode_id}: a late result of {lease.worker} was refused")

    def _replace_worker(self, name: str) -> None:
        self._scheduler.retire(name)
        self._crew.replace(name)


def _view_key(part: Part, episode_id: str) -> str:
    return f"{part.folder.path}:{episode_id}"


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease that a worker is busy with."""

    lease: Lease
    started_at: str
    since: float
    waited_s: float = 0.0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class _Ended:
    """An attempt that has ended, and may not be written down yet."""

    lease: Lease
    result: EpisodeResult
    verdict: Verdict
    entry: Entry
