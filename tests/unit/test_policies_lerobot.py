"""What is known of a LeRobot checkpoint without LeRobot: its files, its inputs, its ranges."""

import importlib.metadata
import json
from types import SimpleNamespace

import numpy as np
import pytest

from ray_eval.config import load_config, load_policy
from ray_eval.driver.resolve import differences
from ray_eval.envs.fake import FakeSimulator
from ray_eval.envs.libero.settings import LiberoSettings
from ray_eval.errors import ConfigError, ContractError, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.lerobot.batching import TOKENS, TOKENS_MASK, TokenPadding, joined
from ray_eval.policies.lerobot.checkpoint import open_checkpoint
from ray_eval.policies.lerobot.chunking import alike, checked_rest, guidance, is_rtc, set_rtc
from ray_eval.policies.lerobot.compiling import compiled_as, set_compile
from ray_eval.policies.lerobot.features import Feature, OwnNames, full_name, wire
from ray_eval.policies.lerobot.kinds import REFUSED, needs_of
from ray_eval.policies.lerobot.loading import refuse_kind
from ray_eval.policies.lerobot.pipelines import _overrides
from ray_eval.policies.lerobot.ranges import training_ranges
from ray_eval.sections import LeRobotPolicySection, RtcSection
from ray_eval.types import ACTION, IMAGE, STATE, WRIST_IMAGE, Observation, PolicySpec

FRONT, SIDE = "observation.images.front", "observation.images.side"
STATE_8D = Feature(STATE, is_image=False, shape=(8,))


def camera(name, height=256, width=256):
    return Feature(name, is_image=True, shape=(3, height, width))


def test_inputs_that_are_called_as_in_libero_feed_themselves():
    wiring = wire([camera(IMAGE), STATE_8D], {}, [])
    assert (wiring.keys, wiring.image_size_px, wiring.state_dim) == ((IMAGE, STATE), 256, 8)
    assert wiring.remarks == ()


def test_a_renamed_camera_is_fed_by_the_one_that_is_said():
    wiring = wire([camera(FRONT), camera(IMAGE)], {WRIST_IMAGE: FRONT}, [])
    assert wiring.sources == {FRONT: WRIST_IMAGE, IMAGE: IMAGE}
    assert full_name("front") == full_name(FRONT) == FRONT


def test_libero_cameras_can_be_exchanged():
    wiring = wire([camera(IMAGE), camera(WRIST_IMAGE)], {IMAGE: WRIST_IMAGE, WRIST_IMAGE: IMAGE}, [])
    assert wiring.sources == {IMAGE: WRIST_IMAGE, WRIST_IMAGE: IMAGE}


def test_a_camera_that_nothing_feeds_is_refused_with_the_words_to_write():
    with pytest.raises(ConfigError, match=r"policy\.rename\.image2=front or policy\.absent=\[front\]"):
        wire([camera(IMAGE), camera(FRONT)], {}, [])


def test_an_unknown_name_is_refused_with_the_one_that_was_meant():
    with pytest.raises(ConfigError, match=r"Did you mean 'observation\.images\.front'"):
        wire([camera(FRONT)], {IMAGE: "observation.images.frond"}, [])


def test_another_kind_of_input_is_refused():
    with pytest.raises(ConfigError, match=r"got observation\.effort of shape \[7\]; LIBERO has nothing of the kind"):
        wire([STATE_8D, Feature("observation.effort", is_image=False, shape=(7,))], {}, [])


def test_cameras_may_be_left_out_and_empty_ones_are():
    wiring = wire([camera(IMAGE), camera(SIDE), camera("observation.images.empty_camera_0")], {}, [SIDE])
    assert wiring.keys == (IMAGE,)
    assert wiring.remarks == (f"{SIDE} is left out, as policy.absent says",)


def test_images_that_are_not_square_take_the_protocols_size_and_it_is_said():
    wiring = wire([camera(IMAGE, 480, 640)], {}, [])
    assert wiring.image_size_px is None
    assert "640 x 480" in wiring.remarks[0]


def test_ranges_are_the_extremes_or_stand_for_them():
    wiring = wire([STATE_8D, camera(IMAGE)], {}, [])
    statistics = {
        STATE: {"mean": np.zeros(8), "std": np.ones(8)},
        IMAGE: {"min": np.zeros((3, 1, 1)), "max": np.ones((3, 1, 1)), "mean": np.zeros((3, 1, 1))},
        ACTION: {"q01": np.full(7, -0.5), "q99": np.full(7, 0.5)},
    }
    ranges = {each.key: each for each in training_ranges(statistics, wiring)}
    assert (ranges[STATE].low[0], ranges[STATE].high[0], ranges[STATE].source) == (-5, 5, "mean, std")
    assert ranges[IMAGE].high == (1.0, 1.0, 1.0)
    assert ranges[ACTION].source == "q01, q99"


def test_cameras_that_the_checkpoints_own_pipeline_renames_are_fed_by_the_names_that_it_takes():
    names = OwnNames({IMAGE: FRONT, "observation.images.other": SIDE})
    assert names.given([camera(FRONT), camera(SIDE), STATE_8D]) == {IMAGE: FRONT}
    assert (names.before(FRONT), names.before(STATE)) == (IMAGE, STATE)
    exchanged = OwnNames({IMAGE: WRIST_IMAGE, WRIST_IMAGE: IMAGE})
    wiring = wire([camera(IMAGE), camera(WRIST_IMAGE)], exchanged.given([camera(IMAGE), camera(WRIST_IMAGE)]), [])
    assert wiring.sources == {IMAGE: WRIST_IMAGE, WRIST_IMAGE: IMAGE}


@pytest.mark.parametrize(
    ("shape", "low"),
    [((8,), -5.0), ((1, 8), -5.0), ((8, 1, 1), -5.0), ((), -5.0), ((3, 8), -5.0), ((5,), None)],
)
def test_statistics_of_any_shape_that_lerobot_takes_are_ranges_of_the_inputs_width(shape, low):
    found = training_ranges({STATE: {"min": np.full(shape, -5.0), "max": np.ones(shape)}}, wire([STATE_8D], {}, []))
    assert [(each.low, each.high) for each in found] == ([((low,) * 8, (1.0,) * 8)] if low else [])


def test_statistics_of_each_step_of_a_chunk_span_the_whole_chunk():
    values = {"min": np.array([[0.0, -1.0], [-2.0, 0.0]]), "max": np.array([[1.0, 1.0], [2.0, 0.5]])}
    (found,) = training_ranges({ACTION: values}, wire([], {}, []))
    assert (found.low, found.high) == ((-2.0, -1.0), (2.0, 1.0))


def test_what_a_type_needs_depends_on_the_version_of_lerobot():
    assert needs_of("pi05", "0.6.1").modules == ("transformers",)
    assert needs_of("pi05", "0.6.1").typed == "pip install 'lerobot[pi]' there"
    assert "ray-eval install lerobot pi" in needs_of("pi05", "0.4.4").typed
    assert needs_of("multi_task_dit", "0.6.1").extra == "multi-task-dit"
    assert needs_of("mine", "0.6.1").modules == ()


def test_a_saved_pipeline_is_told_its_device_and_the_name_that_lerobot_does_not_save(tmp_path):
    folder = checkpoint_in(tmp_path / "c", {"type": "pi0_fast"})
    steps = [{"registry_name": "device_processor"}, {"registry_name": "action_tokenizer_processor"}]
    (folder / "policy_preprocessor.json").write_text(json.dumps({"steps": steps}))
    checkpoint, config = open_checkpoint(str(folder), None), SimpleNamespace(text_tokenizer_name="/my/words")
    assert _overrides(checkpoint, "policy_preprocessor.json", "cpu", config) == {
        "device_processor": {"device": "cpu"},
        "action_tokenizer_processor": {"paligemma_tokenizer_name": "/my/words"},
    }
    assert list(_overrides(checkpoint, "policy_preprocessor.json", "cpu", SimpleNamespace())) == ["device_processor"]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_evaluated_in_chunks_is_refused_by_name_with_or_without_lerobot(kind, tmp_path):
    checkpoint = open_checkpoint(str(checkpoint_in(tmp_path / "c", {"type": kind})), None)
    with pytest.raises(SetupError, match=f"expected a policy that can be evaluated in chunks, got type '{kind}'; it"):
        refuse_kind(checkpoint)


@pytest.mark.parametrize(
    ("said", "saved", "may_autotune", "compiled"),
    [
        ("checkpoint", False, False, {}),
        ("checkpoint", True, False, {"compile": "default"}),
        ("checkpoint", True, True, {"compile": "max-autotune"}),
        (False, True, False, {}),
        (True, False, False, {"compile": "default"}),
        (True, True, True, {"compile": "max-autotune"}),
    ],
)
def test_a_policy_is_compiled_as_said_and_by_timing_only_where_no_bytes_are_promised(
    said, saved, may_autotune, compiled
):
    section = LeRobotPolicySection("c", compile=said)
    config = SimpleNamespace(type="pi0", compile_model=saved, compile_mode="max-autotune")
    remarks = set_compile(config, section, may_autotune=may_autotune)
    assert compiled_as(config, section) == compiled
    assert len(remarks) == (compiled.get("compile") == "default" or (saved and said is False))


def test_the_old_words_for_compiling_are_still_read():
    for word, meant in (("true", True), ("false", False), ("checkpoint", "checkpoint")):
        section, _ = load_policy("lerobot", ["policy.path=c", f"policy.compile={word}"])
        assert section.compile == meant


def checkpoint_in(folder, config, weights=b""):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    if weights is not None:
        (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_the_digest_is_of_what_is_loaded_and_of_nothing_else(tmp_path):
    folder = checkpoint_in(tmp_path / "a", {"type": "act"})
    before = open_checkpoint(str(folder), None).digest()
    (folder / "README.md").write_text("words")
    (folder / "train_config.json").write_text("{}")
    assert open_checkpoint(str(folder), None).digest() == before
    (folder / "model.safetensors").write_bytes(b"other")
    assert open_checkpoint(str(folder), None).digest() != before


@pytest.mark.parametrize(
    ("config", "weights", "message"),
    [
        ("{", b"", "expected readable JSON"),
        ("[]", b"", "a policy's configuration with `type`"),
        ({"chunk_size": 3}, b"", "a policy's configuration with `type`"),
        ({"type": "act"}, None, "expected the weights in model.safetensors"),
        ({"type": "act", "use_peft": True}, None, r"expected adapter_config\.json beside use_peft in config\.json"),
        (
            {"model_type": "openvla", "architectures": ["OpenVLA"]},
            None,
            r"got a model of transformers \(openvla: OpenVLA",
        ),
        ({"type": None, "model_type": "phi"}, b"", "serve it by its own project"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, config, weights, message):
    folder = checkpoint_in(tmp_path / "c", config, weights)
    with pytest.raises(SetupError, match=message):
        open_checkpoint(str(folder), None)


def adapter_in(folder, base, *, weights=True):
    checkpoint_in(folder, {"type": "act", "use_peft": True}, None)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    if weights:
        (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_an_adapter_comes_with_the_base_that_it_names_and_both_are_in_its_digest(tmp_path):
    base = checkpoint_in(tmp_path / "base", {"type": "act"})
    adapter = adapter_in(tmp_path / "adapter", str(base))
    opened = open_checkpoint(str(adapter), None)
    assert (opened.folder, opened.base_name, opened.type) == (adapter, str(base), "act")
    before = opened.digest()
    (base / "model.safetensors").write_bytes(b"other")
    assert open_checkpoint(str(adapter), None).digest() != before


@pytest.mark.parametrize(
    ("base", "said"),
    [
        (None, "expected the base of a PEFT adapter in base_model_name_or_path"),
        ("nowhere/at/all", "expected the base of this PEFT adapter.*found none on"),
    ],
)
def test_an_adapter_without_its_base_is_refused_with_what_to_write(tmp_path, base, said):
    with pytest.raises(SetupError, match=said):
        open_checkpoint(str(adapter_in(tmp_path / "a", base)), None)


def test_half_an_adapter_and_an_adapter_of_an_adapter_are_refused(tmp_path):
    base = checkpoint_in(tmp_path / "base", {"type": "act"})
    half = adapter_in(tmp_path / "half", str(base), weights=False)
    with pytest.raises(SetupError, match=r"expected a PEFT adapter with adapter_model\.safetensors, found none"):
        open_checkpoint(str(half), None)
    whole = adapter_in(tmp_path / "whole", str(base))
    with pytest.raises(SetupError, match="got one of the adapter"):
        open_checkpoint(str(adapter_in(tmp_path / "second", str(whole))), None)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_a_checkpoint_names_its_folder(tmp_path, name):
    folder = checkpoint_in(tmp_path / "c", {"type": "act"})
    assert open_checkpoint(str(folder / name), None).folder == folder


@pytest.mark.parametrize("above", ["", "checkpoints", "checkpoints/000200"])
def test_a_trainings_folder_is_answered_with_its_last_checkpoint(tmp_path, above):
    for step in ("000100", "000200"):
        (tmp_path / "checkpoints" / step).mkdir(parents=True)
        last = checkpoint_in(tmp_path / "checkpoints" / step / "pretrained_model", {"type": "act"})
    with pytest.raises(SetupError, match=f"write policy.path={last}"):
        open_checkpoint(str(tmp_path / above), None)


def test_weights_in_several_files_are_named(tmp_path):
    folder = checkpoint_in(tmp_path / "c", {"type": "act"}, None)
    for index in (1, 2):
        (folder / f"model-0000{index}-of-00002.safetensors").touch()
    with pytest.raises(SetupError, match=r"expected the weights in model\.safetensors, got model-00001-of-00002"):
        open_checkpoint(str(folder), None)


def test_a_folder_above_the_checkpoint_is_answered_with_the_one_below(tmp_path):
    checkpoint_in(tmp_path / "pretrained_model", {"type": "act"})
    with pytest.raises(SetupError, match=f"write policy.path={tmp_path}/pretrained_model"):
        open_checkpoint(str(tmp_path), None)


def test_a_revision_belongs_to_the_hub(tmp_path):
    with pytest.raises(SetupError, match=r"policy\.revision=v2"):
        open_checkpoint(str(checkpoint_in(tmp_path / "c", {"type": "act"})), "v2")
    with pytest.raises(SetupError, match=r"found none on .* write an id on the hub as"):
        open_checkpoint("no/such/folder", None)


def test_without_lerobot_the_remedy_is_another_interpreter(tmp_path):
    if list(importlib.metadata.distributions(name="lerobot")):
        pytest.skip("LeRobot is installed beside the evaluator")
    section, _ = load_policy("lerobot", [f"policy.path={checkpoint_in(tmp_path / 'c', {'type': 'act'})}"])
    with pytest.raises(SetupError, match=r"write policy\.python="):
        make_policy(section)


def test_the_interpreter_is_no_part_of_a_runs_identity():
    words = ["policy=lerobot", "policy.path=/c", "suite=libero_goal"]
    one, other = load_config(None, words), load_config(None, [*words, "policy.python=/x/bin/python"])
    assert one.identity() == other.identity()
    assert one.identity() != load_config(None, [*words, "policy.dtype=bfloat16"]).identity()


def test_real_time_chunking_of_a_policy_that_has_none_is_refused(tmp_path):
    checkpoint = open_checkpoint(str(checkpoint_in(tmp_path / "c", {"type": "act"})), None)
    config = SimpleNamespace(type="act")
    for wish in (RtcSection(enabled=True), RtcSection(execution_horizon=5)):
        with pytest.raises(SetupError, match=r"expected a policy that goes on .* got type 'act'; drop policy\.rtc"):
            set_rtc(checkpoint, object, config, wish)
    for nothing in (RtcSection(), RtcSection(enabled=False)):
        set_rtc(checkpoint, object, config, nothing)
    assert not is_rtc(object, config)


@pytest.mark.parametrize(("mode", "offered"), [("continuous", True), ("discrete", False)])
def test_lerobot_0_6_is_asked_itself_whether_a_policy_goes_on_from_a_rest(mode, offered):
    class Policy:
        def supports_rtc(self):
            return self.config.mode == "continuous"

    config = SimpleNamespace(type="new", mode=mode, rtc_config=SimpleNamespace(enabled=True))
    assert is_rtc(Policy, config) is offered
    assert not is_rtc(Policy, SimpleNamespace(type="new", mode=mode, rtc_config=None))
    with pytest.raises(ConfigError, match=r"policy\.rtc\.enabled=false"):
        load_policy("lerobot", ["policy.path=c", "policy.rtc.enabled=false", "policy.rtc.execution_horizon=5"])


@pytest.mark.parametrize("is_relative", [True, False])
def test_a_groot_of_relative_actions_which_drops_the_rest_does_not_go_on_from_it(is_relative):
    class Policy:
        def supports_rtc(self):
            return True

    rtc = SimpleNamespace(enabled=True)
    config = SimpleNamespace(type="groot", use_relative_actions=is_relative, rtc_config=rtc)
    assert is_rtc(Policy, config) is not is_relative


def test_rows_are_alike_where_delay_and_length_of_rest_are():
    def row(length, delay):
        rest = np.zeros((length, 7), np.float32) if length else None
        return Observation({}, "t", action_raw=rest, delay_steps=delay)

    rows = [row(5, 1), row(0, 1), row(5, 2), row(5, 1), row(0, 3), row(4, 1)]
    assert list(alike(rows)) == [[0, 3], [1, 4], [2], [5]]


def test_what_a_queue_does_to_real_time_chunking_is_said():
    words = ["policy=noop", "suite=fake"]
    spec = PolicySpec("p", (STATE,), 10, takes_prefix=True)
    modes = {
        "execution.mode=sync": "execution.mode=sync leaves none",
        "execution=lerobot_async": "execution.aggregate=weighted_average mixes",
    }
    for mode, message in modes.items():
        config = load_config(None, [*words, mode, *latency_in(mode)])
        assert message in differences(config, spec, FakeSimulator(LiberoSettings()).spec("fake", 0))[-1]
    right = [*words, "execution.mode=async", "execution.latency.steps=2", "execution.aggregate=latest_only"]
    assert differences(load_config(None, right), spec, FakeSimulator(LiberoSettings()).spec("fake", 0)) == []


def latency_in(mode):
    return ["execution.latency.steps=2"] if mode.endswith("async") else []


def test_a_path_is_asked_for():
    with pytest.raises(ConfigError, match=r"policy\.path"):
        load_policy("lerobot", [])


def test_what_a_batch_has_only_once_is_the_same_in_all_of_its_rows():
    import torch

    rows = [{"x": torch.ones(1, 2), "task": ["a"], "scale": torch.tensor(2.0), "index": 3} for _ in range(2)]
    batch = joined(torch, rows, None)
    assert (batch["x"].shape, batch["task"], float(batch["scale"]), batch["index"]) == ((2, 2), ["a", "a"], 2.0, 3)
    for key, other in (("scale", torch.tensor(2.5)), ("index", 4), ("index", None)):
        with pytest.raises(ContractError, match=f"{key}: expected one value in all rows"):
            joined(torch, [rows[0], {**rows[1], key: other}], None)


def test_tokens_are_filled_up_and_never_cut():
    import torch

    padding = TokenPadding(length=3, token=9, is_left=True)
    row = {TOKENS: torch.tensor([[1, 2]]), TOKENS_MASK: torch.ones(1, 2, dtype=torch.bool)}
    assert padding.padded(torch, row)[TOKENS].tolist() == [[9, 1, 2]]
    with pytest.raises(ContractError, match="expected at most 1 of a row, got 2"):
        TokenPadding(length=1, token=9, is_left=True).padded(torch, row)


@pytest.mark.parametrize(
    ("rest", "said"),
    [(np.zeros((5, 3), np.float32), r"shape \(L, 7\), got \(5, 3\)"), (np.full((5, 7), np.nan, np.float32), "got NaN")],
    ids=["shape", "NaN"],
)
def test_a_prefix_that_is_not_of_the_policys_actions_is_said_to_be_what_it_is(rest, said):
    with pytest.raises(ContractError, match=said):
        checked_rest("smolvla", rest, 7)


def test_rests_of_alike_rows_go_on_together_and_none_is_no_argument():
    import torch

    assert guidance(torch, [None, None], 3, "cpu") == {}
    rests = [np.zeros((5, 7), np.float32), np.ones((5, 7), np.float32)]
    given = guidance(torch, rests, 2, "cpu")
    assert (given["prev_chunk_left_over"].shape, given["inference_delay"]) == ((2, 5, 7), 2)
