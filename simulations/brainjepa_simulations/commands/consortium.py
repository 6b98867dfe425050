"""A whole consortium on this machine, everything real: certificates, processes, approvals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from brainjepa_core.command.command_log import keep_log
from brainjepa_core.command.print_config import ReadBy
from brainjepa_core.command.terminal import Commands, console, errors_in_one_line, folder_to_write
from brainjepa_core.extras import require

app = Commands(
    name="consortium", help="A coordinator and its sites together.", no_args_is_help=True
)
AGAIN = "remove the folder, and run the same command again"


@app.callback()
def _main() -> None:
    """A coordinator and its sites together."""


@app.command("try")
def try_it(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder.", callback=folder_to_write)
    ],
    scenario: Annotated[
        str,
        typer.Option(help="YAML, or a shipped scenario; its sites are real processes."),
        ReadBy("brainjepa_simulations.scenario:read_scenario"),
    ] = "three_hospitals",
    protect: Annotated[
        Literal["none", "secure_sum", "dp"],
        typer.Option(help="secure_sum: no single reply is seen. dp: differential privacy."),
    ] = "none",
    compare: Annotated[
        bool, typer.Option("--compare", help="Also run it in one process, and compare the bits.")
    ] = False,
) -> None:
    """Deploy a consortium on this machine: the walk of docs/deployment.md, in one command."""
    with errors_in_one_line(AGAIN):
        require("flwr", "cryptography")
        from brainjepa_core.files import require_new
        from brainjepa_core.wire.flower_environment import use_flower_environment
        from brainjepa_simulations.deployment import walk
        from brainjepa_simulations.deployment.public_model import private_trial
        from brainjepa_simulations.scenario import read_scenario

        use_flower_environment()
        require_new(folder)
        chosen, folder = read_scenario(scenario), folder.absolute()
        if compare and (protect == "dp" or chosen.study.privacy is not None):
            raise ValueError(
                "expected no --compare with protect: dp, found it; a site's noise is a function of "
                "a secret that it shows to nobody, and differs elsewhere: leave it out"
            )
        folder.mkdir(parents=True)
        if protect == "secure_sum":
            chosen = chosen.protected(protect)
        elif protect == "dp":
            _step("a public model to start from")
            chosen = private_trial(chosen, folder)
        keep_log(folder)
        sites = walk.set_up_consortium(folder, chosen, _step)
        final = walk.run_deployed(folder, sites, _step)
        mine = walk.digest_of_weights(final)
        _say(f"[bold]{escape(str(final))}[/bold] holds the model; its weights' sha256 is {mine}")
        if compare:
            _step("the same study in one process")
            other = walk.digest_of_weights(walk.run_in_one_process(folder, chosen))
            if other != mine:
                raise ValueError(
                    f"expected the weights of one process (sha256 {other}), found others; please "
                    "report this with the folder's logs"
                )
            _say("the same bits as in one process")


def _step(text: str) -> None:
    _say(f"[green]$[/green] {escape(text)}")


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
