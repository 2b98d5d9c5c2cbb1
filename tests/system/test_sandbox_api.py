# SPDX-License-Identifier: Apache-2.0
"""The Sandbox service, as containerd 2 uses it with `sandboxer = "shim"`: the VM comes before its
containers, and stays when they are gone. There is no such containerd here: requests are the test's."""

import json
import os
import signal
import subprocess
import time

import pytest

import proto
import ttrpc
import watch
from container import config
from shimclient import Box, RUNNING, STOPPED, Stdio, sandbox_service
from ttrpc import (ALREADY_EXISTS, FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, NOT_FOUND,
                   UNIMPLEMENTED)

pytestmark = pytest.mark.ours("it has no Sandbox service")
alone = pytest.mark.alone
METHODS = ["StartSandbox", "Platform", "StopSandbox", "WaitSandbox", "SandboxStatus", "PingSandbox",
           "ShutdownSandbox", "SandboxMetrics"]


class Sandbox:
    """One that is made as containerd makes it."""

    def __init__(self, host, **fields):
        self.host = host
        self.box = host.start_sandbox(f"{host.place.token}-s")
        self.id = self.box.id
        self.api = sandbox_service(self.box.connection.client)
        self.ended = False

    def create(self, **fields):
        options = proto.any_of("runtime.v1.PodSandboxConfig", proto.load("cri").PodSandboxConfig(
            hostname="pod", metadata=proto.load("cri").PodSandboxMetadata(name="pod")))
        self.api.CreateSandbox(**{"sandbox_id": self.id, "bundle_path": str(self.box.bundle),
                                  "options": options, **fields}, timeout=60)
        return self

    def start(self):
        reply = self.api.StartSandbox(sandbox_id=self.id, timeout=60)
        self.pid = reply.pid
        return reply

    def status(self, **more):
        return self.api.SandboxStatus(sandbox_id=self.id, **more)

    def container(self, *words, cid=None, cri=True, **io):
        """A member: its Create comes without a `start`, with a bundle that the shim has not seen; from the
        CRI plugin or another client."""
        return self.made(config(*(words or ("sleep", "1000"))), cid, cri, **io)

    def made(self, spec, cid=None, cri=True, **io):
        host = self.host
        cid = cid or f"{host.place.token}-m{len(host.boxes)}"
        spec["annotations"] = {"io.kubernetes.cri.sandbox-id": self.id,
                               "io.kubernetes.cri.container-type": "container"} if cri else {}
        spec["linux"]["cgroupsPath"] = f"/{host.namespace}/{cid}"
        box = Box(host, cid, host.bundle(spec, cid), Stdio(host.folder(cid), **io))
        host.boxes.insert(0, box)
        box.address = self.box.address
        box.connect(3)
        return box.create()

    def end(self):
        """As containerd ends one, at the end of its connection as well."""
        if not self.ended:
            for box in self.host.boxes[:-1]:
                box.end()
                box.deleted = True
            for call in (lambda: self.api.StopSandbox(sandbox_id=self.id), self.shutdown):
                try:
                    call()
                except (ttrpc.Refused, ttrpc.Closed, OSError):
                    pass
        self.host.delete(self.box)

    def shutdown(self):
        """The shim ends."""
        self.ended = True
        try:
            self.api.ShutdownSandbox(sandbox_id=self.id)
        except ttrpc.Closed:
            pass
        watch.eventually(lambda: not os.path.exists(ttrpc.unix_path(self.box.address)), 10)


@pytest.fixture
def sandbox(host):
    made = Sandbox(host)
    yield made
    made.end()


@pytest.fixture
def pod(sandbox):
    """One that is started."""
    sandbox.create().start()
    return sandbox


def test_life(host, sandbox):
    sandbox.create()
    waiting = sandbox.api.begin("WaitSandbox", sandbox_id=sandbox.id)
    reply = sandbox.start()
    assert watch.stat(reply.pid) and abs(reply.created_at.seconds - time.time()) < 60
    status = sandbox.status(verbose=True)
    assert (status.sandbox_id, status.state, status.pid) == (sandbox.id, "SANDBOX_READY", reply.pid)
    assert status.created_at == reply.created_at
    sandbox.api.PingSandbox(sandbox_id=sandbox.id)
    platform = sandbox.api.Platform(sandbox_id=sandbox.id).platform
    assert (platform.os, platform.architecture) == ("linux", "amd64")
    assert not sandbox.api.is_done(waiting, 0.1)
    sandbox.api.StopSandbox(sandbox_id=sandbox.id)
    ended = sandbox.api.finish(waiting)
    assert abs(ended.exited_at.seconds - time.time()) < 60
    assert sandbox.status().state == "SANDBOX_NOTREADY"
    sandbox.api.StopSandbox(sandbox_id=sandbox.id)      # also twice
    assert sandbox.api.WaitSandbox(sandbox_id=sandbox.id).exit_status == ended.exit_status
    sandbox.shutdown()
    watch.eventually(lambda: not watch.adopted())
    assert host.delete(sandbox.box).exit_status == 137


@pytest.mark.parametrize("cri", [True, False], ids=["CRI", "others"])
def test_containers(host, pod, cri):
    """They come and go, the sandbox stays without any."""
    first = pod.container("sh", "-c", "echo one; exit 3", cri=cri)
    assert first.run() == (3, b"one\n", b"")
    first.delete()
    box, other = pod.container(cri=cri).start(), pod.container(cri=cri).start()
    assert box.sh("hostname; echo hi >/dev/shm/file")[0] == 0
    assert box.state().status == other.state().status == RUNNING
    watch.eventually(lambda: host.server.of(box.id, "/tasks/start"))
    for each in (box, other):
        each.kill()
        assert each.wait() == 137
        each.delete()
        each.shutdown()         # is nothing while the sandbox is there
    assert pod.status().state == "SANDBOX_READY"
    assert pod.container("echo", "again", cri=cri).run()[:2] == (0, b"again\n")
    watch.eventually(lambda: "delete" in host.server.topics(other.id))
    assert host.server.topics(other.id) == ["create", "start", "exit", "delete"]


def test_one_connection_each(host, pod):
    """Closing one of them ends nothing."""
    box = pod.container().start()
    box.connection.client.close()
    box.connect(2)
    assert box.status() == RUNNING and box.sh("echo there")[1] == b"there\n"


def test_stop_with_containers(host, pod):
    """All their processes are killed, the sandbox's end is told after that."""
    box = pod.container("sh", "-c", "trap '' TERM; echo on; while :; do sleep 1; done").start()
    box.stdio.out.expect(b"on\n")
    e = box.add("sleep", "1000").start()
    waits = [box.task.begin("Wait", **process.names()) for process in (box, e)]
    waiting = pod.api.begin("WaitSandbox", sandbox_id=pod.id)
    began = time.monotonic()
    pod.api.StopSandbox(sandbox_id=pod.id, timeout_secs=1)
    assert all(box.task.finish(wait).exit_status in (137, 255) for wait in waits)
    assert pod.api.is_done(waiting, 5)
    assert time.monotonic() - began < 8 * watch.PATIENCE
    assert box.status() == STOPPED
    assert box.delete().exit_status in (137, 255)
    pod.shutdown()
    watch.eventually(lambda: not watch.adopted())


def test_shutdown_without_a_stop(host, pod):
    box = pod.container().start()
    pod.shutdown()
    box.deleted = True
    watch.eventually(lambda: not watch.adopted())
    host.delete(pod.box)
    assert not any(str(host.place.path) in line for line in watch.mounts())


def test_shim_killed(host, pod):
    """The `delete` of the sandbox cleans up all of its members: they have none."""
    boxes = [pod.container().start() for _ in range(2)]
    os.kill(host.shim_pid(pod.box), signal.SIGKILL)
    for box in boxes:
        box.deleted = True
    pod.ended = True
    assert host.delete(pod.box).exit_status == 137
    watch.eventually(lambda: not watch.adopted())
    assert not os.path.exists(ttrpc.unix_path(pod.box.address))
    assert not any(str(host.place.path) in line for line in watch.mounts())


def test_machine_killed(host, pod):
    """A sandbox that ends by itself has a status that is not zero, and containers that have exited."""
    box = pod.container().start()
    waiting = pod.api.begin("WaitSandbox", sandbox_id=pod.id)
    record = json.loads(next(iter(host.state_root.glob("partitions/*/sandbox.json"))).read_text())
    os.kill(record["AgentPid"], signal.SIGKILL)
    assert pod.api.finish(waiting).exit_status
    assert pod.status().state == "SANDBOX_NOTREADY"
    assert box.wait() in (137, 255)
    try:
        pod.api.PingSandbox(sandbox_id=pod.id)
    except ttrpc.Refused:
        pass
    box.delete()
    pod.api.StopSandbox(sandbox_id=pod.id)
    pod.shutdown()


def test_metrics(pod):
    box = pod.container().start()
    metric = pod.api.SandboxMetrics(sandbox_id=pod.id).metrics
    assert metric.id == pod.id and abs(metric.timestamp.seconds - time.time()) < 60
    assert metric.data.type_url.startswith("io.containerd.cgroups.v")
    assert box.status() == RUNNING


@pytest.fixture
def network(tmp_path):
    """A namespace as CNI prepares it: path, and what it is."""
    path = tmp_path / "netns"
    path.touch()
    said = subprocess.run(["unshare", f"--net={path}", "readlink", "/proc/self/ns/net"], check=True,
                          capture_output=True).stdout
    yield path, said
    subprocess.run(["umount", path], check=True)


def joining(pod):
    """What containerd asks of containers: namespaces named by the pid that StartSandbox gave."""
    spec = config("sh", "-c", "hostname; for i in ipc net; do readlink /proc/self/ns/$i; done")
    spec["linux"]["namespaces"] = [{"type": "pid"}, {"type": "mount"}]
    spec["linux"]["namespaces"] += [{"type": kind, "path": f"/proc/{pod.pid}/ns/{name}"}
                                    for kind, name in (("ipc", "ipc"), ("uts", "uts"), ("network", "net"))]
    spec.pop("hostname", None)
    return spec


def test_namespaces_of_the_pod(host, network, sandbox):
    """The name is the kubelet's, the network that of CNI; both are younger than the partition. A VM has a
    network of its own, for all of them."""
    sandbox.create(netns_path=str(network[0]), annotations={"a": "b"}).start()
    said = [sandbox.made(joining(sandbox)).run()[1].splitlines() for _ in range(2)]
    assert said[0] == said[1] and said[0][0] == b"pod"
    assert said[0][2] != os.readlink("/proc/self/ns/net").encode()
    if host.driver == "local":
        assert said[0][2] == network[1].strip()


def test_network_of_the_host(host, sandbox):
    """CNI has prepared none."""
    sandbox.create(netns_path="").start()
    said = sandbox.made(joining(sandbox)).run()[1].splitlines()
    if host.driver == "local":
        assert said[2] == os.readlink("/proc/self/ns/net").encode()


@alone
@pytest.mark.parametrize("method", METHODS)
def test_unknown_sandbox(pod, method):
    pod.api.refuses(method, NOT_FOUND, sandbox_id="nobody")
    assert pod.status().state == "SANDBOX_READY"


@alone
@pytest.mark.parametrize("method", ["CreateSandbox", *METHODS])
def test_garbage(pod, method):
    for payload in (b"\xff\xff\xff", b"\x0a\x7f", b"\x0a\x02\xff\xfe"):
        with pytest.raises(ttrpc.Refused) as refused:
            pod.api.client.call(pod.api.name, method, payload)
        assert refused.value.code in (INVALID_ARGUMENT, INTERNAL, NOT_FOUND)
    assert pod.status().state == "SANDBOX_READY"


def test_wrong_state(host, sandbox):
    api, names = sandbox.api, {"sandbox_id": sandbox.id}
    again = {**names, "bundle_path": str(sandbox.box.bundle)}
    for method in ("StartSandbox", "SandboxStatus", "WaitSandbox", "Platform"):
        api.refuses(method, NOT_FOUND, FAILED_PRECONDITION, **names)
    for wrong in ({"sandbox_id": "another"}, {"sandbox_id": ""}):
        api.refuses("CreateSandbox", INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION,
                    **{**again, **wrong})
    sandbox.create()
    api.refuses("CreateSandbox", ALREADY_EXISTS, FAILED_PRECONDITION, **again)
    sandbox.start()
    api.refuses("StartSandbox", FAILED_PRECONDITION, ALREADY_EXISTS, **names)
    api.refuses("CreateSandbox", ALREADY_EXISTS, FAILED_PRECONDITION, **again)
    with pytest.raises(ttrpc.Refused) as refused:
        api.client.call(api.name, "UpdateSandbox", b"")
    assert refused.value.code == UNIMPLEMENTED
    api.StopSandbox(**names)
    api.refuses("StartSandbox", FAILED_PRECONDITION, NOT_FOUND, **names)
    with pytest.raises(ttrpc.Refused):
        sandbox.container()
    assert sandbox.status().state == "SANDBOX_NOTREADY"


@alone
def test_many_waits(pod):
    waits = [pod.api.begin("WaitSandbox", sandbox_id=pod.id) for _ in range(200)]
    pod.api.PingSandbox(sandbox_id=pod.id)
    pod.api.StopSandbox(sandbox_id=pod.id)
    assert len({pod.api.finish(wait).exit_status for wait in waits}) == 1


def test_hvruns_commands(host, pod):
    box = pod.container().start()
    hv = host.hvrun()
    assert box.id in [entry["id"] for entry in hv.list()]
    assert hv.run("exec", box.id, "echo", "hi").stdout == "hi\n"
