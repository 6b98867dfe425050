"""Pretraining on this machine: all people of some stores together, in one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from brainjepa_core.arrays import Float64
from brainjepa_core.devices import require_device
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.basis import connectivity_sum
from brainjepa_core.pretraining.loop import pretrain
from brainjepa_core.pretraining.settings import PretrainingSettings, provenance
from brainjepa_core.signals.scans import Scans
from brainjepa_core.signals.windows import Windows


def pretrain_locally(
    stores: Sequence[Scans],
    run: str | Path,
    study: PretrainingSettings,
    device: str = "cpu",
    say: Callable[[str], object] | None = None,
    progress: bool = True,
) -> Path:
    """Train to the study's last step, resuming what the run folder holds.

    Parameters
    ----------
    stores : sequence of Scans
    run : path
    study : PretrainingSettings
    device : str
    say : callable, optional
        Told in one line what begins.
    progress : bool
        Show a bar.

    Returns
    -------
    Path
        Folder of the model, ``RUN/final``.

    Raises
    ------
    ValueError
        If this machine has no such device, or the folder holds a run of something else.
    """
    require_device(device)
    windows = study.windows_of(stores)
    sizes = study.model_settings(len(windows.atlas))  # refused before anything is written
    if say is not None:
        say(
            f"{windows.subjects} people of {len(stores)} sites, {sizes.rois} ROIs x "
            f"{sizes.frames} frames = {sizes.tokens} tokens; {study.preset}, recipe "
            f"{study.recipe}, {study.training.schedule.total_steps} steps of "
            f"{study.training.batch_size}"
        )
    basis, _ = basis_of_run(windows, study, run)
    training = study.new_training(basis, device)
    pretrain(training, windows, provenance(windows, basis), run, progress=progress)
    return Path(run) / "final"


def basis_of_run(
    windows: Windows, study: PretrainingSettings, run: str | Path
) -> tuple[ConsensusBasis, Float64]:
    """The run's basis, computed once and kept in ``RUN/basis.npz``, and the mean connectivity."""
    total = connectivity_sum(windows)
    path = Path(run) / "basis.npz"
    if path.exists():
        basis = ConsensusBasis.load(path)
        basis.require_rois(windows.atlas.rois)
    else:
        basis = ConsensusBasis.from_sum(total, study.basis.components, study.basis.sparsity)
        basis.save(path)
    return basis, total.mean_fc()
