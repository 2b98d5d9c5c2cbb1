# SPDX-License-Identifier: Apache-2.0
"""Real callers: podman, conmon as CRI-O starts it, and the commands of containerd's runc shim."""

import ctypes
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time

import pytest

import podman as podman_module
import watch
from container import config, sh
from podman import IMAGE, Podman, Store
from test_terminal import Console, Terminal


PR_SET_PDEATHSIG = 1
CATATONIT = "/usr/libexec/podman/catatonit"
needs_catatonit = pytest.mark.skipif(not os.path.exists(CATATONIT), reason="no catatonit")


@pytest.fixture(scope="session")
def store(rootfs):
    if podman_module.missing():
        pytest.skip(podman_module.missing())
    path = pathlib.Path(tempfile.mkdtemp(prefix="hvstore", dir="/tmp"))
    yield Store(path, rootfs)
    shutil.rmtree(path)


@pytest.fixture
def podman(driver, vm, place, store):
    runtime = Podman(place, store, driver, vm)
    yield runtime
    left = runtime.clean()
    files = runtime.leftovers()
    if left and vm:
        vm.stop()
    assert not left, f"left behind: {left}"
    assert not files, f"left below --root: {files}"
    if vm:
        vm.check()


@pytest.fixture
def pbox(podman):
    """A container that sleeps."""
    return podman.background("sleep", "1000")


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def box(hv, rootfs):
    """The id of a container that sleeps."""
    return hv.background(config("sleep", "1000", rootfs=rootfs))


# podman


def test_podman_run(podman):
    result = podman.run_image("sh", "-c", "echo out; echo err >&2; exit 7", options=("--rm",), status=7)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    data = os.urandom(5_000_000)
    result = podman.run_image("cat", options=("--rm", "-i"), input=data, text=False)
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("word, status, text", [
    ("nonexistent", 127, 'exec: "nonexistent": executable file not found in $PATH'),
    ("/etc/passwd", 126, 'exec: "/etc/passwd": permission denied'),
    ("/tmp", 126, 'exec: "/tmp": permission denied'),
])
def test_podman_bad_programs(podman, pbox, word, status, text):
    for result in (podman.run_image(word, options=("--rm",), status=status),
                   podman.run("exec", pbox, word, status=status)):
        assert text in result.stderr and result.stderr.count("\n") == 1, repr(result)


def test_podman_logs(podman):
    cid = podman.background("sh", "-c", "sleep 0.3; yes | head -n 100000; echo end; exit 4")
    follow = podman.popen("logs", "-f", cid)
    assert podman.wait(cid) == 4
    lines = podman.run("logs", cid).stdout.splitlines()
    assert lines == ["y"] * 100000 + ["end"]
    # podman stops following soon after the exit, however much is left.
    assert follow.communicate(timeout=10)[0].startswith(b"y\ny\n")
    assert podman.inspect(cid, "State.Status") == "exited"
    assert podman.inspect(cid, "State.ExitCode") == "4"


def test_podman_exec(podman, pbox):
    assert podman.run("exec", pbox, "sh", "-c", "echo hi; exit 5", status=5).stdout == "hi\n"
    assert podman.run("exec", "-i", pbox, "tr", "a-z", "A-Z", input="text").stdout == "TEXT"
    result = podman.run("exec", "-u", "1000", "-w", "/tmp", "-e", "A=b", pbox, "sh", "-c",
                        "id -u; pwd; echo $A")
    assert result.stdout == "1000\n/tmp\nb\n"
    podman.run("exec", "-d", pbox, "sh", "-c", "echo done >/tmp/done")
    watch.eventually(lambda: podman.run("exec", pbox, "cat", "/tmp/done", status=None).stdout == "done\n")


def test_podman_exec_that_ends_at_once(podman, pbox):
    for _ in range(8):
        podman.run("exec", pbox, "true", timeout=10)


def test_podman_exec_ends_with_the_container(podman, pbox):
    process = podman.popen("exec", pbox, "sleep", "1001")
    watch.eventually(lambda: re.search("^sleep 1001$", podman.processes(), re.M))
    podman.run("kill", pbox)
    assert process.wait(10) == 137


def test_podman_terminal(podman, terminal):
    terminal.run(podman, "run", "--rm", "-it", "--network", "none", "--cgroup-parent", podman.parent, IMAGE,
                 "sh")
    terminal.expect(b"# ", 10)
    terminal.type(b"echo $((20+22)); stty size\n")
    terminal.expect(b"42\r\n24 80\r\n")
    terminal.size(33, 99)
    time.sleep(0.3)
    terminal.type(b"stty size; exit 3\n")
    terminal.expect(b"33 99\r\n")
    assert terminal.wait(10) == 3


def test_podman_terminal_of_an_exec(podman, pbox, terminal):
    terminal.run(podman, "exec", "-it", pbox, "sh", "-c", "tty; sleep 0.3; stty size;"
                 "read a; exit $a")
    terminal.expect(b"/dev/pts/0\r\n24 80\r\n", 10)
    terminal.type(b"6\n")
    assert terminal.wait(10) == 6
    again = Terminal()
    again.run(podman, "exec", "-it", pbox, "nonexistent")
    assert again.wait(10) == 127
    again.close()


def test_podman_signals(podman):
    cid = podman.background("sh", "-c", "trap 'echo usr' USR1; trap 'exit 3' TERM; echo ready;"
                                        "while :; do sleep 0.05; done")
    watch.eventually(lambda: "ready" in podman.run("logs", cid).stdout)
    podman.run("kill", "-s", "USR1", cid)
    watch.eventually(lambda: "usr" in podman.run("logs", cid).stdout)
    podman.run("stop", "-t", "10", cid)
    assert podman.inspect(cid, "State.ExitCode") == "3"
    podman.run("kill", cid, status=125)
    cid = podman.background("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")
    podman.run("stop", "-t", "1", cid)
    assert podman.inspect(cid, "State.ExitCode") == "137"


def test_podman_restart(podman, pbox):
    podman.run("restart", "-t", "0", pbox)
    podman.run("exec", pbox, "true")
    podman.run("stop", "-t", "0", pbox)
    podman.run("start", pbox)
    podman.run("exec", pbox, "true")


def test_podman_pause(podman, pbox):
    podman.run("pause", pbox)
    assert podman.inspect(pbox, "State.Status") == "paused"
    assert "running containers" in podman.run("exec", pbox, "true", status=255).stderr
    podman.run("unpause", pbox)
    podman.run("exec", pbox, "true")
    # What is frozen can be killed, and whoever watches the proxy hears of it.
    podman.run("pause", pbox)
    os.kill(int(podman.inspect(pbox, "State.Pid")), signal.SIGKILL)
    assert podman.wait(pbox) == 137


def test_podman_looks_at_a_container(podman):
    cid = podman.background("sh", "-c", "sleep 1000 & sleep 1001")
    top = podman.run("top", cid, "pid,args").stdout
    assert re.search(r"sleep 1000", top) and re.search(r"1 +sleep 1001", top)
    # The container's own numbers, not conmon's.
    stats = podman.run("stats", "--no-stream", "--format", "{{.PIDs}} {{.MemUsage}}", cid).stdout
    assert re.match(r"[23] \d", stats), stats
    state = json.loads(podman.run("inspect", cid).stdout)[0]["State"]
    assert state["Status"] == "running" and watch.stat(state["Pid"])


def test_podman_cp(podman, place):
    cid = podman.background("sleep", "1000", options=("--tmpfs", "/scratch"))
    (place.path / "file").write_text("there")
    # A tmpfs of a VM is out of podman's reach.
    for where in ("/tmp",) if podman.in_vm else ("/tmp", "/scratch"):
        podman.run("cp", place.path / "file", f"{cid}:{where}/copied")
        assert podman.run("exec", cid, "cat", f"{where}/copied").stdout == "there"
        podman.run("exec", cid, "sh", "-c", f"echo back >{where}/made")
        podman.run("cp", f"{cid}:{where}/made", place.path / "back")
        assert (place.path / "back").read_text() == "back\n"
    assert not os.path.exists("/tmp/copied") and not os.path.exists("/scratch")


def test_podman_options(podman, place):
    volume = place.path / "volume"
    volume.mkdir()
    (volume / "f").write_text("from outside")
    limits = ("--memory", "64m", "--pids-limit", "50", "--cpus", "0.5", "--ulimit", "nproc=900:900")
    script = """
        hostname; id -u; id -G; pwd; cat /v/f; touch /x 2>/dev/null || echo read-only
        echo >/v/x 2>/dev/null || echo v-read-only; touch /tmp/x && echo tmp-writable
        stat -c %a /s; grep NoNewPrivs /proc/self/status; grep Seccomp: /proc/self/status
        grep CapBnd /proc/self/status; ulimit -n; ip link | grep -c :"""
    result = podman.run_image("sh", "-c", script, options=(
        "--rm", "--hostname", "named", "--user", "1000:1000", "--group-add", "33", "-w", "/tmp",
        "-v", f"{volume}:/v:ro", "--read-only", "--tmpfs", "/s:mode=1750", "--cap-drop", "all", "--cap-add",
        "chown", "--security-opt", "no-new-privileges", "--ulimit", "nofile=100:100", *limits))
    assert [line.split()[-1] if "\t" in line else line for line in result.stdout.splitlines()] == [
        "named", "1000", "1000 33", "/tmp", "from outsideread-only", "v-read-only", "tmp-writable", "1750",
        "1", "2", "0000000000000001", "100", "2"]


@needs_catatonit
def test_podman_init(podman):
    result = podman.run_image("sh", "-c", "ps -o pid,args", options=("--rm", "--init"))
    assert "1 /run/podman-init -- sh" in result.stdout
    podman.run_image("sh", "-c", "kill -ABRT $$", options=("--rm", "--init"), status=134)


def test_podman_healthcheck(podman):
    cid = podman.background("sleep", "1000", options=("--health-cmd", "test -f /tmp/ok",
                                                      "--health-interval", "disable"))
    podman.run("healthcheck", "run", cid, status=1)
    podman.run("exec", cid, "touch", "/tmp/ok")
    podman.run("healthcheck", "run", cid)


def test_podman_many(podman):
    processes = [(n, podman.popen("run", "--rm", "--network", "none", "--cgroup-parent", podman.parent, IMAGE,
                                  "sh", "-c", f"echo c{n}; exit {n}")) for n in range(10)]
    for n, process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (n, b"c%d\n" % n), err


@pytest.mark.long
@pytest.mark.parametrize("victim", ["sandbox", "agent", "proxy"])
def test_podman_after_a_death(podman, pbox, victim):
    session = podman.popen("exec", pbox, "sleep", "1001")
    watch.eventually(lambda: re.search("^sleep 1001$", podman.processes(), re.M))
    sandbox, agent = podman.partition(pbox)
    proxy = int(podman.inspect(pbox, "State.Pid"))
    os.kill({"sandbox": sandbox, "agent": agent, "proxy": proxy}[victim], signal.SIGKILL)
    assert podman.wait(pbox) == 137
    assert session.wait(10) == 137
    podman.run("start", pbox)
    assert podman.run("exec", pbox, "echo", "again").stdout == "again\n"


def test_podman_signals_to_conmon(podman):
    cid = podman.background("sh", "-c", "trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done")
    watch.eventually(lambda: "ready" in podman.run("logs", cid).stdout)
    os.kill(int(podman.inspect(cid, "State.ConmonPid")), signal.SIGTERM)
    assert podman.wait(cid) == 33


def test_podman_shared_pid_namespace(podman):
    """Everything else in the container is killed when its first process ends; its proxy is not."""
    cid = podman.background("sh", "-c", "sleep 1000 & sleep 0.3; exit 42", options=("--pid", "host"))
    assert podman.wait(cid) == 42


def pod(podman, *options):
    """A pod's name."""
    name = podman.place.token
    podman.run("pod", "create", "--name", name, "--network", "none", "--cgroup-parent", podman.parent,
               *options)
    return name


def in_pod(podman, name, *words, options=()):
    return podman.run("run", "--pod", name, *options, IMAGE, *words).stdout.strip()


@needs_catatonit
def test_podman_pod(podman):
    name = pod(podman)
    first = in_pod(podman, name, "sh", "-c", "readlink /proc/self/ns/net >/dev/shm/net; sleep 1000",
                   options=("-d",))
    watch.eventually(lambda: podman.run("exec", first, "cat", "/dev/shm/net", status=None).stdout)
    out = in_pod(podman, name, "sh", "-c", "hostname; readlink /proc/self/ns/net | "
                 "cmp - /dev/shm/net && echo same", options=("--rm",))
    assert out.splitlines() == [name, "same"]
    assert len(list((podman.root / "partitions").iterdir())) == 1
    infra = podman.run("pod", "inspect", "-f", "{{.InfraContainerID}}", name).stdout.strip()
    podman.run("restart", "-t", "0", infra)
    podman.run("exec", first, "true")
    podman.run("restart", "-t", "0", first)
    podman.run("exec", first, "true")
    podman.run("pod", "stop", "-t", "0", name)
    podman.run("pod", "start", name)
    podman.run("exec", first, "true")


@needs_catatonit
def test_podman_pod_with_one_pid_namespace(podman):
    name = pod(podman, "--share", "pid,net,ipc,uts")
    first = in_pod(podman, name, "sleep", "1001", options=("-d",))
    assert "sleep 1001" in in_pod(podman, name, "ps", "-o", "args", options=("--rm",))
    podman.run("kill", first)
    assert podman.wait(first) == 137


def test_podman_namespaces_of_a_container(podman, pbox):
    result = podman.run("run", "--rm", "--network", f"container:{pbox}", "--pid", f"container:{pbox}",
                        "--ipc", f"container:{pbox}", "--cgroup-parent", podman.parent, IMAGE, "sh", "-c",
                        "readlink /proc/self/ns/net; readlink /proc/1/ns/net; ps -o args")
    net, first, *processes = result.stdout.splitlines()
    assert net == first and "sleep 1000" in processes


def test_podman_namespace_of_a_stranger(podman):
    result = podman.run("run", "--rm", "--network", f"ns:/proc/{os.getpid()}/ns/net", "--cgroup-parent",
                        podman.parent, IMAGE, "true", status=126)
    assert f"/proc/{os.getpid()}/ns/net is of no container here" in result.stderr
    assert result.stderr.count("\n") == 1


def test_podman_preserved_fds_are_refused(podman):
    result = podman.run_image("true", options=("--rm", "--preserve-fds", "1"), status=126,
                              pass_fds=(3,), preexec_fn=lambda: os.dup2(0, 3))
    assert "open files cannot be passed into a partition" in result.stderr


# conmon, as CRI-O starts it


class Conmon:
    def __init__(self, hv, bundle, cid):
        self.hv, self.bundle, self.cid = hv, pathlib.Path(bundle), cid
        self.exits = hv.place.path / "exits"
        self.exits.mkdir(exist_ok=True)
        self.log = self.bundle / "log"
        self.pid_file = self.bundle / "pidfile"

    def start(self, *options, pid_file=None):
        """Its first report: {"pid": …}, or -1 and a message; the pipe stays in self.sync."""
        sync, theirs = os.pipe()
        start, go = os.pipe()
        words = ["conmon", "-c", self.cid, "-u", self.cid, "-n", self.cid, "-r",
                 self.hv.program(), "-b", self.bundle, "-p", pid_file or self.pid_file, "-l", self.log,
                 "--socket-dir-path", self.hv.place.path, "--exit-dir", self.exits, "--persist-dir",
                 self.bundle, *options]
        env = dict(self.hv.environment, _OCI_SYNCPIPE=str(theirs), _OCI_STARTPIPE=str(start))
        process = watch.own(subprocess.Popen([str(w) for w in words], env=env, pass_fds=(theirs, start),
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL, cwd=self.bundle))
        os.close(theirs)
        os.close(start)
        os.write(go, b"\0")
        os.close(go)
        assert process.wait(10) == 0
        self.sync = os.fdopen(sync)
        return json.loads(self.sync.readline())

    def exit_status(self):
        path = self.exits / self.cid
        watch.eventually(lambda: path.exists() and path.read_text(), 10, "conmon's exit file")
        return int(path.read_text())

    def lines(self):
        return [line.split(" ", 3)[1:] for line in self.log.read_text().splitlines()]


@pytest.fixture
def conmon(hv):
    if not shutil.which("conmon"):
        pytest.skip("conmon is not installed")

    def make(spec):
        cid = hv.new_id()
        return Conmon(hv, hv.bundle(spec, f"b-{cid}"), cid)
    return make


def test_conmon(hv, rootfs, conmon):
    made = conmon(sh("echo out; echo err >&2; exit 7", rootfs=rootfs))
    report = made.start()
    assert report["pid"] == int(made.pid_file.read_text()) == hv.state(made.cid)["pid"]
    hv.run("start", made.cid)
    assert made.exit_status() == 7
    assert sorted(made.lines()) == [["stderr", "F", "err"], ["stdout", "F", "out"]]
    assert hv.status(made.cid) == "stopped"
    hv.run("delete", "--force", made.cid)


def test_conmon_hears_of_a_failure(hv, rootfs, conmon):
    made = conmon(config("nonexistent", rootfs=rootfs))
    report = made.start()
    assert report["pid"] == -1
    assert report["message"] == 'hvrun: exec: "nonexistent": executable file not found in $PATH\n'
    assert not made.pid_file.exists()


@pytest.mark.parametrize("how, status", [("TERM", 9), ("KILL", 137), ("conmon", 9), ("proxy", 137)])
def test_conmon_signals(hv, rootfs, conmon, how, status):
    made = conmon(sh("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done", rootfs=rootfs))
    conmon_pid = made.bundle / "conmon"
    made.start("-P", conmon_pid)
    hv.run("start", made.cid)
    watch.eventually(lambda: made.lines() == [["stdout", "F", "ready"]])
    if how == "conmon":
        os.kill(int(conmon_pid.read_text()), signal.SIGTERM)
    elif how == "proxy":
        os.kill(int(made.pid_file.read_text()), signal.SIGKILL)
    else:
        hv.run("kill", made.cid, how)
    assert made.exit_status() == status
    hv.wait_status(made.cid, "stopped")
    assert "container not running" in hv.fails("kill", made.cid, "KILL")


def test_conmon_timeout(hv, rootfs, conmon):
    made = conmon(config("sleep", "1000", rootfs=rootfs))
    made.start("-T", "1")
    hv.run("start", made.cid)
    made.exit_status()
    watch.eventually(lambda: hv.status(made.cid) == "stopped")


def test_conmon_terminal(hv, rootfs, conmon):
    made = conmon(sh("tty; stty size; exit 6", rootfs=rootfs, terminal=True))
    made.start("-t")
    hv.run("start", made.cid)
    assert made.exit_status() == 6
    assert "".join(text for _, _, text in made.lines()).startswith("/dev/pts/0")


def process(*args, **more):
    return {"user": {"uid": 0, "gid": 0}, "args": list(args), "env": ["PATH=/bin"], "cwd": "/", **more}


@pytest.mark.parametrize("args, status", [(("sh", "-c", "echo out; exit 4"), 4), (("sleep", "1000"), -1)])
def test_conmon_exec(hv, box, conmon, place, args, status):
    """CRI-O's ExecSync: the exit status comes through the pipe."""
    file = place.path / "process.json"
    file.write_text(json.dumps(process(*args)))
    made = Conmon(hv, place.path / "exec", box)
    made.bundle.mkdir()
    assert made.start("-e", "--exec-process-spec", file, "-T", "1")["exit_code"] == status
    if status >= 0:
        assert made.lines() == [["stdout", "F", "out"]]
    watch.eventually(lambda: not watch.alive(int(made.pid_file.read_text())))


def test_cri_o_streaming_exec(hv, box, place):
    """Not detached: our status is the command's."""
    file = place.path / "process.json"
    file.write_text(json.dumps(process("sh", "-c", "cat; exit 5")))
    result = hv.run("exec", "--process", file, box, input="text", status=5)
    assert result.stdout == "text"


def test_cri_o_pod_without_an_infra_container(hv, rootfs):
    """The pod's id is nobody's; its containers share a partition all the same."""
    spec = config("sleep", "1000", rootfs=rootfs)
    spec["annotations"] = {"io.kubernetes.cri-o.ContainerType": "container",
                           "io.kubernetes.cri-o.SandboxID": f"{hv.place.token}-pod"}
    first, second = hv.create(spec), hv.create(spec)
    assert hv.partitions() == [f"{hv.place.token}-pod"]
    hv.run("delete", "--force", first)
    hv.run("start", second)
    hv.run("exec", second, "true")


# The commands of containerd-shim-runc-v2, through go-runc


class Shim:
    """Parent and subreaper of everything, whose children die with it."""

    def __init__(self, hv, spec):
        self.hv, self.cid = hv, hv.new_id()
        self.bundle = hv.bundle(spec, f"b-{self.cid}")
        self.log = self.bundle / "log.json"

    def call(self, *args, status=0, **more):
        def dies_with_us():
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        result = self.hv.run(*args, options=("--log", self.log, "--log-format", "json"),
                             status=status, preexec_fn=dies_with_us, **more)
        if status:
            last = self.log.read_text().splitlines()[-1]
            assert json.loads(last)["level"] == "error"
            return json.loads(last)["msg"]
        return result

    def create(self, *options, **more):
        self.call("create", "--bundle", self.bundle, "--pid-file", self.bundle / "init.pid", *options,
                  self.cid, **more)
        return int((self.bundle / "init.pid").read_text())

    def exec(self, name, description, *options, **more):
        file = self.bundle / f"{name}.json"
        file.write_text(json.dumps(description))
        result = self.call("exec", "--process", file, *options, "--detach", "--pid-file",
                           self.bundle / f"{name}.pid", self.cid, **more)
        file.unlink()
        pid_file = self.bundle / f"{name}.pid"
        return int(pid_file.read_text()) if pid_file.exists() else result


@pytest.fixture
def console(hv):
    made = Console(hv)
    yield made
    made.close()


def holders(fd):
    """Who has the pipe open, but us."""
    name = os.readlink(f"/proc/self/fd/{fd}")
    found = []
    for pid in watch.all_pids():
        try:
            if pid != os.getpid() and name in watch.fds(pid):
                found.append(pid)
        except OSError:
            pass
    return found


def resize(terminal, height, width):
    fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def test_shim_with_pipes(hv, rootfs):
    shim = Shim(hv, sh("echo out; echo err >&2; cat; exit 7", rootfs=rootfs))
    pipes = [os.pipe() for _ in range(3)]
    (stdin, feed), (out, stdout), (err, stderr) = pipes
    pid = shim.create(stdin=stdin, stdout=stdout, stderr=stderr)
    for fd in (stdin, stdout, stderr):
        os.close(fd)
    # Not the proxy, not the agent: one process that lets go when everything was delivered.
    sandbox = hv.sandbox_pid(shim.cid)
    assert holders(out) == holders(err) == holders(feed) == [sandbox]
    shim.call("start", shim.cid)
    os.write(feed, b"fed")
    os.close(feed)
    assert watch.exit_status(pid) == 7
    assert os.read(out, 100) + os.read(out, 100) == b"out\nfed" and os.read(err, 100) == b"err\n"
    assert os.read(out, 1) == os.read(err, 1) == b""
    os.close(out)
    os.close(err)
    assert "container not running" in shim.call("kill", shim.cid, 9, status=1)
    shim.call("delete", shim.cid)
    assert "does not exist" in shim.call("delete", shim.cid, status=1)
    shim.call("delete", "--force", shim.cid)


def test_shim_with_a_console(hv, rootfs, console):
    shim = Shim(hv, sh("stty size; read a; echo got $a; exit 5", rootfs=rootfs, terminal=True))
    pid = shim.create("--console-socket", console.path)
    master = console.receive()
    resize(master, 30, 90)
    shim.call("start", shim.cid)
    master.expect(b"30 90\r\n")
    master.type(b"it\n")
    master.expect(b"got it\r\n")
    assert watch.exit_status(pid) == 5
    os.close(master.master)


def test_shim_commands(hv, rootfs):
    shim = Shim(hv, sh("trap 'exit 9' TERM; while :; do sleep 0.05; done", rootfs=rootfs))
    pid = shim.create("--no-pivot", "--no-new-keyring")
    shim.call("start", shim.cid)
    shown = json.loads(shim.call("state", shim.cid).stdout)
    assert (shown["status"], shown["pid"]) == ("running", pid)
    pids = json.loads(shim.call("ps", "--format", "json", shim.cid).stdout)
    # Its sleeps come and go.
    assert "sh\n" in [hv.outside("sh", "-c", f"cat /proc/{other}/comm; true") for other in pids]
    assert pid not in pids or hv.in_vm
    shim.call("pause", shim.cid)
    assert json.loads(shim.call("state", shim.cid).stdout)["status"] == "paused"
    shim.call("resume", shim.cid)
    shim.call("update", "--resources=-", shim.cid, input=json.dumps(
        {"memory": {"limit": 50000000}, "pids": {"limit": 50}, "cpu": {"shares": 500}}))
    stats = json.loads(shim.call("events", "--stats", shim.cid).stdout)
    assert stats["id"] == shim.cid and stats["data"]["pids"]["limit"] == 50
    assert json.loads(hv.run("features").stdout)["ociVersionMin"]
    shim.call("kill", shim.cid, 15)
    assert watch.exit_status(pid) == 9
    assert "container not running" in shim.call("kill", "--all", shim.cid, 9, status=1)
    shim.call("delete", shim.cid)


def test_shim_execs(hv, box, console):
    shim = Shim(hv, config())
    shim.cid = box
    for n in range(10):
        pid = shim.exec(f"e{n}", process("sh", "-c", f"exit {n}"))
        assert watch.exit_status(pid) == n
    message = shim.exec("no", process("nonexistent"), status=255)
    assert message == 'exec: "nonexistent": executable file not found in $PATH'
    pid = shim.exec("t", process("sh", "-c", "tty; exec sleep 1000", terminal=True), "--console-socket",
                    console.path)
    master = console.receive()
    master.expect(b"/dev/pts/0\r\n")
    os.kill(pid, signal.SIGTERM)
    assert watch.exit_status(pid) == 143
    os.close(master.master)


@pytest.mark.parametrize("started", [False, True])
def test_shim_deletes_by_force(hv, rootfs, started):
    shim = Shim(hv, config("sleep", "1000", rootfs=rootfs))
    pid = shim.create()
    if started:
        shim.call("start", shim.cid)
    shim.call("delete", "--force", shim.cid)
    assert watch.exit_status(pid) == 137
    assert not watch.cgroups(shim.cid)


@pytest.mark.parametrize("spec, text", [
    (dict(args=["nonexistent"]), 'exec: "nonexistent": executable file not found in $PATH'),
    (dict(terminal=True), "process.terminal needs a --console-socket"),
    (dict(cwd="relative"), "cwd"),
])
def test_shim_hears_why(hv, rootfs, spec, text):
    """Nobody else holds stderr, or go-runc would wait for its end."""
    shim = Shim(hv, config("true", rootfs=rootfs, **spec))
    read, write = os.pipe()
    with pytest.raises(FileNotFoundError):
        shim.create(status=1, stdout=write, stderr=write)
    os.close(write)
    said = b""
    while part := os.read(read, 65536):
        said += part
    os.close(read)
    lines = shim.log.read_text().splitlines()
    assert len(lines) == 1 and text in json.loads(lines[0])["msg"]
    assert said.decode() == f"hvrun: {json.loads(lines[0])['msg']}\n"


def test_proxy_is_in_the_containers_place(hv, rootfs):
    """Namespaces and cgroup of the pid that callers know."""
    shim = Shim(hv, config("sleep", "1000", rootfs=rootfs))
    pid = shim.create()
    state = json.loads(shim.call("state", shim.cid).stdout)
    inner = json.loads(shim.call("ps", "--format", "json", shim.cid).stdout)[0]
    assert state["pid"] == pid != inner
    for name in ("mnt", "net", "ipc", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{inner}/ns/{name}")
    assert f"/{shim.cid}\n" in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
