"""Bytes that nobody honest sends, against everything that reads what others wrote.

`python tests/unit/hostile.py --inputs 1000000` takes valid inputs, spoils them, and counts what happens: a target may
refuse by an error of ours, and nothing else. A crash is any other exception or a signal, a hang more than `HANG_S`.
"""

import argparse
import contextlib
import json
import os
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ray_eval.config import load_config
from ray_eval.errors import RayEvalError
from ray_eval.policies.remote import answers, packing, tensors
from ray_eval.report.actions import ACTIONS_NAME, actions_record, read_actions
from ray_eval.report.ledger import LEDGER_NAME, read_ledger, result_of
from ray_eval.serving.regions import Regions
from ray_eval.types import IMAGE, STATE, ActionChunk, Observation, PolicySpec, RecordedActions
from ray_eval.wire import codec, shared_memory
from ray_eval.wire import open_inference_pb2 as pb

HANG_S = 10
"""One input takes microseconds to milliseconds."""
SPEC = PolicySpec("toy", (IMAGE, STATE), chunk_len=3, n_obs_steps=2, takes_prefix=True)
WORDS = [b"\xff" * 8, b"\0" * 8, b"9" * 40, b"-1", b"NaN", b"1e999", b"[" * 2000, b"{" * 2000, b"__ndarray__", b"null"]
WORDS += [
    pickle.dumps(os.getpid),
    pickle.dumps({"a": 1}),
    b"\x80\xff\xff\xff\xff\x0f",
    b"\xc3\x9f\xed\xa0\x80",
]
"""What spoils best."""
Target = Callable[[bytes], object]


def observation() -> Observation:
    arrays = {IMAGE: np.arange(2 * 48, dtype=np.uint8).reshape(2, 4, 4, 3), STATE: np.ones((2, 8), np.float32)}
    prefix = np.ones((2, 7), np.float32)
    return Observation(arrays, "pick it up", suite="s", noise_seed=7, policy_state=b"memory", action_raw=prefix)


def spoilt(draws: random.Random, valid: bytes) -> bytes:
    """The input with one to four things wrong."""
    data = bytearray(valid)
    for _ in range(draws.randint(1, 4)):
        at, length = draws.randrange(len(data) + 1), draws.randrange(1, 1 + max(1, len(data) // 4))
        way = draws.randrange(7)
        if way == 0 and data:
            data[at % len(data)] ^= 1 << draws.randrange(8)
        elif way == 1:
            del data[at : at + length]
        elif way == 2:
            data[at:at] = draws.choice(WORDS)
        elif way == 3:
            data[at : at + length] = data[draws.randrange(len(data) + 1) :][:length]
        elif way == 4:
            data[at:at] = draws.randbytes(draws.randrange(1, 20))
        elif way == 5:
            del data[at:]
        else:
            data[at : at + 8] = draws.choice(WORDS)
    return bytes(data)


def _request(data: bytes) -> object:
    request = pb.ModelInferRequest.FromString(data)
    codec.check_id(request)
    contents = codec.contents_of(request, _REGIONS.find)
    return codec.decode_request(request, SPEC, 4, contents)


_REGIONS = Regions(is_offered=True, most=8)


def _register(data: bytes) -> object:
    _REGIONS.register(pb.SystemSharedMemoryRegisterRequest.FromString(data))
    return _REGIONS.status("")


def _response(data: bytes) -> object:
    return codec.decode_response(pb.ModelInferResponse.FromString(data), SPEC)


def _metadata(data: bytes) -> object:
    metadata = pb.ModelMetadataResponse.FromString(data)
    codec.decode_answered_count(metadata)
    return codec.decode_metadata(metadata)


def _foreign_response(data: bytes) -> object:
    found = tensors.output_of(pb.ModelInferResponse.FromString(data), ("action",), "there")
    return answers.actions_of(found, None, "there")


def _foreign_answer(data: bytes) -> object:
    answer = packing.unpack(data, "there")
    return answers.actions_of(answers.actions_in(answer, None, "there"), None, "there")


class Files:
    """Targets that read a folder, which is made for each input on a file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ledger(self, data: bytes) -> object:
        (self.folder / LEDGER_NAME).write_bytes(data)
        return [result_of(record) for record in read_ledger(self.folder).episodes.values()]

    def actions(self, data: bytes) -> object:
        (self.folder / ACTIONS_NAME).write_bytes(data)
        return read_actions(self.folder, _EPISODES)

    def config(self, data: bytes) -> object:
        path = self.folder / "eval.yaml"
        path.write_bytes(data)
        return load_config(path, [])

    def words(self, data: bytes) -> object:
        words = data.decode("utf-8", "surrogateescape").split("\n")
        return load_config(None, ["suite=fake", "policy=random", *words])


_LEDGERS = Path(__file__).resolve().parents[1] / "ledgers"
_EPISODES: dict[str, dict] = {}


@contextlib.contextmanager
def targets() -> Iterator[dict[str, tuple[Target, list[bytes], int]]]:
    """By name: what reads, what it reads where all is well, and its share of the inputs."""
    request = codec.encode_request([observation()], SPEC, "id")
    two = codec.encode_request([observation(), observation()], SPEC, "id")
    key, memory = shared_memory.create(4096)
    shared = codec.encode_request([observation()], SPEC, "id")
    shared.inputs[0].parameters["shared_memory_region"].string_param = "r"
    shared.inputs[0].parameters["shared_memory_offset"].int64_param = 0
    shared.inputs[0].parameters["shared_memory_byte_size"].int64_param = 96
    del shared.raw_input_contents[0]
    register = pb.SystemSharedMemoryRegisterRequest(name="r", key=key, byte_size=4096)
    _REGIONS.register(register)
    chunk = ActionChunk(np.ones((3, 7), np.float32), b"memory", np.ones((3, 9), np.float32))
    response = codec.encode_response([chunk], SPEC)
    packed = [packing.pack({"actions": chunk.actions}, style) for style in ("bytes_keys", "text_keys", "npy", "nd")]
    ledger = next(_LEDGERS.rglob(LEDGER_NAME))
    _EPISODES.update(read_ledger(ledger.parent).episodes)
    executed = RecordedActions.of([np.full(7, 0.5, "<f8").tobytes()] * 4)
    episode_id = next(iter(_EPISODES))
    _EPISODES[episode_id] |= {"has_actions": True, "actions_sha256": executed.sha256}
    actions = [json.dumps(actions_record(episode_id, executed)).encode() + b"\n"]
    config = b"suite: libero_goal\npolicy: {type: oracle}\nprotocol: {max_steps: {default: 9}}\nlimits: {grace_s: 1}\n"
    words = b"workers=2\nprotocol.max_steps=9\nexecution.mode=async\nexecution.latency.steps=4\ntasks=[0]"
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        files = Files(Path(folder))
        try:
            yield {
                "request": (_request, [m.SerializeToString() for m in (request, two, shared)], 300),
                "response": (_response, [response.SerializeToString()], 200),
                "register": (_register, [register.SerializeToString()], 100),
                "metadata": (_metadata, [codec.encode_metadata(SPEC).SerializeToString()], 100),
                "foreign_response": (_foreign_response, [response.SerializeToString()], 100),
                "foreign_answer": (_foreign_answer, packed, 100),
                "ledger": (files.ledger, [ledger.read_bytes()[:6000]], 70),
                "actions": (files.actions, actions, 20),
                "config": (files.config, [config], 4),
                "words": (files.words, [words], 6),
            }
        finally:
            _REGIONS.unregister("")
            shared_memory.unlink(key)
            del memory


def harmless(target: Target, data: bytes) -> str:
    """`read` or `refused`; whatever else is raised is a crash."""
    try:
        target(data)
    except RayEvalError:
        return "refused"
    except Exception as error:
        # Protobuf's own word for bytes that are no message; the server turns it into one of ours.
        if type(error).__name__ == "DecodeError":
            return "refused"
        raise
    return "read"


def _hung(*_: object) -> None:
    raise TimeoutError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only")
    parsed = parser.parse_args()
    unpickled: list[str] = []
    sys.addaudithook(lambda event, args: unpickled.append(str(args)) if event == "pickle.find_class" else None)
    counts: Counter[str] = Counter()
    failures: dict[str, str] = {}
    signal.signal(signal.SIGALRM, _hung)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    with targets() as found:
        whole = sum(share for _, _, share in found.values())
        for name, (target, valid, share) in found.items():
            if parsed.only and name != parsed.only:
                continue
            draws, began = random.Random(f"{parsed.seed} {name}"), time.perf_counter()
            for data in valid:
                assert harmless(target, data) == "read" or name == "register", name
            for _ in range(parsed.inputs * share // whole):
                data = spoilt(draws, draws.choice(valid))
                signal.alarm(HANG_S)
                try:
                    counts[f"{name} {harmless(target, data)}"] += 1
                except TimeoutError:
                    counts["hangs"] += 1
                except Exception as error:  # noqa: BLE001 - which is what is counted
                    counts["crashes"] += 1
                    failures.setdefault(f"{name}: {type(error).__name__}: {str(error)[:100]}", repr(data)[:300])
                finally:
                    signal.alarm(0)
                counts["inputs"] += 1
            print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    for failure, data in failures.items():
        print(f"{failure}\n    {data}", file=sys.stderr)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = {"inputs": 0, "crashes": 0, "hangs": 0, **counts, "unpickled": len(unpickled)}
    said |= {"seconds": round(time.perf_counter() - started), "peak_mb": peak // 1024, "before_mb": before // 1024}
    print(json.dumps(said))
    return int(bool(counts["crashes"] or counts["hangs"] or unpickled))


if __name__ == "__main__":
    raise SystemExit(main())
