"""What looking at the headers of a large site costs, beside opening each file and reading a block.

One painted scan with its sidecar, mask and confounds is copied under the names of as many scans as
asked for; `validate` then looks at all of them, and every file that it must open is opened and
read for 1 kB as the floor.

    python benchmarks/bench_validate.py                  # 2000 scans
    python benchmarks/bench_validate.py --scans 100
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from brainjepa_client.preparing.validate import validate
from brainjepa_client.settings import SiteSettings
from brainjepa_core.settings import read_settings
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.tree import PaintedTree, write_tree

BLOCK = 1024


def make_site(folder: Path, scans: int) -> PaintedTree:
    """A painted tree of one person, who becomes many of two runs each."""
    cohort = CohortSettings(sites=1, subjects_per_site=1, second_sessions=0)
    tree = write_tree(folder / "site", generate_site(cohort, 0))
    (scan,) = tree.scans.values()
    files = list(scan.bold.parent.iterdir())
    for number in range(scans):
        subject, run = f"sub-x{number // 2:05d}", f"task-rest_run-{number % 2 + 1}"
        place = tree.dataset / subject / "ses-01" / "func"
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            name = file.name.replace(scan.subject, subject).replace("task-rest", run)
            shutil.copy(file, place / name)
    shutil.rmtree(tree.dataset / scan.subject)
    return tree


def open_all(folder: Path) -> int:
    """Open every file and read a block of it; returns how many there were."""
    count = 0
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as stream:
                stream.read(BLOCK)
            count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = make_site(Path(folder), arguments.scans)
        start = time.perf_counter()
        files = open_all(tree.dataset)
        floor = time.perf_counter() - start
        start = time.perf_counter()
        found = validate(read_settings(tree.site, SiteSettings))
        seconds = time.perf_counter() - start
        assert found.scans == arguments.scans and not found.problems
    report = {"scans": found.scans, "files": files, "validate_s": seconds, "floor_s": floor}
    print(json.dumps({key: round(value, 3) for key, value in report.items()}, indent=1))


if __name__ == "__main__":
    main()
