"""Makes tiny checkpoints with random weights, saved by LeRobot itself; runs in LeRobot's environment, by hand as
`python make_checkpoints.py FOLDER [NAME ...]`, and knows nothing of ray-eval."""

import json
import sys
from pathlib import Path

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

IMAGE, WRIST, STATE, ACTION = "observation.images.image", "observation.images.image2", "observation.state", "action"
SMALL_PX = 96
"""Size of images where the checkpoint is not to take LIBERO's 256 px, so that tests cost little."""
SIZE_PX = 256


def inputs(*images: str, size_px: int = SIZE_PX) -> dict[str, PolicyFeature]:
    cameras = {name: PolicyFeature(FeatureType.VISUAL, (3, size_px, size_px)) for name in images}
    return {**cameras, STATE: PolicyFeature(FeatureType.STATE, (8,))}


OUTPUTS = {ACTION: PolicyFeature(FeatureType.ACTION, (7,))}


def statistics(*images: str, off: float = 0.0) -> dict[str, dict[str, torch.Tensor]]:
    """As a data set of LIBERO would have them; with `off`, of a robot that was somewhere else."""
    generator = torch.Generator().manual_seed(5)
    spread = 0.1 + torch.rand(8, generator=generator)
    centre = torch.tensor([-0.05, 0.03, 0.76, 2.97, -0.22, -0.13, 0.03, -0.03]) + off
    colour = {"mean": torch.full((3, 1, 1), 0.45), "std": torch.full((3, 1, 1), 0.25)}
    colour |= {"min": torch.zeros(3, 1, 1), "max": torch.ones(3, 1, 1)}
    return {
        **dict.fromkeys(images, colour),
        STATE: {"mean": centre, "std": spread, "min": centre - 3 * spread, "max": centre + 3 * spread},
        ACTION: {
            "mean": torch.linspace(-0.1, 0.1, 7),
            "std": torch.linspace(0.2, 0.5, 7),
            "min": torch.full((7,), -0.94),
            "max": torch.linspace(0.8, 1.0, 7),
        },
    }


def edit(folder: Path, **changes) -> None:
    """Writes some fields of a saved config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def quantiles_of(values: dict[str, dict[str, torch.Tensor]]) -> dict[str, dict[str, torch.Tensor]]:
    """The statistics with 1 % and 99 % quantiles, which pi0.5 normalises by."""
    return {key: {**of, "q01": of["min"], "q99": of["max"]} for key, of in values.items()}


def save(
    folder: Path,
    kind: str,
    *images: str,
    size_px: int = SIZE_PX,
    off: float = 0.0,
    with_quantiles: bool = False,
    **settings,
) -> None:
    """A policy of LeRobot's own making, with its processors, both written by its own `save_pretrained`."""
    torch.manual_seed(0)
    config = make_policy_config(
        kind, input_features=inputs(*images, size_px=size_px), output_features=OUTPUTS, device="cpu", **settings
    )
    policy = get_policy_class(kind)(config)
    if kind == "vqbet":
        policy.vqbet.action_head.vqvae_model.discretized.fill_(True)
    if kind == "xvla" and hasattr(
        policy.model.vlm, "image_projection"
    ):  # LeRobot 0.4 leaves it as memory happens to be
        torch.nn.init.normal_(policy.model.vlm.image_projection, std=0.1)
    policy.save_pretrained(folder)
    known = statistics(*images, off=off)
    for pipeline in make_pre_post_processors(config, dataset_stats=quantiles_of(known) if with_quantiles else known):
        pipeline.save_pretrained(folder)


SMALL_ACT = {
    "dim_model": 64,
    "dim_feedforward": 64,
    "n_heads": 2,
    "n_encoder_layers": 1,
    "n_vae_encoder_layers": 1,
    "pretrained_backbone_weights": None,
}
SMALL_UNET = {"down_dims": (32, 64), "num_train_timesteps": 20, "num_inference_steps": 4, "crop_shape": (80, 80)}
SMALL_UNET |= {"pretrained_backbone_weights": None}


def act(folder: Path) -> None:
    save(folder, "act", IMAGE, WRIST, chunk_size=20, n_action_steps=7, **SMALL_ACT)


def act_ensemble(folder: Path) -> None:
    settings = {"chunk_size": 12, "n_action_steps": 1, "temporal_ensemble_coeff": 0.01}
    save(folder, "act", IMAGE, size_px=SMALL_PX, **settings, **SMALL_ACT)


def act_renamed(folder: Path) -> None:
    names = ("observation.images.front", "observation.images.wrist")
    save(folder, "act", *names, size_px=SMALL_PX, off=20.0, chunk_size=10, n_action_steps=10, **SMALL_ACT)


def act_old(folder: Path) -> None:
    """As LeRobot wrote it before its processor pipelines: statistics among the weights, no pipelines' files."""
    from safetensors.torch import load_file, save_file

    save(folder, "act", IMAGE, WRIST, size_px=SMALL_PX, chunk_size=20, n_action_steps=7, **SMALL_ACT)
    weights = load_file(folder / "model.safetensors")
    for key, values in statistics(IMAGE, WRIST).items():
        layers = ("unnormalize_outputs", "normalize_targets") if key == ACTION else ("normalize_inputs",)
        for layer in layers:
            for name in ("mean", "std"):
                weights[f"{layer}.buffer_{key.replace('.', '_')}.{name}"] = values[name].clone()
    save_file(weights, folder / "model.safetensors")
    for path in folder.glob("policy_*"):
        path.unlink()


def diffusion(folder: Path) -> None:
    save(folder, "diffusion", IMAGE, WRIST, size_px=SMALL_PX, horizon=16, n_action_steps=6, **SMALL_UNET)


def diffusion_ddim(folder: Path) -> None:
    settings = {"horizon": 16, "n_action_steps": 8, "noise_scheduler_type": "DDIM"}
    save(folder, "diffusion", IMAGE, size_px=SMALL_PX, **settings, **SMALL_UNET)


def vqbet(folder: Path) -> None:
    small = {"gpt_input_dim": 32, "gpt_output_dim": 32, "gpt_hidden_dim": 32, "gpt_n_layer": 1, "gpt_n_head": 2}
    small |= {"vqvae_embedding_dim": 32, "vqvae_enc_hidden_dim": 32, "crop_shape": (80, 80)}
    small |= {"pretrained_backbone_weights": None}
    steps = {"n_obs_steps": 4, "n_action_pred_token": 3, "action_chunk_size": 5}
    save(folder, "vqbet", IMAGE, size_px=SMALL_PX, **steps, **small)


def smolvla_longest(folder: Path) -> None:
    """As SmolVLA is by default: instructions padded to the longest of their batch."""
    smolvla(folder, pad_language_to="longest")


def smolvla(folder: Path, pad_language_to: str = "max_length") -> None:
    backbone = folder.parent / f"{folder.name}-backbone"
    make_backbone(backbone)
    save(
        folder,
        "smolvla",
        IMAGE,
        WRIST,
        chunk_size=10,
        n_action_steps=5,
        num_steps=3,
        vlm_model_name=str(backbone),
        load_vlm_weights=False,
        num_vlm_layers=2,
        resize_imgs_with_padding=(64, 64),
        pad_language_to=pad_language_to,
        tokenizer_max_length=24,
    )


def make_backbone(folder: Path) -> None:
    """A SmolVLM of two layers and a tokenizer of single bytes, as the hub would give them out."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import (
        PreTrainedTokenizerFast,
        SmolVLMConfig,
        SmolVLMImageProcessor,
        SmolVLMProcessor,
        SmolVLMVideoProcessor,
    )

    special = ["<unk>", "<pad>", "<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"]
    letters = sorted(set(pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = {token: index for index, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens={
            "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
    )
    SmolVLMProcessor(SmolVLMImageProcessor(), fast, SmolVLMVideoProcessor(), chat_template="").save_pretrained(folder)
    SmolVLMConfig(
        text_config={
            "model_type": "llama",
            "vocab_size": len(vocabulary),
            "hidden_size": 64,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "pad_token_id": 1,
        },
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
        },
        scale_factor=2,
        pad_token_id=1,
        image_token_id=2,
    ).save_pretrained(folder)


def xvla(folder: Path) -> None:
    """A Florence-2 of one block per stage; `auto` has actions of LIBERO's own seven numbers."""
    backbone = folder.parent / f"{folder.name}-tokenizer"
    make_backbone(backbone)
    eye = {"dim_embed": [8, 8, 16, 16], "num_heads": [1, 1, 2, 2], "num_groups": [1, 1, 2, 2], "depths": [1, 1, 1, 1]}
    # LeRobot 0.6, which reads this as well, wants to be told what 0.4 takes for granted.
    eye |= {"model_type": "davit", "image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": 50}}
    eye |= {"visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": 100}}
    eye |= {"projection_dim": 32, "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"], "window_size": 4}
    text = {"vocab_size": 300, "d_model": 32, "encoder_layers": 1, "encoder_ffn_dim": 32, "encoder_attention_heads": 2}
    text |= {"decoder_layers": 1, "decoder_ffn_dim": 32, "decoder_attention_heads": 2}
    save(
        folder,
        "xvla",
        IMAGE,
        WRIST,
        size_px=SMALL_PX,
        florence_config={"vision_config": eye, "text_config": text, "projection_dim": 32, "vocab_size": 300},
        tokenizer_name=str(backbone),
        tokenizer_max_length=24,
        chunk_size=8,
        n_action_steps=4,
        hidden_size=32,
        depth=1,
        num_heads=2,
        len_soft_prompts=2,
        num_domains=2,
        num_denoising_steps=3,
        action_mode="auto",
    )


MAKERS = {
    maker.__name__: maker
    for maker in (
        act,
        act_ensemble,
        act_renamed,
        act_old,
        diffusion,
        diffusion_ddim,
        vqbet,
        smolvla,
        smolvla_longest,
        xvla,
    )
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1]).resolve()
    for name in sys.argv[2:] or MAKERS:
        MAKERS[name](folder / name)
