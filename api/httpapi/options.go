package httpapi

import (
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options is what New needs. Service is required; everything else has a default.
type Options struct {
	Service Service
	// Version of the program, told in the header Server.
	Version string
	// Logger gets one line a request, and the details of internal errors that clients are not told. nil discards them.
	Logger *slog.Logger
	// Metrics gets the metrics of this package and is served at /metrics. A registry can carry one handler. nil makes a new one.
	Metrics *prometheus.Registry
	Limits  Limits
	// Stopping, once closed, ends the requests that would otherwise go on (events, logs, consoles, waits), so that http.Server.Shutdown
	// does not wait for them. nil never does.
	Stopping <-chan struct{}
}

// Limits bound what clients can take. A zero value means the default in brackets; a negative rate does not limit.
type Limits struct {
	RatePerToken  float64 // requests a second of one token [50]
	BurstPerToken int     // [200]

	RatePerAddress  float64 // requests a second of one address without a valid token; a refused login costs five [5]
	BurstPerAddress int     // [30]

	StreamsPerUser int // events, logs, consoles and waits that one user may have open at a time on one controller [64]

	MaxBodyBytes   int64 // JSON body [1 MiB]
	MaxUploadBytes int64 // image upload [1 TiB]

	BodyTimeout       time.Duration // until a JSON body has been read [30 s]
	UploadIdleTimeout time.Duration // between two reads of an upload; the whole may take as long as it takes [60 s]
	AnswerTimeout     time.Duration // until an ordinary request is answered [60 s]
	WriteTimeout      time.Duration // until a client has taken one piece of an answer or a stream [30 s]
	ConsistentTimeout time.Duration // until this controller has caught up with the leader, before a read [10 s]
	KeepAlive         time.Duration // between signs of life in events and consoles; the token is checked again as often [15 s]
}

func (l *Limits) complete() {
	setDefault(&l.RatePerToken, 50)
	setDefault(&l.BurstPerToken, 200)
	setDefault(&l.RatePerAddress, 5)
	setDefault(&l.BurstPerAddress, 30)
	setDefault(&l.StreamsPerUser, 64)
	setDefault(&l.MaxBodyBytes, 1<<20)
	setDefault(&l.MaxUploadBytes, 1<<40)
	setDefault(&l.BodyTimeout, 30*time.Second)
	setDefault(&l.UploadIdleTimeout, time.Minute)
	setDefault(&l.AnswerTimeout, time.Minute)
	setDefault(&l.WriteTimeout, 30*time.Second)
	setDefault(&l.ConsistentTimeout, 10*time.Second)
	setDefault(&l.KeepAlive, 15*time.Second)
}

func setDefault[T int | int64 | float64 | time.Duration](value *T, standard T) {
	if *value == 0 {
		*value = standard
	}
}

func (o *Options) complete() error {
	if o.Service == nil {
		return errors.New("httpapi: Options.Service is missing; give the service that answers the requests")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	o.Limits.complete()
	return nil
}
