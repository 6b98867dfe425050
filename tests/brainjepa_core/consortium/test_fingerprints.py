"""Fingerprints as people say and type them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_consortium import consortium

from brainjepa_core.consortium.fingerprints import compare, of_certificate

OWN = " ".join(f"{number:02x}5a" for number in range(16))


def test_it_is_what_openssl_prints(tmp_path):
    kit = consortium(tmp_path / "c")
    call = ["openssl", "x509", "-in", tmp_path / "c" / "kit", "-noout", "-fingerprint", "-sha256"]
    printed = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    compare(printed, of_certificate(kit.authority))


@pytest.mark.parametrize(
    "told",
    [
        OWN,
        OWN.upper(),
        OWN.replace(" ", ""),
        OWN.replace(" ", " - "),
        OWN.replace(" ", "\n"),
        f"SHA256:{OWN.replace(' ', '')}",
        "sha256 Fingerprint=" + ":".join(f"{number:02X}:5A" for number in range(16)),
    ],
)
def test_it_is_known_however_it_is_written(told):
    compare(told, OWN)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (
            OWN.replace("025a", "026a"),
            r"expected the fingerprint that was told, found another in group 3 \(told '026a', here "
            r"'025a'\); have it read out again, and if it still differs do not go on",
        ),
        (OWN.replace("5a", "5b"), r"in group 1 \(told '005b', here '005a'\), and 15 more of 16;"),
        (OWN.replace("045a", "o45a"), "0-9 and letters a-f, found 'o' in group 5; have that"),
        (OWN[:-5], "of 16 groups of 4, found 60 digits rather than 64; have all groups read"),
        ("", "found 0 digits rather than 64"),
        ("yes", "found 'y' in group 1"),
    ],
)
def test_what_differs_is_said_by_its_group(told, text):
    with pytest.raises(ValueError, match=text):
        compare(told, OWN)


@given(st.text())
def test_any_text_is_judged(told):
    with pytest.raises(ValueError, match=r"^expected .*found .*; "):
        compare(told, OWN)
