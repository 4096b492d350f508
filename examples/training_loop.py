"""A network evaluated while it is trained, from its own process: `python examples/training_loop.py`."""

from __future__ import annotations

import numpy as np
import torch

import ray_eval
from ray_eval.types import STATE, ActionChunk, PolicySpec


class Live:
    """The network as it is now, for ray-eval: what it reads, and a chunk of actions per observation."""

    spec = PolicySpec("mlp", keys=(STATE,), chunk_len=8)

    def __init__(self, net: torch.nn.Module) -> None:
        self.net = net

    @torch.inference_mode()
    def infer_batch(self, observations):
        """One chunk per observation."""
        states = torch.from_numpy(np.stack([o.arrays[STATE] for o in observations]))
        return [ActionChunk(chunk.numpy()) for chunk in self.net(states).view(-1, 8, 7)]


def main(steps: int = 200, every: int = 50, suite: str = "libero_object") -> list[ray_eval.Evaluation]:
    """Trains to keep still, and evaluates every so many steps on the same episodes."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.GELU(), torch.nn.Linear(64, 8 * 7))
    optimizer = torch.optim.Adam(net.parameters())
    found = []
    for step in range(1, steps + 1):
        loss = net(torch.randn(32, 8)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0:
            words = [f"suite={suite}", "tasks=[0]", "episodes_per_task=2", "protocol.max_steps=40"]
            evaluation = ray_eval.evaluate(overrides=words, policy=Live(net))
            print(f"step {step}, loss {loss:.3f}\n{evaluation}")
            found.append(evaluation)
    ray_eval.release()
    return found


if __name__ == "__main__":
    main()
