"""The lines that the README shows do run."""

from __future__ import annotations

import re
from pathlib import Path

import torch

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_lines_run():
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert torch.isfinite(names["loss"]).all()
    assert names["vectors"].shape == (2, 3 * 96)


def test_every_file_it_names_is_there():
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(
        r"site_configs/[\w.]+", README
    )
    assert named and [name for name in named if not (root / name).exists()] == []
