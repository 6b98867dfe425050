"""The paper's studies on ABIDE, in the tables of docs/studies.md.

Each study is run by `brainjepa simulate study NAME --data FOLDER`, as it is shipped; what it tells
is kept beside this file, and the page is written from all that is there.

    python benchmarks/learning/paper_studies.py --data FOLDER     those that lack, then the page
    python benchmarks/learning/paper_studies.py --page-only       the page from what is there

Archives are read at Harvard-Oxford's regions alone, as families.py does, into stores under --out;
where a study asks for the places of regions, at Brain-JEPA's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from every_family.people import PLACES, abide_people
from paper_studies_page import Told, page

from brainjepa_core.files import atomic_path
from brainjepa_simulations.paper_studies.settings import shipped_studies

HERE = Path(__file__).resolve().parent
CELLS = HERE / "paper_studies"
PAGE = HERE.parents[1] / "docs" / "studies.md"
SHARED = HERE.parents[1].parent / "shared" / "data"
DATA = (SHARED / "abide", SHARED / "abide_extra")
BRAINMARKS = SHARED / "brainmarks" / "ABIDE_curated.csv"
REGIONS = "110"
AT_PLACES = ("positions",)  # studies that ask where regions are
NOT_HERE = {
    "ancestries": "needs a column of ancestries, which ABIDE does not have",
    "fusion": "needs vectors of other modalities, which ABIDE's archives do not have",
}


def stores_of(name: str, data: Sequence[Path], folder: Path) -> Path:
    """A folder of a study's stores of everybody, imported once."""
    regions = PLACES if name in AT_PLACES else REGIONS
    stores = folder / f"stores-{regions}"
    if not stores.exists():
        windows = abide_people(data, BRAINMARKS, folder / f"import-{regions}", regions)
        stores.mkdir(parents=True)
        for store in windows.stores:
            (stores / store.path.name).symlink_to(store.path.resolve())
    return stores


def run(name: str, stores: Path, folder: Path, minutes: float) -> Told:
    """What a study tells, and the seconds of a core that it took.

    Raises
    ------
    subprocess.CalledProcessError
        If its command fails; what it said is on standard error.
    """
    command = [sys.executable, "-m", "brainjepa", "simulate", "study", name]
    command += ["--data", str(stores), "--out", str(folder / name)]
    before = os.times()
    done = subprocess.run(
        [*command, "--minutes", str(minutes), "--json"], stdout=subprocess.PIPE, check=True
    )
    after = os.times()
    told: Told = json.loads(done.stdout)
    told.pop("page")
    seconds = after.children_user + after.children_system
    told["seconds"] = round(seconds - before.children_user - before.children_system)
    return told


def main() -> None:
    """Run what lacks, then the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", help="folders of site archives")
    parser.add_argument(
        "--out", type=Path, default=Path("paper-studies"), help="folder of the runs"
    )
    parser.add_argument("--only", default="", help="studies whose name has this in it")
    parser.add_argument("--minutes", type=float, default=30.0, help="of one training, at most")
    parser.add_argument("--page-only", action="store_true")
    arguments = parser.parse_args()
    names = list(shipped_studies())
    if not arguments.page_only:
        CELLS.mkdir(exist_ok=True)
        for name in names:
            cell = CELLS / f"{name}.json"
            if name in NOT_HERE or arguments.only not in name or cell.exists():
                continue
            began = time.monotonic()
            stores = stores_of(name, arguments.data or DATA, arguments.out)
            told = run(name, stores, arguments.out, arguments.minutes)
            with atomic_path(cell) as temporary:
                temporary.write_text(json.dumps(told, indent=1) + "\n")
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    found = {name: CELLS / f"{name}.json" for name in names}
    known = {name: json.loads(c.read_text()) if c.exists() else None for name, c in found.items()}
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page(known, NOT_HERE))
    print(PAGE)


if __name__ == "__main__":
    main()
