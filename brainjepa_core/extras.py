"""What is installed on request only, and how to install it."""

from __future__ import annotations

import importlib.util

from brainjepa_core.version import installed

# The extra of this package that brings each module.
EXTRAS = {
    "flwr": "federation",
    "cryptography": "federation",
    "ray": "simulation",
    "mlflow": "tracking",
    "opacus": "privacy",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
}
# Of which not every version will do, as pyproject.toml says too: peers must match.
PINNED = {"flwr": "1.41"}


def require(*modules: str) -> None:
    """Refuse to go on without modules that the plain installation leaves out.

    Called before they are imported, so that a command says in one line what to install.

    Parameters
    ----------
    *modules : str
        Keys of `EXTRAS`.

    Raises
    ------
    ValueError
        Naming those that are missing or of a wrong version, and the extras that bring them.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        extras = ",".join(dict.fromkeys(EXTRAS[module] for module in missing))
        are = "is" if len(missing) == 1 else "are"
        raise ValueError(
            f"expected {' and '.join(missing)}, which {are} not installed; "
            f"pip install 'brainjepa-federated[{extras}]'"
        )
    for module in PINNED.keys() & set(modules):
        pinned, found = PINNED[module], installed(module)
        if found is not None and not found.startswith(f"{pinned}."):
            raise ValueError(
                f"expected {module} {pinned}, found {found}; "
                f"pip install 'brainjepa-federated[{EXTRAS[module]}]'"
            )
