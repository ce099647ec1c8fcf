"""config.txt: every error names file, line and what is accepted; every key acts."""
import os
import re
import signal
import subprocess
import sys
import unittest

from tests.helpers import CHECKOUT, HOLD, QueueCase, compiled, need, ran, read_text, until, uow
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
        plain = monitor.parse_config(text, "/r/config.txt")
        spoken = monitor.parse_config(re.sub(r"^#(\w+ ::)", r"\1", text, flags=re.M), "/r/config.txt")
        self.assertEqual(plain, spoken)
        self.assertEqual(plain, monitor.parse_config("", "/r/config.txt"))

    def test_the_defaults(self):
        config = monitor.parse_config("", "/r/config.txt")
        self.assertEqual((config.sleep_seconds, config.settle_seconds, config.timeout_seconds, config.kill_grace_seconds), (15, 1, 86400, 10))
        self.assertEqual((config.job_command, config.required_names, config.durable), ('set -e; eval "$UOW_COMMAND"', ["COMMAND"], True))
        self.assertEqual(config.ignored_names, [".*", "*~", "#*#", "4913", "*.filepart", "*.part", "*.tmp"])
        self.assertEqual((config.job_process, config.ready_command, config.after_command), ("", "", ""))
        self.assertEqual((config.error_pattern, config.fail_pattern, config.fail_exit_codes), ("", "", []))
        self.assertEqual((config.monitor_reads, config.monitor_says, config.status_dir), ("/r/monitor_reads", "/r/monitor_says", "/r/status"))
        self.assertEqual([getattr(config, key) for key in monitor.DIRECTORIES],
                         ["/r/wait-q", "/r/priority-q", "/r/currently-executing", "/r/done-q", "/r/error-q", "/r/fail-q", "/r/trash", "/r/archive"])


class TestErrors(QueueCase):
    base = ""

    ERRORS = [
        # text, line, what was found, what is expected
        ("sleep_seconds\n", 1, "sleep_seconds", "`NAME :: CONTENT` or a # comment"),
        ("# fine\n\nwhat is this\n", 3, "$'what is this'", "`NAME :: CONTENT` or a # comment"),
        ("sleep :: 1\n", 1, "unknown key sleep", "a known one: did you mean sleep_seconds?"),
        ("Kill Grace :: 1\n", 1, "unknown key $'Kill Grace'", "a known one: did you mean kill_grace_seconds?"),
        ("durable :: yes\nDURABLE :: yes\n", 2, "durable is on line 1 already", "each key once"),
        ("sleep_seconds :: 0\n", 1, "sleep_seconds :: 0", "more than 0 seconds"),
        ("sleep_seconds :: -1\n", 1, "sleep_seconds :: -1", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("sleep_seconds ::\n", 1, "sleep_seconds :: $''", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("settle_seconds :: soon\n", 1, "settle_seconds :: soon", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("timeout_seconds :: 1w\n", 1, "timeout_seconds :: 1w", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("kill_grace_seconds :: -5\n", 1, "kill_grace_seconds :: -5", "a number of seconds, or 90s, 30m, 2h, 1d"),
        ("job_command ::\n", 1, "job_command :: $''", "a bash command line"),
        ("job_command :: if true\n", 1, "job_command :: $'if true'", "a bash command line; bash says: "),
        ("\nready_command :: (\n", 2, "ready_command :: ", "a bash command line; bash says: "),
        ("after_command :: echo \"\n", 1, "after_command :: ", "a bash command line; bash says: "),
        ("ignored_names :: a/*\n", 1, "ignored_names :: $'a/*'", "shell patterns of file names"),
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
        ("sleep_seconds :: 1\0\n", 1, "\\x00", "`NAME :: CONTENT`"),
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

    def test_an_error_ends_the_start_or_the_check_and_every_bad_line_is_told_in_one_go(self):
        self.write("config.txt", "sleep :: 1\n#fine\ndurable :: maybe\nwait_q :: done-q\nmonitor_reads :: %s\n" % compiled())
        for flags in ((), ("--check",)):
            code, output, errors = ran(self.path("config.txt"), *flags)
            self.assertEqual((code, output), (2, ""))
            self.assertEqual(re.findall(r"^monitor.py: \S+/config.txt line (\d): (.*?); expected .*$", errors, re.M),
                             [("1", "unknown key sleep"), ("3", "durable :: maybe"), ("4", "wait_q is the same as done_q"),
                              ("5", "monitor_reads is the same as monitor.py")])
            self.assertFalse(os.path.lexists(self.path("monitor_says")))                     # nothing was begun

    def test_what_cannot_be_read_is_refused_and_a_fifo_not_waited_for(self):
        expected = self.path("config.txt") + ": not a regular file; expected a configuration (an empty one will do)"
        monitor = self.started()
        os.unlink(self.path("config.txt"))
        os.mkfifo(self.path("config.txt"))
        self.message("RELOAD")
        self.said("RELOAD refused: " + expected)
        self.drop("x", uow("true"))
        self.assertEqual((self.ended("x"), self.stop(monitor)), ("done-q", 0))
        for flags in ((), ("--until-empty",), ("--check",)):
            self.assertEqual(ran(self.path("config.txt"), *flags), (2, "", "monitor.py: %s\n" % expected), flags)
        for path, words in (("nowhere.txt", "No such file or directory; expected a configuration"),
                            ("wait-q", "s a directory; expected a configuration")):
            code, _, errors = ran(self.path(path))
            self.assertEqual((code, errors.startswith("monitor.py: " + self.path(path)), words in errors), (2, True, True), errors)

    def test_arguments(self):
        usage = "monitor.py: usage: monitor.py [CONFIG] [--until-empty], or monitor.py [CONFIG ...] --check; --help tells more\n"
        for arguments in (["--what"], ["a", "b"], ["a", "b", "--until-empty"], ["--check", "--until-emtpy"], ["--check", "--until-empty"]):
            self.assertEqual(ran(*arguments), (2, "", usage), arguments)
        for arguments, start in ((["--help"], "usage: "), (["nowhere.txt", "-h"], "usage: "), (["--version"], "simple-job-q 2.0\n")):
            code, output, errors = ran(*arguments)
            self.assertEqual((code, errors, output[:len(start)]), (0, "", start), arguments)


class TestReading(unittest.TestCase):
    def test_what_is_accepted(self):
        # line -> key, value
        for text, key, value in [
                ("sleep_seconds :: 2m", "sleep_seconds", 120), ("SLEEP_SECONDS::0.5", "sleep_seconds", 0.5),
                ("  settle_seconds  ::  0  ", "settle_seconds", 0), ("timeout_seconds :: 0", "timeout_seconds", 0),
                ("kill_grace_seconds :: 0", "kill_grace_seconds", 0), ("durable :: NO", "durable", False),
                ("required_names ::", "required_names", []),
                ("required_names :: COMMAND, TICKET host", "required_names", ["COMMAND", "TICKET", "host"]),
                ("fail_exit_codes :: 4,255 0", "fail_exit_codes", [4, 255, 0]), ("job_command :: a :: b # c", "job_command", "a :: b # c"),
                ("job_command :: ä", "job_command", "ä"), ("error_pattern :: a|b", "error_pattern", "a|b"), ("status_dir ::", "status_dir", ""),
                ("wait_q :: /elsewhere/w", "wait_q", "/elsewhere/w"), ("wait_q :: a//b/", "wait_q", "/r/a/b"),
                ("\ufeffdurable :: no\r\n", "durable", False),
                ("monitor_says :: log/says", "monitor_says", "/r/log/says"), ("error_pattern :: -x", "error_pattern", "-x")]:
            with self.subTest(text=text):
                self.assertEqual(getattr(monitor.parse_config(text, "/r/config.txt"), key), value)


class TestEveryKeyActs(QueueCase):
    """Each key has a test named after it, which test_every_key_has_one counts."""

    def test_every_key_has_one(self):
        for key in monitor.CONFIG:
            told = ["%s %s" % (name, getattr(self, name).__doc__) for name in dir(self) if name.startswith("test_")]
            self.assertTrue(any("key_" + key in text for text in told), key)

    def test_key_timeout_seconds_and_its_override(self):
        self.configure("timeout_seconds :: 0.3\nsleep_seconds :: 60\n")             # the limit ends the sleep
        self.drop("long", uow("sleep 30"))
        self.drop("own", uow("sleep 0.6", TIMEOUT="1m"))
        self.drop("none", uow("sleep 0.6", TIMEOUT="0"))
        self.run_until_empty(seconds=40)
        self.assertEqual(self.status("long"), "fail: timed out after 0.3 s")
        self.assertEqual((self.where("own"), self.where("none")), (["done-q"], ["done-q"]))

    def test_key_settle_seconds(self):
        self.configure("settle_seconds :: 1.5\n")
        self.drop("early", "2020-01-01T00:00:00Z\n" + uow("date +%s.%N"), settled=False)
        dropped = os.stat(self.path("wait-q", "early")).st_mtime
        self.run_until_empty()
        began = float(self.log("early"))
        self.assertTrue(1.4 <= began - dropped < 10, began - dropped)

    def test_key_kill_grace_seconds(self):
        self.configure("kill_grace_seconds :: 2\n")
        self.drop("stubborn", uow("trap '' TERM\nwhile :; do sleep 0.05; done", TIMEOUT="0.3s"))
        self.run_until_empty()
        self.assertEqual(self.status("stubborn"), "fail: timed out after 0.3 s")
        term, end = (monitor.read_time(re.search(r"^(\S+) %s" % said, self.says(), re.M).group(1)) / 1e6
                     for said in ("stubborn: .* TERM now", "stubborn: fail: timed out"))
        self.assertTrue(1.9 <= end - term < 10, end - term)

    def test_key_required_names_and_key_job_command_and_key_error_pattern_and_key_fail_pattern_and_key_fail_exit_codes(self):
        self.configure("required_names :: COMMAND Ticket\njob_command :: echo \"[$UOW_COMMAND]\"; exit $UOW_TICKET\n"
                       "error_pattern :: b[ao]d\nfail_pattern :: w[oe]rse\nfail_exit_codes :: 7\n")
        rows = [("plain", uow("x y", TICKET="0"), "done-q"), ("error", uow("bad", TICKET="0"), "error-q"),
                ("fail", uow("worse", TICKET="0"), "fail-q"), ("seven", uow("x", TICKET="7"), "fail-q"),
                ("without", uow("true"), "trash"), ("empty", uow("true", TICKET=""), "trash")]
        for name, text, _ in rows:
            self.drop(name, text)
        self.run_until_empty()
        for name, _, queue in rows:
            self.assertEqual(self.where(name), [queue], name)
        self.assertEqual(self.log("plain"), b"[x y]\n")
        self.assertIn("without in wait-q goes to trash: line 2: the header ends without Ticket; expected `Ticket :: ...`", self.says())

    def test_key_wait_q_and_all_other_directories_and_files(self):
        """key_priority_q key_currently_executing key_done_q key_error_q key_fail_q key_trash key_archive
        key_monitor_reads key_monitor_says key_status_dir"""
        keys = list(monitor.DIRECTORIES)
        self.configure("".join("%s :: other/%s\n" % (key, key) for key in keys)
                       + "monitor_reads :: inbox\nmonitor_says :: outbox\nstatus_dir :: shown/here\n")
        process = self.start()
        self.there("outbox")
        until(lambda: " started: pid %d, root " % process.pid in self.read("outbox"), self.output)
        for name, text, queue in (("good", uow("true"), "wait_q"), ("error", uow("exit 1"), "wait_q"), ("fail", uow("kill -9 $$"), "wait_q"),
                                  ("bad", "nonsense\n", "wait_q"), ("first", uow(HOLD), "priority_q")):
            self.drop(name, text, "other/" + queue)
            if name == "first":
                self.there("other/currently_executing/first")
        self.write("go", "")
        for name, queue in (("good", "done_q"), ("error", "error_q"), ("fail", "fail_q"), ("bad", "trash"), ("first", "done_q")):
            self.there("other", queue, name)
        self.assertTrue(os.path.isdir(self.path("other/archive")))
        self.message("STATUS", "inbox")
        until(lambda: "message STATUS" in self.read("outbox"), self.output)
        self.there("shown/here/status.json")
        self.assertFalse(os.path.lexists(self.path("monitor_says")) or os.path.lexists(self.path("monitor_reads")))

    def test_key_ignored_names(self):
        """Patterns of a shell, whatever bytes a name has; what begins with a dot is never touched."""
        ignored = monitor.parse_config("", "/r/c").ignored
        self.assertTrue(all(map(ignored.fullmatch, (".x", "a\nb~", "#x#", "4913", "\udcff.part", "x.tmp"))))
        self.configure("ignored_names :: *.up [ab]?\n")
        for name in ("x.up", b"\xff\n.up", "a1", ".dot", "x~", "x.part"):
            self.drop(name, uow("true"))
        self.run_until_empty()
        self.assertEqual(sorted(map(os.fsencode, os.listdir(self.path("wait-q")))), [b".dot", b"a1", b"x.up", b"\xff\n.up"])
        self.assertEqual((self.where("x~"), self.where("x.part")), (["done-q"], ["done-q"]))

    def test_key_job_process(self):
        need("pgrep")
        self.configure("job_process :: sjq-other-one\nsleep_seconds :: 0.2\n")
        for name in ("sjq-other-one", "sjq-other-one-2"):
            os.symlink("/bin/sleep", self.path(name))
        self.process(self.path("sjq-other-one-2"), "60")
        other = self.process(self.path("sjq-other-one"), "60")
        self.drop("held", uow("true"))
        self.started()
        self.said("waiting: a process sjq-other-one runs")
        self.assertEqual(self.where("held"), ["wait-q"])
        other.kill()
        other.wait()
        self.assertEqual(self.ended("held"), "done-q")
        self.assertIn("no process sjq-other-one runs any more", self.says())
        self.assertEqual(self.says().count("Z waiting: a process"), 1, self.says())

    def test_key_ready_command_and_key_sleep_seconds(self):
        """What nothing notifies of is tried again after sleep_seconds."""
        self.configure("ready_command :: echo asked >> asked; test -e ready\nsleep_seconds :: 0.2\n")
        self.drop("held", uow("true"))
        self.started()
        self.said("waiting: ready_command refuses (exit 1)")
        until(lambda: self.read("asked").count("asked") > 3, "asked again")
        self.assertEqual(self.says().count("waiting: ready_command refuses"), 1, self.says())
        self.assertEqual(self.where("held"), ["wait-q"])
        self.write("ready", "")
        self.assertEqual(self.ended("held"), "done-q")
        self.assertEqual(self.says().count("ready_command accepts again"), 1, self.says())

    def test_key_after_command(self):
        """It is told the outcome, has no stdin, and no job starts while it runs."""
        self.configure("after_command :: echo begin >> trace; sleep 0.2; readlink /proc/self/fd/0 >> stdin; echo end >> trace; "
                       "echo \"$SJQ_NAME|$SJQ_STATUS|$SJQ_FILE|$UOW_COMMAND|$PWD\" >> after\n")
        rows = [("a", "echo job >> trace", "done-q"), ("b", "echo job >> trace; exit 3", "error-q"), ("c", "echo job >> trace; kill -9 $$", "fail-q")]
        for name, command, _ in rows:
            self.drop(name, uow(command))
        self.run_until_empty()
        wanted = ["|".join([name, self.status(name), self.path(queue, name), command, self.root]) for name, command, queue in rows]
        self.assertEqual(self.read("after").splitlines(), wanted)
        self.assertEqual((self.read("stdin"), self.read("trace").split()), ("/dev/null\n" * 3, ["job", "begin", "end"] * 3))

    def test_key_durable(self):
        """Told by what the Monitor asks of the kernel: fsync is called, or it is not."""
        need("strace")
        for word, wanted in (("yes", True), ("no", False)):
            self.configure("durable :: %s\n" % word)
            self.drop("job-" + word, uow("true"))
            trace = self.path(".trace-" + word)
            self.run_until_empty(prefix=("strace", "-f", "-e", "trace=fsync,fdatasync", "-o", trace))
            self.assertEqual("fsync(" in self.read(trace), wanted, word)


class TestReload(QueueCase):
    def test_with_another_place_nothing_of_it_is_in_force_before_the_next_start(self):
        """Pages would be written over UOWs, say, where a directory that is still in use becomes status_dir."""
        process = self.started()
        for count, (key, new, others) in enumerate([("done_q", "elsewhere", "status_dir :: done-q\n"),
                                                    ("monitor_reads", "inbox", "monitor_says :: monitor_reads\n")], 1):
            self.configure("job_command :: echo new\n%s :: %s\n%s" % (key, new, others))
            said = "RELOAD refused: %s can only be changed by a restart\n" % key
            self.message("RELOAD")
            self.said(said)
            if key == "done_q":                          # as `systemctl reload` does, which reads what is said
                code = "import sys; sys.path.insert(0, sys.argv[1]); import monitor; monitor.check_reload_file(sys.argv[2])"
                answer = subprocess.run([sys.executable, "-B", "-c", code, CHECKOUT, self.path("config.txt")], capture_output=True, text=True,
                                        env={**os.environ, "MAINPID": str(process.pid)})
                self.assertEqual((answer.returncode, answer.stderr), (1, said))
            self.drop("job%d" % count, uow("echo old"))
            self.assertEqual((self.ended("job%d" % count), self.log("job%d" % count)), ("done-q", b"old\n"))
        self.cycles(1)
        self.assertEqual(self.stop(process), 0)
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["job1", "job2"])          # no page among them
        self.assertNotIn("is not known", self.says())    # nothing that was said is read as a message
        self.configure("job_command :: echo new\ndone_q :: elsewhere\n")
        self.drop("last", uow("echo old"))
        self.run_until_empty()
        self.assertTrue(self.read("elsewhere", "last").count("\nnew\n"))

    def test_a_good_one_acts_at_once_and_a_bad_one_is_reported_by_message_and_by_signal(self):
        """FAULTS 46: the old one stays."""
        process = self.started()
        for count, ask in enumerate((lambda: self.message("RELOAD"), lambda: process.send_signal(signal.SIGHUP)), 1):
            self.configure("job_command :: echo new %d\n" % count)
            ask()
            self.said("RELOAD: configuration read from " + self.path("config.txt"), count=count)
            self.write("config.txt", "sleep_seconds :: never\n")
            ask()
            self.said("RELOAD refused: %s line 1: sleep_seconds :: never; expected a number of seconds, or 90s, 30m, 2h, 1d\n"
                      % self.path("config.txt"), count=count)
            self.drop("x%d" % count, uow("true"))
            self.assertEqual((self.ended("x%d" % count), self.log("x%d" % count)), ("done-q", b"new %d\n" % count))

    def test_a_status_dir_that_leads_into_a_queue_by_way_of_a_link_is_refused_as_at_a_start(self):
        os.symlink("wait-q", self.path("pages"))
        self.started()
        self.configure("status_dir :: pages\n")
        self.message("RELOAD")
        self.said("status_dir is the same as wait_q; expected a place of its own\n")
        self.assertRegex(self.says().rpartition("RELOAD refused: ")[2], r"^\S+ line [0-9]+: status_dir ")
        self.cycles(1)
        self.assertEqual(os.listdir(self.path("wait-q")), [])
