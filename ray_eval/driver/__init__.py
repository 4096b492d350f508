"""Runs on the head: plans episodes, leases them to workers, writes the ledger."""

from ray_eval import places
from ray_eval.driver.starting import keep_this_interpreter

places.settle_home()
keep_this_interpreter()
