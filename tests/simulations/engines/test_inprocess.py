"""A whole federation in one process: exact, repeatable, resumable, and hard to break."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import yaml
from numpy.testing import assert_allclose
from small_consortium import (
    TOTAL,
    FakeClient,
    bits,
    distance,
    local_training,
    plan,
    prepare,
    run,
    same,
    scenario,
    summary,
    training_people,
    weights,
)

from brainjepa_client.computing import training
from brainjepa_core.atlas import Atlas
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_server import study as study_module
from brainjepa_server.app import app as server_app
from brainjepa_server.record.attendance import attendance
from brainjepa_server.record.history import read_history
from brainjepa_server.record.tracking import StudyTracker
from brainjepa_server.reporting.report import write_report
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.engines import inprocess
from brainjepa_simulations.engines.client_app import app as client_app
from brainjepa_simulations.engines.inprocess import InProcessGrid, run_in_process
from brainjepa_simulations.engines.virtual_sites import make_sites
from brainjepa_simulations.scenario import Scenario


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A study of two sites and three rounds that nothing disturbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("brainjepa_server.study.StudyTracker", StudyTracker)
        patch.setattr("brainjepa_core.tracking.tracker.mlflow_client", FakeClient())
        return run(scenario(), tmp_path_factory.mktemp("straight"))


@pytest.mark.parametrize("steps", [1, 2, 3, TOTAL])
def test_one_site_is_local_training_bit_for_bit(tmp_path, steps):
    chosen = scenario(1, steps)
    run(chosen, tmp_path)
    expected = bits(local_training(chosen, tmp_path))
    found = weights(tmp_path)
    assert same(found, expected)
    assert len(summary(tmp_path)["rounds"]) == TOTAL // steps
    start = chosen.study.pretraining.new_model(ConsensusBasis.load(tmp_path / "basis.npz"))
    assert not np.array_equal(
        found["encoder.patch.weight"], start.state_dict()["encoder.patch.weight"].numpy()
    )


@pytest.mark.parametrize(
    "aggregation", [{"combine": "median"}, {"combine": "trimmed_mean"}, {"shares": "equal"}]
)
def test_one_site_is_local_training_however_replies_are_combined(tmp_path, aggregation):
    chosen = scenario(1, 3, aggregation=aggregation, training={"clip_norm": 0.5})
    run(chosen, tmp_path)
    assert same(weights(tmp_path), bits(local_training(chosen, tmp_path)))


def test_targets_that_stay_at_the_site_are_those_of_local_training(tmp_path):
    chosen = scenario(1, 2, aggregation={"target": "local"})
    run(chosen, tmp_path)
    found, expected = weights(tmp_path), bits(local_training(chosen, tmp_path))
    trained = [name for name in expected if name.startswith(("encoder.", "predictor."))]
    assert same({k: found[k] for k in trained}, {k: expected[k] for k in trained})


def test_targets_on_the_line_are_exact_in_rounds_of_one_step(tmp_path):
    chosen = scenario(1, 1, aggregation={"target": "line"})
    run(chosen, tmp_path)
    found, expected = weights(tmp_path), bits(local_training(chosen, tmp_path))
    for name, value in expected.items():
        assert_allclose(found[name], value, atol=2e-5, err_msg=name)
    assert distance(found, expected) < 1e-4


@pytest.mark.parametrize("target", ["line", "local"])
def test_targets_not_sent_cost_fewer_bytes(tmp_path, straight, target):
    run(scenario(aggregation={"target": target}), tmp_path)
    rounds = summary(tmp_path)["rounds"]
    assert [len(r["sites"]) for r in rounds] == [2, 2, 2]
    assert rounds[0]["bytes_up"] < 0.8 * summary(straight)["rounds"][0]["bytes_up"]
    assert all(np.isfinite(value).all() for value in weights(tmp_path).values())


def test_the_consensus_of_sites_is_the_basis_of_all_their_people(straight):
    consensus = ConsensusBasis.load(straight / "basis.npz")
    pooled = connectivity_sum(training_people(scenario(), straight))
    expected = ConsensusBasis.from_sum(pooled, 3, 0.2)
    assert_allclose(consensus.gradients, expected.gradients, atol=1e-6)
    facts = summary(straight)["basis"]
    assert facts["hash"] == consensus.hash and facts["sites"] == ["site-01", "site-02"]
    assert facts["subjects"] == pooled.subjects


def test_the_same_seeds_twice(tmp_path, straight, monkeypatch):
    monkeypatch.setattr("brainjepa_server.study.StudyTracker", StudyTracker)
    monkeypatch.setattr("brainjepa_core.tracking.tracker.mlflow_client", FakeClient())
    run(scenario(), tmp_path)
    assert same(weights(tmp_path), weights(straight))
    assert same(weights(tmp_path, "best"), weights(straight, "best"))
    assert summary(tmp_path) == summary(straight)


class Stopped(Exception):
    """Stands for whatever ends a coordinator."""


def stop(monkeypatch, place: str, call: int) -> None:
    """Fail at the given call of a place."""
    names = {"evaluate": "evaluate", "consensus": "write_history", "line": "append_round",
             "summary": "write_summary"}  # fmt: skip
    name = names.get(place, "write_round")
    real, calls = getattr(study_module, name), []

    def stopping(*arguments, **named):
        calls.append(arguments)
        if len(calls) == call and place == "after":
            real(*arguments, **named)
        if len(calls) == call:
            raise Stopped(place)
        return real(*arguments, **named)

    monkeypatch.setattr(study_module, name, stopping)


LATER = ("evaluate", 3), ("after", 2), ("after", 3), ("line", 3)
PLACES = [
    ("consensus", 1), ("evaluate", 1), ("before", 1), ("after", 1), ("line", 1), ("summary", 1),
    *(pytest.param(*place, marks=pytest.mark.slow) for place in LATER),
]  # fmt: skip


@pytest.mark.parametrize(("place", "call"), PLACES)
def test_stopped_anywhere_and_resumed(tmp_path, straight, monkeypatch, place, call):
    mlflow = FakeClient()
    monkeypatch.setattr("brainjepa_server.study.StudyTracker", StudyTracker)
    monkeypatch.setattr("brainjepa_core.tracking.tracker.mlflow_client", mlflow)
    with monkeypatch.context() as patch:
        stop(patch, place, call)
        with pytest.raises(Stopped):
            run(scenario(), tmp_path)
    assert mlflow.statuses == ["FAILED"]
    run(scenario(), tmp_path)
    assert same(weights(tmp_path), weights(straight))
    assert same(weights(tmp_path, "best"), weights(straight, "best"))
    assert summary(tmp_path) == summary(straight)
    assert list(mlflow.runs) == ["run1"] and mlflow.statuses == ["FAILED", "FINISHED"]
    last = {step: value for step, value in mlflow.losses}
    assert sorted(last) == [1, 2, 3]
    newest = sorted((tmp_path / "rounds").iterdir())[-1]
    assert json.loads((newest / "state.json").read_text())["run_id"] == "run1"


def test_other_settings_do_not_continue_a_study_that_has_but_its_basis(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        stop(patch, "evaluate", 1)
        with pytest.raises(Stopped):
            run(scenario(1), tmp_path)
    other = scenario(1)
    study = other.study.model_copy(update={"held_out_fold": 1})
    with pytest.raises(ValueError, match=r"expected held_out_fold = 1, found 0 in the saved summ"):
        run(other.model_copy(update={"study": study}), tmp_path)
    run(scenario(1, rounds={"deadline": 60, "evaluate_every": 1}), tmp_path)


def test_a_finished_study_may_be_run_again(tmp_path, straight):
    chosen = scenario()
    run(chosen, tmp_path)
    before = summary(tmp_path)
    run(chosen, tmp_path)
    assert same(weights(tmp_path), weights(straight)) and summary(tmp_path) == before


def test_other_settings_do_not_continue_a_study(tmp_path):
    run(scenario(1), tmp_path)
    before = weights(tmp_path)
    with pytest.raises(ValueError, match=r"expected aggregation.combine = median, found mean in"):
        run(scenario(1, aggregation={"combine": "median"}), tmp_path)
    assert same(weights(tmp_path), before)


@pytest.mark.parametrize("kind", ["nan", "huge", "garbage"])
def test_a_poisoned_site_is_left_out_with_a_reason(tmp_path, kind):
    run(scenario(3, 3, faults={"poison": {2: kind}}), tmp_path)
    rounds = summary(tmp_path)["rounds"]
    assert [sorted(r["sites"]) for r in rounds] == [["site-01", "site-03"]] * 2
    assert all(list(r["rejected"]) == ["site-02"] for r in rounds)
    assert all(r["rejected"]["site-02"].startswith("expected") for r in rounds)
    assert all(np.isfinite(value).all() for value in weights(tmp_path).values())


def test_dropouts_are_left_out_of_their_rounds(tmp_path):
    run(scenario(3, faults={"dropouts": {1: [2], 3: [1, 2, 3]}}), tmp_path)
    rounds = summary(tmp_path)["rounds"]
    assert [sorted(r["sites"]) for r in rounds] == [
        ["site-01", "site-02"], ["site-02"], ["site-01", "site-02"],
    ]  # fmt: skip
    reason = "no usable reply: the site's app failed (Flower error"
    assert all(r["rejected"]["site-03"].startswith(reason) for r in rounds)


def test_too_few_replies_end_the_study_and_mended_sites_continue_it(tmp_path, straight):
    broken = scenario(rounds={"quorum": 2}, faults={"dropouts": {2: [2]}})
    text = (
        r"expected at least 2 usable replies \(rounds.quorum\) in round 2, found 1; mend the "
        r"sites and resume, which repeats this round; site-02: no usable reply: the site's app"
    )
    with pytest.raises(ValueError, match=text):
        run(broken, tmp_path)
    assert len(summary(tmp_path)["rounds"]) == 1 and not (tmp_path / "final").exists()
    run(scenario(rounds={"quorum": 2}), tmp_path)
    assert same(weights(tmp_path), weights(straight))


@pytest.mark.parametrize(
    "combine",
    ["mean", *(pytest.param(how, marks=pytest.mark.slow) for how in ("trimmed_mean", "median"))],
)
def test_a_site_that_is_left_out_leaves_no_trace_in_the_model(tmp_path, combine):
    def model(kind):
        aggregation, faults = {"combine": combine}, {"poison": {2: kind}}
        return weights(
            run(scenario(4, TOTAL, aggregation=aggregation, faults=faults), tmp_path / kind)
        )

    assert same(model("huge"), model("nan"))


def test_bf16_halves_the_bytes(tmp_path, straight):
    run(scenario(aggregation={"wire": "bf16"}), tmp_path)
    up = [r["bytes_up"] for r in summary(tmp_path)["rounds"]]
    assert [2 * b for b in up] == [r["bytes_up"] for r in summary(straight)["rounds"]]
    start = scenario().study.pretraining.new_model(ConsensusBasis.load(straight / "basis.npz"))
    moved = distance(weights(straight), {k: v.numpy() for k, v in start.state_dict().items()})
    assert 0 < distance(weights(tmp_path), weights(straight)) < 0.05 * moved


def test_int8_takes_a_quarter_of_the_bytes_and_resumes_exactly(tmp_path, straight, monkeypatch):
    chosen = scenario(aggregation={"wire": "int8"})
    run(chosen, tmp_path / "a")
    quarter = [r["bytes_up"] / 4 for r in summary(straight)["rounds"]]
    up = [r["bytes_up"] for r in summary(tmp_path / "a")["rounds"]]
    # Scales weigh in the small arrays of so small a model: at most one a weight of a few.
    assert all(q < b < 1.3 * q for b, q in zip(up, quarter, strict=True))
    start = scenario().study.pretraining.new_model(ConsensusBasis.load(straight / "basis.npz"))
    moved = distance(weights(straight), {k: v.numpy() for k, v in start.state_dict().items()})
    assert 0 < distance(weights(tmp_path / "a"), weights(straight)) < 0.05 * moved
    with monkeypatch.context() as patch:
        stop(patch, "after", 1)
        with pytest.raises(Stopped):
            run(chosen, tmp_path / "b")
    run(chosen, tmp_path / "b")
    assert same(weights(tmp_path / "b"), weights(tmp_path / "a"))


def test_a_single_bit_of_one_reply_would_be_seen(tmp_path, straight, monkeypatch):
    """The control of every comparison of bits: they differ if one number of one reply does."""
    encode, changed = training.encode_weights, []

    def one_bit_off(weights, *others):
        if not changed:
            name = max(weights, key=lambda key: weights[key].size)
            changed.append(name)
            value = weights[name].copy()
            value.flat[value.argmax()] = np.nextafter(value.max(), np.float32(np.inf))
            weights = {**weights, name: value}
        return encode(weights, *others)

    monkeypatch.setattr(training, "encode_weights", one_bit_off)
    run(scenario(), tmp_path)
    assert changed and not same(weights(tmp_path), weights(straight))


@pytest.mark.slow
@pytest.mark.parametrize(
    "outer",
    [
        {"kind": "fedavgm", "lr": 0.7},
        {"kind": "fedadam", "lr": 0.01},
    ],
)
def test_outer_optimisers_run_and_resume(tmp_path, monkeypatch, outer):
    chosen = scenario(2, 3, aggregation={"outer": outer})
    run(chosen, tmp_path / "a")
    found = weights(tmp_path / "a")
    assert all(np.isfinite(value).all() for value in found.values())
    with monkeypatch.context() as patch:
        stop(patch, "after", 1)
        with pytest.raises(Stopped):
            run(chosen, tmp_path / "b")
    run(chosen, tmp_path / "b")
    assert same(weights(tmp_path / "b"), found)


def test_the_last_round_is_evaluated_and_evaluations_change_nothing(tmp_path, straight):
    rounds = summary(straight)["rounds"]
    assert [bool(r["yardstick"]) for r in rounds] == [False, True, True]
    run(scenario(rounds={"evaluate_every": 9}), tmp_path)
    found = summary(tmp_path)["rounds"]
    assert [bool(r["yardstick"]) for r in found] == [False, False, True]
    assert found[2]["yardstick"] == rounds[2]["yardstick"]
    assert same(weights(tmp_path), weights(straight))


@pytest.mark.slow
def test_some_of_the_sites_each_round(tmp_path):
    run(scenario(3, 2, rounds={"sites": 2}), tmp_path)
    asked = [tuple(sorted(r["sites"])) for r in summary(tmp_path)["rounds"]]
    assert all(len(names) == 2 for names in asked) and len(set(asked)) > 1


def coordinate(chosen, folder, grid_class, monkeypatch, nodes=None) -> None:
    """As `run`, with another grid and with sites that are there already."""
    (folder / "study.yaml").write_text(yaml.safe_dump(chosen.study.model_dump(mode="json")))
    (folder / "faults.yaml").write_text("{}")
    monkeypatch.setattr(inprocess, "InProcessGrid", grid_class)
    sites = len(list((folder / "sites").glob("*.yaml")))
    config = {
        "study-folder": str(folder),
        "virtual-sites": str(folder / "sites"),
        "nodes": str(nodes or sites),
    }
    run_in_process(server_app, client_app, sites, config)


def test_a_late_joiner_and_a_leaver(tmp_path, monkeypatch):
    present = iter([[1, 2], [1, 2], [1, 2, 3], [2, 3]])

    class Moving(InProcessGrid):
        def get_node_ids(self):
            return next(present)

    chosen = scenario(3, rounds={"evaluate_every": 9})
    prepare(chosen, tmp_path)
    make_sites(chosen, tmp_path)
    coordinate(chosen, tmp_path, Moving, monkeypatch, nodes=2)
    assert [sorted(r["sites"]) for r in summary(tmp_path)["rounds"]] == [
        ["site-01", "site-02"], ["site-01", "site-02", "site-03"], ["site-02", "site-03"],
    ]  # fmt: skip
    assert summary(tmp_path)["basis"]["sites"] == ["site-01", "site-02"]
    assert list(summary(tmp_path)["stores"]) == ["site-01", "site-02", "site-03"]
    assert "Came after it was made: site-03." in attendance(read_history(tmp_path))
    assert "Came after it was made: site-03." in write_report(tmp_path).read_text()


@pytest.mark.slow
def test_whose_people_no_baseline_was_judged_by_is_recorded(tmp_path, monkeypatch, capsys):
    chosen = scenario(3)
    prepare(chosen, tmp_path)
    make_sites(chosen, tmp_path)
    file = tmp_path / "sites" / "site-03.yaml"
    site = yaml.safe_load(file.read_text())
    site["policy"]["allow"] = ["describe", "train"]
    file.write_text(yaml.safe_dump(site))
    coordinate(chosen, tmp_path, InProcessGrid, monkeypatch)
    found, text = summary(tmp_path), "no usable reply: this site's policy does not allow {} (policy"
    assert list(found["unjudged"]) == ["random weights"]
    for reasons in (found["unjudged"]["random weights"], found["rounds"][-1]["unjudged"]):
        assert list(reasons) == ["site-03"]
        assert reasons["site-03"].startswith(text.format("evaluate"))
    assert found["basis"]["left_out"]["site-03"].startswith(text.format("gradients"))
    shown = " ".join(capsys.readouterr().out.split())
    assert "not in the yardstick: site-03: no usable reply: this site's policy" in shown


def test_two_sites_of_one_name(tmp_path, monkeypatch, capsys):
    chosen = scenario(3)
    prepare(chosen, tmp_path)
    make_sites(chosen, tmp_path)
    file = tmp_path / "sites" / "site-03.yaml"
    file.write_text(file.read_text().replace("name: site-03", "name: site-01"))
    coordinate(chosen, tmp_path, InProcessGrid, monkeypatch)
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out site-01: expected one site named site-01, found two; rename one" in shown
    assert [sorted(r["sites"]) for r in summary(tmp_path)["rounds"]] == [["site-01", "site-02"]] * 3


def test_a_site_of_another_atlas_is_left_out(tmp_path, capsys):
    data = tmp_path / "data"
    paths = write_cohort(scenario().cohort, data)
    other = ScanStore.create(data / "z-other", Atlas.from_names([f"o{i}" for i in range(8)]))
    source = ScanStore.open(paths[0])
    for record in source.records:
        other.append(source.series(record), subject=record.subject, tr=record.tr,
                     session=record.session)  # fmt: skip
    chosen = Scenario.model_validate({**plan(2, TOTAL), "cohort": None, "data": data})
    run(chosen, tmp_path / "run")
    assert sorted(summary(tmp_path / "run")["rounds"][0]["sites"]) == ["site-01", "site-02"]
    shown = " ".join(capsys.readouterr().out.split())
    assert summary(tmp_path / "run")["left_out"]["z-other"].startswith("expected the atlas of")
    assert "left out z-other: expected the atlas of the others" in shown
    assert "import with the same atlas" in shown


def test_a_tracking_failure_does_not_stop_a_study(tmp_path, straight, monkeypatch, caplog):
    def broken(uri):
        raise ConnectionError("no such server")

    monkeypatch.setattr("brainjepa_server.study.StudyTracker", StudyTracker)
    monkeypatch.setattr("brainjepa_core.tracking.tracker.mlflow_client", broken)
    with caplog.at_level(logging.WARNING):
        run(scenario(), tmp_path)
    assert "MLflow could not start the run" in caplog.text
    assert same(weights(tmp_path), weights(straight)) and summary(tmp_path) == summary(straight)


def test_tracking_that_fails_midway_does_not_stop_a_study(tmp_path, straight, monkeypatch, caplog):
    class Failing(FakeClient):
        def log_batch(self, run_id, metrics=(), **of_the_start):
            if metrics:
                raise OSError("disk full")

    monkeypatch.setattr("brainjepa_server.study.StudyTracker", StudyTracker)
    monkeypatch.setattr("brainjepa_core.tracking.tracker.mlflow_client", Failing())
    run(scenario(), tmp_path)
    assert caplog.text.count("MLflow could not") == 1
    assert same(weights(tmp_path), weights(straight))


def test_nothing_of_a_person_or_place_is_recorded(tmp_path, monkeypatch, capsys):
    data = tmp_path / "canary-folder"
    for site in ("a", "b"):
        names = [f"Net{i % 4}_{i}" for i in range(8)]
        store = ScanStore.create(data / f"clinic-{site}", Atlas.from_names(names, "eight"))
        rng = np.random.default_rng(ord(site))
        for person in range(10):
            store.append(
                rng.standard_normal((8, 8)) @ rng.standard_normal((8, 40)),
                subject=f"canary-person-{person}",
                session="canary-session",
                tr=2.0,
                phenotypes={"age": 20.0 + person, "canary-column": "canary-value"},
            )
    chosen = Scenario.model_validate({**plan(2, TOTAL), "cohort": None, "data": data})
    mlflow, told = FakeClient(), []
    monkeypatch.setattr(
        mlflow, "log_batch", lambda run_id, **k: told.extend(x for part in k.values() for x in part)
    )
    monkeypatch.setattr("brainjepa_server.study.StudyTracker", StudyTracker)
    monkeypatch.setattr("brainjepa_core.tracking.tracker.mlflow_client", mlflow)
    out = run(chosen, tmp_path / "run")
    # A site that fails names nothing either: its store is broken for a second study.
    (data / "clinic-b" / "store.json").write_text("canary")
    again = tmp_path / "again"
    again.mkdir()
    (again / "sites").mkdir()
    for file in (out / "sites").iterdir():
        text = file.read_text().replace("site-state", "other-state")
        (again / "sites" / file.name).write_text(text)
    coordinate(chosen, again, InProcessGrid, monkeypatch)
    shown = capsys.readouterr().out
    assert "left out" in shown and len(told) > 20
    texts = [shown, " ".join(str(dict(one)) for one in told)]
    for folder in (out, again):
        texts += [(folder / "summary.json").read_text(), write_report(folder).read_text()]
        texts += [p.read_text() for p in folder.glob("rounds/*/state.json")]
        texts += [p.read_text() for p in folder.glob("*/model.json")]
    for text in texts:
        assert "canary" not in text and str(tmp_path) not in text


def test_the_grid_answers_once_and_turns_exceptions_into_errors(tmp_path):
    (tmp_path / "sites").mkdir()
    config = {"virtual-sites": str(tmp_path / "sites")}  # a folder without sites or faults
    grid = InProcessGrid(client_app, 2, config)
    assert list(grid.get_node_ids()) == [1, 2]
    message = inprocess.Message(inprocess.RecordDict(), 2, "train", group_id="train-0")
    (name,) = grid.push_messages([message])
    (reply,) = grid.pull_messages([name])
    assert reply.has_error() and str(tmp_path) not in reply.error.reason
    assert list(grid.pull_messages([name])) == [] and list(grid.pull_messages(["other"])) == []
