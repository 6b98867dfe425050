"""What has to be right before a site starts: a row a check, with what was found and how to mend it.

Checks are in the order in which one leads to another: what cannot be looked at, since an earlier
check failed, is said to be so and counts as no failure of its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from brainjepa_client.approving.membership import KEY
from brainjepa_client.deploying.flower_parts import FLOWER, Coordinator
from brainjepa_client.deploying.run_folder import RunFolder
from brainjepa_client.deploying.running import joined_kit
from brainjepa_client.deploying.way_to_coordinator import Way
from brainjepa_client.guarding.sizes import KEPT
from brainjepa_client.settings import SiteSettings
from brainjepa_client.slurm.asking import script_for
from brainjepa_client.slurm.jobs import try_out
from brainjepa_core.consortium.keys import load_key
from brainjepa_core.consortium.kit import Kit
from brainjepa_core.machine.devices import require_device
from brainjepa_core.problems import counted, plainly, size_in_words
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.version import VERSION

# What the coordinator's SuperLink allows a site's clock, in seconds.
AHEAD, BEHIND = 5, 300
FLEET, CONTROL = "/v1/fleet/pull-messages", "/v1/control/list-runs"
_WEIGHTS_A_BLOCK = 12  # of a transformer's width squared
_BYTES_A_WEIGHT = 16  # AdamW's two moments; what wire int8 keeps back of weights and target


@dataclass(frozen=True)
class Row:
    """What a check found.

    Attributes
    ----------
    check, found : str
    mend : str
        How to mend it; empty where all is right or nothing was looked at.
    """

    check: str
    found: str
    mend: str = ""


class Preflight:
    """The checks of a site; each returns what it found.

    Each raises ``ValueError`` with one line that says what was expected, found, and how to mend it.

    Parameters
    ----------
    settings : SiteSettings
    """

    def __init__(self, settings: SiteSettings) -> None:
        self._settings = settings

    @cached_property
    def _kit(self) -> Kit:
        return joined_kit(self._settings.state, datetime.now(UTC))

    @cached_property
    def _way(self) -> Way:
        return Way(self._kit)

    def versions(self) -> str:
        """Flower is the one whose insides this package uses."""
        found = importlib.metadata.version("flwr")
        if not found.startswith(f"{FLOWER}."):
            raise ValueError(
                f"expected Flower {FLOWER}, with which brainjepa-federated {VERSION} works, found "
                f"{found}; install anew (pip install 'brainjepa-federated[federation]'), in an "
                "environment where nothing else asks for another Flower"
            )
        return f"brainjepa-federated {VERSION}, Flower {found}"

    def joined(self) -> str:
        """Kit and key are there, and in force."""
        return f"kit of '{self._kit.consortium}' ({self._kit.address}), and this site's key"

    def other_start(self) -> str:
        """No other start of the site runs."""
        folder = RunFolder(self._settings.state)
        if folder.is_running():
            raise ValueError(
                "expected that nothing of this site runs, found 'brainjepa site start' at work "
                f"(process {folder.told().get('pid', 'unknown')}); look at it with 'brainjepa site "
                "status', or end it with 'brainjepa site stop'"
            )
        return "none"

    def proxy(self) -> str:
        """What HTTPS_PROXY and NO_PROXY say of the way to the coordinator."""
        proxy = self._way.proxy()
        return f"{proxy} (HTTPS_PROXY)" if proxy else "none on the way (HTTPS_PROXY, NO_PROXY)"

    def connection(self) -> str:
        """The coordinator's name and port answer."""
        return f"{self._kit.address} answers {self._way.reach()}"

    def certificate(self) -> str:
        """It is the coordinator who answers."""
        return self._way.certificate()

    def clock(self) -> str:
        """The clock of this machine agrees with the server's."""
        before = datetime.now(UTC)
        answer = self._way.ask(FLEET)
        after = datetime.now(UTC)
        try:
            theirs = parsedate_to_datetime(answer.date or "").astimezone(UTC)
        except ValueError as error:
            raise ValueError(
                "expected the time of the coordinator's server (header Date), found none; ask the "
                "coordinator what stands in front of its server, and compare the clocks by hand"
            ) from error
        # The server's time is cut to a second, and was read between the two of this machine.
        ahead = max(0.0, (before - theirs).total_seconds() - 1)
        behind = max(0.0, (theirs - after).total_seconds())
        if ahead > AHEAD or behind > BEHIND:
            off = f"{ahead:.0f} s ahead" if ahead else f"{behind:.0f} s behind"
            raise ValueError(
                f"expected a clock at most {AHEAD} s ahead of the coordinator's and {BEHIND} s "
                f"behind it, found {off}; set the clock of this machine (NTP), and if it is right, "
                "tell the coordinator"
            )
        return "agrees with the coordinator's"

    def fleet(self) -> str:
        """The door for sites is open, for those who have a key."""
        status = self._way.ask(FLEET).status
        if status != HTTPStatus.UNAUTHORIZED:
            behind = status in (502, 503, 504)
            mend = "start its server" if behind else "look at its proxy, which has to let it pass"
            raise ValueError(
                f"expected {FLEET} to ask for a key (401), found {status}; ask the coordinator to "
                f"{mend}"
            )
        return "answers, and asks for a key"

    def control(self) -> str:
        """The door for commands is shut: else whoever has the kit could command every site."""
        status = self._way.ask(CONTROL).status
        if status != HTTPStatus.FORBIDDEN:
            raise ValueError(
                f"expected {CONTROL} to be shut (403), found {status}: whoever has a kit could "
                "send studies; do not start, and tell the coordinator that its proxy has to let "
                "/v1/fleet/ alone pass"
            )
        return "is shut (403)"

    def admission(self) -> str:
        """The coordinator lets this site's key in."""
        key = load_key(self._settings.state / KEY, "join again")
        authority = self._kit.authority.public_bytes(Encoding.PEM)
        with Coordinator(self._kit.address, authority, key) as coordinator:
            admitted = coordinator.admits()
        if not admitted:
            raise ValueError(
                "expected the coordinator to let this site's key in, found a refusal; if a start "
                "was killed in the last minute, wait that long; else ask the coordinator whether "
                "it has admitted the request, and whether another machine uses the key"
            )
        return "the coordinator lets this site's key in"

    def store(self) -> str:
        """The store opens, and has the people that the policy asks for."""
        settings = self._settings
        people = len({record.subject for record in ScanStore.open(settings.store).records})
        least = settings.policy.min_subjects
        if people < least:
            raise ValueError(
                f"expected at least {counted(least, 'person', 'people')} (policy.min_subjects), "
                f"found {people}; the site would refuse every study: prepare more scans, or lower "
                "the floor if your ethics board allows"
            )
        return f"{counted(people, 'person', 'people')}; policy.min_subjects asks for {least}"

    def state(self) -> str:
        """The state folder can be written, and has room for the largest model allowed."""
        state, policy = self._settings.state, self._settings.policy
        there = next(path for path in (state, *state.absolute().parents) if path.exists())
        try:
            with tempfile.NamedTemporaryFile(dir=there) as file:
                file.write(os.urandom(4096))
                file.flush()
        except OSError as error:
            raise ValueError(
                f"expected to write into the state folder '{there}', found {plainly(error)}; give "
                "it to the user who starts the site, or name another (state)"
            ) from error
        weights = _WEIGHTS_A_BLOCK * policy.max_width**2 * policy.max_depth
        largest = min(KEPT * weights * _BYTES_A_WEIGHT, policy.max_disk_gb * 1e9)
        needed, free = int(largest), shutil.disk_usage(there).free
        if free < needed:
            raise ValueError(
                f"expected room for {KEPT} states of the largest model that the policy allows "
                f"({size_in_words(needed)}), found {size_in_words(free)}; make room, name a larger "
                "disk (state), or allow smaller models (policy.max_width, max_depth, max_disk_gb)"
            )
        return f"can be written, {size_in_words(free)} free, {size_in_words(needed)} needed at most"

    def device(self) -> str:
        """The devices that the site names are there, and what starts processes on them."""
        slurm = self._settings.slurm
        if slurm is not None:
            devices = ", ".join(slurm.trains_on)
            return f"{devices} of a job; 'slurm' looks at what can be seen from here"
        for device in self._settings.devices_here:
            require_device(device)
        launcher = self._settings.launcher
        if launcher is not None and shutil.which(shlex.split(launcher)[0]) is None:
            raise ValueError(
                f"expected a launcher that this machine has, found '{shlex.split(launcher)[0]}'; "
                "correct launcher, or take it out: torchrun is the default"
            )
        return ", ".join(dict.fromkeys((self._settings.device, *self._settings.trains_on)))

    def slurm(self) -> str:
        """The cluster takes jobs with the site's options."""
        slurm = self._settings.slurm
        if slurm is None:
            return f"not asked for (device: {self._settings.device})"
        for command in ("squeue", "scancel"):
            if shutil.which(command) is None:
                raise ValueError(
                    f"expected Slurm's command {command} on this machine (device: slurm), found "
                    "none; start the site where jobs can be submitted, or name another device"
                )
        with tempfile.TemporaryDirectory() as folder:
            script, log = Path(folder, "script"), Path(folder, "log")
            script.write_text(script_for(Path(folder)))
            said = try_out(script, log, slurm.options).removeprefix("sbatch: ")
        return f"sbatch takes the options: {said}" if said else "sbatch takes the options"


# Name of a check, the check, and those without which it cannot be looked at.
_CHECKS: tuple[tuple[str, Callable[[Preflight], str], tuple[str, ...]], ...] = (
    ("versions", Preflight.versions, ()),
    ("kit and key", Preflight.joined, ()),
    ("other start", Preflight.other_start, ()),
    ("proxy", Preflight.proxy, ("kit and key",)),
    ("connection", Preflight.connection, ("proxy",)),
    ("certificate", Preflight.certificate, ("connection",)),
    ("/v1/fleet", Preflight.fleet, ("certificate",)),
    ("/v1/control", Preflight.control, ("certificate",)),
    ("clock", Preflight.clock, ("/v1/fleet",)),
    ("admission", Preflight.admission, ("other start", "clock")),
    ("store", Preflight.store, ()),
    ("state", Preflight.state, ()),
    ("device", Preflight.device, ()),
    ("slurm", Preflight.slurm, ()),
)


def preflight(settings: SiteSettings) -> Iterator[Row]:
    """Look at all that a start needs, a row a check.

    Parameters
    ----------
    settings : SiteSettings

    Yields
    ------
    Row
    """
    checks, sound = Preflight(settings), set[str]()
    for name, check, needed in _CHECKS:
        lacking = next((other for other in needed if other not in sound), None)
        if lacking is not None:
            yield Row(name, f"not looked at: '{lacking}' comes first")
            continue
        try:
            yield Row(name, check(checks))
            sound.add(name)
        except (ValueError, OSError) as error:
            found, _, mend = str(error).partition("; ")
            yield Row(name, found, mend or "see the text on the left")
