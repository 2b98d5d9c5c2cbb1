# SPDX-License-Identifier: Apache-2.0
"""A VM by QEMU and vhost-device-vsock with nothing of hvrun in it but the guest image, as
contrib/guest-image/README.md says. Its host's side are the unix sockets <base>_<port>."""

import os
import pathlib
import subprocess

import pytest

import watch
from hvrun import BUILD

# Without these an emulated machine takes twice as long to boot.
QUICK = "mitigations=off tsc=reliable no_timer_check"


class Machine:
    """Whoever listens on `base` does so before start(), or the guest finds nobody."""

    def __init__(self, folder, memory=192):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.base = self.folder / "vm"
        self.memory = memory
        self.processes = []
        self.guest = pathlib.Path(os.environ.get("HVRUN_GUEST") or BUILD / "guest")
        if not (self.guest / "vhost-device-vsock").exists():
            pytest.skip("no vhost-device-vsock")

    def start(self, arguments, words, vsock=True, archive=b""):
        """The kernel's arguments, and the words of its first process behind them; an archive that goes in front of
        the image."""
        image = self.guest / "hvrun-guest.img"
        if archive:
            (self.folder / "initrd").write_bytes(archive + image.read_bytes())
            image = self.folder / "initrd"
        device = ("-chardev", f"socket,id=v,path={self.folder}/vhost", "-device", "vhost-user-vsock-pci,chardev=v")
        self.console = open(self.folder / "console", "wb")
        self._run([self.guest / "vhost-device-vsock", "--guest-cid=3", f"--socket={self.folder}/vhost",
                   f"--uds-path={self.base}"], subprocess.DEVNULL)
        watch.eventually((self.folder / "vhost").exists)
        size = f"{self.memory}M"
        self._run(["qemu-system-x86_64", "-M", "q35,memory-backend=mem", "-accel", "tcg", "-cpu", "max", "-m", size,
                   "-object", f"memory-backend-memfd,id=mem,size={size},share=on", "-nodefaults", "-display", "none",
                   "-no-reboot", "-serial", "stdio", "-kernel", self.guest / "vmlinux",
                   "-initrd", image, "-append", f"{arguments} {QUICK} -- {words}",
                   *(device if vsock else ())], self.console)

    def _run(self, words, output):
        self.processes.append(watch.own(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output,
                                                         stderr=output)))

    def runs(self):
        return all(process.poll() is None for process in self.processes)

    def wait_end(self, timeout=20):
        """The VM is powered off."""
        self.processes[-1].wait(timeout)

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        if self.processes:
            self.console.close()
            print((self.folder / "console").read_text(errors="replace")[-4000:])
        self.processes = []
