"""The quality page: every reason is there, nothing is markup, and it says what to look at."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_text import unexplained

from brainjepa_client.quality.advice import in_short, look_first
from brainjepa_client.quality.page import PAGE, ScanReport, write_quality
from brainjepa_client.quality.ratings import RATED_BAD
from brainjepa_client.quality.summary import SiteSummary
from brainjepa_client.quality.tables_and_page import write_site_quality
from brainjepa_client.settings import SiteSettings
from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.signals.preparation import ExclusionSettings
from brainjepa_core.signals.storing.store import ScanStore

ATLAS = Atlas.from_names([f"Net{1 + i // 4:02d}_LH_{i}" for i in range(8)])
LONG = "mean FD 0.71 mm, at most 0.5 allowed (exclude.mean_fd)"


def filled(folder: Path, scans: int = 3, atlas: Atlas = ATLAS, frames: int = 60) -> ScanStore:
    store = ScanStore.create(folder, atlas)
    for i in range(scans):
        series = np.random.default_rng(i).standard_normal((len(atlas), frames))
        series[: i % 3] = np.nan
        store.append(series, subject=f"sub-{i}", tr=2.0)
    return store


def report(name: str, status: str = "included", *reasons: str, **quality: float) -> ScanReport:
    return ScanReport(name, "", "task-rest", status, quality, reasons, f"figures/{name}.png")


def page_of(folder: Path, store: ScanStore, reports: list[ScanReport], site: str = "x") -> Path:
    return write_quality(folder, site, store.atlas, reports, store=store)


class Reader(HTMLParser):
    """Tags, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] not in ("script", "style"):
            self.text += data + "\n"


def test_the_page_tells_what_became_of_each_scan(tmp_path):
    reports = [
        report("sub-1", tr=2.0, mean_fd=0.1234, seconds=300.0, censored=0.05, odd=1.0),
        report("sub-2", "excluded", LONG, "tSNR 3, at least 20 required", mean_fd=0.71),
        report("sub-3", "failed", "bold.nii.gz: expected 4 dimensions, found 3; export it again"),
    ]
    path = page_of(tmp_path, filled(tmp_path / "store"), reports, "north")
    assert path == tmp_path / PAGE and (tmp_path / "scans.tsv").exists()
    page = unexplained(path.read_text())
    text = Reader(page).text
    for one in reports:
        assert one.name in text and all(reason in text for reason in one.reasons)
    assert "stays at the site" in text and "north" in text
    assert "1 of 3 scans is in the store (1 person), 1 left out by rules, 1 could not" in text
    rows = re.findall(r"<tr data-key.*?</tr>", page.split("<tbody>")[1], re.S)
    assert [re.search(r"sub-\d", row)[0] for row in rows] == ["sub-3", "sub-2", "sub-1"]
    assert all(number in rows[2] for number in (">0.123<", ">5.0<", ">5.0<"))
    assert page.count("<img") == 2  # connectivity, and a scan's that is clicked on
    assert page.count("<circle") == 2 + 1 + 1  # mean FD, censored, minutes
    assert "Not known: the scans came without images. 2 of 8 ROIs are missing in some" in text
    assert "sees every ROI whole" not in text and "coverage (%)" not in text
    sources = [value for name, value in Reader(page).attributes if name == "src"]
    assert all(source.startswith("data:image/png") for source in sources)


def test_pictures_of_scans_are_links_that_nothing_loads(tmp_path):
    page = page_of(tmp_path, filled(tmp_path / "store"), [report("sub-a b")]).read_text()
    assert 'href="figures/sub-a%20b.png"' in page and 'src="figures' not in page


NASTY = st.text(st.sampled_from("<>&\"'b/script =$\n\tä\x00\ud800"), max_size=12)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(NASTY, NASTY, NASTY)
def test_names_and_reasons_are_never_markup(tmp_path, subject, reason, site):
    store = ScanStore.create(tmp_path / "store", ATLAS)

    def tags(*texts: str) -> list[str]:
        name, why, where = texts
        reports = [ScanReport(name, name, name, "failed", {}, (why,), name or "x")]
        return Reader(page_of(tmp_path, store, reports, where).read_text()).tags

    assert tags(subject, reason, site) == tags("subject", "reason", "site")


def test_a_store_without_scans_gives_a_page(tmp_path):
    store = ScanStore.create(tmp_path / "store", ATLAS)
    text = Reader(page_of(tmp_path, store, []).read_text()).text
    assert "No scan is in the store" in text and "Nothing asks for a look" in text
    without = write_quality(tmp_path, "x", ATLAS, [report("sub-1", "failed", "no")])
    assert "No scan is in the store" in Reader(without.read_text()).text


def test_the_default_atlas_gets_a_picture_of_its_coverage(tmp_path):
    store = filled(tmp_path / "store", 2, load_atlas())
    seen = replace(report("sub-1"), coverage=(0.5, *[1.0] * 449))
    page = page_of(tmp_path, store, [seen]).read_text()
    assert "Mean coverage of each ROI" in page
    assert "1 of 450 ROIs are not seen whole by every scan." in page
    text = page_of(tmp_path, store, [seen, report("sub-2")]).read_text()
    assert "by every scan (of 1 of 2 scans, the others came without images)." in text
    unknown = page_of(tmp_path, store, [report("sub-1"), report("sub-2")]).read_text()
    assert "Mean coverage of each ROI" not in unknown and "Not known: the scans" in unknown


def test_why_the_order_is_not_judged(tmp_path):
    """One reason, the true one: no centres, few ROIs, short scans, or noise."""
    atlas = load_atlas()
    columns = (atlas.rois, atlas.networks, atlas.hemispheres, atlas.centroids)
    few = Atlas(atlas.name, *(column[:40] for column in columns))
    reasons = {
        "the atlas has no centres of its ROIs": filled(tmp_path / "a"),
        "40 ROIs have a known connectivity in both halves of a scan of at least 40 frames, and it "
        "takes 150": filled(tmp_path / "b", 1, few),
        "0 ROIs have a known connectivity": filled(tmp_path / "c", 1, atlas, frames=30),
        "too much noise: the connectivity of the first and of the second halves correlates "
        "-?0.0": filled(tmp_path / "d", 1, atlas),
    }
    for reason, store in reasons.items():
        page = unexplained(page_of(tmp_path, store, [report("sub-0")]).read_text())
        assert re.search(rf"Order of ROIs: not judged \({reason}", page), reason


def test_the_summary_equals_a_naive_one(tmp_path):
    store = filled(tmp_path, 3)
    summary = SiteSummary.of(store)
    assert summary.scans == 3 and summary.order is None
    assert summary.seen == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1])
    for i in range(8):
        for j in range(8):
            z = [
                np.arctanh(np.corrcoef(half[i], half[j])[0, 1])
                for record in store.records
                for half in np.split(np.float64(store.series(record)), 2, axis=1)
                if i != j and np.isfinite(half[[i, j]]).all()
            ]
            expected = 1.0 if i == j else np.tanh(np.mean(z))
            assert summary.mean_fc[i, j] == pytest.approx(expected, abs=1e-6)


def test_pairs_that_no_scan_has_are_unknown(tmp_path):
    summary = SiteSummary.of(filled(tmp_path, 2, frames=30))  # too short
    assert np.isnan(summary.mean_fc[0, 1]) and summary.mean_fc[0, 0] == 1


def test_what_people_have_left_out_is_told_apart_from_rules(tmp_path):
    reports = [
        report("sub-1", mean_fd=0.1),
        report("sub-2", "excluded", LONG, mean_fd=0.71),
        report("sub-3", "excluded", LONG, RATED_BAD, mean_fd=0.71),
        *(report(f"sub-{n}", "excluded", RATED_BAD, mean_fd=0.1) for n in (4, 5, 6)),
    ]
    rules = ExclusionSettings(missing_rois=None)
    write_quality(tmp_path, "north", ATLAS, reports, rules, filled(tmp_path / "store"))
    page = (tmp_path / PAGE).read_text()
    assert "2 left out by rules, 3 left out after looking at them." in page
    assert "2 scans left out by rules (exclude.mean_fd 2)." in page
    assert (
        "2 were left out by limits on mean_fd 0.5, censored 0.5 and a check of the order of "
        "regions, 3 after looking at them, and 0 could not be read."
    ) in " ".join(page.split())


def advice(reports, store_folder: Path, scans: int = 3, **rules) -> list[str]:
    exclude = ExclusionSettings(**{"censored": None, "mean_fd": None, **rules})
    return look_first(reports, exclude, SiteSummary.of(filled(store_folder, scans)), ATLAS)


def test_advice_names_what_is_wrong(tmp_path):
    reports = [
        *(report(f"sub-{i:02d}", tr=2.0, mean_fd=0.1 + 0.001 * i, tsnr=50.0) for i in range(11)),
        report("sub-moved", tr=2.2, mean_fd=0.45),
        *(report(f"sub-out{i}", "excluded", LONG, mean_fd=0.71) for i in range(5)),
        *(report(f"sub-bad{i}", "failed", "no") for i in range(6)),
    ]
    failed, rules, times, rois, moved, unknown = advice(reports, tmp_path, tsnr=20.0)
    assert "6 scans could not be used (sub-bad0 task-rest, " in failed and "and 2 more" in failed
    assert rules == "5 scans left out by rules (exclude.mean_fd 5)."
    assert times.startswith("Repetition times differ: 2 s in 11 scans, 2.2 s in 1 scan.")
    assert rois.startswith("2 ROIs without data in more than 20% of the included scans (Net01_LH_0")
    assert moved == (
        "Unusual mean FD in 1 included scan: sub-moved task-rest 0.45 mm. The site's median is "
        "0.106 mm; unusual is above 0.128 mm, 5 robust standard deviations from it."
    )
    assert unknown.startswith("tsnr is not known for 6 scans, so the rule exclude.tsnr")


def test_advice_gives_the_value_where_less_is_worse(tmp_path):
    reports = [report(f"sub-{i:02d}", tsnr=60.0 + i) for i in range(11)]
    (noisy,) = advice([*reports, report("sub-noisy", tsnr=12.0)], tmp_path, scans=1)
    assert noisy.startswith("Unusual tSNR in 1 included scan: sub-noisy task-rest 12. The site's")
    assert "unusual is below 42.3, 5 robust" in noisy


def test_advice_names_dead_rois(tmp_path):
    store = filled(tmp_path, 1)
    series = np.random.default_rng(5).standard_normal((8, 60))
    series[[2, 5]] = 100.0  # data, but no variation
    store.append(series, subject="sub-still", tr=2.0)
    reports = [report("sub-0"), ScanReport("sub-still", "", "", "included", {"dead_rois": 2.0})]
    told = look_first(reports, ExclusionSettings(), SiteSummary.of(store), ATLAS)
    assert told[0] == (
        "ROIs whose signal hardly varies in 1 included scan: sub-still (Net01_LH_2, Net02_LH_5). "
        "Training takes them for missing; look whether the extraction went wrong."
    )


def test_a_rule_that_cannot_act_is_told(tmp_path):
    """Nothing unknown is taken for a value that passes."""
    told = advice([report("sub-1", tr=2.0)], tmp_path, scans=1, mean_fd=0.5, censored=0.5, tsnr=20)
    assert [sentence.split(" is ")[0] for sentence in told] == ["mean_fd", "censored", "tsnr"]
    assert told[1] == (
        "censored is not known for 1 scan, so the rule exclude.censored could not act there."
    )


def test_what_is_not_known_is_no_number(tmp_path):
    """In the table of the page, in scans.tsv, and in the panels."""
    reports = [report("sub-1", mean_fd=0.2, censored=0.0), report("sub-2", mean_fd=0.1)]
    page = page_of(tmp_path, filled(tmp_path / "store"), reports).read_text()
    rows = re.findall(r"<tr data-key.*?</tr>", page.split("<tbody>")[1], re.S)
    assert "<td>0.0</td>" in rows[0] and "<td>n/a</td>" in rows[1]
    assert "0.0" not in rows[1].replace("0.100", "")
    lines = [line.split("\t") for line in (tmp_path / "scans.tsv").read_text().splitlines()]
    assert [line[lines[0].index("censored")] for line in lines[1:]] == ["0", "n/a"]


def test_advice_is_silent_about_a_good_site(tmp_path):
    good = [report(f"sub-{i}", tr=2.0, mean_fd=0.1 + 0.01 * i) for i in range(12)]
    assert advice(good, tmp_path, scans=1, mean_fd=0.5) == []


def test_advice_warns_of_rules_that_take_many(tmp_path):
    reports = [report("a"), report("b", "excluded", LONG)]
    (rules,) = advice(reports, tmp_path, scans=1)
    assert rules.endswith("More than a quarter of all: check units and thresholds.")


def test_the_legend_of_dots_names_what_is_drawn_alone(tmp_path):
    def legend(*reports: ScanReport, **rules: float) -> str:
        exclude = ExclusionSettings(mean_fd=None, censored=None, **rules)
        page = write_quality(tmp_path, "x", ATLAS, reports, exclude).read_text()
        return " ".join(Reader(page).text.split("Each dot is a scan")[1].split("click")[0].split())

    good = report("a", mean_fd=0.1, tsnr=50.0)
    assert legend(good) == ": ● included. A"
    assert legend(good, tsnr=20.0) == ": ● included; a dashed line is the limit of a rule. A"
    assert legend(good, report("b", "excluded", LONG, mean_fd=0.7)) == ": ● included, ● excluded. A"


def test_where_every_roi_is_seen_whole_there_is_no_empty_brain(tmp_path):
    store = filled(tmp_path / "store", atlas=load_atlas())
    whole = replace(report("sub-1"), coverage=(1.0,) * 450)
    page = page_of(tmp_path, store, [whole]).read_text()
    assert "sees every ROI whole" in page and "Mean coverage of each ROI" not in page


def test_people_are_counted_once():
    twice = [ScanReport("sub-1", s, "", "included", {}) for s in "12"]
    assert in_short(twice) == "2 of 2 scans are in the store (1 person)."


@pytest.mark.parametrize("content", ["", "{", "[]", '{"report": {"status": "odd"}}', "\xff"])
def test_a_damaged_report_stops_nothing_and_is_named(tmp_path, content):
    """Its scan is in the store: it is judged from there, and the others are told of as before."""
    store = filled(tmp_path / "store", 2)
    site = SiteSettings(name="x", store=tmp_path / "store", state=tmp_path / "state")
    files = site.quality / "reports"
    files.mkdir(parents=True)
    whole = ScanReport(*store.records[0].key, "included", {"tr": 2.0, "mean_fd": 0.25})
    (files / "whole.json").write_text(json.dumps({"made_from": [], "report": whole.to_json()}))
    (files / "bad.json").write_text(content, encoding="latin-1")
    counts, page = write_site_quality(site)
    assert counts == {"included": 2}
    text = Reader(page.read_text()).text
    assert "1 report cannot be read (reports/bad.json): prepare again, which makes them" in text
    assert "0.250" in text and "sub-1" in text
