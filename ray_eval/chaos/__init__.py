"""A run under faults: what happens to it, in which order, and whether it held; in a process beside it."""
