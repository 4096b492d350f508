"""A policy against a simulator: every mismatch with both sides and the key that mends it."""

import dataclasses

import pytest

from ray_eval.config import load_config
from ray_eval.driver.matching import check_match
from ray_eval.driver.resolve import told_section
from ray_eval.driver.simulators import simulator_of
from ray_eval.errors import ConfigError
from ray_eval.policies import make_policy
from ray_eval.types import (
    ACTION,
    IMAGE,
    STATE,
    ActionSpec,
    CameraSpec,
    EnvSpec,
    PolicySpec,
    TrainingRange,
    VectorSpec,
)

CONFIG = load_config(None, ["suite=libero_object", "policy=noop"])
LIBERO = simulator_of(CONFIG).spec("libero_object", 0)
FITTING = PolicySpec("p", (IMAGE, STATE), 4, action_dim=7, state_dim=8)
NARROW = EnvSpec(
    simulator="narrow",
    cameras=(CameraSpec("observation.images.top", "top", 96, 96, is_resizable=False),),
    state=VectorSpec(("x", "y")),
    action=ActionSpec(("x", "y"), (0.0, 0.0), (512.0, 512.0), "absolute_position", is_clipped=False, noop="stay"),
    control_hz=10.0,
    success="there",
    seeds="all",
)
TOP = PolicySpec("p", ("observation.images.top", STATE), 4, action_dim=2, state_dim=2)


def ranged(low, high):
    return (TrainingRange(ACTION, low, high, "min, max"),)


def test_what_fits_passes():
    check_match(CONFIG, FITTING, LIBERO)
    check_match(CONFIG, TOP, NARROW)
    check_match(CONFIG, dataclasses.replace(TOP, ranges=ranged((10.0, 10.0), (500.0, 530.0))), NARROW)


@pytest.mark.parametrize(
    ("env", "changes", "said"),
    [
        (LIBERO, {"keys": ("observation.images.top", STATE)}, r"got observation\.images\.top;.*policy\.rename\.image="),
        (LIBERO, {"state_dim": 9}, r"of 8 numbers .*reads 9; write protocol\.state_format=joints_gripper"),
        (LIBERO, {"action_dim": 14}, r"an action of 7 numbers \(x, .*gripper\), got 14"),
        (
            LIBERO,
            {"control": "absolute_pose"},
            r"actions of delta_pose, got .*absolute_pose; .*\.control=abs",
        ),
        (LIBERO, {"control_hz": 50.0}, r"expected 20 control steps per second, got a policy for 50"),
        (LIBERO, {"ranges": ranged((5.0,) * 7, (9.0,) * 7)}, r"component x within -1 to 1, got .* trained on 5 to 9"),
        (
            NARROW,
            {**dataclasses.asdict(TOP), "image_size_px": 224},
            r"96 x 96 px.*224.*\.images\.resize=bilinear",
        ),
        (NARROW, {**dataclasses.asdict(TOP), "ranges": ranged((-1.0, -1.0), (-0.5, 1.0))}, r"x within 0 to 512"),
    ],
)
def test_each_mismatch_names_both_sides_and_what_mends_it(env, changes, said):
    changes.pop("version", None)
    config = CONFIG if env is LIBERO else load_config(None, ["suite=fake", "policy=noop", "protocol=molmoact2"])
    with pytest.raises(ConfigError, match=said):
        check_match(config, dataclasses.replace(FITTING, **changes), env)


def test_several_mismatches_are_told_together():
    with pytest.raises(ConfigError, match=r"reads 9.*also: .*an action of 7 numbers"):
        check_match(CONFIG, dataclasses.replace(FITTING, state_dim=9, action_dim=6), LIBERO)


@pytest.mark.parametrize("name", ["random", "noop"])
def test_scripted_policies_fit_whatever_they_are_told_of(name):
    config = load_config(None, ["suite=fake", f"policy={name}"])
    policy = make_policy(told_section(config, NARROW))
    assert policy.spec.keys == ("observation.images.top",)
    check_match(config, policy.spec, NARROW)
