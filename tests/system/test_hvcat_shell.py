# SPDX-License-Identifier: Apache-2.0
"""hvcat and who has started it: the command line, standard input and output, signals, and what it costs at rest."""

import fcntl
import os
import pathlib
import pty
import random
import shutil
import signal
import socket
import subprocess
import time

import pytest

import hvcat
import watch
from hvcat import SERVICE, is_closed, is_silent, receive

NOBODY = 65534
BYTES = random.Random(1).randbytes(1 << 20)

# The shell

WRONG = [
    [], ["-l"], ["-z", "unix:///x"], ["--nonsense", "unix:///x"], ["unix:///x", "unix:///y", "unix:///z"],
    ["-k", "unix:///x"], ["-e", "unix:///x"], ["-e"], ["-e", "true", "unix:///x", "unix:///y"], ["-c"], ["-s"], ["-m"],
    ["-w"], ["-m", "0", "-l", "-k", "-e", "true", "unix:///x"], ["-m", "x", "-l", "-k", "-e", "true", "unix:///x"],
    ["-m", "-1", "-l", "-k", "-e", "true", "unix:///x"], ["-m", "9" * 20, "-l", "-k", "-e", "true", "unix:///x"],
    ["-w", "x", "unix:///x"], ["-w", "-1", "unix:///x"], ["-w", "1x", "unix:///x"], ["-w", "", "unix:///x"],
    [""], ["x"], ["tcp://127.0.0.1:5"], ["unix://relative"], ["unix://"], ["hybrid:///x"],
    ["hybrid:///x:"], ["hybrid:///x:y"],
    ["hybrid:///x:4294967296"], ["hybrid:///x:-1"], ["hyperv://"], ["hyperv://parent"], ["hyperv://nonsense/5"],
    ["hyperv://any/x"], ["hyperv://any/4294967296"], ["vsock://x:5"], ["vsock://3"], ["vsock://3:x"],
    ["unix:///" + "x" * 5000],
    ["unix:///x", "nonsense"], ["-p", "unix:///x", "unix:///y"], ["-p", "-e", "true", "unix:///x"],
]


@pytest.mark.parametrize("words", WRONG, ids=lambda words: " ".join(words)[:40] or "nothing")
def test_wrong_command_line(cats, words):
    cats.fails(*words, status=2)


def test_help(cats):
    for word in ("--help", "-h"):
        text = cats.run(word).decode()
        assert all(f"-{letter}" in text for letter in "lkepmcsgHnqwv"), text
    assert cats.run("--version").strip()
    with open("/dev/full", "w") as full:
        status, _, err = cats.end(cats.popen("--help", stdout=full))
        assert status == 1 and err.startswith("hvcat: ")


def test_lost(cats):
    """A reset is no end, and neither is a standard output that is gone."""
    process, peer = cats.pair(stdin=cats.open(b"data that nobody reads"))
    watch.eventually(lambda: peer.recv(1, socket.MSG_PEEK))
    peer.close()
    status, _, err = cats.end(process)
    assert status == 1 and err.startswith("hvcat: ") and err.count("\n") == 1

    read, write = os.pipe()
    process, peer = cats.pair(stdout=write)
    os.close(read)
    os.close(write)
    peer.sendall(b"data")
    assert cats.end(process)[0] == 1
    with open("/dev/full", "w") as full:
        process, peer = cats.pair(stdout=full)
        peer.sendall(b"data")
        status, _, err = cats.end(process)
        assert status == 1 and "No space left" in err


def test_who_came(cats):
    process = cats.listen("-v", f"unix://{cats.path}/u")
    cats.run("-v", f"unix://{cats.path}/u", input=b"hello")
    status, out, err = cats.end(process)
    assert (status, out) == (0, b"hello") and f"(uid 0, pid " in err, err
    path = cats.loopback(SERVICE)
    process = cats.listen("-v", f"hyperv://loopback/{SERVICE}", path=path)
    dialler = cats.popen("-v", f"hyperv://loopback/{SERVICE}")
    cats.end(dialler)
    _, _, err = cats.end(process)
    assert "LOOPBACK {e0e16197-dd56-4a10-9195-5ee7a155a838, " + SERVICE + f"}} (uid 0, pid {dialler.pid})" in err, err


def test_standard_input_not_read(cats):
    """-n: neither read nor ended."""
    read, write = os.pipe()
    os.write(write, b"keep")
    process, peer = cats.pair("-n", stdin=read)
    assert is_silent(peer, 0.2)
    peer.sendall(b"hello")
    peer.close()
    assert cats.end(process) == (0, b"hello", "")
    assert os.read(read, 10) == b"keep"
    os.close(read), os.close(write)
    process, peer = cats.pair("-n")
    assert is_silent(peer, 0.2) and process.poll() is None
    peer.close()
    assert cats.end(process)[0] == 0


def test_close_when_input_ends(cats, vmm):
    process, peer = cats.pair("-q", stdin=cats.open(BYTES))
    assert receive(peer) == BYTES
    assert cats.end(process)[0] == 0
    machine = vmm("firecracker")
    server = machine.listen(5000)
    process = cats.popen("-q", machine.url(5000), stdin=cats.open(BYTES))
    assert receive(cats.accept(server)) == BYTES
    assert cats.end(process)[0] == 0


def flags(fd):
    return fcntl.fcntl(fd, fcntl.F_GETFL)


def test_descriptors_of_the_shell(cats):
    """They are shared with whoever is there before and after: never non-blocking, not even meanwhile."""
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    leader, terminal = pty.openpty()
    one, other = socket.socketpair()
    for given in ({"stdin": read_in, "stdout": write_out}, {"stdin": terminal, "stdout": terminal},
                  {"stdin": one, "stdout": one}):
        before = [flags(fd) for fd in given.values()]
        process, peer = cats.pair(**given)
        peer.sendall(b"x" * 1000)
        {read_in: lambda: os.read(read_out, 1), terminal: lambda: os.read(leader, 1),
         one: lambda: other.recv(1)}[given["stdin"]]()
        assert [flags(fd) for fd in given.values()] == before
        peer.close()
        assert cats.end(process)[0] == 0
        assert [flags(fd) for fd in given.values()] == before
    for fd in (read_in, write_in, read_out, write_out, leader, terminal):
        os.close(fd)
    one.close(), other.close()


def test_pipes_of_another_user(cats):
    """They cannot be opened anew: they are used as they are."""
    cats.path.chmod(0o711)
    program = cats.path / "hvcat"
    shutil.copy(hvcat.HVCAT, program)
    program.chmod(0o755)
    server = cats.server("u")
    (cats.path / "u").chmod(0o666)
    read_in, write_in = os.pipe()
    read_out, write_out = os.pipe()
    process = watch.own(subprocess.Popen([program, f"unix://{cats.path}/u"], stdin=read_in, stdout=write_out,
                                               user=NOBODY, group=NOBODY, extra_groups=[],
                                               preexec_fn=hvcat.without_vsock))
    os.close(read_in), os.close(write_out)
    try:
        peer = cats.accept(server)
        os.write(write_in, b"in")
        assert receive(peer, 2) == b"in"
        peer.sendall(BYTES[:200000])
        with open(read_out, "rb") as file:
            assert file.read(200000) == BYTES[:200000]
            os.close(write_in)
            assert receive(peer) == b""
            peer.close()
            assert process.wait(5) == 0 and file.read() == b""
    finally:
        process.kill()
        process.wait()


def test_files(cats):
    """Positions and O_APPEND are the shell's."""
    file = cats.open()
    file.write(b"before ")
    file.flush()
    process, peer = cats.pair(stdout=file)
    peer.sendall(b"between ")
    peer.close()
    assert cats.end(process)[0] == 0
    os.write(file.fileno(), b"after")
    assert pathlib.Path(file.name).read_bytes() == b"before between after"
    with open(file.name, "ab", buffering=0) as more:
        process, peer = cats.pair(stdout=more)
        peer.sendall(b" and more")
        peer.close()
        assert cats.end(process)[0] == 0
    assert pathlib.Path(file.name).read_bytes() == b"before between after and more"
    # What is before the position has been read by somebody else.
    file.seek(7)
    process, peer = cats.pair(stdin=file)
    assert receive(peer) == b"between after and more"
    peer.close()
    assert cats.end(process)[0] == 0


def test_closed_descriptors(cats):
    """Without standard input or output nothing of the connection takes their place."""
    for closing in ("<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"):
        cats.files += 1
        server = cats.server(f"u{cats.files}")
        process = cats.popen(f"unix://{cats.path}/u{cats.files}",
                             prefix=["sh", "-c", f'exec "$0" "$@" {closing}'])
        peer = cats.accept(server)
        peer.settimeout(1)
        try:
            assert peer.recv(100) == b"", closing
        except TimeoutError:
            pass
        peer.close()
        cats.end(process)


def test_slow_output(cats):
    """Bounded by what is written to, not by memory."""
    read, write = os.pipe()
    process, peer = cats.pair(stdout=write)
    os.close(write)
    writer = cats.thread(peer.sendall, BYTES * 32)
    time.sleep(0.3)
    assert watch.rss(process.pid) < 4096 and writer.is_alive()
    size = 0
    with open(read, "rb") as file:
        while got := file.read(1 << 20):
            assert got == BYTES
            size += len(got)
            if size == len(BYTES) * 32:
                peer.close()
    assert size == len(BYTES) * 32
    assert cats.end(process)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals(cats, number):
    path = cats.path / "u"
    for words in (("-k",), ("-k", "-e", "sleep 1000"), ()):
        process = cats.listen(*words, f"unix://{path}")
        client = cats.client(path) if words else None
        if "-e" in words:
            watch.eventually(lambda: watch.children(process.pid))
        commands = watch.descendants(process.pid)
        assert cats.kill(process, number) == 0
        assert not path.exists(), (words, number)
        assert client is None or "-e" in words or is_closed(client)
        watch.kill([pid for pid in commands if watch.stat(pid)])


def test_nohup(cats):
    """Signals that it was started to ignore it ignores."""
    path = cats.path / "u"
    process = cats.listen("-k", "-n", f"unix://{path}", prefix=("nohup",))
    process.send_signal(signal.SIGHUP)
    assert is_silent(cats.client(path))
    assert cats.kill(process, signal.SIGTERM) == 0


# What costs nothing

def ticks(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def is_idle(process, seconds=0.5):
    """It waits, and does not ask again and again."""
    time.sleep(0.1)
    before = ticks(process)
    time.sleep(seconds)
    assert process.poll() is None, process.err.read_text()
    used = ticks(process) - before
    assert used <= 5, f"{used} ticks in {seconds} s"
    return True


def test_idle(cats, vmm):
    """In each state in which there is nothing to be done for now."""
    def of_a_pair(prepare, **more):
        process, peer = cats.pair(**more)
        prepare(peer)
        return process

    def nothing(_):
        pass
    read, write = os.pipe()
    full_read, full_write = os.pipe()
    leader, terminal = pty.openpty()
    hung_leader, hung = pty.openpty()
    os.close(hung_leader)
    machine = vmm("firecracker", dial=[5000])
    target = cats.server("target")
    states = {
        "input has ended": of_a_pair(nothing),
        "input is silent": of_a_pair(nothing, stdin=read),
        "input is a terminal": of_a_pair(nothing, stdin=terminal),
        "input is a terminal that has hung up": of_a_pair(nothing, stdin=hung),
        "the peer has ended": of_a_pair(lambda peer: peer.shutdown(socket.SHUT_WR), stdin=read),
        "the peer reads nothing of a file": of_a_pair(nothing, stdin=cats.open(BYTES * 4)),
        "the peer reads nothing of /dev/zero": of_a_pair(nothing, stdin=open("/dev/zero", "rb")),
        "nobody reads the output": of_a_pair(lambda peer: cats.thread(sends_what_fits, peer), stdin=read,
                                             stdout=full_write),
        "-n": cats.pair("-n")[0],
        "nobody comes": cats.listen("-k", f"unix://{cats.path}/nobody"),
        "another one waits": cats.listen("-k", f"unix://{cats.path}/two"),
        "-m are there": cats.listen("-k", "-m", 1, "-e", "cat", f"unix://{cats.path}/many"),
        "the guest has ended": cats.listen(machine.url(5000), path=f"{machine.uds}_5000", stdin=read),
        "a relay with an end": cats.listen(f"unix://{cats.path}/relay", f"unix://{cats.path}/target",
                                           path=cats.path / "relay"),
    }
    for name in ("two", "many"):
        cats.client(cats.path / name), cats.client(cats.path / name)
    machine.dial(5000).shutdown(socket.SHUT_WR)
    cats.client(cats.path / "relay").shutdown(socket.SHUT_WR)
    cats.accept(target)
    time.sleep(0.3)
    before = {name: ticks(process) for name, process in states.items()}
    time.sleep(1)
    busy = {name: ticks(process) - before[name] for name, process in states.items()
            if process.poll() is None and ticks(process) - before[name] > 5}
    assert not busy, busy
    gone = {name: process.err.read_text() for name, process in states.items() if process.poll() is not None}
    assert not gone or list(gone) == ["input is a terminal that has hung up"], gone
    for fd in (read, write, full_read, full_write, leader, terminal, hung):
        os.close(fd)


def sends_what_fits(sock):
    try:
        sock.sendall(BYTES * 2)
    except OSError:
        pass


def test_too_many_open_files(cats):
    """More come than it may have descriptors: it goes on with those it has, waits for the others, and does not spin."""
    path = cats.path / "u"
    for words in (("-e", "exec cat"), (f"unix://{cats.path}/target",)):
        target = cats.server("target") if "-e" not in words else None
        url = f"unix://{path}"
        process = cats.listen("-k", *(words if "-e" in words else ()), url, *(words if target else ()),
                              path=path, files=24)
        clients = [cats.client(path) for _ in range(40)]
        if target:
            target.settimeout(0.3)
            inner = []
            with pytest.raises(TimeoutError):
                while True:
                    inner.append(cats.accept(target))
            assert len(inner) >= 3
        else:
            clients[0].sendall(b"x")
            assert receive(clients[0], 1) == b"x"
        assert is_idle(process)
        for client in clients:
            client.close()
        if target:
            for sock in inner:
                sock.close()
            target.settimeout(5)
        # When all of them are gone, the next one is served.
        watch.eventually(lambda: len(watch.fds(process.pid)) < 15)
        last = cats.client(path)
        last.sendall(b"hello")
        if target:
            deadline = time.monotonic() + 5
            while (got := receive(cats.accept(target), 5)) != b"hello":
                assert time.monotonic() < deadline, got
        else:
            assert receive(last, 5) == b"hello"
        assert cats.kill(process) == 0


def test_clients_that_come_and_go(cats, vmm):
    """Connecting is no reason to stay."""
    machine = vmm("firecracker", dial=[5000])
    process = cats.listen("-k", "-e", "exec cat", machine.url(5000), path=f"{machine.uds}_5000")
    for n in range(300):
        sock = machine.dial(5000)
        if n % 3 == 1:
            sock.sendall(b"bytes that nobody reads")
        elif n % 3 == 2:
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
    sock = machine.dial(5000)
    sock.sendall(b"hello")
    assert receive(sock, 5) == b"hello"
    sock.close()
    watch.eventually(lambda: not watch.children(process.pid))
    assert len(watch.fds(process.pid)) < 20
    assert cats.kill(process) == 0


def test_slow_peer(cats):
    """What comes from a pipe stays there."""
    read, write = os.pipe()
    process, peer = cats.pair(stdin=read)
    os.close(read)

    def feed():
        with open(write, "wb", buffering=0) as file:
            for _ in range(32):
                file.write(BYTES)
    feeder = cats.thread(feed)
    time.sleep(0.3)
    assert watch.rss(process.pid) < 4096 and feeder.is_alive()
    received = receive(peer)
    assert len(received) == 32 * len(BYTES) and received == BYTES * 32
    peer.close()
    assert cats.end(process)[0] == 0
