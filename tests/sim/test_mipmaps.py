"""Smaller sizes of textures, from the disk as OpenGL made them."""

import mujoco
import numpy as np
import pytest
from test_uploading import Room, context

from ray_eval.envs.libero.model_cache import MIPMAPS, ModelCache

PARAMETERS = ("MAG_FILTER", "MIN_FILTER", "WRAP_S", "WRAP_T", "WRAP_R", "BASE_LEVEL", "MAX_LEVEL", "PRIORITY")


@pytest.fixture
def models(tmp_path):
    return ModelCache(tmp_path / "models", 10**9)


@pytest.fixture
def rooms(simulator, memory, models):
    made = []

    def make(name="room", kept=models):
        made.append(Room(name=name, models=kept))
        return made[-1]

    yield make
    for room in made:
        room.renderer.close()


@pytest.fixture
def made_by_mujoco(monkeypatch):
    """Indices of the textures of which MuJoCo has had the smaller sizes made."""
    textures, original = [], mujoco.mjr_uploadTexture

    def upload(model, con, texture):
        textures.append(texture)
        original(model, con, texture)

    monkeypatch.setattr(mujoco, "mjr_uploadTexture", upload)
    return textures


def in_opengl(room):
    """By texture: its parameters, and each size of each side as its width, height and bytes."""
    from OpenGL import GL

    con, found = context(room), {}
    GL.glPixelStorei(GL.GL_PACK_ALIGNMENT, 1)
    for index in range(room.model.ntex):
        is_flat = room.model.tex_type[index] == mujoco.mjtTexture.mjTEXTURE_2D
        target = GL.GL_TEXTURE_2D if is_flat else GL.GL_TEXTURE_CUBE_MAP
        GL.glBindTexture(target, con.texture[index])
        told = [int(GL.glGetTexParameteriv(target, getattr(GL, f"GL_TEXTURE_{name}"))) for name in PARAMETERS]
        sides = [target] if is_flat else [GL.GL_TEXTURE_CUBE_MAP_POSITIVE_X + side for side in range(6)]
        sizes = {}
        for side in sides:
            for level in range(12):
                names = (GL.GL_TEXTURE_WIDTH, GL.GL_TEXTURE_HEIGHT, GL.GL_TEXTURE_INTERNAL_FORMAT)
                form = tuple(int(GL.glGetTexLevelParameteriv(side, level, name)) for name in names)
                if form[0]:
                    sizes[side, level] = (form, GL.glGetTexImage(side, level, GL.GL_RGB, GL.GL_UNSIGNED_BYTE))
        found[room.model.texture(index).name] = (told, sizes)
        GL.glBindTexture(target, 0)
    return found


def test_textures_are_in_opengl_as_mujoco_uploads_them(rooms, models, made_by_mujoco):
    plain, first = rooms(kept=None), rooms()
    expected, image = in_opengl(plain), plain.image()
    assert np.array_equal(image, plain.plain_image())
    assert np.array_equal(first.image(), image)
    made_by_mujoco.clear()
    again = rooms()
    assert np.array_equal(again.image(), image)
    assert made_by_mujoco == []
    found = in_opengl(again)
    assert found == expected
    assert sorted({side for _, sizes in found.values() for side, _ in sizes}) == [3553, *range(34069, 34075)]
    assert max(level for _, sizes in found.values() for _, level in sizes) == 6
    assert len(list(models.folder.glob(f"*{MIPMAPS}"))) == 1


def test_a_larger_image_takes_them_from_the_disk_again(rooms, made_by_mujoco):
    room = rooms()
    room.image()
    made_by_mujoco.clear()
    assert np.array_equal(room.image(700), room.plain_image(700))
    assert made_by_mujoco == []


def test_another_scene_or_another_choice_of_textures_has_its_own(rooms, models, made_by_mujoco):
    rooms().image()
    made_by_mujoco.clear()
    rooms("another room").image()
    assert made_by_mujoco
    made_by_mujoco.clear()
    room = rooms()
    room.model.geom_matid[room.model.geom("box").id] = room.model.material("unworn").id
    changed = np.array(room.model.geom_matid)
    expected = room.plain_image(change=lambda plain: np.copyto(plain.geom_matid, changed))
    assert np.array_equal(room.image(), expected)
    assert made_by_mujoco
    assert len(list(models.folder.glob(f"*{MIPMAPS}"))) == 3


def test_what_is_damaged_or_of_another_driver_is_made_anew(rooms, memory, models, made_by_mujoco, monkeypatch):
    image = rooms().image()
    (entry,) = models.folder.glob(f"*{MIPMAPS}")
    good = entry.read_bytes()
    entry.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    for _ in range(2):
        made_by_mujoco.clear()
        assert np.array_equal(rooms().image(), image)
        assert made_by_mujoco
        (entry,) = models.folder.glob(f"*{MIPMAPS}")
        assert entry.read_bytes() == good
        monkeypatch.setenv("LIBGL_DEBUG", "quiet")
        memory._proven.cache_clear()
