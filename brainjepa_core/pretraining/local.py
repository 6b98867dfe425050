"""Pretraining on this machine: all people of some stores together, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from brainjepa_core.arrays import Float64
from brainjepa_core.command.waiting import waiting
from brainjepa_core.files import lone_writer
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.machine.devices import require_counted, require_device
from brainjepa_core.models.consensus_file import read_consensus, write_consensus
from brainjepa_core.models.interface import ModelShape
from brainjepa_core.models.sharing.card import CARD, write_card
from brainjepa_core.origin import claim_folder, require_origin
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.loop import LOG, pretrain
from brainjepa_core.pretraining.parallel.local import pretrain_together
from brainjepa_core.pretraining.parallel.settings import Devices
from brainjepa_core.pretraining.run_card import run_card
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.pretraining.site_sums.basis import basis_of_sum, connectivity_sum
from brainjepa_core.pretraining.state import FORMAT
from brainjepa_core.problems import counted
from brainjepa_core.signals.data_origin import data_origin
from brainjepa_core.signals.storing.scans import Scans
from brainjepa_core.signals.windows import Windows

BASIS = "basis.npz"
LOCK = ".lock"  # of whoever trains the run
RESULTS = (BASIS, LOG, "states", "final")


def pretrain_locally(
    stores: Sequence[Scans],
    run: str | Path,
    study: PretrainingSettings,
    device: str = "cpu",
    computing: Computing = EXACT,
    say: Callable[[str], object] | None = None,
    progress: bool = True,
    on_begin: Callable[[], object] | None = None,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    together: Devices | None = None,
    processes: int = 1,
) -> Path:
    """Train to the study's last step, resuming what the run folder holds.

    Parameters
    ----------
    stores : sequence of Scans
    run : path
    study : PretrainingSettings
    device : str
    computing : Computing
        How steps are computed.
    say : callable, optional
        Told in one line what begins.
    progress : bool
        Show a bar.
    on_begin : callable, optional
        Called when nothing is left to refuse, and the folder is the run's.
    on_log : callable, optional
        As `loop.pretrain` takes it.
    together : Devices, optional
        Devices that train in a process each, from stores on disk, in place of `device`.
    processes : int
        In which connectivity is summed for the basis, as `connectivity_sum` takes it.

    Returns
    -------
    Path
        Folder of the model, ``RUN/final``.

    Raises
    ------
    ValueError
        If this machine has no such device, devices cannot share the study's micro-batches, steps
        would not be as exact as the study asks, or the folder holds a run of other people, scans
        or settings.
    BlockingIOError
        If another process trains the run.
    """
    if together is None:
        require_device(device)
        computing.require_on(device)
    else:
        for name in together.devices:
            require_counted(name)
            computing.require_on(name)
    computing.require_within(study.training.tolerance)
    if together is not None:
        together.require_divides(study.training.accumulation)
        together.require_within(study.training.tolerance)
    windows = study.windows_of(stores)
    sizes = study.model_settings(len(windows.atlas))  # refused before anything is written
    run = Path(run)
    origin = run_origin(windows, study, sizes, computing, together)
    require_origin(run, origin, RESULTS)
    run.mkdir(parents=True, exist_ok=True)
    with lone_writer(run / LOCK, "into the run", wait=False):
        if say is not None:
            say(
                f"{counted(windows.subjects, 'person', 'people')} of "
                f"{counted(len(stores), 'site')}, {counted(sizes.rois, 'ROI')} x "
                f"{counted(sizes.frames, 'frame')} = {counted(sizes.tokens, 'token')}; "
                f"{study.preset}, recipe {study.recipe}, "
                f"{counted(study.training.schedule.total_steps, 'step')} of "
                f"{study.training.batch_size}"
            )
        with waiting(Console(quiet=not progress), "consensus basis"):
            basis, mean_fc = _kept_basis(windows, run) or basis_of_run(
                windows, study, run, processes
            )
        claim_folder(run, origin, RESULTS)
        if on_begin is not None:
            on_begin()
        if not (run / BASIS).exists():
            basis.save(run / BASIS)
        if together is not None:
            paths = [store.path for store in stores]
            pretrain_together(paths, run, run / BASIS, study, together, computing, progress, on_log)
        else:
            training = study.new_training(basis, device, computing)
            tied = provenance(windows, basis)
            pretrain(training, windows, tied, run, progress=progress, on_log=on_log)
        write_consensus(run / "final", mean_fc)
        if not (run / "final" / CARD).exists():  # a run that is done stays as it is
            write_card(run / "final", run_card(run.resolve().name, windows, study, sizes))
    return run / "final"


def run_origin(
    windows: Windows,
    study: PretrainingSettings,
    sizes: ModelShape,
    computing: Computing = EXACT,
    together: Devices | None = None,
) -> dict[str, Any]:
    """All that decides what a run computes; presets count by the sizes they stand for.

    Devices count where their sums are not those of one process.
    """
    settings = study.model_dump(mode="json", include={"family", "windows", "basis", "training"})
    model = sizes.model_dump(mode="json")
    how: dict[str, Any] = {"model": model, "computing": computing.model_dump(mode="json")}
    if together is not None and together.deviation > 0:
        how["devices"] = together.deciding
    return {**data_origin(windows), **settings, **how, "format of states": FORMAT}


def basis_of_run(
    windows: Windows, study: PretrainingSettings, run: str | Path, processes: int = 1
) -> tuple[ConsensusBasis, Float64]:
    """The basis in ``RUN/basis.npz``, or else that of the windows; and their mean connectivity."""
    total = connectivity_sum(windows, processes)
    path = Path(run) / BASIS
    if path.exists():
        basis = _read_basis(windows, path)
    else:
        basis = basis_of_sum(total, study.basis, windows.atlas)
    return basis, total.mean_fc()


def _kept_basis(windows: Windows, run: Path) -> tuple[ConsensusBasis, Float64] | None:
    """What `basis_of_run` gave a run of these windows that is done; None of another one."""
    kept = read_consensus(run / "final", len(windows.atlas))
    if kept is None or not (run / BASIS).exists():
        return None
    return _read_basis(windows, run / BASIS), kept


def _read_basis(windows: Windows, path: Path) -> ConsensusBasis:
    basis = ConsensusBasis.load(path)
    basis.require_rois(windows.atlas.rois)
    return basis
