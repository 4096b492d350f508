"""Runs in LeRobot's environment with ray-eval's sources: serves several checkpoints from one process, because importing
LeRobot takes longer than everything else here, each at its own address, until standard input is closed."""

import contextlib
import json
import sys

import small_gemma

from ray_eval.config import load_policy
from ray_eval.sections import ListenSection
from ray_eval.serving.determinism import load_policy as load
from ray_eval.serving.server import serve_in_thread

with contextlib.ExitStack() as stack:
    for words, address in json.loads(sys.argv[1]):
        small_gemma.shrink_for(words[0].removeprefix("policy.path="))
        section, serving = load_policy("lerobot", words)
        policy, batching = load(section, serving.batching())
        stack.enter_context(serve_in_thread(policy, ListenSection(address), batching))
    print("ready", flush=True)
    sys.stdin.read()
