"""Every family and every feature on ABIDE, in the tables of docs/families.md.

Each hospital is told by the others; then Brainmarks' random splits and its own split, of the people
that both have. Beside them the synthetic cohort, whose traits live in the connectivity. A cell is
what one group of rows has in one table; cells are kept one by one, so that the command goes on
where it was stopped, and the page is written from all that are there.

    python benchmarks/learning/families.py                    cells that lack, then the page
    python benchmarks/learning/families.py --page-only        the page from what is there
    python benchmarks/learning/families.py --data A --data B --brainmarks ABIDE_curated.csv
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from every_family.page import Figures, page
from every_family.people import MADE_REGIONS, REGIONS, abide_people, synthetic_people
from every_family.rows import (
    COSTLY,
    FEATURES,
    PRETRAINED,
    STATES,
    SUPERVISED,
    SWIFT,
    World,
    measured,
)
from every_family.volumes import volume_people

from brainjepa_core.files import atomic_path
from brainjepa_core.signals.windows import Windows

HERE = Path(__file__).resolve().parent
CELLS = HERE / "families"
PAGE = HERE.parents[1] / "docs" / "families.md"
SHARED = HERE.parents[1].parent / "shared" / "data"
DATA = (SHARED / "abide", SHARED / "abide_extra")
BRAINMARKS = SHARED / "brainmarks" / "ABIDE_curated.csv"
MADE = "synthetic"
WIDE = ("FC correlation", "read-outs")  # groups that are also read from all regions


class Cell(NamedTuple):
    """A group of rows in a table, of people with these regions."""

    table: str
    group: str
    regions: str

    @property
    def file(self) -> Path:
        """Where its figures are kept."""
        return CELLS / f"{' '.join(self).replace(',', '').replace(' ', '-')}.json"


def cells() -> Iterator[Cell]:
    """Every cell, cheap ones first."""
    small, whole = REGIONS
    cheap = [group for group in FEATURES if group not in COSTLY]
    models = [f"{family}, {state}" for state, family in product(STATES[::-1], PRETRAINED)]
    yield Cell("hospitals", WIDE[0], whole)
    for group in (*cheap, *SUPERVISED, *models):
        yield Cell("hospitals", group, small)
        yield Cell("split", group, small)
    yield Cell("brainmarks", WIDE[0], whole)
    yield from (Cell(MADE, group, MADE_REGIONS) for group in (*FEATURES, *SUPERVISED, SWIFT))
    yield Cell("hospitals", WIDE[1], whole)
    yield from (Cell("split", group, whole) for group in WIDE)
    yield from (Cell("brainmarks", group, small) for group in (*cheap, *SUPERVISED, *models))
    yield Cell("brainmarks", WIDE[1], whole)
    for group, table in product(COSTLY, ("split", "hospitals", "brainmarks")):
        yield Cell(table, group, small)


def fill(data: Sequence[Path], brainmarks: Path, minutes: float, only: str) -> None:
    """Make the cells that lack, a line each, until the minutes are over."""
    until = time.monotonic() + 60 * minutes
    lacking = [cell for cell in cells() if only in cell.file.stem and not cell.file.exists()]
    worlds: dict[str, World] = {}
    with TemporaryDirectory() as folder:
        for done, cell in enumerate(lacking):
            if time.monotonic() > until:
                print(f"{len(lacking) - done} cells are left; call again", flush=True)
                return
            read = SWIFT if cell.group == SWIFT else cell.regions
            place = Path(folder) / read
            if read not in worlds:
                worlds[read] = World(_people(cell, data, brainmarks, place), place / "cache")
            told = measured(worlds[read], cell.table, cell.group)
            with atomic_path(cell.file) as temporary:
                temporary.write_text(json.dumps(told, indent=1) + "\n")
            print(f"{done + 1}/{len(lacking)} {cell.file.stem}: {told['seconds']} s", flush=True)


def _people(cell: Cell, data: Sequence[Path], brainmarks: Path, place: Path) -> Windows:
    if cell.group == SWIFT:
        return volume_people(place)
    if cell.table == MADE:
        return synthetic_people(place)
    return abide_people(data, brainmarks, place, cell.regions)


def main() -> None:
    """Make what lacks, then the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, action="append", help="folders of site archives")
    parser.add_argument("--brainmarks", type=Path, default=BRAINMARKS, help="its table of ABIDE")
    parser.add_argument("--page-only", action="store_true")
    parser.add_argument("--only", default="", help="cells whose file's name has this in it")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no cell begins")
    arguments = parser.parse_args()
    data = arguments.data or DATA
    torch.set_num_threads(1)
    if not arguments.page_only:
        missing = [path for path in (*data, arguments.brainmarks) if not path.exists()]
        if missing:
            print(f"no data at {missing[0]}: the page is of the cells that are there")
        else:
            os.nice(10)
            CELLS.mkdir(exist_ok=True)
            fill(data, arguments.brainmarks, arguments.minutes, arguments.only)
    known: list[tuple[Cell, Figures | None]] = [
        (cell, json.loads(cell.file.read_text()) if cell.file.exists() else None)
        for cell in cells()
    ]
    with atomic_path(PAGE) as temporary:
        temporary.write_text(page([(*cell, figures) for cell, figures in known]))
    print(PAGE)


if __name__ == "__main__":
    main()
