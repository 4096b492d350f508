#!/usr/bin/env bash
# verdikt-eval 0.3.1: a success column in words is read as all successes, and so is one of true and false with one word in it.
#
# Expected: `failure` is no success, or the file is refused. Found: 100 % for an arm that failed every episode; and one cell
# `error` makes successes of all cells `false` beside it. What to do: write only true and false, and leave broken episodes out.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet verdikt-eval==0.3.1
cd "$folder"
python3 - <<'PYTHON'
def write(name, words):
    rows = [
        f"{arm},t,{index},{index},{word}"
        for arm, of in (("a", ["true"] * 20), ("b", words))
        for index, word in enumerate(of)
    ]
    open(name, "w").write("\n".join(["policy_id,task,episode_idx,seed,success", *rows]) + "\n")


write("words.csv", ["failure"] * 20)
write("mixed.csv", ["false"] * 19 + ["error"])
write("plain.csv", ["false"] * 20)
PYTHON
for file in words mixed plain; do
    echo "== $file"; venv/bin/verdikt compare "$file.csv" --baseline a > "$file.txt" 2>&1 || true
    grep -E '^b ' "$file.txt"
done
grep -qE '^b +20 +20/20' words.txt && grep -qE '^b +20 +20/20' mixed.txt && grep -qE '^b +20 +0/20' plain.txt
