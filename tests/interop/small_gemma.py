"""Makes the PaliGemma of LeRobot 0.6's pi0 family small, in this process: a checkpoint takes 400 KB and not 14 GB.

LeRobot writes Gemma's sizes and its vocabulary into its code, where no config.json can say others. What is built is
small; the code that builds and runs it, and every name of a weight, stay LeRobot's.
"""

import importlib
import json
from pathlib import Path

KINDS = ("pi0", "pi05", "pi0_fast")
WORDS = 260
TEXT = {"width": 32, "depth": 2, "mlp_dim": 48, "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
EYE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def _smaller(network, change):
    """A network's class whose configuration is changed before it is built."""

    class Small(network):
        def __init__(self, config):
            change(config)
            super().__init__(config)

    Small.__name__ = network.__name__
    return Small


def _change_paligemma(config):
    config.text_config.vocab_size = WORDS
    config.projection_dim = config.vision_config.projection_dim = TEXT["width"]
    for name, value in EYE.items():
        setattr(config.vision_config, name, value)


def _change_expert(config):
    config.vocab_size = WORDS


def shrink(kind):
    """Has LeRobot's module of a type build small networks; once is enough, and other types are left alone."""
    if kind not in KINDS:
        return
    module = importlib.import_module(f"lerobot.policies.{kind}.modeling_{kind}")
    whole = "PaliGemmaForConditionalGenerationWithPiGemma"
    # LeRobot 0.4 has none, and its pi0 family is refused before it is built.
    if getattr(module, "is_small", False) or not hasattr(module, whole):
        return
    module.is_small = True
    sizes = module.GemmaConfig
    module.get_gemma_config = lambda _variant: sizes(**TEXT)
    setattr(module, whole, _smaller(getattr(module, whole), _change_paligemma))
    if hasattr(module, "PiGemmaForCausalLM"):
        module.PiGemmaForCausalLM = _smaller(module.PiGemmaForCausalLM, _change_expert)


def shrink_for(folder):
    """As `shrink`, for the type of a checkpoint's folder."""
    config = Path(folder) / "config.json"
    if config.is_file():
        shrink(json.loads(config.read_text()).get("type"))
