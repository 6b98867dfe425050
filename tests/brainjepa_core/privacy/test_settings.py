from __future__ import annotations

import pytest

from brainjepa_core.privacy.settings import PrivacySettings, require_central


def test_noise_is_shared_centrally_only():
    with pytest.raises(ValueError, match=r"expected honest_sites of 1 .* found 3; set where"):
        PrivacySettings(noise=1.0, honest_sites=3)


@pytest.mark.parametrize("noise", [0.0, -1.0])
def test_there_is_no_privacy_without_noise(noise):
    with pytest.raises(ValueError, match="greater than 0"):
        PrivacySettings(noise=noise)


def test_noise_adds_up_in_sums_of_gradients_alone():
    require_central(local_steps=1)
    with pytest.raises(ValueError, match=r"one local step a round .* found 2; noise adds up in"):
        require_central(local_steps=2)
