# SPDX-License-Identifier: Apache-2.0
"""The built programs, each test with a --root of its own."""

import json
import os
import pathlib
import subprocess
import time

import watch

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("HVRUN_BUILD") or REPOSITORY / "build")


def find(name):
    """A program of the build folder, wherever in it."""
    for folder in ("shim", "shim/containerd", "agent", "."):
        path = BUILD / folder / name
        if path.is_file():
            return str(path)
    return str(BUILD / name)


HVRUN = find("hvrun")
HVAGENT = find("hvagent")


class Result(subprocess.CompletedProcess):
    """Status and text of a command; both together in a failure's message."""

    def json(self):
        return json.loads(self.stdout)

    def __repr__(self):
        return (f"<{' '.join(map(str, self.args))}: status {self.returncode}\n"
                f"stdout: {self.stdout!r}\nstderr: {self.stderr!r}>")


class Hvrun:
    """hvrun with one driver; `shared` is a VM that containers are put into as long as the root is its."""

    def __init__(self, place, driver="local", shared=None):
        self.place = place
        self.driver = driver
        self.shared = shared
        self.root = shared.root if shared else place.path / "r"
        self.environment = dict(os.environ, HVRUN_AGENT=HVAGENT)
        self.ids = 0
        self.started = []
        self.used = False       # a container may have been made

    def new_id(self, name="c"):
        self.ids += 1
        return f"{self.place.token}-{name}{self.ids}"

    def bundle(self, spec, name="bundle"):
        import container
        return container.write_bundle(self.place.path / name, spec)

    def words(self, *args, options=()):
        driver = ["--partition", self.driver] if self.driver != "local" else []
        self.used |= args[:1] in (("run",), ("create",), ("exec",))
        if self.is_shared() and args[:1] in (("run",), ("create",)) and "--pod" not in args:
            args = (args[0], "--pod", self.shared.base, *args[1:])
        return [HVRUN, "--root", str(self.root), *driver, *map(str, options), *map(str, args)]

    @property
    def in_vm(self):
        """Containers run on a kernel that is not the test's."""
        return self.driver != "local"

    def outside(self, *words):
        """What a command prints beside the containers: on this machine, or in the VM."""
        if not self.in_vm:
            return subprocess.run(words, check=True, capture_output=True, text=True).stdout
        partition = self.shared.base if self.is_shared() else self.partitions()[0]
        return self.run("exec", "--vm", partition, *words).stdout

    def program(self):
        """hvrun with this root and partition, for callers that have words of their own."""
        driver = f"--partition {self.driver}" if self.in_vm else ""
        pod = f"--pod {self.shared.base}" if self.is_shared() else ""
        script = self.place.path / "hvrun"
        script.write_text("#!/bin/sh\nfor word; do\n\tshift\n"
                          f"\t[ \"$word\" = create ] && word=\"create {pod}\"\n"
                          "\tcase $word in\n\tcreate\\ *) set -- \"$@\" $word ;;\n"
                          "\t*) set -- \"$@\" \"$word\" ;;\n\tesac\ndone\n"
                          f"exec {HVRUN} --root {self.root} {driver} \"$@\"\n")
        script.chmod(0o755)
        return script

    def is_shared(self):
        return self.shared is not None and self.root == self.shared.root

    def popen(self, *args, options=(), **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        more.setdefault("env", self.environment)
        process = watch.own(subprocess.Popen(self.words(*args, options=options), **more))
        self.started.append(process)
        return process

    def run(self, *args, status=0, input=None, timeout=20, text=True, **more):
        """Runs a verb to its end. Its exit status must be `status`, unless that is None.

        Standard output and error go to files, as a pipe would be held open by what a container
        leaves running."""
        out = open(self.place.path / f"out{len(self.started)}", "w+b")
        err = open(self.place.path / f"err{len(self.started)}", "w+b")
        with out, err:
            process = self.popen(*args, stdout=more.pop("stdout", out), stderr=more.pop("stderr", err),
                                 stdin=subprocess.PIPE if input is not None else
                                 more.pop("stdin", subprocess.DEVNULL), **more)
            try:
                if input is not None:
                    data = input.encode() if isinstance(input, str) else input
                    process.communicate(data, timeout * watch.PATIENCE)
                else:
                    process.wait(timeout * watch.PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                out.seek(0), err.seek(0)
                raise AssertionError(f"hvrun {args} hangs; stdout {out.read()!r}, "
                                     f"stderr {err.read()!r}") from None
            out.seek(0)
            err.seek(0)
            stdout, stderr = out.read(), err.read()
        if text:
            stdout, stderr = stdout.decode(), stderr.decode()
        result = Result(process.args, process.returncode, stdout, stderr)
        assert status is None or result.returncode == status, repr(result)
        return result

    def fails(self, *args, status=1, **more):
        """A failure: that status, nothing on stdout, exactly one line on stderr, which is returned."""
        result = self.run(*args, status=status, **more)
        assert not result.stdout, repr(result)
        assert result.stderr.endswith("\n") and result.stderr.count("\n") == 1, repr(result)
        return result.stderr

    # Shorthands

    def run_spec(self, spec, *options, status=0, name=None, **more):
        """run in the foreground: the Result."""
        cid = name or self.new_id()
        return self.run("run", *options, "--bundle", self.bundle(spec, f"b-{cid}"), cid, status=status,
                        **more)

    def background(self, spec, *options, name=None, **more):
        """run -d: the id."""
        cid = name or self.new_id()
        self.run("run", "-d", *options, "--bundle", self.bundle(spec, f"b-{cid}"), cid, **more)
        return cid

    def create(self, spec, *options, name=None, **more):
        """create: the id; the proxy's pid is in self.pid(id)."""
        cid = name or self.new_id()
        self.run("create", "--bundle", self.bundle(spec, f"b-{cid}"), "--pid-file",
                 self.place.path / f"pid-{cid}", *options, cid, **more)
        return cid

    def pid(self, cid):
        return int((self.place.path / f"pid-{cid}").read_text())

    def state(self, cid):
        return self.run("state", cid).json()

    def status(self, cid):
        return self.state(cid)["status"]

    def wait_status(self, cid, status, timeout=5):
        watch.eventually(lambda: self.status(cid) == status, timeout, f"{cid} {status}")

    def partition_of(self, cid):
        """Its directory; a container's that is gone had its own name."""
        record = self.root / "containers" / cid / "state.json"
        name = json.loads(record.read_text())["Partition"] if record.exists() else cid
        return self.root / "partitions" / (self.shared.base if self.is_shared() else name)

    def partitions(self):
        """Names of the test's own."""
        names = [path.name for path in (self.root / "partitions").iterdir()]
        return [name for name in names if not self.is_shared() or name != self.shared.base]

    def partition(self, cid):
        """What is known of the sandbox process of a container's partition."""
        return json.loads((self.partition_of(cid) / "sandbox.json").read_text())

    def sandbox_pid(self, cid):
        return self.partition(cid)["Pid"]

    def agent_pid(self, cid):
        return self.partition(cid)["AgentPid"]

    def agent_pid_there(self, cid):
        """As `outside` sees it."""
        return 1 if self.in_vm else self.agent_pid(cid)

    def init_pid(self, cid):
        """The container's init, as this test sees it; in a VM, as the VM does."""
        if self.driver != "local":
            return self.run("ps", "--format", "json", cid).json()[0]
        inside = [pid for pid in watch.children(self.agent_pid(cid))
                  if any(cid in line for line in
                         pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines())]
        assert inside, f"no process of {cid}"
        return min(inside, key=lambda pid: watch.stat(pid)[3])

    def list(self):
        """The test's own."""
        found = self.run("list", "--format", "json").json() or []
        return [entry for entry in found if not self.is_shared() or entry["id"] != self.shared.base]

    # The end of a test

    def clean(self):
        """Deletes every container by force; what could not be deleted."""
        left = []
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        if not self.root.exists():
            return left
        try:
            ids = [entry["id"] for entry in self.list()]
        except (AssertionError, ValueError) as error:
            return [f"list: {error}"]
        for cid in ids:
            result = self.run("delete", "--force", cid, status=None)
            if result.returncode:
                left.append(repr(result))
        return left

    def leftovers(self, timeout=3):
        """Names below --root that stay, when every container is deleted."""
        expected = {"containers", "partitions", "lock", "kvm"}
        if self.is_shared():
            expected |= self.shared.files

        def files():
            found = []
            for top, names, plain in os.walk(self.root):
                found += [os.path.relpath(os.path.join(top, n), self.root) for n in plain]
                found += [os.path.relpath(os.path.join(top, n), self.root) for n in names]
            return sorted(found)
        deadline = time.monotonic() + timeout
        while (found := files()) and time.monotonic() < deadline:
            if not set(found) - expected:
                break
            time.sleep(0.02)
            watch.reap()
        return [name for name in found if name not in expected]
