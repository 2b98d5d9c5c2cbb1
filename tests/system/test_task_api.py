# SPDX-License-Identifier: Apache-2.0
"""The Task service of a shim, asked without containerd: each method as it is meant, with names that do
not exist, in the wrong state and with garbage; its streams and its events."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import proto
import ttrpc
import watch
from container import config, mount, sh
from shimclient import (CREATED, PAUSED, PROCESS, RESOURCES, RUNNING, STOPPED, Refused, Stdio,
                        kept_in, left_of, socket_of, task_service)
from ttrpc import (ALREADY_EXISTS, FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, NOT_FOUND,
                   RESOURCE_EXHAUSTED, UNIMPLEMENTED)

GO_ZERO_TIME = -62135596800
ours = pytest.mark.ours
alone = pytest.mark.alone
METHODS = ["State", "Create", "Start", "Delete", "Pids", "Pause", "Resume", "Checkpoint", "Kill", "Exec",
           "ResizePty", "CloseIO", "Update", "Wait", "Stats", "Connect", "Shutdown"]


@pytest.fixture
def box(host):
    """A container that sleeps."""
    return host.sleeper()


# Life


def test_life(host):
    box = host.make(config("sleep", "1000"))
    box.create()
    state = box.state()
    assert (state.status, state.pid) == (CREATED, box.pid) and watch.stat(box.pid)
    assert state.exited_at.seconds in (GO_ZERO_TIME, 0)
    assert box.start().pid == box.pid
    state = box.state()
    assert state.status == RUNNING
    assert (state.id, state.bundle, state.exec_id) == (box.id, str(box.bundle), "")
    assert {name: getattr(state, name) for name in box.stdio.fields()} == box.stdio.fields()
    waiting = box.task.begin("Wait", id=box.id)
    assert not box.task.is_done(waiting, 0.1)
    box.kill(signal.SIGKILL)
    reply = box.task.finish(waiting)
    assert reply.exit_status == 137 and abs(reply.exited_at.seconds - time.time()) < 60
    state = box.state()
    assert (state.status, state.exit_status, state.exited_at) == (STOPPED, 137, reply.exited_at)
    deleted = box.delete()
    assert (deleted.pid, deleted.exit_status, deleted.exited_at) == (box.pid, 137, reply.exited_at)
    for method in ("Delete", "State", "Wait", "Pids"):
        box.task.refuses(method, NOT_FOUND, id=box.id)
    assert box.task.Connect(id=box.id).shim_pid
    box.shutdown()
    watch.eventually(lambda: not os.path.exists(ttrpc.unix_path(box.address)))


@ours("it has one kind of containers")
def test_place_of_a_container(host):
    """The configuration says what kind of partition: the host's kernel, or another one."""
    status, out, _ = host.run("uname", "-r")
    assert status == 0 and (out.decode().strip() == os.uname().release) == (host.driver == "local")


@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 137), ("trap 'exit 9' TERM; kill -15 $$", 9)])
def test_exit_status(host, script, status):
    # Signals without a handler do not reach the first process of a pid namespace: it has a child.
    script = script if "trap" in script else f"sh -c '{script}'; exit $?"
    assert host.run("sh", "-c", script)[:2] == (status, b"")


def test_root_file_systems(host, place):
    """An absolute path in the configuration and no mounts, as docker; layers; one on another."""
    mounts = proto.load("task").Mount
    spec = config("cat", "/etc/hostname2", rootfs=host.rootfs)
    spec["mounts"].append(mount("/etc/hostname2", "bind", __file__, "bind", "ro"))
    box = host.make(spec)
    box.create(rootfs=[])
    assert box.run()[0:2] == (0, open(__file__, "rb").read())
    box.delete()
    for name in ("upper", "work", "data"):
        (place.path / name).mkdir()
    (place.path / "data/file").write_text("below")
    overlay = mounts(type="overlay", source="overlay", options=[
        f"lowerdir={host.rootfs}", f"upperdir={place.path}/upper", f"workdir={place.path}/work"])
    box = host.make(sh("echo text >/new; cat /mnt/file"))
    box.create(rootfs=[overlay])
    status, out, err = box.run()
    assert (status, out) == (0, b"") and b"/mnt/file" in err or status, (status, out, err)
    box.delete()
    assert (place.path / "upper/new").read_text() == "text\n"
    watch.eventually(lambda: not any(str(box.bundle) in line for line in watch.mounts()))


@pytest.mark.parametrize("what", ["no config.json", "garbage", "no process", "mount", "source", "bundle"])
def test_create_that_fails(host, place, what):
    """With one line that says why; nothing stays mounted, and the shim can go."""
    spec = config("true")
    if what == "no process":
        del spec["process"]
    if what == "source":
        spec["mounts"].append(mount("/mnt", "bind", place.path / "missing", "bind"))
    box = host.make(spec)
    fields, rootfs = {}, [host.rootfs_mount()]
    if what == "no config.json":
        (box.bundle / "config.json").unlink()
    if what == "garbage":
        (box.bundle / "config.json").write_text("{")
    if what == "mount":
        rootfs.append(proto.load("task").Mount(type="bind", source="/nonexistent", options=["bind"]))
    if what == "bundle":
        fields["bundle"] = str(place.path / "missing")
    with pytest.raises(Refused) as refused:
        box.create(rootfs=rootfs, **fields) if not fields else \
            box.task.Create(id=box.id, rootfs=rootfs, **box.stdio.fields(), **fields)
    assert refused.value.text and "\n" not in refused.value.text.strip()
    assert not any(str(box.bundle) in line for line in watch.mounts())
    box.task.refuses("Delete", NOT_FOUND, id=box.id)
    box.shutdown()
    watch.eventually(lambda: host.shared or not os.path.exists(ttrpc.unix_path(box.address)))
    assert not host.server.of(box.id, "/tasks/start")


@alone
@ours("it starts nothing that could be missing")
def test_start_without_a_guest(host, place):
    """One line for containerd's client, which calls no `delete` then: nothing may be left."""
    path = place.path / "vm.json"
    path.write_text(json.dumps({"partition": "qemu"}))
    box = host.make_stopped(config("true"))
    host.make_log(box.bundle)
    result = host.call(box.bundle, box.id, "start",
                       env={"HVRUN_CONFIG": str(path), "HVRUN_GUEST": "/nonexistent"})
    said = result.stdout.decode()
    assert result.returncode and "/nonexistent" in said and said.count("\n") == 1, said
    assert not watch.adopted() and not kept_in(host.state_root)
    assert not os.path.exists(socket_of(host.grpc, host.namespace, box.id))


@pytest.mark.parametrize("word, text", [
    ("nonexistent", 'exec: "nonexistent": executable file not found in $PATH'),
    ("/nonexistent", "no such file or directory"), ("/etc/passwd", "permission denied")])
def test_program_that_cannot_run(host, word, text):
    """Create or Start says so as runc would; a Wait on it ends."""
    box = host.make(config(word))
    with pytest.raises(Refused) as refused:
        box.create()
        box.start()
    assert text in refused.value.text
    assert not host.server.of(box.id, "/tasks/start")
    if box.created:
        assert box.wait(5)
    else:
        box.task.refuses("Delete", NOT_FOUND, id=box.id)


def test_kill_before_the_start(host):
    """Callers kill what they have created, before they delete it."""
    box = host.create(config("sleep", "1000"))
    waiting = box.task.begin("Wait", id=box.id)
    box.kill(signal.SIGKILL)
    assert box.task.finish(waiting).exit_status == 137
    assert box.status() == STOPPED
    box.task.refuses("Start", *host.codes(FAILED_PRECONDITION), id=box.id)
    assert box.delete().exit_status == 137
    watch.eventually(lambda: host.server.of(box.id, "/tasks/delete"))
    assert len(host.server.of(box.id, "/tasks/exit")) == 1


def test_delete_before_the_start(host):
    box = host.create(config("sleep", "1000"))
    assert box.delete().pid == box.pid
    box.task.refuses("State", NOT_FOUND, id=box.id)


def test_create_twice(host, box):
    box.task.refuses("Create", *host.codes(ALREADY_EXISTS), id=box.id, bundle=str(box.bundle),
                     rootfs=[host.rootfs_mount()])
    assert box.status() == RUNNING and box.sh("echo there")[1] == b"there\n"


@alone
@ours("checkpoints are made with criu")
def test_checkpoints_are_not_made(host, place):
    box = host.make(config("sleep", "1000"))
    box.task.refuses("Create", UNIMPLEMENTED, id=box.id, bundle=str(box.bundle), checkpoint=str(place.path),
                     rootfs=[host.rootfs_mount()])
    box.create().start()
    box.task.refuses("Checkpoint", UNIMPLEMENTED, id=box.id, path=str(place.path))
    assert box.status() == RUNNING


# Every method


@alone
@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("Create", "Connect", "Shutdown")])
def test_unknown_container(host, box, method):
    codes = (NOT_FOUND, UNIMPLEMENTED) if method == "Checkpoint" else (NOT_FOUND,)
    fields = {"Exec": {"exec_id": "x", "spec": exec_spec("true")}, "Kill": {"signal": 9},
              "Update": {"resources": resources({})}}
    box.task.refuses(method, *codes, id="nobody", **fields.get(method, {}))


@alone
@pytest.mark.parametrize("method", ["State", "Start", "Delete", "Kill", "ResizePty", "CloseIO", "Wait"])
def test_unknown_exec(host, box, method):
    fields = {"signal": 9} if method == "Kill" else {"stdin": True} if method == "CloseIO" else {}
    codes = host.codes(NOT_FOUND) if method == "CloseIO" else (NOT_FOUND,)
    box.task.refuses(method, *codes, id=box.id, exec_id="nobody", **fields)


@alone
@pytest.mark.parametrize("payload", [b"\xff\xff\xff\xff", b"\x0a\x7f", b"\x08\x01", b"\x0a\x02\xff\xfe"],
                         ids=["tag", "short", "wire type", "UTF-8"])
def test_garbage(host, box, payload):
    """A message that is none is refused, and nothing else happens. A field of another type may also be
    taken for an unknown one, so that there is no name; and Connect answers for every name."""
    for method in METHODS:
        if host.is_runc and method == "Shutdown":
            continue
        try:
            box.task.client.call(box.task.name, method, payload)
            assert method in ("Connect", "Shutdown"), method
        except Refused as refused:
            assert refused.code in host.codes(INVALID_ARGUMENT) + (INTERNAL, NOT_FOUND, UNIMPLEMENTED), method
            assert refused.text and "\n" not in refused.text
    assert box.status() == RUNNING


@alone
def test_unknown_fields_are_skipped(box):
    payload = box.task.methods["State"][0](id=box.id).SerializeToString()
    payload += b"\x9a\x06\x03abc" + b"\x98\x06\x07" + b"\x9d\x06abcd" + b"\x99\x06abcdefgh"
    reply = box.task.client.call(box.task.name, "State", payload)
    assert box.task.methods["State"][1].FromString(reply).id == box.id


@alone
@ours("it trusts containerd's names")
@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 5000, "a b", "\n"],
                         ids=["empty", "up", "path", "long", "space", "line"])
def test_names_that_are_no_names(box, name):
    for codes, method, fields in (((INVALID_ARGUMENT, NOT_FOUND), "State", {"id": name}),
                                  ((INVALID_ARGUMENT,), "Create", {"id": name, "bundle": str(box.bundle)}),
                                  ((INVALID_ARGUMENT,), "Exec", {"id": box.id, "exec_id": name,
                                                                 "spec": exec_spec("true")})):
        box.task.refuses(method, *codes, **fields)


def exec_spec(*args):
    return proto.any_of(PROCESS, json.dumps(config(*args)["process"]).encode())


def resources(value):
    return proto.any_of(RESOURCES, json.dumps(value).encode())


def test_wrong_state(host):
    """Each method in every state in which it has no meaning."""
    codes = host.codes(FAILED_PRECONDITION)
    box = host.make(config("sleep", "1000"))
    box.task.refuses("Exec", NOT_FOUND, id=box.id, exec_id="e", spec=exec_spec("true"))
    box.create()
    for method in ("Pause", "Resume"):
        box.task.refuses(method, *codes, id=box.id)
    box.start()
    for method in ("Start", "Delete", "Resume"):
        box.task.refuses(method, *codes, id=box.id)
    e = box.add("sleep", "1000")
    box.task.refuses("Kill", *codes, id=box.id, exec_id=e.exec_id, signal=9)
    e.start()
    box.task.refuses("Start", *codes, id=box.id, exec_id=e.exec_id)
    box.task.refuses("Delete", *codes, id=box.id, exec_id=e.exec_id)
    box.task.refuses("Exec", *host.codes(ALREADY_EXISTS), **e.names(), spec=exec_spec("true"))
    late = box.add("true")
    box.task.Pause(id=box.id)
    if not host.is_runc:        # which asks the container, and waits
        box.task.refuses("Pause", *codes, id=box.id)
    box.task.Resume(id=box.id)
    box.kill()
    assert (box.wait(), e.wait()) == (137, 137)
    for method in ("Start", "Pause", "Resume"):
        box.task.refuses(method, *codes, id=box.id)
    box.task.refuses("Start", *codes, id=box.id, exec_id=late.exec_id)
    for process in (box, e):
        try:
            process.kill()
        except Refused as refused:
            assert refused.code == NOT_FOUND, refused
        process.close_io()
    assert e.delete().exit_status == 137
    late.delete()
    assert box.delete().exit_status == 137


@ours("its wait for a container that is gone has no end")
def test_unstarted_exec_when_the_container_ends(box):
    late = box.add("true")
    waiting = box.task.begin("Wait", **late.names())
    box.kill()
    assert box.wait() == 137
    late.delete()
    assert box.task.is_done(waiting, 5)


@alone
@pytest.mark.parametrize("value", [b"", b"{", b"[]", b"{}", b'{"args": [], "cwd": "/"}',
                                   b'{"args": ["true"], "cwd": 7}'])
def test_exec_of_no_process(host, box, value):
    """Refused at once or, at the latest, when it is to be started."""
    with pytest.raises(Refused) as refused:
        box.task.Exec(id=box.id, exec_id="e", spec=proto.any_of(PROCESS, value))
        box.task.Start(id=box.id, exec_id="e")
    assert refused.value.code in host.codes(INVALID_ARGUMENT)
    assert box.sh("echo still")[1] == b"still\n"


# The protocol


VECTOR = bytes.fromhex("00000055000000010100 0a17") + b"containerd.task.v2.Task" + bytes.fromhex("1207") + \
    b"Connect" + bytes.fromhex("1a040a026331 2080a8d6b907 2a250a1a") + b"containerd-namespace-ttrpc" + \
    bytes.fromhex("1207") + b"default"


@alone
def test_bytes_of_a_request(host, box):
    """As in the specification: Connect("c1") with 2 s; one byte after the other, too."""
    assert len(VECTOR) == 95
    for pieces in ([VECTOR], [bytes([byte]) for byte in VECTOR]):
        with ttrpc.Client(box.address) as client:
            for piece in pieces:
                client.socket.sendall(piece)
            reply = box.task.methods["Connect"][1].FromString(client.answer(1))
            assert reply.shim_pid == host.shim_pid(box)


@alone
def test_two_versions_of_the_service(host, box):
    versions = (2,) if host.is_runc else (2, 3)
    for version in versions:
        with ttrpc.Client(box.address, host.namespace) as client:
            assert task_service(client, version).State(id=box.id).status == RUNNING


@alone
@pytest.mark.parametrize("service, method", [
    ("containerd.task.v1.Task", "State"), ("containerd.task.v2.Task", "Fly"), ("", ""), ("x" * 100000, "y"),
    ("containerd.task.v2.Task", ""), ("containerd.services.streaming.v1.Streaming", "Stream")],
    ids=["old service", "method", "nothing", "long", "no method", "streaming"])
def test_unknown_methods(box, service, method):
    with pytest.raises(Refused) as refused:
        box.task.client.call(service, method)
    assert refused.value.code == UNIMPLEMENTED
    assert box.status() == RUNNING


@alone
@ours("it knows no sandboxes")
def test_sandbox_service_is_there(box):
    """Of a shim that was started without them: whatever it says, it says something."""
    with pytest.raises(Refused) as refused:
        box.task.client.call("containerd.runtime.sandbox.v1.Sandbox", "PingSandbox", b"\x0a\x02s1")
    assert refused.value.code in (NOT_FOUND, UNIMPLEMENTED, FAILED_PRECONDITION)


def alive(box):
    """Asked over a new connection, the shim answers at once."""
    began = time.monotonic()
    with ttrpc.Client(box.address, box.host.namespace) as client:
        assert task_service(client).State(id=box.id).status == RUNNING
    assert time.monotonic() - began < watch.PATIENCE


@alone
def test_frame_that_is_too_large(box):
    """Its stream is refused, what follows on the connection is answered."""
    client = box.task.client
    for size in (ttrpc.MAX + 1, 5 << 20):
        stream = client.new_stream()
        sender = threading.Thread(target=client.socket.sendall,
                                  args=(ttrpc.frame(ttrpc.REQUEST, stream, b"\x0a" * size),))
        sender.start()
        with pytest.raises(Refused) as refused:
            client.answer(stream)
        sender.join()
        assert refused.value.code == RESOURCE_EXHAUSTED
        assert box.status() == RUNNING


@alone
def test_largest_frame(host, box):
    client = box.task.client
    request = client.request(box.task.name, "State", b"")
    padding = b"\x7a" + varint(ttrpc.MAX - len(request) - 5)
    request += padding + b"x" * (ttrpc.MAX - len(request) - len(padding))
    assert len(request) == ttrpc.MAX
    stream = client.new_stream()
    client.socket.settimeout(10)
    client.socket.sendall(ttrpc.frame(ttrpc.REQUEST, stream, request))
    with pytest.raises(Refused) as refused:
        client.answer(stream)
    assert refused.value.code in (NOT_FOUND, INVALID_ARGUMENT)
    if not host.is_runc:
        assert watch.rss(host.shim_pid(box)) < 4096, "what such a frame took is given back"


def varint(value):
    said = b""
    while value > 127:
        said += bytes([value & 127 | 128])
        value >>= 7
    return said + bytes([value])


@alone
@pytest.mark.parametrize("data", [
    b"\0", b"\0" * 9, ttrpc.frame(1, 1, b"", length=100), ttrpc.frame(1, 1, b"\x0a\x17cont", length=90),
    ttrpc.frame(1, 1, b"", length=5 << 20) + b"x" * 100000, b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000],
    ids=["a byte", "header", "no payload", "short", "too large", "HTTP", "ones"])
def test_half_a_frame_and_the_end(host, box, data):
    before = len(watch.fds(host.shim_pid(box)))
    for _ in range(3):
        with ttrpc.Client(box.address) as client:
            client.socket.sendall(data)
        with ttrpc.Client(box.address) as client:
            client.socket.sendall(data)
            alive(box)
    if not host.is_runc:        # it keeps them
        watch.eventually(lambda: len(watch.fds(host.shim_pid(box))) <= before)


@alone
def test_wrong_streams(host, box):
    """Even ones, and those that are not above the last one."""
    with ttrpc.Client(box.address, host.namespace) as client:
        request = client.request(box.task.name, "State", box.task.methods["State"][0](
            id=box.id).SerializeToString())
        client.socket.sendall(ttrpc.frame(ttrpc.REQUEST, 2, request))
        with pytest.raises(Refused) as refused:
            client.answer(2)
        assert refused.value.code == INVALID_ARGUMENT
        client.socket.sendall(ttrpc.frame(ttrpc.REQUEST, 9, request))
        assert client.answer(9)
        for stream in () if host.is_runc else (9, 7):
            client.socket.sendall(ttrpc.frame(ttrpc.REQUEST, stream, request))
            with pytest.raises(Refused) as refused:
                client.answer(stream)
            assert refused.value.code == INVALID_ARGUMENT
        client.socket.sendall(ttrpc.frame(ttrpc.REQUEST, 11, request))
        assert client.answer(11)


@alone
@ours("it closes the connection")
@pytest.mark.parametrize("kind", [0, 2, 3, 4, 255])
def test_other_kinds_of_frames(host, box, kind):
    """What is no request is skipped, whatever is in it."""
    with ttrpc.Client(box.address, host.namespace) as client:
        for payload in (b"", b"x" * 100, b"\xff" * 100000):
            client.socket.sendall(ttrpc.frame(kind, client.new_stream(), payload))
        assert task_service(client).State(id=box.id).status == RUNNING


@alone
@ours("a Request that is none ends its connection")
def test_request_that_is_none(box):
    client = box.task.client
    for payload in (b"\xff" * 50, b"\x0a\x7f", b""):
        stream = client.new_stream()
        client.socket.sendall(ttrpc.frame(ttrpc.REQUEST, stream, payload))
        with pytest.raises(Refused) as refused:
            client.answer(stream)
        assert refused.value.code in (INVALID_ARGUMENT, INTERNAL, UNIMPLEMENTED)
    assert box.status() == RUNNING


@alone
def test_many_requests_at_once(box):
    """In one write; what takes time does not hold up the others."""
    waiting = box.task.begin("Wait", id=box.id)
    client, task = box.task.client, box.task
    payload = task.methods["State"][0](id=box.id).SerializeToString()
    streams = [client.new_stream() for _ in range(500)]
    data = b"".join(ttrpc.frame(ttrpc.REQUEST, stream, client.request(task.name, "State", payload))
                    for stream in streams)
    sender = threading.Thread(target=client.socket.sendall, args=(data,))
    sender.start()
    for stream in streams:
        assert task.methods["State"][1].FromString(client.answer(stream)).status == RUNNING
    sender.join()
    assert not task.is_done(waiting)


@alone
def test_thousand_parked_waits(host, box):
    """On two connections, one of which is given up."""
    pid = host.shim_pid(box)
    gone = host.connect(box.address)
    for _ in range(1000):
        gone.begin("Wait", id=box.id)
    waits = [box.task.begin("Wait", id=box.id) for _ in range(1000)]
    alive(box)
    if not host.is_runc:
        assert watch.rss(pid) < 4096
    gone.client.close()
    alive(box)
    box.kill()
    assert all(box.task.finish(wait).exit_status == 137 for wait in waits)


@alone
def test_client_that_does_not_read(host, box):
    """It holds up nobody else, and gets what it asked for if it reads at last."""
    lazy = host.connect(box.address)
    lazy.client.socket.settimeout(0.3)
    lazy.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sent = []
    try:
        for _ in range(20000):
            sent.append(lazy.begin("State", id=box.id))
    except TimeoutError:
        pass        # and a part of a frame is on the way
    assert len(sent) > 100
    alive(box)
    if not host.is_runc:
        assert watch.rss(host.shim_pid(box)) < 8192
    for call in sent[:100]:
        assert lazy.finish(call).status == RUNNING
    lazy.client.close()
    alive(box)


@alone
def test_timeout_of_a_request(box):
    """After it nobody waits any more: an answer is as good as none."""
    client = box.task.client
    payload = box.task.methods["Wait"][0](id=box.id).SerializeToString()
    stream = client.send(box.task.name, "Wait", payload, timeout=0.1)
    time.sleep(0.3)
    assert box.status() == RUNNING
    if client.is_answered(stream):
        with pytest.raises(Refused) as refused:
            client.answer(stream)
        assert refused.value.code in (ttrpc.DEADLINE_EXCEEDED, ttrpc.CANCELED)


@alone
def test_connections_come_and_go(host, box):
    """None of them is the container's life."""
    before = len(watch.fds(host.shim_pid(box)))
    for _ in range(100):
        ttrpc.Client(box.address).close()
    clients = [ttrpc.Client(box.address, host.namespace) for _ in range(50)]
    assert all(task_service(client).Connect(id="x").shim_pid for client in clients)
    for client in clients:
        client.close()
    box.task.client.close()
    time.sleep(0.1)
    box.connect()
    assert box.status() == RUNNING
    watch.eventually(lambda: len(watch.fds(host.shim_pid(box))) <= before + 1)


@alone
@ours("its requests end with the connection")
def test_create_goes_on_when_the_connection_ends(host):
    box = host.make(config("sleep", "1000"))
    box.task.begin("Create", id=box.id, bundle=str(box.bundle), rootfs=[host.rootfs_mount()],
                   **box.stdio.fields())
    box.task.client.close()
    box.connect()
    box.created = True

    def created():
        try:
            return box.status() == CREATED
        except Refused as refused:
            assert refused.code == NOT_FOUND, refused
            return False
    watch.eventually(created, 10)
    assert box.start().sh("echo here")[1] == b"here\n"


@alone
def test_socket(host, box):
    """Its name can be recomputed, and nobody else may use it."""
    path = ttrpc.unix_path(box.address)
    assert path == str(socket_of(host.grpc, host.namespace, box.id))
    assert (box.bundle / "address").read_text() == box.address
    assert os.stat(path).st_mode & 0o077 == 0
    script = ("import os, socket, sys\nos.setgid(65534)\nos.setuid(65534)\n"
              "s = socket.socket(socket.AF_UNIX)\n"
              "try:\n s.connect(sys.argv[1])\n s.settimeout(2)\n sys.exit(3 if s.recv(1) else 0)\n"
              "except OSError:\n sys.exit(0)\n")
    done = subprocess.run(["/usr/bin/python3", "-c", script, path], timeout=10)
    assert done.returncode == 0


# Execs


def test_exec(host, box):
    done = box.execute("sh", "-c", "echo $A; pwd; id -u; echo err >&2; exit 5",
                       env=["A=b", "PATH=/bin"], cwd="/tmp", user={"uid": 1000, "gid": 1000})
    assert done == (5, b"b\n/tmp\n1000\n", b"err\n")
    e = box.add("sleep", "1000")
    state = e.state()
    assert (state.id, state.status) == (e.exec_id, CREATED)
    assert e.start().pid and watch.stat(e.pid)
    state = e.state()
    assert (state.id, state.status, state.pid) == (e.exec_id, RUNNING, e.pid)
    e.kill(signal.SIGTERM)
    assert e.wait() == 143
    assert e.state().status == STOPPED and e.state().exit_status == 143
    assert e.delete().exit_status == 143
    box.task.refuses("State", NOT_FOUND, **e.names())
    assert box.status() == RUNNING


@pytest.mark.parametrize("word, text", [
    ("nonexistent", 'exec: "nonexistent": executable file not found in $PATH'),
    ("/nonexistent", "no such file or directory"), ("/etc/passwd", "permission denied")])
def test_exec_that_cannot_run(host, box, word, text):
    """A Wait on it that came before ends as well."""
    e = box.add(word)
    with host.connect(box.address).client as client:
        other = task_service(client)
        waiting = other.begin("Wait", **e.names())
        said = box.task.refuses("Start", *range(1, 17), **e.names())
        assert text in said
        if not host.is_runc:
            assert other.is_done(waiting, 2)
    began = time.monotonic()
    e.delete()
    assert time.monotonic() - began < 5
    watch.eventually(lambda: host.server.of(box.id, "/tasks/exec-added"))
    assert not host.server.of(box.id, "/tasks/exec-started")
    assert box.sh("echo there")[1] == b"there\n"


def test_execs_in_parallel(host, box):
    """200 at the same time, each with output and status of its own."""
    count = 20 if host.is_runc else 200         # of which its reaper loses some
    stdios = [Stdio(host.folder("p")) for _ in range(count)]
    execs = [box.add("sh", "-c", f"echo {n}; exit {n}", stdio=stdio) for n, stdio in enumerate(stdios)]
    calls = [box.task.begin("Start", **e.names()) for e in execs]
    waits = [box.task.begin("Wait", **e.names()) for e in execs]
    for n, (e, call, wait) in enumerate(zip(execs, calls, waits)):
        assert box.task.finish(call, 60).pid
        assert box.task.finish(wait, 60).exit_status == n
        assert e.stdio.out.all() == b"%d\n" % n
    for call in [box.task.begin("Delete", **e.names()) for e in execs]:
        box.task.finish(call, 30)
    assert box.sh("echo done")[1] == b"done\n"
    for stdio in stdios:
        stdio.close()


def test_kill_all(host, box):
    e = box.add("sh", "-c", "trap '' TERM; echo on; sleep 1000 & wait").start()
    e.stdio.out.expect(b"on")
    box.kill(signal.SIGKILL, all=True)
    assert (e.wait(), box.wait()) == (137, 137)


def test_signals(host):
    box = host.sh("trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo on; "
                  "while :; do sleep 0.02; done")
    box.stdio.out.expect(b"on\n")
    box.kill(signal.SIGUSR1)
    box.stdio.out.expect(b"usr1\n")
    box.kill(signal.SIGTERM)
    assert box.wait() == 3
    assert box.stdio.out.all().endswith(b"term\n")


@ours("no such signal is a signal to it, and 0 as well")
def test_signals_that_are_none(box):
    box.kill(0)
    for number in (65, 1000, 0xffffffff):
        box.task.refuses("Kill", INVALID_ARGUMENT, id=box.id, signal=number)
    assert box.status() == RUNNING
    box.kill()
    box.wait()
    box.task.refuses("Kill", NOT_FOUND, id=box.id, signal=0)


def test_pause(host, box):
    e = box.add("sh", "-c", "while :; do echo x; sleep 0.01; done").start()
    e.stdio.out.expect(b"x\n")
    box.task.Pause(id=box.id)
    assert box.status() == PAUSED
    assert e.status() == PAUSED
    time.sleep(0.05)
    while e.stdio.out.poll.poll(0):
        e.stdio.out.read()
    assert not e.stdio.out.poll.poll(100)
    box.task.Resume(id=box.id)
    assert (box.status(), e.status()) == (RUNNING, RUNNING)
    assert e.stdio.out.poll.poll(5000)
    box.task.Pause(id=box.id)
    box.kill()          # as callers do with a container that has to go
    assert box.wait() == 137
    assert box.delete().exit_status == 137


# Figures


def test_pids(host, box):
    created = host.create(config("sleep", "1000"))
    assert created.task.Pids(id=created.id).processes
    e = box.add("sleep", "1000").start()
    found = box.task.Pids(id=box.id).processes
    assert all(process.pid and watch.stat(process.pid) for process in found)
    details = {process.pid: process.info for process in found if process.HasField("info")}
    named = {proto.load("shim").ProcessDetails.FromString(info.value).exec_id
             for info in details.values() if info.type_url == "containerd.runc.v1.ProcessDetails"}
    assert e.exec_id in named
    assert box.pid in {process.pid for process in found}
    assert e.pid != box.pid         # Docker takes an exit with the container's pid for the container's
    if not host.is_runc:        # which asks the kernel
        box.task.Pause(id=box.id)
        assert box.task.Pids(id=box.id).processes
        box.task.Resume(id=box.id)
        box.kill()
        box.wait()
        assert box.task.Pids(id=box.id).processes


def metrics(box):
    stats = box.task.Stats(id=box.id).stats
    kind = re.fullmatch(r"io\.containerd\.cgroups\.v([12])\.Metrics", stats.type_url).group(1)
    return getattr(proto.load("metrics"), f"V{kind}").FromString(stats.value)


def test_stats(host):
    box = host.sh("dd if=/dev/zero of=/dev/shm/file bs=1M count=8 2>/dev/null; i=0; "
                  "while [ $i -lt 200000 ]; do i=$((i+1)); done; echo on; exec sleep 1000")
    box.stdio.out.expect(b"on\n", 20)
    found = metrics(box)
    assert found.pids.current == 1
    if hasattr(found, "memory_events"):
        assert found.memory.usage > 8 << 20 and found.cpu.usage_usec > 1000
    else:
        assert found.memory.usage.usage > 8 << 20 and found.cpu.usage.total > 1000000
    if not host.is_runc:
        box.kill()
        box.wait()
        metrics(box)        # CRI asks for them after the exit


def test_update(host, box):
    """What has changed can be read in the container."""
    box.task.Update(id=box.id, resources=resources({"pids": {"limit": 7}, "memory": {"limit": 64 << 20}}))
    found = metrics(box)
    assert found.pids.limit == 7
    limit = found.memory.usage_limit if hasattr(found, "memory_events") else found.memory.usage.limit
    assert limit == 64 << 20
    box.task.refuses("Update", *host.codes(INVALID_ARGUMENT), id=box.id,
                     resources=proto.any_of(RESOURCES, b"{"))
    if not host.is_runc:
        box.task.refuses("Update", INVALID_ARGUMENT, id=box.id, resources=proto.any_of("unknown", b"{}"))
        box.task.refuses("Update", INVALID_ARGUMENT, id=box.id)


@alone
def test_connect(host, box):
    reply = box.task.Connect(id=box.id)
    assert reply.task_pid == box.pid and watch.stat(reply.shim_pid)
    if not host.is_runc:
        other = box.task.Connect(id="nobody")
        assert (other.shim_pid, other.task_pid) == (reply.shim_pid, 0)


# Streams


def test_standard_input(host):
    """As much as there is; its end comes with CloseIO, and not before all of it."""
    data = os.urandom(3_000_000)
    box = host.create(sh("sha256sum; echo end"), stdin=True).start()
    box.stdio.write(data[:1_000_000])
    box.stdio.close_stdin()             # a client that goes is no end
    assert not box.stdio.out.poll.poll(200)
    box.stdio.write(data[1_000_000:])
    box.close_io()                      # with what the FIFO still holds on the way
    box.stdio.close_stdin()
    expected = hashlib.sha256(data).hexdigest().encode() + b"  -\nend\n"
    assert box.result() == (0, expected, b"")


def test_standard_input_of_execs(box):
    for size in (0, 1, 65536, 200_000):
        e = box.add("wc", "-c", stdin=True)
        if size > 65536:
            e.start()
            e.stdio.write(b"x" * size)
            e.stdio.close_stdin()
            e.close_io()
        else:
            e.start()
            e.stdio.open_stdin()
            e.stdio.write(b"x" * size)
            e.close_io()
            e.stdio.close_stdin()
        e.close_io()                    # it may come twice
        assert e.result()[:2] == (0, b"%d\n" % size)
        e.delete()


def test_close_before_the_start(host, box):
    """Remembered: what is written later is still followed by the end."""
    e = box.add("cat", stdin=True)
    if not host.is_runc:                # which opens it when the process starts
        e.close_io()
    e.start()
    e.stdio.write(b"text")
    e.stdio.close_stdin()
    e.close_io()
    assert e.result()[:2] == (0, b"text")


def test_nobody_at_the_other_end(host):
    """A FIFO for input that no client opens; the container runs, and can be killed."""
    box = host.create(config("cat"), stdin=True).start()
    time.sleep(0.1)
    assert box.status() == RUNNING
    box.kill()
    assert box.wait() == 137


def test_fifos_of_an_exec_are_opened_at_its_start(box):
    e = box.add("cat", stdin=True)
    with pytest.raises(OSError):
        os.open(e.stdio.stdin, os.O_WRONLY | os.O_NONBLOCK)
    e.start()
    e.stdio.open_stdin()
    e.stdio.close_stdin()
    e.close_io()
    assert e.wait() == 0


def test_no_streams(host):
    """Input is at its end, output goes nowhere."""
    box = host.create(sh("read x && exit 1; echo out; echo err >&2; exit 4"), out=False, err=False).start()
    assert box.wait() == 4


def test_output_before_the_exit(host, box):
    """Nothing is lost, however soon a process ends."""
    for n in range(10):
        assert box.sh(f"seq 1 50; exit {n}") == (n, b"".join(b"%d\n" % i for i in range(1, 51)), b"")
    status, out, _ = box.sh("head -c 5000000 /dev/zero; printf end; exit 7", timeout=30)
    assert (status, len(out), out[-3:]) == (7, 5000003, b"end")


def test_reader_that_comes_back(host):
    """Without one nothing is lost and nobody is killed."""
    box = host.sh("trap 'echo pipe >&2' PIPE; echo one; read x; seq 1 1000; echo end", stdin=True)
    out = box.stdio.out
    out.expect(b"one\n")
    out.close()
    box.stdio.write(b"\n")
    time.sleep(0.2)
    assert box.status() == (STOPPED if host.is_runc else box.status())
    out.open()
    if host.is_runc:
        return          # it has closed the FIFO, with what was in it
    assert out.all() == b"one\n" + b"".join(b"%d\n" % i for i in range(1, 1001)) + b"end\n"
    assert box.result()[::2] == (0, b"")


def test_reader_that_is_slow(host, box):
    """Its process waits, others do not, nothing is lost."""
    slow = box.add("sh", "-c", "seq 1 200000; echo end >&2").start()
    assert not slow.stdio.err.poll.poll(500), "the writer should have to wait"
    for _ in range(3):
        assert box.sh("head -c 100000 /dev/zero | wc -c")[1] == b"100000\n"
    for _ in range(20):
        slow.stdio.out.read(1, 4096)
        time.sleep(0.005)
    status, out, err = slow.result()
    assert (status, err) == (0, b"end\n") and out == b"".join(b"%d\n" % i for i in range(1, 200001))


@ours("it tells of an exit without its output")
def test_reader_that_never_reads(host, box):
    """An exit is told some time after it, and Delete does not wait for the reader."""
    e = box.add("head", "-c", "1000000", "/dev/zero").start()
    time.sleep(0.2)
    e.kill()
    began = time.monotonic()
    assert e.wait(20) == 137
    assert time.monotonic() - began < 15 * watch.PATIENCE
    began = time.monotonic()
    e.delete()
    assert time.monotonic() - began < 2 * watch.PATIENCE
    assert box.sh("echo there")[1] == b"there\n"


def test_left_child_with_the_output(box):
    """An exec's exit does not wait for what it leaves behind."""
    e = box.add("sh", "-c", "sleep 5 & echo hi; exit 3").start()
    began = time.monotonic()
    assert e.wait() == 3
    e.stdio.out.expect(b"hi\n")
    assert time.monotonic() - began < 4 * watch.PATIENCE
    if not box.host.is_runc:
        e.delete()
        assert time.monotonic() - began < 4 * watch.PATIENCE


def test_terminal(host):
    box = host.create(sh("stty size; read x; echo got $x; trap 'stty size' WINCH; echo on; "
                         "while :; do sleep 0.02; done", terminal=True), stdin=True, terminal=True)
    box.resize(91, 33)
    box.start()
    if host.is_runc:
        box.resize(91, 33)      # what came before the start may have been early
    else:
        box.stdio.out.expect(b"33 91\r\n")
    box.stdio.write(b"word\r")
    box.stdio.out.expect(b"word\r\ngot word\r\n")
    box.stdio.out.expect(b"on\r\n")
    box.resize(50, 20)
    box.stdio.out.expect(b"20 50\r\n")
    box.stdio.write(b"\x03")
    assert box.wait() in (130, 2)
    box.stdio.out.all()


def test_terminal_of_an_exec(box):
    e = box.add("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo tty; read x; exit 7", stdin=True,
                terminal=True).start()
    e.stdio.out.expect(b"tty\r\n")
    e.resize(10, 10)
    e.stdio.write(b"\r")
    assert e.wait() == 7
    e.stdio.out.all()
    e.delete()


@ours("it needs FIFOs")
def test_terminal_without_streams(host, place):
    box = host.create(sh("tty; exit 3", terminal=True), terminal=True, out=False).start()
    assert box.wait() == 3


def test_files_for_output(host, place):
    """Regular files are appended to; the same for both."""
    path = place.path / "log"
    path.write_text("before\n")
    box = host.make(sh("echo out; echo err >&2"))
    box.create(stdout=str(path), stderr=str(path))
    box.start()
    assert box.wait() == 0
    box.delete()
    assert path.read_text().startswith("before\n")
    lost = {"err", "out"} if host.is_runc else set()        # which closes files that it still copies to
    assert {"before", "err", "out"} - lost <= set(path.read_text().split())


def test_file_as_uri(host, place):
    path = place.path / "a/b/log"
    box = host.make(sh("echo out; echo err >&2"))
    box.create(stdout=f"file://{path}", stderr=f"file://{path}")
    box.start()
    assert box.wait() == 0
    assert box.delete()
    assert host.is_runc or sorted(path.read_text().split()) == ["err", "out"]
    assert path.stat().st_mode & 0o777 == 0o644


LOGGER = """#!/bin/sh
trap '' TERM
{ echo $0 "$@"; env | sort; cat <&3; cat <&4; } 5>&- >%s.tmp 2>&1 &
exec 5>&-
wait
mv %s.tmp %s
"""


def test_logger(host, place):
    """A program that takes the output from its file descriptors 3 and 4, and says by 5 that it does."""
    program, result = place.path / "logger", place.path / "logged"
    program.write_text(LOGGER % (result, result, result))
    program.chmod(0o755)
    box = host.make(sh("echo out; echo err >&2"))
    uri = f"binary://{program}?--key=value"
    box.create(stdout=uri, stderr=uri)
    box.start()
    assert box.wait() == 0
    box.delete()
    watch.eventually(result.exists)
    lines = result.read_text().splitlines()
    assert lines[0] == f"{program} --key value"
    assert f"CONTAINER_ID={box.id}" in lines and f"CONTAINER_NAMESPACE={host.namespace}" in lines
    assert lines[-2:] == ["out", "err"]


@alone
@ours("it waits for ever, or does not see it")
@pytest.mark.parametrize("uri", ["moon://x", "binary:///nonexistent/logger", "/nonexistent/fifo", "fifo://",
                                 "binary://", "file://", "/", "relative"])
def test_wrong_streams_of_output(host, place, uri):
    box = host.make(config("true"))
    with pytest.raises(Refused) as refused:
        box.task.Create(id=box.id, bundle=str(box.bundle), rootfs=[host.rootfs_mount()], stdout=uri)
    assert (uri.partition("://")[2] or uri) in refused.value.text and "\n" not in refused.value.text
    box.task.refuses("State", NOT_FOUND, id=box.id)
    box.create()
    assert box.run() == (0, b"", b"")


# Events


def test_events(host):
    """Each once, in order, with everything in them."""
    box = host.create(config("sleep", "1000"))
    box.start()
    e = box.add("sh", "-c", "exit 3")
    e.run()
    e.delete()
    box.task.Pause(id=box.id)
    box.task.Resume(id=box.id)
    box.kill()
    exited = box.wait()
    box.delete()
    expected = ["create", "start", "exec-added e1", "exec-started e1", "exit e1", "paused", "resumed", "exit",
                "delete"]
    watch.eventually(lambda: len(host.server.topics(box.id)) >= len(expected))
    assert host.server.topics(box.id) == expected
    found = {f"{event.topic} {getattr(event.event, 'id', '')}": event for event in host.server.of(box.id)}
    assert {event.namespace for event in found.values()} == {host.namespace}
    create = found["/tasks/create "].event
    assert (create.bundle, create.pid) == (str(box.bundle), box.pid)
    assert (create.io.stdout, create.io.stderr) == (box.stdio.out.path, box.stdio.err.path)
    assert list(create.rootfs) == [host.rootfs_mount()]
    end = found[f"/tasks/exit {box.id}"].event
    assert (end.pid, end.exit_status, exited) == (box.pid, 137, 137) and end.exited_at.seconds
    assert found["/tasks/exit e1"].event.exit_status == 3
    delete = next(event.event for event in host.server.of(box.id, "/tasks/delete"))
    assert (delete.pid, delete.exit_status) == (box.pid, 137)


def test_event_of_the_start_comes_before_that_of_the_exit(host, box):
    execs = [box.add("true", stdio=Stdio(host.folder("x"), out=False, err=False)) for _ in range(20)]
    for call in [box.task.begin("Start", **e.names()) for e in execs]:
        box.task.finish(call)
    for e in execs:
        assert e.wait() == 0
    watch.eventually(lambda: len(host.server.of(box.id, "/tasks/exit")) == 20)
    topics = host.server.topics(box.id)
    for e in execs:
        order = [topics.index(f"{what} {e.exec_id}") for what in ("exec-added", "exec-started", "exit")]
        assert order == sorted(order)


def test_exit_of_the_container_is_the_last(host, box):
    execs = [box.add("sleep", "1000").start() for _ in range(5)]
    box.kill()
    assert box.wait() == 137 and all(e.wait() == 137 for e in execs)
    watch.eventually(lambda: "exit" in host.server.topics(box.id))
    topics = host.server.topics(box.id)
    assert topics[-1] == "exit" and sum(topic.startswith("exit ") for topic in topics) == 5
    time.sleep(0.1)
    assert host.server.topics(box.id) == topics


@alone
@ours("such a command fails at its first refusal")
def test_events_are_sent_again(host):
    """What containerd could not take is sent once more, nothing overtakes it."""
    host.server.refuse = 1
    box = host.create(config("true"))
    box.run()
    box.delete()
    watch.eventually(lambda: "delete" in host.server.topics(box.id), 10)
    assert host.server.topics(box.id) == ["create", "start", "exit", "delete"]


@alone
def test_events_while_containerd_is_away(host, box):
    host.server.close_socket()
    os.unlink(host.server.path)
    e = box.add("true")
    assert e.run()[0] == 0
    host.server.listen()
    watch.eventually(lambda: "exit e1" in host.server.topics(box.id), 10)
    assert box.sh("echo there")[1] == b"there\n"


PUBLISHER = """#!/bin/sh
cat >%s/$$.event
echo "$@" >>%s/words
"""


@alone
@ours("it knows one way only")
def test_events_by_a_program(host, place):
    """Where there is no ttrpc address, containerd's program takes them, one each."""
    folder = place.path / "published"
    folder.mkdir()
    program = place.path / "publish"
    program.write_text(PUBLISHER % (folder, folder))
    program.chmod(0o755)
    box = host.make_stopped(config("true"))
    box.address = host.start_shim(box.bundle, box.id, "-publish-binary", program, env={"TTRPC_ADDRESS": ""})
    box.connect()
    box.create()
    assert box.run()[0] == 0
    box.delete()
    watch.eventually(lambda: len(words_of(folder)) == 4)
    assert [re.search(r"--topic (\S+)", line).group(1) for line in words_of(folder)] == \
        ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]
    assert all(f"--address {host.grpc} publish" in line and f"--namespace {host.namespace}" in line
               for line in words_of(folder))


def words_of(folder):
    path = folder / "words"
    return path.read_text().splitlines() if path.exists() else []


@alone
@ours("its events need an address")
def test_no_way_for_events(host):
    """Neither address nor program, as CRI-O has it."""
    box = host.make_stopped(config("sh", "-c", "exit 3"))
    box.address = host.start_shim(box.bundle, box.id, "-publish-binary", "", "-address", host.grpc,
                                  env={"TTRPC_ADDRESS": ""})
    box.connect()
    box.create()
    assert box.run()[0] == 3
    box.delete()


def test_out_of_memory(host):
    """Told before the exit that it causes."""
    spec = sh("dd if=/dev/zero of=/dev/null bs=64M count=1; echo survived")
    spec["linux"]["resources"] = {"memory": {"limit": 16 << 20}}
    box = host.create(spec).start()
    assert b"survived" in box.stdio.out.all(20) or box.wait()
    watch.eventually(lambda: "oom" in host.server.topics(box.id))
    watch.eventually(lambda: "exit" in host.server.topics(box.id))
    topics = host.server.topics(box.id)
    assert topics.index("oom") < topics.index("exit")


# The end


def test_shutdown_while_there_is_a_container(host, box):
    box.task.Shutdown(id=box.id)
    if host.is_runc:
        assert box.status() == RUNNING
    for fields in ({}, {"id": "nobody"}, {"id": box.id}):
        box.task.Shutdown(**fields)
        assert box.status() == RUNNING


def test_group(host):
    """A second container in the same shim; what is done to one is not done to the other."""
    first = host.sleeper()
    second = host.make(config("sleep", "1000"), annotations={"io.containerd.runc.v2.group": first.id})
    assert second.address == first.address
    assert (second.bundle / "address").read_text() == first.address
    second.create().start()
    assert host.shim_pid(first) == host.shim_pid(second)
    assert second.sh("echo two")[1] == b"two\n"
    second.kill()
    assert second.wait() == 137
    second.delete()
    second.shutdown()
    assert first.status() == RUNNING and first.sh("echo one")[1] == b"one\n"


@ours("its delete kills by the bundle, whatever runs")
def test_delete_in_a_group(host):
    """The action `delete` for a member that is gone leaves the others alone."""
    first = host.sleeper()
    second = host.make(config("sleep", "1000"), annotations={"io.containerd.runc.v2.group": first.id})
    second.create().start()
    second.kill()
    second.wait()
    second.delete()
    assert host.delete(second).exit_status == 137
    assert first.status() == RUNNING and first.sh("echo one")[1] == b"one\n"


def test_shim_killed(host):
    """`delete` cleans up after it, also twice and when parts are gone already."""
    box = host.sleeper()
    box.add("sleep", "1000").start()
    os.kill(host.shim_pid(box), signal.SIGKILL)
    box.deleted = True
    for n in range(2):
        reply = host.delete(box)
        assert (reply.exit_status, abs(reply.exited_at.seconds - time.time()) < 60) == (137, True)
        assert n or reply.pid == box.pid        # Docker takes no other exit for this container's
    watch.eventually(lambda: not watch.adopted())
    assert not any(str(box.bundle) in line for line in watch.mounts())
    if host.is_runc:
        os.unlink(ttrpc.unix_path(box.address))
    else:
        assert not os.path.exists(ttrpc.unix_path(box.address))
        assert not left_of(host.namespace)
    (box.bundle / "config.json").unlink()
    if not host.is_runc:
        (box.bundle / "address").unlink()
        (box.bundle / "shim.pid").unlink(missing_ok=True)
        assert host.delete(box).exit_status == 137


@ours("there is no VM")
def test_machine_killed(host):
    """Every process has ended, and is told so; the shim goes on."""
    box = host.sleeper()
    e = box.add("sleep", "1000").start()
    waits = [box.task.begin("Wait", **process.names()) for process in (box, e)]
    record = json.loads(next(iter(host.state_root.glob("partitions/*/sandbox.json"))).read_text())
    os.kill(record["AgentPid"], signal.SIGKILL)
    assert all(box.task.finish(wait).exit_status in (137, 255) for wait in waits)
    watch.eventually(lambda: "exit" in host.server.topics(box.id))
    assert host.server.topics(box.id)[-2:] == ["exit e1", "exit"]
    assert box.status() == STOPPED
    with pytest.raises(Refused):
        box.sh("true")
    box.execs[-1].stdio.close()
    e.delete()
    assert box.delete().exit_status in (137, 255)
    box.shutdown()
    watch.eventually(lambda: not os.path.exists(ttrpc.unix_path(box.address)))


@ours("it takes SIGTERM for nothing")
def test_shim_terminated(host):
    box = host.sleeper()
    os.kill(host.shim_pid(box), signal.SIGTERM)
    watch.eventually(lambda: not os.path.exists(ttrpc.unix_path(box.address)), 10)
    watch.eventually(lambda: not watch.adopted())
    box.deleted = True
    host.delete(box)


@ours("its dump is of goroutines")
def test_shim_tells_its_state(host, box):
    os.kill(host.shim_pid(box), signal.SIGUSR1)
    watch.eventually(lambda: box.id.encode() in host.server.log)
    assert box.status() == RUNNING


# The log


@alone
@ours("it waits for a reader")
@pytest.mark.parametrize("state", ["full", "none", "no reader", "closed"])
def test_log_that_nobody_reads(host, state):
    """The shim goes on, whatever it has to say."""
    box = host.make_stopped(config("sleep", "1000"))
    if state == "no reader":
        os.mkfifo(box.bundle / "log", 0o700)
    elif state != "none":
        fd = host.make_log(box.bundle, keep_reading=False)
        if state == "full":
            os.write(fd, b"x" * 65536)
    box.address = host.start_shim(box.bundle, box.id, "-debug")
    box.connect()
    if state == "closed":
        host.close_log(box.bundle)
    box.create().start()
    for _ in range(30):
        assert box.sh("echo on")[1] == b"on\n"
    box.kill()
    assert box.wait() == 137


@ours("it says what it likes")
def test_log(host):
    """Lines of text about this container, when it is asked for more."""
    box = host.make(config("sleep", "1000"), words=["-debug"])
    box.create().start()
    watch.eventually(lambda: box.id.encode() in host.server.log)
    assert all(line.isascii() for line in bytes(host.server.log).splitlines())


# Daemon and command line


@ours("it is another program")
def test_daemon(host, box):
    """Nothing of the caller's is kept open; small; its words tell whose it is."""
    pid = host.shim_pid(box)
    words = watch.describe(pid)
    assert host.namespace in words and box.id in words
    assert os.readlink(f"/proc/{pid}/cwd") == str(box.bundle)
    assert os.getsid(pid) == pid or os.getpgid(pid) == pid
    opened = [name for name in watch.fds(pid) if name.startswith(("/", "pipe:"))]
    allowed = (str(box.bundle), "/dev/null", str(host.state_root), str(host.place.path), "/proc", "/sys",
               "/memfd", "pipe:")
    # Directories of a namespace of its own have short names here.
    assert [name for name in opened if not name.startswith(allowed) and name.count("/") > 1] == []
    assert watch.rss(pid) < 2048


@ours("it is another program")
def test_hvruns_commands(host):
    """They know the containers of a namespace; what has been said is shown again."""
    box = host.create(config("sh", "-c", "seq 1 100; echo err >&2; exec sleep 1000")).start()
    box.stdio.out.expect(b"100\n")
    box.stdio.err.expect(b"err\n")
    hv = host.hvrun()
    assert box.id in [entry["id"] for entry in hv.list()]
    assert hv.status(box.id) == "running"
    assert hv.run("exec", box.id, "sh", "-c", "echo hi; exit 3", status=3).stdout == "hi\n"
    assert "sleep" in hv.run("ps", box.id).stdout or hv.in_vm
    assert hv.run("stats", box.id).stdout
    said = hv.run("logs", box.id)
    assert said.stdout == "".join(f"{n}\n" for n in range(1, 101)) and said.stderr == "err\n"
    hv.fails("delete", box.id)
    hv.run("pause", box.id)
    watch.eventually(lambda: box.status() == PAUSED)
    box.task.Resume(id=box.id)
    assert hv.status(box.id) == "running"
    hv.run("kill", box.id, "KILL")
    assert box.wait() == 137
