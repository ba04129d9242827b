"""Every folder says in its README.md what it may include and, where it is private, who may include it;
every #include keeps to that. MPI, NCCL and HDF5 stay in their rooms.

usage: rooms_test.py SOURCE_FOLDER
"""

import fnmatch
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))
FLOORS = ("core", "data", "distributed", "launch")
# Headers of other libraries that one place alone may include.
GUARDED = {
    "mpi.h": ("distributed/comm/mpi/*",),
    "nccl.h": ("distributed/comm/nccl/*",),
    "hdf5.h": ("data/image_set/hdf5_*",),
}


def sources():
    for floor in FLOORS:
        for path in sorted((ROOT / floor).rglob("*")):
            if path.suffix in (".h", ".cpp", ".cu", ".cuh"):
                yield path.relative_to(ROOT).as_posix(), path.read_text()


def rule(room, name):
    text = (ROOT / room / "README.md").read_text()
    line = re.search(rf"^{name}: (.*)\.$", text, re.MULTILINE)
    return line and [part.strip() for part in line.group(1).replace("and no others", "").split(",")]


class Rooms(unittest.TestCase):
    def test_every_room_says_what_it_is_and_may_include(self):
        rooms = {path.rsplit("/", 1)[0] for path, _ in sources()} - set(FLOORS)
        for room in sorted(rooms):
            with self.subTest(room=room):
                self.assertTrue((ROOT / room / "README.md").exists(), "it has no README.md")
                self.assertIsNotNone(rule(room, "May include"), "no line 'May include: ….'")

    def test_includes_keep_to_the_rules(self):
        for path, text in sources():
            room = path.rsplit("/", 1)[0]
            may = rule(room, "May include") if room not in FLOORS else ["*"]
            for included in re.findall(r'#include ["<]lockstep/([^">]+)[">]', text):
                other = included.rsplit("/", 1)[0]
                if other == room:
                    continue
                with self.subTest(file=path, includes=included):
                    self.assertTrue((ROOT / included).exists(), "there is no such file")
                    self.assertTrue(
                        any(fnmatch.fnmatch(other, pattern) for pattern in may),
                        f"{room}/README.md does not allow {other}",
                    )
                    by = rule(other, "Included by")
                    if by:
                        self.assertIn(room, by, f"{other} is private to {', '.join(by)}")

    def test_sources_include_one_another_as_users_do(self):
        for path, text in sources():
            for included in re.findall(r'#include "([^"]+)"', text):
                with self.subTest(file=path):
                    self.assertTrue(included.startswith("lockstep/"), included)

    def test_other_libraries_stay_in_their_rooms(self):
        for path, text in sources():
            for header in re.findall(r"#include <([^>]+)>", text):
                places = GUARDED.get(header)
                with self.subTest(file=path, includes=header):
                    self.assertTrue(
                        places is None or any(fnmatch.fnmatch(path, place) for place in places),
                        f"only {places} may",
                    )


if __name__ == "__main__":
    unittest.main()
