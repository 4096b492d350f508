"""What this machine makes of a fixed tiny scene, hashed: whether two machines give the same bits; runs in each worker.

The scene exercises what LIBERO does, without any of its files: an arm of seven hinges with two fingers among free
bodies and a mesh, MuJoCo's solver with LIBERO's options, the matrices of robosuite's controller, and one image by the
renderer that draws LIBERO. Each part is hashed by itself, so that a difference says where it comes from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from ray_eval.envs.gl import loaded_files
from ray_eval.envs.remembered import SOFTWARE, recall, remember
from ray_eval.errors import SetupError
from ray_eval.types import Array, Canary, FloatArray

CONTROL_STEPS: Final = 20
"""Control steps of the physics part."""
SUBSTEPS: Final = 25
"""MuJoCo steps in one of them, as in LIBERO."""
IMAGE_SIZE_PX: Final = 256
"""Height and width of the image, as in LIBERO."""
_KIND: Final = "canary"
_MATRIX_SETS: Final = 32
"""Fixed inputs of the linear algebra."""


def known_canary(*, has_pixels: bool) -> Canary:
    """The canary, computed where it is not known with all the same files; on a GPU it always is.

    Raises:
        SetupError: MuJoCo or robosuite is not installed.
    """
    _simulation_class()  # whose import sets variables of its own
    asked = f"libero|{has_pixels}"
    known = recall(_KIND, asked)
    with contextlib.suppress(TypeError):
        if known is not None:
            return Canary(**known)
    canary, renderer = _computed(has_pixels=has_pixels)
    if renderer is None or renderer.startswith(SOFTWARE):
        remember(_KIND, asked, dataclasses.asdict(canary), loaded_files())
    return canary


def run_canary(*, has_pixels: bool) -> Canary:
    """Computes every part; with pixels a GL context is made and freed again.

    Raises:
        SetupError: MuJoCo or robosuite is not installed.
    """
    return _computed(has_pixels=has_pixels)[0]


def _computed(*, has_pixels: bool) -> tuple[Canary, str | None]:
    """The canary, and OpenGL's name of the renderer of its image.

    Raises:
        SetupError: MuJoCo or robosuite is not installed.
    """
    sim = _simulation_class().from_xml_string(_scene())
    states = b"".join(_bytes(state) for state in _trajectory(sim))
    image, renderer = _image(sim) if has_pixels else (None, None)
    canary = Canary(
        physics=_sha256(states),
        linear_algebra=_sha256(b"".join(_bytes(array) for array in _linear_algebra())),
        pixels=None if image is None else _sha256(_bytes(image)),
    )
    return canary, renderer


def _simulation_class() -> Any:
    try:
        from robosuite.utils.binding_utils import MjSim
    except ImportError as error:
        raise SetupError(f"canary: expected MuJoCo and robosuite, got {error}; pip install 'ray-eval[eval]'") from error
    return MjSim


def _trajectory(sim: Any) -> Iterator[FloatArray]:
    """The state after each control step under fixed torques."""
    import mujoco

    model, data = sim.model._model, sim.data._data  # noqa: SLF001 -- robosuite has no public way
    torques = _draw(1).uniform(-1, 1, (CONTROL_STEPS, model.nu)) * np.array([30.0] * 7 + [5.0] * 2)
    for torque in torques:
        data.ctrl[:] = torque
        mujoco.mj_step(model, data, SUBSTEPS)
        yield np.concatenate([[data.time], data.qpos, data.qvel])


def _linear_algebra() -> Iterator[Array]:
    """What the controller and the observations compute, of matrices like the arm's."""
    from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

    draw = _draw(2)
    for _ in range(_MATRIX_SETS):
        root, jacobian = draw.uniform(-1, 1, (7, 7)), draw.uniform(-1, 1, (6, 7))
        mass = np.ascontiguousarray(root @ root.T + 0.1 * np.eye(7))
        position, orientation = np.array(jacobian[:3]), np.array(jacobian[3:])
        matrices = opspace_matrices(mass, jacobian, position, orientation)
        yield from matrices
        yield nullspace_torques(mass, matrices[-1], *draw.uniform(-1, 1, (3, 7)))
        yield orientation_error(draw.uniform(-1, 1, (3, 3)), draw.uniform(-1, 1, (3, 3)))
        yield from (np.linalg.inv(mass), np.linalg.pinv(jacobian), np.linalg.svd(jacobian)[1], jacobian @ mass)
    numbers = draw.uniform(-3, 3, 1000)
    for values in (numbers, numbers.astype(np.float32)):
        yield from (np.sin(values), np.cos(values), np.exp(values), np.arctan2(values, values[::-1]))
        yield from (np.arccos(values / 3), np.sqrt(np.abs(values)), np.array([values.sum(), values @ values]))


def _image(sim: Any) -> tuple[Array, str]:
    """One image of the scene as it stands, drawn as LIBERO's are, and the renderer's name."""
    from OpenGL import GL  # type: ignore[import-untyped]

    from ray_eval.envs.libero.rendering import SceneRenderer
    from ray_eval.envs.libero.snapshot import take_snapshot

    renderer = SceneRenderer(sim.model)
    try:
        snapshot = take_snapshot(sim.model._model, sim.data._data)  # noqa: SLF001
        return renderer.render(snapshot, "front", IMAGE_SIZE_PX), GL.glGetString(GL.GL_RENDERER).decode()
    finally:
        renderer.close()


def _draw(seed: int) -> np.random.Generator:
    """Numbers that are the same everywhere: integers scaled by powers of two."""
    return np.random.Generator(np.random.PCG64(seed))


def _bytes(array: Array) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _scene() -> str:
    """The scene's MJCF: solver options as robosuite's, textures and a rock of fixed pseudo-random points."""
    points = " ".join(f"{value / 10000}" for value in _draw(3).integers(-600, 601, 3 * 120))
    return _SCENE.format(arm=_arm(), rock=points)


def _arm(link: int = 0) -> str:
    """Seven links, each inside the one before, with a hand at their end."""
    if link == _LINKS:
        return _HAND
    axis = ("0 0 1", "0 1 0")[link % 2]
    return (
        f'<body name="link{link}" pos="0 {0.02 * (link % 3)} 0.11">'
        f'<joint name="joint{link}" axis="{axis}" damping="0.5" armature="0.1" frictionloss="0.1" range="-2.5 2.5"/>'
        f'<geom type="capsule" fromto="0 0 0 0 0.01 0.1" size="0.035" material="checks" mass="{1.5 - 0.15 * link}"/>'
        f"{_arm(link + 1)}</body>"
    )


_LINKS: Final = 7
_HAND: Final = """
<body name="hand" pos="0 0 0.12">
  <geom type="box" size="0.05 0.02 0.02" mass="0.3" material="plain"/>
  <site name="grip" pos="0 0 0.06" size="0.01"/>
  <camera name="wrist" pos="0.05 0 0" quat="0 0.7 0.7 0"/>
  <body name="left" pos="0 0.03 0.04">
    <joint name="left" type="slide" axis="0 1 0" range="-0.02 0.02" damping="10"/>
    <geom type="box" size="0.01 0.008 0.03" mass="0.05" friction="2 0.05 0.0001"/>
  </body>
  <body name="right" pos="0 -0.03 0.04">
    <joint name="right" type="slide" axis="0 -1 0" range="-0.02 0.02" damping="10"/>
    <geom type="box" size="0.01 0.008 0.03" mass="0.05" friction="2 0.05 0.0001"/>
  </body>
</body>
"""
_SCENE: Final = """
<mujoco>
  <compiler angle="radian"/>
  <default><geom group="1"/></default>
  <option impratio="20" density="1.2" viscosity="0.00002" cone="elliptic"/>
  <asset>
    <texture name="checks" type="cube" builtin="checker" width="64" height="64" rgb1="0.9 0.5 0.2" rgb2="0.2 0.3 0.6"/>
    <texture name="floor" type="2d" builtin="gradient" width="128" height="128" rgb1="0.6 0.5 0.4" rgb2="0.2 0.3 0.2"/>
    <material name="checks" texture="checks" shininess="0.6" specular="0.7"/>
    <material name="floor" texture="floor" texrepeat="5 5" reflectance="0"/>
    <material name="plain" rgba="0.7 0.7 0.75 1" shininess="0.9" specular="0.9"/>
    <mesh name="rock" vertex="{rock}"/>
  </asset>
  <worldbody>
    <light pos="1 1 1.5" dir="-0.5 -0.5 -1" specular="0.3 0.3 0.3" directional="true" castshadow="false"/>
    <light pos="-1 0.5 1.5" dir="0.5 -0.2 -1" castshadow="false"/>
    <camera name="front" pos="1.3 0.2 1.0" xyaxes="-0.1 1 0 -0.5 -0.05 0.86"/>
    <geom type="plane" size="2 2 0.1" material="floor"/>
    <body name="base"><geom type="cylinder" size="0.08 0.04" pos="0 0 0.04" material="plain"/>{arm}</body>
    <body name="rock" pos="0.25 0.1 0.3">
      <freejoint/><geom type="mesh" mesh="rock" mass="0.2" material="checks"/>
    </body>
    <body name="rock2" pos="0.26 0.12 0.42">
      <freejoint/><geom type="mesh" mesh="rock" mass="0.1" material="plain"/>
    </body>
    <body name="box" pos="0.3 -0.15 0.1" quat="0.8 0.4 0.3 0.2">
      <freejoint/><geom type="box" size="0.04 0.05 0.06" mass="0.3" material="checks"/>
    </body>
    <body name="tin" pos="0.32 -0.14 0.25" quat="0.7 0.6 0.2 0.2">
      <freejoint/><geom type="cylinder" size="0.035 0.05" mass="0.2" material="plain"/>
    </body>
    <body name="ball" pos="0.2 0.25 0.2">
      <freejoint/><geom type="sphere" size="0.04" mass="0.1" material="checks"/>
    </body>
  </worldbody>
  <actuator>
    <motor joint="joint0" ctrlrange="-80 80"/> <motor joint="joint1" ctrlrange="-80 80"/>
    <motor joint="joint2" ctrlrange="-80 80"/> <motor joint="joint3" ctrlrange="-80 80"/>
    <motor joint="joint4" ctrlrange="-80 80"/> <motor joint="joint5" ctrlrange="-12 12"/>
    <motor joint="joint6" ctrlrange="-12 12"/> <motor joint="left"/> <motor joint="right"/>
  </actuator>
</mujoco>
"""
