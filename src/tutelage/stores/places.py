"""Where the files of a cache lie: a folder here, or any address that fsspec knows (``s3://...``).

Both write a file whole or not at all. A remote file is read through a copy in the user's cache folder,
``$XDG_CACHE_HOME/tutelage`` or ``~/.cache/tutelage``, whose content is compared with the manifest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import fsspec

from tutelage.errors import Damaged, MissingExtra, TutelageError
from tutelage.files import cannot_write, flush

WRITING = ".writing-"
"""How the folders begin in which processes prepare files; nothing in them belongs to the cache."""

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "memory"})
"""Protocols under which a file appears when all of it is there; under others it is written, then renamed."""


class Folder(ABC):
    """A place with files of known names, some of them in folders (``shards/...``).

    Attributes:
        place: as the user wrote it.
    """

    place: str

    @abstractmethod
    def names(self) -> dict[str, int]:
        """Every file with its size in bytes."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where there is none."""

    @abstractmethod
    def take(self, name: str, file: Path) -> None:
        """Make ``file``, which was prepared in `workroom`, the file ``name``."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    @abstractmethod
    def workroom(self) -> Path:
        """A folder on this machine in which this process alone prepares files."""

    @abstractmethod
    def local(self, name: str, sha256: str) -> Path:
        """A file on this machine with the content of ``name``; a copy is compared with its hash.

        Raises:
            Damaged: the file is not there, or is not what was written.
        """

    def write(self, name: str, content: bytes) -> str:
        """Write a small file; returns its SHA-256, in hexadecimal."""
        file = self.workroom() / name.replace("/", "-")
        try:
            file.write_bytes(content)
            flush(file)
        except OSError as error:
            raise cannot_write(file, error) from error
        self.take(name, file)
        return hashlib.sha256(content).hexdigest()

    @abstractmethod
    def hash(self, name: str) -> str:
        """SHA-256 of a file where it lies, in hexadecimal; FileNotFoundError where there is none."""

    @abstractmethod
    def close(self) -> None:
        """Forget what was being prepared, also by processes of this machine that were killed."""


class LocalFolder(Folder):
    """A folder of this machine.

    Args:
        place: its path.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.path = Path(place.removeprefix("file://")).expanduser()

    def names(self) -> dict[str, int]:
        """Every file with its size in bytes."""
        if not self.path.is_dir():
            return {}
        files = (path for path in self.path.rglob("*") if path.is_file())
        named = {path.relative_to(self.path).as_posix(): path.stat().st_size for path in files}
        return {name: size for name, size in named.items() if not name.startswith(WRITING)}

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where there is none."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unreachable(self.place, error) from error

    def take(self, name: str, file: Path) -> None:
        """Rename ``file``; whoever looks finds the old file or the new one."""
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
            flush(target.parent)
        except OSError as error:
            raise cannot_write(target, error) from error

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def workroom(self) -> Path:
        """A folder inside, so that a file can be renamed into its place."""
        room = self.path / f"{WRITING}{socket.gethostname()}-{os.getpid()}"
        try:
            room.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        return room

    def local(self, name: str, sha256: str) -> Path:
        """The file itself."""
        path = self.path / name
        if not path.is_file():
            raise _missing(f"{self.place}/{name}")
        return path

    def hash(self, name: str) -> str:
        """SHA-256 of a file, in hexadecimal."""
        return _hash(self.path / name)

    def close(self) -> None:
        """Remove what this process and killed ones of this machine were preparing."""
        for room in self.path.glob(f"{WRITING}{socket.gethostname()}-*"):
            if not _alive(int(room.name.rpartition("-")[2])) or room.name.endswith(f"-{os.getpid()}"):
                shutil.rmtree(room, ignore_errors=True)


class RemoteFolder(Folder):
    """An address that fsspec knows; its credentials and endpoint are found as that library finds them.

    Args:
        place: the address, such as ``s3://bucket/caches/stories``.

    Raises:
        MissingExtra: the library for this kind of address is not installed.
        TutelageError: there is no such kind, or it cannot be reached.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.protocol = place.partition("://")[0]
        self._room: Path | None = None
        try:
            filesystem: Any
            filesystem, self._root = fsspec.core.url_to_fs(place.rstrip("/"))
        except ImportError as error:
            library = {"s3": "s3fs", "s3a": "s3fs"}.get(self.protocol, self.protocol)
            raise MissingExtra(library, "remote") from error
        except Exception as error:  # each kind of address has errors of its own
            raise _unreachable(place, error) from error
        self._files = filesystem

    def names(self) -> dict[str, int]:
        """Every file with its size in bytes."""
        try:
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        except FileNotFoundError:
            return {}
        except Exception as error:
            raise _unreachable(self.place, error) from error
        return {path[len(self._root) :].lstrip("/"): int(told["size"]) for path, told in found.items()}

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None where there is none."""
        try:
            return self._files.cat_file(self._at(name))
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _unreachable(self.place, error) from error

    def take(self, name: str, file: Path) -> None:
        """Send ``file`` and forget it here."""
        sent = self._at(name) if self.protocol in OBJECT_STORES else self._at(f"{WRITING}{file.name}")
        try:
            self._files.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
            self._files.put_file(str(file), sent)
            if sent != self._at(name):
                self._files.mv(sent, self._at(name))
        except Exception as error:
            raise _unreachable(self.place, error) from error
        file.unlink()

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._files.rm_file(self._at(name))
        except FileNotFoundError:
            return
        except Exception as error:
            raise _unreachable(self.place, error) from error

    def workroom(self) -> Path:
        """A temporary folder of this machine."""
        if self._room is None:
            self._room = Path(tempfile.mkdtemp(prefix="tutelage-cache-"))
        return self._room

    def local(self, name: str, sha256: str) -> Path:
        """A copy in the user's cache folder, under this address, made when it is first asked for."""
        address = hashlib.sha256(self.place.encode()).hexdigest()[:16]
        copy = copies() / address / name
        if copy.is_file() and _hash(copy) == sha256:
            return copy
        partial = copy.with_name(f".{copy.name}.{os.getpid()}.writing")
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(copy, error) from error
        try:
            self._files.get_file(self._at(name), str(partial))
            found = _hash(partial)
            if found == sha256:
                os.replace(partial, copy)
        except FileNotFoundError as error:
            raise _missing(f"{self.place}/{name}") from error
        except Exception as error:
            full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
            raise (cannot_write(copy, error) if full else _unreachable(self.place, error)) from error
        finally:
            partial.unlink(missing_ok=True)
        if found != sha256:
            raise Damaged(
                f"{self.place}/{name}: damaged (its SHA-256 is {found[:12]}..., not {sha256[:12]}...)",
                expected="the file as `tutelage cache build` wrote it",
                fix="remove that file and build again; `tutelage cache verify` names all that is damaged",
            )
        return copy

    def hash(self, name: str) -> str:
        """SHA-256 of a file where it lies, in hexadecimal; it is read, not kept."""
        sha256 = hashlib.sha256()
        try:
            with self._files.open(self._at(name), "rb") as file:
                while block := file.read(2**22):
                    sha256.update(block)
        except FileNotFoundError:
            raise
        except Exception as error:
            raise _unreachable(self.place, error) from error
        return sha256.hexdigest()

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._room is not None:
            shutil.rmtree(self._room, ignore_errors=True)
            self._room = None

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"


def folder_at(place: str) -> Folder:
    """The folder at a path or an address."""
    remote = "://" in place and not place.startswith("file://")
    return RemoteFolder(place) if remote else LocalFolder(place)


def copies() -> Path:
    """The folder of this machine in which copies of remote caches lie."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "tutelage" / "caches"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _missing(name: str) -> Damaged:
    return Damaged(
        f"{name}: is not there",
        expected="every file that the cache's manifest lists",
        fix="build again with the same command: what is there is kept, what is missing is made",
    )


def _unreachable(place: str, error: Exception) -> TutelageError:
    why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return TutelageError(
        f"{place}: cannot be reached ({why})",
        expected="a folder, or an address such as s3://bucket/name that can be reached from here",
        fix="check the address, the network and the credentials of its library (for s3: AWS_ENDPOINT_URL, "
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)",
    )
