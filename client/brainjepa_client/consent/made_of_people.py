"""What a site's state holds that is made of people, and can be made anew of those who stay."""

from __future__ import annotations

import shutil
from pathlib import Path

from brainjepa_client.judging.kept_outcomes import forget_outcomes
from brainjepa_core.evaluation.features.embeddings import CACHE


def forget_made_of_people(state: Path) -> None:
    """Remove embeddings, and outcomes of evaluations: scores and ages by person.

    Aligned scans are no part of it: from them one person can be taken out.

    Parameters
    ----------
    state : Path
        The site's state folder.
    """
    shutil.rmtree(state / CACHE, ignore_errors=True)
    forget_outcomes(state)
