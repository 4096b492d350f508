"""The plan: which episodes, with which seeds and budgets, in which order."""

import pytest

from ray_eval.config import load_config
from ray_eval.driver.plan import make_plan
from ray_eval.driver.resolve import differences, env_settings, is_starved, queue_rules
from ray_eval.driver.simulators import simulator_of
from ray_eval.errors import ConfigError
from ray_eval.rollout.seeds import request_seed
from ray_eval.sections import StepsLatency
from ray_eval.types import IMAGE, SINGLE_IMAGE, STATE, EpisodeSpec, PolicySpec


def plan(*overrides: str):
    config = load_config({"suite": "libero_object", "policy": "oracle"}, overrides)
    return make_plan(config, lambda _suite: 10, lambda _suite, _task: 50)


def test_everything_is_planned_unless_said():
    assert len(plan()) == 500


def test_order_is_suites_as_given_then_tasks_init_states_and_repeats_ascending():
    found = plan("suite=[libero_goal,libero_10]", "tasks=[3,0]", "init_states=[17,2]", "repeats=2")
    assert [spec.episode_id for spec in found[:4]] == [
        "libero_goal/0/2",
        "libero_goal/0/2/1",
        "libero_goal/0/17",
        "libero_goal/0/17/1",
    ]
    assert found[-1].episode_id == "libero_10/3/17/1"


def test_env_seeds_follow_the_protocol():
    seeds = {spec.episode_id: spec.env_seed for spec in plan("protocol=lerobot", "init_states=[3]", "repeats=2")}
    assert (seeds["libero_object/0/3"], seeds["libero_object/0/3/1"]) == (1003, 11003)
    assert {spec.env_seed for spec in plan("protocol=openpi")} == {7}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tasks=[10]", "tasks: expected indices from 0 to 9"),
        ("init_states=[50]", "0 to 49"),
        ("episodes_per_task=51", "50"),
    ],
)
def test_what_does_not_exist_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        plan(override)


def test_noise_seeds_depend_on_the_episodes_identity_alone():
    spec = EpisodeSpec("libero_object", 3, 17, env_seed=7, max_steps=280)
    # Golden: SHA-256 of "noise|0|libero_object|3|17|0|2", first 8 bytes little-endian, shifted right by one.
    import hashlib

    digest = hashlib.sha256(b"noise|0|libero_object|3|17|0|2").digest()
    assert request_seed("noise", spec, 2) == int.from_bytes(digest[:8], "little") >> 1
    assert request_seed("noise", spec, 2) != request_seed("noise", spec, 3)
    assert 0 <= request_seed("noise", spec, 2) < 2**63


SPEC = PolicySpec("p", keys=(IMAGE, STATE), chunk_len=10, replan_steps=8)


def resolved(*overrides: str, spec: PolicySpec = SPEC):
    config = load_config(None, ["suite=libero_object", "policy=oracle", *overrides])
    return queue_rules(config, spec), env_settings(config, spec, simulator_of(config).spec("libero_object", 0))


def test_sync_is_latency_zero_and_threshold_zero():
    rules, _ = resolved()
    assert (rules.horizon, rules.chunk_len, rules.chunk_size_threshold) == (5, 10, 0.0)


@pytest.mark.parametrize(("replan", "horizon"), [("chunk", 10), ("policy", 8), ("3", 3)])
def test_replan_steps_may_be_the_chunks_or_the_checkpoints(replan, horizon):
    assert resolved(f"protocol.replan_steps={replan}")[0].horizon == horizon


def test_more_rows_than_a_chunk_has_are_refused():
    with pytest.raises(ConfigError, match="at most 10"):
        resolved("protocol.replan_steps=11")
    with pytest.raises(ConfigError, match="got nothing"):
        resolved("protocol.replan_steps=policy", spec=PolicySpec("p", (STATE,), 10))


def test_async_cuts_chunks_to_the_actions_asked_for():
    rules, _ = resolved("execution.mode=async", "execution.actions_per_chunk=6")
    assert (rules.horizon, rules.chunk_len, rules.chunk_size_threshold, rules.kind) == (6, 10, 1 / 6, "virtual")
    assert is_starved(rules, StepsLatency(6), 20)
    assert resolved("execution.actions_per_chunk=3")[0].horizon == 3


@pytest.mark.parametrize("chunk_len", range(1, 33))
def test_async_asks_after_the_steps_that_sync_executes(chunk_len):
    for steps in range(1, chunk_len + 1):
        spec = PolicySpec("p", (STATE,), chunk_len, replan_steps=steps)
        rules, _ = resolved("execution.mode=async", "protocol.replan_steps=policy", spec=spec)
        asks = [queued for queued in range(chunk_len + 1) if queued / rules.horizon <= rules.chunk_size_threshold]
        assert asks == list(range(chunk_len - steps + 1)), "the queue asks when so many are executed, and no sooner"


def test_observations_are_compared_only_where_the_policy_has_a_state():
    assert resolved("execution.mode=async", "execution.similarity_atol=1")[0].similarity_atol == 1
    with pytest.raises(ConfigError, match="similarity_atol: expected a policy that asks for"):
        resolved("execution.mode=async", "execution.similarity_atol=1", spec=PolicySpec("p", (IMAGE,), 10))


def test_an_aggregation_that_is_not_there_is_known_before_anything_starts():
    with pytest.raises(ConfigError, match="Did you mean 'average'"):
        resolved("execution.mode=async", "execution.aggregate=averge")


def test_an_env_delivers_what_the_policy_asks_for_at_the_size_it_insists_on():
    _, settings = resolved(spec=PolicySpec("p", (IMAGE,), 10, image_size_px=512))
    assert settings.recipe.keys == (IMAGE,)
    assert settings.recipe.images.image_size_px == 512


def test_where_nothing_resizes_an_image_is_rendered_at_the_policys_size():
    _, settings = resolved("protocol=lerobot", spec=PolicySpec("p", (IMAGE,), 10, image_size_px=360, replan_steps=5))
    images = settings.recipe.images
    assert (images.render_size_px, images.image_size_px, images.resize) == (360, 360, "none")


def test_a_policy_that_reads_another_state_is_refused_with_the_format_to_write():
    spec = PolicySpec("p", (STATE,), 10, state_dim=9)
    with pytest.raises(ConfigError, match=r"of 8 numbers .*reads 9; write protocol\.state_format=joints_gripper"):
        resolved(spec=spec)
    resolved("protocol.state_format=joints_gripper", spec=spec)
    with pytest.raises(ConfigError, match="another robot"):
        resolved(spec=PolicySpec("p", (STATE,), 10, state_dim=14))


def test_what_the_policy_and_the_protocol_say_differently_is_told():
    config = load_config(None, ["suite=libero_object", "policy=oracle", "protocol=openpi"])
    env = simulator_of(config).spec("libero_object", 0)
    told = differences(config, PolicySpec("p", (IMAGE,), 10, image_size_px=256, replan_steps=8), env)
    assert len(told) == 2
    assert "256 px, not the 224 px of protocol openpi" in told[0]
    assert "the 5 of protocol openpi, not the 8 of the policy" in told[1]
    assert differences(config, PolicySpec("p", (STATE,), 10, image_size_px=256, replan_steps=5), env) == []


@pytest.mark.parametrize(
    ("suite", "size_px", "told"),
    [
        ("pusht", 96, []),
        ("pusht", 84, ["images: the policy's 84 px, not the 96 px of the simulator pusht; they are rendered at 84 px"]),
        (
            "metaworld_mt10",
            96,
            ["images: the policy's 96 px, not the 480 px of the simulator metaworld; they are rendered at 96 px"],
        ),
    ],
)
def test_where_the_protocol_leaves_images_as_they_are_the_simulators_size_is_named(suite, size_px, told):
    config = load_config(None, [f"suite={suite}", "policy=random"])
    spec = PolicySpec("p", (SINGLE_IMAGE,), 1, image_size_px=size_px)
    assert differences(config, spec, simulator_of(config).spec(suite, 0)) == told


def test_a_policy_that_libero_cannot_serve_is_refused():
    with pytest.raises(ConfigError, match=r"observation\.depth"):
        resolved(spec=PolicySpec("p", ("observation.depth",), 10))
    with pytest.raises(ConfigError, match=r"7 numbers .*, got 6"):
        resolved(spec=PolicySpec("p", (STATE,), 10, action_dim=6))
