"""Moves: nothing is overwritten or nested, whatever is in the way; a directory that disappears rests until it is back."""
import os
import shutil

from tests.helpers import HOLD, QueueCase, until, uow


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
        self.assertEqual([self.read("trash", name) for name in ("bad", "bad.2", "bad.3")], ["no UOW %d\n" % number for number in range(3)])

    def test_a_hard_link_whose_other_link_is_in_trash_under_that_name(self):
        os.link(self.write("archive/linked", uow("echo never >> ledger")), self.path("trash", "linked"))
        os.link(self.path("archive", "linked"), self.path("wait-q", "linked"))
        self.run_until_empty()
        self.assertEqual(sorted(os.listdir(self.path("trash"))), ["linked", "linked.2"])
        self.assertEqual(os.listdir(self.path("currently-executing", ".wait_q")), [])
        self.assertFalse(os.path.exists(self.path("ledger")))

    def test_the_same_name_waits_in_both_queues(self):
        self.drop("one", uow("echo later >> ledger"))
        self.drop("one", uow("echo first >> ledger"), "priority-q")
        self.run_until_empty()
        self.assertEqual(self.read("ledger"), "first\nlater\n")
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["one", "one.2"])


class TestADirectoryDisappears(QueueCase):
    config = "sleep_seconds :: 0.5\n"

    def test_a_queue_that_goes_in_the_moment_of_a_start_is_no_reason_to_file_the_uow_in_hand(self):
        self.stop(self.monitor)
        sync = "        sync(m, writer, m.config.currently_executing, *waiting)\n"
        program = self.changed(sync, "        if not os.path.exists('gone'):\n            open('gone', 'w')\n"
                                     "            raise FileNotFoundError(2, 'No such file or directory')\n" + sync)
        self.drop("one", uow("echo ran >> ledger"))
        self.run_until_empty(program=program)
        self.assertTrue(os.path.exists(self.path("gone")))
        self.assertEqual((self.where("one"), self.ledger()), (["done-q"], ["ran"]))

    def setUp(self):
        super().setUp()
        self.monitor = self.started()

    def check_rests_and_comes_back(self, queue, take_away, give_back):
        """Take a directory away; see it said once, nothing lost, the Monitor alive; give it back, and see work go on."""
        take_away()
        other = "priority-q" if queue == "wait-q" else "wait-q"
        self.drop("one", uow("echo one >> ledger"), other)
        self.said("%s is no longer a directory" % self.path(queue))
        if queue in ("wait-q", "priority-q"):
            self.assertEqual(self.ended("one"), "done-q")
        self.cycles(3)
        self.assertEqual(self.says().count("is no longer a directory"), 1)
        self.assertIsNone(self.monitor.poll(), self.output())
        give_back()
        self.said("over: ")
        self.drop("two", uow("echo two >> ledger"), queue if queue in ("wait-q", "priority-q") else other)
        self.assertEqual([self.ended("one"), self.ended("two")], ["done-q", "done-q"])
        self.assertEqual(self.read("ledger"), "one\ntwo\n")

    def moved_away(self, queue):
        self.check_rests_and_comes_back(queue, lambda: os.rename(self.path(queue), self.path(".away")), lambda: os.rename(self.path(".away"), self.path(queue)))

    def test_wait_q(self):
        self.moved_away("wait-q")

    def test_priority_q(self):
        self.moved_away("priority-q")

    def test_done_q(self):
        self.moved_away("done-q")

    def test_done_q_is_removed_and_made_anew(self):
        self.check_rests_and_comes_back("done-q", lambda: shutil.rmtree(self.path("done-q")), lambda: os.mkdir(self.path("done-q")))

    def test_a_directory_that_is_back_is_said_though_nothing_needs_it_any_more(self):
        os.rename(self.path("done-q"), self.path(".away"))
        self.drop("one", uow("true"))
        self.said("%s is no longer a directory" % self.path("done-q"))
        os.rename(self.path("currently-executing", "one"), self.path("archive", "one"))
        os.rename(self.path(".away"), self.path("done-q"))
        self.said("over: %s is no longer a directory" % self.path("done-q"))

    def test_wait_q_becomes_a_link(self):
        def link():
            os.rename(self.path("wait-q"), self.path(".away"))
            os.symlink(self.path(".away"), self.path("wait-q"))

        def real():
            os.unlink(self.path("wait-q"))
            os.rename(self.path(".away"), self.path("wait-q"))
        self.check_rests_and_comes_back("wait-q", link, real)

    def test_done_q_becomes_a_link(self):
        """What has ended is not moved through a link to wherever it leads."""
        os.mkdir(self.path(".elsewhere"))

        def link():
            os.rename(self.path("done-q"), self.path(".away"))
            os.symlink(self.path(".elsewhere"), self.path("done-q"))

        def real():
            self.assertEqual(os.listdir(self.path(".elsewhere")), [])
            os.unlink(self.path("done-q"))
            os.rename(self.path(".away"), self.path("done-q"))
        self.check_rests_and_comes_back("done-q", link, real)

    def test_done_q_becomes_a_link_to_a_directory_with_two_readmes(self):
        """They are not this queue's: neither is an older one to be put into trash."""
        os.mkdir(self.path(".elsewhere"))
        os.utime(self.write(".elsewhere/README", "theirs\n"), (1, 1))
        self.write(".elsewhere/README.md", "theirs, too\n")
        os.rename(self.path("done-q"), self.path(".away"))
        os.symlink(self.path(".elsewhere"), self.path("done-q"))
        self.cycles(1)
        self.said("%s is no longer a directory" % self.path("done-q"))
        self.cycles(2)
        self.assertEqual(sorted(os.listdir(self.path(".elsewhere"))), ["README", "README.md"])
        self.assertEqual(os.listdir(self.path("trash")), [])

    def test_done_q_becomes_a_file(self):
        def file():
            os.rmdir(self.path("done-q"))
            self.write("done-q", "a file\n")

        def real():
            self.assertEqual(self.read("done-q"), "a file\n")
            os.unlink(self.path("done-q"))
            os.mkdir(self.path("done-q"))
        self.check_rests_and_comes_back("done-q", file, real)

    def test_currently_executing_is_moved_away_under_a_job(self):
        self.drop("one", uow("echo one >> ledger; " + HOLD))
        self.running("one")
        self.there("ledger")
        os.rename(self.path("currently-executing"), self.path(".away"))
        self.drop("two", uow("echo two >> ledger"))
        until(lambda: "cut short" in self.output() or "no longer a directory" in self.output(), self.output)
        os.rename(self.path(".away"), self.path("currently-executing"))
        self.write("go", "")
        self.assertEqual([self.ended("one"), self.ended("two")], ["done-q", "done-q"])
        self.assertEqual(self.read("ledger"), "one\ntwo\n")
        self.assertIsNone(self.monitor.poll())
