"""Success rates of the oracle, task by task, through LiberoEnv under protocol `openpi`, in this process and without Ray.

python benchmarks/oracle_rates.py libero_object --init-states 10
"""

from __future__ import annotations

import argparse
import os
import time
import warnings

for _name, _value in {"MUJOCO_GL": "osmesa", "PYOPENGL_PLATFORM": "osmesa", "OMP_NUM_THREADS": "1"}.items():
    os.environ.setdefault(_name, _value)
warnings.filterwarnings("ignore")

from ray_eval.envs.libero.env import LiberoEnv  # noqa: E402
from ray_eval.interfaces import Env, Policy  # noqa: E402
from ray_eval.policies import make_policy  # noqa: E402
from ray_eval.sections import EnvSettings, ObservationRecipe, OraclePolicy  # noqa: E402
from ray_eval.types import EpisodeSpec, Observation  # noqa: E402

MAX_STEPS = {"libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400}
"""Budgets of protocol `openpi` (examples/libero/main.py of openpi at 15a9616)."""
ENV_SEED = 7
TASK_COUNT = 10


def main() -> None:
    options = _options()
    policy = make_policy(OraclePolicy(chunk_len=options.chunk_len, images=False))
    total = 0
    for task_id in options.tasks:
        started = time.perf_counter()
        env = LiberoEnv(options.suite, task_id, EnvSettings(ObservationRecipe(policy.spec.keys)))
        results = [
            run_episode(env, policy, _episode(options.suite, task_id, i), options.replan_steps)
            for i in range(options.init_states)
        ]
        env.close()
        successes = sum(is_success for is_success, _ in results)
        total += successes
        steps = " ".join(str(n) if is_success else "-" for is_success, n in results)
        print(
            f"{options.suite} {task_id} {successes}/{len(results)}  {env.instruction}  "
            f"steps {steps}  {time.perf_counter() - started:.0f} s",
            flush=True,
        )
    count = len(options.tasks) * options.init_states
    print(f"{options.suite} {total}/{count} = {100.0 * total / count:.1f} %")


def run_episode(env: Env, policy: Policy, episode: EpisodeSpec, replan_steps: int) -> tuple[bool, int]:
    """Whether the episode succeeded, and after how many control steps."""
    env.reset(episode)
    memory, step = b"", 0
    while step < episode.max_steps:
        observation = Observation(
            env.observe(),
            env.instruction,
            episode.suite,
            episode.task_id,
            episode.init_state_id,
            step=step,
            environment_names=env.environment_names,
            policy_state=memory,
        )
        (chunk,) = policy.infer_batch([observation])
        memory = chunk.policy_state
        for action in chunk.actions[: min(replan_steps, episode.max_steps - step)]:
            step += 1
            if env.step(env.native_action(action)).is_success:
                return True, step
    return False, step


def _episode(suite: str, task_id: int, init_state_id: int) -> EpisodeSpec:
    return EpisodeSpec(suite, task_id, init_state_id, ENV_SEED, MAX_STEPS[suite])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", choices=MAX_STEPS)
    parser.add_argument("--tasks", type=int, nargs="+", default=list(range(TASK_COUNT)), metavar="ID")
    parser.add_argument("--init-states", type=int, default=10, metavar="N")
    parser.add_argument("--replan-steps", type=int, default=5)
    parser.add_argument("--chunk-len", type=int, default=10)
    return parser.parse_args()


if __name__ == "__main__":
    main()
