package raftnode

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// bridgeLogger makes slog look like hclog for Raft and its stores.
func bridgeLogger(to *slog.Logger, name string) hclog.Logger {
	return bridgeLoggerUntil(context.Background(), to, name)
}

// bridgeLoggerUntil is bridgeLogger for a part that calls it an error when its connections are closed on purpose: after ctx everything is DEBUG.
func bridgeLoggerUntil(ctx context.Context, to *slog.Logger, name string) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: name, Level: hclog.Debug, Output: io.Discard})
	logger.RegisterSink(slogSink{to.With("part", name), ctx})
	return logger
}

type slogSink struct {
	to    *slog.Logger
	until context.Context
}

// Accept takes one line of hclog. What Raft calls INFO are its own inner steps, so everything but warnings and errors is DEBUG to us.
func (s slogSink) Accept(_ string, level hclog.Level, message string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Warn:
		to = slog.LevelWarn
	case hclog.Error:
		to = slog.LevelError
	}
	if s.until.Err() != nil {
		to = slog.LevelDebug
	}
	if !s.to.Enabled(context.Background(), to) {
		return
	}
	for i, arg := range args {
		if format, ok := arg.(hclog.Format); ok && len(format) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(format[0]), format[1:]...)
		}
	}
	s.to.Log(context.Background(), to, message, args...)
}
