# SPDX-License-Identifier: Apache-2.0
"""The same things very often: no byte may be lost, and nothing may grow.

    tests/soak [--runs N] [--bytes N] [--execs N] [--at-once N] [--seed N] [PART…]

Parts: writes stream execs crowd (default: all). The defaults take about five minutes on two cores;
test_soak.py runs a small share of them with every other test.
"""

import argparse
import hashlib
import os
import pathlib
import random
import select
import shutil
import subprocess
import tempfile
import threading
import time

import container
import watch
from hvrun import Hvrun

MIB = 1 << 20
DATA = random.Random(1).randbytes(MIB)


def make_rootfs(path):
    """With a file of random bytes: what is missing or out of order shows."""
    root = container.make_rootfs(path)
    (root / "data").write_bytes(DATA)
    return root


def box(hv, rootfs):
    return hv.background(container.config("sleep", "1000000", rootfs=rootfs))


def collect(streams, slow):
    """Reads both to their ends; a slow reader takes its time."""
    data = {stream: bytearray() for stream in streams}
    left = list(streams)
    while left:
        ready, _, _ = select.select(left, [], [], 30)
        assert ready, "no more output, and no end"
        for stream in ready:
            got = os.read(stream.fileno(), 4096 if slow else MIB)
            data[stream] += got
            if not got:
                left.remove(stream)
            elif slow:
                time.sleep(0.0005)
    return [bytes(data[stream]) for stream in streams]


def drain(stream):
    """What is in the pipe, no more."""
    data = bytearray()
    os.set_blocking(stream.fileno(), False)
    try:
        while got := os.read(stream.fileno(), MIB):
            data += got
    except BlockingIOError:
        pass
    return bytes(data)


def check(what, code, wanted_code, streams, wanted):
    assert code == wanted_code, f"{what}: exit {code} instead of {wanted_code}, {streams[1][-300:]!r}"
    for name, got, length in zip(("stdout", "stderr"), streams, wanted):
        assert len(got) == length, f"{what}: {name} has {len(got)} bytes instead of {length}"
        assert got == DATA[:length], f"{what}: {name} is not what was written"


def write_once(hv, cid, rootfs, chance, number):
    """One of: run, exec, exec that is read slowly, exec that leaves a process behind, create."""
    kind = ("run", "exec", "slow", "grandchild", "create")[number % 5]
    most = 100_000 if kind in ("slow", "grandchild") else MIB
    # Mostly small: what gets lost is usually the little that was written last.
    sizes = [chance.randrange(chance.choice([2, 100, 5000, 70000, most])) for _ in range(2)]
    code = chance.randrange(256)
    script = f"head -c {sizes[0]} /data & head -c {sizes[1]} /data >&2; wait; exit {code}"
    what = f"{kind} {number}: {script}"
    if kind == "grandchild":
        # What such a process holds open is not waited for; its pipe has room for all there is.
        sizes = [size % 30000 for size in sizes]
        script = (f"head -c {sizes[0]} /data; head -c {sizes[1]} /data >&2;"
                  f"(sleep 3 < /dev/null) & exit {code}")
        process = hv.popen("exec", cid, "sh", "-c", script)
        got = process.wait(20)
        check(what, got, code, [drain(process.stdout), drain(process.stderr)], sizes)
    elif kind in ("exec", "slow"):
        process = hv.popen("exec", cid, "sh", "-c", script)
        streams = collect([process.stdout, process.stderr], kind == "slow")
        check(what, process.wait(20), code, streams, sizes)
    elif kind == "run":
        bundle = hv.bundle(container.sh(script, rootfs=rootfs), "soak")
        process = hv.popen("run", "-b", bundle, hv.new_id())
        streams = collect([process.stdout, process.stderr], False)
        check(what, process.wait(20), code, streams, sizes)
    else:
        create_once(hv, rootfs, what, script, code, sizes)
        return
    process.stdout.close()
    process.stderr.close()
    hv.started.remove(process)


def create_once(hv, rootfs, what, script, code, sizes):
    """As an engine: the pipes go to create, the status comes from the proxy."""
    new = hv.new_id()
    bundle = hv.bundle(container.sh(script, rootfs=rootfs), "soak")
    pid_file = hv.place.path / "soak.pid"
    process = hv.popen("create", "-b", bundle, "--pid-file", pid_file, new)
    assert process.wait(20) == 0, f"{what}: {drain(process.stderr)!r}"
    hv.started.remove(process)
    start = hv.popen("start", new)
    streams = collect([process.stdout, process.stderr], False)
    assert start.wait(20) == 0, f"{what}: {start.stderr.read()!r}"
    hv.started.remove(start)
    for stream in (process.stdout, process.stderr, start.stdout, start.stderr):
        stream.close()
    pid = int(pid_file.read_text())
    check(what, watch.exit_status(pid, 20), code, streams, sizes)
    hv.run("delete", new)


def writes(hv, rootfs, runs, seed=1):
    """Every byte that was written before an exit is there, in order, whatever the exit code."""
    chance = random.Random(seed)
    cid = box(hv, rootfs)
    for number in range(runs):
        write_once(hv, cid, rootfs, chance, number)
        progress("writes", number + 1, runs)
    hv.run("delete", "--force", cid)


def stream(hv, rootfs, size):
    """stdin → cat → stdout, with a checksum at both ends."""
    cid = box(hv, rootfs)
    process = hv.popen("exec", cid, "cat", stdin=subprocess.PIPE)
    sent = hashlib.sha256()

    def feed():
        left, turn = size, 0
        with process.stdin as target:
            while left:
                # Another start each time, so that blocks cannot be swapped unnoticed.
                block = memoryview(DATA)[turn % 4099:][:left]
                target.write(block)
                sent.update(block)
                left -= len(block)
                turn += 1
    feeder = threading.Thread(target=feed)
    feeder.start()
    got, received = 0, hashlib.sha256()
    while data := os.read(process.stdout.fileno(), MIB):
        received.update(data)
        got += len(data)
        progress("stream", got, size)
    feeder.join()
    assert process.wait(20) == 0
    process.stdout.close()
    process.stderr.close()
    assert got == size, f"{got} bytes of {size} came back"
    assert received.digest() == sent.digest(), "the checksum differs"
    hv.run("delete", "--force", cid)


def state_of(hv, cid):
    """What must be as before: of the agent and of the sandbox process."""
    sandbox, agent = hv.sandbox_pid(cid), hv.agent_pid(cid)
    return {
        "sandbox fds": len(watch.fds(sandbox)),
        "agent fds": len(watch.fds(agent)),
        "sandbox children": len(watch.children(sandbox)),
        "agent children": len(watch.children(agent)),
        "cgroups": len(watch.cgroups(cid)),
        "mounts": len([line for line in watch.mounts(agent) if str(hv.place.path) in line]),
        "partition files": len(list((hv.root / "partitions" / cid).iterdir())),
        "container files": len(list((hv.root / "containers" / cid).iterdir())),
    }, {"sandbox RSS": watch.rss(sandbox), "agent RSS": watch.rss(agent)}


def execs(hv, rootfs, count):
    """No fd, zombie, cgroup, mount, file or memory more than before."""
    cid = box(hv, rootfs)
    warm = max(20, count // 20)

    def one(number):
        code = number % 200
        process = hv.popen("exec", cid, "sh", "-c", f"echo {number}; exit {code}")
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (code, b"%d\n" % number), err
        hv.started.remove(process)
    for number in range(warm):
        one(number)
    before, memory = state_of(hv, cid)
    for number in range(count):
        one(number)
        progress("execs", number + 1, count)
    watch.eventually(lambda: state_of(hv, cid)[0] == before, 3, f"{before} {state_of(hv, cid)[0]}")
    _, after = state_of(hv, cid)
    for name, value in after.items():
        assert value <= memory[name] + 128, f"{name} grew from {memory[name]} to {value} KiB"
    hv.run("delete", "--force", cid)


def crowd(hv, rootfs, count):
    """That many execs at once, each with input, output and a status of its own."""
    cid = box(hv, rootfs)
    # What is opened once, for a stream of some size, may stay.
    hv.run("exec", cid, "head", "-c", "1000000", "/data", text=False)
    hv.run("exec", cid, "cat", input=DATA, text=False)
    before, _ = state_of(hv, cid)
    many = [hv.popen("exec", cid, "sh", "-c", f"cat; head -c {1000 * n} /data >&2; exit {n % 256}",
                     stdin=subprocess.PIPE) for n in range(count)]
    watch.eventually(lambda: len(hv.run("ps", "-f", "json", cid).json()) == count * 2 + 1, 30,
                     "all of them at once")
    for n, process in enumerate(many):
        out, err = process.communicate(b"%d" % n, timeout=60)
        wanted = (1000 * n) % len(DATA) if 1000 * n <= len(DATA) else len(DATA)
        assert (process.returncode, out) == (n % 256, b"%d" % n), err[-300:]
        assert err == DATA[:wanted]
    watch.eventually(lambda: state_of(hv, cid)[0] == before, 3, f"{before} {state_of(hv, cid)[0]}")
    hv.run("delete", "--force", cid)


show = False


def progress(name, done, all_of_it):
    if show and (done == all_of_it or done * 100 // all_of_it != (done - 1) * 100 // all_of_it):
        print(f"\r{name}: {done * 100 // all_of_it} %", end="\n" if done == all_of_it else "",
              flush=True)


def number(text):
    """10000, 200M, 10G."""
    scale = {"K": 10, "M": 20, "G": 30}.get(text[-1:].upper())
    return int(text[:-1]) << scale if scale else int(text)


class Place:
    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="hvsoak", dir="/tmp"))
        self.token = self.path.name


def main():
    global show
    parser = argparse.ArgumentParser(prog="tests/soak", description=__doc__.split("\n\n")[0])
    parser.add_argument("--runs", type=number, default=10000, help="processes that write and exit")
    parser.add_argument("--bytes", type=number, default=10 << 30, help="through stdin and stdout")
    parser.add_argument("--execs", type=number, default=10000, help="one after the other")
    parser.add_argument("--at-once", type=number, default=100, help="execs at the same time")
    parser.add_argument("--seed", type=number, default=1)
    parser.add_argument("part", nargs="*", help="writes stream execs crowd")
    options = parser.parse_args()
    show = True
    parts = {
        "writes": lambda hv, root: writes(hv, root, options.runs, options.seed),
        "stream": lambda hv, root: stream(hv, root, options.bytes),
        "execs": lambda hv, root: execs(hv, root, options.execs),
        "crowd": lambda hv, root: crowd(hv, root, options.at_once),
    }
    for name in options.part:
        if name not in parts:
            parser.error(f"unknown part {name}")
    watch.become_subreaper()
    place = Place()
    hv = Hvrun(place)
    try:
        rootfs = make_rootfs(place.path / "rootfs")
        for name in options.part or parts:
            begin = time.monotonic()
            parts[name](hv, rootfs)
            print(f"{name}: well, {time.monotonic() - begin:.0f} s", flush=True)
    finally:
        left = hv.clean() + hv.leftovers()
        watch.kill(watch.adopted())
        shutil.rmtree(place.path)
    assert not left, left


if __name__ == "__main__":
    main()
