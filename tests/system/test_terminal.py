# SPDX-License-Identifier: Apache-2.0
"""Terminals: a user's own under run and exec -t, and the console socket of engines."""

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import termios
import time

import pytest

import watch
from container import config, sh


class Terminal:
    """A pty whose user side a program has as its controlling terminal."""

    def __init__(self, height=24, width=80):
        self.master, self.slave = os.openpty()
        self.said = bytearray()
        self.size(height, width)

    def size(self, height, width):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def mode(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return not self.mode()[3] & (termios.ECHO | termios.ICANON | termios.ISIG)

    def run(self, hv, *args, **more):
        def control():
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = hv.popen(*args, stdin=self.slave, stdout=self.slave, stderr=self.slave,
                                start_new_session=True, preexec_fn=control, **more)
        return self

    def type(self, text):
        os.write(self.master, text)

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            self.said += os.read(self.master, 65536)

    def expect(self, text, timeout=5):
        deadline = time.monotonic() + timeout
        while text not in self.said:
            assert time.monotonic() < deadline, f"no {text!r} in {bytes(self.said)!r}"
            self.read(0.05)

    def wait(self, timeout=5):
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"does not end: {bytes(self.said)!r}"
            self.read(0.02)
        self.read(0)
        return self.process.returncode

    def close(self):
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def box(hv, rootfs):
    return hv.background(config("sleep", "1000", rootfs=rootfs))


def test_exec_with_a_terminal(hv, box, terminal):
    before = terminal.mode()
    terminal.run(hv, "exec", "-t", box, "sh", "-c",
                 "test -t 0 && test -t 1 && test -t 2; echo tty $?; read x; echo got $x; exit 7")
    terminal.expect(b"tty 0\r\n")
    assert terminal.is_raw()
    terminal.type(b"word\r")
    assert terminal.wait() == 7
    assert b"word\r\ngot word\r\n" in terminal.said     # echoed once, by the container's own
    assert terminal.mode() == before


def test_run_with_a_terminal(hv, rootfs, terminal):
    before = terminal.mode()
    spec = sh("stty size; read x; echo got $x; exit 6", rootfs=rootfs, terminal=True)
    terminal.size(31, 97)
    terminal.run(hv, "run", "-b", hv.bundle(spec), hv.new_id())
    terminal.expect(b"31 97\r\n")
    assert terminal.is_raw()
    terminal.type(b"word\r")
    assert terminal.wait() == 6
    assert b"got word\r\n" in terminal.said
    assert terminal.mode() == before


def test_options_as_other_programs_have_them(hv, box, rootfs, terminal):
    for words in (["exec", "-it", box, "tty"], ["exec", "-i", "-t", box, "tty"],
                  ["run", "-it", "--bundle", hv.bundle(config("tty", rootfs=rootfs)), hv.new_id()]):
        terminal.run(hv, *words)
        terminal.expect(b"/dev/pts/0\r\n")
        assert terminal.wait() == 0


def test_resize(hv, box, terminal):
    terminal.size(20, 50)
    terminal.run(hv, "exec", "-t", box, "sh", "-c",
                 "trap 'echo size $(stty size)' WINCH; echo size $(stty size);"
                 "while :; do sleep 0.05; done")
    terminal.expect(b"size 20 50\r\n")
    for height, width in ((33, 66), (5, 10), (500, 1000)):
        terminal.size(height, width)
        terminal.expect(f"size {height} {width}\r\n".encode())
    terminal.type(b"\x03")
    assert terminal.wait() == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_restored_after_a_signal(hv, box, terminal, number):
    before = terminal.mode()
    terminal.run(hv, "exec", "-t", box, "sh", "-c", "echo ready; sleep 1000")
    terminal.expect(b"ready")
    assert terminal.is_raw()
    terminal.process.send_signal(number)
    assert terminal.wait() == 128 + number
    assert terminal.mode() == before


def test_restored_after_a_failure(hv, box, terminal):
    before = terminal.mode()
    terminal.run(hv, "exec", "-t", box, "no-such-program")
    assert terminal.wait() == 255
    assert b"no-such-program" in terminal.said and terminal.mode() == before


def test_restored_when_the_sandbox_process_dies(hv, box, terminal):
    before = terminal.mode()
    terminal.run(hv, "exec", "-t", box, "sh", "-c", "echo ready; sleep 1000")
    terminal.expect(b"ready")
    os.kill(hv.sandbox_pid(box), signal.SIGKILL)
    assert terminal.wait(1) != 0
    assert terminal.mode() == before


def test_control_characters_belong_to_the_container(hv, box, terminal):
    """^C interrupts its foreground job, ^D ends its input, ^Z stops nothing of ours."""
    terminal.run(hv, "exec", "-t", box, "sh")
    terminal.expect(b"#")
    terminal.type(b"trap 'echo interrupted' INT; sleep 100\r")
    time.sleep(0.3)
    terminal.type(b"\x03")
    terminal.expect(b"interrupted\r\n")
    terminal.type(b"\x1a")
    assert terminal.process.poll() is None
    terminal.type(b"\recho still $((1+1))\r")
    terminal.expect(b"still 2")
    terminal.type(b"exit 3\r")
    assert terminal.wait() == 3


def test_end_of_file_character(hv, box, terminal):
    terminal.run(hv, "exec", "-t", box, "cat")
    terminal.type(b"line\r")
    terminal.expect(b"line\r\nline\r\n")
    terminal.type(b"\x04")
    assert terminal.wait() == 0


def test_all_output_of_a_terminal(hv, box, terminal):
    terminal.run(hv, "exec", "-t", box, "sh", "-c", "seq 1 30000; echo last; exit 4")
    assert terminal.wait(20) == 4
    terminal.expect(b"last\r\n")
    assert bytes(terminal.said).replace(b"\r", b"") == \
        b"".join(b"%d\n" % n for n in range(1, 30001)) + b"last\n"


def test_hangup_of_the_terminal(hv, box):
    """The window is closed: what ran in it gets a hangup."""
    terminal = Terminal()
    terminal.run(hv, "exec", "-t", box, "sh", "-c", "echo ready; sleep 1000")
    terminal.expect(b"ready")
    terminal.close()
    assert terminal.process.wait(5) == 129
    watch.eventually(lambda: len(hv.run("ps", "--format", "json", box).json()) == 1, 2)


def test_terminal_needs_a_terminal(hv, box, rootfs):
    """exec -t with pipes works (there is nothing to make raw), or says what is missing."""
    result = hv.run("exec", "-t", box, "sh", "-c", "tty; exit 3", status=None)
    assert result.returncode in (3, 255)
    if result.returncode == 3:
        assert result.stdout == "/dev/pts/0\r\n"
    else:
        assert "terminal" in result.stderr


def test_exec_without_a_terminal_leaves_ours_alone(hv, box, terminal):
    before = terminal.mode()
    terminal.run(hv, "exec", box, "sh", "-c", "test -t 1; echo tty $?; sleep 0.3")
    terminal.expect(b"tty 1")
    assert terminal.mode() == before
    assert terminal.wait() == 0


# The console socket (containerd-shim.md 5.5)


class Console:
    """The engine's side: one message with the master of a pty."""

    def __init__(self, hv):
        self.path = hv.place.path / "console"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.listener.settimeout(5)

    def receive(self):
        sock, _ = self.listener.accept()
        with sock:
            sock.settimeout(5)
            name, fds, flags, _ = socket.recv_fds(sock, 4096, 8)
            assert 1 <= len(name) <= 4096 and len(fds) == 1 and not flags & socket.MSG_CTRUNC
            assert sock.recv(10) == b""
        made = Terminal.__new__(Terminal)
        made.master, made.slave, made.said = fds[0], None, bytearray()
        return made

    def close(self):
        self.listener.close()


@pytest.fixture
def console(hv):
    made = Console(hv)
    yield made
    made.close()


def read_to_end(terminal, timeout=5):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            terminal.read(0.1)
        except OSError:
            os.close(terminal.master)
            return bytes(terminal.said)
    raise AssertionError(f"the terminal does not end: {bytes(terminal.said)!r}")


def test_console_socket(hv, rootfs, console):
    spec = sh("stty size; read x; stty size; echo got $x; exit 5", rootfs=rootfs, terminal=True)
    cid = hv.create(spec, "--console-socket", console.path)
    terminal = console.receive()        # was sent before create returned
    terminal.size(40, 120)              # conmon sets the size before the start
    hv.run("start", cid)
    terminal.expect(b"40 120\r\n")
    terminal.size(41, 121)
    time.sleep(0.2)
    terminal.type(b"word\r")
    said = read_to_end(terminal)
    assert said == b"40 120\r\nword\r\n41 121\r\ngot word\r\n"
    assert watch.exit_status(hv.pid(cid)) == 5


def test_console_socket_needs_no_accept(hv, rootfs, console):
    """containerd's shim accepts after create has returned."""
    for _ in range(3):
        cid = hv.create(sh("echo x", rootfs=rootfs, terminal=True), "--console-socket", console.path)
        hv.run("start", cid)
        assert read_to_end(console.receive()) == b"x\r\n"
        assert watch.exit_status(hv.pid(cid)) == 0


def test_console_of_an_exec(hv, box, console):
    file = hv.place.path / "process"
    pid_file = hv.place.path / "pid"
    import json
    process = config("sh", "-c", "tty; read x; exit 9")["process"]
    process["terminal"] = True
    file.write_text(json.dumps(process))
    hv.run("exec", "--process", file, "--console-socket", console.path, "--detach", "--pid-file",
           pid_file, box)
    terminal = console.receive()
    terminal.expect(b"/dev/pts/0\r\n")
    terminal.type(b"\r")
    assert read_to_end(terminal)
    assert watch.exit_status(int(pid_file.read_text())) == 9
    hv.run("exec", "-t", "-d", "--console-socket", console.path, box, "echo", "y")
    assert read_to_end(console.receive()) == b"y\r\n"


def test_console_survives_onlcr_of_conmon(hv, rootfs, console):
    """conmon sets ONLCR on what it gets: there must still be one carriage return."""
    cid = hv.create(sh("echo x; read y", rootfs=rootfs, terminal=True), "--console-socket",
                    console.path)
    terminal = console.receive()
    mode = termios.tcgetattr(terminal.master)
    mode[1] |= termios.ONLCR
    termios.tcsetattr(terminal.master, termios.TCSANOW, mode)
    hv.run("start", cid)
    terminal.expect(b"x")
    time.sleep(0.1)
    terminal.read(0.1)
    assert bytes(terminal.said) == b"x\r\n"
    terminal.type(b"\r")
    read_to_end(terminal)


def test_console_hangup_of_the_engine(hv, rootfs, console):
    """The engine dies: the container goes on, as with runc, or ends by SIGHUP."""
    cid = hv.create(sh("sleep 0.5; exit 3", rootfs=rootfs, terminal=True), "--console-socket",
                    console.path)
    terminal = console.receive()
    hv.run("start", cid)
    os.close(terminal.master)
    assert watch.exit_status(hv.pid(cid)) in (3, 129)


def test_console_socket_errors(hv, rootfs, console):
    with_terminal = hv.bundle(sh("true", rootfs=rootfs, terminal=True), "with")
    without = hv.bundle(sh("true", rootfs=rootfs), "without")
    assert "console-socket" in hv.fails("create", "-b", with_terminal, hv.new_id())
    assert "console-socket" in hv.fails("run", "-d", "-b", with_terminal, hv.new_id())
    assert "console-socket" in hv.fails("create", "-b", without, "--console-socket", console.path,
                                        hv.new_id())
    for bad in ("/no/such/socket", hv.place.path / "config.json", "x" * 200):
        assert hv.fails("create", "-b", with_terminal, "--console-socket", bad, hv.new_id())
    assert hv.list() == []


def test_run_detached_with_a_console(hv, rootfs, console):
    spec = sh("echo x; exit 4", rootfs=rootfs, terminal=True)
    pid_file = hv.place.path / "pid"
    hv.run("run", "-d", "--console-socket", console.path, "--pid-file", pid_file, "-b",
           hv.bundle(spec), hv.new_id())
    assert read_to_end(console.receive()) == b"x\r\n"
    assert watch.exit_status(int(pid_file.read_text())) == 4


def test_terminal_under_script(hv, box):
    """A terminal that is not the controlling one, as under a test harness."""
    terminal = Terminal()
    process = hv.popen("exec", "-t", box, "sh", "-c", "stty size; exit 2", stdin=terminal.slave,
                       stdout=terminal.slave, stderr=subprocess.PIPE)
    terminal.process = process
    assert terminal.wait() == 2
    assert b"24 80" in terminal.said
    terminal.close()
