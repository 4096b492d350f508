"""Servers of other projects that cannot be installed from a package index, speaking as those do.

Each checks what it is asked as strictly as the real one; what its policy answers is arithmetic on what arrived.
"""

import contextlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import json_numpy
import msgpack
import numpy as np
import openpi_client.msgpack_numpy as openpi_codec
import zmq
from websockets.sync.server import serve

LANGUAGE = "annotation.human.action.task_description"
PARTS = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")


class GrootServer:
    """GR00T's REP loop, its serializer of one version or the other, and its policy's own checks."""

    def __init__(self, layout="flat", version="n1_6", steps=1, token=None, chunk_len=16):
        self.layout, self.version, self.steps, self.token = layout, version, steps, token
        self.chunk_len, self.port, self.requests = chunk_len, 0, []
        self.configs = self.modalities()
        self.dies = False
        """Whether it takes the next request and ends without a word."""

    def modalities(self):
        window = list(range(1 - self.steps, 1))
        return {
            "video": {"delta_indices": window, "modality_keys": ["image", "wrist_image"]},
            "state": {"delta_indices": window, "modality_keys": list(PARTS)},
            "action": {"delta_indices": list(range(self.chunk_len)), "modality_keys": list(PARTS)},
            "language": {"delta_indices": [0], "modality_keys": [LANGUAGE]},
        }

    def __enter__(self):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.REP)
        self.socket.bind(f"tcp://127.0.0.1:{self.port or '*'}")
        self.port = int(self.socket.getsockopt_string(zmq.LAST_ENDPOINT).rsplit(":", 1)[1])
        self.address = f"127.0.0.1:{self.port}"
        self.is_running = True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_running = False
        self.thread.join()
        self.socket.close(linger=0)
        self.context.term()

    def run(self):
        while self.is_running:
            if not self.socket.poll(20):
                continue
            if self.dies:
                self.socket.recv()
                return
            try:
                request = msgpack.unpackb(self.socket.recv(), object_hook=self.decoded)
                result = self.result(request)
            except Exception as error:  # noqa: BLE001 - as the real one
                result = {"error": str(error)}
            self.socket.send(msgpack.packb(result, default=self.encoded))

    def decoded(self, mapping):
        if self.version == "n1_7":
            if b"nd" in mapping:
                return np.frombuffer(mapping[b"data"], mapping[b"type"]).reshape(mapping[b"shape"])
        elif "__ndarray_class__" in mapping:
            return np.load(io.BytesIO(mapping["as_npy"]), allow_pickle=False)
        return mapping

    def encoded(self, array):
        if self.version == "n1_7":
            parts = {"nd": True, "type": array.dtype.str, "kind": b"", "shape": array.shape, "data": array.tobytes()}
            return {key.encode(): part for key, part in parts.items()}
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": file.getvalue()}

    def result(self, request):
        if self.token is not None and request.get("api_token") != self.token:
            return {"error": "Unauthorized: Invalid API token"}
        if request["endpoint"] == "get_modality_config":
            return {name: self.wrapped(config) for name, config in self.configs.items()}
        if request["endpoint"] == "get_action":
            if self.version == "n1_5":
                return self.acted(self.grouped(request["data"], batch_axes=0))
            observation = request["data"]["observation"]
            grouped = observation if self.layout == "nested" else self.grouped(observation, batch_axes=1)
            return [self.acted(grouped), {}]
        raise ValueError(f"Unknown endpoint: {request['endpoint']}")

    def wrapped(self, config):
        if self.version == "n1_7":
            return {"__ModalityConfig__": True, "as_json": config}
        if self.version == "n1_5":
            return {"__ModalityConfig_class__": True, "as_json": json.dumps(config)}
        return {"__ModalityConfig_class__": True, "as_json": config}

    def grouped(self, flat, batch_axes):
        grouped = {"video": {}, "state": {}, "language": {LANGUAGE: [flat[LANGUAGE]]}}
        for kind in ("video", "state"):
            for name in self.configs[kind]["modality_keys"]:
                assert f"{kind}.{name}" in flat, f"Key '{kind}.{name}' must be in observation"
                array = flat[f"{kind}.{name}"]
                grouped[kind][name] = array if batch_axes else array[None]
        return grouped

    def acted(self, observation):
        assert "video" in observation, "Observation must contain a 'video' key"
        self.requests.append(observation)
        for array in observation["video"].values():
            assert array.dtype == np.uint8
            assert array.shape[:2] == (1, self.steps)
            assert (array.ndim, array.shape[-1]) == (5, 3)
        for name, array in observation["state"].items():
            assert array.dtype == np.float32
            assert array.shape == (1, self.steps, 2 if name == "gripper" else 1)
        assert isinstance(observation["language"][LANGUAGE][0][0], str)
        brightness = observation["video"]["image"][0, -1].mean() + observation["video"]["wrist_image"][0, -1].max()
        prefix = "" if self.layout == "nested" else "action."
        return {f"{prefix}{name}": self.part(observation["state"][name][0, -1].sum() + brightness) for name in PARTS}

    def part(self, value):
        rows = np.full((1, self.chunk_len, 1), value, np.float32)
        return rows[0, :, 0] if self.version == "n1_5" else rows


XVLA_WRONG = {
    "raise": (400, {"error": "Request failed"}),
    "nan": (200, b'{"action": [[NaN, 0, 0, 0, 0, 0, 0, 0, 0, 0]]}'),
    "html": (200, b"<html>hello</html>"),
    "narrow": (200, {"action": [[0.0] * 7] * 30}),
    "another": (200, {"result": 1}),
}
"""What X-VLA's server answers to these instructions."""


class XvlaServer:
    """X-VLA's `/act`: json-numpy in, lists out; row i of a chunk is at the commanded pose plus i / 100."""

    def __init__(self, chunk_len=30):
        self.chunk_len, self.requests, self.port = chunk_len, [], 0

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = (404, {"detail": "Not Found"}) if self.path != "/act" else outer.act(payload)
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_port
        self.address = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def act(self, payload):
        if payload.get("language_instruction") in XVLA_WRONG:
            return XVLA_WRONG[payload["language_instruction"]]
        try:
            images = [json_numpy.loads(payload[key]) for key in ("image0", "image1")]
            assert all(image.dtype == np.uint8 and image.ndim == 3 for image in images)
            proprio = np.asarray(json_numpy.loads(payload["proprio"]))
            assert proprio.shape == (20,)
            assert (int(payload["domain_id"]), int(payload["steps"])) == (3, 10)
        except Exception:  # noqa: BLE001 - as the real one
            return 400, {"error": "Request failed"}
        self.requests.append({**payload, "proprio": proprio, "images": images})
        action = np.zeros((self.chunk_len, 20), np.float32)
        action[:, :9] = proprio[:9]
        action[:, 0] += np.arange(self.chunk_len, dtype=np.float32) / 100
        action[:, 9] = 0.75
        return 200, {"action": action.tolist()}


class StarVlaServer:
    """starVLA's websocket server and its wrapper: metadata, `examples` in, an envelope with `data.actions` out."""

    def __init__(self, **metadata):
        self.metadata = {
            "env": "starvla_policy_server",
            "ckpt_path": "checkpoints/steps_30000",
            "action_chunk_size": 8,
            "available_unnorm_keys": ["franka"],
            "training_obs_image_size": [224, 224],
            **metadata,
        }
        self.requests, self.port, self.answer_key = [], 0, "actions"

    def __enter__(self):
        self.server = serve(self.handle, "127.0.0.1", self.port, compression=None, max_size=None)
        self.port = self.server.socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.sockets = []
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        for socket in self.sockets:
            with contextlib.suppress(Exception):
                socket.close()
        self.thread.join()

    def handle(self, socket):
        self.sockets.append(socket)
        socket.send(openpi_codec.packb(self.metadata))
        for message in socket:
            seen = openpi_codec.unpackb(message)
            payload = seen.get("payload", seen)
            answer = {"status": "ok", "ok": True, "type": "inference_result", "request_id": "default"}
            try:
                answer["data"] = self.predict_action(**payload)
            except Exception as error:  # noqa: BLE001 - as the real one
                answer = {**answer, "status": "error", "ok": False, "error": {"message": str(error)}}
            socket.send(openpi_codec.packb(answer))

    def predict_action(self, examples, unnorm_key=None, **options):
        assert options == {"do_sample": False, "use_ddim": True, "num_ddim_steps": 10}
        (example,) = examples
        if example["lang"] == "trouble":
            raise ValueError("no such task")
        self.requests.append({**example, "unnorm_key": unnorm_key})
        value = sum(image.mean() * (index + 1) for index, image in enumerate(example["image"]))
        value += example["state"].sum() if "state" in example else 0.0
        return {self.answer_key: np.full((1, self.metadata["action_chunk_size"], 7), value / 100)}
