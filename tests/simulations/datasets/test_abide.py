"""Fetching ABIDE without a network: nilearn's own fetcher over a filled cache, or a stand-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shared_data import shared
from sklearn.utils import Bunch

from brainjepa_core.signals.importing.importers import import_site_archive
from brainjepa_core.signals.tables.phenotypes import read_phenotypes
from brainjepa_simulations.datasets.abide import LEFT_OUT, TR, _number, fetch_abide

PEOPLE = {"NYU": 3, "PITT": 2, "CMU": 1}
FRAMES, ROIS = 12, 6


def phenotypes() -> pd.DataFrame:
    rows = []
    for site, count in PEOPLE.items():
        for number in range(count):
            rows.append(
                {
                    "SUB_ID": 50000 + len(rows),
                    "SITE_ID": site,
                    "FILE_ID": f"{site.title()}_{number:07d}",
                    "DX_GROUP": 1 + number % 2,
                    "AGE_AT_SCAN": 11.5 + number,
                    "SEX": 2 - number % 2,
                    "FIQ": -9999.0 if number == 1 else 101.0,
                    "EYE_STATUS_AT_SCAN": 1 + number % 2,
                    "func_mean_fd": np.nan if number == 2 else 0.1 + 0.3 * number,
                    "qc_rater_1": "OK",
                    "qc_notes_rater_1": 'with, "commas"',
                    "qc_anat_rater_2": "maybe",
                    "qc_func_rater_2": "OK",
                    "qc_anat_rater_3": "OK",
                    "qc_func_rater_3": "OK",
                }
            )
    rows.append({**rows[0], "FILE_ID": "no_filename"})
    rows.append({**rows[0], "FILE_ID": "Nyu_failed", "qc_func_rater_3": "fail"})
    return pd.DataFrame(rows)


def series_of(file_id: str) -> np.ndarray:
    rng = np.random.default_rng(sum(file_id.encode()))
    series = rng.normal(size=(FRAMES + len(file_id) % 5, ROIS)).round(6)
    if file_id == "Pitt_0000001":
        series[:, 2] = 0.0
    return series


class Fetcher:
    """Stands in for `nilearn.datasets.fetch_abide_pcp`; dies at a site if asked to."""

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.dies_at = ""

    def __call__(self, *, derivatives, SITE_ID, data_dir, func_mean_fd=None, **choices) -> Bunch:
        self.asked.append({"site": SITE_ID, "derivatives": derivatives, **choices})
        if self.dies_at == SITE_ID:
            raise ConnectionError("HTTPSConnectionPool(host='s3.amazonaws.com')")
        table = phenotypes()
        table = table[(table.SITE_ID == SITE_ID) & table.FILE_ID.str.contains("_0")]
        if func_mean_fd is not None:
            table = table[table.func_mean_fd.between(*func_mean_fd)]
        series = [series_of(file_id) for file_id in table.FILE_ID]
        return Bunch(phenotypic=table, **{derivatives[0]: series})


@pytest.fixture
def fetcher(monkeypatch) -> Fetcher:
    fetcher = Fetcher()
    monkeypatch.setattr("nilearn.datasets.fetch_abide_pcp", fetcher)
    return fetcher


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_archives_and_participants(fetcher, tmp_path):
    said: list[str] = []
    out = tmp_path / "abide"
    assert fetch_abide(out, ["NYU", "PITT"], tell=said.append) == {"NYU": 3, "PITT": 2}
    assert sorted(p.name for p in out.iterdir()) == [
        "NYU.npz", "PITT.npz", "README.txt", "participants.tsv",
    ]  # fmt: skip
    assert said[0].startswith("ABIDE I") and "CC BY-NC-SA 3.0, non-commercial" in said[0]
    assert said[0] in (out / "README.txt").read_text()
    assert said[1:] == [
        "NYU: 3 people, repetition time 2 s", "PITT: 2 people, repetition time 1.5 s",
    ]  # fmt: skip
    table = read_phenotypes([out / "participants.tsv"]).people
    assert table["Nyu_0000000"] == {
        "site": "NYU", "diagnosis": "ASD", "age": 11.5, "sex": "F", "fiq": 101.0,
        "eyes_at_scan": "open", "mean_fd": 0.1,
    }  # fmt: skip
    assert table["Nyu_0000001"] == {
        "site": "NYU", "diagnosis": "TC", "age": 12.5, "sex": "M", "eyes_at_scan": "closed",
        "mean_fd": 0.4,
    }  # fmt: skip
    assert "mean_fd" not in table["Nyu_0000002"]


def test_a_store_takes_them_to_the_last_bit(fetcher, tmp_path):
    out = tmp_path / "abide"
    fetch_abide(out, ["PITT"], tell=list)
    store = import_site_archive(out / "PITT.npz", tmp_path / "store", out / "participants.tsv")
    assert store.atlas.rois == tuple(f"cc200_00{number}" for number in range(1, ROIS + 1))
    first, second = store.records
    assert (first.tr, second.tr) == (1.5, 1.5)
    assert first.subject == "Pitt_0000000" and first.phenotypes["age"] == 11.5
    assert first.qc == {"mean_fd": 0.1}
    expected = series_of(first.subject).T.astype(np.float32)
    assert np.array_equal(store.series(first), expected)
    assert first.missing == () and second.missing == ("cc200_003",)  # it never varied


def test_nilearn_is_asked_for_what_the_terms_say(fetcher, tmp_path):
    fetch_abide(tmp_path / "out", ["NYU", "NYU"], "rois_ho", tell=list)
    assert fetcher.asked == [
        {"site": "NYU", "derivatives": ["rois_ho"], "pipeline": "cpac", "verbose": 0,
         "band_pass_filtering": False, "global_signal_regression": False, "quality_checked": True}
    ]  # fmt: skip
    with np.load(tmp_path / "out" / "NYU.npz") as archive:
        assert archive["roi"][0] == "ho_001"


@pytest.mark.parametrize("limit, people", [(None, 3), (0.25, 1), (0.5, 2)])
def test_nilearns_own_fetcher_over_a_filled_cache(tmp_path, limit, people):
    """Its filters and its reading of the table, which holds commas within quotes."""
    cache = tmp_path / "cache" / "ABIDE_pcp"
    files = cache / "cpac" / "nofilt_noglobal"
    files.mkdir(parents=True)
    table = phenotypes()
    table.to_csv(cache / "Phenotypic_V1_0b_preprocessed1.csv")
    for file_id in table.FILE_ID:
        np.savetxt(files / f"{file_id}_rois_cc200.1D", series_of(file_id), header="#1\t#2")
    out = tmp_path / "out"
    found = fetch_abide(out, ["NYU"], max_mean_fd=limit, cache=tmp_path / "cache", tell=list)
    assert found == {"NYU": people}
    assert len(read_phenotypes([out / "participants.tsv"]).people) == people
    with np.load(out / "NYU.npz") as archive:
        assert np.array_equal(
            archive["ts"][:FRAMES], series_of("Nyu_0000000").astype("f4")[:FRAMES]
        )


def test_nothing_is_left_of_a_fetch_that_died(fetcher, tmp_path):
    out = tmp_path / "abide"
    fetcher.dies_at = "PITT"
    with pytest.raises(
        ValueError, match=r"^expected to fetch PITT of ABIDE .* found a connection that f"
    ) as e:
        fetch_abide(out, ["NYU", "PITT"], tell=list)
    assert "check the network and the disk, and repeat" in str(e.value)
    assert "\n" not in str(e.value)
    assert list(tmp_path.iterdir()) == []
    fetcher.dies_at = ""
    assert fetch_abide(out, ["NYU", "PITT"], tell=list) == {"NYU": 3, "PITT": 2}


def test_repeating_changes_nothing(fetcher, tmp_path):
    out, said = tmp_path / "abide", []
    fetch_abide(out, ["NYU"], tell=list)
    before, asked = contents(out), len(fetcher.asked)
    assert fetch_abide(out, ["NYU"], tell=said.append) == {}
    assert "holds this selection already" in said[-1]
    assert contents(out) == before and len(fetcher.asked) == asked
    fetch_abide(tmp_path / "again", ["NYU"], tell=list)
    with np.load(out / "NYU.npz") as one, np.load(tmp_path / "again" / "NYU.npz") as other:
        assert all(np.array_equal(one[k], other[k]) for k in one)


def test_a_folder_of_something_else_is_left_alone(fetcher, tmp_path):
    out = tmp_path / "abide"
    fetch_abide(out, ["NYU"], tell=list)
    before = contents(out)
    for choice in ({"sites": ["PITT"]}, {"sites": ["NYU"], "max_mean_fd": 0.25}):
        with pytest.raises(ValueError, match="expected a new folder, or what the same selection"):
            fetch_abide(out, **choice, tell=list)
    assert contents(out) == before


@pytest.mark.parametrize(
    "choice, text",
    [
        ({"sites": ["NYU", "nyu"]}, r"sites among CALTECH, .* found 'nyu' \(no such site\)"),
        ({"sites": ["CMU"]}, r"found 'CMU' \(its scans have two repetition times"),
        ({"sites": []}, r"expected sites among .* found none"),
        ({"rois": "cc200"}, "expected rois among rois_aal, .* found 'cc200'; take one of them"),
    ],
)  # fmt: skip
def test_unknown_names(fetcher, tmp_path, choice, text):
    with pytest.raises(ValueError, match=text):
        fetch_abide(tmp_path / "out", **choice)
    assert fetcher.asked == []


def test_all_sites_but_those_of_unknown_repetition_time(fetcher, tmp_path):
    said: list[str] = []
    people = fetch_abide(tmp_path / "out", tell=said.append)
    assert people == {site: PEOPLE.get(site, 0) for site in TR}
    assert [line.partition(" ")[0] for line in said[-2:]] == ["CMU", "SBL"]
    assert sorted(p.stem for p in (tmp_path / "out").glob("*.npz")) == ["NYU", "PITT"]
    assert not TR.keys() & LEFT_OUT.keys()


def test_nobody_passes(fetcher, tmp_path):
    with pytest.raises(ValueError, match="found nobody who passed; raise max_mean_fd"):
        fetch_abide(tmp_path / "out", ["NYU"], max_mean_fd=0.01, tell=list)
    assert list(tmp_path.iterdir()) == []


def test_series_of_several_widths(fetcher, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "series_of", lambda name: np.eye(8)[:, : 4 + int(name[-1])])
    with pytest.raises(ValueError, match=r"one number of ROIs at NYU, found \[4, 5, 6\]"):
        fetch_abide(tmp_path / "out", ["NYU"], tell=list)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [-9999, "-9999", "", None, float("nan"), "n/a", float("inf")])
def test_codes_of_missing_values(value):
    assert _number(value) is None


def test_repetition_times_are_those_of_the_archives_at_hand():
    archives = [p for p in shared("data", "abide").glob("*.npz") if p.stem in TR]
    assert len(archives) == 12
    for path in archives:
        with np.load(path) as archive:
            assert float(archive["tr"]) == pytest.approx(TR[path.stem], abs=1e-6), path.stem
            assert archive["roi"][0] == "cc200_001"  # the name that a fetch gives the first ROI
