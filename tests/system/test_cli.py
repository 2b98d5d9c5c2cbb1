# SPDX-License-Identifier: Apache-2.0
"""hvrun's verbs with the local partition, as a user and as a container engine calls them."""

import json
import os
import re
import signal
import stat
import subprocess
import time
import uuid

import pytest

import watch
from container import PATH, config, mount, sh, write_bundle

VERBS = ["run", "create", "start", "delete", "exec", "kill", "pause", "resume", "update", "state",
         "list", "ps", "stats", "events", "logs", "spec", "features", "hv"]


@pytest.fixture
def box(hv, rootfs):
    """The id of a container that just runs."""
    return hv.background(config("sleep", "1000", rootfs=rootfs))


# Help, version, options


def test_help(hv):
    text = hv.run("--help").stdout
    assert hv.run("-h").stdout == text
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", text, re.M), f"{verb} is not in the help"
    assert hv.run(status=None).returncode != 0


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb(hv, verb):
    result = hv.run(verb, "--help")
    assert result.stdout.startswith(f"usage: hvrun {verb}") and not result.stderr
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_version(hv):
    lines = hv.run("--version").stdout.splitlines()
    assert re.match(r"hvrun version \d+\.\d+\.\d+", lines[0])
    assert any(line.startswith("spec: 1.") for line in lines)
    assert hv.run("-v").stdout.splitlines() == lines


@pytest.mark.parametrize("args", [
    ["--bogus", "list"], ["list", "--bogus"], ["-x", "list"], ["list", "-x"], ["bogus"], [""],
    ["state"], ["state", "a", "b"], ["kill"], ["exec"], ["run"], ["create", "a", "b"], ["list", "a"],
    ["--root"], ["run", "--bundle"], ["logs", "--tail", "x", "a"], ["list", "--format", "xml"],
    ["--log-format", "xml", "list"], ["--log-level", "loud", "list"], ["--partition", "moon",
                                                                       "list", "--bogus"]])
def test_bad_usage(hv, args):
    hv.fails(*args, status=None)
    assert hv.run(*args, status=None).returncode not in (0, None)


@pytest.mark.parametrize("words, text", [
    (["run", "-x", "a"], 'run: unknown option "-x"; see hvrun run --help'),
    (["run", "--bogus", "a"], 'run: unknown option "--bogus"; see hvrun run --help'),
    (["-x"], 'unknown option "-x"; see hvrun --help'),
    (["run", "-b"], 'run: option "-b" needs an argument'),
    (["logs", "--tail", "x", "a"], 'logs: --tail "x" is not a number'),
    (["list", "a"], "usage: hvrun list [options]"),
    (["state"], "usage: hvrun state ID"),
])
def test_bad_usage_is_explained(hv, words, text):
    assert hv.run(*words, status=1).stderr == f"hvrun: {text}\n"


def test_options_with_equals_sign(hv, rootfs):
    hv.run("list", "--format=json", options=["--log-format=json", "--debug"])


@pytest.mark.parametrize("option", [["--systemd-cgroup"], ["--rootless", "false"],
                                    ["--rootless=auto"], ["--cgroup-manager", "cgroupfs"],
                                    ["--cgroup-manager=systemd"], ["--criu", "/x"], ["--debug"],
                                    ["--log-level", "debug"], ["--log", ""]])
def test_options_of_other_runtimes(hv, option):
    hv.run("list", options=option)


def test_minimal_environment(hv, rootfs):
    """podman calls state, kill and delete with XDG_RUNTIME_DIR and nothing else."""
    cid = hv.background(config("sleep", "100", rootfs=rootfs))
    hv.environment = {"XDG_RUNTIME_DIR": "/run/user/0"}
    assert hv.status(cid) == "running"
    hv.run("kill", cid, "KILL")
    hv.wait_status(cid, "stopped")
    hv.run("delete", "--force", cid)


def test_closed_standard_streams(hv, box):
    """None of them is mistaken for something else."""
    script = f'exec "$@" <&- >&- 2>&-'
    for words in (["state", box], ["list"], ["exec", box, "true"], ["state", "nobody"]):
        subprocess.run(["sh", "-c", script, "sh", *hv.words(*words)], timeout=10)
    assert hv.status(box) == "running"


def test_reader_that_goes_away(hv, box):
    """podman closes the read end of stderr before state has said anything."""
    for words in (["state", "nobody"], ["state", box], ["list"]):
        read, write = os.pipe()
        os.close(read)
        process = hv.popen(*words, stdout=write, stderr=write)
        os.close(write)
        assert process.wait(5) >= 0, "died of SIGPIPE"


def test_long_root(hv, rootfs):
    hv.root = hv.place.path / ("x" * 90) / ("y" * 90)
    cid = hv.background(config("sleep", "100", rootfs=rootfs))
    assert hv.run("exec", cid, "echo", "well").stdout == "well\n"


# run


def test_run(hv, rootfs):
    result = hv.run_spec(sh("echo out; echo err >&2; exit 7", rootfs=rootfs), status=7)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert hv.list() == []


@pytest.mark.parametrize("script, status", [("exit 0", 0), ("exit 255", 255), ("kill -9 $$", 0),
                                            ("exit 126", 126)])
def test_run_has_the_status_of_the_container(hv, rootfs, script, status):
    # As process 1 of its namespace it cannot kill itself.
    hv.run_spec(sh(script, rootfs=rootfs), status=status)


def test_run_reads_standard_input(hv, rootfs):
    data = os.urandom(3_000_000)
    result = hv.run_spec(config("cat", rootfs=rootfs), input=data, text=False)
    assert result.stdout == data


def test_run_with_its_end_of_standard_input_open(hv, rootfs):
    """A process that ends does not wait for input that nobody sends."""
    read, write = os.pipe()
    process = hv.popen("run", "-b", hv.bundle(sh("exit 4", rootfs=rootfs)), hv.new_id(), stdin=read)
    os.close(read)
    assert process.wait(5) == 4
    os.close(write)


def test_output_is_complete(hv, rootfs):
    """A hundred times the last word before an exit, however slow the reader."""
    bundle = hv.bundle(sh("head -c 200000 /dev/zero; echo last", rootfs=rootfs))
    for n in range(30):
        process = hv.popen("run", "-b", bundle, hv.new_id())
        if n % 3 == 0:
            time.sleep(0.05)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 0 and len(out) == 200005 and out.endswith(b"last\n")


def test_run_ends_though_a_grandchild_holds_the_output(hv, rootfs):
    """In a pid namespace of its own nothing outlives the init."""
    begin = time.monotonic()
    result = hv.run_spec(sh("sleep 30 & echo done", rootfs=rootfs))
    assert result.stdout == "done\n" and time.monotonic() - begin < 3


def test_run_in_the_bundle(hv, rootfs):
    bundle = hv.bundle(sh("echo here", rootfs=rootfs))
    assert hv.run("run", hv.new_id(), cwd=bundle).stdout == "here\n"


def test_relative_root_path(hv, own_rootfs):
    spec = sh("cat /etc/passwd | head -n 1", rootfs="rootfs")
    write_bundle(own_rootfs.parent, spec)
    assert hv.run("run", "-b", own_rootfs.parent, hv.new_id()).stdout.startswith("root:")


def test_other_config_file(hv, rootfs):
    bundle = hv.bundle(sh("echo wrong", rootfs=rootfs))
    other = hv.place.path / "other.json"
    other.write_text(json.dumps(sh("echo right", rootfs=rootfs)))
    assert hv.run("run", "-f", other, "-b", bundle, hv.new_id()).stdout == "right\n"


def test_run_keep(hv, rootfs):
    cid = hv.new_id()
    hv.run_spec(sh("exit 3", rootfs=rootfs), "--keep", name=cid, status=3)
    assert hv.status(cid) == "stopped"
    hv.run("delete", cid)


def test_run_pid_file_and_signals(hv, rootfs):
    """The process in the foreground is the one that engines watch."""
    cid = hv.new_id()
    script = "trap 'echo got it; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    file = hv.place.path / "pid"
    process = hv.popen("run", "--pid-file", file, "-b", hv.bundle(sh(script, rootfs=rootfs)), cid)
    assert process.stdout.readline() == b"ready\n"
    assert int(file.read_text()) == process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 5
    assert process.stdout.read() == b"got it\n"


def test_run_detached(hv, rootfs):
    cid = hv.background(sh("echo out; echo err >&2; sleep 100", rootfs=rootfs))
    assert hv.status(cid) == "running"
    watch.eventually(lambda: hv.run("logs", cid).stdout == "out\n")
    hv.fails("delete", cid)
    hv.run("kill", cid, "KILL")
    hv.wait_status(cid, "stopped")
    hv.run("delete", cid)
    assert "does not exist" in hv.fails("state", cid)


# create, start, state, kill, delete


def test_lifecycle(hv, own_rootfs):
    spec = sh("touch /ran; trap 'exit 9' TERM; while :; do sleep 0.05; done", rootfs=own_rootfs)
    spec["annotations"] = {"org.example.key": "value", "empty": ""}
    cid = hv.create(spec)
    state = hv.state(cid)
    assert state["ociVersion"].startswith("1.") and state["id"] == cid
    assert state["status"] == "created" and state["pid"] == hv.pid(cid)
    assert state["bundle"] == str(hv.place.path / f"b-{cid}")
    assert state["rootfs"] == str(own_rootfs)
    assert state["annotations"] == spec["annotations"]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z", state["created"])
    time.sleep(0.1)
    assert not (own_rootfs / "ran").exists()

    hv.run("start", cid)
    watch.eventually((own_rootfs / "ran").exists)
    assert hv.state(cid)["status"] == "running" and hv.state(cid)["pid"] == hv.pid(cid)
    hv.fails("start", cid)
    hv.fails("delete", cid)
    hv.run("kill", cid)
    assert watch.exit_status(hv.pid(cid)) == 9
    stopped = hv.state(cid)
    assert stopped["status"] == "stopped" and not stopped.get("pid")
    assert "container not running" in hv.fails("kill", cid)
    hv.fails("start", cid)
    hv.run("delete", cid)
    assert "does not exist" in hv.fails("state", cid)


def test_what_does_not_exist(hv):
    for words in (["state", "nobody"], ["start", "nobody"], ["kill", "nobody"], ["pause", "nobody"],
                  ["delete", "nobody"], ["exec", "nobody", "true"], ["ps", "nobody"],
                  ["resume", "nobody"], ["update", "--pids-limit", "5", "nobody"],
                  ["stats", "nobody"], ["events", "--stats", "nobody"], ["logs", "nobody"]):
        assert "does not exist" in hv.fails(*words, status=255 if words[0] == "exec" else 1)
    hv.run("delete", "--force", "nobody")


def test_id_in_use(hv, box, rootfs):
    text = hv.fails("create", "-b", hv.bundle(config("true", rootfs=rootfs)), box)
    assert box in text and "exist" in text
    assert hv.status(box) == "running"


def test_config_is_read_at_create_only(hv, rootfs):
    spec = sh("echo before > /dev/stderr; exit 3", rootfs=rootfs)
    cid = hv.new_id()
    bundle = hv.bundle(spec, f"b-{cid}")
    with open(hv.place.path / "errors", "wb") as errors:
        hv.run("create", "-b", bundle, "--pid-file", hv.place.path / f"pid-{cid}", cid, stderr=errors)
    (bundle / "config.json").write_text("{}")
    hv.run("start", cid)
    assert watch.exit_status(hv.pid(cid)) == 3
    assert (hv.place.path / "errors").read_text() == "before\n"
    (bundle / "config.json").unlink()
    hv.run("delete", cid)


def test_configuration_says_where(hv, rootfs):
    if hv.in_vm:
        pytest.skip("--partition is given")
    bundle = hv.bundle(sh("echo here", rootfs=rootfs))
    file = hv.place.path / "where.json"
    file.write_text('{"partition": "attach=vsock://nowhere"}')
    options = ("--config", file)
    assert "vsock://nowhere" in hv.fails("run", "-b", bundle, hv.new_id(), options=options)
    options += ("--partition", "local")
    assert hv.run("run", "-b", bundle, hv.new_id(), options=options).stdout == "here\n"
    file.write_text('{"partition": "elsewhere"}')
    assert 'partition: unknown kind "elsewhere"' in hv.fails("run", "-b", bundle, hv.new_id(),
                                                             options=options[:2])


@pytest.mark.parametrize("name, code", [
    ("9", 137), ("KILL", 137), ("SIGKILL", 137), ("kill", 137), ("sigkill", 137), ("15", 143),
    ("SIGTERM", 143), ("HUP", 129), ("USR1", 138), ("RTMIN", 162), ("RTMIN+3", 165), ("40", 168),
    ("SIGRTMAX", 192), ("RTMAX-1", 191)])
def test_kill_signals(hv, rootfs, name, code):
    from container import without_namespace
    cid = hv.create(without_namespace(config("sleep", "100", rootfs=rootfs), "pid"))
    hv.run("start", cid)
    hv.run("kill", cid, name)
    assert watch.exit_status(hv.pid(cid)) == code


def test_kill_with_bad_signals(hv, box):
    for bad in ("BOGUS", "SIGBOGUS", "-1", "65", "999", "", "1x", "RTMIN+99", "9 "):
        assert "signal" in hv.fails("kill", "--", box, bad)
    assert hv.status(box) == "running"


def test_kill_0_only_asks(hv, box):
    hv.run("kill", box, "0")
    assert hv.status(box) == "running"


def test_kill_of_a_created_container(hv, own_rootfs):
    cid = hv.create(sh("touch /ran", rootfs=own_rootfs))
    hv.run("kill", cid, "KILL")
    assert watch.exit_status(hv.pid(cid)) == 137
    assert hv.status(cid) == "stopped"
    hv.run("delete", cid)
    assert not (own_rootfs / "ran").exists()


def test_kill_all(hv, rootfs):
    script = "trap 'echo init; sleep 0.5; exit' USR1; sh -c 'trap \"echo child; exit\" USR1; echo ready;" \
             "while :; do sleep 0.05; done' & while :; do sleep 0.05; done"
    cid = hv.background(sh(script, rootfs=rootfs))
    watch.eventually(lambda: "ready" in hv.run("logs", cid).stdout)
    hv.run("kill", "--all", cid, "USR1")
    hv.wait_status(cid, "stopped")
    hv.run("kill", "-a", cid, "KILL", status=None)
    assert set(hv.run("logs", cid).stdout.split()) == {"ready", "child", "init"}


def test_delete_by_force(hv, own_rootfs):
    for how in ("created", "running", "paused", "stopped"):
        script = "exit 0" if how == "stopped" else "trap '' TERM; touch /ran; sleep 1000"
        cid = hv.create(sh(script, rootfs=own_rootfs))
        if how != "created":
            hv.run("start", cid)
        if how == "paused":
            hv.run("pause", cid)
        hv.run("delete", "--force", cid)
        watch.eventually(lambda: not watch.alive(hv.pid(cid)), 1)
        assert "does not exist" in hv.fails("state", cid)


def test_delete_of_a_created_container(hv, rootfs):
    cid = hv.create(config("true", rootfs=rootfs))
    result = hv.run("delete", cid, status=None)
    if result.returncode:
        hv.run("delete", "-f", cid)
    assert hv.list() == []


def test_list(hv, rootfs):
    assert hv.list() == []
    assert len(hv.run("list").stdout.splitlines()) == 1
    assert hv.run("list", "-q").stdout == ""
    ids = sorted([hv.background(config("sleep", "100", rootfs=rootfs)),
                  hv.create(config("true", rootfs=rootfs))])
    assert sorted(hv.run("list", "-q").stdout.split()) == ids
    assert sorted(hv.run("list", "--quiet").stdout.split()) == ids
    table = hv.run("list").stdout.splitlines()
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert {line.split()[0]: line.split()[2] for line in table[1:]} == \
        {cid: hv.status(cid) for cid in ids}
    for entry in hv.list():
        state = hv.state(entry["id"])
        assert {k: entry.get(k) for k in state if k != "owner"} == \
            {k: v for k, v in state.items() if k != "owner"}
    # One of them is broken: the others are still listed.
    (hv.root / "containers" / "torn").mkdir()
    assert sorted(x for x in hv.run("list", "-q").stdout.split() if x in ids) == ids
    (hv.root / "containers" / "torn").rmdir()


# The proxy (containerd-shim.md 5.2 to 5.4)


def test_proxy_is_what_engines_expect(hv, rootfs):
    cid = hv.create(config("sleep", "100", rootfs=rootfs))
    pid = hv.pid(cid)
    assert watch.stat(pid)[2] == os.getpid(), "not our child after create returned"
    assert os.getsid(pid) == pid and os.getpgid(pid) == pid
    assert watch.stat(pid)[1] in "SD"
    links = watch.fds(pid)
    assert not [link for link in links if str(hv.place.path / "out") in link], links
    hv.run("start", cid)
    assert watch.alive(pid)
    assert f"{os.readlink(f'/proc/{pid}/cwd')}" == "/"


def test_proxy_exits_with_the_status(hv, rootfs):
    for code in (0, 1, 42, 255):
        cid = hv.create(sh(f"exit {code}", rootfs=rootfs))
        hv.run("start", cid)
        assert watch.exit_status(hv.pid(cid)) == code
        assert not watch.alive(hv.pid(cid))


def test_proxy_forwards_signals(hv, rootfs):
    numbers = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
               signal.SIGTERM, signal.SIGALRM, signal.SIGWINCH]
    traps = "".join(f"trap 'echo {n:d}' {n:d};" for n in numbers)
    spec = sh(f"{traps} echo ready; while :; do sleep 0.02; done", rootfs=rootfs)
    out = hv.place.path / "said"
    with open(out, "wb") as file:
        cid = hv.create(spec, stdout=file)
    hv.run("start", cid)
    watch.eventually(lambda: out.read_text() == "ready\n")
    for n in numbers:
        os.kill(hv.pid(cid), n)
        watch.eventually(lambda: out.read_text().split()[-1] == str(int(n)), 2, str(n))


def test_kill_of_the_proxy_kills_the_container(hv, rootfs):
    cid = hv.create(sh("trap '' TERM HUP; sleep 1000", rootfs=rootfs))
    hv.run("start", cid)
    init = hv.init_pid(cid)
    os.kill(hv.pid(cid), signal.SIGKILL)
    assert watch.exit_status(hv.pid(cid)) == -9
    if not hv.in_vm:
        watch.eventually(lambda: not watch.alive(init), 1)
    hv.wait_status(cid, "stopped", 1)
    assert "container not running" in hv.fails("kill", cid)
    hv.run("delete", cid)


def test_kill_of_a_created_containers_proxy(hv, rootfs):
    cid = hv.create(config("true", rootfs=rootfs))
    os.kill(hv.pid(cid), signal.SIGKILL)
    hv.wait_status(cid, "stopped", 1)
    hv.run("delete", cid)


def test_output_through_the_pipes_of_create(hv, rootfs):
    """All bytes before the proxy's exit; then nobody holds the pipe."""
    for n in range(20):
        cid = hv.new_id()
        bundle = hv.bundle(sh("head -c 300000 /dev/zero; echo last; exit 6", rootfs=rootfs), f"b-{cid}")
        read, write = os.pipe()
        hv.run("create", "--pid-file", hv.place.path / f"pid-{cid}", "-b", bundle, cid, stdout=write)
        os.close(write)
        hv.run("start", cid)
        got = bytearray()
        if n % 2:       # as conmon: whatever is there when the exit is noticed
            os.set_blocking(read, False)
            while hv.pid(cid) not in watch.statuses:
                watch.reap()
                try:
                    got += os.read(read, 1 << 20)
                except BlockingIOError:
                    pass
        else:
            os.set_blocking(read, True)
        try:
            while data := os.read(read, 1 << 20):
                got += data
        except BlockingIOError:
            raise AssertionError("somebody holds the pipe after the exit") from None
        os.close(read)
        assert len(got) == 300005 and got.endswith(b"last\n")
        assert watch.exit_status(hv.pid(cid)) == 6
        hv.run("delete", cid)


def test_input_through_the_pipe_of_create(hv, rootfs):
    read, write = os.pipe()
    out = hv.place.path / "said"
    with open(out, "wb") as file:
        cid = hv.create(sh("cat; echo end", rootfs=rootfs), stdin=read, stdout=file)
    os.close(read)
    hv.run("start", cid)
    os.write(write, b"line\n")
    watch.eventually(lambda: out.read_text() == "line\n")
    os.close(write)
    assert watch.exit_status(hv.pid(cid)) == 0
    assert out.read_text() == "line\nend\n"


def test_daemons_hold_nothing_of_the_caller(hv, rootfs):
    """Neither the sandbox process nor the agent has our files, session or directory."""
    marker = open(hv.place.path / "marker", "w")
    os.set_inheritable(marker.fileno(), True)
    cid = hv.background(config("sleep", "100", rootfs=rootfs), close_fds=False)
    for pid in (hv.sandbox_pid(cid), hv.agent_pid(cid)):
        assert not [link for link in watch.fds(pid) if link.endswith(("/marker", "/out0", "/err0"))]
        assert os.getsid(pid) != os.getsid(0)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    marker.close()


def test_pid_file_errors(hv, rootfs):
    bundle = hv.bundle(config("sleep", "100", rootfs=rootfs))
    cid = hv.new_id()
    assert "/no/such/file" in hv.fails("create", "--pid-file", "/no/such/file", "-b", bundle, cid)
    assert hv.list() == []


# exec


def test_exec(hv, box):
    result = hv.run("exec", box, "sh", "-c", "echo out; echo err >&2; exit 5", status=5)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    # What follows the first operand belongs to the command.
    assert hv.run("exec", box, "echo", "-e", "x", "--help").stdout == "x --help\n"
    assert hv.run("exec", "--", box, "echo", "y").stdout == "y\n"
    assert hv.run("exec", box, "cat", input="through").stdout == "through"


def test_exec_of_a_binary_stream(hv, box):
    data = os.urandom(2_000_000)
    assert hv.run("exec", box, "cat", input=data, text=False).stdout == data


def test_exec_inherits_from_the_container(hv, rootfs):
    spec = config("sleep", "100", rootfs=rootfs, cwd="/tmp", env=[PATH, "A=1"],
                  user={"uid": 1000, "gid": 1000, "additionalGids": [2000]})
    cid = hv.background(spec)
    out = hv.run("exec", cid, "sh", "-c", "pwd; echo $A; id -u; id -g; id -G; ulimit -n;"
                 "grep -E '^(CapBnd|NoNewPrivs)' /proc/self/status").stdout.split("\n")
    assert out[:4] == ["/tmp", "1", "1000", "1000"] and set(out[4].split()) == {"1000", "2000"}
    assert out[5] == "1024" and out[6].split()[1] == "0000000020000420"
    assert out[7].split()[1] == "1"


def test_exec_flags(hv, box):
    def out(*args):
        return hv.run("exec", *args).stdout.strip()
    assert out("--cwd", "/etc", box, "pwd") == "/etc"
    assert out("-e", "X=a b", "--env", "Y=c", box, "sh", "-c", "echo $X $Y") == "a b c"
    assert out("-e", "X=1", "-e", "X=2", box, "sh", "-c", "echo $X") == "2"
    assert out("-u", "1000", box, "id", "-u") == "1000"
    assert out("--user", "1000:7", box, "sh", "-c", "id -u; id -g").split() == ["1000", "7"]
    assert out("--user", "tester", box, "sh", "-c", "id -u; id -g").split() == ["1000", "1000"]
    assert set(out("-g", "7", "--additional-gids", "9", box, "id", "-G").split()) >= {"7", "9"}
    grep = ["grep", "CapEff", "/proc/self/status"]
    assert int(out("--cap", "CAP_SYS_ADMIN", box, *grep).split()[1], 16) & 1 << 21
    assert int(out("-c", "CAP_NET_ADMIN", box, *grep).split()[1], 16) & 1 << 12
    assert not int(out(box, *grep).split()[1], 16) & 1 << 12
    status = ["grep", "NoNewPrivs", "/proc/self/status"]
    assert out("--no-new-privs", box, *status).split()[1] == "1"
    assert out("--preserve-fds", "0", box, "echo", "x") == "x"
    assert out("--ignore-paused", box, "echo", "x") == "x"


def test_exec_process_file(hv, box):
    process = config("sh", "-c", "pwd; echo $Z; id -u; exit 3")["process"]
    process.update(cwd="/etc", env=[PATH, "Z=zet"], user={"uid": 5, "gid": 6})
    file = hv.place.path / "process.json"
    file.write_text(json.dumps(process))
    result = hv.run("exec", "--process", file, box, status=3)
    assert result.stdout.split() == ["/etc", "zet", "5"]
    assert hv.run("exec", "-p", file, box, status=3).stdout == result.stdout


def test_exec_detached(hv, box):
    pid_file = hv.place.path / "pid"
    out = hv.place.path / "said"
    with open(out, "wb") as file:
        hv.run("exec", "-d", "--pid-file", pid_file, box, "sh", "-c", "sleep 0.2; echo said; exit 8",
               stdout=file)
    pid = int(pid_file.read_text())
    assert watch.stat(pid)[2] == os.getpid() and os.getsid(pid) == pid
    assert watch.exit_status(pid) == 8
    assert out.read_text() == "said\n"


def test_kill_of_an_execs_proxy(hv, box):
    pid_file = hv.place.path / "pid"
    hv.run("exec", "-d", "--pid-file", pid_file, box, "sleep", "1000")
    before = hv.run("ps", "--format", "json", box).json()
    assert len(before) == 2
    os.kill(int(pid_file.read_text()), signal.SIGTERM)
    assert watch.exit_status(int(pid_file.read_text())) == 143
    hv.run("exec", "-d", "--pid-file", pid_file, box, "sleep", "1000")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
    watch.eventually(lambda: len(hv.run("ps", "--format", "json", box).json()) == 1, 2)
    assert hv.status(box) == "running"


@pytest.mark.parametrize("words, text", [
    (["no-such-program"], "executable file not found|no such file or directory"),
    (["/no/such/program"], "no such file or directory"),
    (["/etc/passwd"], "permission denied"),
    (["/etc"], "permission denied|is a directory"),
    (["--cwd", "/no/such", "ls"], "no such file or directory"),
    (["--user", "no-such-user", "ls"], "no-such-user"),
    (["--user", "-5", "ls"], "-5"),
    (["--cap", "CAP_BOGUS", "ls"], "CAP_BOGUS"),
    (["-g", "x", "ls"], "x"),
    (["--preserve-fds", "3", "ls"], "preserve-fds"),
    (["--process", "/no/such/file"], "/no/such/file"),
    ([], "")])
def test_exec_failures(hv, box, words, text):
    at = len(words) - 1 if words and words[0] != "--process" else len(words)
    said = hv.fails("exec", *words[:max(at, 0)], box, *words[max(at, 0):], status=255)
    assert any(part in said for part in text.split("|")), said


def test_exec_in_what_does_not_run(hv, rootfs):
    cid = hv.create(sh("exit 0", rootfs=rootfs))
    hv.fails("exec", cid, "true", status=255)
    hv.run("start", cid)
    assert watch.exit_status(hv.pid(cid)) == 0
    hv.fails("exec", cid, "true", status=255)


def test_exec_is_fast(hv, box):
    begin = time.monotonic()
    for _ in range(50):
        hv.run("exec", box, "true")
    assert (time.monotonic() - begin) / 50 < 0.1 * watch.PATIENCE


# ps, pause, update, stats, events


def test_ps(hv, box):
    hv.run("exec", "-d", box, "sleep", "777")
    pids = hv.run("ps", "--format", "json", box).json()
    assert len(pids) == 2 and all(isinstance(pid, int) for pid in pids)
    for pid in pids:
        assert "sleep" in hv.outside("cat", f"/proc/{pid}/cmdline")
    table = hv.run("ps", box).stdout
    assert "PID" in table.splitlines()[0] and len(table.splitlines()) == 3
    if hv.in_vm:        # whose ps(1) nobody has asked
        assert [line.split()[0] for line in table.splitlines()[1:]] == [str(pid) for pid in sorted(pids)]
        return
    assert "sleep 777" in table
    own = hv.run("ps", box, "-eo", "pid,comm").stdout.splitlines()
    assert own[0].split() == ["PID", "COMMAND"] and len(own) == 3


def test_pause(hv, rootfs):
    cid = hv.background(sh("while :; do echo x; sleep 0.02; done", rootfs=rootfs))
    hv.run("pause", cid)
    assert hv.status(cid) == "paused"
    time.sleep(0.1)
    before = hv.run("logs", cid).stdout
    time.sleep(0.2)
    assert hv.run("logs", cid).stdout == before
    hv.fails("pause", cid)
    assert "paused" in hv.fails("exec", cid, "true", status=255)
    hv.run("resume", cid)
    assert hv.status(cid) == "running"
    watch.eventually(lambda: len(hv.run("logs", cid).stdout) > len(before))
    hv.fails("resume", cid)


def figures(hv, cid):
    return hv.run("stats", "--format", "json", cid).json()


def flat(value, prefix=""):
    """Every leaf, by its path in lower case."""
    if isinstance(value, dict):
        return {k: v for key in value for k, v in flat(value[key], f"{prefix}.{key.lower()}").items()}
    return {prefix: value}


def limit(hv, cid, resource):
    """From the event's figures, which are those of runc."""
    lines = hv.run("events", "--stats", cid).stdout.splitlines()
    assert len(lines) == 1
    event = json.loads(lines[0])
    assert event["type"] == "stats" and event["id"] == cid
    data = event["data"]
    return data["memory"]["usage"]["limit"] if resource == "memory" else data["pids"]["limit"]


def test_update(hv, box):
    hv.run("update", "--memory", "64M", "--pids-limit", "77", box)
    assert (limit(hv, box, "memory"), limit(hv, box, "pids")) == (64 << 20, 77)
    hv.run("update", "--memory=33554432", box)
    assert (limit(hv, box, "memory"), limit(hv, box, "pids")) == (32 << 20, 77)
    file = hv.place.path / "resources.json"
    file.write_text(json.dumps({"memory": {"limit": 48 << 20}, "pids": {"limit": 55}}))
    hv.run("update", "--resources", file, box)
    assert (limit(hv, box, "memory"), limit(hv, box, "pids")) == (48 << 20, 55)
    hv.run("update", "-r", "-", box, input='{"pids":{"limit":44}}')
    assert (limit(hv, box, "memory"), limit(hv, box, "pids")) == (48 << 20, 44)
    hv.run("update", "--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-share", "512", box)
    hv.run("update", "--pids-limit", "-1", box)
    hv.fails("update", "--memory", "lots", box)
    hv.fails("update", "-r", "/no/such/file", box)
    hv.fails("update", "-r", "-", box, input='{"pids":{"limit":"x"}}')
    hv.fails("update", "-r", "-", box, input='{')


def test_stats(hv, box):
    text = hv.run("stats", box).stdout
    assert text and all(len(line) < 150 for line in text.splitlines())
    leaves = flat(figures(hv, box))
    assert any("rss" in key for key in leaves) and any("pids" in key for key in leaves)
    assert all(isinstance(v, (int, str, float, list, type(None))) for v in leaves.values())


def test_events(hv, rootfs):
    cid = hv.create(sh("sleep 0.3; exit 3", rootfs=rootfs))
    process = hv.popen("events", "--interval", "100ms", cid)
    first = json.loads(process.stdout.readline())
    assert first["id"] == cid
    hv.run("start", cid)
    hv.run("exec", cid, "true")
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    events = [first] + [json.loads(line) for line in out.splitlines()]
    kinds = [event["type"] for event in events]
    assert "start" in kinds and "stats" in kinds and "exec" in kinds
    assert kinds[-1] == "exit"
    assert "3" in json.dumps(events[-1])


def test_events_of_running_out_of_memory(hv, rootfs):
    spec = sh("sleep 0.3; tail /dev/zero", rootfs=rootfs)
    spec["linux"]["resources"]["memory"] = {"limit": 16 << 20}
    cid = hv.create(spec)
    process = hv.popen("events", cid)
    process.stdout.readline()
    hv.run("start", cid)
    out, _ = process.communicate(timeout=20)
    assert "oom" in [json.loads(line)["type"] for line in out.splitlines()]


# logs


def test_logs(hv, rootfs):
    script = "echo one; sleep 0.05; echo two >&2; sleep 0.05; echo three; sleep 100"
    cid = hv.background(sh(script, rootfs=rootfs))
    watch.eventually(lambda: "three" in hv.run("logs", cid).stdout)
    both = hv.run("logs", cid)
    assert (both.stdout, both.stderr) == ("one\nthree\n", "two\n")
    assert hv.run("logs", "--stream", "stdout", cid).stderr == ""
    assert hv.run("logs", "--stream", "stderr", cid).stdout == ""
    last = hv.run("logs", "--tail", "2", cid)
    assert (last.stdout, last.stderr) == ("three\n", "two\n")
    assert hv.run("logs", "-n", "0", cid).stdout == ""
    assert hv.run("logs", "--tail", "-1", cid).stdout == both.stdout
    stamped = hv.run("logs", "-t", cid).stdout
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) one\n", stamped)
    when = hv.run("logs", "--timestamps", cid).stderr.split()[0]
    newer = hv.run("logs", "--since", when, cid)
    assert "one" not in newer.stdout and "three" in newer.stdout
    assert hv.run("logs", "--since", "1h", cid).stdout == both.stdout
    assert hv.run("logs", "--since", "0", cid).stdout == both.stdout
    assert hv.run("logs", "--since", str(int(time.time()) + 100), cid).stdout == ""
    assert hv.run("logs", "--since", "2999-01-01T00:00:00Z", cid).stdout == ""
    for bad in (["--since", "yesterday"], ["--tail", "many"], ["--stream", "stdin"]):
        hv.fails("logs", *bad, cid)


def test_logs_follow(hv, rootfs):
    cid = hv.background(sh("echo a; sleep 0.3; echo b; sleep 0.3; printf c", rootfs=rootfs))
    process = hv.popen("logs", "-f", cid)
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0 and out == b"a\nb\nc" and err == b""
    assert hv.run("logs", "--follow", cid).stdout == "a\nb\nc"


def test_logs_of_long_and_odd_lines(hv, rootfs):
    script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf '\\001\\377\\n\\n\\n  z\\t\\n'"
    cid = hv.background(sh(script, rootfs=rootfs))
    hv.wait_status(cid, "stopped")
    assert hv.run("logs", cid, text=False).stdout == b"x" * 100000 + b"\n\x01\xff\n\n\n  z\t\n"


def test_logs_are_rotated(hv, rootfs):
    cid = hv.background(sh("seq 1 20000", rootfs=rootfs), "--log-size", "8192", "--log-files", "3")
    hv.wait_status(cid, "stopped")
    files = [p for p in (hv.root / "containers" / cid).iterdir() if p.name.startswith("log")]
    assert len(files) == 3 and all(p.stat().st_size <= 8192 + 200 for p in files)
    lines = hv.run("logs", cid).stdout.split()
    assert lines[-1] == "20000" and lines == [str(n) for n in range(int(lines[0]), 20001)]


def test_log_path_and_format(hv, rootfs):
    """CRI's format: time, stream, F or P, text."""
    path = hv.place.path / "my.log"
    cid = hv.background(sh("echo hello; printf rest >&2", rootfs=rootfs), "--log-path", path)
    hv.wait_status(cid, "stopped")
    lines = [line.split(" ", 3) for line in path.read_text().splitlines()]
    assert [line[1:] for line in lines if line[3]] == [["stdout", "F", "hello"], ["stderr", "P", "rest"]] \
        or [line[1:] for line in lines] == [["stdout", "F", "hello"], ["stderr", "F", "rest"]]
    assert hv.run("logs", cid).stdout == "hello\n"
    hv.run("delete", cid)
    assert path.exists()


def test_no_logs(hv, rootfs):
    cid = hv.create(config("sleep", "100", rootfs=rootfs))
    assert "log" in hv.fails("logs", cid)


# features, spec, hv


def test_features(hv):
    features = hv.run("features").json()
    assert features["ociVersionMin"].startswith("1.0") and features["ociVersionMax"] >= "1.0.2"
    assert {"createRuntime", "createContainer", "startContainer", "poststart", "poststop"} <= \
        set(features["hooks"])
    assert {"ro", "rw", "bind", "rbind", "nosuid", "rprivate"} <= set(features["mountOptions"])
    linux = features["linux"]
    assert {"pid", "network", "ipc", "uts", "mount", "user", "cgroup"} <= set(linux["namespaces"])
    assert "CAP_SYS_ADMIN" in linux["capabilities"] and linux["seccomp"]["enabled"] is True
    assert "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"]
    assert set(linux["cgroup"]) >= {"v1", "v2", "systemd"}
    assert linux["apparmor"]["enabled"] in (True, False)
    hv.environment = {}
    assert hv.run("features").json() == features


def test_spec(hv, own_rootfs):
    bundle = own_rootfs.parent
    hv.run("spec", "--bundle", bundle)
    spec = json.loads((bundle / "config.json").read_text())
    assert spec["process"]["args"] == ["sh"] and spec["root"]["readonly"] is True
    assert "config.json" in hv.fails("spec", "-b", bundle)
    spec["process"].update(terminal=False, args=["echo", "it runs"])
    write_bundle(bundle, spec)
    assert hv.run("run", "-b", bundle, hv.new_id()).stdout == "it runs\n"


def test_spec_without_root(hv, own_rootfs):
    bundle = own_rootfs.parent
    hv.run("spec", "--rootless", cwd=bundle)
    spec = json.loads((bundle / "config.json").read_text())
    assert "user" in [n["type"] for n in spec["linux"]["namespaces"]]
    spec["process"].update(terminal=False, args=["id", "-u"])
    write_bundle(bundle, spec)
    assert hv.run("run", "-b", bundle, hv.new_id()).stdout == "0\n"


def test_hv(hv):
    text = hv.run("hv", "5000").stdout
    assert "00001388-facb-11e6-bd58-64006a7986d3" in text.lower()
    for endpoint in ("hyperv://parent/109", "vsock://host:1024", "hybrid:///run/x.sock:7",
                     "unix:///run/x", "0000006d-facb-11e6-bd58-64006a7986d3"):
        assert hv.run("hv", endpoint).stdout
    hv.run("hv", "5000", "6000")
    for bad in ("nonsense://x", "vsock://x", "99999999999", "not-a-guid"):
        assert hv.fails("hv", bad)


def test_hv_guid(hv):
    assert "a42e7cda" in hv.run("hv", "address", "hyperv://parent/5").stdout
    assert "vsock port 5000" in hv.run("hv", "guid", "5000").stdout
    new = {hv.run("hv", "guid").stdout, hv.run("hv", "guid", "new").stdout}
    assert len(new) == 2 and all(str(uuid.UUID(guid.strip())) + "\n" == guid for guid in new)
    assert "neither a GUID nor a port" in hv.fails("hv", "guid", "hyperv://parent/5")


def test_hv_services_of_windows(hv):
    """The form of the file that introductions to Hyper-V sockets show."""
    guid = "9866C7BC-0C89-4CB0-9427-5B526D1AE83B"
    text = hv.run("hv", "register", "--name", "MyGcs", "--guid", guid).stdout
    assert text.split() == (
        "Windows Registry Editor Version 5.00 [HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows"
        " NT\\CurrentVersion\\Virtualization\\GuestCommunicationServices\\" + guid + "]"
        ' "ElementName"="MyGcs" "RegisteredBy"="hvrun"').split()
    assert "\\" + guid + "]" in hv.run("hv", "unregister", guid.lower()).stdout
    assert "VM Session Service" in hv.run("hv", "list").stdout
    built_in = "999e53d4-3d5c-4c3e-8779-bed06ec056e1"
    assert built_in.upper() in hv.run("hv", "show", built_in).stdout
    assert "Windows' own" in hv.fails("hv", "register", "--name", "x", "--guid", built_in)
    assert "--name" in hv.fails("hv", "register")


def test_checkpoint_is_refused(hv, box):
    for verb in ("checkpoint", "restore"):
        assert "not supported" in hv.fails(verb, box)


# The log


def test_json_log(hv, rootfs):
    """podman parses the whole file of a failed call as one object; a success writes nothing."""
    log = hv.place.path / "log.json"
    options = ["--log", log, "--log-format", "json"]
    hv.run("list", options=options)
    assert not log.exists() or log.read_text() == ""
    text = hv.fails("state", "nobody", options=options)
    entry = json.loads(log.read_text())
    assert entry["level"] == "error" and entry["msg"] in text and "time" in entry
    hv.fails("run", "-b", "/no/such/bundle", hv.new_id(), options=options)
    last = json.loads(log.read_text().splitlines()[-1])
    assert last["level"] == "error" and "/no/such/bundle" in last["msg"]
    assert len(log.read_text().splitlines()) == 2
    cid = hv.new_id()
    log.unlink()
    bad = hv.bundle(config("no-such-program", rootfs=rootfs))
    hv.run("run", "-b", bad, cid, status=None, options=options)
    assert "no-such-program" in json.loads(log.read_text())["msg"]


def test_text_log(hv):
    log = hv.place.path / "log"
    text = hv.fails("state", "nobody", options=["--log", log])
    assert "level=error" in log.read_text() and "nobody" in log.read_text() and "nobody" in text
    hv.fails("state", "nobody", options=["--log", "/no/such/dir/log"])


# Bad input


def bad_bundle(kind, hv, rootfs):
    path = hv.place.path / "bad"
    spec = config("true", rootfs=rootfs)
    if kind == "no bundle":
        return path
    write_bundle(path, spec)
    file = path / "config.json"
    if kind == "no config":
        file.unlink()
    elif kind == "config is a directory":
        file.unlink()
        file.mkdir()
    elif kind == "config is a fifo":
        file.unlink()
        os.mkfifo(file)
    elif kind == "empty":
        file.write_text("")
    elif kind == "malformed":
        file.write_text('{"ociVersion": ')
    elif kind == "array":
        file.write_text("[]")
    elif kind == "binary":
        file.write_bytes(os.urandom(5000))
    elif kind == "deep":
        file.write_text('{"annotations":' + "[" * 200 + "]" * 200 + "}")
    elif kind == "5 MiB":
        spec["annotations"] = {"pad": "x" * (5 << 20)}
        file.write_text(json.dumps(spec))
    elif kind == "1 GiB":
        with open(file, "wb") as sparse:
            sparse.truncate(1 << 30)
    elif kind == "no rootfs":
        spec["root"]["path"] = "missing"
        write_bundle(path, spec)
    elif kind == "unknown enum":
        spec["linux"]["namespaces"][2]["type"] = "pidd"
        write_bundle(path, spec)
    elif kind in ("process", "root", "ociVersion"):
        del spec[kind]
        write_bundle(path, spec)
    elif kind == "terminal":
        spec["process"]["terminal"] = True
        write_bundle(path, spec)
    elif kind == "bundle is a file":
        file.rename(path / "x")
        return path / "x"
    elif kind == "program":
        spec["process"]["args"] = ["no-such-program"]
        write_bundle(path, spec)
    elif kind == "mount":
        spec["mounts"].append(mount("/mnt", "bind", "/no/such/source", "bind"))
        write_bundle(path, spec)
    return path


@pytest.mark.parametrize("kind, text", [
    ("no bundle", "no such file or directory"), ("no config", "config.json"),
    ("config is a directory", "config.json"), ("config is a fifo", "config.json"),
    ("empty", "config.json"), ("malformed", "config.json"), ("array", "config.json"),
    ("binary", "config.json"), ("deep", "config.json"), ("5 MiB", "config.json"),
    ("1 GiB", "config.json"), ("no rootfs", "missing"),
    ("unknown enum", 'linux.namespaces[2].type: unknown value "pidd"'), ("process", "process"),
    ("root", "root"), ("ociVersion", "ociVersion"), ("terminal", "console-socket"),
    ("bundle is a file", "not a directory"), ("mount", "/no/such/source")])
def test_bad_bundles(hv, rootfs, kind, text):
    path = bad_bundle(kind, hv, rootfs)
    for verb in (["create"], ["run", "-d"]):
        cid = hv.new_id()
        assert text in hv.fails(*verb, "-b", path, cid)
        assert hv.list() == []
        watch.eventually(lambda: not hv.partitions(), 2)


def test_program_that_does_not_exist(hv, rootfs):
    """At create, as runc, or at the latest at start; the text is one that podman knows."""
    bundle = bad_bundle("program", hv, rootfs)
    cid = hv.new_id()
    result = hv.run("create", "-b", bundle, cid, status=None)
    if result.returncode == 0:
        result = hv.run("start", cid, status=1)
    assert "executable file not found in" in result.stderr or "no such file" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("cid", ["", ".", "..", "../x", "a/b", "x y", "a\nb", "é", "x" * 300],
                         ids=lambda cid: cid[:9])
def test_bad_ids(hv, rootfs, cid):
    bundle = hv.bundle(config("true", rootfs=rootfs))
    for verb in (["create", "-b", bundle], ["run", "-b", bundle], ["state"], ["start"], ["kill"],
                 ["delete"], ["logs"], ["ps"]):
        hv.fails(*verb, "--", cid)
    assert hv.list() == []


def test_failed_start_leaves_no_partition(hv, rootfs):
    for _ in range(10):
        hv.fails("run", "-b", bad_bundle("mount", hv, rootfs), hv.new_id())
    assert not watch.adopted() or watch.eventually(lambda: not watch.adopted(), 2)


def test_root_that_cannot_be(hv, rootfs):
    file = hv.place.path / "file"
    file.write_text("")
    real = hv.root
    for bad in (file, file / "below", "/proc/nothing/here"):
        hv.root = bad
        hv.fails("list")
    hv.root = real


def test_agent_that_cannot_start(hv, rootfs):
    bundle = hv.bundle(config("true", rootfs=rootfs))
    for agent in ("/no/such/agent", "/etc/passwd", "/bin/false"):
        hv.environment["HVRUN_AGENT"] = agent
        begin = time.monotonic()
        assert hv.fails("run", "-b", bundle, hv.new_id())
        assert time.monotonic() - begin < 5
    assert hv.list() == []


# Pods


def test_pod(hv, rootfs):
    first = hv.background(config("sleep", "1000", rootfs=rootfs))
    second = hv.background(sh("hostname; sleep 1000", rootfs=rootfs), "--pod", first)
    third = hv.create(config("sleep", "1000", rootfs=rootfs), "--pod", first)
    hv.run("start", third)
    assert {entry["id"] for entry in hv.list()} == {first, second, third}
    assert hv.partitions() == [first]
    assert hv.run("exec", second, "echo", "two").stdout == "two\n"
    # The partition lives as long as any of its containers.
    hv.run("delete", "-f", first)
    assert hv.run("exec", third, "echo", "three").stdout == "three\n"
    assert hv.status(second) == "running"
    hv.run("delete", "-f", second)
    hv.run("delete", "-f", third)
    watch.eventually(lambda: not hv.partitions(), 2)
    assert "does not exist" in hv.fails("run", "--pod", "nobody", "-b",
                                        hv.bundle(config("true", rootfs=rootfs)), hv.new_id())


def test_pod_by_annotations(hv, rootfs):
    spec = config("sleep", "1000", rootfs=rootfs)
    spec["annotations"] = {"io.kubernetes.cri.container-type": "sandbox"}
    sandbox = hv.background(spec)
    spec["annotations"] = {"io.kubernetes.cri.container-type": "container",
                           "io.kubernetes.cri.sandbox-id": sandbox}
    hv.background(spec)
    assert hv.partitions() == [sandbox]


def test_many_containers(hv, rootfs):
    ids = [hv.background(config("sleep", "1000", rootfs=rootfs)) for _ in range(10)]
    ids += [hv.background(config("sleep", "1000", rootfs=rootfs), "--pod", ids[0]) for _ in range(20)]
    assert len(hv.list()) == 30
    for cid in ids:
        assert hv.run("exec", cid, "echo", cid).stdout == f"{cid}\n"
    for cid in ids:
        hv.run("delete", "--force", cid)


def test_at_the_same_time(hv, box):
    """20 execs and a few others at once, from as many processes."""
    many = [hv.popen("exec", box, "sh", "-c", f"sleep 0.2; echo {n}; exit {n}") for n in range(20)]
    others = [hv.popen(*words) for words in (["state", box], ["ps", box], ["stats", box], ["list"])]
    for n, process in enumerate(many):
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (n, b"%d\n" % n), err
    for process in others:
        process.communicate(timeout=10)
        assert process.returncode == 0


# When something dies


def waiters(hv, cid):
    """Everybody who waits for a container: an attached exec, events, logs -f."""
    return [hv.popen("exec", cid, "sleep", "1000"), hv.popen("events", cid),
            hv.popen("logs", "-f", cid)]


@pytest.mark.parametrize("victim", ["init", "agent", "sandbox"])
def test_death(hv, rootfs, victim):
    cid = hv.background(config("sleep", "1000", rootfs=rootfs))
    created = hv.create(config("sleep", "1000", rootfs=rootfs), "--pod", cid)
    foreground = hv.popen("run", "--pod", cid, "-b", hv.bundle(config("sleep", "1000", rootfs=rootfs)),
                          hv.new_id())
    watch.eventually(lambda: len(hv.list()) == 3)
    waiting = waiters(hv, cid)
    time.sleep(0.3)
    pid = {"init": hv.init_pid, "agent": hv.agent_pid, "sandbox": hv.sandbox_pid}[victim](cid)
    if victim == "init":
        hv.outside("kill", "-9", str(pid))
    else:
        os.kill(pid, signal.SIGKILL)
    begin = time.monotonic()
    if victim != "init":
        waiting.append(foreground)
        assert watch.exit_status(hv.pid(created), 1) != 0
    for process in waiting:
        left = max(0.01, 1 - (time.monotonic() - begin))
        out, err = process.communicate(timeout=left)
        if process.args[3] == "exec":
            assert process.returncode != 0
    hv.wait_status(cid, "stopped", 1)
    if victim == "init":
        assert hv.status(created) == "created" and foreground.poll() is None
    else:
        assert hv.status(created) == "stopped"
        hv.fails("start", created)
        hv.fails("exec", cid, "true", status=255)
        hv.fails("kill", cid)
    for entry in hv.list():
        hv.run("delete", "--force", entry["id"])
    assert hv.list() == []
    if foreground.poll() is None:
        foreground.wait(1)


def test_death_and_a_new_container_of_the_same_name(hv, rootfs):
    for _ in range(3):
        cid = hv.background(config("sleep", "1000", rootfs=rootfs), name=f"{hv.place.token}-same")
        os.kill(hv.sandbox_pid(cid), signal.SIGKILL)
        hv.run("delete", "--force", cid)


def test_sandbox_process_ends_with_its_last_container(hv, rootfs):
    cid = hv.background(config("sleep", "1000", rootfs=rootfs))
    sandbox, agent = hv.sandbox_pid(cid), hv.agent_pid(cid)
    hv.run("delete", "-f", cid)
    watch.eventually(lambda: not watch.alive(sandbox) and not watch.alive(agent), 1)


def test_terminate_the_sandbox_process(hv, rootfs):
    """SIGTERM is an orderly end: nothing stays, not even a cgroup."""
    cid = hv.background(config("sleep", "1000", rootfs=rootfs))
    sandbox = hv.sandbox_pid(cid)
    os.kill(sandbox, signal.SIGTERM)
    watch.eventually(lambda: not watch.alive(sandbox), 3)
    hv.run("delete", "--force", cid)


def test_state_directory_is_private(hv, box):
    for path in [hv.root] + list(hv.root.rglob("*")):
        if path.parent.name == "vsock":
            continue    # in a directory of the socket device's user, who makes it
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) or stat.S_ISSOCK(mode):
            assert not mode & 0o077, f"{path} {mode:o}"
