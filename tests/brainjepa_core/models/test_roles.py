"""What each family says of its arrays, against what the model does with them."""

from __future__ import annotations

import pytest
import torch
from toy_family import LinearModel

from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.parts.phenotypes import LearnsPhenotypes
from brainjepa_core.models.registry import SHIPPED, family_named
from brainjepa_core.models.roles import Roles
from brainjepa_core.pretraining.settings import PretrainingSettings

AGE = {"phenotypes": [{"column": "age", "mean": 40, "sd": 20}]}
LEARNERS = [f for f in SHIPPED if issubclass(family_named(f).settings, LearnsPhenotypes)]
NEEDED: dict[str, dict] = dict.fromkeys(LEARNERS, AGE)


def make(family: str) -> BrainModel:
    kind = family_named(family).settings.placed_by
    study = PretrainingSettings(
        family=family,
        preset="tiny",
        model=NEEDED.get(family, {}),
        windows={"frames": 32, "temporal": "official"},
        basis={"kind": kind} if kind else {"components": 3},
    )
    basis = torch.randn(6, 3).numpy()
    return study.new_model(ConsensusBasis(tuple("abcdef"), basis, torch.ones(3).numpy()))


@pytest.mark.parametrize("family", SHIPPED)
def test_embedding_reads_what_its_family_says_and_nothing_else(family):
    model = make(family)
    volumes = model.settings.volumes
    windows = (6, 32) if volumes is None else (32, *volumes.grid.size)
    roles, x = model.roles, torch.randn(2, *windows)
    names = list(model.state_dict())
    read = roles.read(names)
    before = model.encode(x)
    prefix = next(name for name, module in model.named_modules() if module is model.embedder)
    assert {n for n in read if not n.startswith(f"{prefix}.")} == {"basis"}
    others = {n: torch.full_like(v, torch.nan) for n, v in model.state_dict().items()
              if n not in read}  # fmt: skip
    assert others or roles.embedding == roles.trained
    model.load_state_dict(others, strict=False)
    assert torch.equal(model.encode(x), before)
    for name in read:
        if name != "basis":
            assert name in dict(model.embedder.state_dict(prefix=f"{prefix}."))


def test_a_family_that_names_nothing_is_read_whole():
    names = ["b.x", "a.y", "fixed"]
    assert Roles(("a.",), {"b.": "a."}).read(names) == sorted(names)
    assert Roles(("a.",), {"b.": "a."}, embedding=("b.",)).read(names) == ["b.x", "fixed"]
    assert LinearModel.roles.read(["coder.w", "trailing.w", "basis"]) == ["basis", "trailing.w"]
    assert family_named("brain_jepa").model.roles.embedding == ("target_encoder.",)
