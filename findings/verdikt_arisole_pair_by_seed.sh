#!/usr/bin/env bash
# verdikt-eval 0.3.1 and arisole-eval 0.1.5 pair episodes by their seed alone: of two tasks with the same seeds one is lost.
#
# Expected: a pair is the same task and the same seed, as both files name the task of every episode. Found: with two tasks of ten
# seeds each, verdikt --paired tells of the discordant pairs of the last task only, and arisole of less than the twenty pairs.
# What to do: a seed column that is unique over the whole run, for instance a number of the episode.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet verdikt-eval==0.3.1 arisole-eval==0.1.5
cd "$folder"
python3 - <<'PYTHON'
import json
import os

rows = ["policy_id,task,episode_idx,seed,success"]
for arm in "ab":
    tasks = []
    for task in (0, 1):
        # b fails all of task 0, a none: ten discordant pairs there, none in task 1.
        wins = [not (arm == "b" and task == 0)] * 10
        rows += [f"{arm},t{task},{task * 10 + i},{i},{str(win).lower()}" for i, win in enumerate(wins)]
        episodes = [{"episode_ix": i, "seed": i, "success": win} for i, win in enumerate(wins)]
        tasks.append({"task_group": "g", "task_id": task, "per_episode": episodes})
    os.mkdir(arm)
    json.dump({"per_task": tasks, "overall": {}}, open(f"{arm}/eval_info.json", "w"))
open("t.csv", "w").write("\n".join(rows) + "\n")
PYTHON
venv/bin/verdikt compare t.csv --baseline a --paired > verdikt.txt 2>&1 || true
venv/bin/arisole evaluate --baseline a --candidate b --task g --environment g --out r.json > arisole.txt 2>&1 || true
grep -E 'discordant' verdikt.txt; grep -E 'Transitions' arisole.txt || cat arisole.txt
grep -q ' 0 discordant' verdikt.txt && ! grep -q 'paired=20' arisole.txt
