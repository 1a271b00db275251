"""The page in a real browser: what it paints and tells is what was computed, by pointer and keyboard."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from intgrads.call import Reply
from intgrads.service import Service
from playwright.sync_api import Browser, Locator, Page
from shared.browser import opened
from shared.texts import bert_service, xlnet_service
from shared.toys import json_call, pixels, small_service, told

PICTURE: dict[str, Any] = {"img_data": pixels(8, 10).tolist(), "n_steps": 12, "target_class": [0, 1]}
GROUPS: dict[str, Any] = {"groups": (np.arange(80).reshape(8, 10) // 20).tolist()}
TEXT: dict[str, Any] = {"sequence": "The camera isn't good, but I like it!", "n_steps": 12}
TREE = {"groups": "(S (NP (DT The) (NN camera)) (VP (VBZ is) (RB n't) (JJ good)) (, ,) (S but I like it !))"}
LONG = {"sequence": "The film was good. " * 60, "n_steps": 2}
SERVICE = small_service()
TEXTS = bert_service()
OF_ANY_LENGTH = xlnet_service()


def answered(**content: Any) -> Reply:
    service: Service[Any] = TEXTS if "sequence" in content else SERVICE
    (reply,) = service.answer([json_call(**content)])
    assert reply.status == 200, reply.body
    return reply


def figures(**content: Any) -> Any:
    return told(answered(**content, format="json"))


def number(text: str) -> float:
    return float(text.replace("−", "-").replace("%", "").split("±")[0])


def box_of(element: Locator) -> Any:
    return element.bounding_box()


def background(element: Locator) -> str:
    return str(element.evaluate("element => element.style.background"))


def test_the_pointer_and_the_arrows_tell_the_value_of_a_pixel(browser: Browser, tmp_path: Path) -> None:
    maps = np.array(figures(**PICTURE, fields=["integrated_grads"])["integrated_grads"])[:, 0].sum(1)
    with opened(browser, tmp_path, answered(**PICTURE, format="html")) as page:
        stage = page.locator(".panel .stage").first
        box = box_of(stage)
        for row, column in ((0, 0), (3, 7), (7, 9)):
            stage.hover(position={"x": box["width"] * (column + 0.5) / 10, "y": box["height"] * (row + 0.5) / 8})
            for t, said in enumerate(page.locator(".panel:not(.difference) .told").all_inner_texts()):
                assert said.startswith(f"x {column}, y {row} of the picture: ")
                value = number(said.split(": ")[1].split(";")[0])
                assert value == pytest.approx(maps[t, row, column], rel=6e-3, abs=np.abs(maps[t]).max() / 3e4)
        stage.focus()
        page.keyboard.press("ArrowUp")
        assert page.locator(".panel .told").first.inner_text().startswith("x 9, y 6 of the picture")


def test_the_difference_of_two_targets_is_theirs(browser: Browser, tmp_path: Path) -> None:
    maps = np.array(figures(**PICTURE, fields=["integrated_grads"])["integrated_grads"])[:, 0].sum(1)
    with opened(browser, tmp_path, answered(**PICTURE, format="html")) as page:
        panel = page.locator(".difference")
        panel.locator(".stage").focus()
        first = number(panel.locator(".told").inner_text().split(": ")[1].split(";")[0])
        assert first == pytest.approx((maps[0] - maps[1])[4, 5], rel=6e-3, abs=np.abs(maps).max() / 1e4)
        panel.locator("[name=second]").select_option("0")
        panel.locator(".stage").hover()
        assert number(panel.locator(".told").inner_text().split(": ")[1].split(";")[0]) == 0


def test_a_map_is_painted_blue_where_it_is_above_zero_and_a_contour_holds_its_share(
    browser: Browser, tmp_path: Path
) -> None:
    with opened(browser, tmp_path, answered(**PICTURE, format="html")) as page:
        page.locator("[value=signed]").check()
        painted = page.locator(".panel canvas").first.evaluate(
            "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
        )
        red, _, blue, _ = np.array(painted).reshape(8, 10, 4).transpose(2, 0, 1)
        stage = page.locator(".panel .stage").first
        stage.focus()
        said = page.locator(".panel .told").first.inner_text()
        smoothed = number(said.split("smoothed ")[1])
        assert np.sign(int(blue[4, 5]) - int(red[4, 5])) == np.sign(smoothed)
        assert page.locator(".panel .frame").first.get_attribute("d") in (None, "")
        page.locator("[name=contour]").fill("50")
        assert "carries 50 % of the attribution" in page.locator(".area").inner_text()
        assert page.locator(".panel .frame").first.get_attribute("d")
        page.locator("[value=magnitude]").check()
        assert page.locator(".picture .ticks").inner_text().startswith("0\n")
        assert "Bright: moved the output much" in page.locator(".picture .meaning").inner_text()


def test_the_path_ends_at_the_integral(browser: Browser, tmp_path: Path) -> None:
    told = figures(**PICTURE)
    with opened(browser, tmp_path, answered(**PICTURE, format="html")) as page:
        said = page.locator(".path .told")
        page.locator("[name=alpha]").fill("11")
        total = told["difference"][0] + told["convergence_delta"][0]
        assert number(said.inner_text().split("accumulated so far ")[1].split(" of ")[0]) == pytest.approx(
            total, rel=6e-3
        )
        end = said.inner_text()
        page.locator("[name=alpha]").fill("0")
        assert said.inner_text().startswith("α = 0.0")
        assert said.inner_text() != end
        page.locator("[name=alpha]").press("ArrowRight")
        assert number(said.inner_text().split("α = ")[1].split(":")[0]) > 0.02
        page.locator("[name=path-target]").select_option("1")
        page.locator("[name=alpha]").fill("11")
        total = told["difference"][1] + told["convergence_delta"][1]
        assert number(said.inner_text().split(" of ")[1]) == pytest.approx(total, rel=6e-3)


def test_groups_are_ranked_by_the_quantity_that_is_chosen_and_lit_both_ways(browser: Browser, tmp_path: Path) -> None:
    told = figures(**PICTURE, **GROUPS)["groups"][:-1]
    with opened(browser, tmp_path, answered(**PICTURE, **GROUPS, format="html")) as page:
        rows = page.locator(".ranking tbody tr")
        for name, field in (("value", "value"), ("dividend", "dividend"), ("idg", "idg")):
            page.locator("[name=figure]").select_option(name)
            shown = [number(text) for text in page.locator(".ranking tbody td:last-child").all_inner_texts()]
            expected = sorted((group[field][0] for group in told), key=abs, reverse=True)
            assert shown == pytest.approx(expected, rel=6e-3)
        page.locator("[name=group-target]").select_option("1")
        shown = [number(text) for text in page.locator(".ranking tbody td:last-child").all_inner_texts()]
        assert shown == pytest.approx(sorted((group["idg"][1] for group in told), key=abs, reverse=True), rel=6e-3)
        page.locator("path.group[data-row='2']").hover()
        assert page.locator(".ranking tr.lit").get_attribute("data-row") == "2"
        rows.first.hover()
        first = rows.first.get_attribute("data-row")
        assert page.locator("path.group.lit").get_attribute("data-row") == first
        page.locator(".ranking").locator("xpath=..").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.locator("path.group.lit").get_attribute("data-row") == rows.nth(1).get_attribute("data-row")
        assert len(page.locator(".ranks text").all()) == len(told)


def test_words_tell_their_scores_by_pointer_and_keyboard(browser: Browser, tmp_path: Path) -> None:
    told = figures(**TEXT)
    with opened(browser, tmp_path, answered(**TEXT, format="html")) as page:
        words, said = page.locator(".text .words"), page.locator(".text .told")
        words.locator("[data-word='1']").hover()
        assert said.inner_text().startswith("“camera”: ")
        assert number(said.inner_text().split(": ")[1]) == pytest.approx(told["word_scores"][1], rel=6e-3)
        words.focus()
        page.keyboard.press("End")
        assert said.inner_text().startswith(f"“{told['words'][-1]}”")
        page.keyboard.press("ArrowLeft")
        assert said.inner_text().startswith(f"“{told['words'][-2]}”")
        for k, score in enumerate(told["word_scores"]):
            assert ("--up" if score >= 0 else "--down") in background(words.locator(f"[data-word='{k}']"))


def test_a_tree_lights_its_words_and_a_word_its_phrase(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, tmp_path, answered(**TEXT, **TREE, format="html")) as page:
        page.locator(".node", has_text="VP").hover()
        assert page.locator(".text .word.lit").all_inner_texts() == ["isn't", "good"]
        assert "VP isn't good" in page.locator(".groups .told").inner_text()
        page.locator(".text [data-word='1']").hover()
        assert page.locator(".node.lit").all_text_contents() == ["camera"]


def test_a_long_text_is_folded_and_its_strip_leads_to_any_word(browser: Browser, tmp_path: Path) -> None:
    (reply,) = OF_ANY_LENGTH.answer([json_call(**LONG, format="html")])
    with opened(browser, tmp_path, reply) as page:
        words = page.locator(".text .words")
        assert words.evaluate("element => element.scrollHeight > element.clientHeight")
        box = box_of(page.locator(".strip"))
        page.locator(".strip").click(position={"x": box["width"] * 0.9, "y": 5})
        assert words.evaluate("element => element.scrollTop") > 0
        here = page.locator(".text .word.here")
        inside = box_of(here)
        around = box_of(words)
        assert around["y"] <= inside["y"] <= around["y"] + around["height"]


@pytest.mark.parametrize("content", [PICTURE, PICTURE | GROUPS, TEXT], ids=["a picture", "groups", "a text"])
def test_what_is_taken_away_is_what_was_computed(browser: Browser, tmp_path: Path, content: dict[str, Any]) -> None:
    told = figures(**content)

    def download(page: Page, name: str) -> str:
        with page.expect_download() as waiting:
            page.locator(f"[data-take={name}]").click()
        return str(waiting.value.path())

    with opened(browser, tmp_path, answered(**content, format="html")) as page:
        saved = json.loads(Path(download(page, "json")).read_text())
        assert {name: saved[name] for name in ("difference", "target_label")} == {
            name: told[name] for name in ("difference", "target_label")
        }
        with Path(download(page, "csv")).open(newline="") as file:
            rows = list(csv.DictReader(file))
        if "sequence" in content:
            assert [float(row["score"]) for row in rows] == pytest.approx(told["word_scores"])
            assert [row["word"] for row in rows] == told["words"]
        elif "groups" in content:
            assert [float(row["value"]) for row in rows[:4]] == pytest.approx([g["value"][0] for g in told["groups"]])
        else:
            sums = [sum(float(row["attribution"]) for row in rows[k * 80 : k * 80 + 80]) for k in range(2)]
            expected = np.array(told["difference"]) + np.array(told["convergence_delta"])
            assert sums == pytest.approx(expected.tolist(), rel=1e-3)
        if "sequence" not in content:
            assert Path(download(page, "png")).read_bytes().startswith(b"\x89PNG")
        page.locator("[data-take=curl]").click()
        page.locator(".take output", has_text="cop").wait_for()
        assert "/predictions/" in page.locator(".command").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "content",
    [
        PICTURE | GROUPS,
        PICTURE | {"baseline": ["black", "white"], "target_class": 0},
        TEXT | TREE,
        TEXT | {"sequence": ["Good.", "Bad <b>&"]},
    ],
    ids=["groups", "baselines", "a tree", "two texts"],
)
def test_nothing_shuts_anybody_out(browser: Browser, tmp_path: Path, content: dict[str, Any], scheme: str) -> None:
    with opened(browser, tmp_path, answered(**content, format="html"), scheme) as page:
        found = Axe().run(page).response["violations"]
        assert not [(one["id"], one["nodes"][0]["html"]) for one in found]


def test_the_policy_of_a_page_runs_its_own_script_alone(browser: Browser, tmp_path: Path) -> None:
    reply = answered(**TEXT, format="html")
    body = b"".join(reply.body).replace(b"</main>", b"<script>document.title = 'run'</script></main>")
    (tmp_path / "page.html").write_bytes(body)
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.title() != "run"
    assert page.locator(".ticks span").count() == 5  # drawn by the page's own
    page.close()
