"""What is sent: recordings with some bytes changed, odd JSON, and odd framing."""

import gzip
import json
import random
import zlib
from collections.abc import Callable

from tests.adapters import otlp
from tests.adapters.test_recordings import Sent, logspace_requests, moesif_requests
from tests.conftest import APPLICATION_ID
from tests.dialects import CONTRACTS, GOLDEN, REGISTERED

MOST = 4_000
"""Bytes of a recorded body beyond which a mutation would seldom hit what matters."""

CREDENTIALS = {
    "x-moesif-application-id": APPLICATION_ID,
    "logspace.space-token": "development",
}

DOCUMENTS = (
    "", " ", "null", "true", "0", '""', "[]", "{}", "[[]]", "[null]", "[0]", '[""]', "[{}]",
    "[,]", "[1,]", "[,1]", "[1 2]", "{,}", '{"a"}', '{"a":}', '{"a":1,}', '{"a" 1}', "{a:1}",
    "{'a':1}", '{"a":1 "b":2}', '{"a":1}{"a":1}', "[1]]", "[", "]", "{", "}", '"', "\\", '"\\"',
    '["\\u"]', '["\\u12"]', '["\\uD800"]', '["\\uDC00\\uD800"]', '["\\q"]', '["\x00"]', '["\n"]',
    "[01]", "[-]", "[+1]", "[1.]", "[.1]", "[1e]", "[1e999]", "[-1e999]", "[1e-999]", "[0x1]",
    "[1_0]", "[NaN]", "[-Infinity]", "[nan]", "[tru]", "[TRUE]", "[1,\x0b2]", "[1]\x00", "\ufeff[]",
    "/**/[]", "[//\n]", '{"":{"":{"":0}}}', '{"a":1,"a":2}', '[{"id":1,"id":2}]', "[" * 65,
    "[" * 64 + "]" * 64, "[" * 65 + "]" * 65, "[" * 5_000 + "]" * 5_000, '{"a":' * 70 + "1",
    "9" * 400, "[" + "9" * 5_000 + "]", '"' + "x" * 70_000 + '"', "[" + "1," * 5_000 + "1]",
    "[" + "{}," * 3_000 + "{}]", '[{"' + "k" * 9_000 + '":1}]', "[\u2028]", '["\u202e\U0001f389"]',
)  # fmt: skip

PIECES = (
    b"\0", b"\xff", b"\xc3", b"\xed\xa0\x80", b'"', b"\\", b"\\u0000", b"\\ud800", b"[", b"]", b"{",
    b"}", b",", b":", b"\r\n", b"\n", b"NaN", b"1e999", b"-", b"9" * 30, b"null", b" " * 40,
    b"%00", b"%2f", b"..", b"//", b";", b"?", b"#", b"chunked", b"gzip", b"0\r\n\r\n", b"HTTP/1.1",
)  # fmt: skip

FRAMINGS: tuple[Callable[[bytes], bytes], ...] = (
    lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
    lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body) + 5, body),
    lambda body: b"Content-Length: %d\r\n\r\n%b" % (len(body) // 2, body),
    lambda body: b"Content-Length: -1\r\n\r\n" + body,
    lambda body: b"Content-Length: +5\r\n\r\n" + body,
    lambda body: b"Content-Length: 0x5\r\n\r\n" + body,
    lambda body: b"Content-Length: 99999999999999999999\r\n\r\n" + body,
    lambda body: b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body,
    lambda body: b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body),
    lambda body: b"Transfer-Encoding: chunked\r\n\r\n" + chunks(body),
    lambda body: b"Transfer-Encoding: chunked\r\n\r\n" + chunks(body)[:-3],
    lambda body: b"Transfer-Encoding: chunked, gzip\r\n\r\n" + chunks(body),
    lambda body: b"Transfer-Encoding: xchunked\r\n\r\n" + chunks(body),
    lambda body: b"Transfer-Encoding : chunked\r\n\r\n" + chunks(body),
    lambda body: b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + body,
    lambda body: b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n" + body,
    lambda body: b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 20_000 + b"\r\n" + body,
    lambda body: b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
    lambda body: b"Expect: 200-ok\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body),
    lambda body: b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n" + body,
    lambda body: b"X: " + b"y" * 20_000 + b"\r\n\r\n" + body,
    lambda body: b"X: y\r\n" * 500 + b"\r\n" + body,
    lambda body: b"X\r\n\r\n" + body,
    lambda body: b" X: y\r\n\r\n" + body,
    lambda body: b"X: y\n\n" + body,
    lambda body: b"\r\n\r\n" + body,
)

CODINGS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": bytes,
    b"zstd": bytes,
    b"gzip, gzip": gzip.compress,
    b"none": bytes,
}


def chunks(body: bytes) -> bytes:
    pieces = [body[at : at + 9] for at in range(0, len(body), 9)]
    return b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"


def recorded() -> list[Sent]:
    """Every request of the golden files, with credentials that the gateway knows."""
    found = [one for path in (GOLDEN / "moesif").glob("*_*.json") if "page" not in path.name
             for one in moesif_requests(path)]  # fmt: skip
    for path in (GOLDEN / "logspace").glob("*.log"):
        found += logspace_requests(path)
    for dialect in REGISTERED:
        known = CONTRACTS[dialect]
        found.append(Sent(known.method, known.path, [*known.sent.items()], known.body.encode()))
    known = [*CONTRACTS["otlp"].credential.items(), ("Content-Type", otlp.PROTOBUF)]
    for path, document in ((otlp.LOGS, otlp.logs(otlp.LOG)), (otlp.TRACES, otlp.spans(otlp.SPAN))):
        found.append(Sent("POST", path, known, otlp.encoded(path, document)))
    return [
        Sent(
            one.method,
            one.path,
            [(name, CREDENTIALS.get(name.lower(), value)) for name, value in one.headers],
            one.body,
        )
        for one in found
        if len(one.body) <= MOST
    ]


class Messages:
    """Makes messages at random, repeatably."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._recorded = recorded()

    def next(self) -> bytes:
        """The bytes of one connection: a request, or several."""
        chance = self.chance
        made = b"".join(self._request() for _ in range(chance.choice((1, 1, 1, 2, 3))))
        return self._changed(made) if chance.random() < 0.2 else made

    def _request(self) -> bytes:
        chance = self.chance
        sent = chance.choice(self._recorded)
        body, coding = self._body(sent), b""
        if chance.random() < 0.2:
            coding = chance.choice(sorted(CODINGS))
            body = CODINGS[coding](body)
            if chance.random() < 0.5:
                body = self._changed(body)
        names = {"content-length", "transfer-encoding", "content-encoding", "expect", "connection"}
        headers = [f"{name}: {value}" for name, value in sent.headers if name.lower() not in names]
        chance.shuffle(headers)
        if chance.random() < 0.1:
            del headers[: chance.randrange(1, 3)]
        head = "\r\n".join([f"{sent.method} {sent.path} HTTP/1.1", *headers, ""]).encode()
        if chance.random() < 0.15:
            head = self._changed(head)
        if coding:
            head += b"Content-Encoding: " + coding + b"\r\n"
        framing = chance.choice(FRAMINGS) if chance.random() < 0.2 else FRAMINGS[0]
        return head + framing(body)

    def _body(self, sent: Sent) -> bytes:
        chance = self.chance
        kind = chance.random()
        if kind < 0.25:
            return chance.choice(DOCUMENTS).encode("utf-8", "surrogatepass")
        try:
            elements = sent.elements()
        except ValueError:
            return self._changed(sent.body)
        if kind < 0.5 and elements:
            text = json.dumps(elements)
            odd = chance.choice(DOCUMENTS)
            values = [json.dumps(one) for one in _scalars(elements)]
            return text.replace(chance.choice(values or ["1"]), odd, 1).encode("utf-8", "replace")
        text = json.dumps(elements if len(elements) != 1 or chance.random() < 0.5 else elements[0])
        return self._changed(text.encode()) if kind < 0.9 else text.encode()

    def _changed(self, text: bytes) -> bytes:
        chance = self.chance
        for _ in range(chance.choice((1, 1, 2, 5))):
            at = chance.randrange(len(text) + 1)
            until = at + chance.choice((0, 0, 1, 3, 30))
            piece = chance.choice(PIECES) if chance.random() < 0.7 else chance.randbytes(3)
            text = text[:at] + piece + text[until:]
        return text


def _scalars(node: object) -> list[object]:
    if isinstance(node, dict):
        return [found for one in node.values() for found in _scalars(one)]
    if isinstance(node, list):
        return [found for one in node for found in _scalars(one)]
    return [node]
