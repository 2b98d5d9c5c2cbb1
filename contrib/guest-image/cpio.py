# SPDX-License-Identifier: Apache-2.0
"""An initramfs archive (cpio "newc") in which nothing depends on when, where or by whom it is made."""

import stat


class Archive:
    def __init__(self):
        self.entries = {}

    def _add(self, path, mode, data=b"", device=(0, 0)):
        parent = path.rpartition("/")[0]
        if parent and parent not in self.entries:
            self.folder(parent)
        if path in self.entries:
            raise ValueError(f"twice in the image: {path}")
        self.entries[path] = (mode, data, device, [path])

    def folder(self, path, mode=0o755):
        self._add(path, stat.S_IFDIR | mode)

    def file(self, path, data, mode=0o644, links=()):
        """links: more names of the same file."""
        self._add(path, stat.S_IFREG | mode, data)
        for link in links:
            self._add(link, stat.S_IFREG | mode)
            self.entries[path][3].append(link)
            del self.entries[link]

    def symlink(self, path, target):
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path, major, minor, mode):
        self._add(path, stat.S_IFCHR | mode, device=(major, minor))

    def bytes(self):
        out = bytearray()
        inode = 0
        # A folder's name sorts before the names of what is in it.
        for mode, data, device, names in (self.entries[path] for path in sorted(self.entries)):
            inode += 1
            for name in names:
                # The kernel takes the contents from the last of the names.
                body = data if name is names[-1] else b""
                self._write(out, inode, mode, len(names), body, device, name)
        self._write(out, 0, 0, 1, b"", (0, 0), "TRAILER!!!")
        out += bytes(-len(out) % 512)
        return bytes(out)

    @staticmethod
    def _write(out, inode, mode, links, data, device, name):
        fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields)
        out += name.encode() + b"\0"
        out += bytes(-len(out) % 4)
        out += data
        out += bytes(-len(out) % 4)
