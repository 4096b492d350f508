#!/usr/bin/env bash
# statsmodels 0.15.0, mcnemar(exact=False): where no pair differs, which is no evidence of anything, the p-value is 0 or nan.
#
# Expected: 1, as exact=True has it. Found: 0.0 with the continuity correction, its default, and nan without. Two runs whose
# outcomes are all the same are then "different with p = 0". What to do: exact=True, or take no discordant pair for p = 1.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet statsmodels==0.15.0 scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import math
import sys
import warnings

from statsmodels.stats.contingency_tables import mcnemar

warnings.simplefilter("ignore")
table = [[18, 0], [0, 2]]
exact = mcnemar(table, exact=True).pvalue
corrected = mcnemar(table, exact=False, correction=True).pvalue
plain = mcnemar(table, exact=False, correction=False).pvalue
print(f"18 and 2 pairs that agree, none that differs: exact {exact}, corrected {corrected}, uncorrected {plain}")
sys.exit(not (exact == 1.0 and corrected == 0.0 and math.isnan(plain)))
PYTHON
