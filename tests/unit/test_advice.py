"""Whatever an error says to write is accepted once it is written: every "write ..." and every hint in the sources.

A case provokes the message, reads the advice out of it and follows it. What needs a server of another project, a GPU
or a cluster is named with the test that provokes it there; its advice is followed here all the same.
"""

import ast
import dataclasses
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ray_eval import interpreters
from ray_eval.cli import EXIT_COMPLETE, EXIT_USER_ERROR, main
from ray_eval.config import load_config
from ray_eval.config.keys import keys
from ray_eval.driver.checks import check_execution
from ray_eval.driver.exporting import export
from ray_eval.driver.fresh import run_folder
from ray_eval.driver.matching import mismatches
from ray_eval.driver.plan import plan_of
from ray_eval.driver.resolve import differences, queue_rules, starvation
from ray_eval.driver.simulators import budget_of, simulator_of
from ray_eval.driver.sweep import create_sweep, plan_sweep
from ray_eval.envs.registry import simulator_type
from ray_eval.errors import RayEvalError
from ray_eval.install.recipes import RECIPES, wanted
from ray_eval.policies.lerobot import batching, chunking, features, loading
from ray_eval.policies.lerobot.checkpoint import Checkpoint, open_checkpoint
from ray_eval.policies.remote import answers, tensors
from ray_eval.policies.remote.lerobot_server import LeRobotServerPolicy
from ray_eval.published import published_row
from ray_eval.report.looking import chosen
from ray_eval.report.requirements import read_requirements
from ray_eval.rollout.chunk_queue import load_aggregation
from ray_eval.sections import LeRobotServerPolicySection, RtcSection, StepsLatency
from ray_eval.track import check_trackers
from ray_eval.types import IMAGE, STATE, Observation, PolicySpec
from ray_eval.watch.video import VideoWriter
from ray_eval.wire import codec
from ray_eval.wire import open_inference_pb2 as pb

PACKAGE = Path(__file__).resolve().parents[2] / "ray_eval"
ADVICE = re.compile(r"(?<!to )(?<!can )(?<!you )(?<!else to )\bwrite\b(?! there)")
HELP = (
    *("write rows, versions", "write what the agentview", "write a row per", "write the result as", "write runs in"),
    *("write a first configuration", "write what the cameras see", "write what Prometheus"),
    # of files that could not be written: do the same again
    *("write it again", "write the report again"),
)
FAKE = ("policy=noop", "suite=fake", "protocol.max_steps=40")
SPEC = PolicySpec("p", (STATE,), 10, 7)


# --- what the sources say ---


def texts(tree):
    """Every text of a module that is no docstring; what is put in when it runs is `{}`."""
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        if "_pb2" not in path.name:
            yield path.relative_to(PACKAGE).with_suffix("").as_posix(), ast.parse(path.read_text())


def advice_of(text):
    found = ADVICE.search(text)
    return text[found.start() :][:40] if found and not text.startswith(HELP) else None


def all_advice():
    return {(name, advice) for name, tree in modules() for text in texts(tree) if (advice := advice_of(text))}


def all_hints():
    return {
        (name, ast.unparse(node))
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "did_you_mean"
    }


# --- how advice is followed ---


def said_by(call: Callable, *arguments) -> str:
    with pytest.raises((RayEvalError, SystemExit)) as caught:
        call(*arguments)
    return str(caught.value)


def typed(message, **fill):
    """The `key=value` words that a message says to write, placeholders filled."""
    words = re.findall(r"[\w.]+=(?:\[[^\]]*\]|[^\s;)\]]+)", ADVICE.split(message)[-1])
    assert words, message
    found = []
    for word in words:
        key, _, value = word.rstrip(",.").partition("=")
        for name, given in fill.items():
            key = ".".join(given if part == name else part for part in key.split("."))
        found.append(f"{key}={fill.get(value or 'dots', value)}")
    return found


def is_about(key, other):
    """Whether one key is the other, or stands below or, inside a section, above it."""
    return key == other or key.startswith(f"{other}.") or ("." in key and other.startswith(f"{key}."))


def followed(words, advice):
    """The words with the advice in the place of what it corrects."""
    keys = [word.partition("=")[0] for word in advice]
    is_corrected = [any(is_about(word.partition("=")[0], key) for key in keys) for word in words]
    return [word for word, gone in zip(words, is_corrected, strict=True) if not gone] + advice


def ready(words, source=None):
    config = load_config(source, words)
    plan_of(config)
    check_execution(config)
    return config


def by_words(*words, spoiled=(), check=ready, **fill):
    """A case of words that are refused, and accepted with what the message says."""

    def case():
        message = said_by(check, [*words, *spoiled])
        check(followed([*words, *spoiled], typed(message, **fill)))
        return message

    return case


def by_hint(check, words, wrong):
    """A case of a misspelt word, in whose place the hint's is accepted."""

    def case():
        message = said_by(check, words(wrong))
        (meant,) = re.findall(r"Did you mean '([^']+)'\?", message)
        check(words(meant))
        return message

    return case


def over(key, given):
    return lambda name: [*given, f"{key}={name}"]


# --- the cases of "write ..." ---

CASES = {}


def case(module, advice):
    def add(run):
        CASES[module, advice[:40]] = run
        return run

    return add


def rules_for(spec):
    return lambda words: queue_rules(ready(words), spec)


KSERVE = ("policy=kserve", "policy.addresses=[127.0.0.1:8000]", "suite=fake")
TORCH = ("policy=torch", "policy.entrypoint=a:b", "suite=fake")
ASYNC = (*FAKE, "execution.mode=async")
UNIFORM = "execution.latency.uniform.high_ms"
CASES |= {
    ("config/__init__", "write protocol={}"): by_words(*FAKE, spoiled=["protocol.name=openvla"]),
    ("config/__init__", "write for instance suite=libero_object (r"): by_words("policy=noop"),
    ("config/__init__", "write for instance policy=oracle"): by_words("suite=fake"),
    ("config/reading", "write {}=..."): by_words(*ASYNC, "execution.latency.uniform.low_ms=1", dots="5"),
    ("config/reading", "write {}=[{}]"): by_words(*FAKE, spoiled=["tasks=1"]),
    ("config/reading", "write {}.NAME=VALUE"): by_words(
        *TORCH, spoiled=["policy.kwargs=3"], NAME="size", VALUE="3", check=lambda words: load_config(None, words)
    ),
    ("config/reading", "write {}.OURS=THEIRS"): by_words(
        *KSERVE, spoiled=["policy.rename=3"], OURS="action", THEIRS="a"
    ),
    ("config/simulators", "write protocol={}, or leave it out"): by_words(
        "policy=noop", "suite=pusht", spoiled=["protocol.settle_steps=5"], check=lambda words: load_config(None, words)
    ),
    ("driver/resolve", "write protocol.replan_steps=N, at most {}"): by_words(
        *FAKE, spoiled=["protocol.replan_steps=policy"], check=rules_for(SPEC), N="10"
    ),
    ("driver/resolve", "write protocol.replan_steps=chunk for all of it"): by_words(
        *FAKE, spoiled=["protocol.replan_steps=11"], check=rules_for(SPEC)
    ),
    ("driver/simulators", "write protocol.max_steps={}"): by_words(
        "policy=noop",
        "suite=metaworld_mt10",
        "protocol.max_steps=100000",
        check=lambda words: budget_of(
            load_config(None, words), simulator_of(load_config(None, words)), "metaworld_mt10", 0
        ),
    ),
    ("driver/sweep", "write execution.mode=async execution.laten"): by_words(
        *FAKE, check=lambda words: plan_sweep(None, words)
    ),
}


@case("config/__init__", "write for instance workers=2")
def _():
    message = said_by(ready, [*FAKE, "workers"])
    ready([*FAKE, *typed(message)])
    return message


@case("config/__init__", "write for instance {}")
def _():
    for section in ("execution", "protocol", "policy"):
        message = said_by(ready, FAKE, {section: ["x"]})
        name = {"protocol": "openpi", "policy": "noop", "execution": "lerobot_async"}
        ready(followed(FAKE, typed(message, NAME=name.get(section, ""))))
    return message


@case("config/reading", "write for instance {}=[0]")
def _():
    message = said_by(ready, FAKE, {"tasks": 3})
    ready([*FAKE, *typed(message)])
    return message


@case("config/paths", "write the whole path")
def _():
    message = said_by(ready, [*FAKE, "out=~nobody-of-that-name/x"])
    ready([*FAKE, f"out={Path('x').absolute()}"])
    return message


@case("driver/fresh", "write out=FOLDER, or start elsewhere")
def _():
    Path("runs").write_text("")
    config = ready(FAKE)
    message = said_by(run_folder, config)
    assert load_config(None, followed(FAKE, typed(message, FOLDER="elsewhere"))).out == str(
        Path("elsewhere").absolute()
    )
    return message


@case("driver/matching", "write policy.rename.{}={}")
def _():
    config = load_config(None, ["policy=lerobot", "policy.path=/x", "suite=libero_object"])
    env = simulator_of(config).spec("libero_object", 0)
    message = "; ".join(mismatches(config, PolicySpec("p", ("observation.images.top",), 10, 7), env))
    advice = typed(message)
    assert load_config(None, ["policy=lerobot", "policy.path=/x", "suite=libero_object", *advice]).policy.rename
    return message


def _matched(words, policy):
    config = load_config(None, [*words, "policy=noop", "suite=libero_object"])
    return "; ".join(mismatches(config, policy, simulator_of(config).spec("libero_object", 0)))


@case("driver/matching", "write protocol.state_format={}")
def _():
    policy = PolicySpec("p", (STATE,), 10, 7, state_dim=9)
    message = _matched([], policy)
    assert not _matched(typed(message), policy)
    return message


@case("driver/matching", "write protocol.control={}")
def _():
    policy = PolicySpec("p", (STATE,), 10, 7, control="absolute_pose")
    message = _matched([], policy)
    assert load_config(None, [*FAKE, *typed(message)]).protocol.control == "absolute"
    return message


@case("driver/matching", "write protocol.images.resize=bilinear pro")
def _():
    words = ["policy=noop", "suite=fake", "protocol.images.resize=none", "protocol.images.image_size_px=256"]

    def found(more):
        config = load_config(None, followed(words, more))
        env = simulator_of(config).spec("fake", 0)
        camera = dataclasses.replace(env.cameras[0], is_resizable=False, width_px=640, height_px=480)
        policy = PolicySpec("p", (camera.key,), 10, env.action.dim, image_size_px=224)
        return "; ".join(mismatches(config, policy, dataclasses.replace(env, cameras=(camera,))))

    message = found([])
    assert not found(typed(message))
    return message


@case("driver/resolve", "write execution.actions_per_chunk=2 or mo")
def _():
    words = [*ASYNC, "execution.queue=lerobot", "execution.actions_per_chunk=1"]
    rules = queue_rules(ready(words), SPEC)
    message = starvation(rules, StepsLatency(0), 20.0)
    advice = typed(message)
    assert [word.partition("=")[0] for word in advice] == ["execution.actions_per_chunk", "execution.queue"]
    for word in advice:
        ready(followed(words, [word]))
    return message


@case("driver/resolve", "write execution.mode=async")
def _():
    config = ready(FAKE)
    spec = PolicySpec("p", (STATE,), 10, 7, takes_prefix=True)
    message = "; ".join(differences(config, spec, simulator_of(config).spec("fake", 0)))
    ready(followed(FAKE, typed(message)))
    return message


@case("interpreters", "write ENVIRONMENT/bin/python")
def _():
    message = said_by(interpreters.found, "/no/such/python", "policy.python")
    interpreters.found(sys.executable, "policy.python")
    return message


@case("interpreters", "write {}={}")
def _():
    environment = Path(sys.prefix)
    message = said_by(interpreters.found, str(environment), "policy.python")
    (word,) = typed(message)
    config = load_config(None, ["policy=lerobot", "policy.path=/x", "suite=fake", word])
    assert interpreters.found(config.policy.python, "policy.python") == str(environment / "bin" / "python")
    return message


@case("interpreters", "write {}={}, which ray-eval install has made")
def _():
    message = said_by(interpreters.found, "/no/such/python", "policy.python", Path(sys.executable))
    config = load_config(None, ["policy=lerobot", "policy.path=/x", "suite=fake", *typed(message)])
    assert interpreters.found(config.policy.python, "policy.python") == sys.executable
    return message


@case("install/command", "write {}={}")
def _():
    keys = {recipe.key for recipe in RECIPES.values()}
    for key in keys:
        base = ["policy=lerobot", "policy.path=/x"] if key == "policy.python" else ["policy=noop"]
        load_config(None, [*base, "suite=fake", f"{key}={sys.executable}"])
    return f"installed; write {keys.pop()}={sys.executable}"


# --- the command line ---


def ends(capsys, *words):
    """A command's exit code, and what it said on standard error."""
    try:
        code = main(words)
    except SystemExit as ended:
        code = ended.code
    return code, capsys.readouterr().err


@pytest.fixture
def told(capsys):
    return lambda *words: ends(capsys, *words)


COMMAND_LINE = {
    ("cli/__init__", "write {}={}"): (
        ("run", *FAKE, "--workers", "--dry-run"),
        lambda m: ("run", *FAKE, *typed(m, dots="2"), "--dry-run"),
    ),
    ("cli/choose", "write for instance ray-eval list tasks li"): (("list", "tasks"), None),
    ("cli/choose", "write one of {}"): (
        ("list", "tasks", "libero"),
        lambda m: ("list", "tasks", m.strip().split(", ")[-1]),
    ),
    ("cli/run", "write ray-eval sweep --resume {}"): (
        ("run", "--resume", "a sweep"),
        lambda m: (*_command(m), "--dry-run"),
    ),
    ("cli/decide", "write ray-eval compare RUN_A RUN_B"): (("compare", "RUN_A"), None),
    ("cli/decide", "write ray-eval duel A.yaml B.yaml"): (("duel",), None),
    ("driver/pilots", "write --rate 90 --discordant 10"): (
        ("power",),
        lambda m: ("power", *m.strip().rpartition("write ")[2].split()),
    ),
}


def _command(message):
    return shlex.split(message.strip().rpartition("ray-eval ")[2].partition("; see")[0])


@pytest.mark.parametrize("key", COMMAND_LINE, ids=lambda key: f"{key[0]}: {key[1]}")
def test_what_the_command_line_says_to_write_is_accepted(key, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create_sweep(plan_sweep(None, [*ASYNC, "execution.latency.steps=0,1"]), tmp_path / "a sweep")
    key = key[0], key[1][:40]
    words, follow = COMMAND_LINE[key]
    code, message = told(*words)
    assert code == EXIT_USER_ERROR
    matches(key, message)
    again, answer = told(*(follow(message) if follow else _command(message)))
    names = re.findall(r"RUN_A|A\.yaml", message)
    if names:
        assert names[-1] in answer, "both are taken, and are not there"
        assert answer != message
    else:
        assert (again, answer) == (EXIT_COMPLETE, "")


# --- policies ---


@case("policies/lerobot/checkpoint", "write an id on the hub as policy.path=hub")
def _():
    message = said_by(open_checkpoint, "/no/such/folder", None)
    words = ["policy=lerobot", "suite=fake", *typed(message)]
    assert load_config(None, words).policy.path == "hub:lerobot/act"
    return message


@case("policies/lerobot/checkpoint", "write policy.python=PYTHON, the interpret")
def _():
    message = said_by(open_checkpoint, "hub:lerobot/act", None)
    load_config(None, ["policy=lerobot", "policy.path=/x", "suite=fake", *typed(message, PYTHON=sys.executable)])
    return message


@case("policies/lerobot/checkpoint", "write policy.path={}")
def _():
    (Path("train") / "pretrained_model").mkdir(parents=True)
    Path("train/pretrained_model/config.json").write_text('{"type": "act"}')
    Path("train/pretrained_model/model.safetensors").touch()
    message = said_by(open_checkpoint, str(Path("train").absolute()), None)
    (word,) = typed(message)
    assert open_checkpoint(load_config(None, ["policy=lerobot", "suite=fake", word]).policy.path, None).type == "act"
    return message


@case("policies/lerobot/chunking", "write policy.rtc.enabled=false")
def _():
    checkpoint = Checkpoint("c", Path("c"), {"type": "act"})
    config = SimpleNamespace(type="act")
    message = said_by(chunking.set_rtc, checkpoint, object, config, RtcSection(enabled=True))
    section = load_config(None, ["policy=lerobot", "policy.path=/x", "suite=fake", *typed(message)]).policy.rtc
    chunking.set_rtc(checkpoint, object, config, section)
    return message


@case("policies/lerobot/loading", "write policy.python=ENVIRONMENT/bin/pytho")
def _():
    message = said_by(loading._require_lerobot)
    words = ["policy=lerobot", "policy.path=/x", "suite=fake"]
    assert load_config(None, [*words, *typed(message)]).policy.python == str(Path("ENVIRONMENT/bin/python").absolute())
    return message


@case("policies/lerobot/batching", "write serving.batch_size=1")
def _():
    torch = pytest.importorskip("torch")
    message = said_by(batching._joined, torch, "delay", [1, 2])
    ready([*FAKE, *typed(message)])
    return message


@case("policies/remote/answers", "write policy.rename.action=NAME")
def _():
    message = said_by(answers.actions_in, {"waypoints": [1]}, None, "h:1")
    name = load_config(None, [*OPENPI, *typed(message, NAME="waypoints")]).policy.rename["action"]
    assert answers.actions_in({"waypoints": [1]}, name, "h:1") == [1]
    return message


@case("policies/remote/answers", "write the whole way to it, for instance p")
def _():
    answer = {"data": {"actions": [1]}, "more": {"actions": [2]}}
    message = said_by(answers.actions_in, answer, None, "h:1")
    name = load_config(None, [*OPENPI, *typed(message)]).policy.rename["action"]
    assert answers.actions_in(answer, name, "h:1") == [1]
    return message


@case("policies/remote/tensors", "write policy.rename.action=NAME")
def _():
    message = said_by(tensors.output_of, pb.ModelInferResponse(), ("action",), "h:1")
    assert load_config(None, [*KSERVE, *typed(message, NAME="a")]).policy.rename == {"action": "a"}
    return message


@case("policies/remote/lerobot_server", "write policy.trust=true where its network")
def _():
    words = ["policy=lerobot_server", "policy.addresses=[127.0.0.1:1]", "policy.path=x", "suite=fake"]
    section = load_config(None, words).policy
    assert isinstance(section, LeRobotServerPolicySection)
    message = said_by(LeRobotServerPolicy, section)
    assert load_config(None, [*words, *typed(message)]).policy.trust
    return message


@case("policies/torch_module", "write policy.device=cpu or auto")
def _():
    torch = pytest.importorskip("torch")
    from ray_eval.policies.torch_module import pick_device

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    message = said_by(pick_device, torch, "cuda")
    for device in ("cpu", "auto"):
        section = load_config(None, [*TORCH, *(f"policy.device={device}" for _ in typed(message))]).policy
        assert pick_device(torch, section.device) == "cpu"
    return message


OPENPI = ("policy=openpi", "policy.addresses=[127.0.0.1:8000]", "suite=fake")


@case("sections", "write {}")
def _():
    words = ["policy=kserve", "suite=fake", "policy.addresses=[http://127.0.0.1:8000/v2]"]
    message = said_by(ready, words)
    address = message.rpartition("write ")[2]
    assert ready(followed(words, [f"policy.addresses=[{address}]"])).policy.addresses == (address,)
    return message


@case("report/looking", "write ray-eval video RUN OTHER --which flipped")
def _():
    records = {"fake/0/0": {"outcome": "success"}}
    message = said_by(chosen, records, ["flipped"])
    *_, which = shlex.split(message.rpartition("write ")[2])
    assert chosen(records, [which], {"fake/0/0": {"outcome": "failure"}}) == ["fake/0/0"]
    return message


@case("watch/video", "write {}.mp4")
def _():
    message = said_by(VideoWriter, Path("look.gif"), 20)
    VideoWriter(Path(message.rpartition("write ")[2]), 20)
    return message


# --- what is provoked elsewhere, and followed here ---

ELSEWHERE = {
    ("cli/chaos", "write out=DIR on the command line"): ("unit/test_chaos.py", ()),
    ("config/simulators", "write execution.fps=N"): ("unit/test_pacing.py", ("policy=noop", "suite=fake")),
    ("serving/interpreter", "write the path that it says at the end"): ("unit/test_interpreter.py", ()),
    ("policies/lerobot/checkpoint", "write the folder of the checkpoint that "): ("unit/test_policies_lerobot.py", ()),
    ("envs/gymnasium/settings", "write one of those, or {}"): ("unit/test_env_gymnasium.py", ()),
    ("envs/gymnasium/opening", "write simulator.id=NAME-v0"): ("unit/test_env_gymnasium.py", ()),
    ("envs/gymnasium/env", "write simulator.kwargs.render_mode=rgb_array"): ("unit/test_env_gymnasium.py", ()),
    ("envs/gymnasium/observing", "write for instance simulator.keys.{}={}"): ("unit/test_env_gymnasium.py", ()),
    ("policies/experts/metaworld", "write simulator.goal=observable"): (
        "unit/test_policies_experts.py",
        ("policy=noop", "suite=metaworld_mt10", "simulator.goal=observable"),
    ),
    ("policies/lerobot/missing", "write the path of a folder with those fil"): ("interop/test_lerobot_policies.py", ()),
    ("policies/lerobot/features", "write {} (image: agentview, image2: wrist"): (
        "unit/test_policies_lerobot.py",
        ("policy=lerobot", "policy.path=/x", "policy.rename.image=top", "policy.absent=[top2]"),
    ),
    ("policies/remote/groot", "write policy.rename for a camera"): ("integration/test_remote_policies.py", ()),
    ("policies/remote/kserve", "write policy.rename with {} in it"): (
        "integration/test_remote_policies.py",
        (*KSERVE, "policy.rename.observation.state=s"),
    ),
    ("policies/remote/kserve", "write policy.model=NAME policy.keys=[...]"): (
        "integration/test_remote_policies.py",
        (*KSERVE, "policy.model=m", "policy.keys=[observation.state]", "policy.chunk_len=5"),
    ),
    ("serving/determinism", "write serving.determinism=throughput, whi"): (
        "unit/test_determinism.py",
        (*FAKE, "serving.determinism=throughput"),
    ),
    ("serving/determinism", "write serving.max_batch_size=1"): (
        "unit/test_determinism.py",
        (*FAKE, "serving.max_batch_size=1"),
    ),
    ("serving/determinism", "write serving.batch_size=1, {}"): (
        "unit/test_determinism.py",
        (*FAKE, "serving.batch_size=1"),
    ),
    ("serving/forward", "write serving.determinism=throughput"): (
        "unit/test_batcher.py",
        (*FAKE, "serving.determinism=throughput"),
    ),
    ("driver/served", "write the policy node's own address or 0."): (
        "integration/test_two_nodes.py",
        (*FAKE, "serving.address=0.0.0.0:8000"),
    ),
    ("driver/cluster", "write ray.init(num_cpus={}), or leave Ray"): ("unit/test_cluster.py", ()),
}


@pytest.mark.parametrize("key", ELSEWHERE, ids=lambda key: f"{key[0]}: {key[1]}")
def test_what_is_said_where_this_test_cannot_go_is_accepted_as_well(key):
    _, words = ELSEWHERE[key[0], key[1][:40]]
    if words:
        suite = () if any(word.startswith("suite=") for word in words) else ("suite=fake",)
        load_config(None, [*words, *suite])


# --- the cases of hints ---

LIBERO = ("policy=noop", "protocol.max_steps=10")
ROW = Observation({STATE: __import__("numpy").zeros(8, "float32")}, "t")


def _parameter(name):
    request = codec.encode_request([ROW], SPEC)
    request.parameters[name].CopyFrom(pb.InferParameter(string_param="x"))
    codec.decode_request(request, SPEC)


def _tensor(name):
    request = codec.encode_request([ROW], SPEC)
    request.inputs[0].name = name
    codec.decode_request(request, SPEC)


def _known_episode(name):
    from ray_eval.driver.episode import _recorded
    from ray_eval.report.ledger import Attempt, episode_record
    from ray_eval.rollout.episode import error_result

    result = error_result(plan_of(load_config(None, [*FAKE, "tasks=[0]", "episodes_per_task=1"]))[0], ValueError())
    return _recorded({"fake/0/0": episode_record(result, Attempt(1, "w", "t"), "episode")}, name)


def _exported(to):
    """A format that is taken finds that there is no run."""
    try:
        export([Path("/no/such/run")], to, None)
    except RayEvalError as error:
        if str(error).startswith("--to"):
            raise


def _tracked(name):
    """A tracker that is known may still not be installed."""
    try:
        check_trackers([name])
    except RayEvalError as error:
        if str(error).startswith("track: expected some of"):
            raise


METAWORLD = simulator_type("metaworld")


def _same(name):
    return name


HINTS = {
    ("config/__init__", "did_you_mean(str(source), known)"): by_hint(load_config, _same, "First_Light"),
    ("config/keys", "did_you_mean(prefix, known)"): by_hint(keys, _same, "executoin.mode"),
    ("config/presets", "did_you_mean(name, known)"): by_hint(ready, over("protocol", FAKE), "openVLA"),
    ("config/reading", "did_you_mean(value, choices)"): by_hint(ready, over("execution.mode", FAKE), "Async"),
    ("config/reading", "did_you_mean(key, fields)"): by_hint(ready, lambda key: [*FAKE, f"{key}=2"], "Workers"),
    ("config/simulators", "did_you_mean(key, known)"): by_hint(
        lambda words: load_config(None, words),
        lambda key: ["policy=noop", "suite=metaworld_mt10", f"simulator.{key}=hidden"],
        "Goal",
    ),
    ("driver/episode", "did_you_mean(episode_id, records)"): by_hint(_known_episode, _same, "Fake/0/0"),
    ("driver/plan", "did_you_mean(suite, known)"): by_hint(
        ready, lambda suite: [*FAKE[:2], f"protocol.max_steps.{suite}=10"], "Fake"
    ),
    ("envs/registry", "did_you_mean(name, known)"): by_hint(
        lambda words: load_config(None, words), over("simulator", FAKE), "FAKE"
    ),
    ("envs/libero/suites", "did_you_mean(suite, (*suites(), *OTHER_SUITES))"): by_hint(
        ready, over("suite", LIBERO), "LIBERO_OBJECT"
    ),
    ("envs/metaworld/simulator", "did_you_mean(suite, known)"): by_hint(
        lambda suite: METAWORLD(METAWORLD.settings_type()).tasks(suite), _same, "Metaworld_MT10"
    ),
    ("install/recipes", "did_you_mean(name, RECIPES)"): by_hint(lambda name: wanted(name, ()), _same, "LeRobot"),
    ("published/__init__", "did_you_mean(name, rows)"): by_hint(
        lambda name: published_row(f"published:{name}"), _same, "PI0_LIBERO"
    ),
    ("report/looking", "did_you_mean(each, known)"): by_hint(lambda word: chosen({}, [word], {}), _same, "Failures"),
    ("track/__init__", "did_you_mean(name, PLACES)"): by_hint(_tracked, _same, "WandB"),
    ("report/requirements", "did_you_mean(suite, suites)"): by_hint(
        lambda suite: read_requirements([f"{suite}.success>=0.9"], ["libero_goal"]), _same, "LIBERO_goal"
    ),
    ("driver/exporting", "did_you_mean(to, FORMATS)"): by_hint(_exported, _same, "CSV"),
    ("rollout/chunk_queue", "did_you_mean(name, AGGREGATIONS)"): by_hint(load_aggregation, _same, "Average"),
    ("wire/codec", "did_you_mean(name[:MAX_NAMED], _PARAMETERS)"): by_hint(_parameter, _same, "Suite"),
    ("wire/codec", "did_you_mean(name[:MAX_NAMED], known)"): by_hint(_tensor, _same, "Observation.State"),
    ("policies/lerobot/features", "did_you_mean(name, names)"): by_hint(
        lambda name: features.wire([features.Feature(IMAGE, True, (3, 8, 8))], {IMAGE: name}, ()),
        _same,
        "observation.images.IMAGE",
    ),
}
HINTS_ELSEWHERE = {
    ("chaos/schedule", "did_you_mean(kind, known)"): "unit/test_chaos.py",
    ("cli/words", "did_you_mean(choice[1], re.findall(\"'(.*?)'\", choice[2]))"): "unit/test_cli.py",
    ("driver/recording", "did_you_mean(each, self.records)"): "integration/test_replays.py",
    ("envs/libero_plus/names", "did_you_mean(suite, known)"): "unit/test_env_libero_plus.py",
    ("envs/gymnasium/observing", "did_you_mean(path, known)"): "unit/test_env_gymnasium.py",
    ("policies/lerobot/missing", "did_you_mean(checkpoint.type, known)"): "interop/test_lerobot_policies.py",
    ("envs/gym", "did_you_mean(name, [_INIT_STATE])"): "unit/test_gym_arguments.py",
}


# --- the tests ---

CASES, COMMAND_LINE, ELSEWHERE = (
    {(name, advice[:40]): value for (name, advice), value in table.items()}
    for table in (CASES, COMMAND_LINE, ELSEWHERE)
)


def matches(key, message):
    """Passes when a message is the one that the sources have at this place."""
    module, advice = key
    templates = [
        text for name, tree in modules() if name == module for text in texts(tree) if advice_of(text) == advice
    ]
    (found, *_) = templates
    parts = [re.escape(" ".join(part.split())) for part in found[ADVICE.search(found).start() :].split("{}")]
    assert re.search(".*".join(parts), message), (found, message)


@pytest.mark.parametrize("key", CASES, ids=lambda key: f"{key[0]}: {key[1]}")
def test_what_an_error_says_to_write_is_accepted(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matches(key, CASES[key]())


@pytest.mark.parametrize("key", HINTS, ids=lambda key: f"{key[0]}: {key[1]}")
def test_the_word_that_a_hint_names_is_accepted(key):
    HINTS[key]()


def test_no_advice_in_the_sources_is_without_a_case():
    known = {*CASES, *COMMAND_LINE, *ELSEWHERE}
    assert all_advice() - known == set(), "give each a case"
    assert known - all_advice() == set(), "said no more"


def test_no_hint_in_the_sources_is_without_a_case():
    known = {*HINTS, *HINTS_ELSEWHERE}
    assert all_hints() - known == set(), "give each a case"
    assert known - all_hints() == set(), "said no more"


def test_the_tests_that_provoke_the_rest_are_there():
    tests = Path(__file__).parents[1]
    named = [file for file, _ in ELSEWHERE.values()] + list(HINTS_ELSEWHERE.values())
    assert [file for file in named if not (tests / file).is_file()] == []
