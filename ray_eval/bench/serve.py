"""`bench serve`: what the gRPC server adds to a forward, and what it makes of many clients at once."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from ray_eval.bench.policies import TimedPolicy, Way, observation_of, served
from ray_eval.bench.rows import Row, interleaved, median_ms, timed
from ray_eval.capacity.network import Journey, Service, flow, in_turn
from ray_eval.errors import ContractError
from ray_eval.rollout.client import PolicyClient
from ray_eval.sections import BatchingSection, ConnectSection
from ray_eval.types import STATE, Observation

FORWARD_MS: Final = 20.0
"""Time of a forward, besides its rows."""
ROW_MS: Final = 0.5
"""Time that each row adds."""
KEYS: Final = (STATE,)
"""What many clients send: with images their own encoding would be what is measured."""


def bench_crowd(
    client_counts: Sequence[int], requests_per_client: int, forward_ms: float, row_ms: float, think_ms: float
) -> list[Row]:
    """Answers per second to clients that pause between their requests, beside a network that costs nothing else."""
    return [_closed_network(count, requests_per_client, forward_ms, row_ms, think_ms) for count in client_counts]


def _closed_network(clients: int, requests: int, forward_ms: float, row_ms: float, think_ms: float) -> Row:
    ideal = flow(
        clients,
        in_turn([Journey((think_ms / 1000,) * requests + (0.0,))] * clients),
        Service(lambda rows: (forward_ms + row_ms * rows) / 1000, BatchingSection().max_batch_size),
    )
    with served(forward_ms, row_ms, KEYS) as server, contextlib.ExitStack() as stack:
        asking = [stack.enter_context(_client(server.address)) for _ in range(clients)]
        for client in asking:
            client.spec()
        seeds = [range(i * requests, (i + 1) * requests) for i in range(clients)]
        started = time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            answered = sum(threads.map(functools.partial(_ask_all, think_s=think_ms / 1000), asking, seeds))
        wall_s = time.perf_counter() - started
    total = clients * requests
    _check_counts(total, answered, server.totals["requests"])
    subject = f"{clients} clients, {forward_ms:g} ms + {row_ms:g} ms a row, pause {think_ms:g} ms"
    return Row(subject, "answers", total / wall_s, "1/s", total, "closed network", ideal.per_s)


def bench_serve(client_counts: Sequence[int], requests_per_client: int, repeats: int) -> list[Row]:
    """Overhead at batch 1, then throughput at each number of clients."""
    forwards: tuple[tuple[float, Way, bool], ...] = (
        (0.0, "computes", True),
        (FORWARD_MS + ROW_MS, "computes", True),
        (FORWARD_MS + ROW_MS, "sleeps", True),
        (FORWARD_MS + ROW_MS, "sleeps", False),
    )
    rows = [_overhead(repeats, ms, way, is_awaited=is_awaited) for ms, way, is_awaited in forwards]
    for count in client_counts:
        rows += _throughput(count, requests_per_client)
    return rows


def _overhead(repeats: int, forward_ms: float, way: Way, *, is_awaited: bool) -> Row:
    """A request as a sync episode waits for it, or as an async one sends it ahead, in turn with the bare forward.

    A forward that takes no time shows what client and server cost. During a longer one this machine's cores fall
    asleep, or forget: it then takes them as long again to wake up, on a virtual machine above all.
    """
    policy = TimedPolicy(forward_ms, 0.0, way=way)
    observation = observation_of(1)
    with served(forward_ms, 0.0, way=way) as server, _client(server.address) as client:
        ids = map(str, itertools.count())

        def ask() -> None:
            client.infer(observation, f"overhead/{next(ids)}", is_awaited=is_awaited).result()

        durations = interleaved(
            {"served": lambda: timed(ask), "bare": lambda: timed(lambda: policy.infer_batch([observation]))},
            repeats,
            warmups=3,
        )
    found = {name: median_ms(values) for name, values in durations.items()}
    what = f"request {'awaited' if is_awaited else 'sent ahead'}, overhead {found['served'] - found['bare']:.2f} ms"
    return Row(
        f"1 client, two images, a forward that {way if forward_ms else 'takes no time'}",
        what,
        found["served"],
        "ms",
        repeats,
        "bare forward",
        found["bare"],
    )


def _throughput(client_count: int, requests_per_client: int) -> list[Row]:
    with served(FORWARD_MS, ROW_MS, KEYS) as server, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(_client(server.address)) for _ in range(client_count)]
        for client in clients:
            client.spec()  # connects, which is not what is measured
        seeds = [range(i * requests_per_client, (i + 1) * requests_per_client) for i in range(client_count)]
        started = time.perf_counter()
        with ThreadPoolExecutor(client_count) as threads:
            answered = sum(threads.map(_ask_all, clients, seeds))
        wall_s = time.perf_counter() - started
    total, totals = client_count * requests_per_client, server.totals
    _check_counts(total, answered, totals["requests"])
    # A device that waited for every client, who would answer in no time; and one that never waits, where no client is
    # in two forwards running, as she asks again only when she has her answer.
    waiting = client_count / (FORWARD_MS + ROW_MS * client_count) * 1000
    busy = client_count / (min(client_count, 2) * FORWARD_MS + ROW_MS * client_count) * 1000
    ideal_ms = FORWARD_MS * totals["batches"] + ROW_MS * total
    idle_ms, wall_ms = totals["idle_while_queued_ms"], wall_s * 1000
    subject = f"{client_count} client{'s'[: client_count > 1]}, state only"
    return [
        Row(subject, "answers", total / wall_s, "1/s", total, "forward upon forward", busy),
        Row(subject, "answers", total / wall_s, "1/s", total, "one batch of all clients at a time", waiting),
        Row(subject, "time its forwards have to take", ideal_ms, "ms", total, "wall time", wall_ms),
        Row(subject, "device idle while requests waited", idle_ms, "ms", total, "wall time", wall_ms),
        Row(subject, "rows of a forward", total / totals["batches"], "", total, "clients", float(client_count)),
    ]


def _check_counts(sent: int, answered: int, computed: int) -> None:
    """None lost, none answered by another's chunk (`_ask_all` sees to that), none computed twice.

    Raises:
        ContractError: the counts differ.
    """
    if not sent == answered == computed:
        raise ContractError(f"bench serve: expected {sent} answers, each computed once, got {answered} of {computed}")


def _ask_all(client: PolicyClient, seeds: Sequence[int], think_s: float = 0.0) -> int:
    """One client's requests, one after the other; how many were answered with their own chunk."""
    observation = observation_of(0, KEYS)

    def observed(seed: int) -> Observation:
        time.sleep(think_s)
        return dataclasses.replace(observation, noise_seed=seed)

    asked = map(observed, seeds)
    chunks = (client.infer(each, f"bench/{each.noise_seed}", is_awaited=True).result() for each in asked)
    return sum(bool((chunk.actions == seed).all()) for seed, chunk in zip(seeds, chunks, strict=True))


def _client(address: str) -> contextlib.closing[PolicyClient]:
    return contextlib.closing(PolicyClient(lambda: ConnectSection(address)))
