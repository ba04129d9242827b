"""Sums CTest's JUnit files: names what was skipped or failed, then prints "N passed, N failed, N skipped". Exit code 1 on failures."""

import sys
import xml.etree.ElementTree

passed, failed, skipped = 0, [], []
for path in sys.argv[1:]:
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        reason = case.find("skipped")
        if case.get("status") == "run":
            passed += 1
        # A test that CTest could not start is "notrun" too; only these were skipped by themselves.
        elif reason is not None and reason.get("message", "").startswith("SKIP_"):
            skipped.append(case.get("name"))
        else:
            failed.append(case.get("name"))

for name in skipped:
    print("skipped:", name)
for name in failed:
    print("FAILED:", name)
print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
sys.exit(1 if failed or not passed else 0)
