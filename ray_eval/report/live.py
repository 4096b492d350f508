"""The metrics of a run that is going on: what each is called, what it counts, and how Grafana shows it; pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

PREFIX = "ray_"
"""What Ray puts in front of every name; it puts `_total` behind every counter's."""


@dataclass(frozen=True, slots=True)
class LiveMetric:
    """One metric, as the driver makes it."""

    name: str
    """Name that Ray is given."""
    kind: Literal["counter", "gauge"]
    """A counter only grows; a gauge is set anew each second, as Ray forgets one that is silent for 20 s."""
    said: str
    """What it counts, with its unit."""
    labels: tuple[str, ...] = ("run",)
    """Its labels."""

    @property
    def exported(self) -> str:
        """Name under which Prometheus finds it."""
        return f"{PREFIX}{self.name}{'_total' if self.kind == 'counter' else ''}"


_SUITE = ("run", "suite")
EPISODES = LiveMetric("eval_episodes", "counter", "episodes that ended, by outcome", ("run", "suite", "outcome"))
RETRIES = LiveMetric("eval_retries", "counter", "attempts that broke and are tried again", _SUITE)
STEPS = LiveMetric("eval_steps", "counter", "control steps of episodes that ended", _SUITE)
STEP_SECONDS = LiveMetric("eval_step_seconds", "counter", "seconds in control steps of the simulator", _SUITE)
RESETS = LiveMetric("eval_resets", "counter", "resets, settling included", _SUITE)
RESET_SECONDS = LiveMetric("eval_reset_seconds", "counter", "seconds in resets", _SUITE)
REQUESTS = LiveMetric("eval_requests", "counter", "answers of the policy that a worker received", _SUITE)
INFER_SECONDS = LiveMetric("eval_infer_seconds", "counter", "seconds from a worker's request to its answer", _SUITE)
OBSERVE_SECONDS = LiveMetric("eval_observe_seconds", "counter", "seconds in observations: rendering, resizing", _SUITE)
RATE = LiveMetric("eval_success_rate", "gauge", "provisional success rate, 0 to 1", _SUITE)
RATE_LOW = LiveMetric("eval_success_rate_low", "gauge", "lower bound of its 95 % interval", _SUITE)
RATE_HIGH = LiveMetric("eval_success_rate_high", "gauge", "upper bound of its 95 % interval", _SUITE)
PLANNED = LiveMetric("eval_planned_episodes", "gauge", "episodes of the session's runs")
DONE = LiveMetric("eval_done_episodes", "gauge", "episodes that are done, those of earlier sessions included")
WORKERS = LiveMetric("eval_workers", "gauge", "workers alive, by what they do: busy, idle, starting", ("run", "state"))
FORWARDS = LiveMetric("eval_forwards", "counter", "forwards of the policy")
FORWARD_SECONDS = LiveMetric("eval_forward_seconds", "counter", "seconds in forwards")
FORWARD_REQUESTS = LiveMetric(
    "eval_forward_requests", "counter", "requests that forwards answered; over forwards: batch size"
)
WAIT_SECONDS = LiveMetric("eval_queue_wait_seconds", "counter", "seconds that requests waited for their forward")
IDLE_SECONDS = LiveMetric("eval_idle_while_asked_seconds", "counter", "seconds that the policy idled although asked")
WAITING = LiveMetric("eval_waiting_requests", "gauge", "requests that wait for a forward now")

LIVE_METRICS = (
    EPISODES,
    RETRIES,
    STEPS,
    STEP_SECONDS,
    RESETS,
    RESET_SECONDS,
    REQUESTS,
    INFER_SECONDS,
    OBSERVE_SECONDS,
    RATE,
    RATE_LOW,
    RATE_HIGH,
    PLANNED,
    DONE,
    WORKERS,
    FORWARDS,
    FORWARD_SECONDS,
    FORWARD_REQUESTS,
    WAIT_SECONDS,
    IDLE_SECONDS,
    WAITING,
)
"""Every metric of ours."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the dashboard."""

    title: str
    """What it shows."""
    said: str
    """How it is to be read."""
    unit: str
    """Grafana's name of the unit."""
    queries: tuple[tuple[str, str], ...]
    """PromQL and legend of each line."""


def _per(over: LiveMetric, count: LiveMetric, by: str = "run") -> str:
    """Mean of what is summed, per thing that is counted, over Grafana's usual window."""
    return f"sum by ({by}) ({_growth(over)}) / sum by ({by}) ({_growth(count)})"


def _growth(metric: LiveMetric) -> str:
    return f'rate({metric.exported}{{run=~"$run"}}[$__rate_interval])'


def _all(metric: LiveMetric) -> str:
    return f'{metric.exported}{{run=~"$run"}}'


PANELS = (
    Panel(
        "Episodes by outcome",
        "Errors are beside the rate. They say nothing about the policy.",
        "short",
        ((f"sum by (outcome) ({_all(EPISODES)})", "{{outcome}}"),),
    ),
    Panel(
        "Success so far",
        "Provisional, with its exact 95 % interval: easy tasks may come first.",
        "percentunit",
        (
            (_all(RATE), "{{suite}} {{run}}"),
            (_all(RATE_LOW), "{{suite}} low"),
            (_all(RATE_HIGH), "{{suite}} high"),
        ),
    ),
    Panel(
        "Done",
        "Episodes done and planned.",
        "short",
        ((_all(DONE), "done {{run}}"), (_all(PLANNED), "planned {{run}}")),
    ),
    Panel(
        "Control steps per second",
        "Over all workers, counted as episodes end.",
        "ops",
        ((f"sum by (run) ({_growth(STEPS)})", "{{run}}"),),
    ),
    Panel("Workers", "Alive, by what they do.", "short", ((f"sum by (state) ({_all(WORKERS)})", "{{state}}"),)),
    Panel(
        "Retries",
        "Attempts that broke and were tried again.",
        "short",
        ((f"sum by (run) ({_all(RETRIES)})", "{{run}}"),),
    ),
    Panel(
        "Time of a control step, an observation, an answer",
        "Means over all workers. An observation is rendering and resizing; an answer is the round trip to the policy.",
        "s",
        (
            (_per(STEP_SECONDS, STEPS), "step"),
            (_per(OBSERVE_SECONDS, REQUESTS), "observation"),
            (_per(INFER_SECONDS, REQUESTS), "answer"),
        ),
    ),
    Panel("Time of a reset", "Mean, settling included.", "s", ((_per(RESET_SECONDS, RESETS), "{{run}}"),)),
    Panel(
        "Forward and queue wait",
        "Mean time of a forward, and of a request's wait for one.",
        "s",
        ((_per(FORWARD_SECONDS, FORWARDS), "forward"), (_per(WAIT_SECONDS, FORWARD_REQUESTS), "wait")),
    ),
    Panel(
        "Batch size",
        "Requests that a forward answers, mean.",
        "short",
        ((_per(FORWARD_REQUESTS, FORWARDS), "{{run}}"),),
    ),
    Panel("Requests that wait", "For a forward, now.", "short", ((_all(WAITING), "{{run}}"),)),
    Panel(
        "Device at work, and idle although asked",
        "Share of the time. Idle although asked is what batching loses.",
        "percentunit",
        (
            (f"sum by (run) ({_growth(FORWARD_SECONDS)})", "at work"),
            (f"sum by (run) ({_growth(IDLE_SECONDS)})", "idle although asked"),
        ),
    ),
)
"""The dashboard's pictures, in order."""
UID = "ray-eval"
"""Grafana's id of the dashboard, and part of its address."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard_text() -> str:
    """The dashboard as Grafana reads it."""
    values = {
        "uid": UID,
        "title": "ray-eval",
        "description": "Runs of ray-eval while they go on. Names and limits: docs/metrics.md",
        "tags": ["ray-eval"],
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_source_variable(), _run_variable()]},
        "panels": [_panel(index, panel) for index, panel in enumerate(PANELS)],
    }
    return json.dumps(values, indent=2) + "\n"


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _run_variable() -> dict[str, Any]:
    return {
        "name": "run",
        "label": "Run",
        "type": "query",
        "datasource": _SOURCE,
        "query": f"label_values({PREFIX}{PLANNED.name}, run)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(index: int, panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for number, (expression, legend) in enumerate(panel.queries)
    ]
    return {
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.said,
        "datasource": _SOURCE,
        "gridPos": {"x": 12 * (index % 2), "y": 8 * (index // 2), "w": 12, "h": 8},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True}},
        "targets": targets,
    }
