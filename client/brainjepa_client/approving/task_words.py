"""What a contract asks about tasks and training, in the data manager's words."""

from __future__ import annotations

from typing import Any

from brainjepa_core.evaluation.tasks.settings import Rule, TaskSettings
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.contract import Contract, TaskQuestion
from brainjepa_core.wire.messages import Want

LEAVES: dict[Want, str] = {
    "scores": "metrics of probes that are trained and tested on its people here",
    "sums": "sums over its people of embeddings and outcomes, fold by fold, where they are enough",
    "newton": "sums over its people for a step of a logistic probe, where they are enough",
    "probe": "weights of a probe of its people alone",
    "judge": "how far given probes are off for its people",
}


def tasks_in_words(contract: Contract) -> list[str]:
    """Each task of a contract: of whom and what it is, and what leaves how often.

    Parameters
    ----------
    contract : Contract
    """
    lines: list[str] = []
    told: TaskSettings | None = None
    for question in contract.tasks:
        if question.probe.task != told:
            told = question.probe.task
            lines.append(_told(told))
        lines.append(f"  {_leaves(question)}")
    return lines


def phenotypes_in_words(study: PretrainingSettings) -> list[str]:
    """What training reads of people beside their scans; nothing where it reads scans alone."""
    told = [
        f"'{phenotype.column}' ({_learned_as(phenotype)})"
        for phenotype in study.model_settings(rois=2).learned_phenotypes
    ]
    if not told:
        return []
    return [
        f"training reads phenotypes of its people, as far as the policy allows "
        f"(policy.task_columns) and enough of them have one: {', '.join(told)}"
    ]


def volumes_in_words(study: PretrainingSettings, store: ScanStore) -> list[str]:
    """That training reads volumes, and of how many scans a store has them; else nothing."""
    volumes = study.model_settings(rois=2).volumes
    if volumes is None:
        return []
    of_scans = [record.volumes for record in store.records]
    having = sum(found is not None and found.grid == volumes.grid for found in of_scans)
    mend = (
        ""
        if having
        else (
            ": it can take no part until its store is made with them, in another folder "
            "(prepare.volumes)"
        )
    )
    return [
        f"training reads volumes of scans ({volumes.grid}) beside their series, which "
        f"{having} of {counted(len(of_scans), 'scan')} here have{mend}"
    ]


def _learned_as(phenotype: Any) -> str:
    if phenotype.classes is None:
        return f"a number about {phenotype.mean:g}, by {phenotype.sd:g}"
    return " against ".join(", ".join(map(str, values)) for values in phenotype.classes)


def _told(task: TaskSettings) -> str:
    """A task: the column, who takes part, and how many are told."""
    parts = [f"task '{task.name}': {_outcome(task)} of column '{task.column}'"]
    parts += [f"of people with {_rule(rule)}" for rule in task.include]
    if task.covariates:
        parts.append(f"adjusted for {', '.join(task.covariates)}")
    told = "are of each class" if task.classes else "take part"
    return f"{', '.join(parts)}; how many people {told} is told with every answer, rounded down"


def _outcome(task: TaskSettings) -> str:
    if not task.classes:
        return "the number"
    classes = (f"{name} ({', '.join(map(str, values))})" for name, values in task.classes.items())
    return " against ".join(classes)


def _rule(rule: Rule) -> str:
    """Who takes part."""
    if rule.one_of is not None:
        return f"'{rule.column}' of {', '.join(map(str, rule.one_of))}"
    bounds = [f"at least {rule.least:g}"] if rule.least is not None else []
    bounds += [f"at most {rule.most:g}"] if rule.most is not None else []
    return f"'{rule.column}' {' and '.join(bounds) or 'known'}"


def _leaves(question: TaskQuestion) -> str:
    probe = question.probe
    pools = ", ".join(probe.pools)
    times = "once" if question.times == 1 else f"at most {counted(question.times, 'time')}"
    return f"asked {times}: {LEAVES[probe.want]} ({probe.want} of {pools})"
