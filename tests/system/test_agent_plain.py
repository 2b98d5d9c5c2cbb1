# SPDX-License-Identifier: Apache-2.0
"""The agent under a host that speaks plain GCS bridge v4 (oci/PROTOCOL.md, "Plain mode")."""

import json
import os
import select
import socket
import subprocess
import time

import pytest

import bootports
import bridge as b
import watch
from agent import Agent
from container import config, namespaces, sh, without_namespace
from hvrun import HVAGENT

GOLDEN_REQUEST = (b'{"ContainerId":"","ActivityId":"00000000-0000-0000-0000-000000000000",'
                  b'"MinimumVersion":4,"MaximumVersion":4}\n')
GOLDEN_RESPONSE = (
    b'{"Result":0,"ActivityId":"00000000-0000-0000-0000-000000000000","Version":4,'
    b'"Capabilities":{"SupportedSchemaVersions":[{"Major":2,"Minor":1}],"RuntimeOsType":"Linux",'
    b'"GuestDefinedCapabilities":{"NamespaceAddRequestSupported":true,'
    b'"SignalProcessSupported":true,"DumpStacksSupported":true,'
    b'"DeleteContainerStateSupported":true}}}')


# Negotiation


def test_negotiation_byte_for_byte(agent):
    agent.bridge.used = True
    agent.bridge.next_id = 1
    agent.bridge.send_frame(0x10100B01, 0, GOLDEN_REQUEST)
    while len(agent.bridge.received) < 16 + len(GOLDEN_RESPONSE):
        assert agent.bridge._fill(5)
    header = b.HEADER.pack(0x20100B01, 16 + len(GOLDEN_RESPONSE), 0)
    assert bytes(agent.bridge.received) == header + GOLDEN_RESPONSE
    agent.bridge.received.clear()


@pytest.mark.parametrize("low, high", [(5, 9), (0, 3), (1, 1), (0, 0)])
def test_no_common_version_and_again(agent, low, high):
    agent.bridge.used = True
    versions = dict(b.Bridge.NEGOTIATION, MinimumVersion=low, MaximumVersion=high)
    agent.bridge.call("NegotiateProtocol", versions, result=b.NO_COMMON_VERSION)
    assert agent.bridge.negotiate()["Version"] == 4


@pytest.mark.parametrize("low, high", [(4, 4), (0, 4), (1, 0xFFFFFFFF), (4, 9)])
def test_version_4_is_chosen(agent, low, high):
    agent.bridge.used = True
    versions = dict(b.Bridge.NEGOTIATION, MinimumVersion=low, MaximumVersion=high)
    assert agent.bridge.call("NegotiateProtocol", versions)["Version"] == 4


def test_second_negotiation_is_refused(plain):
    answer = plain.call("NegotiateProtocol", plain.NEGOTIATION, result=b.NOT_IMPLEMENTED)
    assert answer["ErrorMessage"].startswith("bridge: function not supported, header type: ")


@pytest.mark.parametrize("name", [n for n in b.MESSAGES if n != "NegotiateProtocol"])
def test_nothing_before_negotiation(agent, name):
    agent.bridge.used = True
    answer = agent.bridge.call(name, cid="x", result=b.NOT_IMPLEMENTED)
    assert answer["ErrorMessage"].startswith("bridge: function not supported, header type: ")
    agent.bridge.negotiate()


@pytest.mark.parametrize("name", ["UpdateContainer", "LifecycleNotification",
                                  "ModifyServiceSettings", "Pause", "Resume", 0x10100101 + 0xF000])
def test_unknown_message(plain, name):
    answer = plain.call(name, cid="x", result=b.NOT_IMPLEMENTED)
    assert answer["ErrorMessage"].startswith("bridge: function not supported, header type: ")


@pytest.mark.parametrize("kind", [0x20100101, 0x30100101, 0x00000000, 0xF0100101])
def test_frames_of_no_request_kind_are_answered(plain, kind):
    plain.call(kind, cid="x", result=b.NOT_IMPLEMENTED)


# The base members


def test_ids_are_echoed(plain):
    for ident in (1 << 62, (1 << 63) - 1, 77):
        plain.request("DumpStacks", ident=ident)
        assert plain.answer(ident)["Result"] == 0


@pytest.mark.parametrize("sent, echoed", [
    ("01234567-89ab-cdef-0123-456789abcdef", "01234567-89ab-cdef-0123-456789abcdef"),
    (b.ZERO_GUID, b.ZERO_GUID), (None, None), ("", None), ("nonsense", None)])
def test_activity_id(plain, sent, echoed):
    body = {"ActivityId": sent}
    assert plain.call("DumpStacks", body).get("ActivityId") == echoed
    failure = plain.ask("GetProperties", body, cid="unknown")
    b.check_failure(failure, b.NO_SUCH_CONTAINER)
    assert failure.get("ActivityId") == echoed


def test_names_in_any_case_and_order_and_unknown_members(plain):
    text = (b' {"unknown": {"deep": [1, {"x": null}]}, "minor": 1.5, "tImEoUtInMs": 0,'
            b' "otsc": {"traceparent": "00-1-2-01"}, "processid": 99999,'
            b' "CONTAINERID": "00000000-0000-0000-0000-00000000000\\u0030",'
            b' "activityid": null} \r\n\n')
    answer = plain.ask("WaitForProcess", text)
    assert answer["Result"] == b.NOT_FOUND


def test_a_repeated_member_is_refused(plain):
    """Go lets the last one win; two parsers that disagree are how a policy is bypassed."""
    text = b'{"ContainerId":"first","ContainerId":"second","TimeoutInMs":0,"ProcessId":1}'
    b.check_failure(plain.ask("WaitForProcess", text), b.INVALID_JSON)


def test_html_characters_are_escaped(plain):
    """bridge.decode() looks at each payload; here there is something to escape."""
    answer = plain.ask("GetProperties", cid="<&>\u2028")
    b.check_failure(answer, b.NO_SUCH_CONTAINER)
    assert "<&>" in answer["ErrorMessage"]


# Create and Start


def test_create_does_not_run_the_program(agent, plain, own_rootfs):
    cid = agent.create(sh("touch /ran", rootfs=own_rootfs))
    plain.idle(0.1)
    assert not (own_rootfs / "ran").exists()
    assert plain.start(cid, "").wait_answer()["ExitCode"] == 0
    assert (own_rootfs / "ran").exists()


def test_create_answer(agent, plain, rootfs):
    cid = agent.new_id()
    answer = plain.create(cid, sh("true", rootfs=rootfs), agent.bundle(cid))
    assert answer == {"Result": 0, "ActivityId": b.ZERO_GUID, "SelectedProtocolVersion": 0}


def test_start_is_answered_and_does_nothing(agent, plain, own_rootfs):
    assert plain.call("Start", cid="never heard of") == {"Result": 0, "ActivityId": b.ZERO_GUID}
    cid = agent.create(sh("touch /ran", rootfs=own_rootfs))
    plain.call("Start", cid=cid)
    plain.idle(0.1)
    assert not (own_rootfs / "ran").exists()


def test_bundle_directory_is_made_private_and_removed(agent, plain, rootfs):
    scratch = agent.place.path / "scratch"
    (scratch / "deep").mkdir(parents=True)
    (scratch / "deep/file").write_text("x")
    cid = agent.create(sh("true", rootfs=rootfs), ScratchDirPath=str(scratch))
    assert agent.bundle(cid).stat().st_mode & 0o7777 == 0o700
    assert plain.start(cid, "").wait_answer()["ExitCode"] == 0
    plain.delete(cid)
    assert not agent.bundle(cid).exists() and not scratch.exists()


def test_duplicate_id(agent, plain, rootfs):
    cid = agent.create(sh("true", rootfs=rootfs))
    plain.create(cid, sh("true", rootfs=rootfs), agent.bundle(cid), result=b.EXISTS)
    plain.containers = [cid]


@pytest.mark.parametrize("version", [{"Major": 2}, {"Major": 1, "Minor": 9}, {}, None])
def test_old_schema(agent, plain, rootfs, version):
    cid = agent.new_id()
    plain.create(cid, sh("true", rootfs=rootfs), agent.bundle(cid), result=b.INVALID_JSON,
                 SchemaVersion=version)
    assert not agent.bundle(cid).exists()


def test_newer_schema(agent, plain, rootfs):
    agent.create(sh("true", rootfs=rootfs), SchemaVersion={"Major": 2, "Minor": 6})


@pytest.mark.parametrize("kind, sandbox", [("bogus", None), ("container", "nowhere"),
                                           ("container", None)])
def test_container_role(agent, plain, rootfs, kind, sandbox):
    spec = sh("true", rootfs=rootfs)
    spec["annotations"] = {"io.kubernetes.cri.container-type": kind}
    if sandbox:
        spec["annotations"]["io.kubernetes.cri.sandbox-id"] = sandbox
    cid = agent.new_id()
    plain.create(cid, spec, agent.bundle(cid), result=b.FAIL)


def test_failed_create_leaves_the_id_free(agent, plain, rootfs):
    cid = agent.new_id()
    bad = sh("true", rootfs="/nowhere/at/all")
    with pytest.raises(b.Failed) as failed:
        plain.create(cid, bad, agent.bundle(cid))
    assert "/nowhere/at/all" in failed.value.text
    assert not agent.bundle(cid).exists()
    agent.create(sh("true", rootfs=rootfs), cid=cid)
    assert not [n for n in plain.notifications if n["ContainerId"] == cid]


# Processes


@pytest.mark.parametrize("code", [0, 1, 7, 126, 255])
def test_exit_codes(agent, plain, rootfs, code):
    _, init = agent.run(sh(f"exit {code}", rootfs=rootfs))
    assert init.finish() == (code, b"", b"")


@pytest.mark.parametrize("signal", [1, 2, 6, 9, 11, 15, 31])
def test_exit_by_signal(agent, plain, rootfs, signal):
    cid, init = agent.run(sh("sleep 100", rootfs=rootfs))
    victim = plain.exec(cid, "sleep", "100")
    victim.signal(signal)
    assert victim.finish()[0] == 128 + signal


def test_streams_of_init(agent, plain, rootfs):
    _, init = agent.run(sh("echo out; echo err >&2; cat; exit 3", rootfs=rootfs), "ioe")
    init.stdin.sendall(b"through\n")
    init.close_stdin()
    assert init.finish() == (3, b"out\nthrough\n", b"err\n")


def test_execute_answer_and_pid(agent, plain, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs))
    assert init.answer == {"Result": 0, "ActivityId": b.ZERO_GUID, "ProcessId": init.pid}
    host = agent.host_pid(init.pid)
    assert b"sleep" in open(f"/proc/{host}/cmdline", "rb").read()
    other = plain.exec(cid, "sleep", "100")
    assert other.pid != init.pid and agent.host_pid(other.pid)


def test_second_start_of_init_fails(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs))
    with pytest.raises(b.Failed) as failed:
        plain.execute(cid, {}, "")
    b.check_failure(failed.value.answer)


def test_streams_are_dialled_in_order_and_closed_on_failure(agent, plain, rootfs):
    """The second of three has no listener: the first was dialled and closed, the third never."""
    cid = agent.create(config("true", rootfs=rootfs))
    first, listener_in = b.listen_next(plain.path)
    missing = first + 1000
    third, listener_err = b.listen_next(plain.path)
    with listener_in, listener_err:
        answer = plain.ask("ExecuteProcess", {"Settings": {
            "ProcessParameters": b.inner({"CreateStdInPipe": True, "CreateStdOutPipe": True,
                                          "CreateStdErrPipe": True}),
            "VsockStdioRelaySettings": {"StdIn": first, "StdOut": missing, "StdErr": third}}}, cid)
        b.check_failure(answer)
        listener_in.settimeout(2)
        sock, _ = listener_in.accept()
        with sock:
            sock.settimeout(2)
            assert sock.recv(1) == b""
        assert not select.select([listener_err], [], [], 0.1)[0]


def test_streams_without_a_flag_are_not_dialled(agent, plain, rootfs):
    cid = agent.create(config("true", rootfs=rootfs))
    port, listener = b.listen_next(plain.path)
    with listener:
        answer = plain.call("ExecuteProcess", {"Settings": {
            "ProcessParameters": "{}",
            "VsockStdioRelaySettings": {"StdIn": port, "StdOut": port, "StdErr": port}}}, cid)
        assert not select.select([listener], [], [], 0.1)[0]
    wait = plain.call("WaitForProcess", {"ProcessId": answer["ProcessId"], "TimeoutInMs": 5000}, cid)
    assert wait["ExitCode"] == 0


def test_flag_with_port_0_fails(agent, plain, rootfs):
    cid = agent.create(config("true", rootfs=rootfs))
    b.check_failure(plain.ask("ExecuteProcess", {"Settings": {
        "ProcessParameters": b.inner({"CreateStdOutPipe": True}),
        "VsockStdioRelaySettings": {}}}, cid))


def test_init_without_streams(agent, plain, own_rootfs):
    """Standard input is at its end at once; what is written is swallowed."""
    script = "cat; echo lost && echo swallowed > /result; exit 4"
    _, init = agent.run(sh(script, rootfs=own_rootfs), "")
    assert init.wait_answer()["ExitCode"] == 4
    assert (own_rootfs / "result").read_text() == "swallowed\n"


def test_exec_without_streams(agent, plain, own_rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=own_rootfs), "")
    script = "for n in 0 1 2; do x=$(readlink /proc/$$/fd/$n); echo $x >> /result; done"
    process = plain.exec(cid, "sh", "-c", script, streams="")
    assert process.wait_answer()["ExitCode"] == 0
    assert (own_rootfs / "result").read_text() == "/dev/null\n" * 3


def test_pipes_can_be_opened_again(agent, plain, rootfs):
    out = agent.output(sh("echo a > /dev/stdout; echo b > /proc/self/fd/1", rootfs=rootfs))
    assert out == "a\nb\n"


def test_wait_is_answered_only_after_the_host_closed(agent, plain, rootfs):
    _, init = agent.run(sh("echo data; exit 5", rootfs=rootfs))
    wait = init.begin_wait()
    assert init.stdout.recv(100) == b"data\n"
    assert init.stdout.recv(100) == b""     # half-closed
    assert init.stderr.recv(100) == b""
    plain.idle(0.2)
    assert plain.pending(wait)
    init.stdout.close()
    plain.idle(0.2)
    assert plain.pending(wait)
    init.stderr.close()
    assert plain.answer(wait, 1)["ExitCode"] == 5


def test_output_is_complete_when_the_reader_is_slow(agent, plain, rootfs):
    size = 3 << 20
    _, init = agent.run(sh(f"head -c {size} /dev/zero", rootfs=rootfs))
    wait = init.begin_wait()
    got = 0
    while data := init.stdout.recv(65536):
        got += len(data)
        time.sleep(0.002)
    assert got == size and plain.pending(wait)
    init.stdout.close()
    init.stderr.close()
    assert plain.answer(wait)["ExitCode"] == 0


def test_stdin_is_closed_at_exit(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.exec(cid, "true", streams="io")
    assert process.finish()[0] == 0
    process = plain.exec(cid, "true", streams="io")
    process.begin_wait()
    process.stdout.close()
    assert process.wait_answer()["ExitCode"] == 0
    with pytest.raises(OSError):
        process.stdin.settimeout(2)
        for _ in range(1000):
            process.stdin.send(bytes(65536))


def test_stdin_of_a_process_that_does_not_read(agent, plain, rootfs):
    """Its bytes wait without holding anything up."""
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.exec(cid, "sleep", "100", streams="i")
    process.stdin.setblocking(False)
    with pytest.raises(BlockingIOError):
        for _ in range(100):
            process.stdin.send(bytes(1 << 20))
    assert plain.exec(cid, "echo", "well").finish()[1] == b"well\n"
    process.signal(9)
    assert process.wait_answer()["ExitCode"] == 137


def test_100_execs(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    for n in range(100):
        code, out, err = plain.exec(cid, "sh", "-c", f"echo {n}; echo e{n} >&2; exit {n}").finish()
        assert (code, out, err) == (n, b"%d\n" % n, b"e%d\n" % n)


def test_100_execs_at_once(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    many = [plain.exec(cid, "sh", "-c", f"read x; echo $x {n}; exit {n}", streams="io")
            for n in range(100)]
    waits = [process.begin_wait() for process in many]
    assert len(plain.pids(cid)) == 101
    for n in reversed(range(100)):
        many[n].stdin.sendall(b"go\n")
        assert many[n].finish()[:2] == (n, b"go %d\n" % n)
    assert len(set(waits)) == 100


def test_waits_are_answered_out_of_order(agent, plain, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    first = init.begin_wait()
    slow = plain.exec(cid, "sh", "-c", "read x; exit 2", streams="i")
    second = slow.begin_wait()
    quick = plain.exec(cid, "sh", "-c", "exit 3", streams="")
    assert quick.wait_answer()["ExitCode"] == 3
    assert plain.pending(first) and plain.pending(second)
    slow.stdin.close()
    assert plain.answer(second)["ExitCode"] == 2
    assert plain.pending(first)
    init.signal()
    assert plain.answer(first)["ExitCode"] == 137


@pytest.mark.parametrize("timeout", [0, 1, 100])
def test_wait_timeout(agent, plain, rootfs, timeout):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    body = {"ProcessId": init.pid, "TimeoutInMs": timeout}
    begin = time.monotonic()
    plain.call("WaitForProcess", body, cid, b.TIMEOUT)
    assert timeout / 1000 <= time.monotonic() - begin < timeout / 1000 + 0.5
    init.signal(9)
    assert init.wait_answer()["ExitCode"] == 137
    assert plain.call("WaitForProcess", body, cid)["ExitCode"] == 137


def test_many_waits_on_one_process(agent, plain, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.exec(cid, "sh", "-c", "read x; exit 6", streams="i")
    body = {"ProcessId": process.pid, "TimeoutInMs": b.FOREVER}
    waits = [plain.request("WaitForProcess", body, cid) for _ in range(20)]
    short = plain.request("WaitForProcess", dict(body, TimeoutInMs=50), cid)
    assert plain.answer(short)["Result"] == b.TIMEOUT
    process.stdin.close()
    assert [plain.answer(wait)["ExitCode"] for wait in waits] == [6] * 20
    later = plain.ask("WaitForProcess", dict(body, TimeoutInMs=0), cid)
    assert later["Result"] == b.NOT_FOUND or later["ExitCode"] == 6


def test_init_can_be_waited_for_until_it_is_deleted(agent, plain, rootfs):
    cid, init = agent.run(sh("exit 9", rootfs=rootfs), "")
    for _ in range(3):
        assert init.wait_answer()["ExitCode"] == 9
    plain.delete(cid)
    plain.call("WaitForProcess", {"ProcessId": init.pid, "TimeoutInMs": 0}, cid,
               b.NO_SUCH_CONTAINER)


def test_wait_for_the_unknown(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    for pid in (0, 1, 31999, 0xFFFFFFFF):
        body = {"ProcessId": pid, "TimeoutInMs": 10}
        plain.call("WaitForProcess", body, cid, b.NOT_FOUND)
        plain.call("WaitForProcess", body, "nobody", b.NO_SUCH_CONTAINER)


def test_processes_belong_to_their_container(agent, plain, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    other, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    plain.call("WaitForProcess", {"ProcessId": init.pid, "TimeoutInMs": 0}, other, b.NOT_FOUND)
    plain.call("SignalProcess", {"ProcessId": init.pid}, other, b.NOT_FOUND)
    assert plain.pids(cid) == [init.pid]


def test_nothing_survives_an_init_that_shares_the_pid_namespace(agent, plain, rootfs):
    spec = without_namespace(sh("sleep 1000 & exec sleep 1001", rootfs=rootfs), "pid")
    cid, init = agent.run(spec, "")
    other = plain.exec(cid, "sleep", "1002")
    watch.eventually(lambda: len(plain.pids(cid)) == 3)
    init.signal(15)
    assert init.wait_answer()["ExitCode"] == 143
    assert other.finish()[0] == 137
    plain.delete(cid)


def test_exec_in_a_stopped_container(agent, plain, rootfs):
    cid, init = agent.run(sh("true", rootfs=rootfs), "")
    assert init.wait_answer()["ExitCode"] == 0
    plain.exec(cid, "true", result=b.NOT_RUNNING)


def test_exec_in_an_unknown_container(plain):
    plain.exec("nobody", "true", result=b.NO_SUCH_CONTAINER)
    plain.execute("nobody", {}, result=b.NO_SUCH_CONTAINER)


@pytest.mark.parametrize("user, expected", [
    ({"uid": 0, "gid": 0, "username": "tester"}, "1000:1000:1000 2000"),
    ({"uid": 0, "gid": 0, "username": "1000"}, "1000:1000:1000 2000"),
    ({"uid": 0, "gid": 0, "username": "tester:daemon"}, "1000:1:"),
    ({"uid": 0, "gid": 0, "username": "7:2000"}, "7:2000:"),
    ({"uid": 12, "gid": 13, "additionalGids": [14, 15]}, "12:13:13 14 15")])
def test_exec_users(agent, plain, rootfs, user, expected):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    script = "echo $(id -u):$(id -g):$(id -G)"
    code, out, err = plain.exec(cid, "sh", "-c", script, process={"user": user}).finish()
    assert code == 0, err
    uid, gid, groups = out.decode().strip().split(":")
    want_uid, want_gid, want_groups = expected.split(":")
    assert (uid, gid) == (want_uid, want_gid)
    if want_groups:
        assert sorted(groups.split()) == want_groups.split()


def test_exec_inherits_the_user_of_a_container_with_a_username(agent, plain, rootfs):
    spec = config("sleep", "100", rootfs=rootfs, user={"uid": 0, "gid": 0, "username": "tester"})
    cid, _ = agent.run(spec, "")
    assert plain.exec(cid, "id", "-u").finish() == (0, b"1000\n", b"")


def test_exec_has_the_rlimits_of_the_container(agent, plain, rootfs):
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 88}]
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs, rlimits=rlimits), "")
    process = {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 6}]}
    out = plain.exec(cid, "sh", "-c", "ulimit -Sn; ulimit -Hn", process=process).finish()[1]
    assert out == b"77\n88\n"


def test_cwd_is_made(agent, plain, own_rootfs):
    assert agent.output(config("pwd", rootfs=own_rootfs, cwd="/some/where")) == "/some/where\n"
    assert (own_rootfs / "some/where").stat().st_mode & 0o777 == 0o755


# Signals


@pytest.mark.parametrize("options", [None, {}, {"Signal": 0}, {"Signal": 9}])
def test_signal_is_kill_by_default(agent, plain, rootfs, options):
    cid, init = agent.run(sh("trap '' TERM; sleep 100", rootfs=rootfs), "")
    body = {"ProcessId": init.pid}
    if options is not None:
        body["Options"] = options
    assert plain.call("SignalProcess", body, cid) == {"Result": 0, "ActivityId": b.ZERO_GUID}
    assert init.wait_answer()["ExitCode"] == 137


def test_signal_reaches_the_process_only(agent, plain, rootfs):
    script = "(trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.1; done) &" \
             "trap 'echo parent' USR1; wait; wait; exit 3"
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.exec(cid, "sh", "-c", script, streams="o")
    assert process.stdout.recv(100) == b"ready\n"
    process.signal(10)
    assert process.stdout.recv(100) == b"parent\n"
    process.signal(9)
    process.begin_wait()
    for pid in set(plain.pids(cid)):
        plain.ask("SignalProcess", {"ProcessId": pid}, cid)


def test_signal_to_the_dead_and_the_unknown(agent, plain, rootfs):
    cid, init = agent.run(sh("true", rootfs=rootfs), "")
    assert init.wait_answer()["ExitCode"] == 0
    init.signal(15, result=b.NOT_FOUND)
    plain.call("SignalProcess", {"ProcessId": 31999}, cid, b.NOT_FOUND)
    plain.call("SignalProcess", {"ProcessId": 1}, cid, b.NOT_FOUND)
    plain.call("SignalProcess", {"ProcessId": init.pid}, "nobody", b.NO_SUCH_CONTAINER)


def test_signal_numbers(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.exec(cid, "sleep", "100", streams="")
    for bad in (-1, 65, 1000, -9):
        process.signal(bad, result=b.FAIL)
    plain.ask("SignalProcess", {"ProcessId": process.pid, "Options": {"Signal": 1.5}}, cid)
    process.signal(34)
    assert process.wait_answer()["ExitCode"] == 128 + 34


def test_vm_processes_cannot_be_signalled_in_plain_mode(agent, plain):
    process = plain.vm_exec("sleep", "0.3")
    plain.call("SignalProcess", {"ProcessId": process.pid}, b.NULL_CID, b.NO_SUCH_CONTAINER)
    assert process.finish()[0] == 0


# Terminals


def test_terminal(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.exec(cid, "sh", "-c", "tty; read x; stty size; echo got $x; exit 8",
                         streams="io", process={"terminal": True})
    assert process.stdout.recv(100) == b"/dev/pts/0\r\n"
    process.resize(33, 77)
    process.stdin.sendall(b"abc\n")
    process.begin_wait()
    out = process.read_all("o")
    assert out == b"abc\r\n33 77\r\ngot abc\r\n"
    assert process.wait_answer()["ExitCode"] == 8


def test_end_of_stdin_is_nothing_to_a_terminal(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.exec(cid, "cat", streams="io", process={"terminal": True})
    process.stdin.sendall(b"line\n")
    process.close_stdin()
    wait = process.begin_wait()
    plain.idle(0.3)
    assert plain.pending(wait)
    process.signal(9)
    assert process.read_all("o") == b"line\r\nline\r\n"
    assert process.wait_answer()["ExitCode"] == 137


def test_terminal_of_init(agent, plain, rootfs):
    spec = sh("test -t 0 && test -t 1 && test -t 2 && echo terminal; readlink /dev/console;"
              "ls -l /dev/console | cut -c1", rootfs=rootfs, terminal=True)
    _, init = agent.run(spec, "io")
    init.begin_wait()
    assert init.read_all("o").replace(b"\r", b"").split(b"\n")[0] == b"terminal"
    assert init.wait_answer()["ExitCode"] == 0


def test_console_size(agent, plain, rootfs):
    spec = sh("stty size", rootfs=rootfs, terminal=True, consoleSize={"height": 21, "width": 43})
    _, init = agent.run(spec, "io")
    init.begin_wait()
    assert init.read_all("o") == b"21 43\r\n"
    init.wait_answer()


def test_resize_of_what_is_no_terminal(agent, plain, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    with pytest.raises(b.Failed) as failed:
        init.resize(1, 2)
    assert failed.value.result == b.FAIL
    assert failed.value.text == f"pid: {init.pid}, is not a tty and cannot be resized"
    plain.call("ResizeConsole", {"ProcessId": 31999, "Height": 1, "Width": 1}, cid, b.NOT_FOUND)


# Properties and settings


def test_process_list(agent, plain, rootfs):
    cid, init = agent.run(sh("sleep 100 & sleep 100 & wait", rootfs=rootfs), "")
    watch.eventually(lambda: len(plain.pids(cid)) == 3)
    other = plain.exec(cid, "sleep", "100", streams="")
    pids = plain.pids(cid)
    assert len(pids) == 4 and init.pid in pids and other.pid in pids
    assert all(agent.host_pid(pid) for pid in pids)
    assert plain.properties(cid) == {}


def test_statistics(agent, plain, rootfs):
    spec = sh("head -c 3000000 /dev/zero | tail -c 3000000 > /dev/null; sleep 100", rootfs=rootfs)
    spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 55}}
    cid, _ = agent.run(spec, "")
    metrics = plain.properties(cid, "Statistics")["LCOWMetrics"]
    assert metrics["pids"]["limit"] == 55
    watch.eventually(lambda: plain.properties(cid, "Statistics")["LCOWMetrics"]["pids"]["current"])
    assert metrics["memory"]["usage"]["limit"] == 64 << 20
    assert metrics["memory"]["usage"]["usage"] > 0
    usage = metrics["cpu"]["usage"]
    assert usage["total"] > 0 and all(isinstance(v, int) for k, v in usage.items() if k != "per_cpu")
    both = plain.properties(cid, "ProcessList", "Statistics", "Bogus")
    assert set(both) == {"ProcessList", "LCOWMetrics"}


def test_properties_errors(agent, plain, rootfs):
    plain.properties(b.NULL_CID, "Statistics", result=b.FAIL)
    plain.properties("nobody", "Statistics", result=b.NO_SUCH_CONTAINER)
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    plain.call("GetProperties", {"Query": "{"}, cid, b.INVALID_JSON)
    plain.call("GetProperties", {"Query": "[]"}, cid, b.INVALID_JSON)
    assert plain.call("GetProperties", {"Query": ""}, cid)["Properties"] == "{}"
    assert plain.properties(cid, "Nonsense") == {}
    query = {"PropertyTypes": ["ProcessList"], "Queries": {"x": {}}}
    assert plain.call("GetProperties", {"Query": b.inner(query)}, cid)["Result"] == 0


def modify(bridge, cid, kind, settings, request="Update", result=0):
    body = {"Request": {"RequestType": request, "ResourceType": kind, "Settings": settings}}
    if settings is None:
        del body["Request"]["Settings"]
    return bridge.call("ModifySettings", body, cid, result)


def test_container_constraints(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    limits = {"Windows": {}, "Linux": {"memory": {"limit": 48 << 20}, "pids": {"limit": 33}}}
    modify(plain, cid, "ContainerConstraints", limits)
    metrics = plain.properties(cid, "Statistics")["LCOWMetrics"]
    assert metrics["memory"]["usage"]["limit"] == 48 << 20
    assert metrics["pids"]["limit"] == 33
    modify(plain, cid, "ContainerConstraints", {"Windows": {}, "Linux": {}})
    modify(plain, cid, "ContainerConstraints", {"Linux": {"pids": {"limit": 44}}}, "")
    metrics = plain.properties(cid, "Statistics")["LCOWMetrics"]
    assert (metrics["memory"]["usage"]["limit"], metrics["pids"]["limit"]) == (48 << 20, 44)


def test_modify_errors(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    for where in (cid, b.NULL_CID):
        answer = modify(plain, where, "Nonsense", {}, result=b.FAIL)
        assert "invalid ResourceType 'Nonsense'" in answer["ErrorMessage"]
    modify(plain, cid, "ContainerConstraints", None, result=b.INVALID_JSON)
    modify(plain, "nobody", "ContainerConstraints", {}, result=b.NO_SUCH_CONTAINER)
    modify(plain, b.NULL_CID, "ContainerConstraints", {}, result=b.NO_SUCH_CONTAINER)
    modify(plain, cid, "ContainerConstraints", {"Linux": {"memory": {"limit": "x"}}},
           result=b.INVALID_JSON)
    plain.call("ModifySettings", {}, cid, b.INVALID_JSON)
    # Only containers may be constrained with a container's id.
    modify(plain, cid, "MappedDirectory", {"MountPath": "/x"}, "Add", result=b.FAIL)


# Shutdown, deletion, notification


@pytest.mark.parametrize("name, code, kind", [("ShutdownGraceful", 143, "GracefulExit"),
                                              ("ShutdownForced", 137, "ForcedExit")])
def test_shutdown(agent, plain, rootfs, name, code, kind):
    cid, init = agent.run(without_namespace(config("sleep", "100", rootfs=rootfs), "pid"), "")
    assert plain.call(name, cid=cid) == {"Result": 0, "ActivityId": b.ZERO_GUID}
    assert init.wait_answer()["ExitCode"] == code
    assert plain.notification(cid)["Type"] == kind
    plain.call(name, cid=cid, result=b.NOT_RUNNING)
    plain.delete(cid)
    plain.call(name, cid=cid, result=b.NO_SUCH_CONTAINER)


def test_shutdown_signals_init_only(agent, plain, rootfs):
    cid, init = agent.run(sh("trap 'exit 6' TERM; echo; while :; do sleep 0.05; done", rootfs=rootfs),
                          "o")
    other = plain.exec(cid, "sh", "-c", "trap 'echo signalled' TERM; echo; while :; do sleep 0.05; done",
                       streams="o")
    init.stdout.recv(1), other.stdout.recv(1)
    plain.call("ShutdownGraceful", cid=cid)
    init.begin_wait(), other.begin_wait()
    assert other.read_all("o") == b""
    assert other.wait_answer()["ExitCode"] == 137       # with the pid namespace
    init.stdout.close()
    assert init.wait_answer()["ExitCode"] == 6


def test_shutdown_of_the_vm_has_no_answer(agent, plain, rootfs):
    agent.run(config("sleep", "100", rootfs=rootfs), "")
    plain.request("ShutdownGraceful", cid=b.NULL_CID)
    plain.expect_close()
    assert plain.asked and not plain.answers
    assert agent.popen.wait(5) == 0


def test_notification(agent, plain, rootfs):
    cid = agent.new_id()
    document = {"SchemaVersion": {"Major": 2, "Minor": 1}, "OciBundlePath": str(agent.bundle(cid)),
                "OciSpecification": sh("exit 3", rootfs=rootfs), "ScratchDirPath": ""}
    activity = "11111111-2222-3333-4444-555555555555"
    plain.call("Create", {"ActivityId": activity, "ContainerConfig": b.inner(document)}, cid)
    plain.containers.append(cid)
    init = plain.start(cid, "")
    assert init.wait_answer()["ExitCode"] == 3
    told = plain.notification(cid)
    assert told == {"ContainerId": cid, "ActivityId": activity, "Type": "UnexpectedExit",
                    "Operation": "None", "Result": 0}
    init.wait_answer()
    plain.delete(cid)
    plain.idle(0.1)
    assert plain.exits_told[cid] == 1


def test_notification_without_an_activity_id(agent, plain, rootfs):
    cid = agent.new_id()
    document = {"SchemaVersion": {"Major": 2, "Minor": 1}, "OciBundlePath": str(agent.bundle(cid)),
                "OciSpecification": sh("exit 3", rootfs=rootfs)}
    plain.call("Create", {"ActivityId": "", "ContainerConfig": b.inner(document)}, cid)
    plain.containers.append(cid)
    plain.start(cid, "").wait_answer()
    assert plain.notification(cid).get("ActivityId") is None


def test_delete(agent, plain, rootfs):
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs), "")
    answer = plain.ask("DeleteContainerState", cid=cid)
    b.check_failure(answer, b.INVALID_STATE)
    plain.call("ShutdownForced", cid=cid)
    assert init.wait_answer()["ExitCode"] == 137
    plain.delete(cid)
    plain.delete(cid, result=b.NO_SUCH_CONTAINER)
    plain.delete("nobody", result=b.NO_SUCH_CONTAINER)


def test_delete_of_a_created_container(agent, plain, own_rootfs):
    cid = agent.create(sh("touch /ran", rootfs=own_rootfs))
    plain.call("ShutdownForced", cid=cid)
    watch.eventually(lambda: plain.ask("DeleteContainerState", cid=cid)["Result"] == 0)
    plain.containers.remove(cid)
    assert not (own_rootfs / "ran").exists()
    agent.check_clean()


def test_dump_stacks(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    answer = plain.call("DumpStacks")
    assert isinstance(answer["GuestStacks"], str) and cid in answer["GuestStacks"]


# Size of the agent's frames


def test_long_errors_are_cut(agent, plain, rootfs):
    """bridge.Bridge refuses a frame over 64 KiB."""
    for size in (1000, 65000, 300000):
        for text in ("x" * size, "\u0007" * size, "<" * size, "\u20ac" * size):
            spec = sh("true", rootfs=rootfs)
            spec["linux"]["namespaces"][0]["type"] = text
            cid = agent.new_id()
            with pytest.raises(b.Failed) as failed:
                plain.create(cid, spec, agent.bundle(cid))
            assert failed.value.text
            answer = plain.ask("WaitForProcess", {"ProcessId": 1}, cid=text)
            assert answer["Result"] == b.NO_SUCH_CONTAINER
    assert plain.max_frame_seen <= 65536


def test_long_process_list(agent, plain, rootfs):
    cid, _ = agent.run(sh("i=0; while [ $i -lt 300 ]; do sleep 1000 & i=$((i+1)); done; wait",
                          rootfs=rootfs), "")
    watch.eventually(lambda: len(plain.pids(cid)) == 301, 15)
    assert plain.max_frame_seen <= 65536


# Processes of the VM


def test_vm_process(plain):
    process = plain.vm_exec("sh", "-c", "echo out $X; echo err >&2; pwd; cat; exit 4", streams="ioe",
                            parameters={"Environment": {"X": "y z", "PATH": "/bin:/usr/bin"},
                                        "WorkingDirectory": "/tmp"})
    process.stdin.sendall(b"in\n")
    process.close_stdin()
    assert process.finish() == (4, b"out y z\n/tmp\nin\n", b"err\n")


@pytest.mark.parametrize("line, words", [
    ("echo a b", "a b"), ("echo 'a  b' \"c  d\"", "a  b c  d"), ("echo a\\ b", "a b"),
    ("  echo  x  ", "x"), ("echo '$HOME' \"*\"", "$HOME *"), ("echo ''", "")])
def test_vm_command_line(plain, line, words):
    process = plain.vm_exec(parameters={"CommandLine": line})
    assert process.finish() == (0, words.encode() + b"\n", b"")


def test_vm_process_killed_by_a_signal(plain):
    process = plain.vm_exec("sh", "-c", "kill -9 $$", streams="")
    assert process.wait_answer()["ExitCode"] == 0xFFFFFFFF


def test_vm_process_in_a_container_of_that_name(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    process = plain.execute(cid, {"CreateInUtilityVM": True,
                                  "CommandArgs": ["readlink", "/proc/self/exe"],
                                  "Environment": {"PATH": "/usr/bin:/bin"}})
    process.cid = b.NULL_CID
    code, out, _ = process.finish()
    assert code == 0 and b"busybox" not in out


def test_vm_console(plain):
    process = plain.vm_exec("sh", "-c", "tty > /dev/null && stty -echo && read x && echo got $x",
                            streams="io", parameters={"EmulateConsole": True})
    process.begin_wait()
    process.stdin.sendall(b"line\n")
    out = process.read_all("o")
    assert out.endswith(b"got line\r\n")
    assert process.wait_answer()["ExitCode"] == 0


@pytest.mark.parametrize("parameters", [
    {}, {"CommandArgs": []}, {"CommandLine": ""}, {"CommandLine": "   "}, {"CommandArgs": [""]},
    {"CommandArgs": ["/no/such/file"]}, {"CommandArgs": ["no-such-program"]},
    {"CommandArgs": ["/etc/passwd"]}, {"CommandArgs": ["/"]}, {"CommandLine": "echo 'open"},
    {"CommandArgs": ["true"], "WorkingDirectory": "/no/such"}])
def test_vm_process_that_cannot_be(agent, plain, parameters):
    answer = plain.ask("ExecuteProcess", {"Settings": {
        "ProcessParameters": b.inner(parameters), "VsockStdioRelaySettings": {}}})
    b.check_failure(answer)
    assert plain.vm_exec("true").finish()[0] == 0


# Losing the connection


def test_redial(agent, plain, rootfs):
    cid, init = agent.run(sh("read x; exit 7", rootfs=rootfs), "i")
    wait = init.begin_wait()
    begin = time.monotonic()
    plain = agent.plain()
    assert time.monotonic() - begin < 1
    plain.idle(0.1)
    assert wait not in plain.answers
    assert plain.pids(cid) == [init.pid]
    init.stdin.close()
    assert plain.answer(wait)["ExitCode"] == 7          # with its old id
    plain.notification(cid)
    plain.delete(cid)


def test_exit_while_disconnected(agent, plain, rootfs):
    cid, init = agent.run(sh("read x; exit 7", rootfs=rootfs), "i")
    init.begin_wait()
    agent.host.close()
    plain.close()
    init.stdin.close()
    time.sleep(0.3)
    os.unlink(f"{agent.host.base}_{b.BRIDGE_PORT}")
    agent.host = b.Host(agent.host.base)
    agent.connect()
    bridge = agent.bridge
    bridge.negotiate()
    bridge.notification(cid)
    body = {"ProcessId": init.pid, "TimeoutInMs": 50}
    assert bridge.call("WaitForProcess", body, cid)["ExitCode"] == 7
    bridge.delete(cid)
    bridge.idle(0.1)


def test_redial_for_ever(agent, plain):
    """20 connections that come to nothing."""
    for _ in range(20):
        agent.connect()
    agent.plain()


def test_redial_after_a_long_silence(agent, plain):
    plain.close()
    agent.host.close()
    os.unlink(f"{agent.host.base}_{b.BRIDGE_PORT}")
    time.sleep(2.5)
    agent.host = b.Host(agent.host.base)
    begin = time.monotonic()
    agent.connect()
    assert time.monotonic() - begin < 1.3
    agent.bridge.negotiate()


def test_stdio_lives_on_without_the_bridge(agent, plain, rootfs):
    """Standard streams are connections of their own."""
    _, init = agent.run(sh("while read x; do echo $x; done; exit 2", rootfs=rootfs), "io")
    init.begin_wait()
    agent.plain()
    init.bridge = agent.bridge
    init.stdin.sendall(b"still\n")
    assert init.stdout.recv(100) == b"still\n"
    init.stdin.shutdown(socket.SHUT_WR)
    assert init.finish() == (2, b"", b"")


def test_answers_are_compact_json(agent, plain, rootfs):
    cid, _ = agent.run(config("sleep", "100", rootfs=rootfs), "")
    text = plain.call("GetProperties", {"Query": '{"PropertyTypes":["ProcessList"]}'}, cid)
    assert text["Properties"] == json.dumps(json.loads(text["Properties"]), separators=(",", ":"))


def test_namespace_paths(agent, plain, rootfs):
    """A workload joins its sandbox by the pid that ExecuteProcess told."""
    cid, init = agent.run(config("sleep", "100", rootfs=rootfs, ), "")
    spec = namespaces(sh("readlink /proc/self/ns/net; hostname", rootfs=rootfs), "pid", "mount",
                      ("network", f"/proc/{init.pid}/ns/net"), ("ipc", f"/proc/{init.pid}/ns/ipc"),
                      ("uts", f"/proc/{init.pid}/ns/uts"))
    del spec["hostname"]
    name, host = agent.output(spec).split()
    assert name == os.readlink(f"/proc/{agent.host_pid(init.pid)}/ns/net")
    assert host == "box"
    plain.call("ShutdownForced", cid=cid)


# What a guest of Microsoft's host dials when it boots


class Booting:
    """An agent with these ports, and the host's ends of them."""

    def __init__(self, place):
        self.place = place
        self.base = place.path / "b"
        self.agent = self.log = self.entropy = None

    def start(self, *options):
        self.agent = Agent(self.place, *options)
        return self.agent

    def kernel_log(self):
        """Where the log goes that goes nowhere else: here it is standard error."""
        return self.agent.log_path.read_text(errors="replace")

    def wait(self, words, timeout=5):
        watch.eventually(lambda: words in self.kernel_log(), timeout, words)

    def check_clean(self):
        """Nothing but the bridge is open."""
        def sockets():
            return [name for name in self.agent.state()["fds"] if name == "socket"]
        watch.eventually(lambda: len(sockets()) == 1, 3, "the end of the other connections")

    def close(self):
        for part in (self.agent and self.agent.bridge, self.log, self.entropy):
            if part:
                part.close()
        if self.agent:
            self.agent.kill()
            print(self.kernel_log()[-8000:])


@pytest.fixture
def booting(place):
    made = Booting(place)
    yield made
    made.close()


def test_entropy_port(booting):
    booting.entropy = bootports.Entropy(booting.base)
    agent = booting.start("--entropy-port", "1")
    booting.entropy.give()
    booting.wait("entropy from the host: 512 bytes")
    agent.plain()
    booting.check_clean()
    assert booting.entropy.given == 1 and agent.end() == 0


@pytest.mark.parametrize("size, said", [
    (0, "entropy from the host: none"), (1, "entropy from the host: 1 bytes"),
    (1 << 20, "entropy from the host: 4096 bytes")])
def test_entropy_of_other_sizes(booting, size, said):
    booting.entropy = bootports.Entropy(booting.base)
    agent = booting.start("--entropy-port", "1")
    booting.entropy.give(size)
    booting.wait(said)
    agent.plain().vm_exec("true").finish()
    booting.check_clean()


def test_entropy_of_a_host_that_does_not_close(booting):
    """It has ten seconds; the bridge does not wait for it."""
    booting.entropy = bootports.Entropy(booting.base)
    agent = booting.start("--entropy-port", "1")
    with booting.entropy.give(100, keep=True):
        begin = time.monotonic()
        assert agent.plain().vm_exec("echo", "well").finish() == (0, b"well\n", b"")
        assert time.monotonic() - begin < 2
        booting.wait("after 100 bytes: connection timed out", 15)
        booting.wait("entropy from the host: 100 bytes")
    booting.check_clean()


def test_ports_that_nobody_listens_on(booting):
    agent = booting.start("--entropy-port", "1", "--log-port", "109")
    assert agent.plain().vm_exec("echo", "well").finish() == (0, b"well\n", b"")
    booting.wait("entropy from the host: after 0 bytes: no such file or directory")
    booting.wait("log: port 109 of the host: cannot be dialled: no such file or directory")
    booting.check_clean()
    assert agent.end() == 0


@pytest.mark.parametrize("option", ["--entropy-port", "--log-port"])
def test_port_0_is_none(booting, option):
    agent = booting.start(option, "0")
    agent.plain().vm_exec("true").finish()
    assert "the host:" not in booting.kernel_log()
    booting.check_clean()


@pytest.mark.parametrize("option", ["--entropy-port", "--log-port"])
@pytest.mark.parametrize("value", ["", "x", "-1", "4294967295", "1x"])
def test_bad_ports(option, value):
    result = subprocess.run([HVAGENT, option, value], capture_output=True, text=True, timeout=5)
    assert result.returncode == 1 and not result.stdout
    assert result.stderr == f'hvagent: bad {option} "{value}"; see hvagent --help\n'


def test_log_port(booting, rootfs):
    booting.log = bootports.Log(booting.base)
    agent = booting.start("--log-port", "109")
    booting.log.accept()
    assert booting.log.wait("version ")["level"] == "info"
    agent.plain()
    booting.log.wait("bridge: negotiated")
    # Whatever the text, it stays JSON.
    agent.bridge.ask("GetProperties", cid='x"\\\n\u2028\x01<&>' + "\u20ac" * 4000)
    assert booting.log.wait("does not exist")["level"] == "debug"
    assert agent.output(sh("echo well", rootfs=rootfs)) == "well\n"
    # What came before is where it was, and nothing since.
    text = booting.kernel_log()
    assert "log: from here on to port 109 of the host" in text and "negotiated" not in text
    assert agent.end() == 0
    booting.log.wait("ending: SIGTERM")
    assert not booting.log.rest


def test_log_reader_that_goes(booting):
    """The log goes on where it went before."""
    booting.log = bootports.Log(booting.base)
    agent = booting.start("--log-port", "109")
    booting.log.accept()
    booting.log.wait("version ")
    booting.log.hang_up()
    booting.wait("log: port 109 of the host: the connection was lost: closed by the host")
    agent.plain().vm_exec("true").finish()
    booting.wait("bridge: negotiated")
    booting.check_clean()


def test_log_reader_that_does_not_read(booting):
    """Nobody waits for it, memory keeps a bound, and what was lost is counted."""
    booting.log = bootports.Log(booting.base)
    agent = booting.start("--log-port", "109")
    booting.log.accept()
    plain = agent.plain()
    plain.ask("DumpStacks")
    before = watch.rss(agent.pid)
    begin, count = time.monotonic(), 4000
    for n in range(count):
        plain.call("GetProperties", cid=f"unknown-{n}-" + "x" * 300, result=b.NO_SUCH_CONTAINER)
    print(f"{count} requests took {time.monotonic() - begin:.1f} s, "
          f"{before} KiB have become {watch.rss(agent.pid)}")
    assert watch.rss(agent.pid) - before < 1024
    got = len(booting.log.said("unknown-"))
    assert 100 < got < count
    lost = 0
    for n in range(3):
        plain.ask("GetProperties", cid=f"later-{n}")
        booting.log.wait(f"later-{n}")
    for entry in booting.log.said("lines of the log were lost here"):
        assert entry["level"] == "warning"
        lost += int(entry["msg"].split()[0])
    assert len(booting.log.said("unknown-")) + lost == count
