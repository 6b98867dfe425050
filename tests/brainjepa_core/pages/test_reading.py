"""What helps to read a page: contents, explained words, how it was made, pictures for phones."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure

from brainjepa_core.pages.made import PAPER, SOFTWARE, Made, duration, without_folders
from brainjepa_core.pages.narrow import INCHES, SMALLEST, fold
from brainjepa_core.pages.reading import readable
from brainjepa_core.pages.terms import TERMS
from brainjepa_core.version import versions

ROOT = Path(__file__).parents[3]


def test_headings_get_anchors_and_are_the_contents():
    found = readable("<h2>A &amp; <b>b</b></h2><p>x</p><h3>c</h3>")
    assert found.body == '<h2 id="part-1">A &amp; <b>b</b></h2><p>x</p><h3 id="part-2">c</h3>'
    assert [(one.level, one.anchor, one.text) for one in found.contents] == [
        ("h2", "part-1", "A &amp; b"), ("h3", "part-2", "c"),
    ]  # fmt: skip


def test_a_word_is_explained_where_a_section_has_it_first():
    body = "<h2>ROC, AUC</h2><p>AUC of an AUC, tSNR</p><h2>z</h2><td>AUC</td><p>AUCs, my-AUC</p>"
    found = readable(body)
    assert found.body.count("<abbr") == 3  # AUC twice, tSNR once; neither in headings nor in AUCs
    assert re.sub("</?abbr[^>]*>| id=.part-.*?(?=>)", "", found.body) == body
    assert list(found.words) == ["AUC", "tSNR"]


@pytest.mark.parametrize(
    "body",
    [
        "<code>AUC</code>", "<a href='#'>AUC</a>", "<svg><text>AUC</text></svg>",
        '<td class="code">AUC</td>', "<img alt='AUC'>", "<button>AUC</button>",
    ],
)  # fmt: skip
def test_what_is_no_text_of_the_page_stays(body):
    assert readable(body).body == body


def test_explanations_are_sentences():
    assert [word for word, meaning in TERMS.items() if not meaning.endswith(".")] == []


def test_how_a_page_was_made():
    made = Made.now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", made.date)
    assert made.versions == versions() and re.fullmatch("|[0-9a-f]{40}", made.commit)


def test_a_command_has_no_folders():
    line = "brainjepa site prepare /data/hospital/site.yaml --out=/data/x/y --task rest 'a b/c d'"
    told = "brainjepa site prepare site.yaml --out=y --task rest 'c d'"
    assert without_folders(line) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(3, "3 s"), (89, "89 s"), (720, "12 min"), (12_000, "3 h 20 min")]
)
def test_durations(seconds, told):
    assert duration(seconds) == told


def test_the_paper_to_cite_is_that_of_the_citation_file():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    (paper,) = told["references"]
    assert paper["title"].lower() in PAPER.lower() and str(paper["year"]) in PAPER
    assert paper["identifiers"][0]["value"] in PAPER
    assert all(author["family-names"] in PAPER for author in paper["authors"])
    assert "brainjepa-federated" in SOFTWARE


def panels(count: int, width: float) -> Figure:
    figure = Figure(figsize=(width, 3), layout="constrained")
    for ax in figure.subplots(1, count, squeeze=False)[0]:
        ax.plot([1, 2], label="a line")
        ax.set_title("A title that is by far too long for the width of a telephone", fontsize=6)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def test_panels_stand_below_one_another_on_a_phone():
    figure = panels(3, 11)
    fold(figure)
    figure.draw_without_rendering()
    assert figure.get_figwidth() == INCHES
    places = [ax.get_position() for ax in figure.axes]
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(places))
    legend = figure.axes[0].get_legend().get_window_extent()
    assert legend.y1 < figure.axes[0].get_window_extent().y0  # below its panel
    assert "\n" in figure.axes[0].get_title()
    assert figure.axes[0].title.get_fontsize() == SMALLEST


def test_names_of_rows_stand_apart_and_are_as_large_in_each_panel():
    figure = Figure(figsize=(11, 1.35 + 0.27 * 9), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    names = [f"row {i}" for i in range(8)]
    names.insert(1, "connectivity 0.01-0.1 Hz + log-connectivity, site-centred")
    for ax in axes:
        ax.plot(range(9), range(9))
        ax.set_xlabel("Pearson r\nbetter")
    axes[0].set_yticks(range(9), names, fontsize=8.5)
    axes[0].invert_yaxis()
    fold(figure)
    figure.draw_without_rendering()
    labels = [ax.get_yticklabels() for ax in figure.axes]
    assert {label.get_fontsize() for row in labels for label in row} == {8.5}
    for row in labels:
        assert "log-connectivity,\nsite-centred" in row[1].get_text()
        boxes = [label.get_window_extent() for label in row]
        assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))


def test_a_legend_of_all_panels_fits():
    figure = panels(2, 11)
    handles = [figure.axes[0].lines[0]] * 4
    texts = [f"one of the models in question {i}" for i in range(4)]
    figure.legend(handles, texts, loc="outside upper left", ncols=4)
    fold(figure)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == texts
    assert legend.get_window_extent().x1 <= figure.bbox.x1


def test_what_is_narrow_already_stays():
    figure = Figure(figsize=(3, 2), layout="constrained")
    figure.subplots().set_title("x" * 90)
    fold(figure)
    assert figure.get_figwidth() == 3 and "\n" not in figure.axes[0].get_title()
