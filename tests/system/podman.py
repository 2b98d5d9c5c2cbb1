# SPDX-License-Identifier: Apache-2.0
"""podman with hvrun as its runtime: images in a store that tests share, everything else private."""

import json
import os
import resource
import shutil
import subprocess
import tarfile

import watch
from hvrun import HVAGENT, HVRUN, Hvrun

IMAGE = "busybox"


def missing():
    """Why podman cannot be used here, or an empty text."""
    for program in ("podman", "conmon"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return ""


def _ulimits():
    """podman asks for more than a machine without CAP_SYS_RESOURCE may have."""
    kinds = (("nofile", resource.RLIMIT_NOFILE, 1024), ("nproc", resource.RLIMIT_NPROC, 4096))
    limits = [(name, most, resource.getrlimit(kind)[1]) for name, kind, most in kinds]
    return [f"{name}={value}:{value}" for name, most, hard in limits
            for value in [most if hard == resource.RLIM_INFINITY else min(most, hard)]]


class Store:
    """An image of busybox."""

    def __init__(self, path, rootfs):
        self.path = path
        self.conf = path / "containers.conf"
        self.conf.write_text(f"[engine]\nruntime_supports_json = [\"hvrun\"]\n"
                             f"[containers]\ndefault_ulimits = {json.dumps(_ulimits())}\n")
        tar = path / "image.tar"
        with tarfile.open(tar, "w") as archive:
            archive.add(rootfs, ".")
        subprocess.run(self.words("import", "-q", "-c", "ENV=PATH=/bin", "-c", "CMD=[\"sh\"]", tar, IMAGE),
                       check=True, capture_output=True, env=self.environment(), timeout=60)

    def words(self, *args):
        return ["podman", "--root", str(self.path / "root"), "--runroot", str(self.path / "runroot"),
                "--tmpdir", str(self.path / "tmp"), "--storage-driver", "vfs", "--cgroup-manager",
                "cgroupfs", "--events-backend", "file", *map(str, args)]

    def environment(self):
        return dict(os.environ, CONTAINERS_CONF=str(self.conf), HVRUN_AGENT=HVAGENT)


class Podman(Hvrun):
    """Verbs are podman's; what it leaves below hvrun's --root is looked at as in Hvrun."""

    def __init__(self, place, store, driver="local", shared=None):
        super().__init__(place, driver, shared)
        self.store = store
        self.environment = store.environment()
        # podman does not pass --runtime-flag to every verb, and few variables to some.
        self.runtime = self.program()
        self.parent = f"/{place.token}"

    def words(self, *args, options=()):
        return self.store.words("--runtime", self.runtime, *args)

    def outside(self, *words):
        if not self.in_vm:
            return super().outside(*words)
        partition = self.shared.base if self.is_shared() else self.partitions()[0]
        return subprocess.run([HVRUN, "--root", self.root, "exec", "--vm", partition, *words], check=True,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout

    def processes(self):
        """The command lines of all of them, beside the containers."""
        return self.outside("ps", "-o" if self.in_vm else "-eo", "args")

    def run_image(self, *args, status=0, options=(), **more):
        """podman run: options, then the container's words."""
        return self.run("run", "--network", "none", "--cgroup-parent", self.parent, *options, IMAGE, *args,
                        status=status, **more)

    def background(self, *args, options=(), **more):
        """podman run -d: the id."""
        return self.run_image(*args, options=("-d", *options), **more).stdout.strip()

    def inspect(self, cid, what):
        return self.run("inspect", "-f", "{{." + what + "}}", cid).stdout.strip()

    def wait(self, cid):
        return int(self.run("wait", cid).stdout)

    def partition(self, name):
        """Pids of sandbox process and agent."""
        text = (self.partition_of(name) / "sandbox.json").read_text()
        record = json.loads(text)
        return record["Pid"], record["AgentPid"]

    def clean(self):
        left = []
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for words in (("pod", "rm", "-a", "-f", "-t", "0"), ("rm", "-a", "-f", "-t", "0")):
            result = self.run(*words, status=None, timeout=60)
            if result.returncode or "level=error" in result.stderr:
                left.append(repr(result))
        left += [line for line in self.run("ps", "-a", "-q").stdout.split()]
        left += [line for line in watch.mounts() if str(self.store.path) in line]
        left += [path for path in watch.cgroups(self.place.token) if "libpod-" in path]
        self.remove_cgroups()
        return left

    def remove_cgroups(self):
        """Those of its own and of pods podman leaves to others."""
        def gone():
            for path in sorted(watch.cgroups(self.place.token), key=len, reverse=True):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
            return not watch.cgroups(self.place.token)
        watch.eventually(gone, 5, "removal of podman's cgroups")
        if self.is_shared():
            # There podman cannot remove what is above a container's.
            self.shared.outside("sh", "-c", f"for g in /sys/fs/cgroup/{self.place.token}/* "
                                f"/sys/fs/cgroup/{self.place.token}; do rmdir $g 2>/dev/null; done; true")
