"""Three hosts in network namespaces, a real Ray over them, real LIBERO: one host's bytes, nothing seen on the way."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PORT = 50077
LOG_TAIL = 2000
SCRIPT = Path(__file__).with_name("three_hosts.sh")
WORDS = ("suite=libero_object", "tasks=[0,1]", "episodes_per_task=2", "protocol.max_steps=40", "policy=random")


def tshark(capture, wanted, *fields):
    """The fields of the packets that a display filter passes; what is at the policy's port is tried as TLS."""
    command = ["tshark", "-r", capture, "-d", f"tcp.port=={PORT},tls", "-Y", wanted, "-T", "fields"]
    command += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(csv.reader(done.stdout.splitlines(), delimiter="\t"))


def payloads(capture, wanted):
    return [bytes.fromhex(payload) for (payload,) in tshark(capture, f"tcp.len > 0 and {wanted}", "tcp.payload")]


@pytest.mark.nightly
@pytest.mark.skipif(
    os.geteuid() != 0 or None in map(shutil.which, ("unshare", "tcpdump", "tshark")),
    reason="network namespaces need root, and what crosses them tcpdump and tshark",
)
def test_three_hosts_give_one_hosts_bytes_and_show_no_observation(tmp_path):
    inside = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", SCRIPT, tmp_path]
    words = ["run", *WORDS, "policy.images=true", "workers=2", f"out={tmp_path / 'three'}"]
    done = subprocess.run([*inside, sys.executable, str(PORT), *words], capture_output=True, text=True, check=False)
    log = (tmp_path / "driver.log").read_text()
    assert done.returncode == 0, log[-LOG_TAIL:] + done.stderr[-LOG_TAIL:]

    alone = [sys.executable, "-m", "ray_eval", "run", *WORDS, "policy.images=true", "workers=1"]
    subprocess.run([*alone, f"out={tmp_path / 'one'}"], capture_output=True, check=True)
    assert (tmp_path / "three" / "summary.json").read_bytes() == (tmp_path / "one" / "summary.json").read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "three" / "episodes.jsonl").read_text().splitlines()]
    assert lines[0]["provenance"]["hosts"] == ["host2", "host3"]
    assert lines[0]["provenance"]["policy"]["host"] == "host1"

    capture = tmp_path / "crossed.pcap"
    asked = payloads(capture, f"tcp.dstport == {PORT}")
    # Both cameras of every request crossed, 256 x 256 x 3 bytes each where they are not packed.
    assert sum(map(len, asked)) > 100_000
    instruction = next(line["task"] for line in lines if line["kind"] == "episode").encode()
    assert not any(instruction in payload for payload in asked)
    # What Ray itself sends is plain, so that the search finds what is there to be found.
    assert any(instruction in payload for payload in payloads(capture, f"tcp.port != {PORT}"))
    kinds = tshark(capture, f"tcp.dstport == {PORT} and tls.record.opaque_type == 23", "frame.number")
    assert len(kinds) > len(WORDS)
    plain = tshark(capture, f"tcp.port == {PORT} and (http2 or grpc or protobuf)", "frame.number")
    assert plain == []
