"""The table of a dry run against what the same site really sends through Flower."""

from __future__ import annotations

import csv
import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from rich.console import Console
from small_sites import STUDY, ask, first_arrays, make_site, make_study
from typer.testing import CliRunner

from brainjepa_client.answering.app import app
from brainjepa_client.cli import app as commands
from brainjepa_client.guarding.dry_run import (
    YARDSTICK_COMPONENTS,
    DryRun,
    dry_run,
    message_of,
    requests,
)
from brainjepa_client.guarding.dry_run_table import (
    message_table,
    numbered,
    print_dry_run,
    summarised,
    write_dry_run,
)
from brainjepa_core.atlas import Atlas
from brainjepa_core.evaluation.yardstick import connectivity_components
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.signals.storing.kept_aligned import KeptScans
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.wire.messages import (
    COSKEWNESS,
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    TRAIN,
    WANTS,
    Request,
)
from brainjepa_core.wire.packing import PACKED, pack_arrays, unpack_arrays
from brainjepa_server.settings import COMPONENTS

TYPES = {DESCRIBE: "query.describe", GRADIENTS: "query.gradients", TRAIN: "train",
         EVALUATE: "evaluate"}  # fmt: skip


@pytest.fixture(autouse=True)
def inside_a_flower_process():
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 0, 1


@pytest.fixture
def site_file(tmp_path):
    def write(store: Path, **policy) -> Path:
        path = tmp_path / "site.yaml"
        shared = {"share_probe": True, "min_people_a_feature": 0, **policy}
        content = {"name": "one", "store": str(store), "state": str(tmp_path / "state"),
                   "policy": {"min_subjects": 4, "min_people_in_sum": 1, **policy,
                              **shared}}  # fmt: skip
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def study_of(frames: int = 16, **model) -> PretrainingSettings:
    """Deeper, longer or otherwise unlike what a dry run makes of it."""
    content = make_study().model_dump()
    content["model"] |= model
    content["windows"]["frames"] = frames
    return PretrainingSettings.model_validate(content)


def real_requests(stores: list[Path], study: PretrainingSettings, wire: str) -> list[Request]:
    """What a coordinator sends in the third round of a study of all sites."""
    start = first_arrays(stores, study)
    fc = start["basis"] @ start["basis"].T  # any connectivity will do
    components = connectivity_components(fc, min(COMPONENTS, len(fc)))
    arrays = {**start, "components": components}
    task = dict(wire=wire, round=2, first_step=4, steps=2, coskewness=True)
    weights = {k: v for k, v in arrays.items() if k != "components"}
    return [ask(DESCRIBE, {}, study, **task), ask(GRADIENTS, {}, study, **task),
            ask(TRAIN, weights, study, **task), ask(EVALUATE, arrays, study, **task),
            *task_requests(stores[0], weights, study, task)]  # fmt: skip


def task_requests(
    store: Path, weights: dict, study: PretrainingSettings, task: dict
) -> list[Request]:
    """The dry run's questions about a task, with the study's own model and windows."""
    asked = [r for r in requests(ScanStore.open(store), study, "fp32") if r.assignment.probe]
    own = ("probe.", COSKEWNESS)
    probes = [{k: v for k, v in r.arrays.items() if k.startswith(own)} for r in asked]
    return [
        ask(EVALUATE, {**weights, **probe}, study, probe=r.assignment.probe, **task)
        for r, probe in zip(asked, probes, strict=True)
    ]


def sent(request: Request, file: Path) -> set[tuple]:
    """Everything in the records of the site's reply: name, dtype, shape, bytes."""
    content = RecordDict(
        {
            "assignment": ConfigRecord({"json": request.assignment.model_dump_json()}),
            "arrays": ArrayRecord({PACKED: Array(pack_arrays(request.arrays))}),
        }
    )
    message = Message(content, 7, TYPES[request.kind], group_id="g")
    reply = app(message, Context(1, 7, {"site-yaml": str(file)}, RecordDict(), {})).content
    found = set()
    for record in reply.config_records.values():
        for name, value in record.items():
            text = isinstance(value, str)
            size = len(value.encode()) if text else 8
            found.add((name, "str" if text else type(value).__name__, None, size))
    assert reply.array_records.keys() == {"arrays"}
    assert reply.array_records["arrays"].keys() == {PACKED}
    packed = reply.array_records["arrays"][PACKED].numpy()
    for name, value in unpack_arrays(packed).items():
        found.add((name, str(value.dtype), value.shape, value.nbytes))
    assert not reply.metric_records
    return found


def listed(run: DryRun, request: Request) -> set[tuple]:
    rows = [row for row in run.rows if row.message == message_of(request)]
    assert len({row.name for row in rows}) == len(rows)
    return {(row.name, row.dtype, row.shape, row.bytes) for row in rows}


STUDIES = {
    "as it is": study_of(),
    "deep": study_of(depth=3, predictor_depth=2, mlp_ratio=2.0),
    "long windows": study_of(frames=32),
    "sine positions": study_of(positions="sincos"),
    "steps of one": make_study(batch_size=2, accumulation=2),
}


# Each study, and each way to send weights: one tells nothing of the other.
SENT = [
    ("as it is", "fp32"), ("as it is", "bf16"), ("as it is", "int8"), ("deep", "int8"),
    ("long windows", "fp32"), ("sine positions", "bf16"), ("steps of one", "int8"),
]  # fmt: skip


@pytest.mark.parametrize(("study", "wire"), SENT)
def test_the_table_is_what_is_sent(stores, site_file, study, wire):
    file, study = site_file(stores[0]), STUDIES[study]
    run = dry_run(file, study, wire)
    assert "refused" not in {row.what for row in run.rows}
    for request in real_requests(stores, study, wire):
        assert listed(run, request) == sent(request, file), message_of(request)


@pytest.mark.parametrize("mode", ["balanced", "official", "multiblock"])
def test_every_kind_of_masks_fits_the_short_windows(stores, site_file, mode):
    study = make_study(masks={"mode": mode})
    long = study.model_copy(update={"windows": study_of(frames=40).windows})
    run = dry_run(site_file(stores[0]), long)
    assert run.errors == {} and {row.what for row in run.rows} == {"array", "number", "text"}


def test_a_site_without_one_roi_has_no_drift(stores, site_file):
    file = site_file(stores[2])  # no basis comes of its own connectivity
    run = dry_run(file, STUDY)
    assert run.errors == {} and "drift" not in {row.name for row in run.rows}
    for request in real_requests(stores[:2], STUDY, "fp32"):
        assert listed(run, request) == sent(request, file), message_of(request)


def test_an_age_that_one_person_lacks(site_file, tmp_path):
    store = ScanStore.create(tmp_path / "store", Atlas.from_names([f"roi{i}" for i in range(8)]))
    rng = np.random.default_rng(0)
    for number in range(12):
        facts = {"age": 30.0 + number} if number != 7 else {}
        store.append(rng.normal(size=(8, 40)), subject=f"s{number}", tr=2.0, phenotypes=facts)
    run = dry_run(site_file(store.path), STUDY)
    outcomes = {
        row.name.split(".")[3]
        for row in run.rows
        if row.name.startswith("moments.") and row.name.endswith("xy") and row.message == EVALUATE
    }
    assert outcomes == {"connectivity"}


def test_components_are_as_many_as_a_coordinator_asks_for():
    assert YARDSTICK_COMPONENTS == COMPONENTS


def test_nothing_at_the_site_changes(stores, site_file, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in stores[0].rglob("*")}
    file = site_file(stores[0])
    first = dry_run(file, STUDY)
    assert not (tmp_path / "state").exists()
    assert {p: p.stat().st_mtime_ns for p in stores[0].rglob("*")} == before
    assert dry_run(file, STUDY) == first


def test_no_scan_is_copied(stores, site_file, monkeypatch):
    """A kill leaves the temporary folder, where no withdrawal reaches."""
    monkeypatch.setattr(KeptScans, "write", lambda *_: pytest.fail("an aligned scan is kept"))
    run = dry_run(site_file(stores[0]), STUDY)
    assert {row.message for row in run.rows} > {GRADIENTS, TRAIN} and not run.errors


def test_rows_name_the_lines_that_bear_on_them(stores, site_file):
    run = dry_run(site_file(stores[0]), STUDY)
    rows = {(row.message, row.name): row for row in run.rows}
    named = lambda *key: [str(line) for line in rows[key].policy]  # noqa: E731
    allow = "default: allow: [describe, gradients, train, evaluate]"
    people = "site.yaml line 5: min_subjects: 4"
    assert named(DESCRIBE, "atlas") == [allow]
    assert named(DESCRIBE, "scans") == [allow, "default: round_counts_to: 10"]
    floor = "site.yaml line 6: min_people_in_sum: 1"
    rounding = "default: round_counts_to: 10"
    assert named(GRADIENTS, "subjects") == [allow, people, floor, rounding]
    assert named(GRADIENTS, "z_sum")[1:] == [people, floor, rounding]
    assert named(TRAIN, "loss") == [allow, people, "default: max_steps_per_round: 1000"]
    assert all(row.policy[0].field == "allow" for row in run.rows)


def test_floors_bear_on_no_other_rows(stores, site_file, tmp_path):
    """Oracle: the values themselves, with one floor changed."""

    def values(**policy) -> dict:
        site, found = make_site(stores[0], tmp_path / "other", **policy), {}
        for request in real_requests(stores, STUDY, "fp32"):
            reply = site.answer(request)
            parts = {**reply.metrics, **reply.arrays}.items()
            found |= {(message_of(request), k): np.asarray(v).tolist() for k, v in parts}
        return {key: value for key, value in found.items() if key != (TRAIN, "seconds")}

    run, plain = dry_run(site_file(stores[0]), STUDY), values()
    fields = {"min_people_in_sum": 12, "round_counts_to": 7, "min_people_a_feature": 5}
    for field, value in fields.items():
        found = values(**{field: value})
        changed = {key for key in plain if found.get(key) != plain[key]}
        under = {(r.message, r.name) for r in run.rows if field in {p.field for p in r.policy}}
        assert changed and changed <= under


def test_values_are_shown_where_they_do_not_vary(stores, site_file):
    run = dry_run(site_file(stores[0], round_counts_to=5), STUDY)
    values = {(row.message, row.name): row.value for row in run.rows}
    assert values[DESCRIBE, "subjects"] == "10" and values[DESCRIBE, "site"] == "one"
    assert values[EVALUATE, "features.mean"] == "8"
    assert values[TRAIN, "loss"] == values[EVALUATE, "drift"] == ""


def test_refusals_are_one_row_with_the_line_that_asks_for_them(stores, site_file):
    run = dry_run(site_file(stores[0], min_subjects=40, allow=["describe", "train"]), STUDY)
    refused = {row.message: row for row in run.rows if row.what == "refused"}
    about_a_task = {f"evaluate a task: {want}" for want in WANTS}
    assert refused.keys() == {GRADIENTS, TRAIN, EVALUATE, *about_a_task}
    assert {r.message for r in run.rows if r.what != "refused"} == {DESCRIBE}
    assert str(refused[GRADIENTS].policy[0]) == "site.yaml line 7: allow: [describe, train]"
    assert str(refused[TRAIN].policy[0]) == "site.yaml line 5: min_subjects: 40"
    assert "asks for at least 40 people" in refused[TRAIN].value
    assert run.errors == {}


def test_a_probe_that_stays_is_a_row_with_its_line(stores, site_file):
    run = dry_run(site_file(stores[0], share_probe=False), STUDY)
    (row,) = [row for row in run.rows if row.what == "refused"]
    assert row.message == "evaluate a task: probe" and run.errors == {}
    assert str(row.policy[0]) == "site.yaml line 7: share_probe: false"


def test_a_store_of_no_two_values_is_asked_for_ages(site_file, tmp_path):
    store = ScanStore.create(tmp_path / "store", Atlas.from_names([f"roi{i}" for i in range(8)]))
    rng = np.random.default_rng(0)
    for number in range(20):
        facts = {"age": 30.0 + number, "sex": "F"}
        store.append(rng.normal(size=(8, 40)), subject=f"s{number}", tr=2.0, phenotypes=facts)
    tasks = [request.assignment.probe for request in requests(store, STUDY, "fp32")]
    tasks = [probe for probe in tasks if probe]
    assert {probe.task.column for probe in tasks} == {"age"}
    assert [probe.want for probe in tasks] == [want for want in WANTS if want != "newton"]
    assert dry_run(site_file(store.path), STUDY).errors == {}


def test_a_failure_is_told_apart_from_a_refusal(stores, site_file, monkeypatch):
    monkeypatch.setattr("brainjepa_client.computing.kinds.evaluate", lambda *_: 1 / 0)
    run = dry_run(site_file(stores[0]), STUDY)
    (row,) = [row for row in run.rows if row.message == EVALUATE]
    assert row.policy == () and row.value.startswith("the site failed in evaluate")
    assert run.errors == {EVALUATE: "ZeroDivisionError: division by zero"}
    assert "evaluate failed here" in printed(run)


def test_scans_shorter_than_refused_windows(stores, site_file):
    content = STUDY.model_dump()
    content["windows"] |= {"frames": 80, "short": "refuse"}
    with pytest.raises(ValueError, match=r"expected scans of at least 160 s .* found \d+ shorter"):
        dry_run(site_file(stores[0]), PretrainingSettings.model_validate(content))


def printed(run: DryRun, **options) -> str:
    console = Console(width=300, file=StringIO())
    print_dry_run(run, console, **options)
    return console.file.getvalue()


def test_what_is_printed(stores, site_file):
    run = dry_run(site_file(stores[0], allow=["describe", "gradients"]), STUDY)
    text = printed(run)
    assert "  1  site.yaml line 7: allow: [describe, gradients]\n" in text
    line = next(line for line in text.splitlines() if line.startswith("│ z_sum"))
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        "z_sum", "float64 array", "[28]", "224", "", "1 3 4 2",
    ]  # fmt: skip
    assert "  3  site.yaml line 5: min_subjects" in text
    assert "  4  site.yaml line 6: min_people_in_sum" in text
    totals = text[text.index("What would leave one, by message") :]
    train = next(x for x in totals.splitlines() if x.startswith("│ train "))
    assert [cell.strip() for cell in train.split("│")[1:3]] == ["train", "refused"]
    size = sum(row.bytes for row in run.rows if row.message == GRADIENTS)
    assert f" {size:,} │" in next(x for x in totals.splitlines() if x.startswith("│ gradients"))


def test_a_summary_adds_up(stores, site_file, monkeypatch):
    file = site_file(stores[0])
    run = dry_run(file, study_of(depth=3))
    short = summarised(run.rows)
    assert sum(row.bytes for row in short) == sum(row.bytes for row in run.rows)
    names = {row.name for row in short}
    assert {"encoder.blocks.*.norm1.bias (3)", "moments.mean.*.latents.xy (5)"} <= names
    assert len(short) < len(run.rows) / 2
    rows = [row for row in run.rows if row.message == TRAIN]
    named = numbered(run.rows)
    assert message_table(TRAIN, rows, named, summary=True).row_count < len(rows)
    assert message_table(TRAIN, rows, named).row_count == len(rows)
    monkeypatch.setattr("brainjepa_client.guarding.dry_run.dry_run", lambda *_: run)
    for more, expected in (((), run.rows), (("--summary",), short)):
        told = CliRunner().invoke(commands, ["dry-run", str(file), "--json", *more])
        rows = [
            (row["message"], row["name"], row["bytes"]) for row in json.loads(told.stdout)["rows"]
        ]
        assert rows == [(row.message, row.name, row.bytes) for row in expected]


def test_the_record_holds_all_rows(stores, site_file, tmp_path):
    run = dry_run(site_file(stores[0], min_subjects=40), STUDY, "bf16")
    write_dry_run(run, tmp_path / "dry-run.tsv")
    with (tmp_path / "dry-run.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["name"] for row in rows] == [row.name for row in run.rows]
    assert [int(row["bytes"]) for row in rows] == [row.bytes for row in run.rows]
    rois = next(row for row in rows if row["name"] == "rois")
    assert json.loads(rois["value"]).splitlines() == list(ScanStore.open(stores[0]).atlas.rois)
    assert rows[-1]["what"] == "refused"
    assert rows[-1]["policy"] == "site.yaml line 5: min_subjects: 40"
    assert "at least 40 people" in json.loads(rows[-1]["value"])
