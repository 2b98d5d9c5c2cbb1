# SPDX-License-Identifier: Apache-2.0
"""ModifySettings of the VM: layers, disks and directories, on a bare agent.

The kernel of this machine has no SCSI bus, so the agent is shown a directory of one, in its own
mount namespace; its disks are loop devices. All else is real: file systems, mounts, events.
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import time

import pytest

import bridge as b
import container
import watch
from container import config, sh

MIB = 1 << 20


def modify(bridge, kind, settings, op="Add", cid=b.NULL_CID, result=0, timeout=20):
    return bridge.call("ModifySettings", request(kind, settings, op), cid, result, timeout)


def request(kind, settings, op="Add"):
    return {"Request": {"RequestType": op, "ResourceType": kind, "Settings": settings}}


def refused(bridge, kind, settings, text, op="Add", result=b.FAIL, timeout=20):
    answer = modify(bridge, kind, settings, op, result=result, timeout=timeout)
    assert text in answer["ErrorMessage"]


@pytest.fixture(params=["plain", "session"])
def bridge(agent, request):
    return getattr(agent, request.param)()


@pytest.fixture
def run(place):
    """A folder below /run, of which nothing may be left but what the test has made itself."""
    path = pathlib.Path("/run") / place.token
    path.mkdir()
    yield path
    shutil.rmtree(path / "test", ignore_errors=True)
    left = sorted(str(p) for p in path.rglob("*"))
    shutil.rmtree(path)
    assert not left


@pytest.fixture
def layers(run, rootfs):
    """Two layers: the root file system, and one on top of it that adds and hides."""
    base = container.clone_rootfs(rootfs, make(run / "test") / "base")
    (base / "etc/hidden").write_text("below")
    (base / "etc/kept").write_text("base")
    top = make(run / "test/top/etc").parent
    (top / "etc/hidden").write_text("above")
    top.chmod(0o751)
    return [{"Path": str(top)}, {"Path": str(base)}]


def make(path):
    path.mkdir(parents=True, exist_ok=True)
    return path


def in_agent(agent, *args):
    subprocess.run(["nsenter", "-t", str(agent.pid), "-m", *args], check=True, timeout=10)


def mounted(agent, path):
    return [m for m in agent.all_mounts() if f" {path} " in m]


# Layers


@pytest.mark.parametrize("order", ["theirs", "ours"])
def test_container_on_layers(agent, bridge, run, layers, order):
    root = run / "c/rootfs"
    settings = {"ContainerRootPath": str(root), "Layers": layers, "ScratchType": "tmpfs",
                "ScratchSize": 4 * MIB}
    modify(bridge, "CombinedLayers", settings)
    script = """cat /etc/hidden /etc/kept; stat -c :%a:%u /; echo new > /etc/kept; rm /etc/hidden
                ls /etc/hidden 2>&1; cat /etc/kept; df -k / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2
                dd if=/dev/zero of=/big bs=1M count=5 2>&1 | grep -c "No space" """
    cid = agent.create(sh(script, rootfs=root))
    code, out, err = bridge.start(cid).finish()
    lines = out.decode().splitlines()
    assert lines[:4] == ["abovebase:751:0", "ls: /etc/hidden: No such file or directory", "new", "4096"]
    assert lines[4] == "1", err
    if order == "ours":
        bridge.delete(cid)
    modify(bridge, "CombinedLayers", {"ContainerRootPath": str(root)}, "Remove")
    if order == "theirs":
        bridge.delete(cid)
    assert (run / "test/base/etc/kept").read_text() == "base"
    assert not (run / "c").exists()


@pytest.mark.parametrize("scratch", ["c/scratch/c", "disk/scratch/c"], ids=["v1", "v2"])
def test_scratch_path(agent, bridge, run, layers, scratch):
    """As Microsoft's hosts lay it out: below the bundle, or elsewhere with the bundle bound."""
    root, scratch = run / "c/rootfs", run / scratch
    settings = {"ContainerID": "x", "ContainerRootPath": str(root), "Layers": layers,
                "ScratchPath": str(scratch)}
    modify(bridge, "CombinedLayers", settings)
    bound = "disk" in str(scratch)
    assert (scratch / "bundle").exists() == bound
    assert bool(mounted(agent, run / "c")) == bound
    cid = agent.new_id()
    bridge.create(cid, sh("echo kept > /file; cat /etc/hidden", rootfs=root), run / "c",
                  ScratchDirPath=str(scratch))
    assert bridge.start(cid).finish()[:2] == (0, b"above")
    assert (scratch / "upper/file").read_text() == "kept\n"
    modify(bridge, "CombinedLayers", settings, "Remove")
    bridge.delete(cid)
    assert not mounted(agent, run / "c")
    assert not scratch.exists()
    for path in ("disk/scratch", "disk", "c/scratch", "c"):
        if (run / path).exists():
            (run / path).rmdir()        # a disk's mount point, in truth


def test_bundle_of_no_container(agent, bridge, run, layers):
    settings = {"ContainerRootPath": str(run / "c/rootfs"), "Layers": layers,
                "ScratchPath": str(run / "test/scratch")}
    modify(bridge, "CombinedLayers", settings)
    assert mounted(agent, run / "c")
    modify(bridge, "CombinedLayers", settings, "Remove")
    assert not mounted(agent, run / "c")


@pytest.mark.parametrize("count", [1, 2])
def test_read_only(agent, bridge, run, layers, count):
    root = run / "root"
    settings = {"ContainerRootPath": str(root), "Layers": layers[-count:]}
    modify(bridge, "CombinedLayers", settings)
    spec = sh("cat /etc/hidden; touch /x 2>&1", rootfs=root)
    assert "Read-only file system" in agent.output(spec, code=1)
    modify(bridge, "CombinedLayers", settings, "Remove")


@pytest.mark.parametrize("scratch", ["tmpfs", "path", "none"])
def test_many_layers_of_any_name(agent, bridge, run, layers, scratch):
    paths = [make(run / "test" / f"a:b,c\\d\"e f{'x' * 200}" / str(n)) for n in range(300)]
    for n, path in enumerate(paths):
        (path / f"file{n}").write_text(str(n))
        (path / "first").write_text(str(n))
    settings = {"ContainerRootPath": str(run / "root"),
                "Layers": [{"Path": str(p)} for p in paths] + layers}
    if scratch == "tmpfs":
        settings["ScratchType"] = "tmpfs"
    if scratch == "path":
        settings["ScratchPath"] = str(make(run / "test/s,:\\"))
    modify(bridge, "CombinedLayers", settings)
    spec = sh("cat /first /file299 /etc/hidden; ls / | grep -c file", rootfs=run / "root")
    assert agent.output(spec) == "0299above300\n"
    modify(bridge, "CombinedLayers", settings, "Remove")


def test_wrong_layers(agent, bridge, run, layers):
    good = {"ContainerRootPath": str(run / "root"), "Layers": layers}

    def wrong(text, result=b.INVALID_ARGUMENT, **changes):
        refused(bridge, "CombinedLayers", dict(good, **changes), text, result=result)
    wrong("ContainerRootPath: is required", b.INVALID_JSON, ContainerRootPath="")
    wrong("ContainerRootPath: \"root\" is not an absolute path", ContainerRootPath="root")
    wrong("does not lie below /run", ContainerRootPath="/etc/root")
    wrong("does not lie below /run", ContainerRootPath="/run")
    wrong("has a \".\"", ContainerRootPath=f"{run}/../root")
    wrong("has a \".\"", ContainerRootPath=f"{run}//root")
    wrong("is too long", ContainerRootPath=f"{run}{'/x' * 3000}")
    wrong("Layers: has 0 items", Layers=[])
    wrong("Layers: has 501 items", Layers=layers * 250 + layers[:1])
    wrong("Layers[0].Path: \"x\" is not", Layers=[{"Path": "x"}])
    wrong("Layers[1].Path: \"\" is not", Layers=[layers[0], {}])
    wrong("ScratchType: \"disk\" is not known", ScratchType="disk")
    wrong("ScratchPath: a tmpfs has none", ScratchType="tmpfs", ScratchPath=f"{run}/s")
    wrong("does not lie below /run", ScratchPath="/s")
    wrong("Layers: is not", b.INVALID_JSON, Layers={})
    wrong("layer \"/no/such\": no such file", b.FAIL, Layers=[{"Path": "/no/such"}])
    wrong("layer \"/etc/passwd\": not a directory", b.FAIL, Layers=[{"Path": "/etc/passwd"}])
    refused(bridge, "CombinedLayers", None, "Settings: is required", result=b.INVALID_JSON)
    refused(bridge, "CombinedLayers", good, "the RequestType \"Update\" is not supported", "Update")
    refused(bridge, "CombinedLayers", good, "the RequestType \"add\" is not supported", "add")
    answer = modify(bridge, "CombinedLayers", good, cid="unknown", result=b.FAIL)
    assert answer["ErrorMessage"] == "invalid ResourceType 'CombinedLayers'"
    assert not (run / "root").exists()


def test_failure_leaves_nothing(agent, bridge, run, layers):
    """A scratch on a file system that cannot be one (overlayfs on itself)."""
    other = run / "other/root"
    modify(bridge, "CombinedLayers", {"ContainerRootPath": str(other), "Layers": layers,
                                      "ScratchType": "tmpfs"})
    refused(bridge, "CombinedLayers",
            {"ContainerRootPath": str(run / "a/b/c/root"), "Layers": layers,
             "ScratchPath": "/proc/x"}, "does not lie below", result=b.INVALID_ARGUMENT)
    in_agent(agent, "mkdir", f"{other}/ro")
    in_agent(agent, "mount", "-t", "tmpfs", "-o", "ro", "x", f"{other}/ro")
    refused(bridge, "CombinedLayers",
            {"ContainerRootPath": str(run / "a/b/c/root"), "Layers": layers,
             "ScratchPath": f"{other}/ro"}, "read-only file system")
    assert not (run / "a").exists()
    in_agent(agent, "umount", f"{other}/ro")
    modify(bridge, "CombinedLayers", {"ContainerRootPath": str(other)}, "Remove")


def test_no_links_are_followed(agent, bridge, run, layers):
    make(run / "test/real")
    (run / "test/link").symlink_to("real")
    for path in ("test/link", "test/link/root"):
        refused(bridge, "CombinedLayers",
                {"ContainerRootPath": str(run / path), "Layers": layers}, "symbolic links")
    refused(bridge, "CombinedLayers",
            {"ContainerRootPath": str(run / "root"),
             "Layers": [{"Path": str(run / "test/link")}]}, "symbolic links")
    refused(bridge, "CombinedLayers", {"ContainerRootPath": str(run / "test/link")}, "", "Remove")
    assert (run / "test/real").is_dir() and (run / "test/link").is_symlink()


def test_twice_and_never(agent, bridge, run, layers):
    settings = {"ContainerRootPath": str(run / "root"), "Layers": layers, "ScratchType": "tmpfs"}
    modify(bridge, "CombinedLayers", settings, "Remove")
    modify(bridge, "CombinedLayers", settings)
    refused(bridge, "CombinedLayers", settings, "mounted there already", result=b.INVALID_STATE)
    assert mounted(agent, run / "root")
    modify(bridge, "CombinedLayers", settings, "Remove")
    modify(bridge, "CombinedLayers", settings, "Remove")
    make(run / "test/full/x")
    refused(bridge, "CombinedLayers", {"ContainerRootPath": str(run / "test/full")},
            "directory not empty", "Remove")


def test_all_in_one_go(agent, bridge, run, layers):
    """Requests for one place are done as they came; those for others beside them."""
    settings = {"ContainerRootPath": str(run / "root"), "Layers": layers, "ScratchType": "tmpfs"}
    ids = []
    for n in range(20):
        for op in ("Add", "Remove"):
            ids.append(bridge.request("ModifySettings", request("CombinedLayers", settings, op),
                                      b.NULL_CID))
    for n in range(20):
        other = dict(settings, ContainerRootPath=f"{run}/r{n}")
        for op in ("Add", "Remove"):
            ids.append(bridge.request("ModifySettings", request("CombinedLayers", other, op),
                                      b.NULL_CID))
    assert [bridge.answer(i, 30)["Result"] for i in ids] == [0] * len(ids)
    assert not mounted(agent, run / "root")


# Disks


class Disks:
    """A SCSI bus as the agent sees it; attach() plugs a disk in."""

    def __init__(self, agent, folder):
        self.agent, self.folder, self.loops, self.hosts = agent, folder, [], {}
        for path in ("bus/scsi/devices", "class/scsi_host"):
            make(folder / path)
        for number, driver in ((0, "ahci"), (2, "virtio_scsi"), (10, "virtio_scsi")):
            (make(folder / f"class/scsi_host/host{number}") / "proc_name").write_text(driver + "\n")
        for path in ("bus", "class"):
            in_agent(agent, "mount", "--bind", str(folder / path), f"/sys/{path}")

    def image(self, kind, source=None, size=8 * MIB):
        path = self.folder / f"{kind}-{len(self.loops)}.img"
        with open(path, "wb") as file:
            file.truncate(size)
        make_image = {
            "ext4": ["mkfs.ext4", "-q", "-F", *(["-d", str(source)] if source else []), str(path)],
            "squashfs": ["mksquashfs", str(source), str(path), "-noappend", "-quiet",
                         "-no-progress"],
            "erofs": ["mkfs.erofs", "--quiet", str(path), str(source)],
            "blank": ["true"],
        }[kind]
        subprocess.run(make_image, check=True, capture_output=True, timeout=30)
        return path

    def device(self, controller, lun):
        return self.folder / f"bus/scsi/devices/{(2, 10)[controller]}:0:0:{lun}"

    def attach(self, image, controller=0, lun=0, read_only=False, partitions=()):
        loop = subprocess.run(["losetup", "-f", "--show", *(["-r"] if read_only else []),
                               str(image)],
                              check=True, capture_output=True, text=True).stdout.strip()
        self.loops.append(loop)
        # Kernels differ in the tables that they know; they can also be told.
        for number, (start, size) in enumerate(partitions, 1):
            subprocess.run(["addpart", loop, str(number), str(start * 2048), str(size * 2048)],
                           check=True)
        name = os.path.basename(loop)
        device = make(self.device(controller, lun))
        (device / "delete").write_text("")
        shown = make(device / "block" / name)
        for part in pathlib.Path(f"/sys/block/{name}").glob(f"{name}p*"):
            (make(shown / part.name) / "partition").write_text((part / "partition").read_text())
        self.event(name)
        return loop

    def event(self, name="loop0"):
        pathlib.Path(f"/sys/block/{name}/uevent").write_text("change")

    def close(self):
        for path in ("bus", "class"):
            in_agent(self.agent, "umount", f"/sys/{path}")
        for loop in self.loops:
            for part in pathlib.Path("/sys/block", os.path.basename(loop)).glob("loop*p*"):
                subprocess.run(["delpart", loop, part.name.rpartition("p")[2]], check=True)
            subprocess.run(["losetup", "-d", loop], check=True)
            watch.eventually(lambda: not pathlib.Path(
                f"/sys/block/{os.path.basename(loop)}/loop/backing_file").exists(), 5,
                f"{loop} is let go of")


@pytest.fixture
def disks(agent, place):
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("needs loop devices")
    made = Disks(agent, make(place.path / "sys"))
    yield made
    made.close()


@pytest.mark.parametrize("kind", ["ext4", "squashfs", "erofs"])
def test_container_on_an_image(agent, bridge, run, disks, rootfs, kind):
    """The whole sequence: disk, layers with a scratch, container, and back."""
    loop = disks.attach(disks.image(kind, rootfs, 16 * MIB), 1, 3, read_only=True)
    disk = {"MountPath": str(run / "disks/1_3"), "Controller": 1, "Lun": 3, "ReadOnly": True}
    root = {"ContainerRootPath": str(run / "roots/c"), "ScratchType": "tmpfs",
            "Layers": [{"Path": disk["MountPath"]}]}
    modify(bridge, "MappedVirtualDisk", disk)
    assert f" - {kind} {loop} " in pathlib.Path(f"/proc/{agent.pid}/mountinfo").read_text()
    modify(bridge, "CombinedLayers", root)
    spec = sh("busybox id -u; echo x > /etc/passwd; cat /etc/passwd", rootfs=root["ContainerRootPath"])
    assert agent.output(spec) == "0\nx\n"
    modify(bridge, "CombinedLayers", root, "Remove")
    modify(bridge, "MappedVirtualDisk", disk, "Remove")
    modify(bridge, "SCSIDevice", {"Controller": 1, "Lun": 3}, "Remove")
    assert (disks.device(1, 3) / "delete").read_text() == "1\n"
    (run / "disks").rmdir()


def test_writable_disk_is_made_and_kept(agent, bridge, run, disks, layers):
    disks.attach(disks.image("blank"), 0, 1)
    disk = {"MountPath": str(run / "scratch"), "Lun": 1, "EnsureFilesystem": True,
            "Filesystem": "ext4"}
    root = {"ContainerRootPath": str(run / "c/rootfs"), "Layers": layers,
            "ScratchPath": str(run / "scratch/scratch/c")}
    for script, expected in (("echo hello > /kept", ""), ("cat /kept", "hello\n")):
        modify(bridge, "MappedVirtualDisk", disk)
        modify(bridge, "CombinedLayers", root)
        assert agent.output(sh(script, rootfs=root["ContainerRootPath"])) == expected
        modify(bridge, "CombinedLayers", root, "Remove")
        modify(bridge, "MappedVirtualDisk", disk, "Remove")
    modify(bridge, "SCSIDevice", {"Lun": 1}, "Remove")


def test_partition(agent, bridge, run, disks):
    image = disks.image("blank", size=16 * MIB)
    part = disks.image("ext4", make(run / "test/content"))
    with open(image, "r+b") as file:
        file.seek(5 * MIB)
        file.write(part.read_bytes())
    loop = disks.attach(image, 0, 7, partitions=[(1, 4), (5, 8)])
    disk = {"MountPath": str(run / "m"), "Lun": 7, "Partition": 2}
    modify(bridge, "MappedVirtualDisk", disk)
    assert f" - ext4 {loop}p2 " in pathlib.Path(f"/proc/{agent.pid}/mountinfo").read_text()
    modify(bridge, "MappedVirtualDisk", disk, "Remove")
    refused(bridge, "MappedVirtualDisk", dict(disk, Partition=1), "no known file system is on it")


def test_block_device(agent, bridge, run, disks):
    loop = disks.attach(disks.image("blank"), 0, 0)
    disk = {"MountPath": str(run / "dev/disk"), "Lun": 0, "BlockDev": True}
    modify(bridge, "MappedVirtualDisk", disk)
    assert os.readlink(run / "dev/disk") == loop
    refused(bridge, "MappedVirtualDisk", disk, "file exists")
    modify(bridge, "MappedVirtualDisk", disk, "Remove")
    modify(bridge, "MappedVirtualDisk", disk, "Remove")
    (run / "dev").rmdir()


def test_wrong_disks(agent, bridge, run, disks):
    disks.attach(disks.image("blank"), 0, 0)
    good = {"MountPath": str(run / "m"), "Lun": 0}

    def wrong(text, result=b.INVALID_ARGUMENT, op="Add", **changes):
        refused(bridge, "MappedVirtualDisk", dict(good, **changes), text, op, result)
    for op in ("Add", "Remove"):
        wrong("Controller: 4 is none of 0 … 3", op=op, Controller=4)
        wrong("does not lie below /run", op=op, MountPath="/m")
        wrong("Lun: is not a whole number from 0 to 255", b.INVALID_JSON, op, Lun=256)
        wrong("Controller: is not", b.INVALID_JSON, op, Controller=-1)
    refused(bridge, "SCSIDevice", {"Controller": 200}, "none of", "Remove", b.INVALID_ARGUMENT)
    refused(bridge, "SCSIDevice", {}, "the RequestType \"Add\" is not supported")
    wrong("Encrypted: is not supported", b.NOT_IMPLEMENTED, Encrypted=True)
    wrong("is no name of a file system", Filesystem="../x")
    wrong("disk controller 0, lun 0: no known file system is on it", b.FAIL)
    wrong("unknown file system type \"nofs\"", b.FAIL, Filesystem="nofs")
    wrong("disk controller 0, lun 0: ext4", b.FAIL, Filesystem="ext4")
    wrong("; no known file system is on it", b.FAIL, Filesystem="ext4")
    disks.attach(disks.image("squashfs", make(run / "test/content")), 0, 1)
    wrong("; squashfs is on it", b.FAIL, Filesystem="ext4", Lun=1)
    wrong("is not made", b.FAIL, EnsureFilesystem=True, ReadOnly=True)
    wrong("is not made", b.FAIL, EnsureFilesystem=True, Filesystem="squashfs")
    assert not (run / "m").exists()
    # Unknown to the kernel: gone already.
    modify(bridge, "SCSIDevice", {"Controller": 3, "Lun": 9}, "Remove")
    modify(bridge, "MappedVirtualDisk", dict(good, Lun=9), "Remove")
    modify(bridge, "MappedVirtualDisk", {"Lun": 9}, "Remove")
    modify(bridge, "MappedVirtualDisk", {"Lun": 0})


def test_disk_that_comes_late(agent, bridge, run, disks, rootfs):
    """Everything is asked for before anything is there."""
    image = disks.image("squashfs", rootfs)
    disk = {"MountPath": str(run / "m"), "Controller": 0, "Lun": 5, "ReadOnly": True}
    root = {"ContainerRootPath": str(run / "root"), "Layers": [{"Path": disk["MountPath"]}],
            "ScratchType": "tmpfs"}
    ids = [bridge.request("ModifySettings", request(kind, settings), b.NULL_CID)
           for kind, settings in (("MappedVirtualDisk", disk), ("CombinedLayers", root))]
    bridge.idle(0.3)
    assert not any(i in bridge.answers for i in ids)
    disks.attach(image, 0, 5, read_only=True)
    assert [bridge.answer(i, 5)["Result"] for i in ids] == [0, 0]
    assert agent.output(sh("cat /etc/group | head -n 1", rootfs=run / "root")) == "root:x:0:\n"
    modify(bridge, "CombinedLayers", root, "Remove")
    modify(bridge, "MappedVirtualDisk", disk, "Remove")


def test_disk_that_never_comes(agent, bridge, run, disks):
    begun = time.monotonic()
    idents = [bridge.request("ModifySettings", request("MappedVirtualDisk", {
        "MountPath": f"{run}/{n}", "Controller": n % 4, "Lun": 5}), b.NULL_CID) for n in range(8)]
    assert agent.output(config("true", rootfs="/"), code=0) == ""
    for n, ident in enumerate(idents):
        answer = bridge.answer(ident, 15)
        assert answer["Result"] == b.FAIL
        assert answer["ErrorMessage"] == f"disk controller {n % 4}, lun 5: did not appear within 10 s"
    assert 9 < time.monotonic() - begun < 14


def test_too_many_at_once(agent, bridge, run, disks):
    ids = [bridge.request("ModifySettings", request("MappedVirtualDisk", {
        "MountPath": f"{run}/{n}", "Lun": n % 256}), b.NULL_CID) for n in range(260)]
    answers = [bridge.answer(i, 20) for i in ids]
    assert sum("256 requests are under way" in a["ErrorMessage"] for a in answers) == 4


# A lost connection


def test_session_lost_while_waiting(agent, run, disks, rootfs):
    """Nobody waits any more: it is not done."""
    session = agent.session()
    disk = {"MountPath": str(run / "m"), "Lun": 5}
    session.request("ModifySettings", request("MappedVirtualDisk", disk), b.NULL_CID)
    session.idle(0.2)
    again = agent.session()
    disks.attach(disks.image("squashfs", rootfs), 0, 5)
    again.idle(0.3)
    assert not (run / "m").exists()
    modify(again, "MappedVirtualDisk", disk)
    modify(again, "MappedVirtualDisk", disk, "Remove")


def test_session_lost_while_working(agent, run, layers):
    """What has become of it, nobody knows: it is undone."""
    settings = {"ContainerRootPath": str(run / "c/rootfs"), "Layers": layers, "ScratchType": "tmpfs"}
    session = agent.session()
    for n in range(20):
        session.request("ModifySettings", request("CombinedLayers", settings), b.NULL_CID)
        session.idle(n / 4000)
        session = agent.session()
        modify(session, "CombinedLayers", settings, "Remove")
        assert not (run / "c").exists()


def test_plain_mode_answers_on_the_next_connection(agent, run, disks, rootfs):
    plain = agent.plain()
    disk = {"MountPath": str(run / "m"), "Lun": 5}
    ident = plain.request("ModifySettings", request("MappedVirtualDisk", disk), b.NULL_CID)
    plain.idle(0.2)
    agent.connect()
    disks.attach(disks.image("squashfs", rootfs), 0, 5)
    again = agent.plain()
    assert again.answer(ident)["Result"] == 0
    modify(again, "MappedVirtualDisk", disk, "Remove")


# Directories, and what there is not


def test_wrong_directories(agent, bridge, run):
    good = {"MountPath": str(run / "a/m"), "ShareName": "hvrun", "Transport": "virtiofs"}

    def wrong(text, result=b.INVALID_ARGUMENT, **changes):
        refused(bridge, "MappedDirectory", dict(good, **changes), text, result=result)
    wrong("MountPath: is required", b.INVALID_JSON, MountPath=None)
    wrong("does not lie below /run", MountPath="/m")
    wrong("Transport: \"nfs\" is not known", Transport="nfs")
    wrong("ShareName: is required", b.INVALID_JSON, ShareName="")
    wrong("has a character", ShareName="a,b")
    wrong("Port: 0 is no port", Transport="")
    wrong("Port: -5 is no port", Transport="", Port=-5)
    wrong(f"directory \"{run}/a/m\": virtiofs", b.FAIL)
    wrong("9p: dialling port 564", b.FAIL, Transport="", Port=564)
    assert not (run / "a").exists()
    modify(bridge, "MappedDirectory", good, "Remove")


@pytest.mark.parametrize("kind", ["VPMemDevice", "Network", "VPCIDevice", "SecurityPolicy"])
@pytest.mark.parametrize("op", ["Add", "Remove"])
def test_what_is_not_there(bridge, kind, op):
    refused(bridge, kind, {}, f"\"{kind}\": is not supported", op, b.NOT_IMPLEMENTED)


def test_storm_of_everything(agent, bridge, run, disks, layers, rootfs):
    """Additions and removals in any order, half of them impossible; in the end nothing is there."""
    disks.attach(disks.image("squashfs", rootfs), 0, 0)
    kinds = [("MappedVirtualDisk", {"MountPath": f"{run}/test/d", "Lun": 0}),
             ("MappedVirtualDisk", {"MountPath": f"{run}/test/e", "Lun": 0, "Filesystem": "ext4"}),
             ("CombinedLayers", {"ContainerRootPath": f"{run}/test/d/bin", "Layers": layers}),
             ("CombinedLayers", {"ContainerRootPath": f"{run}/test/r/r", "Layers": [{"Path": f"{run}/test/d"}],
                                 "ScratchType": "tmpfs"}),
             ("MappedDirectory", {"MountPath": f"{run}/test/m", "ShareName": "x",
                                  "Transport": "virtiofs"})]
    ids = [bridge.request("ModifySettings", request(*kinds[(n * 7 + n // 5) % 5],
                                                    "Add" if n % 3 else "Remove"), b.NULL_CID)
           for n in range(150)]
    for ident in ids:
        bridge.answer(ident, 90)
    for kind, settings in reversed(kinds):
        with contextlib.suppress(b.Failed):
            modify(bridge, kind, settings, "Remove", timeout=30)
