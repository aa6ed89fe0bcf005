"""A student on disk: a plain `save_pretrained` folder, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tutelage.errors import TutelageError
from tutelage.files import flush
from tutelage.models.load import LanguageModel, quiet
from tutelage.models.tokenizers import first_line


def save_student(
    model: LanguageModel,
    folder: str | Path,
    *,
    replace: bool = True,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write weights (safetensors), config and tokenizer; anything in the ecosystem loads the folder.

    Everything is written beside the folder first and takes its place when it is whole: a crash or a
    full disk leaves what was there before.

    Args:
        model: what is saved.
        folder: where.
        replace: whether an earlier model in that folder may go; if not, no folder with anything in it.
        beside: texts of further files of the folder, by name.

    Returns:
        The folder.

    Raises:
        TutelageError: the folder can't be written, or is something else than a saved model.
    """
    target = Path(folder)
    if target.exists() and not (
        target.is_dir() and (not any(target.iterdir()) or (replace and _is_a_model(target)))
    ):
        raise TutelageError(
            f"{target}: exists and is {'no saved model' if replace else 'not empty'}",
            expected="a folder that does not exist yet"
            + (", or one with an earlier model" if replace else ""),
            fix="choose another folder; nothing was written",
        )
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        with quiet():
            model.model.save_pretrained(temporary)
            model.tokenizer.save_pretrained(temporary)
        for name, text in (beside or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        temporary.chmod(0o777 & ~_umask())
        for path in temporary.iterdir():
            flush(path)
        if replace:
            _take_place(temporary, target)
        else:
            temporary.rename(target)  # fails where something has come into the folder meanwhile
    except (OSError, RuntimeError) as error:  # safetensors reports a full disk in an error of its own
        raise TutelageError(
            f"{target}: the model can't be written ({getattr(error, 'strerror', None) or first_line(error)})",
            expected="a folder that can be written, and room on the disk",
            fix="free some space or choose another folder; what was there before is untouched",
        ) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise TutelageError(
            f"{target}: the weights can't be written ({first_line(error)})",
            expected="room on the disk",
            fix="free some space; what was there before is untouched",
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def _is_a_model(folder: Path) -> bool:
    return (folder / "config.json").exists()


def _take_place(temporary: Path, target: Path) -> None:
    # A folder can't be replaced in one step; the earlier one steps aside for a moment.
    aside = target.with_name(f".{target.name}-earlier")
    shutil.rmtree(aside, ignore_errors=True)
    if target.exists():
        target.rename(aside)
    temporary.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
