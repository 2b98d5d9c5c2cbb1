# SPDX-License-Identifier: Apache-2.0
"""What hvsocket and hvcat cost: `tests/bench/run --sockets`.

Connections beside bare system calls; throughput of hvcat at both ends beside socat at both ends, in turn,
through the same sockets: hybrid ones of this machine, and virtio-vsock between a VM and this machine.
"""

import os
import re
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path

from vm import NULL, Vm, VmBench

PORT = 5000
MIB = 1 << 20
# Buffers of 64 KiB for socat too, whose own are of 8.
TOOLS = ("hvcat", "socat", "socat -b 65536")
TARGET = ">= 0.9"

# The guest: the modules that the agent would load, the share as its root, and then the steps, each as
# soon as the host listens for it. The kernel takes what stands between quotes as one word.
BOOT = ("rdinit=/usr/bin/busybox -- sh -c \"cd /usr/lib/modules; for list in virtio vsock virtiofs; do "
        "while read -r module; do busybox insmod $module; done <lists/$list; done 2>/dev/null; "
        "busybox mkdir /m; busybox mount -t virtiofs hvrun /m; exec busybox chroot /m /bin/sh /steps\"")
STEPS = """export PATH=/bin:/usr/bin
mkdir -p /tmp /proc /dev
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
dd if=/dev/zero of=/tmp/data bs=1M count={size} 2>/dev/null
step() {{ # TOOL DIRECTION COMMAND
	until read -r began rest </proc/uptime; eval "$3" 2>/dev/null; do sleep 0.05; done
	read -r ended rest </proc/uptime
	echo "RESULT $1:$2 $began $ended"
}}
echo reached
{steps}
echo finished
sleep 1000
"""


class SocketBench:
    def __init__(self, bench):
        self.bench, self.folder, self.rounds = bench, bench.folder / "sockets", bench.rounds
        self.folder.mkdir(mode=0o700)
        self.hvcat = bench.build / "contrib/hvcat/hvcat"

    def run(self):
        self.connections()
        self.machine()
        self.guest()

    def row(self, *cells):
        self.bench.row(*cells)

    def connections(self):
        folder = self.folder / "connections"
        folder.mkdir(mode=0o700)
        out = self.bench.sh(f"{self.bench.build}/tests/bench/bench-sockets {folder} {self.rounds * 20}")
        took = {name: int(number) for name, number in (line.split() for line in out.splitlines())}
        for name in ("unix", "hybrid"):
            self.row(f"connect + accept + close, {name}", f"{took[name] / 1000:.1f} µs",
                     f"system calls alone {took['bare'] / 1000:.1f} µs", f"{took[name] / took['bare']:.2f}",
                     "<= 1.2")

    def compare(self, what, seconds, size):
        """seconds: {tool: [of each round]}"""
        rate = {tool: size / statistics.median(times) for tool, times in seconds.items()}
        for peer in TOOLS[1:]:
            self.row(what, f"{rate['hvcat']:.0f} MB/s", f"{peer} {rate[peer]:.0f} MB/s",
                     f"{rate['hvcat'] / rate[peer]:.2f}", TARGET)

    # Of this machine

    def machine(self):
        size = 512
        data = Path("/dev/shm") / f"hvrun-bench-{os.getpid()}"
        try:
            with open(data, "wb") as file:
                for _ in range(size):
                    file.write(bytes(MIB))
            for what, source, sink in (("files", f"<{data}", ">/dev/null"),
                                       ("pipes", f"cat {data} |", "| cat >/dev/null")):
                seconds = {tool: [] for tool in TOOLS}
                for _ in range(self.rounds):
                    for tool in TOOLS:
                        seconds[tool].append(self.transfer(tool, source, sink))
                self.compare(f"hybrid, {what}", seconds, size * MIB / 1e6)
        finally:
            data.unlink()

    def transfer(self, tool, source, sink):
        base = self.folder / "v"
        path = Path(f"{base}_{PORT}")
        if tool == "hvcat":
            listener, dialler = f"{self.hvcat} -l hybrid://{base}:{PORT}", f"{self.hvcat} -g -q hybrid://{base}:{PORT}"
        else:
            listener, dialler = f"{tool} -u UNIX-LISTEN:{path} -", f"{tool} -u - UNIX-CONNECT:{path}"
        receiver = subprocess.Popen(["sh", "-c", f"{listener} </dev/null {sink}"])
        while not path.exists():
            time.sleep(0.001)
        line = f"{source} {dialler}" if source.endswith("|") else f"{dialler} {source}"
        began = time.monotonic()
        subprocess.run(["sh", "-c", line], check=True, stdout=NULL)
        if receiver.wait(60):
            raise RuntimeError(f"{listener}: exit status {receiver.returncode}")
        took = time.monotonic() - began
        path.unlink(missing_ok=True)
        return took

    # Of a VM

    def guest(self):
        size = 64
        vms = VmBench(self.bench)
        vms.learn(self.bench.bundle("sleep", ["sleep", "600"]))
        vm = Vm(vms, self.folder, BOOT)
        try:
            self.fill(vm.folder / "share", size)
            vm.wait_for(b"reached")
            for _ in range(self.rounds):
                for tool in TOOLS:
                    for direction in ("out", "in"):
                        self.serve(vm, tool, direction)
            said = vm.wait_for(b"finished")[1]
        finally:
            vm.close()
        seconds = {}
        for name, direction, began, ended in re.findall(r"RESULT ([^:]*):(\w+) ([\d.]+) ([\d.]+)", said):
            seconds.setdefault(direction, {}).setdefault(name, []).append(float(ended) - float(began))
        self.compare("virtio-vsock, VM to host", seconds["out"], size * MIB / 1e6)
        self.compare("virtio-vsock, host to VM", seconds["in"], size * MIB / 1e6)

    def fill(self, root, size):
        """A root with busybox, hvcat, and socat with its libraries."""
        for folder in ("bin", "proc", "dev", "tmp"):
            (root / folder).mkdir()
        shutil.copy("/bin/busybox", root / "bin/busybox")
        for applet in "sh mkdir mount dd sleep echo".split():
            (root / "bin" / applet).symlink_to("busybox")
        shutil.copy(self.hvcat, root / "bin/hvcat")
        socat = shutil.which("socat")
        needs = re.findall(r"(/\S+) \(0x", subprocess.run(["ldd", socat], check=True, capture_output=True,
                                                          text=True).stdout)
        for file in [socat, *needs]:
            target = root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        commands = {
            ("hvcat", "out"): f"hvcat -q vsock://host:{PORT} </tmp/data",
            ("hvcat", "in"): f"hvcat -n vsock://host:{PORT} >/dev/null",
            ("socat", "out"): f"socat -u OPEN:/tmp/data VSOCK-CONNECT:2:{PORT}",
            ("socat", "in"): f"socat -u VSOCK-CONNECT:2:{PORT} OPEN:/dev/null,wronly",
        }
        steps = []
        for _ in range(self.rounds):
            for tool in TOOLS:
                for direction in ("out", "in"):
                    command = commands[tool.split()[0], direction].replace("socat", tool)
                    steps.append(f"step '{tool}' {direction} '{command}'")
        (root / "steps").write_text(STEPS.format(size=size, steps="\n".join(steps)))

    def serve(self, vm, tool, direction):
        """The host's side of a step; the guest goes on when this has ended."""
        path = vm.folder / f"vm_{PORT}"
        data = f"head -c {64 * MIB} /dev/zero"
        if tool == "hvcat":
            listener = f"{self.hvcat} -l -q hybrid://{vm.folder}/vm:{PORT}"
            line = f"{data} | {listener}" if direction == "in" else f"{self.hvcat} -l -n hybrid://{vm.folder}/vm:{PORT} >/dev/null"
        else:
            line = f"{tool} -u UNIX-LISTEN:{path} OPEN:/dev/null,wronly" if direction == "out" else \
                f"{data} | {tool} -u - UNIX-LISTEN:{path}"
        process = subprocess.Popen(["sh", "-c", line], stdout=NULL, start_new_session=True)
        try:
            if process.wait(120):
                raise RuntimeError(f"{line}: exit status {process.returncode}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            path.unlink(missing_ok=True)
