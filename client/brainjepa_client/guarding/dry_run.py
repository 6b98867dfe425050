"""What would leave this site, found out by asking it: the site's own code answers every message.

Nothing here lists what a reply holds. A request like the coordinator's is made, with random weights
of the study's model, and `Site.answer` answers it from the site's store, with a temporary folder
in place of the site's state and log. So the table of a dry run cannot differ from what is sent.

Two things are made smaller, for time, on which no name, dtype or shape depends: training takes one
step of two people and windows of at most four patches; evaluation runs over windows of two patches
a model of one block that is as wide as the study's.

An evaluation of a task is listed by what it asks for. The task is one of two classes if the store
has a column of two values, since that is the most that a task has a site send, else age.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from brainjepa_client.answering.at_hand import AtHand
from brainjepa_client.answering.site import LOG, Site
from brainjepa_client.guarding.dry_run_masked import masked_rows
from brainjepa_client.guarding.dry_run_rows import ReplyPart, message_of, rows_of
from brainjepa_client.guarding.exactness import require_exact_enough
from brainjepa_client.guarding.policy import Refusal, require_allowed
from brainjepa_client.guarding.policy_lines import policy_lines
from brainjepa_client.judging.yardstick import sample_of
from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.arrays import Arrays, Float64
from brainjepa_core.evaluation.measure import HEADLINE, networks_of
from brainjepa_core.evaluation.readout.log_connectivity import components_of
from brainjepa_core.evaluation.site_people import halves_of
from brainjepa_core.evaluation.splits import folds_of_windows
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.pretraining.computing.settings import EXACT
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import basis_of_sum, connectivity_sum
from brainjepa_core.privacy.budget import Budget
from brainjepa_core.privacy.study import StudyPrivacy
from brainjepa_core.settings import read_settings
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import (
    COMPONENTS,
    COSKEWNESS,
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    OF_OTHER_HALF,
    TRAIN,
    WANTS,
    Assignment,
    ProbeRequest,
    Reply,
    Request,
    Wire,
)

YARDSTICK_COMPONENTS = 20  # of connectivity, that a coordinator asks for
PATCHES = 4  # of a window in a dry run's training
EVALUATED_PATCHES = 2  # of one alone, the covariance over time is zero
SHALLOW = {"depth": 1, "predictor_depth": 1, "mlp_ratio": 0.25}  # of what a family has
LEAST_OF_A_CLASS = 5  # people, without whom a column is no task


@dataclass(frozen=True)
class DryRun:
    """All that would leave a site in a study.

    Attributes
    ----------
    site : str
        Its name.
    wire : {"fp32", "bf16", "int8"}
    rows : tuple of ReplyPart
        In the order of messages and of what they hold.
    errors : dict of str to str
        By message, what went wrong at the site. For its own eyes: it never leaves.
    """

    site: str
    wire: Wire
    rows: tuple[ReplyPart, ...]
    errors: dict[str, str] = field(default_factory=dict)


def dry_run(
    site: Path,
    study: PretrainingSettings | None = None,
    wire: Wire = "fp32",
    contract: Contract | None = None,
) -> DryRun:
    """Ask a site everything a coordinator would ask, and list the answers.

    Nothing is sent, and nothing at the site changes: optimiser state and log lines go to a
    temporary folder.

    Parameters
    ----------
    site : Path
        YAML of the site.
    study : PretrainingSettings, optional
        By default the default one. It is asked for with averaged target encoders and sums of
        co-skewness, which is the most that a study has sites send, and five folds.
    wire : {"fp32", "bf16", "int8"}
        How weights travel.
    contract : Contract, optional
        Its study and wire count instead; answers are listed as they leave within secure sums, step
        by step, where it says so.

    Returns
    -------
    DryRun

    Raises
    ------
    ValueError
        If the YAML or the store cannot be used, or the contract is without this site.
    """
    own = read_settings(site, SiteSettings)
    # What leaves is the same however it is computed; compiling would take minutes.
    settings = own.here().model_copy(update={"computing": EXACT})
    protect, coskewness = None, True
    if contract is not None:
        study, wire = contract.assignment.pretraining, contract.assignment.wire
        protect, coskewness = contract.assignment.protect, contract.assignment.coskewness
    if protect is not None:  # what is masked has to be answered first, as sums of all sites are
        alone = {"require_secure_sum": False, "min_people_a_feature": 0}
        policy = settings.policy.model_copy(update=alone)
        settings = settings.model_copy(update={"policy": policy})
    lines = policy_lines(site, settings.policy)
    store = ScanStore.open(settings.store)
    study, rows = study or PretrainingSettings(), list[ReplyPart]()
    errors: dict[str, str] = {}
    for request in requests(store, study, wire, settings.policy.privacy_budget, coskewness):
        if protect is not None and request.assignment.probe is not None:
            continue  # no contract asks for tasks within secure sums
        with tempfile.TemporaryDirectory() as folder:
            state = Path(folder)
            here = settings.model_copy(update={"state": state})
            reply = _answer(here, own, request, study, lambda: len(store.atlas))
            if OF_OTHER_HALF[0] in reply.metrics and not _tells_other_half(
                store, study, settings.policy
            ):
                reply = _without_other_half(reply)
            message = message_of(request)
            found = list(rows_of(message, reply, lines))
            if reply.refusal and not found[0].policy:
                errors[message] = (state / LOG).read_text(encoding="utf-8").splitlines()[-1]
        if contract is not None and protect is not None and _is_masked(request, reply):
            found = masked_rows(settings.name, contract, request, reply, lines)
        rows += found
    return DryRun(settings.name, wire, tuple(rows), errors)


def _tells_other_half(store: ScanStore, study: PretrainingSettings, policy: PolicySettings) -> bool:
    """Whether halves of scans hold the study's windows, which are longer than those read here."""
    assignment = Assignment(study_id="dry-run", pretraining=study, steps=1)
    windows = study.windows_of([store])
    folds = folds_of_windows(windows, study.training.seed, assignment.folds)
    chosen = sample_of(windows, folds, assignment)
    tested = folds[chosen] == assignment.held_out_fold
    sample = windows.only(chosen.tolist())
    return halves_of(sample, tested, policy.min_people_in_sum) is not None


def _without_other_half(reply: Reply) -> Reply:
    """The reply of a site whose windows are too long for the halves of its scans."""
    kept = {name: value for name, value in reply.metrics.items() if name not in OF_OTHER_HALF}
    return replace(reply, metrics=kept)


def _is_masked(request: Request, reply: Reply) -> bool:
    return request.kind != DESCRIBE and not reply.refusal


def _answer(
    settings: SiteSettings,
    own: SiteSettings,
    request: Request,
    study: PretrainingSettings,
    rois: Callable[[], int],
) -> Reply:
    """The site's reply, or its own refusal of the same request about the study in its own size."""
    whole = request.assignment.model_copy(update={"pretraining": study})
    try:
        require_allowed(settings.policy, Request(request.kind, whole), lambda: sys.maxsize, rois)
        if request.kind == TRAIN:
            require_exact_enough(own, whole)
    except Refusal as refusal:
        return Reply(refusal=str(refusal))
    return Site(settings, at_hand=AtHand(keeps=False)).answer(request)


def requests(
    store: ScanStore,
    study: PretrainingSettings,
    wire: Wire,
    budget: Budget | None = None,
    coskewness: bool = True,
) -> Iterator[Request]:
    """One request of each kind, as a coordinator of `study` would send it to the store's site.

    A site with a `budget` is asked by a study under ``protect: dp`` that takes all of it, and so is
    not asked for co-skewness.
    """
    privacy = None if budget is None else StudyPrivacy.taking(budget)
    coskewness = coskewness and privacy is None
    windows = study.windows_of([store])
    basis, components = _consensus(windows, study)
    short = _shortened(study, PATCHES)
    less = {"model": {**study.model, **SHALLOW}}
    shallow = _shortened(study, EVALUATED_PATCHES).model_copy(update=less).of_family(study.family)

    def ask(
        kind: str, study: PretrainingSettings, arrays: Arrays, probe: ProbeRequest | None = None
    ) -> Request:
        assignment = Assignment(
            study_id="dry-run",
            pretraining=study,
            steps=1,
            wire=wire,
            probe=probe,
            privacy=privacy,
            coskewness=coskewness,
        )
        return Request(kind, assignment, arrays)

    yield ask(DESCRIBE, study, {})
    yield ask(GRADIENTS, study, {})
    yield ask(TRAIN, short, _weights(short, basis))
    weights = _weights(shallow, basis)
    yield ask(EVALUATE, shallow, {**weights, COMPONENTS: components})
    networks = int(networks_of(windows, basis.gradients).max()) + 1
    folds = ask(EVALUATE, shallow, {}).assignment.folds
    for probe, arrays in task_requests(store, networks * (networks + 1) // 2, folds):
        if coskewness and probe.want == "scores":  # any directions will do
            rois = len(store.atlas)
            arrays = {**arrays, COSKEWNESS: np.eye(rois, components_of(rois))}
        yield ask(EVALUATE, shallow, {**weights, **arrays}, probe)


def task_requests(
    store: ScanStore, features: int, folds: int
) -> Iterator[tuple[ProbeRequest, Arrays]]:
    """All that a site may be asked of a task, with probes of zeros [features] to be judged."""
    task = _a_task(store)
    outcomes = len(task.classes or ()) or 1
    name = f"probe.{HEADLINE}."
    newton = {"centre": features, "scale": features, "trial": features + 1}
    arrays: dict[str, Arrays] = {
        "judge": {
            f"{name}weights": np.zeros((1, 1, features, outcomes)),
            f"{name}intercept": np.zeros((1, 1, outcomes)),
            f"{name}range": np.ones((1, 2)),
        },
        "newton": {f"{name}{key}": np.zeros((folds + 1, width)) for key, width in newton.items()},
    }
    protocol = ProtocolSettings(kind="kfold", seeds=1, folds=2)
    for want in WANTS:
        if want != "newton" or outcomes == 2:
            probe = ProbeRequest(want=want, task=task, protocol=protocol, pools=(HEADLINE,))
            yield probe, arrays.get(want, {})


def _a_task(store: ScanStore) -> TaskSettings:
    """The store's first column of two values, of five people each, as classes; else age."""
    people = {record.subject: record.phenotypes for record in store.records}
    for column in dict.fromkeys(name for facts in people.values() for name in facts):
        values = Counter(facts.get(column) for facts in people.values())
        values.pop(None, None)
        if len(values) == 2 and min(values.values()) >= LEAST_OF_A_CLASS:
            classes = {str(number): (value,) for number, value in enumerate(values)}
            return TaskSettings(name="task", column=column, kind="classification", classes=classes)
    return TaskSettings(name="task", column="age", kind="regression")


def _consensus(windows: Windows, study: PretrainingSettings) -> tuple[ConsensusBasis, Float64]:
    """A basis [R, m] and components of connectivity [R, C] from this site's people alone.

    Where they have none, such as for want of an ROI, random ones: replies differ in numbers only.
    """
    rois, wanted = windows.atlas.rois, study.basis.components
    count = min(YARDSTICK_COMPONENTS, len(rois))
    try:
        total = connectivity_sum(windows)
        basis = basis_of_sum(total, study.basis, windows.atlas)
        return basis, connectivity_components(total.mean_fc(), count)
    except ValueError:
        rng = np.random.default_rng(0)
        gradients = rng.standard_normal((len(rois), wanted))
        basis = ConsensusBasis(tuple(rois), gradients, np.full(wanted, np.nan))
        return basis, rng.standard_normal((len(rois), count))


def _shortened(study: PretrainingSettings, patches: int) -> PretrainingSettings:
    """The study with windows of so many patches at most, and steps of at most two people.

    Weights know a patch, but not how many make a window nor how they are masked (the default
    masks fit few patches). A micro-batch of one stays one, since it gives no signs of collapse;
    windows stay whole where short scans are refused.
    """
    windows, training = study.windows, study.training
    frames = min(windows.frames, patches * study.model_settings(rois=1).patch)
    if windows.short == "refuse":
        frames = windows.frames
    size = min(2, training.batch_size // training.accumulation)
    step = {"batch_size": size, "accumulation": 1, "masks": MaskSettings()}
    return study.model_copy(
        update={
            "windows": windows.model_copy(update={"frames": frames}),
            "training": training.model_copy(update=step),
        }
    )


def _weights(study: PretrainingSettings, basis: ConsensusBasis) -> Arrays:
    """Random weights of the study's model, and its basis, by name."""
    return {name: value.numpy() for name, value in study.new_model(basis).state_dict().items()}
