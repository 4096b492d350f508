"""Metrics of a run that goes on: each is named in the document, and the dashboard asks for no other."""

import json
import re
from pathlib import Path

import pytest
import yaml

from ray_eval.driver.dashboard import write_dashboard
from ray_eval.driver.live import session_name
from ray_eval.report.live import LIVE_METRICS, PANELS, dashboard_text

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "metrics.md").read_text()
NAMES = {metric.exported: metric for metric in LIVE_METRICS}


@pytest.mark.parametrize("metric", LIVE_METRICS, ids=lambda metric: metric.name)
def test_the_document_says_of_every_metric_what_it_is(metric):
    assert f"| `{metric.exported}` | {', '.join(metric.labels)} | {metric.said} |" in DOCUMENT


def test_names_are_such_as_ray_collects_and_few_labels_have_few_values():
    for metric in LIVE_METRICS:
        assert re.fullmatch(r"eval_[a-z_]+", metric.name)
        assert not metric.name.endswith("_total")
        assert set(metric.labels) <= {"run", "suite", "outcome", "state"}
    assert len(NAMES) == len(LIVE_METRICS)


def test_every_panel_asks_for_metrics_and_labels_that_there_are():
    asked = set()
    for panel in PANELS:
        for expression, legend in panel.queries:
            names = set(re.findall(r"ray_eval_\w+", expression))
            assert names <= NAMES.keys(), expression
            known = set.intersection(*(set(NAMES[name].labels) for name in names))
            wanted = [*re.findall(r"by \((\w+)\)", expression), *re.findall(r"{{(\w+)}}", legend)]
            assert set(wanted) <= known, (expression, legend)
            asked |= names
    assert asked == NAMES.keys()


def test_grafana_is_given_a_dashboard_whose_ids_and_places_differ():
    panels = json.loads(dashboard_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == len(PANELS)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_files_name_each_other_and_the_commands_name_the_files(tmp_path):
    said = write_dashboard(tmp_path / "my dash", tmp_path / "found.json")
    scraping = yaml.safe_load((tmp_path / "my dash" / "prometheus.yml").read_text())
    assert scraping["scrape_configs"][0]["file_sd_configs"][0]["files"] == [str(tmp_path / "found.json")]
    provider = tmp_path / "my dash" / "grafana" / "provisioning" / "dashboards" / "ray-eval.yml"
    dashboards = Path(yaml.safe_load(provider.read_text())["providers"][0]["options"]["path"])
    assert [path.name for path in dashboards.iterdir()] == ["ray-eval.json"]
    assert f"--config.file='{tmp_path}/my dash/prometheus.yml'" in said[0]


@pytest.mark.parametrize(
    ("folders", "name"),
    [(["runs/x"], "x"), (["s/points/0", "s/points/1"], "s"), (["duel/a", "duel/b"], "duel")],
)
def test_a_session_is_called_by_the_folder_that_its_runs_share(folders, name):
    assert session_name([Path(folder) for folder in folders]) == name
