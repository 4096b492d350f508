"""Runs written out in the formats of other tools; runs in the driver, starts nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray_eval.driver.compare import read_arms
from ray_eval.errors import ConfigError, SetupError, did_you_mean
from ray_eval.report.export import TEXT_FORMATS, ExportedRun, rows
from ray_eval.report.ledger import read_ledger, write_atomically
from ray_eval.report.question import Arm

PARQUET = "parquet"
"""The one format that is no text."""
FORMATS = (*TEXT_FORMATS, PARQUET)
"""Every format."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    """The files."""
    episodes: int
    """Episodes that are a success or a failure, over all runs."""
    errors: int
    """Episodes that broke, which no format has as an outcome."""
    missing: int
    """Episodes that were planned and not run."""


def export(paths: Sequence[Path], to: str, out: Path | None) -> Exported:
    """Writes runs in a format, below `out` or, without one, in the first run's own folder.

    Raises:
        ConfigError: there is no such format.
        LedgerError: a run cannot be read, or a file not be written.
    """
    if to not in FORMATS:
        raise ConfigError(f"--to {to}: expected one of {', '.join(FORMATS)}, got another.{did_you_mean(to, FORMATS)}")
    if to == "fieldtrial" and len(paths) < 2:
        raise ConfigError(
            "--to fieldtrial: expected two runs or more, the arms of its study, got one; name another one"
        )
    runs = [_run(path, arm) for path, arm in zip(paths, read_arms(paths), strict=True)]
    folder = out or paths[0] / "export" / to
    if to == PARQUET:
        files = [_write_parquet(runs, folder)]
    else:
        files = [_write(folder / name, text) for name, text in TEXT_FORMATS[to](runs).items()]
    missing = sum(max((run.arm.planned or 0) - len(run.arm.results), 0) for run in runs)
    return Exported(tuple(files), sum(len(run.ended) for run in runs), sum(run.error_count for run in runs), missing)


def _run(path: Path, arm: Arm) -> ExportedRun:
    content = read_ledger(path)
    wall_s = math.fsum(result.wall_s for result in arm.results.values())
    return ExportedRun(arm, (content.header.get("provenance") or {}).get("versions", {}), wall_s)


def _write(path: Path, text: str) -> Path:
    _make(path.parent)
    write_atomically(path, text)
    return path


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said = f"{folder}: expected a folder that can be made, got {error.strerror}; choose another --out"
        raise ConfigError(said) from error


def _write_parquet(runs: Sequence[ExportedRun], folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "episodes.parquet"
    _make(folder)
    try:
        pq.write_table(pa.Table.from_pylist([row for run in runs for row in rows(run)]), path)
    except OSError as error:
        raise SetupError(f"{path}: expected a file that can be written, got {error}; choose another --out") from error
    return path
