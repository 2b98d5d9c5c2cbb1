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
    """Which is the partition's, and a local partition shares these with the host."""
    name = FILES.get(kind, kind)
    what = with_namespaces(*(k for k in BASE_NAMESPACES if k != kind))
    check(hv, rootfs, what, f"readlink /proc/self/ns/{name}", os.readlink(f"/proc/self/ns/{name}"))


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
    if kind == "uts":
        what["hostname"] = None
        check(hv, rootfs, what, "hostname", "kept")
    link = f"{name}:[{os.stat(kept[kind]).st_ino}]"
    check(hv, rootfs, what, f"readlink /proc/self/ns/{name}", link)


def test_namespaces_of_another_container(hv, rootfs):
    """By the pid that callers know, as CRI implementations name them."""
    first = hv.create(container.config("sleep", "100", rootfs=rootfs))
    hv.run("start", first)
    links = hv.run("exec", first, "sh", "-c", "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts")
    pid = hv.pid(first)
    spec = namespaces(sh("readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts", rootfs=rootfs),
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


def test_user_namespace_on_the_host(hv, shifted_rootfs):
    spec = change(container.config("sleep", "100", rootfs=shifted_rootfs), user_namespace())
    cid = hv.create(spec)
    hv.run("start", cid)
    pid = hv.run("ps", "--format", "json", cid).json()[0]
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    assert re.search(r"^Uid:\t100000\t100000\t100000\t100000$", status, re.M)
    assert re.search(r"^Gid:\t200000\t200000\t200000\t200000$", status, re.M)


OFFSETS = {"linux": {"timeOffsets": {"boottime": {"secs": 1000000}, "monotonic": {"secs": 7, "nanosecs": 5}}}}


def test_time_offsets(hv, rootfs):
    what = change(with_namespaces(*BASE_NAMESPACES, "time"), OFFSETS)
    result = inside(hv, rootfs, what, "cat /proc/uptime; cat /proc/self/timens_offsets")
    lines = result.stdout.splitlines()
    uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
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


@pytest.mark.parametrize("options, script, expected", [
    case(["bind"], "ls /mnt/below", "", id="bind"),
    case(["rbind"], "cat /mnt/below/deep", "deep", id="rbind"),
    case(["rbind", "ro"], "touch /mnt/below/x && echo yes; touch /mnt/x 2>&1; true",
         "yes\ntouch: /mnt/x: Read-only file system", id="rbind ro"),
    case(["rbind", "rro"], "touch /mnt/below/x 2>&1; touch /mnt/x 2>&1; true",
         "touch: /mnt/below/x: Read-only file system\ntouch: /mnt/x: Read-only file system", id="rro"),
    case(["rbind", "rnoexec", "rnosuid", "rnodev"],
         "awk '$5 ~ \"^/mnt\" {print $6}' /proc/self/mountinfo | grep -c nosuid,nodev,noexec", "2", id="rno…"),
    case(["rbind", "rnoatime"], "awk '$5 ~ \"^/mnt\" {print $6}' /proc/self/mountinfo | grep -c noatime",
         "2", id="rnoatime"),
])
def test_recursive_bind(hv, rootfs, tree, options, script, expected):
    check(hv, rootfs, bind(*options, source="{place}/tree"), script, expected)


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
    case({}, "stat -f -c %T /dev/mqueue; touch /dev/mqueue/q && ls /dev/mqueue", "mqueue\nq", id="mqueue"),
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
    case({"linux": {"maskedPaths": ["/nonexistent", "/proc/kcore"]}}, "wc -c < /proc/kcore", "0",
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
    ("readlink /dev/fd /dev/stdin /dev/stdout /dev/stderr",
     "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2"),
    ("head -c 5 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c", "5\n5"),
    ("echo x > /dev/full; echo $?", "1"), ("echo x > /dev/null; cat < /dev/null; echo $?", "0"),
    ("echo to stdout > /dev/stdout; cat < /dev/stdin", "to stdout"),
    ("ls /dev | sort | tr '\\n' ' '", "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty "
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
    case(device("/dev/null", "c", 1, 5, fileMode=0o600), "stat -c '%t:%T %a' /dev/null", "1:5 600",
         id="instead of a default one"),
])
def test_extra_device(hv, rootfs, made, script, expected):
    check(hv, rootfs, {"linux": {"devices": [made]}}, script, expected)


KMSG = {"linux": {"devices": [device("/dev/x", "c", 1, 11)]}}
DENY = {"allow": False, "access": "rwm"}
OPEN = "(: < /dev/x) 2>/dev/null && echo r; (: > /dev/x) 2>/dev/null && echo w; " \
       "mknod /dev/y c 1 11 2>/dev/null && echo m; echo end"
MKNOD = {"process": {"capabilities": {name: CAPABILITIES + ["CAP_MKNOD"]
                                      for name in ("bounding", "permitted", "effective")}}}


@pytest.mark.parametrize("rules, expected", [
    case([DENY], "", "end", id="denied"),
    case([DENY, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}], "", "r w m end",
         id="allowed"),
    case([DENY, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}], "", "r end", id="r"),
    case([DENY, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"}], "", "w end", id="w"),
    case([DENY, {"allow": True, "type": "c", "major": 1, "access": "r"}], "", "r end", id="any minor"),
    case([DENY, {"allow": True, "type": "c", "access": "m"}], "", "m end", id="any number"),
    case([DENY, {"allow": True, "type": "b", "access": "rwm"}], "", "end", id="other type"),
    case([DENY, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rw"},
          {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "w"}], "", "r end", id="in order"),
    case([{"allow": True, "access": "rwm"}], "", "r w m end", id="all"),
])
def test_device_rules(hv, rootfs, rules, expected, request):
    pass
