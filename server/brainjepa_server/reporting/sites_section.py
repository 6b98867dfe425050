"""The sites of a study on its page: a row each, and of many also how their figures lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from brainjepa_core.pages.picture import Picture
from brainjepa_core.pages.table import Table
from brainjepa_core.problems import listed
from brainjepa_server.record.history import RunHistory, SiteRecord
from brainjepa_server.reporting import figures
from brainjepa_server.reporting.words import bytes_in_words

MANY = 60  # sites with a row each; of more, their quantiles come first and the rows are folded
QUANTILES = {
    "lowest": 0, "first quarter": 0.25, "median": 0.5, "third quarter": 0.75, "highest": 1
}  # fmt: skip

Figures = dict[str, float | None]  # by heading; None where nothing is known
SHOWN: Mapping[str, Callable[[float], str]] = {
    "replies used": "{:.0f}".format,
    "clipped": "{:.0f}".format,
    "left out": "{:.0f}".format,
    "steps": "{:.0f}".format,
    "share": "{:.0f}".format,
    "last loss": "{:.4f}".format,
    "seconds a round": "{:.1f}".format,
    "received": bytes_in_words,
    "sent": bytes_in_words,
    "drift": "{:.0f}°".format,
    "not evaluated": "{:.0f}".format,
}


def sites_section(history: RunHistory) -> dict[str, Any] | None:
    """Tables, picture and note of the sites; None where no site has answered yet."""
    known = site_figures(history)
    if not known:
        return None
    rows = [[site, *_cells(found)] for site, found in known.items()]
    table = Table.of(["site", *SHOWN], rows, ("text",))
    degrees = {site: found["drift"] for site, found in known.items()}
    unknown = [site for site, value in degrees.items() if value is None]
    told = len(unknown) < len(degrees)
    drift = Picture.of(figures.drift(degrees), "Drift of each site") if told else None
    note = ""
    if told and unknown:
        note = (
            f"Drift is not known of {listed(unknown)}: nothing was told, as where people are "
            "too few for gradients of their own."
        )
    over = _over_sites(list(known.values())) if len(known) > MANY else None
    return {"table": table, "over": over, "drift": drift, "note": note}


def site_figures(history: RunHistory) -> dict[str, Figures]:
    """What is known of each site, by name and in order, from one pass over the rounds."""
    replies: dict[str, list[SiteRecord]] = {site: [] for site in history.site_names}
    left_out = dict.fromkeys(replies, 0)
    not_read: dict[str, int] = {}
    for record in history.rounds:
        not_read |= record.not_read
        for site, reply in record.sites.items():
            replies[site].append(reply)
        for site in record.rejected:
            left_out[site] += 1
    at_first = history.basis.drift if history.basis else {}
    return {
        site: {
            **_figures(found, left_out[site], at_first.get(site)),
            "not evaluated": not_read.get(site),
        }
        for site, found in replies.items()
    }


def _figures(replies: Sequence[SiteRecord], left_out: int, drift_at_first: float | None) -> Figures:
    last = replies[-1] if replies else SiteRecord()
    times = [reply.seconds for reply in replies if reply.seconds is not None]
    drifts = [reply.drift for reply in replies if reply.drift is not None]
    return {
        "replies used": len(replies),
        "clipped": sum(reply.scale < 1 for reply in replies),
        "left out": left_out,
        "steps": sum(reply.steps for reply in replies),
        "share": last.share,
        "last loss": last.loss,
        "seconds a round": sum(times) / len(times) if times else None,
        "received": sum(reply.bytes_down for reply in replies),
        "sent": sum(reply.bytes_up for reply in replies),
        "drift": drifts[-1] if drifts else drift_at_first,
    }


def _cells(found: Figures) -> list[str]:
    known = ((show, found[heading]) for heading, show in SHOWN.items())
    return ["–" if value is None else show(value) for show, value in known]


def _over_sites(known: Sequence[Figures]) -> Table:
    """Quantiles of each figure over the sites of which it is known."""
    columns = {
        heading: [value for found in known if (value := found[heading]) is not None]
        for heading in SHOWN
    }
    rows = [
        [name, *_cells({h: float(np.quantile(v, at)) if v else None for h, v in columns.items()})]
        for name, at in QUANTILES.items()
    ]
    return Table.of([f"over {len(known)} sites", *SHOWN], rows, ("text",))
