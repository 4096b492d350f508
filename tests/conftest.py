"""What every test shares."""

import importlib.util
import os
import subprocess
import sys

import pytest
from hypothesis import settings

# A busy machine outlasts any deadline of an example; what an example costs is nobody's claim.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# Ray forks to start its processes. What gRPC does at a fork is for children that go on without another program, and may
# hang where a server of an earlier test is still putting itself away. Read when gRPC is first used.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"


def _collect_quietly(process: subprocess.Popen) -> None:
    subprocess.Popen.__del__(process, _warn=lambda *_, **__: None)


# Serving and its tests need no Ray. Ray waits one second for a process that it killed and then drops the handle. On a
# busy machine that is too short, and the handle's collection would fail whichever test runs then. Processes of our own
# still have to be waited for.
if importlib.util.find_spec("ray"):
    from ray._private import services

    services.ConsolePopen.__del__ = _collect_quietly


@pytest.fixture(autouse=True, scope="module")
def _no_ray_for_the_next_module():
    """Ray is one for a process, and which module had it before depends on how files are dealt out."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()
