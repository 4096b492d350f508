"""Textures apart from their scene: from the disk into OpenGL as MuJoCo uploads them."""

import mujoco
import numpy as np
import pytest
from PIL import Image

from ray_eval.envs.digests import FileDigests
from ray_eval.envs.libero.model_cache import TEXTURE, ModelCache
from ray_eval.envs.libero.snapshot import take_snapshot
from ray_eval.envs.libero.textures import Texture, split

SCENE = """
<mujoco>
  <default><geom group="1"/></default>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1=".9 .9 1" rgb2=".2 .3 .4" width="32" height="32"/>
    <texture name="floor" type="2d" file="{files}/floor.png"/>
    <texture name="wall" type="2d" file="{files}/again.png"/>
    <texture name="board" file="{files}/board.png" type="cube"/>
    <texture name="flat" builtin="flat" height="20" width="20" rgb1=".8 .7 .6" rgb2=".8 .8 .8"/>
    <texture name="unworn" type="2d" builtin="checker" width="40" height="24" rgb1="1 0 0" rgb2="0 1 0"/>
    <material name="floor" texture="floor" texrepeat="6 6"/>
    <material name="wall" texture="wall" texrepeat="2 3"/>
    <material name="board" texture="board"/>
    <material name="flat" texture="flat"/>
    <material name="unworn" texture="unworn"/>
    <mesh name="rock" vertex="0 0 0 .3 0 0 0 .4 0 0 0 .5"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" dir=".1 .1 -1" castshadow="false"/>
    <camera name="front" pos="0 -2.2 1.3" xyaxes="1 0 0 0 .5 .87"/>
    <geom name="floor" type="plane" size="2 2 .1" material="floor"/>
    <geom type="box" size=".6 .05 .5" pos="-.7 1 .5" material="wall"/>
    <geom name="box" type="box" size=".2 .2 .2" pos="-.5 0 .2" euler="0 0 30" material="board"/>
    <geom type="mesh" mesh="rock" pos="0 0 .1" material="board"/>
    <geom type="box" size=".1 .2 .3" pos=".8 0 .3" euler="0 0 50" material="flat"/>
  </worldbody>
</mujoco>
"""
FLAT, CUBE = 3553, range(34069, 34075)
"""OpenGL's names of pictures."""


@pytest.fixture
def mjcf(tmp_path):
    """The scene with files of odd and even sizes; two have the same content."""
    draws = np.random.default_rng(0)
    pixels = {"floor": (51, 66, 3), "board": (64, 64, 3)}
    for name, shape in pixels.items():
        Image.fromarray(draws.integers(0, 256, shape, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "again.png").write_bytes((tmp_path / "floor.png").read_bytes())
    return SCENE.format(files=tmp_path)


@pytest.fixture
def models(tmp_path):
    return ModelCache(tmp_path / "models", 10**9)


class Room:
    """The scene with our renderer; apart from its textures, or whole where there are no models to keep them."""

    def __init__(self, mjcf, models):
        from robosuite.utils.binding_utils import MjSim

        from ray_eval.envs.libero.mipmaps import KeptTextures
        from ray_eval.envs.libero.rendering import SceneRenderer

        self.mjcf, found = mjcf, split(mjcf)
        self.anew = lambda: mujoco.MjModel.from_xml_string(mjcf if models is None else found.mjcf)
        self.sim = MjSim(self.anew())
        self.model, data = self.sim.model._model, self.sim.data._data
        mujoco.mj_forward(self.model, data)
        self.snapshot = take_snapshot(self.model, data)
        textures = None if models is None else KeptTextures(models, found.textures)
        self.renderer = SceneRenderer(self.sim.model, self.anew, None, textures)

    def image(self, size_px=96):
        return self.renderer.render(self.snapshot, "front", size_px)

    def plain_image(self, size_px=96, change=lambda model: None):
        """What robosuite draws of all of it in a context of its own."""
        from robosuite_images import RobosuiteImages

        model = mujoco.MjModel.from_xml_string(self.mjcf)
        change(model)
        plain = RobosuiteImages(model)
        try:
            return plain.image(self.snapshot, "front", size_px)
        finally:
            plain.close()


@pytest.fixture
def rooms(simulator, memory, mjcf, models):
    made = []

    def make(kept=models):
        made.append(Room(mjcf, kept))
        return made[-1]

    yield make
    for room in made:
        room.renderer.close()


@pytest.fixture
def made_anew(monkeypatch):
    """Names of textures that MuJoCo has made."""
    from ray_eval.envs.libero import mipmaps

    names, original = [], mipmaps._made
    monkeypatch.setattr(mipmaps, "_made", lambda texture: names.append(texture.name) or original(texture))
    return names


PARAMETERS = ("MAG_FILTER", "MIN_FILTER", "WRAP_S", "WRAP_T", "WRAP_R", "BASE_LEVEL", "MAX_LEVEL", "PRIORITY")


def in_opengl(room):
    """By texture that is worn: its parameters, and each size of each picture as its width, height, form and bytes."""
    from OpenGL import GL

    from ray_eval.envs.libero.uploading import worn_textures

    con, found = room.renderer._current_context().con, {}
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
    for index in worn_textures(room.model):
        is_flat = room.model.tex_type[index] == mujoco.mjtTexture.mjTEXTURE_2D
        target = GL.GL_TEXTURE_2D if is_flat else GL.GL_TEXTURE_CUBE_MAP
        GL.glBindTexture(target, con.texture[index])
        told = [int(GL.glGetTexParameteriv(target, getattr(GL, f"GL_TEXTURE_{name}"))) for name in PARAMETERS]
        sizes = {}
        for picture in [FLAT] if is_flat else CUBE:
            for level in range(12):
                names = (GL.GL_TEXTURE_WIDTH, GL.GL_TEXTURE_HEIGHT, GL.GL_TEXTURE_INTERNAL_FORMAT)
                form = tuple(int(GL.glGetTexLevelParameteriv(picture, level, name)) for name in names)
                if form[0]:
                    sizes[picture, level] = (form, GL.glGetTexImage(picture, level, GL.GL_RGB, GL.GL_UNSIGNED_BYTE))
        found[room.model.texture(index).name] = (told, sizes)
        GL.glBindTexture(target, 0)
    return found


def test_textures_are_in_opengl_as_mujoco_uploads_them(rooms, models, made_anew):
    plain = rooms(kept=None)
    expected, image = in_opengl(plain), plain.image()
    assert np.array_equal(image, plain.plain_image())
    assert sorted({picture for _, sizes in expected.values() for picture, _ in sizes}) == [FLAT, *CUBE]
    assert {name: max(level for _, level in sizes) for name, (_, sizes) in expected.items()} == {
        "": 5, "floor": 6, "wall": 6, "board": 6, "flat": 4,
    }  # fmt: skip
    # Of those that are worn, equal ones once.
    for made in (["", "floor", "board", "flat"], []):
        made_anew.clear()
        room = rooms()
        assert np.array_equal(room.image(), image)
        assert in_opengl(room) == expected
        assert made_anew == made
        assert len(list(models.folder.glob(f"*{TEXTURE}"))) == 4
    assert room.model.tex_data.size < 200


def test_another_renderer_makes_the_smaller_sizes_itself(rooms, models, made_anew, monkeypatch):
    from ray_eval.envs.libero import mipmaps

    expected = in_opengl(rooms(kept=None))
    monkeypatch.setattr(mipmaps, "SOFTWARE", ("another",))
    for _ in range(2):
        assert in_opengl(rooms()) == expected
    assert len(made_anew) == 8
    assert not models.folder.exists()


def test_a_larger_image_takes_them_from_the_disk_again(rooms, made_anew):
    room = rooms()
    room.image()
    made_anew.clear()
    assert np.array_equal(room.image(700), room.plain_image(700))
    assert made_anew == []


def test_a_material_that_a_geom_gets_later_has_its_texture_uploaded(rooms, made_anew):
    room = rooms()
    room.image()
    made_anew.clear()
    room.model.geom_matid[room.model.geom("box").id] = room.model.material("unworn").id
    changed = np.array(room.model.geom_matid)
    expected = room.plain_image(change=lambda plain: np.copyto(plain.geom_matid, changed))
    assert np.array_equal(room.image(), expected)
    assert made_anew == ["unworn"]


@pytest.mark.parametrize("damage", ["one byte", "cut", "another driver"])
def test_what_is_damaged_or_of_another_driver_is_made_anew(rooms, memory, models, made_anew, monkeypatch, damage):
    image = rooms().image()
    entries = {entry: entry.read_bytes() for entry in models.folder.glob(f"*{TEXTURE}")}
    for entry, good in entries.items():
        if damage != "another driver":
            entry.write_bytes(good[:-1] + bytes([good[-1] ^ 1]) if damage == "one byte" else good[:40])
    if damage == "another driver":
        monkeypatch.setenv("LIBGL_DEBUG", "quiet")
        memory._proven.cache_clear()
    made_anew.clear()
    assert np.array_equal(rooms().image(), image)
    assert len(made_anew) == 4
    assert {entry: entry.read_bytes() for entry in models.folder.glob(f"*{TEXTURE}")} == entries


def key(tmp_path, attributes):
    return Texture(attributes).key("3.2.3", FileDigests(tmp_path / "digests.json"))


def test_what_a_texture_is_called_and_where_its_file_lies_does_not_matter(mjcf, tmp_path):
    floor = {"name": "floor", "type": "2d", "file": str(tmp_path / "floor.png")}
    same = key(tmp_path, floor)
    assert key(tmp_path, {**floor, "name": "wall", "file": str(tmp_path / "again.png")}) == same
    others = [
        {**floor, "type": "cube"},
        {**floor, "file": str(tmp_path / "board.png")},
        {"name": "floor", "type": "2d", "builtin": "flat", "width": "8", "height": "8"},
    ]
    assert len({same, *(key(tmp_path, other) for other in others)}) == 4
    with pytest.raises(OSError, match="nowhere"):
        key(tmp_path, {**floor, "file": str(tmp_path / "nowhere.png")})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<asset>", '<compiler texturedir="textures"/><asset>'),
        ("<asset>", '<include file="more.xml"/><asset>'),
        ('name="flat" builtin', 'name="flat" mark="random" builtin'),
        ('name="board" file', 'name="board" gridsize="1 1" file'),
        ("{files}/board.png", "board.png"),
        ("<worldbody>", '<default><texture name="elsewhere"/></default><worldbody>'),
    ],
)
def test_a_scene_whose_textures_cannot_be_told_apart_is_left_as_it_is(tmp_path, old, new):
    assert split(SCENE.format(files=tmp_path)) is not None
    changed = SCENE.replace(old, new).format(files=tmp_path)
    assert changed != SCENE.format(files=tmp_path)
    assert split(changed) is None
