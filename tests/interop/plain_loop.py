"""LeRobot alone: `select_action` at every step on recorded observations, as its own evaluation script calls it.

Runs in LeRobot's environment and knows nothing of ray-eval: `python plain_loop.py JOBS.json`, where each job names a
checkpoint, a recording and where the actions go. Random numbers begin anew from a given seed before each step at which
the policy is due to think, because only so does a stochastic policy have one right answer.
"""

import contextlib
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
from lerobot.utils import import_utils
from small_gemma import shrink_for


def load(folder: str):
    shrink_for(folder)
    config = PreTrainedConfig.from_pretrained(folder)
    config.pretrained_backbone_weights = None
    config.pretrained_path = folder
    policy_class = get_policy_class(config.type)
    if config.use_peft:  # as LeRobot's own factory makes it, which wants a data set or an env besides
        from peft import PeftConfig, PeftModel

        adapter = PeftConfig.from_pretrained(folder)
        policy = policy_class.from_pretrained(adapter.base_model_name_or_path, config=config)
        policy = PeftModel.from_pretrained(policy, folder, config=adapter).eval()
    else:
        policy = policy_class.from_pretrained(folder, config=config)
    told = {}
    if config.type == "pi0_fast":  # LeRobot does not save this name, and fetches another tokenizer
        told["action_tokenizer_processor"] = {"paligemma_tokenizer_name": config.text_tokenizer_name}
    return policy, *make_pre_post_processors(config, pretrained_path=folder, preprocessor_overrides=told)


def chunks_of(job: dict) -> np.ndarray:
    """As LeRobot's policy server and its engine of real-time chunking: a chunk is post-processed as a whole."""
    policy, preprocess, postprocess = load(job["checkpoint"])
    recording, actions = loaded(job), []
    while len(actions) < len(recording["state"]):
        policy.reset()
        torch.manual_seed(job["seeds"][len(actions) // policy.config.n_action_steps])
        with torch.inference_mode():
            chunk = postprocess(policy.predict_action_chunk(preprocess(observed(recording, job, len(actions)))))
        actions += list(chunk[0, : policy.config.n_action_steps].numpy())
    return np.stack(actions[: len(recording["state"])])


def loaded(job: dict) -> dict:
    with np.load(job["recording"]) as recording:
        return dict(recording)


def observed(recording, job: dict, step: int) -> dict:
    cameras = job["cameras"]  # name in the checkpoint by name in the recording, or the latter alone where there is one
    if isinstance(cameras, str):
        pixels = recording[cameras][step][None]
    else:
        pixels = {name: recording[key][step][None] for key, name in cameras.items()}
    observation = preprocess_observation({"pixels": pixels, "agent_pos": recording["state"][step][None]})
    return {**observation, "task": [job["task"]]}


def mixed_precision(policy):
    """What lerobot-eval wraps an evaluation in; EVO-1 has it on by default."""
    return torch.autocast("cpu") if policy.config.use_amp else contextlib.nullcontext()


def actions_of(job: dict) -> np.ndarray:
    policy, preprocess, postprocess = load(job["checkpoint"])
    recording = loaded(job)
    due_steps = getattr(policy.config, "n_action_steps", None) or policy.config.action_chunk_size
    policy.reset()
    actions = []
    for step in range(len(recording["state"])):
        if step % due_steps == 0:
            torch.manual_seed(job["seeds"][step // due_steps])
        observation = preprocess(observed(recording, job, step))
        with torch.inference_mode(), mixed_precision(policy):
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
    recording, horizon = loaded(job), policy.config.chunk_size
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
            if rest is not None and len(rest):
                rest = reanchored(preprocess, queue, rest)
            with mixed_precision(policy):
                chunk = policy.predict_action_chunk(batch, inference_delay=delay, prev_chunk_left_over=rest)
            due = (step + delay, chunk[0], postprocess(chunk)[0], delay, queue.get_action_index())
            requests += 1
        action = queue.get()
        actions.append(np.zeros(7, np.float32) if action is None else action.numpy())
    return np.stack(actions)


def reanchored(preprocess, queue, rest):
    """The rest as LeRobot's engine of real-time chunking gives it on: of relative actions, to the present state."""
    relative = (step for step in preprocess.steps if type(step).__name__ == "RelativeActionsProcessorStep")
    step = next((step for step in relative if step.enabled), None)
    if step is None:
        return rest
    from lerobot.policies.rtc import reanchor_relative_rtc_prefix

    normalizer = next(s for s in preprocess.steps if type(s).__name__ == "NormalizerProcessorStep")
    left, state = queue.get_processed_left_over(), step.get_cached_state()
    return reanchor_relative_rtc_prefix(left, state, step, normalizer, "cpu")


def played(job: dict) -> np.ndarray:
    if "rtc" in job:
        return chunked_actions_of(job)
    return chunks_of(job) if job.get("is_whole") else actions_of(job)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    import_utils.register_third_party_plugins()  # as LeRobot's own programs do
    for each in json.loads(Path(sys.argv[1]).read_text()):
        np.save(each["actions"], played(each))
