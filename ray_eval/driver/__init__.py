"""Runs on the head: plans episodes, leases them to workers, writes the ledger."""
