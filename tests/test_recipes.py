"""The README's recipes, found in its text by their comment and run as printed, with the real tools."""
import http.server
import os
import pwd
import re
import shutil
import stat
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

from tests.helpers import (CHECKOUT, HOLD, MONITOR, QueueCase, children_of, environment_of, fenced, heavy, need, need_root, processes_with, section,
                           stamped_uow, until, uow)

ROOT = "/srv/jobs"   # where the README has the queue

# Run a command where other directories lie over these: PRIVATE of over [of over ...] -- COMMAND
PRIVATE = 'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 125; shift 2; done; shift; exec "$@"'


def parts(heading):
    """Return what the code blocks below a heading hold, split at blank lines."""
    return [part + "\n" for block in fenced(section(heading)) for part in block.rstrip("\n").split("\n\n")]


def recipe(name, **changed):
    """Return the recipe whose comment begins with this name, without its comment.

    changed: texts of the README that the test has to replace (a host, a time), which therefore must be there.
    """
    text = next(part for part in parts("Recipes") if part.startswith("# " + name))
    for old, new in changed.items():
        if old not in text:
            raise AssertionError("%r is not in the recipe %r" % (old, name))
        text = text.replace(old, new)
    return re.sub(r"^# .*\n", "", text, flags=re.M)


class RecipeCase(QueueCase):
    """A queue, the real Monitor, and a shell in the queue's root for what the README prints."""

    prefix = ()              # for everything that is started: a command that runs another

    def recipe(self, name, **changed):
        return recipe(name, **changed).replace(ROOT, self.root)

    def sh(self, script, env=None, check=True):
        """Run shell lines in the root, and return what they wrote; they must exit 0 unless told otherwise."""
        done = subprocess.run([*self.prefix, "bash", "-c", script], cwd=self.root, stdin=subprocess.DEVNULL, text=True,
                              env=dict(os.environ, **env or {}), capture_output=True, timeout=60)
        if check:
            self.assertEqual(done.returncode, 0, "%s\n%s%s" % (script, done.stdout, done.stderr))
        return done.stdout if check else done

    def start(self, *flags, **options):
        options.setdefault("prefix", self.prefix)
        return super().start(*flags, **options)

    def config_add(self, *blocks):
        """Put a recipe's configuration into config.txt as a person would, below what is there."""
        with open(self.path("config.txt"), "a") as file:
            file.write("".join(blocks))

    def follow(self, script):
        """Start a shell line that goes on; what it writes is in the file `followed`."""
        with open(self.path("followed"), "wb") as output:
            argv = [*self.prefix, "bash", "-c", script]
            process = subprocess.Popen(argv, cwd=self.root, stdin=subprocess.DEVNULL, stdout=output, start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(lambda: process.poll() is None and os.killpg(process.pid, signal.SIGKILL))
        return process

    def make(self, *targets):
        """Provide the `make` that the recipes' examples call: it writes its target, and fails for those named."""
        return self.executable("make", '#!/bin/sh\ntarget=all; for target; do :; done\necho "made $target"\n'
                               'case " %s " in *" $target "*) exit 3;; esac\n' % " ".join(targets))

    def private(self, *pairs):
        """Let all that is started see other directories over those of the machine, as root, in a mount namespace."""
        need("unshare", "mount")
        self.prefix = ["unshare", "--mount", "bash", "-c", PRIVATE, "private", *pairs, "--"]


class TestByHand(RecipeCase):
    heading = "Hold, cancel, run again"

    def lines(self):
        """Return the one-line commands by what their comment says."""
        return {line.partition("#")[2].split(",")[0].split(";")[0].strip(): line for line in parts(self.heading)[0].splitlines()}

    def test_every_line_does_what_its_comment_says(self):
        lines, monitor = self.lines(), self.paused()
        self.drop("deploy", uow("echo deploy >> order; exit 1"))
        self.stamped("deploy")
        self.sh(lines["hold"])
        self.assertEqual(os.listdir(self.path("wait-q")), [".deploy"])
        self.message("RESUME")
        self.drop("other", uow("true"))
        self.assertEqual((self.ended("other"), os.listdir(self.path("wait-q"))), ("done-q", [".deploy"]))
        self.stop(monitor)
        self.sh(lines["release"])
        self.drop("first", "2020-01-01T00:00:00Z\n" + uow("echo first >> order"))
        self.sh(lines["before everything in wait-q"])
        self.run_until_empty()
        self.assertEqual(self.read("order"), "deploy\nfirst\n")
        self.sh(lines["run again"])
        self.run_until_empty()
        self.assertEqual(self.read("order"), "deploy\nfirst\ndeploy\n")
        self.assertEqual(self.read("error-q", "deploy").count("==== JOB START"), 2)
        self.sh(lines["run again"])
        self.sh(lines["cancel"])
        self.run_until_empty()
        self.assertEqual((self.read("order").count("deploy"), os.listdir(self.path("archive"))), (2, ["deploy"]))

    def test_to_the_front(self):
        """And what is claimed meanwhile is not brought back to life."""
        self.paused()
        for name in ("one", "two", "deploy"):
            self.drop(name, uow("echo %s >> order" % name))
            self.stamped(name)
        self.sh(parts(self.heading)[1])
        until(lambda: self.message("STATUS") or "waits in wait-q: deploy since 2000-01-01" in self.says(), self.says, step=0.3)
        self.message("RESUME")
        for name in ("one", "two", "deploy"):
            self.assertEqual(self.ended(name), "done-q")
        self.assertEqual(self.read("order").split(), ["deploy", "one", "two"])
        os.rename(self.path("done-q/deploy"), self.path("currently-executing/deploy"))
        self.assertNotEqual(self.sh(parts(self.heading)[1], check=False).returncode, 0)
        self.assertEqual((self.where("deploy"), os.listdir(self.path("wait-q"))), (["currently-executing"], []))

    def test_the_same_job_is_not_dropped_twice(self):
        line = re.search(r"`(mv -nT new [^`]*)`", section(self.heading)).group(1)
        for text in ("one", "two"):
            self.write("new", uow("echo " + text))
            self.sh(line, check=False)
        self.run_until_empty()
        self.assertEqual(self.log("deploy"), b"one\n")
        self.assertEqual(len(os.listdir(self.path("done-q"))), 1)


class TestWait(RecipeCase):
    def test_following_by_name_ends_with_the_job(self):
        self.started()
        follower = self.follow(self.recipe("Follow"))
        self.drop("deploy", uow("echo early; until [ -e go ]; do sleep 0.05; done; echo late"))
        until(lambda: self.read("followed").endswith("early\n"), lambda: self.read("followed"))
        self.write("go", "")
        self.assertEqual(follower.wait(30), 0)
        self.assertRegex(self.read("followed"), r"==== JOB START .*\nearly\nlate\n\n==== JOB END \S+ run \S+ exit 0\n$")

    def waits(self, command):
        """Run the recipe with another command in place of make; returns the exit code of its last line."""
        text = self.recipe("In a script", **{"make -C /srv/site": command})
        return self.sh(text, check=False).returncode

    def test_the_exit_code_is_the_jobs_and_1_where_there_is_none(self):
        self.started()
        self.assertEqual(self.waits("echo hello"), 0)
        self.assertEqual(self.waits("exit 7"), 7)
        self.assertEqual(self.waits("exit 255"), 255)
        self.assertEqual(self.waits(r'printf "==== STATUS\nerror: exit 9\n"; exit 4'), 4)      # a log that looks like a STATUS
        self.assertEqual(self.waits("kill -9 $$"), 1)
        self.assertEqual(self.waits(""), 1)              # an empty COMMAND: trash
        self.assertEqual(len(os.listdir(self.path("trash"))), 1)

    def test_until_all_that_waits_now_has_ended(self):
        self.drop("two words", uow(HOLD))
        self.drop("--last", uow("true"))
        self.drop(".held", uow("true"))
        self.started()
        self.running("two words")
        waiter = self.follow(self.recipe("Wait until"))
        until(lambda: children_of(waiter.pid), "it waits")
        self.drop("later", uow("until [ -e over ]; do sleep 0.02; done"))
        self.write("go", "")
        self.assertEqual(waiter.wait(30), 0)
        self.assertEqual((self.where("two words"), self.where("--last"), self.read("followed")), (["done-q"], ["done-q"], ""))
        self.assertNotEqual(self.where("later"), ["done-q"])
        self.write("over", "")


class AtCase(RecipeCase):
    """With a real at, its spool in the root, and a clock that goes ahead."""

    def with_at(self):
        need("at", "atd", "faketime")
        need_root()
        for name in (".at", ".at/jobs", ".at/spool"):
            os.mkdir(self.path(name))
        self.write(".at/jobs/.SEQ", "00000")
        for name in ("jobs", "jobs/.SEQ", "spool"):
            shutil.chown(self.path(".at", name), "daemon", "daemon")
            os.chmod(self.path(".at", name), 0o600 if name.endswith("SEQ") else 0o1770)
        self.private(self.path(".at/jobs"), "/var/spool/cron/atjobs", self.path(".at/spool"), "/var/spool/cron/atspool")

    def atd(self, later):
        """Run what is due by a clock that goes ahead."""
        self.sh("faketime -f +%s atd -s" % later)


class TestLater(AtCase):
    def test_at_takes_the_dot_away(self):
        self.with_at()
        self.sh(self.recipe("Later"))
        self.assertRegex(self.sh("atq"), r" 22:00:00 ")
        self.assertEqual(os.listdir(self.path("wait-q")), [".deploy"])
        self.atd("24h")
        until(lambda: os.listdir(self.path("wait-q")) == ["deploy"], "released")
        self.make_job_runs("deploy")

    def make_job_runs(self, name, queue="done-q"):
        self.run_until_empty(env=self.make())
        self.assertEqual(self.where(name), [queue])
        self.assertIn("made ", self.read(queue, name))

    @heavy
    def test_cron_drops_one_a_night(self):
        need("cron", "crontab", "faketime")
        need_root()
        for name in (".spool", ".spool/crontabs", ".etc", ".run"):
            os.mkdir(self.path(name))
        os.chmod(self.path(".spool/crontabs"), 0o1730)
        shutil.chown(self.path(".spool/crontabs"), "root", "crontab")
        self.write(".crontab", "")
        self.private(self.path(".spool"), "/var/spool/cron", self.path(".etc"), "/etc/cron.d", self.path(".crontab"), "/etc/crontab",
                     self.path(".run"), "/run")
        self.write("archive/nightly", uow("make nightly"))
        self.write(".line", self.recipe("Every night"))
        self.sh("crontab .line")
        for night in (24, 25):
            cron = self.follow("exec faketime '2026-11-%d 02:29:50' cron -f" % night)
            want = ["nightly"] if night == 24 else [".nightly", "nightly"]
            until(lambda want=want: sorted(os.listdir(self.path("wait-q"))) == want and not processes_with("wait-q/.nightly"),
                  lambda: self.read("followed"))
            os.killpg(cron.pid, signal.SIGKILL)
            cron.wait()
        self.make_job_runs("nightly")
        self.assertEqual(len(os.listdir(self.path("done-q"))), 1)


class TestDependencies(RecipeCase):
    def test_a_job_releases_the_next_once_it_has_not_failed(self):
        self.sh(self.recipe("A job releases"))
        self.run_until_empty(env=self.make("build"))
        self.assertEqual((self.where("build"), os.listdir(self.path("wait-q"))), (["error-q"], [".test"]))
        os.rename(self.path("error-q/build"), self.path("wait-q/build"))
        self.run_until_empty(env=self.make())
        self.assertEqual((self.where("build"), self.where("test"), self.log("test")), (["done-q"], ["done-q"], b"made test\n"))


class TestRetries(AtCase):
    def attempt(self, name, number):
        """Wait until this attempt is filed and after_command has run."""
        until(lambda: self.where(name) == ["fail-q"] and self.text(name).count("==== JOB START") == number, self.output)

    def test_at_most_n_and_each_attempt_in_the_log(self):
        self.with_at()
        self.config_add("fail_exit_codes :: 9\n", self.recipe("Retries"))
        self.started()
        name = "it's $(touch oops) \"so\""
        self.drop(name, uow("echo attempt; exit 9", RETRIES=2))
        for number, minutes in ((1, 2), (2, 4)):
            self.attempt(name, number)
            now = time.time()
            until(lambda: [entry for entry in os.scandir(self.path(".at/jobs")) if entry.stat().st_mode & stat.S_IXUSR], self.output)    # `at` is done
            due = time.mktime(time.strptime(" ".join(self.sh("atq").split()[1:6])))
            self.assertTrue(minutes * 60 - 70 < due - now < minutes * 60 + 5, (minutes, due - now))
            self.atd("%dm" % (minutes + 1))
        self.attempt(name, 3)
        self.drop("after", uow("true"))              # no job starts while after_command runs
        self.assertEqual(self.ended("after"), "done-q")
        self.assertEqual(self.sh("atq"), "")
        self.assertEqual([self.log(name, run) for run in range(3)], [b"attempt\n"] * 3)
        self.assertFalse(os.path.exists(self.path("oops")))
        self.assertNotIn("after_command", self.says())

    def test_other_exits_too_where_it_says_so(self):
        self.with_at()
        self.assertIn(" fail*|error*,", section("Recipes"))
        self.config_add(self.recipe("Retries", **{"fail*) n": "fail*|error*) n"}))
        self.drop("error", uow("exit 1", RETRIES=1))
        self.run_until_empty()
        self.assertEqual(len(self.sh("atq").splitlines()), 1)

    def test_not_without_retries_nor_when_a_person_killed_it_nor_when_done(self):
        self.with_at()
        self.config_add("fail_exit_codes :: 9\n", self.recipe("Retries"))
        self.drop("plain", uow("exit 9"))
        self.drop("done", uow("true", RETRIES=3))
        self.under_way("killed", "sleep 1000", RETRIES=3)
        self.message("KILL JOB")
        self.assertEqual(self.ended("killed"), "fail-q")
        self.drop("after", uow("true"))
        self.assertEqual(self.ended("after"), "done-q")
        self.assertEqual(self.sh("atq"), "")
        self.assertNotIn("after_command", self.says())


class TestTell(RecipeCase):
    def test_mail_on_failure_only_with_the_uow_as_its_body(self):
        need("mail")
        self.executable("sendmail", '#!/bin/sh\n{ echo "to: $*"; cat; } >> "%s"\n' % self.path("mailbox"))
        mailrc = self.write(".mailrc", "set sendmail=%s\n" % self.path(".bin/sendmail"))
        self.config_add(self.recipe("Mail"))
        self.drop("fine", uow("echo fine"))
        self.drop("bad one", uow("echo alas; exit 3"))
        self.run_until_empty(env=dict(os.environ, MAILRC=mailrc))
        until(lambda: os.path.exists(self.path("mailbox")) and "JOB END" in self.read("mailbox"), "mail")
        mail = self.read("mailbox")
        self.assertRegex(mail, r"(?m)^Subject: 'bad one': error: exit 3 after \d")
        self.assertIn("ops@example.org", mail)
        self.assertIn("COMMAND :: echo alas; exit 3", mail)
        self.assertIn("\nalas\n", mail)
        self.assertNotIn("fine", mail)

    def test_webhook_on_failure_only(self):
        need("curl")
        got = []

        class Hook(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                got.append((self.path, self.headers["Title"], self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Hook)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.config_add(self.recipe("The same to a webhook", **{"https://ntfy.example.org": "http://127.0.0.1:%d" % server.server_port}))
        self.drop("fine", uow("echo fine"))
        self.drop("bad\none", uow("echo alas; exit 3"))
        self.run_until_empty()
        self.assertEqual(len(got), 1, self.output())
        self.assertEqual(got[0][0], "/ops")
        self.assertRegex(got[0][1], r"^\$'bad\\none': error: exit 3 after \d")
        self.assertIn(b"\nalas\n", got[0][2])


class TestColour(RecipeCase):
    def setUp(self):
        need("script")
        try:
            for fd in os.openpty():
                os.close(fd)
        except OSError:
            self.skipTest("this machine has no terminals to give")
        super().setUp()

    def test_a_terminal_program_keeps_its_colours_and_its_exit_code(self):
        self.config_add(self.recipe("Colour"))
        self.drop("colour", uow("mkdir -p sub; touch sub/x; chmod +x sub/x; ls --color=auto sub\n(exit 5)\ntouch oops"))
        self.run_until_empty(env=dict(os.environ, TERM="xterm"))
        self.assertEqual(self.status("colour").split(" after")[0], "error: exit 5")
        self.assertRegex(self.log("colour"), rb"\x1b\[01;32mx\x1b\[0m\r\n")
        self.assertFalse(os.path.exists(self.path("oops")))

    @heavy
    def test_kill_job_ends_what_runs_in_the_terminal(self):
        self.config_add(self.recipe("Colour"))
        self.under_way("long", "sleep 98765")
        until(lambda: set(processes_with("sleep\0" + "98765")) & set(processes_with(self.root)), "sleeps")
        self.message("KILL JOB")
        self.assertEqual(self.ended("long"), "fail-q")
        until(lambda: not processes_with("SJQ_FILE=" + self.path("currently-executing", "long")), "nothing of it is left")


class TestLimits(RecipeCase):
    def test_ulimit_nice_and_ionice(self):
        need("nice", "ionice")
        self.config_add(self.recipe("Limits for each"))
        self.drop("limits", uow("ulimit -v; ulimit -t; nice; ionice\n(exit 6)\necho oops"))
        self.run_until_empty()
        self.assertEqual(self.log("limits").split(), [b"4000000", b"3600", b"%d" % min(19, os.nice(0) + 10), b"idle"])
        self.assertEqual(self.status("limits").split(" after")[0], "error: exit 6")
        self.drop("greedy", uow("%s -c 'bytearray(5 * 10**9)'" % sys.executable))
        self.run_until_empty()
        self.assertEqual(self.where("greedy"), ["error-q"])
        self.assertIn(b"MemoryError", self.log("greedy"))

    @heavy
    def test_systemd_scope(self):
        need("systemd-run", "nsenter", "unshare")
        need_root()
        script = textwrap.dedent('''
            mkdir -p /srv/jobs/wait-q && cd /srv/jobs && cp /mnt/monitor.py . || exit
            printf '%s\\n' 'settle_seconds :: 0' 'kill_grace_seconds :: 2' "$1" > config.txt
            echo "$2" > wait-q/limited
            "$3" -B monitor.py --until-empty >&2
            cat error-q/limited
            echo "$4" > wait-q/long
            "$3" -B monitor.py >&2 &
            until grep -q '^asleep' currently-executing/long; do sleep 0.05; done 2>/dev/null
            echo KILL JOB >> monitor_reads
            until [ -e fail-q/long ]; do sleep 0.05; done
            pgrep -x sleep -a
            kill %1; wait
        ''')
        limited = uow("unit=$(sed -n 's/^0::.*[/]//p' /proc/self/cgroup)\nsystemctl show -p MemoryMax -p CPUQuotaPerSecUSec $unit\nexit 4")
        done = subprocess.run([os.path.join(CHECKOUT, "tests/boot-systemd"), "bash", "-c", script, "lab", self.recipe("Limits for a job"),
                               limited, sys.executable, uow("setsid sleep 98765 &\necho asleep; sleep 98765")], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("MemoryMax=2147483648\n", done.stdout)
        self.assertIn("CPUQuotaPerSecUSec=500ms\n", done.stdout)
        self.assertIn("error: exit 4 after", done.stdout)
        self.assertNotIn("sleep 98765", done.stdout.partition("==== JOB END")[2])

    def test_a_busy_machine_starts_nothing(self):
        self.config_add(self.recipe("Nothing starts", **{"$1 > 4": "$1 > -1"}))
        self.started()
        self.drop("heavy", uow("true"))
        self.said("ready_command refuses")
        self.assertEqual(self.where("heavy"), ["wait-q"])
        self.configure(self.recipe("Nothing starts", **{"$1 > 4": "$1 > 1e9"}))
        self.message("RELOAD")
        self.assertEqual(self.ended("heavy"), "done-q")


class TestSsh(RecipeCase):
    def setUp(self):
        need("ssh", "ssh-keygen", "sshd", pwd.getpwuid(os.geteuid()).pw_shell)
        if os.path.basename(pwd.getpwuid(os.geteuid()).pw_shell) in ("nologin", "false"):
            self.skipTest("needs a user who may log in")
        super().setUp()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        os.mkdir(self.path(".ssh"), 0o700)
        for key in ("host", "mine"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path(".ssh", key)], check=True)
        shutil.copy(self.path(".ssh/mine.pub"), self.path(".ssh/authorized_keys"))
        with open(self.path(".ssh/host.pub")) as file:
            self.write(".ssh/known_hosts", "[127.0.0.1]:%d %s" % (self.port, file.read()))
        self.write(".ssh/sshd_config", "Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPidFile none\n"
                   % (self.port, self.path(".ssh/host"), self.path(".ssh/authorized_keys")))
        self.write(".ssh/config", "Host web1\n  HostName 127.0.0.1\n  Port %d\nHost gone\n  HostName 127.0.0.1\n  Port 1\nHost *\n  IdentityFile %s\n"
                   "  IdentitiesOnly yes\n  UserKnownHostsFile %s\n" % (self.port, self.path(".ssh/mine"), self.path(".ssh/known_hosts")))
        # ssh finds ~/.ssh/config by the user, not by HOME: the test gives it another, and the rest is as printed.
        self.environment = self.executable("ssh", '#!/bin/sh\nexec %s -F %s "$@"\n' % (shutil.which("ssh"), self.path(".ssh/config")))
        if os.geteuid() == 0:                        # sshd wants /run/sshd, which its package's service makes
            os.makedirs(self.path(".run/sshd"), 0o755)
            self.private(self.path(".run"), "/run")
        with open(self.path(".sshd.log"), "wb") as log:
            argv = [*self.prefix, shutil.which("sshd"), "-D", "-e", "-f", self.path(".ssh/sshd_config")]
            self.process(*argv, stdin=subprocess.DEVNULL, stderr=log)
        until(lambda: "Server listening" in self.read(".sshd.log"), lambda: self.read(".sshd.log"))

    def test_output_and_exit_code_come_back(self):
        self.config_add(self.recipe("Another machine"))
        self.drop("there", uow('echo "on  $SSH_CONNECTION"\n(exit 7)\necho oops', HOST="web1"))
        self.drop("gone", uow("true", HOST="gone"))
        self.drop("no host", uow("true"))
        self.run_until_empty(env=self.environment)
        self.assertEqual((self.where("there"), self.status("there").split(" after")[0]), (["error-q"], "error: exit 7"), self.output())
        self.assertRegex(self.log("there"), rb"^on  127\.0\.0\.1 \d+ 127\.0\.0\.1 %d\n$" % self.port)
        self.assertEqual((self.where("gone"), self.status("gone").split(" after")[0]), (["fail-q"], "fail: exit 255"))
        self.assertEqual(self.where("no host"), ["trash"])

    def test_with_a_terminal_kill_job_ends_the_command_there(self):
        self.assertIn(" ssh -tt, KILL JOB ends", section("Recipes"))
        self.config_add(self.recipe("Another machine", **{"exec ssh ": "exec ssh -tt "}))
        self.started(env=self.environment)
        # The far end has none of the run's marks, as on another machine.
        self.drop("there", uow("echo $$ > %s; exec sleep 98766" % self.path("pid"), HOST="web1"))
        pid = int(until(lambda: os.path.exists(self.path("pid")) and self.read("pid").strip(), self.output))
        self.assertNotIn(b"SJQ_RUN", environment_of(pid))
        self.message("KILL JOB")
        self.assertEqual(self.ended("there"), "fail-q")
        until(lambda: not os.path.exists("/proc/%d" % pid), "the remote command is gone")


class TestMore(RecipeCase):
    base = QueueCase.base.replace("status_dir ::\n", "")

    def test_two_monitors_run_two_jobs_at_once(self):
        self.started()
        script = parts("Several jobs at a time")[0].replace("python3 monitor.py", "exec %s -B %s" % (sys.executable, MONITOR))
        second = self.process("bash", "-ec", script, cwd=self.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for mine, other in (("one", "two"), ("two", "one")):
            self.drop(mine, uow("touch at-%s; until [ -e at-%s ]; do sleep 0.05; done" % (mine, other), TIMEOUT="30s"))
        for name in ("one", "two"):
            self.assertEqual(self.ended(name, seconds=60), "done-q")
        self.assertIn("started", self.read("monitor_says-2"))
        self.message("SHUTDOWN", "monitor_reads-2")
        self.assertEqual(second.wait(30), 0)


@heavy
class TestPeople(RecipeCase):
    def setUp(self):
        need("groupadd", "useradd", "usermod", "runuser")
        need_root()
        super().setUp()
        shutil.copytree("/etc", self.path(".etc"), symlinks=True, ignore_dangling_symlinks=True,
                        ignore=shutil.ignore_patterns("ssl", "alternatives", "java*", "slurm"))
        self.private(self.path(".etc"), "/etc")
        os.chmod(self.root, 0o755)
        for name in ("alice", "bob"):
            self.sh("useradd --no-create-home --home-dir %s --shell /bin/bash %s" % (self.path("home-" + name), name))
        commands = next(part for part in parts("Recipes") if part.startswith("groupadd"))
        self.configuration = self.recipe("Many people")
        self.sh(commands)
        self.sh("usermod -aG queue bob")

    def as_user(self, name, script, check=True):
        return self.sh("exec runuser -u %s -- bash -c '%s'" % (name, script), check=check)

    def submit(self, name, file, command):
        self.as_user(name, 'printf "==== UNIT OF WORK\\nCOMMAND :: %%s\\n" "%s" > wait-q/.%s && mv -nT wait-q/.%s wait-q/%s' % (command, file, file, file))

    def test_each_job_runs_as_its_owner_and_is_moved_by_its_owner_only(self):
        self.config_add(self.configuration)
        self.submit("alice", "hers", "id -un; echo \\$HOME; exit 3")
        self.submit("bob", "his", "id -un; exit 3")
        self.run_until_empty()
        self.assertEqual(self.log("hers"), os.fsencode("alice\n%s\n" % self.path("home-alice")))
        self.assertEqual(self.log("his"), b"bob\n")
        self.assertRegex(self.read("error-q/hers"), r"^ENQUEUED :: \S+ by alice\n")
        self.assertEqual(self.sh("stat -c '%U %G' error-q/hers").split(), ["alice", "queue"])
        self.assertNotEqual(self.as_user("bob", "mv -n error-q/hers wait-q/", check=False).returncode, 0)
        self.as_user("alice", "mv -n error-q/hers wait-q/")
        self.assertNotEqual(self.as_user("bob", "mv -n wait-q/hers archive/", check=False).returncode, 0)
        self.as_user("alice", "mv -n wait-q/hers archive/")
        self.assertTrue(os.path.exists(self.path("archive/hers")))
        self.sh("useradd --no-create-home carol")
        self.assertNotEqual(self.as_user("carol", "touch wait-q/x", check=False).returncode, 0)


class TestHousekeeping(RecipeCase):
    def finished(self, queue, name, status="done: exit 0 after 1.5 s", days=0, log="hello"):
        self.write(queue + "/" + name, stamped_uow(uow("true"), status, log + "\n"))
        past = time.time() - days * 86400 - 60
        os.utime(self.path(queue, name), (past, past))

    def test_archive_compress_expire(self):
        self.finished("done-q", "new")
        self.finished("done-q", "README", days=800)
        self.finished("error-q", "ReadMe.md", days=800)
        for number, queue in enumerate(("done-q", "error-q", "fail-q")):
            self.finished(queue, "-old %d" % number, days=40)
        self.finished("archive", "README", days=800)
        self.finished("archive", "older", days=100)
        self.finished("archive", "oldest.gz", days=400)
        self.finished("archive", "-old 0", days=1, log="another of that name")
        self.sh(self.recipe("Archive"))
        self.assertEqual(sorted(os.listdir(self.path("archive"))), ["-old 0", "-old 1", "-old 2", "README", "older.gz"])
        self.assertEqual(sorted(os.listdir(self.path("done-q"))), ["-old 0", "README", "new"])
        self.assertEqual(os.listdir(self.path("error-q")), ["ReadMe.md"])
        self.assertIn("another of that name", self.read("archive/-old 0"))
        self.assertIn("COMMAND :: true", self.sh("zcat archive/older.gz"))


class TestRunning(RecipeCase):
    @heavy
    def test_at_boot_without_systemd_and_after_a_crash(self):
        line = self.recipe("Start at boot", **{"python3 -B monitor.py": "%s -B %s config.txt" % (sys.executable, MONITOR), "sleep 5": "sleep 0.1"})
        loop = self.follow(line.partition("@reboot")[2])
        self.said(" started: pid ")
        os.kill(int(re.findall(r"started: pid (\d+)", self.says())[-1]), signal.SIGKILL)
        self.said(" started: pid ", count=2)
        self.message("SHUTDOWN")
        self.assertEqual(loop.wait(30), 0)

    def test_is_a_monitor_running_and_which_and_stop_it_and_the_job(self):
        self.assertEqual(self.sh(self.recipe("Is a Monitor running"), check=False).stdout, "")
        self.drop("next", uow("true"), ".staging")
        monitor = self.under_way("long", "sleep 98764")
        os.rename(self.path(".staging/next"), self.path("wait-q/next"))
        self.assertEqual(self.sh(self.recipe("Is a Monitor running")).split()[0], str(monitor.pid))
        self.sh(re.search(r"`(printf [^`]*FINISH[^`]*)`", section("Messages")).group(1))
        self.assertEqual(monitor.wait(30), 0)
        self.assertEqual((self.status("long"), self.where("next")), ("fail: killed by message", ["wait-q"]))

    def test_why_a_job_does_not_start(self):
        self.started()
        self.drop("job", uow("true"))
        self.assertEqual(self.ended("job"), "done-q")
        for name, text in (("bad", "no title\n"), (".held", uow("true"))):
            self.drop(name, text)
        self.there("trash/bad")
        self.message("PAUSE")
        self.said("paused")
        self.drop("deploy", uow("true"))
        wanted = (r"(?s)trash:\n.*bad\n", r"wait-q:\n(.*\n)*\.held\n", r"(?s)\d\d:\d\d.*paused", r"\d\d:\d\d.* deploy ")

        def shows():
            shown = self.sh(parts("My job does not start")[0])
            return all(re.search(one, shown) for one in wanted)
        until(shows, self.says)                      # its two seconds may be too few for an answer
        self.sh(re.search(r"`(echo RESUME [^`]*)`", section("My job does not start")).group(1))
        self.assertEqual(self.ended("deploy"), "done-q")
        self.assertIn("bad", self.sh("grep bad monitor_says"))

    def test_from_another_directory_as_nq_does(self):
        os.mkdir(self.path("it's here"))
        self.sh("cd \"it's here\" && " + self.recipe("Enqueue"))
        self.run_until_empty(env=self.executable("make", "#!/bin/sh\npwd\n"))
        self.assertEqual(self.log("make").decode(), self.path("it's here") + "\n")

    def test_the_first_line_that_fails_ends_a_job_in_every_recipe(self):
        commands = re.findall(r"^job_command :: (.*)", section("Recipes"), re.M)
        self.assertEqual([command for command in commands if "ansible" not in command and not re.search(r"\bb?a?sh -ec\b", command)], [])
        self.assertGreater(len(commands), 6)


@heavy
class TestContainer(RecipeCase):
    """With the real podman, and an image that holds nothing but busybox."""

    # A machine of tests may lack what podman expects: one cgroup hierarchy, limits that may be raised, a network.
    prefix = ["unshare", "--mount", "bash", "-c", 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup && exec "$@"', "podman"]

    def setUp(self):
        need("podman", "crun", "busybox", "unshare")
        need_root()
        super().setUp()
        conf = '[containers]\ncgroups = "disabled"\nnetns = "none"\ndefault_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]\n'
        storage = '[storage]\ndriver = "vfs"\ngraphroot = "%s"\nrunroot = "%s"\n' % (self.path(".graph"), self.path(".run"))
        for name, text in (("CONTAINERS_CONF", conf), ("CONTAINERS_STORAGE_CONF", storage)):
            os.environ[name] = self.write("." + name, text)
            self.addCleanup(os.environ.pop, name)
        self.addCleanup(self.sh, "podman rm --all --force")
        self.sh("mkdir -p .image/bin; cp $(command -v busybox) .image/bin/; for name in sh sleep echo; do ln -s busybox .image/bin/$name; done\n"
                "tar -cC .image bin | podman import - busybox")
        self.config_add(self.recipe("A container"))

    def test_output_and_exit_code_come_back(self):
        self.drop("inside", uow("echo $0 inside\n(exit 7)\necho oops", IMAGE="localhost/busybox"))
        self.run_until_empty()
        self.assertEqual((self.where("inside"), self.log("inside")), (["error-q"], b"sh inside\n"), self.output())
        self.assertEqual(self.status("inside").split(" after")[0], "error: exit 7")
        self.assertNotIn("after_command", self.says())

    def test_kill_job_leaves_no_container(self):
        self.started()
        self.drop("long", uow("echo up; exec sleep 98763", IMAGE="localhost/busybox"))
        until(lambda: self.where("long") == ["currently-executing"] and "\nup\n" in self.read("currently-executing/long"), self.output)
        run = re.search(r"run (\S+)", self.read("currently-executing/long").partition("JOB START")[2]).group(1)
        self.assertEqual(self.sh("podman ps --format '{{.Names}}'"), "sjq-%s\n" % run)
        self.message("KILL JOB")
        self.assertEqual(self.ended("long"), "fail-q")
        until(lambda: self.sh("podman ps --all --quiet") == "" and not processes_with("sleep\0" + "98763"), self.output)
