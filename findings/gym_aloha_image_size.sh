#!/usr/bin/env bash
# gym-aloha 0.1.5: `observation_width` and `observation_height` change the declared space and not the images.
#
# Expected: with 96 and 96, images of 96 x 96. Found: the space says (96, 96, 3), reset and step deliver (480, 640, 3), which the
# space does not contain. What to do: resize them. Needs a GL backend (EGL here).
# Seen on Python 3.11, Linux:
#   declared (96, 96, 3), delivered (480, 640, 3), within the space: False
# Exit code 0: it is still so. 1: it is otherwise now.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check gym-aloha==0.1.5 mujoco==3.8.1 dm-control==1.0.41 \
    gymnasium==1.4.0 numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import os
import sys
import warnings

os.environ.setdefault("MUJOCO_GL", "egl")
warnings.simplefilter("ignore")

import gym_aloha  # noqa: F401
import gymnasium

size = {"observation_width": 96, "observation_height": 96}
env = gymnasium.make("gym_aloha/AlohaTransferCube-v0", obs_type="pixels_agent_pos", disable_env_checker=True, **size)
observation, _ = env.reset(seed=0)
declared, delivered = env.observation_space["pixels"]["top"].shape, observation["pixels"]["top"].shape
is_within = env.observation_space.contains(observation)
print(f"declared {declared}, delivered {delivered}, within the space: {is_within}", flush=True)
os._exit(not (declared != delivered and not is_within))  # without the GL contexts' complaints at the end
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
