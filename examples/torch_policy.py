"""A torch policy of one's own: `ray-eval run policy=torch policy.entrypoint=examples.torch_policy:Mlp suite=fake`."""

import numpy as np
import torch

from ray_eval.types import STATE, ActionChunk, PolicySpec


class Mlp:
    """A stochastic policy over the robot's state; put your own network in its place."""

    spec = PolicySpec("mlp", keys=(STATE,), chunk_len=10)

    def __init__(self, hidden: int = 64, noise: float = 0.1) -> None:
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(8, hidden), torch.nn.GELU(), torch.nn.Linear(hidden, 70))
        self.noise = noise

    @torch.inference_mode()
    def infer_batch(self, observations):
        """One chunk per observation; what is drawn comes from each request's seed."""
        states = torch.from_numpy(np.stack([o.arrays[STATE] for o in observations]))
        seeds = [torch.Generator().manual_seed(o.noise_seed) for o in observations]
        noise = torch.stack([torch.randn(10, 7, generator=seed) for seed in seeds])
        return [ActionChunk(row) for row in (self.net(states).view(-1, 10, 7).tanh() + self.noise * noise).numpy()]
