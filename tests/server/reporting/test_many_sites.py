"""The page and the pictures of a study of hundreds of sites stay readable."""

from __future__ import annotations

import numpy as np
import pytest

from brainjepa_core.problems import listed
from brainjepa_server.record.attendance import attendance
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import RoundRecord, RunHistory, SiteRecord
from brainjepa_server.record.history import write_history as write
from brainjepa_server.reporting import figures
from brainjepa_server.reporting.report import write_report
from brainjepa_server.reporting.sites_section import MANY, QUANTILES, sites_section


def history(sites: int, rounds: int = 3) -> RunHistory:
    """Site i of each round has loss i, drift i / 10, and is left out of the last round if even."""
    names = [f"site-{i:03d}" for i in range(1, sites + 1)]
    replies = {
        name: SiteRecord(loss=i, drift=i / 10, steps=5, bytes_up=1000 * i, seconds=1.0, share=1)
        for i, name in enumerate(names, 1)
    }
    late = dict.fromkeys(names[1::2], "late")
    last = {name: reply for name, reply in replies.items() if name not in late}
    made = [RoundRecord(number=n, sites=replies) for n in range(1, rounds)]
    made.append(RoundRecord(number=rounds, sites=last, rejected=late))
    facts = BasisFacts(hash="0" * 64, sites=tuple(names), subjects=10 * sites)
    return RunHistory(name="many", rounds=tuple(made), basis=facts)


def test_many_sites_have_quantiles_and_folded_rows(tmp_path):
    write(tmp_path, history(500))
    page = write_report(tmp_path).read_text("utf-8")
    assert ">over 500 sites</th>" in page and "All 500 sites, a row each" in page
    before, after = page.split("<details>")
    assert "site-499</td>" in after and "site-499" not in before
    assert "site-010 and 490 more." in before
    assert page.count("<img") == 3  # drift, loss, and bytes and time: none for a site


def test_quantiles_are_numpys():
    section = sites_section(history(101, rounds=2))
    assert section is not None
    headings = list(section["over"].headings)
    cells = {row.cells[0]: row.cells for row in section["over"].rows}
    for name, at in QUANTILES.items():
        expected = np.quantile(np.arange(1, 102), at)
        assert cells[name][headings.index("last loss")] == f"{expected:.4f}"
        assert cells[name][headings.index("drift")] == f"{expected / 10:.0f}°"
    left_out = headings.index("left out")
    assert [cells[name][left_out] for name in ("lowest", "highest")] == ["0", "1"]
    assert cells["lowest"][headings.index("replies used")] == "1"


@pytest.mark.parametrize(("sites", "folded"), [(MANY, False), (MANY + 1, True)])
def test_few_sites_have_their_rows_alone(sites, folded):
    section = sites_section(history(sites))
    assert section is not None and (section["over"] is not None) is folded
    assert len(section["table"].rows) == sites


def test_what_is_not_known_of_any_site_has_no_quantile():
    replies = {f"site-{i:03d}": SiteRecord(steps=5) for i in range(MANY + 1)}
    section = sites_section(RunHistory(rounds=(RoundRecord(number=1, sites=replies),)))
    assert section is not None and section["drift"] is None and section["note"] == ""
    headings = list(section["over"].headings)
    for row in section["over"].rows:
        assert [row.cells[headings.index(h)] for h in ("last loss", "drift", "steps")] == [
            "–", "–", "5",
        ]  # fmt: skip


def test_losses_of_many_sites_are_bands_over_them():
    for sites in (figures.NAMED_SITES, figures.NAMED_SITES + 1, 500):
        (ax,) = figures.losses(history(sites).rounds).axes
        few = sites <= figures.NAMED_SITES
        assert len(ax.lines) == (sites + 1 if few else 2)
        assert len(ax.collections) == (0 if few else 2)
    low, high = ax.collections[0].get_paths()[0].get_extents().get_points()[:, 1]
    assert (low, high) == (1, 500)
    assert list(ax.lines[0].get_ydata()) == [250.5, 250.5, 250]  # the median of each round


def test_one_round_of_many_sites_shows_each():
    (ax,) = figures.losses(history(50, rounds=1).rounds).axes
    assert len(ax.lines[0].get_ydata()) == 25


def test_rounds_without_any_loss_are_a_gap():
    gone = RoundRecord(number=2, rejected={"a": "late"})
    first, *_, last = history(50).rounds
    (ax,) = figures.losses((first, gone, last.model_copy(update={"number": 3}))).axes
    assert list(ax.lines[0].get_xdata()) == [1, 3]


def test_drift_of_many_sites_is_a_histogram_of_one_height():
    degrees = {f"site-{i:03d}": float(i % 90) for i in range(500)}
    figure = figures.drift({**degrees, "unknown": None})
    (ax,) = figure.axes
    assert figure.get_figheight() < 5 and sum(p.get_height() for p in ax.patches) == 500
    few = {name: degrees[name] for name in list(degrees)[: figures.BARS]}
    assert len(figures.drift(few).axes[0].patches) == figures.BARS


def test_sentences_name_a_few_and_count_the_others():
    told = attendance(history(500))
    assert "5000 people of 500 sites: site-001, site-002" in told
    assert told.endswith("site-010 and 490 more.") and len(told) < 300


def test_names_in_order_and_how_many_others():
    assert listed(["b", "a"]) == "a, b" and listed([]) == ""
    assert listed(map(str, range(5)), 2) == "0, 1 and 3 more"
    assert listed("ab", 2) == "a, b"
