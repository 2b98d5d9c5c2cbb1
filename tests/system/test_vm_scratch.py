# SPDX-License-Identifier: Apache-2.0
"""What containers write on images kept on a disk of the host, and the memory of VMs.

Run with `--partition qemu`. Every test boots VMs of its own.
"""

import fcntl
import json
import os
import random
import signal
import subprocess
import time

import pytest

import container
import watch
from container import config, sh

MIB = 1 << 20
SCRATCH = "io.hvrun.scratch"


@pytest.fixture(scope="module")
def image(rootfs, tmp_path_factory):
    """A root file system in a file."""
    file = tmp_path_factory.mktemp("image") / "root.img"
    subprocess.run(["mksquashfs", rootfs, file, "-quiet", "-no-progress"], check=True, capture_output=True)
    return file


@pytest.fixture
def allow(hv):
    """The configuration lets containers choose a scratch."""
    def configure(*annotations):
        file = hv.place.path / "hvrun.json"
        file.write_text(json.dumps({"annotations": annotations}))
        hv.environment["HVRUN_CONFIG"] = str(file)
    configure(SCRATCH)
    return configure


@pytest.fixture
def scratch(place, allow):
    """Makes a scratch disk, and looks at the end that nothing is wrong with its file system."""
    made = []

    def make(name="scratch", size=32):
        file = place.path / name
        with open(file, "wb") as new:
            new.truncate(size * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-F", file], check=True)
        made.append(file)
        return file
    yield make
    for file in made:
        if file.exists():
            subprocess.run(["e2fsck", "-f", "-n", file], check=True, capture_output=True)


def on(spec, path):
    spec["annotations"] = {SCRATCH: str(path)}
    return spec


def is_free(file):
    """Nobody has it any more."""
    with open(file, "rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def upper(file, path):
    """A file that containers have written, read on the host."""
    return subprocess.run(["debugfs", "-R", f"cat upper/{path}", file], check=True, capture_output=True).stdout


def refused(hv, spec, *options):
    """One line; and nothing of it is left."""
    cid = hv.new_id()
    error = hv.fails("run", *options, "--bundle", hv.bundle(spec, "refused"), cid)
    assert cid not in [entry["id"] for entry in hv.list()]
    return error


def test_kept(hv, image, scratch):
    """From one VM to the next, in every detail; and the image is not written."""
    disk, before = scratch(), image.read_bytes()
    script = "mkdir /d; echo kept > /d/f; chown 55:66 /d; chmod 1750 /d; ln -s d/f /l; rm /etc/passwd; " \
             "head -c 9000000 /dev/urandom > /big; md5sum < /big; echo more >> /etc/group"
    spec = on(sh(script, rootfs=image), disk)
    spec["process"]["capabilities"] = {kind: ["CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"]
                                       for kind in ("bounding", "effective", "permitted")}
    first = hv.run_spec(spec).stdout
    assert is_free(disk) and upper(disk, "d/f") == b"kept\n"
    spec["process"]["args"][-1] = "cat /l; stat -c '%u %g %a' /d; ls /etc/passwd 2>&1; tail -n 1 /etc/group; md5sum < /big"
    second = hv.run_spec(spec).stdout
    assert second == "kept\n55 66 1750\nls: /etc/passwd: No such file or directory\nmore\n" + first
    # Without it there is the image alone.
    assert hv.run_spec(sh("ls -d /d /etc/passwd", rootfs=image), status=1).stdout == "/etc/passwd\n"
    assert image.read_bytes() == before


def test_one_after_the_other_in_one_vm(hv, image, scratch):
    """When delete returns the disk is free, and on it is what was written; nothing stays in the VM."""
    disk = scratch()
    box = hv.background(config("sleep", "1000", rootfs=image))
    look = ("exec", "--vm", box, "sh", "-c", "ls /run/hvrun/image /sys/block; grep -c . /proc/mounts")
    before = hv.run(*look).stdout
    for number in range(3):
        cid = hv.background(on(sh(f"cat /n 2>&1; echo {number} > /n; echo done; sleep 1000", rootfs=image), disk),
                            "--pod", box)
        watch.eventually(lambda: "done" in hv.run("logs", cid).stdout)
        assert hv.run("logs", cid).stdout == (f"{number - 1}\ndone\n" if number else
                                              "cat: can't open '/n': No such file or directory\ndone\n")
        hv.run("delete", "--force", cid)
        assert is_free(disk) and upper(disk, "n") == b"%d\n" % number
        assert hv.run(*look).stdout == before


def test_two_at_the_same_time(hv, image, scratch):
    one, two = scratch("one"), scratch("two")
    spec = sh("hostname; sleep 1000", rootfs=image)
    first = hv.background(on(spec, one))
    second = hv.background(on(spec, two), "--pod", first)
    for number, cid in enumerate((first, second)):
        hv.run("exec", cid, "sh", "-c", f"echo {number} > /n")
    # In this VM, in another one, and by another name.
    link = hv.place.path / "link"
    link.symlink_to(two)
    for file, options in ((one, ("--pod", first)), (one, ()), (link, ("--pod", first))):
        assert "another container uses it" in refused(hv, on(spec, file), *options)
    hv.run("delete", "--force", second)
    hv.run("delete", "--force", first)
    assert (upper(one, "n"), upper(two, "n")) == (b"0\n", b"1\n")


def test_read_only_root(hv, image, scratch):
    """The container cannot write, and what is mounted in it finds its place."""
    disk = scratch()
    spec = on(sh("echo x > /x; grep -c /new/place /proc/mounts", rootfs=image), disk)
    spec["root"]["readonly"] = True
    spec["mounts"].append(container.mount("/new/place", "tmpfs", "tmpfs"))
    result = hv.run_spec(spec)
    assert result.stdout == "1\n" and "Read-only" in result.stderr


def test_full(hv, image, scratch):
    disk = scratch(size=4)
    script = "dd if=/dev/zero of=/big bs=64k count=100; echo $?; rm /big; echo y > /y; cat /y"
    result = hv.run_spec(on(sh(script, rootfs=image), disk))
    assert result.stdout == "1\ny\n" and "No space left" in result.stderr


@pytest.fixture
def device(scratch):
    """A block device of the host."""
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("needs loop devices")
    loop = subprocess.run(["losetup", "--find", "--show", scratch("behind")], capture_output=True, text=True,
                          check=False)
    if loop.returncode:
        pytest.skip(f"needs a loop device: {loop.stderr}")
    path = loop.stdout.strip()
    yield path
    subprocess.run(["losetup", "--detach", path], check=True)


def test_block_device(hv, image, device, place):
    for expected in ("", "x\n"):
        assert hv.run_spec(on(sh("cat /x 2>/dev/null; echo x > /x", rootfs=image), device)).stdout == expected
    # What the host has mounted is not a VM's to write.
    (place.path / "m").mkdir()
    subprocess.run(["mount", device, place.path / "m"], check=True)
    try:
        assert (place.path / "m/upper/x").read_text() == "x\n"
        assert "or the host" in refused(hv, on(config("true", rootfs=image), device))
    finally:
        subprocess.run(["umount", place.path / "m"], check=True)
    subprocess.run(["blockdev", "--setro", device], check=True)
    try:
        refused(hv, on(config("true", rootfs=image), device))
    finally:
        subprocess.run(["blockdev", "--setrw", device], check=True)


def test_refusals(hv, image, rootfs, place, scratch):
    """Whatever can be seen on the host is seen before a VM is started."""
    disk, spec = scratch(), config("true", rootfs=image)
    (place.path / "folder").mkdir()
    os.mkfifo(place.path / "fifo")
    locked = place.path / "locked"
    locked.write_bytes(bytes(MIB))
    locked.chmod(0o444)
    cases = [
        (place.path / "none", "no such file or directory"), ("scratch", "is not an absolute path"),
        ("", "is not an absolute path"), (place.path / "folder", "is neither a file nor a block device"),
        (place.path / "fifo", "is neither"), ("/dev/null", "is neither"), (locked, "is read-only"),
        (image, "is the image of the root"),
    ]
    for path, text in cases:
        began = time.monotonic()
        error = refused(hv, on(spec, path))
        assert text in error and f'scratch "{path}"' in error
        assert time.monotonic() - began < watch.PATIENCE
        assert not hv.partitions()
    error = refused(hv, on(config("true", rootfs=rootfs), disk))
    assert "is only for a container whose root is an image" in error and is_free(disk)


def test_wrong_file_systems(hv, image, place, scratch):
    """The VM says what is on it, and is none the worse for it."""
    box = hv.background(config("sleep", "1000", rootfs=image))
    other, blank = place.path / "other.img", place.path / "blank"
    other.write_bytes(image.read_bytes())
    blank.write_bytes(bytes(MIB))
    torn = place.path / "torn"
    torn.write_bytes(scratch("whole").read_bytes()[:3 * MIB])
    for file, text in ((other, "squashfs is on it"), (blank, "no known file system is on it"), (torn, "ext4")):
        before = file.read_bytes()
        error = refused(hv, on(config("true", rootfs=image), file), "--pod", box)
        assert "scratch: " in error and text in error, error
        assert file.read_bytes() == before
        watch.eventually(lambda: is_free(file), 2)
    look = ("exec", "--vm", box, "sh", "-c", "ls /run/hvrun/image | wc -l; ls -d /sys/block/sd* | wc -l")
    watch.eventually(lambda: hv.run(*look).stdout.split() == ["2", "1"], 2, "what was added is gone")
    assert hv.run_spec(on(sh("echo fine", rootfs=image), scratch()), "--pod", box).stdout == "fine\n"


@pytest.mark.long
def test_not_allowed(hv, image, scratch, allow):
    """Then it means nothing, as other annotations that are not in the list."""
    disk = scratch()
    before = disk.read_bytes()
    for annotations in ((), ("io.hvrun.memory",)):
        allow(*annotations)
        hv.run_spec(on(sh("echo x > /x", rootfs=image), disk))
        hv.run_spec(on(sh("echo x > /x", rootfs=image), "/none"))
    assert disk.read_bytes() == before
    # Nor with a partition that has no disks.
    allow(SCRATCH)
    driver, hv.driver = hv.driver, "local"
    rootfs = container.make_rootfs(hv.place.path / "rootfs")
    hv.run_spec(on(config("true", rootfs=rootfs), "/none"))
    hv.driver = driver


def test_failed_creation(hv, image, scratch):
    """The container is refused when its root is there already: the disk is free again, and is used again."""
    disk, box = scratch(), hv.background(config("sleep", "1000", rootfs=image))
    for options in (("--pod", box), ()):
        error = refused(hv, on(config("/none/such", rootfs=image), disk), *options)
        assert "none/such" in error
        assert hv.run_spec(on(sh("echo fine", rootfs=image), disk), *options).stdout == "fine\n"


@pytest.mark.long
@pytest.mark.parametrize("victim", ["client", "qemu", "sandbox"])
def test_killed_while_it_is_made(hv, image, scratch, victim):
    """Whoever dies, the disk is free a moment later, and nothing is wrong with it that its journal cannot mend."""
    disk = scratch()
    bundle = hv.bundle(on(sh("echo up; sleep 1000", rootfs=image), disk))
    for number in range(2):
        box = hv.background(config("sleep", "1000", rootfs=image))
        sandbox = hv.sandbox_pid(box)
        client = hv.popen("run", "--pod", box, "--bundle", bundle, hv.new_id())
        time.sleep(random.Random(f"{victim} {number}").uniform(0, 0.4))
        qemu = [pid for pid in watch.descendants(sandbox) if watch.stat(pid)[0].startswith("qemu-system")]
        os.kill({"client": client.pid, "qemu": qemu[0], "sandbox": sandbox}[victim], signal.SIGKILL)
        if victim == "client":
            client.wait()
        for cid in [entry["id"] for entry in hv.list()]:
            hv.run("delete", "--force", cid)
        client.communicate(timeout=5)
        watch.eventually(lambda: is_free(disk), 2)
    assert hv.run_spec(on(sh("echo fine", rootfs=image), disk)).stdout == "fine\n"


def test_killed_vm(hv, image, scratch):
    """What was synced is there for the next container, as after a loss of power."""
    disk = scratch()
    cid = hv.background(on(sh("echo x > /synced; sync; echo done; while true; do echo y >> /y; done",
                              rootfs=image), disk))
    watch.eventually(lambda: "done" in hv.run("logs", cid).stdout)
    watch.kill([pid for pid in watch.descendants(hv.sandbox_pid(cid)) if "qemu" in watch.stat(pid)[0]])
    hv.run("delete", "--force", cid)
    assert hv.run_spec(on(sh("cat /synced", rootfs=image), disk)).stdout == "x\n"


def test_sandbox_process_is_told_to_end(hv, image, scratch):
    """Which deletes what is in it: nothing is lost."""
    disk = scratch()
    cid = hv.background(on(sh("echo x > /x; echo done; sleep 1000", rootfs=image), disk))
    watch.eventually(lambda: "done" in hv.run("logs", cid).stdout)
    os.kill(hv.sandbox_pid(cid), signal.SIGTERM)
    watch.eventually(lambda: is_free(disk))
    assert upper(disk, "x") == b"x\n"
    hv.run("delete", "--force", cid)


def test_deleted_while_paused(hv, image, scratch):
    disk = scratch()
    cid = hv.background(on(sh("echo x > /x; echo done; sleep 1000", rootfs=image), disk))
    watch.eventually(lambda: "done" in hv.run("logs", cid).stdout)
    hv.run("pause", "--vm", cid)
    hv.run("delete", "--force", cid)
    assert is_free(disk) and upper(disk, "x") == b"x\n"


# Memory


def total(hv, cid):
    """MiB that the guest has, as stats says."""
    return hv.run("stats", "--vm", "--format", "json", cid).json()["statistics"]["guest"]["memory_total"] / MIB


@pytest.mark.long
def test_memory(hv, rootfs, image):
    box = hv.background(config("sleep", "1000", rootfs=rootfs))
    whole = total(hv, box)
    for size, less in (("128M", 128), ("200M", 56), ("134217728", 128), ("256M", 0)):
        hv.run("update", "--vm", "--memory", size, box)
        watch.eventually(lambda: abs(total(hv, box) - (whole - less)) < 1, what=f"the balloon at {size}")
    for size in ("257M", "1M", "0", "1G"):
        assert "can have from" in hv.fails("update", "--vm", "--memory", size, box)
    least = hv.fails("update", "--vm", "--memory", "1M", box).split(" from ")[1].split()[0]
    # The least that it says is enough for it to work, also for another container.
    hv.run("update", "--vm", "--memory", least, box)
    watch.eventually(lambda: abs(total(hv, box) - (whole - 256 + int(least[:-1]))) < 1)
    assert hv.run_spec(sh("echo fine", rootfs=rootfs), "--pod", box).stdout == "fine\n"
    # One that wants more than there is ends, and nobody else.
    eater = config("tail", "/dev/zero", rootfs=rootfs)
    hv.run_spec(eater, "--pod", box, status=137, timeout=60)
    assert hv.run("exec", box, "echo", "fine").stdout == "fine\n"
    hv.run("update", "--vm", "--memory", "256M", box)
    watch.eventually(lambda: abs(total(hv, box) - whole) < 1)
    # Half of it, which is what a layer in memory takes at most.
    spec = sh("head -c 80000000 /dev/zero > /big; wc -c < /big", rootfs=image)
    assert hv.run_spec(spec, "--pod", box, timeout=60).stdout == "80000000\n"


@pytest.mark.long
def test_memory_refused(hv, rootfs):
    box = hv.background(config("sleep", "1000", rootfs=rootfs))
    for words in (("--vm",), ("--vm", "--pids-limit", "5"), ("--vm", "--memory", "128M", "--pids-limit", "5"),
                  ("--vm", "--memory", "128M", "-r", "-")):
        assert "--memory can be changed, and nothing else" in hv.fails("update", *words, box)
    hv.fails("update", "--vm", "--memory", "-1", box)
    hv.fails("update", "--vm", "--memory", "128M", "nobody")
    hv.run("pause", "--vm", box)
    assert "the VM is paused" in hv.fails("update", "--vm", "--memory", "128M", box)
    hv.run("resume", "--vm", box)
    # The container's own limit is another matter.
    hv.run("update", "--memory", "64M", box)
    hv.run("delete", "--force", box)
    hv.driver = "local"
    box = hv.background(config("sleep", "1000", rootfs=rootfs))
    assert 'kind "local" has no memory' in hv.fails("update", "--vm", "--memory", "128M", box)
    hv.run("delete", "--force", box)
    hv.driver = "qemu"
