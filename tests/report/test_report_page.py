"""The page as text: whole, deterministic, escaped, and made of the files alone."""

import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser

import pytest
import yaml
from report_folders import change, write_plain

from tutelage.citations import PAPERS
from tutelage.errors import TutelageError
from tutelage.report import write_report

VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}
SECTIONS = {"answer", "arms", "curves", "tokens", "texts", "provenance", "papers"}


class Document(HTMLParser):
    """What a page consists of; a tag that closes another than the open one is an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.text = [], Counter(), [], ""
        self.rows, self.addresses = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        assert len(named) == len(attrs), f"<{tag}> says an attribute twice"
        self.tags[tag] += 1
        self.ids += [named["id"]] if "id" in named else []
        self.addresses += [named[name] for name in ("src", "href") if name in named]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append((named.get("data-arm"), []))
        elif tag == "td":
            self.rows[-1][1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if "td" in self.open:
            self.rows[-1][1][-1] += f"{data.strip()} "


def document(folder):
    """The report of a folder, parsed."""
    return Document(write_report(folder).read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["study", "plain"])
def test_the_page_is_well_formed_and_its_ids_are_its_own(kind, request):
    """Every tag is closed by its like, no id stands twice, every link inside leads somewhere."""
    page = document(request.getfixturevalue(kind))
    assert max(Counter(page.ids).values()) == 1
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)


def test_the_same_files_give_the_same_bytes(study, tmp_path):
    """No clock, no path, no order of a set gets into a page; a copy elsewhere gives the same."""
    first = write_report(study).read_bytes()
    assert write_report(study).read_bytes() == first
    elsewhere = shutil.copytree(study, tmp_path / "deep" / study.name)
    assert write_report(str(elsewhere)).read_bytes() == first


def test_the_path_that_comes_back_is_the_report(study):
    """`tutelage run` prints it; nothing else is left beside it."""
    before = set(study.iterdir())
    path = write_report(study)
    assert set(study.iterdir()) - before == {path} == {study / "report.html"}


@pytest.mark.parametrize("kind", ["study", "plain"])
def test_a_page_names_no_address_but_those_a_reader_may_click(kind, request):
    """Links go to papers; nothing is loaded."""
    page = document(request.getfixturevalue(kind))
    outside = [address for address in page.addresses if not address.startswith(("#", "data:,"))]
    assert outside
    assert all(re.match(r"https://(arxiv\.org/abs|doi\.org)/", address) for address in outside)
    assert not {"img", "iframe", "object", "embed", "video", "audio", "base"} & set(page.tags)


def test_the_five_words_are_one_sentence(study):
    """The first thing a reader reads."""
    text = " ".join(document(study).text.split())
    assert (
        "The teacher is the model tutelage-demo/teacher; the divergence, forward KL; the samples, "
        "the data set tinystories; the constraint, none; the plan, none."
    ) in text


def test_the_printed_means_are_those_of_the_results(study):
    """From the file to the cell, through everything between."""
    arms = json.loads((study / "results.json").read_text())["arms"]
    rows = [(name, cells) for name, cells in document(study).rows if name is not None]
    shown = iter(rows)
    for metric, scale, digits in (("student_nats", 1, 4), ("forward_kl_nats", 1, 4), ("agreement", 100, 2)):
        for arm in arms:
            name, cells = next(shown)
            assert name == arm["name"]
            values = arm["numbers"][metric]
            assert cells[0].startswith(f"{scale * sum(values) / len(values):.{digits}f}")


@pytest.mark.parametrize(
    ("missing", "gone"), [("texts.json", {"texts"}), ("heat.json", {"tokens"}), ("results.json", {"arms"})]
)
def test_a_section_without_its_file_is_left_out(study, missing, gone):
    """And no other goes with it."""
    assert set(document(study).ids) >= SECTIONS
    (study / missing).unlink()
    assert SECTIONS - set(document(study).ids) == gone


def test_a_run_with_nothing_but_a_beginning_has_a_report(tmp_path):
    """`run.json` alone says what was started."""
    folder = write_plain(tmp_path / "run", finished=False)
    (folder / "metrics.jsonl").unlink()
    change(folder, "run.json", lambda run: [run.pop(key) for key in list(run) if key != "sentence"])
    page = document(folder)
    assert SECTIONS & set(page.ids) == {"answer", "provenance"}
    assert "No result yet" in page.text


@pytest.mark.parametrize("best", ["forward_kl", "jensen_shannon"])
def test_the_tokens_are_those_of_the_arm_in_the_headline(study, best):
    """Whatever its place among the arms; where it has no map, that of another, which the page names."""

    def win(results):
        for d in results["differences"]:
            if d["arm"] == best:
                d.update(mean=-9, low=-9.1, high=-8.9)

    change(study, "results.json", win)
    page = document(study)
    assert f": {best} needs" in page.text
    assert f"Where {best} (seed 0) and the teacher still differ" in page.text
    change(study, "heat.json", lambda drawn: drawn.remove(next(one for one in drawn if one["arm"] == best)))
    assert "Where sft (seed 0) and the teacher still differ" in document(study).text


def test_what_a_model_wrote_stays_text(study):
    """Neither a text, a token, a prompt, an arm nor a path becomes an element."""
    plain = document(study).tags
    evil = "<script>alert('owned')</script><img src=x onerror=alert(1)>"

    def poison(place):
        def put(content):
            for key in place[:-1]:
                content = content[key]
            content[place[-1]] = evil

        return put

    change(study, "texts.json", poison([0, "texts", 1, "text"]))
    change(study, "texts.json", poison([0, "prompt"]))
    change(study, "texts.json", poison([1, "texts", 0, "writer"]))
    change(study, "heat.json", poison([1, "tokens", 4, "token"]))
    change(study, "heat.json", poison([1, "tokens", 5, "student", 0]))
    change(study, "results.json", poison(["arms", 2, "what"]))
    change(study, "results.json", poison(["arms", 3, "name"]))
    change(study, "results.json", poison(["noise_floor", "how"]))
    change(study, "run.json", poison(["sentence", "teacher"]))
    change(study, "run.json", poison(["data", 0, "path"]))
    change(study, "run.json", poison(["recipe", "out"]))
    page = document(study)
    assert page.tags["script"] == plain["script"] == 1
    assert page.tags["img"] == 0
    assert page.text.count(evil) >= 8


def test_the_recipe_on_the_page_is_the_recipe(study):
    """It can be copied into a file and run again."""
    text = write_report(study).read_text(encoding="utf-8")
    inside = re.search(r'aria-label="Recipe in YAML">(.*?)</pre>', text, re.DOTALL)
    assert inside is not None
    shown = Document(f"<pre>{inside[1]}</pre>").text
    assert yaml.safe_load(shown) == json.loads((study / "run.json").read_text())["recipe"]


def test_every_paper_is_named_with_its_bibtex(study):
    """Known keys are cited in full; an unknown key is still named."""
    change(study, "run.json", lambda run: run["papers"].append("a-paper-of-next-year"))
    text = document(study).text
    for key in ("hinton", "jensen-shannon", "gkd"):
        assert PAPERS[key].title in text
        assert PAPERS[key].bibtex() in text
    assert "a-paper-of-next-year" in text


def test_every_hash_and_version_of_the_provenance_is_shown(study):
    """Nothing that is needed to run it again is cut short."""
    run = json.loads((study / "run.json").read_text())
    text = document(study).text
    for needed in (run["recipe_hash"], run["command"], run["data"][0]["sha256"], *run["versions"].values()):
        assert needed in text


def test_a_report_that_cannot_be_written_leaves_the_older_one(study):
    """A folder in its place is an error in three lines, and no half file stays behind."""
    (study / "report.html").mkdir()
    with pytest.raises(TutelageError, match=r"report\.html: cannot be written"):
        write_report(study)
    assert not list(study.glob(".*"))
