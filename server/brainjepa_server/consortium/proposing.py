"""The contract of a study: its settings, the sites of the consortium, what will be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.consortium.summing import FEWEST
from brainjepa_core.files import atomic_path
from brainjepa_core.wire.contract import Contract, read_contract
from brainjepa_core.wire.groups import require_groups
from brainjepa_server.consortium.admission import admitted_sites
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.settings import StudySettings

CONTRACTS = "contracts"
BEGINNINGS = 2  # random weights, and the model that a study starts from


def propose(folder: ConsortiumFolder, settings: StudySettings) -> tuple[Contract, Path]:
    """Write down the contract of a study for the sites that are admitted now.

    Parameters
    ----------
    folder : ConsortiumFolder
    settings : StudySettings
        Without a roster, all admitted sites are its roster.

    Returns
    -------
    (Contract, Path)
        The file is named after the contract's hash; the same contract is the same file.

    Raises
    ------
    ValueError
        If a site of the roster is not admitted, or fewer than the quorum are, or than a secure sum
        or its groups need.
    """
    admitted = {name: of_key(key) for name, key in admitted_sites(folder).items()}
    roster = settings.sites or tuple(admitted)
    unknown = [name for name in roster if name not in admitted]
    if unknown:
        raise ValueError(
            f"expected the sites of the study's roster (sites) to be admitted, found that "
            f"{', '.join(unknown)} is not; admit its request (brainjepa server admit), or take it "
            "out"
        )
    if len(roster) < settings.rounds.quorum:
        raise ValueError(
            f"expected at least {settings.rounds.quorum} sites (rounds.quorum), found "
            f"{len(roster)} admitted; admit more, or lower the quorum"
        )
    if settings.sums and len(roster) < FEWEST:
        raise ValueError(
            f"expected at least {FEWEST} sites with protect: secure_sum, found "
            f"{len(roster)} admitted; of a sum of two each knows the other's part: admit more, or "
            "go without protect"
        )
    if settings.sums and settings.sums.groups is not None:
        require_groups(settings.sums.groups, len(roster))
    contract = Contract(
        consortium=read_kit(folder.kit).consortium,
        roster={name: admitted[name] for name in sorted(roster)},
        **questions(settings),
    )
    path = folder.path / CONTRACTS / f"{contract.hash}.json"
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(contract.text, encoding="utf-8")
    return contract, path


def questions(settings: StudySettings) -> dict[str, Any]:
    """What a contract says of the study itself: all that is asked, and how often."""
    evaluated = -(-settings.total_rounds // settings.rounds.evaluate_every) + BEGINNINGS
    return {
        "assignment": settings.assignment(),
        "rounds": settings.total_rounds,
        "evaluations": evaluated if settings.privacy is None else 0,
        "tasks": tuple(question for task in settings.tasks for question in task.questions()),
    }


def proposed(folder: ConsortiumFolder, settings: StudySettings) -> Contract:
    """The contract of a study, as it was proposed before.

    Raises
    ------
    ValueError
        If it was not, or the settings, the admitted sites or the key of one have changed since.
    """
    paths = (folder.path / CONTRACTS).glob("*.json")
    texts = sorted(paths, key=lambda path: path.stat().st_mtime_ns)  # the newest last
    found = [read_contract(path.read_text(encoding="utf-8")) for path in texts]
    asked = questions(settings)
    of_study = [c for c in found if all(getattr(c, name) == asked[name] for name in asked)]
    admitted = {name: of_key(key) for name, key in admitted_sites(folder).items()}
    roster = set(settings.sites or admitted)
    of_sites = [contract for contract in of_study if set(contract.roster) == roster]
    # A site that was revoked takes no part; one that came back with another key is another one.
    same = [c for c in of_sites if all(admitted.get(n, key) == key for n, key in c.roster.items())]
    if not same:
        what = "other sites in its roster" if of_study else "none of these settings"
        what = "another key of a site in its roster" if of_sites else what
        raise ValueError(
            f"expected the contract of study '{settings.name}' to be proposed, found {what}; "
            "propose it (brainjepa server propose STUDY.yaml), and let the sites approve it"
        )
    return same[-1]
