"""Python 3.12's type parameters in the older way, by which the light environment of LeRobot 0.6 is made."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "type_variables.py"
SPEC = importlib.util.spec_from_file_location("type_variables", SCRIPT)
type_variables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(type_variables)

SOURCE = '''"""A module."""
from __future__ import annotations

type Name = str | int


class Plain[T]:
    kept = 1


class Box[T, U: dict[str, int]](
    Plain[T],
):
    def first[K: (int, str)](self, value: K) -> K:
        return value


type = 3
values = [type, 2]
'''


def test_parameters_become_variables_and_what_runs_stays():
    text = type_variables.rewritten(SOURCE)
    found = {}
    exec(compile(text, "module", "exec"), found)
    assert found["Box"][int, str]
    assert found["Plain"][int]
    assert found["Box"]().first(3) == 3
    assert (found["Name"], found["values"], found["__doc__"]) == (str | int, [3, 2], "A module.")
    assert [text.count(name) for name in ('TypeVar("T")', 'TypeVar("U")', 'TypeVar("K")')] == [1, 1, 1]


def test_what_this_python_reads_is_left_alone(tmp_path, capsys):
    plain = "def f(x):\n    return x\n"
    (tmp_path / "plain.py").write_text(plain)
    type_variables.main(tmp_path)
    assert (tmp_path / "plain.py").read_text() == plain
    assert capsys.readouterr().out == ""


def test_what_it_cannot_mend_is_an_error(tmp_path):
    (tmp_path / "broken.py").write_text("x = = 3\n")
    with pytest.raises(SyntaxError):
        type_variables.main(tmp_path)
