"""Put the trained teacher and the student's warm start into the package, in bfloat16.

    python recipes/demo/pack.py

Reads ``runs/demo-teacher/student`` and ``runs/demo-student/student``, writes
``src/tutelage/demo/teacher`` and ``src/tutelage/demo/student``.
"""

from pathlib import Path

import torch

from tutelage.interfaces import Machine
from tutelage.models import load_model, save_student

ROOT = Path(__file__).parents[2]
LARGEST = 16 * 2**20


def main() -> None:
    """Load, round to bfloat16, save, and say how large the files are."""
    for name in ("teacher", "student"):
        model = load_model(ROOT / "runs" / f"demo-{name}" / "student", machine=Machine())
        model.model.to(torch.bfloat16)
        folder = save_student(model, ROOT / "src" / "tutelage" / "demo" / name)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{folder.relative_to(ROOT)}: {model.parameters:,} parameters, {size:,} bytes")
        if size > LARGEST:
            raise SystemExit(f"{folder} is larger than 16 MiB")


if __name__ == "__main__":
    main()
