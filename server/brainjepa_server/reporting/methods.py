"""A study in the words of a paper's methods section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from brainjepa_core.problems import counted
from brainjepa_server.record.history import RunHistory
from brainjepa_server.reporting.protections import in_a_paper

COMBINED = {
    "mean": "a weighted mean",
    "trimmed_mean": "a trimmed mean of each weight",
    "median": "the median of each weight",
}


def windows_in_words(history: RunHistory) -> str:
    """What training reads of a scan: frames and their distance; empty where it is not recorded."""
    windows = _part(history.settings, "pretraining", "windows")
    if not {"frames", "tr"} <= windows.keys():
        return ""
    frames, tr = windows["frames"], windows["tr"]
    return f"Training reads windows of {frames} frames, resampled to one each {tr:g} s."


def basis_in_words(history: RunHistory) -> str:
    """Whose connectivity the basis is of; empty where it is a start model's or not recorded."""
    facts = history.basis
    if facts is None or facts.given or not facts.subjects or history.settings.get("start_from"):
        return ""
    sites = counted(len(facts.sites), "site")
    return f"the mean connectivity of {facts.subjects} people of {sites}"


def study_methods(history: RunHistory) -> str:
    """Sentences to paste into a paper; what is not recorded is not in them."""
    settings = history.settings
    family = _part(settings, "pretraining").get("family")
    used = history.used_sites or list(history.told)
    known = [history.told[site] for site in used if site in history.told]
    people, scans = sum(told.people for told in known), sum(told.scans for told in known)
    told = f" with at least {people} people and {counted(scans, 'scan')}" if known else ""
    sentences = [
        f"A model{f' of the family {family}' if family else ''} was pretrained without labels at "
        f"{counted(len(used or history.site_names), 'site')}{told}, by federated learning with "
        "brainjepa-federated: scans stayed at their sites."
    ]
    if windows := windows_in_words(history):
        sentences.append(windows)
    if whose := basis_in_words(history):
        sentences.append(f"Regions were placed by diffusion gradients of {whose}.")
    steps = _part(settings, "rounds").get("local_steps")
    how = COMBINED.get(str(_part(settings, "aggregation").get("combine")))
    if steps and history.rounds:
        sentences.append(
            f"Training went over {counted(len(history.rounds), 'round')} of {steps} optimiser "
            f"steps at each site{f'; updates were combined by {how}' if how else ''}."
        )
    sentences.append(in_a_paper(history))
    return " ".join(sentences)


def _part(settings: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """A part of nested settings; empty where it is missing."""
    for name in names:
        settings = settings.get(name) or {}
        if not isinstance(settings, Mapping):
            return {}
    return settings
