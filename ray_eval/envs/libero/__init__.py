"""LIBERO behind the Env seam: catalogue, simulation, rendering and preprocessing; runs in each worker."""

import logging

# robosuite advises at every import to write a private macro file; nobody here wants one.
logging.getLogger("robosuite_logs").addFilter(lambda record: "macro" not in record.getMessage())
