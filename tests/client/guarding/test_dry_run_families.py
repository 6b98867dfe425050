"""A dry run answers studies of every published family as the coordinator would ask them."""

from __future__ import annotations

import pytest
import yaml
from small_sites import STUDY, make_site

from brainjepa_client.guarding.dry_run import dry_run

BLOCKS = {"patch": 4, "width": 8, "depth": 1, "heads": 2}
DECODER = {"decoder_width": 4, "decoder_depth": 1, "decoder_heads": 2}
SIZES = {
    "brainlm": {**BLOCKS, **DECODER},
    "brainlm_picture": {**BLOCKS, **DECODER, "tile": 4},
    "brainmass": {"patch": 4, "depth": 1, "heads": 2, "inner": 8, "projection": 4},
    "csm": BLOCKS,
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["default", "published"])
@pytest.mark.parametrize("family", SIZES)
def test_all_but_what_the_policy_keeps_is_answered(stores, tmp_path, family, recipe):
    settings = make_site(stores[0], tmp_path / "state").settings
    file = tmp_path / "site.yaml"
    file.write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude={"prepare"})))
    changes = {"family": family, "recipe": recipe, "model": SIZES[family]}
    refused = [
        r for r in dry_run(file, STUDY.model_copy(update=changes)).rows if r.what == "refused"
    ]
    assert [row.policy[0].field for row in refused] == ["share_probe"]
