"""The pure functions as truth tables: one row a case, a legend above each table."""
import os
import signal
import subprocess
import time
import unittest

from tests.helpers import need                       # also puts the checkout on the path
import monitor
from monitor import BadUow, End, Running

T0 = 1795487400_000000                               # 2026-11-24T02:30:00Z in microseconds
LEAST = b"==== UNIT OF WORK\nCOMMAND :: true\n"
BLANK = b" " * monitor.STATUS_WIDTH + b"\n"
FULL = b"ENQUEUED :: 2026-11-24T02:30:00.000000Z by alice\n\n" + LEAST + b"\n==== STATUS\n" + BLANK + b"\n==== JOB LOG\n"


class Table(unittest.TestCase):
    def rows(self, rows, check):
        for number, row in enumerate(rows, 1):
            with self.subTest(number=number, row=ascii(row)[:300]):
                check(*row)


class TestTimes(Table):
    def test_read_time(self):
        # text -> microseconds after T0
        self.rows([
            ("2026-11-24T02:30:00Z", 0),
            ("2026-11-24T02:30:00z", 0),
            ("2026-11-24T02:30:00", 0),                      # no zone is UTC
            ("2026-11-24 02:30:00", 0),
            ("2026-11-24T02:30", 0),
            ("2026-11-24T02:30Z", 0),
            ("  2026-11-24T02:30:00Z\t", 0),
            ("2026-11-24T02:30:00.5Z", 500_000),
            ("2026-11-24T02:30:00.123456Z", 123_456),
            ("2026-11-24T02:30:00.123456789Z", 123_456),     # `date +%N` has nine digits
            ("2026-11-24T04:30:00+02:00", 0),
            ("2026-11-23T21:30:00.25-05:00", 250_000),
            ("2026-11-24T04:30:00+0200", 0),                 # `date +%FT%T%z`
            ("2026-11-24T04:30:00+02", 0),
            ("2026-11-24T02:30:00,5Z", 500_000),
            ("1970-01-01T00:00:00Z", -T0),
            ("1969-12-31T23:59:59Z", -T0 - 1_000_000),
        ], lambda text, after: self.assertEqual(monitor.read_time(text) - T0, after))

    def test_read_time_refuses(self):
        for text in ("", "now", "2026-11-24", "24.11.2026 02:30", "2026-13-24T02:30:00Z", "2026-11-24T25:00:00Z", "2026-11-24T02:30:00Z x",
                     "20261124T023000Z", "1795487400"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                monitor.read_time(text)

    def test_utc_is_what_read_time_reads(self):
        # microseconds -> text, and back
        self.rows([
            (T0, "2026-11-24T02:30:00.000000Z"),
            (T0 + 123_456, "2026-11-24T02:30:00.123456Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
        ], lambda number, text: (self.assertEqual(monitor.utc(number), text), self.assertEqual(monitor.read_time(text), number)))

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
            (" 2H ", 7200), ("10 m", 600), ("999999999", 999999999),
            ("", None), ("s", None), ("-1", None), ("1w", None), ("1e3", None), ("1h30m", None), (".5", None), ("5.", None),
            ("inf", None), ("nan", None), ("0x10", None), ("1 000", None), ("9" * 10, None),
            ("\uff11", None), ("\u0663s", None),         # digits of other scripts
        ], check)


class TestNames(Table):
    def test_shown_is_what_a_shell_reads_back(self):
        need("bash")
        # a file name; what bash makes of it as a word must be the same bytes
        names = [b"plain", b"with space", b"-dash", b"--", b"it's", b'"quoted"', b"$(touch x)", b"`id`", b"a;b", b"back\\slash", b"new\nline",
                 b"tab\tcr\r", b"\x1b[31mred", b"\x07bell", b"\x7fdel", b"bytes\xff\xfe", b"half\xc3", "żółw".encode(), "\u200bzero".encode(),
                 "\u202eright".encode(), "nbsp\u00a0".encode(), "\x85next".encode(), b"*", b"?", b"{a,b}", b"~", b"~root", b"a=b", b"#x", b"!x",
                 b"&", b"|", b"<>", b"[a]", b"$'x'", b"\\x41", b"\x01f", b"\xe2\x80\xa8line", b"%s", b"a" * 255]
        words = [monitor.shown(os.fsdecode(name)) for name in names]
        answer = subprocess.run(["bash", "-c", "printf '%s\\0' " + " ".join(words)], stdout=subprocess.PIPE, check=True).stdout
        self.rows(zip(names, answer.split(b"\0")), self.assertEqual)
        for word in words:
            self.assertTrue(word.isprintable(), ascii(word))
            self.assertNotIn("\n", word)
        self.assertEqual(subprocess.run(["bash", "-c", "printf '<%s>' " + monitor.shown("")], stdout=subprocess.PIPE, check=True).stdout, b"<>")

    def test_shown_leaves_plain_names_plain(self):
        self.rows([("ticket-1.txt",), ("a/b",), ("żółw",), ("50%",), ("a,b+c@d:e=f",)], lambda name: self.assertEqual(monitor.shown(name), name))

    def test_free_name(self):
        # name, which -> name there
        long, wide = "n" * 255, "ż" * 127 + "x"                # both 255 bytes
        self.rows([
            ("x", 1, b"x"), ("x", 2, b"x.2"), ("x.tar.gz", 3, b"x.tar.gz.3"), ("x", 12345, b"x.12345"),
            (long, 1, long.encode()),
            (long, 2, b"n" * 253 + b".2"),
            (long, 100, b"n" * 251 + b".100"),
            ("n" * 253, 2, b"n" * 253 + b".2"),
            ("n" * 254, 2, b"n" * 253 + b".2"),
            (wide, 2, wide.encode()[:253] + b".2"),           # a character may be cut: bytes are what counts
            (os.fsdecode(b"\xff" * 255), 2, b"\xff" * 253 + b".2"),
        ], lambda name, number, there: self.assertEqual(os.fsencode(monitor.free_name(name, number)), there))

    def test_names_that_are_never_run(self):
        # name, never run, is a README
        def check(name, never, readme):
            self.assertEqual((bool(monitor.NEVER_RUN.fullmatch(name)), bool(monitor.README_NAME.fullmatch(name))), (never, readme))
        self.rows([
            ("ticket", False, False), (".ticket", True, False), (".ticket.swp", True, False), ("ticket~", True, False), ("#ticket#", True, False),
            ("4913", True, False), ("49134", False, False), ("a4913", False, False), ("#ticket", False, False), ("~ticket", False, False),
            (".nfs0001", True, False), ("a\n~", True, False), (".\n", True, False),
            ("README", False, True), ("readme", False, True), ("ReadMe.md", False, True), ("README.html", False, True), ("README.", False, True),
            ("README-first", False, False), ("READMEs", False, False), ("a README", False, False), ("README.de.md", False, True), ("README.tar.gz", False, True),
        ], check)

    def test_variable(self):
        self.rows([
            ("COMMAND", "UOW_COMMAND"), ("Ticket Number", "UOW_TICKET_NUMBER"), ("a-b", "UOW_A_B"), ("_x", "UOW__X"), ("9", "UOW_9"),
            ("PATH", "UOW_PATH"), ("a\tb", "UOW_A_B"),
        ], lambda name, there: self.assertEqual(monitor.variable(name), there))

    def test_split_line(self):
        # line -> NAME, CONTENT, or None
        self.rows([
            ("A :: b", ("A", "b")), ("A::b", ("A", "b")), ("A\t::\tb\t", ("A", "b")), ("A ::", ("A", "")), ("A :: b :: c", ("A", "b :: c")),
            ("A :::b", ("A", ":b")), ("Ticket Number :: 7", ("Ticket Number", "7")), ("-x_9 :: y", ("-x_9", "y")),
            ("A : b", None), ("A", None), (":: b", None), ("  :: b", None), ("A=B :: c", None), ("A.B :: c", None), ("Ä :: c", None),
            ("A;B :: c", None), ("$(x) :: c", None),
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
            (LEAST, true, None, None, ""),
            (LEAST[:-1], true, None, None, ""),                                                    # no final newline
            (LEAST.replace(b"\n", b"\r\n"), true, None, None, ""),                                 # CRLF
            (bom + LEAST, true, None, None, ""),
            (bom + FULL, true, 0, None, ""),
            (FULL, true, 0, None, ""),
            (FULL.replace(b"\n", b"\r\n"), true, 0, None, ""),
            (b"\n\n" + LEAST.replace(b"\n", b"\n\n"), true, None, None, ""),                       # blank lines
            (b"2026-11-24T02:30:00Z\n" + LEAST, true, 0, None, ""),                                # a bare time
            (b"2026-11-24T02:30:00Z by somebody by night\n" + LEAST, true, 0, None, ""),
            (b"enqueued::2026-11-24T04:30:00+02:00\n" + LEAST, true, 0, None, ""),
            (b"==== unit  of work\ncommand :: true\n", true, None, None, ""),
            (b"  ==== UNIT OF WORK  \n\tCOMMAND\t::\ttrue\t\n", true, None, None, ""),
            (LEAST + b"Command :: a :: b\nTICKET ::\n", {"COMMAND": "true\na :: b", "TICKET": ""}, None, None, ""),
            (LEAST + b"COMMAND ::\nCOMMAND :: x\n", {"COMMAND": "true\n\nx"}, None, None, ""),     # an empty line of a script
            (LEAST + b"a b :: 1\na-b :: 2\n", {"COMMAND": "true", "A_B": "1\n2"}, None, None, ""),
            (LEAST + b"TIMEOUT :: 30m\n", dict(true, TIMEOUT="30m"), None, 1800, ""),
            (LEAST + b"Timeout :: 0\n", dict(true, TIMEOUT="0"), None, 0, ""),
            (LEAST + b"X :: \xff\n", dict(true, X="\udcff"), None, None, ""),                      # no UTF-8: passed on as bytes
            (LEAST + b"X :: \xc2\xa0\xe2\x80\xa8y\n", dict(true, X="\xa0\u2028y"), None, None, ""),
            (LEAST + b"==== STATUS\ndone: exit 0 after 12.3 s\n", true, None, None, "done: exit 0 after 12.3 s"),
            (LEAST + b"==== JOB LOG\n", true, None, None, ""),                                     # no STATUS title
            (FULL + b"==== STATUS\n==== UNIT OF WORK\n\0 no line\n", true, 0, None, ""),           # the log is not parsed
        ], check)

    def test_where_things_stand(self):
        # text -> status_at, log_at, header, and whether it is stamped, whatever its STATUS
        wide = FULL.replace(BLANK, monitor.status_line("done: exit 0 after 1.0 s"))
        log = len(FULL)
        def check(text, status_at, log_at, header, stamped):
            found = monitor.parse_uow(text)
            self.assertEqual((found.status_at, found.log_at, found.header, not monitor.lacks(found._replace(status=""), True)), (status_at, log_at, header, stamped))
        self.rows([
            (FULL, FULL.index(BLANK), log, LEAST, True),
            (FULL + b"log", FULL.index(BLANK), log, LEAST, True),
            (wide, FULL.index(BLANK), log, LEAST, True),
            (FULL[:-1], FULL.index(BLANK), 0, LEAST, False),                 # nothing could be appended to that title
            (FULL.replace(BLANK, BLANK[1:]), -1, log - 1, LEAST, False),     # not the fixed width
            (FULL.replace(BLANK, b"done: x\n"), -1, log - len(BLANK) + 8, LEAST, False),
            (LEAST, -1, 0, LEAST, False),
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
            (b"\n\n", 2, "the end of the file", "`==== UNIT OF WORK`"),
            (b"\0" * 100, 1, "a NUL byte", "text"),
            (LEAST + b"X :: \0\n", 3, "a NUL byte", "text"),
            (b"hello\n" + LEAST, 1, "hello", "`ENQUEUED :: 2026-11-24T02:30:00Z`"),
            (b"COMMAND :: true\n", 1, "COMMAND :: true", "`ENQUEUED ::"),
            (b"2026-11-24T02:30:00Z\n2026-11-24T02:30:00Z\n" + LEAST, 2, "2026-11-24", "`==== UNIT OF WORK` behind line 1"),
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
            (LEAST + b"TIMEOUT :: 1\nTIMEOUT :: 20\n", 4, "TIMEOUT $'1\\n20'", "a number of seconds"),
            (LEAST + b"TIMEOUT ::\n", 3, "TIMEOUT", "a number of seconds, or 90s, 30m, 2h, 1d"),
            (LEAST + b"TIMEOUT :: -1\n", 3, "TIMEOUT -1", "a number of seconds"),
            (LEAST + "TIMEOUT :: \uff11\n".encode(), 3, "TIMEOUT ", "a number of seconds"),         # a full-width 1
            (header, 1, "no header line", "`NAME :: CONTENT`"),
            (header + b"TICKET :: 1\n", 2, "without COMMAND", "`COMMAND :: ...`"),
            (header + b"COMMAND ::\n", 2, "with an empty COMMAND", "`COMMAND :: ...`"),
        ], check)

    def test_required_names(self):
        # required, text, good
        both = LEAST + b"Ticket Number :: 7\n"
        def check(required, text, good):
            if good:
                monitor.parse_uow(text, required)
            else:
                self.assertRaises(BadUow, monitor.parse_uow, text, required)
        self.rows([
            (["COMMAND"], LEAST, True), ([], b"==== UNIT OF WORK\nX :: y\n", True), (["command"], LEAST, True), (["TICKET"], LEAST, False),
            (["COMMAND", "Ticket-Number"], both, True), (["COMMAND", "TICKET"], both, False),
        ], check)

    def test_the_header_ends_within_64_kib(self):
        limit = monitor.HEAD_BYTES
        def uow(size, end=b"\n==== JOB LOG\n"):
            return LEAST + b"X :: " + b"x" * (size - len(LEAST) - 5 - len(end)) + end
        # text, good. What follows the title belongs to the log
        self.rows([
            (uow(limit), True), (uow(limit, b"\n"), True), (uow(limit) + b"log", True), (uow(limit + 1), False), (uow(limit + 1, b"\n"), False),
            (uow(limit + 100), False),
            (uow(limit, b"\n==== JOB LOG") + b"\nold log\n", False),       # the title is cut by the limit: its log would be lost
            (b"\n" * (limit + 1), False), (b"x" * (limit + 1), False),
        ], lambda text, good: monitor.parse_uow(text[:limit + 1]) if good else self.assertRaises(BadUow, monitor.parse_uow, text[:limit + 1]))

    def test_long_wrong_lines_are_cut_short(self):
        with self.assertRaises(BadUow) as caught:
            monitor.parse_uow(b"==== UNIT OF WORK\n" + b"\x1b" * 5000)
        self.assertLess(len(str(caught.exception)), 500)


class TestFormat(Table):
    def test_stamped_head(self):
        # text -> line 1, header lines as they stay
        line_1, least = b"ENQUEUED :: 2026-11-24T02:30:00.000000Z by bob", LEAST[:-1]
        def check(text, first, header):
            uow = monitor.parse_uow(text)
            head = monitor.stamped_head(uow._replace(enqueued=T0), "bob")
            self.assertEqual(head, first + b"\n\n" + header + b"\n\n==== STATUS\n" + BLANK + b"\n==== JOB LOG\n")
            again = monitor.parse_uow(head)
            self.assertEqual(monitor.lacks(again, True), "")
            self.assertEqual(again.names, monitor.parse_uow(text).names)
            self.assertEqual(monitor.stamped_head(again._replace(enqueued=T0 + 1), "eve"), head)               # once, and never changed
        self.rows([
            (LEAST, line_1, least),
            (least, line_1, least),
            (b"\xef\xbb\xbf" + LEAST, line_1, least),
            (b"\n" + LEAST + b"\n\n", line_1, least),
            (LEAST.replace(b"\n", b"\r\n"), line_1, least.replace(b"\n", b"\r\n")),
            (b"==== unit of work\n\n  command  ::  a   b  \n# :: no\n".replace(b"# :: no\n", b"X ::\n"), line_1,
             b"==== unit of work\n\n  command  ::  a   b  \nX ::"),                                  # as its author wrote it
            (b"2026-11-24T04:30:00+02:00\n" + LEAST, b"2026-11-24T04:30:00+02:00", least),
            (b"\xef\xbb\xbf2026-11-24T02:30:00Z\r\n" + LEAST, b"2026-11-24T02:30:00Z", least),
            (LEAST + b"==== STATUS\ndone: x\n", line_1, least),
            (FULL, FULL.split(b"\n")[0], least),
        ], check)

    def test_status_line(self):
        # text -> what stands there, always 78 wide and one line of ASCII
        def check(text, there):
            line = monitor.status_line(text)
            self.assertEqual((len(line), line.count(b"\n"), line[-1:]), (monitor.STATUS_WIDTH + 1, 1, b"\n"))
            self.assertEqual(line.rstrip(), there)
        self.assertLess(monitor.STATUS_WIDTH, 80)
        self.rows([
            ("", b""), ("done: exit 0 after 1.0 s", b"done: exit 0 after 1.0 s"), ("x" * 200, b"x" * 78), ("a\nb", b"a b"),
            ("fail: ż", b"fail: \\u017c"), ("\udcff", b"\\udcff"),
        ], check)

    def test_running_status_is_read_back(self):
        # run, at, reason
        self.rows([
            ("5f3a1c22-1", 0, ""), ("5f3a1c22-12345678901234567", 10_737_418_240, ""), ("5f3a1c22-123456789012", 160, "timed out after 1800 s"),
            ("5f3a1c22-123456789012", 160, "killed by message"),
            ("5f3a1c22-1234567890123456", 10_737_418_240, "timed out after 86400 s"),
            ("5f3a1c22-12345678901234567", 10_737_418_240, "killed by message"),       # a server up for a year, a log of 10 GB
        ], lambda run, at, reason: self.assertEqual(
            monitor.read_running(monitor.status_line(monitor.running_status(Running(run, at, reason))).decode().rstrip()), Running(run, at, reason)))
        for text in ("", "running", "running: run x", "done: exit 0", "running: x at y", "Running: x at 1"):
            self.assertIsNone(monitor.read_running(text), text)

    def test_find_end(self):
        # tail, END found at, its content
        run = "5f3a1c22-1"
        line = b"\n==== JOB END 2026-11-24T02:30:00.000000Z run 5f3a1c22-1 exit %b\n"
        def check(tail, at, end):
            self.assertEqual(monitor.find_end(tail, run), end and end._replace(at=at))
        self.rows([
            (b"out\n" + line % b"0", 4, End(0, False, T0)),
            (b"out" + line % b"3", 3, End(3, False, T0)),                              # output without a final newline
            (line % b"137 killed", 0, End(137, True, T0)),
            (line % b"255", 0, End(255, False, T0)),
            (b"x" + line % b"0" + line % b"4", 1 + len(line % b"0"), End(4, False, T0)),           # the job wrote the first
            (b"\xff\0" + line % b"0", 2, End(0, False, T0)),
            ((line % b"1").replace(b"2026-11-24T02:30:00.000000Z", b""), 0, End(1, False, None)),  # `date` failed
            (b"", 0, None),
            (b"out\n", 0, None),
            ((line % b"0")[1:], 0, None),                                              # not at the beginning of a line
            ((line % b"0")[:-1], 0, None),                                             # half a line
            ((line % b"0").replace(b"22-1", b"22-2"), 0, None),                        # another run's
            ((line % b"0").replace(b"22-1", b"22-11"), 0, None),
            ((line % b"0").replace(b"5f3a", b"5.3a"), 0, None),
            ((line % b"x"), 0, None),
            ((line % b"1234"), 0, None),
        ], check)
        self.assertIsNone(monitor.find_end((line % b"0").replace(b"5f3a1c22-1", b"5f3aXc22-1"), "5f3a.c22-1"))

    def test_start_line(self):
        self.assertEqual(monitor.start_line(T0, "5f3a1c22-1"), b"==== JOB START 2026-11-24T02:30:00.000000Z run 5f3a1c22-1\n")


class TestDecisions(Table):
    def test_outcome(self):
        # DESIGN's table. END line (exit, killed) or None, what else is known -> STATUS. All took 2.04 s
        def check(end, known, status):
            end = End(end[0], end[1], T0) if end else None
            self.assertEqual(monitor.outcome(end, 2.04, **known), status)
        exits, found = dict(fail_exit_codes=[4, 255]), dict(hit="fail")
        self.rows([
            ((0, False), {}, "done: exit 0 after 2.0 s"),
            ((3, False), {}, "error: exit 3 after 2.0 s"),
            ((127, False), {}, "error: exit 127 after 2.0 s"),
            ((137, False), {}, "error: exit 137 after 2.0 s"),              # by itself
            ((0, False), dict(hit="error"), "error: exit 0 after 2.0 s, error_pattern found"),
            ((3, False), dict(hit="error"), "error: exit 3 after 2.0 s, error_pattern found"),
            ((0, False), dict(hit="fail"), "fail: exit 0 after 2.0 s, fail_pattern found"),
            ((3, False), dict(hit="fail"), "fail: exit 3 after 2.0 s, fail_pattern found"),
            ((255, False), exits, "fail: exit 255 after 2.0 s"),
            ((4, False), dict(exits, **found), "fail: exit 4 after 2.0 s"),
            ((5, False), exits, "error: exit 5 after 2.0 s"),
            ((0, False), exits, "done: exit 0 after 2.0 s"),
            ((139, True), dict(killed_by=11), "fail: killed by SIGSEGV after 2.0 s"),
            ((137, True), dict(killed_by=9, fail_exit_codes=[137]), "fail: killed by SIGKILL after 2.0 s"),
            ((137, True), dict(killed_by=9, reason="timed out after 1800 s"), "fail: timed out after 1800 s"),
            ((0, False), dict(reason="timed out after 1800 s"), "fail: timed out after 1800 s"),
            ((143, True), dict(killed_by=15, reason="killed by message"), "fail: killed by message"),
            (None, dict(reason="killed by message"), "fail: killed by message"),
            (None, {}, "fail: interrupted"),
            (None, dict(found), "fail: interrupted"),
            (None, dict(killed_by=9), "fail: killed by SIGKILL after 2.0 s"),
            (None, dict(exit_known=0), "fail: exit 0, log incomplete"),
            (None, dict(exit_known=0, hit="error"), "fail: exit 0, log incomplete"),
        ], check)

    def test_died_by_signal(self):
        # END (exit, killed), the last output -> the signal
        def check(exit_code, killed, last, number):
            self.assertEqual(monitor.died_by_signal(End(exit_code, killed, T0), last), number)
        self.rows([
            (139, True, b"", 11), (137, True, b"", 9), (143, True, b"", 15), (129, True, b"", 1), (192, True, b"", 64),
            (130, False, b"", 2),                                                                  # shells make no note of SIGINT
            (137, False, b"", 0), (139, False, b"Segmentation fault\n", 0),                        # said by nobody with a pid
            (139, False, b"bash: line 1: 4711 Segmentation fault      ./crash\n", 11),
            (139, False, b"out\nbash: line 12:   471 Segmentation fault      (core dumped) ./crash\n", 11),
            (137, False, b"bash: line 1: 4711 Killed                  sleep 9\n", 9),
            (137, False, b"bash: line 1: 1234 Killed   cmd", 9), (139, False, b"/path/with 12 digits/x: line 3: 77 Segmentation fault", 11),
            (134, False, b"x.sh: line 2:  5 Aborted                 (core dumped) ./x\nmore\n", 6), (129, False, b"out\n  12 Hangup   cmd\n", 1),
            (137, False, b"bash: line 1: 12 Killedx\n", 0), (137, False, b"bash: line x: 12 Killed\n", 0), (137, False, b"line 1:12 Killed\n", 0),
            (137, False, b"line 1\n: 12 Killed\n", 0), (137, False, b"1: x: 12 Killed\n", 0), (137, False, b"1" * 4000 + b": 1 Killed", 9),
            (137, False, b"bash: line 1: 4711 Segmentation fault      ./crash\n", 0),              # not the signal of this exit
            (0, False, b"bash: line 1: 4711 Killed  x\n", 0), (1, False, b"bash: line 1: 4711 Hangup  x\n", 0), (128, True, b"", 0),
            (255, True, b"", 0), (193, True, b"", 0),
        ], check)

    def test_what_a_job_writes_is_judged_in_linear_time(self):
        for unit in (b"1", b"1:", b"1: ", b"1: 1", b"1: 1 Kille", b"\n 1", b" ", b"\n ", b"x1 "):
            with self.subTest(unit=unit):
                began = time.process_time()
                self.assertEqual(monitor.died_by_signal(End(137, False, T0), (unit * 4096)[:4096]), 0)
                self.assertLess(time.process_time() - began, 0.3)

    def test_signal_name(self):
        self.rows([(11, "SIGSEGV"), (9, "SIGKILL"), (63, "signal 63")], lambda number, name: self.assertEqual(monitor.signal_name(number), name))
        self.assertEqual(monitor.signal_name(signal.SIGTERM), "SIGTERM")

    def test_row(self):
        # STATUS, whether it is padded, whether the log has what a run begins with -> what a UOW in currently-executing is
        running = monitor.running_status(Running("5f3a1c22-1", 160, ""))
        self.rows([
            ("", True, False, "next"), ("", True, True, "next"), ("", False, False, "next"), ("", False, True, "adopt"),
            (running, True, False, "next"), (running, True, True, "adopt"), (running, False, False, "next"), (running, False, True, "adopt"),
            (running + ", killed by message", True, False, "adopt"), (running + ", killed by message", True, True, "adopt"),
            ("done: exit 0 after 1.0 s", True, False, "ended"), ("error: exit 3 after 1.0 s", False, True, "ended"),
            ("fail: interrupted", True, True, "ended"), ("fail: could not start: x", True, False, "ended"),
            ("running", True, False, "strange"), ("waiting", True, True, "strange"), ("doneish: x", True, False, "strange"),
            ("running: run x", True, True, "strange"),
        ], lambda *known: self.assertEqual(monitor.row(*known[:-1]), known[-1]))

    def test_lacks(self):
        # time, end of the JOB LOG line, where the padded STATUS is, STATUS, whether the file is ours -> what it needs
        def check(enqueued, log_at, status_at, status, ours, needs):
            found = monitor.NO_UOW._replace(enqueued=enqueued, log_at=log_at, status_at=status_at, status=status)
            self.assertEqual(monitor.lacks(found, ours), needs)
        self.rows([
            (T0, 200, 100, "", True, ""), (0, 200, 100, "", True, ""), (T0, 200, 0, "", True, ""),
            (T0, 200, 100, "done: exit 0 after 1.0 s", True, "blank"), (T0, 200, 100, "running: 5f3a1c22-1 at 160", True, "blank"),
            (None, 200, 100, "", True, "stamp"), (T0, 0, 100, "", True, "stamp"), (T0, 200, -1, "", True, "stamp"),
            (T0, 200, 100, "", False, "stamp"), (T0, 200, 100, "done: x", False, "stamp"), (T0, 200, -1, "done: x", True, "stamp"),
        ], check)

    def test_listing(self):
        # what is so -> what is done about the listing of a waiting queue
        words = ("changed", "due", "stamped", "ready")
        def check(so, step):
            self.assertEqual(monitor.listing(**{word: word in so.split() for word in words}), step)
        self.rows([
            ("", "keep"), ("due", "keep"), ("due stamped ready", "keep"),         # nothing has changed
            ("changed", "later"), ("changed ready", "keep"), ("changed due", "now"), ("changed due ready", "now"),
            ("changed stamped", "now"), ("changed stamped ready", "now"),
        ], check)

    def test_next_look(self):
        # lasted, least, most -> seconds
        self.rows([(0, 0.1, 15, 0.1), (1, 0.1, 15, 0.1), (20, 0.1, 15, 2), (1000, 0.1, 15, 15), (-5, 0.1, 15, 0.1), (0, 3, 1, 1)],
                  lambda lasted, least, most, seconds: self.assertEqual(monitor.next_look(lasted, least, most), seconds))

    def test_refused_since(self):
        # now, since when and when last it was refused -> since when it is refused
        self.rows([(100, 0, 0, 100), (100, 90, 99, 90), (100, 90, 95.1, 90), (100, 90, 95, 100), (100, 90, 94, 100)],
                  lambda now, since, last, result: self.assertEqual(monitor.refused_since(now, since, last), result))

    def test_gate(self):
        # held, waits, due -> whether a launch may be tried
        self.rows([
            (False, True, True, "yes"), (False, True, False, "later"), (False, False, True, "no"), (False, False, False, "no"),
            (True, True, True, "no"), (True, True, False, "no"), (True, False, False, "no"),
        ], lambda held, waits, due, step: self.assertEqual(monitor.gate(held=held, waits=waits, due=due), step))

    def test_readiness(self):
        # refused, who runs, whether there is a ready_command, whether it has allowed the launch -> what is waited for
        def check(refused, process, command, passed, step):
            self.assertEqual(monitor.readiness(refused=refused, process=process, command=command, passed=passed), step)
        self.rows([
            (False, "", False, False, ""), (False, "", True, False, "ask"), (False, "", True, True, ""), (False, "", False, True, ""),
            (False, "a process x runs", False, False, "process"), (False, "a process x runs", True, False, "process"),
            (False, "a process x runs", True, True, "process"), (True, "", True, False, "command"),
            (True, "a process x runs", True, False, "command"),
        ], check)

    def test_message_file(self):
        # regular, links, size, seconds since it was changed -> what becomes of it, in short
        def check(regular, links, size, unchanged_for, word):
            found = monitor.message_file(regular, links, size, unchanged_for)
            self.assertTrue(found.startswith(word) if word else found == "", found)
        most = monitor.SMALL_BYTES
        self.rows([
            (True, 1, 0, 0, ""), (True, 1, most, 0, ""), (True, 1, most + 1, 99, "more than 1048576 bytes; expected"),
            (False, 1, 0, 99, "not a regular file"), (False, 3, 0, 0, "not a regular file"),       # a directory has links, too
            (True, 2, 0, 0, "wait"), (True, 2, 0, 1.9, "wait"), (True, 2, 0, 2, "not a regular file"),
            (True, 2, 0, -1, "not a regular file"),                   # its time lies ahead: nothing to wait for
            (True, 0, 0, 0, ""),
        ], check)

    def test_moved(self):
        # the inode before, then there and here, 0 for none, whether nobody else makes a name there -> what `mv` has done
        self.rows([
            (7, 7, 0, False, "moved"), (7, 7, 9, False, "moved"),     # somebody has dropped another one in its place
            (7, 9, 0, True, "moved"), (7, 9, 7, False, "taken"),      # somebody had the name first
            (7, 7, 7, True, "moved"),                                 # a second link to it, swapped in here
            (7, 7, 7, False, "taken"),                                # that link may be older than the move
            (7, 0, 0, False, "gone"), (7, 0, 0, True, "gone"), (7, 0, 7, False, "failed"), (7, 0, 7, True, "failed"),
            (7, 9, 0, False, "moved"),                                # what was swapped in, or another's: it is not here
        ], lambda was, there, left, own, word: self.assertEqual(monitor.moved(was, there, left, own), word))

    def test_file_times(self):
        # now, the directory's time in nanoseconds -> whether a change from now on would show in it
        second = 1_000_000_000
        self.rows([
            (100.5, 100 * second + 1, True), (100.01, 100 * second + 1, False), (100.5, 100 * second, False), (101.9, 100 * second, False),
            (102, 100 * second, True), (99.5, 100 * second + 1, True),
        ], lambda now, mtime, shows: self.assertIs(monitor.would_show(now, monitor.State(mtime, 0, 1, mtime)), shows))
        self.assertFalse(monitor.would_show(100, None))
        # a file's time -> the latest that it may have been changed
        self.rows([(100 * second, 101), (100 * second + second // 2, 100.5)],
                  lambda mtime, seconds: self.assertEqual(monitor.latest(mtime), seconds))

    def test_settles_in(self):
        # wall clock now, seen like this for, changed at, quiet time -> seconds until it has kept still
        self.rows([
            (100, 0, 100, 1, 1), (100.5, 0, 100, 1, 0.5), (100.5, 0.2, 100, 1, 0.5), (101, 0, 100, 1, 0), (200, 0, 100, 1, -99),
            (100, 0, 5000, 1, 1),                                     # the file's time lies ahead: what was seen here counts
            (100, 0.7, 5000, 1, 0.3), (100, 1, 5000, 1, 0),
            (100, 2, 99.9, 1, -1),                                    # a clock that was set back: no longer than the quiet time
            (100, 0, 100, 0, 0),
        ], lambda now, seen_for, changed, quiet, left: self.assertAlmostEqual(monitor.settles_in(now, seen_for, changed, quiet), left))

    def test_goes_on(self):
        # tee lives, something of a killed job is left, somebody holds the output, seconds since the command ended, grace
        # -> what goes on
        self.rows([
            (True, True, True, 0, 10, "job"), (False, True, False, 99, 10, "job"),     # killed, and not all gone
            (True, False, True, 0, 10, "output"), (True, False, True, 9.9, 10, "output"),
            (True, False, True, 10, 10, ""), (True, False, True, 0, 0, ""),            # held for too long
            (True, False, False, 0, 0, "output"), (True, False, False, 99, 10, "output"),       # tee is slow
            (False, False, False, 0, 10, ""),
        ], lambda *known: self.assertEqual(monitor.goes_on(*known[:-1]), known[-1]))

    def test_killing(self):
        # now, when its time is up, why it is being ended, when TERM becomes KILL, grace -> what it gets
        never, why = float("inf"), "killed by message"
        self.rows([
            (100, never, "", None, 10, ""), (100, 100.1, "", None, 10, ""), (100, 100, "", None, 10, "term"),
            (100, never, why, None, 10, "term"), (100, 50, why, None, 10, "term"),              # an earlier Monitor had decided so
            (100, 50, why, 110, 10, "grace"), (109.9, never, why, 110, 10, "grace"), (110, never, why, 110, 10, "kill"),
            (121, never, why, 110, 10, "kill"), (121.1, never, why, 110, 10, "late"), (100, never, why, 100, 0, "kill"),
        ], lambda *known: self.assertEqual(monitor.killing(*known[:-1]), known[-1]))

    def test_exits(self):
        # stopping, finishing, until empty, busy, unclear, others, failed -> when
        words = ("stopping", "finishing", "until_empty", "busy", "unclear", "others", "failed")
        def check(set_, when):
            self.assertEqual(monitor.exits(**{word: word in set_.split() for word in words}), when)
        self.rows([
            ("", ""), ("stopping", "now"), ("stopping busy unclear others failed", "now"),
            ("finishing", "now"), ("finishing busy", ""), ("finishing failed", "now"),
            ("finishing unclear", "now"),                            # currently-executing is away: no job is known
            ("finishing unclear others", ""),                        # a second run is under way
            ("finishing others", "now"),                             # a file that is left alone
            ("until_empty", "empty"), ("until_empty busy", ""), ("until_empty unclear", ""), ("until_empty failed", ""),
            ("until_empty others", "empty"), ("until_empty finishing", "now"), ("busy", ""), ("failed", ""),
        ], check)

    def test_state_word(self):
        # stopping, running, paused, waits -> the state
        def check(stopping, running, paused, waits, word):
            self.assertEqual(monitor.state_word(stopping=stopping, running=running, paused=paused, waits=waits), word)
        self.rows([
            (False, False, False, False, "idle"), (False, False, False, True, "waiting"), (False, False, True, True, "paused"),
            (False, False, True, False, "paused"), (False, True, True, True, "running"), (False, True, False, False, "running"),
            (True, True, True, True, "stopped"), (True, False, False, False, "stopped"),
        ], check)

    def test_next_waiting(self):
        # what each queue has: ready names, whether others may turn out to come before them -> which is next
        class Known:
            def __init__(self, ready, others):
                self.ready, self.others = [(T0, name) for name in ready], others

            def may_run(self):
                return bool(self.ready or self.others)

        def check(priority, wait, following):
            queues = [Known(*priority), Known(*wait)]
            found = monitor.next_waiting(queues)
            self.assertEqual(found and (queues.index(found[0]), found[1]), following)
        self.rows([
            (([], False), ([], False), None), (([], False), (["a", "b"], False), (1, "a")), ((["p"], False), (["a"], False), (0, "p")),
            ((["p"], True), (["a"], True), (0, "p")),
            (([], True), (["a"], False), None),                       # one that settles in priority-q comes first
            (([], False), ([], True), None),
        ], check)
