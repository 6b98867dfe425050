"""The lines that the README shows do run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_python_lines_run(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(block.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(block, names)
    assert names["vector"].shape == (100 * 99 // 2,) and np.isfinite(names["vector"]).all()
    assert names["tokens"].shape == (3, 400, 32)
    assert (tmp_path / "runs" / "first" / "final").is_dir()


def test_every_file_it_names_is_there():
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(
        r"site_configs/[\w.]+", README
    )
    assert named and [name for name in named if not (root / name).exists()] == []
