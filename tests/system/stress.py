# SPDX-License-Identifier: Apache-2.0
"""tests/stress/sock-stress over each transport: what the tests do shortly and `tests/soak sockets` at full length."""

import os
import pathlib
import re
import subprocess

import hvcat
import watch
from hvrun import BUILD

STRESS = str(BUILD / "tests/stress/sock-stress")
FULL = 100 * 1000               # connections, 100 at the same time
FIGURES = re.compile(r"(?P<done>\d+) connections, \d+ at the same time beside (?P<silent>\d+) silent ones, "
                     r"(?P<bytes>\d+) bytes each way, (?P<wrong>\d+) wrong, (?P<repeated>\d+) attempts repeated, "
                     r"(?P<seconds>[\d.]+) s\n")
SERVED = re.compile(r"(?P<done>\d+) connections, (?P<most>\d+) at the same time, (?P<bytes>\d+) bytes each way, "
                    r"(?P<wrong>\d+) broken\n")
MEMORY = 64                     # KiB for each connection at the same time: two buffers and what the loop needs


class Server:
    """sock-stress -s on this machine."""

    def __init__(self, url, path, *options):
        self.process = watch.own(subprocess.Popen([STRESS, "-s", *options, url], stdout=subprocess.PIPE,
                                                  preexec_fn=hvcat.without_vsock))
        watch.eventually(lambda: os.path.exists(path) or self.process.poll() is not None)

    def end(self):
        """What it has served."""
        most = watch.rss(self.process.pid)
        self.process.terminate()
        text, _ = self.process.communicate(timeout=10)
        found = SERVED.fullmatch(text.decode())
        assert found and self.process.returncode == 0, (text, self.process.returncode)
        assert most < MEMORY * int(found["most"]) + 4096, (most, found["most"])
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def check(text, count, silent=0, repeated=True):
    found = FIGURES.search(text)
    assert found, text
    assert int(found["done"]) == count and int(found["silent"]) == silent and found["wrong"] == "0", text
    assert repeated or found["repeated"] == "0", text
    return f"{count} in {float(found['seconds']):.1f} s"


def client(url, *options, count, silent=0, repeated=False, timeout=600):
    """sock-stress as a client on this machine; its figures."""
    words = [STRESS, *options, "-n", str(count), "-z", str(silent), url]
    done = subprocess.run(words, preexec_fn=hvcat.without_vsock, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return check(done.stdout, count, silent, repeated)


def unix(folder, count, silent=0):
    url = f"unix://{folder}/u"
    with Server(url, f"{folder}/u") as server:
        text = client(url, count=count, silent=silent)
        assert int(server.end()["done"]) == count + silent
    return text


def hybrid(folder, count, silent=0):
    """The guest dials PATH_PORT; ends are told by a length, as where no half-close is."""
    url = f"hybrid://{folder}/v:5000"
    with Server(url, f"{folder}/v_5000", "-f") as server:
        text = client(url, "-f", "-g", count=count, silent=silent)
        server.end()
    return text


def through(machine, direction, count, silent=0):
    """A fake VMM between them."""
    options = [] if machine.kind.half_close else ["-f"]
    if direction == "the host dials":
        url, path = machine.inside("listen", 5000), machine.guest / "listen_5000"
        other = machine.url(5000)
    else:
        url, path = machine.url(5000), f"{machine.uds}_5000"
        other = machine.inside("dial", 5000)
    with Server(url, path, *options) as server:
        text = client(other, *options, count=count, silent=silent)
        server.end()
    return text


IN_A_VM = ("loopback", "loopback, unix", "the guest dials", "the host dials")


def in_a_vm(vm, how, port, count, silent=0):
    """vm: guest.SocketVM, with vsock_loopback."""
    figures = f"-t 120 -n {count} -z {silent}"
    more = {"timeout": 60 + count / 20}
    if how == "loopback":
        text = vm.shell(f"sock-stress -s vsock://any:{port} & p=$!; sleep .3; "
                        f"sock-stress {figures} vsock://local:{port} 2>&1; kill $p; wait $p", **more).decode()
        assert " 0 broken\n" in text, text
    elif how == "loopback, unix":
        text = vm.shell(f"sock-stress -s hyperv://any/{port} & p=$!; sleep .3; sock-stress {figures} "
                        f"hyperv://loopback/{port} 2>&1; kill $p; wait $p", **more).decode()
        assert " 0 broken\n" in text, text
    elif how == "the guest dials":
        with Server(vm.url(port), f"{vm.base}_{port}", "-f") as server:
            text = vm.shell(f"sock-stress -f {figures} vsock://host:{port} 2>&1", **more).decode()
            server.end()
    else:
        server = vm.popen("sock-stress", "-s", "-f", f"vsock://any:{port}")
        try:
            return client(vm.url(port), "-f", "-t", "120", count=count, silent=silent, repeated=True)
        finally:
            server.terminate()
            served, _ = server.communicate(timeout=10)
            assert b" 0 broken\n" in served, served
    return check(text, count, silent)


def relay(folder, count):
    """hvcat between them."""
    inner, outer = f"unix://{folder}/inner", f"unix://{folder}/outer"
    with Server(inner, f"{folder}/inner") as server:
        with subprocess.Popen([hvcat.HVCAT, "-l", "-k", "-m", "150", outer, inner],
                              preexec_fn=hvcat.without_vsock) as process:
            try:
                watch.own(process)
                watch.eventually(lambda: pathlib.Path(f"{folder}/outer").exists())
                text = client(outer, count=count)
                assert watch.rss(process.pid) < 2 * 128 * 150 + 4096
            finally:
                process.terminate()
        server.end()
    return text
