# SPDX-License-Identifier: Apache-2.0
"""ttrpc as containerd speaks it with its shims: a client that pumps its connection itself, and the
server of the event service. Frames can be made by hand to see what a wrong one does."""

import collections
import os
import select
import selectors
import socket
import struct
import threading
import time

import proto
import watch

HEADER = struct.Struct(">IIBB")
REQUEST, RESPONSE, DATA = 1, 2, 3
MAX = 4 << 20
EVENTS = "containerd.services.events.ttrpc.v1.Events"

(OK, CANCELED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED,
 RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE,
 DATA_LOSS, UNAUTHENTICATED) = range(17)


class Refused(AssertionError):
    """An answer with a status."""

    def __init__(self, what, code, text):
        super().__init__(f"{what}: code {code}: {text}")
        self.code = code
        self.text = text


class Closed(ConnectionError):
    """The other side closed the connection."""


def frame(kind, stream, payload=b"", flags=0, length=None):
    return HEADER.pack(len(payload) if length is None else length, stream, kind, flags) + payload


def unix_path(address):
    assert address.startswith("unix:///"), address
    return address.removeprefix("unix://")


class Client:
    """One connection. Answers that others wait for are kept until they ask."""

    def __init__(self, address, namespace="default", patience=2):
        self.address = address
        self.namespace = namespace
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(patience * watch.PATIENCE)
        try:
            self.socket.connect(unix_path(address))
        except OSError:
            self.socket.close()
            raise
        self.next = 1
        self.received = bytearray()
        self.answers = {}               # stream -> payload
        self.names = {}                 # stream -> what was asked

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def new_stream(self):
        self.next += 2
        return self.next - 2

    def request(self, service, method, payload=b"", timeout=0):
        """The payload of a Request frame."""
        messages = proto.load("ttrpc")
        metadata = [messages.KeyValue(key="containerd-namespace-ttrpc", value=self.namespace)]
        return messages.Request(service=service, method=method, payload=payload, metadata=metadata,
                                timeout_nano=int(timeout * 1e9)).SerializeToString()

    def send(self, service, method, payload=b"", timeout=0):
        """Asks, and does not wait for the answer: the stream's number."""
        stream = self.new_stream()
        self.names[stream] = f"{service}/{method}"
        self.socket.sendall(frame(REQUEST, stream, self.request(service, method, payload, timeout)))
        return stream

    def read(self, seconds):
        """Takes what comes within that time, once; False if nothing did."""
        if not select.select([self.socket], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(self.address)
        self.received += data
        while len(self.received) >= HEADER.size:
            length, stream, kind, flags = HEADER.unpack_from(self.received)
            if len(self.received) < HEADER.size + length:
                break
            payload = bytes(self.received[HEADER.size:HEADER.size + length])
            del self.received[:HEADER.size + length]
            assert (kind, flags) == (RESPONSE, 0) and length <= MAX, (length, stream, kind, flags)
            assert stream not in self.answers, f"stream {stream} is answered twice"
            self.answers[stream] = payload
        return True

    def is_answered(self, stream, within=0.0):
        """Whether there is an answer, waiting for one so long."""
        deadline = time.monotonic() + within
        while stream not in self.answers:
            if not self.read(deadline - time.monotonic()) and time.monotonic() >= deadline:
                return False
        return True

    def answer(self, stream, timeout=10):
        """The reply's payload; an answer with a status raises Refused."""
        assert self.is_answered(stream, timeout * watch.PATIENCE), \
            f"{self.names.get(stream, stream)}: no answer within {timeout} s"
        response = proto.load("ttrpc").Response.FromString(self.answers.pop(stream))
        if response.HasField("status") and response.status.code:
            assert not response.payload, response
            raise Refused(self.names.get(stream, stream), response.status.code, response.status.message)
        return response.payload

    def call(self, service, method, payload=b"", timeout=10):
        return self.answer(self.send(service, method, payload), timeout)


class Service:
    """A service's methods by their names: `task.State(id="c1")`.

    Requests and replies are messages of one file; `begin` and `finish` are the halves of a call."""

    def __init__(self, client, name, methods):
        self.client = client
        self.name = name
        self.methods = methods          # method -> (request's class, reply's class)

    def __getattr__(self, method):
        if method not in self.methods:
            raise AttributeError(method)
        return lambda timeout=10, **fields: self.finish(self.begin(method, **fields), timeout)

    def begin(self, method, **fields):
        payload = self.methods[method][0](**fields).SerializeToString()
        return method, self.client.send(self.name, method, payload)

    def finish(self, call, timeout=10):
        method, stream = call
        return self.methods[method][1].FromString(self.client.answer(stream, timeout))

    def is_done(self, call, within=0.0):
        return self.client.is_answered(call[1], within)

    def refuses(self, method, *codes, timeout=10, **fields):
        """A call that must fail with one of these codes: its text, of one line."""
        try:
            reply = self.finish(self.begin(method, **fields), timeout)
        except Refused as refused:
            assert refused.code in codes, f"expected {codes}: {refused}"
            assert refused.text and "\n" not in refused.text, refused
            return refused.text
        raise AssertionError(f"{method} {fields} should be refused, answer: {reply}")


def service(client, name, file, methods):
    """From a list of `Method Request Reply`, with a reply of - for Empty."""
    messages, table = proto.load(file), {}
    for line in methods.strip().splitlines():
        method, request, reply = line.split()
        table[method] = (getattr(messages, request), getattr(messages, reply) if reply != "-"
                         else proto.load("ttrpc").Empty)
    return Service(client, name, table)


Event = collections.namedtuple("Event", "topic event namespace time url")


class EventServer(threading.Thread):
    """Events.Forward, in a thread; also keeps reading the files that are given to it, as containerd
    does with the log of a shim."""

    KINDS = {"/tasks/create": "TaskCreate", "/tasks/start": "TaskStart", "/tasks/exit": "TaskExit",
             "/tasks/delete": "TaskDelete", "/tasks/exec-added": "TaskExecAdded",
             "/tasks/exec-started": "TaskExecStarted", "/tasks/oom": "TaskOOM",
             "/tasks/paused": "TaskPaused", "/tasks/resumed": "TaskResumed"}

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path = str(path)
        self.events = []                # in the order in which they came
        self.log = bytearray()
        self.problems = []
        self.refuse = 0                 # so many requests are answered with an error
        self.answers = True             # whether any is
        self.selector = selectors.DefaultSelector()
        self.wake, self.waker = socket.socketpair()
        self.selector.register(self.wake, selectors.EVENT_READ, None)
        self.listener = None
        self.connections = []
        self.ended = False
        self.todo = collections.deque()
        self.listen()
        self.start()

    def listen(self):
        """Also again, after `close_socket`."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        listener.bind(self.path)
        listener.listen(16)
        self.listener = listener
        self.do(lambda: self.selector.register(listener, selectors.EVENT_READ, self.accept))

    def do(self, what):
        """In the thread."""
        self.todo.append(what)
        self.waker.send(b"x")

    def close_socket(self):
        """As if containerd had ended."""
        done = threading.Event()

        def close():
            self.drop(self.listener)
            for connection in self.connections[:]:
                self.drop(connection)
            done.set()
        self.do(close)
        assert done.wait(5)

    def drain(self, fd):
        self.do(lambda: self.selector.register(fd, selectors.EVENT_READ, self.take_log))

    def forget(self, fd):
        done = threading.Event()
        self.do(lambda: (self.selector.unregister(fd), done.set()))
        assert done.wait(5)

    def stop(self):
        self.ended = True
        self.waker.send(b"x")
        self.join(5)

    def drop(self, connection):
        self.selector.unregister(connection)
        if connection in self.connections:
            self.connections.remove(connection)
        connection.close()

    def run(self):
        while not self.ended:
            for key, _ in self.selector.select():
                if key.data is None:
                    key.fileobj.recv(100)
                    while self.todo:
                        self.todo.popleft()()
                    break       # what was selected may be gone
                key.data(key.fileobj)

    def take_log(self, fd):
        try:
            self.log += os.read(fd, 65536)
        except BlockingIOError:
            pass

    def accept(self, listener):
        connection, _ = listener.accept()
        self.connections.append(connection)
        received = bytearray()
        self.selector.register(connection, selectors.EVENT_READ, lambda c: self.take(c, received))

    def take(self, connection, received):
        try:
            data = connection.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            return self.drop(connection)
        received += data
        while len(received) >= HEADER.size:
            length, stream, kind, flags = HEADER.unpack_from(received)
            if len(received) < HEADER.size + length:
                break
            payload = bytes(received[HEADER.size:HEADER.size + length])
            del received[:HEADER.size + length]
            if (kind, flags) != (REQUEST, 0) or stream % 2 == 0:
                self.problems.append(f"frame of kind {kind}, flags {flags}, stream {stream}")
            self.forwarded(connection, stream, payload)

    def forwarded(self, connection, stream, payload):
        messages = proto.load("ttrpc")
        request = messages.Request.FromString(payload)
        if (request.service, request.method) != (EVENTS, "Forward"):
            self.problems.append(f"{request.service}/{request.method} was called")
        if self.refuse:
            self.refuse -= 1
            status = messages.Response(status=messages.Status(code=UNAVAILABLE, message="not now"))
            return self.reply(connection, stream, status.SerializeToString())
        if not self.answers:
            return None
        events = proto.load("events")
        envelope = events.ForwardRequest.FromString(request.payload).envelope
        kind = self.KINDS.get(envelope.topic)
        if not kind or envelope.event.type_url != f"containerd.events.{kind}":
            self.problems.append(f"event {envelope.topic} of type {envelope.event.type_url}")
        elif not envelope.HasField("timestamp") or abs(envelope.timestamp.seconds - time.time()) > 60:
            self.problems.append(f"time of {envelope}")
        else:
            event = getattr(events, kind).FromString(envelope.event.value)
            self.events.append(Event(envelope.topic, event, envelope.namespace, time.monotonic(),
                                     envelope.event.type_url))
        return self.reply(connection, stream)

    @staticmethod
    def reply(connection, stream, payload=b""):
        """Unless the shim is gone by now."""
        try:
            connection.sendall(frame(RESPONSE, stream, payload))
        except OSError:
            pass

    def of(self, cid, topic=""):
        """Those of a container."""
        return [event for event in list(self.events)
                if event.event.container_id == cid and event.topic.startswith(topic)]

    def topics(self, cid):
        """Without what all begin with; execs and exits with their name behind."""
        def name(event):
            what = getattr(event.event, "exec_id", "") or getattr(event.event, "id", "")
            short = event.topic.removeprefix("/tasks/")
            return f"{short} {what}" if what and what != cid else short
        return [name(event) for event in self.of(cid)]
