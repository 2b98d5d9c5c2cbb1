# SPDX-License-Identifier: Apache-2.0
"""What containerd's shim costs: `tests/bench/run --containerd`.

The peer is containerd's own shim of runc, below the same daemon, in turn in the same run. Most of what
ctr takes is its own and the daemon's start of a shim; so the requests are timed once more by a client
that has the shim to itself, without containerd: that is the shim's own share.
"""

import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import time
from pathlib import Path

HVRUN, RUNC = "hvrun", "runc"
RUNTIMES = {HVRUN: "io.containerd.hvrun.v1", RUNC: "io.containerd.runc.v2"}
PROGRAMS = {HVRUN: "containerd-shim-hvrun-v1", RUNC: "containerd-shim-runc-v2"}
CONFIG = """version = 2
root = "{folder}/root"
state = "{folder}/state"
oom_score = 0
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
	address = "{folder}/c.sock"
[plugins."io.containerd.internal.v1.opt"]
	path = "{folder}/opt"
"""
PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
HEADER = struct.Struct(">IIBB")
POD = 10
NULL = subprocess.DEVNULL


# As much of protobuf and ttrpc as it takes to ask a shim something.


def varint(number):
    said = bytearray()
    while number > 0x7f:
        said.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes(said) + bytes([number])


def message(**fields):
    """message(f1="text", f3=5): of text, bytes and numbers."""
    said = b""
    for name, value in fields.items():
        tag = int(name[1:]) << 3
        value = value.encode() if isinstance(value, str) else value
        said += varint(tag) + varint(value) if isinstance(value, int) else \
            varint(tag | 2) + varint(len(value)) + value
    return said


def fields_of(data):
    """Number -> the last value."""
    at, found = 0, {}

    def number():
        nonlocal at
        value = shift = 0
        while True:
            at += 1
            value |= (data[at - 1] & 0x7f) << shift
            if data[at - 1] < 0x80:
                return value
            shift += 7

    while at < len(data):
        tag = number()
        value = number()
        if tag & 7 == 2:
            value, at = data[at:at + value], at + value
        found[tag >> 3] = value
    return found


class Client:
    """A connection to a shim. Answers may come in any order."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(address.removeprefix("unix://"))
        self.stream, self.answers, self.received = -1, {}, b""

    def ask(self, method, **fields):
        self.stream += 2
        request = message(f1="containerd.task.v2.Task", f2=method, f3=message(**fields))
        self.socket.sendall(HEADER.pack(len(request), self.stream, 1, 0) + request)
        return self.stream

    def answer(self, stream):
        while stream not in self.answers:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError("the shim has closed the connection")
            self.received += data
            while len(self.received) >= HEADER.size:
                length, of, _, _ = HEADER.unpack_from(self.received)
                end = HEADER.size + length
                if len(self.received) < end:
                    break
                self.answers[of], self.received = self.received[HEADER.size:end], self.received[end:]
        response = fields_of(self.answers.pop(stream))
        if response.get(1):
            raise RuntimeError(f"the shim refuses: {response[1]}")
        return fields_of(response.get(2, b""))

    def call(self, method, **fields):
        return self.answer(self.ask(method, **fields))


class Shim:
    """A shim that is started as containerd does it, and asked by nobody else."""

    def __init__(self, bench, kind, name):
        self.bench, self.kind, self.id = bench, kind, name
        self.bundle = bench.folder / "direct" / name
        self.bundle.mkdir(parents=True)
        shutil.copy(bench.spec, self.bundle / "config.json")
        os.mkfifo(self.bundle / "log", 0o700)
        self.log = os.open(self.bundle / "log", os.O_RDWR | os.O_NONBLOCK)
        words = ["-namespace", bench.namespace, "-address", bench.socket, "-publish-binary", "/bin/true",
                 "-id", name]
        self.words = [bench.programs[kind], *words]
        self.environment = {**bench.environment, "TTRPC_ADDRESS": f"{bench.socket}.ttrpc"}
        bench.shims.append(self)
        began = time.monotonic()
        address = self.run("start").stdout.decode().strip()
        self.took = time.monotonic() - began
        self.client = Client(address)

    def run(self, action, *more):
        return subprocess.run([*self.words, *more, action], cwd=self.bundle, env=self.environment,
                              stdin=NULL, capture_output=True, check=True, timeout=20)

    def call(self, method, **fields):
        return self.client.call(method, f1=self.id, **fields)

    def ask(self, method, **fields):
        return self.client.ask(method, f1=self.id, **fields)

    def create(self):
        self.call("Create", f2=str(self.bundle))

    def wait_started(self, *name):
        """Start, with a Wait from before it to the end."""
        which = {"f2": name[0]} if name else {}
        waiting = self.ask("Wait", **which)
        self.call("Start", **which)
        self.client.answer(waiting)

    def exec(self, name, process):
        self.call("Exec", f2=name, f7=message(f1=PROCESS, f2=json.dumps(process)))

    def shutdown(self):
        """To the end of the connection. Runc's shim may be too quick to answer."""
        try:
            self.call("Shutdown")
            self.client.socket.recv(1)
        except (EOFError, ConnectionError):
            pass

    def clean_up(self):
        """As containerd does it when it has lost the connection, also after a Shutdown."""
        self.run("delete", "-bundle", str(self.bundle))

    def close(self):
        self.client.socket.close()
        os.close(self.log)
        self.bench.shims.remove(self)


class ContainerdBench:
    def __init__(self, bench):
        self.bench, self.rounds, self.folder = bench, bench.rounds, bench.folder / "containerd"
        self.folder.mkdir()
        self.shims = []                 # those without containerd
        self.namespace = f"hvbench{os.getpid()}"
        self.socket = f"{self.folder}/c.sock"
        ours = bench.build / "shim/containerd"
        self.environment = {**os.environ, "PATH": f"{ours}:{os.environ['PATH']}",
                            "HVRUN_AGENT": str(bench.build / "agent/hvagent")}
        self.programs = {kind: shutil.which(name, path=self.environment["PATH"])
                         for kind, name in PROGRAMS.items()}
        self.ctr = f"timeout -k 1 30 ctr -a {self.socket} -n {self.namespace}"
        self.state = Path("/run/containerd/hvrun") / self.namespace

    def run(self):
        bundle = self.bench.bundle("true", ["true"])
        self.spec, self.rootfs = bundle / "config.json", self.bench.folder / "rootfs"
        self.process = json.loads(self.spec.read_text())["process"]
        daemon = self.start()
        try:
            self.commands()
            self.memory()
            self.whole_lives()
            self.execs()
            self.hanging()
            self.size()
        finally:
            for shim in self.shims:
                shim.clean_up()
            self.clean_up()
            daemon.terminate()
            daemon.wait()
            shutil.rmtree(self.state, ignore_errors=True)
            self.bench.sh(f"find /sys/fs/cgroup -depth -path '*/{self.namespace}*' -type d -exec rmdir {{}} +",
                          check=False)

    def start(self):
        (self.folder / "config.toml").write_text(CONFIG.format(folder=self.folder))
        with open(self.folder / "log", "wb") as log:
            daemon = subprocess.Popen(["containerd", "--config", self.folder / "config.toml"], stdin=NULL,
                                      stdout=log, stderr=log, env=self.environment, start_new_session=True)
        while subprocess.run(f"{self.ctr} version".split(), capture_output=True).returncode:
            if daemon.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text())
            time.sleep(0.05)
        return daemon

    def clean_up(self):
        for name in self.bench.sh(f"{self.ctr} containers ls -q", check=False).split():
            self.bench.sh(f"{self.ctr} tasks rm -f {name}; {self.ctr} containers rm {name}", check=False)

    def row(self, *cells):
        self.bench.row(*cells)

    def compare(self, what, times, target, show=None):
        show = show or ms
        ours, peer = (statistics.median(times[kind]) for kind in (HVRUN, RUNC))
        self.row(what, show(ours), f"runc {show(peer)}", f"{ours / peer:.2f}", target)

    # By ctr

    def run_words(self, kind, name, args, options=""):
        return f"{self.ctr} run --runtime {RUNTIMES[kind]} {options} --rootfs {self.rootfs} {name} {args}"

    def commands(self):
        """ctr itself, whole; and what any of its commands takes at the least."""
        for kind in RUNTIMES:
            self.bench.sh(self.run_words(kind, f"{kind}-e", "/bin/sleep 6000", "-d"))
        bare = f"{self.ctr} tasks ls -q"
        runs = [self.run_words(kind, f"{kind}-t", "/bin/true", "--rm") for kind in RUNTIMES]
        execs = [f"{self.ctr} tasks exec --exec-id e {kind}-e /bin/true" for kind in RUNTIMES]
        for what, words, target, rounds in (("ctr run --rm true", runs, "<= 0.7", self.rounds),
                                            ("ctr task exec true", execs, "<= 0.5", self.rounds * 3)):
            *results, least = self.bench.turns(rounds, *words, bare)
            self.bench.compare(what, ["runc"], results, [target], rounds)
            # On a busy machine ctr and the daemon wait for their turns more than for any shim.
            ours, peer = (result[1] / 1e6 for result in results)
            self.row("  the fastest", ms(ours), f"runc {ms(peer)}", f"{ours / peer:.2f}", "")
            self.row("  ctr alone, asking containerd only", ms(least[0] / 1e6), f"fastest {ms(least[1] / 1e6)}",
                     "", "")
        self.clean_up()

    def shim_pid(self, name):
        bundle = self.folder / "state/io.containerd.runtime.v2.task" / self.namespace / name
        return Client((bundle / "address").read_text()).call("Connect", f1=name)[1]

    def agent_pid(self, group):
        return json.loads((self.state / "partitions" / group / "sandbox.json").read_text())["AgentPid"]

    def memory(self):
        """Of a pod, as a CRI client annotates its containers."""
        sizes = {kind: {} for kind in RUNTIMES}
        agent = {}
        for n in range(1, POD + 1):
            for kind in RUNTIMES:
                role = "sandbox" if n == 1 else "container"
                pod = (f"-d --annotation io.kubernetes.cri.sandbox-id={kind}-m1 "
                       f"--annotation io.kubernetes.cri.container-type={role}")
                self.bench.sh(self.run_words(kind, f"{kind}-m{n}", "/bin/sleep 6000", pod))
            time.sleep(0.2)
            for kind in RUNTIMES:
                sizes[kind][n] = self.bench.rss(self.shim_pid(f"{kind}-m{n}"))
            agent[n] = self.bench.rss(self.agent_pid(f"{HVRUN}-m1"))
        assert self.shim_pid(f"{HVRUN}-m1") == self.shim_pid(f"{HVRUN}-m{POD}")
        for n, target in ((1, "<= 0.25"), (POD, "")):
            self.compare(f"shim's RSS, {n} container{'s' * (n > 1)}",
                         {kind: [sizes[kind][n]] for kind in RUNTIMES}, target, "{} KiB".format)
            self.row("  the agent's RSS beside it", f"{agent[n]} KiB", "", "", "")
        each = {kind: (of[POD] - of[1]) / (POD - 1) for kind, of in sizes.items()}
        self.row("  each container more", f"{each[HVRUN]:.1f} KiB", f"runc {each[RUNC]:.1f} KiB", "",
                 "<= 100 kB")
        self.clean_up()

    # The shim's own share, without containerd

    def whole_lives(self):
        """What the daemon asks of a shim for a `run --rm`."""
        asked, around = ({kind: {} for kind in RUNTIMES} for _ in range(2))
        for n in range(self.rounds):
            for kind in RUNTIMES:
                shim = Shim(self, kind, f"{kind}-d{n}")
                around[kind].setdefault("the action start", []).append(shim.took)
                timed(asked[kind], (("Create", shim.create), ("Start, to the end of true", shim.wait_started),
                                    ("Delete", lambda: shim.call("Delete"))))
                timed(around[kind], (("Shutdown, to its end", shim.shutdown),
                                     ("the action delete", shim.clean_up)))
                shim.close()
        self.compare_phases("Create + Start + Wait + Delete", asked)
        self.compare_phases("start + Shutdown + delete", around)

    def execs(self):
        asked = {kind: {} for kind in RUNTIMES}
        shims = [self.sleeping(kind, f"{kind}-x") for kind in RUNTIMES]
        for _ in range(self.rounds * 5):
            for shim in shims:
                timed(asked[shim.kind], (("Exec", lambda: shim.exec("e", self.process)),
                                         ("Start, to the end of true", lambda: shim.wait_started("e")),
                                         ("Delete", lambda: shim.call("Delete", f2="e"))))
        sizes = {shim.kind: [self.bench.rss(shim.call("Connect")[1])] for shim in shims}
        for shim in shims:
            self.end(shim)
        self.compare_phases("Exec + Start + Wait + Delete", asked)
        self.compare("  shim's RSS after them", sizes, "", "{} KiB".format)

    def compare_phases(self, what, phases):
        """Of {kind: {phase: [seconds…]}}: all together, and each."""
        self.compare(what, {kind: [sum(times) for times in zip(*of.values())]
                            for kind, of in phases.items()}, "")
        for phase in phases[HVRUN]:
            self.compare(f"  {phase}", {kind: phases[kind][phase] for kind in RUNTIMES}, "")

    def sleeping(self, kind, name):
        """A shim with a container that runs."""
        shim = Shim(self, kind, name)
        spec = json.loads(self.spec.read_text())
        spec["process"]["args"] = ["sleep", "6000"]
        (shim.bundle / "config.json").write_text(json.dumps(spec))
        shim.create()
        shim.call("Start")
        return shim

    def end(self, shim):
        waiting = shim.ask("Wait")
        shim.call("Kill", f3=signal.SIGKILL)
        shim.client.answer(waiting)
        shim.call("Delete")
        shim.shutdown()
        shim.clean_up()
        shim.close()

    def hanging(self):
        """What is answered from memory must not wait for a guest that does not answer: here for an agent
        that is stopped, with a Pause and a Start that wait for it. Runc's shim has nothing of the kind: it
        is idle."""
        shims = {kind: self.sleeping(kind, f"{kind}-h") for kind in RUNTIMES}
        for shim in shims.values():
            shim.exec("over", self.process)
            shim.wait_started("over")
        ours, agent = shims[HVRUN], self.agent_pid(f"{HVRUN}-h")
        ours.exec("new", self.process)
        os.kill(agent, signal.SIGSTOP)
        try:
            waiting = [ours.ask("Start", f2="new"), ours.ask("Pause")]
            time.sleep(0.1)
            questions = (("State", {}), ("Pids", {}), ("Wait", {"f2": "over"}))
            times = {kind: {method: [] for method, _ in questions} for kind in RUNTIMES}
            for _ in range(self.rounds * 5):
                for method, which in questions:
                    for kind, shim in shims.items():
                        timed(times[kind], ((method, lambda: shim.call(method, **which)),))
            early = [stream for stream in waiting if stream in ours.client.answers]
        finally:
            os.kill(agent, signal.SIGCONT)
        for method, _ in questions:
            ours_said, peer_said = (f"{ms(statistics.median(of[method]))}, slowest {ms(max(of[method]))}"
                                    for of in times.values())
            self.row(f"{method} while the agent hangs", ours_said, f"runc, idle {peer_said}", "",
                     "but it answers" if early else "<= 5 ms")
        for stream in waiting:
            ours.client.answer(stream)
        ours.call("Resume")
        for shim in shims.values():
            self.end(shim)

    def size(self):
        stripped = self.folder / "stripped"
        subprocess.run(["strip", "-o", stripped, self.programs[HVRUN]], check=True)
        peer = Path(self.programs[RUNC]).stat().st_size
        size = stripped.stat().st_size
        self.row("the shim, stripped", f"{size} bytes", f"runc's as installed {peer} bytes",
                 f"{size / peer:.2f}", "<= 1 MB")


def timed(phases, steps):
    """Does each step, notes how long it takes."""
    for name, step in steps:
        began = time.monotonic()
        step()
        phases.setdefault(name, []).append(time.monotonic() - began)


def ms(seconds):
    return f"{seconds * 1000:.2f} ms"
