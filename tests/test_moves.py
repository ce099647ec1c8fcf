"""Moves: nothing is overwritten, whatever is in the way; a directory that disappears rests until it is back."""
import os
import re
import time

from tests.helpers import HOLD, QUEUES, QueueCase, until, uow


class TestTakenNames(QueueCase):
    def test_whatever_has_the_name_is_neither_overwritten_nor_followed_nor_filled(self):
        """In trash, too; and of one name in both waiting queues each is filed."""
        os.mkdir(self.path("done-q", "directory"))
        os.symlink(self.path("elsewhere"), self.path("done-q", "dangling"))
        for name in ("directory", "dangling", "both"):
            self.drop(name, uow("echo later >> ledger"))
        self.drop("both", uow("echo first >> ledger"), "priority-q")
        os.link(self.write("archive/linked", uow("echo never >> ledger")), self.path("trash", "linked"))
        os.link(self.path("archive", "linked"), self.path("wait-q", "linked"))
        self.write("trash/bad", "the older\n")
        self.drop("bad", "no UOW\n")
        self.run_until_empty()
        self.assertEqual(self.ledger(), ["first", "later", "later", "later"])
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["both", "both.2", "dangling", "dangling.2", "directory", "directory.2"])
        self.assertEqual(sorted(os.listdir(self.path("trash"))), ["bad", "bad.2", "linked", "linked.2"])
        self.assertEqual((self.read("trash/bad"), self.read("trash/bad.2")), ("the older\n", "no UOW\n"))
        self.assertEqual((os.listdir(self.path("done-q", "directory")), os.path.lexists(self.path("elsewhere"))), ([], False))


class TestADirectoryDisappears(QueueCase):
    config = "sleep_seconds :: 0.5\n"

    def setUp(self):
        super().setUp()
        self.monitor = self.started()

    def test_it_is_said_once_and_rests_until_it_is_back(self):
        """Moved away, removed, or with a link or a file in its place: nothing is lost, done or made there."""
        os.mkdir(self.path(".elsewhere"))
        os.utime(self.write(".elsewhere/README", "theirs\n"), (1, 1))
        self.write(".elsewhere/README.md", "theirs, too\n")
        ways = {"moved": lambda path: None, "link": lambda path: os.symlink(self.path(".elsewhere"), path),
                "file": lambda path: open(path, "w").close()}
        rows = [("wait-q", "moved"), ("priority-q", "moved"), ("done-q", "moved"), ("wait-q", "link"), ("done-q", "link"), ("done-q", "file")]
        for number, (queue, how) in enumerate(rows):
            with self.subTest(queue, how=how):
                waiting, one, two = queue != "done-q", "one-%d" % number, "two-%d" % number
                says = r"(?m)^\S+Z (?:\S*/)?%s is %s" % (queue, "missing" if how == "moved" else "not a directory any more")
                said, back = len(re.findall(says, self.says())), self.says().count(self.path(queue) + " is back")
                until(lambda: not self.links(), "what has ended is filed for good")
                os.rename(self.path(queue), self.path(".away"))
                ways[how](self.path(queue))
                until(lambda: len(re.findall(says, self.says())) > said, self.says)
                self.drop(one, uow("echo one >> ledger"), "priority-q" if queue == "wait-q" else "wait-q")
                if waiting:
                    self.assertEqual(self.ended(one), "done-q")
                self.cycles(2)
                self.assertEqual(len(re.findall(says, self.says())), said + 1, self.says())
                if how != "moved":
                    os.unlink(self.path(queue))
                os.rename(self.path(".away"), self.path(queue))
                self.said(self.path(queue) + " is back", count=back + 1)
                self.drop(two, uow("echo two >> ledger"), queue if waiting else "wait-q")
                self.assertEqual([self.ended(one), self.ended(two)], ["done-q", "done-q"])
                self.assertEqual(self.ledger(), ["one", "two"] * (number + 1))
        self.assertEqual((sorted(os.listdir(self.path(".elsewhere"))), os.listdir(self.path("trash"))), (["README", "README.md"], []))
        self.assertIsNone(self.monitor.poll(), self.output())

    def test_an_older_readme_waits_for_trash_and_one_stays_whatever_was_older_before(self):
        """Red if it is trashed for what was so once, or if trash that is back is not used; a second try is made, too."""
        os.rmdir(self.path("trash"))
        self.said("trash is missing")
        for queue in ("wait-q", "done-q"):
            for number, name in enumerate(("README", "README.a", "README.b")):
                os.utime(self.write("%s/%s" % (queue, name), name), (number, number))
        self.cycles(2)
        for queue in ("wait-q", "done-q"):
            self.assertEqual(sorted(os.listdir(self.path(queue))), ["README", "README.a", "README.b"])
            os.unlink(self.path(queue, "README.b"))
        mends = [self.immutable(self.path(queue, "README")) for queue in ("wait-q", "done-q")]
        os.mkdir(self.path("trash"))
        self.said("cannot be moved to trash", count=2)
        for mend in mends:
            mend()
        for queue in ("wait-q", "done-q"):
            until(lambda: os.listdir(self.path(queue)) == ["README.a"], self.output)

    def test_a_chmod_or_chown_of_a_directory_moves_nothing(self):
        """Red if a notice of the directory itself, which has no name, is taken for one of a file in it."""
        self.message("PAUSE")
        self.said("paused: ")
        for queue in ("wait-q", "priority-q"):
            self.drop("of-" + queue, uow("echo %s >> ledger" % queue), queue)
            self.stamped("of-" + queue, queue)
        until(lambda: time.time() - os.stat(self.path("priority-q")).st_mtime > 1, "all is listed, and quiet")
        for queue in QUEUES:
            os.chmod(self.path(queue), 0o2775)
            os.chown(self.path(queue), -1, os.getegid())
        self.cycles(2)
        self.assertNotIn("not yet in ", self.says())
        self.assertEqual((self.where("of-wait-q"), self.where("of-priority-q"), os.listdir(self.path("trash"))), (["wait-q"], ["priority-q"], []))
        self.message("RESUME")
        self.assertEqual((self.ended("of-wait-q"), self.ledger()), ("done-q", ["priority-q", "wait-q"]))

    def test_a_directory_that_is_back_is_said_though_nothing_needs_it_any_more(self):
        os.rename(self.path("done-q"), self.path(".away"))
        self.drop("one", uow("true"))
        self.said("done-q is missing: jobs that end stay in currently-executing")
        self.said("mkdir " + self.path("done-q"))
        self.there("currently-executing", "one")
        os.rename(self.path("currently-executing", "one"), self.path("archive", "one"))
        os.rename(self.path(".away"), self.path("done-q"))
        self.said("%s is back" % self.path("done-q"))

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
