"""What is posted: the files as programs meet them, and the page in a real browser, served by a real nginx.

The second half needs chromium and nginx, and one test promtool (Debian: prometheus).
"""
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request

from .browser import CONTRAST, OVERFLOW, Browser
from .helpers import README, QueueCase, cpu_of, fenced, heavy, need, need_root, peak_kb, read_text, stamped_uow, until, uow

COUNT = "for i in $(seq 1000); do echo count $i; sleep 0.1; done"
HOSTILE = [b"<script>window.hit=1<b>", b"two 100% words & 'quotes'", b"new\nline", b"caf\xc3\xa9-\xff\xfe", b"-rf", b"x" * 255, b"..%2e%2eetc", b"\x1b[31mred",
           "\u202egnp.exe".encode()]


class PostCase(QueueCase):
    config = "status_dir :: status\nsleep_seconds :: 1\n"

    def index(self, directory="status"):
        return self.read(directory, "index.html")

    def named(self, directory="status"):
        return sorted(set(re.findall(r'href="uow/(\d+\.html)"', self.index(directory))))

    def pages(self, directory="status"):
        """Return the names of all pages, but not of one in the making."""
        return sorted(name for name in os.listdir(self.path(directory, "uow")) if not name.startswith("."))

    def just_the_links(self, count, directory="status"):
        """Wait until the index names so many pages, and there are no others: those named no longer go after it."""
        until(lambda: os.path.exists(self.path(directory, "index.html")) and len(self.named(directory)) == count
              and self.named(directory) == self.pages(directory), lambda: "%d pages: %s" % (count, os.listdir(self.path(directory))))

    def page_of(self, name, queue):
        """Return the page of the UOW that is in this queue."""
        return self.read("status", "uow", "%d.html" % os.stat(self.path(queue, name)).st_ino)


class TestPosting(PostCase):
    def test_status_json_and_metrics_tell_what_the_directories_hold(self):
        self.drop("bad", uow("exit 3"))
        self.drop("good", uow("true"))
        self.drop("no-uow", "nothing\n")
        monitor = self.started()
        self.ended("bad"), self.ended("good")
        self.message("PAUSE")
        self.said("paused")
        self.drop("later", uow("true"))
        until(lambda: self.posted()["state"] == "paused" and self.posted()["queues"]["wait_q"] == self.posted()["queues"]["trash"] == 1, self.says)
        got = self.posted()
        self.assertEqual(got["state"], "paused")
        self.assertEqual((got["queues"]["done_q"], got["queues"]["error_q"], got["queues"]["trash"]), (1, 1, 1))
        self.assertEqual({(one["name"], one["queue"], one["status"].split(" after")[0]) for one in got["finished"]},
                         {("bad", "error_q", "error: exit 3"), ("good", "done_q", "done: exit 0")})
        self.assertEqual([one["name"] for one in got["waiting"]], ["later"])
        self.assertEqual(sum(sum(hour.values()) for hour in got["finished_by_hour"]), 2)
        lines = ('simple_job_q_jobs{queue="trash"} 1', 'simple_job_q_jobs{queue="wait_q"} 1', 'simple_job_q_finished_jobs_total{outcome="error"} 1',
                 "simple_job_q_paused 1", "simple_job_q_up 1")       # status.json is written first
        until(lambda: all("\n%s\n" % line in self.read("status", "metrics.prom") for line in lines), lambda: self.read("status", "metrics.prom"))
        self.stop(monitor)
        self.assertEqual(self.posted()["state"], "stopped")
        self.assertIn("\nsimple_job_q_up 0\n", self.read("status", "metrics.prom"))

    def test_the_running_job_is_posted_with_its_run(self):
        self.configure("status_dir :: status\nsleep_seconds :: 60\n")
        self.drop("long", uow("sleep 100", TIMEOUT="30m"))
        self.started()
        self.running("long")
        until(lambda: self.posted()["running"], "posted")
        running = self.posted()["running"]
        self.assertEqual((running["name"], running["timeout_seconds"], running["command"]), ("long", 1800, "sleep 100"))
        self.assertIn(" run %s\n" % running["run"], self.read("currently-executing", "long"))
        self.assertEqual(self.status("long"), "running: since %sZ" % running["since"][:19])
        before, page = self.posted()["written"], self.page_of("long", "currently-executing")
        until(lambda: self.posted()["written"] > before, "posted again though nothing happens", 15)
        until(lambda: self.page_of("long", "currently-executing") != page, "so is its page", 15)

    def test_promtool_finds_nothing(self):
        need("promtool")
        self.drop("one", uow("true"))
        self.run_until_empty()
        with open(self.path("status", "metrics.prom")) as file:
            done = subprocess.run(["promtool", "check", "metrics"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual((done.returncode, done.stdout.decode()), (0, ""))

    @heavy
    def test_at_most_once_a_second_files_whole_and_pages_bounded(self):
        for i in range(60):
            self.drop("quick-%03d" % i, uow("echo hello; sleep 0.02"))
        seen, over = {}, threading.Event()

        def watch():
            while not over.is_set():
                try:
                    for name, ending in (("index.html", "</html>\n"), ("status.json", "}\n"), ("metrics.prom", "\n")):
                        text = self.read("status", name)
                        if not text.endswith(ending):
                            seen["half " + name] = text[-40:]
                    seen.setdefault(self.posted()["written"], time.monotonic())
                except FileNotFoundError:
                    pass
                over.wait(0.002)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.run_until_empty()
        finally:
            over.set()
            watcher.join()
        written = sorted(time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) + float(stamp[19:-1]) for stamp in seen if not stamp.startswith("half"))
        self.assertEqual([stamp for stamp in seen if stamp.startswith("half")], [])
        self.assertGreaterEqual(len(written), 2)
        for one, two in list(zip(written, written[1:]))[:-1]:        # the last says `stopped`
            self.assertGreater(two - one, 0.95)
        self.just_the_links(30)
        self.assertEqual(self.posted()["queues"]["done_q"], 60)

    @heavy
    def test_many_finished_uows_cost_little(self):
        """Four posts after four jobs take no more than with an empty done-q, but for less than two listings."""
        def cost_of_four(names, had=0):
            monitor = self.started()
            until(lambda: self.posted()["queues"]["done_q"] == had, self.says)
            before = cpu_of(monitor.pid)
            for i in range(4):                               # each is seen in the next post
                self.drop("%s-%d" % (names, i), uow("true"))
                until(lambda: self.posted()["queues"]["done_q"] == had + 1 + i, self.says)
            return cpu_of(monitor.pid) - before, monitor

        few, monitor = cost_of_four("early")
        self.stop(monitor)
        first = self.write("done-q/job-0", "==== UNIT OF WORK\nCOMMAND :: true\n==== STATUS\ndone: exit 0 after 0.0 s\n==== JOB LOG\n")
        for i in range(1, 30000):
            os.link(first, self.path("done-q", "job-%d" % i))
        before = time.process_time()
        for name in os.listdir(self.path("done-q")):
            os.lstat(self.path("done-q", name))
        listing = time.process_time() - before
        many, monitor = cost_of_four("quick", 30004)
        self.assertLess(many, few + 2 * listing)
        self.assertEqual(self.posted()["finished"][0]["name"], "quick-3")
        self.assertEqual(self.posted()["finished_by_hour"][-1]["done_q"] + self.posted()["finished_by_hour"][-2]["done_q"], 30008)
        self.assertLess(peak_kb(monitor.pid), 60_000)
        os.rename(self.path("done-q", "quick-3"), self.path("archive", "quick-3"))
        until(lambda: self.posted()["finished"][0]["name"] == "quick-2", "what is gone is named no longer, though no listing is due")

    def nowhere_to_post(self, why, mend):
        """See that it is said once, that no job is harmed, and that all is posted when mend() has ended it."""
        self.started()
        for i in range(3):
            self.drop("job-%d" % i, uow("sleep 1"))          # a post may be tried again after a second
            self.assertEqual(self.ended("job-%d" % i), "done-q")
        self.said("the status cannot be posted into %s: %s" % (self.path("status"), why))
        self.assertEqual(self.says().count("cannot be posted"), 1)
        mend()
        self.said("over: the status cannot be posted")
        self.just_the_links(3)

    def test_a_directory_that_cannot_be_written_is_said_once_and_harms_no_job(self):
        self.write("status", "in the way")
        self.nowhere_to_post("", lambda: os.unlink(self.path("status")))

    @heavy
    def test_a_link_in_place_of_the_pages_is_not_followed(self):
        os.mkdir(self.path("status"))
        os.mkdir(self.path("foreign"))
        self.write("foreign/123.html", "theirs")
        os.symlink("../foreign", self.path("status", "uow"))

        def mend():
            self.assertEqual(os.listdir(self.path("foreign")), ["123.html"])
            self.assertEqual(self.read("foreign/123.html"), "theirs")
            os.unlink(self.path("status", "uow"))
            os.mkdir(self.path("status", "uow"))

        self.nowhere_to_post("%s is a symbolic link; expected a directory" % self.path("status", "uow"), mend)

    def test_a_full_disk_keeps_what_was_posted_and_harms_no_job(self):
        need_root()
        need("mount", "umount")
        os.mkdir(self.path("status"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", self.path("status")], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", "-l", self.path("status")], check=True))
        self.drop("before", uow("true"))
        self.started()
        self.ended("before")
        until(lambda: os.path.exists(self.path("status", "index.html")) and "before" in self.index(), "posted")
        ballast = open(self.path("status", "ballast"), "wb", 0)
        self.addCleanup(ballast.close)

        def is_full():                               # also of what a post that was under way has given back
            with self.assertRaises(OSError):
                while True:
                    ballast.write(bytes(1024))
            return "the status cannot be posted into %s: No space left" % self.path("status") in self.says()
        is_full()
        old = self.index()
        self.drop("while-full", uow("true"))
        self.assertEqual(self.ended("while-full"), "done-q")
        until(is_full, self.says)
        self.assertEqual(self.index()[-8:], "</html>\n")
        self.assertIn("before", old)
        os.truncate(self.path("status", "ballast"), 0)
        self.said("over: the status cannot be posted")
        until(lambda: "while-full" in self.index(), "posted again")
        until(lambda: not [name for name in os.listdir(self.path("status")) if name.startswith(".")], "no half file")

    def test_what_not_everybody_may_read_is_not_posted(self):
        os.chmod(self.drop("secret", uow("echo log-secret", PASSWORD="header-secret")), 0o600)
        os.chmod(self.drop("running", uow("echo log-secret; sleep 100")), 0o640)
        self.started()
        self.ended("secret"), self.running("running")
        until(lambda: self.posted()["running"] and "sec" in self.index(), "posted")
        texts = [self.read("status", name) for name in ("index.html", "status.json")] + [self.read("status", "uow", page) for page in self.pages()]
        self.assertEqual([text for text in texts if "log-secret" in text or "header-secret" in text], [])
        self.assertIn("Not everybody may read this UOW", self.page_of("secret", "done-q"))
        self.just_the_links(2)

    def test_what_may_be_read_no_longer_loses_its_text(self):
        path = self.path("done-q", "told")
        self.drop("told", uow("echo log-secret", PASSWORD="header-secret"))
        self.started()
        self.ended("told")

        def shown():
            texts = self.index() + self.read("status", "status.json") + self.page_of("told", "done-q")
            return [word for word in ("log-secret", "header-secret") if word in texts]

        until(lambda: os.path.exists(self.path("status", "metrics.prom")) and "told" in self.index(), "posted")
        for mode, words in ((0o644, ["log-secret", "header-secret"]), (0o640, [])):
            os.chmod(path, mode)
            until(lambda: shown() == words, lambda: "%s at mode %o: %s" % (words, mode, shown()))

    def test_a_monitor_says_that_not_everybody_may_read_is_not_posted(self):
        """It repeats lines of UOWs: what is wrong in a header, the commands of the running job."""
        os.chmod(self.write("monitor_says", ""), 0o640)
        os.chmod(self.drop("secret", "==== UNIT OF WORK\nPASSWORD = header-secret\n"), 0o600)
        self.started()
        self.said("header-secret")
        until(lambda: os.path.exists(self.path("status", "metrics.prom")) and self.posted()["queues"]["trash"] == 1, "posted")
        self.assertNotIn("header-secret", self.index())
        os.chmod(self.path("monitor_says"), 0o644)
        until(lambda: "header-secret" in self.index(), "posted since everybody may read it")

    def test_a_status_that_a_person_wrote_keeps_nothing_from_being_posted(self):
        for number, took in enumerate(("...", "1.2.3", ".", "9" * 400, "1e999", "nan", "-1", "12", "9" * 15, "0.0000000001")):
            self.write("done-q/by-hand-%d" % number, stamped_uow(uow("true"), "done: exit 0 after %s s" % took))
        self.write("error-q/no-utf-8", stamped_uow(uow("false"), "error: caf\udce9 after \u0661 s"))
        self.started()
        self.drop("a", uow("true"))
        self.ended("a")
        until(lambda: self.posted()["queues"]["done_q"] == 11, self.says)
        seconds = {one["name"]: one["seconds"] for one in self.posted()["finished"]}
        read = {name: took for name, took in seconds.items() if name.startswith("by-hand") and took is not None}
        self.assertEqual(read, {"by-hand-7": 12, "by-hand-8": 999999999999999}, seconds)
        self.there("status", "metrics.prom")
        self.assertNotIn("cannot be posted", self.says())

    def test_a_colour_of_thousands_of_zeros_holds_up_neither_page_nor_job(self):
        """A search of the third power in one colour sequence had hung the cycle: no KILL JOB was heard."""
        self.drop("zeros", uow("z=$(printf %04000d 0); printf '\\033[38;2;%s;%smtold\\n' $z $z; sleep 600"))
        self.started()
        self.running("zeros")
        until(lambda: self.posted()["running"]
              and "told" in self.page_of("zeros", "currently-executing").partition("<pre>")[2], "its page")
        self.message("KILL JOB")
        self.assertEqual(self.ended("zeros"), "fail-q")

    def test_a_uow_keeps_its_page_through_the_queues_and_one_that_is_gone_is_not_named(self):
        self.message("PAUSE")
        self.drop("x", uow("echo hello; exit 1"))
        self.started()
        self.just_the_links(1)
        first = self.named()
        self.assertIn("wait-q", self.page_of("x", "wait-q"))
        self.message("RESUME")
        self.ended("x")
        until(lambda: "! error" in self.index(), "finished")
        self.assertEqual(self.named(), first)
        self.assertIn("hello", self.page_of("x", "error-q"))
        os.rename(self.path("error-q", "x"), self.path("archive", "x"))
        until(lambda: self.posted()["queues"]["archive"] == 1 and self.posted()["queues"]["error_q"] == 0, "archived")
        until(lambda: not self.pages() and not self.named(), "named no longer")

    def test_reload_moves_or_ends_posting(self):
        self.write("status-note", "")
        self.drop("x", uow("true"))
        self.started()
        self.ended("x")
        self.just_the_links(1)
        with open(self.path("status", "uow", "note"), "w") as file:
            file.write("mine")
        self.configure("status_dir :: elsewhere\nsleep_seconds :: 1\n")
        self.message("RELOAD")
        self.just_the_links(1, "elsewhere")
        os.rename(self.path("elsewhere"), self.path(".away"))        # at once: a post may be under way
        self.just_the_links(1, "elsewhere")
        self.assertTrue(os.path.exists(self.path("status", "uow", "note")))
        self.configure("status_dir ::\nsleep_seconds :: 1\n")
        self.message("RELOAD")
        self.said("configuration read", count=2)
        before = self.index("elsewhere")
        self.drop("y", uow("true"))
        self.ended("y")
        self.assertEqual(self.index("elsewhere"), before)

    def test_a_foreign_file_among_the_pages_stays(self):
        os.makedirs(self.path("status", "uow", "directory.html"))
        self.write("status/uow/note.txt", "mine")
        self.write("status/uow/123456789.html", "an old page")
        self.write("status/uow/.new.1", "half a page")
        self.drop("x", uow("true"))
        self.run_until_empty()
        self.assertEqual(sorted({*os.listdir(self.path("status", "uow"))} - {*self.named()}), ["directory.html", "note.txt"])
        self.assertNotIn("cannot be posted", self.says())


@heavy
class TestInTheBrowser(PostCase):
    @classmethod
    def setUpClass(cls):
        need("chromium", "nginx")
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def serve(self):
        """Start a real nginx with the location block of README.md and return the address of the status page."""
        block = next(block for block in fenced(read_text(README)) if "alias /srv/jobs/status/" in block).replace("/srv/jobs/status/", self.path("status", ""))
        self.assertIn(self.path("status", ""), block)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.mkdir(self.path("nginx"))
        self.write("nginx/conf", "%sdaemon off; pid nginx.pid; error_log stderr;\nevents {}\nhttp { access_log off; charset utf-8; types { text/html html; }\n"
                   "client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n"
                   "server { listen 127.0.0.1:%d;\n%s\n} }\n" % ("user root;\n" if os.geteuid() == 0 else "", port, block))
        with open(self.path("nginx/errors"), "wb") as errors:
            nginx = subprocess.Popen(["nginx", "-p", self.path("nginx"), "-c", self.path("nginx/conf")], stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

        self.stop_nginx = lambda: (nginx.terminate(), nginx.wait(30))
        self.addCleanup(self.stop_nginx)
        self.base = "http://127.0.0.1:%d%s" % (port, re.search(r"location (\S+)", block).group(1))
        until(lambda: self.answers("index.html") or nginx.poll() is not None, lambda: self.read("nginx/errors"))
        return self.base

    def answers(self, path):
        try:
            with urllib.request.urlopen(self.base + path, timeout=30) as answer:
                return answer.status == 200 and answer.read()
        except OSError:
            return False

    def texts(self, selector):
        return self.browser.js("[...document.querySelectorAll(%s)].map(e => e.textContent)" % json.dumps(selector))

    def look(self, *what):
        """Check the page in hand at both widths and in both colour schemes."""
        for width in (360, 1280):
            for scheme in ("light", "dark"):
                self.browser.view(width, scheme)
                got, out = self.browser.js(CONTRAST), self.browser.js(OVERFLOW)
                self.assertGreater(got["n"], 5)
                self.assertEqual((got["bad"], out["wide"] > 0), ({}, False), (what, width, scheme, out))

    def test_the_page_of_real_work(self):
        self.drop("compile", uow("printf '\\033[01;31merror:\\033[0m <script>window.hit=2</script> \\033[38;5;208mwarm\\033[0m "
                                 "\\033[48;2;0;128;0mtrue\\033[0m \\033[1mbold\\033[0m\\n'; exit 1", TICKET="<script>window.hit=3</script>"))
        self.drop("palette", uow("for c in $(seq 30 37) $(seq 90 97) $(seq 40 47) $(seq 100 107); do printf '\\033[%sm %s \\033[0m' $c $c; done; "
                                 "printf '\\033[7m inverse \\033[0m \\033[2mdim\\033[0m\\n 10%% \\r 100%%\\n'"))
        self.drop("long-log", uow("seq 1 40000"))
        self.drop("crash", uow("ulimit -c 0; kill -SEGV $$"))
        for i, name in enumerate(HOSTILE):
            self.drop(name, uow("echo hello; exit %d" % (i % 2)))
        self.run_until_empty()
        self.drop("now", uow(COUNT, TIMEOUT="30m"), "priority-q")
        self.started()
        self.running("now")
        self.drop("next", uow("true"))
        until(lambda: self.posted()["running"] and self.posted()["waiting"], "posted")
        until(lambda: len(self.named()) == 14, self.named)
        url, browser = self.serve(), self.browser
        browser.view(1280)
        browser.go(url)
        with self.subTest("the index lists what the directories hold"):
            names = self.texts("[aria-labelledby=finished] tbody th a")
            self.assertEqual(len(names), sum(len(os.listdir(self.path(queue))) for queue in ("done-q", "error-q", "fail-q")))
            counts = dict(reversed(text.split()) for text in self.texts("#queues li"))
            for queue in ("done-q", "error-q", "fail-q", "wait-q", "priority-q", "currently-executing", "trash"):
                there = [name for name in os.listdir(self.path(queue)) if not name.startswith(".")]
                self.assertEqual(counts[queue], str(len(there)), queue)
            for name in ("<script>window.hit=1<b>", "caf\u00e9-\ufffd\ufffd", "new\ufffdline", "\ufffdgnp.exe"):
                self.assertIn(name, names)
            self.assertEqual(browser.js("document.querySelector('h1').textContent"), "running")
            self.assertEqual(self.texts("[aria-labelledby=waits] tbody th a"), ["next"])
            self.assertIn("killed by SIGSEGV", browser.js("document.body.textContent"))
            self.assertEqual(browser.js("document.querySelectorAll('svg.chart g rect').length"), 3)
            self.assertIn("of the timeout", self.texts("[aria-labelledby=running]")[0])
            self.assertIn("started now", self.texts("[aria-labelledby=says]")[0])
        with self.subTest("what people and jobs wrote stays text"):
            self.assertEqual(browser.js("[typeof window.hit, document.querySelectorAll('main b').length, document.scripts.length]"), ["undefined", 0, 1])
        self.look("index")
        links = browser.js("[...document.links].map(e => e.href)")
        self.assertEqual(len(set(links)), len(names) + 4)
        for link in set(links):
            with self.subTest(link=link):
                self.assertEqual(urllib.parse.urlsplit(link).netloc, urllib.parse.urlsplit(url).netloc)
                self.assertTrue(self.answers(link[len(url):]))
        pages = dict(browser.js("[...document.querySelectorAll('[aria-labelledby=finished] a')].map(e => [e.textContent, e.href])"))
        with self.subTest("colours"):
            browser.go(pages["compile"])
            styles = dict(browser.js("[...document.querySelectorAll('.log span')].map(e => [e.textContent, [getComputedStyle(e).color,"
                                     " getComputedStyle(e).backgroundColor, getComputedStyle(e).fontWeight]])"))
            self.assertEqual(styles["error:"][::2], ["rgb(255, 123, 114)", "700"])
            self.assertEqual(styles["warm"][0], "rgb(255, 135, 0)")
            self.assertEqual(styles["true"][:2], ["rgb(255, 255, 255)", "rgb(0, 128, 0)"])
            self.assertEqual(styles["bold"][2], "700")
            self.assertIn("<script>window.hit=2</script>", self.texts(".log")[0])
            self.assertIn("TICKET :: <script>window.hit=3</script>", self.texts("[aria-labelledby=header]")[0])
            self.assertEqual(browser.js("[typeof window.hit, document.scripts.length]"), ["undefined", 1])
            self.look("compile")
        browser.go(pages["palette"])
        self.assertNotIn("10% ", self.texts(".log")[0])
        self.look("palette")
        browser.go(pages["long-log"])
        for part in ("\n3000\n", "\n40000\n", "bytes are left out", self.path("done-q", "long-log")):
            self.assertIn(part, self.texts(".log")[0])
        self.assertNotIn("\n20000\n", self.texts(".log")[0])
        self.look("long-log")
        browser.go(pages[next(name for name in pages if name.startswith("xxx"))])
        self.look("long-name")

    def test_what_runs_advances_and_the_reader_keeps_the_place(self):
        self.drop("now", uow(COUNT))
        for i in range(40):
            self.drop("later-%d" % i, uow("true"))
        self.started()
        self.running("now")
        until(lambda: self.posted()["running"], "posted")
        url, browser = self.serve(), self.browser
        browser.view(360)
        browser.go(url)
        before = self.texts(".elapsed")
        browser.js("scrollTo(0, 700)")
        until(lambda: self.texts(".elapsed") not in (before, []), "the index advances")
        self.assertEqual(browser.js("[Math.round(scrollY), history.length > 3]")[0], 700)

    def test_a_page_that_no_monitor_writes_is_stale_and_comes_back(self):
        monitor = self.started()
        self.there("status", "index.html")
        url, browser = self.serve(), self.browser
        browser.view(1280)
        browser.go(url)
        stale = "[document.body.matches('.stale') ? 'stale' : '', getComputedStyle(document.querySelector('#stale')).display, getComputedStyle(document.querySelector('h1')).textDecorationLine]"
        self.assertEqual(browser.js(stale), ["", "none", "none"])
        end = time.monotonic() + 1.2 * float(browser.js("document.body.dataset.patience"))
        while time.monotonic() < end:                        # a living Monitor never looks stale
            self.assertEqual(browser.js(stale), ["", "none", "none"])
            time.sleep(0.2)
        self.kill9(monitor)
        until(lambda: browser.js(stale) == ["stale", "block", "line-through"], "stale after a kill")
        browser.go(url)
        until(lambda: browser.js(stale)[0] == "stale", "stale at once, as the page is shown", seconds=5)      # and not after patience
        self.look("stale")
        browser.view(1280)
        monitor = self.started()
        until(lambda: browser.js(stale) == ["", "none", "none"], "it lives again")
        self.stop(monitor)
        until(lambda: self.texts("h1") == ["stopped"], "stopped")
        self.assertIn("not written again until the Monitor starts", self.texts("header")[0])

    def failing(self, command="seq 1 3000; echo; echo 'the cause <b>'; echo; exit 3", **header):
        """Serve the page of a queue with one failure, and return its address, what it holds and its browser."""
        self.drop("bad", uow(command, **header))
        monitor = self.started()
        self.ended("bad")
        until(lambda: self.there("status", "metrics.prom") or self.posted()["failed"][:1] and self.posted()["failed"][0]["name"] == "bad" and "bad" in self.index(), "posted")
        self.browser.view(1280, height=800)
        return monitor, self.serve(), self.browser

    def y(self, selector, side="top"):
        return self.browser.js("document.querySelector(%s).getBoundingClientRect().%s" % (json.dumps(selector), side))

    def test_what_failed_last_and_what_is_wrong_stand_first(self):
        for i in range(12):
            old = self.write("fail-q/old-%d" % i, stamped_uow(uow("x"), "fail: killed by message", "==== JOB START 2026-01-02T03:04:05Z run a-1\nlast words %d\n" % i))
            os.utime(old, (time.time() - 7200 - i,) * 2)
        self.write("trash/thing", "x")
        monitor, url, browser = self.failing()
        browser.go(url)
        until(lambda: self.texts("#failed-part time")[:2] and "ago" in self.texts("#failed-part time")[0], "the script shows how long ago")
        self.assertEqual(self.texts("#failed-part .name"), ["bad"] + ["old-%d" % i for i in range(9)])
        self.assertEqual(self.texts("#failed-part .failure:nth-child(-n+2) .cause span"), ["2999", "3000", "the cause <b>", "last words 0"])
        self.assertLess(self.y("#failed-part .cause", "bottom"), 500)
        self.assertLess(self.y("#failed-part"), self.y(".chart"))
        self.assertEqual(self.texts(".wrong li"), ["1 in trash: not a valid UOW"])
        os.rename(self.path("done-q"), self.path("away"))
        until(lambda: "? done-q" in self.texts("#queues li") and self.posted()["queues"]["done_q"] is None, lambda: self.texts("#queues li"))
        os.rename(self.path("away"), self.path("done-q"))
        until(lambda: "0 done-q" in self.texts("#queues li"), "listed again")
        self.assertRegex(browser.js("document.title"), "^✕13 · idle · " + re.escape(self.root))
        self.assertIn("circle", browser.js("document.querySelector('[rel=icon]').href"))

    def test_a_log_opens_at_its_end(self):
        monitor, url, browser = self.failing()
        self.addCleanup(browser, "Emulation.setScriptExecutionDisabled", value=False)
        for disabled in (True, False):
            browser("Emulation.setScriptExecutionDisabled", value=disabled)
            browser.go(url + "uow/" + self.named()[0])
            self.assertGreater(self.y(".log", "height"), 300)
            self.assertLessEqual(self.y(".log pre:last-of-type", "bottom"), 800)
        self.assertRegex(self.texts("header")[0], r"(?s)error exit 3 after .* by \w+ .*ran \d\.\d s · 1 run in its log")
        browser.js("document.querySelector('[href=\"#log-start\"]').click()")
        until(lambda: self.y(".log pre") >= self.y(".log"), "at its start")
        browser("Emulation.setEmulatedMedia", media="print")
        self.addCleanup(browser, "Emulation.setEmulatedMedia", media="")
        self.assertEqual(browser.js("(e => e.scrollHeight - e.clientHeight)(document.querySelector('.log'))"), 0)
        self.assertGreater(self.y(".log", "height"), 20000)
        self.assertLess(self.y(".log", "bottom"), self.y("#header"), "what follows the log is not printed over it")

    def test_what_changes_is_swapped_and_the_reader_not_disturbed(self):
        self.drop("now", uow("seq 1 500; until [ -e go ]; do echo more; sleep 0.1; done"))
        self.started()
        self.running("now")
        until(lambda: self.there("status", "metrics.prom") or self.posted()["running"], "posted")
        url, browser = self.serve(), self.browser
        browser.view(1280, height=800)
        browser.go(url)
        browser.js("window.kept = 1; document.querySelector('#running-part a').focus()")
        served = browser.js("getSelection().selectAllChildren(document.querySelector('h1')), document.body.dataset.written")
        until(lambda: browser.js("newest > data.written"), "loaded, and not shown while text is selected")
        self.assertEqual((browser.js("document.body.dataset.written"), browser.js("String(getSelection())").lower()), (served, "running"))
        browser.js("getSelection().removeAllRanges()")
        until(lambda: browser.js("document.body.dataset.written") > served, "shown")
        self.assertEqual((browser.js("window.kept"), browser.js("document.activeElement.textContent")), (1, "now"))
        browser.go(browser.js("document.activeElement.href"))
        log, top = "document.querySelector('.log')", "(e => e.scrollHeight - e.clientHeight + e.scrollTop)(document.querySelector('.log'))"
        browser.js(log + ".scrollTop = -3000")
        place, size = browser.js("[%s, %s.scrollHeight]" % (top, log))
        until(lambda: browser.js(log + ".scrollHeight") > size, "more")
        self.assertLess(abs(browser.js(top) - place), 2)
        browser.js(log + ".scrollTop = 0")
        self.write("go", "")
        until(lambda: "done" in self.texts("header")[0], "it has ended")
        self.assertGreater(browser.js(log + ".scrollTop"), -2)

    def test_its_age_and_a_server_that_is_gone(self):
        monitor, url, browser = self.failing()
        browser.go(url)
        until(lambda: re.fullmatch(r"· \d+ s ago", self.texts("#age")[0]), lambda: self.texts("#age"))
        self.kill9(monitor)
        self.write("status/index.html", re.sub(r'data-written="\d+', 'data-written="%d' % (time.time() - 100), self.index()))
        wrong = browser("Page.addScriptToEvaluateOnNewDocument", source="Date.now = () => 0")["identifier"]
        self.addCleanup(browser, "Page.removeScriptToEvaluateOnNewDocument", identifier=wrong)
        browser.go(url)
        until(lambda: browser.js("document.body.matches('.stale')"), "stale at first sight, whatever the reader's clock", seconds=5)
        self.assertEqual((self.texts("#age"), browser.js("document.title")[:5]), (["· 1 min ago"], "stale"))
        self.assertIn("8a8a8a", browser.js("document.querySelector('[rel=icon]').href"))
        self.stop_nginx()
        until(lambda: not browser.js("document.querySelector('#fault').hidden"), "it says that the server does not answer")
        self.assertEqual(self.texts("#failed-part .name"), ["bad"])

    def test_it_is_dense_and_in_the_reader_s_zone(self):
        monitor, url, browser = self.failing(TIMEOUT="1d")
        self.drop("good", uow("true"))
        until(lambda: len(self.named()) == 2 and "✓ done" in self.index(), "posted")
        browser("Emulation.setTimezoneOverride", timezoneId="Asia/Kolkata")
        self.addCleanup(browser, "Emulation.setTimezoneOverride", timezoneId="")
        browser.view(1920)
        browser.go(url)
        for items, side, number in ((".col", "left", 3), ("#queues li", "top", 1)):
            self.assertEqual(browser.js("new Set([...document.querySelectorAll('%s')].map(e => e.getBoundingClientRect().%s)).size" % (items, side)), number)
        self.assertLess(self.y("#finished-part tbody tr", "height"), 40)
        ended = "(e => [e.textContent, e.title])(document.querySelector('#finished-part time'))"
        local, utc = until(lambda: browser.js(ended)[0] != browser.js(ended)[1][11:19] and browser.js(ended), "the script has shown times")
        self.assertEqual(local, time.strftime("%H:%M:%S", time.gmtime(time.mktime(time.strptime(utc, "%Y-%m-%d %H:%M:%S UTC")) - time.timezone + 19800)))
        rows = "[...document.querySelectorAll('#finished-part tbody tr')].filter(e => e.checkVisibility()).map(e => e.querySelector('.name').textContent)"
        typed = "(e => { e.value = 'GOO'; e.dispatchEvent(new Event('input', {bubbles: true})) })(document.querySelector('#find'))"
        for act, names in (("0", ["good", "bad"]), ("only.click()", ["bad"]), ("only.click(), " + typed, ["good"])):
            browser.js(act)
            self.assertEqual(browser.js(rows), names)

    def test_the_pages_of_failures_live_longer(self):
        for i in range(140):
            path = self.write("%s/job-%d" % ("done-q" if i < 30 else "error-q", i), stamped_uow(uow("true"), "done: x"))
            os.utime(path, (time.time() - 1000 - i,) * 2)
        self.started()
        self.just_the_links(130)
