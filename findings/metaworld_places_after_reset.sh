#!/usr/bin/env bash
# metaworld 3.1.1 with MuJoCo 3.3.0: after `reset` the places that a picture is drawn from are not those of the state.
#
# Expected: the first image of an episode shows its start. Found: in dial-turn-v3 and door-lock-v3 `site_xpos` and `geom_xpos`
# lag by half a millimetre; in push-v3 they are another episode's, so a used env's first image differs from a new env's although
# positions and observation are equal. Images after the first step are right. What to do: put body_pos, site_pos and mjData back
# before each reset; a mj_forward after it would change the trajectory.
# Seen on Python 3.11, Linux:
#   push-v3: equal positions True; places of a new and a used env differ by 5.5e-06 m, lag behind the state by 5.1e-06 m
#   dial-turn-v3: equal positions True; places of a new and a used env differ by 0 m, lag behind the state by 0.00041 m
#   door-lock-v3: equal positions True; places of a new and a used env differ by 0 m, lag behind the state by 0.00056 m
# Exit code 0: it is still so. 1: it is otherwise now.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check metaworld==3.1.1 mujoco==3.3.0 gymnasium==1.4.0 numpy==2.4.6 \
    scipy==1.17.1 packaging
cat > "$folder/try.py" <<'PYTHON'
import copy
import sys
import warnings

import metaworld
import mujoco
import numpy as np

warnings.simplefilter("ignore")
PLACES = ("site_xpos", "geom_xpos")


def reset(env, task):
    env.set_task(task)
    env.reset()
    return {name: getattr(env.data, name).copy() for name in ("qpos", *PLACES)}


def apart(one, other):
    return max(np.abs(one[name] - other[name]).max() for name in PLACES)


found = {}
for name in ("push-v3", "dial-turn-v3", "door-lock-v3"):
    benchmark = metaworld.MT1(name, seed=42)
    new, used = (benchmark.train_classes[name]() for _ in range(2))
    first = reset(new, benchmark.train_tasks[0])
    forwarded = copy.copy(new.data)
    mujoco.mj_forward(new.model, forwarded)
    lag = apart(first, {place: getattr(forwarded, place) for place in PLACES})
    reset(used, benchmark.train_tasks[9])
    for _ in range(20):
        used.step(np.array([1, 1, -1, 1], np.float32))
    again = reset(used, benchmark.train_tasks[0])
    equal, differ = np.array_equal(first["qpos"], again["qpos"]), apart(first, again)
    said = f"places of a new and a used env differ by {differ:.2g} m, lag behind the state by {lag:.2g} m"
    print(f"{name}: equal positions {equal}; {said}")
    found[name] = (equal, differ, lag)
is_so = all(equal for equal, _, _ in found.values()) and found["push-v3"][1] > 0
sys.exit(not (is_so and all(found[name][2] > 1e-4 for name in ("dial-turn-v3", "door-lock-v3"))))
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
