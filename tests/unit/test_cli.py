"""What the command line says to words that it cannot take, before anything is started."""

import json
import subprocess
import sys

import pytest

import ray_eval
from ray_eval.cli import main
from ray_eval.driver.titles import unread_words
from ray_eval.errors import ConfigError, SetupError, require_linux
from ray_eval.sections import LeRobotPolicySection

ORACLE = ("run", "policy=oracle", "suite=libero_object", "--dry-run")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "oracle", "--dry-run"), "Did you mean policy=oracle?"),
        ((*ORACLE, "episodes_per_task=51"), "episodes_per_task: expected at most 50, got 51"),
        ((*ORACLE, "tasks=[-1]"), "tasks: expected indices from 0 upwards"),
        (("run", "first_light", "init_states=[0]", "--dry-run"), "where a preset has the other, set that to null"),
        (("list", "tasks", "libero"), "write one of libero_spatial, libero_object"),
        (("sweep", "latency", "execution.latency.steps=0,1", "--out", "/proc/x"), "expected a folder that can be made"),
        (("bench", "serve", "--json", "/proc/x.json"), "--json /proc/x.json: expected a file that can be written"),
        (("episode", "nowhere", "a/0/0", "--video", "/proc/x.mp4"), "--video /proc/x.mp4: expected a file that can"),
        (("sweep", "suite=fake", "seed=0,1", "out=s3://b/x"), "out: expected a path of this machine"),
        (("tune", "suite=fake", "out=s3://b/x"), "out: expected a path of this machine"),
        (("tune", "suite=fake", "out=x", "--out", "y"), "out=x: expected one folder of the results, got --out"),
        (("duel", "suite=fake", "--b", "out=x"), "out: expected the duel's folder by --out DIR"),
        (("serve", "kserve", "policy.addresses=[127.0.0.1]"), "policy.addresses: expected host:port each"),
        (("serve", "torch", "policy.entrypoint=mine"), "policy.entrypoint: expected package.module:factory"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_write(words, says, capsys):
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert says in shown
    assert shown.count("\n") == 1


def test_folders_of_sweeps_and_runs_name_each_others_command(tmp_path, capsys):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    assert main(("run", "--resume", str(tmp_path / "sweep"))) == 2
    assert f"ray-eval sweep --resume {tmp_path / 'sweep'}" in capsys.readouterr().err
    assert main(("sweep", "--resume", str(tmp_path / "run"))) == 2
    assert f"ray-eval run --resume {tmp_path / 'run'}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("bench", "--help"), "usage: ray-eval bench"),
        (("run", "first_light", "--workers", "2"), "unrecognized arguments: --workers; write workers=..."),
        (("run", "first_light", "--worker=2"), "unrecognized arguments: --worker=2; write workers=2; see"),
        (("run", "first_light", "--policy.path=a"), "write policy.path=a; see"),
        (("rnu", "first_light"), "'completion'). Did you mean 'run'? See ray-eval --help"),
        (("serve",), "the following arguments are required: POLICY; see"),
        (
            ("tune", "suite=fake", "--out", "s3://b/x"),
            "expected a path of this machine, got s3://b/x; only a run's --out",
        ),
        (("report", "s3://b/x"), "expected a folder of this machine, got s3://b/x; copy it here first"),
        (("compare", "runs/a", "s3://b/x"), "got s3://b/x; copy it here first"),
    ],
)
def test_usage_is_shown(words, says, capsys):
    with pytest.raises(SystemExit):
        main(words)
    assert says in "".join(capsys.readouterr())


def test_overrides_in_one_text_are_refused():
    with pytest.raises(ConfigError, match=r"overrides: expected a list of texts like 'workers=2', got 'tasks=\[3\]'"):
        ray_eval.load_config("first_light", "tasks=[3]")


@pytest.mark.parametrize(
    "what", ["policies", "protocols", "executions", "aggregations", "evaluations", "formats", "suites", "simulators"]
)
def test_every_entry_of_a_list_has_a_word_about_it(what, capsys):
    assert main(("list", what, "--json")) == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries
    assert [name for name, text in entries.items() if not text] == []
    assert main(("list", what)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines if not line.startswith(" ")] == list(entries)


def test_a_dead_server_is_known_before_a_ray_is_started(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ("policy=openpi", "policy.addresses=[127.0.0.1:9]", "suite=fake")
    assert main(("run", *words)) == 2
    assert "got nobody at 127.0.0.1:9" in capsys.readouterr().err


def test_another_system_than_linux_is_refused_with_what_to_do():
    with pytest.raises(SetupError, match=r"expected Linux, got darwin; .*examples/quick_start"):
        require_linux("darwin")


def test_the_plan_as_json_is_an_object_and_nothing_else(capsys):
    assert main([*ORACLE, "tasks=[3]", "episodes_per_task=2", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["episodes"] == ["libero_object/3/0", "libero_object/3/1"]
    assert plan["config"]["policy"]["type"] == "oracle"


def test_the_points_of_a_sweep_as_json(capsys):
    assert main(["sweep", *ORACLE[1:], "tasks=[3]", "episodes_per_task=2", "seed=1,2", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["episodes"] == 4
    assert [point["values"] for point in plan["points"]] == [{"seed": "1"}, {"seed": "2"}]


def test_a_dry_run_says_whose_word_the_policys_keys_are(capsys, tmp_path, monkeypatch):
    (tmp_path / "my_network.py").write_text("class Mine: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["run", "policy=torch", "policy.entrypoint=my_network:Mine", "suite=libero_object", "--dry-run"]) == 0
    assert "# my_network:Mine itself says keys, chunk_len" in capsys.readouterr().out
    assert unread_words(LeRobotPolicySection(path="outputs/act")).startswith("the checkpoint says what it reads")
    assert main([*ORACLE]) == 0
    assert "itself says" not in capsys.readouterr().out


def test_a_sweep_takes_its_folder_in_either_way_and_not_in_both(tmp_path, capsys):
    words = ["sweep", "policy=noop", "suite=fake", "seed=1,2", "--dry-run"]
    assert main([*words, f"out={tmp_path / 'sweep'}"]) == 0
    assert main([*words, "out=s3://bucket/sweep"]) == 2
    assert "out: expected a path of this machine" in capsys.readouterr().err
    assert main([*words, "out=a", "--out", "b"]) == 2
    assert "got --out beside it" in capsys.readouterr().err


def test_without_the_modules_that_windows_lacks_a_run_is_refused_in_one_line():
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'resource', 'pwd', 'grp', 'termios')))\n"
        "from ray_eval import errors; errors.require_linux.__defaults__ = ('win32',)\n"
        "from ray_eval.cli import main; sys.exit(main(['run', 'first_light']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("ray-eval: system: expected Linux, got win32; ")
    assert done.stderr.count("\n") == 1
