"""What is drawn of a scene without what cannot be seen, against MuJoCo's own rendering, pixel for pixel."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ray_eval.envs.libero.gl import choose_backend, gl_environment

SCENE = """
<mujoco>
  <visual><map znear="0.01" zfar="50"/><quality offsamples="{samples}"/>{visual}</visual>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".3 .5 .7" rgb2="0 0 0" width="32" height="32"/>
    <texture name="flat" type="2d" builtin="checker" rgb1=".8 .3 .2" rgb2=".2 .4 .6" width="64" height="64"/>
    <texture name="cube" type="cube" builtin="checker" rgb1=".1 .3 .2" rgb2=".9 .4 .6" width="64" height="64"/>
    <material name="flat" texture="flat" texrepeat="3 2" specular=".7" shininess=".4"/>
    <material name="uniform" texture="flat" texuniform="true"/>
    <material name="cube" texture="cube" texuniform="true"/>
    <material name="mirror" reflectance="{reflectance}"/>
    <mesh name="ball" vertex="{vertices}" face="{faces}"/>
    <mesh name="textured" vertex="{vertices}" face="{faces}" texcoord="{texcoords}"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" castshadow="{shadow}"/><light pos="1 1 2" dir="-1 -1 -2" castshadow="false" directional="true"/>
    <geom type="plane" size="2 2 .1" material="flat"/>
    <geom type="box" size=".2 .1 .3" pos="-.5 .6 .3" material="cube"/>
    <geom type="box" size=".2 .1 .01" pos=".5 .6 .3" material="mirror"/>
    <geom type="cylinder" size=".1 .2" pos=".6 -.5 .2" material="uniform"/>
    <geom type="capsule" size=".05 .2" pos=".2 -.6 .2" rgba=".2 .7 .3 1"/>
    <geom type="ellipsoid" size=".05 .2 .1" pos="-.6 -.5 .2" rgba=".2 .2 .9 .4"/>
    <geom type="sphere" size=".1" pos=".4 .1 .4" rgba=".9 .2 .2 .5"/>
    <geom type="plane" size=".3 .3 .1" pos="0 0 1.4" zaxis="0 0 1"/>
    <site type="sphere" size=".05" pos="0 0 .9" rgba="1 0 0 -.5"/>
    <body pos="0 0 .4"><freejoint/><geom type="mesh" mesh="ball" contype="0" rgba=".7 .7 .2 1"/></body>
    <body pos=".1 .2 .5"><freejoint/><geom type="mesh" mesh="textured" material="flat" contype="0"/></body>
    <body pos="-.2 0 .5"><freejoint/><geom type="mesh" mesh="ball" material="cube" contype="0"/></body>
    <body pos="-.3 .3 .3"><freejoint/><geom type="mesh" mesh="ball" contype="0" rgba=".1 .8 .8 .6"/></body>
    <body mocap="true" name="head"><camera name="eye"/></body>
  </worldbody>
</mujoco>
"""
PLAIN = {"samples": 4, "visual": "", "reflectance": 0, "shadow": "false"}


def bumpy_ball(rings=60, around=90):
    """A closed surface of some 10,000 triangles with ridges, so that it hides parts of itself."""
    polar, turn = np.meshgrid(
        np.linspace(0.02, np.pi - 0.02, rings), np.linspace(0, 2 * np.pi, around, endpoint=False), indexing="ij"
    )
    radius = 0.15 + 0.03 * np.sin(9 * turn) * np.sin(5 * polar)
    vertices = np.stack(
        [radius * np.sin(polar) * np.cos(turn), radius * np.sin(polar) * np.sin(turn), 1.3 * radius * np.cos(polar)], -1
    ).reshape(-1, 3)
    index = np.arange(rings * around).reshape(rings, around)
    a, b = index[:-1], np.roll(index, -1, axis=1)[:-1]
    c, d = index[1:], np.roll(index, -1, axis=1)[1:]
    faces = np.concatenate([np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)])
    return vertices, faces, np.stack([turn / 2, polar], -1).reshape(-1, 2)


def text(array):
    return " ".join(map(str, np.asarray(array).ravel().tolist()))


class Studio:
    """A small scene with free meshes and a movable camera, drawn in both ways."""

    def __init__(self, **changes):
        import mujoco

        from ray_eval.envs.libero.drawing import Drawing

        vertices, faces, texcoords = bumpy_ball()
        mesh = {"vertices": text(vertices.round(6)), "faces": text(faces), "texcoords": text(texcoords.round(6))}
        self.mujoco = mujoco
        self.model = mujoco.MjModel.from_xml_string(SCENE.format(**mesh, **(PLAIN | changes)))
        self.data = mujoco.MjData(self.model)
        self.gl = mujoco.GLContext(640, 480)
        self.gl.make_current()
        self.scene = mujoco.MjvScene(self.model, maxgeom=100)
        self.context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_150)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self.context)
        self.camera = mujoco.MjvCamera()
        self.camera.type, self.camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
        self.drawing = Drawing(self.model, self.context)

    def shuffle(self, rng):
        """Other poses of the meshes, and a camera that looks somewhere near them, now and then from within."""
        self.data.qpos.reshape(-1, 7)[:, :3] = rng.uniform(-0.3, 0.3, (4, 3)) + np.array([0, 0, 0.5])
        self.data.qpos.reshape(-1, 7)[:, 3:] = rng.normal(size=(4, 4))
        self.data.mocap_pos[0] = rng.uniform(-1, 1, 3) * rng.choice([0.2, 1.0, 2.0]) + np.array([0, 0, 0.6])
        self.data.mocap_quat[0] = rng.normal(size=4)
        if rng.random() < 0.7:  # towards the middle
            back = self.data.mocap_pos[0] - [0, 0, 0.5]
            self.mujoco.mju_quatZ2Vec(self.data.mocap_quat[0], back / np.linalg.norm(back))
        self.mujoco.mj_forward(self.model, self.data)

    def update(self):
        m = self.mujoco
        m.mjv_updateScene(
            self.model, self.data, m.MjvOption(), m.MjvPerturb(), self.camera, m.mjtCatBit.mjCAT_ALL, self.scene
        )

    def both(self, width, height):
        """MuJoCo's image and ours."""
        images = []
        viewport = self.mujoco.MjrRect(0, 0, width, height)
        for draw in (
            lambda: self.mujoco.mjr_render(viewport, self.scene, self.context),
            lambda: self.drawing.draw(self.scene, width, height),
        ):
            self.update()
            draw()
            images.append(np.empty((height, width, 3), np.uint8))
            self.mujoco.mjr_readPixels(images[-1], None, viewport, self.context)
        return images

    def close(self):
        self.gl.make_current()
        self.context.free()
        self.gl.free()


def check_images(backend):
    """Compares; runs in a process of its own, whose GL backend is chosen by its environment."""
    rng = np.random.default_rng(0)
    for samples, reflectance in ((4, 0), (4, 0.4), (0, 0.4)):
        studio = Studio(samples=samples, reflectance=reflectance)
        for size in ((64, 64), (256, 256), (100, 60)) * 12:
            studio.shuffle(rng)
            studio.update()
            assert studio.drawing.can_draw(studio.scene)
            plain, ours = studio.both(*size)
            assert np.array_equal(plain, ours), (backend, samples, size, np.count_nonzero(plain != ours))
        studio.close()


def check_refusals():
    for changes in ({"shadow": "true"},):
        studio = Studio(**changes)
        studio.mujoco.mj_forward(studio.model, studio.data)
        studio.update()
        assert not studio.drawing.can_draw(studio.scene), changes
        studio.close()


def run_here(call, backend):
    environment = {**os.environ, **gl_environment(backend), "PYTHONPATH": os.pathsep.join([*sys.path])}
    command = [sys.executable, "-c", f"import test_env_drawing as t; t.{call}"]
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("backend", ["egl", "osmesa"])
def test_a_scene_without_what_cannot_be_seen_is_the_same_image(backend):
    run_here(f"check_images({backend!r})", backend)


def test_a_scene_with_a_shadow_is_left_to_mujoco():
    run_here("check_refusals()", choose_backend("auto").backend)
