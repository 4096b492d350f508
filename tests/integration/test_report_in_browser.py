"""Reports in a real Chromium: quiet on the console, no dead link, no finding of axe-core, on screen, phone, paper."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))
from made_runs import made_run

from ray_eval.driver.reporting import report
from ray_eval.watch.video import VideoBytes

pytestmark = pytest.mark.nightly
PHONE = {"viewport": {"width": 390, "height": 844}}
LOOKS = ({}, PHONE, {"color_scheme": "dark"})


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> list[Path]:
    runs = tmp_path_factory.mktemp("runs")
    words = ("execution.mode=async",)
    one = made_run(runs / "a", "ssfsfssssesssfs", *words, "execution.latency.steps=2")
    other = made_run(runs / "b", "ffffffsssssssss", *words, "execution.latency.steps=8")
    beside = one / "videos" / "fake" / "0"
    beside.mkdir(parents=True)
    (beside / "2.jpg").write_bytes(PIXEL)
    film = VideoBytes(20.0)
    for _ in range(9):
        film.append(np.zeros((328, 512, 3), np.uint8))
    (beside / "2.mp4").write_bytes(film.taken())
    (one / "findings.jsonl").write_text(json.dumps(FINDING) + "\n")
    return [report([one]), report([one, other], runs / "both.html"), report([runs])]


FINDING = {
    "episode_id": "fake/0/2",
    "trajectory_sha256": "f2",
    "failure_class": "missed grasp",
    "why": "the hand came to akita_black_bowl_1 and did not lift it",
    "progress": [0.0, 0.2],
    "stages": {"wooden_cabinet_1_middle_region": "reached"},
    "goal": ["In akita_black_bowl_1 wooden_cabinet_1_top_region"],
    "held": [[0, 0]],
    "figures": {"grip_n_max": 1543.1, "knocked_over": ["new_salad_dressing_1", "alphabet_soup_1"]},
}
"""Of one failure; its names are as long as LIBERO's."""
PIXEL = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300080606070605080707070909080a0c140d0c0b0b0c1912130f141d1a1f1e1d1a1c1c"
    "20242e2720222c231c1c2837292c30313434341f27393d38323c2e333432ffc0000b080001000101011100ffc4001f000001050101010101010000"
    "0000000000000102030405060708090a0bffc400b5100002010303020403050504040000017d0102030004110512213141061351610722711432"
    "8191a1082342b1c11552d1f02433627282090a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768"
    "696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6"
    "d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9faffda0008010100003f00fbd3ffd9"
)
"""The smallest JPEG: one grey pixel."""


@pytest.mark.parametrize("look", LOOKS, ids=["screen", "phone", "dark"])
def test_a_page_is_quiet_fits_and_has_no_finding(browser, pages, look):
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    for path in pages:
        context = browser.new_context(**look)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("pageerror", lambda error, said=said: said.append(str(error)))
        page.on("requestfailed", lambda request, said=said: said.append(request.url))
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), path
        found = [(each["impact"], each["id"]) for each in axe.run(page).response["violations"]]
        assert found == []
        assert said == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        context.close()


def test_every_link_leads_somewhere(browser, pages):
    page = browser.new_page()
    for path in pages:
        page.goto(path.as_uri())
        for address in page.eval_on_selector_all("a", "all => all.map(each => each.href)"):
            target, _, anchor = address.partition("#")
            assert target.startswith("file:")
            assert Path(re.sub("^file://", "", target)).is_file()
            assert not anchor or page.locator(f"[id='{anchor}']").count() == 1


def test_the_index_filters_and_sorts(browser, pages):
    page = browser.new_page()
    page.goto(pages[2].as_uri())
    rows = page.locator("#runs tbody tr:visible")
    assert page.locator("#count").inner_text() == "2 of 2 runs"
    page.get_by_label("Show runs that contain").fill("b rand")
    assert rows.count() == 1
    page.get_by_label("Show runs that contain").fill("")
    page.get_by_role("button", name="rate", exact=True).click()
    assert [rows.nth(index).locator("th").inner_text() for index in range(2)] == ["b", "a"]
    page.get_by_role("button", name="rate", exact=True).press("Enter")
    assert [rows.nth(index).locator("th").inner_text() for index in range(2)] == ["a", "b"]


def test_a_film_plays_in_the_page_and_its_last_frame_is_on_paper(browser, pages):
    page = browser.new_page()
    page.goto(pages[0].as_uri())
    plays = """async video => {
        video.muted = true
        await video.play()
        await new Promise(done => video.onended = done)
        return [video.duration, video.videoWidth, video.videoHeight, video.error]
    }"""
    assert page.locator("video").evaluate(plays) == [0.45, 512, 328, None]
    assert not page.locator("img.paper").is_visible()
    page.emulate_media(media="print")
    assert page.locator("img.paper").bounding_box()["width"] > 200
    assert not page.locator("video").is_visible()


@pytest.mark.parametrize("width", [390, 900])
def test_what_was_measured_stays_within_its_card(browser, pages, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(pages[0].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    card = page.locator(".card:has(table)").first
    assert card.evaluate("card => card.scrollWidth - card.clientWidth") <= 0
    # A row of a name and a value has room for both: neither is broken into single letters.
    cells = card.locator("tr > *").evaluate_all("cells => cells.map(cell => [cell.clientWidth, cell.clientHeight])")
    assert cells
    assert all(width_px > height_px for width_px, height_px in cells), cells


def test_on_paper_the_tables_of_the_plots_are_open(browser, pages):
    page = browser.new_page()
    page.goto(pages[0].as_uri())
    table = page.locator("figure details table").first
    assert not table.is_visible()
    page.emulate_media(media="print")
    assert table.bounding_box()["height"] > 20
    assert page.pdf(format="A4").startswith(b"%PDF")
