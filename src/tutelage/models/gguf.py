"""A GGUF checkpoint turned into a plain folder, which `load_model` and the rest of the ecosystem read.

transformers reads the file through the library `gguf`. It keeps quiet about what it leaves out, so here
every setting of the file must be found in the config, every number of the file in the model, and the plain
model must give the same logits; else the file is refused. Quantised weights become the float32 numbers that
they stand for: the folder is the quantised model exactly, and not the checkpoint it was quantised from.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from tutelage.errors import Damaged, TutelageError
from tutelage.models.gguf_file import GgufFile, read_gguf
from tutelage.models.gguf_tokenizer import gguf_rules, gguf_tokenizer
from tutelage.models.heads import known_head, prove_head
from tutelage.models.load import LanguageModel, quiet
from tutelage.models.save import save_student
from tutelage.models.tokenizers import first_line
from tutelage.models.vocabulary import vocabulary_of

RECORD = "import.json"
ORIGINAL = "take the original checkpoint in safetensors instead of the GGUF file"


def _head_dim(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _rope_theta(config: Any) -> float:
    said = config.rope_parameters
    return said.get("full_attention", said)["rope_theta"]


def _inner(config: Any) -> int:
    wide = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
    return wide or 4 * config.hidden_size


# What a file says about its model, by the end of the key, and what the config made of it.
SETTINGS: dict[str, Callable[[Any], Any]] = {
    "attention.head_count": lambda config: config.num_attention_heads,
    "attention.head_count_kv": lambda config: config.num_key_value_heads,
    "attention.key_length": _head_dim,
    "attention.layer_norm_epsilon": lambda config: config.layer_norm_epsilon,
    "attention.layer_norm_rms_epsilon": lambda config: config.rms_norm_eps,
    "attention.sliding_window": lambda config: config.sliding_window,
    "attention.value_length": _head_dim,
    "attn_logit_softcapping": lambda config: config.attn_logit_softcapping,
    "block_count": lambda config: config.num_hidden_layers,
    "context_length": lambda config: config.max_position_embeddings,
    "embedding_length": lambda config: config.hidden_size,
    "feed_forward_length": _inner,
    "final_logit_softcapping": lambda config: config.final_logit_softcapping,
    "rope.dimension_count": _head_dim,
    "rope.freq_base": _rope_theta,
    "rope.scaling.type": lambda config: "none",
    "vocab_size": lambda config: config.vocab_size,
}


@dataclass(frozen=True)
class Imported:
    """What `import_gguf` made; the same is in the folder's `import.json`.

    Attributes:
        folder: the plain checkpoint.
        file, sha256, bytes: what it was made from.
        package: distribution and version that carried the file, or None.
        licence: as file and package name it, or None where neither does.
        name, architecture: as the file calls its model.
        types: how many tensors were stored in each type.
        parameters, tokens: numbers that are learnt, entries of the vocabulary.
        chat_template: whether there is one.
    """

    folder: str
    file: str
    sha256: str
    bytes: int
    package: str | None
    licence: str | None
    name: str
    architecture: str
    types: Mapping[str, int]
    parameters: int
    tokens: int
    chat_template: bool

    def to_json(self) -> dict[str, Any]:
        """The document of `--json`."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        stored = ", ".join(f"{count} in {kind}" for kind, count in sorted(self.types.items()))
        carried = f" of the package {self.package}" if self.package else ""
        template = "with" if self.chat_template else "without"
        size = f"{self.tokens:,} tokens, {template} a chat template"
        lines = (
            f"{self.folder}: {self.parameters / 1e6:.1f} million parameters, {size}",
            f"from     {self.file} (sha256 {self.sha256[:12]}...){carried}",
            f"stored   {stored} tensors; now float32, the same numbers",
            f"licence  {self.licence or 'neither the file nor a package names one'}",
        )
        return "\n".join(lines)


def import_gguf(
    path: str | Path,
    folder: str | Path,
    *,
    package: str | None = None,
    licence: str | None = None,
    beside: Mapping[str, str] | None = None,
) -> Imported:
    """Make a plain folder of a GGUF file: config, safetensors, tokenizer, and `import.json`.

    Takes some 12 bytes of memory per parameter: the file's weights in float32 twice, and what is read.

    Args:
        path: the file.
        folder: must not exist; it is written whole or not at all.
        package: distribution and version that carried the file, for the record.
        licence: as the package names it; None takes what the file says.
        beside: further files for the folder, such as a licence, by name.

    Raises:
        TutelageError: the folder exists, or the file can't be read, is of an architecture, quantisation or
            tokenizer that transformers can't read, or holds something that would be left out.
        Damaged: it is no whole GGUF file.
        MissingExtra: the library `gguf` is not installed.
    """
    source, target = Path(path), Path(folder)
    if target.exists() or target.is_symlink():
        raise TutelageError(
            f"{target}: exists already",
            expected="a folder that does not exist yet",
            fix="choose another folder, or remove this one; nothing was written",
        )
    file = read_gguf(source)
    model = _plain(file)
    said = file.said
    words: Any = model.tokenizer
    told = said.get("general.license")
    result = Imported(
        folder=str(target),
        file=source.name,
        sha256=file.sha256,
        bytes=source.stat().st_size,
        package=package,
        licence=licence or told,
        name=str(said.get("general.name", source.stem)),
        architecture=file.architecture,
        types=file.types,
        parameters=model.parameters,
        tokens=len(words),
        chat_template=words.chat_template is not None,
    )
    record = {key: value for key, value in result.to_json().items() if key != "folder"}
    record["licence_of_file"] = told
    record["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    notes = {**(beside or {}), RECORD: json.dumps(record, indent=1, ensure_ascii=False) + "\n"}
    save_student(model, target, replace=False, beside=notes)
    return result


def _plain(file: GgufFile) -> LanguageModel:
    """The model of a file as any other model, proved to be the one that transformers reads."""
    path = file.path
    rules = gguf_rules(dict(file.said), path)
    with _alone(path) as (folder, name), quiet():
        config = _config(file, folder, name)
        words = gguf_tokenizer(folder, name, rules, tokens=file.tokens, config=config, path=path)
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), gguf_file=name, config=config, dtype=torch.float32, output_loading_info=True
            )
        except Exception as error:
            raise TutelageError(
                f"{path}: transformers can't load its weights ({first_line(error)})",
                expected="tensors as llama.cpp names them for this architecture, of the sizes it says",
                fix=ORIGINAL,
            ) from error
    packed, info = loaded
    lost = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if lost:
        raise Damaged(
            f"{path}: {len(lost)} weights are missing or of another shape, the first is {lost[0]}",
            expected="every weight of a model of this architecture",
            fix="copy the file again; an adapter or a vision part is no whole model",
        )
    _all_taken(file, packed)
    plain: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    try:
        plain.load_state_dict(packed.state_dict(), strict=True)
    except RuntimeError as error:
        raise TutelageError(
            f"{path}: no plain {config.model_type} takes its weights ({' '.join(str(error).split())[:200]})",
            expected="weights with the names and shapes of the architecture",
            fix=ORIGINAL,
        ) from error
    plain.eval()
    _same_logits(path, packed.eval(), plain)
    rows = plain.get_input_embeddings().weight.shape[0]
    return LanguageModel(plain, words, vocabulary_of(words, rows, str(path)), str(path))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[tuple[Path, str]]:
    # transformers looks into the folder around the file too: an adapter or tokenizer there would be taken.
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / "model.gguf"
        os.symlink(path.resolve(), link)
        yield Path(folder), link.name


def _config(file: GgufFile, folder: Path, name: str) -> Any:
    """The config that transformers makes, held against what the file says."""
    try:
        config: Any = AutoConfig.from_pretrained(str(folder), gguf_file=name)
    except Exception as error:
        raise TutelageError(
            f"{file.path}: transformers can't read the architecture '{file.architecture}' from GGUF "
            f"({first_line(error)})",
            expected="a language model such as llama, mistral, qwen2, qwen3, gemma2, gemma3 or gpt2",
            fix=ORIGINAL,
        ) from error
    known_head(config.model_type)
    for key, value in file.said.items():
        whose, _, setting = key.partition(".")
        if whose != file.architecture:
            continue
        try:
            made = SETTINGS[setting](config)
        except (KeyError, AttributeError, TypeError):
            made = None
        if made is None or not _equal(made, value):
            raise TutelageError(
                f"{file.path}: it says {key} = {str(value)[:60]}, and transformers makes of that "
                + ("nothing" if made is None else str(made)),
                expected="a file whose every setting ends up in the config; the model would be another one",
                fix=ORIGINAL,
            )
    # The name of whoever trained it, which transformers would take for a place on the hub.
    vars(config).pop("_model_name_or_path", None)
    return config


def _equal(made: Any, said: Any) -> bool:
    if isinstance(made, int | float) and isinstance(said, int | float):
        return math.isclose(made, said, rel_tol=1e-6)
    return made == said


def _all_taken(file: GgufFile, model: Any) -> None:
    taken = sum(parameter.numel() for parameter in model.parameters())
    if taken != file.numbers:
        raise TutelageError(
            f"{file.path}: it holds {file.numbers:,} numbers, and the model that transformers makes of it "
            f"{taken:,}",
            expected="a model that takes every tensor; for instance `rope_freqs` would be left out",
            fix=ORIGINAL,
        )


def _same_logits(path: Path, packed: Any, plain: Any) -> None:
    rows = plain.get_input_embeddings().weight.shape[0]
    tokens = torch.linspace(0, rows - 1, 16).long()[None]
    prove_head(plain, tokens)
    with torch.no_grad():
        same = torch.equal(packed(input_ids=tokens).logits, plain(input_ids=tokens).logits)
    if not same:
        raise TutelageError(
            f"{path}: the plain model does not give the logits of the one that transformers reads",
            expected="the same logits, bit for bit",
            fix="report this with the name of the file: nothing was written",
        )
