// Exports by OpenTelemetry's SDK: for each line `[signal, names]`, records of those names.
// The exporters take address and headers from the environment, as OpenTelemetry specifies it.
const readline = require('readline');
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { TracerProvider, BatchSpanProcessor } = require('@opentelemetry/sdk-trace');
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');

const encoding = process.env.ENCODING === 'protobuf' ? 'proto' : 'http';
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${encoding}`);
const { OTLPLogExporter } = require(`@opentelemetry/exporter-logs-otlp-${encoding}`);

const spanProcessor = new BatchSpanProcessor({ exporter: new OTLPTraceExporter() });
const logProcessor = new BatchLogRecordProcessor({ exporter: new OTLPLogExporter() });
const resource = resourceFromAttributes({ 'service.name': process.env.OTEL_SERVICE_NAME });
const tracer = new TracerProvider({ resource, spanProcessors: [spanProcessor] }).getTracer('shop', '1.0');
const logger = new LoggerProvider({ resource, processors: [logProcessor] }).getLogger('shop', '1.0');

const emit = (signal, name) => {
  if (signal === 'traces') {
    const span = tracer.startSpan(name);
    span.setAttributes({ items: 3, open: true, price: 2.5, tags: ['a', 'b'] });
    span.addEvent('paid', { by: 'card' });
    span.end();
  } else {
    logger.emit({
      severityNumber: 13,
      severityText: 'WARN',
      body: { said: name, count: 3 },
      attributes: { items: 3 },
    });
  }
};

readline.createInterface({ input: process.stdin }).on('line', async (line) => {
  const [signal, names] = JSON.parse(line);
  names.forEach((name) => emit(signal, name));
  const processor = signal === 'traces' ? spanProcessor : logProcessor;
  const done = await processor.forceFlush().then(() => true, (error) => String(error));
  console.log('> ' + JSON.stringify(done));
});
