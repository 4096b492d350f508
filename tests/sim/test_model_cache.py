"""Compiled models on disk: the same model, whatever happens to the folder."""

import os
import time
from multiprocessing import get_context

import mujoco
import numpy as np
import pytest

from ray_eval.envs import digests
from ray_eval.envs.digests import FileDigests
from ray_eval.envs.libero.model_cache import KEPT_FOR_S, MODEL, TEXTURE, ModelCache, content_key

MJCF = '<mujoco><worldbody><body><freejoint/><geom name="{}" size=".1"/></body></worldbody></mujoco>'
SCENE = MJCF.format("ball")


@pytest.fixture
def cache(tmp_path):
    return ModelCache(tmp_path / "models", 10**9)


def entries(cache):
    return sorted(cache.folder.glob("*.mjb"))


def saved(model):
    buffer = np.empty(mujoco.mj_sizeModel(model), np.uint8)
    mujoco.mj_saveModel(model, None, buffer)
    return buffer.tobytes()


def test_a_loaded_model_is_the_compiled_one_to_the_byte(cache):
    compiled = cache.compiled(SCENE)
    assert len(entries(cache)) == 1
    assert saved(cache.compiled(SCENE)) == saved(compiled)
    assert len(entries(cache)) == 1


@pytest.mark.parametrize("damage", [b"", b"torn", None], ids=["empty", "foreign", "one byte changed"])
def test_a_damaged_entry_is_replaced(cache, damage):
    compiled = cache.compiled(SCENE)
    (entry,) = entries(cache)
    good = entry.read_bytes()
    entry.write_bytes(good[:-1] + bytes([good[-1] ^ 1]) if damage is None else damage)
    assert saved(cache.compiled(SCENE)) == saved(compiled)
    assert entry.read_bytes() == good


def test_the_key_is_made_of_text_files_and_version(tmp_path):
    mesh = tmp_path / "mesh.obj"
    mesh.write_text("first")
    mjcf = f'<mujoco><asset><mesh file="{mesh}"/></asset></mujoco>'

    def key(text, version):
        return content_key(text, version, FileDigests(tmp_path / "digests.json"))

    keys = [key(mjcf, "3.2.3"), key(mjcf, "3.2.4"), key(mjcf + " ", "3.2.3")]
    mesh.write_text("other")
    keys.append(key(mjcf, "3.2.3"))
    assert len(set(keys)) == 4
    mesh.unlink()
    assert key(mjcf, "3.2.3") is None


def test_a_scene_that_names_a_missing_file_is_not_cached(cache):
    with pytest.raises(ValueError, match="nowhere"):
        cache.compiled('<mujoco><asset><mesh file="/nowhere.obj"/></asset></mujoco>')
    assert entries(cache) == []


def test_no_room_means_no_entry(tmp_path):
    for limit in (0, 100):
        cache = ModelCache(tmp_path / "models", limit)
        assert cache.compiled(SCENE).ngeom == 1
        assert not cache.folder.exists()


def test_the_entry_unused_for_longest_makes_room_but_not_one_just_used(tmp_path):
    now = [0.0]
    size = len(saved(mujoco.MjModel.from_xml_string(SCENE)))
    cache = ModelCache(tmp_path, round(2.5 * size), clock=lambda: now[0])
    for index, name in enumerate("abac"):
        now[0] = index * 10.0
        cache.compiled(MJCF.format(name))
    first = set(entries(cache))
    assert len(first) == 2
    now[0] = 15.0 + KEPT_FOR_S
    cache.compiled(MJCF.format("c"))
    assert len(set(entries(cache)) & first) == 1
    # What says when an entry was used goes with it.
    assert {path.stem for path in tmp_path.glob("*.used")} == {entry.stem for entry in entries(cache)}


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    (tmp_path / "models").write_text("a file")
    assert ModelCache(tmp_path / "models", 10**9).compiled(SCENE).ngeom == 1


def test_processes_that_store_the_same_model_at_once_leave_one_entry(cache):
    with get_context("spawn").Pool(2) as pool:
        sizes = pool.map(_geom_count, [cache] * 4)
    assert sizes == [1] * 4
    assert len(entries(cache)) == 1


def _geom_count(cache):
    return cache.compiled(SCENE).ngeom


def test_an_entry_is_read_for_its_digest_once_and_again_when_it_changes(cache, monkeypatch):
    read, original = [], digests._digest
    monkeypatch.setattr(digests, "_digest", lambda path: read.append(path) or original(path))
    cache.compiled(SCENE)
    (entry,) = entries(cache)
    os.utime(entry, (0, 0))
    while time.time() - entry.stat().st_ctime < digests.SETTLED_S:  # a change within the clock's grain would not show
        time.sleep(0.1)
    for _ in range(3):
        cache.compiled(SCENE)
    assert read == [entry]
    entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    cache.compiled(SCENE)
    assert read == [entry, entry]
    assert entries(cache) == [entry]


def test_an_entry_takes_the_place_of_the_keys_other_one_of_its_kind(cache):
    for content in (b"one", b"other"):
        for suffix in (MODEL, TEXTURE):
            whole = content + suffix.encode()
            cache.keep("key", suffix, len(whole), lambda path, whole=whole: path.write_bytes(whole))
    suffixes = sorted(path.suffix for path in cache.folder.glob("key-*"))
    assert suffixes == sorted([TEXTURE, MODEL, ".used", ".used"])
    assert [cache.found("key", suffix).read_bytes() for suffix in (MODEL, TEXTURE)] == [b"other.mjb", b"other.texture"]
    assert cache.found("another key", TEXTURE) is None


def test_an_entry_that_is_not_written_whole_is_not_kept(cache, caplog):
    cache.keep("key", TEXTURE, 10, lambda path: path.write_bytes(b"torn"))
    assert cache.found("key", TEXTURE) is None
    assert "4 of 10 bytes written" in caplog.text
