#!/usr/bin/env bash
# Ray 2.60.0: ray.cluster_utils.AutoscalingCluster, a local cluster with an autoscaler, cannot be made from the wheel.
#
# It reads autoscaler/_private/fake_multi_node/example.yaml, which the wheel does not hold; the provider's code beside it
# is there. So a test of how a program behaves under an autoscaler needs a source tree of Ray. The same cluster as of
# `ray.cluster_utils.Cluster`, to which nodes are added by hand, can be made.
#
# Seen with ray 2.60.0, CPython 3.11.7, Linux:
#   provider: True
#   FileNotFoundError: .../ray/autoscaler/_private/fake_multi_node/example.yaml
# Exits with 1 when the behaviour is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ray==2.60.0
cat > "$folder/made.py" <<'PYTHON'
from pathlib import Path

import ray
from ray.cluster_utils import AutoscalingCluster

beside = Path(ray.__file__).parent / "autoscaler" / "_private" / "fake_multi_node"
print("provider:", (beside / "node_provider.py").is_file())
workers = {"cpu": {"resources": {"CPU": 2}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
try:
    AutoscalingCluster(head_resources={"CPU": 1}, worker_node_types=workers)
except FileNotFoundError as error:
    print(f"FileNotFoundError: {error.filename}")
    assert Path(error.filename) == beside / "example.yaml"
else:
    raise SystemExit("it was made")
PYTHON
"$folder/venv/bin/python" "$folder/made.py"
echo "as described"
