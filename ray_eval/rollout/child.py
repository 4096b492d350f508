"""The program of a simulator's own interpreter: `PYTHON -m ray_eval.rollout.child DESCRIPTOR`; ends with its parent."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from ray_eval.orphans import end_with_parent
from ray_eval.rollout.answering import serve

if __name__ == "__main__":
    end_with_parent()
    with Connection(int(sys.argv[1])) as inherited:
        serve(inherited)
