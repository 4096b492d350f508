"""What is known of a LeRobot checkpoint without LeRobot: its files, its inputs, its ranges."""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest

from ray_eval.config import load_config, load_policy
from ray_eval.driver.resolve import differences
from ray_eval.errors import ConfigError, ContractError, SetupError
from ray_eval.policies import make_policy
from ray_eval.policies.lerobot.batching import TOKENS, TOKENS_MASK, TokenPadding, joined
from ray_eval.policies.lerobot.checkpoint import open_checkpoint
from ray_eval.policies.lerobot.chunking import alike, guidance, is_rtc, set_rtc
from ray_eval.policies.lerobot.features import Feature, full_name, wire
from ray_eval.policies.lerobot.ranges import training_ranges
from ray_eval.sections import RtcSection
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
        ({"type": "act", "use_peft": True}, None, "got a PEFT adapter of a base that its config.json does not name"),
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path, config, weights, message):
    folder = checkpoint_in(tmp_path / "c", config, weights)
    with pytest.raises(SetupError, match=message):
        open_checkpoint(str(folder), None)


@pytest.mark.parametrize("content", ['{"base_model_name_or_path": "me/base"}', "{", "[]", "{}"])
def test_an_adapter_of_peft_is_refused_by_name_with_or_without_a_configuration(tmp_path, content):
    (tmp_path / "adapter_config.json").write_text(content)
    base = "me/base" if "base_model" in content else r"a base that its adapter_config\.json does not name"
    with pytest.raises(SetupError, match=f"got a PEFT adapter of {base}; .*merge_and_unload"):
        open_checkpoint(str(tmp_path), None)


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
    if importlib.util.find_spec("lerobot") is not None:
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
            set_rtc(checkpoint, config, wish)
    for nothing in (RtcSection(), RtcSection(enabled=False)):
        set_rtc(checkpoint, config, nothing)
    assert not is_rtc(config)
    with pytest.raises(ConfigError, match=r"policy\.rtc\.enabled=false"):
        load_policy("lerobot", ["policy.path=c", "policy.rtc.enabled=false", "policy.rtc.execution_horizon=5"])


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
        "execution.mode=async": "execution.aggregate=weighted_average mixes",
    }
    for mode, message in modes.items():
        assert message in differences(load_config(None, [*words, mode, *latency_in(mode)]), spec)[-1]
    right = [*words, "execution.mode=async", "execution.latency.steps=2", "execution.aggregate=latest_only"]
    assert differences(load_config(None, right), spec) == []


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
    import torch

    config = SimpleNamespace(type="smolvla", output_features={ACTION: SimpleNamespace(shape=(7,))})
    asked = Observation({}, "t", "s", 0, 0, action_raw=rest)
    with pytest.raises(ContractError, match=said):
        guidance(torch, [asked], config, "cpu")
