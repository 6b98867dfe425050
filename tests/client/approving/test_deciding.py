"""What a manager may approve, what review counts and says, and a store that changes between."""

from __future__ import annotations

import pytest
import yaml
from guarded_site import approved, asked, guarded_site, joined_site
from made_contract import AGE, STUDY, make_contract
from typer.testing import CliRunner

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.cli import app
from brainjepa_client.consent.participation import are_same
from brainjepa_core.evaluation.tasks.settings import Rule, TaskSettings
from brainjepa_core.pretraining.computing.settings import Computing
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import TaskQuestion
from brainjepa_core.wire.messages import EVALUATE, GRADIENTS, TRAIN, Assignment, ProbeRequest
from brainjepa_core.wire.protection import ProtectSettings


@pytest.fixture
def site(stores, tmp_path):
    return guarded_site(stores[0], tmp_path)


def run(site, tmp_path, *words: str):
    content = site.model_dump(mode="json", exclude_defaults=True)
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(content))
    return CliRunner().invoke(app, [words[0], str(tmp_path / "site.yaml"), *words[1:]])


def with_model(**sizes) -> Assignment:
    study = STUDY.model_copy(update={"model": {**STUDY.model, **sizes}})
    return Assignment(study_id="small", pretraining=study, steps=2)


FOREIGN = {
    "not in the roster": ({"roster": {"two": "bb"}}, "this site is not in the roster of contract"),
    "another consortium": (
        {"consortium": "Other"},
        "this site has joined consortium 'Three hospitals', and contract",
    ),
    "another key": ({"roster": {"one": "aa"}}, "has another key under this site's name; admit the"),
    "too wide": ({"assignment": with_model(width=4096)}, "(policy.max_width), found 4096"),
    "too long": (
        {"assignment": Assignment(study_id="small", pretraining=STUDY, steps=5000)},
        "allows 1 to 1000 steps a round (policy.max_steps_per_round), found 5000",
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_contract_that_is_not_for_this_site_is_not_approved(site, tmp_path, what):
    changes, text = FOREIGN[what]
    joined = joined_site(tmp_path, site)
    own = {"roster": {"one": joined.fingerprint_of_site}, "consortium": joined.consortium}
    contract = make_contract(**{**own, **changes})
    Contracts(site.state).propose(contract.text)
    shown = run(site, tmp_path, "review").output
    assert "WARNING: this site would refuse: " in shown and text in " ".join(shown.split())
    result = run(site, tmp_path, "approve", contract.hash)
    assert result.exit_code == 1
    assert "expected a contract that this site can answer, found that it would" in result.output
    assert text in " ".join(result.output.split())
    # Nor is it answered where an earlier approval lies there.
    Contracts(site.state).approve(contract, ScanStore.open(site.store).fingerprint)
    assert text in asked(site, contract, TRAIN).refusal
    right = make_contract(**own)
    approved(site, right)
    assert not asked(site, right, GRADIENTS).refusal


def test_a_store_that_changes_between_rounds_is_approved_anew(site, start, tmp_path):
    """Through the commands, as a manager would."""
    contract = make_contract()
    (tmp_path / "contract.json").write_text(contract.text)
    run(site, tmp_path, "review", "--contract", str(tmp_path / "contract.json"))
    assert run(site, tmp_path, "approve", contract.hash[:12]).exit_code == 0
    assert not asked(site, contract, TRAIN, 0, start).refusal
    store = ScanStore.open(site.store)
    person = store.records[0].subject
    assert run(site, tmp_path, "remove", person).exit_code == 0
    refused = asked(site, contract, TRAIN, 1, start).refusal
    assert refused == (
        "the store of this site is another one than when its manager approved contract "
        f"{contract.hash[:12]}; ask for a new approval (brainjepa site approve)"
    )
    assert "the store has changed since it was approved" in run(site, tmp_path, "review").output
    assert run(site, tmp_path, "approve", contract.hash[:12]).exit_code == 0
    assert not asked(site, contract, TRAIN, 1, start).refusal


def test_a_damaged_approval_is_none(site, tmp_path):
    contract = make_contract()
    approved(site, contract)
    (site.state / "contracts" / f"{contract.hash}.approved").write_text("{")
    assert "ask for a new approval" in asked(site, contract, GRADIENTS).refusal
    assert run(site, tmp_path, "approve", contract.hash).exit_code == 0
    assert not asked(site, contract, GRADIENTS).refusal


def test_questions_are_counted_over_contracts_and_states_of_the_store(site, start, tmp_path):
    first, second = make_contract(), make_contract(rounds=30)
    approved(site, first)
    assert not asked(site, first, GRADIENTS).refusal
    assert not asked(site, first, EVALUATE, 1, start).refusal
    store = ScanStore.open(site.store)
    record = store.records[0]
    store.append(store.series(record), subject="new", tr=record.tr)  # one person more
    Contracts(site.state).propose(second.text)
    assert (
        "asked before about at least half of the same people: 2 sums in 2 answers, by 1 contract; "
        "1 other contract approved about them"
    ) in run(site, tmp_path, "review").output
    approved(site, second)
    assignment = second.assignment.model_copy(update={"study_id": "other"})
    third = make_contract(assignment=assignment)
    approved(site, third)
    assert not asked(site, third, GRADIENTS).refusal
    Contracts(site.state).reject(first)  # what was answered stays counted
    shown = run(site, tmp_path, "review").output
    assert "3 sums in 3 answers, by 2 contracts; 1 other contract approved about them" in shown


def test_people_are_the_same_where_half_of_the_smaller_group_is():
    ten = frozenset("abcdefghij")
    assert are_same(ten, ten | {"k"}) and are_same(ten, frozenset("abc")) and are_same(ten, ten)
    assert are_same(frozenset("abcd"), frozenset("cdef"))
    assert not are_same(frozenset("abcd"), frozenset("defg"))
    assert not are_same(ten, frozenset()) and not are_same(frozenset(), frozenset())


def test_tasks_are_told_in_words(site, tmp_path):
    sex = TaskSettings(
        name="sex", column="sex", kind="classification", classes={"f": ("F", 1), "m": ("M",)},
        include=(Rule(column="age", least=18, most=80), Rule(column="scanner", one_of=("A", "B"))),
        covariates=("age",),
    )  # fmt: skip
    wanted = ProbeRequest(want="scores", task=sex, pools=("mean",))
    contract = make_contract(
        tasks=(TaskQuestion(probe=wanted), TaskQuestion(probe=AGE, times=2)),
    )
    closed = site.model_copy(
        update={"policy": site.policy.model_copy(update={"task_columns": ("age",)})}
    )
    Contracts(site.state).propose(contract.text)
    shown = run(closed, tmp_path, "review").output
    for text in (
        "task 'sex': f (F, 1.0) against m (M) of column 'sex', of people with 'age' at least 18 "
        "and at most 80, of people with 'scanner' of A, B, adjusted for age; how many people are "
        "of each class is told with every answer, rounded down",
        "asked once: metrics of probes that are trained and tested on its people here (scores of",
        "task 'age': the number of column 'age'; how many people take part is told with every",
        "asked at most 2 times: sums over its people of embeddings and outcomes, fold by fold",
        "WARNING: this site would refuse: this site's policy lets tasks read age "
        "(policy.task_columns), and task 'sex' asks for others",
    ):
        assert text in shown
    open_site = site.model_copy(
        update={"policy": site.policy.model_copy(update={"allow": ("describe", "train")})}
    )
    assert "this site's policy refuses gradients, evaluate (policy.allow)" in (
        run(open_site, tmp_path, "review").output
    )


@pytest.mark.parametrize(
    ("tolerance", "asked_for"),
    [
        (0.0, "steps are to be computed in exact fp32 (training.tolerance)"),
        (0.001, "steps are to be computed to 0.001 of exact fp32 or better (training.tolerance)"),
        (0.01, "steps are to be computed to 0.01 of exact fp32 or better (training.tolerance)"),
    ],
)
def test_review_says_how_exact_steps_have_to_be_and_how_exact_they_are(
    site, tmp_path, tolerance, asked_for
):
    training = STUDY.training.model_copy(update={"tolerance": tolerance})
    study = STUDY.model_copy(update={"training": training})
    first = Assignment(study_id="small", pretraining=study, steps=2)
    Contracts(site.state).propose(make_contract(assignment=first).text)
    half = site.model_copy(update={"computing": Computing(precision="bf16")})
    for chosen, own in ((site, "exact fp32"), (half, "precision: bf16, which is to 0.01")):
        shown = " ".join(run(chosen, tmp_path, "review").output.split())
        assert f"{asked_for}; this site: {own}" in shown
        warned = "WARNING: this site would refuse: expected steps computed to" in shown
        assert warned == (chosen is half and tolerance < 0.01)


@pytest.mark.parametrize(
    ("precision", "own"),
    [
        ("fp32", "reduce: sum, which is to 1e-06"),
        ("bf16", "precision: bf16 and reduce: sum, which is to 0.01"),
    ],
)
def test_review_says_how_several_devices_add(site, tmp_path, precision, own):
    Contracts(site.state).propose(make_contract().text)
    several = {"devices": ("cpu", "cpu"), "reduce": "sum"}
    site = site.model_copy(update={**several, "computing": Computing(precision=precision)})
    shown = " ".join(run(site, tmp_path, "review").output.split())
    assert f"(training.tolerance); this site: {own}" in shown


def test_review_says_what_secure_sums_and_groups_are(site, tmp_path):
    roster = {f"site-{number:02d}": str(number) for number in range(12)} | {"one": "aa"}
    for groups, told in ((None, False), (3, True)):
        protect = ProtectSettings(secure_sum={}, groups=groups)
        assignment = Assignment(study_id="small", pretraining=STUDY, steps=2, protect=protect)
        contract = make_contract(assignment=assignment, tasks=(), roster=roster)
        Contracts(site.state).propose(contract.text)
        shown = " ".join(run(site, tmp_path, "review").output.split())
        assert "whose sum over at least 9 of the 13 sites is all that the coordinator le" in shown
        assert (
            "as 3 sums (protect.groups), over groups of 4 or 5 sites that the con" in shown
        ) == told
    with pytest.raises(ValueError, match=r"expected at least 12 sites for 3 groups .*, found 3"):
        three = {name: roster[name] for name in ("site-01", "site-02", "one")}
        make_contract(assignment=assignment, tasks=(), roster=three)
