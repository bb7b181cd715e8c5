"""The shell at a terminal: completes an id with Tab, runs it, and brings it back from the history.

usage: shell_pty.py STEWARD SERVER KEY SESSION
"""

import os
import pty
import re
import select
import sys
import time

STEWARD, SERVER, KEY, SESSION = sys.argv[1:]
PATIENCE = 60
# What a terminal carries out and does not show.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78]")


class Terminal:
    """A program at a terminal of its own."""

    def __init__(self, arguments):
        self.child, self.fd = pty.fork()
        if self.child == 0:
            os.environ.update(TERM="xterm", NO_COLOR="1")
            os.execv(arguments[0], arguments)
        self.seen = ""

    def read(self, until):
        """Reads on until the program has said `until` since the last time; returns what it said."""
        end = time.monotonic() + PATIENCE
        while until not in self.seen:
            if not select.select([self.fd], [], [], max(0.0, end - time.monotonic()))[0]:
                raise SystemExit(f"waited in vain for {until!r} in {self.seen!r}")
            data = os.read(self.fd, 65536).decode(errors="replace")
            # The editor asks where the cursor is, and waits for the terminal's answer.
            for _ in range(data.count("\x1b[6n")):
                os.write(self.fd, b"\x1b[1;1R")
            self.seen = ESCAPES.sub("", self.seen + data)
        at = self.seen.index(until) + len(until)
        said, self.seen = self.seen[:at], self.seen[at:]
        return said

    def type(self, text):
        os.write(self.fd, text.encode())


shell = Terminal([STEWARD, "--server", SERVER, "--key", KEY, "--project", "acme", "shell"])
shell.read("steward> ")
# Tab offers the id, Enter takes it into the line, and Enter again runs the line.
shell.type("sessions show ses_\t")
shell.read(SESSION)
shell.type("\r")
shell.read(f"sessions show {SESSION}")
shell.type("\r")
shell.read("turns")
shell.read("steward> ")
# From the history: the line before.
shell.type("\x1b[A")
shell.read(SESSION)
shell.type("\r")
shell.read("turns")
shell.read("steward> ")
shell.type("\x04")
_, status = os.waitpid(shell.child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
