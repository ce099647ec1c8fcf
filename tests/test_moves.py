"""Moves: nothing is overwritten, whatever is in the way; a directory that disappears rests until it is back."""
import os
import re
import shutil

from tests.helpers import HOLD, QueueCase, uow


class TestTakenNames(QueueCase):
    def test_a_name_of_255_bytes_is_shortened_for_its_number(self):
        name = "n" * 255
        self.write("done-q/" + name, "kept")
        for _ in range(2):
            self.drop(name, uow("echo new"))
            self.run_until_empty()
        self.assertEqual(self.read("done-q", name), "kept")
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), sorted([name, "n" * 253 + ".2", "n" * 253 + ".3"]))
        self.assertEqual(self.log("n" * 253 + ".3"), b"new\n")
        self.assertEqual(self.says().count("the name was taken in done-q"), 2)

    def test_a_directory_of_that_name_takes_nothing_in(self):
        os.mkdir(self.path("done-q", "one"))
        self.drop("one", uow("echo new"))
        self.run_until_empty()
        self.assertEqual(os.listdir(self.path("done-q", "one")), [])
        self.assertEqual(self.log("one.2"), b"new\n")

    def test_a_dangling_link_of_that_name_is_not_written_through(self):
        os.symlink(self.path("elsewhere"), self.path("done-q", "one"))
        self.drop("one", uow("echo new"))
        self.run_until_empty()
        self.assertFalse(os.path.lexists(self.path("elsewhere")))
        self.assertTrue(os.path.islink(self.path("done-q", "one")))
        self.assertEqual(self.log("one.2"), b"new\n")

    def test_trash_overwrites_nothing(self):
        for number in range(3):
            self.drop("bad", "no UOW %d\n" % number)
            self.run_until_empty()
        self.assertEqual([self.read("trash", name) for name in ("bad", "bad.2", "bad.3")],
                         ["no UOW %d\n" % number for number in range(3)])

    def test_a_hard_link_whose_other_link_is_in_trash_under_that_name(self):
        os.link(self.write("archive/linked", uow("echo never >> ledger")), self.path("trash", "linked"))
        os.link(self.path("archive", "linked"), self.path("wait-q", "linked"))
        self.run_until_empty()
        self.assertEqual(sorted(os.listdir(self.path("trash"))), ["linked", "linked.2"])
        self.assertFalse(os.path.exists(self.path("ledger")))

    def test_the_same_name_waits_in_both_queues(self):
        self.drop("one", uow("echo later >> ledger"))
        self.drop("one", uow("echo first >> ledger"), "priority-q")
        self.run_until_empty()
        self.assertEqual(self.read("ledger"), "first\nlater\n")
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["one", "one.2"])


class TestADirectoryDisappears(QueueCase):
    config = "sleep_seconds :: 0.5\n"

    def setUp(self):
        super().setUp()
        self.monitor = self.started()

    def check_rests_and_comes_back(self, queue, take_away, give_back, says):
        """Take a directory away; see it said once, and nothing lost; give it back, and see work go on."""
        take_away()
        other = "priority-q" if queue == "wait-q" else "wait-q"
        self.drop("one", uow("echo one >> ledger"), other)
        self.said(says)
        if queue in ("wait-q", "priority-q"):
            self.assertEqual(self.ended("one"), "done-q")
        self.cycles(3)
        self.assertEqual(len(re.findall(r"^\S+ \S*%s %s" % (queue, says), self.says(), re.M)), 1, self.says())
        self.assertIsNone(self.monitor.poll(), self.output())
        give_back()
        self.said("%s is back" % self.path(queue))
        self.drop("two", uow("echo two >> ledger"), queue if queue in ("wait-q", "priority-q") else other)
        self.assertEqual([self.ended("one"), self.ended("two")], ["done-q", "done-q"])
        self.assertEqual(self.ledger(), ["one", "two"])

    def moved_away(self, queue):
        self.check_rests_and_comes_back(queue, lambda: os.rename(self.path(queue), self.path(".away")),
                                        lambda: os.rename(self.path(".away"), self.path(queue)), "is missing")

    def replaced(self, queue, take_its_place):
        """The same where something that is no directory takes its place; nothing is done to that."""
        def replace():
            os.rename(self.path(queue), self.path(".away"))
            take_its_place()

        def real():
            os.unlink(self.path(queue))
            os.rename(self.path(".away"), self.path(queue))
        self.check_rests_and_comes_back(queue, replace, real, "is not a directory any more")

    def test_wait_q(self):
        self.moved_away("wait-q")

    def test_priority_q(self):
        self.moved_away("priority-q")

    def test_done_q(self):
        self.moved_away("done-q")

    def test_done_q_is_removed_and_made_anew(self):
        self.check_rests_and_comes_back("done-q", lambda: shutil.rmtree(self.path("done-q")),
                                        lambda: os.mkdir(self.path("done-q")), "is missing")

    def test_a_directory_that_is_back_is_said_though_nothing_needs_it_any_more(self):
        os.rename(self.path("done-q"), self.path(".away"))
        self.drop("one", uow("true"))
        self.said("done-q is missing: jobs that end stay in currently-executing")
        self.said("mkdir " + self.path("done-q"))
        self.there("currently-executing", "one")
        os.rename(self.path("currently-executing", "one"), self.path("archive", "one"))
        os.rename(self.path(".away"), self.path("done-q"))
        self.said("%s is back" % self.path("done-q"))

    def test_wait_q_becomes_a_link(self):
        self.replaced("wait-q", lambda: os.symlink(self.path(".away"), self.path("wait-q")))

    def test_done_q_becomes_a_link(self):
        """What has ended is not moved through a link to wherever it leads."""
        os.mkdir(self.path(".elsewhere"))
        self.replaced("done-q", lambda: os.symlink(self.path(".elsewhere"), self.path("done-q")))
        self.assertEqual(os.listdir(self.path(".elsewhere")), [])

    def test_done_q_becomes_a_file(self):
        self.replaced("done-q", lambda: self.write("done-q", "a file\n"))

    def test_done_q_becomes_a_link_to_a_directory_with_two_readmes(self):
        """They are not this queue's: neither is an older one to be put into trash."""
        os.mkdir(self.path(".elsewhere"))
        os.utime(self.write(".elsewhere/README", "theirs\n"), (1, 1))
        self.write(".elsewhere/README.md", "theirs, too\n")
        os.rename(self.path("done-q"), self.path(".away"))
        os.symlink(self.path(".elsewhere"), self.path("done-q"))
        self.cycles(1)
        self.said("done-q is not a directory any more")
        self.cycles(2)
        self.assertEqual(sorted(os.listdir(self.path(".elsewhere"))), ["README", "README.md"])
        self.assertEqual(os.listdir(self.path("trash")), [])

    def test_currently_executing_is_moved_away_under_a_job(self):
        self.drop("one", uow("echo one >> ledger; " + HOLD))
        self.running("one")
        self.there("ledger")
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.drop("two", uow("echo two >> ledger"))
        self.said("currently-executing is missing")
        os.rename(self.path(".away"), self.path("currently-executing"))
        self.write("go", "")
        self.assertEqual([self.ended("one"), self.ended("two")], ["done-q", "done-q"])
        self.assertEqual(self.read("ledger"), "one\ntwo\n")
        self.assertIsNone(self.monitor.poll())
