# SPDX-License-Identifier: Apache-2.0
"""The agent in session mode: streams, windows, exits, and what goes beyond GCS v4 (oci/PROTOCOL.md)."""

import os
import re
import struct
import time
import uuid

import pytest

import bridge as b
import watch
from container import config, mount, sh, without_namespace

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z\Z")


@pytest.fixture
def box(agent, session, rootfs):
    """The id of a container that just runs."""
    return agent.run(config("sleep", "1000", rootfs=rootfs), "")[0]


# Negotiation


def test_session_is_negotiated(agent):
    guid = str(uuid.uuid4())
    hello = agent.bridge.session(guid=guid)
    features = hello.pop("Features")
    assert hello == {"Version": 1, "Session": guid, "Resumed": False, "Received": 0,
                     "MaxFrame": 1 << 20, "Containers": []}
    assert {"streams", "signal-scope", "pause", "statistics", "oom", "vm-process"} <= set(features)


def test_secret_is_kept(agent):
    """By it a host knows the agent that it had before: the first one counts, for good."""
    assert "Secret" not in agent.bridge.session()
    agent.connect()
    assert "Secret" not in agent.bridge.session(Secret="x" * 65)
    for asked in ({"Secret": "0123" * 16}, {}, {"Secret": "another"}, {"Secret": ""}):
        agent.connect()
        assert agent.bridge.session(**asked)["Secret"] == "0123" * 16


def test_highest_version_that_both_know(agent):
    assert agent.bridge.session(Version=7)["Version"] == 1


@pytest.mark.parametrize("asked, least, most", [
    (4096, 4096, 4096), (65536, 4096, 65536), (4 << 20, 65536, 4 << 20), (1, 4096, 4096),
    (1 << 31, 65536, 4 << 20)])
def test_max_frame(agent, rootfs, asked, least, most):
    assert least <= agent.bridge.session(max_frame=asked)["MaxFrame"] <= most
    assert len(agent.output(sh("head -c 1000000 /dev/zero", rootfs=rootfs))) == 1000000
    assert agent.bridge.max_frame_seen <= agent.bridge.hello["MaxFrame"]


@pytest.mark.parametrize("wrong", [{"Version": 0}, {"Session": "x"}, {"Session": ""},
                                   {"Session": None}])
def test_bad_session_requests(agent, wrong):
    agent.bridge.used = True
    hvrun = {"Version": 1, "Session": str(uuid.uuid4()), "Received": 0, "Resume": False,
             "MaxFrame": 65536}
    body = dict(b.Bridge.NEGOTIATION, Hvrun=dict(hvrun, **wrong))
    agent.bridge.call("NegotiateProtocol", body, result=b.INVALID_JSON)
    agent.bridge.session()


# Streams and exits


def test_streams(agent, session, rootfs):
    _, init = agent.run(sh("echo out; echo err >&2; cat; exit 3", rootfs=rootfs), "ioe")
    init.stdin.write(b"through\n")
    session.pump(lambda: not init.stdin.queue)
    init.close_stdin()
    assert init.finish() == (3, b"out\nthrough\n", b"err\n")
    assert init.offsets == {"StdOut": 12, "StdErr": 4}
    assert RFC3339.match(init.exited_at)
    assert init.stdout.wait_end() == (12, b.END_OF_FILE)
    assert init.stderr.wait_end() == (4, b.END_OF_FILE)


def test_stream_ids_may_be_any(agent, session, box):
    for first in (1 << 32, (1 << 63) - 1, (1 << 64) - 10):
        session.next_stream = first
        assert session.exec(box, "echo", "x").finish() == (0, b"x\n", b"")


def test_no_streams(agent, session, own_rootfs):
    script = "cat; for n in 0 1 2; do x=$(readlink /proc/$$/fd/$n); echo $x >> /result; done; exit 4"
    cid, _ = agent.run(config("sleep", "100", rootfs=own_rootfs), "")
    answer = session.exec(cid, "sh", "-c", script, streams="").wait_answer()
    assert answer["ExitCode"] == 4 and not answer.get("Offsets")
    assert (own_rootfs / "result").read_text() == "/dev/null\n" * 3


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1 << 20, 5_000_000])
def test_sizes(session, box, size):
    code, out, err = session.exec(box, "sh", "-c", f"head -c {size} /dev/zero >&2; exit 9").finish()
    assert (code, out, err) == (9, b"", bytes(size))


def test_wait_needs_no_reader(session, box):
    """The exit does not wait for output to be delivered; the offsets tell what must be."""
    size = 40000
    process = session.exec(box, "sh", "-c", f"head -c {size} /dev/zero", window=1000, hold=True)
    answer = process.wait_answer(2)
    assert answer["ExitCode"] == 0
    assert answer["Offsets"] == {"StdOut": size, "StdErr": 0}
    session.idle(0.1)
    assert process.stdout.got == 1000 and process.stdout.end is None
    process.stdout.release()
    assert process.stdout.wait_end() == (size, b.END_OF_FILE)


def test_exit_does_not_wait_for_a_grandchild(session, box):
    script = "echo first; (sleep 0.5; echo second) & exit 5"
    process = session.exec(box, "sh", "-c", script)
    begin = time.monotonic()
    assert process.finish() == (5, b"first\n", b"")
    assert time.monotonic() - begin < 0.4
    assert process.stdout.end is None
    assert process.stdout.wait_end() == (13, b.END_OF_FILE)
    assert bytes(process.stdout.data) == b"first\nsecond\n"


def test_what_was_written_lies_below_the_offset(session, box):
    """100 times: a write that returned is in the pipe when the exit is told."""
    for n in range(100):
        process = session.exec(box, "sh", "-c", f"echo {n}; echo e{n} >&2 & wait; exit {n}")
        assert process.finish() == (n, b"%d\n" % n, b"e%d\n" % n)


def test_init_can_be_waited_for_again(agent, session, rootfs):
    cid, init = agent.run(sh("exit 9", rootfs=rootfs), "")
    first = init.wait_answer()
    assert init.wait_answer() == first
    session.delete(cid)


def test_wait_timeout(session, box):
    process = session.exec(box, "sleep", "100")
    body = {"ProcessId": process.pid, "TimeoutInMs": 30}
    session.call("WaitForProcess", body, box, b.TIMEOUT)


# Flow control (bridge.Output raises as soon as a byte lies past the limit)


@pytest.mark.parametrize("window", [1, 7, 4096, 65536, 262144, 4 << 20])
def test_window(session, box, window):
    size = min(window * 50 + 3, 3_000_000)
    process = session.exec(box, "head", "-c", str(size), "/dev/zero", window=window)
    assert process.finish(30) == (0, bytes(size), b"")


def test_nothing_without_a_window(session, box):
    process = session.exec(box, "sh", "-c", "echo x; sleep 100", window=0, hold=True)
    session.idle(0.2)
    assert process.stdout.got == 0
    for stream in (process.stdout, process.stderr):
        stream.window = 100
        stream.release()
    session.pump(lambda: process.stdout.got == 2)


def test_stalled_reader_stalls_its_stream_only(session, box):
    stalled = session.exec(box, "sh", "-c", "yes >&2 & yes; wait", window=65536, hold=True)
    stalled.stdout.sink = stalled.stderr.sink = lambda data: None
    session.pump(lambda: stalled.stdout.got == 65536 and stalled.stderr.got == 65536)
    begin = time.monotonic()
    for n in range(20):
        assert session.exec(box, "echo", str(n)).finish() == (0, b"%d\n" % n, b"")
    assert time.monotonic() - begin < 2
    stalled.stderr.release()
    session.pump(lambda: stalled.stderr.got > 1_000_000)
    assert stalled.stdout.got == 65536
    stalled.signal(9, "group")
    assert stalled.wait_answer()["ExitCode"] == 137


def test_flood_does_not_delay_messages(session, box):
    flood = [session.exec(box, "yes", sinks={"o": lambda data: None}) for _ in range(2)]
    worst = 0
    for _ in range(50):
        session.idle(0.01)
        begin = time.monotonic()
        session.pids(box)
        worst = max(worst, time.monotonic() - begin)
    assert worst < 0.2
    begin = time.monotonic()
    for process in flood:
        process.signal(9)
        assert process.wait_answer()["ExitCode"] == 137
    assert time.monotonic() - begin < 1


def test_streams_take_turns(session, box):
    flood = [session.exec(box, "yes", sinks={"o": lambda data: None}) for _ in range(4)]
    session.idle(1)
    got = [process.stdout.got for process in flood]
    for process in flood:
        process.signal(9)
        process.wait_answer()
    assert min(got) > max(got) / 4, got


def test_50_processes_at_once(session, box):
    many = [session.exec(box, "sh", "-c", f"head -c {20000 + n} /dev/zero; echo {n}; exit {n}")
            for n in range(50)]
    for process in many:
        process.begin_wait()
    for n, process in enumerate(many):
        assert process.finish() == (n, bytes(20000 + n) + b"%d\n" % n, b"")


# STOP and END


def test_stop_of_an_output(session, box):
    process = session.exec(box, "yes", streams="o", sinks={"o": lambda data: None})
    session.pump(lambda: process.stdout.got > 100000)
    process.stdout.stop()
    assert process.stdout.wait_end()[1] == b.STOPPED
    assert process.wait_answer()["ExitCode"] == 128 + 13        # SIGPIPE


def test_stop_of_a_stalled_output(session, box):
    process = session.exec(box, "yes", streams="o", window=1000, hold=True)
    session.pump(lambda: process.stdout.got == 1000)
    process.stdout.stop()
    assert process.stdout.wait_end() == (1000, b.STOPPED)
    assert process.wait_answer()["ExitCode"] == 128 + 13


def test_stop_of_an_output_that_has_ended(session, box):
    process = session.exec(box, "true")
    assert process.finish()[0] == 0
    process.stdout.wait_end()
    process.stdout.stop()
    assert session.exec(box, "true").finish()[0] == 0


def test_window_for_an_output_that_has_ended(session, box):
    process = session.exec(box, "true")
    process.finish()
    process.stdout.wait_end()
    session.send_frame(b.WINDOW, process.stdout.id, struct.pack("<Q", 1 << 40))
    assert session.exec(box, "true").finish()[0] == 0


def test_end_of_stdin(session, box):
    process = session.exec(box, "cat", streams="io")
    process.stdin.write_all(b"abc")
    process.close_stdin()
    assert process.finish() == (0, b"abc", b"")


def test_end_of_stdin_comes_after_its_bytes(session, box):
    data = os.urandom(1 << 20)
    process = session.exec(box, "sh", "-c", "sleep 0.2; cat", streams="io")
    process.stdin.write_all(data)
    process.close_stdin()
    assert process.finish() == (0, data, b"")


def test_stdin_is_granted_as_it_is_written(session, box):
    process = session.exec(box, "sleep", "100", streams="i")
    process.stdin.write(bytes(10 << 20))
    session.idle(0.3)
    assert 65536 <= process.stdin.sent <= 4 << 20       # a window, and what the pipe holds
    assert process.stdin.sent == process.stdin.limit
    assert session.exec(box, "echo", "well").finish()[1] == b"well\n"
    process.signal(9)
    assert process.wait_answer()["ExitCode"] == 137


def test_process_that_closes_its_stdin(session, box):
    process = session.exec(box, "sh", "-c", "exec 0<&-; sleep 100", streams="i")
    process.stdin.write(bytes(1000))
    session.pump(lambda: process.stdin.stopped is not None)
    process.signal(9)
    assert process.wait_answer()["ExitCode"] == 137


def test_exit_stops_stdin(session, box):
    process = session.exec(box, "true", streams="io")
    assert process.finish()[0] == 0
    session.pump(lambda: process.stdin.stopped is not None)
    assert session.exec(box, "true").finish()[0] == 0


def test_stdin_of_an_ended_process_is_swallowed(session, box):
    """What the host sent before it saw the STOP is no error."""
    for _ in range(20):
        process = session.exec(box, "true", streams="i")
        session.pump(lambda: process.stdin.limit)
        if process.stdin.stopped is None:
            process.stdin.write(b"x" * 1000)
        process.wait_answer()
    assert session.exec(box, "echo", "well").finish()[1] == b"well\n"


# Terminals


def test_terminal(session, box):
    process = session.exec(box, "sh", "-c", "tty; read x; stty size; exit 8", streams="io",
                           process={"terminal": True, "consoleSize": {"height": 5, "width": 9}})
    session.pump(lambda: process.stdout.got)
    process.resize(33, 77)
    process.stdin.write_all(b"abc\n")
    code, out, _ = process.finish()
    assert process.offsets == {}
    assert (code, out) == (8, b"/dev/pts/0\r\nabc\r\n33 77\r\n")


def test_initial_size_of_a_terminal(session, box):
    process = session.exec(box, "stty", "size", streams="io",
                           process={"terminal": True, "consoleSize": {"height": 5, "width": 9}})
    assert process.finish() == (0, b"5 9\r\n", b"")


def test_terminal_ends_soon_though_somebody_holds_it(session, box):
    """END comes, or a StreamOffset tells what must be delivered: nobody waits for the stranger."""
    for _ in range(5):
        process = session.exec(box, "sh", "-c", "trap '' HUP; sleep 30 & echo done", streams="io",
                               process={"terminal": True})
        begin = time.monotonic()
        assert process.wait_answer()["ExitCode"] == 0

        def offset():
            return [n["Offset"] for n in session.notifications if n["Type"] == "StreamOffset"
                    and n["Stream"] == process.stdout.id]
        session.pump(lambda: process.stdout.end or offset(), 3)
        if not process.stdout.end:
            assert offset()[0] == 6
            session.pump(lambda: process.stdout.got >= 6)
        assert time.monotonic() - begin < 1
        assert bytes(process.stdout.data) == b"done\r\n"


def test_end_of_stdin_is_nothing_to_a_terminal(session, box):
    process = session.exec(box, "cat", streams="io", process={"terminal": True})
    process.stdin.write_all(b"x\n")
    process.close_stdin()
    session.pump(lambda: process.stdout.got == 6)
    wait = process.begin_wait()
    session.idle(0.2)
    assert session.pending(wait)
    process.signal(1)
    assert process.wait_answer()["ExitCode"] == 129


def test_flood_on_a_terminal(session, box):
    process = session.exec(box, "sh", "-c", "seq 1 50000; exit 3", streams="io",
                           process={"terminal": True})
    code, out, _ = process.finish(20)
    assert code == 3 and out == b"".join(b"%d\r\n" % n for n in range(1, 50001))


# Signals, pause, memory


def members(session, cid):
    return set(session.pids(cid))


def test_signal_scopes(session, box):
    script = ("trap 'echo leader' USR1; trap 'exit 0' TERM;"
              "(trap 'echo group' USR1; while :; do sleep 0.05; done) &"
              "setsid sh -c \"trap 'echo other' USR1; while :; do sleep 0.05; done\" &"
              "sleep 0.3; echo ready; while :; do sleep 0.05; done")
    process = session.exec(box, "sh", "-c", script, streams="o")
    out = process.stdout

    def heard(scope):
        out.data.clear()
        process.signal(10, scope)
        session.idle(0.4)
        return set(bytes(out.data).decode().split())

    session.pump(lambda: b"ready" in out.data)
    assert heard("process") == {"leader"}
    assert heard(None) == {"leader"}
    assert heard("group") == {"leader", "group"}
    assert heard("session") == {"leader", "group"}
    process.signal(9, "container")
    assert process.wait_answer()["ExitCode"] == 137
    watch.eventually(lambda: not session.pids(box))


def test_unknown_scope(session, box):
    process = session.exec(box, "sleep", "100", streams="")
    answer = session.ask("SignalProcess", {"ProcessId": process.pid, "Options": {
        "Signal": 9, "Scope": "galaxy"}}, box)
    b.check_failure(answer, b.INVALID_JSON)
    assert "galaxy" in answer["ErrorMessage"]
    assert process.pid in session.pids(box)


def test_container_scope_reaches_all(agent, session, rootfs):
    cid, init = agent.run(sh("trap 'echo init; exit 3' USR1; echo; while :; do sleep 0.05; done",
                             rootfs=rootfs), "o")
    other = session.exec(cid, "sh", "-c", "trap 'echo exec' USR1; echo; while :; do sleep 0.05; done",
                         streams="o")
    session.pump(lambda: init.stdout.got and other.stdout.got)
    init.signal(10, "container")
    assert init.wait_answer()["ExitCode"] == 3
    session.pump(lambda: b"exec" in other.stdout.data or other.stdout.end)


def test_pause_and_resume(agent, session, rootfs):
    cid, init = agent.run(sh("while :; do echo x; sleep 0.02; done", rootfs=rootfs), "o")
    session.pump(lambda: init.stdout.got > 4)
    session.call("Pause", cid=cid)
    session.idle(0.05)
    before = init.stdout.got
    session.idle(0.3)
    assert init.stdout.got == before
    session.call("Pause", cid=cid, result=b.INVALID_STATE)
    session.exec(cid, "true", result=b.INVALID_STATE)
    assert session.pids(cid)
    session.call("Resume", cid=cid)
    session.pump(lambda: init.stdout.got > before + 4)
    session.call("Resume", cid=cid, result=b.INVALID_STATE)


def test_kill_of_a_paused_container(agent, session, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    session.call("Pause", cid=cid)
    init.signal(9)
    assert init.wait_answer()["ExitCode"] == 137
    session.delete(cid)


def test_pause_errors(agent, session, rootfs):
    for name in ("Pause", "Resume"):
        session.call(name, cid="nobody", result=b.NO_SUCH_CONTAINER)
    cid, init = agent.run(sh("true", rootfs=rootfs), "")
    init.wait_answer()
    for name in ("Pause", "Resume"):
        session.call(name, cid=cid, result=b.NOT_RUNNING)


def test_out_of_memory(agent, session, rootfs):
    spec = sh("tail /dev/zero", rootfs=rootfs)
    spec["linux"]["resources"]["memory"] = {"limit": 16 << 20}
    cid, init = agent.run(spec, "")
    wait = init.begin_wait()
    session.pump(lambda: [n for n in session.notifications if n["Type"] == "OutOfMemory"], 20)
    assert wait not in session.answers, "told after the exit that it caused"
    told = session.notification(cid, "OutOfMemory")
    assert told["Count"] >= 1
    assert session.answer(wait)["ExitCode"] == 137
    assert session.properties(cid, "StatisticsV2")


def test_out_of_memory_of_an_exec(agent, session, rootfs):
    spec = config("sleep", "1000", rootfs=rootfs)
    spec["linux"]["resources"]["memory"] = {"limit": 16 << 20}
    cid, _ = agent.run(spec, "")
    for n in range(1, 4):
        process = session.exec(cid, "tail", "/dev/zero", streams="")
        assert process.wait_answer(20)["ExitCode"] == 137
        told = [x["Count"] for x in session.notifications if x["Type"] == "OutOfMemory"]
        assert told and max(told) >= n


def test_statistics(agent, session, rootfs):
    spec = sh("head -c 20000000 /dev/zero > /tmp/x; sleep 100", rootfs=rootfs)
    spec["mounts"].append(mount("/tmp", "tmpfs", "tmpfs"))
    spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 55}}
    cid, _ = agent.run(spec, "")
    watch.eventually(lambda: session.properties(cid, "StatisticsV2")["StatisticsV2"]
                     ["memory"].get("usage", 0) > 20_000_000)
    all_of_it = session.properties(cid, "StatisticsV2")["StatisticsV2"]
    assert all_of_it["pids"]["limit"] == 55 and all_of_it["pids"]["current"] >= 1
    assert all_of_it["cpu"]["usage_usec"] > 0
    assert all_of_it["memory"]["usage_limit"] == 64 << 20
    figures = all_of_it["agent"]
    assert 100_000 < figures["rss"] < 20_000_000
    assert figures["frames_in"] > 3 and figures["bytes_out"] > 300


# Processes of the VM


def test_vm_process(agent, session):
    process = session.vm_exec("sh", "-c", "echo out; cat; exit 4", streams="ioe")
    process.stdin.write_all(b"in\n")
    process.close_stdin()
    assert process.finish() == (4, b"out\nin\n", b"")
    process = session.vm_exec("sleep", "100")
    process.signal(15)
    assert process.finish()[0] == 143


def test_vm_console(session):
    process = session.vm_exec("sh", "-c", "read x; stty size; exit 2", streams="io",
                              parameters={"EmulateConsole": True, "ConsoleSize": [4, 5]})
    process.resize(11, 22)
    process.stdin.write_all(b"\n")
    assert process.finish()[:2] == (2, b"\r\n11 22\r\n")


def test_vm_process_of_a_group(session):
    process = session.vm_exec("sh", "-c", "sleep 100 & echo; wait", streams="o")
    session.pump(lambda: process.stdout.got)
    process.signal(9, "group")
    assert process.wait_answer()["ExitCode"] == 137
    process.stdout.wait_end()


# Another session


def test_new_session_names_the_containers(agent, session, rootfs):
    first, init = agent.run(sh("read x; exit 6", rootfs=rootfs), "i")
    second, other = agent.run(config("sleep", "100", rootfs=rootfs), "")
    created = agent.create(config("true", rootfs=rootfs))
    wait = init.begin_wait()
    again = agent.session()
    assert sorted(again.hello["Containers"]) == sorted([first, second, created])
    assert again.hello["Resumed"] is False
    assert again.pids(second) == [other.pid]
    # The old session's streams and unanswered requests are dropped; the processes live on.
    again.idle(0.2)
    assert wait not in again.answers
    code = again.call("WaitForProcess", {"ProcessId": other.pid, "TimeoutInMs": 0}, second,
                      b.TIMEOUT)
    assert code
    again.call("SignalProcess", {"ProcessId": other.pid}, second)
    done = again.call("WaitForProcess", {"ProcessId": other.pid, "TimeoutInMs": b.FOREVER}, second)
    assert done["ExitCode"] == 137


def test_output_without_a_session_goes_nowhere(agent, session, rootfs):
    cid, init = agent.run(sh("head -c 3000000 /dev/zero; exit 3", rootfs=rootfs), "o", window=1000,
                          hold=True)
    session.idle(0.1)
    again = agent.session()
    answer = again.call("WaitForProcess", {"ProcessId": init.pid, "TimeoutInMs": 5000}, cid)
    assert answer["ExitCode"] == 3


def test_exit_while_disconnected(agent, session, rootfs):
    cid, init = agent.run(sh("sleep 0.3; exit 3", rootfs=rootfs), "oe")
    init.begin_wait()
    agent.host.close()
    session.close()
    time.sleep(0.7)
    os.unlink(f"{agent.host.base}_{b.BRIDGE_PORT}")
    agent.host = b.Host(agent.host.base)
    agent.connect()
    agent.bridge.session()
    assert agent.bridge.hello["Containers"] == [cid]
    agent.bridge.notification(cid)
    answer = agent.bridge.call("WaitForProcess", {"ProcessId": init.pid, "TimeoutInMs": 0}, cid)
    assert answer["ExitCode"] == 3


def test_modes_may_change(agent, session, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    plain = agent.plain()
    assert plain.exec(cid, "echo", "plain").finish() == (0, b"plain\n", b"")
    again = agent.session()
    assert again.exec(cid, "echo", "session").finish() == (0, b"session\n", b"")


def test_many_sessions(agent, session, box):
    for n in range(30):
        again = agent.session()
        again.exec(box, "sh", "-c", "yes; sleep 9", sinks={"o": lambda data: None})
        again.exec(box, "cat", streams="io")
    again = agent.session()
    for pid in again.pids(box):
        again.ask("SignalProcess", {"ProcessId": pid}, box)
    watch.eventually(lambda: len(again.pids(box)) <= 1)


def test_notification_of_a_clean_life(agent, session, rootfs):
    cid, init = agent.run(without_namespace(sh("exit 0", rootfs=rootfs), "pid"), "")
    init.wait_answer()
    assert session.notification(cid)["Type"] == "UnexpectedExit"
    session.delete(cid)
    session.idle(0.1)
    assert session.exits_told[cid] == 1


# Bundles


def test_directories_above_a_bundle(agent, session, rootfs, place):
    """A VM has none of the host's directories: what is made for a container goes with the last that
    needs it, whatever the order, and nothing else does."""
    (place.path / "there").mkdir()
    paths = ["there/a/b/c1", "there/a/c2/", "there/a/b/d/e/c3", "there/c4", "x/y//z"]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        ids = []
        for path in paths:
            ids.append(agent.new_id())
            session.create(ids[-1], config("sleep", "1000", rootfs=rootfs), f"{place.path}/{path}")
        for number in order:
            assert (place.path / paths[number]).is_dir()
            session.call("ShutdownForced", cid=ids[number])
            watch.eventually(lambda: session.ask("DeleteContainerState", cid=ids[number])["Result"] == 0)
            session.containers.remove(ids[number])
            assert not (place.path / paths[number]).exists()
        assert not list((place.path / "there").iterdir()) and not (place.path / "x").exists()
