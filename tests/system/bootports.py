# SPDX-License-Identifier: Apache-2.0
"""The host's ends of what a guest dials when it boots: randomness on port 1, its log on port 109.

As strict as Microsoft's host is: once a line of the log is no JSON object, what follows counts as the
last words of a guest that has died.
"""

import json
import os
import re
import select
import time

from bridge import listen

ENTROPY_PORT, LOG_PORT = 1, 109
ENTROPY = 512                           # bytes that Microsoft's host gives
LEVELS = ("panic", "fatal", "error", "warning", "info", "debug", "trace")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\Z")


class Entropy:
    """Gives to whoever dials; `given` connections so far."""

    def __init__(self, base, port=ENTROPY_PORT):
        self.listener = listen(base, port)
        self.given = 0

    def give(self, size=ENTROPY, timeout=10, keep=False):
        """Returns the connection if it is to stay open."""
        self.listener.settimeout(timeout)
        sock, _ = self.listener.accept()
        self.given += 1
        sock.settimeout(timeout)
        try:
            sock.sendall(os.urandom(size))
        except OSError:
            # It need not take more than it wants.
            assert size > ENTROPY
        if keep:
            return sock
        sock.close()
        return None

    def close(self):
        self.listener.close()


class Log:
    """Reads the log of one connection after another."""

    def __init__(self, base, port=LOG_PORT):
        self.path = f"{base}_{port}"
        self.listener = listen(base, port)
        self.sock = None
        self.rest = b""
        self.entries = []
        self.ended = False

    def accept(self, timeout=10):
        self.listener.settimeout(timeout)
        self.sock, _ = self.listener.accept()
        self.sock.setblocking(False)
        self.rest, self.ended = b"", False

    def pump(self):
        """Takes what there is."""
        while self.sock and not self.ended:
            try:
                got = self.sock.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionError:
                got = b""
            self.ended = not got
            self.rest += got
            *lines, self.rest = self.rest.split(b"\n")
            self.entries += [self.checked(line) for line in lines]

    @staticmethod
    def checked(line):
        entry = json.loads(line.decode("utf-8"))
        assert isinstance(entry, dict), line
        assert RFC3339.match(entry["time"]), line
        assert entry["level"] in LEVELS, line
        assert isinstance(entry["msg"], str), line
        return entry

    def said(self, words):
        self.pump()
        return [entry for entry in self.entries if words in entry["msg"]]

    def wait(self, words, timeout=5):
        """The first entry with these words."""
        deadline = time.monotonic() + timeout
        while not self.said(words):
            left = deadline - time.monotonic()
            assert left > 0, f"{words!r} was not logged in {timeout} s: {self.entries[-20:]}"
            assert not self.ended, f"the log has ended without {words!r}: {self.entries[-20:]}"
            select.select([self.sock], [], [], left)
        return self.said(words)[0]

    def hang_up(self):
        if self.sock:
            self.sock.close()
        self.sock = None

    def close(self):
        self.hang_up()
        self.listener.close()
        if os.path.exists(self.path):
            os.unlink(self.path)
