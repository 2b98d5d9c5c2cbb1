# SPDX-License-Identifier: Apache-2.0
"""The host's side of the bridge, written from oci/PROTOCOL.md and from nothing else.

It is as unforgiving as the hosts that the agent will meet: whatever makes Microsoft's host kill the
bridge (an answer nobody asked for, an unsigned Result, an empty ActivityId, a frame over 64 KiB, a
second exit notification) raises BridgeKilled here, whichever test it happens in.

One thread: whoever waits for something pumps the connection, and what belongs to others is kept.
"""

import collections
import json
import os
import re
import select
import socket
import struct
import time
import uuid

BRIDGE_PORT = 0x40000000
ZERO_GUID = "00000000-0000-0000-0000-000000000000"
NULL_CID = ZERO_GUID
FOREVER = 0xFFFFFFFF
HEADER = struct.Struct("<IIQ")
PLAIN_MAX = 65536
CHUNK = 65536

MESSAGES = {
    "Create": 0x10100101,
    "Start": 0x10100201,
    "ShutdownGraceful": 0x10100301,
    "ShutdownForced": 0x10100401,
    "ExecuteProcess": 0x10100501,
    "WaitForProcess": 0x10100601,
    "SignalProcess": 0x10100701,
    "ResizeConsole": 0x10100801,
    "GetProperties": 0x10100901,
    "ModifySettings": 0x10100A01,
    "NegotiateProtocol": 0x10100B01,
    "DumpStacks": 0x10100C01,
    "DeleteContainerState": 0x10100D01,
    "UpdateContainer": 0x10100E01,
    "LifecycleNotification": 0x10100F01,
    "ModifyServiceSettings": 0x10200101,
    "Pause": 0x1F000101,
    "Resume": 0x1F000201,
    "KernelLog": 0x1F000301,
    "Clock": 0x1F000401,
}
NOTIFICATION = 0x30100101
ACK, DATA, WINDOW, END, STOP = 0x40000101, 0x40100101, 0x40100201, 0x40100301, 0x40100401
END_OF_FILE, SOURCE_FAILED, STOPPED = 0, 1, 2


def hresult(code):
    """0x80004001 as it stands in JSON: signed."""
    return code - (1 << 32) if code & 0x80000000 else code


NOT_IMPLEMENTED = hresult(0x80004001)
FAIL = hresult(0x80004005)
INVALID_ARGUMENT = hresult(0x80070057)
NOT_FOUND = hresult(0x80070490)
INVALID_STATE = hresult(0x80370105)
TIMEOUT = hresult(0xC0370109)
NO_COMMON_VERSION = hresult(0xC037010C)
INVALID_JSON = hresult(0xC037010D)
NO_SUCH_CONTAINER = hresult(0xC037010E)
EXISTS = hresult(0xC037010F)
NOT_RUNNING = hresult(0xC0370110)


class BridgeKilled(AssertionError):
    """Something for which a host closes the bridge."""


class Closed(ConnectionError):
    """The agent closed the connection."""


class Failed(AssertionError):
    """An answer with a Result that the test did not expect."""

    def __init__(self, name, answer):
        super().__init__(f"{name}: {answer.get('Result')} {answer.get('ErrorMessage')}")
        self.answer = answer
        self.result = answer.get("Result")
        self.text = answer.get("ErrorMessage", "")


GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")


def require(condition, text):
    if not condition:
        raise BridgeKilled(text)


def is_int(value, low, high):
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def check_base(body):
    """What Go's decoder of a Microsoft host does not forgive (spec 2.2)."""
    require(is_int(body.get("Result"), -(1 << 31), (1 << 31) - 1), f"Result: {body.get('Result')}")
    activity = body.get("ActivityId")
    require(activity is None or GUID.match(activity), f"ActivityId: {activity!r}")
    require(isinstance(body.get("ErrorMessage", ""), str), "ErrorMessage")
    for record in body.get("ErrorRecords") or []:
        require(is_int(record.get("Result"), -(1 << 31), (1 << 31) - 1), f"record: {record}")
        require(isinstance(record.get("Message"), str), f"record: {record}")
        require(isinstance(record.get("ModuleName"), str), f"record: {record}")
        require(isinstance(record.get("FileName"), str), f"record: {record}")
        require(is_int(record.get("Line"), 0, FOREVER), f"record: {record}")
    for name in ("ExitCode", "ProcessId"):
        require(name not in body or is_int(body[name], 0, FOREVER), f"{name}: {body.get(name)}")
    for name in ("Properties", "ResultInfo"):
        if body.get(name) is not None:
            json.loads(body[name])


def decode(payload):
    """A payload of the agent: no LF behind it, HTML characters escaped, valid UTF-8."""
    text = payload.decode("utf-8")
    require(not any(c in text for c in "<>&\u2028\u2029"), f"not HTML-escaped: {text[:200]}")
    require(text == text.strip(), f"space around the payload: {text[:200]!r}")
    body = json.loads(text)
    require(isinstance(body, dict), f"no object: {text[:200]}")
    return body


def encode(body, html=False):
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    if html:
        for c in "<>&\u2028\u2029":
            text = text.replace(c, f"\\u{ord(c):04x}")
    return text


def inner(body):
    """JSON in a string, as the host writes it."""
    return encode(body, html=True)


class Bridge:
    """One connection of an agent, plain until session() is called."""

    def __init__(self, sock, path):
        sock.setblocking(False)
        self.sock = sock
        self.path = path                # the hybrid base
        self.received = bytearray()
        self.next_id = 0
        self.asked = {}                 # id -> (name, container)
        self.answers = {}
        self.notifications = []
        self.exits_told = collections.Counter()
        self.max_in = PLAIN_MAX
        self.hello = None               # "Hvrun" of the negotiation
        self.used = False               # negotiated, or tried
        self.outputs = {}               # stream id -> Output
        self.inputs = {}                # stream id -> Input
        self.next_stream = 5
        self.frames = collections.Counter()
        self.containers = []            # created here, in order
        self.max_frame_seen = 0
        self.on_ack = None

    # Bytes and frames

    def close(self):
        self.sock.close()

    def _fill(self, timeout):
        """Reads something; False when the time is up."""
        if not select.select([self.sock], [], [], max(timeout, 0))[0]:
            return False
        try:
            got = self.sock.recv(1 << 20)
        except BlockingIOError:
            return True
        except ConnectionError as error:
            raise Closed(str(error)) from error
        if not got:
            raise Closed("end of stream")
        self.received += got
        return True

    def send_raw(self, data, timeout=60):
        """Always reads on while it cannot write, as every host must."""
        view = memoryview(data)
        deadline = time.monotonic() + timeout
        while view:
            try:
                view = view[self.sock.send(view):]
            except BlockingIOError:
                left = deadline - time.monotonic()
                assert left > 0, "the agent does not read the bridge"
                readable, _, _ = select.select([self.sock], [self.sock], [], left)
                if readable:
                    self._fill(0)
            except ConnectionError as error:
                raise Closed(str(error)) from error

    def send_frame(self, kind, ident, payload=b""):
        self.send_raw(HEADER.pack(kind, HEADER.size + len(payload), ident) + payload)

    def _next_frame(self):
        if len(self.received) < HEADER.size:
            return None
        kind, size, ident = HEADER.unpack_from(self.received)
        require(HEADER.size <= size <= self.max_in, f"frame of {size} bytes, type {kind:#x}")
        if len(self.received) < size:
            return None
        payload = bytes(self.received[HEADER.size:size])
        del self.received[:size]
        self.max_frame_seen = max(self.max_frame_seen, size)
        return kind, ident, payload

    def step(self, timeout):
        """Handles one frame; False when none came in time."""
        deadline = time.monotonic() + timeout
        while True:
            frame = self._next_frame()
            if frame:
                self._dispatch(*frame)
                return True
            if not self._fill(deadline - time.monotonic()):
                return False

    def pump(self, until, timeout=10, what="something"):
        """Handles frames until `until()` is true."""
        deadline = time.monotonic() + timeout
        while not until():
            left = deadline - time.monotonic()
            if left <= 0 or not self.step(left):
                if until():
                    return
                raise TimeoutError(f"{what} did not come in {timeout} s")

    def idle(self, seconds):
        """Handles whatever comes during that time, and what is there already."""
        deadline, more = time.monotonic() + seconds, 100
        while more and self.step(deadline - time.monotonic()):
            more -= time.monotonic() > deadline

    def expect_close(self, timeout=10):
        try:
            self.pump(lambda: False, timeout, "the end of the connection")
        except Closed:
            return

    def _dispatch(self, kind, ident, payload):
        self.frames[kind] += 1
        if kind >> 28 == 2:
            self._response(kind, ident, payload)
        elif kind == NOTIFICATION:
            self._notification(ident, payload)
        elif self.hello and kind >> 28 == 4:
            self._stream_frame(kind, ident, payload)
        else:
            raise BridgeKilled(f"frame of type {kind:#x}")

    def _response(self, kind, ident, payload):
        require(ident in self.asked, f"answer to {ident}, which is not outstanding")
        name, asked_type, container = self.asked.pop(ident)
        require(kind == (asked_type & 0x0FFFFFFF) | 0x20000000,
                f"{name} {asked_type:#x} is answered by {kind:#x}")
        body = decode(payload)
        check_base(body)
        self.answers[ident] = body

    def _notification(self, ident, payload):
        body = decode(payload)
        require(ident == 0, f"notification with the id {ident}")
        activity = body.get("ActivityId")
        require(activity is None or GUID.match(activity), f"ActivityId: {activity!r}")
        for name in ("ContainerId", "Type", "Operation"):
            require(isinstance(body.get(name), str), f"notification: {body}")
        require(is_int(body.get("Result"), -(1 << 31), (1 << 31) - 1), f"notification: {body}")
        self.notifications.append(body)
        if body["Type"] in ("UnexpectedExit", "GracefulExit", "ForcedExit"):
            cid = body["ContainerId"]
            self.exits_told[cid] += 1
            require(self.exits_told[cid] == 1, f"a second notification for {cid}")
        else:
            require(self.hello, f"a notification of type {body['Type']} without a session")

    # Requests

    def request(self, name, body=None, cid=None, ident=None):
        """Sends a request; its id. `name` may be a number, and `body` bytes, to send nonsense."""
        kind = MESSAGES.get(name, name)
        if ident is None:
            ident = self.next_id
            self.next_id += 1
        if isinstance(body, (bytes, bytearray)):
            payload = bytes(body)
        else:
            base = {"ContainerId": NULL_CID if cid is None else cid, "ActivityId": ZERO_GUID}
            base.update(body or {})
            payload = encode(base).encode("utf-8", "surrogatepass") + b"\n"
        self.asked[ident] = (name, kind, cid)
        self.send_frame(kind, ident, payload)
        return ident

    def answer(self, ident, timeout=10):
        self.pump(lambda: ident in self.answers, timeout, f"the answer to request {ident}")
        return self.answers.pop(ident)

    def ask(self, name, body=None, cid=None, timeout=10):
        """Request and answer, whatever its Result."""
        return self.answer(self.request(name, body, cid), timeout)

    def call(self, name, body=None, cid=None, result=0, timeout=10):
        """Request and answer, which must have that Result."""
        answer = self.ask(name, body, cid, timeout)
        if answer["Result"] != result:
            raise Failed(name, answer)
        if result:
            check_failure(answer, result)
        return answer

    def pending(self, ident):
        """True when the request is still unanswered."""
        self.idle(0)
        return ident not in self.answers

    # Negotiation

    NEGOTIATION = {"ContainerId": "", "ActivityId": ZERO_GUID,
                   "MinimumVersion": 4, "MaximumVersion": 4}

    def negotiate(self):
        self.hello, self.used = None, True
        return self.call("NegotiateProtocol", dict(self.NEGOTIATION), cid="")

    def session(self, guid=None, resume=False, received=0, max_frame=1 << 20, **more):
        hvrun = {"Version": 1, "Session": guid or str(uuid.uuid4()), "Received": received,
                 "Resume": resume, "MaxFrame": max_frame}
        hvrun.update(more)
        self.used = True
        answer = self.call("NegotiateProtocol", dict(self.NEGOTIATION, Hvrun=hvrun), cid="")
        self.hello = answer["Capabilities"]["GuestDefinedCapabilities"]["Hvrun"]
        self.max_in = self.hello["MaxFrame"]
        return self.hello

    # Containers

    def create(self, cid, config, bundle, result=0, timeout=15, **more):
        document = {"SchemaVersion": {"Major": 2, "Minor": 1}, "OciBundlePath": str(bundle),
                    "OciSpecification": config, "ScratchDirPath": ""}
        document.update(more)
        document = {k: v for k, v in document.items() if v is not None}
        answer = self.call("Create", {"ContainerConfig": inner(document)}, cid, result, timeout)
        if not result:
            self.containers.append(cid)
        return answer

    def start(self, cid, streams="oe", **options):
        """Start and ExecuteProcess of the init: the Process."""
        self.call("Start", cid=cid)
        return self.execute(cid, {}, streams, **options)

    def exec(self, cid, *args, streams="oe", process=None, **options):
        oci = {"terminal": False, "user": {"uid": 0, "gid": 0}, "args": list(args), "cwd": "/",
               "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
        oci.update(process or {})
        return self.execute(cid, {"OciProcess": oci}, streams, **options)

    def vm_exec(self, *args, streams="oe", parameters=None, **options):
        wanted = {"CommandArgs": list(args), "WorkingDirectory": "/",
                  "Environment": {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                                          "/sbin:/bin"}}
        wanted.update(parameters or {})
        return self.execute(NULL_CID, wanted, streams, **options)

    def execute(self, cid, parameters, streams="oe", result=0, timeout=15, **options):
        kind = SessionProcess if self.hello else PlainProcess
        process = kind(self, cid, parameters, streams, **options)
        try:
            process.begin(result, timeout)
        except BaseException:
            process.abandon()
            raise
        return process

    def delete(self, cid, result=0, timeout=15):
        answer = self.call("DeleteContainerState", cid=cid, result=result, timeout=timeout)
        if not result and cid in self.containers:
            self.containers.remove(cid)
        return answer

    def properties(self, cid, *kinds, result=0):
        query = {"Query": inner({"PropertyTypes": list(kinds)})}
        answer = self.call("GetProperties", query, cid, result)
        return answer if result else json.loads(answer["Properties"])

    def pids(self, cid):
        items = self.properties(cid, "ProcessList").get("ProcessList") or []
        return sorted(item["ProcessId"] for item in items)

    def notification(self, cid, kind=None, timeout=10):
        def find():
            return [n for n in self.notifications if n["ContainerId"] == cid
                    and (not kind or n["Type"] == kind)]
        self.pump(find, timeout, f"a notification {kind or ''} of {cid}")
        return find()[0]

    # Streams

    def _stream_frame(self, kind, ident, payload):
        if kind == ACK:
            require(not payload, "ACK with a payload")
            if self.on_ack:
                self.on_ack(ident)
            return
        if kind in (DATA, END):
            require(ident in self.outputs, f"{kind:#x} on the unknown stream {ident}")
            output = self.outputs[ident]
            output.on_data(payload) if kind == DATA else output.on_end(payload)
        elif kind in (WINDOW, STOP):
            require(ident in self.inputs, f"{kind:#x} on the unknown stream {ident}")
            stream = self.inputs[ident]
            stream.on_window(payload) if kind == WINDOW else stream.on_stop(payload)
        else:
            raise BridgeKilled(f"frame of type {kind:#x}")

    def new_stream(self):
        ident = self.next_stream
        self.next_stream += 1
        return ident


def check_failure(answer, result=None):
    """A failed request has the base members, a text and one record, and nothing else."""
    assert result is None or answer["Result"] == result, answer
    extra = set(answer) - {"Result", "ActivityId", "ErrorMessage", "ErrorRecords"}
    assert not extra, f"members in a failure: {extra}"
    assert answer.get("ErrorMessage"), "a failure without a text"
    records = answer.get("ErrorRecords")
    assert records and len(records) == 1, f"records: {records}"
    assert records[0]["Result"] == answer["Result"], answer
    assert records[0]["Message"], answer


class Output:
    """An output stream of a session: credit, offsets, end."""

    def __init__(self, bridge, window, sink=None, hold=False):
        self.bridge, self.window, self.limit = bridge, window, window
        self.id = bridge.new_stream()
        self.data = bytearray()
        self.sink = sink or self.data.extend
        self.got = 0
        self.hold = hold                # a stalled reader: no more credit
        self.end = None                 # (total, reason)
        bridge.outputs[self.id] = self

    def on_data(self, payload):
        require(1 <= len(payload) <= CHUNK, f"DATA of {len(payload)} bytes")
        require(self.end is None, f"DATA after END on stream {self.id}")
        self.got += len(payload)
        require(self.got <= self.limit, f"{self.got} bytes on stream {self.id}, limit {self.limit}")
        self.sink(payload)
        if not self.hold:
            self.grant()

    def grant(self, force=False):
        """Raises the limit when half of the window is used."""
        if self.end is None and (force or self.limit - self.got <= self.window // 2):
            self.limit = self.got + self.window
            self.bridge.send_frame(WINDOW, self.id, struct.pack("<Q", self.limit))

    def release(self):
        self.hold = False
        self.grant(force=True)

    def stop(self):
        self.bridge.send_frame(STOP, self.id, struct.pack("<I", 0))

    def on_end(self, payload):
        require(len(payload) == 12, f"END of {len(payload)} bytes")
        require(self.end is None, f"a second END on stream {self.id}")
        self.end = struct.unpack("<QI", payload)
        require(self.end[0] == self.got, f"END says {self.end[0]}, {self.got} bytes came")

    def wait_end(self, timeout=10):
        self.bridge.pump(lambda: self.end is not None, timeout, f"END of stream {self.id}")
        return self.end


class Input:
    """Standard input in a session: sends what the agent's limit allows."""

    def __init__(self, bridge):
        self.bridge, self.id = bridge, bridge.new_stream()
        self.limit = self.sent = 0
        self.queue = bytearray()
        self.ended = False
        self.stopped = None
        bridge.inputs[self.id] = self

    def on_window(self, payload):
        require(len(payload) == 8, f"WINDOW of {len(payload)} bytes")
        limit, = struct.unpack("<Q", payload)
        require(limit >= self.limit, f"the limit fell from {self.limit} to {limit}")
        self.limit = limit
        self.flush()

    def on_stop(self, payload):
        require(len(payload) == 4, f"STOP of {len(payload)} bytes")
        require(self.stopped is None, "a second STOP")
        self.stopped, = struct.unpack("<I", payload)
        self.queue.clear()
        if not self.ended:
            self.end(STOPPED)

    def flush(self):
        while self.queue and self.sent < self.limit:
            chunk = bytes(self.queue[:min(CHUNK, self.limit - self.sent)])
            del self.queue[:len(chunk)]
            self.sent += len(chunk)
            self.bridge.send_frame(DATA, self.id, chunk)

    def write(self, data):
        self.queue += data
        self.flush()

    def write_all(self, data, timeout=20):
        self.write(data)
        self.bridge.pump(lambda: not self.queue, timeout, "room for standard input")

    def end(self, reason=END_OF_FILE):
        assert not self.queue and not self.ended
        self.ended = True
        self.bridge.send_frame(END, self.id, struct.pack("<QI", self.sent, reason))


class Process:
    """What both modes have in common."""

    def __init__(self, bridge, cid, parameters, streams):
        self.bridge, self.cid = bridge, cid
        self.parameters = dict(parameters)
        self.streams = streams
        for letter, name in (("i", "StdIn"), ("o", "StdOut"), ("e", "StdErr")):
            if letter in streams:
                self.parameters[f"Create{name}Pipe"] = True
        self.pid = None
        self.waiting = None

    def _ask(self, settings, result, timeout):
        body = {"Settings": dict(settings, ProcessParameters=inner(self.parameters))}
        return self.bridge.request("ExecuteProcess", body, self.cid)

    def _take(self, ident, result, timeout):
        answer = self.bridge.answer(ident, timeout)
        if answer["Result"] != result:
            raise Failed("ExecuteProcess", answer)
        if result:
            check_failure(answer, result)
        self.answer = answer
        self.pid = answer.get("ProcessId")
        if not result:
            assert self.pid and self.pid > 0, answer

    def begin_wait(self, timeout_ms=FOREVER):
        """As a host does right after ExecuteProcess."""
        if self.waiting is None:
            self.waiting = self.bridge.request(
                "WaitForProcess", {"ProcessId": self.pid, "TimeoutInMs": timeout_ms}, self.cid)
        return self.waiting

    def wait_answer(self, timeout=10):
        self.begin_wait()
        answer = self.bridge.answer(self.waiting, timeout)
        self.waiting = None
        if answer["Result"]:
            raise Failed("WaitForProcess", answer)
        return answer

    def signal(self, number=None, scope=None, result=0):
        body = {"ProcessId": self.pid}
        if number is not None:
            body["Options"] = {"Signal": number}
            if scope:
                body["Options"]["Scope"] = scope
        return self.bridge.call("SignalProcess", body, self.cid, result)

    def resize(self, height, width, result=0):
        body = {"ProcessId": self.pid, "Height": height, "Width": width}
        return self.bridge.call("ResizeConsole", body, self.cid, result)


class PlainProcess(Process):
    """Standard streams as connections of their own, which the agent dials."""

    def begin(self, result, timeout):
        self.listeners, self.sockets, settings = {}, {}, {}
        for letter, name in (("i", "StdIn"), ("o", "StdOut"), ("e", "StdErr")):
            if letter in self.streams:
                port, listener = listen_next(self.bridge.path)
                self.listeners[letter] = listener
                settings[name] = port
        ident = self._ask({"VsockStdioRelaySettings": settings}, result, timeout)
        if not result:
            for letter in "ioe":
                if letter in self.listeners:
                    self._accept(letter, ident, timeout)
        self._take(ident, result, timeout)
        if result:
            self.abandon()

    def _accept(self, letter, ident, timeout):
        """Takes the connection, unless the request fails first."""
        listener = self.listeners.pop(letter)
        deadline = time.monotonic() + timeout
        with listener:
            while not select.select([listener], [], [], 0.002)[0]:
                self.bridge.idle(0)
                if ident in self.bridge.answers:
                    if self.bridge.answers[ident]["Result"]:
                        return
                    raise AssertionError("answered before all streams were dialled")
                assert time.monotonic() < deadline, f"the agent does not dial {letter}"
            sock, _ = listener.accept()
            sock.settimeout(10)
            self.sockets[letter] = sock

    def abandon(self):
        for sock in list(self.listeners.values()) + list(self.sockets.values()):
            sock.close()

    stdin = property(lambda self: self.sockets["i"])
    stdout = property(lambda self: self.sockets["o"])
    stderr = property(lambda self: self.sockets["e"])

    def close_stdin(self):
        self.sockets["i"].shutdown(socket.SHUT_WR)

    def read_all(self, letter, timeout=10):
        """Up to the end of the stream, and closes then, as a host must."""
        sock = self.sockets[letter]
        sock.settimeout(timeout)
        data = bytearray()
        while got := sock.recv(1 << 16):
            data += got
        sock.close()
        return bytes(data)

    def finish(self, timeout=10):
        """(exit code, stdout, stderr) of a process that ends by itself."""
        self.begin_wait()
        data = {"o": bytearray(), "e": bytearray()}
        left = {self.sockets[x]: x for x in "oe" if x in self.sockets}
        deadline = time.monotonic() + timeout
        while left:
            wait = deadline - time.monotonic()
            readable, _, _ = select.select(list(left), [], [], max(wait, 0))
            assert readable, f"output did not end in {timeout} s: {dict(data)}"
            for sock in readable:
                got = sock.recv(1 << 16)
                data[left[sock]] += got
                if not got:
                    sock.close()
                    del left[sock]
        code = self.wait_answer(timeout)["ExitCode"]
        if "i" in self.sockets:
            self.sockets["i"].close()
        return code, bytes(data["o"]), bytes(data["e"])


class SessionProcess(Process):
    """Standard streams as frames on the bridge."""

    def __init__(self, bridge, cid, parameters, streams, window=262144, hold=False, sinks=None):
        super().__init__(bridge, cid, parameters, streams)
        self.window, self.hold, self.sinks = window, hold, sinks or {}
        self.stdin = self.stdout = self.stderr = None

    def begin(self, result, timeout):
        settings = {"Window": self.window}
        if "i" in self.streams:
            self.stdin = Input(self.bridge)
            settings["StdIn"] = self.stdin.id
        for letter, name in (("o", "StdOut"), ("e", "StdErr")):
            if letter in self.streams:
                output = Output(self.bridge, self.window, self.sinks.get(letter), self.hold)
                setattr(self, name.lower(), output)
                settings[name] = output.id
        self._take(self._ask({"Streams": settings}, result, timeout), result, timeout)
        if result:
            self.abandon()

    def abandon(self):
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream:
                self.bridge.inputs.pop(stream.id, None)
                self.bridge.outputs.pop(stream.id, None)

    def close_stdin(self):
        self.stdin.end()

    def finish(self, timeout=10):
        """(exit code, stdout, stderr): everything below the offsets that came with the exit."""
        answer = self.wait_answer(timeout)
        offsets = answer.get("Offsets") or {}
        data = {}
        for name, output in (("StdOut", self.stdout), ("StdErr", self.stderr)):
            if output is None:
                assert name not in offsets, f"{name} was not asked for: {answer}"
                continue
            if name in offsets:
                self.bridge.pump(lambda: output.got >= offsets[name], timeout,
                                 f"{name} up to {offsets[name]}, at {output.got}")
                data[name] = bytes(output.data[:offsets[name]])
            else:
                output.wait_end(timeout)
                data[name] = bytes(output.data)
        self.exited_at = answer.get("ExitedAt")
        self.offsets = offsets
        return answer["ExitCode"], data.get("StdOut", b""), data.get("StdErr", b"")


def listen(base, port, backlog=16):
    path = f"{base}_{port}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(backlog)
    return listener


_ports = {}


def listen_next(base):
    """The next port of that VM; never reused."""
    port = _ports[base] = _ports.get(base, BRIDGE_PORT) + 1
    return port, listen(base, port)


class Host:
    """Listens for an agent on a hybrid base, and stays listening for its redials."""

    def __init__(self, base):
        self.base = str(base)
        self.listener = listen(self.base, BRIDGE_PORT)

    def accept(self, timeout=10):
        self.listener.settimeout(timeout)
        sock, _ = self.listener.accept()
        return Bridge(sock, self.base)

    def close(self):
        self.listener.close()
