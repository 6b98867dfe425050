"""Tasks of a study: in its contract, asked of its final model, and none of them loses that."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest
import yaml
from page_text import unexplained
from rich.console import Console
from task_sites import AGE, QUICK, SETTINGS, SEX, Consortium

from brainjepa_client.approving.contracts import Contracts
from brainjepa_client.approving.deciding import approve
from brainjepa_client.settings import SiteSettings
from brainjepa_core.evaluation.measure import HEADLINE
from brainjepa_core.settings import read_settings
from brainjepa_core.wire.contract import Contract
from brainjepa_core.wire.messages import CONTRACTS
from brainjepa_server import study as study_module
from brainjepa_server.consortium.studies import is_finished
from brainjepa_server.progress import StudyProgress
from brainjepa_server.reporting.report import write_report
from brainjepa_server.settings import StudySettings
from brainjepa_server.study import Study
from brainjepa_server.study_folder import STUDY_FILE
from brainjepa_server.tasks import study_tasks
from brainjepa_server.tasks.report import SiteScores, TaskReport
from brainjepa_server.tasks.settings import ATTEMPTS, NEWTON_ROUNDS, StudyTask

TASKS = (
    StudyTask(task=SEX, penalty=10.0, protocol=QUICK),
    StudyTask(task=AGE, parts=("scores",), protocol=QUICK),
)


class NoTracker:
    """In MLflow's place, which takes seconds to start."""

    def __init__(self, folder) -> None:
        self.run_id = None

    def start(self, *_, **__) -> None:
        pass

    log_round = log_figure = log_file = register_model = finish = start
    log_sites = log_baselines = start


@pytest.fixture(autouse=True)
def no_tracker(monkeypatch):
    monkeypatch.setattr(study_module, "StudyTracker", NoTracker)


@pytest.fixture(scope="module")
def consortium(tmp_path_factory) -> Consortium:
    return Consortium(tmp_path_factory.mktemp("consortium"))


def one_round() -> StudySettings:
    told = SETTINGS.model_dump(mode="json")
    told["pretraining"]["training"]["schedule"] |= {"total_steps": 2, "warmup_steps": 1}
    told["floors"] = {"sites": 1, "subjects_per_site": 1, "subjects": 1}
    told["tasks"] = [task.model_dump(mode="json") for task in TASKS]
    return StudySettings.model_validate(told)


STUDY = one_round()


def contract_of(*tasks: StudyTask) -> Contract:
    return Contract(
        consortium="three",
        assignment=STUDY.assignment(),
        rounds=1,
        evaluations=2,
        tasks=[question for task in tasks for question in task.questions()],
        roster={f"site-0{number}": f"key {number}" for number in (1, 2, 3)},
    )


class Deployed:
    """Sites that answer contracts alone, in one process, and a coordinator's study."""

    def __init__(self, consortium, name, folder, contract) -> None:
        self.folder, self.contract = folder, contract
        consortium.sites(name)
        self.asked = 0
        for path in sorted((consortium.folder / name).glob("*.yaml")):
            told = yaml.safe_load(path.read_text())
            told["state"] = str(folder / "states" / told["name"])
            path.write_text(yaml.safe_dump(told))
            site = read_settings(path, SiteSettings)
            approve(site, Contracts(site.state).propose(contract.text))
        self.grid = consortium.grid(name)
        for context in self.grid._contexts.values():
            context.node_config[CONTRACTS] = "required"
        self.shown = io.StringIO()

    def study(self, **others) -> Study:
        progress = StudyProgress(Console(file=self.shown, width=300), 1)
        return Study(self.grid, STUDY, self.folder / "study", progress, 3, self.contract, **others)

    def report(self, name: str) -> dict:
        return json.loads((self.folder / "study" / f"task-{name}.json").read_text())


@pytest.fixture
def deployed(consortium, tmp_path, request):
    return Deployed(consortium, request.node.name, tmp_path, contract_of(*TASKS))


@pytest.mark.slow
def test_all_that_is_asked_is_in_the_contract_and_no_more(deployed, monkeypatch):
    """Every question was let through, and asked again each gets the same answer."""
    assert deployed.study().run()
    for name in ("sex", "age"):
        report = deployed.report(name)
        assert report["left_out"] == {} and set(report["sites"]) == set(deployed.contract.roster)
        assert report["rows"] and report["made_from"]["model"] == "final"
    sex = deployed.report("sex")
    models = {row["model"] for row in sex["rows"]}
    assert {f"federated {kind} probe ({HEADLINE})" for kind in ("ridge", "logistic")} <= models
    assert sex["matrices"][HEADLINE]["reasons"] == {}
    assert "sex, nobody's data moved" in deployed.shown.getvalue()
    page = unexplained(write_report(deployed.folder / "study").read_text())
    assert "federated logistic probe" in page
    (deployed.folder / "study" / STUDY_FILE).write_text(
        yaml.safe_dump(STUDY.model_dump(mode="json"))
    )
    studies = SimpleNamespace(studies=deployed.folder)
    assert is_finished(studies, "study")
    for name in ("sex", "age"):
        (deployed.folder / "study" / f"task-{name}.json").rename(deployed.folder / f"{name}.json")
        assert not is_finished(studies, "study")  # and is started again, to be asked again
    assert deployed.study().run()
    for name in ("sex", "age"):
        assert deployed.report(name) == json.loads((deployed.folder / f"{name}.json").read_text())


def test_a_task_that_is_not_in_the_contract_is_answered_by_nobody(consortium, tmp_path):
    deployed = Deployed(consortium, "sex alone", tmp_path, contract_of(TASKS[0]))
    assert deployed.study().run()
    age = deployed.report("age")
    assert age["rows"] == [] and age["sites"] == {}
    for site, reason in age["left_out"]["scores"].items():
        assert site in deployed.contract.roster
        assert "expected a task of the contract, found another one" in reason
    assert deployed.report("sex")["left_out"] == {}


def quick_report(*asked) -> TaskReport:
    """In the place of all the questions about a task."""
    scores = SiteScores(9, (), {"nothing": {"mae": 1.0}})
    return TaskReport(asked[4].task.name, "kfold", sites={"site-01": scores})


def test_the_model_is_there_whatever_becomes_of_a_task(deployed, monkeypatch):
    real = quick_report

    def failing(*asked):
        if asked[4].task.name == "sex":
            raise ValueError("expected a, found b; mend it")
        return real(*asked)

    monkeypatch.setattr(study_tasks, "evaluate_task", failing)
    text = "asked of its finished model, found 'sex': expected a, found b; mend it; the model is wr"
    with pytest.raises(ValueError, match=text):
        deployed.study().run()
    folder = deployed.folder / "study"
    assert (folder / "final" / "model.safetensors").is_file()
    assert deployed.report("age")["rows"] and not (folder / "task-sex.json").exists()
    monkeypatch.setattr(study_tasks, "evaluate_task", real)
    before = (folder / "task-age.json").stat().st_mtime_ns
    assert deployed.study().run() and deployed.report("sex")["rows"]
    assert (folder / "task-age.json").stat().st_mtime_ns == before


def test_a_task_that_was_interrupted_is_asked_again(deployed, monkeypatch):
    calls = []

    def killed(*asked):
        calls.append(asked[4].task.name)
        report = quick_report(*asked)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return report

    monkeypatch.setattr(study_tasks, "evaluate_task", killed)
    with pytest.raises(KeyboardInterrupt):
        deployed.study().run()
    assert deployed.study().run()
    assert calls == ["sex", "age", "age"] and deployed.report("age")["left_out"] == {}


def test_a_page_that_was_not_drawn_is_no_task_that_failed(deployed, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    asked, real, folder = [], study_tasks.write_task_page, deployed.folder / "study"
    monkeypatch.setattr(
        study_tasks, "evaluate_task", lambda *a: asked.append(a) or quick_report(*a)
    )
    monkeypatch.setattr(study_tasks, "write_task_page", full)
    with pytest.raises(
        ValueError, match=r"pages to be drawn, found 'sex': .*; 'age': .*server report"
    ):
        deployed.study().run()
    assert len(asked) == 2 and not list(folder.glob("*.html"))
    monkeypatch.setattr(study_tasks, "write_task_page", real)
    assert deployed.study().run() and len(asked) == 2
    assert {path.name for path in folder.glob("task-*.html")} == {"task-sex.html", "task-age.html"}


def test_it_stops_between_two_tasks(deployed, monkeypatch):
    monkeypatch.setattr(study_tasks, "evaluate_task", quick_report)
    folder = deployed.folder / "study"
    stop = (folder / "task-sex.json").exists
    assert not deployed.study(stop=stop).run()
    assert not (folder / "task-age.json").exists()
    assert deployed.study().run() and deployed.report("age")["rows"]
    assert deployed.study(stop=lambda: True).run()  # all is answered


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ({"task": "age"}, {"scores": 1, "sums": 1, "judge": 2 * ATTEMPTS, "probe": 1}),
        ({"task": "age", "parts": ["scores"]}, {"scores": 1}),
        ({"task": "age", "parts": ["probe"]}, {"sums": 1, "judge": ATTEMPTS}),
        (
            {"task": "sex", "penalty": 1.0, "parts": ["probe"]},
            {"sums": 1, "newton": NEWTON_ROUNDS, "judge": 2 * ATTEMPTS},
        ),
        ({"task": "age", "penalty": 1.0, "parts": ["probe"]}, {"sums": 1, "judge": ATTEMPTS}),
    ],
)
def test_how_often_each_question_is_asked(told, counts):
    questions = StudyTask.model_validate(told).questions()
    assert {q.probe.want: q.times for q in questions} == counts


def test_a_task_with_covariates_is_asked_for_scores_only():
    task = AGE.model_copy(update={"covariates": ("sex",)})
    assert [q.probe.want for q in StudyTask(task=task).questions()] == ["scores"]


def test_tasks_are_named_or_lie_beside_the_study(tmp_path):
    (tmp_path / "iq.yaml").write_text("name: iq\ncolumn: fiq\nkind: regression\n")
    content = SETTINGS.model_dump(mode="json")
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**content, "tasks": ["age", {"task": "iq.yaml"}]}))
    found = read_settings(file, StudySettings)
    assert [task.task.name for task in found.tasks] == ["age", "iq"]
    file.write_text(yaml.safe_dump(found.model_dump(mode="json")))
    assert read_settings(file, StudySettings) == found  # whole, without the other file


@pytest.mark.parametrize(
    ("tasks", "text"),
    [
        (["age", "age"], "tasks: expected tasks of different names, found 'age' twice; give one"),
        (["agge"], "did you mean age?"),
        (["no.yaml"], "no.yaml"),
        ([{"task": "age", "pools": ["all"]}], "expected pools out of "),
        ([{"task": "age", "parts": []}], "at least 1 item"),
        ([{"task": "age", "penalty": 0}], "expected a number above 0, found 0"),
        ([{"task": {"name": "d", "column": "d", "kind": "classification"}}], "name them (classes)"),
        (
            [{"task": "age", "protocol": {"kind": "leave_one_site_out"}}],
            "expected a protocol within a site (holdout, kfold, personalised), found",
        ),
    ],
)
def test_wrong_tasks_are_told_by_their_line(tmp_path, tasks, text):
    content = SETTINGS.model_dump(mode="json")
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({**content, "tasks": tasks}))
    with pytest.raises(ValueError, match=r"study\.yaml line") as raised:
        read_settings(file, StudySettings)
    assert text in str(raised.value)
