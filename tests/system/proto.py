# SPDX-License-Identifier: Apache-2.0
"""Messages of proto/*.proto as Python classes: `proto.load("task").StateRequest(id="c1")`.

The files are the tests' own, written from the same facts as those of the programs under test: a wrong
number in either is found here. protoc makes descriptors of them; classes come from these at run time.
"""

import functools
import pathlib
import subprocess
import types

FOLDER = pathlib.Path(__file__).resolve().parent / "proto"


@functools.lru_cache(maxsize=None)
def _all():
    """File name -> its messages by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory    # not every test's
    names = sorted(path.name for path in FOLDER.glob("*.proto"))
    made = subprocess.run(["protoc", f"-I{FOLDER}", "--include_imports", "--descriptor_set_out=/dev/stdout",
                           *names], check=True, capture_output=True, timeout=60)
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(made.stdout).file
    for file in files:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    found = {}
    for file in files:
        descriptor = pool.FindFileByName(file.name)
        members = {name: factory.GetPrototype(message)
                   for name, message in descriptor.message_types_by_name.items()}
        for enum in descriptor.enum_types_by_name.values():
            members.update({value.name: value.number for value in enum.values})
        found[file.name.removesuffix(".proto")] = types.SimpleNamespace(**members)
    return found


def load(name):
    return _all()[name]


def any_of(url, value):
    """google.protobuf.Any; messages are serialized, everything else is bytes already."""
    return load("ttrpc").Any(type_url=url, value=value if isinstance(value, bytes)
                             else value.SerializeToString())
