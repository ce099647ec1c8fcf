"""config.txt: every error names file, line and what is accepted; every key acts."""
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

from tests.helpers import CHECKOUT, HOLD, MONITOR, QueueCase, compiled, heavy, need, ran, read_text, until, uow
import monitor


class TestShipped(unittest.TestCase):
    def test_config_txt_lists_every_key_with_its_default_commented_out(self):
        text = read_text(os.path.join(CHECKOUT, "config.txt"))
        told = ["# %s\n%s" % (meaning, ("#%s :: %s" % (key, default)).rstrip()) for key, (default, _, meaning) in monitor.CONFIG.items()]
        self.assertEqual(text.rstrip("\n").split("\n\n")[1:], told)
        self.assertEqual(re.findall(r"^#(\w+) ::", text, re.M), list(monitor.CONFIG))
        self.assertEqual([line for line in text.splitlines() if line and not line.startswith("#")], [])

    def test_uncommented_it_is_the_same_configuration(self):
        text = read_text(os.path.join(CHECKOUT, "config.txt"))
        plain, spoken = monitor.parse_config(text, "/r/config.txt"), monitor.parse_config(re.sub(r"^#(\w+ ::)", r"\1", text, flags=re.M), "/r/config.txt")
        self.assertEqual(plain, spoken)
        self.assertEqual(plain, monitor.parse_config("", "/r/config.txt"))

    def test_the_defaults(self):
        config = monitor.parse_config("", "/r/config.txt")
        self.assertEqual((config.sleep_seconds, config.settle_seconds, config.timeout_seconds, config.kill_grace_seconds), (15, 1, 86400, 10))
        self.assertEqual((config.job_command, config.required_names, config.durable), ('eval "$UOW_COMMAND"', ["COMMAND"], True))
        self.assertEqual((config.job_process, config.ready_command, config.after_command), ("", "", ""))
        self.assertEqual((config.error_pattern, config.fail_pattern, config.fail_exit_codes), ("", "", []))
        self.assertEqual((config.monitor_reads, config.monitor_says, config.status_dir), ("/r/monitor_reads", "/r/monitor_says", "/r/status"))
        self.assertEqual([getattr(config, key) for key in monitor.DIRECTORIES],
                         ["/r/wait-q", "/r/priority-q", "/r/currently-executing", "/r/done-q", "/r/error-q", "/r/fail-q", "/r/trash", "/r/archive"])


class TestErrors(QueueCase):
    base = ""

    def refused(self, text, line, found, expected):
        """Start on this configuration: exit 2, one sentence with file, line, what was found and what is expected."""
        self.write("config.txt", text)
        code, output, errors = ran(self.path("config.txt"))
        self.assertEqual((code, output), (2, ""), errors)
        place = "monitor.py: %s%s: " % (self.path("config.txt"), " line %d" % line if line else "")
        self.assertTrue(errors.startswith(place), errors)
        self.assertEqual(errors.count("\n"), 1, errors)
        self.assertIn(found, errors)
        self.assertIn("; expected " + expected, errors)
        self.assertFalse(os.path.lexists(self.path("monitor_says")))                         # nothing was begun

    ERRORS = [
        # text, line, what was found, what is expected
        ("sleep_seconds\n", 1, "sleep_seconds", "`NAME :: CONTENT` or a # comment"),
        ("# fine\n\nwhat is this\n", 3, "$'what is this'", "`NAME :: CONTENT` or a # comment"),
        ("sleep :: 1\n", 1, "unknown key sleep", "one of sleep_seconds, settle_seconds, "),
        ("durable :: yes\nDURABLE :: yes\n", 2, "durable stands on line 1 already", "each key once"),
        ("sleep_seconds :: 0\n", 1, "sleep_seconds :: 0", "more than 0 seconds"),
        ("sleep_seconds :: -1\n", 1, "sleep_seconds :: -1", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("sleep_seconds ::\n", 1, "sleep_seconds :: $''", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("settle_seconds :: soon\n", 1, "settle_seconds :: soon", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("timeout_seconds :: 1w\n", 1, "timeout_seconds :: 1w", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("kill_grace_seconds :: -5\n", 1, "kill_grace_seconds :: -5", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("job_command ::\n", 1, "job_command :: $''", "a bash command line"),
        ("required_names :: A.B\n", 1, "required_names :: A.B", "header names, such as COMMAND TICKET"),
        ("job_process :: a-name-that-is-too-long\n", 1, "job_process ::", "a process name as `ps -o comm` shows it, at most 15 characters"),
        ("job_process :: /bin/x\n", 1, "job_process :: /bin/x", "a process name"),
        ("error_pattern :: (\n", 1, "error_pattern ::", "a pattern that `grep -E` accepts"),
        ("fail_pattern :: [a\n", 1, "fail_pattern ::", "a pattern that `grep -E` accepts"),
        ("fail_exit_codes :: 4 256\n", 1, "fail_exit_codes ::", "exit codes from 0 to 255, such as 4 255"),
        ("fail_exit_codes :: four\n", 1, "fail_exit_codes :: four", "exit codes from 0 to 255, such as 4 255"),
        ("durable :: maybe\n", 1, "durable :: maybe", "yes or no"),
        ("wait_q ::\n", 1, "wait_q :: $''", "a path"),
        ("monitor_says ::\n", 1, "monitor_says :: $''", "a path"),
        ("done_q :: ../done\n", 1, "done_q :: ../done", "a path without `..`"),
        ("status_dir :: a/../../b\n", 1, "status_dir ::", "a path without `..`"),
        ("wait_q :: done-q\n", 1, "wait_q is the same as done_q", "a place of its own"),
        ("trash :: wait-q/trash\n", 1, "trash is inside wait_q", "a place of its own"),
        ("wait_q :: a\n\npriority_q :: a/./b/\n", 3, "priority_q is inside wait_q", "a place of its own"),
        ("status_dir :: wait-q\n", 1, "status_dir is the same as wait_q", "a place of its own"),
        ("wait_q :: .\n", 1, "wait_q is the root itself or above it", "a place of its own"),
        ("archive :: /\n", 1, "archive is", "a place of its own"),
        ("monitor_says :: monitor_reads\n", 1, "monitor_says is the same as monitor_reads", "a place of its own"),
        ("monitor_reads :: wait-q/reads\n", 1, "monitor_reads is inside wait_q", "a place of its own"),
        ("monitor_says :: done-q\n", 1, "monitor_says is the same as done_q", "a place of its own"),
        ("monitor_says :: config.txt\n", 1, "monitor_says is the same as this file", "a place of its own"),
        ("\x1b[31mred :: x\n", 1, "\\x1b[31mred", "`NAME :: CONTENT`"),
        ("durable :: \udcff\n", 1, "\\xff", "yes or no"),
        ("sleep_seconds :: 1\0\n", 1, "a NUL byte", "text"),
        ("job_command :: true\0\n", 1, "a NUL byte", "text"),
    ]

    def test_every_error(self):
        for text, line, found, expected in self.ERRORS:
            with self.subTest(text=text):
                with self.assertRaises(monitor.Unusable) as raised:
                    monitor.parse_config(text, "/r/config.txt")
                said = str(raised.exception)
                self.assertTrue(said.startswith("/r/config.txt line %d: " % line), said)
                self.assertIn(found, said)
                self.assertIn("; expected " + expected, said)

    def test_an_error_ends_the_start(self):
        self.refused(*self.ERRORS[0])
        self.refused("monitor_reads :: %s\n" % compiled(), 1, "monitor_reads is the same as monitor.py", "a place of its own")

    @heavy
    def test_every_error_ends_the_start(self):
        for row in self.ERRORS:
            with self.subTest(row[0]):
                self.refused(*row)

    def test_a_configuration_that_cannot_be_read(self):
        for path, words in (("nowhere.txt", "no such file; expected a configuration"), ("wait-q", "expected a readable file")):
            with self.subTest(path):
                code, _, errors = ran(self.path(path))
                self.assertEqual(code, 2)
                self.assertIn("monitor.py: %s: " % self.path(path), errors)
                self.assertIn(words, errors)

    def test_one_of_more_than_a_mebibyte_is_refused_whole(self):
        """What lies beyond is not left out in silence: its last line counts, too."""
        head, last = self.base + "# ", "\njob_command :: echo by the last line\n"
        fits = head + "x" * ((1 << 20) - len(head + last)) + last
        expected = self.path("config.txt") + ": more than 1048576 bytes; expected a configuration"
        monitor = self.started()
        for text, said in ((fits, "RELOAD: configuration read"), (fits + "\n", "RELOAD: %s; the old configuration stays" % expected)):
            self.write("config.txt", text)
            self.message("RELOAD")
            self.said(said)
        self.drop("x", uow("not run"))
        self.assertEqual(self.ended("x"), "done-q")
        self.assertEqual((self.log("x"), self.stop(monitor)), (b"by the last line\n", 0))
        for flags in ((), ("--until-empty",), ("--check",)):
            code, output, errors = ran(self.path("config.txt"), *flags)
            self.assertEqual((code, output), (2, ""), flags)
            self.assertIn(expected, errors)

    def test_a_fifo_is_refused_and_not_waited_for(self):
        expected = self.path("config.txt") + ": no regular file; expected a configuration"
        monitor = self.started()
        os.unlink(self.path("config.txt"))
        os.mkfifo(self.path("config.txt"))
        self.message("RELOAD")
        self.said("RELOAD: %s; the old configuration stays" % expected, seconds=5)
        self.drop("x", uow("true"))
        self.assertEqual((self.ended("x"), self.stop(monitor)), ("done-q", 0))
        for flags in ((), ("--until-empty",), ("--check",)):
            self.assertEqual(ran(self.path("config.txt"), *flags), (2, "", "monitor.py: %s\n" % expected), flags)

    def test_a_path_that_was_typed_must_be_there(self):
        code, _, errors = ran(self.path("elsewhere", "config.txt"))
        self.assertEqual(code, 2)
        self.assertIn("elsewhere/config.txt: no such file", errors)

    def test_the_exit_code_does_not_need_open_outputs(self):
        for closed in (">&-", "2>&-", ">&- 2>&-", "2>/dev/full"):
            answer = subprocess.run(["bash", "-c", '"$0" -B "$1" --what ' + closed, sys.executable, MONITOR], capture_output=True)
            self.assertEqual(answer.returncode, 2, closed)
        os.rmdir(self.path("trash"))                     # a finding
        check = subprocess.run(["bash", "-c", '"$0" -B "$1" --check "$2" >/dev/full', sys.executable, MONITOR, self.path("config.txt")], capture_output=True)
        self.assertEqual((check.returncode, check.stderr), (1, b""))

    def test_arguments(self):
        for arguments in (["--what"], ["a", "b"], ["--check", "--until-emtpy"]):
            with self.subTest(arguments):
                code, _, errors = ran(*arguments)
                self.assertEqual((code, errors), (2, "monitor.py: usage: monitor.py [CONFIG] [--until-empty], or monitor.py [CONFIG ...] --check\n"))


class TestReading(unittest.TestCase):
    def test_what_is_accepted(self):
        # line -> key, value
        for text, key, value in [
                ("sleep_seconds :: 2m", "sleep_seconds", 120), ("SLEEP_SECONDS::0.5", "sleep_seconds", 0.5), ("  settle_seconds  ::  0  ", "settle_seconds", 0),
                ("timeout_seconds :: 0", "timeout_seconds", 0), ("kill_grace_seconds :: 0", "kill_grace_seconds", 0), ("durable :: NO", "durable", False),
                ("required_names ::", "required_names", []), ("required_names :: COMMAND, TICKET host", "required_names", ["COMMAND", "TICKET", "host"]),
                ("fail_exit_codes :: 4,255 0", "fail_exit_codes", [4, 255, 0]), ("job_command :: a :: b # c", "job_command", "a :: b # c"),
                ("job_command :: ä", "job_command", "ä"), ("error_pattern :: a|b", "error_pattern", "a|b"), ("status_dir ::", "status_dir", ""),
                ("wait_q :: /elsewhere/w", "wait_q", "/elsewhere/w"), ("wait_q :: a//b/", "wait_q", "/r/a/b"), ("\ufeffdurable :: no\r\n", "durable", False),
                ("monitor_says :: log/says", "monitor_says", "/r/log/says"), ("error_pattern :: -x", "error_pattern", "-x")]:
            with self.subTest(text=text):
                self.assertEqual(getattr(monitor.parse_config(text, "/r/config.txt"), key), value)


class TestEveryKeyActs(QueueCase):
    """One test a key, named after it; test_every_key_has_one counts them."""

    def test_every_key_has_one(self):
        for key in monitor.CONFIG:
            self.assertTrue(any(name.startswith("test_key_" + key) for name in dir(self)), key)

    def test_key_sleep_seconds(self):
        """A queue that was away is looked at again after sleep_seconds, though nothing notifies."""
        self.configure("sleep_seconds :: 0.3\nready_command :: echo x >> asked; false\n")
        self.drop("held", uow("true"))
        self.started()
        until(lambda: os.path.exists(self.path("asked")) and self.read("asked").count("x") >= 4, seconds=10)

    def test_key_settle_seconds(self):
        self.configure("settle_seconds :: 1.5\n")
        self.drop("early", "2020-01-01T00:00:00Z\n" + uow("date +%s.%N"), settled=False)
        dropped = os.stat(self.path("wait-q", "early")).st_mtime
        self.run_until_empty()
        began = float(self.log("early"))
        self.assertTrue(1.4 <= began - dropped < 10, began - dropped)

    def test_key_timeout_seconds_and_its_override(self):
        self.configure("timeout_seconds :: 0.3\nsleep_seconds :: 60\n")             # the limit ends the sleep
        self.drop("long", uow("sleep 30"))
        self.drop("own", uow("sleep 0.6", TIMEOUT="1m"))
        self.drop("none", uow("sleep 0.6", TIMEOUT="0"))
        self.run_until_empty(seconds=40)
        self.assertEqual(self.status("long"), "fail: timed out after 0.3 s")
        self.assertEqual((self.where("own"), self.where("none")), (["done-q"], ["done-q"]))

    def test_key_timeout_seconds_0_is_none(self):
        self.configure("timeout_seconds :: 0\n")
        self.drop("long", uow("sleep 0.5"))
        self.run_until_empty()
        self.assertEqual(self.where("long"), ["done-q"])

    def test_key_kill_grace_seconds(self):
        self.configure("kill_grace_seconds :: 2\n")
        self.drop("stubborn", uow("trap '' TERM\nwhile :; do sleep 0.05; done", TIMEOUT="0.3s"))
        self.run_until_empty()
        self.assertEqual(self.status("stubborn"), "fail: timed out after 0.3 s")
        term, end = (monitor.read_time(re.search(r"^(\S+) %s" % said, self.says(), re.M).group(1)) / 1e6
                     for said in ("ending stubborn: .* TERM now", "stubborn: fail: timed out"))
        self.assertTrue(1.9 <= end - term < 10, end - term)

    def test_key_job_command(self):
        self.configure("job_command :: echo \"[$UOW_COMMAND]\" \"$SJQ_NAME\"\n")
        self.drop("x", uow("not run"))
        self.run_until_empty()
        self.assertEqual(self.log("x"), b"[not run] x\n")

    def test_key_required_names(self):
        self.configure("required_names :: COMMAND Ticket\n")
        self.drop("with", uow("true", TICKET="1"))
        self.drop("without", uow("true"))
        self.drop("empty", uow("true", TICKET=""))
        self.run_until_empty()
        self.assertEqual((self.where("with"), self.where("without"), self.where("empty")), (["done-q"], ["trash"], ["trash"]))
        self.assertIn("without in wait-q goes to trash: line 2: the header ends without Ticket; expected `Ticket :: ...`", self.says())

    def test_key_job_process(self):
        need("pgrep")
        self.configure("job_process :: sjq-other-one\nsleep_seconds :: 0.2\n")
        os.symlink("/bin/sleep", self.path("sjq-other-one"))
        other = subprocess.Popen([self.path("sjq-other-one"), "60"])
        try:
            self.drop("held", uow("true"))
            self.started()
            self.said("waiting: a process sjq-other-one runs")
            self.assertEqual(self.where("held"), ["wait-q"])
        finally:
            other.kill()
            other.wait()
        self.assertEqual(self.ended("held"), "done-q")
        self.assertIn("over: waiting: a process sjq-other-one runs", self.says())
        self.assertEqual(self.says().count("Z waiting: a process"), 1, self.says())

    def test_key_ready_command(self):
        self.configure("ready_command :: echo asked >> asked; test -e ready\nsleep_seconds :: 0.2\n")
        self.drop("held", uow("true"))
        self.started()
        self.said("waiting: ready_command refuses (exit 1)")
        until(lambda: self.read("asked").count("asked") > 3, "asked again")
        self.assertEqual(self.says().count("waiting: ready_command refuses"), 1, self.says())
        self.assertEqual(self.where("held"), ["wait-q"])
        self.write("ready", "")
        self.assertEqual(self.ended("held"), "done-q")
        self.assertEqual(self.says().count("over: waiting: ready_command refuses (exit 1)"), 1, self.says())

    def test_a_ready_command_that_has_passed_refuses_no_longer_though_job_process_does_and_is_asked_again(self):
        need("pgrep")
        self.configure("job_process :: sjq-other-one\nready_command :: test -e ready && touch passing && sleep 0.3\nsleep_seconds :: 0.2\n")
        os.symlink("/bin/sleep", self.path("sjq-other-one"))
        self.drop("held", uow("true"))
        self.started()
        self.said("waiting: ready_command refuses (exit 1)")
        self.write("ready", "")
        self.there("passing")
        other = subprocess.Popen([self.path("sjq-other-one"), "60"])
        try:
            self.said("Z waiting: a process sjq-other-one runs")
            self.assertIn("over: waiting: ready_command refuses (exit 1)", self.says())
            self.assertEqual(self.where("held"), ["wait-q"])
            os.unlink(self.path("ready"))
        finally:
            other.kill()
            other.wait()
        self.said("Z waiting: ready_command refuses (exit 1)", count=2)
        self.assertEqual(self.where("held"), ["wait-q"])
        self.write("ready", "")
        self.assertEqual(self.ended("held"), "done-q")

    def test_key_after_command(self):
        self.configure("after_command :: echo \"$SJQ_NAME|$SJQ_STATUS|$SJQ_FILE|$UOW_COMMAND|$PWD\" >> after\n")
        self.drop("x", uow("exit 3"))
        self.run_until_empty()
        self.assertEqual(self.read("after"), "x|%s|%s|exit 3|%s\n" % (self.status("x"), self.path("error-q", "x"), self.root))

    def test_key_error_pattern(self):
        self.configure("error_pattern :: b[ao]d\n")
        self.drop("x", uow("echo it is bad"))
        self.run_until_empty()
        self.assertEqual(self.where("x"), ["error-q"])

    def test_key_fail_pattern(self):
        self.configure("fail_pattern :: b[ao]d\n")
        self.drop("x", uow("echo it is bad"))
        self.run_until_empty()
        self.assertEqual(self.where("x"), ["fail-q"])

    def test_key_fail_exit_codes(self):
        self.configure("fail_exit_codes :: 7\n")
        self.drop("x", uow("exit 7"))
        self.run_until_empty()
        self.assertEqual(self.where("x"), ["fail-q"])

    def test_key_monitor_reads(self):
        self.configure("monitor_reads :: inbox\n")
        self.started()
        with open(self.path("inbox"), "a") as file:
            file.write("STATUS\n")
        self.said("message STATUS")

    def test_key_monitor_says(self):
        self.configure("monitor_says :: outbox\n")
        monitor_process = self.started()
        self.stop(monitor_process)
        self.assertRegex(self.read("outbox"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z started: pid %d, root " % monitor_process.pid)
        self.assertFalse(os.path.lexists(self.path("monitor_says")))

    def test_key_status_dir(self):
        self.configure("status_dir :: shown/here\n")
        self.started()
        self.there("shown/here/status.json")

    def test_key_durable(self):
        """Told by what the Monitor asks of the kernel: fsync is called, or it is not."""
        need("strace")
        for word, wanted in (("yes", True), ("no", False)):
            self.configure("durable :: %s\n" % word)
            self.drop("job-" + word, uow("true"))
            trace = self.path(".trace-" + word)
            self.run_until_empty(prefix=("strace", "-f", "-e", "trace=fsync,fdatasync", "-o", trace))
            self.assertEqual("fsync(" in self.read(trace), wanted, word)

    def directories(self, key):
        """Name another directory for one key; the rest keep their names. Every queue is used once."""
        self.configure("%s :: other/place\n" % key)
        for name, command in (("good", "true"), ("error", "exit 1"), ("fail", "kill -KILL $$")):
            self.drop(name, uow(command))
        self.drop("bad", "nonsense\n")
        self.run_until_empty()
        return sorted(name for name in os.listdir(self.path("other/place")) if not name.startswith("."))

    def test_key_done_q(self):
        self.assertEqual(self.directories("done_q"), ["good"])

    def test_key_error_q(self):
        self.assertEqual(self.directories("error_q"), ["error"])

    def test_key_fail_q(self):
        self.assertEqual(self.directories("fail_q"), ["fail"])

    def test_key_trash(self):
        self.assertEqual(self.directories("trash"), ["bad"])

    def test_key_archive(self):
        self.assertEqual(self.directories("archive"), [])
        self.assertIn("archive was missing: made " + self.path("other/place"), self.says())

    def test_key_wait_q(self):
        os.makedirs(self.path("other/place"))
        self.drop("x", uow("true"), "other/place")
        self.assertEqual(self.directories("wait_q"), [])
        self.assertEqual((self.where("x"), self.where("good")), (["done-q"], ["wait-q"]))

    def test_key_priority_q(self):
        os.makedirs(self.path("other/place"))
        self.drop("x", uow("true"), "other/place")
        self.assertEqual(self.directories("priority_q"), [])
        self.assertEqual(re.findall(r" started (\S+) run ", self.says())[0], "x")

    def test_key_currently_executing(self):
        self.configure("currently_executing :: other/place\n")
        self.drop("x", uow(HOLD))
        self.started()
        self.there("other/place/x")
        self.write("go", "")
        self.assertEqual(self.ended("x"), "done-q")


class TestReload(QueueCase):
    def test_with_another_place_nothing_of_it_is_in_force_before_the_next_start(self):
        """Pages would be written over UOWs, say, where a directory that is still in use becomes status_dir."""
        process = self.started()
        for count, (key, new, others) in enumerate([("done_q", "elsewhere", "status_dir :: done-q\n"), ("trash", "trash-2", ""),
                                                    ("monitor_reads", "inbox", "monitor_says :: monitor_reads\n")], 1):
            self.configure("job_command :: echo new\n%s :: %s\n%s" % (key, new, others))
            self.message("RELOAD")
            self.said("RELOAD: %s is now %s; expected %s until the next start; the old configuration stays"
                      % (key, self.path(new), self.path({"done_q": "done-q"}.get(key, key))))
            self.drop("job%d" % count, uow("echo old"))
            self.assertEqual(self.ended("job%d" % count), "done-q")
            self.assertEqual(self.log("job%d" % count), b"old\n")
        self.message("STATUS")
        self.said("counts: ")
        self.assertEqual(self.stop(process), 0)
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["job1", "job2", "job3"])          # no page among them
        self.assertNotIn("is not known", self.says())    # nothing that was said is read as a message
        self.configure("job_command :: echo new\ndone_q :: elsewhere\n")
        self.drop("last", uow("echo old"))
        self.run_until_empty()
        self.assertTrue(self.read("elsewhere", "last").count("\nnew\n"))

    def test_a_configuration_that_need_not_be_there_need_not_be_there_then(self):
        program = shutil.copy(MONITOR, self.path("monitor.py"))
        os.unlink(self.path("config.txt"))
        process = subprocess.Popen([sys.executable, "-B", program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            self.said("started: pid ")
            self.message("RELOAD")
            self.said("RELOAD: configuration read")
            self.write("config.txt", self.base)
            self.message("RELOAD")
            self.said("RELOAD: configuration read", count=2)
            os.unlink(self.path("config.txt"))
            self.message("RELOAD")
            self.said("RELOAD: %s: no such file; " % self.path("config.txt"))
        finally:
            process.terminate()
            process.wait()

    def test_a_good_one_acts_at_once_by_message_and_by_signal(self):
        process = self.started()
        for how in ("message", "signal"):
            self.configure("job_command :: echo by %s\n" % how)
            before = self.says().count("RELOAD: configuration read")
            self.message("RELOAD") if how == "message" else process.send_signal(signal.SIGHUP)
            self.said("RELOAD: configuration read from " + self.path("config.txt"), count=before + 1)
            self.drop(how, uow("true"))
            self.ended(how)
            self.assertEqual(self.log(how), b"by %s\n" % how.encode())

    def test_a_bad_one_is_reported_and_the_old_one_stays(self):
        process = self.started()
        self.write("config.txt", "sleep_seconds :: never\n")
        for count, how in ((1, "message"), (2, "signal")):
            self.message("RELOAD") if how == "message" else process.send_signal(signal.SIGHUP)
            self.said("RELOAD: %s line 1: sleep_seconds :: never; expected a number of seconds, or 90s, 30m, 2h, 1d; the old configuration stays"
                      % self.path("config.txt"), count=count)
        self.drop("x", uow("true"))
        self.assertEqual(self.ended("x"), "done-q")
        self.assertIsNone(process.poll())

    def test_a_status_dir_that_leads_into_a_queue_by_way_of_a_link_is_refused_as_at_a_start(self):
        os.symlink(".", self.path("alias"))
        os.symlink("wait-q", self.path("pages"))
        self.started()
        for count, path, what in ((1, "alias/wait-q/pages", "status_dir is inside wait_q"),
                                  (2, "pages", "status_dir is the same as wait_q")):
            with self.subTest(path):
                self.configure("status_dir :: %s\n" % path)
                self.message("RELOAD")
                self.said("RELOAD: ", count=count)
                self.assertRegex(self.says().rpartition("RELOAD: ")[2], "^.* line [0-9]+: %s; expected a place of its own; the old configuration stays\n" % what)
        self.cycles(1)
        self.assertEqual(os.listdir(self.path("wait-q")), [])
