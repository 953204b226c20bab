package server

import (
	"context"
	"fmt"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc/stats"

	"github.com/keelson-db/keelson/internal/config"
)

// samplesPerMillion is what a sampling rate counts in: traced requests out of so many.
const samplesPerMillion = 1_000_000

// tracing sends spans of requests to an OpenTelemetry collector. The exporter batches in the background and
// drops what the collector does not take: no request waits for it.
type tracing struct {
	provider *sdktrace.TracerProvider
}

// openTracing returns nil when the configuration does not ask for traces. A collector that is not there yet
// is no error: the exporter goes on trying.
func openTracing(ctx context.Context, c *config.Config) (*tracing, error) {
	if !c.EnableDistributedTracing {
		return nil, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(c.DistributedTracingAddress))
	if err != nil {
		return nil, fmt.Errorf("open traces to %s: %w; correct --distributed-tracing-address", c.DistributedTracingAddress, err)
	}
	of := []attribute.KeyValue{attribute.String("service.name", c.DistributedTracingServiceName)}
	if id := c.DistributedTracingInstanceID; id != "" {
		of = append(of, attribute.String("service.instance.id", id))
	}
	return &tracing{provider: sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(of...)),
		sdktrace.WithSampler(sdktrace.ParentBased(sampler(c.DistributedTracingSamplingRate))),
	)}, nil
}

// sampler decides about requests that come without a trace of their own; one that has a trace is followed
// if its client follows it.
func sampler(perMillion int64) sdktrace.Sampler {
	if perMillion == 0 {
		return sdktrace.NeverSample()
	}
	return sdktrace.TraceIDRatioBased(float64(perMillion) / samplesPerMillion)
}

// handler is what the transport tells of every call; nil without tracing.
func (t *tracing) handler() stats.Handler {
	if t == nil {
		return nil
	}
	return otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(t.provider),
		otelgrpc.WithPropagators(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})),
	)
}

// close sends what is left, as long as ctx lasts.
func (t *tracing) close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("send the last traces: %w", err)
	}
	return nil
}
