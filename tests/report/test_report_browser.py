"""The page in a real browser: quiet, alone, readable in both themes and on a phone, usable by keyboard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page
from report_folders import change

import tutelage
from tutelage.report import write_report

pytestmark = pytest.mark.browser

THEMES = ("light", "dark")
KINDS = ("study", "plain")
PHONE, DESK = (360, 740), (1280, 900)

# For every visible piece of text: its colour against the nearest background that is not transparent,
# as the ratio of relative luminances that WCAG 2 defines.
CONTRASTS = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map((c) => linear(c / 255));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.getClientRects().length) continue;
    if (element.closest("script, title, desc")) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [luminance(ink), luminance(behind(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 40), style.color]);
  }
  return found;
}"""


@contextmanager
def opened(browser: Browser, path: Path, *, size=DESK, theme="light", script=True) -> Iterator[Page]:
    """The report in a fresh context; what it says to the console, throws or asks for fails the test."""
    noise: list[str] = []
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=theme, java_script_enabled=script
    )
    try:
        page = context.new_page()
        page.on("console", lambda message: noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("request", lambda request: noise.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        yield page
    finally:
        context.close()
    asked = f"request: {path.as_uri()}"
    assert [line for line in noise if line not in (asked, "request: data:,")] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [PHONE, (390, 844), (768, 1024), DESK], ids=lambda size: f"{size[0]}px")
def test_the_page_is_quiet_and_never_wider_than_the_window(browser, request, kind, theme, size):
    """No error, no request but for the file itself, no sideways scrolling, with every detail open."""
    path = write_report(request.getfixturevalue(kind))
    with opened(browser, path, size=size, theme=theme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        # Nothing is cut off either: what sticks out of the window can be scrolled to in a box of its own.
        outside = page.evaluate(
            """() => [...document.querySelectorAll('main *')].filter((e) =>
                 e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre, .tip')
               ).map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert outside == []


def test_long_names_and_words_without_end_do_not_widen_the_page(browser, study):
    """Models repeat themselves without a blank, and people give arms long names."""
    long = "a_very_long_name_of_an_arm_that_somebody_gave_it_without_a_thought"

    def rename(results):
        results["arms"][2]["name"] = results["compared_with"] = long
        results["arms"] += [{**results["arms"][3], "name": f"{long}_{i}"} for i in range(6)]

    change(study, "results.json", rename)
    change(study, "texts.json", lambda texts: texts[0]["texts"][1].update(text="lo" * 400, writer=long))
    change(study, "heat.json", lambda heat: heat[1]["tokens"][9].update(token="lo" * 200))
    change(study, "run.json", lambda run: run["sentence"].update(teacher=f"the model {'x' * 90}"))
    change(study, "run.json", lambda run: run.update(recipe_hash="f" * 200, command="c" * 300))
    with opened(browser, write_report(study), size=PHONE) as page:
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


def every_shade(heat):
    """Change the first counted tokens so that each shade is there."""
    for token, nats in zip(heat[1]["tokens"][3:], (0.01, 0.05, 0.2, 0.5, 2.0, 5.0), strict=False):
        token["nats"] = nats


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [PHONE, DESK], ids=lambda size: f"{size[0]}px")
def test_every_text_stands_out_from_its_background(browser, study, theme, size):
    """At least 4.5 to 1: running text, tables, muted text, names in charts, ink on every shade."""
    change(study, "heat.json", every_shade)
    with opened(browser, write_report(study), size=size, theme=theme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        shades = page.evaluate(
            "[...new Set([...document.querySelectorAll('.heat .tok')].map((t) => t.className))].length"
        )
        assert shades == 7
        found = page.evaluate(CONTRASTS)
        assert len(found) > 300
        assert [row for row in found if row[0] < 4.5] == []


def test_the_dark_theme_is_dark_and_print_is_light(browser, study):
    """Paper is white whatever the screen was."""
    path = write_report(study)
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    with opened(browser, path, theme="light") as page:
        assert min(page.evaluate(background)) > 230
    with opened(browser, path, theme="dark") as page:
        assert max(page.evaluate(background)) < 50
        page.emulate_media(media="print")
        ink = page.evaluate("getComputedStyle(document.body).color.match(/\\d+/g).map(Number)")
        assert max(ink) < 60


def check_that_figures_have_words(page: Page) -> None:
    """Names, titles, descriptions and tables beside what is drawn."""
    unnamed = page.evaluate(
        "[...document.querySelectorAll('[role=img]')].filter((e) => !e.getAttribute('aria-label')).length"
    )
    assert unnamed == 0
    assert page.locator("svg.chart").count() > 0
    for svg in page.locator("svg:not([aria-hidden])").all():
        assert svg.get_attribute("role") == "img"
        assert svg.locator("> title").text_content()
        assert svg.locator("> desc").text_content()
    for figure in page.locator("figure.curves").all():
        tables, words = figure.locator("table").count(), figure.locator(".caption").all_text_contents()
        assert tables == 1 or all("from" in text for text in words)
    cells = page.locator(".heat .tok").count()
    assert page.locator("#after-heat details tbody tr").count() == cells > 50


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_says_in_words_what_it_shows(browser, request, kind):
    """An image has a name; a chart has a title and a description; a figure of numbers has them as a table."""
    with opened(browser, write_report(request.getfixturevalue(kind))) as page:
        check_that_figures_have_words(page)


def test_tokens_are_reached_and_left_by_keyboard(browser, study):
    """One stop of the Tab key, arrows from token to token, each shows its own tip, in the window."""
    with opened(browser, write_report(study), size=PHONE) as page:
        page.locator(".skip.inside").focus()
        page.keyboard.press("Tab")
        count = page.locator(".heat .tok").count()
        for i in range(count):
            place, tips, box = page.evaluate(
                """() => {
                  const tokens = [...document.querySelectorAll('.heat .tok')];
                  const tips = tokens.map((t) => t.querySelector('.tip'));
                  const open = tips.filter((t) => t.getClientRects().length);
                  const box = open[0].getBoundingClientRect();
                  const place = tokens.indexOf(document.activeElement);
                  return [place, open.length, [box.left, box.right, box.top, box.bottom]];
                }"""
            )
            assert (place, tips) == (i, 1)
            left, right, top, bottom = box
            assert left >= 0
            assert right <= PHONE[0]
            assert top >= 0
            assert bottom <= PHONE[1]
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('.heat')") is None


def test_without_script_the_tokens_are_still_reached_and_explained(browser, study):
    """Every token is a stop of the Tab key, and its tip opens."""
    with opened(browser, write_report(study), size=PHONE, script=False) as page:
        tokens = page.locator(".heat .tok")
        page.locator(".skip.inside").focus()
        for i in range(5):
            page.keyboard.press("Tab")
            assert tokens.nth(i).locator(".tip").is_visible()
        assert page.locator(".tip:visible").count() == 1
        assert "nats" in tokens.nth(4).locator(".tip").inner_text()
        assert all(token.get_attribute("tabindex") == "0" for token in tokens.all())


def test_a_script_in_a_text_of_a_model_does_not_run(browser, study):
    """Escaped by the template, and forbidden by the page's own policy."""
    evil = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
    change(study, "texts.json", lambda texts: texts[0]["texts"][0].update(text=evil))
    change(study, "heat.json", lambda heat: heat[1]["tokens"][5].update(token=evil))
    with opened(browser, write_report(study)) as page:
        assert page.title() == "run: a report by tutelage"
        assert page.locator("script").count() == 1
        assert evil in page.locator(".text").first.inner_text()


def test_a_pointer_over_a_chart_reads_off_the_means(browser, study):
    """The tip shows a step and the mean of each arm there, as the table below does."""
    with opened(browser, write_report(study)) as page:
        figure = page.locator("figure.curves").first
        figure.locator("svg.chart").first.hover()
        shown = page.locator(".readout.on").inner_text().split("\n")
        step = shown[1]
        row = figure.locator("tbody tr").filter(has=page.locator(f"th:text-is('{step}')"))
        told = [cell.split(" ")[0] for cell in row.locator("td").all_text_contents()]
        assert shown[::2] == ["step", "sft", "forward_kl", "jensen_shannon"]
        assert shown[3::2] == told
        page.mouse.move(5, 5)
        assert page.locator(".readout.on").count() == 0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the demo itself, two steps of one seed, on a few of its stories."""
    return tutelage.distil(
        "demo",
        out=tmp_path_factory.mktemp("demo") / "run",
        seeds=[0],
        samples={"max_rows": 16},
        training={"max_steps": 2, "warmup_steps": 0, "logging_steps": 1, "eval_steps": 1},
        evaluation={"max_rows": 4, "max_new_tokens": 8},
    )


@pytest.mark.slow
@pytest.mark.parametrize("size", [PHONE, DESK], ids=lambda size: f"{size[0]}px")
def test_the_report_of_a_real_demo_is_whole(browser, demo, size):
    """Not what our tests think that a run writes, but what it writes: every section, quiet, and no wider."""
    with opened(browser, demo / "report.html", size=size) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert page.locator(".headline").inner_text()
        arms = ["untouched", "sft", "forward_kl", "jensen_shannon"]
        for table in page.locator("table.arms").all():
            assert [row.get_attribute("data-arm") for row in table.locator("tr[data-arm]").all()] == arms
        assert page.locator("table.arms").count() == 3
        check_that_figures_have_words(page)
        # The map is that of the arm in the headline, which is never the control arm.
        told = page.locator("#tokens > p").first.inner_text()
        arm = told.removeprefix("Where ").partition(" ")[0]
        assert arm in ("forward_kl", "jensen_shannon")
        assert f": {arm} " in page.locator(".headline").inner_text()
        writers = page.locator(".prompt").first.locator("h3").all_inner_texts()
        assert [writer.split()[0] for writer in writers] == ["teacher", *arms]


@pytest.mark.slow
def test_the_report_of_a_real_demo_says_what_the_models_and_data_are(browser, demo):
    """Sizes of both models; what the package brings by its name and not by a path of this machine."""
    with opened(browser, demo / "report.html") as page:
        facts = page.locator(".facts").inner_text()
        assert "student: 692 thousand parameters" in facts
        assert "teacher: 3.75 million parameters" in facts
        files = page.locator("#provenance table tbody th").all_inner_texts()
        assert files == ["package:demo/data/train.txt.gz", "package:demo/data/valid.txt.gz"]
        recipe = yaml.safe_load(page.locator("#provenance pre").text_content() or "")
        assert recipe["evaluation"]["data"] == "package:demo/data/valid.txt.gz"
        assert recipe["teacher"]["model"] == "package:demo/teacher"
    installed = str(Path(tutelage.__file__).parent)
    for name in ("run.json", "results.json", "report.html"):
        assert installed not in (demo / name).read_text(encoding="utf-8"), name
