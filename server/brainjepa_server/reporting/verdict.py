"""Was it worth it? A study's yardstick in one comparison and a few plain words on each outcome."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.evaluation.yardstick import LATENT_CONNECTIVITY
from brainjepa_core.privacy.budget import words
from brainjepa_core.problems import counted
from brainjepa_core.wire.messages import OTHER_HALF
from brainjepa_server.record.gains import gain
from brainjepa_server.record.history import (
    FEDERATED,
    POOLED,
    RANDOM,
    START,
    RoundRecord,
    RunHistory,
    YardstickRow,
    is_alone,
)
from brainjepa_server.reporting.standing import (
    ALIKE,
    Standing,
    beside_pooled,
    how_sure,
    too_few,
    worth,
)

BUDGETS = (
    "What a person's site has spent in other studies is in its own ledger (brainjepa site budget); "
    "somebody who is at two sites spends at both."
)
UNKNOWN = (
    "It is not known what the model learned: under differential privacy (protect: dp) no loss and "
    "no score leaves a site."
)
OF_HELD_OUT = "They are of people of the held-out fold, whom no site trained on."
OWN_PROBES = (
    "Sites with fewer than five people a feature send no sums of them: where most do, figures are "
    "means over the sites of R2 that each found by itself with probes of its own people, tested on "
    "those whom a probe had not seen; the model was trained on most of them."
)
OF_WINDOWS = (
    "R² of the other half of a scan is what one window tells of it at each site by itself: of "
    "people of the held-out fold, whom no site trained on, with scales of the site's other people; "
    "means over the sites that have enough of them. Before training a person JEPA is plain "
    "connectivity."
)
OUTCOMES = (OTHER_HALF, "connectivity", "latents", "age within site")  # as they are told
POOLS = (HEADLINE, "mean")  # the first measured is told of


@dataclass(frozen=True)
class Comparison:
    """The yardstick's rows of one study, those of the final model first.

    Attributes
    ----------
    rows : tuple of YardstickRow
    round : int or None
        The round that the federated rows are of, where it is known.
    """

    rows: tuple[YardstickRow, ...]
    round: int | None = None

    @classmethod
    def of(cls, history: RunHistory) -> Comparison:
        """Rows of the final comparison, completed by those of the best (else last) evaluation."""
        known = {row.model for row in history.baselines}
        if FEDERATED in known:
            found = _federated(history.baselines)
            rounds = [r.number for r in history.rounds if _federated(r.yardstick) == found]
            return cls(history.baselines, rounds[-1] if rounds else None)
        record = _evaluated(history)
        if record is None:
            return cls(history.baselines)
        rows = tuple(row for row in record.yardstick if row.model not in known)
        return cls((*rows, *history.baselines), record.number)

    def round_text(self, history: RunHistory) -> str:
        """Which round the federated rows are of, and whether it was picked by its result."""
        evaluated = sum(bool(record.yardstick) for record in history.rounds)
        text = f"after round {self.round}"
        if self.round == history.best_round and evaluated > 1:
            text += f", the best of {evaluated} by this yardstick, which flatters it a little"
        return text

    @cached_property
    def outcomes(self) -> list[str]:
        """Outcomes that were measured, in the order in which they are told."""
        return _ordered((row.outcome for row in self.rows), OUTCOMES)

    def pools_of(self, outcome: str) -> list[str]:
        """Pools that an outcome was measured from, in their order of appearance."""
        return list(dict.fromkeys(row.pool for row in self.rows if row.outcome == outcome))

    @property
    def pool(self) -> str | None:
        """The pool that the verdict is about, fixed beforehand rather than picked by its result."""
        ordered = _ordered((r.pool for r in self.rows if r.outcome != OTHER_HALF), POOLS)
        return ordered[0] if ordered else None

    def pool_of(self, outcome: str) -> str | None:
        """The pool that the verdict on an outcome is about: the other half has one of its own."""
        return LATENT_CONNECTIVITY if outcome == OTHER_HALF else self.pool

    def r2(self, model: str, pool: str | None, outcome: str | None) -> float | None:
        """R2 of a model; None where not measured."""
        found = self._row(model, pool, outcome)
        return None if found is None else found.r2

    def beside(self, model: str, pool: str | None, outcome: str | None) -> float | None:
        """R2 of another model than the federation's, where both were found in one way."""
        found, own = (self._row(name, pool, outcome) for name in (model, FEDERATED))
        alike = found is not None and own is not None and found.own_probes == own.own_probes
        return found.r2 if found is not None and alike else None

    def standing(self, model: str, pool: str | None, outcome: str) -> Standing | None:
        """The federation's model beside another, where both were found in one way."""
        own, found = (self._row(name, pool, outcome) for name in (FEDERATED, model))
        other = self.beside(model, pool, outcome)
        if own is None or own.r2 is None or found is None or other is None:
            return None
        return Standing(own.r2, other, gain(own, found))

    def standings(self, model: str) -> dict[str, Standing]:
        """By outcome, from the pool that the verdict is about."""
        found = {o: self.standing(model, self.pool_of(o), o) for o in self.outcomes}
        return {outcome: one for outcome, one in found.items() if one is not None}

    def of_own_probes(self, pool: str | None) -> bool:
        """Whether sites' own probes say what the federation's model tells."""
        rows = [r for r in self.rows if (r.model, r.pool) == (FEDERATED, pool)]
        return any(row.own_probes for row in rows)

    def _row(self, model: str, pool: str | None, outcome: str | None) -> YardstickRow | None:
        key = (model, pool, outcome)
        return next((r for r in self.rows if (r.model, r.pool, r.outcome) == key), None)

    def r2_at_sites(self, model: str, pool: str | None, outcome: str | None) -> float | None:
        """Median over sites of R2 on their own people; None where not measured."""
        found = self._row(model, pool, outcome)
        return None if found is None else found.r2_at_sites

    def alone(self, pool: str | None, outcome: str | None) -> list[float]:
        """R2 of every site alone."""
        models = {r.model for r in self.rows if is_alone(r.model)}
        found = [self.beside(model, pool, outcome) for model in sorted(models)]
        return [value for value in found if value is not None]


def verdict(history: RunHistory) -> list[str]:
    """What the federation achieved, in plain words and as plain text.

    Returns
    -------
    list of str
        How far training is; whether it was worth it; a sentence on each outcome; what is not known.
    """
    comparison = Comparison.of(history)
    pool = comparison.pool
    if history.is_private:
        return [_progress(history), UNKNOWN, *promise(history)]
    own = {
        outcome: comparison.r2(FEDERATED, comparison.pool_of(outcome), outcome)
        for outcome in comparison.outcomes
    }
    if all(value is None for value in own.values()):
        return [
            _progress(history),
            "Nothing has been measured on held-out people yet, so it is not known whether "
            "the model learned anything: a falling loss does not tell.",
        ]
    own_probes = comparison.of_own_probes(pool)
    random, pooled = comparison.standings(RANDOM), comparison.standings(POOLED)
    few = too_few(random.values())
    answer = [worth(random), beside_pooled(pooled), f"{few}." if few else ""]
    of_round = "" if comparison.round is None else f" {comparison.round_text(history)}"
    return [
        _progress(history),
        " ".join(filter(None, answer)),
        *(_outcome(comparison, outcome, value) for outcome, value in own.items()),
        f"All of it is of the model{of_round}{_read_from(pool, own, own_probes)}.",
        *([OWN_PROBES] if own_probes else []),
        *([OF_WINDOWS] if OTHER_HALF in own else []),
        how_sure([*random.values(), *pooled.values()]),
        _not_compared(comparison),
    ]


def promise(history: RunHistory) -> list[str]:
    """What people of a study under ``protect: dp`` are promised, a sentence each."""
    privacy = history.settings["privacy"]
    if not any(epsilon is not None for epsilon in history.promised.values()):
        return ["No site has told of its people yet, so that no epsilon is known.", BUDGETS]
    honest = privacy.get("honest_sites")
    shared = f" if at least {honest} sites of each sum follow the protocol" if honest else ""
    alone = (
        [f"If a site is the only one that does: {_each(history.promised_alone)}."] if honest else []
    )
    return [
        f"Differential privacy that the contract promises, epsilon at delta {privacy['delta']:g} "
        f"of the whole study's training{shared}, to {_each(history.promised)}.",
        *alone,
        BUDGETS,
    ]


def _each(epsilons: Mapping[str, float | None]) -> str:
    """``each person of Lyon, Graz: 8``, sites of one epsilon together."""
    known = {site: epsilon for site, epsilon in epsilons.items() if epsilon is not None}
    sites = {
        epsilon: [site for site in sorted(known) if known[site] == epsilon]
        for epsilon in known.values()
    }
    return "; ".join(f"each person of {', '.join(names)}: {words(e)}" for e, names in sites.items())


def _read_from(pool: str | None, told: Iterable[str], own_probes: bool) -> str:
    """How outcomes are read from the model; the other half is read from no pool of its vectors."""
    if pool is None:
        return ""
    whose = "each site" if own_probes else "people that no site trained on"
    half = f"; that of {OTHER_HALF} is not" if OTHER_HALF in told else ""
    return f", read from the pool “{pool}” by ridge probes of {whose}{half}"


def _outcome(comparison: Comparison, outcome: str, own: float | None) -> str:
    if own is None:
        return f"{outcome}: not known; the outcome does not vary, or the model was not measured."
    pool = comparison.pool_of(outcome)
    told = f"explains {own:.0%} of the differences" if own >= ALIKE else "tells nothing"
    at_sites = comparison.r2_at_sites(FEDERATED, pool, outcome)
    own_people = "" if at_sites is None else f"; at the median site {at_sites:.3f}"
    parts = [f"{outcome}: {told} (R² {own:.3f}{own_people})"]
    for model, what in (
        (RANDOM, "random weights"),
        (START, "the model that the study started from"),
        (POOLED, "training on all data in one place"),
    ):
        if (standing := comparison.standing(model, pool, outcome)) is not None:
            sure = f" (at a site {standing})" if str(standing) else ""
            parts.append(_against(own, standing.other, what) + sure)
    alone = comparison.alone(pool, outcome)
    if alone:
        mean = sum(alone) / len(alone)
        ahead = sum(own - value >= ALIKE for value in alone)
        told = _against(own, mean, "what sites reach alone, on average")
        parts.append(f"{told}, clearly ahead of {ahead} of {len(alone)} sites")
    return "; ".join(parts) + "."


def _against(own: float, other: float, what: str) -> str:
    gain = own - other
    if abs(gain) < ALIKE:
        return f"about as well as {what} (R² {other:.3f}, difference {gain:+.3f})"
    return f"{'ahead of' if gain > 0 else 'behind'} {what} (R² {other:.3f}) by {abs(gain):.3f}"


def _not_compared(comparison: Comparison) -> str:
    models = {row.model for row in comparison.rows}
    missing = [] if RANDOM in models else ["random weights"]
    missing += [] if any(map(is_alone, models)) else ["sites alone"]
    missing.append("plain connectivity, which brainjepa evaluate puts beside the model")
    return f"Not compared with {_and(missing)}."


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _progress(history: RunHistory) -> str:
    done = len(history.rounds)
    if not done:
        return "Training has not begun."
    of = f" of {history.total_rounds}" if history.total_rounds else ""
    text = f"Rounds done: {done}{of}, with {counted(len(history.used_sites), 'site')}"
    rejected = sum(len(record.rejected) for record in history.rounds)
    replies = "reply was" if rejected == 1 else "replies were"
    return f"{text}; {rejected} {replies} left out." if rejected else f"{text}."


def _federated(rows: Iterable[YardstickRow]) -> list[YardstickRow]:
    return [row for row in rows if row.model == FEDERATED]


def _evaluated(history: RunHistory) -> RoundRecord | None:
    """The best round if it was evaluated, else the last one that was."""
    found = {record.number: record for record in history.rounds if record.yardstick}
    if history.best_round in found:
        return found[history.best_round]
    return found[max(found)] if found else None


def _ordered(names: Iterable[str], first: tuple[str, ...]) -> list[str]:
    distinct = list(dict.fromkeys(names))
    return sorted(distinct, key=lambda name: first.index(name) if name in first else len(first))
