"""The package's version, from its installed metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


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
