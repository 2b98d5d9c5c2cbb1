# SPDX-License-Identifier: Apache-2.0
"""containerd-shim-hvrun-v1 as a program: what containerd passes to it, reads from it and finds in the
bundle. What it answers over its socket is in test_task_api.py."""

import concurrent.futures
import fcntl
import hashlib
import json
import os
import pathlib
import signal
import socket
import stat
import struct
import subprocess
import time

import pytest

import container
import watch
from hvrun import HVAGENT, find

SHIM = find("containerd-shim-hvrun-v1")
SOCKETS = pathlib.Path("/run/containerd/s")
STATE = pathlib.Path("/run/containerd/hvrun")
RUNC_OPTIONS = "containerd.runc.v1.Options"
FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features"
CRI_SANDBOX = "io.kubernetes.cri.sandbox-id"


def varint(number):
    number &= (1 << 64) - 1
    text = b""
    while number > 127:
        text += bytes([number & 127 | 128])
        number >>= 7
    return text + bytes([number])


def field(number, value):
    """One field of a message: bytes and str are length-delimited, numbers are varints."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def decode(data):
    """[(number, value), ...] of a message."""
    found, at = [], 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(data):
        tag = number()
        assert tag & 7 in (0, 2), tag
        value = number()
        if tag & 7 == 2:
            assert at + value <= len(data)
            value, at = data[at:at + value], at + value
        found.append((tag >> 3, value))
    return found


def any_message(url, value=b""):
    return field(1, url) + field(2, value)


class Shims:
    """containerd's side: bundles, and the program run as containerd runs it."""

    def __init__(self, place):
        self.place = place
        self.namespace = place.token
        self.grpc = str(place.path / "containerd.sock")
        self.environment = {"PATH": os.environ["PATH"], "HVRUN_AGENT": HVAGENT,
                            "TTRPC_ADDRESS": f"{self.grpc}.ttrpc"}
        self.environment |= {name: value for name, value in os.environ.items() if name.endswith("SAN_OPTIONS")}
        self.bundles = []
        self.readers = []

    def bundle(self, name="b", config={}, log=True):
        path = self.place.path / name
        path.mkdir()
        (path / "rootfs").mkdir()
        if config is not None:
            (path / "config.json").write_text(json.dumps(config) if isinstance(config, dict) else config)
        if log:
            os.mkfifo(path / "log", 0o700)
            self.readers.append(os.open(path / "log", os.O_RDWR | os.O_NONBLOCK))
        self.bundles.append(path)
        return path

    def words(self, action, cid, *flags):
        return [SHIM, "-namespace", self.namespace, "-address", self.grpc, "-publish-binary",
                "/bin/true", "-id", cid, *flags, action]

    def run(self, words, data=None, timeout=20, status=0, environment={}, **more):
        """stdout, stderr."""
        process = watch.own(subprocess.Popen(
            words, stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=more.pop("stdout", subprocess.PIPE), stderr=more.pop("stderr", subprocess.PIPE),
            env=self.environment | environment, **more))
        out, err = process.communicate(data, timeout)
        if status is not None:
            assert process.returncode == status, (out, err)
        return out, err

    def start(self, cid="c1", bundle=None, data=None, flags=(), environment={}):
        """As containerd reads it: both outputs on one pipe, to its end."""
        bundle = bundle or self.bundles[-1]
        out, _ = self.run(self.words("start", cid, *flags), data, stderr=subprocess.STDOUT, cwd=bundle,
                          environment=environment)
        return out

    def refused(self, words, data=None, environment={}, **more):
        """The one line that a failure is."""
        out, err = self.run(words, data, status=1, environment=environment, **more)
        assert out == b"", (out, err)
        assert err.startswith(b"containerd-shim-hvrun-v1: ") and err.endswith(b"\n"), err
        assert err.count(b"\n") == 1 and len(err) < 400, err
        return err.decode().partition(": ")[2].rstrip()

    def delete(self, cid="c1", bundle=None, flags=("-bundle", None), cwd=None):
        """Its answer, checked, and how long it took."""
        bundle = bundle or self.bundles[-1]
        flags = [str(bundle) if flag is None else flag for flag in flags]
        begin, now = time.monotonic(), time.time()
        out, err = self.run(self.words("delete", cid, *flags), cwd=cwd or bundle)
        took = time.monotonic() - begin
        assert err == b""
        answer = dict(decode(out))
        assert answer[2] == 137
        at = dict(decode(answer[3]))
        assert abs(at[1] + at.get(2, 0) / 1e9 - now) < 6
        assert took < 5
        return took

    def path(self, key="c1", directory=SOCKETS):
        name = hashlib.sha256(f"{self.grpc}/{self.namespace}/{key}".encode()).hexdigest()
        return directory / name

    def address(self, key="c1"):
        return f"unix://{self.path(key)}".encode()

    def clean(self):
        """What is left when every container was deleted."""
        left = []
        for path in self.bundles:
            if path.exists():
                self.delete("c1" if path.name == "b" else path.name, path)
        state = STATE / self.namespace
        for name in ("containers", "partitions"):
            if (state / name).exists():
                left += list((state / name).iterdir())
                (state / name).rmdir() if not left else None
        if state.exists() and not left:
            for path in state.iterdir():
                path.unlink()
            state.rmdir()
        for reader in self.readers:
            os.close(reader)
        return left


@pytest.fixture
def shims(place):
    if not os.access(SHIM, os.X_OK):
        pytest.fail(f"{SHIM} is not built (HVRUN_BUILD)")
    made = Shims(place)
    yield made
    for reader in made.readers:
        try:
            print(os.read(reader, 8000).decode(errors="replace"))
        except BlockingIOError:
            pass
    left = made.clean()
    assert not left, f"left behind: {left}"


def daemon(bundle):
    """The pid, which its owner holds locked."""
    pid = int((bundle / "shim.pid").read_text())
    with open(bundle / "shim.pid", "r+") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return pid


def connects(path):
    with socket.socket(socket.AF_UNIX) as each:
        try:
            each.connect(str(path))
            return True
        except OSError:
            return False


# start: the answer


def test_start(shims):
    bundle = shims.bundle()
    assert shims.start() == shims.address()
    assert (bundle / "address").read_bytes() == shims.address()
    assert connects(shims.path())
    assert stat.S_IMODE(os.stat(shims.path()).st_mode) == 0o600
    assert not os.stat(SOCKETS).st_mode & 0o077
    assert watch.alive(daemon(bundle))
    shims.delete()
    assert not shims.path().exists()


@pytest.mark.parametrize("data", [b"", any_message(RUNC_OPTIONS), any_message("some.body.Options", b"\xff\x00"),
                                  field(1, "c1") + field(2, "elsewhere") + field(3, -4)],
                         ids=["nothing", "options", "unknown", "parameters of another"])
@pytest.mark.parametrize("environment, answer", [
    ({}, "{}"),
    ({"GRPC_ADDRESS": "/run/x"}, "{}"),
    ({"MAX_SHIM_VERSION": "2"}, "{}"),
    ({"GRPC_ADDRESS": "", "MAX_SHIM_VERSION": "2"}, '{{"version":2,"address":"{}","protocol":"ttrpc"}}'),
], ids=["1.6", "half", "other half", "1.7"])
def test_answer(shims, data, environment, answer):
    shims.bundle()
    expected = answer.format(shims.address().decode()).encode()
    assert shims.start(data=data, environment=environment) == expected


@pytest.mark.parametrize("environment", [{}, {"GRPC_ADDRESS": "x", "MAX_SHIM_VERSION": "2"}],
                         ids=["alone", "as it is"])
@pytest.mark.parametrize("own_directory", [False, True], ids=["default", "directory"])
def test_bootstrap_parameters(shims, environment, own_directory):
    bundle = shims.bundle()
    directory = shims.place.path / "s" if own_directory else SOCKETS
    path = shims.path(directory=directory)
    data = (field(1, "c1") + field(2, shims.namespace) + field(3, -4) + field(4, "2.3.1") + field(6, shims.grpc) +
            field(8, field(1, any_message(RUNC_OPTIONS))) + (field(9, str(directory)) if own_directory else b""))
    out = shims.start(data=data, environment=environment)
    assert decode(out) == [(1, 3), (2, b"unix://" + str(path).encode()), (3, b"ttrpc")]
    assert (bundle / "address").read_text() == f"unix://{path}"
    assert connects(path)
    # It is removed from where it is.
    shims.delete()
    assert not path.exists()


def test_without_configuration(shims):
    """A sandbox that is none of the containers."""
    shims.bundle(config=None)
    assert shims.start() == shims.address()


def test_without_log(shims):
    bundle = shims.bundle(log=False)
    assert shims.start() == shims.address()
    shims.delete()
    assert not (bundle / "log").exists()


def test_without_address(shims):
    """CRI-O has no event service."""
    shims.bundle()
    words = shims.words("start", "c1")
    words[words.index("-address") + 1] = ""
    out, err = shims.run(words, cwd=shims.bundles[-1], environment={"TTRPC_ADDRESS": ""})
    name = hashlib.sha256(f"{shims.namespace}/c1".encode()).hexdigest()
    assert (out, err) == (f"unix:///run/containerd/s/{name}".encode(), b"")


@pytest.mark.parametrize("style", ["-{}={}", "--{}={}"])
def test_flags(shims, style):
    shims.bundle()
    flags = [style.format(name, value) for name, value in
             (("namespace", shims.namespace), ("address", shims.grpc), ("id", "c1"), ("debug", "true"))]
    out, err = shims.run([SHIM, *flags, "start", "-id", "other"], cwd=shims.bundles[-1])
    assert (out, err) == (shims.address(), b"")


# start: failures


@pytest.mark.parametrize("words, line", [
    ([], "an action is missing: start or delete"),
    (["-namespace", "n", "-id", "c", "stop"], 'unknown action "stop"'),
    (["-id", "c", "start"], "-namespace is required"),
    (["-namespace", "n", "delete"], "-id is required"),
    (["-namespace", "n", "-id", "../c", "start"], '-id "../c": is not 1 to 200 letters, digits and _+.-'),
    (["-bogus", "start"], "flag provided but not defined: -bogus"),
    (["-id"], "flag needs an argument: -id"),
])
def test_wrong_words(shims, words, line):
    assert shims.refused([SHIM, *words], cwd=shims.place.path) == line
    assert os.listdir(shims.place.path) == []


def test_wrong_input(shims):
    bundle = shims.bundle()
    before = sorted(os.listdir(bundle))
    params = field(1, "c1") + field(2, shims.namespace)
    for data, config, line in (
            (b"garbage", {}, "standard input: 7 bytes that are no message of containerd's"),
            (b"\0" * (10 * 1024 * 1024 + 1), {}, "standard input: more than 10485760 bytes"),
            (any_message(RUNC_OPTIONS, b"\xff"), {}, f"runtime options: {RUNC_OPTIONS}: "),
            (any_message(RUNC_OPTIONS, field(7, "not/absolute")), {}, 'runtime options: root "not/abs'),
            (any_message(RUNC_OPTIONS, field(3, "/no/such/cgroup/here")), {}, 'cgroup of the shim "/no/such/'),
            (params + field(9, "/" + 42 * "x"), {}, "directory for sockets "),
            (None, "{", "config.json: line 1"),
            (None, {"annotations": {CRI_SANDBOX: "../x"}}, f"annotation {CRI_SANDBOX}: \"../x\" is no id"),
            (None, {"annotations": 7}, "config.json: annotations: ")):
        (bundle / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        assert shims.refused(shims.words("start", "c1"), data, cwd=bundle).startswith(line)
        assert sorted(os.listdir(bundle)) == before, line
        assert not shims.path().exists(), line


def test_configuration_of_the_environment(shims):
    """It counts where the runtime options name none."""
    shims.bundle()
    wrong = {"HVRUN_CONFIG": "/no/such/configuration"}
    line = shims.refused(shims.words("start", "c1"), cwd=shims.bundles[-1], environment=wrong)
    assert line == "/no/such/configuration: no such file or directory"
    right = shims.place.path / "hvrun.json"
    right.write_text("{}")
    data = any_message("runtimeoptions.v1.Options", field(2, str(right)))
    assert shims.start(data=data, environment=wrong).startswith(b"unix://")
    shims.delete()


def test_nobody_reads_the_answer(shims):
    """A daemon that nobody knows of does not stay."""
    bundle = shims.bundle()
    reader, writer = os.pipe()
    os.close(reader)
    try:
        _, err = shims.run(shims.words("start", "c1"), stdout=writer, cwd=bundle, status=1)
    finally:
        os.close(writer)
    assert err == b"containerd-shim-hvrun-v1: standard output: broken pipe\n"
    watch.eventually(lambda: not watch.adopted(), 5)
    assert sorted(os.listdir(bundle)) == ["config.json", "log", "rootfs"]
    assert not shims.path().exists()


def test_socket_in_the_way(shims):
    shims.bundle()
    SOCKETS.mkdir(mode=0o700, parents=True, exist_ok=True)
    shims.path().write_text("")
    try:
        assert "address already in use" in shims.refused(shims.words("start", "c1"), cwd=shims.bundles[-1])
        assert shims.path().exists()
    finally:
        shims.path().unlink()


def test_bundle_of_another(shims):
    """The same bundle, but another containerd."""
    bundle = shims.bundle()
    shims.start()
    pid = daemon(bundle)
    words = shims.words("start", "c1")
    words[words.index("-address") + 1] += "x"
    assert shims.refused(words, cwd=bundle) == "another shim serves this bundle already"
    assert daemon(bundle) == pid
    assert (bundle / "address").read_bytes() == shims.address()


# start: the daemon


def test_daemon(shims):
    """Nothing of the caller's stays with it, and people see whose it is."""
    bundle = shims.bundle()
    ours, theirs = os.pipe()
    words = shims.words("start", "c1")
    mask = {signal.SIGTERM, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, mask)
    try:
        process = watch.own(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                             stderr=subprocess.STDOUT, pass_fds=[theirs], cwd=bundle,
                                             env=shims.environment | {"GOMAXPROCS": "2"}))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mask)
    os.close(theirs)
    assert process.communicate(timeout=20)[0] == shims.address()
    pid = daemon(bundle)
    proc = pathlib.Path(f"/proc/{pid}")
    assert os.read(ours, 1) == b""              # all ends for writing are closed
    os.close(ours)
    line = (proc / "cmdline").read_bytes().split(b"\0")[:-1]
    assert line == [word.encode() for word in words]
    assert os.getsid(pid) == pid
    assert os.readlink(proc / "cwd") == str(bundle)
    own = int(pathlib.Path("/proc/self/oom_score_adj").read_text())
    assert int((proc / "oom_score_adj").read_text()) == min(own + 1, 1000)
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    ignored, blocked = int(status["SigIgn"], 16), int(status["SigBlk"], 16)
    assert ignored >> (signal.SIGPIPE - 1) & 1
    handled = blocked | int(status["SigCgt"], 16)
    assert handled >> (signal.SIGTERM - 1) & 1 and not ignored >> (signal.SIGTERM - 1) & 1
    targets = [os.readlink(proc / "fd" / name) for name in ("0", "1", "2")]
    assert all(target == "/dev/null" or target.endswith("/log") for target in targets), targets


def test_terminated(shims):
    bundle = shims.bundle()
    shims.start()
    pid = daemon(bundle)
    os.kill(pid, signal.SIGTERM)
    watch.exit_status(pid, 10)
    assert not shims.path().exists()
    partitions = STATE / shims.namespace / "partitions"
    assert not partitions.exists() or not list(partitions.iterdir())


def test_cgroup(shims):
    """Where the options put it."""
    bundle = shims.bundle()
    hierarchies = [line.split()[4] for line in watch.mounts() if " - cgroup" in line]
    name = f"/{shims.place.token}-shims"
    made = []
    for each in hierarchies:
        try:
            os.mkdir(each + name)
            made.append(each + name)
            if os.path.exists(each + "/cpuset.cpus") and os.path.exists(each + "/cpuset.mems"):
                for file in ("cpuset.cpus", "cpuset.mems"):
                    pathlib.Path(each + name, file).write_text(pathlib.Path(each, file).read_text())
        except FileExistsError:
            pass                # mounted twice
        except OSError:
            os.rmdir(made.pop())
    if not made:
        pytest.skip("no cgroups can be made here")
    try:
        shims.start(data=any_message(RUNC_OPTIONS, field(3, name)))
        inside = pathlib.Path(f"/proc/{daemon(bundle)}/cgroup").read_text()
        assert any(line.endswith(f":{name}") for line in inside.splitlines()), inside
        shims.delete()
        watch.eventually(lambda: not watch.adopted(), 5)
    finally:
        for path in made:
            os.rmdir(path)


def test_core_scheduling(shims):
    """Done, or refused where it cannot be done."""
    bundle = shims.bundle()
    words = shims.words("start", "c1")
    out, err = shims.run(words, cwd=bundle, environment={"SCHED_CORE": "1"}, status=None)
    if out:
        assert (out, err) == (shims.address(), b"")
    else:
        assert err == b"containerd-shim-hvrun-v1: core scheduling: invalid argument\n"
        assert not shims.path().exists()


# start: groups


def test_again(shims):
    """The same answer, in whatever form it is asked for, and the same daemon."""
    bundle = shims.bundle()
    assert shims.start() == shims.address()
    pid = daemon(bundle)
    assert shims.start() == shims.address()
    assert b'"version":2' in shims.start(environment={"GRPC_ADDRESS": "", "MAX_SHIM_VERSION": "2"})
    out = shims.start(data=field(1, "c1") + field(2, shims.namespace))
    assert decode(out) == [(1, 3), (2, shims.address()), (3, b"ttrpc")]
    assert daemon(bundle) == pid
    assert len(watch.adopted()) == 1


@pytest.mark.parametrize("annotation", [CRI_SANDBOX, "io.kubernetes.cri-o.SandboxID", "io.containerd.runc.v2.group"])
def test_group(shims, annotation):
    config = {"annotations": {annotation: "pod1"}}
    first, second = shims.bundle("pod1", config), shims.bundle("c2", config)
    assert shims.start("pod1", first) == shims.address("pod1")
    pid = daemon(first)
    assert shims.start("c2", second) == shims.address("pod1")
    assert (second / "address").read_bytes() == shims.address("pod1")
    assert not (second / "shim.pid").exists()
    shims.delete("c2", second)
    assert daemon(first) == pid and connects(shims.path("pod1"))
    shims.delete("pod1", first)
    assert not watch.alive(pid) and not shims.path("pod1").exists()


def test_group_of_its_own_choice(shims):
    config = {"annotations": {CRI_SANDBOX: "pod1", "io.containerd.runc.v2.group": "g"}}
    shims.bundle("c1", config)
    assert shims.start() == shims.address("g")


def test_all_at_once(shims):
    """Several members, nobody first, on the socket of a shim that was killed: one daemon."""
    config = {"annotations": {CRI_SANDBOX: "pod"}}
    dead = shims.bundle("pod", config)
    shims.start("pod", dead)
    os.kill(daemon(dead), signal.SIGKILL)
    watch.eventually(lambda: not watch.adopted(), 5)
    assert shims.path("pod").exists()
    bundles = [shims.bundle(f"m{i}", config) for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: shims.start(path.name, path), bundles))
    assert set(answers) == {shims.address("pod")}
    served = [path for path in bundles if (path / "shim.pid").exists()]
    assert len(served) == 1
    assert len([pid for pid in watch.adopted() if pid == daemon(served[0])]) == 1
    assert connects(shims.path("pod"))


def test_stale_socket(shims):
    bundle = shims.bundle()
    shims.start()
    pid = daemon(bundle)
    os.kill(pid, signal.SIGKILL)
    watch.eventually(lambda: not watch.adopted(), 5)
    assert shims.path().exists() and not connects(shims.path())
    assert shims.start() == shims.address()
    assert daemon(bundle) != pid
    assert connects(shims.path())


# delete


def test_delete_nothing(shims):
    """Whatever is missing is deleted already."""
    empty = shims.place.path / "empty"
    empty.mkdir()
    missing = shims.place.path / "missing"
    shims.delete("c1", empty)
    shims.delete("c1", empty)
    shims.delete("c1", missing, cwd=empty)
    shims.delete("c1", empty, flags=())
    shims.delete("c1", empty, flags=("-debug", "-bundle", None))
    assert os.listdir(empty) == []
    assert not (STATE / shims.namespace).exists()


@pytest.mark.parametrize("missing", ["config.json", "address", "shim.pid", "state", "log", "rootfs"])
def test_delete_partly_removed(shims, missing):
    bundle = shims.bundle()
    shims.start()
    pid = daemon(bundle)
    path = bundle / missing
    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    shims.delete()
    if missing == "shim.pid":
        os.kill(pid, signal.SIGKILL)    # nobody can know of it
    watch.eventually(lambda: not watch.adopted(), 5)


def test_delete_twice(shims):
    bundle = shims.bundle()
    shims.start()
    pid = daemon(bundle)
    shims.delete()
    assert not watch.alive(pid)
    assert not shims.path().exists() and not (bundle / "shim.pid").exists()
    shims.delete()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_delete_after(shims, how):
    """A shim that was killed, and one that does not answer."""
    bundle = shims.bundle()
    shims.start()
    pid = daemon(bundle)
    os.kill(pid, how)
    shims.delete()
    watch.eventually(lambda: not watch.alive(pid), 2)
    watch.eventually(lambda: not watch.adopted(), 5)
    assert not shims.path().exists()


def test_delete_with_a_root_of_its_own(shims):
    bundle = shims.bundle()
    root = shims.place.path / "r"
    shims.start(data=any_message(RUNC_OPTIONS, field(7, str(root))))
    assert os.readlink(bundle / "state") == f"{root}/{shims.namespace}"
    pid = daemon(bundle)
    os.kill(pid, signal.SIGKILL)
    watch.exit_status(pid)
    shims.delete()
    partitions = root / shims.namespace / "partitions"
    assert not partitions.exists() or not list(partitions.iterdir())
    assert not (STATE / shims.namespace).exists()


def test_delete_spares_who_has_the_number(shims):
    """The pid of a shim that has ended may be anybody's."""
    bundle = shims.bundle()
    other = watch.own(subprocess.Popen(["sleep", "60"]))
    try:
        (bundle / "shim.pid").write_text(str(other.pid))
        shims.delete()
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_delete_unmounts(shims):
    bundle = shims.bundle()
    rootfs = bundle / "rootfs"
    for _ in range(2):
        subprocess.run(["mount", "-t", "tmpfs", "x", rootfs], check=True)
    (rootfs / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "y", rootfs / "below"], check=True)
    busy = os.open(rootfs / "below", os.O_RDONLY)
    try:
        shims.delete()
        assert not [line for line in watch.mounts() if str(bundle) in line]
    finally:
        os.close(busy)


# delete, with containers


def call(path, method, payload):
    """One call of the task service, answered without an error."""
    request = field(1, "containerd.task.v2.Task") + field(2, method) + field(3, payload)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20 * watch.PATIENCE)
        connection.connect(str(path))
        connection.sendall(struct.pack(">IIBB", len(request), 1, 1, 0) + request)
        answer = connection.makefile("rb")
        size, _, kind, _ = struct.unpack(">IIBB", answer.read(10))
        response = dict(decode(answer.read(size)))
    assert kind == 2 and 1 not in response, response
    return response.get(2, b"")


class Pod:
    """Containers of one shim that sleep, the first one's name being the group's."""

    def __init__(self, shims, rootfs, *names):
        self.shims = shims
        self.token = shims.place.token
        self.group = f"{self.token}-{names[0]}"
        self.bundles = {}
        for name in names:
            cid = f"{self.token}-{name}"
            spec = container.config("sleep", "1000", rootfs=str(rootfs))
            spec["linux"]["cgroupsPath"] = f"/{self.token}/{name}"
            spec.setdefault("annotations", {})[CRI_SANDBOX] = self.group
            bundle = shims.bundle(cid, spec)
            self.bundles[name] = bundle
            assert shims.start(cid, bundle) == shims.address(self.group)
            call(self.path, "Create", field(1, cid) + field(2, str(bundle)))
            call(self.path, "Start", field(1, cid))
        self.shim = daemon(self.bundles[names[0]])

    @property
    def path(self):
        return self.shims.path(self.group)

    def delete(self, name):
        return self.shims.delete(f"{self.token}-{name}", self.bundles[name])

    def processes(self, name):
        """Of the container, as far as its cgroups tell."""
        found = set()
        for path in watch.cgroups(f"{self.token}/{name}"):
            if path.endswith(f"/{name}"):
                found |= set(pathlib.Path(path, "cgroup.procs").read_text().split())
        return found

    def records(self):
        folder = STATE / self.token / "containers"
        return sorted(path.name.partition("-")[2] for path in folder.iterdir())

    def check_gone(self):
        watch.eventually(lambda: not watch.adopted(), 5)
        assert self.records() == []
        assert not list((STATE / self.token / "partitions").iterdir())
        assert not [path for path in watch.cgroups(self.token) if path.count(self.token + "/")]
        assert not [line for line in watch.mounts() if self.token in line]
        assert not self.path.exists()


@pytest.fixture
def pod(shims, rootfs):
    def make(*names):
        return Pod(shims, rootfs, *names)
    yield make
    for path in sorted(watch.cgroups(shims.place.token), key=len, reverse=True):
        if path.endswith(shims.place.token):
            os.rmdir(path)


def test_delete_member_of_a_living_group(pod):
    pods = pod("a", "b")
    assert pods.processes("a") and pods.processes("b")
    pods.delete("b")
    assert not pods.processes("b") and pods.records() == ["a"]
    assert pods.processes("a") and daemon(pods.bundles["a"]) == pods.shim and connects(pods.path)
    pods.delete("a")
    pods.check_gone()


def test_delete_first_of_a_living_group(pod):
    """The others go on, and who has lost his shim's first container still finds the shim."""
    pods = pod("a", "b")
    pods.delete("a")
    assert not pods.processes("a") and pods.records() == ["b"]
    assert pods.processes("b") and watch.alive(pods.shim) and connects(pods.path)
    pods.delete("b")
    assert pods.records() == []
    pods.delete("a")
    pods.check_gone()


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "b", "a"], ["a"]],
                         ids=["first first", "last first", "only first"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_delete_group_of_a_lost_shim(pod, how, order):
    pods = pod("a", "b", "c")
    os.kill(pods.shim, how)
    for name in order:
        if how == signal.SIGSTOP and watch.alive(pods.shim) and name != "a":
            # Nothing can be done to it as long as its shim stands there.
            shims, bundle = pods.shims, pods.bundles[name]
            assert "answer" in shims.refused(shims.words("delete", bundle.name, "-bundle", str(bundle)), cwd=bundle)
        else:
            pods.delete(name)
    pods.check_gone()


def test_delete_alone(pod):
    pods = pod("a")
    pods.delete("a")
    pods.check_gone()


# about itself


def test_version(shims):
    for flag in ("-v", "--version", "-version=true"):
        out, err = shims.run([SHIM, flag])
        assert err == b"" and b"Version:" in out


def test_help(shims):
    for flag in ("-h", "-help", "--help"):
        out, err = shims.run([SHIM, flag])
        assert err == b"" and out.startswith(b"usage: containerd-shim-hvrun-v1 ")


@pytest.mark.parametrize("options", [None, b"", any_message("runtimeoptions.v1.Options", b"\x0a\x01x")],
                         ids=["nothing", "empty", "options"])
def test_info(shims, options):
    out, err = shims.run([SHIM, "-info"], options)
    info = dict(decode(out))
    assert err == b""
    assert info[1] == b"io.containerd.hvrun.v1"
    assert dict(decode(info[2]))[1]
    assert info.get(3, b"") == (options or b"")
    features = dict(decode(info[4]))
    assert features[1].decode() == FEATURES
    told = json.loads(features[2])
    assert told["ociVersionMin"] and "idmap" in told["linux"]["mountExtensions"]


def test_info_with_garbage(shims):
    assert "no message of containerd's" in shims.refused([SHIM, "-info"], b"\xff")
