# SPDX-License-Identifier: Apache-2.0
"""Adds up JUnit files: `summary.py FOLDER SUITE…`; fails when something failed or a suite is missing.

`summary.py --skip FILE REASON` makes the file of a suite that cannot be run on this machine.
"""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def count(path):
    passed = failed = skipped = 0
    for case in xml.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
            print(f"FAILED {path.stem}: {case.get('classname')} {case.get('name')}")
        elif case.find("skipped") is not None:
            skipped += 1
            why = case.find("skipped").get("message") or ""
            print(f"skipped {path.stem}: {case.get('name')} {why}")
        else:
            passed += 1
    return passed, failed, skipped


def skip(path, reason):
    """One test, skipped."""
    suite = xml.Element("testsuite")
    case = xml.SubElement(suite, "testcase", classname=Path(path).stem, name="all of it")
    xml.SubElement(case, "skipped", message=reason)
    xml.ElementTree(suite).write(path)


def is_skipped(path, numbers):
    """The whole suite, for a reason that was given."""
    return path.exists() and numbers == (0, 0, 1) and \
        xml.parse(path).getroot().find("testcase").get("name") == "all of it"


def reason(path):
    return " ".join(xml.parse(path).getroot().find("testcase/skipped").get("message").split())


def main():
    if sys.argv[1] == "--skip":
        return skip(*sys.argv[2:])
    folder, suites = Path(sys.argv[1]), sys.argv[2:]
    names = []
    for suite in suites:
        names += ["sanitized-unit", "sanitized-fuzz"] if suite == "sanitized" else [suite]
    total, left_out = [0, 0, 0], ""
    for name in names:
        path = folder / f"{name}.xml"
        numbers = count(path) if path.exists() else (0, 0, 0)
        if is_skipped(path, numbers):
            left_out += f"; no {name}: {reason(path)}"
        elif not numbers[0]:
            print(f"FAILED {name}: no test ran")
            numbers = (numbers[0], numbers[1] + 1, numbers[2])
        total = [a + b for a, b in zip(total, numbers)]
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped{left_out}")
    return 1 if total[1] else 0


sys.exit(main())
