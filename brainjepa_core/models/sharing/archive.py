"""A model's folder in one file, .zip or .tar.gz: only files of a model are taken out of it."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

from brainjepa_core.files import atomic_path
from brainjepa_core.models.checkpoint import DESCRIPTION, WEIGHTS
from brainjepa_core.models.consensus_file import CONSENSUS
from brainjepa_core.models.sharing.card import CARD

FILES = (DESCRIPTION, WEIGHTS, CONSENSUS, CARD)


@contextmanager
def opened(source: str | Path) -> Iterator[Path]:
    """A model's folder for as long as it is read: that of an archive, or what is no archive itself.

    Parameters
    ----------
    source : path
        A folder, an archive that holds one, or any other file, which is left as it is.

    Raises
    ------
    ValueError
        If the archive is damaged.
    """
    source = Path(source).expanduser()
    if not source.is_file():
        yield source
        return
    with TemporaryDirectory() as made:
        try:
            found = _taken_out(source, Path(made))
        except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, RuntimeError) as error:
            raise ValueError(
                f"expected an intact archive of a model's folder, found a damaged '{source.name}'; "
                "copy it again"
            ) from error
        yield Path(made) if found else source


def write_archive(path: Path, folder: Path) -> None:
    """Write the files of a folder as a .zip, in one step; weights do not compress."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{path.stem}/{file.name}")


def _taken_out(source: Path, folder: Path) -> bool:
    """Copy a model's files out of an archive; False if it is none, or holds no model."""
    if zipfile.is_zipfile(source):  # a published checkpoint (.pth.tar) is one too
        with zipfile.ZipFile(source) as archive:
            for name, member in _of_model(archive.namelist()).items():
                with archive.open(member) as content:
                    _copy(content, folder / name)
    elif tarfile.is_tarfile(source):
        with tarfile.open(source) as tar:
            files = [member.name for member in tar if member.isfile()]
            for name, member in _of_model(files).items():
                plain = tar.extractfile(member)
                assert plain is not None  # as files are
                with plain:
                    _copy(plain, folder / name)
    return (folder / DESCRIPTION).exists()


def _of_model(members: list[str]) -> dict[str, str]:
    """Members by the names of a model's files: those beside the first description."""
    homes = [PurePosixPath(m).parent for m in members if PurePosixPath(m).name == DESCRIPTION]
    paths = {PurePosixPath(member): member for member in members}
    return {name: paths[homes[0] / name] for name in FILES if homes and (homes[0] / name) in paths}


def _copy(content: IO[bytes], path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
