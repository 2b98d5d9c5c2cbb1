# SPDX-License-Identifier: Apache-2.0
"""Debian's containerd with everything private: root, state, sockets, and one namespace for each of them,
so that hvrun's state has a root of its own too. Its log is kept, it is ended by its pid."""

import hashlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import tarfile
import time

import shimclient
import watch
from hvrun import Hvrun, Result
from shimclient import GROUP, RUNTIMES

IMAGE = "example.org/busybox:1"

# Plugins that need what a test's machine does not have are left out; oom_score as it is.
CONFIG = """
version = 2
root = "{path}/root"
state = "{path}/state"
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
	"io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"{disabled}]
[grpc]
	address = "{path}/c.sock"
[debug]
	level = "{level}"
[plugins."io.containerd.grpc.v1.cri"]
	sandbox_image = "{image}"
	disable_apparmor = true
	restrict_oom_score_adj = true
	stream_server_address = "127.0.0.1"
	stream_server_port = "0"
	[plugins."io.containerd.grpc.v1.cri".containerd]
		snapshotter = "{snapshotter}"
		default_runtime_name = "tested"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested]
			runtime_type = "{runtime}"
			pod_annotations = ["io.hvrun.*"]
			{options}
	[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "{path}/cni/bin"
		conf_dir = "{path}/cni/conf"
"""


def missing():
    """Why containerd cannot be used here, or an empty text."""
    return next((f"{name} is not installed" for name in ("containerd", "ctr") if not shutil.which(name)), "")


def write_image(path, rootfs, name=IMAGE):
    """An OCI image of one layer, in a tar as `ctr images import` takes it."""
    blobs = {}

    def add(data, kind):
        data = data if isinstance(data, bytes) else json.dumps(data).encode()
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}",
                "size": len(data)}
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        archive.add(rootfs, ".")
    layer = add(layer.getvalue(), "layer.v1.tar")
    config = add({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers",
                                                                     "diff_ids": [layer["digest"]]},
                  "config": {"Env": ["PATH=/bin:/sbin", "FROM=image"], "Cmd": ["sleep", "1000"]}},
                 "config.v1+json")
    manifest = add({"schemaVersion": 2, "config": config, "layers": [layer]}, "manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": name}
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
             "index.json": json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode(),
             **{f"blobs/sha256/{digest}": data for digest, data in blobs.items()}}
    with tarfile.open(path, "w") as archive:
        for file, data in files.items():
            entry = tarfile.TarInfo(file)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def working_snapshotter(path):
    """overlayfs where a directory of this file system can be a layer, else copies."""
    for name in ("lower", "upper", "work", "merged"):
        (path / name).mkdir(parents=True)
    options = f"lowerdir={path}/lower,upperdir={path}/upper,workdir={path}/work"
    if subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", path / "merged"],
                      capture_output=True).returncode:
        return "native"
    subprocess.run(["umount", path / "merged"], check=True)
    return "overlayfs"


class Containerd:
    """The daemon. It may be stopped, killed and started again within a test."""

    def __init__(self, path, kind, driver, image, cri=False, level="info", namespace=None):
        self.path = path
        self.kind = kind
        self.driver = driver
        self.image = image
        self.namespace = "k8s.io" if cri else namespace or f"{path.name}-ns"
        self.snapshotter = working_snapshotter(path / "try")
        options = f"""[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tested.options]
				Root = "{path}/runc"
""" if kind == "runc" else ""
        (path / "containerd.toml").write_text(CONFIG.format(
            path=path, level=level, image=IMAGE, snapshotter=self.snapshotter, runtime=RUNTIMES[kind],
            options=options, disabled="" if cri else ', "io.containerd.grpc.v1.cri"'))
        self.environment = shimclient.environment(kind, driver, path)
        self.process = None
        self.base = None                # has a VM that tests may share
        self.group = None               # put everything into the shim of this one
        self.place = None               # of the test that uses it
        self.ids = 0
        self.start()

    @property
    def socket(self):
        return self.path / "c.sock"

    @property
    def log(self):
        return (self.path / "containerd.log").read_text(errors="replace")

    def start(self):
        with open(self.path / "containerd.log", "ab") as log:
            self.process = watch.own(subprocess.Popen(
                ["containerd", "--config", self.path / "containerd.toml"], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=self.environment, start_new_session=True))
        watch.eventually(lambda: self.ctr("version", status=None).returncode == 0, 10, "containerd's start")
        return self

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(10)

    def new_id(self, name="c"):
        self.ids += 1
        return f"{self.place.token}-{name}{self.ids}"

    def import_image(self):
        self.ctr("images", "import", "--snapshotter", self.snapshotter, self.image, timeout=60)

    # ctr

    def words(self, *args):
        return ["ctr", "--address", str(self.socket), "--namespace", self.namespace, *map(str, args)]

    def popen(self, *args, **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        more.setdefault("bufsize", 0)       # so that what has been read can be waited for
        return watch.own(subprocess.Popen(self.words(*args), env=self.environment, **more))

    def ctr(self, *args, status=0, input=None, timeout=20, text=True):
        """To its end. Standard error that is only a warning of ctr's own is left out."""
        process = self.popen(*args, stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL)
        try:
            out, err = process.communicate(input, timeout * watch.PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"ctr {args} hangs; {out[-2000:]!r}, {err[-2000:]!r}") from None
        if text:
            out, err = out.decode(), err.decode()
        result = Result(process.args, process.returncode, out, err)
        assert status is None or result.returncode == status, repr(result)
        return result

    def feed(self, *args, data):
        """With standard input that is closed when as much has come back: ctr may miss an end that comes
        before it is ready. What came after it, too."""
        process = self.popen(*args, stdin=subprocess.PIPE)
        said, sent, deadline = b"", 0, time.monotonic() + 20 * watch.PATIENCE
        os.set_blocking(process.stdin.fileno(), False)
        while len(said) < len(data):
            assert time.monotonic() < deadline, f"{len(said)} bytes of {len(data)}, {sent} were sent"
            wanted = [process.stdin] if sent < len(data) else []
            readable, writable, _ = select.select([process.stdout], wanted, [], 1)
            if writable:
                sent += os.write(process.stdin.fileno(), data[sent:sent + 65536])
            if readable:
                piece = os.read(process.stdout.fileno(), 1 << 20)
                assert piece, (said[-100:], process.communicate())
                said += piece
        assert said[:len(data)] == data
        rest, err = process.communicate(timeout=20 * watch.PATIENCE)
        assert process.returncode == 0, err
        return said[len(data):] + rest

    def fails(self, *args, **more):
        """Some failure; its text."""
        result = self.ctr(*args, status=None, **more)
        assert result.returncode, repr(result)
        return result.stderr

    def run_words(self, *args, options=(), image=IMAGE):
        """ctr run: the container's name and words, options before."""
        group = ["--annotation", f"{GROUP}={self.group}"] if self.group else []
        return ["run", "--runtime", RUNTIMES[self.kind], "--snapshotter", self.snapshotter, *group, *options,
                image, *args]

    def run(self, cid, *args, options=(), image=IMAGE, **more):
        """In the foreground, removed at the end: the Result."""
        return self.ctr(*self.run_words(cid, *args, options=("--rm", *options), image=image), **more)

    def background(self, cid, *args, options=(), **more):
        self.ctr(*self.run_words(cid, *(args or ("sleep", "1000")), options=("-d", *options)), **more)
        return cid

    def exec_words(self, cid, *args, options=()):
        self.ids += 1
        return ["tasks", "exec", "--exec-id", f"e{self.ids}", *options, cid, *args]

    def exec(self, cid, *args, options=(), **more):
        return self.ctr(*self.exec_words(cid, *args, options=options), **more)

    def sh(self, cid, script, **more):
        return self.exec(cid, "sh", "-c", script, **more)

    def tasks(self):
        """Name -> (pid, state)."""
        lines = self.ctr("tasks", "ls").stdout.splitlines()[1:]
        return {name: (int(pid), state) for name, pid, state in map(str.split, lines)}

    def state(self, cid):
        return self.tasks().get(cid, (0, None))[1]

    def wait_state(self, cid, state, timeout=5):
        watch.eventually(lambda: self.state(cid) == state, timeout, f"{cid} {state}")

    def kill(self, cid, number="KILL", *options):
        return self.ctr("tasks", "kill", *options, "-s", number, cid)

    def remove(self, *ids):
        for cid in ids:
            self.ctr("tasks", "rm", "-f", cid, status=None)
            self.ctr("containers", "rm", cid)

    # What is beside it

    def bundle(self, cid):
        return self.path / "state/io.containerd.runtime.v2.task" / self.namespace / cid

    def shim_pid(self, cid):
        """Of a shim of this test: found by the socket that its bundle names."""
        address = (self.bundle(cid) / "address").read_text()
        with shimclient.ttrpc.Client(address, self.namespace) as client:
            return shimclient.task_service(client).Connect(id=cid).shim_pid

    @property
    def state_root(self):
        return shimclient.state_root(self.namespace)

    def hvrun(self, place):
        commands = Hvrun(place, self.driver)
        commands.root = self.state_root
        commands.environment = self.environment
        return commands

    def share(self, wanted):
        """Whether containers are put into one VM, from now on."""
        self.group = None
        if wanted:
            if self.base and self.state(self.base) != "RUNNING":
                self.remove(self.base)          # a test has broken it
                self.base = None
            if not self.base:
                self.base = f"{self.namespace}-base"
                self.background(self.base, "sleep", "100000", timeout=60)
                watch.keep(watch.adopted(), "containerd")
            self.group = self.base

    def leftovers(self):
        """What is there of a test that removes everything; also what containerd knows."""
        found = []
        for what in (("tasks", "ls", "-q"), ("containers", "ls", "-q")):
            found += [f"{what[0]} {name}" for name in self.ctr(*what).stdout.split() if name != self.base]
        found += [str(path) for path in (self.path / "state").glob("io.containerd.runtime.v2.task/*/*")
                  if path.name != self.base]
        return found

    def remove_everything(self):
        """By force; what could not be removed."""
        left = []
        for cid in self.ctr("containers", "ls", "-q").stdout.split():
            if cid == self.base:
                continue
            self.ctr("tasks", "rm", "-f", cid, status=None, timeout=30)
            result = self.ctr("containers", "rm", cid, status=None)
            if result.returncode:
                left.append(repr(result))
        return left

    def close(self):
        """Ends it; what is left of it that should not be."""
        if self.process.poll() is not None:
            self.start()
        self.base = None
        left = self.remove_everything()
        try:
            watch.eventually(lambda: not self.leftovers(), 5)
        except TimeoutError:
            left += self.leftovers()
        self.end()
        left += shimclient.left_of(self.namespace)
        shimclient.remove_cgroups(self.namespace)
        mounted = [line for line in watch.mounts() if str(self.path) in line]
        return left + mounted
