# SPDX-License-Identifier: Apache-2.0
"""What a container sees of itself, side by side with crun and runc where they can run."""

import shutil
import subprocess

import pytest

from container import mount, sh, write_bundle


def seccomp(*rules, default="SCMP_ACT_ALLOW", **more):
    return dict({"defaultAction": default, "syscalls": list(rules)}, **more)


COMPARED = {
    "plain": lambda spec: None,
    "user": lambda spec: spec["process"].update(user={"uid": 1000, "gid": 1000,
                                                      "additionalGids": [5, 6], "umask": 63}),
    "ambient": lambda spec: spec["process"].update(
        user={"uid": 1000, "gid": 1000}, capabilities={name: ["CAP_KILL", "CAP_CHOWN"] for name in (
            "bounding", "permitted", "effective", "inheritable", "ambient")}),
    "read-only": lambda spec: spec["root"].update(readonly=True),
    "masked": lambda spec: spec["linux"].update(maskedPaths=["/etc/passwd", "/proc/kcore"],
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
