# SPDX-License-Identifier: Apache-2.0
"""A bare hvagent in namespaces of its own, and the proof that it is as clean after a test as before."""

import os
import signal
import subprocess

import hvrun
import watch
from bridge import Closed, Host, NULL_CID


# Opened when first needed, and kept: the hierarchies' roots, the timer of redials.
KEPT = ("/sys/fs/cgroup", "anon_inode:[timerfd]")


class Agent:
    def __init__(self, place, *options):
        self.place = place
        self.host = Host(place.path / "b")
        self.bridge = self.pid = None
        self.ids = 0
        self.log_path = place.path / "agent.log"
        with open(self.log_path, "wb") as log:
            self.popen = watch.own(subprocess.Popen(
                ["unshare", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child",
                 "--mount-proc", hvrun.HVAGENT, "--parent", f"hybrid:{place.path}/b",
                 "--log-level", "debug", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"))
        try:
            self.connect()
            self.pid = watch.eventually(lambda: watch.children(self.popen.pid), 5, "hvagent")[0]
            self.mounts = self.all_mounts()
            # accept() returns before the agent has done its part.
            watch.eventually(lambda: "anon_inode:[eventfd]" in watch.fds(self.pid), 5, "the channel")
            self.start = self.state()
        except BaseException:
            self.kill()
            raise

    def connect(self):
        """The agent's (next) connection, not negotiated yet. In plain mode ids live on over it."""
        old = self.bridge
        if old:
            old.close()
        self.bridge = self.host.accept()
        if old:
            self.bridge.containers = old.containers
            self.bridge.exits_told = old.exits_told
            self.bridge.next_stream = old.next_stream
            if not old.hello:
                self.bridge.asked, self.bridge.next_id = old.asked, old.next_id
        return self.bridge

    def plain(self):
        self.connect_if_used()
        self.bridge.negotiate()
        return self.bridge

    def session(self, **options):
        self.connect_if_used()
        self.bridge.session(**options)
        return self.bridge

    def connect_if_used(self):
        if self.bridge.used:
            self.connect()

    def new_id(self, name="c"):
        """A container id that the leak checks recognise as this test's."""
        self.ids += 1
        return f"{self.place.token}-{name}{self.ids}"

    def bundle(self, cid):
        return self.place.path / "bundles" / cid

    def create(self, spec, cid=None, **options):
        cid = cid or self.new_id()
        self.bridge.create(cid, spec, self.bundle(cid), **options)
        return cid

    def run(self, spec, streams="oe", **options):
        """Creates and starts a container: (id, init)."""
        cid = self.create(spec)
        return cid, self.bridge.start(cid, streams, **options)

    def output(self, spec, code=0, timeout=15):
        """Runs a container to its end and deletes it: its standard output."""
        cid, init = self.run(spec)
        got, out, err = init.finish(timeout)
        self.bridge.delete(cid)
        assert got == code, f"exit {got}, stdout {out!r}, stderr {err!r}"
        return out.decode()

    def host_pid(self, pid):
        """Of a process that the agent knows as `pid`."""
        for candidate in [self.pid] + watch.descendants(self.pid):
            with open(f"/proc/{candidate}/status") as status:
                for line in status:
                    if line.startswith("NSpid:"):
                        levels = line.split()[1:]
                        if len(levels) > 1 and int(levels[1]) == pid:
                            return candidate
        return None

    # What may not grow

    def all_mounts(self):
        return {line.split(" ", 2)[2] for line in watch.mounts(self.pid)}

    def state(self):
        # The timer of redialling is made when it is first needed.
        timer, fds = "anon_inode:[timerfd]", []
        for link in watch.fds(self.pid):
            if os.path.dirname(link) in KEPT or link in KEPT:
                continue
            if link == timer:
                timer = None
                continue
            fds.append(link)
        return {
            # Its namespace is private: what others mount does not show, only what they unmount.
            "mounts": sorted(self.all_mounts() - self.mounts),
            "fds": sorted(link if link.startswith("anon") else link.split(":")[0] for link in fds),
            "children": [watch.describe(pid) for pid in watch.descendants(self.pid)],
            "cgroups": sorted(watch.cgroups(self.place.token)),
        }

    def remove_containers(self):
        """Kills and deletes what the test has left, over whatever connection there is."""
        try:
            self.bridge.idle(0)
        except Closed:
            self.connect()
        if not self.bridge.used:
            self.bridge.negotiate()
        for cid in list(self.bridge.containers):
            self.bridge.ask("ShutdownForced", cid=cid)
            deadline = watch.time.monotonic() + 10
            while self.bridge.ask("DeleteContainerState", cid=cid)["Result"] not in (0, -1070137074):
                assert watch.time.monotonic() < deadline, f"container {cid} cannot be deleted"
                self.bridge.idle(0.05)
        self.bridge.containers.clear()
        # Every stream has an end, once somebody reads it.
        open_streams = [output for output in self.bridge.outputs.values() if output.end is None]
        for output in open_streams:
            output.sink, output.window = (lambda data: None), max(output.window, 65536)
            output.release()
        self.bridge.pump(lambda: all(o.end for o in open_streams), 10, "END of every stream")

    def check_clean(self):
        try:
            watch.eventually(lambda: self.state() == self.start, 3)
        except TimeoutError:
            now = self.state()
            for name, before in self.start.items():
                assert now[name] == before, f"the agent's {name}"

    def check_works(self, rootfs):
        """Whatever was done to it, it runs the next container."""
        import container
        if not self.bridge.used:
            self.bridge.negotiate()
        assert self.output(container.sh("echo well", rootfs=rootfs)) == "well\n"

    def end(self):
        """SIGTERM ends it with status 0, which also shows what a sanitizer has to say."""
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
        return self.popen.wait(10)

    def kill(self):
        watch.kill([self.pid] if self.pid else [])
        self.popen.kill()       # and its child with it
        self.popen.wait()
        if self.bridge:
            self.bridge.close()
        self.host.close()


__all__ = ["Agent", "NULL_CID"]
