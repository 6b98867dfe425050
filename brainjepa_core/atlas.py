"""ROIs by name: which regions there are, in which order, and which network each belongs to.

Identity is by name, never by row: the common volumetric files of the default atlas list the
cortex in 7-network order, which would assign 396 of 400 cortical rows to the wrong region.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from brainjepa_core.problems import plainly

DEFAULT_ATLAS = "tian3_schaefer400_17networks"
UNKNOWN = "n/a"
SHOWN = 3  # names an error lists before it says how many more there are

_SCHAEFER = re.compile(r"^(?:7|17)Networks_([LR])H_([A-Za-z0-9]+)")
_SIDE_AT_END = re.compile(r"[-_]([lr])h$", re.IGNORECASE)
_SIDE_WITHIN = re.compile(r"(?:^|_)([LR])H(?:_|$)")


@dataclass(frozen=True)
class Atlas:
    """An ordered list of named ROIs.

    Attributes
    ----------
    name : str
    rois : tuple of str
        R names, in the order of rows of every array that goes with this atlas.
    networks, hemispheres : tuple of str
        Network and "L" or "R" of each ROI; "n/a" where unknown.
    centroids : tuple of (float, float, float), optional
        Centres in millimetres of MNI space.
    """

    name: str
    rois: tuple[str, ...]
    networks: tuple[str, ...]
    hemispheres: tuple[str, ...]
    centroids: tuple[tuple[float, float, float], ...] | None = None

    def __post_init__(self) -> None:
        repeated = sorted({roi for roi in self.rois if self.rois.count(roi) > 1})
        if not self.rois or repeated or not all(roi.strip() for roi in self.rois):
            found = f"repeated: {_some(repeated)}" if repeated else "an empty list or name"
            raise ValueError(
                f"expected ROI names that are non-empty and different, found {found}; "
                "give every ROI its own name"
            )
        columns = [self.networks, self.hemispheres]
        if self.centroids is not None:
            columns.append(self.centroids)  # type: ignore[arg-type]
        if any(len(column) != len(self.rois) for column in columns):
            raise ValueError(
                f"expected a network, hemisphere and centroid for each of {len(self.rois)} ROIs, "
                f"found {[len(column) for column in columns]}; complete the table"
            )

    def __len__(self) -> int:
        return len(self.rois)

    @classmethod
    def from_names(cls, names: Sequence[str], name: str = "named list") -> Atlas:
        """Atlas of any named list; network and hemisphere are read from names that carry them.

        Parameters
        ----------
        names : sequence of str
            Such as ``17Networks_LH_VisCent_ExStr_1``, ``HIP-head-m-rh`` or ``cc200_1``.
        name : str
            What the list is called in messages and checkpoints.
        """
        rois = tuple(str(roi) for roi in names)
        return cls(name, rois, tuple(map(_network, rois)), tuple(map(_hemisphere, rois)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the ordered ROI names, in hexadecimal."""
        return hashlib.sha256("\n".join(self.rois).encode()).hexdigest()

    @cached_property
    def network_index(self) -> NDArray[np.int64]:
        """Network of each ROI [R] as a number, in order of first appearance."""
        order = {network: i for i, network in enumerate(dict.fromkeys(self.networks))}
        return np.array([order[network] for network in self.networks], np.int64)

    @property
    def has_networks(self) -> bool:
        """Whether at least two networks are known."""
        return len(set(self.networks)) > 1

    def rows_of(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Rows of a foreign array that bring it to this atlas' order.

        Parameters
        ----------
        names : sequence of str
            ROI names of the foreign array's rows, in any order; more ROIs than the atlas' are
            fine.

        Returns
        -------
        ndarray [R]
            ``foreign[atlas.rows_of(names)]`` is in atlas order; -1 marks an ROI that is missing.

        Raises
        ------
        ValueError
            If a name is repeated or none is known.
        """
        place = {roi: i for i, roi in enumerate(names)}
        if len(place) != len(names):
            repeated = sorted({roi for roi in names if list(names).count(roi) > 1})
            raise ValueError(
                f"expected each ROI once, found {_some(repeated)} repeated; remove the copies"
            )
        rows = np.array([place.get(roi, -1) for roi in self.rois], np.int64)
        if (rows < 0).all():
            raise ValueError(
                f"expected ROI names of atlas '{self.name}' such as {_some(self.rois)}, found "
                f"{_some(list(names))}; give names of this atlas, or choose the atlas of the data"
            )
        return rows

    def take(self, names: Sequence[str]) -> Atlas:
        """The named ROIs of this atlas, in the order given.

        Raises
        ------
        ValueError
            If a name is not in this atlas.
        """
        unknown = [name for name in names if name not in self.rois]
        if unknown:
            raise ValueError(
                f"expected ROIs of atlas '{self.name}', found {_some(unknown)}; "
                "spell them as the atlas does"
            )
        rows = [self.rois.index(name) for name in names]
        centroids = self.centroids
        return Atlas(
            f"{self.name}[{len(rows)}]",
            tuple(names),
            tuple(self.networks[row] for row in rows),
            tuple(self.hemispheres[row] for row in rows),
            None if centroids is None else tuple(centroids[row] for row in rows),
        )


def load_atlas(name: str | Path = DEFAULT_ATLAS) -> Atlas:
    """Atlas that ships with the package, or a table of one's own.

    Parameters
    ----------
    name : str or Path
        A shipped name, or a TSV file with a column ``name`` and, where known, ``network``,
        ``hemisphere``, ``x``, ``y`` and ``z``.

    Raises
    ------
    ValueError
        If there is no such atlas, or the table cannot be read or has no column ``name``.
    """
    if Path(name).suffix == ".tsv":
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(
                f"expected a table of ROI names '{Path(name).name}' in UTF-8, found "
                f"{plainly(error)}; correct the path of the atlas, or fetch the file"
            ) from error
        return _from_table(Path(name).stem, text)
    return _shipped(str(name))


@cache
def _shipped(name: str) -> Atlas:
    table = files("brainjepa_core") / "data" / f"{name}.tsv"
    if not table.is_file():
        raise ValueError(
            f"expected the atlas '{DEFAULT_ATLAS}' or a .tsv file, found '{name}'; "
            "list the ROI names of another atlas in a TSV with a column 'name'"
        )
    return _from_table(name, table.read_text(encoding="utf-8"))


def _from_table(name: str, text: str) -> Atlas:
    table = csv.DictReader(text.splitlines(), delimiter="\t")
    columns = [column for column in table.fieldnames or () if column]
    if len(set(columns)) < len(columns):
        again = next(column for column in columns if columns.count(column) > 1)
        raise ValueError(
            f"expected each column once, found '{again}' again in line 1; rename or remove one"
        )
    rows = list(table)
    if not rows or "name" not in rows[0]:
        raise ValueError(
            f"expected a tab-separated table with a column 'name', found "
            f"{', '.join(columns) or 'no columns'} in atlas '{name}'; add one row an ROI"
        )
    named = Atlas.from_names([row["name"] for row in rows], name)
    centroids = None
    if {"x", "y", "z"} <= rows[0].keys():
        try:
            centroids = tuple((float(r["x"]), float(r["y"]), float(r["z"])) for r in rows)
        except (TypeError, ValueError) as error:
            raise ValueError(
                "expected x, y and z of every ROI in mm, found a cell without a number in "
                f"atlas '{name}'; complete them, or leave out the three columns"
            ) from error
    return Atlas(
        name,
        named.rois,
        tuple(r.get("network") or n for r, n in zip(rows, named.networks, strict=True)),
        tuple(r.get("hemisphere") or h for r, h in zip(rows, named.hemispheres, strict=True)),
        centroids,
    )


@cache
def names_in_7network_order() -> tuple[str, ...]:
    """17-network names of the default atlas' ROIs in the order of 7-network files.

    Tian's combined volumes and CIFTI files list the 50 subcortical ROIs, then the cortex in
    7-network order. ``load_atlas().rows_of(names_in_7network_order())`` reorders rows of such
    data; every parcel is the same region under two names.
    """
    ordered = sorted(default_rows(), key=lambda row: int(row["row_7networks"]))
    return tuple(row["name"] for row in ordered)


def to_17network_names(names: Sequence[str]) -> tuple[str, ...]:
    """Replace 7-network names of Schaefer parcels by the same parcels' 17-network names.

    Names of the default atlas, and any others, are kept: a list may be mixed.
    """
    new = {row["name_7networks"]: row["name"] for row in default_rows()}
    return tuple(new.get(name, name) for name in names)


@cache
def default_rows() -> tuple[dict[str, str], ...]:
    """Rows of the default atlas' table, with each ROI's name and row in 7-network order."""
    text = (files("brainjepa_core") / "data" / f"{DEFAULT_ATLAS}.tsv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines(), delimiter="\t"))


def _network(roi: str) -> str:
    match = _SCHAEFER.match(roi)
    if match:
        return match[2]
    prefix = roi.split("_")[0]
    return prefix if re.fullmatch(r"Net\d+", prefix) else UNKNOWN


def _hemisphere(roi: str) -> str:
    match = _SIDE_WITHIN.search(roi) or _SIDE_AT_END.search(roi)
    return match[1].upper() if match else UNKNOWN


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
