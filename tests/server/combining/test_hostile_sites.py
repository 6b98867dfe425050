"""A thousand replies of one lying site of four: nothing raises, and no study is turned by one."""

from __future__ import annotations

import numpy as np
import pytest
from four_sites import LIAR, PEOPLE, consensus, four_sites, likeness, sent
from hypothesis import given, settings
from hypothesis import strategies as st
from small_replies import BASE, ROLES, STEPS, make_reply

from brainjepa_core.wire.messages import Reply
from brainjepa_server.combining import consensus as consensus_module
from brainjepa_server.combining.judging import JudgedReplies
from brainjepa_server.combining.validation import Counts, RejectedReply
from brainjepa_server.settings import AggregationSettings

JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=9),
    st.lists(st.integers(), max_size=2), st.just(object()), st.just(np.zeros(3)),
    st.just(np.full((2, 2), np.nan)),
)  # fmt: skip
KINDS = ("noise", "flipped", "scaled", "shuffled", "strong", "a little", "one field", "junk")


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    return four_sites(tmp_path_factory.mktemp("cohort"))


@st.composite
def told_connectivity(draw) -> tuple[str, float, int, int, object]:
    """Kind, size, seed, number of people, junk of a lie about connectivity."""
    size = 10.0 ** draw(st.floats(-3, 3))
    people = draw(st.sampled_from([PEOPLE, 1, 2 * PEOPLE - 1, 10 * PEOPLE, 10**9]))
    return (
        draw(st.sampled_from(KINDS)), size, draw(st.integers(0, 10**6)), people, draw(JUNK),
    )  # fmt: skip


def lie_about(true: np.ndarray, lie: tuple) -> Reply:
    """What the lying site sends, whose honest mean Fisher z is `true` [P]."""
    kind, size, seed, people, junk = lie
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(len(true))
    z = {
        "noise": size * noise,
        "flipped": -size * true,
        "scaled": size * true,
        "shuffled": rng.permutation(true),
        "strong": np.where(noise > 0, 8.9, -8.9),
        "a little": true + min(size, 1) * true.std() * noise,
    }.get(kind, true)
    reply = sent(np.clip(z, -8.9, 8.9), people)
    if kind == "one field":
        name = ("z_sum", "pair_count")[seed % 2]
        reply.arrays[name] = (reply.arrays[name] * size).astype(reply.arrays[name].dtype)
    if kind == "junk":
        reply.arrays["z_sum"] = junk
    return reply


def as_it_should_be(honest, lie) -> None:
    one = honest[LIAR]
    reply = lie_about(one.z_sum / np.maximum(one.pair_count, 1), lie)
    found = consensus(honest, {LIAR: reply}, told=PEOPLE)
    assert likeness(found, consensus(honest)) >= 0.9
    for reason in found.left_out.values():
        assert reason.startswith("expected")


@settings(max_examples=30, deadline=None)
@given(lie=told_connectivity())
def test_no_lie_about_connectivity_turns_the_basis(honest, lie):
    as_it_should_be(honest, lie)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=500, deadline=None)
@given(lie=told_connectivity())
def test_nor_does_one_of_five_hundred(honest, lie):
    as_it_should_be(honest, lie)


def test_unless_nobody_looks(honest, monkeypatch):
    """The positive control: without the comparison of sites a lie turns it."""
    monkeypatch.setattr(consensus_module, "odd_ones", lambda sums, folder: {})
    with pytest.raises(AssertionError, match=r">= 0\.9"):
        as_it_should_be(honest, ("strong", 1.0, 0, PEOPLE, None))


@st.composite
def told_weights(draw) -> Reply:
    """A reply to a round: an honest one, with some things changed."""
    reply = make_reply()
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    size = 10.0 ** draw(st.floats(-3, 12))
    kind = draw(st.sampled_from(["noise", "flipped", "zero", "one array", "share", "junk"]))
    sent_ = {name: np.array(value, np.float32) for name, value in reply.arrays.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, value in sent_.items():
            away = {
                "noise": rng.standard_normal(value.shape),
                "flipped": BASE[name] - value,
                "zero": -BASE[name] / size,
            }.get(kind, np.zeros(()))
            sent_[name] = np.asarray(BASE[name] + size * away, np.float32)
    metrics = dict(reply.metrics)
    if kind == "one array":
        name = draw(st.sampled_from(sorted(sent_)))
        sent_[name] = draw(JUNK)
    if kind == "junk":
        metrics[draw(st.sampled_from(sorted(metrics)))] = draw(JUNK)
    if kind == "share" or draw(st.booleans()):
        metrics["share"] = draw(st.sampled_from([1e9, 1e-9, 20.0, 1e300]))
    return Reply(metrics, sent_)


def norm(weights) -> float:
    return float(np.sqrt(sum(np.square(weights[n] - BASE[n].astype("f8")).sum() for n in weights)))


@settings(max_examples=500, deadline=None)
@given(lie=told_weights())
def test_no_lie_about_weights_takes_a_round_further_than_an_honest_site_could(lie):
    with JudgedReplies(BASE, AggregationSettings(), ROLES, STEPS) as replies:
        for name in ("a", "b", "c"):
            replies.take(name, make_reply(), Counts(20, 20))
        try:
            replies.take("liar", lie, Counts(20, 20))
        except RejectedReply as error:
            assert str(error).startswith(("expected", "no usable reply"))
        found = dict(replies.combine(replies.limits()))
    own = dict(make_reply().arrays)
    assert all(np.isfinite(value).all() for value in found.values())
    # Half of it at most is the liar's, and that is no longer than 1.1 times an honest one.
    assert norm(found) <= 1.05 * norm(own) * (1 + 1e-6)
    along = sum(((found[n] - BASE[n]) * (own[n] - BASE[n].astype("f8"))).sum() for n in found)
    assert along >= 0.4 * norm(own) ** 2
