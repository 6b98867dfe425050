"""What a test does to workers of sites and to a study: each Python with this on its path reads it.

In the folder that ``BRAINJEPA_MEDDLING`` names:

NAME.KIND       what happens at a site when it is asked, a line a question, the next one first;
                NAME.KIND-STEP where it is a step of a secure sum
                ``-``               nothing
                ``hold``            it waits until the file has gone, or it is told to stop
                ``fail EXCEPTION``  it is raised where the answer is made
                ``leak EXCEPTION``  the same, with the site's guard taken out
NAME.step       each optimiser step, once it has begun, waits until the file has gone
NAME.steps      gets a line a step that begins
server.finish   before the final model is written, the study waits until the file has gone

The file's name with ``.met`` tells that a site has come to it, with ``.held`` that it waits, and
with ``.told`` that it is told to stop while it waits.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path


def mark(path: Path) -> None:
    """Tell that somebody has come to it, and waits."""
    for what in (".met", ".held"):
        path.with_name(path.name + what).touch()


def meddle_with_study(folder: Path) -> None:
    """Let the study wait where its final model is about to be written, in an empty place."""
    from brainjepa_server import finishing

    write, path = finishing.write_model, folder / "server.finish"

    def held_write(*arguments):
        if path.exists():
            mark(path)
        while path.exists():
            time.sleep(0.02)
        return write(*arguments)

    finishing.write_model = held_write


def meddle(folder: Path) -> None:
    """Put all of it in place; the worker is about to import the same."""
    from brainjepa_client.answering.site import Site
    from brainjepa_client.computing import stopping
    from brainjepa_client.guarding.policy import Refusal
    from brainjepa_core.pretraining.step import Training
    from brainjepa_core.wire.messages import Reply

    answer, make, advance = Site.answer, Site._answer, Training.advance
    asked = {}

    def told_to_stop() -> bool:
        try:
            stopping.require_going_on()
        except Refusal:
            return True
        return False

    def wait(path: Path, *, until_told: bool) -> None:
        mark(path)
        while path.exists():
            if told_to_stop():
                path.with_name(path.name + ".told").touch()
                if until_told:
                    return
            time.sleep(0.02)

    def next_of(path: Path) -> list[str]:
        try:
            first, *others = path.read_text().splitlines()
        except (FileNotFoundError, ValueError):
            return ["-"]
        if first != "hold":
            path.write_text("".join(f"{line}\n" for line in others))
        return first.split(" ", 1)

    def meddled_answer(self, request):
        step = "" if request.sum is None else f"-{request.sum.step}"
        path = folder / f"{self.settings.name}.{request.kind}{step}"
        asked.update(name=self.settings.name, what=next_of(path))
        what = asked["what"][0]
        if what == "hold":
            wait(path, until_told=True)
        elif what != "-":
            path.with_name(path.name + ".met").touch()
        if what == "leak":
            return Reply(refusal=str(eval(asked["what"][1])))
        return answer(self, request)

    def meddled_make(self, request):
        if asked["what"][0] == "fail":
            raise eval(asked["what"][1])
        return make(self, request)

    def meddled_advance(self, batches):
        with (folder / f"{asked['name']}.steps").open("a") as file:
            file.write(f"{self.step}\n")
        if (folder / f"{asked['name']}.step").exists():
            wait(folder / f"{asked['name']}.step", until_told=False)
        return advance(self, batches)

    Site.answer, Site._answer, Training.advance = meddled_answer, meddled_make, meddled_advance


for program, meddling in (
    ("brainjepa_client.deploying.worker", meddle),
    ("brainjepa_server.deploying.study_process", meddle_with_study),
):
    if program in sys.orig_argv and "BRAINJEPA_MEDDLING" in os.environ:
        meddling(Path(os.environ["BRAINJEPA_MEDDLING"]))
