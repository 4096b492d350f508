"""The described client: its options are words of `ray-eval run`; what has no meaning here is refused with a reason."""

import dataclasses
import json
import shlex

import pytest

from ray_eval.config import load_config
from ray_eval.errors import ConfigError
from ray_eval.sim_client import LiberoEnv, SimClient, SimClientConfig, SimEnv, command_line, main

LIBERO = ("--env.type=libero", "--env.task=libero_10")
ACT = ("--policy_type=act", "--pretrained_name_or_path=outputs/act", "--policy_device=cuda")
FAKE = ("--env.type=fake", "--env.task=fake", "--policy_type=fake", "--n_episodes=2")


def printed(capsys, *options):
    """The configuration of the line that the command prints before all else, and the words of that line."""
    main([*options, "--dry-run"])
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("the same by hand: ray-eval run ")
    words = shlex.split(first.partition("ray-eval run ")[2])
    return load_config(None, words), words


def test_the_described_command_is_a_run_of_lerobots_checkpoint(capsys):
    config, words = printed(capsys, *LIBERO, *ACT, "--n_episodes=10", "--actions_per_chunk=50")
    assert (config.suite, config.episodes_per_task, config.protocol.name) == (("libero_10",), 10, "lerobot")
    assert (config.policy_type, config.policy.device, config.execution.mode) == ("lerobot", "cuda", "sync")
    assert (config.protocol.replan_steps, config.execution.actions_per_chunk) == ("chunk", 50)
    assert "policy.path=outputs/act" in words


def test_a_dry_run_prints_the_plan(capsys):
    assert main([*FAKE, "--dry-run"]) == 0
    assert "# 6 episodes:\n#   fake/0/0 " in capsys.readouterr().out, "n_episodes is per task"


def test_options_and_values_may_stand_apart(capsys):
    config, _ = printed(
        capsys, *FAKE, "--env.task_ids", "[0,2]", "--task", "stack the cups", "--env.episode_length", "9"
    )
    assert (config.tasks, config.task_text, config.protocol.max_steps) == ((0, 2), "stack the cups", {"default": 9})


def test_a_server_address_means_lerobots_own_server(capsys):
    config, _ = printed(capsys, *LIBERO, *ACT, "--server_address=127.0.0.1:8080")
    policy = config.policy
    assert (config.policy_type, policy.addresses, policy.policy_type) == ("lerobot_server", ("127.0.0.1:8080",), "act")
    assert (policy.path, policy.device, policy.trust) == ("outputs/act", "cuda", True)
    elsewhere, _ = printed(capsys, *LIBERO, *ACT, "--server_address=gpu-host:8080")
    assert not elsewhere.policy.trust, "whose pickles come over a network is the user's to say"


@pytest.mark.parametrize(
    ("options", "mode", "threshold", "aggregate"),
    [
        (("--chunk_size_threshold=0.8",), "async", 0.8, "weighted_average"),
        (("--aggregate_fn_name=latest_only",), "async", 0.5, "latest_only"),
        (("--fps=30", "--debug_visualize_queue_size=True"), "realtime", 0.5, "weighted_average"),
    ],
)
def test_what_lerobots_robot_does_while_it_waits_is_done_once_it_is_said(capsys, options, mode, threshold, aggregate):
    execution = printed(capsys, *LIBERO, *ACT, *options)[0].execution
    assert (execution.mode, execution.chunk_size_threshold, execution.aggregate) == (mode, threshold, aggregate)
    assert execution.fps == (30 if mode == "realtime" else None)


def test_further_words_go_last(capsys):
    config, words = printed(capsys, *FAKE, "workers=3", "policy.chunk_len=4")
    assert (config.workers, config.policy.chunk_len, words[-1]) == (3, 4, "policy.chunk_len=4")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--robot.port=/dev/ttyACM0",), "--robot.port: expected nothing, as a simulator takes the robot's place"),
        (("--client_device=cuda",), "client_device: expected cpu, from which the simulator takes its actions"),
        (("--debug_visualize_queue_size=true",), "expected false while the simulator waits"),
        (("--env.type=mujoco",), "simulator: expected one of"),
        (("--chunk_size_threshold=2",), "execution.chunk_size_threshold: expected 0 to 1"),
        (("--aggregate_fn_name=best",), "execution.aggregate"),
    ],
)
def test_what_has_no_meaning_here_is_refused_with_the_reason(capsys, options, reason):
    assert main([*FAKE, *options, "--dry-run"]) == 2
    assert reason in capsys.readouterr().err


def test_an_unknown_option_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*FAKE, "--max_steps=3"])
    assert "unrecognized arguments: --max_steps=3" in capsys.readouterr().err


def test_another_type_than_the_checkpoints_is_refused(capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"type": "smolvla"}))
    options = (*LIBERO, "--policy_type=act", f"--pretrained_name_or_path={tmp_path}")
    assert main([*options, "--dry-run"]) == 2
    assert "policy_type: expected smolvla, as its config.json says, got act" in capsys.readouterr().err


def test_the_class_prints_the_line_and_reads_the_configuration(capsys):
    config = SimClientConfig(env=LiberoEnv(task="libero_10"), policy_type="act", pretrained_name_or_path="outputs/act")
    assert SimClient(config).start()
    assert capsys.readouterr().out == f"the same by hand: {command_line(config.run_words())}\n"
    with pytest.raises(ConfigError, match=r"policy\.path"):
        SimClient(SimClientConfig(env=SimEnv("fake", "fake"), policy_type="act")).start()


def test_lerobot_runs_in_the_environment_that_was_made_for_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    options = SimClientConfig(env=LiberoEnv(task="libero_10"), policy_type="act", pretrained_name_or_path="outputs/act")
    assert not any("policy.python" in word for word in options.run_words())
    made = tmp_path / "ray-eval" / "lerobot-0.6.1" / "bin" / "python"
    made.parent.mkdir(parents=True)
    made.touch()
    assert f"policy.python={made}" in options.run_words()
    said = dataclasses.replace(options, words=("policy.python=/opt/lerobot/bin/python",))
    assert [word for word in said.run_words() if "policy.python" in word] == list(said.words)


def test_an_option_that_there_is_not_is_answered_with_the_one_that_was_meant(capsys):
    with pytest.raises(SystemExit):
        main([*FAKE, "--action_per_chunk=50"])
    assert "unrecognized arguments: --action_per_chunk=50; did you mean --actions_per_chunk?" in capsys.readouterr().err
