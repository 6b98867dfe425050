"""ABIDE I for those who have a network: through nilearn's own fetcher, to one archive a hospital.

The folder is what ``brainjepa simulate abide --data OUT`` and ``brainjepa import OUT/*.npz`` read:
site archives (see `signals.importing`), ``participants.tsv`` and a README with the
terms and the selection. nilearn keeps what it has downloaded, so a fetch that was cut short goes on
where it was.

Shapes: F frames, R ROIs.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.files import atomic_folder
from brainjepa_core.problems import counted, plainly

# Repetition times in seconds. The preprocessed files hold none; these are from the hospitals'
# scan protocols on ABIDE's pages (fcon_1000.projects.nitrc.org/indi/abide/abide_I.html), as
# several public analyses quote them. For Leuven they say 1.65 to 1.67.
TR = {
    "CALTECH": 2.0,
    "KKI": 2.5,
    "LEUVEN_1": 1.667,
    "LEUVEN_2": 1.667,
    "MAX_MUN": 3.0,
    "NYU": 2.0,
    "OHSU": 2.5,
    "OLIN": 1.5,
    "PITT": 1.5,
    "SDSU": 2.0,
    "STANFORD": 2.0,
    "TRINITY": 2.0,
    "UCLA_1": 3.0,
    "UCLA_2": 3.0,
    "UM_1": 2.0,
    "UM_2": 2.0,
    "USM": 2.0,
    "YALE": 2.0,
}
LEFT_OUT = {
    "CMU": "its scans have two repetition times, and no file says which",
    "SBL": "sources disagree on its repetition time (2.2 or 2.5 s)",
}
ROIS = ("rois_aal", "rois_cc200", "rois_cc400", "rois_dosenbach160", "rois_ez", "rois_ho",
        "rois_tt")  # fmt: skip
TERMS = (
    "ABIDE I, preprocessed by the Preprocessed Connectomes Project (C-PAC, no band-pass filter, "
    "no global signal regression, quality checked). Licence: CC BY-NC-SA 3.0, non-commercial "
    "research only. Register with INDI (fcon_1000.projects.nitrc.org) before use. Cite Di Martino "
    "et al. 2014 (Mol Psychiatry 19:659) and Craddock et al. 2013 (Front Neuroinform, conference "
    "abstract 41)."
)
TABLE, README, MISSING = "participants.tsv", "README.txt", "n/a"
COLUMNS = ("participant_id", "site", "diagnosis", "age", "sex", "fiq", "eyes_at_scan", "mean_fd")
CODES: dict[str, dict[float | None, str]] = {
    "DX_GROUP": {1: "ASD", 2: "TC"},
    "SEX": {1: "M", 2: "F"},
    "EYE_STATUS_AT_SCAN": {1: "open", 2: "closed"},
}


def fetch_abide(
    out: Path,
    sites: Sequence[str] | None = None,
    rois: str = "rois_cc200",
    *,
    max_mean_fd: float | None = None,
    cache: Path | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, int]:
    """Fetch time series of ABIDE I; ``OUT`` is there when all of it is, and not before.

    Parameters
    ----------
    out : Path
        A new folder. One that an equal call wrote is left as it is.
    sites : sequence of str, optional
        Hospitals as ABIDE names them; by default all of one known repetition time.
    rois : str
        One of `ROIS`.
    max_mean_fd : float, optional
        Leave out people of more mean framewise displacement (mm), or of an unknown one.
    cache : Path, optional
        Where nilearn keeps its downloads; by default where it always does.
    tell : callable
        Gets the terms, and a line a hospital.

    Returns
    -------
    dict
        Number of people by hospital; empty if the folder was there.

    Raises
    ------
    ValueError
        If a name is unknown, the folder holds something else, or fetching fails. Nothing is
        written then.
    """
    chosen = _chosen(sites, rois)
    readme = _readme(chosen, rois, max_mean_fd)
    tell(TERMS)
    if _is_there(out, readme):
        tell(f"{out} holds this selection already.")
        return {}
    people: dict[str, int] = {}
    rows: list[dict[str, str]] = []
    with atomic_folder(out) as folder:
        for site in chosen:
            found = _fetch_site(site, rois, max_mean_fd, cache)
            if found:
                _write_archive(folder / f"{site}.npz", site, rois, [series for _, series in found],
                               [row["participant_id"] for row, _ in found])  # fmt: skip
            rows += [row for row, _ in found]
            people[site] = len(found)
            tell(
                f"{site}: {counted(len(found), 'person', 'people')}, repetition time {TR[site]:g} s"
            )
        _require_people(rows)
        _write_table(folder / TABLE, rows)
        (folder / README).write_text(readme, encoding="utf-8")
    if sites is None:
        for site, reason in LEFT_OUT.items():
            tell(f"{site} was left out: {reason}.")
    return people


def _chosen(sites: Sequence[str] | None, rois: str) -> list[str]:
    if rois not in ROIS:
        raise ValueError(f"expected rois among {', '.join(ROIS)}, found '{rois}'; take one of them")
    wanted = list(TR) if sites is None else list(dict.fromkeys(sites))
    unknown = [site for site in wanted if site not in TR]
    if unknown or not wanted:
        found = "; ".join(f"'{s}' ({LEFT_OUT.get(s, 'no such site')})" for s in unknown)
        raise ValueError(
            f"expected sites among {', '.join(TR)}, found {found or 'none'}; take some of them"
        )
    return wanted


def _readme(sites: Iterable[str], rois: str, max_mean_fd: float | None) -> str:
    motion = "any" if max_mean_fd is None else f"at most {max_mean_fd:g} mm"
    return (
        f"{TERMS}\n\nSites: {', '.join(sites)}\nSeries: {rois}\nMean framewise displacement: "
        f"{motion}\nROIs without a signal in a scan are missing (NaN).\n"
    )


def _is_there(out: Path, readme: str) -> bool:
    if not out.exists():
        return False
    if (out / README).is_file() and (out / README).read_text(encoding="utf-8") == readme:
        return True
    raise ValueError(
        f"expected a new folder, or what the same selection wrote before, found another '{out}'; "
        "give another folder"
    )


def _fetch_site(
    site: str, rois: str, max_mean_fd: float | None, cache: Path | None
) -> list[tuple[dict[str, str], Float32]]:
    """Row of the participants table and series [F, R] of each person with a signal."""
    from nilearn.datasets import fetch_abide_pcp

    filters = {} if max_mean_fd is None else {"func_mean_fd": (0.0, max_mean_fd)}
    try:
        fetched = fetch_abide_pcp(
            data_dir=cache,
            pipeline="cpac",
            band_pass_filtering=False,
            global_signal_regression=False,
            derivatives=[rois],
            quality_checked=True,
            verbose=0,
            SITE_ID=site,
            **filters,
        )
    except Exception as error:  # whatever keeps nilearn from its files: network, disk, a bad file
        raise ValueError(
            f"expected to fetch {site} of ABIDE from s3.amazonaws.com/fcp-indi through nilearn, "
            f"found {plainly(error, 'a download that failed')}; check the network and the disk, "
            "and repeat: what was downloaded is kept"
        ) from error
    people = fetched["phenotypic"].to_dict("records")
    pairs = zip(people, fetched[rois], strict=True)
    found = [(_participant(facts), _with_missing(series)) for facts, series in pairs]
    return [(row, series) for row, series in found if np.isfinite(series).any()]


def _with_missing(series: Float64) -> Float32:
    """Series [F, R] with NaN for ROIs that do not vary: the scan did not see them."""
    series = np.atleast_2d(series).astype(np.float32)
    gone = ~np.isfinite(series).all(0) | (series == series[:1]).all(0)
    return np.where(gone, np.float32(np.nan), series)


def _participant(facts: dict[str, Any]) -> dict[str, str]:
    """A row of ``participants.tsv`` from ABIDE's phenotypes."""
    codes = {name: table.get(_number(facts.get(name)), MISSING) for name, table in CODES.items()}
    numbers = {name: _number(facts.get(name)) for name in ("AGE_AT_SCAN", "FIQ", "func_mean_fd")}
    known = {k: MISSING if v is None else f"{v:g}" for k, v in numbers.items()}
    return {
        "participant_id": str(facts["FILE_ID"]),
        "site": str(facts["SITE_ID"]),
        "diagnosis": codes["DX_GROUP"],
        "age": known["AGE_AT_SCAN"],
        "sex": codes["SEX"],
        "fiq": known["FIQ"],
        "eyes_at_scan": codes["EYE_STATUS_AT_SCAN"],
        "mean_fd": known["func_mean_fd"],
    }


def _number(value: Any) -> float | None:
    """A measurement; ABIDE writes -9999 or nothing for one that was not taken."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > -9999 else None


def _write_archive(
    path: Path, site: str, rois: str, series: list[Float32], people: list[str]
) -> None:
    widths = sorted({scan.shape[1] for scan in series})
    if len(widths) > 1:
        raise ValueError(
            f"expected series of one number of ROIs at {site}, found {widths}; remove nilearn's "
            "folder ABIDE_pcp and fetch again"
        )
    prefix = rois.removeprefix("rois_")
    np.savez_compressed(
        path,
        ts=np.concatenate(series),
        lengths=np.array([len(scan) for scan in series], np.int32),
        participant_id=np.array(people),
        tr=np.float32(TR[site]),
        roi=np.array([f"{prefix}_{number:03d}" for number in range(1, widths[0] + 1)]),
    )


def _require_people(rows: list[dict[str, str]]) -> None:
    if not rows:
        raise ValueError(
            "expected people of the chosen sites, found nobody who passed; raise max_mean_fd or "
            "choose other sites"
        )


def _write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
