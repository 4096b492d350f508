"""Meta-World 3.1.1 behind the Simulator seam."""
