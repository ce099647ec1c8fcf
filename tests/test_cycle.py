"""The main job on real input: dropped, run, filed; order; what a job is given."""
import datetime
import os
import re
import shutil
import tarfile
import time

from tests.helpers import QueueCase, Writer, cpu_of, heavy, need, processes_with, until, uow

DONE = r"^done: exit 0 after \d+\.\d s$"


class TestOutcomes(QueueCase):
    config = "fail_pattern :: ^FATAL|panic\nerror_pattern :: ^ERROR\nfail_exit_codes :: 4 255\n"

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

    def test_exit_0_goes_to_done_q_with_its_output(self):
        self.drop("hello", uow("echo hello"))
        self.run_until_empty()
        self.assertEqual(self.where("hello"), ["done-q"])
        self.assertEqual(self.log("hello"), b"hello\n")
        self.assertRegex(self.status("hello"), DONE)

    def test_exits_and_patterns(self):
        self.outcomes([
            ("three", uow("exit 3"), "error-q", r"error: exit 3 after \d+\.\d s"),
            ("false", uow("false"), "error-q", r"error: exit 1 after \d+\.\d s"),
            ("last-counts", uow("false\ntrue"), "done-q", r"done: exit 0 after \d+\.\d s"),
            ("missing", uow("sjq-no-such-command"), "error-q", r"error: exit 127 after \d+\.\d s"),
            ("not-executable", uow("./config.txt"), "error-q", r"error: exit 126 after \d+\.\d s"),
            ("syntax", uow("if then"), "error-q", r"error: exit [12] after \d+\.\d s"),
            ("four", uow("exit 4"), "fail-q", r"fail: exit 4 after \d+\.\d s"),
            ("all-ones", uow("exit 255"), "fail-q", r"fail: exit 255 after \d+\.\d s"),
            ("error-found", uow("echo ERROR: disk"), "error-q", r"error: exit 0 after \d+\.\d s, error_pattern found"),
            ("fail-found", uow("echo ERROR: disk\necho FATAL; exit 3"), "fail-q", r"fail: exit 3 after \d+\.\d s, fail_pattern found"),
            ("stderr-counts", uow("echo a kernel panic >&2"), "fail-q", r"fail: exit 0 after \d+\.\d s, fail_pattern found"),
            ("in-the-middle", uow("echo no ERROR at the start"), "done-q", r"done: exit 0 after \d+\.\d s"),
            ("header-only", uow("true", NOTE="panic"), "done-q", r"done: exit 0 after \d+\.\d s"),
        ])
        self.assertIn(b"sjq-no-such-command: command not found\n", self.log("missing"))
        self.assertIn(b"ermission denied\n", self.log("not-executable"))
        self.assertIn(b"syntax error", self.log("syntax"))

    def test_a_pattern_of_an_earlier_run_does_not_count(self):
        self.drop("again", uow("test -e .seen || echo FATAL; touch .seen"))
        self.run_until_empty()
        self.assertEqual(self.where("again"), ["fail-q"])
        os.rename(self.path("fail-q", "again"), self.path("wait-q", "again"))
        self.run_until_empty()
        self.assertEqual(self.where("again"), ["done-q"], self.status("again"))

    def test_signals(self):
        self.outcomes([
            ("segv-itself", uow("echo before\nkill -SEGV $$"), "fail-q", r"fail: killed by SIGSEGV after \d+\.\d s"),
            ("kill-itself", uow("kill -KILL $$"), "fail-q", r"fail: killed by SIGKILL after \d+\.\d s"),
            ("term-itself", uow("kill -TERM $$"), "fail-q", r"fail: killed by SIGTERM after \d+\.\d s"),
            ("int-itself", uow("kill -INT $$"), "fail-q", r"fail: killed by SIGINT after \d+\.\d s"),
            ("child", uow("sh -c 'kill -KILL $$'"), "fail-q", r"fail: killed by SIGKILL after \d+\.\d s"),
            ("child-ended-by-term", uow("sh -c 'kill -TERM $$'\nexit $?"), "fail-q", r"fail: killed by SIGTERM after \d+\.\d s"),
            ("child-of-a-script", uow("echo before\nsh -c 'kill -KILL $$'\nexit $?"), "fail-q", r"fail: killed by SIGKILL after \d+\.\d s"),
            ("by-itself-137", uow("exit 137"), "error-q", r"error: exit 137 after \d+\.\d s"),
            ("by-itself-139", uow("echo Segmentation fault\nexit 139"), "error-q", r"error: exit 139 after \d+\.\d s"),
            ("survived", uow("sh -c 'kill -KILL $$'\ntrue"), "done-q", r"done: exit 0 after \d+\.\d s"),
        ])
        self.assertEqual(self.log("segv-itself"), b"before\n")

    @heavy
    def test_signals_in_another_language(self):
        german = self.in_locale("de_DE")
        self.drop("child", uow("sh -c 'kill -SEGV $$'\nexit $?"))
        self.run_until_empty(env=german)
        self.assertRegex(self.status("child"), "^fail: killed by SIGSEGV ")

    def test_a_compiled_program_that_crashes(self):
        need("gcc")
        self.write("crash.c", "#include <stdio.h>\nint main(void) { puts(\"working\"); fflush(stdout); volatile int *p = 0; return *p; }\n")
        self.drop("crash", uow("gcc -o crash crash.c\n./crash"))
        self.drop("crash-alone", uow("ulimit -c 0; ./crash"))
        self.drop("crash-last", uow("./crash"))
        self.run_until_empty()
        for name in ("crash", "crash-alone", "crash-last"):
            self.assertEqual(self.where(name), ["fail-q"], self.output())
            self.assertRegex(self.status(name), r"^fail: killed by SIGSEGV after \d+\.\d s$")
            self.assertTrue(self.log(name).startswith(b"working\n"), self.log(name))


class TestSearch(QueueCase):
    """The search for a pattern in what a job wrote: what it finds, and what is said where it fails, or takes long."""

    config = "error_pattern :: ^ERROR\n"
    environment = None

    def check(self, command, queue):
        self.drop("one", uow(command))
        self.run_until_empty(env=self.environment)
        self.assertEqual(self.where("one"), [queue])
        self.assertNotIn("could not be looked for", self.says())

    def test_it_is_found_at_the_very_start_of_a_long_log(self):
        """What reads the log dies of the pipe that nobody reads any more."""
        self.check("echo ERROR; seq 1000000", "error-q")

    def test_it_is_not_found_in_a_long_log(self):
        self.check("seq 1000000", "done-q")

    def test_it_is_not_looked_for_behind_the_end(self):
        """Though much stands there."""
        self.configure(self.config + "kill_grace_seconds :: 30\n")
        self.check('(until grep -q "^==== JOB END" "$SJQ_FILE"; do sleep 0.02; done; seq 1000000; echo ERROR) &', "done-q")

    def fails(self, tool):
        """Let a tool be killed, as for want of memory, until the test writes `mended`; return what is said of it."""
        lines = '#!/bin/sh\n[ -e %s/mended ] || kill -9 $$\nexec %s "$@"\n' % (self.root, shutil.which(tool))
        self.started(env=self.executable(tool, lines))
        self.drop("one", uow("echo ERROR: it broke"))
        failed = "one: the patterns could not be looked for (exit 2); tried again, until KILL JOB ends that"
        self.said(failed)
        self.cycles(2)
        self.assertEqual(self.says().count(failed), 1)
        return failed

    def is_tried_again(self, tool):
        failed = self.fails(tool)
        self.write("mended", "")
        self.assertEqual(self.ended("one"), "error-q")
        self.said("over: " + failed)

    def test_tail_is_killed(self):
        self.is_tried_again("tail")

    def test_head_is_killed(self):
        self.is_tried_again("head")

    def test_it_fails_for_the_one_pattern_and_would_find_the_other(self):
        self.configure("fail_pattern :: broke\n" + self.config)
        lines = '#!/bin/sh\n[ -e {0}/once ] || {{ touch {0}/once; kill -9 $$; }}\nexec {1} "$@"\n'
        self.drop("one", uow("echo ERROR: it broke"))
        self.run_until_empty(env=self.executable("tail", lines.format(self.root, shutil.which("tail"))))
        self.assertEqual(self.where("one"), ["fail-q"])

    @heavy
    def test_it_fails_and_is_tried_again_once_a_second(self):
        self.started(env=self.executable("tail", "#!/bin/sh\ndate +%%s.%%N >> %s/.bin/tries\nkill -9 $$\n" % self.root))
        self.drop("one", uow("true"))
        self.there(".bin/tries")
        until(lambda: self.read(".bin/tries").count("\n") > 3, "some tries")
        tries = [float(at) for at in self.read(".bin/tries").split()[1:]]        # the first is said, which may wake the Monitor
        self.assertGreater(min(later - earlier for earlier, later in zip(tries, tries[1:])), 0.6)

    def test_it_fails_until_a_kill_job_ends_it(self):
        failed = self.fails("tail")
        self.message("KILL JOB")
        self.assertEqual(self.ended("one"), "done-q")
        self.said("over: " + failed)

    def test_nothing_is_looked_for_in_what_timed_out(self):
        """A search that fails would only keep it from being filed."""
        self.configure("timeout_seconds :: 0.2\n" + self.config)
        self.drop("one", uow("echo ERROR; sleep 60"))
        self.run_until_empty(env=self.executable("tail", "#!/bin/sh\nkill -9 $$\n"), seconds=20)
        self.assertEqual(self.where("one"), ["fail-q"])
        self.assertNotIn("could not be looked for", self.says())

    def test_it_fails_until_the_pattern_is_taken_away_and_the_next_job_is_killed_for_real(self):
        """It was filed as interrupted, and the one behind it ran beside it."""
        failed = self.fails("tail")
        self.configure()
        self.message("RELOAD")
        self.assertEqual(self.ended("one"), "done-q")
        self.said("over: " + failed)
        self.drop("two", uow("sleep 60"))
        self.begun("two")
        self.message("KILL JOB")
        self.assertEqual(self.ended("two"), "fail-q")
        self.assertIn("fail: killed by message", self.read("fail-q", "two"))

    def hangs(self):
        """Start a Monitor whose search hangs until the test writes `searched`, and let it search."""
        self.environment = self.executable("tail", '#!/bin/sh\ntouch {0}/searching\nuntil [ -e {0}/searched ]; do sleep 0.02; done\n'
                                           'exec {1} "$@"\n'.format(self.root, shutil.which("tail")))
        monitor = self.started(env=self.environment, program=self.changed("HOOK_SECONDS = 60 ", "HOOK_SECONDS = 0.3 "))
        self.drop("one", uow("echo ERROR"))
        self.there("searching")
        return monitor

    @heavy
    def test_that_it_takes_long_is_said_once(self):
        monitor, long = self.hangs(), "one: its output is still searched for the patterns; KILL JOB ends the search"
        self.said(long)
        before = cpu_of(monitor.pid)
        time.sleep(0.6)
        self.assertLess(cpu_of(monitor.pid) - before, 0.3)
        self.cycles(2)
        self.assertEqual(self.says().count(long), 1)
        self.write("searched", "")
        self.assertEqual(self.ended("one"), "error-q")

    def test_a_monitor_that_is_stopped_meanwhile_leaves_it_to_the_next(self):
        self.assertEqual(self.stop(self.hangs()), 0)
        self.assertEqual(self.where("one"), ["currently-executing"])
        self.run_until_empty()
        self.assertEqual(self.where("one"), ["error-q"])
        self.assertRegex(self.status("one"), "error_pattern found$")


class TestRealWork(QueueCase):
    def test_a_compile_with_coloured_diagnostics_keeps_every_byte(self):
        need("gcc")
        self.write("warn.c", "int main(void) { int unused; return \"x\"; }\n")
        compile_it = "gcc -fdiagnostics-color=always -Wall -c warn.c -o warn.o"
        self.drop("compile", uow(compile_it + " 2>&1 | tee seen\nexit ${PIPESTATUS[0]}"))
        self.run_until_empty()
        with open(self.path("seen"), "rb") as file:
            seen = file.read()
        self.assertIn(b"\x1b[", seen)                 # there is colour
        self.assertIn(b"warning", seen)
        self.assertEqual(self.log("compile"), seen)
        self.assertIn(self.where("compile")[0], ("done-q", "error-q"))            # newer compilers call it an error

    @heavy
    def test_a_script_that_archives_a_tree(self):
        tree = "/usr/share/doc"
        if not os.path.isdir(tree) or len(os.listdir(tree)) < 20:
            tree = self.path("tree")
            for number in range(200):
                os.makedirs(os.path.join(tree, "d%d" % number))
                self.write("tree/d%d/file" % number, os.urandom(2000))
        self.drop("archive-docs", uow('set -e\nname=docs\ncd "$UOW_TREE"\nfor part in .; do\n  tar -cf "$SJQ_ROOT_OF_TEST/$name.tar" "$part"\ndone\n'
                                      'echo "archived $(tar -tf "$SJQ_ROOT_OF_TEST/$name.tar" | wc -l)"'
                                      .replace("$SJQ_ROOT_OF_TEST", self.root), TREE=tree, TIMEOUT="10m"))
        began = time.monotonic()
        self.run_until_empty()
        took = time.monotonic() - began
        self.assertEqual(self.where("archive-docs"), ["done-q"], self.output())
        with tarfile.open(self.path("docs.tar")) as archive:
            count = sum(1 for _ in archive)
        self.assertEqual(self.log("archive-docs"), b"archived %d\n" % count)
        self.assertGreater(count, 20)
        seconds = float(re.fullmatch(r"done: exit 0 after (\d+\.\d) s", self.status("archive-docs")).group(1))
        self.assertLessEqual(seconds, took + 0.1)

    def test_the_time_in_status_is_the_time_taken(self):
        self.drop("sleep", uow("sleep 1.2"))
        self.run_until_empty()
        seconds = float(re.fullmatch(r"done: exit 0 after (\d+\.\d) s", self.status("sleep")).group(1))
        self.assertTrue(1.2 <= seconds < 5, seconds)

    def test_output_of_any_kind_is_kept_as_it_is(self):
        for name, command, there in [("no-newline", "printf abc", b"abc"), ("nothing", "true", b""), ("nul", r"printf 'a\0b\377\r\n'", b"a\0b\xff\r\n"),
                                     ("titles", "echo '==== STATUS'; echo '==== JOB LOG'", b"==== STATUS\n==== JOB LOG\n"),
                                     ("order", "echo 1; echo 2 >&2; echo 3", b"1\n2\n3\n"),
                                     ("a-lot", "head -c 3000000 /dev/zero | tr '\\0' x", b"x" * 3000000)]:
            self.drop(name, uow(command))
            with self.subTest(name):
                self.run_until_empty()
                self.assertEqual(self.where(name), ["done-q"])
                self.assertEqual(self.log(name), there)
        text = self.read("done-q", "no-newline")
        self.assertRegex(text, r"^ENQUEUED :: \S+Z by \S+\n\n==== UNIT OF WORK\nCOMMAND :: printf abc\n\n==== STATUS\n"
                               r"done: exit 0 after \d+\.\d s +\n\n==== JOB LOG\n==== JOB START \S+Z run \S+\nabc\n==== JOB END \S+Z run \S+ exit 0\n$")


class TestTimeout(QueueCase):
    def test_past_its_timeout_nothing_of_it_is_left(self):
        ignore = "trap '' TERM HUP INT"
        self.drop("stubborn", uow("%s\nsleep 987.1 & (%s; while :; do sleep 987.2; done) &\nsetsid sleep 987.3 &\n"
                                  "(setsid sh -c '%s; sleep 987.4' > /dev/null 2>&1 &)\necho ready\nwhile :; do sleep 987.5; done"
                                  % (ignore, ignore, ignore.replace("'", '"')), TIMEOUT="2s", TREE=self.root))
        began = time.monotonic()
        self.started()
        self.running("stubborn")
        until(lambda: len(processes_with("UOW_TREE=" + self.root)) >= 7, lambda: processes_with("UOW_TREE=" + self.root))
        self.assertEqual(self.ended("stubborn"), "fail-q")
        self.assertEqual(self.status("stubborn"), "fail: timed out after 2 s")
        self.assertGreaterEqual(time.monotonic() - began, 2)
        self.assertEqual(processes_with("UOW_TREE=" + self.root), [])
        self.assertEqual(self.log("stubborn").split(b"\n")[0], b"ready")

    def test_a_job_that_heeds_term_is_given_its_grace(self):
        self.configure("kill_grace_seconds :: 60\n")
        self.drop("gentle", uow("trap 'echo tidied; exit 0' TERM\necho ready\nwhile :; do sleep 0.1; done", TIMEOUT="1s"))
        self.run_until_empty()
        self.assertEqual(self.where("gentle"), ["fail-q"])
        self.assertEqual(self.status("gentle"), "fail: timed out after 1 s")
        self.assertIn(b"tidied\n", self.log("gentle"))


class TestOrder(QueueCase):
    def started_order(self):
        return re.findall(r"^\S+ started (\S+) run ", self.output(), re.M)

    def test_fifty_in_one_mv_start_by_their_first_line(self):
        names = ["job-%02d" % number for number in range(50)]
        order = sorted(names, key=lambda name: hash_of(name))                      # neither by name nor by time of writing
        os.mkdir(self.path("staged"))
        for name in names:
            text = uow("true")
            if order.index(name) % 2:
                text = "2020-01-01T00:00:%02d.5Z\n" % order.index(name) + text
            else:
                text = "ENQUEUED :: 2020-01-01T01:00:%02d.500+01:00 by hand\n" % order.index(name) + text
            os.utime(self.write("staged/" + name, text), (1, 1))
        os.system("mv -t '%s' '%s'/*" % (self.path("wait-q"), self.path("staged")))
        self.run_until_empty()
        self.assertEqual(self.started_order(), order)
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), names)

    def test_what_has_no_first_line_starts_as_it_arrived(self):
        for name in ("c", "a", "b"):
            self.drop(name, uow("true"))
            time.sleep(0.02)                            # longer than the tick of the file system's clock
        self.run_until_empty()
        self.assertEqual(self.started_order(), ["c", "a", "b"])
        times = [re.match(r"ENQUEUED :: (\S+) by ", self.read("done-q", name)).group(1) for name in ("c", "a", "b")]
        self.assertEqual(times, sorted(times))

    def test_a_restart_keeps_the_order(self):
        self.message("PAUSE")
        for number, name in enumerate(("c", "a", "d", "b")):
            self.drop(name, "2026-01-01T00:00:0%dZ\n" % number + uow("true"))
        process = self.started()
        for name in "abcd":
            self.stamped(name)
        self.stop(process)
        self.message("RESUME")
        self.run_until_empty()
        self.assertEqual(self.started_order(), ["c", "a", "d", "b"])

    def test_priority_q_goes_before_a_full_wait_q(self):
        for number in range(300):
            self.drop("w%03d" % number, "2020-01-01T00:00:00Z\n" + uow("true"))
        self.drop("p2", "2026-01-02T00:00:00Z\n" + uow("true"), "priority-q")
        self.drop("p1", "2026-01-01T00:00:00Z\n" + uow("until [ -e go ]; do sleep 0.02; done"), "priority-q")
        self.started()
        self.running("p1")
        self.drop("p3", uow("true"), "priority-q")       # while wait-q is full and a job runs
        self.stamped("p3", "priority-q")
        self.write("go", "")
        self.said(" started p3 run ")
        self.ended("p3")
        until(lambda: len(self.started_order()) > 3)
        self.assertEqual(self.started_order()[:3], ["p1", "p2", "p3"])
        self.assertEqual(self.started_order()[3], "w000")

    def test_a_uow_moved_back_runs_again_below_its_old_log(self):
        self.drop("ticket", uow("n=$(cat n 2>/dev/null); n=$((n + 1)); echo $n > n; echo run $n; [ $n = 2 ]"))
        self.run_until_empty()
        self.assertEqual(self.where("ticket"), ["error-q"])
        first = self.read("error-q", "ticket")
        os.rename(self.path("error-q", "ticket"), self.path("wait-q", "ticket"))
        self.run_until_empty()
        second = self.read("done-q", "ticket")
        self.assertEqual((self.log("ticket", 0), self.log("ticket", 1)), (b"run 1\n", b"run 2\n"))
        self.assertRegex(self.status("ticket"), DONE)
        self.assertTrue(second.startswith(first.partition("==== STATUS")[0]))                  # line 1 and header unchanged
        self.assertIn(first.partition("==== JOB LOG\n")[2], second)
        self.assertEqual(second.count("==== JOB LOG"), 1)
        self.assertEqual(len(set(re.findall(r"JOB START \S+ run (\S+)", second))), 2)

    def test_a_finished_uow_that_a_person_edited_keeps_its_log(self):
        self.drop("ticket", uow("echo one"))
        self.run_until_empty()
        text = re.sub(" +\n", "\n", self.read("done-q", "ticket").replace("echo one", "echo number two"))      # editors strip trailing blanks
        os.unlink(self.path("done-q", "ticket"))
        self.drop("ticket", text)
        self.run_until_empty()
        self.assertEqual((self.log("ticket", 0), self.log("ticket", 1)), (b"one\n", b"number two\n"))

    def test_a_taken_name_is_not_overwritten(self):
        self.write("done-q/ticket", "the old one\n")
        self.write("done-q/ticket.2", "the other old one\n")
        self.drop("ticket", uow("echo new"))
        self.run_until_empty()
        self.assertEqual((self.read("done-q", "ticket"), self.read("done-q", "ticket.2")), ("the old one\n", "the other old one\n"))
        self.assertIn("echo new", self.read("done-q", "ticket.3"))
        self.assertIn("ticket: the name was taken in done-q, it is ticket.3 there\n", self.says())


def hash_of(name):
    return (int(name[-2:]) * 37) % 101


class TestUntilEmpty(QueueCase):
    def test_what_a_job_drops_behind_the_last_listing_is_run_too(self):
        """The moment between the listing of wait-q and the look at the job is held open until the job has ended."""
        survey_ended = "    for key, ended in m.ended.items():\n        path = getattr(m.config, key)\n        if state_of(path)"
        program = self.changed(survey_ended, """
    while os.path.exists(m.config.root + "/between"):
        open(m.config.root + "/listed", "w").close()
        time.sleep(0.01)
""" + survey_ended)
        self.write("two", uow("true"))
        self.drop("one", uow("sleep 0.1; touch between; echo HELP >> monitor_reads\n"
                             "until [ -e listed ]; do sleep 0.02; done\nmv two wait-q/two"))
        monitor = self.start("--until-empty", program=program)
        self.there("listed")
        until(lambda: "==== JOB END" in self.read("currently-executing", "one"), self.output)
        until(lambda: not processes_with("SJQ_NAME=one"), "the job's processes have ended")
        os.unlink(self.path("between"))
        self.assertEqual(monitor.wait(30), 0)
        self.assertEqual((self.where("one"), self.where("two")), (["done-q"], ["done-q"]))

    @heavy
    def test_what_cannot_be_put_back_at_first_is_run_too(self):
        mv = '#!/bin/sh\ncase "$*" in *.wait_q/*) grep -q "cannot be put back" "%s" || exit 1;; esac\nexec "%s" "$@"\n'
        env = self.executable("mv", mv % (self.path("monitor_says"), shutil.which("mv")))
        self.configure("sleep_seconds :: 600\n")         # a second later, not then
        self.drop("one", uow("true"))
        self.run_until_empty(env=env)
        self.assertEqual(self.where("one"), ["done-q"])

    @heavy
    def test_what_cannot_be_stamped_for_a_moment_is_tried_again_after_a_second_and_run_too(self):
        need("strace")
        self.drop("one", uow("true"))
        self.run_until_empty(prefix=("strace", "-qq", "-o", self.path(".trace"), "-P", self.path("currently-executing/.wait_q/.new.one"),
                                     "-e", "inject=fchmod:error=ENOMEM:when=1"))
        self.assertEqual(self.where("one"), ["done-q"])
        failed, started = [datetime.datetime.fromisoformat(re.search(r"^(\S+)Z" + said, self.says(), re.M).group(1))
                           for said in (" one in wait-q: Cannot allocate memory", " started one run ")]
        self.assertGreaterEqual((started - failed).total_seconds(), 0.9)

    def test_it_ends_while_hidden_names_come_and_go(self):
        with Writer(lambda number: self.write("wait-q/.%d" % number, ""), 0.1):
            self.drop("one", uow("true"))
            self.run_until_empty(seconds=20)
        self.assertEqual(self.where("one"), ["done-q"])


class TestWhatAJobIsGiven(QueueCase):
    def test_a_header_is_text_and_runs_nothing(self):
        self.configure('job_command :: printf "%s" "$UOW_TEXT" > got; printf "<%s>" $UOW_PLAIN\nrequired_names :: TEXT\n')
        text = "$(touch x) `touch y`; touch z | \"a\" 'b' \\ & $HOME ${IFS} * ~ :: %s\ttab \x1b[31m é"
        self.drop("quoted", "==== UNIT OF WORK\nTEXT :: %s\nTEXT :: second; $(touch x)\nPLAIN :: $(touch x) `touch y`; touch z\nPATH :: /nowhere\n"
                            "LD_PRELOAD :: /nowhere.so\nBASH_ENV :: /nowhere.sh\n" % text)
        self.run_until_empty()
        self.assertEqual(self.where("quoted"), ["done-q"], self.output())
        self.assertEqual(self.read("got"), text + "\nsecond; $(touch x)")
        for name in "xyz":
            self.assertFalse(os.path.lexists(self.path(name)), name)
        self.assertEqual(self.log("quoted"), b"<$(touch><x)><`touch><y`;><touch><z>")

    def test_a_script_is_several_command_lines(self):
        self.drop("script", uow("cat <<END\n  inner   spaces\n\nEND\nx=1\nif [ $x = 1 ]; then\n  echo one\nfi"))
        self.run_until_empty()
        self.assertEqual(self.log("script"), b"inner   spaces\n\none\n")

    # As `nohup` and `&` start a program, and some daemons: signals are ignored, or blocked.
    DEAF = ("env", "--ignore-signal=HUP,INT,QUIT,PIPE,CHLD,USR1,TSTP", "--block-signal=TERM,CHLD,IO")

    def test_a_monitor_that_was_started_deaf_hears_a_drop_an_end_and_a_stop(self):
        monitor = self.started(prefix=self.DEAF)
        self.drop("job", uow("exit 3"))
        self.assertEqual(self.ended("job"), "error-q")
        self.assertEqual(self.stop(monitor), 0)

    def test_environment_directory_stdin_and_session(self):
        name = "it's a\nname $(x)"
        self.drop(name, uow('printf "%s|%s|%s|%s|%s" "$SJQ_NAME" "$SJQ_FILE" "$SJQ_RUN" "$UOW_TICKET_NUMBER" "$PWD" > got\n'
                            'readlink /proc/self/fd/0 > stdin\nread -r line || echo end > ended\n'
                            'cut -d " " -f 6 /proc/$$/stat > sid; tty > tty; env | grep -c "^SJQ_KEEPER=" > keeper; ls /proc/self/fd > fds; '
                            'trap -p > traps; grep -E "^Sig(Blk|Ign)" /proc/self/status > signals', **{"Ticket Number": "7"}))
        self.write("monitor_reads", "")
        env = dict(os.environ, SJQ_STALE="x", UOW_STALE="y", NOTIFY_SOCKET="/nowhere")
        self.run_until_empty(env=env, prefix=self.DEAF)                                       # the job must not be
        self.assertEqual(self.where(name), ["done-q"], self.output())
        got = self.read("got").split("|")
        run = re.search(r"JOB START \S+ run (\S+)", self.read("done-q", name)).group(1)
        self.assertEqual(got, [name, self.path("currently-executing", name), run, "7", self.root])
        self.assertEqual((self.read("stdin"), self.read("ended")), ("/dev/null\n", "end\n"))
        self.assertNotEqual(int(self.read("sid")), os.getsid(0))
        self.assertEqual((self.read("tty"), self.read("keeper")), ("not a tty\n", "0\n"))
        self.assertEqual(self.read("fds").split()[:3], ["0", "1", "2"])
        self.assertLessEqual(len(self.read("fds").split()), 4)                                # the fourth is what ls reads
        own = 1 << 31 | 1 << 32                                                               # glibc's own two, which no program can set
        self.assertEqual([int(mask, 16) & ~own for mask in re.findall(r"\t(\w+)", self.read("signals"))], [0, 0])
        self.drop("env", uow("env"))
        self.run_until_empty(env=env)
        for stale in (b"SJQ_STALE", b"UOW_STALE", b"NOTIFY_SOCKET"):
            self.assertNotIn(stale, self.log("env"))
