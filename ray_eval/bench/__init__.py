"""What is exact and what is fast, measured against plain LIBERO; loaded by `ray-eval bench` and by `benchmarks/`."""
