"""An evaluation on one machine: several sites' stores, checkpoints, and what stands beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.evaluation.comparison import EvaluationPlan, compare_models
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.readout.log_connectivity import components_of
from brainjepa_core.evaluation.scores.results import Results
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.tasks.across import AcrossHospitals
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.checkpoint import read_description, read_model
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.sources import model_folder, model_name
from brainjepa_core.origin import claim_folder
from brainjepa_core.pretraining.local import RESULTS, run_origin
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.model_windows import read_windows
from brainjepa_core.pretraining.settings import provenance
from brainjepa_core.problems import counted
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.window_settings import WindowSettings
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.connectivity import ConnectivitySum
from brainjepa_core.sums.coskewness import CoskewnessSum
from brainjepa_server.record.history import POOLED, SUMMARY
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import BASIS_FILE, COSKEWNESS_FILE, STUDY_FILE, SUM_FILE
from brainjepa_simulations.baselines.compare import BASELINES
from brainjepa_simulations.engines.virtual_sites import STORES, open_data

MASKED_AUTOENCODER = "masked_autoencoder"
TESTED = "stores-tested"  # archives of --test, imported
SIBLING = "masked autoencoder"  # in the table, where MAE is an error


@dataclass(frozen=True)
class Checkpoint:
    """A model and what it is called in the table."""

    name: str
    path: Path


def find_checkpoints(words: Sequence[str]) -> list[Checkpoint]:
    """Checkpoints meant by ``NAME=PATH``, or by a path alone.

    The folder of a study stands for its final model and, where `--compare` has trained it, the
    one on pooled data.

    Raises
    ------
    ValueError
        If a path holds no model, or two have one name.
    """
    found = []
    for word in words:
        name, folder = _named(word)
        if (folder / SUMMARY).exists():
            found.append(Checkpoint(name or "federated", folder / "final"))
            pooled = folder / BASELINES / POOLED
            if pooled.exists():
                found.append(Checkpoint(f"{name} pooled".strip(), pooled))
        else:
            found.append(Checkpoint(name or model_name(folder), model_folder(folder)))
    names = [checkpoint.name for checkpoint in found]
    if len(set(names)) < len(names):
        raise ValueError(
            f"expected checkpoints of different names, found {', '.join(names)}; give NAME=PATH"
        )
    for checkpoint in found:
        read_description(checkpoint.path)
    return found


def window_settings(checkpoints: Sequence[Checkpoint]) -> WindowSettings:
    """How the checkpoints' windows were made; the defaults without a checkpoint.

    Raises
    ------
    ValueError
        If two checkpoints differ.
    """
    found = [WindowSettings(**read_description(c.path).provenance.signals) for c in checkpoints]
    if len(set(found)) > 1:
        raise ValueError(
            f"expected checkpoints of one kind of windows, found {len(set(found))}; evaluate them "
            "one by one"
        )
    return found[0] if found else WindowSettings()


def read_checkpoint(checkpoint: Checkpoint, windows: Windows) -> BrainModel:
    """The model, if it is of the windows' atlas.

    Raises
    ------
    ValueError
        Naming the first ROI that differs.
    """
    model, found = read_model(checkpoint.path)
    found.require_rois(windows.atlas.rois)
    return model.eval()


def sibling_model(
    study: Path, windows: Windows, out: Path, family: str, device: str = "cpu"
) -> BrainModel:
    """A study's people, sizes and steps with another family's objective; kept in OUT/<family>.

    As the study's pooled model, it never sees the held-out fold.

    Raises
    ------
    ValueError
        If what is kept was made from other people, another study or another basis.
    """
    settings = read_settings(study / STUDY_FILE, StudySettings)
    local = settings.pretraining.of_family(family)
    basis = ConsensusBasis.load(study / BASIS_FILE)
    folds = folds_of_windows(windows, local.training.seed, settings.folds)
    people = windows.only(np.flatnonzero(folds != settings.held_out_fold).tolist())
    run = out / family
    told = run_origin(windows, local, local.model_settings(len(windows.atlas)))
    held_out = {"folds": settings.folds, "held_out_fold": settings.held_out_fold}
    claim_folder(run, {**told, **held_out, "basis hash": basis.hash}, RESULTS)
    if not (run / "final").exists():
        training = local.new_training(basis, device)
        pretrain(training, people, provenance(windows, basis), run)
    return read_model(run / "final")[0].eval()


def run_evaluation(
    data: Path,
    words: Sequence[str],
    task: TaskSettings,
    protocol: ProtocolSettings,
    out: Path,
    *,
    test: Path | None = None,
    asks: bool = True,
    finetune: FinetuneSettings | None = None,
    methods: tuple[str, ...] = (),
    mae: bool = True,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> Results:
    """One table for several sites' stores or archives.

    Parameters
    ----------
    data : Path
        Folder of stores, or of site archives with their ``participants.tsv``.
    words : sequence of str
        Checkpoints (`find_checkpoints`).
    task, protocol
        With `test`, the protocol's splits are not used.
    out : Path
    test : Path, optional
        Folder of other hospitals, as `data`: those of `data` train, these are tested.
    asks : bool
        With `test`, also what hospitals ask (`brainjepa_core.evaluation.asked`).
    finetune, methods
        As in `brainjepa_core.evaluation.comparison.EvaluationPlan`.
    mae : bool
        Train a masked autoencoder where a checkpoint is a study's, on people who train only.
    device : str
        Where people are embedded and everything is trained that torch trains.
    say, progress : callable
        As in `brainjepa_core.evaluation.comparison.compare_models`.

    Raises
    ------
    ValueError
        If data, checkpoints or task do not fit one another.
    """
    checkpoints = find_checkpoints(words)
    stores = [ScanStore.open(path) for path in open_data(data, out / STORES)]
    trained = len(stores)
    if test is not None:
        tested = open_data(test, out / TESTED, stores[0].atlas)
        stores += [ScanStore.open(path) for path in tested]
        protocol = _transfer(tested)
    shapes = [read_description(c.path).settings for c in checkpoints]
    windows = read_windows(shapes, stores, window_settings(checkpoints))
    across = None if test is None else AcrossHospitals.of(windows, trained)
    if across is not None:
        windows = across.windows
        for note in across.notes:
            say(note)
    models = {c.name: read_checkpoint(c, windows) for c in checkpoints}
    study = next((_named(w)[1] for w in words if _is_study(w)), None)
    if any(shape.volumes is not None for shape in shapes):
        if (asks and across is not None) or (mae and study is not None):
            say("left out, as models here read volumes: what is asked and trained of series")
        asks = mae = False
    mae = mae and study is not None
    made = mae and (out / MASKED_AUTOENCODER / "final").exists()
    for line in to_be_trained(mae and not made, finetune, len(models) + mae):
        say(f"to be trained: {line}")
    if mae and study is not None:
        train = windows if across is None else across.training
        models[SIBLING] = sibling_model(study, train, out, MASKED_AUTOENCODER, device)
    consensus = directions = None
    if across is not None:
        consensus, whose = _consensus(words, windows)
        say(f"log-connectivity is seen from the mean connectivity of {whose}")
    if across is not None and "coskewness" in methods:
        directions, whose = _directions(words, windows)
        say(f"co-skewness is that of {whose}")
    comparison = EvaluationPlan(
        task, protocol, models, finetune, methods, device, across, consensus, directions, asks
    )
    return compare_models(comparison, windows, out, say, progress)


def _transfer(tested: Sequence[Path]) -> ProtocolSettings:
    """What the results say of a test at other hospitals."""
    names = tuple(sorted({path.name for path in tested}))
    return ProtocolSettings(kind="transfer", seeds=1, test_sites=names)


def _consensus(words: Sequence[str], windows: Windows) -> tuple[Float64 | None, str]:
    """Mean connectivity [R, R] that the first study among the checkpoints has, and whose it is."""
    for word in words:
        file = _named(word)[1] / SUM_FILE
        if file.exists():
            total = ConnectivitySum.load(file)
            if total.rois == windows.atlas.rois:
                people = counted(total.subjects, "person", "people")
                return total.mean_fc(), f"the {people} of the study's sites"
    return None, "those who train"


def _directions(words: Sequence[str], windows: Windows) -> tuple[Float64 | None, str]:
    """Directions [R, m] that keep most co-skewness, as `_consensus` has mean connectivity."""
    for word in words:
        file = _named(word)[1] / COSKEWNESS_FILE
        if file.exists():
            total = CoskewnessSum.load(file)
            if total.rois == windows.atlas.rois:
                found = total.directions(components_of(len(total.rois)))
                people = counted(total.subjects, "person", "people")
                return found, f"the {people} of the study's sites"
    return None, "those who train"


def _is_study(word: str) -> bool:
    return (_named(word)[1] / SUMMARY).exists()


def _named(word: str) -> tuple[str, Path]:
    """Name, empty where there is none, and path; both may hold a ``=``, a name no ``/``."""
    name, equals, path = word.partition("=")
    if not equals or "/" in name or Path(word).exists():
        return "", Path(word)
    return name, Path(path)


def to_be_trained(mae: bool, finetune: FinetuneSettings | None, models: int) -> list[str]:
    """What an evaluation is about to train, a line each, and how to leave it out."""
    told = []
    if mae:
        told.append("a masked autoencoder with the study's budget (left out by --no-mae)")
    if finetune is not None and models:
        told.append(
            f"fine-tuning of {counted(models, 'model')} and one network from scratch, for every "
            "split and seed (left out by --finetune no)"
        )
    return told
