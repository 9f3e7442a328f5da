"""OpenTelemetry's own SDKs and exporters, from PyPI and npm, against the real process."""

import socket
import threading

import pytest

from tests.clients.conftest import HERE, eventually, keep_port, requests, stored
from tests.conftest import APPLICATION_ID, Process

EXPORTERS = ["python protobuf", "node protobuf", "node json"]
PATHS = {"logs": "/v1/logs", "traces": "/v1/traces"}
KINDS = {"logs": "log", "traces": "span"}
NAMES = [f"step {number}" for number in range(40)]


@pytest.fixture
def exporter(request, script):
    """Start an exporter: one of `EXPORTERS`, with changes of its environment."""

    def start(which: str, **changes: str):
        url = changes.pop("URL", None)
        environment = {
            "OTEL_EXPORTER_OTLP_HEADERS": f"X-Moesif-Application-Id={APPLICATION_ID}",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "20" if which.startswith("python") else "20000",
            **changes,
        }
        process = request.getfixturevalue("process")
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = url or process.url
        if which.startswith("python"):
            sdks = request.getfixturevalue("python_sdks")
            return script(sdks, str(HERE / "python" / "otlp_exporter.py"), **environment)
        sdks = request.getfixturevalue("node_sdks")
        environment |= {"NODE_PATH": str(sdks), "ENCODING": which.partition(" ")[2]}
        return script("node", str(HERE / "node" / "otlp_exporter.js"), **environment)

    return start


def names_of(records):
    """What the test named the records, in the order of their names."""
    found = []
    for record in records:
        if record["kind"] == "span":
            found.append(record["type"])
        else:
            body = record["data"]["logRecord"]["body"]["kvlistValue"]["values"]
            [said] = [one["value"]["stringValue"] for one in body if one["key"] == "said"]
            found.append(said)
    return sorted(found, key=NAMES.index)


def attributes_of(record):
    return {one["key"]: one["value"] for one in record["attributes"]}


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("signal", PATHS)
@pytest.mark.parametrize("which", EXPORTERS)
def test_what_an_exporter_sends_is_stored_once(
    process: Process, exporter, which, signal, compression
):
    process.start()
    client = exporter(which, OTEL_EXPORTER_OTLP_COMPRESSION=compression)
    assert client.ask([signal, NAMES]) is not False
    records = stored(process, len(NAMES))

    assert names_of(records) == NAMES
    assert {("otlp", "acme", KINDS[signal], "shop")} == {
        (one["dialect"], one["tenant"], one["kind"], one["subject"]) for one in records
    }
    assert {200} == {line["status"] for line in requests(process, "POST", PATHS[signal])}


@pytest.mark.parametrize("signal", PATHS)
@pytest.mark.parametrize("which", EXPORTERS)
def test_an_exporter_moves_from_moesif_by_changing_the_host(
    process: Process, exporter, which, signal
):
    # Only [moesif] has the application, and the endpoint is the one of Moesif's page.
    before, after = process.config.read_text().split("[[otlp.applications]]")
    process.config.write_text(before + after[after.index("[[") :])
    process.start()
    client = exporter(which, URL=f"{process.url}/v1/traces")
    assert client.ask([signal, NAMES[:3]]) is not False

    assert NAMES[:3] == names_of(stored(process, 3))


@pytest.mark.parametrize("which", EXPORTERS)
def test_a_span_is_stored_as_its_exporter_describes_it(process: Process, exporter, which):
    process.start()
    exporter(which).ask(["traces", NAMES[:1]])
    [record] = stored(process, 1)
    span = record["data"]["span"]

    assert (32, 16) == (len(span["traceId"]), len(span["spanId"]))
    assert int(span["traceId"], 16) and int(span["spanId"], 16)
    assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) > 10**18
    found = attributes_of(span)
    assert "3" == str(found["items"]["intValue"])
    assert ({"boolValue": True}, {"doubleValue": 2.5}) == (found["open"], found["price"])
    assert ["a", "b"] == [one["stringValue"] for one in found["tags"]["arrayValue"]["values"]]
    [event] = span["events"]
    assert ("paid", {"by": {"stringValue": "card"}}) == (event["name"], attributes_of(event))
    assert "shop" == record["data"]["scope"]["name"]


@pytest.mark.parametrize("which", EXPORTERS)
def test_a_log_record_is_stored_as_its_exporter_describes_it(process: Process, exporter, which):
    process.start()
    exporter(which).ask(["logs", NAMES[:1]])
    [record] = stored(process, 1)
    found = record["data"]["logRecord"]

    assert ("WARN", 13) == (record["type"], found["severityNumber"])
    assert "3" == str(attributes_of(found)["items"]["intValue"])
    assert int(found.get("timeUnixNano") or found["observedTimeUnixNano"]) > 10**18


@pytest.mark.parametrize("which", EXPORTERS)
def test_an_exporter_repeats_what_was_refused_for_a_while(process: Process, exporter, which):
    config = process.config.read_text()
    rate = "[limits]\ntenant_requests = { rate = 1, burst = 1 }\n"
    process.config.write_text(f"{config}{rate}")
    process.start()
    client = exporter(which)
    client.ask(["traces", NAMES[:1]])
    client.ask(["logs", NAMES[1:2]])
    client.ask(["traces", NAMES[2:3]])

    assert names_of(stored(process, 3)) == NAMES[:3]
    lines = requests(process, "POST", "/v1/traces") + requests(process, "POST", "/v1/logs")
    assert {200, 429} == {line["status"] for line in lines}


@pytest.mark.parametrize("signal", PATHS)
@pytest.mark.parametrize("which", EXPORTERS)
def test_an_exporter_sends_to_a_gateway_that_is_back(process: Process, exporter, which, signal):
    keep_port(process).start()
    client = exporter(which)
    client.ask([signal, NAMES[:10]])
    process.stop()
    timer = threading.Timer(1.5, process.start)
    timer.start()
    client.ask([signal, NAMES[10:20]])
    timer.join()
    client.ask([signal, NAMES[20:]])

    assert names_of(stored(process, len(NAMES))) == NAMES


@pytest.mark.parametrize("which", EXPORTERS)
def test_an_unknown_application_id_is_refused_and_not_repeated(process: Process, exporter, which):
    process.start()
    client = exporter(which, OTEL_EXPORTER_OTLP_HEADERS="X-Moesif-Application-Id=nobody")
    client.ask(["traces", NAMES])

    assert [401] == [line["status"] for line in requests(process, "POST", "/v1/traces")]
    assert [] == process.export()


class Forgetful:
    """A proxy that loses the gateway's answer to the first request."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._gateway = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(line,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._gateway) as gateway:
            threading.Thread(target=_copy, args=(client, gateway), daemon=True).start()
            while answer := gateway.recv(1 << 16):
                if not self.lost:
                    self.lost += 1
                    # The other thread still reads: closing alone would end nothing.
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(answer)

    def close(self) -> None:
        self._listener.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
    except OSError:
        return


@pytest.mark.parametrize("signal", PATHS)
@pytest.mark.parametrize("which", EXPORTERS)
def test_a_request_whose_answer_was_lost_is_stored_once(process: Process, exporter, which, signal):
    process.start()
    proxy = Forgetful(process.url)
    try:
        exporter(which, URL=proxy.url).ask([signal, NAMES])
        lines = eventually(
            lambda: requests(process, "POST", PATHS[signal], 2), lambda found: len(found) > 1
        )
    finally:
        proxy.close()

    assert 1 == proxy.lost
    assert names_of(stored(process, len(NAMES))) == NAMES
    assert [len(NAMES), len(NAMES)] == [lines[0].get("stored"), lines[1].get("duplicate")]
