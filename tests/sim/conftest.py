"""Real LIBERO: variables set before any simulator is imported, and third parties' import warnings kept out."""

import os
import warnings

import pytest

from ray_eval.envs.gl import choose_backend, gl_environment


@pytest.fixture(scope="session", autouse=True)
def simulator():
    """Imports the simulator once, with a renderer that works; CUDA stays as it is for other tests."""
    if "MUJOCO_GL" not in os.environ:
        environment = gl_environment(choose_backend("auto").backend)
        os.environ.update({name: environment[name] for name in environment if name != "CUDA_VISIBLE_DEVICES"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from libero.libero.envs import OffScreenRenderEnv

    return OffScreenRenderEnv


@pytest.fixture
def memory(tmp_path, monkeypatch):
    """An empty cache folder, and a process that knows of none."""
    from ray_eval.envs.libero import proofs

    monkeypatch.setenv("RAY_EVAL_CACHE", str(tmp_path / "cache"))
    proofs._proven.cache_clear()
    yield proofs
    proofs._proven.cache_clear()
