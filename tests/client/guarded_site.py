"""A site that answers contracts alone, its manager's approval, and a consortium that it joins."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from made_consortium import NOW, consortium

from brainjepa_client.answering.site import Site
from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.deciding import approve
from brainjepa_client.deploying.joining import join
from brainjepa_client.settings import SiteSettings
from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_core.consortium.kit import Kit
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import DESCRIBE, Reply, Request


def guarded_site(store: Path, folder: Path, **policy) -> SiteSettings:
    """Settings of a site with a copy of a store."""
    shutil.copytree(store, folder / "store")
    floors = {"min_people_in_sum": 1, "min_people_a_feature": 0, "round_counts_to": 1}
    choices = {"min_subjects": 4, **floors, **policy}
    return SiteSettings(name="one", store=folder / "store", state=folder / "state", policy=choices)


def approved(site: SiteSettings, contract: Contract) -> None:
    approve(site, Contracts(site.state).propose(contract.text))


def asked(site, contract, kind, number=0, arrays=None, probe=None, **changes) -> Reply:
    assignment = contract.asked(number, probe).model_copy(update=changes)
    proposal = contract.text if kind == DESCRIBE else ""
    request = Request(kind, assignment, arrays or {}, proposal)
    return Site(site, contracts=True).answer(request)


@dataclass(frozen=True)
class JoinedSite:
    """What a site has joined, and as whom."""

    kit: Kit
    fingerprint_of_site: str
    now: datetime = NOW

    @property
    def consortium(self) -> str:
        return self.kit.consortium


def joined_site(folder: Path, site: SiteSettings) -> JoinedSite:
    """A consortium in a folder, and the site in it."""
    kit = consortium(folder / "consortium")
    key = join(kit, site.name, site.state, folder).request.key
    return JoinedSite(kit, of_key(key))
