# SPDX-License-Identifier: Apache-2.0
"""Debian packages for the image, by apt with a state of its own: nothing on the machine changes.

The machine's own Debian sources say where the mirror is and by which key it is signed. Which package
was taken is written down in the cache; from then on the cache answers, without a network.
"""

import glob
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess


class Failed(Exception):
    pass


def _run(command, **options):
    try:
        return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **options).stdout
    except FileNotFoundError:
        raise Failed(f"{command[0]}: not found; is this Debian? See --kernel") from None
    except subprocess.CalledProcessError as error:
        words = [word for word in command[1:] if word != "-o" and "=" not in word]
        raise Failed(f"{shlex.join(command[:1] + words)}: {error.stderr.strip()}") from None


def _stanzas(text):
    """deb822: stanzas of "Name: value", continued by lines that begin with a blank."""
    for block in re.split(r"\n\s*\n", text):
        fields, last = {}, None
        for line in block.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and last:
                fields[last] += " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                last = name.strip().lower()
                fields[last] = value.strip()
        yield fields


def _sources():
    """(uri, suites, components, keyring) of every source of the machine."""
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        with open(path) as file:
            for fields in _stanzas(file.read()):
                if "deb" in fields.get("types", "").split() and fields.get("enabled") != "no":
                    for uri in fields.get("uris", "").split():
                        yield (uri, fields.get("suites", "").split(),
                               fields.get("components", "").split(), fields.get("signed-by"))
    for path in ["/etc/apt/sources.list"] + sorted(glob.glob("/etc/apt/sources.list.d/*.list")):
        if not os.path.exists(path):
            continue
        with open(path) as file:
            for line in file:
                found = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
                if found:
                    options = dict(word.partition("=")[::2] for word in (found[1] or "").split())
                    yield (found[2], [found[3]], found[4].split(), options.get("signed-by"))


def _debian_sources():
    """Those that serve Debian itself."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    for uri, suites, components, signed_by in _sources():
        if "main" in components and re.search(r"/debian(-security)?/?$", uri):
            yield uri, suites, signed_by or (keyring if os.path.exists(keyring) else None)


def _source_lines(suite):
    """The lines for the machine's own release, or for another suite from the same mirror."""
    for uri, suites, keyring in _debian_sources():
        option = f"[signed-by={keyring}] " if keyring else ""
        if not suite:
            for own in suites:
                yield f"deb {option}{uri} {own} main"
        elif uri.rstrip("/").endswith("/debian"):
            yield f"deb {option}{uri} {suite} main"
            return


class Packages:
    def __init__(self, cache, say):
        self.cache, self.say = cache, say
        self.folder = os.path.join(cache, "packages")
        self.updated = set()
        os.makedirs(self.folder, exist_ok=True)

    def _apt(self, suite, program, *words, **options):
        state = os.path.join(self.cache, "apt", suite or "own")
        for folder in ("lists/partial", "archives/partial", "empty"):
            os.makedirs(os.path.join(state, folder), exist_ok=True)
        command = [program]
        for option in (f"Dir::Etc::sourcelist={state}/sources.list",
                       f"Dir::Etc::sourceparts={state}/empty", "Dir::Etc::preferences=/dev/null",
                       f"Dir::Etc::preferencesparts={state}/empty",
                       f"Dir::State::lists={state}/lists", f"Dir::Cache={state}",
                       "APT::Sandbox::User=", "Acquire::Languages=none", "Acquire::Retries=3"):
            command += ["-o", option]
        command += words
        if suite not in self.updated:
            lines = list(_source_lines(suite))
            if not lines:
                raise Failed("no Debian mirror among the apt sources of this machine; see --kernel")
            with open(f"{state}/sources.list", "w") as file:
                file.write("\n".join(lines) + "\n")
            self.updated.add(suite)
            self.say(f"reading the package lists of {suite or 'this release'}: {lines[0].split()[-3]}")
            try:
                self._apt(suite, "apt-get", "-q", "-o", "APT::Update::Error-Mode=any", "update")
            except Failed:
                self.updated.discard(suite)
                raise
        return _run(command, **options)

    def close(self):
        """The package lists are many times what is taken from them."""
        shutil.rmtree(os.path.join(self.cache, "apt"), ignore_errors=True)

    def kernel(self, metapackage):
        """The package with the kernel itself, on which a metapackage depends."""
        def find():
            text = self._apt(None, "apt-cache", "show", metapackage)
            found = re.search(r"^Depends: (linux-image-[^ ,]+)", text, re.MULTILINE)
            if not found:
                raise Failed(f"{metapackage} depends on no kernel")
            return found[1]
        return self._get(metapackage, find, (None,))

    def get(self, package, suites=(None,)):
        """The file of a package, from the first suite that has it; None is the machine's own."""
        return self._get(package, lambda: package, suites)

    def _get(self, key, find, suites):
        record_path = os.path.join(self.folder, key + ".json")
        try:
            with open(record_path) as file:
                record = json.load(file)
            if self._is_whole(record):
                return os.path.join(self.folder, record["file"]), record["name"]
        except FileNotFoundError:
            pass
        record = self._download(find(), suites)
        temporary = record_path + ".new"
        with open(temporary, "w") as file:
            json.dump(record, file, indent=1)
        os.replace(temporary, record_path)
        return os.path.join(self.folder, record["file"]), record["name"]

    def _is_whole(self, record):
        path = os.path.join(self.folder, record["file"])
        if not os.path.exists(path):
            return False
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest() == record["sha256"]

    def _download(self, package, suites):
        for suite in suites:
            uris = ""
            try:
                uris = self._apt(suite, "apt-get", "-q", "--print-uris", "download", package)
            except Failed:
                if suite == suites[-1]:
                    raise
            found = re.search(r"^'(\S+)' (\S+) (\d+) SHA256:([0-9a-f]{64})", uris, re.MULTILINE)
            if found:
                break
        else:
            raise Failed(f"{package}: apt does not tell its checksum")
        uri, name, size, checksum = found.groups()
        record = {"name": package, "file": name, "size": int(size), "sha256": checksum, "uri": uri}
        if not self._is_whole(record):
            self.say(f"downloading {name}, {int(size) / 1e6:.1f} MB, sha256 {checksum}")
            # apt checks it against the signed lists.
            self._apt(suite, "apt-get", "-q", "download", package, cwd=self.folder)
        if not self._is_whole(record):
            raise Failed(f"{name}: is not what apt promised")
        return record


def unpack(package, folder):
    _run(["dpkg-deb", "-x", package, folder])
