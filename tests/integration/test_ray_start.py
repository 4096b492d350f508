"""A Ray that a run starts: its dashboard comes beside the run, nothing is started for nobody, and nothing is left."""

import json
import subprocess
import sys

import pytest

SESSION = """
import json, os, psutil, ray, urllib.error, urllib.request
from ray._private.node import Node
from ray_eval.config import RayConfig
from ray_eval.driver.api_server import NICENESS
from ray_eval.driver.cluster import ray_session

{before}

def ours():
    return psutil.Process().children(recursive=True)

def named(words):
    return [each for each in ours() if words in " ".join(each.cmdline())]

def status_of(url):
    try:
        return urllib.request.urlopen(f"http://{{url}}/api/version", timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code

told = {{}}
with ray_session(RayConfig(dashboard={dashboard}), "start", 1, 0) as cluster:
    told["idle"] = len(named("ray::IDLE"))
    told["answer"] = ray.get(ray.remote(lambda: 3).remote())
    server = cluster.api_server
    server.settle()
    told["failure"], told["has_url"] = server.failure, server.url is not None
    told["status"] = server.url and status_of(server.url)
    beside = {{name: named(name) for name in ("dashboard/dashboard.py", "DashboardAgent", "monitor.py")}}
    told["nice"] = {{name: [each.nice() - os.nice(0) - NICENESS for each in found] for name, found in beside.items()}}
    family = ours()
told["left"] = [each.name() for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
told["is_mended"] = Node.__dict__.get("start_api_server") is {original}
others = (Node.start_monitor, Node.start_log_monitor)
told["is_mended"] &= {{each.__module__ for each in others}} == {{Node.__module__}}
print(json.dumps(told))
"""
REFUSED = """
def refuse(node, **wanted):
    raise RuntimeError("no room for it")
Node.start_api_server = refuse
"""


def session(before="original = Node.start_api_server", original="original", *, has_dashboard=True):
    code = SESSION.format(before=before, original=original, dashboard=has_dashboard)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_the_dashboard_comes_beside_the_run_and_takes_what_that_leaves():
    told, _ = session()
    assert told == {
        "idle": 0,
        "answer": 3,
        "failure": None,
        "has_url": True,
        "status": told["status"],
        "nice": {"dashboard/dashboard.py": [0], "DashboardAgent": [0], "monitor.py": [0]},
        "left": [],
        "is_mended": True,
    }
    # 401 where it asks for Ray's token.
    assert told["status"] in (200, 401)


def test_a_run_goes_on_without_a_dashboard_that_does_not_start():
    told, _ = session(REFUSED, "refuse")
    assert (told["answer"], told["failure"], told["has_url"], told["left"]) == (3, "no room for it", False, [])


def test_without_a_dashboard_no_address_is_told():
    told, said = session(has_dashboard=False)
    assert (told["answer"], told["failure"], told["has_url"], told["left"]) == (3, None, False, [])
    assert "Failed" not in said


OTHERWISE = """
from ray_eval.driver import api_server, registration
api_server._METHOD, registration._FUNCTION = "start_it_otherwise", "ask_otherwise"
"""
UNKNOWN = """
from ray_eval.driver import registration
original = Node.start_api_server
def wait_for(address, node_id):
    raise TypeError("asked otherwise")
registration._wait_for = wait_for
"""


def test_a_node_that_cannot_be_asked_for_is_noticed_as_ever():
    told, _ = session(UNKNOWN, has_dashboard=False)
    assert (told["answer"], told["failure"], told["left"], told["is_mended"]) == (3, None, [], True)


def test_a_ray_that_starts_otherwise_is_waited_for_as_ever():
    told, _ = session(OTHERWISE, "Node.start_api_server")
    assert (told["answer"], told["failure"], told["has_url"], told["left"]) == (3, None, True, [])


@pytest.mark.parametrize("name", ["WARNING: ray: expected its dashboard to start, got no room for it", ""])
def test_where_it_is_or_why_not_is_said_once(name):
    from pathlib import Path

    from ray_eval.driver.api_server import ApiServer
    from ray_eval.driver.context import Context

    class Said:
        def __init__(self):
            self.lines = []
            self.note = self.lines.append
            self.api_server = ApiServer()

    said = Said()
    context = Context(None, said, Path(), said, 1)
    context.tell_dashboard()
    assert said.lines == []
    if name:
        said.api_server.failure = "no room for it"
    else:
        said.api_server.url = "127.0.0.1:8265"
    context.tell_dashboard()
    context.tell_dashboard()
    (line,) = said.lines
    assert line.startswith(name or "Ray dashboard: http://127.0.0.1:8265")
