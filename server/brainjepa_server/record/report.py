"""A study in one HTML file that opens anywhere, needs nothing else, and prints.

All text is escaped: settings are a person's, and refusals come from other machines.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.files import atomic_path
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.gradients.consensus import SWAPPABLE_GAP
from brainjepa_core.pages.html import embedded_picture, html_text
from brainjepa_server.record import figures
from brainjepa_server.record.history import (
    FEDERATED,
    RoundRecord,
    RunHistory,
    SiteRecord,
    flatten,
    read_history,
)
from brainjepa_server.record.verdict import Comparison, verdict

REPORT, BASIS, CONNECTIVITY = "report.html", "basis.npz", "connectivity_sum.npz"
SHOWN_ROUNDS = 60  # the last so many get a row each
SHOWN_REJECTIONS = 200

Cells = Sequence[object]


def write_report(folder: str | Path, atlas: Atlas | None = None) -> Path:
    """Write FOLDER/report.html from what the study has recorded so far.

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
    comparison = Comparison.of(history)
    sections = [
        _section("What the model tells of people", _evidence(history, comparison)),
        _section("Sites", _sites(history)),
        _section("Rounds", _rounds(history, comparison)),
        _section("Replies that were left out", _rejected(history)),
        _section("Consensus basis", _basis(folder, history, atlas)),
        _section("Settings", _settings(history)),
    ]
    template = Template((files(__package__) / "report.html.template").read_text("utf-8"))
    page = template.substitute(
        title=html_text(f"Federated study {history.name}".strip()),
        subtitle=html_text(_subtitle(history)),
        verdict=html_text(verdict(history)),
        sections="\n".join(sections),
    )
    path = folder / REPORT
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _evidence(history: RunHistory, comparison: Comparison) -> list[str]:
    if not comparison.rows:
        return [_note("Not evaluated yet.")]
    outcome, pool = comparison.outcomes[0], comparison.pool
    parts = [embedded_picture(figures.baselines(history), f"R2 of {outcome} by model and pool")]
    if sum(bool(record.yardstick) for record in history.rounds) > 1:
        parts.append(
            embedded_picture(
                figures.progress(history.rounds, pool, outcome), f"R2 of {outcome} by round"
            )
        )
    of_round = "" if comparison.round is None else f" Federated: {comparison.round_text(history)}."
    parts.append(
        _note(
            "R2 of ridge probes on people of the held-out fold: 0 is knowing nothing, 1 is knowing "
            f"all; below 0 is worse than guessing the mean.{of_round}"
        )
    )
    headings = ["model", "pool", "features", *comparison.outcomes]
    groups = dict.fromkeys((row.model, row.pool, row.features) for row in comparison.rows)
    rows = [
        [m, p, f, *(_number(comparison.r2(m, p, o), 3) for o in comparison.outcomes)]
        for m, p, f in groups
    ]
    return [*parts, _table(headings, rows, text=2)]


def _sites(history: RunHistory) -> list[str]:
    if not history.site_names:
        return [_note("No site has answered yet.")]
    rows = [_site_row(history, site) for site in history.site_names]
    headings = ["site", "replies used", "left out", "steps", "share", "last loss"]
    headings += ["seconds a round", "received", "sent", "drift"]
    parts = [_table(headings, rows, text=1)]
    degrees = {site: _drift(history, site) for site in history.site_names}
    if any(value is not None for value in degrees.values()):
        parts.append(embedded_picture(figures.drift(degrees), "Drift of each site"))
    return parts


def _site_row(history: RunHistory, site: str) -> Cells:
    replies: list[SiteRecord] = [r.sites[site] for r in history.rounds if site in r.sites]
    times = [reply.seconds for reply in replies if reply.seconds is not None]
    last = replies[-1] if replies else SiteRecord()
    angle = _drift(history, site)
    return [
        site,
        len(replies),
        sum(site in record.rejected for record in history.rounds),
        sum(reply.steps for reply in replies),
        _number(last.share, 0),
        _number(last.loss, 4),
        _number(sum(times) / len(times) if times else None, 1),
        _bytes(sum(reply.bytes_down for reply in replies)),
        _bytes(sum(reply.bytes_up for reply in replies)),
        "–" if angle is None else f"{angle:.0f}°",
    ]


def _drift(history: RunHistory, site: str) -> float | None:
    """The latest that is known."""
    found = [history.basis.drift.get(site)] if history.basis else []
    found += [r.sites[site].drift for r in history.rounds if site in r.sites]
    return next((value for value in reversed(found) if value is not None), None)


def _rounds(history: RunHistory, comparison: Comparison) -> list[str]:
    if not history.rounds:
        return [_note("No round is done yet.")]
    outcome, pool = next(iter(comparison.outcomes), None), comparison.pool
    headings = ["round", "steps", "sites", "left out", "loss", "seconds", "beyond sites"]
    headings += ["to sites", "from sites"] + ([f"R2 of {outcome}"] if outcome else [])
    shown = history.rounds[-SHOWN_ROUNDS:]
    rows, best = [], None
    for i, record in enumerate(shown):
        row = _round_row(record)
        if outcome:
            federated = Comparison(record.yardstick).r2(FEDERATED, pool, outcome)
            row.append(_number(federated, 3))
        rows.append(row)
        best = i if record.number == history.best_round else best
    note = "Rounds are numbered from 0, as in summary.json and MLflow."
    if best is not None:
        note += f" Round {history.best_round} was the best by the yardstick."
    if len(history.rounds) > len(shown):
        note += f" The table shows the last {len(shown)} of {len(history.rounds)}."
    return [
        embedded_picture(figures.losses(history.rounds), "Loss by site and round"),
        embedded_picture(figures.traffic(history.rounds), "Bytes and time by round"),
        _note(note),
        _table(headings, rows, best=best),
    ]


def _round_row(record: RoundRecord) -> list[object]:
    steps = max((site.steps for site in record.sites.values()), default=0)
    return [
        record.number,
        f"{record.first_step} to {record.first_step + steps - 1}" if steps else "–",
        len(record.sites),
        len(record.rejected),
        _number(record.loss, 4),
        _number(record.seconds, 1),
        _number(record.seconds_beyond_sites, 1),
        _bytes(record.bytes_down),
        _bytes(record.bytes_up),
    ]


def _rejected(history: RunHistory) -> list[str]:
    rows = [[r.number, site, why] for r in history.rounds for site, why in r.rejected.items()]
    if not rows:
        return [_note("None.")]
    parts = [_table(["round", "site", "reason"], rows[-SHOWN_REJECTIONS:], text=3)]
    if len(rows) > SHOWN_REJECTIONS:
        parts.insert(0, _note(f"The last {SHOWN_REJECTIONS} of {len(rows)}."))
    return parts


def _basis(folder: Path, history: RunHistory, atlas: Atlas | None) -> list[str]:
    facts = history.basis
    if facts is None:
        return [_note("Not computed yet.")]
    small = [
        i for i, gap in enumerate(facts.eigengaps, 1) if gap is not None and gap < SWAPPABLE_GAP
    ]
    about = f"Made of {facts.subjects} subjects of {facts.sites} sites (as the sites rounded them)."
    if small:
        about += (
            f" Components {', '.join(f'{i}/{i + 1}' for i in small)} are under "
            f"{SWAPPABLE_GAP:.0%} apart and may swap in other cohorts."
        )
    parts = [f"<p>Hash <code>{html_text(facts.hash)}</code>. {html_text(about)}</p>"]
    if (folder / BASIS).exists():
        parts += _basis_figure(folder, facts.hash, atlas)
    if any(value is not None for value in facts.eigenvalues):
        parts.append(embedded_picture(figures.spectrum(facts), "Eigenvalues and their gaps"))
    return parts


def _basis_figure(folder: Path, expected: str, atlas: Atlas | None) -> list[str]:
    try:
        basis = ConsensusBasis.load(folder / BASIS)
        path = folder / CONNECTIVITY
        total = ConnectivitySum.load(path) if path.exists() else None
        mean_fc = total.mean_fc() if total is not None and total.rois == basis.rois else None
    except (ValueError, OSError):
        return [_note(f"{BASIS} or {CONNECTIVITY} beside this report cannot be read.")]
    if basis.hash != expected:
        return [_note(f"{BASIS} beside this report is of another study: its hash differs.")]
    shipped = load_atlas()
    atlas = atlas or (shipped if shipped.rois == basis.rois else None)
    return [embedded_picture(figures.consensus(basis, mean_fc, atlas), "Consensus gradients")]


def _settings(history: RunHistory) -> list[str]:
    rows = [[name, value] for name, value in flatten(history.settings)]
    rows += [[f"version of {name}", value] for name, value in history.versions.items()]
    return [_table(["setting", "value"], rows, text=2)] if rows else [_note("Not recorded.")]


def _subtitle(history: RunHistory) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in history.versions.items())
    parts = [f"{len(history.site_names)} sites", f"{len(history.rounds)} rounds", versions]
    return " · ".join(part for part in parts if part)


def _section(title: str, parts: list[str]) -> str:
    return f"<h2>{html_text(title)}</h2>\n" + "\n".join(parts)


def _note(text: str) -> str:
    return f'<p class="note">{html_text(text)}</p>'


def _table(headings: Cells, rows: list[Any], text: int = 0, best: int | None = None) -> str:
    """The first `text` columns are text, the last of them long if there are no others."""
    classes = ["text" if i < text else "" for i in range(len(headings))]
    if text == len(headings):
        classes[-1] = "long"
    lines = [_row("th", headings, ["text" if name else "" for name in classes])]
    body = [_row("td", row, classes, i == best) for i, row in enumerate(rows)]
    head, rest = "".join(lines), "\n".join(body)
    return f'<div class="table"><table><thead>{head}</thead>\n<tbody>{rest}</tbody></table></div>'


def _row(tag: str, cells: Cells, classes: list[str], best: bool = False) -> str:
    inner = ""
    for cell, name in zip(cells, classes, strict=True):
        kind = f' class="{name}"' if name else ""
        inner += f"<{tag}{kind}>{html_text(cell)}</{tag}>"
    return f'<tr class="best">{inner}</tr>' if best else f"<tr>{inner}</tr>"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _bytes(count: int) -> str:
    unit, size = figures.unit_of_bytes(float(count))
    return f"{count / size:.1f} {unit}" if size > 1 else f"{count} {unit}"
