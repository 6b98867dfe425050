"""The form of kits and requests: a line a field, then perhaps a certificate.

    # What it is, for whoever opens it.
    brainjepa: kit
    format: 1
    consortium: ...
    -----BEGIN CERTIFICATE-----

Such a file is from elsewhere: it is small, has no nesting, and nothing in it is looked up. OpenSSL
and curl pass over the fields and read the certificate. Files that came by mail (other ends of
lines, a byte order mark) are read as they were written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from brainjepa_core.consortium.names import shown
from brainjepa_core.problems import plainly

Kind = Literal["kit", "request"]
FORMAT = 1
LARGEST = 65_536  # bytes; a kit has about 1,300
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_FIELD = re.compile(r"([a-z]+): (.+)")
# PEM of any kind, PuTTY's, and OpenSSH's without the lines around it.
_PRIVATE = re.compile(rb"PRIVATE KEY-----|PuTTY-User-Key-File|b3BlbnNzaC1rZXktdjE")
_MAKER: dict[Kind, str] = {
    "kit": "the file that the coordinator made (brainjepa server init)",
    "request": "the file that the site made (brainjepa site join)",
}
_OTHER_FILES = (  # how a file begins; what it is
    (b"-----BEGIN CERTIFICATE-----", "a certificate alone"),
    (b"ecdsa-sha2-", "a public key alone"),
    (b"ssh-", "a public key alone"),
    (b"PK\x03\x04", "a zip archive"),
    (b"%PDF", "a PDF"),
    (b"<", "a web page"),
)


@dataclass(frozen=True)
class Document:
    """A file's fields, each with the line, from 1, in which it is written.

    Attributes
    ----------
    name : str
        Of the file, for errors.
    kind : {"kit", "request"}
    certificate : bytes
        PEM, or empty.
    """

    name: str
    kind: Kind
    certificate: bytes
    _fields: Mapping[str, tuple[str, int]]

    def __getitem__(self, field: str) -> str:
        return self._fields[field][0]

    def wrong(self, field: str, expected: str, found: str) -> ValueError:
        """An error about a field, with its place and the mend."""
        return ValueError(
            f"{self.name} line {self._fields[field][1]}: {field}: expected {expected}, found "
            f"{found}; {_again(self.kind)}"
        )

    def matching(self, field: str, pattern: str, expected: str) -> str:
        """A field that matches a pattern as a whole.

        Raises
        ------
        ValueError
        """
        if not re.fullmatch(pattern, self[field]):
            raise self.wrong(field, expected, shown(self[field]))
        return self[field]


def document_text(
    kind: Kind, about: str, fields: Mapping[str, str | int], certificate: str = ""
) -> str:
    """What a kit's or a request's file holds."""
    lines = [f"# {about}", f"brainjepa: {kind}", f"format: {FORMAT}"]
    return "\n".join([*lines, *(f"{key}: {text}" for key, text in fields.items()), certificate])


def read_document(path: Path, kind: Kind, fields: tuple[str, ...], *, certified: bool) -> Document:
    """Read a kit or a request whose fields are judged next.

    Parameters
    ----------
    path : Path
    kind : {"kit", "request"}
    fields : tuple of str
        Those of this kind; all of them are needed, and no others are known.
    certified : bool
        Whether a certificate follows them.

    Raises
    ------
    ValueError
        In one line, with file and line: what was found instead, and whom to ask for it.
    """
    lines = _lines(path, kind)
    begin = lines.index(_BEGIN) if _BEGIN in lines else len(lines)
    _require_kind(lines[:begin], path.name, kind)
    written = _fields(lines[:begin], path.name, kind)
    tail = "\n".join(line for line in lines[begin:] if line)
    lacking = [f"'{field}'" for field in fields if field not in written]
    if certified and not (tail.endswith(_END) and tail.count(_BEGIN) == tail.count(_END) == 1):
        lacking.append("one certificate from its first line to its last")
    if lacking:
        raise ValueError(
            f"{path.name}: expected a whole {kind}, found it without {', '.join(lacking)}; "
            f"{_again(kind)}"
        )
    document = Document(path.name, kind, tail.encode() if certified else b"", written)
    unknown = next((name for name in written if name not in ("brainjepa", "format", *fields)), None)
    if unknown is not None:
        raise document.wrong(unknown, f"no such field in a {kind} of format {FORMAT}", "it")
    if tail and not certified:
        raise ValueError(
            f"{path.name} line {begin + 1}: expected nothing but fields in a {kind}, found a "
            f"certificate; {_again(kind)}"
        )
    return document


def _again(kind: Kind) -> str:
    return f"ask again for {_MAKER[kind]}"


def _lines(path: Path, kind: Kind) -> list[str]:
    """A file's lines, if it can be a document at all; without blanks at their ends."""
    expected = f"{path.name}: expected a {kind}"
    content = _bytes(path, expected, kind)
    if _PRIVATE.search(content.replace(b"\0", b"")):
        raise ValueError(
            f"{expected}, found a private key in it; delete the file wherever it went, for a key "
            "that has travelled is no secret: remove it at its site, join anew (brainjepa site "
            "join), and revoke it if it was admitted (brainjepa server revoke)"
        )
    if len(content) > LARGEST:
        raise ValueError(f"{expected} of at most {LARGEST} bytes, found more; give {_MAKER[kind]}")
    if not content.strip():
        raise ValueError(f"{expected}, found an empty file; {_again(kind)}")
    content = content.removeprefix(b"\xef\xbb\xbf")
    for beginning, found in _OTHER_FILES:
        if content.lstrip().startswith(beginning):
            raise ValueError(f"{expected}, found {found}; give {_MAKER[kind]}")
    try:
        return [line.strip() for line in content.decode().split("\n")]
    except UnicodeError as error:
        raise ValueError(f"{expected}, found {plainly(error)}; {_again(kind)}") from error


def _bytes(path: Path, expected: str, kind: Kind) -> bytes:
    """What a file holds, or a little more than a document may."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for its writer
            found = "a folder" if path.is_dir() else "no ordinary file"
            raise ValueError(f"{expected}, found {found}; give {_MAKER[kind]}")
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"{expected}, found {plainly(error)}; correct the path") from error


def _fields(lines: list[str], name: str, kind: Kind) -> dict[str, tuple[str, int]]:
    fields: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(lines, start=1):
        if not line or line.startswith("#"):
            continue
        match = _FIELD.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{name} line {number}: expected a {kind}'s 'field: value', found another text; "
                f"give {_MAKER[kind]}, as it was made"
            )
        field, text = match.groups()
        if field in fields:
            raise ValueError(
                f"{name} line {number}: expected each field once, found '{field}' a second time "
                f"(first in line {fields[field][1]}); {_again(kind)}"
            )
        fields[field] = text, number
    return fields


def _require_kind(lines: list[str], name: str, kind: Kind) -> None:
    """Refuse other kinds and formats, whatever else such a file may hold."""
    matches = ((number, _FIELD.fullmatch(line)) for number, line in enumerate(lines, start=1))
    told = {match[1]: (match[2], number) for number, match in matches if match is not None}
    found, _ = told.get("brainjepa", ("", 0))
    if found != kind:
        what = f"a {found}" if found in _MAKER else "another file"
        raise ValueError(f"{name}: expected a {kind}, found {what}; give {_MAKER[kind]}")
    written, line = told.get("format", ("none", 1))
    if written != str(FORMAT):
        newer = re.fullmatch("[1-9][0-9]*", written)
        mend = "a newer version made it: update brainjepa-federated here" if newer else _again(kind)
        raise ValueError(
            f"{name} line {line}: format: expected {FORMAT}, found {shown(written)}; {mend}"
        )
