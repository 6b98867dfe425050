"""``brainjepa evaluate``: what models are worth, over several sites' people at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from brainjepa_core.cli import console, errors_in_one_line


def evaluate(
    data: Annotated[
        Path, typer.Argument(help="Folder of stores, or of site archives.", exists=True)
    ],
    out: Annotated[Path, typer.Option(help="Folder of the results; goes on where it stopped.")],
    task: Annotated[str, typer.Option(help="A shipped task such as diagnosis, or a YAML.")],
    protocol: Annotated[
        str, typer.Option(help="holdout, kfold, leave_one_site_out, personalised, or a YAML.")
    ] = "holdout",
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="A model's or a study's folder, or NAME=FOLDER; baselines without."),
    ] = None,
    finetune: Annotated[
        str, typer.Option(help="no, yes, or a YAML of fine-tuning; adds training from scratch.")
    ] = "yes",
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Also FC in tangent space, BrainNetCNN and Brain Network Transformer; hours.",
        ),
    ] = False,
) -> None:
    """One table of models and baselines with intervals: OUT/results.json and OUT/results.html."""
    from brainjepa_core.downstream.tasks.settings import load_task
    from client.evaluate_cli import finetune_settings, print_results, protocol_settings
    from simulations.evaluate import run_evaluation

    with errors_in_one_line():
        with console.status("") as status:
            results = run_evaluation(
                data,
                checkpoint or (),
                load_task(task),
                protocol_settings(protocol),
                out,
                finetune=finetune_settings(finetune),
                thorough=thorough,
                say=lambda line: console.print(escape(line)),
                progress=lambda name: status.update(f"after a split of {escape(name)}"),
            )
        print_results(results)
        console.print(f"[bold]{escape(str(out / 'results.html'))}[/bold]", soft_wrap=True)
