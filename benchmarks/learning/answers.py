"""Who is behind an answer: membership by sums, moments and scores, by how many people they are of.

    python benchmarks/learning/answers.py FOLDER...

A folder holds scan stores, or site archives as `brainjepa simulate --data` reads them. The first
scan of each person is cut in two: the site has the first half; who attacks has it, or the second.
Connectivity and co-skewness (``third``) are those of all pairs of ROIs; features are connectivity
in `WIDTH` fixed mixtures (as many as the covariance of six networks has), with a constant and the
age beside them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.site_people import projected
from brainjepa_core.evaluation.yardstick import within_groups
from brainjepa_core.gradients import fisher_z, functional_connectivity
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.coskewness import mean_products
from brainjepa_simulations.attacks.answers import (
    Figures,
    from_moments,
    from_score,
    from_sum,
    told_apart,
)
from brainjepa_simulations.engines.virtual_sites import open_data

SIZES, WIDTH = (20, 26, 50, 100, 200, 312), 21


def halves(windows: Windows) -> tuple[dict[str, list[Float64]], Float64]:
    """Vectors [N, pairs] of each half of people's first scans, by kind; ages [N] within sites.

    Fisher z and products of co-skewness, of ROIs that everybody has a signal of in both halves.
    """
    scans, live = [], np.ones(len(windows.atlas), np.bool_)
    for number, person in enumerate(windows.people):
        series, seen = next(iter(windows.aligned(number)))
        parts = np.array_split(np.asarray(series), 2, axis=1)
        live &= seen & np.all([part.std(1) > 0 for part in parts], axis=0)
        scans.append((parts, float(person.records[0].phenotypes["age"]), person.store))
    rois = int(live.sum())
    above, everywhere = np.triu_indices(rois, 1), np.ones(rois, np.bool_)
    kinds: dict[str, Callable[[Float64], Float64]] = {
        "sum": lambda series: fisher_z(functional_connectivity(series))[above],
        "third": lambda series: mean_products([series], everywhere),
    }
    found = {
        kind: [np.array([of(parts[half][live]) for parts, _, _ in scans]) for half in (0, 1)]
        for kind, of in kinds.items()
    }
    ages, sites = np.array([[age] for _, age, _ in scans]), [store for _, _, store in scans]
    return found, within_groups(ages, sites)[:, 0]


def main(folders: list[Path]) -> None:
    """Print a row for each answer and number of people."""
    with tempfile.TemporaryDirectory() as place:
        paths = [
            path
            for number, folder in enumerate(folders)
            for path in open_data(folder, Path(place) / str(number))
        ]
        stores = [ScanStore.open(path) for path in paths]
        told, years = halves(Windows(stores, WindowSettings(frames=16)))
    both = projected(np.concatenate(told["sum"]), WIDTH)
    both = both / both.std()
    constant = np.ones((len(years), 1))
    people = [
        np.concatenate([constant, half, years[:, None] / years.std()], axis=1)
        for half in np.split(both, 2)
    ]
    answers: dict[str, tuple[Figures, Float64, Float64, int]] = {
        "sum": (from_sum, *told["sum"], 20),
        "third": (from_sum, *told["third"], 20),
        "moments": (from_moments, *people, 20),
        "score": (from_score, *people, 5),
    }
    print(f"{len(years)} people; {WIDTH} features; AUC by the same scan / by another one")
    for name, (figures, same, other, draws) in answers.items():
        for size in SIZES:
            if size <= len(years) // 2:
                found = told_apart(figures, same, other, size, draws)
                print(f"{name:8} {size:4d}  {found.same:.2f} / {found.other:.2f}", flush=True)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
