"""What a simulator's own interpreter costs: its start, and what an episode takes beyond the child's own time.

    python benchmarks/simulator_child.py suite=metaworld_mt10 policy=random policy.images=true simulator.python=PATH

The words are those of `ray-eval run`. The policy is served in this process, as beside a worker. The first episode of
each task, which builds its environment, is counted as well.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ray_eval.config import load_config, simulator_section
from ray_eval.driver.plan import plan_of
from ray_eval.driver.resolve import env_settings, queue_rules, told_section
from ray_eval.driver.simulators import env_spec_of
from ray_eval.envs.gl import choose_backend, gl_environment
from ray_eval.policies import make_policy
from ray_eval.rollout.hosted import HostedRollout
from ray_eval.rollout.running import RolloutSettings
from ray_eval.sections import BatchingSection, ConnectSection, ListenSection
from ray_eval.serving.server import serve_in_thread
from ray_eval.types import Outcome


def main(words: Sequence[str]) -> int:
    """Runs the episodes one after the other; the exit code."""
    os.environ.update(gl_environment(choose_backend("auto").backend))
    config = load_config(None, list(words))
    plan, section = plan_of(config), simulator_section(config)
    env = env_spec_of(config, plan)
    policy = make_policy(told_section(config, env))
    settings = RolloutSettings("child", env_settings(config, policy.spec, env), queue_rules(config, policy.spec))
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'policy'}"
        with serve_in_thread(policy, ListenSection(address), BatchingSection()):
            begun = time.perf_counter()
            with contextlib.closing(HostedRollout(section, lambda: ConnectSection(address))) as rollout:
                rollout.versions()
                running_s = time.perf_counter() - begun
                rollout.simulator.prepare()
                rollout.simulator.canary(has_pixels=True)
                ready_s = time.perf_counter() - begun
                whole, own = [], []
                for spec in plan:
                    begun = time.perf_counter()
                    result = rollout.run(spec, 1, settings)
                    whole.append(time.perf_counter() - begun)
                    own.append(result.wall_s)
                    if result.outcome is Outcome.ERROR:
                        print(f"{spec.episode_id}: {result.error}")
                        return 1
    beyond = [1000 * (all_s - own_s) for all_s, own_s in zip(whole, own, strict=True)]
    print(f"start: {running_s:.2f} s to the first answer, {ready_s:.2f} s with the engine and the canary")
    print(f"{len(plan)} episodes, {sum(own) / len(own):.2f} s each; beyond that {statistics.median(beyond):.1f} ms in "
          f"the median, {max(beyond):.1f} ms at most, {100 * (sum(whole) / sum(own) - 1):.2f} % in all")  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
