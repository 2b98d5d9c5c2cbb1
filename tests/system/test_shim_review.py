# SPDX-License-Identifier: Apache-2.0
"""What happens to a shim's requests when something else happens meanwhile: a container deleted while
its processes start or end, workers that are killed, ends in the middle of everything."""

import json
import os
import signal
import subprocess
import time

import pytest

import container
import proto
import shimclient
import ttrpc
import watch
from container import config
from shimclient import RUNNING, STOPPED, Refused, Stdio
from ttrpc import ALREADY_EXISTS, FAILED_PRECONDITION, NOT_FOUND

ours = pytest.mark.ours


def partition_pid(host):
    """What runs the containers: an agent or a VM."""
    record = json.loads(next(iter(host.state_root.glob("partitions/*/sandbox.json"))).read_text())
    return record["AgentPid"]


def workers(host, box):
    """Processes of the shim's that make a container, without what they have started."""
    name = watch.stat(host.shim_pid(box))[0]
    return [pid for pid in watch.children(host.shim_pid(box)) if (watch.stat(pid) or [None])[0] == name]


def gone(box):
    return lambda: not os.path.exists(ttrpc.unix_path(box.address))


def hooks(spec, **kinds):
    """Each a script of the shell on the host."""
    spec["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}] for kind, script in kinds.items()}
    return spec


# Starts that fail


@ours("a Wait for an exec without streams has no end")
def test_wait_for_an_exec_whose_streams_are_missing(host):
    """Its start is refused, and whoever waits for it hears that it has ended."""
    box = host.sleeper()
    late = box.add("true")
    waiting = box.task.begin("Wait", **late.names())
    late.stdio.out.close()
    os.unlink(late.stdio.out.path)
    box.task.refuses("Start", NOT_FOUND, ttrpc.UNKNOWN, **late.names())
    assert box.task.finish(waiting, 5).exit_status
    assert late.status() == STOPPED
    late.delete()
    assert not [event for event in host.server.of(box.id) if "start" in event.topic and "exec" in event.topic]


# Delete, in the middle of something


@ours("it does not hold back the exit")
def test_delete_while_execs_end(host):
    """The container has ended when all of it has: before that it is not deleted, and no exit is lost."""
    box = host.sleeper()
    stdio = Stdio(host.folder("slow"))
    slow = box.add("sh", "-c", "yes", stdio=stdio).start()
    waits = [box.task.begin("Wait", **process.names()) for process in (box, slow)]
    stdio.out.read(5, 10)
    time.sleep(0.5)
    box.kill()
    time.sleep(0.5)
    assert box.status() == RUNNING and not box.task.is_done(waits[0])
    box.task.refuses("Delete", FAILED_PRECONDITION, id=box.id)
    stdio.out.all()
    assert [box.task.finish(wait).exit_status for wait in waits] == [137, 137]
    box.delete()
    watch.eventually(lambda: "delete" in host.server.topics(box.id))
    assert host.server.topics(box.id)[-3:] == [f"exit {slow.exec_id}", "exit", "delete"]


@ours("its hooks are run by runc")
def test_delete_while_a_hook_runs(host):
    """A start waits for its hooks; it is answered when the container goes before they have ended."""
    box = host.create(hooks(config("sleep", "1000"), poststart="sleep 3"))
    starting = box.task.begin("Start", id=box.id)
    watch.eventually(lambda: host.server.of(box.id, "/tasks/start"))
    box.kill()
    assert box.wait() == 137
    box.delete()
    with pytest.raises(Refused):
        box.task.finish(starting, 2)
    watch.eventually(lambda: not workers(host, box), 5)


@ours("others do not know its containers")
def test_deleted_by_others(host, place):
    """Every process has ended then, and is told so; what containerd asks for afterwards is as always."""
    box = host.sleeper()
    e = box.add("sleep", "1000").start()
    waits = [box.task.begin("Wait", **process.names()) for process in (box, e)]
    host.hvrun().run("delete", "-f", box.id)
    assert [box.task.finish(wait).exit_status for wait in waits] == [137, 137]
    assert box.status() == STOPPED and box.task.Pids(id=box.id).processes
    for method in ("Pause", "Stats"):
        with pytest.raises(Refused):
            getattr(box.task, method)(id=box.id)
    box.task.refuses("Kill", NOT_FOUND, id=box.id, signal=9)
    e.delete()
    assert box.delete().exit_status == 137
    watch.eventually(lambda: "delete" in host.server.topics(box.id))
    assert host.server.topics(box.id)[-3:] == [f"exit {e.exec_id}", "exit", "delete"]


# Create, in the middle of it


@ours("its runc makes the container")
@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_hook_that_fails(host, kind):
    """Who called is told what it said, and nothing of the container stays."""
    box = host.make(hooks(config("sleep", "1000"), **{kind: "echo no network here >&2; exit 3"}))
    text = box.task.refuses("Create", ttrpc.UNKNOWN, id=box.id, bundle=str(box.bundle),
                            rootfs=[host.rootfs_mount()], **box.stdio.fields())
    assert kind in text and "exit status 3" in text and "no network here" in text
    assert not host.hvrun().list()
    assert not any(str(box.bundle) in line for line in watch.mounts(host.shim_pid(box)))


@ours("its runc makes the container")
def test_maker_killed(host):
    """Nothing of the container stays, and its name can be used again."""
    box = host.make(hooks(config("sleep", "1000"), createRuntime="exec sleep 100"))
    creating = box.task.begin("Create", id=box.id, bundle=str(box.bundle), rootfs=[host.rootfs_mount()],
                              **box.stdio.fields())
    watch.eventually(lambda: any(watch.children(pid) for pid in workers(host, box)))
    box.task.refuses("Create", ALREADY_EXISTS, id=box.id, bundle=str(box.bundle))
    for method in ("State", "Delete", "Pids", "Wait"):
        box.task.refuses(method, NOT_FOUND, id=box.id)
    box.task.Shutdown(id=box.id)
    hook = [pid for worker in workers(host, box) for pid in watch.children(worker)]
    watch.kill(workers(host, box))
    with pytest.raises(Refused):
        box.task.finish(creating, 20)
    watch.kill(hook)
    assert not host.hvrun().list()
    assert not any(str(box.bundle) in line for line in watch.mounts(host.shim_pid(box)))
    (box.bundle / "config.json").write_text(json.dumps(config("echo", "again")))
    box.create()
    assert box.run()[:2] == (0, b"again\n")
    box.delete()
    assert not any(str(box.bundle) in line for line in watch.mounts(host.shim_pid(box)))


@ours("there is no VM")
@pytest.mark.parametrize("when", ["before", "during"])
def test_machine_killed_around_create(host, when):
    spec = config("sleep", "1000")
    box = host.make(hooks(spec, createRuntime="sleep 2") if when == "during" else spec)
    pid = watch.eventually(lambda: partition_pid(host))
    if when == "before":
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
    creating = box.task.begin("Create", id=box.id, bundle=str(box.bundle), rootfs=[host.rootfs_mount()],
                              **box.stdio.fields())
    if when == "during":
        watch.eventually(lambda: any(watch.children(pid) for pid in workers(host, box)))
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(Refused) as refused:
        box.task.finish(creating, 10)
    assert "\n" not in refused.value.text
    box.task.refuses("State", NOT_FOUND, id=box.id)
    assert not any(str(box.bundle) in line for line in watch.mounts(host.shim_pid(box)))
    box.shutdown()
    watch.eventually(gone(box))


# The end of the shim


@ours("it takes SIGTERM for nothing")
def test_terminated_with_containers(host):
    """Whoever waits is told, every exit is an event, and nothing stays but what `delete` removes."""
    box = host.sleeper()
    e = box.add("sleep", "1000").start()
    waits = [box.task.begin("Wait", **process.names()) for process in (box, e)]
    began = time.monotonic()
    os.kill(host.shim_pid(box), signal.SIGTERM)
    assert [box.task.finish(wait).exit_status for wait in waits] == [137, 137]
    watch.eventually(gone(box))
    watch.eventually(lambda: not watch.adopted())
    assert time.monotonic() - began < 3 * watch.PATIENCE
    assert host.server.topics(box.id)[-2:] == [f"exit {e.exec_id}", "exit"]
    box.deleted = True
    host.delete(box)


@ours("it takes SIGTERM for nothing")
def test_terminated_with_a_start_under_way(host):
    """By an agent that does not answer."""
    box = host.sleeper()
    e = box.add("sleep", "1000")
    pid, shim = partition_pid(host), host.shim_pid(box)
    os.kill(pid, signal.SIGSTOP)
    box.task.begin("Start", **e.names())
    box.task.begin("Stats", id=box.id)
    assert box.status() == RUNNING
    for _ in range(2):
        os.kill(shim, signal.SIGTERM)
        time.sleep(0.3)
    watch.eventually(lambda: not watch.adopted())
    assert watch.exit_status(shim) == 0
    box.deleted = True
    host.delete(box)


@ours("it knows no sandboxes")
@pytest.mark.parametrize("how", ["shutdown", "stop"])
def test_sandbox_ended_with_containers(host, how):
    """Waits for processes and for the sandbox are answered, and exits are events, also without a Stop."""
    box = host.make(config("sleep", "1000"))
    sandbox = shimclient.sandbox_service(box.task.client)
    sandbox.CreateSandbox(sandbox_id=box.id, bundle_path=str(box.bundle))
    sandbox.StartSandbox(sandbox_id=box.id)
    box.create().start()
    waits = [box.task.begin("Wait", id=box.id), sandbox.begin("WaitSandbox", sandbox_id=box.id)]
    if how == "stop":
        sandbox.StopSandbox(sandbox_id=box.id, timeout_secs=5)
        assert box.status() == STOPPED
        sandbox.PingSandbox(sandbox_id=box.id)
    sandbox.ShutdownSandbox(sandbox_id=box.id)
    assert box.task.finish(waits[0]).exit_status == 137
    sandbox.finish(waits[1])
    watch.eventually(gone(box))
    watch.eventually(lambda: not watch.adopted())
    assert host.server.topics(box.id)[-1] == "exit"
    box.deleted = True
    host.delete(box)


# Numbers that come round


@ours("its processes are the host's")
def test_process_number_that_comes_round(host, place):
    """What is done to an exec that has ended is not done to a later one with its number."""
    box = host.sleeper()
    ended = box.add("true")
    ended.run()
    os.kill(host.shim_pid(box), signal.SIGUSR1)
    watch.eventually(lambda: b"exec e1: " in host.server.log)
    number = int(bytes(host.server.log).rpartition(b"exec e1: stopped, process ")[2].split(b"\"")[0].split()[0])
    hv = host.hvrun()
    for attempt in range(20):
        later = box.add("sh", "-c", "read x; echo $x", stdin=True)
        hv.run("exec", "--vm", box.id, "sh", "-c", f"echo {number - 1 - attempt % 4} >/proc/sys/kernel/ns_last_pid")
        later.start()
        os.kill(host.shim_pid(box), signal.SIGUSR1)
        text = f"exec {later.exec_id}: running, process {number}".encode()
        try:
            watch.eventually(lambda: text in host.server.log, 0.3)
        except TimeoutError:
            later.kill()
            later.wait()
            later.delete()
            later.stdio.close()
            continue
        break
    else:
        pytest.skip("the number does not come round")
    ended.delete()
    later.stdio.write(b"here\n")
    assert later.result()[:2] == (0, b"here\n")


# What is the machine's


def test_outputs_that_nobody_reads(host):
    """Their last words wait, and take nothing that is scarce: root has 128 instances of inotify."""
    box = host.sleeper()
    execs = []
    for _ in range(10):
        stdio = Stdio(host.folder("unread"))
        stdio.close()
        execs.append(box.add("sh", "-c", "echo out; echo error >&2", stdio=stdio).start())
    assert [process.wait(20) for process in execs] == [0] * len(execs)
    opened = watch.fds(host.shim_pid(box))
    assert sum("inotify" in name for name in opened) <= 1
    for process in execs[:5]:
        process.stdio.out.open()
        process.stdio.err.open()
        assert process.result()[1:] == (b"out\n", b"error\n")
    for process in execs:
        process.delete()
    if not host.is_runc:
        assert not any("inotify" in name for name in watch.fds(host.shim_pid(box)))


# Root file systems


def overlay(*lowers, **more):
    options = ["lowerdir=" + ":".join(map(str, lowers)), *(f"{key}dir={path}" for key, path in more.items())]
    return proto.load("task").Mount(type="overlay", source="overlay", options=options)


def in_shim(host, box, path):
    """What the shim has mounted below that path."""
    return [line for line in watch.mounts(host.shim_pid(box)) if str(path) in line]


@pytest.mark.parametrize("count", [100, 300])
def test_many_layers(host, place, count):
    """Their paths are more than a page, which is all that mount(2) takes."""
    snapshots = place.path / ("x" * 60)
    layers = [snapshots / str(number) / "fs" for number in range(count)]
    for number, layer in enumerate(layers):
        layer.mkdir(parents=True)
        (layer / f"file{number}").write_text("")
    for name in ("upper", "work"):
        (snapshots / name).mkdir()
    box = host.make(config("sh", "-c", "ls / | grep -c ^file; echo >/new"))
    root = container.clone_rootfs(host.rootfs, snapshots / "root")
    box.create(rootfs=[overlay(*layers, root, upper=snapshots / "upper", work=snapshots / "work")])
    assert box.run()[:2] == (0, f"{count}\n".encode())
    box.delete()
    assert (snapshots / "upper/new").exists()
    assert not in_shim(host, box, box.bundle)


@ours("it mounts what it is told where it is told")
@pytest.mark.parametrize("target", ["/../../../outside", "link", "link/x", "../rootfs-x"])
def test_mount_target_that_leads_out(host, place, target):
    """It is in the root, whatever its path says, or nothing is mounted."""
    outside = place.path / "outside"
    outside.mkdir()
    lower = place.path / "lower"
    lower.mkdir()
    (lower / "link").symlink_to(outside)
    data = place.path / "data"
    data.mkdir()
    mount = proto.load("task").Mount(type="bind", source=str(data), target=target, options=["bind"])
    box = host.make(config("true"))
    with pytest.raises(Refused):
        box.create(rootfs=[overlay(lower, host.rootfs), mount])
    assert not in_shim(host, box, outside)
    assert not in_shim(host, box, box.bundle)


def test_snapshots_can_be_removed_while_the_pod_lives(host, place):
    """What a deleted member had mounted keeps nothing of the host's in use."""
    disk, shared = place.path / "disk", place.path / "shared"
    snapshots = shared / "snapshots"
    snapshots.mkdir(parents=True)
    subprocess.run(["mke2fs", "-qF", "-t", "ext4", disk, "8M"], check=True)
    # As all mounts are where systemd runs.
    subprocess.run(["mount", "--bind", "--make-shared", shared, shared], check=True)
    first = host.sleeper()
    subprocess.run(["mount", "-o", "loop", disk, snapshots], check=True)
    device = [line.split()[0] for line in open("/proc/mounts") if str(snapshots) in line][0]
    try:
        for name in ("lower", "upper", "work"):
            (snapshots / name).mkdir()
        for kind in ("overlay", "bind"):
            second = host.make(config("sleep", "1000"), annotations={shimclient.GROUP: first.id})
            mounts = [overlay(snapshots / "lower", host.rootfs, upper=snapshots / "upper",
                              work=snapshots / "work")] if kind == "overlay" else [
                host.rootfs_mount(), proto.load("task").Mount(type="bind", source=str(snapshots / "lower"),
                                                              target="/mnt", options=["bind"])]
            second.create(rootfs=mounts).start()
            assert second.sh("ls /mnt")[0] == 0
            second.kill()
            second.wait()
            second.delete()
            assert not in_shim(host, first, second.bundle)
    finally:
        subprocess.run(["umount", snapshots], check=True)
        subprocess.run(["umount", shared], check=True)

    def is_free():
        return not os.path.exists(f"/sys/block/{os.path.basename(device)}/loop/backing_file")
    watch.eventually(is_free, 5, "the end of the file system")
    assert first.status() == RUNNING
