"""GR00T's ZeroMQ server as it stands: REQ/REP and msgpack; no pickle in either direction.

Source: Isaac-GR00T gr00t/policy/server_client.py and gr00t/policy/gr00t_policy.py (N1.6, N1.7), gr00t/eval/service.py
(N1.5), gr00t/eval/sim/LIBERO/libero_env.py and gr00t/configs/data/embodiment_configs.py (`libero_sim`).

| GR00T's name | of an observation |
|---|---|
| `video.image`, `video.wrist_image` | the agentview and the wrist camera, (1, T, H, W, 3) uint8 |
| `state.x`, `.y`, `.z` | `observation.state` 0, 1, 2: the end effector's position, (1, T, 1) float32 each |
| `state.roll`, `.pitch`, `.yaw` | 3, 4, 5: its rotation vector, whatever the names say |
| `state.gripper` | 6 and 7: the fingers, (1, T, 2) |
| `annotation.human.action.task_description` | the instruction |

The answer is a mapping of `action.x` ... `action.gripper`, (1, H, 1) each, put side by side in the order in which the
server's modality configuration names them; the gripper is in [0, 1], which the protocol `gr00t` turns into LIBERO's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from ray_eval.errors import ConfigError, EpisodeError
from ray_eval.messages import parsed_json
from ray_eval.policies.remote.answers import failure_in, joined
from ray_eval.policies.remote.packing import Style, pack, unpack
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
from ray_eval.policies.remote.zeromq import RequestLink
from ray_eval.sections import GrootServerSection
from ray_eval.types import IMAGE, STATE, WRIST_IMAGE, Array, Observation

CAMERAS = {"image": IMAGE, "wrist_image": WRIST_IMAGE}
"""Our key of each of GR00T's cameras for LIBERO."""
STATE_PARTS = {
    "x": slice(0, 1),
    "y": slice(1, 2),
    "z": slice(2, 3),
    "roll": slice(3, 4),
    "pitch": slice(4, 5),
    "yaw": slice(5, 6),
    "gripper": slice(6, 8),
}
"""Where GR00T's parts of the state are in `libero_8d`."""
ACTION_PARTS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
"""Parts of an action in LIBERO's order."""
LANGUAGE = "annotation.human.action.task_description"
"""GR00T's key of the instruction for LIBERO."""

Layout = Literal["flat", "nested", "n1_5"]
LAYOUTS: tuple[Layout, ...] = ("flat", "nested", "n1_5")
"""In the order in which they are tried; the first is what GR00T's own LIBERO evaluation uses."""


class GrootLink(RequestLink):
    """A connection to a server that has told what its policy reads and answers."""

    def __init__(self, address: str, timeout_s: float, token: str | None) -> None:
        """Connects and asks for the modality configuration."""
        super().__init__(address, timeout_s)
        self._token = token
        self._style: Style = "npy"
        try:
            self.metadata = self.call("get_modality_config", None, timeout_s)
            self._style = style_of(self.metadata)
        except BaseException:
            self.close()
            raise

    def call(self, endpoint: str, data: Mapping[str, Any] | None, timeout_s: float) -> Any:
        """What an endpoint returns.

        Raises:
            EpisodeError: the server says that it failed.
        """
        request: dict[str, Any] = {"endpoint": endpoint}
        if data is not None:
            request["data"] = data
        if self._token:
            request["api_token"] = self._token
        answer = unpack(self.exchange(pack(request, self._style), timeout_s), self.address)
        failure = failure_in(answer) if isinstance(answer, Mapping) else None
        if failure is not None:
            raise EpisodeError(f"policy server at {self.address}: expected an answer to {endpoint}, got {failure}")
        return answer


class GrootPolicy(RemotePolicy):
    """A policy behind GR00T's server."""

    def __init__(self, section: GrootServerSection) -> None:
        """Connects, learns what the policy reads, and the chunk's length.

        Raises:
            SetupError: no server answers, or not as GR00T's does.
            ConfigError: the policy reads what is not LIBERO's.
        """
        self._section: GrootServerSection = section
        token = token_of(section)
        greeting = Greeting(section, lambda address, timeout_s: GrootLink(address, timeout_s, token))
        self._pool = Pool(section.addresses, greeting.opened, section.connections, patience_of(section))
        with self._pool.closed_on_failure():
            greeting.ask(self._pool)
            self._read_modalities(greeting.first)
            self._layout: Layout | None = section.layout
            cameras = tuple(self._cameras.values())
            spec = unasked_spec(
                "groot_server",
                section,
                (*cameras, STATE) if self._state else cameras,
                {"server": "groot", "server_metadata": greeting.known},
                ("policy groot_server: the server draws its own noise", unnoticed("groot_server")),
                n_obs_steps=self._spec_steps,
            )
            self._spec = spec_by_asking(self, spec, section)

    def _read_modalities(self, told: Any) -> None:
        """What is sent and read by which name.

        Raises:
            ConfigError: a name stands for nothing of LIBERO's.
        """
        modalities = {str(key): modality_of(value) for key, value in told.items()} if isinstance(told, dict) else {}
        renamed = {str(theirs): ours for ours, theirs in self._section.rename.items()}
        cameras = {**CAMERAS, **{name: ours for name, ours in renamed.items() if ours in CAMERAS.values()}}
        self._cameras = {name: _known(name, cameras, "cameras") for name in _names(modalities, "video", tuple(CAMERAS))}
        self._state = {
            name: _known(name, STATE_PARTS, "parts of the state")
            for name in _names(modalities, "state", tuple(STATE_PARTS))
        }
        self._actions = _names(modalities, "action", ACTION_PARTS)
        self._video_steps = _steps(modalities, "video")
        self._state_steps = _steps(modalities, "state")
        languages = _names(modalities, "language", (LANGUAGE,))
        self._language = str(self._section.rename.get("task", languages[0] if languages else LANGUAGE))

    def _ask(self, link: GrootLink, observation: Observation, timeout_s: float) -> Any:
        layouts = LAYOUTS if self._layout is None else (self._layout,)
        refusals: dict[str, str] = {}
        for layout in layouts:
            data = _DATA[layout](*self._parts(observation))
            try:
                answer = link.call("get_action", data, timeout_s)
            except BadAnswerError:
                raise
            except EpisodeError as error:
                refusals[layout] = str(error)
                continue
            self._layout = layout
            return self._joined(answer, link.address)
        said = "; ".join(f"{layout}: {text.split('got ', 1)[-1]}" for layout, text in refusals.items())
        raise EpisodeError(f"policy server at {link.address}: expected actions, got errors for each layout: {said}")

    def _parts(self, observation: Observation) -> tuple[dict[str, Array], dict[str, Array], str, str]:
        arrays = observation.arrays
        if self._spec_steps == 1:
            arrays = {key: array[None] for key, array in arrays.items()}
        videos = {name: arrays[key][None, -self._video_steps :] for name, key in self._cameras.items()}
        state = {name: arrays[STATE][None, -self._state_steps :, part] for name, part in self._state.items()}
        return videos, state, self._language, observation.task

    @property
    def _spec_steps(self) -> int:
        return max(self._video_steps, self._state_steps)

    def _joined(self, answer: Any, address: str) -> Array:
        """The parts of the action side by side; N1.6 sends information beside them, and flat names have a prefix."""
        actions = answer[0] if isinstance(answer, Sequence) and answer else answer
        if not isinstance(actions, Mapping):
            raise BadAnswerError(
                f"policy server at {address}: expected a mapping of actions, got {type(actions).__name__}"
            )
        names = {str(key).removeprefix("action."): value for key, value in actions.items()}
        missing = [name for name in self._actions if name not in names]
        if missing:
            raise BadAnswerError(
                f"policy server at {address}: expected the actions {', '.join(self._actions)}, got {', '.join(names)}"
            )
        return joined([names[name] for name in self._actions], self._actions, address)


def _flat(videos: dict[str, Array], state: dict[str, Array], language: str, task: str) -> dict[str, Any]:
    observation = {f"video.{name}": array for name, array in videos.items()}
    observation |= {f"state.{name}": array for name, array in state.items()}
    return {"observation": {**observation, language: [task]}, "options": None}


def _nested(videos: dict[str, Array], state: dict[str, Array], language: str, task: str) -> dict[str, Any]:
    observation = {"video": videos, "state": state, "language": {language: [[task]]}}
    return {"observation": observation, "options": None}


def _n1_5(videos: dict[str, Array], state: dict[str, Array], language: str, task: str) -> dict[str, Any]:
    """The observation itself, its arrays without the batch axis."""
    unbatched: dict[str, Any] = {f"video.{name}": array[0] for name, array in videos.items()}
    unbatched |= {f"state.{name}": array[0] for name, array in state.items()}
    return {**unbatched, language: [task]}


_DATA: Mapping[Layout, Callable[..., dict[str, Any]]] = {"flat": _flat, "nested": _nested, "n1_5": _n1_5}


def modality_of(value: Any) -> dict[str, Any]:
    """One modality's configuration, out of the envelope in which each version sends it.

    N1.6 wraps a mapping as `{"__ModalityConfig_class__": true, "as_json": {...}}`, N1.5 a text of JSON.
    """
    if not isinstance(value, Mapping):
        return {}
    inner = next((value[key] for key in ("as_json", "as_dict") if key in value), value)
    if isinstance(inner, str):
        with contextlib.suppress(ValueError):
            inner = parsed_json(inner)
    return dict(inner) if isinstance(inner, Mapping) else {}


def _names(modalities: Mapping[str, dict[str, Any]], kind: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """A modality's keys without the kind before them; what LIBERO's configuration has where the server says nothing."""
    keys = modalities.get(kind, {}).get("modality_keys")
    if not isinstance(keys, list):
        return default
    return tuple(str(key).removeprefix(f"{kind}.") for key in keys)


def _steps(modalities: Mapping[str, dict[str, Any]], kind: str) -> int:
    """How many observations, up to the present one, a modality wants.

    Raises:
        ConfigError: they do not follow one another.
    """
    steps = modalities.get(kind, {}).get("delta_indices") or [0]
    if steps != list(range(1 - len(steps), 1)):
        raise ConfigError(
            "policy groot_server: expected a policy that sees the present observation and those just before it, got "
            f"{kind} at {steps}"
        )
    return len(steps)


def style_of(metadata: Any) -> Style:
    """How a server wants arrays, by the way in which it sent its configuration: N1.7 has a mark of its own for that."""
    values = metadata.values() if isinstance(metadata, Mapping) else ()
    is_newer = any(isinstance(value, Mapping) and "__ModalityConfig__" in value for value in values)
    return "nd" if is_newer else "npy"


def _known(name: str, table: Mapping[str, Any], what: str) -> Any:
    if name not in table:
        raise ConfigError(
            f"policy groot_server: expected a policy for LIBERO with the {what} {', '.join(table)}, got {name!r}; "
            "start the server with --embodiment-tag LIBERO_PANDA, or write policy.rename for a camera"
        )
    return table[name]
