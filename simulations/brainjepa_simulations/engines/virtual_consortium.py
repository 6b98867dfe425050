"""Keys and a contract for virtual sites, which secure sums need as those of hospitals do.

What lies there already is kept, so that a study that goes on has the masks that it began with.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import PrivateFormat

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.membership import KEY
from brainjepa_client.settings import SiteSettings
from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_core.consortium.keys import load_key, make_key
from brainjepa_core.consortium.summing import threshold
from brainjepa_core.files import atomic_path
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract, read_contract
from brainjepa_core.wire.groups import require_groups
from brainjepa_server.consortium.proposing import questions
from brainjepa_server.settings import StudySettings
from brainjepa_simulations.engines.virtual_sites import SITES

CONTRACT = "contract.json"


def agree(folder: Path, study: StudySettings) -> Path:
    """Write FOLDER/contract.json, approved by all virtual sites; its path.

    Raises
    ------
    ValueError
        If there are fewer than three sites, or than groups of them need.
    """
    sites = [read_settings(path, SiteSettings) for path in sorted((folder / SITES).glob("*.yaml"))]
    threshold(len(sites))
    if study.sums and study.sums.groups is not None:
        require_groups(study.sums.groups, len(sites))
    for site in sites:
        if not (site.state / KEY).exists():
            site.state.mkdir(parents=True, exist_ok=True)
            make_key(site.state / KEY, PrivateFormat.OpenSSH)
    mend = "remove it, and simulate in a new folder"
    keys = {site.name: load_key(site.state / KEY, mend).public_key() for site in sites}
    roster = {name: of_key(key) for name, key in keys.items()}
    path, consortium = folder / CONTRACT, study.name
    if path.exists():
        consortium = read_contract(path.read_text(encoding="utf-8")).consortium
    contract = Contract(consortium=consortium, roster=roster, **questions(study))
    with atomic_path(path) as temporary:
        temporary.write_text(contract.text, encoding="utf-8")
    for site in sites:
        known = Contracts(site.state)
        known.approve(known.propose(contract.text), ScanStore.open(site.store).fingerprint)
    return path
