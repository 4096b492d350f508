#!/usr/bin/env bash
# gym-pusht 0.1.8: equal states give unequal rewards.
#
# Expected: the reward is a function of the state. Found: the same seed and actions, four times in one process, give equal states to
# the bit and, in some of 16 seeds, rewards that differ in their last bits: the goal's and the block's polygons are merged in the
# order of a Python set, which hangs on addresses. A success (coverage > 0.95) can flip within that. What to do: compute coverage in
# a fixed order, and keep rewards out of hashes.
# Seen on Python 3.11, Linux (the second number varies from run to run):
#   states equal in 16 of 16 seeds, rewards unequal in 3
# Exit code 0: it is still so. 1: it is otherwise now.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gym-pusht==0.1.8 pymunk==6.11.1 gymnasium==1.4.0 numpy==2.4.6 \
    shapely==2.2.0
cat > "$folder/try.py" <<'PYTHON'
import sys
import warnings

import gym_pusht  # noqa: F401
import gymnasium
import numpy as np

warnings.simplefilter("ignore")


def played(seed):
    env = gymnasium.make("gym_pusht/PushT-v0", disable_env_checker=True).unwrapped
    env.reset(seed=seed)
    draw, states, rewards = np.random.default_rng(seed), [], []
    for _ in range(200):
        target = (np.array(env.block.position) + draw.normal(0, 60, 2)).astype(np.float32)
        rewards.append(env.step(target)[1])
        states.append((*env.agent.position, *env.block.position, env.block.angle))
    return states, rewards


equal = unequal = 0
for seed in range(16):
    (states, rewards), *others = [played(seed) for _ in range(4)]
    equal += all(other[0] == states for other in others)
    unequal += any(other[1] != rewards for other in others)
print(f"states equal in {equal} of 16 seeds, rewards unequal in {unequal}")
sys.exit(not (equal == 16 and unequal))
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
