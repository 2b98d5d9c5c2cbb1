# SPDX-License-Identifier: Apache-2.0
"""The agent in place of Microsoft's guest: a VM that boots with exactly the words of Microsoft's host, under a
client that knows nothing but GCS bridge v4.

What cannot be the same, since QEMU is no Hyper-V: `initcall_blacklist=virtio_vsock_init` and `pci=off` are left out
of the kernel's arguments (the way to the host is virtio on PCI here), and vhost-device-vsock does not tell the host
of a guest's half-close.

The HRESULTs that a host can provoke, and how (test_every_hresult):

| 0x80004001 | an unknown message; NegotiateProtocol again; anything before it (test_boot) |
| 0x80004005 | a program that does not exist |
| 0x80070057 | Create with the id of the VM itself |
| 0x80070490 | a wait for, and a signal to, an unknown process |
| 0x80370105 | DeleteContainerState of a container that runs |
| 0xC0370109 | a wait of 50 ms |
| 0xC037010C | NegotiateProtocol for versions 5 to 9 |
| 0xC037010D | ContainerConfig that is no JSON; an old schema |
| 0xC037010E | any request about an unknown container |
| 0xC037010F | Create twice |
| 0xC0370110 | ShutdownGraceful after the exit |

0xC037010B is defined, and nobody uses it.
"""

import hashlib
import pathlib
import shutil
import tempfile
import time

import pytest

import bootports
import bridge as b
import watch
from container import sh
from machine import Machine

# As hcsshim writes them, in its order.
CONSOLE = "8250_core.nr_uarts=1 8250_core.skip_txen_test=1 console=ttyS0,115200"
KERNEL = f"{CONSOLE} panic=-1 quiet nr_cpus=1 brd.rd_nr=0 pmtmr=0"
GCS = "/bin/gcs -v4 -log-format json -loglevel"
FIRST = f"-e 1 /bin/vsockexec -o 109 -e 109 {GCS} debug"
WORDS = {
    "v1": FIRST,
    "v1, console": f'-e 1 sh -c "/bin/vsockexec -o 109 -e 109 {GCS} debug -disable-time-sync & exec sh"',
    "v2": f"-e 1 -w /bin/vsockexec -r -e 109 {GCS} trace -disable-time-sync -scrub-logs=false "
          "-core-dump-location /tmp/core.%e",
    "v2, console": f'-e 1 -w sh -c"/bin/vsockexec -o 109 -e 109 {GCS} debug -disable-time-sync& exec sh"',
}

# A root of busybox, from what is in the image.
MAKE_ROOT = """
mkdir -p /run/root && cd /run/root && mkdir bin dev etc proc run sys tmp mnt &&
cp /usr/bin/busybox bin/ && for name in $(busybox --list); do ln -s busybox bin/$name 2>/dev/null; done;
echo root:x:0:0:root:/:/bin/sh > etc/passwd; echo root:x:0: > etc/group; echo made
"""
ROOT = "/run/root"


class Host:
    """A VM and what Microsoft's host listens on, all before the VM starts."""

    def __init__(self, folder, **options):
        self.machine = Machine(folder, **options)
        self.bridges = b.Host(self.machine.base)
        self.entropy = bootports.Entropy(self.machine.base)
        self.log = bootports.Log(self.machine.base)
        self.bridge = None
        self.ids = 0

    def start(self, words=FIRST, arguments=KERNEL):
        self.machine.start(arguments, words)

    def serve(self):
        """In the order of Microsoft's host: it takes the bridge when it has had both others."""
        self.entropy.give(timeout=60)
        self.log.accept(20)
        return self.connect()

    def connect(self, timeout=20):
        self.bridge = self.bridges.accept(timeout)
        return self.bridge

    def vm(self, script, timeout=20):
        """What a command in the VM prints."""
        code, out, err = self.bridge.vm_exec("sh", "-c", script).finish(timeout)
        assert code == 0, (script, out, err)
        return out.decode()

    def make_root(self):
        assert self.vm(MAKE_ROOT).endswith("made\n")

    def new_id(self, name="c"):
        self.ids += 1
        return f"{name}{self.ids}"

    def create(self, spec, cid=None, **options):
        cid = cid or self.new_id()
        self.bridge.create(cid, spec, f"/run/gcs/c/{cid}", timeout=30, **options)
        return cid

    def run(self, script, streams=""):
        cid = self.create(sh(script, rootfs=ROOT))
        return cid, self.bridge.start(cid, streams)

    def remove(self, cid):
        self.bridge.ask("ShutdownForced", cid=cid)
        watch.eventually(lambda: self.bridge.ask("DeleteContainerState", cid=cid)["Result"] == 0, 5)
        self.bridge.containers.remove(cid)

    def close(self):
        for part in (self.bridge, self.entropy, self.log, self.bridges, self.machine):
            if part:
                part.close()
        print("\n".join(f"{entry['level']} {entry['msg'][:100]}" for entry in self.log.entries[-40:]))


@pytest.fixture
def fresh(place):
    """A VM that the test starts."""
    host = Host(place.path / "vm")
    yield host
    host.close()


@pytest.fixture(scope="module")
def shared():
    """One that tests share, negotiated and with a root for containers; with the log of all that they do."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hvplain", dir="/tmp"))
    host = Host(folder / "vm", memory=512)
    try:
        host.start()
        host.serve().negotiate()
        host.make_root()
        yield host
    finally:
        host.close()
        shutil.rmtree(folder)


@pytest.fixture
def host(shared):
    """After the test there is nothing in the VM that was not there before."""
    bridge = shared.bridge
    yield shared
    assert shared.machine.runs() and shared.bridge is bridge
    for cid in list(bridge.containers):
        shared.remove(cid)
    assert bridge.max_frame_seen <= 65536
    shared.log.pump()
    assert not shared.log.ended, "the log's connection was lost"


# Booting


@pytest.mark.parametrize("kind", WORDS)
def test_boot(fresh, kind):
    began = time.monotonic()
    fresh.start(WORDS[kind])
    bridge = fresh.serve()
    print(f"dialled after {time.monotonic() - began:.1f} s")
    assert fresh.entropy.given == 1
    fresh.log.wait("version ")
    bridge.call("DumpStacks", result=b.NOT_IMPLEMENTED)
    assert bridge.negotiate()["Version"] == 4
    fresh.log.wait("bridge: negotiated")
    fresh.make_root()
    cid, init = fresh.run("cat /proc/sys/kernel/random/entropy_avail; exit 3", "o")
    code, out, _ = init.finish(20)
    assert code == 3 and int(out) >= 256
    assert bridge.notification(cid)["Type"] == "UnexpectedExit"
    # What was logged before the port was reached is in the kernel's log, and nothing of what came later.
    ring = fresh.vm("dmesg")
    everything = ring + "\n".join(entry["msg"] for entry in fresh.log.entries)
    assert "hvagent: version " in ring and "hvagent: log: from here on to port 109 of the host" in ring
    assert "entropy from the host: 512 bytes" in everything
    assert "negotiated" not in ring and "hvagent: ignored: " not in ring
    assert {entry["level"] for entry in fresh.log.entries} >= {"debug", "info"}
    pattern = fresh.vm("cat /proc/sys/kernel/core_pattern").strip()
    assert pattern == ("/tmp/core.%e" if "core-dump" in WORDS[kind] else "core")
    # The end of the VM has no answer.
    bridge.request("ShutdownForced", cid=b.NULL_CID)
    fresh.machine.wait_end()


def test_virtio_does_not_keep_hyper_v_out(fresh):
    """On Hyper-V there is no vsock device of virtio, and its transport must not be loaded before Hyper-V's."""
    fresh.machine.start(KERNEL.replace("quiet", "loglevel=8"), FIRST, vsock=False)
    fresh.machine.wait_end()
    console = (fresh.machine.folder / "console").read_text(errors="replace")
    assert "hvagent: module virtio_pci" in console
    assert "vmw_vsock_virtio_transport" not in console and "virtio_vsock" not in console
    assert "modules hyperv: " in console or "no vsock device and no Hyper-V sockets" in console


@pytest.mark.long
def test_nobody_listens_but_on_the_bridge(fresh):
    """The VM is there all the same. vhost-device-vsock does not say that there is nobody: each dial takes two
    seconds to give up, and ten are made."""
    fresh.entropy.close()
    fresh.log.close()
    for port in (1, 109):
        pathlib.Path(f"{fresh.machine.base}_{port}").unlink(missing_ok=True)
    fresh.start()
    bridge = fresh.connect(60)
    bridge.negotiate()
    fresh.make_root()
    _, init = fresh.run("echo well", "o")
    assert init.finish(20)[:2] == (0, b"well\n")
    watch.eventually(lambda: "log: port 109 of the host: cannot be dialled" in fresh.vm("dmesg"), 10)
    assert "entropy from the host: " in fresh.vm("dmesg")


def test_unknown_words(fresh):
    fresh.start(f"nonsense -e 1 -x {FIRST} -new -kmsgLogLevel 4 --unknown --host-timeout 30 more")
    fresh.serve().negotiate()
    ring = fresh.vm("dmesg")
    for word in ("nonsense", "-x", "-new", "-kmsgLogLevel", "--unknown", "more"):
        assert f'hvagent: ignored: "{word}"' in ring, word
    assert ring.count("hvagent: ignored: ") == 6


@pytest.mark.parametrize("words, said", [
    (FIRST + " -initial-policy-stance deny", "no policy can be enforced here"),
    (FIRST.replace("-e 1", "-e one"), "bad -e of init"), (FIRST.replace(" debug", ""), "missing")])
def test_words_that_cannot_be_obeyed(fresh, words, said):
    """The VM ends, with a word on its console."""
    fresh.start(words)
    fresh.machine.wait_end()
    assert said in (fresh.machine.folder / "console").read_text(errors="replace")


def test_log_that_is_redialled(fresh):
    """-r: what is logged meanwhile is in the kernel's log."""
    fresh.start(WORDS["v2"])
    bridge = fresh.serve()
    bridge.negotiate()
    fresh.log.wait("bridge: negotiated")
    for _ in range(3):
        fresh.log.close()
        bridge.ask("GetProperties", cid="nobody")
        watch.eventually(lambda: "the connection was lost" in fresh.vm("dmesg"), 5)
        fresh.vm("dmesg -c >/dev/null; true")
        fresh.log = bootports.Log(fresh.machine.base)
        fresh.log.accept(10)
        fresh.log.wait("version ")
        assert bridge.call("GetProperties", cid="somebody", result=b.NO_SUCH_CONTAINER)
        fresh.log.wait("somebody")


def test_log_that_is_closed(fresh):
    """Without -r it is never dialled again."""
    fresh.start()
    bridge = fresh.serve()
    bridge.negotiate()
    fresh.log.wait("bridge: negotiated")
    fresh.log.hang_up()
    watch.eventually(lambda: "log: port 109 of the host: the connection was lost" in fresh.vm("dmesg"), 5)
    bridge.call("GetProperties", cid="nobody", result=b.NO_SUCH_CONTAINER)
    assert "nobody" in fresh.vm("dmesg")
    with pytest.raises(TimeoutError):
        fresh.log.accept(1)


def test_log_that_is_not_read(fresh):
    """Whoever does not read it keeps nobody waiting, and hears later how much is missing."""
    fresh.start()
    bridge = fresh.serve()
    bridge.negotiate()
    count = 3000
    for n in range(count):
        bridge.call("GetProperties", cid=f"unknown-{n}-" + "x" * 150, result=b.NO_SUCH_CONTAINER)
    assert fresh.vm("echo well") == "well\n"
    # When it has read what is on its way, there is room for more.
    watch.eventually(lambda: bridge.ask("GetProperties", cid="later") and fresh.log.said("later"))
    assert fresh.log.said("lines of the log were lost here")
    assert 100 < len(fresh.log.said("unknown-")) < count


def test_redial(fresh):
    """A new bridge is a new host: the containers are there, and half-closes are tried again."""
    fresh.start()
    fresh.serve().negotiate()
    fresh.make_root()
    cid, init = fresh.run("sleep 1000")
    wait = init.begin_wait()
    old = fresh.bridge
    old.close()
    bridge = fresh.connect()
    bridge.asked, bridge.next_id = old.asked, old.next_id
    bridge.call("GetProperties", cid=cid, result=b.NOT_IMPLEMENTED)
    bridge.negotiate()
    assert bridge.pids(cid) == [init.pid]
    assert fresh.vm("echo well") == "well\n"
    bridge.call("ShutdownForced", cid=cid)
    assert bridge.answer(wait)["ExitCode"] == 137       # with its old id
    assert bridge.notification(cid)["Type"] == "ForcedExit"


# Running


def test_a_thousand_execs(host):
    """Each with its own code and output, as many at once as an emulated CPU can take."""
    cid, _ = host.run("sleep 10000")
    began, count, batch = time.monotonic(), 1000, 25
    for first in range(0, count, batch):
        many = [host.bridge.exec(cid, "sh", "-c", f"echo {n}; echo e{n} >&2; exit {n % 256}")
                for n in range(first, first + batch)]
        for process in many:
            process.begin_wait()
        for n, process in zip(range(first, first + batch), many):
            assert process.finish(20) == (n % 256, b"%d\n" % n, b"e%d\n" % n)
    took = time.monotonic() - began
    print(f"{count} execs took {took:.1f} s, {1000 * took / count:.0f} ms each")
    assert len(host.bridge.pids(cid)) == 1


def test_waits_are_answered_out_of_order(host):
    cid, init = host.run("sleep 10000")
    first = init.begin_wait()
    many = [host.bridge.exec(cid, "sh", "-c", f"read x; exit {n}", streams="i") for n in range(20)]
    waits = [process.begin_wait() for process in many]
    order = sorted(range(20), key=lambda n: n * 7 % 20)
    for n in order:
        assert host.bridge.pending(waits[n])
        many[n].close_stdin()
        assert host.bridge.answer(waits[n])["ExitCode"] == n
        many[n].stdin.close()
    assert host.bridge.pending(first)
    init.signal(9)
    assert host.bridge.answer(first)["ExitCode"] == 137


SIZE = 10 << 20


def test_ten_mebibytes_out(host):
    """The pattern is the same on both sides; the guest's checksum says what it wrote."""
    cid, _ = host.run("sleep 10000")
    script = f"yes 0123456789abcdef | head -c {SIZE} | tee /dev/stderr"
    began = time.monotonic()
    process = host.bridge.exec(cid, "sh", "-c", script)
    code, out, err = process.finish(120)
    took = time.monotonic() - began
    expected = hashlib.md5((b"0123456789abcdef\n" * (SIZE // 17 + 1))[:SIZE]).hexdigest()
    assert code == 0 and len(out) == len(err) == SIZE
    assert hashlib.md5(out).hexdigest() == hashlib.md5(err).hexdigest() == expected
    print(f"2 x {SIZE} bytes out took {took:.1f} s")


def test_ten_mebibytes_in(host):
    cid, _ = host.run("sleep 10000")
    data = hashlib.sha256(b"x").digest() * (SIZE // 32)
    process = host.bridge.exec(cid, "md5sum", streams="io")
    process.stdin.settimeout(60)
    began = time.monotonic()
    process.stdin.sendall(data)
    process.close_stdin()
    code, out, _ = process.finish(60)
    print(f"{SIZE} bytes in took {time.monotonic() - began:.1f} s")
    assert (code, out.split()[0].decode()) == (0, hashlib.md5(data).hexdigest())


def test_ten_mebibytes_there_and_back(host):
    """Both directions at once."""
    cid, _ = host.run("sleep 10000")
    data = hashlib.sha256(b"y").digest() * (SIZE // 32)
    process = host.bridge.exec(cid, "cat", streams="io")
    back, left = hashlib.md5(), memoryview(data)
    for sock in (process.stdin, process.stdout):
        sock.setblocking(False)
    got, deadline = 0, time.monotonic() + 120
    while got < SIZE:
        readable, writable, _ = b.select.select([process.stdout], [process.stdin] if left else [], [],
                                                max(0, deadline - time.monotonic()))
        assert readable or writable, f"{got} bytes came back"
        if writable:
            left = left[process.stdin.send(left[:65536]):]
        if readable:
            piece = process.stdout.recv(1 << 18)
            assert piece, f"the end after {got} bytes"
            back.update(piece)
            got += len(piece)
    assert back.digest() == hashlib.md5(data).digest()
    process.stdin.setblocking(True)
    process.close_stdin()
    assert process.finish(20) == (0, b"", b"")


def test_every_hresult(host):
    bridge = host.bridge
    bridge.call("Pause", cid="x", result=b.NOT_IMPLEMENTED)
    bridge.call("NegotiateProtocol", b.Bridge.NEGOTIATION, cid="", result=b.NOT_IMPLEMENTED)
    spec = sh("read x; exit 1", rootfs=ROOT)
    cid = host.create(spec)
    bridge.create(cid, spec, f"/run/gcs/c/{cid}", result=b.EXISTS)
    bridge.create("other", spec, "/run/gcs/c/other", result=b.INVALID_JSON, SchemaVersion={"Major": 1})
    bridge.call("Create", {"ContainerConfig": "{"}, cid="other", result=b.INVALID_JSON)
    bridge.create(b.NULL_CID, spec, "/run/gcs/c/other", result=b.INVALID_ARGUMENT)
    init = bridge.start(cid, "i")
    bridge.exec(cid, "/no/such/program", result=b.FAIL)
    bridge.call("WaitForProcess", {"ProcessId": 31999, "TimeoutInMs": 0}, cid, b.NOT_FOUND)
    bridge.call("SignalProcess", {"ProcessId": 31999}, cid, b.NOT_FOUND)
    bridge.call("WaitForProcess", {"ProcessId": init.pid, "TimeoutInMs": 50}, cid, b.TIMEOUT)
    bridge.call("DeleteContainerState", cid=cid, result=b.INVALID_STATE)
    for name, body in (("ShutdownGraceful", {}), ("ShutdownForced", {}), ("DeleteContainerState", {}),
                       ("WaitForProcess", {"ProcessId": 1, "TimeoutInMs": 0}), ("GetProperties", {}),
                       ("SignalProcess", {"ProcessId": 1}), ("ExecuteProcess", {"Settings": {"ProcessParameters": "{}"}}),
                       ("ResizeConsole", {"ProcessId": 1, "Height": 1, "Width": 1})):
        bridge.call(name, body, "nobody", b.NO_SUCH_CONTAINER)
    init.close_stdin()
    assert init.wait_answer()["ExitCode"] == 1
    bridge.call("ShutdownGraceful", cid=cid, result=b.NOT_RUNNING)
    host.remove(cid)


def test_no_common_version(fresh):
    fresh.start()
    bridge = fresh.serve()
    versions = dict(b.Bridge.NEGOTIATION, MinimumVersion=5, MaximumVersion=9)
    bridge.call("NegotiateProtocol", versions, cid="", result=b.NO_COMMON_VERSION)
    assert bridge.negotiate()["Version"] == 4


# Frames; the client refuses one over 64 KiB wherever it comes


@pytest.mark.parametrize("text", ["x", "\u0007", "<", "\u20ac"])
def test_long_errors(host, text):
    for size in (1000, 65000, 300000):
        long = text * size
        host.bridge.call("GetProperties", cid=long, result=b.NO_SUCH_CONTAINER)
        spec = sh("true", rootfs=ROOT)
        spec["linux"]["namespaces"][0]["type"] = long
        answer = host.bridge.ask("Create", {"ContainerConfig": b.inner({
            "SchemaVersion": {"Major": 2, "Minor": 1}, "OciBundlePath": "/run/gcs/c/long",
            "OciSpecification": spec})}, cid="long", timeout=30)
        b.check_failure(answer)


def test_long_process_list(host):
    """1500 processes of a shell that only fork: more than are told."""
    script = "mkfifo /tmp/f; exec 3<>/tmp/f; i=0; while [ $i -lt 1500 ]; do read x <&3 & i=$((i+1)); done; " \
             "echo made; wait"
    _, init = host.run(script, "o")
    init.stdout.settimeout(120)
    assert init.stdout.recv(100) == b"made\n"
    pids = host.bridge.pids(init.cid)
    assert len(set(pids)) == len(pids) > 1000
    frame = host.bridge.max_frame_seen
    assert frame <= 65536
    init.begin_wait()
    init.signal(9)
    init.read_all("o", 20)
    assert init.wait_answer(30)["ExitCode"] == 137


def test_many_containers(host):
    """DumpStacks tells of all of them, or of as many as fit."""
    ids = [host.create(sh("true", rootfs=ROOT), cid=f"{n}-" + "x" * 190) for n in range(60)]
    text = host.bridge.call("DumpStacks")["GuestStacks"]
    told = [cid for cid in ids if cid in text]
    assert len(told) > 30, text
    for cid in ids:
        host.remove(cid)


def test_statistics(host):
    cid, init = host.run("sleep 10000")
    metrics = host.bridge.properties(cid, "Statistics")["LCOWMetrics"]
    assert metrics["memory"]["usage"]["usage"] > 0 and metrics["cpu"]["usage"]["total"] > 0
    init.signal(9)
    assert init.wait_answer()["ExitCode"] == 137


# The ends of standard streams, where the host is not told of half-closes


def test_first_stream_waits_and_later_ones_do_not(fresh):
    """What it costs to find out is paid once."""
    fresh.start()
    fresh.serve().negotiate()
    times = []
    for _ in range(3):
        process = fresh.bridge.vm_exec("sh", "-c", "echo out; echo err >&2")
        began = time.monotonic()
        assert process.finish(20) == (0, b"out\n", b"err\n")
        times.append(time.monotonic() - began)
    print("ends of streams took", ", ".join(f"{t:.2f} s" for t in times))
    assert times[0] > 0.8 and max(times[1:]) < 0.5
    fresh.log.wait("half-closes do not reach the host")
