# SPDX-License-Identifier: Apache-2.0
"""More of the OCI runtime spec: what takes more than one line of a table to ask."""

import os
import re
import subprocess

import pytest

import watch
from container import config, mount, namespaces, sh


def out(hv, spec, **more):
    return hv.run_spec(spec, **more).stdout


def mounts_of(text):
    """{mount point: (options of the mount, propagation, type, options of the file system)}"""
    found = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        kind, _, options = right.split(" ", 2)
        found[fields[4]] = (set(fields[5].split(",")), fields[6:], kind, set(options.split(",")))
    return found


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


def test_nothing_of_the_outside_is_mounted(hv, rootfs):
    text = out(hv, config("cat", "/proc/self/mountinfo", rootfs=rootfs))
    points = set(mounts_of(text))
    assert points - {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"} <= \
        {"/proc/kcore", "/proc/latency_stats", "/proc/timer_list", "/proc/bus", "/proc/fs",
         "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
    assert mounts_of(text)["/proc"][2] == "proc"


@pytest.fixture
def shared(hv):
    """A directory of the host with something in it."""
    path = hv.place.path / "shared"
    (path / "sub").mkdir(parents=True)
    (path / "file").write_text("content\n")
    return path


def test_mounts_are_made_in_order(hv, rootfs, shared):
    spec = sh("ls /mnt; ls /mnt/sub", rootfs=rootfs)
    spec["mounts"] += [mount("/mnt", "bind", shared, "bind"),
                       mount("/mnt/sub", "tmpfs", "tmpfs"),
                       mount("/mnt/sub/deep", "bind", shared, "bind")]
    assert out(hv, spec).split() == ["file", "sub", "deep"]


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


def test_no_new_devices_by_mknod(hv, rootfs):
    spec = sh("mknod /tmp/x b 7 0; cat /tmp/x", rootfs=rootfs)
    capabilities = ["CAP_MKNOD"]
    spec["process"]["capabilities"] = {name: capabilities for name in
                                       ("bounding", "effective", "permitted")}
    spec["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    spec["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}]
    result = hv.run_spec(spec, status=1)
    assert "ermitted" in result.stderr or "ermission" in result.stderr



def test_arguments(hv, rootfs):
    words = ["", "a b", "é", "\n", "$x", "'\"\\"]
    spec = config("sh", "-c", 'for a in "$@"; do printf "<%s>" "$a"; done', "sh", *words, rootfs=rootfs)
    assert out(hv, spec) == "".join(f"<{word}>" for word in words)


def seccomp(*rules, default="SCMP_ACT_ALLOW", **more):
    return dict({"defaultAction": default, "syscalls": list(rules)}, **more)


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
