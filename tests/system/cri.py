# SPDX-License-Identifier: Apache-2.0
"""The kubelet's side of containerd's CRI plugin: gRPC over its unix socket, and the exec and attach
streams over a websocket on loopback."""

import base64
import json
import os
import re
import select
import socket
import struct
import time
import urllib.parse

import grpc

import proto
import watch
from containerd import IMAGE

RUNTIME = "runtime.v1.RuntimeService"
IMAGES = "runtime.v1.ImageService"
STDIN, STDOUT, STDERR, ERROR, RESIZE = range(5)


class CRI:
    """Calls by their names: `cri.StopPodSandbox(pod_sandbox_id=...)`."""

    def __init__(self, path):
        self.channel = grpc.insecure_channel(f"unix://{path}")
        grpc.channel_ready_future(self.channel).result(10 * watch.PATIENCE)

    def __getattr__(self, method):
        messages = proto.load("cri")
        request, reply = getattr(messages, f"{method}Request"), getattr(messages, f"{method}Response")
        service = IMAGES if method.startswith("Image") else RUNTIME
        call = self.channel.unary_unary(f"/{service}/{method}", request_serializer=request.SerializeToString,
                                        response_deserializer=reply.FromString)
        return lambda within=60, **fields: call(request(**fields), timeout=within * watch.PATIENCE)

    def close(self):
        self.channel.close()


class Pod:
    """A sandbox of the host's network, and containers in it."""

    def __init__(self, cri, place, handler="tested", annotations=None, name="pod"):
        messages = proto.load("cri")
        self.cri = cri
        self.place = place
        self.logs = place.path / f"logs-{name}"
        self.logs.mkdir()
        self.ids = []
        namespaces = messages.NamespaceOption(network=messages.NODE, pid=messages.CONTAINER)
        self.config = messages.PodSandboxConfig(
            metadata=messages.PodSandboxMetadata(name=f"{place.token}-{name}", uid=f"{place.token}-{name}",
                                                 namespace="tests"),
            hostname="", log_directory=str(self.logs), annotations=annotations or {},
            linux=messages.LinuxPodSandboxConfig(
                cgroup_parent=f"/{place.token}",
                security_context=messages.LinuxSandboxSecurityContext(namespace_options=namespaces)))
        self.id = cri.RunPodSandbox(config=self.config, runtime_handler=handler).pod_sandbox_id

    def create(self, *words, name=None, mounts=(), env=(), limit=0, **more):
        """The id of a container."""
        messages = proto.load("cri")
        name = name or f"c{len(self.ids) + 1}"
        config = messages.ContainerConfig(
            metadata=messages.ContainerMetadata(name=name), image=messages.ImageSpec(image=IMAGE),
            command=words, log_path=f"{name}.log", mounts=[messages.Mount(container_path=inside, host_path=str(outside))
                                            for outside, inside in mounts],
            envs=[messages.KeyValue(key=key, value=value) for key, value in env],
            linux=messages.LinuxContainerConfig(
                resources=messages.LinuxContainerResources(memory_limit_in_bytes=limit),
                security_context=messages.LinuxContainerSecurityContext(
                    namespace_options=self.config.linux.security_context.namespace_options)), **more)
        cid = self.cri.CreateContainer(pod_sandbox_id=self.id, config=config,
                                       sandbox_config=self.config).container_id
        self.ids.append(cid)
        return cid

    def start(self, *words, **more):
        cid = self.create(*words, **more)
        self.cri.StartContainer(container_id=cid)
        return cid

    def exec(self, cid, *words, timeout=10):
        """ExecSync: status, output, error."""
        reply = self.cri.ExecSync(container_id=cid, cmd=words, timeout=timeout)
        return reply.exit_code, reply.stdout, reply.stderr

    def sh(self, cid, script):
        return self.exec(cid, "sh", "-c", script)

    def status(self, cid):
        return self.cri.ContainerStatus(container_id=cid).status

    def wait(self, cid, timeout=10):
        """Of a container that has exited: its status."""
        exited = proto.load("cri").CONTAINER_EXITED
        watch.eventually(lambda: self.status(cid).state == exited, timeout, f"{cid} exited")
        return self.status(cid)

    def log(self, name):
        """The lines of its log: (stream, text)."""
        path = self.logs / f"{name}.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [re.fullmatch(r"\S+ (stdout|stderr) [FP] ?(.*)", line).groups() for line in lines]

    def stream(self, method, cid, *words, **more):
        """Exec or Attach with streams."""
        fields = {"cmd": words} if words else {}
        url = getattr(self.cri, method)(container_id=cid, **fields, **more).url
        return Stream(url)

    def stop(self):
        self.cri.StopPodSandbox(pod_sandbox_id=self.id)

    def remove(self):
        self.cri.RemovePodSandbox(pod_sandbox_id=self.id)


class Stream:
    """A websocket with the channels of Kubernetes: the first byte of a message is the channel's number."""

    def __init__(self, url):
        parts = urllib.parse.urlsplit(url)
        assert parts.hostname == "127.0.0.1", url
        self.socket = socket.create_connection((parts.hostname, parts.port), 5)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
                            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n".encode())
        self.received = b""
        while b"\r\n\r\n" not in self.received:
            data = self.socket.recv(65536)
            assert data, self.received
            self.received += data
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        self.said = {channel: b"" for channel in range(5)}
        self.ended = False

    def send(self, channel, data):
        """One message, masked with zeros."""
        data = bytes([channel]) + data
        size = struct.pack("!B", 0x80 | len(data)) if len(data) < 126 else \
            struct.pack("!BH", 0x80 | 126, len(data)) if len(data) < 65536 else \
            struct.pack("!BQ", 0x80 | 127, len(data))
        self.socket.sendall(b"\x82" + size + b"\0\0\0\0" + data)

    def resize(self, width, height):
        self.send(RESIZE, json.dumps({"Width": width, "Height": height}).encode())

    def read(self, seconds):
        """What comes within that time, once."""
        if not select.select([self.socket], [], [], max(0, seconds))[0]:
            return
        data = self.socket.recv(1 << 20)
        self.ended = not data
        self.received += data
        while len(self.received) >= 2:
            kind, size = self.received[0] & 15, self.received[1] & 127
            start = 2 + {126: 2, 127: 8}.get(size, 0)
            if len(self.received) < start:
                break
            if size > 125:
                size = int.from_bytes(self.received[2:start], "big")
            if len(self.received) < start + size:
                break
            payload, self.received = self.received[start:start + size], self.received[start + size:]
            if kind == 8:
                self.ended = True
            elif kind in (1, 2) and payload:
                self.said[payload[0]] += payload[1:]

    def expect(self, text, channel=STDOUT, timeout=5):
        deadline = time.monotonic() + timeout * watch.PATIENCE
        while text not in self.said[channel]:
            assert time.monotonic() < deadline and not self.ended, f"no {text!r} in {self.said}"
            self.read(0.1)

    def status(self, timeout=10):
        """At the end: the exit status."""
        deadline = time.monotonic() + timeout * watch.PATIENCE
        while not self.ended:
            assert time.monotonic() < deadline, f"no end: {self.said}"
            self.read(0.1)
        self.socket.close()
        found = json.loads(self.said[ERROR])
        if found["status"] == "Success":
            return 0
        return int(next(cause["message"] for cause in found["details"]["causes"]
                        if cause["reason"] == "ExitCode"))
