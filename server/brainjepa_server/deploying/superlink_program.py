"""The SuperLink's process: Flower's own, which does what it is told by who knows this run's secret.

Flower asks nobody for a name at its control calls, unless an enterprise server for accounts is
there: whoever has an account on the coordinator's machine could stop a study, or send one. Here
those calls need the secret that `server start` draws, as do calls that take a study's task.

``python -m brainjepa_server.deploying.superlink_program``, with the options of
``flower-superlink``.
"""

from __future__ import annotations

import hmac
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Never

from flwr.common.constant import ACCESS_TOKEN_KEY, NOOP_ACCOUNT_NAME, NOOP_FLWR_AID
from flwr.supercore.auth.typing import AccountInfo
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.superlink.auth_plugin import ControlAuthnPlugin
from flwr.superlink.cli.flower_superlink import (
    _parse_superlink_lifespan_config,
    _run_superlink_http_api,
)

Metadata = Sequence[tuple[str, str | bytes]]


class SecretAccount(ControlAuthnPlugin):
    """Lets in who shows the secret, under the one account there is; nobody can log in.

    Parameters
    ----------
    secret : bytes
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def validate_tokens_in_metadata(self, metadata: Metadata) -> tuple[bool, AccountInfo | None]:
        """Whether a call shows the secret, and the account that it is for."""
        shown = dict(metadata).get(ACCESS_TOKEN_KEY, b"")
        told = shown.encode() if isinstance(shown, str) else shown
        if not hmac.compare_digest(told, self._secret):
            return False, None
        return True, AccountInfo(flwr_aid=NOOP_FLWR_AID, account_name=NOOP_ACCOUNT_NAME)

    def get_login_details(self) -> None:
        """There are none."""

    def get_auth_tokens(self, device_code: str) -> Never:
        """Refuse: no other secret is given out."""
        raise FlowerError(ApiErrorCode.NO_ACCOUNT_AUTH, "nobody can log in here")

    def refresh_tokens(self, metadata: Metadata) -> Never:
        """Refuse, as `get_auth_tokens`."""
        raise FlowerError(ApiErrorCode.NO_ACCOUNT_AUTH, "nobody can log in here")


def main() -> None:
    """Run until SIGTERM, with the options of the command line."""
    config = _parse_superlink_lifespan_config()
    if config.superexec_auth_secret is None:
        sys.exit("expected --superexec-auth-secret-file, found none; start by 'brainjepa server'")
    account = SecretAccount(config.superexec_auth_secret)
    _run_superlink_http_api(replace(config, authn_plugin=account))


if __name__ == "__main__":
    main()
