"""A reproduction from the command line: its whole path in little, killed and gone on with."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest

from tutelage.cli import answered
from tutelage.errors import TutelageError
from tutelage.reproductions import TABLE
from tutelage.reproductions.claims import Claim, less
from tutelage.reproductions.pages import BEGIN, END, figures, pages, section, write_pages
from tutelage.reproductions.paired import Below, Ratio
from tutelage.reproductions.parts import Column, Course, Outcome, Piece, Plane, Reproduction
from tutelage.reproductions.record import PROVES_NOTHING, recorded
from tutelage.reproductions.running import Board, Clock
from tutelage.reproductions.work import Work

NAMES = list(TABLE)
ARMS = {"one": 1.0, "two": 3.0}


def command(name: str, out: Path) -> list[str]:
    """A smoke test of a reproduction."""
    return [sys.executable, "-m", "tutelage", "reproduce", name, "--smoke", "--json", "--out", str(out)]


def smoked(name: str, out: Path) -> dict[str, Any]:
    """The document that a smoke test prints."""
    done = subprocess.run(command(name, out), capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """MiniLLM's smoke test, not interrupted."""
    return smoked("minillm", tmp_path_factory.mktemp("whole"))


def plain(record: dict[str, Any]) -> Any:
    """All numbers of all arms but how long they took."""
    return [
        (arm["set_up"], arm["name"], {key: n for key, n in arm["numbers"].items() if key != "cpu_seconds"})
        for arm in record["arms"]
    ]


@pytest.mark.long
def test_a_smoke_test_has_every_arm_and_says_that_it_proves_nothing(whole: dict[str, Any]) -> None:
    """The contract's document: arms x seeds, claims, command, versions, minutes."""
    of = TABLE.load("minillm")()
    assert whole["smoke"] == PROVES_NOTHING
    assert [claim["name"] for claim in whole["claims"]] == [claim.name for claim in of.claims]
    assert {claim["verdict"] for claim in whole["claims"]} == {PROVES_NOTHING}
    wanted = [piece.name for piece in of.pieces(Path("x"), 0, True) if piece.shown]
    assert [f"{arm['set_up']}/{arm['name']}" for arm in whole["arms"]] == wanted
    for arm in whole["arms"]:
        assert all(len(values) == 1 for values in arm["numbers"].values())
        assert {column.number for column in of.columns} <= set(arm["numbers"])
    assert whole["command"].startswith("tutelage reproduce minillm --smoke")
    assert whole["seeds"] == [0]
    assert whole["versions"]["torch"]
    assert whole["minutes"] > 0


@pytest.mark.long
def test_f_distill_takes_the_same_path(tmp_path: Path) -> None:
    """Every arm has numbers, each teacher measured beside itself has no divergence."""
    record = smoked("f-distill", tmp_path)
    assert record["smoke"] == PROVES_NOTHING
    teachers = [arm for arm in record["arms"] if arm["name"].startswith("teacher")]
    assert all(abs(arm["numbers"]["js_bound"][0]) < 1e-6 for arm in teachers)
    assert json.loads((tmp_path / "f-distill-smoke.json").read_text()) == record


@pytest.mark.long
def test_taid_takes_the_same_path(tmp_path: Path) -> None:
    """Every arm has numbers and every TAID arm its t; the larger teacher beside itself has no divergence."""
    record = smoked("taid", tmp_path)
    assert record["smoke"] == PROVES_NOTHING
    arms = {(arm["set_up"], arm["name"]): arm for arm in record["arms"]}
    for measure in ("forward_kl", "reverse_kl"):
        assert abs(arms["before", "teacher_L"]["numbers"][measure][0]) < 1e-6
    assert {place for place, arm in arms.items() if "courses" in arm} == {
        *(("L", name) for name in ("taid_linear", "taid_exponential", "taid_adaptive", "blend")),
        ("S", "taid_adaptive"),
    }
    shares = {name: arms["L", name]["courses"]["t"] for name in ("taid_exponential", "blend")}
    assert shares["blend"] == shares["taid_exponential"]
    assert all("intervals" in claim for claim in record["claims"])
    assert json.loads((tmp_path / "taid-smoke.json").read_text()) == record


@pytest.mark.slow
def test_delta_kd_takes_the_same_path(tmp_path: Path) -> None:
    """Every arm has numbers; the aligned model is at no distance from itself; arms differ as they say."""
    record = smoked("delta-kd", tmp_path)
    assert record["smoke"] == PROVES_NOTHING
    arms = {(arm["set_up"], arm["name"]): arm["numbers"] for arm in record["arms"]}
    columns = {column.number for column in TABLE.load("delta-kd")().columns}
    assert all(columns <= set(numbers) for (set_up, _), numbers in arms.items() if set_up == "A")
    assert abs(arms["teachers", "aligned"]["kl"][0]) < 1e-6
    assert abs(arms["teachers", "base"]["kl_base"][0]) < 1e-6
    assert {name for set_up, name in arms if set_up == "teachers"} == {
        *("base", "aligned", "delta_0.5", "delta_1", "delta_1.5")
    }
    run = tmp_path / "delta-kd-smoke" / "seed-0" / "A" / "delta_sft" / "run.json"
    recipe = json.loads(run.read_text())["recipe"]
    assert recipe["teacher"]["kind"] == "delta"
    assert recipe["teacher"]["onto"] == "initial_student"
    assert [(term["divergence"]["kind"], term["weight"]) for term in recipe["objective"]] == [
        ("forward_kl", 0.5),
        ("cross_entropy", 0.5),
    ]
    assert all("intervals" in claim for claim in record["claims"])
    assert json.loads((tmp_path / "delta-kd-smoke.json").read_text()) == record


@pytest.mark.long
def test_a_killed_reproduction_goes_on_where_it_was(whole: dict[str, Any], tmp_path: Path) -> None:
    """SIGKILL amid its pieces: its processes end, what was done is kept, the numbers are the same."""
    running = subprocess.Popen(
        command("minillm", tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    results = tmp_path / "minillm-smoke" / "seed-0" / "results"
    until = time.monotonic() + 300
    while len(list(results.rglob("*.json"))) < 8:
        assert running.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)
    hands = psutil.Process(running.pid).children(recursive=True)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    _, alive = psutil.wait_procs(hands, timeout=30)
    assert not alive, "a process went on without the one that had started it"
    done = {path: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    assert len(done) < len(whole["arms"])
    again = smoked("minillm", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert plain(again) == plain(whole)


def little(record: list[str]) -> Reproduction:
    """Two arms after a start, in no time."""

    def do(name: str, value: float) -> Any:
        def done() -> dict[str, float]:
            record.append(name)
            return {"x": value, "y": 2 * value, "z": math.nan}

        return done

    def made(folder: Path, seed: int, smoke: bool) -> list[Piece]:
        return [
            Piece("s/one", "the first", do("one", 1.0 + seed), {"smoke": smoke}, ("start",)),
            Piece("start", "before", do("start", 0.0), {}, (), shown=False),
            Piece("s/two", "the second", do("two", 3.0 + seed), {}, ("s/one",)),
        ]

    return Reproduction(
        name="minillm",
        paper="minillm",
        about=("About.",),
        pieces=made,
        claims=(
            Claim("c", "One is less than two", "x of one below x of two", {"x": less("s/one", "s/two", "x")}),
        ),
        columns=(Column("x", "X", 1, "one"), Column("y", "Y", 0, "two"), Column("z", "Z", 1, "never there")),
        planes=(Plane("s", "x", "y", "A plane", "Look."),),
        set_ups={"s": "a set-up"},
        notes=("A note.",),
    )


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """The little reproduction in a folder, three seeds."""
    of = little([])
    monkeypatch.setattr(Work, "reproduction", property(lambda self: of))
    return Work("minillm", tmp_path / "work", (0, 1, 2), False)


def test_pieces_are_taken_when_what_they_need_is_there(work: Work) -> None:
    """In order; whoever finds none waits until one is done; when all are taken there is nothing left."""
    board = Board.of(work)
    assert board.take() == (0, "start")
    assert board.take() == (1, "start")
    board.give((0, "start"))
    assert board.take() == (0, "s/one")
    assert board.take() == (2, "start")
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(board.take()))
    waiting.start()
    board.give((1, "start"))
    waiting.join(10)
    assert found == [(1, "s/one")]


def test_what_is_the_same_for_every_seed_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands on the board once, all seeds wait for it, and all have its numbers and courses."""
    record: list[str] = []
    of = little(record)

    def made(folder: Path, seed: int, smoke: bool) -> list[Piece]:
        start, *arms = sorted(of.pieces(folder, seed, smoke), key=lambda piece: piece.name != "start")
        told = Outcome({"x": 7.0}, courses={"c": [(1, 0.5)]})
        before = Piece("s/before", "shared", lambda: record.append("before") or told, {}, shared=True)
        return [before, dataclasses.replace(start, needs=("s/before",)), *arms]

    both = dataclasses.replace(of, pieces=made)
    monkeypatch.setattr(Work, "reproduction", property(lambda self: both))
    work = Work("minillm", tmp_path / "work", (4, 5), False)
    board = Board.of(work)
    assert board.total == 1 + 2 * 3
    assert board.take() == (4, "s/before")
    work.do(4, "s/before")
    board.give((4, "s/before"))
    assert [board.take(), board.take()] == [(4, "start"), (5, "start")]
    for seed in work.seeds:
        for name in ("start", "s/one", "s/two"):
            work.do(seed, name)
    assert not Board.of(work).open
    assert record.count("before") == 1
    (arm,) = (arm for arm in recorded(work, 1.0, "x")["arms"] if arm["name"] == "before")
    assert arm["numbers"] == {"x": [7.0, 7.0]}
    assert arm["courses"] == {"c": [[[1, 0.5]]] * 2}


def test_pieces_that_end_at_the_same_moment_keep_one_time(tmp_path: Path) -> None:
    """Sixteen threads write the minutes at once, and all of them can."""
    clock = Clock(tmp_path / "minutes.json", before=3.0)
    together = threading.Barrier(16)

    def keep(_: int) -> None:
        together.wait(10)
        clock.keep()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(keep, range(16)))
    assert Clock(tmp_path / "minutes.json").before == pytest.approx(3.0, abs=0.1)


def test_a_longer_version_goes_on_from_the_minutes_of_the_usual_one(tmp_path: Path) -> None:
    """And has a file of its own from then on: the usual minutes stay what they were."""
    Clock(tmp_path / "minutes.json", before=3.0).keep()
    longer = Clock(tmp_path / "minutes-full.json", since=tmp_path / "minutes.json")
    assert longer.before == pytest.approx(3.0, abs=0.1)
    longer.before += 4.0
    longer.keep()
    again = Clock(tmp_path / "minutes-full.json", since=tmp_path / "minutes.json")
    assert again.before == pytest.approx(7.0, abs=0.1)
    assert Clock(tmp_path / "minutes.json").before == pytest.approx(3.0, abs=0.1)


def test_nobody_takes_a_piece_after_one_has_failed(work: Work) -> None:
    """Not even one that waited."""
    board = Board.of(work)
    board.take()
    board.give(None)
    assert board.take() is None


def test_a_result_of_something_else_is_done_again(work: Work) -> None:
    """A piece that was told otherwise, or whose file was cut short, is not done."""
    for name in ("start", "s/one", "s/two"):
        work.do(0, name)
    assert {key for key in Board.of(work).done if key[0] == 0} == {
        (0, n) for n in ("start", "s/one", "s/two")
    }
    other = Work(work.name, work.folder, work.seeds, True)
    assert (0, "s/one") in Board.of(other).open
    work.result(0, "s/two").write_text("{")
    assert (0, "s/two") in Board.of(work).open


def test_the_page_has_verdicts_numbers_and_figures(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made from the JSON alone, between the two marks; a second time it is the same."""
    monkeypatch.setattr(type(TABLE), "load", lambda self, name: lambda: work.reproduction)
    for seed in work.seeds:
        for name in ("start", "s/one", "s/two"):
            work.do(seed, name)
    record = recorded(work, 1.5, "tutelage reproduce minillm")
    assert [arm["name"] for arm in record["arms"]] == ["one", "two"]
    assert record["arms"][0]["numbers"]["z"] == [None, None, None]
    assert record["claims"][0]["verdict"] == "reproduced"
    told = section(record)
    assert "| One is less than two | x of one below x of two | 3 of 3 | **reproduced** |" in told
    assert "| one | the first | 2.0 (1.0 to 3.0) | 4 (2 to 6) |  |" in told
    docs, results = tmp_path / "docs", tmp_path / "results"
    for folder in (docs, results):
        folder.mkdir()
    page = docs / "reproductions.md"
    page.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\nafter\n")
    (results / "minillm.json").write_text(json.dumps(record))
    write_pages(docs, results)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith(f"{END}\nafter\n")
    assert told in page.read_text()
    figure = docs / "reproductions" / "minillm-s.svg"
    assert ElementTree.parse(figure).getroot().tag.endswith("svg")
    assert {path: path.read_text() for path in pages(docs, results)} == pages(docs, results)


def test_the_page_tells_sizes_and_why_nothing_can_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean margins with their intervals; what was provided and fails; a figure over steps."""
    of = little([])

    def made(folder: Path, seed: int, smoke: bool) -> list[Piece]:
        def do(value: float) -> Outcome:
            score = Ratio((value, value), (1.0, 1.0))
            return Outcome({"x": value, "y": -1e-9}, {"x": score}, {"t": [(1, 0.1), (2, value)]})

        return [Piece(f"s/{name}", name, lambda value=value: do(value), {}) for name, value in ARMS.items()]

    paired = {"X": Below("s/one", "s/two", "x")}
    both = dataclasses.replace(
        of,
        pieces=made,
        claims=(
            Claim("c", "One is less", "if", paired),
            Claim("d", "Nobody knows", "if", paired, provided={"the moon is blue": lambda _: -1.0}),
        ),
        courses=(Course("s", "t", ("two", "one", "none"), "A course", "Look.", "t"),),
    )
    monkeypatch.setattr(Work, "reproduction", property(lambda self: both))
    monkeypatch.setattr(type(TABLE), "load", lambda self, name: lambda: both)
    work = Work("minillm", tmp_path / "work", (0, 1, 2), False)
    for seed in work.seeds:
        for name in ARMS:
            work.do(seed, f"s/{name}")
    record = recorded(work, 1.5, "tutelage reproduce minillm")
    told = section(record)
    assert "| One is less | if | 3 of 3 | X: +2 (+2 to +2) | **reproduced** |" in told
    assert "**too small to tell** |" in told
    assert "Nobody knows: nothing can be told, for this fails: the moon is blue (short by 1)." in told
    assert "-0" not in told.split("| arm |")[1].split("X: one")[0]
    assert "![A course. Look.](reproductions/minillm-s-t.svg)" in told
    figure = figures(record)["minillm-s-t.svg"]
    assert figure.count("<path") == 2 * 3 + 2  # two arms of three seeds, and their keys


def test_an_unknown_name_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Status 2, three lines, nothing written."""
    assert answered(["reproduce", "minilm", "--out", str(tmp_path / "out")]) == 2
    assert "write 'minillm' (the nearest name)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_name_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Names with what they are."""
    assert answered(["reproduce", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == NAMES


def test_what_the_user_gave_wrong_comes_through_a_process(tmp_path: Path, monkeypatch: Any) -> None:
    """The error of a piece keeps its three lines: here a folder that holds another run."""
    from tutelage.reproductions.running import reproduce

    run = tmp_path / "minillm-smoke" / "seed-0" / "language-6" / "teacher-2x64"
    run.mkdir(parents=True)
    (run / "something").write_text("else")
    with pytest.raises(TutelageError, match="holds no run"):
        reproduce("minillm", tmp_path, seeds=(0,), smoke=True)
