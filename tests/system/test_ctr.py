# SPDX-License-Identifier: Apache-2.0
"""containerd and its client `ctr`, with an image: what a user sees of the shim."""

import hashlib
import json
import os
import re
import select
import signal
import time

import pytest

import shimclient
import watch
from container import config, mount, write_bundle
from shimclient import RUNTIMES
from test_terminal import Terminal

ours = pytest.mark.ours
alone = pytest.mark.alone
# Clients tell the size of their terminal some time after the start.
SIZE = 'until size=$(stty size 2>/dev/null); [ "$size" ]; do sleep 0.01; done; echo $size'


@pytest.fixture
def box(ctr):
    """The id of a container that sleeps."""
    return ctr.background(ctr.new_id())


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


def on_terminal(daemon, terminal, *args):
    """ctr with a controlling terminal."""
    class Runner:
        popen = staticmethod(lambda *args, **more: daemon.popen(*args, **more))
    return terminal.run(Runner, *args)


# run


def test_run(ctr):
    result = ctr.run(ctr.new_id(), "sh", "-c", "echo out; echo err >&2; echo $FROM; exit 7", status=7)
    assert result.stdout == "out\nimage\n" and result.stderr.startswith("err\n")


@pytest.mark.parametrize("script, status", [
    ("exit 0", 0), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137),
    ("sh -c 'kill $$'; exit $?", 143)])
def test_exit_codes(ctr, script, status):
    cid = ctr.new_id()
    ctr.run(cid, "sh", "-c", script, status=status)
    assert cid not in ctr.ctr("containers", "ls", "-q").stdout


def test_run_with_input(ctr):
    words = ctr.run_words(ctr.new_id(), "sh", "-c", "cat; echo end", options=("--rm",))
    assert ctr.feed(*words, data=os.urandom(3_000_000)) == b"end\n"


def test_run_in_the_background(ctr, box):
    pid, state = ctr.tasks()[box]
    assert state == "RUNNING" and watch.stat(pid)
    assert ctr.shim_pid(box)
    ctr.kill(box)
    ctr.wait_state(box, "STOPPED")
    assert ctr.tasks()[box][0] == pid
    ctr.ctr("tasks", "rm", box, status=None)
    assert ctr.state(box) is None
    watch.eventually(lambda: not ctr.bundle(box).exists())
    ctr.ctr("containers", "rm", box)


def test_run_with_a_terminal(ctr, terminal):
    terminal.size(31, 97)
    script = f"tty; read x; {SIZE}; echo got $x; exit 6"
    on_terminal(ctr, terminal, *ctr.run_words(ctr.new_id(), "sh", "-c", script, options=("--rm", "-t")))
    terminal.expect(b"/dev/")
    terminal.type(b"word\r")
    assert terminal.wait() == 6
    assert re.search(rb"\n31 97\r+\n.*got word\r+\n", terminal.said, re.S)


def test_run_of_a_directory(ctr, own_rootfs):
    """--rootfs: no image, no snapshot."""
    result = ctr.run(ctr.new_id(), "/bin/sh", "-c", "/bin/cat /marker; echo new >/new", options=("--rootfs",),
                     image=str(prepare(own_rootfs)))
    assert result.stdout == "here\n"
    assert (own_rootfs / "new").read_text() == "new\n"


def prepare(rootfs):
    (rootfs / "marker").write_text("here\n")
    return rootfs


def test_options_of_a_container(ctr, place):
    (place.path / "data").mkdir()
    (place.path / "data/file").write_text("text\n")
    options = ("--env", "A=b", "--cwd", "/tmp", "--read-only", "--memory-limit", str(64 << 20), "--mount",
               f"type=bind,src={place.path}/data,dst=/mnt,options=rbind:ro", "--annotation", "x.y=z")
    script = "echo $A; pwd; cat /mnt/file; touch /mnt/new /new 2>/dev/null || echo read-only"
    assert ctr.run(ctr.new_id(), "sh", "-c", script, options=options).stdout == "b\n/tmp\ntext\nread-only\n"
    assert not (place.path / "data/new").exists()


def test_the_same_name_in_two_namespaces(ctr, box):
    other = f"{ctr.namespace}2"
    words = ctr.run_words(box, "cat", "/etc/hostname")
    ctr.ctr("--namespace", other, "images", "import", "--snapshotter", ctr.snapshotter, ctr.image)
    ctr.ctr("--namespace", other, "run", "-d", *words[1:-2], "sleep", "1000")
    assert other not in ctr.sh(box, "hostname").stdout
    for verb in (("tasks", "rm", "-f", box), ("containers", "rm", box), ("images", "rm", words[-4])):
        ctr.ctr("--namespace", other, *verb, status=None)
    assert ctr.state(box) == "RUNNING"
    assert not shimclient.left_of(other)
    shimclient.remove_cgroups(other)
    ctr.ctr("namespaces", "rm", other, status=None)


# exec


def test_exec(ctr, box):
    result = ctr.sh(box, "echo hi; echo err >&2; exit 5", status=5)
    assert result.stdout == "hi\n" and "err\n" in result.stderr
    assert ctr.sh(box, "exit 0").stdout == ""
    result = ctr.exec(box, "sh", "-c", "pwd; id -u; id -g", options=("--cwd", "/tmp", "--user", "1000:1000"))
    assert result.stdout == "/tmp\n1000\n1000\n"


def test_exec_with_input(ctr, box):
    data = os.urandom(1_000_000)
    for size in (1, 65536, len(data)):
        assert ctr.feed(*ctr.exec_words(box, "sh", "-c", "cat; printf end"), data=data[:size]) == b"end"


def test_exec_with_a_terminal(ctr, box, terminal):
    terminal.size(20, 70)
    script = f"read x; {SIZE}; echo got $x; trap 'stty size' WINCH; echo on; while :; do sleep 0.02; done"
    on_terminal(ctr, terminal, *ctr.exec_words(box, "sh", "-c", script, options=("-t",)))
    time.sleep(0.1)
    terminal.type(b"word\r")
    terminal.expect(b"20 70\r")
    terminal.expect(b"got word\r")
    terminal.expect(b"\non\r")
    terminal.size(30, 99)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.expect(b"30 99\r")
    terminal.type(b"\x03")
    assert terminal.wait() in (130, 2)


def test_exec_in_the_background(ctr, box):
    ctr.sh(box, "echo done >/tmp/done", options=("-d",))
    watch.eventually(lambda: ctr.sh(box, "cat /tmp/done", status=None).stdout == "done\n")


@pytest.mark.parametrize("word, text", [
    ("nonexistent", 'exec: "nonexistent": executable file not found in $PATH'),
    ("/nonexistent", "no such file or directory"), ("/etc/passwd", "permission denied"),
    ("/tmp", "")])
def test_programs_that_cannot_run(ctr, box, word, text):
    """One line that says why; ctr ends, and nothing is left of them."""
    cid = ctr.new_id()
    for said in (ctr.fails(*ctr.exec_words(box, word)), ctr.fails(*ctr.run_words(cid, word))):
        assert text in said, said
    assert cid not in ctr.tasks()
    assert not ctr.bundle(cid).exists()
    assert ctr.sh(box, "echo there").stdout == "there\n"


def test_execs_in_parallel(ctr, box):
    """200 of them, as many at once as ctr can be started."""
    count = 40 if ctr.kind == "runc" else 200      # it loses exits, and output
    todo, running, done = list(range(count)), {}, {}
    deadline = time.monotonic() + 60 * watch.PATIENCE
    while todo or running:
        while todo and len(running) < 50:
            n = todo.pop()
            running[n] = ctr.popen(*ctr.exec_words(box, "sh", "-c", f"echo {n}; exit {n % 256}"))
        for n, process in list(running.items()):
            if process.poll() is not None:
                done[n] = (process.communicate()[0], process.returncode)
                del running[n]
        assert time.monotonic() < deadline, f"{sorted(running)} do not end"
        time.sleep(0.005)
    if ctr.kind == "runc":
        assert {n: status for n, (_, status) in done.items()} == {n: n for n in range(count)}
    else:
        assert done == {n: (b"%d\n" % n, n % 256) for n in range(count)}


# Output


def test_gibibyte_of_output(ctr, place):
    """Of a process of each kind, all of it and in order."""
    block = os.urandom(1 << 20) * (16 if ctr.driver == "local" else 2)
    (place.path / "block").write_bytes(block)
    times = 64
    expected = hashlib.sha256()
    for n in range(times):
        expected.update(block + b"%d\n" % n)
    cid = ctr.background(ctr.new_id(), options=(
        "--mount", f"type=bind,src={place.path},dst=/mnt,options=rbind:ro"))
    script = f"n=0; while [ $n -lt {times} ]; do cat /mnt/block; echo $n; n=$((n+1)); done"
    process = ctr.popen(*ctr.exec_words(cid, "sh", "-c", script))
    found = hashlib.sha256()
    while data := process.stdout.read(1 << 20):
        found.update(data)
    assert process.wait(10) == 0
    assert found.hexdigest() == expected.hexdigest()
    process.communicate()


def test_reader_that_is_slow(ctr, box):
    """What writes has to wait, and loses nothing; the others go on."""
    process = ctr.popen(*ctr.exec_words(box, "sh", "-c", "seq 1 300000; echo end >&2"))
    assert not select.select([process.stderr], [], [], 0.5)[0]
    assert ctr.sh(box, "seq 1 10000 | tail -n 1").stdout == "10000\n"
    said = b""
    for _ in range(30):
        said += os.read(process.stdout.fileno(), 8192)
        time.sleep(0.005)
    rest, err = process.communicate(timeout=20 * watch.PATIENCE)
    assert said + rest == b"".join(b"%d\n" % n for n in range(1, 300001))
    assert (process.returncode, err) == (0, b"end\n")


def test_client_that_goes(ctr, box):
    """The process goes on without it, and another one takes its place."""
    cid = ctr.new_id()
    process = ctr.popen(*ctr.run_words(cid, "sh", "-c", "echo first; sleep 0.5; echo second; sleep 100"))
    assert process.stdout.readline() == b"first\n"
    process.kill()
    process.communicate()
    time.sleep(0.6)
    assert ctr.state(cid) == "RUNNING"
    again = ctr.popen("tasks", "attach", cid)
    if ctr.kind != "runc":      # it may have lost it
        assert again.stdout.readline() == b"second\n"
    ctr.kill(cid)
    again.communicate(timeout=10 * watch.PATIENCE)
    assert again.returncode == 137


def test_log_files(ctr, place):
    """file:// for both streams, also of what runs when nobody looks."""
    path = place.path / "logs/x.log"
    cid = ctr.background(ctr.new_id(), "sh", "-c", "echo out; echo err >&2; exit 3",
                         options=("--log-uri", f"file://{path}"))
    ctr.wait_state(cid, "STOPPED")
    # runc's shim may still be copying, or lose what it has not copied.
    assert ctr.kind == "runc" or sorted(path.read_text().split()) == ["err", "out"]


def test_no_output(ctr):
    ctr.run(ctr.new_id(), "sh", "-c", "read x && exit 1; echo out; exit 4", options=("--null-io",), status=4)


# Signals, states, figures


def test_signals(ctr):
    cid = ctr.background(ctr.new_id(), "sh", "-c",
                         "trap 'echo usr1 >>/tmp/got' USR1; trap 'exit 3' TERM; touch /tmp/on; "
                         "while :; do sleep 0.02; done")
    watch.eventually(lambda: ctr.sh(cid, "test -e /tmp/on", status=None).returncode == 0)
    ctr.kill(cid, "USR1")
    watch.eventually(lambda: ctr.sh(cid, "cat /tmp/got", status=None).stdout == "usr1\n")
    ctr.kill(cid, "SIGTERM")
    ctr.wait_state(cid, "STOPPED")
    assert ctr.ctr("tasks", "rm", cid, status=None).returncode in (0, 3)
    assert "not found" in ctr.fails("tasks", "kill", cid)
    assert "not found" in ctr.fails("tasks", "kill", "nobody")


def test_kill_of_an_exec(ctr, box):
    process = ctr.popen("tasks", "exec", "--exec-id", "victim", box, "sleep", "1000")
    watch.eventually(lambda: "victim" in ctr.ctr("tasks", "ps", box).stdout)
    ctr.kill(box, "TERM", "--exec-id", "victim")
    process.communicate(timeout=10 * watch.PATIENCE)
    assert process.returncode == 143
    assert ctr.state(box) == "RUNNING"


def test_kill_all(ctr, box):
    process = ctr.popen(*ctr.exec_words(box, "sh", "-c", "trap '' TERM; echo on; sleep 1000"))
    assert process.stdout.readline() == b"on\n"
    ctr.kill(box, "KILL", "--all")
    process.communicate(timeout=10 * watch.PATIENCE)
    assert process.returncode == 137
    ctr.wait_state(box, "STOPPED")


def test_pause(ctr, box):
    process = ctr.popen(*ctr.exec_words(box, "sh", "-c", "while :; do echo x; sleep 0.01; done"))
    assert process.stdout.readline() == b"x\n"
    ctr.ctr("tasks", "pause", box)
    assert ctr.state(box) == "PAUSED"
    said = ctr.fails(*ctr.exec_words(box, "true"))
    assert said.strip()
    time.sleep(0.1)
    while select.select([process.stdout], [], [], 0)[0]:
        os.read(process.stdout.fileno(), 65536)
    assert not select.select([process.stdout], [], [], 0.2)[0]
    ctr.ctr("tasks", "resume", box)
    assert ctr.state(box) == "RUNNING"
    assert os.read(process.stdout.fileno(), 10)
    ctr.kill(box)
    process.communicate(timeout=10 * watch.PATIENCE)


def test_metrics(ctr):
    cid = ctr.background(ctr.new_id(), "sh", "-c",
                         "dd if=/dev/zero of=/dev/shm/x bs=1M count=8; exec sleep 1000")
    watch.eventually(lambda: ctr.sh(cid, "stat -c %s /dev/shm/x", status=None).stdout == f"{8 << 20}\n")
    text = ctr.ctr("tasks", "metrics", cid).stdout
    values = dict(line.split(maxsplit=1) for line in text.splitlines()[3:] if len(line.split()) == 2)
    memory = values.get("memory.usage_in_bytes") or values.get("memory.usage")
    assert int(memory) > 8 << 20, text
    assert int(values["pids.current"]) == 1
    assert json.loads(ctr.ctr("tasks", "metrics", "--format", "json", cid).stdout)


def test_processes(ctr, box):
    process = ctr.popen("tasks", "exec", "--exec-id", "other", box, "sleep", "1000")
    watch.eventually(lambda: "other" in ctr.ctr("tasks", "ps", box).stdout)
    pids = [int(line.split()[0]) for line in ctr.ctr("tasks", "ps", box).stdout.splitlines()[1:]]
    assert ctr.tasks()[box][0] in pids and all(watch.stat(pid) for pid in pids)
    ctr.kill(box)
    process.communicate(timeout=10 * watch.PATIENCE)


def test_delete(ctr, box):
    """Not while it runs; by force at any time; a container without a task."""
    assert ctr.fails("tasks", "rm", box)
    assert ctr.fails("containers", "rm", box)
    assert ctr.state(box) == "RUNNING"
    ctr.ctr("tasks", "rm", "-f", box, status=None)
    assert ctr.state(box) is None
    assert ctr.fails("tasks", "rm", box)
    assert not watch.adopted() or watch.eventually(lambda: not watch.adopted())
    ctr.ctr("tasks", "start", "-d", box)        # the container is there, and can have another task
    assert ctr.sh(box, "echo again").stdout == "again\n"


def test_events(ctr):
    listener = ctr.popen("events")
    cid = ctr.new_id()
    time.sleep(0.2)
    ctr.run(cid, "sh", "-c", "exit 3", status=3)
    topics = []
    while "/tasks/delete" not in topics:
        assert select.select([listener.stdout], [], [], 5 * watch.PATIENCE)[0], topics
        line = listener.stdout.readline().decode()
        if cid in line:
            topics += re.findall(r" (/\S+) ", line)
    listener.kill()
    listener.communicate()
    assert [topic for topic in topics if topic.startswith("/tasks/")] == \
        ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]


def test_shim_by_its_client(ctr, box):
    """`ctr shim` recomputes the socket's name, and speaks with the shim itself."""
    said = ctr.ctr("shim", "--id", box, "state")
    assert '"status": "RUNNING"' in said.stdout or '"status":2' in re.sub(r"\s", "", said.stdout), said


@alone
@ours("checkpoints need criu")
def test_no_checkpoints(ctr, box):
    said = ctr.fails("tasks", "checkpoint", box)
    assert "not implemented" in said or "not supported" in said or "checkpoint" in said, said
    assert ctr.state(box) == "RUNNING"


# What is wrong


@alone
@pytest.mark.parametrize("options, words, text", [
    (("--runtime", "io.containerd.nobody.v1"), ["true"], "containerd-shim-nobody-v1"),
    (("--mount", "type=bind,src=/nonexistent,dst=/mnt,options=bind"), ["true"], "/nonexistent"),
    (("--cwd", "relative"), ["true"], "[cC]wd"),
    (("--log-uri", "binary:///nonexistent/logger"), ["true"], "/nonexistent/logger"),
], ids=["runtime", "mount", "cwd", "logger"])
def test_wrong_options(ctr, options, words, text):
    """ctr says what; nothing is left of the container but its record."""
    cid = ctr.new_id()
    said = ctr.fails(*ctr.run_words(cid, *words, options=options))
    assert re.search(text, said), said
    assert cid not in ctr.tasks()
    watch.eventually(lambda: not watch.adopted())


@ours("it has other options")
@pytest.mark.parametrize("content, text", [
    (None, "missing.json"), ("{", "wrong.json"), ('{"bogus": 1}', "bogus"),
    ('{"partition": "moon"}', "moon")], ids=["missing", "garbage", "member", "partition"])
def test_wrong_configuration(ctr, place, content, text):
    """The file that --runtime-config-path names is hvrun's configuration."""
    path = place.path / ("missing.json" if content is None else "wrong.json")
    if content is not None:
        path.write_text(content)
    cid = ctr.new_id()
    said = ctr.fails(*ctr.run_words(cid, "true", options=("--runtime-config-path", path)))
    assert text in said, said
    assert cid not in ctr.tasks()
    watch.eventually(lambda: not watch.adopted())


@ours("it has other options")
def test_configuration(ctr, place):
    """It is stronger than that of the environment."""
    path = place.path / "right.json"
    path.write_text(json.dumps({"partition": "local"}))
    said = ctr.run(ctr.new_id(), "uname", "-r", options=("--runtime-config-path", path)).stdout
    assert said.strip() == os.uname().release


@alone
@pytest.mark.parametrize("change", [
    lambda spec: spec.update(process={"cwd": "/", "args": []}),
    lambda spec: spec["process"].update(cwd=7),
    lambda spec: spec["mounts"].append(mount("/x", "nosuchfs", "x")),
], ids=["no arguments", "type", "file system"])
def test_wrong_specification(ctr, place, own_rootfs, change):
    spec = config("true", rootfs=own_rootfs)
    change(spec)
    cid = ctr.new_id()
    path = write_bundle(place.path / "b", spec) / "config.json"
    assert ctr.fails("run", "--runtime", RUNTIMES[ctr.kind], "--config", path, cid).strip()
    assert cid not in ctr.tasks()
    watch.eventually(lambda: not watch.adopted())


# Restarts and deaths


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_containerd_restarts(own_containerd, place, number):
    """Containers run on meanwhile, are known afterwards, and no output is lost."""
    daemon, log = own_containerd, place.path / "file.log"
    script = "n=0; while :; do echo $((n=n+1)); sleep 0.02; done"
    with_file = daemon.background(daemon.new_id(), "sh", "-c", script, options=("--log-uri", f"file://{log}"))
    with_fifo = daemon.background(daemon.new_id(), "sh", "-c", script)
    ends = daemon.background(daemon.new_id(), "sh", "-c", "sleep 0.3; exit 5")
    pids = {cid: pid for cid, (pid, _) in daemon.tasks().items()}
    daemon.end(number)
    time.sleep(0.5)
    assert watch.stat(pids[with_file])
    lines = len(log.read_text().splitlines())
    assert lines > 10
    daemon.start()
    found = daemon.tasks()
    assert found[with_file] == (pids[with_file], "RUNNING") and found[with_fifo][1] == "RUNNING"
    daemon.wait_state(ends, "STOPPED")
    for cid in (with_file, with_fifo):
        assert daemon.sh(cid, "echo there").stdout == "there\n"
    assert daemon.sh(with_file, "exit 9", status=9)
    attached = daemon.popen("tasks", "attach", with_fifo)
    if daemon.kind != "runc":
        first = int(attached.stdout.readline())     # the client that started it may have taken some
        assert first < 20
        for n in range(first + 1, 60):
            assert attached.stdout.readline() == b"%d\n" % n
    watch.eventually(lambda: len(log.read_text().splitlines()) > lines + 5)
    for cid in (with_file, with_fifo):
        daemon.kill(cid)
    daemon.wait_state(with_file, "STOPPED")
    attached.communicate(timeout=10 * watch.PATIENCE)       # which also removes the task
    assert log.read_text().splitlines() == [str(n + 1) for n in range(len(log.read_text().splitlines()))]
    daemon.remove(with_file, with_fifo, ends)
    assert not daemon.leftovers()


@ours("a restarted shim of it needs its log")
def test_containerd_stands_still(own_containerd):
    """Nobody reads the log meanwhile; what runs does not notice."""
    daemon = own_containerd
    cid = daemon.background(daemon.new_id())
    pid = daemon.shim_pid(cid)
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(300):
            os.kill(pid, signal.SIGUSR1)        # whatever it logs then
            time.sleep(0.002)
        address = (daemon.bundle(cid) / "address").read_text()
        with shimclient.ttrpc.Client(address, daemon.namespace) as client:
            assert shimclient.task_service(client).State(id=cid).status == shimclient.RUNNING
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert daemon.sh(cid, "echo there").stdout == "there\n"


def test_shim_killed(ctr, box):
    """containerd cleans up with `delete`: nothing of the container is left but its record."""
    other = ctr.background(ctr.new_id())
    execs = ctr.popen(*ctr.exec_words(box, "sleep", "1000"))
    watch.eventually(lambda: len(ctr.ctr("tasks", "ps", box).stdout.splitlines()) == 3)
    pid, bundle, shim = ctr.tasks()[box][0], ctr.bundle(box), ctr.shim_pid(box)
    socket = (bundle / "address").read_text().removeprefix("unix://")
    os.kill(shim, signal.SIGKILL)
    watch.eventually(lambda: not bundle.exists(), 10)
    watch.eventually(lambda: box not in ctr.tasks())
    watch.eventually(lambda: watch.stat(pid) is None)
    assert not [line for line in watch.mounts() if str(bundle) in line]
    assert not [path for path in watch.cgroups(box)]
    if ctr.kind == "runc":
        os.unlink(socket)
    else:
        assert not os.path.exists(socket)
        assert not list(ctr.state_root.rglob(f"*{box}*"))
    execs.communicate(timeout=15 * watch.PATIENCE)
    assert execs.returncode
    assert ctr.sh(other, "echo there").stdout == "there\n"
    ctr.ctr("tasks", "start", "-d", box)
    assert ctr.sh(box, "echo again").stdout == "again\n"


def test_shim_killed_while_containerd_is_away(own_containerd):
    daemon = own_containerd
    box = daemon.background(daemon.new_id())
    shim, socket = daemon.shim_pid(box), (daemon.bundle(box) / "address").read_text().removeprefix("unix://")
    daemon.end(signal.SIGKILL)
    os.kill(shim, signal.SIGKILL)
    daemon.start()
    watch.eventually(lambda: box not in daemon.tasks())
    watch.eventually(lambda: not watch.adopted())
    if daemon.kind == "runc":
        os.unlink(socket)
    assert not os.path.exists(socket)
    daemon.remove(box)


@ours("there is no VM")
def test_machine_killed(ctr, box):
    """Its containers have ended with it, and can be removed and started again."""
    execs = ctr.popen(*ctr.exec_words(box, "sleep", "1000"))
    watch.eventually(lambda: len(ctr.ctr("tasks", "ps", box).stdout.splitlines()) >= 3)
    record = ctr.state_root / "partitions" / box / "sandbox.json"
    os.kill(json.loads(record.read_text())["AgentPid"], signal.SIGKILL)
    ctr.wait_state(box, "STOPPED", 10)
    said = execs.communicate(timeout=10 * watch.PATIENCE)
    assert execs.returncode in (137, 255), said
    ctr.ctr("tasks", "rm", box, status=None)
    ctr.ctr("tasks", "start", "-d", box)
    assert ctr.sh(box, "echo again").stdout == "again\n"


# hvrun's commands


@ours("it is another program")
def test_hvruns_commands(ctr, place):
    """They know the containers of a namespace as containerd calls them."""
    box = ctr.background(ctr.new_id(), "sh", "-c", "echo said; exec sleep 1000")
    hv = ctr.hvrun(place)
    found = {entry["id"]: entry for entry in hv.list()}
    assert found[box]["status"] == "running"
    assert hv.run("exec", box, "sh", "-c", "echo hi; exit 3", status=3).stdout == "hi\n"
    assert hv.run("exec", box, "cat", input="text").stdout == "text"
    assert hv.run("ps", "--format", "json", box).json()
    assert hv.run("stats", box).stdout
    assert hv.run("logs", box).stdout == "said\n"
    hv.run("kill", box, "KILL")
    ctr.wait_state(box, "STOPPED")
    assert hv.status(box) == "stopped"
