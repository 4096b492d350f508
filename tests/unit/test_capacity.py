"""The queueing network against what can be said on paper; figures, hosts and forecasts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_eval.capacity.figures import EpisodeFigures, Figures, own_time_s, scaled
from ray_eval.capacity.hosts import Hosts, read_hosts
from ray_eval.capacity.network import Journey, Service, flow, in_turn
from ray_eval.driver.forecast import Question, Setting, forecast, recommend
from ray_eval.errors import ConfigError
from ray_eval.types import EpisodeSpec


def service(forward_s=lambda rows: 0.030 + 0.001 * rows, max_rows=64, **more):
    return Service(forward_s, max_rows, **more)


def test_one_worker_thinks_and_waits_in_turn():
    found = flow(1, in_turn([Journey((0.01,) * 11)]), service(lambda _: 0.03))
    assert found.duration_s == pytest.approx(11 * 0.01 + 10 * 0.03)
    assert found.busy_share == pytest.approx(0.3 / 0.41)
    assert (found.requests, found.forwards, found.rows) == (10, 10, 1)
    assert found.waited_s == pytest.approx(0.3)
    assert found.thought_s == pytest.approx(0.11)


def test_more_workers_than_a_forward_holds_keep_it_full():
    """64 rows in 94 ms: the bound of a server that is never idle."""
    found = flow(256, in_turn([Journey((0.0,) * 41)] * 256), service())
    assert found.per_s == pytest.approx(64 / 0.094, rel=0.01)
    assert found.busy_share == pytest.approx(1)


def test_few_workers_with_long_pauses_hardly_wait_for_one_another():
    """Each alone would be answered every 10.031 s; the bound of a server that nobody has to wait for."""
    found = flow(4, in_turn([Journey((10.0,) * 11)] * 4), service(servers=4))
    assert found.per_s == pytest.approx(4 * 10 / (10 * 10.031 + 10), rel=1e-6)


def test_a_request_that_is_sent_ahead_costs_only_what_the_lead_does_not_cover():
    covered = flow(1, in_turn([Journey((0.1, 0.1), lead_s=0.1)]), service(lambda _: 0.08))
    assert covered.duration_s == pytest.approx(0.2)
    assert covered.waited_s == 0
    late = flow(1, in_turn([Journey((0.1, 0.1), lead_s=0.05)]), service(lambda _: 0.08))
    assert late.duration_s == pytest.approx(0.1 + 0.08 + 0.05)
    assert late.waited_s == pytest.approx(0.03)


def test_workers_on_too_few_cores_are_slower_by_as_much():
    two = flow(2, in_turn([Journey((1.0,))] * 2), service(), cores=1)
    assert two.duration_s == pytest.approx(2.0)
    assert flow(2, in_turn([Journey((1.0,))] * 2), service(), cores=2).duration_s == pytest.approx(1.0)


@settings(max_examples=50)
@given(
    st.integers(1, 8), st.lists(st.lists(st.floats(0, 2), min_size=1, max_size=6), min_size=1, max_size=12),
    st.integers(1, 4), st.integers(1, 3), st.floats(0, 0.5),
)  # fmt: skip
def test_every_request_is_answered_once_and_no_worker_is_faster_than_alone(workers, thinks, rows, servers, lead_s):
    journeys = [Journey(tuple(each), lead_s) for each in thinks]
    found = flow(workers, in_turn(journeys), service(max_rows=rows, servers=servers))
    assert found.requests == sum(len(each) - 1 for each in thinks)
    assert len(found.ended_s) == len(journeys)
    assert found.thought_s == pytest.approx(sum(map(sum, thinks)))
    assert found.duration_s >= max(sum(each) for each in thinks) - 1e-9
    assert 0 <= found.busy_share <= 1 + 1e-9
    assert found.rows <= rows


FIGURES = Figures((EpisodeFigures(100, 10, 5.0, "fake/0"),), {1: 0.006, 24: 0.050}, worker_bytes=10**9)


def test_a_forward_between_and_beyond_the_sizes_that_were_timed_lies_on_their_line():
    figures = Figures(FIGURES.episodes, {1: 0.01, 2: 0.02, 4: 0.03})
    assert [figures.forward(rows) for rows in (1, 2, 3, 4, 6)] == pytest.approx([0.01, 0.02, 0.025, 0.03, 0.04])
    assert Figures(FIGURES.episodes, {8: 0.5}).forward(1) == 0.5


def test_figures_come_back_from_their_file_and_others_are_refused():
    assert Figures.from_json(FIGURES.to_json(), "f.json") == FIGURES
    with pytest.raises(ConfigError, match="expected episodes, forward_s"):
        Figures.from_json({"episodes": []}, "f.json")
    with pytest.raises(ConfigError, match="expected one or more"):
        Figures.from_json({"episodes": [], "forward_s": {"1": 1}}, "f.json")


def test_a_workers_own_time_leaves_out_what_it_stood_still_for():
    assert own_time_s(10.0, [1.0, 2.0], steps=100) == pytest.approx(7.0)
    # 8 s of 100 steps: a lead of 10 steps covers 0.8 s of each wait.
    assert own_time_s(8.4, [1.0, 1.0], steps=100, lead_steps=10) == pytest.approx(8.0, abs=0.01)


def test_a_curve_at_rest_is_made_as_slow_as_what_was_measured():
    slowed = scaled(lambda rows: 0.1 * rows, [1, 2, 4], rows=1.5, measured_s=0.3)
    assert slowed == pytest.approx({1: 0.2, 2: 0.4, 4: 0.8})


def test_hosts_are_read_from_rays_file_and_from_a_persons():
    ray = {"available_node_types": {
        "head": {"resources": {"CPU": 0}, "node_config": {"InstanceType": "m7i.large"}},
        "workers": {"min_workers": 2, "node_config": {"InstanceType": "m7i.24xlarge"}},
    }}  # fmt: skip
    prices = {"m7i.large": 0.1, "m7i.24xlarge": {"price_per_hour": 4.8, "cpus": 96, "memory_gb": 384}}
    assert read_hosts(ray, prices, "cluster.yaml") == (
        Hosts("head", 1, 0, price_per_hour=0.1), Hosts("workers", 2, 96, 0, 384 * 10**9, 4.8)
    )  # fmt: skip
    person = {"hosts": {"gpu": {"cpus": 16, "gpus": 1, "price_per_hour": 3}}}
    assert read_hosts(person, {}, "hosts.yaml") == (Hosts("gpu", 1, 16, 1, None, 3.0),)
    with pytest.raises(ConfigError, match="workers: expected its cores"):
        read_hosts(ray, {"m7i.large": 0.1}, "cluster.yaml")
    with pytest.raises(ConfigError, match="expected hosts by name"):
        read_hosts({"cluster_name": "x"}, {}, "cluster.yaml")


def question(episodes=200, **more):
    hosts = (Hosts("gpu", 1, 8, 1, None, 3.0), Hosts("cpus", 1, 64, 0, 40 * 10**9, 5.0))
    plan = tuple(EpisodeSpec("fake", i % 4, i // 4, 7, 100) for i in range(episodes))
    return Question(FIGURES, plan, hosts, policy_threads=4, has_device=True, **more)


def test_there_is_room_for_workers_where_cores_and_memory_are_left():
    assert question().room(1) == 4 + 40
    assert question().most_replicas == 1


def test_a_forecast_says_time_price_and_what_limits():
    slow = forecast(question(), Setting(workers=4, replicas=1, max_rows=1))
    assert slow.total_s == pytest.approx(200 * 5.06 / 4, rel=0.02)
    assert slow.price == pytest.approx(8.0 * slow.total_s / 3600)
    assert slow.limit.startswith("simulation")
    full = forecast(question(2000), Setting(workers=44, replicas=1, max_rows=1))
    assert full.flow.busy_share < 0.9
    # Padded to one row of 6 ms each, 44 workers ask for 83 rows a second; padded to 24 rows, for twice what it has.
    padded = forecast(question(2000, fixed_rows=24), Setting(workers=44, replicas=1, max_rows=24))
    assert padded.flow.duration_s >= full.flow.duration_s


def test_what_is_recommended_is_about_as_fast_as_all_there_is_and_no_larger():
    best, most = recommend(question()), forecast(question(), Setting(44, 1, 64))
    assert best.total_s <= 1.1 * most.total_s
    assert best.setting.max_rows <= 8
