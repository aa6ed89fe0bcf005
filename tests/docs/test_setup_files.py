"""The files around the code agree with one another: constraints, commands, hooks."""

from __future__ import annotations

import ast
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator

import yaml
from pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def name_of(requirement: str) -> str:
    """The name of a requirement, spelt as pip compares it."""
    return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")


def test_constraints_pin_every_direct_dependency_once():
    """One file pins whatever a command of the README may install."""
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    pinned = [name_of(line) for line in lines]
    assert len(set(pinned)) == len(pinned)
    extras = PROJECT["project"]["optional-dependencies"].values()
    wanted = [*PROJECT["project"]["dependencies"], *(one for extra in extras for one in extra)]
    assert {name_of(one) for one in wanted} - {"tutelage"} <= set(pinned)


def imports(node: ast.AST) -> set[str]:
    """Libraries imported anywhere below a node, by the name of their package."""
    found = set()
    for line in ast.walk(node):
        if isinstance(line, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in line.names}
        elif isinstance(line, ast.ImportFrom) and line.module and not line.level:
            found.add(line.module.partition(".")[0])
    installed_as = {"yaml": "pyyaml"}
    libraries = found - sys.stdlib_module_names - {"tutelage"}
    return {installed_as.get(name, name.replace("_", "-")) for name in libraries}


def guards(tree: ast.AST) -> Iterator[tuple[ast.Try, str]]:
    """Every ``try`` whose error is a `MissingExtra`, with the name of the extra."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            for call in (call for handler in node.handlers for call in ast.walk(handler)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "MissingExtra":
                    yield node, ast.literal_eval(call.args[1])


def test_what_the_package_imports_is_what_it_depends_on():
    """A user installs no development extra: every library that src imports is a plain dependency.

    The others are imported where a missing one is told with the extra that holds it.
    """
    wanted = {name_of(one) for one in PROJECT["project"]["dependencies"]}
    for path in (ROOT / "src").rglob("*.py"):
        tree = ast.parse(path.read_text())
        optional = set()
        for guard, extra in guards(tree):
            guarded = imports(ast.Module(guard.body, []))
            held = {name_of(one) for one in PROJECT["project"]["optional-dependencies"][extra]}
            assert guarded <= held | wanted, f"{path.name}: {guarded} is not in the extra '{extra}'"
            optional |= guarded
        assert imports(tree) <= wanted | optional, f"{path.name} imports {imports(tree) - wanted - optional}"


def test_there_is_no_lock_file():
    """Lock files record hosts of registries and one platform's wheels."""
    assert not [name for name in ("uv.lock", "pylock.toml", "poetry.lock") if (ROOT / name).exists()]


def test_the_hooks_are_local_and_well_formed():
    """pre-commit fetches nothing: it runs what `make` has installed."""
    path = ROOT / ".pre-commit-config.yaml"
    subprocess.run([sys.executable, "-m", "pre_commit", "validate-config", str(path)], check=True)
    repos = yaml.safe_load(path.read_text())["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    assert {hook["language"] for hook in repos[0]["hooks"]} == {"system"}


def test_ci_runs_the_command_of_the_readme():
    """What is green there is green for whoever types the README's command."""
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & stat.S_IXUSR
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.read_text().splitlines()[-1] == "make test"
    assert "\nmake test " in (ROOT / "README.md").read_text()
