"""Three Monitors on one queue, of which one is killed and one stopped, now and then: each job once, none out of sight."""
import os
import random
import signal
import sys
import time

from tests.helpers import FINISHED, heavy, until, uow
from tests.test_many_monitors import ONCE, ManyCase


@heavy
class TestThreeMonitors(ManyCase):
    """Red if the lock of a dead one is not given up, if two may choose at once, or if a stamp hides a file while its Monitor stands."""

    workers, jobs = 3, 2000
    config = "settle_seconds :: 0.05\nsleep_seconds :: 1\n"

    def setUp(self):
        super().setUp()
        self.hands = ["executing-%d" % worker for worker in range(1, self.workers + 1)]

    def in_sight(self):
        """Return the names of all UOWs that ls shows in the queues and in the hands of the three."""
        # In the order in which files move: what is moved on meanwhile is met again, never missed.
        return self.visible("wait-q", *self.hands, *FINISHED, "trash")

    def check_once(self, names):
        twice = [name for name in names if len(self.runs_of(name)) > 1]
        never = [name for name in os.listdir(self.path("done-q")) if not self.runs_of(name)]
        self.assertEqual((twice, never, os.listdir(self.path("error-q")), os.listdir(self.path("trash"))), ([], [], [], []))
        self.assertEqual({self.status(name) for name in os.listdir(self.path("fail-q"))} - {"fail: interrupted"}, set())
        self.assertEqual(sorted(self.finished()), sorted(names))

    def test_two_thousand_jobs_are_run_once_though_one_is_killed_and_one_is_stopped_now_and_then(self):
        names, chance = ["job%04d" % i for i in range(self.jobs)], random.Random(16)
        monitors, killed, stopped, stands = self.start_all(), 0, 0, None
        self.drop_many(names, uow(ONCE))
        end = time.monotonic() + 300
        while len(self.finished()) < len(names):
            self.assertLess(time.monotonic(), end, "%d finished\n%s" % (len(self.finished()), self.output()[-3000:]))
            self.assertEqual(sorted(set(names) - set(self.in_sight())), [], "out of sight")
            time.sleep(chance.uniform(0.02, 0.3))        # the moment of what happens to them
            if stands:
                monitors[stands].send_signal(signal.SIGCONT)
                stands = None
            elif chance.random() < 0.4:
                stands, stopped = chance.choice(list(monitors)), stopped + 1
                monitors[stands].send_signal(signal.SIGSTOP)
            worker = chance.choice([worker for worker in monitors if worker != stands])
            if killed < 40:
                self.kill9(monitors[worker])
                monitors[worker], killed = self.start_worker(worker), killed + 1
        for monitor in monitors.values():
            monitor.send_signal(signal.SIGCONT)
        for worker, monitor in monitors.items():
            self.assertEqual(self.stop(monitor), 0, self.output()[-3000:])
        self.check_once(names)
        self.assertLessEqual(len(os.listdir(self.path("fail-q"))), killed)
        self.assertEqual(self.check(*["worker-%d.txt" % worker for worker in monitors]), (0, "all is well\n"))
        print("three Monitors: %d kills, %d stops" % (killed, stopped), file=sys.stderr)

    def test_the_live_one_finishes_alone_all_but_what_the_dead_and_the_stopped_one_have_in_hand(self):
        """The one that is stopped is continued only where it has the lock: then it is stopped again."""
        names = ["job%03d" % i for i in range(600)]
        monitors = self.start_all()
        self.drop_many(names, uow(ONCE))
        until(lambda: len(self.finished()) > 50, self.output, step=0.001)
        self.kill9(monitors[1])
        monitors[2].send_signal(signal.SIGSTOP)

        def moves_on():
            """See that the third works; what has the lock is stopped somewhere else."""
            before = len(self.finished())
            end = time.monotonic() + 1
            while time.monotonic() < end and len(self.finished()) == before:
                time.sleep(0.02)
            if len(self.finished()) == before and self.visible("wait-q"):
                monitors[2].send_signal(signal.SIGCONT)
                time.sleep(0.005)                        # long enough to give the lock up, not to run much
                monitors[2].send_signal(signal.SIGSTOP)
            return not self.visible("wait-q")
        until(moves_on, lambda: self.output()[-3000:], 120)
        until(lambda: len(self.finished()) + len(self.visible(*self.hands)) == len(names), lambda: self.output()[-3000:])
        self.assertLessEqual(len(self.visible(*self.hands)), 2)         # of the dead and of the stopped one
        monitors[2].send_signal(signal.SIGCONT)
        self.start_worker(1)
        self.all_finished(len(names))
        self.check_once(names)
