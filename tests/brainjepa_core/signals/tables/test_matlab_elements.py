"""Old MATLAB files: what scipy writes is let through, what would end the process is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from brainjepa_core.signals.tables.matlab.files import load_old

SERIES = np.random.default_rng(0).standard_normal((6, 4))
VARIABLES = {
    "ts": SERIES,
    "few": np.array([[1, 2]], np.uint8),
    "names": np.array(["a", "Vis_1"], object),
    "facts": {"tr": 2.0, "site": "Lyon"},
    "phase": SERIES[:2] + 1j * SERIES[:2],
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("level", ["4", "5"])
def test_what_scipy_writes_is_read(tmp_path, compressed, level):
    file = tmp_path / "x.mat"
    told = VARIABLES if level == "5" else {"ts": SERIES}
    savemat(file, told, format=level, do_compression=compressed and level == "5")
    for name in told:
        assert str(load_old(file, name)) == str(loadmat(file)[name])


@pytest.mark.parametrize("kind", [0, 8, 10, 11, 19, 39, 255, 3 << 8])
def test_a_type_that_there_is_not_is_refused(tmp_path, kind):
    file = tmp_path / "x.mat"
    savemat(file, {"ts": SERIES})
    content = bytearray(file.read_bytes())
    place = content.rindex((9).to_bytes(4, "little") + (SERIES.nbytes).to_bytes(4, "little"))
    content[place : place + 4] = kind.to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(ValueError, match=f"an element of type {kind}, which there is not"):
        load_old(file, "ts")


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_short_is_refused(tmp_path, compressed):
    file = tmp_path / "x.mat"
    savemat(file, {"ts": SERIES}, do_compression=compressed)
    file.write_bytes(file.read_bytes()[:-12])
    with pytest.raises(ValueError, match="an element that is cut short"):
        load_old(file, "ts")
