"""One LIBERO control step without what nobody consumes, bit for bit robosuite's own.

robosuite updates thirty observables after each of 25 substeps, looks up names and limits in each, and runs MuJoCo's
forward pass three times where the positions and velocities have changed once. The compiled step does the rest: MuJoCo's
stages once, the constraint solver as often as robosuite runs it (each run moves the solver's next start, and with it
the last bits), the control law, and the goal and the fixtures once at the end.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ray_eval.envs.libero.compiling import STEPS, is_ready
from ray_eval.envs.libero.goal import places
from ray_eval.envs.libero.snapshot import SnapshotRecorder
from ray_eval.errors import EpisodeError
from ray_eval.types import Array, FloatArray, StepResult

if TYPE_CHECKING:
    from ray_eval.envs.libero.substeps import ArmState, Drive, Handles, Lapack

SOLVES_BEFORE_CONTROL: Final[Mapping[str, int]] = {"3.2.3": 2, "3.17.0": 0}
"""MuJoCo's version, where the compiled step is proven: constraint solves before the controller of each substep.

In 3.2.3 each solve begins where the last one ended, so that robosuite's two forward passes count; in 3.17.0 it begins
where the last *step* ended, and they do not.
"""
STAGED: Final = frozenset({"3.2.3"})
"""Versions whose `mj_step1` and `mj_step2` are their stages and the sensors, which nothing in LIBERO reads."""
ROBOSUITE_VERSION: Final = "1.4.0"

_LOGGER = logging.getLogger(__name__)


class ControlStep:
    """Executes control steps of one robosuite environment, compiled where that is proven to be exact.

    What only robosuite's own history buffers (`robot.recent_*`) and observables hold is not kept up to date by the
    compiled step; the snapshot's observable is.
    """

    def __init__(self, env: Any, recorder: SnapshotRecorder) -> None:
        self._env = env
        self._recorder = recorder
        self._compiled: _CompiledStep | None = None

    @property
    def is_compiled(self) -> bool:
        """Whether steps run compiled; otherwise robosuite's own loop does it."""
        return self._compiled is not None

    def bind(self) -> None:
        """Looks up the simulation and the robot that a reset has left; called after every reset.

        In a process's first call machine code is loaded from disk, or compiled, which takes seconds. Where it is
        compiled beside (see `compiling`), robosuite's own loop steps until it is there.
        """
        if not is_ready(STEPS):
            self._compiled = None
            return
        reason = obstacle(self._env)
        if reason is not None:
            _note(reason)
        self._compiled = None if reason is not None else _CompiledStep(self._env, self._recorder)

    def release(self) -> None:
        """Lets go of the simulation, whose memory views of it would keep; robosuite's own loop serves from then on."""
        self._compiled = None

    def run(self, action: FloatArray) -> StepResult:
        """Executes a (7,) action for one control step.

        Raises:
            EpisodeError: the simulation diverged.
        """
        if self._compiled is not None:
            return self._compiled.run(action)
        _, reward, is_success, _ = self._env.step(action)
        data = self._env.sim.data._data  # noqa: SLF001 -- there is no public way
        if data.warning.number[_divergences()].any() or not np.isfinite([*data.qpos, *data.qvel]).all():
            raise _diverged(data)
        return StepResult(float(reward), bool(is_success))


def _diverged(data: Any) -> EpisodeError:
    return EpisodeError(
        f"step: expected finite positions and velocities, got a simulation that diverged at {data.time:.3f} s; "
        "check the scale of the policy's actions"
    )


def _divergences() -> list[int]:
    """MuJoCo's warnings of a diverged simulation, which it resets by itself; their numbers change with its version."""
    from mujoco import mjtWarning

    return [int(kind) for kind in (mjtWarning.mjWARN_BADQPOS, mjtWarning.mjWARN_BADQVEL, mjtWarning.mjWARN_BADQACC)]


def obstacle(env: Any) -> str | None:
    """Why an environment's control steps cannot be compiled; None where they can."""
    import mujoco
    import robosuite

    if mujoco.__version__ not in SOLVES_BEFORE_CONTROL:
        return f"it is proven for MuJoCo {', '.join(SOLVES_BEFORE_CONTROL)}, this is {mujoco.__version__}"
    if robosuite.__version__ != ROBOSUITE_VERSION:
        return f"it is proven for robosuite {ROBOSUITE_VERSION}, this is {robosuite.__version__}"
    for name, found, expected in _facts(env):
        if found != expected:
            return f"it is proven where {name} is {expected}, this is {found}"
    return _library_obstacle()


def _facts(env: Any) -> list[tuple[str, Any, Any]]:
    """What robot, controller and model have to be, as name, what is found, what is expected."""
    import mujoco
    from libero.libero.envs.bddl_base_domain import BDDLBaseDomain
    from robosuite.controllers.osc import OperationalSpaceController
    from robosuite.models.grippers import PandaGripper
    from robosuite.robots.single_arm import SingleArm

    robot, options = env.robots[0], env.sim.model.opt
    controller = robot.controller
    return [
        ("the environment's step", type(env).step, BDDLBaseDomain.step),
        ("the environment's reward", type(env).reward, BDDLBaseDomain.reward),
        ("the environment's reward scale", env.reward_scale, 1.0),
        ("the environment's horizon", env.ignore_done, True),
        ("the number of robots", len(env.robots), 1),
        ("the robot", type(robot), SingleArm),
        ("the number of joints", len(robot.joint_indexes), 7),
        ("the gripper", type(robot.gripper), PandaGripper),
        ("the controller", type(controller), OperationalSpaceController),
        ("the controller's impedance", controller.impedance_mode, "fixed"),
        ("the controller's orientation control", controller.use_ori, True),
        ("the controller's uncoupling", controller.uncoupling, True),
        ("the controller's interpolator", (controller.interpolator_pos, controller.interpolator_ori), (None, None)),
        ("the controller's limits", (controller.position_limits, controller.orientation_limits), (None, None)),
        ("the viewer", env.viewer, None),
        ("MuJoCo's integrator", options.integrator, mujoco.mjtIntegrator.mjINT_EULER),
        ("MuJoCo's flags", (options.disableflags, options.enableflags), (0, 0)),
        ("MuJoCo's control callback", mujoco.get_mjcb_control(), None),
    ]


@functools.cache
def _library_obstacle() -> str | None:
    """Why this process's libraries do not allow it; asked once."""
    from ray_eval.envs.libero import native, substeps

    functions = native.addresses()
    if functions is None:
        return "functions of libmujoco, of SciPy's LAPACK or of the BLAS of NumPy were not found"
    if not substeps.proves_products(functions, np.random.default_rng(0)):
        return "NumPy's products have other bits than its BLAS gives"
    if not substeps.proves_turns(functions, np.random.default_rng(0)):
        return "robosuite's goals have other bits than compiled code gives"
    return None


@functools.cache
def _lapack() -> Lapack:
    """LAPACK for the operational space; where it is not proven in this process, robosuite's function is called instead.

    Simulations share its scratch arrays: compiled code holds the interpreter lock.
    """
    from ray_eval.envs.libero import native, substeps

    functions = native.addresses()
    assert functions is not None, "asked in `_library_obstacle`"  # noqa: S101 -- for the type
    lapack = substeps.Lapack.of(functions, is_proven=True)
    return lapack._replace(is_proven=substeps.proves_operational_space(lapack, np.random.default_rng(0)))


@functools.cache
def _note(reason: str) -> None:
    """Says once that robosuite's own loop is used."""
    _LOGGER.warning(
        "control steps run in robosuite's own loop, exact as ever but slower: the compiled step: %s", reason
    )


class _CompiledStep:
    """The compiled step bound to one simulation and one controller.

    Controller, gripper and compiled code share their arrays: what one writes the other has. Robosuite's own code
    puts new arrays in the place of those that it updates, so that what it has written since is recognised.
    """

    def __init__(self, env: Any, recorder: SnapshotRecorder) -> None:
        from ray_eval.envs.libero import native, substeps

        self._env = env
        self._recorder = recorder
        self._controller = env.robots[0].controller
        self._substep_count = int(env.control_timestep / env.model_timestep)
        self._handles = _handles(env, recorder)
        self._arm = substeps.ArmState.empty()
        self._drive = _drive(self._controller)
        self._bvh_size = native.bvh_size(env.sim.model._model)  # noqa: SLF001 -- there is no public way
        self._shared = _shared(self._controller, env.robots[0].gripper, self._arm, self._drive)
        self._control_step = substeps.compiled_for(self._handles, self._arm, self._drive)

    def run(self, action: FloatArray) -> StepResult:
        """What robosuite's and LIBERO's `step` do, but for observations."""
        env = self._env
        if len(action) != env.action_dim:
            raise ValueError(f"step: expected {env.action_dim} numbers in an action, got {len(action)}")
        env.timestep += 1
        with self._bvh_size.hidden():
            has_diverged, is_goal_near = self._run_substeps(np.ascontiguousarray(action, dtype=np.float64))
        if has_diverged:
            raise _diverged(env.sim.data)
        env.cur_time += env.control_timestep
        # LIBERO judges before and after `_post_process`, on the same poses; the burner's flame is lit from the latter.
        is_success = is_goal_near and bool(env._check_success())  # noqa: SLF001 -- here and below: LIBERO's own
        env._post_process()  # noqa: SLF001
        return StepResult(float(is_success), is_success)

    def _run_substeps(self, action: FloatArray) -> tuple[bool, bool]:
        controller, memory = self._controller, self._recorder.memory()
        self._share()
        instant = self._recorder.instant(self._env.model_timestep, self._substep_count)
        outcome = self._control_step(
            self._handles,
            self._arm,
            self._drive,
            action,
            controller.use_delta,
            not controller.new_update,
            self._substep_count,
            instant,
            memory,
        )
        if instant:
            self._recorder.keep(memory)
        controller.torques = self._drive.torques
        controller.new_update = True
        return outcome

    def _share(self) -> None:
        """Takes over what is not of the last compiled step."""
        for owner, name, array in self._shared:
            found = getattr(owner, name)
            if found is not array:
                array[...] = found
                setattr(owner, name, array)


def _shared(controller: Any, gripper: Any, arm: ArmState, drive: Drive) -> list[tuple[Any, str, FloatArray]]:
    """What robosuite's objects and compiled code both have: the object, the attribute, the array."""
    return [
        *((controller, name, array) for name, array in zip(arm._fields, arm, strict=True)),
        *((controller, name, getattr(drive, name)) for name in ("goal_pos", "goal_ori")),
        (gripper, "current_action", drive.fingers),
    ]


def _drive(controller: Any) -> Drive:
    """What a controller of fixed impedance steers by.

    Its gains and its null space's joints are those of the last reset: robosuite changes them there only.
    """
    from ray_eval.envs.libero.substeps import Drive

    controller.scale_action(np.zeros(6))  # sets what it scales by
    scaling = ("input_min", "input_max", "action_input_transform", "action_scale", "action_output_transform")
    return Drive(
        goal_pos=np.empty(3),
        goal_ori=np.empty((3, 3)),
        scaling=np.array([np.broadcast_to(getattr(controller, name), 6) for name in scaling], dtype=np.float64),
        kp=np.array(controller.kp, dtype=np.float64),
        kd=np.array(controller.kd, dtype=np.float64),
        initial_joint=np.array(controller.initial_joint, dtype=np.float64),
        fingers=np.empty(2),
        torques=np.empty(7),
    )


def _handles(env: Any, recorder: SnapshotRecorder) -> Handles:
    """Where compiled code finds things in an environment's simulation."""
    import mujoco

    from ray_eval.envs.libero import native, substeps

    functions = native.addresses()
    assert functions is not None, "asked in `obstacle`"  # noqa: S101 -- for the type
    robot, model, data = env.robots[0], env.sim.model._model, env.sim.data._data  # noqa: SLF001 -- no public way
    fingers = np.array(robot._ref_joint_gripper_actuator_indexes)  # noqa: SLF001 -- robosuite's loop reads these
    arm = np.array(robot._ref_joint_actuator_indexes)  # noqa: SLF001
    low, high = model.actuator_ctrlrange[fingers].T
    near, reaches = places(env)
    return substeps.Handles(
        simulator=substeps.Simulator(functions, model._address, data._address),  # noqa: SLF001
        solve_count=SOLVES_BEFORE_CONTROL[mujoco.__version__],
        has_stages=mujoco.__version__ in STAGED,
        qpos=data.qpos,
        qvel=data.qvel,
        ctrl=data.ctrl,
        qfrc_bias=data.qfrc_bias,
        inertia=_inertia(data),
        site_xpos=data.site_xpos,
        site_xmat=data.site_xmat,
        xpos=data.xpos,
        warnings=data.warning.number,
        divergences=np.array(_divergences()),
        site=robot.eef_site_id,
        joint_qpos=np.array(robot.controller.qpos_index),
        joint_qvel=np.array(robot.controller.qvel_index),
        inertia_index=_inertia_index(model, data, np.array(robot.controller.qvel_index)),
        torque_ctrl=arm,
        torque_range=model.actuator_ctrlrange[arm],
        finger_ctrl=fingers,
        finger_middle=0.5 * (high + low),
        finger_reach=0.5 * (high - low),
        finger_speed=np.array([-1.0, 1.0]) * robot.gripper.speed,
        scene=recorder.sources,
        places=near,
        reaches=reaches,
        jacobian=np.empty((6, model.nv)),
        lapack=_lapack(),
    )


def _inertia(data: Any) -> FloatArray:
    """The sparse inertia matrix of an mjData, a view; MuJoCo has renamed it."""
    view: FloatArray = data.qM if hasattr(data, "qM") else data.M
    return view


def _inertia_index(model: Any, data: Any, joints: Array) -> Array:
    """(7, 7) where MuJoCo takes the joints' dense inertia matrix from; -1 where it has a zero.

    MuJoCo is asked to unpack a matrix of its own indices.
    """
    import mujoco

    inertia, dense = _inertia(data), np.zeros((model.nv, model.nv))
    kept = inertia.copy()
    inertia[:] = np.arange(1, len(inertia) + 1)
    if hasattr(data, "qM"):
        mujoco.mj_fullM(model, dense, inertia)
    else:
        mujoco.mj_fullM(model, data, dense)
    inertia[:] = kept
    index: Array = dense[np.ix_(joints, joints)].astype(np.int64) - 1
    return index
