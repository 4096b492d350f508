"""A simulator's package alone, in its own interpreter: what it shows while it executes recorded actions.

`python plain_simulator.py MODULE ID SEED ACTIONS.npy RECORDING.npz`: before each action the picture and the state go
into the recording, and whether the last action ended in success.
"""

import importlib
import sys
import warnings

import gymnasium
import numpy as np

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    module, name, seed, actions, recording = sys.argv[1:]
    importlib.import_module(module)
    env = gymnasium.make(name, obs_type="pixels_agent_pos", max_episode_steps=1000, disable_env_checker=True)
    observation, info = env.reset(seed=int(seed))
    images, states = [], []
    for action in np.load(actions):
        pixels = observation["pixels"]
        images.append(pixels["top"] if isinstance(pixels, dict) else pixels)
        states.append(observation["agent_pos"])
        observation, _, _, _, info = env.step(action)
    np.savez(recording, image=np.stack(images), state=np.stack(states), is_success=info["is_success"])
