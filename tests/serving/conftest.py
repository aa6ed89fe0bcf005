"""One tiny teacher, opened once, and a server for it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from live_servers import served, tiny_teacher
from tutelage.interfaces import Machine
from tutelage.teachers import ModelTeacher


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the teacher lies."""
    return tiny_teacher(tmp_path_factory.mktemp("served") / "teacher")


@pytest.fixture(scope="session")
def teacher(folder: str) -> ModelTeacher:
    """The same in process."""
    return ModelTeacher(folder).open(Machine())


@pytest.fixture(scope="session")
def url(teacher: ModelTeacher) -> Iterator[str]:
    """Where it is served."""
    with served(teacher) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as found:
        yield found
