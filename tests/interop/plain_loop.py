"""LeRobot alone: `select_action` at every step on recorded observations, as its own evaluation script calls it.

Runs in LeRobot's environment and knows nothing of ray-eval: `python plain_loop.py JOBS.json`, where each job names a
checkpoint, a recording and where the actions go. Random numbers begin anew from a given seed before each step at which
the policy is due to think, because only so does a stochastic policy have one right answer.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.types import RTCAttentionSchedule
from lerobot.envs.utils import preprocess_observation
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.rtc.action_queue import ActionQueue
from lerobot.policies.rtc.configuration_rtc import RTCConfig


def load(folder: str):
    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_backbone_weights = None
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    return policy, *make_pre_post_processors(config, pretrained_path=folder)


def observed(recording, job: dict, step: int) -> dict:
    cameras = job["cameras"]  # name in the checkpoint by name in the recording
    observation = preprocess_observation(
        {
            "pixels": {name: recording[key][step][None] for key, name in cameras.items()},
            "agent_pos": recording["state"][step][None],
        }
    )
    return {**observation, "task": [job["task"]]}


def actions_of(job: dict) -> np.ndarray:
    policy, preprocess, postprocess = load(job["checkpoint"])
    recording = np.load(job["recording"])
    due_steps = getattr(policy.config, "n_action_steps", None) or policy.config.action_chunk_size
    policy.reset()
    actions = []
    for step in range(len(recording["state"])):
        if step % due_steps == 0:
            torch.manual_seed(job["seeds"][step // due_steps])
        observation = preprocess(observed(recording, job, step))
        with torch.inference_mode():
            action = policy.select_action(observation)
        actions.append(postprocess(action).to("cpu").numpy()[0])
    return np.stack(actions)


def chunked_actions_of(job: dict) -> np.ndarray:
    """Real-time chunking by LeRobot's own queue and guidance: one action per step, zeros where none is queued.

    Control steps stand for time: the answer to an observation of step s is merged before step s + delay, as LeRobot's
    example of real-time chunking merges it when it is there. `delays` and `seeds` are those of the requests, in order.
    """
    policy, preprocess, postprocess = load(job["checkpoint"])
    rtc = {**job["rtc"], "prefix_attention_schedule": RTCAttentionSchedule[job["rtc"]["prefix_attention_schedule"]]}
    policy.config.rtc_config = RTCConfig(**rtc)
    policy.init_rtc_processor()
    policy.eval()
    recording, horizon = np.load(job["recording"]), policy.config.chunk_size
    queue, due, requests, actions = ActionQueue(policy.config.rtc_config), None, 0, []
    for step in range(len(recording["state"])):
        if due is not None and step >= due[0]:
            queue.merge(*due[1:])
            due = None
        if due is None and queue.qsize() / horizon <= job["threshold"]:
            delay = job["delays"][requests]
            torch.manual_seed(job["seeds"][requests])
            rest = queue.get_left_over() if job["is_guided"] else None
            batch = preprocess(observed(recording, job, step))
            chunk = policy.predict_action_chunk(batch, inference_delay=delay, prev_chunk_left_over=rest)[0]
            due = (step + delay, chunk, postprocess(chunk), delay, queue.get_action_index())
            requests += 1
        action = queue.get()
        actions.append(np.zeros(7, np.float32) if action is None else action.numpy())
    return np.stack(actions)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    for each in json.loads(Path(sys.argv[1]).read_text()):
        np.save(each["actions"], chunked_actions_of(each) if "rtc" in each else actions_of(each))
