"""Caches on any address: a real S3-compatible server on loopback, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from small_caches import cache_of, contents, saved_model, stories
from tutelage.errors import Damaged, TutelageError
from tutelage.interfaces import Machine
from tutelage.recipes import read
from tutelage.run import distil
from tutelage.run.caching import cache_info
from tutelage.stores.manifest import SHARDS
from tutelage.stores.places import RemoteFolder, copies, folder_at
from tutelage.stores.verify import verify
from tutelage.teachers import CachedTeacher


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """An S3-compatible server on a free port."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An address in a bucket of its own; credentials come from the environment, as for a user."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    s3fs.S3FileSystem.clear_instance_cache()
    name = tmp_path.name.replace("_", "-").lower()[-60:].strip("-")
    fsspec.filesystem("s3").mkdir(name)
    yield f"s3://{name}/stories"
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("models") / "teacher", seed=3, n_embd=24)


def test_a_cache_on_s3_holds_the_bytes_of_a_local_one(bucket: str, model: Path, tmp_path: Path) -> None:
    """Built, verified, told and trained from; what is read lies in the user's cache folder."""
    recipe = stories(tmp_path, model)
    cache_of(recipe, tmp_path / "local")
    cache_of(recipe, bucket)
    store = fsspec.filesystem("s3")
    there = {path[len(bucket) - 5 :].lstrip("/"): store.cat_file(path) for path in store.find(bucket)}
    assert there == contents(tmp_path / "local")
    assert verify(bucket).exit_status == 0
    assert cache_info(bucket).manifest.rows == 15
    distil(read(recipe.resolved(), teacher={"kind": "cached", "cache": bucket}))
    assert (tmp_path / "run" / "student").is_dir()
    assert copies() == tmp_path / "home" / "tutelage" / "caches"
    copied = [path.name for path in copies().rglob("*.safetensors")]
    assert set(copied) >= {Path(name).name for name in there if name.startswith(SHARDS)}


def test_a_build_on_s3_goes_on_with_what_is_there(bucket: str, model: Path, tmp_path: Path) -> None:
    """Shards that are there are kept, those that are not are made again, to the same bytes."""
    recipe = stories(tmp_path, model)
    cache_of(recipe, bucket)
    store = fsspec.filesystem("s3")
    before = {path: store.cat_file(path) for path in store.find(bucket)}
    gone = [path for path in before if f"/{SHARDS}" in path][1:]
    for path in (*gone, f"{bucket[5:]}/manifest.json"):
        store.rm_file(path)
    cache_of(recipe, bucket)
    store.invalidate_cache()
    assert {path: store.cat_file(path) for path in store.find(bucket)} == before


def test_damage_on_s3_is_found_where_it_lies_and_when_it_is_copied(
    bucket: str, model: Path, tmp_path: Path
) -> None:
    """Verify reads the objects themselves, not the copies; a copy is compared before it is used."""
    cache_of(stories(tmp_path, model), bucket)
    assert verify(bucket).exit_status == 0
    store = fsspec.filesystem("s3")
    shard = next(path for path in store.find(bucket) if f"/{SHARDS}" in path)
    content = bytearray(store.cat_file(shard))
    content[len(content) // 2] ^= 1
    store.pipe_file(shard, bytes(content))
    found = verify(bucket)
    assert found.exit_status == 3
    assert shard.endswith(found.damage[0].partition(":")[0])
    name = shard[len(bucket) - 4 :]
    sha256 = cache_info(bucket).manifest.files[name].sha256
    for path in copies().rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(Damaged, match="its SHA-256 is"):
        folder_at(bucket).local(name, sha256)
    assert not list(copies().rglob(Path(name).name))


def test_a_copy_that_was_damaged_is_fetched_again(bucket: str, model: Path, tmp_path: Path) -> None:
    """The copy is a cache of the cache; the address is what counts."""
    cache_of(stories(tmp_path, model), bucket)
    CachedTeacher(bucket).open(Machine())
    copy = next(copies().rglob("layer.safetensors"))
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1])
    CachedTeacher(bucket).open(Machine())
    assert copy.read_bytes() == whole


@pytest.mark.parametrize("protocol", ["memory", "local"])
def test_any_address_that_fsspec_knows_will_do(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Memory, where a file appears whole, and a file system behind fsspec, where it is renamed into place."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    place = f"{protocol}://{tmp_path}/cache"
    cache_of(stories(tmp_path, model), place, "top_k", k=4)
    cache_of(stories(tmp_path, model), tmp_path / "plain", "top_k", k=4)
    folder = folder_at(place)
    assert {name: folder.read(name) for name in folder.names()} == contents(tmp_path / "plain")
    assert verify(place).exit_status == 0


def test_an_address_that_cannot_be_reached_is_told_in_three_lines(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind that nobody knows, a bucket that is not there, a server that is not there."""
    with pytest.raises(TutelageError, match="nosuch://x: cannot be reached"):
        RemoteFolder("nosuch://x")
    with pytest.raises(TutelageError, match="no cache there"):
        cache_info("s3://there-is-no-such-bucket/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(TutelageError, match="s3://x/y: cannot be reached"):
        cache_info("s3://x/y")
