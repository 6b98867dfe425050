"""A study in one HTML file that opens anywhere, needs nothing else, and prints.

Settings are a person's and refusals come from other machines: the template escapes all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.gradients.consensus import SWAPPABLE_GAP
from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Row, Table, settings_table
from brainjepa_core.problems import counted
from brainjepa_core.wire.messages import OTHER_HALF
from brainjepa_server.record.attendance import attendance
from brainjepa_server.record.history import (
    FEDERATED,
    ROUNDS,
    SUMMARY,
    RoundRecord,
    RunHistory,
    read_history,
)
from brainjepa_server.reporting import figures
from brainjepa_server.reporting.leaving import PAGE, leaving, people_table, write_leaving
from brainjepa_server.reporting.methods import study_methods, windows_in_words
from brainjepa_server.reporting.sites_section import sites_section
from brainjepa_server.reporting.task_tables import task_sections
from brainjepa_server.reporting.verdict import (
    OF_HELD_OUT,
    OF_WINDOWS,
    OWN_PROBES,
    UNKNOWN,
    Comparison,
    verdict,
)
from brainjepa_server.reporting.words import bytes_in_words, number_in_words
from brainjepa_server.rounds.received import RECEIVED

REPORT, BASIS, CONNECTIVITY = "report.html", "basis.npz", "connectivity_sum.npz"
SHOWN_ROUNDS = 60  # the last so many get a row each
SHOWN_REJECTIONS = 200
NO_YARDSTICK = "not in the yardstick"

Section = dict[str, Any] | None  # what the template shows of it; None: nothing is known yet
Rows = list[tuple[object, Mapping[str, Mapping[str, str]]]]  # reasons by what became of replies


def write_report(folder: str | Path, atlas: Atlas | None = None) -> Path:
    """Write FOLDER/report.html and privacy.html from what the study has recorded so far.

    Parameters
    ----------
    folder : path
        Holds ``summary.json`` and, where known, ``basis.npz`` and ``connectivity_sum.npz``.
    atlas : Atlas, optional
        Its networks colour the ROIs; by default what the ROIs' names tell.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If ``summary.json`` is missing or damaged. All else may be missing.
    """
    folder = Path(folder)
    history = read_history(folder)
    left, people = leaving(folder, history), people_table(history)
    write_leaving(folder, history, left, people)
    comparison = Comparison.of(history)
    return write_page(
        folder / REPORT,
        "brainjepa_server.reporting",
        "report.html",
        beside=(PAGE, SUMMARY, ROUNDS, RECEIVED),
        title=f"Federated study {history.name}".strip(),
        subtitle=_subtitle(history),
        verdict=verdict(history),
        evidence=_evidence(history, comparison),
        unevaluated=UNKNOWN if history.is_private else "Not evaluated yet.",
        tasks=task_sections(folder),
        sites=sites_section(history),
        people=people,
        windows=windows_in_words(history),
        leaving=left,
        privacy_page=PAGE,
        methods=study_methods(history),
        rounds=_rounds(history, comparison),
        rejected=_rejected(history),
        basis=_basis(folder, history, atlas),
        settings=_settings(history),
    )


def _evidence(history: RunHistory, comparison: Comparison) -> Section:
    if not comparison.rows:
        return None
    pictures = []
    for outcome in comparison.outcomes:
        figure = figures.baselines(history, outcome)
        pictures.append(Picture.of(figure, f"R2 of {outcome} by model and pool"))
        if sum(bool(record.yardstick) for record in history.rounds) > 1:
            progress = figures.progress(history, comparison.pool_of(outcome), outcome)
            pictures.append(Picture.of(progress, f"R2 of {outcome} by round"))
    of_round = "" if comparison.round is None else f" Federated: {comparison.round_text(history)}."
    groups = dict.fromkeys((row.model, row.pool, row.features) for row in comparison.rows)
    measured = (comparison.r2, comparison.r2_at_sites)
    rows = [
        [
            m,
            p,
            f,
            *(number_in_words(r2(m, p, o), 3) for r2 in measured for o in comparison.outcomes),
        ]
        for m, p, f in groups
    ]
    headings = ["model", "pool", "features", *comparison.outcomes]
    headings += [f"{outcome}, median site" for outcome in comparison.outcomes]
    kinds = ("text", "text")
    pools = {comparison.pool_of(outcome) for outcome in comparison.outcomes}
    headline = [row for row in rows if row[1] in pools]
    probes = [row for row in comparison.rows if row.outcome != OTHER_HALF]
    whose = OWN_PROBES if any(row.own_probes for row in probes) else OF_HELD_OUT
    whose += f" {OF_WINDOWS}" if len(probes) < len(comparison.rows) else ""
    return {
        "pictures": pictures,
        "of_round": of_round,
        "whose": whose,
        "table": Table.of(headings, headline, kinds),
        "all": Table.of(headings, rows, kinds) if len(rows) > len(headline) else None,
    }


def _rounds(history: RunHistory, comparison: Comparison) -> Section:
    if not history.rounds:
        return None
    outcomes = comparison.outcomes
    pools = {outcome: comparison.pool_of(outcome) for outcome in outcomes}
    headings = ["round", "steps", "sites", "left out", "loss", "seconds", "beyond sites"]
    headings += ["to sites", "from sites", *(f"R2 of {outcome}" for outcome in outcomes)]
    shown, rows = history.rounds[-SHOWN_ROUNDS:], []
    for record in shown:
        cells = _round_row(record)
        found = Comparison(record.yardstick)
        cells += [number_in_words(found.r2(FEDERATED, pools[o], o), 3) for o in outcomes]
        rows.append(Row(cells, "best" if record.number == history.best_round else ""))
    note = "Rounds are numbered from 1, as everywhere."
    if any(row.kind for row in rows):
        note += f" Round {history.best_round} was the best by the yardstick."
    if len(history.rounds) > len(shown):
        note += f" The table shows the last {len(shown)} of {len(history.rounds)}."
    pictures = [Picture.of(figures.traffic(history.rounds), "Bytes and time by round")]
    if any(record.loss is not None for record in history.rounds):
        pictures.insert(0, Picture.of(figures.losses(history.rounds), "Loss by site and round"))
    return {"pictures": pictures, "note": note, "table": Table(headings, rows)}


def _round_row(record: RoundRecord) -> list[object]:
    steps = max((site.steps for site in record.sites.values()), default=0)
    return [
        record.number,
        f"{record.first_step} to {record.first_step + steps - 1}" if steps else "–",
        len(record.sites),
        len(record.rejected),
        number_in_words(record.loss, 4),
        number_in_words(record.seconds, 1),
        number_in_words(record.seconds_beyond_sites, 1),
        bytes_in_words(record.bytes_down),
        bytes_in_words(record.bytes_up),
    ]


def _rejected(history: RunHistory) -> Section:
    at_start: Rows = [("start", {NO_YARDSTICK: found}) for found in history.unjudged.values()]
    in_rounds: Rows = [(record.number, _judged(record)) for record in history.rounds]
    rows = [
        (of, site, what, why)
        for of, kinds in (*at_start, *in_rounds)
        for what, reasons in kinds.items()
        for site, why in reasons.items()
    ]
    shown = rows[-SHOWN_REJECTIONS:]
    headings = ("round", "site", "what became of it", "reason")
    table = Table.of(headings, shown, ("text", "text", "text", "long"))
    return {"table": table, "all": len(rows)} if rows else None


def _judged(record: RoundRecord) -> dict[str, Mapping[str, str]]:
    """Reasons by site, by what became of their replies."""
    return {
        "left out": record.rejected,
        "clipped": record.clipped,
        "counted for less": record.capped,
        NO_YARDSTICK: record.unjudged,
    }


def _basis(folder: Path, history: RunHistory, atlas: Atlas | None) -> Section:
    facts = history.basis
    if facts is None:
        return None
    small = [
        i for i, gap in enumerate(facts.eigengaps, 1) if gap is not None and gap < SWAPPABLE_GAP
    ]
    about = attendance(history)
    if small:
        about += (
            f" Components {', '.join(f'{i}/{i + 1}' for i in small)} are under "
            f"{SWAPPABLE_GAP:.0%} apart and may swap in other cohorts."
        )
    problem, pictures = _consensus(folder, facts.hash, atlas)
    if any(value is not None for value in facts.eigenvalues):
        pictures.append(Picture.of(figures.spectrum(facts), "Eigenvalues and their gaps"))
    return {"hash": facts.hash, "about": about, "problem": problem, "pictures": pictures}


def _consensus(folder: Path, expected: str, atlas: Atlas | None) -> tuple[str, list[Picture]]:
    """What is wrong with the basis beside the report, or its picture."""
    if not (folder / BASIS).exists():
        return "", []
    try:
        basis = ConsensusBasis.load(folder / BASIS)
        path = folder / CONNECTIVITY
        total = ConnectivitySum.load(path) if path.exists() else None
        mean_fc = total.mean_fc() if total is not None and total.rois == basis.rois else None
    except (ValueError, OSError):
        return f"{BASIS} or {CONNECTIVITY} beside this report cannot be read.", []
    if basis.hash != expected:
        return f"{BASIS} beside this report is of another study: its hash differs.", []
    shipped = load_atlas()
    atlas = atlas or (shipped if shipped.rois == basis.rois else None)
    pictures = [Picture.of(figures.consensus(basis, mean_fc, atlas), "Consensus gradients")]
    if (centroids := _centroids(basis.rois, atlas)) is not None:
        drawn = figures.gradients_on_brain(basis, centroids)
        pictures.insert(0, Picture.of(drawn, "The first gradients at each region of the brain"))
    return "", pictures


def _centroids(rois: Sequence[str], atlas: Atlas | None) -> Float64 | None:
    """Places [R, 3] of ROIs in mm, by the study's atlas or the shipped one; None where unknown."""
    for known in (atlas, load_atlas()):
        if known is not None and known.centroids is not None and set(rois) <= set(known.rois):
            return np.array(known.centroids)[known.rows_of(rois)]
    return None


def _settings(history: RunHistory) -> Table:
    versions = {f"version of {name}": number for name, number in history.versions.items()}
    return settings_table({**history.settings, **versions})


def _subtitle(history: RunHistory) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in history.versions.items())
    sites, rounds = len(history.site_names), len(history.rounds)
    parts = [counted(sites, "site"), counted(rounds, "round"), versions]
    return " · ".join(part for part in parts if part)
