"""What a study learns does not depend on how weights travel: the yardstick of shipped scenarios."""

from __future__ import annotations

import numpy as np
import pytest
from small_consortium import run, summary

from brainjepa_simulations.scenario import read_scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("name", ["three_hospitals", "demo"])
def test_int8_stays_within_a_hundredth_of_fp32(tmp_path, name):
    found = {}
    for wire in ("fp32", "int8"):
        chosen = read_scenario(name)
        aggregation = chosen.study.aggregation.model_copy(update={"wire": wire})
        study = chosen.study.model_copy(update={"aggregation": aggregation})
        folder = run(chosen.model_copy(update={"study": study}), tmp_path / wire)
        rounds = summary(folder)["rounds"]
        found[wire] = {
            (row["model"], row["pool"], row["outcome"]): row["r2"]
            for row in rounds[-1]["yardstick"]
        }
    assert found["fp32"].keys() == found["int8"].keys() and len(found["fp32"]) >= 3
    for outcome, whole in found["fp32"].items():
        assert np.isfinite(whole)
        difference = abs(found["int8"][outcome] - whole)
        assert difference <= 0.01 * abs(whole), outcome
