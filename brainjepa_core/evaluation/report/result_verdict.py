"""What an evaluation says in plain words: what a model is worth beside connectivity."""

from __future__ import annotations

import math
from collections.abc import Sequence

from brainjepa_core.evaluation.report.result_figures import metric_label
from brainjepa_core.evaluation.scores.metrics import lower_is_better
from brainjepa_core.evaluation.scores.results import Comparison, Results, Row

LEVEL = 0.05


def number(value: float, digits: int = 3) -> str:
    """With a true minus sign; a dash where there is none."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def interval(low: float, high: float) -> str:
    """Such as ``0.651 to 0.770``."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low + high) else "no interval"


def p_value(value: float) -> str:
    """Three decimals, and never 0."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def outcome(comparison: Comparison) -> str:
    """``better``, ``worse``, ``no clear difference`` after correction, or ``undefined``."""
    if not math.isfinite(comparison.p_holm):
        return "undefined"
    if not comparison.p_holm < LEVEL:
        return "no clear difference"
    higher = comparison.difference > 0
    return "better" if higher != lower_is_better(comparison.metric) else "worse"


def verdict(
    results: Results,
    task: str,
    protocol: str,
    metric: str,
    reference: str | None,
    subjects: Sequence[str],
    chance: float | None = None,
) -> list[str]:
    """Sentences: the answer first, then each model in question with its numbers.

    Parameters
    ----------
    results : Results
    task, protocol, metric : str
    reference : str, optional
        The functional-connectivity baseline.
    subjects : sequence of str
        The models in question; those that were not evaluated are named as such.
    chance : float, optional
        Figure of knowing nothing.
    """
    key = (task, protocol, metric)
    rows = {r.model: r for r in results.rows if (r.task, r.protocol, r.metric) == key}
    mine = [c for c in results.comparisons if (c.task, c.protocol, c.metric) == key]
    found = {c.model: c for c in mine if c.against == reference}
    controls = {c.model: c for c in mine if c.against != reference}
    if reference not in rows:
        return [
            "No functional-connectivity baseline was evaluated, so this table cannot tell whether "
            "a model is worth more than connectivity."
        ]
    compared = [model for model in subjects if model in found]
    if not compared:
        return [
            "No pretrained model was evaluated: these are the baselines that one has to beat. "
            + _figure(rows[reference], chance)
        ]
    missing = [model for model in subjects if model not in found]
    answer = _answer([found[model] for model in compared])
    learned = _beside_random([controls[model] for model in compared if model in controls])
    sentences = [f"{answer} {learned}", _figure(rows[reference], chance)]
    for model in compared:
        text = _compared(rows[model], found[model], len(found), chance)
        if model in controls:
            text += (
                f" Less {controls[model].against}: {_difference(controls[model], len(controls))}."
            )
        sentences.append(text)
    return sentences + [f"{model} was not evaluated." for model in missing]


def _answer(comparisons: Sequence[Comparison]) -> str:
    kinds = [outcome(comparison) for comparison in comparisons]
    better, worse, count = kinds.count("better"), kinds.count("worse"), len(kinds)
    if count == 1:
        told = {
            "better": "The model beats functional connectivity.",
            "worse": "The model does worse than functional connectivity.",
        }
        return told.get(kinds[0], "The model does not clearly beat functional connectivity.")
    if better == count:
        return f"All {count} models in question beat functional connectivity."
    if better:
        beat = "beats" if better == 1 else "beat"
        answer = f"{better} of {count} models in question {beat} functional connectivity"
    else:
        answer = f"None of {count} models in question clearly beats functional connectivity"
    does = "does" if worse == 1 else "do"
    return f"{answer}; {worse} of them {does} worse." if worse else f"{answer}."


def _beside_random(comparisons: Sequence[Comparison]) -> str:
    """Whether pretraining mattered."""
    kinds = [outcome(comparison) for comparison in comparisons]
    better, count = kinds.count("better"), len(kinds)
    if not count:
        return "Whether pretraining mattered is not known: random weights were not evaluated."
    if better == count:
        which = "It is" if count == 1 else f"All {count} are"
        return f"{which} clearly better than with random weights."
    if count == 1:
        return (
            "Random weights do as well or better."
            if kinds[0] == "worse"
            else ("It is not clearly better than with random weights.")
        )
    which = f"{better} of {count} {'is' if better == 1 else 'are'}" if better else "None is"
    return f"{which} clearly better than with random weights."


def _figure(row: Row, chance: float | None) -> str:
    return f"{_told(row)}, {row.n} people{_by_chance(row, chance)}."


def _compared(row: Row, comparison: Comparison, count: int, chance: float | None) -> str:
    told = _difference(comparison, count)
    return f"{_told(row)}{_by_chance(row, chance)}; difference {told}."


def _told(row: Row) -> str:
    label = metric_label(row.metric, row.unit)
    return f"{row.model}: {label} {number(row.mean)} ({interval(row.low, row.high)})"


def _difference(comparison: Comparison, count: int) -> str:
    text = f"{number(comparison.difference)} ({interval(comparison.low, comparison.high)}), "
    text += f"p = {p_value(comparison.p_holm)}"
    text += f" after correction for {count} models" if count > 1 else ""
    if math.isfinite(comparison.p_repeated):
        text += f" (p = {p_value(comparison.p_repeated)} over repetitions)"
    return f"{text}: {outcome(comparison)}".replace("p = <", "p <")


def _by_chance(row: Row, chance: float | None) -> str:
    if chance is None or not row.low <= chance <= row.high:
        return ""
    return f", which may be chance ({number(chance, 2)})"
