"""The fuzzer for half a minute. tests/fuzz.py takes --seconds and --seed."""
import sys
import unittest

from tests.fuzz import fuzz
from tests.helpers import heavy


@heavy
class TestFuzz(unittest.TestCase):
    def test_mutated_uows_names_layouts_messages_and_configurations_break_no_promise(self):
        inputs, broken = fuzz(30, seed=1)
        print("fuzz: %d inputs tried" % inputs, file=sys.stderr)
        if broken:
            self.fail(broken)                        # whole, where it has taken place and what the Monitor said
        self.assertGreater(inputs, 20)
