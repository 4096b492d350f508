"""What takes our words may go away or be full: what is at work goes on."""

import errno
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ray_eval.cli import main
from ray_eval.report.terminal import SpeechStream


def speaking(code: str, stdout: int, **environment: str) -> subprocess.CompletedProcess:
    program = f"from ray_eval.report.terminal import output_console\nconsole = output_console()\n{code}"
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", program], stdout=stdout, stderr=subprocess.PIPE, check=False, env=env)


ERROR = "from rich.text import Text; console.print(Text('error', 'bold red'))"
COLOUR, ANY_STYLE = rb"\x1b\[(\d+;)*[39]\d[;m]", rb"\x1b\["


@pytest.mark.parametrize(
    ("environment", "never", "always"),
    [
        ({"TERM": "xterm-256color"}, b"nothing", COLOUR),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, COLOUR, b"error"),
        ({"TERM": "dumb"}, ANY_STYLE, b"error"),
    ],
)
def test_a_terminal_gets_colour_unless_none_is_wanted(environment, never, always, monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    master, terminal = os.openpty()
    speaking(ERROR, terminal, **environment)
    os.close(terminal)
    said = os.read(master, 1000)
    os.close(master)
    assert (re.search(never, said), bool(re.search(always, said))) == (None, True), said


def test_what_is_no_terminal_gets_no_colour(monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert speaking(ERROR, subprocess.PIPE, TERM="xterm-256color").stdout == b"error\n"


MANY = """
import sys
for _ in range(20000): console.print('a line that nobody reads')
print('at the end', file=sys.stderr)
"""


def test_a_reader_that_has_gone_does_not_end_what_is_at_work():
    reading, writing = os.pipe()
    os.close(reading)
    done = speaking(MANY, writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"at the end\n")


def test_a_terminal_that_was_closed_does_not_end_what_is_at_work():
    master, terminal = os.openpty()
    os.close(master)
    done = speaking(MANY, terminal)
    os.close(terminal)
    assert (done.returncode, done.stderr) == (0, b"at the end\n")


def test_a_full_disk_does_not_end_what_is_at_work():
    with Path("/dev/full").open("w") as full:
        done = speaking(MANY, full.fileno())
    assert (done.returncode, done.stderr) == (0, b"at the end\n")


def test_what_the_encoding_lacks_is_replaced():
    done = speaking("console.print('oracle · 93 %')", subprocess.PIPE, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"oracle ? 93 %\n", b"")


def test_a_list_that_was_not_written_is_no_success():
    command = [sys.executable, "-m", "ray_eval", "list", "policies"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ray-eval: standard output: expected it to take what is printed, got ")
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_list_whose_reader_has_gone_is_none_the_worse():
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ray_eval", "list", "policies"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


class Failing(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_first_failure_is_remembered():
    stream = SpeechStream(Failing())
    assert stream.failure is None
    assert [stream.write("one"), stream.write("three")] == [3, 5]
    assert stream.failure.errno == errno.ENOSPC
    assert stream.is_cut_short


@pytest.mark.parametrize("gone", [errno.EPIPE, errno.EIO])
def test_a_reader_that_has_gone_misses_nothing(gone):
    stream = SpeechStream(io.StringIO())
    stream.failure = OSError(gone, os.strerror(gone))
    assert not stream.is_cut_short


def test_the_streams_are_given_back(capsys):
    before = sys.stdout, sys.stderr
    assert main(["list", "policies"]) == 0
    assert (sys.stdout, sys.stderr) == before
    assert "oracle" in capsys.readouterr().out
