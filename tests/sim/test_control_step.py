"""The compiled control step against robosuite's own loop, bit for bit, in one simulation."""

import dataclasses

import mujoco
import numpy as np
import pytest
from plain import INIT_STATE_ID, SEED, turn_on_stove

from ray_eval.envs.libero import control_step, goal, suites
from ray_eval.envs.libero.model_cache import ModelCache, default_folder
from ray_eval.envs.libero.simulation import Simulation
from ray_eval.envs.libero.state import rotation_axis_angle
from ray_eval.errors import EpisodeError

SETTLE = np.array([0.0] * 6 + [-1.0])
SAMPLE = [("libero_goal", 7)]
"""A table with objects, a drawer, and a stove that is turned on."""
NIGHTLY = [
    *(("libero_object", task_id) for task_id in (0, 5)),
    *(("libero_spatial", task_id) for task_id in (3, 5)),
    *(("libero_goal", task_id) for task_id in (0, 5)),
    *(("libero_10", task_id) for task_id in (2, 3, 5, 8, 9)),
    *(("libero_90", task_id) for task_id in (0, 20, 45, 70, 89)),
]
GOALS = [
    ("libero_object", 0),
    pytest.param("libero_spatial", 3, marks=pytest.mark.nightly),
    pytest.param("libero_goal", 2, marks=pytest.mark.nightly),
]
"""An object in a region, on another object, on a region."""
CONTROLLER_ARRAYS = ("ee_pos", "ee_ori_mat", "goal_pos", "goal_ori", "mass_matrix", "J_full", "joint_vel", "torques")
DATA_ARRAYS = ("qacc_warmstart", "ctrl", "sensordata", "xpos", "site_xmat")


def build(suite, task_id):
    return Simulation(suites.task(suite, task_id).bddl_path, ModelCache(default_folder(), 2**33))


@pytest.fixture(scope="module")
def simulation():
    made = build("libero_goal", 7)
    yield made
    made.close()


def random_actions(count):
    draws = np.random.default_rng(0)
    return np.hstack([draws.uniform(-0.9, 0.9, (count, 6)), draws.choice([-1.0, 1.0, 0.0], (count, 1))])


def near_pose(simulation, action):
    """The action as a pose near the present one, for absolute control."""
    controller = simulation.controller
    rotation = rotation_axis_angle(controller.ee_ori_mat)
    return np.concatenate([controller.ee_pos + 0.03 * action[:3], rotation + 0.1 * action[3:6], action[6:]])


def seen(simulation, result):
    """Everything that somebody can see after a step, as bytes by name."""
    env, controller = simulation.env, simulation.controller
    arrays = {
        "state": simulation.state(),
        "gripper": env.robots[0].gripper.current_action,
        "clock": np.array([env.cur_time, env.timestep]),
        **dataclasses.asdict(simulation.observed.snapshot),
        **{f"controller.{name}": getattr(controller, name) for name in CONTROLLER_ARRAYS},
        **{f"data.{name}": getattr(env.sim.data, name) for name in DATA_ARRAYS},
    }
    return {"result": result, **{name: array.tobytes() for name, array in arrays.items()}}


def play(simulation, actions, is_compiled, *, settle_steps=2, init_state=None, is_absolute=False):
    """Yields what is seen after each action; `is_compiled` says of each whether it may be compiled."""
    simulation.reset(SEED, init_state)
    assert simulation._control_step.is_compiled
    for _ in range(settle_steps):
        step(simulation, SETTLE, is_compiled[0])
    simulation.controller.use_delta = not is_absolute
    for index, action in enumerate(actions):
        turn_on_stove(simulation.env, index)
        result = step(simulation, near_pose(simulation, action) if is_absolute else action, is_compiled[index])
        yield seen(simulation, result)


def step(simulation, action, is_compiled):
    control = simulation._control_step
    kept = control._compiled
    if not is_compiled:
        control.release()
    result = simulation.step(action)
    control._compiled = kept
    return result


def check(simulation, actions, **settings):
    count = len(actions)
    ours = list(play(simulation, actions, [True] * count, **settings))
    robosuites = list(play(simulation, actions, [False] * count, **settings))
    for mine, theirs in zip(ours, robosuites, strict=True):
        assert [name for name in theirs if mine[name] != theirs[name]] == []
    return robosuites


@pytest.mark.parametrize(("suite", "task_id"), SAMPLE)
def test_a_compiled_step_leaves_what_robosuites_loop_leaves(simulation, suite, task_id):
    init_state = suites.init_states(suite, task_id)[INIT_STATE_ID]
    steps = check(simulation, random_actions(12), init_state=init_state)
    assert [one["result"].is_success for one in steps] == [False] * 3 + [True] * 9


def test_it_does_so_from_the_first_step_after_a_drawn_state(simulation):
    check(simulation, random_actions(4), settle_steps=0)


def test_an_action_beyond_the_controllers_range_is_clipped_alike(simulation):
    check(simulation, 3.0 * random_actions(3))


def test_the_array_of_an_action_may_be_of_any_kind(simulation):
    actions = random_actions(3)
    strided = np.repeat(actions, 2, axis=1)[:, ::2].astype(np.float32)
    assert list(play(simulation, strided, [True] * 3)) == list(play(simulation, strided.tolist(), [True] * 3))
    check(simulation, np.asfortranarray(actions))


def test_it_does_so_under_absolute_control(simulation):
    init_state = suites.init_states("libero_goal", 7)[INIT_STATE_ID]
    check(simulation, random_actions(6), init_state=init_state, is_absolute=True)


def test_compiled_steps_and_robosuites_may_alternate(simulation):
    actions = random_actions(6)
    alternating = list(play(simulation, actions, [True, True, False, False, True, False]))
    assert alternating == list(play(simulation, actions, [False] * 6))


def test_the_operational_space_is_robosuites_also_where_the_arm_is_singular():
    from robosuite.utils.control_utils import opspace_matrices

    from ray_eval.envs.libero import substeps

    arm, draws = substeps.ArmState.empty(), np.random.default_rng(0)
    for trial in range(300):
        root, jacobian = draws.normal(size=(7, 7)), draws.normal(size=(6, 7)) * np.exp(3 * draws.normal(size=(6, 1)))
        jacobian[1] = jacobian[0] if trial % 3 == 0 else jacobian[1]
        arm.mass_matrix[:] = root @ root.T + 0.1 * np.eye(7)
        arm.J_full[:], arm.J_pos[:], arm.J_ori[:] = jacobian, jacobian[:3], jacobian[3:]
        expected = opspace_matrices(arm.mass_matrix, arm.J_full, arm.J_pos, arm.J_ori)[1:]
        for ours, theirs in zip(substeps.operational_space(control_step._lapack(), arm), expected, strict=True):
            assert ours.tobytes() == theirs.tobytes()
            assert ours.flags.f_contiguous == theirs.flags.f_contiguous


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda env: setattr(env.robots[0].controller, "impedance_mode", "variable"), "impedance is fixed"),
        (lambda env: setattr(env.sim.model.opt, "integrator", 1), "integrator"),
        (lambda env: setattr(env, "ignore_done", False), "horizon"),
    ],
)
def test_what_is_not_proven_is_left_to_robosuite(simulation, change, reason):
    simulation.reset(SEED, None)
    env = simulation.env
    kept = env.sim.model.opt.integrator
    change(env)
    assert reason in control_step.obstacle(env)
    env.sim.model.opt.integrator, env.ignore_done = kept, True
    simulation.reset(SEED, None)
    assert control_step.obstacle(env) is None


@pytest.mark.nightly
@pytest.mark.parametrize(("suite", "task_id"), NIGHTLY)
def test_more_tasks_are_left_alike(simulator, suite, task_id):
    made = build(suite, task_id)
    try:
        check(made, random_actions(60), init_state=suites.init_states(suite, task_id)[INIT_STATE_ID])
        check(made, random_actions(20), init_state=suites.init_states(suite, task_id)[INIT_STATE_ID], is_absolute=True)
    finally:
        made.close()


def test_a_step_gives_the_model_back_as_it_was_also_when_it_fails(simulation, monkeypatch):
    simulation.reset(SEED, None)
    model = simulation.env.sim.model._model
    before, is_known = model.nbvh, mujoco.__version__ == "3.2.3"
    simulation.step(SETTLE)
    assert model.nbvh == before > 100_000
    seen_within = []

    def interrupted(*_arguments):
        seen_within.append(model.nbvh)
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation._control_step._compiled, "_control_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulation.step(SETTLE)
    assert seen_within == [0 if is_known else before]
    assert model.nbvh == before


def test_the_steps_are_the_same_where_robosuite_computes_the_operational_space(simulation, monkeypatch):
    lapack = control_step._lapack()
    assert lapack.is_proven
    monkeypatch.setattr(control_step, "_lapack", lambda: lapack._replace(is_proven=False))
    check(simulation, random_actions(3))


def test_an_error_within_the_substeps_gives_the_model_back_too(simulation):
    simulation.reset(SEED, None)
    model = simulation.env.sim.model._model
    before = model.nbvh
    simulation.controller.mass_matrix = np.full((7, 7), np.nan)  # still read in the first step after a reset
    with pytest.raises(ValueError, match="must not contain"):
        simulation.step(SETTLE)
    assert model.nbvh == before


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_simulation_that_diverges_is_an_error_in_either_loop(simulation, is_compiled, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves a log in the working folder
    for velocity in (np.nan, 1e11):
        simulation.reset(SEED, None)
        step(simulation, SETTLE, is_compiled)
        simulation.env.sim.data.qvel[-1] = velocity
        with pytest.raises(EpisodeError, match="diverged"):
            step(simulation, SETTLE, is_compiled)


@pytest.mark.parametrize(("suite", "task_id"), GOALS)
def test_a_goal_that_libero_finds_reached_is_near(suite, task_id, monkeypatch):
    from ray_eval.envs.libero import substeps

    made = build(suite, task_id)
    env, draws, found = made.env, np.random.default_rng(0), []
    monkeypatch.setattr(env, "check_contact", lambda *_: True)
    handles = made._control_step._compiled._handles
    data = env.sim.data
    for _ in range(600):
        for (body, other, site), reach in zip(handles.places, handles.reaches, strict=True):
            place = data.site_xpos[site] if site >= 0 else data.xpos[other]
            data.xpos[body] = place + np.append(draws.uniform(-1.5 * reach, 1.5 * reach, 2), draws.uniform(-0.2, 0.2))
        found.append((substeps.is_goal_near(handles), bool(env._check_success())))
    made.close()
    assert {near for near, _ in found} == {True, False}
    assert {near for near, is_reached in found if is_reached} == {True}


def test_a_goal_is_judged_by_libero_where_the_judges_are_not_those_known(simulation, monkeypatch):
    from libero.libero.envs.predicates import VALIDATE_PREDICATE_FN_DICT, On

    class Nearby(On):
        def __call__(self, *_objects):
            return True

    made = build("libero_spatial", 3)
    assert len(goal.places(made.env)[0]) == 1
    goal._source.cache_clear()
    monkeypatch.setitem(VALIDATE_PREDICATE_FN_DICT, "on", Nearby())
    assert len(goal.places(made.env)[0]) == 0
    goal._source.cache_clear()
    assert len(goal.places(simulation.env)[0]) == 0  # asking whether the stove is on lights it
    made.close()
