"""The command line for many short calls: imported once, forked for each.

``python command_server.py FOLDER`` makes ``FOLDER/python``, a program that takes Python's place in
``python -m brainjepa WORDS`` (and of a script, and ``-c``). It hands its words, folder, its
environment, limit on file sizes and standard streams to this process, which forks; the child runs
the real command line, and its exit code is the program's. A second or two of imports is spared.
"""

from __future__ import annotations

import json
import os
import resource
import runpy
import signal
import socket
import stat
import sys
from importlib import import_module
from pathlib import Path

SOCKET, PROGRAM = "socket", "python"
IMPORTED = (
    "nibabel", "h5py", "pandas", "brainjepa_client.preparing.prepare",
    "brainjepa_client.preparing.validate", "brainjepa_client.quality.tables_and_page",
    "brainjepa_core.evaluation.comparison", "brainjepa_core.pretraining.local",
    "brainjepa_core.signals.importing.importers",
    "brainjepa_simulations.evaluating.many_models",
)  # fmt: skip
CLIENT = """#!{python} -SE
import json, os, resource, socket, sys

place = socket.socket(socket.AF_UNIX)
place.connect({socket!r})
told = [sys.argv[1:], os.getcwd(), dict(os.environ), resource.getrlimit(resource.RLIMIT_FSIZE)]
text = json.dumps(told).encode()
socket.send_fds(place, [len(text).to_bytes(4, "big")], [0, 1, 2])
place.sendall(text)
sys.exit(int.from_bytes(place.recv(1) or b"\\xff", "big"))
"""


def main(folder: Path) -> None:
    for module in IMPORTED:
        import_module(module)
    import brainjepa

    brainjepa.command()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / SOCKET))
    server.listen()
    program = folder / PROGRAM
    program.write_text(CLIENT.format(python=sys.executable, socket=str(folder / SOCKET)))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are waited for by nobody
    print("here", flush=True)
    while True:
        connection, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _serve(connection, program)
        connection.close()


def _serve(connection: socket.socket, program: Path) -> None:
    """Fork once more, so that the exit code can be waited for, and send it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, streams, _, _ = socket.recv_fds(connection, 4, 3)
    text = b""
    while len(text) < int.from_bytes(length, "big"):
        text += connection.recv(65536)
    child = os.fork()
    if child == 0:
        connection.close()
        _run(*json.loads(text), streams, program)
    _, status = os.waitpid(child, 0)
    connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    os._exit(0)


def _run(words: list[str], folder: str, environment, limit, streams, program: Path) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    resource.setrlimit(resource.RLIMIT_FSIZE, tuple(limit))
    if limit[0] != resource.RLIM_INFINITY:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python itself does at its start
    sys.executable = str(program)
    code = 0
    try:
        if words[:2] == ["-m", "brainjepa"]:
            import brainjepa

            sys.argv = ["brainjepa", *words[2:]]
            brainjepa.main()
        elif words[:1] == ["-c"]:
            sys.argv = ["-c", *words[2:]]
            exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = words
            sys.path.insert(0, str(Path(words[0]).parent))
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
