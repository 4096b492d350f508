"""Images by robosuite's own render context, which uploads all of a model: what ours are held against."""

import mujoco
from robosuite.utils.binding_utils import MjRenderContextOffscreen, MjSim

from ray_eval.envs.libero.rendering import _Scene


class RobosuiteImages:
    """Of one mjModel (the binding's own), all of which is still in main memory."""

    def __init__(self, model):
        self._scene = _Scene(MjSim(model).model, upload=None)
        self._context = MjRenderContextOffscreen(self._scene, device_id=-1)
        self._context.vopt.geomgroup[0], self._context.vopt.geomgroup[1] = 0, 1

    def image(self, snapshot, camera, size_px=256):
        self._context.gl_ctx.make_current()
        camera_id = mujoco.mj_name2id(self._scene.binding, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        with self._scene.showing(snapshot):
            self._context.render(width=size_px, height=size_px, camera_id=camera_id)
        return self._context.read_pixels(size_px, size_px)

    def close(self):
        self._context.gl_ctx.make_current()
        self._context = None
