"""What a film of an episode costs: by replay, and by plain LIBERO's own loop that draws and encodes each step, in turn.

    python benchmarks/films.py runs/first_light --episodes libero_object/0/0 libero_object/3/0 --rounds 5

Both run the recorded actions in this process, on a simulator that is built once, at 256 px, both cameras side by side,
with the same encoder. The replay makes what `ray-eval video` makes: captions, stills and the finding as well. Prints
the seconds of each by the clock and by the process's CPU time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ray_eval.config import simulator_section
from ray_eval.driver.filming import film_makers
from ray_eval.driver.recording import Recorded, Recording
from ray_eval.driver.replay import no_policy
from ray_eval.envs.gl import gl_environment
from ray_eval.envs.libero import suites
from ray_eval.envs.libero.reference import CAMERAS, PlainEpisode, PlainLibero, play
from ray_eval.rollout.replaying import Looks, ReplaySettings, replay_and_make
from ray_eval.rollout.running import Rollout
from ray_eval.watch.video import VideoBytes


def plain_film(plain: PlainLibero, recorded: Recorded, settle_steps: int, control_hz: float) -> bytes:
    """The episode as LIBERO's users film it: every image that `step` draws, turned upright, into one file."""
    spec = recorded.result.spec
    start = suites.init_states(spec.suite, spec.task_id)[spec.init_state_id]
    video = VideoBytes(control_hz)
    for seen in play(plain, PlainEpisode(spec.env_seed, start, recorded.actions.array(), settle_steps)):
        images = [seen.observation[f"{camera}_image"][::-1] for camera in CAMERAS]
        video.append(np.ascontiguousarray(np.concatenate(images, axis=1)))
    return video.taken()


def seconds(action: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    """Films in turn, prints medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a run on LIBERO with actions")
    parser.add_argument("--episodes", nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    told = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in gl_environment("osmesa").items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **gl_environment("osmesa")})
    recording = Recording(told.run)
    makers, hz = film_makers(recording, 1), recording.env_spec.control_hz
    settle_steps = recording.config.protocol.settle_steps
    rollout = Rollout(no_policy, simulator_section(recording.config))
    for episode_id, recorded in recording.recorded(told.episodes).items():
        spec = recorded.result.spec
        plain = PlainLibero(spec.suite, spec.task_id)
        settings = ReplaySettings(recording.env_settings(), Looks(picture_every=1, has_scene=True))
        ours, theirs = [], []

        def replayed(recorded: Recorded = recorded, settings: ReplaySettings = settings) -> None:
            made = replay_and_make(rollout.replay, recorded.result.spec, recorded.actions, settings, makers(recorded))
            if made.retraced is None or made.retraced.trajectory_sha256 != recorded.result.trajectory_sha256:
                raise AssertionError(made.error)

        replayed()  # builds the simulator
        for _ in range(told.rounds):
            ours.append(seconds(replayed))
            theirs.append(seconds(lambda p=plain, r=recorded: plain_film(p, r, settle_steps, hz)))  # type: ignore[misc]
        plain.close()
        for name, found in (("replay with film", ours), ("LIBERO's own loop", theirs)):
            clock, cpu = (statistics.median(column) for column in zip(*found, strict=True))
            spread = max(each[0] for each in found) - min(each[0] for each in found)
            what = f"{episode_id}, {recorded.result.steps} steps, {name}"
            print(f"{what}: {clock:.2f} s (spread {spread:.2f}), CPU {cpu:.2f} s")
    rollout.close()


if __name__ == "__main__":
    main()
