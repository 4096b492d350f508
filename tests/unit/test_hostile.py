"""What reads other people's bytes refuses bad ones by an error of ours, and executes nothing of them."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import hostile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_eval.errors import LedgerError
from ray_eval.policies.oracle.memory import Memory
from ray_eval.policies.remote import packing
from ray_eval.policies.remote.pool import BadAnswerError
from ray_eval.report.ledger import LEDGER_NAME, read_ledger

COSTLY = {"config": 4, "words": 12, "ledger": 60}
"""Examples of targets that take milliseconds each."""


@pytest.fixture(scope="module")
def targets():
    with hostile.targets() as found:
        yield found


@pytest.mark.parametrize(
    "name", ["request", "response", "register", "metadata", "foreign_response", "foreign_answer", "actions", *COSTLY]
)
def test_spoilt_bytes_are_read_or_refused(targets, name):
    target, valid, _ = targets[name]

    @settings(max_examples=COSTLY.get(name, 100))
    @given(st.one_of(st.binary(max_size=200), st.integers(0, 2**64).map(lambda seed: spoilt(seed, valid))))
    def read(data):
        assert hostile.harmless(target, data) in ("read", "refused")

    read()


def spoilt(seed, valid):
    draws = random.Random(seed)
    return hostile.spoilt(draws, draws.choice(valid))


def test_a_ledgers_line_that_is_nested_deeper_than_python_goes_is_refused(tmp_path):
    (tmp_path / LEDGER_NAME).write_bytes(b'{"kind": ' + b"[" * 100_000 + b"\n")
    with pytest.raises(LedgerError, match=r"line 1: expected a JSON object.*nested too deeply"):
        read_ledger(tmp_path)


def test_a_memory_that_is_nested_deeper_than_python_goes_is_its_callers_mistake():
    with pytest.raises(Exception, match="expected what it handed back before"):
        Memory.from_bytes(b"[" * 100_000)


def test_a_header_of_a_npy_file_that_numpy_stumbles_over_is_a_bad_answer():
    message = packing.pack({"actions": np.ones((3, 7), np.float32)}, "npy")
    with pytest.raises(BadAnswerError, match="header"):
        packing.unpack(message.replace(b"'shape': (3, 7), }", b"'shape': (3, 7,   "), "there")


def test_a_data_type_that_numpy_stumbles_over_is_a_bad_answer():
    message = packing.pack({"actions": np.ones((3, 7), np.float32)}, "text_keys")
    with pytest.raises(BadAnswerError, match="none"):
        packing.unpack(message.replace(b"<f4", b",f4"), "there")


@pytest.mark.nightly
def test_a_million_spoilt_inputs_crash_nothing_hang_nothing_and_unpickle_nothing():
    program = Path(hostile.__file__)
    environment = {**os.environ, "PYTHONPATH": str(program.parents[2])}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment, check=False)
    said = json.loads(done.stdout)
    assert (said["inputs"], said["crashes"], said["hangs"], said["unpickled"]) == (1_000_000, 0, 0, 0), done.stderr
    assert said["peak_mb"] < said["before_mb"] + 200
