"""Exports by OpenTelemetry's SDK: for each line `[signal, names]`, records of those names.

The exporters take their address and headers from the environment, as OpenTelemetry specifies it.
"""

import logging

from lines import heard, say
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

logging.basicConfig(level=logging.WARNING)
spans = TracerProvider()
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
logs = LoggerProvider()
logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))


def export(signal, names):
    for name in names:
        if signal == "traces":
            with spans.get_tracer("shop", "1.0").start_as_current_span(name) as span:
                span.set_attributes({"items": 3, "open": True, "price": 2.5, "tags": ["a", "b"]})
                span.add_event("paid", {"by": "card"})
        else:
            logs.get_logger("shop", "1.0").emit(
                severity_number=SeverityNumber.WARN,
                severity_text="WARN",
                body={"said": name, "count": 3},
                attributes={"items": 3},
            )
    provider = spans if signal == "traces" else logs
    return provider.force_flush(60_000)


for signal, names in heard():
    say(export(signal, names))
