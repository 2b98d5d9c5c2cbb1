# SPDX-License-Identifier: Apache-2.0
"""hvcat, run by tests on this machine.

No test may reach the host of the machine that it runs on, so every hvcat here is in a system call
filter under which there is no AF_VSOCK: a physical host, to hvcat. What needs the family is tested
inside VMs (test_vsock.py).
"""

import ctypes
import errno
import os
import pathlib
import platform
import signal
import socket
import struct
import subprocess
import threading
import time

import watch
from hvrun import BUILD

HVCAT = str(BUILD / "contrib/hvcat/hvcat")
TEMPLATE = "-facb-11e6-bd58-64006a7986d3"
SERVICE = "9866c7bc-2c38-4a26-9e26-3f5b6a5fbd50"    # has no port, so nothing ever looks for AF_VSOCK
VM, VM2 = "6fd2a5c1-53f3-4a8c-8d0e-0d8a5f0a1b01", "6fd2a5c1-53f3-4a8c-8d0e-0d8a5f0a1b02"

AF_VSOCK = 40
SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
_libc = ctypes.CDLL(None, use_errno=True)


def _filter():
    load, equal, answer = 0x20, 0x15, 0x06
    program = [(load, 0, 0, 0), (equal, 0, 3, SOCKET_CALL[platform.machine()]),
               (load, 0, 0, 16), (equal, 0, 1, AF_VSOCK),
               (answer, 0, 0, 0x50000 | errno.EAFNOSUPPORT), (answer, 0, 0, 0x7fff0000)]
    return ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in program))


_program = _filter()
_header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 6, ctypes.addressof(_program)))


def without_vsock():
    """In a process that is about to become hvcat. What the tests were started with is no business of it: nohup
    would have it ignore signals."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
            _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, _header, 0, 0):
        os._exit(111)


class Cats:
    """The hvcats of one test."""

    def __init__(self, place):
        self.path = place.path
        self.environment = dict(os.environ, HVSOCKET_LOOPBACK_DIR=str(place.path / "loopback"))
        self.started, self.sockets, self.threads, self.files = [], [], [], 0

    def open(self, data=b""):
        """A file of the test with these bytes, to be read or written."""
        self.files += 1
        path = self.path / f"file{self.files}"
        path.write_bytes(data)
        file = open(path, "r+b")
        self.sockets.append(file)
        return file

    def popen(self, *words, prefix=(), **more):
        """stdin, unless given: empty. stdout and stderr: files, in the attributes out and err."""
        more.setdefault("env", self.environment)
        more.setdefault("stdin", subprocess.DEVNULL)
        out, err = self.open(), self.open()
        files = more.pop("files", None)
        limit = ["prlimit", f"--nofile={files}"] if files else []
        process = watch.own(subprocess.Popen(
            [*limit, *map(str, prefix), HVCAT, *map(str, words)], preexec_fn=without_vsock,
            stdout=more.pop("stdout", out), stderr=more.pop("stderr", err), **more))
        process.out, process.err = pathlib.Path(out.name), pathlib.Path(err.name)
        self.started.append(process)
        return process

    def listen(self, *words, path=None, **more):
        """Returns when the socket is there."""
        process = self.popen("-l", *words, **more)
        path = pathlib.Path(path or str(words[-1]).replace("unix://", ""))
        watch.eventually(lambda: path.is_socket() or process.poll() is not None, 5, f"socket {path}")
        assert process.poll() is None, (process.returncode, process.err.read_text())
        # Bound, and listening: it waits for somebody.
        watch.eventually(lambda: watch.stat(process.pid)[1] == "S", 5)
        return process

    def end(self, process, timeout=10):
        """Its status, standard output and error."""
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{process.args} goes on; out {process.out.read_bytes()[:200]!r}, "
                                 f"err {process.err.read_text()!r}") from None
        return status, process.out.read_bytes(), process.err.read_text()

    def run(self, *words, input=b"", timeout=10, status=0, **more):
        """What it writes to standard output."""
        if "stdin" not in more and input:
            more["stdin"] = self.open(input)
        got, out, err = self.end(self.popen(*words, **more), timeout)
        assert got == status, (words, got, out[:200], err)
        return out

    def fails(self, *words, status=1, timeout=10, **more):
        """One line on standard error, which is returned, and nothing on standard output."""
        got, out, err = self.end(self.popen(*words, **more), timeout)
        assert (got, out) == (status, b""), (words, got, out[:200], err)
        assert err.startswith("hvcat: ") and err.count("\n") == 1 and err.endswith("\n"), (words, err)
        return err

    def kill(self, process, number=15):
        """Ends it as whoever is at the shell does; its status."""
        process.send_signal(number)
        return process.wait(5)

    # What hvcat talks to

    def keep(self, sock):
        self.sockets.append(sock)
        return sock

    def server(self, name):
        """A unix socket that the test listens on."""
        sock = self.keep(socket.socket(socket.AF_UNIX))
        sock.bind(str(self.path / name))
        sock.listen(4096)
        sock.settimeout(10)
        return sock

    def accept(self, server):
        sock = self.keep(server.accept()[0])
        sock.settimeout(10)
        return sock

    def client(self, path):
        sock = self.keep(socket.socket(socket.AF_UNIX))
        sock.settimeout(10)
        sock.connect(str(path).replace("unix://", ""))
        return sock

    def pair(self, *words, **more):
        """hvcat that has dialled a socket of ours: (process, our end of the connection)."""
        self.files += 1
        server = self.server(f"u{self.files}")
        process = self.popen(*words, f"unix://{self.path}/u{self.files}", **more)
        return process, self.accept(server)

    def loopback(self, service):
        """The socket of hyperv://loopback."""
        return self.path / "loopback" / f"loopback_{service}"

    def thread(self, function, *args):
        made = threading.Thread(target=function, args=args, daemon=True)
        made.start()
        self.threads.append(made)
        return made

    def close(self):
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()
            for file in (process.stdin, process.stdout, process.stderr):
                if file:
                    file.close()
        for sock in self.sockets:
            sock.close()
        for thread in self.threads:
            thread.join(10)
        for process in self.started[:40]:
            print(process.returncode, *process.args[1:], process.err.read_text()[-500:])


def receive(sock, size=None):
    """That many bytes, or all until the end."""
    found = bytearray()
    while size is None or len(found) < size:
        got = sock.recv(min(1 << 16, size - len(found)) if size is not None else 1 << 16)
        if not got:
            break
        found += got
    return bytes(found)


def is_silent(sock, seconds=0.1):
    """Nothing comes, not even an end."""
    sock.settimeout(seconds)
    try:
        got = sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(10)
    raise AssertionError(f"{got!r} came")


def is_closed(sock):
    """Without a byte: an end, or a reset."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def capabilities(text):
    """What a probe has printed."""
    found = {}
    for line in text.decode().splitlines():
        name, colon, value = line.partition(": ")
        assert colon, text
        found[name.strip().replace("_", "-")] = value.strip()
    return found


def took(function, *args, **more):
    """(seconds, result)"""
    began = time.monotonic()
    result = function(*args, **more)
    return time.monotonic() - began, result
