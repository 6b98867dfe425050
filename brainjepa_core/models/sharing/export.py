"""A model as a folder to hand on: weights, how signals are brought to them, and a card."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from brainjepa_core.files import atomic_folder
from brainjepa_core.models.checkpoint import DESCRIPTION
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import family_of
from brainjepa_core.models.sharing.archive import FILES, opened, write_archive
from brainjepa_core.models.sharing.card import CARD, read_card, with_licence
from brainjepa_core.models.sharing.measured import Measured, with_figures
from brainjepa_core.models.sharing.onnx_encoder import ENCODER, write_onnx
from brainjepa_core.models.sources import model_folder, model_name, read_source

ARCHIVE = ".zip"
OF_FILES = "\n## Files\n"  # the card's last heading
CHECKPOINT, GRADIENTS = "model.pth.tar", "gradients.csv"


def export_model(
    source: str | Path,
    out: str | Path,
    form: str = "safetensors",
    licence: str | None = None,
    measured: Sequence[Callable[[BrainModel], Measured]] = (),
) -> None:
    """Write a model so that others can use it.

    Parameters
    ----------
    source : path
        Folder of a model, a run or a study, or an archive of a model.
    out : path
        A new folder, or a new .zip of one.
    form : str
        Of `FORMS`.
    licence : str, optional
        Of the data, for the card.
    measured : sequence of callable
        What evaluations found of the model, for the card; each says so if it was of another.

    Raises
    ------
    ValueError
        If there is no such model, `out` exists, or the model cannot be written in this form.
    """
    out = Path(out)
    if out.exists():
        raise ValueError(f"expected a new folder, found '{out.name}'; choose another name")
    with opened(source) as folder:
        model, _ = read_source(folder)
        folder = model_folder(folder)
        card = read_card(folder, model_name(source))
        card = with_licence(card, licence) if licence is not None else card
        for found in measured:
            card = with_figures(card, found(model))
        if out.suffix == ARCHIVE:
            with TemporaryDirectory() as made:
                _fill(Path(made), model, folder, form, card)
                write_archive(out, Path(made))
        else:
            with atomic_folder(out) as made_folder:
                _fill(made_folder, model, folder, form, card)


def _fill(made: Path, model: BrainModel, folder: Path, form: str, card: str) -> None:
    about = FORMS[form](made, model, folder)
    card = card.partition(OF_FILES)[0].rstrip()  # of an export that is exported again
    (made / CARD).write_text(f"{card}\n{OF_FILES}\n{about}\n", encoding="utf-8")


def _safetensors(made: Path, model: BrainModel, folder: Path) -> str:
    there = [name for name in FILES if (folder / name).is_file()]
    for name in there:
        shutil.copyfile(folder / name, made / name)
    return (
        f"`{DESCRIPTION}` says the family, its sizes, the names of the regions in the order of "
        "rows, and how signals are resampled, cut and scaled; the other files hold weights, and "
        "no code."
    )


def _published(made: Path, model: BrainModel, folder: Path) -> str:
    family = family_of(model)
    if family.write_published is None:
        raise ValueError(
            f"expected a model whose family has published checkpoints, found '{family.name}'; "
            "export it as safetensors"
        )
    family.write_published(model, made / CHECKPOINT)
    np.savetxt(made / GRADIENTS, model.basis.numpy(), delimiter=",")
    shutil.copyfile(folder / DESCRIPTION, made / DESCRIPTION)
    return (
        f"`{CHECKPOINT}` names its arrays as the authors' code does, and `{GRADIENTS}` is what "
        f"that code reads beside it, a row a region; `{DESCRIPTION}` says which regions, and how "
        f'signals were prepared. `brainjepa.load("{CHECKPOINT}", gradients="{GRADIENTS}", '
        "windows=...)` reads them."
    )


def _onnx(made: Path, model: BrainModel, folder: Path) -> str:
    write_onnx(model, made / ENCODER)
    shutil.copyfile(folder / DESCRIPTION, made / DESCRIPTION)
    s = model.settings
    return (
        f"`{ENCODER}` makes tokens of windows: `windows` float32 [batch, {s.rois}, {s.frames}] and "
        f"`token_valid` bool [batch, {s.tokens}] (false for a region that is missing; a region's "
        f"{s.time_patches} tokens lie side by side) to `tokens`. `{DESCRIPTION}` says which "
        "regions, and how signals have to be resampled and scaled first. `brainjepa.load` needs "
        "the weights themselves: export those as safetensors."
    )


FORMS: dict[str, Callable[[Path, BrainModel, Path], str]] = {
    "safetensors": _safetensors,
    "published": _published,
    "onnx": _onnx,
}
