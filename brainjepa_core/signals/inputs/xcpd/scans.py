"""XCP-D derivatives of every generation of file names.

::

    ..._space-S_atlas-A_timeseries.tsv            up to 0.6
    ..._space-S_seg-A_stat-mean_timeseries.tsv    0.7 to 0.11
    ..._space-S_atlas-A_stat-mean_timeseries.tsv  26

A scan may need several atlases: 400 cortical parcels from ``4S456Parcels``, 50 nuclei from
``Tian``. Names of columns decide; the 56 other ROIs of 4S456Parcels are none of ours, and its
smaller and larger siblings, which give the same names to other parcels, are passed over.

Source: xcp-d.readthedocs.io, "Outputs". The sidecar of a series has no repetition time (its
``SamplingFrequency`` is the text "TR"); that of the denoised image has.

Shapes: R ROIs, F frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas
from brainjepa_core.signals.inputs.bids import (
    NATIVE,
    VERSIONS,
    BidsFile,
    choice,
    read_sidecar,
    repetition_time,
    walk_functional,
)
from brainjepa_core.signals.inputs.parcellated import header_of, raw_scan
from brainjepa_core.signals.inputs.xcpd.motion import read_motion
from brainjepa_core.signals.preparation import InputSettings
from brainjepa_core.signals.problems import ScanProblem
from brainjepa_core.signals.scan import FoundScan, RawScan, ScanHeader
from brainjepa_core.signals.tables.roi_names import in_atlas_order, to_atlas_names
from brainjepa_core.signals.tables.series_files import refusal
from brainjepa_core.signals.tables.text_tables import first_row, peek_table, read_table

TABLES = (".tsv", ".tsv.gz")
VARIANT = ("space", *VERSIONS)
Key = tuple[str, str, str]


@dataclass(frozen=True)
class XcpdScan(FoundScan):
    """One run, parcellated with one or more atlases.

    Attributes
    ----------
    series : tuple of Path
        Time series; where two have an ROI, the first gives it.
    coverage : tuple of Path
        Tables of ``Node`` and ``coverage`` beside them.
    sidecars : tuple of Path
        JSON that may hold ``RepetitionTime``.
    motion, outliers : Path, optional
    atlas : Atlas
    told_tr : float, optional
        The site's word on the repetition time in seconds.
    """

    series: tuple[Path, ...]
    coverage: tuple[Path, ...]
    sidecars: tuple[Path, ...]
    motion: Path | None
    outliers: Path | None
    atlas: Atlas
    told_tr: float | None = None

    def check(self) -> ScanHeader:
        """Names in the first lines, numbers of frames, and the repetition time."""
        frames = []
        for file in self.series:
            table, rows = peek_table(file)
            _known_rois(file, table.columns, self.atlas)
            frames.append(rows)
        self._refuse_other_lengths(frames)
        return header_of(self.series[0], frames[0], self._tr())

    def read(self) -> RawScan:
        """The series of all atlases by name, with motion and what became of moved frames."""
        parts = [_read_series(file, self.atlas) for file in self.series]
        self._refuse_other_lengths([part.shape[1] for part in parts])
        series = _first_known(parts)
        motion = read_motion(self.series[0], series.shape[1], self.motion, self.outliers)
        covered = [_read_coverage(file, self.atlas) for file in self.coverage]
        return raw_scan(
            self.series[0],
            series,
            self.atlas,
            self._tr(),
            coverage=_first_known(covered) if covered else None,
            fd=motion.fd,
            keep=motion.keep,
            details=motion.details,
        )

    def _tr(self) -> float:
        """What the site said, or the first sidecar that says it."""
        file = self.series[0]
        for sidecar in self.sidecars if self.told_tr is None else ():
            content = read_sidecar(sidecar)
            hertz = content.get("SamplingFrequency")
            header = 1 / hertz if isinstance(hertz, int | float) and hertz > 0 else math.nan
            if "RepetitionTime" in content or not math.isnan(header):
                return repetition_time(file, header, sidecar)
        return repetition_time(file, math.nan, file.with_suffix(".json"), self.told_tr)

    def _refuse_other_lengths(self, frames: Sequence[int]) -> None:
        for file, count in zip(self.series, frames, strict=True):
            if count != frames[0]:
                raise ScanProblem(
                    file,
                    f"{frames[0]} frames, as with the other atlas",
                    f"{count}",
                    "run XCP-D on this scan again with all atlases at once",
                )


def find(settings: InputSettings, atlas: Atlas) -> tuple[list[XcpdScan], list[ScanProblem]]:
    """Runs of a dataset by key, and what keeps others out; of each atlas, one header is read."""
    files, problems = walk_functional(settings.folder)
    files = [file for file in files if settings.task in (None, file["task"])]
    series: dict[Key, list[BidsFile]] = {}
    for file in _without_joined([file for file in files if _measures(file, "timeseries")]):
        series.setdefault(file.key, []).append(file)
    beside, atlases, scans = _Companions(files), _Choice(atlas), []
    for key, own in sorted(series.items()):
        try:
            chosen = atlases.of(_one_variant(own, settings))
        except ScanProblem as problem:
            problems.append(problem)
            continue
        scans.append(beside.scan(key, chosen, atlas, settings.tr))
    return scans, problems


def _measures(file: BidsFile, suffix: str) -> bool:
    mean = file["stat"] in ("", "mean") and not file["desc"]
    return mean and file["suffix"] == suffix and file["ext"] in TABLES and bool(_label(file))


def _place(file: BidsFile) -> tuple[str, ...]:
    """Scan, grid and atlas of a series or its coverage."""
    return (*file.key, *(file[entity] for entity in VARIANT), _label(file))


def _label(file: BidsFile) -> str:
    return file["atlas"] or file["seg"]


def _without_joined(files: Sequence[BidsFile]) -> list[BidsFile]:
    """Leave out what XCP-D joined from runs (``--combine-runs``): the runs are there as well."""
    joined = {_without_run(file) for file in files if file["run"]}
    return [file for file in files if file["run"] or file.key not in joined]


def _without_run(file: BidsFile) -> Key:
    return replace(file, entities={k: v for k, v in file.entities.items() if k != "run"}).key


def _one_variant(files: Sequence[BidsFile], settings: InputSettings) -> list[BidsFile]:
    """The files in the space asked for, or in the only one there is, of the version asked for."""
    told = [getattr(settings, version) for version in VERSIONS]
    variants: dict[tuple[str, ...], list[BidsFile]] = {}
    for file in files:
        versions = [file[version] or NATIVE for version in VERSIONS]
        if all(wish in (None, found) for wish, found in zip(told, versions, strict=True)):
            variants.setdefault((file["space"], *versions), []).append(file)
    asked = [variant for variant in variants if variant[0] == settings.space] or list(variants)
    labels = [_label(file) for variant in asked for file in variants[variant]]
    if len(asked) == 1 and len(set(labels)) == len(labels):
        return variants[asked[0]]
    names = [file.path for variant in asked for file in variants[variant]]
    chosen = choice(names or [file.path for file in files], VARIANT)
    raise ScanProblem(
        files[0].path,
        "one time series an atlas",
        f"{len(asked)} versions" if len(asked) != 1 else "two of one atlas",
        chosen or ("move away all but one" if names else "choose another input.res, den or cohort"),
    )


class _Choice:
    """Which atlases' series are taken: fewest files for most ROIs."""

    def __init__(self, atlas: Atlas) -> None:
        self._atlas = atlas
        self._known: dict[str, frozenset[str]] = {}

    def of(self, files: Sequence[BidsFile]) -> list[BidsFile]:
        """Files in the order in which they are believed.

        Raises
        ------
        ScanProblem
            If a file cannot be read, or none has an ROI of the atlas.
        """
        chosen: list[BidsFile] = []
        covered: frozenset[str] = frozenset()
        known = [self._rois(file) for file in files]
        while True:
            gains = [len(rois - covered) for rois in known]
            if not any(gains):
                break
            best = gains.index(max(gains))
            chosen.append(files[best])
            covered |= known[best]
        if not chosen:
            raise ScanProblem(
                files[0].path,
                f"a first line with ROI names of atlas '{self._atlas.name}' in one of its series",
                f"atlases {', '.join(sorted(_label(file) for file in files))}",
                "run XCP-D with --atlases 4S456Parcels Tian",
            )
        return chosen

    def _rois(self, file: BidsFile) -> frozenset[str]:
        """ROIs that an atlas shares with ours, read once for all scans."""
        label = _label(file)
        if label not in self._known:
            columns = first_row(file.path).columns
            try:
                self._known[label] = _known_rois(file.path, columns, self._atlas)
            except ScanProblem:  # another atlas
                self._known[label] = frozenset()
        return self._known[label]


class _Companions:
    """Files beside the series, by the scan they belong to."""

    def __init__(self, files: Sequence[BidsFile]) -> None:
        tables = [file for file in files if file["ext"] in TABLES]
        # sorted by path: a plain name comes after, and replaces, desc-filtered
        self._motion = {file.key: file.path for file in tables if file["suffix"] == "motion"}
        self._outliers = {file.key: file.path for file in tables if file["suffix"] == "outliers"}
        self._coverage = {
            _place(file): file.path
            for file in tables
            if file["suffix"] == "coverage" or file["stat"] == "coverage"
        }
        self._sidecars: dict[Key, list[Path]] = {}
        for file in files:
            if file["ext"] == ".json" and file["suffix"] in ("timeseries", "bold"):
                self._sidecars.setdefault(file.key, []).append(file.path)

    def scan(
        self, key: Key, chosen: Sequence[BidsFile], atlas: Atlas, told_tr: float | None
    ) -> XcpdScan:
        series = tuple(file.path for file in chosen)
        places = [_place(file) for file in chosen]
        coverage = tuple(self._coverage[place] for place in places if place in self._coverage)
        sidecars = tuple(self._sidecars.get(key, ()))
        motion, outliers = self._motion.get(key), self._outliers.get(key)
        files = (*series, *coverage, *(path for path in (motion, outliers) if path))
        return XcpdScan(*key, files, series, coverage, sidecars, motion, outliers, atlas, told_tr)


def _known_rois(file: Path, names: Sequence[str] | None, atlas: Atlas) -> frozenset[str]:
    """ROIs of our atlas among the names of a series."""
    try:
        known = frozenset(to_atlas_names(names or (), atlas)) & set(atlas.rois)
    except ValueError as error:
        raise refusal(file, error) from error
    if not known:
        raise ScanProblem(
            file,
            f"ROI names of atlas '{atlas.name}' in the first line",
            f"{', '.join((names or ())[:3]) or 'numbers only'}",
            "run XCP-D 0.4 or later with --atlases 4S456Parcels Tian",
        )
    return known


def _read_series(file: Path, atlas: Atlas) -> Float64:
    """[R, F] in atlas order."""
    table = read_table(file)
    _known_rois(file, table.columns, atlas)
    return in_atlas_order(table.values.T, table.columns or (), atlas)


def _read_coverage(file: Path, atlas: Atlas) -> Float64:
    """Share of each ROI that was seen [R]; NaN where the table lacks it."""
    table = read_table(file)
    if table.rows is None or table.values.shape[1] != 1:
        raise ScanProblem(
            file,
            "columns Node and coverage",
            f"{table.values.shape[1]} columns of numbers",
            "take the table as XCP-D wrote it, or remove it",
        )
    _known_rois(file, table.rows, atlas)
    return in_atlas_order(table.values, table.rows, atlas)[:, 0]


def _first_known(parts: Sequence[Float64]) -> Float64:
    """Of each ROI the first that is not missing."""
    merged = parts[0]
    for part in parts[1:]:
        missing = np.isnan(merged) if merged.ndim == 1 else np.isnan(merged).all(1)
        merged[missing] = part[missing]
    return merged
