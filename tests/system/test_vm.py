# SPDX-License-Identifier: Apache-2.0
"""Partitions that are VMs: their birth and death, what they are made of, and what breaks them.

Run with `--partition qemu`. Every test boots VMs of its own.
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import pytest

import container
import watch
from container import config, mount, namespaces, sh
from machine import Machine

ANSWER = 1                      # seconds until whoever waits is told that something has died
NAMES = {"qemu": "qemu-system", "virtiofsd": "virtiofsd", "vsock": "vhost-device-vs"}


def within(seconds, condition, what):
    """Strictly: not even an emulated CPU is an excuse."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.005)


def is_the_vm(pid):
    try:
        return b"vhost-" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def is_said(text):
    """A line, and below it what a daemon or the guest has said last."""
    first, *rest = text.splitlines()
    return first.startswith("hvrun: ") and text.endswith("\n") and all(line.startswith("  ") for line in rest)


def parts_of(sandbox):
    """{what: pid} of the processes of a partition, as far as they are there."""
    found = {"sandbox": sandbox}
    for pid in watch.descendants(sandbox):
        info = watch.stat(pid)
        for what, name in NAMES.items():
            # virtiofsd forks: the first is meant. And QEMU is tried with KVM, without devices, once for a --root.
            if info and info[0].startswith(name) and (what != "qemu" or is_the_vm(pid)):
                found.setdefault(what, pid)
    return found


def parts(hv, partition):
    return parts_of(hv.sandbox_pid(partition))


def new_sandbox():
    """The sandbox process that a client has just started, or None: a child of ours or of the client."""
    for pid in set(watch.descendants(os.getpid())) - watch.kept():
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[1:2] == [b"sandbox"]:
            return pid
    return None


def kill(pid, number=signal.SIGKILL):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def configure(hv, qemu=None, **more):
    """Another configuration; its file."""
    file = hv.place.path / "hvrun.json"
    file.write_text(json.dumps(dict({"qemu": qemu} if qemu else {}, **more)))
    hv.environment["HVRUN_CONFIG"] = str(file)
    return file


def sleeper(rootfs):
    return config("sleep", "1000", rootfs=rootfs)


@pytest.fixture
def box(hv, rootfs):
    """A container that sleeps, in a VM of its own."""
    return hv.background(sleeper(rootfs))


class Waiters:
    """Everybody who waits for containers of a partition."""

    def __init__(self, hv, rootfs, cid):
        self.hv, self.cid = hv, cid
        self.created = hv.create(sleeper(rootfs), "--pod", cid)
        bundle = hv.bundle(sleeper(rootfs), "waiter")
        self.processes = {
            "exec": hv.popen("exec", cid, "sleep", "1000"),
            "exec --vm": hv.popen("exec", "--vm", cid, "sleep", "1000"),
            "run": hv.popen("run", "--pod", cid, "--bundle", bundle, hv.new_id()),
            "events": hv.popen("events", cid),
            "logs": hv.popen("logs", "-f", cid),
        }
        watch.eventually(lambda: len(hv.list()) == 3 and
                         hv.outside("ps", "-o", "args").count("sleep 1000") >= 4)

    def told(self, seconds=ANSWER):
        """All of them end now; what they said."""
        deadline = time.monotonic() + seconds
        said = {}
        for name, process in self.processes.items():
            try:
                _, err = process.communicate(timeout=max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"{name} still waits after {seconds} s") from None
            said[name] = err.decode()
        for name in ("exec", "exec --vm", "run"):
            assert self.processes[name].returncode > 0, name
        assert watch.exit_status(self.hv.pid(self.created), 0.2) != 0
        return said


def gone(pids):
    """Nothing that served the VM is left. The sandbox process is there for its containers."""
    pids = [pid for what, pid in pids.items() if what != "sandbox"]
    within(ANSWER, lambda: not any(watch.alive(pid) for pid in pids), f"end of {pids}")


# Deaths

DEATHS = {
    "qemu": "was killed by signal 9",
    "virtiofsd": "virtiofsd was killed by signal 9",
    "vsock": "vhost-device-vsock was killed by signal 9",
    "sandbox": "",
}


@pytest.mark.long
@pytest.mark.parametrize("victim", DEATHS)
def test_killed_while_booting(hv, rootfs, victim):
    """Whoever waits for the VM is told what has become of it."""
    bundle = hv.bundle(sleeper(rootfs))
    for number in range(2):
        delay = random.Random(f"{victim} {number}").uniform(0, 1.5)
        client = hv.popen("run", "--bundle", bundle, hv.new_id())
        sandbox = watch.eventually(new_sandbox)
        pids = watch.eventually(lambda: (found := parts_of(sandbox)) and victim in found and
                                "qemu" in found and found)
        time.sleep(delay)
        kill(pids[victim])
        _, err = client.communicate(timeout=ANSWER)
        assert client.returncode == 1 and is_said(err.decode()), err
        assert DEATHS[victim].encode() in err, err
        gone(pids)
        assert hv.list() == []
        within(ANSWER, lambda: not hv.partitions(), "removal of the partition")


@pytest.mark.parametrize("victim", DEATHS)
def test_killed_while_it_runs(hv, rootfs, victim):
    cid = hv.background(sleeper(rootfs))
    waiters = Waiters(hv, rootfs, cid)
    pids = parts(hv, cid)
    kill(pids[victim])
    said = waiters.told()
    for name in ("exec", "exec --vm"):
        assert said[name].count("\n") == 1 and DEATHS[victim] in said[name], said
    gone(pids)
    assert {entry["status"] for entry in hv.list()} == {"stopped"}
    for words, status in ((("start", waiters.created), 1), (("exec", cid, "true"), 255),
                          (("kill", cid), 1), (("exec", "--vm", cid, "true"), 255), (("pause", cid), 1)):
        hv.fails(*words, status=status)
    # With a log that is left to say why.
    if victim != "sandbox":
        assert hv.run("logs", "--vm", cid).stdout
    for entry in hv.list():
        hv.run("delete", entry["id"])
    within(ANSWER, lambda: not hv.partitions(), "removal of the partition")


@pytest.mark.long
@pytest.mark.parametrize("victim", ["qemu", "virtiofsd", "vsock", "sandbox"])
def test_killed_while_a_container_is_made_or_deleted(hv, rootfs, victim):
    """The VM dies under a command: it ends with a line, or had already succeeded."""
    bundle = hv.bundle(sleeper(rootfs))
    for number, words in enumerate((("create", "--bundle", bundle), ("start",), ("delete", "--force"),
                                    ("exec", "-d"))):
        cid, second = hv.background(sleeper(rootfs)), hv.new_id()
        if words[0] != "create":
            hv.run("create", "--pod", cid, "--bundle", bundle, second)
            words = (*words, second)
        else:
            words = (*words, "--pod", cid, second)
        if words[0] == "exec":
            hv.run("start", second)
            words = (*words, "sleep", "1000")
        pids = parts(hv, cid)
        with open(hv.place.path / "err", "w+b") as err:
            client = hv.popen(*words, stdout=err, stderr=err)
            time.sleep(random.Random(f"{victim} {number}").uniform(0, 0.1))
            kill(pids[victim])
            client.wait(ANSWER)
            err.seek(0)
            text = err.read().decode()
        assert text.count("\n") == (1 if client.returncode else 0), (words, text)
        gone(pids)
        hv.run("delete", "--force", second)
        hv.run("delete", "--force", cid)
        assert hv.list() == []
        within(ANSWER, lambda: not hv.partitions(), "removal of the partition")


@pytest.mark.long
def test_killed_client_while_booting(hv, rootfs):
    """A VM that nobody waits for any more ends by itself."""
    bundle = hv.bundle(sleeper(rootfs))
    for number in range(3):
        client = hv.popen("run", "--bundle", bundle, hv.new_id())
        time.sleep(random.Random(number).uniform(0.01, 1))
        kill(client.pid)
        client.wait()
        within(ANSWER, lambda: not watch.adopted(), "end of the VM")


def test_panic(hv, rootfs):
    """The guest's kernel stops: that is said, and its last words are kept."""
    cid = hv.background(sleeper(rootfs))
    waiters = Waiters(hv, rootfs, cid)
    pids = parts(hv, cid)
    client = hv.popen("exec", "--vm", cid, "sh", "-c", "echo c > /proc/sysrq-trigger")
    # A panic takes an emulated CPU a while to print.
    watch.eventually(lambda: not watch.stat(pids["qemu"]), 2)
    said = waiters.told()
    assert "panic" in said["exec"], said
    client.communicate(timeout=ANSWER)
    gone(pids)
    log = hv.run("logs", "--vm", cid).stdout
    assert "Kernel panic" in log and "sysrq" in log.lower()


def test_shut_down_from_inside(hv, rootfs):
    """Whoever is root in the VM may end it; that is no failure of QEMU."""
    for command in ("kill -TERM 1", "echo o > /proc/sysrq-trigger"):
        cid = hv.background(sleeper(rootfs))
        waiters = Waiters(hv, rootfs, cid)
        pids = parts(hv, cid)
        hv.run("exec", "--vm", cid, "sh", "-c", command, status=None)
        watch.eventually(lambda: not watch.stat(pids["qemu"]), 2)
        said = waiters.told()
        assert said["exec"].count("\n") == 1, said
        gone(pids)
        for entry in hv.list():
            hv.run("delete", entry["id"])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_terminated_sandbox_process(hv, rootfs, number):
    """An orderly end, with the VM's."""
    cid = hv.background(sleeper(rootfs))
    pids = parts(hv, cid)
    kill(pids["sandbox"], number)
    watch.eventually(lambda: not watch.stat(pids["sandbox"]), 2)
    gone(pids)
    assert hv.status(cid) == "stopped"


# What a container can do to its VM


def works(hv, cid):
    assert hv.run("exec", cid, "echo", "well").stdout == "well\n"


@pytest.mark.long
def test_out_of_memory(hv, rootfs):
    """A container without a limit eats all that there is: it dies, and nobody else does."""
    configure(hv, {"memory": 128})
    other = hv.background(sleeper(rootfs))
    cid = hv.create(sh("sleep 0.2; exec tail /dev/zero", rootfs=rootfs), "--pod", other)
    events = hv.popen("events", "--interval", "1h", cid)
    time.sleep(0.2)
    hv.run("start", cid)
    assert watch.exit_status(hv.pid(cid), 20) == 137
    out, _ = events.communicate(timeout=10)
    kinds = [json.loads(line)["type"] for line in out.splitlines()]
    assert "oom" in kinds and kinds[-1] == "exit", out
    works(hv, other)
    assert hv.status(other) == "running"
    assert "Out of memory" in hv.run("logs", "--vm", other).stdout
    # Also one that eats it by files: the rest can go on, and all of it comes back.
    spec = sh("dd if=/dev/zero of=/dev/shm/x bs=1M; echo $?; sleep 1000", rootfs=rootfs)
    spec["mounts"] = [m for m in spec["mounts"] if m["destination"] != "/dev/shm"] + \
        [mount("/dev/shm", "tmpfs", "shm", "size=1g")]
    before = free_memory(hv)
    eater = hv.background(spec, "--pod", other)
    watch.eventually(lambda: hv.status(eater) == "stopped" or hv.run("logs", eater).stdout, 20)
    works(hv, other)
    hv.run("delete", "--force", eater)
    watch.eventually(lambda: free_memory(hv) > before - 8192, 2)


def free_memory(hv):
    return int(re.search(r"MemAvailable: +(\d+)", hv.outside("cat", "/proc/meminfo"))[1])


@pytest.mark.long
def test_agent_is_not_the_one_to_die(hv, box):
    """Of the kernel's choice, and by any signal from inside."""
    assert hv.outside("cat", "/proc/1/oom_score_adj").strip() == "-1000"
    assert int(hv.outside("cat", "/sys/fs/cgroup/hvagent/memory.min")) > 0
    assert hv.run("exec", box, "cat", "/proc/self/oom_score_adj").stdout.strip() == "0"
    assert hv.run("exec", "--vm", box, "cat", "/proc/self/oom_score_adj").stdout.strip() == "0"
    for number in (1, 3, 6, 9, 10, 11, 12, 13, 14, 19):
        hv.run("exec", "--vm", box, "sh", "-c", f"kill -{number} 1", status=None)
    works(hv, box)
    hv.run("exec", box, "sh", "-c", "kill -9 1", status=None)
    assert hv.status(box) == "running"


BOMB = "bomb() { while :; do bomb & done; }; bomb"


@pytest.mark.long
def test_fork_bomb_with_a_limit(hv, rootfs, box):
    spec = sh(BOMB, rootfs=rootfs)
    spec["linux"]["resources"]["pids"] = {"limit": 50}
    bomb = hv.background(spec, "--pod", box)
    time.sleep(1)
    works(hv, box)
    assert len(hv.run("ps", "--format", "json", bomb).json()) <= 50
    hv.run("delete", "--force", bomb)
    works(hv, box)


@pytest.mark.long
def test_fork_bomb(hv, rootfs, box):
    """Nothing holds it but the VM's end: it can still be deleted, and the others go on."""
    bomb = hv.background(sh(BOMB, rootfs=rootfs), "--pod", box)
    time.sleep(3)
    began = time.monotonic()
    hv.run("delete", "--force", bomb, timeout=20)
    print(f"a fork bomb was deleted in {time.monotonic() - began:.1f} s")
    works(hv, box)
    assert hv.status(box) == "running"


@pytest.mark.long
def test_full_file_systems_of_the_vm(hv, rootfs, box):
    """What the agent needs is not in what may be full; what cannot be made is said."""
    for place in ("/run", "/tmp", "/dev/shm", "/"):
        hv.outside("sh", "-c", f"dd if=/dev/zero of={place}/full bs=64k 2>/dev/null; true")
        works(hv, box)
        result = hv.run("run", "--pod", box, "--bundle", hv.bundle(config("true", rootfs=rootfs), "b"),
                        hv.new_id(), status=None)
        assert result.returncode == 0 or result.stderr.count("\n") == 1, repr(result)
        hv.outside("rm", f"{place}/full")
    hv.run("run", "--pod", box, "--bundle", hv.bundle(config("true", rootfs=rootfs), "b"), hv.new_id())


@pytest.mark.long
def test_output_that_nobody_reads(hv, rootfs, box):
    """100 MB stay where they are: neither the agent nor the sandbox process takes them."""
    read, write = os.pipe()
    spec = sh("head -c 100000000 /dev/zero; echo end >&2", rootfs=rootfs)
    run = hv.popen("run", "--pod", box, "--bundle", hv.bundle(spec, "loud"), hv.new_id(), stdout=write)
    os.close(write)
    time.sleep(1.5)
    assert run.poll() is None
    works(hv, box)
    assert agent_memory(hv) < 4096 and watch.rss(hv.sandbox_pid(box)) < 8192
    got = 0
    while data := os.read(read, 1 << 20):
        got += len(data)
    os.close(read)
    assert got == 100000000 and run.wait(20) == 0


def agent_memory(hv):
    """KiB of the agent that are resident."""
    return int(re.search(r"VmRSS:\s+(\d+)", hv.outside("cat", "/proc/1/status"))[1])


@pytest.mark.long
def test_many_containers_in_one_vm(hv, rootfs, box):
    fds, memory = len(watch.fds(hv.sandbox_pid(box))), agent_memory(hv)
    spec = sleeper(rootfs)
    ids = [hv.background(spec, "--pod", box) for _ in range(50)]
    assert len(hv.list()) == 51
    for cid in random.Random(1).sample(ids, 10):
        works(hv, cid)
    print(f"agent: {memory} KiB, with 50 containers more {agent_memory(hv)} KiB")
    assert agent_memory(hv) < 4096
    for cid in ids:
        hv.run("delete", "--force", cid)
    assert len(watch.fds(hv.sandbox_pid(box))) == fds
    assert hv.outside("ls", "/sys/fs/cgroup/hvrun").split().count(box) == 1
    assert not [cid for cid in ids if cid in hv.outside("ls", "/sys/fs/cgroup/hvrun", "/run/hvrun/share")]


@pytest.mark.long
def test_vms_one_after_another(hv, rootfs):
    """Nothing of them stays."""
    def state():
        # Other tests may run at the same time.
        return [line for line in watch.mounts() if str(hv.place.path) in line or "/tmp/hv" not in line], \
            sorted(watch.fds("self"))

    before = state()
    for _ in range(30):
        assert hv.run_spec(sh("echo well", rootfs=rootfs)).stdout == "well\n"
        within(ANSWER, lambda: not hv.partitions() and not watch.adopted(), "end of the VM")
        assert state() == before


def test_hung_vm_keeps_nobody(hv, rootfs):
    """Whoever waits for an answer that does not come can still be ended."""
    cid = hv.background(sleeper(rootfs))
    qemu = parts(hv, cid)["qemu"]
    os.kill(qemu, signal.SIGSTOP)
    with open(hv.place.path / "err", "w+b") as err:
        clients = [hv.popen(*words, stdout=err, stderr=err) for words in (
            ("exec", cid, "true"), ("exec", "-d", cid, "true"), ("exec", "--vm", cid, "true"))]
        time.sleep(0.5)
        for client in clients:
            assert client.poll() is None
            client.terminate()
        assert all(client.wait(5) for client in clients)
        err.seek(0)
        assert err.read().count(b"\n") == 2
    os.kill(qemu, signal.SIGCONT)
    works(hv, cid)
    watch.eventually(lambda: "true" not in hv.run("ps", cid).stdout)


def test_two_vms(hv, rootfs):
    first, second = [hv.background(sleeper(rootfs)) for _ in range(2)]
    third = hv.background(sleeper(rootfs), "--pod", second)
    assert sorted(hv.partitions()) == sorted([first, second])
    boots = {cid: hv.run("exec", cid, "cat", "/proc/sys/kernel/random/boot_id").stdout
             for cid in (first, second, third)}
    assert boots[first] != boots[second] == boots[third]
    kill(parts(hv, first)["qemu"])
    hv.wait_status(first, "stopped", ANSWER)
    works(hv, second)
    works(hv, third)
    hv.run("delete", "--force", second)
    works(hv, third)


# What a VM is made of


def refused(hv, rootfs, *words, timeout=5):
    """One line, in that time, and nothing is left."""
    bundle = hv.bundle(config("true", rootfs=rootfs), "refused")
    began = time.monotonic()
    result = hv.run("run", "--bundle", bundle, hv.new_id(), status=1, timeout=timeout)
    error = result.stderr
    assert time.monotonic() - began < timeout
    assert not result.stdout and is_said(error), repr(result)
    for word in words:
        assert word in error, error
    assert hv.list() == []
    within(ANSWER, lambda: not hv.partitions(), "removal of the partition")
    return error


@pytest.mark.parametrize("memory", [1, 16, 40, 64])
def test_too_little_memory(hv, rootfs, memory):
    """Said at once where it can be known, or when the kernel has failed; 64 MiB are enough or not."""
    configure(hv, {"memory": memory})
    began = time.monotonic()
    result = hv.run_spec(sh("echo well", rootfs=rootfs), status=None, timeout=30)
    took = time.monotonic() - began
    print(f"{memory} MiB: {took:.1f} s, {result!r}")
    assert took < 60
    if result.returncode or memory < 40:
        assert result.returncode == 1 and not result.stdout and is_said(result.stderr), repr(result)
        assert "memory" in result.stderr.lower() or "MiB" in result.stderr, repr(result)


@pytest.mark.parametrize("member", ["path", "kernel", "image", "virtiofsd", "vhostDeviceVsock"])
@pytest.mark.parametrize("file", ["/no/such/file", "/etc", "/etc/passwd", "/dev/null"])
def test_missing_parts(hv, rootfs, member, file):
    if member == "vhostDeviceVsock" and os.path.exists("/dev/vhost-vsock"):
        pytest.skip("the kernel's own is used here")
    configure(hv, {member: file})
    error = refused(hv, rootfs, timeout=20)
    assert file in error or file != "/no/such/file", error


@pytest.mark.long
def test_parts_that_hang(hv, rootfs):
    """It takes half a minute to be sure, but it is said who it was."""
    said = {"path": "QEMU does not start", "virtiofsd": "virtiofsd does not answer QEMU",
            "vhostDeviceVsock": "vhost-device-vsock is not ready within 5 s"}
    if os.path.exists("/dev/vhost-vsock"):
        del said["vhostDeviceVsock"]
    hanging = hv.place.path / "hanging"
    hanging.write_text("#!/bin/sh\nexec sleep 1000\n")
    hanging.chmod(0o755)
    hv.place.path.chmod(0o711)
    clients = {}
    for member in said:
        hv.environment["HVRUN_CONFIG"] = str(hv.place.path / f"{member}.json")
        pathlib.Path(hv.environment["HVRUN_CONFIG"]).write_text(json.dumps({"qemu": {
            member: str(hanging), "accelerator": "tcg"}}))
        clients[member] = hv.popen("run", "--bundle", hv.bundle(sleeper(rootfs), member), hv.new_id())
    for member, client in clients.items():
        _, err = client.communicate(timeout=40)
        assert client.returncode == 1 and said[member].encode() in err and is_said(err.decode()), (member, err)
    assert hv.list() == []
    within(ANSWER, lambda: not hv.partitions(), "removal of the partitions")


@pytest.mark.long
def test_no_guest_at_all(hv, rootfs):
    hv.environment["HVRUN_GUEST"] = str(hv.place.path)
    refused(hv, rootfs, "guest-image")


BAD_CONFIGS = [
    ("", "hvrun.json"), ("{", "hvrun.json"), ("[]", "hvrun.json"), ("nonsense", "hvrun.json"),
    ('{"qemo": {}}', "qemo"), ('{"qemu": {"mem": 5}}', "qemu.mem"), ('{"qemu": []}', "qemu"),
    ('{"qemu": {"memory": true}}', "qemu.memory"), ('{"qemu": {"memory": "12X"}}', "qemu.memory"),
    ('{"qemu": {"memory": -1}}', "qemu.memory"), ('{"qemu": {"memory": 0}}', "qemu.memory"),
    ('{"qemu": {"memory": 1e99}}', "qemu.memory"), ('{"qemu": {"cpus": 0}}', "qemu.cpus"),
    ('{"qemu": {"cpus": 100000}}', "qemu.cpus"), ('{"qemu": {"cpus": "two"}}', "qemu.cpus"),
    ('{"qemu": {"path": 5}}', "qemu.path"), ('{"qemu": {"path": "relative"}}', "qemu.path"),
    ('{"qemu": {"user": 0}}', "qemu.user"), ('{"qemu": {"accelerator": "xen"}}', "qemu.accelerator"),
    ('{"qemu": {"kernelArguments": "a -- b"}}', "qemu.kernelArguments"),
    ('{"qemu": {"kernelArguments": "a\\nb"}}', "qemu.kernelArguments"),
    ('{"annotations": "io.hvrun.memory"}', "annotations"), ('{"annotations": [5]}', "annotations"),
    ("x" * 2000000, "hvrun.json"),
]


def test_bad_configurations(hv, rootfs):
    file = configure(hv)
    for text, words in BAD_CONFIGS:
        file.write_text(text)
        error = refused(hv, rootfs, words)
        assert str(file) in error, error
    for special in ("/no/such/file", "/etc", "/dev/zero"):
        hv.environment["HVRUN_CONFIG"] = special
        refused(hv, rootfs, special)
    del hv.environment["HVRUN_CONFIG"]
    file.write_text("{")
    bundle = hv.bundle(config("true", rootfs=rootfs))
    assert str(file) in hv.fails("run", "--bundle", bundle, hv.new_id(), options=["--config", file])
    os.unlink(file)
    os.mkfifo(file)
    assert str(file) in hv.fails("run", "--bundle", bundle, hv.new_id(), options=["--config", file])


def annotated(rootfs, script, **annotations):
    spec = sh(script, rootfs=rootfs)
    spec["annotations"] = {f"io.hvrun.{name.replace('_', '-')}": value for name, value in annotations.items()}
    return spec


LOOK = "nproc; grep MemTotal /proc/meminfo; cat /proc/cmdline"


def test_annotations(hv, rootfs):
    """Whoever creates a container may choose what the machine's owner has listed, and nothing else."""
    spec = annotated(rootfs, LOOK, memory="320", cpus="2", kernel_arguments="loglevel=5 mark=1")
    configure(hv, {"kernelArguments": "own=1"})
    lines = hv.run_spec(spec).stdout.splitlines()
    assert lines[0] == "1" and int(lines[1].split()[1]) < 256 * 1024
    assert " own=1 " in lines[2] and "mark=1" not in lines[2]
    configure(hv, {"kernelArguments": "own=1"},
              annotations=["io.hvrun.memory", "io.hvrun.cpus", "io.hvrun.kernel-arguments"])
    lines = hv.run_spec(spec).stdout.splitlines()
    assert lines[0] == "2" and 256 * 1024 < int(lines[1].split()[1]) < 320 * 1024
    assert " own=1 " in lines[2] and " loglevel=5 mark=1 " in lines[2]
    for bad in (dict(memory="lots"), dict(memory="-5"), dict(cpus="0"), dict(cpus="x"), dict(memory=""),
                dict(kernel_arguments="a -- --parent x")):
        error = hv.fails("run", "--bundle", hv.bundle(annotated(rootfs, "true", **bad), "bad"), hv.new_id())
        assert "io.hvrun." in error, error


def test_cpus(hv, rootfs):
    configure(hv, {"cpus": 2})
    cid = hv.background(sleeper(rootfs))
    asked = dict(config("grep", "Cpus_allowed_list", "/proc/self/status")["process"],
                 execCPUAffinity={"initial": "0", "final": "1"})
    file = hv.place.path / "process.json"
    file.write_text(json.dumps(asked))
    assert hv.run("exec", "--process", file, cid).stdout.split() == ["Cpus_allowed_list:", "1"]
    spec = sh("grep Cpus_allowed_list /proc/self/status", rootfs=rootfs)
    spec["linux"]["resources"]["cpu"] = {"cpus": "1"}
    assert hv.run_spec(spec, "--pod", cid).stdout.split() == ["Cpus_allowed_list:", "1"]


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_rights_of_what_serves_a_vm(hv, box):
    """A guest that has taken over QEMU or the socket device has got hold of nobody."""
    pids = parts(hv, box)
    ours = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("pid", "net", "ipc", "uts", "mnt")}
    for what in ("qemu", "vsock"):
        if what not in pids:
            continue
        status = status_of(pids[what])
        assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4, what
        assert status["Groups"] in ("", "65534"), what
        assert {int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd")} == {0}
        assert status["NoNewPrivs"] == "1", what
        for name in ("net", "ipc", "uts"):
            assert os.readlink(f"/proc/{pids[what]}/ns/{name}") != ours[name], (what, name)
        secret = [link for link in watch.fds(pids[what]) if link.startswith("/") and
                  not link.startswith(("/dev/", "/memfd:", "/tmp/hv")) and
                  not link.endswith(("/vmlinux", "/vmlinuz", "/hvrun-guest.img"))]
        assert not secret, f"{what} has open: {secret}"
    assert status_of(pids["qemu"])["Seccomp"] == "2"
    limit = re.search(r"Max open files +(\d+) +(\d+)", pathlib.Path(f"/proc/{pids['virtiofsd']}/limits").read_text())
    assert limit[1] == limit[2]
    for name in ("pid", "net", "mnt"):
        inner = watch.descendants(pids["virtiofsd"]) or [pids["virtiofsd"]]
        assert os.readlink(f"/proc/{inner[-1]}/ns/{name}") != ours[name], name


def test_clock(hv, rootfs):
    """Right when the VM starts, and at once after it was paused."""
    cid = hv.background(sh("while :; do echo x; sleep 0.1; done", rootfs=rootfs))

    def difference():
        before = time.time()
        return before - float(hv.run("exec", cid, "date", "+%s").stdout)

    assert abs(difference()) < 2
    hv.run("pause", "--vm", cid)
    assert hv.status(cid) == "paused"
    assert "paused" in hv.fails("exec", cid, "true", status=255)
    hv.fails("pause", "--vm", cid)
    lines = hv.run("logs", cid).stdout
    time.sleep(5)
    assert hv.run("logs", cid).stdout == lines
    hv.run("resume", "--vm", cid)
    assert abs(difference()) < 2
    assert hv.status(cid) == "running"
    watch.eventually(lambda: len(hv.run("logs", cid).stdout) > len(lines))
    hv.fails("resume", "--vm", cid)
    hv.run("pause", "--vm", cid)
    hv.run("delete", "--force", cid)


@pytest.mark.long
def test_killed_while_paused(hv, rootfs):
    for victim in ("qemu", "virtiofsd", "sandbox"):
        cid = hv.background(sleeper(rootfs))
        waiter = hv.popen("exec", cid, "sleep", "1000")
        watch.eventually(lambda: hv.outside("ps", "-o", "args").count("sleep 1000") == 2)
        pids = parts(hv, cid)
        hv.run("pause", "--vm", cid)
        kill(pids[victim])
        assert waiter.wait(ANSWER) > 0
        gone(pids)
        hv.run("delete", "--force", cid)


# What the VM itself can be asked for


def test_processes_of_the_vm(hv, box):
    result = hv.run("exec", "--vm", box, "sh", "-c", "cat; echo err >&2; exit 7", input="in", status=7)
    assert (result.stdout, result.stderr) == ("in", "err\n")
    assert hv.run("exec", "--vm", box, "cat", "/proc/1/comm").stdout in ("init\n", "hvagent\n")
    hv.fails("exec", "--vm", box, "nosuch", status=255)
    hv.fails("exec", "--vm", "nobody", "true", status=255)
    # Another kernel than ours.
    ours = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()
    assert hv.outside("cat", "/proc/sys/kernel/random/boot_id") != ours


def test_logs_of_the_vm(hv, rootfs, box):
    log = hv.run("logs", "--vm", box).stdout
    assert "Linux version" in log and re.search(r"hvagent: .*negotiated", log)
    follow = hv.popen("logs", "--vm", "-f", box)
    hv.outside("sh", "-c", "echo a word from inside > /dev/kmsg")
    watch.eventually(lambda: "a word from inside" in hv.run("logs", "--vm", box).stdout)
    hv.run("delete", "--force", box)
    out, _ = follow.communicate(timeout=5)
    assert b"a word from inside" in out


@pytest.mark.long
def test_flood_of_the_kernel_log(hv, box):
    """Whoever writes there holds up nobody, and the log keeps a bound."""
    hv.outside("sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo '<6>" + "x" * 500 +
               " '$i > /dev/kmsg; i=$((i+1)); done")
    works(hv, box)
    size = sum(path.stat().st_size for path in (hv.root / "partitions" / box).glob("*log*"))
    assert size < 64 << 20


def test_figures_of_the_vm(hv, box):
    figures = hv.run("stats", "--vm", "--format", "json", box).json()
    text = json.dumps(figures).lower()
    for word in ("guest", "agent", "sandbox"):
        assert word in text, text
    assert hv.run("stats", box).stdout and hv.run("stats", "--vm", box).stdout


def test_environment_of_the_vm(hv, box):
    """What the agent has made as its first process."""
    mounts = [line.split()[1:3] for line in hv.outside("cat", "/proc/mounts").splitlines()]
    for point, kind in (("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "devtmpfs"), ("/dev/pts", "devpts"),
                        ("/sys/fs/cgroup", "cgroup2"), ("/run", "tmpfs"), ("/tmp", "tmpfs")):
        assert [point, kind] in mounts, point
    assert set(hv.outside("cat", "/sys/fs/cgroup/cgroup.subtree_control").split()) >= \
        {"cpu", "memory", "pids", "io", "cpuset"}
    assert "LOOPBACK,UP" in hv.outside("ip", "link", "show", "lo")
    assert hv.outside("cat", "/proc/sys/kernel/core_pattern").strip() in ("", "core", "|/bin/false")
    assert hv.outside("sh", "-c", "ulimit -c").strip() == "0"
    # Readers of random numbers do not wait.
    assert int(hv.outside("cat", "/proc/sys/kernel/random/entropy_avail")) >= 256
    assert hv.outside("cat", "/proc/sys/kernel/tainted").strip() in ("0", "4096", "8192", "12288")


@pytest.mark.long
def test_network_of_pids_that_callers_get(hv, rootfs, place):
    """Who puts devices into the network of such a process, docker does, leaves the host's alone."""
    spec = sh("sleep 100", rootfs=rootfs)
    pid = f"sed 's/.*pid\":\\([0-9]*\\).*/\\1/' {place.path}/{{0}}"
    script = f"cat >{place.path}/{{0}}; readlink /proc/$({pid})/ns/net >{place.path}/{{0}}.net"
    spec["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script.format(kind)]}]
                     for kind in ("prestart", "createRuntime", "poststart")}
    box = hv.create(spec)
    hv.run("start", box)
    networks = [(place.path / f"{kind}.net").read_text().strip() for kind in spec["hooks"]]
    networks.append(os.readlink(f"/proc/{hv.state(box)['pid']}/ns/net"))
    assert all(re.fullmatch(r"net:\[\d+\]", network) for network in networks)
    assert os.readlink("/proc/self/ns/net") not in networks


def test_network_namespace_of_the_host(hv, rootfs):
    """Engines name one for every container; in a VM it gets one of its own."""
    path = hv.place.path / "netns"
    path.touch()
    subprocess.run(["unshare", f"--net={path}", "true"], check=True)
    try:
        spec = namespaces(sh("ip link; readlink /proc/self/ns/net", rootfs=rootfs), "pid", "mount", "uts", "ipc",
                          ("network", path))
        result = hv.run_spec(spec)
        assert result.stdout.count(": lo:") == 1 and result.stdout.count("\n") < 5
    finally:
        subprocess.run(["umount", path], check=True)


# Images as roots


MAKE = {
    "ext4": lambda rootfs, file: [["truncate", "-s", "16M", file], ["mkfs.ext4", "-q", "-d", rootfs, file]],
    "erofs": lambda rootfs, file: [["mkfs.erofs", "--quiet", file, rootfs]],
    "squashfs": lambda rootfs, file: [["mksquashfs", rootfs, file, "-quiet", "-no-progress"]],
}


@pytest.fixture(scope="module")
def images(rootfs, tmp_path_factory):
    """{type: file} of the root file system."""
    folder = tmp_path_factory.mktemp("images")
    made = {}
    for kind, commands in MAKE.items():
        made[kind] = folder / f"{kind}.img"
        for command in commands(rootfs, made[kind]):
            subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.mark.long
def test_images(hv, images):
    """Containers write to layers of their own, and to the image nobody does."""
    before = {kind: file.read_bytes() for kind, file in images.items()}
    first = None
    for kind, file in images.items():
        script = f"cat /etc/passwd | head -n 1; echo {kind} > /new; cat /new; awk '$5 == \"/\"' " \
                 "/proc/self/mountinfo | sed 's/.* - //' | cut -d' ' -f1; sleep 1000"
        pod = ("--pod", first) if first else ()
        one = hv.background(sh(script, rootfs=file), *pod)
        first = first or one
        two = hv.background(sh("ls /new 2>&1; echo done; sleep 1000", rootfs=file), "--pod", first)
        lines = watch.eventually(lambda: (text := hv.run("logs", one).stdout).count("\n") == 3 and text)
        assert lines.split("\n")[:3] == ["root:x:0:0:root:/root:/bin/sh", kind, "overlay"]
        watch.eventually(lambda: "done" in hv.run("logs", two).stdout)
        assert hv.run("logs", two).stdout == "ls: /new: No such file or directory\ndone\n"
        spec = sh("touch /x 2>&1; true", rootfs=file)
        spec["root"]["readonly"] = True
        assert "Read-only" in hv.run_spec(spec, "--pod", first).stdout
        hv.run("delete", "--force", two)
        if one != first:
            hv.run("delete", "--force", one)
    assert {kind: file.read_bytes() for kind, file in images.items()} == before


@pytest.mark.long
def test_bad_images(hv, rootfs, place):
    empty, garbage, torn = [place.path / name for name in ("empty", "garbage", "torn")]
    empty.write_bytes(b"")
    garbage.write_bytes(os.urandom(1 << 20))
    torn.write_bytes(bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(8192))
    box = hv.background(sleeper(rootfs))
    for file in (empty, garbage, torn):
        bundle = hv.bundle(config("true", rootfs=file), "bad")
        error = hv.fails("run", "--pod", box, "--bundle", bundle, hv.new_id())
        assert str(file) in error or "file system" in error, error
    works(hv, box)


# A VM that somebody else has started


@pytest.fixture
def own_vm(hv):
    """As contrib/guest-image/README.md says: nothing of hvrun is in it but the image."""
    vm = Machine(hv.place.path / "vm")
    try:
        vm.start("console=ttyS0 quiet panic=-1", "--parent vsock:host --port 5000 --host-timeout 20")
        yield vm
    finally:
        vm.close()


def test_attach(hv, own_vm):
    """Paths are the VM's, and it goes on when the partition ends."""
    hv.driver = f"attach=hybrid://{own_vm.base}:5000"
    for _ in range(2):
        spec = sh("echo from $(uname -s); exit 5", rootfs="/usr")
        spec["process"]["env"] = ["PATH=/bin"]
        spec["mounts"] = [mount("/lib", "tmpfs", "tmpfs")]
        spec["linux"]["maskedPaths"] = spec["linux"]["readonlyPaths"] = []
        result = hv.run_spec(spec, status=None, timeout=30)
        assert (result.returncode, result.stdout) == (5, "from Linux\n"), repr(result)
        assert not hv.partitions()
        assert own_vm.runs()


@pytest.mark.long
def test_attach_to_nothing(hv, rootfs):
    for driver in (f"attach=hybrid://{hv.place.path}/none", "attach=", "attach=nonsense://x", "attach=vsock://x",
                   "qemu=x", "moon"):
        hv.driver = driver
        bundle = hv.bundle(config("true", rootfs=rootfs))
        began = time.monotonic()
        hv.fails("run", "--bundle", bundle, hv.new_id(), timeout=30)
        assert time.monotonic() - began < 75
    hv.driver = "qemu"
