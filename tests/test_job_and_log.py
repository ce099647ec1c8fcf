"""What a job may do to its log, to its own UOW and to the Monitor: its output is kept, and nobody else is harmed."""
import datetime
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
    def test_whatever_a_job_does_to_its_own_file_is_flagged_and_its_output_is_kept(self):
        """What takes its name is not overwritten, a link or a FIFO there not followed, and nothing waits. More in test_begun."""
        canary = self.write("archive/canary", "canary")
        rows = [  # name, command, what is said
            ("editor", 'printf X | dd of="$SJQ_FILE" bs=1 seek=60 conv=notrunc status=none', "editor: its header was changed while it ran"),
            ("sed", 'sed -i s/UNIT/unit/ "$SJQ_FILE"', "sed in currently-executing goes to trash: .* took its name"),
            ("deleter", 'rm "$SJQ_FILE"; echo a person > "$SJQ_FILE"', "deleter: it was deleted "),
            ("stripper", 'text=$(sed "s/ *$//" "$SJQ_FILE"); echo "$text" > "$SJQ_FILE"', "stripper: its padded STATUS line is gone"),
            ("beheader", 'text=$(sed "/^==== STATUS/,+1d" "$SJQ_FILE"); echo "$text" > "$SJQ_FILE"', "beheader: its padded STATUS line is gone"),
            ("linker", 'ln -sf %s "$SJQ_FILE"' % canary, "linker in currently-executing goes to trash"),
            ("piper", 'rm "$SJQ_FILE"; mkfifo "$SJQ_FILE"', "piper in currently-executing goes to trash"),
            ("mover", 'mv "$SJQ_FILE" archive/mover', "mover: it was moved to %s while it ran" % self.path("archive")),
            ("truncater", ': > "$SJQ_FILE"', "truncater: its header was changed while it ran")]
        for name, command, _ in rows:
            self.drop(name, uow("echo before\n%s\necho after" % command))
        self.run_until_empty()
        for name, _, said in rows:
            with self.subTest(name):
                self.assertRegex(self.says(), said)
                place = "archive" if name == "mover" else self.where(name)[0]
                if name != "truncater":
                    self.assertEqual(place, "archive" if name == "mover" else "done-q")
                    self.assertIn("before\n", self.read(place, name))
                if name == "mover":
                    self.assertIn("\ndone: exit 0 after ", self.read(place, name))
                self.assertIn("after\n", self.read(place, name))
        self.assertEqual((self.read("archive/canary"), self.read("trash/deleter")), ("canary", "a person\n"))


class TestItsOutput(QueueCase):
    def test_closing_its_stdout_loses_neither_end_nor_outcome(self):
        self.drop("closer", uow("echo before\nexec >&- 2>&-\necho lost || :\nexit 3"))
        self.run_until_empty()
        self.assertRegex(self.status("closer"), "^error: exit 3 after ")
        self.assertEqual(self.log("closer"), b"before\n")

    @heavy
    def test_a_line_of_100_mb_and_1_gb_are_exact_and_memory_stays_flat(self):
        monitor = self.started()
        rows = [("line", "head -c %d /dev/zero | tr '\\0' x", 100 << 20, b"x" * 16),
                ("much", "yes 0123456789abcde | head -c %d", 1 << 30, b"0123456789abcde\n")]
        for name, command, size, _ in rows:
            self.drop(name, uow(command % size))
        for name, _, size, piece in rows:
            self.assertEqual(self.ended(name, 300), "done-q")
            with open(self.path("done-q", name), "rb") as file:
                while not file.readline().startswith(b"==== JOB START"):
                    pass
                self.assertTrue(all(file.read(1 << 20) == piece * (1 << 16) for _ in range(size >> 20)), name)
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
