"""A folder of results is reused for the same people, phenotypes, settings and models only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_models import SETTINGS

from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.comparison import (
    EvaluationPlan,
    compare_models,
    phenotypes_digest,
)
from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
from brainjepa_core.evaluation.tasks.settings import TaskSettings
from brainjepa_core.evaluation.tasks.task_data import task_data
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import consensus_basis
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows, WindowSettings

ATLAS = Atlas.from_names([f"r{i}" for i in range(6)])
TASK = {"name": "age", "column": "age", "kind": "regression"}
STUDY = PretrainingSettings.model_validate({**SETTINGS, "basis": {"components": 3}})
PEOPLE = 24


def make_windows(
    path: Path, *, people=PEOPLE, seed=0, mended=False, corrected=0.0, motion=0.1, sex="f", **other
):
    """One site; what is told is of the last person: scan, years added to the age, motion, sex.

    Other columns are everybody's, or told by lists; no task reads them.
    """
    rng = np.random.default_rng(seed)
    store = ScanStore.create(path, ATLAS)
    for person in range(people):
        last = person == people - 1
        series = rng.standard_normal((6, 3)) @ rng.standard_normal((3, 40))
        series += rng.standard_normal((6, 40))
        store.append(
            series[:, ::-1] if last and mended else series,
            subject=f"s{person:02d}",
            tr=2.0,
            qc={"mean_fd": motion if last else 0.1},
            phenotypes={
                "age": 20.0 + person + corrected * last,
                "sex": sex if last else "f",
                **{k: v[person] if isinstance(v, list) else v for k, v in other.items()},
            },
        )
    return Windows([store], WindowSettings(frames=16))


def plan(windows: Windows, seed: int = 0, **changes) -> EvaluationPlan:
    """A holdout of one seed with an untrained model."""
    study = STUDY.model_copy(update={"training": STUDY.training.model_copy(update={"seed": seed})})
    fields = {
        "task": TaskSettings.model_validate(TASK),
        "protocol": ProtocolSettings(kind="holdout", seeds=1),
        "models": {"mine": study.new_model(consensus_basis(windows, 3, 0.2)).eval()},
    }
    return EvaluationPlan(**{**fields, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    windows = make_windows(folder / "site")
    compare_models(plan(windows), windows, folder / "out")
    return folder / "out"


def refusal(out: Path, comparison: EvaluationPlan, windows: Windows) -> str:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"as the results in this folder were made from") as caught:
        compare_models(comparison, windows, out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return str(caught.value).removeprefix("expected the same ").split(" as the results")[0]


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({"corrected": 1.0}, "phenotypes"),
        ({"mended": True}, "scans"),
        ({"motion": 0.4}, "phenotypes"),
        ({"sex": "m"}, "phenotypes"),  # scores are broken down by it
        ({"seed": 1}, "models, scans"),  # the basis is the windows' own
        ({"people": PEOPLE + 1}, "models, people, phenotypes, scans, splits"),
    ],
)
def test_other_data_is_refused_by_name(done, tmp_path, changes, differ):
    windows = make_windows(tmp_path / "site", **changes)
    assert refusal(done, plan(windows), windows) == differ


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({"seed": 1}, "models"),
        ({"models": {}}, "models"),
        ({"methods": ("tangent",)}, "methods"),
        ({"protocol": ProtocolSettings(kind="holdout", seeds=2)}, "protocol.seeds, splits"),
        (
            {"task": TaskSettings.model_validate({**TASK, "subgroups": ()})},
            "phenotypes, task.subgroups",
        ),
    ],
)
def test_another_question_is_refused_by_name(done, tmp_path, changes, differ):
    windows = make_windows(tmp_path / "site")
    assert refusal(done, plan(windows, **changes), windows) == differ


def test_finetuning_and_sites_count(done, tmp_path):
    windows = make_windows(tmp_path / "site")
    text = refusal(done, plan(windows, finetune=FinetuneSettings()), windows)
    assert text.startswith("finetune, finetune.")
    windows = make_windows(tmp_path / "elsewhere")
    assert refusal(done, plan(windows), windows) == "phenotypes"  # a folder's name is the site's


def test_one_weight_and_one_setting_count(done, tmp_path):
    windows = make_windows(tmp_path / "site")
    comparison = plan(windows)
    (model,) = comparison.models.values()
    heads = PretrainingSettings.model_validate(
        {**SETTINGS, "model": {**SETTINGS["model"], "heads": 1}}
    )
    other = heads.new_model(consensus_basis(windows, 3, 0.2)).eval()
    other.load_state_dict(model.state_dict())  # the same weights, read by another network
    assert refusal(done, plan(windows, models={"mine": other}), windows) == "models"
    next(model.parameters()).data.view(-1)[0] += 1e-3
    assert refusal(done, comparison, windows) == "models"


def test_the_same_again_goes_on(done, tmp_path):
    windows = make_windows(tmp_path / "site")
    times = {path: path.stat().st_mtime_ns for path in (done / "predictions").iterdir()}
    compare_models(plan(windows), windows, done)
    assert times == {path: path.stat().st_mtime_ns for path in (done / "predictions").iterdir()}


def test_a_column_that_nothing_reads_changes_nothing(done, tmp_path):
    windows = make_windows(tmp_path / "site", handedness_note="both", iq=101.0)
    before = {path: path.read_bytes() for path in done.glob("*.tsv")}
    compare_models(plan(windows), windows, done)
    assert before == {path: path.read_bytes() for path in done.glob("*.tsv")}


@pytest.mark.parametrize("column", ["stratify", "covariates", "include", "subgroups"])
def test_a_column_that_the_task_reads_counts(tmp_path, column):
    """However it is read, and also where its values leave splits and target as they are."""
    asked = {"include": [{"column": "iq"}]}.get(column, ["iq"])
    task = TaskSettings.model_validate({**TASK, column: asked})
    for name, iq in (("a", 100.0), ("b", 101.0)):
        windows = make_windows(tmp_path / name / "site", iq=iq)
        digest = phenotypes_digest(task_data(task, windows))
        (tmp_path / name / "digest").write_text(digest)
    assert (tmp_path / "a/digest").read_text() != (tmp_path / "b/digest").read_text()


def test_people_who_change_parts_count(tmp_path):
    """Nothing else reads the column that tells who trains and who is tested."""
    task = TaskSettings.model_validate({**TASK, "subgroups": ()})
    parts = ["train"] * 14 + ["validation"] * 5 + ["test"] * 5
    protocol = ProtocolSettings(kind="column", split_column="cut")
    for name, told in (("before", parts), ("after", parts[::-1])):
        windows = make_windows(tmp_path / name / "site", cut=told)
        comparison = plan(windows, task=task, protocol=protocol, models={})
        if name == "before":
            compare_models(comparison, windows, tmp_path / "out")
    assert refusal(tmp_path / "out", comparison, windows) == "splits"


@pytest.mark.parametrize("name", ["results.html", "results.tsv", "figures", "comparisons.json"])
def test_what_an_evaluation_did_not_make_is_not_replaced(tmp_path, name):
    windows = make_windows(tmp_path / "site")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("of somebody else")
    with pytest.raises(ValueError, match=rf"origin.json beside {name}, found none"):
        compare_models(plan(windows), windows, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "of somebody else"


def test_predictions_that_do_not_say_what_they_were_made_from(tmp_path):
    windows = make_windows(tmp_path / "site")
    (tmp_path / "out" / "predictions").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"origin.json beside predictions, found none"):
        compare_models(plan(windows), windows, tmp_path / "out")
