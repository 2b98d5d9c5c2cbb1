# SPDX-License-Identifier: Apache-2.0
"""The OCI runtime specification: one container per property, seen from inside with busybox.

A case is a change to the base of container.py, a script, and what the script prints: a text, or a
pattern. In a change a dictionary is merged, None removes a member, and a name with a leading "+"
appends to a list. "{place}" is the test's directory.
"""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import container
import watch
from container import CAPABILITIES, namespaces, sh

BASE_NAMESPACES = ("pid", "network", "ipc", "uts", "mount")
FILES = {"network": "net", "mount": "mnt"}      # names below /proc/PID/ns that differ
UNLIMITED = 18446744073709551615
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def change(spec, what):
    for name, value in what.items():
        if name.startswith("+"):
            spec[name[1:]] = spec.get(name[1:], []) + value
        elif value is None:
            spec.pop(name, None)
        elif isinstance(value, dict) and isinstance(spec.get(name), dict):
            change(spec[name], value)
        else:
            spec[name] = value
    return spec


def fill_in(value, place):
    """The same with the test's directory in every text."""
    if isinstance(value, dict):
        return {name: fill_in(member, place) for name, member in value.items()}
    if isinstance(value, list):
        return [fill_in(member, place) for member in value]
    return value.replace("{place}", str(place.path)) if isinstance(value, str) else value


def case(what, script, expected, **more):
    return pytest.param(what, script, expected, **more)


def inside(hv, rootfs, what, script, status=0):
    """What the script prints in the changed container."""
    words = ["sh", "-c", script] if isinstance(script, str) else script
    spec = change(container.config(*words, rootfs=rootfs), fill_in(what, hv.place))
    return hv.run_spec(spec, status=status)


def check(hv, rootfs, what, script, expected):
    result = inside(hv, rootfs, what, script)
    got = result.stdout.strip()
    if isinstance(expected, re.Pattern):
        assert expected.search(got), f"{got!r} {result.stderr!r}"
    else:
        assert got == expected, f"{got!r} {result.stderr!r}"


def with_namespaces(*kinds):
    return {"linux": {"namespaces": [{"type": k} if isinstance(k, str) else
                                     {"type": k[0], "path": k[1]} for k in kinds]}}


# Namespaces


@pytest.mark.parametrize("kind", ["pid", "network", "mount", "ipc", "uts", "cgroup", "user", "time"])
def test_new_namespace(hv, own_rootfs, kind):
    what = with_namespaces(*dict.fromkeys(BASE_NAMESPACES + (kind,)))
    if kind == "user":
        what["linux"].update(IDENTITY)
    name = FILES.get(kind, kind)
    spec = change(sh(f"readlink /proc/self/ns/{name}; readlink /proc/1/ns/{name}", rootfs=own_rootfs), what)
    ours, first = hv.run_spec(spec).stdout.split()
    assert ours == first != os.readlink(f"/proc/self/ns/{name}")


@pytest.mark.parametrize("kind", ["network", "cgroup", "user", "time"])
def test_host_namespace(hv, rootfs, kind):
    """Which is the partition's: the VM's own, and a local partition shares these with the host."""
    name = FILES.get(kind, kind)
    what = with_namespaces(*(k for k in BASE_NAMESPACES if k != kind))
    outside = hv.outside("readlink", f"/proc/{1 if hv.in_vm else 'self'}/ns/{name}").strip()
    check(hv, rootfs, what, f"readlink /proc/self/ns/{name}", outside)


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts", "network"])
def test_shared_namespace(hv, rootfs, kind):
    """Containers of one partition that ask for none of their own have the same."""
    name = FILES.get(kind, kind)
    what = with_namespaces(*(k for k in BASE_NAMESPACES if k != kind))
    what["hostname"] = None
    first = hv.background(change(container.config("sleep", "100", rootfs=rootfs), what))
    link = hv.run("exec", first, "readlink", f"/proc/self/ns/{name}").stdout
    spec = change(sh(f"readlink /proc/self/ns/{name}", rootfs=rootfs), what)
    assert hv.run_spec(spec, "--pod", first).stdout == link
    own = hv.run_spec(sh(f"readlink /proc/self/ns/{name}", rootfs=rootfs), "--pod", first).stdout
    assert own != link


@pytest.fixture
def kept(place):
    """Namespaces that stay without a process, as `ip netns` makes them."""
    paths = {kind: place.path / f"ns-{kind}" for kind in ("network", "uts", "ipc")}
    for path in paths.values():
        path.touch()
    options = [f"--{FILES.get(kind, kind)}={path}" for kind, path in paths.items()]
    subprocess.run(["unshare", *options, "sh", "-c", "hostname kept"], check=True)
    yield paths
    for path in paths.values():
        subprocess.run(["umount", path], check=True)


@pytest.mark.parametrize("kind", ["network", "uts", "ipc"])
def test_namespace_by_path(hv, rootfs, kept, kind):
    name = FILES.get(kind, kind)
    what = with_namespaces(*(k for k in BASE_NAMESPACES if k != kind), (kind, str(kept[kind])))
    if hv.in_vm and kind != "network":
        what["hostname"] = None
        result = inside(hv, rootfs, what, "true", 1)
        assert f"{kept[kind]} is of the host, which a VM cannot enter" in result.stderr
        return
    if kind == "uts":
        what["hostname"] = None
        check(hv, rootfs, what, "hostname", "kept")
    link = f"{name}:[{os.stat(kept[kind]).st_ino}]"
    check(hv, rootfs, what, f"readlink /proc/self/ns/{name}", link)


LINKS = "for name in net ipc uts; do readlink /proc/self/ns/$name; done"


def test_namespaces_of_another_container(hv, rootfs):
    """By the pid that callers know, as CRI implementations name them."""
    first = hv.create(container.config("sleep", "100", rootfs=rootfs))
    hv.run("start", first)
    links = hv.run("exec", first, "sh", "-c", LINKS)
    pid = hv.pid(first)
    spec = namespaces(sh(LINKS, rootfs=rootfs),
                      "mount", "pid", ("network", f"/proc/{pid}/ns/net"), ("ipc", f"/proc/{pid}/ns/ipc"),
                      ("uts", f"/proc/{pid}/ns/uts"))
    del spec["hostname"]
    spec["annotations"] = {"io.kubernetes.cri.container-type": "container",
                           "io.kubernetes.cri.sandbox-id": first}
    assert hv.run_spec(spec).stdout == links.stdout


@pytest.mark.parametrize("kind, path, text", [
    ("network", "/nonexistent/ns", "/nonexistent/ns"), ("uts", "/proc/self/ns/net", "/proc/self/ns/net"),
    ("ipc", "/etc/passwd", "/etc/passwd")])
def test_wrong_namespace_path(hv, rootfs, kind, path, text):
    what = with_namespaces(*(k for k in BASE_NAMESPACES if k != kind), (kind, path))
    result = inside(hv, rootfs, what, "true", 1)
    assert text in result.stderr and not result.stdout


IDENTITY = {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 0, "size": 65536}]}
SHIFTED = {"uidMappings": [{"containerID": 0, "hostID": 100000, "size": 1000},
                           {"containerID": 1000, "hostID": 300000, "size": 10}],
           "gidMappings": [{"containerID": 0, "hostID": 200000, "size": 65536}]}


def user_namespace(**more):
    what = with_namespaces(*BASE_NAMESPACES, "user")
    what["linux"].update(SHIFTED)
    return dict(what, **more)


@pytest.fixture
def shifted_rootfs(own_rootfs, place):
    """One that the mapped root owns, and may reach."""
    place.path.chmod(0o711)
    for top, names, files in os.walk(own_rootfs):
        for name in [".", *names, *files]:
            os.chown(os.path.join(top, name), 100000, 200000, follow_symlinks=False)
    return own_rootfs


@pytest.mark.parametrize("what, script, expected", [
    case(user_namespace(), "awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map",
         "0 100000 1000\n1000 300000 10\n0 200000 65536", id="maps"),
    case(user_namespace(), "id -u; id -g; touch /new; stat -c %u:%g /new /bin", "0\n0\n0:0\n0:0", id="root"),
    case(user_namespace(process={"user": {"uid": 1000, "gid": 1000}}), "id -u; id -g", "1000\n1000",
         id="user"),
    case(user_namespace(), "stat -c %u /proc/1 /dev/pts /dev/shm", "0\n0\n0", id="mounts"),
    case(user_namespace(), "echo x > /dev/null && head -c 2 /dev/zero | wc -c; stat -c %t:%T /dev/null",
         "2\n1:3", id="devices"),
    case(user_namespace(process={"capabilities": {"bounding": ["CAP_SYS_ADMIN"],
                                                  "permitted": ["CAP_SYS_ADMIN"],
                                                  "effective": ["CAP_SYS_ADMIN"]}}),
         "mount -t tmpfs x /mnt && echo mounted; mount -o remount,rw /sys 2>/dev/null || echo refused",
         "mounted\nrefused", id="capabilities"),
])
def test_user_namespace(hv, shifted_rootfs, what, script, expected):
    check(hv, shifted_rootfs, what, script, expected)


def test_user_namespace_from_outside(hv, shifted_rootfs):
    spec = change(container.config("sleep", "100", rootfs=shifted_rootfs), user_namespace())
    cid = hv.create(spec)
    hv.run("start", cid)
    pid = hv.run("ps", "--format", "json", cid).json()[0]
    status = hv.outside("cat", f"/proc/{pid}/status")
    assert re.search(r"^Uid:\t100000\t100000\t100000\t100000$", status, re.M)
    assert re.search(r"^Gid:\t200000\t200000\t200000\t200000$", status, re.M)


OFFSETS = {"linux": {"timeOffsets": {"boottime": {"secs": 1000000}, "monotonic": {"secs": 7, "nanosecs": 5}}}}


def test_time_offsets(hv, rootfs):
    what = change(with_namespaces(*BASE_NAMESPACES, "time"), OFFSETS)
    result = inside(hv, rootfs, what, "cat /proc/uptime; cat /proc/self/timens_offsets")
    lines = result.stdout.splitlines()
    uptime = float(hv.outside("cat", "/proc/uptime").split()[0])
    assert 999990 < float(lines[0].split()[0]) - uptime < 1000010
    assert [line.split() for line in lines[1:]] == [["monotonic", "7", "5"], ["boottime", "1000000", "0"]]


def test_cgroup_namespace(hv, rootfs):
    what = with_namespaces(*BASE_NAMESPACES, "cgroup")
    what["linux"]["resources"] = {"pids": {"limit": 50}}
    check(hv, rootfs, what, "grep -E 'pids|^0:' /proc/self/cgroup | cut -d: -f3 | uniq", "/")


# Mounts

def mounts(*args, **more):
    return dict({"+mounts": [container.mount(*each) for each in args]}, **more)


def tmpfs(*options):
    return mounts(("/mnt", "tmpfs", "tmpfs", *options))


def bind(*options, source="{place}/host"):
    return mounts(("/mnt", "none", source, *options))


OPTIONS = "awk '$5 == \"/mnt\" {print $6}' /proc/self/mountinfo"        # of the mount
TAGS = "awk '$5 == \"/mnt\" {print $7}' /proc/self/mountinfo"           # propagation
DENIED = {"process": {"capabilities": {"bounding": [], "permitted": [], "effective": []}}}


@pytest.fixture
def host(place):
    """Something to bind: {place}/host with files, and {place}/tree with a mount in it."""
    folder = place.path / "host"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_text("from the host\n")
    (folder / "run").write_text("#!/bin/sh\necho ran\n")
    (folder / "run").chmod(0o755)
    os.mknod(folder / "null", 0o666 | 0o020000, os.makedev(1, 3))
    (folder / "null").chmod(0o666)
    (place.path / "other").write_text("another file\n")
    return folder


@pytest.fixture
def tree(place):
    below = place.path / "tree/below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "below", below], check=True)
    (below / "deep").write_text("deep\n")
    yield
    subprocess.run(["umount", below], check=True)


@pytest.mark.parametrize("what, script, expected", [
    case(tmpfs(), "awk '$5 == \"/mnt\"' /proc/self/mountinfo | sed 's/.* - //' | cut -d' ' -f1; "
         "touch /mnt/x && ls /mnt", "tmpfs\nx", id="tmpfs"),
    case(tmpfs("mode=1711"), "stat -c %a /mnt", "1711", id="tmpfs mode"),
    case(tmpfs("size=1m"), "df -k /mnt | awk 'END {print $2}'", "1024", id="tmpfs size"),
    case(tmpfs("uid=5", "gid=6"), "stat -c %u:%g /mnt", "5:6", id="tmpfs owner"),
    case(tmpfs("nr_inodes=10"), "df -i /mnt | awk 'END {print $2}'", "10", id="tmpfs inodes"),
    case(tmpfs("ro"), "touch /mnt/x 2>&1 || " + OPTIONS,
         "touch: /mnt/x: Read-only file system\nro,relatime", id="tmpfs ro"),
    case(tmpfs("ro", "rw"), "touch /mnt/x && echo yes", "yes", id="the last word wins"),
    case(tmpfs("nosuid", "nodev", "noexec"), OPTIONS, "rw,nosuid,nodev,noexec,relatime", id="no…"),
    case(tmpfs("noexec"), "cp /bin/busybox /mnt/true; /mnt/true 2>&1; echo $?",
         re.compile("Permission denied\n126"), id="noexec"),
    case(tmpfs("noexec", "exec"), "cp /bin/busybox /mnt/true; /mnt/true; echo $?", "0", id="exec"),
    case(tmpfs("noatime"), OPTIONS, "rw,noatime", id="noatime"),
    case(tmpfs("strictatime"), OPTIONS, "rw", id="strictatime"),
    case(tmpfs("nodiratime"), OPTIONS, "rw,nodiratime,relatime", id="nodiratime"),
    case(tmpfs("nosymfollow"), "ln -s / /mnt/l; ls /mnt/l/ 2>&1; " + OPTIONS,
         re.compile("Too many levels.*\nrw,relatime,nosymfollow", re.S), id="nosymfollow"),
    case(tmpfs("sync", "dirsync"), "awk '$5 == \"/mnt\"' /proc/self/mountinfo | sed 's/.* - //'",
         re.compile("rw,sync"), id="sync"),
    case(mounts(("/mnt", "ramfs", "ramfs")), "stat -f -c %T /mnt", "ramfs", id="ramfs"),
    case(mounts(("/mnt", "proc", "proc", "hidepid=2")),
         "grep ' /mnt ' /proc/self/mounts | cut -d' ' -f3,4", re.compile("^proc .*hidepid=invisible"),
         id="proc with data"),
    case(mounts(("/mnt", "tmpfs", "first"), ("/mnt/a/b", "tmpfs", "second")),
         "stat -f -c %T /mnt/a/b; grep -c ' /mnt' /proc/self/mounts", "tmpfs\n2", id="below a mount"),
    case(mounts(("/mnt", "tmpfs", "first"), ("/mnt", "tmpfs", "second")),
         "grep ' /mnt ' /proc/self/mounts | cut -d' ' -f1", "first\nsecond", id="in order"),
    case(mounts(("mnt", "tmpfs", "relative")), "grep ' /mnt ' /proc/self/mounts | cut -d' ' -f1", "relative",
         id="relative destination"),
    case(mounts(("/tmp/../mnt", "tmpfs", "dots")), "grep ' /mnt ' /proc/self/mounts | cut -d' ' -f1",
         "dots", id="dots in the destination"),
])
def test_mount(hv, rootfs, what, script, expected):
    check(hv, rootfs, what, script, expected)


@pytest.mark.parametrize("what, script, expected", [
    case(bind("bind"), "cat /mnt/file; touch /mnt/sub/new; ls /mnt/sub", "from the host\nnew", id="bind"),
    case(bind("bind", "ro"), "cat /mnt/file; touch /mnt/new 2>&1",
         "from the host\ntouch: /mnt/new: Read-only file system", id="ro"),
    case(bind("bind", "nosuid", "nodev", "noexec", "ro"), OPTIONS,
         re.compile("^ro,nosuid,nodev,noexec(,relatime)?$"), id="all four"),
    case(bind("bind", "noexec"), "/mnt/run 2>&1; echo $?", re.compile("Permission denied\n126"), id="noexec"),
    case(bind("bind"), "/mnt/run", "ran", id="exec"),
    case(bind("bind", "nodev"), "cat /mnt/null 2>&1", re.compile("Permission denied"), id="nodev"),
    case(bind("bind"), "cat /mnt/null 2>&1; echo $?", "0", id="dev"),
    case(mounts(("/mnt", "bind", "{place}/host")), "cat /mnt/file", "from the host", id="by type"),
    case(bind("rbind", source="../b-{id}/../host"), "cat /mnt/file", "from the host", id="relative source"),
    case(bind("bind", source="{place}/host/../host/./"), "cat /mnt/file", "from the host", id="dots"),
])
def test_bind(hv, rootfs, host, what, script, expected):
    cid = hv.new_id()
    what["+mounts"][0]["source"] = what["+mounts"][0]["source"].replace("{id}", cid)
    spec = change(sh(f"{script}; true", rootfs=rootfs), fill_in(what, hv.place))
    got = hv.run_spec(spec, name=cid).stdout.strip()
    assert expected.search(got) if isinstance(expected, re.Pattern) else got == expected, got


@pytest.mark.parametrize("what, script, expected", [
    case(mounts(("/file", "bind", "{place}/host/file", "bind")), "cat /file", "from the host", id="new file"),
    case(mounts(("/etc/passwd", "bind", "{place}/other", "bind")), "cat /etc/passwd", "another file",
         id="over a file"),
    case(mounts(("/etc/passwd", "bind", "{place}/other", "bind", "ro")), "echo x 2>&1 > /etc/passwd; cat /etc/passwd",
         re.compile("another file$"), id="read-only file"),
    case(mounts(("/a/b/c", "tmpfs", "x")), "stat -c %a:%u:%g /a /a/b; stat -f -c %T /a/b/c",
         "755:0:0\n755:0:0\ntmpfs", id="made directories"),
    case(mounts(("/etc", "tmpfs", "x", "tmpcopyup")), "cat /etc/passwd | head -n 1; stat -f -c %T /etc",
         "root:x:0:0:root:/root:/bin/sh\ntmpfs", id="tmpcopyup"),
    case(mounts(("/home", "tmpfs", "x", "tmpcopyup", "ro")),
         "stat -c %u:%g /home/tester; touch /home/x 2>&1; true",
         "1000:1000\ntouch: /home/x: Read-only file system", id="tmpcopyup ro"),
    case(mounts(("/link/x", "tmpfs", "x")), "stat -f -c %T /usr/x; readlink /link", "tmpfs\nusr",
         id="through a link"),
    case(mounts(("/out/x", "tmpfs", "x")), "stat -f -c %T /usr/x", "tmpfs", id="through a link to the outside"),
])
def test_mount_point(hv, own_rootfs, host, what, script, expected):
    (own_rootfs / "link").symlink_to("usr")
    (own_rootfs / "out").symlink_to("../../../../../../../../usr")
    check(hv, own_rootfs, what, script, expected)
    assert not os.path.exists("/usr/x")


# Of the last mount there: a VM sees the host's mounts as one file system.
BELOW = "awk '$5 ~ \"^/mnt\" {o = $6} END {print o}' /proc/self/mountinfo"


@pytest.mark.parametrize("options, script, expected", [
    case(["bind"], "ls /mnt/below", "", id="bind"),
    case(["rbind"], "cat /mnt/below/deep", "deep", id="rbind"),
    case(["rbind", "ro"], "touch /mnt/x 2>&1; true", "touch: /mnt/x: Read-only file system", id="rbind ro"),
    case(["rbind", "rro"], "touch /mnt/below/x 2>&1; touch /mnt/x 2>&1; true",
         "touch: /mnt/below/x: Read-only file system\ntouch: /mnt/x: Read-only file system", id="rro"),
    case(["rbind", "rnoexec", "rnosuid", "rnodev"], BELOW, "rw,nosuid,nodev,noexec,relatime", id="rno…"),
    case(["rbind", "rnoatime"], BELOW, "rw,noatime", id="rnoatime"),
])
def test_recursive_bind(hv, rootfs, tree, options, script, expected):
    check(hv, rootfs, bind(*options, source="{place}/tree"), script, expected)


def test_read_only_is_not_recursive(hv, rootfs, tree):
    """Or is, where what is mounted below is part of the same file system."""
    result = inside(hv, rootfs, bind("rbind", "ro", source="{place}/tree"), "touch /mnt/below/x 2>&1; true")
    assert result.stdout == ("touch: /mnt/below/x: Read-only file system\n" if hv.in_vm else "")


@pytest.mark.parametrize("option, expected", [
    ("private", r"^-$"), ("rprivate", r"^-$"), ("shared", r"^shared:\d+$"), ("rshared", r"^shared:\d+$"),
    ("slave", r"^(master:\d+|-)$"), ("rslave", r"^(master:\d+|-)$"), ("unbindable", r"^unbindable$"),
    ("runbindable", r"^unbindable$"), (None, r"^-$")])
def test_propagation(hv, rootfs, host, option, expected):
    check(hv, rootfs, bind(*filter(None, ["rbind", option])), TAGS, re.compile(expected))


@pytest.mark.parametrize("value, expected", [
    (None, r"^(master:\d+|-)$"), ("private", r"^-$"), ("rprivate", r"^-$"), ("slave", r"^(master:\d+|-)$"),
    ("rslave", r"^(master:\d+|-)$"), ("shared", r"^shared:\d+$"), ("rshared", r"^shared:\d+$"),
    ("unbindable", r"^unbindable$")])
def test_rootfs_propagation(hv, rootfs, value, expected):
    check(hv, rootfs, {"linux": {"rootfsPropagation": value}},
          "awk '$5 == \"/\" {print $7}' /proc/self/mountinfo", re.compile(expected))


@pytest.mark.parametrize("what, script, expected", [
    case({}, "grep ' /dev/mqueue ' /proc/self/mounts | cut -d' ' -f3; touch /dev/mqueue/q && ls /dev/mqueue",
         "mqueue\nq", id="mqueue"),
    case({}, "ls /dev/pts; stat -c %a:%t:%T /dev/pts/ptmx; readlink /dev/ptmx", "ptmx\n666:5:2\npts/ptmx",
         id="devpts"),
    case({}, "grep ' /dev/shm ' /proc/self/mounts | cut -d' ' -f4", re.compile("nosuid,nodev,noexec.*size=65536k"),
         id="shm"),
    case({}, "grep ' /sys ' /proc/self/mounts | cut -d' ' -f3,4", re.compile("^sysfs ro,nosuid,nodev,noexec"),
         id="sysfs"),
    case(with_namespaces(*BASE_NAMESPACES, "cgroup") | mounts(("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid")),
         "touch /sys/fs/cgroup/x 2>&1 | sed 's/.*: //'; ls /sys/fs/cgroup | grep -cE 'memory|pids|cgroup.procs'",
         re.compile("^(Read-only file system|Permission denied)\n[1-9]"), id="cgroup"),
    case(mounts(("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid")),
         "ls /sys/fs/cgroup | grep -cE 'memory|pids|cgroup.procs'", re.compile("^[1-9]"),
         id="cgroup without a namespace"),
])
def test_special_file_system(hv, rootfs, what, script, expected):
    check(hv, rootfs, what, script, expected)


@pytest.mark.parametrize("kinds", [BASE_NAMESPACES, (*BASE_NAMESPACES, "cgroup")], ids=["without", "with"])
def test_cgroup_mount_changes_no_other(hv, rootfs, kinds):
    """What a container mounts are options of its own: the hierarchy's may not go, as nsdelegate."""
    before = hv.outside("grep", "cgroup2", "/proc/mounts")
    what = with_namespaces(*kinds) | mounts(("/sys/fs/cgroup", "cgroup", "cgroup", "ro"))
    assert not hv.in_vm or "nsdelegate,memory_recursiveprot" in before
    check(hv, rootfs, what, "find /sys/fs/cgroup -name cgroup.procs | wc -l", re.compile("^[1-9]"))
    assert hv.outside("grep", "cgroup2", "/proc/mounts") == before


def test_id_mapped_mount(hv, rootfs, host):
    os.chown(host / "file", 10, 20)
    what = bind("bind", "idmap")
    what["+mounts"][0]["uidMappings"] = [{"containerID": 10, "hostID": 500, "size": 1}]
    what["+mounts"][0]["gidMappings"] = [{"containerID": 20, "hostID": 600, "size": 1}]
    check(hv, rootfs, what, "stat -c %u:%g /mnt/file", "500:600")


@pytest.mark.parametrize("what, words", [
    (mounts(("/mnt", "bind", "{place}/missing", "bind")), ["missing", "no such file"]),
    (mounts(("/mnt", "nosuchfs", "x")), ["nosuchfs"]),
    (mounts(("/mnt", "tmpfs", "x", "nosuchoption=1")), ["/mnt"]),
    (mounts(("/etc/passwd", "tmpfs", "x")), ["/etc/passwd"]),
    (mounts(("/mnt", "bind", "{place}/other", "bind")), ["/mnt"]),
    (mounts(("/", "tmpfs", "x")), ['"/"']),
    (mounts(("/proc/sys", "tmpfs", "x")), ["/proc/sys"]),
    (mounts(("/proc", "tmpfs", "x")), ["/proc"]),
])
def test_bad_mount(hv, rootfs, host, what, words):
    result = inside(hv, rootfs, what, "echo never", 1)
    assert not result.stdout and all(word in result.stderr.lower() for word in words), repr(result)


# Root, masks


@pytest.mark.parametrize("what, script, expected", [
    case({"root": {"readonly": True}}, "touch /x 2>&1; touch /tmp/x 2>&1; touch /dev/shm/x && echo yes; "
         "awk '$5 == \"/\" {print $6}' /proc/self/mountinfo | cut -d, -f1",
         "touch: /x: Read-only file system\ntouch: /tmp/x: Read-only file system\nyes\nro", id="read-only root"),
    case({"linux": {"maskedPaths": ["/etc/passwd"]}}, "cat /etc/passwd | wc -c; stat -c %t:%T /etc/passwd",
         "0\n1:3", id="masked file"),
    case({"linux": {"maskedPaths": ["/home"]}}, "ls /home | wc -l; touch /home/x 2>&1",
         re.compile("^0\ntouch: /home/x: Read-only"), id="masked directory"),
    case({"linux": {"maskedPaths": ["/nonexistent", "/etc/group"]}}, "wc -c < /etc/group", "0",
         id="masked and missing"),
    case({"linux": {"readonlyPaths": ["/home", "/nonexistent"]}}, "touch /home/x 2>&1; touch /x && echo yes",
         "touch: /home/x: Read-only file system\nyes", id="read-only directory"),
    case({"linux": {"readonlyPaths": ["/etc/group"]}}, "(echo x >> /etc/group) 2>&1; true",
         re.compile("Read-only file system"), id="read-only file"),
    case({}, "(echo 1 > /proc/sys/kernel/panic) 2>&1; true", re.compile("Read-only file system"),
         id="read-only sysctl"),
    case({"linux": {"maskedPaths": ["/etc"], "readonlyPaths": ["/etc"]}}, "ls /etc | wc -l", "0", id="both"),
])
def test_paths(hv, own_rootfs, what, script, expected):
    check(hv, own_rootfs, what, script + "; true", expected)


# Devices

DEFAULT_DEVICES = {"null": "1:3", "zero": "1:5", "full": "1:7", "random": "1:8", "urandom": "1:9",
                   "tty": "5:0"}


def test_default_devices(hv, rootfs):
    script = "; ".join(f"stat -c '%t:%T %a %u %F' /dev/{name}" for name in DEFAULT_DEVICES)
    lines = [f"{number} 666 0 character special file" for number in DEFAULT_DEVICES.values()]
    check(hv, rootfs, {}, script, "\n".join(lines))


@pytest.mark.parametrize("script, expected", [
    ("for name in fd stdin stdout stderr; do readlink /dev/$name; done",
     "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2"),
    ("head -c 5 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c", "5\n5"),
    ("echo x > /dev/full; echo $?", "1"), ("echo x > /dev/null; cat < /dev/null; echo $?", "0"),
    ("echo to stdout > /dev/stdout; cat < /dev/stdin", "to stdout"),
    ("ls /dev | grep -v core | sort | tr '\\n' ' '", "fd full mqueue null ptmx pts random shm stderr stdin stdout tty "
     "urandom zero")])
def test_dev(hv, rootfs, script, expected):
    check(hv, rootfs, {}, script, expected)


def device(path, kind, major, minor, **more):
    return dict({"path": path, "type": kind, "major": major, "minor": minor}, **more)


@pytest.mark.parametrize("made, script, expected", [
    case(device("/dev/x", "c", 1, 3), "stat -c '%t:%T %a %u:%g %F' /dev/x",
         "1:3 666 0:0 character special file", id="c"),
    case(device("/dev/x", "u", 1, 3), "stat -c '%t:%T %F' /dev/x", "1:3 character special file", id="u"),
    case(device("/dev/x", "b", 7, 100, fileMode=0o640, uid=3, gid=4), "stat -c '%t:%T %a %u:%g %F' /dev/x",
         "7:64 640 3:4 block special file", id="b"),
    case(device("/dev/x", "p", 0, 0, fileMode=0o600), "stat -c '%a %F' /dev/x", "600 fifo", id="p"),
    case(device("/dev/a/b/x", "c", 1, 5), "head -c 3 /dev/a/b/x | wc -c", "3", id="in a new directory"),
    case(device("/dev/full", "c", 1, 5, fileMode=0o600), "stat -c '%t:%T %a' /dev/full", "1:5 600",
         id="instead of a default one"),
])
def test_extra_device(hv, rootfs, made, script, expected):
    check(hv, rootfs, {"linux": {"devices": [made]}}, script, expected)


KMSG = {"linux": {"devices": [device("/dev/x", "c", 1, 11)]}}
DENY = {"allow": False, "access": "rwm"}
OPEN = "(: < /dev/x) 2>/dev/null && echo r; (: > /dev/x) 2>/dev/null && echo w; " \
       "mknod /dev/y c 1 11 2>/dev/null && echo m; echo end"
MKNOD = {"process": {"capabilities": {name: CAPABILITIES + ["CAP_MKNOD", "CAP_SYSLOG"]
                                      for name in ("bounding", "permitted", "effective")}}}


CHARACTER = {"allow": True, "type": "c", "major": 1, "minor": 11}


@pytest.mark.parametrize("rules, expected", [
    # As everywhere, nodes may always be made: what may be opened is what counts.
    pytest.param([DENY], "m end", id="denied"),
    pytest.param([DENY, dict(CHARACTER, access="rwm")], "r w m end", id="allowed"),
    pytest.param([DENY, CHARACTER], "r w m end", id="access defaults to all"),
    pytest.param([DENY, dict(CHARACTER, access="r")], "r m end", id="r"),
    pytest.param([DENY, dict(CHARACTER, access="w")], "w m end", id="w"),
    pytest.param([DENY, dict(CHARACTER, access="r", minor=-1)], "r m end", id="any minor"),
    pytest.param([DENY, {"allow": True, "type": "c", "access": "m"}], "m end", id="any number"),
    pytest.param([DENY, {"allow": True, "type": "b", "access": "rwm"}], "m end", id="other type"),
    pytest.param([DENY, dict(CHARACTER, access="rw"), dict(CHARACTER, access="w", allow=False)], "r m end",
                 id="in order"),
    pytest.param([{"allow": True, "access": "rwm"}], "r w m end", id="all"),
])
def test_device_rules(hv, rootfs, rules, expected):
    what = change({"linux": {"resources": {"devices": rules}}}, KMSG)
    check(hv, rootfs, what | MKNOD, OPEN, expected.replace(" ", "\n"))


def test_default_devices_are_allowed(hv, rootfs):
    what = {"linux": {"resources": {"devices": [DENY]}}}
    script = "head -c 1 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; echo x > /dev/null; " \
             "echo x > /dev/full 2>/dev/null; echo $?; ls /dev/pts; (: < /dev/ptmx) && echo ptmx"
    check(hv, rootfs, what, script, "1\n1\n1\nptmx\nptmx")


# Names, sysctl


@pytest.mark.parametrize("what, script, expected", [
    case({"hostname": "a-name"}, "hostname", "a-name", id="hostname"),
    case({"hostname": "x" * 64}, "hostname", "x" * 64, id="long hostname"),
    case({"domainname": "example.org"}, "cat /proc/sys/kernel/domainname", "example.org", id="domainname"),
    case({"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}}, "cat /proc/sys/net/ipv4/ip_forward", "1",
         id="net"),
    case({"linux": {"sysctl": {"net.ipv4.ping_group_range": "0 5", "kernel.msgmax": "9000"}}},
         "cat /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/msgmax", "0\t5\n9000", id="two"),
    case({"linux": {"sysctl": {"kernel.shm_rmid_forced": "1"}}}, "cat /proc/sys/kernel/shm_rmid_forced", "1",
         id="ipc"),
    case({"linux": {"sysctl": {"fs.mqueue.msg_max": "20"}}}, "cat /proc/sys/fs/mqueue/msg_max", "20",
         id="mqueue"),
    case({"linux": {"sysctl": {"net/ipv4/conf/lo.x/forwarding": "1", "net.ipv4.ip_forward": "1"}}}, "true", None,
         id="no such sysctl"),
    case({"linux": {"sysctl": {"kernel.panic": "1"}}}, "true", None, id="not namespaced"),
    case({"linux": {"sysctl": {"net.ipv4.ip_forward": "x"}}}, "true", None, id="bad value"),
    case({}, "ip link show lo | grep -o LOOPBACK,UP", "LOOPBACK,UP",
         id="loopback"),
])
def test_names_and_sysctl(hv, rootfs, what, script, expected):
    if expected is None:
        result = inside(hv, rootfs, what, script, 1)
        assert list(what["linux"]["sysctl"])[0] in result.stderr
    else:
        check(hv, rootfs, what, script, expected)


# The process


def process(**members):
    return {"process": members}


def limit(kind, soft, hard):
    return process(rlimits=[{"type": f"RLIMIT_{kind}", "soft": soft, "hard": hard}])


LIMITS = {"AS": "address space", "CORE": "core file size", "CPU": "cpu time", "DATA": "data size",
          "FSIZE": "file size", "LOCKS": "file locks", "MEMLOCK": "locked memory",
          "MSGQUEUE": "msgqueue size", "NICE": "nice priority", "NOFILE": "open files",
          "NPROC": "processes", "RSS": "resident set", "RTPRIO": "realtime priority",
          "RTTIME": "realtime timeout", "SIGPENDING": "pending signals", "STACK": "stack size"}


MAY_RAISE = int(re.search("CapEff:\t(.*)", pathlib.Path("/proc/self/status").read_text())[1], 16) >> 24 & 1


@pytest.mark.parametrize("kind", LIMITS)
def test_rlimit(hv, rootfs, kind):
    soft, hard = (1 << 30, 1 << 31) if kind in ("AS", "DATA", "STACK") else (500, 1000)
    if kind in ("NICE", "RTPRIO") and not MAY_RAISE:
        soft = hard = 0
    script = f"sed -n 's/Max {LIMITS[kind]} *//p' /proc/self/limits | awk '{{print $1, $2}}'"
    check(hv, rootfs, limit(kind, soft, hard), script, f"{soft} {hard}")


@pytest.mark.parametrize("soft, hard, expected", [
    (UNLIMITED, UNLIMITED, "unlimited unlimited"), (0, UNLIMITED, "0 unlimited"), (0, 0, "0 0")])
def test_rlimit_values(hv, rootfs, soft, hard, expected):
    check(hv, rootfs, limit("CORE", soft, hard), "sed -n 's/Max core file size *//p' /proc/self/limits | "
          "awk '{print $1, $2}'", expected)


NET, KILL, AUDIT = 1 << 10, 1 << 5, 1 << 29     # of CAPABILITIES
ALL_THREE = NET | KILL | AUDIT
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def caps(uid=0, **sets):
    return process(capabilities={name: sets.get(name, []) for name in
                                 ("bounding", "effective", "permitted", "inheritable", "ambient")},
                   user={"uid": uid, "gid": uid})


@pytest.mark.parametrize("what, expected", [
    pytest.param(process(capabilities=None), (0, 0, 0, 0, 0), id="none asked"),
    pytest.param(caps(), (0, 0, 0, 0, 0), id="empty sets"),
    pytest.param(caps(bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES),
                 (0, ALL_THREE, ALL_THREE, ALL_THREE, 0), id="root"),
    pytest.param(caps(bounding=["CAP_KILL"], effective=["CAP_KILL"], permitted=["CAP_KILL"]),
                 (0, KILL, KILL, KILL, 0), id="one"),
    pytest.param(caps(1000, bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES),
                 (0, 0, 0, ALL_THREE, 0), id="a user has none"),
    pytest.param(caps(1000, bounding=CAPABILITIES, effective=CAPABILITIES, permitted=CAPABILITIES,
                      inheritable=["CAP_KILL", "CAP_AUDIT_WRITE"], ambient=["CAP_KILL"]),
                 (KILL | AUDIT, KILL, KILL, ALL_THREE, KILL), id="ambient"),
    pytest.param(caps(1000, bounding=["CAP_KILL"], permitted=["CAP_KILL"], inheritable=["CAP_KILL"]),
                 (KILL, 0, 0, KILL, 0), id="inheritable"),
    # The peers fail there; the kernel allows it to who does it in the right order.
    pytest.param(caps(1000, bounding=["CAP_KILL"], inheritable=["CAP_KILL", "CAP_AUDIT_WRITE"]),
                 (KILL | AUDIT, 0, 0, KILL, 0), id="inheritable and not bounding"),
    pytest.param(caps(1000, permitted=["CAP_AUDIT_WRITE"], inheritable=["CAP_AUDIT_WRITE"],
                      ambient=["CAP_AUDIT_WRITE"]),
                 (AUDIT, AUDIT, AUDIT, 0, AUDIT), id="ambient and not bounding"),
])
def test_capabilities(hv, rootfs, what, expected):
    lines = [f"{name}:\t{value:016x}" for name, value in zip(SETS, expected)]
    check(hv, rootfs, what, "grep ^Cap /proc/self/status", "\n".join(lines))


def test_capabilities_not_to_be_had(hv, rootfs):
    """Left out with a warning, also for an exec."""
    what = caps(1000, bounding=["CAP_KILL"], permitted=["CAP_KILL"], ambient=["CAP_KILL"])
    cid = hv.background(change(container.config("sleep", "1000", rootfs=rootfs), what))
    assert hv.run("exec", cid, "grep", "CapAmb", "/proc/self/status").stdout == f"CapAmb:\t{0:016x}\n"
    log = next(hv.root.rglob("agent.log")).read_text()
    assert re.search(f"{cid}.*its init goes without capabilities.*: CAP_KILL", log), log
    assert re.search(f"{cid}.*an exec goes without capabilities.*: CAP_KILL", log), log


def test_unknown_capability(hv, rootfs):
    """config.md, capabilities: what cannot be mapped is logged as a warning, and should not fail."""
    what = caps(bounding=["CAP_NOPE", "CAP_KILL"], effective=["cap_kill"])
    spec = change(container.config("grep", "CapBnd", "/proc/self/status", rootfs=rootfs), what)
    log = hv.place.path / "log"
    cid = hv.new_id()
    result = hv.run("run", "--bundle", hv.bundle(spec), cid, options=("--log", log))
    assert result.stdout == f"CapBnd:\t{1 << 5:016x}\n"
    for name, value in (("bounding", "CAP_NOPE"), ("effective", "cap_kill")):
        line = rf'level=warning.*process.capabilities.{name}: unknown value \\?"{value}'
        assert re.search(line, log.read_text()), log.read_text()


@pytest.mark.parametrize("what, script, expected", [
    case(process(noNewPrivileges=True), "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1", id="nnp"),
    case(process(noNewPrivileges=False), "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t0", id="no nnp"),
    case(process(oomScoreAdj=500), "cat /proc/self/oom_score_adj", "500", id="oomScoreAdj"),
    case(process(oomScoreAdj=-999), "cat /proc/self/oom_score_adj", "-999", id="low oomScoreAdj",
         marks=pytest.mark.skipif(not MAY_RAISE, reason="needs CAP_SYS_RESOURCE")),
    case(process(user={"uid": 0, "gid": 0, "umask": 0o27}), "umask", "0027", id="umask"),
    case(process(user={"uid": 0, "gid": 0, "umask": 0}), "umask", "0000", id="umask 0"),
    case({}, "umask", "0022", id="default umask"),
    case(process(user={"uid": 1000, "gid": 1000}), "id -un; id -gn; id -G", "tester\ntester\n1000", id="ids"),
    case(process(user={"uid": 4711, "gid": 4712}), "id -u; id -g; echo $HOME", "4711\n4712\n/", id="unknown ids"),
    case(process(user={"uid": 1000, "gid": 1000, "additionalGids": [7, 2000]}), "id -G", "1000 7 2000",
         id="additionalGids"),
    case(process(user={"uid": 0, "gid": 0, "additionalGids": list(range(3000, 3100))}), "id -G | wc -w", "101",
         id="many groups"),
    case(process(user={"uid": 1000, "gid": 1000}), "grep ^Groups /proc/self/status | tr -d ' \t'",
         "Groups:", id="no groups"),
    case(process(user={"username": "tester"}), "id -u; id -g; echo $HOME", "1000\n1000\n/home/tester",
         id="username"),
    case(process(user={"uid": 1000, "gid": 1000}), "echo $HOME", "/home/tester", id="HOME"),
    case(process(env=[container.PATH, "HOME=/x", "A=b c", "EMPTY="]), "echo $HOME:$A:${EMPTY-unset}",
         "/x:b c:", id="env"),
    case(process(cwd="/home/tester"), "pwd", "/home/tester", id="cwd"),
    case(process(cwd="/dev/shm/a/b"), "pwd; stat -c %u /dev/shm/a", "/dev/shm/a/b\n0", id="cwd is made"),
    case({}, ["grep", "-E", "^(SigBlk|SigIgn)", "/proc/self/status"], "SigBlk:\t" + "0" * 16 + "\nSigIgn:\t" + "0" * 16,
         id="signals"),
    case({}, "ls /proc/$$/fd; true", "0\n1\n2", id="fds"),
    case({}, "echo $$; cat /proc/1/comm; true", "1\nsh", id="pid 1"),
])
def test_process(hv, rootfs, what, script, expected):
    check(hv, rootfs, what, script, expected)


def test_cwd_of_a_user(hv, own_rootfs):
    (own_rootfs / "home/tester").chmod(0o700)
    check(hv, own_rootfs, process(user={"uid": 1000, "gid": 1000}, cwd="/home/tester"), "pwd", "/home/tester")


STAT = "awk '{print $41, $19, $40}' /proc/self/stat"    # policy, nice, rt_priority
WITH_NICE = {"capabilities": {name: ["CAP_SYS_NICE"] for name in ("bounding", "permitted", "effective")}}


@pytest.mark.parametrize("what, script, expected", [
    case(process(scheduler={"policy": "SCHED_OTHER", "nice": 5}), STAT, "0 5 0", id="other"),
    case(process(scheduler={"policy": "SCHED_OTHER", "nice": -3}), STAT, "0 -3 0", id="negative nice"),
    case(process(scheduler={"policy": "SCHED_BATCH", "nice": 1}), STAT, "3 1 0", id="batch"),
    case(process(scheduler={"policy": "SCHED_IDLE"}), STAT, "5 0 0", id="idle"),
    case(process(scheduler={"policy": "SCHED_FIFO", "priority": 10}), STAT, "1 0 10", id="fifo"),
    case(process(scheduler={"policy": "SCHED_RR", "priority": 99}), STAT, "2 0 99", id="rr"),
    case(process(scheduler={"policy": "SCHED_FIFO", "priority": 10, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
         "awk '{print $41}' /proc/1/stat; " + STAT + "; true", "1\n0 0 0", id="reset on fork"),
    case(process(ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 7}), "ionice", "best-effort: prio 7", id="be"),
    case(process(ioPriority={"class": "IOPRIO_CLASS_RT", "priority": 1}), "ionice", "realtime: prio 1", id="rt"),
    case(process(ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0}), "ionice", re.compile("^idle"),
         id="io idle"),
    case({"linux": {"personality": {"domain": "LINUX32"}}}, "uname -m", "i686", id="LINUX32"),
    case({"linux": {"personality": {"domain": "LINUX"}}}, "uname -m", os.uname().machine, id="LINUX"),
])
def test_scheduling(hv, rootfs, what, script, expected):
    check(hv, rootfs, what, script, expected)


@pytest.mark.skipif(os.cpu_count() < 2, reason="needs two CPUs")
def test_exec_cpu_affinity(hv, rootfs, place):
    cid = hv.background(container.config("sleep", "100", rootfs=rootfs))
    asked = dict(container.config("grep", "Cpus_allowed_list", "/proc/self/status")["process"],
                 execCPUAffinity={"initial": "0", "final": "1"})
    path = place.path / "process.json"
    path.write_text(container.json.dumps(asked))
    assert hv.run("exec", "--process", path, cid).stdout.split() == ["Cpus_allowed_list:", "1"]


@pytest.mark.parametrize("args, what, status, text", [
    (["nosuch"], {}, 1, 'exec: "nosuch": executable file not found in $PATH'),
    (["/bin/nosuch"], {}, 1, 'exec: "/bin/nosuch": stat /bin/nosuch: no such file or directory'),
    (["./nosuch"], {}, 1, 'exec: "./nosuch": stat ./nosuch: no such file or directory'),
    (["/etc/passwd"], {}, 1, 'exec: "/etc/passwd": permission denied'),
    (["/etc"], {}, 1, 'exec: "/etc": permission denied'),
    (["passwd"], process(env=["PATH=/etc"]), 1, 'exec: "passwd": executable file not found in $PATH'),
    ([""], {}, 1, 'exec: "": executable file not found in $PATH'),
    (["true"], process(env=["PATH="]), 1, 'exec: "true": executable file not found in $PATH'),
    (["true"], process(env=["PATH=/nonexistent:/bin"]), 0, ""),
    (["true"], process(env=[]), 0, ""),
    (["bin/true"], {}, 0, ""),
    (["true"], process(env=["PATH=/etc:bin"]), 0, ""),
    (["true"], process(env=["PATH="], cwd="/bin"), 0, ""),
])
def test_search(hv, rootfs, args, what, status, text):
    result = inside(hv, rootfs, what, args, status)
    assert text in result.stderr and not result.stdout, repr(result)


@pytest.mark.parametrize("name, status, reason", [
    ("x" * 5000, 1, "executable file not found in $PATH"), ("/" + "x" * 5000, 1, "file name too long"),
    ("x" * 300, 1, "executable file not found in $PATH")])
def test_long_name(hv, rootfs, name, status, reason):
    """The reason is there, whatever the length of what it is about."""
    result = inside(hv, rootfs, {}, [name], status)
    assert reason in result.stderr and 'exec: "' in result.stderr, repr(result)
    cid = hv.background(container.config("sleep", "1000", rootfs=rootfs))
    error = hv.run("exec", cid, name, status=None).stderr
    assert "exec" in error and (reason in error or "file name too long" in error), error


def test_bad_programs(hv, own_rootfs):
    for name, content, text in (("script", "#!/nosuch/interpreter\n", "no such file"),
                                ("garbage", "\x01\x02\x03", "exec format error")):
        (own_rootfs / name).write_text(content)
        (own_rootfs / name).chmod(0o755)
        result = inside(hv, own_rootfs, {}, [f"/{name}"], 1)
        assert name in result.stderr and text in result.stderr.lower(), repr(result)


# Seccomp


def seccomp(default="SCMP_ACT_ALLOW", *rules, **more):
    return {"linux": {"seccomp": dict({"defaultAction": default, "syscalls": list(rules)}, **more)}}


def rule(action, *names, **more):
    return dict({"names": list(names), "action": action}, **more)


MKDIR = ("mkdir", "mkdirat")
TRY = "mkdir /dev/shm/x 2>&1 | sed 's/.*: //'; ls /dev/shm"


@pytest.mark.parametrize("what, script, expected", [
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", *MKDIR)), TRY, "Operation not permitted", id="errno"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", *MKDIR, errnoRet=38)), TRY,
         "Function not implemented", id="errnoRet"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", *MKDIR, errnoRet=0)), "mkdir /dev/shm/x; echo $?; ls /dev/shm",
         "0", id="errnoRet 0"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ALLOW", *MKDIR)), TRY, "x", id="allow"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_LOG", *MKDIR)), TRY, "x", id="log"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_KILL_PROCESS", *MKDIR)), "mkdir /dev/shm/x; echo $?", "159",
         id="kill process"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_KILL", *MKDIR)), "mkdir /dev/shm/x; echo $?", "159", id="kill"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_TRAP", *MKDIR)), "mkdir /dev/shm/x; echo $?", "159", id="trap"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "no_such_call", *MKDIR)), TRY,
         "Operation not permitted", id="unknown call"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", "mkdir", "mkdirat", args=[
        {"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}]), architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]),
         "mkdir -m 700 /dev/shm/a; mkdir -m 711 /dev/shm/b; ls /dev/shm", re.compile("b$"), id="args",
         marks=pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of x86")),
    case(seccomp(), "grep -E '^Seccomp:' /proc/self/status", "Seccomp:\t2", id="filter"),
    case(change(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", *MKDIR)), process(noNewPrivileges=False)),
         TRY + "; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status",
         "Operation not permitted\nNoNewPrivs:\t0\nSeccomp:\t2", id="without nnp"),
    case(seccomp("SCMP_ACT_ALLOW", rule("SCMP_ACT_ERRNO", *MKDIR), flags=["SECCOMP_FILTER_FLAG_LOG"]), TRY,
         "Operation not permitted", id="flags"),
])
def test_seccomp(hv, rootfs, what, script, expected):
    check(hv, rootfs, what, script, expected)


# cgroups


def resources(**members):
    return {"linux": {"resources": members}}


def control_file(hv, cid, name):
    """"controller/file" in the version 1 hierarchy of the controller, or "file" in the unified one."""
    controller, _, file = name.rpartition("/")
    if hv.in_vm:
        return hv.outside("cat", f"/sys/fs/cgroup/hvrun/{cid}/{file}").strip()
    paths = [path for path in watch.cgroups(cid) if not controller or f"/{controller}/" in path]
    return next(file.read_text().strip() for file in (pathlib.Path(path) / file for path in paths)
                if file.exists())


V1 = (CGROUPS / "memory").is_dir()
MISSING = "cgroup v2 has no such setting"


@pytest.mark.parametrize("what, v1, v2", [
    pytest.param(resources(memory={"limit": 64 << 20}), {"memory/memory.limit_in_bytes": 64 << 20},
                 {"memory.max": 64 << 20}, id="memory"),
    pytest.param(resources(memory={"reservation": 32 << 20}), {"memory/memory.soft_limit_in_bytes": 32 << 20},
                 {"memory.low": 32 << 20}, id="reservation"),
    pytest.param(resources(memory={"limit": -1}), {}, {"memory.max": "max"}, id="unlimited"),
    pytest.param(resources(memory={"limit": 64 << 20, "swap": 64 << 20}), {}, {"memory.max": 64 << 20}, id="swap"),
    pytest.param(resources(memory={"swappiness": 10}), {"memory/memory.swappiness": 10}, MISSING, id="swappiness"),
    pytest.param(resources(memory={"disableOOMKiller": True, "limit": 64 << 20}),
                 {"memory/memory.oom_control": re.compile("oom_kill_disable 1")}, MISSING, id="disableOOMKiller"),
    pytest.param(resources(cpu={"shares": 512}), {"cpu/cpu.shares": 512}, {"cpu.weight": 59}, id="shares"),
    pytest.param(resources(cpu={"quota": 20000, "period": 50000}),
                 {"cpu/cpu.cfs_quota_us": 20000, "cpu/cpu.cfs_period_us": 50000}, {"cpu.max": "20000 50000"},
                 id="quota"),
    pytest.param(resources(cpu={"quota": 20000, "burst": 10000}), {"cpu/cpu.cfs_burst_us": 10000},
                 {"cpu.max.burst": 10000}, id="burst"),
    pytest.param(resources(cpu={"idle": 1}), {"cpu/cpu.idle": 1}, {"cpu.idle": 1}, id="idle"),
    pytest.param(resources(cpu={"cpus": "0", "mems": "0"}), {"cpuset/cpuset.cpus": 0, "cpuset/cpuset.mems": 0},
                 {"cpuset.cpus": 0, "cpuset.mems": 0}, id="cpuset"),
    pytest.param(resources(pids={"limit": 33}), {"pids/pids.max": 33}, {"pids.max": 33}, id="pids"),
    pytest.param(resources(pids={"limit": 0}), {}, {"pids.max": "max"}, id="pids 0"),
    pytest.param(resources(pids={"limit": -1}), {}, {"pids.max": "max"}, id="pids unlimited"),
    pytest.param(resources(unified={"pids.max": "44"}), {"pids/pids.max": 44}, {"pids.max": 44}, id="unified"),
    pytest.param(resources(memory={"limit": 64 << 20}, cpu={"shares": 100}, pids={"limit": 9}),
                 {"memory/memory.limit_in_bytes": 64 << 20, "cpu/cpu.shares": 100, "pids/pids.max": 9},
                 {"memory.max": 64 << 20, "cpu.weight": 17, "pids.max": 9}, id="three"),
])
def test_limits(hv, rootfs, what, v1, v2):
    spec = change(container.config("true", rootfs=rootfs), what)
    files = v1 if V1 and not hv.in_vm else v2
    if files == MISSING:
        assert MISSING in hv.run_spec(spec, status=1).stderr
        return
    cid = hv.create(spec)
    for name, expected in files.items():
        got = control_file(hv, cid, name)
        if isinstance(expected, re.Pattern):
            assert expected.search(got), f"{name}: {got}"
        else:
            assert got == str(expected), name


@pytest.mark.parametrize("what, words", [
    (resources(unified={"no.such": "1"}), ["unified", "no.such"]),
    (resources(unified={"cgroup.procs": "1"}), ["unified", "cgroup.procs"]),
    (resources(cpu={"cpus": "1000"}), ["cpu.cpus"]),
    (resources(cpu={"quota": 5}), ["cpu.quota"]),
    (resources(hugepageLimits=[{"pageSize": "3MB", "limit": 0}]), ["hugepageLimits"]),
    (resources(rdma={"nosuch0": {"hcaHandles": 1}}), ["rdma"]),
])
def test_impossible_limits(hv, rootfs, what, words):
    """Never dropped silently."""
    result = inside(hv, rootfs, what, "true", 1)
    assert all(word in result.stderr for word in words), repr(result)


def test_cgroups_path(hv, rootfs, place):
    what = resources(pids={"limit": 10})
    what["linux"]["cgroupsPath"] = f"/{place.token}/below/own"
    cid = hv.create(change(container.config("true", rootfs=rootfs), what))
    find = ["find", "/sys/fs/cgroup", "-depth", "-type", "d", "-path"]
    assert f"/{place.token}/below/own\n" in hv.outside(*find, f"*/{place.token}/*")
    hv.run("delete", "--force", cid)
    left = hv.outside(*find, f"*/{place.token}*").split()
    assert not [path for path in left if path.endswith("/own")]
    if left:
        hv.outside("rmdir", *left)      # what is above its own is not the runtime's


def test_pids_limit_holds(hv, rootfs):
    script = "n=0; while [ $n -lt 30 ]; do sleep 5 & n=$((n+1)); done 2>&1; ls -d /proc/[0-9]* | wc -l"
    spec = change(sh(script, rootfs=rootfs), resources(pids={"limit": 10}))
    result = hv.run_spec(spec, status=None)
    assert "can't fork" in result.stdout + result.stderr


def test_memory_limit_holds(hv, rootfs):
    """The process that takes too much is killed, and events tell."""
    spec = change(sh("sleep 0.1; exec tail /dev/zero", rootfs=rootfs), resources(memory={"limit": 20 << 20}))
    cid = hv.create(spec)
    events = hv.popen("events", "--interval", "1h", cid)
    time.sleep(0.05)
    hv.run("start", cid)
    watch.eventually(lambda: hv.status(cid) == "stopped", 5)
    out = events.communicate(timeout=5)[0].decode()
    assert '"oom"' in out, out
    assert watch.exit_status(hv.pid(cid)) == 128 + signal.SIGKILL


def test_memory_of_one_process(hv, rootfs):
    """Not of the container: its init goes on."""
    what = resources(memory={"limit": 20 << 20})
    check(hv, rootfs, what, "tail /dev/zero; echo $?", "137")


def test_cpu_quota_holds(hv, rootfs):
    """The share of a CPU that it had by the clock, in hundredths."""
    what = resources(cpu={"quota": 30000, "period": 100000})
    times = "read up idle < /proc/uptime; echo $up $(awk '{print $14 + $15 + $16 + $17}' /proc/1/stat); "
    script = times + "timeout 1 sh -c 'while :; do :; done'; " + times
    (begin, before), (end, after) = [map(float, line.split()) for line in
                                     inside(hv, rootfs, what, script).stdout.splitlines()]
    assert after - before <= 30 * (end - begin) + 5


def test_cpuset_holds(hv, rootfs):
    check(hv, rootfs, resources(cpu={"cpus": "0"}), "grep Cpus_allowed_list /proc/self/status",
          "Cpus_allowed_list:\t0")


# Hooks, state


def hook(kind, script, place, **more):
    return dict({"path": "/bin/sh", "args": ["sh", "-c", script], "env": [container.PATH, f"KIND={kind}"]}, **more)


KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def test_hooks(hv, rootfs, place):
    """In order, in their places, with the state on stdin and no environment but their own."""
    script = ("cat > {0}/$KIND; echo $KIND >> {0}/order; readlink /proc/self/ns/mnt > {0}/ns-$KIND; "
              "env | cut -d= -f1 | sort | tr '\n' ' ' > {0}/env-$KIND; pwd > {0}/pwd-$KIND")
    outside = {kind: [hook(kind, script.format(place.path), place)] for kind in KINDS}
    outside["startContainer"] = [hook("startContainer", script.format("/mnt"), place)]
    outside["prestart"] = [hook("first", script.format(place.path), place)] + outside["prestart"]
    spec = change(sh("echo init >> /mnt/order; sleep 0.1", rootfs=rootfs),
                  dict(bind("bind", source=str(place.path)), hooks=outside,
                       annotations={"org.example": "a value"}))
    cid = hv.create(spec)

    def read(name):
        """createContainer hooks are run beside the container, in its mount namespace."""
        if hv.in_vm and name.endswith("createContainer"):
            return hv.outside("cat", f"{place.path}/{name}")
        return (place.path / name).read_text()

    order = ["first", "prestart", "createRuntime", "createContainer"]
    if hv.in_vm:
        assert hv.outside("cat", f"{place.path}/order").split() == [order.pop()]
    assert read("order").split() == order
    hv.run("start", cid)
    hv.wait_status(cid, "stopped")
    assert sorted(read("order").split()[len(order):]) == ["init", "poststart", "startContainer"]
    assert read("order").split()[len(order)] == "startContainer"
    hv.run("delete", cid)
    assert read("order").split()[-1] == "poststop"
    states = {"prestart": "creating", "createRuntime": "creating", "createContainer": "creating",
              "startContainer": "created", "poststart": "running", "poststop": "stopped"}
    ours = os.readlink("/proc/self/ns/mnt")
    for kind, status in states.items():
        state = container.json.loads(read(kind))
        assert state["id"] == cid and state["status"] == status, kind
        assert state["bundle"] == str(place.path / f"b-{cid}"), kind
        assert state["annotations"] == {"org.example": "a value"}, kind
        assert state["ociVersion"].startswith("1."), kind
        if kind in ("createContainer", "startContainer"):
            assert state["pid"] == 1, kind
        elif kind != "poststop":
            # Of a VM it is the VM's.
            assert state["pid"] > 1, kind
        assert (read(f"ns-{kind}").strip() == ours) == (kind not in ("createContainer", "startContainer")), kind
        assert set(read(f"env-{kind}").split()) - {"_", "SHLVL", "OLDPWD"} == {"KIND", "PATH", "PWD"}, kind
    if hv.in_vm:
        hv.outside("rm", "-r", place.path)


def test_pid_in_a_hook_on_the_host(hv, rootfs, place):
    """Network plugins enter the namespaces of that pid."""
    script = f"pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net > {place.path}/net"
    spec = change(sh("readlink /proc/self/ns/net", rootfs=rootfs),
                  {"hooks": {"createRuntime": [hook("createRuntime", script, place)]}})
    assert hv.run_spec(spec).stdout == (place.path / "net").read_text()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_hook_that_fails_creation(hv, rootfs, place, kind):
    after = {"poststop": [hook("poststop", f"echo x > {place.path}/after", place)]}
    script = "echo because of this >&2; exit 3"
    spec = change(sh("echo never", rootfs=rootfs), {"hooks": dict(after, **{kind: [hook(kind, script, place)]})})
    bundle = hv.bundle(spec)
    cid = hv.new_id()
    text = hv.fails("create", "--bundle", bundle, cid)
    assert kind in text and "because of this" in text
    assert hv.list() == [] and not watch.cgroups(cid)
    result = hv.run("run", "--bundle", bundle, hv.new_id(), status=1)
    assert not result.stdout


def test_hook_that_fails_the_start(hv, rootfs, place):
    spec = change(sh("echo never > /mnt/never", rootfs=rootfs),
                  dict(bind("bind", source=str(place.path)),
                       hooks={"startContainer": [hook("startContainer", "echo because >&2; exit 1", place)]}))
    cid = hv.create(spec)
    text = hv.fails("start", cid)
    assert "startContainer" in text and "because" in text
    hv.wait_status(cid, "stopped")
    assert not (place.path / "never").exists()
    result = hv.run_spec(spec, status=1)
    assert "startContainer" in result.stderr


def test_poststart_hook_that_fails(hv, rootfs, place):
    """The container does not stay running behind a start that has failed."""
    spec = change(container.config("sleep", "100", rootfs=rootfs),
                  {"hooks": {"poststart": [hook("poststart", "echo because >&2; exit 1", place)]}})
    cid = hv.create(spec)
    text = hv.fails("start", cid)
    assert "poststart" in text and "because" in text
    watch.eventually(lambda: hv.list() == [] or hv.status(cid) == "stopped", 2)
    result = hv.run_spec(spec, status=1)
    assert "poststart" in result.stderr
    assert [entry["id"] for entry in hv.list()] in ([], [cid])


def test_hook_that_fails_after_the_end(hv, rootfs, place):
    """Is told, and the others are run; everything is removed."""
    hooks = [hook("a", "exit 1", place), hook("b", f"touch {place.path}/b", place)]
    spec = change(sh("echo done", rootfs=rootfs), {"hooks": {"poststop": hooks}})
    assert hv.run_spec(spec).stdout == "done\n"
    assert (place.path / "b").exists()
    assert hv.list() == []


def test_hook_timeout(hv, rootfs, place):
    spec = change(sh("echo never", rootfs=rootfs),
                  {"hooks": {"createRuntime": [hook("createRuntime", "sleep 100 & sleep 100", place, timeout=1)]}})
    began = time.monotonic()
    result = hv.run_spec(spec, status=1)
    assert 0.9 < time.monotonic() - began < 2
    assert "createRuntime" in result.stderr and not result.stdout
    assert re.search("time", result.stderr)


def test_state(hv, rootfs):
    spec = change(container.config("sleep", "100", rootfs=rootfs), {"annotations": {"a": "b", "empty": ""}})
    cid = hv.create(spec)
    state = hv.state(cid)
    assert state["id"] == cid and state["status"] == "created" and state["pid"] == hv.pid(cid)
    assert state["annotations"] == {"a": "b", "empty": ""}
    assert state["bundle"] == str(hv.place.path / f"b-{cid}") and state["ociVersion"].startswith("1.")
    hv.run("start", cid)
    assert hv.status(cid) == "running"
    hv.run("kill", cid, "KILL")
    hv.wait_status(cid, "stopped")
    assert not hv.state(cid).get("pid")


# What is refused


@pytest.mark.parametrize("what, words", [
    ({"ociVersion": None}, ["ociVersion"]), ({"ociVersion": "2.0.0"}, ["ociVersion", "2.0.0"]),
    ({"process": None}, ["process"]), ({"root": None}, ["root"]),
    (process(args=[]), ["process.args"]), (process(cwd="relative"), ["process.cwd"]), (process(cwd=None), ["cwd"]),
    ({"root": {"path": "nosuchrootfs"}}, ["nosuchrootfs"]),
    ({"linux": {"namespaces": [{"type": "nosuch"}]}}, ["nosuch"]),
    ({"linux": {"namespaces": [{"type": "uts"}, {"type": "uts"}, {"type": "mount"}]}}, ["namespaces"]),
    (process(rlimits=[{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]), ["RLIMIT_NOSUCH"]),
    (limit("CORE", 2, 1), ["rlimits"]),
    (process(oomScoreAdj=2000), ["oomScoreAdj"]),
    (seccomp("SCMP_ACT_NOSUCH"), ["SCMP_ACT_NOSUCH"]),
    ({"linux": {"rootfsPropagation": "nosuch"}}, ["nosuch"]),
    ({"linux": {"timeOffsets": {"boottime": {"secs": 1}}}}, ["timeOffsets"]),
    ({"linux": IDENTITY}, ["Mappings"]),
    ({"hooks": {"poststart": [{"path": "relative"}]}}, ["path"]),
    (process(scheduler={"policy": "SCHED_NOSUCH"}), ["SCHED_NOSUCH"]),
    ({"linux": {"personality": {"domain": "NOSUCH"}}}, ["NOSUCH"]),
    (process(user={"username": "nosuchuser"}), ["nosuchuser"]),
])
def test_refused(hv, rootfs, what, words):
    result = inside(hv, rootfs, what, "echo never", 1)
    assert not result.stdout and all(word in result.stderr for word in words), repr(result)
    assert result.stderr.count("\n") == 1
