"""Tables of the page of an evaluation. Cells are HTML: whoever makes one escapes its text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_core.evaluation.report.result_verdict import interval, number, outcome, p_value
from brainjepa_core.evaluation.scores.results import Comparison, Gap, Row
from brainjepa_core.pages.html import html_text


def table(headings: Sequence[str], rows: Sequence[str]) -> str:
    """Rows of `table_row` under headings, which are escaped here."""
    head = "".join(f"<th>{html_text(heading)}</th>" for heading in headings)
    body = "\n".join(rows)
    inner = f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
    return f'<div class="table"><table>{inner}</table></div>'


def table_row(cells: Sequence[str], kind: str = "") -> str:
    """A row of a table, with the class that styles it."""
    inner = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{html_text(kind)}">{inner}</tr>' if kind else f"<tr>{inner}</tr>"


def note(text: str) -> str:
    """A paragraph in small grey print."""
    return f'<p class="note">{html_text(text)}</p>'


def details(title: str, content: str) -> str:
    """Content that a click opens."""
    return f"<details><summary>{html_text(title)}</summary>{content}</details>"


def figure_cell(row: Row | None, bold: bool = False) -> str:
    """A figure above its interval."""
    if row is None:
        return "–"
    if not np.isfinite(row.mean):
        return "too few" if row.group else "undefined"
    text = number(row.mean)
    text = f"<b>{text}</b>" if bold else text
    text += f" ± {number(row.sd)}" if np.isfinite(row.sd) else ""
    return f"{text}<br><small>{interval(row.low, row.high)}</small>"


def gap_cell(gap: Gap | None) -> str:
    """A gap with its interval, the groups it is between, and what chance does."""
    if gap is None:
        return "–"
    best, worst = (name.split("=", 1)[-1] for name in (gap.best, gap.worst))
    return (
        f"{number(gap.gap)} <small>({interval(gap.low, gap.high)})<br>"
        f"{html_text(best)} over {html_text(worst)}<br>"
        f"by chance {number(gap.chance)}, p = {p_value(gap.p)}</small>"
    )


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Differences from the reference, and whether they are clear."""
    repeated = any(np.isfinite(c.p_repeated) for c in comparisons)
    metrics = {c.metric for c in comparisons}
    headings = ["model", *(["metric"] if len(metrics) > 1 else [])]
    headings += ["difference" if len(metrics) > 1 else f"difference in {metric_label(*metrics)}"]
    headings += ["95 % interval", "p", "p corrected"]
    headings += ["p over repetitions"] if repeated else []
    rows = []
    for c in comparisons:
        cells = [html_text(c.model)]
        cells += [html_text(metric_label(c.metric))] if len(metrics) > 1 else []
        cells += [number(c.difference), interval(c.low, c.high)]
        p = [c.p, c.p_holm] + ([c.p_repeated] if repeated else [])
        cells += [html_text(p_value(value)) for value in p]
        rows.append(table_row([*cells, outcome(c)], outcome(c)))
    return table([*headings, "verdict"], rows)


def settings_table(settings: Mapping[str, object]) -> str:
    """Names and values of settings, nested ones with dots."""
    rows = [
        table_row([f"<code>{html_text(name)}</code>", html_text(value)], "setting")
        for name, value in _flat(settings)
    ]
    return table(["setting", "value"], rows) if rows else note("Not recorded.")


def counts(numbers: Sequence[int]) -> str:
    """``312``, or ``60 to 63``."""
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low} to {high}"


def _flat(settings: Mapping[str, object], before: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        elif isinstance(value, list | tuple):
            found.append((before + name, ", ".join(str(each) for each in value) or "none"))
        else:
            found.append((before + name, value))
    return found
