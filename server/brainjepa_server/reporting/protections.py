"""What protected the sites and people of a study, by its record, in the words of all its pages."""

from __future__ import annotations

from brainjepa_server.record.history import RunHistory
from brainjepa_server.reporting.verdict import promise

FLOORS = {
    "sites": "sites",
    "subjects_per_site": "people of each site",
    "subjects": "people in all",
}  # behind the consensus


def protections(history: RunHistory) -> dict[str, tuple[str, ...]]:
    """Sentences on each protection, by its name; none where it is not recorded."""
    return {
        "contract": (_contract(history),),
        "secure sums": (_sums(history),),
        "differential privacy": tuple(_privacy(history)),
        "floors of the study": tuple(_floors(history)),
    }


def in_a_paper(history: RunHistory) -> str:
    """What was in force, for a methods section."""
    told = []
    if history.is_private:
        told.append("Steps were differentially private.")
    if history.in_secure_sums:
        told.append("Updates were added under secure sums, so that no single site's could be read.")
    return " ".join(told) or "Neither secure sums nor differential privacy were in force."


def _contract(history: RunHistory) -> str:
    if history.contract:
        return f"Every site approved the contract {history.contract[:12]} before it was asked."
    return "Sites were virtual ones on one machine: no contract was approved."


def _sums(history: RunHistory) -> str:
    if history.in_secure_sums:
        return "Replies came as secure sums over the sites: nobody saw what one site sent."
    return "Each site's weights were seen by the coordinator."


def _privacy(history: RunHistory) -> list[str]:
    if history.is_private:
        return promise(history)
    return [
        "Training had no differential privacy, so there is no epsilon: weights may tell who was "
        "trained on."
    ]


def _floors(history: RunHistory) -> list[str]:
    floors = history.settings.get("floors") or {}
    known = [f"{floors[name]} {what}" for name, what in FLOORS.items() if name in floors]
    return [f"No consensus is made of fewer than {', '.join(known)}."] if known else []
