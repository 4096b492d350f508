"""Policies over tiny base models with random weights, where LeRobot 0.6 would fetch a base from the hub.

Runs in LeRobot's environment; the tokenizers are of single bytes, with the marks that each model's code looks for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from make_checkpoints import IMAGE, SMALL_PX, WRIST, save

if TYPE_CHECKING:  # imported where it is needed: most checkpoints are made without it
    from transformers import PreTrainedTokenizerFast

TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
TEXT |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>")
QWEN += ("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
INTERN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>")
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for c in m.content %}{% if c.type == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokenizer(marks: tuple[str, ...]) -> PreTrainedTokenizerFast:
    """Single bytes, then the marks; the first mark pads and ends a text."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=marks[0], eos_token=marks[0])
    made.add_tokens(list(marks), special_tokens=True)
    return made


def _ids(tokenizer: PreTrainedTokenizerFast, **names: str) -> dict[str, int]:
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(mark) for name, mark in names.items()}


def _vision(**names: int | str) -> dict:
    return {"depth": 1, "num_heads": 2, "patch_size": 14, "out_hidden_size": TEXT["hidden_size"], **names}


def _qwen_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    marks = {"vision_start": QWEN[3], "vision_end": QWEN[4], "image": QWEN[6], "video": QWEN[7]}
    return _ids(tokenizer, **marks)


def qwen2_5_vl(folder: Path) -> dict:
    """The processor in a folder, and the configuration of a network for it: EO-1 saves the latter itself."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    tokenizer = byte_tokenizer(QWEN)
    sizes = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    parts = (Qwen2VLImageProcessor(**sizes), tokenizer, Qwen2VLVideoProcessor(**sizes))
    Qwen2_5_VLProcessor(*parts, chat_template=CHAT).save_pretrained(folder)
    text = {**TEXT, "vocab_size": 300, "rope_parameters": _rope([2, 3, 3]), "dtype": "float32"}
    vision = _vision(hidden_size=32, intermediate_size=48, fullatt_block_indexes=[0], window_size=56)
    made = Qwen2_5_VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tokenizer), dtype="float32")
    return made.to_dict()


def _rope(sections: list[int]) -> dict:
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": sections}


def qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL, network and processor."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    tokenizer = byte_tokenizer(QWEN)
    sizes = {"patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    pixels = {"min_pixels": 32 * 32, "max_pixels": 64 * 64}
    image = Qwen2VLImageProcessor(**sizes, **pixels)
    Qwen3VLProcessor(image, tokenizer, Qwen3VLVideoProcessor(**sizes), chat_template=CHAT).save_pretrained(folder)
    text = {**TEXT, "vocab_size": 400, "rope_parameters": _rope([4, 2, 2])}
    vision = _vision(hidden_size=32, intermediate_size=48, num_position_embeddings=16, deepstack_visual_indexes=[0])
    vision["patch_size"] = 16
    torch.manual_seed(0)
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tokenizer))
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    return folder


def v_jepa2(folder: Path) -> Path:
    """V-JEPA 2, which VLA-JEPA trains beside its actions and loads for them too."""
    from transformers import VJEPA2Config, VJEPA2Model, VJEPA2VideoProcessor

    layer = {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1, "mlp_ratio": 2}
    guessing = {"pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
    torch.manual_seed(0)
    sizes = {"patch_size": 16, "crop_size": 32, "image_size": 32, "frames_per_clip": 4}
    VJEPA2Model(VJEPA2Config(**layer, **guessing, **sizes)).save_pretrained(folder)
    VJEPA2VideoProcessor(crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def intern_vl(folder: Path) -> Path:
    """InternVL3 for images of 56 px."""
    from transformers import InternVLConfig, InternVLModel

    tokenizer = byte_tokenizer(INTERN)
    tokenizer.save_pretrained(folder)
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": [56, 56], "patch_size": [14, 14]}
    text = {**TEXT, "vocab_size": 300, "model_type": "qwen2"}
    torch.manual_seed(0)
    ids = _ids(tokenizer, image="<IMG_CONTEXT>")
    config = InternVLConfig(vision_config=vision, text_config=text, image_seq_length=4, **ids)
    InternVLModel(config).save_pretrained(folder)
    return folder


def _beside(folder: Path, name: str) -> Path:
    return folder.parent / f"{folder.name}-{name}"


def eo1(folder: Path) -> None:
    base = _beside(folder, "qwen")
    small = {"vlm_config": qwen2_5_vl(base), "vlm_base": str(base), "dtype": "float32"}
    small |= {"image_min_pixels": 28 * 28, "image_max_pixels": 56 * 56, "num_denoise_steps": 3}
    # LeRobot makes the network of the hub's base, unless it is told that there are weights to come.
    _save(folder, "eo1", pretrained_path=str(folder), chunk_size=6, n_action_steps=4, **small)


def evo1(folder: Path) -> None:
    small = {"vlm_model_name": str(intern_vl(_beside(folder, "intern"))), "vlm_num_layers": 1, "vlm_dtype": "float32"}
    small |= {"image_resolution": (56, 56), "max_views": 2, "embed_dim": 32, "hidden_dim": 32, "state_hidden_dim": 32}
    small |= {"num_heads": 2, "num_layers": 1, "num_inference_timesteps": 3, "use_flash_attn": False}
    _save(folder, "evo1", chunk_size=10, n_action_steps=5, **small)


def vla_jepa(folder: Path) -> None:
    names = {
        "qwen_model_name": qwen3_vl(_beside(folder, "qwen")),
        "jepa_encoder_name": v_jepa2(_beside(folder, "jepa")),
    }
    small = {**{key: str(name) for key, name in names.items()}, "torch_dtype": "float32", "num_inference_timesteps": 2}
    small |= {"action_hidden_size": 32, "action_num_layers": 1, "action_num_heads": 2, "action_attention_head_dim": 16}
    small |= {"predictor_depth": 1, "predictor_num_heads": 2, "num_video_frames": 4}
    _save(folder, "vla_jepa", chunk_size=7, n_action_steps=7, **small)


def groot(folder: Path) -> None:
    from lerobot.policies.groot.groot_n1_7 import GR00TN17, GR00TN17Config

    qwen, base = qwen3_vl(_beside(folder, "qwen")), _beside(folder, "gr00t-n1.7")
    attention = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 16}
    hand = {"norm_type": "ada_norm", "output_dim": 32, "interleave_self_attention": True, **attention, "num_layers": 2}
    small = {"model_name": str(qwen), "model_dtype": "float32", "dtype": "float32", "select_layer": 1}
    small |= {"backbone_embedding_dim": 32, "hidden_size": 32, "input_embedding_dim": 32, "action_horizon": 8}
    small |= {
        "diffusion_model_cfg": hand,
        "vl_self_attention_cfg": attention,
        "max_state_dim": 16,
        "max_action_dim": 16,
    }
    torch.manual_seed(0)
    GR00TN17(GR00TN17Config(**small, num_inference_timesteps=2), load_backbone_weights=False).save_pretrained(base)
    sizes = {"max_state_dim": 16, "max_action_dim": 16, "chunk_size": 8, "n_action_steps": 4, "use_bf16": False}
    _save(folder, "groot", base_model_path=str(base), **sizes)
    path = folder / "policy_preprocessor.json"
    path.write_text(path.read_text().replace("nvidia/Cosmos-Reason2-2B", str(qwen)))


def _save(folder: Path, kind: str, **settings) -> None:
    save(folder, kind, IMAGE, WRIST, size_px=SMALL_PX, **settings)
