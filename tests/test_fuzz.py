"""The fuzzer for a while: a minute in CI (SJQ_CI), five seconds otherwise. tests/fuzz.py takes --seconds and --seed."""
import sys
import unittest

from tests.fuzz import fuzz
from tests.helpers import IN_CI


class TestFuzz(unittest.TestCase):
    def test_mutated_uows_names_layouts_messages_and_configurations_break_no_promise(self):
        inputs, broken = fuzz(60 if IN_CI else 5, seed=1)
        print("fuzz: %d inputs tried" % inputs, file=sys.stderr)
        self.assertEqual(broken, "")
        self.assertGreater(inputs, 20)
