"""Which modules a cluster's nodes get from the driver's machine: the user's, and nothing that is installed."""

import sys

import pytest

from ray_eval.config import load_config
from ray_eval.driver.shipped import module_paths, named_modules, shipped_modules


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_package" / "inner").mkdir(parents=True)
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_module.py").touch()
    (tmp_path / "my_folder").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_what_is_named_by_import_strings_is_shipped_by_its_outermost_package(mine):
    words = ["policy=torch", "policy.entrypoint=my_package.inner.net:make", "execution.aggregate=my_module:mean"]
    config = load_config(None, [*words, "execution.mode=async", "suite=fake"])
    assert named_modules(config) == ("my_package", "my_module")
    assert shipped_modules(config) == (str(mine / "my_package"), str(mine / "my_module.py"))


def test_a_gymnasium_envs_module_is_shipped(mine):
    words = ["suite=gymnasium", "simulator.success=terminated", "policy=random"]
    by_key = load_config(None, [*words, "simulator.module=my_module", "simulator.id=Mine-v0"])
    by_id = load_config(None, [*words, "simulator.id=my_package.inner:Mine-v0"])
    assert shipped_modules(by_key) == (str(mine / "my_module.py"),)
    assert shipped_modules(by_id) == (str(mine / "my_package"),)


def test_a_module_of_the_working_folder_is_shipped(tmp_path, monkeypatch):
    (tmp_path / "my_own.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    assert module_paths(["my_own"]) == (str(tmp_path / "my_own.py"),)


def test_a_configuration_without_import_strings_ships_nothing():
    config = load_config(None, ["suite=fake", "policy=random", "execution.mode=async", "execution.aggregate=average"])
    assert shipped_modules(config) == ()


@pytest.mark.parametrize("name", ["json", "sys", "numpy", "ray_eval", "gymnasium", "nowhere_at_all", "no module", ""])
def test_what_is_installed_or_is_not_there_is_not_shipped(name):
    assert module_paths([name]) == ()


def test_a_folder_without_an_init_is_shipped_as_python_imports_it(mine):
    assert module_paths(["my_folder"]) == (str(mine / "my_folder"),)
