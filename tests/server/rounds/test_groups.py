"""Rounds of groups: the middle of the groups' means, whoever drops out, and nothing in between."""

from __future__ import annotations

import json

import numpy as np
import pytest
from group_sites import Consortium, contract_of, study_of, trained
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_sums import name

from brainjepa_core.secure_sums.messages import STEPS, UNMASK
from brainjepa_core.secure_sums.terms import threshold
from brainjepa_core.wire.groups import groups_of
from brainjepa_core.wire.messages import GRADIENTS
from brainjepa_core.wire.summed_updates import TrainCode
from brainjepa_server.combining.validation import Counts
from brainjepa_server.rounds.retrying import QuorumMissed, SumLost
from brainjepa_server.rounds.summed import summed_consensus


def plain_mean(consortium: Consortium, assignment, group: list[str]):
    """Mean of clipped updates by shares, and the fixed-point step of it."""
    told = {site: consortium.update(site) for site in group}
    size = len(next(g for g in consortium.groups if group[0] in g))
    code = TrainCode.of(assignment, consortium.shapes, size).update
    whole = sum(share for _, share, _ in told.values())
    mean = {n: np.zeros(s) for n, s in consortium.shapes.items()}
    for update, share, _ in told.values():
        length = np.sqrt(sum(np.square(u.astype("f8")).sum() for u in update.values()))
        for n in mean:
            mean[n] += share / whole * min(1, code.norm / length) * update[n].astype("f8")
    return mean, size * code.points.step / whole


def survivors(group, gone):
    """Whose numbers are in the sum of a group; none where the protocol or a floor ends it."""
    left = list(group)
    for step in STEPS:
        if step not in (STEPS[3], STEPS[4]):  # from here on the numbers are there
            left = [site for site in left if gone.get(site) != step]
            if len(left) < threshold(len(group)):
                return []
    late = [site for site in left if site in gone]
    answering = len(left) - len(late)
    return left if answering >= threshold(len(group)) else []


SITES = st.integers(12, 16)
GONE = st.dictionaries(st.integers(0, 15), st.sampled_from(STEPS), max_size=5)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(sites=SITES, gone=GONE, combine=st.sampled_from(["median", "trimmed_mean"]))
def test_the_middle_of_plain_means_with_any_dropouts(tmp_path_factory, sites, gone, combine):
    require_middle(tmp_path_factory.mktemp("round"), sites, gone, combine)


@pytest.mark.parametrize(
    "gone",
    [{}, {0: "keys", 5: "masked", 7: "alive"}, {0: "shares", 1: "shares", 2: "keys", 3: "masked"}],
)
def test_the_middle_of_plain_means(tmp_path, gone):
    require_middle(tmp_path, 12, gone, "median")


def require_middle(folder, sites: int, silent: dict[int, str], combine: str) -> None:
    study = study_of(sites, combine=combine)
    gone = {name(n): step for n, step in silent.items() if n < sites}
    consortium = Consortium(folder, study, sites, gone)
    groups = groups_of(consortium.nodes, consortium.contract.hash, 0, 3)
    consortium.groups = groups
    alive = [survivors(group, gone) for group in groups]
    if sum(not group for group in alive) > 1:
        with pytest.raises(QuorumMissed, match="expected the sums of at least 2 of 3 groups"):
            trained(consortium, study)
        return
    means, record, base = trained(consortium, study)
    plain = [plain_mean(consortium, study.assignment(0), group) for group in alive if group]
    for field, value in means.items():
        # Of three values, what a trimmed mean of a fifth leaves is the median too.
        expected = base[field] + np.median([mean[field] for mean, _ in plain], axis=0)
        assert np.abs(value - expected).max() <= max(step for _, step in plain) + 1e-12
    assert set(record.sites) == {site for group in alive for site in group}
    for told, group, left in zip(record.summed.groups, groups, alive, strict=True):
        assert told.sites == group and bool(told.left_out) == (not left)
        for site in group if not left else ():
            assert record.rejected[site]
    assert set(record.rejected) == set(consortium.nodes) - set(record.sites)
    # Of a group that was left out before its numbers were there, nothing was told.
    for group, left in zip(groups, alive, strict=True):
        early = not left and not any(gone.get(s) in ("alive", "unmask") for s in group)
        assert not (early and any(s in group and step == UNMASK for s, step in consortium.asked))


def test_a_group_with_an_impossible_sum_is_left_out_with_the_reason(tmp_path):
    study = study_of(12)
    consortium = Consortium(tmp_path, study, 12, lying={name(4): 3 << 28})
    groups = groups_of(consortium.nodes, consortium.contract.hash, 0, 3)
    _, record, _ = trained(consortium, study)
    (hit,) = [g for g in record.summed.groups if name(4) in g.sites]
    assert "a site sent what it must not; drop the round" in hit.left_out
    assert [bool(g.left_out) for g in record.summed.groups].count(True) == 1
    assert record.rejected[name(4)].startswith("the sum of its group was left out: expected")
    assert set(record.rejected) == set(hit.sites) and hit.sites in groups
    assert consortium.heard[name(4)] == record.rejected[name(4)]
    second = next(site for site in groups[0] + groups[1] if site not in hit.sites)
    both = {name(4): 3 << 28, second: 3 << 28}
    with pytest.raises(SumLost, match=r"expected the sums of at least 2 of 3 groups .*, found 1"):
        trained(Consortium(tmp_path / "other", study, 12, lying=both), study)


@pytest.mark.parametrize("liars", [1, 2])
def test_a_lying_site_moves_its_groups_mean_and_not_the_middle(tmp_path, liars):
    """Within bounds, too: all groups' means but its own stand on either side of the middle."""
    study = study_of(12)
    honest = Consortium(tmp_path / "honest", study, 12)
    lying = Consortium(tmp_path / "lying", study, 12)
    groups = groups_of(honest.nodes, honest.contract.hash, 0, 3)
    told = lying.update

    def update(site):
        moved, share, loss = told(site)
        if site in groups[0][:liars]:
            return {n: np.full_like(u, 0.01) for n, u in moved.items()}, 1000.0, loss
        return moved, share, loss

    lying.update = update
    means, _, base = trained(lying, study)
    honest.groups, honest.shapes = groups, lying.shapes
    expected = [plain_mean(honest, study.assignment(0), list(group)) for group in groups]
    for field, value in means.items():
        moved = value - base[field]
        others = np.stack([mean[field] for mean, _ in expected[1:]])
        assert (moved >= others.min(0) - 1e-6).all() and (moved <= others.max(0) + 1e-6).all()


def test_floors_of_people_hold_for_each_group(tmp_path):
    study = study_of(12)
    consortium = Consortium(tmp_path, study, 12)
    groups = groups_of(consortium.nodes, consortium.contract.hash, 0, 3)
    for site in groups[1]:
        consortium.counts[site] = Counts(30, 30)
    _, record, _ = trained(consortium, study)
    assert record.summed.groups[1].left_out.startswith(
        "expected at least 150 people in the secure sum of train (floors.subjects), found 120 by "
        "what its sites told, rounded down, when they joined; take fewer groups, or agree on a"
    )
    # Nothing of it was unmasked: its sites were never asked.
    assert not [s for s, step in consortium.asked if step == UNMASK and s in groups[1]]
    assert set(record.rejected) == set(groups[1])


def test_a_consensus_of_too_few_people_for_the_groups_ends_the_study(tmp_path, monkeypatch):
    study = study_of(12)
    consortium = Consortium(tmp_path, study, 12)
    pairs = 8 * 7 // 2

    def ask(kind, *rest):
        assert kind == GRADIENTS
        yield from ()

    total = {
        "z_sum": np.zeros(pairs), "pair_count": np.full(pairs, 449), "subjects": np.array(449),
    }  # fmt: skip
    found = type("Found", (), {"total": {}, "alive": ("a",), "gone": {}})()
    monkeypatch.setattr("brainjepa_server.rounds.summed.secure_sums", lambda *_: [found])
    monkeypatch.setattr("brainjepa_server.rounds.summed.summed_people", lambda *_: total)
    text = r"expected at least 150 subjects for each of 3 groups \(floors.subjects\), found 449 in"
    with pytest.raises(ValueError, match=text):
        summed_consensus(consortium, study, [f"roi {n}" for n in range(8)])


def test_a_round_whose_coordinator_was_killed_goes_on_with_the_same_bits(tmp_path):
    """Some groups kept on disk, others not: what was unmasked is asked for again, nothing else."""
    study = study_of(12)
    straight = trained(Consortium(tmp_path / "a", study, 12), study)[0]

    class Killed(Exception):
        """The coordinator's end."""

    consortium = Consortium(tmp_path / "b", study, 12)
    for number in range(12):  # the same masks and roundings
        secret = tmp_path / "a" / name(number) / "secret"
        (tmp_path / "b" / name(number)).mkdir(parents=True)
        (tmp_path / "b" / name(number) / "secret").write_bytes(secret.read_bytes())
    answered = Consortium.ask

    def dying(kind, assignment, arrays, names, deadline, arrived, retries, steps):
        whole = kind, assignment, arrays, names, deadline, arrived, retries, steps
        for count, one in enumerate(answered(consortium, *whole)):
            if steps[names[0]].step == UNMASK and count == 6:
                raise Killed
            yield one

    consortium.ask = dying
    with pytest.raises(Killed):
        trained(consortium, study)
    del consortium.ask
    consortium.asked.clear()
    means, record, _ = trained(consortium, study)
    assert {step for _, step in consortium.asked} == {UNMASK}
    assert record.summed.attempt == 1
    assert all(np.array_equal(means[n], straight[n]) for n in straight)


def test_fewer_sites_than_groups_need():
    with pytest.raises(ValueError, match=r"expected at least 12 sites for 3 groups .*, found 11"):
        contract_of(study_of(11), 11)
    told = study_of(12).model_dump(exclude_none=True)
    with pytest.raises(ValueError, match=r"expected at least 20 sites for 5 groups .*, found 12"):
        type(study_of(12)).model_validate(
            {
                **told,
                "sites": [name(n) for n in range(12)],
                "protect": {"secure_sum": {}, "groups": 5},
            }
        )


@pytest.mark.parametrize(
    ("groups", "combine", "text"),
    [
        (3, "mean", "expected aggregation.combine: median or trimmed_mean of the groups' means"),
        (None, "median", "expected aggregation.combine: mean with protect: secure_sum"),
        (2, "median", r"expected an odd number of groups from 3 \(protect.groups\), found 2"),
        (4, "median", r"expected an odd number of groups from 3 \(protect.groups\), found 4"),
    ],
)
def test_settings_that_do_not_fit_together(groups, combine, text):
    with pytest.raises(ValueError, match=text):
        study_of(12, groups, combine)


def test_each_site_draws_its_group_itself(tmp_path):
    """A coordinator that puts it into another one is refused: the sum is not the site's."""
    study = study_of(12)
    consortium = Consortium(tmp_path, study, 12)
    trained(consortium, study)
    told = [json.loads(path.read_text()) for path in tmp_path.glob("*/*/train-000000.json")]
    assert len(told) == 12 and len({one["sum"] for one in told}) == 3
