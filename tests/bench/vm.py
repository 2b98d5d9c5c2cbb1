# SPDX-License-Identifier: Apache-2.0
"""What a VM costs: `tests/bench/run --partition qemu`.

Every figure that is compared with another comes from the same run, in turn with it. Emulated CPUs vary by
a tenth from boot to boot, so the rounds are interleaved and medians shown.
"""

import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

PORT = 0x40000000
NULL = subprocess.DEVNULL


class Vm:
    """A VM as hvrun starts it, or nearly: QEMU's words are those of one that hvrun has started, with paths
    instead of inherited descriptors, and without the monitor."""

    def __init__(self, bench, folder, arguments=None):
        self.folder = Path(tempfile.mkdtemp(dir=folder))
        (self.folder / "share").mkdir()
        guest = bench.guest
        self.processes = [
            subprocess.Popen([guest / "vhost-device-vsock", "--guest-cid=3", f"--socket={self.folder}/vhost",
                              f"--uds-path={self.folder}/vm"], stdout=NULL, stderr=NULL),
            subprocess.Popen([bench.virtiofsd, f"--socket-path={self.folder}/fs", "-o",
                              f"source={self.folder}/share,cache=auto"], stdout=NULL, stderr=NULL)]
        while not ((self.folder / "vhost").exists() and (self.folder / "fs").exists()):
            time.sleep(0.001)
        self.qemu = subprocess.Popen(self.words(bench.qemu, guest, arguments), stdin=NULL,
                                     stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.began = time.monotonic()

    def words(self, words, guest, arguments):
        found, i = [], 0
        while i < len(words):
            option, value = words[i], words[i + 1] if i + 1 < len(words) else ""
            if option == "-kernel":
                value = str(guest / "vmlinux")
            elif option == "-initrd":
                value = str(guest / "hvrun-guest.img")
            elif option == "-append" and arguments:
                value = value.partition(" -- ")[0] + " " + arguments
            elif option == "-chardev" and "id=vsock" in value:
                value = f"socket,id=vsock,path={self.folder}/vhost"
            elif option == "-chardev" and "id=share" in value:
                value = f"socket,id=share,path={self.folder}/fs"
            if option in ("-nodefaults", "-no-user-config", "-no-reboot") or not option.startswith("-"):
                found.append(option)
                i += 1
                continue
            if "monitor" not in value and option not in ("-sandbox", "-name"):
                found += [option, value]
            i += 2
        return found

    def wait_for(self, word):
        """Seconds until the console shows it; what it shows."""
        said = b""
        while word not in said:
            part = os.read(self.qemu.stdout.fileno(), 65536)
            if not part:
                raise RuntimeError(f"no {word!r} on the console: {said[-2000:]!r}")
            said += part
        return time.monotonic() - self.began, said.decode(errors="replace")

    def close(self):
        for process in [self.qemu, *self.processes]:
            process.kill()
            process.wait()
        self.qemu.stdout.close()


def available(text):
    """KiB that are used, by /proc/meminfo."""
    figures = dict(re.findall(r"(\w+): +(\d+)", text))
    return int(figures["MemTotal"]) - int(figures["MemAvailable"])


# Of a kernel that has got as far as its first process, with a shell as that.
SHELL = "rdinit=/usr/bin/busybox -- sh -c \"{}\""


class VmBench:
    def __init__(self, bench):
        self.bench, self.rounds, self.folder = bench, bench.rounds, bench.folder
        self.hvrun = f"{bench.hvrun} --partition qemu"
        self.guest = Path(os.environ.get("HVRUN_GUEST") or bench.build / "guest")
        self.virtiofsd = next(path for path in ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd") if
                              os.path.exists(path))
        self.qemu = None

    def row(self, *cells):
        self.bench.row(*cells)

    def run(self):
        sleep = self.bench.bundle("sleep", ["sleep", "6000"])
        true = self.bench.bundle("true", ["true"])
        self.learn(sleep)
        self.boots(true)
        self.in_one_vm(sleep, true)
        self.bridge()

    def learn(self, bundle):
        """QEMU's words, from one that hvrun has started."""
        self.bench.sh(f"{self.hvrun} run -d -b {bundle} l1")
        record = json.loads((self.folder / "h/partitions/l1/sandbox.json").read_text())
        words = Path(f"/proc/{record['AgentPid']}/cmdline").read_bytes().split(b"\0")
        self.qemu = [word.decode() for word in words if word]
        self.bench.sh(f"{self.hvrun} delete -f l1")

    def boots(self, bundle):
        """From nothing to the end of a container, beside the kernel alone."""
        whole, bare, used = [], [], []
        for _ in range(self.rounds):
            began = time.monotonic()
            self.bench.sh(f"{self.hvrun} run -b {bundle} b1")
            whole.append(time.monotonic() - began)
            vm = Vm(self, self.folder, SHELL.format("echo reached; busybox sleep 100"))
            bare.append(vm.wait_for(b"reached")[0])
            vm.close()
            self.bench.sh(f"{self.hvrun} run -d -b {bundle} b2")
            text = (self.folder / "h/partitions/b2/agent.log").read_text(errors="replace")
            self.bench.sh(f"{self.hvrun} delete -f b2")
            used.append(stamp(text, r"hvagent: .*negotiated") - stamp(text, r"hvagent: version"))
        self.row("hand-over to the bridge negotiated", ms(used), "by the guest's own clock", "", "<= 150 ms")
        self.row("run of true from nothing", ms(whole), f"bare kernel to init {ms(bare)}",
                 f"{statistics.median(whole) / statistics.median(bare):.2f}", "<= 1.2")

    def in_one_vm(self, sleep, true):
        """What commands take when the VM is there."""
        sh = self.bench.sh
        sh(f"{self.hvrun} run -d -b {sleep} m1")
        create, start, ran = [], [], []
        for n in range(self.rounds * 4):
            times = [time.monotonic()]
            sh(f"{self.hvrun} create --pod m1 -b {sleep} c{n} >/dev/null 2>&1")
            times.append(time.monotonic())
            sh(f"{self.hvrun} start c{n}")
            times.append(time.monotonic())
            sh(f"{self.hvrun} delete -f c{n}")
            times.append(time.monotonic())
            sh(f"{self.hvrun} run --pod m1 -b {true} r{n}")
            times.append(time.monotonic())
            create.append(times[1] - times[0])
            start.append(times[2] - times[1])
            ran.append(times[4] - times[3])
        both = [a + b for a, b in zip(create, start)]
        self.row("create + start of busybox, commands", ms(both), f"create {ms(create)}", "", "<= 250 ms")
        self.row("run of true in a VM that is there", ms(ran), "", "", "")
        execs = self.bench.turns(self.rounds * 4, f"{self.hvrun} exec m1 /bin/true")[0]
        self.row("exec, whole process", f"{execs[0] / 1000:.1f} ms", f"{execs[3]} failed" if execs[3] else "",
                 "", "")
        sh(f"{self.hvrun} delete -f m1")

    def bridge(self):
        """bench-bridge in the place of the sandbox process; and the same kernel with a shell."""
        bundle = self.folder / "bridge"
        bundle.mkdir()
        spec = json.loads((self.folder / "sleep/config.json").read_text())
        # Nothing of the host: the VM's own busybox.
        spec["root"] = {"path": "/usr", "readonly": False}
        spec["mounts"] = []
        spec["linux"].update(maskedPaths=[], readonlyPaths=[], devices=[])
        (bundle / "config.json").write_text(json.dumps(spec))
        base = self.folder / "base"
        base.mkdir()
        host = subprocess.Popen([self.bench.build / "tests/bench/bench-bridge", f"hybrid:{base}/vm", bundle,
                                 "1000", "100"], stdout=subprocess.PIPE, text=True)
        while not list(base.iterdir()):
            time.sleep(0.01)
        vm = Vm(self, self.folder, f"-- --parent vsock:host --port {PORT}")
        os.symlink(base / f"vm_{PORT}", vm.folder / f"vm_{PORT}")
        out = host.communicate(timeout=600)[0]
        vm.close()
        figures = {}
        told = []
        for line in out.splitlines():
            name, _, rest = line.partition(" ")
            if name == "statistics":
                told.append(json.loads(json.loads(rest)["Properties"])["StatisticsV2"])
            else:
                figures[name] = [int(number) for number in rest.split()]
        alone, burst = figures["exec"], figures["burst"]
        self.row("exec + wait over the bridge", f"{alone[0] / 1000:.1f} ms", f"min {alone[1] / 1000:.1f}, "
                 f"max {alone[2] / 1000:.1f}; gcs + runc 2570 ms", f"{alone[0] / 2570000:.3f}", "<= 100 ms")
        self.row("100 at once over the bridge", f"slowest {burst[2] / 1000:.0f} ms", "", f"{burst[2] / alone[0]:.1f}",
                 "")
        self.row("Create + start over the bridge", f"{figures['create'][0] / 1000:.1f} ms", "gcs + runc 2200 ms",
                 f"{figures['create'][0] / 2200000:.3f}", "<= 250 ms")
        self.row("hvagent RSS, idle", rss_of(told[0]), "", "", "")
        self.row("hvagent RSS, after 1,000 execs", rss_of(told[1]), "gcs 12-14 MB", "", "<= 2 MB")
        bare = Vm(self, self.folder, SHELL.format(
            "busybox mkdir /proc; busybox mount -t proc proc /proc; busybox cat /proc/meminfo; echo reached;"
            "busybox sleep 100"))
        text = bare.wait_for(b"reached")[1]
        bare.close()
        shell = available(text)
        ours = (told[0]["guest"]["memory_total"] - told[0]["guest"]["memory_available"]) // 1024
        self.row("guest memory before a container", f"{ours} KiB", f"with a shell {shell} KiB",
                 f"{ours - shell:+d} KiB", "<= 4 MB more")


def rss_of(told):
    return f"{told['agent']['rss'] // 1024} KiB"


def stamp(text, pattern):
    """The time of the first line of the kernel's log that has it."""
    return float(re.search(r"^\[ *(\d+\.\d+)\] .*" + pattern, text, re.M)[1])


def ms(times):
    return f"{statistics.median(times) * 1000:.0f} ms"
