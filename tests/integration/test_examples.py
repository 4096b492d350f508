"""The examples, run as a user runs them."""

import contextlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def served(*words):
    command = [sys.executable, "-m", "ray_eval", "serve", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        try:
            yield re.search(r"is served at (\S+)", line).group(1)
        finally:
            process.terminate()


def test_the_client_of_ten_lines_asks_the_torch_policy_behind_a_token(tmp_path):
    (tmp_path / "token").write_text("secret")
    policy = ("torch", "policy.entrypoint=examples.torch_policy:Mlp")
    with served(*policy, "--address", "127.0.0.1:0", "--token-file", tmp_path / "token") as address:
        client = [sys.executable, "examples/client.py", address, "secret"]
        first, again = (subprocess.run(client, cwd=ROOT, capture_output=True, text=True, check=True) for _ in range(2))
        guess = subprocess.run([*client[:3], "guess"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert len(re.findall(r"-?\d\.\d+", first.stdout)) == 70
    assert first.stdout == again.stdout
    assert "UNAUTHENTICATED" in guess.stderr
