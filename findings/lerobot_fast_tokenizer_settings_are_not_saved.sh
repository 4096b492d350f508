#!/usr/bin/env bash
# lerobot 0.6.1: ActionTokenizerProcessorStep, a step of pi0-FAST's saved pipeline, does not save
# fast_skip_tokens and paligemma_tokenizer_name. Loaded again, it has the values in LeRobot's code: tokens of actions move
# by the difference of fast_skip_tokens, and PaliGemma's tokenizer is fetched from the hub whatever folder was named.
# One expects that a step made of its own get_config() is the step that was saved.
#
# Wants Python 3.12 and 5 GB. LEROBOT_PYTHON=PATH takes an interpreter that has lerobot[pi]==0.6.1 already.
# Seen on Linux with transformers 5.5.4:
#   made with fast_skip_tokens=0, loaded with 128; saved: ['action_tokenizer_name', 'max_action_tokens', 'trust_remote_code']
#   action token 5 is token 254 of the text before, and 126 after
# Exit code 0: it is still so. 1: LeRobot behaves otherwise now.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python=${LEROBOT_PYTHON:-}
if [ -z "$python" ]; then
    python3.12 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check 'lerobot[pi]==0.6.1' transformers==5.5.4
fi
cat > "$folder/try.py" <<'PYTHON'
import sys
from pathlib import Path

import torch
from lerobot.processor.tokenizer_processor import ActionTokenizerProcessorStep as Step
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

folder = Path(sys.argv[1]) / "words"
words = Tokenizer(models.WordLevel({f"w{index}": index for index in range(260)}, unk_token="w0"))
PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0").save_pretrained(folder)
names = {"action_tokenizer_name": str(folder), "paligemma_tokenizer_name": str(folder)}
made = Step(**names, fast_skip_tokens=0)
saved = made.get_config()
again = Step(**{**saved, "paligemma_tokenizer_name": str(folder)})  # by its saved name it would ask the hub
print(f"made with fast_skip_tokens={made.fast_skip_tokens}, loaded with {again.fast_skip_tokens}; saved: {sorted(saved)}")
convert = "_act_tokens_to_paligemma_tokens"
tokens = [int(getattr(step, convert)(torch.tensor(5))) for step in (made, again)]
print(f"action token 5 is token {tokens[0]} of the text before, and {tokens[1]} after")
is_lost = "paligemma_tokenizer_name" not in saved and "fast_skip_tokens" not in saved
sys.exit(not (is_lost and tokens[0] - tokens[1] == 128))
PYTHON
HF_HUB_OFFLINE=1 PYTHONWARNINGS=ignore "$python" "$folder/try.py" "$folder"
