"""The documentation: nothing of the product is missing in it, and what it shows can be done."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import typer.main
from child_process import environment
from pydantic import BaseModel

import brainjepa
from brainjepa_core.models.registry import families, family_named
from brainjepa_simulations.scenario import read_scenario
from brainjepa_simulations.yaml_kinds import YAML_KINDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
sys.path.append(str(DOCS))

from reference_pages import PAGES, leaves, write_pages  # noqa: E402

COMMANDS = dict(leaves(typer.main.get_command(brainjepa.command())))
TUTORIALS = sorted((DOCS / "tutorials").glob("*.md"))
TEXTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *TUTORIALS]
}
# Who runs the commands of a page's blocks, or why nobody does.
RUN_BY = {
    "docs/tutorials/data-manager.md": "tests/test_docs.py",
    "docs/tutorials/coordinator.md": "tests/test_docs.py",
    "docs/tutorials/researcher.md": "tests/test_docs.py",
    "docs/first-study.md": "tests/simulations/deploying/test_first_study.py",
    "docs/deployment.md": "tests/test_deployment_guide.py",
}
NOT_RUN = {
    "README.md": "hours of computing, and data that are not shipped; its Python is run",
    "docs/differential_privacy.md": "files of a study in the making; planning has tests of its own",
    "docs/evaluation.md": "hours of computing on ABIDE, which is not shipped",
    "docs/federation.md": "a Ray cluster, and hours of computing",
    "docs/operations.md": "root, systemd, docker and Slurm of a hospital",
    "docs/preparing.md": "sixty painted people, for minutes; the tutorial does the same with six",
    "docs/privacy.md": "attacks take minutes; they have tests of their own",
    "docs/install.md": "the network; the wheel is tried by make wheel",
}


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    write_pages(folder)
    return folder


def lines_of(text: str) -> Iterator[str]:
    """Commands of ours in a page's blocks, without prompt and comment."""
    for kind, block in re.findall(r"^```([\w ]*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if kind.split()[:1] in (["python"], ["yaml"], ["text"]):
            continue
        for line in block.replace("\\\n", " ").splitlines():
            called = re.match(r"^(?:\$ )?(?:\S+/)?(brainjepa [^#]*)", line)
            if called:
                yield called[1].split(" && ")[0].split(" > ")[0].strip()


def command_of(line: str) -> tuple[click.Command, list[str]]:
    words = shlex.split(line)[1:]
    name = next((" ".join(words[:n]) for n in (3, 2, 1) if " ".join(words[:n]) in COMMANDS), None)
    assert name is not None, f"no such command: {line}"
    return COMMANDS[name], words[len(name.split()) :]


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_of_a_page_is_spelt_right(page):
    for line in lines_of(TEXTS[page]):
        command, words = command_of(line)
        context = click.Context(command, info_name=line)
        if "..." not in words and not {"--help", "--version"} & set(words):
            command.make_parser(context).parse_args(words)  # options, and their values


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_named_in_a_sentence_is_there(page):
    for line in re.findall(r"(?<!`)`brainjepa ([a-z][^`]*)`(?!`)", TEXTS[page]):
        words = re.split(r"[\s,]+", re.sub(r"\s+", " ", line))
        groups = {name.split()[0] for name in COMMANDS}
        assert words[0] in groups, line
        if words[0] not in COMMANDS and len(words) > 1 and words[1].isalpha():
            assert " ".join(words[:2]) in COMMANDS, line


def test_every_page_with_commands_says_who_runs_them():
    with_commands = {page for page, text in TEXTS.items() if any(lines_of(text))}
    assert with_commands <= {*RUN_BY, *NOT_RUN}
    assert {*RUN_BY, *NOT_RUN} <= {*TEXTS} and not {*RUN_BY} & {*NOT_RUN}
    for page, test in RUN_BY.items():
        assert Path(page).name in (ROOT / test).read_text() or "tutorials" in page


def test_pages_tell_how_large_the_demo_is():
    cohort = read_scenario("demo").cohort
    assert cohort.subject_counts == (60,) * 4
    for page, told in {
        "README.md": "sixty painted people",
        "docs/preparing.md": "sixty painted people",
        "docs/tutorials/researcher.md": "Four hospitals of sixty people",
    }.items():
        assert told in TEXTS[page]


def test_every_page_is_in_the_contents():
    contents = (DOCS / "index.md").read_text()
    listed = set(re.findall(r"^([\w/-]+)$", contents, re.MULTILINE))
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.rglob("*.md")}
    made = {page for page in pages if page.startswith(("reference/made", "gallery", "_build"))}
    assert pages - made - {"index"} <= listed
    assert {f"reference/made/yaml-{kind}" for kind in YAML_KINDS} <= listed


def test_every_public_name_is_explained():
    text = TEXTS["docs/python.md"]
    assert [name for name in brainjepa.__all__ if name != "__version__" and name not in text] == []


def test_every_command_with_its_options_is_in_the_reference(reference):
    text = (reference / "commands.md").read_text()
    sections = dict(re.findall(r"^## `brainjepa (.*?)`\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    assert set(sections) == set(COMMANDS)
    for name, command in COMMANDS.items():
        for parameter in command.params:
            for word in parameter.opts if isinstance(parameter, click.Option) else ():
                assert f"`{word}`" in sections[name], (name, word)


def keys_of(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Every key of a YAML, and the kind of YAML that its fields have a page of."""
    for name, field in kind.model_fields.items():
        models = [one for one in types_in(field.annotation) if issubclass(one, BaseModel)]
        page = PAGES.get(models[0].__name__) if models else None
        yield f"{prefix}{name}", page
        for model in () if page else models:
            yield from keys_of(model, f"{prefix}{name}.")


def types_in(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for one in get_args(annotation):
        yield from types_in(one)


@pytest.mark.parametrize("kind", YAML_KINDS)
def test_every_key_of_every_yaml_is_in_the_reference(kind, reference):
    text = (reference / f"yaml-{kind}.md").read_text()
    keys = list(keys_of(YAML_KINDS[kind].settings))
    assert len(keys) >= 7  # as many as the smallest has
    for key, page in keys:
        row = re.search(rf"^\| `{re.escape(key)}` \| (.*) \| (.*) \| (.*) \|$", text, re.M)
        assert row and row[3], key
        assert page is None or f"(yaml-{page}.md)" in row[3]


def test_every_key_of_every_model_is_in_the_reference(reference):
    text = (reference / "yaml-pretraining.md").read_text()
    parts = dict(re.findall(r"^### `family: (\w+)`\n(.*?)(?=^### |\Z)", text, re.M | re.S))
    assert set(parts) >= set(families())
    for name in families():
        settings = family_named(name).settings
        for key in set(settings.model_fields) - {"rois", "frames", "components", "adapters"}:
            assert f"`model.{key}`" in parts[name]
        assert all(f"`{size}`" in parts[name] for size in settings.presets)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    """Broken links between pages, anchors and references are warnings; examples run elsewhere."""
    ignored = shutil.ignore_patterns("_build", "gallery", "made")
    shutil.copytree(DOCS, tmp_path / "docs", ignore=ignored)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-D", "plot_gallery=0",
         "docs", "html"],
        cwd=tmp_path, env=environment(OMP_NUM_THREADS="1"), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    api = (tmp_path / "html" / "reference" / "api.html").read_text()
    missing = [
        n for n in brainjepa.__all__ if n != "__version__" and f'id="brainjepa.{n}"' not in api
    ]
    assert missing == []
    for script in (ROOT / "examples").glob("*.py"):
        page = tmp_path / "html" / "gallery" / f"{script.stem}.html"
        assert page.exists() == (script.stem != "made_series")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", TUTORIALS, ids=[path.stem for path in TUTORIALS])
def test_a_tutorial_runs_word_by_word(page, tmp_path):
    blocks = re.findall(r"^```(console|python)\n(.*?)^```", page.read_text(), re.M | re.S)
    assert len(blocks) >= 3
    for kind, block in blocks:
        lines = [line.removeprefix("$ ") for line in block.splitlines()]
        calls = [[sys.executable, "-m", *shlex.split(line)] for line in lines]
        for call in [[sys.executable, "-c", block]] if kind == "python" else calls:
            done = subprocess.run(
                call, cwd=tmp_path, env=environment(OMP_NUM_THREADS="1"), capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (call, done.stdout[-2000:], done.stderr[-2000:])
