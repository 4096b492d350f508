"""starVLA's websocket server as it stands: openpi's wire, with requests and answers of its own.

Source: starVLA@0ed0aad deployment/model_server (websocket_policy_server.py, policy_wrapper.py) and
examples/simBenchmarks/LIBERO/eval_files/model2libero_interface.py.

| what | in a request |
|---|---|
| `policy.keys`' cameras, in order | `examples[0].image`, a list of (H, W, 3) uint8 |
| the instruction | `examples[0].lang` |
| `observation.state`, where it is among the keys | `examples[0].state`, (1, D) float32 |

The answer's `data.actions` is (1, H, 7), brought back to LIBERO's units, the gripper in [0, 1] with 1 for open, which
the protocol `starvla` turns into LIBERO's.
"""

from __future__ import annotations

from typing import Any

from ray_eval.policies.remote.answers import actions_in
from ray_eval.policies.remote.openpi import OpenpiLink
from ray_eval.policies.remote.policy import (
    Greeting,
    RemotePolicy,
    patience_of,
    spec_by_asking,
    token_of,
    unasked_spec,
    unnoticed,
)
from ray_eval.policies.remote.pool import BadAnswerError, Pool
from ray_eval.sections import StarVlaServerSection
from ray_eval.types import ACTION, IMAGE_KEYS, STATE, Array, Observation

OPTIONS = {"do_sample": False, "use_ddim": True}
"""What starVLA's own LIBERO client asks of every request, besides the number of steps."""


class StarVlaPolicy(RemotePolicy):
    """A policy behind starVLA's websocket server."""

    def __init__(self, section: StarVlaServerSection) -> None:
        """Connects, and learns the chunk's length.

        Raises:
            SetupError: no server answers, or not as starVLA's does.
        """
        self._section: StarVlaServerSection = section
        token = token_of(section)
        self._action = section.rename.get(ACTION)
        greeting = Greeting(section, lambda address, timeout_s: OpenpiLink(address, timeout_s, token))
        self._pool = Pool(section.addresses, greeting.opened, section.connections, patience_of(section))
        with self._pool.closed_on_failure():
            greeting.ask(self._pool)
            spec = unasked_spec(
                "starvla_server",
                section,
                section.keys,
                {"server": "starvla", "server_metadata": greeting.known},
                _remarks(greeting),
            )
            self._spec = spec_by_asking(self, spec, section)

    def _ask(self, link: OpenpiLink, observation: Observation, timeout_s: float) -> Any:
        request = {
            "examples": [example_of(observation.arrays, observation.task, self._section.keys)],
            "unnorm_key": self._section.unnorm_key,
            **OPTIONS,
            "num_ddim_steps": self._section.num_ddim_steps,
        }
        answer = link.answer(request, timeout_s)
        data = answer.get("data") if isinstance(answer, dict) else None
        if isinstance(data, dict) and "normalized_actions" in data and "actions" not in data:
            raise BadAnswerError(
                f"policy server at {link.address}: expected actions in LIBERO's units, got `normalized_actions`: a "
                "server of before May 2025 leaves that to its client; serve with a newer starVLA"
            )
        return actions_in(answer, self._action, link.address)


def example_of(arrays: Any, task: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """One of a request's examples."""
    images: list[Array] = [arrays[key] for key in keys if key in IMAGE_KEYS]
    example = {"image": images, "lang": task}
    return {**example, "state": arrays[STATE][None]} if STATE in keys else example


def _remarks(greeting: Greeting) -> tuple[str, ...]:
    said = ["policy starvla_server: the server draws its own noise where it draws any"]
    size = greeting.first.get("training_obs_image_size") if isinstance(greeting.first, dict) else None
    if size:
        said.append(f"policy starvla_server: the server was trained on images of {size}; see that the protocol does so")
    if greeting.says_nothing:
        said.append(unnoticed("starvla_server"))
    return tuple(said)
