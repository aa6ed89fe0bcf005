"""The command line: what it prints, where, and with which status it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tutelage.citations import PAPERS
from tutelage.cli import answered, listing
from tutelage.recipes import families

VERBS = (
    "demo",
    "run",
    "check",
    "evaluate",
    "report",
    "import",
    "serve",
    "reproduce",
    "list",
    "cite",
    "cache",
    "plan",
)

QUICK = """
import sys
from tutelage.cli import answered
status = answered(sys.argv[1:])
heavy = {"torch", "transformers", "peft", "accelerate", "datasets", "numpy", "rich"} & set(sys.modules)
assert not heavy, heavy
sys.exit(status)
"""


def quick(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, which fails if anything heavy was imported."""
    command = [sys.executable, "-c", QUICK, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("arguments", [["--help"], [], *([verb, "--help"] for verb in VERBS)], ids=" ".join)
def test_help_needs_nothing_heavy(arguments):
    """Every verb explains itself at once; so does the command without a verb."""
    told = quick(*arguments)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("Usage: tutelage")
    assert told.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["list", "divergences"],
        ["cite"],
        ["cite", "demo"],
        ["reproduce"],
        ["reproduce", "--json"],
    ],
    ids=" ".join,
)
def test_what_tables_answer_needs_nothing_heavy(arguments):
    """Names, summaries, papers and the version are read from text."""
    told = quick(*arguments)
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout


def test_a_mistake_in_a_recipe_is_told_before_anything_heavy_is_loaded(tmp_path):
    """In the first second, not after torch."""
    (tmp_path / "recipe.yaml").write_text("out: x\n")
    for verb in ("run", "check"):
        told = quick(verb, str(tmp_path / "recipe.yaml"), "training.max_step=1")
        assert told.returncode == 2, told.stderr
        assert "unknown key 'max_step'" in told.stderr


def test_help_names_exactly_the_verbs(capsys):
    """A verb that is added or lost changes the contract."""
    assert answered(["--help"]) == 0
    commands = capsys.readouterr().out.partition("Commands:\n")[2]
    assert tuple(line.split()[0] for line in commands.splitlines() if line) == VERBS


def test_list_as_json_is_the_contract(capsys):
    """Every family in its order, every entry with name, summary, paper and module."""
    assert answered(["list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == [
        "teachers",
        "divergences",
        "samples",
        "estimators",
        "constraints",
        "plans",
        "recipes",
    ]
    for family, entries in found.items():
        assert [entry["name"] for entry in entries] == list(families()[family])
        for entry in entries:
            assert list(entry) == ["name", "summary", "paper", "module"]
            assert entry["summary"]
            assert entry["paper"] is None or entry["paper"] in PAPERS
            assert entry["module"].startswith("tutelage.")


def test_list_shows_every_name(capsys):
    """For a person: the same names, under their families, within the width of a terminal."""
    assert answered(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    for family, table in families().items():
        assert family in lines
        assert all(any(line.startswith(f"  {name}  ") for line in lines) for name in table)


def test_cite_gives_the_papers_behind_a_name(capsys, tmp_path):
    """A paper's key, an entry, a recipe or the folder of a run."""
    (tmp_path / "run.json").write_text(json.dumps({"papers": ["taid", "gkd", "no such key"]}))
    for name, keys in {
        "taid": ["taid"],
        "jensen_shannon": ["gkd"],
        str(tmp_path): ["taid", "gkd"],
        "none": [],
    }.items():
        assert answered(["cite", name, "--json"]) == 0
        assert [paper["key"] for paper in json.loads(capsys.readouterr().out)] == keys
        assert answered(["cite", name]) == 0
        assert capsys.readouterr().out.count("@") == len(keys)
    assert answered(["cite"]) == 0
    assert capsys.readouterr().out.count("@") == len(PAPERS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lst"], "write `tutelage list` (the nearest verb)"),
        (["distil"], ", ".join(VERBS)),
        (["run"], "tutelage run"),
        (["run", "--fast"], "--fast"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such recipe"),
        (["check", "nowhere.yaml"], "nowhere.yaml: no such recipe"),
        (["demo", "--seeds", "none"], "tutelage demo: "),
        (["demo", "--seeds", "0"], "seeds"),
        (["list", "teacher"], "write `tutelage list teachers`"),
        (["cite", "minilm"], "write `tutelage cite minillm`"),
        (["cite", "."], "has no `run.json`"),
        (["report", "nowhere"], "nowhere: is not a folder"),
        (["report", "."], "has no `run.json`"),
        (["import", "x.gguf", "y"], "x.gguf: there is no such file"),
        (["import", "smollm2", "y"], "write 'smollm2-135m-instruct' (the nearest name)"),
        (["evaluate", "x"], "data"),
        (["evaluate", "x", "--data", "y.txt"], "no such file or folder 'x'"),
        (["evaluate", "x", "--data", "y.txt", "--max-rows", "0"], "max_rows"),
        (["list", "a\nb\x1b"], "a\\nb\\x1b"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_was_typed_wrong_gets_status_2_and_three_lines(capsys, monkeypatch, tmp_path, arguments, said):
    """Also where it is not a recipe but the command line itself."""
    monkeypatch.chdir(tmp_path)
    assert answered(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    problem, expected, fix = told.err.splitlines()
    assert not problem.startswith(" ")
    assert expected.startswith("  expected  ")
    assert fix.startswith("  to fix    ")
    assert said in told.err


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_damaged_record_is_told_as_such(capsys, tmp_path, content):
    """A run.json that was cut short is no bug of ours."""
    (tmp_path / "run.json").write_text(content)
    for verb in ("cite", "report"):
        assert answered([verb, str(tmp_path)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_bug_of_ours_keeps_its_traceback(monkeypatch):
    """Anything but a fault of what was given comes out as it is, so that it can be reported."""
    monkeypatch.setattr(listing, "tables", lambda family: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        answered(["list"])


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path):
    """A real run is interrupted while it trains; the same command resumes."""
    words = ["run", "demo", "out=my run", "training.max_steps=500", "seeds=[0]"]
    command = [sys.executable, "-m", "tutelage", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " step " in line:
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read()
        assert process.wait(timeout=60) == 130
    assert "tutelage run demo 'out=my run'" in told
    assert "Traceback" not in told


def test_a_reader_who_has_read_enough_is_no_error():
    """`tutelage list | head -1` ends without a complaint."""
    command = f"{sys.executable} -m tutelage list --json | head -c 1"
    told = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    assert (told.stdout, told.stderr) == ("{", "")
