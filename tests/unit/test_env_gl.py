import pytest

from ray_eval.envs import gl
from ray_eval.errors import SetupError


def test_a_worker_sees_no_cuda_device_and_always_an_egl_device():
    environment = gl.gl_environment("egl", egl_device_id=2)
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["MUJOCO_EGL_DEVICE_ID"] == "2"
    assert environment["MUJOCO_GL"] == environment["PYOPENGL_PLATFORM"] == "egl"


def test_a_worker_computes_in_one_thread():
    environment = gl.gl_environment("osmesa")
    assert {environment[name] for name in environment if name.endswith("NUM_THREADS") and name[0] != "L"} == {"1"}


def test_the_chosen_renderer_draws_the_same_in_two_processes_at_once():
    found = gl.choose_backend("auto", processes=2)
    assert found.renderer
    assert len(found.pixels_sha256) == 64


def test_a_renderer_that_does_not_answer_in_time_is_killed_and_named():
    with pytest.raises(SetupError, match="none in time"):
        gl.probe("osmesa", timeout_s=0.01)


def test_where_egl_does_not_render_osmesa_does_and_the_reason_is_told():
    found = gl.choose_backend("auto", egl_device_id=99)
    assert found.backend == "osmesa"
    (reason,) = found.passed_over
    assert reason.startswith("GL backend egl: expected an image")


def test_a_device_that_is_not_there_is_a_setup_error_with_a_remedy():
    with pytest.raises(SetupError, match="apt-get install -y libegl1"):
        gl.choose_backend("egl", egl_device_id=99)
