"""The substeps of one LIBERO control step as machine code: MuJoCo by pointer, robosuite's operational-space law.

Everything here gives the bits of robosuite 1.4.0's own loop. Elementwise arithmetic is IEEE arithmetic in either
place. Linear algebra goes through the same library by the same call: what robosuite computes in Numba stays a call
of robosuite's compiled function (SciPy's LAPACK and BLAS), what it computes with `np.dot` is the call of NumPy's
`cblas_dgemv` that `np.dot` makes, and every matrix has the memory order that robosuite's has.

Source: robosuite 1.4.0 controllers/base_controller.py (update), controllers/osc.py (run_controller),
robots/single_arm.py (control), robots/manipulator.py (grip_action), models/grippers/panda_gripper.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numba
import numpy as np
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error
from robosuite.utils.transform_utils import axisangle2quat, quat2mat

from ray_eval.envs.libero.native import COLUMN_MAJOR, NO_TRANSPOSE, ROW_MAJOR, call, call_real, compiled
from ray_eval.types import Array, FloatArray

(
    STEP1,
    STEP2,
    CHECK_POSITION,
    CHECK_VELOCITY,
    POSITION,
    VELOCITY,
    ACTUATION,
    ACCELERATION,
    CONSTRAINT,
    CHECK_ACCELERATION,
    EULER,
    JACOBIAN,
    BIDIAGONAL,
    BIDIAGONAL_SVD,
    APPLY_Q,
    APPLY_P,
    GEMM,
    CBLAS_GEMV,
    CBLAS_GEMM,
    CBLAS_DOT,
    MEMCPY,
) = range(21)
"""What is where among `native.addresses`."""
(
    SIZE,
    SIZE_BUT_ONE,
    NONE,
    RANK,
    INFO,
    UPPER,
    FROM_LEFT,
    FROM_RIGHT,
    AS_IS,
    TRANSPOSED,
) = range(10)
"""What is where in `Lapack.integers`, whose elements LAPACK is given by address; the last five are letters."""
INTEGERS: Final = (0, 0, 0, 0, 0, *(ord(letter) for letter in "ULRNC"))


class Lapack(NamedTuple):
    """What calls of LAPACK need."""

    functions: Array
    """(21,) `native.addresses`."""
    scratch: FloatArray
    """(60,): three vectors of 8, and what the routines work in."""
    integers: Array
    """int32: `INTEGERS`."""
    is_proven: bool
    """Whether what it computes has robosuite's bits in this process."""

    @classmethod
    def of(cls, functions: Array, *, is_proven: bool) -> Lapack:
        """With arrays of its own."""
        return cls(functions, np.empty(60), np.array(INTEGERS, np.int32), is_proven)


class Simulator(NamedTuple):
    """What a call of MuJoCo needs; valid while that mjModel and mjData live."""

    functions: Array
    """(21,) `native.addresses`."""
    model: int
    """Address of the mjModel."""
    data: int
    """Address of the mjData."""


class Handles(NamedTuple):
    """Where a simulation and its robot are; valid while that mjModel and mjData live."""

    simulator: Simulator
    """For the calls of MuJoCo."""
    solve_count: int
    """How often the constraint solver runs before the controller, each time from its last solution."""
    has_stages: bool
    """Whether `mj_step1` and `mj_step2` are no more than the stages in `native`, and sensors."""
    qpos: FloatArray
    """(nq,) of mjData itself, like the next nine."""
    qvel: FloatArray
    """(nv,)"""
    ctrl: FloatArray
    """(nu,)"""
    qfrc_bias: FloatArray
    """(nv,)"""
    inertia: FloatArray
    """The sparse inertia matrix."""
    site_xpos: FloatArray
    """(nsite, 3)"""
    site_xmat: FloatArray
    """(nsite, 9)"""
    xpos: FloatArray
    """(nbody, 3)"""
    warnings: Array
    """How often MuJoCo has warned, by kind."""
    divergences: Array
    """Kinds of warnings that a simulation has diverged."""
    site: int
    """The gripper's site that the controller moves."""
    joint_qpos: Array
    """(7,) the arm's joints in qpos."""
    joint_qvel: Array
    """(7,) the arm's joints in qvel."""
    inertia_index: Array
    """(7, 7) where the arm's dense inertia matrix is in the sparse one; negative where it is zero."""
    torque_ctrl: Array
    """(7,) the arm's actuators in ctrl."""
    torque_range: FloatArray
    """(7, 2) N m."""
    finger_ctrl: Array
    """(2,) the gripper's actuators in ctrl."""
    finger_middle: FloatArray
    """(2,) ctrl at the command 0."""
    finger_reach: FloatArray
    """(2,) what the command 1 adds to it."""
    finger_speed: FloatArray
    """(2,) what one substep of closing adds to the drive."""
    scene: Array
    """(fields, 2) int64: address and bytes of what a snapshot is made of."""
    places: Array
    """(n, 3) what has to be near to what for the goal (see `goal.places`)."""
    reaches: FloatArray
    """(n,) m."""
    jacobian: FloatArray
    """(6, nv) scratch: position above orientation."""
    lapack: Lapack
    """For the singular value decompositions."""


class ArmState(NamedTuple):
    """What the controller knows of the arm since its last update, under robosuite's names."""

    ee_pos: FloatArray
    """(3,) m."""
    ee_ori_mat: FloatArray
    """(3, 3)"""
    ee_pos_vel: FloatArray
    """(3,) m/s."""
    ee_ori_vel: FloatArray
    """(3,) rad/s."""
    joint_pos: FloatArray
    """(7,) rad."""
    joint_vel: FloatArray
    """(7,) rad/s."""
    J_pos: FloatArray
    """(3, 7), columns contiguous, like the next three."""
    J_ori: FloatArray
    """(3, 7)"""
    J_full: FloatArray
    """(6, 7)"""
    mass_matrix: FloatArray
    """(7, 7)"""

    @classmethod
    def empty(cls) -> ArmState:
        """Arrays to be filled."""
        columns = [np.empty((rows, 7), order="F") for rows in (3, 3, 6, 7)]
        return cls(np.empty(3), np.empty((3, 3)), np.empty(3), np.empty(3), np.empty(7), np.empty(7), *columns)


class Drive(NamedTuple):
    """What one control step steers by."""

    goal_pos: FloatArray
    """(3,) m; written in each control step, like the next."""
    goal_ori: FloatArray
    """(3, 3)"""
    scaling: FloatArray
    """(5, 6) of an action of delta control: least, most, what is subtracted, the factor, what is added."""
    kp: FloatArray
    """(6,)"""
    kd: FloatArray
    """(6,)"""
    initial_joint: FloatArray
    """(7,) rad, to which the null space is pulled."""
    fingers: FloatArray
    """(2,) the gripper's commands, from -1 to 1; moved in each substep."""
    torques: FloatArray
    """(7,) N m, before they are clipped; written in each substep."""


@compiled
def prepare(handles: Handles, arm: ArmState, is_stale: bool, has_sensors: bool) -> None:
    """Brings mjData and the controller up to date with qpos and qvel, under the old ctrl.

    A stale controller does not look, and so does not run the forward pass that it looks after.
    """
    simulator = handles.simulator
    if has_sensors or not handles.has_stages:
        run(simulator, STEP1)
    else:
        run(simulator, CHECK_POSITION)
        run(simulator, CHECK_VELOCITY)
        run(simulator, POSITION)
        run(simulator, VELOCITY)
    solve_count = max(handles.solve_count - is_stale, 0)
    if solve_count:
        run(simulator, ACTUATION)
        run(simulator, ACCELERATION)
    for _ in range(solve_count):
        run(simulator, CONSTRAINT)
    if not is_stale:
        look(handles, arm)


@compiled
def run(simulator: Simulator, stage: int) -> None:
    """Calls one stage of MuJoCo."""
    call(simulator.functions[stage], (simulator.model, simulator.data))


@compiled
def look(handles: Handles, arm: ArmState) -> None:
    """Robosuite's `Controller.update`."""
    site, jacobian = handles.site, handles.jacobian
    rows = (jacobian[:3].ctypes.data, jacobian[3:].ctypes.data)
    simulator = handles.simulator
    call(simulator.functions[JACOBIAN], (simulator.model, simulator.data, rows[0], rows[1], site))
    for row in range(3):
        arm.ee_pos[row] = handles.site_xpos[site, row]
        for column in range(3):
            arm.ee_ori_mat[row, column] = handles.site_xmat[site, 3 * row + column]
    multiply(handles.simulator.functions[CBLAS_GEMV], jacobian[:3], handles.qvel, arm.ee_pos_vel)
    multiply(handles.simulator.functions[CBLAS_GEMV], jacobian[3:], handles.qvel, arm.ee_ori_vel)
    for joint in range(7):
        arm.joint_pos[joint] = handles.qpos[handles.joint_qpos[joint]]
        column = handles.joint_qvel[joint]
        arm.joint_vel[joint] = handles.qvel[column]
        for row in range(3):
            arm.J_pos[row, joint] = arm.J_full[row, joint] = jacobian[row, column]
            arm.J_ori[row, joint] = arm.J_full[3 + row, joint] = jacobian[3 + row, column]
        for row in range(7):
            index = handles.inertia_index[row, joint]
            arm.mass_matrix[row, joint] = handles.inertia[index] if index >= 0 else 0.0


@compiled
def multiply(gemv: int, matrix: FloatArray, vector: FloatArray, out: FloatArray) -> None:
    """`out[:] = np.dot(matrix, vector)` for a C-contiguous matrix, with the bits of NumPy's `np.dot`."""
    rows, columns = matrix.shape
    a, x, y = matrix.ctypes.data, vector.ctypes.data, out.ctypes.data
    call(gemv, (ROW_MAJOR, NO_TRANSPOSE, rows, columns, 1.0, a, columns, x, 1, 0.0, y, 1))


@compiled
def multiply_by_columns(gemv: int, matrix: FloatArray, vector: FloatArray, out: FloatArray) -> None:
    """`multiply` for a Fortran-contiguous matrix."""
    rows, columns = matrix.shape
    a, x, y = matrix.ctypes.data, vector.ctypes.data, out.ctypes.data
    call(gemv, (COLUMN_MAJOR, NO_TRANSPOSE, rows, columns, 1.0, a, rows, x, 1, 0.0, y, 1))


@compiled
def steer(handles: Handles, arm: ArmState, drive: Drive) -> None:
    """Robosuite's `run_controller`, and the clipped torques to ctrl."""
    gemv = handles.simulator.functions[CBLAS_GEMV]
    orientation = orientation_error(drive.goal_ori, arm.ee_ori_mat)
    force, torque, wrench, ours = np.empty(3), np.empty(3), np.empty(6), np.empty(7)
    for axis in range(3):
        position = drive.goal_pos[axis] - arm.ee_pos[axis]
        force[axis] = position * drive.kp[axis] + -arm.ee_pos_vel[axis] * drive.kd[axis]
        torque[axis] = orientation[axis] * drive.kp[3 + axis] + -arm.ee_ori_vel[axis] * drive.kd[3 + axis]
    lambda_pos, lambda_ori, nullspace = operational_space(handles.lapack, arm)
    multiply_by_columns(gemv, lambda_pos, force, wrench[:3])
    multiply_by_columns(gemv, lambda_ori, torque, wrench[3:])
    multiply(gemv, arm.J_full.T, wrench, ours)
    pull = nullspace_torques(arm.mass_matrix, nullspace, drive.initial_joint, arm.joint_pos, arm.joint_vel)
    for joint in range(7):
        value = ours[joint] + handles.qfrc_bias[handles.joint_qvel[joint]] + pull[joint]
        drive.torques[joint] = value
        low, high = handles.torque_range[joint]
        handles.ctrl[handles.torque_ctrl[joint]] = min(max(value, low), high)


@compiled
def operational_space(lapack: Lapack, arm: ArmState) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Robosuite's `opspace_matrices` without the first of what it returns: of position, orientation, null space.

    `J_full` is `J_pos` above `J_ori`, so that what robosuite multiplies for each of these is a block of one product.
    """
    if lapack.is_proven:
        inverse = np.linalg.inv(arm.mass_matrix)
        mobility = np.dot(np.dot(arm.J_full, inverse), arm.J_full.transpose())
        if is_ordinary(mobility):
            full = pseudo_inverse(lapack, mobility, 0, 6)
            position = pseudo_inverse(lapack, mobility, 0, 3)
            orientation = pseudo_inverse(lapack, mobility, 3, 3)
            generalised = np.dot(np.dot(inverse, arm.J_full.transpose()), full)
            return position, orientation, np.eye(7, 7) - np.dot(generalised, arm.J_full)
    return robosuites_operational_space(arm)


@compiled
def robosuites_operational_space(arm: ArmState) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same by robosuite's function."""
    _, position, orientation, nullspace = opspace_matrices(arm.mass_matrix, arm.J_full, arm.J_pos, arm.J_ori)
    return position, orientation, nullspace


@compiled
def is_ordinary(mobility: FloatArray) -> bool:
    """Whether J M^-1 J^T is finite, and no block of it so small or so large that LAPACK's `dgesdd` would scale it."""
    position = mobility[0, 0] + mobility[1, 1] + mobility[2, 2]
    orientation = mobility[3, 3] + mobility[4, 4] + mobility[5, 5]
    return bool(1e-100 < position < 1e100 and 1e-100 < orientation < 1e100)


@compiled
def pseudo_inverse(lapack: Lapack, matrix: FloatArray, start: int, size: int) -> FloatArray:
    """Numba's `np.linalg.pinv` of a (size, size) block on the diagonal of a matrix.

    It is the same arithmetic without asking each time how much memory it needs.

    Source: numba 0.60 numba/np/linalg.py (pinv_impl).
    """
    integers = lapack.integers
    turned = np.empty((size, size))  # LAPACK stores columns, so every array here is the transpose of what it reads
    for row in range(size):
        for column in range(size):
            turned[column, row] = matrix[start + row, start + column]
    values, left, right = np.empty(size), np.eye(size), np.eye(size)
    integers[SIZE], integers[SIZE_BUT_ONE] = size, size - 1
    decompose(lapack, turned, values, left, right)
    if integers[INFO] != 0:
        raise ValueError("the singular value decomposition did not converge")
    rank, negligible = 1, values[0] * 1e-15
    for index in range(size):
        if values[index] > negligible:
            values[index] = 1.0 / values[index]
            rank = index + 1
    for row in range(size):
        for column in range(rank):
            right[row, column] *= values[column]
    integers[RANK] = rank
    put_together(lapack, right, left, turned)
    return turned.T


@compiled
def put_together(lapack: Lapack, right: FloatArray, left: FloatArray, out: FloatArray) -> None:
    """`out` = V U^T over the rank in `integers`, by the `dgemm` that Numba's `pinv` makes.

    Arrays whose addresses are called with are arguments here, as everywhere: Numba may free a local one after the
    last time that it is named, which is before the call.
    """
    number, one = lapack.integers.ctypes.data, lapack.scratch.ctypes.data
    lapack.scratch[0], lapack.scratch[1] = 1.0, 0.0
    size, rank, transposed = number + 4 * SIZE, number + 4 * RANK, number + 4 * TRANSPOSED
    v, u, product = right.ctypes.data, left.ctypes.data, out.ctypes.data
    call(
        lapack.functions[GEMM],
        (transposed, transposed, size, size, rank, one, v, size, u, size, one + 8, product, size),
    )


@compiled
def decompose(lapack: Lapack, matrix: FloatArray, values: FloatArray, left: FloatArray, right: FloatArray) -> None:
    """The singular value decomposition by the routines that `dgesdd` comes down to for a small square matrix.

    It spends most of its time in finding that out. `left` and `right` are identities on entry. Source: LAPACK 3.12
    dgesdd (path 5), dbdsdc (N <= SMLSIZ), dgebrd, dormqr and dormlq (unblocked).
    """
    number, work = lapack.integers.ctypes.data, lapack.scratch.ctypes.data
    size, less, info = number + 4 * SIZE, number + 4 * SIZE_BUT_ONE, number + 4 * INFO
    upper, from_left, from_right, as_is = (
        number + 4 * UPPER,
        number + 4 * FROM_LEFT,
        number + 4 * FROM_RIGHT,
        number + 4 * AS_IS,
    )
    a, d, u, vt = matrix.ctypes.data, values.ctypes.data, left.ctypes.data, right.ctypes.data
    superdiagonal, tau_q, tau_p, rest = work, work + 64, work + 128, work + 192
    call(lapack.functions[BIDIAGONAL], (size, size, a, size, d, superdiagonal, tau_q, tau_p, rest, info))
    call(
        lapack.functions[BIDIAGONAL_SVD],
        (upper, size, size, size, number + 4 * NONE, d, superdiagonal, vt, size, u, size, u, size, rest, info),
    )
    if lapack.integers[INFO] != 0:
        return
    call(lapack.functions[APPLY_Q], (from_left, as_is, size, size, size, a, size, tau_q, u, size, rest, info))
    column = 8 * matrix.shape[0]
    call(
        lapack.functions[APPLY_P],
        (from_right, as_is, size, less, less, a + column, size, tau_p, vt + column, size, rest, info),
    )


@compiled
def grip(handles: Handles, drive: Drive, closing: float) -> None:
    """Robosuite's `grip_action`; `closing` is the sign of the action's gripper value."""
    for finger in range(2):
        value = drive.fingers[finger] + handles.finger_speed[finger] * closing
        value = min(max(value, -1.0), 1.0)
        drive.fingers[finger] = value
        ctrl = handles.finger_middle[finger] + handles.finger_reach[finger] * value
        handles.ctrl[handles.finger_ctrl[finger]] = ctrl


@compiled
def finish(handles: Handles, arm: ArmState, drive: Drive, closing: float, has_sensors: bool) -> None:
    """The rest of a prepared substep: the controller, and MuJoCo's stages under the new ctrl."""
    simulator = handles.simulator
    steer(handles, arm, drive)
    grip(handles, drive, closing)
    if has_sensors or not handles.has_stages:
        run(simulator, STEP2)
    else:
        run(simulator, ACTUATION)
        run(simulator, ACCELERATION)
        run(simulator, CONSTRAINT)
        run(simulator, CHECK_ACCELERATION)
        run(simulator, EULER)


@compiled
def set_goal(handles: Handles, arm: ArmState, drive: Drive, action: FloatArray, is_delta: bool) -> None:
    """Robosuite's `set_goal` for an impedance that is fixed and poses without limits."""
    if not is_delta:
        turned = quat2mat(quaternion(handles.simulator.functions[CBLAS_DOT], action[3:6]))
        for axis in range(3):
            drive.goal_pos[axis] = action[axis]
            for column in range(3):
                drive.goal_ori[axis, column] = turned[axis, column]
        return
    scaling, change, is_turned = drive.scaling, np.empty(6), False
    for axis in range(6):
        value = min(max(action[axis], scaling[0, axis]), scaling[1, axis])
        change[axis] = (value - scaling[2, axis]) * scaling[3, axis] + scaling[4, axis]
        is_turned |= axis >= 3 and change[axis] != 0.0
    if is_turned:
        turn(handles.simulator.functions, change[3:], arm.ee_ori_mat, drive.goal_ori)
    for axis in range(3):
        drive.goal_pos[axis] = arm.ee_pos[axis] + change[axis]


@compiled
def turn(functions: Array, rotation: FloatArray, orientation: FloatArray, out: FloatArray) -> None:
    """`out[:]` = the (3, 3) orientation after a rotation (axis times angle, rad): `set_goal_orientation`'s bits."""
    turning = quat2mat(quaternion(functions[CBLAS_DOT], rotation))
    multiply_squares(functions[CBLAS_GEMM], turning, orientation, out)


@compiled
def multiply_squares(gemm: int, left: FloatArray, right: FloatArray, out: FloatArray) -> None:
    """`out[:] = np.dot(left, right)` for C-contiguous square matrices, with the bits of NumPy's `np.dot`."""
    size = len(left)
    a, b, c = left.ctypes.data, right.ctypes.data, out.ctypes.data
    call(gemm, (ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, size, size, size, 1.0, a, size, b, size, 0.0, c, size))


@compiled
def quaternion(dot: int, rotation: FloatArray) -> FloatArray:
    """Robosuite's `axisangle2quat`: (4,) x y z w."""
    made, place = np.zeros(4), rotation.ctypes.data
    angle = math.sqrt(call_real(dot, (len(rotation), place, 1, place, 1)))
    if angle == 0.0:
        made[3] = 1.0
        return made
    for axis in range(3):
        made[axis] = rotation[axis] / angle * math.sin(angle / 2.0)
    made[3] = math.cos(angle / 2.0)
    return made


@compiled
def copy_scene(handles: Handles, memory: Array) -> None:
    """Copies what a snapshot is made of, one field after the other."""
    start = 0
    for field in range(len(handles.scene)):
        source, size = handles.scene[field, 0], handles.scene[field, 1]
        call(handles.simulator.functions[MEMCPY], (memory[start:].ctypes.data, source, size))
        start += size


@compiled
def has_diverged(handles: Handles) -> bool:
    """Whether qpos or qvel is not finite, or MuJoCo has found that and reset by itself, which it only counts."""
    total = 0.0
    for value in handles.qpos:
        total += value * value
    for value in handles.qvel:
        total += value * value
    for kind in handles.divergences:
        total += math.inf if handles.warnings[kind] else 0.0
    return not math.isfinite(total)


@compiled
def is_goal_near(handles: Handles) -> bool:
    """Whether all that has to be near its place for the goal is so, or is not known to be far."""
    for index in range(len(handles.reaches)):
        body, other, site = handles.places[index]
        place = handles.xpos[other] if site < 0 else handles.site_xpos[site]
        if math.hypot(handles.xpos[body, 0] - place[0], handles.xpos[body, 1] - place[1]) > handles.reaches[index]:
            return False
    return True


@compiled
def control_step(  # noqa: PLR0917 -- Numba's boxing of keywords costs
    handles: Handles,
    arm: ArmState,
    drive: Drive,
    action: FloatArray,
    is_delta: bool,
    is_stale: bool,
    substep_count: int,
    instant: int,
    memory: Array,
) -> tuple[bool, bool]:
    """Runs a control step's substeps; only the last one has sensors.

    Args:
        handles: Where the simulation is.
        arm: What the controller knows of the arm; used and brought up to date.
        drive: What the step steers by; the goal, the fingers and the torques are written.
        action: (7,)
        is_delta: Whether the action is a change, and not a pose.
        is_stale: Whether the controller knows the arm as it is before the step, and so does not look again.
        substep_count: How many there are.
        instant: The substep, counted from 1, after which the scene is copied; 0 for none.
        memory: uint8, to which it is copied.

    Returns:
        `has_diverged`, and `is_goal_near`.
    """
    closing = np.sign(action[6])
    for substep in range(substep_count):
        has_sensors = substep == substep_count - 1
        prepare(handles, arm, is_stale and substep == 0, has_sensors)
        if substep == 0:
            set_goal(handles, arm, drive, action, is_delta)
        finish(handles, arm, drive, closing, has_sensors)
        if substep + 1 == instant:
            copy_scene(handles, memory)
    return has_diverged(handles), is_goal_near(handles)


def compiled_for(handles: Handles, arm: ArmState, drive: Drive) -> Callable[..., tuple[bool, bool]]:
    """`control_step` for the types of these, compiled or loaded from disk; nothing is run.

    What it is called with has to have the same types, C-contiguous arrays included: nobody looks at them again.
    """
    action, memory = np.empty(7), np.empty(1, np.uint8)
    arguments: Any = (handles, arm, drive, action, True, True, 0, 0, memory)
    entry: Any = control_step
    made: Callable[..., tuple[bool, bool]] = entry.compile(tuple(numba.typeof(value) for value in arguments))
    return made


def proves_operational_space(lapack: Lapack, draws: np.random.Generator) -> bool:
    """Whether `operational_space` gives the bits of robosuite's function in this process."""
    return all(
        ours.tobytes() == theirs.tobytes()
        for arm in _arms(draws)
        for ours, theirs in zip(operational_space(lapack, arm), robosuites_operational_space(arm), strict=True)
    )


def _arms(draws: np.random.Generator) -> Iterator[ArmState]:
    """Arms of any condition; some are singular."""
    arm = ArmState.empty()
    for trial in range(40):
        root, jacobian = draws.normal(size=(7, 7)), draws.normal(size=(6, 7)) * np.exp(2 * draws.normal(size=(6, 1)))
        jacobian[1] = jacobian[0] if trial % 3 == 0 else jacobian[1]
        jacobian[5] = jacobian[4] if trial % 4 == 0 else jacobian[5]
        arm.mass_matrix[:] = root @ root.T + 0.1 * np.eye(7)
        arm.J_full[:], arm.J_pos[:], arm.J_ori[:] = jacobian, jacobian[:3], jacobian[3:]
        yield arm


def proves_products(functions: Array, draws: np.random.Generator) -> bool:
    """Whether `multiply` and `multiply_by_columns` give `np.dot`'s bits on this machine, for the shapes used here."""
    out: Any
    for rows, columns in ((3, 22), (3, 51), (3, 96), (7, 6), (3, 3)):
        matrix, vector, out = draws.normal(size=(rows, columns)), draws.normal(size=columns), np.empty(rows)
        multiply(functions[CBLAS_GEMV], matrix, vector, out)
        if not np.array_equal(out, np.dot(matrix, vector)):
            return False
        matrix = np.asfortranarray(matrix)
        multiply_by_columns(functions[CBLAS_GEMV], matrix, vector, out)
        if not np.array_equal(out, np.dot(matrix, vector)):
            return False
    return True


def proves_turns(functions: Array, draws: np.random.Generator) -> bool:
    """Whether `turn` gives the bits of robosuite's Python and NumPy's functions on this machine."""
    out: Any
    for scale in np.exp(draws.uniform(-40.0, 2.0, 60)):
        rotation, orientation, out = scale * draws.normal(size=3), draws.normal(size=(3, 3)), np.empty((3, 3))
        turn(functions, rotation, orientation, out)
        if not np.array_equal(out, np.dot(quat2mat(axisangle2quat(rotation)), orientation)):
            return False
    return True
