"""A policy in another interpreter: `PATH -m ray_eval serve` as a child of this process, watched and ended with it.

The wire is all that the two share. The child serves at the address and with the token that this process would have used
itself, so that a client cannot tell the difference; one that dies is started again at the same place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import grpc

from ray_eval import interpreters, places
from ray_eval.errors import EpisodeError, SetupError
from ray_eval.install.recipes import POLICY_SIDE
from ray_eval.scratch import Scratch, remove_abandoned
from ray_eval.sections import POLICY_TYPES, BatchingSection, ConnectSection, ListenSection, PolicySection
from ray_eval.serving.interpreter import check_interpreter
from ray_eval.serving.listening import check_listen
from ray_eval.types import ActionChunk, Observation, PolicySpec
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb
from ray_eval.wire.channel import call_metadata, open_channel
from ray_eval.wire.open_inference_pb2_grpc import GRPCInferenceServiceStub
from ray_eval.wire.transport import UNIX_PREFIX

logger = logging.getLogger(__name__)

ASK_TIMEOUT_S = 5.0
"""Longest wait for one answer of the child to a question about itself."""
POLL_S = 0.1
"""Pause between two looks at a child that is starting."""
END_GRACE_S = 15.0
"""From SIGTERM to SIGKILL; longer than the server's own grace."""
LONGEST_PAUSE_S = 30.0
"""Longest pause before a child that died is started again; the first is a second, doubled each time."""
STEADY_S = 60.0
"""A child that lived this long died of something else than its start: the next pause is the first one again."""
KEPT_LINES = 60
"""Lines of the child's output that an error message can draw on."""


class HostedServer:
    """A policy server in a child process; `address`, `spec` and `metrics` as of one in this process."""

    def __init__(self, section: PolicySection, listen: ListenSection, batching: BatchingSection) -> None:
        check_listen(listen)
        self._python = check_interpreter(section)
        self._listen = dataclasses.replace(listen, address=_settled(listen.address))
        remove_abandoned()
        self._scratch = Scratch(places.temporary_folder())
        self._folder = self._scratch.path
        self._arguments = _arguments(self._folder, section, self._listen, batching)
        self._output: deque[str] = deque(maxlen=KEPT_LINES)
        self._is_closing = threading.Event()
        self._policy: ChildPolicy | None = None
        self._process = self._start()
        self._as_client = ConnectSection(self.address, self._listen.token, self._listen.certificate_pem)
        self._channel = open_channel(self._as_client)
        self._stub = GRPCInferenceServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._watcher = threading.Thread(target=self._watch, name="policy-watcher", daemon=True)

    @property
    def address(self) -> str:
        """Where the child listens, for as long as this lasts."""
        return self._listen.address

    @property
    def spec(self) -> PolicySpec:
        """What the child declares, waited for."""
        return self.policy().spec

    @property
    def pid(self) -> int:
        """Process id of the present child."""
        return self._process.pid

    def policy(self) -> ChildPolicy:
        """The child's policy, once it is loaded, as this process can ask it.

        Raises:
            SetupError: the child ended, with what it said.
        """
        if self._policy is None:
            self._policy = ChildPolicy(self._wait_until_ready(), self._stub, call_metadata(self._as_client))
        return self._policy

    def _wait_until_ready(self) -> PolicySpec:
        """The policy's spec, once the child has loaded it; from then on a child that dies is started again.

        Raises:
            SetupError: the child ended, with what it said.
        """
        while True:
            metadata = self._ask()
            if metadata is not None:
                self._watcher.start()
                return codec.decode_metadata(metadata)
            code = self._process.poll()
            if code is not None:
                self._reader.join(timeout=ASK_TIMEOUT_S)
                raise SetupError(self._diagnosis(code))
            time.sleep(POLL_S)

    def metrics(self) -> dict[str, Any]:
        """The child's totals; empty while it is being started again."""
        metadata = self._ask()
        text = metadata.properties.get(codec.METRICS_PROPERTY) if metadata is not None else None
        if not text:
            return {}
        values: dict[str, Any] = json.loads(text)
        return {**values, "batch_sizes": {int(size): count for size, count in values["batch_sizes"].items()}}

    def versions(self) -> dict[str, str]:
        """The child's versions; empty while it is being started again."""
        metadata = self._ask()
        text = metadata.properties.get(codec.VERSIONS_PROPERTY) if metadata is not None else None
        return dict(json.loads(text)) if text else {}

    def close(self) -> None:
        """Ends the child: SIGTERM, then SIGKILL after the grace."""
        self._is_closing.set()
        self._channel.close()
        self._process.terminate()
        try:
            self._process.wait(END_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_GRACE_S)
        if self._watcher.is_alive():
            self._watcher.join()
        self._let_go()
        self._scratch.close()

    def _ask(self) -> pb.ModelMetadataResponse | None:
        metadata = call_metadata(self._as_client)
        try:
            answer: pb.ModelMetadataResponse = self._stub.ModelMetadata(
                pb.ModelMetadataRequest(), timeout=ASK_TIMEOUT_S, metadata=metadata
            )
        except (grpc.RpcError, ValueError):  # ValueError: the channel is closed
            return None
        return answer

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [self._python, "-P", "-m", "ray_eval", "serve", *self._arguments],  # -P: not the present folder's ray_eval
            stdin=subprocess.PIPE,  # the child ends when this end of the pipe is closed, however this process ends
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=interpreters.environment(self._folder),
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl+C is for this process, which ends the child in its own time
        )
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), name="policy-output", daemon=True)
        self._reader.start()
        return process

    def _let_go(self) -> None:
        """Closes this end of the pipes of a child that has ended."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._reader.join(timeout=ASK_TIMEOUT_S)

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._output.append(line.rstrip())
                sys.stderr.write(f"[policy {self._python}] {line}")

    def _watch(self) -> None:
        pause_s = 1.0
        while True:
            began = time.monotonic()
            # Never a blocking wait: at the interpreter's end it would hold Popen's lock for ever.
            while (code := self._process.poll()) is None:
                if self._is_closing.wait(POLL_S):
                    return
            self._let_go()
            if self._is_closing.is_set():
                return
            pause_s = 1.0 if time.monotonic() - began > STEADY_S else pause_s
            logger.warning("%s; it is started again in %g s", self._diagnosis(code), pause_s)
            if self._is_closing.wait(pause_s):
                return
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            self._process = self._start()

    def _diagnosis(self, code: int) -> str:
        """What a child's end means, in one message."""
        said = [line for line in self._output if line.strip()]
        ours = [line.removeprefix("ray-eval: ") for line in said if line.startswith("ray-eval: ")]
        if code == 2 and ours:
            return "\n".join([ours[-1], *said[said.index(f"ray-eval: {ours[-1]}") + 1 :]])
        missing = next((line for line in reversed(said) if line.startswith("ModuleNotFoundError")), None)
        if missing:
            return (
                f"policy.python={self._python}: expected an interpreter with what the policy needs, got {missing}; "
                f"install it there, and for ray-eval's side: {self._python} -m pip install {' '.join(POLICY_SIDE)}"
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        tail = "\n".join(said[-20:]) or "nothing"
        return f"policy.python={self._python}: expected a policy server, got its end by {how}; it said:\n{tail}"


class ChildPolicy:
    """The policy of a child, asked over the wire as a worker asks it."""

    def __init__(self, spec: PolicySpec, stub: GRPCInferenceServiceStub, metadata: Any) -> None:
        self._spec = spec
        self._stub = stub
        self._metadata = metadata

    @property
    def spec(self) -> PolicySpec:
        """What the child declares."""
        return self._spec

    def infer_batch(self, observations: Sequence[Observation]) -> list[ActionChunk]:
        """One request with one row per observation.

        Raises:
            EpisodeError: the child refused it or is gone.
        """
        request = codec.encode_request(observations, self._spec)
        try:
            response = self._stub.ModelInfer(request, metadata=self._metadata)
        except grpc.RpcError as error:
            raise EpisodeError(f"policy {self._spec.name!r}: expected an answer, got {error}") from error
        return codec.decode_response(response, self._spec, len(observations))


@contextlib.contextmanager
def serve_in_child(section: PolicySection, listen: ListenSection, batching: BatchingSection) -> Iterator[HostedServer]:
    """Serves from a child in the interpreter `section.python` for as long as the context lasts.

    Raises:
        SetupError: there is no such interpreter, or the address must not be had without credentials.
    """
    server = HostedServer(section, listen, batching)
    try:
        yield server
    finally:
        server.close()


def _settled(address: str) -> str:
    """The address with a free port in place of port 0, so that it stays the same over restarts."""
    host, _, port = address.rpartition(":")
    if address.startswith(UNIX_PREFIX) or port != "0":
        return address
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host.strip("[]"), 0))
        return f"{host}:{probe.getsockname()[1]}"


def _arguments(folder: Path, section: PolicySection, listen: ListenSection, batching: BatchingSection) -> list[str]:
    """What `ray-eval serve` is told, by files that only this user reads."""
    name = next(name for name, kind in POLICY_TYPES.items() if type(section) is kind)
    values = {key: value for key, value in dataclasses.asdict(section).items() if key != "python"}
    settings = {"type": name, **values}
    arguments = [_written(folder / "policy.json", json.dumps(settings)), "--stop-with-stdin"]
    arguments += ["--address", listen.address, *_serving_words(batching)]
    if listen.token is not None:
        arguments += ["--token-file", _written(folder / "token", listen.token)]
    if listen.certificate_pem is not None and listen.private_key_pem is not None:
        arguments += ["--certificate", _written(folder / "certificate.pem", listen.certificate_pem.decode())]
        arguments += ["--private-key", _written(folder / "key.pem", listen.private_key_pem.decode())]
    return arguments


def _serving_words(batching: BatchingSection) -> list[str]:
    """`serving.key=value` for what a configuration can say of batches."""
    said = {key: value for key, value in dataclasses.asdict(batching).items() if key != "max_queue"}
    texts = {
        key: f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else value for key, value in said.items()
    }
    return [f"serving.{key}={text}" for key, text in texts.items() if text is not None]


def _written(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
    return str(path)
