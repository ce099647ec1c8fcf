"""The order of steps in launch and filing, by a model: every state is looked at, and each order that is wrong is found."""
import sys
import unittest

from tests.model import FILING, LAUNCH, Protocol, explore, first


class TestTheProtocol(unittest.TestCase):
    def test_it_keeps_the_promises_through_kills_and_an_act_of_a_person(self):
        for rerun in (False, True):
            for kills, acts in ((4, 0), (3, 1)):
                with self.subTest(rerun=rerun, kills=kills, acts=acts):
                    states, wrong = explore(Protocol(kills=kills, acts=acts), first(rerun))
                    self.assertEqual(wrong, "")
                    self.assertGreater(states, 300)
                    print("model: %d states" % states, file=sys.stderr)

    TWICE = "two at once|ran 2 times"
    BREAKS = [  # what is wrong, whether a rerun shows it, how the protocol is changed, which promise breaks
        ("the link after the start", False, dict(launch=("status", "look", "start", "link")), TWICE),
        ("nothing on disk before the start", False, dict(launch=("start", "status", "link", "look"), acts=0), TWICE),
        ("the outcome after the removal of the link", False, dict(filing=FILING[1:] + ("outcome",), acts=0), "filed as 'running'|not filed"),
        ("the link removed before the move", False, dict(filing=("outcome", "unlink") + FILING[1:-1], acts=0), TWICE),
        ("no look whether another inode was moved", False, dict(filing=tuple(step for step in FILING if step != "verify")), "lost|not filed|filed as ''"),
        ("an old outcome counts", True, dict(launch=("link", "status") + LAUNCH[2:], old_outcomes_count=True, acts=0), "filed as 'old'"),
        ("STATUS running alone is not begun", False, dict(status_is_begun=False), TWICE),
        ("a missing .run is no sign", False, dict(missing_is_begun=False), TWICE),
        ("a name of a link of another inode is free", False, dict(taken_names_begun=False), TWICE),
    ]

    def test_each_wrong_order_is_found(self):
        """Negative controls: the model has to break each of these."""
        for what, rerun, changes, promise in self.BREAKS:
            with self.subTest(what):
                self.assertRegex(explore(Protocol(**changes), first(rerun))[1], promise)
