"""Reading and writing UOW text, as truth tables: one row a case, a legend above each table."""
import os
import subprocess
import unittest

from tests.helpers import need                       # also puts the checkout on the path
import monitor
from monitor import BadUow, End

T0 = 1795487400_000000                               # 2026-11-24T02:30:00Z in microseconds
LEAST = b"==== UNIT OF WORK\nCOMMAND :: true\n"
BLANK = b" " * monitor.STATUS_WIDTH + b"\n"
FIRST = b"ENQUEUED :: 2026-11-24T02:30:00.000000Z by alice"
FULL = FIRST + b"\n\n" + LEAST + b"\n==== STATUS\n" + BLANK + b"\n==== JOB LOG\n"


class Table(unittest.TestCase):
    def rows(self, rows, check):
        for number, row in enumerate(rows, 1):
            with self.subTest(number=number, row=ascii(row)[:300]):
                check(*row)


class TestTimes(Table):
    def test_read_time(self):
        # text -> microseconds after T0
        self.rows([
            ("2026-11-24T02:30:00Z", 0), ("2026-11-24T02:30:00z", 0), ("2026-11-24T02:30:00", 0),  # no zone is UTC
            ("2026-11-24 02:30:00", 0), ("2026-11-24T02:30", 0), ("2026-11-24T02:30Z", 0),
            ("  2026-11-24T02:30:00Z\t", 0), ("2026-11-24T02:30:00.5Z", 500_000),
            ("2026-11-24T02:30:00.123456Z", 123_456),
            ("2026-11-24T02:30:00.123456789Z", 123_456),            # `date +%N` has nine digits
            ("2026-11-24T04:30:00+02:00", 0), ("2026-11-23T21:30:00.25-05:00", 250_000),
            ("2026-11-24T04:30:00+0200", 0),                        # `date +%FT%T%z`
            ("2026-11-24T04:30:00+02", 0), ("2026-11-24T02:30:00,5Z", 500_000), ("1970-01-01T00:00:00Z", -T0),
            ("1969-12-31T23:59:59Z", -T0 - 1_000_000),
        ], lambda text, after: self.assertEqual(monitor.read_time(text) - T0, after))

    def test_read_time_refuses(self):
        for text in ("", "now", "2026-11-24", "24.11.2026 02:30", "2026-13-24T02:30:00Z", "2026-11-24T25:00:00Z",
                     "2026-11-24T02:30:00Z x", "20261124T023000Z", "1795487400"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                monitor.read_time(text)

    def test_read_seconds(self):
        # text -> seconds, None is refused
        def check(text, seconds):
            if seconds is None:
                with self.assertRaisesRegex(ValueError, "90s, 30m, 2h, 1d"):
                    monitor.read_seconds(text)
            else:
                self.assertEqual(monitor.read_seconds(text), seconds)
        self.rows([
            ("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86400), ("0", 0), ("0.5", 0.5), ("1.5h", 5400),
            (" 2H ", 7200), ("10 m", 600), ("999999999", 999999999), ("", None), ("s", None), ("-1", None),
            ("1w", None), ("1e3", None), ("1h30m", None), (".5", None), ("5.", None), ("inf", None), ("nan", None),
            ("0x10", None), ("1 000", None), ("9" * 10, None), ("\uff11", None),
            ("\u0663s", None),                                      # digits of other scripts
        ], check)


class TestNames(Table):
    def test_shown_is_what_a_shell_reads_back(self):
        need("bash")
        # a file name; what bash makes of it as a word must be the same bytes
        names = [b"plain", b"with space", b"-dash", b"--", b"it's", b'"quoted"', b"$(touch x)", b"`id`", b"a;b",
                 b"back\\slash", b"new\nline", b"tab\tcr\r", b"\x1b[31mred", b"\x07bell", b"\x7fdel",
                 b"bytes\xff\xfe", b"half\xc3", "żółw".encode(), "\u200bzero".encode(), "\u202eright".encode(),
                 "nbsp\u00a0".encode(), "\x85next".encode(), b"*", b"?", b"{a,b}", b"~", b"~root", b"a=b", b"#x",
                 b"!x", b"&", b"|", b"<>", b"[a]", b"$'x'", b"\\x41", b"\x01f", b"\xe2\x80\xa8line", b"%s",
                 b"a" * 255]
        words = [monitor.shown(os.fsdecode(name)) for name in names]
        answer = subprocess.check_output(["bash", "-c", "printf '%s\\0' " + " ".join(words)])
        self.rows(zip(names, answer.split(b"\0")), self.assertEqual)
        for word in words:
            self.assertTrue(word.isprintable(), ascii(word))
            self.assertNotIn("\n", word)
        self.assertEqual(subprocess.check_output(["bash", "-c", "printf '<%s>' " + monitor.shown("")]), b"<>")

    def test_shown_leaves_plain_names_plain(self):
        for name in ("ticket-1.txt", "a/b", "żółw", "50%", "a,b+c@d:e=f"):
            self.assertEqual(monitor.shown(name), name)

    def test_split_line(self):
        # line -> NAME, CONTENT, or None
        self.rows([
            ("A :: b", ("A", "b")), ("A::b", ("A", "b")), ("A\t::\tb\t", ("A", "b")), ("A ::", ("A", "")),
            ("A :: b :: c", ("A", "b :: c")), ("A :::b", ("A", ":b")), ("Ticket Number :: 7", ("Ticket Number", "7")),
            ("-x_9 :: y", ("-x_9", "y")), ("A : b", None), ("A", None), (":: b", None), ("  :: b", None),
            ("A=B :: c", None), ("A.B :: c", None), ("Ä :: c", None), ("A;B :: c", None), ("$(x) :: c", None),
        ], lambda line, pair: self.assertEqual(monitor.split_line(line), pair))


class TestParse(Table):
    def test_what_is_valid(self):
        # text -> names (without their UOW_), time after T0 or None, timeout, status
        def check(text, names, after, timeout, status):
            found = monitor.parse_uow(text)
            self.assertEqual({name[4:]: content for name, content in found.names.items()}, names)
            self.assertEqual(None if found.enqueued is None else found.enqueued - T0, after)
            self.assertEqual((found.timeout, found.status), (timeout, status))
        true, bom = {"COMMAND": "true"}, b"\xef\xbb\xbf"
        self.rows([
            (LEAST, true, None, None, ""), (LEAST[:-1], true, None, None, ""),  # no final newline
            (LEAST.replace(b"\n", b"\r\n"), true, None, None, ""),  # CRLF
            (bom + LEAST, true, None, None, ""), (bom + FULL, true, 0, None, ""), (FULL, true, 0, None, ""),
            (FULL.replace(b"\n", b"\r\n"), true, 0, None, ""),
            (b"\n\n" + LEAST.replace(b"\n", b"\n\n"), true, None, None, ""),  # blank lines
            (b"2026-11-24T02:30:00Z\n" + LEAST, true, 0, None, ""),  # a bare time
            (b"2026-11-24T02:30:00Z by somebody by night\n" + LEAST, true, 0, None, ""),
            (b"enqueued::2026-11-24T04:30:00+02:00\n" + LEAST, true, 0, None, ""),
            (b"==== unit  of work\ncommand :: true\n", true, None, None, ""),
            (b"  ==== UNIT OF WORK  \n\tCOMMAND\t::\ttrue\t\n", true, None, None, ""),
            (LEAST + b"Command :: a :: b\nTICKET ::\n", {"COMMAND": "true\na :: b", "TICKET": ""}, None, None, ""),
            # an empty line of a script
            (LEAST + b"COMMAND ::\nCOMMAND :: x\n", {"COMMAND": "true\n\nx"}, None, None, ""),
            (LEAST + b"a b :: 1\na-b :: 2\n", {"COMMAND": "true", "A_B": "1\n2"}, None, None, ""),
            (LEAST + b"TIMEOUT :: 30m\n", dict(true, TIMEOUT="30m"), None, 1800, ""),
            (LEAST + b"Timeout :: 0\n", dict(true, TIMEOUT="0"), None, 0, ""),
            (LEAST + b"X :: \xff\n", dict(true, X="\udcff"), None, None, ""),  # no UTF-8: passed on as bytes
            (LEAST + b"X :: \xc2\xa0\xe2\x80\xa8y\n", dict(true, X="\xa0\u2028y"), None, None, ""),
            (LEAST + b"==== STATUS\ndone: exit 0 after 12.3 s\n", true, None, None, "done: exit 0 after 12.3 s"),
            (LEAST + b"==== JOB LOG\n", true, None, None, ""),      # no STATUS title
            (FULL + b"==== STATUS\n==== UNIT OF WORK\n\0 no line\n", true, 0, None, ""),  # the log is not parsed
        ], check)

    def test_what_is_not_valid_names_the_line_and_what_was_expected(self):
        # text -> line, what was found, what is expected
        def check(text, line, found, expected):
            with self.assertRaises(BadUow) as caught:
                monitor.parse_uow(text)
            message = str(caught.exception)
            self.assertTrue(message.startswith("line %d: " % line), message)
            self.assertIn(found, message)
            self.assertIn("expected " + expected, message)
        header = b"==== UNIT OF WORK\n"
        self.rows([
            (b"", 1, "an empty file", "`==== UNIT OF WORK`"),
            (b"\n\n", 2, "the end of the file", "`==== UNIT OF WORK`"), (b"\0" * 100, 1, "a NUL byte", "text"),
            (LEAST + b"X :: \0\n", 3, "a NUL byte", "text"),
            (b"hello\n" + LEAST, 1, "hello", "`ENQUEUED :: 2026-11-24T02:30:00Z`"),
            (b"COMMAND :: true\n", 1, "COMMAND :: true", "`ENQUEUED ::"),
            (b"2026-11-24T02:30:00Z\n2026-11-24T02:30:00Z\n", 2, "2026-11-24", "`==== UNIT OF WORK` behind line 1"),
            (b"ENQUEUED :: yesterday\n" + LEAST, 1, "yesterday", "`ENQUEUED ::"),
            (b"2026-11-24T02:30:00Z\n", 1, "the end of the file", "`==== UNIT OF WORK`"),
            (b"==== STATUS\n", 1, "==== STATUS", "`==== UNIT OF WORK` before it"),
            (b"\n==== JOB LOG\n", 2, "==== JOB LOG", "`==== UNIT OF WORK` before it"),
            (b"==== SOMETHING\n", 1, "==== SOMETHING", "`==== UNIT OF WORK`"),
            (b"=====\n", 1, "=====", "`==== UNIT OF WORK`"),
            (LEAST + b"==== UNIT OF WORK\n", 3, "twice", "UNIT OF WORK, STATUS, JOB LOG"),
            (LEAST + b"==== STATUS\n==== STATUS\n", 4, "twice", "UNIT OF WORK, STATUS, JOB LOG"),
            (LEAST + b"==== STATUS\none\ntwo\n", 5, "second line below STATUS", "one"),
            (header + b"true\n", 2, "true", "`NAME :: CONTENT`"),
            (LEAST + b"\nX.Y :: z\n", 4, "X.Y", "`NAME :: CONTENT`"),
            (LEAST + b"\x1b[31m\n", 3, "\\x1b[31m", "`NAME :: CONTENT`"),
            (LEAST + b"TIMEOUT :: soon\n", 3, "TIMEOUT soon", "a number of seconds, or 90s, 30m, 2h, 1d"),
            (LEAST + b"TIMEOUT :: 1\nTIMEOUT :: 20\n", 4, "a second TIMEOUT", "one at most"),
            (LEAST + b"TIMEOUT ::\n", 3, "TIMEOUT", "a number of seconds, or 90s, 30m, 2h, 1d"),
            (LEAST + b"TIMEOUT :: -1\n", 3, "TIMEOUT -1", "a number of seconds"),
            (LEAST + "TIMEOUT :: \uff11\n".encode(), 3, "TIMEOUT ", "a number of seconds"),  # a full-width 1
            (header, 1, "no header line", "`NAME :: CONTENT`"),
            (header + b"TICKET :: 1\n", 2, "without COMMAND", "`COMMAND :: ...`"),
            (header + b"COMMAND ::\n", 2, "with an empty COMMAND", "`COMMAND :: ...`"),
        ], check)

    def test_the_header_ends_within_64_kib(self):
        limit = monitor.HEAD_BYTES
        def uow(size, end=b"\n==== JOB LOG\n"):
            return LEAST + b"X :: " + b"x" * (size - len(LEAST) - 5 - len(end)) + end
        def check(text, good):
            if good:
                monitor.parse_uow(text[:limit + 1])
            else:
                self.assertRaises(BadUow, monitor.parse_uow, text[:limit + 1])
        # text, good. What follows the title belongs to the log
        self.rows([
            (uow(limit), True), (uow(limit, b"\n"), True), (uow(limit) + b"log", True), (uow(limit + 1), False),
            (uow(limit + 1, b"\n"), False), (uow(limit + 100), False),
            # the title is cut by the limit: its log would be lost
            (uow(limit, b"\n==== JOB LOG") + b"\nold log\n", False),
            (b"\n" * (limit + 1), False), (b"x" * (limit + 1), False),
        ], check)


class TestFormat(Table):
    def test_stamped_head(self):
        # text -> line 1, header lines as they stay, STATUS
        line_1, least = b"ENQUEUED :: 2026-11-24T02:30:00.000000Z by bob", LEAST[:-1]
        as_written = b"==== unit of work\n\n  command  ::  a   b  \nX ::"
        def check(text, first, header, status=""):
            uow = monitor.parse_uow(text)
            head = monitor.stamped_head(uow, line_1.decode())
            titles = b"\n\n==== STATUS\n%-78b\n\n==== JOB LOG\n" % status.encode()
            self.assertEqual(head, first + b"\n\n" + header + titles)
            again = monitor.parse_uow(head)
            self.assertFalse(monitor.needs_stamp(again, True))
            self.assertEqual(again.names, uow.names)
            self.assertEqual(monitor.stamped_head(again, "ENQUEUED :: 1999-01-01T00:00:00Z by eve"), head)     # once
        self.rows([
            (LEAST, line_1, least), (least, line_1, least), (b"\xef\xbb\xbf" + LEAST, line_1, least),
            (b"\n" + LEAST + b"\n\n", line_1, least),
            (LEAST.replace(b"\n", b"\r\n"), line_1, least.replace(b"\n", b"\r\n")),
            # as its author wrote it
            (as_written + b"\n", line_1, as_written),
            (b"2026-11-24T04:30:00+02:00\n" + LEAST, b"2026-11-24T04:30:00+02:00", least),
            (b"\xef\xbb\xbf2026-11-24T02:30:00Z\r\n" + LEAST, b"2026-11-24T02:30:00Z", least),
            (LEAST + b"==== STATUS\ndone: x\n", line_1, least, "done: x"),  # of its last run
            (FULL, FIRST, least),
        ], check)

    def test_status_line(self):
        # text -> what stands there, always 78 wide and one line of ASCII
        def check(text, there):
            line = monitor.status_line(text)
            self.assertEqual((len(line), line.count(b"\n"), line[-1:]), (monitor.STATUS_WIDTH + 1, 1, b"\n"))
            self.assertEqual(line.rstrip(), there)
        self.assertLess(monitor.STATUS_WIDTH, 80)
        self.rows([
            ("", b""), ("done: exit 0 after 1.0 s", b"done: exit 0 after 1.0 s"), ("x" * 200, b"x" * 78),
            ("a\nb", b"a b"), ("fail: ż", b"fail: \\u017c"), ("\udcff", b"\\udcff"),
        ], check)

    def test_the_status_of_a_run_is_read_back(self):
        # since, reason -> STATUS; both are read back from it as it stands in the file, since to the second
        def check(since, reason, status):
            self.assertEqual(monitor.running_status(since, reason), status)
            padded = monitor.status_line(status).decode().rstrip()
            self.assertEqual((monitor.status_word(padded), monitor.read_running(padded)),
                             ("running", (since // 1_000_000 * 1_000_000, reason)))
        self.rows([
            (T0, "", "running: since 2026-11-24T02:30:00Z"), (T0 + 999_999, "", "running: since 2026-11-24T02:30:00Z"),
            (T0, "killed by message", "running: since 2026-11-24T02:30:00Z, killed by message"),
            (T0, "timed out after 999999999 s", "running: since 2026-11-24T02:30:00Z, timed out after 999999999 s"),
        ], check)
        # what no run wrote -> first word, since, reason
        self.rows([
            ("", "", 0, ""), ("running", "running", 0, ""), ("running: since", "running", 0, ""),
            ("running: since never", "running", 0, ""), ("running: since 2026-99-24T02:30:00Z, x", "running", 0, ""),
            ("done: exit 0 after 1.0 s", "done", 0, ""), ("Running: since 2026-11-24T02:30:00Z", "Running", 0, ""),
            ("fail: timed out, x", "fail", 0, ""), ("waiting", "waiting", 0, ""),
        ], lambda text, word, since, reason: self.assertEqual(
            (monitor.status_word(text), monitor.read_running(text)), (word, (since, reason))))

    def test_link_name(self):
        # name of the UOW -> that of its link, in bytes; the mark is read from it again
        run = "5f3a1c22-1284506243386-fe01-131077"
        long = "n" * 255
        def check(name, there):
            link = monitor.link_name(run, name)
            self.assertEqual(os.fsencode(link), there)
            self.assertEqual(monitor.mark_of_link(link).text, run)
        self.rows([
            ("ticket", run.encode() + b".ticket"), (".x.y", run.encode() + b"..x.y"), ("a\nb", run.encode() + b".a\nb"),
            (long, (run + "." + long).encode()[:255]), ("ż" * 127, (run + "." + "ż" * 127).encode()[:255]),
            ("\udcff", run.encode() + b".\xff"),
        ], check)
        for stray in ("ticket", "README.md", run, "x." + run, ".new", ""):
            self.assertIsNone(monitor.mark_of_link(stray), stray)

    def test_find_end(self):
        # tail, END found at, its content
        run = "5f3a1c22-1-fe01-2"
        line = b"\n==== JOB END 2026-11-24T02:30:00.000000Z run 5f3a1c22-1-fe01-2 exit %b\n"
        def check(tail, at, end):
            self.assertEqual(monitor.find_end(tail, run), end and end._replace(at=at))
        self.rows([
            (b"out\n" + line % b"0", 4, End(0, T0, 0)),
            (b"out" + line % b"3", 3, End(3, T0, 0)),               # output without a final newline
            (line % b"255", 0, End(255, T0, 0)),
            (b"x" + line % b"0" + line % b"4", 1 + len(line % b"0"), End(4, T0, 0)),  # the job wrote the first
            # and ended it by the newline that is ours
            (b"x" + line % b"0" + (line % b"4")[1:], 1 + len(line % b"0") - 1, End(4, T0, 0)),
            (line % b"0" + b"out\n", 0, End(0, T0, 0)),             # a daemon wrote on
            (b"\xff\0" + line % b"0", 2, End(0, T0, 0)),
            # a time that cannot be read
            ((line % b"1").replace(b"2026-11-24T02:30:00.000000Z", b""), 0, End(1, None, 0)),
            ((line % b"1").replace(b"2026", b"\xff"), 0, End(1, None, 0)), (b"", 0, None), (b"out\n", 0, None),
            ((line % b"0")[1:], 0, None),                           # not at the beginning of a line
            ((line % b"0")[:-1], 0, None),                          # half a line
            ((line % b"0").replace(b"22-1", b"22-2"), 0, None),     # another run's
            ((line % b"0").replace(b"-2 ", b"-22 "), 0, None), ((line % b"0").replace(b"5f3a", b"5.3a"), 0, None),
            ((line % b"x"), 0, None), ((line % b"1234"), 0, None), ((line % b"0 killed"), 0, None),
        ], check)
