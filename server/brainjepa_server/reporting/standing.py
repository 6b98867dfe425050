"""How the federation's model stands beside another, and whether that may be chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from brainjepa_core.problems import counted
from brainjepa_server.record.gains import FEWEST, Gain

ALIKE = 0.01  # differences in R2 below this are called none
OF_SITES = (
    "In brackets: by how much R² on a site's own people is ahead, the mean over the sites that "
    "tell of both models, each counted once, and its 95 % interval (Student's t): how far other "
    "hospitals may differ. A difference whose interval holds 0 may be chance; one under "
    f"{ALIKE} is called none."
)


@dataclass(frozen=True)
class Standing:
    """The federation's model beside another, in one outcome.

    Attributes
    ----------
    own, other : float
        R2 of both.
    gain : Gain or None
        One less the other at the sites, where they told of both.
    """

    own: float
    other: float
    gain: Gain | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the mean over sites; None of too few of them."""
        known = self.gain
        if known is None or known.low is None or known.high is None:
            return None
        return known.low, known.high

    @property
    def sign(self) -> int:
        """1 ahead, -1 behind, 0 where neither can be told."""
        if self.gain is None or self.gain.mean is None or self.interval is None:
            return int(self.own - self.other >= ALIKE) - int(self.other - self.own >= ALIKE)
        (low, high), mean = self.interval, self.gain.mean
        return int(low > 0 and mean >= ALIKE) - int(high < 0 and mean <= -ALIKE)

    def __str__(self) -> str:
        """What a site gains, with its interval; empty where that is not known."""
        if self.gain is None or self.interval is None:
            return ""
        low, high = self.interval
        sites = counted(self.gain.sites, "site")
        return f"{self.gain.mean:+.3f}, 95 % {low:+.3f} to {high:+.3f}, {sites}"


def worth(beside_random: Mapping[str, Standing]) -> str:
    """Whether training was worth it, by outcome beside random weights."""
    if not beside_random:
        return "Whether training was worth it is not known: random weights were not measured."
    better = [o for o, one in beside_random.items() if one.sign > 0]
    unclear = [o for o, one in beside_random.items() if one.sign == 0 and one.interval]
    others = [o for o in beside_random if o not in (*better, *unclear)]
    parts = [f"of {_named(unclear, beside_random)} that is not clear"] if unclear else []
    if others:
        parts.append(f"of {_named(others, beside_random)} random weights do as well or better")
    if better:
        told = "The federated model tells more than random weights do of "
        return "; ".join([f"{told}{_named(better, beside_random)}", *parts]) + "."
    clearly = "clearly " if unclear else ""
    if unclear:
        parts[0] = f"of {_named(unclear, beside_random)} a gain cannot be told from chance"
    return f"Training was not {clearly}worth it by this yardstick: {'; '.join(parts)}."


def beside_pooled(standings: Mapping[str, Standing]) -> str:
    """Whether the federation reaches what all data in one place do; empty without intervals."""
    known = {outcome: one for outcome, one in standings.items() if one.interval}
    words = {1: "more", 0: "neither clearly more nor less", -1: "less"}
    parts = [
        f"{word} of {_named(outcomes, known)}"
        for sign, word in words.items()
        if (outcomes := [o for o, one in known.items() if one.sign == sign])
    ]
    return f"Beside training on all data in one place it tells {'; '.join(parts)}." if parts else ""


def how_sure(standings: Sequence[Standing]) -> str:
    """What the intervals are, or why there are none."""
    if any(one.interval for one in standings):
        return OF_SITES
    why = too_few(standings) or "No interval is known, since people's values stay at their sites"
    return (
        f"{why}: differences under {ALIKE} are called none, and where few people are held out "
        "larger ones may be chance."
    )


def too_few(standings: Iterable[Standing]) -> str:
    """That sites are too few for any interval; empty where they are not, or nothing is told."""
    sites = max((one.gain.sites for one in standings if one.gain is not None), default=0)
    if not 0 < sites < FEWEST:
        return ""
    return f"Too few sites for an interval ({sites} told of both models; it takes {FEWEST})"


def _named(outcomes: Sequence[str], standings: Mapping[str, Standing]) -> str:
    """``latents (+0.040, 95 % +0.010 to +0.070, 12 sites) and connectivity``."""
    told = [f"{o} ({standings[o]})" if str(standings[o]) else o for o in outcomes]
    return " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:])))
