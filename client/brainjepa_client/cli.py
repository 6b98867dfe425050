"""Commands of a site's data manager."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from brainjepa_client.approving.contract_cli import approve, budget, reject, review, withdraw
from brainjepa_client.deploying.cli import join, preflight, start, status, stop
from brainjepa_client.guarding.cli import check, dry_run
from brainjepa_client.preparing.init_cli import init
from brainjepa_client.preparing.vectors_cli import import_vectors
from brainjepa_client.using.cli import (
    SiteFile,
    embed,
    evaluate,
    finetune,
    interpret,
    probe,
)
from brainjepa_core.command.command_log import keep_log, logger, print_only
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import (
    AGAIN,
    Commands,
    Json,
    console,
    errors_in_one_line,
    file_to_write,
    print_json,
)
from brainjepa_core.command.waiting import waiting
from brainjepa_core.problems import counted

if TYPE_CHECKING:
    from brainjepa_client.settings import SiteSettings

app = Commands(
    name="site",
    help="A site's data manager: prepare scans, see what would leave, keep control.",
    no_args_is_help=True,
)
app.command()(init)
app.command()(check)
app.command("dry-run")(dry_run)
for taking_part in (
    join,
    preflight,
    review,
    budget,
    approve,
    reject,
    start,
    stop,
    status,
    withdraw,
):
    app.command()(taking_part)
for using in (embed, probe, finetune, interpret, evaluate):
    app.command()(using)
app.command("import-vectors")(import_vectors)


@app.callback()
def _main() -> None:
    """A site's data manager: prepare scans, see what would leave, keep control."""


@app.command()
def validate(
    site: SiteFile,
    out: Annotated[
        Path | None, typer.Option(help="Write the problems there, as TSV.", callback=file_to_write)
    ] = None,
) -> None:
    """Look at names and headers of all scans in seconds; one line a problem, exit 1 if any."""
    from brainjepa_client.preparing.validate import (
        COLUMNS,
        problems_as_tsv,
        validate,
        write_problems,
    )
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.files import require_own_table
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        root = settings.preparation().input.folder
        if out is not None:
            require_own_table(out, COLUMNS)  # before any work
        with waiting(console, "Looking at headers", counted=True) as work:
            found = validate(settings, lambda n: work.update(total=n, done=work.done + 1))
        if out is not None:
            write_problems(found.problems, root, out)
        trs = ", ".join(f"{tr:g}" for tr in found.trs) or "no"
        console.print(
            f"{counted(found.scans, 'scan')} of {counted(found.people, 'person', 'people')} can be "
            f"read: {counted(found.frames, 'frame')}, repetition times of {trs} s; "
            f"{counted(found.without_row, 'person', 'people')} without a row of phenotypes",
            soft_wrap=True,
        )
        for note in found.notes:
            console.print(escape(note))
        if found.problems:
            console.print(f"{counted(len(found.problems), 'problem')}:")
            sys.stdout.write(problems_as_tsv(found.problems, root))
            raise typer.Exit(1)


@app.command()
def prepare(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="SITE.yaml | IN OUT participant|group", help="A site, or a BIDS App call."
        ),
        ReadBy("brainjepa_client.preparing.bids_app:settings_of_word"),
    ],
    participant_label: Annotated[
        list[str] | None, typer.Option(help="Only these people, with or without sub-.")
    ] = None,
    label_image: Annotated[
        Path | None, typer.Option(help="BIDS App: label image of the atlas.")
    ] = None,
    label_table: Annotated[Path | None, typer.Option(help="BIDS App: names of labels.")] = None,
    atlas: Annotated[str | None, typer.Option(help="BIDS App: shipped name, or a TSV.")] = None,
    space: Annotated[str | None, typer.Option(help="BIDS App: space of the images.")] = None,
    res: Annotated[str | None, typer.Option(help="BIDS App: resolution, where several.")] = None,
    den: Annotated[str | None, typer.Option(help="BIDS App: density, where several.")] = None,
    cohort: Annotated[str | None, typer.Option(help="BIDS App: cohort, where several.")] = None,
    mask: Annotated[str | None, typer.Option(help="BIDS App: required or optional.")] = None,
    task: Annotated[str | None, typer.Option(help="BIDS App: only this task.")] = None,
    preset: Annotated[str | None, typer.Option(help="BIDS App: cleaning.preset.")] = None,
    processes: Annotated[int | None, typer.Option(help="BIDS App: scans at once.")] = None,
    name: Annotated[str | None, typer.Option(help="BIDS App: name of the site.")] = None,
    drop_gone: Annotated[
        bool, typer.Option("--drop-gone", help="Take scans out whose files are gone.")
    ] = False,
) -> None:
    """Turn a site's files into its store; goes on where it stopped. Exit 1 if a scan failed."""
    from brainjepa_client.preparing.bids_app import (
        refuse_beside_yaml,
        site_of_call,
        write_site_file,
    )
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line(AGAIN):
        options: dict[str, Any] = {
            "label_image": label_image,
            "label_table": label_table,
            "space": space,
            "res": res,
            "den": den,
            "cohort": cohort,
            "mask": mask,
            "task": task,
            "atlas": atlas,
            "preset": preset,
            "processes": processes,
            "name": name,
        }
        given = {key: value for key, value in options.items() if value is not None}
        if len(words) > 1:
            settings, level, people = site_of_call(words, participant_label or (), given)
        else:
            refuse_beside_yaml(words[0], given)
            settings, level = read_settings(words[0], SiteSettings), "participant"
            people = tuple(participant_label or ())
        if drop_gone and people:
            raise ValueError(
                "expected --drop-gone for a whole site, found it beside --participant-label; leave "
                "one of them out"
            )
        keep_log(settings.quality)
        if level == "participant":
            failed = prepare_site(settings, people, drop_gone=drop_gone)
        else:
            failed = write_qc(settings)
        if len(words) > 1:
            write_site_file(Path(words[1]), settings)
        if failed:
            raise typer.Exit(1)


@app.command()
def qc(site: SiteFile) -> None:
    """Write the quality tables and page anew, of a prepared store or an imported one."""
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        settings = read_settings(site, SiteSettings)
        keep_log(settings.quality)
        write_qc(settings)


def prepared_site(path: Path) -> SiteSettings:
    """Settings of a site whose store is made first, where its YAML says how."""
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    settings = read_settings(path, SiteSettings)
    if settings.prepare is not None:
        prepare_site(settings)
    return settings


def prepare_site(
    settings: SiteSettings, people: tuple[str, ...] = (), *, drop_gone: bool = False
) -> int:
    """Prepare with progress on the terminal; returns the number of scans that failed."""
    from brainjepa_client.preparing.prepare import Preparation

    with waiting(console, "Looking for scans"):
        preparation = Preparation.of(settings, people, drop_gone=drop_gone)
    console.print(
        f"{escape(settings.name)}: {counted(preparation.found, 'scan')} found, "
        f"{preparation.finished} of them finished before"
    )
    for note in preparation.notes():
        print_only(console, note)  # may name people
    scans = len(preparation.waiting)
    with waiting(console, "Scans", scans) as work, closing(preparation.run()) as reports:
        for report in reports:
            work.advance()
            logger.debug(f"{report.name}: {report.status}")
    return write_qc(settings)


def write_qc(settings: SiteSettings) -> int:
    """Write tables and page, and say what became of the scans; returns how many failed."""
    from brainjepa_client.quality.tables_and_page import write_site_quality

    with waiting(console, "Drawing the quality page"):
        counts, page = write_site_quality(settings)
    console.print(
        f"{counted(counts['included'], 'scan')} in the store {escape(str(settings.store))}, "
        f"{counts['excluded']} left out, {counts['failed']} failed; look at "
        f"[bold]{escape(str(page))}[/bold]",
        soft_wrap=True,
    )
    return counts["failed"]


@app.command()
def remove(
    site: SiteFile,
    person: Annotated[str, typer.Argument(help="Label, with or without sub-.")],
) -> None:
    """Take a person who withdraws out of all that the site keeps, for good."""
    from brainjepa_client.consent.withdrawal import remove_person
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.settings import read_settings

    with errors_in_one_line(AGAIN):
        settings = read_settings(site, SiteSettings)
        removal = remove_person(settings, person)
        for line in removal.in_words():
            console.print(escape(line), soft_wrap=True)
        write_qc(settings)


@app.command()
def log(
    site: SiteFile,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only check that no line was changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What was asked of this site, what it answered or refused, and who was removed."""
    from brainjepa_client.consent.audit_log import audit_log, line_in_words
    from brainjepa_client.settings import SiteSettings
    from brainjepa_core.problems import counted
    from brainjepa_core.settings import read_settings

    with errors_in_one_line():
        kept = audit_log(read_settings(site, SiteSettings).state)
        lines = list(kept.lines())
        if as_json:
            print_json({"lines": [] if verify else lines, "head": kept.head})
            return
        for line in () if verify else lines:
            console.print(escape(line_in_words(line)), soft_wrap=True, highlight=False)
        console.print(
            f"{counted(len(lines), 'line')}, each vouched for by the next; note the hash of the "
            f"last one: {kept.head}",
            soft_wrap=True,
            highlight=False,
        )
