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
    return [[cell.strip() for cell in line.split("|")] for line in section(heading).splitlines() if line.startswith("`") and "|" in line]


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
            self.assertRegex(done.stdout, r"==== STATUS\ndone: exit 0 after \d+\.\d s, cpu \d+\.\d s.* +\n")
            self.assertRegex(done.stdout, r"(?s)==== JOB START [^\n]*\nhello from \S+\n\n==== JOB END [^\n]* exit 0\n$")
            self.assertLessEqual(len(session.splitlines()), 5)

    def test_the_second_command_runs_the_tests(self):
        self.assertEqual(fenced(read_text(README))[2], "python3 -B tests/run.py\n")

    def test_it_is_short(self):
        text = read_text(README)
        self.assertLessEqual(text.count("\n"), 500)
        self.assertLessEqual(len(text.split()), 4000)

    def test_config_table_is_the_programs_own(self):
        table = {key: row[1].strip("`") for row in rows("config.txt") for key in re.findall(r"`(\w+)`", row[0])}
        for key, (default, *_) in monitor.CONFIG.items():
            if key not in monitor.DIRECTORIES:
                self.assertEqual(table[key].replace("the same", key), default, key)

    def test_message_table_is_the_programs_own(self):
        self.assertEqual([row[0].strip("`") for row in rows("Messages")], list(monitor.MESSAGES))

    def test_links_inside_lead_somewhere(self):
        text = re.sub(r"^```.*?^```$", "", read_text(README), flags=re.M | re.S)
        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in re.findall(r"^#+ (.*)$", text, re.M)}
        self.assertEqual([link for link in re.findall(r"\]\(#([^)]*)\)", text) if link not in anchors], [])
