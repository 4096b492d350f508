#!/usr/bin/env bash
# statsmodels 0.15.0, confint_proportions_2indep(method="score"): raises on tables that are valid, and is off where it answers.
#
# Expected: Miettinen and Nurminen's score interval exists for every pair of counts. Found: of the 121 tables with 10 episodes on
# either side it raises for most, an arm at 0 or 100 % being only some of them; for 45/50 against 40/50 its upper bound is not
# that of the definition, which robostats 0.2.0 gives. What to do: robostats.unpaired_difference, or Newcombe's method there.
# Known upstream: statsmodels issue 10269.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet statsmodels==0.15.0 robostats==0.2.0 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import robostats
from statsmodels.stats.proportion import confint_proportions_2indep

warnings.simplefilter("ignore")


def score(x1, n1, x2, n2):
    return confint_proportions_2indep(x1, n1, x2, n2, method="score", compare="diff")


raised = []
for x1 in range(11):
    for x2 in range(11):
        try:
            score(x1, 10, x2, 10)
        except Exception:
            raised.append((x1, x2))
inner = [table for table in raised if 0 < table[0] < 10 and 0 < table[1] < 10]
print(f"raises for {len(raised)} of 121 tables of 10 and 10, {len(inner)} of them with no arm at an end")
upper = score(45, 50, 40, 50)[1]
right = robostats.unpaired_difference(45, 50, 40, 50).upper
print(f"45/50 against 40/50: upper bound {upper:.4f}, by the definition {right:.4f}")
sys.exit(not (len(raised) > 60 and len(inner) > 20 and abs(upper - right) > 0.005))
PYTHON
