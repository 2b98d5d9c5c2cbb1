# SPDX-License-Identifier: Apache-2.0
"""Bad input. Each is answered or closes the connection; the agent then still works, and the fixture sees
to it that nothing is left behind."""

import json
import os
import random
import socket
import stat
import struct
import time

import pytest

import bridge as b
import watch
from container import config, mount, sh


def change(path, value):
    """A change of one member; the value `...` removes it."""
    def apply(spec):
        at, keys = spec, path.split(".")
        for key in keys[:-1]:
            at = at[int(key)] if key.isdigit() else at.setdefault(key, {})
        last = int(keys[-1]) if keys[-1].isdigit() else keys[-1]
        if value is ...:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(value)
        else:
            at[last] = value
    return apply


# What of config.json is wrong, and what the answer must name.
BAD_SPECS = [
    ("process", ..., "process"),
    ("process", None, "process"),
    ("process", [], "process"),
    ("process.args", ..., "process.args"),
    ("process.args", [], "process.args"),
    ("process.args", "sh", "process.args"),
    ("process.args", [1], "process.args[0]"),
    ("process.args", ["sh", None, "x", {}], "process.args["),
    ("process.args", ["a\0b"], "NUL in a string"),
    ("process.cwd", ..., "process.cwd"),
    ("process.cwd", "", "process.cwd"),
    ("process.cwd", "relative", "process.cwd"),
    ("process.env", ["A=1", 2], "process.env[1]"),
    ("process.env", {"A": "1"}, "process.env"),
    ("process.terminal", "yes", "process.terminal"),
    ("process.user.uid", -1, "process.user.uid"),
    ("process.user.uid", 1 << 32, "process.user.uid"),
    ("process.user.uid", 1.5, "process.user.uid"),
    ("process.user.uid", "0", "process.user.uid"),
    ("process.user.additionalGids", [1, -1], "process.user.additionalGids[1]"),
    ("process.capabilities.bounding", "CAP_KILL", "process.capabilities.bounding"),
    ("process.rlimits.0.type", "RLIMIT_BOGUS", "RLIMIT_BOGUS"),
    ("process.rlimits.0.soft", -1, "process.rlimits[0].soft"),
    ("process.rlimits.0.soft", 1 << 64, "process.rlimits[0].soft"),
    ("process.rlimits.0.soft", 2000, "process.rlimits[0]"),
    ("process.rlimits.1", {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}, "RLIMIT_NOFILE"),
    ("process.oomScoreAdj", 1001, "process.oomScoreAdj"),
    ("process.oomScoreAdj", "0", "process.oomScoreAdj"),
    ("root", ..., "root"),
    ("root", "rootfs", "root"),
    ("root.path", ..., "root.path"),
    ("root.path", "", "root.path"),
    ("root.readonly", 1, "root.readonly"),
    ("root.path", "/no/such/rootfs", "/no/such/rootfs"),
    ("root.path", "/etc/passwd", "/etc/passwd"),
    ("ociVersion", 1, "ociVersion"),
    ("ociVersion", "9.0.0", "ociVersion"),
    ("hostname", ["x"], "hostname"),
    ("mounts", {}, "mounts"),
    ("mounts.2", "x", "mounts[2]"),
    ("mounts.2.destination", ..., "mounts[2].destination"),
    ("mounts.2.options", "ro", "mounts[2].options"),
    ("mounts.2.type", "nosuchfs", "nosuchfs"),
    ("mounts.6", {"destination": "/mnt", "type": "bind", "source": "/no/such", "options": ["bind"]},
     "/no/such"),
    ("linux", ..., "namespace of type uts"),
    ("linux", 3, "linux"),
    ("linux.namespaces.2.type", "pidd", 'linux.namespaces[2].type: unknown value "pidd"'),
    ("linux.namespaces.2.type", ..., "linux.namespaces[2].type"),
    ("linux.namespaces.2.path", "/no/such/ns", "/no/such/ns"),
    ("linux.namespaces.2.path", "/etc/passwd", "/etc/passwd"),
    ("linux.namespaces.5", {"type": "pid"}, "linux.namespaces"),
    ("linux.namespaces.5", {"type": "user"}, "linux.uidMappings"),
    ("linux.resources.memory", {"limit": "1G"}, "linux.resources.memory.limit"),
    ("linux.resources.cpu", {"shares": -5}, "linux.resources.cpu.shares"),
    ("linux.resources.cpu", {"cpus": "0-999999"}, "cpus"),
    ("linux.resources.unified", {"no.such.file": "1"}, "no.such.file"),
    ("linux.cgroupsPath", "../../escape", "linux.cgroupsPath"),
    ("linux.cgroupsPath", 5, "linux.cgroupsPath"),
    ("linux.devices", [{"path": "/dev/x", "type": "z", "major": 1, "minor": 3}],
     "linux.devices[0].type"),
    ("linux.devices", [{"type": "c", "major": 1, "minor": 3}], "linux.devices[0].path"),
    ("linux.sysctl", {"no.such.sysctl": "1"}, "no.such.sysctl"),
    ("linux.sysctl", {"kernel.hostname": 1}, "linux.sysctl"),
    ("linux.sysctl", {"vm.swappiness": "10"}, "vm.swappiness"),
    ("linux.sysctl", {"../../../etc/x": "10"}, "linux.sysctl"),
    ("linux.rootfsPropagation", "sideways", "linux.rootfsPropagation"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_BOGUS"}, "SCMP_ACT_BOGUS"),
    ("linux.seccomp", {}, "linux.seccomp.defaultAction"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]},
     "SCMP_ARCH_PDP11"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 9, "value": 1, "op": "SCMP_CMP_EQ"}]}]}, "index"),
    ("linux.maskedPaths", ["/a", 7], "linux.maskedPaths[1]"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 0}], "linux.uidMappings"),
    ("annotations", {"a": 1}, "annotations"),
    ("annotations", [], "annotations"),
    ("hooks", {"prestart": [{"path": "relative"}]}, "hooks.prestart[0].path"),
    ("hooks", {"createContainer": [{"args": ["x"]}]}, "hooks.createContainer[0].path"),
]


@pytest.mark.parametrize("path, value, named", BAD_SPECS,
                         ids=[f"{n}-{row[0]}" for n, row in enumerate(BAD_SPECS)])
def test_bad_spec(agent, plain, own_rootfs, path, value, named):
    spec = config("true", rootfs=own_rootfs)
    change(path, value)(spec)
    cid = agent.new_id()
    with pytest.raises(b.Failed) as failed:
        plain.create(cid, spec, agent.bundle(cid))
    b.check_failure(failed.value.answer)
    assert named in failed.value.text
    assert "\n" not in failed.value.text
    assert not agent.bundle(cid).exists()
    agent.create(config("true", rootfs=own_rootfs), cid=cid)


@pytest.mark.parametrize("missing", ["OciSpecification", "OciBundlePath", "SchemaVersion"])
def test_incomplete_config(agent, plain, rootfs, missing):
    cid = agent.new_id()
    plain.create(cid, config("true", rootfs=rootfs), agent.bundle(cid), result=b.INVALID_JSON,
                 **{missing: None})


@pytest.mark.parametrize("bundle", ["", "relative", "/etc/passwd", "/etc/passwd/x", "/proc/x",
                                    "/" + "x" * 300, "/tmp/" + "y/" * 3000])
def test_bad_bundle_path(agent, plain, rootfs, bundle):
    cid = agent.new_id()
    with pytest.raises(b.Failed):
        plain.create(cid, config("true", rootfs=rootfs), bundle)
    agent.check_works(rootfs)


@pytest.mark.parametrize("cid", ["", ".", "..", "../x", "a/b", "x y", "a\nb", "é",
                                 "x" * 300, "x" * 70000, b.NULL_CID], ids=lambda cid: cid[:9])
def test_bad_container_id(agent, plain, rootfs, cid):
    with pytest.raises(b.Failed) as failed:
        plain.create(cid, config("true", rootfs=rootfs), agent.bundle("x"))
    assert failed.value.result == b.INVALID_ARGUMENT
    agent.check_works(rootfs)


# JSON that is none


BAD_JSON = [
    b"", b" ", b"{", b"}", b"nul", b"null", b"[]", b'""', b"1", b"{}{}", b'{"a":1}x', b'{"a":1,}',
    b'{"a"}', b'{"a":}', b'{a:1}', b"{'a':1}", b'{"a":01}', b'{"a":1.}', b'{"a":.5}', b'{"a":+1}',
    b'{"a":NaN}', b'{"a":"\n"}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a":/*x*/1}', b'\xef\xbb\xbf{}',
    b"{\"a\":tru}", b"\0", b"{\"a\":\"", b"\xff\xfe{\0}\0",
    b'{"a":' + b"[" * 200 + b"]" * 200 + b"}", b'{"a":' * 200 + b"1" + b"}" * 200,
    b"[" * 100000, b'{"a":' * 100000,
    # Go reads these as U+FFFD; no host sends them, and two parsers that disagree are a danger.
    b'{"a":"\xff"}', b'{"a":"\\ud800"}', b'{"a":"\\udc00\\ud800"}',
]


@pytest.mark.parametrize("text", BAD_JSON, ids=[repr(text[:16]) for text in BAD_JSON])
def test_bad_json(plain, text):
    answer = plain.ask("WaitForProcess", text)
    b.check_failure(answer, b.INVALID_JSON)
    assert "ActivityId" not in answer
    answer = plain.ask("GetProperties", {"Query": text.decode("latin-1")}, cid="x")
    assert answer["Result"] in (b.INVALID_JSON, b.NO_SUCH_CONTAINER)
    plain.call("DumpStacks")


@pytest.mark.parametrize("text", BAD_JSON[1:], ids=[repr(text[:16]) for text in BAD_JSON[1:]])
def test_bad_json_in_a_string(plain, text):
    body = {"ContainerConfig": text.decode("latin-1")}
    b.check_failure(plain.ask("Create", body, cid="x"), b.INVALID_JSON)
    body = {"Settings": {"ProcessParameters": text.decode("latin-1")}}
    answer = plain.ask("ExecuteProcess", body, cid="x")
    b.check_failure(answer)


def test_strange_but_valid_json(plain):
    for text in (b'{"x":"\\ud83d\\ude00","ProcessId":1}', b'{"x":1e999,"ProcessId":1}',
                 b'{"x":123456789012345678901234567890,"ProcessId":1}',
                 b'{"x":' + b"[" * 30 + b"]" * 30 + b',"ProcessId":1}',
                 b'{"":{"":[]},"ProcessId":1}'):
        b.check_failure(plain.ask("WaitForProcess", text), b.NO_SUCH_CONTAINER)
    answer = plain.ask("GetProperties", b'{"ContainerId":"\\ud83d\\ude00 \\/ \\u00e9"}')
    b.check_failure(answer, b.NO_SUCH_CONTAINER)
    assert "\U0001f600 / \u00e9" in answer["ErrorMessage"]


@pytest.mark.parametrize("member, value", [
    ("ProcessId", -1), ("ProcessId", 1.5), ("ProcessId", "1"), ("ProcessId", 1 << 32),
    ("ProcessId", [1]), ("ProcessId", {}), ("ProcessId", True), ("TimeoutInMs", -1),
    ("TimeoutInMs", 1e10), ("ContainerId", 5), ("ContainerId", {}), ("ActivityId", 5)])
def test_wrong_types(plain, member, value):
    answer = plain.ask("WaitForProcess", {member: value}, cid="x")
    b.check_failure(answer, b.INVALID_JSON)
    assert member in answer["ErrorMessage"]


def test_null_leaves_the_default(plain):
    body = {"ProcessId": None, "TimeoutInMs": None, "ActivityId": None}
    b.check_failure(plain.ask("WaitForProcess", body, cid="x"), b.NO_SUCH_CONTAINER)


def test_many_members(plain):
    body = {f"member{n}": n for n in range(50000)}
    assert plain.ask("WaitForProcess", body)["Result"] in (b.INVALID_JSON, b.NOT_FOUND)
    plain.call("DumpStacks")


# Frames


def memory(agent):
    return watch.rss(agent.pid)


@pytest.mark.parametrize("size", [0, 1, 15, (4 << 20) + 1, 5 << 20, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("negotiated", [False, True])
def test_frame_sizes(agent, rootfs, size, negotiated):
    if negotiated:
        agent.bridge.negotiate()
    before = memory(agent)
    agent.bridge.used = True
    agent.bridge.send_raw(b.HEADER.pack(0x10100601, size, 7))
    agent.bridge.expect_close()
    agent.connect()
    assert memory(agent) < before + 1024
    agent.check_works(rootfs)


@pytest.mark.parametrize("max_frame", [4096, 65536, 1 << 20])
def test_frame_over_max_frame(agent, rootfs, max_frame):
    agent.session(max_frame=max_frame)
    agreed = agent.bridge.hello["MaxFrame"]
    body = b.encode({"ContainerId": "x", "pad": ""}).encode()
    fits = body.replace(b'"pad":""', b'"pad":"' + b"x" * (agreed - 16 - len(body)) + b'"')
    assert len(fits) == agreed - 16
    b.check_failure(agent.bridge.ask("GetProperties", fits), b.NO_SUCH_CONTAINER)
    agent.bridge.send_raw(b.HEADER.pack(0x10100901, agreed + 1, 8))
    agent.bridge.expect_close()
    agent.connect()
    agent.check_works(rootfs)


def test_spec_of_5_mib(agent, plain, rootfs):
    """More than a host may send at once: the connection is closed before it is read."""
    spec = config("true", rootfs=rootfs)
    spec["annotations"] = {"pad": "x" * (5 << 20)}
    before = memory(agent)
    cid = agent.new_id()
    with pytest.raises(b.Closed):
        plain.create(cid, spec, agent.bundle(cid))
    agent.connect()
    assert memory(agent) < before + 1024
    agent.check_works(rootfs)


def test_spec_of_almost_4_mib(agent, plain, rootfs):
    spec = config("true", rootfs=rootfs)
    spec["annotations"] = {"pad": "x" * 4_100_000}
    for _ in range(3):
        cid, init = agent.run(spec, "")
        assert init.wait_answer()["ExitCode"] == 0
        plain.delete(cid)


def test_byte_by_byte(agent, rootfs):
    """And the opposite: everything at once."""
    bridge = agent.bridge
    bridge.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    whole = bridge.send_raw
    bridge.send_raw = lambda data: [whole(data[n:n + 1]) for n in range(len(data))]
    bridge.negotiate()
    assert agent.output(sh("echo slow", rootfs=rootfs)) == "slow\n"
    held = bytearray()
    bridge.send_raw = held.extend
    ids = [bridge.request("DumpStacks") for _ in range(100)]
    bridge.send_raw = whole
    bridge.send_raw(bytes(held))
    for ident in ids:
        assert bridge.answer(ident)["Result"] == 0


def test_cut_frames(agent, plain, rootfs):
    """The connection ends anywhere within a frame."""
    body = b.encode({"ContainerId": "x"}).encode()
    frame = b.HEADER.pack(0x10100901, 16 + len(body), 3) + body
    for cut in range(1, len(frame), 5):
        agent.bridge.used = True
        agent.bridge.send_raw(frame[:cut])
        agent.connect()
    agent.plain()
    agent.check_works(rootfs)


def test_equal_ids(agent, plain):
    """Nothing says that they must differ: each is answered."""
    body = b.encode({"ContainerId": b.NULL_CID}).encode()
    for _ in range(10):
        plain.send_frame(0x10100C01, 42, body)
    for _ in range(10):
        plain.asked[42] = ("DumpStacks", 0x10100C01, None)
        assert plain.answer(42)["Result"] == 0


def test_host_that_does_not_read(agent, plain, rootfs):
    before = memory(agent)
    sent = 0
    body = b.encode({"ContainerId": b.NULL_CID}).encode()
    frame = b.HEADER.pack(0x10100C01, 16 + len(body), 1) + body
    plain.sock.settimeout(1)
    try:
        for _ in range(20000):
            plain.sock.sendall(frame)
            sent += 1
    except TimeoutError:
        pass
    grown = memory(agent) - before
    agent.connect()
    agent.bridge.session()      # in plain mode the answers of the old connection would follow
    assert grown < 65536, f"{grown} KiB for {sent} requests whose answers nobody reads"
    agent.check_works(rootfs)


def test_random_bytes(agent, rootfs):
    chance = random.Random(1)
    for _ in range(40):
        agent.bridge.used = True
        try:
            agent.bridge.sock.setblocking(True)
            agent.bridge.sock.sendall(chance.randbytes(chance.randrange(1, 3000)))
        except OSError:
            pass
        agent.connect()
    agent.check_works(rootfs)


def mutate(chance, value):
    """The same document with something else in one place."""
    strange = [None, True, -1, 0, 1.5, 1 << 64, "", "x" * 5000, "\0", [], {}, [[]], {"": {}}]
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        if chance.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return dict(value, **{key: mutate(chance, value[key])})
    if isinstance(value, list) and value and chance.random() < 0.9:
        at = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value[:at] + value[at + 1:]
        return value[:at] + [mutate(chance, value[at])] + value[at + 1:]
    return chance.choice(strange)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_requests(agent, plain, own_rootfs, seed):
    """Valid documents with one thing wrong. What is accepted must also go away again."""
    chance = random.Random(seed)
    keep = [change("root.path", str(own_rootfs)), change("linux.cgroupsPath", "")]
    for _ in range(60):
        spec = config("true", rootfs=own_rootfs)
        spec["linux"]["resources"] = {"memory": {"limit": 1 << 26}, "pids": {"limit": 100}}
        spec = mutate(chance, spec)
        for again in keep:
            try:
                again(spec)
            except (TypeError, AttributeError, KeyError):
                pass
        cid = agent.new_id()
        document = {"SchemaVersion": {"Major": 2, "Minor": 1}, "OciBundlePath":
                    str(agent.bundle(cid)), "OciSpecification": spec, "ScratchDirPath": ""}
        answer = plain.ask("Create", {"ContainerConfig": b.inner(document)}, cid)
        if answer["Result"] == 0:
            plain.containers.append(cid)
            agent.remove_containers()
        else:
            b.check_failure(answer)
    agent.check_works(own_rootfs)


# States


def test_wrong_states(agent, plain, rootfs):
    created = agent.create(config("true", rootfs=rootfs))
    running, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    stopped, ended = agent.run(config("true", rootfs=rootfs), "")
    assert ended.wait_answer()["ExitCode"] == 0
    plain.exec(created, "true", result=b.NOT_RUNNING)
    plain.exec(stopped, "true", result=b.NOT_RUNNING)
    plain.execute(stopped, {}, result=b.NOT_RUNNING)
    plain.call("ShutdownGraceful", cid=stopped, result=b.NOT_RUNNING)
    plain.delete(running, result=b.INVALID_STATE)
    settings = {"Linux": {"pids": {"limit": 5}}}
    plain.call("ModifySettings", {"Request": {
        "ResourceType": "ContainerConstraints", "Settings": settings}}, stopped, b.NOT_RUNNING)
    assert plain.pids(running) == [init.pid]


def test_exits_and_execs_at_the_same_time(agent, session, rootfs):
    """Whatever comes first: each request has one answer, and nothing stays."""
    for n in range(30):
        cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
        parameters = {"OciProcess": config("sleep", "100")["process"]}
        body = {"Settings": {"ProcessParameters": b.inner(parameters), "Streams": {}}}
        ids = [session.request("ExecuteProcess", body, cid) for _ in range(n % 4)]
        ids.append(session.request("SignalProcess", {"ProcessId": init.pid}, cid))
        ids += [session.request("ExecuteProcess", body, cid) for _ in range(n % 3)]
        wait = init.begin_wait()
        ids.append(session.request("DeleteContainerState", cid=cid))
        for ident in ids:
            session.answer(ident)
        assert session.answer(wait)["Result"] in (0, b.NOT_FOUND, b.NO_SUCH_CONTAINER)
        agent.remove_containers()


def test_create_and_delete_at_once(agent, plain, rootfs):
    """Requests for the same container without waiting for answers."""
    for _ in range(20):
        cid = agent.new_id()
        document = {"SchemaVersion": {"Major": 2, "Minor": 1}, "OciBundlePath":
                    str(agent.bundle(cid)), "OciSpecification": config("true", rootfs=rootfs)}
        body = {"ContainerConfig": b.inner(document)}
        names = ["Create", "DeleteContainerState", "Start", "Create", "ShutdownForced",
                 "DeleteContainerState"]
        plain.containers.append(cid)
        answers = [plain.answer(i) for i in [plain.request(n, body, cid) for n in names]]
        assert answers[0]["Result"] == 0
        agent.remove_containers()


# Processes that cannot be


@pytest.fixture
def box(agent, plain, own_rootfs):
    (own_rootfs / "bin/not-executable").write_text("#!/bin/sh\n")
    (own_rootfs / "bin/no-format").write_text("just text\n")
    (own_rootfs / "bin/no-format").chmod(0o755)
    (own_rootfs / "bin/no-interpreter").write_text("#!/no/such/interpreter\n")
    (own_rootfs / "bin/no-interpreter").chmod(0o755)
    (own_rootfs / "bin/loop").symlink_to("loop")
    (own_rootfs / "bin/truncated").write_bytes(b"\x7fELF\x02\x01\x01")
    (own_rootfs / "bin/truncated").chmod(0o755)
    return agent.run(config("sleep", "1000", rootfs=own_rootfs), "")[0]


@pytest.mark.parametrize("args, text", [
    (["nope"], "no such file or directory|executable file not found"),
    (["/nope"], "no such file or directory"),
    (["bin/nope"], "no such file or directory"),
    ([""], "no such file or directory|executable file not found|process.args"),
    (["not-executable"], "permission denied|executable file not found"),
    (["/bin/not-executable"], "permission denied"),
    (["/etc"], "permission denied|is a directory"),
    (["no-format"], "exec format error"),
    (["truncated"], "exec format error"),
    (["no-interpreter"], "no such file or directory"),
    (["/bin/loop"], "too many levels of symbolic links"),
    (["/etc/passwd/x"], "not a directory"),
    (["x" * 300], "file name too long|no such file or directory|executable file not found"),
    (["echo", "x" * 200000], "argument list too long"),
])
def test_programs_that_cannot_run(agent, plain, box, own_rootfs, args, text):
    def check(failure):
        assert any(word in failure.text for word in text.split("|")), failure.text
        assert args[0][:30] in failure.text
    with pytest.raises(b.Failed) as failed:
        plain.exec(box, *args)
    check(failed.value)
    # The same as a container's init, which fails at its creation or at its start.
    with pytest.raises(b.Failed) as failed:
        agent.run(config(*args, rootfs=own_rootfs))
    check(failed.value)
    assert plain.exec(box, "echo", "well").finish()[1] == b"well\n"


@pytest.mark.parametrize("process, text", [
    ({"user": {"uid": 0, "gid": 0, "username": "nobody-here"}}, "nobody-here"),
    ({"user": {"uid": 0, "gid": 0, "username": "root:no-group"}}, "no-group"),
    ({"user": {"uid": 0, "gid": 0, "username": "4294967296"}}, "4294967296"),
    ({"user": {"uid": -1, "gid": 0}}, "uid"),
    ({"cwd": "/no/such/directory/at/all", "user": {"uid": 1000, "gid": 1000}}, ""),
    ({"cwd": "/etc/passwd"}, "/etc/passwd"),
    ({"cwd": "relative"}, "cwd"),
    ({"args": []}, "args"),
    ({"args": None}, "args"),
    ({"env": ["x" * 200000]}, "argument list too long"),
    ({"capabilities": {"effective": ["CAP_X", 1]}}, "capabilities.effective[1]"),
    ({"apparmorProfile": "no-such-profile"}, ""),
    ({"selinuxLabel": "no:such:label"}, ""),
    ({"scheduler": {"policy": "SCHED_BOGUS"}}, "SCHED_BOGUS"),
    ({"consoleSize": {"height": -1, "width": 0}, "terminal": True}, "consoleSize"),
])
def test_processes_that_cannot_be(plain, box, process, text):
    with pytest.raises(b.Failed) as failed:
        plain.exec(box, "true", process=process)
    assert text in failed.value.text
    assert plain.exec(box, "echo", "well").finish()[1] == b"well\n"


# A root file system that lies


@pytest.fixture
def outside(place):
    """What symlinks point to. Nothing may appear here, and nothing be read from here."""
    path = place.path / "outside"
    path.mkdir()
    (path / "passwd").write_text("intruder:x:77:77::/:/bin/sh\n")
    (path / "file").write_text("untouched")
    before = sorted((p.name, p.stat().st_mode, p.stat().st_mtime_ns) for p in path.iterdir())
    yield path
    assert sorted((p.name, p.stat().st_mode, p.stat().st_mtime_ns)
                  for p in path.iterdir()) == before


def attempt(agent, spec):
    """Creates, runs and deletes it, if it can be; what went wrong otherwise."""
    try:
        cid, init = agent.run(spec)
    except b.Failed as failed:
        return failed.text
    init.finish()
    agent.bridge.delete(cid)
    return None


@pytest.mark.parametrize("name", ["proc", "dev", "sys", "dev/pts", "dev/shm", "etc", "mnt"])
@pytest.mark.parametrize("absolute", [True, False])
def test_symlinked_mount_points(agent, plain, own_rootfs, outside, name, absolute):
    target = own_rootfs / name
    spec = sh("true", rootfs=own_rootfs)
    if "/" in name:
        spec["mounts"] = [m for m in spec["mounts"] if m["destination"] != "/dev"]
    elif target.exists():
        target.rename(own_rootfs / "away")
    target.symlink_to(outside if absolute else "../../../../../../../../../.." + str(outside))
    spec["mounts"] += [mount("/mnt/deep/er", "tmpfs", "tmpfs"),
                       mount("/etc/new-file", "bind", outside / "file", "bind", "ro")]
    attempt(agent, spec)
    assert (outside / "file").read_text() == "untouched"
    agent.check_clean()


def test_symlinked_files(agent, plain, own_rootfs, outside):
    (own_rootfs / "etc/hosts").symlink_to(outside / "file")
    (own_rootfs / "etc/up").symlink_to("../" * 30 + str(outside) + "/new")
    spec = sh("echo x > /etc/target; cat /etc/target", rootfs=own_rootfs, cwd="/etc/up/cwd")
    spec["mounts"] += [mount("/etc/hosts", "bind", "/dev/null", "bind"),
                       mount("/etc/up", "bind", "/dev/null", "bind")]
    spec["linux"]["maskedPaths"] = ["/etc/hosts", "/etc/up"]
    spec["linux"]["readonlyPaths"] = ["/etc/hosts", "/etc/up"]
    spec["linux"]["devices"] = [{"path": "/etc/up/null", "type": "c", "major": 1, "minor": 3}]
    attempt(agent, spec)


def test_root_that_is_a_symlink_loop(agent, plain, place, own_rootfs):
    (place.path / "loop").symlink_to("loop")
    assert "symbolic links" in attempt(agent, config("true", rootfs=place.path / "loop"))
    for name in ("proc", "dev", "sys"):
        (own_rootfs / name).rmdir()
        (own_rootfs / name).symlink_to(name)
    assert attempt(agent, config("true", rootfs=own_rootfs))


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "zero", "large", "loop", "missing",
                                  "binary", "socket"])
def test_users_of_a_hostile_rootfs(agent, plain, own_rootfs, outside, kind):
    for name in ("passwd", "group"):
        path = own_rootfs / "etc" / name
        path.unlink()
        if kind == "symlink":
            path.symlink_to(outside / "passwd")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir()
        elif kind == "zero":
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        elif kind == "large":
            with open(path, "wb") as file:
                file.truncate(1 << 34)
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "binary":
            path.write_bytes(os.urandom(100000) + b"\nx:::::::\n:::\nintruder\n")
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
    begin = time.monotonic()
    spec = config("true", rootfs=own_rootfs, user={"uid": 0, "gid": 0, "username": "intruder"})
    text = attempt(agent, spec)
    assert text and "intruder" in text
    assert time.monotonic() - begin < 5
    assert attempt(agent, config("true", rootfs=own_rootfs, user={"uid": 5, "gid": 6})) is None
    cid, _ = agent.run(config("sleep", "100", rootfs=own_rootfs), "")
    with pytest.raises(b.Failed):
        plain.exec(cid, "true", process={"user": {"uid": 0, "gid": 0, "username": "intruder"}})
    assert memory(agent) < 20000


def test_container_cannot_write_the_agent(agent, plain, rootfs):
    """/proc/1/exe and friends of whoever enters the container."""
    spec = sh("for n in /proc/[0-9]*; do echo x > $n/exe; done 2>/dev/null; exit 0", rootfs=rootfs)
    before = os.stat(f"/proc/{agent.pid}/exe")
    cid, init = agent.run(spec, "")
    for _ in range(20):
        try:
            plain.exec(cid, "/proc/self/exe", "true", streams="").wait_answer()
        except b.Failed:
            pass
    init.wait_answer()
    after = os.stat(f"/proc/{agent.pid}/exe")
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)


def test_agent_cannot_be_traced_or_read(agent, plain, rootfs):
    """An exec shows nothing of the agent: no fd of it, no environment."""
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    _, out, _ = plain.exec(cid, "ls", "/proc/self/fd").finish()
    assert set(out.decode().split()) == {"0", "1", "2", "3"}     # 3: the directory that ls reads
    _, out, _ = plain.exec(cid, "cat", "/proc/self/environ").finish()
    assert {line.split("=")[0] for line in out.decode().split("\0") if line} <= {"PATH", "HOME"}


# Streams of a session that break the rules


def limit_of(process):
    process.bridge.pump(lambda: process.stdin.limit, 5, "a grant for standard input")
    return process.stdin.limit


def breach_unknown_data(session, process):
    session.send_frame(b.DATA, 999, b"x")


def breach_unknown_end(session, process):
    session.send_frame(b.END, 999, struct.pack("<QI", 0, 0))


def breach_past_the_limit(session, process):
    limit_of(process)
    for _ in range(64):             # the process reads none of it
        session.send_frame(b.DATA, process.stdin.id, bytes(65536))


def breach_data_after_end(session, process):
    limit_of(process)
    process.stdin.end()
    session.send_frame(b.DATA, process.stdin.id, b"x")


def breach_wrong_total(session, process):
    limit_of(process)
    session.send_frame(b.DATA, process.stdin.id, b"abc")
    session.send_frame(b.END, process.stdin.id, struct.pack("<QI", 4, 0))


def breach_second_end(session, process):
    limit_of(process)
    process.stdin.end()
    session.send_frame(b.END, process.stdin.id, struct.pack("<QI", 0, 0))


def breach_empty_data(session, process):
    limit_of(process)
    session.send_frame(b.DATA, process.stdin.id, b"")


def breach_large_data(session, process):
    limit_of(process)
    session.send_frame(b.DATA, process.stdin.id, bytes(65537))


def breach_short_end(session, process):
    session.send_frame(b.END, process.stdin.id, b"1234567")


def breach_data_on_output(session, process):
    session.send_frame(b.DATA, process.stdout.id, b"x")


BREACHES = {name[7:]: value for name, value in list(globals().items()) if name.startswith("breach_")}


@pytest.mark.parametrize("name", BREACHES)
def test_protocol_errors_close_the_connection(agent, session, rootfs, name):
    cid, _ = agent.run(config("sleep", "1000", rootfs=rootfs), "")
    process = session.exec(cid, "sleep", "1000", streams="io")
    try:
        BREACHES[name](session, process)
        session.expect_close(5)
    except b.Closed:
        pass
    agent.connect()
    again = agent.bridge
    again.session()
    assert again.hello["Containers"] == [cid]
    assert again.exec(cid, "echo", "well").finish()[1] == b"well\n"


@pytest.mark.parametrize("kind, payload", [
    (b.WINDOW, b""), (b.WINDOW, bytes(7)), (b.WINDOW, bytes(9)), (b.WINDOW, b"\xff" * 8),
    (b.WINDOW, bytes(8)), (b.STOP, b""), (b.STOP, bytes(5)), (b.ACK, b"x"), (b.ACK, b""),
    (0x40100501, b"x"), (0x4FFFFFFF, b""), (0x40000000, b"")])
def test_strange_stream_frames(agent, session, rootfs, kind, payload):
    """Closed or ignored, but never worse."""
    cid, _ = agent.run(config("sleep", "1000", rootfs=rootfs), "")
    process = session.exec(cid, "sh", "-c", "while :; do echo x; sleep 0.01; done", streams="io")
    for ident in (process.stdout.id, process.stdin.id, 0, 999, (1 << 64) - 1):
        try:
            session.send_frame(kind, ident, payload)
            session.idle(0.05)
        except b.Closed:
            break
    again = agent.session()
    assert again.exec(cid, "echo", "well").finish()[1] == b"well\n"


def test_stream_ids_used_twice(agent, session, rootfs):
    cid, _ = agent.run(config("sleep", "1000", rootfs=rootfs), "")
    session.exec(cid, "sleep", "1000", streams="ioe")
    session.next_stream = 5
    parameters = {"OciProcess": config("true")["process"], "CreateStdOutPipe": True}
    body = {"Settings": {"ProcessParameters": b.inner(parameters),
                         "Streams": {"StdOut": 6, "Window": 1000}}}
    b.check_failure(session.ask("ExecuteProcess", body, cid))
    body["Settings"]["ProcessParameters"] = b.inner(dict(parameters, CreateStdErrPipe=True))
    body["Settings"]["Streams"] = {"StdOut": 50, "StdErr": 50, "Window": 1000}
    b.check_failure(session.ask("ExecuteProcess", body, cid))
    assert json.loads(session.call("GetProperties", {"Query": ""}, cid)["Properties"]) == {}


def test_session_frames_in_plain_mode(agent, plain, rootfs):
    """Unknown messages there: answered as such."""
    for kind in (b.DATA, b.WINDOW, b.ACK):
        plain.call(kind, cid="x", result=b.NOT_IMPLEMENTED)
    agent.check_works(rootfs)
