"""Pages of reference that are made from the code: every command, and every key of every YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import typer.main

import brainjepa
from brainjepa_core.command.settings_schema import schema_of
from brainjepa_core.models.registry import families, family_named
from brainjepa_simulations.yaml_kinds import YAML_KINDS

Schema = Mapping[str, Any]
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
TYPES = {
    "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false",
    "object": "fields", "null": "null",
}  # fmt: skip
PAGES = {found.settings.__name__: kind for kind, found in YAML_KINDS.items()}


def write_pages(folder: Path) -> None:
    """Write all pages, and leave those alone that are as they should be."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"commands.md": commands_page()}
    made |= {f"yaml-{kind}.md": yaml_page(kind) for kind in YAML_KINDS}
    for name, text in made.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def commands_page() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        "",
        "`--verbose` tells every step, and `brainjepa COMMAND --help` what stands here. A command",
        "ends with exit code 0, with 1 where something has to be mended, with 2 where it was spelt",
        "wrong, and with 130 after Ctrl-C.",
    ]
    for words, command in leaves(typer.main.get_command(brainjepa.command())):
        context = click.Context(command, info_name=f"brainjepa {words}")
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        lines += ["", f"## `brainjepa {words}`", "", cell(command.help or ""), ""]
        lines += [f"```text\n{usage}\n```", ""]
        lines += table(
            ("name", "what"),
            [
                (f"`{'`, `'.join(names(one))}`", cell(str(getattr(one, "help", "")), default(one)))
                for one in command.params
            ],
        )
    return "\n".join(lines) + "\n"


def leaves(command: click.Command, words: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, with the words that call it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield words, command
    for name, one in (below or {}).items():
        yield from leaves(one, f"{words} {name}".strip())


def names(parameter: click.Parameter) -> list[str]:
    """An option's spellings; an argument's word in the usage."""
    if isinstance(parameter, click.Option):
        return [*parameter.opts, *parameter.secondary_opts]
    return [parameter.make_metavar(click.Context(click.Command("")))]


def default(parameter: click.Parameter) -> str:
    """What is taken where nothing is said, in brackets."""
    if isinstance(parameter, click.Option) and parameter.required:
        return " (required)"
    told = parameter.default
    plain = isinstance(told, (str, int, float, Path)) and not isinstance(told, bool) and told != ""
    return f" (default: {told})" if plain else ""


def yaml_page(kind: str) -> str:
    """Every key of a kind of YAML."""
    schema = schema_of(YAML_KINDS[kind].settings)
    lines = [
        f"# YAML: {kind}",
        "",
        f"{schema['description']} Read by {YAML_KINDS[kind].read_by}.",
        "",
        "A key that is written twice, or that is not listed here, is an error. Relative paths",
        "start at the file's folder. For an editor:",
        "",
        f"```console\n$ brainjepa schema {kind} > {kind}.json\n```",
        "",
        f"and the file's first line: `# yaml-language-server: $schema={kind}.json`.",
    ]
    lines += sections(schema, schema.get("$defs", {}), "", {kind})
    if kind == "pretraining":
        lines += families_sections()
    return "\n".join(lines) + "\n"


def sections(schema: Schema, defs: Schema, prefix: str, shown: set[str]) -> list[str]:
    """A table of a model's fields, then one of each field that holds fields."""
    fields = schema.get("anyOf", [schema])[-1]["properties"]
    required = schema.get("anyOf", [schema])[-1].get("required", ())
    lines, rows = [""], []
    if prefix:
        lines += [f"## `{prefix.rstrip('.')}`", ""]
    below: list[str] = []
    for name, field in fields.items():
        model = model_of(field)
        target = model and PAGES.get(model)
        text = field.get("description") or (model and defs[model].get("description", "")) or ""
        if target and target not in shown:
            text = f"{text} Keys: [YAML: {target}](yaml-{target}.md)."
        elif model:
            below += sections(defs[model], defs, f"{prefix}{name}.", shown)
        told = "(required)" if name in required else value(field.get("default"))
        rows.append((f"`{prefix}{name}`", takes(field), told, cell(text)))
    return [*lines, *table(("key", "takes", "default", "what"), rows), *below]


def model_of(field: Schema) -> str | None:
    """Name of the model whose fields a field holds, alone or in a list."""
    inside = (field.get("items", {}), field.get("additionalProperties", {}))
    for one in (field, *field.get("anyOf", ()), *inside):
        if isinstance(one, dict) and "$ref" in one:
            return str(one["$ref"]).rpartition("/")[2]
    return None


def takes(field: Schema) -> str:
    """What a field takes, in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(takes(one) for one in field["anyOf"]))
    if "$ref" in field:
        return "fields"
    if "enum" in field:
        return ", ".join(f"`{word}`" for word in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if field.get("format") == "path":
        return "path"
    kinds = field.get("type", "any")
    if kinds == "array":
        return f"list of {takes(field['items'])}" if "items" in field else "list"
    words = " or ".join(
        TYPES.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)
    )
    bounds = [f"{told} {field[key]:g}" for key, told in BOUNDS.items() if key in field]
    return " ".join([words, *([", ".join(bounds)] if bounds else [])])


def value(told: object) -> str:
    """A default as YAML would write it; fields within a field stand in a table of their own."""
    if isinstance(told, bool):
        return f"`{str(told).lower()}`"
    if told is None or (isinstance(told, dict) and told):
        return "-" if told is None else "as below"
    if isinstance(told, list):
        return f"`[{', '.join(map(str, told))}]`"
    return f"`{told}`" if told != "" else "-"


def families_sections() -> list[str]:
    """Fields that ``model`` of each family takes."""
    lines = [
        "", "## `model`, by family", "",
        "What `model` holds depends on `family`. `rois`, `frames`, `components` and `adapters`",
        "follow from the data and from other settings, and are not written.",
    ]  # fmt: skip
    for name in families():
        settings = family_named(name).settings
        schema = schema_of(settings)
        sizes = ", ".join(f"`{size}`" for size in settings.presets)
        recipes = ", ".join(f"`{recipe}`" for recipe in settings.recipes)
        lines += ["", f"### `family: {name}`", "", f"{schema['description']} `preset`: {sizes}. "]
        lines += [f"`recipe`: {recipes}."]
        derived = {"rois", "frames", "components", "adapters"}
        fields = {k: v for k, v in schema["properties"].items() if k not in derived}
        defs = schema.get("$defs", {})
        rows = sections({"properties": fields}, defs, "model.", set())
        lines += [
            line.replace("## `model", "#### `model", 1) for line in rows if line != "## `model`"
        ]
    return lines


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A table in Markdown; none without rows."""
    if not rows:
        return []
    lines = [headings, ("---",) * len(headings), *rows]
    return [f"| {' | '.join(row)} |" for row in lines]


def cell(*texts: str) -> str:
    """Text that stays one cell of a table."""
    text = " ".join("".join(texts).split()).replace("|", "\\|")
    return re.sub(r"([*_<\[])", r"\\\1", text)
