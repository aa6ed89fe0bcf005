"""The tables of README.md, made from the JSON files beside it: python benchmarks/tables.py [--check]"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
MARK = "<!-- Below: made by tables.py from the JSON files in this folder. -->"


def made() -> str:
    """All tables in Markdown, one section a file."""
    parts = []
    for path in sorted(HERE.glob("*.json")):
        said = json.loads(path.read_text(encoding="utf-8"))
        text = importlib.import_module(said["benchmark"]).text(said)
        parts.append(f"## {path.name}\n\n{text}\n")
    return "\n".join(parts)


def main() -> int:
    """Write them, or with --check say whether they are what the files say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--check", action="store_true", help="Write nothing; status 1 where they are old.")
    readme = HERE / "README.md"
    before = readme.read_text(encoding="utf-8")
    after = f"{before.partition(MARK)[0]}{MARK}\n\n{made()}"
    if not parser.parse_args().check:
        readme.write_text(after, encoding="utf-8")
        return 0
    if after != before:
        print(
            "benchmarks/README.md is not what its JSON files say: python benchmarks/tables.py",
            file=sys.stderr,
        )
    return int(after != before)


if __name__ == "__main__":
    raise SystemExit(main())
