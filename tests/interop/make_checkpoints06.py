"""What is new in LeRobot 0.6, saved by it as tiny checkpoints with random weights; runs in its environment, by hand as
`python make_checkpoints06.py FOLDER [NAME ...]`. The makers of make_checkpoints.py are here as well."""

import contextlib
import importlib
import json
import sys
from pathlib import Path

import make_checkpoints as both
import numpy as np
import torch
from make_checkpoints import IMAGE, SMALL_ACT, SMALL_PX, WRIST, save
from small_bases import eo1, evo1, groot, vla_jepa
from small_gemma import shrink

AXES = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
"""Names of the action's numbers; the gripper's stays absolute where the others are relative to the state."""


def with_step(folder: Path, name: str, at: int, step: str, **settings) -> None:
    """Puts one more step into a saved pipeline."""
    path = folder / f"{name}.json"
    pipeline = json.loads(path.read_text())
    pipeline["steps"].insert(at, {"registry_name": step, "config": settings})
    path.write_text(json.dumps(pipeline))


def act_relative(folder: Path) -> None:
    """An ACT whose actions are relative to the state: the two steps of pi0's pipelines around the smallest policy."""
    save(folder, "act", IMAGE, WRIST, size_px=SMALL_PX, chunk_size=20, n_action_steps=7, **SMALL_ACT)
    relative = {"enabled": True, "exclude_joints": ["gripper"], "action_names": AXES}
    with_step(folder, "policy_preprocessor", 2, "relative_actions_processor", **relative)
    with_step(folder, "policy_postprocessor", 1, "absolute_actions_processor", enabled=True)


def act_360(folder: Path) -> None:
    """An ACT for images of the size that `lerobot-eval` 0.6 renders."""
    save(folder, "act", IMAGE, WRIST, size_px=360, chunk_size=20, n_action_steps=10, **SMALL_ACT)


def act_mapped(folder: Path) -> None:
    """Cameras of its own names, and the pipeline's own map from LIBERO's names to them."""
    names = ("observation.images.front", "observation.images.wrist")
    save(folder, "act", *names, size_px=SMALL_PX, chunk_size=10, n_action_steps=10, **SMALL_ACT)
    path = folder / "policy_preprocessor.json"
    pipeline = json.loads(path.read_text())
    step = next(step for step in pipeline["steps"] if step["registry_name"] == "rename_observations_processor")
    step["config"]["rename_map"] = {IMAGE: names[0], WRIST: names[1]}
    path.write_text(json.dumps(pipeline))


def act_lora(folder: Path) -> None:
    """A PEFT adapter as LeRobot's training saves one: few weights, the policy's configuration and its pipelines."""
    from lerobot.policies.factory import get_policy_class
    from peft import LoraConfig

    base = folder.parent / f"{folder.name}-base"
    save(base, "act", IMAGE, WRIST, size_px=SMALL_PX, chunk_size=20, n_action_steps=7, **SMALL_ACT)
    policy = get_policy_class("act").from_pretrained(base)
    policy.config.pretrained_path = base
    adapted = policy.wrap_with_peft(peft_config=LoraConfig(r=2, target_modules=["linear1", "linear2", "action_head"]))
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # zero at first, when the adapter does nothing
            torch.nn.init.normal_(weight, std=0.3)
    adapted.save_pretrained(folder)
    policy.config.use_peft = True
    policy.config.save_pretrained(folder)
    for path in base.glob("policy_*"):
        (folder / path.name).write_bytes(path.read_bytes())


def diffusion_compiled(folder: Path) -> None:
    """A Diffusion that was compiled in training: a part of its weights' names says so."""
    steps = {"horizon": 16, "n_action_steps": 8, "noise_scheduler_type": "DDIM", "compile_model": True}
    save(folder, "diffusion", IMAGE, size_px=SMALL_PX, **steps, **both.SMALL_UNET)


def drift(folder: Path) -> None:
    """A third party's policy, of tests/interop/plugins."""
    importlib.import_module("lerobot_policy_drift")
    save(folder, "drift", IMAGE, size_px=SMALL_PX)


def script(folder: Path) -> None:
    """A policy that plays the plans of script.npz beside its folder."""
    from safetensors.torch import save_file

    importlib.import_module("lerobot_policy_drift")
    recorded = dict(np.load(folder.with_suffix(".npz")))
    count, steps, _ = recorded["plans"].shape
    save(folder, "script", IMAGE, size_px=360, plans=count, chunk_size=steps, n_action_steps=steps)
    save_file({name: torch.from_numpy(each) for name, each in recorded.items()}, folder / "model.safetensors")


def make_tokenizer(folder: Path) -> int:
    """A tokenizer of single bytes; its number of tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<unk>", "<pad>", "<bos>", "<eos>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*marks, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[], unk_token=marks[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    named = dict(zip(("unk_token", "pad_token", "bos_token", "eos_token"), marks, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(folder)
    return len(vocabulary)


def multi_task_dit(folder: Path, **settings) -> None:
    """A transformer over a CLIP of one layer, whose folder LeRobot wants `clip` in the name of."""
    from transformers import CLIPConfig, CLIPModel

    clip = folder.parent / f"{folder.name}-clip"
    words = make_tokenizer(clip)
    layer = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**layer, "vocab_size": words, "max_position_embeddings": 77, "projection_dim": 32}
    eye = {**layer, "image_size": 80, "patch_size": 16, "projection_dim": 32}
    ids = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}
    CLIPModel(CLIPConfig(text_config={**text, **ids}, vision_config=eye, projection_dim=32)).save_pretrained(clip)
    small = {"hidden_dim": 32, "num_layers": 1, "num_heads": 2, "timestep_embed_dim": 32, "image_crop_shape": (80, 80)}
    small |= {"vision_encoder_name": str(clip), "text_encoder_name": str(clip)}
    small |= {"horizon": 16, "n_action_steps": 6, "num_train_timesteps": 20, "num_inference_steps": 4}
    save(folder, "multi_task_dit", IMAGE, WRIST, size_px=SMALL_PX, **{**small, **settings})


def multi_task_dit_flow(folder: Path) -> None:
    multi_task_dit(folder, objective="flow_matching", num_integration_steps=3, tokenizer_padding="longest")


FAST = {"chunk_size": 6, "n_action_steps": 6, "max_decoding_steps": 40, "validate_action_token_prefix": False}
FAST |= {"fast_skip_tokens": 0}


def pi(folder: Path, kind: str, **settings) -> None:
    """A pi0, pi0.5 or pi0-FAST of small_gemma's size, with a tokenizer of bytes in the place of PaliGemma's."""
    from lerobot.processor import tokenizer_processor

    shrink(kind)
    words = folder.parent / f"{folder.name}-tokenizer"
    make_tokenizer(words)
    names = {"tokenizer_name": str(words), "paligemma_tokenizer_name": str(words)}
    if kind == "pi0_fast":
        settings |= {**FAST, "text_tokenizer_name": str(words), "action_tokenizer_name": str(make_fast(folder))}
    else:
        settings = {"chunk_size": 10, "n_action_steps": 5, "num_inference_steps": 3, **settings}
    steps = (tokenizer_processor.TokenizerProcessorStep, tokenizer_processor.ActionTokenizerProcessorStep)
    with contextlib.ExitStack() as named:
        for step in steps:
            named.enter_context(locally_named(step, names))
        save(
            folder,
            kind,
            IMAGE,
            WRIST,
            size_px=SMALL_PX,
            with_quantiles=True,
            image_resolution=(224, 224) if kind == "pi0_fast" else (28, 28),  # the FAST one builds no other eye
            tokenizer_max_length=120,
            **settings,
        )


@contextlib.contextmanager
def locally_named(step, names):
    """Within, a step of LeRobot's that has a tokenizer's name in its code takes the one that is here."""
    original = step.__post_init__

    def named(self):
        for name in names.keys() & vars(self).keys():
            setattr(self, name, names[name])
        original(self)

    step.__post_init__ = named
    try:
        yield
    finally:
        step.__post_init__ = original


PROCESSOR = '''"""Action tokens as letters: a tokenizer as pi0-FAST wants one, its code in its own folder."""

from transformers import AutoTokenizer, ProcessorMixin


class Letters(ProcessorMixin):
    attributes = ["bpe_tokenizer"]
    bpe_tokenizer_class = "AutoTokenizer"
    scale, min_token = 10.0, -64

    def __init__(self, bpe_tokenizer=None, **_):
        self.bpe_tokenizer = bpe_tokenizer

    @classmethod
    def from_pretrained(cls, folder, **_):
        return cls(AutoTokenizer.from_pretrained(folder))
'''


def make_fast(folder: Path) -> Path:
    target = folder.parent / f"{folder.name}-actions"
    make_tokenizer(target)
    (target / "letters.py").write_text(PROCESSOR)
    described = {"auto_map": {"AutoProcessor": "letters.Letters"}, "processor_class": "Letters"}
    (target / "processor_config.json").write_text(json.dumps(described))
    return target


def pi0(folder: Path) -> None:
    pi(folder, "pi0")


def pi05(folder: Path) -> None:
    pi(folder, "pi05")


def pi0_fast(folder: Path) -> None:
    pi(folder, "pi0_fast")


def pi0_relative(folder: Path) -> None:
    pi(folder, "pi0", use_relative_actions=True, action_feature_names=AXES)


def pi0_compiled(folder: Path) -> None:
    """As saved by a training that compiled it, by LeRobot's own default, which chooses kernels by their time."""
    pi(folder, "pi0")
    both.edit(folder, compile_model=True, compile_mode="max-autotune")


def gaussian_actor(folder: Path) -> None:
    """What LeRobot 0.4 calls sac."""
    save(folder, "gaussian_actor", IMAGE, size_px=SMALL_PX)


NEW = (
    act_relative,
    act_360,
    act_mapped,
    act_lora,
    diffusion_compiled,
    drift,
    multi_task_dit,
    multi_task_dit_flow,
    pi0,
    pi05,
    pi0_fast,
    pi0_relative,
    pi0_compiled,
    eo1,
    evo1,
    gaussian_actor,
    groot,
    script,
    vla_jepa,
)
MAKERS = {**both.MAKERS, **{maker.__name__: maker for maker in NEW}}

if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1]).resolve()
    for each in sys.argv[2:] or MAKERS.keys() - {"script"}:
        MAKERS[each](target / each)
