"""Runs in each worker: the episode loop, the chunk queue, the client of the policy server."""
