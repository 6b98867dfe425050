"""The bench as a page: a picture, and the table of each attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from brainjepa_core.pages.page import write_page
from brainjepa_core.pages.palette import BLUE, GREY, PALE, VERMILLION
from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Cell, Row, Table
from brainjepa_simulations.attacks.attack import NONE
from brainjepa_simulations.attacks.attack import Row as Found
from brainjepa_simulations.attacks.bench import Found as OfAttack
from brainjepa_simulations.attacks.bench import broken

PAGE = "attacks.html"
HEADINGS = ("what", "protection", "found", "at most")


def write_attacks(folder: Path, scenario: str, found: Sequence[OfAttack]) -> Path:
    """Write FOLDER/attacks.html.

    Parameters
    ----------
    folder : Path
    scenario : str
        Its name.
    found : sequence of Found
    """
    wrong = broken(found)
    bounded = sum(row.at_most is not None for one in found for row in one.rows)
    return write_page(
        folder / PAGE,
        "brainjepa_simulations.attacks",
        "page.html",
        title="Attacks on a study",
        subtitle=f"made-up people of the scenario {scenario}",
        verdict=f"{bounded - len(wrong)} of {bounded} ceilings hold.",
        broken=wrong,
        drawn=Picture.of(drawn(found), "What each attack finds with and without protection"),
        attacks=[
            SimpleNamespace(name=one.name, tries=one.tries, table=_table(one)) for one in found
        ],
    )


def cells(row: Found) -> tuple[str, str, str, str]:
    """A row of the table, as text."""
    most = "-" if row.at_most is None else f"{row.at_most:.3g}"
    return row.what, row.protection, f"{row.found:.3g}", most


def _table(one: OfAttack) -> Table:
    rows = []
    for row in one.rows:
        what, protection, found, most = cells(row)
        rows.append(Row((what, protection, Cell(found, strong=not row.held), most)))
    return Table(HEADINGS, rows, ("long", "text"))


def drawn(found: Sequence[OfAttack]) -> Figure:
    """What is found, by attack, on the scale of what is counted: people, AUC, or lengths."""
    of_scale: dict[str, list[tuple[str, Found]]] = {}
    for one in found:
        for row in one.rows:
            of_scale.setdefault(scale_of(row), []).append((one.name, row))
    labels = {scale: _labels(rows) for scale, rows in of_scale.items()}
    heights = [len(told) + 1.5 for told in labels.values()]
    figure = Figure(figsize=(9, 0.24 * sum(heights) + 0.8), layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (scale, rows) in zip(axes, of_scale.items(), strict=True):
        _draw(ax, scale, rows, labels[scale])
    return figure


def scale_of(row: Found) -> str:
    """What the numbers of a row are, by its first word."""
    return {
        "people": "people found",
        "AUC": "AUC",
        "error": "distance from the honest mean",
        "distance": "distance from the honest model",
        "R2": "R2",
        "share": "share of people turned",
        "epsilon": "epsilon",
    }[row.what.replace(",", "").split()[0]]


def _labels(rows: Sequence[tuple[str, Found]]) -> Mapping[str, int]:
    told = dict.fromkeys(_label(name, row) for name, row in rows)
    return {label: place for place, label in enumerate(told)}


def _label(name: str, row: Found) -> str:
    """Of a line of the picture; protections of one attack share a line where they can."""
    kind, _, rest = row.what.partition(", ")
    same = name in ("membership", "mean-connectivity", "poisoning", "poisoning-rounds")
    return f"{kind}, {rest}" if same else name


def _draw(
    ax: Axes, scale: str, rows: Sequence[tuple[str, Found]], labels: Mapping[str, int]
) -> None:
    for name, row in rows:
        place = labels[_label(name, row)]
        bare = row.protection == NONE
        color = GREY if bare else BLUE if row.held else VERMILLION
        face = "white" if bare else color
        ax.plot(row.found, place, "o", color=color, markerfacecolor=face, markersize=6)
        if row.at_most is not None:
            ax.plot(row.at_most, place, "|", color=PALE, markersize=12)
    if scale == "AUC":
        ax.axvline(0.5, color=PALE, linewidth=1, zorder=0)
    ax.set(xlabel=scale, yticks=list(labels.values()), yticklabels=list(labels))
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0, labelsize=8)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.grid(axis="y", color=PALE, linewidth=0.4)
    if scale.startswith("distance") and ax.get_xlim()[1] > 3:
        ax.set_xscale("symlog", linthresh=1)
        ax.xaxis.set_major_formatter(ScalarFormatter())
