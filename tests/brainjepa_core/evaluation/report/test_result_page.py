"""The page: the answer first, nothing hidden, nobody's code, nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_predictions import holdouts, predictions, sites_in_turn, task_data

from brainjepa_core.evaluation.methods.model_methods import answering
from brainjepa_core.evaluation.report.prediction_figures import truth_figure
from brainjepa_core.evaluation.report.result_page import TaskFacts, write_result_page
from brainjepa_core.evaluation.report.result_tables import model_table
from brainjepa_core.evaluation.report.result_verdict import number, p_value, verdict
from brainjepa_core.evaluation.scores.results import Comparison, Results, Row
from brainjepa_core.evaluation.scores.statistics import evaluate_predictions

TWO = ("control", "autism")
ATTACK = "<script>alert('x')</script>\x00\" onload=\"y {{ title }} {% raw %} $oops"
VOID = {"meta", "img", "br", "source"}


class Checked(HTMLParser):
    """Tags that are closed in order, and what they refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(name.startswith("on") for name, _ in attrs)
        self.tags.append(tag)
        self.addresses += [
            value or ""
            for name, value in attrs
            if name in ("src", "srcset") or (name == "href" and value[0] != "#")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(path: Path) -> Checked:
    return Checked(path.read_text(encoding="utf-8"))


def compared(
    model: str, difference: float, p: float, metric: str = "auc", against: str = "FC"
) -> tuple[Row, Comparison]:
    mean = 0.7 + difference
    row = Row(model, "dx", "sites", metric, mean, 0.1, mean - 0.1, mean + 0.1, 60)
    low, high = difference - 0.05, difference + 0.05
    return row, Comparison(model, against, "dx", "sites", metric, difference, low, high, p / 2, p)


def told(
    *others: tuple[Row, Comparison],
    reference: str | None = "FC",
    metric: str = "auc",
    controls: Sequence[Comparison] = (),
) -> list[str]:
    row = Row("FC", "dx", "sites", metric, 0.7, 0.1, 0.6, 0.8, 60)
    compared = (*(c for _, c in others), *controls)
    results = Results((row, *(r for r, _ in others)), (), compared)
    subjects = [c.model for _, c in others]
    return verdict(results, "dx", "sites", metric, reference, subjects, 0.5)


def answer(*others: tuple[Row, Comparison]) -> str:
    unknown = " Whether pretraining mattered is not known: random weights were not evaluated."
    return told(*others)[0].removesuffix(unknown)


def test_the_verdict_is_in_plain_words():
    better, worse = compared("good", 0.1, 0.01), compared("bad", -0.1, 0.01)
    same = compared("same", 0.02, 0.4)
    assert answer(better) == "The model beats functional connectivity."
    assert answer(worse) == "The model does worse than functional connectivity."
    assert answer(same) == "The model does not clearly beat functional connectivity."
    assert answer(better, better) == "All 2 models in question beat functional connectivity."
    assert answer(better, worse, same) == (
        "1 of 3 models in question beats functional connectivity; 1 of them does worse."
    )
    assert answer(same, same) == (
        "None of 2 models in question clearly beats functional connectivity."
    )
    assert told(better, same)[1:] == [
        "FC: AUC 0.700 (0.600 to 0.800), 60 people.",
        "good: AUC 0.800 (0.700 to 0.900); difference 0.100 (0.050 to 0.150), p = 0.010 after "
        "correction for 2 models: better.",
        "same: AUC 0.720 (0.620 to 0.820); difference 0.020 (−0.030 to 0.070), p = 0.400 after "
        "correction for 2 models: no clear difference.",
    ]


@pytest.mark.parametrize(
    ("differences", "sentence"),
    [
        ([(0.1, 0.01)], "It is clearly better than with random weights."),
        ([(0.02, 0.4)], "It is not clearly better than with random weights."),
        ([(-0.1, 0.01)], "Random weights do as well or better."),
        ([(0.1, 0.01), (0.2, 0.01)], "All 2 are clearly better than with random weights."),
        ([(0.1, 0.01), (0.02, 0.4)], "1 of 2 is clearly better than with random weights."),
        ([(0.02, 0.4), (-0.1, 0.01)], "None is clearly better than with random weights."),
        ([], "Whether pretraining mattered is not known: random weights were not evaluated."),
    ],
)
def test_the_verdict_says_whether_random_weights_do_as_well(differences, sentence):
    """However far a model is ahead of connectivity: its pretraining may have no part in that."""
    subjects = [compared(f"m{i}", 0.1, 0.01) for i in range(max(1, len(differences)))]
    controls = [
        compared(f"m{i}", difference, p, against="random weights")[1]
        for i, (difference, p) in enumerate(differences)
    ]
    first, _, *each = told(*subjects, controls=controls)
    assert first.endswith(f"functional connectivity. {sentence}")
    assert all("Less random weights: " in line for line in each[: len(differences)])


def test_the_difference_from_random_weights_is_told_with_its_interval():
    control = compared("m", 0.026, 0.4, against="random weights")[1]
    (line,) = told(compared("m", 0.1, 0.01), controls=[control])[2:]
    assert line.endswith(
        "p = 0.010: better. Less random weights: 0.026 (−0.024 to 0.076), p = 0.400: no clear "
        "difference."
    )


def test_less_of_an_error_is_better():
    assert told(compared("m", -0.1, 0.01, "mae"), metric="mae")[0].startswith("The model beats")


def test_an_error_has_its_unit():
    row, comparison = compared("m", -0.1, 0.01, "mae")
    (line,) = told((replace(row, unit="years"), comparison), metric="mae")[2:]
    assert line.startswith("m: MAE (years) 0.600 (0.500 to 0.700), ")


def test_chance_is_told():
    (line,) = told(compared("m", -0.15, 0.2))[2:]
    assert "AUC 0.550 (0.450 to 0.650), which may be chance (0.50); difference" in line


def test_what_is_missing_is_told():
    assert "No functional-connectivity baseline was evaluated" in told(reference=None)[0]
    assert told()[0].startswith("No pretrained model was evaluated: these are the baselines that")
    row, comparison = compared("m", 0.1, 0.01)
    results = Results((replace(row, model="FC"), row), (), (comparison,))
    lines = verdict(results, "dx", "sites", "auc", "FC", ["m", "lost"])
    assert lines[-1] == "lost was not evaluated."


def test_the_test_over_repetitions_is_told():
    row, comparison = compared("m", 0.1, 0.01)
    (line,) = told((row, replace(comparison, p_repeated=0.076)))[2:]
    assert line.endswith("p = 0.010 (p = 0.076 over repetitions): better.")


def test_numbers():
    assert number(-0.0001) == "0.000"
    assert (number(-0.5), number(math.nan), number(0.1234, 2)) == ("−0.500", "–", "0.12")
    assert (p_value(0.0001), p_value(0.25), p_value(math.nan)) == ("< 0.001", "0.250", "–")


@pytest.fixture(scope="module")
def evaluated() -> tuple[Results, list[TaskFacts]]:
    results, facts = Results(), []
    for classes, split, protocol in ((TWO, sites_in_turn, "sites"), ((), holdouts, "holdout")):
        data = task_data(classes, people=90, within_site=not classes)
        splits = split(data)
        models = [
            predictions(name, data, splits, knows, seed)
            for seed, (name, knows) in enumerate({"FC": 1.0, "probe": 1.5, "noise": 0.0}.items())
        ]
        controls = {"probe": "noise"}
        results += evaluate_predictions(data, models, protocol, "FC", controls, draws=100)
        settings = {"protocol": {"seeds": 4}, "rules": ["age", "motion"]}
        pictures = {"Truth": truth_figure(data, models, "FC")}
        facts.append(TaskFacts.of(data, protocol, {"no label": 7}, settings, pictures))
    return results, facts


def test_the_page_shows_every_figure_and_needs_nothing_else(evaluated, tmp_path):
    results, facts = evaluated
    path = write_result_page(tmp_path, results, facts, reference="FC", subjects=["probe"])
    found = page(path)
    assert "script" not in found.tags and found.tags.count("h2") == 3
    assert len(found.addresses) == 2 * 3 * 2 and all(
        a.startswith("data:image/png") for a in found.addresses
    )
    for row in results.rows:
        assert number(row.mean) in found.text and number(row.low) in found.text
    assert found.text.count("Against random weights") == 4  # and in the contents
    assert {c.against for c in results.comparisons} == {"FC", "noise"}
    for unit in (
        "MAE (years)",
        "MSE (years²)",
        "standardised MSE (SD²)",
        "MAE within site (years)",
    ):
        assert unit in found.text
    for comparison in results.comparisons:
        assert number(comparison.difference) in found.text
    for gap in results.gaps:
        assert number(gap.gap) in found.text or gap.model == "noise"
    for text in ("45 control, 45 autism", "7 people were left out", "no label", "protocol.seeds"):
        assert text in found.text
    assert [p.name for p in tmp_path.iterdir()] == ["results.html"]


@pytest.mark.usefixtures("words_alone")
def test_the_first_sentences_are_of_what_a_model_is_judged_by(evaluated, tmp_path):
    results, facts = evaluated
    both, asked = ["probe", "noise"], {"reference": "FC"}
    of_all = page(write_result_page(tmp_path, results, facts, subjects=both, **asked)).text
    found = page(
        write_result_page(tmp_path, results, facts, subjects=both, answering=["probe"], **asked)
    ).text
    assert of_all.count("of 2 models in question") + of_all.count("All 2 models") == 2
    assert "models in question" not in found
    assert "noise: AUC" in of_all and "noise: AUC" not in found
    rows = ["run: probe", "run: latent connectivity", "run: fine-tuned", "random weights: probe"]
    assert answering(rows, "run") == ["run: probe", "run: fine-tuned"]


def test_text_from_elsewhere_stays_text(evaluated, tmp_path):
    results, facts = evaluated
    rows = tuple(replace(row, model=ATTACK) for row in results.rows if row.model == "probe")
    subgroups = tuple(
        replace(row, model=ATTACK, group=f"sex={ATTACK}{row.group}")
        for row in results.subgroups
        if row.model == "probe"
    )
    comparisons = tuple(replace(c, model=ATTACK) for c in results.comparisons if c.model == "probe")
    gaps = tuple(replace(gap, model=ATTACK, best=f"sex={ATTACK}") for gap in results.gaps)
    damaged = [
        replace(f, sites={ATTACK: 3}, left_out={ATTACK: 2}, settings={ATTACK: ATTACK})
        for f in facts
    ]
    found = page(
        write_result_page(
            tmp_path,
            Results(rows, subgroups, comparisons, gaps),
            damaged,
            title=ATTACK,
            reference=ATTACK,
            subjects=[ATTACK],
        )
    )
    assert "script" not in found.tags
    assert unescape(found.text).count("alert('x')") > 10


def test_a_page_without_results_says_so(evaluated, tmp_path):
    _, facts = evaluated
    found = page(write_result_page(tmp_path, Results(), facts))
    assert found.text.count("Nothing was evaluated.") == 2


def test_chance_of_a_task(evaluated):
    _, (diagnosis, age) = evaluated
    assert diagnosis.chance == {
        "auc": 0.5, "auc within site": 0.5, "auc centred by site": 0.5, "balanced accuracy": 0.5,
        "accuracy": 0.5,
    }  # fmt: skip
    assert age.headline == "r within site" and age.chance["standardised mse"] == 1


def test_bold_is_what_is_clearly_better_and_never_just_the_highest():
    better, lucky = compared("good", 0.1, 0.01), compared("lucky", 0.12, 0.4)
    reference = Row("FC", "dx", "sites", "auc", 0.7, 0.1, 0.6, 0.8, 60)
    rows = (reference, better[0], lucky[0])
    table = model_table(rows, ["auc"], "FC", [], [better[1], lucky[1]])
    bold = {line.cells[0]: line.cells[1].strong for line in table.rows}
    assert bold == {"FC": False, "good": True, "lucky": False}
