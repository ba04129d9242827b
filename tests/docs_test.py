#!/usr/bin/env python3
"""The documents hold together: links and paths lead somewhere, the README stays short, the configuration's
reference is the program's own, the diffs of extending.md fit the code.

usage: docs_test.py PROGRAM SOURCE_FOLDER
"""

import pathlib
import re
import subprocess
import sys
import unittest

PROGRAM = sys.argv[1]
SOURCE = pathlib.Path(sys.argv[2]).resolve()
FLOORS = ("cluster", "cmake", "core", "data", "distributed", "docs", "examples", "launch", "tests")


def documents():
    found = [
        path
        for path in SOURCE.rglob("*.md")
        if not re.match(r"(build|\.|runs)", path.relative_to(SOURCE).parts[0])
    ]
    assert len(found) > 5, found
    return sorted(found)


def without_code_blocks(text):
    """Code blocks become empty lines, so that line numbers stay."""
    return re.sub(
        r"^```.*?^```$", lambda block: "\n" * block[0].count("\n"), text, flags=re.M | re.S
    )


def anchors(text):
    """As GitHub makes them of headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", without_code_blocks(text), re.M)
    }


class Documents(unittest.TestCase):
    def test_relative_links_lead_somewhere(self):
        broken = []
        for document in documents():
            text = without_code_blocks(document.read_text())
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                file = document.parent / path if path else document
                if not file.exists():
                    broken.append(f"{document.relative_to(SOURCE)}: {target}")
                elif anchor and anchor not in anchors(file.read_text()):
                    broken.append(f"{document.relative_to(SOURCE)}: {target} has no such heading")
        self.assertEqual(broken, [])

    def test_paths_that_documents_name_exist(self):
        missing = []
        for document in documents():
            text = without_code_blocks(document.read_text())
            for path in re.findall(r"`([\w-]+/[\w./*-]+)`", text):
                if path.split("/")[0] not in FLOORS:
                    continue
                # From the repository's root, or from the document's own folder.
                if not any(any(root.glob(path)) for root in (SOURCE, document.parent)):
                    missing.append(f"{document.relative_to(SOURCE)}: {path}")
        self.assertEqual(missing, [])

    def test_the_readme_is_short(self):
        lines = (SOURCE / "README.md").read_text().splitlines()
        self.assertLessEqual(len(lines), 150)
        wide = [line for line in lines if len(line) > 120 and not line.startswith("|")]
        self.assertEqual(wide, [], "wrap these at 120 columns, or make a table of them")

    def test_the_configuration_reference_is_the_programs(self):
        made = subprocess.run(
            [PROGRAM, "config", "--markdown"], capture_output=True, text=True, check=True
        ).stdout
        self.assertEqual(
            made.splitlines(),
            (SOURCE / "docs" / "configuration.md").read_text().splitlines(),
            "make it anew: build/lockstep config --markdown > docs/configuration.md",
        )

    def test_every_command_is_listed_in_the_guide(self):
        help_text = subprocess.run(
            [PROGRAM, "--help"], capture_output=True, text=True, check=True
        ).stdout
        commands = re.findall(r"^  ([a-z]+) {2,}", help_text.split("Subcommands:")[1], re.M)
        self.assertGreater(len(commands), 8)
        guide = (SOURCE / "docs" / "guide.md").read_text()
        self.assertEqual([name for name in commands if f"| `{name}" not in guide], [])

    def test_the_diffs_of_extending_fit_the_code(self):
        text = (SOURCE / "docs" / "extending.md").read_text()
        diffs = re.findall(r"^```diff\n(.*?)^```$", text, re.M | re.S)
        self.assertGreater(len(diffs), 4)
        for diff in diffs:
            result = subprocess.run(
                ["git", "apply", "--check", "-"],
                input=diff,
                capture_output=True,
                text=True,
                cwd=SOURCE,
            )
            self.assertEqual(result.returncode, 0, result.stderr)


unittest.main(argv=sys.argv[:1], verbosity=2)
