"""What live metrics cost the driver: CPU time of an episode's end, of a tick a second, of the clock in a step."""

import time
from collections.abc import Callable

import ray

from ray_eval.driver.live import LiveMetrics
from ray_eval.report.progress import RunView
from ray_eval.types import EpisodeResult, EpisodeSpec, Outcome, Timing

COUNT = 2000


def cpu_us(action: Callable[[int], object]) -> float:
    """CPU time of one call, microseconds, mean of COUNT."""
    begun = time.process_time()
    for index in range(COUNT):
        action(index)
    return (time.process_time() - begun) / COUNT * 1e6


def main() -> None:
    """Prints the three figures."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    spec = EpisodeSpec("libero_object", 0, 0, 7, 280)
    timing = Timing(reset_s=0.1, step_s=2.0, observe_s=0.5)
    result = EpisodeResult(spec, Outcome.SUCCESS, steps=94, infer_ms=(5.0,) * 20, timing=timing)
    live, view = LiveMetrics("run"), RunView([spec])

    def tick(index: int) -> None:
        live._next_tick = 0.0  # noqa: SLF001 - each call is to be one
        keys = ("forward_ms", "queue_wait_ms", "idle_while_queued_ms", "batches", "requests", "waiting")
        view.policy = dict.fromkeys(keys, index + 1)
        live.tick(view, busy=1, workers=2, starting=0)

    print(f"an episode's end: {cpu_us(lambda _: live.ended('run', result)):.0f} us")
    print(f"a tick, once a second: {cpu_us(tick):.0f} us")
    print(f"the clock, twice a control step: {2 * cpu_us(lambda _: time.perf_counter()):.2f} us")


if __name__ == "__main__":
    main()
