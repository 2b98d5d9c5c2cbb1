# SPDX-License-Identifier: Apache-2.0
"""What a test may leave behind, and how it is found: processes, mounts, cgroups, files.

The test process is a subreaper, as conmon and containerd's shims are. Whatever a program under test
leaves running therefore ends up as our child, where it can be seen, awaited and, after a failure,
killed by its pid; nothing is ever looked for by name.
"""

import ctypes
import os
import pathlib
import signal
import time

PR_SET_CHILD_SUBREAPER = 36
CGROUPS = pathlib.Path("/sys/fs/cgroup")

PATIENCE = 1                    # how much longer everything may take: emulated CPUs are slow
statuses = {}                   # pid -> exit status of adopted processes that we reaped
_owned = {}                     # pid -> the Popen object that waits for it
_kept = {}                      # adopted processes that are not the test's, by what they belong to


def become_subreaper():
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def own(popen):
    """This one is waited for by its object."""
    _owned[popen.pid] = popen
    return popen


def keep(pids, owner="VM"):
    """These are there before and after a test: a VM that tests share."""
    _kept[owner] = set(pids)


def kept():
    """With what they have started."""
    return {pid for pids in _kept.values() for each in pids for pid in (each, *descendants(each))}


def is_owned(pid):
    """Numbers come round again: only as long as its object has not waited for it."""
    popen = _owned.get(pid)
    return popen is not None and popen.returncode is None


def stat(pid):
    """(name, state, ppid, start time), or None when there is no such process."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    return name, fields[0], int(fields[1]), int(fields[19])


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(pid):
    found = []
    for other in all_pids():
        info = stat(other)
        if info and info[2] == pid:
            found.append(other)
    return found


def descendants(pid):
    parents = {}
    for other in all_pids():
        info = stat(other)
        if info:
            parents.setdefault(info[2], []).append(other)
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def describe(pid):
    try:
        words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return f"{pid} {stat(pid)} {b' '.join(words)[:200]!r}"
    except OSError:
        return str(pid)


def reap():
    """Takes the statuses of adopted processes that have ended, as a subreaper must."""
    for pid in children(os.getpid()):
        info = stat(pid)
        if not is_owned(pid) and info and info[1] == "Z":
            try:
                _, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue
            statuses[pid] = os.waitstatus_to_exitcode(status)


def adopted():
    """Living processes that came to us because their parent is gone."""
    reap()
    kept_ones = set().union(*_kept.values())
    return [pid for pid in children(os.getpid()) if not is_owned(pid) and pid not in kept_ones]


def eventually(condition, timeout=5, what="it"):
    """Polls, reaping meanwhile; the true value."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        reap()
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.01)


def alive(pid):
    """Not even a zombie is left: what kill(pid, 0) tells those who watch a pid."""
    reap()
    return stat(pid) is not None


def exit_status(pid, timeout=5):
    """Of an adopted process: its exit status, or minus the signal."""
    if stat(pid):
        statuses.pop(pid, None)         # of an earlier process with that number
    eventually(lambda: pid in statuses, timeout, f"the end of process {describe(pid)}")
    return statuses[pid]


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def mounts(pid="self"):
    return pathlib.Path(f"/proc/{pid}/mountinfo").read_text().splitlines()


def cgroups(word):
    """Directories of any hierarchy that carry the word in their path."""
    found = []
    for top, names, _ in os.walk(CGROUPS):
        found += [os.path.join(top, name) for name in names if word in os.path.join(top, name)]
    return found


def fds(pid):
    """What the open files of a process are."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            pass
    return found


def rss(pid):
    """Resident anonymous memory in KiB: what a leak makes grow."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    return 0
