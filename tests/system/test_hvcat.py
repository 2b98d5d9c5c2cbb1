# SPDX-License-Identifier: Apache-2.0
"""hvcat between the sockets of this machine, and through fake VMMs (vmms.py): what a user of Hyper-V
sockets relies on, without a VM.
"""

import os
import pathlib
import random
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time

import pytest

import hvcat
import watch
from hvcat import SERVICE, TEMPLATE, VM, VM2, capabilities, is_closed, is_silent, receive, took
from vmms import KINDS

NOBODY = 65534
REFUSED = "nobody listens"
NO_SENSE = "makes no sense"
BYTES = random.Random(1).randbytes(1 << 20)
HALF_CLOSE = [kind for kind in KINDS if KINDS[kind].half_close]
NO_HALF_CLOSE = [kind for kind in KINDS if not KINDS[kind].half_close]


# The VMMs are what they are said to be, or the tests below show nothing

ANSWERS = {     # what is written, each piece a write: who answers
    (b"CONNECT 5000\n",): KINDS, (b"connect 5000\n",): KINDS, (b"cOnNeCt 5000\n",): KINDS,
    (b"CONNECT ", b"5000\n"): ("cloud-hypervisor", "cloud-hypervisor-old", "openvmm"),
    (b"CONNECT 5000", b"\n"): ("cloud-hypervisor", "cloud-hypervisor-old", "openvmm"),
    (b"C", b"ONNECT 5000\n"): ("cloud-hypervisor", "cloud-hypervisor-old", "openvmm"),
    (b"CONNECT 5\n",): KINDS, (b"CONNECT 4294967295\n",): KINDS, (b"CONNECT 4294967296\n",): (),
    (b"CONNECT 0000000000000000000005000\n",): ("vhost-device-vsock", "openvmm"),
    (b"CONNECT 5000" + b" " * 40 + b"\n",): ("vhost-device-vsock",),
    (b"CONNECT 00001388-facb-11e6-bd58-64006a7986d3\n",): ("openvmm",),
    (b"CONNECT 5000\nmore",): tuple(kind for kind in KINDS if kind != "openvmm"),
    (b"HELLO 5000\n",): (), (b"CONNECT\n",): (), (b"CONNECT x\n",): (), (b"\n",): (), (b"CONNECT 6000\n",): (),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_vmm_itself(cats, vmm, kind):
    machine = vmm(kind)
    for port in (5000, 5, 4294967295):
        machine.listen(port)
    for pieces, answering in ANSWERS.items():
        sock = cats.client(machine.uds)
        for n, piece in enumerate(pieces):
            if n:
                time.sleep(0.02)
            try:
                sock.sendall(piece)
            except BrokenPipeError:
                pass
        if kind in answering:
            line = receive(sock, 5)
            assert line.startswith(b"OK "), (pieces, line)
        else:
            sock.shutdown(socket.SHUT_WR)
            assert is_closed(sock), pieces
        sock.close()
    assert (b"swallowed b'more'" in machine.said()) == (kind == "vhost-device-vsock")


# The host dials

@pytest.mark.parametrize("kind", KINDS)
def test_dial(cats, vmm, kind):
    """Both directions at once; the answer is whole although the host's input has ended long before."""
    machine = vmm(kind)
    server = machine.listen(5000)
    process = cats.popen(machine.url(5000), stdin=cats.open(BYTES[:300000]))
    guest = cats.accept(server)
    writer = cats.thread(guest.sendall, BYTES)
    assert receive(guest, 300000) == BYTES[:300000]
    writer.join()
    assert is_silent(guest)
    guest.sendall(b"last")
    guest.close()
    assert cats.end(process) == (0, BYTES + b"last", "")


@pytest.mark.parametrize("kind", KINDS)
def test_dial_ports(cats, vmm, kind):
    machine = vmm(kind)
    for port in (1, 22, 1023, 65536, 1 << 31, (1 << 32) - 2):
        server = machine.listen(port)
        process = cats.popen(machine.url(port))
        cats.accept(server).close()
        assert cats.end(process) == (0, b"", ""), port


def test_dial_a_service(cats, vmm):
    """A GUID where the VMM knows GUIDs, however it is written; the template's is a port."""
    machine = vmm("openvmm")
    servers = {name: machine.listen(name) for name in (SERVICE, 5000)}
    for given, name in ((SERVICE, SERVICE), (SERVICE.upper(), SERVICE), (f"{{{SERVICE}}}", SERVICE),
                        ("00001388" + TEMPLATE, 5000)):
        process = cats.popen(machine.url(given))
        guest = cats.accept(servers[name])
        guest.sendall(b"here")
        guest.close()
        assert cats.end(process) == (0, b"here", ""), given
    for kind in ("firecracker", "vhost-device-vsock"):
        machine = vmm(kind, folder=kind)
        machine.listen(SERVICE)
        cats.fails("-w", 1, machine.url(SERVICE))


@pytest.mark.parametrize("kind", KINDS)
def test_dial_nobody(cats, vmm, kind):
    machine = vmm(kind)
    seconds, text = took(cats.fails, "-w", 1, machine.url(5000))
    assert REFUSED in text and seconds < 2
    # Told at once, or asked again until somebody listens.
    machine.kill()
    assert REFUSED in cats.fails("-w", 1, machine.url(5000))
    machine.uds.unlink()
    assert REFUSED in cats.fails("-w", 1, machine.url(5000))


def test_request(cats):
    """One write, with nothing behind it until the whole reply is there."""
    server = cats.server("v")
    process = cats.popen(f"hybrid://{cats.path}/v:5000", stdin=cats.open(b"data"))
    vmm = cats.accept(server)
    assert vmm.recv(1000) == b"CONNECT 5000\n"
    for part in (b"O", b"K", b" ", b"1073741", b"824"):
        vmm.sendall(part)
        assert is_silent(vmm, 0.03)
    vmm.sendall(b"\n")
    assert receive(vmm, 4) == b"data"
    vmm.close()
    assert cats.end(process)[0] == 0


@pytest.mark.parametrize("reply", ["OK 1\\n", "OK 1073741824\\n", "OK 4294967295\\n",
                                   f"OK {SERVICE}\\n", f"OK {{{{{SERVICE.upper()}}}}}\\n", "OK -\\n"])
def test_reply(cats, vmm, reply):
    """Any token; and what follows the line is the guest's."""
    for options in (["--piecewise"], ["--together"]):
        machine = vmm("cloud-hypervisor", "--reply", reply, *options, folder=options[0][2:])
        server = machine.listen(5000)
        process = cats.popen(machine.url(5000))
        guest = cats.accept(server)
        guest.sendall(b"OK 5\nmore")
        guest.close()
        assert cats.end(process) == (0, b"OK 5\nmore", "")


BAD_REPLIES = {
    "garbage": b"garbage\n", "empty": b"\n", "no": b"NO 5000\n", "longer word": b"OKAY 5000\n",
    "no token": b"OK\n", "token of nothing": b"OK \n", "lower case": b"ok 5000\n", "zeros": bytes(64),
    "65 bytes": b"OK " + b"1" * 61 + b"\n", "no end of it": b"OK 5" + b"0" * 100000,
}


@pytest.mark.parametrize("reply", BAD_REPLIES)
def test_bad_reply(cats, reply):
    server = cats.server("v")
    process = cats.popen("-w", 5, f"hybrid://{cats.path}/v:5000", stdin=cats.open(b"data"))
    vmm = cats.accept(server)
    vmm.recv(1000)
    cats.thread(lambda: is_closed_after(vmm, BAD_REPLIES[reply]))
    began = time.monotonic()
    status, out, err = cats.end(process)
    assert (status, out) == (1, b"") and err.startswith("hvcat: ") and err.count("\n") == 1, err
    assert time.monotonic() - began < 1


def is_closed_after(sock, data):
    try:
        sock.sendall(data)
        return sock.recv(100) == b""
    except OSError:
        return True


@pytest.mark.parametrize("half", [b"", b"O", b"OK 10"])
def test_reply_ends(cats, half):
    """Closed before the line is complete: nobody listens there (yet)."""
    server = cats.server("v")
    server.settimeout(0.2)
    process = cats.popen("-w", 1, f"hybrid://{cats.path}/v:5000")
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 4:
        try:
            vmm = cats.accept(server)
        except TimeoutError:
            continue
        vmm.recv(100)
        if half:
            vmm.sendall(half)
        vmm.close()
    assert cats.end(process, 1)[0] == 1 and time.monotonic() - began < 2.5
    assert REFUSED in process.err.read_text()


def test_one_handshake_at_a_time(cats, vmm):
    """Who says nothing to such a VMM holds up the others: within -w, or until he goes."""
    machine = vmm("openvmm")
    server = machine.listen(5000)
    silent = cats.client(machine.uds)
    seconds, text = took(cats.fails, "-w", 1, machine.url(5000))
    assert 0.8 < seconds < 2 and "no answer in time" in text
    process = cats.popen("-w", 10, machine.url(5000))
    time.sleep(0.2)
    silent.close()
    while process.poll() is None:
        # The first may be who has given up.
        cats.accept(server).close()
        time.sleep(0.05)
    assert cats.end(process) == (0, b"", "")


def test_full_vmm(cats, vmm):
    """It has as many connections as it may have: the next one is refused, and let in when one has gone."""
    machine = vmm("firecracker")
    server = machine.listen(5000)
    held = []
    for _ in range(1023 // 2):
        held.append(cats.client(machine.uds))
        held[-1].sendall(b"CONNECT 5000\n")
        cats.accept(server)
    script = "import socket, sys, time\nheld = []\nfor _ in range(512):\n s = socket.socket(socket.AF_UNIX)\n" \
             " s.connect(sys.argv[1])\n s.sendall(b'CONNECT 5000\\n')\n s.recv(100)\n held.append(s)\n" \
             "print(flush=True)\ntime.sleep(100)\n"
    with subprocess.Popen([sys.executable, "-I", "-c", script, machine.uds], stdout=subprocess.PIPE) as other:
        watch.own(other)
        try:
            other.stdout.readline()
            assert REFUSED in cats.fails("-w", 1, machine.url(5000))
            held[0].close()
            time.sleep(0.1)
            process = cats.popen("-n", machine.url(5000))
            time.sleep(0.2)
            assert process.poll() is None
        finally:
            other.kill()


def test_no_reply(cats, vmm):
    machine = vmm("firecracker", "--mute")
    for seconds in (1, 2):
        spent, text = took(cats.fails, "-w", seconds, machine.url(5000))
        assert seconds - 0.2 < spent < seconds + 1, spent
        assert "no answer in time" in text
    # Nobody accepts, either.
    server = cats.server("full")
    server.listen(0)
    for _ in range(3):
        sock = cats.keep(socket.socket(socket.AF_UNIX))
        sock.setblocking(False)
        try:
            sock.connect(str(cats.path / "full"))
        except BlockingIOError:
            break
    spent, _ = took(cats.fails, "-w", 1, f"hybrid://{cats.path}/full:5000")
    assert spent < 2.5


def test_wrong_user_of_the_vmm(cats, vmm):
    """Whoever can replace the socket of a VMM would be its guest."""
    cats.path.chmod(0o711)
    (cats.path / "vm").mkdir(mode=0o711)
    machine = vmm("cloud-hypervisor", "--uid", NOBODY)
    server = machine.listen(5000)
    text = cats.fails("-w", 2, machine.url(5000))
    assert REFUSED not in text and "request" not in machine.said().decode(), text
    # Of the child's user it is the child's.
    process = cats.popen("-c", f"{VM}={machine.uds},{NOBODY}", f"hyperv://{VM}/5000")
    guest = cats.accept(server)
    guest.sendall(b"hello")
    guest.close()
    assert cats.end(process) == (0, b"hello", "")
    cats.fails("-w", 2, "-c", f"{VM}={machine.uds},12345", f"hyperv://{VM}/5000")


# The guest dials

@pytest.mark.parametrize("kind", KINDS)
def test_listen(cats, vmm, kind):
    """The name is the VMM's; both directions are whole; the name goes."""
    machine = vmm(kind, dial=[5000, 5001])
    path = pathlib.Path(f"{machine.uds}_5000")
    process = cats.listen(machine.url(5000), path=path, stdin=cats.open(BYTES[:300000]))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    guest = machine.dial(5000)
    writer = cats.thread(guest.sendall, BYTES)
    assert receive(guest, 300000) == BYTES[:300000]
    writer.join()
    assert is_silent(guest)
    guest.sendall(b"last")
    guest.close()
    assert cats.end(process) == (0, BYTES + b"last", "")
    assert not path.exists()
    # Where nobody listens, the guest is told.
    assert is_closed(machine.dial(5001)) and is_closed(machine.dial(5000))


def test_listen_for_a_service(cats, vmm):
    machine = vmm("openvmm", dial=[SERVICE, "00001388" + TEMPLATE])
    for given, dialled, name in ((SERVICE.upper(), SERVICE, SERVICE),
                                 ("00001388" + TEMPLATE, "00001388" + TEMPLATE, "5000")):
        process = cats.listen(machine.url(given), path=f"{machine.uds}_{name}")
        guest = machine.dial(dialled)
        guest.sendall(b"here")
        guest.close()
        assert cats.end(process) == (0, b"here", "")


def test_listen_again_and_again(cats, vmm):
    """-k: one after another; who comes meanwhile waits."""
    machine = vmm("firecracker", dial=[5000])
    process = cats.listen("-k", machine.url(5000), path=f"{machine.uds}_5000")
    first, second = machine.dial(5000), machine.dial(5000)
    second.sendall(b"two")
    first.sendall(b"one")
    watch.eventually(lambda: process.out.read_bytes() == b"one")
    time.sleep(0.1)
    assert process.out.read_bytes() == b"one"
    first.close()
    watch.eventually(lambda: process.out.read_bytes() == b"onetwo")
    second.close()
    machine.dial(5000).close()
    assert cats.kill(process) == 0
    assert not pathlib.Path(f"{machine.uds}_5000").exists()


def test_listen_where_others_may_write(cats):
    folder = cats.path / "d"
    folder.mkdir()
    for mode, owner in ((0o770, 0), (0o777, 0), (0o1777, 0), (0o700, NOBODY)):
        folder.chmod(mode)
        os.chown(folder, owner, 0)
        cats.fails("-l", f"hybrid://{folder}/v:5000")
        assert not list(folder.iterdir())
    folder.chmod(0o700)
    os.chown(folder, 0, 0)
    (cats.path / "link").symlink_to(folder)
    cats.fails("-l", f"hybrid://{cats.path}/link/v:5000")
    cats.fails("-l", f"hybrid://{cats.path}/none/v:5000")
    cats.fails("-l", f"hybrid://{folder}/{'x' * 100}:5000")


def can_connect(path):
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def test_listen_where_something_is(cats):
    """A socket that nobody listens on is replaced; what is alive or no socket stays."""
    path = cats.path / "v_7"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    process = cats.popen("-l", "-k", f"hybrid://{cats.path}/v:7")
    watch.eventually(lambda: can_connect(path))
    new = path.stat().st_ctime_ns
    assert "in use" in cats.fails("-l", f"hybrid://{cats.path}/v:7")
    assert path.stat().st_ctime_ns == new
    cats.kill(process)
    assert not path.exists()
    path.write_text("precious")
    cats.fails("-l", f"hybrid://{cats.path}/v:7")
    assert path.read_text() == "precious"


def test_wrong_user_of_a_guest(cats, vmm):
    """Closed without a byte, and the right one is served."""
    cats.path.chmod(0o711)
    (cats.path / "vm").mkdir(mode=0o711)
    machine = vmm("firecracker", "--uid", NOBODY, dial=[5000, 5001])
    path = pathlib.Path(f"{machine.uds}_5000")
    process = cats.listen("-k", machine.url(5000), path=path, stdin=cats.open(b"secret"))
    path.chmod(0o666)
    for _ in range(3):
        assert is_closed(machine.dial(5000))
    guest = cats.client(path)
    assert receive(guest, 6) == b"secret"
    guest.close()
    # The VMM's user is the child's: then root is not.
    path = pathlib.Path(f"{machine.uds}_5001")
    process = cats.listen("-k", "-c", f"{VM}={machine.uds},{NOBODY}", f"hyperv://{VM}/5001", path=path,
                          stdin=cats.open(b"secret"))
    assert path.stat().st_uid == NOBODY and stat.S_IMODE(path.stat().st_mode) == 0o600
    for _ in range(3):
        assert is_closed(cats.client(path))
    assert receive(machine.dial(5001), 6) == b"secret"
    assert process.out.read_bytes() == b""


@pytest.mark.parametrize("kind", ["firecracker", "openvmm"])
def test_silent_clients(request, cats, vmm, kind):
    """A thousand that say nothing, and the next one is served."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 8192), limits[1]))
    request.addfinalizer(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits))
    machine = vmm(kind, dial=[5000])
    target = cats.server("target")
    process = cats.listen("-k", "-m", 1100, machine.url(5000), f"unix://{cats.path}/target",
                          path=f"{machine.uds}_5000", files=4096)
    silent = [machine.dial(5000) for _ in range(1000)]
    accepted = [cats.accept(target) for _ in silent]
    last = machine.dial(5000)
    inner = cats.accept(target)
    for _ in range(3):
        last.sendall(b"hello")
        assert receive(inner, 5) == b"hello"
        inner.sendall(BYTES[:100000])
        assert receive(last, 100000) == BYTES[:100000]
    # What a connection costs that says nothing.
    assert watch.rss(process.pid) < 1100 * 150, watch.rss(process.pid)
    for sock in (*silent, *accepted):
        sock.close()
    last.sendall(b"again")
    assert receive(inner, 5) == b"again"
    watch.eventually(lambda: len(watch.fds(process.pid)) < 30)


def test_silent_clients_of_a_command(cats):
    """As many as -m says at the same time; the next one when one has gone."""
    path = cats.path / "u"
    process = cats.listen("-k", "-m", 5, "-e", "cat", f"unix://{path}")
    silent = [cats.client(path) for _ in range(5)]
    watch.eventually(lambda: len(watch.children(process.pid)) == 5)
    last = cats.client(path)
    last.sendall(b"hello")
    assert is_silent(last, 0.2) and len(watch.children(process.pid)) == 5
    silent[2].close()
    assert receive(last, 5) == b"hello"
    for sock in (*silent, last):
        sock.close()
    watch.eventually(lambda: not watch.children(process.pid))
    assert cats.kill(process) == 0


# Half-close

def test_half_close(cats):
    """A unix socket has it in both directions, whoever ends first."""
    process, peer = cats.pair(stdin=cats.open(b"question"))
    assert receive(peer) == b"question"
    peer.sendall(b"answer")
    peer.close()
    assert cats.end(process) == (0, b"answer", "")

    read, write = os.pipe()
    process, peer = cats.pair(stdin=read)
    os.close(read)
    peer.sendall(b"first")
    peer.shutdown(socket.SHUT_WR)
    watch.eventually(lambda: process.out.read_bytes() == b"first")
    time.sleep(0.1)
    assert process.poll() is None
    os.write(write, b"second")
    os.close(write)
    assert receive(peer) == b"second"
    assert cats.end(process)[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_half_close_of_the_host(cats, vmm, kind):
    """The guest is told by -H, and answers where its VMM has not taken that for the end."""
    machine = vmm(kind)
    server = machine.listen(5000)
    process = cats.popen("-H", machine.url(5000), stdin=cats.open(b"question"))
    guest = cats.accept(server)
    assert receive(guest) == b"question"
    if kind in HALF_CLOSE:
        guest.sendall(b"answer")
        guest.close()
        assert cats.end(process) == (0, b"answer", "")
    else:
        with pytest.raises(BrokenPipeError):
            guest.sendall(b"answer")
        assert cats.end(process)[1] == b""


@pytest.mark.parametrize("kind", KINDS)
def test_half_close_of_the_guest(cats, vmm, kind):
    """Seen by the host, or not before the guest closes."""
    machine = vmm(kind, dial=[5000])
    read, write = os.pipe()
    process = cats.listen(machine.url(5000), path=f"{machine.uds}_5000", stdin=read)
    os.close(read)
    guest = machine.dial(5000)
    guest.sendall(b"question")
    guest.shutdown(socket.SHUT_WR)
    watch.eventually(lambda: process.out.read_bytes() == b"question")
    os.write(write, b"answer")
    assert receive(guest, 6) == b"answer"
    if kind in NO_HALF_CLOSE:
        os.close(write)
        assert is_silent(guest, 0.2) and process.poll() is None
        guest.close()
    else:
        # Both have ended: nothing is left to be said.
        os.close(write)
        assert receive(guest) == b""
    assert cats.end(process)[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_probe(cats, vmm, kind):
    """hvcat on both sides, whoever dials: what the VMM can do is found out."""
    machine = vmm(kind, dial=[5000])
    cats.listen("-k", "-p", machine.url(5000), path=f"{machine.uds}_5000")
    cats.listen("-k", "-p", machine.inside("listen", 6000), path=machine.guest / "listen_6000")
    began = time.monotonic()
    probes = {"guest": cats.popen("-p", machine.inside("dial", 5000)), "host": cats.popen("-p", machine.url(6000))}
    for who, process in probes.items():
        status, out, err = cats.end(process)
        found = capabilities(out)
        assert (status, err) == (0, ""), (who, err)
        wanted = {"half-close": "yes" if kind in HALF_CLOSE else "no", "refuses-fast": "yes", "peek": "yes"}
        assert {name: found[name] for name in wanted} == wanted, (who, out)
    assert time.monotonic() - began < 5


def test_probe_of_a_unix_socket(cats):
    url = f"unix://{cats.path}/u"
    process = cats.listen("-k", "-p", url)
    for _ in range(3):
        seconds, text = took(cats.run, "-p", url)
        found = capabilities(text)
        assert found["half-close"] == "yes" and seconds < 3, found
    assert cats.kill(process) == 0


def test_probe_of_what_hangs(cats):
    """Whoever accepts and says nothing, or hangs up, or sends without end: an answer all the same."""
    server = cats.server("u")
    process = cats.popen("-p", "-w", 1, f"unix://{cats.path}/u")
    began = time.monotonic()
    while process.poll() is None and time.monotonic() - began < 40:
        server.settimeout(0.2)
        try:
            cats.accept(server)
        except TimeoutError:
            pass
    assert process.poll() is not None, "hangs"
    assert capabilities(process.out.read_bytes()).get("half-close", "no") == "no"


# Relays

def relay(cats, *words, first, **more):
    return cats.listen(*words[:-1], words[-1], path=first, **more)


def test_relay(cats):
    """Both directions at once, and the ends as they come."""
    target = cats.server("target")
    path = cats.path / "u"
    process = cats.listen(f"unix://{path}", f"unix://{cats.path}/target", path=path)
    client = cats.client(path)
    server = cats.accept(target)
    writers = [cats.thread(client.sendall, BYTES), cats.thread(server.sendall, BYTES[::-1])]
    readers = []
    cats.thread(lambda: readers.append(receive(server, len(BYTES)) == BYTES)).join()
    assert receive(client, len(BYTES)) == BYTES[::-1] and readers == [True]
    for writer in writers:
        writer.join()
    client.shutdown(socket.SHUT_WR)
    assert receive(server) == b""
    server.sendall(b"more")
    assert receive(client, 4) == b"more" and is_silent(client)
    server.close()
    assert receive(client) == b""
    assert cats.end(process) == (0, b"", "")


def test_relay_that_dials_both(cats):
    one, two = cats.server("one"), cats.server("two")
    process = cats.popen(f"unix://{cats.path}/one", f"unix://{cats.path}/two")
    first = cats.accept(one)
    second = cats.accept(two)
    first.sendall(b"1"), second.sendall(b"2")
    assert (receive(first, 1), receive(second, 1)) == (b"2", b"1")
    first.close()
    assert receive(second) == b""
    second.close()
    assert cats.end(process) == (0, b"", "")


@pytest.mark.parametrize("kind", KINDS)
def test_relay_into_a_vm(cats, vmm, kind):
    """The host's end is the guest's by -H; the guest's is the client's."""
    machine = vmm(kind)
    server = machine.listen(5000)
    for options in ((), ("-H",)) if kind in HALF_CLOSE else ((),):
        path = cats.path / f"u{len(options)}"
        process = cats.listen(*options, f"unix://{path}", machine.url(5000), path=path)
        client = cats.client(path)
        guest = cats.accept(server)
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        if options:
            assert receive(guest) == b"question"
        else:
            assert receive(guest, 8) == b"question" and is_silent(guest)
        writer = cats.thread(lambda: (guest.sendall(BYTES), guest.close()))
        assert receive(client) == BYTES
        writer.join()
        assert cats.end(process) == (0, b"", "")


def test_relay_out_of_a_vm(cats, vmm):
    """From one VM into another, at the same time."""
    one = vmm("firecracker", folder="one", dial=[5000])
    two = vmm("openvmm", folder="two")
    server = two.listen(6000)
    process = cats.listen("-k", one.url(5000), two.url(6000), path=f"{one.uds}_5000")
    guests = [one.dial(5000) for _ in range(20)]
    for n, guest in enumerate(guests):
        guest.sendall(b"%4d" % n)
    answers = {}
    for _ in guests:
        inner = cats.accept(server)
        answers[receive(inner, 4)] = inner
    for n, guest in enumerate(guests):
        answers[b"%4d" % n].sendall(b"to %4d" % n)
        assert receive(guest, 7) == b"to %4d" % n
        guest.close()
    for inner in answers.values():
        assert receive(inner) == b""
        inner.close()
    watch.eventually(lambda: len(watch.fds(process.pid)) < 20)
    assert cats.kill(process) == 0


def test_relay_to_nobody(cats):
    """The client is told by an end, and the next one is served."""
    path = cats.path / "u"
    process = cats.listen("-k", "-w", 1, f"unix://{path}", f"unix://{cats.path}/target", path=path)
    assert is_closed(cats.client(path))
    target = cats.server("target")
    client = cats.client(path)
    client.sendall(b"hello")
    assert receive(cats.accept(target), 5) == b"hello"
    assert process.poll() is None
    assert cats.kill(process) == 0
    process = cats.popen("-l", "-w", 1, f"unix://{path}", f"unix://{cats.path}/none")
    watch.eventually(path.exists)
    assert is_closed(cats.client(path))
    assert cats.end(process)[0] == 1


def test_relay_with_a_stalled_reader(cats):
    """Holds back who writes, in bounded memory, and holds back nobody else."""
    target = cats.server("target")
    path = cats.path / "u"
    process = cats.listen("-k", f"unix://{path}", f"unix://{cats.path}/target", path=path)
    client = cats.client(path)
    stalled = cats.accept(target)
    client.setblocking(False)
    sent = 0
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        try:
            sent += client.send(BYTES)
        except BlockingIOError:
            time.sleep(0.02)
    assert sent < 4 << 20 and watch.rss(process.pid) < 4096
    other = cats.client(path)
    other.sendall(b"x")
    assert receive(cats.accept(target), 1) == b"x"
    client.shutdown(socket.SHUT_WR)
    assert len(receive(stalled)) == sent
    assert cats.kill(process) == 0


def test_relay_in_turn(cats):
    """-m bounds relays, too."""
    target = cats.server("target")
    path = cats.path / "u"
    process = cats.listen("-k", "-m", 2, f"unix://{path}", f"unix://{cats.path}/target", path=path)
    clients = [cats.client(path) for _ in range(3)]
    inner = [cats.accept(target) for _ in range(2)]
    target.settimeout(0.2)
    with pytest.raises(TimeoutError):
        target.accept()
    clients[0].close()
    inner[0].close()
    target.settimeout(5)
    cats.accept(target)
    assert cats.kill(process) == 0


# Commands

def test_command(cats):
    """It talks over the connection; standard error stays; its status is hvcat's."""
    path = cats.path / "u"
    for command, said, status in (("cat", b"hello", 0), ("head -c 3; exit 7", b"hel", 7), ("kill -9 $$", b"", 137),
                                  ("kill -TERM $$", b"", 143), ("/nonexistent", b"", 127),
                                  ("echo aside >&2; tr a-z A-Z", b"HELLO", 0)):
        process = cats.listen("-e", command, f"unix://{path}")
        client = cats.client(path)
        try:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        found = bytearray()
        try:
            while got := client.recv(100):
                found += got
        except ConnectionResetError:
            pass
        assert bytes(found) == said, command
        got, out, err = cats.end(process)
        assert (got, out) == (status, b"") and ("aside" in err) == ("aside" in command), (command, got, err)


def test_command_of_who_dials(cats):
    server = cats.server("u")
    process = cats.popen("-e", "read line; echo got $line; exit 5", f"unix://{cats.path}/u")
    peer = cats.accept(server)
    peer.sendall(b"this\n")
    assert receive(peer) == b"got this\n"
    assert cats.end(process)[0] == 5


def test_commands_at_the_same_time(cats):
    path = cats.path / "u"
    process = cats.listen("-k", "-e", "exec cat", f"unix://{path}")
    clients = [cats.client(path) for _ in range(20)]
    for n, client in enumerate(clients):
        client.sendall(b"%d" % n)
    for n, client in enumerate(clients):
        assert receive(client, len(str(n))) == b"%d" % n
    for client in clients:
        client.close()
    watch.eventually(lambda: not watch.children(process.pid))
    # One that cannot be started or is killed is no end of the others.
    client = cats.client(path)
    watch.kill(watch.eventually(lambda: watch.children(process.pid)))
    assert is_closed(client)
    client = cats.client(path)
    client.sendall(b"x")
    assert receive(client, 1) == b"x"
    client.close()
    watch.eventually(lambda: not watch.children(process.pid))
    assert len(watch.fds(process.pid)) < 20
    assert cats.kill(process) == 0


def test_command_is_told_who_came(cats, vmm):
    machine = vmm("openvmm", dial=[SERVICE, 5000])
    for service, url in ((SERVICE, f"hyperv://{VM}/{SERVICE}"), (5000, f"hyperv://{VM}/5000")):
        process = cats.listen("-c", f"{VM}={machine.uds}", "-e",
                              "echo $HV_PEER_KIND $HV_PEER_VM $HV_PEER_SERVICE", url,
                              path=f"{machine.uds}_{service}")
        kind, who, what = receive(machine.dial(service)).decode().split()
        assert (kind, who) == ("VM", VM)
        assert what == (SERVICE if service == SERVICE else "00001388" + TEMPLATE)
        assert cats.end(process)[0] == 0
    # The descriptors of others are not the command's.
    path = cats.path / "u"
    process = cats.listen("-k", "-e", "ls /proc/self/fd", f"unix://{path}")
    held = cats.client(path)
    receive(held)
    assert receive(cats.client(path)).decode().split() == ["0", "1", "2", "3"]
    assert cats.kill(process) == 0


# The registry

def test_children(cats, vmm):
    """Every child by its own socket, and nobody else."""
    one = vmm("openvmm", folder="one", dial=[SERVICE])
    two = vmm("openvmm", folder="two", dial=[SERVICE])
    stranger = vmm("openvmm", folder="three", dial=[SERVICE])
    process = cats.listen("-k", "-e", "echo $HV_PEER_KIND $HV_PEER_VM", "-c", f"{VM}={one.uds}",
                          "-c", f"{VM2}={two.uds}", f"hyperv://children/{SERVICE}",
                          path=f"{two.uds}_{SERVICE}")
    watch.eventually(pathlib.Path(f"{one.uds}_{SERVICE}").exists)
    for _ in range(3):
        assert receive(one.dial(SERVICE)) == f"VM {VM}\n".encode()
        assert receive(two.dial(SERVICE)) == f"VM {VM2}\n".encode()
        assert is_closed(stranger.dial(SERVICE))
    assert is_closed_by_loopback(cats)
    assert cats.kill(process) == 0
    assert not list(cats.path.glob(f"*/v_{SERVICE}"))


def is_closed_by_loopback(cats):
    return REFUSED in cats.fails("-w", 1, f"hyperv://loopback/{SERVICE}")


def test_one_child(cats, vmm):
    one = vmm("firecracker", folder="one", dial=[5000])
    two = vmm("firecracker", folder="two", dial=[5000])
    rows = ("-c", f"{VM}={one.uds}", "-c", f"{VM2}={two.uds}")
    process = cats.listen(*rows, f"hyperv://{VM}/5000", path=f"{one.uds}_5000")
    assert is_closed(two.dial(5000))
    one.dial(5000).close()
    assert cats.end(process) == (0, b"", "")
    # To dial it, it need not listen.
    server = two.listen(6000)
    process = cats.popen(*rows, f"hyperv://{VM2}/6000")
    cats.accept(server).close()
    assert cats.end(process)[0] == 0


def test_service_of_a_child(cats, vmm):
    """By -s it has a port, for a VMM that knows no GUIDs."""
    machine = vmm("firecracker", dial=[7001])
    server = machine.listen(7000)
    server.settimeout(2)
    process = cats.popen("-c", f"{VM}={machine.uds}", "-s", f"{SERVICE}=7000", f"hyperv://{VM}/{SERVICE}")
    cats.accept(server).close()
    assert cats.end(process) == (0, b"", "")
    process = cats.listen("-c", f"{VM}={machine.uds}", "-s", f"{SERVICE}=7001", "-s", f"{VM}=7002",
                          f"hyperv://{VM}/{SERVICE}", path=f"{machine.uds}_7001")
    machine.dial(7001).close()
    assert cats.end(process) == (0, b"", "")


def test_no_child(cats, vmm):
    """Not in the registry; in it, and dead."""
    machine = vmm("firecracker")
    for words in ((f"hyperv://{VM}/5000",), ("-c", f"{VM2}={machine.uds}", f"hyperv://{VM}/5000")):
        assert NO_SENSE in cats.fails("-w", 1, *words)
    machine.kill()
    assert REFUSED in cats.fails("-w", 1, "-c", f"{VM}={machine.uds}", f"hyperv://{VM}/5000")
    # Without anybody who could come, nothing is listened on.
    cats.fails("-l", f"hyperv://children/{SERVICE}")
    cats.fails("-l", f"hyperv://{VM}/{SERVICE}")


@pytest.mark.parametrize("row", ["", "x", VM, f"{VM}=", f"{VM}=x", f"{VM}=relative/path", f"{VM}=0", f"{VM}=1",
                                 f"{VM}=2", f"{VM}=4294967295", f"{VM}=4294967296", f"{VM}=-3",
                                 "zzz=/v", "parent=/v", "=/v"])
def test_wrong_row(cats, row):
    cats.fails("-c", row, f"hyperv://{VM}/5000", status=2)


def test_rows_that_contradict_each_other(cats):
    for rows in (("-c", f"{VM}=/a", "-c", f"{VM}=/b"), ("-c", f"{VM}=/a", "-c", f"{VM2}=/a"),
                 ("-c", f"{VM}=5", "-c", f"{VM2}=5")):
        cats.fails(*rows, f"hyperv://{VM}/5000", status=2)


@pytest.mark.parametrize("row", ["", "x", SERVICE, f"{SERVICE}=", f"{SERVICE}=x", f"{SERVICE}=-1",
                                 f"{SERVICE}=4294967296", "x=5", "=5"])
def test_wrong_service(cats, row):
    cats.fails("-s", row, f"hyperv://loopback/{SERVICE}", status=2)


# Wildcards, on a machine without AF_VSOCK

@pytest.mark.parametrize("vm", ["any", "loopback", "00000000-0000-0000-0000-000000000000",
                                "e0e16197-dd56-4a10-9195-5ee7a155a838"])
@pytest.mark.parametrize("service", [SERVICE, "5000"])
def test_loopback(cats, vm, service):
    path = cats.loopback(service)
    process = cats.listen("-e", "echo $HV_PEER_KIND; cat", f"hyperv://{vm}/{service}", path=path)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert cats.run(f"hyperv://loopback/{service}", input=b"hello") == b"LOOPBACK\nhello"
    assert cats.end(process)[0] == 0
    assert not path.exists()


def test_loopback_is_ours(cats):
    """Another user does not get in, even if the folder's mode would let him."""
    cats.path.chmod(0o711)
    path = cats.loopback(SERVICE)
    process = cats.listen("-k", f"hyperv://any/{SERVICE}", path=path, stdin=cats.open(b"secret"))
    path.parent.chmod(0o711)
    path.chmod(0o666)
    os.seteuid(NOBODY)
    try:
        stranger = cats.client(path)
    finally:
        os.seteuid(0)
    assert is_closed(stranger)
    assert receive(cats.client(path), 6) == b"secret"
    assert cats.kill(process) == 0
    # And a folder that others may write is none to listen in, or to be believed.
    path.parent.chmod(0o777)
    cats.fails("-l", f"hyperv://any/{SERVICE}")
    path.parent.chmod(0o700)
    os.chown(path.parent, NOBODY, 0)
    cats.fails("-l", f"hyperv://any/{SERVICE}")


def test_loopback_of_the_runtime_folder(cats):
    """Without the variable: XDG_RUNTIME_DIR's, for who is not root."""
    cats.path.chmod(0o711)
    runtime = cats.path / "runtime"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, NOBODY, NOBODY)
    program = cats.path / "hvcat"
    shutil.copy(hvcat.HVCAT, program)
    program.chmod(0o755)
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(runtime))
    environment.pop("HVSOCKET_LOOPBACK_DIR", None)
    words = {"env": environment, "prefix": ["setpriv", "--reuid", str(NOBODY), "--clear-groups"]}
    path = runtime / f"hvrun/hv/loopback_{SERVICE}"
    process = cats.popen("-l", f"hyperv://any/{SERVICE}", **words)
    watch.eventually(lambda: path.exists() or process.poll() is not None)
    assert process.poll() is None, process.err.read_text()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    cats.run(f"hyperv://loopback/{SERVICE}", input=b"hello", **words)
    assert cats.end(process) == (0, b"hello", "")


def test_any_has_all_ways_in(cats, vmm):
    """The same listener for who comes by loopback and for who comes from each VM, each by its name."""
    one = vmm("openvmm", folder="one", dial=[SERVICE])
    two = vmm("openvmm", folder="two", dial=[SERVICE])
    process = cats.listen("-k", "-e", "echo $HV_PEER_KIND $HV_PEER_VM", "-c", f"{VM}={one.uds}",
                          "-c", f"{VM2}={two.uds}", f"hyperv://any/{SERVICE}",
                          path=cats.loopback(SERVICE))
    watch.eventually(lambda: len(list(cats.path.glob(f"*/v_{SERVICE}"))) == 2)
    for _ in range(5):
        assert receive(one.dial(SERVICE)) == f"VM {VM}\n".encode()
        assert receive(two.dial(SERVICE)) == f"VM {VM2}\n".encode()
        assert cats.run(f"hyperv://loopback/{SERVICE}").split()[0] == b"LOOPBACK"
    assert cats.kill(process) == 0
    assert not list(cats.path.glob(f"*/v_{SERVICE}")) and not cats.loopback(SERVICE).exists()


def test_any_is_fair(cats, vmm):
    """Who comes by one way in does not starve by the others."""
    one = vmm("openvmm", folder="one", dial=[SERVICE])
    process = cats.listen("-k", "-e", "echo $HV_PEER_KIND", "-m", 1, "-c", f"{VM}={one.uds}",
                          f"hyperv://any/{SERVICE}", path=cats.loopback(SERVICE))
    watch.eventually(lambda: len(list(cats.path.glob(f"*/v_{SERVICE}"))) == 1)
    crowd = [cats.client(cats.loopback(SERVICE)) for _ in range(200)]
    began = time.monotonic()
    assert receive(one.dial(SERVICE)) == b"VM\n"
    alone = time.monotonic() - began
    for sock in crowd:
        assert receive(sock) == b"LOOPBACK\n"
    assert alone < (time.monotonic() - began) / 2
    assert cats.kill(process) == 0


def test_all_ways_or_none(cats, vmm):
    """One of them is taken: nothing is left of the others."""
    machine = vmm("openvmm")
    taken = socket.socket(socket.AF_UNIX)
    taken.bind(f"{machine.uds}_{SERVICE}")
    taken.listen()
    assert "in use" in cats.fails("-l", "-c", f"{VM}={machine.uds}", f"hyperv://any/{SERVICE}")
    assert not cats.loopback(SERVICE).exists()
    taken.close()
    process = cats.listen("-k", f"hyperv://loopback/{SERVICE}", path=cats.loopback(SERVICE))
    os.unlink(f"{machine.uds}_{SERVICE}")
    assert "in use" in cats.fails("-l", "-c", f"{VM}={machine.uds}", f"hyperv://any/{SERVICE}")
    assert not os.path.exists(f"{machine.uds}_{SERVICE}")
    assert cats.kill(process) == 0


# A machine that may be a guest itself is none without this device.
NO_GUEST = ["unshare", "--mount", "sh", "-c", "[ ! -e /dev/vsock ] || mount --bind /dev/null /dev/vsock; "
            "exec \"$0\" \"$@\""]
BROADCAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@pytest.mark.parametrize("words", [
    ("hyperv://any/{}",), ("hyperv://children/{}",), ("hyperv://broadcast/{}",), (f"hyperv://{BROADCAST}/{{}}",),
    ("hyperv://parent/{}",), (f"hyperv://{VM}/{{}}",), ("hyperv://silohost/{}",), ("-l", "hyperv://broadcast/{}"),
    ("-l", f"hyperv://{BROADCAST}/{{}}"), ("-l", "hyperv://parent/{}"), ("-l", "hyperv://silohost/{}"),
    ("vsock://any:{}",)], ids=" ".join)
@pytest.mark.parametrize("service", ["5000", SERVICE])
def test_no_sense(cats, words, service):
    """Addresses that mean nothing on a machine that is no guest."""
    if words[0].startswith("vsock") and service == SERVICE:
        service = "6000"
    seconds, text = took(cats.fails, *(word.format(service) for word in words), prefix=NO_GUEST)
    assert NO_SENSE in text and seconds < 1


def test_no_such_family(cats):
    for words in (("vsock://3:5000",), ("-l", "vsock://any:5000"), ("-l", "-c", f"{VM}=5", f"hyperv://{VM}/5000"),
                  ("-c", f"{VM}=5", f"hyperv://{VM}/5000")):
        seconds, _ = took(cats.fails, "-w", 1, *words)
        assert seconds < 2, words


@pytest.mark.parametrize("service", ["5000", SERVICE])
@pytest.mark.parametrize("vm", ["parent", "silohost"])
def test_parent_of_a_container(cats, vm, service):
    """Whoever hosts it has put a socket there, or there is none."""
    folder = cats.path / "silo"
    folder.mkdir()
    inside = ["unshare", "--pid", "--mount", "--fork", "--mount-proc", "sh", "-c",
              f"mount -t tmpfs none /run && mkdir /run/hvrun && mount --bind {folder} /run/hvrun && exec \"$0\" \"$@\""]
    url = f"hyperv://{vm}/{service}"
    cats.fails("-w", 1, url, prefix=inside)
    server = cats.server(f"silo/silohost_{service}")
    process = cats.popen(url, prefix=inside)
    peer = cats.accept(server)
    peer.sendall(b"hello")
    peer.close()
    assert cats.end(process) == (0, b"hello", "")
    assert NO_SENSE in cats.fails("-l", url, prefix=inside)
