# SPDX-License-Identifier: Apache-2.0
"""The OCI runtime spec: one container per property, asked from within what it sees."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

import watch
from container import PATH, config, mount, namespaces, sh, without_namespace, write_bundle


def out(hv, spec, **more):
    return hv.run_spec(spec, **more).stdout


def status_of(hv, spec, *names):
    """Lines of /proc/self/status."""
    text = out(hv, spec)
    found = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return [found[name] for name in names]


def mounts_of(text):
    """{mount point: (options of the mount, propagation, type, options of the file system)}"""
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        kind, _, options = right.split(" ", 2)
        found[fields[4]] = (set(fields[5].split(",")), fields[6:], kind, set(options.split(",")))
    return found


# Namespaces


@pytest.mark.parametrize("kind, name", [("pid", "pid"), ("network", "net"), ("ipc", "ipc"),
                                        ("uts", "uts"), ("mount", "mnt"), ("cgroup", "cgroup"),
                                        ("time", "time")])
def test_new_namespace(hv, rootfs, kind, name):
    spec = sh(f"readlink /proc/self/ns/{name}; sleep 1000", rootfs=rootfs)
    if kind not in [n["type"] for n in spec["linux"]["namespaces"]]:
        spec["linux"]["namespaces"].append({"type": kind})
    cid = hv.background(spec)
    watch.eventually(lambda: hv.run("logs", cid).stdout)
    inside = hv.run("logs", cid).stdout.strip()
    assert inside.startswith(f"{name}:[")
    assert inside != os.readlink(f"/proc/{hv.agent_pid(cid)}/ns/{name}")
    assert inside == os.readlink(f"/proc/{hv.init_pid(cid)}/ns/{name}")


@pytest.mark.parametrize("kind, name", [("pid", "pid"), ("network", "net"), ("ipc", "ipc"),
                                        ("uts", "uts"), ("cgroup", "cgroup")])
def test_namespace_of_the_partition(hv, rootfs, kind, name):
    """What is not named is shared with the VM."""
    spec = without_namespace(config("sleep", "1000", rootfs=rootfs), kind)
    if kind == "uts":
        del spec["hostname"]
    cid = hv.background(spec)
    assert os.readlink(f"/proc/{hv.init_pid(cid)}/ns/{name}") == \
        os.readlink(f"/proc/{hv.agent_pid(cid)}/ns/{name}")


def test_process_1(hv, rootfs):
    assert out(hv, sh("echo $$; ls /proc | grep -c '^[0-9]'", rootfs=rootfs)).split()[0] == "1"


@pytest.fixture
def other_network(hv):
    """A network namespace that somebody else has made: its process and a file for it."""
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"],
                               stdout=subprocess.PIPE)
    watch.own(process)
    process.stdout.readline()
    file = hv.place.path / "netns"
    file.touch()
    subprocess.run(["mount", "--bind", f"/proc/{process.pid}/ns/net", file], check=True)
    yield process.pid, file
    subprocess.run(["umount", file], check=True)
    process.kill()
    process.wait()
    process.stdout.close()


def test_namespace_by_path(hv, rootfs, other_network):
    pid, file = other_network
    expected = os.readlink(f"/proc/{pid}/ns/net")
    spec = namespaces(sh("readlink /proc/self/ns/net", rootfs=rootfs), "pid", "mount", "uts", "ipc",
                      ("network", file))
    assert out(hv, spec).strip() == expected


def test_namespace_by_pid(hv, rootfs, other_network):
    """As podman and docker name it. A pid of the host says nothing in a VM, so there it is refused; what
    may not happen is that another process's namespace is joined."""
    pid, _ = other_network
    spec = namespaces(sh("readlink /proc/self/ns/net", rootfs=rootfs), "pid", "mount", "uts", "ipc",
                      ("network", f"/proc/{pid}/ns/net"))
    result = hv.run_spec(spec, status=None)
    if result.returncode == 0:
        assert result.stdout.strip() == os.readlink(f"/proc/{pid}/ns/net")
    else:
        assert f"/proc/{pid}/ns/net" in result.stderr


def test_user_namespace(hv, own_rootfs):
    for top, names, files in os.walk(own_rootfs):
        for name in names + files:
            os.chown(os.path.join(top, name), 100000, 100000, follow_symlinks=False)
    os.chown(own_rootfs, 100000, 100000)
    own_rootfs.parent.chmod(0o755)
    spec = sh("cat /proc/self/uid_map; id -u; touch /made; ls -ln /etc/passwd | tr -s ' ' |"
              "cut -d' ' -f3; echo hi > /dev/stdout; echo x > /dev/null", rootfs=own_rootfs)
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 5000}]
    spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 5000}]
    text = out(hv, spec).split()
    assert text == ["0", "100000", "5000", "0", "0", "hi"]
    assert (own_rootfs / "made").stat().st_uid == 100000


def test_several_mappings(hv, own_rootfs):
    own_rootfs.parent.chmod(0o755)
    spec = sh("cat /proc/self/uid_map /proc/self/gid_map", rootfs=own_rootfs)
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1},
                                    {"containerID": 1, "hostID": 200000, "size": 10}]
    spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 1}]
    assert [line.split() for line in out(hv, spec).splitlines()] == \
        [["0", "0", "1"], ["1", "200000", "10"], ["0", "0", "1"]]


def test_time_offsets(hv, rootfs):
    spec = sh("cat /proc/self/timens_offsets; cut -d. -f1 /proc/uptime", rootfs=rootfs)
    spec["linux"]["namespaces"].append({"type": "time"})
    spec["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000, "nanosecs": 5},
                                    "monotonic": {"secs": 2000000}}
    lines = [line.split() for line in out(hv, spec).splitlines()]
    assert ["boottime", "1000000", "5"] in lines and ["monotonic", "2000000", "0"] in lines
    assert int(lines[-1][0]) > 1000000


# The root file system and mounts


def test_root_is_writable(hv, own_rootfs):
    out(hv, sh("echo x > /file", rootfs=own_rootfs))
    assert (own_rootfs / "file").read_text() == "x\n"


def test_root_is_read_only(hv, own_rootfs):
    spec = sh("! touch /file && touch /dev/shm/x && touch /tmp/x; grep ' / / ' /proc/self/mountinfo;"
              "cat /proc/self/mountinfo", rootfs=own_rootfs)
    spec["root"]["readonly"] = True
    spec["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    assert "ro" in mounts_of(out(hv, spec))["/"][0]
    assert not (own_rootfs / "file").exists()


def test_nothing_of_the_outside_is_mounted(hv, rootfs):
    text = out(hv, config("cat", "/proc/self/mountinfo", rootfs=rootfs))
    points = set(mounts_of(text))
    assert points - {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"} <= \
        {"/proc/kcore", "/proc/latency_stats", "/proc/timer_list", "/proc/bus", "/proc/fs",
         "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
    assert mounts_of(text)["/proc"][2] == "proc"


@pytest.mark.parametrize("options, has, lacks", [
    ([], {"rw", "relatime"}, {"nosuid", "nodev", "noexec"}),
    (["nosuid", "nodev", "noexec"], {"nosuid", "nodev", "noexec", "rw"}, {"ro"}),
    (["ro"], {"ro"}, {"rw"}),
    (["noatime"], {"noatime"}, {"relatime"}),
    (["nodiratime"], {"nodiratime"}, set()),
    (["strictatime"], set(), {"relatime", "noatime"}),
    (["nosymfollow"], {"nosymfollow"}, set()),
    (["nosuid", "suid", "ro", "rw"], {"rw"}, {"nosuid", "ro"}),
    (["noexec", "exec", "defaults"], {"rw"}, {"noexec"})])
def test_mount_flags(hv, rootfs, options, has, lacks):
    spec = config("cat", "/proc/self/mountinfo", rootfs=rootfs)
    spec["mounts"].append(mount("/mnt", "tmpfs", "tmpfs", *options))
    flags = mounts_of(out(hv, spec))["/mnt"][0]
    assert has <= flags and not lacks & flags


def test_options_of_the_file_system(hv, rootfs):
    spec = sh("cat /proc/self/mountinfo; stat -c %a:%u:%g /mnt", rootfs=rootfs)
    spec["mounts"].append(mount("/mnt", "tmpfs", "tmpfs", "size=1m", "mode=1750", "uid=5", "gid=6",
                                "nr_inodes=100"))
    text = out(hv, spec)
    assert text.splitlines()[-1] == "1750:5:6"
    assert "size=1024k" in mounts_of(text.rsplit("\n", 2)[0])["/mnt"][3]


@pytest.fixture
def shared(hv):
    """A directory of the host with something in it."""
    path = hv.place.path / "shared"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_text("content\n")
    return path


def test_bind_mounts(hv, rootfs, shared):
    spec = sh("cat /mnt/file; echo new > /mnt/new; cat /run/one; ! touch /tmp/x && ! sh -c"
              " 'echo > /tmp/file' && echo ro", rootfs=rootfs)
    spec["mounts"] += [mount("/mnt", "bind", shared, "bind"),
                       mount("/run", "tmpfs", "tmpfs"),
                       mount("/run/one", "bind", shared / "file", "bind", "ro"),
                       mount("/tmp", "none", shared, "rbind", "ro", "nosuid")]
    assert out(hv, spec) == "content\ncontent\nro\n"
    assert (shared / "new").read_text() == "new\n"


def test_mount_points_are_made(hv, own_rootfs, shared):
    spec = sh("cat /a/b/c; ls -d /d/e/f", rootfs=own_rootfs)
    spec["mounts"] += [mount("/a/b/c", "bind", shared / "file", "bind"),
                       mount("/d/e/f", "bind", shared, "rbind")]
    assert out(hv, spec) == "content\n/d/e/f\n"
    assert (own_rootfs / "a/b/c").is_file() and (own_rootfs / "d/e/f").is_dir()


def test_mounts_are_made_in_order(hv, rootfs, shared):
    spec = sh("ls /mnt; ls /mnt/sub", rootfs=rootfs)
    spec["mounts"] += [mount("/mnt", "bind", shared, "bind"),
                       mount("/mnt/sub", "tmpfs", "tmpfs"),
                       mount("/mnt/sub/deep", "bind", shared, "bind")]
    assert out(hv, spec).split() == ["file", "sub", "deep"]


def test_recursive_bind(hv, rootfs, shared):
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "sub"], check=True)
    try:
        (shared / "sub/inner").write_text("x")
        spec = sh("ls /mnt/sub; echo -; ls /tmp/sub; echo -; touch /run/sub/y && echo writable;"
                  "touch /home/sub/y 2>/dev/null || echo read-only", rootfs=rootfs)
        spec["mounts"] += [mount("/mnt", "bind", shared, "rbind"),
                           mount("/tmp", "bind", shared, "bind"),
                           mount("/run", "bind", shared, "rbind", "ro"),
                           mount("/home", "bind", shared, "rbind", "rro")]
        assert out(hv, spec).split() == ["inner", "-", "-", "writable", "read-only"]
    finally:
        subprocess.run(["umount", shared / "sub"], check=True)


@pytest.mark.parametrize("option, expected", [("shared", "shared:"), ("slave", "master:"),
                                              ("private", None), ("unbindable", "unbindable"),
                                              ("rshared", "shared:"), ("rprivate", None)])
def test_propagation(hv, rootfs, shared, option, expected):
    subprocess.run(["mount", "--bind", shared, shared], check=True)
    subprocess.run(["mount", "--make-shared", shared], check=True)
    try:
        spec = config("cat", "/proc/self/mountinfo", rootfs=rootfs)
        spec["mounts"].append(mount("/mnt", "bind", shared, "rbind", option))
        tags = mounts_of(out(hv, spec))["/mnt"][1]
    finally:
        subprocess.run(["umount", shared], check=True)
    assert any(tag.startswith(expected) for tag in tags) if expected else not tags


@pytest.mark.parametrize("value", ["shared", "slave", "private", "rshared", "rslave", "rprivate"])
def test_propagation_of_the_root(hv, rootfs, value):
    spec = config("cat", "/proc/self/mountinfo", rootfs=rootfs)
    spec["linux"]["rootfsPropagation"] = value
    tags = mounts_of(out(hv, spec))["/"][1]
    assert any(tag.startswith("shared:") for tag in tags) == ("shared" in value)


def test_tmpcopyup(hv, rootfs):
    spec = sh("cat /etc/group; touch /etc/x", rootfs=rootfs)
    spec["mounts"].append(mount("/etc", "tmpfs", "tmpfs", "tmpcopyup"))
    assert out(hv, spec).startswith("root:x:0:")


def test_idmapped_mount(hv, rootfs, shared):
    os.chown(shared / "file", 1000, 1000)
    spec = sh("stat -c %u /mnt/file", rootfs=rootfs)
    bind = mount("/mnt", "bind", shared, "bind", "idmap")
    bind["uidMappings"] = [{"containerID": 1000, "hostID": 3000, "size": 10}]
    bind["gidMappings"] = [{"containerID": 1000, "hostID": 3000, "size": 10}]
    spec["mounts"].append(bind)
    assert out(hv, spec) == "3000\n"


def test_cgroup_mount(hv, rootfs):
    """A container sees its own cgroups there, and read-only."""
    spec = sh("find /sys/fs/cgroup -name cgroup.procs | wc -l; cat /proc/self/cgroup; ls -d"
              " /sys/fs/cgroup/*; find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -exec"
              " sh -c 'echo $$ > $0' {} \\; 2>&1 | grep -c -v -i read-only", rootfs=rootfs)
    spec["linux"]["namespaces"].append({"type": "cgroup"})
    spec["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev",
                                "relatime", "ro"))
    lines = hv.run_spec(spec, status=None).stdout.splitlines()
    assert int(lines[0]) >= 1 and lines[-1] == "0"
    assert all(line.split(":", 2)[2] == "/" for line in lines if re.match(r"0:", line))


def test_masked_paths(hv, own_rootfs):
    (own_rootfs / "etc/secret").write_text("secret")
    spec = sh("cat /etc/secret; ls /home; ls /proc/scsi /sys/firmware 2>/dev/null; head -c 1 /proc/kcore;"
              "! touch /home/x 2>/dev/null && echo masked", rootfs=own_rootfs)
    spec["linux"]["maskedPaths"] += ["/etc/secret", "/home", "/proc/scsi", "/sys/firmware",
                                     "/does/not/exist"]
    assert out(hv, spec) == "masked\n"


def test_read_only_paths(hv, own_rootfs):
    spec = sh("! touch /home/x && ! sh -c 'echo 1 > /proc/sys/kernel/domainname' && ! sh -c"
              " 'echo > /etc/passwd' && touch /etc/y && cat /etc/passwd | head -n 1", rootfs=own_rootfs)
    spec["linux"]["readonlyPaths"] += ["/home", "/etc/passwd", "/does/not/exist"]
    assert out(hv, spec).startswith("root:")


# Devices


def test_default_devices(hv, rootfs):
    script = ("for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done;"
              "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done;"
              "echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c;"
              "echo y > /dev/stdout")
    lines = out(hv, sh(script, rootfs=rootfs)).splitlines()
    assert lines[:6] == ["/dev/null character special file 1:3 666",
                         "/dev/zero character special file 1:5 666",
                         "/dev/full character special file 1:7 666",
                         "/dev/random character special file 1:8 666",
                         "/dev/urandom character special file 1:9 666",
                         "/dev/tty character special file 5:0 666"]
    assert lines[6:10] == ["/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2"]
    assert lines[10] in ("pts/ptmx", "/dev/pts/ptmx")
    assert lines[11:] == ["2", "3", "y"]


def test_devices(hv, rootfs):
    spec = sh("stat -c '%n %F %t:%T %a %u:%g' /dev/mine /dev/sub/block /dev/pipe", rootfs=rootfs)
    spec["linux"]["devices"] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/sub/block", "type": "b", "major": 7, "minor": 200},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600}]
    lines = out(hv, spec).splitlines()
    assert lines[0] == "/dev/mine character special file 1:5 640 3:4"
    assert lines[1].startswith("/dev/sub/block block special file 7:c8 ")
    assert lines[2].startswith("/dev/pipe fifo") and lines[2].endswith("600 0:0")


def test_device_cgroup(hv, rootfs):
    if not os.path.exists("/dev/net/tun") and not os.path.exists("/dev/fuse"):
        pytest.skip("neither /dev/net/tun nor /dev/fuse here")
    path = "/dev/fuse" if os.path.exists("/dev/fuse") else "/dev/net/tun"
    number = os.stat(path).st_rdev
    device = {"path": "/dev/it", "type": "c", "major": os.major(number), "minor": os.minor(number),
              "fileMode": 0o666}
    deny = {"allow": False, "access": "rwm"}
    allow = {"allow": True, "type": "c", "major": os.major(number), "minor": os.minor(number)}
    for rules, allowed in (([deny], False), ([deny, dict(allow, access="rwm")], True),
                           ([deny, dict(allow, access="w")], False), ([], True)):
        spec = sh(": < /dev/it && echo open; head -c 1 /dev/zero | wc -c", rootfs=rootfs)
        spec["linux"]["devices"] = [device]
        spec["linux"]["resources"]["devices"] = rules
        lines = hv.run_spec(spec, status=None).stdout.split()
        assert lines == (["open", "1"] if allowed else ["1"]), rules


def test_no_new_devices_by_mknod(hv, rootfs):
    spec = sh("mknod /tmp/x b 7 0; cat /tmp/x", rootfs=rootfs)
    capabilities = ["CAP_MKNOD"]
    spec["process"]["capabilities"] = {name: capabilities for name in
                                       ("bounding", "effective", "permitted")}
    spec["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    spec["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    result = hv.run_spec(spec, status=1)
    assert "ermitted" in result.stderr or "ermission" in result.stderr


# Identity of the process


def test_hostname(hv, rootfs):
    spec = sh("hostname; cat /proc/sys/kernel/domainname", rootfs=rootfs)
    spec["hostname"], spec["domainname"] = "my-name", "my.domain"
    assert out(hv, spec) == "my-name\nmy.domain\n"


def test_sysctl(hv, rootfs):
    spec = sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn",
              rootfs=rootfs)
    spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65000",
                               "net/core/somaxconn": "77"}
    assert out(hv, spec) == "1\n65000\n77\n"


def test_rlimits(hv, rootfs):
    spec = config("cat", "/proc/self/limits", rootfs=rootfs)
    spec["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 123, "hard": 456},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_CPU", "soft": 1000, "hard": 2000},
        {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": (1 << 64) - 1},
        {"type": "RLIMIT_MEMLOCK", "soft": 1 << 16, "hard": 1 << 17},
        {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60}]
    text = re.sub(r"  +", "|", out(hv, spec))
    for line in ("Max open files|123|456", "Max core file size|0|0", "Max cpu time|1000|2000",
                 "Max stack size|1048576|unlimited", "Max locked memory|65536|131072",
                 "Max processes|50|60"):
        assert line in text


def capability_mask(*numbers):
    return f"{sum(1 << n for n in numbers):016x}"


KILL, SYS_ADMIN, NET_RAW, CHOWN = 5, 21, 13, 0
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def test_capabilities_of_root(hv, rootfs):
    spec = config("cat", "/proc/self/status", rootfs=rootfs, capabilities={
        "bounding": ["CAP_KILL", "CAP_SYS_ADMIN", "CAP_NET_RAW"], "permitted": ["CAP_KILL", "CAP_NET_RAW"],
        "effective": ["CAP_KILL", "CAP_NET_RAW"], "inheritable": []})
    values = status_of(hv, spec, *SETS)
    # execve gives root what is in the bounding set.
    three = capability_mask(KILL, SYS_ADMIN, NET_RAW)
    assert values[0] == capability_mask() and values[3] == three and values[4] == capability_mask()
    assert values[1] == values[2] == three


def test_capabilities_of_a_user(hv, rootfs):
    some = ["CAP_KILL", "CAP_NET_RAW"]
    spec = config("cat", "/proc/self/status", rootfs=rootfs, user={"uid": 1000, "gid": 1000},
                  capabilities={"bounding": some + ["CAP_CHOWN"], "permitted": some, "effective": some,
                                "inheritable": some, "ambient": ["CAP_KILL"]})
    assert status_of(hv, spec, *SETS) == [
        capability_mask(KILL, NET_RAW), capability_mask(KILL), capability_mask(KILL),
        capability_mask(KILL, NET_RAW, CHOWN), capability_mask(KILL)]


def test_no_capabilities(hv, rootfs):
    for capabilities in ({}, {"bounding": []}, None):
        spec = config("cat", "/proc/self/status", rootfs=rootfs, capabilities=capabilities)
        if capabilities is None:
            del spec["process"]["capabilities"]
        assert status_of(hv, spec, *SETS) == [capability_mask()] * 5


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(hv, rootfs, value):
    spec = config("cat", "/proc/self/status", rootfs=rootfs, noNewPrivileges=value)
    assert status_of(hv, spec, "NoNewPrivs") == [str(int(value))]


@pytest.mark.parametrize("value", [-500, 0, 777])
def test_oom_score(hv, rootfs, value):
    spec = config("cat", "/proc/self/oom_score_adj", rootfs=rootfs, oomScoreAdj=value)
    assert out(hv, spec) == f"{value}\n"


def test_user(hv, rootfs):
    spec = sh("id -u; id -g; id -G; umask; stat -c %a /tmp/x || (touch /tmp/x; stat -c %a /tmp/x)",
              rootfs=rootfs, user={"uid": 12, "gid": 34, "additionalGids": [56, 78], "umask": 0o27})
    spec["mounts"].append(mount("/tmp", "tmpfs", "tmpfs", "mode=1777"))
    lines = out(hv, spec).split("\n")
    assert lines[:2] == ["12", "34"] and sorted(lines[2].split()) == ["34", "56", "78"]
    assert lines[3] == "0027" and lines[4] == "640"


def test_default_umask(hv, rootfs):
    assert out(hv, sh("umask", rootfs=rootfs)) == "0022\n"


def test_supplementary_groups_are_exactly_these(hv, rootfs):
    assert status_of(hv, config("cat", "/proc/self/status", rootfs=rootfs), "Groups")[0].split() in \
        ([], ["0"])


def test_cwd_and_environment(hv, rootfs):
    spec = config("env", rootfs=rootfs, cwd="/home/tester", env=[PATH, "A=b c", "EMPTY=", "X=y=z"])
    lines = out(hv, spec).splitlines()
    assert {PATH, "A=b c", "EMPTY=", "X=y=z"} <= set(lines)
    assert {line.split("=")[0] for line in lines} <= {"PATH", "A", "EMPTY", "X", "HOME", "PWD"}
    assert out(hv, config("pwd", rootfs=rootfs, cwd="/home/tester")) == "/home/tester\n"
    assert "HOME=/home/tester" in out(hv, config("env", rootfs=rootfs, user={"uid": 1000, "gid": 0}))
    assert "HOME=/" in out(hv, config("env", rootfs=rootfs, user={"uid": 4242, "gid": 0}))


def test_arguments(hv, rootfs):
    words = ["", "a b", "é", "\n", "$x", "'\"\\"]
    spec = config("sh", "-c", 'for a in "$@"; do printf "<%s>" "$a"; done', "sh", *words, rootfs=rootfs)
    assert out(hv, spec) == "".join(f"<{word}>" for word in words)


def test_program_is_found_in_the_containers_path(hv, own_rootfs):
    tool = own_rootfs / "opt/tool"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho tool $0\n")
    tool.chmod(0o755)
    assert out(hv, config("tool", rootfs=own_rootfs, env=["PATH=/nowhere:/opt:/bin"])) == \
        "tool /opt/tool\n"
    assert out(hv, config("./tool", rootfs=own_rootfs, cwd="/opt")) == "tool ./tool\n"
    assert out(hv, config("opt/tool", rootfs=own_rootfs)) == "tool opt/tool\n"


@pytest.mark.parametrize("args, env, text", [
    (["nope"], [PATH], 'executable file not found in $PATH'),
    (["nope"], ["PATH=/x:/y"], 'executable file not found in $PATH'),
    (["/nope"], [PATH], "no such file or directory"),
    (["/etc/passwd"], [PATH], "permission denied"),
    (["/etc"], [PATH], "")])
def test_errors_of_execve(hv, rootfs, args, env, text):
    """The texts by which podman tells 126 from 127."""
    result = hv.run_spec(config(*args, rootfs=rootfs, env=env), status=None)
    assert result.returncode and text in result.stderr and args[0] in result.stderr
    assert result.stderr.count("\n") == 1


def test_personality(hv, rootfs):
    spec = config("uname", "-m", rootfs=rootfs)
    spec["linux"]["personality"] = {"domain": "LINUX32"}
    if os.uname().machine == "x86_64":
        assert out(hv, spec) == "i686\n"


def test_priorities(hv, rootfs):
    spec = sh("chrt -p $$; ionice -p $$", rootfs=rootfs, scheduler={"policy": "SCHED_BATCH", "nice": 5},
              ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 3})
    text = out(hv, spec)
    assert "SCHED_BATCH" in text and "best-effort: prio 3" in text


# Seccomp


def seccomp(*rules, default="SCMP_ACT_ALLOW", **more):
    return dict({"defaultAction": default, "syscalls": list(rules)}, **more)


@pytest.mark.parametrize("filter, script, expected", [
    (seccomp({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}), "mkdir /tmp/x",
     "Operation not permitted"),
    (seccomp({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}),
     "mkdir /tmp/x", "No space left"),
    (seccomp({"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}),
     "mkdir /tmp/x", "Operation not permitted"),
    (seccomp({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": [
        {"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}), "kill -10 1; kill -0 1 && echo allowed >&2",
     "allowed"),
    (seccomp({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}),
     "(mkdir /tmp/x); echo $? >&2", "159"),
    (seccomp({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG"}), "mkdir /tmp/x; ls /tmp >&2",
     "x"),
    (seccomp({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"},
             architectures=["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], flags=["SECCOMP_FILTER_FLAG_LOG"]),
     "mkdir /tmp/x", "Operation not permitted")],
    ids=["errno", "errnoRet", "unknown call", "argument", "kill", "log", "architectures"])
@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp(hv, rootfs, filter, script, expected, no_new_privileges):
    spec = sh(f"grep Seccomp: /proc/self/status; {script}", rootfs=rootfs,
              noNewPrivileges=no_new_privileges)
    spec["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    spec["linux"]["seccomp"] = filter
    result = hv.run_spec(spec, status=None)
    assert result.stdout.split() == ["Seccomp:", "2"]
    assert expected in result.stderr


def test_seccomp_list_of_allowed(hv, rootfs):
    """A short list such as engines have; what is not in it fails with the default."""
    allowed = ("read write open openat close stat fstat newfstatat lstat poll lseek mmap mprotect munmap"
               " brk rt_sigaction rt_sigprocmask rt_sigreturn ioctl access dup dup2 dup3 getpid getppid"
               " clone clone3 vfork execve execveat exit exit_group wait4 fcntl getcwd getuid getgid"
               " geteuid getegid arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom"
               " uname prctl futex readlink readlinkat sysinfo getdents64 statx pipe pipe2 setsid"
               " capset capget setuid setgid setgroups close_range fchdir chdir sendmsg recvmsg sendto"
               " pselect6 ppoll faccessat faccessat2 sched_getaffinity gettid tgkill clock_gettime")
    spec = sh("echo well; mkdir /tmp/x || echo refused", rootfs=rootfs)
    spec["linux"]["seccomp"] = seccomp({"names": allowed.split(), "action": "SCMP_ACT_ALLOW"},
                                       default="SCMP_ACT_ERRNO", defaultErrnoRet=38)
    result = hv.run_spec(spec)
    assert result.stdout == "well\nrefused\n" and "not implemented" in result.stderr


def test_seccomp_holds_for_execs(hv, rootfs):
    spec = config("sleep", "1000", rootfs=rootfs)
    spec["linux"]["seccomp"] = seccomp({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"})
    cid = hv.background(spec)
    assert "not permitted" in hv.run("exec", cid, "mkdir", "/tmp/y", status=1).stderr


# Cgroups: read back from wherever this machine keeps the controller


def cgroup_file(cid, v2, *v1):
    """The value of the first of these files that a cgroup of the container has."""
    for path in watch.cgroups(cid):
        for name in (v2, *v1):
            file = pathlib.Path(path) / name
            if file.is_file() and (name != v2 or "unified" in path or (pathlib.Path(path) /
                                                                     "cgroup.controllers").exists()
                                   or name not in v1):
                return file.read_text().strip()
    raise AssertionError(f"no {v2} in {watch.cgroups(cid)}")


@pytest.mark.parametrize("resources, files, values", [
    ({"memory": {"limit": 64 << 20}}, ["memory.max", "memory.limit_in_bytes"], {str(64 << 20)}),
    ({"memory": {"reservation": 32 << 20}}, ["memory.low", "memory.soft_limit_in_bytes"],
     {str(32 << 20)}),
    ({"pids": {"limit": 123}}, ["pids.max"], {"123"}),
    ({"cpu": {"shares": 512}}, ["cpu.weight", "cpu.shares"], {"20", "512", "59"}),
    ({"cpu": {"quota": 50000, "period": 200000}}, ["cpu.max", "cpu.cfs_quota_us"],
     {"50000 200000", "50000"}),
    ({"cpu": {"cpus": "0", "mems": "0"}}, ["cpuset.cpus"], {"0"})],
    ids=["memory", "reservation", "pids", "shares", "quota", "cpuset"])
def test_cgroup_limits(hv, rootfs, resources, files, values):
    spec = config("sleep", "1000", rootfs=rootfs)
    spec["linux"]["resources"] = resources
    cid = hv.background(spec)
    assert cgroup_file(cid, *files) in values


def test_memory_limit_is_enforced(hv, rootfs):
    spec = sh("sh -c 'tail /dev/zero'; echo $?", rootfs=rootfs)
    spec["linux"]["resources"]["memory"] = {"limit": 16 << 20}
    assert out(hv, spec) == "137\n"


def test_pids_limit_is_enforced(hv, rootfs):
    spec = sh("for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; echo none", rootfs=rootfs)
    spec["linux"]["resources"]["pids"] = {"limit": 5}
    result = hv.run_spec(spec, status=None)
    assert "none" not in result.stdout or "fork" in result.stderr


@pytest.mark.parametrize("form", ["/{}", "/hvrun-x/{}", "hvrun-x/deep/{}", "hvrun-x.slice:pre:{}"])
def test_cgroups_path(hv, rootfs, form):
    cid = hv.new_id()
    spec = config("sleep", "1000", rootfs=rootfs)
    spec["linux"]["cgroupsPath"] = form.format(cid)
    spec["linux"]["resources"]["pids"] = {"limit": 99}
    hv.background(spec, name=cid)
    lines = pathlib.Path(f"/proc/{hv.init_pid(cid)}/cgroup").read_text().splitlines()
    path = [line.split(":", 2)[2] for line in lines if line.startswith("0::")][0]
    if form.startswith("hvrun-x.slice"):
        assert path.endswith(f"pre-{cid}.scope") and "hvrun-x.slice" in path
    else:
        assert path.endswith("/" + form.format(cid).strip("/"))
    assert cgroup_file(cid, "pids.max") == "99"
    hv.run("delete", "-f", cid)
    assert not watch.cgroups(cid)
    assert not os.path.exists("/sys/fs/cgroup/unified/hvrun-x")


def test_two_containers_in_one_cgroup_are_refused(hv, rootfs):
    spec = config("sleep", "1000", rootfs=rootfs)
    spec["linux"]["cgroupsPath"] = f"/hvrun-x/{hv.place.token}"
    hv.background(spec)
    hv.fails("run", "-d", "-b", hv.bundle(spec), hv.new_id())


def test_what_a_container_makes_below_its_cgroup_goes_too(hv, rootfs):
    spec = sh("mkdir -p /sys/fs/cgroup/a/b /sys/fs/cgroup/*/c 2>/dev/null; echo done; sleep 1000",
              rootfs=rootfs)
    spec["linux"]["namespaces"].append({"type": "cgroup"})
    spec["mounts"].append(mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw"))
    cid = hv.background(spec)
    watch.eventually(lambda: "done" in hv.run("logs", cid).stdout)
    hv.run("delete", "-f", cid)
    assert not watch.cgroups(cid)


# Hooks


@pytest.fixture
def hooks(hv, own_rootfs):
    """A hook that writes its name and what it is told to a file."""
    log = hv.place.path / "shared"
    log.mkdir()
    for where in (hv.place.path / "hook", own_rootfs / "bin/hook"):
        # It has no PATH unless one is given.
        where.write_text("#!/bin/sh\n"
                         "{ /bin/echo \"$1 $(/bin/cat | /usr/bin/tr -d '\\n')\"; } >> $LOG/log\n"
                         "[ \"$2\" != fail ] || exit 3\n"
                         "[ \"$2\" != slow ] || /bin/sleep 60\n".replace(
                             "/usr/bin/tr", "/bin/tr" if "rootfs" in str(where) else "/usr/bin/tr"))
        where.chmod(0o755)

    def hook(name, *words, inside=False):
        return {"path": "/bin/hook" if inside else str(hv.place.path / "hook"),
                "args": ["hook", name, *words], "env": [f"LOG={'/log' if inside else log}"]}

    def told():
        if not (log / "log").exists():
            return []
        lines = (log / "log").read_text().splitlines()
        return [(line.split(" ", 1)[0], json.loads(line.split(" ", 1)[1])) for line in lines]

    spec = sh("echo program >> /log/log.program; cat /log/log > /log/seen", rootfs=own_rootfs)
    spec["mounts"].append(mount("/log", "bind", log, "bind"))
    spec["annotations"] = {"k": "v"}
    return spec, hook, told, log


ORDER = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


def test_hooks(hv, hooks):
    spec, hook, told, log = hooks
    spec["hooks"] = {name: [hook(f"{name}1", inside=name == "startContainer"),
                            hook(f"{name}2", inside=name == "startContainer")] for name in ORDER}
    cid = hv.create(spec)
    assert [name for name, _ in told()] == [f"{n}{i}" for n in ORDER[:3] for i in (1, 2)]
    assert not (log / "log.program").exists()
    hv.run("start", cid)
    assert watch.exit_status(hv.pid(cid)) == 0
    assert [name for name, _ in told()] == [f"{n}{i}" for n in ORDER[:5] for i in (1, 2)]
    assert "startContainer2" in (log / "seen").read_text()      # before the program
    hv.run("delete", cid)
    assert [name for name, _ in told()] == [f"{n}{i}" for n in ORDER for i in (1, 2)]
    for name, state in told():
        assert state["id"] == cid and state["ociVersion"].startswith("1.")
        assert state["bundle"] == str(hv.place.path / f"b-{cid}")
        assert state["annotations"] == {"k": "v"}
        status = {"prestart": {"creating", "created"}, "createRuntime": {"creating", "created"},
                  "createContainer": {"creating", "created"}, "startContainer": {"created"},
                  "poststart": {"running"}, "poststop": {"stopped"}}[name[:-1]]
        assert state["status"] in status, (name, state)
        if name[:-1] in ("prestart", "createRuntime", "createContainer", "poststart"):
            assert isinstance(state["pid"], int) and state["pid"] > 0


def test_hooks_run_in_run(hv, hooks):
    spec, hook, told, _ = hooks
    spec["hooks"] = {name: [hook(name, inside=name == "startContainer")] for name in ORDER}
    hv.run_spec(spec)
    assert [name for name, _ in told()] == ORDER


def test_runtime_hooks_know_the_network_namespace(hv, hooks):
    """docker's libnetwork enters /proc/<pid>/ns/net of that pid on the host."""
    spec, hook, _, log = hooks
    script = hv.place.path / "net"
    script.write_text("#!/bin/sh\npid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')\n"
                      "readlink /proc/$pid/ns/net > $LOG/net\n")
    script.chmod(0o755)
    for name in ("prestart", "createRuntime"):
        spec["hooks"] = {name: [{"path": str(script), "env": [f"LOG={log}", "PATH=/usr/bin:/bin"]}]}
        spec["process"]["args"] = ["sh", "-c", "readlink /proc/self/ns/net"]
        assert hv.run_spec(spec).stdout == (log / "net").read_text()


@pytest.mark.parametrize("name", ["prestart", "createRuntime", "createContainer"])
def test_failing_hook_at_create(hv, hooks, name):
    spec, hook, told, log = hooks
    spec["hooks"] = {name: [hook("first"), hook("second", "fail"), hook("third")],
                     "poststop": [hook("poststop")]}
    cid = hv.new_id()
    text = hv.fails("create", "-b", hv.bundle(spec), cid)
    assert "hook" in text
    assert [n for n, _ in told()][:2] == ["first", "second"] and "third" not in dict(told())
    assert hv.list() == [] and not (log / "log.program").exists()


def test_failing_start_hook(hv, hooks):
    spec, hook, told, log = hooks
    spec["hooks"] = {"startContainer": [hook("start", "fail", inside=True)]}
    cid = hv.create(spec)
    assert "hook" in hv.fails("start", cid)
    assert watch.exit_status(hv.pid(cid)) != 0
    assert hv.status(cid) == "stopped"
    assert not (log / "log.program").exists()


@pytest.mark.parametrize("name", ["poststart", "poststop"])
def test_failing_hook_that_is_only_logged(hv, hooks, name):
    spec, hook, told, _ = hooks
    spec["hooks"] = {name: [hook("bad", "fail"), hook("next")]}
    hv.run_spec(spec, status=None)
    assert [n for n, _ in told()][0] == "bad"
    assert hv.list() == []


def test_timeout_of_a_hook(hv, hooks):
    spec, hook, _, _ = hooks
    spec["hooks"] = {"createRuntime": [dict(hook("slow", "slow"), timeout=1)]}
    begin = time.monotonic()
    assert "hook" in hv.fails("create", "-b", hv.bundle(spec), hv.new_id())
    assert 0.9 < time.monotonic() - begin < 4


def test_hook_that_does_not_exist(hv, hooks):
    spec, _, _, _ = hooks
    spec["hooks"] = {"createRuntime": [{"path": "/no/such/hook"}]}
    assert "/no/such/hook" in hv.fails("create", "-b", hv.bundle(spec), hv.new_id())


# Side by side


COMPARED = {
    "plain": lambda spec: None,
    "user": lambda spec: spec["process"].update(user={"uid": 1000, "gid": 1000,
                                                      "additionalGids": [5, 6], "umask": 63}),
    "ambient": lambda spec: spec["process"].update(
        user={"uid": 1000, "gid": 1000}, capabilities={name: ["CAP_KILL", "CAP_CHOWN"] for name in (
            "bounding", "permitted", "effective", "inheritable", "ambient")}),
    "read-only": lambda spec: spec["root"].update(readonly=True),
    "masked": lambda spec: spec["linux"].update(maskedPaths=["/etc/passwd", "/home"],
                                                readonlyPaths=["/proc/sys"]),
    "tmpfs": lambda spec: spec["mounts"].append(
        mount("/mnt", "tmpfs", "tmpfs", "nosuid", "noexec", "size=64k", "mode=700")),
    "seccomp": lambda spec: spec["linux"].update(seccomp=seccomp(
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 12})),
}
DESCRIBE = """
grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)' /proc/self/status
cat /proc/self/limits
cat /proc/self/oom_score_adj
umask; pwd; env | sort
mkdir /tmp/x 2>&1
cut -d' ' -f5,6 /proc/self/mountinfo | sort
sed 's/.* - //' /proc/self/mountinfo | grep -v -E '^(ext|xfs|btrfs|overlay)' | sort | uniq
stat -c '%n %F %t:%T %a %u:%g' /dev/null /dev/zero /dev/tty /dev/console /dev/pts /dev/shm 2>&1
ls /dev /etc /home /mnt 2>&1
"""


@pytest.mark.parametrize("runtime", ["crun", "runc"])
@pytest.mark.parametrize("change", COMPARED)
def test_like_other_runtimes(hv, rootfs, runtime, change):
    """What a container sees of itself, compared with the same bundle under another runtime."""
    if not shutil.which(runtime):
        pytest.skip(f"{runtime} is not installed")
    spec = sh("true", rootfs=rootfs)
    bundle = hv.bundle(spec)
    words = [runtime, "--root", str(hv.place.path / "other"), "run", "-b", str(bundle),
             f"{hv.place.token}-other"]
    probe = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    if probe.returncode:
        pytest.skip(f"{runtime} cannot run here: {probe.stderr.decode()[:200]}")
    spec = sh(DESCRIBE, rootfs=rootfs)
    spec["mounts"].append(mount("/tmp", "tmpfs", "tmpfs", "mode=1777"))
    COMPARED[change](spec)
    write_bundle(bundle, spec)
    theirs = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    assert theirs.returncode == 0, theirs.stderr
    ours = hv.run("run", "-b", bundle, hv.new_id())
    assert ours.stdout.splitlines() == theirs.stdout.decode().splitlines()
