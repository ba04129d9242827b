"""The public headers: an explicit list, closed under inclusion, free of MPI, NCCL and HDF5.

usage: public_headers_test.py SOURCE_FOLDER
"""

import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))


def public_headers():
    text = (ROOT / "cmake" / "PublicHeaders.cmake").read_text()
    return re.findall(r"^  (\S+\.h)$", text, re.MULTILINE)


class PublicHeaders(unittest.TestCase):
    def test_each_includes_public_headers_alone(self):
        headers = public_headers()
        self.assertGreater(len(headers), 10)
        for header in headers:
            text = (ROOT / header).read_text()
            for included in re.findall(r'#include "([^"]+)"', text):
                with self.subTest(header=header):
                    self.assertIn(included.removeprefix("lockstep/"), headers)

    def test_none_needs_the_libraries_beneath(self):
        for header in public_headers():
            text = (ROOT / header).read_text()
            for included in re.findall(r"#include <([^>]+)>", text):
                with self.subTest(header=header):
                    self.assertNotRegex(included, r"^(mpi|nccl|hdf5|cuda\w*|curl|png|jpeg)")


if __name__ == "__main__":
    unittest.main()
