"""The shipped configurations of kept proxies pass what the built-in one passes, and no more."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from made_consortium import consortium

from brainjepa_server.deploying.proxy import LARGEST_BODY, PASSES

FOLDER = Path(__file__).parents[3] / "server"
CADDY, NGINX = (FOLDER / "Caddyfile").read_text(), (FOLDER / "nginx.conf").read_text()


def lines_of(text: str) -> list[str]:
    return [line.split("  #")[0].strip() for line in text.splitlines() if line.strip()]


def blocks(text: str, begin: str) -> list[str]:
    """Each block that such a line opens, to the line that closes it."""
    found = re.findall(rf"^(\s*){begin}.*?\{{\n(.*?)\n\1\}}", text, re.MULTILINE | re.DOTALL)
    return [inside for _, inside in found]


def test_both_pass_the_paths_of_the_built_in_proxy():
    ours = f"^{PASSES.pattern.decode()}$"
    assert re.findall(r"path_regexp (\S+)", CADDY) == [ours]
    assert re.findall(r'location ~ "(\S+)"', NGINX) == [ours]


def test_caddy_passes_sites_calls_and_refuses_all_else():
    assert CADDY.count("reverse_proxy") == 1
    sites, others = blocks(CADDY, "handle")
    assert "reverse_proxy https://127.0.0.1:" in sites
    assert lines_of(others) == ["respond 403"]
    assert "method POST" in CADDY and "admin off" in CADDY and "auto_https off" in CADDY


def test_nginx_passes_sites_calls_and_refuses_all_else():
    assert NGINX.count("proxy_pass ") == 1
    sites, others = blocks(NGINX, "location")
    assert "proxy_pass https://127.0.0.1:8000$uri;" in sites
    assert "limit_except POST { deny all; }" in sites and "proxy_ssl_verify on;" in sites
    assert lines_of(others) == ["return 403;"]


@pytest.mark.parametrize("text", [CADDY, NGINX])
def test_both_show_the_servers_certificate_and_trust_the_superlinks_alone(text):
    for name in ("server.crt", "server.key", "loopback.crt"):
        assert text.count(f"/pki/{name}") == 1
    assert "ca.key" not in text


def test_bodies_and_waits_are_those_of_the_built_in_proxy():
    megabytes = LARGEST_BODY // 1024**2
    assert f"max_size {megabytes}MB" in CADDY and f"client_max_body_size {megabytes}m" in NGINX
    assert "read_timeout 120s" in CADDY and "proxy_read_timeout 120s" in NGINX


@pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy")
def test_caddy_reads_its_own(tmp_path):
    consortium(tmp_path / "c", "127.0.0.1")
    (tmp_path / "c" / "pki" / "loopback.crt").write_bytes(
        (tmp_path / "c" / "pki" / "ca.crt").read_bytes()
    )
    told = {"BRAINJEPA_HOST": "127.0.0.1", "BRAINJEPA_DIR": str(tmp_path / "c")}
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", FOLDER / "Caddyfile"]
    subprocess.run(command, env=told, check=True)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_reads_its_own(tmp_path):
    consortium(tmp_path / "c", "127.0.0.1")
    pki = tmp_path / "c" / "pki"
    (pki / "loopback.crt").write_bytes((pki / "ca.crt").read_bytes())
    text = NGINX.replace("/etc/brainjepa/consortium", str(tmp_path / "c"))
    text = text.replace("/var/log/nginx", str(tmp_path)).replace("443", "18443")
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\n{text}")
    subprocess.run(["nginx", "-t", "-c", tmp_path / "nginx.conf"], check=True)
