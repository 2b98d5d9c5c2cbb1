# SPDX-License-Identifier: Apache-2.0
"""The host's side when something is killed, races, or runs out: whoever waits is answered, and
delete --force leaves nothing.

HVRUN_ROUNDS=20 tries each combination of the first test twenty times."""

import os
import pathlib
import random
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
        pid for pid in watch.descendants(os.getpid()) if pid != client and kind_of(pid) == victim]
    watch.kill(pids)
    return len(pids)


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
    longest = 0.012 if command in PREPARED else 0.04
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
