# SPDX-License-Identifier: Apache-2.0
"""The host's side when something is killed, races, or runs out: whoever waits is answered, and
delete --force leaves nothing.

HVRUN_ROUNDS=20 tries each combination of the first test twenty times."""

import array
import contextlib
import json
import os
import pathlib
import random
import resource
import signal
import socket
import struct
import subprocess
import time

import pytest

import container
import watch

ROUNDS = int(os.environ.get("HVRUN_ROUNDS", "1"))
PREPARED = ("start", "exec", "exec -d", "kill", "delete", "delete --force")
COMMANDS = ("create", "run", "run -d", "run briefly", *PREPARED)
VICTIMS = ("sandbox", "agent", "init", "proxy", "client")


def kind_of(pid):
    """What a process of hvrun is: a key of VICTIMS, or None."""
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        _, state, parent, _ = watch.stat(pid)
        above = pathlib.Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")
    except (OSError, TypeError):
        return None
    if state == "Z" or not words[0]:
        return None
    if words[1:2] == [b"sandbox"]:
        return "sandbox"
    if above[1:2] == [b"sandbox"]:
        return "agent"
    return "proxy" if words[0].endswith(b"hvrun") else "init"


def kill_all(victim, client):
    """Kills all of that kind; how many there were."""
    pids = [client] if victim == "client" else [
        pid for pid in set(watch.descendants(os.getpid())) - watch.kept() if pid != client and
        kind_of(pid) == victim]
    watch.kill(pids)
    return len(pids)


STATE, EXEC, WAIT, EVENTS = 0x1F200801, 0x1F200301, 0x1F200401, 0x1F200F01


def message(kind, number, body):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return struct.pack("<IIQ", kind, 16 + len(text), number) + text


class Control:
    """A client of a control socket that is not ours."""

    def __init__(self, hv, partition):
        directory = os.open(hv.partition_of(partition), os.O_PATH)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(f"/proc/self/fd/{directory}/control.sock")
        os.close(directory)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data, fds=()):
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([data], ancillary)

    def read(self, size):
        """None when the connection was closed."""
        data = b""
        while len(data) < size:
            try:
                more = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not more:
                return None
            data += more
        return data

    def receive(self):
        header = self.read(16)
        if header is None:
            return None
        kind, size, number = struct.unpack("<IIQ", header)
        return kind, number, json.loads(self.read(size - 16))

    def ask(self, kind, number, body, fds=()):
        self.send(message(kind, number, body), fds)
        answer = self.receive()
        assert answer[:2] == (kind + 0x10000000, number)
        return answer[2]


def sandbox_of(hv, partition):
    return hv.sandbox_pid(partition)


def ticks(pid):
    """CPU time of a process, in clock ticks."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


class Round:
    """One command, and a kill while it is under way."""

    def __init__(self, hv, rootfs, command):
        self.hv = hv
        self.command = command
        self.cid = hv.new_id()
        seconds = "0.02" if command == "run briefly" else "1000"
        self.bundle = hv.bundle(container.config("sleep", seconds, rootfs=rootfs), f"b-{self.cid}")
        if command in PREPARED:
            hv.run("create", "--bundle", self.bundle, self.cid)
        if command in PREPARED[1:]:
            hv.run("start", self.cid)
        if command == "delete":
            hv.run("kill", self.cid, "KILL")
            hv.wait_status(self.cid, "stopped")

    def words(self):
        verb, *options = self.command.replace(" briefly", "").split()
        if verb in ("create", "run"):
            return [verb, *options, "--bundle", self.bundle, self.cid]
        return [verb, *options, self.cid, *{"exec": ["sleep", "0.02"], "kill": ["KILL"]}.get(verb, [])]

    def play(self, victim, delay):
        errors = self.hv.place.path / f"err-{self.cid}"
        with open(errors, "wb") as err:
            client = self.hv.popen(*self.words(), stdout=err, stderr=err)
            time.sleep(delay)
            killed = kill_all(victim, client.pid)
            try:
                client.wait(1)
            except subprocess.TimeoutExpired:
                # A container that nobody has killed runs on in the foreground.
                assert self.command == "run" and (victim == "proxy" or not killed), \
                    f"waits for ever: {errors.read_bytes()}"
                client.kill()
                client.wait()
        if client.returncode > 0:
            text = errors.read_text()
            assert text.count("\n") == 1 or (client.returncode == 137 and not text), text

    def finish(self):
        """delete --force, and the id can be used again."""
        self.hv.run("delete", "--force", self.cid)
        watch.eventually(lambda: not self.hv.place.remains(), 2)
        assert not self.hv.leftovers(1)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_any_time(hv, rootfs, command, victim):
    longest = (0.012 if command in PREPARED else 0.04) * watch.PATIENCE
    for number in range(ROUNDS):
        delay = random.Random(f"{command} {victim} {number}").uniform(0, longest)
        attempt = Round(hv, rootfs, command)
        attempt.play(victim, delay)
        attempt.finish()
        hv.run("run", "--bundle", hv.bundle(container.config("true", rootfs=rootfs), "again"),
               attempt.cid)


# Log files

def test_log_path_is_relative_to_the_caller(hv, rootfs, place):
    (place.path / "logs").mkdir()
    cid = hv.background(container.config("echo", "hello", rootfs=rootfs), "--log-path", "logs/x",
                        cwd=place.path)
    hv.wait_status(cid, "stopped")
    assert "stdout F hello\n" in (place.path / "logs/x").read_text()
    assert hv.run("logs", cid).stdout == "hello\n"


def test_log_path_that_is_no_file(hv, rootfs, place):
    """The partition must not be stopped by a pipe that nobody reads, nor rotate a device away."""
    first = hv.background(container.config("sleep", "1000", rootfs=rootfs))
    bundle = hv.bundle(container.config("echo", "hello", rootfs=rootfs), "other")
    os.mkfifo(place.path / "fifo")
    (place.path / "directory").mkdir()
    for path in (place.path / "fifo", place.path / "directory", "/dev/null"):
        hv.fails("run", "-d", "--pod", first, "--log-path", path, "--bundle", bundle, hv.new_id(),
                 timeout=5)
    assert hv.run("exec", first, "echo", "here").stdout == "here\n"


def test_log_on_a_full_disk(hv, rootfs, place):
    disk = place.path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        script = ("i=0; while [ $i -lt 2000 ]; do echo a line to fill the disk with; i=$((i+1)); done;"
                  "touch /mnt/full; while [ -e /mnt/full ]; do sleep 0.01; done; echo after")
        spec = container.sh(script, rootfs=rootfs)
        (place.path / "shared").mkdir()
        spec["mounts"].append(container.mount("/mnt", "bind", place.path / "shared", "bind"))
        cid = hv.background(spec, "--log-path", disk / "log")
        watch.eventually((place.path / "shared/full").exists)
        subprocess.run(["mount", "-o", "remount,size=1m", disk], check=True)
        (place.path / "shared/full").unlink()
        hv.wait_status(cid, "stopped")
        lines = [line.split(" ", 3)[2:] for line in (disk / "log").read_text().splitlines()]
        assert lines[-1] == ["F", "after"]
        assert lines[:-1] == [["F", "a line to fill the disk with"]] * (len(lines) - 1)
        assert len(lines) > 500
        hv.run("delete", cid)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


# Clients of the control socket

@pytest.fixture
def sleeper(hv, rootfs):
    """A container that runs, alone in its partition."""
    return hv.background(container.config("sleep", "1000", rootfs=rootfs))


def test_clients_that_talk_nonsense(hv, sleeper):
    pid = sandbox_of(hv, sleeper)
    before = len(watch.fds(pid))
    with contextlib.ExitStack() as stack:
        def connect():
            return stack.enter_context(Control(hv, sleeper))
        connect()
        for data in (b"\1", message(STATE, 1, {"Id": ""})[:20],
                     struct.pack("<IIQ", STATE, 5 << 20, 1) + bytes(100000)):
            connect().send(data)
        for data in (bytes(4096), struct.pack("<IIQ", STATE, 15, 1), message(STATE + 0x10000000, 1, {}),
                     struct.pack("<IIQ", STATE, 0xFFFFFFFF, 1)):
            client = connect()
            client.send(data)
            assert client.receive() is None
        for data in (b"", b"nonsense", b"[]", b'{"Id":7}'):
            assert connect().ask(STATE, 1, data)["Result"] < 0
        many = connect()
        with open("/dev/null", "rb") as null:
            for byte in message(STATE, 7, {"Id": ""}):
                many.send(bytes([byte]), [null.fileno()] * 10)
        assert many.receive()[2]["Result"] == 0
        # Four descriptors are kept of a client that sends them for nothing.
        assert len(watch.fds(pid)) <= before + 14 * 3 + 4
        assert hv.status(sleeper) == "running"
    watch.eventually(lambda: len(watch.fds(pid)) == before)


def test_client_that_asks_without_end(hv, sleeper):
    with Control(hv, sleeper) as client:
        with contextlib.suppress(OSError):
            for number in range(10000):
                client.send(message(WAIT, number, {"Id": sleeper}))
        assert client.receive() is None
    assert hv.status(sleeper) == "running"


@pytest.mark.long
def test_subscriber_that_does_not_read(hv, sleeper):
    """Events pile up to a bound for who does not take them; others are not held up."""
    pid = sandbox_of(hv, sleeper)
    with Control(hv, sleeper) as slow, Control(hv, sleeper) as busy:
        slow.ask(EVENTS, 1, {})
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        process = json.dumps(container.BASE["process"] | {"args": ["true"]})
        before = watch.rss(pid)
        for number in range(500 if hv.in_vm else 3000):
            assert busy.ask(EXEC, number, {"Id": sleeper, "Process": process})["Result"] == 0
        assert watch.rss(pid) - before < 2000
        # So few are not too many.
        while not hv.in_vm and slow.receive() is not None:
            pass
    assert hv.status(sleeper) == "running"


def test_descriptors_of_a_refused_request_are_not_the_next_ones(hv, sleeper):
    process = json.dumps(container.BASE["process"] | {"args": ["echo", "hello"]})
    wanted = {"Id": sleeper, "Process": process, "StdOut": True}
    refused = [wanted | {"Id": "nobody"}, {"Id": sleeper, "StdOut": True}]
    ends = [os.pipe() for _ in range(3)]
    with Control(hv, sleeper) as client:
        for number, (body, (_, write)) in enumerate(zip(refused, ends)):
            assert client.ask(EXEC, number, body, [write])["Result"] < 0
        assert client.ask(EXEC, 9, wanted, [ends[2][1]])["Result"] == 0
    for _, write in ends:
        os.close(write)
    texts = []
    for read, _ in ends:
        with open(read, "rb") as file:
            texts.append(file.read())
    assert texts == [b"", b"", b"hello\n"]


@pytest.mark.long
@pytest.mark.parametrize("limit", range(64, 72))
def test_no_descriptors_left(hv, sleeper, limit):
    """Clients beyond the limit are turned away, and the loop does not spin on them."""
    pid = sandbox_of(hv, sleeper)
    if hv.in_vm:        # whose daemons, monitor and shares are descriptors too
        limit += len(watch.fds(pid)) - 21
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Control(hv, sleeper)) for _ in range(60)]
        time.sleep(0.1)
        before = ticks(pid)
        time.sleep(0.3)
        assert ticks(pid) - before <= 3
        hv.fails("exec", sleeper, "true", status=255)
        answers = []
        for client in clients:
            with contextlib.suppress(OSError):
                client.send(message(STATE, 1, {}))
            answers.append(client.receive())
        assert sum(answer is not None for answer in answers) > 5
        assert sum(answer is None for answer in answers) > 5
    # As soon as it has noticed that they are gone.
    watch.eventually(lambda: hv.run("exec", sleeper, "true", status=None).returncode == 0, 1)


def test_limit_of_open_files(hv, rootfs):
    """A pod of many containers has more files open than a shell may; its containers have as many
    as before."""
    spec = container.sh("ulimit -Sn; ulimit -Hn", rootfs=rootfs)
    del spec["process"]["rlimits"]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))}
    assert hv.run_spec(spec, **limits).stdout == f"40\n{hard}\n"
    sleeper = container.config("sleep", "1000", rootfs=rootfs)
    first = hv.background(sleeper, **limits)
    for _ in range(30):
        hv.background(sleeper, "--pod", first)
    assert len(hv.list()) == 31


def test_ids_may_begin_with_anything(hv, rootfs, place):
    bundle = hv.bundle(container.config("true", rootfs=rootfs))
    for cid in (f"-{place.token}", f"--{place.token}", f".{place.token}", f"+{place.token}"):
        hv.run("run", "--bundle", bundle, "--", cid)
        hv.run("run", "--bundle", bundle, "--", cid, options=["--debug"])


# Standard streams

@pytest.mark.parametrize("script, status", [
    ("yes; exit 3", 3), ("trap '' PIPE; yes; exit 4", 4), ("yes >&2; exit 6", 6),
    ("trap '' PIPE; while echo x; do :; done; exit 7", 7)])
def test_readers_that_were_gone_before_the_start(hv, rootfs, place, script, status):
    """A program learns that nobody reads, however early that was."""
    read, write = os.pipe()
    os.close(read)
    bundle = hv.bundle(container.sh(script, rootfs=rootfs))
    run = hv.popen("run", "--bundle", bundle, hv.new_id(), stdout=write, stderr=write)
    sleeper = hv.background(container.config("sleep", "1000", rootfs=rootfs))
    exec_ = hv.popen("exec", sleeper, "sh", "-c", script, stdout=write, stderr=write)
    os.close(write)
    assert (run.wait(5), exec_.wait(5)) == (status, status)


def test_standard_input_is_a_directory(hv, rootfs, place):
    directory = os.open(place.path, os.O_RDONLY)
    result = hv.run_spec(container.sh("cat; echo end", rootfs=rootfs), stdin=directory)
    os.close(directory)
    assert result.stdout == "end\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(hv, rootfs, place, closed):
    """Nothing else takes the numbers of what the caller has closed."""
    bundle = hv.bundle(container.sh("cat; echo out; echo err >&2", rootfs=rootfs))
    cid = hv.new_id()
    for words in (("run", "--bundle", bundle, cid), ("run", "-d", "--bundle", bundle, cid),
                  ("logs", "-f", cid), ("state", cid), ("delete", cid)):
        command = " ".join(map(str, hv.words(*words)))
        result = subprocess.run(["sh", "-c", f"exec {command} {closed}"], env=hv.environment,
                                capture_output=True, timeout=10, stdin=subprocess.DEVNULL)
        if words[0] == "run" and words[1] != "-d":
            assert result.stdout == (b"" if ">&-" in closed.split() else b"out\n")
            assert result.stderr == (b"" if "2>&-" in closed else b"err\n")
            assert result.returncode == 0
        assert result.returncode == 0 or "logs" in words or "state" in words


# Races

def together(hv, *commands):
    """Runs them at once; their statuses."""
    with open(hv.place.path / "together", "ab") as err:
        processes = [hv.popen(*command, stdout=err, stderr=err) for command in commands]
        return [process.wait(10) for process in processes]


def test_several_at_once(hv, rootfs):
    """One creates, one starts, and all delete."""
    bundle = hv.bundle(container.config("sleep", "1000", rootfs=rootfs))
    for _ in range(5 * ROUNDS):
        cid = hv.new_id()
        assert sorted(together(hv, *[("create", "--bundle", bundle, cid)] * 4)) == [0, 1, 1, 1]
        assert sorted(together(hv, *[("start", cid)] * 3)) == [0, 1, 1]
        assert together(hv, *[("delete", "--force", cid)] * 4) == [0] * 4
        hv.fails("state", cid)


def test_deleted_at_any_time(hv, rootfs, place):
    """delete --force while run, start and exec are under way: they end, with a status of their own."""
    bundle = hv.bundle(container.config("sleep", "1000", rootfs=rootfs))
    for number in range(20 * ROUNDS):
        cid = hv.new_id()
        delay = random.Random(number).uniform(0, 0.03)
        run = hv.popen("run", "--bundle", bundle, cid)
        time.sleep(delay)
        hv.run("delete", "--force", cid)
        if run.poll() is None:
            # It had not begun to create it.
            watch.eventually(lambda: run.poll() is not None or
                             hv.run("delete", "--force", cid, status=None))
        assert run.wait(5) in (137, 1)
        assert run.returncode == 137 or run.stderr.read().count(b"\n") == 1

        hv.run("run", "-d", "--bundle", bundle, cid)
        runs = [hv.popen("exec", cid, "sleep", "1000") for _ in range(3)]
        time.sleep(delay / 4)
        hv.run("delete", "--force", cid)
        assert {process.wait(5) for process in runs} <= {137, 255}


def test_pod_that_ends_while_it_is_joined(hv, rootfs, place):
    bundle = hv.bundle(container.config("sleep", "1000", rootfs=rootfs))
    for number in range((3 if hv.in_vm else 20) * ROUNDS):
        first, second = hv.new_id(), hv.new_id()
        hv.run("run", "-d", "--bundle", bundle, first)
        with open(place.path / "err", "w+b") as err:
            delete = hv.popen("delete", "--force", first, stdout=err, stderr=err)
            time.sleep(random.Random(number).uniform(0, 0.015))
            join = hv.popen("run", "-d", "--pod", first, "--bundle", bundle, second, stdout=err,
                            stderr=err)
            assert delete.wait(5) == 0
            if join.wait(5):
                hv.fails("state", second)
                continue
        assert hv.status(second) == "running"
        # Its first container has gone, and its name is no reason to share it.
        if (hv.root / "partitions" / first).exists():
            assert "other containers" in hv.fails("run", "--bundle", bundle, first)
        hv.run("delete", "--force", second)


def test_pid_file_that_cannot_be_written(hv, rootfs, place, sleeper):
    """What was started for it does not stay."""
    bundle = hv.bundle(container.config("sleep", "1000", rootfs=rootfs))
    before = hv.run("ps", "--format", "json", sleeper).stdout
    for words in (("create", "--bundle", bundle), ("run", "--bundle", bundle),
                  ("run", "-d", "--bundle", bundle)):
        hv.fails(*words, "--pid-file", "/nonexistent/pid", hv.new_id())
    for words in (("exec",), ("exec", "-d")):
        hv.fails(*words, "--pid-file", "/nonexistent/pid", sleeper, "sleep", "1000", status=255)
    watch.eventually(lambda: hv.run("ps", "--format", "json", sleeper).stdout == before)
    assert [entry["id"] for entry in hv.list()] == [sleeper]


def test_new_container_of_the_id_is_left_alone(hv, rootfs):
    """A run in the foreground whose container was deleted does not delete the next one."""
    bundle = hv.bundle(container.config("sleep", "1000", rootfs=rootfs))
    for _ in range(10 * ROUNDS):
        cid = hv.new_id()
        run = hv.popen("run", "--bundle", bundle, cid)
        watch.eventually(lambda: '"running"' in hv.run("state", cid, status=None).stdout)
        os.kill(run.pid, signal.SIGSTOP)
        hv.run("delete", "--force", cid)
        hv.run("run", "-d", "--bundle", bundle, cid)
        os.kill(run.pid, signal.SIGCONT)
        assert run.wait(5 * watch.PATIENCE) == 137
        assert hv.status(cid) == "running"
        hv.run("delete", "--force", cid)


def test_paused_when_something_dies(hv, rootfs):
    for kind in ("sandbox", "agent", "proxy", None):
        cid = hv.create(container.config("sleep", "1000", rootfs=rootfs))
        hv.run("start", cid)
        hv.run("pause", cid)
        if kind:
            assert kill_all(kind, 0)
        hv.run("delete", "--force", cid)
        watch.eventually(lambda: not hv.place.remains(), 2)


@pytest.mark.long
def test_starter_killed(hv, rootfs, place):
    """A partition that nobody waits for any more ends by itself, long before its limit."""
    bundle = hv.bundle(container.config("true", rootfs=rootfs))
    for number in range(20 * ROUNDS):
        cid = hv.new_id()
        run = hv.popen("create", "--bundle", bundle, cid)
        time.sleep(random.Random(number).uniform(0, 0.008))
        run.kill()
        run.wait()
        hv.run("delete", "--force", cid)
        watch.eventually(lambda: not place.remains(), 2)


def test_sandbox_killed_when_it_has_made_a_container(hv, rootfs):
    """Its answer arrives, and nobody is there for whatever comes next: all the same, its cgroup goes."""
    first = hv.background(container.config("sleep", "1000", rootfs=rootfs))
    partition = hv.root / "partitions" / first
    sandbox = sandbox_of(hv, first)
    (partition / "control.sock").rename(partition / "real.sock")
    bundle, cid = hv.bundle(container.config("true", rootfs=rootfs), "second"), hv.new_id()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as real:
        listener.bind(str(partition / "control.sock"))
        listener.listen()
        real.connect(str(partition / "real.sock"))
        create = hv.popen("create", "--pod", first, "--bundle", bundle, cid)
        client, _ = listener.accept()
        with client:
            asked, fds, _, _ = socket.recv_fds(client, 1 << 20, 3)
            socket.send_fds(real, [asked], fds)
            for fd in fds:
                os.close(fd)
            answer = real.recv(1 << 20)
            assert watch.cgroups(cid)
            os.kill(sandbox, signal.SIGKILL)
            watch.eventually(lambda: watch.stat(sandbox) is None)
            listener.close()
            client.sendall(answer)
    assert create.wait(5) == 1
    assert not watch.cgroups(cid) and cid not in hv.run("list", "-q").stdout
    hv.run("delete", "--force", first)


@pytest.mark.long
def test_partition_that_does_not_answer(hv, rootfs):
    """list, state and the like are not held up for ever, and other partitions not at all."""
    bad, good = [hv.background(container.config("sleep", "1000", rootfs=rootfs)) for _ in range(2)]
    sandbox = sandbox_of(hv, bad)
    os.kill(sandbox, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert hv.status(good) == "running" and hv.run("ps", good).stdout
        hv.run("exec", good, "true")
        assert time.monotonic() - began < 1.5
        listed = hv.run("list", "--format", "json")
        assert {entry["id"]: entry["status"] for entry in listed.json()} == \
            {bad: "unknown", good: "running"}
        assert listed.stderr == f'hvrun: container "{bad}": no answer from partition "{bad}"\n'
        assert " unknown " in hv.run("list").stdout
        commands = [hv.popen(*words) for words in (
            ("state", bad), ("ps", bad), ("stats", bad), ("kill", bad, "TERM"), ("kill", bad, "0"))]
        for command in commands:
            _, text = command.communicate(timeout=14)
            assert command.returncode == 1 and b"answer" in text and text.count(b"\n") == 1
        assert time.monotonic() - began < 18
    finally:
        os.kill(sandbox, signal.SIGCONT)
    assert hv.status(bad) == "running"
    assert "unknown" not in hv.run("list").stdout
