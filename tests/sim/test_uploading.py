"""What OpenGL is given of a scene, against images of a context that was given everything."""

import mujoco
import numpy as np
import pytest

from ray_eval.envs.libero.snapshot import take_snapshot

TEXTURE = '<texture name="{}" type="{}" builtin="{}" width="{}" height="{}" rgb1="{}" rgb2=".1 .2 .3" mark="random"/>'
ASSETS = "".join(
    TEXTURE.format(*values)
    for values in (
        ("sky", "skybox", "gradient", 32, 192, ".4 .6 .8"),
        ("unworn", "cube", "flat", 64, 64, "1 1 1"),
        ("floor", "2d", "checker", 64, 64, ".9 .5 .2"),
        ("sides", "cube", "checker", 64, 384, ".2 .9 .2"),
        ("floor again", "2d", "checker", 64, 64, ".9 .5 .2"),
        ("other floor", "2d", "checker", 64, 64, ".9 .5 .3"),
        ("repeated", "cube", "checker", 32, 32, ".7 .1 .9"),
        ("flame", "2d", "checker", 17, 9, ".9 .9 .1"),
    )
)
SCENE = f"""
<mujoco>
  <default><geom group="1"/></default>
  <asset>
    {ASSETS}
    <material name="floor" texture="floor" texrepeat="6 6"/>
    <material name="wall" texture="floor again" texrepeat="2 3"/>
    <material name="other wall" texture="other floor" texrepeat="2 3"/>
    <material name="box" texture="sides"/>
    <material name="ball" texture="repeated"/>
    <material name="flame" texture="flame"/>
    <material name="unworn" texture="unworn"/>
    <mesh name="rock" vertex="0 0 0 .3 0 0 0 .4 0 0 0 .5"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" dir=".1 .1 -1" castshadow="false"/>
    <camera name="front" pos="0 -2.2 1.3" xyaxes="1 0 0 0 .5 .87"/>
    <geom name="floor" type="plane" size="2 2 .1" material="floor"/>
    <geom type="box" size=".6 .05 .5" pos="-.7 1 .5" material="wall"/>
    <geom type="box" size=".6 .05 .5" pos=".7 1 .5" material="other wall"/>
    <geom name="box" type="box" size=".2 .2 .2" pos="-.5 0 .2" euler="0 0 30" material="box"/>
    <geom type="mesh" mesh="rock" pos="0 0 .1" material="ball"/>
    <site type="sphere" size=".2" pos=".5 0 .3" material="flame" rgba="1 1 1 .7"/>
  </worldbody>
</mujoco>
"""
WORN = {"sky", "floor", "sides", "floor again", "other floor", "repeated", "flame"}


class Room:
    """The scene with our renderer, which may compile it again."""

    def __init__(self):
        from robosuite.utils.binding_utils import MjSim

        from ray_eval.envs.libero.rendering import SceneRenderer

        self.compiled = 0
        self.sim = MjSim.from_xml_string(SCENE)
        self.model, data = self.sim.model._model, self.sim.data._data
        mujoco.mj_forward(self.model, data)
        self.snapshot = take_snapshot(self.model, data)
        self.renderer = SceneRenderer(self.sim.model, self.anew)

    def anew(self):
        self.compiled += 1
        return mujoco.MjModel.from_xml_string(SCENE)

    def image(self, size_px=96):
        return self.renderer.render(self.snapshot, "front", size_px)

    def plain_image(self, size_px=96, change=lambda model: None):
        from robosuite_images import RobosuiteImages

        model = mujoco.MjModel.from_xml_string(SCENE)
        change(model)
        plain = RobosuiteImages(model)
        try:
            return plain.image(self.snapshot, "front", size_px)
        finally:
            plain.close()


@pytest.fixture
def room(simulator):
    made = Room()
    yield made
    made.renderer.close()


def test_an_image_is_that_of_a_context_that_has_everything(room):
    from ray_eval.envs.libero.uploading import worn_textures

    plain = room.plain_image()
    assert {room.model.texture(index).name for index in worn_textures(room.model)} == WORN
    for _ in range(4):
        assert np.array_equal(room.image(), plain)
    textures = {room.model.texture(index).name: context(room).texture[index] for index in range(room.model.ntex)}
    assert textures["floor"] == textures["floor again"]
    assert len({*textures.values()}) == len(textures) - 1
    assert room.compiled == 0


def context(room):
    return room.renderer._current_context().con


def test_every_texture_that_is_worn_is_seen(room):
    """So that one that is not uploaded would be missed."""
    whole = room.plain_image()
    for index in range(room.model.ntex):

        def blacken(model, index=index):
            start = model.tex_adr[index]
            count = model.tex_width[index] * model.tex_height[index] * model.tex_nchannel[index]
            model.tex_data[start : start + count] //= 2

        name = room.model.texture(index).name
        assert np.array_equal(room.plain_image(change=blacken), whole) == (name not in WORN), name


def test_what_is_uploaded_leaves_main_memory_and_comes_back_for_a_larger_image(room):
    from ray_eval.envs.libero.uploading import ONLY_SHOWN

    expected = {size_px: room.plain_image(size_px) for size_px in (96, 700)}
    whole = mujoco.MjModel.from_xml_string(SCENE)
    assert np.array_equal(room.image(), expected[96])
    assert not np.array_equal(room.model.tex_data, whole.tex_data)
    for size_px in (700, 96, 700):
        assert np.array_equal(room.image(size_px), expected[size_px])
    assert room.compiled == 1
    # The rest is what physics computes with.
    for name in (name for name in dir(whole) if not name.startswith("_") and name not in ONLY_SHOWN):
        if isinstance(value := getattr(whole, name), np.ndarray):
            assert np.array_equal(getattr(room.model, name), value, equal_nan=value.dtype.kind == "f"), name


def test_a_material_that_a_geom_gets_later_is_uploaded(room):
    room.image()
    model = room.model
    for names in (("box", "unworn"), ("box", "floor"), ("floor", "ball")):
        geom, material = model.geom(names[0]).id, model.material(names[1]).id
        model.geom_matid[geom] = material
        changed = np.array(model.geom_matid)
        expected = room.plain_image(change=lambda plain, changed=changed: np.copyto(plain.geom_matid, changed))
        assert np.array_equal(room.image(), expected), names


def test_another_compilation_is_drawn_with_what_was_uploaded(room):
    from robosuite.utils.binding_utils import MjSim

    first = room.image()
    con = context(room)
    other = MjSim.from_xml_string(SCENE)
    room.renderer.begin_episode(other.model)
    assert np.array_equal(room.image(), first)
    assert context(room) is con
    assert not np.array_equal(other.model._model.tex_data, mujoco.MjModel.from_xml_string(SCENE).tex_data)
