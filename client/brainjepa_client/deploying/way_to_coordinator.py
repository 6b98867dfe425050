"""The way from a site to its coordinator, step by step: name, proxy, connection, TLS, answers.

Flower's client goes the same way: through the proxy that the environment names for HTTPS, unless
NO_PROXY spares the coordinator, and with the kit's authority as the only one that is trusted.
"""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from brainjepa_client.deploying.flower_parts import MEDIA_TYPE
from brainjepa_core.consortium.certificates import common_name
from brainjepa_core.consortium.kit import Kit
from brainjepa_core.problems import plainly

PATIENCE = 15.0  # seconds for each step
# OpenSSL's numbers of what is wrong with a certificate.
_NOT_YET, _ENDED, _OTHER_NAMES = 9, 10, (62, 64)
_CLOCK = "set the clock of this machine (NTP); if it is right, tell the coordinator"


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes
    ----------
    status : int
        Of HTTP.
    date : str, optional
        The server's own time, as it tells it.
    """

    status: int
    date: str | None


@dataclass(frozen=True)
class Way:
    """From this machine to a kit's coordinator.

    Attributes
    ----------
    kit : Kit
    """

    kit: Kit

    def proxy(self) -> str:
        """The proxy in between, without its password; empty if there is none.

        Raises
        ------
        ValueError
            If it is none, cannot be reached, or does not let this machine through.
        """
        proxy = self._proxy()
        if proxy is None:
            return ""
        where = f"{proxy.hostname}:{proxy.port or 80}"
        try:
            self._dial(proxy).close()
        except OSError as error:
            told = str(error).partition("Tunnel connection failed: ")[2]
            found = f"that it refuses ({told})" if told else plainly(error, "no answer")
            raise ValueError(
                f"expected the proxy {where} of HTTPS_PROXY to connect to {self.kit.address}, "
                f"found {found}; ask IT to let it through, correct HTTPS_PROXY (with name and "
                "password where it asks for them), or spare the coordinator with NO_PROXY="
                f"{self.kit.host}"
            ) from error
        return where

    def reach(self) -> str:
        """Look up the coordinator's name and connect; returns the address that answered.

        Raises
        ------
        ValueError
        """
        host, port = self.kit.host, self.kit.port
        if self._proxy() is not None:
            return "by the proxy"  # which looks the name up
        try:
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ValueError(
                f"expected an address of '{host}', found none (DNS); ask IT whether this machine "
                "may look up names of the internet, and the coordinator whether the name is right"
            ) from error
        try:
            with socket.create_connection((host, port), PATIENCE) as line:
                return str(line.getpeername()[0])
        except OSError as error:
            found = "a refusal" if isinstance(error, ConnectionRefusedError) else plainly(error)
            raise ValueError(
                f"expected a connection to {self.kit.address}, found {found}; ask the coordinator "
                f"whether the server runs, and IT whether port {port} is open to the outside"
            ) from error

    def certificate(self) -> str:
        """Shake hands as the SuperNode does; returns until when the certificate is good.

        Raises
        ------
        ValueError
            Saying whose certificate was met instead.
        """
        try:
            with self._secure(self._context()) as line:
                content = line.getpeercert(binary_form=True)
        except ssl.SSLCertVerificationError as error:
            raise self._wrong(error) from error
        except OSError as error:
            found = "no TLS there" if isinstance(error, ssl.SSLError) else plainly(error)
            raise ValueError(
                f"expected TLS from {self.kit.address}, found {found}; ask the coordinator whether "
                "its server runs behind that address, and IT whether something stands in between"
            ) from error
        assert content is not None  # a verified one was shown
        ends = x509.load_der_x509_certificate(content).not_valid_after_utc
        return f"signed by the kit's authority, good until {ends:%Y-%m-%d}"

    def ask(self, path: str) -> Answer:
        """Send an empty request, as somebody without a key would.

        Raises
        ------
        ValueError
        """
        address = self.kit.address
        try:
            with self._secure(self._context()) as line:
                line.sendall(
                    f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n"
                    f"Content-Type: {MEDIA_TYPE}\r\nConnection: close\r\n\r\n".encode()
                )
                answer = http.client.HTTPResponse(line, method="POST")
                answer.begin()
                return Answer(answer.status, answer.getheader("Date"))
        except (OSError, http.client.HTTPException) as error:
            found = plainly(error, "none, or none of HTTP")
            raise ValueError(
                f"expected an answer of {address} to {path}, found {found}; ask the coordinator "
                "whether its server runs"
            ) from error

    def _proxy(self) -> SplitResult | None:
        named = getproxies_environment()
        proxy = named.get("https") or named.get("all")
        if not proxy or proxy_bypass(self.kit.host):
            return None
        named_as = urlsplit(proxy if "//" in proxy else f"http://{proxy}")
        try:
            sound = named_as.scheme == "http" and named_as.hostname and named_as.port != 0
        except ValueError:  # a port that is no number
            sound = False
        if not sound:  # its text may hold a password
            raise ValueError(
                "expected a proxy as http://HOST:PORT in HTTPS_PROXY, found another kind or text; "
                "ask IT for the HTTP proxy, or spare the coordinator with "
                f"NO_PROXY={self.kit.host}"
            )
        return named_as

    def _dial(self, proxy: SplitResult | None) -> socket.socket:
        """A connection to the coordinator, before any TLS."""
        host, port = self.kit.host, self.kit.port
        if proxy is None:
            return socket.create_connection((host, port), PATIENCE)
        to_proxy = http.client.HTTPConnection(proxy.hostname or "", proxy.port or 80, PATIENCE)
        headers = {}
        if proxy.username is not None:
            told = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            coded = base64.b64encode(told.encode()).decode()
            headers["Proxy-Authorization"] = f"Basic {coded}"
        to_proxy.set_tunnel(host, port, headers)
        to_proxy.connect()
        return to_proxy.sock

    def _secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        line = self._dial(self._proxy())
        try:
            return context.wrap_socket(line, server_hostname=self.kit.host)
        except BaseException:
            line.close()
            raise

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.kit.authority.public_bytes(Encoding.PEM).decode())
        return context

    def _wrong(self, error: ssl.SSLCertVerificationError) -> ValueError:
        """Say what is wrong with the certificate, and whose it is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # to look at it only
        with self._secure(context) as line:
            shown = line.getpeercert(binary_form=True)
        assert shown is not None  # a server shows one
        met = x509.load_der_x509_certificate(shown)
        expected = f"expected the coordinator's certificate at {self.kit.address}"
        if error.verify_code in _OTHER_NAMES:
            return ValueError(
                f"{expected}, found one for {_names(met)}; ask the coordinator to make one for "
                f"this name too (brainjepa server init --host), or for a kit with the other name"
            )
        if error.verify_code == _ENDED:
            return ValueError(
                f"{expected} in force, found that it ended on {met.not_valid_after_utc:%Y-%m-%d} "
                "by this machine's clock; if the clock is right, ask the coordinator to renew it "
                "(brainjepa server init)"
            )
        if error.verify_code == _NOT_YET:
            begins = f"{met.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
            return ValueError(f"{expected} in force, found that it begins on {begins}; {_CLOCK}")
        issuer = met.issuer.rfc4514_string()
        if issuer == self.kit.authority.subject.rfc4514_string():
            return ValueError(
                f"{expected}, signed by the kit's authority, found another authority of the same "
                f"name ('{common_name(self.kit.authority)}'); ask the coordinator for its kit, and "
                "compare the fingerprint anew"
            )
        return ValueError(
            f"{expected}, signed by the kit's authority, found one issued by '{issuer}'; an "
            f"antivirus or a proxy opens TLS here: ask IT to leave {self.kit.address} alone"
        )


def _names(certificate: x509.Certificate) -> str:
    """For which names a certificate is."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return f"'{common_name(certificate)}'"
    names = [*found.get_values_for_type(x509.DNSName)]
    names += map(str, found.get_values_for_type(x509.IPAddress))
    return ", ".join(f"'{name}'" for name in names)
