"""A policy of pi0.5's size on this machine's device, served and bare. Needs torch, grpcio and NumPy; no hub:

    python benchmarks/pi05_device.py [--device cuda] [--rows 1 8 32] [--repeats 5]

On CUDA the whole 3.3 billion parameters with random weights in bfloat16; on the CPU one layer of each. Exit code 1:
staging rows one by one costs more than 2 %, or the server gives less than 0.95 of the bare loop's requests.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import torch

from ray_eval.bench.forward import bench_policy
from ray_eval.bench.pi05 import CPU, WHOLE
from ray_eval.serving.determinism import thread_variables

LEAST_RATE, MOST_STAGING = 0.95, 1.02


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    print(f"torch {torch.__version__} on {torch.cuda.get_device_name() if device == 'cuda' else 'cpu'}", flush=True)
    started, bad = time.perf_counter(), 0
    for row in bench_policy(WHOLE if device == "cuda" else CPU, device, options.rows, options.repeats):
        is_rate = row.unit == "1/s"
        is_good = row.ratio >= LEAST_RATE if is_rate else row.ratio <= MOST_STAGING
        bad += not is_good
        figures = f"{row.value:.4g} {row.unit} against {row.reference_value:.4g} ({row.reference})"
        word = "ok" if is_good else "NOT GOOD"
        print(f"{row.subject}: {row.what}: {figures}, ratio {row.ratio:.3f} {word}", flush=True)
    memory = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    print(f"all in {time.perf_counter() - started:.0f} s; {memory:.1f} GB of the device; load {os.getloadavg()[0]:.1f}")
    return int(bad > 0)


if __name__ == "__main__":
    os.environ.update(thread_variables(1))
    sys.exit(main())
