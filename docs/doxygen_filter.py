"""Makes the plain comments of a header into Doxygen's, on standard output.

usage: doxygen_filter.py HEADER

A comment of its own line documents what follows, one behind code what stands before it, the first
ones of a file the file. Words stay as they are: whatever Doxygen would read as a command or as HTML
is escaped, except within backticks.
"""

import pathlib
import re
import sys


def escaped(words):
    parts = words.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([\\@<>#&%$])", r"\\\1", parts[i])
        parts[i] = re.sub(r"([*_~])", r"\\\1", parts[i])
    return "`".join(parts)


def comment_column(line):
    """Where a comment begins that is not within a string; None without one."""
    outside = re.sub(r'"(\\.|[^"\\])*"', lambda text: " " * len(text[0]), line)
    column = outside.find("//")
    return None if column < 0 else column


def filtered(lines):
    in_file_comment = True
    trailing_column = None  # of the comment behind code that the next line may go on with
    for line in lines:
        column = comment_column(line)
        code = line if column is None else line[:column]
        words = "" if column is None else escaped(line[column + 2 :].strip())
        if column is None or line.startswith("#"):
            in_file_comment = False
            trailing_column = None
            yield line
        elif code.strip():
            in_file_comment = False
            trailing_column = column
            yield f"{code}///< {words}"
        elif trailing_column == column:
            yield f"{code}///< {words}"
        else:
            trailing_column = None
            if in_file_comment is True:
                yield "/// @file"
                in_file_comment = "begun"
            yield f"{code}/// {words}"


for output in filtered(pathlib.Path(sys.argv[1]).read_text().splitlines()):
    print(output)
