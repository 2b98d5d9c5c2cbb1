# SPDX-License-Identifier: Apache-2.0
"""A shim of containerd without containerd: its binary is started, asked over ttrpc and deleted as
containerd does, and its events are recorded.

The same tests run with containerd's own shim for runc (`--shim runc`), which shows that they ask for
what containerd's shims do. What hvrun's alone must do is marked.
"""

import hashlib
import importlib.util
import json
import os
import pathlib
import select
import shutil
import subprocess
import time

import container
import proto
import ttrpc
import watch
from hvrun import BUILD, HVAGENT, HVRUN, Hvrun, find
from ttrpc import EventServer, Refused

SHIMS = {"hvrun": find("containerd-shim-hvrun-v1"), "runc": "/usr/bin/containerd-shim-runc-v2"}
RUNTIMES = {"hvrun": "io.containerd.hvrun.v1", "runc": "io.containerd.runc.v2"}
SOCKETS = pathlib.Path("/run/containerd/s")
CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4
GROUP = "io.containerd.runc.v2.group"
PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"

TASK = """
State StateRequest StateResponse
Create CreateTaskRequest CreateTaskResponse
Start StartRequest StartResponse
Delete DeleteRequest DeleteResponse
Pids PidsRequest PidsResponse
Pause PauseRequest -
Resume ResumeRequest -
Checkpoint CheckpointTaskRequest -
Kill KillRequest -
Exec ExecProcessRequest -
ResizePty ResizePtyRequest -
CloseIO CloseIORequest -
Update UpdateTaskRequest -
Wait WaitRequest WaitResponse
Stats StatsRequest StatsResponse
Connect ConnectRequest ConnectResponse
Shutdown ShutdownRequest -
"""

SANDBOX = "\n".join(f"{name} {name}Request {name}Response"
                    for name in ("CreateSandbox", "StartSandbox", "Platform", "StopSandbox", "WaitSandbox",
                                 "SandboxStatus", "PingSandbox", "ShutdownSandbox", "SandboxMetrics"))


def task_service(client, version=2):
    return ttrpc.service(client, f"containerd.task.v{version}.Task", "task", TASK)


def sandbox_service(client):
    return ttrpc.service(client, "containerd.runtime.sandbox.v1.Sandbox", "sandbox", SANDBOX)


def missing(kind):
    """Why that shim cannot be tested here, or an empty text."""
    if kind == "runc" and not (os.access(SHIMS[kind], os.X_OK) and shutil.which("runc")):
        return "runc and its shim are not installed"
    if not importlib.util.find_spec("google") or not importlib.util.find_spec("google.protobuf"):
        return "no Python module google.protobuf"
    return "" if shutil.which("protoc") else "protoc is not installed"


def environment(kind, driver, folder):
    """What a shim gets from the containerd that starts it."""
    made = dict(os.environ, HVRUN_AGENT=HVAGENT,
                PATH=f"{os.path.dirname(SHIMS[kind])}:{os.path.dirname(HVRUN)}:{os.environ['PATH']}")
    if driver != "local":
        made.setdefault("HVRUN_GUEST", str(BUILD / "guest"))
        config = folder / "hvrun.json"
        config.write_text(json.dumps({"partition": driver}))
        made["HVRUN_CONFIG"] = str(config)
    return made


def state_root(namespace):
    """Of hvrun, so that its commands find what the shim has made."""
    return pathlib.Path("/run/containerd/hvrun") / namespace


def kept_in(root):
    """What there is of containers in hvrun's state."""
    expected = {"containers", "partitions", "lock", "kvm"}
    return [str(path) for path in root.rglob("*") if path.name not in expected]


def left_of(namespace):
    """Removes what a namespace leaves for the next container of the same; what should not be there."""
    root = state_root(namespace)
    left = kept_in(root)
    for path in (root, pathlib.Path("/run/containerd/runc") / namespace):
        shutil.rmtree(path, ignore_errors=True)
    return left


def remove_cgroups(namespace):
    """The parents that callers name and nobody removes; they are empty or stay."""
    for path in sorted(watch.cgroups(f"/{namespace}"), key=len, reverse=True):
        if path.endswith(f"/{namespace}"):
            try:
                os.rmdir(path)
            except OSError:
                pass


class Output:
    """A FIFO that is read as containerd does: opened before there is anybody to write."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path, 0o700)
        self.said = bytearray()
        self.open()

    def open(self):
        self.fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self.poll = select.poll()
        self.poll.register(self.fd, select.POLLIN)

    def read(self, seconds=0.0, size=1 << 20):
        """What there is, once; False at the end, when no writer is left."""
        events = self.poll.poll(max(0, seconds) * 1000)
        if not events:
            return True
        data = os.read(self.fd, size)
        self.said += data
        return bool(data)

    def all(self, timeout=10):
        deadline = time.monotonic() + timeout * watch.PATIENCE
        while self.read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, \
                f"no end of {self.path}: {len(self.said)} bytes, {bytes(self.said[-500:])!r}"
        return bytes(self.said)

    def expect(self, text, timeout=5):
        deadline = time.monotonic() + timeout * watch.PATIENCE
        while text not in self.said:
            assert self.read(deadline - time.monotonic()) and time.monotonic() < deadline, \
                f"no {text!r} in {bytes(self.said[-2000:])!r}"

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Stdio:
    """The FIFOs of a process; those that are not wanted are empty texts."""

    def __init__(self, folder, stdin=False, terminal=False, out=True, err=True):
        folder.mkdir(parents=True)
        self.terminal = terminal
        self.stdin = str(folder / "stdin") if stdin else ""
        if stdin:
            os.mkfifo(self.stdin, 0o700)
        self.out = Output(str(folder / "stdout")) if out else None
        self.err = Output(str(folder / "stderr")) if err and not terminal else None
        self.writer = -1

    def fields(self):
        """Of Create and Exec."""
        return {"terminal": self.terminal, "stdin": self.stdin,
                "stdout": self.out.path if self.out else "", "stderr": self.err.path if self.err else ""}

    def open_stdin(self, timeout=5):
        """The shim has it open for reading by then."""
        def attempt():
            try:
                self.writer = os.open(self.stdin, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                return False
            os.set_blocking(self.writer, True)
            return True
        watch.eventually(attempt, timeout, f"a reader of {self.stdin}")

    def write(self, data):
        if self.writer < 0:
            self.open_stdin()
        view = memoryview(data)
        while view:
            assert select.select([], [self.writer], [], 10 * watch.PATIENCE)[1], "nobody takes standard input"
            view = view[os.write(self.writer, view[:4096]):]

    def close_stdin(self):
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def close(self):
        self.close_stdin()
        for each in (self.out, self.err):
            if each:
                each.close()


class Process:
    """The init of a container, or an exec in it."""

    def __init__(self, box, exec_id, stdio):
        self.box = box
        self.exec_id = exec_id
        self.stdio = stdio
        self.pid = None

    @property
    def task(self):
        return self.box.connection

    def names(self):
        return {"id": self.box.id, "exec_id": self.exec_id}

    def start(self, timeout=20):
        self.pid = self.task.Start(**self.names(), timeout=timeout).pid
        return self

    def state(self):
        return self.task.State(**self.names())

    def status(self):
        return self.state().status

    def wait(self, timeout=10):
        return self.task.Wait(**self.names(), timeout=timeout).exit_status

    def kill(self, signal=9, **more):
        self.task.Kill(**self.names(), signal=signal, **more)

    def close_io(self):
        self.task.CloseIO(**self.names(), stdin=True)

    def resize(self, width, height):
        self.task.ResizePty(**self.names(), width=width, height=height)

    def delete(self, timeout=20):
        reply = self.task.Delete(**self.names(), timeout=timeout)
        if not self.exec_id:
            self.box.deleted = True
        return reply

    def result(self, timeout=20):
        """Status, standard output and error, at the end of it."""
        out = self.stdio.out.all(timeout) if self.stdio.out else b""
        err = self.stdio.err.all(timeout) if self.stdio.err else b""
        return self.wait(timeout), out, err

    def run(self, timeout=20):
        return self.start().result(timeout)


class Box(Process):
    """A container, with a connection of its own as containerd has one."""

    def __init__(self, host, cid, bundle, stdio):
        super().__init__(self, "", stdio)
        self.host = host
        self.id = cid
        self.bundle = bundle
        self.connection = None
        self.address = None
        self.created = self.deleted = False
        self.execs = []

    def connect(self, version=2):
        self.connection = self.host.connect(self.address, version)
        return self.connection

    def create(self, timeout=20, **fields):
        """With the rootfs mounted by the shim, as `ctr` and the CRI have it."""
        fields = {"rootfs": [self.host.rootfs_mount()], **self.stdio.fields(), **fields}
        self.pid = self.task.Create(id=self.id, bundle=str(self.bundle), timeout=timeout, **fields).pid
        self.created = True
        return self

    def add(self, *args, exec_id=None, stdin=False, terminal=False, stdio=None, process=None, **more):
        """Exec: a process that can be started."""
        name = exec_id or f"e{len(self.execs) + 1}"
        stdio = stdio or Stdio(self.host.folder(f"{self.id}-{name}"), stdin, terminal)
        process = process or container.config(*args, terminal=terminal, **more)["process"]
        made = Process(self, name, stdio)
        self.execs.append(made)
        self.task.Exec(id=self.id, exec_id=name, spec=proto.any_of(PROCESS, json.dumps(process).encode()),
                       **stdio.fields())
        return made

    def execute(self, *args, timeout=20, **more):
        """Exec to its end: status, standard output and error."""
        made = self.add(*args, **more)
        result = made.run(timeout)
        made.delete()
        made.stdio.close()
        return result

    def sh(self, script, **more):
        return self.execute("sh", "-c", script, **more)

    def end(self):
        """By force, whatever state it is in; the shim goes too if it was the last one."""
        if self.created and not self.deleted:
            for what in (self.kill, self.wait, self.delete):
                try:
                    what()
                except Refused:
                    pass
        self.shutdown()

    def shutdown(self):
        """Not refused, and the end of the shim unless it has other containers."""
        try:
            self.task.Shutdown(id=self.id)
        except (ttrpc.Closed, BrokenPipeError):
            pass

    def close(self):
        for each in (self, *self.execs):
            each.stdio.close()
        if self.connection:
            self.connection.client.close()


class Host:
    """containerd's place: bundles, addresses, events and logs of the shims of one test.

    With `shared`, everything goes into the VM of another one, as containers of a pod do."""

    def __init__(self, place, kind, driver, rootfs, shared=None):
        self.place = place
        self.kind = kind
        self.driver = driver
        self.rootfs = rootfs
        self.shared = shared
        self.namespace = shared.namespace if shared else f"{place.token}-ns"
        self.grpc = shared.grpc if shared else str(place.path / "c.sock")
        self.server = shared.server if shared else EventServer(place.path / "c.sock.ttrpc")
        self.environment = shared.environment if shared else environment(kind, driver, place.path)
        self.annotations = {GROUP: shared.group} if shared else {}
        self.files = set(self.state_root.rglob("*")) if shared else set()
        self.silent = len(self.server.log)
        self.boxes = []
        self.logs = []
        self.folders = 0

    @property
    def state_root(self):
        return state_root(self.namespace)

    @property
    def is_runc(self):
        return self.kind == "runc"

    def codes(self, code):
        """What a refusal may carry: runc's shim often has no code for it."""
        return (code, ttrpc.UNKNOWN) if self.is_runc else (code,)

    def folder(self, name):
        self.folders += 1
        return self.place.path / "fifo" / f"{self.folders}-{name}"

    def rootfs_mount(self):
        return proto.load("task").Mount(type="bind", source=str(self.rootfs), options=["rbind", "rw"])

    def bundle(self, spec, cid):
        """As containerd makes it: config.json, an empty rootfs and the FIFO of the log."""
        path = self.place.path / "tasks" / self.namespace / cid
        path.mkdir(parents=True)
        (path / "rootfs").mkdir(mode=0o711)
        if spec is not None:
            container.write_bundle(path, spec)
        return path

    def make_log(self, bundle, keep_reading=True):
        os.mkfifo(bundle / "log", 0o700)
        fd = os.open(bundle / "log", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.logs.append((bundle, fd, keep_reading))
        if keep_reading:
            self.server.drain(fd)
        return fd

    def words(self, cid, *words):
        return [SHIMS[self.kind], "-namespace", self.namespace, "-address", self.grpc, "-publish-binary",
                "/bin/false", "-id", cid, *map(str, words)]

    def close_log(self, bundle):
        """Nobody has it open any more."""
        for entry in [entry for entry in self.logs if entry[0] == bundle]:
            self.logs.remove(entry)
            os.close(entry[1])

    def call(self, bundle, cid, *words, input=b"", together=True, env=None, timeout=10):
        """The shim's binary to its end. Standard error goes where standard output does for start."""
        process = watch.own(subprocess.Popen(
            self.words(cid, *words), cwd=bundle, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if together else subprocess.PIPE,
            env={**self.environment, "TTRPC_ADDRESS": self.server.path, **(env or {})}, process_group=0))
        deadline = time.monotonic() + timeout * watch.PATIENCE
        while True:
            try:
                out, err = process.communicate(input, 0.02)
                break
            except subprocess.TimeoutExpired:
                input = None
                watch.reap()            # which who kills may wait for
                if time.monotonic() > deadline:
                    process.kill()
                    process.communicate()
                    raise AssertionError(f"{words} hangs, or leaves its pipes open") from None
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start_shim(self, bundle, cid, *words, input=b"", env=None):
        """The address that `start` prints."""
        result = self.call(bundle, cid, *words, "start", input=input, env=env)
        assert result.returncode == 0, result
        text = result.stdout.decode().strip()
        address = json.loads(text)["address"] if text.startswith("{") else text
        assert ttrpc.unix_path(address)
        return address

    def bootstrap(self, cid, *options):
        """What containerd 2.3 and later write to the standard input of `start`."""
        messages = proto.load("shim")
        return messages.BootstrapParams(
            instance_id=cid, namespace=self.namespace, containerd_version="2.3.4",
            containerd_ttrpc_address=self.server.path, containerd_grpc_address=self.grpc,
            containerd_binary="/bin/false",
            extensions=[messages.Extension(value=option) for option in options]).SerializeToString()

    def start_sandbox(self, cid, *options):
        """A shim of version 3 in a bundle without config.json: a box for its sandbox."""
        box = self.make_stopped(None, cid, out=False, err=False)
        self.make_log(box.bundle)
        result = self.call(box.bundle, box.id, "start", input=self.bootstrap(box.id, *options))
        assert result.returncode == 0, result
        said = proto.load("shim").BootstrapResult.FromString(result.stdout)
        assert (said.version, said.protocol) == (3, "ttrpc"), said
        box.address = said.address
        box.connect(3)
        return box

    def connect(self, address, version=2):
        return task_service(ttrpc.Client(address, self.namespace), version)

    def make_stopped(self, spec, cid=None, stdio=None, annotations=None, **io):
        """A container that has its bundle and FIFOs, and no shim."""
        cid = cid or f"{self.place.token}-c{len(self.boxes) + 1}"
        if spec is not None:
            spec.setdefault("annotations", {}).update(self.annotations, **(annotations or {}))
            spec["linux"].setdefault("cgroupsPath", f"/{self.namespace}/{cid}")
        box = Box(self, cid, self.bundle(spec, cid), stdio or Stdio(self.folder(cid), **io))
        self.boxes.append(box)
        return box

    def make(self, spec, cid=None, words=(), input=b"", **more):
        """A container whose shim runs, but that is not yet created."""
        box = self.make_stopped(spec, cid, **more)
        self.make_log(box.bundle)
        box.address = self.start_shim(box.bundle, box.id, *words, input=input)
        box.connect()
        return box

    def create(self, spec, cid=None, **io):
        return self.make(spec, cid, **io).create()

    def run(self, *args, timeout=20, **io):
        """A container to its end: status, output and error."""
        box = self.create(container.config(*args), **io)
        result = box.run(timeout)
        box.delete()
        return result

    def sh(self, script, **io):
        """A container that runs a script, started."""
        return self.create(container.sh(script), **io).start()

    def sleeper(self, **io):
        return self.create(container.config("sleep", "1000"), **io).start()

    def delete(self, box):
        """The action `delete`, as containerd calls it when the shim is gone; its DeleteResponse."""
        began = time.monotonic()
        result = self.call(box.bundle, box.id, "-bundle", box.bundle, "delete", together=False)
        assert result.returncode == 0 and time.monotonic() - began < 5 * watch.PATIENCE, result
        if not self.is_runc:
            assert not result.stderr, result
        return proto.load("task").DeleteResponse.FromString(result.stdout)

    def shim_pid(self, box):
        return box.connection.Connect(id=box.id).shim_pid

    def hvrun(self):
        """hvrun's command line with the root of this namespace."""
        commands = Hvrun(self.place, self.driver)
        commands.root = state_root(self.namespace)
        commands.environment = self.environment
        return commands

    def close(self):
        """Ends everything; what is left that should not be."""
        left = []
        for box in self.boxes:
            try:
                if box.connection:
                    box.end()
            except (OSError, AssertionError) as error:
                left.append(f"{box.id}: {error!r}")
            box.close()
        sockets = {ttrpc.unix_path(box.address) for box in self.boxes if box.address}
        if not self.shared:
            try:
                watch.eventually(lambda: not any(map(os.path.exists, sockets)), 3)
            except TimeoutError:
                for path in filter(os.path.exists, sockets):
                    os.unlink(path)
                    left += [path] if not self.is_runc else []
            try:
                watch.eventually(lambda: not watch.adopted(), 3)        # events are taken to the end
            except TimeoutError:
                pass        # found out by the place
            self.server.stop()
            left += left_of(self.namespace) + self.server.problems
            remove_cgroups(self.namespace)
        else:
            watch.eventually(lambda: set(self.state_root.rglob("*")) <= self.files, 3, "end of its containers")
        for _, fd, is_read in self.logs:
            if self.shared and is_read:
                self.server.forget(fd)
            os.close(fd)
        return left


class SharedHost(Host):
    """One with a VM that tests put their containers into, as those of a pod."""

    def __init__(self, place, kind, driver, rootfs):
        super().__init__(place, kind, driver, rootfs)
        self.group = None

    def usable(self):
        try:
            return self.group and self.boxes[-1].status() == RUNNING
        except (OSError, AssertionError):
            return False

    def start_vm(self):
        """Also another one, when the last has been lost."""
        if self.group:
            self.stop_vm()
        self.group = f"{self.place.token}-base{len(self.boxes)}"
        self.make(container.config("sleep", "100000"), self.group).create(timeout=60).start()
        watch.keep(watch.adopted(), "shim")

    def stop_vm(self):
        """What is left of it."""
        watch.keep([], "shim")
        return self.close() if self.group else []


def socket_of(grpc, namespace, key):
    """Where the socket of that group must be."""
    text = "/".join(part for part in (grpc, namespace, key) if part)
    return SOCKETS / hashlib.sha256(text.encode()).hexdigest()
