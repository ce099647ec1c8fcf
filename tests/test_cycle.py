"""The main job on real input: dropped, run, filed; order; what a job is given."""
import os
import re
import shutil

from tests.helpers import AFTER, DONE, HOLD, USED, QueueCase, Writer, heavy, processes_with, until, uow


class TestOutcomes(QueueCase):
    # The last one is of the keeper's own lines, where nothing is looked for.
    config = "fail_pattern :: ^FATAL|panic\nerror_pattern :: ^ERROR|==== JOB\nfail_exit_codes :: 4 255\n"

    def outcomes(self, rows):
        """Drop every command at once; each row: name, UOW, queue, a pattern of its STATUS."""
        for name, text, _, _ in rows:
            self.drop(name, text)
        self.run_until_empty()
        for name, _, queue, status in rows:
            with self.subTest(name):
                self.assertEqual(self.where(name), [queue], self.output())
                self.assertRegex(self.status(name), "^%s$" % status)
                self.assertRegex(self.output(), re.escape("%s: %s -> %s\n" % (name, self.status(name), queue)))

    def test_exits_and_patterns(self):
        self.outcomes([
            ("three", uow("exit 3"), "error-q", "error: exit 3" + AFTER),
            ("false", uow("false"), "error-q", "error: exit 1" + AFTER),
            ("a-line-fails", uow("false\ntouch .after"), "error-q", "error: exit 1" + AFTER),  # by `set -e`
            ("handled", uow("false || echo handled"), "done-q", "done: exit 0" + AFTER),
            ("missing", uow("sjq-no-such-command"), "error-q", "error: exit 127" + AFTER),
            ("not-executable", uow("./config.txt"), "error-q", "error: exit 126" + AFTER),
            ("syntax", uow("if then"), "error-q", "error: exit [12]" + AFTER),
            ("four", uow("exit 4"), "fail-q", "fail: exit 4" + AFTER),
            ("all-ones", uow("exit 255"), "fail-q", "fail: exit 255" + AFTER),
            ("error-found", uow("echo ERROR: disk"), "error-q", "error: exit 0" + AFTER + ", error_pattern found"),
            ("fail", uow("echo ERROR; echo FATAL; exit 3"), "fail-q", "fail: exit 3" + AFTER + ", fail_pattern found"),
            ("stderr-counts", uow("echo a panic >&2"), "fail-q", "fail: exit 0" + AFTER + ", fail_pattern found"),
            ("in-the-middle", uow("echo no ERROR at the start"), "done-q", "done: exit 0" + AFTER),
            ("header-only", uow("true", NOTE="panic"), "done-q", "done: exit 0" + AFTER),
        ])
        self.assertIn(b"sjq-no-such-command: command not found\n", self.log("missing"))
        self.assertIn(b"ermission denied\n", self.log("not-executable"))
        self.assertIn(b"syntax error", self.log("syntax"))
        self.assertFalse(os.path.exists(self.path(".after")))
        os.rename(self.path("fail-q", "fail"), self.path("wait-q", "fail"))        # what an earlier run wrote does not count
        text = self.read("wait-q", "fail")
        self.write("wait-q/fail", text.replace("echo ERROR; echo FATAL; exit 3", "echo fine"))
        self.run_until_empty()
        self.assertEqual((self.where("fail"), self.log("fail", 0), self.log("fail", 1)), (["done-q"], b"ERROR\nFATAL\n", b"fine\n"))


class TestSearch(QueueCase):
    """The search for a pattern in what a job wrote: what it finds, and what is said where it fails, or takes long."""

    config = "error_pattern :: ^ERROR\n"

    def check(self, command, queue, env=None):
        self.drop("one", uow(command))
        self.run_until_empty(env=env)
        self.assertEqual(self.where("one"), [queue])
        self.assertNotIn("could not be looked for", self.says())

    def waiting(self, tool, until_there, then):
        """Return the environment in which a tool of the search waits for a file, and then does what it is told."""
        lines = "#!/bin/sh\ntouch {0}/searching\nuntil [ -e {0}/{1} ]; do sleep 0.02; done\n{2}\nexec {3} \"$@\"\n"
        return self.executable(tool, lines.format(self.root, until_there, then, shutil.which(tool)))

    def test_it_is_found_at_the_very_start_of_a_long_log(self):
        """What reads the log dies of the pipe that nobody reads any more."""
        self.check("echo ERROR; seq 1000000", "error-q")

    def test_it_is_not_looked_for_behind_the_end(self):
        """Where a process that the job has left running goes on to write."""
        daemon = ('exec 9< "$SJQ_FILE"\n(until [ -e searching ]; do sleep 0.02; done; echo ERROR; '
                  'until grep -q "^ERROR" /proc/self/fd/9; do sleep 0.02; done; touch written) &')
        self.check(daemon, "done-q", self.waiting("tail", "written", ""))
        self.assertIn("\nERROR\n", self.read("done-q", "one"))
        self.assertRegex(self.says(), r"one: left running: \d+ \(bash\)")

    def fails(self, tool):
        """Let a tool be killed, as for want of memory, until the test writes `mended`: that is said once."""
        lines = '#!/bin/sh\n[ -e %s/mended ] || kill -9 $$\nexec %s "$@"\n' % (self.root, shutil.which(tool))
        self.started(env=self.executable(tool, lines))
        self.drop("one", uow("echo ERROR: it broke"))
        failed = "one: the patterns could not be looked for (exit 2)"
        self.said(failed)
        self.cycles(2)
        self.assertEqual(self.times_said(failed), 1)

    def test_tail_or_head_is_killed_and_it_is_tried_again(self):
        for tool in ("tail", "head"):
            self.fails(tool)
            self.write("mended", "")
            self.assertEqual(self.ended("one"), "error-q")
            self.assertRegex(self.status("one"), "^error: exit 0" + AFTER + ", error_pattern found$")
            self.stop(self.monitors[-1])
            for name in ("mended", "error-q/one", "monitor_says", ".bin/" + tool):
                os.unlink(self.path(name))

    def test_it_fails_for_the_one_pattern_and_would_find_the_other(self):
        self.configure("fail_pattern :: broke\n" + self.config)
        lines = '#!/bin/sh\n[ -e {0}/once ] || {{ touch {0}/once; kill -9 $$; }}\nexec {1} "$@"\n'
        self.drop("one", uow("echo ERROR: it broke"))
        self.run_until_empty(env=self.executable("tail", lines.format(self.root, shutil.which("tail"))))
        self.assertEqual(self.where("one"), ["fail-q"])

    def test_it_fails_until_the_pattern_is_taken_away_and_the_next_job_is_killed_for_real(self):
        """It was filed as interrupted, and the one behind it ran beside it."""
        self.fails("tail")
        self.configure()
        self.message("RELOAD")
        self.assertEqual(self.ended("one"), "done-q")
        self.drop("two", uow("sleep 60"))
        self.begun("two")
        self.message("KILL JOB")
        self.assertEqual(self.ended("two"), "fail-q")
        self.assertEqual(self.status("two"), "fail: killed by message")

    @heavy
    def test_where_it_takes_too_long_that_is_said_and_the_exit_code_decides(self):
        env = self.waiting("tail", "never", "")
        self.drop("one", uow("echo ERROR; exit 3"))
        self.run_until_empty(env=env, program=self.changed("HOOK_SECONDS = 60 ", "HOOK_SECONDS = 1 "))
        self.assertIn("one: the search for the patterns took longer than 1 s", self.says())
        self.assertRegex(self.status("one"), "^error: exit 3" + AFTER + "$")

    def test_a_monitor_that_dies_meanwhile_leaves_it_to_the_next(self):
        monitor = self.started(env=self.waiting("tail", "never", ""))
        self.drop("one", uow("echo ERROR"))
        self.there("searching")
        self.kill9(monitor)
        self.assertEqual(self.where("one"), ["currently-executing"])
        self.run_until_empty()
        self.assertEqual(self.where("one"), ["error-q"])
        self.assertRegex(self.status("one"), "error_pattern found$")


class TestRealWork(QueueCase):
    def test_output_of_any_kind_is_kept_as_it_is_and_the_time_taken_is_told(self):
        rows = [("no-newline", "printf abc", b"abc"), ("nothing", "true", b""), ("nul", r"printf 'a\0b\377\r\n'", b"a\0b\xff\r\n"),
                ("titles", "printf '==== STATUS\\n==== JOB LOG\\n'", b"==== STATUS\n==== JOB LOG\n"),
                ("order", "echo 1; echo 2 >&2; echo 3; sleep 1.2", b"1\n2\n3\n"), ("all", "cat data", bytes(range(256)) * 400),
                ("script", "cat <<END\n  inner   spaces\n\nEND\nx=1\nif [ $x = 1 ]; then\n  echo one\nfi", b"inner   spaces\n\none\n"),
                ("a-lot", "head -c 3000000 /dev/zero | tr '\\0' x", b"x" * 3000000)]
        self.write("data", bytes(range(256)) * 400)
        for name, command, _ in rows:
            self.drop(name, uow(command))
        self.run_until_empty()
        for name, _, there in rows:
            with self.subTest(name):
                self.assertEqual((self.where(name), self.log(name)), (["done-q"], there))
        seconds = float(re.fullmatch(r"done: exit 0 after (\d+\.\d) s" + USED, self.status("order")).group(1))
        self.assertTrue(1.2 <= seconds < 5, seconds)
        text = self.read("done-q", "no-newline")
        self.assertRegex(text, r"^ENQUEUED :: \S+Z by \S+\n\n==== UNIT OF WORK\nCOMMAND :: printf abc\n\n==== STATUS\n"
                               r"done: exit 0 after \d+\.\d s" + USED + r" +\n\n==== JOB LOG\n"
                               r"==== JOB START \S+Z run \S+\nabc\n==== JOB END \S+Z run \S+ exit 0\n$")


class TestOrder(QueueCase):
    def started_order(self):
        return re.findall(r"^\S+ started (\S+) run ", self.output(), re.M)

    def test_priority_q_goes_before_a_full_wait_q(self):
        for number in range(50):
            self.drop("w%03d" % number, "2020-01-01T00:00:00Z\n" + uow("true"))
        self.drop("p2", "2026-01-02T00:00:00Z\n" + uow("true"), "priority-q")
        self.drop("p1", "2026-01-01T00:00:00Z\n" + uow(HOLD), "priority-q")
        self.started()
        self.running("p1")
        self.drop("p3", uow("true"), "priority-q")       # while wait-q is full and a job runs
        self.stamped("p3", "priority-q")
        self.write("go", "")
        until(lambda: len(self.started_order()) > 3, self.output)
        self.assertEqual(self.started_order()[:4], ["p1", "p2", "p3", "w000"])

    def test_a_uow_moved_back_runs_again_below_its_old_log(self):
        self.drop("ticket", uow("n=$(cat n 2>/dev/null || true); n=$((n + 1)); echo $n > n; echo run $n; [ $n = 2 ]"))
        self.run_until_empty()
        self.assertEqual(self.where("ticket"), ["error-q"])
        first = self.read("error-q", "ticket")
        os.rename(self.path("error-q", "ticket"), self.path("wait-q", "ticket"))
        self.run_until_empty()
        second = self.read("done-q", "ticket")
        self.assertEqual((self.log("ticket", 0), self.log("ticket", 1)), (b"run 1\n", b"run 2\n"))
        self.assertRegex(self.status("ticket"), DONE)
        self.assertTrue(second.startswith(first.partition("==== STATUS")[0]))        # line 1 and header unchanged
        self.assertIn(first.partition("==== JOB LOG\n")[2], second)
        self.assertEqual(second.count("==== JOB LOG"), 1)
        self.assertEqual(len(set(re.findall(r"JOB START \S+ run (\S+)", second))), 2)
        os.unlink(self.path("done-q", "ticket"))
        self.drop("ticket", re.sub(" +\n", "\n", second).replace("[ $n = 2 ]", "echo edited"))      # blanks at the end are lost in editors
        self.run_until_empty()
        self.assertEqual([self.log("ticket", run) for run in range(3)], [b"run 1\n", b"run 2\n", b"run 3\nedited\n"])


class TestUntilEmpty(QueueCase):
    def test_what_a_job_drops_behind_the_last_listing_is_run_too(self):
        """The moment between the listing of wait-q and the look at the job is held open until the job has ended."""
        listed = "    due = min([survey_queue(m, queue) for queue in m.queues])\n"
        program = self.changed(listed, listed + """
    while os.path.exists(m.config.root + "/between"):
        open(m.config.root + "/listed", "w").close()
        time.sleep(0.01)
""")
        self.write("two", uow("true"))
        self.drop("one", uow("sleep 0.1; touch between; echo HELP >> monitor_reads\n"
                             "until [ -e listed ]; do sleep 0.02; done\nmv two wait-q/two"))
        monitor = self.start("--until-empty", program=program)
        self.there("listed")
        until(lambda: "==== JOB END" in self.read("currently-executing", "one"), self.output)
        until(lambda: not processes_with(self.path("currently-executing", "one")), "the job's processes have ended")
        os.unlink(self.path("between"))
        self.assertEqual(monitor.wait(30), 0)
        self.assertEqual((self.where("one"), self.where("two")), (["done-q"], ["done-q"]))

    def test_it_ends_while_hidden_names_come_and_go(self):
        with Writer(lambda number: self.write("wait-q/.%d" % number, ""), 0.1):
            self.drop("one", uow("true"))
            self.run_until_empty(seconds=20)
        self.assertEqual(self.where("one"), ["done-q"])


class TestWhatAJobIsGiven(QueueCase):
    def test_a_header_is_text_and_runs_nothing(self):
        self.configure('job_command :: printf "%s" "$UOW_TEXT" > got; printf "<%s>" $UOW_PLAIN\n'
                       "required_names :: TEXT\n")
        text = "$(touch x) `touch y`; touch z | \"a\" 'b' \\ & $HOME ${IFS} * ~ :: %s\ttab \x1b[31m é"
        self.drop("quoted", "==== UNIT OF WORK\nTEXT :: %s\nTEXT :: second; $(touch x)\n"
                            "PLAIN :: $(touch x) `touch y`; touch z\nPATH :: /nowhere\n"
                            "LD_PRELOAD :: /nowhere.so\nBASH_ENV :: /nowhere.sh\n" % text)
        self.run_until_empty()
        self.assertEqual(self.where("quoted"), ["done-q"], self.output())
        self.assertEqual(self.read("got"), text + "\nsecond; $(touch x)")
        for name in "xyz":
            self.assertFalse(os.path.lexists(self.path(name)), name)
        self.assertEqual(self.log("quoted"), b"<$(touch><x)><`touch><y`;><touch><z>")

    # As `nohup` and `&` start a program, and some daemons: signals are ignored, or blocked.
    DEAF = ("env", "--ignore-signal=HUP,INT,QUIT,PIPE,CHLD,USR1,TSTP", "--block-signal=TERM,CHLD,IO")

    def test_a_monitor_that_was_started_deaf_hears_a_drop_an_end_and_a_stop(self):
        monitor = self.started(prefix=self.DEAF)
        self.drop("job", uow("exit 3"))
        self.assertEqual(self.ended("job"), "error-q")
        self.assertEqual(self.stop(monitor), 0)

    def test_environment_directory_stdin_and_session(self):
        name = "it's a\nname $(x)"
        self.drop(name, uow(
            'printf "%s|" "$SJQ_NAME" "$SJQ_FILE" "$SJQ_RUN" "$UOW_TICKET_NUMBER" "$PWD" > got\n'
            'readlink /proc/self/fd/0 > stdin\nread -r line || echo end > ended\n'
            'cut -d " " -f 6 /proc/$$/stat > sid; tty > tty || true; env | grep -c "^SJQ_KEEPER=" > keeper || true\n'
            '(read -r answer < /dev/tty && echo answered) > answer 2>&1 || true\n'
            'ls /proc/self/fd > fds; grep -E "^Sig(Blk|Ign)" /proc/self/status > signals', **{"Ticket Number": "7"}))
        self.write("monitor_reads", "")
        env = dict(os.environ, SJQ_STALE="x", UOW_STALE="y", NOTIFY_SOCKET="/nowhere")
        self.run_until_empty(env=env, prefix=self.DEAF)                                       # the job must not be
        self.assertEqual(self.where(name), ["done-q"], self.output())
        got = self.read("got").split("|")
        run = re.search(r"JOB START \S+ run (\S+)", self.read("done-q", name)).group(1)
        self.assertEqual(got, [name, self.path("currently-executing", name), run, "7", self.root, ""])
        self.assertEqual((self.read("stdin"), self.read("ended")), ("/dev/null\n", "end\n"))
        self.assertNotEqual(int(self.read("sid")), os.getsid(0))
        self.assertEqual((self.read("tty"), self.read("keeper")), ("not a tty\n", "0\n"))
        self.assertNotIn("answered", self.read("answer"))
        self.assertEqual(self.read("fds").split()[:3], ["0", "1", "2"])
        self.assertLessEqual(len(self.read("fds").split()), 4)      # the fourth is what ls reads
        own = 1 << 31 | 1 << 32      # glibc's own two, which no program can set
        self.assertEqual([int(mask, 16) & ~own for mask in re.findall(r"\t(\w+)", self.read("signals"))], [0, 0])
        self.drop("env", uow("env"))
        self.run_until_empty(env=env)
        for stale in (b"SJQ_STALE", b"UOW_STALE", b"NOTIFY_SOCKET"):
            self.assertNotIn(stale, self.log("env"))
