"""What a person does between two steps of the Monitor: nothing is lost, and nobody's message."""
import os
import shutil

from tests.helpers import QueueCase, need, stamped_uow, uow


class TestBetweenTwoSteps(QueueCase):
    def wrapped(self, tool, text):
        """Return an environment in which a tool is this script: REAL is the tool, ONCE what is done the first time only."""
        need(tool)
        return self.executable(tool, "#!/bin/sh\n" + text.replace("ONCE", "mkdir .once 2>/dev/null &&").replace("REAL", shutil.which(tool)))

    def test_a_message_that_replaces_the_file_while_another_is_acted_on(self):
        """`echo PAUSE > monitor_reads`. Red if the line that was acted on is marked without a look."""
        environment = self.wrapped("ps", 'ONCE echo PAUSE > monitor_reads\nexec REAL "$@"\n')
        self.drop("job", uow("exec sleep 60"))
        monitor = self.started(env=environment)
        self.begun("job")
        self.write("monitor_reads", "STATUS\n")          # as `echo STATUS > monitor_reads` does
        self.said("counts:")
        self.said("message PAUSE")
        self.tidied()
        self.message("KILL JOB")
        self.ended("job")
        self.stop(monitor)

    def test_a_message_after_a_half_line_is_not_swallowed_by_its_mark(self):
        """Red if a half line is acted on where the next sender still adds to it."""
        self.held("    write_new(fresh, howto(), m.reads_like)\n")
        self.there("monitor_reads")
        self.write("hold-0", "")
        self.message("CONFIG", end="")
        self.there("held-0")                             # it is to be renamed next
        self.message("PAUSE")
        os.unlink(self.path("hold-0"))
        self.said("message CONFIGPAUSE is not known")
        self.message("PAUSE")
        self.said("paused: ")
        self.tidied()

    def test_what_is_mended_while_trash_is_away_is_run(self):
        """Red if what goes to trash is known by its inode alone."""
        bad = stamped_uow(uow("echo ran >> ledger")).replace("COMMAND ::", "NOTHING ::")
        self.write("monitor_reads", "PAUSE\n")
        self.started()
        os.rename(self.path("trash"), self.path("trash.away"))
        self.said("trash is missing")
        path = self.drop("job", bad)
        self.cycles(2)
        with open(path, "r+") as file:
            file.write(bad.replace("NOTHING ::", "COMMAND ::"))
        self.cycles(2)
        os.rename(self.path("trash.away"), self.path("trash"))
        self.said("trash is back")
        self.message("RESUME")
        self.assertEqual((self.ended("job"), self.ledger()), ("done-q", ["ran"]))

    def test_run_that_is_removed_after_the_claim_is_made_again(self):
        """Red if only a claim makes .run."""
        self.drop("job", uow("echo ran >> ledger"))
        self.started(env=self.wrapped("mv", 'REAL "$@"\ncode=$?\nONCE rm -r currently-executing/.run\nexit $code\n'))
        self.assertEqual((self.ended("job"), self.ledger()), ("done-q", ["ran"]))
