// Package ctl is the command line of Coloa: one file a noun, and the few parts that they share (messages, output, waiting, errors).
// It turns words into requests of api/client and answers into tables or JSON. It decides nothing about nouns: what is allowed is the
// controller's business.
package ctl

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coloa-cloud/coloa/api/client"
)

// Program is the command `coloa`. Its fields are what other packages give to it.
type Program struct {
	// Version is shown by `coloa version` and sent to controllers.
	Version string
	// ClusterInit makes a new cloud on this machine. Without it `coloa cluster init` says that this build cannot.
	ClusterInit func(context.Context, ClusterInitOptions) (ClusterInitResult, error)
	// ClusterRecover lets an administrator into the cloud of this machine again. Without it `coloa cluster recover` says that this build cannot.
	ClusterRecover func(context.Context, ClusterRecoverOptions) (ClusterInitResult, error)
}

// Exit codes, as promised to scripts.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitQuota       = 6
	exitTimeout     = 7
	exitApproval    = 8 // reserved: the request waits for a second person
	exitInterrupted = 130
)

var (
	errInterrupted = errors.New("interrupted")
	errTimedOut    = errors.New("the time given by --timeout is over")
)

// app is one run of the program.
type app struct {
	program Program
	in      io.Reader
	out     io.Writer
	errs    io.Writer
	env     func(string) string
	screen  screen
	text    *catalogue
	now     func() time.Time
	flags   globals

	settled *settings
	asked   *client.Client
}

// Main runs the program with the process's arguments and returns its exit code.
func (p Program) Main() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel(errInterrupted)
		// The second one ends the program at once.
		signal.Stop(signals)
	}()
	return p.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
}

// Run runs the program and returns its exit code.
func (p Program) Run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer, env func(string) string) int {
	a := &app{program: p, in: in, out: out, errs: errs, env: env, now: time.Now}
	a.screen = newScreen(in, out, errs, env)
	a.text = newCatalogue(languageOf(env))
	root := a.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	if a.asked != nil {
		a.asked.Close()
	}
	return a.report(err)
}
