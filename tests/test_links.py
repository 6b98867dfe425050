"""Links in the documentation: pages, sections and files are there; others are asked by hand."""

from __future__ import annotations

import re
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from brainjepa_simulations.yaml_kinds import YAML_KINDS

ROOT = Path(__file__).parents[1]
# Pages that are made with the site, beside those of the checkout.
MADE = {
    ROOT / "docs" / "gallery" / "index.rst",
    *(ROOT / "docs" / "reference" / "made" / f"yaml-{kind}.md" for kind in YAML_KINDS),
    ROOT / "docs" / "reference" / "made" / "commands.md",
}
EXAMPLES = re.compile(r"^https?://(127\.0\.0\.1|localhost|[\w.-]*example\.\w+)([:/]|$)")
BROWSER = {"User-Agent": "Mozilla/5.0 (links of a documentation)"}  # some refuse what has no name


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md", "*.rst"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split()]


def links_of(path: Path) -> Iterator[str]:
    """Targets of links, also of those over two lines."""
    text = without_blocks(path.read_text())
    yield from re.findall(r"\]\(\s*([^)\s]+)\s*\)", text)
    if path.suffix == ".rst":
        yield from re.findall(r"<(https?://[^>]+)>", text)


def anchors_of(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", without_blocks(text), re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def problems_of(page: Path) -> Iterator[str]:
    for target in links_of(page):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        if other in MADE:
            continue
        if not other.exists():
            yield f"{page.relative_to(ROOT)}: {target}: no such file"
        elif anchor and anchor not in anchors_of(other.read_text()):
            yield f"{page.relative_to(ROOT)}: {target}: no such section"


def test_every_link_within_the_repository_leads_somewhere():
    found = {page: list(links_of(page)) for page in pages()}
    assert sum(map(len, found.values())) > 100
    assert any("#" in target for targets in found.values() for target in targets)
    assert [problem for page in found for problem in problems_of(page)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# A `word`, and more …\n\n## Twice\n\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#a-word-and-more-) [b](there.md#twice-1) [c](#here) [d](gone.md)\n"
        "```\n[e](in-code.md)\n```\n[f](\nthere.md#twice-2) [g](https://example.org)\n"
    )
    assert list(problems_of(page)) == [
        "page.md: #here: no such section",
        "page.md: gone.md: no such file",
        "page.md: there.md#twice-2: no such section",
    ]


def outside() -> list[str]:
    """Addresses elsewhere that pages name, in links or as they are."""
    found = set()
    for page in pages():
        found |= set(re.findall(r"https?://[^\s)>\"'`\]]+", without_blocks(page.read_text())))
    return sorted(a for one in found if not EXAMPLES.match(a := one.rstrip(".,;")))


def test_addresses_elsewhere_are_of_few_hosts():
    """Each is somebody's whom the project relies on to stay; a new one is a decision."""
    hosts = {address.split("/")[2] for address in outside()}
    assert hosts <= {
        "arxiv.org", "doi.org", "download.pytorch.org", "flower.ai", "github.com",
        "keepachangelog.com", "semver.org",
    }  # fmt: skip


@pytest.mark.network
def test_addresses_elsewhere_answer(request):
    if request.config.getoption("markexpr") != "network":
        pytest.skip("asks the internet; by hand, with -m network")
    gone = {}
    for address in outside():
        try:
            asked = urllib.request.Request(address, headers=BROWSER)
            with urllib.request.urlopen(asked, timeout=30) as answer:
                answer.read(1)
        except urllib.error.HTTPError as error:
            if error.code in (404, 410):
                gone[address] = str(error.code)  # others refuse programs, not people
        except OSError as error:
            gone[address] = type(error).__name__
    assert gone == {}
