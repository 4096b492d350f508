"""From the configuration to the latency that workers draw from: what is measured or read from a file is fixed here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray_eval.config import LatencyConfig
from ray_eval.errors import ConfigError
from ray_eval.report.metrics import CALIBRATED_KEY
from ray_eval.rollout.latency import steps_of_ms
from ray_eval.sections import MAX_LATENCY_MS, LatencySection, RecordedLatency, StepsLatency

TRACE_KEY = "latency_trace_sha256"
"""Name, among the environment's identity values, of the digest of a trace's content."""
MOST_TRACE_LINES = 100_000
"""Most numbers of a trace."""


@dataclass(frozen=True, slots=True)
class ResolvedLatency:
    """A latency with nothing left to measure or to read."""

    section: LatencySection
    """What workers draw from."""
    identity: Mapping[str, Any] = field(default_factory=dict)
    """What it depends on besides the configuration; empty where that says it all."""


def resolve_latency(
    latency: LatencyConfig, recorded: Mapping[str, Any] | None, calibrate: Callable[[], float], control_hz: float
) -> ResolvedLatency:
    """The latency of a run.

    Args:
        latency: the configuration's section; nothing set, as in sync, is no latency.
        recorded: identity of the run that is resumed, whose calibration is taken over; None for a new run.
        calibrate: times the policy, ms.
        control_hz: control steps per second of the simulator's time.

    Raises:
        ConfigError: the trace cannot be read.
    """
    if latency.calibrated:
        known = (recorded or {}).get(f"environment.{CALIBRATED_KEY}")
        measured_ms = round(calibrate(), 3) if known is None else float(known)
        return ResolvedLatency(StepsLatency(steps_of_ms(measured_ms, control_hz)), {CALIBRATED_KEY: measured_ms})
    if latency.trace is not None:
        return _trace(Path(latency.trace))
    if latency.ms is not None:
        return ResolvedLatency(StepsLatency(steps_of_ms(latency.ms, control_hz)))
    return ResolvedLatency(latency.uniform or latency.lognormal or StepsLatency(latency.steps or 0))


def check_latency(latency: LatencyConfig) -> None:
    """Passes when nothing of the latency is left to be read that cannot be.

    Raises:
        ConfigError: the trace cannot be read.
    """
    if latency.trace is not None:
        _trace(Path(latency.trace))


def _trace(path: Path) -> ResolvedLatency:
    try:
        content = path.read_bytes()
        lines = content.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"execution.latency.trace: expected a readable text file, got {path} ({error})") from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
    values = tuple(_value(path, number, text) for number, text in numbered if text and not text.startswith("#"))
    if not 1 <= len(values) <= MOST_TRACE_LINES:
        expected = f"1 to {MOST_TRACE_LINES} lines with a number of milliseconds each"
        raise ConfigError(f"execution.latency.trace: expected {expected} in {path}, got {len(values)}")
    return ResolvedLatency(RecordedLatency(values), {TRACE_KEY: hashlib.sha256(content).hexdigest()})


def _value(path: Path, number: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MAX_LATENCY_MS:
        raise ConfigError(f"{path}, line {number}: expected milliseconds, 0 to {MAX_LATENCY_MS}, got {text!r}")
    return value
