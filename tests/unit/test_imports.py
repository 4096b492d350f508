import json
import os
import subprocess
import sys

import cloudpickle
import pytest

from ray_eval.driver.imports import driver_path, keep_order

LATER = """
import json, pickle, sys
pickle.load(open(sys.argv[1], "rb"))()
sys.path.insert(0, sys.argv[2])  # as Ray does with the driver's working folder
import {module}
print(json.dumps([{module}.__file__, sorted(name for name in sys.modules if name.startswith("ray"))]))
"""


def imported_later(tmp_path, module, first=(), path=()):
    """File of a module in a process that kept its order before `tmp_path/cwd` came to stand in front."""
    (tmp_path / "set_up").write_bytes(cloudpickle.dumps(keep_order([str(tmp_path / "cwd")], first)))
    command = [sys.executable, "-P", "-c", LATER.format(module=module), tmp_path / "set_up", tmp_path / "cwd"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def written(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text("")
    return str(folder / f"{name}.py")


@pytest.mark.parametrize("module", ["packaging", "json", "numpy"])
def test_what_is_installed_is_not_shadowed_by_the_working_folder(tmp_path, module):
    foreign = written(tmp_path / "cwd", module.partition(".")[0])
    place, _ = imported_later(tmp_path, module)
    assert place != foreign


def test_what_is_nowhere_else_comes_from_the_working_folder(tmp_path):
    own = written(tmp_path / "cwd", "her_policy")
    place, _ = imported_later(tmp_path, "her_policy")
    assert place == own


def test_what_a_package_puts_in_front_itself_stays_there(tmp_path):
    # So OpenCV finds its own compiled module, by the name of the package that is being imported.
    written(tmp_path / "native", "twofold")
    package = tmp_path / "site" / "twofold"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import importlib, sys\nsys.modules.pop('twofold')\n"
        f"sys.path.insert(1, {str(tmp_path / 'native')!r})\nimportlib.import_module('twofold')\n"
    )
    (tmp_path / "cwd").mkdir()
    place, _ = imported_later(tmp_path, "twofold", path=[tmp_path / "nothing", tmp_path / "site"])
    assert place == str(tmp_path / "native" / "twofold.py")


def test_the_working_folder_may_be_on_the_path_already(tmp_path):
    own, foreign = written(tmp_path / "site", "toy"), written(tmp_path / "cwd", "toy")
    assert own != foreign
    place, _ = imported_later(tmp_path, "toy", path=[tmp_path / "site", tmp_path / "cwd"])
    assert place == own


def test_the_drivers_folders_come_first_in_their_order(tmp_path):
    first, _ = written(tmp_path / "first", "toy"), written(tmp_path / "second", "toy")
    folders = [str(tmp_path / "first"), str(tmp_path / "second")]
    place, _ = imported_later(tmp_path, "toy", first=folders, path=[tmp_path / "second"])
    assert place == first


def test_a_worker_that_keeps_the_order_imports_nothing_of_ours(tmp_path):
    written(tmp_path / "cwd", "her_policy")
    _, names = imported_later(tmp_path, "her_policy")
    assert names == []


def test_the_drivers_path_is_absolute():
    assert all(os.path.isabs(folder) for folder in driver_path())  # noqa: PTH117
    assert len(driver_path()) == len(sys.path)


def test_a_package_that_puts_a_folder_of_its_own_in_front_finds_what_lies_there(tmp_path):
    package = tmp_path / "site" / "vision"
    binary = written(package / "binary", "vision")
    (package / "__init__.py").write_text(
        f"import sys\nsys.path.insert(0, {str(package / 'binary')!r})\ndel sys.modules['vision']\nimport vision\n"
    )
    place, _ = imported_later(tmp_path, "vision", path=[tmp_path / "site"])
    assert place == binary
