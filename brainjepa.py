"""brainjepa-federated: hospitals pretrain one Brain-JEPA together; scans stay where they are.

The names in ``__all__`` are the public interface: they keep their meaning within a minor version,
and CHANGELOG says when one changes. All else is how it is done, and may move.

``python -m brainjepa`` is the command ``brainjepa``.
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from brainjepa_core.version import VERSION as __version__

if TYPE_CHECKING:
    import typer

    from brainjepa_core.atlas import load_atlas
    from brainjepa_core.evaluation.embedder import Embedder, load, pretrain
    from brainjepa_core.evaluation.series_transformer import SeriesEmbedding
    from brainjepa_core.gradients import ConsensusBasis, diffusion_map
    from brainjepa_core.pretraining.settings import PretrainingSettings
    from brainjepa_core.pretraining.site_sums.basis import consensus_basis
    from brainjepa_core.signals.storing.stores import create_store, open_store
    from brainjepa_core.signals.window_settings import WindowSettings
    from brainjepa_core.signals.windows import Windows

__all__ = [
    "ConsensusBasis",
    "Embedder",
    "PretrainingSettings",
    "SeriesEmbedding",
    "WindowSettings",
    "Windows",
    "__version__",
    "consensus_basis",
    "create_store",
    "diffusion_map",
    "load",
    "load_atlas",
    "open_store",
    "pretrain",
]

# Imported when they are asked for: the command answers before torch is there.
_HOMES = {
    "ConsensusBasis": "brainjepa_core.gradients",
    "Embedder": "brainjepa_core.evaluation.embedder",
    "PretrainingSettings": "brainjepa_core.pretraining.settings",
    "SeriesEmbedding": "brainjepa_core.evaluation.series_transformer",
    "WindowSettings": "brainjepa_core.signals.window_settings",
    "Windows": "brainjepa_core.signals.windows",
    "consensus_basis": "brainjepa_core.pretraining.site_sums.basis",
    "create_store": "brainjepa_core.signals.storing.stores",
    "diffusion_map": "brainjepa_core.gradients",
    "load": "brainjepa_core.evaluation.embedder",
    "load_atlas": "brainjepa_core.atlas",
    "open_store": "brainjepa_core.signals.storing.stores",
    "pretrain": "brainjepa_core.evaluation.embedder",
}


if not TYPE_CHECKING:  # with it, a type checker would take every other name for known

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'brainjepa' has no attribute '{name}'")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@functools.cache
def command() -> typer.Typer:
    """The whole command line: a group for each room, and a researcher's own commands."""
    import brainjepa_client.cli
    import brainjepa_server.cli
    from brainjepa_core.command.terminal import Commands, options
    from brainjepa_simulations.commands import (
        attack,
        consortium,
        evaluate,
        fetch,
        local,
        paint,
        phenotypes,
        schema,
        simulate,
        study,
    )

    app = Commands(
        help="Hospitals pretrain one Brain-JEPA together; scans stay where they are.",
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    app.command("import")(local.import_scans)
    app.command("import-folder")(local.import_folder)
    app.command()(local.relabel)
    app.command()(phenotypes.phenotypes)
    app.command()(local.pretrain)
    app.command()(local.measure)
    app.command()(local.export)
    app.add_typer(brainjepa_client.cli.app)
    app.add_typer(brainjepa_server.cli.app)
    app.command()(simulate.simulate)
    app.command("simulate attack")(attack.attack)
    app.command("simulate study")(study.study)
    app.command()(simulate.demo)
    app.command()(paint.paint)
    app.add_typer(fetch.app)
    app.add_typer(consortium.app)
    app.command()(evaluate.evaluate)
    app.command("evaluate-sites")(evaluate.evaluate_sites)
    app.command()(schema.schema)
    return app


def main() -> None:
    """Run the command line."""
    if sys.version_info < (3, 11):  # noqa: UP036 - pip keeps it away, a checkout does not
        found = f"{sys.version_info[0]}.{sys.version_info[1]}"
        sys.exit(
            f"Error: expected Python 3.11 or newer, found {found}; make an environment of a newer "
            "one (python3.11 -m venv .venv)"
        )
    command()(prog_name="brainjepa")


if __name__ == "__main__":
    main()
