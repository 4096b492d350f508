"""LIBERO behind the Env seam: catalogue, simulation, rendering and preprocessing; runs in each worker."""
