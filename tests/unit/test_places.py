"""Where a process puts its files: whoever the user is, and whatever the folders are called."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ray_eval import places
from ray_eval.errors import SetupError


def told(code: str, **environment: str) -> str:
    """What a process says in that environment, without a home where none is given."""
    env = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME", "RAY_EVAL_CACHE")}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**env, **environment})
    return done.stdout.strip()


def test_a_private_folder_is_this_users_alone(tmp_path):
    code = "from ray_eval.places import private_folder; print(private_folder())"
    folder = Path(told(code, TMPDIR=str(tmp_path), HOME="/"))
    assert folder == tmp_path / f"ray_eval-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert told(code, TMPDIR=str(tmp_path), HOME="/") == str(folder)


@pytest.mark.parametrize("spoil", ["a link", "open to all"])
def test_what_another_user_may_have_prepared_is_not_taken(spoil, tmp_path):
    prepared = tmp_path / f"ray_eval-{os.getuid()}"
    (tmp_path / "elsewhere").mkdir()
    if spoil == "a link":
        prepared.symlink_to(tmp_path / "elsewhere")
    else:
        prepared.mkdir()
        prepared.chmod(0o777)
    code = "from ray_eval.places import private_folder; print(private_folder())"
    folder = Path(told(code, TMPDIR=str(tmp_path), HOME="/"))
    assert folder not in (prepared, tmp_path / "elsewhere")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_caches_go_where_they_are_told_to(tmp_path):
    code = "from ray_eval.places import cache_folder; print(cache_folder())"
    assert told(code, HOME=str(tmp_path)) == f"{tmp_path}/.cache/ray-eval"
    assert told(code, HOME=str(tmp_path), XDG_CACHE_HOME=f"{tmp_path}/caches") == f"{tmp_path}/caches/ray-eval"
    assert told(code, HOME=str(tmp_path), RAY_EVAL_CACHE=f"{tmp_path}/ours") == f"{tmp_path}/ours"


def test_caches_go_into_the_private_folder_where_the_home_takes_none(tmp_path):
    file = tmp_path / "home"
    file.touch()
    code = "from ray_eval.places import cache_folder; print(cache_folder())"
    assert told(code, HOME=str(file), TMPDIR=str(tmp_path)) == f"{tmp_path}/ray_eval-{os.getuid()}/ray-eval"


def test_numba_keeps_what_it_compiles_in_the_private_folder_where_it_has_no_other(tmp_path):
    code = "import os, ray_eval.envs.libero; print(os.environ.get('NUMBA_CACHE_DIR'))"
    assert told(code, HOME=str(tmp_path), TMPDIR=str(tmp_path)) == "None"
    assert told(code, HOME=str(tmp_path), NUMBA_CACHE_DIR="/mine") == "/mine"


def test_a_path_that_leaves_no_room_for_a_socket_is_passed_over():
    long, short = Path("/somewhere/" + "long" * 20), Path("/somewhere/short")
    assert places.short_folder(40, usual=short) == short
    assert places.short_folder(40, usual=long) == Path("/tmp")
    with pytest.raises(SetupError, match="expected a folder for sockets with a path of at most 67 bytes, got "):
        places.short_folder(40, usual=long, is_usable=lambda _: False)


def test_robosuites_log_file_is_neither_made_nor_opened():
    code = (
        "import os, ray_eval.envs.libero, robosuite, logging\n"
        "held = [os.readlink(f'/proc/self/fd/{name}') for name in os.listdir('/proc/self/fd') if int(name) > 2 "
        "and os.path.exists(f'/proc/self/fd/{name}')]\n"
        "print('/tmp/robosuite.log' in held, robosuite.macros.FILE_LOGGING_LEVEL)"
    )
    assert told(code, HOME="/tmp") == "False None"
