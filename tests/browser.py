"""A headless Chromium, driven over its debugging websocket with the standard library alone."""
import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.request

from .helpers import until

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"]

# Every text that is seen, with its contrast against the ground that is painted behind it: {'n': ..., 'bad': {...}}.
CONTRAST = r"""(() => {
 const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m }
 const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4
 const light = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2])
 const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1)
 const ground = e => { const layers = []
   for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3]) layers.push(c); if (c[3] == 1) break }
   return layers.reverse().reduce((below, c) => over(c, below), [255, 255, 255, 1]) }
 const bad = {}; let n = 0
 const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
 while (walk.nextNode()) {
   const e = walk.currentNode.parentElement, style = getComputedStyle(e), text = walk.currentNode.data.trim()
   if (!text || !e.getClientRects().length || /^(script|style|title)$/i.test(e.tagName)) continue
   let opacity = 1; for (let x = e; x; x = x.parentElement) opacity *= getComputedStyle(x).opacity
   const back = ground(e), front = parse(e.namespaceURI.includes('svg') ? style.fill : style.color)
   front[3] *= opacity
   const a = light(over(front, back)), b = light(back), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05)
   n++
   if (ratio < 4.5) bad[text.slice(0, 30)] = ratio.toFixed(2)
 }
 return {n, bad} })()"""

# What sticks out of the window to the right.
OVERFLOW = """({wide: document.documentElement.scrollWidth - innerWidth, out: [...document.querySelectorAll('body *')]
 .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 100)).slice(0, 5)})"""


class Browser:
    """One page of a Chromium with a fresh profile. close() ends it and leaves nothing behind."""

    def __init__(self, program="chromium"):
        self.profile, self.number, self.process = tempfile.mkdtemp(prefix="sjq-browser-"), 0, None
        try:
            self.process = subprocess.Popen([program, *FLAGS, "--user-data-dir=" + self.profile, "about:blank"], start_new_session=True,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                            env=dict(os.environ, TMPDIR=self.profile))       # killed, it leaves a socket there
            port = until(self.port, "Chromium listens", seconds=60, step=0.05)
            with urllib.request.urlopen("http://127.0.0.1:%s/json" % port, timeout=30) as answer:
                targets = json.load(answer)
            url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
            self.socket = socket.create_connection(("127.0.0.1", int(port)), timeout=60)
            self.socket.sendall(("GET /%s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                                 "Sec-WebSocket-Version: 13\r\n\r\n" % (url.split("/", 3)[3], port, base64.b64encode(os.urandom(16)).decode())).encode())
            self.file = self.socket.makefile("rb")
            while self.file.readline().strip():
                pass
            for method in ("Page.enable", "Runtime.enable"):
                self(method)
        except BaseException:
            self.close()
            raise

    def port(self):
        try:
            with open(os.path.join(self.profile, "DevToolsActivePort")) as file:
                return file.read().split()[0]
        except (OSError, IndexError):
            return None

    def __call__(self, method, **params):
        """Send one command and return its result; events in between are dropped."""
        self.number += 1
        data, mask = json.dumps({"id": self.number, "method": method, "params": params}).encode(), os.urandom(4)
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack(">H", len(data))
        self.socket.sendall(b"\x81" + size + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)))
        while True:
            answer = json.loads(self.receive())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise AssertionError("%s: %s" % (method, answer["error"]))
                return answer["result"]

    def receive(self):
        data, last = b"", False
        while not last:
            first, size = self.file.read(2)
            if size in (126, 127):
                size = int.from_bytes(self.file.read(2 if size == 126 else 8), "big")
            data, last = data + self.file.read(size), first & 0x80
        return data

    def view(self, width, scheme="light", height=900):
        """Show pages at this width, in the colour scheme `light` or `dark`."""
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def go(self, url):
        """Load a page to its end."""
        self.js("document.documentElement.dataset.old = 1")
        self("Page.navigate", url=url)
        until(lambda: self.js("document.readyState == 'complete' && !document.documentElement.dataset.old"), url)

    def js(self, expression):
        """Return the value of an expression in the page."""
        problem = None
        for _ in range(50):
            try:
                result = self("Runtime.evaluate", expression=expression, returnByValue=True)
                if "exceptionDetails" not in result:
                    return result["result"].get("value")
                problem = result["exceptionDetails"]
            except AssertionError as error:
                problem = error
            time.sleep(0.05)                         # the page reloads at this moment, or the expression is wrong
        raise AssertionError("%s: %s" % (expression, problem))

    def close(self):
        if hasattr(self, "socket"):
            self.socket.close()
        if self.process:
            try:
                os.killpg(self.process.pid, 9)       # with its helpers, in the session of its own
            except OSError:
                pass
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
