"""Whose people a study's consensus is of, and which sites came later or never, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from brainjepa_core.problems import listed
from brainjepa_server.record.history import RunHistory

SUMMED = (
    "Replies came as secure sums over all sites: nobody saw a single one, so none was judged, "
    "clipped or left out by the coordinator, and no loss, norm or drift of one site is known."
)
GROUPED = (
    "Updates came as a sum of each of several groups of sites, drawn anew each round; each weight "
    "is the middle of the groups' means, so that one lying site moves it little."
)
UNCOMPARED = (
    "Fewer than three sites told of usable sums, so none could be compared with the others: nobody "
    "would have noticed one that lies."
)


def attendance(history: RunHistory) -> str:
    """A few sentences on who is in the consensus and who is not; empty before it is made."""
    basis = history.basis
    if basis is None:
        return ""
    if basis.given:
        return "It is that of the model the study starts from: no site was asked for sums."
    inside = set(basis.sites)
    later = set(history.site_names) - inside - basis.left_out.keys()
    roster = history.settings.get("sites") or ()
    absent = set(roster) - inside - later - basis.left_out.keys() - history.left_out.keys()
    sentences = [
        f"The consensus is of {basis.subjects} people of {len(inside)} "
        f"{'site' if len(inside) == 1 else 'sites'}: {listed(inside)}."
    ]
    if history.settings.get("start_from"):
        sentences.append("The basis is that of the model the study starts from.")
    for told, reasons in (
        ("Not in the consensus", basis.left_out),
        ("Counting for fewer people", basis.capped),
        ("Not in the sum of co-skewness", basis.without_coskewness),
        ("Do not take part", history.left_out),
    ):
        if reasons:
            sentences.append(f"{told}: {_reasons(reasons)}.")
    if history.in_secure_sums:
        sentences.append(SUMMED)
        protect = history.settings.get("protect")
        if isinstance(protect, Mapping) and protect.get("groups"):
            sentences.append(GROUPED)
    elif not basis.compared:
        sentences.append(UNCOMPARED)
    if later:
        sentences.append(f"Came after it was made: {listed(later)}.")
    if absent:
        sentences.append(f"On the roster, but never came: {listed(absent)}.")
    return " ".join(sentences)


def _reasons(reasons: Mapping[str, str]) -> str:
    return listed(f"{name} ({why})" for name, why in reasons.items())
