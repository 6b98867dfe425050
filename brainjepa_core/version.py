"""The package's version, from its installed metadata, and the commit of its source."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, without importing it; None where there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


VERSION = installed("brainjepa-federated") or "0+unknown"  # a source tree that was never installed


def versions() -> str:
    """The package and what decides its numbers and its messages, in one line."""
    others = [f"{name} {installed(name) or 'not installed'}" for name in ("torch", "flwr")]
    return ", ".join([f"brainjepa {VERSION}", *others])


@cache
def source_commit() -> str:
    """What pip installed from a repository (PEP 610), or what a checkout is at; else empty."""
    try:
        told = Distribution.from_name("brainjepa-federated").read_text("direct_url.json")
        found = json.loads(told or "{}").get("vcs_info", {}).get("commit_id", "")
    except (PackageNotFoundError, ValueError):
        found = ""
    if found:
        return str(found)
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        return ""
    try:
        asked = ["git", "rev-parse", "HEAD"]
        done = subprocess.run(asked, cwd=checkout, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
