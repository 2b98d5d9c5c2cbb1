# SPDX-License-Identifier: Apache-2.0
"""hvcat over AF_VSOCK, in a VM that the tests share: guest.py. Run with `--partition qemu`.

On the host's side stand the hybrid sockets of vhost-device-vsock, which passes no half-close on: so a
command behind each listener says when it is done.
"""

import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

import pytest

import container
import guest
import hvcat
import watch
from hvcat import SERVICE, VM, capabilities, is_closed, is_silent, receive, took

REFUSED = "nobody listens"
NO_SENSE = "makes no sense"
DATA = random.Random(2).randbytes(200000)
SUM = "d=$(md5sum); echo ${d%% *}"


@pytest.fixture(scope="module")
def shared():
    """The VM, and in it /tmp/data."""
    with guest.shared_vm([hvcat.HVCAT, shutil.which("socat")]) as made:
        made.put("/tmp/data", DATA)
        yield made


@pytest.fixture
def vm(shared, place):
    """For one test, after which nothing of it runs in the VM."""
    before = shared.shell("ps -o args").splitlines()
    assert shared.machine.runs()
    count = len(shared.hv.started)
    yield shared
    for process in shared.hv.started[count:]:
        process.kill()
        process.wait()
    shared.shell("killall -q -9 hvcat socat; true")
    after = [line for line in shared.shell("ps -o args").splitlines() if b"hvcat" in line or b"socat" in line]
    assert not [line for line in after if line not in before], after


@pytest.fixture(scope="module")
def loopback(shared):
    guest.load_loopback(shared)


class Port:
    """A port that no other test has used."""
    last = 5000


@pytest.fixture
def port():
    Port.last += 1
    return Port.last


def host_dials(cats, vm, port, seconds=5):
    """A connection to the guest, when somebody listens there."""
    deadline = time.monotonic() + seconds
    while True:
        sock = cats.client(vm.base)
        sock.sendall(b"CONNECT %d\n" % port)
        line = bytearray()
        while not line.endswith(b"\n") and (got := sock.recv(1)):
            line += got
        if line:
            assert line.startswith(b"OK "), line
            return sock
        assert time.monotonic() < deadline, f"nobody listens on {port} in the VM"
        time.sleep(0.05)


def socat_dials(vm, port, seconds=5):
    """The same by socat, its standard input and output pipes."""
    deadline = time.monotonic() + seconds
    while True:
        process = watch.own(subprocess.Popen(["socat", "-", f"UNIX-CONNECT:{vm.base}"], stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, bufsize=0))
        process.stdin.write(b"CONNECT %d\n" % port)
        if process.stdout.readline().startswith(b"OK "):
            return process
        with process:
            process.kill()
        assert time.monotonic() < deadline, f"nobody listens on {port} in the VM"
        time.sleep(0.05)


def in_guest(vm, listener, script, **more):
    """A script beside a listener of the guest, which is there when the script runs and gone behind it."""
    return vm.shell(f"{listener} & p=$!; sleep .2; {{ {script}; }} 2>&1; kill $p 2>/dev/null; wait $p 2>/dev/null; "
                    "true", **more)


# Who dials and who listens: hvcat, or socat as everybody knows it

def digest(data):
    return subprocess.run(["md5sum"], input=data, check=True, capture_output=True).stdout.split()[0]


def command(size):
    """Reads so much, and answers with its sum and the data."""
    return f"head -c {size} >got.$$; md5sum <got.$$ | cut -c 1-32; cat got.$$; rm got.$$"


@pytest.mark.parametrize("dialler", ["hvcat hyperv://parent/{}", "hvcat vsock://host:{}", "hvcat vsock:2:{}",
                                     "socat - VSOCK-CONNECT:2:{}"])
@pytest.mark.parametrize("listener", ["hvcat", "socat"])
def test_guest_dials(vm, cats, port, dialler, listener):
    path = f"{vm.base}_{port}"
    if listener == "hvcat":
        cats.listen("-e", command(len(DATA)), vm.url(port), path=path, cwd=cats.path)
    else:
        script = cats.path / "script"
        script.write_text(command(len(DATA)))
        cats.started.append(watch.own(subprocess.Popen(
            ["socat", f"UNIX-LISTEN:{path},unlink-close=1", f"EXEC:sh {script}"], cwd=cats.path)))
        cats.started[-1].err = script
        watch.eventually(pathlib.Path(path).exists)
    # Neither side may take the end of the guest's input for the end of everything.
    said = vm.shell(f"{dialler.format(port)} </tmp/data >/tmp/got; echo $?; head -n 1 /tmp/got; "
                    "tail -n +2 /tmp/got | md5sum")
    status, there, back, _ = said.split()
    assert (status, there, back) == (b"0", digest(DATA), digest(DATA))
    cats.started[-1].wait(5)


@pytest.mark.parametrize("listener", ["hvcat -l -e '{0}' hyperv://parent/{1}", "hvcat -l -e '{0}' vsock://any:{1}",
                                      "hvcat -l -e '{0}' hyperv://any/{1}", "socat VSOCK-LISTEN:{1} EXEC:/tmp/script"])
@pytest.mark.parametrize("dialler", ["hvcat", "socat"])
def test_host_dials(vm, cats, port, listener, dialler):
    vm.put("/tmp/script", b"#!/bin/sh\n" + command(len(DATA)).encode())
    vm.shell("chmod +x /tmp/script")
    process = vm.popen("sh", "-c", "cd /tmp; exec " + listener.format("/tmp/script", port))
    if dialler == "hvcat":
        deadline = time.monotonic() + 10
        while True:
            dialled = cats.popen(vm.url(port), stdin=cats.open(DATA))
            status, out, err = cats.end(dialled, 20)
            if REFUSED not in err or time.monotonic() > deadline:
                break
    else:
        # Its input does not end before the guest has: socat would half-close, the end of everything.
        dialled = socat_dials(vm, port)
        with dialled:
            dialled.stdin.write(DATA)
            out, err = dialled.stdout.read(), b""
            status = dialled.wait(10)
    there, _, back = out.partition(b"\n")
    assert (status, there, back == DATA) == (0, digest(DATA), True), (status, out[:100], err)
    assert process.wait(10) == 0


def test_both_directions_at_once(vm, cats, port):
    """What an echo sends back is more than fits anywhere."""
    process = vm.popen("hvcat", "-l", "-e", "cat", f"hyperv://parent/{port}")
    sock = host_dials(cats, vm, port)
    data = DATA * 20
    writer = cats.thread(sock.sendall, data)
    assert receive(sock, len(data)) == data
    writer.join()
    sock.close()
    assert process.wait(10) == 0


def test_end_before_the_half_close(vm, cats, port):
    """The kernel has a word of its own for the end of what the host has closed before the guest half-closes."""
    cats.listen("-k", "-e", "echo from the host", vm.url(port), path=f"{vm.base}_{port}")
    for url in (f"hyperv://parent/{port}", f"vsock://host:{port}"):
        said = vm.shell(f"for i in 1 2 3 4 5; do hvcat {url} </dev/null || echo $?; done; "
                        f"{{ sleep .3; echo late; }} | hvcat {url}; true")
        assert said == 6 * b"from the host\n", said


# Services

def test_service_outside_of_the_template(vm, cats, port):
    """By -s it has a port, for who dials and for who listens; without it there is none."""
    path = f"{vm.base}_{port}"
    cats.listen("-e", "echo from the host", vm.url(port), path=path)
    assert vm.run("hvcat", "-s", f"{SERVICE}={port}", f"hyperv://parent/{SERVICE}") == b"from the host\n"
    vm.popen("hvcat", "-l", "-s", f"{SERVICE}={port + 100}", "-e", "echo $HV_PEER_KIND $HV_PEER_SERVICE",
             f"hyperv://parent/{SERVICE}")
    assert receive(host_dials(cats, vm, port + 100)).split()[0] == b"PARENT"
    for words in (["-s", f"{VM}={port}"], []):
        said = vm.run("sh", "-c", f"hvcat {' '.join(words)} hyperv://parent/{SERVICE} 2>&1", status=1)
        assert NO_SENSE in said.decode()
        vm.run("hvcat", "-l", *words, f"hyperv://parent/{SERVICE}", status=1)


def test_who_came(vm, cats, port):
    """As Windows would show it."""
    process = vm.popen("hvcat", "-l", "-v", "-e", "echo $HV_PEER_KIND $HV_PEER_VM $HV_PEER_SERVICE",
                       f"hyperv://any/{port}")
    kind, who, _ = receive(host_dials(cats, vm, port)).decode().split()
    assert (kind, who) == ("PARENT", "a42e7cda-d03f-480c-9cc2-a4de20abb878")
    _, err = process.communicate(timeout=10)
    assert b"PARENT {a42e7cda-d03f-480c-9cc2-a4de20abb878, " in err and b"(CID 2, port " in err, err


# Without vsock_loopback

def test_refused(vm, port):
    """vhost-device-vsock does not say that nobody listens: the kernel gives up after 2 s, or -w before. What makes no
    sense is told before the kernel is asked."""
    for url, option, least, most in ((f"hyperv://parent/{port}", "-w 1", 0.9, 1.7),
                                     (f"vsock://host:{port}", "", 1.9, 3)):
        said, seconds = seconds_of(vm, f"hvcat {option} {url}")
        assert "no answer in time" in said and least < seconds < most, (said, seconds)
    for url in (f"hyperv://any/{port}", f"hyperv://children/{port}", f"hyperv://broadcast/{port}",
                f"hyperv://{VM}/{port}", f"vsock://any:{port}", f"vsock://hypervisor:{port}"):
        said, seconds = seconds_of(vm, f"hvcat {url}")
        assert NO_SENSE in said and seconds < 1, (url, said, seconds)


def seconds_of(vm, script):
    """(what it says, how long it takes by the guest's clock); its exit status must be 1."""
    text = vm.shell(f"a=$(cut -d' ' -f1 /proc/uptime); {script} 2>&1; s=$?; b=$(cut -d' ' -f1 /proc/uptime); "
                    "echo; echo $s $a $b").decode()
    status, began, ended = text.splitlines()[-1].split()
    assert status == "1", text
    return text, float(ended) - float(began)


def test_refused_by_the_guest(vm, cats, port):
    seconds, text = took(cats.fails, "-w", 1, vm.url(port))
    assert REFUSED in text and seconds < 3


def test_no_loopback(vm, port):
    """CID 1 and our own are not dialled: they would end at the host. The unix socket is there."""
    for url in (f"vsock://local:{port}", f"vsock://{guest.CID}:{port}", f"hyperv://loopback/{port}"):
        said, seconds = seconds_of(vm, f"hvcat -w 2 {url}")
        assert seconds < 1 or url.startswith("hyperv") and seconds < 3, (url, said)
        assert NO_SENSE in said or url.startswith("hyperv") and REFUSED in said, (url, said)
    for vm_name in ("loopback", "any"):
        assert in_guest(vm, f"hvcat -l -e 'echo $HV_PEER_KIND' hyperv://{vm_name}/{port}",
                        f"hvcat hyperv://loopback/{port}") == b"LOOPBACK\n"


# PARENT in a container is who hosts the container

def container_in(vm, script, *mounts):
    """What a container of the VM prints."""
    spec = container.config("sh", "-c", script, rootfs="/usr")
    spec["process"]["env"] = ["PATH=/bin"]
    spec["mounts"] = [container.mount("/lib", "tmpfs", "tmpfs"), *mounts]
    spec["linux"]["maskedPaths"] = spec["linux"]["readonlyPaths"] = []
    return vm.hv.run_spec(spec, "--pod", vm.sleeper, status=None)


def test_parent_of_a_container(vm, cats, port):
    vm.shell("mkdir -p /usr/run /usr/proc; rm -rf /run/silo; mkdir -m 700 -p /run/silo")
    proc = container.mount("/proc", "proc", "proc")
    silo = container.mount("/run/hvrun", "bind", "/run/silo", "rbind")
    for service in (str(port), SERVICE):
        # The host listens on that port as well, and must not be reached.
        listener = vm.popen("hvcat", "-l", "-e", "echo from the VM", f"unix:///run/silo/silohost_{service}")
        if service != SERVICE:
            cats.listen("-k", "-e", "echo from the host", vm.url(port), path=f"{vm.base}_{port}")
        watch.eventually(lambda: b"silohost" in vm.shell("ls /run/silo"))
        script = f"readlink /proc/self/ns/pid; hvcat -w 2 hyperv://parent/{service}; echo $?"
        result = container_in(vm, script, proc, silo)
        assert result.stdout.splitlines()[1:] == ["from the VM", "0"], repr(result)
        assert listener.wait(10) == 0
        # Nobody has mounted one there.
        result = container_in(vm, script, proc)
        assert result.stdout.splitlines()[1:] == ["1"] and NO_SENSE in result.stderr, repr(result)
        result = container_in(vm, f"hvcat -l hyperv://parent/{service}", proc, silo)
        assert result.returncode == 1 and NO_SENSE in result.stderr, repr(result)


# With vsock_loopback

def listeners(port):
    return {name: f"hvcat -l -k -e 'echo $HV_PEER_KIND' hyperv://{name}/{port}"
            for name in ("loopback", "parent", "any")} | {
        "children": f"hvcat -l -k -c {VM}=5 -e 'echo $HV_PEER_KIND' hyperv://children/{port}",
        "a child": f"hvcat -l -k -c {VM}=5 -e 'echo $HV_PEER_KIND' hyperv://{VM}/{port}"}


@pytest.mark.parametrize("name", listeners(0))
def test_who_is_let_in(vm, cats, loopback, port, name):
    """Who may not come in is closed without a byte, and the next one is served."""
    process = vm.popen("sh", "-c", "exec " + listeners(port)[name])
    script = ";".join(f"echo {url}; socat -T 5 - VSOCK-CONNECT:{url}:{port} </dev/null 2>&1 | grep -v socat"
                      for url in (1, guest.CID)) + f"; hvcat -w 1 hyperv://loopback/{port} </dev/null"
    local = vm.shell(f"sleep .2; {{ {script}; }} 2>/dev/null; true").split()
    by_cid = local[1:local.index(b"3")], local[local.index(b"3") + 1:]
    admitted = name in ("loopback", "any")
    # One line from CID 1; from our own CID and from hyperv://loopback, too.
    assert by_cid[0] == [b"LOOPBACK"] * admitted, local
    assert set(by_cid[1]) == {b"LOOPBACK"} if admitted else not by_cid[1], local
    if name == "loopback":
        # Bound to CID 1, it is not there for the host.
        sock = cats.client(vm.base)
        sock.sendall(b"CONNECT %d\n" % port)
        assert is_closed(sock)
    else:
        for _ in range(2):
            said = receive(host_dials(cats, vm, port))
            assert said == (b"PARENT\n" if name in ("parent", "any") else b""), said
    assert process.poll() is None


def test_loopback(vm, loopback, port):
    """Between two processes of the guest, by each of its names."""
    script = (f"hvcat -q hyperv://loopback/{port} </tmp/data; hvcat vsock://local:{port} </tmp/data; "
              f"hvcat vsock://1:{port} </tmp/data; hvcat vsock://{guest.CID}:{port} </tmp/data; "
              f"socat -t 5 - VSOCK-CONNECT:1:{port} </tmp/data")
    said = in_guest(vm, f"hvcat -l -k -e 'md5sum | cut -c 1-32' hyperv://any/{port}", script).split()
    assert said[-4:] == [digest(DATA)] * 4, said
    # And hvcat as the client of socat.
    said = in_guest(vm, f"socat VSOCK-LISTEN:{port},fork SYSTEM:'md5sum | cut -c 1-32'",
                    f"hvcat vsock://local:{port} </tmp/data").split()
    assert said == [digest(DATA)], said


def test_nobody_on_loopback(vm, loopback, port):
    for url in (f"vsock://local:{port}", f"hyperv://loopback/{port}", f"vsock://{guest.CID}:{port}"):
        said, seconds = seconds_of(vm, f"hvcat -w 1 {url}")
        assert REFUSED in said and seconds < 2.5, (url, said, seconds)


def test_taken(vm, loopback, port):
    """Another has the port: nothing is left of the other ways in."""
    said = in_guest(vm, f"socat VSOCK-LISTEN:{port} -", f"hvcat -l hyperv://any/{port}; echo $?; ls /run/hvrun/hv")
    assert b"in use" in said and b"\n1\n" in said and f"loopback_{port}".encode() not in said, said


# The probe: what is measured stands in hvsocket/README.md

MATRIX = {
    "loopback": {"half-close": "yes", "end-is-safe": "yes", "refuses-fast": "yes", "peek": "yes", "reset": "no",
                 "peer-identity": "cid"},
    "loopback, unix": {"half-close": "yes", "end-is-safe": "yes", "refuses-fast": "yes", "peek": "yes", "reset": "yes",
                       "peer-identity": "credentials"},
    "guest dials": {"half-close": "no", "end-is-safe": "yes", "refuses-fast": "no", "peek": "yes", "reset": "no",
                    "peer-identity": "credentials"},
    "host dials": {"half-close": "no", "end-is-safe": "yes", "refuses-fast": "yes", "peek": "yes", "reset": "no",
                   "peer-identity": "cid"},
}


@pytest.mark.parametrize("how", MATRIX)
def test_probe(vm, cats, loopback, port, how):
    if how == "loopback":
        text = in_guest(vm, f"hvcat -l -k -p vsock://any:{port}", f"hvcat -p vsock://local:{port}", timeout=30)
    elif how == "loopback, unix":
        text = in_guest(vm, f"hvcat -l -k -p hyperv://any/{port}", f"hvcat -p hyperv://loopback/{port}", timeout=30)
    elif how == "guest dials":
        cats.listen("-k", "-p", vm.url(port), path=f"{vm.base}_{port}")
        text = vm.run("hvcat", "-p", f"vsock://host:{port}", timeout=30)
    else:
        vm.popen("hvcat", "-l", "-k", "-p", f"vsock://any:{port}")
        time.sleep(0.3)
        text = cats.run("-p", vm.url(port), timeout=30)
    print(text.decode())
    found = capabilities(text)
    assert {name: found[name] for name in MATRIX[how]} == MATRIX[how], text


# Pauses, and the end

def test_pause(vm, cats, port):
    """A connection survives, whoever dialled, and what the host says meanwhile comes later.

    By a signal: what QEMU's monitor pauses, vhost-device-vsock does not serve any more afterwards.
    """
    vm.popen("hvcat", "-l", "-e", "cat", f"hyperv://parent/{port}")
    into = host_dials(cats, vm, port)
    server = cats.keep(socket.socket(socket.AF_UNIX))
    server.bind(f"{vm.base}_{port}")
    server.listen()
    server.settimeout(10)
    vm.popen("hvcat", "-e", "cat", f"hyperv://parent/{port}")
    out = cats.accept(server)
    for sock in (into, out):
        sock.sendall(b"before")
        assert receive(sock, 6) == b"before"
    vm.qemu.send_signal(signal.SIGSTOP)
    try:
        for sock in (into, out):
            sock.sendall(b"meanwhile")
            assert is_silent(sock, 0.3)
    finally:
        vm.qemu.send_signal(signal.SIGCONT)
    for sock in (into, out):
        assert receive(sock, 9) == b"meanwhile"
        sock.sendall(DATA[:50000])
        assert receive(sock, 50000) == DATA[:50000]
        sock.close()


def test_end_of_the_vm(shared, cats, port):
    """The last test: whoever has a connection is told."""
    shared.popen("hvcat", "-l", "-e", "sleep 1000", f"hyperv://parent/{port}")
    host_dials(cats, shared, port).close()
    shared.popen("hvcat", "-l", "-k", "-e", "sleep 1000", f"hyperv://parent/{port + 500}")
    time.sleep(0.3)
    process = cats.popen("-n", shared.url(port + 500))
    time.sleep(0.3)
    assert process.poll() is None, process.err.read_text()
    shared.qemu.kill()
    assert process.wait(5) in (0, 1)
    shared.machine.close()
