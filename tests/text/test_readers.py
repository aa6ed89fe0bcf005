"""Whatever the format, the same rows come out; whatever is broken, the error says where."""

import contextlib
import csv
import gzip
import hashlib
import io
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.errors import Damaged, TutelageError
from tutelage.text import TextRows, could_be_on_a_hub, read_rows

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
tables = st.lists(st.fixed_dictionaries({"prompt": words, "completion": words}), min_size=1, max_size=8)


def as_lines(rows: list[dict]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_array(rows: list[dict]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def as_csv(rows: list[dict]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: list[dict]) -> bytes:
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue().to_pybytes()


FORMATS = {
    "rows.jsonl": as_lines,
    "rows.json": as_array,
    "lines.json": as_lines,
    "rows.csv": as_csv,
    "rows.parquet": as_parquet,
    "rows.jsonl.gz": lambda rows: gzip.compress(as_lines(rows)),
    "rows.csv.gz": lambda rows: gzip.compress(as_csv(rows)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None)
@given(rows=tables)
def test_every_format_gives_the_rows_back_that_were_written(folder: Path, name: str, rows: list[dict]):
    read = read_rows(written(folder, name, FORMATS[name](rows)))
    assert read.rows == rows
    assert read.kind == "prompt, completion"
    assert read.found.startswith(f"found prompt, completion; {len(rows)} row")


@settings(max_examples=50, deadline=None)
@given(documents=st.lists(words.filter(lambda w: w.strip() and "<|" not in w and "\r" not in w), min_size=1))
def test_documents_ended_by_a_mark_come_back_whole(folder: Path, documents: list[str]):
    """Only line breaks around a document are lost: they belong to the mark."""
    text = "".join(f"{document}\n<|endoftext|>\n" for document in documents)
    read = read_rows(written(folder, "marked.txt", text.encode()))
    assert [row["text"] for row in read.rows] == [document.strip("\n") for document in documents]


def test_a_text_without_marks_is_cut_at_blank_lines_and_without_those_at_line_ends(folder: Path):
    paragraphs = read_rows(written(folder, "a.txt", b"one\ntwo\n\n\nthree\n"))
    lines = read_rows(written(folder, "b.txt", b"one\ntwo\nthree\n"))
    assert [row["text"] for row in paragraphs.rows] == ["one\ntwo", "three"]
    assert [row["text"] for row in lines.rows] == ["one", "two", "three"]
    assert [paragraphs.place(i).rpartition(":")[2] for i in range(2)] == ["1", "5"]


def test_a_row_remembers_the_line_it_stands_on(folder: Path):
    """Blank lines, and line breaks inside quotes, count as lines of the file."""
    lines = read_rows(written(folder, "gaps.jsonl", b'{"text": "a"}\n\n{"text": "b"}\n'))
    values = read_rows(written(folder, "quoted.csv", b'text\n"a\nb"\nc\n'))
    assert lines.place(1).endswith("gaps.jsonl:3")
    assert [values.place(i).rpartition(":")[2] for i in range(2)] == ["2", "4"]


def test_the_hash_is_of_the_bytes_and_the_limit_takes_the_top(folder: Path):
    content = as_lines([{"text": str(i)} for i in range(5)])
    read = read_rows(written(folder, "five.jsonl", content), max_rows=2)
    assert read.sha256 == hashlib.sha256(content).hexdigest()
    assert [row["text"] for row in read.rows] == ["0", "1"]
    assert read.found == "found text; 2 rows, the first of the file"


def test_several_files_follow_one_another(folder: Path):
    first = written(folder, "first.jsonl", as_lines([{"text": "a"}]))
    second = written(folder, "second.jsonl", as_lines([{"text": "b"}, {"text": "c"}]))
    read = read_rows([str(first), str(second)])
    assert [row["text"] for row in read.rows] == ["a", "b", "c"]
    assert read.place(2).endswith("second.jsonl:2")


def test_a_folder_saved_by_datasets_is_read(tmp_path: Path):
    from datasets import Dataset, DatasetDict

    DatasetDict({"train": Dataset.from_list([{"text": "a"}, {"text": "b"}])}).save_to_disk(
        str(tmp_path / "set")
    )
    assert [row["text"] for row in read_rows(tmp_path / "set").rows] == ["a", "b"]
    with pytest.raises(TutelageError, match="no split 'test'"):
        read_rows(tmp_path / "set", split="test")


@pytest.mark.parametrize(
    ("name", "found", "rows"),
    [
        ("dolly/train.jsonl.gz", "found id, instruction, input, output; 11,373 rows", 11_373),
        ("tinystories/valid.txt.gz", "found text; 116 rows", 116),
        ("udhr/udhr.jsonl.gz", "found lang, lines; 26 rows", 26),
        ("vicuna/vicuna_eval.jsonl.gz", "found id, instruction, input, output, category; 80 rows", 80),
    ],
)
def test_what_was_found_is_said(data: Path, name: str, found: str, rows: int):
    """The data of the project are what their README says."""
    read = read_rows(data / name)
    assert (read.found, len(read)) == (found, rows)


BROKEN = [
    ("bad.jsonl", b'{"text": "a"}\n{"text": \n', ":2: not JSON"),
    ("list.jsonl", b'{"text": "a"}\n[1, 2]\n', ":2: '[1, 2]' is not a row"),
    ("half.jsonl", b'{"text": "\\ud800"}\n', ":1: half a character"),
    ("latin.jsonl", b'{"text": "a"}\n{"text": "caf\xe9"}\n', ":2: byte 0xe9 is not UTF-8"),
    ("deep.jsonl", b'{"text": ' + b"[" * 100_000 + b"\n", ":1: "),
    ("number.jsonl", b'{"text": ' + b"1" * 5000 + b"}\n", ":1: JSON that can't be read"),
    ("nothing.jsonl", b"", "the file is empty"),
    ("blank.txt", b"\n  \n", "the file is empty"),
    ("array.json", b"[]", "an empty list"),
    ("array2.json", b'[{"text": "a"},\n {"text" "b"}]', ":2: not JSON"),
    ("ragged.csv", b"text,label\na,1\nb\n", ":3: 1 values under 2 columns"),
    ("twice.csv", b"text,text\na,b\n", ":1: the header is 'text', 'text'"),
    ("open.csv", b'text\n"a\n', ": not CSV"),
    ("header.csv", b"text\n", "no rows"),
    ("rows.parquet", b"PAR1 and then nothing", "not a whole parquet file"),
    ("rows.jsonl.gz", b'{"text": "a"}\n', "not a whole gzip file"),
    ("model.bin", b"x", "not a kind of file that is read"),
]


@pytest.mark.parametrize(("name", "content", "problem"), BROKEN, ids=[name for name, *_ in BROKEN])
def test_a_broken_file_is_named_with_the_line(folder: Path, name: str, content: bytes, problem: str):
    path = written(folder, name, content)
    with pytest.raises(TutelageError) as caught:
        read_rows(path)
    assert caught.value.problem.startswith(str(path))
    assert problem in caught.value.problem
    assert "\n" not in caught.value.problem
    assert caught.value.expected
    assert caught.value.fix


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_gzip_file_cut_short_is_never_read_as_a_shorter_one(folder: Path, cut: float):
    whole = gzip.compress(as_lines([{"text": str(i)} for i in range(200)]), mtime=0)
    with pytest.raises(TutelageError) as caught:
        read_rows(written(folder, "cut.jsonl.gz", whole[: int(cut * len(whole))]))
    assert isinstance(caught.value, Damaged) or "empty" in caught.value.problem


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=60, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4
    )
)
def test_a_file_with_changed_bytes_gives_rows_or_the_three_lines(
    folder: Path, name: str, changes: list[tuple[float, int]]
):
    """Nothing that a damaged disk or an editor does to a file shows a traceback."""
    content = bytearray(FORMATS[name]([{"prompt": 'Say, "a"\n', "completion": "ä"}] * 3))
    for where, byte in changes:
        content[int(where * len(content))] = byte
    path = written(folder, name, bytes(content))
    with contextlib.suppress(TutelageError):
        assert isinstance(read_rows(path), TextRows)


@pytest.mark.parametrize("where", ["no/such/file.jsonl", "missing.csv", "/not/there", "a b"])
def test_a_missing_file_is_not_looked_up_on_a_hub(where: str):
    with pytest.raises(TutelageError, match="there is no such file"):
        read_rows(where)


@pytest.mark.filterwarnings("default")
def test_a_hub_that_cannot_be_reached_is_an_error_of_three_lines():
    with pytest.raises(TutelageError, match="neither a file here nor a data set that the hub gives out"):
        read_rows("nobody/no-such-data-set")


def test_a_folder_of_files_names_one_of_them(folder: Path, tmp_path: Path):
    written(tmp_path, "train.jsonl", b'{"text": "a"}\n')
    with pytest.raises(TutelageError, match=r"train\.jsonl"):
        read_rows(tmp_path)


def test_a_typing_error_inside_a_folder_that_exists_is_not_looked_up_on_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """`runs/x` may be a hub name, but not where there is a folder `runs`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert not could_be_on_a_hub("runs/techer")
    assert could_be_on_a_hub("owner/name")
    with pytest.raises(TutelageError, match="there is no such file"):
        read_rows("runs/stories")
