"""A site's part of the yardstick: the arrays of the contract, its drift, its signs of collapse."""

from __future__ import annotations

import numpy as np
import torch
from numpy.testing import assert_allclose
from small_sites import STUDY, ask, ask_round, make_site, same, training_windows

from brainjepa_client.answering.site import Site
from brainjepa_core.evaluation.site_people import SitePeople, other_half_of
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.gradients import ConsensusBasis, principal_angles
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.pretraining.computing.settings import Computing
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.sums.moments import Group, moments_from_arrays
from brainjepa_core.sums.ridge import total
from brainjepa_core.wire.messages import EVALUATE
from brainjepa_core.wire.told_numbers import told_r2

POOLS = ["mean", "std", "time_std", "network_covariance"]
OUTCOMES = ["connectivity", "age within site", "latents"]
OF_WINDOWS = {"score.latent_connectivity.the other half", "features.latent_connectivity"}


def model_from(arrays: dict) -> BrainJEPA:
    model = BrainJEPA(STUDY.model_settings(8), torch.tensor(arrays["basis"]))
    model.load_state_dict({k: torch.tensor(arrays[k]) for k in model.state_dict()})
    return model


def test_moments_are_those_of_the_target_encoder(stores, start, tmp_path):
    arrays = {k: v * 1.5 if k.startswith("target_encoder") else v for k, v in start.items()}
    reply = make_site(stores[0], tmp_path).answer(ask(EVALUATE, arrays))
    assert reply.refusal == "" and {v.dtype for v in reply.arrays.values()} == {np.dtype("f8")}
    windows = Windows([ScanStore.open(stores[0])], STUDY.windows)
    folds = folds_of_windows(windows, 0, 5)
    expected = SitePeople.of(model_from(arrays), windows, start["components"], folds, 5).moments()
    found = moments_from_arrays(reply.arrays)
    assert found.keys() == expected.keys() == {
        Group(p, o, k) for p in POOLS for o in OUTCOMES for k in range(5)
    }  # fmt: skip
    for group, m in expected.items():
        assert found[group].n == m.n == (folds == group.fold).sum()
        assert np.array_equal(found[group].xy, m.xy)
    assert reply.arrays["moments.mean.3.xx"].shape == (8 * 9 // 2,)
    assert "moments.mean.3.age within site.xy" in reply.arrays


def test_the_target_encoder_is_all_that_is_needed(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    needed = {k: v for k, v in start.items() if not k.startswith(("encoder.", "predictor."))}
    assert same(site.answer(ask(EVALUATE, needed)).arrays, site.answer(ask(EVALUATE, start)).arrays)
    name = "target_encoder.patch.weight"
    lacking = {k: v for k, v in needed.items() if k != name}
    reply = site.answer(ask(EVALUATE, lacking))
    count = sum(k.startswith("target_encoder.") for k in start)
    assert reply.refusal == (
        f"expected {count} float32 weights of the study's model, found 1 missing or of another "
        f"shape or dtype ({name}); check study and versions"
    )
    assert "weights of the study's model, found" in site.answer(ask_round(0, needed)).refusal


def test_numbers_of_an_evaluation(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path)
    reply = site.answer(ask(EVALUATE, start))
    assert {name for name in reply.metrics if "." not in name} == {
        "drift", "spread_people", "spread_positions", "position_share", "rank_tokens",
        "rank_people", "people_not_read",
    }  # fmt: skip
    assert {name for name in reply.metrics if "." in name} == {
        *(f"features.{pool}" for pool in POOLS),
        *(f"score.{pool}.{outcome}" for pool in POOLS for outcome in OUTCOMES),
        *OF_WINDOWS,
    }
    for name, value in reply.metrics.items():
        assert value == float(f"{value:.3g}") and (not name.startswith("score") or -1 <= value <= 1)
    own = ConsensusBasis.from_sum(connectivity_sum(training_windows(stores[0])), 3, 0.2)
    angles = principal_angles(own.gradients, start["basis"], 3)
    assert reply.metrics["drift"] == float(f"{angles[-1]:.3g}")
    assert site.answer(ask(EVALUATE, start)).metrics == reply.metrics
    assert 1 <= reply.metrics["rank_people"] <= 11


def test_a_site_that_trains_in_bf16_evaluates_in_fp32(stores, start, tmp_path):
    exact = make_site(stores[0], tmp_path / "exact").answer(ask(EVALUATE, start))
    settings = make_site(stores[0], tmp_path / "half").settings
    half = settings.model_copy(update={"computing": Computing(precision="bf16")})
    found = Site(half).answer(ask(EVALUATE, start))
    assert found.metrics == exact.metrics and same(found.arrays, exact.arrays)


def test_a_site_that_lacks_an_roi_has_no_drift(stores, start, tmp_path):
    reply = make_site(stores[2], tmp_path).answer(ask(EVALUATE, start))
    assert reply.refusal == "" and "drift" not in reply.metrics
    assert "position_share" in reply.metrics


def test_small_folds_are_told_as_empty(stores, start, tmp_path):
    windows = Windows([ScanStore.open(stores[0])], STUDY.windows)
    sizes = np.bincount(folds_of_windows(windows, 0, 5), minlength=5)
    fewest = int(sizes.max())
    assert sizes.min() < fewest
    site = make_site(stores[0], tmp_path, min_people_in_sum=fewest)
    reply = site.answer(ask(EVALUATE, start))
    found = moments_from_arrays(reply.arrays)
    for group, m in found.items():
        told = sizes[group.fold] if sizes[group.fold] >= fewest else 0
        assert m.n == told and (told or not m.xx.any())


def test_sites_add_up(stores, start, tmp_path):
    replies = [make_site(s, tmp_path).answer(ask(EVALUATE, start)) for s in stores]
    found = [moments_from_arrays(reply.arrays) for reply in replies]
    windows = Windows([ScanStore.open(store) for store in stores], STUDY.windows)
    folds = folds_of_windows(windows, 0, 5)
    pooled = SitePeople.of(model_from(start), windows, start["components"], folds, 5).moments()
    for group, m in pooled.items():
        summed = total(site[group] for site in found)
        assert summed.n == m.n
        for name in ("x_sum", "y_sum", "xx", "xy", "yy"):
            assert_allclose(getattr(summed, name), getattr(m, name), rtol=1e-9, atol=1e-9)


def test_by_default_a_dozen_people_send_scores_alone(stores, start, tmp_path):
    site = make_site(stores[0], tmp_path, min_people_a_feature=5)
    few, everything = site.answer(ask(EVALUATE, start)), make_site(stores[0], tmp_path / "all")
    assert few.refusal == "" and few.arrays == {}
    assert few.metrics == everything.answer(ask(EVALUATE, start)).metrics


def test_the_other_half_is_that_of_people_who_are_held_out(stores, start, tmp_path):
    windows = Windows([ScanStore.open(stores[0])], STUDY.windows)
    tested = folds_of_windows(windows, 0, 5) == 0
    r2 = other_half_of(model_from(start).eval(), windows, tested, 1)
    told = make_site(stores[0], tmp_path, min_people_in_sum=1).answer(ask(EVALUATE, start)).metrics
    assert told["score.latent_connectivity.the other half"] == told_r2(r2)
    assert told["features.latent_connectivity"] == 8 * 7 // 2
    fewest = int(tested.sum()) + 1
    few = make_site(stores[0], tmp_path / "few", min_people_in_sum=fewest)
    assert not OF_WINDOWS & few.answer(ask(EVALUATE, start)).metrics.keys()
