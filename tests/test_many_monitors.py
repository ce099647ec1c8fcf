"""Several Monitors on one queue: each with its own currently-executing, message files and status, the rest shared."""
import fcntl
import os
import random
import re
import signal
import time

from tests.helpers import FINISHED, QueueCase, heavy, ran, sleeps_of, until, uow

# Each job appends a line, in one write, to a file of its own name: two lines are two runs.
ONCE = 'echo "$SJQ_RUN" >>".ran/$SJQ_NAME"'


class ManyCase(QueueCase):
    workers = 4

    def setUp(self):
        super().setUp()
        os.mkdir(self.path(".ran"))
        for worker in range(1, self.workers + 1):
            self.configure_worker(worker)

    def configure_worker(self, worker):
        own = "currently_executing :: executing-%d\nmonitor_reads :: reads-%d\nmonitor_says :: says-%d\n" % (worker, worker, worker)
        given = [line.split(" ::")[0] for line in self.config.splitlines()]
        base = "".join(line + "\n" for line in self.base.splitlines() if line.split(" ::")[0] not in given)
        self.write("worker-%d.txt" % worker, base + self.config + own)

    def start_worker(self, worker):
        return self.start(config="worker-%d.txt" % worker)

    def start_all(self):
        """Start all Monitors and wait until each listens."""
        monitors = {worker: self.start_worker(worker) for worker in range(1, self.workers + 1)}
        until(lambda: self.output().count(" started: pid ") == self.workers, self.output, 120)
        return monitors

    def drop_many(self, names, text):
        """Drop UOWs as one mv does: written elsewhere, then renamed one after another."""
        for name in names:
            self.write(".staging/" + name, text)
        for name in names:
            os.rename(self.path(".staging", name), self.path("wait-q", name))

    def finished(self):
        return [name for queue in FINISHED for name in os.listdir(self.path(queue))]

    def all_finished(self, count, seconds=120):
        until(lambda: len(self.finished()) >= count, lambda: "%d of %d finished\n%s" % (len(self.finished()), count, self.output()[-3000:]), seconds, 0.1)

    def runs_of(self, name):
        return self.read(".ran", name).split() if os.path.exists(self.path(".ran", name)) else []

    def says_all(self):
        return "".join(self.read("says-%d" % worker) for worker in range(1, self.workers + 1) if os.path.exists(self.path("says-%d" % worker)))

    def check(self, *configs):
        code, output, errors = ran("--check", *map(self.path, configs))
        return code, output + errors


class TestShared(ManyCase):
    def test_each_uow_is_run_by_exactly_one(self):
        names = ["job%03d" % i for i in range(60)]
        monitors = self.start_all()
        meet = "until set -- .ran/*; [ $# -ge %d ]; do sleep 0.02; done" % self.workers       # so that each Monitor has one
        self.drop_many(names, uow(ONCE + "\n" + meet))
        self.all_finished(len(names))
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), names)
        self.assertEqual([name for name in names if len(self.runs_of(name)) != 1], [])
        shares = [self.read("says-%d" % worker).count(" started job") for worker in monitors]
        self.assertEqual(sum(shares), len(names))
        self.assertTrue(all(shares), "every Monitor had one: %s" % shares)
        self.assertEqual([self.stop(monitor) for monitor in monitors.values()], [0] * self.workers)
        self.assertEqual(os.listdir(self.path("trash")), [])

    @heavy
    def test_the_oldest_is_started_first_whichever_monitor_takes_it(self):
        """START times follow the names, which follow the time of the drop; 600 are three batches of stamps."""
        names = ["job%03d" % i for i in range(600)]
        self.start_all()
        self.drop_many(names, uow("true"))
        self.all_finished(len(names))
        began = {name: re.search(r"JOB START (\S+)", self.read("done-q", name)).group(1) for name in names}
        enqueued = {name: self.read("done-q", name).split()[2] for name in names}
        order = sorted(names, key=began.get)
        late = [(before, after) for before, after in zip(order, order[1:]) if enqueued[before] > enqueued[after]]
        self.assertEqual(late, [])

    @heavy
    def test_priority_q_is_emptied_first_by_all(self):
        self.drop_many(["plain%02d" % i for i in range(40)], uow("true"))
        for i in range(40):
            self.drop("first%02d" % i, uow("true"), queue="priority-q")
        self.start_all()
        self.all_finished(80)
        began = {name: re.search(r"JOB START (\S+)", self.read("done-q", name)).group(1) for name in self.finished()}
        order = sorted(began, key=began.get)
        self.assertEqual([name[:5] for name in order], ["first"] * 40 + ["plain"] * 40)

    @heavy
    def test_trash_and_readme_races_are_harmless(self):
        for i in range(60):
            self.drop("bad%02d" % i, "no heading\n")
            self.drop("good%02d" % i, uow(ONCE))
        for i in range(6):
            os.utime(self.drop("README" + "." * (i > 0) + "x" * i, "%d\n" % i), (1000 + i, 1000 + i))
        self.start_all()
        self.all_finished(60)
        until(lambda: len(os.listdir(self.path("trash"))) == 65, lambda: "%s\n%s" % (sorted(os.listdir(self.path("trash"))), self.output()[-3000:]))
        self.assertEqual(sorted(os.listdir(self.path("wait-q"))), ["README.xxxxx"])
        self.assertEqual(sorted(os.listdir(self.path("trash"))),
                         ["README"] + ["README." + "x" * i for i in range(1, 5)] + ["bad%02d" % i for i in range(60)])
        self.assertEqual(len(set(re.findall(r"(\S+) in wait-q goes to trash: ", self.says_all()))), 65)
        self.assertEqual([i for i in range(60) if len(self.runs_of("good%02d" % i)) != 1], [])
        self.assertNotIn("Traceback", self.output())

    def test_a_name_that_several_file_at_once_is_never_overwritten(self):
        """Four jobs of one name in four hands end together."""
        monitors = self.start_all()
        for i in range(self.workers):
            self.drop("same", uow("echo %d; until test -e .go; do sleep 0.05; done" % i))
            until(lambda: self.says_all().count(" started same ") == i + 1, self.output)
        self.write(".go", "")
        self.all_finished(self.workers)
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["same", "same.2", "same.3", "same.4"])
        logs = sorted(re.search(r"JOB START.*\n(.)", self.read("done-q", name)).group(1) for name in self.finished())
        self.assertEqual(logs, ["0", "1", "2", "3"])
        self.assertEqual(len(monitors), self.workers)

    def test_a_kill_of_one_leaves_the_others_at_work(self):
        """Its job goes on, is nobody else's, and is adopted when it is started again."""
        monitors = self.start_all()
        self.drop("long", uow("until test -e .go; do sleep 0.05; done"))
        until(lambda: " started long " in self.says_all(), self.output)
        holder = next(w for w in monitors if os.path.exists(self.path("says-%d" % w)) and " started long " in self.read("says-%d" % w))
        self.kill9(monitors[holder])
        self.drop_many(["job%02d" % i for i in range(20)], uow(ONCE))
        self.all_finished(20)
        self.assertEqual(self.read("executing-%d" % holder, "long").count("JOB START"), 1)
        self.start_worker(holder)
        until(lambda: "adopted long " in self.read("says-%d" % holder), self.output)
        self.write(".go", "")
        self.all_finished(21)


@heavy
class TestFifty(ManyCase):
    workers, config = 50, "sleep_seconds :: 60\n"

    def test_fifty_monitors_on_one_queue_run_each_uow_once_then_sleep_and_stop(self):
        """A job of the first submits two hundred more, some of them no UOWs."""
        names = ["job%03d" % i for i in range(200)]
        submit = ("for i in $(seq -w 0 199); do printf '==== UNIT OF WORK\\nCOMMAND :: echo $SJQ_RUN >> .ran/$SJQ_NAME\\n' > wait-q/.job$i\n"
                  "mv wait-q/.job$i wait-q/job$i; done; for i in 1 2 3; do echo nonsense > wait-q/bad$i; done")
        monitors = self.start_all()
        pids = [monitor.pid for monitor in monitors.values()]
        self.drop("first", uow(submit))
        self.all_finished(201)
        until(lambda: len(os.listdir(self.path("trash"))) == 3, self.output, 60)
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["first"] + names)
        self.assertEqual([name for name in names if len(self.runs_of(name)) != 1], [])
        sleeps = [list(map(sleeps_of, pids))]
        until(lambda: sleeps.append(list(map(sleeps_of, pids))) or sleeps[-1] == sleeps[-2], "all of them sleep", 120, step=0.5)
        for monitor in monitors.values():
            monitor.send_signal(signal.SIGTERM)
        self.assertEqual([self.stop(monitor) for monitor in monitors.values()], [0] * self.workers)
        self.assertNotIn("Traceback", self.output())


class TestUntilEmpty(ManyCase):
    workers = 2
    config = "durable :: yes\n"                           # to stamp takes longer than to look

    @heavy
    def test_one_does_not_end_while_another_has_uows_aside_to_stamp_them(self):
        stamps = self.start_worker(1)
        self.write("reads-1", "PAUSE\n")
        until(lambda: "paused: " in self.says_all(), self.output)
        names, aside = [], self.path("executing-1", ".wait_q")
        while not (os.path.isdir(aside) and os.listdir(aside)):          # else it was done before it was stopped
            self.assertLess(len(names), 2000)
            stamps.send_signal(signal.SIGSTOP)
            for _ in range(90):
                names.append("job%03d" % len(names))
                self.drop(names[-1], uow(ONCE))
            before = len(os.listdir(self.path("wait-q")))
            stamps.send_signal(signal.SIGCONT)
            until(lambda: len(os.listdir(self.path("wait-q"))) <= before - 90, self.output, step=0.001)
            stamps.send_signal(signal.SIGSTOP)
        ends = self.start("--until-empty", config="worker-2.txt")
        for count in (1, 2, 3):                          # it answers each in another cycle
            self.write("reads-2", "STATUS\n")
            until(lambda: self.says_all().count("counts: ") == count or ends.poll() is not None, self.output)
            self.assertIsNone(ends.poll(), self.output())
        stamps.send_signal(signal.SIGCONT)
        self.assertEqual(ends.wait(120), 0, self.output())
        self.assertEqual((os.listdir(self.path("wait-q")), os.listdir(aside)), ([], []))
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), names)
        self.assertEqual([name for name in names if len(self.runs_of(name)) != 1], [])


class TestTurn(ManyCase):
    workers = 2

    def test_what_arrives_while_the_turn_is_waited_for_is_not_forgotten(self):
        """What was to be taken aside before is stamped and run by the other Monitor meanwhile."""
        turn = "        if not take_turn(m):\n            return\n        try:\n            with lasting(m, key"
        waits = "        if names and not os.path.exists('waits'):\n            open('waits', 'w')\n            while not os.path.exists('on'): time.sleep(0.01)\n"
        self.started(config="worker-2.txt", program=self.changed(turn, waits + turn))
        self.drop("first", uow(ONCE))
        self.there("waits")
        self.run_until_empty(config="worker-1.txt")
        self.assertEqual(len(self.runs_of("first")), 1)
        for name in ("second", "third"):
            self.drop(name, uow(ONCE))
        until(lambda: time.time() - os.stat(self.path("wait-q", "third")).st_ctime > 0.3, "they have kept still")
        self.write("on", "")
        self.all_finished(3, seconds=20)
        self.assertEqual([len(self.runs_of(name)) for name in ("second", "third")], [1, 1])

    def test_refusals_now_and_then_are_no_turn_that_does_not_end(self):
        program = self.changed("TURN_PATIENCE = 5 ", "TURN_PATIENCE = 1 ")
        for worker in (1, 2):
            self.started(config="worker-%d.txt" % worker, program=program)
        for number in range(400):
            self.drop("job%03d" % number, uow("sleep 0.01"))
        self.all_finished(400)
        self.assertNotIn("another process has the turn", self.says_all())

    def test_monitors_whose_turn_file_was_replaced_wait_for_each_other_by_the_new_one(self):
        program = self.changed("TURN_PATIENCE = 5 ", "TURN_PATIENCE = 0.3 ")
        for worker in (1, 2):
            self.started(config="worker-%d.txt" % worker, program=program)
        self.drop("first", uow("true"))
        self.all_finished(1)
        os.unlink(self.path(".turn"))
        self.write(".turn", "")
        waits = "another process has the turn"
        with open(self.path(".turn")) as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            for i in range(4):
                self.drop("job%d" % i, uow(ONCE))
            until(lambda: os.listdir(self.path(".ran")) or all(waits in self.read("says-%d" % worker) for worker in (1, 2)), self.output)
            self.assertEqual(os.listdir(self.path(".ran")), [], self.output())
        self.all_finished(5)
        self.assertEqual([len(self.runs_of("job%d" % i)) for i in range(4)], [1] * 4)


@heavy
class TestKilled(ManyCase):
    def test_two_thousand_jobs_and_kill_9_in_between(self):
        """Nothing is lost and nothing runs twice, whichever of four Monitors dies, whenever."""
        names, chance = ["job%04d" % i for i in range(2000)], random.Random(7)
        monitors, killed = self.start_all(), 0
        for i in range(0, 2000, 400):
            self.drop_many(names[i:i + 400], uow(ONCE))
        end = time.monotonic() + 240
        while len(self.finished()) < len(names):
            self.assertLess(time.monotonic(), end, "%d finished\n%s" % (len(self.finished()), self.output()[-3000:]))
            time.sleep(chance.uniform(0.01, 0.4))
            if killed < 60:
                worker = chance.choice(list(monitors))
                self.kill9(monitors[worker])
                monitors[worker], killed = self.start_worker(worker), killed + 1
        for monitor in monitors.values():
            self.assertEqual(self.stop(monitor), 0, self.output()[-3000:])
        self.assertGreater(killed, 20)
        self.assertEqual(sorted(self.finished()), names)
        self.assertEqual(os.listdir(self.path("trash")), [])
        twice = [name for name in names if len(self.runs_of(name)) > 1]
        never = [name for name in os.listdir(self.path("done-q")) if not self.runs_of(name)]
        self.assertEqual((twice, never), ([], []))
        # Where a Monitor died between START and the job, nobody can know: it says so, and such are few.
        self.assertEqual({self.status(name) for name in os.listdir(self.path("fail-q"))} - {"fail: interrupted"}, set())
        self.assertEqual(os.listdir(self.path("error-q")), [])
        self.assertLessEqual(len(os.listdir(self.path("fail-q"))), killed)
        self.assertEqual(self.check(*["worker-%d.txt" % worker for worker in monitors]), (0, "all is well\n"))


class TestCheck(ManyCase):
    workers = 2

    def setUp(self):
        super().setUp()
        for worker in (1, 2):
            os.mkdir(self.path("executing-%d" % worker))

    def test_all_is_well_beside_working_monitors(self):
        self.start_all()
        self.assertEqual(self.check("worker-1.txt", "worker-2.txt"), (0, "all is well\n"))

    def test_one_configuration_alone_is_checked_as_before(self):
        self.assertEqual(self.check("worker-2.txt"), (0, "all is well\n"))

    def test_what_two_must_not_share_is_named(self):
        self.write("worker-2.txt", self.read("worker-1.txt"))
        code, text = self.check("worker-1.txt", "worker-2.txt")
        self.assertEqual(code, 1)
        for key in ("currently_executing", "monitor_reads", "monitor_says"):
            self.assertRegex(text, r"worker-2\.txt: %s is that of \S*worker-1\.txt, too; expected one for each Monitor" % key)

    def test_no_status_for_either_is_not_a_status_shared(self):
        self.assertNotIn("status_dir", self.check("worker-1.txt", "worker-2.txt")[1])

    def test_a_uow_in_the_hands_of_two_is_found(self):
        for worker in (1, 2):
            self.write("executing-%d/twin" % worker, uow("true"))
        code, text = self.check("worker-1.txt", "worker-2.txt")
        self.assertEqual((code, text), (1, "twin is in executing-1 and in executing-2\n"))

    def test_a_shared_directory_is_judged_once(self):
        self.write("done-q/odd", "nothing\n")
        self.assertEqual(self.check("worker-1.txt", "worker-2.txt")[1].count("odd is no valid UOW"), 1)

    def test_what_a_dead_monitor_had_in_hand_is_named(self):
        os.mkdir(self.path("executing-2/.wait_q"))
        self.write("executing-2/.wait_q/left", uow("true"))
        code, text = self.check("worker-1.txt", "worker-2.txt")
        self.assertEqual(code, 1)
        self.assertRegex(text, r"^left lies in \S*executing-2/\.wait_q, and no Monitor has it in hand; start one with \S*worker-2\.txt")

    def test_another_root_is_another_turn(self):
        os.mkdir(self.path("elsewhere"))
        self.write("elsewhere/config.txt", "".join("%s :: %s\n" % (key, self.path(name)) for key, name in (
            ("wait_q", "wait-q"), ("priority_q", "priority-q"), ("done_q", "done-q"), ("error_q", "error-q"), ("fail_q", "fail-q"), ("trash", "trash"), ("archive", "archive"))))
        os.mkdir(self.path("elsewhere/currently-executing"))
        code, text = self.check("worker-1.txt", "elsewhere/config.txt")
        self.assertEqual(code, 1)
        self.assertRegex(text, r"elsewhere/config\.txt shares wait_q with \S*worker-1\.txt from another directory; the order of starting is kept between configurations in one")
