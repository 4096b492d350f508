"""A lock that ends with its process, on file systems that have locks and on those that have none."""

import errno
import json
import os
import platform
import subprocess
import sys

import pytest

from ray_eval.driver.locks import Held, Lock


def no_locks(code):
    def flock(_descriptor, _operation):
        raise OSError(code, os.strerror(code))

    return flock


def test_a_lock_is_held_until_it_is_released(tmp_path):
    lock = Lock(tmp_path / ".lock")
    with pytest.raises(Held, match="a run that is still going on"):
        Lock(tmp_path / ".lock")
    lock.release()
    Lock(tmp_path / ".lock").release()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_claim_stands_in_for_a_lock_that_the_file_system_does_not_have(code, tmp_path):
    lock = Lock(tmp_path / ".lock", no_locks(code))
    with pytest.raises(Held) as held:
        Lock(tmp_path / ".lock", no_locks(code))
    assert f"the claim of process {os.getpid()} on {platform.node()} (this file system has no locks)" in str(held.value)
    assert f"remove {tmp_path}/.lock.claim and start again" in str(held.value)
    lock.release()
    Lock(tmp_path / ".lock", no_locks(code)).release()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_dead_processs_claim_is_taken_over(tmp_path):
    code = (
        "import errno, os, sys; from pathlib import Path; from ray_eval.driver.locks import Lock\n"
        "def flock(*_): raise OSError(errno.ENOSYS, 'none')\n"
        "Lock(Path(sys.argv[1]), flock); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], check=True)
    assert (tmp_path / ".lock.claim").exists()
    lock = Lock(tmp_path / ".lock", no_locks(errno.ENOSYS))
    assert json.loads((tmp_path / ".lock.claim").read_text())["pid"] == os.getpid()
    lock.release()


def test_another_process_of_the_same_id_is_not_the_one_that_died(tmp_path):
    claim = {"host": platform.node(), "pid": os.getpid(), "since": "1"}
    (tmp_path / ".lock.claim").write_text(json.dumps(claim))
    Lock(tmp_path / ".lock", no_locks(errno.ENOSYS)).release()


def test_another_hosts_claim_is_left_to_a_person_and_the_remedy_works(tmp_path):
    (tmp_path / ".lock.claim").write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "1"}))
    with pytest.raises(Held, match="process 1 on elsewhere"):
        Lock(tmp_path / ".lock", no_locks(errno.ENOSYS))
    (tmp_path / ".lock.claim").unlink()
    Lock(tmp_path / ".lock", no_locks(errno.ENOSYS)).release()


def test_what_else_keeps_a_lock_from_being_had_is_somebody_elses(tmp_path):
    with pytest.raises(Held, match="a run that is still going on"):
        Lock(tmp_path / ".lock", no_locks(errno.EWOULDBLOCK))
