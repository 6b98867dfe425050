"""Commands of a site that has a model: embed its people, probe, fine-tune, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer
from rich.markup import escape
from rich.table import Table

from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import (
    AGAIN,
    Json,
    console,
    errors_in_one_line,
    file_to_write,
    folder_to_write,
    print_json,
)
from brainjepa_core.command.waiting import waiting
from brainjepa_core.machine.devices import require_device

if TYPE_CHECKING:
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
    from brainjepa_core.evaluation.scores.results import Results
    from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings

YAML = (".yaml", ".yml")
# Metrics of the terminal's table, which has 80 columns: what tasks are judged by, and an error.
SHOWN = ("r within site", "r", "mae", "auc within site", "auc", "balanced accuracy")
SiteFile = Annotated[
    Path,
    typer.Argument(help="YAML of the site.", exists=True, dir_okay=False, metavar="SITE.yaml"),
    ReadBy("brainjepa_client.settings:SiteSettings"),
]
Model = Annotated[
    Path, typer.Option(help="Folder of a model, a run or a study.", exists=True, file_okay=False)
]
TASK = ReadBy("brainjepa_core.evaluation.tasks.settings:load_task")
PROTOCOL = ReadBy("brainjepa_client.using.cli:protocol_settings")
FINETUNE = ReadBy("brainjepa_client.using.cli:finetune_settings")
TaskName = Annotated[str, typer.Option(help="A shipped task such as diagnosis, or a YAML."), TASK]
ProtocolName = Annotated[
    str,
    typer.Option(help="holdout, kfold, leave_one_site_out, personalised, brainmarks, or a YAML."),
    PROTOCOL,
]
Methods = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Also, with commas between: tangent, consensus_tangent, consensus_basis, "
        "coskewness, brainnetcnn, brain_network_transformer, braingnn; or all.",
    ),
]
Finetune = Annotated[
    str,
    typer.Option(help="no, yes, or a YAML of fine-tuning; adds training from scratch."),
    FINETUNE,
]
Out = Annotated[
    Path,
    typer.Option(help="Folder of the results; goes on where it stopped.", callback=folder_to_write),
]


def embed(
    site: SiteFile,
    model: Model,
    out: Annotated[
        Path, typer.Option(help="File (.npz); holds subject ids.", callback=file_to_write)
    ],
) -> None:
    """One vector a person from a model; stays at the site."""
    from brainjepa_client.using.site_evaluation import write_embeddings

    with errors_in_one_line(AGAIN):
        settings = _settings(site)
        keep_log(settings.state)
        with waiting(console, "Embedding", counted=True) as work:
            write_embeddings(
                settings, model, out, lambda done, people: work.update(done=done, total=people)
            )
    console.print(f"[bold]{escape(str(out))}[/bold]", soft_wrap=True)


def probe(
    site: SiteFile,
    model: Model,
    task: TaskName,
    out: Out,
    protocol: ProtocolName = "kfold",
    as_json: Json = False,
) -> None:
    """What frozen embeddings tell of the site's own labels, beside every baseline."""
    _compare(site, model, task, protocol, "no", out, as_json=as_json)


def evaluate(
    site: SiteFile,
    task: TaskName,
    out: Out,
    model: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a model, a run or a study; baselines without.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    protocol: ProtocolName = "kfold",
    finetune: Finetune = "yes",
    methods: Methods = "",
    as_json: Json = False,
) -> None:
    """Probes and fine-tuning beside the baselines, on the site's own people."""
    _compare(site, model, task, protocol, finetune, out, methods, as_json=as_json)


def finetune(
    site: SiteFile,
    model: Model,
    task: TaskName,
    out: Annotated[
        Path, typer.Option(help="New folder of the fine-tuned model.", callback=folder_to_write)
    ],
    settings: Annotated[
        Path | None,
        typer.Option(help="YAML of fine-tuning; defaults without."),
        ReadBy("brainjepa_core.evaluation.learning.finetune_settings:FinetuneSettings"),
    ] = None,
) -> None:
    """Fine-tune on all of the site's people with the label, and keep the model."""
    from brainjepa_client.using.site_evaluation import finetune_site
    from brainjepa_core.evaluation.tasks.settings import load_task

    with errors_in_one_line():
        chosen = finetune_settings("yes" if settings is None else str(settings))
        assert chosen is not None
        told = _settings(site)
        keep_log(told.state)
        with waiting(console, "Fine-tuning"):
            finetune_site(told, model, load_task(task), chosen, out)
        console.print(
            f"[bold]{escape(str(out))}[/bold] holds the model; how well it does on people it has "
            "not seen is what `site evaluate` says",
            soft_wrap=True,
        )


def interpret(
    site: SiteFile,
    model: Annotated[
        Path, typer.Option(help="Folder of a fine-tuned model.", exists=True, file_okay=False)
    ],
    task: TaskName,
    out: Annotated[
        Path, typer.Option(help="Folder of tables and pictures.", callback=folder_to_write)
    ],
    people: Annotated[int, typer.Option(min=2, help="At most so many are looked at.")] = 40,
) -> None:
    """Where a fine-tuned model looks: attention between networks, attribution to regions."""
    from brainjepa_client.using.site_interpretation import interpret_site
    from brainjepa_core.evaluation.tasks.settings import load_task

    with errors_in_one_line():
        settings = _settings(site)
        keep_log(out)
        with waiting(console, "Looking into the model") as work:
            paths = interpret_site(settings, model, load_task(task), out, people, work.update)
        for path in paths:
            console.print(f"[bold]{escape(str(path))}[/bold]", soft_wrap=True)


def protocol_settings(word: str) -> ProtocolSettings:
    """A protocol by its kind, or from a YAML file."""
    from brainjepa_core.evaluation.tasks.protocols import ProtocolSettings
    from brainjepa_core.settings import read_settings

    if Path(word).suffix in YAML:
        return read_settings(word, ProtocolSettings)
    kinds = get_args(ProtocolSettings.model_fields["kind"].annotation)
    word = word.replace("-", "_")
    if word not in kinds:
        raise ValueError(
            f"expected --protocol to be {', '.join(kinds)} or a YAML file, found '{word}'; take "
            "one of these"
        )
    return ProtocolSettings.model_validate({"kind": word})


def finetune_settings(word: str) -> FinetuneSettings | None:
    """Settings of fine-tuning: the defaults, none, or from a YAML file."""
    from brainjepa_core.evaluation.learning.finetune_settings import FinetuneSettings
    from brainjepa_core.settings import read_settings

    if word in ("no", "yes"):
        return FinetuneSettings() if word == "yes" else None
    if Path(word).suffix not in YAML and not Path(word).is_file():
        raise ValueError(
            f"expected --finetune to be no, yes or a YAML file, found '{word}'; take one of these"
        )
    return read_settings(word, FinetuneSettings)


def show_results(results: Results, *, as_json: bool) -> None:
    """Print all figures as JSON, or the main ones as a table."""
    if as_json:
        print_json(results)
    else:
        print_results(results)


def print_results(results: Results) -> None:
    """Print every model's main figures of all people, with units and intervals."""
    from brainjepa_core.evaluation.report.result_figures import metric_label, units_of
    from brainjepa_core.evaluation.report.result_verdict import interval, number

    units = units_of(results.rows)
    shown = [metric for metric in SHOWN if metric in units]
    others = ", ".join(metric for metric in units if metric not in shown)
    table = Table(
        title="mean, and 95 % interval over people",
        caption=f"other metrics are in results.tsv: {others}",
    )
    table.add_column("model", overflow="fold")
    for metric in shown:
        table.add_column(metric_label(metric, units[metric]), justify="right", no_wrap=True)
    for model in dict.fromkeys(row.model for row in results.rows):
        cells = {row.metric: row for row in results.rows if row.model == model}
        found = (cells.get(metric) for metric in shown)
        texts = [
            "-" if c is None else f"{number(c.mean)}\n{interval(c.low, c.high)}" for c in found
        ]
        table.add_row(escape(model), *texts)
    console.print(table)


def _settings(site: Path) -> SiteSettings:
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    settings = read_settings(site, SiteSettings)
    require_device(settings.device)
    return settings


def _compare(
    site: Path,
    model: Path | None,
    task: str,
    protocol: str,
    finetune: str,
    out: Path,
    methods: str = "",
    *,
    as_json: bool,
) -> None:
    from brainjepa_client.using.site_evaluation import compare_at_site
    from brainjepa_core.evaluation.comparison import EvaluationPlan
    from brainjepa_core.evaluation.methods.chosen import methods_named
    from brainjepa_core.evaluation.tasks.settings import load_task

    with errors_in_one_line(AGAIN):
        settings = _settings(site)
        keep_log(out)
        with waiting(console, "Evaluating") as work:
            results = compare_at_site(
                settings,
                model,
                lambda models: EvaluationPlan(
                    load_task(task),
                    protocol_settings(protocol),
                    models,
                    finetune_settings(finetune),
                    methods_named(methods),
                ),
                out,
                say=lambda line: console.print(escape(line)),
                progress=lambda name: work.update(f"Evaluating, after a split of {name}"),
            )
        show_results(results, as_json=as_json)
        console.print(f"[bold]{escape(str(out / 'results.html'))}[/bold]", soft_wrap=True)
