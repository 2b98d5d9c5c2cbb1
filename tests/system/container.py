# SPDX-License-Identifier: Apache-2.0
"""Root file systems of busybox, and config.json: a base, and one change per test."""

import copy
import json
import os
import pathlib
import shutil
import subprocess

BUSYBOX = "/bin/busybox"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
tester:x:1000:1000:A tester:/home/tester:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
"""
GROUP = """\
root:x:0:
daemon:x:1:
tester:x:1000:
extra:x:2000:tester
nogroup:x:65534:
"""


def make_rootfs(path):
    """A root file system with every applet of busybox."""
    root = pathlib.Path(path)
    for name in ("bin", "dev", "etc", "home/tester", "mnt", "proc", "root", "run", "sys", "tmp", "usr",
                 "var"):
        (root / name).mkdir(parents=True)
    for name in ("sbin", "usr/bin", "usr/sbin"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    os.chown(root / "home/tester", 1000, 1000)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    return root


def clone_rootfs(rootfs, path):
    """One that a test may spoil: its own copy."""
    # cp keeps device nodes; copytree would read from them, from /dev/full for ever.
    subprocess.run(["cp", "-a", "--", rootfs, path], check=True, timeout=30)
    return pathlib.Path(path)


def unspoilt(rootfs):
    """Nobody has written to it where programs under test do."""
    return not any(any((rootfs / name).iterdir()) for name in ("dev", "proc", "sys", "mnt", "run"))


CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]

BASE = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": [PATH, "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {
        "resources": {},
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": ["/proc/kcore", "/proc/latency_stats", "/proc/timer_list"],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                          "/proc/sysrq-trigger"],
    },
}


def config(*args, rootfs="rootfs", **process):
    """The base with these arguments; keywords change members of `process`."""
    result = copy.deepcopy(BASE)
    if args:
        result["process"]["args"] = list(args)
    result["process"].update(process)
    result["root"]["path"] = str(rootfs)
    return result


def sh(script, **more):
    """The base running a script of the shell."""
    return config("sh", "-c", script, **more)


def mount(destination, kind="bind", source="none", *options):
    return {"destination": destination, "type": kind, "source": str(source),
            "options": list(options)}


def namespaces(spec, *kinds):
    """Exactly these; a pair is (type, path)."""
    spec["linux"]["namespaces"] = [
        {"type": k} if isinstance(k, str) else {"type": k[0], "path": str(k[1])} for k in kinds]
    return spec


def without_namespace(spec, kind):
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != kind]
    return spec


def write_bundle(path, spec):
    """A bundle directory; root.path in the spec is absolute or below it."""
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(spec))
    return path
