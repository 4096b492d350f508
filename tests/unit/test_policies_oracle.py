"""The oracle against a world that behaves as it believes: the arm's own model, and one object that can be carried."""

import dataclasses

import numpy as np
import pytest

from ray_eval.errors import ContractError
from ray_eval.policies.oracle import Oracle
from ray_eval.policies.oracle.arm import Hand, imagine, servo
from ray_eval.policies.oracle.geometry import (
    downward_grasp,
    rotation_from_quaternion,
    rotation_from_vector,
    vector_from_rotation,
)
from ray_eval.policies.oracle.memory import Memory
from ray_eval.sections import OraclePolicy
from ray_eval.types import ENVIRONMENT_STATE, POLICY_STATE_LIMIT_BYTES, STATE, Observation

NAMES = ("cream_cheese_1", "basket_1", "milk_1")
TASK = "pick up the cream cheese and place it in the basket"
DOWN = downward_grasp(np.array([0.0, -1.0, 0.0]))
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
MILK_QUATERNION = np.array([0.5, 0.5, 0.5, 0.5])


class World:
    """A table with a cream cheese, a basket and a milk; the cheese sticks to fingers that close around it."""

    def __init__(self, slips=0):
        self.hand = Hand(np.array([-0.15, 0.0, 0.25]), DOWN)
        self.cheese = np.array([0.05, -0.10, 0.009])
        self.basket = np.array([0.0, 0.26, 0.0])
        self.held = None
        self.slips = slips
        self.step_count = 0

    def step(self, action):
        self.hand = imagine(self.hand, np.asarray(action, dtype=np.float64))
        self.step_count += 1
        near = np.linalg.norm(self.hand.position - self.cheese) < 0.02
        if self.held is None and near and self.hand.closing_steps == 4:
            self.held = self.cheese - self.hand.position
        if action[6] < 0:
            self.held = None
        if self.held is not None:
            self.cheese = self.hand.position + self.held
            if self.slips and self.cheese[2] > 0.08:
                self.slips, self.held = self.slips - 1, None
        if self.held is None:
            self.cheese[2] = max(0.009, self.cheese[2] - 0.05)

    @property
    def is_delivered(self):
        inside = np.abs(self.cheese - self.basket) < (0.06, 0.06, 0.10)
        return bool(inside.all()) and self.held is None

    def observation(self, memory=b""):
        poses = [(self.cheese, UPRIGHT), (self.basket, UPRIGHT), ((0.1, 0.1, 0.07), MILK_QUATERNION)]
        scene = np.concatenate([np.concatenate(p) for p in poses]).astype(np.float32)
        fingers = (0.04, -0.04) if self.held is None else (0.02, -0.02)
        state = np.concatenate([self.hand.position, vector_from_rotation(self.hand.rotation), fingers])
        arrays = {STATE: state.astype(np.float32), ENVIRONMENT_STATE: scene}
        return Observation(arrays, TASK, step=self.step_count, environment_names=NAMES, policy_state=memory)


def delivered(world, chunk_len, replan_steps, max_steps=280):
    """Control steps until the cheese is in the basket, or None."""
    policy, memory = Oracle(OraclePolicy(chunk_len=chunk_len)), b""
    while world.step_count < max_steps:
        (chunk,) = policy.infer_batch([world.observation(memory)])
        memory = chunk.policy_state
        for action in chunk.actions[:replan_steps]:
            world.step(action)
            if world.is_delivered:
                return world.step_count
    return None


@pytest.mark.parametrize(("chunk_len", "replan_steps"), [(1, 1), (10, 5), (10, 10), (32, 5), (32, 32), (50, 50)])
def test_whatever_part_of_a_chunk_is_executed_the_object_arrives(chunk_len, replan_steps):
    assert delivered(World(), chunk_len, replan_steps) is not None


@pytest.mark.parametrize("latency_steps", [1, 2, 4, 5])
def test_chunks_that_come_late_still_bring_the_object(latency_steps):
    world, policy, memory = World(), Oracle(OraclePolicy(chunk_len=10)), b""
    planned, last = {}, np.array([0, 0, 0, 0, 0, 0, -1])
    while world.step_count < 280 and not world.is_delivered:
        captured = world.step_count
        (chunk,) = policy.infer_batch([world.observation(memory)])
        memory = chunk.policy_state
        for _ in range(5):
            if world.step_count == captured + latency_steps:
                planned = {captured + row: action for row, action in enumerate(chunk.actions)}
            last = planned.get(world.step_count, last)
            world.step(last)
        if latency_steps == 5:
            planned = {captured + row: action for row, action in enumerate(chunk.actions)}
    assert world.is_delivered


@pytest.mark.parametrize("slips", [1, 2])
def test_an_object_that_is_lost_is_fetched_again(slips):
    undisturbed, disturbed = delivered(World(), 10, 5), delivered(World(slips), 10, 5)
    assert disturbed > undisturbed


@pytest.mark.parametrize("chunk_len", [1, 10, 1000])
def test_actions_are_in_range_and_the_memory_is_small(chunk_len):
    world, policy, memory = World(), Oracle(OraclePolicy(chunk_len=chunk_len)), b""
    for _ in range(8):
        (chunk,) = policy.infer_batch([world.observation(memory)])
        memory = chunk.policy_state
        assert chunk.actions.shape == (chunk_len, 7)
        assert np.abs(chunk.actions).max() <= 1.0
        assert set(chunk.actions[:, 6]) <= {-1.0, 1.0}
        assert len(memory) < POLICY_STATE_LIMIT_BYTES / 2
        for action in chunk.actions[:5]:
            world.step(action)


def test_a_memory_survives_its_bytes():
    (chunk,) = Oracle(OraclePolicy()).infer_batch([World().observation()])
    assert Memory.from_bytes(chunk.policy_state).to_bytes() == chunk.policy_state


@pytest.mark.parametrize("memory", [b"nonsense", b"[]", b"{}", b'{"stages": [{"name": 1}], "motion": null}', b"\xff"])
def test_a_foreign_memory_is_a_contract_error(memory):
    with pytest.raises(ContractError, match="policy_state: expected what it handed back"):
        Oracle(OraclePolicy()).infer_batch([World().observation(memory)])


def test_state_and_names_that_do_not_match_are_contract_errors():
    observation = World().observation()
    short = dataclasses.replace(observation, environment_names=NAMES[:2])
    with pytest.raises(ContractError, match=r"expected shape \(14,\), got \(21,\)"):
        Oracle(OraclePolicy()).infer_batch([short])
    stacked = {**observation.arrays, STATE: np.zeros((2, 8), np.float32)}
    with pytest.raises(ContractError, match=r"observation.state: expected shape \(8,\), got \(2, 8\)"):
        Oracle(OraclePolicy()).infer_batch([dataclasses.replace(observation, arrays=stacked)])
    without = {STATE: observation.arrays[STATE]}
    with pytest.raises(ContractError, match="environment_state"):
        Oracle(OraclePolicy()).infer_batch([dataclasses.replace(observation, arrays=without)])


def test_the_servo_brings_the_hand_to_a_pose_and_keeps_it_there():
    hand = Hand(np.array([-0.2, 0.0, 1.17]), DOWN)
    position, rotation = np.array([0.0, 0.2, 1.0]), rotation_from_vector(np.array([0.0, 0.0, 1.2])) @ DOWN
    for _ in range(60):
        hand = imagine(hand, servo(hand, position, rotation, -1.0))
    assert np.linalg.norm(hand.position - position) < 0.003
    assert np.linalg.norm(vector_from_rotation(rotation @ hand.rotation.T)) < 0.02


@pytest.mark.parametrize("seed", range(5))
def test_axis_angle_and_rotation_are_each_other_s_inverse(seed):
    generator = np.random.default_rng(seed)
    axis = generator.normal(size=3)
    for angle in (0.0, 1e-9, 0.3, 3.0, np.pi):
        rotation = rotation_from_vector(axis / np.linalg.norm(axis) * angle)
        assert np.allclose(rotation @ rotation.T, np.eye(3))
        assert np.allclose(rotation_from_vector(vector_from_rotation(rotation)), rotation, atol=1e-6)


def test_a_quaternion_of_zeros_is_no_rotation():
    assert np.array_equal(rotation_from_quaternion(np.zeros(4)), np.eye(3))


@pytest.mark.parametrize(
    ("task", "names", "said"),
    [
        ("put the milk on the milk", ("milk_1",), "expected a target that it knows .*, got milk_1"),
        ("open the top drawer of the cabinet", ("wooden_cabinet_1",), "expected wooden_cabinet_1_cabinet_top among"),
        (
            "turn on the stove",
            ("flat_stove_1",),
            "expected joint:flat_stove_1_button among environment_names, got none",
        ),
    ],
)
def test_what_the_scene_or_the_oracle_lacks_is_a_contract_error(task, names, said):
    arrays = {STATE: World().observation().arrays[STATE], ENVIRONMENT_STATE: np.zeros(7, np.float32)}
    with pytest.raises(ContractError, match=said):
        Oracle(OraclePolicy()).infer_batch([Observation(arrays, task, environment_names=names)])
