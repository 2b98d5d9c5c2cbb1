# SPDX-License-Identifier: Apache-2.0
"""Long runs that look for what short tests cannot: a byte lost once in ten thousand times, a leak of
one page in a hundred, an end that nobody is told of.

Every soak is a function of a World; it returns a line of figures and raises AssertionError when
something is wrong. tests/soak runs them at full length, test_soak.py shortly.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import container
import hvrun
import watch

KIB, MIB = 1024, 1024 * 1024
PATTERN = 4 * MIB
WINDOW = 256                    # KiB: STREAM_WINDOW of oci/stream.h
EMIT = pathlib.Path(__file__).with_name("emit.c")


def compile_emit(path):
    subprocess.run(["cc", "-O2", "-static", "-o", path, EMIT], check=True)
    return path


class World:
    """One directory, one root file system, and the processes that a soak starts."""

    def __init__(self, place, hv, rootfs, seed=None):
        self.path, self.token, self.hv, self.rootfs = place.path, place.token, hv, rootfs
        self.seed = seed if seed is not None else random.randrange(1 << 32)
        self.emit = compile_emit(rootfs / "bin/emit")
        self.pattern = memoryview(subprocess.run([self.emit, "source", str(PATTERN)], check=True,
                                                 stdout=subprocess.PIPE).stdout)
        self.lock = threading.Lock()
        self.mine = {}

    def start(self, *words, **more):
        """A process of ours. Every one must be given to end()."""
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("env", self.hv.environment)
        with self.lock:
            process = subprocess.Popen([str(word) for word in words], **more)
            self.mine[process.pid] = process
        return process

    def hvrun(self, *args, **more):
        return self.start(*self.hv.words(*args), **more)

    def end(self, process, timeout=20):
        """Its exit status."""
        assert wait_for_exit([process.pid], timeout), f"{process.args} hangs"
        with self.lock:
            # In one step, or the next child of the same number would be taken for an adopted one.
            status = process.wait()
            del self.mine[process.pid]
        return status

    def reap(self):
        """Sandbox processes and proxies end as children of ours."""
        with self.lock:
            for pid in watch.children(os.getpid()):
                info = watch.stat(pid)
                if pid not in self.mine and info and info[1] == "Z":
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)

    def adopted(self):
        self.reap()
        return [pid for pid in watch.children(os.getpid()) if pid not in self.mine]

    def container(self, name="c"):
        """A running one whose first process does nothing but reap."""
        spec = container.config("emit", "init", rootfs=self.rootfs)
        return self.hv.background(spec, name=f"{self.token}-{name}")

    def record(self, cid):
        """(sandbox process, agent) of a container; 0 for what is not known yet."""
        try:
            text = (self.hv.partition_of(cid) / "sandbox.json").read_text()
            record = hvrun.json.loads(text)
        except (OSError, ValueError):
            return 0, 0
        return record.get("Pid", 0), record.get("AgentPid", 0)

    def agent_rss(self, pid):
        """As watch.rss(), also of an agent in a VM."""
        if not self.hv.in_vm:
            return watch.rss(pid)
        return int(re.search(r"RssAnon:\s+(\d+)", self.hv.outside("cat", "/proc/1/status"))[1])

    def agent_fds(self, pid):
        return len(self.hv.outside("ls", "/proc/1/fd").split() if self.hv.in_vm else watch.fds(pid))

    def delete(self, cid, what="delete --force"):
        process = self.hvrun("delete", "--force", cid, stderr=subprocess.PIPE)
        text = process.stderr.read().decode()
        process.stderr.close()
        assert self.end(process) == 0, f"{what}: {text}"

    def close(self):
        """After an interruption as well."""
        for process in list(self.mine.values()):
            process.kill()
            process.wait()
        self.mine.clear()


def wait_for_exit(pids, timeout):
    """Until all of these children are zombies: whether they are."""
    deadline = time.monotonic() + timeout
    for pid in pids:
        fd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0, deadline - time.monotonic()) * 1000):
                return False
        finally:
            os.close(fd)
    return True


def in_parallel(count, parallel, job):
    """job(n) for every n, some at a time; the first failure ends all."""
    numbers, failures, lock = iter(range(count)), [], threading.Lock()

    def work():
        while not failures:
            with lock:
                n = next(numbers, None)
            if n is None:
                return
            try:
                job(n)
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(parallel)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException as interruption:
        failures.append(interruption)
        raise
    if failures:
        raise failures[0]


def milliseconds(seconds):
    return f"{seconds * 1000:.1f} ms"


# Output


class Reader:
    """Both pipes of a process to their ends, and the moment of its exit among the bytes."""

    def __init__(self, process, dice=None):
        self.got = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
        self.order = list(self.got)
        self.began, self.exited, self.at_exit = time.monotonic(), None, None
        pidfd = os.pidfd_open(process.pid)
        try:
            self.read(pidfd, dice)
        finally:
            os.close(pidfd)
            process.stdout.close()
            process.stderr.close()

    def read(self, pidfd, dice):
        poll, left = select.poll(), {pidfd, *self.got}
        for fd in left:
            poll.register(fd, select.POLLIN)
        while left:
            ready = [fd for fd, _ in poll.poll(60000)]
            assert ready, f"nothing for a minute after {[len(g) for g in self.got.values()]} bytes"
            if pidfd in ready:
                self.exited = time.monotonic() - self.began
                self.at_exit = [len(self.got[fd]) for fd in self.order]
                poll.unregister(pidfd)
                left.remove(pidfd)
            for fd in ready:
                if fd == pidfd:
                    continue
                if dice:
                    time.sleep(dice.expovariate(1000))
                data = os.read(fd, dice.choice((100, 4096, 16384)) if dice else MIB)
                self.got[fd] += data
                if not data:
                    poll.unregister(fd)
                    left.remove(fd)


def some_size(dice):
    """Of all magnitudes: the edges are where the mistakes are."""
    return dice.choice((0, 1, dice.randrange(5000), dice.randrange(MIB + 1), dice.randrange(MIB + 1)))


def run_words(world, n, cid, words, dice):
    """The command that runs them: exec, or run with a share of its own or in the same partition."""
    kind = dice.choice(("own", "pod")) if n % 10 == 0 else "exec"
    if kind == "exec":
        return ["exec", cid, *words], None
    config = world.path / f"config-{n}.json"
    config.write_text(hvrun.json.dumps(container.config(*map(str, words), rootfs=world.rootfs)))
    pod = ["--pod", cid] if kind == "pod" else []
    return ["run", *pod, "--bundle", world.path, "--config", config, f"{world.token}-{n}"], config


def one_run(world, n, cid, variant, times):
    dice = random.Random(f"{world.seed} {variant} {n}")
    sizes, code = [some_size(dice), some_size(dice)], dice.randrange(256)
    at = [dice.randrange(PATTERN // 2), dice.randrange(PATTERN // 2)]
    words = ["emit", "write", *sizes, code, *at, n]
    late = dice.randrange(1, 200000) if variant == "background" else 0
    if late:
        command, config = ["exec", cid, *words, 1000, late], None
    else:
        command, config = run_words(world, n, cid, words, dice)
    process = world.hvrun(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader = Reader(process, dice if variant == "slow" else None)
    status = world.end(process)
    if config:
        config.unlink()
    what = f"{variant} {n} of seed {world.seed}: {' '.join(map(str, command))}"
    assert status == code, f"{what}: exit status {status}, not {code}: {list(reader.got.values())[1][-300:]}"
    for name, fd, size, begin in zip(("stdout", "stderr"), reader.order, sizes, at):
        got = reader.got[fd]
        assert len(got) == size + late, f"{what}: {len(got)} bytes of {name}, not {size}+{late}"
        assert got == world.pattern[begin:begin + size + late], f"{what}: wrong bytes on {name}"
    if late:
        assert reader.exited < watch.PATIENCE and reader.at_exit[0] <= sizes[0] and reader.at_exit[1] <= sizes[1], \
            f"{what}: exit status after {reader.exited} s, {reader.at_exit} bytes read"
    times.append((reader.exited, sum(sizes) + 2 * late))


def runs(world, count=10000, parallel=4):
    """Output complete and in order, and the right exit status."""
    cid, figures = world.container(), []
    for variant, share in (("fast", 0.5), ("slow", 0.3), ("background", 0.2)):
        times, began, some = [], time.monotonic(), max(1, round(count * share))

        def job(n):
            one_run(world, n, cid, variant, times)
            if n % 50 == 0:
                world.reap()

        # One in the background takes a second in which it does nothing.
        in_parallel(some, parallel * 4 if variant == "background" else parallel, job)
        took = time.monotonic() - began
        figures.append(f"{variant}: {some} in {took:.1f} s, {sum(t[1] for t in times) / MIB / took:.0f} "
                       f"MiB/s, exit after {milliseconds(statistics.median(t[0] for t in times))}, at "
                       f"most {milliseconds(max(t[0] for t in times))}")
    world.delete(cid)
    return f"{count} processes, all bytes and codes right; " + "; ".join(figures)


# Input


def stdin(world, size=10 * 1000 ** 3):
    """One large stream through stdin, cat and stdout, compared with what was sent."""
    cid = world.container()
    sandbox, agent = world.record(cid)
    before, began = (world.agent_rss(agent), watch.rss(sandbox)), time.monotonic()
    source = world.start(world.emit, "source", size, stdout=subprocess.PIPE)
    cat = world.hvrun("exec", cid, "cat", stdin=source.stdout, stdout=subprocess.PIPE)
    source.stdout.close()
    check = world.start(world.emit, "check", size, stdin=cat.stdout, stdout=subprocess.PIPE)
    cat.stdout.close()
    told = check.stdout.read().decode().strip()
    check.stdout.close()
    statuses = [world.end(process) for process in (source, cat, check)]
    took = time.monotonic() - began
    grown = [world.agent_rss(agent) - before[0], watch.rss(sandbox) - before[1]]
    assert statuses == [0, 0, 0], f"source, cat, check ended with {statuses}: {told}"
    assert max(grown) <= 2 * WINDOW + 128, f"memory of agent and sandbox grew by {grown} KiB"
    world.delete(cid)
    return (f"{size / 1e9:.2f} GB through cat and back, all right, in {took:.1f} s, {size / 1e6 / took:.0f} "
            f"MB/s; agent and sandbox +{grown[0]} and +{grown[1]} KiB")


# A reader that stops


def latency(world, cid, count):
    times = []
    for _ in range(count):
        began = time.monotonic()
        process = world.hvrun("exec", cid, "true")
        assert world.end(process) == 0
        times.append(time.monotonic() - began)
    return statistics.median(times)


def stalled(world, count=100):
    """Who does not read stops nobody else, and costs one window of memory."""
    cid = world.container()
    sandbox, agent = world.record(cid)
    latency(world, cid, 10)
    normal, before = latency(world, cid, count), (world.agent_rss(agent), watch.rss(sandbox))
    endless = 1 << 40
    writer = world.hvrun("exec", cid, "emit", "source", endless, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    first = os.read(writer.stdout.fileno(), 1000)
    source = world.start(world.emit, "source", endless, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL)
    sleeper = world.hvrun("exec", cid, "sleep", 100000, stdin=source.stdout)
    source.stdout.close()
    time.sleep(0.5)             # until every buffer is full
    stall, after = latency(world, cid, count), (world.agent_rss(agent), watch.rss(sandbox))
    grown = [now - then for now, then in zip(after, before)]
    assert stall <= 3 * normal, f"exec took {milliseconds(normal)}, now {milliseconds(stall)}"
    # And up to three frames that belong to no stream: coming in, going out, being put together.
    assert max(grown) <= WINDOW + 3 * 64, f"memory of agent and sandbox grew by {grown} KiB"
    size = max(1, count // 2) * MIB
    other = world.hvrun("exec", cid, "emit", "source", size, stdout=subprocess.PIPE)
    check = world.start(world.emit, "check", size, stdin=other.stdout, stdout=subprocess.DEVNULL)
    other.stdout.close()
    assert (world.end(other), world.end(check)) == (0, 0), "another stream meanwhile"
    # The reader goes on where it stopped, and leaves.
    while len(first) < PATTERN:
        data = os.read(writer.stdout.fileno(), PATTERN - len(first))
        assert data, f"the stalled stream ends after {len(first)} bytes"
        first += data
    assert first == world.pattern, "wrong bytes on the stalled stream"
    writer.stdout.close()
    assert world.end(writer, 5) != 0, "the writer does not learn that its reader has left"
    assert world.end(world.hvrun("exec", cid, "killall", "sleep")) == 0
    assert world.end(sleeper, 5) == 128 + signal.SIGTERM
    os.kill(source.pid, signal.SIGKILL)
    world.end(source)
    world.delete(cid)
    return (f"exec takes {milliseconds(normal)}, {milliseconds(stall)} beside stalled stdin and stdout; "
            f"agent and sandbox +{grown[0]} and +{grown[1]} KiB")


# Nothing grows


def mounts(world, pid):
    """Without those of other tests that run at the same time."""
    return [line for line in watch.mounts(pid) if str(world.path) in line or "/tmp/hv" not in line]


def measure(world, cid):
    sandbox, agent = world.record(cid)
    return {
        "agent's fds": world.agent_fds(agent), "sandbox's fds": len(watch.fds(sandbox)),
        "processes": len(watch.descendants(sandbox)),
        "zombies": sum(watch.stat(pid)[1] == "Z" for pid in watch.descendants(sandbox)),
        "adopted": len(world.adopted()),
        "cgroups": len(watch.cgroups(world.token)),
        "agent's mounts": len(mounts(world, agent)), "mounts": len(mounts(world, "self")),
        "agent's KiB": world.agent_rss(agent), "sandbox's KiB": watch.rss(sandbox),
    }


def execs(world, count=10000, parallel=4):
    """Nothing grows with the number of execs."""
    cid = world.container()

    def job(n):
        process = world.hvrun("exec", cid, "emit", "write", 20, 10, n % 200, n, n, n,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        reader = Reader(process)
        assert world.end(process) == n % 200, f"exec {n}"
        assert list(reader.got.values()) == [world.pattern[n:n + 20], world.pattern[n:n + 10]], \
            f"exec {n}: {reader.got}"

    in_parallel(200, parallel, job)
    before, began = measure(world, cid), time.monotonic()
    in_parallel(count, parallel, job)
    took, after = time.monotonic() - began, measure(world, cid)
    for name, value in before.items():
        slack = 256 if name.endswith("KiB") else 0
        assert after[name] <= value + slack, f"{name} grew from {value} to {after[name]}"
    sizes = after["agent's KiB"], after["sandbox's KiB"]
    grown = sizes[0] - before["agent's KiB"], sizes[1] - before["sandbox's KiB"]
    world.delete(cid)
    return (f"{count} in {took:.1f} s, {count / took:.0f} per second; agent {sizes[0]} KiB (+{grown[0]}), "
            f"sandbox {sizes[1]} KiB (+{grown[1]})")


def burst(world, count=100):
    """All at once."""
    cid, began = world.container(), time.monotonic()
    processes = [world.hvrun("exec", cid, "sh", "-c", f"read x; echo $x {n}; exit {n % 250}",
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                 for n in range(count)]
    for n, process in enumerate(processes):
        process.stdin.write(b"input %d\n" % n)
        process.stdin.close()
    for n, process in enumerate(processes):
        got = process.stdout.read()
        process.stdout.close()
        assert got == b"input %d %d\n" % (n, n), f"exec {n}: {got}"
        assert world.end(process) == n % 250, f"exec {n}: exit status"
    took = time.monotonic() - began
    world.delete(cid)
    return f"{count} execs at once, all right, in {took:.2f} s"


# Sudden deaths

VICTIMS = ("proxy", "sandbox", "agent", "init")
STAGES = {"create": 0.04, "start": 0.012, "run": 0.06, "exec": 0.03, "delete": 0.02}
TOLD = 2                        # seconds in which everybody who waits must be told


class Death:
    """One container that loses one of its processes at some moment of one stage of its life."""

    def __init__(self, world, n):
        self.world, self.dice = world, random.Random(f"{world.seed} {n}")
        self.stage, self.victim = self.dice.choice(list(STAGES)), self.dice.choice(VICTIMS)
        self.cid = f"{world.token}-k{n}"
        self.pid_file = world.path / f"pid-{n}"
        self.what = f"{n} of seed {world.seed}: kill {self.victim} in {self.stage}"
        self.waiters, self.foreground = [], None

    def hvrun(self, *args, **more):
        more.setdefault("stdout", subprocess.DEVNULL)
        more.setdefault("stderr", subprocess.DEVNULL)
        process = self.world.hvrun(*args, **more)
        self.waiters.append(process)
        return process

    def must(self, *args):
        """What is no part of the accident. The proxy inherits stdout and stderr."""
        process = self.world.hvrun(*args, stdout=subprocess.DEVNULL)
        assert self.world.end(process) == 0, f"{self.what}: {args}"

    def create(self):
        return ["create", "--bundle", self.world.path, "--pid-file", self.pid_file, self.cid]

    def prepare(self):
        if self.stage in ("start", "exec", "delete"):
            self.must(*self.create())
        if self.stage in ("exec", "delete"):
            self.must("start", self.cid)
            for _ in range(2):
                self.hvrun("exec", self.cid, "sleep", 100000)
            self.hvrun("events", self.cid)

    def act(self):
        """What is going on at the moment of the death."""
        if self.stage == "create":
            self.hvrun(*self.create())
        elif self.stage == "run":
            self.foreground = self.hvrun("run", "--bundle", self.world.path, self.cid)
        elif self.stage == "start":
            self.hvrun("start", self.cid)
        elif self.stage == "delete":
            self.hvrun("delete", "--force", self.cid)
        else:
            for _ in range(3):
                self.hvrun("exec", self.cid, "emit", "write", 100000, 0, 0, 0, 0, 1)

    def find(self):
        """The victim's pid as far as it is there."""
        sandbox, agent = self.world.record(self.cid)
        if self.victim == "sandbox":
            return sandbox
        if self.victim == "agent":
            return agent
        if self.victim == "init":
            text = ""
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{agent}/task/{agent}/children").read_text()
            return int(text.split()[0]) if text else 0
        if self.foreground:
            return self.foreground.pid
        if self.stage == "exec" and self.dice.random() < 0.5:
            return self.dice.choice(self.waiters).pid
        with contextlib.suppress(OSError, ValueError):
            return int(self.pid_file.read_text())
        return 0

    def strike(self):
        """Whether there was somebody to be hit before the stage was over."""
        time.sleep(self.dice.uniform(0, STAGES[self.stage]))
        last = self.waiters[-1]
        while not (pid := self.find()):
            if wait_for_exit([last.pid], 0.001):
                return False
        if self.victim == "proxy" and self.stage == "delete" and not watch.stat(pid):
            return False
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            os.kill(pid, signal.SIGKILL)
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(TOLD * 1000)
            os.close(fd)
        return True

    def told(self, began):
        """Seconds until the last of those who wait was told."""
        for process in self.waiters:
            if not wait_for_exit([process.pid], max(0, began + TOLD - time.monotonic())):
                raise AssertionError(f"{self.what}: {process.args[3:]} still waits")
        return time.monotonic() - began

    def remains(self):
        found = [watch.describe(pid) for pid in self.world.adopted()]
        found += watch.cgroups(self.cid)
        for kind in ("containers", "partitions"):
            path = self.world.hv.root / kind / self.cid
            found += [str(path)] if path.exists() else []
        return found

    def check_gone(self):
        deadline = time.monotonic() + TOLD
        while found := self.remains():
            assert time.monotonic() < deadline, f"{self.what}: left behind: {found}"
            time.sleep(0.005)

    def run(self):
        """Seconds, or None when the victim was not there."""
        self.prepare()
        self.act()
        hit = self.strike()
        began, took = time.monotonic(), None
        # Without its proxy a container just goes on, and so do its processes.
        if hit and self.victim != "proxy":
            took = self.told(began)
        elif self.stage == "create":
            self.told(began)    # who is still at it would be told that it is being deleted
        self.world.delete(self.cid, self.what)
        self.told(time.monotonic())
        for process in self.waiters:
            self.world.end(process)
        self.check_gone()
        self.pid_file.unlink(missing_ok=True)
        return took


def kills(world, count=300):
    """Whoever dies at whatever moment: everybody who waits is told, and everything can be removed."""
    spec = container.config("emit", "init", rootfs=world.rootfs)
    (world.path / "config.json").write_text(hvrun.json.dumps(spec))
    began, times = time.monotonic(), []
    for n in range(count):
        took = Death(world, n).run()
        if took is not None:
            times.append(took)
    return (f"{count} in {time.monotonic() - began:.1f} s; those who waited were told after "
            f"{milliseconds(statistics.median(times or [0]))}, at most {milliseconds(max(times or [0]))}; "
            f"nothing left behind")


def vms(world, count=30):
    """VMs, one after another: what does each leave behind?"""
    hv = hvrun.Hvrun(world.hv.place, "qemu")
    spec = container.config("true", rootfs=world.rootfs)
    (world.path / "config.json").write_text(hvrun.json.dumps(spec))
    before, times = None, []
    for n in range(count):
        began = time.monotonic()
        process = world.start(*hv.words("run", "--bundle", world.path, f"{world.token}-vm{n}"),
                              stderr=subprocess.PIPE)
        text = process.stderr.read().decode()
        process.stderr.close()
        assert world.end(process, 60) == 0, text
        times.append(time.monotonic() - began)
        watch.eventually(lambda: not world.adopted(), 2)
        state = {*map(str, hv.root.rglob("*")), *mounts(world, "self"), *watch.cgroups(world.token),
                 *map(str, enumerate(sorted(watch.fds("self"))))}
        assert before in (None, state), f"after VM {n}: {sorted(before - state)} became {sorted(state - before)}"
        before = state
    return f"{count} VMs in {sum(times):.1f} s, {milliseconds(statistics.median(times))} each; nothing left behind"


def sockets(world, count):
    """Connections of random sizes over each kind of socket, 100 at the same time: is each of them right?"""
    import guest
    import stress
    import vmms
    folder = world.path / "sockets"

    def each(name, function, *args):
        folder.mkdir(mode=0o700)
        print(f"  {name}: {function(*args)}", flush=True)
        shutil.rmtree(folder)

    def by_vmm(kind, direction):
        machine = vmms.Vmm(folder, kind, dial=[5000])
        try:
            return stress.through(machine, direction, count)
        finally:
            machine.kill()
            machine.log.close()
    began = time.monotonic()
    each("unix", stress.unix, folder, count)
    each("hybrid", stress.hybrid, folder, count)
    each("hvcat between two unix sockets", stress.relay, folder, count)
    for kind in vmms.KINDS:
        for direction in ("the host dials", "the guest dials"):
            each(f"{kind}, {direction}", by_vmm, kind, direction)
    if can_start_vms():
        with guest.shared_vm([stress.STRESS]) as vm:
            guest.load_loopback(vm)
            for number, how in enumerate(stress.IN_A_VM):
                print(f"  in a VM, {how}: {stress.in_a_vm(vm, how, 5000 + number, count)}", flush=True)
    return f"{count} each, none wrong, in {time.monotonic() - began:.0f} s"


def can_start_vms():
    guest = pathlib.Path(os.environ.get("HVRUN_GUEST") or hvrun.BUILD / "guest")
    return (guest / "hvrun-guest.img").exists() and bool(shutil.which("qemu-system-x86_64"))


# name -> the function, its size, the smallest size that makes sense
SOAKS = {
    "burst": (burst, 100, 20),
    "stalled": (stalled, 100, 20),
    "execs": (execs, 10000, 200),
    "runs": (runs, 10000, 40),
    "stdin": (stdin, 10 * 1000 ** 3, 50 * 1000 ** 2),
    "kills": (kills, 300, 20),
    "vms": (vms, 30, 3),
    "sockets": (sockets, 100000, 200),
}


class Place:
    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="hvsoak", dir="/tmp"))
        self.token = self.path.name

    def remove(self):
        """What is still there has been left behind: it goes, and is told."""
        with contextlib.suppress(TimeoutError):
            watch.eventually(lambda: not watch.adopted(), 3)
        left = [watch.describe(pid) for pid in watch.adopted()]
        watch.kill(watch.adopted())
        with contextlib.suppress(TimeoutError):
            watch.eventually(lambda: not watch.adopted(), 3)
        groups = watch.cgroups(self.token)
        for path in sorted(groups, key=len, reverse=True):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        shutil.rmtree(self.path, ignore_errors=True)
        return left + groups


@contextlib.contextmanager
def new_world(seed=None):
    place = Place()
    hv = hvrun.Hvrun(place)
    world = None
    try:
        world = World(place, hv, container.make_rootfs(place.path / "rootfs"), seed)
        yield world
    finally:
        # A second Ctrl-C does not leave half of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if world:
            world.close()
        left = hv.clean() + place.remove()
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert not left, f"left behind: {left}"


def interrupt(number, frame):
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(prog="tests/soak", description="The long runs, as root.")
    parser.add_argument("--scale", type=float, default=1, help="of the full length (default 1)")
    parser.add_argument("--size", type=float, help="bytes of the stdin soak")
    parser.add_argument("--seed", type=int, help="to repeat a run that failed")
    parser.add_argument("name", nargs="*", choices=[*SOAKS, []], metavar="NAME",
                        help=f"some of: {' '.join(SOAKS)} (default: all)")
    options = parser.parse_args()
    if not os.access(hvrun.HVRUN, os.X_OK) or not os.access(hvrun.HVAGENT, os.X_OK):
        sys.exit(f"tests/soak: {hvrun.BUILD} holds no hvrun and hvagent: build them, or set HVRUN_BUILD")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    watch.become_subreaper()
    failed = False
    for name in options.name or SOAKS:
        soak, full, least = SOAKS[name]
        if name == "vms" and not can_start_vms():
            print("vms: FAILED: no guest; see contrib/guest-image" if options.name else
                  "vms: left out, for there is no guest; see contrib/guest-image", flush=True)
            failed |= bool(options.name)
            continue
        size = max(least, round(full * options.scale))
        if name == "stdin" and options.size:
            size = round(options.size)
        try:
            with new_world(options.seed) as world:
                print(f"{name}: {soak(world, size)}", flush=True)
        except AssertionError as error:
            print(f"{name}: FAILED: {error}", flush=True)
            failed = True
        except KeyboardInterrupt:
            print(f"{name}: interrupted", flush=True)
            sys.exit(130)
    sys.exit(failed)
