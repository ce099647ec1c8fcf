"""The README's recipe for Slurm, on a real slurmctld and slurmd. Needs root and Debian's slurm-wlm and munge."""
import os
import re
import signal
import subprocess

from tests.helpers import CHECKOUT, children_of, environment_of, heavy, kill_all, need, need_root, processes_with, until, uow
from tests.test_recipes import RecipeCase


def child_of(pid):
    """Return the one child of a process, once it has one."""
    return until(lambda: children_of(pid), "a child")[0]


@heavy
class TestSlurm(RecipeCase):
    # On another machine the job has none of the run's marks; here it has to take them off to be as far away.
    far = "exec env -u SJQ_RUN -u SJQ_NAME -u SJQ_FILE bash -c 'cd /; echo $$ on $SLURM_JOB_ID; %s'"

    @classmethod
    def setUpClass(cls):
        need("slurmctld", "slurmd", "munged", "srun", "scancel", "squeue", "unshare", "nsenter")
        need_root()
        cls.slurm = subprocess.Popen([os.path.join(CHECKOUT, "tests/start-slurm"), "sh", "-c", "echo up; exec cat"],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if cls.slurm.stdout.readline() != b"up\n":
            raise AssertionError("Slurm did not come up")
        inside = str(child_of(child_of(cls.slurm.pid)))
        cls.prefix = ["nsenter", "--target", inside, "--mount", "--pid"]

    @classmethod
    def tearDownClass(cls):
        cls.slurm.stdin.close()
        cls.slurm.wait(30)
        cls.slurm.stdout.close()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.sh, "scancel --user root; until [ -z \"$(squeue -h)\" ]; do sleep 0.1; done")
        self.config_add(self.recipe("Slurm"))

    def squeue(self, *states):
        return self.sh("squeue -h -o %i " + "".join("-t " + state for state in states)).split()

    def far_job(self, name):
        """Wait until a job made of `far` runs, and return its processes, which are not the run's."""
        found = until(lambda: re.search(r"^(\d+) on (\d+)$", self.read("currently-executing", name), re.M), self.output)
        return [pid for pid in processes_with("SLURM_JOB_ID=" + found.group(2)) if b"SJQ_RUN=" not in environment_of(pid)]

    def monitor_pids(self):
        return sorted(set(processes_with(self.path("config.txt"))) & set(processes_with("monitor.py")))

    def test_output_and_exit_code_come_back(self):
        self.drop("job", uow("echo \"job $SLURM_JOB_ID has $SLURM_CPUS_PER_TASK for $UOW_TICKET\"; echo oops >&2; exit 7", TICKET="OPS 1", CPUS=2))
        self.drop("fine", uow("true"))
        self.run_until_empty()
        self.assertEqual((self.where("job"), self.status("job").split(" after")[0]), (["error-q"], "error: exit 7"))
        self.assertRegex(self.log("job"), rb"(?m)^job \d+ has 2 for OPS 1$")
        self.assertRegex(self.log("job"), rb"(?m)^oops$")
        self.assertEqual(self.where("fine"), ["done-q"])

    def test_kill_job_cancels_it_there(self):
        self.started()
        self.drop("long", uow(self.far % "sleep 98767"))
        self.running("long")
        there = self.far_job("long")
        self.assertTrue(there)
        self.message("KILL JOB")
        self.assertEqual(self.ended("long"), "fail-q")
        until(lambda: self.squeue() == [], self.output)
        until(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in there), "gone there")

    def test_one_that_waits_for_the_cluster_is_cancelled_too(self):
        self.sh("sbatch -n 4 -o /dev/null --wrap 'sleep 98768'")
        until(lambda: len(self.squeue("R")) == 1, "the cluster is full")
        self.started()
        self.drop("pending", uow("true", CPUS=2))
        self.running("pending")
        until(lambda: len(self.squeue("PD")) == 1, self.output)
        self.message("KILL JOB")
        self.assertEqual(self.ended("pending"), "fail-q")
        until(lambda: self.squeue("PD") == [], self.output)
        self.assertEqual(len(self.squeue("R")), 1)       # nobody else's job was cancelled

    def test_after_a_crash_of_this_machine_it_is_cancelled(self):
        self.started()
        self.drop("long", uow(self.far % "sleep 98769"))
        self.running("long")
        self.far_job("long")
        # All that runs here dies at once; what runs there carries no mark and goes on.
        here = self.monitor_pids() + processes_with("SJQ_FILE=" + self.path("currently-executing", "long"))
        kill_all(pid for pid in here if b"SLURM_JOB_ID=" not in environment_of(pid))
        for monitor in self.monitors:
            monitor.wait(30)
        self.started()
        self.assertEqual(self.ended("long"), "fail-q")
        self.assertEqual(self.status("long"), "fail: interrupted")
        until(lambda: self.squeue() == [], self.output)

    def test_a_restart_of_the_monitor_does_not_disturb_it(self):
        self.started()
        self.drop("long", uow("until [ -e %s ]; do sleep 0.1; done; echo $SLURM_JOB_ID is over; exit 5" % self.path("go")))
        self.running("long")
        number = until(lambda: self.squeue("R"), self.output)
        self.message("SHUTDOWN")
        self.assertEqual(self.monitors[-1].wait(30), 0)
        self.started()
        self.said("adopted long")
        os.kill(self.monitor_pids()[-1], signal.SIGKILL)
        until(lambda: not self.monitor_pids(), "the Monitor is dead")
        self.assertEqual(self.squeue("R"), number)
        self.write("go", "")
        self.started()
        self.assertEqual(self.ended("long"), "error-q")
        self.assertEqual(self.status("long").split(" after")[0], "error: exit 5")
        self.assertIn("\n%s is over\n" % number[0], self.read("error-q/long"))
