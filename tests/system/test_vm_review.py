# SPDX-License-Identifier: Apache-2.0
"""What a container, a guest or a caller's machine could do to a VM, found by reading the code.

Run with `--partition qemu`. Every test boots VMs of its own.
"""

import json
import os
import pathlib
import shutil
import subprocess

import pytest

import container
import watch
from container import config, mount, sh

HOSTILE = pathlib.Path(__file__).with_name("hostile.c")
BRIDGE_PORT = 0x40000000


@pytest.fixture
def hostile(own_rootfs):
    """A root file system with a program that tries things."""
    subprocess.run(["gcc", "-static", "-O1", "-Wall", "-Werror", "-o", own_rootfs / "bin/hostile", HOSTILE],
                   check=True)
    return own_rootfs


def sleeper(rootfs):
    return config("sleep", "1000", rootfs=rootfs)


def works(hv, cid):
    assert hv.run("exec", cid, "echo", "well", timeout=5).stdout == "well\n"


# A container against its VM


def test_forged_signals(hv, hostile):
    """Who shares the VM's pid namespace may write any sender into a signal; it does not end the VM."""
    cid = hv.background(container.without_namespace(sleeper(hostile), "pid"))
    for way in ("queue", "poll"):
        assert hv.run("exec", cid, "cat", "/proc/1/comm").stdout == "init\n"
        hv.run("exec", cid, "hostile", way)
        works(hv, cid)
    assert hv.status(cid) == "running"


def test_connections_to_the_host(hv, hostile):
    """More than a socket's queue holds: they are turned away, and nobody waits behind them."""
    cid = hv.background(sleeper(hostile))
    flood = hv.popen("exec", cid, "hostile", "dial", "400", str(BRIDGE_PORT))
    assert flood.stdout.readline() == b"dialled\n"
    works(hv, cid)
    before = len(watch.fds(hv.sandbox_pid(cid)))
    hv.run("exec", "-d", cid, "hostile", "dial", "400", str(BRIDGE_PORT))
    works(hv, cid)
    flood.kill()
    flood.wait()
    works(hv, cid)
    assert len(watch.fds(hv.sandbox_pid(cid))) <= before


# A guest against the host


def share_mounts(hv, cid):
    """{what is below the share: its options} as the sandbox process has them."""
    share = f"{hv.root}/partitions/{cid}/share"
    lines = (line.split() for line in watch.mounts(hv.sandbox_pid(cid)))
    return {words[4][len(share):]: set(words[5].split(",")) for words in lines
            if words[4].startswith(share)}


ATTACK = """
cd /run/hvrun/share/%s.*
echo y > 6/file; touch 6/other; chmod 777 6/file; mv 6/file 7/moved; ln 6/file 7/hard
mkdir ../evil; rmdir rootfs; mv rootfs r2; touch new; mount -o remount,rw /run/hvrun/share; touch 6/other
echo z > 7/written; mknod 7/disk b 254 0; dd if=7/disk of=/dev/null count=1
true
"""


def test_root_of_the_vm_and_the_share(hv, rootfs):
    """Read-only is what the host says, also of files that can be written to by another way."""
    folder = hv.place.path / "both"
    folder.mkdir()
    (folder / "file").write_text("x\n")
    spec = sleeper(rootfs)
    spec["mounts"] += [mount("/mnt", "bind", folder, "rbind", "ro"), mount("/srv", "bind", folder, "rbind")]
    assert len(spec["mounts"]) == 8
    cid = hv.background(spec)
    mounts = share_mounts(hv, cid)
    assert len(mounts) == 4, mounts
    for path, options in mounts.items():
        assert {"nodev", "nosuid"} <= options, (path, options)
        assert ("ro" in options) == (path == "" or path.endswith("/6")), (path, options)
    hv.run("exec", "--vm", cid, "sh", "-c", ATTACK % cid)
    assert (folder / "file").read_text() == "x\n"
    assert sorted(path.name for path in folder.iterdir()) == ["disk", "file", "moved", "written"]
    assert share_mounts(hv, cid) == mounts
    works(hv, cid)
    shutil.rmtree(folder)


# A caller's machine


def test_proxy_is_not_in_the_hosts_mount_namespace(hv, rootfs):
    """podman cp works where the pid that it knows is."""
    cid = hv.create(sleeper(rootfs))
    proxy = hv.pid(cid)
    root = [line.split() for line in watch.mounts(proxy)]
    assert [words[4] for words in root] == ["/"], root
    assert os.stat(f"/proc/{proxy}/root/bin/busybox").st_ino == os.stat(rootfs / "bin/busybox").st_ino
    assert os.readlink(f"/proc/{proxy}/ns/mnt") != os.readlink("/proc/self/ns/mnt")


def test_private_folder_with_the_guest(hv, rootfs):
    """The socket device runs as nobody, who cannot enter every folder; and the name may be relative."""
    given = pathlib.Path(os.environ.get("HVRUN_GUEST") or pathlib.Path(container.__file__).parents[2] /
                         "build/guest")
    private = hv.place.path / "private"
    private.mkdir(0o700)
    for file in given.iterdir():
        shutil.copy(file, private)
    hv.environment["HVRUN_GUEST"] = "private"
    words = ("run", "--bundle", hv.bundle(config("true", rootfs=rootfs)), hv.new_id())
    assert hv.run(*words, cwd=hv.place.path).returncode == 0


def test_root_with_a_comma(hv, rootfs):
    """It would be taken for the next option."""
    bundle = hv.bundle(config("true", rootfs=rootfs))
    hv.root = hv.place.path / "a,b"
    assert "virtiofsd" in hv.fails("run", "--bundle", bundle, hv.new_id())
    assert not hv.partitions()


def test_many_annotations(hv, rootfs):
    """What nobody knows is no reason to fail."""
    spec = config("true", rootfs=rootfs)
    spec["annotations"] = {f"io.hvrun.unknown{number}": "x" * 1000 for number in range(100)}
    assert hv.run_spec(spec).returncode == 0


BROKEN = {
    "ends": ("echo a bad day >&2; exit 3", "status 3"),
    "says nothing": ("exit 0", "status 0"),
    "forks": ("sleep 1000 & sleep 0.3; exit 4", "status 4"),
}


@pytest.mark.parametrize("member", ["virtiofsd", "vhostDeviceVsock", "path"])
@pytest.mark.parametrize("how", BROKEN)
def test_helpers_that_end(hv, rootfs, member, how):
    """It is said which one, and why; nothing is left, not even of what it has started."""
    if member == "vhostDeviceVsock" and os.path.exists("/dev/vhost-vsock"):
        pytest.skip("the kernel's own is used here")
    script, word = BROKEN[how]
    program = hv.place.path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    hv.place.path.chmod(0o755)
    file = hv.place.path / "hvrun.json"
    file.write_text(json.dumps({"qemu": {member: str(program)}}))
    hv.environment["HVRUN_CONFIG"] = str(file)
    result = hv.run_spec(config("true", rootfs=rootfs), status=1)
    assert word in result.stderr and not result.stdout, repr(result)
    assert result.stderr.count("bad day") == (how == "ends"), repr(result)
    assert not hv.partitions() and hv.list() == []
