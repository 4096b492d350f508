"""Reports: what a page says, that it needs nothing beside it, and that nothing of a run's gets into its markup."""

import base64
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_runs import made_run

from ray_eval.cli import main
from ray_eval.driver.reporting import report, report_quietly, shown_run
from ray_eval.report.html.charts import Axis, Series, line_chart, round_ticks
from ray_eval.report.html.figures_of_runs import batch_sizes, steps_to_success, worker_timeline
from ray_eval.report.html.media import Embedder
from ray_eval.report.html.run_page import run_page
from ray_eval.report.html.words import CLASSES, notices
from ray_eval.watch.classes import FailureClass

ALL = "s" * 15
MIXED = "ssfsfssssssssfs"
HOSTILE = "<script>alert(1)</script>\"' onload='x"


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "path", "rect", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(path: Path) -> Page:
    return Page(path.read_text())


def test_a_run_has_its_rate_its_failures_and_the_commands_that_look_closer(tmp_path):
    page = page_of(report([made_run(tmp_path / "r", MIXED)]))
    assert "80.0 %" in page.text
    assert "12 of 15 episodes succeeded, 95 % interval 51.9 to 95.7 %" in page.text
    assert "between 51.9 and 95.7 %" in page.text
    assert "Failures by task" in page.text
    assert f"ray-eval episode {tmp_path}/r fake/0/2 --video look.mp4" in page.text
    assert f"ray-eval run {tmp_path}/r/config.yaml --out NEW_FOLDER" in page.text


def test_a_page_is_whole_and_asks_nothing_of_the_network(tmp_path):
    text = report([made_run(tmp_path / "r", MIXED)]).read_text()
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), address
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for attributes in page.all("a"):
        assert attributes["href"].removeprefix("#") in ids
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
    assert "@import" not in text
    assert "url(" not in text


def test_every_plot_is_named_and_has_its_figures_as_a_table(tmp_path):
    page = page_of(report([made_run(tmp_path / "r", MIXED)]))
    plots = [attributes for attributes in page.all("svg") if attributes.get("role") == "img"]
    assert plots
    assert all(attributes["aria-label"] for attributes in plots)
    assert len(plots) == len(page.all("figure"))
    at = [tag for tag, _ in page.elements]
    for index, tag in enumerate(at):
        if tag == "figure":
            rest = at[index:]
            assert rest.index("table") < (rest.index("figure", 1) if "figure" in rest[1:] else len(rest))


def test_nothing_that_a_run_brings_along_becomes_markup(tmp_path):
    run = made_run(tmp_path / "r", "sfe", "tasks=[0]", "episodes_per_task=3")
    ledger = run / "episodes.jsonl"
    header, *lines = map(json.loads, ledger.read_text().splitlines())
    header["provenance"] = {"remarks": [HOSTILE], "hosts": [HOSTILE], "versions": {HOSTILE: HOSTILE}}
    header["identity"][HOSTILE] = HOSTILE
    for line in lines:
        line |= {"task": HOSTILE, "worker": HOSTILE}
        line["error"] = HOSTILE if line["error"] else None
    ledger.write_text("".join(json.dumps(line) + "\n" for line in (header, *lines)))
    shown = shown_run(run)
    text = run_page(replace(shown, instructions={("fake", 0): HOSTILE}, commands={"again": HOSTILE}), run / "x.html")
    page = Page(text)
    assert not page.all("script")
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count("alert(1)") > 8


def test_what_replays_saw_is_shown_by_class_with_its_video_in_the_page(tmp_path):
    run = made_run(tmp_path / "r", MIXED)
    folder = run / "videos" / "fake" / "0"
    folder.mkdir(parents=True)
    (folder / "2.mp4").write_bytes(b"video")
    (folder / "2.jpg").write_bytes(b"picture")
    finding = {
        "episode_id": "fake/0/2",
        "trajectory_sha256": "f2",
        "failure_class": "missed_grasp",
        "why": "the gripper closed beside the bowl",
        "progress": [0.0, 0.5, 0.25],
        "stages": {"bowl": "reached"},
        "goal": ["On bowl plate"],
        "held": [[0, 0, 1]],
        "figures": {"path_m": 1.23456, "knocked_over": ["mug"]},
    }
    stale = {**finding, "episode_id": "fake/0/4", "trajectory_sha256": "another", "why": "of another trajectory"}
    lines = "\n".join(
        [json.dumps({**finding, "why": "an older look"}), json.dumps(finding), json.dumps(stale), "{torn"]
    )
    (run / "findings.jsonl").write_text(lines)
    page = page_of(report([run]))
    (video,) = page.all("video")
    assert video["src"] == f"data:video/mp4;base64,{base64.b64encode(b'video').decode()}"
    (picture,) = page.all("img")
    assert picture["src"].startswith("data:image/jpeg;base64,")
    assert "missed grasp: 1" in page.text
    assert CLASSES["missed grasp"] in page.text
    assert "the gripper closed beside the bowl" in page.text
    assert "an older look" not in page.text
    assert "of another trajectory" not in page.text
    assert "Progress as a table" in page.text
    for fact in (
        "bowl, furthest reached",
        "On bowl plate held at 33 % of the steps",
        "way of the hand 1.23 m",
        "knocked over mug",
    ):
        assert fact in page.text


def test_every_class_of_a_failure_is_said_in_words():
    assert set(CLASSES) == set(FailureClass)


def test_media_beyond_the_pages_size_stay_beside_it(tmp_path):
    paths = [tmp_path / "videos" / f"a {index}.mp4" for index in range(3)]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(b"x" * 100)
    embedder = Embedder(tmp_path / "report.html", most_bytes=250)
    assert [embedder.medium(path).is_inside for path in paths] == [True, True, False]
    assert embedder.medium(paths[2]).source == "videos/a%202.mp4"
    assert embedder.medium(paths[0]).is_inside
    assert embedder.medium(tmp_path / "gone.mp4") is None
    assert embedder.medium(tmp_path / "x.html") is None


def test_what_changes_how_a_rate_is_read_is_said_first(tmp_path):
    run = made_run(tmp_path / "r", "s" * 9 + "e", header={"is_starved": True}, is_reproducible=False)
    said = [(notice.level, notice.text) for notice in notices(shown_run(run))]
    assert ("warning", "5 of 15 planned episodes were not run yet") in said
    assert ("warning", "1 episode ended in errors, which are beside the rate") in said
    assert any("starved" in text for _, text in said)
    assert [level for level, _ in said] == sorted((level for level, _ in said), reverse=True)
    assert "go on with this run" in page_of(report([run])).text


def test_several_runs_have_compares_own_sentences_and_a_link_to_each(tmp_path, capsys):
    one, other = made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", "f" * 6 + "s" * 9, "policy.chunk_len=4")
    assert main(("report", str(one), str(other), "--out", str(tmp_path / "x.html"))) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "x.html")
    main(("compare", str(one), str(other)))
    sentence = capsys.readouterr().out.splitlines()[-1]
    page = page_of(tmp_path / "x.html")
    assert sentence.startswith("b is worse than a")
    assert sentence in page.text
    assert "Success over policy chunk len" in page.text
    links = [attributes["href"] for attributes in page.all("a") if not attributes["href"].startswith("#")]
    assert links == ["a/report.html", "b/report.html"]
    assert all((tmp_path / link).is_file() for link in links)


def test_runs_that_are_no_question_are_shown_with_the_reason(tmp_path):
    runs = [made_run(tmp_path / "a", ALL), made_run(tmp_path / "b", ALL, mujoco="3.3.0")]
    page = page_of(report(runs, tmp_path / "x.html"))
    assert "not comparable: a and b differ in more than what is compared" in page.text
    assert page.text.count("15/15") == 2


def test_a_sweep_is_drawn_over_what_is_swept(tmp_path):
    out = tmp_path / "sweep"
    steps = (0, 2, 10)
    for index, latency in enumerate(steps):
        words = ("execution.mode=async", f"execution.latency.steps={latency}")
        made_run(out / f"points/{index}", "s" * (15 - 5 * index) + "f" * 5 * index, *words)
    points = [{"folder": f"points/{index}", "values": {}} for index in range(3)]
    (out / "sweep.json").write_text(json.dumps({"axes": {}, "points": points}))
    page = page_of(report([out]))
    assert "Success over latency steps" in page.text
    assert "they are not all the same" in page.text


def test_a_duel_has_its_own_sentence_and_no_test_of_a_fixed_size(tmp_path):
    ids = [f"fake/{task}/{init}" for task in range(3) for init in range(5)]
    made_run(tmp_path / "a", ALL)
    made_run(tmp_path / "b", "f" * 12 + "s" * 3)
    duel = {"names": ["pi0", "pi05"], "alpha": 0.05, "order": ids, "prior": "x"}
    (tmp_path / "duel.json").write_text(json.dumps(duel))
    page = page_of(report([tmp_path]))
    assert "pi0 is better than pi05: 9 of 15 pairs, 0 won by pi05 alone, 9 by pi0 alone" in page.text
    assert "McNemar" not in page.text


def test_the_index_names_every_run_and_makes_what_it_links_to(tmp_path):
    made_run(tmp_path / "runs" / "x" / "one", ALL)
    made_run(tmp_path / "runs" / "two", MIXED)
    broken = made_run(tmp_path / "runs" / "broken", ALL, header={"schema_version": 0})
    page = page_of(report([tmp_path / "runs"]))
    links = [attributes["href"] for attributes in page.all("a") if not attributes["href"].startswith("#")]
    assert sorted(links) == ["two/report.html", "x/one/report.html"]
    assert all((tmp_path / "runs" / link).is_file() for link in links)
    assert f"{broken}/episodes.jsonl: expected schema version 1, got 0" in page.text
    # What is as new as its ledger is not made again.
    before = (tmp_path / "runs" / "two" / "report.html").stat().st_mtime_ns
    report([tmp_path / "runs"])
    assert (tmp_path / "runs" / "two" / "report.html").stat().st_mtime_ns == before


def test_mistakes_are_one_line_and_a_run_keeps_its_result_without_a_report(tmp_path, capsys):
    assert main(("report", str(tmp_path))) == 2
    assert "expected a run, a sweep, a duel, or a folder of runs, found none" in capsys.readouterr().err
    assert "expected a run, a sweep, a duel" in report_quietly(tmp_path)
    run = made_run(tmp_path / "r", ALL)
    (run / "report.html").mkdir()
    assert "expected to write, got Is a directory" in report_quietly(run)


def test_a_run_without_any_ended_episode_has_a_page(tmp_path):
    assert "so there is no rate" in page_of(report([made_run(tmp_path / "r", "")])).text


@pytest.mark.parametrize(
    ("high", "ticks"), [(280, [0, 50, 100, 150, 200, 250]), (1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, [0])]
)
def test_ticks_are_round(high, ticks):
    assert round_ticks(high) == pytest.approx(ticks)


def test_a_line_runs_from_corner_to_corner_of_its_axes():
    svg = str(line_chart("t", "d", [Series("", ((0, 0), (10, 1)))], Axis("x", 10), Axis("y", 1)))
    assert 'd="M66.0 236.0L466.0 12.0"' in svg


def test_steps_to_success_count_failures_below_the_line(tmp_path):
    found = steps_to_success(shown_run(made_run(tmp_path / "r", "sf", "tasks=[0]", "episodes_per_task=2")).results)
    # The curve ends at one half: half the episodes ever succeeded.
    assert "V124.0" in found.svg
    assert found.rows[0][1:5] == ("5", "5", "5", "5")


def test_pauses_between_sessions_are_left_out_of_the_timeline(tmp_path):
    shown = shown_run(made_run(tmp_path / "r", "ss", "tasks=[0]", "episodes_per_task=2"))
    times = ("2026-01-01T00:00:00+00:00", "2026-01-03T00:00:00+00:00")
    records = {
        key: {**record, "started_at": time, "wall_s": 10.0}
        for (key, record), time in zip(shown.records.items(), times, strict=True)
    }
    assert worker_timeline(replace(shown, records=records)).rows == (("worker-0", "2", "20 s", "100 %"),)


def test_batches_of_all_sessions_are_added():
    served = [{"batch_sizes": {"1": 2, "3": 1}, "batches": 3}, {"batch_sizes": {"1": 1}, "batches": 1}]
    assert batch_sizes(served).rows == (("1", "3", "75.0 %"), ("3", "1", "25.0 %"))
