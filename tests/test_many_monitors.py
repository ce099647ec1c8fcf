"""Several Monitors on one queue: each with its own currently-executing, message files and status, the rest shared."""
import os
import re
import signal

from tests.helpers import FINISHED, QueueCase, heavy, ran, until, uow


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
        own = "".join("%s :: %s-%d\n" % (key, name, worker) for key, name in (
            ("currently_executing", "executing"), ("monitor_reads", "reads"), ("monitor_says", "says")))
        self.configure(self.config + own)
        os.rename(self.path("config.txt"), self.path("worker-%d.txt" % worker))

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

    def visible(self, *places):
        return [name for place in places for name in os.listdir(self.path(place)) if not name.startswith(".")]

    def finished(self):
        return self.visible(*FINISHED)

    def all_finished(self, count, seconds=120):
        until(lambda: len(self.finished()) >= count,
              lambda: "%d of %d finished\n%s" % (len(self.finished()), count, self.output()[-3000:]), seconds, 0.1)

    def runs_of(self, name):
        return self.read(".ran", name).split() if os.path.exists(self.path(".ran", name)) else []

    def says_of(self, worker):
        return self.read("says-%d" % worker) if os.path.exists(self.path("says-%d" % worker)) else ""

    def says_all(self):
        return "".join(map(self.says_of, range(1, self.workers + 1)))

    def not_once(self, names):
        """Return which of these jobs did not run exactly once."""
        return [name for name in names if len(self.runs_of(name)) != 1]

    def check(self, *configs):
        code, output, errors = ran("--check", *map(self.path, configs))
        return code, output + errors


class TestShared(ManyCase):
    def test_each_uow_is_run_by_exactly_one(self):
        names = ["job%03d" % i for i in range(60)]
        monitors = self.start_all()
        # So that each Monitor has one.
        meet = "until set -- .ran/*; [ $# -ge %d ]; do sleep 0.02; done" % self.workers
        self.drop_many(names, uow(ONCE + "\n" + meet))
        self.all_finished(len(names))
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), names)
        self.assertEqual(self.not_once(names), [])
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
    def test_trash_and_readme_races_are_harmless(self):
        for i in range(60):
            self.drop("bad%02d" % i, "no heading\n")
            self.drop("good%02d" % i, uow(ONCE))
        for i in range(6):
            os.utime(self.drop("README" + "." * (i > 0) + "x" * i, "%d\n" % i), (1000 + i, 1000 + i))
        self.start_all()
        self.all_finished(60)
        readmes = ["README"] + ["README." + "x" * i for i in range(1, 5)]
        until(lambda: len(os.listdir(self.path("trash"))) == 65, lambda: self.output()[-3000:])
        self.assertEqual(os.listdir(self.path("wait-q")), ["README.xxxxx"])
        self.assertEqual(sorted(os.listdir(self.path("trash"))), readmes + ["bad%02d" % i for i in range(60)])
        self.assertEqual(self.not_once("good%02d" % i for i in range(60)), [])
        self.assertNotIn("Traceback", self.output())

    def test_a_name_that_several_file_at_once_is_never_overwritten(self):
        """Four jobs of one name in four hands end together."""
        self.start_all()
        for i in range(self.workers):
            self.drop("same", uow("echo %d; until test -e .go; do sleep 0.05; done" % i))
            until(lambda: self.says_all().count(" started same ") == i + 1, self.output)
        self.write(".go", "")
        self.all_finished(self.workers)
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["same", "same.2", "same.3", "same.4"])
        logs = sorted(re.search(r"JOB START.*\n(.)", self.read("done-q", name)).group(1) for name in self.finished())
        self.assertEqual(logs, ["0", "1", "2", "3"])

    def test_a_kill_of_one_leaves_the_others_at_work(self):
        """Its job goes on, is nobody else's, and is adopted when it is started again."""
        monitors = self.start_all()
        self.drop("long", uow("until test -e .go; do sleep 0.05; done"))
        until(lambda: " started long " in self.says_all(), self.output)
        holder = next(worker for worker in monitors if " started long " in self.says_of(worker))
        self.kill9(monitors[holder])
        self.drop_many(["job%02d" % i for i in range(20)], uow(ONCE))
        self.all_finished(20)
        self.assertEqual(self.read("executing-%d" % holder, "long").count("JOB START"), 1)
        self.start_worker(holder)
        until(lambda: "adopted long " in self.read("says-%d" % holder), self.output)
        self.write(".go", "")
        self.all_finished(21)


class TestTurn(ManyCase):
    workers = 2

    def test_a_monitor_that_is_stopped_while_it_has_the_lock_makes_the_others_wait_and_say_so(self):
        """They have what it does take place again once it goes on: nothing is lost and nothing runs twice."""
        lock = "        yield later\n"
        stops = "        if not later and not os.path.exists('stopped'):\n            open('stopped', 'w')\n" \
                "            os.kill(os.getpid(), signal.SIGSTOP)\n"
        stopped = self.started(config="worker-1.txt", program=self.changed(lock, stops + lock))
        names = ["job%d" % i for i in range(4)]
        self.drop_many(names, uow(ONCE))
        self.there("stopped")
        self.started(config="worker-2.txt", program=self.changed("TURN_PATIENCE = 5 ", "TURN_PATIENCE = 0.3 "))
        until(lambda: "fuser -v " + self.path(".turn") in self.says_of(2), self.output)
        self.assertEqual((os.listdir(self.path(".ran")), self.says_of(2).count("fuser")), ([], 1))
        stopped.send_signal(signal.SIGCONT)
        self.all_finished(4)
        self.assertEqual(self.not_once(names), [])
        until(lambda: "the lock on .turn is free again" in self.says_of(2), self.output)


class TestCheck(ManyCase):
    workers = 2

    def setUp(self):
        super().setUp()
        for worker in (1, 2):
            os.mkdir(self.path("executing-%d" % worker))

    def test_what_two_must_not_share_is_named(self):
        self.write("worker-2.txt", self.read("worker-1.txt"))
        code, text = self.check("worker-1.txt", "worker-2.txt")
        self.assertEqual(code, 1)
        for key in ("currently_executing", "monitor_reads", "monitor_says"):
            self.assertRegex(text, r"worker-2\.txt and \S*worker-1\.txt have the same %s" % key)
        self.assertNotIn("status_dir", text)                 # neither has one

    def test_a_uow_in_the_hands_of_two_is_found_and_what_is_shared_is_told_once(self):
        self.start_all()
        self.assertEqual(self.check("worker-1.txt", "worker-2.txt"), (0, "all is well\n"))
        for worker in (1, 2):
            self.write("executing-%d/twin" % worker, uow("true"))
        self.write("done-q/odd", "nothing\n")
        code, text = self.check("worker-1.txt", "worker-2.txt")
        self.assertEqual((code, text.count("done-q/odd"), text.count("twin is in executing-1 and in executing-2")), (1, 1, 1), text)

    def test_another_root_is_another_turn(self):
        os.mkdir(self.path("elsewhere"))
        keys = ("wait_q", "priority_q", "done_q", "error_q", "fail_q", "trash", "archive")
        shared = ["%s :: %s\n" % (key, self.path(key.replace("_", "-"))) for key in keys]
        self.write("elsewhere/config.txt", "".join(shared))
        os.mkdir(self.path("elsewhere/currently-executing"))
        code, text = self.check("worker-1.txt", "elsewhere/config.txt")
        self.assertEqual(code, 1)
        self.assertRegex(text, r"elsewhere/config\.txt and \S*worker-1\.txt share a waiting queue from two directories")
