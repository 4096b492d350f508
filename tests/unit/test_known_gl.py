"""What is known of the renderer from a run before, and what makes it unknown."""

import dataclasses

import pytest

from ray_eval.envs.gl import GlProbe, choose_backend
from ray_eval.envs.known_gl import forget_backends, known_backend, remember_backend


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def driver(tmp_path):
    path = tmp_path / "swrast_dri.so"
    path.write_bytes(b"a driver")
    return path


@pytest.fixture
def found(driver):
    return GlProbe("egl", "llvmpipe (LLVM 15.0.6, 256 bits)", "0" * 64, 1.5, files=(str(driver),))


def is_known(processes=2, wanted="auto", python=None):
    return known_backend(wanted, processes, python) is not None


def test_what_was_proved_is_known_for_as_many_processes(found):
    assert not is_known()
    remember_backend(found, "auto", 2)
    again = known_backend("auto", 2)
    assert (again.backend, again.renderer, again.pixels_sha256) == ("egl", found.renderer, found.pixels_sha256)
    assert is_known(1)
    assert not is_known(3)
    assert not is_known(wanted="osmesa")
    assert not is_known(python="/another/python")


def test_another_driver_is_not_known(found, driver):
    remember_backend(found, "auto", 2)
    driver.write_bytes(b"another driver")
    assert not is_known()


def test_a_driver_that_is_gone_is_not_known(found, driver):
    remember_backend(found, "auto", 2)
    driver.unlink()
    assert not is_known()


@pytest.mark.parametrize("name", ["MESA_LOADER_DRIVER_OVERRIDE", "LD_LIBRARY_PATH", "LIBGL_ALWAYS_SOFTWARE"])
def test_under_variables_that_choose_among_drivers_it_is_not_known(found, monkeypatch, name):
    remember_backend(found, "auto", 2)
    assert is_known()
    monkeypatch.setenv(name, "other")
    assert not is_known()


@pytest.mark.parametrize(
    "changes", [{"renderer": "NVIDIA H100 80GB HBM3/PCIe/SSE2"}, {"passed_over": ("egl: none",)}], ids=["GPU", "second"]
)
def test_a_gpu_and_a_second_choice_are_proved_each_time(found, changes):
    remember_backend(dataclasses.replace(found, **changes), "auto", 2)
    assert not is_known()


def test_what_is_damaged_or_forgotten_is_not_known(found, tmp_path):
    remember_backend(found, "auto", 2)
    (path,) = (tmp_path / "cache").glob("renderer-*.json")
    content = path.read_text()
    for damaged in (content[:50], "[]", "{}"):
        path.write_text(damaged)
        assert not is_known()
    path.write_text(content)
    assert is_known()
    forget_backends()
    assert not is_known()


def test_the_files_behind_a_real_image_are_named():
    found = choose_backend("auto")
    names = " ".join(found.files)
    assert "libmujoco" in names
    assert "libOSMesa" in names or "libEGL" in names
    remember_backend(found, "auto", 1)
    assert is_known(1)
