"""Messages: every one of the table, in any case, through every kind of appending; none lost, none acted on twice."""
import os
import re
import signal
import subprocess
import sys

from tests.helpers import CHECKOUT, HOLD, QueueCase, heavy, need, processes_with, until, uow
import monitor


class MessageCase(QueueCase):
    def answer(self, line):
        """Send one message and return what was said for it: what stands between two other messages."""
        before = len(self.says())
        for text in ("begin-of-answer", line, "end-of-answer"):
            self.message(text)
        until(lambda: "end-of-answer" in self.says()[before:], self.says)
        said = self.says()[before:].partition("message begin-of-answer")[2].partition("\n")[2]
        said = said.partition("message end-of-answer")[0]
        return [line.partition(" ")[2] for line in said.splitlines() if " " in line.strip()]

    def waits(self, *names):
        """Wait until STATUS says that these wait, ready to be started."""
        until(lambda: re.findall(r"^waits in \S+: (\S+) since", "\n".join(self.answer("STATUS")), re.M) == list(names),
              self.says, step=0.1)


class TestEveryMessage(MessageCase):
    def test_help(self):
        words = ["HELP", "STATUS", "CONFIG", "PAUSE", "RESUME", "FINISH", "SHUTDOWN", "KILL JOB", "RELOAD"]
        self.assertEqual(list(monitor.MESSAGES), words)
        self.started()
        said = self.answer("help")
        self.assertEqual(said[0], "message HELP")
        self.assertEqual(said[1:], ["%-8s  %s" % (keyword, entry[0]) for keyword, entry in monitor.MESSAGES.items()])

    def test_config(self):
        self.configure("timeout_seconds :: 14d\nfail_exit_codes :: 4,255\nrequired_names :: COMMAND, TICKET\n"
                       "durable :: no\nerror_pattern :: a :: b\n")
        self.started()
        said = self.answer("Config")
        self.assertEqual([line.partition(" :: ")[0].rstrip(" :") for line in said[1:]], list(monitor.CONFIG))
        for line in ("timeout_seconds :: 1209600", "fail_exit_codes :: 4 255", "required_names :: COMMAND TICKET",
                     "durable :: no", "settle_seconds :: 0.1", 'job_command :: set -e; eval "$UOW_COMMAND"',
                     "error_pattern :: a :: b", "wait_q :: " + self.path("wait-q")):
            self.assertIn(line, said)

    def test_status(self):
        need("ps")
        self.started()
        self.assertIn("state: idle", self.answer("STATUS"))
        self.drop("it's running", uow("sleep 600 & sleep 601"))
        self.said(" started $'it\\'s running' run ")
        self.drop("w2", "2026-01-02T00:00:00Z\n" + uow("true"))
        self.drop("w1", "2026-01-01T00:00:00Z\n" + uow("true"))
        self.drop("bad", "nonsense\n")
        self.said("bad in wait-q goes to trash")
        self.drop("p1", uow("true"), "priority-q")
        self.write("wait-q/.not yet", "")
        self.waits("p1", "w1", "w2")
        until(lambda: {"sleep 600", "sleep 601"} <= {line[-9:] for line in self.answer("STATUS")}, self.says, step=0.1)
        said = self.answer("STATUS")
        self.assertEqual(said[1], "state: running")
        self.assertRegex(said[2], r"^running: \$'it\\'s running' since \d{4}-\S+Z$")
        processes = [line for line in said if re.match(r" +\d+ +\d\d:\d\d ", line)]
        self.assertLessEqual({"sleep 600", "sleep 601"}, {line[-9:] for line in processes})
        for line in processes:
            os.kill(int(line.split()[0]), 0)             # a process of that number is there
        self.assertEqual([line.split(" since ")[0] for line in said if line.startswith("waits in")],
                         ["waits in priority-q: p1", "waits in wait-q: w1", "waits in wait-q: w2"])
        self.assertIn("held in wait-q: $'.not yet'", said)
        self.assertEqual(said[-1], "counts: wait-q 2, priority-q 1, currently-executing 1, done-q 0, error-q 0, "
                         "fail-q 0, trash 1, archive 0")

    def test_status_that_was_written_before_the_start_counts_what_waits_and_it_tells_what_is_wrong(self):
        """What was said while no Monitor was there is acted on at the start, and a long list is cut."""
        for number in range(70):
            self.drop("w%02d" % number, "2026-01-01T00:00:%02dZ\n" % (number % 60) + uow("true"))
        self.message("PAUSE\nSTATUS")
        self.started()
        self.said("counts: wait-q 70, priority-q 0, currently-executing 0, ")
        until(lambda: "waits in wait-q: 20 more" in self.answer("STATUS"), self.says)
        self.assertEqual(len([line for line in self.answer("STATUS") if line.startswith("waits in")]), 51)
        os.rmdir(self.path("done-q"))
        until(lambda: any(line.startswith("wrong: done-q is missing: ") for line in self.answer("STATUS")), self.says)

    def test_status_where_ps_cannot_be_run_answers_once_with_the_numbers_alone(self):
        self.started(env=self.commands())
        self.drop("one", uow("echo $$ > pid; exec sleep 600"))
        until(lambda: os.path.exists(self.path("pid")) and self.read("pid"), self.output)
        said = self.answer("STATUS")
        self.assertIn("  pid %s (no command ps in PATH)" % self.read("pid").strip(), said)
        self.assertRegex(said[-1], "^counts: wait-q 0, priority-q 0, currently-executing 1, ")
        self.tidied()
        self.assertEqual(self.answer("CONFIG")[0], "message CONFIG")
        for text in ("message STATUS", "no command ps in PATH", "counts: "):
            self.assertEqual(self.says().count(text), 1, self.says())

    def test_pause_and_resume(self):
        """The running job ends; a pause outlives a restart and a kill -9."""
        process = self.under_way("long", HOLD)
        self.message("pause")
        self.said("paused: no more jobs are started until RESUME")
        self.drop("x", uow("true"))
        self.waits("x")
        self.write("go", "")
        self.assertEqual(self.ended("long"), "done-q")
        self.assertIn("state: paused until RESUME", self.answer("STATUS"))
        for end in (self.stop, self.kill9):
            end(process)
            process = self.started()
            self.assertRegex(self.output(), r" started: pid %d, root \S+, paused\n" % process.pid)
            self.waits("x")
            self.assertEqual(self.where("x"), ["wait-q"])
        self.message("RESUME")
        self.assertEqual(self.ended("x"), "done-q")
        self.stop(process)
        self.started()
        self.drop("y", uow("true"))
        self.assertEqual(self.ended("y"), "done-q")       # RESUME outlives a restart, too

    def test_finish(self):
        process = self.under_way("x", HOLD)
        self.drop("y", uow("true"))
        self.message("Finish")
        self.said("FINISH: no more jobs are started")
        self.assertIsNone(process.poll())
        self.write("go", "")
        self.assertEqual(process.wait(30), 0)
        self.assertEqual((self.where("x"), self.where("y")), (["done-q"], ["wait-q"]))

    def test_shutdown_leaves_the_job_running_and_the_next_start_picks_it_up(self):
        process = self.under_way("x", "echo before\n%s\necho after" % HOLD)
        self.message("SHUTDOWN")
        self.assertEqual(process.wait(30), 0)
        self.said("SHUTDOWN: the Monitor exits; the running job goes on")
        self.assertTrue(processes_with("SJQ_FILE=" + self.path("currently-executing", "x")))
        self.assertEqual(self.where("x"), ["currently-executing"])
        self.started()
        self.said("adopted x run ")
        self.write("go", "")
        self.assertEqual(self.ended("x"), "done-q")
        self.assertEqual(self.log("x"), b"before\nafter\n")

    def test_signals_that_stop_are_shutdown(self):
        for name in ("TERM", "INT"):
            self.assertEqual(self.stop(self.started(), getattr(signal, "SIG" + name)), 0)
            self.assertIn("SHUTDOWN by signal %s" % name, self.says())
            self.assertIn("SHUTDOWN: the Monitor exits; nothing is running", self.says())

    @heavy
    def test_a_signal_in_the_moment_of_the_exit_is_no_failure(self):
        """Python gives signals their defaults back at its end, one after another: with each, the signal comes."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            process = self.started()
            self.asleep(process)
            self.traced(process, "-e", "inject=rt_sigaction:signal=%d" % number)
            self.message("SHUTDOWN")
            self.assertEqual(process.wait(20), 0)

    def test_kill_job(self):
        self.started()
        self.assertIn("KILL JOB: no job is running", self.answer("KILL JOB"))
        self.drop("x", uow("sleep 600 &\nsetsid sleep 601 &\ntrap '' TERM\necho ready\nwhile :; do sleep 602; done"))
        self.running("x")
        until(lambda: len(processes_with("SJQ_FILE=" + self.path("currently-executing", "x"))) >= 4)
        self.message("kill  job\nKILL JOB")
        self.assertEqual(self.ended("x"), "fail-q")
        self.assertEqual(self.status("x"), "fail: killed by message")
        until(lambda: not processes_with("SJQ_FILE=" + self.path("currently-executing", "x")), "nothing of it is left")
        self.assertIn("KILL JOB: x is being killed already (killed by message)", self.says())
        self.drop("y", uow("true"))
        self.assertEqual(self.ended("y"), "done-q")


class TestReading(MessageCase):
    def test_any_case_and_spacing_with_damaged_ones_between(self):
        self.started()
        with open(self.path("monitor_reads"), "ab") as file:
            file.write(b"help\n  Help  \nHELP\r\n\n\n# HELP in a comment\n\xff\xfe\x00broken\nkill\tjob\n"
                       b"\x1b[31mred\x1b[0m\nHELP ME\nSTATUS; HELP\n$(touch x)\n" + b"y" * 5000 + b"\nheLP\n")
        self.said("message HELP", count=4)
        self.tidied()
        says = self.says()
        self.assertEqual(says.count("message HELP\n"), 4)
        self.assertEqual(says.count("message KILL JOB\n"), 1)
        self.assertEqual(says.count(" is not known; expected one of HELP, STATUS, CONFIG, PAUSE, "), 6)
        for shown in ("message $'HELP ME' is", "message $'STATUS; HELP' is", "message $'$(touch x)' is", "\\x1b[31mred",
                      "message %s is" % ("y" * 80)):
            self.assertIn(shown, says)
        self.assertNotIn("\x1b", says)
        self.assertNotIn("y" * 81, says)
        self.assertTrue(all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z ", line) for line in says.splitlines()))
        self.assertFalse(os.path.lexists(self.path("x")))

    def test_what_was_acted_on_is_removed_and_git_sees_no_change(self):
        with open(os.path.join(CHECKOUT, "monitor_reads"), "rb") as file:
            shipped = file.read()
        self.assertEqual(shipped, monitor.howto())
        self.write("monitor_reads", shipped)
        self.started()
        for line in ("HELP", "nonsense", "STATUS"):
            self.message(line)
        self.said("message STATUS")
        self.tidied()
        self.assertEqual([name for name in os.listdir(self.root) if "reads" in name], ["monitor_reads"])

    def test_half_a_line_waits_while_it_is_not_quiet_or_somebody_has_the_file_open(self):
        self.configure("settle_seconds :: 1\n")
        process = self.started()
        self.tidied()
        with open(self.path("monitor_reads"), "a", buffering=1) as file:
            file.write("HELP\nSTA")
            self.said("message HELP")
            self.stop(process)                           # it outlives a restart
            os.utime(self.path("monitor_reads"), (1, 1))
            self.started()
            self.drop("one", uow("true"))                # some cycles pass
            self.ended("one")
            self.assertNotIn("message STA", self.says())
            file.write("TUS\nCON")
        self.said("message STATUS")
        self.message("FIG")
        self.said("message CONFIG")
        self.tidied()
        self.assertNotIn("not known", self.says())
        self.assertEqual(self.says().count("message HELP"), 1)

    def test_a_last_line_without_newline_counts_once_it_is_quiet_and_closed(self):
        """`printf PAUSE >> monitor_reads`, also while the Monitor is down."""
        self.message("PAUSE", end="")
        self.started()
        self.said("message PAUSE")
        self.tidied()
        self.message("RESUME", end="")
        self.said("message RESUME")
        self.tidied()
        self.assertNotIn("not known", self.says())

    def test_a_thousand_concurrent_appends_are_all_read_once(self):
        self.started()
        script = 'for i in $(seq 50); do echo "m-$0-$i-" >> "$1"; done'
        writers = [subprocess.Popen(["bash", "-c", script, str(number), self.path("monitor_reads")])
                   for number in range(20)]
        self.assertEqual([writer.wait(60) for writer in writers], [0] * 20)
        wanted = sorted("m-%d-%d-" % (number, i) for number in range(20) for i in range(1, 51))
        until(lambda: len(re.findall(r"message m-\d+-\d+- is not known", self.says())) >= 1000, seconds=60)
        self.tidied()
        self.assertEqual(sorted(re.findall(r"message (m-\d+-\d+-) is not known", self.says())), wanted)

    @heavy
    def test_who_opens_it_while_it_is_looked_at_ends_nobody(self):
        """An open breaks the read lease for which the Monitor asks: the kernel tells it so by SIGIO."""
        self.configure("sleep_seconds :: 60\n")
        monitor = self.started()
        append = """import os, sys, time
end = time.monotonic() + 6
while time.monotonic() < end:
    fd = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, b"#x" + bytes([10]))
    os.close(fd)
    time.sleep(0.0003)
"""
        for writer in [subprocess.Popen([sys.executable, "-c", append, self.path("monitor_reads")]) for _ in "12"]:
            writer.wait()
        self.assertIsNone(monitor.poll(), self.output())
        self.message("PAUSE")
        self.said("message PAUSE")
        self.message("STATUS")
        self.said("counts: ", seconds=10)            # nor is it deaf for long after such a storm

    def test_removed_or_replaced_by_an_editor(self):
        self.started()
        self.tidied()
        os.unlink(self.path("monitor_reads"))
        self.tidied()
        for number, line in enumerate(("HELP", "STATUS"), 1):
            self.write("monitor_reads.new", monitor.howto() + line.encode() + b"\n")     # as vim and sed -i do
            os.rename(self.path("monitor_reads.new"), self.path("monitor_reads"))
            self.said("message " + line)
            self.tidied()
        with open(self.path("monitor_reads"), "r+b") as file:                            # as nano does
            text = file.read()
            file.seek(0)
            file.truncate()
            file.write(text + b"CONFIG\n")
        self.said("message CONFIG")
        self.tidied()
        self.assertNotIn("not known", self.says())

    def test_acted_on_at_once(self):
        self.configure("sleep_seconds :: 60\n")
        process = self.started()
        self.tidied()
        for number in range(1, 4):
            self.asleep(process)
            self.message("HELP")
            self.said("message HELP", seconds=10, count=number)
