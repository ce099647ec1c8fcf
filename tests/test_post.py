"""Post, the pure part: which page, numbers and colours come out for what goes in."""
import base64
import hashlib
import html.parser
import json
import random
import re
import time
import unittest
from types import SimpleNamespace

from . import helpers  # it puts the checkout on the path, too
import monitor as m

NOW = 1795530187.417                 # 2026-11-24T14:23:07.417Z
NAMES = ["<script>alert(1)</script>", "two words & 'quotes'", "new\nline", "caf\u00e9-\udcff\udcfe", "-rf", "x" * 255, "\u202egnp.exe",
         "..%2e%2eetc", "\x1b[31mred", "\"><img src=x onerror=alert(2)>", "javascript:alert(3)"]


def snapshot(state="running", **other):
    """Return a Snapshot of a queue that has seen everything."""
    job = m.Entry("currently_executing", "deploy", "1310999.html", NOW - 900, NOW - 252.4, command="make deploy", seconds=252.4, timeout=1800.0, run="5f3a1c22-41", timeout_is_set=True)
    recent = [m.Entry(["done_q", "error_q", "fail_q"][i % 3 if i % 5 == 0 else 0], name, "%d.html" % (100 + i), NOW - 900, NOW - 60 * i - 10, NOW - 60 * i,
                      "done: exit 0 after 10.0 s", "make deploy", 10.0 + i) for i, name in enumerate(NAMES)]
    waiting = [m.Entry("priority_q", "hotfix", "900.html", NOW - 42), m.Entry("wait_q", "<b>bold</b>", "901.html", NOW - 7500)]
    values = dict(
        written=NOW, state=state, reason="because ready_command refuses (exit 1)" if state == "waiting" else "", since=NOW - 4521, paused=state == "paused",
        every=3, root="/srv/queue", running=job if state == "running" else None, waiting=waiting, recent=recent,
        queues=dict(zip(m.DIRECTORIES, [16, 1, int(state == "running"), 12894, 31, 4, 2, 0])),
        hours=[{"done_q": 20 * (i % 4), "error_q": i % 3, "fail_q": int(i == 7)} for i in range(24)],
        says=["2026-11-24T14:22:55.000017Z <script> goes to trash"], totals={"done_q": 5, "error_q": 2, "fail_q": 1},
        oldest_wait_seconds=7500.0, last_finish=NOW, wrong=["done-q is missing <b>"], typical=(14.0, 8),
        failed=[entry._replace(queue="error_q", cause=["KeyError: <b>"]) for entry in recent if entry.queue != "done_q"])
    return m.Snapshot(**{**values, "pages": {entry.page for entry in recent + waiting + [job]}, **other})


class Tags(html.parser.HTMLParser):
    """The tags, ids, links and text of a page, which must nest."""

    VOID = {"input", "meta", "link", "br", "line", "rect", "path"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.ids, self.links, self.text = [], [], [], [], ""
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if tag == "a" else []
        assert not any(name.startswith("on") or name == "src" for name in attrs), attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        self.text += data


class TestLogs(unittest.TestCase):
    RED = '<span style="color:#ff7b72">'
    TABLE = [      # what the job wrote, what is shown
        (b"", ""), (b"plain\n", "plain\n"), (b"a\tb", "a\tb"), (b"\xff", "\ufffd"),
        (b"<script>&\"", "&lt;script&gt;&amp;&quot;"),
        (b"\x1b[31mred\x1b[0m off", RED + "red</span> off"),
        (b"\x1b[31m<b>", RED + "&lt;b&gt;</span>"),
        (b"\x1b[31mred\x1b[m off", RED + "red</span> off"),
        (b"\x1b[01;31mx", '<span style="font-weight:bold;color:#ff7b72">x</span>'),
        (b"\x1b[1;2;3;4mx\x1b[22;23;24my", '<span style="font-weight:bold;opacity:.72;font-style:italic;text-decoration:underline">x</span>y'),
        (b"\x1b[91mx", '<span style="color:#ffa198">x</span>'),
        (b"\x1b[104mx", '<span style="background:#2f76ca;color:#ffffff">x</span>'),
        (b"\x1b[107mx", '<span style="background:#ffffff;color:#000000">x</span>'),
        (b"\x1b[31;42mx\x1b[49my\x1b[39mz", '<span style="background:#22873e;color:#ffffff">x</span>' + RED + "y</span>z"),
        (b"\x1b[7mx\x1b[27my", '<span style="background:#c9ced6;color:#000000">x</span>y'),
        (b"\x1b[31;7mx", '<span style="background:#d1433a;color:#ffffff">x</span>'),
        (b"\x1b[38;5;9mx", '<span style="color:#ffa198">x</span>'),
        (b"\x1b[38;5;208mx", '<span style="color:#ff8700">x</span>'),
        (b"\x1b[48;5;232mx", '<span style="background:#080808;color:#ffffff">x</span>'),
        (b"\x1b[38;5;255mx", '<span style="color:#eeeeee">x</span>'),
        (b"\x1b[38;2;1;2;255mx", '<span style="color:#0102ff">x</span>'),
        (b"\x1b[38:2::1:2:255mx", '<span style="color:#0102ff">x</span>'),
        (b"\x1b[38:2:1:2:255mx", '<span style="color:#0102ff">x</span>'),
        (b"\x1b[38;2;255;255;255mx", '<span style="color:#ffffff">x</span>'),
        (b"\x1b[38;2;0;00;000mx", '<span style="color:#000000">x</span>'),
        (b"\x1b[38;2;" + b"0" * 5000 + b"255;01;0002mx", '<span style="color:#ff0102">x</span>'),
        (b"\x1b[38;2;256;1;1;1mx", '<span style="font-weight:bold">x</span>'),
        (b"\x1b[38;2;1;1;1000;1mx", '<span style="font-weight:bold">x</span>'),
        (b"\x1b[38;2;1;2mx", "x"), (b"\x1b[38:5:9;1mx", '<span style="font-weight:bold;color:#ffa198">x</span>'),
        (b"\x1b[4:3mx\x1b[4:0my", '<span style="text-decoration:underline">x</span>y'),
        (b"\x1b[38;5;999mx", "x"), (b"\x1b[38mx", "x"), (b"\x1b[38;7;1mx", '<span style="font-weight:bold">x</span>'),
        (b"\x1b[" + b"9" * 5000 + b"mx", "x"),
        (b"\x1b[2Ja\x1b[1Ab\x1b[?25lc", "abc"),
        (b"\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
        (b"\x1b]unclosed\nkept\x07", "unclosed\nkept"),
        (b"a\x1b(Bb\x1bcc\x00d\x07", "abcd"),
        (b"cut \x1b[38;5", "cut "), (b"cut \x1b", "cut "),
        # progress bars: the last state of the line
        (b"10%\r50%\r100%\n", "100%\n"), (b"10%\r50%\r", "50%"), (b"dos\r\nline\r\n", "dos\nline\n"),
        (b"50%\r\x1b[K\nx", "\nx"), (b"50%\x1b[2K\x1b[1Gdone\n", "done\n"), (b"50%\x1b[Gdone", "done"),
        (b"kept\n10%\rnew", "kept\nnew"),
        (b"\x1b[32m10%\r20%\x1b[0m\n", '<span style="color:#7fd88f">20%</span>\n'),
        (b"\x1b[32m10%\x1b[0m\r20%", "20%"),
        # moves within the line: what is printed takes the place of what was there
        (b"abc\b\b\bXY", "XYc"), (b"abc\rX", "Xbc"), (b"col\x1b[2Cskip", "col  skip"), (b"abcd\x1b[2D\x1b[K!", "ab!"),
        (b"abcd\x1b[2GX", "aXcd"), (b"abcd\x1b[1K", "     "), (b"a\tb\rX\n", "X       b\n"), (b"\b\bx", "x"), (b"x" * 3 + b"\x1b[999D1", "1xx"),
        (b"\x1b[31mabc\x1b[0m\rX\n", "X" + RED + "bc</span>\n"), (b"\x1b[9999Cx", " " * 200 + "x"),
        # some lines up: docker and npm draw the same lines again
        (b"one\ntwo\n\x1b[2A\x1b[2K\rONE\n\x1b[2K\rTWO\nend\n", "ONE\nTWO\nend\n"), (b"1\n2\n\x1b[2A\x1b[Jx", "x"), (b"1\n2\x1b[A3\x1b[B4", "13\n2 4"),
    ]

    def test_colours_and_progress_bars(self):
        for log, expected in self.TABLE:
            with self.subTest(log=log[:40]):
                self.assertEqual(m.ansi_html(log), "<pre>" + expected + "</pre>")

    @helpers.heavy
    def test_hostile_logs_take_linear_time(self):
        for unit in (b"\x1b[", b"\x1b]", b"\x1b[1", b"\x1b[1;31mx", b"\r", b"x\r", b"\x1b", b"\x1bP0", b"<", b"\xff", b"x\n", b"\x1b[38;5;", b"x\x1b[99C",
                     b"\t\r", b"\x1b[A", b"x\n\x1b[A", b"x\n\x1b[99A", b"x\b", b"\x1b[K", b"\x1b[1K\n"):
            with self.subTest(unit=unit):
                spent = []
                for size in (1 << 16, 1 << 18):
                    began = time.process_time()
                    m.ansi_html((unit * size)[:size])
                    spent.append(time.process_time() - began)
                self.assertLess(spent[1], max(12 * spent[0], 0.5), spent)
        for numbers in (2, 3):                           # of a colour: as long as it likes, and one too few
            with self.subTest(numbers=numbers):
                began = time.process_time()
                m.ansi_html(b"\x1b[38;2;" + b";".join([b"0" * 1000] * numbers) + b"mx")
                self.assertLess(time.process_time() - began, 0.5)

    def test_whatever_a_job_writes_stays_text(self):
        rng = random.Random(1)
        for _ in range(300):
            junk = bytes(rng.choice(b"\x1b[]0123;:mK\r\n<>&\"'x\xc3\x9b\x07\\") for _ in range(200))
            self.assertLessEqual(set(Tags(m.ansi_html(junk)).seen), {"pre", "span"})

    def test_a_long_log_is_head_and_tail_in_whole_lines(self):
        self.assertIn("no output yet", m.log_excerpt(b"", b"", 0, "/x"))
        self.assertIn("<pre>a\nb\n</pre>", m.log_excerpt(b"a\n", b"b\n", 0, "/x"))
        text = m.log_excerpt(b"first\nhal", b"lf\nlast\n", 2_000_000, "/q/<b>")
        for part in ("<pre>first\n</pre>", "<pre>last\n</pre>", "2,000,006 bytes are left out", "/q/&lt;b&gt;"):
            self.assertIn(part, text)
        endless = m.log_excerpt(b"x" * 9000, b"y" * 9000, 5, "/x")
        for part in ("x" * 9000, "y" * 9000, "5 bytes"):
            self.assertIn(part, endless)

    def test_a_log_of_nothing_but_colours_stays_small(self):
        log = b"".join(b"\x1b[%dmx" % (31 + i % 7) for i in range(11000))
        s, seen = snapshot(), SimpleNamespace(header="", owner="", head=log[:32768], tail=log[32768:65536], left_out=0)
        for seen.left_out in (0, 1):
            self.assertLess(len(m.page_uow(s, s.recent[0], seen, "/x").encode()), 300_000)
        self.assertIn(self.RED, m.ansi_html(log[:9000]))

    def test_the_cause_is_the_last_lines_of_the_last_run(self):
        start, end = (b"==== JOB %s 2026-11-24T14:00:0%d.5Z run a-%d" % (word, n, n) for word, n in ((b"START", 1), (b"END", 9)))
        log = start + b"\nold\n\n" + start + b"\none\ntwo \n\n\x1b[31mthree\x1b[0m\nx\rfour\n\n\n" + end + b" exit 1\nlate\n"
        for output, lines in ((log, ["two", "three", "four"]), (start + b"\n\n" + end + b" exit 1\n", []), (b"x" * 9000, ["x" * 199 + "…"])):
            self.assertEqual(m.cause_of(output), lines)

    def test_the_cause_of_a_log_without_an_end_is_found_as_fast(self):
        began = time.process_time()
        self.assertEqual(m.cause_of(b"x\n" * 2 * m.CAUSE_READ), ["x"] * 3)
        self.assertLess(time.process_time() - began, 0.2)

    def test_how_long_a_run_took(self):
        log = b"==== JOB START 2026-11-24T14:00:01.5Z run a-1\nx\n==== JOB END 2026-11-24T14:00:09Z run a-%d exit 143\n"
        for status, run, seconds in (("done: exit 0 after 12.3 s, cpu 8.1 s, 34 MiB", 1, 12.3), ("fail: timed out after 1800 s", 1, 1800),
                                     ("fail: killed by message", 1, 7.5), ("fail: killed by message", 2, 8.5), ("fail: interrupted", 2, None)):
            self.assertEqual(m.length_of(status, log % run, m.read_time("2026-11-24T14:00:10Z") / 1e6), seconds, status)


class TestWords(unittest.TestCase):
    def test_lengths(self):
        for seconds, text in [(-5, "0.0 s"), (0, "0.0 s"), (9.34, "9.3 s"), (60, "1 min 0 s"), (252.4, "4 min 12 s"), (3599.9, "1 h 0 min"),
                              (7500, "2 h 5 min"), (86400, "1 d 0 h"), (90000000, "1,041 d 16 h")]:
            self.assertEqual(m.length_text(seconds), text, seconds)

    def test_escapes(self):
        for text, out in [("<&\"'", "&lt;&amp;&quot;&#x27;"), ("\udcff", "\ufffd"), ("a\x1bb", "a\ufffdb"), ("a\r\nb\tc", "a\nb\tc"), ("\u202egnp", "\ufffdgnp"),
                          ("caf\u00e9 \u20ac", "caf\u00e9 \u20ac")]:
            self.assertEqual(m.esc(text, m.LINES), out)
        self.assertEqual(m.esc("a\r\nb\tc"), "a\ufffdb\ufffdc")      # a name is one line

    def test_times_out_of_all_reason(self):
        for seconds in (-1e18, 0, 1e18):
            self.assertRegex(m.iso(seconds), r"^\d{4}-.*Z$")
            m.time_html(seconds, NOW)

    def test_times_are_of_today_or_have_a_date(self):
        self.assertIn(">14:23:07<", m.time_html(NOW, NOW))
        self.assertIn(">2026-11-23 14:23<", m.time_html(NOW - 86400, NOW))


class TestPages(unittest.TestCase):
    def test_the_index_nests_and_holds_no_foreign_tag_or_link(self):
        for state in ("running", "idle", "paused", "waiting", "stopped"):
            text = m.page_index(snapshot(state))
            page = Tags(text)
            self.assertEqual(len(page.ids), len(set(page.ids)))
            self.assertFalse({"b", "img", "iframe", "object"} & set(page.seen))
            self.assertIn("&lt;script&gt;alert(1)", text)
            self.assertEqual(page.seen.count("script"), 1)
            for link in page.links:
                self.assertRegex(link, r"^(uow/\d+\.html|status\.json|metrics\.prom)$")
            self.assertNotIn("http://", text.replace("http://www.w3.org/2000/svg", ""))

    def test_the_index_names_everything(self):
        s = snapshot()
        text = Tags(m.page_index(s)).text
        for entry in [*s.recent, *s.waiting, s.running]:
            self.assertIn(re.sub("[\n\x1b\u202e\udcff\udcfe]", "\ufffd", entry.name)[:79], text)
        for word in ("14:23:07", "of the median of 8 runs", "of the timeout", "12,894", "priority", "and 15 more", "goes to trash", "4 min 12 s",
                     "KeyError: <b>", "done-q is missing <b>", "2 in trash", "the oldest UOW has waited for 2 h 5 min"):
            self.assertIn(word, text)
        self.assertIn("because ready_command refuses", Tags(m.page_index(snapshot("waiting"))).text)
        self.assertIn("deploy goes on without the Monitor", Tags(m.page_index(snapshot("stopped", running=s.running))).text)
        self.assertIn("no job was running", Tags(m.page_index(snapshot("stopped"))).text)
        well = m.page_index(snapshot(wrong=[], oldest_wait_seconds=3600, queues={**s.queues, "trash": 0, "done_q": None}, failed=[]))
        self.assertIn('<ul class="wrong" aria-label="Wrong"></ul>', well)
        self.assertIn("<strong>?</strong> done-q", well)
        self.assertEqual(Tags(m.failed_html(snapshot(failed=[]))).text, "None.")
        self.assertNotIn("of the timeout", m.page_index(snapshot(running=s.running._replace(timeout_is_set=False))))

    def test_the_chart_tells_every_hour_and_every_failure(self):
        page = m.page_index(snapshot(hours=[dict(done_q=0, error_q=0, fail_q=0)] * 22 + [dict(done_q=1000, error_q=0, fail_q=1), dict(done_q=4, error_q=3, fail_q=0)]))
        self.assertIn('aria-label="Finished jobs per hour, UTC. 13:00: 1,000 done, 0 error, 1 fail. 14:00: 4 done, 3 error, 0 fail."', page)
        bars = re.findall(r'<rect class="(\w+)" x="[\d.]+%" width="3.2%" y="([\d.-]+)" height="([\d.]+)"', page)
        self.assertEqual([key for key, _, _ in bars], ["done_q", "fail_q", "done_q", "error_q"])
        for _, y, height in bars:
            self.assertGreaterEqual(float(height), 3)        # one among a thousand is seen
            self.assertGreaterEqual(float(y), 0)

    def test_extremes(self):
        Tags(m.page_index(snapshot(running=None, queues={}, waiting=[], recent=[], says=[], totals={}, last_finish=0)))
        job = snapshot().running
        for running in (job._replace(timeout=0), job._replace(started=NOW + 3600), job._replace(command=""), job._replace(timeout=1e-9)):
            Tags(m.page_index(snapshot(running=running)))
        Tags(m.page_index(snapshot(recent=[entry._replace(seconds=0.0) for entry in snapshot().recent])))
        Tags(m.page_index(snapshot(recent=[entry._replace(seconds=None, status="fail: interrupted") for entry in snapshot().recent])))
        self.assertIn("and 7 more", m.page_index(snapshot(waiting=[], queues={"wait_q": 7})))

    def test_a_page_that_waits_for_the_monitor_reloads_and_can_be_stale(self):
        for state, refresh, patience in (("running", True, True), ("idle", True, True), ("stopped", True, False)):
            text = m.page_index(snapshot(state))
            self.assertEqual(('http-equiv="refresh" content="5"' in text, 'data-patience="10"' in text), (refresh, patience), state)

    def test_only_the_page_s_own_script_may_run(self):
        text = m.page_index(snapshot())
        script = re.search(r"<script>(.*?)</script>", text, re.S).group(1)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        self.assertIn("default-src 'none'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; script-src 'sha256-%s'" % digest, text)

    def test_the_page_of_one_uow(self):
        s = snapshot()
        log = b"==== JOB START 2026-11-24T14:00:00Z run a-1\n<script><!--\x00</script>\xe2\x80\xae\n"
        seen = SimpleNamespace(header="X :: <script>\x1b\"><img src=x onerror=alert(2)>", owner="alice", head=log, tail=b"", left_out=0)
        page = m.page_uow(s, s.recent[0]._replace(status="error: exit 3 after 2.0 s, cpu 0.1 s, 34 MiB", seconds=2.0), seen, "/x")
        self.assertEqual((page.count("<script"), page.count("<script>")), (1, 1))
        self.assertFalse({"b", "img", "iframe", "object"} & set(Tags(page).seen))
        self.assertEqual(set(Tags(page).links), {"../index.html", "#log-start", "#log-end"})
        self.assertNotIn('http-equiv="refresh"', page)
        for part in ("exit 3 after 2.0 s, cpu 0.1 s, 34 MiB", "by alice", "ran 2.0 s", "1 run in its log", "<!--</script>\ufffd"):
            self.assertIn(part, Tags(page).text)
        running = m.page_uow(s, s.running, SimpleNamespace(**{**vars(seen), "head": b""}), "/x")
        self.assertIn('http-equiv="refresh" content="5"', running)
        self.assertIn("no output yet", Tags(running).text)


class TestNumbers(unittest.TestCase):
    def test_status_json(self):
        for state in ("running", "idle", "stopped"):
            s = snapshot(state)
            text = m.status_json(s)
            got = json.loads(text)
            self.assertEqual((got["written"], got["state"], got["queues"]), ("2026-11-24T14:23:07.417000Z", state, s.queues))
            self.assertTrue(text.isascii())
            text.encode().decode("unicode_escape").encode("utf-16", "surrogatepass")
        self.assertEqual([got["finished"][i]["name"] for i in (2, 3)], ["new\nline", m.shown("caf\u00e9-\udcff\udcfe")])
        self.assertEqual((got["wrong"], got["trash"], got["failed"][0]["cause"]), (["done-q is missing <b>"], 2, ["KeyError: <b>"]))
        self.assertIsNone(json.loads(m.status_json(snapshot(queues={**s.queues, "done_q": None})))["queues"]["done_q"])
        running = json.loads(m.status_json(snapshot()))["running"]
        self.assertEqual((running["name"], running["run"], running["since"]), ("deploy", "5f3a1c22-41", "2026-11-24T14:18:55.017000Z"))

    def test_metrics(self):
        for state, up, paused in (("running", 1, 0), ("paused", 1, 1), ("stopped", 0, 0)):
            text = m.metrics_prom(snapshot(state))
            for line in ("simple_job_q_up %d" % up, "simple_job_q_paused %d" % paused, 'simple_job_q_jobs{queue="done_q"} 12894',
                         'simple_job_q_finished_jobs_total{outcome="error"} 2', "simple_job_q_wrong 1"):
                self.assertIn("\n%s\n" % line, text)
            for line in text.splitlines():
                self.assertRegex(line, r'^(# (HELP|TYPE) simple_job_q_\w+ .+|simple_job_q_\w+(\{\w+="\w+"\})? -?[0-9.e+]+)$')
