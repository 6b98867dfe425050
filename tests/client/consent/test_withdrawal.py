"""A person withdraws: nothing of them is left, nobody else loses anything, and they stay out."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import yaml
from painted_sites import files_of, prepared, site_of, store_of
from typer.testing import CliRunner

from brainjepa_client.answering.site import LOG
from brainjepa_client.cli import app
from brainjepa_client.consent import withdrawal
from brainjepa_client.consent.audit_log import AUDIT, SALT, audit_log, people_removed, site_salt
from brainjepa_client.consent.participation import note_answer
from brainjepa_client.consent.results_made import note_results
from brainjepa_client.consent.withdrawal import remove_person
from brainjepa_client.preparing.prepare import Preparation
from brainjepa_client.preparing.validate import validate
from brainjepa_client.quality.ratings import RATINGS, read_ratings
from brainjepa_core.evaluation.features.embeddings import CACHE as EMBEDDINGS
from brainjepa_core.pretraining.loop import BAD_BATCH
from brainjepa_core.signals.storing.vectors import import_vectors, vectors_of_store
from brainjepa_core.signals.storing.withdrawn import WITHDRAWN, WithdrawnPerson
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, TRAIN


@pytest.fixture
def tree(tmp_path):
    return prepared(tmp_path / "site", derivatives="derivatives")


def everything(tree) -> str:
    """Names and contents of all that the site keeps, its own scans aside."""
    site = site_of(tree)
    folders = (site.store, site.state, site.quality, site.preparation().derivatives)
    files = {f"{f}/{k}": v for f in folders if f.exists() for k, v in files_of(f).items()}
    return "\n".join(f"{name} {content.decode(errors='ignore')}" for name, content in files.items())


def test_nothing_of_the_person_is_left_and_others_keep_all(tree):
    site = site_of(tree)
    person = next(k[0] for k in tree.scans if sum(k[0] == other[0] for other in tree.scans) > 1)
    others = sorted(key for key in tree.scans if key[0] != person)
    before = {record.key: record for record in store_of(tree).records}
    site.state.mkdir()
    log = f"2026-01-02T03:04:05 left out: store/{person} rest: too short\nValueError: {person}!\n"
    (site.state / LOG).write_text(log + "answered\n")
    (site.state / "demo").mkdir()
    (site.state / "demo" / BAD_BATCH).write_text(json.dumps({"step": 3, "people": [person, "x"]}))
    (site.state / EMBEDDINGS / "model").mkdir(parents=True)
    (site.state / EMBEDDINGS / "model" / "vector.npz").write_bytes(b"")
    rated = [
        {"subject": subject, "session": session, "run": run, "rating": "unsure"}
        for subject, session, run in tree.scans
    ]
    (site.quality / RATINGS).write_text(json.dumps({"format": 1, "ratings": rated}))
    table = site.state / "t1.csv"
    labels = sorted({key[0] for key in tree.scans})
    table.write_text("participant_id,x\n" + "".join(f"{label},1\n" for label in labels))
    import_vectors(store_of(tree), "t1", table)
    table.unlink()
    assert person in everything(tree)

    removal = remove_person(site, person)
    vectors = vectors_of_store(site.store)["t1"]
    assert sorted(vectors.subjects) == [label for label in labels if label != person]
    assert (removal.scans, removal.before, removal.studies) == (2, False, ())
    assert person not in everything(tree)
    assert person.removeprefix("sub-") not in (site.state / AUDIT).read_text()
    assert (site.state / LOG).read_text() == (
        "2026-01-02T03:04:05 left out: store/[removed] rest: too short\nValueError: [removed]!\n"
        "answered\n"
    )
    assert not (site.state / EMBEDDINGS).exists()
    assert {r.key: r for r in store_of(tree).records} == {key: before[key] for key in others}
    assert sorted(read_ratings(site.quality)) == others
    assert store_of(tree).verify() == []
    for folder, pattern in (("reports", "*.json"), ("figures", "*.png")):
        assert len(list((site.quality / folder).glob(pattern))) == len(others)
    tables = list(site.preparation().derivatives.rglob("*_timeseries.tsv"))
    assert len(tables) == len(others)


def test_ratings_that_cannot_be_read_are_removed(tree):
    site, person = site_of(tree), next(iter(tree.scans))[0]
    (site.quality / RATINGS).write_text(f'{{"ratings": [{{"subject": "{person}"')
    remove_person(site, person)
    assert not (site.quality / RATINGS).exists()


def test_logs_of_commands_lose_the_name_and_keep_their_times(tree, tmp_path):
    site, person = site_of(tree), next(iter(tree.scans))[0]
    label = person.removeprefix("sub-")
    note_results(site.state, "an evaluation", tmp_path / "evaluated")
    text = (
        f"2026-11-26 03:04:05,{label} INFO brainjepa a b --participant-label {label} 7\n"
        f"2026-11-26 03:04:06,001 DEBUG {person} rest: included, {label} of them\n"
    )
    for folder in (site.state, site.quality, tmp_path / "evaluated"):
        folder.mkdir(exist_ok=True)
        (folder / "brainjepa.log").write_text(text)
    remove_person(site, person)
    for folder in (site.state, site.quality, tmp_path / "evaluated"):
        assert (folder / "brainjepa.log").read_text() == (
            f"2026-11-26 03:04:05,{label} INFO brainjepa a b --participant-label "
            "[removed] 7\n"
            f"2026-11-26 03:04:06,001 DEBUG [removed] rest: included, {label} of them\n"
        )


@pytest.mark.parametrize("name", ["site.run/worker.log", "site.run/worker.log.old", "log.txt.old"])
def test_logs_of_a_started_site_lose_the_name(tree, name):
    site, person = site_of(tree), next(iter(tree.scans))[0]
    log = site.state / name
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"2026-11-26T03:04:05 OSError: store/{person} rest\n")
    remove_person(site, person)
    assert log.read_text() == "2026-11-26T03:04:05 OSError: store/[removed] rest\n"


def test_the_person_stays_out_of_this_store_and_of_a_new_one(tree):
    site, person = site_of(tree), next(iter(tree.scans))[0]
    theirs = sum(key[0] == person for key in tree.scans)
    assert Preparation.of(site).waiting == ()
    remove_person(site, person)
    looked = validate(site)
    assert looked.scans == len(tree.scans) - theirs  # as prepare takes them
    again = Preparation.of(site)
    assert again.waiting == ()
    assert set(again.changes) <= set(looked.notes)
    scans = "1 scan" if theirs == 1 else f"{theirs} scans"
    assert again.changes == (f"{scans} of people who were removed left out",)
    with pytest.raises(WithdrawnPerson, match="found one who was taken out"):
        store = store_of(tree)
        store.append(store.series(store.records[0]), subject=person, tr=2.0)
    shutil.rmtree(site.store)
    shutil.rmtree(site.quality)
    list(Preparation.of(site).run())
    assert person not in {record.subject for record in store_of(tree).records}


def test_rounds_are_told_counted_from_one(tree):
    site, person = site_of(tree), next(iter(tree.scans))[0]
    people = sorted({key[0] for key in tree.scans})
    place, salt = people.index(person), site_salt(site.state)
    other = (place + 1) % len(people)
    note_answer(site.state / "first", GRADIENTS, 0, people, range(len(people)), salt)
    for number, drawn in enumerate([[other], [place], [place, other], [other], [place]]):
        note_answer(site.state / "first", TRAIN, number, people, drawn, salt)
    note_answer(site.state / "first", EVALUATE, 4, people, [place], salt)
    note_answer(site.state / "second", TRAIN, 0, people, [place], salt)
    note_answer(site.state / "third", TRAIN, 0, people, [other], salt)
    first, second = remove_person(site, person).studies
    assert first.in_words() == (
        "study 'first': trained on in rounds 2 to 3, 5; the weights after round 1 are the last "
        "without them; the consensus gradients hold them, which only a new study is without; "
        "counted in evaluations of round 5"
    )
    assert second.in_words() == (
        "study 'second': trained on in round 1; the weights the study began with are the last "
        "without them"
    )
    event = list(audit_log(site.state).lines())[-1]
    assert event["studies"]["first"] == {"basis": True, "trained": [2, 3, 5], "evaluated": [5]}
    assert event.keys() == {"previous", "time", "event", "salt", "person", "studies"}


@pytest.mark.parametrize("place", ["store", "derivatives", "results", "state", "reports"])
def test_after_a_kill_the_same_command_finishes(tree, monkeypatch, place):
    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    site, person = site_of(tree), next(iter(tree.scans))[0]
    with monkeypatch.context() as patch:
        if place == "store":
            patch.setattr("brainjepa_core.signals.storing.store.ScanStore.withdraw", kill)
        elif place == "derivatives":
            patch.setattr(withdrawal, "remove_derivatives", kill)
        elif place == "reports":
            patch.setattr("brainjepa_client.preparing.scan_reports.Reports.remove", kill)
        else:
            patch.setattr(withdrawal, f"_clear_{place}", kill)
        with pytest.raises(Killed):
            remove_person(site, person)
    assert remove_person(site, person).before
    assert person not in everything(tree)
    assert len(list(audit_log(site.state).lines())) == len(people_removed(site.state)) == 1


def test_embeddings_lose_the_row_and_evaluations_are_named(tree, tmp_path):
    site, people = site_of(tree), sorted({key[0] for key in tree.scans})
    vectors = np.arange(len(people) * 3.0).reshape(-1, 3)
    np.savez(tmp_path / "v.npz", subject=people, origin=np.array("{}"), mean=vectors)
    (tmp_path / "evaluated" / "cache").mkdir(parents=True)
    note_results(site.state, "embeddings", tmp_path / "v.npz")
    note_results(site.state, "an evaluation", tmp_path / "evaluated")
    note_results(site.state, "a fine-tuned model", tmp_path / "never finished")
    removal = remove_person(site, people[1])
    assert removal.results == (f"an evaluation in '{tmp_path / 'evaluated'}'",)
    assert list((tmp_path / "evaluated").iterdir()) == []
    with np.load(tmp_path / "v.npz") as left:
        assert left["subject"].tolist() == [people[0], *people[2:]]
        np.testing.assert_array_equal(left["mean"], np.delete(vectors, 1, 0))


def test_who_is_not_there_is_not_removed(tree):
    site = site_of(tree)
    with pytest.raises(ValueError, match=r"a person of this site's store or reports, found none "):
        remove_person(site, "nobody")
    assert not (site.state / AUDIT).exists() and not (site.store / WITHDRAWN).exists()
    person = next(iter(tree.scans))[0]
    remove_person(site, person.removeprefix("sub-"))
    assert remove_person(site, person).before


def test_two_that_a_name_could_mean_are_refused(tree):
    store = store_of(tree)
    for name in ("007", "0007"):
        store.append(store.series(store.records[0]), subject=name, tr=2.0)
    with pytest.raises(ValueError, match="found none named '7'"):
        remove_person(site_of(tree), "7")
    assert remove_person(site_of(tree), "007").scans == 1


def test_a_writer_at_work_is_not_disturbed(tree):
    with (
        store_of(tree).writing(),
        pytest.raises(BlockingIOError, match="to be alone in writing into the store"),
    ):
        remove_person(site_of(tree), next(iter(tree.scans))[0])


def test_the_command_says_what_it_did_and_names_nobody_in_the_log(tree):
    person = next(iter(tree.scans))[0]
    theirs = sum(key[0] == person for key in tree.scans)
    result = CliRunner().invoke(app, ["remove", str(tree.site), person])
    assert result.exit_code == 0, result.output
    scans = "1 scan" if theirs == 1 else f"{theirs} scans"
    assert f"removed: {scans} left the store, with reports, pictures" in result.output
    assert "no study has asked this site for anything that held them" in result.output
    assert f"{len(tree.scans) - theirs} scans in the store" in result.output
    assert person not in (site_of(tree).quality / "index.html").read_text()


def test_the_salt_is_the_sites_secret_and_stays(tree):
    state = site_of(tree).state
    salt = site_salt(state)
    assert site_salt(state) == salt and (state / SALT).stat().st_mode & 0o777 == 0o600
    (state / SALT).write_text("short")
    with pytest.raises(ValueError, match=r"expected 32 hexadecimal digits in '.*', found 5"):
        site_salt(state)


def test_an_imported_store_takes_nobody_back_either(tmp_path):
    from brainjepa_core.signals.importing.importers import import_directory

    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    (tmp_path / "series").mkdir()
    for name in ("sub-01", "sub-02"):
        series = np.random.default_rng(1).standard_normal((20, 3))
        np.savetxt(tmp_path / "series" / f"{name}_timeseries.tsv", series, delimiter="\t")

    def load(say=lambda _: None):
        return import_directory(
            tmp_path / "series", tmp_path / "names.txt", tmp_path / "store", 2.0, say=say
        )

    load()
    content = {"name": "one", "store": "store", "state": "state"}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    result = CliRunner().invoke(app, ["remove", str(tmp_path / "site.yaml"), "02"])
    assert result.exit_code == 0, result.output
    told: list[str] = []
    assert [record.subject for record in load(told.append).records] == ["sub-01"]
    assert told == ["1 person who was removed (site remove) is left out"]
