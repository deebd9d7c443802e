package ctl

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/coloa-cloud/coloa/api/client"
)

// leaveKey is Ctrl-].
const leaveKey = 0x1d

func (a *app) vmConsole() *cobra.Command {
	return a.command(verb{key: "vm.console", name: "console", args: []string{"name"}, names: a.names("vms"), run: func(ctx context.Context, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		conn, err := c.Console(ctx, client.Ref{ID: args[0]})
		if err != nil {
			return err
		}
		defer conn.Close()
		return a.attach(ctx, conn, args[0])
	}})
}

// attach joins the terminal and a guest's serial port until one side ends it.
func (a *app) attach(ctx context.Context, conn net.Conn, name string) error {
	if a.screen.in {
		a.notice(a.T("console.leave", "Name", name))
		file := a.in.(*os.File)
		saved, err := term.MakeRaw(int(file.Fd()))
		if err != nil {
			return a.failure("error.terminal", "Cause", err)
		}
		defer func() {
			_ = term.Restore(int(file.Fd()), saved)
			if a.screen.out {
				// The guest may have left colours on and the cursor off.
				_ = a.write("\x1b[0m\x1b[?25h\r\n")
			}
			a.notice(a.T("console.left", "Name", name))
		}()
	}
	ended := make(chan error, 2)
	go func() {
		_, err := io.Copy(a.out, conn)
		ended <- err
	}()
	go func() {
		left, err := a.typeTo(conn)
		// Standard input that ends does not end the console: what the guest answers is still to come.
		if left || err != nil {
			ended <- err
		}
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-ended:
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !closed(err) {
			return a.failure("error.stream", "Cause", err)
		}
		return nil
	}
}

// typeTo hands on what is typed. left: the user pressed the key to leave.
func (a *app) typeTo(conn net.Conn) (left bool, err error) {
	typed := make([]byte, 4096)
	for {
		n, readErr := a.in.Read(typed)
		part := typed[:n]
		if a.screen.in {
			if at := bytes.IndexByte(part, leaveKey); at >= 0 {
				part, left = part[:at], true
			}
		}
		if len(part) > 0 {
			if _, err := conn.Write(part); err != nil {
				return left, err
			}
		}
		if left || readErr == io.EOF {
			return left, nil
		}
		if readErr != nil {
			return false, readErr
		}
	}
}
