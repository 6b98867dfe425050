"""docs/families.md, written from the cells of `families.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from every_family.rows import BATCH, DEAR_SPLITS, REFERENCE, SPLITS, STEPS

Figures = dict[str, Any]
NOT_YET = "not measured yet"
HEAD = f"""# Every family and every feature

Written by `python benchmarks/learning/families.py`; do not edit it by hand. It goes on where it was
stopped; a row that says *{NOT_YET}* is made by the same command. Diagnosis in ABIDE I, 687 people
of twelve hospitals, by the rows of [evaluation](evaluation.md#what-stands-in-the-table) and the
families of [models](models.md).

- **Regions** are the 110 of Harvard-Oxford, so that two cores can pay for every family; 310 are
  these and CC200's. Windows have 64 frames of 2 s.
- **Intervals** are of 95 %, over the people tested, not over other trainings; each network is of
  one seed. *Above FC* is the difference from *FC correlation + SVM*, paired: of the same people,
  regions and splits.
- **Seconds** are of one core, whoever else was at work: every split's training and testing,
  pretraining, and reading people as far as no other group has read the same. The rows of a group
  share them, and the first one has them.
- **Weights** are those that learn from labels: of a network, or one a feature; of a pretrained
  network first those of the part that embeds.
- **Pretrained** families have their tiny preset and {STEPS} steps of {BATCH} windows of everybody's
  scans, without labels: what a minute of a core buys, not what the papers have. *Untrained* is the
  same network before its first step; those that start as connectivity read what signals tell.
- **What was chosen, and where**: penalties, C of SVM and SVR too, within the training people of
  each split. Supervised networks have their settings of `evaluate --methods`; the steps of the
  Brain Network Transformer were set after a first table had it at chance, by how it learns at
  eleven hospitals with one of the twelve in sight. BrainGNN stays near chance by
  [whatever was tried](models.md#learning-from-labels-alone). Pretraining has learning rates that
  were there before, a person JEPA's chosen on ABIDE earlier.
"""


class Section(NamedTuple):
    """A table of the page: its title, what it says first, and the metrics that it shows."""

    title: str
    text: str
    metrics: tuple[str, ...]


SECTIONS = {
    "hospitals": Section(
        "Each hospital told by the others",
        "All 687 people. AUC over everybody, and of pairs of one hospital.",
        ("auc", "auc within site"),
    ),
    "brainmarks": Section(
        "Brainmarks' random splits",
        "The 657 people that Brainmarks has too (of its 826), 70:15:15, balanced by class: mean "
        f"balanced accuracy of {SPLITS} splits, of what is costly of {DEAR_SPLITS}; the interval "
        "is over people, *sd* over splits.",
        ("balanced accuracy",),
    ),
    "split": Section(
        "Brainmarks' own split",
        "The same people in the parts that Brainmarks' table gives them: one training each, and "
        "few people tested.",
        ("balanced accuracy", "auc"),
    ),
    "synthetic": Section(
        "Where the answer is known",
        "A synthetic cohort of three hospitals of 60 people and 24 regions, whose sex lives in the "
        "connectivity; five folds.",
        ("auc",),
    ),
}


def page(cells: Sequence[tuple[str, str, str, Figures | None]]) -> str:
    """The whole page.

    Parameters
    ----------
    cells : sequence of tuple
        Table, group, regions and figures of each cell; no figures where it was not measured.
    """
    parts = [HEAD]
    for table, section in SECTIONS.items():
        parts.append(f"## {section.title}\n\n{section.text}\n")
        parts.append(_table(table, section, [cell[1:] for cell in cells if cell[0] == table]))
    return "\n".join(parts)


def _table(table: str, section: Section, cells: Sequence[tuple[str, str, Figures | None]]) -> str:
    metrics = [*(metric.replace("auc", "AUC") for metric in section.metrics), "above FC"]
    splits = ["sd", "splits"] if table == "brainmarks" else []
    names = [
        "row",
        "regions",
        "people",
        *(m.replace("auc", "AUC") for m in metrics),
        *splits,
        "weights",
        "seconds",
    ]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for group, regions, figures in cells:
        if figures is None:
            lines.append(f"| {group} | {regions} | {NOT_YET}" + " |" * (len(names) - 2))
            continue
        for number, (name, row) in enumerate(figures["rows"].items()):
            shown = [
                _interval(row.get(metric), "mean", "low", "high") for metric in section.metrics
            ]
            first = row[section.metrics[0]]
            shown.append("" if name == REFERENCE else _interval(first, "above", "least", "most"))
            if splits:
                shown += [f"{first['sd']:.3f}", str(figures["splits"])]
            weights = [figures["weights"], row["weights"]]
            shown.append(" + ".join(f"{w:,}" for w in weights if w is not None))
            shown.append("" if number else str(figures["seconds"]))
            lines.append(f"| {name} | {regions} | {figures['people']} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _interval(found: dict[str, float] | None, middle: str, low: str, high: str) -> str:
    """``0.712 (.675 to .750)``; a difference has its sign."""
    if found is None:
        return ""
    sign = "+" if middle == "above" else ""
    return f"{found[middle]:{sign}.3f} ({found[low]:{sign}.3f} to {found[high]:{sign}.3f})"
