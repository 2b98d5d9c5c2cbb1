# SPDX-License-Identifier: Apache-2.0
"""A VM whose AF_VSOCK is tested, with programs of the test in the guest.

hvrun's agent is its init and is attached to, so that `hvrun exec --vm` runs what a test wants there.
"""

import contextlib
import pathlib
import shutil
import subprocess
import sys

import container
import watch
from hvrun import REPOSITORY, Hvrun
from machine import Machine

sys.path.insert(0, str(REPOSITORY / "contrib/guest-image"))
import cpio

CID = 3
AGENT_PORT = 1 << 30


def libraries(program):
    """What its loader loads, and the loader; nothing for a static program."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True)
    return [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]


def archive(programs):
    """An initramfs with programs in /usr/bin and their libraries; the agent keeps /usr."""
    made, files = cpio.Archive(), {}
    for program in programs:
        files[f"usr/bin/{pathlib.Path(program).name}"] = program
        for path in libraries(program):
            files[f"usr/{path.removeprefix('/usr').lstrip('/')}"] = path
    for path, source in files.items():
        made.file(path, pathlib.Path(source).read_bytes(), 0o755)
    return made.bytes()


class SocketVM:
    def __init__(self, place, programs):
        self.machine = Machine(place.path / "vm", 256)
        self.base = self.machine.base
        self.machine.start("console=ttyS0 quiet panic=-1",
                           f"--parent vsock:host --port {AGENT_PORT} --host-timeout 60", archive=archive(programs))
        self.qemu = self.machine.processes[-1]
        self.hv = Hvrun(place, f"attach=hybrid://{self.base}:{AGENT_PORT}")
        spec = container.config("sleep", "100000", rootfs="/usr")
        spec["process"]["env"] = ["PATH=/bin"]
        spec["mounts"] = []
        spec["linux"]["maskedPaths"] = spec["linux"]["readonlyPaths"] = []
        try:
            self.sleeper = self.hv.background(spec, timeout=60)
            self.shell("ln -s usr/lib64 /lib64")
        except BaseException:
            self.close()
            raise

    def close(self):
        left = self.hv.clean() if self.machine.processes and self.machine.runs() else []
        for process in self.hv.started:
            process.kill()
            process.wait()
        self.machine.close()
        return left

    # In the guest

    def run(self, *words, status=0, timeout=20, **more):
        """What a command there writes to standard output, as bytes."""
        return self.hv.run("exec", "--vm", self.sleeper, *words, status=status, timeout=timeout, text=False,
                           **more).stdout

    def shell(self, script, **more):
        return self.run("sh", "-c", script, **more)

    def popen(self, *words, **more):
        return self.hv.popen("exec", "--vm", self.sleeper, *words, **more)

    def put(self, path, data):
        self.run("sh", "-c", f"cat >{path}", input=data)

    # From the host

    def url(self, service):
        return f"hybrid://{self.base}:{service}"


@contextlib.contextmanager
def shared_vm(programs):
    """A VM of more than one test."""
    import conftest
    place = conftest.Place()
    vm, left = None, []
    try:
        vm = SocketVM(place, programs)
        watch.keep(watch.adopted(), "sockets")
        yield vm
    finally:
        if vm:
            left = vm.close()
        watch.keep([], "sockets")
        place.clean_by_force()
        shutil.rmtree(place.path)
    assert not left, left


def load_loopback(vm):
    """The module of CID 1, which the image has for whoever wants it."""
    name = vm.shell("cat /usr/lib/modules/lists/vsock-loopback").split()[-1].decode()
    packed = vm.shell(f"cat /usr/lib/modules/{name}")
    module = subprocess.run(["lz4", "-dcq"], input=packed, check=True, capture_output=True).stdout
    vm.put("/tmp/loopback.ko", module)
    vm.shell("insmod /tmp/loopback.ko")
