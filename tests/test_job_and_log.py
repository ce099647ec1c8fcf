"""What a job may do to its log, to its own UOW and to the Monitor: its output is kept, and nobody else is harmed."""
import datetime
import hashlib
import os
import re
import subprocess

from tests.helpers import QueueCase, heavy, mark_of, peak_kb, stamped_uow, uow

MEMORY_KB = 64_000               # what a Monitor may need, whatever a job writes


class TestForgedLines(QueueCase):
    def test_printing_status_job_log_or_another_runs_end_has_no_effect(self):
        forged = ("==== STATUS\\nfail: forged\\n\\n==== JOB LOG\\n==== UNIT OF WORK\\nCOMMAND :: touch forged\\n"
                  "==== JOB START 2026-11-24T02:30:07.000000Z run 5f3a1c22-1-2-3\\n"
                  "\\n==== JOB END 2026-11-24T02:30:19.300000Z run 5f3a1c22-1-2-3 exit 0\\n")
        self.drop("forger", uow("printf '%s'\nexit 3" % forged))
        self.run_until_empty()
        self.assertRegex(self.status("forger"), r"^error: exit 3 after ")
        text = self.read("error-q", "forger")
        self.assertIn(forged.encode().decode("unicode_escape"), text.partition("\n==== JOB START")[2])
        os.rename(self.path("error-q", "forger"), self.path("wait-q", "forger"))      # the same UOW again
        self.run_until_empty()
        self.assertEqual(self.where("forger"), ["error-q"])
        self.assertFalse(os.path.exists(self.path("forged")))

    def test_a_dropped_uow_with_a_forged_status_and_end_is_run_like_any_other(self):
        run = mark_of(self.root)
        start = "==== JOB START 2026-11-24T02:30:07.000000Z run %s\n" % run
        end = start + "\n==== JOB END 2026-11-24T02:30:19.300000Z run %s exit 7\n" % run
        statuses = {"running": "running: since 2026-11-24T02:30:07Z, killed by message",
                    "done": "done: exit 0 after 1.0 s", "odd": "running: never"}
        for name, status in statuses.items():
            self.drop(name, stamped_uow(uow("echo really ran"), status, end))
        self.run_until_empty()
        for name in statuses:
            self.assertEqual(self.where(name), ["done-q"])
            self.assertEqual(self.log(name), b"really ran\n")

    def test_forged_marks_and_times_in_currently_executing_do_not_stop_the_monitor(self):
        many = "9" * 20
        marks = ["00000000-0-0-0", "ffffffff-%s-%s-%s" % (many, "f" * 16, many), mark_of(self.root)]
        for number, run in enumerate(marks):
            since = ["never", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z, killed by message"][number]
            end = "==== JOB START 2026-99-99 run %s\n\n==== JOB END 2026-99-99 run %s exit 999\n" % (run, run)
            self.linked("forged-%d" % number, run, stamped_uow(uow("echo ran"), "running: since " + since, end))
        stray = self.write("currently-executing/.run/5f3a1c22-1-1-%s9.x" % many, "")
        self.drop("real", uow("echo ran"))
        monitor = self.started()
        self.assertEqual(self.ended("real"), "done-q")
        for number in range(3):
            self.assertEqual(self.ended("forged-%d" % number), "fail-q" if number == 2 else "error-q")
        self.assertEqual(self.status("forged-2"), "fail: killed by message")
        self.assertTrue(os.path.exists(stray))
        self.assertEqual(self.stop(monitor), 0)


class TestItsOwnUow(QueueCase):
    def kept(self, name, queue="done-q"):
        self.assertIn(queue, self.where(name), self.output())
        self.assertIn("before\n", self.read(queue, name))
        self.assertIn("after\n", self.read(queue, name))

    def test_editing_its_header_in_place_is_flagged_and_output_kept(self):
        edit = "printf X | dd of=\"$SJQ_FILE\" bs=1 seek=60 conv=notrunc status=none"
        self.drop("editor", uow("echo before\n%s\necho after" % edit))
        self.run_until_empty()
        self.kept("editor")
        self.said("editor: its header was changed while it ran")

    def test_sed_i_on_its_own_uow_is_flagged_and_output_kept(self):
        self.drop("sed", uow("echo before\nsed -i s/UNIT/unit/ \"$SJQ_FILE\"\necho after"))
        self.run_until_empty()
        self.kept("sed")
        self.assertRegex(self.says(), "sed in currently-executing goes to trash: .* took its name")
        self.assertEqual(self.where("sed"), ["done-q", "trash"])

    def test_what_takes_the_name_of_a_deleted_uow_is_not_overwritten(self):
        self.drop("deleter", uow("echo before; rm \"$SJQ_FILE\"; echo a person > \"$SJQ_FILE\"; echo after"))
        self.run_until_empty()
        self.assertEqual(self.log("deleter"), b"before\nafter\n")
        self.assertEqual(self.read("trash", "deleter"), "a person\n")
        self.said("deleter: it was deleted ")

    def test_losing_its_status_line_is_flagged_and_output_kept(self):
        """As an editor does that strips the blanks at the end of lines."""
        strip = "text=$(sed 's/ *$//' \"$SJQ_FILE\"); echo \"$text\" > \"$SJQ_FILE\""
        self.drop("stripper", uow("echo before\n%s\necho after" % strip))
        self.run_until_empty()
        self.kept("stripper")
        self.assertRegex(self.says(), "stripper: .*STATUS")

    def test_a_symlink_or_fifo_in_place_of_its_own_uow_is_not_followed(self):
        canary = self.write("archive/canary", "canary")
        self.drop("linker", uow("echo before\nln -sf %s \"$SJQ_FILE\"\necho after" % canary))
        self.drop("piper", uow("echo before\nrm \"$SJQ_FILE\"; mkfifo \"$SJQ_FILE\"\necho after"))
        self.run_until_empty()
        self.kept("linker")
        self.kept("piper")
        self.assertEqual(self.read("archive/canary"), "canary")

    def test_moving_its_own_uow_to_archive_is_flagged_and_it_is_left_there(self):
        self.drop("mover", uow("echo before\nmv \"$SJQ_FILE\" archive/moved\necho after"))
        self.run_until_empty()
        self.assertRegex(self.says(), "mover: it was moved to %s while it ran" % self.path("archive"))
        self.assertEqual(self.where("mover"), [])
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
        self.drop("closer", uow("echo before\nexec >&- 2>&-\necho lost || :\nexit 3"))
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
                found = digest(iter(lambda left=[size], file=file: take(file, left), b""))
                self.assertEqual(found, digest(piece * (1 << 16) for _ in range(size >> 20)), name)
                self.assertRegex(file.read(), rb"^\n==== JOB END \S+ run \S+ exit 0\n")
            os.unlink(self.path("done-q", name))
        self.assertLess(peak_kb(monitor.pid), MEMORY_KB)
        self.stop(monitor)


class TestTheTimes(QueueCase):
    """Those of START and END are of the shell's own clock, in UTC, whatever the locale makes of a decimal point."""

    def test_they_are_right(self):
        self.check(dict(os.environ))

    @heavy
    def test_they_are_right_where_the_decimal_point_is_another(self):
        for name in ("de_DE", "ps_AF"):                  # a comma; a letter of two bytes, of which bash gives one
            with self.subTest(name):
                self.check(self.in_locale(name))

    def check(self, environment):
        self.drop("one", uow("echo out; exit 3"))
        before = datetime.datetime.now(datetime.timezone.utc)
        self.run_until_empty(env=dict(environment, TZ="XYZ-9"))
        after = datetime.datetime.now(datetime.timezone.utc)
        self.assertEqual((self.where("one"), self.log("one")), (["error-q"], b"out\n"))
        line = r"^==== JOB (?:START|END) (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6})Z run "
        times = re.findall(line, self.read("error-q", "one"), re.M)
        start, end = [datetime.datetime.fromisoformat(text + "+00:00") for text in times]
        self.assertTrue(before < start <= end < after, (before, start, end, after))
        os.unlink(self.path("error-q", "one"))

    def test_before_bash_5_they_are_of_whole_seconds(self):
        import monitor
        keeper = ["bash", "-pc", "unset EPOCHREALTIME\n" + monitor.KEEPER, "keeper", "echo out; exit 3", "run", "", ""]
        answer = subprocess.run(keeper, capture_output=True, text=True, env=dict(os.environ, TZ="XYZ-9"))
        now = datetime.datetime.now(datetime.timezone.utc)
        self.assertEqual(answer.returncode, 3)
        found = re.fullmatch(r"==== JOB START \S+\.000000Z run run\nout\n"
                             r"\n==== JOB END (\S+)\.000000Z run run exit 3\n", answer.stdout)
        ended = datetime.datetime.fromisoformat(found.group(1) + "+00:00")
        self.assertLess(abs((now - ended).total_seconds()), 5)


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
