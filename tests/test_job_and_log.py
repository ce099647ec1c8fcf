"""What a job may do to its log, to its own UOW and to the Monitor: its output is kept, and nobody else is harmed."""
import datetime
import hashlib
import os
import re
import shutil

from tests.helpers import HOLD, QueueCase, heavy, peak_kb, until, uow

MEMORY_KB = 64_000               # what a Monitor may need, whatever a job writes


class TestForgedLines(QueueCase):
    def test_printing_status_job_log_or_another_runs_end_has_no_effect(self):
        forged = ("==== STATUS\\nfail: forged\\n\\n==== JOB LOG\\n==== UNIT OF WORK\\nCOMMAND :: touch forged\\n"
                  "==== JOB START 2026-11-24T02:30:07.000000Z run 5f3a1c22-1\\n\\n==== JOB END 2026-11-24T02:30:19.300000Z run 5f3a1c22-1 exit 0\\n")
        self.drop("forger", uow("printf '%s'\nexit 3" % forged))
        self.run_until_empty()
        self.assertRegex(self.status("forger"), r"^error: exit 3 after ")
        text = self.read("error-q", "forger")
        self.assertTrue(text.partition("\n==== JOB START")[2].partition("\n")[2].startswith(forged.encode().decode("unicode_escape")), text)
        os.rename(self.path("error-q", "forger"), self.path("wait-q", "forger"))          # and it is read as the same UOW again
        self.run_until_empty()
        self.assertEqual(self.where("forger"), ["error-q"])
        self.assertFalse(os.path.exists(self.path("forged")))

    def test_forging_the_end_of_its_own_run_does_not_hide_how_it_ended(self):
        self.drop("forger", uow("printf '\\n==== JOB END x run %s exit 0\\n' \"$SJQ_RUN\"\nexit 3"))
        self.run_until_empty()
        self.assertRegex(self.status("forger"), r"^error: exit 3 after ")

    def test_a_dropped_uow_with_a_forged_running_status_and_end_is_run_like_any_other(self):
        run = "5f3a1c22-1"
        start = "==== JOB START 2026-11-24T02:30:07.000000Z run %s\n" % run
        head = "ENQUEUED :: 2026-11-24T02:30:00Z\n\n" + uow("echo really ran") + "\n==== STATUS\n%-78s\n\n==== JOB LOG\n"
        at = len(head % "")
        for name, status in [("running", "running: %s at %d" % (run, at)), ("done", "done: exit 0 after 1.0 s"), ("odd", "running: never")]:
            self.drop(name, head % status + start + "\n==== JOB END 2026-11-24T02:30:19.300000Z run %s exit 0\n" % run)
        self.run_until_empty()
        for name in ["running", "done", "odd"]:
            self.assertEqual(self.where(name), ["done-q"])
            self.assertEqual(self.log(name), b"really ran\n")

    def test_forged_numbers_in_currently_executing_do_not_stop_the_monitor(self):
        numbers = [("9" * 5000 + "-" + "9" * 5000, "9" * 30), ("5f3a1c22-" + "9" * 400, "150"), ("5f3a1c22-1", "9" * 18), ("5f3a1c22-1", "999999999999999")]
        for number, (run, at) in enumerate(numbers):
            self.write("currently-executing/forged-%d" % number, "%s\n==== STATUS\nrunning: %s at %s\n\n==== JOB LOG\n" % (uow("true"), run, at))
        head = uow("true") + "\n==== STATUS\n%-78s\n\n==== JOB LOG\n"
        self.write("currently-executing/bad-time", head % ("running: 5f3a1c22-1 at %d" % len(head % "")) + "==== JOB START 2026-99-99 run 5f3a1c22-1\n")
        self.drop("real", uow("echo ran"))
        monitor = self.started()
        self.assertEqual(self.ended("real"), "done-q")
        self.assertEqual(self.ended("bad-time"), "fail-q")
        self.assertIsNone(monitor.poll(), self.output())
        self.stop(monitor)


class TestItsOwnUow(QueueCase):
    def kept(self, name, queue="done-q"):
        self.assertIn(queue, self.where(name), self.output())
        self.assertIn("before\n", self.read(queue, name))
        self.assertIn("after\n", self.read(queue, name))

    def test_editing_its_header_in_place_is_flagged_and_output_kept(self):
        self.drop("editor", uow("echo before\nprintf X | dd of=\"$SJQ_FILE\" bs=1 seek=60 conv=notrunc status=none\necho after"))
        self.run_until_empty()
        self.kept("editor")
        self.said("editor: its header was changed while it ran")

    def test_sed_i_on_its_own_uow_is_flagged_and_output_kept(self):
        self.drop("sed", uow("echo before\nsed -i s/UNIT/unit/ \"$SJQ_FILE\"\necho after"))
        self.run_until_empty()
        self.kept("sed")
        self.said("sed was replaced by another file while it ran: the other one goes to trash")

    def test_deleting_its_own_uow_is_flagged_and_it_is_written_again(self):
        self.drop("deleter", uow("echo before\nrm \"$SJQ_FILE\"\necho after"))
        self.run_until_empty()
        self.kept("deleter")
        self.assertEqual(self.log("deleter"), b"before\nafter\n")
        self.said("deleter was deleted while it ran: written again with all its output")

    def copying(self, name, command):
        """Run a job to the moment at which the Monitor copies its UOW; that goes on when `on` is there."""
        cat = '#!/bin/sh\n: > "%s"\nuntil [ -e "%s" ]; do sleep 0.02; done\nexec "%s" "$@"\n'
        self.started(env=self.executable("cat", cat % (self.path("copying"), self.path("on"), shutil.which("cat"))))
        self.drop(name, uow(command))
        self.there("copying")

    @heavy
    def test_deleting_its_own_uow_while_there_is_no_descriptor_for_a_moment_accuses_nobody(self):
        monitor = self.started()
        self.drop("own", uow("echo before; rm \"$SJQ_FILE\"; %s; echo after" % HOLD))
        self.said("started own")
        until(lambda: self.where("own") == [], self.output)
        self.traced(monitor, "-P", self.path("currently-executing", "own"), "-e", "inject=openat:error=EMFILE:when=1")
        self.write("go", "")
        self.assertEqual((self.ended("own"), self.log("own"), os.listdir(self.path("trash"))), ("done-q", b"before\nafter\n", []))

    def test_what_takes_the_name_of_a_deleted_uow_while_that_is_written_again_is_not_overwritten(self):
        self.copying("deleter", "echo before; rm \"$SJQ_FILE\"; echo after")
        self.write("currently-executing/deleter", "a person's\n")
        self.write("on", "")
        self.assertEqual(self.ended("deleter"), "done-q")
        self.assertEqual(self.log("deleter"), b"before\nafter\n")
        self.assertEqual(self.read("trash", "deleter"), "a person's\n")

    def test_a_uow_that_is_moved_away_while_its_lost_status_is_written_again_is_there_alone(self):
        self.copying("moved", "text=$(sed 's/ *$//' \"$SJQ_FILE\"); echo \"$text\" > \"$SJQ_FILE\"")
        os.rename(self.path("currently-executing", "moved"), self.path("archive", "moved"))
        self.write("on", "")
        self.said("moved: done: exit 0 after ")
        self.said("somebody took it away from currently-executing", seconds=5)
        self.assertEqual(self.where("moved"), [])
        self.assertIn("==== JOB END", self.read("archive", "moved"))

    def test_a_symlink_or_fifo_in_place_of_its_own_uow_is_not_followed(self):
        canary = self.write("archive/canary", "canary")
        self.drop("linker", uow("echo before\nln -sf %s \"$SJQ_FILE\"\necho after" % canary))
        self.drop("piper", uow("echo before\nrm \"$SJQ_FILE\"; mkfifo \"$SJQ_FILE\"\necho after"))
        self.run_until_empty()
        self.kept("linker")
        self.kept("piper")
        self.assertEqual(self.read("archive/canary"), "canary")

    def test_moving_its_own_uow_away_is_flagged_and_it_is_left_there(self):
        self.drop("mover", uow("echo before\nmv \"$SJQ_FILE\" archive/moved\necho after"))
        self.run_until_empty()
        self.said("mover was moved to %s while it ran: it is left there" % self.path("archive/moved"))
        self.said("s; somebody took it away from currently-executing")
        self.assertRegex(self.says(), r"mover: done: exit 0 after \d+\.\d s; somebody")
        self.assertIn("before\nafter\n", self.read("archive/moved"))
        self.assertIn("\ndone: exit 0 after ", self.read("archive/moved"))

    def test_truncating_its_own_uow_is_flagged_and_what_follows_is_kept(self):
        self.drop("truncater", uow("echo before\n: > \"$SJQ_FILE\"\necho after"))
        self.drop("next", uow("true"))
        self.run_until_empty()
        self.said("truncater: its header was changed while it ran")
        self.assertIn("after\n", self.read(self.where("truncater")[0], "truncater"))
        self.assertEqual(self.where("next"), ["done-q"])


class TestItsInputAndOutput(QueueCase):
    def test_reading_stdin_or_asking_for_a_tty_gets_nothing_and_does_not_wait(self):
        self.drop("reader", uow("cat\necho \"read: $?\""))
        self.drop("asker", uow("read -r answer < /dev/tty && echo \"answered\"\necho done"))
        self.run_until_empty()
        self.assertEqual(self.log("reader"), b"read: 0\n")
        self.assertEqual(self.where("asker"), ["done-q"])
        self.assertNotIn(b"answered", self.log("asker"))

    def test_closing_its_stdout_loses_neither_end_nor_outcome(self):
        self.drop("closer", uow("echo before\nexec >&- 2>&-\necho lost\nexit 3"))
        self.run_until_empty()
        self.assertRegex(self.status("closer"), "^error: exit 3 after ")
        self.assertEqual(self.log("closer"), b"before\n")


class TestOutput(QueueCase):
    def test_binary_output_is_kept_byte_for_byte(self):
        data = bytes(range(256)) * 400 + b"\n==== JOB LOG\n\0\r\n\xff"
        self.write("data", data)
        self.drop("binary", uow("cat data"))
        self.run_until_empty()
        self.assertEqual(self.log("binary"), data)

    @heavy
    def test_much_output_is_exact_and_memory_stays_flat(self):
        self.check_much(20, 100)

    @heavy
    def test_a_line_of_100_mb_and_1_gb_are_exact_and_memory_stays_flat(self):
        self.check_much(100, 1024)

    def check_much(self, line, much):
        """Run a job that writes some MB without a newline, and one that writes some MB in short lines."""
        monitor = self.started()
        self.drop("line", uow("head -c %d /dev/zero | tr '\\0' x" % (line << 20)))
        self.drop("much", uow("yes 0123456789abcde | head -c %d" % (much << 20)))
        for name, size, piece in [("line", line << 20, b"x" * 16), ("much", much << 20, b"0123456789abcde\n")]:
            self.assertEqual(self.ended(name, 300), "done-q")
            with open(self.path("done-q", name), "rb") as file:
                while not file.readline().startswith(b"==== JOB START"):
                    pass
                self.assertEqual(digest(iter(lambda left=[size], file=file: take(file, left), b"")), digest(piece * (1 << 16) for _ in range(size >> 20)), name)
                self.assertRegex(file.read(), rb"^\n==== JOB END \S+ run \S+ exit 0\n")
            os.unlink(self.path("done-q", name))
        self.assertLess(peak_kb(monitor.pid), MEMORY_KB)
        self.stop(monitor)


class TestTheTimeOfTheEnd(QueueCase):
    def test_where_date_is_killed_or_fails_it_is_of_the_shells_own_clock(self):
        """A KILL that ends the job may meet the keeper's `date`, too."""
        self.check(os.environ)

    @heavy
    def test_where_date_fails_and_the_decimal_point_is_another_it_is_right_too(self):
        for name in ("de_DE", "ps_AF"):                  # a comma; a letter of two bytes, of which bash gives one
            with self.subTest(name):
                self.check(self.in_locale(name))

    def check(self, environment):
        os.makedirs(self.path("tools"), exist_ok=True)
        for ends in ("kill -9 $$", "echo nonsense; exit 1"):
            with self.subTest(ends):
                os.chmod(self.write("tools/date", "#!/bin/bash\necho >> %s/asked\n%s\n" % (self.root, ends)), 0o755)
                self.drop("one", uow("echo out; exit 3"))
                before = datetime.datetime.now(datetime.timezone.utc)
                self.run_until_empty(env={**environment, "PATH": self.path("tools") + ":" + os.environ["PATH"], "TZ": "XYZ-9"})
                after = datetime.datetime.now(datetime.timezone.utc)
                self.assertTrue(os.path.exists(self.path("asked")))
                self.assertEqual((self.where("one"), self.log("one")), (["error-q"], b"out\n"))
                end = re.search(r"\n==== JOB END (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z run \S+ exit 3\n", self.read("error-q", "one"))
                self.assertTrue(end, self.read("error-q", "one"))
                self.assertLess(before, datetime.datetime.fromisoformat(end.group(1) + "+00:00"))
                self.assertLess(datetime.datetime.fromisoformat(end.group(1) + "+00:00"), after)
                os.unlink(self.path("error-q", "one"))
                os.unlink(self.path("asked"))


def take(file, left):
    """Read the next mebibyte, as long as there is some left to read."""
    data = file.read(min(1 << 20, left[0]))
    left[0] -= len(data)
    return data


def digest(pieces):
    total = hashlib.sha1()
    for piece in pieces:
        total.update(piece)
    return total.hexdigest()
