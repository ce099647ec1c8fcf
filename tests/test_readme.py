"""The README's front door, run as it is printed, and its tables against the program's own."""
import os
import re
import subprocess
import tempfile
import unittest

import monitor
from tests.helpers import CHECKOUT, README, fenced, need, read_text, section


def rows(heading):
    """Return the cells of the table below a heading."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


class TestReadme(unittest.TestCase):
    def test_first_session_runs_as_printed_in_a_fresh_clone(self):
        need("git")
        session = fenced(read_text(README))[0]
        with tempfile.TemporaryDirectory(prefix="sjq-") as place:
            clone = os.path.join(place, "simple-job-q")
            subprocess.run(["git", "clone", "-q", CHECKOUT, clone], check=True)
            # What is committed and what is tested here must be the same program.
            for name in ("monitor.py", "config.txt"):
                subprocess.run(["cp", os.path.join(CHECKOUT, name), clone], check=True)
            done = subprocess.run(["bash", "-e"], input=session, cwd=clone, text=True, capture_output=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout, r"==== STATUS\ndone: exit 0 after \d+\.\d s +\n")
            self.assertRegex(done.stdout, r"(?s)==== JOB START [^\n]*\nhello from \S+\n\n==== JOB END [^\n]* exit 0\n$")
            self.assertLessEqual(len(session.splitlines()), 5)

    def test_config_table_is_the_programs_own(self):
        table = {row[0].strip("`"): row[1:] for row in rows("config.txt")}
        for key, (default, _, meaning) in monitor.CONFIG.items():
            if key not in monitor.DIRECTORIES:
                self.assertEqual(table[key], ["`%s`" % default if default else "", meaning], key)

    def test_message_table_is_the_programs_own(self):
        table = {row[0].strip("`"): row[1] for row in rows("Messages")}
        self.assertEqual(table, {keyword: meaning for keyword, (meaning, _) in monitor.MESSAGES.items()})
