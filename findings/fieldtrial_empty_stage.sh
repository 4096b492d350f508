#!/usr/bin/env bash
# fieldtrial 0.3.0, import: successes written as 1.0 are refused without a `stage` column and are failures beside an empty one.
#
# Expected: the same file with one more, empty column means the same. Found: refused without it; with it every trial is imported
# and counted as a failure. What to do: write true and false, and no `stage` column unless each row has its stage.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fieldtrial==0.3.0
cd "$folder"
cat > study.json <<'JSON'
{"fieldtrial": 1, "name": "s", "title": "s", "task": {"instruction": "x"},
 "rubric": {"stages": [{"id": "done", "label": "done"}], "success": "done"},
 "arms": [{"id": "a", "runner": "manual"}, {"id": "b", "runner": "manual"}],
 "conditions": {"factors": {"init": {"range": [0, 9]}}, "replicates": 1},
 "design": {"type": "randomized_block", "order": "random", "blinding": "none", "seed": 0},
 "analysis": {"primary": {"metric": "success", "comparison": {"treatment": "b", "control": "a"},
  "alternative": "two-sided", "alpha": 0.05}}}
JSON
for kind in without with; do
    mkdir $kind; cp study.json $kind/study.yaml
    venv/bin/fieldtrial lock $kind > /dev/null
    if [ $kind = with ]; then column=,stage; cell=,; else column=; cell=; fi
    { echo "condition,arm,success$column"; for arm in a b; do for i in $(seq 0 9); do echo "init=$i,$arm,1.0$cell"; done; done; } > $kind.csv
    venv/bin/fieldtrial import $kind $kind.csv > $kind.txt 2>&1 || echo "exit $?" >> $kind.txt
    echo "== $kind"; tail -2 $kind.txt
done
venv/bin/fieldtrial export with --out trials.csv > /dev/null
failures=$(grep -c ',completed,1,-1,False,' trials.csv || true)
echo "of 20 trials that were written as 1.0, $failures are failures after the import"
grep -q 'exit' without.txt && grep -q 'Imported 20' with.txt && [ "$failures" = 20 ]
