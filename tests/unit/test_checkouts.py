"""Another checkout of ray-eval, as a bench runs it."""

import subprocess
import sys
from pathlib import Path

import pytest

from ray_eval.bench.checkouts import Checkout
from ray_eval.errors import ConfigError


def test_a_folder_without_ray_eval_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a checkout of ray-eval, got no ray_eval folder in it"):
        Checkout.at(tmp_path)


def test_another_checkout_is_imported_and_not_this_one(tmp_path):
    package = tmp_path / "ray_eval"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys; print('there', *sys.argv[1:])")
    other = Checkout.at(tmp_path)
    assert other.python == sys.executable
    command, environment = other.command("bench", "step"), other.environment()
    done = subprocess.run(command, env=environment, cwd=other.folder, capture_output=True, text=True, check=True)
    assert done.stdout == "there bench step\n"


def test_a_checkout_has_its_own_interpreter_where_there_is_one(tmp_path):
    for path in (tmp_path / "ray_eval" / "__init__.py", tmp_path / ".venv" / "bin" / "python"):
        path.parent.mkdir(parents=True)
        path.touch()
    assert Path(Checkout.at(tmp_path).python) == tmp_path / ".venv" / "bin" / "python"
