"""Text files are written whole or not at all, in UTF-8, wherever they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.errors import TutelageError
from tutelage.files import write_text

TEXT = "naïve\r\nquestion: 你好?\n"


def python(code: str, **environment: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        check=True,
        timeout=60,
    )
    return done.stdout.decode()


def test_the_locale_does_not_change_a_byte(tmp_path: Path):
    """In a plain C locale too, with line ends as they are and folders made; and nothing heavy is loaded."""
    path = tmp_path / "made" / "now" / "text.json"
    said = python(
        "import locale, sys\nfrom pathlib import Path\nfrom tutelage.files import write_text\n"
        f"write_text(Path({str(path)!r}), {TEXT!a})\n"
        "print(locale.getpreferredencoding(False), 'torch' in sys.modules)",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert said.split() == ["ANSI_X3.4-1968", "False"]
    assert path.read_bytes() == TEXT.encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_older_file_alone(tmp_path: Path):
    """The system refuses to write more (a limit on file sizes): three lines, nothing left beside it."""
    path = tmp_path / "text.json"
    write_text(path, "old")
    said = python(
        "import resource, signal\nfrom pathlib import Path\n"
        "from tutelage.errors import TutelageError\nfrom tutelage.files import write_text\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        f"    write_text(Path({str(path)!r}), 'x' * 10_000)\n"
        "except TutelageError as error:\n"
        "    print(error)\n"
    )
    problem, expected, fix = said.splitlines()
    assert problem == f"{path}: the disk is full"
    assert expected.startswith("  expected  ")
    assert fix.startswith("  to fix    make room")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_gives_three_lines(tmp_path: Path):
    """Even for root: a folder cannot be made inside a file."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(TutelageError, match=r"run\.json: cannot be written") as caught:
        write_text(tmp_path / "file" / "run.json", "{}", fix="go elsewhere")
    assert str(caught.value).splitlines()[2] == "  to fix    go elsewhere"
