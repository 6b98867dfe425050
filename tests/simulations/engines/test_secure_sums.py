"""A study under secure sums in one process: the same model, and no reply that anybody sees."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from small_consortium import TOTAL, prepare, run, same, scenario, summary, weights

from brainjepa_client.approving.membership import KEY
from brainjepa_core.chained_log import ChainedLog
from brainjepa_core.evaluation.common_probe import (
    cross_fit,
    held_out_predictions,
    outcome_columns,
    score_range,
)
from brainjepa_core.evaluation.measure import HEADLINE, networks_of
from brainjepa_core.evaluation.site_people import SitePeople
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.evaluation.yardstick import connectivity_components, embed_people
from brainjepa_core.gradients import ConnectivitySum, ConsensusBasis
from brainjepa_core.models.checkpoint import read_model
from brainjepa_core.secure_sums import site as site_module
from brainjepa_core.secure_sums.messages import STEPS
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.sums.histogram import ScoreHistogram
from brainjepa_core.sums.moments import Group, fold_moments
from brainjepa_core.sums.ridge import explained, fit_and_mean
from brainjepa_core.wire.messages import OTHER_HALF
from brainjepa_core.wire.packing import PACKED, unpack_arrays
from brainjepa_core.wire.summed_updates import TrainCode
from brainjepa_server.reporting.report import write_report
from brainjepa_server.rounds import secure_sums
from brainjepa_server.rounds.retrying import QuorumMissed
from brainjepa_server.settings import StudySettings
from brainjepa_server.study_folder import SUMS
from brainjepa_server.tasks.settings import StudyTask
from brainjepa_simulations.engines import client_app
from brainjepa_simulations.engines.virtual_consortium import CONTRACT
from brainjepa_simulations.engines.virtual_sites import STATES

SITES = 4  # of which three have to take part
PEOPLE = {"subjects_per_site": 18}  # enough for ten features, all of the headline's
TOGETHER = 50
SECRET = "small/secure_sums/secret"


def together(**changes):
    chosen = scenario(SITES, cohort=PEOPLE, **changes)
    floors = chosen.study.floors.model_copy(update={"subjects": TOGETHER})
    return chosen.model_copy(update={"study": chosen.study.model_copy(update={"floors": floors})})


def protected(**changes):
    return together(**changes).protected("secure_sum")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(together(), tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture(scope="module")
def summed(tmp_path_factory):
    return run(protected(), tmp_path_factory.mktemp("runs") / "summed")


def same_secrets(folder, other):
    """Keys, secrets and contract of one run for another, without which the last bits differ."""
    for state in sorted((folder / STATES).iterdir()):
        for name in (KEY, SECRET):
            (other / STATES / state.name / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(state / name, other / STATES / state.name / name)
    shutil.copy(folder / CONTRACT, other / CONTRACT)


class Replies:
    """Sites of which some do not answer some steps; keeps what others answer."""

    def __init__(self, monkeypatch, gone=()):
        self.gone, self.kept, real = set(gone), [], client_app.real_app

        def answer(message, context):
            told = message.content.config_records["assignment"]
            asked = message.metadata.message_type, told.get("step", "")
            site = int(context.node_config["partition-id"]) + 1
            if (site, *asked) in self.gone:
                raise ConnectionError("the site dropped out")
            reply = real(message, context)
            self.kept.append((site, *asked, reply))
            return reply

        monkeypatch.setattr(client_app, "real_app", answer)

    def arrays(self, site, kind, step):
        found = [r for s, k, t, r in self.kept if (s, k, t) == (site, kind, step)]
        return unpack_arrays(found[0].content.array_records["arrays"][PACKED].numpy())


def test_the_same_model_and_yardstick_as_without(plain, summed):
    a, b = weights(plain), weights(summed)
    assert a.keys() == b.keys()
    assert max(np.abs(a[name] - b[name]).max() for name in a) < 1e-6
    rows = [
        {(r["model"], r["pool"], r["outcome"]): r for r in summary(folder)["baselines"]}
        for folder in (plain, summed)
    ]
    # Of the other half sites tell a score each, which is no sum.
    assert rows[1].keys() == {key for key in rows[0] if key[2] != OTHER_HALF}
    for key in rows[1]:
        assert rows[1][key]["r2"] == pytest.approx(rows[0][key]["r2"], abs=1e-4)
        assert rows[1][key]["features"] == rows[0][key]["features"]
        assert rows[1][key]["at_sites"] == {}  # of no site by itself
    before, after = summary(plain)["rounds"], summary(summed)["rounds"]
    for one, other in zip(before, after, strict=True):
        assert other["summed"]["attempt"] == 1 and one["summed"] is None
        loss = [s["loss"] * s["share"] for s in one["sites"].values()]
        share = sum(s["share"] for s in one["sites"].values())
        assert other["summed"]["share"] == share
        assert other["summed"]["loss"] == pytest.approx(sum(loss) / share, rel=1e-3)
        assert [s["loss"] for s in other["sites"].values()] == [None] * SITES
        assert other["bytes_up"] - one["bytes_up"] < 2100 * SITES  # keys, shares, signatures


def test_no_sum_is_left_when_a_study_has_ended(summed):
    assert list((summed / SUMS).iterdir()) == []


def test_the_mean_is_that_of_the_same_clipped_updates(tmp_path, monkeypatch):
    chosen, kept, means = protected(), [], []
    encode, onto = TrainCode.encode, TrainCode.decode

    def keep(self, update, share, loss, rounding):
        kept.append((update, share, self.update))
        return encode(self, update, share, loss, rounding)

    def decode(self, total, alive):
        found = onto(self, total, alive)
        zeros = {name: np.zeros(shape, np.float32) for name, shape in self.shapes.items()}
        means.append({name: found.mean(name) for name in zeros})
        return found

    monkeypatch.setattr(TrainCode, "encode", keep)
    monkeypatch.setattr(TrainCode, "decode", decode)
    run(chosen, tmp_path)
    for mean, replies in zip(means, [kept[i : i + SITES] for i in (0, 4, 8)], strict=True):
        code, share = replies[0][2], sum(share for _, share, _ in replies)
        for name, found in mean.items():
            expected = np.zeros(found.shape)
            for update, own, _ in replies:
                length = np.sqrt(sum(np.square(u.astype("f8")).sum() for u in update.values()))
                expected += own * min(1, code.norm / length) * update[name].astype("f8")
            step = SITES * code.points.step / share
            assert np.abs(found - expected / share).max() <= step


@pytest.mark.slow
def test_the_same_secrets_give_the_same_bits(summed, tmp_path):
    prepare(protected(), tmp_path)
    same_secrets(summed, tmp_path)
    assert same(weights(run(protected(), tmp_path)), weights(summed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "query.gradients", "evaluate"])
@pytest.mark.parametrize("step", STEPS)
def test_a_site_that_goes_at_a_step(tmp_path, monkeypatch, kind, step):
    Replies(monkeypatch, {(2, kind, step)})
    run(protected(), tmp_path)
    found = summary(tmp_path)
    inside = step in ("alive", "unmask")  # its numbers had come
    if kind == "train":
        gone = [record["rejected"] for record in found["rounds"]]
        assert [set(names) for names in gone] == [set() if inside else {"site-02"}] * 3
        if not inside:
            assert gone[0]["site-02"].startswith(f"gone at step '{step}': the site's app failed")
            assert "site-02" not in found["rounds"][0]["sites"]
    elif kind == "evaluate":
        assert set(found["rounds"][1]["unjudged"]) == (set() if inside else {"site-02"})
    else:
        assert ("site-02" in found["basis"]["sites"]) == inside
    assert found["rounds"][-1]["yardstick"]


@pytest.mark.slow
def test_below_the_threshold_nothing_is_told(tmp_path, monkeypatch):
    replies = Replies(monkeypatch, {(site, "train", "masked") for site in (2, 3)})
    with pytest.raises(
        QuorumMissed, match=r"at least 3 of 4 sites to answer step 'masked'.*site-03: gone at step"
    ):
        run(protected(rounds={"retries": 1}), tmp_path)
    asked = [step for _, kind, step, _ in replies.kept if kind == "train"]
    assert "unmask" not in asked and asked.count("keys") == 2 * SITES  # with other keys each time
    replies.gone.clear()
    run(protected(rounds={"retries": 1}), tmp_path)
    assert [r["summed"]["attempt"] for r in summary(tmp_path)["rounds"]] == [3, 1, 1]


def test_an_unmasking_that_sites_do_not_end_drops_the_round(tmp_path, monkeypatch, capsys):
    replies = Replies(monkeypatch, {(site, "train", "unmask") for site in (2, 3)})
    run(protected(rounds={"retries": 0, "local_steps": 3, "evaluate_every": 1}), tmp_path)
    assert "round 1 is dropped: expected at least 3 of 4 sites" in capsys.readouterr().out
    record = summary(tmp_path)["rounds"][0]
    assert record["sites"] == {} and record["summed"]["loss"] is None
    assert not [r for r in replies.kept if r[1:3] == ("train", "")]


@pytest.mark.slow
def test_a_coordinator_that_was_killed_ends_with_the_same_bits(summed, tmp_path, monkeypatch):
    prepare(protected(), tmp_path)
    same_secrets(summed, tmp_path)
    real, met = secure_sums._ask, []

    def killed(sites, question, sums, arrived):
        train = question.kind == "train" and question.assignment.round == 0
        if train and not met and sums[0].step == "unmask":
            met.append("unmask")
            raise KeyboardInterrupt
        if train and met:
            assert sums[0].step == "unmask"  # nothing else is asked again
        real(sites, question, sums, arrived)

    monkeypatch.setattr(secure_sums, "_ask", killed)
    with pytest.raises(KeyboardInterrupt):
        run(protected(), tmp_path)
    run(protected(), tmp_path)
    assert same(weights(tmp_path), weights(summed))


def chi_square(array):
    found = np.bincount(array.reshape(-1).view(np.uint8), minlength=256)
    return float(np.square(found - found.sum() / 256).sum() / (found.sum() / 256))


def masked_bytes(folder, monkeypatch, kind):
    replies = Replies(monkeypatch)
    run(protected(), folder)
    sent = replies.arrays(1, kind, "masked")
    vector = [a.reshape(-1).view(np.uint8) for n, a in sent.items() if n.startswith("vector.")]
    return np.concatenate(vector)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_what_a_site_answers_is_uniform(tmp_path, monkeypatch, kind):
    """Bytes against uniform ones: 255 degrees of freedom, within six standard deviations."""
    assert abs(chi_square(masked_bytes(tmp_path, monkeypatch, kind)) - 255) < 6 * 22.6


def test_without_masks_it_is_not(tmp_path, monkeypatch):
    """The positive control of the test above; nor does the sum come out."""
    monkeypatch.setattr(site_module, "add_masks", lambda arrays, masks: None)
    with pytest.raises(ValueError, match="a site sent what it must not; drop the round"):
        run(protected(), tmp_path)


def test_no_number_of_one_site_leaves_in_the_clear(tmp_path, monkeypatch):
    replies = Replies(monkeypatch)
    run(protected(rounds={"local_steps": TOTAL}), tmp_path)
    for _, kind, step, reply in replies.kept:
        clear = dict(reply.content.config_records["reply"])
        if kind != "query.describe":
            assert clear.keys() <= {"refusal", "steps", "seconds"} and step in STEPS
    lines = list(ChainedLog(tmp_path / "received.jsonl").lines())
    assert {line["step"] for line in lines} == {"", *STEPS}
    audit = (tmp_path / STATES / "site-01" / "audit.jsonl").read_text().splitlines()
    assert {json.loads(line).get("step", "") for line in audit} == {"", *STEPS}


@pytest.mark.slow
def test_the_page_says_that_nobody_saw_a_reply(summed):
    page = write_report(summed).read_text()
    assert "Replies came as secure sums over all sites: nobody saw a single one" in page
    assert "none could be compared" not in page


@pytest.mark.parametrize(
    ("study", "text"),
    [
        ({"aggregation": {"combine": "median"}}, r"expected aggregation.combine: mean with pr"),
        ({"aggregation": {"combine": "trimmed_mean"}}, "found trimmed_mean; correct it"),
        ({"aggregation": {"wire": "bf16"}}, "expected aggregation.wire: fp32 .* found bf16"),
        ({"rounds": {"sites": 3}}, "expected no rounds.sites with protect: secure_sum"),
    ],
)
def test_what_needs_single_replies_is_refused(study, text):
    with pytest.raises(ValueError, match=text):
        protected(**study)


def test_two_sites_are_too_few(tmp_path):
    with pytest.raises(ValueError, match="expected at least 3 sites in a secure sum, found 2"):
        run(scenario(2).protected("secure_sum"), tmp_path)


def test_a_word_that_is_none():
    with pytest.raises(ValueError, match="expected none, secure_sum, dp, found 'secret'; correct"):
        scenario(3).protected("secret")


def test_with_fewer_people_the_yardstick_reads_fewer_features(tmp_path, monkeypatch):
    """Of eight features that all sites' people allow, mixed alike: the pooled fit of these."""
    chosen = protected(rounds={"local_steps": TOTAL})
    floors = chosen.study.floors.model_copy(update={"subjects": 40})
    study = chosen.study.model_copy(update={"floors": floors})
    run(chosen.model_copy(update={"study": study}), tmp_path)
    (row,) = [
        r
        for r in summary(tmp_path)["baselines"]
        if (r["model"], r["pool"], r["outcome"]) == ("random weights", HEADLINE, "latents")
    ]
    settings = study.pretraining
    model = settings.new_model(ConsensusBasis.load(tmp_path / "basis.npz")).eval()
    stores = [ScanStore.open(path) for path in sorted((tmp_path / "stores").iterdir())]
    windows = settings.windows_of(stores)
    mean_fc = ConnectivitySum.load(tmp_path / "connectivity_sum.npz").mean_fc()
    folds = folds_of_windows(windows, settings.training.seed, study.folds)
    people = SitePeople.of(model, windows, connectivity_components(mean_fc, 8), folds, study.folds)
    x = people.features[HEADLINE]
    mixing = np.random.RandomState(0).standard_normal((x.shape[1], 8)) / np.sqrt(x.shape[1])
    mixed = SitePeople({HEADLINE: x @ mixing}, people.outcomes, folds, study.folds)
    told = {k: mixed.moments()[Group(HEADLINE, "latents", k)] for k in range(study.folds)}
    fit, nothing = fit_and_mean([told[k] for k in range(1, study.folds)])
    r2 = explained(fit.squared_error(told[0]), nothing.squared_error(told[0]), told[0].yy)
    assert row["features"] == 8 and row["r2"] == pytest.approx(r2.mean(), abs=1e-6)


SEX = {"name": "sex", "column": "sex", "kind": "classification",
       "classes": {"f": ["F"], "m": ["M"]}}  # fmt: skip
AGE = {"name": "age", "column": "age", "kind": "regression"}


def test_tasks_are_those_of_all_people_pooled(tmp_path, monkeypatch):
    """Moments and counts of a task come as secure sums; nothing of one site does."""
    replies = Replies(monkeypatch)
    tasks = tuple(StudyTask.model_validate({"task": t, "parts": ["probe"]}) for t in (AGE, SEX))
    chosen = protected()
    chosen = chosen.model_copy(update={"study": chosen.study.model_copy(update={"tasks": tasks})})
    run(chosen, tmp_path)
    settings, study = chosen.study.pretraining, chosen.study
    model, _ = read_model(tmp_path / "final")
    stores = [ScanStore.open(path) for path in sorted((tmp_path / "stores").iterdir())]
    windows = settings.windows_of(stores)
    networks = networks_of(windows, model.basis.numpy())
    folds = folds_of_windows(windows, settings.training.seed, study.folds)
    for task in tasks:
        data = task_data(task.task, windows)
        x = embed_people(model.eval(), windows, data.people, (HEADLINE,), networks)[HEADLINE]
        y = outcome_columns(data.target, len(data.classes))
        pooled = cross_fit(fold_moments(x, y, folds[data.people], study.folds))
        rows = json.loads((tmp_path / f"task-{task.task.name}.json").read_text())["rows"]
        found = {row["metric"]: row for row in rows}
        assert found["r2"]["mean"] == pytest.approx(pooled.metrics["r2"], abs=1e-6)
        assert found["r2"]["n"] == len(data)
        if data.classes:
            score = held_out_predictions(pooled.probes, x, folds[data.people])
            middle, spread = score_range(pooled.predicted)
            margin = (score[:, 1] - score[:, 0] - middle) / spread
            counts = ScoreHistogram.of(data.target, margin, 1)  # of all people in one place
            assert found["auc"]["mean"] == pytest.approx(counts.auc(), abs=0.005)
            assert found["auc"]["n"] == len(data)
    for _, kind, _, reply in replies.kept:
        if kind == "evaluate":
            assert dict(reply.content.config_records["reply"]).keys() <= {"refusal"}


@pytest.mark.parametrize(
    "changes", [{}, {"parts": ["probe", "matrix"]}, {"parts": ["probe"], "penalty": 1.0}]
)
def test_tasks_that_show_single_sites_are_refused(changes):
    task = StudyTask.model_validate({"task": SEX, **changes})
    with pytest.raises(ValueError, match=r"expected tasks with parts: \[probe\], without penalty"):
        StudySettings.model_validate({**protected().study.model_dump(), "tasks": [task]})
