#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The image builder, without a network: an invented kernel, modules and packages.

usage: test.py HVAGENT
"""

import gzip
import lzma
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

import apt
import cpio
import kernel

HERE = pathlib.Path(__file__).resolve().parent
AGENT = sys.argv.pop(1) if len(sys.argv) > 1 else sys.exit(__doc__)


def make_module(modinfo, size=1000):
    """An object file with a .modinfo, some code and some .BTF."""
    with tempfile.TemporaryDirectory() as folder:
        source, result = f"{folder}/m.s", f"{folder}/m.o"
        items = "".join(f'.asciz "{item}"\n' for item in modinfo)
        with open(source, "w") as file:
            file.write(f'.section .modinfo,"a"\n{items}.text\n.fill {size},1,0x90\n'
                       '.section .BTF,"a"\n.fill 5000,1,7\n')
        subprocess.run(["cc", "-c", "-o", result, source], check=True)
        with open(result, "rb") as file:
            # The signature of a module stands behind the file.
            return file.read() + b"signature~Module signature appended~\n"


def make_bzimage(payload, version=0x208):
    head = bytearray(0x400)
    head[0x1f1] = 1
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, version)
    struct.pack_into("<II", head, 0x248, 100, len(payload))
    return bytes(head) + b"x" * 100 + payload + b"rest"


def parse_cpio(data):
    """{name: (mode, inode, contents)}"""
    found, at = {}, 0
    while True:
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        inode, mode, size, length = fields[0], fields[1], fields[6], fields[11]
        at += 110
        name = data[at:at + length - 1].decode()
        at = (at + length + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, inode, data[at:at + size])
        at = (at + size + 3) & ~3


class Cpio(unittest.TestCase):
    def test_archive(self):
        archive = cpio.Archive()
        archive.file("a/b/c", b"text", 0o755, ["a/d", "a/e"])
        archive.symlink("link", "a/b")
        archive.character_device("dev/console", 5, 1, 0o600)
        with self.assertRaises(ValueError):
            archive.folder("a/b")
        data = archive.bytes()
        self.assertEqual(len(data) % 512, 0)
        self.assertEqual(data, archive.bytes())
        found = parse_cpio(data)
        self.assertEqual(list(found), ["a", "a/b", "a/b/c", "a/d", "a/e", "dev", "dev/console", "link"])
        self.assertEqual(found["a/b"][0], 0o40755)
        self.assertEqual({found[name][1] for name in ("a/b/c", "a/d", "a/e")}, {found["a/b/c"][1]})
        self.assertEqual([found[name][2] for name in ("a/b/c", "a/d", "a/e")], [b"", b"", b"text"])
        self.assertEqual(found["link"], (0o120777, found["link"][1], b"a/b"))
        self.assertEqual(found["dev/console"][0], 0o20600)

    def test_others_can_read_it(self):
        archive = cpio.Archive()
        archive.file("f/one", b"1" * 5001, links=["f/two"])
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["busybox", "cpio", "-idm"], cwd=folder, input=archive.bytes(), check=True,
                           stderr=subprocess.DEVNULL)
            self.assertEqual(pathlib.Path(folder, "f/one").read_bytes(), b"1" * 5001)
            self.assertTrue(os.path.samefile(f"{folder}/f/one", f"{folder}/f/two"))


class Kernel(unittest.TestCase):
    def test_image(self):
        elf = b"\x7fELF" + bytes(5000)
        size = struct.pack("<I", len(elf))
        self.assertEqual(kernel.uncompressed(elf), elf)
        self.assertEqual(kernel.uncompressed(make_bzimage(gzip.compress(elf))), elf)
        self.assertEqual(kernel.uncompressed(make_bzimage(lzma.compress(elf) + size)), elf)
        packed = subprocess.run(["lz4", "-l", "-c", "-q"], input=elf, check=True,
                                stdout=subprocess.PIPE).stdout
        self.assertEqual(kernel.uncompressed(make_bzimage(packed + size)), elf)
        for image in (b"", b"x" * 5000, make_bzimage(b"nonsense"), make_bzimage(b"\x1f\x8bnonsense"),
                      make_bzimage(gzip.compress(elf), 0x207), make_bzimage(gzip.compress(b"text"))):
            self.assertIsNone(kernel.uncompressed(image))

    def test_order(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "kernel").mkdir()
            for name, info in (("a-a", ["depends=b,c_c"]), ("b", ["depends=c-c", "name=b"]),
                               ("c_c", ["license=GPL", "depends="]), ("d", ["depends=e,built_in"]),
                               ("e", ["softdep=pre: b nobody post: a_a", "depends="]),
                               ("f", ["depends=nobody"])):
                (root / f"kernel/{name}.ko").write_bytes(make_module(info))
            (root / "kernel/c_c.ko.xz").write_bytes(lzma.compress((root / "kernel/c_c.ko").read_bytes()))
            (root / "kernel/c_c.ko").unlink()
            (root / "modules.builtin").write_text("kernel/x/built-in.ko\n")
            modules = kernel.Modules(folder)
            self.assertEqual(modules.load_order(["a_a"]), ["c_c", "b", "a_a"])
            self.assertEqual(modules.load_order(["d"]), ["c_c", "b", "e", "d"])
            self.assertEqual(modules.load_order(["e", "a-a"]), ["c_c", "b", "e", "a_a"])
            self.assertEqual(modules.load_order(["built-in"]), [])
            self.assertIsNone(modules.load_order(["f"]))
            self.assertIsNone(modules.load_order(["a_a", "nobody"]))
            self.assertEqual(modules.path("a_a"), "kernel/a-a.ko")
            self.assertEqual(modules.path("c_c"), "kernel/c_c.ko")
            self.assertTrue(modules.file("c_c").startswith(b"\x7fELF"))


class Apt(unittest.TestCase):
    def test_stanzas(self):
        text = ("Types: deb deb-src\n# URIs: http://other\nURIs: http://mirror.example/debian\n"
                "Suites: bookworm\n bookworm-updates\nComponents: main\n\n\nTypes: deb\nURIs: x\n")
        first, second = apt._stanzas(text)
        self.assertEqual(first["suites"], "bookworm bookworm-updates")
        self.assertEqual(first["uris"], "http://mirror.example/debian")
        self.assertEqual(second["uris"], "x")


class Build(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.root / "build/agent").mkdir(parents=True)
        shutil.copy(AGENT, self.root / "build/agent/hvagent")
        modules = self.root / "modules/kernel"
        modules.mkdir(parents=True)
        for name, needs in (("virtio", ""), ("virtio_pci", "virtio"), ("fuse", ""),
                            ("virtiofs", "fuse,virtio"), ("loop", "virtio"), ("vmw_vsock_virtio_transport", "virtio")):
            (modules / f"{name}.ko").write_bytes(make_module([f"depends={needs}"]))
        self.elf = b"\x7fELF" + os.urandom(1000)
        (self.root / "bzImage").write_bytes(make_bzimage(gzip.compress(self.elf)))

    def command(self, output, *more):
        return [sys.executable, HERE / "build", self.root / "build", "--output", self.root / output,
                "--cache", self.root / "cache", "--kernel", self.root / "bzImage", "--modules",
                self.root / "modules", "--no-busybox", "--no-vsock-device", *more]

    def build(self, output, *more):
        return subprocess.run(self.command(output, *more), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)

    def test_image(self):
        done = self.build("one")
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("no overlay", done.stdout)
        self.assertEqual(sorted(os.listdir(self.root / "one")), ["hvrun-guest.img", "vmlinux"])
        self.assertEqual((self.root / "one/vmlinux").read_bytes(), self.elf)
        image = (self.root / "one/hvrun-guest.img").read_bytes()
        found = parse_cpio(subprocess.run(["lz4", "-dcq"], input=image, check=True,
                                          stdout=subprocess.PIPE).stdout)
        lists = {name.rpartition("/")[2]: found[name][2].decode().split()
                 for name in found if name.startswith("usr/lib/modules/lists/")}
        self.assertEqual(lists, {
            "virtio": ["kernel/virtio.ko", "kernel/virtio_pci.ko"],
            "vsock": ["kernel/virtio.ko", "kernel/vmw_vsock_virtio_transport.ko"],
            "loop": ["kernel/virtio.ko", "kernel/loop.ko.lz4"],
            "virtiofs": ["kernel/fuse.ko", "kernel/virtio.ko", "kernel/virtiofs.ko"]})
        module = found["usr/lib/modules/kernel/virtio.ko"][2]
        self.assertNotIn(b"signature", module)
        self.assertLess(len(module), 4000)
        for path in {path for paths in lists.values() for path in paths}:
            self.assertIn(f"usr/lib/modules/{path}", found)
        self.assertEqual(found["init"][0], 0o100755)

        # The same bytes from elsewhere, later; two at the same time do not disturb each other.
        os.utime(self.root / "modules/kernel/fuse.ko", (1, 1))
        others = [subprocess.Popen(self.command("two"), stdout=subprocess.DEVNULL) for _ in range(3)]
        self.assertEqual([other.wait(60) for other in others], [0, 0, 0])
        self.assertEqual((self.root / "two/hvrun-guest.img").read_bytes(), image)
        self.assertEqual(sorted(os.listdir(self.root / "two")), ["hvrun-guest.img", "vmlinux"])

    def test_unknown_image_is_kept(self):
        (self.root / "bzImage").write_bytes(b"an image of another kind" * 100)
        (self.root / "one").mkdir()
        (self.root / "one/vmlinux").write_text("of last time")
        self.assertEqual(self.build("one").returncode, 0)
        self.assertEqual(sorted(os.listdir(self.root / "one")), ["hvrun-guest.img", "vmlinuz"])

    def test_errors(self):
        (self.root / "modules/kernel/virtio_pci.ko").unlink()
        done = self.build("one")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.strip(), "guest-image: the kernel has not all of: virtio_pci")
        (self.root / "bzImage").unlink()
        (self.root / "modules/kernel/virtio_pci.ko").write_bytes(make_module([]))
        self.assertRegex(self.build("one").stdout, r"guest-image: .*No such file.*bzImage'\n\Z")
        shutil.rmtree(self.root / "modules")
        self.assertRegex(self.build("one").stdout, r"\Aguest-image: .*/modules: no such folder\n\Z")
        (self.root / "build/agent/hvagent").unlink()
        self.assertRegex(self.build("one").stdout, r"\Aguest-image: .* has no agent/hvagent: run .*\n\Z")


if __name__ == "__main__":
    unittest.main()
