"""One of everything that a command can be given: archives, stores, scans, a model, a run, YAMLs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from made_consortium import consortium, request

from brainjepa_client.settings import SiteSettings
from brainjepa_client.using.site_evaluation import finetune_site
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.scores.results import Comparison, Results, Row, write_results
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.models.checkpoint import model_digest
from brainjepa_core.models.sources import read_source
from brainjepa_core.origin import claim_folder
from brainjepa_core.pretraining.local import pretrain_locally
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.cohort import CohortSettings, generate_site
from brainjepa_simulations.painting.tree import write_tree

NETWORKS, PER_NETWORK, PEOPLE, FRAMES = 3, 3, 6, 40
ROIS = [f"17Networks_LH_{n}_{i}" for n in ("Vis", "Som", "Def") for i in range(PER_NETWORK)]
STUDY = {
    "model": {
        "width": 8, "depth": 1, "heads": 2, "patch": 4,
        "predictor_width": 8, "predictor_depth": 1, "predictor_heads": 2,
    },
    "windows": {"frames": 16},
    "basis": {"components": 3, "sparsity": 0.2},
    "training": {"batch_size": 4, "schedule": {"total_steps": 2}},
}  # fmt: skip
COHORT = CohortSettings(sites=1, subjects_per_site=2, rois=12, networks=5, frames=60)


def write_workplace(folder: Path) -> Path:
    """Write it; files and folders are named after what they are."""
    rng = np.random.default_rng(0)
    people = [f"p{number}" for number in range(PEOPLE)]
    for number, name in enumerate("ab"):
        signal = rng.standard_normal((PEOPLE * FRAMES, NETWORKS)).repeat(PER_NETWORK, 1)
        np.savez_compressed(
            folder / f"{name}.npz",
            ts=(signal + rng.standard_normal(signal.shape)).astype(np.float32),
            lengths=np.full(PEOPLE, FRAMES),
            participant_id=np.array([f"{name}{person}" for person in people]),
            tr=np.float32(2.0),
            roi=np.array(ROIS),
        )
        ages = {f"{name}{person}": 20 + 3 * i + number for i, person in enumerate(people)}
        table = folder / f"{name}.tsv"
        table.write_text("participant_id\tage\n" + "".join(f"{k}\t{v}\n" for k, v in ages.items()))
        import_site_archive(folder / f"{name}.npz", folder / "stores" / name, table)
    series = folder / "series"
    series.mkdir()
    (folder / "names.txt").write_text("\n".join(ROIS) + "\n")
    np.savetxt(series / "sub-p0.tsv", rng.standard_normal((FRAMES, len(ROIS))), delimiter="\t")
    for name, content in (
        ("study", STUDY),
        ("finetune", {}),
        ("task", {"name": "age", "column": "age", "kind": "regression"}),
        ("protocol", {"kind": "holdout", "seeds": 1}),
        ("site", {"name": "a", "store": "stores/a", "state": "state"}),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    consortium(folder / "consortium")
    request(folder, "Lyon")
    stores = [ScanStore.open(folder / "stores" / name) for name in "ab"]
    settings = PretrainingSettings.model_validate(STUDY)
    pretrain_locally(stores, folder / "run", settings, progress=False)
    evaluated(folder / "evaluated", folder / "run")
    site = read_settings(folder / "site.yaml", SiteSettings)
    task = TaskSettings(name="age", column="age", kind="regression")
    learning = FinetuneSettings(steps=1)
    finetune_site(site, folder / "run", task, learning, folder / "finetuned")
    tree = write_tree(folder / "painted", generate_site(COHORT, 0))
    tree.site.write_text(f"{tree.site.read_text().rstrip()}\n  processes: 1\n")
    return folder


def evaluated(folder: Path, run: Path) -> Path:
    """What an evaluation of a run's model leaves, as far as others read it."""
    model, _ = read_source(run)
    facts = "age", "holdout", "r"
    rows = tuple(Row(name, *facts, 0.4, 0.1, 0.3, 0.5, 40) for name in ("run: probe", "FC"))
    less = Comparison("run: probe", "FC", *facts, 0.1, -0.1, 0.3, 0.2, 0.2)
    write_results(folder, Results(rows, comparisons=(less,)))
    task = {"name": "age", "kind": "regression", "within_site": False}
    claim_folder(folder, {"task": task, "models": [["run", model_digest(model)]]}, ())
    return folder
