"""What read-outs of signals and of an untrained network tell of diagnosis and age, site by site.

Every hospital is told by the others; bases, means and penalties are of those others, and where it
says site-centred the tested hospital subtracts the mean of its own unlabelled features. Prints the
tables of docs/evaluation.md.

    python benchmarks/readouts.py ../shared/data/abide               # all ROIs of the archives
    python benchmarks/readouts.py ../shared/data/abide --rois 200    # the first 200: CC200 of ABIDE
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from brainjepa_core.arrays import Float32
from brainjepa_core.evaluation.features.connectivity import ConnectivityFeatures
from brainjepa_core.evaluation.features.embeddings import cached_embeddings
from brainjepa_core.evaluation.features.readouts import SignalReadOuts
from brainjepa_core.evaluation.methods.baselines import connectivity_methods
from brainjepa_core.evaluation.methods.method import Method
from brainjepa_core.evaluation.methods.readout_methods import latent_methods, signal_methods
from brainjepa_core.evaluation.scores.evaluation import predict_all
from brainjepa_core.evaluation.scores.resampling import score_models
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings, splits_of
from brainjepa_core.evaluation.tasks.settings import TaskData, load_task
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY as READ
from brainjepa_core.pretraining.basis import consensus_basis
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.windows import Windows

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "abide"
PROTOCOL = ProtocolSettings(kind="leave_one_site_out", seeds=1)
SHOWN = {"diagnosis": ("auc", "auc within site"), "age": ("r within site", "r")}
STARTS = {"default": "at step 0", "published": "published start"}  # by recipe


def windows_of(source: Path, folder: Path, rois: int | None, study: PretrainingSettings) -> Windows:
    """Windows of all archives of a folder, of their first ROIs."""
    stores = []
    for path in sorted(source.glob("*.npz")):
        with np.load(path) as file:
            arrays = dict(file)
        if "ts" not in arrays:  # a mapping of ROIs that lies beside them
            continue
        arrays |= {"ts": arrays["ts"][:, :rois], "roi": arrays["roi"][:rois]}
        np.savez(folder / path.name, **arrays)
        table = source / "participants.tsv"
        stores.append(import_site_archive(folder / path.name, folder / path.stem, table))
    return study.windows_of(stores)


def latents_of(windows: Windows, recipes: Sequence[str]) -> dict[str, Float32]:
    """Latent connectivity of everybody by untrained networks, by how they start."""
    basis, people, found = consensus_basis(windows), range(windows.subjects), {}
    for recipe in recipes:
        name = STARTS[recipe]
        model = PretrainingSettings(recipe=recipe).new_model(basis).eval()
        began = time.perf_counter()
        found[name] = cached_embeddings(model, windows, people, (READ,))[READ]
        print(f"{name}: {len(people)} people read in {time.perf_counter() - began:.0f} s")
    return found


def table(data: TaskData, methods: Sequence[Method]) -> None:
    shown = SHOWN[data.task.name]
    print(f"\n| {data.task.name} | {' | '.join(f'{metric} | 95 %' for metric in shown)} |")
    print("|---" * (1 + 2 * len(shown)) + "|")
    scores = score_models(data, predict_all(methods, data, splits_of(PROTOCOL, data)))
    for name, metrics in scores.items():
        rows = [metrics[m].row(name, data.task, PROTOCOL.kind, m) for m in shown]
        cells = (f"{row.mean:.3f} | {row.low:.3f} to {row.high:.3f}" for row in rows)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--rois", type=int)
    parser.add_argument("--recipes", nargs="*", choices=STARTS, default=["default"])
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        print(f"no site archives at {arguments.folder}: nothing is measured")
        return
    with TemporaryDirectory() as folder:
        study = PretrainingSettings()
        windows = windows_of(arguments.folder, Path(folder), arguments.rois, study)
        signals = SignalReadOuts(windows)
        methods = signal_methods(signals)
        for name, pairs in latents_of(windows, arguments.recipes).items():
            methods += latent_methods(name, pairs, signals)
        for name in SHOWN:
            data = task_data(load_task(name).model_copy(update={"within_site": True}), windows)
            began = time.perf_counter()
            fc = connectivity_methods(data, ConnectivityFeatures(windows), ("correlation",))
            table(data, [*fc, *methods])
            print(f"\n{name}: {time.perf_counter() - began:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
