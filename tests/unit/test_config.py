"""Reading of configurations: presets, overrides, types, modes, and what a mistake is answered with."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_eval.config import EvalConfig, load_config, load_policy, preset_names, to_yaml
from ray_eval.config.schema import MaxSteps
from ray_eval.errors import ConfigError
from ray_eval.sections import OraclePolicy, ReplayPolicy

BASE = ["suite=libero_object", "policy=oracle"]


def load(*overrides: str) -> EvalConfig:
    return load_config(None, [*BASE, *overrides])


def test_the_default_protocol_is_openpi():
    config = load()
    assert (config.protocol.name, config.protocol.env_seed, config.protocol.replan_steps) == ("openpi", 7, 5)
    assert config.protocol.max_steps.of("libero_spatial") == 220


@pytest.mark.parametrize("name", preset_names("protocols"))
def test_every_protocol_resolves_and_reads_back(name, tmp_path):
    config = load(f"protocol={name}")
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config.resolved()))
    assert load_config(path) == config
    assert load_config(config.resolved()) == config


@pytest.mark.parametrize(
    "overrides",
    [
        ("protocol.max_steps=20",),
        ("protocol.max_steps.libero_10=20",),
        ("protocol.max_steps.default=20", "protocol.max_steps.libero_10=30"),
        ("execution.mode=async", "execution.latency.ms=190"),
        ("execution.mode=async", "execution.latency.steps=3", "protocol=lerobot"),
        ("task_text=pick ${what} \\\\${x} ${",),
        ("task_text=null", "tasks=[1]", "init_states=[4,2]", "policy.images=false"),
    ],
    ids=" ".join,
)
def test_a_resolved_configuration_reads_back_to_itself(overrides, tmp_path):
    config = load(*overrides)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config.resolved()))
    assert load_config(path) == config
    assert load_config(config.resolved(), ["workers=7"]).identity() == config.identity()


NEED_MORE = ("replay", "torch", "lerobot", "kserve", "openpi", "vla_eval", "lerobot_server", "starvla_server")
NEED_MORE += ("groot_server", "xvla_server")


@pytest.mark.parametrize("name", [name for name in preset_names("policies") if name not in NEED_MORE])
def test_every_policy_preset_resolves(name):
    assert load_config(None, ["suite=libero_object", f"policy={name}"]).policy_type == name


@pytest.mark.parametrize("name", preset_names("."))
def test_every_evaluation_that_ships_resolves(name):
    assert load_config(name).suite


def test_presets_are_taken_first_wherever_they_stand():
    config = load_config(
        None, ["protocol.settle_steps=3", "policy.chunk_len=32", "suite=fake", *BASE[1:], "protocol=lerobot"]
    )
    assert (config.protocol.name, config.protocol.settle_steps, config.protocol.env_seed) == ("lerobot", 3, 1000)
    assert config.policy == OraclePolicy(chunk_len=32)


def test_a_preset_on_the_command_line_takes_the_place_of_the_files():
    config = load_config({"suite": "fake", "policy": {"type": "oracle", "chunk_len": "32"}}, ["policy=noop"])
    assert config.policy_type == "noop"


def test_a_budget_for_every_suite_or_for_one():
    assert load("protocol.max_steps=80").protocol.max_steps == {"default": 80}
    budgets = load("protocol.max_steps.libero_10=80").protocol.max_steps
    assert (budgets.of("libero_10"), budgets.of("libero_object")) == (80, 280)


def test_a_variant_takes_the_budget_of_its_base_suite():
    budgets = MaxSteps(libero_10=520, libero_object=280, default=1)
    assert [budgets.of(s) for s in ("libero_10_with_mug", "libero_object_lan", "libero_mine")] == [520, 280, 1]
    with pytest.raises(ConfigError, match=r"protocol\.max_steps\.libero_mine=300"):
        MaxSteps().of("libero_mine")


def test_a_text_takes_its_text_as_it_stands():
    config = load_config(None, ["suite=fake", "policy=replay", "policy.path=12e4567"])
    assert config.policy == ReplayPolicy(path=str(Path("12e4567").absolute()))


def test_a_suite_is_one_or_a_list_or_a_group():
    assert load_config(None, ["suite=[libero_goal, libero_10]", "policy=oracle"]).suite == ("libero_goal", "libero_10")
    assert len(load_config(None, ["suite=libero", "policy=oracle"]).suite) == 4


MISTAKES = {
    "a missing =": (["workers"], "write for instance workers=2"),
    "an unknown key": (["polcy.images=false"], "Did you mean 'policy'"),
    "an unknown key below": (["protocol.settle_step=1"], "Did you mean 'settle_steps'"),
    "an unknown protocol": (["protocol=openpie"], "Did you mean 'openpi'"),
    "the same key twice": (["workers=1", "workers=2"], "got it twice"),
    "the same preset twice": (["policy=noop"], "got it twice"),
    "a bare comma": (["tasks=0,3"], r"write tasks=\[0,3\]"),
    "no brackets": (["tasks=3"], r"write tasks=\[3\]"),
    "leading zeros": (["workers=02"], "integer or auto"),
    "an exponent for an integer": (["repeats=1e3"], "without leading zeros"),
    "a task by its words": (["tasks=[pick_up]"], "got .pick_up.; type: ray-eval list tasks SUITE"),
    "infinity": (["serving.infer_timeout_s=inf"], "expected a finite number"),
    "a number beyond floating point": (["serving.infer_timeout_s=1e400"], "expected a finite number"),
    "thousands of digits": ([f"seed={'9' * 5000}"], "at most 64 bits"),
    "more episodes than anybody has": (["episodes_per_task=1000000000000"], "1 to 1000000"),
    "a protocol's name without its values": (["protocol.name=lerobot"], "write protocol=lerobot"),
    "broken UTF-8": (["task_text=\udcff"], "UTF-8"),
    "a NUL": (["out=a\0b"], "NUL"),
    "a value for a section": (["execution=async"], r"write for instance execution\.mode=async"),
    "an address that is none": (["serving.address=here"], "unix:/path or host:port"),
    "an unknown queue": (["execution.mode=async", "execution.queue=virtul"], "Did you mean 'virtual'"),
    "queue in sync": (["execution.queue=virtual"], r"execution\.mode=async"),
    "yes for true": (["policy.images=yes"], "true or false"),
    "a wrong choice": (["execution.mode=asinc"], "Did you mean 'async'"),
    "out of range": (["workers=0"], "1 to 4096"),
    "a list where a number is wanted": (["seed=[1]"], "an integer"),
    "a value twice": (["tasks=[1,1]"], "no value twice"),
    "negative indices": (["tasks=[-1]"], "indices from 0"),
    "init states twice over": (["init_states=[0]", "episodes_per_task=1"], "leave one of them out"),
    "a value and something below": (["protocol.max_steps=3", "protocol.max_steps.libero_10=4"], "drop one"),
    "latency in sync": (["execution.latency.steps=4"], "execution.mode=async"),
    "two that say when to ask": (
        ["execution=lerobot_async", "protocol.replan_steps=3"],
        r"beside execution\.chunk_size_threshold",
    ),
    "two latencies": (["execution.mode=async", "execution.latency.steps=4", "execution.latency.ms=9"], "got both"),
    "resize that contradicts": (["protocol.images.resize=none"], "images.image_size_px"),
    "not a key": (["-x=3"], "a dotted key"),
    "empty preset": (["protocol="], "protocol: expected one of"),
}


@pytest.mark.parametrize(("overrides", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_answered_with_what_to_write(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["policy=oracle"], "suite=libero_object"),
        (["suite=libero_object"], "policy=oracle"),
        (["suite=fake", "policy=replay"], r"policy\.path"),
        (["suite=a,b", "policy=oracle"], r"suite=\[a,b\]"),
    ],
)
def test_what_must_be_said_is_asked_for(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


def test_an_unknown_file_or_name_suggests_one():
    with pytest.raises(ConfigError, match="Did you mean 'first_light'"):
        load_config("frist_light")
    with pytest.raises(ConfigError, match="expected a configuration file"):
        load_config("nowhere.yaml")
    with pytest.raises(ConfigError, match="Did you mean suite=VALUE"):
        load_config("suite")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("polcy=random", r"^polcy: .*no such key\. Did you mean 'policy'\?"),
        ("execution.latncy.steps=2", r"^execution\.latncy: .*no such key\. Did you mean 'latency'\?"),
        ("execution.modes=async", r"^execution\.modes: .*Did you mean 'mode'\?"),
        ("protocol.max_step=3", r"^protocol\.max_step: .*Did you mean 'max_steps'\?"),
        ("simulator.camera=1", r"^simulator\.camera: .*no such key"),
        ("serving.replica=2", r"^serving\.replica: .*Did you mean 'replicas'\?"),
    ],
)
@pytest.mark.parametrize("mode", ["sync", "async", "realtime"])
def test_a_misspelt_key_is_named_before_what_it_leaves_out(mode, word, says):
    with pytest.raises(ConfigError, match=says):
        load_config(None, ["suite=fake", f"execution.mode={mode}", word, *(["policy=random"] if "." in word else [])])


def test_broken_yaml_is_a_config_error(tmp_path):
    path = tmp_path / "broken.yaml"
    for text, message in (
        ("a: [", r"readable YAML, got at line 1, column 5: .*; a file has KEY: VALUE, one a line"),
        ("- 1", "expected a mapping of keys to values, got a list; a file has KEY: VALUE"),
        ("suite: ${nope}", "interpolations"),
        ("seed: 1\nseed: 2", "the key 'seed' twice"),
        ("{[1]: 2}", "readable YAML"),
        ("[" * 5000, "nested too deeply"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(path)


def test_async_asks_as_often_as_sync_unless_a_threshold_is_said():
    config = load("execution.mode=async")
    execution = config.execution
    assert (execution.chunk_size_threshold, execution.aggregate, execution.underrun) == (None, "latest_only", "hold")
    assert (execution.latency.steps, execution.queue) == (0, "virtual")
    assert config.protocol.replan_steps == load().protocol.replan_steps == 5
    assert load("execution.mode=async", "execution.chunk_size_threshold=0.8").protocol.replan_steps is None


def test_lerobots_client_is_a_preset():
    config = load("execution=lerobot_async", "execution.latency.ms=190", "execution.underrun=noop")
    execution = config.execution
    assert (execution.mode, execution.chunk_size_threshold, execution.aggregate) == ("async", 0.5, "weighted_average")
    assert (execution.underrun, execution.latency.ms, config.protocol.replan_steps) == ("noop", 190.0, None)
    file = load_config({"suite": "fake", "policy": "oracle", "execution": "lerobot_async"}).execution
    assert file.chunk_size_threshold == 0.5
    with pytest.raises(ConfigError, match=r"execution: expected one of lerobot_async, got 'lerobot'"):
        load("execution=lerobot")


@pytest.mark.parametrize("default", ["null", "5"])
def test_a_recorded_async_run_is_read_back_as_it_was(default):
    said = load("execution.mode=async", f"protocol.replan_steps={default}")
    assert load_config(said.resolved()).identity() == said.identity()
    # As it was recorded while a threshold was async's default.
    older = said.resolved()
    older["protocol"]["replan_steps"] = None
    older["execution"] |= {"chunk_size_threshold": 0.5, "aggregate": "weighted_average"}
    again = load_config(older)
    assert (again.execution.chunk_size_threshold, again.execution.aggregate) == (0.5, "weighted_average")
    assert again.protocol.replan_steps is None


def test_the_command_lines_threshold_overrules_a_files_replan_steps():
    file = {"suite": "fake", "policy": "oracle", "execution": {"mode": "async"}, "protocol": {"replan_steps": 3}}
    assert load_config(file).protocol.replan_steps == 3
    config = load_config(file, ["execution.chunk_size_threshold=0.8"])
    assert (config.protocol.replan_steps, config.execution.chunk_size_threshold) == (None, 0.8)


def test_the_command_lines_mode_overrules_a_files_keys():
    config = load_config("latency", ["execution.mode=sync"])
    assert config.execution.latency.steps is None
    assert config.execution.chunk_size_threshold is None


def test_the_command_lines_latency_takes_the_place_of_a_files():
    latency = load_config("latency", ["execution.latency.ms=190"]).execution.latency
    assert (latency.steps, latency.ms) == (None, 190.0)


def test_a_users_file_with_keys_of_the_other_mode_is_refused():
    file = {"suite": "fake", "policy": "oracle", "execution": {"underrun": "noop"}}
    with pytest.raises(ConfigError, match=r"execution\.underrun"):
        load_config(file)


def every_field(schema: type):
    for item in dataclasses.fields(schema):
        yield schema, item


def test_every_field_is_declared_identity_or_operational():
    from ray_eval.config import schema

    sections = [
        value
        for value in vars(schema).values()
        if dataclasses.is_dataclass(value) and value.__module__ == schema.__name__
    ]
    undeclared = [
        f"{section.__name__}.{item.name}"
        for section, item in (pair for section in sections for pair in every_field(section))
        if item.metadata.get("kind") not in ("identity", "operational")
    ]
    assert undeclared == []


def test_identity_leaves_operational_keys_out():
    identity = load("workers=3", "limits.grace_s=1").identity()
    assert identity == load("workers=1", "ray.address=auto", "out=x").identity()
    assert identity != load("seed=1").identity()
    assert not any(key.split(".")[0] in ("workers", "ray", "out", "limits", "render") for key in identity)
    serving = {key for key in identity if key.startswith("serving.")}
    assert serving == {"serving.determinism", "serving.batch_size", "serving.threads"}
    assert identity != load("serving.batch_size=4").identity()


def test_python_values_are_read_like_texts():
    config = load_config({"suite": ["fake"], "policy": "oracle", "workers": 2, "tasks": [0], "protocol.max_steps": 9})
    assert (config.workers, config.tasks, config.protocol.max_steps) == (2, (0,), {"default": 9})
    with pytest.raises(ConfigError, match="workers"):
        load_config({"suite": "fake", "policy": "oracle", "workers": True})


@pytest.mark.parametrize(
    "values",
    [
        {"execution": 3},
        {"execution": "async"},
        {"protocol": 5},
        {"policy": [1]},
        {"suite": 3},
        {"suite": {"fake": 1}},
        {"serving": 4},
        {"seed": 10**5000},
        {"workers": float("nan")},
        {"limits": {"grace_s": float("inf")}},
    ],
    ids=lambda values: next(iter(values)),
)
def test_python_values_of_a_wrong_kind_are_config_errors(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        load_config({"suite": "fake", "policy": "oracle", **values})
    with pytest.raises(ConfigError, match="a file, a name or a mapping"):
        load_config(5)


def keys_of(values: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found += [prefix + key, *(keys_of(value, f"{prefix}{key}.") if isinstance(value, dict) else ())]
    return found


KEYS = sorted({key for name in ("latency", "first_light") for key in keys_of(load_config(name).resolved())})
ODD_VALUES = [
    "",
    "null",
    "[",
    "[]",
    "[0]",
    "0",
    "-1",
    "007",
    "1e400",
    "9" * 5000,
    "nan",
    "true",
    "a,b",
    "${x}",
    "\udcff",
]
NAMES = ["oracle", "replay", "openpi", "async", "sync", "libero", "fake", "chunk", "policy", "unix:", "0.5", "[a,b]"]
VALUES = st.text() | st.sampled_from(ODD_VALUES + NAMES)
DOTTED = st.sampled_from(KEYS) | st.builds(
    "{}.{}".format, st.sampled_from(KEYS), st.sampled_from(["x", "type", "name"])
)
WORDS = st.text() | st.builds("{}={}".format, DOTTED, VALUES)


@settings(max_examples=300, deadline=None)
@given(words=st.lists(WORDS, max_size=5), source=st.sampled_from([None, "first_light", "latency"]))
def test_any_words_give_a_configuration_that_reads_back_or_a_config_error(words, source):
    try:
        config = load_config(source, words)
    except ConfigError:
        return
    assert load_config(config.resolved()) == config
    assert isinstance(to_yaml(config.resolved()).encode(), bytes)


def test_a_policy_alone_for_a_server():
    policy, serving = load_policy("oracle", ["policy.chunk_len=3", "serving.max_batch_size=2"])
    assert (policy, serving.max_batch_size) == (OraclePolicy(chunk_len=3), 2)
    with pytest.raises(ConfigError, match="workers: expected"):
        load_policy("oracle", ["workers=3"])


def test_another_servers_names_are_given_by_ours_dots_and_all(tmp_path):
    words = ("policy=kserve", "policy.addresses=[h:1]", "policy.rename.observation.state=STATE", "policy.rename.task=T")
    config = load_config(None, ["suite=fake", *words])
    assert config.policy.rename == {"observation.state": "STATE", "task": "T"}
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config.resolved()))
    assert load_config(path) == config
    moved = load_config(None, ["suite=fake", *words, "policy.connections=2"])
    assert moved.identity() == config.identity()


def torch_config(**kwargs):
    policy = {"type": "torch", "entrypoint": "module:factory", "kwargs": kwargs}
    return load_config({"suite": "fake", "policy": policy})


def test_arguments_of_a_users_function_keep_their_types_in_the_file(tmp_path):
    kwargs = {"n": 3, "x": None, "b": True, "f": 1e-7, "l": [1, "2", {"m": False}], "t": "3", "null": "null", "e": {}}
    config = torch_config(**kwargs)
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config.resolved()))
    again = load_config(path)
    assert again == config
    assert json.dumps(again.identity(), sort_keys=True) == json.dumps(config.identity(), sort_keys=True)
    assert yaml.safe_load(path.read_text())["policy"]["kwargs"] == kwargs


def test_a_scalars_tag_in_a_file_is_its_type_and_must_fit(tmp_path):
    path = tmp_path / "tagged.yaml"
    path.write_text("suite: fake\npolicy: {type: torch, entrypoint: 'm:f', kwargs: {a: 3, b: !!int 3}}")
    assert load_config(path).policy.kwargs == {"a": "3", "b": 3}
    path.write_text("suite: fake\npolicy: {type: torch, entrypoint: 'm:f', kwargs: {b: !!int three}}")
    with pytest.raises(ConfigError, match="'three'"):
        load_config(path)


def test_arguments_that_differ_in_an_empty_mapping_alone_are_another_identity():
    assert torch_config().identity() != torch_config(a={}).identity()
    assert "policy.kwargs" not in torch_config().identity()


def test_an_argument_that_no_file_can_hold_is_a_config_error():
    for value in (object(), float("nan"), [b"bytes"]):
        with pytest.raises(ConfigError, match=r"policy\.kwargs\.a: expected a text, a finite number"):
            torch_config(a=value)
