# SPDX-License-Identifier: Apache-2.0
"""Docker's daemon on a containerd of the tests.

Docker 23 and later can be told a shim. Debian 12's 20.10 cannot: there the shim takes the place of the
one for runc, by its name in containerd's PATH, and Docker does not know. Networks are none or the
host's, so nothing of the machine's is changed."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

import containerd
import shimclient
import watch
from hvrun import HVRUN, Result
from test_ctr import SIZE
from test_terminal import Terminal

ours = pytest.mark.ours
IMAGE = "busybox:test"
DROPPED = ("/etc/docker/key.json", "/run/docker/plugins", "/run/docker")     # by dockerd, whatever it is told


def missing():
    """Why there is no Docker here, or an empty text."""
    return next((f"{name} is not installed" for name in ("dockerd", "docker", "docker-init")
                 if not shutil.which(name)), "")


class Daemon(containerd.Containerd):
    """containerd, with dockerd beside it."""

    def __init__(self, path, kind, driver, image, rootfs):
        self.docker = None
        self.rootfs = rootfs
        self.client = "/usr/bin/docker" if os.access("/usr/bin/docker", os.X_OK) else "docker"
        self.version = int(re.search(r"version (\d+)", subprocess.run(
            ["dockerd", "--version"], check=True, capture_output=True, text=True).stdout).group(1))
        self.runtime = "tested" if self.version >= 23 else "io.containerd.runc.v2"
        self.before = [path for path in DROPPED if os.path.exists(path)]
        super().__init__(path, kind, driver, image, namespace=f"hvmoby{path.name[-8:]}".replace("_", "0"))
        try:
            self.start_docker()
            self.load()
        except BaseException:
            self.close()
            raise

    def load(self):
        """An image."""
        path, rootfs = self.path, self.rootfs
        with open(path / "rootfs.tar", "wb") as tar:
            subprocess.run(["tar", "-C", rootfs, "-c", "."], check=True, stdout=tar)
        self.run_docker("import", "-c", "ENV PATH=/bin:/sbin", "-c", "ENV FROM=image", "-c",
                        "CMD [\"sleep\", \"1000\"]", path / "rootfs.tar", IMAGE, timeout=60)

    def start(self):
        shims = self.path / "shims"
        shims.mkdir(exist_ok=True)
        if self.kind != "runc" and self.version < 23:
            (shims / "containerd-shim-runc-v2").unlink(missing_ok=True)
            (shims / "containerd-shim-runc-v2").symlink_to(shimclient.SHIMS[self.kind])
        if not self.environment["PATH"].startswith(str(shims)):
            self.environment["PATH"] = f"{shims}:{self.environment['PATH']}"
        return super().start()

    @property
    def state_root(self):
        """Docker names one for runc, and the shim takes it."""
        return self.path / "exec/runtime-runc" / self.namespace if self.version < 23 else super().state_root

    def start_docker(self):
        wrapper = self.path / "hvrun"
        wrapper.write_text(f"#!/bin/sh\nexec {HVRUN} --partition {self.driver} \"$@\"\n")
        wrapper.chmod(0o755)
        runtimes = {"oci": {"path": str(wrapper)}}
        if self.version >= 23:
            runtimes["tested"] = {"runtimeType": shimclient.RUNTIMES[self.kind]}
        (self.path / "daemon.json").write_text(json.dumps({
            "runtimes": runtimes, "live-restore": True, "bridge": "none", "iptables": False,
            "ip6tables": False, "ip-forward": False, "ip-masq": False, "userland-proxy": False,
            "data-root": f"{self.path}/data", "exec-root": f"{self.path}/exec",
            "pidfile": f"{self.path}/docker.pid", "hosts": [f"unix://{self.path}/docker.sock"],
            "containerd": str(self.socket), "containerd-namespace": self.namespace,
            "containerd-plugins-namespace": f"{self.namespace}p", "shutdown-timeout": 5}))
        with open(self.path / "docker.log", "ab") as log:
            self.docker = watch.own(subprocess.Popen(
                ["dockerd", "--config-file", self.path / "daemon.json"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=self.environment, start_new_session=True))

        def answers():
            assert self.docker.poll() is None, self.docker_log[-2000:]
            return self.run_docker("version", status=None).returncode == 0
        watch.eventually(answers, 20, "dockerd's start")

    def end_docker(self, number=signal.SIGTERM):
        self.docker.send_signal(number)
        self.docker.wait(20)

    @property
    def docker_log(self):
        return (self.path / "docker.log").read_text(errors="replace")

    def docker_words(self, *args):
        return [self.client, "--host", f"unix://{self.path}/docker.sock", "--config", f"{self.path}/client",
                *map(str, args)]

    def popen_docker(self, *args, **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        return watch.own(subprocess.Popen(self.docker_words(*args), env=self.environment, **more))

    def run_docker(self, *args, status=0, input=None, timeout=30, text=True):
        process = self.popen_docker(*args, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL)
        try:
            out, err = process.communicate(input, timeout * watch.PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"docker {args} hangs\n{self.docker_log[-3000:]}") from None
        if text:
            out, err = out.decode(), err.decode()
        result = Result(process.args, process.returncode, out, err)
        assert status is None or result.returncode == status, repr(result)
        return result

    # What tests do

    def options(self, *more, runtime=None):
        """Of docker run."""
        return ("--runtime", runtime or self.runtime, "--network", "none", "--cgroup-parent",
                f"/{self.place.token}", *more)

    def once(self, *words, options=(), **more):
        """docker run --rm"""
        return self.run_docker("run", "--rm", *self.options(*options), IMAGE, *words, **more)

    def start_one(self, *words, options=()):
        return self.run_docker("run", "-d", *self.options(*options), IMAGE, *words).stdout.strip()

    def inspect(self, cid, what):
        return json.loads(self.run_docker("inspect", "-f", "{{json ." + what + "}}", cid).stdout)

    def remove_all(self):
        ids = self.run_docker("ps", "-aq").stdout.split()
        if ids:
            self.run_docker("rm", "-f", *ids)
        return self.run_docker("ps", "-aq").stdout.split()

    def close(self):
        left = []
        if self.docker.poll() is None:
            left = self.remove_all()
            self.end_docker()
        for line in watch.mounts():         # of the host's network; and data-root on itself
            point = line.split()[4]
            if point.startswith(f"{self.path}/exec/netns/") or point == f"{self.path}/data":
                subprocess.run(["umount", point], check=True)
        left += super().close()
        for path in DROPPED:
            if path not in self.before and os.path.exists(path):
                os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
        return left


@pytest.fixture(scope="module")
def daemon(shim_kind, driver, image, rootfs):
    for reason in (missing(), containerd.missing()):
        if reason:
            pytest.skip(reason)
    path = pathlib.Path(tempfile.mkdtemp(prefix="hvdocker", dir="/tmp"))
    made = Daemon(path, shim_kind, driver, image, rootfs)
    yield made
    left = made.close()
    shutil.rmtree(path)
    assert not left, f"left behind: {left}"


@pytest.fixture
def docker(daemon, place):
    daemon.place = place
    sizes = len(daemon.log), len(daemon.docker_log)
    yield daemon
    print(daemon.log[sizes[0]:][-6000:], daemon.docker_log[sizes[1]:][-6000:])
    left = daemon.remove_all()
    watch.eventually(lambda: not daemon.leftovers(), 5, f"end of {daemon.leftovers()}")
    watch.eventually(lambda: daemon.kind == "runc" or not shimclient.kept_in(daemon.state_root), 5,
                     "end of hvrun's state")
    for path in sorted(watch.cgroups(place.token), key=len, reverse=True):
        if path.endswith(place.token):
            os.rmdir(path)
    assert not left, f"left behind: {left}"


@pytest.fixture
def box(docker):
    return docker.start_one("sleep", "1000")


def test_run(docker):
    result = docker.once("sh", "-c", "echo out; echo err >&2; echo $FROM; exit 7", status=7)
    assert (result.stdout, result.stderr) == ("out\nimage\n", "err\n")


@pytest.mark.parametrize("word, status, text", [
    ("nonexistent", 127, "executable file not found"), ("/etc/passwd", 126, "permission denied")])
def test_bad_programs(docker, box, word, status, text):
    assert text in docker.once(word, status=status).stderr
    result = docker.run_docker("exec", box, word, status=None)      # Docker 20.10 has 126 for both
    assert text in result.stderr + result.stdout and result.returncode in (126, status)


def test_input(docker, box):
    data = os.urandom(2_000_000)
    assert docker.once("cat", options=("-i",), input=data, text=False).stdout == data
    assert docker.run_docker("exec", "-i", box, "cat", input=data, text=False).stdout == data
    assert docker.once("wc", "-c", options=("-i",), input=b"").stdout == "0\n"


def test_terminal(docker, box):
    class Runner:
        popen = staticmethod(lambda *args, **more: docker.popen_docker(*args, **more))
    for words in (("run", "--rm", "-it", *docker.options(), IMAGE), ("exec", "-it", box)):
        terminal = Terminal()
        terminal.size(31, 97)
        terminal.run(Runner, *words, "sh", "-c", f"tty; read x; {SIZE}; echo got $x; exit 6")
        terminal.expect(b"/dev/")
        terminal.type(b"word\r")
        assert terminal.wait(10) == 6
        assert b"31 97\r\n" in terminal.said and b"got word\r\n" in terminal.said
        terminal.close()


def test_exec(docker, box):
    result = docker.run_docker("exec", "-u", "1000", "-w", "/tmp", "-e", "A=b", box, "sh", "-c",
                               "id -u; pwd; echo $A; exit 5", status=5)
    assert result.stdout == "1000\n/tmp\nb\n"
    running = [docker.popen_docker("exec", box, "sh", "-c", f"echo {n}; exit {n}") for n in range(20)]
    for n, process in enumerate(running):
        assert process.communicate(timeout=20 * watch.PATIENCE)[0] == b"%d\n" % n
        assert process.returncode == n
    docker.run_docker("exec", "-d", box, "sh", "-c", "echo done >/tmp/done")
    watch.eventually(lambda: docker.run_docker("exec", box, "cat", "/tmp/done", status=None).stdout == "done\n")


def test_logs(docker):
    cid = docker.start_one("sh", "-c", "seq 1 5000; echo err >&2; exit 4")
    assert docker.run_docker("wait", cid).stdout == "4\n"
    result = docker.run_docker("logs", cid)
    assert result.stdout.split() == [str(n) for n in range(1, 5001)] and result.stderr == "err\n"
    assert (docker.inspect(cid, "State.Status"), docker.inspect(cid, "State.ExitCode")) == ("exited", 4)
    docker.run_docker("start", cid)
    assert docker.run_docker("wait", cid).stdout == "4\n"


def test_signals(docker):
    cid = docker.start_one("sh", "-c", "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo on; "
                           "while :; do sleep 0.02; done")
    watch.eventually(lambda: docker.run_docker("logs", cid).stdout == "on\n")
    docker.run_docker("kill", "-s", "USR1", cid)
    watch.eventually(lambda: docker.run_docker("logs", cid).stdout == "on\nusr1\n")
    docker.run_docker("stop", cid)
    assert docker.inspect(cid, "State.ExitCode") == 9
    docker.run_docker("restart", "-t", "1", cid)
    docker.run_docker("kill", cid)
    watch.eventually(lambda: docker.inspect(cid, "State.ExitCode") == 137)


def test_pause(docker, box):
    docker.run_docker("pause", box)
    assert docker.inspect(box, "State.Status") == "paused"
    assert "paused" in docker.run_docker("exec", box, "true", status=1).stderr
    docker.run_docker("unpause", box)
    assert docker.run_docker("exec", box, "echo", "on").stdout == "on\n"


def test_figures(docker, box):
    stats = json.loads(docker.run_docker("stats", "--no-stream", "--format", "{{json .}}", box).stdout)
    assert not stats["MemUsage"].startswith("0B") and int(stats["PIDs"]) >= 1
    assert "sleep" in docker.run_docker("top", box).stdout or docker.driver != "local"


def test_out_of_memory(docker):
    cid = docker.start_one("sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1; exit $?",
                           options=("--memory", "16m"))
    assert docker.run_docker("wait", cid).stdout == "137\n"
    watch.eventually(lambda: docker.inspect(cid, "State.OOMKilled"))


def test_volume(docker, place):
    (place.path / "data").mkdir()
    (place.path / "data/file").write_text("text\n")
    result = docker.once("sh", "-c", "cat /mnt/file; echo new >/mnt/new; hostname; test -s /etc/hosts",
                         options=("-v", f"{place.path}/data:/mnt", "--hostname", "named"))
    assert result.stdout == "text\nnamed\n"
    assert (place.path / "data/new").read_text() == "new\n"


def test_copy(docker, box, place):
    (place.path / "file").write_text("text\n")
    docker.run_docker("cp", place.path / "file", f"{box}:/tmp/file")
    assert docker.run_docker("exec", box, "cat", "/tmp/file").stdout == "text\n"
    docker.run_docker("exec", box, "sh", "-c", "echo new >/tmp/new")
    docker.run_docker("cp", f"{box}:/tmp/new", place.path / "new")
    assert (place.path / "new").read_text() == "new\n"


def test_network_of_the_host(docker):
    result = docker.run_docker("run", "--rm", "--runtime", docker.runtime, "--network", "host", "--cgroup-parent",
                               f"/{docker.place.token}", IMAGE, "sh", "-c", "ls /sys/class/net; hostname")
    if docker.driver == "local":
        assert set(result.stdout.split()) >= set(os.listdir("/sys/class/net"))


def test_docker_restarts(docker):
    """Killed, with containers that run on; one of them ends meanwhile."""
    runs = docker.start_one("sh", "-c", "n=0; while :; do echo $((n=n+1)); sleep 0.02; done")
    ends = docker.start_one("sh", "-c", "sleep 0.5; exit 5")
    docker.end_docker(signal.SIGKILL)
    time.sleep(0.7)
    docker.start_docker()
    assert docker.inspect(runs, "State.Running") is True
    assert docker.run_docker("exec", runs, "echo", "there").stdout == "there\n"
    watch.eventually(lambda: docker.inspect(ends, "State.Status") == "exited")
    assert docker.inspect(ends, "State.ExitCode") == 5
    docker.run_docker("stop", "-t", "0", runs)
    numbers = [int(word) for word in docker.run_docker("logs", runs).stdout.split()]
    if docker.kind != "runc":       # which loses what nobody reads
        assert numbers == list(range(1, len(numbers) + 1))


def test_shim_killed(docker, box):
    pid = docker.inspect(box, "State.Pid")
    shim = docker.shim_pid(box)
    socket = (docker.bundle(box) / "address").read_text().removeprefix("unix://")
    os.kill(shim, signal.SIGKILL)
    watch.eventually(lambda: docker.inspect(box, "State.Running") is False, 10)
    assert docker.inspect(box, "State.ExitCode") in (137, 255)
    watch.eventually(lambda: watch.stat(pid) is None)
    if docker.kind == "runc":
        os.unlink(socket)
    docker.run_docker("start", box)
    assert docker.run_docker("exec", box, "echo", "again").stdout == "again\n"


@ours("it has no commands of its own")
def test_hvruns_commands(docker, box, place):
    hv = docker.hvrun(place)
    hv.root = docker.state_root
    assert [entry["id"] for entry in hv.list()] == [box]
    assert hv.run("exec", box, "echo", "hi").stdout == "hi\n"


@ours("this is hvrun as a command")
def test_hvrun_as_docker_calls_runc(driver, image, rootfs, place):
    """With `path` in daemon.json, containerd's shim for runc calls hvrun."""
    for reason in (missing(), containerd.missing()):
        if reason:
            pytest.skip(reason)
    docker = Daemon(place.path, "runc", driver, image, rootfs)
    docker.place, docker.runtime = place, "oci"
    try:
        assert docker.once("sh", "-c", "echo hi; exit 3", status=3).stdout == "hi\n"
        box = docker.start_one("sh", "-c", "echo on; exec sleep 1000")
        assert docker.run_docker("exec", "-i", box, "cat", input=b"text").stdout == "text"
        assert docker.run_docker("exec", box, "sh", "-c", "exit 5", status=5)
        assert docker.run_docker("logs", box).stdout == "on\n"
        docker.run_docker("pause", box)
        docker.run_docker("unpause", box)
        docker.run_docker("stop", "-t", "0", box)
        assert docker.inspect(box, "State.ExitCode") == 137
    finally:
        print(docker.docker_log[-4000:], docker.log[-4000:])
        left = docker.close()
        for path in sorted(watch.cgroups(place.token), key=len, reverse=True):
            os.rmdir(path)
    assert not left, f"left behind: {left}"
