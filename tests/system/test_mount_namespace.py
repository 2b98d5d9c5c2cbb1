# SPDX-License-Identifier: Apache-2.0
"""Containers without a mount namespace of their own: they have none at all, or join another's."""

import os
import re
import subprocess

import pytest

import container
import watch
from container import config, mount, namespaces, sh
from test_spec import SHIFTED, change
from test_terminal import Terminal

OTHERS = ("pid", "network", "ipc", "uts")
LINKS = "for name in mnt pid net ipc uts; do readlink /proc/self/ns/$name; done"
NOTHING = {"mounts": [], "linux": {"maskedPaths": [], "readonlyPaths": []}}


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


def mounts_of(pid, hv=None):
    """The lines of its namespace, as its root sees them, without what differs each time, and what
    another copy of the tests mounts meanwhile."""
    lines = hv.outside("cat", f"/proc/{pid}/mountinfo").splitlines() if hv else watch.mounts(pid)
    return sorted(line.split(" ", 2)[2] for line in lines
                  if not hv or "/tmp/hv" not in line or hv.place.token in line)


def link_of(hv, pid, name="mnt"):
    return hv.outside("readlink", f"/proc/{pid}/ns/{name}").strip()


# None at all


def bare(*args, **more):
    """A container with a root directory, and that is all."""
    spec = config(*args, **more) if len(args) > 1 else sh(*args, **more)
    return change(namespaces(spec, *OTHERS), NOTHING)


@pytest.fixture
def first(hv, rootfs):
    """The first container of a partition, whose agent has made its mounts by now; the agent's pid."""
    cid = hv.background(config("sleep", "1000", rootfs=rootfs))
    pid = hv.agent_pid_there(cid)
    before = mounts_of(pid, hv)
    yield cid, pid
    assert mounts_of(pid, hv) == before, "the agent's own mounts"


def test_no_mount_namespace(hv, own_rootfs, first):
    (own_rootfs / "mark").touch()
    box = hv.background(bare("cat > /said; sleep 1000", rootfs=own_rootfs), "--pod", first[0])
    inside = hv.run("exec", box, "sh", "-c", "pwd; cd ..; pwd; ls -d mark; echo $$").stdout.split()
    assert inside[:3] == ["/", "/", "mark"] and int(inside[3]) > 1
    assert not list((own_rootfs / "dev").iterdir())
    hv.run("kill", box, "KILL")
    hv.wait_status(box, "stopped")
    hv.run("delete", box)


def test_root_of_the_agent(hv, first):
    """Its /proc is there to look with."""
    cid, agent = first
    box = hv.background(bare("sleep", "1000", rootfs="/"), "--pod", cid)
    init = hv.init_pid(box)
    inside = hv.run("exec", box, "sh", "-c", LINKS).stdout.split()
    assert inside == [link_of(hv, init, name) for name in ("mnt", "pid", "net", "ipc", "uts")]
    assert inside[0] == link_of(hv, agent)
    assert inside[1] != link_of(hv, agent, "pid")
    hv.run("kill", box, "TERM")
    hv.run("kill", "--all", box, "KILL")
    hv.wait_status(box, "stopped")


def test_no_namespace_but_that_of_the_cgroup(hv, own_rootfs, first):
    spec = namespaces(bare("echo $0; exit 7", rootfs=own_rootfs), "cgroup")
    spec.pop("hostname")
    assert hv.run_spec(spec, "--pod", first[0], status=7).stdout == "sh\n"


def test_no_namespace_at_all(hv, own_rootfs, first):
    spec = namespaces(bare("sleep", "1000", rootfs=own_rootfs))
    spec.pop("hostname")
    box = hv.background(spec, "--pod", first[0])
    assert hv.run("exec", box, "ls", "-d", "/home").stdout == "/home\n"
    hv.run("delete", "-f", box)


@pytest.mark.parametrize("script, process, expected", [
    ("pwd", {"cwd": "/home/tester"}, "/home/tester"), ("pwd", {"cwd": "/a/b"}, "/a/b"),
    ("id -u; echo $HOME", {"user": {"username": "tester"}}, "1000\n/home/tester"),
    ("echo x > /new; cat /new; cat", {}, "x"),
])
def test_process_without_a_mount_namespace(hv, own_rootfs, first, script, process, expected):
    spec = change(bare(script, rootfs=own_rootfs), {"process": process})
    assert hv.run_spec(spec, "--pod", first[0]).stdout.strip() == expected


def test_user_namespace_without_a_mount_namespace(hv, own_rootfs, first):
    hv.place.path.chmod(0o711)
    spec = namespaces(bare("sleep", "1000", rootfs=own_rootfs), *OTHERS, "user")
    spec["linux"].update(SHIFTED)
    box = hv.background(spec, "--pod", first[0])
    assert hv.run("exec", box, "sh", "-c", "id -u; ls -d /home; stat -c %u /home").stdout == "0\n/home\n65534\n"
    hv.run("delete", "-f", box)


DEVICE = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}


@pytest.mark.parametrize("what, words", [
    ({"mounts": [mount("/proc", "proc", "proc")]}, "need a mount namespace"),
    ({"mounts": [mount("/mnt", "bind", "/etc", "bind")]}, "need a mount namespace"),
    ({"linux": {"devices": [DEVICE]}}, "need a mount namespace"),
    ({"linux": {"rootfsPropagation": "shared"}}, "need a mount namespace"),
    ({"root": {"readonly": True}}, "need a mount namespace"),
    ({"linux": {"maskedPaths": ["/etc"]}}, "needs a namespace of type mount"),
    ({"linux": {"readonlyPaths": ["/etc"]}}, "needs a namespace of type mount"),
    ({"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}}, "/proc/sys"),
    ({"root": {"path": "/nonexistent"}}, "/nonexistent"),
    ({"process": {"cwd": "/etc/passwd"}}, "/etc/passwd"),
])
def test_what_needs_a_mount_namespace(hv, own_rootfs, first, what, words):
    spec = change(bare("echo never", rootfs=own_rootfs), what)
    result = hv.run_spec(spec, "--pod", first[0], status=1)
    assert words in result.stderr and not result.stdout and result.stderr.count("\n") == 1, repr(result)


def test_terminal_without_devpts(hv, own_rootfs, first, terminal):
    box = hv.background(bare("sleep", "1000", rootfs=own_rootfs), "--pod", first[0])
    terminal.run(hv, "exec", "-t", box, "true")
    assert terminal.wait() not in (0, None)
    assert b"the container has no /dev/pts" in terminal.said
    spec = bare("true", rootfs=own_rootfs, terminal=True)
    terminal.run(hv, "run", "--pod", first[0], "-b", hv.bundle(spec), hv.new_id())
    assert terminal.wait() == 1
    assert terminal.said.count(b"the container has no /dev/pts") == 2


def test_terminal_of_the_agent(hv, first, terminal):
    spec = bare("tty; test -t 0 && echo yes", rootfs="/", terminal=True)
    terminal.run(hv, "run", "--pod", first[0], "-b", hv.bundle(spec), hv.new_id())
    terminal.expect(b"/dev/pts/")
    terminal.expect(b"yes")
    assert terminal.wait() == 0


# Another's


class Other:
    """A container that others join; it sees one more root file system at /second."""

    def __init__(self, hv, rootfs, second, **more):
        spec = change(config("sleep", "1000", rootfs=rootfs), more)
        spec["mounts"] = spec["mounts"] + [mount("/second", "bind", second, "rbind")]
        self.hv = hv
        self.cid = hv.create(spec)
        hv.run("start", self.cid)
        self.pid = hv.pid(self.cid)
        self.init, self.agent = hv.init_pid(self.cid), hv.agent_pid_there(self.cid)
        self.link = link_of(hv, self.init)
        self.before = self.state()

    def state(self):
        inside = self.hv.run("exec", self.cid, "sh", "-c", "ls -a / /dev /proc/sys; cat /proc/1/mountinfo").stdout
        return inside, mounts_of(self.agent, self.hv)

    def path(self, kind="mnt"):
        return f"/proc/{self.pid}/ns/{kind}"


@pytest.fixture
def other(hv, own_rootfs, rootfs):
    (own_rootfs / "second").mkdir()
    (own_rootfs / "etc/only").write_text("only here\n")
    made = Other(hv, own_rootfs, container.clone_rootfs(rootfs, hv.place.path / "second"))
    yield made
    assert made.state() == made.before, "what the first container sees"


def joining(other, *args, root="/second", kinds=OTHERS, **more):
    spec = config(*args, rootfs=root, **more) if len(args) > 1 else sh(*args, rootfs=root, **more)
    return namespaces(spec, *kinds, ("mount", other.path()))


def test_joined_namespace(hv, other):
    script = "readlink /proc/self/ns/mnt; ls / | grep -c second; grep -c . /proc/self/mountinfo; ls /dev/null"
    link, second, lines, null = hv.run_spec(joining(other, script)).stdout.split()
    assert (link, second, null) == (other.link, "0", "/dev/null") and int(lines) > 6


def test_exec_in_a_joined_namespace(hv, other):
    cid = hv.background(joining(other, "sleep", "1000"))
    links = hv.run("exec", cid, "sh", "-c", LINKS + "; ls -d /second /etc/only 2>&1; true").stdout.split()
    inits = hv.run("exec", cid, "sh", "-c", LINKS.replace("self", "1")).stdout.split()
    assert links[:5] == inits and links[0] == other.link and "No" in links
    # Whose namespace it is sees the mounts, where they are, and has the root that it had.
    seen = hv.run("exec", other.cid, "sh", "-c", "cat /etc/only; grep -c ' /second' /proc/1/mountinfo").stdout
    assert seen.startswith("only here\n") and int(seen.split()[-1]) > 6
    assert mounts_of(other.agent, hv) == other.before[1]
    hv.run("kill", cid, "KILL")
    hv.wait_status(cid, "stopped")
    hv.run("delete", cid)
    assert other.state() == other.before


@pytest.mark.parametrize("what, script, expected", [
    ({"+mounts": [mount("/etc/passwd", "bind", "/etc/only", "bind")]}, "cat /etc/passwd", "only here"),
    ({"+mounts": [mount("/mnt", "bind", "/etc", "bind", "ro")]}, "touch /mnt/x 2>&1; cat /mnt/only",
     "touch: /mnt/x: Read-only file system\nonly here"),
    ({"+mounts": [mount("/mnt", "tmpfs", "x", "ro")]}, "touch /mnt/x 2>&1; true",
     "touch: /mnt/x: Read-only file system"),
    ({"+mounts": [mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")]},
     "ls /sys/fs/cgroup | grep -cE 'memory|pids|cgroup.procs'", re.compile("^[1-9]")),
    ({"+mounts": [dict(mount("/mnt", "bind", "/etc", "bind", "idmap"),
                       uidMappings=[{"containerID": 0, "hostID": 500, "size": 1}],
                       gidMappings=[{"containerID": 0, "hostID": 500, "size": 1}])]},
     "stat -c %u:%g /mnt/only", "500:500"),
    ({"root": {"readonly": True}}, "touch /x 2>&1; true", "touch: /x: Read-only file system"),
    ({"linux": {"maskedPaths": ["/etc/passwd", "/home"]}}, "wc -c < /etc/passwd; ls /home | wc -l", "0\n0"),
    ({"linux": {"devices": [DEVICE]}}, "stat -c %t:%T /dev/x", "1:3"),
    ({"linux": {"rootfsPropagation": "shared"}}, "awk '$5 == \"/\" {print $7}' /proc/self/mountinfo",
     re.compile("^shared:[0-9]+$")),
    ({"root": {"path": "second"}}, None, "no such file or directory"),
    ({"root": {"path": "/second/./home/../"}}, "pwd; ls -d /home", "/\n/home"),
    ({"process": {"cwd": "/home/tester", "user": {"username": "tester"}}}, "pwd; id -u", "/home/tester\n1000"),
    ({"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}}, "cat /proc/sys/net/ipv4/ip_forward", "1"),
])
def test_mounts_in_a_joined_namespace(hv, other, what, script, expected):
    result = hv.run_spec(change(joining(other, script or "true"), what), status=0 if script else 1)
    got = result.stdout.strip() if script else result.stderr
    if isinstance(expected, re.Pattern):
        assert expected.search(got), repr(result)
    else:
        assert expected in got if not script else got == expected, repr(result)


def test_root_of_a_joined_namespace(hv, other):
    spec = change(joining(other, "sleep", "1000", root="/"), NOTHING)
    cid = hv.background(spec)
    assert hv.run("exec", cid, "sh", "-c", "cat /etc/only; ls -d /second").stdout == "only here\n/second\n"
    assert other.state() == other.before
    hv.run("delete", "-f", cid)


def test_all_namespaces_of_another(hv, other):
    """As a sidecar that looks into its neighbour."""
    names = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts"}
    spec = change(joining(other, LINKS + "; readlink /proc/1/ns/mnt; cat /proc/1/cmdline", root="/",
                          kinds=[(kind, other.path(name)) for kind, name in names.items()]), NOTHING)
    spec.pop("hostname")
    lines = hv.run_spec(spec).stdout.split("\n")
    assert lines[0] == lines[5] == other.link and lines[6] == "sleep\0" + "1000\0"


@pytest.mark.parametrize("what", [
    {"mounts": [mount("/mnt", "tmpfs", "x")]}, {"linux": {"devices": [DEVICE]}}, {"root": {"readonly": True}},
    {"linux": {"maskedPaths": ["/etc"]}}, {"linux": {"readonlyPaths": ["/etc"]}},
    {"linux": {"rootfsPropagation": "private"}}])
def test_mounts_over_the_root_of_a_joined_namespace(hv, other, what):
    spec = change(change(joining(other, "true", root="/"), NOTHING), what)
    result = hv.run_spec(spec, status=1)
    assert "not the joined mount namespace's own" in result.stderr and result.stderr.count("\n") == 1


def test_terminal_in_a_joined_namespace(hv, other, terminal):
    spec = joining(other, "tty; cat /proc/1/mountinfo | grep -c ' /dev/console '", terminal=True)
    terminal.run(hv, "run", "-b", hv.bundle(spec), hv.new_id())
    terminal.expect(b"/dev/pts/0\r\n1\r\n")
    assert terminal.wait() == 0
    spec = change(joining(other, "tty", root="/", terminal=True), NOTHING)
    terminal.run(hv, "run", "-b", hv.bundle(spec), hv.new_id())
    terminal.expect(b"/dev/pts/0\r\n")
    assert terminal.wait() == 0


@pytest.mark.parametrize("what, words", [
    ({"+mounts": [mount("/mnt", "bind", "/nonexistent", "bind")]}, "/nonexistent"),
    ({"process": {"args": ["/nonexistent"]}}, "/nonexistent"),
    ({"process": {"cwd": "/etc/passwd"}}, "/etc/passwd"),
    ({"hooks": {"createContainer": [{"path": "/bin/false"}]}}, "createContainer"),
])
def test_failure_in_a_joined_namespace(hv, other, what, words):
    """What was mounted by then is gone, as the fixture checks."""
    result = hv.run_spec(change(joining(other, "true"), what), status=1)
    assert words in result.stderr


def test_the_joined_container_goes_first(hv, other):
    cid = hv.background(joining(other, "sleep", "1000"))
    others = hv.background(change(joining(other, "sleep", "1000", root="/"), NOTHING))
    agent, before = other.agent, other.before
    hv.run("delete", "-f", other.cid)
    assert hv.run("exec", cid, "readlink", "/proc/self/ns/mnt").stdout.strip() == other.link
    assert hv.run("exec", others, "cat", "/etc/only").stdout == "only here\n"
    hv.run("delete", "-f", cid)
    assert "/second/proc" not in hv.run("exec", others, "cat", "/proc/self/mountinfo", status=None).stdout
    other.state = lambda: before
    assert mounts_of(agent, hv) == before[1]


@pytest.mark.parametrize("target, words", [
    ("/proc/1/root/second", "symbolic links"), ("/nonexistent", "no such file"), ("/etc/passwd", "not a directory"),
    ("../../../../..", "not the joined mount namespace's own"), ("loop", "symbolic links")])
def test_hostile_root_in_a_joined_namespace(hv, other, own_rootfs, target, words):
    (own_rootfs / "loop").symlink_to(target)
    try:
        result = hv.run_spec(joining(other, "true", root="/loop"), status=1)
        assert words in result.stderr, repr(result)
    finally:
        (own_rootfs / "loop").unlink()


@pytest.mark.parametrize("kind", ["uts", "net", "user"])
def test_another_kind_of_namespace(hv, other, kind):
    spec = namespaces(sh("true", rootfs="/second"), *OTHERS, ("mount", other.path(kind)))
    error = hv.run_spec(spec, status=1).stderr
    assert "is not a mount namespace" in error and error.count("\n") == 1


@pytest.mark.parametrize("kind, words", [
    (None, "no such file"), (os.mkfifo, "is not a mount namespace"), (os.mkdir, "is not a mount namespace"),
    (lambda path: path.touch(), "is not a mount namespace")])
def test_no_namespace_by_that_path(hv, rootfs, place, kind, words):
    path = place.path / "ns"
    if kind:
        kind(path)
    error = hv.run_spec(namespaces(sh("true", rootfs=rootfs), *OTHERS, ("mount", path)), status=1).stderr
    if hv.in_vm:
        words = "is of the host, which a VM cannot enter"
    assert words in error and str(path) in error and error.count("\n") == 1


def test_mount_namespace_of_the_host(hv, rootfs):
    error = hv.run_spec(namespaces(sh("true", rootfs=rootfs), *OTHERS, ("mount", "/proc/1/ns/mnt")), status=1).stderr
    assert "is of no container here" in error


# With user namespaces


@pytest.fixture
def mapped(hv, own_rootfs, rootfs):
    """One with a user namespace of its own, which owns the mount namespace."""
    (own_rootfs / "second").mkdir()
    second = container.clone_rootfs(rootfs, hv.place.path / "second")
    hv.place.path.chmod(0o711)
    for root in (own_rootfs, second):
        subprocess.run(["chown", "-hR", "100000:200000", root], check=True)
    spec = namespaces(config(), *OTHERS, "mount", "user")
    made = Other(hv, own_rootfs, second, linux=dict(spec["linux"], **SHIFTED))
    yield made
    assert made.state() == made.before


def test_joined_with_its_user_namespace(hv, mapped):
    spec = joining(mapped, "sleep", "1000", kinds=[*OTHERS, ("user", mapped.path("user"))])
    cid = hv.background(spec)
    script = "readlink /proc/self/ns/mnt; id -u; ls -d /second 2>/dev/null; stat -c %u /home /dev/null"
    assert hv.run("exec", cid, "sh", "-c", script).stdout.split()[:3] == [mapped.link, "0", "0"]
    hv.run("delete", "-f", cid)


def test_joined_without_its_user_namespace(hv, mapped):
    """The host's root may enter, and sees the owners as they are."""
    spec = joining(mapped, "stat -c %u /home; readlink /proc/self/ns/mnt")
    assert hv.run_spec(spec).stdout.split() == ["100000", mapped.link]


def test_joined_with_another_user_namespace(hv, other):
    spec = joining(other, "true", kinds=[*OTHERS, "user"])
    spec["linux"].update(SHIFTED)
    error = hv.run_spec(spec, status=1).stderr
    assert "does not belong to a new user namespace" in error and error.count("\n") == 1
    box = namespaces(config("sleep", "1000", rootfs="/"), "user", *OTHERS)
    box = hv.create(change(dict(box, linux=dict(box["linux"], **SHIFTED)), NOTHING), "--pod", other.cid)
    user = f"/proc/{hv.pid(box)}/ns/user"
    error = hv.run_spec(joining(other, "true", kinds=[*OTHERS, ("user", user)]), status=1).stderr
    assert "does not belong to the user namespace" in error and error.count("\n") == 1


# By paths that hvrun does not look at


def test_shared_mounts_below_the_root(agent, session, rootfs, place):
    """Of the container's mounts only its root gets out to peers, and is taken back."""
    shared = place.path / "shared"
    shared.mkdir()
    container.clone_rootfs(rootfs, shared / "root")
    script = f"mount --bind {shared} {shared} && mount --make-shared {shared} && " \
             "exec unshare --mount --propagation unchanged sleep 1000"
    process = session.vm_exec("sh", "-c", script)
    link = f"/proc/{agent.host_pid(process.pid)}/ns/mnt"
    watch.eventually(lambda: os.readlink(link) != os.readlink(f"/proc/{agent.pid}/ns/mnt"))
    ours, theirs = mounts_of(agent.pid), mounts_of(agent.host_pid(process.pid))
    for _ in range(2):
        cid, init = agent.run(namespaces(config("sleep", "1000", rootfs=shared / "root"), *OTHERS,
                                         ("mount", f"/proc/{process.pid}/ns/mnt")), "")
        assert len(mounts_of(agent.pid)) == len(ours) + 1
        assert len(mounts_of(agent.host_pid(process.pid))) > len(theirs) + 6
        init.signal(9)
        init.finish()
        session.delete(cid)
        assert (mounts_of(agent.pid), mounts_of(agent.host_pid(process.pid))) == (ours, theirs)
    process.signal(9)
    process.finish()
    assert session.vm_exec("umount", str(shared)).finish()[0] == 0


MOUNTS = """
import ctypes, os, sys
proc = os.open("/proc/self", os.O_PATH)
assert ctypes.CDLL(None).setns(int(sys.argv[1]), 0) == 0
print(open(os.open("mountinfo", os.O_RDONLY, dir_fd=proc)).read())
"""


def mounts_in(namespace_fd):
    return subprocess.run(["/usr/bin/python3", "-c", MOUNTS, str(namespace_fd)], pass_fds=[namespace_fd], check=True,
                          capture_output=True, text=True).stdout


def test_mounts_go_with_the_agent(agent, session, own_rootfs):
    """Also those in a mount namespace that lives on."""
    process = session.vm_exec("unshare", "--mount", "sleep", "1000")
    link = f"/proc/{agent.host_pid(process.pid)}/ns/mnt"
    watch.eventually(lambda: os.readlink(link) != os.readlink(f"/proc/{agent.pid}/ns/mnt"))
    kept = os.open(link, os.O_RDONLY)
    agent.run(namespaces(config("sleep", "1000", rootfs=own_rootfs), *OTHERS,
                         ("mount", f"/proc/{process.pid}/ns/mnt")), "")
    assert f"{own_rootfs}/proc" in mounts_in(kept)
    assert agent.end() == 0
    assert str(own_rootfs) not in mounts_in(kept)
    os.close(kept)


def test_mount_namespace_of_the_agent(agent, session, rootfs):
    spec = namespaces(sh("true", rootfs=rootfs), *OTHERS, ("mount", "/proc/self/ns/mnt"))
    answer = session.create(agent.new_id(), spec, agent.bundle("x"), result=-2147024809)
    assert "/proc/self/ns/mnt: is the agent's" in str(answer)
