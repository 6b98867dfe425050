"""Names of consortia and of the coordinator's machine."""

from __future__ import annotations

import pytest

from brainjepa_core.consortium.names import require_consortium_name, require_host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Brain.Example.org.", "brain.example.org"),
        ("superlink", "superlink"),
        ("super_link-1", "super_link-1"),
        ("xn--mnchen-3ya.example", "xn--mnchen-3ya.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("2001:DB8::0:1", "2001:db8::1"),
    ],
)
def test_hosts_are_written_as_certificates_do(text, host):
    assert require_host(text) == host


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("https://brain.example.org", "write the name alone; a port has an option of its own"),
        ("brain.example.org:8443", r"write the name alone; a port .*\(--port\)"),
        ("[::1]", "write the name alone"),
        ("brain example", "write the name alone"),
        ("münchen.example", r"write it in ASCII as DNS does \(xn--...\)"),
        ("*.example.org", "write every name that sites use, each with its own --host"),
        ("brain..org", "use letters, digits and '-' between single dots"),
        ("-brain.org", "use letters"),
        ("", "use letters"),
        ("a" * 64, "use letters"),
        (".".join(["a" * 60] * 5), "use letters"),
        ("127.0.0.256", "an IP address has four numbers from 0 to 255"),
        ("0.0.0.0", "which no site can connect to; write the address that other machines use"),
        ("::", "which no site can connect to"),
        ("224.0.0.1", "which no site can connect to"),
        ("fe80::1%eth0", "which no site can connect to"),
    ],
)
def test_what_is_no_host_is_told_the_mend(text, mend):
    with pytest.raises(ValueError, match=f"^expected the coordinator's host name .*found .*{mend}"):
        require_host(text)


def test_names_that_deceive_or_do_not_fit():
    assert require_consortium_name("Hôpitaux de l'Est") == "Hôpitaux de l'Est"
    for name in ("", " a", "a\nb", "a\x1b[31m", "a\u202eb", "a" * 65, "é" * 33, "\udc80"):
        with pytest.raises(ValueError, match="expected a consortium's name of 1 to 64 printable"):
            require_consortium_name(name)
