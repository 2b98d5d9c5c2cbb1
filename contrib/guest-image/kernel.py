# SPDX-License-Identifier: Apache-2.0
"""What is in a kernel image and in its modules."""

import bz2
import gzip
import lzma
import os
import struct
import subprocess


class Failed(Exception):
    pass


def _tool(*command):
    def run(data):
        try:
            return subprocess.run(command, input=data, stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise Failed(f"{command[0]}: {error}") from None
    return run


def _library(function):
    def run(data):
        try:
            return function(data)
        except (OSError, EOFError, ValueError, lzma.LZMAError) as error:
            raise Failed(str(error)) from None
    return run


COMPRESSIONS = (
    (b"\x1f\x8b", _library(gzip.decompress)),
    (b"\xfd7zXZ\0", _library(lambda data: lzma.LZMADecompressor().decompress(data))),
    (b"\x5d\0\0", _library(lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data))),
    (b"BZh", _library(bz2.decompress)),
    (b"\x28\xb5\x2f\xfd", _tool("zstd", "-dcq")),
    (b"\x02\x21\x4c\x18", _tool("lz4", "-dcq")),
)


def decompress(data):
    for magic, function in COMPRESSIONS:
        if data.startswith(magic):
            return function(data)
    return data


def uncompressed(image):
    """The ELF file inside a bzImage (Linux x86 boot protocol 2.08), or None."""
    if image.startswith(b"\x7fELF"):
        return image
    if image[0x202:0x206] != b"HdrS" or struct.unpack_from("<H", image, 0x206)[0] < 0x208:
        return None
    sectors = image[0x1f1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (sectors + 1) * 512 + offset
    # Behind the compressed bytes stands how long they are uncompressed. gzip has that of its own.
    payload = image[start:start + length]
    if not payload.startswith(b"\x1f\x8b"):
        payload = payload[:-4]
    try:
        elf = decompress(payload)
    except Failed:
        return None
    return elf if elf.startswith(b"\x7fELF") else None


def _section(elf, wanted):
    """A section's bytes; b"" if there is none."""
    table, = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3a)
    def header(index):
        return struct.unpack_from("<IIQQQQ", elf, table + index * size)
    strings = header(names)[4]
    for index in range(count):
        name, _, _, _, offset, length = header(index)
        end = elf.index(b"\0", strings + name)
        if elf[strings + name:end] == wanted:
            return elf[offset:offset + length]
    return b""


def normal(name):
    return name.replace("-", "_")


class Modules:
    """The modules of one kernel: a folder such as /lib/modules/6.1.0-9-amd64."""

    def __init__(self, folder):
        self.folder = folder
        self.paths, self.built_in, self.contents = {}, set(), {}
        for base, folders, files in os.walk(folder):
            folders[:] = sorted(set(folders) - {"build", "source"})
            for name in sorted(files):
                stem, dot, ending = name.partition(".ko")
                if dot and ending in ("", ".xz", ".zst", ".gz"):
                    path = os.path.relpath(os.path.join(base, name), folder)
                    self.paths.setdefault(normal(stem), path)
        try:
            with open(os.path.join(folder, "modules.builtin")) as file:
                for line in file:
                    self.built_in.add(normal(os.path.basename(line.strip()).partition(".ko")[0]))
        except FileNotFoundError:
            pass

    def file(self, name):
        """The module itself, uncompressed."""
        if name not in self.contents:
            with open(os.path.join(self.folder, self.paths[name]), "rb") as file:
                self.contents[name] = decompress(file.read())
        return self.contents[name]

    def path(self, name):
        stem, dot, _ = self.paths[name].partition(".ko")
        return stem + dot

    def _needs(self, name):
        """What it cannot do without, and what it would like to have."""
        hard, soft = [], []
        for item in _section(self.file(name), b".modinfo").split(b"\0"):
            key, _, value = item.decode(errors="replace").partition("=")
            if key == "depends" and value:
                hard += value.split(",")
            elif key == "softdep" and value.startswith("pre:"):
                soft += value[4:].partition("post:")[0].split()
        return sorted(map(normal, hard)), sorted(map(normal, soft))

    def load_order(self, wanted):
        """The modules that `wanted` take, each after what it needs; None if one cannot be had."""
        order = []

        def visit(name):
            if name in self.built_in or name in order:
                return True
            if name not in self.paths:
                return False
            hard, soft = self._needs(name)
            for needed in soft:
                visit(needed)
            if not all([visit(needed) for needed in hard]):
                return False
            order.append(name)
            return True
        return order if all([visit(normal(name)) for name in wanted]) else None
