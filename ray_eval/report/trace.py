"""The record of one episode step by step, as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ray_eval.errors import SetupError
from ray_eval.types import StepRecord

SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("queue_length", pa.int32()),
        ("action", pa.list_(pa.float64())),
        ("source", pa.int32()),
        ("label", pa.int32()),
        ("is_underrun", pa.bool_()),
        ("is_aggregated", pa.bool_()),
        ("is_captured", pa.bool_()),
        ("is_filtered", pa.bool_()),
    ]
)
"""Columns: those of `StepRecord`, and whether no action was queued."""


def write_trace(path: Path, records: Sequence[StepRecord], episode_id: str) -> None:
    """Writes one row per control step; the episode's id is in the file's metadata.

    Raises:
        SetupError: the file cannot be written.
    """
    rows = [
        {
            "step": record.step,
            "queue_length": record.queue_length,
            "action": np.asarray(record.action).tolist(),
            "source": record.source,
            "label": record.label,
            "is_underrun": record.source is None,
            "is_aggregated": record.is_aggregated,
            "is_captured": record.is_captured,
            "is_filtered": record.is_filtered,
        }
        for record in records
    ]
    table = pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata({"episode_id": episode_id}))
    try:
        pq.write_table(table, path)
    except OSError as error:
        raise SetupError(f"{path}: expected a file that can be written, got {error}") from error
