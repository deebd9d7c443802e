package ctl

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/coloa-cloud/coloa/api/client"
	v1 "github.com/coloa-cloud/coloa/api/v1"
)

// retryFor rides out an election; somebody who mistyped an endpoint waits no longer.
const retryFor = 6 * time.Second

// waitFlags adds --no-wait to a command that starts operations.
func (a *app) waitFlags(command *cobra.Command) {
	command.Flags().BoolVar(&a.flags.noWait, "no-wait", false, a.T("flag.no-wait"))
}

// follow waits for an operation, with a step line for people. nil when it succeeded.
func (a *app) follow(ctx context.Context, c *client.Client, id string) error {
	line := a.startLine()
	operation, err := c.WaitOperation(ctx, id, a.progressOf(line))
	line.stop()
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		} else if exit := exitCode(v1.CodeOf(err)); exit == exitNotFound || exit == exitDenied {
			return err // there is nothing to go on
		}
		return &waitEnded{operation: id, cause: err}
	}
	if operation.Status.State != v1.OperationSucceeded {
		return &failedOperation{operation}
	}
	took := operation.UpdatedAt.Sub(operation.CreatedAt)
	if operation.Status.FinishedAt != nil {
		took = operation.Status.FinishedAt.Sub(operation.CreatedAt)
	}
	a.notice(a.T("operation.done", "What", a.operationTitle(operation), "Seconds", seconds(took)))
	return nil
}

// progressOf is nil when nobody looks: then the controller is asked less often.
func (a *app) progressOf(line *stepLine) func(*v1.Operation) {
	if line == nil {
		return nil
	}
	return func(operation *v1.Operation) { line.show(a.stepText(operation)) }
}

// stepText is one line about where an operation stands.
func (a *app) stepText(operation *v1.Operation) string {
	text := a.operationTitle(operation)
	status := operation.Status
	if n := status.Current; n >= 0 && n < len(status.Steps) {
		step := status.Steps[n]
		text = a.T("wait.step", "What", text, "Step", a.word("step", step.Name), "Number", n+1, "Count", len(status.Steps))
		if step.Percent > 0 {
			text += fmt.Sprintf(", %d%%", min(step.Percent, 100))
		}
	}
	if status.State != v1.OperationRunning {
		text += " · " + a.word("state", string(status.State))
	}
	if status.Message != "" {
		text += " · " + a.said(status.Message)
	}
	return text
}

// operationTitle is what an operation does, in words.
func (a *app) operationTitle(operation *v1.Operation) string {
	name := first(operation.Spec.Target.Name, v1.Short(operation.Spec.Target.ID))
	if key := "operation." + string(operation.Spec.Type); a.text.has(key) {
		return a.T(key, "Name", name)
	}
	return plain(string(operation.Spec.Type)) + " " + plain(name)
}

func (a *app) showRetry(reason error, wait time.Duration) {
	_, what, _ := a.explain(reason)
	a.notice(a.T("wait.retry", "What", what, "Seconds", seconds(wait)))
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", math.Max(0, d.Seconds()))
}

// stepLine is a line on standard error that is written over again and again. A nil one shows nothing.
type stepLine struct {
	app  *app
	lock sync.Mutex
	text string
	quit chan struct{}
	done chan struct{}
}

// startLine begins a line when there is somebody to see it.
func (a *app) startLine() *stepLine {
	if !a.screen.errs || !a.forPeople() || a.env("TERM") == "dumb" {
		return nil
	}
	line := &stepLine{app: a, quit: make(chan struct{}), done: make(chan struct{})}
	go line.run()
	return line
}

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

func (l *stepLine) run() {
	defer close(l.done)
	ticker := time.NewTicker(120 * time.Millisecond)
	defer ticker.Stop()
	for frame := 0; ; frame++ {
		l.lock.Lock()
		text := l.text
		l.lock.Unlock()
		if text != "" {
			width := l.app.screen.width
			if width == 0 {
				width = plainScreen
			}
			fmt.Fprintf(l.app.errs, "\r\x1b[K%s %s", spinner[frame%len(spinner)], clip(text, width-4))
		}
		select {
		case <-l.quit:
			fmt.Fprint(l.app.errs, "\r\x1b[K")
			return
		case <-ticker.C:
		}
	}
}

func (l *stepLine) show(text string) {
	if l == nil {
		return
	}
	l.lock.Lock()
	defer l.lock.Unlock()
	l.text = strings.ReplaceAll(text, "\n", " ")
}

func (l *stepLine) stop() {
	if l == nil {
		return
	}
	close(l.quit)
	<-l.done
}
