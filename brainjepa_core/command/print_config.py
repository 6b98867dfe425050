"""``--print-config``: settings as a command reads them, defaults and all, instead of its work."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from brainjepa_core.settings import Frozen, read_settings


@dataclass(frozen=True)
class ReadBy:
    """Beside an argument or option in its annotation: what reads the YAML that it names.

    Attributes
    ----------
    home : str
        Module and name of the settings, or of a function that takes the word and returns them (or
        None); imported when it is asked for.
    beside : tuple of str
        Parameters of the command that the function takes, too.
    """

    home: str
    beside: tuple[str, ...] = ()

    def settings(self, word: str | Path, words: dict[str, Any]) -> Frozen | None:
        """What the command would read; paths in it are whole."""
        module, _, name = self.home.partition(":")
        reader: Any = getattr(import_module(module), name)
        found: Frozen | None
        if inspect.isclass(reader):
            kind: Any = reader
            found = read_settings(Path(word).absolute(), kind)
        else:
            found = reader(word, **{name: words[name] for name in self.beside})
        return found


def readers_of(command: Callable[..., Any]) -> dict[str, ReadBy]:
    """Of each parameter of a command that names a YAML, what reads it."""
    hints = get_type_hints(inspect.unwrap(command), include_extras=True)
    return {
        name: mark
        for name, hint in hints.items()
        for mark in getattr(hint, "__metadata__", ())
        if isinstance(mark, ReadBy)
    }


def print_config(readers: dict[str, ReadBy], words: dict[str, Any]) -> None:
    """Print the settings behind a call's words as YAML, a document each."""
    texts = [
        f"# {name.replace('_', '-')}: {word}\n{_yaml(settings)}"
        for name, word in _given(readers, words)
        if (settings := readers[name].settings(word, words)) is not None
    ]
    sys.stdout.write("---\n".join(texts))


def _given(readers: dict[str, ReadBy], words: dict[str, Any]) -> Iterator[tuple[str, str | Path]]:
    for name in readers:
        told = words.get(name)
        for word in told if isinstance(told, list | tuple) else [told]:
            if word is not None:
                yield name, word


def _yaml(settings: Frozen) -> str:
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
