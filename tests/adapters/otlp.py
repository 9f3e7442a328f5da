"""Requests of OTLP for tests, in both encodings."""

import base64
import json
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
LOGS = "/v1/logs"
TRACES = "/v1/traces"
RESOURCE = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
SCOPE = {"name": "basket", "version": "1"}
TRACE_ID, SPAN_ID = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
TIME = "1736935200250000000"
LOG = {
    "timeUnixNano": TIME,
    "severityNumber": 9,
    "severityText": "INFO",
    "body": {"stringValue": "full"},
}
SPAN = {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "GET /", "startTimeUnixNano": TIME}

_REQUESTS = {LOGS: ExportLogsServiceRequest, TRACES: ExportTraceServiceRequest}
_ANSWERS = {LOGS: ExportLogsServiceResponse, TRACES: ExportTraceServiceResponse}
_IDS = ("traceId", "spanId", "parentSpanId")


def logs(*records: Any, **resource: Any) -> dict[str, Any]:
    """A request with log records of one scope."""
    scoped = {"scope": SCOPE, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": RESOURCE, "scopeLogs": [scoped], **resource}]}


def spans(*records: Any, **resource: Any) -> dict[str, Any]:
    """A request with spans of one scope."""
    scoped = {"scope": SCOPE, "spans": list(records)}
    return {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [scoped], **resource}]}


def encoded(path: str, document: Any, media_type: str = PROTOBUF) -> bytes:
    """A request's body."""
    if media_type == JSON:
        return json.dumps(document).encode()
    message = json_format.ParseDict(_with_ids(document, _to_base64), _REQUESTS[path]())
    return message.SerializeToString()


def decoded(path: str, answer: Any) -> dict[str, Any]:
    """The body of a 200, as JSON would have it."""
    if answer.headers["Content-Type"] == JSON:
        return json.loads(answer.body)
    return json_format.MessageToDict(_ANSWERS[path].FromString(answer.body))


def plain(message: Any) -> dict[str, Any]:
    """A message in OTLP/JSON, by protobuf's own mapping."""
    document = json_format.MessageToDict(message, use_integers_for_enums=True)
    return _with_ids(document, lambda text: base64.b64decode(text).hex())


def _to_base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def _with_ids(node: Any, write: Any) -> Any:
    if isinstance(node, list):
        return [_with_ids(one, write) for one in node]
    if isinstance(node, dict):
        return {
            name: write(value) if name in _IDS else _with_ids(value, write)
            for name, value in node.items()
        }
    return node
