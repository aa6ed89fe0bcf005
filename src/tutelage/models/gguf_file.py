"""The head of a GGUF file: what it says about its model, and how its numbers are stored."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import Damaged, MissingExtra, TutelageError
from tutelage.models.tokenizers import first_line

VOCABULARY = "tokenizer.ggml.tokens"
LONGEST_ARRAY = 64  # longer ones are vocabularies, which are read where they are needed


@dataclass(frozen=True)
class GgufFile:
    """What the head of a GGUF file says.

    Attributes:
        path: the file.
        sha256: of its bytes.
        architecture: as llama.cpp calls it.
        said: the metadata without long arrays.
        types: how many tensors are stored in each type, such as ``{"Q4_1": 210}``.
        numbers: weights in all tensors together.
        tokens: how many its vocabulary lists.
    """

    path: Path
    sha256: str
    architecture: str
    said: Mapping[str, Any]
    types: Mapping[str, int]
    numbers: int
    tokens: int


def read_gguf(path: Path) -> GgufFile:
    """The head of a GGUF file, with every kind of stored number tried.

    Raises:
        TutelageError: the file is not there, one of several parts, or of a quantisation that can't be undone.
        Damaged: it is no whole GGUF file.
        MissingExtra: the library `gguf` is not installed.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtra("gguf", "gguf")
    gguf: Any = importlib.import_module("gguf")
    if not path.is_file():
        raise TutelageError(
            f"{path}: {'not a file' if path.exists() else 'there is no such file'}",
            expected="a GGUF file, such as model.Q8_0.gguf",
            fix="check the path",
        )
    try:
        reader = gguf.GGUFReader(path)
        fields = reader.fields.values()
        said = {field.name: field.contents() for field in fields if len(field.data) <= LONGEST_ARRAY}
        architecture = str(said["general.architecture"])
    except Exception as error:  # its parser checks little: cut files end in whatever numpy raises
        raise Damaged(
            f"{path}: not a whole GGUF file ({first_line(error)})",
            expected="a file that begins with GGUF and holds all the tensors it names",
            fix="copy it again; compare its sha256 with the one where it came from",
        ) from error
    parts = said.get("split.count", 1)
    if parts > 1:
        raise TutelageError(
            f"{path}: one of {parts} parts",
            expected="one file with the whole model",
            fix="join the parts with llama.cpp: llama-gguf-split --merge FIRST-PART ONE-FILE",
        )
    for tensor in {tensor.tensor_type: tensor for tensor in reader.tensors}.values():
        try:
            gguf.dequantize(tensor.data.reshape(-1, tensor.data.shape[-1])[:1], tensor.tensor_type)
        except Exception as error:
            raise TutelageError(
                f"{path}: '{tensor.name}' is stored as {tensor.tensor_type.name}, which can't be undone "
                f"({first_line(error)})",
                expected="a quantisation that the library `gguf` can undo, such as F16, Q8_0, Q4_1 or Q4_K",
                fix="take the same model in another quantisation, or the original checkpoint",
            ) from error
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return GgufFile(
        path=path,
        sha256=digest,
        architecture=architecture,
        said=said,
        types=dict(sorted(Counter(tensor.tensor_type.name for tensor in reader.tensors).items())),
        numbers=sum(int(tensor.n_elements) for tensor in reader.tensors),
        tokens=len(reader.fields[VOCABULARY].data) if VOCABULARY in reader.fields else 0,
    )
