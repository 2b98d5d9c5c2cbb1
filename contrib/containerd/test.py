#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is to be pasted can be parsed, and names what there is: the snippets for containerd, docker and
Kubernetes. usage: test.py HVRUN SHIM"""

import glob
import json
import pathlib
import re
import sys
import tomllib

CONTRIB = pathlib.Path(__file__).resolve().parent.parent
HVRUN, SHIM = (pathlib.Path(path).name for path in sys.argv[1:3])
MANUAL = {page: re.sub(r"\\f[A-Z]", "", (CONTRIB / "man" / page).read_text()).replace("\\", "")
          for page in ("hvrun-config.5", "containerd-shim-hvrun-v1.8")}


def check_runtime(name):
    """containerd makes the program's name of the last two words."""
    assert "containerd-shim-" + "-".join(name.split(".")[-2:]) == SHIM, name


def check_word(word, page):
    assert re.search(rf"(?<![\w.]){re.escape(word)}(?![\w.])", MANUAL[page]), f"{word}: not in {page}"


def check_configuration(members, prefix=""):
    for name, value in members.items():
        if isinstance(value, dict):
            check_configuration(value, name + ".")
        else:
            check_word(prefix + name, "hvrun-config.5")
    for name in members.get("annotations", []):
        check_word(name, "hvrun-config.5")


def check_options(options):
    for name, value in options.items():
        check_word(name, "containerd-shim-hvrun-v1.8")
        assert name != "ConfigPath" or value.startswith("/etc/hvrun/"), value


def check_containerd(version, plugin):
    text = (CONTRIB / f"containerd/config-v{version}.toml").read_text()
    # What is there to be taken in is configuration too.
    for text in (text, re.sub(r'(?m)^# (\[plugins|  runtime_type)', r"\1", text)):
        config = tomllib.loads(f"version = {version}\n" + text)
        assert list(config["plugins"]) == [plugin]
        runtimes = config["plugins"][plugin]["containerd"]["runtimes"]
        check_runtime(runtimes["hvrun"]["runtime_type"])
        check_options(runtimes["hvrun"]["options"])
    return set(runtimes)


def check_docker(runtime):
    if "path" in runtime:
        assert pathlib.Path(runtime["path"]).name == HVRUN
    else:
        check_runtime(runtime["runtimeType"])
        check_options(runtime.get("options", {}))


def check_kubernetes(documents):
    handlers = set()
    for document in documents:
        assert document["apiVersion"] and document["metadata"]["name"]
        if document["kind"] == "RuntimeClass":
            handlers.add(document["handler"])
            assert set(document["overhead"]["podFixed"]) <= {"cpu", "memory"}
        else:
            assert document["kind"] == "Pod" and document["spec"]["containers"]
            handlers.add(document["spec"]["runtimeClassName"])
            check_configuration({"annotations": list(document["metadata"]["annotations"])})
    return handlers


assert check_containerd(2, "io.containerd.grpc.v1.cri") == {"hvrun", "runc"}
assert check_containerd(3, "io.containerd.cri.v1.runtime") == {"hvrun"}
for path in glob.glob(f"{CONTRIB}/docker/daemon*.json"):
    for runtime in json.loads(pathlib.Path(path).read_text())["runtimes"].values():
        check_docker(runtime)
allowed = json.loads((CONTRIB / "kubernetes/hvrun.json").read_text())
check_configuration(allowed)
try:
    import yaml
except ImportError:
    print("python3-yaml is not installed", file=sys.stderr)
    sys.exit(77)
documents = [yaml.safe_load(pathlib.Path(path).read_text())
             for path in glob.glob(f"{CONTRIB}/kubernetes/*.yaml")]
assert check_kubernetes(documents) == {"hvrun"}
