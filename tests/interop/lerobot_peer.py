"""Runs in LeRobot's environment: plays interleavings on its real client and server, one JSON line each way."""

import json
import logging
import sys
import threading
from queue import Queue
from types import SimpleNamespace

import torch
from lerobot.async_inference.configs import get_aggregate_function
from lerobot.async_inference.helpers import TimedObservation
from lerobot.async_inference.policy_server import PolicyServer
from lerobot.async_inference.robot_client import RobotClient

logging.disable(logging.CRITICAL)


class Robot:
    """A robot of two motors that notes what it is told."""

    action_features = ("x", "y")

    def __init__(self):
        self.sent = []

    def send_action(self, action):
        self.sent.append([action["x"], action["y"]])
        return action

    def get_observation(self):
        return {}


def make_client(threshold):
    """A client without its network: the constructor's state, and the methods as they are."""
    client = RobotClient.__new__(RobotClient)
    client.logger = logging.getLogger("peer")
    client.robot = Robot()
    client.latest_action_lock, client.latest_action = threading.Lock(), -1
    client.action_queue_lock, client.action_queue = threading.Lock(), Queue()
    client.action_queue_size, client.action_chunk_size = [], -1
    client._chunk_size_threshold = threshold
    client.must_go = threading.Event()
    client.must_go.set()
    client.observations = []
    client.send_observation = client.observations.append
    return client


def make_server():
    server = PolicyServer.__new__(PolicyServer)
    server.logger = logging.getLogger("peer")
    server.config = SimpleNamespace(environment_dt=0.05)
    server._predicted_timesteps_lock, server._predicted_timesteps = threading.Lock(), set()
    server.last_processed_obs, server.observation_queue = None, Queue(1)
    names = [f"s{i}" for i in range(8)]
    server.lerobot_features = {"observation.state": {"dtype": "float32", "shape": (8,), "names": names}}
    return server


def play(threshold, aggregate, operations):
    """The client's state after every operation."""
    client, server = make_client(threshold), make_server()
    fn = get_aggregate_function(aggregate)
    states = []
    for operation, *values in operations:
        extra = None
        if operation == "capture":
            extra = client._ready_to_send_observation()
            client.control_loop_observation("task")
        elif operation == "merge":
            label, rows = values
            timed = server._time_action_chunk(0.0, list(torch.tensor(rows, dtype=torch.float32)), label)
            client.action_chunk_size = max(client.action_chunk_size, len(timed))
            client._aggregate_action_queues(timed, fn)
            client.must_go.set()
        elif client.actions_available():
            client.control_loop_action()
        queue = [[action.get_timestep(), action.get_action().tolist()] for action in client.action_queue.queue]
        last = client.observations[-1].get_timestep() if operation == "capture" else None
        states.append([queue, client.robot.sent[-1] if client.robot.sent else None, last, extra])
    return states


def filtered(observations):
    """Which of the observations the server takes."""
    server, taken = make_server(), []
    for label, state, must_go in observations:
        raw = {f"s{i}": value for i, value in enumerate(state)}
        observation = TimedObservation(timestamp=0.0, observation=raw, timestep=label, must_go=must_go)
        is_taken = server._enqueue_observation(observation)
        if is_taken:
            # What the server does with an observation that it answers, the policy left out.
            server.observation_queue.get_nowait()
            server._predicted_timesteps.add(observation.get_timestep())
            server.last_processed_obs = observation
        taken.append(is_taken)
    return taken


for line in sys.stdin:
    kind, *arguments = json.loads(line)
    answer = play(*arguments) if kind == "queue" else filtered(*arguments)
    print(json.dumps(answer), flush=True)
