"""Files that let Prometheus and Grafana show runs while they go on; writes them, starts nothing."""

from __future__ import annotations

from pathlib import Path

import yaml

from ray_eval.driver.starting import ray_folder
from ray_eval.errors import ConfigError
from ray_eval.messages import quoted
from ray_eval.report.ledger import write_atomically
from ray_eval.report.live import UID, dashboard_text

DISCOVERY = "prom_metrics_service_discovery.json"
"""File in which Ray's head node keeps the addresses of its exporters."""
SCRAPE_S = 10
"""Time between two scrapes; Ray passes metrics on every 10 s."""
PROMETHEUS, GRAFANA = "127.0.0.1:9090", "127.0.0.1:3000"
"""Where the two listen, of this machine alone."""


def write_dashboard(out: Path, discovery: Path | None = None) -> list[str]:
    """Writes the files, and gives the commands that start the two.

    Args:
        out: folder of the files.
        discovery: Ray's file of its exporters; None is that of a Ray that a run starts here.

    Raises:
        ConfigError: the folder cannot be made.
        LedgerError: a file cannot be written.
    """
    out = out.absolute()
    discovery = discovery or ray_folder() / DISCOVERY
    texts = {
        "prometheus.yml": _prometheus(discovery),
        "grafana/provisioning/datasources/ray-eval.yml": _datasource(),
        "grafana/provisioning/dashboards/ray-eval.yml": _provider(out / "grafana" / "dashboards"),
        "grafana/dashboards/ray-eval.json": dashboard_text(),
    }
    for name, text in texts.items():
        try:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            said = f"{out}: expected a folder that can be made, got {error.strerror}; choose another --out"
            raise ConfigError(said) from error
        write_atomically(out / name, text, retry="write it again")
    return commands(out)


def commands(out: Path) -> list[str]:
    """What to type: Prometheus, Grafana, the run, and where to look."""
    listen = f"--web.listen-address={PROMETHEUS}"
    data = f"--storage.tsdb.path={quoted(out / 'data')}"
    grafana = "GF_SERVER_HTTP_ADDR=127.0.0.1 GF_AUTH_ANONYMOUS_ENABLED=true"
    provisioning = f"GF_PATHS_PROVISIONING={quoted(out / 'grafana' / 'provisioning')}"
    return [
        f"prometheus --config.file={quoted(out / 'prometheus.yml')} {data} {listen}",
        f"{grafana} {provisioning} grafana server --homepath /usr/share/grafana",
        f"RAY_PROMETHEUS_HOST=http://{PROMETHEUS} RAY_GRAFANA_HOST=http://{GRAFANA} ray-eval run ...",
        f"http://{GRAFANA}/d/{UID}",
    ]


def _prometheus(discovery: Path) -> str:
    files = {"files": [str(discovery)], "refresh_interval": "5s"}
    return _yaml(
        {
            "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
            "scrape_configs": [{"job_name": "ray", "file_sd_configs": [files]}],
        }
    )


def _datasource() -> str:
    source = {
        "name": "Prometheus",
        "uid": "prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://{PROMETHEUS}",
        "isDefault": True,
        # From this Grafana takes the shortest window in which a rate has two samples.
        "jsonData": {"timeInterval": f"{SCRAPE_S}s"},
    }
    return _yaml({"apiVersion": 1, "datasources": [source]})


def _provider(dashboards: Path) -> str:
    provider = {"name": "ray-eval", "type": "file", "options": {"path": str(dashboards)}}
    return _yaml({"apiVersion": 1, "providers": [provider]})


def _yaml(values: dict[str, object]) -> str:
    return yaml.safe_dump(values, sort_keys=False)
