"""How many workers a cluster that changes is asked for."""

import pytest

from ray_eval.driver.elastic import LOOK_S, MARKET, Nodes, newcomers_wanted, room, steady_labels


def test_there_is_room_where_a_node_that_stays_has_whole_cpus_free():
    assert room({"a": 1.5, "b": 0.9, "c": 3.0, "d": 2.0}, frozenset({"d"})) == 1 + 0 + 3


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"room": 4, "waiting": 10, "idle": 0, "coming": 0}, 4),
        ({"room": 4, "waiting": 3, "idle": 2, "coming": 0}, 1),
        ({"room": 4, "waiting": 1, "idle": 3, "coming": 0}, 0),
        ({"room": 4, "waiting": 10, "idle": 0, "coming": 1}, 0),
        ({"room": 1000, "waiting": 2000, "idle": 0, "coming": 0}, 64),
        ({"room": 0, "waiting": 2000, "idle": 0, "coming": 0}, 0),
    ],
)
def test_newcomers_are_as_many_as_have_a_place_and_an_episode(given, wanted):
    assert newcomers_wanted(**given) == wanted


def test_the_cluster_is_looked_at_now_and_then():
    now = [0.0]
    nodes = Nodes(lambda: now[0])
    nodes._looked_at, nodes._room = 0.0, 7
    now[0] = LOOK_S - 0.1
    assert (nodes.room, nodes.leaving) == (7, frozenset())


def node(kind=None, alive=True, **resources):
    labels = {"ray.io/node-id": "a"} | ({MARKET: kind} if kind else {})
    return {"Alive": alive, "Labels": labels, "Resources": {name.upper(): count for name, count in resources.items()}}


@pytest.mark.parametrize(
    ("nodes", "cpus", "gpus", "selector"),
    [
        ([node(cpu=8.0)], 1, 0, {}),  # nothing to choose between
        ([node(cpu=8.0), node("spot", cpu=96.0)], 1, 0, {MARKET: "!spot"}),
        ([node("on-demand", cpu=8.0, gpu=1.0), node("spot", cpu=8.0, gpu=1.0)], 1, 1, {MARKET: "!spot"}),
        ([node(cpu=8.0), node("spot", cpu=8.0, gpu=1.0)], 1, 1, {}),  # the only GPU is one that may go
        ([node(cpu=0.0), node("spot", cpu=96.0)], 1, 0, {}),
        ([node(cpu=8.0, alive=False), node("spot", cpu=96.0)], 1, 0, {}),
    ],
)
def test_a_policy_stays_off_nodes_that_may_go_where_another_holds_it(nodes, cpus, gpus, selector):
    assert steady_labels(nodes, cpus, gpus) == selector
