"""A study from its YAML to its page: data, models, what they are asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from brainjepa_core.atlas import Atlas, load_atlas
from brainjepa_core.evaluation.comparison import CACHE, EvaluationPlan
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.origin import claim_folder, digest
from brainjepa_core.pretraining.model_windows import read_windows
from brainjepa_core.problems import counted
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_simulations.cohort.stores import write_cohort
from brainjepa_simulations.engines.virtual_sites import STORES, open_data
from brainjepa_simulations.paper_studies.asking import ask
from brainjepa_simulations.paper_studies.attention import look
from brainjepa_simulations.paper_studies.budget import Budget, Cost, measured_speed
from brainjepa_simulations.paper_studies.found import Asked, Found, write_table
from brainjepa_simulations.paper_studies.made_vectors import MADE_UP, make_vectors
from brainjepa_simulations.paper_studies.models import (
    Name,
    names_of,
    people_of_share,
    train,
    train_together,
    windows_to_train,
)
from brainjepa_simulations.paper_studies.page import write_study_page
from brainjepa_simulations.paper_studies.settings import PaperStudy, load_study, study_file
from brainjepa_simulations.paper_studies.sides import directions

MODELS, TABLES, TOGETHER = "models", "tables", "together"
Say = Callable[[str], None]
Sizes = tuple[tuple[str, str], ...]


class Run:
    """A study with its data, in a folder.

    Parameters
    ----------
    study : PaperStudy
    folder : Path
        Where YAML files of its tasks start.
    data : Path, optional
        Folder of stores or site archives; the study's made-up people without.
    out : Path
    device : str
    minutes : float
        That the training of one model may take.
    say : callable
        Told what is done, in one line.
    """

    def __init__(
        self,
        study: PaperStudy,
        folder: Path,
        data: Path | None,
        out: Path,
        device: str = "cpu",
        minutes: float = 30.0,
        say: Say = lambda _: None,
    ) -> None:
        self.study, self.out, self.device, self.say = study, out, device, say
        self.tasks = study.read_tasks(folder)
        told = {
            "study": study.model_dump(mode="json", exclude={"published", "title", "asks"}),
            "data": "made up" if data is None else "named",
        }
        claim_folder(out, told, (MODELS, TABLES, TOGETHER, STORES, CACHE))
        paths = (
            write_cohort(study.cohort, out / STORES, atlas=_names(study))
            if data is None
            else open_data(data, out / STORES)
        )
        self.stores = [ScanStore.open(path) for path in paths]
        if data is None and study.kind == "fusion":
            for store in self.stores:
                make_vectors(store, out / f"{MADE_UP}.tsv")
        first = study.pretraining_of(next(iter(study.variants)))
        shapes = [study.pretraining_of(name).model_settings(rois=1) for name in study.variants]
        self.windows = read_windows(shapes, self.stores, first.windows)
        self.budget = Budget(minutes, measured_speed(device))

    def found(self) -> Found:
        """Everything of the study's page."""
        if self.study.kind == "transfer":
            return self._transferred()
        if self.study.kind == "consortium":
            models, sizes = self._together()
        else:
            models, sizes = self._trained()
        self._require_any(models)
        if self.study.kind == "attention":
            (model,) = models.values()
            return replace(look(self.tasks[0], model, self.windows, self.study.people), sizes=sizes)
        return Found(self._asked(models), sizes)

    def _trained(self) -> tuple[dict[str, BrainModel], Sizes]:
        """Models by variant, and what each is; those that cost too much are told and left out."""
        models, sizes = {}, []
        for name, variant in self.study.variants.items():
            settings = self.study.pretraining_of(name)
            if settings.basis.kind == "centroids" and not self._places_are_known():
                sizes.append((name, "Left out: no atlas tells where these ROIs are"))
                continue
            people = people_of_share(self.windows, variant.share, settings.training.seed)
            model, size = self._model(name, name, people)
            sizes.append((name, size))
            if model is not None:
                models[name] = model
        return models, tuple(sizes)

    def _together(self) -> tuple[dict[str, BrainModel], Sizes]:
        models, costs = train_together(
            self.study, self.stores, self.out / TOGETHER, self.device, self.budget, self.say
        )
        return models, tuple((name, _size(*cost)) for name, cost in costs.items())

    def _require_any(self, models: Collection[object]) -> None:
        if not models:
            raise ValueError(
                f"expected a model that takes at most {self.budget.minutes:g} minutes, found none; "
                "give more --minutes, or smaller settings in a YAML of your own"
            )

    def _places_are_known(self) -> bool:
        atlas = self.windows.atlas
        return atlas.centroids is not None or set(atlas.rois) <= set(load_atlas().rois)

    def _model(self, variant: str, run: str, people: list[Name]) -> tuple[BrainModel | None, str]:
        settings = self.study.pretraining_of(variant)
        windows = windows_to_train(settings, self.stores, people)
        self.say(f"{run}: {counted(windows.subjects, 'person', 'people')}")
        model, cost = train(
            settings, windows, self.out / MODELS / _folder(run), self.device, self.budget
        )
        size = _size(cost, windows.subjects)
        if model is None:
            size += f". Left out: more than the {self.budget.minutes:g} that a training may take"
            self.say(f"{run}: {size}")
        return model, size

    def _asked(self, models: Mapping[str, BrainModel]) -> tuple[Asked, ...]:
        found = []
        for task in self.tasks:
            plan = EvaluationPlan(
                task, self.study.protocol, models, self.study.finetune, device=self.device
            )
            out = self._table(task.name, models)
            found.append(
                ask(self.study, plan, self.windows, out, self.out / CACHE, task.name, self.say)
            )
        return tuple(found)

    def _transferred(self) -> Found:
        (variant,) = self.study.variants
        asked, sizes = [], []
        for direction in directions(self.windows, self.study.sides):
            model, size = self._model(variant, direction.name, list(direction.training))
            sizes.append((direction.name, size))
            if model is None:
                continue
            across = direction.across
            sites = tuple(sorted({site for site, _ in names_of(across.windows)}))
            protocol = ProtocolSettings(kind="transfer", seeds=1, test_sites=sites)
            for task in self.tasks:
                plan = EvaluationPlan(
                    task, protocol, {variant: model}, self.study.finetune, device=self.device,
                    across=across,
                )  # fmt: skip
                title = f"{task.name}, {direction.name}"
                out = self._table(f"{task.name} {direction.name}", {variant: model})
                cache = self.out / CACHE
                asked.append(ask(self.study, plan, across.windows, out, cache, title, self.say))
        self._require_any(asked)
        return Found(tuple(asked), tuple(sizes))

    def _table(self, name: str, models: Mapping[str, BrainModel]) -> Path:
        """A folder of its own for each set of models: with more minutes there may be more."""
        return self.out / TABLES / f"{_folder(name)}-{digest(sorted(models))[:8]}"


def _names(study: PaperStudy) -> Atlas | None:
    """Of made-up ROIs: some of the shipped atlas, spread over it, or their own."""
    if not study.named_as_atlas:
        return None
    atlas, count = load_atlas(), study.cohort.rois
    return atlas.take([atlas.rois[i * len(atlas) // count] for i in range(count)])


def _size(cost: Cost, people: int) -> str:
    return (
        f"{cost.parameters / 1e6:.3g} million parameters, {cost.tokens} tokens, "
        f"{counted(cost.steps, 'step')}, {counted(people, 'person', 'people')}; about "
        f"{cost.minutes:.2g} minutes here"
    )


def _folder(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name).split())


def run_paper_study(
    name: str, data: Path | None, out: Path, device: str, minutes: float, say: Say = lambda _: None
) -> tuple[Found, Path]:
    """Run a study by its name or file; returns what was found, and its page.

    Raises
    ------
    ValueError
        If there is no such study, or data and tasks do not fit one another.
    """
    study = load_study(name)
    run = Run(study, study_file(name).parent, data, out, device, minutes, say)
    found = run.found()
    write_table(out, found)
    return found, write_study_page(out, study, found, run.windows, data is None)
