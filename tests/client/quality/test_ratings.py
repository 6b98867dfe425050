"""What people say of scans: the page's file, what prepare makes of it, and what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from painted_sites import change, painted, prepared, site_of, store_of

from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.quality.ratings import RATINGS, read_ratings
from brainjepa_client.quality.strips import HEIGHT, WIDTH, strips
from brainjepa_client.quality.table import ScanReport
from brainjepa_client.quality.tables_and_page import write_site_quality
from brainjepa_core.signals.preparation import ExclusionSettings

SCAN = ScanReport("sub-1", "", "task-rest", "included", {"mean_fd": 0.2, "tsnr": 50.0})


def rate(tree, *ratings: tuple[tuple[str, str, str], str]) -> None:
    told = [
        {"subject": s, "session": ses, "run": r, "rating": word} for (s, ses, r), word in ratings
    ]
    (tree.folder / "store-quality" / RATINGS).write_text(json.dumps({"format": 1, "ratings": told}))


def test_scans_rated_bad_leave_the_store_and_come_back(tmp_path):
    tree = prepared(tmp_path / "site")
    bad, good, *_ = (record.key for record in store_of(tree).records)
    rate(tree, (bad, "bad"), (good, "good"), (("nobody", "", ""), "bad"))
    again = Preparation.of(site_of(tree))
    assert "ratings.json rates 1 scan that is not there, such as nobody" in again.notes()
    (report,) = again.run()
    assert (report.key, report.status) == (bad, "excluded")
    assert report.reasons == ("rated bad by a person (ratings.json)",)
    assert bad not in {record.key for record in store_of(tree).records}
    page = write_site_quality(site_of(tree))[1].read_text()
    assert '<td class="text rating">bad</td>' in page and 'id="save"' in page
    assert Preparation.of(site_of(tree)).waiting == ()
    rate(tree, (bad, "unsure"))
    assert [one.status for one in Preparation.of(site_of(tree)).run()] == ["included"]
    assert bad in {record.key for record in store_of(tree).records}


def test_a_damaged_file_is_found_before_anything_is_changed(tmp_path):
    tree = painted(tmp_path / "site", contamination="simple_motion")
    path = tree.folder / "store-quality" / RATINGS
    path.parent.mkdir()
    path.write_text("{")
    with pytest.raises(ValueError, match=r"expected ratings\.json"):
        Preparation.of(site_of(tree))
    assert not (tree.folder / "store").exists()
    path.unlink()
    change(tree, exclude={"mean_fd": 0.001})
    assert {report.status for report in Preparation.of(site_of(tree)).run()} == {"excluded"}
    change(tree, exclude={"mean_fd": 5.0})
    path.write_text("{")
    with pytest.raises(ValueError, match=r"expected ratings\.json"):
        Preparation.of(site_of(tree))
    path.unlink()
    assert len(Preparation.of(site_of(tree)).waiting) == len(tree.scans)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{", "Invalid JSON"),
        ('{"format": 2}', "format"),
        ('{"ratings": [{"subject": "a", "rating": "awful"}]}', "rating"),
        (b"\xff\xfe", "not text in UTF-8"),
        (
            '{"ratings": [{"subject": "a", "rating": "bad"}, {"subject": "a", "rating": "good"}]}',
            "one scan with two ratings",
        ),
    ],
)
def test_a_damaged_file_is_told_in_one_line(tmp_path, content, found):
    path = tmp_path / RATINGS
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"expected ratings\.json in .* as the quality page") as e:
        read_ratings(tmp_path)
    assert found in str(e.value) and "save it again from the page, or remove it" in str(e.value)


def test_without_a_file_nothing_is_rated(tmp_path):
    assert read_ratings(tmp_path) == {}


def test_a_dot_is_a_scan_at_its_value():
    reports = [replace(SCAN, subject=f"sub-{i}", quality={"mean_fd": i / 10}) for i in range(5)]
    reports.append(replace(SCAN, status="failed", quality={}))
    (strip,) = strips(reports, ExclusionSettings(mean_fd=0.3))
    across = [dot.across for dot in strip.dots]
    assert len(across) == 5 and across == sorted(across)
    assert strip.limit == across[3]
    assert all(0 <= dot.across <= WIDTH and 0 <= dot.down <= HEIGHT for dot in strip.dots)
    assert strip.told == "mean FD (mm) of 5 scans: 0 to 0.4, median 0.2"
    assert strip.dots[2].value == "0.2" and strip.dots[2].name == "sub-2 task-rest"


def test_no_limit_where_there_is_no_rule_and_one_value_is_in_the_middle():
    fd, tsnr = strips([SCAN], ExclusionSettings(mean_fd=None))
    assert fd.limit is None and tsnr.limit is None
    assert fd.dots[0].across == pytest.approx(WIDTH / 2, abs=1)


def test_no_axis_of_a_share_goes_beyond_all_of_it():
    whole = [replace(SCAN, subject=f"{i}", quality={"coverage_mean": 1.0}) for i in range(3)]
    (strip,) = strips(whole, ExclusionSettings())
    assert 50 < max(float(text) for _, text in strip.ticks) <= 100
    assert all(dot.across <= WIDTH for dot in strip.dots)
