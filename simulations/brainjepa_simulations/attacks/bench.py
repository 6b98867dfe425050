"""The bench: attacks one after the other, and what they found as a table, JSON and a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from brainjepa_core.machine.processors import use_threads
from brainjepa_simulations.attacks.attack import Row
from brainjepa_simulations.attacks.registry import ATTACKS
from brainjepa_simulations.attacks.scene import Scene
from brainjepa_simulations.scenario import Scenario


@dataclass(frozen=True)
class Found:
    """What an attack of the bench found.

    Attributes
    ----------
    name, tries : str
        Of the attack.
    rows : tuple of Row
    """

    name: str
    tries: str
    rows: tuple[Row, ...]

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        rows = [{**vars(row), "held": row.held} for row in self.rows]
        return {"attack": self.name, "tries": self.tries, "rows": rows}


def require_attacks(names: Sequence[str]) -> tuple[str, ...]:
    """Names of attacks that are wanted, in the bench's order; all of them where none is named.

    Raises
    ------
    ValueError
        If there is no such attack.
    """
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise ValueError(
            f"expected attacks among {', '.join(ATTACKS)}, found '{unknown[0][:40]}'; "
            "correct the name"
        )
    return tuple(name for name in ATTACKS if not names or name in names)


def run_bench(
    scenario: Scenario, names: Sequence[str], began: Callable[[str], object] = lambda _: None
) -> Iterator[Found]:
    """Let attacks run, on made-up people in a folder that goes away.

    Parameters
    ----------
    scenario : Scenario
        Of a synthetic cohort.
    names : sequence of str
        Of `ATTACKS`.
    began : callable
        Told the name of each attack as it begins.

    Yields
    ------
    Found
        Of each attack as it ends.

    Raises
    ------
    ValueError
        If the scenario's people are not made up.
    """
    use_threads(scenario.threads)  # of networks this small, more are slower
    with TemporaryDirectory(prefix="brainjepa-attacks-") as folder:
        scene = Scene(scenario, Path(folder))
        for name in names:
            began(name)
            attack = ATTACKS[name]
            yield Found(name, attack.tries, tuple(attack.found(scene)))


def broken(found: Sequence[Found]) -> list[str]:
    """What a protection let through that it promises to keep, in words."""
    return [
        f"{one.name}: {row.what} {row.found:.3g} with {row.protection}, at most {row.at_most:g}"
        for one in found
        for row in one.rows
        if not row.held
    ]
