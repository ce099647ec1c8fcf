"""The main job on real input: dropped, run, filed."""
import os

from tests.helpers import QueueCase, uow


class TestOutcomes(QueueCase):
    def test_exit_0_goes_to_done_q_with_its_output(self):
        self.drop("hello", uow("echo hello"))
        self.run_until_empty()
        self.assertEqual(self.where("hello"), ["done-q"])
        self.assertEqual(self.log("hello"), b"hello\n")
        self.assertRegex(self.status("hello"), r"^done: exit 0 after \d+\.\d s$")
