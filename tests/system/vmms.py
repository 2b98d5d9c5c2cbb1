# SPDX-License-Identifier: Apache-2.0
"""Fake VMMs with hybrid sockets: what Firecracker, Cloud Hypervisor, vhost-device-vsock and OpenVMM put
between a unix socket of the host and the sockets of a guest, with the quirks of each.

The guest is a folder of unix sockets. What the guest listens on is `listen_SERVICE` there, bound by
whoever plays the guest: the test itself, or a program under test. What the guest dials is
`dial_SERVICE`, bound by the VMM for each of the services that it is started with. In between the VMM
does what the real one does: it parses the request as strictly, answers in the same words, derives the
same names, and passes a half-close on, or takes it for the end of everything.

The VMM is a process of its own (`vmms.py KIND UDS GUEST …`), so that it can run as another user and be
killed; Vmm is the test's handle of it.
"""

import argparse
import contextlib
import fcntl
import heapq
import os
import pathlib
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time

CHUNK = 256 * 1024
GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TEMPLATE = "-facb-11e6-bd58-64006a7986d3"
LINGER = 2                      # seconds that a connection lives on after its end


class Refused(Exception):
    """The connection is closed, without a word."""


def port_of(text):
    """A decimal port or the template's GUID as a number, another GUID as it is; None for what is neither."""
    text = text.lower()
    if GUID.fullmatch(text):
        return int(text[:8], 16) if text.endswith(TEMPLATE) else text
    return int(text) if text.isascii() and text.isdigit() and int(text) < 1 << 32 else None


def words_of(line, guids=False):
    """The service of a request."""
    try:
        words = line.decode().split()
    except UnicodeDecodeError:
        raise Refused(f"not text: {line!r}") from None
    if len(words) < 2 or words[0].lower() != "connect":
        raise Refused(f"not a request: {line!r}")
    service = port_of(words[1])
    if service is None or not guids and not words[1].isdigit():
        raise Refused(f"not a port: {line!r}")
    return service, words[1]


class Firecracker:
    """Reads ten bytes, then one after another, of what must all be there when the first is."""

    half_close = False
    guids = False
    one_by_one = False
    limit = 1023
    refusal = 0
    patient = False
    first = 10
    longest = 32

    def __init__(self):
        self.local_port = 1 << 30

    def read(self, client):
        """The line of a request when it is complete, or None."""
        while not client.line.endswith(b"\n") and len(client.line) < self.longest:
            wanted = max(1, self.first - len(client.line))
            try:
                got = client.sock.recv(wanted)
            except BlockingIOError:
                if self.patient:
                    return None
                raise Refused(f"came in pieces: {client.line!r}") from None
            if not got:
                raise Refused(f"ended after {client.line!r}")
            client.line += got
        return client.line

    def token(self, _):
        self.local_port += 1
        return str(self.local_port)

    def names(self, service):
        """What a service that the guest dials is called on the host."""
        return [str(service)]


class CloudHypervisor(Firecracker):
    """Of the same origin, but lines may come in pieces; passes on half-closes since June 2026."""

    half_close = True
    patient = True


class OldCloudHypervisor(CloudHypervisor):
    half_close = False


class VhostDeviceVsock(Firecracker):
    """Reads into a buffer that is thrown away with whatever follows the line."""

    limit = 1 << 30

    def read(self, client):
        got = client.sock.recv(8192)
        line, newline, swallowed = got.partition(b"\n")
        if not newline:
            raise Refused(f"no line: {got!r}")
        if swallowed:
            print(f"swallowed {swallowed!r}", flush=True)
        return line + newline

    def token(self, asked):
        return asked


class OpenVMM(Firecracker):
    """Knows GUIDs; has one handshake at a time; what follows the line belongs to it."""

    half_close = True
    guids = True
    one_by_one = True
    limit = 1 << 30
    refusal = 0.2
    longest = 45

    def read(self, client):
        try:
            got = client.sock.recv(self.longest - len(client.line))
        except BlockingIOError:
            return None
        client.line += got
        if not got or len(client.line) == self.longest and b"\n" not in client.line:
            raise Refused(f"no line: {client.line!r}")
        return client.line if b"\n" in client.line else None

    def token(self, asked):
        self.local_port += 1
        if asked.isdigit():
            return str(self.local_port)
        return f"{self.local_port:08x}-1111-4222-8333-444455556666"

    def names(self, service):
        if isinstance(service, str):
            return [service]
        return [str(service), f"{service:08x}{TEMPLATE}"]


KINDS = {
    "firecracker": Firecracker,
    "cloud-hypervisor": CloudHypervisor,
    "cloud-hypervisor-old": OldCloudHypervisor,
    "vhost-device-vsock": VhostDeviceVsock,
    "openvmm": OpenVMM,
}


class Side:
    """One of the two sockets of a connection."""

    def __init__(self, sock):
        self.sock = sock
        self.fd = sock.fileno()
        self.out = b""          # is still to be written here
        self.ended = False      # nothing more will be read here
        self.hung_up = False    # closed at the other end, in both directions
        self.shut = False       # we have shut down our direction
        self.mask = None        # in the epoll; None: not at all


class Connection:
    """What is relayed between the host and the guest, for one connection."""

    def __init__(self, vmm, host, guest, first=b""):
        self.vmm, self.closed = vmm, False
        self.host, self.guest = Side(host), Side(guest)
        self.deadline = None
        self.host.out = first
        vmm.count += 1
        for side in (self.host, self.guest):
            vmm.watch(side, lambda mask, side=side: self.ready(side, mask))
        self.update()

    def other(self, side):
        return self.guest if side is self.host else self.host

    def ready(self, side, mask):
        if self.closed:
            return
        try:
            if mask & select.EPOLLOUT:
                self.write(side, b"")
            if mask & select.EPOLLIN and not side.ended and not self.other(side).out:
                self.read(side)
            if mask & (select.EPOLLHUP | select.EPOLLERR):
                side.hung_up = True
        except (ConnectionResetError, BrokenPipeError):
            self.close()
        self.update()

    def read(self, side):
        try:
            got = side.sock.recv(CHUNK)
        except BlockingIOError:
            return
        if got:
            self.write(self.other(side), got)
        else:
            side.ended = True

    def write(self, side, data):
        side.out += data
        try:
            sent = side.sock.send(side.out) if side.out else 0
        except BlockingIOError:
            return
        side.out = side.out[sent:]

    def update(self):
        """What has been told is passed on, as this VMM does it; what is waited for next."""
        if self.closed:
            return
        host, guest = self.host, self.guest
        half = self.vmm.rules.half_close
        if host.ended and not guest.out and not guest.shut:
            guest.shut = True
            # Whoever cannot half-close tells the guest that nothing will be read any more, either.
            self.shutdown(guest, socket.SHUT_WR if half else socket.SHUT_RDWR)
            if not half:
                self.deadline = time.monotonic() + LINGER
                self.drain()
                return
        if half and guest.ended and not host.out and not host.shut:
            host.shut = True
            self.shutdown(host, socket.SHUT_WR)
        if self.is_over():
            return self.close()
        for side in (host, guest):
            mask = 0 if side.ended or self.other(side).out else select.EPOLLIN
            mask |= select.EPOLLOUT if side.out else 0
            self.vmm.wait_for(side, None if side.hung_up and not mask else mask)

    def is_over(self):
        host, guest = self.host, self.guest
        if guest.ended and guest.hung_up and not host.out:
            return True
        if host.ended and host.hung_up and not guest.out:
            return True
        return host.ended and guest.ended and not host.out and not guest.out

    @staticmethod
    def shutdown(side, how):
        try:
            side.sock.shutdown(how)
        except OSError:
            pass

    def drain(self):
        """The guest reads what there is, then the connection is gone."""
        if self.closed:
            return
        unread, = struct.unpack("i", fcntl.ioctl(self.guest.fd, termios.TIOCOUTQ, bytes(4)))
        if unread and time.monotonic() < self.deadline:
            for side in (self.host, self.guest):
                self.vmm.wait_for(side, None)
            self.vmm.after(0.01, self.drain)
        else:
            self.close()

    def close(self):
        if not self.closed:
            self.closed = True
            self.vmm.count -= 1
            for side in (self.host, self.guest):
                self.vmm.forget(side)
                side.sock.close()


class Client(Side):
    """A host that has connected and not been answered yet."""

    def __init__(self, vmm, sock):
        super().__init__(sock)
        self.vmm, self.line, self.token = vmm, b"", None
        vmm.handshaking = self
        vmm.watch(self, self.ready)
        vmm.wait_for(self, select.EPOLLIN)

    def ready(self, _):
        vmm = self.vmm
        try:
            line = vmm.rules.read(self)
            if line is None:
                return
            vmm.forget(self)
            print(f"request {line!r}", flush=True)
            if not line.endswith(b"\n") and len(line) >= vmm.rules.longest:
                raise Refused(f"too long: {line!r}")
            if line.count(b"\n") != 1 or line[-1:] != b"\n":
                raise Refused(f"more than a line: {line!r}")
            service, asked = words_of(line, vmm.rules.guids)
        except (Refused, OSError) as error:
            print(f"refused: {error}", flush=True)
            vmm.forget(self)
            return self.end()
        if vmm.options.mute:
            vmm.kept.append(self)
            vmm.next_client(self)
            return
        guest = vmm.connect_guest(service)
        if not guest:
            print(f"nobody listens: {service}", flush=True)
            vmm.after(vmm.rules.refusal, self.end)
            return
        self.reply(guest, vmm.options.reply.format(vmm.rules.token(asked)).encode().replace(b"\\n", b"\n"))

    def reply(self, guest, line):
        options = self.vmm.options
        if options.piecewise and len(line) > 1:
            try:
                self.sock.send(line[:1])
            except OSError:
                guest.close()
                return self.end()
            self.vmm.after(0.002, lambda: self.reply(guest, line[1:]))
            return
        self.vmm.next_client(self)
        if options.together:
            # In one piece with what the guest says at once.
            self.vmm.after(0.05, lambda: self.join(guest, line))
        else:
            self.join(guest, line)

    def join(self, guest, line):
        if self.vmm.options.together:
            try:
                line += guest.recv(CHUNK)
            except BlockingIOError:
                pass
        Connection(self.vmm, self.sock, guest, line)

    def end(self):
        self.sock.close()
        self.vmm.next_client(self)


class Machine:
    """The VMM: an epoll loop."""

    def __init__(self, options):
        self.options, self.rules = options, KINDS[options.kind]()
        self.epoll, self.handlers, self.timers, self.sequence = select.epoll(), {}, [], 0
        self.count, self.handshaking, self.kept = 0, None, []
        self.listener = Side(self.bind(options.uds))
        self.watch(self.listener, self.accept)
        self.wait_for(self.listener, select.EPOLLIN)
        for service in options.dial:
            side = Side(self.bind(options.guest / f"dial_{service}"))
            self.watch(side, lambda _, side=side, service=service: self.guest_dials(side, port_of(service)))
            self.wait_for(side, select.EPOLLIN)

    @contextlib.contextmanager
    def as_user(self):
        """Who listens or connects is seen by the other side."""
        mine = os.geteuid()
        if self.options.uid != mine:
            os.seteuid(self.options.uid)
        try:
            yield
        finally:
            if self.options.uid != mine:
                os.seteuid(mine)

    def bind(self, path):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(os.fspath(path))
        os.chown(path, self.options.uid, -1)
        with self.as_user():
            sock.listen(4096)
        sock.setblocking(False)
        return sock

    # The loop

    def watch(self, side, handler):
        self.handlers[side.fd] = handler

    def wait_for(self, side, mask):
        if mask == side.mask:
            return
        if side.mask is None:
            self.epoll.register(side.fd, mask)
        elif mask is None:
            self.epoll.unregister(side.fd)
        else:
            self.epoll.modify(side.fd, mask)
        side.mask = mask

    def forget(self, side):
        self.wait_for(side, None)
        self.handlers.pop(side.fd, None)

    def after(self, seconds, function):
        self.sequence += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.sequence, function))

    def run(self):
        while True:
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else -1
            for fd, mask in self.epoll.poll(wait):
                handler = self.handlers.get(fd)
                if handler:
                    handler(mask)
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()

    # Who comes

    def accept(self, _):
        for _ in range(1 if self.rules.one_by_one else 64):
            try:
                sock, _ = self.listener.sock.accept()
            except BlockingIOError:
                return
            if self.count >= self.rules.limit:
                sock.close()
                continue
            sock.setblocking(False)
            Client(self, sock)
        if self.rules.one_by_one:
            self.wait_for(self.listener, None)

    def next_client(self, client):
        if self.rules.one_by_one and self.handshaking is client:
            self.handshaking = None
            self.wait_for(self.listener, select.EPOLLIN)

    @staticmethod
    def connect(path):
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(os.fspath(path))
        except OSError:
            sock.close()
            return None
        return sock

    def connect_guest(self, service):
        return self.connect(self.options.guest / f"listen_{service}")

    def guest_dials(self, side, service):
        for _ in range(64):
            try:
                guest, _ = side.sock.accept()
            except BlockingIOError:
                return
            guest.setblocking(False)
            with self.as_user():
                host = None
                for name in self.rules.names(service):
                    host = host or self.connect(f"{self.options.uds}_{name}")
            if host:
                Connection(self, host, guest)
            else:
                print(f"nobody listens for {service}", flush=True)
                guest.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("uds", type=pathlib.Path)
    parser.add_argument("guest", type=pathlib.Path)
    parser.add_argument("--dial", action="append", default=[], help="a service that the guest dials")
    parser.add_argument("--uid", type=int, default=os.geteuid(),
                        help="the user that the sockets of the host see")
    parser.add_argument("--reply", default="OK {}\\n", help="{}: the token")
    parser.add_argument("--mute", action="store_true", help="never replies")
    parser.add_argument("--piecewise", action="store_true", help="replies byte by byte")
    parser.add_argument("--together", action="store_true", help="replies with what the guest says first")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    machine = Machine(options)
    print("ready", flush=True)
    machine.run()


class Vmm:
    """A VMM that runs, and what plays the guest behind it."""

    def __init__(self, folder, kind, *options, dial=()):
        self.kind = KINDS[kind]
        self.uds = pathlib.Path(folder) / "v"
        self.guest = pathlib.Path(folder) / "guest"
        self.guest.mkdir(exist_ok=True)
        self.sockets = []
        words = [word for service in dial for word in ("--dial", str(service))]
        self.log = open(pathlib.Path(folder) / "vmm.log", "w+b")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, kind, self.uds, self.guest, *words, *map(str, options)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 10
        while b"ready\n" not in self.said():
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.002)

    def said(self):
        return pathlib.Path(self.log.name).read_bytes()

    def url(self, service):
        return f"hybrid://{self.uds}:{service}"

    def inside(self, what, service):
        """The URL of a program that plays the guest: what is "listen" or "dial"."""
        return f"unix://{self.guest}/{what}_{service}"

    def listen(self, service):
        """The guest listens: its socket."""
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"{self.guest}/listen_{service}")
        sock.listen(4096)
        sock.settimeout(10)
        self.sockets.append(sock)
        return sock

    def dial(self, service):
        """The guest dials: its socket."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(f"{self.guest}/dial_{service}")
        self.sockets.append(sock)
        return sock

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        for sock in self.sockets:
            sock.close()
        self.log.close()
        print(self.said()[-2000:].decode(errors="replace"))


if __name__ == "__main__":
    main()
