"""The environment of each process that runs Flower: it asks nobody and tells nobody."""

from __future__ import annotations

import os

FLOWER_ENVIRONMENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray will do by default; else it warns
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONUNBUFFERED": "1",
}


def use_flower_environment() -> None:
    """Set it for this process and all that it starts; before Flower is imported.

    Calls to this machine itself pass by a proxy that the machine may have for the network.
    """
    os.environ.update(FLOWER_ENVIRONMENT)
    for name in ("NO_PROXY", "no_proxy"):
        told = [host for host in os.environ.get(name, "").split(",") if host]
        here = [host for host in ("127.0.0.1", "localhost") if host not in told]
        os.environ[name] = ",".join([*told, *here])
