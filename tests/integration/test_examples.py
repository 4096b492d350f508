"""The examples, run as a user runs them."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from examples.aggregation import newer_when_closing

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


def test_the_aggregation_of_the_examples_mixes_no_opening_with_a_closing():
    opening, closing = np.array([0.2, -1.0], np.float32), np.array([0.6, 1.0], np.float32)
    assert newer_when_closing(opening, closing) is closing
    np.testing.assert_allclose(newer_when_closing(opening, opening * 2), opening * 1.5)


def ran(*command, cwd=ROOT):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.nightly
def test_an_evaluation_from_python(tmp_path):
    said = ran(sys.executable, ROOT / "examples/evaluate_libero.py", "policy.images=false", "workers=1", cwd=tmp_path)
    assert "4 of 4: 39.8% to 100.0%" in said


@pytest.mark.nightly
def test_a_training_loop_evaluates_as_it_goes(tmp_path):
    code = "from examples.training_loop import main; print(len(main(steps=20, every=10)))"
    said = ran(sys.executable, "-c", code, cwd=tmp_path)
    assert said.splitlines()[-1] == "2"
    assert "step 20, loss" in said


@pytest.mark.nightly
def test_a_sweep_with_ones_own_aggregation_is_read_by_pandas(tmp_path):
    sweep = tmp_path / "sweep"
    ran(
        sys.executable, "-m", "ray_eval", "sweep", "policy=random", "suite=fake", "execution.mode=async",
        "execution.aggregate=latest_only,examples.aggregation:newer_when_closing", "episodes_per_task=2",
        "execution.chunk_size_threshold=0.5", "protocol.max_steps=40", "--out", sweep,
    )  # fmt: skip
    said = ran(sys.executable, "examples/read_sweep.py", sweep)
    assert {"task_id", "lost", "gained"} <= set(said.split())


@pytest.mark.nightly
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path):
    notebook = json.loads((ROOT / "examples/notebook.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert "ray-eval compare" in ran(sys.executable, "-c", code, cwd=tmp_path)
    assert all(not cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.nightly
def test_a_client_in_javascript_gets_the_same_numbers(tmp_path):
    ran("npm", "install", "--silent", "--no-fund", "--prefix", tmp_path, "@grpc/grpc-js@1", "@grpc/proto-loader@0.8")
    environment = {**os.environ, "NODE_PATH": str(tmp_path / "node_modules")}
    with served("torch", "policy.entrypoint=examples.torch_policy:Mlp", "--address", "127.0.0.1:0") as address:
        ours = ran(sys.executable, "examples/client.py", address)
        theirs = subprocess.run(
            ["node", "examples/client.js", address],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    numbers = [np.array(re.findall(r"-?\d+\.\d+(?:e-?\d+)?", said), float) for said in (ours, theirs)]
    assert numbers[0].shape == numbers[1].shape == (70,)
    np.testing.assert_allclose(*numbers, atol=1e-6)
