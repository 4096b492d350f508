"""LIBERO behind the Env seam: catalogue, simulation, rendering and preprocessing; runs in each worker."""

from ray_eval.envs.libero.importing import prepare_imports

prepare_imports()
