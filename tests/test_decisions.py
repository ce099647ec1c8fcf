"""The decisions as truth tables: one row a case, a legend above each table."""
import os
import signal
from types import SimpleNamespace

from tests.test_uow import T0, Table                     # also puts the checkout on the path
import monitor
from monitor import Process, Wrong

NEVER = float("inf")


class TestOutcome(Table):
    def test_outcome(self):
        # exit code of the keeper, whether END is there, what else is known -> STATUS. All took 2.04 s
        def check(code, ended, known, status):
            self.assertEqual(monitor.outcome(code, 2.04, ended=ended, **known), status)
        exits, found = dict(fail_exit_codes=[4, 255, 137]), dict(hit="fail")
        killed = dict(reason="timed out after 1800 s")
        self.rows([
            (0, True, {}, "done: exit 0 after 2.0 s"),
            (0, True, dict(used=", cpu 8.1 s, 34 MiB"), "done: exit 0 after 2.0 s, cpu 8.1 s, 34 MiB"),
            (3, True, {}, "error: exit 3 after 2.0 s"), (127, True, {}, "error: exit 127 after 2.0 s"),
            (0, True, dict(hit="error", used=", 9 MiB"), "error: exit 0 after 2.0 s, 9 MiB, error_pattern found"),
            (3, True, dict(hit="error"), "error: exit 3 after 2.0 s, error_pattern found"),
            (0, True, found, "fail: exit 0 after 2.0 s, fail_pattern found"),
            (3, True, found, "fail: exit 3 after 2.0 s, fail_pattern found"),
            (255, True, exits, "fail: exit 255 after 2.0 s"),
            (4, True, dict(exits, **found), "fail: exit 4 after 2.0 s"), (5, True, exits, "error: exit 5 after 2.0 s"),
            (0, True, exits, "done: exit 0 after 2.0 s"),
            (139, True, dict(used=", cpu 0.1 s"), "fail: killed by SIGSEGV after 2.0 s, cpu 0.1 s"),
            (137, True, dict(exits, **found), "fail: killed by SIGKILL after 2.0 s"),
            (129, True, {}, "error: exit 129 after 2.0 s"), (141, True, {}, "error: exit 141 after 2.0 s"),
            (193, True, {}, "error: exit 193 after 2.0 s"), (137, True, killed, "fail: timed out after 1800 s"),
            (0, True, dict(killed, **found), "fail: timed out after 1800 s"),
            (None, False, dict(reason="killed by message"), "fail: killed by message"),
            (None, False, {}, "fail: interrupted"), (None, False, found, "fail: interrupted"),
            (-9, False, {}, "fail: killed by SIGKILL after 2.0 s"),  # the keeper itself
            (0, False, {}, "fail: exit 0, log incomplete"), (137, False, {}, "fail: exit 137, log incomplete"),
            (4, False, exits, "fail: exit 4, log incomplete"), (0, False, killed, "fail: timed out after 1800 s"),
        ], check)

    def test_the_queue_of_each_outcome_fits_its_status(self):
        """Whatever the numbers are, the line is not cut, but for a pattern that is found behind the largest of them."""
        for status in (monitor.outcome(0, 1e7, ended=True, used=", cpu 99999999.9 s, 1048576 MiB"),
                       monitor.outcome(11, 1e7, ended=True, hit="error", used=", cpu 9999.9 s, 999 MiB"),
                       monitor.outcome(-9, 1e7, ended=False, used=", cpu 99999999.9 s, 1048576 MiB"),
                       monitor.running_status(T0, "timed out after 999999999 s")):
            self.assertLessEqual(len(status), monitor.STATUS_WIDTH, status)

    def test_died_by_signal(self):
        # exit code -> the signal, by the shell's convention
        for code in range(256):
            number = code - 128 if 130 <= code <= 192 and code != 141 else 0
            self.assertEqual(monitor.died_by_signal(code), number, code)

    def test_signal_name(self):
        self.rows([(11, "SIGSEGV"), (9, "SIGKILL"), (33, "signal 33"), (63, "signal 63"), (signal.SIGTERM, "SIGTERM")],
                  lambda number, name: self.assertEqual(monitor.signal_name(number), name))


class TestInHand(Table):
    def test_kind_in_hand(self):
        # of one without a link: STATUS, whether .run was there, whether its name is of another's link -> what it is
        running, killed = monitor.running_status(T0), monitor.running_status(T0, "killed by message")
        self.rows([
            ("", True, False, "claimed"), ("done: exit 0 after 1.0 s", True, False, "claimed"),     # a rerun
            ("fail: interrupted", True, False, "claimed"), ("waiting: for Bob", True, False, "claimed"),
            (running, True, False, "begun"), (killed, True, False, "begun"), ("running", True, False, "begun"),
            ("", False, False, "begun"), ("done: x", False, False, "begun"),        # .run was lost: nobody knows
            ("", True, True, "copy"), ("done: x", True, True, "copy"),
            (running, True, True, "copy"),                          # saved as it ran
        ], lambda *known: self.assertEqual(monitor.kind_in_hand(*known[:-1]), known[-1]))

    def test_is_outcome(self):
        # STATUS of a run that has begun, whether its END is in the log -> whether that is its outcome
        self.rows([
            ("done: exit 0 after 1.0 s", True, True), ("done: exit 0 after 1.0 s", False, False),  # of an earlier run
            ("error: exit 3 after 1.0 s", True, True), ("error: exit 3 after 1.0 s", False, False),
            ("fail: interrupted", False, True), ("fail: exit 4 after 1.0 s", True, True), ("", True, False),
            ("", False, False), (monitor.running_status(T0), True, False), ("doneish: x", True, False),
            ("Done: x", True, False),
        ], lambda status, ended, so: self.assertIs(monitor.is_outcome(status, ended), so))

    def test_awaits_rest(self):
        # what is so -> whether what a job left running is waited for
        def check(so, waits):
            known = {word: word in so.split() for word in ("clean", "ended", "killed")}
            self.assertIs(monitor.awaits_rest(**known), waits)
        self.rows([
            ("clean ended", False), ("clean", False), ("ended", False),      # nobody waits for a daemon
            ("", True),                                                      # the keeper died: this is the job
            ("killed", True), ("clean killed", True), ("ended killed", True), ("clean ended killed", True),
        ], check)

    def test_stage(self):
        # what is so, seconds since the log last grew, grace -> how far the run is
        def check(so, still_for, grace, step):
            known = {word: word in so.split() for word in ("tee", "rest", "ended")}
            self.assertEqual(monitor.stage(still_for=still_for, grace=grace, **known), step)
        self.rows([
            ("tee", 0, 10, "output"), ("tee", 9.9, 10, "output"), ("tee", 10, 10, "over"), ("tee", 0, 0, "over"),
            ("tee ended", 0, 10, "over"),                           # the pipe is held by what was left running
            ("ended", 0, 10, "over"), ("", 0, 10, "over"),          # tee is gone: the log stays incomplete
            ("tee rest ended", 99, 10, "job"), ("rest", 99, 10, "job"), ("tee rest", 0, 10, "job"),
        ], check)

    def test_killing(self):
        # now, when its time is up, why it is being killed, when TERM becomes KILL, grace -> what it gets
        why = "killed by message"
        self.rows([
            (100, NEVER, "", None, 10, ""), (100, 100.1, "", None, 10, ""), (100, 100, "", None, 10, "term"),
            (100, NEVER, why, None, 10, "term"), (100, 50, why, None, 10, "term"),  # an earlier Monitor had decided so
            (100, 50, why, 110, 10, "grace"), (109.9, NEVER, why, 110, 10, "grace"), (110, NEVER, why, 110, 10, "kill"),
            (121, NEVER, why, 110, 10, "kill"), (121.1, NEVER, why, 110, 10, "late"), (100, NEVER, why, 100, 0, "kill"),
        ], lambda *known: self.assertEqual(monitor.killing(*known[:-1]), known[-1]))

    def test_belonging(self):
        # processes as pid, parent, session, and `m` for marked, `k` for the keeper; those held before -> which belong
        def check(there, held, pids):
            processes = [Process(pid, parent, session, "m" in how, "bash" if "k" in how else "", 0, "")
                         for pid, parent, session, how in there]
            self.assertEqual(monitor.belonging(processes, set(held)), set(pids))
        init, other, keeper, job = (1, 0, 1, ""), (9, 1, 9, ""), (20, 5, 20, "mk"), (21, 20, 20, "m")
        self.rows([
            ([], [], []), ([init, other], [], []), ([init, other, keeper, job], [], [20, 21]),
            ([init, keeper, job, (22, 21, 20, "")], [], [20, 21, 22]),  # env -i: in the session
            # sudo's children
            ([init, (21, 1, 20, "m"), (22, 21, 22, ""), (23, 22, 23, ""), (24, 23, 24, "")], [], [21, 22, 23, 24]),
            ([init, keeper, (22, 1, 22, "m")], [], [20, 22]),       # a daemon
            ([init, keeper, (22, 1, 22, "")], [], [20]),            # all of it shed: escapes
            ([init, keeper, (22, 1, 22, ""), (23, 22, 22, "")], [22], [20, 22, 23]),  # but what was held is known
            ([init, keeper, (22, 1, 20, "")], [], [20, 22]),
            ([init, (30, 5, 30, ""), (20, 30, 20, "mk")], [], [20]),  # never a parent
            ([init, (21, 1, 20, "m"), (22, 1, 20, "")], [], [21]),  # a session without its keeper may be anybody's
            ([(21, 22, 5, "m"), (22, 21, 5, "")], [], [21, 22]),    # numbers that went round end all the same
        ], check)


class TestTheQueues(Table):
    def test_needs_stamp(self):
        # time, end of the JOB LOG line, where the padded STATUS is, STATUS, whether the file is ours -> whether it does
        def check(enqueued, log_at, status_at, status, ours, needs):
            found = monitor.NO_UOW._replace(enqueued=enqueued, log_at=log_at, status_at=status_at, status=status)
            self.assertIs(monitor.needs_stamp(found, ours), needs)
        self.rows([
            (T0, 200, 100, "", True, False), (0, 200, 100, "", True, False), (T0, 200, 0, "", True, False),
            (T0, 200, 100, "done: exit 0 after 1.0 s", True, False),  # a rerun needs no edit
            (None, 200, 100, "", True, True), (T0, 0, 100, "", True, True), (T0, 200, -1, "", True, True),
            (T0, 200, 100, "", False, True),
        ], check)

    def test_moved(self):
        # the inode before, then there and here, 0 for none -> what `mv` has done
        self.rows([
            (7, 7, 0, "moved"), (7, 7, 9, "moved"),                 # somebody has dropped another one in its place
            (7, 9, 0, "moved"),  # swapped in at the last moment: a caller that cares looks
            (7, 9, 7, "taken"), (7, 9, 8, "taken"), (7, 0, 0, "gone"), (7, 0, 7, "failed"), (7, 0, 9, "failed"),
        ], lambda was, there, left, word: self.assertEqual(monitor.moved(was, there, left), word))

    def test_free_name(self):
        # name, which -> name there
        long, wide = "n" * 255, "ż" * 127 + "x"                       # both 255 bytes
        self.rows([
            ("x", 1, b"x"), ("x", 2, b"x.2"), ("x.tar.gz", 3, b"x.tar.gz.3"), ("x", 12345, b"x.12345"),
            (long, 1, long.encode()), (long, 2, b"n" * 253 + b".2"), (long, 100, b"n" * 251 + b".100"),
            ("n" * 253, 2, b"n" * 253 + b".2"), ("n" * 254, 2, b"n" * 253 + b".2"),
            (wide, 2, wide.encode()[:253] + b".2"),                 # a character may be cut: bytes are what counts
            (os.fsdecode(b"\xff" * 255), 2, b"\xff" * 253 + b".2"),
        ], lambda name, number, there: self.assertEqual(os.fsencode(monitor.free_name(name, number)), there))

    def test_settles_in(self):
        # wall clock now, seen like this for, changed at, quiet time -> seconds until it has kept still
        self.rows([
            (100, 0, 100, 1, 1), (100.5, 0, 100, 1, 0.5), (100.5, 0.2, 100, 1, 0.5), (101, 0, 100, 1, 0),
            (200, 0, 100, 1, -99), (100, 0, 5000, 1, 1),  # the file's time lies ahead: what was seen here counts
            (100, 0.7, 5000, 1, 0.3), (100, 1, 5000, 1, 0),
            (100, 2, 99.9, 1, -1),  # a clock that was set back: no longer than the quiet time
            (100, 0, 100, 0, 0),
        ], lambda *known: self.assertAlmostEqual(monitor.settles_in(*known[:-1]), known[-1]))

    def test_next_look(self):
        # lasted, least, most -> seconds
        self.rows([
            (0, 0.1, 15, 0.1), (20, 0.1, 15, 2), (999, 0.1, 15, 15), (-5, 0.1, 15, 0.1), (0, 3, 1, 1),
        ], lambda *known: self.assertEqual(monitor.next_look(*known[:-1]), known[-1]))

    def test_next_waiting(self):
        # what each queue has: names that can start, names that settle, names in trouble -> which is next
        def queue(key, ready, settling, troubled, m):
            made = monitor.Queue(key, "/" + key)
            for inode, name in enumerate(ready + settling + troubled, 1):
                made.files[name] = monitor.File(inode, T0)
            for name in ready:
                made.can_start(name, T0, True)
            paths = ["/%s/%s" % (key, name) for name in troubled]
            m.wrong.update({"file " + path: Wrong("", 0, 0, path, 1) for path in paths})
            return made

        def check(priority, wait, following):
            m = SimpleNamespace(wrong={})
            m.queues = [queue("priority_q", *map(str.split, priority), m), queue("wait_q", *map(str.split, wait), m)]
            found = monitor.next_waiting(m)
            self.assertEqual(found and (m.queues.index(found[0]), found[2]), following)
        self.rows([
            (("", "", ""), ("", "", ""), None), (("", "", ""), ("b a", "", ""), (1, "a")),
            (("p", "", ""), ("a", "", ""), (0, "p")), (("p", "q", ""), ("a", "b", ""), (0, "p")),
            (("", "q", ""), ("a", "", ""), None),                   # one that settles in priority-q comes first
            (("", "", "q"), ("a", "", ""), (1, "a")),               # one that cannot be read keeps nothing waiting
            (("", "r", "q"), ("a", "", ""), None), (("", "", ""), ("", "b", ""), None),
        ], check)

    def test_a_queue_in_order(self):
        """Times first, then names; what has changed or gone is passed over, what was checked twice stands once."""
        queue = monitor.Queue("wait_q", "/wait-q")
        known = [("c", 1, True), ("b", 2, False), ("a", 2, True), ("gone", 0, True), ("new", 0, False)]
        for inode, (name, seconds, stamped) in enumerate(known):
            queue.files[name] = monitor.File(inode, T0)
            queue.can_start(name, T0 + seconds, stamped)
        del queue.files["gone"]
        queue.look_again("new", 1.0)
        queue.look_again("c", 1.0)
        queue.can_start("c", T0 + 1, True)
        self.assertEqual([name for _, name, _ in queue.in_order(9)], ["c", "a", "b"])
        self.assertEqual([name for _, name, _ in queue.in_order(2)], ["c", "a"])
        self.assertEqual([name for _, name, _ in queue.to_stamp(9)], ["b"])


class TestTheMonitor(Table):
    def test_exits(self):
        # what is so -> when it is to exit
        words = ("stopping", "finishing", "until_empty", "busy")
        def check(so, when):
            self.assertEqual(monitor.exits(**{word: word in so.split() for word in words}), when)
        self.rows([
            ("", ""), ("busy", ""), ("stopping", "now"), ("stopping busy", "now"), ("finishing", "now"),
            ("finishing busy", ""), ("until_empty", "empty"), ("until_empty busy", ""),
            ("until_empty finishing", "now"), ("until_empty stopping busy", "now"),
        ], check)

    def test_state_word(self):
        # what is so -> the state
        words = ("stopping", "running", "paused", "waits")
        def check(so, state):
            self.assertEqual(monitor.state_word(**{word: word in so.split() for word in words}), state)
        self.rows([
            ("", "idle"), ("waits", "waiting"), ("paused waits", "paused"), ("paused", "paused"),
            ("running paused waits", "running"), ("running", "running"), ("stopping running paused waits", "stopped"),
            ("stopping", "stopped"),
        ], check)
