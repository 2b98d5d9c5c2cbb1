# SPDX-License-Identifier: Apache-2.0
"""Pods as Kubernetes makes them, through containerd's CRI plugin."""

import json
import os
import pathlib
import shutil
import signal
import tempfile
import time

import pytest

import containerd
import proto
import shimclient
import watch

grpc = pytest.importorskip("grpc", reason="no Python module grpc")

from cri import CRI, STDERR, STDIN, STDOUT, Pod

ours = pytest.mark.ours


class Daemon(containerd.Containerd):
    """With CRI. Its namespace is that of every CRI, so what is left is looked for by names."""

    def __init__(self, path, kind, driver, image):
        super().__init__(path, kind, driver, image, cri=True)
        self.import_image()
        self.cri = None
        self.dial()
        watch.eventually(lambda: self.cri.ImageStatus(
            image=proto.load("cri").ImageSpec(image=containerd.IMAGE)).image.id, 5, "the image")

    def dial(self):
        if self.cri:
            self.cri.close()
        self.cri = CRI(self.socket)

    def pods(self):
        return [pod.id for pod in self.cri.ListPodSandbox().items]

    def remove_pods(self):
        """By force."""
        for pod in self.pods():
            self.cri.StopPodSandbox(pod_sandbox_id=pod)
            self.cri.RemovePodSandbox(pod_sandbox_id=pod)

    def close(self):
        self.remove_pods()
        self.cri.close()
        self.end()
        return [line for line in watch.mounts() if str(self.path) in line]


def hvruns(ids):
    """What is kept of these below hvrun's root."""
    root = shimclient.state_root("k8s.io")
    return [str(path) for path in root.rglob("*") if any(cid in path.name for cid in ids)]


@pytest.fixture(scope="module")
def daemon(shim_kind, driver, image):
    if containerd.missing():
        pytest.skip(containerd.missing())
    path = pathlib.Path(tempfile.mkdtemp(prefix="hvcri", dir="/tmp"))
    made = Daemon(path, shim_kind, driver, image)
    yield made
    left = made.close()
    shutil.rmtree(path)
    assert not left, f"left behind: {left}"


@pytest.fixture
def cri(daemon, place):
    size = len(daemon.log)
    yield daemon.cri
    print(daemon.log[size:][-8000:])
    daemon.remove_pods()
    watch.eventually(lambda: not daemon.leftovers(), 5, f"end of {daemon.leftovers()}")
    for path in sorted(watch.cgroups(place.token), key=len, reverse=True):
        if path.endswith(place.token):      # of the pod, which the kubelet removes
            os.rmdir(path)
    left = [line for line in watch.mounts() if str(daemon.path) in line]
    assert not left, f"left behind: {left}"


@pytest.fixture
def pod(cri, place):
    made = Pod(cri, place)
    yield made
    made.stop()
    made.remove()
    assert not hvruns([made.id, *made.ids])


def test_pod(daemon, pod):
    """Two containers in one shim, which see what they share, and nothing else of each other."""
    first = pod.start("sleep", "1000", name="first")
    second = pod.start("sleep", "1000", name="second")
    running = proto.load("cri").CONTAINER_RUNNING
    assert pod.status(first).state == pod.status(second).state == running
    assert len({daemon.shim_pid(cid) for cid in (pod.id, first, second)}) == 1
    assert pod.sh(first, "echo one >/dev/shm/x; echo two >/tmp/x; cat /tmp/x")[1] == b"two\n"
    assert pod.sh(second, "cat /dev/shm/x")[1] == b"one\n"
    assert pod.sh(second, "cat /tmp/x")[0] == 1
    assert pod.sh(first, "hostname")[1] == pod.sh(second, "hostname")[1]
    pod.cri.StopContainer(container_id=first, timeout=0)
    assert pod.status(first).exit_code == 137
    assert pod.sh(second, "echo there")[1] == b"there\n"
    pod.cri.RemoveContainer(container_id=first)
    assert pod.sh(second, "echo there")[1] == b"there\n"


@ours("there is no VM")
def test_pod_in_one_machine(daemon, pod, place):
    """All of it is in one partition, as hvrun's own commands see it."""
    ids = [pod.id, pod.start("sleep", "1000"), pod.start("sleep", "1000")]
    hv = daemon.hvrun(place)
    records = [json.loads((daemon.state_root / "containers" / cid / "state.json").read_text())["Partition"]
               for cid in ids]
    assert len(set(records)) == 1
    assert set(ids) <= {entry["id"] for entry in hv.list()}
    assert hv.run("exec", ids[1], "echo", "hi").stdout == "hi\n"


def test_exec(pod):
    cid = pod.start("sleep", "1000", env=[("A", "b")])
    assert pod.sh(cid, "echo $A; echo err >&2; exit 5") == (5, b"b\n", b"err\n")
    for n in range(10):
        assert pod.sh(cid, f"echo {n}; exit {n}") == (n, b"%d\n" % n, b"")
    with pytest.raises(grpc.RpcError) as refused:
        pod.exec(cid, "nonexistent")
    assert "nonexistent" in refused.value.details()
    began = time.monotonic()
    with pytest.raises(grpc.RpcError):
        pod.exec(cid, "sleep", "1000", timeout=1)
    assert time.monotonic() - began < 10 * watch.PATIENCE
    assert pod.sh(cid, "echo there")[1] == b"there\n"


def test_exec_with_streams(pod):
    cid = pod.start("sleep", "1000")
    stream = pod.stream("Exec", cid, "sh", "-c", "read x; echo got $x; echo err >&2; exit 6", stdin=True,
                        stdout=True, stderr=True)
    stream.send(STDIN, b"word\n")
    assert stream.status() == 6
    assert (stream.said[STDOUT], stream.said[STDERR]) == (b"got word\n", b"err\n")


def test_exec_with_a_terminal(pod):
    cid = pod.start("sleep", "1000")
    stream = pod.stream("Exec", cid, "sh", "-c", "tty; read x; echo got $x; "
                        "trap 'stty size' WINCH; stty size; while :; do sleep 0.02; done", tty=True,
                        stdin=True, stdout=True)
    stream.expect(b"/dev/")
    stream.resize(77, 22)
    stream.send(STDIN, b"word\r")
    stream.expect(b"got word\r\n")
    stream.expect(b"22 77\r\n")
    stream.resize(78, 23)
    stream.expect(b"23 78\r\n")
    stream.send(STDIN, b"\x03")
    assert stream.status() in (130, 2)


def test_attach(pod):
    cid = pod.start("sh", "-c", "while read x; do echo got $x; echo err >&2; done; sleep 1000", stdin=True)
    stream = pod.stream("Attach", cid, stdin=True, stdout=True, stderr=True)
    stream.send(STDIN, b"one\n")
    stream.expect(b"got one\n")
    stream.expect(b"err\n", STDERR)
    stream.socket.close()
    again = pod.stream("Attach", cid, stdin=True, stdout=True, stderr=True)
    again.send(STDIN, b"two\n")
    again.expect(b"got two\n")
    again.socket.close()


def test_logs(pod):
    """Of both streams, complete at the exit; lines go on in a new file after it is opened again."""
    cid = pod.start("sh", "-c", "seq 1 2000; echo err >&2; printf unfinished; exit 4", name="log")
    assert pod.wait(cid).exit_code == 4
    lines = pod.log("log")
    assert [text for stream, text in lines if stream == "stdout"] == [str(n) for n in range(1, 2001)] + \
        ["unfinished"]
    assert [text for stream, text in lines if stream == "stderr"] == ["err"]
    turn = pod.start("sh", "-c", "while :; do echo line; sleep 0.02; done", name="turn")
    watch.eventually(lambda: pod.log("turn"))
    (pod.logs / "turn.log").rename(pod.logs / "turn.old")
    pod.cri.ReopenContainerLog(container_id=turn)
    watch.eventually(lambda: pod.log("turn"))


def test_exit_of_a_container(pod):
    messages = proto.load("cri")
    cid = pod.start("sh", "-c", "exit 3")
    status = pod.wait(cid)
    assert (status.exit_code, status.reason) == (3, "Error")
    assert 0 < status.created_at <= status.finished_at and status.started_at
    cid = pod.start("true")
    status = pod.wait(cid)
    assert (status.exit_code, status.reason) == (0, "Completed")
    cid = pod.start("sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.02; done")
    time.sleep(0.2)
    pod.cri.StopContainer(container_id=cid, timeout=5)
    assert pod.wait(cid).exit_code == 9
    cid = pod.create("sleep", "1")
    assert pod.status(cid).state == messages.CONTAINER_CREATED
    pod.cri.RemoveContainer(container_id=cid)
    cid = pod.create("nonexistent")
    with pytest.raises(grpc.RpcError) as refused:
        pod.cri.StartContainer(container_id=cid)
    assert "nonexistent" in refused.value.details()
    assert pod.status(cid).exit_code


def test_out_of_memory(pod):
    cid = pod.start("sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; exit $?", limit=16 << 20)
    status = pod.wait(cid, 20)
    assert status.exit_code == 137 and status.reason == "OOMKilled"


def test_stats(pod):
    cid = pod.start("sh", "-c", "dd if=/dev/zero of=/tmp/x bs=1M count=4; exec sleep 1000")
    def found():
        return pod.cri.ContainerStats(container_id=cid).stats
    watch.eventually(lambda: found().memory.usage_bytes.value > 4 << 20)
    stats = found()
    assert stats.cpu.usage_core_nano_seconds.value and stats.memory.working_set_bytes.value
    pod.cri.UpdateContainerResources(container_id=cid, linux=proto.load("cri").LinuxContainerResources(
        memory_limit_in_bytes=64 << 20))
    assert pod.status(cid).state == proto.load("cri").CONTAINER_RUNNING


def test_volumes(pod, place):
    """A directory of the host in both containers, and what the plugin mounts itself."""
    (place.path / "data").mkdir()
    (place.path / "data/file").write_text("text\n")
    first = pod.start("sleep", "1000", mounts=[(place.path / "data", "/mnt")])
    second = pod.start("sleep", "1000", mounts=[(place.path / "data", "/mnt")])
    assert pod.sh(first, "cat /mnt/file; echo new >/mnt/new")[1] == b"text\n"
    assert pod.sh(second, "cat /mnt/new")[1] == b"new\n"
    assert pod.sh(first, "test -s /etc/hosts && test -s /etc/resolv.conf; echo $?")[1] == b"0\n"


def test_two_pods(daemon, pod, cri, place):
    """Have nothing in common."""
    other = Pod(cri, place, name="other")
    cids = [pod.start("sleep", "1000"), other.start("sleep", "1000")]
    assert daemon.shim_pid(cids[0]) != daemon.shim_pid(cids[1])
    pod.sh(cids[0], "echo x >/dev/shm/x")
    assert other.sh(cids[1], "cat /dev/shm/x")[0] == 1
    other.stop()
    other.remove()
    assert pod.sh(cids[0], "cat /dev/shm/x")[1] == b"x\n"


def test_stop_of_a_pod(cri, place):
    """Everything in it ends; the pod can be removed; what is gone may be stopped and removed again."""
    messages = proto.load("cri")
    pod = Pod(cri, place)
    cids = [pod.start("sleep", "1000"), pod.start("sh", "-c", "trap '' TERM; while :; do sleep 1; done")]
    created = pod.create("true")
    pod.stop()
    assert cri.PodSandboxStatus(pod_sandbox_id=pod.id).status.state == messages.SANDBOX_NOTREADY
    assert all(pod.status(cid).state == messages.CONTAINER_EXITED for cid in cids)
    assert created
    with pytest.raises(grpc.RpcError):
        pod.start("true", name="late")
    watch.eventually(lambda: not watch.adopted())
    pod.stop()
    pod.remove()
    pod.remove()
    assert not hvruns([pod.id, *pod.ids])


def test_containerd_restarts(daemon, pod):
    """The pod runs on, logs included."""
    cid = pod.start("sh", "-c", "n=0; while :; do echo $((n=n+1)); sleep 0.02; done", name="count")
    watch.eventually(lambda: pod.log("count"))
    daemon.end(signal.SIGKILL)
    time.sleep(0.3)
    daemon.start()
    daemon.dial()
    pod.cri = daemon.cri
    assert pod.status(cid).state == proto.load("cri").CONTAINER_RUNNING
    assert pod.sh(cid, "echo there")[1] == b"there\n"
    before = len(pod.log("count"))
    watch.eventually(lambda: len(pod.log("count")) > before + 5)
    numbers = [int(text) for _, text in pod.log("count")]
    if daemon.kind != "runc":       # which loses what nobody reads
        assert numbers == list(range(1, len(numbers) + 1))
    third = pod.start("sleep", "1000")
    assert pod.sh(third, "echo new")[1] == b"new\n"


def test_shim_killed(daemon, pod):
    """The pod is not ready any more; it can be removed, and another one made."""
    messages = proto.load("cri")
    cid = pod.start("sleep", "1000")
    sockets = {(daemon.bundle(name) / "address").read_text().removeprefix("unix://")
               for name in (pod.id, cid)}
    os.kill(daemon.shim_pid(pod.id), signal.SIGKILL)
    watch.eventually(lambda: pod.cri.PodSandboxStatus(pod_sandbox_id=pod.id).status.state ==
                     messages.SANDBOX_NOTREADY, 10)
    assert pod.wait(cid).exit_code in (137, 255)
    watch.eventually(lambda: not watch.adopted())
    if daemon.kind == "runc":
        for path in filter(os.path.exists, sockets):
            os.unlink(path)
    watch.eventually(lambda: not any(map(os.path.exists, sockets)), 5, "their sockets to go")


@ours("there is no VM")
def test_machine_killed(daemon, pod):
    messages = proto.load("cri")
    cid = pod.start("sleep", "1000")
    record = json.loads((daemon.state_root / "containers" / cid / "state.json").read_text())["Partition"]
    sandbox = json.loads((daemon.state_root / "partitions" / record / "sandbox.json").read_text())
    os.kill(sandbox["AgentPid"], signal.SIGKILL)
    watch.eventually(lambda: pod.cri.PodSandboxStatus(pod_sandbox_id=pod.id).status.state ==
                     messages.SANDBOX_NOTREADY, 10)
    assert pod.wait(cid).exit_code in (137, 255)
