"""``brainjepa evaluate``: what models are worth, over several sites' people at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from brainjepa_client.using.cli import FINETUNE, PROTOCOL, Methods, TaskName
from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.terminal import (
    AGAIN,
    Json,
    console,
    errors_in_one_line,
    folder_to_write,
    print_json,
)
from brainjepa_core.command.waiting import waiting
from brainjepa_core.extras import require
from brainjepa_core.machine.devices import require_device


def evaluate(
    data: Annotated[
        Path,
        typer.Argument(help="Folder of stores, or of site archives.", exists=True, file_okay=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the results; goes on where it stopped.", callback=folder_to_write
        ),
    ],
    task: TaskName,
    test: Annotated[
        Path | None,
        typer.Option(
            help="Folder of other hospitals, tested by what DATA trains; no --protocol then.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="holdout (by default), kfold, leave_one_site_out, personalised, brainmarks, or a "
            "YAML."
        ),
        PROTOCOL,
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="Folder of a model, a run or a study, or NAME=FOLDER; may be repeated; baselines "
            "without.",
        ),
    ] = None,
    finetune: Annotated[
        str | None,
        typer.Option(
            help="no, yes, or a YAML of fine-tuning; adds training from scratch. By default yes, "
            "with --test no."
        ),
        FINETUNE,
    ] = None,
    methods: Methods = "",
    mae: Annotated[
        bool | None,
        typer.Option(
            "--mae/--no-mae",
            help="Beside a study's model, train a masked autoencoder with the study's budget. By "
            "default yes, with --test no.",
        ),
    ] = None,
    asks: Annotated[
        bool | None,
        typer.Option(
            "--asks/--no-asks",
            help="With --test, also few labels, short scans, missing ROIs and another TR; by "
            "default yes.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    as_json: Json = False,
) -> None:
    """One table of models and baselines with intervals: OUT/results.json and OUT/results.html."""
    from brainjepa_client.using.cli import finetune_settings, protocol_settings, show_results
    from brainjepa_core.evaluation.methods.chosen import methods_named
    from brainjepa_core.evaluation.tasks.settings import load_task
    from brainjepa_simulations.evaluating.many_models import run_evaluation

    with errors_in_one_line(AGAIN):
        if test is not None and protocol is not None:
            raise ValueError(
                f"expected --test or --protocol, found both; the hospitals of '{test}' are tested "
                "by those of DATA, whatever the protocol: leave one out"
            )
        if test is None and asks is not None:
            raise ValueError(
                f"expected --test with --{'' if asks else 'no-'}asks, found none; few labels and "
                "short scans are asked of other hospitals alone: name them, or leave it out"
            )
        require_device(device)
        keep_log(out)
        with waiting(console, "Evaluating") as work:
            results = run_evaluation(
                data,
                checkpoint or (),
                load_task(task),
                protocol_settings(protocol or "holdout"),
                out,
                test=test,
                asks=asks is not False,
                finetune=finetune_settings(finetune or ("yes" if test is None else "no")),
                methods=methods_named(methods),
                mae=test is None if mae is None else mae,
                device=device,
                say=lambda line: console.print(escape(line)),
                progress=lambda name: work.update(f"Evaluating, after a split of {name}"),
            )
        show_results(results, as_json=as_json)
        console.print(f"[bold]{escape(str(out / 'results.html'))}[/bold]", soft_wrap=True)


def evaluate_sites(
    run: Annotated[
        Path, typer.Argument(help="Folder of a simulated study.", exists=True, file_okay=False)
    ],
    task: TaskName,
    which: Annotated[
        Literal["final", "best"], typer.Option(help="Which model of the study.")
    ] = "final",
    penalty: Annotated[
        float | None, typer.Option(help="Also a logistic probe of all sites, with this penalty.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Ask a study's sites about a task by messages: their scores, a common probe, a matrix."""
    with errors_in_one_line(AGAIN):
        require("flwr")
        from brainjepa_core.evaluation.tasks.settings import load_task
        from brainjepa_server.reporting.study_card import write_cards
        from brainjepa_server.study_folder import task_report
        from brainjepa_server.tasks.page import write_task_page
        from brainjepa_server.tasks.report_file import report_origin, write_task_report
        from brainjepa_server.tasks.settings import StudyTask
        from brainjepa_server.tasks.shown import show_report
        from brainjepa_simulations.evaluating.asked_sites import evaluate_sites as ask

        chosen = StudyTask(task=load_task(task), penalty=penalty)
        keep_log(run)
        with waiting(console, "Asking the sites"):
            report = ask(run, chosen, which)
        path = task_report(run, chosen.task.name)
        write_task_report(report, path, report_origin(run, chosen, which))
        page = write_task_page(path)
        write_cards(run)
        if as_json:
            print_json({"rows": report.rows(), "left_out": report.left_out})
        else:
            show_report(console, report)
        console.print(f"[bold]{escape(str(page))}[/bold]", soft_wrap=True)
