"""What is handed to others: the source archive and the wheel, away from the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", out], cwd=ROOT, check=True, capture_output=True)
    return out


def test_the_wheel_has_every_file_of_the_package_and_what_is_shipped_with_it(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(
        ["git", "ls-files", "ray_eval", "configs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    expected = {name if name.startswith("ray_eval/") else f"ray_eval/{name}" for name in listed}
    assert expected | {"ray_eval/constraints.txt"} <= names
    assert {name.split("/")[0] for name in names} == {"ray_eval", "ray_eval-0.1.0.dist-info"}


def test_the_source_archive_builds_the_same_wheel(built, tmp_path):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=source, check=True,
        capture_output=True,
    )  # fmt: skip
    (again,), (wheel,) = tmp_path.glob("*.whl"), built.glob("*.whl")
    assert contents(again) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    opened = zipfile.ZipFile(wheel)
    return {name: opened.read(name) for name in opened.namelist()}


def test_the_wheels_commands_work_away_from_the_checkout(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    program = (
        "import ray_eval; from ray_eval.cli import main; print(ray_eval.__file__); "
        "main(['list', 'protocols']); main(['keys', 'execution']); main(['list', 'published']); "
        "main(['run', 'first_light', '--dry-run'])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(str(tmp_path / "installed" / "ray_eval"))
    for word in ("openvla_oft", "execution.latency.ms=null", "pi05_libero", "libero_object/9/0"):
        assert word in done.stdout


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_wheel_runs_in_a_fresh_environment(tmp_path):
    done = subprocess.run(
        ["bash", ROOT / "scripts/check_wheel.sh", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3/3" in done.stdout


def a_clone(folder):
    clone = folder / "ray-eval"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", clone], check=True)
    return clone


def quick_started(clone, **variables):
    """What `quick_start.sh` says, typed in the folder above the clone."""
    words = ("policy=oracle", "policy.images=false", "suite=libero_object", "tasks=[0]", "episodes_per_task=1")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        ["bash", clone / "examples/quick_start.sh", *words],
        cwd=clone.parent,
        env={**environment, "PYTHON": sys.executable, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_quick_start_goes_from_an_empty_folder_to_the_table(tmp_path):
    """With an environment that is installed already; the nightly one below installs its own."""
    clone = a_clone(tmp_path)
    environment = clone / ".venv"
    environment.mkdir()
    (environment / "bin").symlink_to(Path(sys.prefix) / "bin")
    (environment / ".installed").touch()
    for name in ("pyproject.toml", "constraints.txt", "scripts/install.sh"):
        os.utime(clone / name, (0, 0))  # older than the installation
    assert "1/1" in quick_started(clone, PYTHONPATH=str(clone))


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_the_quick_start_goes_from_a_clone_to_the_table(tmp_path):
    assert "1/1" in quick_started(a_clone(tmp_path))
