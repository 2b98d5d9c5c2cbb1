# SPDX-License-Identifier: Apache-2.0
"""The host's files in a container: its root and bind mounts, and processes of the partition itself.

Everything here holds for a partition on this kernel and for a VM, which gets the files through a share.
"""

import os
import socket
import stat
import subprocess

import pytest

import container
import watch
from container import config, mount, sh


@pytest.fixture
def source(place):
    """A folder with a file, and a file system mounted inside."""
    folder = place.path / "source"
    (folder / "sub").mkdir(parents=True)
    folder.chmod(0o777)
    (folder / "file").write_text("above\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tests", folder / "sub"], check=True)
    (folder / "sub/file").write_text("below\n")
    yield folder
    subprocess.run(["umount", folder / "sub"], check=True)


def with_mounts(spec, *mounts):
    spec["mounts"] += mounts
    return spec


def in_vm(hv):
    return getattr(hv, "driver", "local") != "local"


def test_what_is_written(hv, own_rootfs, source):
    """By whomever, it is his on the host; and what the host writes is there at once."""
    spec = with_mounts(config("sleep", "1000", rootfs=own_rootfs), mount("/mnt", "bind", source, "bind"))
    spec["process"]["capabilities"] = {kind: ["CAP_CHOWN", "CAP_DAC_OVERRIDE"] for kind in
                                       ("bounding", "effective", "permitted")}
    box = hv.background(spec)
    hv.run("exec", box, "sh", "-c", "echo root > /mnt/a; chown 55:66 /mnt/a; echo x > /mark")
    hv.run("exec", "--user", "1234:4321", box, "sh", "-c",
           "umask 027; echo user > /mnt/b; mkdir /mnt/d; chmod 1770 /mnt/d; ln -s b /mnt/l")
    found = {name: os.lstat(source / name) for name in "abdl"}
    assert (found["a"].st_uid, found["a"].st_gid) == (55, 66)
    assert {(found[name].st_uid, found[name].st_gid) for name in "bdl"} == {(1234, 4321)}
    assert stat.S_IMODE(found["b"].st_mode) == 0o640 and stat.S_IMODE(found["d"].st_mode) == 0o1770
    assert (source / "b").read_text() == "user\n" and os.readlink(source / "l") == "b"
    assert (own_rootfs / "mark").read_text() == "x\n"
    (source / "new").write_text("from the host")
    assert hv.run("exec", box, "cat", "/mnt/new").stdout == "from the host"
    (source / "file").unlink()
    assert hv.run("exec", box, "cat", "/mnt/file", status=1).stderr
    (source / "file").write_text("another\n")
    assert hv.run("exec", box, "cat", "/mnt/file").stdout == "another\n"


def test_kinds_of_binds(hv, rootfs, place, source):
    one = place.path / "one"
    one.write_text("one\n")
    spec = with_mounts(
        sh("cat /mnt/all/file /mnt/all/sub/file /mnt/one; ls /mnt/top/sub | wc -l;"
           "for f in /mnt/ro /mnt/one-ro /mnt/all/inner; do echo x >> $f/x || echo x >> $f; done 2>&1 |"
           " grep -c 'Read-only'; echo two >> /mnt/one; cat /mnt/one /mnt/all/inner/file",
           rootfs=rootfs),
        mount("/mnt", "tmpfs", "tmpfs"), mount("/mnt/all", "bind", source, "rbind"),
        mount("/mnt/top", "none", source, "bind"), mount("/mnt/ro", "bind", source, "rbind", "ro"),
        mount("/mnt/one", "bind", one, "bind"), mount("/mnt/one-ro", "bind", one, "rbind", "ro"),
        mount("/mnt/all/inner", "bind", source, "bind", "ro"))
    (source / "inner").mkdir()
    assert hv.run_spec(spec).stdout.split() == ["above", "below", "one", "0", "3", "one", "two", "above"]
    assert (source / "sub/file").read_text() == "below\n" and one.read_text() == "one\ntwo\n"


def test_seen_by_two(hv, rootfs, source):
    """What one container writes another sees, after a second at the latest."""
    spec = with_mounts(config("sleep", "1000", rootfs=rootfs), mount("/mnt", "bind", source, "rbind"))
    first = hv.background(spec)
    second = hv.background(spec, "--pod", first)
    for text in ("short", "somewhat longer"):
        hv.run("exec", first, "sh", "-c", f"printf '{text}' > /mnt/new")
        watch.eventually(lambda: hv.run("exec", second, "cat", "/mnt/new").stdout == text, 2)


def test_many(hv, rootfs, source):
    spec = with_mounts(sh("cat /mnt/*/file | sort | uniq -c", rootfs=rootfs), mount("/mnt", "tmpfs", "t"),
                       *(mount(f"/mnt/{i}", "bind", source, "bind") for i in range(30)))
    assert hv.run_spec(spec).stdout.split() == ["30", "above"]


def test_roots(hv, own_rootfs, place, source):
    """Relative, behind a link, read-only: what is to be mounted on is made in it all the same."""
    bundle = place.path / "b"
    bundle.mkdir()
    (bundle / "link").symlink_to(own_rootfs)
    spec = with_mounts(sh("pwd; cat /made/file /etc/made; touch /x", rootfs="link", cwd="/here/it/is"),
                       mount("/made", "bind", source, "bind"),
                       mount("/etc/made", "bind", source / "file", "bind"))
    spec["root"]["readonly"] = True
    cid = hv.new_id()
    hv.run("run", "--bundle", container.write_bundle(bundle, spec), cid, status=1)
    result = hv.run("run", "--bundle", bundle, hv.new_id(), status=1)
    assert result.stdout.split() == ["/here/it/is", "above", "above"]
    assert "Read-only file system" in result.stderr
    assert (own_rootfs / "made").is_dir() and (own_rootfs / "etc/made").is_file()


def test_kernel_file_systems(hv, rootfs):
    """Of these the container sees its own kernel's."""
    spec = with_mounts(sh("cat /mnt/proc/version; echo lost > /mnt/null; test -c /mnt/null", rootfs=rootfs),
                       mount("/mnt", "tmpfs", "t"), mount("/mnt/proc", "bind", "/proc", "rbind"),
                       mount("/mnt/null", "bind", "/dev/null", "bind"))
    with open("/proc/version", encoding="ascii") as file:
        assert (hv.run_spec(spec).stdout == file.read()) != in_vm(hv)


def test_refusals(hv, rootfs, place):
    """One line, before anything has been started."""
    endpoint = socket.socket(socket.AF_UNIX)
    endpoint.bind(str(place.path / "socket"))
    os.mkfifo(place.path / "fifo")
    cases = [("nothing", "no such file or directory")]
    if in_vm(hv):
        cases += [("socket", "is a socket of the host"), ("fifo", "is a fifo of the host")]
    for name, text in cases:
        spec = with_mounts(config(rootfs=rootfs), mount("/mnt", "bind", place.path / name, "bind"))
        cid = hv.new_id()
        error = hv.fails("run", "--bundle", hv.bundle(spec), cid)
        assert text in error and str(place.path / name) in error
        assert not (hv.root / "containers" / cid).exists()
    endpoint.close()


def test_from_the_partition(hv, rootfs, source):
    """What is read-only is so for everybody in a VM, not only for the container."""
    if not in_vm(hv):
        pytest.skip("the processes of a partition without a VM are on the host")
    spec = with_mounts(config("sleep", "1000", rootfs=rootfs), mount("/mnt", "bind", source, "rbind", "ro"))
    box = hv.background(spec)
    index = len(spec["mounts"]) - 1
    found = hv.run("exec", "--vm", box, "sh", "-c",
                   f"cd /run/hvrun/share/{box}.*/; cat {index}/file; mount -o remount,rw {index};"
                   f"echo x > {index}/x; echo x > {index}/sub/x; mkdir ../evil x", status=1)
    assert found.stdout == "above\n"
    assert found.stderr.count("Read-only file system") == 4
    assert sorted(path.name for path in source.rglob("*")) == ["file", "file", "sub"]


def test_nothing_is_held(hv, rootfs, source):
    """When a container is deleted, the host's file systems that it used can be unmounted and are gone."""
    base = hv.background(config("sleep", "1000", rootfs=rootfs))
    spec = with_mounts(config("sleep", "1000", rootfs=rootfs), mount("/mnt", "bind", source, "rbind"))
    box = hv.background(spec, "--pod", base)
    assert hv.run("exec", box, "cat", "/mnt/sub/file").stdout == "below\n"
    sandbox = hv.sandbox_pid(base)
    hv.run("delete", "--force", box)
    device = os.stat(source / "sub").st_dev
    assert not [line for line in watch.mounts(sandbox) if f"/share/{box}" in line]
    served = watch.children(sandbox)
    served += [child for pid in served for child in watch.children(pid)]

    def held():
        for pid in served:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                try:
                    if os.stat(f"/proc/{pid}/fd/{fd}").st_dev == device:
                        return True
                except OSError:
                    pass
        return False

    watch.eventually(lambda: not held(), 2, "the daemon has let go")


# Processes of the partition itself


def test_exec_vm(hv, rootfs):
    box = hv.background(config("sleep", "1000", rootfs=rootfs))
    result = hv.run("exec", "--vm", "-i", "-e", "A=5", "--cwd", "/tmp", box, "sh", "-c",
                    "cat; echo $A; pwd; echo err >&2; exit 7", input="in\n", status=7)
    assert result.stdout.split() == ["in", "5", "/tmp"] and result.stderr == "err\n"
    assert "executable file not found" in hv.fails("exec", "--vm", box, "nowhere", status=255)
    for option in (["--user", "1"], ["--cap", "CAP_KILL"], ["--no-new-privs"]):
        assert "is root's" in hv.fails("exec", "--vm", *option, box, "true", status=255)
    assert "needs a command" in hv.fails("exec", "--vm", box, status=255)
    assert "neither a container nor a partition" in hv.fails("exec", "--vm", "nobody", "true", status=255)
    # By the partition's own id, and in the background, with a proxy that can be killed.
    pidfile = hv.place.path / "pid"
    partition = hv.partition_of(box).name if hasattr(hv, "partition_of") else box
    hv.run("exec", "--vm", "-d", "--pid-file", pidfile, partition, "sleep", "1000.5")
    look = ("exec", "--vm", box, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "sleep 1000.5" in hv.run(*look).stdout
    os.kill(int(pidfile.read_text()), 15)
    watch.eventually(lambda: "sleep 1000.5" not in hv.run(*look).stdout)


def test_figures_and_logs_of_the_partition(hv, rootfs):
    box = hv.background(config("sleep", "1000", rootfs=rootfs))
    figures = hv.run("stats", "--vm", "--format", "json", box).json()
    assert set(figures["statistics"]) == {"agent", "guest"}
    guest = figures["statistics"]["guest"]
    assert 0 < guest["memory_available"] < guest["memory_total"] and guest["processes"] > 1
    assert figures["sandbox"]["frames_in"] > 0
    with open("/proc/meminfo", encoding="ascii") as file:
        total = int(file.readline().split()[1]) * 1024
    assert (guest["memory_total"] == total) != in_vm(hv)
    whole = hv.run("stats", "--format", "json", box).json()["statistics"]
    assert whole["guest"]["memory_total"] == guest["memory_total"] and whole["pids"]["current"] == 1
    assert "guest: up" in hv.run("stats", box).stdout
    assert "negotiated" in hv.run("logs", "--vm", box).stdout
    assert ("Linux version" in hv.run("logs", "--vm", box).stdout) == in_vm(hv)
    assert "goes with --follow" in hv.fails("logs", "--vm", "--since", "1m", box)


def test_pause_of_the_partition(hv, rootfs):
    box = hv.background(sh("i=0; while true; do echo $((i=i+1)); sleep 0.1; done", rootfs=rootfs))
    if not in_vm(hv):
        assert "cannot be paused" in hv.fails("pause", "--vm", box)
        return
    hv.run("pause", "--vm", box)
    assert hv.status(box) == "paused"
    for words in (["kill", box], ["exec", box, "true"], ["stats", box], ["delete", box],
                  ["pause", "--vm", box], ["resume", box]):
        error = hv.run(*words, status=None)
        assert error.returncode and "the VM is paused" in error.stderr
    before = hv.run("logs", "--tail", "1", box).stdout
    hv.run("resume", "--vm", box)
    watch.eventually(lambda: hv.run("logs", "--tail", "1", box).stdout != before, 5)
    assert hv.status(box) == "running"
    now = int(subprocess.run(["date", "+%s"], check=True, capture_output=True).stdout)
    assert abs(int(hv.run("exec", box, "date", "+%s").stdout) - now) <= 2
    assert "is not paused" in hv.fails("resume", "--vm", box)
    # Who deletes by force gets his way.
    hv.run("pause", "--vm", box)
    hv.run("delete", "--force", box)
